// SPDX-License-Identifier: GPL-2.0

//! Those who get a message, or miss it.

use super::super::bus::STEP;
use super::super::entry::Cause;
use super::super::mem;
use super::super::mem::Vec;
use super::super::peer::Trace;
use super::super::queue::Member;
use super::super::wait;
use super::Policy;

use core::num::NonZeroU32;

/// So many recipients there is room for without memory.
const FEW: usize = 4;
/// There is room for so many more with the first memory: with those, for one hold of the bus lock.
const SOME: usize = match STEP > FEW {
    true => STEP - FEW,
    false => STEP,
};

/// Where an entry is: its slot and serial number. An optional one needs no more bytes than these.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// One more than the slot's number.
    slot: NonZeroU32,
    serial: u64,
}

impl Placed {
    /// `None` for a slot that no list has.
    pub(super) fn new(slot: u32, serial: u64) -> Option<Self> {
        let slot = NonZeroU32::new(slot.wrapping_add(1))?;
        Some(Placed { slot, serial })
    }

    /// Slot and serial number.
    pub(super) fn get(self) -> (u32, u64) {
        (self.slot.get().wrapping_sub(1), self.serial)
    }
}

/// One copy of the message in one queue.
pub(super) struct Recipient<M> {
    pub(super) member: M,
    /// Its entry; `None`: it misses the message.
    pub(super) entry: Option<Placed>,
    /// Whether it is to be woken.
    pub(super) tell: bool,
    /// Whether those may have room who wait for its queue, as its entry was taken out.
    pub(super) room: bool,
    /// Whether its reader is to be told of a gap that its entry had and has no more.
    pub(super) gap: bool,
    /// Bindings that match bind events, of a listener who has missed one that it cannot miss.
    pub(super) hears: u32,
    /// Whether it is the one copy of a socket that wants each message once.
    pub(super) once: bool,
}

/// Those who get the message, in the order in which they were reached.
pub(super) struct Recipients<M> {
    pub(super) few: [Option<Recipient<M>>; FEW],
    /// `None` as long as there are few: the kernel takes some time to drop an empty vector, too.
    pub(super) more: Option<Vec<Recipient<M>>>,
    pub(super) len: usize,
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
            len: 0,
            missing: false,
        }
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        let list = self.more.as_ref();
        self.len < FEW || list.is_some_and(|list| list.len() < list.capacity())
    }

    /// Makes room for one more. With the bus locked it only grows as long as it is small.
    pub(super) fn prepare(&mut self, locked: bool) -> bool {
        match locked {
            true => self.prepare_for(2 * STEP),
            false => {
                let list = self.more.get_or_insert_with(Vec::new);
                let more = (8 * STEP).max(list.len());
                mem::reserve(list, more).is_ok()
            }
        }
    }

    /// Makes room for one more with the bus locked, as long as there are fewer than about `most`.
    #[inline]
    pub(super) fn prepare_for(&mut self, most: usize) -> bool {
        self.has_room() || self.grow(most)
    }

    #[cold]
    fn grow(&mut self, most: usize) -> bool {
        let list = self.more.get_or_insert_with(Vec::new);
        let more = match list.is_empty() {
            true => SOME,
            false => STEP,
        };
        list.len() < most && mem::reserve(list, more).is_ok()
    }

    /// Adds one for whom there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, recipient: Recipient<M>) {
        self.missing |= recipient.entry.is_none();
        if let Some(place) = self.few.get_mut(self.len) {
            *place = Some(recipient);
        } else {
            let list = self.more.as_mut();
            if list.is_none_or(|list| mem::push_reserved(list, recipient).is_err()) {
                return;
            }
        }
        self.len = self.len.saturating_add(1);
    }

    /// One of them, by the order in which they were reached.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Recipient<M>> {
        match at.checked_sub(FEW) {
            None => self.few.get_mut(at)?.as_mut(),
            Some(at) => self.more.as_mut()?.get_mut(at),
        }
    }

    /// Calls `f` for all from this one on, in the order in which they were reached.
    pub(super) fn each_from(&mut self, from: usize, mut f: impl FnMut(&mut Recipient<M>)) {
        for at in from..self.len {
            if let Some(recipient) = self.get_mut(at) {
                f(recipient);
            }
        }
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
