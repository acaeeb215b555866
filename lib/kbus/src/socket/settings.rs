// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a socket and its bus are, and how that is changed.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use super::Socket;
use crate::bus;
use crate::bus::BusInfo;
use crate::error::Error;
use crate::error::Op;
use crate::id::MessageId;
use crate::sys;
use crate::uapi;

impl Socket {
    /// The id of the last message that it has sent, if any.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-last-sent")?;
    /// assert_eq!(socket.last_sent()?, None);
    /// socket.announce("$.News", b"")?;
    /// assert!(socket.last_sent()?.is_some());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn last_sent(&self) -> Result<Option<MessageId>, Error> {
        let id = self.get("KBUS_LAST_SENT", uapi::KBUS_LAST_SENT)?;
        Ok((id != 0).then(|| MessageId::new(id)))
    }

    /// How many messages wait to be received.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-unread")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one")?;
    /// socket.announce("$.News", b"two")?;
    /// assert_eq!(socket.unread()?, 2);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn unread(&self) -> Result<u32, Error> {
        self.get("KBUS_UNREAD", uapi::KBUS_UNREAD)
            .map(|count| count as u32)
    }

    /// How many requests it has received and not answered.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-unreplied")?;
    /// socket.become_replier("$.Echo")?;
    /// socket.request("$.Echo", b"")?;
    /// let request = socket.recv()?;
    /// assert_eq!(socket.unreplied()?, 1);
    /// drop(request);
    /// assert_eq!(socket.unreplied()?, 0);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn unreplied(&self) -> Result<u32, Error> {
        self.get("KBUS_UNREPLIED", uapi::KBUS_UNREPLIED)
            .map(|count| count as u32)
    }

    /// How many messages it has missed.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::options().queue_len(1).open("@doc-socket-lost")?;
    /// socket.listen("$.News")?;
    /// socket.announce("$.News", b"one")?;
    /// socket.announce("$.News", b"two")?;
    /// assert_eq!(socket.lost()?, 1);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn lost(&self) -> Result<u64, Error> {
        self.get("KBUS_LOST", uapi::KBUS_LOST)
    }

    /// Bytes of payload of the next message, if there is one.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-next-len")?;
    /// socket.listen("$.News")?;
    /// assert_eq!(socket.next_len()?, None);
    /// socket.announce("$.News", b"hello")?;
    /// assert_eq!((socket.next_len()?, socket.unread()?), (Some(5), 1));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn next_len(&self) -> Result<Option<usize>, Error> {
        let len = self.get("KBUS_NEXT_LEN", uapi::KBUS_NEXT_LEN)? as i64;
        Ok(usize::try_from(len).ok())
    }

    /// How many messages its queue holds.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-queue-len")?;
    /// assert_eq!(socket.queue_len()?, 100);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn queue_len(&self) -> Result<u32, Error> {
        self.get("KBUS_QUEUE_LEN", uapi::KBUS_QUEUE_LEN)
            .map(|len| len as u32)
    }

    /// Sets how many messages its queue holds.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for 0,
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) above `net.kbus.max_queue_len`.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-queue-len")?;
    /// socket.set_queue_len(1000)?;
    /// assert_eq!(socket.queue_len()?, 1000);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_queue_len(&self, messages: u32) -> Result<(), Error> {
        self.set("the length of the queue", uapi::KBUS_QUEUE_LEN, messages)
    }

    /// How many bytes each request reserves for its reply.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-reply-max")?;
    /// assert_eq!(socket.reply_max()?, 4096);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn reply_max(&self) -> Result<u32, Error> {
        self.get("KBUS_REPLY_MAX", uapi::KBUS_REPLY_MAX)
            .map(|bytes| bytes as u32)
    }

    /// Sets how many bytes each request reserves for its reply.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-reply-max")?;
    /// socket.set_reply_max(100_000)?;
    /// assert_eq!(socket.reply_max()?, 100_000);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_reply_max(&self, bytes: u32) -> Result<(), Error> {
        self.set(
            "the bytes reserved for a reply",
            uapi::KBUS_REPLY_MAX,
            bytes,
        )
    }

    /// Sets how long [`recv`](Socket::recv) waits at most; `None` for ever.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let socket = kbus::Socket::open("@doc-read-timeout")?;
    /// socket.set_read_timeout(Duration::from_millis(1))?;
    /// assert_eq!(socket.recv().unwrap_err().kind(), kbus::ErrorKind::TimedOut);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_read_timeout(&self, limit: impl Into<Option<Duration>>) -> Result<(), Error> {
        sys::set_time_limit(self.as_fd(), libc::SO_RCVTIMEO, limit.into())
            .map_err(|errno| Error::new(Op::Option("the read timeout"), errno))
    }

    /// Sets how long a send that is [`all_or_wait`](crate::Outgoing::all_or_wait) waits at most; `None`
    /// for ever.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// use std::time::Duration;
    /// use kbus::{ErrorKind, Socket};
    ///
    /// let listener = Socket::options().queue_len(1).open("@doc-socket-set-write-timeout")?;
    /// listener.listen("$.News")?;
    /// let socket = Socket::open("@doc-socket-set-write-timeout")?;
    /// socket.set_write_timeout(Duration::from_millis(10))?;
    /// socket.announce("$.News", b"one")?;
    /// let error = socket.to("$.News")?.all_or_wait().announce(b"two").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_write_timeout(&self, limit: impl Into<Option<Duration>>) -> Result<(), Error> {
        sys::set_time_limit(self.as_fd(), libc::SO_SNDTIMEO, limit.into())
            .map_err(|errno| Error::new(Op::Option("the write timeout"), errno))
    }

    /// Sets whether calls return at once where they would have to wait.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-nonblocking")?;
    /// socket.set_nonblocking(true)?;
    /// assert_eq!(socket.recv().unwrap_err().kind(), kbus::ErrorKind::WouldBlock);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_nonblocking(&self, on: bool) -> Result<(), Error> {
        sys::set_nonblocking(self.as_fd(), on)
            .map_err(|errno| Error::new(Op::Option("O_NONBLOCK"), errno))
    }

    /// Shuts it down. For reading: its bindings go, requests that it has not read get their status,
    /// and what else waits can still be received. For writing: what it owes gets its status, and
    /// sends fail.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// use std::net::Shutdown;
    ///
    /// let socket = kbus::Socket::open("@doc-shutdown")?;
    /// socket.shutdown(Shutdown::Both)?;
    /// assert_eq!(socket.recv().unwrap_err().kind(), kbus::ErrorKind::ShutDown);
    /// assert_eq!(socket.announce("$.A", b"").unwrap_err().kind(), kbus::ErrorKind::ShutDown);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        sys::shutdown(self.as_fd(), how)
            .map_err(|errno| Error::new(Op::Option("a shutdown"), errno))
    }

    /// The state of the bus: owner, members, limits.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-bus-info")?;
    /// let info = socket.bus_info()?;
    /// assert_eq!((info.members, info.max_message), (1, 65536));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn bus_info(&self) -> Result<BusInfo, Error> {
        let mut bytes = [0; bus::INFO_LEN];
        sys::get_option(
            self.as_fd(),
            uapi::SOL_KBUS,
            uapi::KBUS_BUS_INFO,
            &mut bytes,
        )
        .map_err(|errno| Error::new(Op::Option("KBUS_BUS_INFO"), errno))?;
        Ok(BusInfo::parse(&bytes))
    }

    /// Bytes of the largest payload on this bus.
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-max-message")?;
    /// assert_eq!(socket.max_message()?, 65536);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn max_message(&self) -> Result<u32, Error> {
        self.get("KBUS_MAX_MSG_SIZE", uapi::KBUS_MAX_MSG_SIZE)
            .map(|bytes| bytes as u32)
    }

    /// Sets how large a payload may be: 100 bytes to 16 MiB, 64 KiB by default. For the owner of
    /// the bus.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for all others,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is out of range.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-max-message")?;
    /// socket.set_max_message(16 << 20)?;
    /// assert_eq!(socket.max_message()?, 16 << 20);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_max_message(&self, bytes: u32) -> Result<(), Error> {
        self.set(
            "the largest payload (KBUS_MAX_MSG_SIZE)",
            uapi::KBUS_MAX_MSG_SIZE,
            bytes,
        )
    }

    /// Sets how many bytes of payload may be on the bus. For the owner of the bus.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for all others, and above
    /// `net.kbus.bus_bytes`.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-bus-bytes")?;
    /// socket.set_bus_bytes(1 << 20)?;
    /// assert_eq!(socket.bus_info()?.bytes_max, 1 << 20);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_bus_bytes(&self, bytes: u64) -> Result<(), Error> {
        sys::set_option(
            self.as_fd(),
            uapi::SOL_KBUS,
            uapi::KBUS_BUS_BYTES,
            &bytes.to_ne_bytes(),
        )
        .map_err(|errno| Error::new(Op::Option("KBUS_BUS_BYTES"), errno))
    }

    /// Sets the permissions of an abstract bus. For its owner.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for all others.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-bus-mode")?;
    /// socket.set_bus_mode(0o600)?;
    /// assert_eq!(socket.bus_info()?.mode, 0o600);
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_bus_mode(&self, mode: u32) -> Result<(), Error> {
        self.set("the mode of the bus", uapi::KBUS_BUS_MODE, mode)
    }

    /// Has the bus tell of repliers that come and go, see [`BindEvent`](crate::BindEvent). For the
    /// owner of the bus.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for all others.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-socket-set-report-binds")?;
    /// socket.listen(kbus::BindEvent::NAME)?;
    /// socket.set_report_binds(true)?;
    /// socket.become_replier("$.Echo")?;
    /// assert!(matches!(socket.recv()?, kbus::Received::Event(_)));
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn set_report_binds(&self, on: bool) -> Result<(), Error> {
        self.set("KBUS_REPORT_BINDS", uapi::KBUS_REPORT_BINDS, on.into())
    }

    /// An id: every message of this bus up to it is in its recipients' queues already. See
    /// [`Merge`](crate::Merge).
    ///
    /// # Errors
    ///
    /// None that a program could mend.
    ///
    /// ```
    /// let socket = kbus::Socket::open("@doc-sync")?;
    /// socket.announce("$.News", b"")?;
    /// assert!(socket.sync()? >= socket.last_sent()?.unwrap());
    /// # Ok::<(), kbus::Error>(())
    /// ```
    pub fn sync(&self) -> Result<MessageId, Error> {
        self.get("KBUS_SYNC", uapi::KBUS_SYNC).map(MessageId::new)
    }
}
