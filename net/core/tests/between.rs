// SPDX-License-Identifier: GPL-2.0

//! What others do while a long operation is between two holds of the bus lock.

mod peer;

use kbus_core::error::Error;
use kbus_core::message::KBUS_ALL_OR_FAIL;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::message::KBUS_STATUS;
use kbus_core::message::KBUS_URGENT;
use kbus_core::message::LOST;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use peer::announcement;
use peer::name;
use peer::Peer;
use peer::World;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Copies of a message in one hold of the bus lock.
const STEP: u64 = 64;

/// So many sockets that listen to a name, with queues that are never full.
fn crowd(w: &World, from: u64, count: u64, text: &str) -> Vec<Peer> {
    let join = |n| {
        let peer = w.join(from + n, 1 + (n % 3) as u32);
        peer.with(|queue| queue.set_limit(1 << 20));
        w.listen(&peer, text).unwrap();
        peer
    };
    (0..count).map(join).collect()
}

/// Ids of all that is read there.
fn ids(peer: &Peer) -> Vec<u64> {
    std::iter::from_fn(|| peer.read().map(|view| view.id)).collect()
}

/// Does something once, after so many further holds of the bus lock.
fn after(w: &World, holds: u32, f: impl Fn(&World) + 'static) {
    let left = Cell::new(Some(holds));
    w.between(move |w| {
        let now = left.get();
        left.set(now.and_then(|left| left.checked_sub(1)));
        if now == Some(0) {
            f(w);
        }
    });
}

/// Runs a case for each hold of the bus lock in which it may be disturbed; `case` says whether it
/// was.
fn at_each_hold(case: impl Fn(u32) -> bool) -> u32 {
    for holds in 0..1000 {
        if !case(holds) {
            return holds;
        }
    }
    panic!("it takes holds without end");
}

/// No hold of the bus lock looks at many queues, however many there are.
#[test]
fn a_hold_is_short() {
    for count in [10, 1000] {
        let w = World::new(0, 1 << 20);
        let sender = w.join(1, 1);
        let all = crowd(&w, 100, count, "$.A");
        w.replier(&all[0], "$.A").unwrap();
        for len in [0, 10, 5000] {
            for flags in [0, KBUS_REQUEST, KBUS_ALL_OR_FAIL, KBUS_URGENT] {
                w.holds();
                w.send(&sender, announcement("$.A", flags, &vec![0; len]))
                    .unwrap();
                let (holds, most) = w.holds();
                assert!(most <= 5 * STEP, "{most} looks in one hold");
                // A look at a listener counts as much as its copy.
                assert!(holds <= 8 + 2 * count / STEP, "{holds} holds for {count}");
                assert!(count > STEP || len > 512 || holds <= 4);
            }
        }
    }
}

/// However much a socket has, a close begins in one short hold, and all others are as short.
#[test]
fn a_close_is_done_in_short_holds() {
    for text in ["$.KBUS.ReplierBindEvent", "$.X"] {
        let w = World::new(0, 1 << 30);
        let all = crowd(&w, 1000, 200, text);
        w.report_binds(&all[0], true).unwrap();
        let (peer, sender) = (w.join(1, 1), w.join(2, 2));
        peer.with(|queue| queue.set_limit(1 << 20));
        for n in 0..1000 {
            w.listen(&peer, &format!("$.L{n}")).unwrap();
            w.replier(&peer, &format!("$.R{n}")).unwrap();
            w.announce(&sender, &format!("$.L{n}"), b"").unwrap();
            sender.with(|queue| queue.set_limit(1 << 20));
            w.request(&sender, &format!("$.R{n}"), b"").unwrap();
        }
        w.holds();
        w.close(&peer);
        let (_, most) = w.holds();
        assert!(most <= 4 * STEP, "{most} looks in one hold");
        assert_eq!(sender.with(|queue| queue.unread()), 1000);
        assert_eq!(w.bus(|bus| bus.replier_for(name("$.R7"))), 0);
    }
}

/// A socket with so many listener and replier bindings.
fn with_bindings(w: &World, id: u64, count: usize) -> Peer {
    let peer = w.join(id, 1);
    for n in 0..count {
        w.listen(&peer, &format!("$.L.N{n}")).unwrap();
        w.replier(&peer, &format!("$.R.N{n}")).unwrap();
    }
    peer
}

/// From the first hold of a close on, its names are free, nothing reaches it, and who takes a name
/// keeps it. So it is with a shutdown, and what the other half leaves stays.
#[test]
fn a_close_and_a_shutdown_take_effect_at_once() {
    type Op = fn(&World, &Peer);
    let ops: [(Op, bool); 3] = [
        (World::close, true),
        (World::shut_read, true),
        (World::shut_write, false),
    ];
    for (op, all) in ops {
        let w = World::new(0, 1 << 20);
        let dead = with_bindings(&w, 1, 100);
        w.replier(&dead, "$.P.*").unwrap();
        let (new, sender) = (w.join(2, 1), w.join(3, 2));
        assert_eq!(w.replier(&sender, "$.P.X"), Err(Error::Acces));
        let peers = [dead.clone(), new.clone(), sender.clone()];
        after(&w, 0, move |w| {
            let [dead, new, sender] = &peers;
            assert_eq!(w.bus(|bus| bus.replier_for(name("$.R.N7"))), 0);
            assert_eq!(w.request(sender, "$.R.N7", b""), Err(Error::AddrNotAvail));
            // What protected its names is no more.
            w.replier(sender, "$.P.X").unwrap();
            for n in 0..100 {
                w.replier(new, &format!("$.R.N{n}")).unwrap();
                w.listen(new, &format!("$.L.N{n}")).unwrap();
            }
            w.announce(sender, "$.L.N8", b"").unwrap();
            assert_eq!(dead.with(|queue| queue.unread()), u32::from(!all));
            assert!(w.unreplier(dead, "$.R.N7").is_err());
            assert_eq!(w.unlisten(dead, "$.L.N7").is_err(), all);
        });
        op(&w, &dead);
        w.nothing_between();
        for n in 0..100 {
            assert_eq!(w.bus(|bus| bus.replier_for(name(&format!("$.R.N{n}")))), 2);
        }
        assert_eq!(new.with(|queue| queue.unread()), 1);
        for peer in [&new, &sender, &dead] {
            w.close(peer);
        }
        w.assert_empty();
    }
}

/// A request that is read in the midst of a shutdown is answered with all others.
#[test]
fn what_is_read_in_the_midst_of_a_shutdown_is_answered() {
    for holds in 0..4 {
        let w = World::new(0, 1 << 20);
        let (asks, answers) = (w.join(1, 1), w.join(2, 1));
        w.replier(&answers, "$.A").unwrap();
        for _ in 0..20 {
            w.request(&asks, "$.A", b"").unwrap();
        }
        let reader = answers.clone();
        after(&w, holds, move |_| drop(reader.read()));
        w.shut_write(&answers);
        w.nothing_between();
        let statuses = std::iter::from_fn(|| asks.read());
        assert_eq!(
            statuses
                .filter(|view| view.flags & KBUS_STATUS != 0)
                .count(),
            20
        );
        assert_eq!(asks.counters().1, 0, "a slot stays reserved");
    }
}

/// Who wants each message once has one copy of a large one, whatever it binds while that is made.
#[test]
fn a_large_message_comes_once_whatever_is_bound_meanwhile() {
    for holds in 0..4 {
        let w = World::new(0, 1 << 20);
        let (a, b) = (w.join_in(1, 1, 0), w.join_in(2, 2, 1));
        b.with(|queue| queue.set_once(true));
        w.listen(&b, "$.A.B").unwrap();
        let binds = b.clone();
        after(&w, holds, move |w| w.listen(&binds, "$.*").unwrap());
        w.announce(&a, "$.A.B", &[7; 1000]).unwrap();
        w.nothing_between();
        assert_eq!(b.counters().0, 1, "bound after {holds} holds");
    }
}

/// Nor has it one when its binding has gone while that was made.
#[test]
fn a_large_message_does_not_come_once_its_binding_has_gone() {
    for others in [0, 1] {
        for holds in 0..4 {
            let w = World::new(0, 1 << 20);
            let (a, b) = (w.join_in(1, 1, 0), w.join_in(2, 2, 1));
            b.with(|queue| queue.set_once(true));
            w.listen(&b, "$.A.B").unwrap();
            (0..others).for_each(|_| w.listen(&b, "$.A.%").unwrap());
            let (unbinds, done) = (b.clone(), Rc::new(Cell::new(false)));
            let it_is = done.clone();
            after(&w, holds, move |w| {
                w.unlisten(&unbinds, "$.A.B").unwrap();
                it_is.set(true);
            });
            w.announce(&a, "$.A.B", &[7; 1000]).unwrap();
            w.nothing_between();
            let there = if done.get() { others } else { 1 };
            assert_eq!(b.counters().0, there, "unbound after {holds} holds");
            if done.get() && others > 0 {
                w.unlisten(&b, "$.A.%").unwrap();
                assert_eq!(b.counters().0, 0, "it goes with the last binding");
            }
        }
    }
}

/// Who found the queue full of such a message, which does not come in the end, is told that there
/// is room.
#[test]
fn the_room_of_a_message_that_does_not_come_is_told() {
    let found_it_full = Cell::new(0);
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let (a, b) = (w.join_in(1, 1, 0), w.join_in(2, 2, 1));
        let c = w.join_in(3, 2, 1);
        b.with(|queue| {
            queue.set_once(true);
            queue.set_limit(1);
        });
        w.listen(&b, "$.A.B").unwrap();
        w.listen(&b, "$.A.C").unwrap();
        let (listener, other) = (b.clone(), c.clone());
        let tried = Rc::new(Cell::new(None));
        let result = tried.clone();
        after(&w, holds, move |w| {
            w.unlisten(&listener, "$.A.B").unwrap();
            result.set(Some(w.announce_all(&other, "$.A.C")));
        });
        w.announce(&a, "$.A.B", &[7; 1000]).unwrap();
        w.nothing_between();
        if tried.get() == Some(Err(Error::Again)) {
            found_it_full.set(found_it_full.get() + 1);
            assert_eq!(b.counters().0, 0, "it went with its binding");
            let writable = c.with(|queue| queue.is_writable());
            assert!(writable && c.wakes().1 > 0, "after {holds} holds");
        }
        tried.get().is_some()
    });
    assert!(found_it_full.get() > 0);
}

/// Events of a socket that dies go to nobody who dies in the midst of them, and to others each
/// once.
#[test]
fn what_dies_hears_of_no_event() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let (owner, other, dead) = (w.join(1, 0), w.join(3, 1), with_bindings(&w, 2, 50));
        w.report_binds(&owner, true).unwrap();
        while owner.read().is_some() {}
        for peer in [&owner, &other] {
            w.listen(peer, "$.KBUS.ReplierBindEvent").unwrap();
        }
        let disturbed = Rc::new(Cell::new(false));
        let (seen, peer) = (disturbed.clone(), other.clone());
        after(&w, holds, move |w| {
            seen.set(true);
            w.close(&peer);
            assert_eq!(peer.counters(), (0, 0, 0, 0, 0));
        });
        w.close(&dead);
        w.nothing_between();
        let told = ids(&owner);
        assert!(told.is_sorted_by(|a, b| a < b) && told.len() == 50);
        assert_eq!(
            other.with(|queue| queue.unread()),
            if disturbed.get() { 0 } else { 50 }
        );
        [&owner, &other].into_iter().for_each(|peer| w.close(peer));
        w.assert_empty();
        disturbed.get()
    });
}

/// Who listens all the time gets one copy, whatever bindings come and go in between, and who begins
/// in between gets one or none.
#[test]
fn bindings_that_come_and_go_change_nothing_for_others() {
    for goes in [false, true] {
        // Patterns that are looked at before, among and after those that are there.
        for text in ["$.*", "$.A.*", "$.A.B.*", "$.A.B.%", "$.A.B.C", "$.A.*"] {
            at_each_hold(|holds| {
                let w = World::new(0, 1 << 20);
                let sender = w.join(1, 1);
                let mut all = crowd(&w, 100, 100, "$.A.B.*");
                all.extend(crowd(&w, 300, 100, "$.A.B.C"));
                let new = w.join(2, 1);
                if goes {
                    w.listen(&new, text).unwrap();
                }
                let (disturbed, other) = (Rc::new(Cell::new(false)), new.clone());
                let seen = disturbed.clone();
                after(&w, holds, move |w| {
                    seen.set(true);
                    match goes {
                        true => w.unlisten(&other, text).unwrap(),
                        false => w.listen(&other, text).unwrap(),
                    }
                });
                let id = w.announce(&sender, "$.A.B.C", b"").unwrap();
                w.nothing_between();
                for (at, peer) in all.iter().enumerate() {
                    assert_eq!(ids(peer), [id], "no. {at}, {text} {goes} after {holds}");
                }
                let got = ids(&new);
                if goes == disturbed.get() {
                    assert!(got.len() < 2, "{got:?}");
                }
                disturbed.get()
            });
        }
    }
}

/// One that begins to listen before a message is sent gets it: the step that sends it is that of
/// its id.
#[test]
fn who_listens_before_a_message_is_sent_gets_it() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let sender = w.join(1, 1);
        crowd(&w, 100, 300, "$.A");
        let (new, before) = (w.join(2, 1), Rc::new(Cell::new(None)));
        let (seen, other) = (before.clone(), new.clone());
        after(&w, holds, move |w| {
            seen.set(Some(w.last_id()));
            w.listen(&other, "$.A").unwrap();
        });
        let id = w.announce(&sender, "$.A", b"").unwrap();
        w.nothing_between();
        let got = ids(&new);
        match before.get() {
            Some(last) if last < id => assert_eq!(got, [id]),
            _ => assert_eq!(got, []),
        }
        before.get().is_some()
    });
}

/// Sent in between: each queue is read in the order of ids, wherever both messages are.
#[test]
fn messages_sent_in_between_come_in_the_order_of_ids() {
    for flags in [0, KBUS_REQUEST] {
        at_each_hold(|holds| {
            let w = World::new(0, 1 << 20);
            let (sender, other) = (w.join(1, 1), w.join(2, 2));
            let mut all = crowd(&w, 100, 200, "$.A");
            w.replier(&all[7], "$.A").unwrap();
            all.push(sender.clone());
            w.listen(&sender, "$.A").unwrap();
            let short = Rc::new(Cell::new(None));
            let sent = short.clone();
            let some: Vec<_> = all.iter().step_by(3).cloned().collect();
            for peer in &some {
                w.listen(peer, "$.B").unwrap();
            }
            after(&w, holds, move |w| {
                let is_sent = w.last_id() > 0;
                let first = w.announce(&other, "$.B", b"").unwrap();
                // Read by some at once.
                for peer in some.iter().step_by(2).filter(|_| !is_sent) {
                    assert_eq!(peer.with(|queue| queue.unread()), 1);
                    assert_eq!(ids(peer), [first]);
                    assert!(!peer.with(|queue| queue.is_readable()));
                }
                sent.set(Some(first));
            });
            let id = w.send(&sender, announcement("$.A", flags, b"")).unwrap();
            w.nothing_between();
            for (at, peer) in all.iter().enumerate() {
                let unread = peer.with(|queue| queue.unread()) as usize;
                let got = ids(peer);
                assert_eq!(got.len(), unread);
                assert!(got.is_sorted(), "{got:?}");
                let copies = got.iter().filter(|one| **one == id).count();
                let expected = 1 + usize::from(at == 7 && flags != 0);
                assert_eq!(copies, expected, "no. {at} {flags} after {holds}: {got:?}");
            }
            short.get().is_some()
        });
    }
}

/// The replier's copy of a request comes before its listener's copy, though the way was long.
#[test]
fn a_long_request_is_read_by_its_replier_first() {
    for urgent in [0, KBUS_URGENT] {
        let w = World::new(0, 1 << 20);
        let sender = w.join(1, 1);
        // The listener's copy in another hold of the bus lock, and in the same.
        for place in [0, 199] {
            let all = crowd(&w, 1000 * (place + 1), 200, "$.A");
            let replier = &all[place as usize];
            w.replier(replier, "$.A").unwrap();
            let id = w
                .send(&sender, announcement("$.A", KBUS_REQUEST | urgent, b""))
                .unwrap();
            let read = || replier.read().map(|view| (view.id, view.must_reply()));
            let first = [read(), read()];
            // An urgent one goes before all that is there, its own other copy too.
            let expected = match urgent {
                0 => [Some((id, true)), Some((id, false))],
                _ => [Some((id, false)), Some((id, true))],
            };
            assert_eq!(first, expected, "{place}");
            all.iter().for_each(|peer| w.close(peer));
        }
    }
}

/// A send that fails after many have its message pending is seen by nobody.
#[test]
fn a_long_send_that_fails_is_seen_by_nobody() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let (sender, other) = (w.join(1, 1), w.join(2, 2));
        let all = crowd(&w, 100, 200, "$.A");
        all[199].with(|queue| queue.set_limit(0));
        let some: Vec<_> = all.iter().take(199).cloned().collect();
        let disturbed = Rc::new(Cell::new(false));
        let seen = disturbed.clone();
        let readers = some.clone();
        after(&w, holds, move |w| {
            seen.set(true);
            for peer in &readers {
                assert_eq!(peer.with(|q| (q.unread(), q.is_readable())), (0, false));
                assert!(peer.with(|q| q.next_len()).is_none());
            }
            w.announce(&other, "$.A", b"").unwrap();
        });
        let sent = w.send(&sender, announcement("$.A", KBUS_ALL_OR_FAIL, b"x"));
        w.nothing_between();
        assert_eq!(sent, Err(Error::Busy));
        for peer in &some {
            assert_eq!(ids(peer).len(), usize::from(disturbed.get()));
        }
        for peer in [&sender, &all[199]] {
            w.close(peer);
        }
        some.iter().for_each(|peer| w.close(peer));
        assert_eq!(w.bytes(), 0);
        disturbed.get()
    });
}

/// A reader that wants to hear of gaps is woken for one though a message is pending in its queue
/// that is never sent.
#[test]
fn a_gap_is_told_beside_what_is_pending() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let (sender, other) = (w.join(1, 1), w.join(2, 2));
        let all = crowd(&w, 100, 200, "$.A");
        all[199].with(|queue| queue.set_limit(0));
        let reader = all[0].clone();
        reader.with(|queue| {
            queue.set_report_lost(true);
            queue.set_limit(1);
        });
        let missed = Rc::new(Cell::new(0));
        let (lost, peer) = (missed.clone(), reader.clone());
        after(&w, holds, move |w| {
            peer.wakes();
            w.announce(&other, "$.A", b"").unwrap();
            lost.set(if peer.with(|queue| queue.lost()) > 0 {
                2
            } else {
                1
            });
        });
        let sent = w.send(&sender, announcement("$.A", KBUS_ALL_OR_FAIL, b"x"));
        w.nothing_between();
        assert_eq!(sent, Err(Error::Busy));
        if missed.get() == 2 {
            assert!(reader.wakes().0 > 0, "after {holds}");
            let view = reader.read().unwrap();
            assert_eq!((view.name(), view.lost), (LOST, 1));
        }
        missed.get() > 0
    });
}

/// A gap that was there before is told again when it comes back from an entry of a send that fails,
/// or goes on in another hold, as its reader may have found nothing meanwhile.
#[test]
fn a_gap_that_a_failing_send_had_is_told_again() {
    for listeners in [2, 200] {
        let w = World::new(0, 1 << 20);
        let sender = w.join(1, 1);
        let all = crowd(&w, 100, listeners, "$.A");
        let (reader, last) = (&all[0], &all[all.len() - 1]);
        last.with(|queue| queue.set_limit(0));
        reader.with(|queue| {
            queue.set_report_lost(true);
            queue.set_limit(0);
        });
        w.announce(&sender, "$.A", b"").unwrap();
        reader.with(|queue| queue.set_limit(9));
        assert_eq!(reader.wakes().0, 1);
        let sent = w.send(&sender, announcement("$.A", KBUS_ALL_OR_FAIL, b"x"));
        assert_eq!(sent, Err(Error::Busy));
        assert_eq!(reader.wakes().0, 1, "{listeners}");
        let view = reader.read().unwrap();
        assert_eq!((view.name(), view.lost), (LOST, 1));
        // Nothing of it is left.
        assert_eq!(
            w.send(&sender, announcement("$.A", KBUS_ALL_OR_FAIL, b"x")),
            Err(Error::Busy)
        );
        assert_eq!(reader.wakes().0, 0);
    }
}

/// A replier that goes in the midst of a long request: another is asked, or there is none.
#[test]
fn a_replier_that_goes_in_between_is_asked_no_more() {
    type Op = fn(&World, &Peer);
    let ops: [Op; 4] = [
        |w, b| w.unreplier(b, "$.A").unwrap(),
        World::close,
        World::shut_read,
        World::shut_write,
    ];
    for op in ops {
        for (second, once) in [(false, false), (true, false), (true, true), (false, true)] {
            at_each_hold(|holds| {
                let w = World::new(0, 1 << 20);
                let (sender, first, other) = (w.join(1, 1), w.join(2, 2), w.join(3, 2));
                first.with(|queue| queue.set_once(once));
                w.listen(&first, "$.A").unwrap();
                let all = crowd(&w, 100, 200, "$.A");
                w.replier(&first, "$.A").unwrap();
                if second {
                    w.replier(&other, "$.*").unwrap();
                }
                let (disturbed, peer) = (Rc::new(Cell::new(false)), first.clone());
                let seen = disturbed.clone();
                after(&w, holds, move |w| {
                    seen.set(true);
                    op(w, &peer);
                });
                let sent = w.request(&sender, "$.A", b"x");
                w.nothing_between();
                let asked = [&first, &other].map(|peer| {
                    let must = || peer.read().map(|view| view.must_reply());
                    std::iter::from_fn(must).filter(|must| *must).count()
                });
                let answers = ids(&sender).len();
                match sent {
                    Ok(id) => {
                        // It was sent before the replier went, or went to the other one.
                        assert_eq!(answers + asked[0] + asked[1], 1);
                        all.iter().for_each(|peer| assert_eq!(ids(peer), [id]));
                        assert_eq!(sender.with(|queue| queue.reserved()), 1 - answers as u32);
                    }
                    Err(error) => {
                        assert_eq!(error, Error::AddrNotAvail);
                        assert!(!second);
                        assert_eq!(answers + asked[0] + asked[1], 0);
                        all.iter().for_each(|peer| assert!(ids(peer).is_empty()));
                        assert_eq!(sender.counters(), (0, 0, 0, 0, 0));
                    }
                }
                for peer in [&first, &other, &sender].into_iter().chain(&all) {
                    w.close(peer);
                }
                w.assert_empty();
                disturbed.get()
            });
        }
    }
}

/// A requester, or a replier, that goes or is shut in the midst of a long reply: it is answered
/// once, by the reply or a status, or nobody is there to be answered.
#[test]
fn who_goes_in_the_midst_of_a_reply_leaves_nothing() {
    type Op = fn(&World, &Peer, &Peer);
    let ops: [Op; 6] = [
        |w, requester, _| w.close(requester),
        |w, requester, _| w.shut_read(requester),
        |w, requester, _| w.shut_write(requester),
        |w, _, replier| w.shut_write(replier),
        |w, _, replier| w.shut_read(replier),
        |w, _, replier| w.unreplier(replier, "$.A").unwrap(),
    ];
    for (number, op) in ops.into_iter().enumerate() {
        for len in [0, 10, 5000] {
            at_each_hold(|holds| {
                let w = World::new(0, 1 << 20);
                let (requester, replier) = (w.join_in(1, 1, 1), w.join_in(2, 2, 2));
                w.replier(&replier, "$.A").unwrap();
                let other = w.request(&requester, "$.A", b"x").unwrap();
                let id = w.request(&requester, "$.A", b"x").unwrap();
                assert_eq!(
                    [replier.read(), replier.read()].map(|v| v.unwrap().id),
                    [other, id]
                );
                let all = crowd(&w, 100, 200, "$.A");
                let disturbed = Rc::new(Cell::new(false));
                let (seen, peers) = (disturbed.clone(), [requester.clone(), replier.clone()]);
                after(&w, holds, move |w| {
                    seen.set(true);
                    op(w, &peers[0], &peers[1]);
                });
                let sent = w.reply(&replier, 1, id, &vec![1; len]);
                w.nothing_between();
                let answers = || {
                    let one = || requester.read().map(|v| (v.in_reply_to, v.error));
                    std::iter::from_fn(one).collect::<Vec<_>>()
                };
                let got = answers();
                assert!(got.iter().filter(|(to, _)| *to == id).count() <= 1);
                let heard: Vec<_> = all.iter().map(|peer| ids(peer).len()).collect();
                assert!(heard
                    .iter()
                    .all(|count| *count == usize::from(sent.is_ok())));
                if number > 1 && disturbed.get() {
                    assert!(
                        got.iter().any(|(to, _)| *to == id),
                        "{number} {holds} {sent:?}"
                    );
                }
                w.close(&replier);
                let rest = answers();
                if number > 1 {
                    let mut all: Vec<_> = got.iter().chain(&rest).map(|(to, _)| *to).collect();
                    all.sort();
                    assert_eq!(all, [other, id]);
                    assert_eq!(requester.with(|queue| queue.reserved()), 0);
                }
                w.close(&requester);
                all.iter().for_each(|peer| w.close(peer));
                w.assert_empty();
                disturbed.get()
            });
        }
    }
}

/// A sender that is shut in the midst of its send has not sent it.
#[test]
fn a_sender_that_is_shut_in_between_has_not_sent() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let sender = w.join(1, 1);
        let all = crowd(&w, 100, 200, "$.A");
        let (disturbed, peer) = (Rc::new(Cell::new(false)), sender.clone());
        let seen = disturbed.clone();
        after(&w, holds, move |w| {
            seen.set(true);
            w.shut_write(&peer);
        });
        let sent = w.announce(&sender, "$.A", b"x");
        w.nothing_between();
        for peer in &all {
            assert_eq!(ids(peer).len(), usize::from(sent.is_ok()));
        }
        assert!(sent.is_ok() || (sent == Err(Error::Pipe) && disturbed.get()));
        disturbed.get()
    });
}

/// A listener that unbinds in the midst has the message neither pending nor later.
#[test]
fn who_unbinds_in_between_gets_nothing() {
    for once in [false, true] {
        at_each_hold(|holds| {
            let w = World::new(0, 1 << 20);
            let sender = w.join(1, 1);
            let all = crowd(&w, 100, 200, "$.A");
            for peer in all.iter().step_by(5) {
                peer.with(|queue| queue.set_once(once));
                w.listen(peer, "$.*").unwrap();
                w.listen(peer, "$.*").unwrap();
            }
            let (disturbed, peers) = (Rc::new(Cell::new(None)), all.clone());
            let seen = disturbed.clone();
            after(&w, holds, move |w| {
                seen.set(Some(w.last_id()));
                for (at, peer) in peers.iter().step_by(5).enumerate() {
                    w.unlisten(peer, "$.*").unwrap();
                    if at % 2 == 0 {
                        w.unlisten(peer, "$.*").unwrap();
                        w.unlisten(peer, "$.A").unwrap();
                    }
                }
            });
            let id = w.announce(&sender, "$.A", b"x").unwrap();
            w.nothing_between();
            let before = disturbed.get().is_some();
            for (at, peer) in all.iter().enumerate() {
                let got = ids(peer).len();
                let expected = match (at % 5 == 0, before, once) {
                    (false, ..) => 1,
                    (true, true, _) if at % 2 == 0 => 0,
                    (true, _, true) => 1,
                    (true, true, false) => 2,
                    (true, false, false) => 3,
                };
                assert_eq!(got, expected, "no. {at} after {holds}");
            }
            assert_eq!(id, w.last_id());
            before
        });
    }
}

/// Where a long way ends for want of room, whoever missed it is told in the right place.
#[test]
fn who_misses_a_long_message_is_told_where() {
    at_each_hold(|holds| {
        let w = World::new(0, 1 << 20);
        let (sender, other) = (w.join(1, 1), w.join(2, 2));
        let all = crowd(&w, 100, 200, "$.A");
        for peer in &all {
            w.listen(peer, "$.B").unwrap();
            peer.with(|queue| queue.set_limit(2));
        }
        for _ in 0..2 {
            w.announce(&other, "$.A", b"").unwrap();
        }
        let (disturbed, peers) = (Rc::new(Cell::new(false)), all.clone());
        let seen = disturbed.clone();
        after(&w, holds, move |w| {
            seen.set(true);
            for peer in &peers {
                peer.read().unwrap();
            }
            w.announce(&other, "$.B", b"").unwrap();
        });
        let id = w.announce(&sender, "$.A", b"").unwrap();
        w.nothing_between();
        let mut told = vec![(0, 0); all.len()];
        let read = |told: &mut Vec<(u64, u64)>| {
            for (peer, (lost, before)) in all.iter().zip(told) {
                while let Some(view) = peer.read() {
                    *lost += u64::from(view.lost);
                    assert!(view.id > *before);
                    *before = view.id;
                }
            }
        };
        read(&mut told);
        let last = w.announce(&sender, "$.B", b"").unwrap();
        read(&mut told);
        for (peer, (lost, before)) in all.iter().zip(told) {
            assert_eq!(before, last);
            let missed = peer.with(|queue| queue.lost());
            assert_eq!(lost, missed, "{} after {holds}: {id} {last}", peer.id());
        }
        assert!(id < last);
        disturbed.get()
    });
}

/// What is switched on tells of each replier once: of those that are there, and of what comes and
/// goes in between.
#[test]
fn repliers_that_come_and_go_are_told_once() {
    for goes in [false, true] {
        at_each_hold(|holds| {
            let w = World::new(0, 1 << 20);
            let repliers: Vec<_> = (0..150).map(|n| w.join(100 + n, 1)).collect();
            for peer in &repliers {
                w.replier(peer, &format!("$.R{}", peer.id())).unwrap();
            }
            let reporter = w.join(1, 1);
            reporter.with(|queue| queue.set_limit(1 << 20));
            w.listen(&reporter, "$.KBUS.ReplierBindEvent").unwrap();
            let new = w.join(2, 1);
            let (disturbed, peers) = (Rc::new(Cell::new(false)), repliers.clone());
            let seen = disturbed.clone();
            after(&w, holds, move |w| {
                seen.set(true);
                match goes {
                    false => w.replier(&new, "$.New").unwrap(),
                    true => w.unreplier(&peers[140], "$.R240").unwrap(),
                }
            });
            w.report_binds(&reporter, true).unwrap();
            w.nothing_between();
            let mut there = BTreeMap::new();
            let mut last = 0;
            while let Some(view) = reporter.read() {
                assert!(view.id > last);
                last = view.id;
                let is_bind = view.payload()[8] == 1;
                *there.entry(view.payload()[16..].to_vec()).or_insert(0) +=
                    if is_bind { 1 } else { -1 };
            }
            // Whoever follows the news knows what there is.
            let mut known: Vec<_> = there
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(t, _)| t)
                .collect();
            known.sort();
            let expected =
                150 + usize::from(disturbed.get() && !goes) - usize::from(disturbed.get() && goes);
            assert_eq!(known.len(), expected, "{goes} after {holds}");
            assert!(there.values().all(|n| *n <= 1), "{there:?}");
            disturbed.get()
        });
    }
}

/// A large message to several memory cgroups is copied with no lock held, and each of them pays.
#[test]
fn a_large_message_is_copied_for_each_user_and_cgroup() {
    let w = World::new(0, 1 << 20);
    let sender = w.join_in(1, 1, 9);
    let all: Vec<_> = (0..200u64)
        .map(|n| {
            let peer = w.join_in(100 + n, 2 + (n % 2) as u32, (n % 5) as usize);
            w.listen(&peer, "$.A").unwrap();
            peer
        })
        .collect();
    for len in [10, 5000] {
        let id = w.announce(&sender, "$.A", &vec![1; len]).unwrap();
        // Each of two users in five cgroups.
        let len = len as u64;
        assert_eq!([w.users.used(2), w.users.used(3)], [(5 * len, 100); 2]);
        assert_eq!((w.users.used(1), w.bytes()), ((0, 0), len));
        for peer in &all {
            let view = peer.read().unwrap();
            assert_eq!((view.id, view.payload().len() as u64), (id, len));
        }
        assert_eq!((w.users.used(2), w.bytes()), ((0, 0), 0));
    }
}
