// SPDX-License-Identifier: GPL-2.0

//! Whether a bus tells of bindings that come and go: who has asked for it, and how many listen.
//!
//! The telling is in [`events`](super::events).

/// Unbind events of dying sockets that may wait on a bus beyond the limits of queues.
const MOST: u32 = 1000;
/// So many of them one listener may have, however many listeners there are.
const SHARE: u32 = 16;
/// What a bus knows of its events.
pub(super) struct Events {
    /// Sockets that have switched them on.
    pub(super) reporters: u32,
    /// Sockets that listen to them.
    pub(super) listeners: u32,
    pub(super) most: u32,
    pub(super) share: u32,
}

impl Events {
    pub(super) const fn new() -> Self {
        Events {
            reporters: 0,
            listeners: 0,
            most: MOST,
            share: SHARE,
        }
    }

    /// Whether anybody has switched them on.
    pub(super) fn are_on(&self) -> bool {
        self.reporters > 0
    }

    /// One more socket listens to them, or one less.
    pub(super) fn count_listener(&mut self, more: bool) {
        self.listeners = match more {
            true => self.listeners.saturating_add(1),
            false => self.listeners.saturating_sub(1),
        };
    }

    /// Most events of dying sockets that one listener may have.
    pub(super) fn share(&self) -> u32 {
        let even = self.most.checked_div(self.listeners).unwrap_or(0);
        even.max(self.share)
    }
}
