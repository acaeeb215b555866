// SPDX-License-Identifier: GPL-2.0

//! Listeners that have been reached in this hold of the bus lock.
//!
//! Nobody can go as long as the bus is locked: so each is remembered by a reference to what its
//! binding has, and no reference is counted.

use super::super::mem;
use super::super::mem::List;
use super::super::queue::Member;
use super::super::recipient::Recipient;
use super::recipients::Recipients;
use super::recipients::FEW;

use core::num::NonZeroU32;

/// A listener, and where its copy is.
struct Reached<'b, M> {
    member: &'b M,
    /// One more than the slot's number; `None`: it misses the message.
    slot: Option<NonZeroU32>,
}

/// Listeners in the order in which they were reached.
pub(super) struct Here<'b, M> {
    few: [Option<Reached<'b, M>>; FEW],
    first: usize,
    /// `None` as long as there are few, as in [`Recipients`].
    more: Option<List<Reached<'b, M>>>,
}

impl<'b, M: Member> Here<'b, M> {
    /// Nobody yet. There is room for [`FEW`].
    #[inline(always)]
    pub(super) fn new() -> Self {
        Here {
            few: core::array::from_fn(|_| None),
            first: 0,
            more: None,
        }
    }

    /// Whether there is none.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// How many there are.
    fn len(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |list| list.len());
        self.first.saturating_add(more)
    }

    /// Makes room for so many more, here and in the list in which they go on after this hold. False
    /// if there is no memory.
    pub(super) fn reserve(&mut self, more: usize, after: &mut Recipients<M>) -> bool {
        let all = self.len().saturating_add(more);
        let list = self.more.get_or_insert_with(List::new);
        after.reserve(all) && mem::reserve_list(list, more).is_ok()
    }

    /// Adds one for whom there is room; without a `slot` it misses the message.
    #[inline(always)]
    pub(super) fn push(&mut self, member: &'b M, slot: Option<u32>) {
        let slot = slot.and_then(|slot| NonZeroU32::new(slot.wrapping_add(1)));
        let reached = Reached { member, slot };
        if let Some(place) = self.few.get_mut(self.first) {
            *place = Some(reached);
            self.first = self.first.saturating_add(1);
        } else if let Some(list) = &mut self.more {
            mem::push_reserved_list(list, reached);
        }
    }

    /// Calls `f` for all, and whether each has a copy.
    #[inline(always)]
    pub(super) fn each(&self, mut f: impl FnMut(&M, bool)) {
        for reached in self.few.iter().take(self.first).flatten() {
            f(reached.member, reached.slot.is_some());
        }
        for reached in self.more.iter().flatten() {
            f(reached.member, reached.slot.is_some());
        }
    }

    /// Goes on with all of them after this hold. There is room for them in that list.
    pub(super) fn keep(&self, after: &mut Recipients<M>) {
        let few = self.few.iter().take(self.first).flatten();
        for reached in few.chain(self.more.iter().flatten()) {
            let member = reached.member;
            let slot = reached.slot.map(|slot| slot.get().wrapping_sub(1));
            let entry = slot.and_then(|slot| {
                let serial = member.with(|queue| queue.serial_at(slot))?;
                Some((slot, serial))
            });
            after.push(match entry {
                Some((slot, serial)) => Recipient::of(member, slot, serial),
                None => Recipient::without(member),
            });
        }
    }
}
