// SPDX-License-Identifier: GPL-2.0

//! One recipient: is there room, who pays, and the entry in its queue.

use super::super::account::Charge;
use super::super::account::One;
use super::super::bus::Bus;
use super::super::entry::Body;
use super::super::entry::Cause;
use super::super::entry::Entry;
use super::super::entry::Extra;
use super::super::entry::Own;
use super::super::error::Error;
use super::super::mem::AllocError;
use super::super::mem::Box;
use super::super::mem::Node;
use super::super::obligation::Obligation;
use super::super::queue;
use super::super::queue::Member;
use super::super::queue::Memory;
use super::super::queue::Offer;
use super::super::queue::Offered;
use super::super::queue::Queue;
use super::super::recipient::Placed;
use super::super::recipient::Recipient;
use super::super::slots::Chunk;
use super::super::wait::Place;
use super::copies::memory_of;
use super::end::cancel;
use super::Claim;
use super::Fanout;
use super::First;
use super::Pause;
use super::Policy;
use super::Refusal;

/// What came of [`Fanout::reach_plainly`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plainly {
    /// The listener has its copy.
    Done,
    /// It has not, and nothing is known of it.
    Untried,
    /// It has not. It does not want each message once, and a full listener misses this one.
    NotOnce,
}

impl<M: Member> Fanout<'_, M> {
    /// The replier gets the request.
    pub(super) fn reach_asked(
        &mut self,
        bus: &Bus<M>,
        member: &M,
        binding: u64,
    ) -> Result<(), Pause<M>> {
        // It may have gone with an entry that was removed.
        if self.obligation.is_none() {
            return Err(Pause::Refused(Refusal::Again));
        }
        let cause = match member.with(|queue| queue.once()) {
            true => {
                self.served = member.id();
                Cause::Once {
                    last: bus.last_binding,
                    replier: binding,
                    listeners: bus.heard(member, self.head.name).count,
                }
            }
            false => Cause::Binding {
                id: binding,
                nth: 0,
            },
        };
        self.reach(bus, member, cause, true, true)
    }

    /// The requester gets the reply, for which all is held. If it wants each message once it has
    /// its copy then.
    pub(super) fn reach_requester(&mut self, requester: &M) -> Result<(), Pause<M>> {
        let First::Answered(answer) = &mut self.first else {
            return Ok(());
        };
        let (open, once) = requester.with(|queue| (!queue.read_shut(), queue.once()));
        if !open {
            // Nobody will read it; listeners of the name get it all the same.
            self.begun = true;
            return Ok(());
        }
        let key = (requester.payer().id(), requester.memory());
        let mut paid = answer.bytes.take();
        let mut message = None;
        if self.may_copy_now(requester) {
            let made = self.make_copy(requester, key, &mut paid);
            let First::Answered(answer) = &mut self.first else {
                return Ok(());
            };
            match made {
                Ok(made) => message = Some(made),
                Err(error) => {
                    answer.bytes = paid;
                    return Err(Error::from(error).into());
                }
            }
        }
        let now = message.is_some();
        let files = self.files_for(requester, key);
        let First::Answered(answer) = &mut self.first else {
            return Ok(());
        };
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                answer.bytes = answer.bytes.take().or(paid);
                return Err(Error::from(error).into());
            }
        };
        let mut entry = Entry::blank(Cause::Own, self.len);
        entry.cookie = answer.cookie;
        entry.urgent = self.urgent;
        entry.place = answer.place.take();
        entry.own = Own::All;
        if let Some(message) = message {
            entry.body = Body::Message(message);
        }
        let reserved = answer.reserved;
        answer.entry = requester.with(|queue| {
            queue.unreserve(reserved);
            if queue.takes_files() {
                entry.files = files;
            }
            queue.put_promised(entry)
        });
        self.begun = true;
        if once {
            self.served = requester.id();
        }
        let Some(entry) = answer.entry else {
            return Ok(());
        };
        // There is room for some without memory, and this is the first.
        self.reached
            .push(Recipient::of(requester, entry.0, entry.1));
        if now {
            return Ok(());
        }
        self.claim = Some(Claim {
            member: requester.clone(),
            key,
            entry,
            paid,
            must: true,
        });
        Err(Pause::Copy)
    }

    /// Puts one copy in a queue, pending, where nothing is out of the ordinary: it comes alone,
    /// others of its user in its memory cgroup have the message already, and the queue takes it as
    /// it is.
    ///
    /// Else nothing has changed, and [`Fanout::reach`] is to look at all that can be.
    pub(super) fn reach_plainly(&mut self, bus: &Bus<M>, member: &M, binding: u64) -> Plainly {
        let payer = member.payer();
        let (id, sender) = (payer.id(), self.sender);
        let (Some((who, message)), Some((user, (left, _)))) =
            (&self.copies.first, &self.copies.left.0)
        else {
            return Plainly::Untried;
        };
        let may_fill = sender.payer().id() == id || sender.user() == bus.owner;
        if !self.plain || *who != (id, member.memory()) || *user != id || !may_fill {
            return Plainly::Untried;
        }
        if !self.reached.has_room() || self.denied.is_some() {
            return Plainly::Untried;
        }
        let plain = queue::Plain {
            len: self.len,
            binding,
            urgent: self.urgent,
            left: *left,
        };
        let put = |queue: &mut Queue<M>| {
            let place = || One::new(&payer.messages);
            queue.put_plainly(&plain, place, || None, || Some(message.clone()))
        };
        match member.with(put) {
            Offered::Put(slot, serial) => {
                self.reached.push(Recipient::of(member, slot, serial));
                Plainly::Done
            }
            Offered::NotPlainly => Plainly::Untried,
            _ => Plainly::NotOnce,
        }
    }

    /// Puts one copy in a queue, pending.
    pub(super) fn reach(
        &mut self,
        bus: &Bus<M>,
        member: &M,
        cause: Cause,
        must: bool,
        asked: bool,
    ) -> Result<(), Pause<M>> {
        let sender = self.sender;
        let event = self.policy.is_event();
        let payer = match asked {
            true => sender.payer(),
            false => member.payer(),
        };
        let same = payer.id() == member.payer().id();
        let may_fill = sender.user() == bus.owner || sender.payer().id() == member.payer().id();
        let stranger = (!may_fill).then_some(sender.payer().id());
        let (mut left, version) = self.copies.left_of(member.payer());
        if event {
            left.bytes = u64::MAX;
        }
        if self.is_refused() {
            // Only the reason is looked for: room elsewhere, or that the sender waits for itself.
            if must && (self.full.is_none() || member.id() == sender.id()) {
                let weighed = member.with(|queue| queue.weigh(left, stranger));
                return self.refused(member, weighed, version, (true, false));
            }
            return Ok(());
        }
        if !self.reached.prepare(true) {
            return Err(Pause::List);
        }
        if let Policy::Unbind { share } = self.policy {
            return self.reach_beyond(bus, member, cause, share);
        }
        let key = (payer.id(), member.memory());
        let mut paid = None;
        let mut message = self.copies.get(key).cloned();
        if message.is_none() {
            if self.copies.lacking.get(&key).is_some() {
                return self.lacks_memory(member, must);
            }
            // Room is looked for before there is a copy.
            match member.with(|queue| queue.weigh(left, stranger)) {
                Offered::Put(..) => {}
                refused => return self.refused(member, refused, version, (must, asked)),
            }
            if !self.stamp_is_there() {
                match bus.charge(sender, self.len) {
                    Some(charge) => self.bus_bytes = Some(charge),
                    None => {
                        self.denied = Some(Error::DQuot);
                        return Ok(());
                    }
                }
            }
            if self.len > 0 && !event {
                paid = Charge::new(&payer.bytes, self.len);
                if paid.is_none() {
                    let broke = Offered::PayerBroke;
                    return self.refused(member, broke, version, (must, asked));
                }
            }
            if self.lacks_shared_stamp() {
                cancel(paid);
                return Err(Pause::Several);
            }
            if self.may_copy_now(member) {
                match self.make_copy(member, key, &mut paid) {
                    Ok(made) => message = Some(made),
                    Err(_) => {
                        cancel(paid);
                        return self.lacks_memory(member, must);
                    }
                }
            }
        }
        let now = message.is_some();
        // Those of a request are for whoever is asked.
        let files = match asked || matches!(self.first, First::None) {
            true => self.files_for(member, key),
            false => Ok(None),
        };
        let Ok(files) = files else {
            cancel(paid);
            return self.lacks_memory(member, must);
        };
        let own = match same {
            false => Own::Nothing,
            true if event => Own::Message,
            true => Own::All,
        };
        let offer = Offer {
            len: self.len,
            cause,
            urgent: self.urgent,
            message: message.as_ref(),
            payer,
            own,
            left,
            stranger,
            files: files.as_ref(),
        };
        let offered = match asked {
            true => put(member, &offer, &mut self.obligation),
            false => put(member, &offer, &mut None),
        };
        let Ok(offered) = offered else {
            cancel(paid);
            return self.lacks_memory(member, must);
        };
        let Offered::Put(slot, serial) = offered else {
            cancel(paid);
            return self.refused(member, offered, version, (must, asked));
        };
        self.reached.push(Recipient {
            once: matches!(cause, Cause::Once { .. }),
            ..Recipient::of(member, slot, serial)
        });
        if now {
            return Ok(());
        }
        self.claim = Some(Claim {
            member: member.clone(),
            key,
            entry: (slot, serial),
            paid,
            must,
        });
        // This one has been reached, and the walk goes on behind it.
        self.next.2 = self.next.2.saturating_add(u32::from(!asked));
        self.begun |= asked;
        Err(Pause::Copy)
    }

    /// Puts an unbind event in a queue, pending, whether there is room or not.
    pub(super) fn reach_beyond(
        &mut self,
        bus: &Bus<M>,
        member: &M,
        cause: Cause,
        share: u32,
    ) -> Result<(), Pause<M>> {
        let key = (member.payer().id(), member.memory());
        if self.copies.get(key).is_none() && self.lacks_shared_stamp() {
            return Err(Pause::Several);
        }
        let message = match self.copies.get(key).cloned() {
            Some(message) => Ok(message),
            None => self.make_copy(member, key, &mut None),
        };
        let mut entry = message.ok().map(|message| {
            let mut entry = Entry::blank(cause, self.len);
            entry.extra = Extra::Unbind;
            entry.body = Body::Message(message);
            entry
        });
        let mut chunk = None;
        let put = loop {
            if entry.is_none() {
                break Offered::Full(0);
            }
            let put = |queue: &mut Queue<M>| queue.put_unbind(&mut entry, share, &mut chunk);
            match member.within(|| member.with(put)) {
                Offered::NeedsChunk => match member.within(Chunk::new) {
                    Ok(new) => chunk = Some(new),
                    Err(_) => break Offered::Full(0),
                },
                offered => break offered,
            }
        };
        let entry = match put {
            Offered::Put(at, serial) => Placed::new(at, serial),
            Offered::Full(_) => None,
            _ => return Ok(()),
        };
        self.reached.push(Recipient {
            member: member.clone(),
            entry,
            tell: entry.is_some(),
            room: false,
            gap: false,
            hears: bus.sock(member).map_or(0, |sock| sock.hears),
            once: false,
        });
        Ok(())
    }

    /// A queue has no room, or whoever pays has not enough; the version of the budget of the
    /// queue's user.
    pub(super) fn refused(
        &mut self,
        member: &M,
        offered: Offered,
        version: u64,
        (must, asked): (bool, bool),
    ) -> Result<(), Pause<M>> {
        let place = match offered {
            Offered::Full(version) => {
                if must && member.id() != self.sender.id() {
                    member.with(Queue::count_refusal);
                }
                Place::Queue(member.clone(), version)
            }
            Offered::PayerBroke if asked => {
                self.denied = Some(Error::DQuot);
                return Ok(());
            }
            Offered::Broke | Offered::PayerBroke => Place::Budget(member.clone(), version),
            _ => return Ok(()),
        };
        self.cannot(member, place, must)
    }

    /// The memory cgroup of a socket is full: so is its queue. If it is the sender's own the sender
    /// waits for memory.
    pub(super) fn lacks_memory(&mut self, member: &M, must: bool) -> Result<(), Pause<M>> {
        if member.memory() == self.memory {
            return Err(Error::NoMem.into());
        }
        member.reclaim();
        self.cannot(member, memory_of(member), must)
    }

    pub(super) fn cannot(
        &mut self,
        member: &M,
        place: Place<M>,
        must: bool,
    ) -> Result<(), Pause<M>> {
        if !must {
            self.reached.push(Recipient::without(member));
            return Ok(());
        }
        match self.policy {
            Policy::Miss | Policy::Fail | Policy::Unbind { .. } => return Err(Error::Busy.into()),
            Policy::Wait | Policy::Event { .. } => {}
        }
        self.own_is_full |= member.id() == self.sender.id();
        if self.full.is_none() {
            self.full = Some(place);
        }
        Ok(())
    }
}

/// Puts an offer in a queue, with the memory that it needs for that.
fn put<M: Member>(
    member: &M,
    offer: &Offer<'_, M>,
    obligation: &mut Option<Box<Obligation<M>>>,
) -> Result<Offered, AllocError> {
    let mut memory = Memory::none();
    loop {
        // The list of chunks may grow with a chunk.
        let offered = match memory.chunk.is_some() {
            true => {
                member.within(|| member.with(|queue| queue.offer(offer, &mut memory, obligation)))
            }
            false => member.with(|queue| queue.offer(offer, &mut memory, obligation)),
        };
        match offered {
            Offered::NeedsSeat => {
                let user = offer.stranger.unwrap_or_default();
                memory.seat = Some(member.within(|| Node::new(user, 1))?);
            }
            Offered::NeedsChunk => memory.chunk = Some(member.within(Chunk::new)?),
            Offered::NoMemory => return Err(AllocError),
            offered => return Ok(offered),
        }
    }
}
