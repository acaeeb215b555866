// SPDX-License-Identifier: GPL-2.0

//! A bus and its sockets for the tests.
//!
//! A lock that is taken where it must not be, which would be a deadlock in the kernel, is a panic
//! here. So is a wake-up, or the end of a message, while a lock is held. Between two holds of the
//! bus lock a test can do whatever others might do then: see [`World::between`].

#![allow(dead_code, unused_imports)] // Each test uses its part.

mod threads;

use kbus_core::address::Dest;
use kbus_core::bind;
use kbus_core::bus::Bus;
use kbus_core::bus::Shared;
use kbus_core::close;
use kbus_core::error::Error;
use kbus_core::events;
use kbus_core::hash::Key;
use kbus_core::limits::Limits;
use kbus_core::mem;
use kbus_core::mem::AllocError;
use kbus_core::mem::Flag;
use kbus_core::mem::Need;
use kbus_core::message::Content;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::name::Name;
use kbus_core::name::Pattern;
use kbus_core::name::Prefixes;
use kbus_core::payer::Payer;
use kbus_core::peer::Trace;
use kbus_core::queue::Member;
use kbus_core::queue::Queue;
use kbus_core::queue::View;
use kbus_core::send;
use kbus_core::send::Outgoing;
use kbus_core::wait;
use kbus_core::wait::WaiterNode;
use kbus_core::wait::Waiters;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub use threads::run_all;
pub use threads::run_woken;
pub use threads::Thread;
pub use threads::Tried;
pub use threads::What;

thread_local! {
    static BUS_IS_HELD: Cell<bool> = const { Cell::new(false) };
    static QUEUE_IS_HELD: Cell<bool> = const { Cell::new(false) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
    static CLOCK: Cell<i64> = const { Cell::new(0) };
    static ON_SEND: RefCell<Option<OnSend>> = const { RefCell::new(None) };
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
    static PREFIXES: RefCell<BTreeMap<Vec<u8>, Option<&'static Prefixes>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Called with the id of what is being sent, and with who answers what.
type OnSend = Box<dyn Fn(u64, Option<(u64, u64)>)>;

/// Traces what is sent in this thread.
pub fn trace_sends(told: Option<OnSend>) {
    ON_SEND.set(told);
}

/// Panics if a lock is held.
fn no_lock(what: &str) {
    // Of a test that has failed no more is wanted.
    if std::thread::panicking() {
        return;
    }
    assert!(!BUS_IS_HELD.get(), "{what} with the bus locked");
    assert!(!QUEUE_IS_HELD.get(), "{what} with a queue locked");
}

/// How often a queue has been locked in this thread.
pub fn looks() -> u64 {
    LOOKS.get()
}

/// Sets the clock of this thread's messages.
pub fn set_clock(time: i64) {
    CLOCK.set(time);
}

/// The users of a machine, and who waits for their budgets.
#[derive(Clone)]
pub struct Users {
    pub limits: &'static Limits,
    bell: &'static Flag,
    payers: Rc<RefCell<BTreeMap<u64, Arc<Payer>>>>,
    waiting: Rc<RefCell<BTreeMap<u64, Waiters<Peer>>>>,
}

impl Users {
    /// Each may have so many bytes waiting.
    pub fn new(bytes: u64) -> Self {
        let limits = Box::leak(Box::new(Limits::new()));
        limits.user_bytes.set(bytes);
        limits.user_messages.set(u64::MAX);
        limits.bus_bytes.set(1 << 30);
        Users {
            limits,
            bell: Box::leak(Box::new(Flag::new(false))),
            payers: Rc::default(),
            waiting: Rc::default(),
        }
    }

    /// The user of this number.
    pub fn payer(&self, id: u64) -> Arc<Payer> {
        let mut payers = self.payers.borrow_mut();
        // Not the operation that is tested.
        let make = || {
            let failing = mem::fail_after(None);
            let payer = Payer::new(id, self.limits, self.bell).unwrap();
            mem::fail_after(failing);
            payer
        };
        payers.entry(id).or_insert_with(make).clone()
    }

    /// What a user has waiting: bytes and messages.
    pub fn used(&self, id: u64) -> (u64, u64) {
        let payer = self.payer(id);
        (payer.bytes.used(), payer.messages.used())
    }

    /// Whether nothing is in use by anybody.
    pub fn is_clear(&self) -> bool {
        self.payers.borrow().values().all(|payer| payer.is_clear())
    }

    /// Wakes those who wait for the budget of a user who got something of it back.
    pub fn answer_the_bell(&self) {
        if !self.bell.swap(false) {
            return;
        }
        let payers: Vec<_> = self.payers.borrow().values().cloned().collect();
        for payer in payers.iter().filter(|payer| payer.take_ring()) {
            self.tell(payer);
            wait::wake_polling(|round| {
                self.of(payer.id(), |waiters| {
                    waiters.take_polling(round, payer.version())
                })
            });
            if self.of(payer.id(), |waiters| !waiters.is_empty()) {
                payer.begin_waiting();
            }
        }
    }

    /// Wakes some who wait for a user and have not tried since something came back.
    fn tell(&self, payer: &Payer) {
        let version = payer.version();
        self.of(payer.id(), |waiters| waiters.take(usize::MAX, version))
            .wake();
    }

    /// Those who wait for the budget of a user.
    fn of<R>(&self, user: u64, f: impl FnOnce(&mut Waiters<Peer>) -> R) -> R {
        f(self.waiting.borrow_mut().entry(user).or_default())
    }

    /// Whether anybody waits for a budget.
    pub fn anybody_waits(&self) -> bool {
        !self.waiting.borrow().values().all(Waiters::is_empty)
    }
}

/// Who sent a message, in the memory group where it is known.
#[derive(Debug)]
pub struct Sender {
    pub who: u64,
    pub memory: usize,
}

impl Sender {
    fn new(who: u64) -> Self {
        let memory = mem::group();
        Sender { who, memory }
    }
}

/// Descriptors, of which the last is never dropped with a lock held.
#[derive(Debug, Default)]
pub struct Files(pub Cell<u32>);

impl Drop for Files {
    fn drop(&mut self) {
        no_lock("the last of some descriptors is dropped");
    }
}

pub struct Inner {
    pub id: u64,
    pub user: u32,
    pub memory: usize,
    pub payer: Arc<Payer>,
    pub users: Users,
    queue: RefCell<Queue<Peer>>,
    /// How often its readers and its senders were woken.
    wakes: Cell<(u64, u64)>,
    /// Whether a reader sleeps or polls.
    is_waited_for: Cell<bool>,
    /// What is done before some look at the queue.
    before: RefCell<Option<Look>>,
}

#[derive(Clone)]
pub struct Peer(pub Rc<Inner>);

impl Peer {
    pub fn new(id: u64, user: u32, users: &Users) -> Self {
        Peer::in_group(id, user, users, 0)
    }

    /// A socket of a memory group.
    pub fn in_group(id: u64, user: u32, users: &Users, memory: usize) -> Self {
        Peer(Rc::new(Inner {
            id,
            user,
            memory,
            payer: users.payer(u64::from(user)),
            users: users.clone(),
            queue: RefCell::new(Queue::new()),
            wakes: Cell::new((0, 0)),
            is_waited_for: Cell::new(true),
            before: RefCell::new(None),
        }))
    }

    /// Reads one message, and wakes those who waited for its room.
    pub fn read(&self) -> Option<View<Peer>> {
        let view = self.with(|q| q.front())?;
        let consumed = self.with(|q| q.consume(view.token)).unwrap();
        assert_eq!(consumed.owed, view.must_reply());
        consumed.settle(self);
        if let Some(from) = view.from() {
            assert_eq!(from.memory, self.0.memory, "a copy of another memory group");
        }
        Some(view)
    }

    /// Unread, reserved, bytes, unreplied, lost.
    pub fn counters(&self) -> (u32, u32, u64, u32, u64) {
        self.with(|q| (q.unread(), q.reserved(), q.bytes(), q.unreplied(), q.lost()))
    }

    /// How often its readers and its senders were woken since the last call.
    pub fn wakes(&self) -> (u64, u64) {
        self.0.wakes.take()
    }

    /// Says whether a reader sleeps or polls.
    pub fn set_waited_for(&self, waits: bool) {
        self.0.is_waited_for.set(waits);
    }

    /// Does something with the queue before each look at it.
    pub fn before_looks(&self, f: Option<Look>) {
        self.0.before.replace(f);
    }
}

/// What is done before a look at a queue.
pub type Look = Box<dyn FnMut(&mut Queue<Peer>)>;

impl kbus_core::peer::Peer for Peer {
    type Sender = Sender;
    type Files = Rc<Files>;
    type Watch = ();

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

    fn copy_sender(sender: &Sender, need: Need) -> Result<Sender, AllocError> {
        mem::try_copy_for(need, b".")?;
        Ok(Sender::new(sender.who))
    }

    fn copy_files(files: &Rc<Files>, need: Need) -> Result<Rc<Files>, AllocError> {
        mem::try_copy_for(need, b".")?;
        Ok(files.clone())
    }

    fn memory(&self) -> usize {
        self.0.memory
    }

    fn task_memory(&self) -> usize {
        self.0.memory
    }

    fn within<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = mem::set_group(self.0.memory);
        let result = f();
        mem::set_group(before);
        result
    }

    fn reclaim(&self) {}

    fn wait_for_memory(_bytes: usize) -> bool {
        no_lock("memory is waited for");
        false
    }

    fn is_send_traced() -> bool {
        ON_SEND.with_borrow(|told| told.is_some())
    }

    fn trace(&self, what: Trace<'_>) {
        if let Trace::Send { id, answers, .. } = what {
            ON_SEND.with_borrow(|told| told.as_ref().map(|told| told(id, answers)));
        }
    }

    fn watch() {}

    fn is_waited_for(&self, (): &()) -> bool {
        self.0.is_waited_for.get()
    }

    fn wake_reader(&self) {
        no_lock("a reader is woken");
        let (reader, senders) = self.0.wakes.get();
        self.0.wakes.set((reader + 1, senders));
    }

    fn wake_senders(&self) {
        no_lock("senders are woken");
        let (reader, senders) = self.0.wakes.get();
        self.0.wakes.set((reader, senders + 1));
    }
}

impl Member for Peer {
    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R {
        assert!(!QUEUE_IS_HELD.replace(true), "a queue is locked in a queue");
        LOOKS.set(LOOKS.get() + 1);
        let mut queue = self.0.queue.borrow_mut();
        if let Some(before) = &mut *self.0.before.borrow_mut() {
            before(&mut queue);
        }
        let result = f(&mut queue);
        QUEUE_IS_HELD.set(false);
        result
    }

    fn enter_budget(&self, waiter: WaiterNode<Self>, polls: bool) -> bool {
        no_lock("a budget is waited for");
        let users = &self.0.users;
        users.of(self.payer().id(), |waiters| waiters.add(waiter, polls));
        self.payer().begin_waiting();
        true
    }

    fn tell_budget(&self) {
        no_lock("who waits for a budget is woken");
        self.0.users.tell(self.payer());
    }

    fn leave_budget(&self, age: u64) -> Option<WaiterNode<Self>> {
        no_lock("a budget is waited for no more");
        let users = &self.0.users;
        users.of(self.payer().id(), |waiters| waiters.remove(age))
    }
}

use kbus_core::peer::Peer as _;

/// What is done between two holds of the bus lock.
type Between = Rc<dyn Fn(&World)>;

/// A bus with its lock and its ids.
pub struct Lock {
    bus: RefCell<Bus<Peer>>,
    pub users: Users,
    /// All buses of an order domain have it.
    last_id: Rc<Cell<u64>>,
    /// Holds of the lock, and the most looks at queues in one of them.
    holds: Cell<(u64, u64)>,
    between: RefCell<Option<Between>>,
    /// How deep in what is done in between we are, and may be.
    depth: Cell<(u32, u32)>,
}

/// A bus.
#[derive(Clone)]
pub struct World(Rc<Lock>);

impl std::ops::Deref for World {
    type Target = Lock;

    fn deref(&self) -> &Lock {
        &self.0
    }
}

impl Shared for World {
    type Member = Peer;

    fn locked<R>(&self, f: impl FnOnce(&mut Bus<Peer>) -> R) -> R {
        assert!(!QUEUE_IS_HELD.get(), "the bus is locked in a queue");
        assert!(!BUS_IS_HELD.replace(true), "the bus is locked in the bus");
        let before = looks();
        let result = f(&mut self.bus.borrow_mut());
        BUS_IS_HELD.set(false);
        let (holds, most) = self.holds.get();
        self.holds.set((holds + 1, most.max(looks() - before)));
        let between = self.between.borrow().clone();
        let (depth, most) = self.depth.get();
        if let Some(between) = between.filter(|_| depth < most) {
            // What is done there has holds of its own, and is counted by itself.
            let holds = self.holds.get();
            self.depth.set((depth + 1, most));
            between(self);
            self.depth.set((depth, most));
            self.holds.set(holds);
        }
        result
    }

    fn next_id(&self) -> u64 {
        assert!(BUS_IS_HELD.get(), "an id without the bus locked");
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }
}

impl World {
    /// A bus whose payload may have so many bytes.
    pub fn new(owner: u32, bytes: u64) -> Self {
        World::of(owner, bytes, Users::new(u64::MAX), Rc::default())
    }

    /// A bus on a machine with others.
    pub fn of(owner: u32, bytes: u64, users: Users, last_id: Rc<Cell<u64>>) -> Self {
        let bus = Bus::new(owner, users.limits, KEY).unwrap();
        bus.bytes().set_max(bytes);
        World(Rc::new(Lock {
            bus: RefCell::new(bus),
            users,
            last_id,
            holds: Cell::default(),
            between: RefCell::default(),
            depth: Cell::new((0, 1)),
        }))
    }

    /// Does something after each hold of the bus lock, but for holds of what is done.
    pub fn between(&self, f: impl Fn(&World) + 'static) {
        self.between.replace(Some(Rc::new(f)));
    }

    /// Does it after holds of what is done, too, so many times in one another.
    pub fn set_depth(&self, most: u32) {
        self.depth.set((0, most));
    }

    /// Ends that.
    pub fn nothing_between(&self) {
        drop(self.between.take());
    }

    /// Holds of the bus lock since the last call, and the most looks at queues in one of them.
    pub fn holds(&self) -> (u64, u64) {
        self.holds.take()
    }

    /// Looks at the bus or changes it.
    pub fn bus<R>(&self, f: impl FnOnce(&mut Bus<Peer>) -> R) -> R {
        f(&mut self.0.bus.borrow_mut())
    }

    /// The last id there was.
    pub fn last_id(&self) -> u64 {
        self.last_id.get()
    }

    pub fn set_last_id(&self, id: u64) {
        self.last_id.set(id);
    }

    /// Bytes of the bus that are in use.
    pub fn bytes(&self) -> u64 {
        self.bus(|bus| bus.bytes().used())
    }

    pub fn join(&self, id: u64, user: u32) -> Peer {
        self.join_in(id, user, 0)
    }

    /// A socket of a memory group.
    pub fn join_in(&self, id: u64, user: u32, memory: usize) -> Peer {
        let peer = Peer::in_group(id, user, &self.users, memory);
        self.locked(|bus| bus.join(&peer)).unwrap();
        peer
    }

    pub fn listen(&self, peer: &Peer, text: &str) -> Result<(), Error> {
        bind::listen(self, peer, &Pattern::parse(text.as_bytes())?)
    }

    pub fn unlisten(&self, peer: &Peer, text: &str) -> Result<(), Error> {
        bind::unlisten(self, peer, &Pattern::parse(text.as_bytes())?)
    }

    /// Binds a replier; [`Error::Again`] when it would have to wait.
    pub fn replier(&self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        match bind::bind_replier(self, peer, &pattern)? {
            wait::Tried::Done(()) => Ok(()),
            wait::Tried::Full { place, .. } => {
                wait::block(peer, &place);
                Err(Error::Again)
            }
        }
    }

    pub fn unreplier(&self, peer: &Peer, text: &str) -> Result<(), Error> {
        let pattern = Pattern::parse(text.as_bytes())?;
        match bind::unbind_replier(self, peer, &pattern)? {
            wait::Tried::Done(()) => Ok(()),
            wait::Tried::Full { place, .. } => {
                wait::block(peer, &place);
                Err(Error::Again)
            }
        }
    }

    pub fn close(&self, peer: &Peer) {
        close::close(self, peer);
    }

    pub fn shut_read(&self, peer: &Peer) {
        let _ = close::shutdown_read(self, peer);
    }

    pub fn shut_write(&self, peer: &Peer) {
        let _ = close::shutdown_write(self, peer);
    }

    pub fn ignore(&self, peer: &Peer, id: u64) -> Result<(), Error> {
        close::ignore(self, peer, id)
    }

    pub fn report_binds(&self, peer: &Peer, on: bool) -> Result<(), Error> {
        events::report_binds(self, peer, on)
    }

    /// Changes a setting, as the socket layer does.
    pub fn set(&self, peer: &Peer, f: impl FnOnce(&mut Queue<Peer>)) {
        peer.with(f);
        wait::wake_all(peer);
    }

    /// Tries to send once.
    pub fn try_send(
        &self,
        peer: &Peer,
        out: &mut Outgoing<'_, Peer>,
    ) -> Result<wait::Tried<Peer, u64>, Error> {
        let before = mem::set_group(peer.0.memory);
        out.content
            .from
            .get_or_insert_with(|| Sender::new(peer.0.id));
        let sent = send::send(self, peer, out);
        mem::set_group(before);
        sent
    }

    /// Any later send may be tried again; what cannot be sent at all is none.
    fn unblock(&self, peer: &Peer, len: usize) {
        let fits = len <= self.bus(|bus| bus.max_msg()) as usize;
        if fits && !peer.with(|queue| queue.write_shut()) {
            wait::unblock(peer);
        }
    }

    /// Sends without waiting. What has no room is remembered, as for [`wait::block`].
    pub fn send(&self, peer: &Peer, mut out: Outgoing<'_, Peer>) -> Result<u64, Error> {
        self.unblock(peer, out.content.payload.len());
        match self.try_send(peer, &mut out)? {
            wait::Tried::Done(id) => Ok(id),
            wait::Tried::Full { place, .. } => {
                wait::block(peer, &place);
                Err(Error::Again)
            }
        }
    }

    /// An announcement to all that does not wait.
    pub fn announce_all(&self, peer: &Peer, name: &str) -> Result<u64, Error> {
        self.send(peer, announcement(name, KBUS_ALL_OR_WAIT, b""))
    }

    pub fn announce(&self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        self.send(peer, announcement(name, 0, payload))
    }

    pub fn request(&self, peer: &Peer, name: &str, payload: &[u8]) -> Result<u64, Error> {
        self.send(peer, announcement(name, KBUS_REQUEST, payload))
    }

    pub fn reply(&self, peer: &Peer, to: u64, request: u64, payload: &[u8]) -> Result<u64, Error> {
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
                content: Content::new(payload.into()),
                ..Default::default()
            },
        )
    }

    /// Nothing is left of a bus without sockets.
    pub fn assert_empty(&self) {
        self.bus(|bus| {
            assert_eq!((bus.members(), bus.bindings()), (0, 0));
            assert!(bus.has_no_routes());
            assert_eq!(bus.bytes().used(), 0, "bytes stay charged");
        });
        assert!(self.users.is_clear(), "a user still pays");
        assert!(!self.users.anybody_waits(), "somebody still waits");
    }
}

/// The key of each bus.
pub const KEY: Key = Key(1, 2);

/// A name, which must be well-formed. Every other time its prefixes are known, as those of a name
/// that a socket sends to again.
pub fn name(text: &str) -> Name<'_> {
    let name = Name::parse(text.as_bytes()).unwrap();
    if !IS_KNOWN.replace(!IS_KNOWN.get()) {
        return name;
    }
    match prefixes(name) {
        Some(prefixes) => name.with_prefixes(prefixes),
        None => name,
    }
}

/// The prefixes of a name, which are kept for as long as the tests run.
pub fn prefixes(name: Name<'_>) -> Option<&'static Prefixes> {
    PREFIXES.with_borrow_mut(|all| {
        let keep = || name.prefixes(KEY).map(|new| &*Box::leak(Box::new(new)));
        *all.entry(name.text().to_vec()).or_insert_with(keep)
    })
}

/// An announcement, or with that flag a request.
pub fn announcement<'a>(name: &'a str, flags: u32, payload: &[u8]) -> Outgoing<'a, Peer> {
    Outgoing {
        dest: Some(Dest::Name(self::name(name))),
        flags,
        content: Content::new(payload.to_vec().into()),
        ..Default::default()
    }
}
