// SPDX-License-Identifier: GPL-2.0
//! All kinds of calls, each with its arguments.

use crate::words::arg;
use crate::words::Arg;
use crate::words::Kind;
use crate::words::Op;
use crate::words::Word;
use crate::words::ANCILLARY;
use crate::words::BINDINGS;
use crate::words::BUSES;
use crate::words::DESTS;
use crate::words::FILES;
use crate::words::FLAGS;
use crate::words::HOWS;
use crate::words::MSG;
use crate::words::NAME;
use crate::words::ON;
use crate::words::OPTIONS;
use crate::words::RECV_MSG;
use crate::words::SHAPES;
use crate::words::SOCK;
use crate::words::SOL_SOCKET;
use crate::words::SYSCTLS;
use crate::words::VALUES;

const fn sock(key: &'static str) -> Arg {
    arg(key, SOCK, 0)
}

const fn choice(key: &'static str, words: &'static [&'static str], usual: usize) -> Arg {
    arg(key, Kind::Choice(words, usual), 0)
}

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
            choice(
                "form",
                &[
                    "literal",
                    "family",
                    "named",
                    "stream",
                    "raw",
                    "protocol",
                    "literal-stream",
                    "literal-raw",
                ],
                2,
            ),
            word("nonblock", ON, 2),
        ],
    ),
    op("bind", 6, &[sock("s"), choice("bus", BUSES, 4)]),
    op(
        "connect",
        3,
        &[
            sock("s"),
            choice("to", DESTS, 1),
            arg("name", NAME, 0),
            sock("peer"),
        ],
    ),
    op(
        "name",
        16,
        &[
            sock("s"),
            word("option", BINDINGS, 4),
            arg("name", NAME, 0),
            choice("nul", &["0", "1", "fault"], 2),
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
        &[sock("s"), choice("id", &["owed", "old", "last", "0"], 1)],
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
            choice("to", DESTS, 3),
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
            arg("with", Kind::Set(ANCILLARY), 0),
            choice("files", FILES, 3),
            arg(
                "max",
                Kind::Number(&[0, 1, 100, 8192, 65536, 1 << 24, 0xffff_ffff], 3),
                0,
            ),
            choice("shape", SHAPES, 2),
            choice("how", HOWS, 4),
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
            choice("shape", SHAPES, 2),
            choice("how", HOWS, 4),
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
            choice("how", &["poll", "epoll", "edge"], 3),
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
            choice(
                "call",
                &[
                    "listen",
                    "accept",
                    "mmap",
                    "splice",
                    "sendfile",
                    "lseek",
                    "socketpair",
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
        &[choice("to", &["a", "b", "new", "user", "pid"], 2)],
    ),
    op(
        "sysctl",
        2,
        &[
            choice("file", SYSCTLS, SYSCTLS.len()),
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
            choice("file", &["kbus", "kbus_bindings", "fdinfo", "unix"], 3),
            sock("s"),
            arg("step", Kind::Number(&[4096, 1, 60, 300], 1), 4096),
            arg("seek", Kind::Number(&[0, 1, 100, 5000, -1], 2), 0),
        ],
    ),
    op(
        "path",
        2,
        &[
            choice("what", &["unlink", "chmod", "chown", "rename"], 4),
            choice("bus", BUSES, 4),
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
        &[choice("what", &["no_new_privs", "seccomp", "nofile"], 3)],
    ),
    op("wait", 2, &[arg("ms", Kind::Number(&[1, 5, 20], 3), 1)]),
];
