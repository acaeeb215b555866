// SPDX-License-Identifier: GPL-2.0

//! Who is to be woken up when the bus lock has been released.
//!
//! The list is threaded through the queues of those it holds, so that it needs no memory, not even
//! when a socket dies; and a socket that is on the list of somebody who has not yet come to it is
//! not put on another one: what was queued meanwhile is told by the same wake-up.
//!
//! It also has what is to be dropped then.

use super::bus::Member;
use super::mem::Arc;
use super::message::Message;

/// Why a socket is woken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// There is something to read.
    pub read: bool,
    /// A send of it has ended, or may be tried again.
    pub write: bool,
}

/// Readers of a queue.
pub(super) const READ: Why = Why {
    read: true,
    write: false,
};
/// Those who wait to send.
pub(super) const WRITE: Why = Why {
    read: false,
    write: true,
};

/// A queue's place in a list.
pub(super) struct Link<M> {
    linked: bool,
    next: Option<M>,
    why: Why,
}

impl<M> Link<M> {
    pub(super) const fn new() -> Self {
        Link {
            linked: false,
            next: None,
            why: Why {
                read: false,
                write: false,
            },
        }
    }
}

/// The list.
///
/// Whoever has one takes everybody out of it, under no lock of the bus, and wakes them.
pub struct Wakes<M: Member> {
    head: Option<M>,
    /// Messages that have gone meanwhile and may have no other owner when this is dropped.
    sent: [Option<Arc<Message<M>>>; KEPT],
}

/// As many as may go in one step.
const KEPT: usize = 16;

impl<M: Member> Default for Wakes<M> {
    fn default() -> Self {
        Wakes::new()
    }
}

impl<M: Member> Wakes<M> {
    /// Nobody.
    pub const fn new() -> Self {
        Wakes {
            head: None,
            sent: [const { None }; KEPT],
        }
    }

    /// Adds a socket whose `link` is at hand, as its queue is locked.
    pub(super) fn add(&mut self, member: &M, link: &mut Link<M>, why: Why) {
        link.why.read |= why.read;
        link.why.write |= why.write;
        if !link.linked {
            link.linked = true;
            link.next = self.head.replace(member.clone());
        }
    }

    /// Keeps a message until the lock has been released, as its payload may be large; gives it back if there is no place.
    pub(super) fn keep(&mut self, message: Arc<Message<M>>) -> Option<Arc<Message<M>>> {
        match self.sent.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(message),
            None => Some(message),
        }
    }

    /// Takes one out. To be woken up after this call, not before.
    pub fn pop(&mut self) -> Option<(M, Why)> {
        let member = self.head.take()?;
        let why = member.with(|queue| {
            let link = queue.link();
            self.head = link.next.take();
            link.linked = false;
            core::mem::take(&mut link.why)
        });
        Some((member, why))
    }
}

impl<M: Member> Drop for Wakes<M> {
    /// Leaves nobody marked as being on a list that is no more.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
