// SPDX-License-Identifier: MIT OR Apache-2.0
//! Full queues.

use std::thread;
use std::time::Duration;

use kbus::ErrorKind;
use kbus::Socket;

use crate::announcement;
use crate::nothing;
use crate::sockets;

fn full<const N: usize>() -> [Socket; N] {
    let all = sockets();
    for listener in &all[1..] {
        listener.listen("$.A").unwrap();
    }
    all[1].set_queue_len(1).unwrap();
    all[0].announce("$.A", b"0").unwrap();
    all
}

/// A message for all or nobody reaches nobody if one queue is full.
#[test]
#[ignore = "for the machine"]
fn all_or_fail_fails() {
    let [sender, full, other] = full();
    announcement(&other);
    let error = sender
        .to("$.A")
        .unwrap()
        .all_or_fail()
        .announce(b"1")
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::QueueFull, Some(libc::EBUSY))
    );
    nothing(&other);
    announcement(&full);
    sender
        .to("$.A")
        .unwrap()
        .all_or_fail()
        .announce(b"1")
        .unwrap();
    assert_eq!(announcement(&other).payload(), b"1");
}

/// A lossy listener that is full is nobody's failure.
#[test]
#[ignore = "for the machine"]
fn a_lossy_listener_is_never_full() {
    let [sender] = sockets();
    let monitor = Socket::options()
        .lossy(true)
        .queue_len(1)
        .open(sender.bus())
        .unwrap();
    monitor.listen("$.*").unwrap();
    for _ in 0..3 {
        sender
            .to("$.A")
            .unwrap()
            .all_or_fail()
            .announce(b"")
            .unwrap();
    }
    assert_eq!(monitor.lost().unwrap(), 2);
}

/// One that waits goes when there is room, and reaches all.
#[test]
#[ignore = "for the machine"]
fn all_or_wait_waits() {
    let [sender, full, other] = full();
    let waiting = thread::spawn(move || {
        for number in 1..20 {
            sender
                .to("$.A")
                .unwrap()
                .all_or_wait()
                .announce([number])
                .unwrap();
        }
    });
    assert_eq!(announcement(&full).payload(), b"0");
    for number in 1..20 {
        let received = full.recv().unwrap();
        assert_eq!(received.message().unwrap().payload(), [number]);
    }
    waiting.join().unwrap();
    assert_eq!(other.unread().unwrap(), 20);
    assert_eq!(full.lost().unwrap(), 0);
}

/// A wait ends with the write timeout; one that must not wait, or waits for its own queue, fails at
/// once.
#[test]
#[ignore = "for the machine"]
fn a_wait_can_be_limited() {
    let [sender, full] = full();
    sender.set_write_timeout(Duration::from_millis(20)).unwrap();
    let send = |socket: &Socket| {
        let sent = socket.to("$.A").unwrap().all_or_wait().announce(b"1");
        sent.unwrap_err().kind()
    };
    assert_eq!(send(&sender), ErrorKind::TimedOut);
    sender.set_write_timeout(None).unwrap();
    sender.set_nonblocking(true).unwrap();
    assert_eq!(send(&sender), ErrorKind::WouldBlock);
    assert_eq!(send(&full), ErrorKind::Deadlock);
    announcement(&full);
    nothing(&full);
}

/// While one thread waits for room, others send, ask and answer on the same socket.
#[test]
#[ignore = "for the machine"]
fn a_wait_holds_no_other_thread_up() {
    let [sender, full, other] = full();
    announcement(&other);
    other.unlisten("$.A").unwrap();
    other.become_replier("$.B").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.to("$.A").unwrap().all_or_wait().announce(b"1"));
        for _ in 0..50 {
            let id = sender.request("$.B", b"").unwrap();
            crate::request(&other).reply(b"").unwrap();
            assert_eq!(crate::reply(&sender).in_reply_to(), Some(id));
        }
        announcement(&full);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(announcement(&full).payload(), b"1");
}
