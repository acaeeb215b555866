// SPDX-License-Identifier: GPL-2.0

//! A work queue of the module's own. Work is code of the module: when the queue goes, all of it has
//! been done.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use kernel::{
    prelude::*,
    workqueue::Queue, //
};

use core::ptr::NonNull;

/// A work queue. Its items are run by any number of threads, on any processor. Dropping it waits
/// for them, and may sleep.
///
/// # Invariants
///
/// The pointer is that of a work queue which nobody else destroys.
pub(crate) struct WorkQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Work may be queued, and a queue drained and destroyed, by any thread.
unsafe impl Send for WorkQueue {}
// SAFETY: As above.
unsafe impl Sync for WorkQueue {}

impl WorkQueue {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is static.
        let queue = unsafe { bindings::alloc_workqueue(name.as_char_ptr()) };
        // INVARIANT: It was made here.
        Ok(Self(NonNull::new(queue).ok_or(ENOMEM)?))
    }

    /// Where work is put.
    pub(crate) fn queue(&self) -> &Queue {
        // SAFETY: By the type invariant it is there for as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody has a reference any more.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
