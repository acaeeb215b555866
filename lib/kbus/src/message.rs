// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is received.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use crate::control::Fields;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::id::MessageId;
use crate::id::PeerId;
use crate::name::Name;
use crate::name::Pattern;
use crate::request::Request;
use crate::socket::Socket;
use crate::status::Status;
use crate::sys::Datagram;
use crate::uapi;

/// Who sent a message, at the time of sending, as the reader's namespaces see it.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let listener = Socket::options().credentials(true).open("@doc-credentials")?;
/// listener.listen("$.News")?;
/// listener.announce("$.News", b"")?;
/// let Received::Announcement(message) = listener.recv()? else { unreachable!() };
/// assert_eq!(message.credentials().unwrap().pid, std::process::id() as i32);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Its process; 0 for the bus itself, and for one that cannot be seen from here.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// Its real group.
    pub gid: u32,
}

/// Where a message that crossed a bridge between machines came from, and goes to. The bus carries
/// it unread.
///
/// ```
/// use kbus::{Received, Socket, Via};
///
/// let socket = Socket::open("@doc-via")?;
/// socket.listen("$.News")?;
/// let via = Via { orig_net: 7, orig_peer: 3, ..Via::default() };
/// socket.to("$.News")?.via(via).announce(b"from afar")?;
/// let Received::Announcement(message) = socket.recv()? else { unreachable!() };
/// assert_eq!(message.via().unwrap().orig_net, 7);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Via {
    /// The network of the original sender.
    pub orig_net: u64,
    /// The original sender.
    pub orig_peer: u64,
    /// The network of the final target.
    pub final_net: u64,
    /// The final target.
    pub final_peer: u64,
}

/// One message, with all that is known of it.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-message")?;
/// socket.listen("$.Sensors.*")?;
/// socket.announce("$.Sensors.Kitchen", b"21 C")?;
/// let Received::Announcement(message) = socket.recv()? else { unreachable!() };
/// assert_eq!(message.name(), "$.Sensors.Kitchen");
/// assert_eq!(message.payload(), b"21 C");
/// assert_eq!(message.sender(), socket.peer_id());
/// assert_eq!(message.id(), socket.last_sent()?.unwrap());
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
pub struct Message {
    pub(crate) name: Name,
    pub(crate) id: MessageId,
    pub(crate) in_reply_to: u64,
    pub(crate) cookie: u64,
    pub(crate) sender: PeerId,
    pub(crate) to: u64,
    pub(crate) flags: u32,
    pub(crate) lost: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) label: Option<Vec<u8>>,
    pub(crate) time: Option<SystemTime>,
    pub(crate) via: Option<Via>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) fds_missing: bool,
}

impl Message {
    /// Its name.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-name")?;
    /// socket.listen("$.Sensors.*")?;
    /// socket.announce("$.Sensors.Kitchen", b"21 C")?;
    /// assert_eq!(socket.recv()?.message().unwrap().name(), "$.Sensors.Kitchen");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its place in the order of all messages.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-id")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one")?;
    /// socket.announce("$.News", b"two")?;
    /// let (one, two) = (socket.recv()?, socket.recv()?);
    /// assert!(one.message().unwrap().id() < two.message().unwrap().id());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Who sent it. Of a status: the replier that it is about.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-sender")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().sender(), socket.peer_id());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn sender(&self) -> PeerId {
        self.sender
    }

    /// Its bytes. They are never cut off.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-payload")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"all is well")?;
    /// assert_eq!(socket.recv()?.message().unwrap().payload(), b"all is well");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its bytes, and nothing else of it.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-into-payload")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"all is well")?;
    /// let Received::Announcement(message) = socket.recv()? else { unreachable!() };
    /// assert_eq!(String::from_utf8(message.into_payload())?, "all is well");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// Of a reply: the request that it answers.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-in-reply-to")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// assert_eq!(request.in_reply_to(), None);
    /// request.reply(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().in_reply_to(), Some(id));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn in_reply_to(&self) -> Option<MessageId> {
        (self.in_reply_to != 0).then(|| MessageId::new(self.in_reply_to))
    }

    /// The requester of a reply; the peer that a request names; otherwise nobody.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-to")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request_to(socket.peer_id(), "$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// assert_eq!(request.to(), Some(socket.peer_id()));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn to(&self) -> Option<PeerId> {
        (self.to != 0).then(|| PeerId::new(self.to))
    }

    /// Whether a reply is wanted for it: of a request, and of a listener's copy of one.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-is-request")?;
    /// let listener = Socket::open("@doc-msg-is-request")?;
    /// listener.listen("$.Echo")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Copy(message) = listener.recv()? else { unreachable!() };
    /// assert!(message.is_request() && !message.is_reply());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn is_request(&self) -> bool {
        self.flags & uapi::KBUS_REQUEST != 0
    }

    /// Whether it is the reply to a request, or a listener's copy of one.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-is-reply")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply(b"")?;
    /// assert!(socket.recv()?.message().unwrap().is_reply());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn is_reply(&self) -> bool {
        self.flags & uapi::KBUS_REPLY != 0
    }

    /// Whether it went to the front of the queue.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-is-urgent")?;
    /// socket.listen("$.Alarm")?;
    /// socket.to("$.Alarm")?.urgent().announce(b"fire")?;
    /// assert!(socket.recv()?.message().unwrap().is_urgent());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn is_urgent(&self) -> bool {
        self.flags & uapi::KBUS_URGENT != 0
    }

    /// The sender's own bits, see [`Outgoing::user_bits`](crate::Outgoing::user_bits).
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-user-bits")?;
    /// socket.listen("$.News")?;
    /// socket.to("$.News")?.user_bits(0x1f).announce(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().user_bits(), 0x1f);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn user_bits(&self) -> u16 {
        (self.flags >> uapi::KBUS_USER_FLAGS.trailing_zeros()) as u16
    }

    /// How many messages this socket missed between the one before and this one.
    ///
    /// ```
    /// let listener = kbus::Socket::options().queue_len(1).open("@doc-msg-lost")?;
    /// listener.listen("$.News")?;
    /// for number in 0..3 {
    ///     listener.announce("$.News", [number])?;
    /// }
    /// assert_eq!(listener.recv()?.message().unwrap().payload(), [0]);
    /// listener.announce("$.News", [3])?;
    /// assert_eq!(listener.recv()?.message().unwrap().lost(), 2);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Who sent it, if the socket asks for that:
    /// [`SocketOptions::credentials`](crate::SocketOptions::credentials).
    ///
    /// ```
    /// let socket = kbus::Socket::options().credentials(true).open("@doc-msg-credentials")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// let sender = socket.recv()?.message().unwrap().credentials().unwrap();
    /// println!("process {} of user {}", sender.pid, sender.uid);
    /// assert_eq!(sender.pid, std::process::id() as i32);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn credentials(&self) -> Option<Credentials> {
        self.credentials
    }

    /// The sender's security label, if the socket asks for that.
    ///
    /// ```
    /// let socket = kbus::Socket::options().label(true).open("@doc-msg-label")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// match socket.recv()?.message().unwrap().label() {
    ///     Some(label) => println!("sent by {}", String::from_utf8_lossy(label)),
    ///     None => println!("this system has no labels"),
    /// }
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn label(&self) -> Option<&[u8]> {
        self.label.as_deref()
    }

    /// When it was sent, if the socket asks for that:
    /// [`SocketOptions::time`](crate::SocketOptions::time).
    ///
    /// ```
    /// let socket = kbus::Socket::options().time(true).open("@doc-msg-time")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// let sent = socket.recv()?.message().unwrap().time().unwrap();
    /// assert!(sent <= std::time::SystemTime::now());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// What a bridge has said of it.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-msg-via")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"sent on this machine")?;
    /// assert_eq!(socket.recv()?.message().unwrap().via(), None);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn via(&self) -> Option<Via> {
        self.via
    }

    /// The descriptors that came with it, if the socket asks for those:
    /// [`SocketOptions::descriptors`](crate::SocketOptions::descriptors).
    ///
    /// ```
    /// use std::fs::File;
    ///
    /// let socket = kbus::Socket::options().descriptors(true).open("@doc-msg-fds")?;
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::open("/dev/null")?]).announce(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().fds().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fds(&self) -> &[OwnedFd] {
        &self.fds
    }

    /// Takes the descriptors out.
    ///
    /// ```
    /// use std::fs::File;
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::options().descriptors(true).open("@doc-msg-take-fds")?;
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::open("/dev/null")?]).announce(b"")?;
    /// let Received::Announcement(mut message) = socket.recv()? else { unreachable!() };
    /// let file = message.take_fds().pop().map(File::from);
    /// assert!(file.is_some() && message.fds().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Whether it was sent with descriptors that did not come with this copy: they go to whoever
    /// answers, and only to sockets that ask for them and may open more files.
    ///
    /// ```
    /// use std::fs::File;
    ///
    /// let socket = kbus::Socket::open("@doc-msg-fds-missing")?; // does not ask for descriptors
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::open("/dev/null")?]).announce(b"")?;
    /// assert!(socket.recv()?.message().unwrap().fds_missing());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fds_missing(&self) -> bool {
        self.fds_missing
    }

    /// The event that it tells of, if it is a `$.KBUS.ReplierBindEvent`.
    ///
    /// ```
    /// use kbus::{BindEvent, Socket};
    ///
    /// let socket = Socket::open("@doc-msg-bind-event")?;
    /// socket.listen(BindEvent::NAME)?;
    /// socket.set_report_binds(true)?;
    /// socket.become_replier("$.Echo")?;
    /// let event = socket.recv()?.message().unwrap().bind_event().unwrap();
    /// assert_eq!(event.pattern, "$.Echo");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn bind_event(&self) -> Option<BindEvent> {
        let of_the_bus = self.name == BindEvent::NAME && self.sender == PeerId::BUS;
        of_the_bus
            .then(|| BindEvent::parse(&self.payload))
            .flatten()
    }

    fn new(datagram: Datagram) -> Result<(Message, i32), Error> {
        let Datagram {
            path,
            payload,
            flags,
            control,
            fds,
        } = datagram;
        let unexpected = |what| {
            Error::own(
                ErrorKind::Unexpected,
                format_args!("cannot receive: {what}"),
            )
        };
        let info = control.info.ok_or_else(|| {
            unexpected("a message came without SCM_KBUS_INFO, which somebody has switched off for this socket")
        })?;
        if flags & libc::MSG_TRUNC != 0 {
            return Err(unexpected(
                "a message was larger than this version of the library knows, and is lost",
            ));
        }
        let name = match &control.name {
            Some(name) => &name[..],
            None => path
                .split(|byte| matches!(byte, b'@' | b'#'))
                .next()
                .unwrap_or_default(),
        };
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| name.starts_with("$."));
        let name = name.ok_or_else(|| unexpected("a message came without a name"))?;
        let had = info.flags & uapi::KBUS_HAD_FDS != 0 || flags & libc::MSG_CTRUNC != 0;
        let message = Message {
            name: Name::checked(name),
            id: MessageId::new(info.id),
            in_reply_to: info.in_reply_to,
            cookie: info.cookie,
            sender: PeerId::new(info.sender),
            to: info.to,
            flags: info.flags,
            lost: info.lost,
            payload,
            credentials: control.credentials,
            label: control.label,
            time: control.time,
            via: control.via,
            fds_missing: had,
            fds,
        };
        Ok((message, info.error))
    }
}

/// What [`Socket::recv`] returns: a message, and what it is to this socket.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-received")?;
/// socket.become_replier("$.Echo")?;
/// socket.listen("$.Echo")?;
/// socket.request("$.Echo", b"hello")?;
/// while let Some(received) = socket.try_recv()? {
///     match received {
///         Received::Announcement(message) => println!("{} was announced", message.name()),
///         Received::Request(request) => request.reply(b"hello yourself")?,
///         Received::Copy(message) => println!("somebody else gets {}", message.name()),
///         Received::Reply(reply) => println!("my answer: {:?}", reply.payload()),
///         Received::Status(status) => println!("no answer: {status}"),
///         Received::Lost(lost) => println!("{} messages were missed", lost.count),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Received {
    /// Somebody has announced this.
    Announcement(Message),
    /// This socket must answer it.
    Request(Request),
    /// A listener's copy of a request that somebody else answers, or of a reply that somebody else
    /// gets.
    Copy(Message),
    /// The reply to a request of this socket.
    Reply(Reply),
    /// There will be no reply to a request of this socket.
    Status(Status),
    /// Messages were missed here, see
    /// [`SocketOptions::report_lost`](crate::SocketOptions::report_lost).
    Lost(Lost),
    /// The bus tells of something else: of a replier that has come or gone, see [`BindEvent`], or,
    /// by a `$.KBUS.UnbindEventsLost`, that there was no room to tell of all that have gone.
    Event(Message),
}

impl Received {
    /// What the message is to that socket.
    pub(crate) fn new(socket: &Socket, datagram: Datagram) -> Result<Received, Error> {
        let (mut message, error) = Message::new(datagram)?;
        let flags = message.flags;
        if flags & uapi::KBUS_STATUS != 0 {
            if message.name == "$.KBUS.Lost" {
                let count = message.lost;
                return Ok(Received::Lost(Lost {
                    count,
                    id: message.id,
                }));
            }
            if message.in_reply_to == 0 {
                return Ok(Received::Event(message));
            }
            message.cookie = message.cookie.wrapping_sub(COOKIE);
            return Ok(Received::Status(Status::new(message, error)));
        }
        if flags & uapi::KBUS_YOU_REPLY != 0 {
            return Ok(Received::Request(Request::new(socket.clone(), message)));
        }
        // Only the requester's own copy has a cookie, and each request of ours has one.
        if flags & uapi::KBUS_REPLY != 0 && message.cookie != 0 {
            message.cookie = message.cookie.wrapping_sub(COOKIE);
            return Ok(Received::Reply(Reply { message }));
        }
        if flags & (uapi::KBUS_REPLY | uapi::KBUS_REQUEST) != 0 {
            return Ok(Received::Copy(message));
        }
        Ok(Received::Announcement(message))
    }

    /// Its place in the order of all messages.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-received-id")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"")?;
    /// assert_eq!(Some(socket.recv()?.id()), socket.last_sent()?);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn id(&self) -> MessageId {
        match self {
            Received::Lost(lost) => lost.id,
            Received::Announcement(message)
            | Received::Copy(message)
            | Received::Event(message) => message.id,
            Received::Request(request) => request.id,
            Received::Reply(reply) => reply.id,
            Received::Status(status) => status.message().id,
        }
    }

    /// The message, unless it tells of lost ones.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-received-message")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"all is well")?;
    /// if let Some(message) = socket.recv()?.message() {
    ///     println!("{}: {} bytes", message.name(), message.payload().len());
    /// }
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn message(&self) -> Option<&Message> {
        match self {
            Received::Lost(_) => None,
            Received::Announcement(message)
            | Received::Copy(message)
            | Received::Event(message) => Some(message),
            Received::Request(request) => Some(request),
            Received::Reply(reply) => Some(reply),
            Received::Status(status) => Some(status.message()),
        }
    }
}

/// What is added to the cookie of each request, so that none goes out with 0: that tells a
/// requester's own copy of a reply from the one that it gets as a listener.
pub(crate) const COOKIE: u64 = 1;

/// The reply to a request of this socket: a [`Message`] with a cookie.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-reply")?;
/// socket.become_replier("$.Echo")?;
/// let id = socket.to("$.Echo")?.cookie(7).request(b"hello")?;
/// let Received::Request(request) = socket.recv()? else { unreachable!() };
/// request.reply(b"hello yourself")?;
/// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
/// assert_eq!(reply.in_reply_to(), Some(id));
/// assert_eq!((reply.cookie(), reply.payload()), (7, &b"hello yourself"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reply {
    message: Message,
}

impl Reply {
    /// The cookie that the request was sent with.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-reply-cookie")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.to("$.Echo")?.cookie(7).request(b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply(b"")?;
    /// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
    /// assert_eq!(reply.cookie(), 7);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn cookie(&self) -> u64 {
        self.message.cookie
    }

    /// The message.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-reply-into-message")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply(b"hello")?;
    /// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
    /// let answers = vec![reply.into_message()];
    /// assert_eq!(answers[0].payload(), b"hello");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Its bytes, and nothing else of it.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-reply-into-payload")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply(b"hello")?;
    /// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
    /// assert_eq!(reply.into_payload(), b"hello");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn into_payload(self) -> Vec<u8> {
        self.message.payload
    }

    /// Takes the descriptors out.
    ///
    /// ```
    /// use std::fs::File;
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::options().descriptors(true).open("@doc-reply-take-fds")?;
    /// socket.become_replier("$.Open")?;
    /// socket.request("$.Open", b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply_with_fds(b"", [&File::open("/dev/null")?])?;
    /// let Received::Reply(mut reply) = socket.recv()? else { unreachable!() };
    /// assert_eq!(reply.take_fds().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.message.take_fds()
    }
}

/// The reply as a message: its payload, its sender and so on.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-reply-deref")?;
/// socket.become_replier("$.Echo")?;
/// socket.request("$.Echo", b"")?;
/// let Received::Request(request) = socket.recv()? else { unreachable!() };
/// request.reply(b"hello")?;
/// let Received::Reply(reply) = socket.recv()? else { unreachable!() };
/// assert_eq!((reply.sender(), reply.payload()), (socket.peer_id(), &b"hello"[..]));
/// # Ok::<(), kbus::Error>(())
/// ```
impl Deref for Reply {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// So many messages were missed at this place in the queue.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let listener = Socket::options().queue_len(1).report_lost(true).open("@doc-lost")?;
/// listener.listen("$.News")?;
/// for number in 0..5 {
///     listener.announce("$.News", [number])?;
/// }
/// assert!(matches!(listener.recv()?, Received::Announcement(_)));
/// let Received::Lost(lost) = listener.recv()? else { unreachable!() };
/// assert_eq!(lost.count, 4);
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// How many.
    pub count: u32,
    /// The id of the last of them.
    pub id: MessageId,
}

/// A replier has come or gone.
///
/// The owner of the bus switches such events on, and whoever listens to [`BindEvent::NAME`] gets
/// them.
///
/// ```
/// use kbus::{BindEvent, Received, Socket};
///
/// let watcher = Socket::open("@doc-bind-event")?;
/// watcher.listen(BindEvent::NAME)?;
/// watcher.set_report_binds(true)?;
/// let replier = Socket::open("@doc-bind-event")?;
/// replier.become_replier("$.Echo")?;
/// let Received::Event(message) = watcher.recv()? else { unreachable!() };
/// let event = message.bind_event().unwrap();
/// assert_eq!((event.pattern.as_str(), event.is_bind), ("$.Echo", true));
/// assert_eq!(event.peer, replier.peer_id());
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindEvent {
    /// Whose binding it is.
    pub peer: PeerId,
    /// Whether it has come; otherwise it has gone.
    pub is_bind: bool,
    /// The name or wildcard.
    pub pattern: Pattern,
}

impl BindEvent {
    /// The name of such messages.
    ///
    /// ```
    /// assert!(kbus::Name::new(kbus::BindEvent::NAME)?.is_of_the_bus());
    /// # Ok::<(), kbus::NameError>(())
    /// ```
    pub const NAME: &'static str = "$.KBUS.ReplierBindEvent";

    fn parse(bytes: &[u8]) -> Option<BindEvent> {
        let mut fields = Fields(bytes);
        let (peer, is_bind, len) = (fields.u64(), fields.u32(), fields.u32());
        let name = std::str::from_utf8(fields.0.get(..len as usize)?).ok()?;
        Some(BindEvent {
            peer: PeerId::new(peer),
            is_bind: is_bind != 0,
            pattern: Pattern::new(name).ok()?,
        })
    }
}
