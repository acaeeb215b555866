// SPDX-License-Identifier: GPL-2.0

//! Errors, and what makes pinned values.

use super::alloc::AllocError;

pub(crate) use super::alloc::flags::*;
pub(crate) use super::alloc::KBox;
pub(crate) use super::alloc::KVVec;
pub(crate) use super::alloc::KVec;
pub(crate) use super::module::ThisModule;
pub(crate) use crate::current;
pub(crate) use crate::pin_init;
pub(crate) use crate::try_pin_init;
pub(crate) use core::ffi::CStr;
pub(crate) use pin_project::pin_project as pin_data;

pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// An errno, negative as in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(i32);

impl Error {
    pub(crate) fn from_errno(errno: i32) -> Self {
        Error(errno)
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        ENOMEM
    }
}

macro_rules! errors {
    ($($name:ident $number:literal)*) => {
        $(pub const $name: Error = Error(-$number);)*
    };
}

errors! {
    EPERM 1 ENOENT 2 EINTR 4 EAGAIN 11 ENOMEM 12 EACCES 13 EFAULT 14 EBUSY 16 EEXIST 17 EINVAL 22 EPIPE 32 EDEADLK 35 EDESTADDRREQ 89
    EMSGSIZE 90 ENOPROTOOPT 92 EPROTONOSUPPORT 93 ESOCKTNOSUPPORT 94 EOPNOTSUPP 95 EAFNOSUPPORT 97 EADDRINUSE 98 EADDRNOTAVAIL 99
    ENOBUFS 105 ENOTCONN 107 ETOOMANYREFS 109 ECONNREFUSED 111 EDQUOT 122 ERESTARTSYS 512
}

/// Makes a value in one piece; it is pinned by the `Arc` into which it goes.
#[macro_export]
macro_rules! pin_init {
    (@ $type:ident { $($done:tt)* }) => { $type { $($done)* } };
    (@ $type:ident { $($done:tt)* } $field:ident <- $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $type { $($done)* $field: $value, } $($($rest)*)?)
    };
    (@ $type:ident { $($done:tt)* } $field:ident: $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $type { $($done)* $field: $value, } $($($rest)*)?)
    };
    (@ $type:ident { $($done:tt)* } $field:ident $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $type { $($done)* $field, } $($($rest)*)?)
    };
    ($type:ident { $($body:tt)* }) => { $crate::pin_init!(@ $type {} $($body)*) };
}

/// The same for a value of which a part may fail, which none does here.
#[macro_export]
macro_rules! try_pin_init {
    ($type:ident { $($body:tt)* }? $error:ty) => { $crate::pin_init!($type { $($body)* }) };
}
