// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same calls, to be awaited in [tokio](https://docs.rs/tokio). Names are those of the calls
//! that wait.
//!
//! What never waits (binding, replying, options) is done by the methods of
//! [`kbus::Socket`](crate::Socket), to which [`Socket`] dereferences. All calls can be cancelled at
//! any `await`, and lose nothing.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::time::Duration;
//! use kbus::tokio::Socket;
//!
//! let service = Socket::open("@doc-tokio")?;
//! service.become_replier("$.Upper")?;
//! tokio::spawn(async move {
//!     service.serve_bound(|request| async move { request.payload().to_ascii_uppercase() }).await
//! });
//!
//! let client = Socket::open("@doc-tokio")?;
//! let reply = client.call("$.Upper", b"hello", Duration::from_secs(60)).await?;
//! assert_eq!(reply.payload(), b"HELLO");
//! # Ok(()) }) }
//! ```

mod merge;
mod outgoing;
mod service;
mod socket;

pub use merge::Merge;
pub use outgoing::Outgoing;
pub use socket::Messages;
pub use socket::Socket;
