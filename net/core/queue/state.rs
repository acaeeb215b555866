// SPDX-License-Identifier: GPL-2.0

//! What can be asked of a queue without changing it.

use super::Member;
use super::Queue;

impl<M: Member> Queue<M> {
    /// Messages waiting.
    pub fn unread(&self) -> u32 {
        if self.late > 0 {
            let sent = self.list.iter().filter(|(_, entry)| entry.id() != 0);
            return sent.count() as u32;
        }
        // What is pending was put in during the hold of the bus lock that is under way: at the end,
        // or at the beginning if it is urgent.
        let is_pending = |at: u32| self.list.get(at).is_some_and(|entry| entry.id() == 0);
        let mut sent = self.list.len();
        let mut at = self.list.last().filter(|at| is_pending(*at));
        while let Some(pending) = at {
            sent = sent.saturating_sub(1);
            at = self.list.prev(pending).filter(|at| is_pending(*at));
        }
        let mut at = self.list.first().filter(|at| sent > 0 && is_pending(*at));
        while let Some(pending) = at {
            sent = sent.saturating_sub(1);
            at = self.list.next(pending).filter(|at| is_pending(*at));
        }
        sent
    }

    /// Whether there is something to read: a message, or the news of a gap.
    pub fn is_readable(&self) -> bool {
        self.tells_gap() || self.pick().is_some()
    }

    /// Whether a gap can be read that is behind all entries. As long as a pending entry has it,
    /// nobody is told of it.
    pub(in super::super) fn tells_gap(&self) -> bool {
        self.report_lost && self.gap.count > 0
    }

    /// Whether the first message is an urgent one.
    pub fn is_urgent(&self) -> bool {
        let first = self.pick().and_then(|at| self.list.get(at));
        first.is_some_and(|entry| entry.urgent)
    }

    /// Whether a send may be tried: it does not fail for certain.
    pub fn is_writable(&self) -> bool {
        let blocked = self.blocked.as_ref();
        !self.write_shut() && blocked.is_none_or(|(_, _, waiter)| waiter.is_woken())
    }

    /// Whether it has asked to be told when it may send again.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Slots held for replies to come.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Whether somebody waits for room here.
    pub fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// A send of another socket is told that it is full.
    pub(in super::super) fn count_refusal(&mut self) {
        self.refusals = self.refusals.wrapping_add(1);
    }

    /// How often that was so.
    pub(in super::super) fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Whether the first entry was sent: then there is something to read for certain.
    ///
    /// To look at all of them would take long.
    pub(in super::super) fn begins_with_sent(&self) -> bool {
        let first = self.list.first().and_then(|at| self.list.get(at));
        first.is_some_and(|entry| entry.id() != 0)
    }

    /// Changes whenever there may be more room than before.
    pub(in super::super) fn version(&self) -> u64 {
        self.version
    }

    /// Payload bytes waiting.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Requests read and still owed a reply.
    pub fn unreplied(&self) -> u32 {
        self.unreplied
    }

    /// Messages missed so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The serial number of the entry in a slot.
    pub(in super::super) fn serial_at(&self, at: u32) -> Option<u64> {
        Some(self.list.get(at)?.serial)
    }

    /// Payload length of the next message.
    pub fn next_len(&self) -> Option<usize> {
        self.front().map(|view| view.len)
    }

    /// The socket is on a bus now.
    pub(in super::super) fn join(&mut self) {
        self.joined = true;
    }

    /// Whether the socket is on a bus.
    pub(in super::super) fn is_on_bus(&self) -> bool {
        self.joined && !self.closed
    }

    /// Whether the socket has been closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing arrives any more.
    pub fn read_shut(&self) -> bool {
        self.read_shut || self.closed
    }

    /// Whether nothing can be sent any more.
    pub fn write_shut(&self) -> bool {
        self.write_shut || self.closed
    }

    /// Whether it takes a further message.
    pub fn has_room(&self) -> bool {
        !self.read_shut() && self.has_slot() && self.bytes < self.byte_limit
    }

    pub(super) fn has_slot(&self) -> bool {
        self.held() < self.limit
    }

    /// Messages that are here or sure to come.
    pub(super) fn held(&self) -> u32 {
        self.list.len().saturating_add(self.reserved)
    }

    /// Whether it holds more messages than it may: somebody has put in what had to arrive.
    pub(in super::super) fn is_overfull(&self) -> bool {
        self.held() > self.limit
    }
}
