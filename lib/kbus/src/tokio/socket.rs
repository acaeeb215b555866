// SPDX-License-Identifier: MIT OR Apache-2.0
//! A socket on a bus, to be awaited.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use ::tokio::io::unix::AsyncFd;
use ::tokio::time;
use futures_core::Stream;

use crate::bus::Bus;
use crate::call;
use crate::call::CallError;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::id::MessageId;
use crate::id::PeerId;
use crate::message::Received;
use crate::message::Reply;
use crate::name::Name;
use crate::outgoing::Packed;
use crate::sys;
use crate::sys::Errno;
use crate::sys::Res;
use crate::tokio::Outgoing;

/// A socket on a bus, for a task of tokio. What never waits it has of
/// [`kbus::Socket`](crate::Socket), to which it dereferences; what may wait has the same name there
/// and here.
///
/// Clones are the same socket.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use kbus::tokio::Socket;
///
/// let socket = Socket::open("@doc-tokio-socket")?;
/// socket.listen("$.News")?;
/// socket.announce("$.News", b"all is well").await?;
/// assert_eq!(socket.recv().await?.message().unwrap().payload(), b"all is well");
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Socket {
    io: Arc<AsyncFd<crate::Socket>>,
    /// Sockets that no call uses now, as in [`crate::Socket::call`].
    callers: Arc<Mutex<Vec<AsyncFd<crate::Socket>>>>,
}

/// How long a waiting send relies on being told, as the kernel itself does.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The runtime does not take the socket, or is at its end.
fn runtime(error: std::io::Error) -> Error {
    Error::own(
        ErrorKind::Other,
        format_args!("cannot wait for the socket: {error}"),
    )
}

pub(super) fn register(socket: crate::Socket) -> Result<AsyncFd<crate::Socket>, Error> {
    socket.set_nonblocking(true)?;
    sys::watched(socket).map_err(runtime)
}

async fn recv(io: &AsyncFd<crate::Socket>) -> Result<Received, Error> {
    loop {
        let mut guard = io.readable().await.map_err(runtime)?;
        if let Some(received) = guard.get_inner().try_recv()? {
            return Ok(received);
        }
        guard.clear_ready();
    }
}

async fn transmit(
    io: &AsyncFd<crate::Socket>,
    packed: &Packed,
    payload: &[u8],
) -> Res<Option<MessageId>> {
    let transmit = packed.transmit(payload, None);
    let full = |result: &Res<_>| packed.wait && *result == Err(Errno(libc::EAGAIN));
    let mut result = io.get_ref().try_transmit(&transmit);
    while full(&result) {
        // It may be that there is room, and nobody could tell.
        let Ok(guard) = time::timeout(ASK_AGAIN, io.writable()).await else {
            result = io.get_ref().try_transmit(&transmit);
            continue;
        };
        let mut guard = guard.map_err(|_| Errno(libc::EIO))?;
        result = guard.get_inner().try_transmit(&transmit);
        if full(&result) {
            guard.clear_ready();
        }
    }
    result
}

impl Socket {
    /// A socket on that bus with ordinary options. For others see [`TryFrom`].
    ///
    /// # Errors
    ///
    /// Those of [`kbus::SocketOptions::open`](crate::SocketOptions::open).
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-open")?;
    /// assert_eq!(socket.bus().to_string(), "@doc-tokio-socket-open");
    /// # Ok(()) }) }
    /// ```
    pub fn open<B>(bus: B) -> Result<Socket, Error>
    where
        B: TryInto<Bus>,
        Error: From<B::Error>,
    {
        crate::Socket::open(bus)?.try_into()
    }

    /// Receives the next message.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) if it was shut down for reading and all was read.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-recv")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"all is well").await?;
    /// assert_eq!(socket.recv().await?.message().unwrap().payload(), b"all is well");
    /// # Ok(()) }) }
    /// ```
    pub async fn recv(&self) -> Result<Received, Error> {
        recv(&self.io).await
    }

    /// All messages that come, until the socket is shut down for reading.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use kbus::tokio::Socket;
    ///
    /// let socket = Socket::open("@doc-tokio-messages")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one").await?;
    /// socket.shutdown(std::net::Shutdown::Read)?;
    /// let mut messages = socket.messages();
    /// while let Some(received) = messages.next().await {
    ///     println!("{:?}", received?.message());
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn messages(&self) -> Messages {
        Messages {
            socket: self.clone(),
        }
    }

    /// A message to that name, to be announced, or asked, with details.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is no name.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-to")?;
    /// socket.to("$.Alarm")?.urgent().all_or_wait().announce(b"fire").await?;
    /// # Ok(()) }) }
    /// ```
    pub fn to<N>(&self, name: N) -> Result<Outgoing<'_>, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        Ok(Outgoing {
            inner: self.io.get_ref().to(name)?,
            socket: self,
        })
    }

    /// Sends a copy to each listener, see [`kbus::Socket::announce`](crate::Socket::announce).
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::announce`](crate::Outgoing::announce).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-announce")?;
    /// socket.announce("$.Sensors.Kitchen", "21 C").await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn announce<N>(&self, name: N, payload: impl AsRef<[u8]>) -> Result<(), Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.announce(payload).await
    }

    /// Asks the replier, see [`kbus::Socket::request`](crate::Socket::request).
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::request`](crate::Outgoing::request).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-request")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.request("$.Echo", b"hello").await?;
    /// assert_eq!(socket.recv().await?.id(), id);
    /// # Ok(()) }) }
    /// ```
    pub async fn request<N>(&self, name: N, payload: impl AsRef<[u8]>) -> Result<MessageId, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.request(payload).await
    }

    /// Asks that peer, see [`kbus::Socket::request_to`](crate::Socket::request_to).
    ///
    /// # Errors
    ///
    /// See [`kbus::Outgoing::request`](crate::Outgoing::request).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-request-to")?;
    /// socket.become_replier("$.Echo")?;
    /// let peer = socket.replier_of("$.Echo")?.unwrap();
    /// let id = socket.request_to(peer, "$.Echo", b"hello").await?;
    /// assert_eq!(socket.recv().await?.id(), id);
    /// # Ok(()) }) }
    /// ```
    pub async fn request_to<N>(
        &self,
        peer: PeerId,
        name: N,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.peer(peer).request(payload).await
    }

    /// Asks, and waits for the reply, see [`kbus::Socket::call`](crate::Socket::call). One that is
    /// cancelled tells the replier, when it replies, that nobody waits for it.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use std::time::Duration;
    /// use kbus::tokio::Socket;
    ///
    /// let service = Socket::open("@doc-tokio-socket-call")?;
    /// service.become_replier("$.Echo")?;
    /// tokio::spawn(async move {
    ///     service.serve_bound(|request| async move { request.into_payload() }).await
    /// });
    ///
    /// let socket = Socket::open("@doc-tokio-socket-call")?;
    /// let reply = socket.call("$.Echo", b"hello", Duration::from_secs(60)).await?;
    /// assert_eq!(reply.payload(), b"hello");
    /// # Ok(()) }) }
    /// ```
    pub async fn call<N>(
        &self,
        name: N,
        payload: impl AsRef<[u8]>,
        limit: Duration,
    ) -> Result<Reply, CallError>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.call(payload, limit).await
    }

    pub(super) async fn transmit(&self, packed: &Packed, payload: &[u8]) -> Res<Option<MessageId>> {
        transmit(&self.io, packed, payload).await
    }

    pub(super) async fn answer(
        &self,
        outgoing: &crate::Outgoing<'_>,
        payload: &[u8],
    ) -> Result<Reply, CallError> {
        let packed = outgoing.packed_request()?;
        let caller = self.caller()?;
        if let Err(error) = outgoing.asked(transmit(&caller, &packed, payload).await) {
            self.keep_caller(caller);
            return Err(error.into());
        }
        loop {
            if let Some(result) = call::settled(recv(&caller).await?) {
                self.keep_caller(caller);
                return result;
            }
        }
    }

    fn caller(&self) -> Result<AsyncFd<crate::Socket>, Error> {
        let kept = self
            .callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match kept {
            Some(caller) => Ok(caller),
            None => register(self.io.get_ref().caller()?),
        }
    }

    fn keep_caller(&self, caller: AsyncFd<crate::Socket>) {
        /// More calls than that at once open sockets anew.
        const KEPT: usize = 8;
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() < KEPT {
            callers.push(caller);
        }
    }
}

/// Makes the socket nonblocking, all clones of it too.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let socket = kbus::Socket::options().credentials(true).open("@doc-tokio-from")?;
/// let socket = kbus::tokio::Socket::try_from(socket)?;
/// # Ok(()) }) }
/// ```
impl TryFrom<crate::Socket> for Socket {
    type Error = Error;

    fn try_from(socket: crate::Socket) -> Result<Socket, Error> {
        Ok(Socket {
            io: Arc::new(register(socket)?),
            callers: Arc::default(),
        })
    }
}

/// The calls that never wait, such as [`listen`](crate::Socket::listen).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let socket = kbus::tokio::Socket::open("@doc-tokio-socket-deref")?;
/// socket.listen("$.News")?;
/// assert_eq!(socket.unread()?, 0);
/// # Ok(()) }) }
/// ```
impl Deref for Socket {
    type Target = crate::Socket;

    fn deref(&self) -> &crate::Socket {
        self.io.get_ref()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.get_ref().fmt(f)
    }
}

/// The messages of a socket, see [`Socket::messages`]. Only one task at a time can wait for the
/// messages of a socket by this.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let socket = kbus::tokio::Socket::open("@doc-tokio-messages-2")?;
/// socket.listen("$.News")?;
/// let mut messages = socket.messages();
/// let task = tokio::spawn(async move { messages.next().await.is_some() });
/// socket.announce("$.News", b"all is well").await?;
/// assert!(task.await?);
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
pub struct Messages {
    socket: Socket,
}

impl Messages {
    /// The next one, or `None` if the socket was shut down for reading and all was read.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let socket = kbus::tokio::Socket::open("@doc-tokio-messages-next")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one").await?;
    /// socket.shutdown(std::net::Shutdown::Read)?;
    /// let mut messages = socket.messages();
    /// assert!(messages.next().await.is_some());
    /// assert!(messages.next().await.is_none());
    /// # Ok(()) }) }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

/// For code that takes any stream.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ::tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::future::poll_fn;
/// use std::pin::pin;
/// use futures_core::Stream;
///
/// let socket = kbus::tokio::Socket::open("@doc-tokio-messages-stream")?;
/// socket.listen("$.News")?;
/// socket.announce("$.News", b"one").await?;
/// let mut messages = pin!(socket.messages());
/// let received = poll_fn(|context| messages.as_mut().poll_next(context)).await.unwrap()?;
/// assert_eq!(received.message().unwrap().payload(), b"one");
/// # Ok(()) }) }
/// ```
impl Stream for Messages {
    type Item = Result<Received, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let mut guard = match ready!(self.socket.io.poll_read_ready(context)) {
                Ok(guard) => guard,
                Err(error) => return Poll::Ready(Some(Err(runtime(error)))),
            };
            match guard.get_inner().try_recv() {
                Ok(None) => guard.clear_ready(),
                Ok(Some(received)) => return Poll::Ready(Some(Ok(received))),
                Err(error) if error.kind() == ErrorKind::ShutDown => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
