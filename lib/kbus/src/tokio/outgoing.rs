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
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-urgent")?;
        /// socket.listen("$.*")?;
        /// socket.announce("$.News", b"").await?;
        /// socket.to("$.Alarm")?.urgent().announce(b"fire").await?;
        /// assert_eq!(socket.recv().await?.message().unwrap().name(), "$.Alarm");
        /// # Ok(()) }) }
        /// ```
        urgent();
        /// To all that it is for, or to nobody.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// use kbus::ErrorKind;
        ///
        /// let listener = kbus::Socket::options().queue_len(1).open("@doc-tokio-outgoing-all-or-fail")?;
        /// listener.listen("$.News")?;
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-all-or-fail")?;
        /// socket.announce("$.News", b"one").await?;
        /// let error = socket.to("$.News")?.all_or_fail().announce(b"two").await.unwrap_err();
        /// assert_eq!(error.kind(), ErrorKind::QueueFull);
        /// # Ok(()) }) }
        /// ```
        all_or_fail();
        /// To all that it is for, and waits until each queue has room.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let listener = kbus::Socket::options().queue_len(1).open("@doc-tokio-outgoing-all-or-wait")?;
        /// listener.listen("$.News")?;
        /// let listener = kbus::tokio::Socket::try_from(listener)?;
        /// let reader = tokio::spawn(async move { (listener.recv().await, listener.recv().await) });
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-all-or-wait")?;
        /// socket.to("$.News")?.all_or_wait().announce(b"one").await?;
        /// socket.to("$.News")?.all_or_wait().announce(b"two").await?;
        /// assert!(matches!(reader.await?, (Ok(_), Ok(_))));
        /// # Ok(()) }) }
        /// ```
        all_or_wait();
        /// 16 bits of the program's own, which its readers get as they are.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-user-bits")?;
        /// socket.listen("$.News")?;
        /// socket.to("$.News")?.user_bits(0b101).announce(b"").await?;
        /// assert_eq!(socket.recv().await?.message().unwrap().user_bits(), 0b101);
        /// # Ok(()) }) }
        /// ```
        user_bits(bits: u16);
        /// What a bridge says of it.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-via")?;
        /// socket.listen("$.News")?;
        /// let via = kbus::Via { orig_net: 7, ..kbus::Via::default() };
        /// socket.to("$.News")?.via(via).announce(b"").await?;
        /// assert_eq!(socket.recv().await?.message().unwrap().via(), Some(via));
        /// # Ok(()) }) }
        /// ```
        via(via: Via);
        /// A number that comes back with the reply or status. Not `u64::MAX`.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-cookie")?;
        /// socket.become_replier("$.Echo")?;
        /// socket.to("$.Echo")?.cookie(7).request(b"").await?;
        /// socket.stop_replier("$.Echo")?;
        /// let kbus::Received::Status(status) = socket.recv().await? else { unreachable!() };
        /// assert_eq!(status.cookie(), 7);
        /// # Ok(()) }) }
        /// ```
        cookie(cookie: u64);
        /// How many bytes to reserve for the reply.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-reply-max")?;
        /// socket.become_replier("$.Image")?;
        /// socket.to("$.Image")?.reply_max(60_000).request(b"").await?;
        /// let kbus::Received::Request(request) = socket.recv().await? else { unreachable!() };
        /// request.reply(vec![0; 60_000])?;
        /// assert_eq!(socket.next_len()?, Some(60_000));
        /// # Ok(()) }) }
        /// ```
        reply_max(bytes: u32);
        /// Only if that peer is the replier.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-peer")?;
        /// socket.become_replier("$.Echo")?;
        /// socket.to("$.Echo")?.peer(socket.peer_id()).request(b"").await?;
        /// assert_eq!(socket.unread()?, 1);
        /// # Ok(()) }) }
        /// ```
        peer(peer: PeerId);
    }

    /// Descriptors that go with it, at most 253.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use std::fs::File;
    ///
    /// let socket = kbus::Socket::options().descriptors(true).open("@doc-tokio-outgoing-fds")?;
    /// let socket = kbus::tokio::Socket::try_from(socket)?;
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::open("/dev/null")?]).announce(b"").await?;
    /// assert_eq!(socket.recv().await?.message().unwrap().fds().len(), 1);
    /// # Ok(()) }) }
    /// ```
    pub fn fds<F: AsFd + 'a>(mut self, fds: impl IntoIterator<Item = &'a F>) -> Outgoing<'a> {
        self.inner = self.inner.fds(fds);
        self
    }

    /// Sends a copy to each listener.
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::announce`](crate::Outgoing::announce).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-announce")?;
    /// socket.to("$.Alarm")?.urgent().announce(b"fire").await?;
    /// # Ok(()) }) }
    /// ```
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
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-outgoing-request")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.to("$.Echo")?.urgent().request(b"hello").await?;
    /// assert_eq!(socket.recv().await?.id(), id);
    /// # Ok(()) }) }
    /// ```
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
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use std::time::Duration;
    /// use kbus::tokio::Socket;
    ///
    /// let service = Socket::open("@doc-tokio-outgoing-call")?;
    /// service.become_replier("$.Echo")?;
    /// tokio::spawn(async move {
    ///     service.serve_bound(|request| async move { request.into_payload() }).await
    /// });
    ///
    /// let socket = Socket::open("@doc-tokio-outgoing-call")?;
    /// let reply = socket.to("$.Echo")?.urgent().call(b"hello", Duration::from_secs(60)).await?;
    /// assert_eq!(reply.payload(), b"hello");
    /// # Ok(()) }) }
    /// ```
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
