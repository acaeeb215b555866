// SPDX-License-Identifier: GPL-2.0
//! The words of programs: what calls there are, their arguments, and what these may be.

use kbus_selftests::sys::uapi;

/// A word and the number it stands for.
pub type Word = (&'static str, i64);

/// What an argument may be.
#[derive(Debug)]
pub enum Kind {
    /// One of these words; the first so many are the usual ones.
    Word(&'static [Word], usize),
    /// Any set of these bits.
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

/// The word for a number.
pub fn word(words: &[Word], value: i64) -> &'static str {
    let found = words.iter().find(|(_, number)| *number == value);
    found.map_or("empty", |(word, _)| word)
}

/// Sockets that a program has at most.
pub const SOCKETS: usize = 6;

/// A socket, by its number in the program.
pub const SOCK: Kind = Kind::Number(&[0, 1, 2, 3, 4, 5], 4);

/// Arguments of every call.
pub const COMMON: &[Arg] = &[
    // `b`: in a second thread; `kill`: in a process that is killed in the middle of it, maybe as the only one that still
    // has the socket.
    arg(
        "in",
        Kind::Word(&[("a", 0), ("b", 1), ("kill", 2), ("kill-last", 3)], 1),
        0,
    ),
    // The allocation that fails, 0 for none.
    arg("nth", Kind::Number(&[0, 1, 2, 3, 4, 5, 6, 8, 12], 1), 0),
];

/// The words `from` names that are made up.
pub const NAMES: &[Word] = &[
    ("$.A", 0),
    ("$.A.B", 1),
    ("$.A.B.C", 2),
    ("$.B", 3),
    ("$.*", 4),
    ("$.%", 5),
    ("$.A.*", 6),
    ("$.A.%", 7),
    ("$.A.B.*", 8),
    ("$.KBUS.ReplierBindEvent", 9),
    ("$.KBUS.UnbindEventsLost", 10),
    ("$.KBUS.*", 11),
    ("$.KBUS", 12),
    ("long73", 13),
    ("long74", 14),
    ("long1000", 15),
    ("long1001", 16),
    ("deep", 17),
    ("int0", 18),
    ("int1", 19),
    ("int2", 20),
    ("empty", 21),
    ("$.", 22),
    ("$", 23),
    ("A", 24),
    ("$.A..B", 25),
    ("$.A.", 26),
    ("$.*.A", 27),
    ("$.A-b", 28),
    ("$.A@1", 29),
    ("$.A#1", 30),
    ("byte255", 31),
];

/// A name or wildcard.
pub const NAME: Kind = Kind::Word(NAMES, 18);

/// Buses: abstract ones, those at paths, and what is none.
pub const BUSES: &[Word] = &[
    ("a0", 0),
    ("a1", 1),
    ("p0", 2),
    ("p1", 3),
    ("link", 4),
    ("dangling", 5),
    ("folder", 6),
    ("file", 7),
    ("missing", 8),
    ("closed", 9),
    ("empty", 10),
    ("nul", 11),
    ("long", 12),
    ("longer", 13),
    ("family", 14),
    ("short", 15),
    ("loop", 16),
    ("fault", 17),
];

/// Limits, each a file of `/proc/sys/net/kbus`. What comes new comes last.
pub const SYSCTLS: &[Word] = &[
    ("literal", 0),
    ("user_bytes", 1),
    ("bus_bytes", 2),
    ("max_queue_len", 3),
    ("user_bindings", 4),
    ("user_wide", 5),
    ("user_waits", 6),
    ("user_buses", 7),
    ("user_messages", 8),
];

/// On or off.
pub const ON: &[Word] = &[("0", 0), ("1", 1), ("2", 2), ("-1", -1)];

/// Where a message goes.
pub const DESTS: &[Word] = &[
    ("name", 0),
    ("reply", 1),
    ("peer", 2),
    ("none", 3),
    ("bare-reply", 4),
    ("bare-peer", 5),
    ("others-reply", 6),
    ("old-reply", 7),
    ("misnamed-reply", 8),
    ("peer0", 9),
    ("bad-peer", 10),
    ("bad-request", 11),
    ("upper", 12),
    ("zeroes", 13),
    ("unspec", 14),
    ("family", 15),
    ("short", 16),
    ("longer", 17),
    ("no-nul", 18),
    ("fault", 19),
];

/// Options that take a number, with the bytes they take.
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
    ("REPLIER", uapi::KBUS_REPLIER as i64),
    ("LISTEN", uapi::KBUS_LISTEN as i64),
    ("none", 0),
    ("beyond", 26),
];

/// Options of `SOL_SOCKET`.
pub const SOL_SOCKET: &[Word] = &[
    ("SO_RCVBUF", libc::SO_RCVBUF as i64),
    ("SO_RCVTIMEO", libc::SO_RCVTIMEO as i64),
    ("SO_SNDTIMEO", libc::SO_SNDTIMEO as i64),
    ("SO_PASSCRED", libc::SO_PASSCRED as i64),
    ("SO_PASSSEC", libc::SO_PASSSEC as i64),
    ("SO_PASSRIGHTS", 83),
    ("SO_TIMESTAMP", libc::SO_TIMESTAMP as i64),
    ("SO_TIMESTAMPNS", libc::SO_TIMESTAMPNS as i64),
    ("SO_TIMESTAMP_NEW", 63),
    ("SO_TIMESTAMPNS_NEW", 64),
    ("SO_RXQ_OVFL", libc::SO_RXQ_OVFL as i64),
    ("SO_SNDBUF", libc::SO_SNDBUF as i64),
    ("SO_RCVBUFFORCE", libc::SO_RCVBUFFORCE as i64),
    ("SO_ERROR", libc::SO_ERROR as i64),
    ("SO_TYPE", libc::SO_TYPE as i64),
    ("SO_DOMAIN", libc::SO_DOMAIN as i64),
    ("SO_PROTOCOL", libc::SO_PROTOCOL as i64),
    ("SO_PEERCRED", libc::SO_PEERCRED as i64),
    ("SO_PEERGROUPS", libc::SO_PEERGROUPS as i64),
    ("SO_PEERPIDFD", 77),
    ("SO_ACCEPTCONN", libc::SO_ACCEPTCONN as i64),
    ("SO_LINGER", libc::SO_LINGER as i64),
    ("SO_PASSPIDFD", 76),
    ("SO_KEEPALIVE", libc::SO_KEEPALIVE as i64),
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
pub const ANCILLARY: &[Word] = &[
    ("send", 1),
    ("name", 2),
    ("via", 4),
    ("rights", 8),
    ("cred", 16),
    ("unknown", 32),
    ("twice", 64),
    ("short", 128),
    ("zeroes", 256),
    ("trail", 512),
    ("bad-len", 1024),
    ("wrong-cred", 2048),
];

/// Files that are passed.
pub const FILES: &[Word] = &[
    ("pipe", 0),
    ("null", 1),
    ("three", 2),
    ("none", 3),
    ("kbus", 4),
    ("unix", 5),
    ("epoll", 6),
    ("io_uring", 7),
    ("closed", 8),
    ("path", 9),
    ("many", 10),
    ("too-many", 11),
];

/// Buffers of a call.
pub const SHAPES: &[Word] = &[
    ("whole", 0),
    ("pieces", 1),
    ("none", 2),
    ("no-name", 3),
    ("fault", 4),
    ("control-fault", 5),
    ("name-fault", 6),
    ("half-fault", 7),
];

/// By which system call.
pub const HOWS: &[Word] = &[("msg", 0), ("to", 1), ("plain", 2), ("mmsg", 3)];
