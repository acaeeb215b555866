// SPDX-License-Identifier: GPL-2.0
//! What `make profile` records: single calls between two marks.
//!
//! A mark is an instruction that does nothing. `qemu/profile/trace.c` sees it, and writes down what
//! the machine runs until the next one.

use std::arch::asm;
use std::fs;

use kbus_selftests::sys::fresh_bus;

use crate::plain;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::report::progress;
use crate::trips::Pair;

/// How often each call is recorded: the shortest of them had no interrupt in it.
const TIMES: usize = 5;
/// Calls before those.
const WARM: usize = 50;
/// Payload.
const LEN: usize = 64;
/// The name of the binding.
const FURTHER: &str = "$.Bench.Further";
/// Listeners of the announcement to many.
const MANY: usize = 64;

/// Runs `f` between two marks.
pub fn recorded<const TAG: u32>(f: impl FnOnce()) {
    // SAFETY: Both are `nopl NUMBER(%rax)`, which does nothing.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".long 0x4b420000 + {}", const TAG) };
    f();
    // SAFETY: As above.
    unsafe { asm!(".byte 0x0f, 0x1f, 0x80", ".long 0x4b420000") };
}

/// One message to so many, and what the last receiver reads.
fn one_way<const SEND: u32, const RECEIVE: u32>(kind: Kind, receivers: usize) {
    let group = Group::new(kind, receivers);
    let payload = [0x5a; LEN];
    let mut inbox = Inbox::new();
    for turn in 0..WARM + TIMES {
        match turn < WARM {
            true => group.send(&payload),
            false => recorded::<SEND>(|| group.send(&payload)),
        }
        let (last, others) = group.receivers.split_last().expect("a receiver");
        for sock in others {
            inbox.expect(sock, LEN);
        }
        match turn < WARM {
            true => inbox.expect(last, LEN),
            false => recorded::<RECEIVE>(|| inbox.expect(last, LEN)),
        }
    }
}

/// A request and its reply, with both switches between the processes.
fn round_trip<const TAG: u32>(kind: Kind) {
    let mut pair = Pair::new(kind, LEN);
    for _ in 0..WARM {
        pair.turn();
    }
    for _ in 0..TIMES {
        recorded::<TAG>(|| pair.turn());
    }
}

/// One more listener binding, and the end of it.
fn binding<const BIND: u32, const UNBIND: u32>() {
    let bus = fresh_bus();
    let (other, sock) = (plain::on_bus(&bus), plain::on_bus(&bus));
    other.listen("$.Bench.Hit").expect("listen");
    for turn in 0..WARM + TIMES {
        match turn < WARM {
            true => sock.listen(FURTHER).expect("listen"),
            false => recorded::<BIND>(|| sock.listen(FURTHER).expect("listen")),
        }
        match turn < WARM {
            true => sock.unlisten(FURTHER).expect("unlisten"),
            false => recorded::<UNBIND>(|| sock.unlisten(FURTHER).expect("unlisten")),
        }
    }
}

/// Makes the calls, and prints what each tag means and where the kernel's functions are.
pub fn run() {
    progress("calls that are recorded");
    one_way::<1, 2>(Kind::Unix, 1);
    one_way::<3, 4>(Kind::Kbus, 1);
    one_way::<5, 6>(Kind::Kbus, MANY);
    round_trip::<7>(Kind::Unix);
    round_trip::<8>(Kind::Kbus);
    binding::<9, 10>();
    tell(&[
        "AF_UNIX: sendto()",
        "AF_UNIX: recvfrom()",
        "kbus: sendto() to one listener",
        "kbus: recvfrom()",
        "kbus: sendto() to 64 listeners",
        "kbus: recvfrom(), the last of 64",
        "AF_UNIX: a datagram each way",
        "kbus: a request and its reply",
        "kbus: a listener binding",
        "kbus: the end of it",
    ]);
}

/// Prints what the tags from 1 on mean, and where the kernel's functions are.
pub fn tell(names: &[&str]) {
    for (tag, name) in (1..).zip(names) {
        println!("tag {tag} {name}");
    }
    progress("where functions are");
    let symbols = fs::read_to_string("/proc/kallsyms").expect("read /proc/kallsyms");
    for line in symbols.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.nth(1), Some("t" | "T" | "w" | "W")) {
            println!("at {line}");
        }
    }
    let modules = fs::read_to_string("/proc/modules").expect("read /proc/modules");
    for line in modules.lines().filter(|line| line.starts_with("kbus ")) {
        println!("module {line}");
    }
}
