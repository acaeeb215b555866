// SPDX-License-Identifier: GPL-2.0

//! Every allocation of every operation fails once: nothing may have changed then.

mod peer;

use kbus_core::error::Error;
use kbus_core::hash::Key;
use kbus_core::mem;
use kbus_core::mem::Node;
use kbus_core::message::KBUS_ALL_OR_FAIL;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::name::Pattern;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use kbus_core::routes::Listener;
use kbus_core::routes::Replier;
use kbus_core::routes::Routes;
use kbus_core::wait;
use peer::announcement;
use peer::run_woken;
use peer::Peer;
use peer::Thread;
use peer::Tried;
use peer::Users;
use peer::What;
use peer::World;

/// More allocations than any operation here can need.
const MANY: u64 = 10_000;

/// A bus with a client, a server that owes one request, and a listener.
fn scene() -> (World, Vec<Peer>, u64) {
    let world = World::new(0, 1 << 20);
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
    let (world, mut all, id) = scene();
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
    for peer in [&all[0], &all[2]] {
        assert_eq!(world.announce_all(peer, "$.Full"), Err(Error::Again));
    }
    (world, all, id)
}

fn state(world: &World, peers: &[Peer]) -> String {
    let mut bindings = vec![];
    for peer in peers {
        let mut last = None;
        while let Some((at, text)) = world.bus(|bus| {
            let seen = bus.binding_after(peer.id(), last)?;
            // Its number is that of the try that went well.
            let text = (seen.kind, seen.text.to_vec(), seen.count);
            Some((seen.at, format!("{} {text:?}", peer.id())))
        }) {
            bindings.push(text);
            last = Some(at);
        }
    }
    bindings.sort();
    let counters: Vec<_> = peers.iter().map(Peer::counters).collect();
    let numbers = (
        world.bus(|bus| (bus.members(), bus.bindings(), bus.bytes().used())),
        (world.users.used(1), world.last_id()),
    );
    format!("{bindings:?} {counters:?} {numbers:?}")
}

/// Runs `op` with the k-th allocation failing, for each k; returns how many there were.
fn each_failing(op: impl Fn(&World, &[Peer], u64) -> Result<(), Error>) -> u64 {
    each_failing_in(scene, op)
}

fn each_failing_in(
    scene: fn() -> (World, Vec<Peer>, u64),
    op: impl Fn(&World, &[Peer], u64) -> Result<(), Error>,
) -> u64 {
    for k in 0..MANY {
        let (world, peers, owed) = scene();
        let before = state(&world, &peers);
        mem::fail_after(Some(k));
        let result = op(&world, &peers, owed);
        mem::fail_after(None);
        if result.is_ok() {
            assert_ne!(state(&world, &peers), before);
            return k;
        }
        assert_eq!(result, Err(Error::NoMem));
        assert_eq!(state(&world, &peers), before, "allocation {k}");
        assert_eq!(op(&world, &peers, owed), Ok(()));
    }
    panic!("it needs memory without end");
}

#[test]
fn a_failed_allocation_changes_nothing() {
    let join = |w: &World, id| w.bus(|bus| bus.join(&Peer::new(id, 7, &Users::new(u64::MAX))));
    assert!(each_failing(|w, _, _| join(w, 4)) >= 1);
    assert!(each_failing(|w, p, _| w.listen(&p[0], "$.X.Y.Z.%")) >= 5);
    assert_eq!(each_failing(|w, p, _| w.listen(&p[2], "$.A")), 0);
    assert!(each_failing(|w, p, _| w.replier(&p[0], "$.X.Y.*")) >= 4);
    // A short message is one piece of memory, for all who share it.
    let one = each_failing(|w, p, _| w.announce(&p[0], "$.A", b"x").map(drop));
    assert_eq!(one, 1);
    assert!(each_failing(|w, p, _| w.request(&p[0], "$.A", b"x").map(drop)) >= 3);
    assert!(each_failing(|w, p, id| w.reply(&p[1], 1, id, b"x").map(drop)) >= 1);
    assert!(each_failing(|w, p, id| w.reply(&p[1], 1, id, &[0; 5000]).map(drop)) >= 1);
}

#[test]
fn a_failed_allocation_changes_nothing_where_there_are_events_and_waits() {
    let each = |op: fn(&World, &[Peer]) -> Result<(), Error>| {
        each_failing_in(eventful_scene, move |w, p, _| op(w, p))
    };
    assert!(each(|w, p| w.report_binds(&p[3], true)) >= 3);
    assert!(each(|w, p| w.replier(&p[2], "$.C")) >= 4);
    assert!(each(|w, p| w.unreplier(&p[1], "$.B")) >= 1);
    assert!(each(|w, p| w.listen(&p[0], "$.KBUS.%")) >= 3);
    assert!(each(|w, p| w.announce(&p[0], "$.Z", b"").map(drop)) >= 1);
}

/// A queue that is full, and what is there to be sent to it.
fn full_scene() -> (World, Vec<Peer>) {
    let (world, peers, _) = scene();
    world.listen(&peers[1], "$.Full").unwrap();
    peers[1].with(|queue| queue.set_limit(1));
    world.announce(&peers[0], "$.Full", b"").unwrap();
    (world, peers)
}

#[test]
fn a_wait_that_finds_no_memory_has_not_begun() {
    for k in 0..MANY {
        assert!(k + 1 < MANY, "it needs memory without end");
        let (world, peers) = full_scene();
        mem::fail_after(Some(k));
        let what = What::announcement("$.Full");
        let result = Thread::begin(&world, &peers[0], what);
        mem::fail_after(None);
        match result {
            Ok(Tried::Waits(thread)) => {
                assert!(k >= 2, "{k}");
                peers[1].read().unwrap();
                assert!(thread.is_woken());
                return;
            }
            Ok(Tried::Done(_)) => panic!("it went"),
            Err(error) => assert_eq!(error, Error::NoMem),
        }
        peers[0].wakes();
        peers[1].read().unwrap();
        assert_eq!(peers[0].wakes(), (0, 0));
        assert!(peers[0].with(|queue| queue.is_writable()));
    }
}

/// Without memory to be told by, a socket whose send was refused stays writable.
#[test]
fn who_cannot_be_told_may_always_try() {
    for k in 0..MANY {
        let (world, peers) = full_scene();
        mem::fail_after(Some(k));
        let result = world.announce_all(&peers[0], "$.Full");
        mem::fail_after(None);
        if result == Err(Error::NoMem) {
            continue;
        }
        assert_eq!(result, Err(Error::Again));
        if !peers[0].with(|queue| queue.is_writable()) {
            assert!(k >= 2);
            return;
        }
    }
    panic!("it needs memory without end");
}

/// Want of memory comes last of the errors of a send: what holds for all sends is said before it.
#[test]
fn what_holds_for_all_sends_comes_before_want_of_memory() {
    let (w, p, id) = scene();
    let stranger = Peer::new(9, 1, &Users::new(u64::MAX));
    let long = vec![0; 70_000];
    let check = |error: Error| {
        mem::fail_after(Some(0));
        let result = match error {
            Error::MsgSize => [
                w.announce(&p[0], "$.A", &long),
                w.request(&p[0], "$.A", &long),
                w.reply(&p[1], 1, id, &long),
            ],
            Error::NotConn => [
                w.announce(&stranger, "$.A", b""),
                w.request(&stranger, "$.A", b""),
                w.reply(&stranger, 1, id, b""),
            ],
            Error::Perm => [0, KBUS_REQUEST, KBUS_ALL_OR_FAIL]
                .map(|flags| w.send(&p[0], announcement("$.KBUS.X", flags, b""))),
            _ => [
                w.announce(&p[1], "$.KBUS.X", b""),
                w.request(&p[1], "$.KBUS.X", b""),
                w.reply(&p[1], 1, id, b""),
            ],
        };
        mem::fail_after(None);
        assert_eq!(result, [Err(error); 3]);
    };
    check(Error::MsgSize);
    check(Error::NotConn);
    check(Error::Perm);
    assert_eq!(p[1].with(|queue| queue.unreplied()), 1);
    w.shut_write(&p[1]);
    check(Error::Pipe);
}

/// Nothing of a send is lost when there is no memory for it: it can be made again.
#[test]
fn a_send_without_memory_keeps_its_payload() {
    // One recipient, several in one memory cgroup, several in several, and many.
    for listeners in [1, 5, 200] {
        for groups in [1, 3] {
            for flags in [0, KBUS_REQUEST] {
                let needed = keeps_its_payload(listeners, groups, flags);
                assert!(needed >= 2, "{needed}");
            }
        }
    }
}

/// Returns how many allocations there were.
fn keeps_its_payload(listeners: u64, groups: u64, flags: u32) -> u64 {
    for k in 0..MANY {
        let world = World::new(0, 1 << 20);
        let sender = world.join(1, 1);
        let replier = world.join(2, 2);
        world.replier(&replier, "$.A").unwrap();
        for n in 0..listeners {
            let peer = world.join_in(10 + n, 3 + (n % 2) as u32, (n % groups) as usize);
            world.listen(&peer, "$.A").unwrap();
        }
        for len in [7, 5000] {
            let mut out = announcement("$.A", flags | KBUS_ALL_OR_FAIL, &vec![1; len]);
            mem::fail_after(Some(k));
            let result = world.try_send(&sender, &mut out);
            mem::fail_after(None);
            match result {
                Ok(wait::Tried::Done(_)) if len == 5000 => return k,
                Ok(wait::Tried::Done(_)) => continue,
                Ok(wait::Tried::Full { .. }) => panic!("it does not wait"),
                Err(error) => assert!(matches!(error, Error::NoMem | Error::Busy), "{error:?}"),
            }
            assert_eq!(
                (out.content.payload.len(), out.content.from.is_some()),
                (len, true)
            );
            let used = [1, 2, 3, 4].map(|user| world.users.used(user));
            assert_eq!(used, [(0, 0); 4]);
            assert_eq!(world.bytes(), 0);
            assert_eq!(sender.counters(), (0, 0, 0, 0, 0));
        }
    }
    panic!("it needs memory without end");
}

/// A memory cgroup at its limit makes its own queues full, and nobody else's.
#[test]
fn a_memory_cgroup_at_its_limit_is_a_full_queue() {
    for len in [5, 5000] {
        let world = World::new(0, 1 << 20);
        let [sender, poor, rich] =
            [(1, 0), (2, 7), (3, 8)].map(|(id, group)| world.join_in(id, id as u32, group));
        for peer in [&poor, &rich] {
            world.listen(peer, "$.A").unwrap();
            world.replier(peer, &format!("$.R{}", peer.id())).unwrap();
        }
        mem::fail_group(Some(7));
        let payload = vec![1; len];
        let send = |name: &str, flags| world.send(&sender, announcement(name, flags, &payload));
        assert!(send("$.A", 0).is_ok());
        assert_eq!(send("$.A", KBUS_ALL_OR_FAIL), Err(Error::Busy));
        assert_eq!(send("$.A", KBUS_ALL_OR_WAIT), Err(Error::Again));
        assert_eq!(send("$.R2", KBUS_REQUEST), Err(Error::Busy));
        assert!(send("$.R3", KBUS_REQUEST).is_ok());
        mem::fail_group(None);
        assert_eq!(poor.counters(), (0, 0, 0, 0, 1));
        assert_eq!(rich.with(|queue| queue.unread()), 2);
        // Of the poor one's lack nobody is told: the sender may try again at any time.
        assert!(sender.with(|queue| queue.is_writable()));
        for peer in [&sender, &poor, &rich] {
            while peer.read().is_some() {}
            world.close(peer);
        }
        world.assert_empty();
    }
}

/// A reply for which there is no memory at all is still owed, and all that was held for it still
/// is.
#[test]
fn a_reply_without_memory_is_owed_with_all_that_is_held_for_it() {
    for len in [5, 4096, 5000] {
        let world = World::new(0, 1 << 20);
        let (asks, answers) = (world.join_in(1, 1, 7), world.join_in(2, 2, 8));
        let hears = world.join_in(3, 3, 9);
        world.replier(&answers, "$.A").unwrap();
        let id = world.request(&asks, "$.A", b"question").unwrap();
        assert!(answers.read().is_some());
        world.listen(&hears, "$.A").unwrap();
        let held = || (asks.counters(), world.users.used(1), world.bytes());
        let before = held();
        for k in 0..MANY {
            mem::fail_after(Some(k));
            let result = world.reply(&answers, asks.id(), id, &vec![1; len]);
            mem::fail_after(None);
            if result.is_ok() {
                break;
            }
            assert_eq!(result, Err(Error::NoMem), "{len} bytes, allocation {k}");
            assert_eq!(held(), before, "{len} bytes, allocation {k}");
        }
        assert_eq!(asks.read().expect("the reply").len, len);
        [&asks, &answers, &hears].map(|peer| {
            while peer.read().is_some() {}
            world.close(peer)
        });
        world.assert_empty();
    }
}

/// What a socket of the sender's own cgroup lacks is the sender's own lack: it waits for memory, or
/// fails, and nobody has the message.
#[test]
fn the_sender_s_own_memory_cgroup_at_its_limit_is_no_full_queue() {
    for len in [5, 5000] {
        for flags in [0, KBUS_ALL_OR_FAIL, KBUS_ALL_OR_WAIT] {
            let world = World::new(0, 1 << 20);
            let [sender, rich, poor] =
                [(1, 7), (2, 8), (3, 7)].map(|(id, group)| world.join_in(id, id as u32, group));
            for peer in [&rich, &poor] {
                world.listen(peer, "$.A").unwrap();
            }
            mem::fail_group(Some(7));
            let out = announcement("$.A", flags, &vec![1; len]);
            assert_eq!(world.send(&sender, out), Err(Error::NoMem));
            mem::fail_group(None);
            [&rich, &poor].map(|peer| assert_eq!(peer.counters(), (0, 0, 0, 0, 0)));
            [&sender, &rich, &poor].map(|peer| world.close(peer));
            world.assert_empty();
        }
    }
}

/// A reply has been promised: the requester's cgroup goes beyond its limit for it.
#[test]
fn a_reply_goes_beyond_the_limit_of_the_requester_s_memory_cgroup() {
    for len in [5, 4096] {
        let world = World::new(0, 1 << 20);
        let [poor, server, listener] =
            [(1, 7), (2, 8), (3, 7)].map(|(id, group)| world.join_in(id, id as u32, group));
        world.replier(&server, "$.A").unwrap();
        world.listen(&listener, "$.A").unwrap();
        let id = world.request(&poor, "$.A", b"question").unwrap();
        assert!(server.read().is_some() && listener.read().is_some());
        mem::fail_group(Some(7));
        assert!(world.reply(&server, poor.id(), id, &vec![1; len]).is_ok());
        mem::fail_group(None);
        let reply = poor.read().expect("the reply");
        assert_eq!((reply.in_reply_to, reply.len), (id, len));
        drop(reply);
        // Nobody has promised anything to a listener of another user.
        assert_eq!((listener.counters().0, listener.counters().4), (0, 1));
        [&poor, &server, &listener].map(|peer| world.close(peer));
        world.assert_empty();
    }
}

/// Who waits for the memory of a cgroup tries again by itself.
#[test]
fn a_wait_for_memory_ends_when_there_is_some() {
    let world = World::new(0, 1 << 20);
    let (sender, poor) = (world.join(1, 1), world.join_in(2, 2, 7));
    world.listen(&poor, "$.A").unwrap();
    mem::fail_group(Some(7));
    let what = What::announcement("$.A");
    let Ok(Tried::Waits(mut thread)) = Thread::begin(&world, &sender, what) else {
        panic!("it does not wait");
    };
    assert!(thread.go_on().is_none());
    mem::fail_group(None);
    assert!(thread.go_on().unwrap().is_ok());
    assert_eq!(poor.with(|queue| queue.unread()), 1);
    assert!(run_woken(&world.users, &mut vec![]).is_empty());
}

#[test]
fn dying_allocates_nothing_where_there_are_events_and_waits() {
    type Op = fn(&World, &Peer);
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
    type Op = fn(&World, &Peer);
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
            let prefix = routes.prefix_hash(&pattern);
            mem::fail_after(Some(k));
            let result = if kind == 0 {
                let listener = Listener {
                    member: (),
                    count: 1,
                };
                Node::new(1, listener).and_then(|new| routes.listen(new, &pattern, prefix))
            } else {
                let new = Replier {
                    member: (),
                    binding: 1,
                };
                routes.bind_replier(new, &pattern)
            };
            mem::fail_after(None);
            assert_eq!(routes.is_empty(), result.is_err());
            if result.is_ok() {
                break;
            }
        }
    }
}
