// SPDX-License-Identifier: GPL-2.0
//! What `make profile B=holds` records: calls whose longest holds of a lock are looked for.

use std::fs;

use kbus_selftests::process::as_user;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use crate::plain;
use crate::profile::recorded;
use crate::profile::tell;
use crate::report::progress;

const NAME: &str = "$.Bench.Hit";
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// Messages that wait in one queue, and bindings beside others.
const MESSAGES: u32 = 10_000;
const BINDINGS: u32 = 100_000;
/// Open files.
const FILES: u64 = 20_000;
/// Every third listener belongs to another user where there are several.
const UIDS: [u32; 3] = [0, 1000, 1001];

/// More of everything than is needed, so that no limit is met.
fn no_limits() {
    for (limit, value) in [
        ("user_bindings", 1_000_000_u64),
        ("user_messages", 1_000_000),
        ("user_bytes", 1 << 30),
    ] {
        fs::write(format!("/proc/sys/net/kbus/{limit}"), value.to_string()).expect(limit);
    }
    let files = libc::rlimit {
        rlim_cur: FILES,
        rlim_max: FILES,
    };
    // SAFETY: The structure is ours and whole.
    let r = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &files) };
    assert_eq!(r, 0, "RLIMIT_NOFILE: {:?}", Errno::last());
}

/// A sender and so many listeners, of so many users.
fn crowd(listeners: usize, users: usize, once: bool) -> (Sock, Vec<Sock>) {
    let bus = fresh_bus();
    let sender = plain::on_bus(&bus);
    let listener = |n: usize| {
        as_user(UIDS[n % users], || {
            let sock = plain::on_bus(&bus);
            if once {
                sock.turn_on(uapi::KBUS_ONCE);
            }
            sock.listen(NAME).expect("listen");
            sock
        })
    };
    (sender, (0..listeners).map(listener).collect())
}

/// Sends a message to so many; the first of two has made what memory the queues need.
fn to<const TAG: u32>(listeners: usize, users: usize, once: bool) {
    progress(&format!("to {listeners}, of {users} users"));
    let (sender, _listeners) = crowd(listeners, users, once);
    let to = message_address(NAME);
    sender.send_raw(&to, &PAYLOAD, 0).expect("announce");
    recorded::<TAG>(|| {
        sender.send_raw(&to, &PAYLOAD, 0).expect("announce");
    });
}

/// A socket with many bindings: one more, a send that matches none of them, and the end of it.
fn many_bindings<const BIND: u32, const SEND: u32, const END: u32>() {
    progress(&format!("{BINDINGS} bindings"));
    let bus = fresh_bus();
    let (sender, holder) = (plain::on_bus(&bus), plain::on_bus(&bus));
    for n in 0..BINDINGS {
        holder.listen(&format!("$.Bench.N{n}")).expect("listen");
    }
    recorded::<BIND>(|| sender.listen("$.Bench.Further").expect("listen"));
    let to = message_address(NAME);
    recorded::<SEND>(|| {
        sender.send_raw(&to, &PAYLOAD, 0).expect("announce");
    });
    recorded::<END>(|| drop(holder));
}

/// A queue with many messages: a binding goes that let half of them in, and then the socket.
fn many_messages<const UNBIND: u32, const END: u32>() {
    progress(&format!("{MESSAGES} messages"));
    let bus = fresh_bus();
    let (sender, reader) = (plain::on_bus(&bus), plain::on_bus(&bus));
    reader.set_queue_len(MESSAGES);
    for name in [NAME, "$.Bench.Other"] {
        reader.listen(name).expect("listen");
    }
    for n in 0..MESSAGES {
        let name = if n % 2 == 0 { NAME } else { "$.Bench.Other" };
        sender
            .send_raw(&message_address(name), &PAYLOAD, 0)
            .expect("announce");
    }
    assert_eq!(reader.unread(), MESSAGES);
    recorded::<UNBIND>(|| reader.unlisten(NAME).expect("unlisten"));
    recorded::<END>(|| drop(reader));
}

/// A request to a replier that dies with it.
fn a_replier_dies<const REQUEST: u32, const END: u32>() {
    let bus = fresh_bus();
    let (asker, replier) = (plain::on_bus(&bus), plain::on_bus(&bus));
    replier.replier(NAME).expect("replier");
    asker
        .set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST)
        .expect("KBUS_SEND_FLAGS");
    let to = message_address(NAME);
    asker.send_raw(&to, &PAYLOAD, 0).expect("ask");
    recorded::<REQUEST>(|| {
        asker.send_raw(&to, &PAYLOAD, 0).expect("ask");
    });
    recorded::<END>(|| drop(replier));
}

/// Makes the calls, and prints what each tag means and where the kernel's functions are.
pub fn run() {
    no_limits();
    to::<1>(1, 1, false);
    to::<2>(64, 1, false);
    to::<3>(1_000, 1, false);
    to::<4>(10_000, 1, false);
    to::<5>(10_000, 3, false);
    to::<6>(10_000, 1, true);
    a_replier_dies::<7, 8>();
    many_bindings::<9, 10, 11>();
    many_messages::<12, 13>();
    tell(&[
        "an announcement to 1 listener",
        "to 64",
        "to 1,000",
        "to 10,000",
        "to 10,000 of three users",
        "to 10,000 with KBUS_ONCE",
        "a request",
        "the end of a replier with two requests",
        "one more binding beside 100,000",
        "a send beside 100,000 bindings that do not match",
        "the end of a socket with 100,000 bindings",
        "to give up a binding that let 5,000 of 10,000 messages in",
        "the end of a socket with 5,000 messages",
    ]);
}
