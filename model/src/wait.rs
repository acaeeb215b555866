// SPDX-License-Identifier: GPL-2.0

//! What waits for room.
//!
//! A waiter waits for the first queue that was full when it was tried. It is tried again, the oldest first, when that
//! one has room, or when its socket's bindings or settings change, or it goes.

use crate::errno::*;
use crate::send::Refusal;
use crate::send::Send;
use crate::send::Sent;
use crate::state::Model;
use crate::Errno;

/// What waits.
#[derive(Clone, Debug)]
pub enum What {
    /// A send.
    Send(Send),
    /// A replier binding, or (false) its end.
    Bind(bool, String),
}

/// One that waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Whose it is.
    pub slot: usize,
    /// What it is.
    pub what: What,
    /// The slot whose queue is full.
    on: usize,
    released: bool,
    ended: Option<Result<u64, Errno>>,
}

impl Model {
    /// Whether something of this socket waits.
    pub fn is_waiting(&self, slot: usize) -> bool {
        self.waiters.iter().any(|waiter| waiter.slot == slot)
    }

    /// Whether a binding waits anywhere.
    pub fn a_bind_waits(&self) -> bool {
        let mut all = self.waiters.iter();
        all.any(|waiter| matches!(waiter.what, What::Bind(..)))
    }

    /// Begins to wait.
    ///
    /// # Errors
    ///
    /// `EDEADLK` for one's own queue.
    pub(crate) fn wait(&mut self, slot: usize, what: What, full: &[usize]) -> Result<Sent, Errno> {
        if full.contains(&slot) {
            return Err(EDEADLK);
        }
        self.waiters.push(Waiter {
            slot,
            what,
            on: full[0],
            released: false,
            ended: None,
        });
        Ok(Sent::Waits)
    }

    /// Tries a waiter once more.
    fn retry(&mut self, at: usize) {
        self.waiters[at].released = false;
        let Waiter { slot, what, .. } = self.waiters[at].clone();
        let result = match &what {
            // Its own thread does everything afresh.
            What::Bind(..) => Ok(0),
            What::Send(send) => match self.try_send(slot, send) {
                Ok(id) => Ok(id),
                Err(Refusal::Error(error)) => Err(error),
                Err(Refusal::Full(full)) if full.contains(&slot) => Err(EDEADLK),
                Err(Refusal::Full(full)) => {
                    self.waiters[at].on = full[0];
                    return;
                }
            },
        };
        self.waiters[at].ended = Some(result);
    }

    fn unblock_pollers(&mut self, on: usize) {
        for sock in self.socks.iter_mut().flatten() {
            if sock.blocked_by.contains(&on) {
                sock.blocked_by.clear();
            }
        }
    }

    /// A read has made room in a queue.
    pub(crate) fn room_in(&mut self, on: usize) {
        self.unblock_pollers(on);
        self.retry_waiters_of(on);
    }

    /// Tries those who wait for a queue, while it has room.
    pub(crate) fn retry_waiters_of(&mut self, on: usize) {
        for at in 0..self.waiters.len() {
            let waiter = &self.waiters[at];
            if waiter.on == on && waiter.ended.is_none() && self.has_room(on, 0, 0) {
                self.retry(at);
            }
        }
    }

    /// A socket's bindings or settings change, or it goes.
    pub(crate) fn release(&mut self, on: usize) {
        self.unblock_pollers(on);
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.on == on) {
            waiter.released = waiter.ended.is_none();
        }
    }

    /// Tries all that were released.
    pub(crate) fn retry_released(&mut self) {
        for at in 0..self.waiters.len() {
            if self.waiters[at].released {
                self.retry(at);
            }
        }
    }

    /// The ends of waits since the last call: whose, and how.
    pub fn finish(&mut self) -> Vec<(usize, Result<u64, Errno>)> {
        let mut ended = vec![];
        for at in 0..self.waiters.len() {
            let sock = self.sock(self.waiters[at].slot);
            let waiter = &self.waiters[at];
            if waiter.ended.is_some() || !(sock.read_shut || sock.write_shut) {
                continue;
            }
            let end = match &waiter.what {
                What::Bind(..) => Some(Ok(0)),
                What::Send(send) if sock.write_shut || send.request => Some(Err(EPIPE)),
                What::Send(_) => None,
            };
            self.waiters[at].ended = end;
        }
        while let Some(at) = self.waiters.iter().position(|w| w.ended.is_some()) {
            let Waiter {
                slot, what, ended: end, ..
            } = self.waiters.remove(at);
            match (what, end) {
                (What::Bind(bind, text), Some(Ok(_))) => match self.bind_or_not(slot, bind, &text, true) {
                    Ok(Sent::Waits) => {}
                    Ok(Sent::Id(_)) => ended.push((slot, Ok(0))),
                    Err(error) => ended.push((slot, Err(error))),
                },
                (_, Some(end)) => ended.push((slot, end)),
                (_, None) => {}
            }
        }
        ended.sort();
        ended
    }

    /// A wait is interrupted.
    pub fn give_up(&mut self, slot: usize) {
        self.waiters.retain(|waiter| waiter.slot != slot);
    }
}
