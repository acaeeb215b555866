// SPDX-License-Identifier: GPL-2.0

//! No operation holds the bus for long: what takes time is done in steps, each of them a short one. And
//! nobody pays for what others let wait: a read or a send tries some of it, those who wait try the rest.

mod peer;

use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Sent;
use kbus_core::bus::Step;
use kbus_core::bus::Ticket;
use kbus_core::error::Error::*;
use kbus_core::hash::Key;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::name::Pattern;
use kbus_core::routes::Listener;
use kbus_core::routes::Routes;
use kbus_core::wakes::Wakes;
use peer::looks;
use peer::Peer;
use peer::World;
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

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
            w.announce(&sender, &format!("$.L.N{}", n / 2), b"")
                .unwrap();
        }
        assert_eq!(peer.with(|q| q.unread()), count as u32);
        let before = looks();
        drop(w.bus.close_begin(&peer, &mut Wakes::new()));
        looked.push(looks() - before);
        assert_eq!((w.bus.members(), w.bus.bindings()), (1, 0));
        let steps = settle(&mut w, &peer, |_| {});
        assert!(steps >= count / 2 + count / 2 / BATCH + count / BATCH);
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
    let other = w.join(3, 1);
    w.listen(&other, "$.KBUS.ReplierBindEvent").unwrap();
    for peer in [&other, &dead] {
        drop(w.bus.close_begin(peer, &mut Wakes::new()));
    }
    settle(&mut w, &dead, |_| {});
    assert_eq!(owner.with(|q| q.unread()), 50);
    assert_eq!(other.with(|q| q.unread()), 0);
    w.settle(&other);
    assert!(!w.bus.has_no_routes());
    w.close(&owner);
    assert!(w.bus.has_no_routes());
}

/// Begins a send that waits; panics if it does not.
fn park(w: &mut World, peer: &Peer, name: &str) -> Ticket {
    match begin(w, peer, name) {
        Sent::Wait(ticket) => ticket,
        sent => panic!("{sent:?}"),
    }
}

fn begin(w: &mut World, peer: &Peer, name: &str) -> Sent {
    let mut out = Outgoing {
        dest: Some(Dest::Name(name.as_bytes())),
        flags: KBUS_ALL_OR_WAIT,
        ..Default::default()
    };
    let (id, wakes) = (&mut w.last_id, &mut Wakes::new());
    let mut next = || {
        *id += 1;
        *id
    };
    w.bus.send(peer, &mut out, true, &mut next, wakes).unwrap()
}

/// A victim whose queue of 20 is full, and that has `count` sends waiting that want two slots.
fn besieged(w: &mut World, count: u64) -> (Peer, Vec<Peer>) {
    let victim = w.join(1, 1);
    for name in ["$.Two", "$.*", "$.One"] {
        w.listen(&victim, name).unwrap();
    }
    w.unlisten(&victim, "$.*").unwrap();
    w.listen(&victim, "$.%").unwrap();
    victim.with(|q| q.set_limit(20));
    let hostile: Vec<_> = (0..count).map(|n| w.join(100 + n, 1)).collect();
    for _ in 0..10 {
        w.announce(&hostile[0], "$.Two", b"").unwrap();
    }
    for peer in &hostile {
        park(w, peer, "$.Two");
    }
    (victim, hostile)
}

/// However many sends wait, a read does no more than a few tries of them.
#[test]
fn a_read_tries_a_few_that_wait() {
    let mut looked = vec![];
    for count in [100, 1000] {
        let mut w = World::new(0, 1 << 20);
        let (victim, _hostile) = besieged(&mut w, count);
        let before = looks();
        w.read(&victim).unwrap();
        looked.push(looks() - before);
    }
    assert_eq!(looked[0], looked[1]);
    assert!(looked[0] < 16 * 20, "{looked:?}");
}

/// So does a send that comes by.
#[test]
fn a_send_tries_a_few_that_wait() {
    let mut looked = vec![];
    for count in [100, 1000] {
        let mut w = World::new(0, 1 << 20);
        let (victim, _hostile) = besieged(&mut w, count);
        let sender = w.join(2, 1);
        // Room that the victim has not told of yet.
        let view = victim.with(|q| q.front()).unwrap();
        drop(victim.with(|q| q.consume(view.token)));
        let before = looks();
        park(&mut w, &sender, "$.Two");
        looked.push(looks() - before);
    }
    assert_eq!(looked[0], looked[1]);
    assert!(looked[0] < 16 * 20, "{looked:?}");
}

/// And a setting, a step of which takes some of them to where they are tried.
#[test]
fn a_setting_and_a_close_release_in_short_steps() {
    for close in [false, true] {
        let mut w = World::new(0, 1 << 20);
        let (victim, hostile) = besieged(&mut w, 1000);
        let before = looks();
        match close {
            true => drop(w.bus.close_begin(&victim, &mut Wakes::new())),
            false => w.bus.settings_changed(&victim, &mut Wakes::new()),
        }
        assert!(looks() - before <= FEW_LOOKS);
        for steps in 1.. {
            let before = looks();
            let step = w.settle_step(&victim);
            assert!(looks() - before < 16 * 10, "{} queues", looks() - before);
            if let Step::Done = step {
                assert_eq!(steps > 1000 / BATCH, close);
                break;
            }
        }
        let mut steps = 0;
        while hostile.iter().any(|peer| w.carry_on(peer)) {
            steps += 1;
        }
        assert!(steps >= 1000 / BATCH);
        // Nobody listens any more, or all has been tried again.
        assert!(!w.bus.is_idle());
        let over = (1..=1000).filter(|ticket| {
            let peer = &hostile[*ticket as usize - 1];
            w.bus.finished(peer, *ticket).is_some()
        });
        assert_eq!(over.count(), if close { 1000 } else { 0 });
    }
}

/// One whose send can go is not kept from it by those before it that cannot, though its victim reads once.
#[test]
fn who_can_go_goes_whoever_waits_before_it() {
    let mut w = World::new(0, 1 << 20);
    let (victim, mut hostile) = besieged(&mut w, 300);
    let good = w.join(2, 1);
    w.unlisten(&victim, "$.%").unwrap();
    w.listen(&victim, "$.Two").unwrap();
    while hostile.iter().any(|peer| w.carry_on(peer)) {}
    while victim.with(|q| q.unread()) < 20 {
        w.announce(&good, "$.One", b"").unwrap();
    }
    let ticket = park(&mut w, &good, "$.One");
    hostile.push(good.clone());
    w.read(&victim).unwrap();
    assert!(w.bus.finished(&good, ticket).is_none());
    let mut steps = 0;
    while hostile.iter().any(|peer| w.carry_on(peer)) {
        steps += 1;
    }
    assert!((10..40).contains(&steps), "{steps}");
    assert!(w.bus.finished(&good, ticket).unwrap().result.is_ok());
}

/// So it does if nobody carries on, as reads go on.
#[test]
fn reads_alone_come_to_everyone() {
    let mut w = World::new(0, 1 << 20);
    let (victim, hostile) = besieged(&mut w, 300);
    w.unlisten(&victim, "$.%").unwrap();
    w.listen(&victim, "$.Two").unwrap();
    while hostile.iter().any(|peer| w.carry_on(peer)) {}
    let good = w.join(2, 1);
    while victim.with(|q| q.unread()) < 20 {
        w.announce(&good, "$.One", b"").unwrap();
    }
    let ticket = park(&mut w, &good, "$.One");
    for reads in 1.. {
        assert!(reads < 40);
        w.read(&victim).unwrap();
        if w.bus.finished(&good, ticket).is_some() {
            break;
        }
        // There is never room for two.
        w.announce(&good, "$.One", b"").unwrap();
    }
}

/// Whose thread is to go on and gives up has another one go on, as long as there is one.
#[test]
fn who_gives_up_hands_over() {
    let mut w = World::new(0, 1 << 20);
    let (victim, hostile) = besieged(&mut w, 100);
    w.read(&victim).unwrap();
    let give_up = |w: &mut World, n: usize| {
        drop(w.bus.give_up(&hostile[n], n as u64 + 1));
        w.bus.stop_carrying(&hostile[n], &mut Wakes::new());
    };
    (BATCH..100).for_each(|n| give_up(&mut w, n));
    assert!(hostile[..BATCH].iter().any(|peer| w.carry_on(peer)));
    assert!(!hostile.iter().any(|peer| w.carry_on(peer)));
    (0..BATCH).for_each(|n| give_up(&mut w, n));
    assert!(w.bus.is_idle());
}

/// Those who poll are told a few at a time, and all of them as long as there is room.
#[test]
fn those_who_poll_are_told_in_short_steps() {
    let mut w = World::new(0, 1 << 20);
    let victim = w.join(1, 1);
    w.listen(&victim, "$.A").unwrap();
    victim.with(|q| q.set_limit(1));
    let many: Vec<_> = (0..1000).map(|n| w.join(10 + n, 1)).collect();
    w.announce(&many[0], "$.A", b"").unwrap();
    for peer in &many {
        assert_eq!(w.announce_all(peer, "$.A", false), Err(Again));
    }
    let view = victim.with(|q| q.front()).unwrap();
    let consumed = victim.with(|q| q.consume(view.token)).unwrap();
    assert!(consumed.tell_bus);
    let wakes = &mut Wakes::new();
    let mut before = looks();
    let (_, told) = w.bus.after_read(&victim, None, &mut || 1, wakes);
    let told = told.unwrap();
    let mut steps = 1;
    let mut more = true;
    while more {
        assert!(looks() - before <= FEW_LOOKS);
        before = looks();
        more = w.bus.tell_pollers(&victim, told, wakes);
        steps += 1;
    }
    assert!(steps >= 1000 / BATCH);
    assert!(many.iter().all(|peer| peer.with(|q| q.is_writable())));
}

/// A victim whose queue is full, and so many who have been refused and poll; each wants two slots.
fn polled(w: &mut World, count: u64) -> (Peer, Vec<Peer>) {
    let victim = w.join(1, 1);
    for name in ["$.Two", "$.%"] {
        w.listen(&victim, name).unwrap();
    }
    victim.with(|q| q.set_limit(20));
    let many: Vec<_> = (0..count).map(|n| w.join(100 + n, 1)).collect();
    for _ in 0..10 {
        w.announce(&many[0], "$.Two", b"").unwrap();
    }
    for peer in &many {
        assert_eq!(w.announce_all(peer, "$.Two", false), Err(Again));
    }
    (victim, many)
}

/// Those who were told try again at once, and are refused again; says how many were.
fn try_again(w: &mut World, many: &[Peer]) -> usize {
    let told = many.iter().filter(|peer| peer.with(|q| q.is_writable()));
    let told: Vec<_> = told.cloned().collect();
    for peer in &told {
        assert_eq!(w.announce_all(peer, "$.Two", false), Err(Again));
    }
    told.len()
}

/// Who is told, comes back and is refused again does not keep the reader in its call.
#[test]
fn a_read_tells_each_who_polls_once() {
    let mut w = World::new(0, 1 << 20);
    let (victim, many) = polled(&mut w, 100);
    let view = victim.with(|q| q.front()).unwrap();
    drop(victim.with(|q| q.consume(view.token)).unwrap());
    let wakes = &mut Wakes::new();
    let (_, refused) = w.bus.after_read(&victim, None, &mut || 1, wakes);
    let refused = refused.unwrap();
    let mut told = try_again(&mut w, &many);
    while w.bus.tell_pollers(&victim, refused, wakes) {
        told += try_again(&mut w, &many);
        assert!(told <= 100);
    }
    told += try_again(&mut w, &many);
    assert_eq!(told, 100);
}

/// Nor who changes a setting, or closes.
#[test]
fn a_setting_tells_each_who_polls_once() {
    let mut w = World::new(0, 1 << 20);
    let (victim, many) = polled(&mut w, 100);
    w.bus.settings_changed(&victim, &mut Wakes::new());
    let mut told = try_again(&mut w, &many);
    while let Step::More(_) = w.settle_step(&victim) {
        told += try_again(&mut w, &many);
        assert!(told <= 100);
    }
    assert_eq!(told, 100);
}

/// Who takes names from another's replier tells those who poll for that one, and nobody else does that work.
#[test]
fn who_released_a_socket_tells_those_who_poll_for_it() {
    for again in [false, true] {
        let mut w = World::new(0, 1 << 20);
        let (victim, many) = polled(&mut w, 100);
        w.replier(&victim, "$.*").unwrap();
        let (robber, other) = (w.join(2, 1), w.join(3, 1));
        let (pattern, wakes) = (Pattern::parse(b"$.A").unwrap(), &mut Wakes::new());
        drop(
            w.bus
                .bind_replier(&robber, &pattern, false, &mut || 1, wakes),
        );
        w.settle(&other);
        let told = |many: &[Peer]| many.iter().filter(|p| p.with(|q| q.is_writable())).count();
        assert_eq!(told(&many), BATCH);
        if again {
            // Whoever released it last goes on from there.
            w.bus.settings_changed(&victim, &mut Wakes::new());
            w.settle(&robber);
            assert_eq!(told(&many), 2 * BATCH);
            w.settle(&victim);
        } else {
            w.settle(&robber);
        }
        assert_eq!(told(&many), 100);
    }
}

/// What returned bytes left to do is only to tell others: nothing is sent, and nothing is allocated.
#[test]
fn returned_bytes_are_work_of_those_who_wait() {
    let mut w = World::new(0, 1 << 20);
    let (victim, hostile) = besieged(&mut w, 100);
    w.bus.budget_released(&victim, &mut Wakes::new());
    let before = looks();
    while w.bus.budget_step(&victim, &mut Wakes::new()) {}
    assert!(looks() - before <= 2);
    let mut carriers = 0;
    while hostile.iter().any(|peer| w.carry_on(peer)) {
        carriers += 1;
    }
    assert!(carriers >= 100 / BATCH);
}

/// A user who left before the last bytes came back is forgotten a few sockets later.
#[test]
fn who_has_left_is_forgotten() {
    let mut w = World::new(0, 1 << 20);
    let replier = w.join(1, 0);
    w.replier(&replier, "$.A").unwrap();
    for user in 0..100 {
        let peer = w.join(10 + u64::from(user), 100 + user);
        w.request(&peer, "$.A", b"x").unwrap();
        drop(w.bus.close_begin(&peer, &mut Wakes::new()));
        w.settle(&peer);
    }
    assert_eq!(w.bus.known_users(), 101);
    while let Some(view) = w.read(&replier) {
        w.ignore(&replier, view.id).unwrap();
    }
    for n in 0..60 {
        let peer = w.join(1000 + n, 7);
        drop(w.bus.close_begin(&peer, &mut Wakes::new()));
        w.settle(&peer);
    }
    assert_eq!(w.bus.known_users(), 1);
}

/// The worst name has 499 words: a look-up is as many steps, and prints what they cost.
#[test]
fn the_longest_name_is_a_step_for_each_word() {
    let mut w = World::new(0, 1 << 20);
    let sender = w.join(1, 1);
    let [worst, usual] = [format!("${}", ".a".repeat(499)), "$.Sensors.Kitchen".into()];
    let pattern = Pattern::parse(worst.as_bytes()).unwrap();
    let mut routes = Routes::<()>::new(Key(1, 2));
    let new = Listener {
        peer: 1,
        member: (),
        binding: 1,
        count: 1,
    };
    routes.listen(new, &pattern).unwrap();
    assert_eq!(routes.listeners(worst.as_bytes(), |_, _| Ok(())), Ok(500));
    let cost = [&usual, &worst].map(|name| {
        let once = |_| {
            let begun = Instant::now();
            w.announce(&sender, name, b"").unwrap();
            begun.elapsed()
        };
        (0..1000).map(once).min().unwrap()
    });
    println!("an announcement that nobody hears: {cost:?} with 2 words and with 499");
}

const NAMES: [&str; 4] = ["$.A", "$.B", "$.C", "$.D"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]
    /// When nobody is left who is to go on, nothing waits that could go: no wake-up is lost.
    #[test]
    fn nothing_waits_that_could_go(
        limits in prop::array::uniform4(1u32..6),
        wants in prop::collection::vec((0usize..4, 0usize..4), 4..10),
        tries in 1u32..5,
        ops in prop::collection::vec((0u8..9, 0usize..4), 40..300),
    ) {
        let mut w = World::new(0, 1 << 20);
        w.users.limits.tries.store(tries, Relaxed);
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
        let mut waiting: Vec<(Peer, Ticket, usize)> = vec![];
        for (n, (op, at)) in ops.into_iter().enumerate() {
            match op {
                0..4 => {
                    let peer = w.join(100 + n as u64, 1);
                    if let Sent::Wait(ticket) = begin(&mut w, &peer, NAMES[at]) {
                        waiting.push((peer, ticket, at));
                    }
                }
                4 => drop(w.read(&readers[at])),
                5 if !waiting.is_empty() => {
                    let (peer, ticket, _) = waiting.remove(at % waiting.len());
                    drop(w.bus.give_up(&peer, ticket));
                    w.bus.stop_carrying(&peer, &mut Wakes::new());
                }
                6 => {
                    // What is not told of at once, and is more than one step.
                    w.bus.settings_changed(&readers[at], &mut Wakes::new());
                    w.settle(&readers[at]);
                }
                _ => {
                    // Some of the threads get their turn.
                    let carried = waiting.iter().find(|(peer, ..)| w.carry_on(peer));
                    prop_assert!(carried.is_some() || w.bus.nobody_is_to_go_on());
                }
            }
            waiting.retain(|(peer, ticket, _)| {
                let over = w.bus.finished(peer, *ticket).is_some();
                if over {
                    w.bus.stop_carrying(peer, &mut Wakes::new());
                }
                !over
            });
        }
        while waiting.iter().any(|(peer, ..)| w.carry_on(peer)) {}
        waiting.retain(|(peer, ticket, _)| w.bus.finished(peer, *ticket).is_none());
        for (_, _, name) in waiting {
            let fits = readers.iter().enumerate().all(|(at, reader)| {
                let (has, limit) = reader.with(|q| (q.unread(), q.limit()));
                has + copies[at][name] <= limit
            });
            prop_assert!(!fits, "{} could go", NAMES[name]);
        }
    }
}
