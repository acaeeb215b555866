// SPDX-License-Identifier: GPL-2.0

//! The order domain: what one network namespace has of its own.
//!
//! Its abstract buses by name, and the counters from which the ids of messages and sockets are taken.

use crate::{
    bus_core::{
        hash::Key,
        Bus, //
    },
    endpoint::Endpoint,
    proc,
    sys::{
        net_ns::{
            Net,
            NetCell,
            NetState, //
        },
        proc::FileOf,
        random,
        sock::Sock,
        sysctl::{
            IntSysctl,
            Limits,
            Range, //
        },
        task, //
    }, //
    users::{
        self,
        Users, //
    },
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_mutex,
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
        Mutex, //
    }, //
};

/// Where the sysctls are.
const FOLDER: &CStr = c"net/kbus";

/// Whether the literal form is served: `net.kbus.literal`.
const LITERAL_DEFAULT: i32 = 1;
/// Also in sandboxes.
const LITERAL_MAX: i32 = 2;

/// What one network namespace has of its own.
#[pin_data]
pub(crate) struct Domain {
    id: u64,
    last_message: Atomic<u64>,
    #[pin]
    literal: IntSysctl,
    #[pin]
    limits: Limits<{ users::SYSCTLS.len() }>,
    /// Of the initial namespace: the users of the machine.
    users: Option<Arc<Users>>,
    /// Lock order: before the lock of any bus.
    #[pin]
    buses: Mutex<KVVec<Member>>,
    /// Every socket made here and not yet closed, by its peer id. Taken alone.
    #[pin]
    sockets: Mutex<RBTree<u64, Arc<Endpoint>>>,
}

/// A bus, and how many sockets are bound to it.
struct Member {
    bus: Arc<SharedBus>,
    sockets: usize,
}

/// The last peer id: never reused while the machine is up and the module loaded.
static LAST_PEER: Atomic<u64> = Atomic::new(0);

/// How many domains there have been.
static LAST_DOMAIN: Atomic<u64> = Atomic::new(0);

static CELL: NetCell = NetCell::new();

impl NetState for Domain {
    fn cell() -> &'static NetCell {
        &CELL
    }

    fn create(net: &Net, maker: Option<Arc<Self>>) -> Result<Arc<Self>> {
        // A new namespace starts with its maker's value and can only lower it.
        let (literal, range) = match maker {
            Some(maker) if !net.is_initial() => (maker.literal.get(), Range::OnlyDown),
            _ if net.is_initial() => (LITERAL_DEFAULT, Range::UpTo(LITERAL_MAX)),
            _ => (LITERAL_DEFAULT, Range::OnlyDown),
        };
        let users = match net.is_initial() {
            true => Some(Users::new()?),
            false => None,
        };
        Arc::pin_init(
            try_pin_init!(Self {
                id: LAST_DOMAIN.fetch_add(1, Relaxed).wrapping_add(1),
                last_message: Atomic::new(0),
                literal <- IntSysctl::new(net, FOLDER, c"literal", literal, range),
                limits <- Limits::new(net, FOLDER, &users::SYSCTLS),
                users,
                buses <- new_mutex!(KVVec::new(), "kbus::buses"),
                sockets <- new_mutex!(RBTree::new(), "kbus::sockets"),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn files() -> &'static [FileOf<Self>] {
        &proc::FILES
    }
}

impl Domain {
    /// The users of the machine.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` while the module is loaded or unloaded.
    pub(crate) fn users(&self) -> Result<Arc<Users>> {
        if let Some(users) = &self.users {
            return Ok(users.clone());
        }
        let machine = Net::initial().state::<Self>().ok_or(EAFNOSUPPORT)?;
        machine.users.clone().ok_or(EAFNOSUPPORT)
    }

    /// Tells this domain from others: `domain` of `struct kbus_bus_info`.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The next id of a message. To be called under the lock of the message's bus, when nothing can fail any more.
    pub(crate) fn next_message(&self) -> u64 {
        self.last_message.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// The id of the last message.
    ///
    /// Under the lock of a bus: every message of that bus with this id or a lesser one is in its recipients' queues.
    pub(crate) fn last_message(&self) -> u64 {
        self.last_message.load(Relaxed)
    }

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
        let node = RBTreeNode::new(endpoint.peer_id(), endpoint.clone(), GFP_KERNEL_ACCOUNT)?;
        let before = self.sockets.lock().insert(node);
        drop(before);
        Ok(())
    }

    /// Removes a socket from those that are listed.
    pub(crate) fn remove(&self, peer: u64) -> Option<Arc<Endpoint>> {
        self.sockets.lock().remove(&peer)
    }

    /// The first socket whose peer id is `peer` or greater.
    pub(crate) fn socket_from(&self, peer: u64) -> Option<Arc<Endpoint>> {
        let sockets = self.sockets.lock();
        let cursor = sockets.cursor_lower_bound(&peer)?;
        Some(cursor.current().1.clone())
    }

    /// Whether the current task may make a socket by the literal form, `socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS)`.
    ///
    /// A sandbox that was written before KBUS must not be opened by loading it.
    pub(crate) fn admits_literal(&self) -> bool {
        match self.literal.get() {
            0 => false,
            1 => !task::is_sandboxed(),
            _ => true,
        }
    }

    /// Binds a socket to the abstract bus of this name, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// `EACCES` if the bus's mode does not let this user in, `EDQUOT` if the user has made too many buses, `ENOMEM`.
    pub(crate) fn join(
        &self,
        name: &[u8],
        endpoint: &Arc<Endpoint>,
        mode: u32,
    ) -> Result<Arc<SharedBus>> {
        let bus = self.enter(name, endpoint, mode)?;
        // The table is free again: a bus that is busy holds up nobody who goes to another.
        let joined = bus.state.lock().join(endpoint);
        if let Err(error) = joined {
            self.leave(&bus);
            return Err(to_kernel(error));
        }
        Ok(bus)
    }

    /// Finds or makes a bus and counts one more socket of it.
    fn enter(&self, name: &[u8], endpoint: &Endpoint, mode: u32) -> Result<Arc<SharedBus>> {
        let mut buses = self.buses.lock();
        if let Some(found) = buses.iter_mut().find(|member| *member.bus.name == *name) {
            found.bus.admit(&endpoint.sock)?;
            found.sockets = found.sockets.saturating_add(1);
            return Ok(found.bus.clone());
        }
        let bus = SharedBus::new(name, mode, endpoint)?;
        buses.push(
            Member {
                bus: bus.clone(),
                sockets: 1,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(bus)
    }

    /// A socket has left: the bus ends with its last.
    pub(crate) fn leave(&self, bus: &Arc<SharedBus>) {
        let mut buses = self.buses.lock();
        let Some(at) = buses
            .iter()
            .position(|member| Arc::ptr_eq(&member.bus, bus))
        else {
            return;
        };
        let Some(member) = buses.get_mut(at) else {
            return;
        };
        member.sockets = member.sockets.saturating_sub(1);
        if member.sockets == 0 {
            let _ended = buses.remove(at);
        }
    }
}

/// A bus as its sockets share it.
#[pin_data]
pub(crate) struct SharedBus {
    /// Of the abstract namespace, without the leading NUL.
    pub(crate) name: KVec<u8>,
    /// `KBUS_BUS_MODE`: the write bits count.
    pub(crate) mode: Atomic<u32>,
    uid: u32,
    gid: u32,
    _made: Made,
    /// The bus lock. Lock order: before the queue of any socket. It is a sleeping lock.
    #[pin]
    pub(crate) state: Mutex<Bus<Arc<Endpoint>>>,
}

/// A bus counts among those of its maker as long as it is there.
struct Made {
    users: Arc<Users>,
    by: u32,
}

impl Made {
    fn by(endpoint: &Endpoint) -> Result<Self> {
        let by = endpoint.payer.id();
        endpoint.users.enter_bus(by)?;
        Ok(Self {
            users: endpoint.users.clone(),
            by,
        })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.users.leave_bus(self.by);
    }
}

impl SharedBus {
    fn new(name: &[u8], mode: u32, endpoint: &Endpoint) -> Result<Arc<Self>> {
        let uid = task::current_euid();
        let mut copy = KVec::with_capacity(name.len(), GFP_KERNEL_ACCOUNT)?;
        copy.extend_from_slice(name, GFP_KERNEL_ACCOUNT)?;
        let key = Key(random::number(), random::number());
        let bus = Bus::new(uid, users::bus_bytes(), &users::LIMITS, key).map_err(to_kernel)?;
        let made = Made::by(endpoint)?;
        Arc::pin_init(
            pin_init!(Self {
                name: copy,
                mode: Atomic::new(mode),
                uid,
                gid: task::current_egid(),
                _made: made,
                state <- new_mutex!(bus, "kbus::bus"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Whether the current task owns the bus, or may administer the namespace of `sock`, one of its sockets.
    pub(crate) fn is_owner(&self, sock: &Sock) -> bool {
        task::current_euid() == self.uid || sock.is_net_admin()
    }

    fn admit(&self, sock: &Sock) -> Result {
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

    /// Owner's user and group, as numbers of the initial user namespace.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

/// The kernel's error for one of the bus's.
pub(crate) fn to_kernel(error: crate::bus_core::Error) -> Error {
    Error::from_errno(-error.errno())
}
