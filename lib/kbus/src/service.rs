// SPDX-License-Identifier: MIT OR Apache-2.0
//! A loop that answers requests.

use crate::error::Error;
use crate::error::ErrorKind;
use crate::message::Message;
use crate::message::Received;
use crate::name::Pattern;
use crate::request::Request;
use crate::socket::Socket;

/// What a closure of [`Socket::serve`] returns: the bytes of the reply, or nothing, which gives the
/// request up.
///
/// ```
/// use kbus::IntoReply;
///
/// assert_eq!("hello".into_reply(), Some(b"hello".to_vec()));
/// assert_eq!(None::<String>.into_reply(), None);
/// assert_eq!(Err::<String, ()>(()).into_reply(), None);
/// ```
pub trait IntoReply {
    /// The bytes of the reply; `None` gives the request up.
    fn into_reply(self) -> Option<Vec<u8>>;
}

macro_rules! into_reply {
    ($($type:ty: $self:ident => $reply:expr;)*) => {
        $(impl IntoReply for $type {
            fn into_reply($self) -> Option<Vec<u8>> {
                $reply
            }
        })*
    };
}

into_reply! {
    Vec<u8>: self => Some(self);
    String: self => Some(self.into_bytes());
    &str: self => Some(self.as_bytes().to_vec());
    &[u8]: self => Some(self.to_vec());
    (): self => Some(Vec::new());
}

impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Option<Vec<u8>> {
        self.and_then(IntoReply::into_reply)
    }
}

impl<R: IntoReply, E> IntoReply for Result<R, E> {
    fn into_reply(self) -> Option<Vec<u8>> {
        self.ok().and_then(IntoReply::into_reply)
    }
}

/// A service that decides itself when it replies, and sees the other messages too.
///
/// ```
/// use std::net::Shutdown;
/// use kbus::{Received, Request, Service, Socket};
///
/// struct Counter(u32);
///
/// impl Service for Counter {
///     fn request(&mut self, request: Request) {
///         self.0 += 1;
///         let _ = request.reply(self.0.to_string());
///     }
/// }
///
/// let socket = Socket::open("@doc-service")?;
/// socket.become_replier("$.Count")?;
/// let client = Socket::open("@doc-service")?;
/// let thread = std::thread::spawn({
///     let socket = socket.clone();
///     move || socket.run(&mut Counter(0))
/// });
/// let minute = std::time::Duration::from_secs(60);
/// assert_eq!(client.call("$.Count", b"", minute)?.payload(), b"1");
/// assert_eq!(client.call("$.Count", b"", minute)?.payload(), b"2");
/// socket.shutdown(Shutdown::Both)?;
/// thread.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Service {
    /// A request that the service must answer. It may keep it and reply later.
    fn request(&mut self, request: Request);

    /// Any other message. Dropped unless the service says otherwise.
    fn other(&mut self, received: Received) {
        drop(received);
    }
}

/// A service that a closure is.
struct Closure<F>(F);

impl<F: FnMut(Message) -> R, R: IntoReply> Service for Closure<F> {
    fn request(&mut self, request: Request) {
        let (message, request) = request.split();
        if let Some(reply) = (self.0)(message).into_reply() {
            // If nobody waits for it any more, or it is too long, the next request is still to be
            // answered. One that is still owed is given up here.
            drop(request.reply(reply));
        }
    }
}

impl Socket {
    /// Becomes replier for that name or wildcard, and answers each request by what the closure
    /// returns for it, until the socket is shut down. Other messages are dropped.
    ///
    /// A request is given up, and its requester told, if the closure returns `None` or an error, if
    /// the reply is too long for the requester, or if the closure panics.
    ///
    /// # Errors
    ///
    /// Those of [`become_replier`](Socket::become_replier) and [`recv`](Socket::recv). After a
    /// shutdown it returns without one.
    ///
    /// ```
    /// use std::net::Shutdown;
    /// use std::thread;
    /// use std::time::Duration;
    /// use kbus::Socket;
    ///
    /// let socket = Socket::open("@doc-serve")?;
    /// let client = Socket::open("@doc-serve")?;
    /// let service = thread::spawn({
    ///     let socket = socket.clone();
    ///     move || socket.serve("$.Upper", |request| request.payload().to_ascii_uppercase())
    /// });
    /// while client.replier_of("$.Upper")?.is_none() {
    ///     thread::yield_now();
    /// }
    /// let reply = client.call("$.Upper", b"hello", Duration::from_secs(60))?;
    /// assert_eq!(reply.payload(), b"HELLO");
    /// socket.shutdown(Shutdown::Both)?;
    /// service.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve<P, R>(&self, pattern: P, answer: impl FnMut(Message) -> R) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
        R: IntoReply,
    {
        self.become_replier(pattern)?;
        self.serve_bound(answer)
    }

    /// The same for what the socket is replier for already.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Socket::recv).
    ///
    /// ```
    /// use kbus::Socket;
    ///
    /// let socket = Socket::open("@doc-serve-bound")?;
    /// socket.become_replier("$.Add")?;
    /// socket.become_replier("$.Multiply")?;
    /// std::thread::spawn(move || {
    ///     socket.serve_bound(|request| match request.name().as_str() {
    ///         "$.Add" => "the sum",
    ///         _ => "the product",
    ///     })
    /// });
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn serve_bound<R: IntoReply>(&self, answer: impl FnMut(Message) -> R) -> Result<(), Error> {
        self.run(&mut Closure(answer))
    }

    /// Gives each message to the service, until the socket is shut down.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Socket::recv).
    pub fn run(&self, service: &mut impl Service) -> Result<(), Error> {
        loop {
            match self.recv() {
                Ok(Received::Request(request)) => service.request(request),
                Ok(received) => service.other(received),
                Err(error) if error.kind() == ErrorKind::ShutDown => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
