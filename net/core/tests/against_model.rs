// SPDX-License-Identifier: GPL-2.0

//! Random programs on the bus and on the model of `model/`: they must not differ.
//!
//! `N=` sets how many steps there are in all, `SEED=` repeats a run, and `SHRINK=0` does not look
//! for a shorter program that differs.
//!
//! The fuzz target `core` compiles this file too, for the bus as it is seen here.

mod peer;

use kbus_core::address::Dest;
use kbus_core::bus::Kind;
use kbus_core::close;
use kbus_core::error::Error;
use kbus_core::message::Content;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use kbus_core::queue::View;
use kbus_core::send::Outgoing;
use kbus_model::message::flags;
use kbus_model::op;
use kbus_model::op::Setting;
use kbus_model::run::Seen;
use kbus_model::run::SeenBus;
use kbus_model::run::Step;
use kbus_model::run::Tally;
use kbus_model::run::MUST_HAPPEN;
use kbus_model::Config;
use kbus_model::Done;
use kbus_model::Errno;
use kbus_model::Msg;
use kbus_model::Op;
use kbus_model::Outcome;
use kbus_model::Subject;
use peer::run_all;
use peer::run_woken;
use peer::Peer;
use peer::Thread;
use peer::Tried;
use peer::Users;
use peer::What;
use peer::World;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestError;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

/// Steps of the ordinary run.
const ORDINARY: u64 = 300_000;
/// The payload of every message.
const BYTE: u8 = 7;

struct Socket {
    peer: Peer,
    bus: usize,
}

/// The buses of `net/core/`, called directly.
pub(crate) struct Core {
    buses: Vec<World>,
    users: Users,
    groups: Vec<usize>,
    sockets: Vec<Option<Socket>>,
    /// What waits, on all buses.
    threads: Vec<Thread>,
    slots: BTreeMap<u64, usize>,
}

fn seen(view: &View<Peer>) -> Msg {
    let name = String::from_utf8(view.name().to_vec()).unwrap();
    let event = (name == kbus_model::name::BIND_EVENT).then(|| {
        let (peer, rest) = view.payload().split_first_chunk().unwrap();
        let (is_bind, rest) = rest.split_first_chunk().unwrap();
        let (len, text) = rest.split_first_chunk().unwrap();
        assert_eq!(u32::from_ne_bytes(*len) as usize, text.len());
        let text = String::from_utf8(text.to_vec()).unwrap();
        let is_bind = u32::from_ne_bytes(*is_bind);
        (u64::from_ne_bytes(*peer), is_bind == 1, text)
    });
    if event.is_none() {
        assert!(view.payload().iter().all(|byte| *byte == BYTE));
    }
    Msg {
        id: view.id,
        name,
        flags: view.flags,
        sender: view.sender,
        to: view.to,
        in_reply_to: view.in_reply_to,
        cookie: view.cookie,
        len: view.len,
        lost: view.lost,
        error: view.error,
        event,
    }
}

fn done<T>(result: Result<T, Error>) -> Done {
    match result {
        Ok(_) => Done::Ok(0),
        Err(error) => Done::Err(error.errno()),
    }
}

impl Core {
    pub(crate) fn new(config: &Config) -> Self {
        let users = Users::new(config.budget as u64);
        users.limits.user_messages.set(config.messages as u64);
        let last_id = Rc::new(Cell::new(0));
        let buses = (0..config.buses).map(|_| {
            let bytes = config.bytes_max as u64;
            let world = World::of(config.owner, bytes, users.clone(), last_id.clone());
            let (most, share) = config.unbinds;
            world.bus(|bus| {
                bus.set_max_msg(config.max_msg as u32);
                bus.set_most_events(most as u32, share as u32);
            });
            world
        });
        Core {
            buses: buses.collect(),
            users,
            groups: config.groups.clone(),
            sockets: config.users.iter().map(|_| None).collect(),
            threads: vec![],
            slots: BTreeMap::new(),
        }
    }

    fn at(&self, slot: usize) -> (World, Peer) {
        let socket = self.sockets[slot].as_ref().unwrap();
        (self.buses[socket.bus].clone(), socket.peer.clone())
    }

    /// Does what may wait.
    fn begin(&mut self, slot: usize, what: What) -> Done {
        let (world, peer) = self.at(slot);
        match Thread::begin(&world, &peer, what) {
            Ok(Tried::Done(id)) => Done::Ok(id),
            Ok(Tried::Waits(thread)) => {
                self.threads.push(thread);
                Done::Waits
            }
            Err(error) => Done::Err(error.errno()),
        }
    }

    fn read(&mut self, slot: usize) -> Option<Msg> {
        let (_, peer) = self.at(slot);
        let len = peer.with(|queue| queue.next_len());
        let view = peer.read()?;
        assert_eq!(len, Some(view.len));
        Some(seen(&view))
    }

    fn set(&mut self, slot: usize, setting: Setting) -> Done {
        let (world, peer) = self.at(slot);
        match setting {
            Setting::QueueLen(len) => world.set(&peer, |queue| queue.set_limit(len as u32)),
            Setting::QueueBytes(bytes) => {
                world.set(&peer, |queue| queue.set_byte_limit(bytes as u64));
            }
            Setting::Once(on) => world.set(&peer, |queue| queue.set_once(on)),
            Setting::Lossy(on) => world.set(&peer, |queue| queue.set_lossy(on)),
            Setting::ReportLost(on) => peer.with(|queue| queue.set_report_lost(on)),
            Setting::ReportBinds(on) => return done(world.report_binds(&peer, on)),
        }
        Done::Ok(0)
    }

    fn step(&mut self, step: &Step<'_>) -> Done {
        let slot = step.op.slot();
        if let Op::Open { bus, .. } = step.op {
            let peer = Peer::in_group(step.key, USERS[slot], &self.users, self.groups[slot]);
            self.buses[*bus].bus(|bus| bus.join(&peer)).unwrap();
            self.sockets[slot] = Some(Socket { peer, bus: *bus });
            self.slots.insert(step.key, slot);
            return Done::Ok(0);
        }
        let (world, peer) = self.at(slot);
        match step.op {
            Op::Open { .. } => unreachable!(),
            Op::Close { .. } | Op::Kill { .. } => {
                close::close(&world, &peer);
                self.sockets[slot] = None;
                Done::Ok(0)
            }
            Op::ShutRead { .. } => done(close::shutdown_read(&world, &peer)),
            Op::ShutWrite { .. } => done(close::shutdown_write(&world, &peer)),
            Op::Listen { text, .. } => done(world.listen(&peer, text)),
            Op::Unlisten { text, .. } => done(world.unlisten(&peer, text)),
            Op::Bind { text, blocking, .. } if *blocking => {
                self.begin(slot, What::Bind(true, text.clone()))
            }
            Op::Unbind { text, blocking, .. } if *blocking => {
                self.begin(slot, What::Bind(false, text.clone()))
            }
            Op::Bind { text, .. } => done(world.replier(&peer, text)),
            Op::Unbind { text, .. } => done(world.unreplier(&peer, text)),
            Op::Send {
                all,
                urgent,
                blocking,
                ..
            } => {
                let send = step.send.as_ref().unwrap();
                let request = if send.request { flags::REQUEST } else { 0 };
                let urgent = if *urgent { flags::URGENT } else { 0 };
                let flags = all | request | urgent;
                if *blocking {
                    let what = What::Send {
                        name: send.name.clone(),
                        peer: send.peer,
                        flags,
                        payload: vec![BYTE; send.len],
                        reply_max: send.reply_max as u32,
                        cookie: send.cookie,
                    };
                    return self.begin(slot, what);
                }
                let name = peer::name(&send.name);
                let out = Outgoing {
                    dest: Some(match send.peer {
                        Some(peer) => Dest::Stateful { name, peer },
                        None => Dest::Name(name),
                    }),
                    flags,
                    explicit: true,
                    reply_max: send.reply_max as u32,
                    cookie: send.cookie,
                    content: Content::new(vec![BYTE; send.len].into()),
                    ..Default::default()
                };
                match world.send(&peer, out) {
                    Ok(id) => Done::Ok(id),
                    Err(error) => Done::Err(error.errno()),
                }
            }
            Op::Reply { len, urgent, .. } => {
                let (to, request, name) = &step.debt;
                let out = Outgoing {
                    dest: Some(Dest::Reply {
                        peer: *to,
                        request: *request,
                        name: name.as_deref().map(peer::name),
                    }),
                    flags: if *urgent { flags::URGENT } else { 0 },
                    content: Content::new(vec![BYTE; *len].into()),
                    ..Default::default()
                };
                match world.send(&peer, out) {
                    Ok(id) => Done::Ok(id),
                    Err(error) => Done::Err(error.errno()),
                }
            }
            Op::Ignore { .. } => done(world.ignore(&peer, step.debt.1)),
            Op::Read { .. } => Done::Read(self.read(slot)),
            Op::Set { setting, .. } => self.set(slot, *setting),
            Op::GiveUp { .. } => {
                let mine = self.threads.iter().position(|t| t.peer.id() == peer.id());
                self.threads.remove(mine.unwrap()).give_up();
                Done::Err(Error::Again.errno())
            }
            Op::WhoReplies { name, .. } => {
                Done::Ok(world.bus(|bus| bus.replier_for(peer::name(name))))
            }
        }
    }

    /// Has those try again who are woken, until nobody is; then all, who may find an error.
    fn run_woken(&mut self) -> Vec<(usize, Result<u64, Errno>)> {
        let mut ended = run_woken(&self.users, &mut self.threads);
        ended.extend(run_all(&self.users, &mut self.threads));
        let of = |(peer, result): (u64, Result<u64, Error>)| {
            (self.slots[&peer], result.map_err(Error::errno))
        };
        ended.into_iter().map(of).collect()
    }
}

impl Subject for Core {
    fn apply(&mut self, step: &Step<'_>) -> Outcome {
        let done = self.step(step);
        let mut ended = self.run_woken();
        ended.sort();
        Outcome { done, ended }
    }

    fn order_of_repliers(&mut self, slot: usize) -> Vec<String> {
        let (world, peer) = self.at(slot);
        let (mut texts, mut last) = (vec![], None);
        world.bus(|bus| {
            while let Some(seen) = bus.binding_after(peer.id(), last) {
                last = Some(seen.at);
                if seen.kind == Kind::Replier {
                    texts.push(String::from_utf8(seen.text.to_vec()).unwrap());
                }
            }
        });
        texts
    }

    fn look(&mut self, slot: usize) -> Seen {
        self.at(slot).1.with(|queue| Seen {
            unread: queue.unread() as usize,
            bytes: queue.bytes() as usize,
            reserved: queue.reserved() as usize,
            owed: queue.unreplied() as usize,
            lost: queue.lost(),
            readable: queue.is_readable(),
            urgent: queue.is_urgent(),
            writable: queue.is_writable(),
        })
    }

    fn look_at_bus(&mut self, bus: usize) -> SeenBus {
        self.buses[bus].bus(|bus| SeenBus {
            used: bus.bytes().used() as usize,
            members: bus.members() as usize,
            bindings: bus.bindings() as usize,
        })
    }
}

/// Largest payload.
pub(crate) const MAX_MSG: usize = 50;

/// One who made the buses, two sockets of another user, and others.
pub(crate) const USERS: [u32; 5] = [9, 1, 1, 2, 9];

pub(crate) fn config(
    bytes_max: usize,
    (budget, messages): (usize, usize),
    unbinds: (usize, usize),
    groups: [usize; USERS.len()],
) -> Config {
    Config {
        users: USERS.to_vec(),
        buses: 2,
        owner: 9,
        max_msg: MAX_MSG,
        bytes_max,
        budget,
        messages,
        groups: groups.to_vec(),
        unbinds,
        waiters: usize::MAX,
        reply_max: 4096,
    }
}

/// At the end of every program: all sockets are closed, and nothing may remain.
pub(crate) fn nothing_remains(core: &mut Core) {
    core.threads.drain(..).for_each(Thread::give_up);
    for slot in 0..core.sockets.len() {
        if core.sockets[slot].is_some() {
            let (world, peer) = core.at(slot);
            close::close(&world, &peer);
            core.sockets[slot] = None;
        }
    }
    core.buses.iter().for_each(World::assert_empty);
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[test]
fn the_bus_does_what_the_model_does() {
    let wanted = number("N").unwrap_or(ORDINARY);
    let seed = number("SEED").unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        now.as_nanos() as u64
    });
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config_of_runs = ProptestConfig {
        cases: u32::MAX,
        failure_persistence: None,
        max_shrink_iters: number("SHRINK").map_or(20_000, |most| most as u32),
        ..Default::default()
    };
    let mut runner = TestRunner::new_with_rng(config_of_runs, rng);
    let programs = (
        prop_oneof![3 => 100..500usize, 1 => Just(1_000_000usize)],
        (
            prop_oneof![3 => 60..400usize, 1 => Just(1_000_000usize)],
            prop_oneof![2 => 4..30usize, 3 => Just(1_000_000usize)],
        ),
        (0..6usize, 0..3usize),
        // Mostly one memory cgroup.
        prop_oneof![2 => Just([0; USERS.len()]), 1 => prop::array::uniform5(0..3usize)],
        prop::collection::vec(op::strategy(USERS.len(), 2, MAX_MSG), 1..300),
    );
    let (steps, tally, begun) = (Cell::new(0), RefCell::new(Tally::default()), Instant::now());
    // Seldom something rare does not happen in so many steps: then there are more.
    let lacks = || {
        MUST_HAPPEN
            .iter()
            .any(|what| !tally.borrow().0.contains_key(*what))
    };
    while steps.get() < wanted || (lacks() && steps.get() < 10 * wanted) {
        let tree = programs.new_tree(&mut runner).unwrap();
        let result = runner.run_one(tree, |(bytes_max, budget, unbinds, groups, ops)| {
            let config = config(bytes_max, budget, unbinds, groups);
            let mut core = Core::new(&config);
            match kbus_model::run(&config, &mut core, &ops, &mut tally.borrow_mut()) {
                Ok(done) => steps.set(steps.get() + done),
                Err(difference) => return Err(TestCaseError::fail(difference)),
            }
            nothing_remains(&mut core);
            Ok(())
        });
        if let Err(TestError::Fail(difference, (bytes_max, budget, unbinds, groups, _))) = result {
            panic!(
                "a bus of {bytes_max} bytes with budgets of {budget:?}, {unbinds:?} unbind events and cgroups {groups:?} differs from the model (SEED={seed}):\n\
                 {difference}"
            );
        }
    }
    let (steps, tally) = (steps.get(), tally.into_inner());
    println!(
        "{steps} steps in {:.1} s, SEED={seed}",
        begun.elapsed().as_secs_f64()
    );
    for (what, times) in &tally.0 {
        println!("{times:>9} {what}");
    }
    for what in MUST_HAPPEN {
        assert!(
            tally.0.contains_key(*what),
            "{what} never happened in {steps} steps (SEED={seed})"
        );
    }
}
