// SPDX-License-Identifier: GPL-2.0

//! What is asked about the task that makes a system call.

use super::bindings;
use kernel::task::{
    Kuid,
    Task, //
};

/// Whether the current task has given up gaining privileges (`PR_SET_NO_NEW_PRIVS`), runs under a
/// seccomp filter, or may act for a task of which this holds.
///
/// The last is assumed of every worker thread that the kernel has added to a program, such as
/// io_uring's: its own flags and filter are those that the program had when the worker was made,
/// and may be older than the sandbox. Nor do they tell for whom it works: the ring may be shared
/// with another process, which has given itself a sandbox or was given one. So no worker can be
/// asked, and all are taken for sandboxed.
pub(crate) fn is_sandboxed() -> bool {
    const WORKER: u32 = bindings::PF_IO_WORKER | bindings::PF_USER_WORKER;
    let task = Task::current_raw();
    // SAFETY: `current` is valid, and its own flags and seccomp mode may be read by itself.
    unsafe {
        (*task).flags & WORKER != 0
            || bindings::task_no_new_privs(task)
            || bindings::seccomp_mode(&raw mut (*task).seccomp) != 0
    }
}

/// Whether the current task was killed: it should end what it does, of which nobody will see the
/// result.
pub(crate) fn is_dying() -> bool {
    // SAFETY: `current` is valid.
    unsafe { bindings::fatal_signal_pending(Task::current_raw()) != 0 }
}

/// Lets others have the processor, where it is their turn. Sleeps, maybe.
pub(crate) fn let_others_run() {
    // SAFETY: It may be called where one may sleep.
    unsafe { bindings::cond_resched() };
}

/// The effective user of the current task, as a number of the initial user namespace.
pub(crate) fn current_euid() -> u32 {
    Kuid::current_euid().into_raw().val
}

/// Marks the number of a payer that is a user namespace, and no user.
const NAMESPACE: u64 = 1 << 63;

/// The user who answers for the current task, as a number: a user's of the initial user namespace,
/// or one that stands for a user namespace.
///
/// The ids of a user namespace were lent by its owner: so it is that one, in the outermost
/// namespace but the initial one. Else who may map many ids would be as many users. But if root has
/// made that namespace, it is a container of the system's: nothing in it takes from root, or from
/// another container, so that it is a user of its own.
pub(crate) fn current_payer() -> u64 {
    let mut payer = u64::from(current_euid());
    // SAFETY: The current task's user namespace and its ancestors are valid, and their owners and
    // numbers do not change.
    unsafe {
        let mut namespace = bindings::current_user_ns();
        while !core::ptr::eq(namespace, &raw const bindings::init_user_ns) {
            payer = match (*namespace).owner.val {
                0 => NAMESPACE | bindings::user_ns_id(namespace),
                owner => u64::from(owner),
            };
            namespace = (*namespace).parent;
        }
    }
    payer
}

/// Whether the current task has used up `RLIMIT_NOFILE` with so many files, and has neither
/// `CAP_SYS_RESOURCE` nor `CAP_SYS_ADMIN`, as `too_many_unix_fds()` has it.
pub(crate) fn exceeds_nofile(count: u64) -> bool {
    // SAFETY: A task may read its own limits and ask for its own capabilities.
    unsafe {
        count > bindings::task_rlimit(Task::current_raw(), bindings::RLIMIT_NOFILE) as u64
            && !bindings::capable(bindings::CAP_SYS_RESOURCE as i32)
            && !bindings::capable(bindings::CAP_SYS_ADMIN as i32)
    }
}

/// The effective group of the current task, as a number of the initial user namespace.
pub(crate) fn current_egid() -> u32 {
    // SAFETY: A task may read its own credentials.
    unsafe { bindings::current_egid() }.val
}

/// Whether the current task is of this group, effective or supplementary.
pub(crate) fn in_group(gid: u32) -> bool {
    // SAFETY: `in_egroup_p()` looks at the current task's credentials only.
    unsafe { bindings::in_egroup_p(bindings::kgid_t { val: gid }) != 0 }
}

/// A user as the current task sees it; the overflow id if it is not one of its namespace.
pub(crate) fn uid_here(uid: u32) -> u32 {
    // SAFETY: The current task's user namespace is valid during the call.
    unsafe {
        bindings::from_kuid_munged(bindings::current_user_ns(), bindings::kuid_t { val: uid })
    }
}

/// A group as the current task sees it; the overflow id if it is not one of its namespace.
pub(crate) fn gid_here(gid: u32) -> u32 {
    // SAFETY: The current task's user namespace is valid during the call.
    unsafe {
        bindings::from_kgid_munged(bindings::current_user_ns(), bindings::kgid_t { val: gid })
    }
}

/// Bytes of memory that the machine has.
pub(crate) fn ram_bytes() -> u64 {
    // SAFETY: It reads one counter.
    let pages = unsafe { bindings::totalram_pages() };
    (pages as u64).saturating_mul(kernel::page::PAGE_SIZE as u64)
}
