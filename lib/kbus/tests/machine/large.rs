// SPDX-License-Identifier: MIT OR Apache-2.0
//! Payloads of all lengths.

use std::thread;

use kbus::ErrorKind;
use kbus::Socket;

use crate::LONG;
use crate::announcement;
use crate::fresh;
use crate::sockets;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Whatever its length, a payload comes whole.
#[test]
#[ignore = "for the machine"]
fn no_payload_is_cut_off() {
    let [sender, listener] = sockets();
    sender.set_max_message(16 << 20).unwrap();
    listener.listen("$.A").unwrap();
    for len in [
        0,
        1,
        4095,
        4096,
        65535,
        65536,
        65537,
        1 << 20,
        (16 << 20) - 1,
        16 << 20,
        3,
    ] {
        sender.announce("$.A", bytes(len)).unwrap();
        assert_eq!(listener.next_len().unwrap(), Some(len));
        let payload = announcement(&listener).into_payload();
        assert!(payload == bytes(len), "{len} became {}", payload.len());
    }
}

/// An urgent message that is longer than the one it overtakes comes whole too.
#[test]
#[ignore = "for the machine"]
fn an_urgent_one_is_not_cut_off() {
    let [sender, listener] = sockets();
    sender.set_max_message(16 << 20).unwrap();
    listener.listen("$.A").unwrap();
    sender.announce("$.A", b"short").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                sender
                    .to("$.A")
                    .unwrap()
                    .urgent()
                    .all_or_wait()
                    .announce(bytes(200_000))
                    .unwrap();
                sender
                    .to("$.A")
                    .unwrap()
                    .all_or_wait()
                    .announce(b"short")
                    .unwrap();
            }
        });
        for _ in 0..81 {
            let received = listener.recv().unwrap();
            let message = received.message().unwrap();
            let len = if message.is_urgent() { 200_000 } else { 5 };
            assert_eq!(message.payload().len(), len);
        }
    });
}

/// A payload above the bus's limit is refused, until the owner raises the limit.
#[test]
#[ignore = "for the machine"]
fn the_owner_raises_the_limit() {
    let [sender, listener] = sockets();
    listener.listen("$.A").unwrap();
    let payload = bytes(5 << 20);
    let error = sender.announce("$.A", &payload).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::TooLong, Some(libc::EMSGSIZE))
    );
    sender.set_max_message(5 << 20).unwrap();
    sender.announce("$.A", &payload).unwrap();
    assert!(announcement(&listener).payload() == payload);
}

/// A call whose reply is long reserves room for it.
#[test]
#[ignore = "for the machine"]
fn a_long_reply_has_its_room() {
    let bus = fresh();
    let service = Socket::open(&bus).unwrap();
    service.set_max_message(8 << 20).unwrap();
    service.become_replier("$.A").unwrap();
    thread::spawn(move || service.serve_bound(|_| bytes(8 << 20)));
    let client = Socket::options().reply_max(8 << 20).open(&bus).unwrap();
    assert!(client.call("$.A", b"", LONG).unwrap().payload() == bytes(8 << 20));
}

/// Reads of many threads, each with a payload of another length, mix nothing up.
#[test]
#[ignore = "for the machine"]
fn threads_read_whole_payloads() {
    let [sender, listener] = sockets();
    listener.listen("$.A").unwrap();
    let count = 400;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    loop {
                        let received = listener.recv().unwrap();
                        let message = received.message().unwrap();
                        if message.payload().is_empty() {
                            return seen;
                        }
                        assert!(message.payload() == bytes(message.user_bits().into()));
                        seen += 1;
                    }
                })
            })
            .collect();
        for number in 1..=count {
            let len = number * 97 % 30_000 + 1;
            let out = sender
                .to("$.A")
                .unwrap()
                .all_or_wait()
                .user_bits(len as u16);
            out.announce(bytes(len)).unwrap();
        }
        for _ in 0..4 {
            sender
                .to("$.A")
                .unwrap()
                .all_or_wait()
                .announce(b"")
                .unwrap();
        }
        let seen: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert_eq!(seen, count);
    });
}
