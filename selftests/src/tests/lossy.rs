// SPDX-License-Identifier: GPL-2.0
//! `KBUS_LOSSY`: listeners that nobody waits for.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::expect_status;
use super::fails;
use super::fill;
use super::full_listener;
use super::full_replier;
use super::silent;

super::tests! {
    lossy_is_off_unless_set lossy_may_be_set_before_bind lossy_with_room_gets_everything
    lossy_is_never_full_for_all_or_fail lossy_is_never_full_for_all_or_wait
    lossy_never_makes_a_sender_unready own_lossy_queue_is_no_deadlock
    lossy_misses_are_counted_and_told lossy_by_bytes_is_never_full
    lossy_does_not_hide_another_full_queue lossy_misses_nothing_of_a_failed_send
    lossy_listener_of_a_request lossy_replier_is_an_ordinary_replier
    lossy_replier_that_listens_misses_the_copy lossy_once_replier_gets_its_request
    lossy_requester_gets_its_reply lossy_requester_reserves_like_any_other
    lossy_requester_gets_its_status unsetting_lossy_makes_it_full_again
    snoop_sees_everything_in_order snoop_sees_no_statuses
    overrun_snoop_disturbs_nobody overrun_snoop_is_told_where_the_gap_is
    snoop_that_reads_again_sees_again
}

const FAIL: u32 = uapi::KBUS_ALL_OR_FAIL;
const WAIT: u32 = uapi::KBUS_ALL_OR_WAIT;
const ASK: u32 = uapi::KBUS_REQUEST;

/// A lossy listener whose queue holds one message, and is full.
fn full_lossy(bus: &str, name: &str) -> Sock {
    let sock = full_listener(bus, name);
    sock.turn_on(uapi::KBUS_LOSSY);
    sock
}

/// `KBUS_LOSSY` is 0 by default, and says what was set.
fn lossy_is_off_unless_set() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get_u32(uapi::KBUS_LOSSY), Ok(0));
    sock.turn_on(uapi::KBUS_LOSSY);
    assert_eq!(sock.get_u32(uapi::KBUS_LOSSY), Ok(1));
    sock.turn_off(uapi::KBUS_LOSSY);
    assert_eq!(sock.get_u32(uapi::KBUS_LOSSY), Ok(0));
}

/// It is a setting of the socket and needs no bus.
fn lossy_may_be_set_before_bind() {
    let sock = Sock::new();
    sock.turn_on(uapi::KBUS_LOSSY);
    sock.bind(&fresh_bus()).unwrap();
    sock.listen("$.A").unwrap();
    sock.set_queue_len(1);
    for _ in 0..3 {
        sock.send_with("$.A", b"", FAIL).unwrap();
    }
    assert_eq!((sock.unread(), sock.lost()), (1, 2));
}

/// With room a lossy listener gets what everybody gets.
fn lossy_with_room_gets_everything() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.turn_on(uapi::KBUS_LOSSY);
    b.listen("$.A").unwrap();
    for flags in [0, FAIL, WAIT] {
        a.send_with("$.A", b"x", flags).unwrap();
    }
    assert_eq!(b.drain(), [b"x", b"x", b"x"]);
    assert_eq!(b.lost(), 0);
}

/// `ALL_OR_FAIL` succeeds over a full lossy listener, which just misses.
fn lossy_is_never_full_for_all_or_fail() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_with("$.A", b"x", FAIL).unwrap();
    assert_eq!(b.drain(), [b"x"]);
    assert_eq!((lossy.drain(), lossy.lost()), (vec![b"fill".to_vec()], 1));
}

/// `ALL_OR_WAIT` does not wait for it.
fn lossy_is_never_full_for_all_or_wait() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_with("$.A", b"x", WAIT).unwrap();
    a.try_send_with("$.A", b"y", WAIT).unwrap();
    assert_eq!(b.drain(), [b"x", b"y"]);
    assert_eq!((lossy.drain(), lossy.lost()), (vec![b"fill".to_vec()], 2));
}

/// A sender never loses its `POLLOUT` over it.
fn lossy_never_makes_a_sender_unready() {
    let bus = fresh_bus();
    let _lossy = full_lossy(&bus, "$.A");
    let a = Sock::on(&bus);
    a.set_nonblocking();
    a.send_with("$.A", b"x", WAIT).unwrap();
    assert_eq!(a.poll(libc::POLLOUT, 0), libc::POLLOUT);
}

/// One's own full queue is no deadlock when it is lossy.
fn own_lossy_queue_is_no_deadlock() {
    let lossy = full_lossy(&fresh_bus(), "$.A");
    lossy.send_with("$.A", b"", WAIT).unwrap();
    assert_eq!((lossy.unread(), lossy.lost()), (1, 1));
}

/// What it misses is counted, and told by the next message.
fn lossy_misses_are_counted_and_told() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let a = Sock::on(&bus);
    for flags in [0, FAIL, WAIT, 0] {
        a.send_with("$.A", b"", flags).unwrap();
    }
    assert_eq!(lossy.lost(), 4);
    assert_eq!(lossy.recv().unwrap().info.lost, 0);
    a.send_to("$.A", b"x").unwrap();
    assert_eq!(lossy.recv().unwrap().info.lost, 4);
}

/// Full by its bytes it is never full either.
fn lossy_by_bytes_is_never_full() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.turn_on(uapi::KBUS_LOSSY);
    b.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    b.listen("$.A").unwrap();
    for flags in [FAIL, WAIT, FAIL] {
        a.send_with("$.A", &[1; 5000], flags).unwrap();
    }
    assert_eq!((b.unread(), b.lost()), (1, 2));
}

/// Another queue that is full counts as before.
fn lossy_does_not_hide_another_full_queue() {
    let bus = fresh_bus();
    let _lossy = full_lossy(&bus, "$.A");
    let _full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    fails!(EAGAIN, a.try_send_with("$.A", b"", WAIT));
}

/// What failed or did not wait was never sent: a lossy listener missed nothing.
fn lossy_misses_nothing_of_a_failed_send() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    fails!(EAGAIN, a.try_send_with("$.A", b"", WAIT));
    assert_eq!((lossy.lost(), full.lost()), (0, 0));
}

/// A lossy listener does not hinder a request.
fn lossy_listener_of_a_request() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    for flags in [ASK, ASK | FAIL, ASK | WAIT] {
        a.send_with("$.A", b"", flags).unwrap();
        b.reply(&b.recv().unwrap(), b"answer").unwrap();
        assert_eq!(a.drain(), [b"answer"]);
    }
    assert_eq!(lossy.lost(), 6);
}

/// Requests to a lossy socket as replier follow the ordinary rules.
fn lossy_replier_is_an_ordinary_replier() {
    let bus = fresh_bus();
    let lossy = full_replier(&bus, "$.A");
    lossy.turn_on(uapi::KBUS_LOSSY);
    let a = Sock::on(&bus);
    fails!(EBUSY, a.request("$.A", b""));
    fails!(EBUSY, a.send_with("$.A", b"", ASK | FAIL));
    fails!(EAGAIN, a.try_send_with("$.A", b"", ASK | WAIT));
    assert_eq!(lossy.lost(), 0);
    lossy.recv().unwrap();
    let id = a.request("$.A", b"").unwrap();
    drop(lossy);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
}

/// As replier it gets the request; as listener it misses the copy.
fn lossy_replier_that_listens_misses_the_copy() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.turn_on(uapi::KBUS_LOSSY);
    b.set_queue_len(1);
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    a.send_with("$.A", b"", ASK | FAIL).unwrap();
    assert!(b.recv().unwrap().must_reply());
    assert_eq!((b.unread(), b.lost()), (0, 1));
}

/// A merged copy that must be answered is the replier's: it is not missed.
fn lossy_once_replier_gets_its_request() {
    let bus = fresh_bus();
    let b = full_replier(&bus, "$.A");
    let a = Sock::on(&bus);
    b.turn_on(uapi::KBUS_LOSSY);
    b.turn_on(uapi::KBUS_ONCE);
    b.listen("$.A").unwrap();
    fails!(EBUSY, a.request("$.A", b""));
    fails!(EBUSY, a.send_with("$.A", b"", ASK | FAIL));
    assert_eq!(b.lost(), 0);
    b.recv().unwrap();
    a.request("$.A", b"").unwrap();
    assert!(b.recv().unwrap().must_reply());
    silent!(b);
}

/// A reply to a lossy requester has its reserved slot.
fn lossy_requester_gets_its_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.turn_on(uapi::KBUS_LOSSY);
    a.listen("$.News").unwrap();
    a.set_queue_len(1);
    let id = a.request("$.A", b"").unwrap();
    for _ in 0..3 {
        b.send_to("$.News", b"").unwrap();
    }
    assert_eq!((a.unread(), a.lost()), (0, 3));
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
    silent!(a);
}

/// Being lossy is no way round the reservation: `ENOBUFS`.
fn lossy_requester_reserves_like_any_other() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.turn_on(uapi::KBUS_LOSSY);
    a.set_queue_len(1);
    a.request("$.A", b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
}

/// And so has a status.
fn lossy_requester_gets_its_status() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.turn_on(uapi::KBUS_LOSSY);
    a.set_queue_len(1);
    let id = a.request("$.A", b"").unwrap();
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
}

/// Switched off, its full queue is full again.
fn unsetting_lossy_makes_it_full_again() {
    let bus = fresh_bus();
    let lossy = full_lossy(&bus, "$.A");
    let a = Sock::on(&bus);
    a.send_with("$.A", b"", FAIL).unwrap();
    lossy.turn_off(uapi::KBUS_LOSSY);
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    assert_eq!(lossy.lost(), 1);
}

/// A monitor: a lossy listener to everything.
fn snoop(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.turn_on(uapi::KBUS_LOSSY);
    sock.listen("$.*").unwrap();
    sock
}

/// A monitor on `$.*` sees announcements, requests and replies, in their order.
fn snoop_sees_everything_in_order() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let monitor = snoop(&bus);
    b.replier("$.Ask").unwrap();
    a.send_to("$.News.Today", b"1").unwrap();
    a.request("$.Ask", b"2").unwrap();
    b.send_to("$.Other", b"3").unwrap();
    b.reply(&b.recv().unwrap(), b"4").unwrap();
    a.send_with("$.News", b"5", FAIL | 0x0001_0000).unwrap();
    let mut seen = Vec::new();
    let mut last = 0;
    while let Ok(msg) = monitor.recv() {
        assert!(msg.info.id > last);
        assert_eq!(msg.info.lost, 0);
        last = msg.info.id;
        seen.push((msg.from, msg.data, msg.info.flags));
    }
    let want = [
        (a.sends_from("$.News.Today"), b"1".to_vec(), 0),
        (a.sends_from("$.Ask"), b"2".to_vec(), uapi::KBUS_REQUEST),
        (b.sends_from("$.Other"), b"3".to_vec(), 0),
        (b.sends_from("$.Ask"), b"4".to_vec(), uapi::KBUS_REPLY),
        (a.sends_from("$.News"), b"5".to_vec(), 0x0001_0000),
    ];
    assert_eq!(seen, want);
}

/// Statuses are for the requester only.
fn snoop_sees_no_statuses() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let monitor = snoop(&bus);
    b.replier("$.Ask").unwrap();
    let id = a.request("$.Ask", b"ask").unwrap();
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
    assert_eq!(monitor.drain(), [b"ask"]);
    assert_eq!(monitor.lost(), 0);
}

/// A monitor that never reads disturbs nobody, however they send.
fn overrun_snoop_disturbs_nobody() {
    let bus = fresh_bus();
    let monitor = snoop(&bus);
    monitor.set_queue_len(1);
    fill(&monitor);
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.Ask").unwrap();
    c.listen("$.News").unwrap();
    let before = monitor.lost();
    for n in 0..50_u8 {
        for flags in [0, FAIL, WAIT] {
            a.send_with("$.News", &[n], flags).unwrap();
            assert_eq!(c.recv().unwrap().data, [n]);
            let id = a.send_with("$.Ask", &[n], ASK | flags).unwrap();
            b.reply(&b.recv().unwrap(), &[n]).unwrap();
            assert_eq!(a.recv().unwrap().info.in_reply_to, id);
        }
    }
    assert_eq!((c.lost(), a.lost(), b.lost()), (0, 0, 0));
    assert_eq!((monitor.unread(), monitor.lost() - before), (1, 450));
    assert_eq!(a.bus_info().unwrap().bytes, 4);
}

/// With `KBUS_REPORT_LOST` it learns where the gap is.
fn overrun_snoop_is_told_where_the_gap_is() {
    let bus = fresh_bus();
    let monitor = snoop(&bus);
    monitor.turn_on(uapi::KBUS_REPORT_LOST);
    monitor.set_queue_len(2);
    let a = Sock::on(&bus);
    for data in [b"1", b"2", b"3", b"4"] {
        a.send_with("$.A", data, FAIL).unwrap();
    }
    let last = a.last_sent();
    assert_eq!(monitor.recv().unwrap().data, b"1");
    a.send_with("$.A", b"5", FAIL).unwrap();
    assert_eq!(monitor.recv().unwrap().data, b"2");
    let gap = monitor.recv().unwrap();
    assert_eq!((gap.name(), gap.info.lost), ("$.KBUS.Lost", 2));
    assert_eq!(gap.info.id, last);
    assert_eq!(monitor.recv().unwrap().data, b"5");
    silent!(monitor);
}

/// Once it reads it sees everything again.
fn snoop_that_reads_again_sees_again() {
    let bus = fresh_bus();
    let monitor = snoop(&bus);
    monitor.set_queue_len(3);
    let a = Sock::on(&bus);
    for _ in 0..10 {
        a.send_to("$.A", b"x").unwrap();
    }
    assert_eq!(monitor.drain().len(), 3);
    for n in 0..3 {
        a.send_to("$.A", b"y").unwrap();
        let msg = monitor.recv().unwrap();
        assert_eq!((&msg.data[..], msg.info.lost), (&b"y"[..], [7, 0, 0][n]));
    }
    assert_eq!(monitor.lost(), 7);
}
