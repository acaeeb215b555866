// SPDX-License-Identifier: GPL-2.0
//! Attacks by somebody who is stopped in the middle of a system call, and does not go on for long.
//!
//! Nobody waits for a task that does not run: no lock that another user's call wants is held by one. The victims' longest
//! step is at most twice that of a victim that uses AF_UNIX in the same trials, and who is killed is dead within a second.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;

use kbus_selftests::process::new_netns;
use kbus_selftests::siege::become_attacker;
use kbus_selftests::siege::Siege;
use kbus_selftests::siege::Step;
use kbus_selftests::siege::Stop;
use kbus_selftests::siege::Victim;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;

super::timed! {
    sends_to_4000_listeners_of_its_own reads_of_the_bindings_of_a_bus_it_may_not_join
    sockets_that_come_and_go_in_another_namespace descriptors_passed_to_itself_in_another_namespace
}

/// A member binds 4,000 listeners to a name of its own, which is as many bindings as a user may have on a bus by and
/// large, and sends to it in a loop.
fn sends_to_4000_listeners_of_its_own() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let siege = Siege::begin("sends to 4,000 listeners", Stop::starve(), 2, |i| {
        become_attacker(i);
        let sock = Sock::on(&bus);
        let name = format!("$.Attack.N{i}");
        for _ in 0..4000 {
            sock.listen(&name).unwrap();
        }
        Box::new(move || {
            sock.send_to(&name, b"").unwrap();
        })
    });
    let victims = [
        Victim::on("on the same bus", &bus),
        Victim::elsewhere(),
        Victim::apart(),
    ];
    siege.spares(10, &victims);
}

/// Who may not join root's bus, on which there are 1,000 bindings, reads `/proc/net/kbus_bindings` in a loop.
fn reads_of_the_bindings_of_a_bus_it_may_not_join() {
    let bus = fresh_bus();
    let owner = Sock::new();
    owner.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
    owner.bind(&bus).unwrap();
    for n in 0..1000 {
        owner.listen(&format!("$.Owner.N{n}")).unwrap();
    }
    let siege = Siege::begin("reads of kbus_bindings", Stop::starve(), 4, |i| {
        become_attacker(i);
        fails!(EACCES, Sock::new().bind(&bus));
        Box::new(|| {
            let text = fs::read("/proc/net/kbus_bindings").unwrap();
            assert!(text.iter().filter(|byte| **byte == b'\n').count() > 1000);
        })
    });
    let victims = [
        Victim::owner("on root's bus", &bus),
        Victim::elsewhere(),
        Victim::apart(),
    ];
    siege.spares(10, &victims);
}

/// Has four attackers, each of another user and in another network namespace, do something in a loop.
fn from_another_namespace(what: &str, prepare: impl Fn(&str) -> Step) {
    let siege = Siege::begin(what, Stop::starve(), 4, |i| {
        new_netns();
        become_attacker(i);
        prepare(&fresh_bus())
    });
    let victims = [Victim::elsewhere(), Victim::apart(), Victim::passing()];
    siege.spares(32, &victims);
}

/// Sockets of another user in another network namespace are made and closed in a loop.
fn sockets_that_come_and_go_in_another_namespace() {
    from_another_namespace("socket() and close() in another namespace", |_| {
        Box::new(|| drop(Sock::new()))
    });
}

/// The same with a descriptor that is passed to oneself.
fn descriptors_passed_to_itself_in_another_namespace() {
    let what = "descriptors in another namespace";
    from_another_namespace(what, |bus| {
        let sock = Sock::on(bus);
        sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
            .unwrap();
        sock.listen("$.Attack.Files").unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let out = Out::to("$.Attack.Files", b"").with(Cmsg::rights(file.as_raw_fd()));
        // Who leaves no room for it has it dropped.
        let options = RecvOptions {
            room: 0,
            control: 0,
            ..RecvOptions::default()
        };
        Box::new(move || {
            let _file = &file;
            sock.send_msg(&out).unwrap();
            sock.recv_with(options).unwrap();
        })
    });
}
