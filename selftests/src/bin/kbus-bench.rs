// SPDX-License-Identifier: GPL-2.0
//! Round trips per second: a request and its reply over a bus, and the same
//! program over two `AF_UNIX` datagram sockets.
//!
//! Two processes, blocking calls, 64 bytes each way; the two take turns, so
//! that whatever else the machine does hits both.

use std::time::Duration;
use std::time::Instant;

use clap::Parser;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::bus_address;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

const PAYLOAD: [u8; 64] = [0x5a; 64];

/// Compares round trips over KBUS and over AF_UNIX.
#[derive(Debug, Parser)]
struct Args {
    /// Measurements of each kind.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Round trips in each measurement.
    #[arg(long, default_value_t = 20_000)]
    trips: u32,
}

/// `recvfrom()` and no more: no ancillary data, as a plain program would.
const PLAIN: RecvOptions = RecvOptions {
    room: 128,
    control: 0,
    flags: 0,
};

/// Answers every datagram at the address it came from, for ever.
fn serve(sock: &Sock) -> ! {
    loop {
        let request = sock.recv_with(PLAIN).expect("receive a request");
        sock.reply(&request, &request.data).expect("reply");
    }
}

/// Makes the round trips and says how long they took.
fn drive(sock: &Sock, to: &[u8], trips: u32) -> Duration {
    let trip = || {
        sock.send_raw(to, &PAYLOAD, 0).expect("send a request");
        let reply = sock.recv_with(PLAIN).expect("receive a reply");
        assert_eq!(reply.data, PAYLOAD);
    };
    (0..trips / 20).for_each(|_| trip());
    let start = Instant::now();
    (0..trips).for_each(|_| trip());
    start.elapsed()
}

fn over_kbus(trips: u32) -> Duration {
    let bus = fresh_bus();
    let ready = Gate::new();
    let server = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.Bench").expect("become the replier");
        ready.open(1);
        serve(&sock);
    });
    ready.pass();
    let sock = Sock::on(&bus);
    sock.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST)
        .expect("KBUS_SEND_FLAGS");
    let took = drive(&sock, &message_address("$.Bench"), trips);
    server.kill();
    took
}

fn over_unix(trips: u32) -> Duration {
    let (here, there) = (bus_address(&fresh_bus()), bus_address(&fresh_bus()));
    let open = |address: &[u8]| {
        let sock = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).expect("socket()");
        sock.bind_raw(address).expect("bind()");
        sock
    };
    let ready = Gate::new();
    let server = Child::fork(|| {
        let sock = open(&there);
        ready.open(1);
        serve(&sock);
    });
    ready.pass();
    let took = drive(&open(&here), &there, trips);
    server.kill();
    took
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let args = Args::parse();
    let rate = |took: Duration| f64::from(args.trips) / took.as_secs_f64();
    let (mut kbus, mut unix) = (Vec::new(), Vec::new());
    for round in 0..args.rounds.max(1) {
        unix.push(rate(over_unix(args.trips)));
        kbus.push(rate(over_kbus(args.trips)));
        println!(
            "round {}: AF_UNIX {:.0}/s, kbus {:.0}/s",
            round + 1,
            unix[round],
            kbus[round]
        );
    }
    let (kbus, unix) = (median(kbus), median(unix));
    println!("median: AF_UNIX {unix:.0}/s, kbus {kbus:.0}/s");
    println!("ratio: {:.3}", kbus / unix);
}
