// SPDX-License-Identifier: GPL-2.0

//! What waits for room.
//!
//! What waits goes when it can: the oldest first, and whatever the others do. That is all that the model promises of
//! it. When it would fail it fails when it is tried, and the model knows only sometimes that it is: when the first queue
//! that was full has room, or something about that one's socket changes.

use crate::errno::*;
use crate::send::Refusal;
use crate::send::Send;
use crate::send::Sent;
use crate::state::Blocked;
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
    /// Which one it is: the older ones have lesser numbers.
    age: u64,
    /// The slot whose queue is full.
    on: usize,
    /// Whether it ever lacked only a part of a budget: then it is tried at times that the model does not know.
    vague: bool,
    /// Whether it is surely tried in this step.
    released: bool,
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
    pub(crate) fn wait(&mut self, slot: usize, what: What, full: &[(usize, bool)]) -> Result<Sent, Errno> {
        if full.iter().any(|full| full.0 == slot) {
            return Err(EDEADLK);
        }
        self.last_seq += 1;
        self.waiters.push(Waiter {
            slot,
            what,
            age: self.last_seq,
            on: full[0].0,
            vague: full[0].1,
            released: false,
        });
        Ok(Sent::Waits)
    }

    /// Tries a waiter once more: it is done, fails, or waits on.
    fn retry(&mut self, at: usize) -> Option<Result<u64, Errno>> {
        let Waiter { slot, what, .. } = self.waiters[at].clone();
        let refusal = match &what {
            What::Send(send) => match self.try_send(slot, send) {
                Ok(id) => return Some(Ok(id)),
                Err(refusal) => refusal,
            },
            What::Bind(bind, text) => {
                let others = self.waiters.len();
                match self.bind_or_not(slot, *bind, text, true) {
                    Ok(Sent::Id(_)) => return Some(Ok(0)),
                    Ok(Sent::Waits) => {
                        let new = self.waiters.remove(others);
                        Refusal::Full(vec![(new.on, new.vague)])
                    }
                    Err(error) => Refusal::Error(error),
                }
            }
        };
        match refusal {
            Refusal::Error(error) => Some(Err(error)),
            Refusal::Full(full) if full.iter().any(|full| full.0 == slot) => Some(Err(EDEADLK)),
            Refusal::Full(full) => {
                let waiter = &mut self.waiters[at];
                if waiter.released || full[0].0 == waiter.on {
                    waiter.on = full[0].0;
                }
                waiter.vague |= full[0].1 || waiter.on != full[0].0;
                None
            }
        }
    }

    /// A send that must not wait lacks room in this queue, or only its user's budget.
    pub(crate) fn block(&mut self, slot: usize, (on, is_broke): (usize, bool)) {
        let user = self.sock(on).user;
        let broke = is_broke.then(|| (user, self.left(user)));
        self.sock_mut(slot).blocked_by = Some(Blocked { on, broke });
    }

    fn unblock_pollers(&mut self, told: impl Fn(Blocked) -> bool) {
        for sock in self.socks.iter_mut().flatten() {
            if sock.blocked_by.is_some_and(&told) {
                sock.blocked_by = None;
            }
        }
    }

    /// A read has made room in a queue.
    pub(crate) fn room_in(&mut self, on: usize) {
        if self.has_room(on) {
            self.unblock_pollers(|blocked| blocked.on == on && blocked.broke.is_none());
            for waiter in self.waiters.iter_mut().filter(|waiter| waiter.on == on) {
                waiter.released = true;
            }
        }
    }

    /// There may be room in a queue, a socket's bindings or settings change, or it goes.
    pub(crate) fn release(&mut self, on: usize) {
        self.unblock_pollers(|blocked| blocked.on == on);
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.on == on) {
            waiter.released = true;
        }
    }

    /// Lets all go that can, the oldest first; says whose waits ended, and how.
    ///
    /// What fails if it is tried, and may have been tried, has failed if it is among those `seen` to have ended.
    pub fn settle_waits(&mut self, seen: &[(usize, Result<u64, Errno>)]) -> Vec<(usize, Result<u64, Errno>)> {
        for at in 0..self.waiters.len() {
            let sock = self.sock(self.waiters[at].slot);
            let reads = match &self.waiters[at].what {
                What::Send(send) => send.request,
                What::Bind(..) => true,
            };
            let ends = sock.write_shut || (reads && sock.read_shut);
            self.waiters[at].released |= ends;
            self.waiters[at].vague &= !ends;
        }
        let left = |user| self.left(user);
        let more = |(user, before): (u32, (usize, usize))| left(user).0 > before.0 || left(user).1 > before.1;
        let told: Vec<bool> = self.socks.iter().flatten().map(|sock| {
            sock.blocked_by.and_then(|blocked| blocked.broke).is_some_and(more)
        }).collect();
        for (sock, _) in self.socks.iter_mut().flatten().zip(told).filter(|(_, told)| *told) {
            sock.blocked_by = None;
        }
        let mut ended = vec![];
        let mut at = 0;
        while at < self.waiters.len() {
            let mut tried = self.clone();
            let end = tried.retry(at);
            let waiter = self.waiters[at].clone();
            // What waits for room for an event that nobody wants any more is not told of that.
            let is_told = match waiter.what {
                What::Send(_) => true,
                What::Bind(..) => self.reports(self.sock(waiter.slot).bus),
            };
            let is_over = match end {
                None => false,
                Some(end) if seen.contains(&(waiter.slot, end)) => true,
                Some(Ok(_)) => is_told || waiter.released,
                Some(Err(_)) => waiter.released && !waiter.vague,
            };
            if end.is_none() || (is_over && end.is_some_and(|end| end.is_ok())) {
                *self = tried;
            }
            if end.is_none() {
                // It has been tried.
                self.waiters[at].released = false;
            }
            match end.filter(|_| is_over) {
                Some(end) => {
                    self.waiters.retain(|other| other.age != waiter.age);
                    ended.push((waiter.slot, end));
                    at = 0;
                }
                None => at += 1,
            }
        }
        for waiter in &mut self.waiters {
            waiter.released = false;
        }
        ended.sort();
        ended
    }

    /// A wait is interrupted.
    pub fn give_up(&mut self, slot: usize) {
        self.waiters.retain(|waiter| waiter.slot != slot);
    }
}
