// SPDX-License-Identifier: GPL-2.0

//! Those who get a message, or miss it.

use super::super::bus::STEP;
use super::super::entry::Cause;
use super::super::mem;
use super::super::mem::Vec;
use super::super::peer::Trace;
use super::super::queue::Member;
use super::super::recipient::Placed;
use super::super::recipient::Recipient;
use super::super::recipient::RecipientList;
use super::super::wait;
use super::Policy;

/// So many recipients there is room for without memory.
pub(super) const FEW: usize = 4;
/// There is room for so many more with the first memory, which fills a piece of 2 KiB.
const SOME: usize = STEP;

/// Those who get the message, in the order in which they were reached.
pub(super) struct Recipients<M> {
    pub(super) few: [Option<Recipient<M>>; FEW],
    /// `None` as long as there are few: the kernel takes some time to drop an empty vector, too.
    more: Option<RecipientList<M>>,
    /// How many are among the few.
    first: usize,
    /// Whether some miss the message.
    pub(super) missing: bool,
}

impl<M> Recipients<M> {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Recipients {
            // Each set by itself: an array that is a constant is copied whole.
            few: core::array::from_fn(|_| None),
            more: None,
            first: 0,
            missing: false,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.first
            .saturating_add(self.more.as_ref().map_or(0, |list| list.len()))
    }

    /// For how many more there is room.
    pub(super) fn room(&self) -> usize {
        let list = self.more.as_ref();
        let list = list.map_or(0, |list| list.capacity().saturating_sub(list.len()));
        FEW.saturating_sub(self.first).saturating_add(list)
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Makes room for so many more; false if there is no memory.
    pub(super) fn reserve(&mut self, more: usize) -> bool {
        self.room() >= more || self.extend(more.max(SOME))
    }

    /// Makes room for so many more in the list; false if there is no memory.
    fn extend(&mut self, more: usize) -> bool {
        if self.more.is_none() {
            self.more = mem::new_box(Vec::new()).ok();
        }
        let list = self.more.as_mut();
        list.is_some_and(|list| mem::reserve(list, more).is_ok())
    }

    /// Uses memory that was kept for a list, if there is no list yet.
    pub(super) fn reuse(&mut self, kept: Option<RecipientList<M>>) {
        if self.more.is_none() {
            self.more = kept;
        }
    }

    /// Whether there is memory for a list.
    pub(super) fn has_list(&self) -> bool {
        self.more.is_some()
    }

    /// Lets all go but the first few. Gives the memory of the list back if it is one that can be
    /// kept.
    #[inline(never)]
    pub(super) fn take_list(&mut self) -> Option<RecipientList<M>> {
        let mut list = self.more.take()?;
        // One by one: what the vector's own `clear()` calls for each is not inlined.
        while let Some(recipient) = list.pop() {
            drop(recipient.member);
        }
        (list.capacity() <= SOME).then_some(list)
    }

    /// Makes room for one more. With the bus locked it only grows as long as it is small.
    pub(super) fn prepare(&mut self, locked: bool) -> bool {
        match locked {
            true => self.prepare_for(2 * STEP),
            false => self.extend((8 * STEP).max(self.len())),
        }
    }

    /// Makes room for one more with the bus locked, as long as there are fewer than about `most`.
    #[inline]
    pub(super) fn prepare_for(&mut self, most: usize) -> bool {
        self.has_room() || self.grow(most)
    }

    #[cold]
    fn grow(&mut self, most: usize) -> bool {
        let listed = self.more.as_ref().map_or(0, |list| list.len());
        let more = match listed {
            0 => SOME,
            _ => STEP,
        };
        listed < most && self.extend(more)
    }

    /// Adds one for whom there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, recipient: Recipient<M>) {
        self.missing |= recipient.entry.is_none();
        if let Some(place) = self.few.get_mut(self.first) {
            *place = Some(recipient);
            self.first = self.first.saturating_add(1);
        } else if let Some(list) = &mut self.more {
            let _ = mem::push_reserved(list, recipient);
        }
    }

    /// One of them, by the order in which they were reached.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Recipient<M>> {
        match at.checked_sub(FEW) {
            None => self.few.get_mut(at)?.as_mut(),
            Some(at) => self.more.as_mut()?.get_mut(at),
        }
    }

    /// Calls `f` for all from this one on, in the order in which they were reached.
    #[inline]
    pub(super) fn each_from(&mut self, from: usize, mut f: impl FnMut(&mut Recipient<M>)) {
        let few = self.few.iter_mut().take(self.first).skip(from);
        few.flatten().for_each(&mut f);
        if let Some(list) = &mut self.more {
            let more = list.iter_mut().skip(from.saturating_sub(FEW));
            more.for_each(f);
        }
    }
}

impl<M: Member> Recipients<M> {
    /// The message has been sent: of those who have got it, from this one on, only they are to be
    /// woken who wait for it. To be called with the bus locked.
    pub(super) fn note_waiters(&mut self, from: usize, watch: &M::Watch) {
        self.each_from(from, |recipient| {
            if recipient.entry.is_some() {
                recipient.tell = recipient.member.is_waited_for(watch);
            }
        });
    }
}

impl<M: Member> Recipient<M> {
    /// One with an entry of this slot and serial number.
    pub(super) fn of(member: &M, slot: u32, serial: u64) -> Self {
        Recipient {
            member: member.clone(),
            entry: Placed::new(slot, serial),
            tell: true,
            room: false,
            gap: false,
            hears: 0,
            once: false,
        }
    }

    /// One that misses the message.
    pub(super) fn without(member: &M) -> Self {
        Recipient {
            member: member.clone(),
            entry: None,
            tell: false,
            room: false,
            gap: false,
            hears: 0,
            once: false,
        }
    }

    /// Tells whoever traces sockets what has become of the message of this id.
    #[cold]
    pub(super) fn trace(&self, id: u64) {
        self.member.trace(match self.entry {
            Some(_) => Trace::Deliver { id },
            None => Trace::Miss { id },
        });
    }

    /// Tells others what its queue has got back. To be called under no lock.
    #[inline]
    pub(super) fn tell_given_back(&mut self) {
        if self.room | self.gap {
            self.tell_something();
        }
    }

    #[cold]
    fn tell_something(&mut self) {
        if core::mem::take(&mut self.room) {
            wait::tell(&self.member);
        }
        if core::mem::take(&mut self.gap) {
            self.member.wake_reader();
        }
    }

    /// It misses the message of this id; `last` is the youngest binding. If that is an event that
    /// it cannot miss, it is told so by a notice in its place.
    pub(super) fn miss(&mut self, id: u64, policy: Policy, last: u64) {
        let Policy::Unbind { .. } = policy else {
            self.tell = self.member.with(|queue| queue.miss(id));
            return;
        };
        let cause = Cause::Once {
            last,
            replier: 0,
            listeners: self.hears,
        };
        let time = M::now();
        self.tell = self.member.with(|queue| queue.notice(cause, id, time));
    }
}
