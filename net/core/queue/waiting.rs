// SPDX-License-Identifier: GPL-2.0

//! Who waits for room in a queue.

use super::Blocked;
use super::Member;
use super::Queue;
use super::WaiterNode;
use super::Woken;

impl<M: Member> Queue<M> {
    /// Enters a waiter, who sleeps or `polls` and has found this queue full when it had this
    /// version; gives it back if it has another one now.
    pub(in super::super) fn enter(
        &mut self,
        (age, waiter): (u64, WaiterNode<M>),
        version: u64,
        polls: bool,
    ) -> Option<WaiterNode<M>> {
        if self.version != version || self.read_shut() {
            return Some(waiter);
        }
        // As nothing has changed since it looked, it has looked at the latest news.
        let tried = match polls {
            true => self.version,
            false => self.news,
        };
        self.waiters.add_with(waiter, age, tried, polls);
        None
    }

    /// Takes a waiter out again.
    pub(in super::super) fn leave(&mut self, age: u64) -> Option<WaiterNode<M>> {
        self.waiters.remove(age)
    }

    /// Takes out those who sleep and are to be woken, if there is room. Also says whether others
    /// poll, who are to be told as well ([`Queue::take_polling`]).
    pub(in super::super) fn take_waiters(&mut self) -> (Woken<M>, bool) {
        if self.waiters.is_empty() || !self.has_room() {
            return (Woken::nobody(), false);
        }
        // No more than have room: of two that want one place the older is to have it.
        let free = self.limit.saturating_sub(self.held());
        (
            self.waiters.take(free as usize, self.news),
            self.waiters.poll(),
        )
    }

    /// Takes out some of those who poll for room, as [`Waiters::take_polling`] does.
    pub(in super::super) fn take_polling(&mut self, round: &mut (u64, u64)) -> (Woken<M>, bool) {
        self.waiters.take_polling(round, self.version)
    }

    /// Takes out the oldest of those who sleep and are of this age or younger, whether there is
    /// room or not.
    pub(in super::super) fn take_waiter_from(&mut self, age: u64) -> Option<WaiterNode<M>> {
        self.waiters.take_from(age)
    }

    /// Something other than room has changed for those who wait for this queue.
    pub(in super::super) fn bump(&mut self) {
        self.changed();
    }

    /// Remembers where a send was refused that must not wait, or forgets it; returns what was
    /// remembered before.
    pub(in super::super) fn block(&mut self, blocked: Option<Blocked<M>>) -> Option<Blocked<M>> {
        core::mem::replace(&mut self.blocked, blocked)
    }
}
