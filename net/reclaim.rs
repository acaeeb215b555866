// SPDX-License-Identifier: GPL-2.0

//! Waiting for memory, but not under the lock of a bus.
//!
//! Memory may have to be reclaimed, which takes as long as it takes: for ever, nearly, in a memory cgroup at its limit.
//! Whoever waited for that under the lock of a bus would have all others on it wait. So what is allocated there is taken if
//! it is there; if not, the operation, which has changed nothing then, gives up the lock, waits for memory in its own time
//! and cgroup, and is tried again.

use crate::bus_core::Error;
use kernel::{
    alloc::{
        flags::{
            GFP_KERNEL,
            GFP_KERNEL_ACCOUNT,
            GFP_NOWAIT, //
        },
        AllocError,
        Flags, //
    },
    prelude::*, //
};

/// Times that an operation is tried.
const TRIES: u32 = 5;
/// What is waited for first, in bytes; twice as much each time.
const FIRST: usize = 16 << 10;

/// For allocations under the lock of a bus: charged to the memory cgroup, and without waiting.
pub(crate) fn nowait() -> Flags {
    GFP_NOWAIT | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL)
}

/// Waits until there is some memory, more than the last time (`tries`). Nothing is kept: that it was there is all.
///
/// May sleep, and must not be called under a lock.
///
/// # Errors
///
/// [`AllocError`]: it is of no use to try again.
pub(crate) fn wait(tries: u32) -> Result<(), AllocError> {
    let bytes = FIRST.checked_shl(tries.min(TRIES)).unwrap_or(FIRST);
    KVVec::<u8>::with_capacity(bytes, GFP_KERNEL_ACCOUNT).map(drop)
}

/// Does what takes the lock of a bus; again, if there was no memory, as soon as there is some.
///
/// # Errors
///
/// That of `operation`.
pub(crate) fn patiently<T>(mut operation: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for tries in 1..TRIES {
        match operation() {
            Err(Error::NoMem) => wait(tries.saturating_sub(1)).map_err(|_| Error::NoMem)?,
            result => return result,
        }
    }
    operation()
}
