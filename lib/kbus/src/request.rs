// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request that must be answered.

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use crate::control::Builder;
use crate::error::Error;
use crate::error::Op;
use crate::message::Message;
use crate::message::Via;
use crate::socket::Socket;
use crate::socket::Transmit;
use crate::uapi;

/// A request that this socket must answer: a [`Message`], and what it takes to reply to it.
///
/// It can be answered once, and by any thread. One that is dropped without a reply is given up, and
/// its requester gets a status at once. It keeps its socket open.
///
/// ```
/// use std::thread;
/// use kbus::{Reason, Received, Socket};
///
/// let socket = Socket::open("@doc-request-type")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"one")?;
/// socket.request("$.Echo", b"two")?;
/// let Received::Request(first) = socket.recv()? else { unreachable!() };
/// let Received::Request(second) = socket.recv()? else { unreachable!() };
/// drop(first);
/// thread::spawn(move || second.reply(b"hello")).join().unwrap()?;
/// let Received::Status(status) = socket.recv()? else { unreachable!() };
/// assert_eq!(status.reason(), Reason::Ignored);
/// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
/// assert_eq!(reply.payload(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it gives the request up"]
pub struct Request {
    message: Message,
    socket: Socket,
    owed: bool,
}

impl Request {
    pub(crate) fn new(socket: Socket, message: Message) -> Request {
        Request {
            message,
            socket,
            owed: true,
        }
    }

    /// Replies.
    ///
    /// # Errors
    ///
    /// [`TooLong`](crate::ErrorKind::TooLong) if it is longer than the requester has reserved, and
    /// has room for: the error gives the request back, as it is still owed.
    /// [`RequesterGone`](crate::ErrorKind::RequesterGone) and
    /// [`NotOwed`](crate::ErrorKind::NotOwed) settle it.
    ///
    /// ```
    /// use kbus::{ErrorKind, Received, Socket};
    ///
    /// let socket = Socket::open("@doc-reply-method")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// let error = request.reply(vec![0; 70000]).unwrap_err(); // the bus allows 65536
    /// assert_eq!(error.kind(), ErrorKind::TooLong);
    /// error.into_request().unwrap().reply(b"short")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reply(self, payload: impl AsRef<[u8]>) -> Result<(), ReplyError> {
        Answer::new(self).send(payload)
    }

    /// Replies with descriptors, at most 253, for a requester that asks for such.
    ///
    /// # Errors
    ///
    /// As of [`reply`](Request::reply), and [`Descriptor`](crate::ErrorKind::Descriptor) if one
    /// cannot be passed.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::options().descriptors(true).open("@doc-reply-fds")?;
    /// socket.become_replier("$.Open")?;
    /// socket.request("$.Open", b"/dev/null")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// let path = String::from_utf8_lossy(request.payload()).into_owned();
    /// request.reply_with_fds(b"", [&std::fs::File::open(path)?])?;
    /// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
    /// assert_eq!(reply.fds().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reply_with_fds<'a, F: AsFd + 'a>(
        self,
        payload: impl AsRef<[u8]>,
        fds: impl IntoIterator<Item = &'a F>,
    ) -> Result<(), ReplyError> {
        self.answer().fds(fds).send(payload)
    }

    /// A reply with details.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-answer")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.answer().urgent().user_bits(3).send(b"now")?;
    /// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
    /// assert_eq!((reply.is_urgent(), reply.user_bits()), (true, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn answer<'a>(self) -> Answer<'a> {
        Answer::new(self)
    }

    /// Gives it up: its requester gets the status [`Ignored`](crate::Reason::Ignored). To drop it
    /// does the same.
    ///
    /// ```
    /// use kbus::{Reason, Received, Socket};
    ///
    /// let socket = Socket::open("@doc-request-give-up")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.give_up();
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.reason(), Reason::Ignored);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn give_up(self) {}

    /// Takes the payload out.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-request-take-payload")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"hello")?;
    /// let Received::Request(mut request) = socket.recv()? else { unreachable!() };
    /// let payload = request.take_payload();
    /// request.reply(payload)?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.message.payload)
    }

    /// Takes the descriptors out.
    ///
    /// ```
    /// use std::fs::File;
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::options().descriptors(true).open("@doc-request-take-fds")?;
    /// socket.become_replier("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::open("/dev/null")?]).request(b"")?;
    /// let Received::Request(mut request) = socket.recv()? else { unreachable!() };
    /// assert_eq!(request.take_fds().len(), 1);
    /// request.reply(b"")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.message.take_fds()
    }

    /// The message as one of its own, and the request without payload and descriptors.
    pub(crate) fn split(mut self) -> (Message, Request) {
        let empty = Message {
            name: self.message.name.clone(),
            payload: Vec::new(),
            label: None,
            fds: Vec::new(),
            ..self.message
        };
        let message = std::mem::replace(&mut self.message, empty);
        (message, self)
    }
}

/// The request as a message: its name, its payload and so on.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-request-deref")?;
/// socket.become_replier("$.*")?;
/// socket.request("$.Echo", b"hello")?;
/// let Received::Request(request) = socket.recv()? else { unreachable!() };
/// assert_eq!((request.name().as_str(), request.payload()), ("$.Echo", &b"hello"[..]));
/// # Ok::<(), kbus::Error>(())
/// ```
impl Deref for Request {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.owed {
            // It fails only if it is not owed any more.
            let _ = self.socket.give_up(self.message.id);
        }
    }
}

/// A reply with details, see [`Request::answer`].
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-answer-type")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// let Received::Request(request) = socket.recv()? else { unreachable!() };
/// request.answer().urgent().send(b"hello")?;
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it is not sent yet"]
pub struct Answer<'a> {
    request: Request,
    flags: u32,
    via: Option<Via>,
    fds: Vec<BorrowedFd<'a>>,
}

impl<'a> Answer<'a> {
    fn new(request: Request) -> Answer<'a> {
        Answer {
            request,
            flags: 0,
            via: None,
            fds: Vec::new(),
        }
    }

    /// To the front of the requester's queue.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-answer-urgent")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.answer().urgent().send(b"hello")?;
    /// assert!(socket.recv()?.message().unwrap().is_urgent());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn urgent(mut self) -> Answer<'a> {
        self.flags |= uapi::KBUS_URGENT;
        self
    }

    /// 16 bits of the program's own, which its readers get as they are.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-answer-user-bits")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.answer().user_bits(3).send(b"hello")?;
    /// assert_eq!(socket.recv()?.message().unwrap().user_bits(), 3);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn user_bits(mut self, bits: u16) -> Answer<'a> {
        self.flags &= !uapi::KBUS_USER_FLAGS;
        self.flags |= u32::from(bits) << uapi::KBUS_USER_FLAGS.trailing_zeros();
        self
    }

    /// Descriptors that go to the requester, at most 253.
    ///
    /// ```
    /// use std::fs::File;
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::options().descriptors(true).open("@doc-answer-fds")?;
    /// socket.become_replier("$.Open")?;
    /// socket.request("$.Open", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.answer().fds([&File::open("/dev/null")?]).send(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().fds().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fds<F: AsFd + 'a>(mut self, fds: impl IntoIterator<Item = &'a F>) -> Answer<'a> {
        self.fds.extend(fds.into_iter().map(AsFd::as_fd));
        self
    }

    /// What a bridge says of it.
    ///
    /// ```
    /// use kbus::{Received, Socket, Via};
    ///
    /// let socket = Socket::open("@doc-answer-via")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// let via = Via { orig_net: 7, ..Via::default() };
    /// request.answer().via(via).send(b"hello")?;
    /// assert_eq!(socket.recv()?.message().unwrap().via(), Some(via));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn via(mut self, via: Via) -> Answer<'a> {
        self.via = Some(via);
        self
    }

    /// Sends it.
    ///
    /// # Errors
    ///
    /// As of [`Request::reply`].
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-answer-send")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.answer().send(b"hello")?;
    /// assert_eq!(socket.recv()?.message().unwrap().payload(), b"hello");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn send(self, payload: impl AsRef<[u8]>) -> Result<(), ReplyError> {
        let Answer {
            mut request,
            flags,
            via,
            fds,
        } = self;
        let mut control = Builder::default();
        if flags != 0 {
            control.send(flags, 0, 0);
        }
        if !fds.is_empty() {
            control.fds(&fds);
        }
        if let Some(via) = via {
            control.via(via);
        }
        // The name may be left out, and so it does not matter how long it is.
        let path = format!("$.@{}#{}", request.sender, request.id);
        let transmit = Transmit {
            path: path.as_bytes(),
            payload: payload.as_ref(),
            control: control.bytes(),
            id: false,
            wait: false,
            deadline: None,
        };
        let Err(errno) = request.socket.try_transmit(&transmit) else {
            request.owed = false;
            return Ok(());
        };
        let error = Error::new(Op::Reply(request.name.as_str()), errno);
        // A socket that is shut for writing owes nothing.
        let settled = [libc::ECONNREFUSED, libc::EADDRNOTAVAIL, libc::EPIPE].contains(&errno.0);
        request.owed = !settled;
        let request = (!settled).then(|| Box::new(request));
        Err(ReplyError { error, request })
    }
}

/// A reply could not be sent. If it is still owed, the request is here.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-reply-error")?;
/// let service = Socket::open("@doc-reply-error")?;
/// service.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// let Received::Request(request) = service.recv()? else { unreachable!() };
/// if let Err(error) = request.reply(vec![0; 70_000]) {
///     println!("{error}");
///     if let Some(request) = error.into_request() {
///         request.reply(b"it is too long")?;
///     }
/// }
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
pub struct ReplyError {
    error: Error,
    request: Option<Box<Request>>,
}

impl ReplyError {
    /// What was wrong.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-unsent-error")?;
    /// let service = Socket::open("@doc-unsent-error")?;
    /// service.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = service.recv()? else { unreachable!() };
    /// drop(socket);
    /// let error = request.reply(b"too late").unwrap_err();
    /// assert_eq!(error.error().errno(), Some(99)); // EADDRNOTAVAIL
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// What kind of error it is.
    ///
    /// ```
    /// use kbus::{ErrorKind, Received, Socket};
    ///
    /// let socket = Socket::open("@doc-unsent-kind")?;
    /// let service = Socket::open("@doc-unsent-kind")?;
    /// service.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = service.recv()? else { unreachable!() };
    /// drop(socket);
    /// let error = request.reply(b"too late").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::RequesterGone);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn kind(&self) -> crate::ErrorKind {
        self.error.kind()
    }

    /// The request, unless nobody waits for the reply any more. It can be answered by another
    /// reply.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-unsent-into-request")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// let error = request.reply(vec![0; 70_000]).unwrap_err();
    /// error.into_request().unwrap().reply(b"short")?;
    /// assert_eq!(socket.recv()?.message().unwrap().payload(), b"short");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn into_request(self) -> Option<Request> {
        self.request.map(|request| *request)
    }
}

/// One sentence, that of its [`error`](ReplyError::error).
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-unsent-display")?;
/// let service = Socket::open("@doc-unsent-display")?;
/// service.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// let Received::Request(request) = service.recv()? else { unreachable!() };
/// drop(socket);
/// let error = request.reply(b"too late").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot reply to $.Echo: whoever asked has closed its socket (EADDRNOTAVAIL)"
/// );
/// # Ok::<(), kbus::Error>(())
/// ```
impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ReplyError {}

/// Gives the request up, if it is still owed.
///
/// ```
/// use kbus::{Error, Received, Socket};
///
/// fn answer_one(socket: &Socket) -> Result<(), Error> {
///     if let Received::Request(request) = socket.recv()? {
///         request.reply(b"hello")?;
///     }
///     Ok(())
/// }
///
/// let socket = Socket::open("@doc-error-from-3")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// answer_one(&socket)?;
/// # Ok::<(), kbus::Error>(())
/// ```
impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Error {
        error.error.clone()
    }
}
