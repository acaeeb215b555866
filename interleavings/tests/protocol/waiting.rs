// SPDX-License-Identifier: GPL-2.0

//! Sends and bindings that wait for room, and sockets that poll for it.

use crate::explore;
use crate::with;
use kbus_interleavings::*;
use kbus_uapi::*;
use shuttle::thread::spawn;
use std::sync::Arc;

/// A listener with room for one message, which it has got.
fn full_listener(net: &Namespace, name: &str) -> Arc<Socket> {
    let listener = net.socket().listens(name, 1);
    let sender = net.socket();
    sender.send(name, 0, "first").unwrap();
    Arc::new(listener)
}

/// What waits, in its order.
fn drain(socket: &Socket) -> Vec<String> {
    std::iter::from_fn(|| socket.receive_now().map(|m| m.text)).collect()
}

fn next(socket: &Socket) -> String {
    socket.receive().unwrap().expect("not the end").text
}

/// W1, W22: readers of two full queues make room, one after the other; the send goes, and each gets it once.
#[test]
fn readers_let_a_waiting_send_go() {
    explore(|net| {
        let (one, two) = (full_listener(net, "$.a"), full_listener(net, "$.a"));
        // The second one's first message was also for the first, which had no room.
        let sender = Arc::new(net.socket());
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let readers = [&one, &two].map(|socket| with(socket, |s| [next(s), next(s)]));
        assert_eq!(send.join().unwrap(), Ok(()));
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ["first", "all"]);
        }
        for socket in [&one, &two] {
            assert!(drain(socket).is_empty());
            socket.is_quiet();
        }
    });
}

/// W6, W7: a send that gives up at any moment is in no queue, one that does not is in both.
#[test]
fn who_gives_up_has_sent_to_nobody() {
    let outcomes = explore(|net| {
        let (one, two) = (full_listener(net, "$.a"), full_listener(net, "$.a"));
        let sender = Arc::new(net.socket().impatient());
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let readers = [&one, &two].map(|socket| with(socket, next));
        let sent = send.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), "first");
        }
        let expected: &[&str] = match sent {
            Ok(()) => &["all"],
            Err(e) => {
                assert!(e == EAGAIN || e == EINTR, "{e:?}");
                &[]
            }
        };
        for socket in [&one, &two] {
            assert_eq!(drain(socket), expected);
        }
        one.is_quiet();
        two.is_quiet();
        sent.is_ok()
    });
    assert_eq!(outcomes, [false, true].into());
}

/// W14, W22: of two full queues one is read, the other goes, in one of four ways, of which the first is to close.
#[test]
fn a_queue_that_goes_is_not_waited_for() {
    type Go = Option<fn(&Socket)>;
    let ways: [Go; 4] = [
        None,
        Some(|s| s.set(KBUS_UNLISTEN, b"$.a").unwrap()),
        Some(|s| s.shut(true, false).unwrap()),
        Some(|s| s.set_number(KBUS_LOSSY, 1).unwrap()),
    ];
    for go in ways {
        explore(move |net| {
            let (one, two) = (full_listener(net, "$.a"), full_listener(net, "$.a"));
            let sender = Arc::new(net.socket());
            let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
            let reader = with(&one, |s| [next(s), next(s)]);
            let going = spawn(move || go.map(|go| (go(&two), two)));
            let kept = going.join().unwrap();
            assert_eq!(send.join().unwrap(), Ok(()));
            assert_eq!(reader.join().unwrap(), ["first", "all"]);
            drop(kept);
            one.is_quiet();
        });
    }
}

/// W22: a raised limit is room.
#[test]
fn a_raised_limit_lets_it_go() {
    explore(|net| {
        let (one, two) = (full_listener(net, "$.a"), full_listener(net, "$.a"));
        let sender = Arc::new(net.socket());
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let raised = with(&one, |s| s.set_number(KBUS_QUEUE_LEN, 2).unwrap());
        let reader = with(&two, |s| [next(s), next(s)]);
        raised.join().unwrap();
        assert_eq!(send.join().unwrap(), Ok(()));
        assert_eq!(reader.join().unwrap(), ["first", "all"]);
        assert_eq!(drain(&one), ["first", "all"]);
        one.is_quiet();
    });
}

/// W22, R4: two sends that wait for two queues each, one of them the same.
#[test]
fn two_sends_with_a_queue_in_common() {
    explore(|net| {
        let one = full_listener(net, "$.a");
        let both = net.socket().listens("$.b", 1).listens("$.a", 1);
        let (both, two) = (Arc::new(both), full_listener(net, "$.b"));
        let senders = ["$.a", "$.b"].map(|name| {
            let sender = Arc::new(net.socket());
            with(&sender, move |s| s.send(name, KBUS_ALL_OR_WAIT, name))
        });
        let readers = [(&one, 2), (&two, 2), (&both, 3)].map(|(socket, count)| {
            with(socket, move |s| {
                (0..count).map(|_| next(s)).collect::<Vec<_>>()
            })
        });
        for send in senders {
            assert_eq!(send.join().unwrap(), Ok(()));
        }
        let [a, b, mut ab] = readers.map(|reader| reader.join().unwrap());
        assert_eq!((a[1].as_str(), b[1].as_str()), ("$.a", "$.b"));
        assert_eq!(ab.remove(0), "first");
        ab.sort();
        assert_eq!(ab, ["$.a", "$.b"]);
        for socket in [&one, &two, &both] {
            assert!(drain(socket).is_empty());
            socket.is_quiet();
        }
    });
}

/// W22: a send has the room in its hands while a reader looks, and gives it back, as it fails elsewhere: the reader must
/// not have been silent for it.
#[test]
fn room_that_another_send_had_for_a_moment() {
    explore(|net| {
        let (sender, other) = (Arc::new(net.socket()), Arc::new(net.socket()));
        // There is room for one copy of what waits, which wants two.
        let one = net.socket().listens("$.a", 9).listens("$.a", 9);
        let one = Arc::new(one.listens("$.b", 9));
        one.set_bytes(6);
        other.send("$.b", 0, "first").unwrap();
        let two = full_listener(net, "$.c");
        two.set(KBUS_LISTEN, b"$.b").unwrap();
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let fail = with(&other, |s| s.send("$.b", KBUS_ALL_OR_FAIL, "12345678"));
        let reader = with(&one, |s| [next(s), next(s), next(s)]);
        assert_eq!(fail.join().unwrap(), Err(EBUSY));
        assert_eq!(send.join().unwrap(), Ok(()));
        assert_eq!(reader.join().unwrap(), ["first", "all", "all"]);
        assert_eq!(drain(&two), ["first"]);
        two.is_quiet();
    });
}

/// W22: one that wants two slots is tried by another send, which then waits elsewhere: what is read meanwhile counts.
#[test]
fn a_send_that_wants_two_slots() {
    explore(|net| {
        let (sender, other) = (Arc::new(net.socket()), Arc::new(net.socket()));
        let one = net.socket().listens("$.a", 2).listens("$.a", 2);
        let one = Arc::new(one.listens("$.b", 2));
        let far = full_listener(net, "$.far");
        far.set(KBUS_LISTEN, b"$.b").unwrap();
        sender.send("$.a", 0, "first").unwrap();
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let goes_far = with(&other, |s| s.send("$.b", KBUS_ALL_OR_WAIT, "far"));
        let reader = with(&one, |s| [next(s), next(s), next(s), next(s)]);
        assert_eq!(send.join().unwrap(), Ok(()));
        assert_eq!(reader.join().unwrap(), ["first", "first", "all", "all"]);
        assert_eq!([next(&far), next(&far)], ["first", "far"]);
        assert_eq!(goes_far.join().unwrap(), Ok(()));
        assert_eq!(drain(&one), ["far"]);
        one.is_quiet();
    });
}

/// H11: who shuts its socket ends the wait of its own send, which has gone at that moment or never will.
#[test]
fn shutting_the_sender_ends_its_wait() {
    for reads in [false, true] {
        let outcomes = explore(move |net| {
            let one = full_listener(net, "$.a");
            let sender = Arc::new(net.socket());
            let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
            let shut = with(&sender, |s| s.shut(false, true).unwrap());
            let reader = reads.then(|| with(&one, next));
            shut.join().unwrap();
            let sent = send.join().unwrap();
            reader.map(|reader| reader.join().unwrap());
            let mut left = drain(&one);
            if !reads {
                assert_eq!(left.remove(0), "first");
            }
            match sent {
                Ok(()) => assert_eq!(left, ["all"]),
                Err(e) => assert_eq!((e, left.len()), (EPIPE, 0)),
            }
            one.is_quiet();
            sent.is_ok()
        });
        assert_eq!(outcomes.contains(&true), reads);
        assert!(outcomes.contains(&false));
    }
}

/// P9, W22: two threads read one socket, which somebody waits for: each message is read once.
#[test]
fn two_threads_read_one_socket() {
    explore(|net| {
        let one = full_listener(net, "$.a");
        let sender = Arc::new(net.socket());
        let send = with(&sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "all"));
        let readers = [&one, &one].map(|socket| with(socket, next));
        assert_eq!(send.join().unwrap(), Ok(()));
        let mut got = readers.map(|reader| reader.join().unwrap());
        got.sort();
        assert_eq!(got, ["all", "first"]);
        one.is_quiet();
    });
}

/// W17: who was refused polls, and is woken up as soon as one of the queues has room.
#[test]
fn a_poller_learns_of_room() {
    explore(|net| {
        let (one, two) = (full_listener(net, "$.a"), full_listener(net, "$.a"));
        let sender = Arc::new(net.socket().nonblocking());
        let send = with(&sender, |s| {
            while let Err(e) = s.send("$.a", KBUS_ALL_OR_WAIT, "all") {
                assert_eq!(e, EAGAIN);
                s.until_writable();
            }
        });
        let readers = [&one, &two].map(|socket| with(socket, |s| [next(s), next(s)]));
        send.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ["first", "all"]);
        }
        one.is_quiet();
        two.is_quiet();
    });
}

/// W17: also where sends that wait, and new ones, take the room first.
#[test]
fn a_poller_is_not_forgotten_for_others() {
    explore(|net| {
        let (one, far) = (full_listener(net, "$.a"), full_listener(net, "$.far"));
        let senders = [0, 1, 2].map(|_| net.socket());
        let [waits, polls, sends] = senders;
        let (waits, polls, sends) = (
            Arc::new(waits),
            Arc::new(polls.nonblocking()),
            Arc::new(sends),
        );
        let wait = with(&waits, |s| s.send("$.far", KBUS_ALL_OR_WAIT, "all"));
        let poll = with(&polls, |s| {
            while let Err(e) = s.send("$.a", KBUS_ALL_OR_WAIT, "polled") {
                assert_eq!(e, EAGAIN);
                s.until_writable();
            }
        });
        let send = with(&sends, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "sent"));
        let reader = with(&one, |s| [next(s), next(s), next(s)]);
        poll.join().unwrap();
        assert_eq!(send.join().unwrap(), Ok(()));
        let mut got = reader.join().unwrap();
        got[1..].sort();
        assert_eq!(got, ["first", "polled", "sent"]);
        assert_eq!([next(&far), next(&far)], ["first", "all"]);
        assert_eq!(wait.join().unwrap(), Ok(()));
        one.is_quiet();
    });
}

/// W18: or has gone, in one of the ways it may, or has more room than it had.
#[test]
fn a_poller_learns_that_a_queue_has_gone() {
    type Go = Option<fn(&Socket)>;
    let ways: [Go; 4] = [
        None,
        Some(|s| s.set(KBUS_UNLISTEN, b"$.a").unwrap()),
        Some(|s| s.shut(true, false).unwrap()),
        Some(|s| s.set_number(KBUS_QUEUE_LEN, 3).unwrap()),
    ];
    for go in ways {
        explore(move |net| {
            let one = full_listener(net, "$.a");
            let sender = Arc::new(net.socket().nonblocking());
            let send = with(&sender, |s| {
                while let Err(e) = s.send("$.a", KBUS_ALL_OR_WAIT, "all") {
                    assert_eq!(e, EAGAIN);
                    s.until_writable();
                }
            });
            let going = spawn(move || go.map(|go| (go(&one), one)));
            let kept = going.join().unwrap();
            send.join().unwrap();
            drop(kept);
        });
    }
}

/// E16: a binding whose event finds no room waits for it; both are there then, or, if it gives up, neither.
#[test]
fn a_binding_waits_for_room_for_its_event() {
    for impatient in [false, true] {
        let outcomes = explore(move |net| {
            let events = net.socket().listens("$.KBUS.ReplierBindEvent", 1);
            events.set_number(KBUS_REPORT_BINDS, 1).unwrap();
            let first = net.socket().replies("$.first");
            let second = net.socket();
            let second = Arc::new(if impatient {
                second.impatient()
            } else {
                second
            });
            let events = Arc::new(events);
            let bind = with(&second, |s| s.set(KBUS_REPLIER, b"$.b"));
            let reader = with(&events, move |s| {
                next(s);
                (!impatient).then(|| next(s));
            });
            let bound = bind.join().unwrap();
            reader.join().unwrap();
            let there = second.set(KBUS_UNREPLIER, b"$.b");
            match (impatient, bound) {
                // The event of the binding, where it was not read, has no room beside it for that of its end.
                (true, Ok(())) => assert!(matches!(there, Err(EAGAIN) | Err(EINTR))),
                (true, Err(e)) => {
                    assert!(e == EAGAIN || e == EINTR, "{e:?}");
                    assert_eq!(there, Err(EINVAL));
                }
                (false, bound) => assert_eq!((bound, there), (Ok(()), Ok(()))),
            }
            assert_eq!(drain(&events).len(), usize::from(bound.is_ok()));
            events.is_quiet();
            drop((first, second));
            bound.is_ok()
        });
        assert_eq!(outcomes.contains(&false), impatient);
    }
}

/// E17: who hears the events closes.
#[test]
fn a_binding_does_not_wait_for_who_has_gone() {
    explore(|net| {
        let owner = net.socket();
        owner.set_number(KBUS_REPORT_BINDS, 1).unwrap();
        let events = net.socket().listens("$.KBUS.ReplierBindEvent", 1);
        let first = net.socket().replies("$.first");
        let second = Arc::new(net.socket());
        let bind = with(&second, |s| s.set(KBUS_REPLIER, b"$.b"));
        let close = spawn(move || drop(events));
        close.join().unwrap();
        assert_eq!(bind.join().unwrap(), Ok(()));
        owner.is_quiet();
        drop(first);
    });
}
