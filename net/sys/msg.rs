// SPDX-License-Identifier: GPL-2.0

//! `struct msghdr`, as `sendmsg` and `recvmsg` of a protocol see it.

use super::bindings;
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

use core::marker::PhantomData;

/// Bytes of `struct sockaddr_storage`, the room that the socket layer gives an address.
pub(crate) const ADDR_MAX: usize = 128;

/// Set by the socket layer alone: the control data is laid out as programs of 32 bits have it.
const MSG_CMSG_COMPAT: u32 = 0x8000_0000;

/// A message on its way in: `proto_ops.sendmsg`.
///
/// # Invariants
///
/// `raw` is a valid `struct msghdr` of a send: name and control data are kernel memory of the
/// lengths it says, which nobody changes during `'a`.
pub(crate) struct SendMsg<'a> {
    raw: *mut bindings::msghdr,
    len: usize,
    _life: PhantomData<&'a mut bindings::msghdr>,
}

impl<'a> SendMsg<'a> {
    /// # Safety
    ///
    /// `raw` and `len` must be what the socket layer passed to `proto_ops.sendmsg`, and not be used
    /// otherwise during `'a`, which must end before that call does.
    pub(super) unsafe fn new(raw: *mut bindings::msghdr, len: usize) -> Self {
        Self {
            raw,
            len,
            _life: PhantomData,
        }
    }

    /// Payload bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `MSG_*` flags of the call.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.raw).msg_flags }
    }

    /// The address it is sent to, if there is one.
    pub(crate) fn name(&self) -> Option<&'a [u8]> {
        // SAFETY: Valid by the type invariant.
        let (ptr, len) = unsafe { ((*self.raw).msg_name, (*self.raw).msg_namelen) };
        let len = usize::try_from(len).ok()?;
        if ptr.is_null() || len == 0 || len > ADDR_MAX {
            return None;
        }
        // SAFETY: By the type invariant the name is kernel memory of this length, which stays as it
        // is during `'a`.
        Some(unsafe { core::slice::from_raw_parts(ptr.cast(), len) })
    }

    /// The control data (`struct cmsghdr` and what follows), in native layout also for compat
    /// callers.
    pub(crate) fn control(&self) -> &'a [u8] {
        // SAFETY: Valid by the type invariant; in a send the union holds the kernel pointer.
        let (ptr, len) = unsafe {
            (
                (*self.raw).__bindgen_anon_1.msg_control,
                (*self.raw).msg_controllen,
            )
        };
        if ptr.is_null() || len == 0 {
            return &[];
        }
        // SAFETY: As above.
        unsafe { core::slice::from_raw_parts(ptr.cast(), len) }
    }

    /// Copies a payload of just this length.
    ///
    /// # Errors
    ///
    /// `EFAULT` when not all of it could be read.
    pub(crate) fn read_exact(&mut self, to: &mut [u8]) -> Result {
        // SAFETY: Valid by the type invariant, and a send's iterator is a source.
        let iter = unsafe { IovIterSource::from_raw(&raw mut (*self.raw).msg_iter) };
        match iter.copy_from_iter(to) == to.len() {
            true => Ok(()),
            false => Err(EFAULT),
        }
    }

    /// Copies the payload to the end of `buf`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EFAULT` when not all of it could be read.
    pub(crate) fn read_payload(&mut self, buf: &mut KVVec<u8>) -> Result {
        // SAFETY: Valid by the type invariant, and a send's iterator is a source.
        let iter = unsafe { IovIterSource::from_raw(&raw mut (*self.raw).msg_iter) };
        if self.len > 0 {
            buf.reserve(self.len, GFP_KERNEL_ACCOUNT)?;
        }
        let before = buf.len();
        let got = iter.copy_from_iter_vec(buf, GFP_KERNEL_ACCOUNT)?;
        if got != self.len {
            buf.truncate(before);
            return Err(EFAULT);
        }
        Ok(())
    }
}

/// A message on its way out: `proto_ops.recvmsg`.
///
/// # Invariants
///
/// `raw` is a valid `struct msghdr` of a receive: a name that is there has room for [`ADDR_MAX`]
/// bytes.
pub(crate) struct RecvMsg<'a> {
    raw: *mut bindings::msghdr,
    len: usize,
    _life: PhantomData<&'a mut bindings::msghdr>,
}

impl RecvMsg<'_> {
    /// # Safety
    ///
    /// `raw` and `len` must be what the socket layer passed to `proto_ops.recvmsg`, and not be used
    /// otherwise meanwhile.
    pub(super) unsafe fn new(raw: *mut bindings::msghdr, len: usize) -> Self {
        Self {
            raw,
            len,
            _life: PhantomData,
        }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::msghdr {
        self.raw
    }

    /// Bytes of room for the payload.
    pub(crate) fn room(&self) -> usize {
        self.len
    }

    /// Copies payload out.
    ///
    /// # Errors
    ///
    /// `EFAULT` when not all of it could be written.
    pub(crate) fn write_payload(&mut self, data: &[u8]) -> Result {
        // SAFETY: Valid by the type invariant, and a receive's iterator is a destination.
        let iter = unsafe { IovIterDest::from_raw(&raw mut (*self.raw).msg_iter) };
        if iter.copy_to_iter(data) != data.len() {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Whether the caller asked for the address.
    pub(crate) fn wants_name(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        !unsafe { (*self.raw).msg_name }.is_null()
    }

    /// Sets the address that the caller sees, if it asked for one.
    pub(crate) fn set_name(&mut self, addr: &[u8]) {
        let len = addr.len().min(ADDR_MAX);
        // SAFETY: Valid by the type invariant; a name has room for `ADDR_MAX` bytes, and `addr` is
        // not that memory.
        unsafe {
            let name: *mut u8 = (*self.raw).msg_name.cast();
            if !name.is_null() {
                core::ptr::copy_nonoverlapping(addr.as_ptr(), name, len);
                (*self.raw).msg_namelen = len as i32;
            }
        }
    }

    /// Whether there is room left for control data.
    pub(crate) fn has_control(&self) -> bool {
        self.control_room() != 0
    }

    /// Whether a piece of control data with `len` bytes of its own fits whole.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.control_room() >= self.cmsg_header() + len
    }

    /// Bytes of room left for control data: none where there is a length and no buffer.
    fn control_room(&self) -> usize {
        // SAFETY: Valid by the type invariant; the union is a pointer either way.
        unsafe {
            if (*self.raw).__bindgen_anon_1.msg_control.is_null() {
                return 0;
            }
            (*self.raw).msg_controllen
        }
    }

    /// Bytes in front of a piece of control data, as the caller lays it out. A program of 32 bits
    /// has a header without padding, and less of it behind the data (`put_cmsg_compat()`).
    fn cmsg_header(&self) -> usize {
        // SAFETY: Valid by the type invariant.
        let flags = unsafe { (*self.raw).msg_flags };
        if flags & MSG_CMSG_COMPAT != 0 {
            size_of::<bindings::compat_cmsghdr>()
        } else {
            size_of::<bindings::cmsghdr>()
        }
    }

    /// Attaches one piece of control data; what does not fit is told by `MSG_CTRUNC`.
    pub(crate) fn put_cmsg(&mut self, level: i32, kind: i32, data: &[u8]) {
        // SAFETY: Valid by the type invariant; `data` may be read for its length. A fault sets no
        // state that matters.
        unsafe {
            bindings::put_cmsg(
                self.raw,
                level,
                kind,
                data.len() as i32,
                data.as_ptr().cast_mut().cast(),
            )
        };
    }

    /// Adds to the flags that the caller sees (`MSG_TRUNC`, …).
    pub(crate) fn add_flags(&mut self, flags: u32) {
        // SAFETY: Valid by the type invariant.
        unsafe { (*self.raw).msg_flags |= flags };
    }
}
