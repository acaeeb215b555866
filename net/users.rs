// SPDX-License-Identifier: GPL-2.0

//! The users of the machine: their budgets, how many buses they have, and who waits for their bytes.
//!
//! There is one table for the machine. Its lock is the innermost of all but the wait queues': it may be taken under
//! the lock of a bus, and nothing is taken under it.

use crate::{
    bus_core::{
        account::Account,
        limits::Limits,
        payer::Payer, //
    },
    domain::{
        to_kernel,
        SharedBus, //
    },
    endpoint::Endpoint,
    reclaim::{
        nowait,
        patiently, //
    },
    sys::{
        sysctl::{
            Limit,
            Written, //
        },
        task,
        work::WorkQueue, //
    },
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL_ACCOUNT,
        AllocError, //
    },
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering::{
        Relaxed,
        SeqCst, //
    }, //
};

/// Objects that one user may have on one bus.
pub(crate) static LIMITS: Limits = Limits::new();
/// Bytes of payload that may wait for one user: `net.kbus.user_bytes`.
static USER_BYTES: AtomicU64 = AtomicU64::new(64 << 20);
/// Messages that may wait for one user: `net.kbus.user_messages`.
static USER_MESSAGES: AtomicU64 = AtomicU64::new(LEAST_MESSAGES);
/// Bytes of payload that may be alive on a bus: `net.kbus.bus_bytes`.
static BUS_BYTES: AtomicU64 = AtomicU64::new(64 << 20);
/// The most that `KBUS_QUEUE_LEN` may be: `net.kbus.max_queue_len`.
static MAX_QUEUE_LEN: AtomicU64 = AtomicU64::new(16384);
/// Buses that may count for one user: `net.kbus.user_buses`.
static USER_BUSES: AtomicU64 = AtomicU64::new(256);

/// `net.kbus.user_messages` of a small machine.
const LEAST_MESSAGES: u64 = 1 << 16;
/// What a message with the longest name takes beside its payload, with something to spare.
const MESSAGE_BYTES: u64 = 2048;

/// Some user has got bytes or messages back for which somebody waits.
static BELL: AtomicBool = AtomicBool::new(false);

const fn limit(name: &'static CStr, value: &'static AtomicU64, min: u64, max: u64) -> Limit {
    Limit {
        name,
        value,
        min,
        max,
    }
}

/// More bytes than any machine has; the sum of two still fits a word.
const MANY: u64 = 1 << 62;

/// The files of `net.kbus` that hold for the whole machine.
pub(crate) static SYSCTLS: [Limit; 8] = [
    limit(c"user_bytes", &USER_BYTES, 0, MANY),
    limit(c"user_messages", &USER_MESSAGES, 0, MANY),
    limit(c"bus_bytes", &BUS_BYTES, 0, MANY),
    limit(c"max_queue_len", &MAX_QUEUE_LEN, 1, 1 << 20),
    limit(c"user_bindings", &LIMITS.bindings, 0, 1 << 30),
    limit(c"user_wide", &LIMITS.wide, 0, 1 << 30),
    limit(c"user_waits", &LIMITS.waits, 0, 1 << 30),
    limit(c"user_buses", &USER_BUSES, 0, 1 << 30),
];

/// Sets the limits that depend on the machine. To be called once, before there are sockets.
pub(crate) fn measure() {
    let ram = task::ram_bytes();
    let bytes = (ram / 16).max(64 << 20);
    USER_BYTES.store(bytes, Relaxed);
    USER_MESSAGES.store((bytes / MESSAGE_BYTES).max(LEAST_MESSAGES), Relaxed);
    BUS_BYTES.store(ram / 8, Relaxed);
}

/// What a bus may hold, unless its owner wants less.
pub(crate) fn bus_bytes() -> u64 {
    BUS_BYTES.load(Relaxed)
}

/// The most messages that a queue may be set to hold.
pub(crate) fn max_queue_len() -> u64 {
    MAX_QUEUE_LEN.load(Relaxed)
}

/// A user.
struct User {
    payer: Arc<Payer>,
    sockets: u64,
    buses: u64,
    /// Sockets for whose queues something waits until the user has bytes again, by peer id.
    waiting: RBTree<u64, Arc<Endpoint>>,
}

impl User {
    fn new(id: u32) -> Result<Self> {
        let payer = patiently(|| {
            let bytes = Account::of_machine(&USER_BYTES, &BELL)?;
            let messages = Account::of_machine(&USER_MESSAGES, &BELL)?;
            Payer::new(id, bytes, messages)
        });
        Ok(Self {
            payer: payer.map_err(to_kernel)?,
            sockets: 0,
            buses: 0,
            waiting: RBTree::new(),
        })
    }

    /// Whether there is nothing to be remembered of the user. What still waits somewhere is: coming back is no way to a
    /// new budget.
    fn is_gone(&self) -> bool {
        self.sockets == 0 && self.buses == 0 && self.payer.is_clear()
    }
}

/// The users.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    table: Mutex<RBTree<u32, User>>,
    /// Up to which number users have been looked at whether they are gone; changed under the lock of `table`.
    swept: AtomicU32,
    /// Finds out who waits for bytes that have come back.
    #[pin]
    work: Work<Users>,
    /// For this, and for the work of each bus.
    queue: WorkQueue,
}

impl_has_work! {
    impl HasWork<Self> for Users { self.work }
}

impl WorkItem for Users {
    type Pointer = Arc<Users>;

    fn run(this: Arc<Users>) {
        Users::tell_rung(&this);
    }
}

/// Lets the work of the users' table come to its end when it is dropped: then there must be no sockets any more.
pub(crate) struct Finish(pub(crate) Arc<Users>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.queue.drain();
    }
}

impl Written for Users {
    fn written(this: &Arc<Self>) {
        for (_, user) in this.table.lock().iter_mut() {
            user.payer.ring();
        }
        Self::answer_bell(this);
    }
}

impl Users {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = WorkQueue::new(c"kbus")?;
        Arc::pin_init(
            pin_init!(Self {
                table <- new_mutex!(RBTree::new(), "kbus::users"),
                swept: AtomicU32::new(0),
                work <- new_work!("kbus::users"),
                queue,
            }),
            GFP_KERNEL,
        )
    }

    /// Counts one more socket of a user.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn enter(&self, id: u32) -> Result<Arc<Payer>> {
        let mut table = self.table.lock();
        if table.get(&id).is_none() {
            // Memory may have to be waited for, and the lock is everybody's.
            drop(table);
            let node = RBTreeNode::new(id, User::new(id)?, GFP_KERNEL_ACCOUNT)?;
            table = self.table.lock();
            if table.get(&id).is_none() {
                table.insert(node);
            }
        }
        let user = table.get_mut(&id).ok_or(ENOMEM)?;
        user.sockets = user.sockets.saturating_add(1);
        let payer = user.payer.clone();
        let gone = self.sweep(&mut table);
        drop(table);
        drop(gone);
        Ok(payer)
    }

    /// Takes out some users who are gone: what the last bytes of a user come back from knows nothing of this table.
    ///
    /// Each socket that comes or goes looks at two, so that there are never many.
    fn sweep(&self, table: &mut RBTree<u32, User>) -> [Option<RBTreeNode<u32, User>>; 2] {
        [(); 2].map(|()| {
            let from = self.swept.load(Relaxed);
            let (id, gone) = match table.cursor_lower_bound(&from) {
                Some(here) => {
                    let (id, user) = here.current();
                    (*id, user.is_gone())
                }
                None => (u32::MAX, false),
            };
            self.swept.store(id.wrapping_add(1), Relaxed);
            if gone {
                table.remove_node(&id)
            } else {
                None
            }
        })
    }

    /// A socket of a user has gone.
    pub(crate) fn leave(&self, id: u32) {
        self.forget(id, |user| user.sockets = user.sockets.saturating_sub(1));
    }

    /// Counts one more bus for a user with sockets, who makes it.
    ///
    /// # Errors
    ///
    /// `EDQUOT` when the user has too many.
    pub(crate) fn enter_bus(&self, id: u32) -> Result {
        let mut table = self.table.lock();
        let user = table.get_mut(&id).ok_or(EDQUOT)?;
        if user.buses >= USER_BUSES.load(Relaxed) {
            return Err(EDQUOT);
        }
        user.buses = user.buses.saturating_add(1);
        Ok(())
    }

    /// A bus that counted for a user is no more.
    pub(crate) fn leave_bus(&self, id: u32) {
        self.forget(id, |user| user.buses = user.buses.saturating_sub(1));
    }

    /// A bus counts for another user with sockets from now on, beyond what that one may have if need be.
    pub(crate) fn pass_bus(&self, from: u32, to: u32) {
        if let Some(user) = self.table.lock().get_mut(&to) {
            user.buses = user.buses.saturating_add(1);
        }
        self.leave_bus(from);
    }

    fn forget(&self, id: u32, what: impl FnOnce(&mut User)) {
        let mut table = self.table.lock();
        let gone = table.get_mut(&id).is_some_and(|user| {
            what(user);
            user.is_gone()
        });
        let user = if gone { table.remove(&id) } else { None };
        let others = self.sweep(&mut table);
        drop(table);
        // What is waiting there refers to sockets.
        drop((user, others));
    }

    /// Something waits for the queue of `endpoint` until its user has bytes again. May be called under the lock of a bus.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(crate) fn await_bytes(&self, endpoint: &Arc<Endpoint>) -> Result<(), AllocError> {
        let mut node = None;
        loop {
            // This may be under the lock of a bus, and memory is not waited for under that either.
            if !endpoint.awaits_bytes.load(Relaxed) && node.is_none() {
                let new = RBTreeNode::new(endpoint.peer_id(), endpoint.clone(), nowait());
                node = Some(new.map_err(|_| AllocError)?);
            }
            let mut table = self.table.lock();
            let Some(user) = table.get_mut(&endpoint.payer.id()) else {
                return Ok(());
            };
            if !endpoint.awaits_bytes.load(Relaxed) {
                let Some(node) = node.take() else {
                    // It has been told in this very moment.
                    continue;
                };
                user.waiting.insert(node);
                endpoint.awaits_bytes.store(true, Relaxed);
            }
            user.payer.await_budget();
            return Ok(());
        }
    }

    /// A socket closes: nothing waits for its queue any more, and nothing may keep it.
    pub(crate) fn forget_waiting(&self, endpoint: &Endpoint) {
        if !endpoint.awaits_bytes.load(Relaxed) {
            return;
        }
        let mut table = self.table.lock();
        let user = table.get_mut(&endpoint.payer.id());
        let kept = user.and_then(|user| user.waiting.remove(&endpoint.peer_id()));
        drop(table);
        drop(kept);
    }

    /// Sees to it that those hear of it who wait for bytes of a user who has got some back.
    ///
    /// To be called at the end of every operation that may have given bytes back. A thread of the kernel's does the rest:
    /// they may be strangers on other buses, and many.
    pub(crate) fn answer_bell(this: &Arc<Self>) {
        if BELL.load(Relaxed) {
            // If it is under way, it begins once more; if it has not begun, once is enough.
            let _ = this.queue.queue().enqueue(this.clone());
        }
    }

    /// Passes those on who wait for bytes of users who have got some back, each to its bus.
    ///
    /// The lock of a bus may be held up by its members, and strangers must not wait for that: so there is a work item for
    /// each bus, and this one takes the lock of none.
    fn tell_rung(this: &Arc<Self>) {
        if !BELL.swap(false, SeqCst) {
            return;
        }
        let mut from = Some(0);
        while let Some((id, mut waiting)) = from.and_then(|id| this.rung(id)) {
            let mut cursor = waiting.cursor_front_mut();
            while let Some(here) = cursor {
                let bus = here.current().1.bus();
                let (rest, node) = here.remove_current();
                if let Ok(bus) = bus {
                    SharedBus::tell(&bus, node, this.queue.queue());
                }
                cursor = rest;
            }
            from = id.checked_add(1);
        }
        // Another time, so that other work gets its turn.
        Self::answer_bell(this);
    }

    /// Takes out those who wait for bytes of the first user, from number `from` on, who has got some back.
    fn rung(&self, from: u32) -> Option<(u32, RBTree<u64, Arc<Endpoint>>)> {
        let mut table = self.table.lock();
        let mut cursor = table.cursor_lower_bound_mut(&from);
        while let Some(mut here) = cursor {
            let (id, user) = here.current_mut();
            if user.payer.take_ring() {
                let waiting = core::mem::replace(&mut user.waiting, RBTree::new());
                for endpoint in waiting.values() {
                    endpoint.awaits_bytes.store(false, Relaxed);
                }
                return Some((*id, waiting));
            }
            cursor = here.move_next();
        }
        None
    }
}
