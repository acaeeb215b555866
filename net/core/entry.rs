// SPDX-License-Identifier: GPL-2.0

//! What a queue holds: the copies of messages, and how a reader sees them.

use super::account::Amount;
use super::account::Charge;
use super::bus::Member;
use super::list::Item;
use super::mem::Arc;
use super::mem::Box;
use super::mem::Vec;
use super::message;
use super::message::Fault;
use super::message::Message;
use super::message::Via;
use super::message::KBUS_HAD_FDS;
use super::message::KBUS_REQUEST;
use super::message::KBUS_STATUS;
use super::message::KBUS_YOU_REPLY;
use super::payer::Paid;
use super::tree::Node;

/// An entry in its box.
pub type Slip<M> = Box<Item<Entry<M>>>;
/// A debt in its box.
pub type Bond<M> = Box<Node<Debt<M>>>;

/// A request that has been sent and not been answered yet; its number is the request's id.
pub struct Debt<M: Member> {
    /// Who asked.
    pub(super) requester: M,
    /// Who was asked.
    pub(super) replier: u64,
    /// What the requester wants to see again.
    pub(super) cookie: u64,
    /// The request's name.
    pub(super) name: Vec<u8>,
    /// Bytes of the bus that are held for the reply.
    pub(super) reserved: Charge,
    /// Bytes of its requester's budget that are held for the reply.
    pub(super) purse: Charge,
    /// How much was held for it from the start.
    pub(super) promised: Amount,
    /// The entry for the reply or status in the requester's queue, with its place among the messages of its user.
    pub(super) blank: Option<Slip<M>>,
    /// Why it will not be paid; means something once that is certain.
    pub(super) fault: Fault,
}

/// A status: there will be no reply.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) in_reply_to: u64,
    pub(super) sender: u64,
    /// Who asked.
    pub(super) to: u64,
    pub(super) fault: Fault,
    pub(super) time: i64,
}

/// What an entry holds.
#[derive(Clone)]
pub(super) enum Body<M: Member> {
    /// Nothing yet.
    Blank,
    /// A message.
    Message(Arc<Message<M>>),
    /// A status.
    Status(Status),
    /// Unbind events of sockets that died had no room; the id and the time.
    EventsLost(u64, i64),
    /// Messages were missed here; the id of the last of them.
    Lost(u64),
}

/// What let an entry in, and takes it along when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No binding: the answer to one's own request, or what was asked for by an option.
    Own,
    /// One binding, and which of identical ones.
    Binding {
        /// Its id.
        id: u64,
        /// Which of identical ones.
        nth: u32,
    },
    /// All bindings that matched, as the socket wants each message once.
    Once {
        /// The youngest binding there was.
        last: u64,
        /// The replier binding among them, or 0.
        replier: u64,
        /// Listener bindings among them that are still there, identical ones counted once.
        listeners: u32,
    },
}

/// Whose memory an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made for this message.
    Made,
    /// Of the bus's pool for unbind events.
    Pool,
    /// Of the listener binding of this id.
    Spare(u64),
}

/// The place of one copy of a message in one queue.
pub struct Entry<M: Member> {
    pub(super) body: Body<M>,
    pub(super) cause: Cause,
    pub(super) origin: Origin,
    /// The request's, in a reply or status.
    pub(super) cookie: u64,
    /// What the reader owes once it has read this.
    pub(super) debt: Option<Bond<M>>,
    /// Descriptors for the reader of this copy.
    pub(super) files: Option<M::Files>,
    /// Names it while it is in the queue.
    pub(super) token: u64,
    /// What was missed before it.
    pub(super) gap: Gap,
    /// What somebody pays for it.
    pub(super) paid: Paid,
    /// Whether the user who pays is the one whose queue this is.
    pub(super) own: bool,
    /// Who sent it, if that user may not fill the queue.
    pub(super) stranger: Option<u32>,
}

impl<M: Member> Entry<M> {
    /// An entry without content.
    pub(super) fn blank(cause: Cause, origin: Origin) -> Self {
        Entry {
            body: Body::Blank,
            cause,
            origin,
            cookie: 0,
            debt: None,
            files: None,
            token: 0,
            gap: Gap::NONE,
            paid: Paid::default(),
            own: false,
            stranger: None,
        }
    }

    /// Bytes of payload.
    pub(super) fn len(&self) -> usize {
        match &self.body {
            Body::Message(message) => message.payload.len(),
            _ => 0,
        }
    }

    /// What the user pays for it whose queue this is.
    pub(super) fn own_amount(&self) -> Amount {
        if !self.own {
            return Amount::NONE;
        }
        Amount {
            bytes: match self.paid.share {
                Some(_) => self.len() as u64,
                None => 0,
            },
            messages: u64::from(self.paid.place.is_some()),
        }
    }

    /// The message's name; a status has none that a binding could match.
    pub(super) fn name(&self) -> &[u8] {
        match &self.body {
            Body::Message(message) => &message.name,
            Body::EventsLost(..) => message::BIND_EVENT,
            _ => &[],
        }
    }

    /// Whether it went to the front.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(&self.body, Body::Message(m) if m.flags & message::KBUS_URGENT != 0)
    }

    /// Descriptors that its reader gets, as things stand now.
    ///
    /// Those of a request are for who has to answer it. A copy that has become a listener's keeps them
    /// until it goes, as nothing may be dropped where that happens.
    fn files(&self) -> Option<&M::Files> {
        match &self.body {
            Body::Message(m) if m.flags & KBUS_REQUEST != 0 && self.debt.is_none() => None,
            _ => self.files.as_ref(),
        }
    }
}

/// Messages that had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) count: u32,
    /// Id of the last of them.
    pub(super) last: u64,
}

impl Gap {
    pub(super) const NONE: Gap = Gap { count: 0, last: 0 };

    /// One more, or those of a place that is no more.
    pub(super) fn add(&mut self, other: Gap) {
        self.count = self.count.saturating_add(other.count);
        self.last = self.last.max(other.last);
    }

    /// So many have been told.
    pub(super) fn told(&mut self, count: u32) {
        self.count = self.count.saturating_sub(count);
    }
}

/// Names what [`Queue::front`](super::queue::Queue::front) showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// An entry.
    Entry(u64),
    /// The news that so many were missed, which is no entry.
    Gap(u32),
}

/// The first message of a queue, as its reader sees it.
pub struct View<M: Member> {
    /// Names it in [`Queue::consume`](super::queue::Queue::consume).
    pub token: Token,
    /// The message's id.
    pub id: u64,
    /// All flags, `KBUS_YOU_REPLY` among them.
    pub flags: u32,
    /// The request's cookie, in its requester's reply or status.
    pub cookie: u64,
    /// Who sent it; of a status, whom it is about.
    pub sender: u64,
    /// Requester of a reply or status, target of a stateful request, else 0.
    pub to: u64,
    /// Id of the request that this answers, or 0.
    pub in_reply_to: u64,
    /// Messages missed between the previous one and this one.
    pub lost: u32,
    /// Of a status: why there is no reply, else 0.
    pub error: i32,
    /// Bytes of payload.
    pub len: usize,
    /// When it was sent, by [`Member::now`].
    pub time: i64,
    /// Descriptors that come with it.
    pub files: Option<M::Files>,
    body: Body<M>,
}

impl<M: Member> View<M> {
    /// The news of a gap, which is told now.
    pub(super) fn of_gap(gap: Gap) -> Self {
        View {
            time: M::now(),
            ..View::blank(gap)
        }
    }

    fn blank(gap: Gap) -> Self {
        View {
            token: Token::Gap(gap.count),
            id: gap.last,
            flags: KBUS_STATUS,
            cookie: 0,
            sender: 0,
            to: 0,
            in_reply_to: 0,
            lost: gap.count,
            error: 0,
            len: 0,
            time: 0,
            files: None,
            body: Body::Lost(gap.last),
        }
    }

    /// An entry.
    pub(super) fn of(entry: &Entry<M>) -> Self {
        let mut view = View {
            token: Token::Entry(entry.token),
            cookie: entry.cookie,
            lost: entry.gap.count,
            len: entry.len(),
            body: entry.body.clone(),
            files: entry.files().cloned(),
            ..View::blank(Gap::NONE)
        };
        match &entry.body {
            Body::Message(message) => {
                view.id = message.id();
                view.flags = message.flags;
                view.sender = message.sender;
                view.to = message.to;
                view.in_reply_to = message.in_reply_to;
                view.time = message.time();
                if view.files.is_some() {
                    view.flags &= !KBUS_HAD_FDS;
                }
            }
            Body::Status(status) => {
                view.id = status.id;
                view.sender = status.sender;
                view.to = status.to;
                view.in_reply_to = status.in_reply_to;
                view.error = status.fault.number();
                view.time = status.time;
            }
            Body::EventsLost(id, time) => (view.id, view.time) = (*id, *time),
            Body::Lost(id) => view.id = *id,
            Body::Blank => {}
        }
        if entry.debt.is_some() {
            view.flags |= KBUS_YOU_REPLY;
        }
        view
    }

    /// The message itself; what the bus says by itself has none.
    pub fn message(&self) -> Option<&Arc<Message<M>>> {
        match &self.body {
            Body::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        match &self.body {
            Body::Message(message) => &message.name,
            Body::Status(status) => status.fault.name(),
            Body::EventsLost(..) => message::EVENTS_LOST,
            Body::Lost(_) => message::LOST,
            Body::Blank => &[],
        }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Message(message) => &message.payload,
            _ => &[],
        }
    }

    /// What a bridge says about it.
    pub fn via(&self) -> Option<Via> {
        self.message().and_then(|message| message.via)
    }

    /// Who sent it; `None`: the bus.
    pub fn from(&self) -> Option<&M::Sender> {
        self.message().and_then(|message| message.from.as_ref())
    }

    /// Whether the reader must answer it, so that its address carries the request's id.
    pub fn must_reply(&self) -> bool {
        self.flags & KBUS_YOU_REPLY != 0
    }
}
