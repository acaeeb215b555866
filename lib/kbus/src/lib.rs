// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets on a KBUS message bus.
//!
//! Programs on one Linux machine publish named messages, listen by name or wildcard, or become the
//! replier for a name. Each request gets exactly one answer: a reply, or a status that says why
//! there will be none. The bus is in the kernel (the module `kbus`); there is no daemon. `kbus(7)`
//! says what the bus does, this crate how to use it from Rust.
//!
//! * [`Socket`] joins a [`Bus`], listens, becomes replier, sends and receives;
//! * [`Name`] is what a message is sent to, [`Pattern`] what is listened to, so a wildcard cannot
//!   be sent to;
//! * [`Received`] is a message and what it is to the socket: a [`Request`] must be answered, and is
//!   given up when it is dropped; a [`Status`] is the error in place of a [`Reply`];
//! * [`Merge`] reads several buses in the one order;
//! * `kbus::tokio`, behind the feature of that name, has the same calls to be awaited. [`Socket`]
//!   is [`AsFd`](std::os::fd::AsFd) for any other runtime.
//!
//! ```
//! use std::thread;
//! use std::time::Duration;
//! use kbus::Socket;
//!
//! // A replier.
//! let service = Socket::open("@doc-lib")?;
//! service.become_replier("$.Upper")?;
//! thread::spawn(move || service.serve_bound(|request| request.payload().to_ascii_uppercase()));
//!
//! // A requester.
//! let client = Socket::open("@doc-lib")?;
//! let reply = client.call("$.Upper", b"hello", Duration::from_secs(60))?;
//! assert_eq!(reply.payload(), b"HELLO");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! The three programs that one begins with:
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod bus;
mod call;
mod control;
mod error;
mod id;
mod merge;
mod message;
mod name;
mod options;
mod outgoing;
mod request;
mod service;
mod socket;
mod status;
#[allow(unsafe_code)]
mod sys;
mod uapi;

#[cfg(feature = "tokio")]
pub mod tokio;

pub use bus::Bus;
pub use bus::BusError;
pub use bus::BusInfo;
pub use call::CallError;
pub use error::Error;
pub use error::ErrorKind;
pub use id::MessageId;
pub use id::PeerId;
pub use merge::Merge;
pub use message::BindEvent;
pub use message::Credentials;
pub use message::Lost;
pub use message::Message;
pub use message::Received;
pub use message::Reply;
pub use message::Via;
pub use name::Name;
pub use name::NameError;
pub use name::Pattern;
pub use options::Form;
pub use options::SocketOptions;
pub use outgoing::Outgoing;
pub use request::Answer;
pub use request::ReplyError;
pub use request::Request;
pub use service::IntoReply;
pub use service::Service;
pub use socket::Messages;
pub use socket::Socket;
pub use status::Reason;
pub use status::Status;
