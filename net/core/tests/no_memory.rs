// SPDX-License-Identifier: GPL-2.0

//! Every allocation of every operation fails once: nothing may have changed then.

mod peer;

use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::error::Error;
use kbus_core::hash::Key;
use kbus_core::mem;
use kbus_core::name::Pattern;
use kbus_core::routes::Listener;
use kbus_core::routes::Replier;
use kbus_core::routes::Routes;
use kbus_core::wakes::Wakes;
use peer::Peer;
use peer::Users;
use peer::World;

/// More allocations than any operation here can need.
const MANY: u64 = 10_000;

/// A bus with a client, a server that owes one request, and a listener.
fn scene() -> (World, Vec<Peer>, u64) {
    let mut world = World::new(0, 1 << 20);
    let all: Vec<_> = (1..=3).map(|id| world.join(id, 1)).collect();
    world.replier(&all[1], "$.A").unwrap();
    world.listen(&all[2], "$.*").unwrap();
    world.listen(&all[2], "$.A").unwrap();
    let id = world.request(&all[0], "$.A", b"hello").unwrap();
    assert_eq!(all[1].read().unwrap().id, id);
    (world, all, id)
}

/// The same with bind events on, listeners to them, and sends that wait for a full queue.
fn eventful_scene() -> (World, Vec<Peer>, u64) {
    let (mut world, mut all, id) = scene();
    all.extend((4..=5).map(|id| world.join(id, 1)));
    world.listen(&all[3], "$.KBUS.*").unwrap();
    world.listen(&all[4], "$.KBUS.ReplierBindEvent").unwrap();
    world.listen(&all[4], "$.*").unwrap();
    all[4].with(|queue| queue.set_once(true));
    world.report_binds(&all[0], true).unwrap();
    world.replier(&all[1], "$.B").unwrap();
    world.listen(&all[1], "$.Full").unwrap();
    all[1].with(|queue| queue.set_limit(1));
    world.announce(&all[0], "$.Full", b"").unwrap();
    assert_eq!(world.announce_all(&all[0], "$.Full", true), Ok(None));
    assert_eq!(
        world.announce_all(&all[2], "$.Full", false),
        Err(Error::Again)
    );
    (world, all, id)
}

fn state(world: &World, peers: &[Peer]) -> String {
    let mut bindings = vec![];
    for peer in peers {
        let mut last = None;
        while let Some(seen) = world.bus.binding_after(peer.id(), last) {
            bindings.push(format!("{} {seen:?}", peer.id()));
            last = Some(seen.id);
        }
    }
    bindings.sort();
    let counters: Vec<_> = peers.iter().map(Peer::counters).collect();
    let bus = &world.bus;
    let numbers = (
        bus.members(),
        bus.bindings(),
        bus.account().used(),
        world.last_id,
    );
    format!("{bindings:?} {counters:?} {numbers:?}")
}

/// Runs `op` with the k-th allocation failing, for each k; returns how many there were.
fn each_failing(op: impl Fn(&mut World, &[Peer], u64) -> Result<(), Error>) -> u64 {
    each_failing_in(scene, op)
}

fn each_failing_in(
    scene: fn() -> (World, Vec<Peer>, u64),
    op: impl Fn(&mut World, &[Peer], u64) -> Result<(), Error>,
) -> u64 {
    for k in 0..MANY {
        let (mut world, peers, owed) = scene();
        let before = state(&world, &peers);
        mem::fail_after(Some(k));
        let result = op(&mut world, &peers, owed);
        mem::fail_after(None);
        if result.is_ok() {
            assert_ne!(state(&world, &peers), before);
            return k;
        }
        assert_eq!(result, Err(Error::NoMem));
        assert_eq!(state(&world, &peers), before, "allocation {k}");
        assert_eq!(op(&mut world, &peers, owed), Ok(()));
    }
    panic!("it needs memory without end");
}

#[test]
fn a_failed_allocation_changes_nothing() {
    assert!(each_failing(|w, _, _| w.bus.join(&Peer::new(4, 7, &Users::new(u64::MAX)))) >= 1);
    assert!(each_failing(|w, p, _| w.listen(&p[0], "$.X.Y.Z.%")) >= 5);
    assert_eq!(each_failing(|w, p, _| w.listen(&p[2], "$.A")), 0);
    assert!(each_failing(|w, p, _| w.replier(&p[0], "$.X.Y.*")) >= 4);
    assert!(each_failing(|w, p, _| w.announce(&p[0], "$.A", b"x").map(drop)) >= 5);
    assert!(each_failing(|w, p, _| w.request(&p[0], "$.A", b"x").map(drop)) >= 8);
    assert!(each_failing(|w, p, id| w.reply(&p[1], 1, id, b"x").map(drop)) >= 5);
    assert!(each_failing(|w, p, id| w.reply(&p[1], 1, id, &[0; 5000]).map(drop)) >= 5);
}

#[test]
fn a_failed_allocation_changes_nothing_where_there_are_events_and_waits() {
    let each = |op: fn(&mut World, &[Peer]) -> Result<(), Error>| {
        each_failing_in(eventful_scene, move |w, p, _| op(w, p))
    };
    assert!(each(|w, p| w.report_binds(&p[3], true)) >= 4);
    assert!(each(|w, p| w.replier(&p[2], "$.C")) >= 10);
    assert!(each(|w, p| w.unreplier(&p[1], "$.B")) >= 2);
    assert!(each(|w, p| w.listen(&p[0], "$.KBUS.%")) >= 3);
    assert!(each(|w, p| w.announce(&p[0], "$.Z", b"").map(drop)) >= 4);
}

#[test]
fn a_wait_that_finds_no_memory_has_not_begun() {
    // Nothing that can be counted tells a wait from none: so the full queue is read, and must be
    // empty then.
    for blocking in [true, false] {
        for k in 0..MANY {
            assert!(k + 1 < MANY, "it needs memory without end");
            let (mut world, peers, _) = scene();
            world.listen(&peers[1], "$.Full").unwrap();
            peers[1].with(|queue| queue.set_limit(1));
            world.announce(&peers[0], "$.Full", b"").unwrap();
            mem::fail_after(Some(k));
            let result = world.announce_all(&peers[0], "$.Full", blocking);
            mem::fail_after(None);
            if result != Err(Error::NoMem) {
                // A wait keeps more than the news that there is room.
                assert!(k >= if blocking { 5 } else { 3 }, "{k}");
                break;
            }
            world.read(&peers[1]);
            assert_eq!(peers[1].with(|queue| queue.unread()), 0);
            assert!(peers[0].with(|queue| queue.is_writable()));
        }
    }
}

/// What could go but for memory stays where it is, for its own thread to wait for some; it fails only if there is none
/// time and again.
#[test]
fn a_wait_that_lacks_memory_is_for_its_own_thread() {
    for times in [1, 5, 6] {
        let (mut world, peers, _) = scene();
        world.listen(&peers[1], "$.Full").unwrap();
        peers[1].with(|queue| queue.set_limit(1));
        world.announce(&peers[0], "$.Full", b"").unwrap();
        assert_eq!(world.announce_all(&peers[0], "$.Full", true), Ok(None));
        mem::fail_after(Some(0));
        world.read(&peers[1]);
        for time in 1..times {
            assert_eq!(world.bus.starves(1), Some(time));
            // Nobody else tries it meanwhile.
            world.settle(&peers[2]);
            world.bus.feed(1, &mut || 77, &mut Wakes::new());
        }
        mem::fail_after(None);
        let starves = world.bus.starves(1).is_some();
        assert_eq!(starves, times < 6);
        world.bus.feed(1, &mut || 77, &mut Wakes::new());
        let ended = world.bus.finished(&peers[0], 1).unwrap();
        let result = if starves { Ok(77) } else { Err(Error::NoMem) };
        assert_eq!(ended.result, result);
        assert_eq!(peers[1].with(|queue| queue.unread()), u32::from(starves));
        assert!(world.bus.is_idle());
    }
}

/// Whoever has others try a send in want of memory cannot end its wait by that.
#[test]
fn a_wait_outlives_others_lack_of_memory() {
    let (mut world, peers, _) = scene();
    world.listen(&peers[1], "$.Full").unwrap();
    peers[1].with(|queue| queue.set_limit(1));
    world.announce(&peers[0], "$.Full", b"").unwrap();
    assert_eq!(world.announce_all(&peers[0], "$.Full", true), Ok(None));
    for _ in 0..20 {
        mem::fail_after(Some(0));
        world.bus.settings_changed(&peers[1], &mut Wakes::new());
        world.settle(&peers[1]);
        mem::fail_after(None);
        assert_eq!(world.bus.starves(1), Some(1));
        world.bus.feed(1, &mut || 77, &mut Wakes::new());
        assert!(world.bus.finished(&peers[0], 1).is_none());
    }
}

/// Nothing of a send is lost when there is no memory for it: it can be made again.
#[test]
fn a_send_without_memory_keeps_its_payload() {
    for k in 0..MANY {
        let (mut world, peers, _) = scene();
        let mut out = Outgoing {
            dest: Some(Dest::Name(b"$.A")),
            payload: b"payload".to_vec(),
            ..Default::default()
        };
        mem::fail_after(Some(k));
        let result = world
            .bus
            .send(&peers[0], &mut out, false, &mut || 77, &mut Wakes::new());
        mem::fail_after(None);
        if result.is_ok() {
            assert!(k >= 5);
            return;
        }
        assert_eq!(out.payload, b"payload");
    }
    panic!("it needs memory without end");
}

#[test]
fn dying_allocates_nothing_where_there_are_events_and_waits() {
    type Op = fn(&mut World, &Peer);
    let ops: [(Op, &[usize]); 3] = [
        (World::close, &[1, 3, 4]),
        (World::shut_read, &[1, 3, 4]),
        (World::shut_write, &[1]),
    ];
    for (op, sockets) in ops {
        for who in sockets {
            let count = each_failing_in(eventful_scene, |w, p, _| {
                op(w, &p[*who]);
                Ok(())
            });
            assert_eq!(count, 0, "closing {who} failed where there was no memory");
        }
    }
}

#[test]
fn giving_up_allocates_nothing() {
    assert_eq!(each_failing(|w, p, id| w.ignore(&p[1], id)), 0);
    assert_eq!(each_failing(|w, p, _| w.unlisten(&p[2], "$.*")), 0);
    assert_eq!(each_failing(|w, p, _| w.unreplier(&p[1], "$.A")), 0);
    type Op = fn(&mut World, &Peer);
    let ops: [Op; 3] = [World::close, World::shut_read, World::shut_write];
    for op in ops {
        assert_eq!(
            each_failing(|w, p, _| {
                op(w, &p[1]);
                Ok(())
            }),
            0
        );
    }
}

#[test]
fn a_failed_binding_leaves_no_nodes() {
    let pattern = Pattern::parse(b"$.A.B.C.*").unwrap();
    for kind in 0..2 {
        for k in 0..MANY {
            assert!(k + 1 < MANY, "it needs memory without end");
            let mut routes = Routes::new(Key(1, 2));
            mem::fail_after(Some(k));
            let result = if kind == 0 {
                routes.listen(
                    Listener {
                        peer: 1,
                        member: (),
                        binding: 1,
                        count: 1,
                    },
                    &pattern,
                )
            } else {
                routes.bind_replier(
                    Replier {
                        member: (),
                        binding: 1,
                    },
                    &pattern,
                )
            };
            mem::fail_after(None);
            assert_eq!(routes.is_empty(), result.is_err());
            if result.is_ok() {
                break;
            }
        }
    }
}
