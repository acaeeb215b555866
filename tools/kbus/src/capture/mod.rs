// SPDX-License-Identifier: GPL-2.0
//! Traffic that was captured, and the two kinds of files that keep it.
//!
//! A [`Packet`] is one message as a monitor sees it. It is kept as the same bytes in both kinds:
//! in a record file ([`record`]), which is made to be replayed, and in a pcapng file ([`pcapng`]),
//! which Wireshark and other programs read. All numbers are big-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version of this layout, 1 |
//! | 1 | 1 | kind: 0 announcement, 1 request, 2 reply, 3 status, 4 lost, 5 event of the bus |
//! | 2 | 2 | length of this header; the name begins there. More fields may follow in later versions |
//! | 4 | 4 | flags, those of `struct kbus_info` |
//! | 8 | 8 | id of the message |
//! | 16 | 8 | id of the request that it answers, or 0 |
//! | 24 | 8 | peer id of the sender |
//! | 32 | 8 | peer id that it is for (the requester of a reply, the target of a stateful request), or 0 |
//! | 40 | 4 | messages that the monitor missed before this one; of kind 4: at this place |
//! | 44 | 4 | of a status: its error |
//! | 48 | 4 | process of the sender, or 0 |
//! | 52 | 4 | real user of the sender, or 4294967295 where the sender is not known |
//! | 56 | 4 | real group of the sender, or 4294967295 |
//! | 60 | 4 | bytes of the payload |
//! | 64 | 2 | bytes of the name |
//! | 66 | 6 | zero |
//!
//! The name follows the header, and the payload the name.

pub mod pcapng;
pub mod record;

#[cfg(test)]
mod fuzz;

use std::fmt;
use std::io;
use std::io::Read;

use kbus::Name;

/// The version of the layout above.
const VERSION: u8 = 1;
/// Bytes of its header.
pub const HEADER_LEN: usize = 72;
/// The longest payload that a bus can carry.
const PAYLOAD_MAX: usize = 16 << 20;
/// The longest name.
const NAME_MAX: usize = 1000;
/// More than the longest packet. The header of a later version may be longer.
pub const PACKET_MAX: usize = HEADER_LEN + 4096 + NAME_MAX + PAYLOAD_MAX;
/// A user or group that is not known.
const UNKNOWN: u32 = u32::MAX;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To all listeners.
    Announcement,
    /// To a replier.
    Request,
    /// To a requester.
    Reply,
    /// There will be no reply.
    Status,
    /// Messages were missed here.
    Lost,
    /// The bus tells of something else.
    Event,
}

impl Kind {
    /// All of them, in the order of their numbers.
    const ALL: [Kind; 6] = [
        Kind::Announcement,
        Kind::Request,
        Kind::Reply,
        Kind::Status,
        Kind::Lost,
        Kind::Event,
    ];

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Announcement => "announcement",
            Kind::Request => "request",
            Kind::Reply => "reply",
            Kind::Status => "status",
            Kind::Lost => "lost",
            Kind::Event => "event",
        }
    }
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its process, or 0.
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// Its real group.
    pub gid: u32,
}

/// One message as a monitor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was sent, in nanoseconds since 1970.
    pub time: u64,
    /// What kind it is.
    pub kind: Kind,
    /// The flags of `struct kbus_info`.
    pub flags: u32,
    /// Its id.
    pub id: u64,
    /// The request that it answers, or 0.
    pub in_reply_to: u64,
    /// Who sent it, as a peer id.
    pub peer: u64,
    /// Whom it is for, or 0.
    pub to: u64,
    /// How many messages were missed before it; of [`Kind::Lost`]: here.
    pub lost: u32,
    /// Of a status: why there is no reply.
    pub error: i32,
    /// Who sent it, as a process.
    pub sender: Option<Sender>,
    /// Its name.
    pub name: Name,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Fields taken from bytes one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

impl Packet {
    /// Its bytes, as described above. The time is not among them: the file has it.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let kind = Kind::ALL.iter().position(|kind| *kind == self.kind);
        let sender = self.sender.unwrap_or(Sender {
            pid: 0,
            uid: UNKNOWN,
            gid: UNKNOWN,
        });
        let mut out = Vec::with_capacity(HEADER_LEN + name.len() + self.payload.len());
        out.extend([VERSION, kind.unwrap_or(0) as u8]);
        out.extend((HEADER_LEN as u16).to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        for word in [self.id, self.in_reply_to, self.peer, self.to] {
            out.extend(word.to_be_bytes());
        }
        out.extend(self.lost.to_be_bytes());
        out.extend(self.error.to_be_bytes());
        for word in [sender.pid, sender.uid, sender.gid] {
            out.extend(word.to_be_bytes());
        }
        out.extend((self.payload.len() as u32).to_be_bytes());
        out.extend((name.len() as u16).to_be_bytes());
        out.extend([0; 6]);
        out.extend(name);
        out.extend(&self.payload);
        out
    }

    /// The packet of these bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with them, as the end of a sentence.
    pub fn decode(time: u64, bytes: &[u8]) -> Result<Packet, &'static str> {
        Packet::fields(time, bytes)?.ok_or("the message is shorter than its header")
    }

    fn fields(time: u64, bytes: &[u8]) -> Result<Option<Packet>, &'static str> {
        let mut fields = Fields(bytes);
        let Some([version, kind]) = fields.take() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err("the message has a layout that this version of kbus does not know");
        }
        let kind = *Kind::ALL
            .get(usize::from(kind))
            .ok_or("the message is of no known kind")?;
        let mut header = || {
            let len = fields.u16()?;
            let flags = fields.u32()?;
            let ids = [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
            let (lost, error) = (fields.u32()?, fields.u32()? as i32);
            let sender = Sender {
                pid: fields.u32()?,
                uid: fields.u32()?,
                gid: fields.u32()?,
            };
            let lens = (fields.u32()? as usize, usize::from(fields.u16()?));
            fields.take::<6>()?;
            Some((usize::from(len), flags, ids, lost, error, sender, lens))
        };
        let Some((len, flags, ids, lost, error, sender, lens)) = header() else {
            return Ok(None);
        };
        let (payload_len, name_len) = lens;
        if len < HEADER_LEN {
            return Err("the header of the message says that it is too short");
        }
        let Some(body) = bytes.get(len..) else {
            return Ok(None);
        };
        if payload_len > PAYLOAD_MAX || body.len() != name_len + payload_len {
            return Err("the lengths of the message's name and payload do not fit its own");
        }
        let (name, payload) = body.split_at(name_len);
        let name = std::str::from_utf8(name)
            .ok()
            .and_then(|name| Name::new(name).ok())
            .ok_or("the message has no legal name")?;
        Ok(Some(Packet {
            time,
            kind,
            flags,
            id: ids[0],
            in_reply_to: ids[1],
            peer: ids[2],
            to: ids[3],
            lost,
            error,
            sender: (sender.uid != UNKNOWN).then_some(sender),
            name,
            payload: payload.to_vec(),
        }))
    }
}

/// Why a file cannot be read on.
#[derive(Debug)]
pub enum ReadError {
    /// It is damaged, cut off, or of another kind.
    Bad {
        /// Where in the file.
        offset: u64,
        /// What is wrong there: the end of a sentence.
        what: String,
    },
    /// The operating system says so.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Bad { offset, what } => write!(f, "at byte {offset}: {what}"),
            ReadError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// Bytes of a file, with the place in it.
struct Input<R> {
    from: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    fn bad<T>(offset: u64, what: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError::Bad {
            offset,
            what: what.into(),
        })
    }

    /// The next `len` bytes, or as many as there are. Memory is taken as they come, so that a
    /// length that is wrong costs none.
    fn upto(&mut self, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(len.min(1 << 16));
        (&mut self.from).take(len as u64).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// The next `len` bytes, all of them.
    fn exactly(&mut self, len: usize, of: &str) -> Result<Vec<u8>, ReadError> {
        let bytes = self.upto(len)?;
        if bytes.len() < len {
            return Self::bad(self.offset, format!("the file ends inside {of}"));
        }
        Ok(bytes)
    }

    /// The next `N` bytes, all of them.
    fn array<const N: usize>(&mut self, of: &str) -> Result<[u8; N], ReadError> {
        let bytes = self.exactly(N, of)?;
        Ok(bytes.try_into().unwrap_or([0; N]))
    }
}

/// Either kind of file, told by how it begins.
pub enum Reader<R> {
    /// A record file.
    Record(record::Reader<R>),
    /// A pcapng file.
    Pcapng(pcapng::Reader<R>),
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// It is of neither kind, or its beginning is damaged.
    pub fn new(from: R) -> Result<Reader<R>, ReadError> {
        let mut input = Input { from, offset: 0 };
        let magic = input.upto(record::MAGIC.len())?;
        if magic == record::MAGIC {
            return record::Reader::after_magic(input).map(Reader::Record);
        }
        if magic.starts_with(&pcapng::MAGIC) {
            return pcapng::Reader::after_magic(input, &magic).map(Reader::Pcapng);
        }
        let what = "this is neither a file of kbus record nor a pcapng file";
        Input::<R>::bad(0, what)
    }

    /// The next packet, or none at the end.
    ///
    /// # Errors
    ///
    /// The file is damaged or cut off there, or cannot be read.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, ReadError> {
        match self {
            Reader::Record(reader) => reader.next_packet(),
            Reader::Pcapng(reader) => reader.next_packet(),
        }
    }

    /// The bus that the file says it was made on, if it says so. A pcapng file has it before its
    /// first packet.
    pub fn bus(&self) -> Option<&str> {
        match self {
            Reader::Record(reader) => Some(reader.bus()),
            Reader::Pcapng(reader) => reader.bus(),
        }
    }
}
