// SPDX-License-Identifier: GPL-2.0
//! `shutdown()`, in one direction and in both.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    read_side_drops_bindings read_side_answers_unread_requests
    read_side_keeps_what_needs_no_answer read_side_still_replies
    read_side_ends_the_guarantee write_side_fails_sends
    write_side_gives_up_repliers write_side_still_reads both_sides_hang_up
    one_side_does_not_hang_up write_side_stops_pollout bad_direction
}

fn pair() -> (Sock, Sock) {
    let bus = fresh_bus();
    (Sock::on(&bus), Sock::on(&bus))
}

/// `SHUT_RD`: bindings go and nothing more arrives.
fn read_side_drops_bindings() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    b.replier("$.A").unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    assert_eq!(a.bus_info().unwrap().bindings, 0);
    a.send_to("$.B", b"").unwrap();
    fails!(EADDRNOTAVAIL, a.request("$.A", b""));
    assert_eq!(b.recv().unwrap().len, 0);
    a.replier("$.A").unwrap();
}

/// Unread requests get GONE_AWAY.
fn read_side_answers_unread_requests() {
    let (a, b) = pair();
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"x").unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    let info = a.recv().unwrap().info;
    assert_eq!(info.in_reply_to, id);
    assert_eq!(info.error, uapi::KBUS_GONE_AWAY as i32);
    silent!(a);
}

/// What needs no answer can still be read, then reads return 0.
fn read_side_keeps_what_needs_no_answer() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    b.replier("$.A").unwrap();
    a.send_to("$.B", b"1").unwrap();
    a.request("$.A", b"2").unwrap();
    a.send_to("$.B", b"3").unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    assert_eq!(b.recv().unwrap().data, b"1");
    assert_eq!(b.recv().unwrap().data, b"3");
    for _ in 0..2 {
        assert_eq!(b.recv_wait().unwrap().len, 0);
    }
    assert_eq!(b.unread(), 0);
}

/// What was read before is still owed, and can be answered.
fn read_side_still_replies() {
    let (a, b) = pair();
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    silent!(a);
    b.reply(&request, b"x").unwrap();
    assert_eq!(a.recv().unwrap().data, b"x");
}

/// The guarantee ends for this socket's own requests: replies are dropped when
/// they come, a new request is `EPIPE`; announcements still go.
fn read_side_ends_the_guarantee() {
    let (a, b) = pair();
    b.replier("$.A").unwrap();
    b.listen("$.B").unwrap();
    a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    a.shutdown(libc::SHUT_RD).unwrap();
    // Its replier has done what it owes, and is not troubled.
    b.reply(&request, b"x").unwrap();
    assert_eq!(b.unreplied(), 0);
    assert_eq!(a.recv().unwrap().len, 0);
    assert_eq!(a.unread(), 0);
    fails!(EPIPE, a.request("$.A", b""));
    a.send_to("$.B", b"still").unwrap();
    assert_eq!(b.recv().unwrap().data, b"still");
}

/// `SHUT_WR`: sends fail with `EPIPE`, without a signal.
fn write_side_fails_sends() {
    let (a, b) = pair();
    b.replier("$.A").unwrap();
    a.shutdown(libc::SHUT_WR).unwrap();
    fails!(EPIPE, a.send_to("$.B", b""));
    fails!(EPIPE, a.request("$.A", b""));
    fails!(EPIPE, a.send_to("$.KBUS.B", b""));
    fails!(EBADMSG, a.send_to("B", b""));
    silent!(b);
}

/// Replier bindings go: UNBOUND for what is unread, IGNORED for what is owed.
fn write_side_gives_up_repliers() {
    let (a, b) = pair();
    b.replier("$.A").unwrap();
    let read = a.request("$.A", b"").unwrap();
    let unread = a.request("$.A", b"").unwrap();
    b.recv().unwrap();
    b.shutdown(libc::SHUT_WR).unwrap();
    let mut got: Vec<_> = (0..2)
        .map(|_| {
            let info = a.recv().unwrap().info;
            (info.in_reply_to, info.error as u32)
        })
        .collect();
    got.sort_unstable();
    assert_eq!(
        got,
        [(read, uapi::KBUS_IGNORED), (unread, uapi::KBUS_UNBOUND)]
    );
    silent!(a);
    assert_eq!((b.unread(), b.unreplied()), (0, 0));
    a.replier("$.A").unwrap();
}

/// Listening goes on.
fn write_side_still_reads() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    b.shutdown(libc::SHUT_WR).unwrap();
    a.send_to("$.B", b"x").unwrap();
    assert_eq!(b.recv().unwrap().data, b"x");
    silent!(b);
}

const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLHUP | libc::POLLERR;

/// `POLLHUP` when both are shut, `POLLERR` never.
fn both_sides_hang_up() {
    for steps in [
        &[libc::SHUT_RDWR][..],
        &[libc::SHUT_RD, libc::SHUT_WR],
        &[libc::SHUT_WR, libc::SHUT_RD],
    ] {
        let (a, _b) = pair();
        for how in steps {
            a.shutdown(*how).unwrap();
        }
        let seen = a.poll(ALL, 0);
        assert_eq!(seen & libc::POLLHUP, libc::POLLHUP);
        assert_eq!(seen & libc::POLLERR, 0);
        assert_eq!(a.recv_wait().unwrap().len, 0);
        fails!(EPIPE, a.send_to("$.A", b""));
    }
}

/// One side alone is no `POLLHUP`.
fn one_side_does_not_hang_up() {
    for how in [libc::SHUT_RD, libc::SHUT_WR] {
        let (a, _b) = pair();
        a.shutdown(how).unwrap();
        assert_eq!(a.poll(ALL, 0) & (libc::POLLHUP | libc::POLLERR), 0);
    }
}

/// `POLLOUT` stops with `SHUT_WR`; a shut reader is readable (end of file).
fn write_side_stops_pollout() {
    let (a, b) = pair();
    assert_eq!(a.poll(libc::POLLOUT, 0), libc::POLLOUT);
    a.shutdown(libc::SHUT_WR).unwrap();
    assert_eq!(a.poll(libc::POLLOUT, 0), 0);
    b.shutdown(libc::SHUT_RD).unwrap();
    assert_eq!(b.poll(libc::POLLIN | libc::POLLOUT, 0), 5);
}

/// There are three ways to shut down; another is `EINVAL`.
fn bad_direction() {
    let (a, _b) = pair();
    fails!(EINVAL, a.shutdown(3));
    fails!(EINVAL, a.shutdown(-1));
}
