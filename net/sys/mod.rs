// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's socket layer.
//!
//! The only `unsafe` code of the module is below this one. Nothing here knows what a bus is: each
//! file could be proposed for `rust/kernel/net/` as it stands.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h).

#[allow(
    clippy::all,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    improper_ctypes,
    dead_code,
    unsafe_op_in_unsafe_fn,
    unreachable_pub
)]
mod bindings {
    //! The kernel crate's bindings, and what [`helpers.h`] adds to them.
    pub(super) use kernel::bindings::*;
    use kernel::ffi;
    include!(env!("KBUS_BINDINGS"));
}

pub(crate) mod cred;
pub(crate) mod memory;
pub(crate) mod msg;
pub(crate) mod net_ns;
pub(crate) mod path;
pub(crate) mod pid;
pub(crate) mod probe;
pub(crate) mod proc;
pub(crate) mod random;
pub(crate) mod scm;
pub(crate) mod sock;
pub(crate) mod socket;
pub(crate) mod sockopt;
pub(crate) mod sysctl;
pub(crate) mod task;
pub(crate) mod trace;
mod unix;
pub(crate) mod work;
