// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! [`include/linux/random.h`](srctree/include/linux/random.h).

use super::bindings;

/// A number that nobody can guess.
pub(crate) fn number() -> u64 {
    // SAFETY: It may be called anywhere.
    unsafe { bindings::get_random_u64() }
}
