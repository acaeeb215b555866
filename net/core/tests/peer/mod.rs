// SPDX-License-Identifier: GPL-2.0

//! A socket for the tests. A nested `with` panics, as it would deadlock in the kernel.

#![allow(dead_code)] // Each test uses its part.

use kbus_core::account::Account;
use kbus_core::bus::Bound;
use kbus_core::bus::Bus;
use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::bus::Sent;
use kbus_core::bus::Step;
use kbus_core::error::Error;
use kbus_core::hash::Key;
use kbus_core::limits::Limits;
use kbus_core::mem;
use kbus_core::mem::AllocError;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::name::Pattern;
use kbus_core::payer::Payer;
use kbus_core::queue::Queue;
use kbus_core::queue::View;
use kbus_core::wakes::Wakes;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;

/// The users of a machine, and who waits for their budgets.
#[derive(Clone)]
pub struct Users {
    pub budget: &'static AtomicU64,
    pub messages: &'static AtomicU64,
    pub limits: &'static Limits,
    bell: &'static AtomicBool,
    payers: Rc<RefCell<BTreeMap<u32, Arc<Payer>>>>,
    waiting: Rc<RefCell<Vec<Peer>>>,
}

impl Users {
    /// Each may have so many bytes waiting.
    pub fn new(budget: u64) -> Self {
        Users {
            budget: Box::leak(Box::new(AtomicU64::new(budget))),
            messages: Box::leak(Box::new(AtomicU64::new(u64::MAX))),
            limits: Box::leak(Box::new(Limits::new())),
            bell: Box::leak(Box::new(AtomicBool::new(false))),
            payers: Rc::default(),
            waiting: Rc::default(),
        }
    }

    /// The user of this number.
    pub fn payer(&self, id: u32) -> Arc<Payer> {
        let mut payers = self.payers.borrow_mut();
        // Not the operation that is tested.
        let make = || {
            let failing = mem::fail_after(None);
            let of = |max| Account::of_machine(max, self.bell).unwrap();
            let payer = Payer::new(id, of(self.budget), of(self.messages)).unwrap();
            mem::fail_after(failing);
            payer
        };
        payers.entry(id).or_insert_with(make).clone()
    }

    /// What a user has waiting: bytes and messages.
    pub fn used(&self, id: u32) -> (u64, u64) {
        let payer = self.payer(id);
        (payer.budget().used(), payer.messages().used())
    }

    /// Those whose budgets got bytes back, if anybody waits for that.
    pub fn rung(&self) -> Vec<Peer> {
        if !self.bell.swap(false, SeqCst) {
            return vec![];
        }
        let payers = self.payers.borrow();
        let rung: Vec<u32> = payers
            .values()
            .filter(|payer| payer.take_ring())
            .map(|payer| payer.id())
            .collect();
        let mut waiting = self.waiting.borrow_mut();
        let all = std::mem::take(&mut *waiting);
        let (rung, rest) = all
            .into_iter()
            .partition(|peer| rung.contains(&peer.payer().id()));
        *waiting = rest;
        rung
    }
}

thread_local! {
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// How often a queue has been locked in this thread.
pub fn looks() -> u64 {
    LOOKS.with(Cell::get)
}

pub struct Inner {
    pub id: u64,
    pub user: u32,
    pub payer: Arc<Payer>,
    pub users: Users,
    pub queue: RefCell<Queue<Peer>>,
}

#[derive(Clone)]
pub struct Peer(pub Rc<Inner>);

impl Peer {
    pub fn new(id: u64, user: u32, users: &Users) -> Self {
        Peer(Rc::new(Inner {
            id,
            user,
            payer: users.payer(user),
            users: users.clone(),
            queue: RefCell::new(Queue::new()),
        }))
    }

    pub fn read(&self) -> Option<View<Peer>> {
        let view = self.with(|q| q.front())?;
        let consumed = self.with(|q| q.consume(view.token));
        assert!(!consumed.unwrap().tell_bus, "World::read() is for these");
        Some(view)
    }

    pub fn counters(&self) -> (u32, u32, u64, u32, u64) {
        self.with(|q| (q.unread(), q.reserved(), q.bytes(), q.unreplied(), q.lost()))
    }
}

thread_local! {
    static CLOCK: Cell<i64> = const { Cell::new(0) };
}

/// Sets the clock of this thread's messages.
pub fn set_clock(time: i64) {
    CLOCK.set(time);
}

impl Member for Peer {
    type Sender = u64;
    type Files = Rc<u32>;

    fn now() -> i64 {
        CLOCK.get()
    }

    fn id(&self) -> u64 {
        self.0.id
    }

    fn user(&self) -> u32 {
        self.0.user
    }

    fn payer(&self) -> &Arc<Payer> {
        &self.0.payer
    }

    fn await_budget(&self) -> Result<(), AllocError> {
        let mut waiting = self.0.users.waiting.borrow_mut();
        self.payer().await_budget();
        if !waiting.iter().any(|peer| peer.id() == self.id()) {
            waiting.push(self.clone());
        }
        Ok(())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        LOOKS.with(|looks| looks.set(looks.get() + 1));
        f(&mut self.0.queue.borrow_mut())
    }
}

fn ids(last: &mut u64) -> impl FnMut() -> u64 + '_ {
    || {
        *last += 1;
        *last
    }
}

/// A bus with its ids.
pub struct World {
    pub bus: Bus<Peer>,
    pub users: Users,
    pub last_id: u64,
}

impl World {
    pub fn new(owner: u32, bytes: u64) -> Self {
        let users = Users::new(u64::MAX);
        World {
            bus: Bus::new(owner, bytes, users.limits, Key(1, 2)).unwrap(),
            users,
            last_id: 0,
        }
    }

    pub fn join(&mut self, id: u64, user: u32) -> Peer {
        let peer = Peer::new(id, user, &self.users);
        self.bus.join(&peer).unwrap();
        peer
    }

    pub fn listen(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        self.bus.listen(peer, &Pattern::parse(text.as_bytes())?)
    }

    /// Reads one message and tells the bus of it.
    pub fn read(&mut self, peer: &Peer) -> Option<View<Peer>> {
        let view = peer.with(|q| q.front())?;
        let consumed = peer.with(|q| q.consume(view.token)).unwrap();
        if consumed.tell_bus {
            let mut next = ids(&mut self.last_id);
            let wakes = &mut Wakes::new();
            drop(consumed.garbage);
            let (rest, told) = self.bus.after_read(peer, consumed.back, &mut next, wakes);
            drop(rest);
            if let Some(told) = told {
                while self.bus.tell_pollers(peer, told, wakes) {}
            }
        }
        Some(view)
    }

    pub fn unlisten(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        let result = self.bus.unlisten(peer, &pattern, &mut Wakes::new());
        self.settle(peer);
        result.map(drop)
    }

    pub fn replier(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        let bound = self
            .bus
            .bind_replier(peer, &pattern, false, &mut next, wakes)?;
        assert!(matches!(bound, Bound::Done(_)));
        drop(next);
        self.settle(peer);
        Ok(())
    }

    pub fn unreplier(&mut self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        self.bus
            .unbind_replier(peer, &pattern, false, &mut next, wakes)?;
        drop(next);
        self.settle(peer);
        Ok(())
    }

    pub fn settle(&mut self, peer: &Peer) {
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        while let Step::More(_) = self.bus.settle_step(peer, &mut next, wakes) {}
    }

    pub fn settle_step(&mut self, peer: &Peer) -> Step<Peer> {
        let mut next = ids(&mut self.last_id);
        self.bus.settle_step(peer, &mut next, &mut Wakes::new())
    }

    pub fn close(&mut self, peer: &Peer) {
        drop(self.bus.close_begin(peer, &mut Wakes::new()));
        self.settle(peer);
    }

    pub fn shut_read(&mut self, peer: &Peer) {
        drop(self.bus.shutdown_read(peer, &mut Wakes::new()));
        self.settle(peer);
    }

    pub fn shut_write(&mut self, peer: &Peer) {
        drop(self.bus.shutdown_write(peer, &mut Wakes::new()));
        self.settle(peer);
    }

    pub fn ignore(&mut self, peer: &Peer, id: u64) -> Result<(), Error> {
        let mut next = ids(&mut self.last_id);
        self.bus.ignore(peer, id, &mut next, &mut Wakes::new())
    }

    pub fn send(&mut self, peer: &Peer, mut out: Outgoing<'_, Peer>) -> Result<u64, Error> {
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        match self.bus.send(peer, &mut out, false, &mut next, wakes)? {
            Sent::Id(id) => Ok(id),
            Sent::Wait(_) => panic!("a send that must not wait waits"),
        }
    }

    /// An announcement that may wait, or not; `None` when it waits.
    pub fn announce_all(
        &mut self,
        peer: &Peer,
        name: &str,
        blocking: bool,
    ) -> Result<Option<u64>, Error> {
        let mut next = ids(&mut self.last_id);
        let mut out = Outgoing {
            dest: Some(Dest::Name(name.as_bytes())),
            flags: KBUS_ALL_OR_WAIT,
            ..Default::default()
        };
        let wakes = &mut Wakes::new();
        match self.bus.send(peer, &mut out, blocking, &mut next, wakes)? {
            Sent::Id(id) => Ok(Some(id)),
            Sent::Wait(_) => Ok(None),
        }
    }

    /// Does the step of this socket's waiting thread, if it is the one to go on; says whether it was.
    pub fn carry_on(&mut self, peer: &Peer) -> bool {
        let mut next = ids(&mut self.last_id);
        self.bus.carry_on(peer, &mut next, &mut Wakes::new())
    }

    pub fn report_binds(&mut self, peer: &Peer, on: bool) -> Result<(), Error> {
        let mut next = ids(&mut self.last_id);
        let wakes = &mut Wakes::new();
        self.bus.report_binds(peer, on, &mut next, wakes).map(drop)
    }

    pub fn announce(&mut self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        let dest = Some(Dest::Name(name.as_bytes()));
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                ..Default::default()
            },
        )
    }

    pub fn request(&mut self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        let dest = Some(Dest::Name(name.as_bytes()));
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                flags: 1,
                ..Default::default()
            },
        )
    }

    pub fn reply(
        &mut self,
        peer: &Peer,
        to: u64,
        request: u64,
        payload: &[u8],
    ) -> Result<u64, Error> {
        let dest = Some(Dest::Reply {
            peer: to,
            request,
            name: None,
        });
        let payload = payload.to_vec();
        self.send(
            peer,
            Outgoing {
                dest,
                payload,
                ..Default::default()
            },
        )
    }
}
