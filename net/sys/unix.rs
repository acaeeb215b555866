// SPDX-License-Identifier: GPL-2.0

//! An AF_UNIX socket to show to security modules.
//!
//! Their hooks for AF_UNIX take both ends for a `struct unix_sock`: Landlock locks the other end
//! and looks at its file's credentials. A socket of another family must not be given to them, so
//! this one stands in for it.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h).

use super::{
    bindings,
    cred::Maker, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use core::ptr::{
    null,
    null_mut, //
};

const AF_UNIX: i32 = 1;

/// An unbound AF_UNIX datagram socket with a file, which no program has.
///
/// # Invariants
///
/// It owns one reference to the file of a socket whose `sk` is a `struct unix_sock`.
pub(super) struct UnixSocket(*mut bindings::file);

impl UnixSocket {
    /// Makes one as if `maker` had opened it; `None`: the kernel itself.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also where there are too many files.
    pub(super) fn new(maker: Option<&Maker>) -> Result<Self> {
        let mut sock = null_mut();
        // SAFETY: `sock` is a place for the result. The socket has no reference to its namespace,
        // and may be freed when the task returns to user space: it is of the initial one, which
        // stays.
        to_result(unsafe {
            bindings::sock_create_kern(
                &raw mut bindings::init_net,
                AF_UNIX,
                bindings::sock_type_SOCK_DGRAM as i32,
                0,
                &mut sock,
            )
        })
        .map_err(|_| ENOMEM)?;
        // SAFETY: The credentials outlive the time in which they are the task's, which ends with
        // this block; the file takes a reference of its own. It belongs to the socket; without it
        // the socket is released.
        let file = unsafe {
            let cred = maker.map_or_else(|| bindings::kernel_cred(), Maker::as_raw_cred);
            let own = bindings::override_creds(cred);
            let file = bindings::sock_alloc_file(sock, 0, null());
            bindings::revert_creds(own);
            file
        };
        // INVARIANT: The reference is that of `sock_alloc_file()`, and AF_UNIX has made the socket.
        from_err_ptr(file).map(Self).map_err(|_| ENOMEM)
    }

    /// Its lower half, for as long as `self` lives.
    pub(super) fn as_raw_sock(&self) -> *mut bindings::sock {
        // SAFETY: By the type invariant the file is one of a socket.
        unsafe { (*bindings::sock_from_file(self.0)).sk }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::fput(self.0) };
    }
}
