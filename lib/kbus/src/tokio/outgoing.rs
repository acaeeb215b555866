// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message that is to be sent by a task.

use std::os::fd::AsFd;
use std::time::Duration;

use ::tokio::time;

use crate::call::CallError;
use crate::error::Error;
use crate::error::Op;
use crate::id::MessageId;
use crate::id::PeerId;
use crate::message::Reply;
use crate::message::Via;
use crate::tokio::Socket;

/// A message that is to be sent with details, as [`kbus::Outgoing`](crate::Outgoing).
///
/// With [`all_or_wait`](Outgoing::all_or_wait) the task waits until each queue has room, without a
/// limit of its own.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing")?;
/// socket.become_replier("$.Echo")?;
/// let id = socket.to("$.Echo")?.reply_max(100_000).cookie(7).request(b"hello").await?;
/// assert_eq!(socket.recv().await?.id(), id);
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is not sent yet"]
pub struct Outgoing<'a> {
    pub(super) inner: crate::Outgoing<'a>,
    pub(super) socket: &'a Socket,
}

macro_rules! details {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty)?);)*) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self $(, $arg: $type)?) -> Outgoing<'a> {
                self.inner = self.inner.$name($($arg)?);
                self
            }
        )*
    };
}

impl<'a> Outgoing<'a> {
    details! {
        /// To the front of each queue.
        urgent();
        /// To all that it is for, or to nobody.
        all_or_fail();
        /// To all that it is for, and waits until each queue has room.
        all_or_wait();
        /// 16 bits of the program's own, which its readers get as they are.
        user_bits(bits: u16);
        /// What a bridge says of it.
        via(via: Via);
        /// A number that comes back with the reply or status. Not `u64::MAX`.
        cookie(cookie: u64);
        /// How many bytes to reserve for the reply.
        reply_max(bytes: u32);
        /// Only if that peer is the replier.
        peer(peer: PeerId);
    }

    /// Descriptors that go with it, at most 253.
    pub fn fds<F: AsFd + 'a>(mut self, fds: impl IntoIterator<Item = &'a F>) -> Outgoing<'a> {
        self.inner = self.inner.fds(fds);
        self
    }

    /// Sends a copy to each listener.
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::announce`](crate::Outgoing::announce).
    pub async fn announce(self, payload: impl AsRef<[u8]>) -> Result<(), Error> {
        let packed = self.inner.packed_announcement()?;
        let sent = self.socket.transmit(&packed, payload.as_ref()).await;
        sent.map(drop)
            .map_err(|errno| Error::new(Op::Announce(self.inner.name().as_str()), errno))
    }

    /// Asks the replier.
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::request`](crate::Outgoing::request).
    pub async fn request(self, payload: impl AsRef<[u8]>) -> Result<MessageId, Error> {
        let packed = self.inner.packed_request()?;
        let sent = self.socket.transmit(&packed, payload.as_ref()).await;
        self.inner.asked(sent)
    }

    /// Asks the replier, and waits for the reply.
    ///
    /// # Errors
    ///
    /// See [`kbus::Socket::call`](crate::Socket::call).
    pub async fn call(
        self,
        payload: impl AsRef<[u8]>,
        limit: Duration,
    ) -> Result<Reply, CallError> {
        let answer = self.socket.answer(&self.inner, payload.as_ref());
        time::timeout(limit, answer)
            .await
            .unwrap_or(Err(CallError::Timeout))
    }
}
