// SPDX-License-Identifier: GPL-2.0
//! Sends that wait, several at once: which of them goes first.

use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

use super::blocked::listener;
use super::blocked::waiter;
use super::blocked::WAIT;
use super::full_listener;

super::tests! {
    waiter_with_a_full_queue_is_passed_over all_waiters_go_when_all_is_read many_waiters_lose_nothing
}

// Each waiter also tries again from time to time, and may find room that another one was woken for.
super::timed! { oldest_goes_first two_waiters_on_one_socket }

/// Of several that wait for one queue the oldest is woken first.
fn oldest_goes_first() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiters: Vec<Blocked> = [b"1", b"2", b"3", b"4"]
        .iter()
        .map(|data| waiter(&bus, *data))
        .collect();
    assert_eq!(full.recv().unwrap().data, b"fill");
    for data in [b"1", b"2", b"3", b"4"] {
        assert_eq!(full.recv_wait().unwrap().data, data);
    }
    for waiter in waiters {
        waiter.result().unwrap();
    }
}

/// A waiter whose set still has a full queue is passed over by younger ones.
fn waiter_with_a_full_queue_is_passed_over() {
    let bus = fresh_bus();
    let (x, y) = (full_listener(&bus, "$.A"), full_listener(&bus, "$.A"));
    x.listen("$.B").unwrap();
    let both = waiter(&bus, b"both");
    let one = Blocked::in_call(|| Sock::on(&bus).send_with("$.B", b"one", WAIT));
    x.recv().unwrap();
    one.result().unwrap();
    assert_eq!(x.recv().unwrap().data, b"one");
    assert!(!both.is_over());
    y.recv().unwrap();
    both.result().unwrap();
    assert_eq!(x.drain(), [b"both"]);
    assert_eq!(y.drain(), [b"both"]);
}

/// Two processes may wait on one socket.
fn two_waiters_on_one_socket() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    let first = Blocked::in_call(|| sock.send_with("$.A", b"1", WAIT));
    let second = Blocked::in_call(|| sock.send_with("$.A", b"2", WAIT));
    full.recv().unwrap();
    assert_eq!(full.recv_wait().unwrap().data, b"1");
    assert_eq!(full.recv_wait().unwrap().data, b"2");
    first.result().unwrap();
    second.result().unwrap();
}

/// One event that makes room for several lets them all go, in whatever order.
fn all_waiters_go_when_all_is_read() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiters: Vec<Blocked> = [b"1", b"2", b"3"]
        .iter()
        .map(|data| waiter(&bus, *data))
        .collect();
    full.set_queue_len(4);
    for waiter in waiters {
        waiter.result().unwrap();
    }
    let mut got = full.drain();
    got.sort();
    let want = [b"1".to_vec(), b"2".into(), b"3".into(), b"fill".into()];
    assert_eq!(got, want);
}

/// Nothing that many waiting senders send to small queues is lost.
fn many_waiters_lose_nothing() {
    const EACH: u8 = 40;
    let bus = fresh_bus();
    let readers: Vec<Sock> = (1..4)
        .map(|len| {
            let sock = listener(&bus, "$.A");
            sock.set_queue_len(len);
            sock
        })
        .collect();
    let senders: Vec<Child> = (0..4)
        .map(|who| {
            Child::fork(|| {
                let sock = Sock::on(&bus);
                for n in 0..EACH {
                    sock.send_with("$.A", &[who, n], WAIT).unwrap();
                }
            })
        })
        .collect();
    let mut last = [0; 3];
    let mut next = [[0; 4]; 3];
    for _ in 0..4 * usize::from(EACH) {
        for (n, sock) in readers.iter().enumerate() {
            let msg = sock.recv_wait().unwrap();
            let (who, count) = (usize::from(msg.data[0]), msg.data[1]);
            assert_eq!(count, next[n][who], "the order of one sender");
            next[n][who] += 1;
            assert!(msg.info.id > last[n], "the order of ids");
            assert_eq!(msg.info.lost, 0);
            last[n] = msg.info.id;
        }
    }
    senders.into_iter().for_each(Child::join);
    assert!(next.iter().flatten().all(|count| *count == EACH));
}
