// SPDX-License-Identifier: GPL-2.0

//! The bus itself: names, routes, queues, and the ledger of requests owed.
//!
//! Plain data structures with the whole meaning of the protocol in them. There are no kernel types
//! here, no locks, no `unsafe` and no clock: the caller tells the time ([`bus::Member::now`]) and
//! holds the bus lock when it has a `&mut` [`bus::Bus`], and [`bus::Member::with`] takes the lock of
//! one socket's queue. The same files are compiled into the kernel module and, for the tests, as a
//! host crate.
//!
//! Allocation is fallible and goes through [`mem`] only, so that "out of memory at step k" is an
//! ordinary test case. Nothing recurses, nothing panics.

#![forbid(unsafe_code)]

pub mod account;
pub mod address;
mod bind;
pub mod bus;
mod claim;
mod close;
mod entry;
pub mod error;
mod events;
pub mod hash;
pub mod inspect;
pub mod limits;
pub mod list;
pub mod mem;
pub mod message;
pub mod name;
pub mod payer;
mod plan;
pub mod queue;
mod reply;
pub mod routes;
mod send;
pub mod table;
pub mod tree;
mod wait;
pub mod wakes;
mod work;

pub use self::bus::Bus;
pub use self::bus::Member;
pub use self::error::Error;
