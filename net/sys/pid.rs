// SPDX-License-Identifier: GPL-2.0

//! A process's id, kept for longer than the process may live.
//!
//! C header: [`include/linux/pid.h`](srctree/include/linux/pid.h).

use super::bindings;
use kernel::{
    prelude::*,
    task::Task, //
};

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// A reference to a `struct pid`: the same process in all pid namespaces that see it.
///
/// # Invariants
///
/// It owns one reference.
pub(crate) struct Pid(NonNull<bindings::pid>);

// SAFETY: A `struct pid` may be referenced, read and released from any thread.
unsafe impl Send for Pid {}
// SAFETY: As above.
unsafe impl Sync for Pid {}

impl Pid {
    /// That of the current task's process.
    ///
    /// # Errors
    ///
    /// `ESRCH` for a task that is being reaped.
    pub(crate) fn of_current_process() -> Result<Self> {
        // SAFETY: `current` is valid.
        let pid =
            unsafe { bindings::get_task_pid(Task::current_raw(), bindings::pid_type_PIDTYPE_TGID) };
        // INVARIANT: `get_task_pid()` gives a reference.
        NonNull::new(pid).map(Self).ok_or(ESRCH)
    }

    /// The process, or thread, that has this number in the current task's pid namespace.
    pub(crate) fn find(number: u32) -> Option<Self> {
        // SAFETY: It may be called in process context with any number.
        let pid = unsafe { bindings::find_get_pid(number as i32) };
        // INVARIANT: `find_get_pid()` gives a reference.
        NonNull::new(pid).map(Self)
    }

    /// The pointer, with the reference.
    pub(super) fn into_raw(self) -> *mut bindings::pid {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Its number as the current task's pid namespace has it; `None` if it is not seen from there.
    pub(crate) fn number_here(&self) -> Option<u32> {
        // SAFETY: By the type invariant `self` is valid, and so is `current` with its namespace.
        let number = unsafe {
            bindings::pid_nr_ns(
                self.0.as_ptr(),
                bindings::task_active_pid_ns(Task::current_raw()),
            )
        };
        u32::try_from(number).ok().filter(|number| *number != 0)
    }
}

impl Clone for Pid {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant.
        unsafe { bindings::get_pid(self.0.as_ptr()) };
        // INVARIANT: `get_pid()` takes a further reference.
        Self(self.0)
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}
