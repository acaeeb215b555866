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

mod copies;
mod end;
mod here;
mod plain;
mod reach;
mod recipients;

use super::account::Amount;
use super::account::Charge;
use super::account::One;
use super::bus::Bus;
use super::bus::Shared;
use super::bus::STEP;
use super::entry::Cause;
use super::error::Error;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Box;
use super::mem::Map;
use super::mem::Node;
use super::message::Content;
use super::message::Head;
use super::message::Stamp;
use super::message::KBUS_URGENT;
use super::name::Name;
use super::name::Tail;
use super::obligation::Obligation;
use super::queue::Member;
use super::recipient::Recipient;
use super::wait::Place;
use copies::Copies;
use copies::Who;
use reach::Plainly;
use recipients::Recipients;

pub(super) use plain::grow;
pub(super) use plain::Plain;

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
pub(super) enum Pause<M: Member> {
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
    pub(super) place: One,
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
        place: One,
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
    /// The memory cgroup of the sending task.
    memory: usize,
    head: Head<'a>,
    policy: Policy,
    first: First<M>,
    /// Whether that one was found in this very hold of the bus lock.
    found_now: bool,
    /// Whether that one has been reached.
    begun: bool,
    urgent: bool,
    /// Whether listeners get nothing but the message, and a full one misses it.
    plain: bool,
    len: u64,
    /// Payload and sender, until they are `moved` into the first copy.
    content: &'a mut Content<M>,
    moved: bool,
    /// Somebody else has taken out an entry of it.
    held_elsewhere: bool,
    /// Payload and sender are lost: somebody else has them, and there was no memory for a copy.
    spent: bool,
    /// An entry that is the one copy of its socket and has just got its content.
    filled: Option<(M, u32, u64)>,
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

impl<'a, M: Member> Fanout<'a, M> {
    /// A message of `sender` that nobody has yet.
    pub(super) fn new(
        sender: &'a M,
        head: Head<'a>,
        policy: Policy,
        content: &'a mut Content<M>,
        files: Option<&'a M::Files>,
    ) -> Self {
        Fanout {
            sender,
            memory: sender.task_memory(),
            head,
            policy,
            first: First::None,
            found_now: false,
            begun: false,
            urgent: head.flags & KBUS_URGENT != 0,
            plain: policy == Policy::Miss && files.is_none(),
            len: content.payload.len() as u64,
            content,
            moved: false,
            held_elsewhere: false,
            spent: false,
            filled: None,
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
                lacking: Map::new(),
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
    /// where it was.
    pub(super) fn send<S: Shared<Member = M>>(
        &mut self,
        shared: &S,
        mut check: impl FnMut(&mut Bus<M>) -> Result<(), Error>,
        done: impl FnOnce(&mut Bus<M>, u64),
    ) -> Result<u64, Refusal<M>> {
        let mut done = Some(done);
        let step = shared.locked(|bus| {
            check(bus)?;
            self.hold(bus, shared, &mut done)
        });
        self.send_on(shared, check, done, step)
    }

    /// One hold of the bus lock: as far as it goes. [`Fanout::send_on`] must follow.
    fn hold<S: Shared<Member = M>>(
        &mut self,
        bus: &mut Bus<M>,
        shared: &S,
        done: &mut Option<impl FnOnce(&mut Bus<M>, u64)>,
    ) -> Result<u64, Pause<M>> {
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
    }

    /// Goes on after a hold of the bus lock that has ended like this, as [`Fanout::send`] does.
    #[inline(never)]
    fn send_on<S: Shared<Member = M>>(
        &mut self,
        shared: &S,
        mut check: impl FnMut(&mut Bus<M>) -> Result<(), Error>,
        mut done: Option<impl FnOnce(&mut Bus<M>, u64)>,
        mut step: Result<u64, Pause<M>>,
    ) -> Result<u64, Refusal<M>> {
        let refusal = loop {
            match step {
                Ok(id) => {
                    self.finish(shared, id);
                    return Ok(id);
                }
                Err(Pause::More) => {
                    if self.paused().is_err() {
                        break Error::NoMem.into();
                    }
                }
                Err(Pause::List) => {
                    if !self.reached.prepare(false) || self.paused().is_err() {
                        break Error::NoMem.into();
                    }
                }
                Err(Pause::Copy) => {
                    if self.paused().is_err() {
                        break Error::NoMem.into();
                    }
                    self.copy();
                }
                Err(Pause::Several) => {
                    self.start_again();
                    if self.spent {
                        break Error::Spent.into();
                    }
                }
                Err(Pause::Refused(refusal)) => break refusal,
            }
            self.earlier = self.reached.len();
            self.looked = 0;
            step = shared.locked(|bus| {
                check(bus)?;
                self.hold(bus, shared, &mut done)
            });
        };
        self.cancel();
        let refusal = match (refusal, self.full.take()) {
            // Of the version that its queue has now.
            (Refusal::Full { own, .. }, Some(place)) => Refusal::Full { place, own },
            (refusal, _) => refusal,
        };
        let refusal = match self.spent {
            true => Error::Spent.into(),
            false => refusal,
        };
        Err(refusal)
    }

    /// Goes on with the bus locked. When it succeeds all are reached.
    fn step(&mut self, bus: &mut Bus<M>) -> Result<(), Pause<M>> {
        self.recount_filled(bus);
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
                let found_now = core::mem::take(&mut self.found_now);
                if !found_now && !still_answers(bus, self.head.name, &replier, binding) {
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

    /// Goes through the listeners of this pass from where it was.
    fn listeners(&mut self, bus: &Bus<M>) -> Result<(), Pause<M>> {
        let mut result = Ok(());
        bus.each_place(self.head.name, |place| {
            let at = place.at;
            if at < self.next.0 {
                return true;
            }
            if at > self.next.0 {
                self.next = (at, 0, 0);
            }
            let from = self.next.1.max(self.pass.0);
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
            if result.is_ok() {
                self.next = (at.saturating_add(1), 0, 0);
            }
            result.is_ok()
        });
        result
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
        let plainly = match count == 1 && self.next.2 == 0 {
            true => self.reach_plainly(bus, member, binding),
            false => Plainly::Untried,
        };
        let (once, lossy) = match plainly {
            Plainly::Done => {
                self.next.2 = 1;
                return Ok(());
            }
            Plainly::NotOnce => (false, false),
            Plainly::Untried => member.with(|queue| (queue.once(), queue.lossy())),
        };
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

    /// Bindings may have gone that let in an entry when it had no content yet, and no name.
    fn recount_filled(&mut self, bus: &Bus<M>) {
        let Some((member, at, serial)) = self.filled.take() else {
            return;
        };
        let count = bus.heard(&member, self.head.name).count;
        if member.with(|queue| queue.recount(at, serial, count)) {
            self.take_out_last(at, serial);
        }
    }

    /// Whether a socket that wants each message once has a copy of this one since an earlier hold.
    ///
    /// The first of its places may be another one since then.
    fn has_late_copy(&self, member: &M) -> bool {
        self.once.get(&member.id()).is_some()
    }

    /// Tells readers of the gaps that entries had which have become late, and notes who of those
    /// that want each message once has it by now. The bus is not locked.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn paused(&mut self) -> Result<(), AllocError> {
        let earlier = self.earlier;
        self.reached.each_from(earlier, Recipient::tell_given_back);
        for at in earlier..self.reached.len() {
            let recipient = self.reached.get_mut(at).filter(|recipient| recipient.once);
            if let Some(recipient) = recipient {
                let _ = self.once.insert(Node::new(recipient.member.id(), ())?);
            }
        }
        Ok(())
    }
}

/// Whether a socket still answers for a name with this binding.
fn still_answers<M: Member>(bus: &Bus<M>, name: Name<'_>, member: &M, binding: u64) -> bool {
    let replier = bus.replier(name);
    replier.is_some_and(|r| r.member.id() == member.id() && r.binding == binding)
}
