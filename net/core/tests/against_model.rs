// SPDX-License-Identifier: GPL-2.0

//! Random programs on the bus and on the model of `model/`: they must not differ.
//!
//! `N=` sets how many steps there are in all, `SEED=` repeats a run, and `SHRINK=0` does not look for
//! a shorter program that differs.
//!
//! The fuzz target `core` compiles this file too, for the bus as it is seen here.

mod peer;

use kbus_core::bus::Bound;
use kbus_core::bus::Bus;
use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Sent;
use kbus_core::bus::Step as Settled;
use kbus_core::bus::Ticket;
use kbus_core::error::Error;
use kbus_core::hash::Key;
use kbus_core::name::Pattern;
use kbus_core::queue::View;
use kbus_core::wakes::Wakes;
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
use peer::Peer;
use peer::Users;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestError;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Steps of the ordinary run.
const ORDINARY: u64 = 300_000;
/// The payload of every message.
const BYTE: u8 = 7;

struct Socket {
    peer: Peer,
    bus: usize,
    /// What waits: a send, or a binding or its end.
    waits: Option<(Ticket, Option<(bool, String)>)>,
}

/// The buses of `net/core/`, called directly.
pub(crate) struct Core {
    buses: Vec<Bus<Peer>>,
    users: Users,
    last_id: u64,
    sockets: Vec<Option<Socket>>,
}

fn ids(last: &mut u64) -> impl FnMut() -> u64 + '_ {
    || {
        *last += 1;
        *last
    }
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
        users.messages.store(config.messages as u64, Relaxed);
        let buses = (0..config.buses).map(|_| {
            let bytes = config.bytes_max as u64;
            let mut bus = Bus::new(config.owner, bytes, users.limits, Key(1, 2)).unwrap();
            bus.set_max_msg(config.max_msg as u32);
            bus.set_pool(config.pool.0 as u32, config.pool.1 as u32);
            bus
        });
        Core {
            buses: buses.collect(),
            users,
            last_id: 0,
            sockets: config.users.iter().map(|_| None).collect(),
        }
    }

    fn at(&self, slot: usize) -> (usize, Peer) {
        let socket = self.sockets[slot].as_ref().unwrap();
        (socket.bus, socket.peer.clone())
    }

    fn settle(&mut self, bus: usize, peer: &Peer) {
        let mut next = ids(&mut self.last_id);
        let bus = &mut self.buses[bus];
        while let Settled::More(_) = bus.settle_step(peer, &mut next, &mut Wakes::new()) {}
    }

    fn bind(&mut self, slot: usize, is_bind: bool, text: &str, blocking: bool) -> Done {
        let (at, peer) = self.at(slot);
        let pattern = Pattern::parse(text.as_bytes()).unwrap();
        let (bus, wakes) = (&mut self.buses[at], &mut Wakes::new());
        let mut next = ids(&mut self.last_id);
        let bound = match is_bind {
            true => bus.bind_replier(&peer, &pattern, blocking, &mut next, wakes),
            false => bus.unbind_replier(&peer, &pattern, blocking, &mut next, wakes),
        };
        drop(next);
        match bound {
            Ok(Bound::Done(garbage)) => {
                drop(garbage);
                self.settle(at, &peer);
                Done::Ok(0)
            }
            Ok(Bound::Wait(ticket)) => {
                let waits = Some((ticket, Some((is_bind, text.to_string()))));
                self.sockets[slot].as_mut().unwrap().waits = waits;
                Done::Waits
            }
            Err(error) => Done::Err(error.errno()),
        }
    }

    fn send(&mut self, slot: usize, mut out: Outgoing<'_, Peer>, blocking: bool) -> Done {
        let (at, peer) = self.at(slot);
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        match self.buses[at].send(&peer, &mut out, blocking, &mut next, wakes) {
            Ok(Sent::Id(id)) => Done::Ok(id),
            Ok(Sent::Wait(ticket)) => {
                self.sockets[slot].as_mut().unwrap().waits = Some((ticket, None));
                Done::Waits
            }
            Err(error) => Done::Err(error.errno()),
        }
    }

    fn read(&mut self, slot: usize) -> Option<Msg> {
        let (at, peer) = self.at(slot);
        let view = peer.with(|queue| queue.front())?;
        assert_eq!(peer.with(|queue| queue.next_len()), Some(view.len));
        let consumed = peer.with(|queue| queue.consume(view.token)).unwrap();
        assert_eq!(consumed.owed, view.must_reply());
        let msg = seen(&view);
        drop((view, consumed.garbage));
        if consumed.tell_bus {
            let mut next = ids(&mut self.last_id);
            let wakes = &mut Wakes::new();
            let bus = &mut self.buses[at];
            let (rest, told) = bus.after_read(&peer, consumed.back, &mut next, wakes);
            drop(rest);
            if let Some(told) = told {
                while bus.tell_pollers(&peer, told, wakes) {}
            }
        }
        Some(msg)
    }

    fn set(&mut self, slot: usize, setting: Setting) -> Done {
        let (at, peer) = self.at(slot);
        let waited_for = peer.with(|queue| {
            match setting {
                Setting::QueueLen(len) => queue.set_limit(len as u32),
                Setting::QueueBytes(bytes) => queue.set_byte_limit(bytes as u64),
                Setting::Once(on) => queue.set_once(on),
                Setting::Lossy(on) => queue.set_lossy(on),
                Setting::ReportLost(on) => queue.set_report_lost(on),
                Setting::ReportBinds(_) => {}
            }
            queue.is_waited_for()
        });
        if let Setting::ReportBinds(on) = setting {
            let mut next = ids(&mut self.last_id);
            let wakes = &mut Wakes::new();
            return done(self.buses[at].report_binds(&peer, on, &mut next, wakes));
        }
        if waited_for && !matches!(setting, Setting::ReportLost(_)) {
            self.buses[at].settings_changed(&peer, &mut Wakes::new());
            self.settle(at, &peer);
        }
        Done::Ok(0)
    }

    fn step(&mut self, step: &Step<'_>) -> Done {
        let slot = step.op.slot();
        if let Op::Open { bus, .. } = step.op {
            let peer = Peer::new(step.key, USERS[slot], &self.users);
            self.buses[*bus].join(&peer).unwrap();
            let waits = None;
            self.sockets[slot] = Some(Socket {
                peer,
                bus: *bus,
                waits,
            });
            return Done::Ok(0);
        }
        let (at, peer) = self.at(slot);
        let wakes = &mut Wakes::new();
        match step.op {
            Op::Open { .. } => unreachable!(),
            Op::Close { .. } | Op::Kill { .. } => {
                drop(self.buses[at].close_begin(&peer, wakes));
                self.settle(at, &peer);
                self.sockets[slot] = None;
                Done::Ok(0)
            }
            Op::ShutRead { .. } => {
                drop(self.buses[at].shutdown_read(&peer, wakes));
                self.settle(at, &peer);
                Done::Ok(0)
            }
            Op::ShutWrite { .. } => {
                drop(self.buses[at].shutdown_write(&peer, wakes));
                self.settle(at, &peer);
                Done::Ok(0)
            }
            Op::Listen { text, .. } => {
                let pattern = Pattern::parse(text.as_bytes()).unwrap();
                done(self.buses[at].listen(&peer, &pattern))
            }
            Op::Unlisten { text, .. } => {
                let pattern = Pattern::parse(text.as_bytes()).unwrap();
                let result = done(self.buses[at].unlisten(&peer, &pattern, wakes));
                self.settle(at, &peer);
                result
            }
            Op::Bind { text, blocking, .. } => self.bind(slot, true, text, *blocking),
            Op::Unbind { text, blocking, .. } => self.bind(slot, false, text, *blocking),
            Op::Send {
                all,
                urgent,
                blocking,
                ..
            } => {
                let send = step.send.as_ref().unwrap();
                let name = send.name.as_bytes();
                let request = if send.request { flags::REQUEST } else { 0 };
                let urgent = if *urgent { flags::URGENT } else { 0 };
                let out = Outgoing {
                    dest: Some(match send.peer {
                        Some(peer) => Dest::Stateful { name, peer },
                        None => Dest::Name(name),
                    }),
                    flags: all | request | urgent,
                    explicit: true,
                    reply_max: send.reply_max as u32,
                    cookie: send.cookie,
                    payload: vec![BYTE; send.len],
                    ..Default::default()
                };
                self.send(slot, out, *blocking)
            }
            Op::Reply { len, urgent, .. } => {
                let (peer, request, name) = &step.debt;
                let out = Outgoing {
                    dest: Some(Dest::Reply {
                        peer: *peer,
                        request: *request,
                        name: name.as_deref().map(str::as_bytes),
                    }),
                    flags: if *urgent { flags::URGENT } else { 0 },
                    payload: vec![BYTE; *len],
                    ..Default::default()
                };
                self.send(slot, out, true)
            }
            Op::Ignore { .. } => {
                let mut next = ids(&mut self.last_id);
                done(self.buses[at].ignore(&peer, step.debt.1, &mut next, wakes))
            }
            Op::Read { .. } => Done::Read(self.read(slot)),
            Op::Set { setting, .. } => self.set(slot, *setting),
            Op::GiveUp { .. } => {
                let waits = self.sockets[slot].as_mut().unwrap().waits.take();
                let ended = self.buses[at].give_up(&peer, waits.unwrap().0);
                done(ended.result)
            }
            Op::WhoReplies { name, .. } => Done::Ok(self.buses[at].replier_for(name.as_bytes())),
        }
    }

    /// Tries what waits for bytes of budgets that got some back.
    fn answer_the_bell(&mut self) {
        let mut rounds = 0;
        loop {
            let rung = self.users.rung();
            if rung.is_empty() {
                return;
            }
            rounds += 1;
            assert!(rounds < 100, "what fails rings the bell for itself");
            let of = |peer: &Peer| {
                let all = self.sockets.iter().flatten();
                let found = all.into_iter().find(|socket| socket.peer.id() == peer.id());
                found.map(|socket| socket.bus)
            };
            let rung: Vec<(Peer, usize)> = rung
                .iter()
                .filter_map(|p| Some((p.clone(), of(p)?)))
                .collect();
            for (peer, bus) in &rung {
                self.buses[*bus].budget_released(peer, &mut Wakes::new());
            }
            for (peer, bus) in &rung {
                while self.buses[*bus].budget_step(peer, &mut Wakes::new()) {}
            }
            self.carry_on();
        }
    }

    /// Has the threads that wait try what waits, when it is their turn.
    fn carry_on(&mut self) {
        let mut next = ids(&mut self.last_id);
        let waiting = || self.sockets.iter().flatten();
        for round in 0.. {
            assert!(round < 1000, "somebody always carries on");
            let mut carried = false;
            for socket in waiting() {
                let bus = &mut self.buses[socket.bus];
                carried |= bus.carry_on(&socket.peer, &mut next, &mut Wakes::new());
            }
            if !carried {
                return;
            }
        }
    }

    /// The waits that have ended; a binding is tried again.
    fn ended(&mut self) -> Vec<(usize, Result<u64, Errno>)> {
        let mut all = vec![];
        for slot in 0..self.sockets.len() {
            let Some(socket) = &mut self.sockets[slot] else {
                continue;
            };
            let Some((ticket, what)) = &socket.waits else {
                continue;
            };
            let Some(ended) = self.buses[socket.bus].finished(&socket.peer, *ticket) else {
                continue;
            };
            let what = what.clone();
            socket.waits = None;
            match (what, ended.result) {
                (_, Err(error)) => all.push((slot, Err(error.errno()))),
                (None, Ok(id)) => all.push((slot, Ok(id))),
                (Some((is_bind, text)), Ok(_)) => match self.bind(slot, is_bind, &text, true) {
                    Done::Ok(_) => all.push((slot, Ok(0))),
                    Done::Err(error) => all.push((slot, Err(error))),
                    _ => {}
                },
            }
        }
        all
    }
}

impl Subject for Core {
    fn apply(&mut self, step: &Step<'_>) -> Outcome {
        let done = self.step(step);
        self.answer_the_bell();
        let mut ended = self.ended();
        loop {
            self.answer_the_bell();
            match self.ended() {
                more if more.is_empty() => break,
                more => ended.extend(more),
            }
        }
        ended.sort();
        Outcome { done, ended }
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
        let bus = &self.buses[bus];
        SeenBus {
            used: bus.account().used() as usize,
            members: bus.members() as usize,
            bindings: bus.bindings() as usize,
        }
    }
}

/// Largest payload.
pub(crate) const MAX_MSG: usize = 50;

/// One who made the buses, two sockets of another user, and others.
pub(crate) const USERS: [u32; 5] = [9, 1, 1, 2, 9];

pub(crate) fn config(
    bytes_max: usize,
    (budget, messages): (usize, usize),
    pool: (usize, usize),
) -> Config {
    Config {
        users: USERS.to_vec(),
        buses: 2,
        owner: 9,
        max_msg: MAX_MSG,
        bytes_max,
        budget,
        messages,
        pool,
        reply_max: 4096,
    }
}

/// At the end of every program: all sockets are closed, and nothing may remain.
pub(crate) fn nothing_remains(core: &mut Core) {
    for slot in 0..core.sockets.len() {
        let Some(socket) = &core.sockets[slot] else {
            continue;
        };
        let (at, peer) = (socket.bus, socket.peer.clone());
        if let Some((ticket, _)) = &socket.waits {
            let ticket = *ticket;
            drop(core.buses[at].give_up(&peer, ticket));
        }
        drop(core.buses[at].close_begin(&peer, &mut Wakes::new()));
        core.settle(at, &peer);
        core.sockets[slot] = None;
    }
    for bus in &core.buses {
        assert_eq!((bus.members(), bus.bindings()), (0, 0));
        assert!(bus.has_no_routes());
        assert_eq!(bus.account().used(), 0, "bytes stay charged");
    }
    for user in USERS {
        assert_eq!(core.users.used(user), (0, 0), "a user still pays");
    }
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
        prop::collection::vec(op::strategy(USERS.len(), 2, MAX_MSG), 1..300),
    );
    let (steps, tally, begun) = (Cell::new(0), RefCell::new(Tally::default()), Instant::now());
    while steps.get() < wanted {
        let tree = programs.new_tree(&mut runner).unwrap();
        let result = runner.run_one(tree, |(bytes_max, budget, pool, ops)| {
            let config = config(bytes_max, budget, pool);
            let mut core = Core::new(&config);
            match kbus_model::run(&config, &mut core, &ops, &mut tally.borrow_mut()) {
                Ok(done) => steps.set(steps.get() + done),
                Err(difference) => return Err(TestCaseError::fail(difference)),
            }
            nothing_remains(&mut core);
            Ok(())
        });
        if let Err(TestError::Fail(difference, (bytes_max, budget, pool, _))) = result {
            panic!(
                "a bus of {bytes_max} bytes with budgets of {budget:?} and a pool {pool:?} differs from the model (SEED={seed}):\n\
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
    let cut = tally
        .0
        .get("program cut short: waits for bytes in another order");
    assert!(
        cut.copied().unwrap_or(0) * 10_000 < steps.max(100_000),
        "too many programs were not compared to their end: {cut:?} (SEED={seed})"
    );
    for what in MUST_HAPPEN {
        assert!(
            tally.0.contains_key(*what),
            "{what} never happened in {steps} steps (SEED={seed})"
        );
    }
}
