// SPDX-License-Identifier: GPL-2.0
//! Messages to be sent and messages received.

use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use kbus_uapi::kbus_info;
use kbus_uapi::kbus_via;

use super::address::message_address;
use super::bytes::from_bytes;
use super::cmsg::Cmsg;
use super::cmsg::Creds;
use super::uapi;

/// A message about to be sent with `sendmsg()`.
#[derive(Clone, Debug, Default)]
pub struct Out {
    /// The raw address, if any.
    pub address: Option<Vec<u8>>,
    /// The payload.
    pub data: Vec<u8>,
    /// The ancillary data.
    pub cmsgs: Vec<Cmsg>,
    /// `MSG_*`.
    pub flags: i32,
}

impl Out {
    /// A message to this address.
    pub fn to(address: &str, data: &[u8]) -> Out {
        Out {
            address: Some(message_address(address)),
            ..Out::nowhere(data)
        }
    }

    /// A message without an address.
    pub fn nowhere(data: &[u8]) -> Out {
        Out {
            data: data.to_vec(),
            ..Out::default()
        }
    }

    /// Adds ancillary data.
    pub fn with(mut self, cmsg: Cmsg) -> Out {
        self.cmsgs.push(cmsg);
        self
    }

    /// Adds `MSG_*` flags.
    pub fn flags(mut self, flags: i32) -> Out {
        self.flags |= flags;
        self
    }

    /// The ancillary data as a control buffer.
    pub fn control(&self) -> Vec<u8> {
        let mut control = Vec::new();
        for cmsg in &self.cmsgs {
            cmsg.encode(&mut control);
        }
        control
    }
}

/// A message as it was received.
#[derive(Clone, Debug, Default)]
pub struct Msg {
    /// The address as text, without its NUL.
    pub from: String,
    /// The address as it came, family first.
    pub raw_from: Vec<u8>,
    /// The payload.
    pub data: Vec<u8>,
    /// What the call returned.
    pub len: usize,
    /// `msg_flags`.
    pub flags: i32,
    /// All ancillary data.
    pub cmsgs: Vec<Cmsg>,
    /// `SCM_KBUS_INFO`, all zeros when there was none.
    pub info: kbus_info,
}

impl Msg {
    /// The ancillary data of this kind, if any.
    pub fn cmsg(&self, level: i32, kind: i32) -> Option<&[u8]> {
        self.cmsgs
            .iter()
            .find(|c| c.level == level && c.kind == kind)
            .map(|c| &c.data[..])
    }

    /// The ancillary data of level `SOL_KBUS` and this kind, if any.
    pub(super) fn kbus_cmsg(&self, kind: u32) -> Option<&[u8]> {
        self.cmsg(uapi::SOL_KBUS as i32, kind as i32)
    }

    /// Whether an `SCM_KBUS_INFO` came with it.
    pub fn has_info(&self) -> bool {
        self.kbus_cmsg(uapi::SCM_KBUS_INFO).is_some()
    }

    /// The name in `SCM_KBUS_NAME`.
    pub fn long_name(&self) -> Option<String> {
        self.kbus_cmsg(uapi::SCM_KBUS_NAME).map(|b| {
            String::from_utf8_lossy(b)
                .trim_end_matches('\0')
                .to_string()
        })
    }

    /// The structure in `SCM_KBUS_VIA`.
    pub fn via(&self) -> Option<kbus_via> {
        self.kbus_cmsg(uapi::SCM_KBUS_VIA).map(from_bytes)
    }

    /// The descriptors that came with it; to be called once.
    pub fn rights(&self) -> Vec<OwnedFd> {
        let bytes = self.cmsg(libc::SOL_SOCKET, libc::SCM_RIGHTS).unwrap_or(&[]);
        bytes
            .chunks_exact(4)
            .map(|fd| {
                let fd = i32::from_ne_bytes(fd.try_into().expect("4 bytes"));
                // SAFETY: The kernel has just made this descriptor for us.
                unsafe { OwnedFd::from_raw_fd(fd) }
            })
            .collect()
    }

    /// What `SCM_CREDENTIALS` says.
    pub fn creds(&self) -> Option<Creds> {
        self.cmsg(libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
            .map(|bytes| {
                assert_eq!(bytes.len(), 12, "struct ucred");
                from_bytes(bytes)
            })
    }

    /// The name in the address.
    pub fn name(&self) -> &str {
        let end = self.from.find(['@', '#']).unwrap_or(self.from.len());
        &self.from[..end]
    }

    /// Whether these flags are all set.
    pub fn is(&self, flags: u32) -> bool {
        self.info.flags & flags == flags
    }

    /// Whether this is a request that the reader must answer.
    pub fn must_reply(&self) -> bool {
        self.is(uapi::KBUS_REQUEST | uapi::KBUS_YOU_REPLY)
    }
}

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct RecvOptions {
    /// Room for the payload.
    pub room: usize,
    /// Room for ancillary data.
    pub control: usize,
    /// `MSG_*`.
    pub flags: i32,
}

impl Default for RecvOptions {
    fn default() -> Self {
        RecvOptions {
            room: 1 << 17,
            control: 4096,
            flags: libc::MSG_DONTWAIT,
        }
    }
}
