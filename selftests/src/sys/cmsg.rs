// SPDX-License-Identifier: GPL-2.0
//! Ancillary data.

use std::mem;
use std::os::fd::RawFd;

use kbus_uapi::kbus_send;
use kbus_uapi::kbus_via;

use super::bytes::bytes_of;
use super::uapi;

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

    /// `SCM_RIGHTS`.
    pub fn rights(fd: RawFd) -> Cmsg {
        Cmsg {
            level: libc::SOL_SOCKET,
            kind: libc::SCM_RIGHTS,
            data: fd.to_ne_bytes().to_vec(),
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
