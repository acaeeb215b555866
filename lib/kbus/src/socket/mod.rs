// SPDX-License-Identifier: MIT OR Apache-2.0
//! A socket on a bus.

mod settings;

use std::cell::RefCell;
use std::fmt;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::bus::Bus;
use crate::call::CallError;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Op;
use crate::id::MessageId;
use crate::id::PeerId;
use crate::message::Received;
use crate::message::Reply;
use crate::name::Name;
use crate::name::Pattern;
use crate::options::Form;
use crate::options::SocketOptions;
use crate::outgoing::Outgoing;
use crate::sys;
use crate::sys::Errno;
use crate::sys::Ready;
use crate::sys::Res;
use crate::uapi;

/// A socket on a bus.
///
/// Clones are the same socket, and may be used by several threads at once. It is closed when the
/// last clone and the last [`Request`](crate::Request) that it has received are dropped.
///
/// ```
/// use kbus::{Received, Socket};
///
/// let socket = Socket::open("@doc-socket")?;
/// socket.listen("$.Sensors.*")?;
/// socket.announce("$.Sensors.Kitchen", b"21 C")?;
/// assert!(matches!(socket.recv()?, Received::Announcement(_)));
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

struct Inner {
    fd: OwnedFd,
    form: Form,
    bus: Bus,
    peer: PeerId,
    /// Held while a message is sent and its id is asked for. No call that waits for long is made
    /// meanwhile.
    sending: Mutex<()>,
    /// Sockets that no call uses now, see [`crate::call`].
    callers: Mutex<Vec<Socket>>,
}

thread_local! {
    static ROOM: RefCell<sys::Room> = RefCell::new(sys::Room::new());
}

/// How long a waiting send relies on being told, as the kernel itself does: memory of others may
/// come back without a word.
const ASK_AGAIN: Duration = Duration::from_millis(250);

impl Socket {
    /// A socket on that bus with ordinary options.
    ///
    /// # Errors
    ///
    /// Those of [`SocketOptions::open`].
    ///
    /// ```
    /// use kbus::{Bus, Socket};
    ///
    /// let socket = Socket::open(Bus::from_env()?)?;
    /// assert_eq!(socket.bus(), &Bus::default());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn open<B>(bus: B) -> Result<Socket, Error>
    where
        B: TryInto<Bus>,
        Error: From<B::Error>,
    {
        SocketOptions::new().open(bus)
    }

    /// Options for a socket that is to be opened.
    ///
    /// ```
    /// let socket = kbus::Socket::options().queue_len(1000).open("@doc-socket-options")?;
    /// assert_eq!(socket.queue_len()?, 1000);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn options() -> SocketOptions {
        SocketOptions::new()
    }

    pub(crate) fn new(fd: OwnedFd, form: Form, bus: Bus) -> Result<Socket, Error> {
        let mut peer = [0; 8];
        sys::get_option(fd.as_fd(), uapi::SOL_KBUS, uapi::KBUS_PEER_ID, &mut peer)
            .map_err(|errno| Error::new(Op::Option("KBUS_PEER_ID: is it a KBUS socket?"), errno))?;
        let inner = Inner {
            fd,
            form,
            bus,
            peer: PeerId::new(u64::from_ne_bytes(peer)),
            sending: Mutex::default(),
            callers: Mutex::default(),
        };
        Ok(Socket {
            inner: Arc::new(inner),
        })
    }

    /// The bus that it is on.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-bus")?;
    /// let same_bus = kbus::Socket::open(socket.bus())?;
    /// assert_eq!(same_bus.bus().to_string(), "@doc-socket-bus");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// The form of `socket()` that made it.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-form")?;
    /// let same_form = kbus::Socket::options().form(socket.form()).open("@doc-socket-form")?;
    /// assert_eq!(same_form.form(), socket.form());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn form(&self) -> Form {
        self.inner.form
    }

    /// Its own id, which is the sender of all that it sends.
    ///
    /// ```
    /// let one = kbus::Socket::open("@doc-socket-peer-id")?;
    /// let two = kbus::Socket::open("@doc-socket-peer-id")?;
    /// assert_ne!(one.peer_id(), two.peer_id());
    /// assert_eq!(one.clone().peer_id(), one.peer_id());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer
    }

    // What it gets.

    /// Receives messages of that name, or all that the wildcard matches. The same may be bound
    /// several times, and then each message comes as often.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is malformed, [`Quota`](ErrorKind::Quota) if
    /// the user has too many bindings, [`ShutDown`](ErrorKind::ShutDown).
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-listen")?;
    /// socket.listen("$.Sensors.*")?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn listen<P>(&self, pattern: P) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
    {
        self.bind(uapi::KBUS_LISTEN, &pattern.try_into()?, Op::Listen)
    }

    /// Undoes the youngest binding by [`listen`](Socket::listen) with the same text. Messages that
    /// only it let in are removed from the queue.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if there is none.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-unlisten")?;
    /// socket.listen("$.A")?;
    /// socket.unlisten("$.A")?;
    /// assert!(socket.unlisten("$.A").is_err());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn unlisten<P>(&self, pattern: P) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
    {
        self.bind(uapi::KBUS_UNLISTEN, &pattern.try_into()?, Op::Unlisten)
    }

    /// Becomes the one replier for that name, or for all that the wildcard matches and nobody else
    /// has more exactly.
    ///
    /// # Errors
    ///
    /// [`ReplierExists`](ErrorKind::ReplierExists) if there is one with this very text,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) for names of the bus, and for those of
    /// another user's wildcard; otherwise as [`listen`](Socket::listen).
    ///
    /// ```
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let (first, second) = (Socket::open("@doc-replier")?, Socket::open("@doc-replier")?);
    /// first.become_replier("$.Echo")?;
    /// assert_eq!(second.become_replier("$.Echo").unwrap_err().kind(), ErrorKind::ReplierExists);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn become_replier<P>(&self, pattern: P) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
    {
        self.bind(uapi::KBUS_REPLIER, &pattern.try_into()?, Op::Replier)
    }

    /// Stops being replier for it. Requests that it has read it still has to answer; whoever sent
    /// those that it has not read gets a status.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is not.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-stop-replier")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.stop_replier("$.Echo")?;
    /// assert_eq!(socket.replier_of("$.Echo")?, None);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn stop_replier<P>(&self, pattern: P) -> Result<(), Error>
    where
        P: TryInto<Pattern>,
        Error: From<P::Error>,
    {
        self.bind(uapi::KBUS_UNREPLIER, &pattern.try_into()?, Op::Unreplier)
    }

    fn bind<'a>(
        &self,
        option: i32,
        pattern: &'a Pattern,
        op: impl FnOnce(&'a str) -> Op<'a>,
    ) -> Result<(), Error> {
        let name = pattern.as_str();
        self.retried(|| sys::set_option(self.as_fd(), uapi::SOL_KBUS, option, name.as_bytes()))
            .map_err(|errno| Error::new(op(name), errno))
    }

    fn retried<T>(&self, mut call: impl FnMut() -> Res<T>) -> Res<T> {
        loop {
            match call() {
                Err(Errno(libc::EINTR)) => {}
                result => return result,
            }
        }
    }

    /// Who would answer a request with that name now, if anybody.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the name is malformed.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-replier-of")?;
    /// assert_eq!(socket.replier_of("$.Echo")?, None);
    /// socket.become_replier("$.*")?;
    /// assert_eq!(socket.replier_of("$.Echo")?, Some(socket.peer_id()));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn replier_of<N>(&self, name: N) -> Result<Option<PeerId>, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        let name: Name = name.try_into()?;
        let mut bytes = name.as_str().as_bytes().to_vec();
        bytes.push(0);
        // A buffer of 8 bytes would ask for the connected name.
        bytes.resize(bytes.len().max(16), 0);
        sys::get_option(self.as_fd(), uapi::SOL_KBUS, uapi::KBUS_REPLIER, &mut bytes)
            .map_err(|errno| Error::new(Op::Option("KBUS_REPLIER"), errno))?;
        Ok(match crate::control::word(&bytes[..8]) {
            0 => None,
            peer => Some(PeerId::new(peer)),
        })
    }

    /// Receives the next message, and waits for it.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) after the socket's read timeout,
    /// [`WouldBlock`](ErrorKind::WouldBlock) if it is nonblocking and nothing is there,
    /// [`ShutDown`](ErrorKind::ShutDown) if it was shut down for reading and all was read.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-recv")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"all is well")?;
    /// assert_eq!(socket.recv()?.message().unwrap().payload(), b"all is well");
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn recv(&self) -> Result<Received, Error> {
        match self.receive(0) {
            Err(Errno(libc::EAGAIN)) if !sys::is_nonblocking(self.as_fd()).unwrap_or(false) => {
                Err(Error::timed_out(Op::Receive))
            }
            result => self.received(result),
        }
    }

    /// Receives the next message if there is one.
    ///
    /// # Errors
    ///
    /// [`ShutDown`](ErrorKind::ShutDown) if the socket was shut down for reading and all was read.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-try-recv")?;
    /// assert!(socket.try_recv()?.is_none());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn try_recv(&self) -> Result<Option<Received>, Error> {
        match self.receive(libc::MSG_DONTWAIT) {
            Err(Errno(libc::EAGAIN)) => Ok(None),
            result => self.received(result).map(Some),
        }
    }

    /// Receives the next message if one comes within that time.
    ///
    /// # Errors
    ///
    /// As of [`try_recv`](Socket::try_recv).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let socket = kbus::Socket::open("@doc-recv-timeout")?;
    /// assert!(socket.recv_timeout(Duration::from_millis(1))?.is_none());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> Result<Option<Received>, Error> {
        self.recv_until(Instant::now().checked_add(limit))
    }

    /// The next message, if one comes before the deadline.
    pub(crate) fn recv_until(&self, deadline: Option<Instant>) -> Result<Option<Received>, Error> {
        loop {
            let ready = sys::poll([self], Ready::Read, deadline);
            let ready = ready.map_err(|errno| Error::new(Op::Receive, errno))?;
            // Another reader may have taken it meanwhile.
            match self.try_recv()? {
                None if ready => {}
                result => return Ok(result),
            }
        }
    }

    pub(crate) fn receive(&self, flags: i32) -> Res<sys::Datagram> {
        self.retried(|| ROOM.with_borrow_mut(|room| room.receive(self.as_fd(), flags)))
    }

    pub(crate) fn received(&self, result: Res<sys::Datagram>) -> Result<Received, Error> {
        let datagram = result.map_err(|errno| Error::new(Op::Receive, errno))?;
        if datagram.path.is_empty() && datagram.control.info.is_none() {
            return Err(Error::end());
        }
        Received::new(self, datagram)
    }

    /// All messages that come, until the socket is shut down for reading.
    ///
    /// ```
    /// use std::net::Shutdown;
    ///
    /// let socket = kbus::Socket::open("@doc-messages")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one")?;
    /// socket.announce("$.News", b"two")?;
    /// socket.shutdown(Shutdown::Read)?;
    /// assert_eq!(socket.messages().count(), 2);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn messages(&self) -> Messages<'_> {
        Messages { socket: self }
    }

    // What it sends.

    /// A message to that name, to be announced, or asked, with details.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is no name.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-to")?;
    /// socket.to("$.Alarm")?.urgent().announce(b"fire")?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn to<N>(&self, name: N) -> Result<Outgoing<'_>, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        Ok(Outgoing::new(self, name.try_into()?))
    }

    /// Sends a copy to each listener. It is no error if there is none, and a listener whose queue
    /// is full misses it.
    ///
    /// # Errors
    ///
    /// See [`Outgoing::announce`].
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-announce")?;
    /// socket.announce("$.Sensors.Kitchen", "21 C")?;
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn announce<N>(&self, name: N, payload: impl AsRef<[u8]>) -> Result<(), Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.announce(payload)
    }

    /// Asks the replier for that name. A [`Reply`] or a [`Status`](crate::Status) comes to this
    /// socket, exactly one.
    ///
    /// # Errors
    ///
    /// See [`Outgoing::request`].
    ///
    /// ```
    /// use kbus::{Received, Socket};
    ///
    /// let socket = Socket::open("@doc-request")?;
    /// socket.become_replier("$.Echo")?;
    /// let id = socket.request("$.Echo", b"hello")?;
    /// let Received::Request(request) = socket.recv()? else { unreachable!() };
    /// assert_eq!(request.id(), id);
    /// drop(request); // gives it up
    /// let Received::Status(status) = socket.recv()? else { unreachable!() };
    /// assert_eq!(status.in_reply_to(), id);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn request<N>(&self, name: N, payload: impl AsRef<[u8]>) -> Result<MessageId, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.request(payload)
    }

    /// Asks that peer, and nobody else, if it is the replier: a stateful request. So a client knows
    /// that it talks to the same instance of a service as before.
    ///
    /// # Errors
    ///
    /// [`OtherReplier`](ErrorKind::OtherReplier) if somebody else is; otherwise see
    /// [`Outgoing::request`].
    ///
    /// ```
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let (socket, first) = (Socket::open("@doc-request-to")?, Socket::open("@doc-request-to")?);
    /// first.become_replier("$.Echo")?;
    /// let peer = socket.replier_of("$.Echo")?.unwrap();
    /// socket.request_to(peer, "$.Echo", b"hello")?;
    /// drop(first);
    /// let second = Socket::open("@doc-request-to")?;
    /// second.become_replier("$.Echo")?;
    /// let error = socket.request_to(peer, "$.Echo", b"hello again").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::OtherReplier);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn request_to<N>(
        &self,
        peer: PeerId,
        name: N,
        payload: impl AsRef<[u8]>,
    ) -> Result<MessageId, Error>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.peer(peer).request(payload)
    }

    /// Asks, and waits for the reply.
    ///
    /// It is sent from a socket of its own, which this one keeps for the next call. So a call takes
    /// no message away from whoever receives on this socket, several threads can call at once, and
    /// a reply that comes too late is refused to the replier and troubles nobody. The replier sees
    /// the id of that socket as the sender.
    ///
    /// The first call opens it. A program that gives up its privileges after it has joined the bus
    /// calls [`prepare_call`](Socket::prepare_call) before.
    ///
    /// # Errors
    ///
    /// [`CallError::Status`] if there will be no reply, [`CallError::Timeout`] if none came within
    /// the time, and [`CallError::Error`] if it could not be sent.
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use kbus::Socket;
    ///
    /// let service = Socket::open("@doc-call")?;
    /// service.become_replier("$.Echo")?;
    /// thread::spawn(move || service.serve_bound(|request| request.into_payload()));
    ///
    /// let socket = Socket::open("@doc-call")?;
    /// let reply = socket.call("$.Echo", b"hello", Duration::from_secs(60))?;
    /// assert_eq!(reply.payload(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call<N>(
        &self,
        name: N,
        payload: impl AsRef<[u8]>,
        limit: Duration,
    ) -> Result<Reply, CallError>
    where
        N: TryInto<Name>,
        Error: From<N::Error>,
    {
        self.to(name)?.call(payload, limit)
    }

    /// Sends, and returns the id if `id` asks for it. Waits for room if `wait` says so, until the
    /// deadline or the socket's write timeout.
    ///
    /// The id is that of the socket's last send, so no other one may come between. A send that
    /// waits must not keep others from theirs, so it does not wait in the kernel.
    pub(crate) fn transmit(&self, out: &Transmit<'_>) -> Res<Option<MessageId>> {
        let mut deadline = out.deadline;
        let mut tries = 0;
        loop {
            match self.try_transmit(out) {
                Err(Errno(libc::EAGAIN)) if out.wait => {}
                result => return result,
            }
            if sys::is_nonblocking(self.as_fd())? {
                return Err(Errno(libc::EAGAIN));
            }
            if tries == 0 {
                let limit = sys::time_limit(self.as_fd(), libc::SO_SNDTIMEO)?;
                let until = limit.and_then(|limit| Instant::now().checked_add(limit));
                deadline = deadline.or(until);
                match self.briefly(out, limit) {
                    Err(Errno(libc::EAGAIN)) => {}
                    result => return result,
                }
            }
            let begun = Instant::now();
            if deadline.is_some_and(|deadline| begun >= deadline) {
                return Err(Errno(libc::ETIMEDOUT));
            }
            let again = begun + ASK_AGAIN;
            let until = deadline.map_or(again, |deadline| deadline.min(again));
            sys::poll([self], Ready::Write, Some(until))?;
            // Where nobody would tell that there is room again, the socket seems to be writable.
            if begun.elapsed() < Duration::from_millis(1) {
                thread::sleep(Duration::from_millis(1 << tries.min(5)));
            }
            tries += 1;
        }
    }

    /// The same without waiting.
    pub(crate) fn try_transmit(&self, out: &Transmit<'_>) -> Res<Option<MessageId>> {
        let _sending = self.sending();
        self.transmit_once(out, libc::MSG_DONTWAIT)
    }

    /// The same with a wait of one tick of the kernel's clock. Only a send that waits is told that
    /// it would wait for the socket's own queue.
    fn briefly(&self, out: &Transmit<'_>, limit: Option<Duration>) -> Res<Option<MessageId>> {
        let _sending = self.sending();
        sys::set_time_limit(self.as_fd(), libc::SO_SNDTIMEO, Some(Duration::ZERO))?;
        let result = self.transmit_once(out, 0);
        sys::set_time_limit(self.as_fd(), libc::SO_SNDTIMEO, limit)?;
        result
    }

    fn sending(&self) -> MutexGuard<'_, ()> {
        self.inner
            .sending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn transmit_once(&self, out: &Transmit<'_>, flags: i32) -> Res<Option<MessageId>> {
        let address = sys::address(self.inner.form.family(), out.path);
        let address = if out.path.is_empty() {
            &[]
        } else {
            &address[..]
        };
        let flags = flags | libc::MSG_NOSIGNAL;
        self.retried(|| sys::send(self.as_fd(), address, out.payload, out.control, flags))?;
        if !out.id {
            return Ok(None);
        }
        self.u64_option(uapi::KBUS_LAST_SENT)
            .map(|id| Some(MessageId::new(id)))
    }

    /// Gives up a request.
    pub(crate) fn give_up(&self, id: MessageId) -> Res<()> {
        sys::set_option(
            self.as_fd(),
            uapi::SOL_KBUS,
            uapi::KBUS_IGNORE,
            &id.get().to_ne_bytes(),
        )
    }

    // What it is.

    fn u64_option(&self, option: i32) -> Res<u64> {
        let mut bytes = [0; 8];
        let len = sys::get_option(self.as_fd(), uapi::SOL_KBUS, option, &mut bytes)?;
        Ok(crate::control::word(&bytes[..len]))
    }

    fn get(&self, what: &'static str, option: i32) -> Result<u64, Error> {
        self.u64_option(option)
            .map_err(|errno| Error::new(Op::Option(what), errno))
    }

    fn set(&self, what: &'static str, option: i32, value: u32) -> Result<(), Error> {
        sys::set_option(self.as_fd(), uapi::SOL_KBUS, option, &value.to_ne_bytes())
            .map_err(|errno| Error::new(Op::Option(what), errno))
    }

    // The sockets of its calls.

    /// Takes a socket for a call, or opens one with the options of this one that matter to a call.
    pub(crate) fn caller(&self) -> Result<Socket, Error> {
        let kept = self
            .inner
            .callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(caller) = kept {
            return Ok(caller);
        }
        let caller = SocketOptions::new().form(self.form()).open(self.bus())?;
        let pass = self.get("KBUS_PASS", uapi::KBUS_PASS)? as u32;
        caller.set("KBUS_PASS", uapi::KBUS_PASS, pass)?;
        caller.set_reply_max(self.reply_max()?)?;
        Ok(caller)
    }

    /// Keeps a socket whose call has ended, for the next one.
    pub(crate) fn keep_caller(&self, caller: Socket) {
        /// More calls than that at once open sockets anew.
        const KEPT: usize = 8;
        let mut callers = self
            .inner
            .callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if callers.len() < KEPT {
            callers.push(caller);
        }
    }

    /// Opens the socket of the first [`call`](Socket::call) now, as long as the program still may.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Socket::open).
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-prepare-call")?;
    /// socket.prepare_call()?;
    /// assert_eq!(socket.bus_info()?.members, 2);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn prepare_call(&self) -> Result<(), Error> {
        let caller = self.caller()?;
        self.keep_caller(caller);
        Ok(())
    }
}

/// What [`Socket::transmit`] sends.
pub(crate) struct Transmit<'a> {
    /// `sun_path`; empty for none.
    pub(crate) path: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) control: &'a [u8],
    pub(crate) id: bool,
    pub(crate) wait: bool,
    pub(crate) deadline: Option<Instant>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("fd", &self.as_raw_fd())
            .field("bus", &format_args!("{}", self.inner.bus))
            .field("peer", &format_args!("{}", self.inner.peer))
            .finish()
    }
}

/// For `poll()` and the like. It is readable when there is a message.
///
/// ```
/// use std::os::fd::AsFd;
///
/// let socket = kbus::Socket::open("@doc-socket-as-fd")?;
/// let fd = socket.as_fd().try_clone_to_owned()?; // the same socket for another library
/// assert_eq!(kbus::Socket::try_from(fd)?.peer_id(), socket.peer_id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

/// For calls that take a number, such as those of `libc`.
///
/// ```
/// use std::os::fd::{AsFd, AsRawFd};
///
/// let socket = kbus::Socket::open("@doc-socket-as-raw-fd")?;
/// assert_eq!(socket.as_raw_fd(), socket.as_fd().as_raw_fd());
/// # Ok::<(), kbus::Error>(())
/// ```
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}

/// A socket that somebody else has opened and bound, such as one of systemd's. Which bus it is on
/// is asked of the kernel. `KBUS_RECV_INFO` is switched on and `KBUS_SEND_FLAGS` set to 0, as this
/// library needs them.
///
/// ```
/// use std::os::fd::AsFd;
/// use kbus::Socket;
///
/// let socket = Socket::open("@doc-from-fd")?;
/// let same = Socket::try_from(socket.as_fd().try_clone_to_owned()?)?;
/// assert_eq!((same.peer_id(), same.bus()), (socket.peer_id(), socket.bus()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl TryFrom<OwnedFd> for Socket {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Socket, Error> {
        let (family, path) = sys::local_address(fd.as_fd())
            .map_err(|errno| Error::new(Op::Option("the address of a socket"), errno))?;
        let form = if family == uapi::AF_KBUS {
            Form::Family
        } else {
            Form::Literal
        };
        let not_bound = || Error::own(ErrorKind::NotBound, "the socket is on no bus");
        let bus = Bus::from_bytes(&path).ok_or_else(not_bound)?;
        let socket = Socket::new(fd, form, bus)?;
        socket.set("KBUS_RECV_INFO", uapi::KBUS_RECV_INFO, 1)?;
        socket.set("KBUS_SEND_FLAGS", uapi::KBUS_SEND_FLAGS, 0)?;
        Ok(socket)
    }
}

/// The messages of a socket, see [`Socket::messages`].
///
/// ```
/// use std::net::Shutdown;
///
/// let socket = kbus::Socket::open("@doc-messages-2")?;
/// socket.listen("$.News")?;
/// socket.announce("$.News", b"one")?;
/// socket.shutdown(Shutdown::Read)?;
/// for received in socket.messages() {
///     println!("{:?}", received?.message());
/// }
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Debug)]
pub struct Messages<'a> {
    socket: &'a Socket,
}

/// Ends when the socket is shut down for reading and all was read.
///
/// ```
/// let socket = kbus::Socket::open("@doc-messages-iterator")?;
/// socket.listen("$.News")?;
/// socket.announce("$.News", b"one")?;
/// let received = socket.messages().next().unwrap()?;
/// assert_eq!(received.message().unwrap().payload(), b"one");
/// # Ok::<(), kbus::Error>(())
/// ```
impl Iterator for Messages<'_> {
    type Item = Result<Received, Error>;

    fn next(&mut self) -> Option<Result<Received, Error>> {
        match self.socket.recv() {
            Err(error) if error.kind() == ErrorKind::ShutDown => None,
            result => Some(result),
        }
    }
}
