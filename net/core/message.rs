// SPDX-License-Identifier: GPL-2.0

//! A message, shared by its recipients.
//!
//! Those who share one are the recipients of one user in one memory cgroup: each of the others has
//! a copy of its own, so that nobody pays for what somebody else has not read.
//!
//! A message is put in queues before it is certain that it will be sent. Until it has its id it is
//! *pending*: it takes room, and readers pass it by. To give it its id is the one step that sends
//! it, to all its recipients.

use super::account::Charge;
use super::data::Data;
use super::data::Payload;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Counter;
use super::mem::Need;
use super::name::Name;
use super::peer::Peer;
use super::peer::Trace;

pub use super::data::Via;

/// A reply is wanted, and one is guaranteed.
pub const KBUS_REQUEST: u32 = 1 << 0;
/// To the front of each queue.
pub const KBUS_URGENT: u32 = 1 << 1;
/// To every matching queue or to none.
pub const KBUS_ALL_OR_FAIL: u32 = 1 << 2;
/// To every matching queue, and wait until that can be done.
pub const KBUS_ALL_OR_WAIT: u32 = 1 << 3;
/// Received: the reader must answer this request.
pub const KBUS_YOU_REPLY: u32 = 1 << 4;
/// Received: this is a reply.
pub const KBUS_REPLY: u32 = 1 << 5;
/// Received: this comes from the bus itself.
pub const KBUS_STATUS: u32 = 1 << 6;
/// Received: there were descriptors that this reader did not get.
pub const KBUS_HAD_FDS: u32 = 1 << 7;
/// The user's own bits, passed on untouched.
pub const KBUS_USER_FLAGS: u32 = 0xffff_0000;
/// What a sender may ask for.
pub const SEND_FLAGS: u32 =
    KBUS_REQUEST | KBUS_URGENT | KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT | KBUS_USER_FLAGS;

/// Name of the event that a replier binding has come or gone.
pub const BIND_EVENT: &[u8] = b"$.KBUS.ReplierBindEvent";
/// Name of the news that there were more unbind events than could be kept.
pub const EVENTS_LOST: &[u8] = b"$.KBUS.UnbindEventsLost";
/// Name of the news that messages were missed.
pub const LOST: &[u8] = b"$.KBUS.Lost";

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The replier closed before reading the request.
    GoneAway,
    /// It read the request and closed, or gave it up, without replying.
    Ignored,
    /// It gave up the name before reading the request.
    Unbound,
    /// Reserved.
    Disappeared,
    /// Reserved.
    ErrorSending,
}

impl Fault {
    /// The number a program sees.
    pub const fn number(self) -> i32 {
        match self {
            Fault::GoneAway => 1,
            Fault::Ignored => 2,
            Fault::Unbound => 3,
            Fault::Disappeared => 4,
            Fault::ErrorSending => 5,
        }
    }

    /// The name of the status message.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Fault::GoneAway => b"$.KBUS.Replier.GoneAway",
            Fault::Ignored => b"$.KBUS.Replier.Ignored",
            Fault::Unbound => b"$.KBUS.Replier.Unbound",
            Fault::Disappeared => b"$.KBUS.Replier.Disappeared",
            Fault::ErrorSending => b"$.KBUS.ErrorSending",
        }
    }
}

/// What the copies of one message have in common: the id and time that it gets when it is sent.
pub(super) struct Stamp {
    /// 0 while it is pending.
    id: Counter,
    time: Counter,
    /// The bytes of the bus that the message holds.
    bus_bytes: Option<Charge>,
}

impl Stamp {
    /// That of a message that is pending.
    pub(super) fn new(bus_bytes: Charge) -> Self {
        Stamp {
            id: Counter::new(0),
            time: Counter::new(0),
            bus_bytes: Some(bus_bytes),
        }
    }

    /// Takes the bytes of the bus out, of a message that is not sent after all.
    pub(super) fn take_bus_bytes(&mut self) -> Option<Charge> {
        self.bus_bytes.take()
    }

    fn set(&self, id: u64, time: i64) {
        self.time.set(time as u64);
        // Last: whoever sees the id sees the time. A full barrier: whoever goes to sleep and does
        // not see the id is seen by who looks for sleepers after this.
        let _ = self.id.swap(id);
    }
}

/// Where a message has its stamp.
pub(super) enum Stamped {
    /// It is the only copy.
    Alone(Stamp),
    /// One of several.
    Shared(Arc<Stamp>),
}

/// One message, as one user has it in one memory cgroup.
pub struct Message<M: Peer> {
    stamp: Stamped,
    /// The flags that all recipients see.
    pub flags: u32,
    /// Peer id of the sender.
    pub sender: u64,
    /// Requester of a reply, target of a stateful request, else 0.
    pub to: u64,
    /// Id of the request that this answers, or 0.
    pub in_reply_to: u64,
    /// Name, payload, and what a bridge says.
    data: Data,
    /// Who sent it; `None`: the bus.
    pub from: Option<M::Sender>,
    /// The payload's bytes of the user who pays for this copy.
    paid: Option<Charge>,
}

/// What is the same in all copies of a message.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) flags: u32,
    pub(super) sender: u64,
    pub(super) to: u64,
    pub(super) in_reply_to: u64,
    pub(super) name: Name<'a>,
    pub(super) via: Option<Via>,
}

impl Head<'_> {
    /// Tells whoever traces what is sent that this is, with so many bytes of payload.
    #[inline]
    pub(super) fn trace<M: Peer>(&self, sender: &M, id: u64, len: u64) {
        // What the bus says by itself nobody has sent.
        if !M::is_send_traced() || self.sender == 0 {
            return;
        }
        sender.trace(Trace::Send {
            id,
            flags: self.flags,
            len: len as u32,
            name: self.name.text(),
            answers: (self.flags & KBUS_REPLY != 0).then_some((self.to, self.in_reply_to)),
        });
    }
}

/// Payload and sender of a message on their way into a copy of it, and back out of it.
pub struct Content<M: Peer> {
    /// The payload. A long one is taken when somebody gets the message.
    pub payload: Payload,
    /// Who sends it; taken then, too.
    pub from: Option<M::Sender>,
}

impl<M: Peer> Default for Content<M> {
    fn default() -> Self {
        Content::new(Payload::default())
    }
}

impl<M: Peer> Content<M> {
    /// A payload that nobody sends yet.
    pub fn new(payload: Payload) -> Self {
        Content {
            payload,
            from: None,
        }
    }

    /// Another one, for another copy.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn copy(
        payload: &[u8],
        from: Option<&M::Sender>,
        need: Need,
    ) -> Result<Self, AllocError> {
        Ok(Content {
            payload: Payload::copy(payload, need)?,
            from: from.map(|from| M::copy_sender(from, need)).transpose()?,
        })
    }
}

impl<M: Peer> Message<M> {
    /// Makes a message that is pending. Content, stamp and charge are taken when it succeeds.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn new(
        head: &Head<'_>,
        content: &mut Content<M>,
        stamp: &mut Option<Stamped>,
        paid: &mut Option<Charge>,
        need: Need,
    ) -> Result<Arc<Self>, AllocError> {
        let mut data = Data::new(head.name.text(), head.via, &content.payload, need)?;
        let room = mem::ArcRoom::new_for(need)?;
        let stamp = stamp.take().ok_or(AllocError)?;
        data.take_long(&mut content.payload);
        Ok(room.fill(Message {
            stamp,
            flags: head.flags,
            sender: head.sender,
            to: head.to,
            in_reply_to: head.in_reply_to,
            data,
            from: content.from.take(),
            paid: paid.take(),
        }))
    }

    fn stamp(&self) -> &Stamp {
        match &self.stamp {
            Stamped::Alone(stamp) => stamp,
            Stamped::Shared(stamp) => stamp,
        }
    }

    /// The id, or 0 while it is pending.
    pub fn id(&self) -> u64 {
        self.stamp().id.get()
    }

    /// When it got its id, by [`Peer::now`].
    pub fn time(&self) -> i64 {
        self.stamp().time.get() as i64
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        self.data.name()
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.data.payload()
    }

    /// What a bridge says about it.
    pub fn via(&self) -> Option<Via> {
        self.data.via()
    }

    /// Sends it and all its copies, under the lock of the bus.
    pub(super) fn send(&self, id: u64) {
        self.stamp().set(id, M::now());
    }

    /// Drops a message that is not sent after all, and gives back what is in it if nobody else has
    /// it.
    pub(super) fn take_back(message: Arc<Self>) -> Option<Unsent<M>> {
        mem::drop_with(message, |message| Unsent {
            content: Content {
                payload: message.data.take_payload(),
                from: message.from.take(),
            },
            paid: message.paid.take(),
            bus_bytes: match &mut message.stamp {
                Stamped::Alone(stamp) => stamp.take_bus_bytes(),
                Stamped::Shared(_) => None,
            },
        })
    }
}

/// What was in a message that is not sent after all.
pub(super) struct Unsent<M: Peer> {
    pub(super) content: Content<M>,
    /// The payload's bytes of whoever paid for it.
    pub(super) paid: Option<Charge>,
    /// The bytes of the bus, if it was the only copy.
    pub(super) bus_bytes: Option<Charge>,
}
