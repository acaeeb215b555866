// SPDX-License-Identifier: GPL-2.0

//! How it ends: the message is sent, or all of it is taken out again.

use super::super::account::Charge;
use super::super::account::One;
use super::super::bus::Bus;
use super::super::bus::Shared;
use super::super::mem;
use super::super::mem::AllocError;
use super::super::mem::Map;
use super::super::mem::Need;
use super::super::message::Content;
use super::super::message::Message;
use super::super::message::Stamp;
use super::super::queue::Member;
use super::super::recipient::Placed;
use super::super::recipient::Recipient;
use super::copies::Who;
use super::recipients::Recipients;
use super::Fanout;
use super::First;
use super::Policy;

impl<M: Member> Fanout<'_, M> {
    /// A hold ends and others may send before the next one.
    pub(super) fn pause(&mut self) {
        let earlier = self.earlier;
        self.reached.each_from(earlier, |recipient| {
            if let Some((at, serial)) = recipient.entry.map(Placed::get) {
                recipient.gap = recipient.member.with(|queue| queue.mark_late(at, serial));
            }
        });
    }

    /// Sends it to all, with the bus locked.
    pub(super) fn commit(&mut self, bus: &Bus<M>, shared: &impl Shared<Member = M>) -> u64 {
        let id = shared.next_id();
        self.head.trace(self.sender, id, self.len);
        if let Some(message) = self.copies.any() {
            message.send(id);
        }
        let policy = self.policy;
        if self.reached.missing {
            self.reached.each_from(self.earlier, |recipient| {
                if recipient.entry.is_none() {
                    recipient.miss(id, policy, bus.last_binding);
                }
            });
        }
        // Entries of earlier holds have yet to go where their id belongs.
        self.reached.note_waiters(self.earlier, &M::watch());
        id
    }

    /// Wakes all who have it. The bus is not locked.
    pub(super) fn finish(&mut self, shared: &impl Shared<Member = M>, id: u64) {
        // Of a requester that reads no more, the slot is free all the same.
        if let First::Answered(answer) = &self.first {
            if answer.entry.is_none() {
                let reserved = answer.reserved;
                answer.requester.with(|queue| queue.unreserve(reserved));
            }
        }
        if self.several && self.copies.more.is_empty() {
            // One copy was enough this time: the next one begins like that.
            self.sender.with(|queue| queue.set_sends_several(false));
        }
        let earlier = self.earlier;
        // The last first: see there.
        for at in (0..earlier).rev() {
            let Some(recipient) = self.reached.get_mut(at) else {
                continue;
            };
            if let Some((at, serial)) = recipient.entry.map(Placed::get) {
                recipient.member.with(|queue| queue.settle_late(at, serial));
            }
        }
        let (policy, last) = (self.policy, self.pass.1);
        let traced = M::is_traced();
        let mut at = 0;
        self.reached.each_from(0, |recipient| {
            let late = at < earlier;
            at = at.saturating_add(1);
            match recipient.entry {
                Some(_) => {}
                // A notice is a message of its own: later ones may have been read.
                None if late && matches!(policy, Policy::Unbind { .. }) => shared.locked(|bus| {
                    recipient.miss(shared.next_id(), policy, bus.last_binding);
                }),
                None if late => recipient.miss(id, policy, last),
                None => {}
            }
            if traced {
                recipient.trace(id);
            }
            if recipient.tell {
                recipient.member.wake_reader();
            }
            // Its entry may have gone with its binding.
            recipient.tell_given_back();
        });
    }

    /// Takes out again what was put in queues, from this recipient on.
    ///
    /// What was put in during a hold goes in the same hold if the message is not sent. So nobody
    /// finds a queue full of it. What each entry has is dropped here, but never the last of it.
    pub(super) fn withdraw(&mut self, from: usize) {
        let mut is_answer = false;
        if let First::Answered(answer) = &mut self.first {
            // The requester is the first to be reached.
            if let Some(entry) = answer.entry.take_if(|_| from == 0) {
                let reserved = answer.reserved;
                let entry = answer
                    .requester
                    .with(|queue| queue.take_answer(entry, reserved));
                self.held_elsewhere |= entry.is_none();
                is_answer = true;
                answer.place = entry.map_or(One::NONE, |mut entry| entry.place.take());
            }
        }
        let mut reached = core::mem::replace(&mut self.reached, Recipients::new());
        reached.each_from(from, |recipient| {
            let entry = recipient.entry.take().map(Placed::get);
            if core::mem::take(&mut is_answer) {
                recipient.gap |= recipient.member.with(|queue| queue.tells_gap());
                return;
            }
            if let Some((at, serial)) = entry {
                self.take_out(recipient, at, serial);
            }
        });
        self.reached = reached;
    }

    /// Takes out what was put in, and the content back. The bus is not locked.
    pub(super) fn cancel(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.give_back(claim.key, claim.paid);
        }
        self.withdraw(0);
        let mut reached = core::mem::replace(&mut self.reached, Recipients::new());
        reached.each_from(0, Recipient::tell_given_back);
        drop(reached);
        if let Some((key, message)) = self.copies.first.take() {
            let moved = core::mem::take(&mut self.moved);
            // Whoever has taken an entry out, as a close does, may have the content for a while.
            let held_elsewhere = core::mem::take(&mut self.held_elsewhere);
            if moved && held_elsewhere {
                match self.copy_of(&message) {
                    Ok(content) => *self.content = content,
                    Err(_) => self.spent = true,
                }
            }
            if let Some(unsent) = Message::take_back(message) {
                if moved {
                    *self.content = unsent.content;
                    self.spent = false;
                }
                self.give_back(key, unsent.paid);
                self.bus_bytes = self.bus_bytes.take().or(unsent.bus_bytes);
            }
        }
        while let Some(node) = self.copies.more.pop_first() {
            let (key, message) = node.into_pair();
            if let Some(unsent) = Message::take_back(message) {
                self.give_back(key, unsent.paid);
            }
        }
        if let Some(stamp) = self.shared.take() {
            let bus_bytes = mem::drop_with(stamp, Stamp::take_bus_bytes).flatten();
            self.bus_bytes = self.bus_bytes.take().or(bus_bytes);
        }
        // What was held for a reply is held again.
        if !matches!(self.first, First::Answered(_)) {
            cancel(self.bus_bytes.take());
        }
    }

    /// The content of a message again, in memory of the current task. May sleep.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn copy_of(&self, message: &Message<M>) -> Result<Content<M>, AllocError> {
        let copy = || Content::copy(message.payload(), message.from.as_ref(), Need::Wanted);
        copy().or_else(|error| match M::wait_for_memory(self.len as usize) {
            true => copy(),
            false => Err(error),
        })
    }

    /// What was paid for a copy that is not needed is the requester's again, if it was held for it.
    pub(super) fn give_back(&mut self, key: Who, paid: Option<Charge>) {
        if let First::Answered(answer) = &mut self.first {
            let requester = &answer.requester;
            if answer.bytes.is_none() && key == (requester.payer().id(), requester.memory()) {
                answer.bytes = paid;
                return;
            }
        }
        cancel(paid);
    }

    /// Takes the entry of a recipient out, and keeps what is owed for it. Whoever is to be told of
    /// that is noted ([`Recipient::tell_given_back`]).
    pub(super) fn take_out(&mut self, recipient: &mut Recipient<M>, at: u32, serial: u64) {
        let member = &recipient.member;
        let Some((mut entry, back)) = member.with(|queue| queue.cancel(at, serial)) else {
            self.held_elsewhere = true;
            return;
        };
        if let Some(obligation) = entry.obligation.take() {
            self.obligation = Some(obligation);
        }
        if let Some(place) = &mut self.full {
            place.follow(member, back.from, back.to);
        }
        recipient.room |= back.awaited;
        recipient.gap |= back.gap;
    }

    /// Takes the entry out that was the last to be put in.
    pub(super) fn take_out_last(&mut self, at: u32, serial: u64) {
        let mut reached = core::mem::replace(&mut self.reached, Recipients::new());
        if let Some(recipient) = reached.get_mut(reached.len().saturating_sub(1)) {
            self.take_out(recipient, at, serial);
        }
        self.reached = reached;
    }

    /// Begins anew, with copies that share their stamp.
    pub(super) fn start_again(&mut self) {
        self.cancel();
        self.several = true;
        // The next one of this sender begins like that.
        self.sender.with(|queue| queue.set_sends_several(true));
        (self.begun, self.served, self.earlier) = (false, 0, 0);
        self.once = Map::new();
        (self.pass, self.next) = ((0, 0), (0, 0, 0));
    }
}

/// Gives back what was taken for a message that is not sent. Nobody is told ([`Charge::cancel`]).
pub(super) fn cancel(charge: Option<Charge>) {
    if let Some(charge) = charge {
        charge.cancel();
    }
}
