// SPDX-License-Identifier: GPL-2.0

//! Who waits, who is woken, and what happens when a reader comes in between.

mod peer;

use kbus_core::error::Error;
use kbus_core::limits::Limits;
use kbus_core::mem::Flag;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::message::KBUS_URGENT;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use peer::announcement;
use peer::name;
use peer::run_woken;
use peer::Peer;
use peer::Thread;
use peer::Tried;
use peer::What;
use peer::World;
use proptest::prelude::*;
use std::cell::Cell;
use std::rc::Rc;

/// Most waiters that are woken at once.
const BATCH: usize = 16;

/// A sender, and a listener whose queue of one message is full.
fn full() -> (World, Peer, Peer) {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|queue| queue.set_limit(1));
    w.announce(&a, "$.A", b"").unwrap();
    (w, a, b)
}

/// Begins to send to all, which must wait.
fn park(w: &World, peer: &Peer, name: &str) -> Thread {
    match Thread::begin(w, peer, What::announcement(name)).unwrap() {
        Tried::Waits(thread) => thread,
        Tried::Done(id) => panic!("it has been sent as {id}"),
    }
}

/// The senders of all that there is to read.
fn senders(peer: &Peer) -> Vec<u64> {
    std::iter::from_fn(|| peer.read().map(|view| view.sender)).collect()
}

/// Each recipient is woken for each copy that it gets; nobody else is.
#[test]
fn recipients_are_woken_for_each_copy() {
    let w = World::new(0, 1 << 20);
    let (a, b, c) = (w.join(1, 1), w.join(2, 1), w.join(3, 1));
    for text in ["$.A", "$.*"] {
        w.listen(&b, text).unwrap();
    }
    w.listen(&c, "$.A").unwrap();
    w.replier(&c, "$.A").unwrap();
    for peer in [&a, &b, &c] {
        peer.wakes();
    }
    for (flags, expected) in [(0, 1), (KBUS_REQUEST, 2), (KBUS_URGENT, 1)] {
        w.send(&a, announcement("$.A", flags, b"")).unwrap();
        let woken = [&a, &b, &c].map(Peer::wakes);
        assert_eq!(woken, [(0, 0), (2, 0), (expected, 0)]);
    }
    let request = c.with(|queue| queue.front()).map(|_| c.read());
    assert!(request.is_some());
}

/// So is a requester for its reply or status.
#[test]
fn a_requester_is_woken_for_its_answer() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.replier(&b, "$.A").unwrap();
    let ids: Vec<_> = (0..3).map(|_| w.request(&a, "$.A", b"").unwrap()).collect();
    assert_eq!((b.read().unwrap().id, a.wakes()), (ids[0], (0, 0)));
    w.reply(&b, 1, ids[0], b"").unwrap();
    assert_eq!(a.wakes(), (1, 0));
    w.unreplier(&b, "$.A").unwrap();
    assert_eq!(a.wakes(), (2, 0));
}

/// A message that is missed wakes nobody, unless the reader of an empty queue wants to be told of
/// it.
#[test]
fn a_miss_wakes_only_who_asked_and_has_nothing_to_read() {
    let (w, a, b) = full();
    let woken = || {
        b.wakes();
        w.announce(&a, "$.A", b"").unwrap();
        b.wakes().0
    };
    assert_eq!(woken(), 0);
    b.with(|queue| queue.set_report_lost(true));
    assert_eq!(woken(), 0);
    while b.read().is_some() {}
    b.with(|queue| queue.set_limit(0));
    assert_eq!(woken(), 1);
    b.with(|queue| queue.set_report_lost(false));
    assert_eq!(woken(), 0);
}

/// A read that leaves the queue full, of messages or of bytes, wakes nobody.
#[test]
fn a_read_that_makes_no_room_wakes_nobody() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    for len in [1, 10, 10, 1] {
        w.announce(&a, "$.A", &vec![0; len]).unwrap();
    }
    b.with(|queue| queue.set_limit(1));
    let thread = park(&w, &a, "$.A");
    let read = |(messages, bytes): (u32, u64)| {
        b.with(|queue| {
            queue.set_limit(messages);
            queue.set_byte_limit(bytes);
        });
        b.read().unwrap();
        thread.is_woken()
    };
    assert!(!read((3, 100)));
    assert!(!read((100, 11)));
    assert!(read((2, 11)));
}

/// Who waits goes oldest first, and is told of the room that it wanted.
#[test]
fn the_oldest_goes_first() {
    let (w, a, b) = full();
    let (c, d) = (w.join(3, 1), w.join(4, 1));
    let mut threads = vec![park(&w, &a, "$.A"), park(&w, &c, "$.A")];
    assert_eq!(w.announce_all(&d, "$.A"), Err(Error::Again));
    assert_eq!(b.read().unwrap().sender, 1);
    assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
    assert_eq!(b.read().unwrap().sender, 1);
    assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
    assert_eq!(senders(&b), [3]);
    // Who polls is told of the room as well.
    assert!(d.with(|queue| queue.is_writable()));
    assert!(threads.is_empty());
}

/// One that is woken and finds that another was faster waits on, and is told of the next room.
#[test]
fn who_comes_too_late_waits_on() {
    let (w, a, b) = full();
    let c = w.join(3, 1);
    let mut threads = vec![park(&w, &a, "$.A")];
    b.read().unwrap();
    assert!(threads[0].is_woken());
    w.announce(&c, "$.A", b"").unwrap();
    assert!(run_woken(&w.users, &mut threads).is_empty());
    assert!(!threads[0].is_woken());
    assert_eq!(b.read().unwrap().sender, 3);
    assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
    assert_eq!(senders(&b), [1]);
}

/// One that is woken and gives up, or is refused for good, passes the news on.
#[test]
fn who_gives_up_tells_the_next() {
    for refused in [false, true] {
        let (w, a, b) = full();
        let many: Vec<_> = (0..40).map(|n| w.join(10 + n, 1)).collect();
        let mut threads: Vec<_> = many.iter().map(|peer| park(&w, peer, "$.A")).collect();
        drop(a);
        b.read().unwrap();
        for _ in 0..2 * BATCH {
            // As many as there are free slots.
            let woken = threads.iter().filter(|thread| thread.is_woken()).count();
            assert_eq!(woken, 1);
            let thread = threads.remove(0);
            assert!(thread.is_woken(), "the oldest");
            match refused {
                true => {
                    let mut thread = thread;
                    w.close(&thread.peer.clone());
                    assert_eq!(thread.go_on(), Some(Err(Error::NotConn)));
                }
                false => thread.give_up(),
            }
        }
        assert_eq!(b.with(|queue| queue.unread()), 0);
        assert!(threads.iter().any(|thread| thread.is_woken()));
        assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
    }
}

/// However many wait, a read wakes a few; as long as there is room each that has tried wakes more.
#[test]
fn a_read_wakes_a_few_and_these_the_rest() {
    for count in [100, 1000] {
        let (w, _, b) = full();
        let many: Vec<_> = (0..count).map(|n| w.join(10 + n, 1)).collect();
        let mut threads: Vec<_> = many.iter().map(|peer| park(&w, peer, "$.A")).collect();
        b.with(|queue| queue.set_limit(1 << 20));
        many.iter().for_each(|peer| assert_eq!(peer.wakes().0, 0));
        b.read().unwrap();
        let woken: u64 = many.iter().map(|peer| peer.wakes().1).sum();
        assert_eq!(woken, BATCH as u64);
        let ended = run_woken(&w.users, &mut threads);
        assert!(ended.is_sorted_by_key(|(peer, _)| *peer));
        assert_eq!(ended.len(), count as usize);
    }
}

/// Those who poll may do nothing for long when they are told, so that each is told of each room.
#[test]
fn a_read_tells_all_who_poll() {
    let (w, _, b) = full();
    let many: Vec<_> = (0..100).map(|n| w.join(10 + n, 1)).collect();
    for peer in &many {
        assert_eq!(w.announce_all(peer, "$.A"), Err(Error::Again));
        assert!(!peer.with(|queue| queue.is_writable()));
        peer.wakes();
    }
    b.read().unwrap();
    for peer in &many {
        assert!(peer.with(|queue| queue.is_writable()));
        assert_eq!(peer.wakes(), (0, 1), "once");
    }
}

/// Those who cannot go do not keep those from going who can.
#[test]
fn who_can_go_goes_whoever_waits_before_it() {
    let (w, _, b) = full();
    w.listen(&b, "$.Two").unwrap();
    w.listen(&b, "$.%").unwrap();
    b.with(|queue| queue.set_limit(20));
    while b.with(|queue| queue.unread()) < 20 {
        w.announce(&b, "$.One", b"").unwrap();
    }
    let many: Vec<_> = (0..100).map(|n| w.join(10 + n, 1)).collect();
    let mut threads: Vec<_> = many.iter().map(|peer| park(&w, peer, "$.Two")).collect();
    let good = w.join(3, 1);
    threads.push(park(&w, &good, "$.One"));
    b.read().unwrap();
    // By what each passes on when it has tried, or at the latest by its own clock.
    let ended = run_woken(&w.users, &mut threads);
    let last = threads.last_mut().filter(|thread| thread.peer.id() == 3);
    match last {
        None => assert_eq!(ended.len(), 1),
        Some(thread) => assert!(thread.go_on().unwrap().is_ok()),
    }
    assert_eq!(b.with(|queue| queue.unread()), 20);
}

/// A setting, a binding that goes, a close, and a shutdown wake all who wait for that socket.
#[test]
fn whatever_changes_wakes_all_who_wait() {
    type Op = fn(&World, &Peer);
    // How many can go then.
    let ops: [(Op, usize); 6] = [
        (|w, b| w.set(b, |queue| queue.set_limit(300)), 299),
        (|w, b| w.set(b, |queue| queue.set_lossy(true)), 300),
        (|w, b| w.unlisten(b, "$.A").unwrap(), 300),
        (World::close, 300),
        (World::shut_read, 300),
        (|w, b| w.set(b, |queue| queue.set_byte_limit(9)), 0),
    ];
    for (op, can_go) in ops {
        let (w, _, b) = full();
        w.listen(&b, "$.B").unwrap();
        let many: Vec<_> = (0..300).map(|n| w.join(10 + n, 1)).collect();
        let mut threads: Vec<_> = many.iter().map(|peer| park(&w, peer, "$.A")).collect();
        op(&w, &b);
        assert!(threads.iter().all(|thread| thread.is_woken()));
        assert_eq!(run_woken(&w.users, &mut threads).len(), can_go);
    }
}

/// Who takes names from another's replier wakes those whose requests wait for that one.
#[test]
fn who_takes_a_name_wakes_those_who_wait_for_the_other() {
    let w = World::new(0, 1 << 20);
    let (a, b, c) = (w.join(1, 1), w.join(2, 1), w.join(3, 1));
    w.replier(&b, "$.*").unwrap();
    b.with(|queue| queue.set_limit(0));
    let what = What::Send {
        name: "$.A".to_string(),
        peer: None,
        flags: KBUS_ALL_OR_WAIT | KBUS_REQUEST,
        payload: vec![],
        reply_max: 0,
        cookie: 0,
    };
    let Ok(Tried::Waits(thread)) = Thread::begin(&w, &a, what) else {
        panic!("it does not wait");
    };
    let mut threads = vec![thread];
    assert!(run_woken(&w.users, &mut threads).is_empty());
    w.replier(&c, "$.A").unwrap();
    assert!(run_woken(&w.users, &mut threads)[0].1.is_ok());
    assert!(c.read().unwrap().must_reply());
}

/// A binding that waits for room for its event ends when its socket is shut down.
#[test]
fn a_binding_stops_waiting_when_its_socket_is_shut() {
    type Op = fn(&World, &Peer);
    let ops: [Op; 2] = [World::shut_read, World::shut_write];
    for shut in ops {
        let (w, a, b) = full();
        w.report_binds(&a, true).unwrap();
        w.listen(&b, "$.KBUS.ReplierBindEvent").unwrap();
        let what = What::Bind(true, "$.R".to_string());
        let Ok(Tried::Waits(thread)) = Thread::begin(&w, &a, what) else {
            panic!("there is room for the event");
        };
        let mut threads = vec![thread];
        assert!(run_woken(&w.users, &mut threads).is_empty());
        shut(&w, &a);
        assert_eq!(run_woken(&w.users, &mut threads)[0].1, Err(Error::Inval));
    }
}

/// A binding whose event had no room is made when there is some, with its event in the same step.
#[test]
fn a_binding_waits_for_room_for_its_event() {
    let (w, a, b) = full();
    w.report_binds(&a, true).unwrap();
    w.listen(&b, "$.KBUS.ReplierBindEvent").unwrap();
    for is_bind in [true, false] {
        let what = What::Bind(is_bind, "$.R".to_string());
        let Ok(Tried::Waits(thread)) = Thread::begin(&w, &a, what) else {
            panic!("there is room for the event");
        };
        let replies = || w.bus(|bus| bus.replier_for(name("$.R"))) == 1;
        let mut threads = vec![thread];
        assert_eq!(replies(), !is_bind);
        b.read().unwrap();
        assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
        assert_eq!(replies(), is_bind);
        assert_eq!(b.with(|queue| queue.unread()), 1);
    }
}

/// A reader has been shown the first message and something urgent comes: it takes what it was
/// shown.
#[test]
fn a_reader_takes_what_it_was_shown() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    let ids: Vec<_> = (0..2)
        .map(|_| w.announce(&a, "$.A", b"").unwrap())
        .collect();
    let shown = b.with(|queue| queue.front()).unwrap();
    let urgent = w.send(&a, announcement("$.A", KBUS_URGENT, b"")).unwrap();
    assert!(b.with(|queue| queue.consume(shown.token)).is_some());
    assert_eq!(shown.id, ids[0]);
    assert_eq!(b.read().unwrap().id, urgent);
    assert_eq!(b.read().unwrap().id, ids[1]);
}

/// The same for the news of a gap: it is told once, and what is urgent has no part in it.
#[test]
fn the_news_of_a_gap_is_told_once_though_something_urgent_comes() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|queue| {
        queue.set_report_lost(true);
        queue.set_limit(0);
    });
    w.announce(&a, "$.A", b"").unwrap();
    b.with(|queue| queue.set_limit(9));
    let last = w.announce(&a, "$.A", b"").unwrap();
    let gap = b.with(|queue| queue.front()).unwrap();
    assert_eq!((gap.name(), gap.lost), (b"$.KBUS.Lost".as_slice(), 1));
    let urgent = w.send(&a, announcement("$.A", KBUS_URGENT, b"")).unwrap();
    assert!(b.with(|queue| queue.consume(gap.token)).is_some());
    assert_eq!(b.read().unwrap().id, urgent);
    let view = b.read().unwrap();
    assert_eq!((view.id, view.lost), (last, 0));
}

/// A reader slips through while a send finds a full queue and prepares to wait: whenever that
/// happens, the send goes, or its sender is told that it may try again.
#[test]
fn a_reader_that_slips_through_is_not_missed() {
    for blocking in [true, false] {
        for when in 0.. {
            let (w, a, b) = full();
            let left = Rc::new(Cell::new(Some(when)));
            let (count, woken) = (left.clone(), Rc::new(Cell::new(None)));
            let kept = woken.clone();
            b.before_looks(Some(Box::new(move |queue| {
                let now = count.get();
                count.set(now.and_then(|now: u32| now.checked_sub(1)));
                if now == Some(0) {
                    let token = queue.front().unwrap().token;
                    kept.set(queue.consume(token));
                }
            })));
            let mut thread = None;
            let sent = match blocking {
                true => match Thread::begin(&w, &a, What::announcement("$.A")) {
                    Ok(Tried::Waits(waits)) => {
                        thread = Some(waits);
                        Err(Error::Again)
                    }
                    Ok(Tried::Done(id)) => Ok(id),
                    Err(error) => Err(error),
                },
                false => w.announce_all(&a, "$.A"),
            };
            b.before_looks(None);
            let Some(consumed) = woken.take() else {
                // The send was over before the reader came.
                assert!(left.get().is_some() && when > 1);
                break;
            };
            consumed.settle(&b);
            let came = b.with(|queue| queue.unread()) == 1;
            match (sent, thread) {
                (Ok(_), _) => assert!(came),
                (Err(_), Some(mut thread)) => {
                    assert!(!came && thread.is_woken(), "read before look {when}");
                    assert!(thread.go_on().unwrap().is_ok());
                }
                (Err(error), None) => {
                    assert_eq!(error, Error::Again);
                    assert!(
                        a.with(|queue| queue.is_writable()),
                        "read before look {when}"
                    );
                    assert!(a.wakes().1 > 0);
                }
            }
        }
    }
}

/// A send that is refused is remembered by one queue, however many were full.
#[test]
fn a_refused_send_is_remembered_once() {
    let w = World::new(0, 1 << 20);
    let sender = w.join(1, 1);
    let full: Vec<_> = (0..1000).map(|n| w.join(100 + n, 1)).collect();
    for peer in &full {
        w.listen(peer, "$.A").unwrap();
        peer.with(|q| q.set_limit(1));
    }
    w.announce(&sender, "$.A", b"").unwrap();
    assert_eq!(w.announce_all(&sender, "$.A"), Err(Error::Again));
    let writable = || sender.with(|q| q.is_writable());
    assert!(!writable());
    // It could not go before that one changes, which is the first; then it may try again.
    let (first, rest) = full.split_first().unwrap();
    for peer in rest {
        peer.read().unwrap();
        assert!(!writable());
    }
    first.read().unwrap();
    assert!(writable());
}

/// A send makes the socket writable, whatever it had been refused before.
#[test]
fn a_send_forgets_an_earlier_refusal() {
    let (w, a, b) = full();
    w.listen(&b, "$.B").unwrap();
    assert_eq!(w.announce_all(&a, "$.A"), Err(Error::Again));
    assert!(!a.with(|q| q.is_writable()));
    a.wakes();
    w.announce(&a, "$.C", b"").unwrap();
    assert!(a.with(|q| q.is_writable()));
    assert_eq!(a.wakes(), (0, 1));
    // Of the first nobody is told any more.
    b.read().unwrap();
    assert_eq!(a.wakes(), (0, 0));
    w.close(&a);
    w.close(&b);
    w.assert_empty();
}

/// What lacks the budget of a user is told when some of it comes back, and not before.
#[test]
fn a_budget_that_comes_back_is_told() {
    for messages in [false, true] {
        let w = World::new(0, 1 << 20);
        let (a, b, c) = (w.join(1, 1), w.join(2, 2), w.join(3, 2));
        w.listen(&b, "$.A").unwrap();
        w.listen(&c, "$.B").unwrap();
        match messages {
            true => w.users.limits.user_messages.set(1),
            false => w.users.limits.user_bytes.set(10),
        };
        w.announce(&a, "$.A", &[0; 10]).unwrap();
        let mut what = What::announcement("$.B");
        if let What::Send { payload, .. } = &mut what {
            payload.extend([0; 5]);
        }
        let Ok(Tried::Waits(thread)) = Thread::begin(&w, &a, what) else {
            panic!("it does not wait");
        };
        let mut threads = vec![thread];
        assert!(run_woken(&w.users, &mut threads).is_empty());
        b.read().unwrap();
        assert_eq!(run_woken(&w.users, &mut threads).len(), 1);
        assert_eq!(c.with(|queue| queue.unread()), 1);
    }
}

/// However many wait for a budget, all can go when there is enough of it for all.
#[test]
fn a_budget_that_comes_back_is_passed_on() {
    let w = World::new(0, 1 << 20);
    let (a, b, c) = (w.join(1, 1), w.join(2, 2), w.join(3, 2));
    w.listen(&b, "$.A").unwrap();
    w.listen(&c, "$.B").unwrap();
    w.users.limits.user_bytes.set(10);
    w.announce(&a, "$.A", &[0; 10]).unwrap();
    let many: Vec<_> = (0..40).map(|n| w.join(10 + n, 1)).collect();
    let wait = |peer| {
        let mut what = What::announcement("$.B");
        if let What::Send { payload, .. } = &mut what {
            payload.extend([0; 5]);
        }
        match Thread::begin(&w, peer, what).unwrap() {
            Tried::Waits(thread) => thread,
            Tried::Done(_) => panic!("it does not wait"),
        }
    };
    let mut threads: Vec<_> = many.iter().map(wait).collect();
    w.users.limits.user_bytes.set(1000);
    b.read().unwrap();
    let ended = run_woken(&w.users, &mut threads);
    assert!(ended.is_sorted_by_key(|(peer, _)| *peer));
    assert_eq!(ended.len(), 40);
}

/// What several copies for one user lack of its budget is waited for in peace: what the send itself
/// has given back is no news.
#[test]
fn what_a_send_gives_back_itself_is_no_news() {
    for len in [0, 5] {
        let w = World::new(0, 1 << 20);
        let a = w.join(1, 1);
        let all = [(2, 0), (3, 1), (4, 2)].map(|(id, group)| w.join_in(id, 2, group));
        for peer in &all {
            w.listen(peer, "$.A").unwrap();
        }
        match len {
            0 => w.users.limits.user_messages.set(2),
            _ => w.users.limits.user_bytes.set(12),
        };
        let mut what = What::announcement("$.A");
        if let What::Send { payload, .. } = &mut what {
            payload.resize(len, 0);
        }
        let Ok(Tried::Waits(mut thread)) = Thread::begin(&w, &a, what) else {
            panic!("it does not wait");
        };
        for _ in 0..3 {
            w.users.answer_the_bell();
            assert!(!thread.is_woken());
            assert!(thread.go_on().is_none());
        }
        thread.give_up();
    }
}

/// A send that lacks the place that a copy for another socket of that user needs is told when the
/// other one listens no more.
#[test]
fn a_copy_that_is_not_wanted_any_more_leaves_its_place() {
    let w = World::new(0, 1 << 20);
    let (a, l0, l1) = (w.join(1, 1), w.join(2, 7), w.join(3, 7));
    for peer in [&l0, &l1] {
        w.listen(peer, "$.A").unwrap();
    }
    w.users.limits.user_messages.set(1);
    assert_eq!(w.announce_all(&a, "$.A"), Err(Error::Again));
    assert!(!a.with(|q| q.is_writable()));
    w.unlisten(&l0, "$.A").unwrap();
    w.users.answer_the_bell();
    assert!(a.with(|q| q.is_writable()));
    w.announce_all(&a, "$.A").unwrap();
}

/// A user has no more than so many waits on a bus.
#[test]
fn waits_are_limited_by_user() {
    let (w, a, _) = full();
    w.users.limits.user_waits.set(2);
    let one = park(&w, &a, "$.A");
    let _two = park(&w, &a, "$.A");
    let third = Thread::begin(&w, &a, What::announcement("$.A"));
    assert!(matches!(third, Err(Error::DQuot)));
    one.give_up();
    let _third = park(&w, &a, "$.A");
}

/// A limit of the machine that is raised is told to those who wait.
#[test]
fn a_limit_that_is_raised_can_be_told() {
    static LIMITS: Limits = Limits::new();
    static BELL: Flag = Flag::new(false);
    let payer = kbus_core::payer::Payer::new(1, &LIMITS, &BELL).unwrap();
    payer.ring();
    assert!(!BELL.get() && !payer.take_ring());
    payer.begin_waiting();
    LIMITS.user_bytes.set(1 << 40);
    payer.ring();
    assert!(BELL.get() && payer.take_ring() && !payer.take_ring());
}

const NAMES: [&str; 4] = ["$.A", "$.B", "$.C", "$.D"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..Default::default() })]
    /// When nobody is left who is woken, nothing waits that could go: no wake-up is lost.
    #[test]
    fn nothing_waits_that_could_go(
        limits in prop::array::uniform4(1u32..6),
        wants in prop::collection::vec((0usize..4, 0usize..4), 4..10),
        ops in prop::collection::vec((0u8..8, 0usize..4), 40..300),
    ) {
        let w = World::new(0, 1 << 20);
        let readers: Vec<_> = (0..4).map(|n| w.join(1 + n, 1)).collect();
        for (reader, limit) in readers.iter().zip(limits) {
            reader.with(|q| q.set_limit(limit));
        }
        // How many copies of each name a reader gets.
        let mut copies = [[0u32; 4]; 4];
        for (reader, name) in wants {
            w.listen(&readers[reader], NAMES[name]).unwrap();
            copies[reader][name] += 1;
        }
        let mut waiting: Vec<Thread> = vec![];
        let mut names = std::collections::BTreeMap::new();
        for (n, (op, at)) in ops.into_iter().enumerate() {
            match op {
                0..4 => {
                    let peer = w.join(100 + n as u64, 1);
                    let what = What::announcement(NAMES[at]);
                    if let Tried::Waits(thread) = Thread::begin(&w, &peer, what).unwrap() {
                        names.insert(thread.age(), at);
                        waiting.push(thread);
                    }
                }
                4 => drop(readers[at].read()),
                5 if !waiting.is_empty() => {
                    let at = at % waiting.len();
                    waiting.remove(at).give_up();
                }
                6 => w.set(&readers[at], |_| ()),
                _ => {
                    // One of the threads gets its turn.
                    let woken = waiting.iter().position(Thread::is_woken);
                    if let Some(at) = woken {
                        if waiting[at].go_on().is_some() {
                            waiting.remove(at);
                        }
                    }
                }
            }
        }
        run_woken(&w.users, &mut waiting);
        for thread in waiting {
            let name = names[&thread.age()];
            let fits = readers.iter().enumerate().all(|(at, reader)| {
                let (has, limit) = reader.with(|q| (q.unread(), q.limit()));
                has + copies[at][name] <= limit
            });
            prop_assert!(!fits, "{} could go", NAMES[name]);
        }
    }
}
