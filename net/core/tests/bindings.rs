// SPDX-License-Identifier: GPL-2.0

//! Bindings: whose a name is, how many there may be, and how they are found.

mod peer;

use kbus_core::bus::Kind;
use kbus_core::error::Error::*;
use kbus_core::hash::Key;
use kbus_core::mem::Node;
use kbus_core::name::Name;
use kbus_core::name::Pattern;
use kbus_core::queue::Member;
use kbus_core::routes::Listener;
use kbus_core::routes::Routes;
use peer::name;
use peer::World;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

#[test]
fn others_may_not_take_names_from_a_protected_wildcard() {
    let w = World::new(0, 1 << 20);
    let (root, one, two) = (w.join(1, 0), w.join(2, 1), w.join(3, 2));
    w.replier(&one, "$.A.*").unwrap();
    for text in ["$.A.B", "$.A.%", "$.A.B.*", "$.A.B.C.%", "$.A.B.C"] {
        assert_eq!(w.replier(&two, text), Err(Acces), "{text}");
    }
    w.replier(&two, "$.A").unwrap();
    w.replier(&two, "$.*").unwrap();
    w.replier(&one, "$.%").unwrap();
    w.replier(&one, "$.Z").unwrap();
    w.replier(&root, "$.A.B").unwrap();
    w.unreplier(&two, "$.*").unwrap();
    w.replier(&root, "$.*").unwrap();
    assert_eq!(w.replier(&two, "$.Q.Q"), Err(Acces));
    assert_eq!(w.replier(&two, "$.A"), Err(Exist));
    assert_eq!(w.replier(&two, "$.KBUS.A"), Err(Perm));
    assert_eq!(w.bus(|bus| bus.replier_for(name("$.KBUS.A"))), 0);
}

#[test]
fn bindings_and_wide_listeners_are_limited_by_user() {
    let w = World::new(0, 1 << 20);
    let a = w.join(1, 1);
    for _ in 0..4096 {
        w.listen(&a, "$.A").unwrap();
    }
    assert_eq!(w.listen(&a, "$.A"), Err(DQuot));
    assert_eq!(w.replier(&a, "$.A"), Err(DQuot));
    w.unlisten(&a, "$.A").unwrap();
    w.replier(&a, "$.*").unwrap();
    w.close(&a);
    let many: Vec<_> = (10..267).map(|id| w.join(id, 1)).collect();
    let (last, rest) = many.split_last().unwrap();
    for peer in rest {
        w.listen(peer, "$.*").unwrap();
        w.listen(peer, "$.%").unwrap();
    }
    assert_eq!(w.listen(last, "$.*"), Err(DQuot));
    w.replier(last, "$.*").unwrap();
    w.unlisten(&rest[0], "$.*").unwrap();
    assert_eq!(w.listen(last, "$.%"), Err(DQuot));
    w.unlisten(&rest[0], "$.%").unwrap();
    w.listen(last, "$.%").unwrap();
    // Any number of sockets may listen to something narrower.
    for peer in &many {
        w.listen(peer, "$.A.*").unwrap();
    }
}

#[test]
fn a_name_of_500_words_is_dropped_without_recursion() {
    let text = format!("${}", ".a".repeat(499));
    let pattern = Pattern::parse(text.as_bytes()).unwrap();
    let mut routes = Routes::new(Key(1, 2));
    let prefix = routes.prefix_hash(&pattern);
    routes.listen(listener(1, ()), &pattern, prefix).unwrap();
    assert_eq!(routes.unlisten(1, &pattern, prefix), 0);
    assert!(routes.is_empty());
    // A chain, and one that branches at each node.
    let (short, long) = (vec!["$.a".to_string()], vec![text]);
    let comb = (0..499).map(|n| format!("${}.b", ".a".repeat(n)));
    let wide = (0..498).map(|n| format!("${}.b.c", ".a".repeat(n)));
    let least = stack_of_a_drop(&short);
    assert_eq!(stack_of_a_drop(&long), least);
    assert!(stack_of_a_drop(&comb.collect::<Vec<_>>()) - least < 1 << 10);
    assert!(stack_of_a_drop(&wide.collect::<Vec<_>>()) - least < 1 << 10);
}

/// How much stack it takes to drop routes with these patterns.
fn stack_of_a_drop(texts: &[String]) -> usize {
    /// Notes how far down the stack it is dropped.
    struct Low(Rc<Cell<usize>>);

    impl Drop for Low {
        fn drop(&mut self) {
            let here = 0u8;
            let here = std::ptr::from_ref(&here).addr();
            self.0.set(self.0.get().min(here));
        }
    }

    let lowest = Rc::new(Cell::new(usize::MAX));
    let mut routes = Routes::new(Key(1, 2));
    for text in texts {
        let pattern = Pattern::parse(text.as_bytes()).unwrap();
        let low = Low(lowest.clone());
        let prefix = routes.prefix_hash(&pattern);
        routes.listen(listener(1, low), &pattern, prefix).unwrap();
    }
    let here = 0u8;
    let here = std::ptr::from_ref(&here).addr();
    drop(routes);
    here - lowest.get()
}

fn listener<M>(binding: u64, member: M) -> Node<u64, Listener<M>> {
    Node::new(binding, Listener { member, count: 1 }).unwrap()
}

#[test]
fn a_look_up_visits_as_many_places_as_the_name_has_words() {
    let mut routes = Routes::new(Key(1, 2));
    for n in 0..20_000 {
        let text = format!("$.A.w{n}.x");
        let pattern = Pattern::parse(text.as_bytes()).unwrap();
        let prefix = routes.prefix_hash(&pattern);
        routes.listen(listener(n, n), &pattern, prefix).unwrap();
    }
    let look = |text: &str| {
        let (mut places, mut found) = (0, vec![]);
        routes.each_place(name(text), |place| {
            places += 1;
            place.listeners_from(0, |_, listener| {
                found.push(listener.member);
                true
            })
        });
        (places, found)
    };
    // Only of prefixes that some pattern has.
    assert_eq!(look("$.A.w777.x"), (2, vec![777]));
    assert_eq!(look("$.B.w777.x"), (1, vec![]));
}

/// All bindings of a socket are listed, one after the other, and each once.
#[test]
fn bindings_are_listed() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&a, "$.A.*").unwrap();
    w.listen(&a, "$.A.*").unwrap();
    w.listen(&b, "$.B").unwrap();
    w.replier(&a, "$.R").unwrap();
    let mut seen = vec![];
    let mut last = None;
    while let Some(one) = w.bus(|bus| {
        let one = bus.binding_after(1, last)?;
        Some((one.at, (one.text.to_vec(), one.kind, one.count)))
    }) {
        last = Some(one.0);
        seen.push(one.1);
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let listener = (b"$.A.*".to_vec(), Kind::Listener, 2);
    let replier = (b"$.R".to_vec(), Kind::Replier, 1);
    assert_eq!(seen, [listener, replier]);
    assert!(w.bus(|bus| bus.binding_after(3, None).is_none()));
}

/// A binding that goes from a long queue of once-only messages costs a comparison for each, and not
/// a way through the routes, which is as long as its name has words.
#[test]
fn unlistening_does_not_look_names_up() {
    // Each of the best of some, of which the other threads of this machine have not been in the way
    // of all.
    let took = |name: &str| -> Duration {
        let w = World::new(0, 1 << 30);
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

/// Who answers for a name is the same whether its prefixes are known or not: also while the one
/// goes who answered, and is still in the routes.
#[test]
fn a_known_name_has_the_same_replier() {
    let w = World::new(0, 1 << 20);
    let texts = ["$.A.X", "$.A.%", "$.A.*", "$.%", "$.*"];
    let names = ["$.A.X", "$.A.Y", "$.A.X.Y", "$.B", "$.A"].map(|text| {
        let name = Name::parse(text.as_bytes()).unwrap();
        (name, name.with_prefixes(peer::prefixes(name).unwrap()))
    });
    let same = move |w: &World| {
        names.map(|(name, known)| {
            let [unknown, known] = [name, known].map(|name| w.bus(|bus| bus.replier_for(name)));
            assert_eq!(unknown, known, "{name:?}");
            unknown
        })
    };
    let peers: Vec<_> = (1..).zip(texts).map(|(id, _)| w.join(id, 1)).collect();
    for (peer, text) in peers.iter().zip(texts).rev() {
        w.replier(peer, text).unwrap();
        same(&w);
    }
    assert_eq!(same(&w), [1, 2, 3, 4, 4]);
    w.between(move |w| {
        same(w);
    });
    let left = [
        [2, 2, 3, 4, 4],
        [3, 3, 3, 4, 4],
        [5, 5, 5, 4, 4],
        [5; 5],
        [0; 5],
    ];
    for (nth, (peer, left)) in peers.iter().zip(left).enumerate() {
        match nth % 3 {
            0 => w.close(peer),
            1 => w.shut_write(peer),
            _ => w.shut_read(peer),
        }
        assert_eq!(same(&w), left);
    }
    w.nothing_between();
    peers.iter().for_each(|peer| w.close(peer));
    w.assert_empty();
}
