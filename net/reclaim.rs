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

/// What is waited for, in bytes. A small cgroup has not much to give; 4096 copies of a message need a megabyte, which is only
/// reclaimed if that much is asked for.
const AMOUNTS: [usize; 4] = [16 << 10, 128 << 10, 1 << 20, 8 << 20];

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
pub(crate) fn wait(tries: usize) -> Result<(), AllocError> {
    let [.., most] = AMOUNTS;
    let bytes = AMOUNTS.get(tries).copied().unwrap_or(most);
    KVVec::<u8>::with_capacity(bytes, GFP_KERNEL_ACCOUNT).map(drop)
}

/// Does what takes the lock of a bus; again, if there was no memory, as soon as there is some.
///
/// # Errors
///
/// That of `operation`.
pub(crate) fn patiently<T>(mut operation: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for tries in 0..AMOUNTS.len() {
        match operation() {
            Err(Error::NoMem) => wait(tries).map_err(|_| Error::NoMem)?,
            result => return result,
        }
    }
    operation()
}
