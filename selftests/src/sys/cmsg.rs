// SPDX-License-Identifier: GPL-2.0
//! Ancillary data.

use std::mem;
use std::os::fd::RawFd;

use kbus_uapi::kbus_send;
use kbus_uapi::kbus_via;

use super::bytes::bytes_of;
use super::uapi;

/// `struct ucred`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Creds {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Creds {
    /// This process, with its real user and group.
    pub fn own() -> Creds {
        // SAFETY: Always safe.
        unsafe {
            Creds {
                pid: libc::getpid(),
                uid: libc::getuid(),
                gid: libc::getgid(),
            }
        }
    }

    /// What stands for nobody.
    pub const NOBODY: Creds = Creds {
        pid: 0,
        uid: 65534,
        gid: 65534,
    };
}

/// One control message, to be sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmsg {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// What follows the header.
    pub data: Vec<u8>,
}

impl Cmsg {
    /// Any control message of level `SOL_KBUS`.
    pub fn kbus(kind: u32, data: &[u8]) -> Cmsg {
        Cmsg {
            level: uapi::SOL_KBUS as i32,
            kind: kind as i32,
            data: data.to_vec(),
        }
    }

    /// `SCM_KBUS_SEND`.
    pub fn send(flags: u32, reply_max: u32, cookie: u64) -> Cmsg {
        let send = kbus_send {
            flags,
            reply_max,
            cookie,
        };
        Cmsg::kbus(uapi::SCM_KBUS_SEND, &bytes_of(&send))
    }

    /// `SCM_KBUS_NAME`.
    pub fn name(name: &str) -> Cmsg {
        Cmsg::kbus(uapi::SCM_KBUS_NAME, name.as_bytes())
    }

    /// `SCM_KBUS_VIA`.
    pub fn via(via: kbus_via) -> Cmsg {
        Cmsg::kbus(uapi::SCM_KBUS_VIA, &bytes_of(&via))
    }

    /// `SCM_RIGHTS` with one descriptor.
    pub fn rights(fd: RawFd) -> Cmsg {
        Cmsg::all_rights(&[fd])
    }

    /// `SCM_RIGHTS`.
    pub fn all_rights(fds: &[RawFd]) -> Cmsg {
        Cmsg {
            level: libc::SOL_SOCKET,
            kind: libc::SCM_RIGHTS,
            data: fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect(),
        }
    }

    /// `SCM_CREDENTIALS`.
    pub fn credentials(creds: Creds) -> Cmsg {
        Cmsg {
            level: libc::SOL_SOCKET,
            kind: libc::SCM_CREDENTIALS,
            data: bytes_of(&creds),
        }
    }

    /// Appends it to a control buffer.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let header = mem::size_of::<libc::cmsghdr>();
        out.extend_from_slice(&(header + self.data.len()).to_ne_bytes());
        out.extend_from_slice(&self.level.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(mem::size_of::<usize>()), 0);
    }
}
