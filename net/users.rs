// SPDX-License-Identifier: GPL-2.0

//! The users of the machine: what each has, and who waits for their budgets.
//!
//! There is one table for the machine. Its lock is a spinlock and the innermost of all but those of
//! wait queues. Nothing is allocated under it, and no hold of it is longer than a look at a few
//! users.

use crate::{
    bus_core::{
        account::Charge,
        limits::Limits,
        mem,
        payer::Payer,
        wait::{
            wake_polling,
            WaiterNode,
            Waiters,
            Woken, //
        },
    },
    endpoint::Endpoint,
    reclaimer::Reclaimer,
    sys::{
        sysctl::{
            Limit,
            Written, //
        },
        task, //
    },
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// The limits of the machine.
pub(crate) static LIMITS: Limits = Limits::new();

/// Some user has got bytes or messages back for which somebody waits.
static BELL: mem::Flag = mem::Flag::new(false);

const fn limit(name: &'static CStr, value: &'static mem::Counter, min: u64, max: u64) -> Limit {
    Limit {
        name,
        value: value.as_atomic(),
        min,
        max,
    }
}

/// More bytes than any machine has; the sum of two still fits a word.
const MANY: u64 = 1 << 62;

/// The files of `net.kbus` that hold for the whole machine.
pub(crate) static SYSCTLS: [Limit; 8] = [
    limit(c"user_bytes", &LIMITS.user_bytes, 0, MANY),
    limit(c"user_messages", &LIMITS.user_messages, 0, MANY),
    limit(c"bus_bytes", &LIMITS.bus_bytes, 0, MANY),
    limit(c"max_queue_len", &LIMITS.max_queue_len, 1, 1 << 20),
    limit(c"user_bindings", &LIMITS.user_bindings, 0, 1 << 30),
    limit(c"user_wide", &LIMITS.user_wide, 0, 1 << 30),
    limit(c"user_waits", &LIMITS.user_waits, 0, 1 << 30),
    limit(c"user_buses", &LIMITS.user_buses, 0, 1 << 30),
];

/// Sets the limits that depend on the machine. To be called once, before there are sockets.
pub(crate) fn measure() {
    LIMITS.measure(task::ram_bytes());
}

/// A user.
struct User {
    payer: Arc<Payer>,
    /// Those who wait until the user has got something back.
    waiters: Waiters<Arc<Endpoint>>,
}

impl User {
    fn new(id: u64) -> Result<Self> {
        Ok(Self {
            payer: Payer::new(id, &LIMITS, &BELL)?,
            waiters: Waiters::new(),
        })
    }

    /// Takes out some who wait and have not tried since something was given back.
    fn untried(&mut self) -> Woken<Arc<Endpoint>> {
        let version = self.payer.version();
        self.waiters.take(usize::MAX, version)
    }

    /// Whether there is nothing to be remembered of the user. What still waits somewhere is: coming
    /// back is no way to a new budget.
    fn is_gone(&self) -> bool {
        self.payer.is_clear() && self.waiters.is_empty()
    }
}

/// The users by their numbers, and up to which they have been looked at whether they are gone.
struct Table {
    users: RBTree<u64, User>,
    swept: u64,
}

/// The users.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    table: SpinLock<Table>,
    /// Who frees memory in their cgroups.
    pub(crate) reclaimer: Reclaimer,
}

/// Users that are looked at in one hold of the lock.
const LOOKS: usize = 32;

impl Written for Users {
    fn written(this: &Arc<Self>) {
        let mut from = Some(0);
        while let Some(id) = from {
            from = this.each_from(id, |user| {
                user.payer.ring();
                true
            });
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
        let table = Table {
            users: RBTree::new(),
            swept: 0,
        };
        let reclaimer = Reclaimer::new()?;
        Arc::pin_init(
            pin_init!(Self {
                table <- new_spinlock!(table, "kbus::users"),
                reclaimer,
            }),
            GFP_KERNEL,
        )
    }

    /// Counts one more socket of a user, as long as the charge lives.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn enter(&self, id: u64) -> Result<(Arc<Payer>, Charge)> {
        let find = |table: &mut Table| {
            let payer = table.users.get(&id)?.payer.clone();
            let counted = Charge::forced(&payer.sockets, 1);
            Some((payer, counted, table.sweep()))
        };
        let mut found = find(&mut self.table.lock());
        if found.is_none() {
            let node = RBTreeNode::new(id, User::new(id)?, GFP_KERNEL_ACCOUNT)?;
            let mut table = self.table.lock();
            // Somebody else may have been faster.
            let unused = match table.users.get(&id) {
                Some(_) => Some(node),
                None => table.users.insert(node),
            };
            found = find(&mut table);
            drop(table);
            drop(unused);
        }
        let (payer, counted, gone) = found.ok_or(ENOMEM)?;
        drop(gone);
        Ok((payer, counted))
    }

    /// A socket goes: users who have nothing any more are forgotten.
    pub(crate) fn sweep(&self) {
        let gone = self.table.lock().sweep();
        drop(gone);
    }

    /// The user of this number, who has something.
    pub(crate) fn payer(&self, id: u64) -> Option<Arc<Payer>> {
        let table = self.table.lock();
        Some(table.users.get(&id)?.payer.clone())
    }

    /// Enters one who waits until a user has got something of its budget back; false if there is no
    /// such user any more.
    pub(crate) fn enter_waiter(
        &self,
        payer: u64,
        waiter: WaiterNode<Arc<Endpoint>>,
        polls: bool,
    ) -> bool {
        let mut table = self.table.lock();
        let Some(user) = table.users.get_mut(&payer) else {
            return false;
        };
        user.waiters.add(waiter, polls);
        user.payer.begin_waiting();
        true
    }

    /// Takes one of this age out again.
    pub(crate) fn leave_waiter(&self, payer: u64, age: u64) -> Option<WaiterNode<Arc<Endpoint>>> {
        let mut table = self.table.lock();
        table.users.get_mut(&payer)?.waiters.remove(age)
    }

    /// Wakes some of those who wait for users who have got something back.
    ///
    /// To be called at the end of every operation that may have given something back.
    pub(crate) fn answer_bell(this: &Arc<Self>) {
        if !BELL.get() || !BELL.swap(false) {
            return;
        }
        let mut from = Some(0);
        while let Some(id) = from {
            let mut rung = None;
            from = this.each_from(id, |user| {
                if rung.is_some() {
                    // Another hold: this one has found enough.
                    return false;
                }
                if user.payer.take_ring() {
                    // First: what is given back after the look at the version rings again.
                    if !user.waiters.is_empty() {
                        user.payer.begin_waiting();
                    }
                    rung = Some((user.payer.id(), user.untried()));
                }
                true
            });
            if let Some((id, woken)) = rung {
                woken.wake();
                wake_polling(|round| this.polling_for(id, round));
            }
        }
    }

    /// Wakes some of those who wait for a user and have not tried since something was given back.
    pub(crate) fn tell(&self, id: u64) {
        let woken = self.table.lock().users.get_mut(&id).map(User::untried);
        if let Some(woken) = woken {
            woken.wake();
        }
    }

    /// Some of those who poll until a user has got something back.
    fn polling_for(&self, id: u64, round: &mut (u64, u64)) -> (Woken<Arc<Endpoint>>, bool) {
        let mut table = self.table.lock();
        match table.users.get_mut(&id) {
            Some(user) => {
                let version = user.payer.version();
                user.waiters.take_polling(round, version)
            }
            None => (Woken::nobody(), false),
        }
    }

    /// Calls `f` for some users from this number on, until it says false; returns where to go on.
    fn each_from(&self, id: u64, mut f: impl FnMut(&mut User) -> bool) -> Option<u64> {
        let mut table = self.table.lock();
        let mut next = table.users.cursor_lower_bound_mut(&id);
        let mut looks = 0;
        while let Some(mut here) = next {
            let (id, user) = here.current_mut();
            if looks == LOOKS || !f(user) {
                return Some(*id);
            }
            looks += 1;
            next = here.move_next();
        }
        None
    }
}

impl Table {
    /// Takes out some users who are gone: where the last that a user had comes back nothing is
    /// known of this table.
    ///
    /// Each socket that comes or goes looks at two, so that there are never many.
    fn sweep(&mut self) -> [Option<RBTreeNode<u64, User>>; 2] {
        [(); 2].map(|()| {
            let (id, gone) = match self.users.cursor_lower_bound(&self.swept) {
                Some(here) => {
                    let (id, user) = here.current();
                    (*id, user.is_gone())
                }
                None => (u64::MAX, false),
            };
            self.swept = id.wrapping_add(1);
            if gone {
                self.users.remove_node(&id)
            } else {
                None
            }
        })
    }
}
