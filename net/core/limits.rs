// SPDX-License-Identifier: GPL-2.0

//! How many objects one user may have on one bus, and where ids begin.
//!
//! The limits hold for all buses of the machine and may be changed at any time; what there is already stays.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;

/// Ids begin behind this, whatever of: sockets, messages, bindings, waits.
///
/// In a kernel that checks itself those of 32 bits come to an end soon after the beginning, so that all its tests go past it.
pub const BEFORE_FIRST: u64 = match cfg!(CONFIG_RUST_DEBUG_ASSERTIONS) {
    true => u32::MAX as u64 - 100,
    false => 0,
};

/// The limits.
#[derive(Debug)]
pub struct Limits {
    /// Bindings.
    pub bindings: AtomicU64,
    /// Sockets that listen at or above `$.%`.
    pub wide: AtomicU64,
    /// Sends and bindings that wait.
    pub waits: AtomicU64,
    /// How many of them are tried in one step: no limit of a user, but a number that tests make smaller.
    pub tries: AtomicU32,
}

impl Limits {
    /// The limits of a machine on which nothing was set.
    pub const fn new() -> Self {
        Limits {
            bindings: AtomicU64::new(4096),
            wide: AtomicU64::new(256),
            waits: AtomicU64::new(1024),
            tries: AtomicU32::new(16),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::new()
    }
}
