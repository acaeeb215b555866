// SPDX-License-Identifier: GPL-2.0

//! Every limit there is, and where ids begin.
//!
//! The limits of [`Limits`] hold for all buses of the machine. They are the files of `net.kbus` and
//! may be changed at any time; what there is already stays. What uses up a limit holds a
//! [`Charge`](super::account::Charge) or [`One`](super::account::One) of an
//! [`Account`](super::account::Account).
//!
//! Limits that a socket or a bus has of its own: [`queue`](super::queue) (`KBUS_QUEUE_LEN`,
//! `SO_RCVBUF`, `KBUS_REPLY_MAX`) and [`bus`](super::bus) (`KBUS_MAX_MSG_SIZE`, `KBUS_BUS_BYTES`).

use super::mem::Counter;

/// Ids begin behind this, whatever of: sockets, messages, bindings, waits.
///
/// In a kernel that checks itself those of 32 bits come to an end soon after the beginning, so that
/// all its tests go past it.
pub const BEFORE_FIRST: u64 = match cfg!(CONFIG_RUST_DEBUG_ASSERTIONS) {
    true => u32::MAX as u64 - 100,
    false => 0,
};

/// The limits of the machine.
#[derive(Debug)]
pub struct Limits {
    /// Bytes of payload that may wait for one user.
    pub user_bytes: Counter,
    /// Messages that may wait for one user.
    pub user_messages: Counter,
    /// Buses that may count for one user.
    pub user_buses: Counter,
    /// Bindings of one user on one bus.
    pub user_bindings: Counter,
    /// Sockets of one user on one bus that listen at or above `$.%`.
    pub user_wide: Counter,
    /// Sends and bindings of one user on one bus that wait.
    pub user_waits: Counter,
    /// Bytes of payload that may be alive on one bus.
    pub bus_bytes: Counter,
    /// The most that `KBUS_QUEUE_LEN` may be.
    pub max_queue_len: Counter,
}

/// `user_bytes` of a small machine.
const LEAST_BYTES: u64 = 64 << 20;
/// `user_messages` of a small machine.
const LEAST_MESSAGES: u64 = 1 << 16;
/// What a message with the longest name takes beside its payload, with something to spare.
const MESSAGE_BYTES: u64 = 2048;

impl Limits {
    /// The limits before it is known how much memory there is.
    pub const fn new() -> Self {
        Limits {
            user_bytes: Counter::new(LEAST_BYTES),
            user_messages: Counter::new(LEAST_MESSAGES),
            user_buses: Counter::new(256),
            user_bindings: Counter::new(4096),
            user_wide: Counter::new(256),
            user_waits: Counter::new(1024),
            bus_bytes: Counter::new(64 << 20),
            max_queue_len: Counter::new(16384),
        }
    }

    /// Sets the limits that depend on how many bytes of memory the machine has.
    pub fn measure(&self, ram: u64) {
        let bytes = (ram / 16).max(LEAST_BYTES);
        self.user_bytes.set(bytes);
        self.user_messages
            .set((bytes / MESSAGE_BYTES).max(LEAST_MESSAGES));
        self.bus_bytes.set(ram / 8);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::new()
    }
}
