// SPDX-License-Identifier: GPL-2.0

//! Entries of sends that go on in another hold of the bus lock.

use super::Entry;
use super::Gap;
use super::Member;
use super::Queue;

impl<M: Member> Queue<M> {
    /// An entry of a send that goes on in another hold of the bus lock: what is sent meanwhile goes
    /// before it. Says whether the reader is to be told of a gap, which the entry had.
    pub(in super::super) fn mark_late(&mut self, at: u32, serial: u64) -> bool {
        let Some(entry) = self.find(at, serial).filter(|entry| !entry.late) else {
            return false;
        };
        entry.late = true;
        // What was missed before it is told with what can be read next.
        let gap = core::mem::replace(&mut entry.gap, Gap::NONE);
        self.late = self.late.saturating_add(1);
        self.gap.add(gap);
        self.report_lost && gap.count > 0
    }

    /// A late entry has been sent: it goes where its id belongs.
    ///
    /// Of several copies of one message in a queue the last is to be told first: what came after it
    /// in the same hold of the bus lock as it was sent is not late, and behind all of them.
    pub(in super::super) fn settle_late(&mut self, at: u32, serial: u64) {
        let Some(entry) = self.find(at, serial).filter(|entry| entry.late) else {
            return;
        };
        entry.late = false;
        // Each urgent one goes before all others, its own other copies too.
        let urgent = entry.urgent;
        self.late = self.late.saturating_sub(1);
        self.put_in_order(at, urgent);
        // What was missed before it is told with it, if nothing has come after it.
        let is_last = self.list.last() == Some(at);
        let gap = self.gap;
        if let Some(entry) = self.list.get_mut(at).filter(|_| is_last && !urgent) {
            if gap.last < entry.id() {
                entry.gap.add(gap);
                self.gap = Gap::NONE;
            }
        }
    }

    /// Moves an entry to where its id belongs, before or after other copies of the same message.
    pub(super) fn put_in_order(&mut self, at: u32, after_equal: bool) {
        let Some(entry) = self.list.get(at) else {
            return;
        };
        let (id, urgent) = (entry.id(), entry.urgent);
        let goes_after = |other: &Entry<M>| match (urgent, other.urgent) {
            (false, true) => true,
            (true, false) => false,
            // The latest of the urgent ones is the first.
            (true, true) => other.id() > id || (after_equal && other.id() == id),
            (false, false) => match other.id() {
                0 => false,
                other => other < id || (after_equal && other == id),
            },
        };
        // From the end: most have come before it.
        let mut after = self.list.last();
        while let Some(other) = after {
            if other != at && self.list.get(other).is_some_and(goes_after) {
                break;
            }
            after = self.list.prev(other);
        }
        let mut before = match after {
            Some(other) => self.list.next(other),
            None => self.list.first(),
        };
        if before == Some(at) {
            before = self.list.next(at);
        }
        self.list.move_before(at, before);
    }
}
