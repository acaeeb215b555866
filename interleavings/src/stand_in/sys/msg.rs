// SPDX-License-Identifier: GPL-2.0

//! What goes in and out by `sendmsg()` and `recvmsg()`.

use super::user_copy;
use crate::alloc::flags::GFP_KERNEL_ACCOUNT;
use crate::prelude::KVVec;
use crate::prelude::Result;

pub(crate) const ADDR_MAX: usize = 128;

pub(crate) struct SendMsg<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) control: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) flags: u32,
}

impl<'a> SendMsg<'a> {
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }

    pub(crate) fn name(&self) -> Option<&'a [u8]> {
        (!self.name.is_empty()).then_some(self.name)
    }

    pub(crate) fn control(&self) -> &'a [u8] {
        self.control
    }

    pub(crate) fn read_exact(&mut self, to: &mut [u8]) -> Result {
        user_copy();
        to.copy_from_slice(self.payload);
        Ok(())
    }

    pub(crate) fn read_payload(&mut self, buf: &mut KVVec<u8>) -> Result {
        user_copy();
        Ok(buf.extend_from_slice(self.payload, GFP_KERNEL_ACCOUNT)?)
    }
}

/// What a program has received.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) payload: Vec<u8>,
    pub(crate) name: Vec<u8>,
    /// `struct kbus_info`.
    pub(crate) info: Vec<u8>,
}

pub(crate) struct RecvMsg<'a>(pub(crate) &'a mut Received);

impl RecvMsg<'_> {
    pub(crate) fn room(&self) -> usize {
        4096
    }

    pub(crate) fn write_payload(&mut self, data: &[u8]) -> Result {
        user_copy();
        self.0.payload = data.to_vec();
        Ok(())
    }

    pub(crate) fn wants_name(&self) -> bool {
        true
    }

    pub(crate) fn set_name(&mut self, addr: &[u8]) {
        self.0.name = addr.to_vec();
    }

    pub(crate) fn has_control(&self) -> bool {
        true
    }

    pub(crate) fn fits(&self, _len: usize) -> bool {
        true
    }

    pub(crate) fn put_cmsg(&mut self, level: i32, kind: i32, data: &[u8]) {
        if (level as u32, kind as u32) == (kbus_uapi::SOL_KBUS, kbus_uapi::SCM_KBUS_INFO) {
            user_copy();
            self.0.info = data.to_vec();
        }
    }

    pub(crate) fn takes_files(&self) -> bool {
        false
    }

    pub(crate) fn put_files(&mut self, _files: super::scm::Landing) {}

    pub(crate) fn add_flags(&mut self, _flags: u32) {}
}
