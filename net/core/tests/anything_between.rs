// SPDX-License-Identifier: GPL-2.0

//! Random programs, of which a part runs while another part is between two holds of the bus lock.

mod peer;

use kbus_core::error::Error;
use kbus_core::message::Content;
use kbus_core::message::EVENTS_LOST;
use kbus_core::message::KBUS_ALL_OR_FAIL;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REPLY;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::message::KBUS_STATUS;
use kbus_core::message::KBUS_URGENT;
use kbus_core::message::LOST;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use kbus_core::queue::View;
use peer::announcement;
use peer::Peer;
use peer::World;
use proptest::prelude::*;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Sockets that do something.
const ACTORS: usize = 6;
const NAMES: [&str; 3] = ["$.A.B", "$.A.C.D", "$.E"];
const TEXTS: [&str; 8] = [
    "$.A.B", "$.A.C.D", "$.E", "$.*", "$.A.*", "$.A.%", "$.A.C.*", "$.KBUS.*",
];

#[derive(Clone, Debug)]
enum Act {
    Read(usize),
    Listen(usize, usize),
    Unlisten(usize, usize),
    Bind(usize, usize),
    Unbind(usize, usize),
    Send {
        who: usize,
        name: usize,
        flags: u32,
        len: usize,
    },
    Reply(usize, usize, u32),
    Ignore(usize),
    Close(usize),
    ShutRead(usize),
    ShutWrite(usize),
    Limit(usize, u32),
    Report(usize, bool),
    Doze(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..ACTORS;
    let flags = prop_oneof![
        6 => Just(0),
        6 => Just(KBUS_REQUEST),
        2 => Just(KBUS_ALL_OR_FAIL),
        1 => Just(KBUS_ALL_OR_WAIT),
        2 => Just(KBUS_REQUEST | KBUS_ALL_OR_FAIL),
        1 => Just(KBUS_URGENT),
        1 => Just(KBUS_REQUEST | KBUS_URGENT),
    ];
    let len = || prop_oneof![4 => 8..40usize, 1 => 600..700usize];
    prop_oneof![
        14 => who().prop_map(Act::Read),
        8 => (who(), 0..TEXTS.len()).prop_map(|(who, text)| Act::Listen(who, text)),
        5 => (who(), 0..TEXTS.len()).prop_map(|(who, text)| Act::Unlisten(who, text)),
        8 => (who(), 0..TEXTS.len() - 1).prop_map(|(who, text)| Act::Bind(who, text)),
        5 => (who(), 0..TEXTS.len() - 1).prop_map(|(who, text)| Act::Unbind(who, text)),
        20 => (who(), 0..NAMES.len(), flags, len())
            .prop_map(|(who, name, flags, len)| Act::Send { who, name, flags, len }),
        10 => (who(), len(), prop_oneof![5 => Just(0), 1 => Just(KBUS_URGENT)])
            .prop_map(|(who, len, flags)| Act::Reply(who, len, flags)),
        2 => who().prop_map(Act::Ignore),
        2 => who().prop_map(Act::Close),
        1 => who().prop_map(Act::ShutRead),
        1 => who().prop_map(Act::ShutWrite),
        2 => (who(), prop_oneof![1..4u32, Just(1000)]).prop_map(|(who, limit)| Act::Limit(who, limit)),
        2 => (who(), any::<bool>()).prop_map(|(who, on)| Act::Report(who, on)),
        4 => who().prop_map(Act::Doze),
    ]
}

/// What is known of a socket.
struct Actor {
    peer: Peer,
    texts: [bool; TEXTS.len()],
    /// Requests read and not answered: requester and id.
    owed: Vec<(u64, u64)>,
    /// Requests that were sent.
    asked: Vec<u64>,
    /// Requests that were answered.
    answered: Vec<u64>,
    /// Ids that were read, but for urgent ones, and how often each was.
    last: u64,
    copies: BTreeMap<u64, u32>,
    told_lost: u64,
    is_shut: bool,
    /// It found nothing to read and sleeps.
    dozes: bool,
}

impl Actor {
    fn new(peer: Peer) -> Self {
        Actor {
            peer,
            texts: Default::default(),
            owed: vec![],
            asked: vec![],
            answered: vec![],
            last: 0,
            copies: BTreeMap::new(),
            told_lost: 0,
            is_shut: false,
            dozes: false,
        }
    }

    fn saw(&mut self, view: &View<Peer>) {
        if view.name() != EVENTS_LOST {
            self.told_lost += u64::from(view.lost);
        }
        if view.name() == LOST {
            return;
        }
        if view.flags & KBUS_URGENT == 0 {
            assert!(view.id >= self.last, "{} after {}", view.id, self.last);
            self.last = view.id;
        }
        if view.must_reply() {
            self.owed.push((view.sender, view.id));
        }
        let answers = view.flags & KBUS_REPLY != 0 || view.error != 0;
        if answers && view.to == self.peer.id() {
            // A listener's copy of a reply to oneself is one more.
            if view.cookie == 77 {
                self.answered.push(view.in_reply_to);
            }
        }
        if view.flags & (KBUS_STATUS | KBUS_REPLY) == 0 {
            *self.copies.entry(view.id).or_default() += 1;
        }
    }
}

struct Lab {
    world: World,
    actors: RefCell<Vec<Actor>>,
    /// Who is in the midst of something.
    busy: Cell<u32>,
    next_peer: Cell<u64>,
    script: RefCell<std::vec::IntoIter<(u8, Act)>>,
    /// Holds to come before the next of the script.
    wait: Cell<u8>,
    /// What was sent: the id, and which name.
    sent: RefCell<Vec<(u64, usize)>>,
    trace: bool,
}

impl Lab {
    fn peer(&self, who: usize) -> Peer {
        self.actors.borrow()[who].peer.clone()
    }

    fn next(&self) -> Option<Act> {
        let (wait, act) = self.script.borrow_mut().next()?;
        self.wait.set(wait);
        Some(act)
    }

    /// In between two holds.
    fn between(&self) {
        match self.wait.get().checked_sub(1) {
            Some(left) => self.wait.set(left),
            None => {
                if let Some(act) = self.next() {
                    self.act(act);
                }
            }
        }
    }

    fn read(&self, who: usize) -> bool {
        let peer = self.peer(who);
        let view = peer.read();
        let mut actors = self.actors.borrow_mut();
        if let Some(view) = &view {
            assert_eq!(actors[who].peer.id(), peer.id());
            actors[who].saw(view);
        }
        view.is_some()
    }

    /// Does one thing as a whole, in the midst of which others may be done.
    fn act(&self, act: Act) {
        if self.trace {
            println!("{act:?}");
        }
        let (w, bit) = (&self.world, |who: usize| 1 << who);
        match act {
            Act::Read(who) => drop(self.read(who)),
            Act::Listen(who, text) => {
                if std::mem::replace(&mut self.actors.borrow_mut()[who].texts[text], true) {
                    return;
                }
                let peer = self.peer(who);
                let busy = self.begin(who);
                let result = w.listen(&peer, TEXTS[text]);
                self.busy.set(busy);
                if result.is_err() {
                    self.actors.borrow_mut()[who].texts[text] = false;
                }
            }
            Act::Unlisten(who, text) => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                if w.unlisten(&peer, TEXTS[text]).is_ok() {
                    self.actors.borrow_mut()[who].texts[text] = false;
                }
                self.busy.set(busy);
            }
            Act::Bind(who, text) => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                let _ = w.replier(&peer, TEXTS[text]);
                self.busy.set(busy);
            }
            Act::Unbind(who, text) => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                let _ = w.unreplier(&peer, TEXTS[text]);
                self.busy.set(busy);
            }
            Act::Send {
                who,
                name,
                flags,
                len,
            } => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                let mut out = announcement(NAMES[name], flags, &vec![1; len]);
                if flags & KBUS_REQUEST != 0 {
                    out.cookie = 77;
                }
                if let Ok(id) = w.send(&peer, out) {
                    self.sent.borrow_mut().push((id, name));
                    if flags & KBUS_REQUEST != 0 {
                        self.actors.borrow_mut()[who].asked.push(id);
                    }
                }
                self.busy.set(busy);
            }
            Act::Reply(who, len, flags) => {
                let Some((to, id)) = self.actors.borrow_mut()[who].owed.pop() else {
                    return;
                };
                let peer = self.peer(who);
                let busy = self.begin(who);
                let out = kbus_core::send::Outgoing {
                    dest: Some(kbus_core::address::Dest::Reply {
                        peer: to,
                        request: id,
                        name: None,
                    }),
                    flags,
                    content: Content::new(vec![1; len].into()),
                    ..Default::default()
                };
                let result = w.send(&peer, out);
                if result == Err(Error::MsgSize) {
                    self.actors.borrow_mut()[who].owed.push((to, id));
                }
                self.busy.set(busy);
            }
            Act::Ignore(who) => {
                let owed = self.actors.borrow_mut()[who].owed.pop();
                if let Some((_, id)) = owed {
                    let _ = w.ignore(&self.peer(who), id);
                }
            }
            Act::Close(who) => {
                if self.busy.get() & bit(who) != 0 {
                    return;
                }
                let id = self.next_peer.get();
                self.next_peer.set(id + 1);
                let new = w.join_in(id, 1 + (who % 3) as u32, who % 2);
                new.with(|queue| queue.set_once(who % 2 == 1));
                let old = std::mem::replace(&mut self.actors.borrow_mut()[who], Actor::new(new));
                w.close(&old.peer);
            }
            Act::ShutRead(who) => {
                let peer = self.peer(who);
                self.actors.borrow_mut()[who].is_shut = true;
                let busy = self.begin(who);
                w.shut_read(&peer);
                self.busy.set(busy);
            }
            Act::ShutWrite(who) => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                w.shut_write(&peer);
                self.busy.set(busy);
            }
            Act::Limit(who, limit) => w.set(&self.peer(who), |queue| queue.set_limit(limit)),
            Act::Report(who, on) => {
                let peer = self.peer(who);
                let busy = self.begin(who);
                let _ = w.report_binds(&peer, on);
                self.busy.set(busy);
            }
            Act::Doze(who) => {
                let actor = &mut self.actors.borrow_mut()[who];
                if !actor.peer.with(|queue| queue.is_readable()) {
                    actor.peer.wakes();
                    actor.dozes = true;
                }
            }
        }
    }

    fn begin(&self, who: usize) -> u32 {
        let busy = self.busy.get();
        self.busy.set(busy | (1 << who));
        busy
    }

    /// Nobody sleeps who has something to read.
    fn nobody_is_stuck(&self) {
        for actor in self.actors.borrow_mut().iter_mut() {
            if std::mem::take(&mut actor.dozes) && actor.peer.with(|queue| queue.is_readable()) {
                assert!(actor.peer.wakes().0 > 0, "{} sleeps on", actor.peer.id());
            }
        }
    }

    /// All that is left is read and answered.
    fn end(&self) {
        let w = &self.world;
        for who in 0..ACTORS {
            let peer = self.peer(who);
            for text in TEXTS {
                let _ = w.unreplier(&peer, text);
            }
        }
        for _ in 0..2 {
            for who in 0..ACTORS {
                let peer = self.peer(who);
                let (unread, once) = peer.with(|queue| (queue.unread(), queue.once()));
                let mut count = 0;
                while self.read(who) {
                    count += 1;
                }
                // Gaps are not told here.
                assert_eq!(count, unread);
                let actors = self.actors.borrow();
                let most = if once { 1 } else { 1 + TEXTS.len() as u32 };
                for (id, copies) in &actors[who].copies {
                    assert!(*copies <= most, "{copies} copies of {id}");
                }
            }
            for who in 0..ACTORS {
                let owed = std::mem::take(&mut self.actors.borrow_mut()[who].owed);
                for (_, id) in owed {
                    let _ = w.ignore(&self.peer(who), id);
                }
            }
        }
        for actor in self.actors.borrow_mut().iter_mut() {
            let (lost, counters) = (actor.peer.with(|queue| queue.lost()), actor.peer.counters());
            assert!(actor.told_lost <= lost);
            assert_eq!((counters.0, counters.2), (0, 0));
            if !actor.is_shut {
                actor.asked.sort();
                actor.answered.sort();
                assert_eq!(
                    actor.asked,
                    actor.answered,
                    "answers of {}",
                    actor.peer.id()
                );
                assert_eq!(counters.1, 0, "slots of {} are reserved", actor.peer.id());
            }
        }
    }
}

fn run(script: Vec<(u8, Act)>, depth: u32) {
    let w = World::new(0, 1 << 30);
    // Those who listen all the time: to which names, with how many copies of each.
    let mut stable = vec![];
    for (n, texts) in [
        &["$.A.B"][..],
        &["$.A.*"],
        &["$.A.C.D"],
        &["$.A.*", "$.*", "$.A.B"],
    ]
    .into_iter()
    .enumerate()
    {
        for m in 0..50 {
            let id = 1000 * (n as u64 + 1) + m;
            let peer = w.join_in(id, 1 + (m % 3) as u32, (m % 2) as usize);
            peer.with(|queue| {
                queue.set_limit(1 << 20);
                queue.set_once(m % 4 == 3);
            });
            let matches = |name: usize| {
                let pattern = |text: &str| {
                    kbus_core::name::Pattern::parse(text.as_bytes())
                        .is_ok_and(|p| p.matches(NAMES[name].as_bytes()))
                };
                let count = texts.iter().filter(|text| pattern(text)).count();
                if m % 4 == 3 {
                    count.min(1)
                } else {
                    count
                }
            };
            let copies = [0, 1, 2].map(matches);
            for text in texts {
                w.listen(&peer, text).unwrap();
            }
            stable.push((peer, copies));
        }
    }
    let actors = (0..ACTORS).map(|who| {
        let peer = w.join_in(who as u64 + 1, 1 + (who % 3) as u32, who % 2);
        peer.with(|queue| queue.set_once(who % 2 == 1));
        Actor::new(peer)
    });
    let lab = Rc::new(Lab {
        actors: RefCell::new(actors.collect()),
        world: w.clone(),
        busy: Cell::new(0),
        next_peer: Cell::new(100),
        script: RefCell::new(script.into_iter()),
        wait: Cell::new(0),
        sent: RefCell::default(),
        trace: std::env::var("TRACE").is_ok(),
    });
    let inner = lab.clone();
    w.set_depth(depth);
    w.between(move |_| inner.between());
    while let Some(act) = lab.next() {
        lab.act(act);
        lab.nobody_is_stuck();
    }
    w.nothing_between();
    lab.end();
    let mut sent = lab.sent.take();
    sent.sort();
    for (peer, copies) in &stable {
        let mut got = vec![];
        let mut last = 0;
        while let Some(view) = peer.read() {
            if view.flags & KBUS_URGENT == 0 {
                assert!(view.id >= last, "{} after {last}", view.id);
                last = view.id;
            }
            assert_eq!(view.lost, 0);
            if view.flags & (KBUS_STATUS | KBUS_REPLY) == 0 {
                got.push(view.id);
            }
        }
        got.sort();
        let all = sent.iter().flat_map(|(id, name)| vec![*id; copies[*name]]);
        assert_eq!(got, all.collect::<Vec<_>>(), "of {}", peer.id());
        assert_eq!(peer.counters(), (0, 0, 0, 0, 0));
        w.close(peer);
    }
    for actor in lab.actors.take() {
        w.close(&actor.peer);
    }
    w.assert_empty();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 120, ..Default::default() })]
    /// Whatever others do in between, each message is had by all or by none, once and in order,
    /// each request is answered once, nobody is left asleep, and nothing remains.
    #[test]
    fn whatever_is_done_in_between(
        script in prop::collection::vec((0u8..4, act()), 20..200),
        depth in 1u32..4,
    ) {
        run(script, depth);
    }
}
