// SPDX-License-Identifier: GPL-2.0
//! Sending into full queues without waiting: the default and `ALL_OR_FAIL`.

use std::cell::Cell;

use kbus_selftests::process;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::fill;
use super::full_listener;
use super::full_replier;
use super::silent;

super::tests! {
    full_listener_misses_and_the_rest_get_it full_listener_misses_a_request full_listener_misses_a_reply
    full_replier_is_busy_and_nobody_gets_it fail_with_a_full_listener_reaches_nobody
    fail_with_a_full_listener_of_a_request fail_with_a_full_replier_reaches_nobody
    fail_with_room_reaches_all fail_with_nobody_listening_succeeds fail_of_a_request_with_room
    fail_of_a_stateful_request fail_for_one_s_own_full_queue failed_send_is_no_loss both_flags_at_once
    both_flags_by_option both_flags_come_before_other_errors no_room_to_reserve_comes_first
    no_replier_comes_before_a_full_listener fail_by_option all_or_flags_by_option_are_ignored_in_a_reply
    all_or_flags_in_scm_of_a_reply ancillary_flags_replace_fail_by_option failed_send_leaves_last_sent
    failed_sends_take_no_ids failed_send_leaves_no_bytes failed_request_reserves_nothing
    all_or_fail_is_not_shown
}

pub(super) const FAIL: u32 = uapi::KBUS_ALL_OR_FAIL;
const WAIT: u32 = uapi::KBUS_ALL_OR_WAIT;
pub(super) const ASK: u32 = uapi::KBUS_REQUEST;

pub(super) fn listener(bus: &str, name: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.listen(name).unwrap();
    sock
}

/// By default a full listener misses the message, the rest get it and the send
/// succeeds.
fn full_listener_misses_and_the_rest_get_it() {
    let bus = fresh_bus();
    let first = listener(&bus, "$.A");
    let full = full_listener(&bus, "$.A");
    let last = listener(&bus, "$.A");
    let sender = Sock::on(&bus);
    assert_eq!(sender.send_to("$.A", b"x"), Ok(1));
    assert_eq!(first.drain(), [b"x"]);
    assert_eq!(last.drain(), [b"x"]);
    assert_eq!(full.drain(), [b"fill"]);
    assert_eq!((full.lost(), first.lost(), last.lost()), (1, 0, 0));
}

/// A full listener misses its copy of a request, which goes to the replier.
fn full_listener_misses_a_request() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"ask").unwrap();
    assert_eq!(b.drain(), [b"ask"]);
    assert_eq!((full.unread(), full.lost()), (1, 1));
}

/// A full listener misses its copy of a reply, which goes to the requester.
fn full_listener_misses_a_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"ask").unwrap();
    let full = full_listener(&bus, "$.A");
    // The requester itself has one slot, which is reserved.
    a.set_queue_len(1);
    a.listen("$.A").unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    assert_eq!((full.unread(), full.lost()), (1, 1));
    assert_eq!(a.drain(), [b"answer"]);
    assert_eq!(a.lost(), 1);
}

/// By default a request to a full replier is `EBUSY` and nobody gets it.
fn full_replier_is_busy_and_nobody_gets_it() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let other = listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.request("$.A", b"ask"));
    silent!(other);
    assert_eq!(full.drain(), [b"fill"]);
    assert_eq!((full.lost(), other.lost()), (0, 0));
    a.request("$.A", b"ask").unwrap();
}

/// With `ALL_OR_FAIL` a full listener is `EBUSY` and nobody gets it.
fn fail_with_a_full_listener_reaches_nobody() {
    let bus = fresh_bus();
    let first = listener(&bus, "$.A");
    let full = full_listener(&bus, "$.A");
    let last = listener(&bus, "$.*");
    let sender = Sock::on(&bus);
    fails!(EBUSY, sender.send_with("$.A", b"x", FAIL));
    silent!(first);
    silent!(last);
    assert_eq!(full.drain(), [b"fill"]);
    sender.send_with("$.A", b"y", FAIL).unwrap();
    for sock in [&first, &full, &last] {
        assert_eq!(sock.drain(), [b"y"]);
    }
}

/// So is a full listener of a request, whose replier has room.
fn fail_with_a_full_listener_of_a_request() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    fails!(EBUSY, a.send_with("$.A", b"ask", ASK | FAIL));
    silent!(b);
    assert_eq!(full.drain(), [b"fill"]);
    a.send_with("$.A", b"ask", ASK | FAIL).unwrap();
    assert!(b.recv().unwrap().must_reply());
    assert!(!full.recv().unwrap().must_reply());
}

/// And a full replier.
fn fail_with_a_full_replier_reaches_nobody() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let other = listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.send_with("$.A", b"ask", ASK | FAIL));
    silent!(other);
    assert_eq!(full.drain(), [b"fill"]);
}

/// With room everywhere everybody gets it.
fn fail_with_room_reaches_all() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..5).map(|_| listener(&bus, "$.A")).collect();
    socks[0].send_with("$.A", b"x", FAIL).unwrap();
    for sock in &socks {
        assert_eq!(sock.drain(), [b"x"]);
    }
}

/// A send to a name that nobody listens to succeeds, full queues or not.
fn fail_with_nobody_listening_succeeds() {
    let bus = fresh_bus();
    let _other = full_listener(&bus, "$.B");
    let sender = Sock::on(&bus);
    assert!(sender.send_with("$.A", b"", FAIL).unwrap() > 0);
}

/// `ALL_OR_FAIL` of a request with room: asked and answered.
fn fail_of_a_request_with_room() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.send_with("$.A", b"ask", ASK | FAIL).unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
}

/// It holds for stateful requests too.
fn fail_of_a_stateful_request() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let to = b.sends_from("$.A");
    fails!(EBUSY, a.send_with(&to, b"", ASK | FAIL));
    silent!(b);
    full.recv().unwrap();
    a.send_with(&to, b"", ASK | FAIL).unwrap();
}

/// One's own full queue is a full queue: `EBUSY`.
fn fail_for_one_s_own_full_queue() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let other = listener(&bus, "$.A");
    fails!(EBUSY, full.send_with("$.A", b"x", FAIL));
    silent!(other);
}

/// What failed was never sent, so nobody missed it.
fn failed_send_is_no_loss() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sender = Sock::on(&bus);
    for _ in 0..3 {
        fails!(EBUSY, sender.send_with("$.A", b"x", FAIL));
    }
    assert_eq!(full.lost(), 0);
    full.recv().unwrap();
    sender.send_to("$.A", b"y").unwrap();
    assert_eq!(full.recv().unwrap().info.lost, 0);
}

/// `ALL_OR_FAIL` and `ALL_OR_WAIT` at once: `EINVAL`, whatever is sent.
fn both_flags_at_once() {
    let bus = fresh_bus();
    let sock = listener(&bus, "$.A");
    sock.replier("$.A").unwrap();
    for flags in [FAIL | WAIT, FAIL | WAIT | ASK] {
        fails!(EINVAL, sock.send_with("$.A", b"", flags));
    }
    silent!(sock);
}

/// The same by `KBUS_SEND_FLAGS`: refused there, or at the next send.
fn both_flags_by_option() {
    let sock = listener(&fresh_bus(), "$.A");
    match sock.set_u32(uapi::KBUS_SEND_FLAGS, FAIL | WAIT) {
        Err(errno) => assert_eq!(errno.0, libc::EINVAL),
        Ok(()) => fails!(EINVAL, sock.send_to("$.A", b"")),
    }
    silent!(sock);
}

/// Malformed flags come first: before the size, the bus and the room.
fn both_flags_come_before_other_errors() {
    let both = FAIL | WAIT;
    fails!(EINVAL, Sock::new().send_with("$.A", b"", both));
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    fails!(EINVAL, full.send_with("$.A", b"", both));
    fails!(EINVAL, full.send_with("$.A", &[0; 65537], both));
    fails!(EINVAL, full.send_with("$.KBUS.A", b"", both));
    full.shutdown(libc::SHUT_WR).unwrap();
    fails!(EINVAL, full.send_with("$.A", b"", both));
}

/// No room to reserve for the reply, `ENOBUFS`, comes before a full replier.
fn no_room_to_reserve_comes_first() {
    let bus = fresh_bus();
    let _full = full_replier(&bus, "$.A");
    let a = full_listener(&bus, "$.B");
    fails!(ENOBUFS, a.request("$.A", b""));
    fails!(ENOBUFS, a.send_with("$.A", b"", ASK | FAIL));
    // And before there being none.
    fails!(ENOBUFS, a.request("$.Nobody", b""));
}

/// `EADDRNOTAVAIL` comes before `EBUSY`.
fn no_replier_comes_before_a_full_listener() {
    let bus = fresh_bus();
    let _full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EADDRNOTAVAIL, a.send_with("$.A", b"", ASK | FAIL));
    // So does `EPIPE`.
    let (b, c) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let to = c.sends_from("$.A");
    fails!(EPIPE, a.send_with(&to, b"", ASK | FAIL));
}

/// `ALL_OR_FAIL` in `KBUS_SEND_FLAGS` is for announcements and for requests.
fn fail_by_option() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_u32(uapi::KBUS_SEND_FLAGS, FAIL).unwrap();
    assert_eq!(a.get_u32(uapi::KBUS_SEND_FLAGS), Ok(FAIL));
    fails!(EBUSY, a.send_to("$.A", b""));
    a.set_u32(uapi::KBUS_SEND_FLAGS, FAIL | ASK).unwrap();
    fails!(EBUSY, a.send_to("$.A", b""));
    silent!(b);
    assert_eq!(full.lost(), 0);
}

/// A reply ignores `ALL_OR_*` in `KBUS_SEND_FLAGS`: full listeners miss it.
fn all_or_flags_by_option_are_ignored_in_a_reply() {
    for flag in [FAIL, WAIT] {
        let bus = fresh_bus();
        let (a, b) = (Sock::on(&bus), Sock::on(&bus));
        b.replier("$.A").unwrap();
        b.set_u32(uapi::KBUS_SEND_FLAGS, flag).unwrap();
        a.request("$.A", b"").unwrap();
        let full = full_listener(&bus, "$.A");
        b.reply(&b.recv().unwrap(), b"answer").unwrap();
        let reply = a.recv().unwrap();
        assert_eq!(reply.info.flags, uapi::KBUS_REPLY);
        assert_eq!((full.unread(), full.lost()), (1, 1));
    }
}

/// In `SCM_KBUS_SEND` of a reply they are `EINVAL`, and it is still owed.
fn all_or_flags_in_scm_of_a_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    for flags in [FAIL, WAIT, FAIL | WAIT, FAIL | uapi::KBUS_URGENT] {
        fails!(EINVAL, b.send_with(&request.from, b"", flags));
    }
    silent!(a);
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, b"").unwrap();
}

/// `SCM_KBUS_SEND` replaces what the option says.
fn ancillary_flags_replace_fail_by_option() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    a.set_u32(uapi::KBUS_SEND_FLAGS, FAIL).unwrap();
    a.send_with("$.A", b"", 0).unwrap();
    assert_eq!(full.lost(), 1);
}

/// A send that fails leaves `KBUS_LAST_SENT` alone.
fn failed_send_leaves_last_sent() {
    let bus = fresh_bus();
    let _full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    assert_eq!(a.last_sent(), 0);
    a.send_to("$.B", b"").unwrap();
    let before = a.last_sent();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    fails!(EADDRNOTAVAIL, a.request("$.A", b""));
    assert_eq!(a.last_sent(), before);
}

/// It takes no id that a program can see: those of the others go on without a
/// gap, whatever the error was.
fn failed_sends_take_no_ids() {
    // Nobody else sends in a namespace of its own.
    process::new_netns();
    let bus = fresh_bus();
    let _listener = full_listener(&bus, "$.Full");
    let _replier = full_replier(&bus, "$.Busy");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let room = Sock::on(&bus);
    room.set_queue_len(1);
    fill(&room);
    let last = Cell::new(0);
    let contiguous = |what: &str| {
        b.send_to("$.B", b"").unwrap();
        let id = b.last_sent();
        assert_eq!(id, last.replace(id) + 1, "after {what}");
    };
    b.send_to("$.B", b"").unwrap();
    last.set(b.last_sent());
    contiguous("nothing");
    fails!(EBUSY, a.send_with("$.Full", b"", FAIL));
    contiguous("a full listener");
    fails!(EBUSY, a.request("$.Busy", b""));
    contiguous("a full replier");
    fails!(EAGAIN, a.try_send_with("$.Full", b"", WAIT));
    contiguous("a wait that was not wanted");
    fails!(EADDRNOTAVAIL, a.request("$.Nobody", b""));
    contiguous("no replier");
    fails!(EMSGSIZE, a.send_to("$.B", &[0; 65537]));
    contiguous("too long a payload");
    fails!(EPERM, a.send_to("$.KBUS.A", b""));
    contiguous("a name of the bus");
    fails!(ECONNREFUSED, a.send_to("$.A@1f#2a", b""));
    contiguous("a reply not owed");
    fails!(EINVAL, a.send_with("$.B", b"", FAIL | WAIT));
    contiguous("bad flags");
    fails!(ENOBUFS, room.request("$.Busy", b""));
    contiguous("no room for the reply");
}

/// It leaves no payload on the bus.
fn failed_send_leaves_no_bytes() {
    let bus = fresh_bus();
    let _full = full_listener(&bus, "$.A");
    let _busy = full_replier(&bus, "$.B");
    let a = Sock::on(&bus);
    let before = a.bus_info().unwrap().bytes;
    fails!(EBUSY, a.send_with("$.A", &[1; 5000], FAIL));
    fails!(EBUSY, a.request("$.B", &[1; 5000]));
    assert_eq!(a.bus_info().unwrap().bytes, before);
}

/// A request that fails reserves nothing in its sender's queue.
fn failed_request_reserves_nothing() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let a = Sock::on(&bus);
    a.set_queue_len(1);
    for _ in 0..3 {
        fails!(EBUSY, a.request("$.A", b""));
        fails!(EADDRNOTAVAIL, a.request("$.B", b""));
    }
    full.recv().unwrap();
    a.request("$.A", b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
}

/// How it was sent is the sender's affair: readers do not see the flag.
fn all_or_fail_is_not_shown() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    for flag in [FAIL, WAIT] {
        let out = Out::to("$.A", b"").with(Cmsg::send(flag | 0x0001_0000, 0, 0));
        a.send_msg(&out).unwrap();
        assert_eq!(b.recv().unwrap().info.flags, 0x0001_0000);
    }
}
