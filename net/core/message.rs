// SPDX-License-Identifier: GPL-2.0

//! A message, shared by all of its recipients.

use super::account::Charge;
use super::bus::Member;
use super::mem::Bytes;
use super::mem::Vec;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

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

/// What bridges between machines pass along; the bus does not read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// Network of the original sender.
    pub orig_net: u64,
    /// Peer that sent it there.
    pub orig_peer: u64,
    /// Network of the final target.
    pub final_net: u64,
    /// Peer that it is for there.
    pub final_peer: u64,
}

/// One message; every queue that holds it holds the same one.
pub struct Message<M: Member> {
    id: AtomicU64,
    time: AtomicI64,
    /// The flags that all recipients see.
    pub flags: u32,
    /// Peer id of the sender.
    pub sender: u64,
    /// Requester of a reply, target of a stateful request, else 0.
    pub to: u64,
    /// Id of the request that this answers, or 0.
    pub in_reply_to: u64,
    /// The name.
    pub name: Vec<u8>,
    /// The payload.
    pub payload: Bytes,
    /// What a bridge says about it.
    pub via: Option<Via>,
    /// Who sent it; `None`: the bus.
    pub from: Option<M::Sender>,
    /// The bytes it holds of the bus.
    pub(super) charge: Charge,
}

/// What a [`Message`] is made from.
pub(super) struct Parts<M: Member> {
    pub(super) flags: u32,
    pub(super) sender: u64,
    pub(super) to: u64,
    pub(super) in_reply_to: u64,
    pub(super) name: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) via: Option<Via>,
    pub(super) from: Option<M::Sender>,
    pub(super) charge: Charge,
}

impl<M: Member> Message<M> {
    /// Makes a message that has no id and no time yet.
    pub(super) fn new(parts: Parts<M>) -> Self {
        Message {
            id: AtomicU64::new(0),
            time: AtomicI64::new(0),
            flags: parts.flags,
            sender: parts.sender,
            to: parts.to,
            in_reply_to: parts.in_reply_to,
            name: parts.name,
            payload: parts.payload,
            via: parts.via,
            from: parts.from,
            charge: parts.charge,
        }
    }

    /// The id; set before the message is in any queue and never changed.
    pub fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    /// When it got its id, by [`Member::now`].
    pub fn time(&self) -> i64 {
        self.time.load(Relaxed)
    }

    /// Gives the message its id and its time. The locks of the queues publish them.
    pub(super) fn set_id(&self, id: u64) {
        self.id.store(id, Relaxed);
        self.time.store(M::now(), Relaxed);
    }
}
