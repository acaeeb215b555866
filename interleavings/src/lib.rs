// SPDX-License-Identifier: GPL-2.0

//! The module on the host, under a scheduler that tries many interleavings.
//!
//! What is compiled here is what the module is made of, file by file: all of `net/` but `kbus_main.rs`, `proc.rs`
//! and `sys/`. The kernel's crate and the socket layer are stand-ins of the same names (`stand_in/`) whose locks and
//! condition variables are shuttle's, so that each of them is a place where another thread may get its turn.
//! [`Socket`] is what a program has.
//!
//! Atomics whose order matters (all of `core/`) are such places, too. The time after which the module looks again by
//! itself never comes: no test passes because of it.
//!
//! Left out: what a processor may do with the order of memory accesses beyond one order of all; memory that is not there;
//! `/proc`; time, which ends a sleep whenever the scheduler likes.

#![forbid(unsafe_code)]

// The module says `kernel::`, which is this crate.
extern crate self as kernel;

#[path = "../../net/bound.rs"]
#[allow(dead_code)]
mod bound;
#[path = "../../net/core/mod.rs"]
#[allow(dead_code, unreachable_pub)]
mod bus_core;
#[path = "../../net/domain.rs"]
#[allow(dead_code)]
mod domain;
#[path = "../../net/endpoint.rs"]
#[allow(dead_code)]
mod endpoint;
#[path = "../../net/options.rs"]
mod options;
#[path = "../../net/receive.rs"]
mod receive;
#[path = "../../net/reclaim.rs"]
mod reclaim;
#[path = "../../net/send.rs"]
mod send;
#[path = "../../net/sockaddr.rs"]
mod sockaddr;
#[path = "../../net/socket.rs"]
#[allow(dead_code)]
mod socket;
#[path = "../../net/table.rs"]
mod table;
#[path = "../../net/users.rs"]
#[allow(dead_code)]
mod users;
#[path = "../../net/wait.rs"]
mod wait;

mod program;
mod raw;
mod stand_in;

pub use kbus_uapi as uapi;
use stand_in::alloc;
use stand_in::module;
use stand_in::prelude;
use stand_in::rbtree;
use stand_in::sync;
use stand_in::sys;
use stand_in::task;
use stand_in::time;

pub use program::budget_of_users;
pub use program::Message;
pub use program::Namespace;
pub use program::Socket;
pub use stand_in::prelude::*;
pub use stand_in::sync::let_waiters_look_again;
pub use stand_in::sync::Stop;

/// The task that asks; no signal is waiting for it outside of a sleep.
struct Task;

impl Task {
    fn signal_pending(&self) -> bool {
        false
    }
}

/// The kernel's macro of that name.
#[macro_export]
macro_rules! current {
    () => {
        $crate::Task
    };
}

struct Kbus;

impl module::ModuleMetadata for Kbus {
    const THIS_MODULE: module::ThisModule = module::ThisModule;
}

mod module_parameters {
    //! Parameters of the module.

    #[allow(non_camel_case_types)]
    pub(crate) struct family;

    impl family {
        pub(crate) fn value(&self) -> i32 {
            18
        }
    }
}

mod reclaimer {
    //! No memory cgroup is at its limit here.

    use crate::prelude::Result;
    use crate::sys::memory::MemoryCgroup;

    pub(crate) struct Reclaimer;

    impl Reclaimer {
        pub(crate) fn new() -> Result<Self> {
            Ok(Reclaimer)
        }

        pub(crate) fn want(&self, _cgroup: &MemoryCgroup) {}
    }
}

mod proc {
    //! There is no `/proc` here.

    use crate::domain::Domain;
    use crate::endpoint::Endpoint;
    use crate::sys::proc::FileOf;
    use crate::sys::proc::Out;

    pub(crate) static FILES: [FileOf<Domain>; 0] = [];

    pub(crate) fn show_fdinfo(_endpoint: &Endpoint, _out: &Out<'_>) {}
}
