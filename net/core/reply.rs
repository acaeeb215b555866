// SPDX-License-Identifier: GPL-2.0

//! Sending replies.

use super::account::Amount;
use super::account::Charge;
use super::bus::Bus;
use super::bus::Member;
use super::bus::Outgoing;
use super::entry::Body;
use super::entry::Bond;
use super::error::Error;
use super::mem;
use super::message::KBUS_REPLY;
use super::plan::Policy;
use super::plan::Refusal;
use super::plan::Target;
use super::wakes::Wakes;
use super::wakes::READ;

/// A debt that has been taken out of its ledger; dropping it puts it back.
struct Taken<'a, M: Member> {
    member: &'a M,
    debt: Option<Bond<M>>,
    /// What the reply needs beyond what was reserved.
    extra: usize,
    /// The requester, the bytes that its own copy, the first one, will take in its queue, and what of
    /// that was not held for it.
    ahead: Option<(M, usize, Amount)>,
}

impl<M: Member> Drop for Taken<'_, M> {
    fn drop(&mut self) {
        self.give_way();
        if let Some(debt) = self.debt.take() {
            debt.value.reserved.shrink(self.extra);
            debt.value.purse.shrink(self.extra);
            self.member.with(|queue| queue.put_debt(debt));
        }
    }
}

impl<M: Member> Taken<'_, M> {
    fn give_way(&mut self) {
        if let Some((requester, len, own)) = self.ahead.take() {
            requester.with(|queue| queue.unclaim_bytes(len, own));
        }
    }

    /// The debt is settled: it does not go back.
    fn settle(&mut self) -> Option<Bond<M>> {
        self.give_way();
        let debt = self.debt.take();
        self.member.with(|queue| queue.paid());
        debt
    }
}

impl<M: Member> Bus<M> {
    /// Sends a reply; what holds for all sends has been checked.
    ///
    /// # Errors
    ///
    /// In this order: [`Error::ConnRefused`] when it is not owed; [`Error::AddrNotAvail`] when the
    /// requester has gone, which settles it; [`Error::Inval`] for another name than the request's;
    /// [`Error::MsgSize`] when there is no room for so long a one; [`Error::NoMem`].
    pub(super) fn reply(
        &mut self,
        member: &M,
        out: &mut Outgoing<'_, M>,
        (peer, request, name): (u64, u64, Option<&[u8]>),
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Refusal<M>> {
        let mut taken = Taken {
            member,
            debt: member.with(|queue| queue.take_debt(request)),
            extra: 0,
            ahead: None,
        };
        let debt = taken.debt.as_mut().ok_or(Error::ConnRefused)?;
        if debt.value.requester.id() != peer {
            return Err(Error::ConnRefused.into());
        }
        let requester = debt.value.requester.clone();
        if requester.with(|queue| queue.is_closed()) {
            if let Some(debt) = taken.settle() {
                requester.with(|queue| queue.unreserve(debt.value.promised));
                drop(debt);
            }
            return Err(Error::AddrNotAvail.into());
        }
        if name.is_some_and(|name| *name != *debt.value.name) {
            return Err(Error::Inval.into());
        }
        let len = out.payload.len();
        let reserved = debt.value.reserved.bytes();
        if len as u64 > reserved {
            let extra = (len as u64).saturating_sub(reserved) as usize;
            let left = requester.payer().budget().left();
            let fits =
                requester.with(|queue| queue.read_shut() || queue.fits_long_reply(len, left));
            if !fits || !self.grow(&requester, &debt.value.reserved, extra) {
                return Err(Error::MsgSize.into());
            }
            if !debt.value.purse.grow(extra) {
                debt.value.reserved.shrink(extra);
                return Err(Error::MsgSize.into());
            }
            taken.extra = extra;
        }
        let extra = Amount {
            bytes: taken.extra as u64,
            messages: 0,
        };
        requester.with(|queue| queue.claim_bytes(len, extra));
        taken.ahead = Some((requester.clone(), len, extra));
        let debt = taken.debt.as_mut().ok_or(Error::ConnRefused)?;
        // Who wants all once has it then.
        let (once, open) = requester.with(|queue| (queue.once(), !queue.read_shut()));
        let share = mem::new_arc(Charge::none(requester.payer().budget()))?;
        let mut plan = self.plan(&Target {
            sender: member,
            name: &debt.value.name,
            replier: None,
            len,
            served: if once && open { peer } else { 0 },
            reply: Amount::NONE,
            // What was held for it is enough for all queues of the requester's user.
            paid: open.then_some((&requester, &share)),
            policy: Policy::Miss,
        })?;
        plan.collect(member)?;
        let message = match open || plan.reaches_anybody() {
            true => {
                let (charge, answers) = (debt.value.reserved.nothing(), (peer, request));
                let name = &debt.value.name;
                Some(Self::message(
                    member, out, KBUS_REPLY, answers, name, charge,
                )?)
            }
            // The payload is left to the caller.
            false => None,
        };

        // Nothing can fail any more.
        let Some(mut debt) = taken.settle() else {
            return Err(Error::ConnRefused.into());
        };
        let id = next_id();
        let Some(message) = message else {
            requester.with(|queue| queue.unreserve(debt.value.promised));
            return Ok(plan.miss(id, wakes));
        };
        message.set_id(id);
        message.charge.move_from(&debt.value.reserved, len);
        if open {
            share.move_from(&debt.value.purse, len);
        }
        requester.with(|queue| queue.unreserve(debt.value.promised));
        if let Some(mut slip) = debt.value.blank.take().filter(|_| open) {
            slip.value.cookie = debt.value.cookie;
            slip.value.paid.share = Some(share);
            slip.value.body = Body::Message(message.clone());
            requester.with(|queue| {
                queue.push_with(slip, out.files.as_ref());
                wakes.add(&requester, queue.link(), READ);
            });
        }
        plan.deliver(&message, None, None, wakes);
        out.sent = Some(message);
        Ok(id)
    }
}
