// SPDX-License-Identifier: GPL-2.0

//! What a queue holds: the copies of messages, and how a reader sees them.

use super::account::Amount;
use super::account::One;
use super::mem::Arc;
use super::mem::Box;
use super::message;
use super::message::Message;
use super::message::Via;
use super::message::KBUS_HAD_FDS;
use super::message::KBUS_REQUEST;
use super::message::KBUS_STATUS;
use super::message::KBUS_YOU_REPLY;
use super::obligation::Obligation;
use super::obligation::Status;
use super::peer::Peer;

/// What an entry holds.
#[derive(Clone)]
pub(super) enum Body<M: Peer> {
    /// Nothing yet: room for a message that is still being copied.
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

/// What is here beyond the limit of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Nothing of that kind.
    No,
    /// The event that a socket which died has given a name up.
    Unbind,
    /// The notice that such events were lost.
    Notice,
}

/// The place of one copy of a message in one queue.
pub struct Entry<M: Peer> {
    pub(super) body: Body<M>,
    pub(super) cause: Cause,
    pub(super) extra: Extra,
    /// Bytes of payload.
    pub(super) len: u64,
    /// Whether it goes to the front.
    pub(super) urgent: bool,
    /// The request's, in a reply or status.
    pub(super) cookie: u64,
    /// What the reader owes once it has read this.
    pub(super) obligation: Option<Box<Obligation<M>>>,
    /// Descriptors for the reader of this copy.
    pub(super) files: Option<M::Files>,
    /// Names it while it is in the queue.
    pub(super) serial: u64,
    /// It was put in by a send that took several holds of the bus lock: its place need not be that
    /// of its id.
    pub(super) late: bool,
    /// The last removal that has looked at it.
    pub(super) looked_at: u64,
    /// What was missed before it.
    pub(super) gap: Gap,
    /// Its place among the messages of whoever pays.
    pub(super) place: One,
    /// What the user pays for it whose queue this is.
    pub(super) own: Own,
    /// Who sent it, if that user may not fill the queue, or [`NOBODY`].
    pub(super) stranger: u64,
}

/// No user: none has this number.
pub(super) const NOBODY: u64 = u64::MAX;

/// What the user pays for an entry whose queue it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Nothing: somebody else pays.
    Nothing,
    /// One message without its bytes.
    Message,
    /// One message and its bytes.
    All,
}

impl<M: Peer> Entry<M> {
    /// An entry of so many bytes of payload, without content.
    pub(super) fn blank(cause: Cause, len: u64) -> Self {
        Entry {
            body: Body::Blank,
            cause,
            extra: Extra::No,
            len,
            urgent: false,
            cookie: 0,
            obligation: None,
            files: None,
            serial: 0,
            late: false,
            looked_at: 0,
            gap: Gap::NONE,
            place: One::NONE,
            own: Own::Nothing,
            stranger: NOBODY,
        }
    }

    /// What the user pays for it whose queue this is.
    pub(super) fn paid(&self) -> Amount {
        match self.own {
            Own::Nothing => Amount::NONE,
            Own::Message => Amount {
                bytes: 0,
                messages: 1,
            },
            Own::All => Amount {
                bytes: self.len,
                messages: 1,
            },
        }
    }

    /// The id of its message, or 0 while that is pending.
    pub(super) fn id(&self) -> u64 {
        match &self.body {
            Body::Blank => 0,
            Body::Message(message) => message.id(),
            Body::Status(status) => status.id,
            Body::EventsLost(id, _) | Body::Lost(id) => *id,
        }
    }

    /// The message's name; a status has none that a binding could match.
    pub(super) fn name(&self) -> &[u8] {
        match &self.body {
            Body::Message(message) => message.name(),
            Body::EventsLost(..) => message::BIND_EVENT,
            _ => &[],
        }
    }

    /// Descriptors that its reader gets, as things stand now.
    ///
    /// Those of a request are for who has to answer it. A copy that has become a listener's keeps
    /// them until it goes, as nothing may be dropped where that happens.
    fn files(&self) -> Option<&M::Files> {
        match &self.body {
            Body::Message(m) if m.flags & KBUS_REQUEST != 0 && self.obligation.is_none() => None,
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
    /// An entry: its slot and serial number, and how many were missed before it.
    Entry(u32, u64, u32),
    /// The news that so many were missed, which is no entry.
    Gap(u32),
}

/// The first message of a queue, as its reader sees it.
pub struct View<M: Peer> {
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
    /// When it was sent, by [`Peer::now`].
    pub time: i64,
    /// Descriptors that come with it.
    pub files: Option<M::Files>,
    body: Body<M>,
}

impl<M: Peer> View<M> {
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
    #[inline(always)]
    pub(super) fn of(slot: u32, entry: &Entry<M>) -> Self {
        let mut view = View {
            token: Token::Entry(slot, entry.serial, entry.gap.count),
            cookie: entry.cookie,
            lost: entry.gap.count,
            len: entry.len as usize,
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
        if entry.obligation.is_some() {
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
            Body::Message(message) => message.name(),
            Body::Status(status) => status.fault.name(),
            Body::EventsLost(..) => message::EVENTS_LOST,
            Body::Lost(_) => message::LOST,
            Body::Blank => &[],
        }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Message(message) => message.payload(),
            _ => &[],
        }
    }

    /// What a bridge says about it.
    pub fn via(&self) -> Option<Via> {
        self.message().and_then(|message| message.via())
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
