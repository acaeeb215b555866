// SPDX-License-Identifier: GPL-2.0

//! The news of repliers: rules about the end of them that random programs seldom reach.

mod peer;

use kbus_core::error::Error;
use kbus_core::mem;
use kbus_core::message::BIND_EVENT;
use kbus_core::message::EVENTS_LOST;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use peer::Peer;
use peer::World;

const EVENT: &str = "$.KBUS.ReplierBindEvent";

/// A bus with events on, that many unbind events of sockets that died and that share of them for
/// each listener; the socket that asked for events.
fn world(most: u32, share: u32) -> (World, Peer) {
    let world = World::new(0, 1 << 20);
    world.bus(|bus| bus.set_most_events(most, share));
    let reporter = world.join(100, 1);
    world.report_binds(&reporter, true).unwrap();
    (world, reporter)
}

/// More messages than any queue here holds.
const MANY: usize = 1000;

/// A socket binds so many names and dies: as many unbind events without a bind event before them,
/// as what was told so far is read.
fn die(world: &World, how_many: u32, readers: &[&Peer]) {
    let dying = world.join(200, 1);
    for n in 0..how_many {
        world.replier(&dying, &format!("$.D{n}")).unwrap();
    }
    for reader in readers {
        assert!(names(reader).len() < MANY);
    }
    world.close(&dying);
}

/// Names and ids of all that waits there, once all is read.
fn news(peer: &Peer) -> Vec<(Vec<u8>, u64)> {
    let one = || peer.read().map(|view| (view.name().to_vec(), view.id));
    std::iter::from_fn(one).take(MANY).collect()
}

/// The names alone.
fn names(peer: &Peer) -> Vec<Vec<u8>> {
    news(peer).into_iter().map(|(name, _)| name).collect()
}

/// `KBUS_REPORT_BINDS` can be asked for, and is a matter of each socket.
#[test]
fn reporting_binds_is_seen_by_socket() {
    let (w, reporter) = world(1, 1);
    let other = w.join(1, 1);
    let reports = |peer: &Peer| w.bus(|bus| bus.reports_binds(peer));
    assert!(reports(&reporter) && !reports(&other));
    w.report_binds(&reporter, false).unwrap();
    assert!(!reports(&reporter));
}

/// Each switching on puts in the events of all repliers, but only while the queue is within its
/// limit.
#[test]
fn switching_on_again_and_again_has_an_end() {
    let (w, reporter) = world(1, 1);
    for n in 0..3 {
        w.replier(&reporter, &format!("$.R{n}")).unwrap();
    }
    reporter.with(|queue| queue.set_limit(4));
    w.report_binds(&reporter, false).unwrap();
    let again = |unread: u32, result| {
        assert_eq!(w.report_binds(&reporter, true), result);
        assert_eq!(w.bus(|bus| bus.reports_binds(&reporter)), result.is_ok());
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
    let (w, reporter) = world(1, 1);
    for n in 0..3 {
        w.replier(&reporter, &format!("$.R{n}")).unwrap();
    }
    w.report_binds(&reporter, false).unwrap();
    w.users.limits.user_messages.set(2);
    assert_eq!(w.report_binds(&reporter, true), Err(Error::NoBufs));
    assert_eq!(w.users.used(1), (0, 0));
    w.users.limits.user_messages.set(3);
    w.report_binds(&reporter, true).unwrap();
    assert_eq!(w.users.used(1), (0, 3));
    assert_eq!(names(&reporter).len(), 3);
    assert_eq!(w.users.used(1), (0, 0));
}

/// What there is is told in the order in which it was bound, also of more repliers than one hold of
/// the bus lock tells of, and wakes the reader.
#[test]
fn switching_on_tells_of_all_in_their_order() {
    let w = World::new(0, 1 << 20);
    let repliers: Vec<_> = (0..7).map(|n| w.join(1 + n, 1)).collect();
    let reporter = w.join(100, 2);
    for n in 0..500 {
        w.replier(&repliers[n * 5 % 7], &format!("$.R{n}")).unwrap();
    }
    reporter.wakes();
    w.report_binds(&reporter, true).unwrap();
    assert!(reporter.wakes().0 > 0);
    assert!(w.holds().1 <= 2 * 64);
    let told = || reporter.read().map(|view| view.payload()[16..].to_vec());
    let told: Vec<_> = std::iter::from_fn(told).collect();
    let all: Vec<_> = (0..500).map(|n| format!("$.R{n}").into_bytes()).collect();
    assert_eq!(told, all);
}

/// The event of a binding is one of each user who listens, whose budget it does not wait for.
#[test]
fn an_event_is_a_message_of_who_listens() {
    let (w, _) = world(1, 1);
    let (binder, strange, own) = (w.join(1, 1), w.join(2, 2), w.join(3, 1));
    w.listen(&strange, EVENT).unwrap();
    w.users.limits.user_messages.set(1);
    w.replier(&binder, "$.A").unwrap();
    w.replier(&binder, "$.B").unwrap();
    assert_eq!((w.users.used(2), w.users.used(1)), ((0, 1), (0, 0)));
    assert_eq!(strange.with(|queue| queue.lost()), 1);
    // Of who binds it has to arrive.
    w.listen(&own, EVENT).unwrap();
    w.replier(&binder, "$.C").unwrap();
    assert_eq!(w.replier(&binder, "$.D"), Err(Error::Again));
    assert_eq!(names(&own).len(), 1);
    w.replier(&binder, "$.D").unwrap();
}

/// No listener has more than its share of the unbind events beyond the limits, and each has that,
/// whatever the others have.
#[test]
fn a_listener_has_its_share_of_the_unbind_events() {
    let (w, _) = world(6, 0);
    let (greedy, modest) = (w.join(1, 1), w.join(2, 1));
    for text in [EVENT, "$.KBUS.*", "$.KBUS.%"] {
        w.listen(&greedy, text).unwrap();
    }
    w.listen(&modest, EVENT).unwrap();
    die(&w, 3, &[&greedy, &modest]);
    assert_eq!(names(&modest), [BIND_EVENT; 3]);
    // Of one event that has three copies, then nothing but the news that there were more.
    let told = news(&greedy);
    let (events, lost) = told.split_at(3);
    assert!(events
        .iter()
        .all(|(name, id)| name == BIND_EVENT && *id == events[0].1));
    assert_eq!(lost, [(EVENTS_LOST.to_vec(), events[0].1 + 1)]);
}

/// The share is at least so much, however many there are.
#[test]
fn each_listener_has_the_least_share() {
    let (w, _) = world(10, 3);
    let all: Vec<_> = (0..200).map(|n| w.join(300 + n, 1)).collect();
    for peer in &all {
        w.listen(peer, EVENT).unwrap();
    }
    let readers: Vec<_> = all.iter().collect();
    let dying = w.join(1000, 1);
    for n in 0..5 {
        w.replier(&dying, &format!("$.D{n}")).unwrap();
        readers.iter().for_each(|reader| drop(names(reader)));
    }
    w.close(&dying);
    for peer in &all {
        let told = news(peer);
        let ids: Vec<_> = told.iter().map(|(_, id)| *id).collect();
        assert_eq!(told.len(), 4);
        assert!(told[..3].iter().all(|(name, _)| name == BIND_EVENT));
        assert_eq!(told[3].0, EVENTS_LOST);
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_eq!(peer.with(|queue| queue.lost()), 0);
    }
}

/// The news that events were lost comes behind a copy of the same event that was kept.
#[test]
fn lost_events_are_told_after_those_that_were_kept() {
    let (w, _) = world(0, 1);
    let peer = w.join(1, 1);
    for text in ["$.KBUS.*", EVENT] {
        w.listen(&peer, text).unwrap();
    }
    die(&w, 1, &[&peer]);
    assert_eq!(names(&peer), [BIND_EVENT, EVENTS_LOST]);
}

/// What a listener has read makes room for more.
#[test]
fn a_share_that_is_read_is_there_again() {
    let (w, _) = world(0, 2);
    let peer = w.join(1, 1);
    w.listen(&peer, EVENT).unwrap();
    for _ in 0..3 {
        die(&w, 2, &[&peer]);
        assert_eq!(names(&peer), [BIND_EVENT, BIND_EVENT]);
    }
}

/// Each socket is told once that events were lost, until it has read that, however many of its
/// bindings match.
#[test]
fn a_listener_is_told_once_that_events_were_lost() {
    for once in [false, true] {
        let (w, _) = world(0, 0);
        let peer = w.join(1, 1);
        peer.with(|queue| queue.set_once(once));
        w.listen(&peer, EVENT).unwrap();
        die(&w, 1, &[&peer]);
        assert_eq!(peer.with(|queue| queue.unread()), 1);
        // A binding that comes first in the routes.
        w.listen(&peer, "$.*").unwrap();
        let dying = w.join(201, 1);
        peer.with(|queue| queue.set_limit(1));
        w.replier(&dying, "$.X").unwrap_err();
        peer.with(|queue| queue.set_lossy(true));
        w.replier(&dying, "$.X").unwrap();
        w.close(&dying);
        assert_eq!(names(&peer), [EVENTS_LOST]);
        die(&w, 1, &[&peer]);
        assert_eq!(names(&peer), [EVENTS_LOST]);
        w.close(&peer);
    }
}

/// The news that events were lost stays while one of the bindings that would have let them in does.
#[test]
fn lost_events_are_told_while_one_binding_is_left() {
    for once in [false, true] {
        let (w, _) = world(0, 0);
        let peer = w.join(1, 1);
        peer.with(|queue| queue.set_once(once));
        w.listen(&peer, "$.KBUS.*").unwrap();
        w.listen(&peer, EVENT).unwrap();
        die(&w, 1, &[&peer]);
        assert_eq!(peer.with(|queue| queue.unread()), 1);
        w.unlisten(&peer, "$.KBUS.*").unwrap();
        assert_eq!(peer.with(|queue| queue.unread()), 1);
        w.unlisten(&peer, EVENT).unwrap();
        assert_eq!(peer.with(|queue| queue.unread()), 0);
    }
}

/// Where there is no memory for an event, its listeners are told that it was lost; where only that
/// of one memory cgroup has come to an end, the others get it.
#[test]
fn without_memory_events_are_lost_and_told() {
    let (w, _) = world(10, 10);
    let (poor, rich) = (w.join_in(1, 1, 7), w.join_in(2, 1, 8));
    for peer in [&poor, &rich] {
        for text in [EVENT, "$.KBUS.*"] {
            w.listen(peer, text).unwrap();
        }
    }
    mem::fail_group(Some(7));
    let dying = w.join(200, 1);
    mem::fail_group(None);
    w.replier(&dying, "$.D").unwrap();
    names(&poor);
    names(&rich);
    mem::fail_group(Some(7));
    w.close(&dying);
    mem::fail_group(None);
    assert_eq!(names(&poor), [EVENTS_LOST]);
    assert_eq!(names(&rich), [BIND_EVENT, BIND_EVENT]);
    for k in 0..50 {
        let dying = w.join(300 + k, 1);
        w.replier(&dying, "$.D").unwrap();
        names(&poor);
        names(&rich);
        mem::fail_after(Some(k));
        w.close(&dying);
        mem::fail_after(None);
        for peer in [&poor, &rich] {
            let told = names(peer);
            match told.last().map(Vec::as_slice) {
                Some(EVENTS_LOST) => assert!(told.len() <= 2),
                _ => assert_eq!(told, [BIND_EVENT, BIND_EVENT], "{k}"),
            }
        }
    }
    for (id, peer) in [(1, &poor), (2, &rich)] {
        assert_eq!(peer.id(), id);
        w.close(peer);
    }
    assert_eq!(w.users.used(1), (0, 0));
}

/// An exact binding to the event counts for a socket that wants all once, though a wildcard comes
/// first.
#[test]
fn an_exact_binding_counts_beside_a_wildcard() {
    let (w, _) = world(1, 1);
    let (once, binder) = (w.join(1, 1), w.join(2, 1));
    once.with(|queue| queue.set_once(true));
    w.listen(&once, "$.KBUS.*").unwrap();
    once.with(|queue| queue.set_limit(0));
    w.replier(&binder, "$.A").unwrap();
    w.listen(&once, EVENT).unwrap();
    assert_eq!(w.replier(&binder, "$.B"), Err(Error::Again));
}
