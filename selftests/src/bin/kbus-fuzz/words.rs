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

const fn arg(key: &'static str, kind: Kind, default: i64) -> Arg {
    Arg { key, kind, default }
}

/// Sockets that a program has at most.
pub const SOCKETS: usize = 6;

const SOCK: Kind = Kind::Number(&[0, 1, 2, 3, 4, 5], 4);

const fn sock(key: &'static str) -> Arg {
    arg(key, SOCK, 0)
}

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

const NAME: Kind = Kind::Word(NAMES, 18);

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

const ON: &[Word] = &[("0", 0), ("1", 1), ("2", 2), ("-1", -1)];

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
const SOL_SOCKET: &[Word] = &[
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

const VALUES: &[i64] = &[
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

/// `msg_flags` of sends and reads.
const MSG: &[Word] = &[
    ("DONTWAIT", libc::MSG_DONTWAIT as i64),
    ("OOB", libc::MSG_OOB as i64),
    ("NOSIGNAL", libc::MSG_NOSIGNAL as i64),
    ("EOR", libc::MSG_EOR as i64),
    ("MORE", libc::MSG_MORE as i64),
    ("CONFIRM", libc::MSG_CONFIRM as i64),
];
const RECV_MSG: &[Word] = &[
    ("DONTWAIT", libc::MSG_DONTWAIT as i64),
    ("PEEK", libc::MSG_PEEK as i64),
    ("TRUNC", libc::MSG_TRUNC as i64),
    ("OOB", libc::MSG_OOB as i64),
    ("ERRQUEUE", libc::MSG_ERRQUEUE as i64),
    ("WAITALL", libc::MSG_WAITALL as i64),
    ("CLOEXEC", libc::MSG_CMSG_CLOEXEC as i64),
];
const FLAGS: &[Word] = &[
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

const fn word(key: &'static str, words: &'static [Word], usual: usize) -> Arg {
    arg(key, Kind::Word(words, usual), words[0].1)
}

const fn op(name: &'static str, weight: usize, args: &'static [Arg]) -> Op {
    Op { name, weight, args }
}

/// All kinds of calls.
pub const OPS: &[Op] = &[
    op(
        "socket",
        6,
        &[
            sock("s"),
            word(
                "form",
                &[
                    ("literal", 0),
                    ("family", 1),
                    ("named", 2),
                    ("stream", 3),
                    ("raw", 4),
                    ("protocol", 5),
                    ("literal-stream", 6),
                    ("literal-raw", 7),
                ],
                2,
            ),
            word("nonblock", ON, 2),
        ],
    ),
    op("bind", 6, &[sock("s"), word("bus", BUSES, 4)]),
    op(
        "connect",
        3,
        &[
            sock("s"),
            word("to", DESTS, 1),
            arg("name", NAME, 0),
            sock("peer"),
        ],
    ),
    op(
        "name",
        16,
        &[
            sock("s"),
            word(
                "option",
                &[
                    ("LISTEN", 1),
                    ("REPLIER", 3),
                    ("UNLISTEN", 2),
                    ("UNREPLIER", 4),
                ],
                4,
            ),
            arg("name", NAME, 0),
            word("nul", &[("0", 0), ("1", 1), ("fault", 2)], 2),
        ],
    ),
    op(
        "set",
        10,
        &[
            sock("s"),
            word("option", OPTIONS, 11),
            arg("value", Kind::Number(VALUES, 16), 1),
            word(
                "len",
                &[
                    ("own", -1),
                    ("0", 0),
                    ("3", 3),
                    ("4", 4),
                    ("8", 8),
                    ("9", 9),
                    ("fault", -2),
                ],
                1,
            ),
        ],
    ),
    op(
        "get",
        6,
        &[
            sock("s"),
            word("option", OPTIONS, 20),
            arg(
                "len",
                Kind::Number(&[8, 4, 48, 9, 64, 1100, 0, 1, 3, 7, -1], 5),
                8,
            ),
            arg("name", NAME, 0),
            word("fault", ON, 1),
        ],
    ),
    op(
        "ignore",
        2,
        &[
            sock("s"),
            word("id", &[("owed", 0), ("old", 1), ("last", 2), ("0", 3)], 1),
        ],
    ),
    op(
        "setsol",
        4,
        &[
            sock("s"),
            word("option", SOL_SOCKET, 11),
            arg("value", Kind::Number(VALUES, 10), 1),
            arg("len", Kind::Number(&[4, 16, 8, 0], 2), 4),
        ],
    ),
    op(
        "getsol",
        2,
        &[
            sock("s"),
            word("option", SOL_SOCKET, 24),
            arg("len", Kind::Number(&[4, 16, 12, 64, 0, 1], 4), 4),
        ],
    ),
    op(
        "send",
        30,
        &[
            sock("s"),
            word("to", DESTS, 3),
            arg("name", NAME, 0),
            sock("peer"),
            arg(
                "len",
                Kind::Number(
                    &[
                        0,
                        1,
                        10,
                        100,
                        4000,
                        4096,
                        4097,
                        65536,
                        65537,
                        100_000,
                        1 << 20,
                        16 << 20,
                        (1 << 24) + 1,
                    ],
                    7,
                ),
                10,
            ),
            arg("msg", Kind::Bits(MSG), 0),
            arg("flags", Kind::Bits(FLAGS), 0),
            arg("with", Kind::Bits(ANCILLARY), 0),
            word("files", FILES, 3),
            arg(
                "max",
                Kind::Number(&[0, 1, 100, 8192, 65536, 1 << 24, 0xffff_ffff], 3),
                0,
            ),
            word("shape", SHAPES, 2),
            word("how", HOWS, 4),
            arg("times", Kind::Number(&[1, 2, 5, 20, 120], 2), 1),
        ],
    ),
    op(
        "recv",
        30,
        &[
            sock("s"),
            arg("msg", Kind::Bits(RECV_MSG), libc::MSG_DONTWAIT as i64),
            arg(
                "room",
                Kind::Number(&[1024, 0, 1, 10, 4096, 100_000], 3),
                1024,
            ),
            arg(
                "control",
                Kind::Number(&[512, 0, 1, 15, 16, 20, 24, 72, 80, 88, 96, 1400], 3),
                512,
            ),
            word("shape", SHAPES, 2),
            word("how", HOWS, 4),
            arg("times", Kind::Number(&[1, 2, 5, 20, 120], 4), 1),
        ],
    ),
    op(
        "poll",
        4,
        &[
            sock("s"),
            arg(
                "events",
                Kind::Bits(&[("IN", 1), ("PRI", 2), ("OUT", 4), ("RDHUP", 0x2000)]),
                5,
            ),
            arg("ms", Kind::Number(&[0, 1, 20, 50], 2), 0),
            word("how", &[("poll", 0), ("epoll", 1), ("edge", 2)], 3),
        ],
    ),
    op(
        "ioctl",
        2,
        &[
            sock("s"),
            word(
                "what",
                &[
                    ("FIONREAD", 0x541b),
                    ("FIONBIO", 0x5421),
                    ("TIOCOUTQ", 0x5411),
                    ("SIOCATMARK", 0x8905),
                    ("SIOCGIFNAME", 0x8910),
                    ("SIOCGSTAMP", 0x8906),
                    ("nonsense", 0x1234_5678),
                ],
                2,
            ),
            word("value", ON, 2),
        ],
    ),
    op(
        "shutdown",
        2,
        &[sock("s"), arg("how", Kind::Number(&[0, 1, 2, 3, -1], 3), 0)],
    ),
    op("dup", 2, &[sock("s"), sock("to")]),
    op("close", 5, &[sock("s")]),
    op(
        "getname",
        1,
        &[
            sock("s"),
            word("peer", ON, 2),
            arg("room", Kind::Number(&[128, 110, 2, 3, 0, -1], 2), 128),
        ],
    ),
    op(
        "unsupported",
        1,
        &[
            sock("s"),
            word(
                "call",
                &[
                    ("listen", 0),
                    ("accept", 1),
                    ("mmap", 2),
                    ("splice", 3),
                    ("sendfile", 4),
                    ("lseek", 5),
                    ("socketpair", 6),
                ],
                7,
            ),
        ],
    ),
    op(
        "user",
        3,
        &[word("id", &[("root", 0), ("one", 1000), ("two", 1001)], 3)],
    ),
    op(
        "namespace",
        2,
        &[word(
            "to",
            &[("a", 0), ("b", 1), ("new", 2), ("user", 3), ("pid", 4)],
            2,
        )],
    ),
    op(
        "sysctl",
        2,
        &[
            word(
                "file",
                &[
                    ("literal", 0),
                    ("user_bytes", 1),
                    ("bus_bytes", 2),
                    ("max_queue_len", 3),
                    ("user_bindings", 4),
                    ("user_wide", 5),
                    ("user_waits", 6),
                    ("user_buses", 7),
                ],
                8,
            ),
            arg(
                "value",
                Kind::Number(
                    &[0, 1, 2, 3, 16, 100, 5000, 70_000, 1 << 20, 1 << 40, -1],
                    9,
                ),
                1,
            ),
            word("read", ON, 2),
        ],
    ),
    op(
        "proc",
        2,
        &[
            word(
                "file",
                &[
                    ("kbus", 0),
                    ("kbus_bindings", 1),
                    ("fdinfo", 2),
                    ("unix", 3),
                ],
                3,
            ),
            sock("s"),
            arg("step", Kind::Number(&[4096, 1, 60, 300], 1), 4096),
            arg("seek", Kind::Number(&[0, 1, 100, 5000, -1], 2), 0),
        ],
    ),
    op(
        "path",
        2,
        &[
            word(
                "what",
                &[("unlink", 0), ("chmod", 1), ("chown", 2), ("rename", 3)],
                4,
            ),
            word("bus", BUSES, 4),
            arg("value", Kind::Number(&[0, 0o600, 0o777, 1000], 4), 0),
        ],
    ),
    op(
        "memory",
        1,
        &[arg("pages", Kind::Number(&[0, 1, 10, 100, 1000, -1], 5), 0)],
    ),
    op(
        "sandbox",
        1,
        &[word(
            "what",
            &[("no_new_privs", 0), ("seccomp", 1), ("nofile", 2)],
            3,
        )],
    ),
    op("wait", 2, &[arg("ms", Kind::Number(&[1, 5, 20], 3), 1)]),
];
