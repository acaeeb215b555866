// SPDX-License-Identifier: GPL-2.0

//! One copy of a message in one queue, as a send remembers it until it ends.

use super::mem::Box;
use super::mem::Vec;

use core::num::NonZeroU32;

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
    /// Whether it is to be woken: at first, if it waits when the message has been sent.
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

/// Memory for those who get a message.
// In a box, as the queue that keeps one is part of each socket.
#[allow(clippy::box_collection)]
pub(super) type RecipientList<M> = Box<Vec<Recipient<M>>>;
