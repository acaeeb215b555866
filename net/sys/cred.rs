// SPDX-License-Identifier: GPL-2.0

//! Who a message is from, and who made what a socket is bound to.
//!
//! C headers: [`include/linux/cred.h`](srctree/include/linux/cred.h),
//! [`include/net/scm.h`](srctree/include/net/scm.h).

use super::{
    bindings,
    pid::Pid,
    sock::Sock,
    task, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    cred::Credential,
    prelude::*,
    sync::aref::ARef,
    task::Task, //
};

/// `struct ucred`: process, user and group as numbers of the namespaces of whoever looks at them.
#[derive(Clone, Copy)]
pub(crate) struct Ucred {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Ucred {
    /// What stands for nobody: no process, and the overflow ids.
    pub(crate) fn nobody() -> Self {
        Self {
            pid: 0,
            uid: task::uid_here(INVALID_ID),
            gid: task::gid_here(INVALID_ID),
        }
    }
}

/// `INVALID_UID` and `INVALID_GID`.
const INVALID_ID: u32 = u32::MAX;

/// Credentials as they come with a message: process, real user and group, security label.
pub(crate) struct Creds {
    pid: Pid,
    /// As numbers of the initial user namespace.
    uid: u32,
    gid: u32,
    /// The security label as text, where it was asked for and there is one. Few messages have one:
    /// the others need only the room of a pointer.
    label: Option<KBox<KVec<u8>>>,
}

impl Creds {
    /// Those of the current task; its label only if that is wanted, as making it takes time and
    /// memory.
    ///
    /// # Errors
    ///
    /// `ESRCH` for a task that is being reaped, `ENOMEM`.
    pub(crate) fn of_current(with_label: bool) -> Result<Self> {
        // SAFETY: A task may read its own credentials.
        let (uid, gid) = unsafe { (bindings::current_uid().val, bindings::current_gid().val) };
        Ok(Self {
            pid: Pid::of_current_process()?,
            uid,
            gid,
            label: if with_label { current_label()? } else { None },
        })
    }

    /// Others that the current task says are its own; the label stays what it is.
    ///
    /// `SCM_CREDENTIALS`, with the checks of `scm_check_creds()`: one's own process, one of one's
    /// own users and groups, or `CAP_SYS_ADMIN` over the pid namespace, `CAP_SETUID` and
    /// `CAP_SETGID` over the user namespace.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a user or group that does not exist in the namespace, `EPERM` for what may not
    /// be claimed, `ESRCH` for a process that does not exist.
    pub(crate) fn claim(self, claimed: Ucred) -> Result<Self> {
        // SAFETY: `current` and its namespaces are valid, and a task may read its own credentials.
        let (ns, pid_ns_owner, uid, gid, own_uids, own_gids) = unsafe {
            let ns = bindings::current_user_ns();
            let pid_ns = bindings::task_active_pid_ns(Task::current_raw());
            (
                ns,
                (*pid_ns).user_ns,
                bindings::make_kuid(ns, claimed.uid).val,
                bindings::make_kgid(ns, claimed.gid).val,
                [
                    bindings::current_uid().val,
                    bindings::current_euid().val,
                    bindings::current_suid().val,
                ],
                [
                    bindings::current_gid().val,
                    bindings::current_egid().val,
                    bindings::current_sgid().val,
                ],
            )
        };
        if uid == INVALID_ID || gid == INVALID_ID {
            return Err(EINVAL);
        }
        let own_process = self.pid.number_here() == Some(claimed.pid);
        // SAFETY: The user namespaces of `current`, and the one that owns its pid namespace, are
        // valid during the call.
        let may = unsafe {
            (own_process || bindings::ns_capable(pid_ns_owner, bindings::CAP_SYS_ADMIN as i32))
                && (own_uids.contains(&uid)
                    || bindings::ns_capable(ns, bindings::CAP_SETUID as i32))
                && (own_gids.contains(&gid)
                    || bindings::ns_capable(ns, bindings::CAP_SETGID as i32))
        };
        if !may {
            return Err(EPERM);
        }
        let pid = match own_process {
            true => self.pid,
            false => Pid::find(claimed.pid).ok_or(ESRCH)?,
        };
        Ok(Self {
            pid,
            uid,
            gid,
            label: self.label,
        })
    }

    /// Another set of the same. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(crate) fn copy(&self, flags: Flags) -> Result<Self, AllocError> {
        let label = match &self.label {
            Some(text) => {
                let mut copy = KVec::new();
                copy.extend_from_slice(text, flags)?;
                Some(KBox::new(copy, flags)?)
            }
            None => None,
        };
        Ok(Self {
            pid: self.pid.clone(),
            uid: self.uid,
            gid: self.gid,
            label,
        })
    }

    /// As the current task sees them: 0 for a process that it does not see, the overflow ids for
    /// others than those of its user namespace.
    pub(crate) fn seen_here(&self) -> Ucred {
        Ucred {
            pid: self.pid.number_here().unwrap_or(0),
            uid: task::uid_here(self.uid),
            gid: task::gid_here(self.gid),
        }
    }

    /// The security label as text.
    pub(crate) fn label(&self) -> Option<&[u8]> {
        self.label.as_ref().map(|label| label.as_slice())
    }
}

/// The current task's security label, if there is a security module that has labels.
///
/// The text, and not what stands for it: what `security_current_getlsmprop_subj()` gives holds no
/// reference, and not all modules answer `security_cred_getsecid()`.
fn current_label() -> Result<Option<KBox<KVec<u8>>>> {
    let mut prop: bindings::lsm_prop = pin_init::zeroed();
    let mut context: bindings::lsm_context = pin_init::zeroed();
    // SAFETY: Both are valid for writes; what the first call gives is good for as long as the
    // task's label is.
    let len = unsafe {
        bindings::security_current_getlsmprop_subj(&raw mut prop);
        bindings::security_lsmprop_to_secctx(
            &raw mut prop,
            &raw mut context,
            bindings::LSM_ID_UNDEF as i32,
        )
    };
    if len < 0 || context.context.is_null() {
        return Ok(None);
    }
    let mut label = KVec::new();
    // SAFETY: The call succeeded: this is the text, which is given back after it was copied.
    let copied = unsafe {
        let text = core::slice::from_raw_parts(context.context.cast(), context.len as usize);
        let copied = label.extend_from_slice(text, GFP_KERNEL_ACCOUNT);
        bindings::security_release_secctx(&raw mut context);
        copied
    };
    copied?;
    Ok(Some(KBox::new(label, GFP_KERNEL_ACCOUNT)?))
}

/// A process and all of its credentials as they were: what `SO_PEERCRED` and `SO_PEERPIDFD` tell.
pub(crate) struct Maker {
    pid: Pid,
    cred: ARef<Credential>,
}

impl Maker {
    /// The current task's.
    ///
    /// # Errors
    ///
    /// `ESRCH` for a task that is being reaped.
    pub(crate) fn current() -> Result<Self> {
        let pid = Pid::of_current_process()?;
        // SAFETY: A task may refer to its own credentials, which stay during the call.
        let cred = unsafe { Credential::from_ptr(bindings::current_cred()) }.into();
        Ok(Self { pid, cred })
    }

    /// Its credentials, for as long as `self` lives.
    pub(super) fn as_raw_cred(&self) -> *const bindings::cred {
        core::ptr::from_ref(&*self.cred).cast()
    }
}

impl Sock {
    /// Makes `maker` what the core says of this socket's peer: `SO_PEERCRED`, `SO_PEERGROUPS`,
    /// `SO_PEERPIDFD`.
    pub(crate) fn set_peer(&self, maker: &Maker) {
        let (mut pid, mut cred) = (
            maker.pid.clone().into_raw(),
            ARef::into_raw(maker.cred.clone())
                .as_ptr()
                .cast::<bindings::cred>()
                .cast_const(),
        );
        // SAFETY: `self` is valid, and both fields are read and written under this lock only. The
        // references that were in them, if any, are given up after it.
        unsafe {
            let lock = bindings::sk_peer_lock(self.as_raw());
            bindings::spin_lock(lock);
            core::ptr::swap(bindings::sk_peer_pid(self.as_raw()), &raw mut pid);
            core::ptr::swap(bindings::sk_peer_cred(self.as_raw()), &raw mut cred);
            bindings::spin_unlock(lock);
            bindings::put_pid(pid);
            bindings::put_cred(cred);
        }
    }
}
