// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message that is to be sent.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use std::time::Instant;

use crate::call;
use crate::call::CallError;
use crate::control::Builder;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Op;
use crate::id::MessageId;
use crate::id::PeerId;
use crate::message::COOKIE;
use crate::message::Reply;
use crate::message::Via;
use crate::name::Name;
use crate::socket::Socket;
use crate::socket::Transmit;
use crate::sys::Res;
use crate::uapi;

/// A message that is to be sent with details; begins with [`Socket::to`] and ends with
/// [`announce`](Outgoing::announce), [`request`](Outgoing::request) or [`call`](Outgoing::call).
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-outgoing")?;
/// socket.listen("$.*")?;
/// socket.announce("$.News", b"later")?;
/// socket.to("$.Alarm")?.urgent().all_or_fail().user_bits(0x1f).announce(b"fire")?;
/// let Received::Announcement(first) = socket.recv()? else { unreachable!() };
/// assert_eq!((first.name().as_str(), first.is_urgent(), first.user_bits()), ("$.Alarm", true, 0x1f));
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is not sent yet"]
pub struct Outgoing<'a> {
    socket: &'a Socket,
    name: Name,
    peer: Option<PeerId>,
    flags: u32,
    reply_max: u32,
    cookie: u64,
    via: Option<Via>,
    fds: Vec<BorrowedFd<'a>>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(socket: &'a Socket, name: Name) -> Outgoing<'a> {
        Outgoing {
            socket,
            name,
            peer: None,
            flags: 0,
            reply_max: 0,
            cookie: 0,
            via: None,
            fds: Vec::new(),
        }
    }

    /// To the front of each queue.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-outgoing-urgent")?;
    /// socket.listen("$.*")?;
    /// socket.announce("$.News", b"")?;
    /// socket.to("$.Alarm")?.urgent().announce(b"fire")?;
    /// assert_eq!(socket.recv()?.message().unwrap().name(), "$.Alarm");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn urgent(mut self) -> Outgoing<'a> {
        self.flags |= uapi::KBUS_URGENT;
        self
    }

    /// To all that it is for, or to nobody: if a queue is full it fails with
    /// [`QueueFull`](ErrorKind::QueueFull).
    ///
    /// ```
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let listener = Socket::options().queue_len(1).open("@doc-outgoing-all-or-fail")?;
    /// listener.listen("$.News")?;
    /// let socket = Socket::open("@doc-outgoing-all-or-fail")?;
    /// socket.announce("$.News", b"one")?;
    /// let error = socket.to("$.News")?.all_or_fail().announce(b"two").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::QueueFull);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn all_or_fail(mut self) -> Outgoing<'a> {
        self.flags |= uapi::KBUS_ALL_OR_FAIL;
        self.flags &= !uapi::KBUS_ALL_OR_WAIT;
        self
    }

    /// To all that it is for, and waits until each queue has room, at most for the socket's write
    /// timeout.
    ///
    /// ```
    /// use std::thread;
    /// use kbus::Socket;
    ///
    /// let listener = Socket::options().queue_len(1).open("@doc-outgoing-all-or-wait")?;
    /// listener.listen("$.News")?;
    /// let reader = thread::spawn(move || (0..3).map(|_| listener.recv()).collect::<Vec<_>>());
    /// let socket = Socket::open("@doc-outgoing-all-or-wait")?;
    /// for number in 0..3 {
    ///     socket.to("$.News")?.all_or_wait().announce([number])?;
    /// }
    /// assert!(reader.join().unwrap().iter().all(Result::is_ok));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn all_or_wait(mut self) -> Outgoing<'a> {
        self.flags |= uapi::KBUS_ALL_OR_WAIT;
        self.flags &= !uapi::KBUS_ALL_OR_FAIL;
        self
    }

    /// 16 bits of the program's own, which its readers get as they are.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-outgoing-user-bits")?;
    /// socket.listen("$.News")?;
    /// socket.to("$.News")?.user_bits(0b101).announce(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().user_bits(), 0b101);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn user_bits(mut self, bits: u16) -> Outgoing<'a> {
        self.flags &= !uapi::KBUS_USER_FLAGS;
        self.flags |= u32::from(bits) << uapi::KBUS_USER_FLAGS.trailing_zeros();
        self
    }

    /// Descriptors that go with it: of a request to its replier, of an announcement to each
    /// listener, if they ask for such. At most 253.
    ///
    /// ```
    /// use std::fs::{self, File};
    /// use std::io::Write;
    /// use kbus::{Received, Socket};
    ///
    /// let path = std::env::temp_dir().join("kbus-doc-fds");
    /// let socket = Socket::options().descriptors(true).open("@doc-fds")?;
    /// socket.listen("$.Log")?;
    /// socket.to("$.Log")?.fds([&File::create(&path)?]).announce(b"write here")?;
    /// let Received::Announcement(mut message) = socket.recv()? else { unreachable!() };
    /// let mut file = File::from(message.take_fds().remove(0));
    /// file.write_all(b"hello")?;
    /// assert_eq!(fs::read(path)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fds<F: AsFd + 'a>(mut self, fds: impl IntoIterator<Item = &'a F>) -> Outgoing<'a> {
        self.fds.extend(fds.into_iter().map(AsFd::as_fd));
        self
    }

    /// What a bridge says of it.
    ///
    /// ```
    /// use kbus::{Socket, Via};
    ///
    /// let socket = Socket::open("@doc-outgoing-via")?;
    /// socket.listen("$.News")?;
    /// let via = Via { orig_net: 7, ..Via::default() };
    /// socket.to("$.News")?.via(via).announce(b"")?;
    /// assert_eq!(socket.recv()?.message().unwrap().via(), Some(via));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn via(mut self, via: Via) -> Outgoing<'a> {
        self.via = Some(via);
        self
    }

    /// A number that comes back with the reply or status, and that nobody else sees. Not
    /// `u64::MAX`.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-outgoing-cookie")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.to("$.Echo")?.cookie(7).request(b"")?;
    /// socket.stop_replier("$.Echo")?;
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.cookie(), 7);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn cookie(mut self, cookie: u64) -> Outgoing<'a> {
        self.cookie = cookie;
        self
    }

    /// How many bytes to reserve for the reply, in place of the socket's own number.
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-outgoing-reply-max")?;
    /// socket.become_replier("$.Image")?;
    /// socket.to("$.Image")?.reply_max(60_000).request(b"")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// request.reply(vec![0; 60_000])?;
    /// assert_eq!(socket.next_len()?, Some(60_000));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn reply_max(mut self, bytes: u32) -> Outgoing<'a> {
        self.reply_max = bytes;
        self
    }

    /// Only if that peer is the replier.
    ///
    /// ```
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let socket = Socket::open("@doc-outgoing-peer")?;
    /// let service = Socket::open("@doc-outgoing-peer")?;
    /// service.become_replier("$.Echo")?;
    /// socket.to("$.Echo")?.peer(service.peer_id()).request(b"")?;
    /// let error = socket.to("$.Echo")?.peer(socket.peer_id()).request(b"").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::OtherReplier);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn peer(mut self, peer: PeerId) -> Outgoing<'a> {
        self.peer = Some(peer);
        self
    }

    /// Sends a copy to each listener.
    ///
    /// # Errors
    ///
    /// [`TooLong`](ErrorKind::TooLong) if the payload is larger than the bus allows,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) for names of the bus,
    /// [`QueueFull`](ErrorKind::QueueFull) with `all_or_fail`,
    /// [`WouldBlock`](ErrorKind::WouldBlock), [`TimedOut`](ErrorKind::TimedOut) and
    /// [`Deadlock`](ErrorKind::Deadlock) with `all_or_wait`, [`Quota`](ErrorKind::Quota),
    /// [`Descriptor`](ErrorKind::Descriptor), [`InvalidInput`](ErrorKind::InvalidInput) with
    /// `peer`: there are no private announcements.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-outgoing-announce")?;
    /// socket.to("$.Alarm")?.urgent().announce(b"fire")?;
    /// let error = socket.to("$.KBUS.Alarm")?.announce(b"fire").unwrap_err();
    /// assert_eq!(error.kind(), kbus::ErrorKind::PermissionDenied);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn announce(self, payload: impl AsRef<[u8]>) -> Result<(), Error> {
        let packed = self.packed_announcement()?;
        self.socket
            .transmit(&packed.transmit(payload.as_ref(), None))
            .map(drop)
            .map_err(|errno| Error::new(Op::Announce(self.name.as_str()), errno))
    }

    /// Asks the replier. A reply or a status comes to the socket, exactly one; its `in_reply_to` is
    /// the id that this returns.
    ///
    /// # Errors
    ///
    /// [`NoReplier`](ErrorKind::NoReplier), [`OtherReplier`](ErrorKind::OtherReplier) with `peer`,
    /// [`QueueFull`](ErrorKind::QueueFull) if the replier's queue is full,
    /// [`NoRoomForReply`](ErrorKind::NoRoomForReply) if the socket's own queue is; and those of
    /// [`announce`](Outgoing::announce).
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-outgoing-request")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.to("$.Echo")?.urgent().request(b"hello")?;
    /// assert_eq!(socket.recv()?.id(), id);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn request(self, payload: impl AsRef<[u8]>) -> Result<MessageId, Error> {
        let packed = self.packed_request()?;
        let sent = self
            .socket
            .transmit(&packed.transmit(payload.as_ref(), None));
        self.asked(sent)
    }

    /// Asks the replier, and waits for the reply. See [`Socket::call`].
    ///
    /// # Errors
    ///
    /// As of [`Socket::call`].
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use kbus::Socket;
    ///
    /// let service = Socket::open("@doc-outgoing-call")?;
    /// service.become_replier("$.Echo")?;
    /// thread::spawn(move || service.serve_bound(|request| request.into_payload()));
    ///
    /// let socket = Socket::open("@doc-outgoing-call")?;
    /// let reply = socket.to("$.Echo")?.urgent().call(b"hello", Duration::from_secs(60))?;
    /// assert_eq!(reply.payload(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call(self, payload: impl AsRef<[u8]>, limit: Duration) -> Result<Reply, CallError> {
        let packed = self.packed_request()?;
        let deadline = Instant::now().checked_add(limit);
        let caller = self.socket.caller()?;
        let sent = caller.transmit(&packed.transmit(payload.as_ref(), deadline));
        match self.asked(sent) {
            Err(error) => {
                self.socket.keep_caller(caller);
                Err(CallError::from(error))
            }
            Ok(_) => call::answer(self.socket, caller, deadline),
        }
    }

    /// What a send of a request has returned.
    pub(crate) fn asked(&self, sent: Res<Option<MessageId>>) -> Result<MessageId, Error> {
        let sent = sent.map_err(|errno| {
            let name = self.name.as_str();
            let op = if self.peer.is_some() {
                Op::RequestTo(name)
            } else {
                Op::Request(name)
            };
            Error::new(op, errno)
        })?;
        Ok(sent.unwrap_or(MessageId::new(0)))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn packed_announcement(&self) -> Result<Packed, Error> {
        if self.peer.is_some() {
            return Err(Error::own(
                ErrorKind::InvalidInput,
                format_args!(
                    "cannot announce {}: an announcement goes to no single peer",
                    self.name
                ),
            ));
        }
        Ok(self.packed(self.flags, 0))
    }

    pub(crate) fn packed_request(&self) -> Result<Packed, Error> {
        let Some(cookie) = self.cookie.checked_add(COOKIE) else {
            return Err(Error::own(
                ErrorKind::InvalidInput,
                format_args!(
                    "cannot ask {}: the cookie is u64::MAX, which cannot be sent",
                    self.name
                ),
            ));
        };
        Ok(self.packed(self.flags | uapi::KBUS_REQUEST, cookie))
    }

    fn packed(&self, flags: u32, cookie: u64) -> Packed {
        let mut control = Builder::default();
        if flags != 0 {
            control.send(flags, self.reply_max, cookie);
        }
        if !self.fds.is_empty() {
            control.fds(&self.fds);
        }
        if let Some(via) = self.via {
            control.via(via);
        }
        let mut path = String::new();
        if self.name.is_short() {
            path.push_str(self.name.as_str());
        } else {
            control.name(self.name.as_str());
            path.push_str(if self.peer.is_some() { "$." } else { "" });
        }
        if let Some(peer) = self.peer {
            path.push_str(&format!("@{peer}"));
        }
        Packed {
            path,
            control,
            id: flags & uapi::KBUS_REQUEST != 0,
            wait: flags & uapi::KBUS_ALL_OR_WAIT != 0,
        }
    }
}

/// A message as it goes to the kernel, all but its payload.
pub(crate) struct Packed {
    pub(crate) path: String,
    pub(crate) control: Builder,
    pub(crate) id: bool,
    pub(crate) wait: bool,
}

impl Packed {
    pub(crate) fn transmit<'a>(
        &'a self,
        payload: &'a [u8],
        deadline: Option<Instant>,
    ) -> Transmit<'a> {
        Transmit {
            path: self.path.as_bytes(),
            payload,
            control: self.control.bytes(),
            id: self.id,
            wait: self.wait,
            deadline,
        }
    }
}
