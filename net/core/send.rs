// SPDX-License-Identifier: GPL-2.0

//! Sending announcements and requests.
//!
//! First everything that can fail: room is claimed in each queue, entries and the message are
//! allocated. Then the message gets its id and the entries are put in.

use super::account::Charge;
use super::bus::Bus;
use super::bus::Dest;
use super::bus::Member;
use super::bus::Outgoing;
use super::bus::Wakes;
use super::error::Error;
use super::list::Item;
use super::mem;
use super::mem::Arc;
use super::mem::Vec;
use super::message::Message;
use super::message::Parts;
use super::message::KBUS_REQUEST;
use super::message::KBUS_USER_FLAGS;
use super::name;
use super::queue::Body;
use super::queue::Bond;
use super::queue::Debt;
use super::queue::Entry;
use super::queue::Slip;
use super::tree::Node;

/// One copy of a message on its way.
struct Delivery<M> {
    member: M,
    /// `None` until room has been claimed, and for good when there was none.
    slip: Option<Slip<M>>,
    claimed: bool,
    binding: u64,
    nth: u32,
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
    fn new(len: usize) -> Self {
        Plan {
            list: Vec::new(),
            len,
        }
    }

    fn push(&mut self, member: &M, binding: u64, nth: u32) -> Result<(), Error> {
        let delivery = Delivery {
            member: member.clone(),
            slip: None,
            claimed: false,
            binding,
            nth,
        };
        Ok(mem::push(&mut self.list, delivery)?)
    }

    /// Whether nobody will have it.
    fn is_empty(&self) -> bool {
        self.list.iter().all(|delivery| !delivery.claimed)
    }

    /// Allocates the entries.
    fn allocate(&mut self) -> Result<(), Error> {
        for delivery in self.list.iter_mut().filter(|d| d.claimed) {
            let entry = Entry::blank(delivery.binding, delivery.nth);
            delivery.slip = Some(Item::new(entry)?);
        }
        Ok(())
    }

    /// Puts the copies in the queues; a debt goes with the first of them.
    pub(super) fn deliver(
        mut self,
        message: &Arc<Message>,
        mut debt: Option<Bond<M>>,
        wakes: &mut Wakes<M>,
    ) {
        for delivery in self.list.iter_mut() {
            let len = self.len;
            delivery.claimed = false;
            let Some(mut slip) = delivery.slip.take() else {
                delivery.member.with(|queue| queue.miss());
                continue;
            };
            slip.value.body = Body::Message(message.clone());
            slip.value.debt = debt.take();
            delivery.member.with(|queue| {
                queue.unclaim(len);
                queue.push(slip);
            });
            let _ = mem::push_reserved(wakes, delivery.member.clone());
        }
    }
}

/// A slot of a requester and the debt it is for; dropping it gives the slot back.
struct Reservation<M: Member> {
    debt: Option<Bond<M>>,
    requester: Option<M>,
}

impl<M: Member> Drop for Reservation<M> {
    fn drop(&mut self) {
        if let Some(requester) = self.requester.take() {
            requester.with(|queue| queue.unreserve());
        }
    }
}

impl<M: Member> Bus<M> {
    /// Sends an announcement, a request or a reply; returns its id.
    ///
    /// `next_id` is asked for the id when nothing can fail any more. Whoever got a copy is appended
    /// to `wakes`.
    ///
    /// # Errors
    ///
    /// Those of [`Outgoing::check`], then in this order [`Error::MsgSize`],
    /// [`Error::DestAddrReq`], [`Error::NotConn`], [`Error::Pipe`], [`Error::Perm`]; for a request
    /// [`Error::NoBufs`], [`Error::AddrNotAvail`], [`Error::Pipe`], [`Error::Busy`]; for a reply
    /// [`Error::ConnRefused`], [`Error::AddrNotAvail`], [`Error::Inval`], [`Error::MsgSize`]; for
    /// all [`Error::DQuot`] and [`Error::NoMem`]. Nothing is in any queue then, and the payload is
    /// still there unless the error is the last one.
    pub fn send(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Error> {
        out.check()?;
        if out.payload.len() as u64 > u64::from(self.max_msg) {
            return Err(Error::MsgSize);
        }
        let dest = out.dest.ok_or(Error::DestAddrReq)?;
        self.sock_mut(member)?;
        let request = out.flags & KBUS_REQUEST != 0 && !matches!(dest, Dest::Reply { .. });
        let (read_shut, write_shut) = member.with(|q| (q.read_shut(), q.write_shut()));
        if write_shut || (request && read_shut) {
            return Err(Error::Pipe);
        }
        if dest.name().is_some_and(name::is_bus_own) {
            return Err(Error::Perm);
        }
        match dest {
            Dest::Reply {
                peer,
                request,
                name,
            } => self.reply(member, out, (peer, request, name), next_id, wakes),
            Dest::Name(name) if request => self.request(member, out, (name, 0), next_id, wakes),
            Dest::Stateful { name, peer } => {
                self.request(member, out, (name, peer), next_id, wakes)
            }
            Dest::Name(name) => self.announce(member, out, name, next_id, wakes),
        }
    }

    fn announce(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_>,
        name: &[u8],
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Error> {
        let plan = self.plan(name, None, out.payload.len(), wakes)?;
        let charge = self.charge(&plan)?;
        let parts = Parts {
            flags: out.flags & KBUS_USER_FLAGS,
            sender: member.id(),
            to: 0,
            in_reply_to: 0,
            name: mem::try_copy(name)?,
            payload: core::mem::take(&mut out.payload),
            via: out.via,
            charge,
        };
        let message = mem::new_arc(Message::new(parts))?;
        let id = next_id();
        message.set_id(id);
        plan.deliver(&message, None, wakes);
        Ok(id)
    }

    fn request(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_>,
        (name, peer): (&[u8], u64),
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Error> {
        let stateful = matches!(out.dest, Some(Dest::Stateful { .. }));
        let (has_slot, default) = member.with(|q| (q.reserve(), q.reply_max()));
        let mut reservation = Reservation {
            debt: None,
            requester: has_slot.then(|| member.clone()),
        };
        if !has_slot {
            return Err(Error::NoBufs);
        }
        let reply_max = match out.reply_max {
            0 => default,
            bytes => bytes,
        };
        let reply_max = reply_max.min(self.max_msg) as usize;
        let reserved = Charge::new(&self.account, reply_max).ok_or(Error::NoBufs)?;
        let replier = self.routes.replier(name).ok_or(Error::AddrNotAvail)?;
        let (replier, binding) = (replier.member.clone(), replier.binding);
        if stateful && replier.id() != peer {
            return Err(Error::Pipe);
        }
        let plan = self.plan(name, Some((&replier, binding)), out.payload.len(), wakes)?;
        let charge = self.charge(&plan)?;
        let debt = Debt {
            requester: member.clone(),
            replier: replier.id(),
            cookie: out.cookie,
            name: mem::try_copy(name)?,
            reserved,
            blank: Some(Item::new(Entry::blank(0, 0))?),
        };
        reservation.debt = Some(Node::new(0, debt)?);
        let parts = Parts {
            flags: out.flags & (KBUS_USER_FLAGS | KBUS_REQUEST),
            sender: member.id(),
            to: if stateful { peer } else { 0 },
            in_reply_to: 0,
            name: mem::try_copy(name)?,
            payload: core::mem::take(&mut out.payload),
            via: out.via,
            charge,
        };
        let message = mem::new_arc(Message::new(parts))?;
        let id = next_id();
        message.set_id(id);
        reservation.requester = None;
        let mut debt = reservation.debt.take();
        if let Some(debt) = debt.as_mut() {
            debt.set_key(id);
        }
        plan.deliver(&message, debt, wakes);
        Ok(id)
    }

    /// Claims room for all copies of a message and allocates their entries.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when the replier is full, [`Error::NoMem`]. A full listener is none.
    pub(super) fn plan(
        &self,
        name: &[u8],
        replier: Option<(&M, u64)>,
        len: usize,
        wakes: &mut Wakes<M>,
    ) -> Result<Plan<M>, Error> {
        let mut plan = Plan::new(len);
        if let Some((replier, binding)) = replier {
            // Room is told before memory.
            if !replier.with(|queue| queue.has_room()) {
                return Err(Error::Busy);
            }
            plan.push(replier, binding, 0)?;
        }
        let must = plan.list.len();
        let mut copies: usize = must;
        self.routes.listeners(name, |listener| {
            copies = copies.saturating_add(listener.count as usize);
            Ok(())
        })?;
        mem::reserve(&mut plan.list, copies.saturating_sub(must))?;
        // One more, for the requester of a reply.
        mem::reserve(wakes, copies.saturating_add(1))?;
        self.routes.listeners(name, |listener| {
            (0..listener.count)
                .try_for_each(|nth| plan.push(&listener.member, listener.binding, nth))
        })?;
        for (at, delivery) in plan.list.iter_mut().enumerate() {
            delivery.claimed = delivery.member.with(|queue| queue.claim(len));
            if at < must && !delivery.claimed {
                return Err(Error::Busy);
            }
        }
        plan.allocate()?;
        Ok(plan)
    }

    /// Charges the payload of a message to the bus, unless nobody will have it.
    fn charge(&self, plan: &Plan<M>) -> Result<Charge, Error> {
        let len = if plan.is_empty() { 0 } else { plan.len };
        Charge::new(&self.account, len).ok_or(Error::DQuot)
    }
}
