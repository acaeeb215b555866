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
    /// Whether that only lacks bytes of its user's budget.
    broke: bool,
    /// Whether that was ever so: then it is tried at times that the model does not know.
    vague: bool,
    released: bool,
    ended: Option<Result<u64, Errno>>,
}

impl Model {
    /// Whether something of this socket waits.
    pub fn is_waiting(&self, slot: usize) -> bool {
        self.waiters.iter().any(|waiter| waiter.slot == slot)
    }

    /// Whether something waits that lacks bytes of a budget, or did.
    pub(crate) fn waits_for_bytes(&self) -> bool {
        self.waiters.iter().any(|waiter| waiter.vague)
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
    pub(crate) fn wait(&mut self, slot: usize, what: What, full: &[(usize, bool)]) -> Result<Sent, Errno> {
        if full.iter().any(|full| full.0 == slot) {
            return Err(EDEADLK);
        }
        self.waiters.push(Waiter {
            slot,
            what,
            on: full[0].0,
            broke: full[0].1,
            vague: full[0].1,
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
                Err(Refusal::Full(full)) if full.iter().any(|full| full.0 == slot) => Err(EDEADLK),
                Err(Refusal::Full(full)) => {
                    (self.waiters[at].on, self.waiters[at].broke) = full[0];
                    self.waiters[at].vague |= full[0].1;
                    return;
                }
            },
        };
        self.waiters[at].ended = Some(result);
    }

    fn unblock_pollers(&mut self, on: usize) {
        for sock in self.socks.iter_mut().flatten() {
            if sock.blocked_by.is_some_and(|full| full.0 == on) {
                sock.blocked_by = None;
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

    /// Lets those go that lacked nothing but bytes of a budget and have them now.
    pub(crate) fn retry_broke(&mut self) {
        let mut at = 0;
        while at < self.waiters.len() {
            let mut tried = self.clone();
            if self.waiters[at].broke && self.waiters[at].ended.is_none() {
                tried.retry(at);
                match tried.waiters[at].ended {
                    Some(Ok(_)) => {
                        *self = tried;
                        at = 0;
                        continue;
                    }
                    None => *self = tried,
                    // It is not tried before bytes come back.
                    Some(Err(_)) => {}
                }
            }
            at += 1;
        }
    }

    /// Whether the wait of this socket would end so if it were tried.
    ///
    /// What waits for a queue for which bytes were awaited is tried whenever some come back, and the model does not say
    /// when that is.
    pub(crate) fn may_end(&mut self, slot: usize, result: Result<u64, Errno>) -> bool {
        let found = self.waiters.iter().position(|w| w.slot == slot);
        let Some(at) = found.filter(|at| self.waiters[*at].ended.is_none()) else {
            return false;
        };
        let mut tried = self.clone();
        let ends = match tried.waiters[at].what.clone() {
            // Its own thread does everything afresh.
            What::Bind(bind, text) => {
                tried.waiters.remove(at);
                tried.bind_or_not(slot, bind, &text, true).err() == result.err()
            }
            What::Send(_) => {
                tried.retry(at);
                tried.waiters[at].ended == Some(result)
            }
        };
        if ends {
            self.waiters.remove(at);
        }
        ends
    }

    /// The ends of waits since the last call: whose, and how.
    pub fn finish(&mut self) -> Vec<(usize, Result<u64, Errno>)> {
        let mut ended = vec![];
        self.failed.clear();
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
            let waiter = self.waiters.remove(at);
            if waiter.vague && matches!(waiter.ended, Some(Err(_))) {
                self.failed.push((at, waiter.clone()));
            }
            let Waiter {
                slot, what, ended: end, ..
            } = waiter;
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

    /// Whether a wait that [`Model::finish`] told to have failed may also go on; then it does.
    pub(crate) fn may_go_on(&mut self, slot: usize) -> bool {
        let Some(found) = self.failed.iter().position(|(_, waiter)| waiter.slot == slot) else {
            return false;
        };
        let (at, mut waiter) = self.failed.remove(found);
        waiter.ended = None;
        self.waiters.insert(at.min(self.waiters.len()), waiter);
        true
    }

    /// A wait is interrupted.
    pub fn give_up(&mut self, slot: usize) {
        self.waiters.retain(|waiter| waiter.slot != slot);
    }
}
