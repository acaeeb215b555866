// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a socket is to be, before it joins its bus.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::bus::Bus;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Op;
use crate::socket::Socket;
use crate::sys;
use crate::uapi;

/// The two forms of `socket()` that make the same socket.
///
/// ```
/// use kbus::{Form, Socket};
///
/// // For a program that its own sandbox keeps from AF_UNIX.
/// let socket = Socket::options().form(Form::Family).open("@doc-form")?;
/// assert_eq!(socket.form(), Form::Family);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS)`.
    Literal,
    /// `socket(AF_KBUS, SOCK_DGRAM, 0)`.
    Family,
}

impl Form {
    pub(crate) fn family(self) -> u16 {
        match self {
            Form::Literal => libc::AF_UNIX as u16,
            Form::Family => uapi::AF_KBUS,
        }
    }

    fn socket(self) -> sys::Res<OwnedFd> {
        match self {
            Form::Literal => sys::socket(libc::AF_UNIX as u16, uapi::PROTO_KBUS),
            Form::Family => sys::socket(uapi::AF_KBUS, 0),
        }
    }
}

/// How a [`Socket`] is to be; begins with [`Socket::options`] and ends with
/// [`open`](SocketOptions::open).
///
/// ```
/// use std::time::Duration;
/// use kbus::Socket;
///
/// let monitor = Socket::options()
///     .queue_len(1000)
///     .lossy(true)
///     .report_lost(true)
///     .credentials(true)
///     .time(true)
///     .read_timeout(Duration::from_secs(1))
///     .open("@doc-options")?;
/// assert_eq!(monitor.queue_len()?, 1000);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SocketOptions {
    form: Option<Form>,
    queue_len: Option<u32>,
    receive_buffer: Option<u32>,
    reply_max: Option<u32>,
    once: bool,
    lossy: bool,
    report_lost: bool,
    pass: u32,
    nonblocking: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    bus_mode: Option<u32>,
}

impl SocketOptions {
    /// Those of an ordinary socket.
    ///
    /// ```
    /// let socket = kbus::SocketOptions::new().queue_len(10).open("@doc-opt-new")?;
    /// assert_eq!(socket.queue_len()?, 10);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// Which form of `socket()`. Otherwise the literal one is tried first, and then the other one,
    /// which works too in a program with `no_new_privs` or a seccomp filter.
    ///
    /// ```
    /// use kbus::{Form, Socket};
    ///
    /// let socket = Socket::options().form(Form::Family).open("@doc-opt-form")?;
    /// assert_eq!(socket.form(), Form::Family);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn form(mut self, form: Form) -> SocketOptions {
        self.form = Some(form);
        self
    }

    /// How many messages its queue holds, those that are reserved for replies among them: 100 by
    /// default, at most `net.kbus.max_queue_len`.
    ///
    /// ```
    /// let socket = kbus::Socket::options().queue_len(1000).open("@doc-opt-queue-len")?;
    /// assert_eq!(socket.queue_len()?, 1000);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn queue_len(mut self, messages: u32) -> SocketOptions {
        self.queue_len = Some(messages);
        self
    }

    /// With how many bytes of payload its queue is full (`SO_RCVBUF`): 8 MiB by default.
    ///
    /// ```
    /// let listener = kbus::Socket::options().receive_buffer(100_000).open("@doc-opt-receive-buffer")?;
    /// listener.listen("$.Image")?;
    /// for _ in 0..8 {
    ///     listener.announce("$.Image", vec![0; 60_000])?;
    /// }
    /// assert!(listener.lost()? > 0);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn receive_buffer(mut self, bytes: u32) -> SocketOptions {
        self.receive_buffer = Some(bytes);
        self
    }

    /// How many bytes each request reserves for its reply: 4096 by default. A longer reply may
    /// fail.
    ///
    /// ```
    /// let socket = kbus::Socket::options().reply_max(100_000).open("@doc-opt-reply-max")?;
    /// assert_eq!(socket.reply_max()?, 100_000);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn reply_max(mut self, bytes: u32) -> SocketOptions {
        self.reply_max = Some(bytes);
        self
    }

    /// One copy of each message, however many bindings match.
    ///
    /// ```
    /// let socket = kbus::Socket::options().once(true).open("@doc-opt-once")?;
    /// socket.listen("$.News")?;
    /// socket.listen("$.*")?;
    /// socket.announce("$.News", b"")?;
    /// assert_eq!(socket.unread()?, 1);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn once(mut self, on: bool) -> SocketOptions {
        self.once = on;
        self
    }

    /// As a listener, misses messages where its queue is full, rather than let a sender fail or
    /// wait. For monitors.
    ///
    /// ```
    /// let monitor = kbus::Socket::options().lossy(true).queue_len(1).open("@doc-opt-lossy")?;
    /// monitor.listen("$.*")?;
    /// let socket = kbus::Socket::open("@doc-opt-lossy")?;
    /// socket.to("$.News")?.all_or_fail().announce(b"one")?;
    /// socket.to("$.News")?.all_or_fail().announce(b"two")?;
    /// assert_eq!(monitor.lost()?, 1);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn lossy(mut self, on: bool) -> SocketOptions {
        self.lossy = on;
        self
    }

    /// Tells of missed messages by [`Received::Lost`](crate::Received::Lost), at their place.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let listener = Socket::options().report_lost(true).queue_len(1).open("@doc-opt-report-lost")?;
    /// listener.listen("$.News")?;
    /// listener.announce("$.News", b"one")?;
    /// listener.announce("$.News", b"two")?;
    /// assert!(matches!(listener.recv()?, Received::Announcement(_)));
    /// assert!(matches!(listener.recv()?, Received::Lost(_)));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn report_lost(mut self, on: bool) -> SocketOptions {
        self.report_lost = on;
        self
    }

    fn pass(mut self, bit: u32, on: bool) -> SocketOptions {
        self.pass = if on {
            self.pass | bit
        } else {
            self.pass & !bit
        };
        self
    }

    /// Messages come with [`Message::credentials`](crate::Message::credentials).
    ///
    /// ```
    /// let socket = kbus::Socket::options().credentials(true).open("@doc-opt-credentials")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// assert!(socket.recv()?.message().unwrap().credentials().is_some());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn credentials(self, on: bool) -> SocketOptions {
        self.pass(uapi::KBUS_PASS_CRED, on)
    }

    /// Messages come with the security label of their senders, where there are labels.
    ///
    /// ```
    /// let socket = kbus::Socket::options().label(true).open("@doc-opt-label")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// println!("{:?}", socket.recv()?.message().unwrap().label());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn label(self, on: bool) -> SocketOptions {
        self.pass(uapi::KBUS_PASS_SEC, on)
    }

    /// Messages come with the descriptors that were sent with them.
    ///
    /// ```
    /// let socket = kbus::Socket::options().descriptors(true).open("@doc-opt-descriptors")?;
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&std::fs::File::open("/dev/null")?]).announce(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().fds().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn descriptors(self, on: bool) -> SocketOptions {
        self.pass(uapi::KBUS_PASS_RIGHTS, on)
    }

    /// Messages come with the [`time`](crate::Message::time) when they were sent.
    ///
    /// ```
    /// let socket = kbus::Socket::options().time(true).open("@doc-opt-time")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// assert!(socket.recv()?.message().unwrap().time().is_some());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn time(self, on: bool) -> SocketOptions {
        self.pass(uapi::KBUS_PASS_TIME, on)
    }

    /// Calls return at once with [`ErrorKind::WouldBlock`] where they would have to wait.
    ///
    /// ```
    /// let socket = kbus::Socket::options().nonblocking(true).open("@doc-opt-nonblocking")?;
    /// assert_eq!(socket.recv().unwrap_err().kind(), kbus::ErrorKind::WouldBlock);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn nonblocking(mut self, on: bool) -> SocketOptions {
        self.nonblocking = on;
        self
    }

    /// How long [`Socket::recv`] waits at most.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let socket = kbus::Socket::options().read_timeout(Duration::from_millis(1)).open("@doc-opt-read-timeout")?;
    /// assert_eq!(socket.recv().unwrap_err().kind(), kbus::ErrorKind::TimedOut);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn read_timeout(mut self, limit: impl Into<Option<Duration>>) -> SocketOptions {
        self.read_timeout = limit.into();
        self
    }

    /// How long a send that is [`all_or_wait`](crate::Outgoing::all_or_wait) waits at most.
    ///
    /// ```
    /// use std::time::Duration;
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let listener = Socket::options().queue_len(1).open("@doc-opt-write-timeout")?;
    /// listener.listen("$.News")?;
    /// let socket = Socket::options().write_timeout(Duration::from_millis(10)).open("@doc-opt-write-timeout")?;
    /// socket.announce("$.News", b"one")?;
    /// let error = socket.to("$.News")?.all_or_wait().announce(b"two").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> SocketOptions {
        self.write_timeout = limit.into();
        self
    }

    /// The permissions of the bus, if this socket makes it. See `KBUS_BUS_MODE` in `kbus(7)`.
    ///
    /// ```
    /// let socket = kbus::Socket::options().bus_mode(0o600).open("@doc-opt-bus-mode")?;
    /// assert_eq!(socket.bus_info()?.mode, 0o600);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn bus_mode(mut self, mode: u32) -> SocketOptions {
        self.bus_mode = Some(mode);
        self
    }

    /// Makes the socket and joins the bus, which begins with its first socket.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) where there is no KBUS,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a malformed address or a value out of range,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) where the bus does not admit this user or
    /// a value is above what is allowed, [`Path`](ErrorKind::Path) where the path cannot be used.
    ///
    /// ```
    /// let socket = kbus::SocketOptions::new().open("@doc-open")?;
    /// assert_eq!(socket.bus().to_string(), "@doc-open");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn open<B>(&self, bus: B) -> Result<Socket, Error>
    where
        B: TryInto<Bus>,
        Error: From<B::Error>,
    {
        let bus = bus.try_into()?;
        let (fd, form) = self.socket()?;
        self.apply(&fd)?;
        let address = sys::address(form.family(), bus.bytes());
        sys::bind(fd.as_fd(), &address)
            .map_err(|errno| Error::new(Op::Bind(&bus.to_string()), errno))?;
        Socket::new(fd, form, bus)
    }

    fn socket(&self) -> Result<(OwnedFd, Form), Error> {
        if let Some(form) = self.form {
            let fd = form.socket().map_err(|errno| match form {
                Form::Literal if Form::Family.socket().is_ok() => Error::own(
                    ErrorKind::Unavailable,
                    "cannot open a socket: net.kbus.literal, or a sandbox, keeps this program from \
                     socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS); the other form works",
                ),
                _ => Error::new(Op::Open, errno),
            })?;
            return Ok((fd, form));
        }
        if let Ok(fd) = Form::Literal.socket() {
            return Ok((fd, Form::Literal));
        }
        let fd = Form::Family
            .socket()
            .map_err(|errno| Error::new(Op::Open, errno))?;
        Ok((fd, Form::Family))
    }

    fn apply(&self, fd: &OwnedFd) -> Result<(), Error> {
        let fd = fd.as_fd();
        let set = |what, option, value: u32| {
            sys::set_option(fd, uapi::SOL_KBUS, option, &value.to_ne_bytes())
                .map_err(|errno| Error::new(Op::Option(what), errno))
        };
        let values = [
            (
                "the length of the queue",
                uapi::KBUS_QUEUE_LEN,
                self.queue_len,
            ),
            (
                "the bytes reserved for a reply",
                uapi::KBUS_REPLY_MAX,
                self.reply_max,
            ),
            ("the mode of the bus", uapi::KBUS_BUS_MODE, self.bus_mode),
            (
                "KBUS_PASS",
                uapi::KBUS_PASS,
                (self.pass != 0).then_some(self.pass),
            ),
            ("KBUS_ONCE", uapi::KBUS_ONCE, self.once.then_some(1)),
            ("KBUS_LOSSY", uapi::KBUS_LOSSY, self.lossy.then_some(1)),
            (
                "KBUS_REPORT_LOST",
                uapi::KBUS_REPORT_LOST,
                self.report_lost.then_some(1),
            ),
        ];
        for (what, option, value) in values {
            value.map_or(Ok(()), |value| set(what, option, value))?;
        }
        let standard = |what| move |errno| Error::new(Op::Option(what), errno);
        if let Some(bytes) = self.receive_buffer {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes.to_ne_bytes())
                .map_err(standard("SO_RCVBUF"))?;
        }
        for (what, name, limit) in [
            ("the read timeout", libc::SO_RCVTIMEO, self.read_timeout),
            ("the write timeout", libc::SO_SNDTIMEO, self.write_timeout),
        ] {
            if limit.is_some() {
                sys::set_time_limit(fd, name, limit).map_err(standard(what))?;
            }
        }
        if self.nonblocking {
            sys::set_nonblocking(fd, true).map_err(standard("O_NONBLOCK"))?;
        }
        Ok(())
    }
}
