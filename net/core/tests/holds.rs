// SPDX-License-Identifier: GPL-2.0

//! What one operation does while it has the bus, where that is not plain from how it is called: the lock is
//! held for as long.

mod peer;

use kbus_core::bus::Bus;
use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Sent;
use kbus_core::error::Error::*;
use kbus_core::hash::Key;
use kbus_core::mem::AllocError;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::name::Pattern;
use kbus_core::payer::Payer;
use kbus_core::queue::Queue;
use kbus_core::wakes::Wakes;
use peer::looks;
use peer::Peer;
use peer::Users;
use peer::World;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// Listeners of a wide fan-out.
const MANY: u64 = 4096;

/// Sends that wait and go to thousands are tried one or two at a time: a step with them is not sixteen fan-outs.
#[test]
fn a_step_tries_fewer_of_those_that_go_to_many() {
    let mut w = World::new(0, 1 << 20);
    let victim = w.join(1, 1);
    w.listen(&victim, "$.A").unwrap();
    victim.with(|q| q.set_limit(20));
    let listeners: Vec<_> = (0..MANY).map(|n| w.join(1000 + n, 2 + n as u32)).collect();
    for peer in &listeners {
        w.listen(peer, "$.A").unwrap();
    }
    let sender = w.join(2, 1);
    let before = looks();
    for _ in 0..20 {
        w.announce(&sender, "$.A", b"").unwrap();
    }
    let fan_out = (looks() - before) / 20;
    let waiting: Vec<_> = (0..20).map(|n| w.join(100 + n, 1)).collect();
    for peer in &waiting {
        assert_eq!(w.announce_all(peer, "$.A", true), Ok(None));
    }
    // There is room for all of them before the bus hears of it.
    let left = std::iter::from_fn(|| victim.with(|q| q.front()))
        .take(19)
        .map(|view| drop(victim.with(|q| q.consume(view.token))))
        .count();
    assert_eq!(left, 19);
    let before = looks();
    w.read(&victim).unwrap();
    let looked = looks() - before;
    assert!(looked < 3 * fan_out, "{looked} of {fan_out} for one");
    // And yet all of them go, each for its own thread.
    let mut steps = 0;
    while waiting.iter().any(|peer| w.carry_on(peer)) {
        steps += 1;
    }
    assert!(steps >= 8, "{steps}");
    assert_eq!(victim.with(|q| q.unread()), 20);
}

/// A send that is refused is remembered by one queue, however many were full.
#[test]
fn a_refused_send_is_remembered_once() {
    let mut w = World::new(0, 1 << 20);
    let sender = w.join(1, 1);
    let full: Vec<_> = (0..1000).map(|n| w.join(100 + n, 1)).collect();
    for peer in &full {
        w.listen(peer, "$.A").unwrap();
        peer.with(|q| q.set_limit(1));
    }
    w.announce(&sender, "$.A", b"").unwrap();
    assert_eq!(w.announce_all(&sender, "$.A", false), Err(Again));
    assert!(!sender.with(|q| q.is_writable()));
    let waited = |peer: &&Peer| peer.with(|q| q.is_waited_for());
    assert_eq!(full.iter().filter(waited).count(), 1);
    // It could not go before that one changes; then it may try again.
    for peer in full.iter().rev().filter(|peer| !waited(peer)) {
        w.read(peer).unwrap();
        assert!(!sender.with(|q| q.is_writable()));
    }
    w.read(full.iter().find(waited).unwrap()).unwrap();
    assert!(sender.with(|q| q.is_writable()));
}

/// A binding that goes from a long queue of once-only messages costs a comparison for each, and not a way through the
/// routes, which is as long as its name has words.
#[test]
fn unlistening_does_not_look_names_up() {
    // Each of the best of some, of which the other threads of this machine have not been in the way of all.
    let took = |name: &str| -> Duration {
        let mut w = World::new(0, 1 << 30);
        let (peer, sender) = (w.join(1, 1), w.join(2, 1));
        peer.with(|q| {
            q.set_once(true);
            q.set_limit(16384);
        });
        w.listen(&peer, name).unwrap();
        w.listen(&peer, "$.*").unwrap();
        for _ in 0..16384 {
            w.announce(&sender, name, b"").unwrap();
        }
        let tries = (0..5).map(|_| {
            w.listen(&peer, "$.Another").unwrap();
            let start = Instant::now();
            w.unlisten(&peer, "$.Another").unwrap();
            start.elapsed()
        });
        let another = tries.min().unwrap();
        let start = Instant::now();
        w.unlisten(&peer, "$.*").unwrap();
        let one = start.elapsed();
        assert_eq!(peer.with(|q| q.unread()), 16384);
        w.unlisten(&peer, name).unwrap();
        assert_eq!(peer.with(|q| q.unread()), 0);
        another.min(one)
    };
    let (short, long) = (took("$.A"), took(&format!("$.{}A", "a.".repeat(498))));
    println!("16384 messages: {short:?} with one word, {long:?} with 499");
    assert!(long < short * 20, "{short:?} {long:?}");
}

/// What has been sent is kept for the sender to drop, who does so without the lock: its readers may be faster.
#[test]
fn a_payload_is_the_sender_s_to_drop() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    w.replier(&b, "$.B").unwrap();
    let mut last = 0;
    let mut send = |w: &mut World, from: &Peer, dest: Dest<'_>, flags: u32| {
        let mut out = Outgoing {
            dest: Some(dest),
            flags,
            payload: vec![0; 1000],
            ..Default::default()
        };
        let mut next = || {
            last += 1;
            last
        };
        let sent = w
            .bus
            .send(from, &mut out, false, &mut next, &mut Wakes::new());
        assert!(matches!(sent, Ok(Sent::Id(_))), "{sent:?}");
        out.sent.expect("what was made of it")
    };
    let announced = send(&mut w, &a, Dest::Name(b"$.A"), 0);
    let asked = send(&mut w, &a, Dest::Name(b"$.B"), 1);
    for sent in [&announced, &asked] {
        drop(w.read(&b).unwrap());
        assert_eq!((Arc::strong_count(sent), sent.payload.len()), (1, 1000));
    }
    let reply = Dest::Reply {
        peer: 1,
        request: asked.id(),
        name: None,
    };
    let replied = send(&mut w, &b, reply, 0);
    drop(w.read(&a).unwrap());
    assert_eq!(
        (Arc::strong_count(&replied), replied.payload.len()),
        (1, 1000)
    );
}

/// What has waited is dropped by whoever let it go, without the lock too: so its bytes do not depend on when its sender runs.
#[test]
fn a_payload_that_waited_is_dropped_by_who_let_it_go() {
    let mut w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|q| q.set_limit(1));
    w.announce(&a, "$.A", b"").unwrap();
    let mut out = Outgoing {
        dest: Some(Dest::Name(b"$.A")),
        flags: KBUS_ALL_OR_WAIT,
        payload: vec![0; 1000],
        ..Default::default()
    };
    let sent = w.bus.send(&a, &mut out, true, &mut || 7, &mut Wakes::new());
    let Ok(Sent::Wait(ticket)) = sent else {
        panic!("{sent:?}");
    };
    let token = b.with(|q| q.front()).unwrap().token;
    let consumed = b.with(|q| q.consume(token)).unwrap();
    let mut wakes = Wakes::new();
    drop(w.bus.after_read(&b, consumed.back, &mut || 8, &mut wakes));
    let view = w.read(&b).unwrap();
    let message = view.message().unwrap().clone();
    drop(view);
    assert_eq!(Arc::strong_count(&message), 2);
    drop(wakes);
    assert_eq!(
        (Arc::strong_count(&message), message.payload.len()),
        (1, 1000)
    );
    drop(message);
    assert_eq!(w.bus.account().used(), 0);
    assert!(w.bus.finished(&a, ticket).unwrap().result.is_ok());
}

/// What lacks a byte of a user whose sockets elsewhere are read all the while waits like all else: its thread does not try for
/// as long as they are.
#[test]
fn a_user_who_reads_elsewhere_keeps_nobody_trying() {
    let users = Users::new(0);
    let mut bus = Bus::new(0, 1 << 20, users.limits, Key(1, 2)).unwrap();
    let [sender, listener] = [1, 2].map(|id| {
        Restless(Rc::new((
            id,
            users.payer(id as u32),
            RefCell::new(Queue::new()),
        )))
    });
    bus.join(&sender).unwrap();
    bus.join(&listener).unwrap();
    bus.listen(&listener, &Pattern::parse(b"$.A").unwrap())
        .unwrap();
    let mut out = Outgoing {
        dest: Some(Dest::Name(b"$.A")),
        flags: KBUS_ALL_OR_WAIT,
        payload: vec![0],
        ..Default::default()
    };
    let sent = bus.send(&sender, &mut out, true, &mut || 7, &mut Wakes::new());
    assert!(matches!(sent, Ok(Sent::Wait(_))), "{sent:?}");
    assert!(!bus.carry_on(&sender, &mut || 7, &mut Wakes::new()));
    // And yet it is told that there may be some.
    assert!(listener.payer().take_ring());
}

/// A socket whose user gets something back whenever somebody begins to wait for it.
#[derive(Clone)]
struct Restless(Rc<(u64, Arc<Payer>, RefCell<Queue<Restless>>)>);

impl Member for Restless {
    type Sender = ();
    type Files = ();

    fn now() -> i64 {
        0
    }

    fn id(&self) -> u64 {
        self.0 .0
    }

    fn user(&self) -> u32 {
        self.0 .1.id()
    }

    fn payer(&self) -> &Arc<Payer> {
        &self.0 .1
    }

    fn await_budget(&self) -> Result<(), AllocError> {
        self.payer().await_budget();
        self.payer().ring();
        // Somebody was told of that in this very moment.
        self.payer().take_ring();
        self.payer().await_budget();
        Ok(())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        f(&mut self.0 .2.borrow_mut())
    }
}

/// A send that lacks the place that a copy for another socket of that user needs is told when the other one listens no more.
#[test]
fn a_copy_that_is_not_wanted_any_more_leaves_its_place() {
    let mut w = World::new(0, 1 << 20);
    let (a, l0, l1, l2) = (w.join(1, 1), w.join(2, 7), w.join(3, 7), w.join(4, 8));
    for peer in [&l0, &l1, &l2] {
        w.listen(peer, "$.A").unwrap();
    }
    w.listen(&l2, "$.B").unwrap();
    l2.with(|q| q.set_limit(1));
    w.announce(&a, "$.B", b"").unwrap();
    w.users
        .messages
        .store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(w.announce_all(&a, "$.A", false), Err(Again));
    w.unlisten(&l0, "$.A").unwrap();
    w.read(&l2).unwrap();
    for peer in w.users.rung() {
        w.bus.budget_released(&peer, &mut Wakes::new());
        while w.bus.budget_step(&peer, &mut Wakes::new()) {}
    }
    assert!(a.with(|q| q.is_writable()));
    assert!(w.announce_all(&a, "$.A", false).unwrap().is_some());
}
