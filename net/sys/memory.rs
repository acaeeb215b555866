// SPDX-License-Identifier: GPL-2.0

//! Memory: which cgroup it is charged to, and waiting for some.
//!
//! C headers: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h),
//! [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h).

use super::bindings;
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*, //
};

use core::{
    convert::Infallible,
    ptr::null_mut, //
};

/// A memory cgroup, or none where the kernel has no such.
///
/// # Invariants
///
/// The pointer is null or owns a reference.
pub(crate) struct MemoryCgroup(*mut bindings::mem_cgroup);

// SAFETY: A memory cgroup may be referenced, charged and released from any thread.
unsafe impl Send for MemoryCgroup {}
// SAFETY: As above.
unsafe impl Sync for MemoryCgroup {}

impl MemoryCgroup {
    /// That of the current task.
    pub(crate) fn current() -> Self {
        // SAFETY: Without a memory map it is asked for that of the current task.
        // INVARIANT: It gives a reference, or null.
        Self(unsafe { bindings::get_mem_cgroup_from_mm(null_mut()) })
    }

    /// Tells it from others.
    pub(crate) fn id(&self) -> usize {
        self.0 as usize
    }

    /// Charges what `f` allocates with `__GFP_ACCOUNT` to it, and not to that of the current task.
    pub(crate) fn charge<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: By the type invariant the memory cgroup stays. The scope ends in this function: a
        // panic does not unwind in the kernel.
        let before = unsafe { bindings::set_active_memcg(self.0) };
        let result = f();
        // SAFETY: What was there before is valid: whoever set it sees to that.
        unsafe { bindings::set_active_memcg(before) };
        result
    }
}

impl Clone for MemoryCgroup {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant it is valid or null, and both may be passed.
        unsafe { bindings::mem_cgroup_get(self.0) };
        // INVARIANT: The reference was just taken.
        Self(self.0)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::mem_cgroup_put(self.0) };
    }
}

/// Waits until so many bytes could be had, charged to the memory cgroup of the current task. Nobody
/// is killed for it, and nothing is kept. May sleep.
///
/// # Errors
///
/// [`AllocError`] when they cannot be had.
pub(crate) fn reclaim(bytes: usize) -> Result<(), AllocError> {
    // SAFETY: What is given is given back, null included.
    unsafe {
        let memory = bindings::kvmalloc(bytes, bindings::GFP_KILLS_NOBODY);
        bindings::kvfree(memory);
        match memory.is_null() {
            true => Err(AllocError),
            false => Ok(()),
        }
    }
}

/// Allocates an array in a box, of items that `make` makes, each where it is to be. An array that
/// was made on the stack first would need much of it.
///
/// # Errors
///
/// [`AllocError`].
pub(crate) fn array<T, const N: usize>(
    make: impl Fn() -> T,
    flags: Flags,
) -> Result<KBox<[T; N]>, AllocError> {
    let items = pin_init::init_array_from_fn::<T, N, T, Infallible>(|_| make());
    KBox::init(items, flags).map_err(|_| AllocError)
}
