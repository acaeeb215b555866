// SPDX-License-Identifier: GPL-2.0

//! What waits for one socket, and what it owes.
//!
//! Only a holder of the bus lock adds to a queue; its reader takes from it with the queue's own
//! lock alone. So room that was found while the bus is locked does not go away: a send first
//! *claims* it in every queue, and adds when nothing can fail any more.

use super::account::Charge;
use super::list::Item;
use super::list::List;
use super::mem::Arc;
use super::mem::Box;
use super::mem::Vec;
use super::message::Fault;
use super::message::Message;
use super::message::Via;
use super::message::KBUS_STATUS;
use super::message::KBUS_YOU_REPLY;
use super::tree::Node;
use super::tree::Tree;

/// Most messages of a queue unless its socket asks for something else.
pub const QUEUE_LEN: u32 = 100;
/// A queue takes a further message while its bytes are below this, unless set otherwise.
pub const QUEUE_BYTES: u64 = 8 << 20;
/// Reply bytes that a request reserves unless its socket asks for something else.
pub const REPLY_MAX: u32 = 4096;

/// Entries that were taken out and are for the caller to drop, when it holds no lock.
pub type Garbage<M> = List<Entry<M>>;
/// An entry in its box.
pub type Slip<M> = Box<Item<Entry<M>>>;
/// A debt in its box.
pub type Bond<M> = Box<Node<Debt<M>>>;

/// A request that has been sent and not been answered yet; its number is the request's id.
pub struct Debt<M> {
    /// Who asked.
    pub(super) requester: M,
    /// Who was asked.
    pub(super) replier: u64,
    /// What the requester wants to see again.
    pub(super) cookie: u64,
    /// The request's name.
    pub(super) name: Vec<u8>,
    /// Bytes held for the reply.
    pub(super) reserved: Charge,
    /// The entry for the reply or status in the requester's queue.
    pub(super) blank: Option<Slip<M>>,
}

/// A status: there will be no reply.
#[derive(Clone, Copy)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) in_reply_to: u64,
    pub(super) sender: u64,
    pub(super) fault: Fault,
}

/// What an entry holds.
#[derive(Clone)]
pub(super) enum Body {
    /// Nothing yet.
    Blank,
    /// A message.
    Message(Arc<Message>),
    /// A status.
    Status(Status),
}

/// The place of one copy of a message in one queue.
pub struct Entry<M> {
    pub(super) body: Body,
    /// The binding that let it in, and which of identical ones; 0 for the requester's own.
    pub(super) binding: u64,
    pub(super) nth: u32,
    /// The request's, in a reply or status.
    pub(super) cookie: u64,
    /// What the reader owes once it has read this.
    pub(super) debt: Option<Bond<M>>,
    token: u64,
    lost: u32,
    fault: Option<Fault>,
}

impl<M> Entry<M> {
    /// An entry without content.
    pub(super) fn blank(binding: u64, nth: u32) -> Self {
        Entry {
            body: Body::Blank,
            binding,
            nth,
            cookie: 0,
            debt: None,
            token: 0,
            lost: 0,
            fault: None,
        }
    }

    fn len(&self) -> usize {
        match &self.body {
            Body::Message(message) => message.payload.len(),
            _ => 0,
        }
    }
}

/// The first message of a queue, as its reader sees it.
pub struct View {
    /// Names the entry in [`Queue::consume`].
    pub token: u64,
    /// The message's id.
    pub id: u64,
    /// All flags, `KBUS_YOU_REPLY` among them.
    pub flags: u32,
    /// The request's cookie, in its requester's reply or status.
    pub cookie: u64,
    /// Who sent it; of a status, whom it is about.
    pub sender: u64,
    /// Requester of a reply, target of a stateful request, else 0.
    pub to: u64,
    /// Id of the request that this answers, or 0.
    pub in_reply_to: u64,
    /// Messages missed between the previous one and this one.
    pub lost: u32,
    /// Of a status: why there is no reply, else 0.
    pub error: i32,
    /// Bytes of payload.
    pub len: usize,
    body: Body,
}

impl View {
    /// The message itself; a status has none.
    pub fn message(&self) -> Option<&Arc<Message>> {
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

    /// Whether the reader must answer it, so that its address carries the request's id.
    pub fn must_reply(&self) -> bool {
        self.flags & KBUS_YOU_REPLY != 0
    }
}

/// A debt that nobody can pay any more.
pub(super) struct Doomed<M> {
    pub(super) debt: Bond<M>,
    pub(super) fault: Fault,
    pub(super) garbage: Option<Slip<M>>,
}

/// The queue of one socket with its ledger of requests owed.
///
/// # Invariants
///
/// `unread` and `bytes` are the entries of `list` and their payload; `unreplied` the debts of
/// `owed`, and the one that a reply in progress has taken out.
pub struct Queue<M> {
    list: List<Entry<M>>,
    unread: u32,
    bytes: u64,
    claimed: u32,
    claimed_bytes: u64,
    reserved: u32,
    limit: u32,
    byte_limit: u64,
    reply_max: u32,
    next_token: u64,
    gap: u32,
    lost: u64,
    owed: Tree<Debt<M>>,
    unreplied: u32,
    dying: List<Entry<M>>,
    forsaken: Tree<Debt<M>>,
    closed: bool,
    read_shut: bool,
    write_shut: bool,
}

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<M> Queue<M> {
    /// An empty queue with the default limits.
    pub const fn new() -> Self {
        Queue {
            list: List::new(),
            unread: 0,
            bytes: 0,
            claimed: 0,
            claimed_bytes: 0,
            reserved: 0,
            limit: QUEUE_LEN,
            byte_limit: QUEUE_BYTES,
            reply_max: REPLY_MAX,
            next_token: 1,
            gap: 0,
            lost: 0,
            owed: Tree::new(),
            unreplied: 0,
            dying: List::new(),
            forsaken: Tree::new(),
            closed: false,
            read_shut: false,
            write_shut: false,
        }
    }

    /// Messages waiting.
    pub fn unread(&self) -> u32 {
        self.unread
    }

    /// Slots held for replies to come.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Payload bytes waiting.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Most messages, waiting and reserved.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Sets the most messages; what waits stays.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// It takes a message while its bytes are below this.
    pub fn byte_limit(&self) -> u64 {
        self.byte_limit
    }

    /// Sets the limit of bytes; what waits stays.
    pub fn set_byte_limit(&mut self, limit: u64) {
        self.byte_limit = limit;
    }

    /// Reply bytes that each request of this socket reserves.
    pub fn reply_max(&self) -> u32 {
        self.reply_max
    }

    /// Sets what each later request reserves.
    pub fn set_reply_max(&mut self, bytes: u32) {
        self.reply_max = bytes;
    }

    /// Requests read and still owed a reply.
    pub fn unreplied(&self) -> u32 {
        self.unreplied
    }

    /// Messages missed so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Payload length of the next message.
    pub fn next_len(&mut self) -> Option<usize> {
        self.list.front().map(Entry::len)
    }

    /// Whether the socket has been closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing arrives any more.
    pub fn read_shut(&self) -> bool {
        self.read_shut || self.closed
    }

    /// Whether nothing can be sent any more.
    pub fn write_shut(&self) -> bool {
        self.write_shut || self.closed
    }

    /// Whether it takes a further message.
    pub fn has_room(&self) -> bool {
        !self.read_shut() && self.has_slot() && self.has_bytes()
    }

    fn has_slot(&self) -> bool {
        let held = self.unread.saturating_add(self.claimed);
        held.saturating_add(self.reserved) < self.limit
    }

    fn has_bytes(&self) -> bool {
        self.bytes.saturating_add(self.claimed_bytes) < self.byte_limit
    }

    /// The first message, which stays where it is.
    pub fn front(&mut self) -> Option<View> {
        let entry = self.list.front()?;
        let mut view = View {
            token: entry.token,
            id: 0,
            flags: 0,
            cookie: entry.cookie,
            sender: 0,
            to: 0,
            in_reply_to: 0,
            lost: entry.lost,
            error: 0,
            len: entry.len(),
            body: entry.body.clone(),
        };
        match &entry.body {
            Body::Message(message) => {
                view.id = message.id();
                view.flags = message.flags;
                view.sender = message.sender;
                view.to = message.to;
                view.in_reply_to = message.in_reply_to;
            }
            Body::Status(status) => {
                view.id = status.id;
                view.flags = KBUS_STATUS;
                view.sender = status.sender;
                view.in_reply_to = status.in_reply_to;
                view.error = status.fault.number();
            }
            Body::Blank => {}
        }
        if entry.debt.is_some() {
            view.flags |= KBUS_YOU_REPLY;
        }
        Some(view)
    }

    /// Takes out the message that [`Queue::front`] named; the debt begins now.
    ///
    /// `None` when it was removed meanwhile, and then there is no debt. The entry is for the caller
    /// to drop, outside the lock.
    pub fn consume(&mut self, token: u64) -> Option<Slip<M>> {
        let mut slip = if self.list.front()?.token == token {
            self.list.pop_front()
        } else {
            // Something urgent has come before it.
            self.list.extract(|entry| entry.token == token).pop_front()
        }?;
        self.forget(&slip.value);
        if let Some(debt) = slip.value.debt.take() {
            let id = debt.key();
            self.owed.insert(debt, id);
            self.unreplied = self.unreplied.saturating_add(1);
        }
        Some(slip)
    }

    fn forget(&mut self, entry: &Entry<M>) {
        self.unread = self.unread.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.len() as u64);
    }

    /// Claims room for one message of `len` bytes; false when there is none.
    pub(super) fn claim(&mut self, len: usize) -> bool {
        let room = self.has_room();
        if room {
            self.claimed = self.claimed.saturating_add(1);
            self.claimed_bytes = self.claimed_bytes.saturating_add(len as u64);
        }
        room
    }

    /// Gives room back that was claimed.
    pub(super) fn unclaim(&mut self, len: usize) {
        self.claimed = self.claimed.saturating_sub(1);
        self.unclaim_bytes(len);
    }

    /// Claims bytes for a message whose slot is reserved.
    pub(super) fn claim_bytes(&mut self, len: usize) {
        self.claimed_bytes = self.claimed_bytes.saturating_add(len as u64);
    }

    /// Gives bytes back that were claimed.
    pub(super) fn unclaim_bytes(&mut self, len: usize) {
        self.claimed_bytes = self.claimed_bytes.saturating_sub(len as u64);
    }

    /// Holds a slot for a reply; false when there is none.
    pub(super) fn reserve(&mut self) -> bool {
        let room = self.has_slot();
        if room {
            self.reserved = self.reserved.saturating_add(1);
        }
        room
    }

    /// Gives a reserved slot back; says whether anything may still arrive here.
    pub(super) fn unreserve(&mut self) -> bool {
        self.reserved = self.reserved.saturating_sub(1);
        !self.read_shut()
    }

    /// Whether a reply of `len` bytes, longer than was reserved, fits.
    pub(super) fn fits_long_reply(&self, len: usize) -> bool {
        let left = self.byte_limit.saturating_sub(self.bytes);
        left > 0 && len as u64 <= left
    }

    /// Appends an entry; whoever does so has made sure of its room.
    pub(super) fn push(&mut self, mut slip: Slip<M>) {
        slip.value.token = self.next_token;
        slip.value.lost = core::mem::take(&mut self.gap);
        self.next_token = self.next_token.saturating_add(1);
        self.unread = self.unread.saturating_add(1);
        self.bytes = self.bytes.saturating_add(slip.value.len() as u64);
        self.list.push_back(slip);
    }

    /// Counts a message that had no room.
    pub(super) fn miss(&mut self) {
        self.gap = self.gap.saturating_add(1);
        self.lost = self.lost.saturating_add(1);
    }

    /// Takes a debt out to pay it; it counts until [`Queue::paid`].
    pub(super) fn take_debt(&mut self, id: u64) -> Option<Bond<M>> {
        self.owed.remove(id)
    }

    /// Puts a debt back that could not be paid.
    pub(super) fn put_debt(&mut self, debt: Bond<M>) {
        let id = debt.key();
        self.owed.insert(debt, id);
    }

    /// The debt that was taken out is settled.
    pub(super) fn paid(&mut self) {
        self.unreplied = self.unreplied.saturating_sub(1);
    }

    /// Takes out what a binding let in, of identical ones the one of that number.
    ///
    /// Requests among it are kept aside until they are settled; the rest is returned.
    pub(super) fn unbind(&mut self, binding: u64, nth: u32, fault: Fault) -> Garbage<M> {
        self.take_out(fault, |entry| entry.binding == binding && entry.nth == nth)
    }

    fn take_out(&mut self, fault: Fault, which: impl Fn(&Entry<M>) -> bool) -> Garbage<M> {
        let mut garbage = List::new();
        let mut kept = List::new();
        // What was missed before a removed message is told with the next one that is left.
        let mut lost: u32 = 0;
        while let Some(mut slip) = self.list.pop_front() {
            lost = lost.saturating_add(slip.value.lost);
            if !which(&slip.value) {
                slip.value.lost = core::mem::take(&mut lost);
                kept.push_back(slip);
                continue;
            }
            self.forget(&slip.value);
            if slip.value.debt.is_some() {
                slip.value.fault = Some(fault);
                self.dying.push_back(slip);
            } else {
                garbage.push_back(slip);
            }
        }
        self.list = kept;
        self.gap = self.gap.saturating_add(lost);
        garbage
    }

    /// Closes the queue: nothing arrives, and nothing will be answered.
    pub(super) fn close(&mut self) -> Garbage<M> {
        self.closed = true;
        self.forsake();
        self.take_out(Fault::GoneAway, |_| true)
    }

    /// Nothing arrives any more; requests that were not read will not be answered.
    pub(super) fn shut_read(&mut self) -> Garbage<M> {
        self.read_shut = true;
        self.take_out(Fault::GoneAway, |entry| entry.debt.is_some())
    }

    /// Nothing can be sent any more; so nothing will be answered.
    pub(super) fn shut_write(&mut self) -> Garbage<M> {
        self.write_shut = true;
        self.forsake();
        self.take_out(Fault::Unbound, |entry| entry.debt.is_some())
    }

    fn forsake(&mut self) {
        self.unreplied = 0;
        if self.forsaken.is_empty() {
            core::mem::swap(&mut self.owed, &mut self.forsaken);
        }
        while let Some(debt) = self.owed.pop_first() {
            let id = debt.key();
            self.forsaken.insert(debt, id);
        }
    }

    /// The next debt that nobody can pay any more: first what was not read.
    pub(super) fn next_doomed(&mut self) -> Option<Doomed<M>> {
        while let Some(mut slip) = self.dying.pop_front() {
            let fault = slip.value.fault.unwrap_or(Fault::GoneAway);
            if let Some(debt) = slip.value.debt.take() {
                return Some(Doomed {
                    debt,
                    fault,
                    garbage: Some(slip),
                });
            }
        }
        self.forsaken.pop_first().map(|debt| Doomed {
            debt,
            fault: Fault::Ignored,
            garbage: None,
        })
    }
}
