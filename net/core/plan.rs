// SPDX-License-Identifier: GPL-2.0

//! The copies of one message: who gets one, and the room and memory for all of them.
//!
//! First everything that can fail: room is claimed in each queue, entries are allocated. Then, when
//! the message has its id, [`Plan::deliver`] puts them in.

use super::account::Amount;
use super::bus::Bus;
use super::bus::Member;
use super::claim::Ask;
use super::claim::Claim;
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
use super::message::KBUS_REPLY;
use super::message::KBUS_REQUEST;
use super::name::Tail;
use super::payer::Bill;
use super::payer::Paid;
use super::payer::Share;
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
    pub(super) sender: &'a M,
    pub(super) name: &'a [u8],
    /// The replier of a request and its binding.
    pub(super) replier: Option<(&'a M, u64)>,
    pub(super) len: usize,
    /// A socket that has got its one copy already, or 0.
    pub(super) served: u64,
    /// What will be held for the reply, which the sender pays for.
    pub(super) reply: Amount,
    /// A socket whose user has paid for the payload already.
    pub(super) paid: Option<(&'a M, &'a Share)>,
    pub(super) policy: Policy,
}

/// A queue that had no room.
pub(super) struct Full<M> {
    pub(super) member: M,
    /// The queue's version when it was seen that the message needs room there, and before it was
    /// seen that there is none.
    pub(super) version: u64,
    /// If its user's budget was used up: the version of that, read before it was seen.
    pub(super) broke: Option<u64>,
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

/// Whether there was room for a copy.
enum Room {
    /// It is the copy's now.
    Claimed,
    /// The queue is full.
    Full,
    /// Its user's budget is used up; the budget's version.
    Broke(u64),
    /// The sender's is.
    SenderBroke,
}

/// One copy of a message on its way.
struct Delivery<M: Member> {
    member: M,
    /// `None` until room has been claimed, and for good when there was none.
    slip: Option<Slip<M>>,
    claimed: bool,
    /// What the recipient's copy holds of its payer's budget.
    paid: Paid,
    /// Of that, if it is the recipient's own user.
    own: Amount,
    /// The sender, where it has been counted as a stranger.
    stranger: Option<u32>,
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
    /// Whether the first copy is a request to be answered.
    asked: bool,
    /// How many listeners have been looked at, of whom some get no copy.
    looked: u64,
    bill: Bill,
}

impl<M: Member> Drop for Plan<M> {
    fn drop(&mut self) {
        for delivery in self.list.iter() {
            if delivery.claimed {
                delivery.unclaim(self.len);
            }
        }
    }
}

impl<M: Member> Delivery<M> {
    fn unclaim(&self, len: usize) {
        let (own, stranger) = (self.own, self.stranger);
        self.member.with(|queue| queue.unclaim(len, own, stranger));
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
            paid: Paid::default(),
            own: Amount::NONE,
            stranger: None,
            must,
            cause,
            version,
        };
        mem::push(&mut self.list, delivery)
    }

    /// Whether anybody has room for a copy.
    pub(super) fn reaches_anybody(&self) -> bool {
        self.list.iter().any(|delivery| delivery.claimed)
    }

    /// Bytes that the message will hold: none if nobody will have it.
    pub(super) fn bytes(&self) -> usize {
        match self.reaches_anybody() {
            true => self.len,
            false => 0,
        }
    }

    /// Counts a message of this id, which nobody has room for, as missed.
    pub(super) fn miss(self, id: u64, wakes: &mut Wakes<M>) -> u64 {
        for delivery in self.list.iter() {
            let member = &delivery.member;
            member.with(|queue| {
                if queue.miss(id) {
                    wakes.add(member, queue.link(), READ);
                }
            });
        }
        id
    }

    /// Takes what the copies need from the budgets of those who pay. The last thing but for memory that can
    /// fail: who fails must not have had what others were refused meanwhile.
    ///
    /// Only users of other buses can have been faster since it was seen that there is enough.
    ///
    /// # Errors
    ///
    /// [`Error::DQuot`] where the `sender` lacks it, [`Refusal::Full`] where one does who must not miss the
    /// message, [`Error::NoMem`].
    pub(super) fn collect(&mut self, sender: &M) -> Result<(), Refusal<M>> {
        let mut full = Vec::new();
        for (at, delivery) in self.list.iter_mut().enumerate() {
            if !delivery.claimed {
                continue;
            }
            let asked = at == 0 && self.asked;
            let payer = match asked {
                true => sender.payer(),
                false => delivery.member.payer(),
            };
            let version = payer.version();
            match self.bill.take(payer) {
                Ok(paid) => {
                    delivery.paid = paid;
                    continue;
                }
                Err(Some(no_memory)) => return Err(no_memory.into()),
                Err(None) if asked => return Err(Error::DQuot.into()),
                Err(None) => {}
            }
            delivery.unclaim(self.len);
            delivery.claimed = false;
            delivery.slip = None;
            if delivery.must {
                let full_one = Full {
                    member: delivery.member.clone(),
                    version: delivery.version,
                    broke: Some(version),
                };
                mem::push(&mut full, full_one)?;
            }
        }
        match full.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Full(full)),
        }
    }

    /// Puts the copies in the queues; a debt goes with the first of them.
    ///
    /// So do a request's descriptors. Those of an announcement go with each copy, those of a reply with none
    /// of these.
    pub(super) fn deliver(
        mut self,
        message: &Arc<Message<M>>,
        mut debt: Option<Bond<M>>,
        files: Option<&M::Files>,
        wakes: &mut Wakes<M>,
    ) {
        let len = self.len;
        for delivery in self.list.iter_mut() {
            let member = &delivery.member;
            delivery.claimed = false;
            let own = delivery.own;
            let slip = delivery.slip.take().map(|mut slip| {
                slip.value.body = Body::Message(message.clone());
                slip.value.debt = debt.take();
                slip.value.paid = core::mem::take(&mut delivery.paid);
                slip.value.own = own != Amount::NONE;
                slip.value.stranger = delivery.stranger;
                slip
            });
            let announced = message.flags & (KBUS_REQUEST | KBUS_REPLY) == 0;
            let answers = slip.as_ref().is_some_and(|slip| slip.value.debt.is_some());
            let files = files.filter(|_| announced || answers);
            member.with(|queue| {
                let tell = match slip {
                    Some(slip) => {
                        queue.fill(len, own);
                        queue.push_with(slip, files);
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
    /// [`Refusal::Full`] in their place under the other policies; [`Error::DQuot`] when the sender
    /// cannot pay for the replier's copy; [`Error::NoMem`].
    pub(super) fn plan(&mut self, target: &Target<'_, M>) -> Result<Plan<M>, Refusal<M>> {
        let mut plan = self.recipients(target)?;
        self.looked = self.looked.saturating_add(plan.looked);
        let mut bill = Bill::new(match target.policy {
            Policy::Event { .. } => 0,
            _ => target.len,
        });
        if let Some((member, share)) = target.paid {
            bill.add_paid(member.payer(), share)?;
        }
        if target.replier.is_some() {
            bill.add_reply(target.sender.payer(), target.reply)?;
        }
        let mut full = Vec::new();
        let mut sender_broke = false;
        for (at, delivery) in plan.list.iter_mut().enumerate() {
            let asked = at == 0 && target.replier.is_some();
            let broke = match self.claim(target, delivery, asked, &mut bill)? {
                Room::Claimed => continue,
                Room::SenderBroke => {
                    sender_broke = true;
                    continue;
                }
                Room::Full => None,
                Room::Broke(version) => Some(version),
            };
            if !delivery.must {
                continue;
            }
            if matches!(target.policy, Policy::Miss | Policy::Fail) {
                return Err(Error::Busy.into());
            }
            let (member, version) = (delivery.member.clone(), delivery.version);
            let full_one = Full {
                member,
                version,
                broke,
            };
            mem::push(&mut full, full_one)?;
        }
        if !full.is_empty() {
            return Err(Refusal::Full(full));
        }
        if sender_broke {
            return Err(Error::DQuot.into());
        }
        for delivery in plan.list.iter_mut().filter(|d| d.claimed) {
            let entry = Entry::blank(delivery.cause, Origin::Made);
            delivery.slip = Some(Item::new(entry)?);
        }
        plan.bill = bill;
        Ok(plan)
    }

    /// Claims room for one copy, and sees whether who pays for it can: of a request that is to be answered the
    /// sender, of all else the one whose queue it is. For the payload of a bind event nobody pays.
    fn claim(
        &self,
        target: &Target<'_, M>,
        delivery: &mut Delivery<M>,
        asked: bool,
        bill: &mut Bill,
    ) -> Result<Room, AllocError> {
        let (member, sender) = (&delivery.member, target.sender);
        let user = member.payer();
        let payer = if asked { sender.payer() } else { user };
        let free = matches!(target.policy, Policy::Event { .. });
        let may_fill = sender.user() == self.owner || sender.payer().id() == user.id();
        let version = user.version();
        let mut left = bill.left(user);
        if free {
            left.bytes = u64::MAX;
        }
        let ask = Ask {
            len: target.len,
            stranger: (!may_fill).then_some(sender.payer().id()),
            own: match payer.id() == user.id() {
                true => bill.price(),
                false => Amount::NONE,
            },
            left,
        };
        let mut seat = None;
        let counted = loop {
            match member.with(|queue| queue.claim(&ask, &mut seat)) {
                Claim::Room { counted } => break counted,
                Claim::NoSeat => seat = Some(Node::new(0, 0)?),
                Claim::Full => return Ok(Room::Full),
                Claim::Broke => return Ok(Room::Broke(version)),
            }
        };
        delivery.own = ask.own;
        delivery.stranger = ask.stranger.filter(|_| counted);
        delivery.claimed = true;
        if !bill.can_pay(payer) {
            delivery.unclaim(target.len);
            delivery.claimed = false;
            return Ok(match asked {
                true => Room::SenderBroke,
                false => Room::Broke(version),
            });
        }
        bill.add(payer)?;
        Ok(Room::Claimed)
    }

    /// Who gets a copy, the replier first; nothing is claimed yet.
    fn recipients(&self, target: &Target<'_, M>) -> Result<Plan<M>, Refusal<M>> {
        let mut plan = Plan {
            list: Vec::new(),
            len: target.len,
            asked: target.replier.is_some(),
            looked: 0,
            bill: Bill::new(target.len),
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
                true => Cause::Once {
                    last,
                    replier,
                    listeners: 0,
                },
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
            plan.looked = plan.looked.saturating_add(1);
            if listener.peer == target.served {
                return Ok(());
            }
            // In one look: the version tells whether a setting has changed after it.
            let (gone, once, lossy, version) = listener.member.with(|queue| {
                let gone = queue.read_shut();
                (gone, queue.once(), queue.lossy(), queue.version())
            });
            if gone {
                return Ok(());
            }
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
                plan.looked = plan.looked.saturating_add(u64::from(listener.count));
                return Ok((0..listener.count).try_for_each(|nth| {
                    plan.push(&listener.member, Cause::Binding { id, nth }, must, version)
                })?);
            }
            if let Some(at) = merged.get(listener.peer) {
                if let Some(delivery) = plan.list.get_mut(*at) {
                    delivery.must |= must;
                    if let Cause::Once { listeners, .. } = &mut delivery.cause {
                        *listeners = listeners.saturating_add(1);
                    }
                }
                return Ok(());
            }
            merged.insert(Node::new(listener.peer, plan.list.len())?, listener.peer);
            let cause = Cause::Once {
                last,
                replier: 0,
                listeners: 1,
            };
            Ok(plan.push(&listener.member, cause, must, version)?)
        })?;
        Ok(plan)
    }
}
