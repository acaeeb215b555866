// SPDX-License-Identifier: GPL-2.0
//! What was missed: `lost`, `KBUS_LOST`, `SO_RXQ_OVFL`, `KBUS_REPORT_LOST`.

use kbus_selftests::process::Blocked;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::silent;

super::tests! {
    lost_is_0_without_a_gap lost_is_told_after_the_gap lost_is_told_once
    lost_is_counted_per_gap lost_counts_every_copy lost_is_shown_by_a_peek
    lost_is_told_by_a_reply lost_is_told_by_a_status lost_is_each_queue_s_own
    lost_of_a_removed_message_goes_to_the_next lost_of_the_last_message_stays_in_the_gap
    removed_messages_are_not_lost total_counts_for_ever total_cannot_be_set
    rxq_ovfl_tells_the_total rxq_ovfl_is_off_unless_set report_lost_is_off_unless_set
    report_is_an_empty_status_of_the_bus report_stands_before_what_follows_the_gap
    report_when_nothing_follows report_when_nothing_is_there_at_all
    report_of_each_gap report_makes_it_readable report_wakes_a_poll
    report_wakes_a_blocked_reader no_report_no_waking report_takes_no_slot
    report_is_not_unread report_has_next_length_0 peek_leaves_the_report
    report_is_read_before_new_messages report_after_switching_it_on
    no_report_after_switching_it_off report_leaves_the_total_alone
    report_is_nobody_else_s report_and_urgent_messages report_and_replies
    report_with_a_small_buffer
}

/// A sender, and a listener to `$.A` whose queue holds two messages.
fn pair() -> (Sock, Sock) {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.set_queue_len(2);
    (a, b)
}

fn send(sock: &Sock, count: usize) {
    for _ in 0..count {
        sock.send_to("$.A", b"x").unwrap();
    }
}

#[track_caller]
fn expect_lost(sock: &Sock, lost: u32) {
    assert_eq!(sock.recv().unwrap().info.lost, lost);
}

#[track_caller]
fn expect_report(msg: &Msg, lost: u32) {
    assert_eq!(
        (msg.name(), msg.info.lost),
        ("$.KBUS.Lost", lost),
        "{msg:?}"
    );
    assert_eq!(msg.info.flags, uapi::KBUS_STATUS);
}

/// Without a gap `lost` is 0.
fn lost_is_0_without_a_gap() {
    let (a, b) = pair();
    for _ in 0..5 {
        send(&a, 2);
        expect_lost(&b, 0);
        expect_lost(&b, 0);
    }
    assert_eq!(b.lost(), 0);
}

/// `lost` is how many were missed between the previous message of the queue and
/// this one.
fn lost_is_told_after_the_gap() {
    let (a, b) = pair();
    send(&a, 5);
    expect_lost(&b, 0);
    send(&a, 1);
    expect_lost(&b, 0);
    expect_lost(&b, 3);
}

/// And it is told by that one message only.
fn lost_is_told_once() {
    let (a, b) = pair();
    send(&a, 3);
    expect_lost(&b, 0);
    expect_lost(&b, 0);
    send(&a, 2);
    expect_lost(&b, 1);
    expect_lost(&b, 0);
}

/// Each gap has its own number.
fn lost_is_counted_per_gap() {
    let (a, b) = pair();
    send(&a, 2);
    for gap in 1..6 {
        send(&a, gap as usize);
        b.recv().unwrap();
        b.recv().unwrap();
        send(&a, 2);
        assert_eq!(b.peek().unwrap().info.lost, gap);
    }
    assert_eq!(b.lost(), 15);
}

/// Every copy that did not fit counts.
fn lost_counts_every_copy() {
    let (a, b) = pair();
    b.listen("$.*").unwrap();
    b.listen("$.A").unwrap();
    send(&a, 2);
    assert_eq!(b.lost(), 1 + 3);
}

/// A peek shows it, and leaves it there.
fn lost_is_shown_by_a_peek() {
    let (a, b) = pair();
    send(&a, 4);
    b.drain();
    send(&a, 1);
    for _ in 0..3 {
        assert_eq!(b.peek().unwrap().info.lost, 2);
    }
    expect_lost(&b, 2);
}

/// A requester with one slot, reserved, that has missed two messages.
fn asked() -> (Sock, Sock) {
    let (b, a) = pair();
    a.set_queue_len(1);
    b.replier("$.Ask").unwrap();
    a.request("$.Ask", b"").unwrap();
    send(&b, 2);
    assert_eq!((a.unread(), a.lost()), (0, 2));
    (a, b)
}

/// A reply after a gap tells it.
fn lost_is_told_by_a_reply() {
    let (a, b) = asked();
    b.reply(&b.recv().unwrap(), b"").unwrap();
    let reply = a.recv().unwrap();
    assert!(reply.is(uapi::KBUS_REPLY));
    assert_eq!(reply.info.lost, 2);
}

/// And so does a status.
fn lost_is_told_by_a_status() {
    let (a, b) = asked();
    drop(b);
    let status = a.recv().unwrap();
    assert!(status.is(uapi::KBUS_STATUS));
    assert_eq!(status.info.error, uapi::KBUS_GONE_AWAY as i32);
    assert_eq!(status.info.lost, 2);
}

/// Who had room has missed nothing.
fn lost_is_each_queue_s_own() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    c.listen("$.A").unwrap();
    b.set_queue_len(2);
    send(&a, 5);
    assert_eq!((b.lost(), c.lost(), a.lost()), (3, 0, 0));
    for _ in 0..5 {
        expect_lost(&c, 0);
    }
}

/// When unbinding removes a message, the next one left tells its `lost`.
fn lost_of_a_removed_message_goes_to_the_next() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    a.send_to("$.B", b"1").unwrap();
    a.send_to("$.B", b"2").unwrap();
    a.send_to("$.A", b"missed").unwrap();
    b.recv().unwrap();
    a.send_to("$.B", b"3").unwrap();
    b.recv().unwrap();
    a.send_to("$.A", b"4").unwrap();
    b.unlisten("$.B").unwrap();
    let msg = b.recv().unwrap();
    assert_eq!((&msg.data[..], msg.info.lost), (&b"4"[..], 1));
    silent!(b);
}

/// If none is left, the next one that comes tells it.
fn lost_of_the_last_message_stays_in_the_gap() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    send(&a, 3);
    b.drain();
    a.send_to("$.B", b"1").unwrap();
    b.unlisten("$.B").unwrap();
    silent!(b);
    send(&a, 1);
    expect_lost(&b, 1);
}

/// What unbinding removed is not among the missed.
fn removed_messages_are_not_lost() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    a.send_to("$.B", b"").unwrap();
    b.unlisten("$.B").unwrap();
    assert_eq!(b.lost(), 0);
    send(&a, 1);
    expect_lost(&b, 0);
}

/// `KBUS_LOST` counts all that was ever missed.
fn total_counts_for_ever() {
    let (a, b) = pair();
    for round in 1..5 {
        send(&a, 4);
        assert_eq!(b.lost(), round * 2);
        b.drain();
        assert_eq!(b.lost(), round * 2);
    }
}

/// It cannot be set.
fn total_cannot_be_set() {
    let (a, b) = pair();
    send(&a, 3);
    assert!(b.set_u64(uapi::KBUS_LOST, 0).is_err());
    assert_eq!(b.lost(), 1);
}

/// `SO_RXQ_OVFL` attaches the total to what is read.
fn rxq_ovfl_tells_the_total() {
    let (a, b) = pair();
    b.set_socket(libc::SO_RXQ_OVFL, 1).unwrap();
    assert_eq!(b.get_socket(libc::SO_RXQ_OVFL), Ok(1));
    for total in [3_u32, 6] {
        send(&a, 5);
        b.drain();
        send(&a, 1);
        let msg = b.recv().unwrap();
        let got = msg.cmsg(libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
        assert_eq!(got, Some(&total.to_ne_bytes()[..]));
        assert_eq!(msg.info.lost, 3);
    }
}

/// By default it is not attached.
fn rxq_ovfl_is_off_unless_set() {
    let (a, b) = pair();
    send(&a, 5);
    b.drain();
    send(&a, 1);
    let msg = b.recv().unwrap();
    assert_eq!(msg.cmsg(libc::SOL_SOCKET, libc::SO_RXQ_OVFL), None);
}

/// `KBUS_REPORT_LOST` is 0 by default: nothing is reported.
fn report_lost_is_off_unless_set() {
    let (a, b) = pair();
    assert_eq!(b.get_u32(uapi::KBUS_REPORT_LOST), Ok(0));
    send(&a, 3);
    assert_eq!(b.drain().len(), 2);
    b.turn_on(uapi::KBUS_REPORT_LOST);
    assert_eq!(b.get_u32(uapi::KBUS_REPORT_LOST), Ok(1));
    b.turn_off(uapi::KBUS_REPORT_LOST);
    assert_eq!(b.get_u32(uapi::KBUS_REPORT_LOST), Ok(0));
}

/// A pair in which gaps are reported.
fn reported() -> (Sock, Sock) {
    let (a, b) = pair();
    b.turn_on(uapi::KBUS_REPORT_LOST);
    (a, b)
}

/// The report is `$.KBUS.Lost`, empty, from the bus, marked as a status alone.
fn report_is_an_empty_status_of_the_bus() {
    let (a, b) = reported();
    send(&a, 4);
    let last = a.last_sent();
    b.recv().unwrap();
    b.recv().unwrap();
    let report = b.recv().unwrap();
    expect_report(&report, 2);
    assert_eq!(report.from, "$.KBUS.Lost@0");
    assert_eq!((report.len, report.info.len), (0, 0));
    let info = report.info;
    assert_eq!((info.sender, info.to, info.error), (0, 0, 0));
    assert_eq!((info.in_reply_to, info.cookie), (0, 0));
    // Its place in the order is that of the last message missed.
    assert_eq!(info.id, last);
}

/// It stands where the gap is, and the message after it says `lost` 0.
fn report_stands_before_what_follows_the_gap() {
    let (a, b) = reported();
    send(&a, 5);
    expect_lost(&b, 0);
    send(&a, 1);
    expect_lost(&b, 0);
    expect_report(&b.recv().unwrap(), 3);
    let next = b.recv().unwrap();
    assert_eq!((next.name(), next.info.lost), ("$.A", 0));
    silent!(b);
}

/// It is told also when nothing follows the gap.
fn report_when_nothing_follows() {
    let (a, b) = reported();
    send(&a, 5);
    expect_lost(&b, 0);
    expect_lost(&b, 0);
    expect_report(&b.recv().unwrap(), 3);
    silent!(b);
    send(&a, 1);
    expect_lost(&b, 0);
    silent!(b);
}

/// Even when no message waits: slots may be reserved, and the queue full.
fn report_when_nothing_is_there_at_all() {
    let (a, b) = asked();
    a.turn_on(uapi::KBUS_REPORT_LOST);
    expect_report(&a.recv().unwrap(), 2);
    silent!(a);
    send(&b, 1);
    expect_report(&a.recv().unwrap(), 1);
    silent!(a);
}

/// Each gap is reported at its own place.
fn report_of_each_gap() {
    let (a, b) = reported();
    send(&a, 2);
    for gap in 1..5 {
        send(&a, gap as usize);
        expect_lost(&b, 0);
        expect_lost(&b, 0);
        expect_report(&b.recv().unwrap(), gap);
        send(&a, 2);
    }
}

/// It makes the socket readable: `POLLIN` until it is read.
fn report_makes_it_readable() {
    let (a, b) = asked();
    assert_eq!(a.poll(libc::POLLIN, 0), 0);
    a.turn_on(uapi::KBUS_REPORT_LOST);
    for _ in 0..2 {
        assert_eq!(a.poll(libc::POLLIN | libc::POLLPRI, 0), libc::POLLIN);
        a.peek().unwrap();
    }
    a.recv().unwrap();
    assert_eq!(a.poll(libc::POLLIN, 0), 0);
    send(&b, 1);
    assert_eq!(a.poll(libc::POLLIN, 0), libc::POLLIN);
}

/// A sleeping `poll()` is woken by a gap.
fn report_wakes_a_poll() {
    let (a, b) = asked();
    a.turn_on(uapi::KBUS_REPORT_LOST);
    a.recv().unwrap();
    let poller = Blocked::in_call(|| Ok(a.poll(libc::POLLIN, 25_000) as u64));
    send(&b, 1);
    assert_eq!(poller.result(), Ok(libc::POLLIN as u64));
}

/// And so is a blocked reader.
fn report_wakes_a_blocked_reader() {
    let (a, b) = asked();
    a.turn_on(uapi::KBUS_REPORT_LOST);
    a.recv().unwrap();
    let reader = Blocked::in_call(|| {
        let report = a.recv_wait()?;
        expect_report(&report, 1);
        Ok(report.info.id)
    });
    send(&b, 1);
    assert_eq!(reader.result(), Ok(b.last_sent()));
}

/// Without `KBUS_REPORT_LOST` a gap is nothing to read.
fn no_report_no_waking() {
    let (a, _b) = asked();
    assert_eq!(a.poll(libc::POLLIN, 50), 0);
    silent!(a);
    assert_eq!(a.next_len(), -1);
}

/// It takes no slot: the queue holds as many messages as ever.
fn report_takes_no_slot() {
    let (a, b) = reported();
    send(&a, 3);
    b.recv().unwrap();
    send(&a, 1);
    assert_eq!((b.unread(), b.lost()), (2, 1));
    expect_lost(&b, 0);
    expect_report(&b.recv().unwrap(), 1);
    // Only the one after the gap is left.
    send(&a, 1);
    assert_eq!((b.unread(), b.lost()), (2, 1));
}

/// It is not counted in `KBUS_UNREAD`.
fn report_is_not_unread() {
    let (a, b) = reported();
    send(&a, 5);
    for left in [2, 1, 0] {
        assert_eq!(b.unread(), left);
        b.recv().unwrap();
    }
    assert_eq!(b.unread(), 0);
    silent!(b);
}

/// Its payload is empty: `KBUS_NEXT_LEN` and `FIONREAD` are 0.
fn report_has_next_length_0() {
    let (a, b) = reported();
    send(&a, 3);
    b.recv().unwrap();
    b.recv().unwrap();
    assert_eq!((b.next_len(), b.fionread()), (0, Ok(0)));
    a.send_to("$.A", b"12345").unwrap();
    assert_eq!((b.next_len(), b.fionread()), (0, Ok(0)));
    b.recv().unwrap();
    assert_eq!((b.next_len(), b.fionread()), (5, Ok(5)));
    b.recv().unwrap();
    assert_eq!(b.next_len(), -1);
}

/// A peek sees it and leaves it.
fn peek_leaves_the_report() {
    let (a, b) = reported();
    send(&a, 4);
    b.recv().unwrap();
    b.recv().unwrap();
    let id = a.last_sent();
    for _ in 0..3 {
        let report = b.peek().unwrap();
        expect_report(&report, 2);
        assert_eq!(report.info.id, id);
    }
    expect_report(&b.recv().unwrap(), 2);
    silent!(b);
    // The same with a message behind it.
    send(&a, 3);
    b.recv().unwrap();
    send(&a, 1);
    b.recv().unwrap();
    for _ in 0..3 {
        expect_report(&b.peek().unwrap(), 1);
    }
    expect_report(&b.recv().unwrap(), 1);
    assert_eq!(b.recv().unwrap().name(), "$.A");
    silent!(b);
}

/// A gap at the end that grows is one gap until it is read.
fn report_is_read_before_new_messages() {
    let (a, b) = reported();
    send(&a, 3);
    send(&a, 3);
    b.recv().unwrap();
    b.recv().unwrap();
    expect_report(&b.peek().unwrap(), 4);
    a.send_to("$.A", b"new").unwrap();
    expect_report(&b.recv().unwrap(), 4);
    let msg = b.recv().unwrap();
    assert_eq!((&msg.data[..], msg.info.lost), (&b"new"[..], 0));
}

/// Switched on, it reports also the gaps that are there already.
fn report_after_switching_it_on() {
    let (a, b) = pair();
    send(&a, 3);
    b.recv().unwrap();
    send(&a, 1);
    b.turn_on(uapi::KBUS_REPORT_LOST);
    expect_lost(&b, 0);
    expect_report(&b.recv().unwrap(), 1);
    expect_lost(&b, 0);
    silent!(b);
}

/// Switched off before it was read, the next message tells the gap.
fn no_report_after_switching_it_off() {
    let (a, b) = reported();
    send(&a, 4);
    b.recv().unwrap();
    b.recv().unwrap();
    expect_report(&b.peek().unwrap(), 2);
    b.turn_off(uapi::KBUS_REPORT_LOST);
    silent!(b);
    send(&a, 1);
    expect_lost(&b, 2);
}

/// Reading the report takes nothing from `KBUS_LOST`, and adds nothing.
fn report_leaves_the_total_alone() {
    let (a, b) = reported();
    send(&a, 4);
    b.drain();
    assert_eq!(b.lost(), 2);
}

/// It is no message of the bus: whoever listens to that name gets none.
fn report_is_nobody_else_s() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    c.listen("$.KBUS.Lost").unwrap();
    c.listen("$.KBUS.*").unwrap();
    b.turn_on(uapi::KBUS_REPORT_LOST);
    b.listen("$.A").unwrap();
    b.listen("$.KBUS.Lost").unwrap();
    b.set_queue_len(1);
    send(&a, 3);
    b.recv().unwrap();
    expect_report(&b.recv().unwrap(), 2);
    silent!(b);
    silent!(c);
}

/// An urgent message is read before it; the gap's place is behind.
fn report_and_urgent_messages() {
    let (a, b) = reported();
    send(&a, 3);
    b.recv().unwrap();
    a.send_with("$.A", b"now", uapi::KBUS_URGENT).unwrap();
    let msg = b.recv().unwrap();
    assert_eq!((&msg.data[..], msg.info.lost), (&b"now"[..], 0));
    assert_eq!(b.recv().unwrap().name(), "$.A");
    expect_report(&b.recv().unwrap(), 1);
    silent!(b);
}

/// A reply after a gap is read after the report.
fn report_and_replies() {
    let (a, b) = asked();
    a.turn_on(uapi::KBUS_REPORT_LOST);
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    expect_report(&a.recv().unwrap(), 2);
    let reply = a.recv().unwrap();
    assert_eq!((&reply.data[..], reply.info.lost), (&b"answer"[..], 0));
    assert!(reply.is(uapi::KBUS_REPLY));
}

/// A read without any room takes it, as it does any empty message.
fn report_with_a_small_buffer() {
    let (a, b) = reported();
    send(&a, 3);
    b.recv().unwrap();
    b.recv().unwrap();
    let report = b
        .recv_with(RecvOptions {
            room: 0,
            ..RecvOptions::default()
        })
        .unwrap();
    expect_report(&report, 1);
    assert_eq!(report.flags & libc::MSG_TRUNC, 0);
    silent!(b);
}
