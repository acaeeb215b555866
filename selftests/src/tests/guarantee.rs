// SPDX-License-Identifier: GPL-2.0
//! Exactly one reply or status for every request, whatever dies.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::expect_status;
use super::fails;
use super::silent;

super::tests! {
    close_before_reading close_after_reading close_with_both_kinds status_looks
    kill_before_reading kill_after_reading unbind_before_reading unbind_after_reading
    unbind_keeps_the_listener_copy unbind_of_another_name ignore_gives_up
    ignore_what_is_not_owed reply_twice reply_before_reading reply_to_somebody_elses
    reply_to_nothing peek_owes_nothing requester_gone requester_gone_keeps_the_queue
    request_to_oneself_and_close statuses_are_for_the_requester_only one_answer_each
    unreplied_counts reply_after_status close_tells_every_requester
    statuses_before_death_is_seen closing_chain
    refused_replies_are_not_fatal requester_gone_keeps_the_listeners_copies
}

/// An asker, a replier for `$.A`, and a request between them.
fn asked() -> (Sock, Sock, u64) {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request_with("$.A", b"ask", 0, 9).unwrap();
    (a, b, id)
}

/// The replier closed before reading the request: GONE_AWAY.
fn close_before_reading() {
    let (a, b, id) = asked();
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
}

/// It had read the request and closed without replying: IGNORED.
fn close_after_reading() {
    let (a, b, id) = asked();
    b.recv().unwrap();
    drop(b);
    expect_status(&a, id, uapi::KBUS_IGNORED);
}

/// Each request gets the status that fits it.
fn close_with_both_kinds() {
    let (a, b, read) = asked();
    let unread = a.request("$.A", b"").unwrap();
    b.recv().unwrap();
    drop(b);
    let mut got: Vec<_> = (0..2)
        .map(|_| {
            let info = a.recv().unwrap().info;
            (info.in_reply_to, info.error as u32)
        })
        .collect();
    got.sort_unstable();
    let want = [(read, uapi::KBUS_IGNORED), (unread, uapi::KBUS_GONE_AWAY)];
    assert_eq!(got, want);
    silent!(a);
}

/// A status is empty, from the replier it is about, to the requester, and has the classic name.
fn status_looks() {
    for (error, name) in [
        (uapi::KBUS_GONE_AWAY, "$.KBUS.Replier.GoneAway"),
        (uapi::KBUS_IGNORED, "$.KBUS.Replier.Ignored"),
        (uapi::KBUS_UNBOUND, "$.KBUS.Replier.Unbound"),
    ] {
        let (a, b, id) = asked();
        let from = b.sends_from(name);
        let peer = b.peer_id();
        match error {
            uapi::KBUS_GONE_AWAY => drop(b),
            uapi::KBUS_IGNORED => {
                b.recv().unwrap();
                b.ignore(id).unwrap();
            }
            _ => b.unreplier("$.A").unwrap(),
        }
        let msg = a.recv().unwrap();
        assert_eq!(msg.from, from);
        assert_eq!((msg.len, msg.info.len), (0, 0));
        assert_eq!(msg.info.flags & uapi::KBUS_STATUS, uapi::KBUS_STATUS);
        assert!(!msg.is(uapi::KBUS_REQUEST));
        assert_eq!((msg.info.sender, msg.info.to), (peer, a.peer_id()));
        assert_eq!((msg.info.in_reply_to, msg.info.cookie), (id, 9));
        assert_eq!(msg.info.error, error as i32);
        assert!(msg.info.id > id);
    }
}

fn killed(read: bool, error: u32) {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let (ready, sent, done) = (Gate::new(), Gate::new(), Gate::new());
    let child = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        ready.open(1);
        sent.pass();
        if read {
            sock.recv().unwrap();
        }
        done.open(1);
        process::park();
    });
    ready.pass();
    let id = a.request("$.A", b"").unwrap();
    sent.open(1);
    done.pass();
    silent!(a);
    child.kill();
    expect_status(&a, id, error);
}

/// The same when the replier is killed: it is queued before the dead process
/// can be waited for.
fn kill_before_reading() {
    killed(false, uapi::KBUS_GONE_AWAY);
}

/// Killed with the request read.
fn kill_after_reading() {
    killed(true, uapi::KBUS_IGNORED);
}

/// It gave up the name before reading the request: UNBOUND.
fn unbind_before_reading() {
    let (a, b, id) = asked();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    silent!(b);
}

/// What it had already read is still its to answer.
fn unbind_after_reading() {
    let (a, b, id) = asked();
    let request = b.recv().unwrap();
    b.unreplier("$.A").unwrap();
    silent!(a);
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, b"late").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
    silent!(a);
}

/// The plain listener's copy of the same request stays.
fn unbind_keeps_the_listener_copy() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    let copy = b.recv().unwrap();
    assert!(!copy.is(uapi::KBUS_YOU_REPLY));
    assert_eq!(copy.info.id, id);
    silent!(b);
}

/// Only requests that *that* binding let in are affected.
fn unbind_of_another_name() {
    let (a, b, id) = asked();
    b.replier("$.A.*").unwrap();
    b.replier("$.*").unwrap();
    b.unreplier("$.*").unwrap();
    b.unreplier("$.A.*").unwrap();
    silent!(a);
    b.reply(&b.recv().unwrap(), b"").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
}

/// `KBUS_IGNORE` gives up a request owed: IGNORED, now.
fn ignore_gives_up() {
    let (a, b, id) = asked();
    let request = b.recv().unwrap();
    b.ignore(id).unwrap();
    expect_status(&a, id, uapi::KBUS_IGNORED);
    assert_eq!(b.unreplied(), 0);
    fails!(ECONNREFUSED, b.reply(&request, b""));
    drop(b);
    silent!(a);
}

/// `KBUS_IGNORE` of what is not owed: `ECONNREFUSED`.
fn ignore_what_is_not_owed() {
    let (a, b, id) = asked();
    fails!(ECONNREFUSED, b.ignore(id));
    fails!(ECONNREFUSED, a.ignore(id));
    fails!(ECONNREFUSED, b.ignore(id + 1));
    b.recv().unwrap();
    fails!(ECONNREFUSED, a.ignore(id));
    b.ignore(id).unwrap();
    fails!(ECONNREFUSED, b.ignore(id));
}

/// A second reply is refused: `ECONNREFUSED`.
fn reply_twice() {
    let (a, b, _) = asked();
    let request = b.recv().unwrap();
    b.reply(&request, b"1").unwrap();
    fails!(ECONNREFUSED, b.reply(&request, b"2"));
    assert_eq!(a.recv().unwrap().data, b"1");
    silent!(a);
}

/// The debt begins when the request is read.
fn reply_before_reading() {
    let (a, b, id) = asked();
    let to = format!("{}#{id:x}", a.sends_from("$.A"));
    fails!(ECONNREFUSED, b.send_to(&to, b""));
    b.recv().unwrap();
    b.send_to(&to, b"").unwrap();
}

/// Only the socket that owes it may reply.
fn reply_to_somebody_elses() {
    let (a, b, id) = asked();
    let request = b.recv().unwrap();
    let to = format!("{}#{id:x}", a.sends_from("$.A"));
    fails!(ECONNREFUSED, a.send_to(&to, b""));
    b.reply(&request, b"").unwrap();
}

/// A reply to what never was is refused.
fn reply_to_nothing() {
    let sock = Sock::on(&fresh_bus());
    fails!(ECONNREFUSED, sock.send_to("$.A@1f#2a", b""));
    let to = format!("{}#1", sock.sends_from("$."));
    fails!(ECONNREFUSED, sock.send_to(&to, b""));
}

/// A peek is no read: it makes no debt.
fn peek_owes_nothing() {
    let (a, b, id) = asked();
    let request = b.peek().unwrap();
    assert!(request.must_reply());
    assert_eq!((b.unread(), b.unreplied()), (1, 0));
    fails!(ECONNREFUSED, b.reply(&request, b""));
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
}

/// A requester that has gone makes the reply `EADDRNOTAVAIL`, which settles it.
fn requester_gone() {
    let (a, b, _) = asked();
    let request = b.recv().unwrap();
    drop(a);
    assert_eq!(b.unreplied(), 1);
    fails!(EADDRNOTAVAIL, b.reply(&request, b""));
    assert_eq!(b.unreplied(), 0);
    fails!(ECONNREFUSED, b.reply(&request, b""));
}

/// Nobody is told when a requester closes: its requests stay in the queue.
fn requester_gone_keeps_the_queue() {
    let (a, b, id) = asked();
    drop(a);
    let request = b.recv().unwrap();
    assert!(request.must_reply());
    assert_eq!((request.info.id, &request.data[..]), (id, &b"ask"[..]));
    fails!(EADDRNOTAVAIL, b.reply(&request, b""));
}

/// A socket that closes on its own request leaves nothing behind.
fn request_to_oneself_and_close() {
    let bus = fresh_bus();
    let keeper = Sock::on(&bus);
    for read in [false, true] {
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        sock.request("$.A", b"payload").unwrap();
        if read {
            sock.recv().unwrap();
        }
    }
    assert_eq!(keeper.bus_info().unwrap().bytes, 0);
}

/// A status goes only to the requester, whoever listens to its name.
fn statuses_are_for_the_requester_only() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    for sock in [&a, &c] {
        sock.listen("$.KBUS.*").unwrap();
        sock.listen("$.*").unwrap();
    }
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
    silent!(c);
}

/// Of many requests, each gets exactly one answer, of whatever kind.
fn one_answer_each() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let mut ids: Vec<u64> = (0..60).map(|_| a.request("$.A", b"").unwrap()).collect();
    for n in 0..40 {
        let request = b.recv().unwrap();
        match n % 3 {
            0 => drop(b.reply(&request, b"x").unwrap()),
            1 => b.ignore(request.info.id).unwrap(),
            _ => (),
        }
    }
    drop(b);
    let mut answers: Vec<u64> = (0..60)
        .map(|_| a.recv().unwrap().info.in_reply_to)
        .collect();
    silent!(a);
    ids.sort_unstable();
    answers.sort_unstable();
    assert_eq!(ids, answers);
}

/// `KBUS_UNREPLIED` counts requests read and not answered.
fn unreplied_counts() {
    let (a, b, _) = asked();
    a.request("$.A", b"").unwrap();
    assert_eq!((b.unread(), b.unreplied()), (2, 0));
    let first = b.recv().unwrap();
    assert_eq!((b.unread(), b.unreplied()), (1, 1));
    b.recv().unwrap();
    assert_eq!((b.unread(), b.unreplied()), (0, 2));
    b.reply(&first, b"").unwrap();
    assert_eq!((b.unread(), b.unreplied()), (0, 1));
    assert_eq!((a.unread(), a.unreplied()), (1, 0));
}

/// Settled is settled: no reply after an UNBOUND.
fn reply_after_status() {
    let (a, b, id) = asked();
    let to = b.peek().unwrap();
    b.unreplier("$.A").unwrap();
    fails!(ECONNREFUSED, b.reply(&to, b""));
    expect_status(&a, id, uapi::KBUS_UNBOUND);
}

/// Every requester is told.
fn close_tells_every_requester() {
    let bus = fresh_bus();
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let askers: Vec<(Sock, u64)> = (0..20)
        .map(|_| {
            let sock = Sock::on(&bus);
            let id = sock.request("$.A", b"").unwrap();
            (sock, id)
        })
        .collect();
    drop(b);
    for (sock, id) in &askers {
        expect_status(sock, *id, uapi::KBUS_GONE_AWAY);
    }
}

/// All statuses are queued before a dead process can be waited for.
fn statuses_before_death_is_seen() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let ready = Gate::new();
    let child = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        ready.open(1);
        process::park();
    });
    ready.pass();
    for _ in 0..90 {
        a.request("$.A", b"").unwrap();
    }
    child.kill();
    assert_eq!(a.unread(), 90);
}

/// Sockets that owe one another close one after the other.
fn closing_chain() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..10).map(|_| Sock::on(&bus)).collect();
    for (n, sock) in socks.iter().enumerate() {
        sock.replier(&format!("$.R{n}")).unwrap();
    }
    for (n, sock) in socks.iter().enumerate() {
        for to in 0..10 {
            sock.request(&format!("$.R{to}"), &[n as u8; 100]).unwrap();
        }
        if n % 2 == 0 {
            sock.recv().unwrap();
        }
    }
    let keeper = Sock::on(&bus);
    drop(socks);
    let info = keeper.bus_info().unwrap();
    assert_eq!((info.members, info.bindings, info.bytes), (1, 0, 0));
}

/// A replier goes on after `ECONNREFUSED` and `EADDRNOTAVAIL`.
fn refused_replies_are_not_fatal() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    let id = c.request("$.A", b"").unwrap();
    let (lost, good) = (b.recv().unwrap(), b.recv().unwrap());
    drop(a);
    fails!(EADDRNOTAVAIL, b.reply(&lost, b""));
    fails!(ECONNREFUSED, b.reply(&lost, b""));
    b.reply(&good, b"answer").unwrap();
    let reply = c.recv().unwrap();
    assert_eq!(
        (reply.info.in_reply_to, &reply.data[..]),
        (id, &b"answer"[..])
    );
    let id = c.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"").unwrap();
    assert_eq!(c.recv().unwrap().info.in_reply_to, id);
}

/// When the requester closes, the listeners' copies of its requests stay.
fn requester_gone_keeps_the_listeners_copies() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.A").unwrap();
    let id = a.request("$.A", b"ask").unwrap();
    drop(a);
    let copy = c.recv().unwrap();
    assert_eq!((copy.info.id, &copy.data[..]), (id, &b"ask"[..]));
    silent!(c);
}
