// SPDX-License-Identifier: GPL-2.0

//! Sending announcements and requests.

use super::account::Amount;
use super::account::Charge;
use super::account::Place;
use super::bus::Bus;
use super::bus::Dest;
use super::bus::Member;
use super::bus::Outgoing;
use super::entry::Bond;
use super::entry::Cause;
use super::entry::Debt;
use super::entry::Entry;
use super::entry::Origin;
use super::error::Error;
use super::list::Item;
use super::mem;
use super::mem::Arc;
use super::message::Fault;
use super::message::Message;
use super::message::Parts;
use super::message::KBUS_ALL_OR_FAIL;
use super::message::KBUS_ALL_OR_WAIT;
use super::message::KBUS_HAD_FDS;
use super::message::KBUS_REQUEST;
use super::message::KBUS_URGENT;
use super::message::KBUS_USER_FLAGS;
use super::name;
use super::plan::Policy;
use super::plan::Refusal;
use super::plan::Target;
use super::tree::Node;
use super::wait::Letter;
use super::wait::Ticket;
use super::wait::What;
use super::wakes::Wakes;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has got this id and is where it belongs.
    Id(u64),
    /// It waits for room: see [`Bus::finished`].
    Wait(Ticket),
}

/// A slot of a requester and the debt it is for; dropping it gives the slot back.
struct Reservation<M: Member> {
    debt: Option<Bond<M>>,
    requester: Option<M>,
    reply: Amount,
}

impl<M: Member> Drop for Reservation<M> {
    fn drop(&mut self) {
        if let Some(requester) = self.requester.take() {
            requester.with(|queue| queue.unreserve(self.reply));
        }
    }
}

impl<M: Member> Bus<M> {
    /// Sends an announcement, a request or a reply.
    ///
    /// `next_id` is asked for the id when nothing can fail any more. `blocking` says whether a send
    /// that asks for it may wait.
    ///
    /// # Errors
    ///
    /// Those of [`Outgoing::check`], then in this order [`Error::MsgSize`],
    /// [`Error::DestAddrReq`], [`Error::NotConn`], [`Error::Pipe`], [`Error::Perm`]; for a request
    /// [`Error::NoBufs`], [`Error::AddrNotAvail`], [`Error::Pipe`], [`Error::Busy`]; for a reply
    /// [`Error::ConnRefused`], [`Error::AddrNotAvail`], [`Error::Inval`], [`Error::MsgSize`]; for
    /// all others [`Error::Busy`], [`Error::Again`], [`Error::DeadLk`]; for all [`Error::DQuot`]
    /// and [`Error::NoMem`]. Nothing is in any queue then, and all of `out` is still there: it may be
    /// sent again. So is the payload when nobody has got it: the caller drops it when it holds no
    /// lock, as it may be large.
    pub fn send(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_, M>,
        blocking: bool,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Sent, Error> {
        out.check()?;
        let dest = self.check_send(member, out)?;
        // Any later send may be tried again.
        self.unblock(member.id(), wakes);
        if policy(out) == Policy::Wait && !matches!(dest, Dest::Reply { .. }) {
            self.let_ready_go(dest.name().unwrap_or_default(), next_id, wakes)?;
        }
        let full = match self.dispatch(member, out, dest, next_id, wakes) {
            Ok(id) => return Ok(Sent::Id(id)),
            Err(Refusal::Error(error)) => return Err(error),
            // Somebody on another bus took the bytes in between.
            Err(Refusal::Full(_)) if policy(out) != Policy::Wait => return Err(Error::Busy),
            Err(Refusal::Full(full)) => full,
        };
        if !blocking {
            if let Some(first) = full.first() {
                self.block(member, first, wakes)?;
            }
            return Err(Error::Again);
        }
        let what = || Ok(What::Send(Letter::new(out, dest)?));
        let ticket = self.park(member, what, full, next_id, wakes)?;
        Ok(Sent::Wait(ticket))
    }

    /// Checks what does not depend on who gets it.
    pub(super) fn check_send<'a>(
        &mut self,
        member: &M,
        out: &Outgoing<'a, M>,
    ) -> Result<Dest<'a>, Error> {
        if out.payload.len() as u64 > u64::from(self.max_msg) {
            return Err(Error::MsgSize);
        }
        let dest = out.dest.ok_or(Error::DestAddrReq)?;
        self.sock_mut(member)?;
        let (read_shut, write_shut) = member.with(|q| (q.read_shut(), q.write_shut()));
        if write_shut || (out.is_request() && read_shut) {
            return Err(Error::Pipe);
        }
        if dest.name().is_some_and(name::is_bus_own) {
            return Err(Error::Perm);
        }
        Ok(dest)
    }

    /// Sends what has been checked; the payload stays where it is unless it is sent.
    pub(super) fn dispatch(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_, M>,
        dest: Dest<'_>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Refusal<M>> {
        match dest {
            Dest::Reply {
                peer,
                request,
                name,
            } => self.reply(member, out, (peer, request, name), next_id, wakes),
            Dest::Stateful { name, peer } => {
                self.request(member, out, (name, Some(peer)), next_id, wakes)
            }
            Dest::Name(name) if out.is_request() => {
                self.request(member, out, (name, None), next_id, wakes)
            }
            Dest::Name(name) => self.announce(member, out, name, next_id, wakes),
        }
    }

    fn announce(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_, M>,
        name: &[u8],
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Refusal<M>> {
        let mut plan = self.plan(&Target {
            sender: member,
            name,
            replier: None,
            len: out.payload.len(),
            served: 0,
            reply: Amount::NONE,
            paid: None,
            policy: policy(out),
        })?;
        let charge = self.charge(member, plan.bytes()).ok_or(Error::DQuot)?;
        plan.collect(member)?;
        if !plan.reaches_anybody() {
            return Ok(plan.miss(next_id(), wakes));
        }
        let message = Self::message(member, out, 0, (0, 0), name, charge)?;
        let id = next_id();
        message.set_id(id);
        plan.deliver(&message, None, out.files.as_ref(), wakes);
        out.sent = Some(message);
        Ok(id)
    }

    fn request(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_, M>,
        (name, peer): (&[u8], Option<u64>),
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Refusal<M>> {
        let reply_max = match out.reply_max {
            0 => member.with(|queue| queue.reply_max()),
            bytes => bytes,
        };
        let reply_max = reply_max.min(self.max_msg) as usize;
        let payer = member.payer();
        let reply = Amount {
            bytes: reply_max as u64,
            messages: 1,
        };
        if !member.with(|queue| queue.reserve(reply, payer.left())) {
            return Err(Error::NoBufs.into());
        }
        let mut reservation = Reservation {
            debt: None,
            requester: Some(member.clone()),
            reply,
        };
        let reserved = self.charge(member, reply_max).ok_or(Error::NoBufs)?;
        // Taken at the end: what fails must not have had what others lack.
        if !reply.fits(payer.left()) {
            return Err(Error::NoBufs.into());
        }
        let replier = self.replier(name).ok_or(Error::AddrNotAvail)?;
        let (replier, binding) = (replier.member.clone(), replier.binding);
        if peer.is_some_and(|peer| replier.id() != peer) {
            return Err(Error::Pipe.into());
        }
        let mut plan = self.plan(&Target {
            sender: member,
            name,
            replier: Some((&replier, binding)),
            len: out.payload.len(),
            served: 0,
            reply,
            paid: None,
            policy: policy(out),
        })?;
        let charge = self.charge(member, plan.bytes()).ok_or(Error::DQuot)?;
        plan.collect(member)?;
        let purse = Charge::new(payer.budget(), reply_max).ok_or(Error::NoBufs)?;
        let place = Place::new(payer.messages()).ok_or(Error::NoBufs)?;
        let mut blank = Item::new(Entry::blank(Cause::Own, Origin::Made))?;
        blank.value.own = true;
        blank.value.paid.place = Some(place);
        let debt = Debt {
            requester: member.clone(),
            replier: replier.id(),
            cookie: out.cookie,
            name: mem::try_copy(name)?,
            reserved,
            purse,
            promised: reply,
            blank: Some(blank),
            fault: Fault::GoneAway,
        };
        reservation.debt = Some(Node::new(0, debt)?);
        let to = (peer.unwrap_or(0), 0);
        let message = Self::message(member, out, KBUS_REQUEST, to, name, charge)?;
        let id = next_id();
        message.set_id(id);
        reservation.requester = None;
        let mut debt = reservation.debt.take();
        if let Some(debt) = debt.as_mut() {
            debt.set_key(id);
        }
        plan.deliver(&message, debt, out.files.as_ref(), wakes);
        out.sent = Some(message);
        Ok(id)
    }

    /// Makes the message, with the payload of `out`: whom it is `to` and which request it answers.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub(super) fn message(
        member: &M,
        out: &mut Outgoing<'_, M>,
        kind: u32,
        (to, in_reply_to): (u64, u64),
        name: &[u8],
        charge: Charge,
    ) -> Result<Arc<Message<M>>, Error> {
        let mut flags = (out.flags & (KBUS_USER_FLAGS | KBUS_URGENT)) | kind;
        if out.files.is_some() {
            flags |= KBUS_HAD_FDS;
        }
        let (name, room) = (mem::try_copy(name)?, mem::ArcRoom::new()?);
        let parts = Parts {
            flags,
            sender: member.id(),
            to,
            in_reply_to,
            name,
            payload: core::mem::take(&mut out.payload),
            via: out.via,
            from: out.from.take(),
            charge,
        };
        Ok(room.fill(Message::new(parts)))
    }
}

/// What the sender wants to happen when a listener is full.
fn policy<M: Member>(out: &Outgoing<'_, M>) -> Policy {
    if out.flags & KBUS_ALL_OR_WAIT != 0 {
        Policy::Wait
    } else if out.flags & KBUS_ALL_OR_FAIL != 0 {
        Policy::Fail
    } else {
        Policy::Miss
    }
}
