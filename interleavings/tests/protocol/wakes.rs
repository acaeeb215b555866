// SPDX-License-Identifier: GPL-2.0

//! Who must be woken up is.

use crate::explore;
use crate::with;
use kbus_interleavings::*;
use kbus_uapi::*;
use std::sync::Arc;

/// I15: two senders wake the same two readers; each reader is on two lists, perhaps at once.
#[test]
fn two_senders_wake_the_same_readers() {
    explore(|net| {
        let readers =
            ["$.a", "$.b"].map(|_| Arc::new(net.socket().listens("$.a", 9).listens("$.b", 9)));
        let reads = readers.each_ref().map(|reader| {
            with(reader, |s| {
                let mut got = [0, 1].map(|_| s.receive().unwrap().unwrap().text);
                got.sort();
                got
            })
        });
        let sends = ["$.a", "$.b"].map(|name| {
            let sender = Arc::new(net.socket());
            with(&sender, move |s| s.send(name, 0, name).unwrap())
        });
        for send in sends {
            send.join().unwrap();
        }
        for read in reads {
            assert_eq!(read.join().unwrap(), ["$.a", "$.b"]);
        }
        readers[0].is_quiet();
        readers[1].is_quiet();
    });
}

/// I14: the same for readers who poll.
#[test]
fn two_senders_wake_a_poller() {
    explore(|net| {
        let reader = Arc::new(net.socket().listens("$.a", 9));
        let read = with(&reader, |s| {
            for _ in 0..2 {
                s.until_readable();
                assert!(s.receive_now().is_some());
            }
        });
        let sends = [0, 1].map(|_| {
            let sender = Arc::new(net.socket());
            with(&sender, |s| s.send("$.a", 0, "").unwrap())
        });
        for send in sends {
            send.join().unwrap();
        }
        read.join().unwrap();
        reader.is_quiet();
    });
}

/// W22, I15: a socket that is woken up for two reasons at once learns of both.
#[test]
fn woken_up_to_read_and_to_send() {
    explore(|net| {
        let full = Arc::new(net.socket().listens("$.a", 1));
        let socket = Arc::new(net.socket().listens("$.b", 9));
        let other = Arc::new(net.socket());
        other.send("$.a", 0, "first").unwrap();
        let send = with(&socket, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all").unwrap());
        let read = with(&socket, |s| s.receive().unwrap().unwrap().text);
        let make_room = with(&full, |s| s.receive().unwrap().unwrap().text);
        let tell = with(&other, |s| s.send("$.b", 0, "news").unwrap());
        send.join().unwrap();
        tell.join().unwrap();
        assert_eq!(read.join().unwrap(), "news");
        assert_eq!(make_room.join().unwrap(), "first");
        assert_eq!(full.receive_now().unwrap().text, "all");
        full.is_quiet();
    });
}

/// H11: shutting a socket wakes its readers, who sleep or poll.
#[test]
fn shutting_wakes_readers() {
    explore(|net| {
        let socket = Arc::new(net.socket().listens("$.a", 9));
        let sleeps = [0, 1].map(|_| with(&socket, |s| s.receive().unwrap().is_none()));
        let polls = with(&socket, Socket::until_readable);
        let shut = with(&socket, |s| s.shut(true, false).unwrap());
        shut.join().unwrap();
        for sleep in sleeps {
            assert!(sleep.join().unwrap(), "the end");
        }
        polls.join().unwrap();
        socket.is_quiet();
    });
}

/// F35: a gap that is to be told wakes a reader.
#[test]
fn a_gap_wakes_a_reader() {
    explore(|net| {
        let reader = Arc::new(net.socket().listens("$.a", 1));
        let sender = Arc::new(net.socket());
        let read = with(&reader, |s| {
            assert_eq!(s.receive().unwrap().unwrap().text, "");
            s.receive().unwrap().unwrap().flags & KBUS_STATUS
        });
        let tell = with(&reader, |s| s.set_number(KBUS_REPORT_LOST, 1).unwrap());
        let send = with(&sender, |s| {
            s.send("$.a", 0, "").unwrap();
            s.send("$.a", 0, "").unwrap();
        });
        send.join().unwrap();
        tell.join().unwrap();
        // The second one was missed, or is there.
        let lost = reader.lost();
        assert_eq!(read.join().unwrap() != 0, lost > 0);
        reader.is_quiet();
    });
}

/// F35: a gap that a send has for a moment, which fails in the end, wakes a reader who has come in that moment. The send
/// may take several holds of the bus lock.
#[test]
fn a_gap_that_a_failing_send_had_wakes_a_reader() {
    for others in [0, 5] {
        explore(move |net| {
            let reader = Arc::new(net.socket().listens("$.a", 1));
            reader.set_number(KBUS_REPORT_LOST, 1).unwrap();
            let others: Vec<_> = (0..others)
                .map(|_| net.socket().listens("$.a", 9))
                .collect();
            let full = net.socket().listens("$.a", 1);
            let sender = Arc::new(net.socket());
            sender.send("$.a", 0, "first").unwrap();
            sender.send("$.a", 0, "missed").unwrap();
            assert_eq!(reader.receive_now().unwrap().text, "first");
            let read = with(&reader, |s| s.receive().unwrap().unwrap().flags);
            let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_FAIL, "all"));
            assert_eq!(send.join().unwrap(), Err(EBUSY));
            assert_eq!(read.join().unwrap() & KBUS_STATUS, KBUS_STATUS);
            assert_eq!(full.receive_now().unwrap().text, "first");
            drop(others);
            reader.is_quiet();
        });
    }
}
