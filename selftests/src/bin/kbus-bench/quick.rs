// SPDX-License-Identifier: GPL-2.0
//! A dozen figures that `make test` holds against recorded ones.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;

use crate::clock::median;
use crate::clock::ticks;
use crate::fanout;
use crate::place::Place;
use crate::plain;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::trips;

const TIMES: usize = 200;
const PAYLOAD: [u8; 64] = [0x5a; 64];

fn figure(name: &str, value: u64) {
    println!("figure {name}: {value}");
}

/// The median of what `f` takes.
fn cost(mut f: impl FnMut()) -> u64 {
    median((0..TIMES).map(|_| ticks(&mut f)).collect())
}

/// Binding a name and giving it up.
fn bind() -> (u64, u64) {
    let sock = plain::on_bus(&fresh_bus());
    let (mut bind, mut unbind) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        bind.push(ticks(|| sock.listen("$.Bench.Name").expect("listen")));
        unbind.push(ticks(|| sock.unlisten("$.Bench.Name").expect("unlisten")));
    }
    (median(bind), median(unbind))
}

/// Measures and prints a line for each.
pub fn run() {
    figure("AF_UNIX, one way, 64 B", trips::one_way(Kind::Unix, 64));
    for len in [64, 1 << 10, 64 << 10] {
        figure(
            &format!("one way, {len} B"),
            trips::one_way(Kind::Kbus, len),
        );
    }
    figure("round trip, 64 B", trips::round_trip(Kind::Kbus, 64));
    for fan in [8, 64] {
        let figures = fanout::measure(Kind::Kbus, fan);
        figure(&format!("send to {fan}"), figures.send);
        figure(&format!("reads of {fan}"), figures.reads);
    }
    let group = Group::new(Kind::Kbus, 1);
    for (what, name) in [
        ("to nobody", "$.Bench.Nobody"),
        ("malformed", "$.Bench..Hit"),
    ] {
        let to = message_address(name);
        let send = || {
            let _ = group.sender.send_raw(&to, &PAYLOAD, libc::MSG_DONTWAIT);
        };
        figure(&format!("send, {what}"), cost(send));
    }
    let mut inbox = Inbox::new();
    let read = || assert!(!inbox.receive(&group.receivers[0], libc::MSG_DONTWAIT));
    figure("read, nothing there", cost(read));
    let (bind, unbind) = bind();
    figure("bind", bind);
    figure("unbind", unbind);
    let _there = Place::Group.enter();
    figure("one way, 64 B, in a cgroup", trips::one_way(Kind::Kbus, 64));
    figure(
        "send to 64, in a cgroup",
        fanout::measure(Kind::Kbus, 64).send,
    );
}
