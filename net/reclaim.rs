// SPDX-License-Identifier: GPL-2.0

//! Waiting for memory, but under no lock.
//!
//! Under a spinlock nobody may sleep. So what is allocated there is taken if it is there; if not,
//! the operation, which has changed nothing then, gives up the lock, waits for memory in its own
//! time and memory cgroup, and is tried again.

use crate::{
    bus_core::{
        mem::Need,
        Error, //
    },
    sys::memory, //
};
use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// What is waited for, in bytes: more each time, as one try may need memory for many entries.
const AMOUNTS: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// For allocations that must not sleep, charged to a memory cgroup. They take nobody's memory away,
/// and in a memory cgroup at its limit they fail.
pub(crate) fn nowait() -> Flags {
    GFP_NOWAIT | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL)
}

/// Flags for what is allocated under a lock.
pub(crate) fn flags(need: Need) -> Flags {
    match need {
        Need::Wanted => nowait(),
        // Such as that of a reply: a memory cgroup goes beyond its limit for it, and gets back
        // below with what it allocates next.
        Need::Promised => GFP_ATOMIC | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL),
    }
}

/// Does what takes the lock of a bus; again, if there was no memory, as soon as there is some.
///
/// # Errors
///
/// That of `operation`.
#[inline]
pub(crate) fn patiently<T>(mut operation: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let first = operation();
    if let Err(Error::NoMem) = first {
        return again(operation);
    }
    first
}

/// Goes on with that after there was no memory.
#[cold]
fn again<T>(mut operation: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for bytes in AMOUNTS {
        // Nothing is kept: that it was there is all. If there is none, nobody is killed for it.
        memory::reclaim(bytes)?;
        match operation() {
            Err(Error::NoMem) => {}
            result => return result,
        }
    }
    Err(Error::NoMem)
}
