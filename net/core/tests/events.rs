// SPDX-License-Identifier: GPL-2.0

//! The news of repliers: rules about their pool and its end that random programs seldom reach.

mod peer;

use kbus_core::bus::Member;
use kbus_core::error::Error;
use kbus_core::message::BIND_EVENT;
use kbus_core::message::EVENTS_LOST;
use kbus_core::queue::Garbage;
use kbus_core::wakes::Wakes;
use peer::Peer;
use peer::World;
use std::sync::atomic::Ordering::Relaxed;

const EVENT: &str = "$.KBUS.ReplierBindEvent";

/// A bus with events on and a pool of that size and share; the socket that asked for them.
fn world(size: u32, share: u32) -> (World, Peer) {
    let mut world = World::new(0, 1 << 20);
    world.bus.set_pool(size, share);
    let reporter = world.join(100, 1);
    world.report_binds(&reporter, true).unwrap();
    (world, reporter)
}

/// More messages than any queue here holds.
const MANY: usize = 1000;

/// A socket binds so many names and dies: as many unbind events without a bind event before them,
/// as what was told so far is read.
fn die(world: &mut World, how_many: u32, readers: &[&Peer]) {
    let dying = world.join(200, 1);
    for n in 0..how_many {
        world.replier(&dying, &format!("$.D{n}")).unwrap();
    }
    for reader in readers {
        assert!(names(world, reader).len() < MANY);
    }
    world.close(&dying);
}

/// The names of all that waits there, once all is read.
fn names(world: &mut World, peer: &Peer) -> Vec<Vec<u8>> {
    let one = || world.read(peer).map(|view| view.name().to_vec());
    std::iter::from_fn(one).take(MANY).collect()
}

fn count<M: Member>(mut garbage: Garbage<M>) -> usize {
    std::iter::from_fn(|| garbage.pop_front()).count()
}

/// `KBUS_REPORT_BINDS` can be asked for, and is a matter of each socket.
#[test]
fn reporting_binds_is_seen_by_socket() {
    let (mut w, reporter) = world(1, 1);
    let other = w.join(1, 1);
    assert!(w.bus.reports_binds(&reporter));
    assert!(!w.bus.reports_binds(&other));
    w.report_binds(&reporter, false).unwrap();
    assert!(!w.bus.reports_binds(&reporter));
}

/// Each switching on puts in the events of all repliers, but only while the queue is within its limit.
#[test]
fn switching_on_again_and_again_has_an_end() {
    let (mut w, reporter) = world(1, 1);
    for n in 0..3 {
        w.replier(&reporter, &format!("$.R{n}")).unwrap();
    }
    reporter.with(|queue| queue.set_limit(4));
    w.report_binds(&reporter, false).unwrap();
    let mut again = |unread: u32, result| {
        assert_eq!(w.report_binds(&reporter, true), result);
        assert_eq!(w.bus.reports_binds(&reporter), result.is_ok());
        assert_eq!(reporter.with(|queue| queue.unread()), unread);
        w.report_binds(&reporter, false).unwrap();
    };
    again(3, Ok(()));
    again(6, Ok(()));
    again(6, Err(Error::NoBufs));
    let _ = reporter.read();
    again(5, Err(Error::NoBufs));
    let _ = reporter.read();
    again(7, Ok(()));
}

/// They are messages of its user.
#[test]
fn switching_on_needs_a_place_for_each_replier() {
    let (mut w, reporter) = world(1, 1);
    for n in 0..3 {
        w.replier(&reporter, &format!("$.R{n}")).unwrap();
    }
    w.report_binds(&reporter, false).unwrap();
    w.users.messages.store(2, Relaxed);
    assert_eq!(w.report_binds(&reporter, true), Err(Error::NoBufs));
    assert_eq!(w.users.used(1), (0, 0));
    w.users.messages.store(3, Relaxed);
    w.report_binds(&reporter, true).unwrap();
    assert_eq!(w.users.used(1), (0, 3));
    assert_eq!(names(&mut w, &reporter).len(), 3);
    assert_eq!(w.users.used(1), (0, 0));
}

/// The event of a binding is one of each user who listens, whose budget it does not wait for.
#[test]
fn an_event_is_a_message_of_who_listens() {
    let (mut w, _) = world(1, 1);
    let (binder, strange, own) = (w.join(1, 1), w.join(2, 2), w.join(3, 1));
    w.listen(&strange, EVENT).unwrap();
    w.users.messages.store(1, Relaxed);
    w.replier(&binder, "$.A").unwrap();
    w.replier(&binder, "$.B").unwrap();
    assert_eq!((w.users.used(2), w.users.used(1)), ((0, 1), (0, 0)));
    assert_eq!(strange.with(|queue| queue.lost()), 1);
    // Of who binds it has to arrive.
    w.listen(&own, EVENT).unwrap();
    w.replier(&binder, "$.C").unwrap();
    assert_eq!(w.replier(&binder, "$.D"), Err(Error::Again));
    assert_eq!(names(&mut w, &own).len(), 1);
    w.replier(&binder, "$.D").unwrap();
}

/// The pool is there while one socket wants events, and goes with the last one.
#[test]
fn the_pool_goes_with_the_last_who_wants_events() {
    let (mut w, first) = world(3, 1);
    let second = w.join(1, 1);
    w.report_binds(&second, true).unwrap();
    let mut off = |peer: &Peer| {
        let wakes = &mut Wakes::new();
        count(
            w.bus
                .report_binds(peer, false, &mut || 0, wakes)
                .ok()
                .unwrap(),
        )
    };
    assert_eq!((off(&first), off(&second)), (0, 3));
}

/// No listener has more than its share of the pool, which others may need.
#[test]
fn a_listener_has_no_more_than_its_share_of_the_pool() {
    let (mut w, _) = world(6, 0);
    let (greedy, modest) = (w.join(1, 1), w.join(2, 1));
    for text in [EVENT, "$.KBUS.*", "$.KBUS.%"] {
        w.listen(&greedy, text).unwrap();
    }
    w.listen(&modest, EVENT).unwrap();
    die(&mut w, 2, &[&greedy, &modest]);
    let told = names(&mut w, &modest);
    assert_eq!(told, [BIND_EVENT, BIND_EVENT]);
    let told = names(&mut w, &greedy);
    let kept = told.iter().filter(|name| *name == BIND_EVENT).count();
    assert_eq!((kept, told.len()), (3, 6));
}

/// What a dead listener had of the pool is there again for others.
#[test]
fn a_dead_listener_gives_its_part_of_the_pool_back() {
    let (mut w, _) = world(2, 2);
    let first = w.join(1, 1);
    w.listen(&first, EVENT).unwrap();
    die(&mut w, 2, &[&first]);
    assert_eq!(first.with(|queue| queue.unread()), 2);
    w.close(&first);
    let second = w.join(2, 1);
    w.listen(&second, EVENT).unwrap();
    die(&mut w, 2, &[&second]);
    assert_eq!(names(&mut w, &second), [BIND_EVENT, BIND_EVENT]);
}

/// Who wants each message once is told once that events were lost, until it has read that.
#[test]
fn a_once_only_listener_is_told_once_that_events_were_lost() {
    let (mut w, _) = world(0, 0);
    let once = w.join(1, 1);
    once.with(|queue| queue.set_once(true));
    w.listen(&once, EVENT).unwrap();
    die(&mut w, 1, &[&once]);
    assert_eq!(once.with(|queue| queue.unread()), 1);
    // A binding that has a notice of its own, and comes first in the routes.
    w.listen(&once, "$.*").unwrap();
    let dying = w.join(201, 1);
    once.with(|queue| queue.set_limit(1));
    w.replier(&dying, "$.X").unwrap_err();
    once.with(|queue| queue.set_lossy(true));
    w.replier(&dying, "$.X").unwrap();
    w.close(&dying);
    assert_eq!(names(&mut w, &once), [EVENTS_LOST]);
    die(&mut w, 1, &[&once]);
    assert_eq!(names(&mut w, &once), [EVENTS_LOST]);
}

/// The news that events were lost stays while one of the bindings that would have let them in does.
#[test]
fn lost_events_are_told_while_one_binding_is_left() {
    let (mut w, _) = world(0, 0);
    let once = w.join(1, 1);
    once.with(|queue| queue.set_once(true));
    w.listen(&once, "$.KBUS.*").unwrap();
    w.listen(&once, EVENT).unwrap();
    die(&mut w, 1, &[&once]);
    w.unlisten(&once, "$.KBUS.*").unwrap();
    assert_eq!(once.with(|queue| queue.unread()), 1);
    w.unlisten(&once, EVENT).unwrap();
    assert_eq!(once.with(|queue| queue.unread()), 0);
}

/// An exact binding to the event counts for a socket that wants all once, though a wildcard comes first.
#[test]
fn an_exact_binding_counts_beside_a_wildcard() {
    let (mut w, _) = world(1, 1);
    let (once, binder) = (w.join(1, 1), w.join(2, 1));
    once.with(|queue| queue.set_once(true));
    w.listen(&once, "$.KBUS.*").unwrap();
    once.with(|queue| queue.set_limit(0));
    w.replier(&binder, "$.A").unwrap();
    w.listen(&once, EVENT).unwrap();
    assert_eq!(w.replier(&binder, "$.B"), Err(Error::Again));
}
