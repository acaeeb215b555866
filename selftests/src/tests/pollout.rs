// SPDX-License-Identifier: GPL-2.0
//! `POLLOUT` after `EAGAIN`: when a send that could not wait may be tried again.

use kbus_selftests::process::Blocked;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

use super::blocked::listener;
use super::blocked::ASK;
use super::blocked::FAIL;
use super::blocked::WAIT;
use super::fails;
use super::fill;
use super::full_listener;
use super::full_replier;
use super::waiting::Epoll;

super::tests! {
    goes_off_and_on_again on_when_several_have_room ignores_queues_that_were_not_full
    on_when_the_target_unlistens on_when_the_target_closes on_when_the_target_shuts
    on_after_any_later_send stays_off_after_another_failure on_when_the_limit_is_raised
    waits_for_real_room wakes_up is_an_edge_for_epoll for_a_full_replier is_the_sender_s_own
}

fn pollout(sock: &Sock) -> bool {
    sock.poll(libc::POLLOUT, 0) == libc::POLLOUT
}

/// A sender that was told `EAGAIN` for `$.A`: its `POLLOUT` is off.
fn put_off(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    assert!(pollout(&sock));
    fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
    assert!(!pollout(&sock));
    sock
}

/// After `EAGAIN` `POLLOUT` is off until the queue that was full has room.
fn goes_off_and_on_again() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    full.peek().unwrap();
    assert!(!pollout(&sock));
    full.recv().unwrap();
    assert!(pollout(&sock));
    sock.try_send_with("$.A", b"w", WAIT).unwrap();
    assert!(pollout(&sock));
    assert_eq!(full.drain(), [b"w"]);
}

/// Of several that were full it is one that counts, before which the send cannot go: when all have
/// room it is on, in whatever order they got it, and the send goes.
fn on_when_several_have_room() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let bus = fresh_bus();
        let socks: Vec<Sock> = (0..3).map(|_| full_listener(&bus, "$.A")).collect();
        let sock = put_off(&bus);
        for at in &order[..2] {
            socks[*at].recv().unwrap();
            if pollout(&sock) {
                fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
                assert!(!pollout(&sock), "{order:?}");
            }
        }
        socks[order[2]].recv().unwrap();
        assert!(pollout(&sock), "{order:?}");
        sock.try_send_with("$.A", b"w", WAIT).unwrap();
    }
}

/// What happens to queues that were not among the full ones changes nothing.
fn ignores_queues_that_were_not_full() {
    let bus = fresh_bus();
    let _full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let elsewhere = full_listener(&bus, "$.B");
    let a = Sock::on(&bus);
    a.send_to("$.A", b"1").unwrap();
    let sock = put_off(&bus);
    free.recv().unwrap();
    elsewhere.recv().unwrap();
    drop(free);
    drop(elsewhere);
    assert!(!pollout(&sock));
}

/// It goes on when the target unlistens.
fn on_when_the_target_unlistens() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    full.unlisten("$.A").unwrap();
    assert!(pollout(&sock));
    sock.try_send_with("$.A", b"w", WAIT).unwrap();
}

/// When the target closes.
fn on_when_the_target_closes() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    drop(full);
    assert!(pollout(&sock));
}

/// When the target is shut for reading.
fn on_when_the_target_shuts() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    full.shutdown(libc::SHUT_RD).unwrap();
    assert!(pollout(&sock));
}

/// And after any later send.
fn on_after_any_later_send() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    sock.send_to("$.Elsewhere", b"").unwrap();
    assert!(pollout(&sock));
    fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
    assert!(!pollout(&sock));
    // To the same full queue, which misses it.
    sock.send_to("$.A", b"").unwrap();
    assert!(pollout(&sock));
    assert_eq!(full.lost(), 1);
}

/// Another `EAGAIN` leaves it off.
fn stays_off_after_another_failure() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    for _ in 0..3 {
        fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
        assert!(!pollout(&sock));
    }
    full.recv().unwrap();
    assert!(pollout(&sock));
}

/// Raising the target's limit is room.
fn on_when_the_limit_is_raised() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    full.set_queue_len(2);
    assert!(pollout(&sock));
}

/// A read that leaves the queue full is no room.
fn waits_for_real_room() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    for _ in 0..3 {
        full.send_to("$.A", b"").unwrap();
    }
    full.set_queue_len(2);
    let sock = put_off(&bus);
    full.recv().unwrap();
    assert!(!pollout(&sock));
    full.recv().unwrap();
    assert!(pollout(&sock));
}

/// A sleeping `poll()` for `POLLOUT` is woken by the read.
fn wakes_up() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = put_off(&bus);
    let poller = Blocked::in_call(|| Ok(sock.poll(libc::POLLOUT, 25_000) as u64));
    full.recv().unwrap();
    assert_eq!(poller.result(), Ok(libc::POLLOUT as u64));
}

/// Edge-triggered `epoll` reports `EPOLLOUT` each time that room appears.
fn is_an_edge_for_epoll() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    let epoll = Epoll::on(&sock, libc::EPOLLOUT | libc::EPOLLET);
    assert_eq!(epoll.wait(0), libc::EPOLLOUT);
    assert_eq!(epoll.wait(0), 0);
    for _ in 0..3 {
        fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
        assert_eq!(epoll.wait(0), 0);
        full.recv().unwrap();
        assert_eq!(epoll.wait(0), libc::EPOLLOUT);
        sock.try_send_with("$.A", b"w", WAIT).unwrap();
    }
}

/// A full replier turns it off and on in the same way.
fn for_a_full_replier() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sock = Sock::on(&bus);
    for close in [false, true] {
        fails!(EAGAIN, sock.try_send_with("$.A", b"w", ASK | WAIT));
        assert!(!pollout(&sock));
        match close {
            false => {
                full.recv().unwrap();
                assert!(pollout(&sock));
                fill(&full);
            }
            true => full.unreplier("$.A").unwrap(),
        }
    }
    assert!(pollout(&sock));
}

/// Only the socket that was put off is not ready; the target itself is.
fn is_the_sender_s_own() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let other = Sock::on(&bus);
    let _sock = put_off(&bus);
    assert!(pollout(&other));
    assert!(pollout(&full));
    // `EBUSY` is no reason to wait.
    fails!(EBUSY, other.send_with("$.A", b"", FAIL));
    assert!(pollout(&other));
}
