// SPDX-License-Identifier: GPL-2.0

//! The plain way of a message: one copy for all who get it, in one hold of the bus lock.
//!
//! Most messages can go it: a full listener misses them, they carry no descriptors, and all who get
//! them are of one user in one memory cgroup. Where somebody is found for whom more is to be looked
//! at, the message goes on as a [`Fanout`] from there, in the same hold.

use super::super::account::Amount;
use super::super::account::Charge;
use super::super::account::One;
use super::super::bus::Bus;
use super::super::bus::Shared;
use super::super::bus::STEP;
use super::super::entry::Body;
use super::super::entry::Cause;
use super::super::entry::Entry;
use super::super::entry::Own;
use super::super::error::Error;
use super::super::mem::Arc;
use super::super::mem::Box;
use super::super::mem::Need;
use super::super::message::Content;
use super::super::message::Head;
use super::super::message::Message;
use super::super::message::Stamp;
use super::super::message::Stamped;
use super::super::message::KBUS_URGENT;
use super::super::obligation::Obligation;
use super::super::payer::Payer;
use super::super::peer::Trace;
use super::super::queue::Member;
use super::super::queue::Offered;
use super::super::queue::Plain as Offer;
use super::super::queue::Queue;
use super::super::recipient::Recipient;
use super::super::routes::Listener;
use super::super::routes::Place;
use super::super::slots::Chunk;
use super::copies::Left;
use super::copies::Who;
use super::copies::SMALL;
use super::end::cancel;
use super::here::Here;
use super::recipients::Recipients;
use super::recipients::FEW;
use super::Answer;
use super::Fanout;
use super::First;
use super::Pause;
use super::Policy;
use super::Refusal;

/// Listeners of one hold of the bus lock. They take as long as a quarter of them, [`STEP`], on the
/// general way.
const MANY: usize = match cfg!(CONFIG_KBUS_SHORT_STEPS) {
    true => STEP,
    false => 4 * STEP,
};

/// Places among a user's messages that are taken at once.
const PLACES: u64 = 16;
/// They are where so many are left, beside which those that turn out not to be needed are few.
const PLENTY: u64 = 1024;
/// For so many listeners room is made at first, when there are more than a few.
const SOME: usize = 12;

/// A message on the plain way, as long as it can go that.
pub(in super::super) struct Plain<'a, M: Member> {
    sender: &'a M,
    head: Head<'a>,
    urgent: bool,
    len: u64,
    policy: Policy,
    /// Payload and sender; `None` when the message has gone on as a [`Fanout`].
    content: Option<&'a mut Content<M>>,
    files: Option<&'a M::Files>,
    first: First<M>,
    /// Whether that one has been reached.
    begun: bool,
    /// What is owed for a request, until the replier has it.
    obligation: Option<Box<Obligation<M>>>,
    /// The bytes of the bus that were held for a reply.
    bus_bytes: Option<Charge>,
    /// The copy for all, and whose it is.
    copy: Option<(Arc<Message<M>>, Who)>,
    /// Whether the sender may fill the queues of that user.
    may_fill: bool,
    /// What that user had left before it.
    left: Option<Left>,
    /// The memory cgroup of the sending task.
    memory: usize,
    /// Who is to be woken when it is sent, the first recipient before all; all recipients if it goes
    /// on as a [`Fanout`].
    reached: Recipients<M>,
    /// Places among the messages of that user that are held for the next listeners.
    places: Option<Charge>,
    /// For how many listeners room was made in all, and for how many there is some left.
    rooms: (usize, usize),
    /// The listener for whom more is to be looked at: its place and binding.
    next: (usize, u64),
}

/// Makes room for more entries in a queue, in memory of its socket's own cgroup; false if there is
/// none. The bus may be locked.
#[cold]
pub(in super::super) fn grow<M: Member>(member: &M) -> bool {
    let grown = member.within(|| {
        let chunk = Chunk::new()?;
        member.with(|queue| queue.add_chunk(chunk))
    });
    grown.is_ok()
}

/// Whether a sender may fill the queue of a socket: if it is of the same user, or of the owner of
/// the bus. Of others' messages a queue keeps some room free.
fn may_fill<M: Member>(bus: &Bus<M>, sender: &M, member: &M) -> bool {
    sender.payer().id() == member.payer().id() || sender.user() == bus.owner
}

/// What is left of a user's budget.
#[inline(always)]
fn left_of(payer: &Payer) -> Left {
    // The version first: what is given back after that changes it.
    let version = payer.version();
    (payer.left(), version)
}

/// Takes a place among the messages of a user who has so much left, and some for the next listeners
/// if there are plenty.
#[inline(never)]
fn take_places(held: &mut Option<Charge>, payer: &Payer, left: Amount) -> Option<One> {
    if left.messages >= PLENTY {
        *held = Charge::new(&payer.messages, PLACES);
    }
    let one = held.as_mut().and_then(Charge::take_one);
    one.or_else(|| One::new(&payer.messages))
}

impl<'a, M: Member> Plain<'a, M> {
    /// A message of `sender` that nobody has yet.
    #[inline(always)]
    pub(in super::super) fn new(
        sender: &'a M,
        head: Head<'a>,
        policy: Policy,
        content: &'a mut Content<M>,
        files: Option<&'a M::Files>,
    ) -> Self {
        Plain {
            sender,
            head,
            urgent: head.flags & KBUS_URGENT != 0,
            len: content.payload.len() as u64,
            policy,
            content: Some(content),
            files,
            first: First::None,
            begun: false,
            obligation: None,
            bus_bytes: None,
            copy: None,
            may_fill: true,
            left: None,
            memory: sender.task_memory(),
            reached: Recipients::new(),
            places: None,
            rooms: (FEW, FEW),
            next: (0, 0),
        }
    }

    /// It is a request to this replier, for which that is owed. Called in the hold of the bus lock
    /// in which the replier was found.
    pub(in super::super) fn ask(&mut self, replier: (M, u64), owed: Box<Obligation<M>>) {
        self.first = First::Asked(replier.0, replier.1);
        // That one comes before them.
        self.rooms = (FEW - 1, FEW - 1);
        self.obligation = Some(owed);
    }

    /// It is a reply, for which these bytes of the bus were held.
    pub(in super::super) fn answer(&mut self, answer: Answer<M>, bus_bytes: Charge) {
        self.first = First::Answered(answer);
        self.rooms = (FEW - 1, FEW - 1);
        self.bus_bytes = Some(bus_bytes);
    }

    /// What is owed for a request that was not sent.
    pub(in super::super) fn take_obligation(&mut self) -> Option<Box<Obligation<M>>> {
        self.obligation.take()
    }

    /// What was held for a reply that was not sent, and is held again: its place, its bytes of the
    /// requester's user, and those of the bus.
    pub(in super::super) fn take_held(&mut self) -> (One, Option<Charge>, Option<Charge>) {
        let bus_bytes = self.bus_bytes.take();
        match &mut self.first {
            First::Answered(answer) => (answer.place.take(), answer.bytes.take(), bus_bytes),
            _ => (One::NONE, None, bus_bytes),
        }
    }

    /// Sends it. `check` is asked in each hold of the bus lock whether it may go on, `begin` is
    /// called after that in the first one, and `done` in the last one when it is sent.
    ///
    /// # Errors
    ///
    /// Those of `check` and `begin`, and those of [`Fanout::send`].
    pub(in super::super) fn send<S: Shared<Member = M>>(
        &mut self,
        shared: &S,
        mut check: impl FnMut(&mut Bus<M>) -> Result<(), Error>,
        begin: impl FnOnce(&mut Bus<M>, &mut Self) -> Result<(), Refusal<M>>,
        done: impl FnOnce(&mut Bus<M>, u64),
    ) -> Result<u64, Refusal<M>> {
        let (mut done, mut long) = (Some(done), None);
        let step = shared.locked(|bus| {
            check(bus)?;
            begin(bus, self).map_err(Pause::Refused)?;
            let mut here = Here::new();
            let sent = match self.go(bus, &mut here) {
                true => Some(self.commit(bus, shared, &here)),
                false => {
                    here.keep(&mut self.reached);
                    None
                }
            };
            drop(here);
            if let Some(id) = sent {
                if let Some(done) = done.take() {
                    done(bus, id);
                }
                return Ok(id);
            }
            self.go_on(&mut long, bus, shared, &mut done)
        });
        match (step, &mut long) {
            (Ok(id), None) => {
                self.finish();
                Ok(id)
            }
            (Err(Pause::Refused(refusal)), None) => Err(refusal),
            (Err(_), None) => Err(Error::Inval.into()),
            (step, Some(fanout)) => {
                let sent = fanout.send_on(shared, check, done, step);
                if sent.is_err() {
                    self.first = core::mem::replace(&mut fanout.first, First::None);
                    self.obligation = fanout.obligation.take();
                    self.bus_bytes = fanout.bus_bytes.take();
                }
                sent
            }
        }
    }

    /// Goes through all who get it; false where one is found for whom more is to be looked at.
    #[inline(never)]
    fn go<'b>(&mut self, bus: &'b Bus<M>, here: &mut Here<'b, M>) -> bool {
        if self.policy != Policy::Miss || self.files.is_some() {
            return false;
        }
        if self.sender.with(|queue| queue.sends_several()) {
            return false;
        }
        match core::mem::replace(&mut self.first, First::None) {
            First::None => {}
            First::Asked(replier, binding) => {
                self.begun = self.replier(bus, &replier, binding);
                self.first = First::Asked(replier, binding);
                if !self.begun {
                    return false;
                }
            }
            First::Answered(mut answer) => {
                self.begun = self.requester(bus, &mut answer);
                self.first = First::Answered(answer);
                if !self.begun {
                    return false;
                }
            }
        }
        let mut plain = true;
        bus.each_place(self.head.name, |place| {
            plain = place.is_empty() || self.listeners(bus, place, here);
            plain
        });
        // Somebody may have been refused for places that are not needed: so this is told.
        drop(self.places.take());
        plain
    }

    /// The replier gets the request, for which the sender pays; false if nothing has been done for
    /// it.
    fn replier(&mut self, bus: &Bus<M>, member: &M, binding: u64) -> bool {
        if self.sender.payer().id() != member.payer().id() {
            return false;
        }
        let mut owed = self.obligation.take();
        let put = self.put(bus, member, binding, || owed.take());
        self.obligation = owed;
        let Some(Offered::Put(slot, serial)) = put else {
            return false;
        };
        self.reached.push(Recipient::of(member, slot, serial));
        true
    }

    /// The requester gets the reply, for which all is held; false if nothing has been done for it.
    fn requester(&mut self, bus: &Bus<M>, answer: &mut Answer<M>) -> bool {
        let requester = &answer.requester;
        if requester.with(|queue| queue.read_shut() || queue.once()) {
            return false;
        }
        let Some(bus_bytes) = self.bus_bytes.take() else {
            return false;
        };
        let len = self.len;
        let message = match self.make(requester, bus_bytes, &mut answer.bytes, Need::Promised) {
            Ok(message) => message,
            Err(bus_bytes) => {
                self.bus_bytes = bus_bytes;
                return false;
            }
        };
        self.may_fill = may_fill(bus, self.sender, requester);
        let (urgent, cookie, place) = (self.urgent, answer.cookie, answer.place.take());
        let make = |serial, gap| Entry {
            body: Body::Message(message),
            urgent,
            cookie,
            serial,
            gap,
            place,
            own: Own::All,
            ..Entry::blank(Cause::Own, len)
        };
        answer.entry = requester.with(|queue| {
            queue.unreserve(answer.reserved);
            queue.put_own(urgent, len, make)
        });
        if let Some((slot, serial)) = answer.entry {
            self.reached.push(Recipient::of(requester, slot, serial));
        }
        true
    }

    /// The listeners of one pattern get their copies; false at one for whom more is to be looked at.
    // A function of its own, as little is alive in it.
    #[inline(never)]
    fn listeners<'b>(
        &mut self,
        bus: &Bus<M>,
        place: &Place<'b, M>,
        here: &mut Here<'b, M>,
    ) -> bool {
        for (binding, listener) in place.listeners() {
            if !self.listener(bus, listener, binding, here) {
                self.next = (place.at, binding);
                return false;
            }
        }
        true
    }

    /// One listener gets its copy, or misses it; false if nothing has been done for it, as more is
    /// to be looked at.
    #[inline(always)]
    fn listener<'b>(
        &mut self,
        bus: &Bus<M>,
        listener: &'b Listener<M>,
        binding: u64,
        here: &mut Here<'b, M>,
    ) -> bool {
        let member = &listener.member;
        if listener.count != 1 || (self.rooms.1 == 0 && !self.make_room(here)) {
            return false;
        }
        let put = match self.copy {
            Some(_) => self.put_next(member, binding),
            None => self.put(bus, member, binding, || None),
        };
        match put {
            Some(Offered::Put(slot, _)) => here.push(member, Some(slot)),
            Some(Offered::Full(_) | Offered::Broke | Offered::PayerBroke) => {
                here.push(member, None)
            }
            Some(Offered::Gone) => {}
            _ => return false,
        }
        self.rooms.1 = self.rooms.1.saturating_sub(1);
        true
    }

    /// Makes room for more listeners of this hold, if it can be had.
    #[cold]
    fn make_room(&mut self, here: &mut Here<'_, M>) -> bool {
        let made = self.rooms.0;
        let more = match made {
            ..=FEW => SOME,
            _ if made < STEP => STEP.saturating_sub(made),
            _ => MANY,
        };
        let more = more.min(MANY.saturating_sub(made));
        if !self.reached.has_list() {
            self.reached.reuse(self.sender.with(Queue::take_list));
        }
        if more == 0 || !here.reserve(more, &mut self.reached) {
            return false;
        }
        self.rooms = (made.saturating_add(more), more);
        true
    }

    /// How many listeners have been looked at.
    fn looked(&self) -> usize {
        self.rooms.0.saturating_sub(self.rooms.1)
    }

    /// Puts the copy in another queue, as [`Plain::put`] does with the first.
    #[inline(always)]
    fn put_next(&mut self, member: &M, binding: u64) -> Option<Offered> {
        let payer = member.payer();
        let Some((message, whose)) = &self.copy else {
            return None;
        };
        if !self.may_fill || *whose != (payer.id(), member.memory()) {
            return None;
        }
        let (left, _) = *self.left.get_or_insert_with(|| left_of(payer));
        let offer = self.offer(binding, left);
        let held = &mut self.places;
        loop {
            let put = member.with(|queue| {
                let place = || match held.as_mut().and_then(Charge::take_one) {
                    Some(one) => Some(one),
                    None => take_places(held, payer, left),
                };
                queue.put_plainly(&offer, place, || None, || Some(message.clone()))
            });
            match put {
                Offered::NeedsChunk if grow(member) => {}
                offered => return Some(offered),
            }
        }
    }

    /// Puts the first copy in a queue, for which its user pays, and what is `owed` for it; `None`
    /// where more is to be looked at.
    #[inline(always)]
    fn put(
        &mut self,
        bus: &Bus<M>,
        member: &M,
        binding: u64,
        mut owed: impl FnMut() -> Option<Box<Obligation<M>>>,
    ) -> Option<Offered> {
        if !may_fill(bus, self.sender, member) {
            return None;
        }
        let payer = member.payer();
        let left = left_of(payer);
        let offer = self.offer(binding, left.0);
        loop {
            let put = member.with(|queue| {
                let place = || One::new(&payer.messages);
                let message = || self.first_copy(bus, member, left);
                queue.put_plainly(&offer, place, &mut owed, message)
            });
            match put {
                Offered::NeedsChunk if grow(member) => {}
                offered => return Some(offered),
            }
        }
    }

    #[inline(always)]
    fn offer(&self, binding: u64, left: Amount) -> Offer {
        Offer {
            len: self.len,
            binding,
            urgent: self.urgent,
            left,
        }
    }

    /// The copy for all, which is made where the first of them has room for it; `None` if it cannot
    /// be made, and nothing has changed.
    #[inline(never)]
    fn first_copy(&mut self, bus: &Bus<M>, member: &M, left: Left) -> Option<Arc<Message<M>>> {
        let len = self.len;
        let bus_bytes = bus.charge(self.sender, len)?;
        let mut paid = None;
        if len > 0 {
            paid = Charge::new(&member.payer().bytes, len);
            if paid.is_none() {
                bus_bytes.cancel();
                return None;
            }
        }
        match self.make(member, bus_bytes, &mut paid, Need::Wanted) {
            Ok(message) => {
                self.left = Some(left);
                Some(message)
            }
            Err(bus_bytes) => {
                cancel(paid);
                cancel(bus_bytes);
                None
            }
        }
    }

    /// Makes the copy, for the user of this socket in its memory cgroup. Gives the bytes of the bus
    /// back if it cannot be made, and nothing has changed.
    #[inline(always)]
    fn make(
        &mut self,
        member: &M,
        bus_bytes: Charge,
        paid: &mut Option<Charge>,
        need: Need,
    ) -> Result<Arc<Message<M>>, Option<Charge>> {
        let who = (member.payer().id(), member.memory());
        let moves = who.1 == self.memory;
        let head = &self.head;
        let content = self.content.as_mut();
        let Some(content) = content.filter(|c| moves || c.payload.len() as u64 <= SMALL) else {
            return Err(Some(bus_bytes));
        };
        let mut stamp = Some(Stamped::Alone(Stamp::new(bus_bytes)));
        let made = match moves {
            true => Message::new(head, content, &mut stamp, paid, need),
            // Payload and sender in memory of that cgroup.
            false => member.within(|| {
                let mut copy = Content::copy(&content.payload, content.from.as_ref(), need)?;
                Message::new(head, &mut copy, &mut stamp, paid, need)
            }),
        };
        match (made, stamp) {
            (Ok(message), _) => {
                self.copy = Some((message.clone(), who));
                Ok(message)
            }
            (Err(_), Some(Stamped::Alone(mut stamp))) => Err(stamp.take_bus_bytes()),
            (Err(_), _) => Err(None),
        }
    }

    /// Sends it to all, with the bus locked.
    fn commit(
        &mut self,
        bus: &Bus<M>,
        shared: &impl Shared<Member = M>,
        here: &Here<'_, M>,
    ) -> u64 {
        let id = shared.next_id();
        self.head.trace(self.sender, id, self.len);
        if let Some((message, _)) = &self.copy {
            message.send(id);
        }
        if here.is_empty() && self.reached.len() == 0 {
            return id;
        }
        let (watch, traced) = (M::watch(), M::is_traced());
        self.reached.note_waiters(0, &watch);
        if traced {
            self.reached.each_from(0, |recipient| recipient.trace(id));
        }
        here.each(|member, has_it| {
            let waits = has_it && member.is_waited_for(&watch);
            if traced || waits || !has_it {
                let mut recipient = Recipient::without(member);
                match has_it {
                    true => recipient.tell = waits,
                    false => recipient.miss(id, Policy::Miss, bus.last_binding),
                }
                self.note(recipient, id, has_it);
            }
        });
        id
    }

    /// Notes a listener who is to be woken, and tells whoever traces sockets what has become of the
    /// message of this id.
    #[cold]
    fn note(&mut self, recipient: Recipient<M>, id: u64, has_it: bool) {
        recipient.member.trace(match has_it {
            true => Trace::Deliver { id },
            false => Trace::Miss { id },
        });
        if recipient.tell {
            self.reached.push(recipient);
        }
    }

    /// Wakes those who wait for it. The bus is not locked.
    fn finish(&mut self) {
        self.reached.each_from(0, |recipient| {
            if recipient.tell {
                recipient.member.wake_reader();
            }
        });
        if self.reached.has_list() {
            if let Some(list) = self.reached.take_list() {
                let before = self.sender.with(|queue| queue.keep_list(list));
                drop(before);
            }
        }
    }

    /// Makes it a [`Fanout`], which goes on in this hold where the plain way has ended.
    // A function of its own, so that the plain way has a small frame.
    #[cold]
    #[inline(never)]
    fn go_on<S: Shared<Member = M>>(
        &mut self,
        long: &mut Option<Fanout<'a, M>>,
        bus: &mut Bus<M>,
        shared: &S,
        done: &mut Option<impl FnOnce(&mut Bus<M>, u64)>,
    ) -> Result<u64, Pause<M>> {
        let content = self.content.take().ok_or(Error::Inval)?;
        let (sender, head, policy) = (self.sender, self.head, self.policy);
        let fanout = long.insert(Fanout::new(sender, head, policy, content, self.files));
        fanout.first = core::mem::replace(&mut self.first, First::None);
        fanout.found_now = matches!(fanout.first, First::Asked(..));
        fanout.begun = self.begun;
        fanout.obligation = self.obligation.take();
        fanout.bus_bytes = self.bus_bytes.take();
        fanout.reached = core::mem::replace(&mut self.reached, Recipients::new());
        fanout.next = (self.next.0, self.next.1, 0);
        fanout.looked = self.looked();
        if let Some((message, who)) = self.copy.take() {
            fanout.len = self.len;
            fanout.copies.first = Some((who, message));
            fanout.copies.left.0 = self.left.map(|left| (who.0, left));
            fanout.moved = who.1 == self.memory;
        }
        fanout.hold(bus, shared, done)
    }
}
