// SPDX-License-Identifier: GPL-2.0

//! Work items, beyond what the kernel crate has of them.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use kernel::workqueue::Work;

/// Waits until a work item that was queued before has run.
///
/// Work is code of the module: it must have ended before that goes. May sleep.
pub(crate) fn flush<T>(work: &Work<T>) {
    // SAFETY: `work` is a valid reference, and a `Work` is initialised as long as it is there.
    unsafe { bindings::flush_work(Work::raw_get(work)) };
}
