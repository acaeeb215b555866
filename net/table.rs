// SPDX-License-Identifier: GPL-2.0

//! Buses by what tells them apart.

use crate::{
    domain::SharedBus,
    endpoint::Endpoint,
    reclaim::patiently,
    sys::path::InodeId, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// Bytes of the longest abstract name, without its leading NUL.
const NAME_MAX: usize = 107;

/// What tells a bus from others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Of an abstract bus.
    Name(Name),
    /// Of a bus at a path. All its sockets have a path to the inode, so that it stays the same one.
    Inode(InodeId),
}

/// A name of the abstract namespace, without its leading NUL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    len: usize,
    bytes: [u8; NAME_MAX],
}

impl Name {
    /// Copies a name.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is too long.
    pub(crate) fn new(name: &[u8]) -> Result<Self> {
        let mut bytes = [0; NAME_MAX];
        bytes
            .get_mut(..name.len())
            .ok_or(EINVAL)?
            .copy_from_slice(name);
        Ok(Self {
            len: name.len(),
            bytes,
        })
    }
}

/// Buses, each with a socket at least.
#[pin_data]
pub(crate) struct Table {
    /// Lock order: not together with the lock of any bus.
    #[pin]
    buses: SpinLock<RBTree<Key, Member>>,
}

/// A bus, and how many sockets are bound to it.
struct Member {
    bus: Arc<SharedBus>,
    sockets: usize,
}

/// A bus that nobody finds yet, with its first socket on it.
///
/// Nothing can fail any more when it is put in a table, unless there is one already.
pub(crate) struct Made {
    pub(crate) bus: Arc<SharedBus>,
    place: RBTreeNodeReservation<Key, Member>,
}

impl Made {
    /// Makes a bus of the socket's namespace.
    ///
    /// # Errors
    ///
    /// `EDQUOT` if its user has made too many, `ENOMEM`.
    pub(crate) fn new(endpoint: &Arc<Endpoint>, mode: u32) -> Result<Self> {
        let bus = SharedBus::new(endpoint, mode)?;
        patiently(|| bus.state.lock().join(endpoint))?;
        Ok(Self {
            bus,
            place: RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
        })
    }
}

impl Table {
    /// Makes one without buses.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { buses <- new_spinlock!(RBTree::new(), "kbus::buses") }),
            GFP_KERNEL,
        )
    }

    /// The bus of this key, if there is one.
    pub(crate) fn find(&self, key: &Key) -> Option<Arc<SharedBus>> {
        let buses = self.buses.lock();
        buses.get(key).map(|member| member.bus.clone())
    }

    /// Puts a socket on the bus of this key, if there is one and it admits it.
    ///
    /// # Errors
    ///
    /// That of `admit`, `ENOMEM`.
    pub(crate) fn join(
        &self,
        key: &Key,
        endpoint: &Arc<Endpoint>,
        admit: impl Fn(&SharedBus) -> Result,
    ) -> Result<Option<Arc<SharedBus>>> {
        let bus = self.enter(key, admit)?;
        bus.map(|bus| self.add(key, bus, endpoint)).transpose()
    }

    /// Counts one more socket of the bus of this key, if there is one and it admits it.
    ///
    /// Security modules may be asked by `admit`, so that no lock is held over it.
    fn enter(
        &self,
        key: &Key,
        admit: impl Fn(&SharedBus) -> Result,
    ) -> Result<Option<Arc<SharedBus>>> {
        loop {
            let Some(bus) = self.find(key) else {
                return Ok(None);
            };
            admit(&bus)?;
            if let Some(member) = self.buses.lock().get_mut(key) {
                if Arc::ptr_eq(&member.bus, &bus) {
                    member.sockets = member.sockets.saturating_add(1);
                    return Ok(Some(bus));
                }
            }
        }
    }

    /// Puts a new bus in the table, or its socket on the bus that somebody else has put there
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// None if there is no other bus; else those of [`Self::join`].
    pub(crate) fn publish(
        &self,
        key: &Key,
        made: Made,
        endpoint: &Arc<Endpoint>,
        admit: impl Fn(&SharedBus) -> Result,
    ) -> Result<Arc<SharedBus>> {
        let Made { bus, place } = made;
        let first = Member {
            bus: bus.clone(),
            sockets: 1,
        };
        let mut first = Some(place.into_node(*key, first));
        loop {
            {
                let mut buses = self.buses.lock();
                if buses.get(key).is_none() {
                    if let Some(first) = first.take() {
                        buses.insert(first);
                        return Ok(bus);
                    }
                }
            }
            if let Some(found) = self.enter(key, &admit)? {
                return self.add(key, found, endpoint);
            }
        }
    }

    /// Puts a socket that is counted already on its bus.
    fn add(
        &self,
        key: &Key,
        bus: Arc<SharedBus>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Arc<SharedBus>> {
        // The table is free again: a bus that is busy holds up nobody who goes to another.
        let joined = patiently(|| bus.state.lock().join(endpoint));
        bus.recount(&endpoint.users);
        if let Err(error) = joined {
            self.leave(key, &bus);
            return Err(error.into());
        }
        Ok(bus)
    }

    /// A socket has left: the bus ends with its last.
    pub(crate) fn leave(&self, key: &Key, bus: &Arc<SharedBus>) {
        let mut buses = self.buses.lock();
        let Some(member) = buses.get_mut(key) else {
            return;
        };
        if !Arc::ptr_eq(&member.bus, bus) {
            return;
        }
        member.sockets = member.sockets.saturating_sub(1);
        if member.sockets == 0 {
            let ended = buses.remove_node(key);
            drop(buses);
            drop(ended);
        }
    }
}
