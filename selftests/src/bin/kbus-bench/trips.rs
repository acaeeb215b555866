// SPDX-License-Identifier: GPL-2.0
//! One message to one receiver, and a request with its reply.

use std::thread;
use std::time::Duration;

use kbus_selftests::attack::die_with_parent;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use crate::clock::median;
use crate::clock::median_of;
use crate::clock::ticks;
use crate::place::PLACES;
use crate::plain;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::plain::KINDS;
use crate::report::progress;
use crate::report::ratio;
use crate::report::size;
use crate::report::Table;

const SIZES: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// Measurements of a kind in one turn, after a tenth of them that do not count.
const TIMES: usize = 500;
/// Two processes that wake each other can do so in several ways, with more switches or fewer, and
/// what they did before decides how they go on. After so many requests the asker rests, and then
/// they begin anew.
const REST_AFTER: usize = 50;
const REST: Duration = Duration::from_millis(7);

/// Measures one kind with payloads of this length.
type Way = fn(Kind, usize) -> u64;

/// A send and its receive, in one process: no task is woken, none is switched to.
pub fn one_way(kind: Kind, len: usize) -> u64 {
    let group = Group::new(kind, 1);
    let payload = vec![0x5a; len];
    let mut inbox = Inbox::new();
    let mut once = || {
        ticks(|| {
            group.send(&payload);
            inbox.expect(&group.receivers[0], len);
        })
    };
    for _ in 0..TIMES / 10 {
        once();
    }
    median_of(TIMES, once)
}

/// The same, but each message has another name than the one before, of two: a socket on a bus
/// remembers the last one only. AF_UNIX has one address for both.
fn names_in_turn(kind: Kind, len: usize) -> u64 {
    let group = Group::new(kind, 1);
    let mut to = vec![group.addresses[0].clone(); 2];
    if kind == Kind::Kbus {
        group.receivers[0].listen("$.Bench.Two").expect("listen");
        to[1] = message_address("$.Bench.Two");
    }
    let payload = vec![0x5a; len];
    let mut inbox = Inbox::new();
    let mut names = to.iter().cycle();
    let mut once = || {
        let to = names.next().expect("there are two");
        ticks(|| {
            group.sender.send_raw(to, &payload, 0).expect("send");
            inbox.expect(&group.receivers[0], len);
        })
    };
    for _ in 0..TIMES / 10 {
        once();
    }
    median_of(TIMES, once)
}

/// Answers whatever comes at the address it came from, for ever.
fn serve(sock: &Sock) -> ! {
    let mut inbox = Inbox::new();
    loop {
        assert!(inbox.receive(sock, 0), "receive a request");
        inbox.send_back(sock);
    }
}

/// Two processes, one of which answers the other.
pub struct Pair {
    /// Ends with this.
    _server: Child,
    sock: Sock,
    to: Vec<u8>,
    payload: Vec<u8>,
    inbox: Inbox,
}

impl Pair {
    /// Starts the one that answers messages of this length.
    pub fn new(kind: Kind, len: usize) -> Pair {
        Pair::on(kind, len, &fresh_bus(), "$.Bench")
    }

    /// As [`Pair::new`], on this bus and by this name; as `AF_UNIX` sockets they need neither.
    pub fn on(kind: Kind, len: usize, bus: &str, name: &str) -> Pair {
        let ready = Gate::new();
        let (server, sock, to);
        match kind {
            Kind::Unix => {
                let (there, address) = plain::unix();
                server = Child::fork(|| {
                    die_with_parent();
                    ready.open(1);
                    serve(&there);
                });
                (sock, to) = (plain::unix().0, address);
            }
            Kind::Kbus => {
                server = Child::fork(|| {
                    die_with_parent();
                    let sock = plain::on_bus(bus);
                    sock.replier(name).expect("become the replier");
                    ready.open(1);
                    serve(&sock);
                });
                ready.pass();
                ready.open(1);
                (sock, to) = (plain::on_bus(bus), message_address(name));
                let set = |option, value| sock.set_u32(option, value).expect("set an option");
                set(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST);
                set(uapi::KBUS_REPLY_MAX, len as u32);
            }
        }
        ready.pass();
        Pair {
            _server: server,
            sock,
            to,
            payload: vec![0x5a; len],
            inbox: Inbox::new(),
        }
    }

    /// Asks once and reads the answer.
    pub fn turn(&mut self) {
        self.sock
            .send_raw(&self.to, &self.payload, 0)
            .expect("send a request");
        self.inbox.expect(&self.sock, self.payload.len());
    }
}

/// A request to another process and its reply.
pub fn round_trip(kind: Kind, len: usize) -> u64 {
    let mut pair = Pair::new(kind, len);
    for _ in 0..TIMES / 10 {
        pair.turn();
    }
    let turns = (0..TIMES).map(|turn| {
        if turn % REST_AFTER == 0 {
            thread::sleep(REST);
        }
        ticks(|| pair.turn())
    });
    median(turns.collect())
}

/// Measures both for each size, the two kinds taking turns.
pub fn run(rounds: usize) {
    let mut columns = vec![String::new()];
    for place in PLACES {
        columns.extend(["AF_UNIX", "kbus", "ratio"].map(|what| format!("{what}{}", place.note())));
    }
    let mut table = Table::new(&columns);
    let ways: [(&str, Way, &[usize]); 3] = [
        ("one way", one_way, &SIZES),
        ("two names in turn", names_in_turn, &SIZES[..1]),
        ("round trip", round_trip, &SIZES),
    ];
    for (name, way, sizes) in ways {
        for len in sizes.iter().copied() {
            progress(&format!("{name}, {}", size(len)));
            let mut row = vec![format!("{name}, {}", size(len))];
            for place in PLACES {
                let _there = place.enter();
                let mut results = [Vec::new(), Vec::new()];
                for _ in 0..rounds {
                    for (kind, results) in KINDS.into_iter().zip(&mut results) {
                        results.push(way(kind, len));
                    }
                }
                let [unix, kbus] = results.map(median);
                row.extend([unix.to_string(), kbus.to_string(), ratio(kbus, unix)]);
            }
            table.row(row);
        }
    }
    table.print(
        "One message, and a request with its reply",
        "One way: `sendto()` and `recvfrom()` in one process, to one name; or to two names in turn, as a socket \
         remembers the last one.\nRound trip: a request to another process and its reply, with both switches between \
         the processes. In a memory cgroup, as systemd\nmakes one for each service, the kernel also charges each piece \
         of memory to it.",
    );
}
