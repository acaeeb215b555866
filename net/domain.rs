// SPDX-License-Identifier: GPL-2.0

//! The order domain: what one network namespace has of its own.
//!
//! Its abstract buses by name, and the counters from which the ids of messages and sockets are
//! taken. Buses at a path belong to no namespace, but the order of their messages is that of the
//! one in which they were made.

use crate::{
    bus_core::{
        self,
        account::Charge,
        bus::Shared,
        hash,
        limits::BEFORE_FIRST,
        Bus, //
    },
    endpoint::Endpoint,
    proc,
    reclaim::patiently,
    sys::{
        cred::Maker,
        net_ns::{
            Net,
            NetCell,
            NetState, //
        },
        proc::FileOf,
        random,
        sock::Sock,
        sysctl::{
            Folder,
            Number,
            Range, //
        },
        task, //
    },
    table::{
        Key,
        Table, //
    },
    users::{
        self,
        Users,
        LIMITS, //
    }, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    }, //
};

/// Where the sysctls are.
const FOLDER: &CStr = c"net/kbus";

/// Whether the literal form is served: `net.kbus.literal`.
const LITERAL_DEFAULT: i32 = 1;
/// Also in sandboxes.
const LITERAL_MAX: i32 = 2;

/// The order of messages: ids ascend over all buses of one such order.
///
/// Its buses keep it, as one at a path may outlive the namespace.
pub(crate) struct Order {
    /// Tells this order from others: `domain` of `struct kbus_bus_info`.
    pub(crate) id: u64,
    last_message: Atomic<u64>,
}

/// What one network namespace has of its own.
#[pin_data]
pub(crate) struct Domain {
    /// Of the buses that are made here.
    pub(crate) order: Arc<Order>,
    literal: Arc<Number>,
    /// The users of the machine.
    pub(crate) users: Arc<Users>,
    /// The abstract buses.
    buses: Arc<Table>,
    /// The buses at paths, which all namespaces share.
    paths: Arc<Table>,
    /// Every socket made here and not yet closed, by its peer id. Taken alone.
    #[pin]
    sockets: SpinLock<RBTree<u64, Arc<Endpoint>>>,
}

/// The last peer id: never reused while the machine is up and the module loaded.
static LAST_PEER: Atomic<u64> = Atomic::new(BEFORE_FIRST);

/// The number of the last domain.
static LAST_DOMAIN: Atomic<u64> = Atomic::new(BEFORE_FIRST);

static CELL: NetCell = NetCell::new();

/// What all network namespaces share.
pub(crate) struct Machine {
    paths: Arc<Table>,
    pub(crate) users: Arc<Users>,
}

impl Machine {
    /// Makes it, without buses and users.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let machine = Self {
            paths: Table::new()?,
            users: Users::new()?,
        };
        Ok(Arc::new(machine, GFP_KERNEL)?)
    }
}

impl NetState for Domain {
    type Shared = Machine;
    type Told = Users;

    fn cell() -> &'static NetCell {
        &CELL
    }

    fn create(net: &Net, maker: Option<Arc<Self>>, machine: &Arc<Machine>) -> Result<Arc<Self>> {
        // A new namespace starts with its maker's value and can only lower it.
        let (literal, range) = match maker {
            Some(maker) if !net.is_initial() => (maker.literal.get(), Range::OnlyDown),
            _ if net.is_initial() => (LITERAL_DEFAULT, Range::UpTo(LITERAL_MAX)),
            _ => (LITERAL_DEFAULT, Range::OnlyDown),
        };
        let order = Order {
            id: LAST_DOMAIN.fetch_add(1, Relaxed).wrapping_add(1),
            last_message: Atomic::new(BEFORE_FIRST),
        };
        Arc::pin_init(
            try_pin_init!(Self {
                order: Arc::new(order, GFP_KERNEL)?,
                literal: Arc::new(Number::new(literal, range), GFP_KERNEL)?,
                users: machine.users.clone(),
                buses: Table::new()?,
                paths: machine.paths.clone(),
                sockets <- new_spinlock!(RBTree::new(), "kbus::sockets"),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn sysctls(&self, net: &Net) -> Result<Folder<Users>> {
        let literal = (c"literal", self.literal.clone());
        Folder::new(net, FOLDER, literal, &users::SYSCTLS, self.users.clone())
    }

    fn files() -> &'static [FileOf<Self>] {
        &proc::FILES
    }
}

impl Order {
    /// The id of the last message.
    ///
    /// Under the lock of a bus: every message of that bus with this id or a lesser one is in its
    /// recipients' queues.
    pub(crate) fn last_message(&self) -> u64 {
        self.last_message.load(Relaxed)
    }
}

impl Domain {
    /// The id of a new socket; 0 is the bus itself.
    pub(crate) fn next_peer(&self) -> u64 {
        LAST_PEER.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Adds a socket to those that are listed; it must be removed before it goes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add(&self, endpoint: &Arc<Endpoint>) -> Result {
        let node = RBTreeNode::new(endpoint.id, endpoint.clone(), GFP_KERNEL_ACCOUNT)?;
        let before = self.sockets.lock().insert(node);
        drop(before);
        Ok(())
    }

    /// Removes a socket from those that are listed.
    pub(crate) fn remove(&self, peer: u64) -> Option<Arc<Endpoint>> {
        self.sockets.lock().remove(&peer)
    }

    /// The socket of this peer id.
    pub(crate) fn socket(&self, peer: u64) -> Option<Arc<Endpoint>> {
        self.sockets.lock().get(&peer).cloned()
    }

    /// The first socket whose peer id is `peer` or greater.
    pub(crate) fn socket_from(&self, peer: u64) -> Option<Arc<Endpoint>> {
        let sockets = self.sockets.lock();
        let cursor = sockets.cursor_lower_bound(&peer)?;
        Some(cursor.current().1.clone())
    }

    /// Whether the current task may make a socket by the literal form, `socket(AF_UNIX, SOCK_DGRAM,
    /// PROTO_KBUS)`.
    ///
    /// A sandbox that was written before KBUS must not be opened by loading it.
    pub(crate) fn admits_literal(&self) -> bool {
        match self.literal.get() {
            0 => false,
            1 => !task::is_sandboxed(),
            _ => true,
        }
    }

    /// Where the bus of this key is found.
    pub(crate) fn table(&self, key: &Key) -> &Table {
        match key {
            Key::Name(_) => &self.buses,
            Key::Inode(_) => &self.paths,
        }
    }
}

/// A bus as its sockets share it.
#[pin_data]
pub(crate) struct SharedBus {
    /// From which the ids of its messages are taken.
    pub(crate) order: Arc<Order>,
    /// `KBUS_BUS_MODE` of an abstract bus: the write bits count.
    pub(crate) mode: Atomic<u32>,
    /// Of an abstract bus: who made it, as numbers of the initial user namespace.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The user for whom it counts. Taken alone.
    #[pin]
    counted: SpinLock<(u64, Charge)>,
    /// The secret by which the bus hashes names.
    pub(crate) key: hash::Key,
    /// Whose `bind()` made it: the peer of all its sockets.
    pub(crate) maker: Maker,
    /// Largest payload, as the bus has it: a send looks at it before there is a copy and a lock.
    max_msg: Atomic<u32>,
    /// Sockets whose readers want to see the security labels of senders.
    pub(crate) label_readers: Atomic<u32>,
    /// The bus lock. Lock order: before the queue of any socket.
    #[pin]
    pub(crate) state: SpinLock<Bus<Arc<Endpoint>>>,
}

impl Shared for SharedBus {
    type Member = Arc<Endpoint>;

    fn locked<R>(&self, f: impl FnOnce(&mut Bus<Arc<Endpoint>>) -> R) -> R {
        f(&mut self.state.lock())
    }

    fn next_id(&self) -> u64 {
        let last = &self.order.last_message;
        last.fetch_add(1, Relaxed).wrapping_add(1)
    }
}

impl SharedBus {
    /// Makes a bus that the current task owns, without sockets.
    ///
    /// # Errors
    ///
    /// `EDQUOT` if the user has made too many, `ENOMEM`.
    pub(crate) fn new(endpoint: &Endpoint, mode: u32) -> Result<Arc<Self>> {
        let uid = task::current_euid();
        let maker = Maker::current()?;
        let key = hash::Key(random::number(), random::number());
        let bus = patiently(|| Ok(Bus::new(uid, &LIMITS, key)?))?;
        let payer = &endpoint.payer;
        let counted = Charge::new(&payer.buses, 1).ok_or(EDQUOT)?;
        let counted = (payer.id(), counted);
        Arc::pin_init(
            pin_init!(Self {
                order: endpoint.domain.order.clone(),
                mode: Atomic::new(mode),
                uid,
                gid: task::current_egid(),
                counted <- new_spinlock!(counted, "kbus::counted"),
                key,
                maker,
                max_msg: Atomic::new(bus.max_msg()),
                label_readers: Atomic::new(0),
                state <- new_spinlock!(bus, "kbus::bus"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Has the bus count for a user who has a socket on it. To be called when one has come or gone.
    ///
    /// Else who stays would use up what the maker may have, or, if the maker had it back, anybody
    /// could make buses without end and leave them.
    pub(crate) fn recount(&self, users: &Users) {
        let by = self.counted.lock().0;
        let now = self.state.lock().counts_for(by);
        if now == by {
            return;
        }
        let Some(payer) = users.payer(now) else {
            return;
        };
        // Beyond what that user may have, if need be.
        let counted = (now, Charge::forced(&payer.buses, 1));
        let before = core::mem::replace(&mut *self.counted.lock(), counted);
        drop(before);
    }

    /// Whether the current task owns the abstract bus, or may administer the namespace of `sock`,
    /// one of its sockets.
    pub(crate) fn is_owner(&self, sock: &Sock) -> bool {
        task::current_euid() == self.uid || sock.is_net_admin()
    }

    /// Insists that the current task may bind a socket to the abstract bus.
    ///
    /// # Errors
    ///
    /// `EACCES`.
    pub(crate) fn admit(&self, sock: &Sock) -> Result {
        let mode = self.mode.load(Relaxed);
        let bit = if task::current_euid() == self.uid {
            0o200
        } else if task::in_group(self.gid) {
            0o020
        } else {
            0o002
        };
        if mode & bit != 0 || sock.is_net_admin() {
            Ok(())
        } else {
            Err(EACCES)
        }
    }

    /// Largest payload, unless it is being changed.
    pub(crate) fn max_msg(&self) -> u32 {
        self.max_msg.load(Relaxed)
    }

    /// Sets the largest payload of later messages.
    pub(crate) fn set_max_msg(&self, bytes: u32) {
        let mut state = self.state.lock();
        state.set_max_msg(bytes);
        self.max_msg.store(bytes, Relaxed);
    }
}

/// The kernel's error for one of the bus's.
impl From<bus_core::Error> for Error {
    fn from(error: bus_core::Error) -> Self {
        Error::from_errno(-error.errno())
    }
}
