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
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply("hello"), Some(b"hello".to_vec()));
    /// ```
    fn into_reply(self) -> Option<Vec<u8>>;
}

macro_rules! into_reply {
    ($($(#[$doc:meta])* $type:ty: $self:ident => $reply:expr;)*) => {
        $($(#[$doc])* impl IntoReply for $type {
            fn into_reply($self) -> Option<Vec<u8>> {
                $reply
            }
        })*
    };
}

into_reply! {
    /// These bytes.
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply(vec![1, 2]), Some(vec![1, 2]));
    /// ```
    Vec<u8>: self => Some(self);
    /// The bytes of this text.
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply(6.to_string()), Some(b"6".to_vec()));
    /// ```
    String: self => Some(self.into_bytes());
    /// The bytes of this text.
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply("hello"), Some(b"hello".to_vec()));
    /// ```
    &str: self => Some(self.as_bytes().to_vec());
    /// A copy of these bytes.
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply(&[1, 2][..]), Some(vec![1, 2]));
    /// ```
    &[u8]: self => Some(self.to_vec());
    /// An empty reply.
    ///
    /// ```
    /// assert_eq!(kbus::IntoReply::into_reply(()), Some(Vec::new()));
    /// ```
    (): self => Some(Vec::new());
}

/// `None` gives the request up.
///
/// ```
/// use kbus::IntoReply;
///
/// assert_eq!(Some("hello").into_reply(), Some(b"hello".to_vec()));
/// assert_eq!(None::<String>.into_reply(), None);
/// ```
impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Option<Vec<u8>> {
        self.and_then(IntoReply::into_reply)
    }
}

/// An error gives the request up.
///
/// ```
/// use kbus::IntoReply;
///
/// assert_eq!("21".parse().map(|n: u32| (n * 2).to_string()).into_reply(), Some(b"42".to_vec()));
/// assert_eq!("x".parse().map(|n: u32| (n * 2).to_string()).into_reply(), None);
/// ```
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
    ///
    /// ```
    /// use kbus::{Request, Service};
    ///
    /// struct Later(Vec<Request>);
    ///
    /// impl Service for Later {
    ///     fn request(&mut self, request: Request) {
    ///         self.0.push(request);
    ///     }
    /// }
    ///
    /// let socket = kbus::Socket::open("@doc-service-request")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let kbus::Received::Request(request) = socket.recv()? else { unreachable!() };
    /// let mut later = Later(Vec::new());
    /// later.request(request);
    /// later.0.remove(0).reply(b"now")?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
    fn request(&mut self, request: Request);

    /// Any other message. Dropped unless the service says otherwise.
    ///
    /// ```
    /// use kbus::{Received, Request, Service, Socket};
    ///
    /// struct Reader(u32);
    ///
    /// impl Service for Reader {
    ///     fn request(&mut self, request: Request) {
    ///         request.give_up();
    ///     }
    ///     fn other(&mut self, received: Received) {
    ///         self.0 += u32::from(matches!(received, Received::Announcement(_)));
    ///     }
    /// }
    ///
    /// let socket = Socket::open("@doc-service-other")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// socket.shutdown(std::net::Shutdown::Read)?;
    /// let mut reader = Reader(0);
    /// socket.run(&mut reader)?;
    /// assert_eq!(reader.0, 1);
    /// # Ok::<(), kbus::Error>(())
    /// ```
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
    ///
    /// ```
    /// use std::net::Shutdown;
    /// use kbus::{Request, Service, Socket};
    ///
    /// struct Echo;
    ///
    /// impl Service for Echo {
    ///     fn request(&mut self, mut request: Request) {
    ///         let payload = request.take_payload();
    ///         let _ = request.reply(payload);
    ///     }
    /// }
    ///
    /// let socket = Socket::open("@doc-socket-run")?;
    /// socket.become_replier("$.Echo")?;
    /// let thread = std::thread::spawn({
    ///     let socket = socket.clone();
    ///     move || socket.run(&mut Echo)
    /// });
    /// socket.shutdown(Shutdown::Both)?; // ends it
    /// thread.join().unwrap()?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
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
