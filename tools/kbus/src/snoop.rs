// SPDX-License-Identifier: GPL-2.0
//! A socket that sees what is sent on a bus, and disturbs nobody.

use std::cell::Cell;
use std::fs;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use kbus::ErrorKind;
use kbus::Message;
use kbus::Name;
use kbus::Pattern;
use kbus::Received;
use kbus::Socket;

use crate::capture::Kind;
use crate::capture::Packet;
use crate::capture::Sender;
use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::Failure;

/// The longest queue that a socket may have unless the administrator has allowed less.
const QUEUE_LEN: u32 = 16384;
/// Bytes of payload that may wait for it.
const QUEUE_BYTES: u32 = 64 << 20;

/// Such a socket, with what ends it.
pub struct Snoop {
    socket: Socket,
    events: Events,
    closed: Cell<bool>,
    /// After Ctrl-C: the last id that was sent before.
    last: Cell<Option<u64>>,
}

/// The time as files have it.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time now, as files have it.
pub fn now() -> u64 {
    nanos(SystemTime::now())
}

impl Snoop {
    /// Joins the bus and listens to these patterns; to everything if there are none.
    ///
    /// It misses messages rather than let a sender fail or wait (`KBUS_LOSSY`), is told where it
    /// missed some (`KBUS_REPORT_LOST`), and gets each message once.
    ///
    /// # Errors
    ///
    /// The bus does not admit this user, or a pattern is malformed.
    pub fn open(context: &Context, patterns: &[String]) -> Result<Snoop, Failure> {
        let events = Events::new(true)?;
        let patterns: Result<Vec<Pattern>, _> = patterns
            .iter()
            .map(|pattern| Pattern::new(pattern))
            .collect();
        let mut patterns = patterns?;
        if patterns.is_empty() {
            patterns.push(Pattern::all());
        }
        let options = Socket::options()
            .lossy(true)
            .report_lost(true)
            .once(true)
            .credentials(true)
            .time(true)
            .receive_buffer(QUEUE_BYTES);
        let most = fs::read_to_string("/proc/sys/net/kbus/max_queue_len");
        let most = most.ok().and_then(|text| text.trim().parse().ok());
        let len = most.unwrap_or(QUEUE_LEN).min(QUEUE_LEN);
        let socket = match context.open_with(&options.clone().queue_len(len)) {
            Err(failure) if failure.code() == crate::failure::Code::Permission => {
                context.open_with(&options)?
            }
            result => result?,
        };
        for pattern in patterns {
            socket.listen(pattern)?;
        }
        Ok(Snoop {
            socket,
            events,
            closed: Cell::new(false),
            last: Cell::new(None),
        })
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether Ctrl-C was pressed, or the standard output is read no more.
    pub fn stopped(&self) -> bool {
        self.events.interrupted() || self.closed.get()
    }

    /// The next message; none when the deadline is over, and when Ctrl-C was pressed and all that was
    /// sent before is here.
    ///
    /// # Errors
    ///
    /// None that a user could mend.
    pub fn next(&self, deadline: Option<Instant>) -> Result<Option<Packet>, Failure> {
        loop {
            if self.events.interrupted() {
                return self.sent_before();
            }
            if let Some(packet) = self.try_next()? {
                return Ok(Some(packet));
            }
            match self.events.wait(self.socket.as_fd(), deadline)? {
                Woken::Ready | Woken::Interrupted => {}
                Woken::OutputClosed => {
                    self.closed.set(true);
                    return Ok(None);
                }
                Woken::Timeout => return Ok(None),
            }
        }
    }

    /// After Ctrl-C: what was sent before it is still of interest, what comes later is not.
    fn sent_before(&self) -> Result<Option<Packet>, Failure> {
        let last = match self.last.get() {
            Some(last) => last,
            None => self.socket.sync()?.get(),
        };
        self.last.set(Some(last));
        loop {
            match self.try_next()? {
                // What is urgent has passed by what was sent before it.
                Some(packet) if packet.id > last && packet.flags & 2 != 0 => {}
                packet => return Ok(packet.filter(|packet| packet.id <= last)),
            }
        }
    }

    /// The next message, if there is one already.
    ///
    /// # Errors
    ///
    /// As of [`next`](Snoop::next).
    pub fn try_next(&self) -> Result<Option<Packet>, Failure> {
        match self.socket.try_recv() {
            Ok(received) => Ok(received.as_ref().map(packet)),
            Err(error) if error.kind() == ErrorKind::ShutDown => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a message, for something to read from the other file, and for the deadline.
    ///
    /// # Errors
    ///
    /// As of [`next`](Snoop::next).
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, until: Instant) -> Result<Woken, Failure> {
        let mut files = vec![self.socket.as_fd()];
        files.extend(other);
        self.events.wait_for(&files, Some(until))
    }
}

/// What was received, as a packet.
fn packet(received: &Received) -> Packet {
    let message = match received {
        Received::Lost(lost) => {
            return Packet {
                time: now(),
                kind: Kind::Lost,
                flags: 0x40,
                id: lost.id.get(),
                in_reply_to: 0,
                peer: 0,
                to: 0,
                lost: lost.count,
                error: 0,
                sender: None,
                name: lost_name(),
                payload: Vec::new(),
            }
        }
        received => received.message(),
    };
    // Only news of lost messages have no message.
    let Some(message) = message else {
        unreachable!("a message without a message: {received:?}");
    };
    let kind = match received {
        Received::Event(_) => Kind::Event,
        Received::Status(_) => Kind::Status,
        _ if message.is_reply() => Kind::Reply,
        _ if message.is_request() => Kind::Request,
        _ if message.bind_event().is_some() => Kind::Event,
        _ => Kind::Announcement,
    };
    Packet {
        time: message.time().map_or_else(now, nanos),
        kind,
        flags: flags(message, kind),
        id: message.id().get(),
        in_reply_to: message.in_reply_to().map_or(0, kbus::MessageId::get),
        peer: message.sender().get(),
        to: message.to().map_or(0, kbus::PeerId::get),
        lost: message.lost(),
        error: 0,
        sender: message.credentials().map(|credentials| Sender {
            pid: u32::try_from(credentials.pid).unwrap_or(0),
            uid: credentials.uid,
            gid: credentials.gid,
        }),
        name: message.name().clone(),
        payload: message.payload().to_vec(),
    }
}

/// The name of the news that messages were missed.
pub fn lost_name() -> Name {
    match Name::new("$.KBUS.Lost") {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

fn flags(message: &Message, kind: Kind) -> u32 {
    let had_fds = message.fds_missing() || !message.fds().is_empty();
    let bits = [
        (message.is_request(), 0x01),
        (message.is_urgent(), 0x02),
        (message.is_reply(), 0x20),
        (kind == Kind::Status, 0x40),
        (had_fds, 0x80),
    ];
    let user = u32::from(message.user_bits()) << 16;
    bits.iter()
        .filter(|(on, _)| *on)
        .fold(user, |flags, (_, bit)| flags | bit)
}
