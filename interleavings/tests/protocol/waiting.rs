// SPDX-License-Identifier: GPL-2.0

//! Sends and bindings that wait for room, and sockets that poll for it.

use crate::explore;
use crate::explore_one_in;
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

/// W22: more wait for one queue than are told at once. Those who are told are shut at that moment, and tell the next.
#[test]
fn who_is_told_of_room_in_vain_passes_it_on() {
    explore_one_in(5, |net| {
        let one = full_listener(net, "$.a");
        let shut: Vec<_> = (0..16).map(|_| Arc::new(net.socket())).collect();
        let sends: Vec<_> = shut
            .iter()
            .map(|sender| with(sender, |s| s.send("$.a", KBUS_ALL_OR_WAIT, "shut")))
            .collect();
        // They are older, mostly.
        for _ in 0..20 {
            shuttle::thread::yield_now();
        }
        let sender = net.socket();
        let send = spawn(move || sender.send("$.a", KBUS_ALL_OR_WAIT, "last"));
        let reader = with(&one, |s| while next(s) != "last" {});
        for sender in &shut {
            sender.shut(false, true).unwrap();
        }
        assert_eq!(send.join().unwrap(), Ok(()));
        reader.join().unwrap();
        let sent = sends.into_iter().map(|send| send.join().unwrap());
        assert!(sent
            .into_iter()
            .all(|sent| matches!(sent, Ok(()) | Err(EPIPE))));
        drain(&one);
        one.is_quiet();
    });
}

/// W22: a request fails, and the slot that it held for its reply is what another send waits for.
#[test]
fn room_that_a_request_held_for_its_reply() {
    kbus_interleavings::let_waiters_look_again();
    for with_replier in [false, true] {
        explore(move |net| {
            let requester = Arc::new(net.socket().listens("$.a", 1));
            let replier = with_replier.then(|| {
                let replier = net.socket().replies("$.b");
                replier.set_number(KBUS_QUEUE_LEN, 1).unwrap();
                let sender = net.socket();
                replier.set(KBUS_LISTEN, b"$.full").unwrap();
                sender.send("$.full", 0, "").unwrap();
                replier
            });
            let ask = with(&requester, |s| {
                [0, 1].map(|_| s.send("$.b", KBUS_REQUEST, "?").unwrap_err())
            });
            let sender = net.socket();
            let send = spawn(move || sender.send("$.a", KBUS_ALL_OR_WAIT, "all"));
            assert_eq!(send.join().unwrap(), Ok(()));
            let expected = if with_replier { EBUSY } else { EADDRNOTAVAIL };
            for error in ask.join().unwrap() {
                assert!(error == expected || error == ENOBUFS, "{error:?}");
            }
            assert_eq!(drain(&requester), ["all"]);
            drop(replier);
            requester.is_quiet();
        });
    }
}

/// W22: sends with different queues in common wait, and others that always fail have some of the room for moments.
#[test]
fn no_waiter_is_forgotten_among_many() {
    explore(|net| {
        let names = ["$.a", "$.b", "$.c"];
        let all: Vec<_> = (0..3)
            .map(|n| {
                let socket = full_listener(net, names[n]);
                socket
                    .set(KBUS_LISTEN, names[(n + 1) % 3].as_bytes())
                    .unwrap();
                socket.set(KBUS_LISTEN, b"$.f").unwrap();
                socket
            })
            .collect();
        let full = full_listener(net, "$.full");
        full.set(KBUS_LISTEN, b"$.f").unwrap();
        let waits = names.map(|name| {
            let sender = net.socket();
            spawn(move || sender.send(name, KBUS_ALL_OR_WAIT, name).unwrap())
        });
        let sender = net.socket();
        let fails = spawn(move || {
            for _ in 0..2 {
                assert_eq!(sender.send("$.f", KBUS_ALL_OR_FAIL, "f"), Err(EBUSY));
            }
        });
        let readers = all
            .iter()
            .map(|socket| with(socket, |s| [next(s), next(s), next(s)]));
        let readers: Vec<_> = readers.collect();
        waits.map(|wait| wait.join().unwrap());
        fails.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap()[0], "first");
        }
        all.iter()
            .for_each(|socket| assert!(drain(socket).is_empty()));
        drain(&full);
        full.is_quiet();
    });
}

/// W22, T19: two sockets ask each other, and each lacks a slot for a copy of the other's request.
#[test]
fn requests_that_lack_room_wait_in_peace() {
    explore(|net| {
        let sockets = ["$.a", "$.b"].map(|name| {
            let socket = net.socket().listens(name, 3).replies(name);
            Arc::new(socket)
        });
        let sender = net.socket();
        let fills = ["$.a", "$.b"].map(|name| sender.send(name, 0, "first"));
        assert_eq!(fills, [Ok(()), Ok(())]);
        let asks = [(0, "$.b"), (1, "$.a")].map(|(n, name)| {
            with(&sockets[n], move |s| {
                // The other's copies may have all slots, and then there is none for the reply.
                while let Err(e) = s.send(name, KBUS_ALL_OR_WAIT | KBUS_REQUEST, "?") {
                    assert_eq!(e, ENOBUFS);
                    shuttle::thread::yield_now();
                }
            })
        });
        let reads = sockets.each_ref().map(|socket| {
            with(socket, |s| {
                let mut got = 0;
                while got < 3 {
                    let message = s.receive().unwrap().unwrap();
                    if message.flags & KBUS_YOU_REPLY != 0 {
                        s.reply(&message, "").unwrap();
                    }
                    got += u32::from(message.flags & (KBUS_REPLY | KBUS_STATUS) == 0);
                }
            })
        });
        asks.map(|ask| ask.join().unwrap());
        reads.map(|read| read.join().unwrap());
        sockets.iter().for_each(|socket| drop(drain(socket)));
        sockets[0].is_quiet();
    });
}

/// W19, W21: a request for which there is no room in its own queue, beside the slot for its reply, can be tried again when
/// there is more, and not before.
#[test]
fn a_request_to_oneself_is_not_tried_in_vain() {
    explore_one_in(10, |net| {
        let socket = net.socket().nonblocking().listens("$.a", 1);
        let replier = net.socket().replies("$.a");
        for _ in 0..2 {
            let sent = socket.send("$.a", KBUS_ALL_OR_WAIT | KBUS_REQUEST, "?");
            assert_eq!(sent, Err(EAGAIN));
            assert!(!socket.is_writable());
        }
        let socket = Arc::new(socket);
        let raise = with(&socket, |s| s.set_number(KBUS_QUEUE_LEN, 2).unwrap());
        socket.until_writable();
        raise.join().unwrap();
        socket
            .send("$.a", KBUS_ALL_OR_WAIT | KBUS_REQUEST, "?")
            .unwrap();
        replier
            .reply(&replier.receive().unwrap().unwrap(), "")
            .unwrap();
        assert_eq!(drain(&socket), ["?", ""]);
        socket.is_quiet();
    });
}
