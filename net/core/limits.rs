// SPDX-License-Identifier: GPL-2.0

//! How many objects one user may have on one bus.
//!
//! They hold for all buses of the machine and may be changed at any time; what there is already stays.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;

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
