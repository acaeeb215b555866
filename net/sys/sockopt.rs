// SPDX-License-Identifier: GPL-2.0

//! The values of `setsockopt()` and `getsockopt()`.

use super::bindings;
use kernel::{
    error::to_result,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// The value given to `setsockopt()`, in user or kernel memory.
///
/// # Invariants
///
/// `sock` is valid, and `ptr` may be read for `len` bytes, faults aside.
pub(crate) struct OptIn<'a> {
    sock: *mut bindings::socket,
    ptr: &'a bindings::sockptr_t,
    len: usize,
}

impl<'a> OptIn<'a> {
    /// # Safety
    ///
    /// The arguments must be what the socket layer passed to `proto_ops.setsockopt`.
    pub(super) unsafe fn new(
        sock: *mut bindings::socket,
        ptr: &'a bindings::sockptr_t,
        len: u32,
    ) -> Self {
        Self {
            sock,
            ptr,
            len: len as usize,
        }
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the socket's file is non-blocking.
    pub(crate) fn nonblock(&self) -> bool {
        // SAFETY: By the type invariant the socket is valid, and its file, where it has one, lives
        // as long as the call. Its flags may change meanwhile, hence the volatile read.
        unsafe {
            let file = (*self.sock).file;
            !file.is_null()
                && (&raw const (*file).f_flags).read_volatile() & bindings::O_NONBLOCK != 0
        }
    }

    /// Copies the first `out.len()` bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the value is shorter, `EFAULT` if it cannot be read.
    pub(crate) fn read(&self, out: &mut [u8]) -> Result {
        if out.len() > self.len {
            return Err(EINVAL);
        }
        // SAFETY: `out` is valid for writes of its length, and by the type invariant the source may
        // be read.
        let left = unsafe {
            bindings::copy_from_sockptr_offset(out.as_mut_ptr().cast(), *self.ptr, 0, out.len())
        };
        if left != 0 {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Reads an `int` or `__u32`; longer values are accepted as the socket layer does.
    pub(crate) fn read_u32(&self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// Reads an `int` that says whether something is to be on.
    pub(crate) fn read_bool(&self) -> Result<bool> {
        Ok(self.read_u32()? != 0)
    }

    /// Reads a `__u64`.
    pub(crate) fn read_u64(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Leaves the option to the core.
    ///
    /// # Errors
    ///
    /// Those of `sock_setsockopt()`.
    pub(crate) fn pass_on(&self, level: i32, name: i32) -> Result {
        let len = u32::try_from(self.len).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant: passes on what the socket layer gave us.
        to_result(unsafe { bindings::sock_setsockopt(self.sock, level, name, *self.ptr, len) })
    }
}

/// The buffer of a `getsockopt()`.
pub(crate) struct OptOut<'a>(&'a mut bindings::sockopt_t);

impl<'a> OptOut<'a> {
    /// # Safety
    ///
    /// `opt` must be what the socket layer passed to `proto_ops.getsockopt_iter`.
    pub(super) unsafe fn new(opt: &'a mut bindings::sockopt_t) -> Self {
        Self(opt)
    }

    /// Bytes of room.
    pub(crate) fn len(&self) -> usize {
        self.0.optlen.try_into().unwrap_or(0)
    }

    /// Reads what the caller put into the buffer.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result {
        // SAFETY: The iterator is a valid source by the type's construction.
        let iter = unsafe { IovIterSource::from_raw(&raw mut self.0.iter_in) };
        if iter.copy_from_iter(out) != out.len() {
            return Err(EFAULT);
        }
        Ok(())
    }

    /// Writes the value, cut to the buffer as `getsockopt(2)` does, and its length.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn write(&mut self, value: &[u8]) -> Result {
        let len = value.len().min(self.len());
        let value = value.get(..len).ok_or(EINVAL)?;
        // SAFETY: The iterator is a valid destination by the type's construction.
        let iter = unsafe { IovIterDest::from_raw(&raw mut self.0.iter_out) };
        if iter.copy_to_iter(value) != len {
            return Err(EFAULT);
        }
        self.0.optlen = len as i32;
        Ok(())
    }
}
