// SPDX-License-Identifier: GPL-2.0
//! Error numbers, and the results of system calls.

use std::fmt;
use std::io;

/// An error number, shown by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The `errno` of the call that failed just now.
    pub fn last() -> Errno {
        Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        macro_rules! names {
            ($($name:ident)*) => {
                match self.0 {
                    $(libc::$name => f.write_str(stringify!($name)),)*
                    n => write!(f, "errno {n}"),
                }
            };
        }
        names!(
            EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADF EBADMSG EBUSY ECONNREFUSED
            EDEADLK EDESTADDRREQ EDQUOT EEXIST EFAULT EINTR EINVAL EISCONN ELOOP EMSGSIZE
            ENAMETOOLONG ENOBUFS ENODATA ENOENT ENOMEM ENOPROTOOPT ENOTCONN ENOTDIR EOPNOTSUPP
            ENOTTY EPERM EPIPE EPROTONOSUPPORT EROFS ESOCKTNOSUPPORT ESRCH ETOOMANYREFS
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

/// The result of a system call.
pub type Res<T> = Result<T, Errno>;

/// The result of a call that returns a negative number when it fails.
pub(super) fn check(r: isize) -> Res<usize> {
    usize::try_from(r).map_err(|_| Errno::last())
}
