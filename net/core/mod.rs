// SPDX-License-Identifier: GPL-2.0

//! The bus itself: names, routes, queues, and what is owed for requests.
//!
//! Data structures with the whole meaning of the protocol in them. There are no kernel types here,
//! no `unsafe` and no clock; [`bus::Shared`] is the lock of a bus and [`queue::Member`] that of a
//! socket's queue, both of which are taken inside the functions below. The same files are compiled
//! into the kernel module and, for the tests, as a host crate.
//!
//! From the bottom up, each built on those before it:
//!
//! * [`name`], [`address`], [`hash`], [`error`]: texts and numbers;
//! * [`mem`], [`slots`], [`table`]: memory and containers;
//! * [`limits`], [`account`], [`payer`]: who may have how much;
//! * [`peer`], [`message`], `obligation`, `entry`: what is sent, and what is owed for it;
//! * `waiter`, [`queue`], [`wait`]: what waits for one socket, and who waits for room there;
//! * [`routes`], `reports`, [`bus`], [`inspect`]: who listens and who answers;
//! * `fanout`: the way of one message to its recipients;
//! * `outgoing`, [`send`], `reply`, `events`, [`close`], [`bind`]: what a program can ask for.
//!
//! Allocation is fallible and goes through [`mem`] only, so that "out of memory at step k" is an
//! ordinary test case. Nothing recurses, nothing panics.

#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod bind;
pub mod bus;
pub mod close;
pub mod data;
mod entry;
pub mod error;
pub mod events;
mod fanout;
pub mod hash;
pub mod inspect;
pub mod limits;
pub mod mem;
pub mod message;
pub mod name;
mod obligation;
mod outgoing;
pub mod payer;
pub mod peer;
pub mod queue;
mod recipient;
mod reply;
mod reports;
pub mod routes;
pub mod send;
pub mod slots;
pub mod table;
pub mod wait;
mod waiter;

pub use self::bus::Bus;
pub use self::error::Error;
