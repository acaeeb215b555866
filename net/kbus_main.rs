// SPDX-License-Identifier: GPL-2.0

//! KBUS: a message bus as a socket family.
//!
//! Registration and tear-down of the module; the way of a call begins in [`socket`].
//!
//! The module has no alias `net-pf-18`. With one, `socket(18, …)` of anybody would load it, and so
//! put a probe on `unix_create()` for everybody. Whoever administers the machine decides that.
#![deny(unsafe_code)]

use kernel::prelude::*;

// The same files are a crate of their own on the host, where all of it is public and used by tests.
mod bound;
#[allow(dead_code, unreachable_pub)]
#[path = "core/mod.rs"]
mod bus_core;
mod domain;
mod endpoint;
mod options;
mod proc;
mod receive;
mod reclaim;
mod reclaimer;
mod send;
mod sockaddr;
mod socket;
#[allow(unsafe_code)]
mod sys;
mod table;
mod uapi;
mod users;
mod wait;

module! {
    type: Kbus,
    name: "kbus",
    authors: ["The KBUS authors"],
    description: "KBUS: a message bus as a socket family",
    license: "GPL",
    params: {
        family: i32 {
            default: 18,
            description: "Address family number to use (18: AF_ASH, which nothing in the kernel registers)",
        },
        literal: i32 {
            default: 1,
            description: "Serve socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS) by a probe on unix_create (0: no)",
        },
    },
}

/// The loaded module. The fields are dropped in order: no new literal sockets, then no new sockets
/// at all, then no state of network namespaces.
struct Kbus {
    _literal: Option<Pin<KBox<sys::probe::Redirect<endpoint::Endpoint>>>>,
    _family: sys::socket::Registration<endpoint::Endpoint>,
    _nets: sys::net_ns::NetRegistration<domain::Domain>,
}

impl kernel::Module for Kbus {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        users::measure();
        let machine = domain::Machine::new()?;
        let nets = sys::net_ns::NetRegistration::new(machine)?;
        let number = module_parameters::family.value();
        let family = sys::socket::Registration::new(number).inspect_err(|_| {
            pr_err!("address family {number} is not free: choose another with family=\n");
        })?;
        let literal = match module_parameters::literal.value() {
            0 => None,
            _ => Self::literal(),
        };
        pr_info!("address family {number}\n");
        Ok(Self {
            _literal: literal,
            _family: family,
            _nets: nets,
        })
    }
}

impl Kbus {
    /// Serves the literal form of `socket()`.
    ///
    /// Without the probe the bus still works by its family number. So a failure is told in the log,
    /// and is no error.
    fn literal() -> Option<Pin<KBox<sys::probe::Redirect<endpoint::Endpoint>>>> {
        sys::probe::Redirect::new(c"unix_create")
            .inspect_err(|e| {
                pr_warn!(
                    "socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS) is not available: \
                     no probe on unix_create (error {})\n",
                    e.to_errno()
                );
            })
            .ok()
    }
}
