// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, in one sentence each.

use std::convert::Infallible;
use std::fmt;
use std::io;

use crate::bus::BusError;
use crate::name::NameError;
use crate::sys::Errno;

/// Why a call failed. Its text is one sentence that says what was wrong, or what was full, for this
/// call.
///
/// A program that acts on it looks at [`kind`](Error::kind).
///
/// ```
/// use kbus::{Bus, ErrorKind, Socket};
///
/// let socket = Socket::open("@doc-error")?;
/// let error = socket.request("$.Nobody.Home", b"").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NoReplier);
/// assert_eq!(error.errno(), Some(99)); // EADDRNOTAVAIL
/// assert_eq!(error.to_string(), "cannot ask $.Nobody.Home: nobody is replier for it (EADDRNOTAVAIL)");
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    errno: Option<i32>,
    text: Box<str>,
}

/// What kind of [`Error`] it is.
///
/// ```
/// use kbus::{ErrorKind, Socket};
///
/// let socket = Socket::open("@doc-error-kind")?;
/// match socket.request("$.Echo", b"hello") {
///     Ok(id) => println!("the request is {id}"),
///     Err(error) if error.kind() == ErrorKind::NoReplier => println!("nobody is there yet"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no KBUS on this machine, or not for this program.
    Unavailable,
    /// This user may not.
    PermissionDenied,
    /// The name, bus or value is malformed or out of range, or does not fit the state of the
    /// socket.
    InvalidInput,
    /// The payload is larger than the bus allows; of a reply: than was reserved, and there is no
    /// room.
    TooLong,
    /// Nobody is replier for the name.
    NoReplier,
    /// A request to one peer, and somebody else is the replier now.
    OtherReplier,
    /// There is a replier with this very name or wildcard already.
    ReplierExists,
    /// Whoever asked has gone: the reply is wanted no more.
    RequesterGone,
    /// This socket does not owe that reply.
    NotOwed,
    /// The replier's queue is full, or a listener's is and the message was for all or nobody.
    QueueFull,
    /// This socket's queue, or its user's budget, has no room for the reply: read first.
    NoRoomForReply,
    /// A limit of the user or bus is reached.
    Quota,
    /// It must wait, and this socket is nonblocking.
    WouldBlock,
    /// The time limit is over.
    TimedOut,
    /// It would wait for the socket's own queue.
    Deadlock,
    /// The socket was shut down for this.
    ShutDown,
    /// The socket is not bound to a bus.
    NotBound,
    /// A descriptor cannot be passed.
    Descriptor,
    /// No memory.
    OutOfMemory,
    /// The path of the bus cannot be used.
    Path,
    /// What was received is not what KBUS sends.
    Unexpected,
    /// Buses whose messages have no common order.
    OtherDomain,
    /// Something else.
    Other,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    Open,
    Bind(&'a str),
    Listen(&'a str),
    Unlisten(&'a str),
    Replier(&'a str),
    Unreplier(&'a str),
    Announce(&'a str),
    Request(&'a str),
    RequestTo(&'a str),
    Reply(&'a str),
    Receive,
    Option(&'static str),
}

impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Open => f.write_str("cannot open a socket"),
            Op::Bind(bus) => write!(f, "cannot join the bus {bus}"),
            Op::Listen(pattern) => write!(f, "cannot listen to {pattern}"),
            Op::Unlisten(pattern) => write!(f, "cannot stop listening to {pattern}"),
            Op::Replier(pattern) => write!(f, "cannot become replier for {pattern}"),
            Op::Unreplier(pattern) => write!(f, "cannot stop being replier for {pattern}"),
            Op::Announce(name) => write!(f, "cannot announce {name}"),
            Op::Request(name) | Op::RequestTo(name) => write!(f, "cannot ask {name}"),
            Op::Reply(name) => write!(f, "cannot reply to {name}"),
            Op::Receive => f.write_str("cannot receive"),
            Op::Option(what) => write!(f, "cannot set or get {what}"),
        }
    }
}

impl Op<'_> {
    /// What an error number means here.
    fn explain(self, errno: i32) -> (ErrorKind, &'static str) {
        use ErrorKind as Kind;
        match (self, errno) {
            (Op::Open, libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => (
                Kind::Unavailable,
                "the kernel module kbus is not loaded, which `modprobe kbus` does as root",
            ),
            (Op::Open, libc::ESOCKTNOSUPPORT) => (
                Kind::Unavailable,
                "another module has the address family of KBUS, or a kbus module that is too old",
            ),
            (Op::Open, libc::EACCES | libc::EPERM) => {
                (Kind::PermissionDenied, "a security policy forbids it")
            }
            (Op::Bind(_), libc::EACCES) => (
                Kind::PermissionDenied,
                "its permissions, or those on the way to it, do not admit this user",
            ),
            (Op::Bind(_), libc::ECONNREFUSED) => (Kind::Path, "what is at this path is no socket"),
            (Op::Bind(_), libc::EADDRINUSE) => {
                (Kind::Path, "the path ends at a symbolic link to nowhere")
            }
            (Op::Bind(_), libc::ENOENT) => (Kind::Path, "the folder of this path does not exist"),
            (Op::Bind(_), libc::ENOTDIR) => (Kind::Path, "a part of this path is no folder"),
            (Op::Bind(_), libc::ELOOP | libc::ENAMETOOLONG) => (
                Kind::Path,
                "the path is too long, or has too many symbolic links",
            ),
            (Op::Bind(_), libc::EROFS) => (Kind::Path, "nothing can be made on this file system"),
            (Op::Bind(_), libc::ENOSPC) => (Kind::Path, "the file system has no room"),
            (Op::Bind(_), libc::EINVAL) => (Kind::InvalidInput, "this socket is bound already"),
            (Op::Bind(_), libc::EDQUOT) => (
                Kind::Quota,
                "this user has as many buses as are allowed (net.kbus.user_buses)",
            ),
            (Op::Replier(_), libc::EEXIST) => (
                Kind::ReplierExists,
                "there is a replier with this very name already",
            ),
            (Op::Replier(_), libc::EACCES) => (
                Kind::PermissionDenied,
                "it would take names from the wildcard of another user's replier",
            ),
            (Op::Replier(_), libc::EPERM) => (Kind::PermissionDenied, "the name is the bus's own"),
            (Op::Unlisten(_) | Op::Unreplier(_), libc::EINVAL) => {
                (Kind::InvalidInput, "this socket has no such binding")
            }
            (Op::Listen(_) | Op::Replier(_), libc::EINVAL) => {
                (Kind::ShutDown, "the socket was shut down")
            }
            (Op::Listen(_) | Op::Replier(_), libc::EDQUOT) => (
                Kind::Quota,
                "this user has as many bindings on the bus as are allowed (net.kbus.user_bindings, user_wide)",
            ),
            (Op::Replier(_) | Op::Unreplier(_), libc::EAGAIN) => (
                Kind::WouldBlock,
                "a socket that watches the repliers has no room for the news",
            ),
            (Op::Replier(_) | Op::Unreplier(_), libc::EDEADLK) => (
                Kind::Deadlock,
                "this socket watches the repliers, and has no room for the news",
            ),
            (Op::Reply(_), libc::ECONNREFUSED) => {
                (Kind::NotOwed, "this socket does not owe it, or no more")
            }
            (Op::Reply(_), libc::EADDRNOTAVAIL) => {
                (Kind::RequesterGone, "whoever asked has closed its socket")
            }
            (Op::Reply(_), libc::EMSGSIZE) => (
                Kind::TooLong,
                "the reply is longer than the requester has reserved and has room for, or than the bus allows",
            ),
            (Op::Request(_) | Op::RequestTo(_), libc::EADDRNOTAVAIL) => {
                (Kind::NoReplier, "nobody is replier for it")
            }
            (Op::RequestTo(_), libc::EPIPE) => (
                Kind::OtherReplier,
                "its replier is another socket now, or this socket was shut down",
            ),
            (Op::Request(_) | Op::RequestTo(_), libc::EBUSY) => (
                Kind::QueueFull,
                "the replier's queue is full, or a listener's that must not miss it",
            ),
            (Op::Request(_) | Op::RequestTo(_), libc::ENOBUFS) => (
                Kind::NoRoomForReply,
                "this socket's queue, its user's budget or the bus has no room for the reply: read first",
            ),
            (Op::Announce(_), libc::EBUSY) => (Kind::QueueFull, "the queue of a listener is full"),
            (Op::Announce(_) | Op::Request(_) | Op::RequestTo(_), libc::EPERM) => (
                Kind::PermissionDenied,
                "the name is the bus's own, or these credentials cannot be claimed",
            ),
            (Op::Announce(_) | Op::Request(_) | Op::RequestTo(_), errno) => send(errno),
            (Op::Reply(_), errno) => send(errno),
            (Op::Receive, libc::EAGAIN) => (Kind::WouldBlock, "nothing is there"),
            (Op::Option(_), libc::EPERM) => (
                Kind::PermissionDenied,
                "only the owner of the bus may set it, or the value is above what is allowed",
            ),
            (Op::Option(_), libc::EINVAL) => (Kind::InvalidInput, "the value is out of range"),
            (Op::Option(_), libc::ENOPROTOOPT) => {
                (Kind::Unavailable, "this kernel module does not have it")
            }
            (_, errno) => any(errno),
        }
    }
}

/// Of any send.
fn send(errno: i32) -> (ErrorKind, &'static str) {
    use ErrorKind as Kind;
    match errno {
        libc::EINVAL => (
            Kind::InvalidInput,
            "its flags or ancillary data are malformed",
        ),
        libc::EMSGSIZE => (
            Kind::TooLong,
            "the payload is larger than the bus allows (KBUS_MAX_MSG_SIZE)",
        ),
        libc::EPIPE => (Kind::ShutDown, "the socket was shut down for this"),
        libc::EAGAIN => (
            Kind::WouldBlock,
            "a queue is full, and the call must not wait",
        ),
        libc::EDEADLK => (Kind::Deadlock, "it would wait for this socket's own queue"),
        libc::EDQUOT => (
            Kind::Quota,
            "this user has as many bytes on the bus, or waiting calls, as are allowed",
        ),
        libc::EOPNOTSUPP => (
            Kind::Descriptor,
            "a descriptor of a socket of AF_UNIX or KBUS, or of io_uring, cannot be passed",
        ),
        libc::EBADF => (Kind::Descriptor, "a descriptor is not open"),
        libc::ETOOMANYREFS => (
            Kind::Descriptor,
            "this user has too many descriptors in flight",
        ),
        errno => any(errno),
    }
}

/// Of any call.
fn any(errno: i32) -> (ErrorKind, &'static str) {
    use ErrorKind as Kind;
    match errno {
        libc::EBADMSG => (Kind::InvalidInput, "the name is malformed"),
        libc::ENAMETOOLONG => (Kind::InvalidInput, "the name is too long"),
        libc::ENOTCONN => (Kind::NotBound, "the socket is on no bus"),
        libc::EPERM | libc::EACCES => (Kind::PermissionDenied, "it is not permitted"),
        libc::EDQUOT => (Kind::Quota, "a limit of this user is reached"),
        libc::ENOMEM => (
            Kind::OutOfMemory,
            "there is no memory, or not for this control group",
        ),
        libc::EMFILE | libc::ENFILE => (Kind::Quota, "too many files are open"),
        libc::EAGAIN => (Kind::WouldBlock, "it must wait"),
        libc::ETIMEDOUT => (Kind::TimedOut, "the time limit is over"),
        _ => (Kind::Other, ""),
    }
}

impl Error {
    /// The error that the kernel has returned.
    pub(crate) fn new(op: Op<'_>, Errno(errno): Errno) -> Error {
        let (kind, why) = op.explain(errno);
        let text = match (why, number(errno)) {
            ("", "") => format!("{op}: {}", io::Error::from_raw_os_error(errno)),
            ("", number) => {
                let text = io::Error::from_raw_os_error(errno).to_string();
                let text = text.split(" (os error").next().unwrap_or_default();
                format!("{op}: {text} ({number})")
            }
            (why, number) => format!("{op}: {why} ({number})"),
        };
        Error {
            kind,
            errno: Some(errno),
            text: text.into(),
        }
    }

    /// One that is ours.
    pub(crate) fn own(kind: ErrorKind, text: impl fmt::Display) -> Error {
        Error {
            kind,
            errno: None,
            text: text.to_string().into(),
        }
    }

    /// The time limit is over.
    pub(crate) fn timed_out(op: Op<'_>) -> Error {
        Error::new(op, Errno(libc::ETIMEDOUT))
    }

    /// The socket has been shut down for reading, and all was read.
    pub(crate) fn end() -> Error {
        Error::own(
            ErrorKind::ShutDown,
            "cannot receive: the socket was shut down for reading, and all was read",
        )
    }

    /// What kind of error it is.
    ///
    /// ```
    /// let error = kbus::Socket::open("@").unwrap_err();
    /// assert_eq!(error.kind(), kbus::ErrorKind::InvalidInput);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The number that the system call returned, if it was one that failed. A malformed name has the
    /// number that it would have been refused with (`EBADMSG`, `ENAMETOOLONG`).
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-error-errno")?;
    /// let error = socket.announce("Kitchen", b"").unwrap_err();
    /// assert_eq!(error.errno(), Some(74)); // EBADMSG
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

/// The error's name, for all that KBUS documents.
fn number(errno: i32) -> &'static str {
    macro_rules! name {
        ($($name:ident)*) => {
            match errno {
                $(libc::$name => stringify!($name),)*
                _ => "",
            }
        };
    }
    name! {
        EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADF EBADMSG EBUSY ECONNREFUSED EDEADLK EDESTADDRREQ
        EDQUOT EEXIST EFAULT EINTR EINVAL ELOOP EMFILE EMSGSIZE ENAMETOOLONG ENFILE ENOBUFS ENOENT ENOMEM
        ENOPROTOOPT ENOSPC ENOTCONN ENOTDIR ENOTSOCK EOPNOTSUPP EPERM EPIPE EPROTONOSUPPORT EROFS ESOCKTNOSUPPORT
        ESRCH ETIMEDOUT ETOOMANYREFS
    }
}

/// One sentence, without a full stop.
///
/// ```
/// let socket = kbus::Socket::open("@doc-error-display")?;
/// let error = socket.unlisten("$.News").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "cannot stop listening to $.News: this socket has no such binding (EINVAL)"
/// );
/// # Ok::<(), kbus::Error>(())
/// ```
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.text)
    }
}

impl std::error::Error for Error {}

/// [`InvalidInput`](ErrorKind::InvalidInput), with the text of the name's own error.
///
/// ```
/// let error = kbus::Name::new("Kitchen").unwrap_err();
/// assert_eq!(kbus::Error::from(error.clone()).to_string(), error.to_string());
/// ```
impl From<NameError> for Error {
    fn from(error: NameError) -> Error {
        let errno = match error {
            NameError::TooLong(_) => libc::ENAMETOOLONG,
            NameError::Malformed(_) | NameError::Wildcard(_) => libc::EBADMSG,
        };
        Error {
            errno: Some(errno),
            ..Error::own(ErrorKind::InvalidInput, error)
        }
    }
}

/// [`InvalidInput`](ErrorKind::InvalidInput), with the text of the bus's own error.
///
/// ```
/// let error = kbus::Error::from(kbus::Bus::new("@").unwrap_err());
/// assert_eq!(error.kind(), kbus::ErrorKind::InvalidInput);
/// ```
impl From<BusError> for Error {
    fn from(error: BusError) -> Error {
        Error::own(ErrorKind::InvalidInput, error)
    }
}

/// What takes a checked name does not fail to check it.
///
/// ```
/// let name = kbus::Name::new("$.News")?;
/// let socket = kbus::Socket::open("@doc-error-from")?;
/// socket.announce(name, b"")?;
/// # Ok::<(), kbus::Error>(())
/// ```
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

/// With the nearest kind of `std::io`, and the same text.
///
/// ```
/// fn send() -> std::io::Result<()> {
///     kbus::Socket::open("@doc-error-from-2")?.request("$.Nobody.Home", b"")?;
///     Ok(())
/// }
/// assert_eq!(send().unwrap_err().kind(), std::io::ErrorKind::AddrNotAvailable);
/// # Ok::<(), kbus::Error>(())
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind {
            ErrorKind::Unavailable => io::ErrorKind::Unsupported,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::NoReplier => io::ErrorKind::AddrNotAvailable,
            ErrorKind::ReplierExists => io::ErrorKind::AlreadyExists,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::ShutDown => io::ErrorKind::BrokenPipe,
            ErrorKind::NotBound => io::ErrorKind::NotConnected,
            ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same number means different things in different calls, and each text says which.
    #[test]
    fn texts_say_what_was_tried_and_what_was_wrong() {
        let text = |op, errno| Error::new(op, Errno(errno)).to_string();
        let missing = text(Op::Open, libc::EPROTONOSUPPORT);
        assert!(missing.contains("modprobe kbus") && missing.ends_with("(EPROTONOSUPPORT)"));
        assert_ne!(
            text(Op::Request("$.A"), libc::EADDRNOTAVAIL),
            text(Op::Reply("$.A"), libc::EADDRNOTAVAIL)
        );
        for errno in 1..134 {
            let text = text(Op::Announce("$.A"), errno);
            assert!(
                text.starts_with("cannot announce $.A: ") && !text.contains('\n'),
                "{text}"
            );
        }
    }

    /// The kind is the same as the text says.
    #[test]
    fn kinds_follow_the_call() {
        let kind = |op, errno| Error::new(op, Errno(errno)).kind();
        assert_eq!(kind(Op::Request("$.A"), libc::EPIPE), ErrorKind::ShutDown);
        assert_eq!(
            kind(Op::RequestTo("$.A"), libc::EPIPE),
            ErrorKind::OtherReplier
        );
        assert_eq!(kind(Op::Reply("$.A"), libc::EMSGSIZE), ErrorKind::TooLong);
        assert_eq!(
            kind(Op::Announce("$.A"), libc::EAGAIN),
            ErrorKind::WouldBlock
        );
    }
}
