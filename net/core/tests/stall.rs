// SPDX-License-Identifier: GPL-2.0

//! No operation holds the bus for long: what takes time is done in steps, each of them a short one.

mod peer;

use kbus_core::bus::Member;
use kbus_core::bus::Step;
use kbus_core::error::Error::*;
use kbus_core::wakes::Wakes;
use peer::looks;
use peer::Peer;
use peer::World;

/// Most bindings or messages that go in one step.
const BATCH: usize = 16;
/// More queues than any step locks where nobody listens to events.
const FEW_LOOKS: u64 = 64;

/// Settles what a socket left and returns in how many steps, each of which must be a short one.
fn settle(w: &mut World, peer: &Peer, mut between: impl FnMut(&mut World)) -> usize {
    for steps in 1.. {
        let before = looks();
        let step = w.settle_step(peer);
        assert!(looks() - before <= FEW_LOOKS, "{} queues", looks() - before);
        let Step::More(mut rest) = step else {
            return steps;
        };
        let held = std::iter::from_fn(|| rest.held.pop_first()).count();
        let slips = std::iter::from_fn(|| rest.slips.pop_front()).count();
        assert!(held <= BATCH && slips <= BATCH, "{held} {slips}");
        between(w);
    }
    unreachable!()
}

/// A socket with so many listener and replier bindings, every other of each.
fn with_bindings(w: &mut World, id: u64, count: usize) -> Peer {
    let peer = w.join(id, 1);
    for n in 0..count / 2 {
        w.listen(&peer, &format!("$.L.N{n}")).unwrap();
        w.replier(&peer, &format!("$.R.N{n}")).unwrap();
    }
    peer
}

/// However much a socket has, its close begins in one short step.
#[test]
fn a_close_begins_in_one_short_step() {
    let mut looked = vec![];
    for count in [2, 4096] {
        let mut w = World::new(0, 1 << 30);
        let peer = with_bindings(&mut w, 1, count);
        let sender = w.join(2, 2);
        peer.with(|q| q.set_limit(1 << 20));
        for n in 0..count {
            w.announce(&sender, &format!("$.L.N{}", n / 2), b"").unwrap();
        }
        assert_eq!(peer.with(|q| q.unread()), count as u32);
        let before = looks();
        drop(w.bus.close_begin(&peer, &mut Wakes::new()));
        looked.push(looks() - before);
        assert_eq!((w.bus.members(), w.bus.bindings()), (1, 0));
        let steps = settle(&mut w, &peer, |_| {});
        assert!(steps >= count / BATCH);
        assert!(w.bus.has_no_routes());
    }
    assert_eq!(looked[0], looked[1]);
}

/// From the first step of a close on, its names are free, nothing reaches it, and who takes a name keeps it.
#[test]
fn a_close_takes_effect_at_once() {
    let mut w = World::new(0, 1 << 20);
    let dead = with_bindings(&mut w, 1, 4096);
    let (new, sender) = (w.join(2, 1), w.join(3, 2));
    assert_eq!(w.listen(&new, "$.X"), Err(DQuot));
    drop(w.bus.close_begin(&dead, &mut Wakes::new()));
    assert_eq!(w.bus.replier_for(b"$.R.N7"), 0);
    assert_eq!(w.request(&sender, "$.R.N7", b""), Err(AddrNotAvail));
    for n in 0..1000 {
        w.replier(&new, &format!("$.R.N{n}")).unwrap();
        w.listen(&new, &format!("$.L.N{n}")).unwrap();
    }
    let mut asked = 0;
    let steps = settle(&mut w, &dead, |w| {
        w.announce(&sender, "$.L.N900", b"").unwrap();
        asked += u32::from(w.request(&sender, "$.R.N900", b"").is_ok());
    });
    assert!(steps >= 2048 && asked > 0);
    assert_eq!(dead.counters(), (0, 0, 0, 0, 0));
    assert!(new.with(|q| q.unread()) > 0);
    for n in 0..1000 {
        assert_eq!(w.bus.replier_for(format!("$.R.N{n}").as_bytes()), 2);
        w.unreplier(&new, &format!("$.R.N{n}")).unwrap();
        w.unlisten(&new, &format!("$.L.N{n}")).unwrap();
    }
    assert!(w.bus.has_no_routes());
}

/// A protected wildcard of a socket that is closing protects nothing any more.
#[test]
fn a_dying_wildcard_is_robbed_of_nothing() {
    let mut w = World::new(0, 1 << 20);
    let (one, other) = (w.join(1, 1), w.join(2, 2));
    w.replier(&one, "$.A.*").unwrap();
    assert_eq!(w.replier(&other, "$.A.B"), Err(Acces));
    drop(w.bus.close_begin(&one, &mut Wakes::new()));
    w.replier(&other, "$.A.B").unwrap();
    w.settle(&one);
    assert_eq!(w.bus.replier_for(b"$.A.B"), 2);
}

/// The same of the two halves of a shutdown; what the other half leaves stays.
#[test]
fn a_shutdown_takes_effect_at_once() {
    for read in [true, false] {
        let mut w = World::new(0, 1 << 20);
        let shut = with_bindings(&mut w, 1, 200);
        let (new, sender) = (w.join(2, 1), w.join(3, 2));
        match read {
            true => drop(w.bus.shutdown_read(&shut, &mut Wakes::new())),
            false => drop(w.bus.shutdown_write(&shut, &mut Wakes::new())),
        }
        assert_eq!(w.bus.bindings(), if read { 0 } else { 100 });
        assert_eq!(w.unreplier(&shut, "$.R.N7"), Err(Inval));
        assert_eq!(w.unlisten(&shut, "$.L.N7").is_err(), read);
        w.replier(&new, "$.R.N7").unwrap();
        w.announce(&sender, "$.L.N8", b"").unwrap();
        settle(&mut w, &shut, |_| {});
        assert_eq!(shut.with(|q| q.unread()), u32::from(!read));
        assert_eq!(w.bus.replier_for(b"$.R.N7"), 2);
        w.close(&shut);
        w.close(&new);
        assert!(w.bus.has_no_routes());
    }
}

/// Bind events of a socket that dies go to nobody who is dying, and each name's once.
#[test]
fn events_of_the_dying_come_in_steps() {
    let mut w = World::new(0, 1 << 20);
    let (owner, dead) = (w.join(1, 0), with_bindings(&mut w, 2, 100));
    w.report_binds(&owner, true).unwrap();
    while owner.read().is_some() {}
    w.listen(&owner, "$.KBUS.ReplierBindEvent").unwrap();
    w.listen(&dead, "$.KBUS.ReplierBindEvent").unwrap();
    drop(w.bus.close_begin(&dead, &mut Wakes::new()));
    settle(&mut w, &dead, |_| {});
    assert_eq!(owner.with(|q| q.unread()), 50);
    assert_eq!(dead.with(|q| q.unread()), 0);
}
