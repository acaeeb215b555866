// SPDX-License-Identifier: GPL-2.0

//! One message on its way to its recipients.
//!
//! A message that matches thousands of bindings must not keep the bus locked until all have it. So
//! the way is gone in steps of [`STEP`] copies, each in a hold of the bus lock, and other sends
//! come in between. In each queue the message is put in *pending*. When all are reached, and no
//! matching binding has been added meanwhile that is not, the message gets its id in that same
//! hold: with this one step it is sent to all. If the send fails instead, what was put in is taken
//! out again.
//!
//! So a sender that is preempted in between keeps nobody from anything: its entries take the room
//! that they would take anyway, and readers pass them by.
//!
//! A short way is gone in a single hold: nobody finds a queue full because of a message that is not
//! sent in the end. With a longer one that can happen.
//!
//! Nothing is charged to a memory cgroup or user before there is room in a queue that is to hold
//! it.

use super::account::Amount;
use super::account::Charge;
use super::bus::Bus;
use super::bus::Shared;
use super::bus::STEP;
use super::entry::Body;
use super::entry::Cause;
use super::entry::Entry;
use super::entry::Extra;
use super::error::Error;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Box;
use super::mem::Map;
use super::mem::Need;
use super::mem::Node;
use super::mem::Vec;
use super::message::Content;
use super::message::Head;
use super::message::Message;
use super::message::Stamp;
use super::message::Stamped;
use super::message::KBUS_URGENT;
use super::name::Tail;
use super::obligation::Obligation;
use super::payer::Payer;
use super::queue::Member;
use super::queue::Offer;
use super::queue::Offered;
use super::queue::Queue;
use super::slots::Chunk;
use super::wait;
use super::wait::Place;

/// A payload of at most so many bytes is copied with the bus locked.
const SMALL: u64 = 512;
/// A copy of descriptors takes as long as so many recipients.
const FILES_COST: usize = 8;
/// So many recipients there is room for without memory.
const FEW: usize = 4;

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
    /// An unbind event of a socket that died: it goes beyond the limit of each listener, and whom
    /// it cannot reach is told that such were lost.
    Unbind {
        /// The most that one listener may have of them.
        share: u32,
    },
}

impl Policy {
    /// Whether it is a bind event, for the payload of which nobody pays.
    fn is_event(self) -> bool {
        matches!(self, Policy::Event { .. } | Policy::Unbind { .. })
    }
}

/// Why a message is not sent.
pub(super) enum Refusal<M: Member> {
    /// For good.
    Error(Error),
    /// Until there is room.
    Full {
        /// Where the first of those lacks room who must have it.
        place: Place<M>,
        /// Whether the sender's own queue is among them.
        own: bool,
    },
    /// The replier, or the requester, has gone meanwhile: all is to be looked at again.
    Again,
}

impl<M: Member> From<Error> for Refusal<M> {
    fn from(error: Error) -> Self {
        Refusal::Error(error)
    }
}

impl<M: Member> From<AllocError> for Refusal<M> {
    fn from(_: AllocError) -> Self {
        Refusal::Error(Error::NoMem)
    }
}

/// Why a hold of the bus lock ends before the message is sent.
enum Pause<M: Member> {
    /// It has been long enough.
    More,
    /// The list of recipients needs memory.
    List,
    /// Room is made for a large message, of which there must be a copy.
    Copy,
    /// There must be several copies, and the one that there is was made to be alone.
    Several,
    /// It is not sent.
    Refused(Refusal<M>),
}

impl<M: Member> From<Error> for Pause<M> {
    fn from(error: Error) -> Self {
        Pause::Refused(error.into())
    }
}

/// One copy of the message in one queue.
struct Recipient<M> {
    member: M,
    /// Slot and serial number of its entry; `None`: it misses the message.
    entry: Option<(u32, u64)>,
    /// Whether it is to be woken.
    tell: bool,
    /// Bindings that match bind events, of a listener who has missed one that it cannot miss.
    hears: u32,
    /// Whether it is the one copy of a socket that wants each message once.
    once: bool,
}

/// Those who get the message, in the order in which they were reached.
struct Recipients<M> {
    few: [Option<Recipient<M>>; FEW],
    more: Vec<Recipient<M>>,
    len: usize,
}

impl<M> Recipients<M> {
    fn new() -> Self {
        Recipients {
            few: [const { None }; FEW],
            more: Vec::new(),
            len: 0,
        }
    }

    /// Makes room for one more. With the bus locked it only grows as long as it is small.
    fn prepare(&mut self, locked: bool) -> bool {
        if self.len < FEW || self.more.len() < self.more.capacity() {
            return true;
        }
        let more = match locked {
            true if self.more.len() >= 2 * STEP => return false,
            true => STEP,
            false => (8 * STEP).max(self.more.len()),
        };
        mem::reserve(&mut self.more, more).is_ok()
    }

    /// Adds one for whom there is room.
    fn push(&mut self, recipient: Recipient<M>) {
        if let Some(place) = self.few.get_mut(self.len) {
            *place = Some(recipient);
        } else if mem::push_reserved(&mut self.more, recipient).is_err() {
            return;
        }
        self.len = self.len.saturating_add(1);
    }

    fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Recipient<M>> {
        let few = self.few.iter_mut().flatten();
        few.chain(self.more.iter_mut())
    }
}

/// A copy of a message.
type Copy<M> = Arc<Message<M>>;

/// Who pays for a copy, and in which memory cgroup.
type Who = (u64, usize);

/// The copies of a message, by who pays for them.
struct Copies<M: Member> {
    first: Option<(Who, Copy<M>)>,
    more: Map<Who, Copy<M>>,
    /// What users had left before this message: the first of them, and others.
    left: (Option<(u64, Amount)>, Map<u64, Amount>),
    /// Copies of the descriptors.
    files: Map<Who, M::Files>,
}

impl<M: Member> Copies<M> {
    fn get(&self, key: Who) -> Option<&Arc<Message<M>>> {
        match &self.first {
            Some((of, message)) if *of == key => Some(message),
            _ => self.more.get(&key),
        }
    }

    /// What this user had left before any queue of its had the message: one queue is not refused
    /// for what another one has got of it.
    fn left_of(&mut self, payer: &Payer) -> Amount {
        let (first, more) = &mut self.left;
        let (id, left) = first.get_or_insert_with(|| (payer.id(), payer.left()));
        if *id == payer.id() {
            return *left;
        }
        if let Some(left) = more.get(&payer.id()) {
            return *left;
        }
        let left = payer.left();
        // Without memory to remember it, it is what is left now.
        if let Ok(node) = Node::new(payer.id(), left) {
            let _ = more.insert(node);
        }
        left
    }

    fn any(&self) -> Option<&Arc<Message<M>>> {
        self.first.as_ref().map(|(_, message)| message)
    }

    fn add(&mut self, key: Who, message: Arc<Message<M>>) -> Result<(), AllocError> {
        if self.first.is_none() {
            self.first = Some((key, message));
        } else {
            drop(self.more.insert(Node::new(key, message)?));
        }
        Ok(())
    }
}

/// Room that was made for a large message of which a copy is to be made.
struct Claim<M: Member> {
    member: M,
    key: Who,
    entry: (u32, u64),
    paid: Option<Charge>,
    must: bool,
}

/// The requester that is answered, and what was held for the reply.
pub(super) struct Answer<M: Member> {
    pub(super) requester: M,
    pub(super) cookie: u64,
    pub(super) reserved: Amount,
    /// Its place among the messages of the requester's user.
    pub(super) place: Option<Charge>,
    /// The payload's bytes of that user.
    pub(super) bytes: Option<Charge>,
    /// Where the reply is.
    entry: Option<(u32, u64)>,
}

impl<M: Member> Answer<M> {
    /// The reply to this requester.
    pub(super) fn new(
        requester: &M,
        cookie: u64,
        reserved: Amount,
        place: Option<Charge>,
        bytes: Charge,
    ) -> Self {
        Answer {
            requester: requester.clone(),
            cookie,
            reserved,
            place,
            bytes: Some(bytes),
            entry: None,
        }
    }
}

/// Whom a message is for before all listeners.
pub(super) enum First<M: Member> {
    /// Nobody.
    None,
    /// The replier that is asked, and its binding.
    Asked(M, u64),
    /// The requester that is answered.
    Answered(Answer<M>),
}

/// One message on its way.
pub(super) struct Fanout<'a, M: Member> {
    sender: &'a M,
    head: Head<'a>,
    policy: Policy,
    first: First<M>,
    /// Whether that one has been reached.
    begun: bool,
    urgent: bool,
    len: u64,
    /// Payload and sender, until they are `moved` into the first copy.
    content: Content<M>,
    moved: bool,
    files: Option<&'a M::Files>,
    /// What is owed for a request.
    obligation: Option<Box<Obligation<M>>>,
    /// A socket that has its one copy already, or 0.
    served: u64,
    /// Bytes of the bus, until they are in a stamp.
    bus_bytes: Option<Charge>,
    /// Whether there may be more copies than one.
    several: bool,
    shared: Option<Arc<Stamp>>,
    copies: Copies<M>,
    reached: Recipients<M>,
    /// How many were reached in earlier holds of the bus lock.
    earlier: usize,
    /// This pass is about the bindings from that number until this one.
    pass: (u64, u64),
    /// Where it goes on: the place, the binding, which of identical ones.
    next: (usize, u64, u32),
    claim: Option<Claim<M>>,
    full: Option<Place<M>>,
    own_is_full: bool,
    denied: Option<Error>,
    /// Copies of this hold.
    looked: usize,
    /// Peer ids of those who want each message once and were reached in earlier holds.
    once: Map<u64, ()>,
}

/// What is left of a message that was not sent.
pub(super) struct Unsent<M: Member> {
    pub(super) refusal: Refusal<M>,
    pub(super) content: Content<M>,
    pub(super) obligation: Option<Box<Obligation<M>>>,
    pub(super) first: First<M>,
    pub(super) bus_bytes: Option<Charge>,
}

impl<'a, M: Member> Fanout<'a, M> {
    /// A message of `sender` that nobody has yet.
    pub(super) fn new(
        sender: &'a M,
        head: Head<'a>,
        policy: Policy,
        content: Content<M>,
        files: Option<&'a M::Files>,
    ) -> Self {
        Fanout {
            sender,
            head,
            policy,
            first: First::None,
            begun: false,
            urgent: head.flags & KBUS_URGENT != 0,
            len: content.payload.len() as u64,
            content,
            moved: false,
            files,
            obligation: None,
            served: 0,
            bus_bytes: None,
            several: sender.with(|queue| queue.sends_several()),
            shared: None,
            copies: Copies {
                first: None,
                more: Map::new(),
                left: (None, Map::new()),
                files: Map::new(),
            },
            reached: Recipients::new(),
            earlier: 0,
            pass: (0, 0),
            next: (0, 0, 0),
            claim: None,
            full: None,
            own_is_full: false,
            denied: None,
            looked: 0,
            once: Map::new(),
        }
    }

    /// It is a request to this replier, for which that is owed.
    pub(super) fn ask(mut self, (replier, binding): (M, u64), owed: Box<Obligation<M>>) -> Self {
        self.first = First::Asked(replier, binding);
        self.obligation = Some(owed);
        self
    }

    /// It is a reply, for which these bytes of the bus were held.
    pub(super) fn answer(mut self, answer: Answer<M>, bus_bytes: Charge) -> Self {
        self.first = First::Answered(answer);
        self.bus_bytes = Some(bus_bytes);
        self
    }

    /// Whether it is certain that it will not be sent; what is left to do is to find out why.
    fn is_refused(&self) -> bool {
        self.full.is_some() || self.denied.is_some()
    }

    /// Sends it. `check` is asked in each hold of the bus lock whether it may go on, and `done` is
    /// called in the last one, with the id, when it is sent.
    ///
    /// # Errors
    ///
    /// That of `check`; [`Error::Busy`] when the replier is full, and under [`Policy::Fail`] a
    /// listener; [`Refusal::Full`] in their place under the other policies; [`Error::DQuot`] when
    /// the sender cannot pay; [`Error::NoMem`]. Nothing is in any queue then, and the content is
    /// given back.
    pub(super) fn send<S: Shared<Member = M>>(
        mut self,
        shared: &S,
        mut check: impl FnMut(&mut Bus<M>) -> Result<(), Error>,
        done: impl FnOnce(&mut Bus<M>, u64),
    ) -> Result<u64, Unsent<M>> {
        let mut done = Some(done);
        let refusal = loop {
            self.earlier = self.reached.len;
            let step = shared.locked(|bus| {
                check(bus)?;
                match self.step(bus) {
                    Ok(()) => {
                        let id = self.commit(bus, shared);
                        if let Some(done) = done.take() {
                            done(bus, id);
                        }
                        Ok(id)
                    }
                    Err(pause) => {
                        match pause {
                            Pause::Refused(_) | Pause::Several => self.withdraw(self.earlier),
                            _ => self.pause(),
                        }
                        Err(pause)
                    }
                }
            });
            match step {
                Ok(id) => {
                    self.finish(shared, id);
                    return Ok(id);
                }
                Err(Pause::More) => {
                    if self.note_once().is_err() {
                        break Error::NoMem.into();
                    }
                }
                Err(Pause::List) => {
                    if !self.reached.prepare(false) {
                        break Error::NoMem.into();
                    }
                }
                Err(Pause::Copy) => self.copy(),
                Err(Pause::Several) => self.start_again(),
                Err(Pause::Refused(refusal)) => break refusal,
            }
        };
        self.cancel();
        Err(Unsent {
            refusal,
            content: self.content,
            obligation: self.obligation,
            first: self.first,
            bus_bytes: self.bus_bytes,
        })
    }

    /// Goes on with the bus locked. When it succeeds all are reached.
    fn step(&mut self, bus: &mut Bus<M>) -> Result<(), Pause<M>> {
        self.looked = 0;
        if self.pass.1 == 0 {
            self.pass = (0, bus.last_binding);
        }
        if self.policy.is_event() && !self.stamp_is_there() {
            self.bus_bytes = Some(Charge::none(&bus.bytes));
        }
        self.reach_first(bus)?;
        loop {
            self.listeners(bus)?;
            // Those who have begun to listen meanwhile get it as well.
            if bus.last_binding == self.pass.1 {
                break;
            }
            self.pass = (self.pass.1.saturating_add(1), bus.last_binding);
            self.next = (0, 0, 0);
        }
        if let Some(place) = &self.full {
            return Err(Pause::Refused(Refusal::Full {
                place: place.clone(),
                own: self.own_is_full,
            }));
        }
        match self.denied {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The one who is asked, or answered, gets its copy first.
    fn reach_first(&mut self, bus: &Bus<M>) -> Result<(), Pause<M>> {
        match &mut self.first {
            First::None => Ok(()),
            First::Asked(replier, binding) => {
                let (replier, binding) = (replier.clone(), *binding);
                if !still_answers(bus, self.head.name, &replier, binding) {
                    return Err(Pause::Refused(Refusal::Again));
                }
                if self.begun {
                    return Ok(());
                }
                self.reach_asked(bus, &replier, binding)?;
                self.begun = true;
                Ok(())
            }
            First::Answered(answer) => {
                let requester = answer.requester.clone();
                if requester.with(|queue| queue.is_closed()) {
                    return Err(Pause::Refused(Refusal::Again));
                }
                if self.begun {
                    return Ok(());
                }
                self.reach_requester(&requester)
            }
        }
    }

    /// The replier gets the request.
    fn reach_asked(&mut self, bus: &Bus<M>, member: &M, binding: u64) -> Result<(), Pause<M>> {
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
    fn reach_requester(&mut self, requester: &M) -> Result<(), Pause<M>> {
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
        entry.own = Amount {
            bytes: self.len,
            messages: 1,
        };
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
        self.reached.push(Recipient {
            member: requester.clone(),
            entry: Some(entry),
            tell: true,
            hears: 0,
            once: false,
        });
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

    /// Goes through the listeners of this pass from where it was.
    fn listeners(&mut self, bus: &Bus<M>) -> Result<(), Pause<M>> {
        let name = self.head.name;
        for place in bus.places(name) {
            let at = place.at;
            if at < self.next.0 {
                continue;
            }
            if at > self.next.0 {
                self.next = (at, 0, 0);
            }
            let from = self.next.1.max(self.pass.0);
            let mut result = Ok(());
            place.listeners_from(from, |binding, listener| {
                if binding > self.pass.1 {
                    return false;
                }
                if self.next.1 != binding {
                    self.next = (at, binding, 0);
                }
                let (member, count) = (&listener.member, listener.count);
                result = self.listener(bus, (at, place.tail), member, binding, count);
                result.is_ok()
            });
            result?;
            self.next = (at.saturating_add(1), 0, 0);
        }
        Ok(())
    }

    /// One socket gets a copy for each of its identical bindings, or one in all.
    fn listener(
        &mut self,
        bus: &Bus<M>,
        (at, tail): (usize, Tail),
        member: &M,
        binding: u64,
        count: u32,
    ) -> Result<(), Pause<M>> {
        if self.looked >= STEP {
            return Err(Pause::More);
        }
        self.looked = self.looked.saturating_add(1);
        if member.id() == self.served {
            return Ok(());
        }
        let (once, lossy) = member.with(|queue| (queue.once(), queue.lossy()));
        let mut exact = tail == Tail::Exact;
        let mut one = None;
        if once {
            // It gets its one copy at the first of its places.
            let heard = bus.heard(member, self.head.name);
            let done = self.next.2 > 0 || heard.first.is_some_and(|first| first != at);
            if done || self.has_late_copy(member) {
                return Ok(());
            }
            exact = heard.exact;
            one = Some(Cause::Once {
                last: bus.last_binding,
                replier: 0,
                listeners: heard.count.max(1),
            });
        }
        let must = !lossy
            && match self.policy {
                Policy::Miss | Policy::Unbind { .. } => false,
                Policy::Fail | Policy::Wait => true,
                Policy::Event { user } => {
                    let whose = member.user();
                    exact && (whose == user || whose == bus.owner)
                }
            };
        let count = if once { 1 } else { count };
        while self.next.2 < count {
            if self.looked > STEP {
                return Err(Pause::More);
            }
            let nth = self.next.2;
            let cause = one.unwrap_or(Cause::Binding { id: binding, nth });
            self.reach(bus, member, cause, must, false)?;
            self.next.2 = nth.saturating_add(1);
            // The first one has been counted.
            self.looked = self.looked.saturating_add(usize::from(nth > 0));
        }
        Ok(())
    }

    /// Whether a socket that wants each message once has a copy of this one since an earlier hold.
    ///
    /// The first of its places may be another one since then.
    fn has_late_copy(&self, member: &M) -> bool {
        self.once.get(&member.id()).is_some()
    }

    /// Notes who of those that want each message once has it by now. The bus is not locked.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn note_once(&mut self) -> Result<(), AllocError> {
        let earlier = self.earlier;
        for recipient in self.reached.iter_mut().skip(earlier).filter(|one| one.once) {
            let _ = self.once.insert(Node::new(recipient.member.id(), ())?);
        }
        Ok(())
    }

    /// Puts one copy in a queue, pending.
    fn reach(
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
        // Before it is seen that there is too little.
        let version = member.payer().version();
        let mut left = self.copies.left_of(member.payer());
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
                        return match member.memory() == sender.memory() {
                            true => Err(Error::NoMem.into()),
                            false => self.lacks_memory(member, must),
                        };
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
        let bytes = if event { 0 } else { self.len };
        let entry = Amount { bytes, messages: 1 };
        let offered = {
            let mut offer = Offer {
                len: self.len,
                cause,
                urgent: self.urgent,
                message,
                payer,
                own: if same { entry } else { Amount::NONE },
                left,
                stranger,
                files: files.as_ref(),
                obligation: match asked {
                    true => &mut self.obligation,
                    false => &mut None,
                },
                seat: None,
                chunk: None,
            };
            put(member, &mut offer)
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
            member: member.clone(),
            entry: Some((slot, serial)),
            tell: true,
            hears: 0,
            once: matches!(cause, Cause::Once { .. }),
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
    fn reach_beyond(
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
            Offered::Put(at, serial) => Some((at, serial)),
            Offered::Full(_) => None,
            _ => return Ok(()),
        };
        self.reached.push(Recipient {
            member: member.clone(),
            entry,
            tell: entry.is_some(),
            hears: bus.sock(member).map_or(0, |sock| sock.hears),
            once: false,
        });
        Ok(())
    }

    /// A queue has no room, or whoever pays has not enough; the version of the budget of the
    /// queue's user.
    fn refused(
        &mut self,
        member: &M,
        offered: Offered,
        version: u64,
        (must, asked): (bool, bool),
    ) -> Result<(), Pause<M>> {
        let place = match offered {
            Offered::Full(version) => Place::Queue(member.clone(), version),
            Offered::PayerBroke if asked => {
                self.denied = Some(Error::DQuot);
                return Ok(());
            }
            Offered::Broke | Offered::PayerBroke => Place::Budget(member.clone(), version),
            _ => return Ok(()),
        };
        self.cannot(member, place, must)
    }

    /// The memory cgroup of a socket is full: so is its queue.
    fn lacks_memory(&mut self, member: &M, must: bool) -> Result<(), Pause<M>> {
        member.reclaim();
        self.cannot(member, memory_of(member), must)
    }

    fn cannot(&mut self, member: &M, place: Place<M>, must: bool) -> Result<(), Pause<M>> {
        if !must {
            self.reached.push(Recipient {
                member: member.clone(),
                entry: None,
                tell: false,
                hears: 0,
                once: false,
            });
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

    /// Whether the bytes of the bus are held that the message needs.
    fn stamp_is_there(&self) -> bool {
        self.bus_bytes.is_some() || self.shared.is_some() || self.copies.any().is_some()
    }

    /// Whether one more copy cannot be made, as the first was made to be alone.
    fn lacks_shared_stamp(&self) -> bool {
        self.copies.any().is_some() && self.shared.is_none()
    }

    /// Whether the content can move into the copy for a socket.
    fn moves_to(&self, member: &M) -> bool {
        self.copies.any().is_none() && member.memory() == self.sender.memory()
    }

    /// Whether a copy for a socket can be made with the bus locked.
    fn may_copy_now(&self, member: &M) -> bool {
        self.len <= SMALL || self.moves_to(member)
    }

    /// What a copy for this socket is: a reply has been promised to its requester.
    fn need(&self, member: &M) -> Need {
        match &self.first {
            First::Answered(answer) if answer.requester.id() == member.id() => Need::Promised,
            _ => Need::Wanted,
        }
    }

    /// The descriptors for a socket, in memory of its own cgroup.
    fn files_for(&mut self, member: &M, key: Who) -> Result<Option<M::Files>, AllocError> {
        let Some(files) = self.files else {
            return Ok(None);
        };
        if member.memory() == self.sender.memory() || !member.with(|queue| queue.takes_files()) {
            return Ok(Some(files.clone()));
        }
        if let Some(copy) = self.copies.files.get(&key) {
            return Ok(Some(copy.clone()));
        }
        let need = self.need(member);
        let copy = member.within(|| M::copy_files(files, need))?;
        drop(self.copies.files.insert(Node::new(key, copy.clone())?));
        self.looked = self.looked.saturating_add(FILES_COST);
        Ok(Some(copy))
    }

    /// Makes the copy for those of one user in one memory cgroup.
    fn make_copy(
        &mut self,
        member: &M,
        key: Who,
        paid: &mut Option<Charge>,
    ) -> Result<Arc<Message<M>>, AllocError> {
        let need = self.need(member);
        if self.several && self.shared.is_none() {
            let bus_bytes = self.bus_bytes.take().ok_or(AllocError)?;
            let room = member.within(|| mem::ArcRoom::new_for(need));
            match room {
                Ok(room) => self.shared = Some(room.fill(Stamp::new(bus_bytes))),
                Err(error) => {
                    self.bus_bytes = Some(bus_bytes);
                    return Err(error);
                }
            }
        }
        let alone = self.shared.is_none();
        let mut stamp = self.shared.clone().map(Stamped::Shared);
        let moves = self.moves_to(member);
        let made = member.within(|| {
            if alone {
                let bus_bytes = self.bus_bytes.take().ok_or(AllocError)?;
                stamp = Some(Stamped::Alone(Stamp::new(bus_bytes)));
            }
            let made = match moves {
                true => Message::new(&self.head, &mut self.content, &mut stamp, paid, need),
                false => {
                    let (payload, from) = match self.copies.any() {
                        Some(first) => (first.payload(), first.from.as_ref()),
                        None => (&*self.content.payload, self.content.from.as_ref()),
                    };
                    Content::copy(payload, from, need).and_then(|mut content| {
                        Message::new(&self.head, &mut content, &mut stamp, paid, need)
                    })
                }
            };
            if let (Err(_), Some(Stamped::Alone(mut stamp))) = (&made, stamp.take()) {
                self.bus_bytes = stamp.take_bus_bytes();
            }
            made
        })?;
        self.moved |= moves;
        self.copies.add(key, made.clone())?;
        Ok(made)
    }

    /// Makes the copy for which there is room now, with the bus not locked.
    fn copy(&mut self) {
        let Some(mut claim) = self.claim.take() else {
            return;
        };
        let (at, serial) = claim.entry;
        let made = match self.copies.get(claim.key).cloned() {
            Some(message) => Ok(message),
            None => {
                let (member, paid) = (&claim.member, &mut claim.paid);
                match self.make_copy(member, claim.key, paid) {
                    // It may be the machine that is short of memory.
                    Err(_) if M::wait_for_memory(self.len as usize) => {
                        self.make_copy(member, claim.key, paid)
                    }
                    made => made,
                }
            }
        };
        cancel(claim.paid.take());
        if let Ok(message) = made {
            claim.member.with(|queue| queue.fill(at, serial, &message));
            return;
        }
        claim.member.reclaim();
        self.take_out(&claim.member, at, serial);
        let id = claim.member.id();
        for recipient in self.reached.iter_mut() {
            if recipient.member.id() == id && recipient.entry == Some((at, serial)) {
                (recipient.entry, recipient.tell) = (None, false);
            }
        }
        if claim.must {
            self.own_is_full |= id == self.sender.id();
            match self.policy {
                Policy::Wait | Policy::Event { .. } => {
                    self.full.get_or_insert(memory_of(&claim.member));
                }
                _ => self.denied = Some(Error::Busy),
            }
        }
    }

    /// A hold ends and others may send before the next one.
    fn pause(&mut self) {
        let earlier = self.earlier;
        for recipient in self.reached.iter_mut().skip(earlier) {
            if let Some((at, serial)) = recipient.entry {
                recipient.member.with(|queue| queue.mark_late(at, serial));
            }
        }
    }

    /// Sends it to all, with the bus locked.
    fn commit(&mut self, bus: &Bus<M>, shared: &impl Shared<Member = M>) -> u64 {
        let id = shared.next_id();
        if let Some(message) = self.copies.any() {
            message.send(id);
        }
        let earlier = self.earlier;
        for recipient in self.reached.iter_mut().skip(earlier) {
            if recipient.entry.is_none() {
                recipient.miss(id, self.policy, bus.last_binding);
            }
        }
        id
    }

    /// Wakes all who have it. The bus is not locked.
    fn finish(&mut self, shared: &impl Shared<Member = M>, id: u64) {
        // Of a requester that reads no more, the slot is free all the same.
        if let First::Answered(answer) = &self.first {
            if answer.entry.is_none() {
                let reserved = answer.reserved;
                answer.requester.with(|queue| queue.unreserve(reserved));
            }
        }
        let earlier = self.earlier;
        // The last first: see there.
        let now = self.reached.len.saturating_sub(earlier);
        for recipient in self.reached.iter_mut().rev().skip(now) {
            if let Some((at, serial)) = recipient.entry {
                recipient.member.with(|queue| queue.settle_late(at, serial));
            }
        }
        for (at, recipient) in self.reached.iter_mut().enumerate() {
            let late = at < earlier;
            match recipient.entry {
                Some(_) if late => {}
                // There is nothing to do, but a reader that goes to sleep looks under this lock
                // whether it has been sent.
                Some(_) => recipient.member.with(|_| ()),
                // A notice is a message of its own: later ones may have been read.
                None if late && matches!(self.policy, Policy::Unbind { .. }) => {
                    shared.locked(|bus| {
                        recipient.miss(shared.next_id(), self.policy, bus.last_binding);
                    })
                }
                None if late => recipient.miss(id, self.policy, self.pass.1),
                None => {}
            }
            if recipient.tell {
                recipient.member.wake_reader();
            }
        }
    }

    /// Takes out again what was put in queues, from this recipient on.
    ///
    /// What was put in during a hold goes in the same hold if the message is not sent. So nobody
    /// finds a queue full of it. What each entry has is dropped here, but never the last of it.
    fn withdraw(&mut self, from: usize) {
        if let First::Answered(answer) = &mut self.first {
            // The requester is the first to be reached.
            if let Some(entry) = answer.entry.take_if(|_| from == 0) {
                let reserved = answer.reserved;
                let entry = answer
                    .requester
                    .with(|queue| queue.take_answer(entry, reserved));
                answer.place = entry.and_then(|mut entry| entry.place.take());
            }
        }
        let mut reached = core::mem::replace(&mut self.reached, Recipients::new());
        for recipient in reached.iter_mut().skip(from) {
            if let Some((at, serial)) = recipient.entry.take() {
                self.take_out(&recipient.member, at, serial);
            }
        }
        self.reached = reached;
    }

    /// Takes out what was put in, and the content back. The bus is not locked.
    fn cancel(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.give_back(claim.key, claim.paid);
        }
        self.withdraw(0);
        drop(core::mem::replace(&mut self.reached, Recipients::new()));
        if let Some((key, message)) = self.copies.first.take() {
            if let Some(unsent) = Message::take_back(message) {
                if core::mem::take(&mut self.moved) {
                    self.content = unsent.content;
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

    /// What was paid for a copy that is not needed is the requester's again, if it was held for it.
    fn give_back(&mut self, key: Who, paid: Option<Charge>) {
        if let First::Answered(answer) = &mut self.first {
            let requester = &answer.requester;
            if answer.bytes.is_none() && key == (requester.payer().id(), requester.memory()) {
                answer.bytes = paid;
                return;
            }
        }
        cancel(paid);
    }

    /// Takes one entry out, and keeps what is owed for it. It is late only where the bus is not
    /// locked, and then those who poll are told of its room.
    fn take_out(&mut self, member: &M, at: u32, serial: u64) {
        let Some((mut entry, seen)) = member.with(|queue| queue.cancel(at, serial)) else {
            return;
        };
        if let Some(obligation) = entry.obligation.take() {
            self.obligation = Some(obligation);
        }
        if seen {
            wait::wake_polling(|round| member.with(|queue| queue.take_polling(round)));
        }
    }

    /// Begins anew, with copies that share their stamp.
    fn start_again(&mut self) {
        self.cancel();
        self.several = true;
        // The next one of this sender begins like that.
        self.sender.with(|queue| queue.send_several());
        (self.begun, self.served, self.earlier) = (false, 0, 0);
        self.once = Map::new();
        (self.pass, self.next) = ((0, 0), (0, 0, 0));
    }
}

impl<M: Member> Recipient<M> {
    /// It misses the message of this id; `last` is the youngest binding. If that is an event that
    /// it cannot miss, it is told so by a notice in its place.
    fn miss(&mut self, id: u64, policy: Policy, last: u64) {
        let Policy::Unbind { .. } = policy else {
            self.tell = self.member.with(|queue| queue.miss(id));
            return;
        };
        let cause = Cause::Once {
            last,
            replier: 0,
            listeners: self.hears,
        };
        let time = M::now();
        self.tell = self.member.with(|queue| queue.notice(cause, id, time));
    }
}

/// Where to wait until there may be memory of a socket's cgroup: what it reads gives some back.
/// When it has nothing to read nobody tells of that.
fn memory_of<M: Member>(member: &M) -> Place<M> {
    match member.with(|queue| (!queue.is_empty()).then_some(queue.version())) {
        Some(version) => Place::Queue(member.clone(), version),
        None => Place::Time,
    }
}

fn cancel(charge: Option<Charge>) {
    if let Some(charge) = charge {
        charge.cancel();
    }
}

/// Whether a socket still answers for a name with this binding.
fn still_answers<M: Member>(bus: &Bus<M>, name: &[u8], member: &M, binding: u64) -> bool {
    let replier = bus.replier(name);
    replier.is_some_and(|r| r.member.id() == member.id() && r.binding == binding)
}

/// Puts an offer in a queue, with the memory that it needs for that.
fn put<M: Member>(member: &M, offer: &mut Offer<'_, M>) -> Result<Offered, AllocError> {
    loop {
        // The list of chunks may grow with a chunk.
        let offered = match offer.chunk.is_some() {
            true => member.within(|| member.with(|queue| queue.offer(offer))),
            false => member.with(|queue| queue.offer(offer)),
        };
        match offered {
            Offered::NeedsSeat => {
                let user = offer.stranger.unwrap_or_default();
                offer.seat = Some(member.within(|| Node::new(user, 1))?);
            }
            Offered::NeedsChunk => offer.chunk = Some(member.within(Chunk::new)?),
            offered => return Ok(offered),
        }
    }
}
