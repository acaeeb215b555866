// SPDX-License-Identifier: GPL-2.0

//! The copies of one message: who gets one, and the room and memory for all of them.
//!
//! First everything that can fail: room is claimed in each queue, entries are allocated. Then, when
//! the message has its id, [`Plan::deliver`] puts them in.

use super::bus::Bus;
use super::bus::Member;
use super::entry::Body;
use super::entry::Bond;
use super::entry::Cause;
use super::entry::Entry;
use super::entry::Origin;
use super::entry::Slip;
use super::error::Error;
use super::list::Item;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Vec;
use super::message::Message;
use super::name::Tail;
use super::tree::Node;
use super::tree::Tree;
use super::wakes::Wakes;
use super::wakes::READ;

/// What a full listener means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// It misses the message.
    Miss,
    /// The send fails.
    Fail,
    /// The send waits.
    Wait,
    /// A bind event of this user: it waits for the owner's and that user's own who listen to
    /// exactly this name; others miss it.
    Event {
        /// Who binds.
        user: u32,
    },
}

/// What is to be sent to whom.
pub(super) struct Target<'a, M> {
    pub(super) name: &'a [u8],
    /// The replier of a request and its binding.
    pub(super) replier: Option<(&'a M, u64)>,
    pub(super) len: usize,
    /// A socket that has got its one copy already, or 0.
    pub(super) served: u64,
    pub(super) policy: Policy,
}

/// A queue that had no room.
pub(super) struct Full<M> {
    pub(super) member: M,
    /// The queue's version when it was seen that the message needs room there, and before it was
    /// seen that there is none.
    pub(super) version: u64,
}

/// Why there is no plan.
pub(super) enum Refusal<M> {
    /// For good.
    Error(Error),
    /// Until these have room.
    Full(Vec<Full<M>>),
}

impl<M> From<Error> for Refusal<M> {
    fn from(error: Error) -> Self {
        Refusal::Error(error)
    }
}

impl<M> From<AllocError> for Refusal<M> {
    fn from(_: AllocError) -> Self {
        Refusal::Error(Error::NoMem)
    }
}

/// One copy of a message on its way.
struct Delivery<M> {
    member: M,
    /// `None` until room has been claimed, and for good when there was none.
    slip: Option<Slip<M>>,
    claimed: bool,
    /// Whether nobody gets the message if this one cannot.
    must: bool,
    cause: Cause,
    /// The queue's version when `must` was found out.
    version: u64,
}

/// The copies of one message for which room has been claimed.
///
/// Dropping it gives the room back.
pub(super) struct Plan<M: Member> {
    list: Vec<Delivery<M>>,
    len: usize,
}

impl<M: Member> Drop for Plan<M> {
    fn drop(&mut self) {
        for delivery in self.list.iter() {
            if delivery.claimed {
                delivery.member.with(|queue| queue.unclaim(self.len));
            }
        }
    }
}

impl<M: Member> Plan<M> {
    fn push(
        &mut self,
        member: &M,
        cause: Cause,
        must: bool,
        version: u64,
    ) -> Result<(), AllocError> {
        let delivery = Delivery {
            member: member.clone(),
            slip: None,
            claimed: false,
            must,
            cause,
            version,
        };
        mem::push(&mut self.list, delivery)
    }

    /// Bytes that the message will hold: none if nobody will have it.
    pub(super) fn bytes(&self) -> usize {
        match self.list.iter().any(|delivery| delivery.claimed) {
            true => self.len,
            false => 0,
        }
    }

    /// Puts the copies in the queues; a debt goes with the first of them.
    pub(super) fn deliver(
        mut self,
        message: &Arc<Message>,
        mut debt: Option<Bond<M>>,
        wakes: &mut Wakes<M>,
    ) {
        let len = self.len;
        for delivery in self.list.iter_mut() {
            let member = &delivery.member;
            delivery.claimed = false;
            let slip = delivery.slip.take().map(|mut slip| {
                slip.value.body = Body::Message(message.clone());
                slip.value.debt = debt.take();
                slip
            });
            member.with(|queue| {
                let tell = match slip {
                    Some(slip) => {
                        queue.unclaim(len);
                        queue.push(slip);
                        true
                    }
                    None => queue.miss(message.id()),
                };
                if tell {
                    wakes.add(member, queue.link(), READ);
                }
            });
        }
    }
}

impl<M: Member> Bus<M> {
    /// Claims room for all copies of a message and allocates their entries.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when the replier is full, and under [`Policy::Fail`] a listener;
    /// [`Refusal::Full`] in their place under the other policies; [`Error::NoMem`].
    pub(super) fn plan(&self, target: &Target<'_, M>) -> Result<Plan<M>, Refusal<M>> {
        let mut plan = self.recipients(target)?;
        let mut full = Vec::new();
        for delivery in plan.list.iter_mut() {
            delivery.claimed = delivery.member.with(|queue| queue.claim(target.len));
            if delivery.claimed || !delivery.must {
                continue;
            }
            if matches!(target.policy, Policy::Miss | Policy::Fail) {
                return Err(Error::Busy.into());
            }
            let (member, version) = (delivery.member.clone(), delivery.version);
            mem::push(&mut full, Full { member, version })?;
        }
        if !full.is_empty() {
            return Err(Refusal::Full(full));
        }
        for delivery in plan.list.iter_mut().filter(|d| d.claimed) {
            let entry = Entry::blank(delivery.cause, Origin::Made);
            delivery.slip = Some(Item::new(entry)?);
        }
        Ok(plan)
    }

    /// Who gets a copy, the replier first; nothing is claimed yet.
    fn recipients(&self, target: &Target<'_, M>) -> Result<Plan<M>, Refusal<M>> {
        let mut plan = Plan {
            list: Vec::new(),
            len: target.len,
        };
        let last = self.last_binding;
        // Of sockets that want all once: where their copy is in the list.
        let mut merged = Tree::new();
        if let Some((member, binding)) = target.replier {
            let (once, room, version) =
                member.with(|queue| (queue.once(), queue.has_room(), queue.version()));
            // Room is told before memory.
            if !room && target.policy != Policy::Wait {
                return Err(Error::Busy.into());
            }
            let replier = binding;
            let cause = match once {
                true => Cause::Once { last, replier },
                false => Cause::Binding {
                    id: binding,
                    nth: 0,
                },
            };
            plan.push(member, cause, true, version)?;
            if once {
                merged.insert(Node::new(member.id(), 0)?, member.id());
            }
        }
        let mut copies: usize = 0;
        self.routes.listeners(target.name, |listener, _| {
            copies = copies.saturating_add(listener.count as usize);
            Ok(())
        })?;
        mem::reserve(&mut plan.list, copies)?;
        self.routes.listeners(target.name, |listener, tail| {
            if listener.peer == target.served {
                return Ok(());
            }
            // In one look: the version tells whether a setting has changed after it.
            let (once, lossy, version) = listener
                .member
                .with(|queue| (queue.once(), queue.lossy(), queue.version()));
            let user = listener.member.user();
            let must = !lossy
                && match target.policy {
                    Policy::Miss => false,
                    Policy::Fail | Policy::Wait => true,
                    Policy::Event { user: whose } => {
                        tail == Tail::Exact && (user == whose || user == self.owner)
                    }
                };
            if !once {
                let id = listener.binding;
                return Ok((0..listener.count).try_for_each(|nth| {
                    plan.push(&listener.member, Cause::Binding { id, nth }, must, version)
                })?);
            }
            if let Some(at) = merged.get(listener.peer) {
                if let Some(delivery) = plan.list.get_mut(*at) {
                    delivery.must |= must;
                }
                return Ok(());
            }
            merged.insert(Node::new(listener.peer, plan.list.len())?, listener.peer);
            let cause = Cause::Once { last, replier: 0 };
            Ok(plan.push(&listener.member, cause, must, version)?)
        })?;
        Ok(plan)
    }
}
