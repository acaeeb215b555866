// SPDX-License-Identifier: GPL-2.0
//! The words of programs: what calls there are, their arguments, and what these may be.

use kbus_selftests::sys::uapi;

/// A word and the number it stands for.
pub type Word = (&'static str, i64);

/// What an argument may be.
#[derive(Debug)]
pub enum Kind {
    /// One of these words, as its place among them; the first so many are the usual ones.
    Choice(&'static [&'static str], usize),
    /// One of these words, for what the kernel is given.
    Word(&'static [Word], usize),
    /// Any set of these words, one bit for each.
    Set(&'static [&'static str]),
    /// Any set of these bits of the kernel's.
    Bits(&'static [Word]),
    /// A number; these are interesting, the first so many usual.
    Number(&'static [i64], usize),
}

/// An argument of a call.
#[derive(Debug)]
pub struct Arg {
    /// What stands before the equals sign.
    pub key: &'static str,
    /// What stands behind it.
    pub kind: Kind,
    /// What it is when it is left out.
    pub default: i64,
}

/// A kind of call.
#[derive(Debug)]
pub struct Op {
    /// The first word of its line.
    pub name: &'static str,
    /// How often it is made, next to the others.
    pub weight: usize,
    /// Its own arguments; those of [`COMMON`] follow.
    pub args: &'static [Arg],
}

/// An argument that is this when it is left out.
pub const fn arg(key: &'static str, kind: Kind, default: i64) -> Arg {
    Arg { key, kind, default }
}

impl Kind {
    /// Words and what they stand for, the usual ones first.
    pub fn words(&self) -> impl Iterator<Item = Word> {
        let (plain, given): (&[&str], &[Word]) = match self {
            Kind::Choice(words, _) | Kind::Set(words) => (words, &[]),
            Kind::Word(words, _) | Kind::Bits(words) => (&[], words),
            Kind::Number(..) => (&[], &[]),
        };
        let set = matches!(self, Kind::Set(_));
        let number = move |n| if set { 1_i64 << n } else { n as i64 };
        let plain = plain.iter().enumerate();
        let plain = plain.map(move |(n, word)| (*word, number(n)));
        plain.chain(given.iter().copied())
    }

    /// What a word stands for.
    pub fn number(&self, word: &str) -> Option<i64> {
        let mut words = self.words();
        words.find(|(known, _)| *known == word).map(|(_, n)| n)
    }

    /// The word that stands for a number.
    pub fn word(&self, number: i64) -> Option<&'static str> {
        let mut words = self.words();
        words.find(|(_, n)| *n == number).map(|(word, _)| word)
    }
}

/// Sockets that a program has at most.
pub const SOCKETS: usize = 6;

/// A socket, by its number in the program.
pub const SOCK: Kind = Kind::Number(&[0, 1, 2, 3, 4, 5], 4);

/// Arguments of every call.
pub const COMMON: &[Arg] = &[
    // `b`: in a second thread; `kill`: in a process that is killed in the middle of it, maybe as the only one that still
    // has the socket.
    arg("in", Kind::Choice(&["a", "b", "kill", "kill-last"], 1), 0),
    // The allocation that fails, 0 for none.
    arg("nth", Kind::Number(&[0, 1, 2, 3, 4, 5, 6, 8, 12], 1), 0),
];

/// The words `from` names that are made up.
pub const NAMES: &[&str] = &[
    "$.A",
    "$.A.B",
    "$.A.B.C",
    "$.B",
    "$.*",
    "$.%",
    "$.A.*",
    "$.A.%",
    "$.A.B.*",
    "$.KBUS.ReplierBindEvent",
    "$.KBUS.UnbindEventsLost",
    "$.KBUS.*",
    "$.KBUS",
    "long73",
    "long74",
    "long1000",
    "long1001",
    "deep",
    "int0",
    "int1",
    "int2",
    "empty",
    "$.",
    "$",
    "A",
    "$.A..B",
    "$.A.",
    "$.*.A",
    "$.A-b",
    "$.A@1",
    "$.A#1",
    "byte255",
];

/// A name or wildcard.
pub const NAME: Kind = Kind::Choice(NAMES, 18);

/// Buses: abstract ones, those at paths, and what is none.
pub const BUSES: &[&str] = &[
    "a0", "a1", "p0", "p1", "link", "dangling", "folder", "file", "missing", "closed", "empty",
    "nul", "long", "longer", "family", "short", "loop", "fault",
];

/// Limits, each a file of `/proc/sys/net/kbus`. What comes new comes last.
pub const SYSCTLS: &[&str] = &[
    "literal",
    "user_bytes",
    "bus_bytes",
    "max_queue_len",
    "user_bindings",
    "user_wide",
    "user_waits",
    "user_buses",
    "user_messages",
];

/// On or off.
pub const ON: &[Word] = &[("0", 0), ("1", 1), ("2", 2), ("-1", -1)];

/// Where a message goes.
pub const DESTS: &[&str] = &[
    "name",
    "reply",
    "peer",
    "none",
    "bare-reply",
    "bare-peer",
    "others-reply",
    "old-reply",
    "misnamed-reply",
    "peer0",
    "bad-peer",
    "bad-request",
    "upper",
    "zeroes",
    "unspec",
    "family",
    "short",
    "longer",
    "no-nul",
    "fault",
];

/// Options that take a name, too.
pub const LISTEN: Word = ("LISTEN", uapi::KBUS_LISTEN as i64);
pub const REPLIER: Word = ("REPLIER", uapi::KBUS_REPLIER as i64);

/// Options that bind and unbind.
pub const BINDINGS: &[Word] = &[
    LISTEN,
    REPLIER,
    ("UNLISTEN", uapi::KBUS_UNLISTEN as i64),
    ("UNREPLIER", uapi::KBUS_UNREPLIER as i64),
];

/// Options that take a number, or none.
pub const OPTIONS: &[Word] = &[
    ("SEND_FLAGS", uapi::KBUS_SEND_FLAGS as i64),
    ("ONCE", uapi::KBUS_ONCE as i64),
    ("LOSSY", uapi::KBUS_LOSSY as i64),
    ("REPORT_LOST", uapi::KBUS_REPORT_LOST as i64),
    ("RECV_INFO", uapi::KBUS_RECV_INFO as i64),
    ("PASS", uapi::KBUS_PASS as i64),
    ("QUEUE_LEN", uapi::KBUS_QUEUE_LEN as i64),
    ("REPLY_MAX", uapi::KBUS_REPLY_MAX as i64),
    ("MAX_MSG_SIZE", uapi::KBUS_MAX_MSG_SIZE as i64),
    ("BUS_BYTES", uapi::KBUS_BUS_BYTES as i64),
    ("BUS_MODE", uapi::KBUS_BUS_MODE as i64),
    // It makes a thousand entries, which takes a while.
    ("REPORT_BINDS", uapi::KBUS_REPORT_BINDS as i64),
    ("PEER_ID", uapi::KBUS_PEER_ID as i64),
    ("LAST_SENT", uapi::KBUS_LAST_SENT as i64),
    ("UNREAD", uapi::KBUS_UNREAD as i64),
    ("UNREPLIED", uapi::KBUS_UNREPLIED as i64),
    ("LOST", uapi::KBUS_LOST as i64),
    ("NEXT_LEN", uapi::KBUS_NEXT_LEN as i64),
    ("BUS_INFO", uapi::KBUS_BUS_INFO as i64),
    ("SYNC", uapi::KBUS_SYNC as i64),
    ("IGNORE", uapi::KBUS_IGNORE as i64),
    REPLIER,
    LISTEN,
    ("none", 0),
    ("beyond", 26),
];

/// What libc does not have.
const SO_PASSPIDFD: i64 = 76;
const SO_PEERPIDFD: i64 = 77;
const SO_PASSRIGHTS: i64 = 83;
const SO_TIMESTAMP_NEW: i64 = 63;
const SO_TIMESTAMPNS_NEW: i64 = 64;

/// Options of `SOL_SOCKET`.
pub const SOL_SOCKET: &[Word] = &[
    ("SO_RCVBUF", libc::SO_RCVBUF as i64),
    ("SO_RCVTIMEO", libc::SO_RCVTIMEO as i64),
    ("SO_SNDTIMEO", libc::SO_SNDTIMEO as i64),
    ("SO_PASSCRED", libc::SO_PASSCRED as i64),
    ("SO_PASSSEC", libc::SO_PASSSEC as i64),
    ("SO_PASSRIGHTS", SO_PASSRIGHTS),
    ("SO_TIMESTAMP", libc::SO_TIMESTAMP as i64),
    ("SO_TIMESTAMPNS", libc::SO_TIMESTAMPNS as i64),
    ("SO_TIMESTAMP_NEW", SO_TIMESTAMP_NEW),
    ("SO_TIMESTAMPNS_NEW", SO_TIMESTAMPNS_NEW),
    ("SO_RXQ_OVFL", libc::SO_RXQ_OVFL as i64),
    ("SO_SNDBUF", libc::SO_SNDBUF as i64),
    ("SO_RCVBUFFORCE", libc::SO_RCVBUFFORCE as i64),
    ("SO_ERROR", libc::SO_ERROR as i64),
    ("SO_TYPE", libc::SO_TYPE as i64),
    ("SO_DOMAIN", libc::SO_DOMAIN as i64),
    ("SO_PROTOCOL", libc::SO_PROTOCOL as i64),
    ("SO_PEERCRED", libc::SO_PEERCRED as i64),
    ("SO_PEERGROUPS", libc::SO_PEERGROUPS as i64),
    ("SO_PEERPIDFD", SO_PEERPIDFD),
    ("SO_ACCEPTCONN", libc::SO_ACCEPTCONN as i64),
    ("SO_LINGER", libc::SO_LINGER as i64),
    ("SO_PASSPIDFD", SO_PASSPIDFD),
    ("SO_KEEPALIVE", libc::SO_KEEPALIVE as i64),
    ("SO_DEBUG", libc::SO_DEBUG as i64),
    ("SO_RCVLOWAT", libc::SO_RCVLOWAT as i64),
    ("SO_REUSEADDR", libc::SO_REUSEADDR as i64),
    ("SO_REUSEPORT", libc::SO_REUSEPORT as i64),
    ("SO_ATTACH_FILTER", libc::SO_ATTACH_FILTER as i64),
];

/// Values of options.
pub const VALUES: &[i64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    100,
    0o600,
    0o666,
    4096,
    65536,
    70000,
    1 << 20,
    16 << 20,
    (1 << 24) + 1,
    -1,
    1 << 31,
    1 << 32,
    i64::MAX,
];

/// `msg_flags` of a send.
pub const MSG: &[Word] = &[
    ("DONTWAIT", libc::MSG_DONTWAIT as i64),
    ("OOB", libc::MSG_OOB as i64),
    ("NOSIGNAL", libc::MSG_NOSIGNAL as i64),
    ("EOR", libc::MSG_EOR as i64),
    ("MORE", libc::MSG_MORE as i64),
    ("CONFIRM", libc::MSG_CONFIRM as i64),
    ("ZEROCOPY", libc::MSG_ZEROCOPY as i64),
];
/// `msg_flags` of a read.
pub const RECV_MSG: &[Word] = &[
    ("DONTWAIT", libc::MSG_DONTWAIT as i64),
    ("PEEK", libc::MSG_PEEK as i64),
    ("TRUNC", libc::MSG_TRUNC as i64),
    ("OOB", libc::MSG_OOB as i64),
    ("ERRQUEUE", libc::MSG_ERRQUEUE as i64),
    ("WAITALL", libc::MSG_WAITALL as i64),
    ("CLOEXEC", libc::MSG_CMSG_CLOEXEC as i64),
];
/// Flags of a message.
pub const FLAGS: &[Word] = &[
    ("REQUEST", uapi::KBUS_REQUEST as i64),
    ("URGENT", uapi::KBUS_URGENT as i64),
    ("ALL_OR_FAIL", uapi::KBUS_ALL_OR_FAIL as i64),
    ("ALL_OR_WAIT", uapi::KBUS_ALL_OR_WAIT as i64),
    ("YOU_REPLY", uapi::KBUS_YOU_REPLY as i64),
    ("USER", 0x1_0000),
];

/// Control messages of a send, and what is wrong with them.
pub const ANCILLARY: &[&str] = &[
    "send",
    "name",
    "via",
    "rights",
    "cred",
    "unknown",
    "twice",
    "short",
    "zeroes",
    "trail",
    "bad-len",
    "wrong-cred",
];

/// Files that are passed.
pub const FILES: &[&str] = &[
    "pipe", "null", "three", "none", "kbus", "unix", "epoll", "io_uring", "closed", "path", "many",
    "too-many",
];

/// Buffers of a call.
pub const SHAPES: &[&str] = &[
    "whole",
    "pieces",
    "none",
    "no-name",
    "fault",
    "control-fault",
    "name-fault",
    "half-fault",
];

/// By which system call.
pub const HOWS: &[&str] = &["msg", "to", "plain", "mmsg"];
