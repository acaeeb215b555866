// SPDX-License-Identifier: GPL-2.0

//! Whether a queue takes a message, and putting it in.

use super::super::account::Amount;
use super::super::account::One;
use super::super::entry::Body;
use super::super::entry::Cause;
use super::super::entry::Entry;
use super::super::entry::Extra;
use super::super::entry::Gap;
use super::super::entry::Own;
use super::super::entry::NOBODY;
use super::super::mem::Arc;
use super::super::mem::Box;
use super::super::mem::Node;
use super::super::message::Message;
use super::super::obligation::Obligation;
use super::super::payer::Payer;
use super::super::slots::Chunk;
use super::GivenBack;
use super::Member;
use super::Queue;

/// A queue of at least so many messages keeps a part of its slots for users who have none in it.
const SHARED_QUEUE: u32 = 16;
/// That part is one of so many.
const KEPT: u32 = 8;

/// One copy of a message that asks for room.
#[derive(Clone, Copy)]
pub(in super::super) struct Offer<'a, M: Member> {
    pub(in super::super) len: u64,
    pub(in super::super) cause: Cause,
    pub(in super::super) urgent: bool,
    /// `None`: the room is for a message that is still to be copied.
    pub(in super::super) message: Option<&'a Arc<Message<M>>>,
    /// Who pays.
    pub(in super::super) payer: &'a Arc<Payer>,
    /// What the queue's own user pays of it.
    pub(in super::super) own: Own,
    /// What is left of that user's budget.
    pub(in super::super) left: Amount,
    /// The sender's user, if that is neither the queue's own nor the owner of the bus.
    pub(in super::super) stranger: Option<u64>,
    /// Descriptors for the reader, if this socket takes some.
    pub(in super::super) files: Option<&'a M::Files>,
}

/// One copy of a message that asks for room where nothing is out of the ordinary: it came in by a
/// binding, the queue's own user pays for it, and the sender may fill the queue.
#[derive(Clone, Copy)]
pub(in super::super) struct Plain {
    pub(in super::super) len: u64,
    pub(in super::super) binding: u64,
    pub(in super::super) urgent: bool,
    /// What is left of that user's budget.
    pub(in super::super) left: Amount,
}

/// Memory that a queue may need for an [`Offer`].
pub(in super::super) struct Memory<M: Member> {
    /// For a user who has nothing in the queue yet.
    pub(in super::super) seat: Option<Node<u64, u32>>,
    /// For more entries.
    pub(in super::super) chunk: Option<Chunk<Entry<M>>>,
}

impl<M: Member> Memory<M> {
    /// Nothing.
    pub(in super::super) fn none() -> Self {
        Memory {
            seat: None,
            chunk: None,
        }
    }
}

/// What a queue says to an [`Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Offered {
    /// It is in, pending: the slot and serial number.
    Put(u32, u64),
    /// Nothing arrives here any more.
    Gone,
    /// There is no room in the queue of this version.
    Full(u64),
    /// The socket holds more than its own user has left.
    Broke,
    /// Whoever pays has not enough left.
    PayerBroke,
    /// [`Memory::seat`] is needed.
    NeedsSeat,
    /// [`Memory::chunk`] is needed.
    NeedsChunk,
    /// There is no memory for a longer list of chunks, or for the message.
    NoMemory,
    /// The socket wants each message once: more is to be looked at.
    NotPlainly,
}

impl<M: Member> Queue<M> {
    /// Whether there is room for a message; [`Offered::Put`] stands for yes, and nothing is put in.
    pub(in super::super) fn weigh(&self, left: Amount, stranger: Option<u64>) -> Offered {
        if self.read_shut() {
            return Offered::Gone;
        }
        if !self.has_room() {
            return Offered::Full(self.version);
        }
        if !self.own.fits(left) {
            return Offered::Broke;
        }
        let kept = self.limit.saturating_sub(self.limit / KEPT);
        let shared = stranger.filter(|_| self.limit >= SHARED_QUEUE);
        match shared.and_then(|user| self.strangers.get(&user)) {
            Some(_) if self.held() >= kept => Offered::Full(self.version),
            _ => Offered::Put(0, 0),
        }
    }

    /// Puts one copy in if there is room for it. What is owed for it is taken then.
    pub(in super::super) fn offer(
        &mut self,
        offer: &Offer<'_, M>,
        memory: &mut Memory<M>,
        obligation: &mut Option<Box<Obligation<M>>>,
    ) -> Offered {
        match self.weigh(offer.left, offer.stranger) {
            Offered::Put(..) => {}
            refused => return refused,
        }
        let stranger = offer.stranger.filter(|_| self.limit >= SHARED_QUEUE);
        let newcomer = stranger.is_some_and(|user| self.strangers.get(&user).is_none());
        if newcomer && memory.seat.is_none() {
            return Offered::NeedsSeat;
        }
        match self.promise(&mut memory.chunk) {
            Ok(true) => {}
            Ok(false) => return Offered::NeedsChunk,
            Err(_) => return Offered::NoMemory,
        }
        let Some(place) = One::new(&offer.payer.messages) else {
            return Offered::PayerBroke;
        };
        if let Some(user) = stranger {
            if let Some(has) = self.strangers.get_mut(&user) {
                *has = has.saturating_add(1);
            } else if let Some(seat) = memory.seat.take() {
                let _ = self.strangers.insert(seat);
            }
        }
        let files = offer.files.filter(|_| self.takes_files);
        let (serial, gap) = self.begin_put(offer.urgent);
        // All of it here, so that it is written where it is to be.
        let put = self.finish_put(Entry {
            body: match offer.message {
                Some(message) => Body::Message(message.clone()),
                None => Body::Blank,
            },
            cause: offer.cause,
            extra: Extra::No,
            len: offer.len,
            urgent: offer.urgent,
            cookie: 0,
            obligation: obligation.take(),
            files: files.cloned(),
            serial,
            late: false,
            looked_at: 0,
            gap,
            place,
            own: offer.own,
            stranger: stranger.unwrap_or(NOBODY),
        });
        match put {
            Some((at, serial)) => Offered::Put(at, serial),
            // There is a slot: it has been promised.
            None => Offered::Gone,
        }
    }

    /// Puts one copy in if there is room for it, where nothing is out of the ordinary. When there
    /// is, `place` is asked for its place among its user's messages, then `message` for it, and at
    /// last `owed` for what is owed for it.
    #[inline]
    pub(in super::super) fn put_plainly(
        &mut self,
        plain: &Plain,
        place: impl FnOnce() -> Option<One>,
        owed: impl FnOnce() -> Option<Box<Obligation<M>>>,
        message: impl FnOnce() -> Option<Arc<Message<M>>>,
    ) -> Offered {
        if self.once {
            return Offered::NotPlainly;
        }
        match self.weigh(plain.left, None) {
            Offered::Put(..) => {}
            refused => return refused,
        }
        if self.lacks_slots() {
            return Offered::NeedsChunk;
        }
        let Some(place) = place() else {
            return Offered::PayerBroke;
        };
        let Some(message) = message() else {
            place.cancel();
            return Offered::NoMemory;
        };
        let make = |serial, gap| Entry {
            body: Body::Message(message),
            cause: Cause::Binding {
                id: plain.binding,
                nth: 0,
            },
            extra: Extra::No,
            len: plain.len,
            urgent: plain.urgent,
            cookie: 0,
            obligation: owed(),
            files: None,
            serial,
            late: false,
            looked_at: 0,
            gap,
            place,
            own: Own::All,
            stranger: NOBODY,
        };
        match self.put_own(plain.urgent, plain.len, make) {
            Some((at, serial)) => Offered::Put(at, serial),
            // There is a slot: it has been promised.
            None => Offered::Gone,
        }
    }

    /// Puts an entry of so many bytes in, for which the queue's own user pays and for which there is
    /// a slot. `make` makes it, of its serial number and the gap before it. Says where it is.
    #[inline(always)]
    pub(in super::super) fn put_own(
        &mut self,
        urgent: bool,
        len: u64,
        make: impl FnOnce(u64, Gap) -> Entry<M>,
    ) -> Option<(u32, u64)> {
        match urgent {
            false => self.put_at_end(len, make),
            true => self.put(make(0, Gap::NONE)),
        }
    }

    /// Fills the room that was made for a message; false when it was removed meanwhile.
    pub(in super::super) fn fill(
        &mut self,
        at: u32,
        serial: u64,
        message: &Arc<Message<M>>,
    ) -> bool {
        let entry = self.find(at, serial);
        if let Some(entry) = entry {
            entry.body = Body::Message(message.clone());
            return true;
        }
        false
    }

    /// No more than so many listener bindings let this entry in, if it is the one copy of its
    /// socket; says whether none is left, nor a replier's.
    pub(in super::super) fn recount(&mut self, at: u32, serial: u64, count: u32) -> bool {
        let Some(entry) = self.find(at, serial) else {
            return false;
        };
        let owed = entry.obligation.is_some();
        match &mut entry.cause {
            Cause::Once { listeners, .. } => {
                *listeners = count.min(*listeners);
                *listeners == 0 && !owed
            }
            _ => false,
        }
    }

    /// Holds a slot for a reply for which the socket's own user pays; `None` if memory is needed for
    /// it, false when there is none, or when the socket holds more than its user has `left`.
    pub(in super::super) fn reserve(&mut self, reply: Amount, left: Amount) -> Option<bool> {
        if !self.has_slot() || !self.own.fits(left) {
            return Some(false);
        }
        if self.lacks_slots() {
            return None;
        }
        self.reserved = self.reserved.saturating_add(1);
        self.own = self.own.plus(reply);
        Some(true)
    }

    /// Gives a reserved slot back; says whether anything may still arrive here.
    pub(in super::super) fn unreserve(&mut self, reply: Amount) -> bool {
        self.reserved = self.reserved.saturating_sub(1);
        self.own = self.own.minus(reply);
        !self.read_shut()
    }

    /// Gives the slot of a request back that was not sent, as [`Queue::cancel`] does; there were so
    /// many `refusals` when it was reserved.
    pub(in super::super) fn cancel_reserved(&mut self, reply: Amount, refusals: u64) -> GivenBack {
        self.unreserve(reply);
        self.given_back(self.refusals != refusals)
    }

    /// Whether a reply of `len` bytes, longer than was reserved, fits; the socket's user has
    /// `left`.
    ///
    /// As for any message: not if the socket holds more than that. So others cannot use up its
    /// user's budget with long replies to one socket.
    pub(in super::super) fn fits_long_reply(&self, len: u64, left: u64) -> bool {
        let room = self.byte_limit.saturating_sub(self.bytes);
        len <= room && self.own.bytes <= left
    }

    /// Puts in what must arrive: a reply or status, for which a slot was reserved until now. Says
    /// where it is.
    pub(in super::super) fn put_promised(&mut self, entry: Entry<M>) -> Option<(u32, u64)> {
        self.put(entry)
    }

    /// Takes a reply out that is not sent after all, and holds the slot for it again.
    pub(in super::super) fn take_answer(
        &mut self,
        (at, serial): (u32, u64),
        reply: Amount,
    ) -> Option<Entry<M>> {
        let entry = match self.find(at, serial) {
            Some(_) => self.take_with_gap(at),
            None => None,
        };
        self.reserved = self.reserved.saturating_add(1);
        self.own = self.own.plus(reply);
        entry
    }

    /// Puts in the event of a socket that died, beyond the limit but no more than `share` of such.
    pub(in super::super) fn put_unbind(
        &mut self,
        entry: &mut Option<Entry<M>>,
        share: u32,
        chunk: &mut Option<Chunk<Entry<M>>>,
    ) -> Offered {
        if self.read_shut() {
            return Offered::Gone;
        }
        if self.events >= share {
            return Offered::Full(self.version);
        }
        match self.promise(chunk) {
            Ok(true) => {}
            Ok(false) => return Offered::NeedsChunk,
            Err(_) => return Offered::Full(self.version),
        }
        match entry.take().and_then(|entry| self.put(entry)) {
            Some((at, serial)) => Offered::Put(at, serial),
            None => Offered::Gone,
        }
    }

    /// Puts the notice in that such events were lost, the first of them that of this id, if it is
    /// not here already; says whether it was put in.
    pub(in super::super) fn notice(&mut self, cause: Cause, id: u64, time: i64) -> bool {
        if self.noticed || !self.hears || self.read_shut() {
            return false;
        }
        let mut entry = Entry::blank(cause, 0);
        entry.body = Body::EventsLost(id, time);
        entry.extra = Extra::Notice;
        let put = self.put(entry);
        if let Some((at, _)) = put {
            // After those that were kept.
            self.put_in_order(at, true);
        }
        put.is_some()
    }

    /// Promises slots beyond the limit, at most so many; says how many. Fewer: a chunk is needed.
    pub(in super::super) fn promise_some(
        &mut self,
        most: u32,
        chunk: &mut Option<Chunk<Entry<M>>>,
    ) -> u32 {
        let mut count: u32 = 0;
        while count < most && matches!(self.promise(chunk), Ok(true)) {
            self.reserved = self.reserved.saturating_add(1);
            count = count.saturating_add(1);
        }
        count
    }

    /// Puts an entry in one of these slots, or gives the slot up.
    pub(in super::super) fn keep_promise(&mut self, entry: Option<Entry<M>>) {
        self.reserved = self.reserved.saturating_sub(1);
        match entry.filter(|_| !self.read_shut()) {
            Some(entry) => drop(self.put(entry)),
            None => self.bump(),
        }
    }
}
