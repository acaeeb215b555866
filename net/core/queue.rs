// SPDX-License-Identifier: GPL-2.0

//! What waits for one socket, and what it owes.
//!
//! Only a holder of the bus lock adds to a queue; its reader takes from it with the queue's own
//! lock alone. So room that was found while the bus is locked does not go away: a send first
//! *claims* it in every queue, and adds when nothing can fail any more.
//! What goes without being read: [`removal`].

mod removal;

use super::account::Amount;
use super::bus::Held;
use super::bus::Member;
use super::claim::Ask;
use super::claim::Claim;
use super::claim::Own;
use super::claim::Seat;
use super::claim::Strangers;
use super::claim::SHARED_QUEUE;
use super::entry::Bond;
use super::entry::Debt;
use super::entry::Gap;
use super::entry::Origin;
use super::limits::BEFORE_FIRST;
use super::list::List;
use super::tree::Tree;
use super::wakes::Link;

pub use super::entry::Entry;
pub use super::entry::Slip;
pub use super::entry::Token;
pub use super::entry::View;

/// Most messages of a queue unless its socket asks for something else.
pub const QUEUE_LEN: u32 = 100;
/// A queue takes a further message while its bytes are below this, unless set otherwise.
pub const QUEUE_BYTES: u64 = 8 << 20;
/// Reply bytes that a request reserves unless its socket asks for something else.
pub const REPLY_MAX: u32 = 4096;

/// Entries that were taken out and are for the caller to drop, when it holds no lock.
pub type Garbage<M> = List<Entry<M>>;

/// What [`Queue::consume`] took out.
pub struct Consumed<M: Member> {
    /// For the caller to drop when it holds no lock, and before it tells the bus: its bytes may be
    /// what somebody waits for.
    pub garbage: Option<Slip<M>>,
    /// What belongs to the bus, for [`Bus::after_read`](super::bus::Bus::after_read).
    pub back: Option<Slip<M>>,
    /// Whether it is a request that is owed from now on.
    pub owed: bool,
    /// Whether the bus must be told, by [`Bus::after_read`](super::bus::Bus::after_read).
    pub tell_bus: bool,
}

/// The queue of one socket with its ledger of requests owed.
///
/// # Invariants
///
/// `unread` and `bytes` are the entries of `list` and their payload; `unreplied` the debts of
/// `owed`, and the one that a reply in progress has taken out.
pub struct Queue<M: Member> {
    list: List<Entry<M>>,
    unread: u32,
    bytes: u64,
    claimed: u32,
    claimed_bytes: u64,
    reserved: u32,
    own: Own,
    strangers: Strangers,
    limit: u32,
    byte_limit: u64,
    reply_max: u32,
    next_token: u64,
    /// What was missed after the last entry.
    gap: Gap,
    lost: u64,
    owed: Tree<Debt<M>>,
    unreplied: u32,
    dying: Tree<Debt<M>>,
    forsaken: Tree<Debt<M>>,
    /// What waited in a queue that was closed.
    remains: List<Entry<M>>,
    /// Listener bindings of a socket that closed or was shut, still in the routes.
    pub(super) unheard: Tree<Held<M>>,
    /// Its replier bindings, whose events are to be sent, too.
    pub(super) parting: Tree<Held<M>>,
    once: bool,
    lossy: bool,
    report_lost: bool,
    takes_files: bool,
    /// Entries of the bus's pool.
    pub(super) pooled: u32,
    /// `$.KBUS.UnbindEventsLost` waiting.
    pub(super) notices: u32,
    /// The last event of which this socket, which wants all once, got a copy.
    pub(super) last_event: u64,
    /// Somebody waits for room here.
    pub(super) waited: bool,
    /// The last send would have blocked, and nothing has changed since.
    pub(super) send_blocked: bool,
    /// Changes whenever there may be more room than before.
    version: u64,
    link: Link<M>,
    closed: bool,
    read_shut: bool,
    write_shut: bool,
}

impl<M: Member> Default for Queue<M> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<M: Member> Queue<M> {
    /// An empty queue with the default limits.
    pub const fn new() -> Self {
        Queue {
            list: List::new(),
            unread: 0,
            bytes: 0,
            claimed: 0,
            claimed_bytes: 0,
            reserved: 0,
            own: Own::NONE,
            strangers: Strangers::NONE,
            limit: QUEUE_LEN,
            byte_limit: QUEUE_BYTES,
            reply_max: REPLY_MAX,
            next_token: BEFORE_FIRST.saturating_add(1),
            gap: Gap::NONE,
            lost: 0,
            owed: Tree::new(),
            unreplied: 0,
            dying: Tree::new(),
            forsaken: Tree::new(),
            remains: List::new(),
            unheard: Tree::new(),
            parting: Tree::new(),
            once: false,
            lossy: false,
            report_lost: false,
            takes_files: false,
            pooled: 0,
            notices: 0,
            last_event: 0,
            waited: false,
            send_blocked: false,
            version: 0,
            link: Link::new(),
            closed: false,
            read_shut: false,
            write_shut: false,
        }
    }

    /// Messages waiting.
    pub fn unread(&self) -> u32 {
        self.unread
    }

    /// Whether there is something to read: a message, or the news of a gap.
    pub fn is_readable(&self) -> bool {
        self.unread > 0 || (self.report_lost && self.gap.count > 0)
    }

    /// Whether the first message is an urgent one.
    pub fn is_urgent(&mut self) -> bool {
        self.list.front().is_some_and(Entry::is_urgent)
    }

    /// Whether a send may be tried: it does not fail for certain.
    pub fn is_writable(&self) -> bool {
        !self.write_shut() && !self.send_blocked
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
    ///
    /// After this and the setters of other limits [`Bus::settings_changed`] is to be called when
    /// [`Queue::is_waited_for`].
    ///
    /// [`Bus::settings_changed`]: super::bus::Bus::settings_changed
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.version = self.version.wrapping_add(1);
    }

    /// It takes a message while its bytes are below this.
    pub fn byte_limit(&self) -> u64 {
        self.byte_limit
    }

    /// Sets the limit of bytes; what waits stays.
    pub fn set_byte_limit(&mut self, limit: u64) {
        self.byte_limit = limit;
        self.version = self.version.wrapping_add(1);
    }

    /// Reply bytes that each request of this socket reserves.
    pub fn reply_max(&self) -> u32 {
        self.reply_max
    }

    /// Sets what each later request reserves.
    pub fn set_reply_max(&mut self, bytes: u32) {
        self.reply_max = bytes;
    }

    /// Whether it wants one copy of a message, however many bindings match.
    pub fn once(&self) -> bool {
        self.once
    }

    /// Sets that for what is queued from now on.
    pub fn set_once(&mut self, once: bool) {
        self.once = once;
        self.version = self.version.wrapping_add(1);
    }

    /// Whether, as a listener, nobody fails or waits for it.
    pub fn lossy(&self) -> bool {
        self.lossy
    }

    /// Sets that.
    pub fn set_lossy(&mut self, lossy: bool) {
        self.lossy = lossy;
        self.version = self.version.wrapping_add(1);
    }

    /// Whether a gap is told by a message of its own.
    pub fn report_lost(&self) -> bool {
        self.report_lost
    }

    /// Sets that; a gap that is there already is told, too.
    pub fn set_report_lost(&mut self, report: bool) {
        self.report_lost = report;
    }

    /// Whether it takes descriptors.
    pub fn takes_files(&self) -> bool {
        self.takes_files
    }

    /// Sets that for what is queued from now on.
    pub fn set_takes_files(&mut self, takes: bool) {
        self.takes_files = takes;
    }

    /// Whether somebody waits for room here.
    pub fn is_waited_for(&self) -> bool {
        self.waited
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
        self.front().map(|view| view.len)
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

    /// Whether somebody waits for what a read has just given back.
    ///
    /// Slots that a send has claimed or reserved are not looked at: it may give them back, and then
    /// nobody else would tell the bus of this read.
    fn is_news_to_bus(&self) -> bool {
        self.waited && self.unread < self.limit && self.bytes < self.byte_limit
    }

    fn has_slot(&self) -> bool {
        self.held() < self.limit
    }

    fn has_bytes(&self) -> bool {
        self.bytes.saturating_add(self.claimed_bytes) < self.byte_limit
    }

    /// Changes whenever there may be more room than before.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The place in a list of those to be woken up.
    pub(super) fn link(&mut self) -> &mut Link<M> {
        &mut self.link
    }

    /// The first message, which stays where it is.
    pub fn front(&mut self) -> Option<View<M>> {
        let told = self.report_lost;
        match self.list.front() {
            Some(entry) if told && entry.gap.count > 0 => Some(View::of_gap(entry.gap)),
            Some(entry) => Some(View::of(entry)),
            None if told && self.gap.count > 0 => Some(View::of_gap(self.gap)),
            None => None,
        }
    }

    /// Takes out the message that [`Queue::front`] named; the debt begins now.
    ///
    /// `None` when it was removed meanwhile, and then there is no debt.
    pub fn consume(&mut self, token: Token) -> Option<Consumed<M>> {
        let token = match token {
            Token::Entry(token) => token,
            Token::Gap(count) => {
                // The very same gap may have got an entry after it meanwhile.
                match self.list.find_mut(|entry| entry.gap.count > 0) {
                    Some(entry) => entry.gap.told(count),
                    None => self.gap.told(count),
                }
                return Some(Consumed {
                    garbage: None,
                    back: None,
                    owed: false,
                    tell_bus: false,
                });
            }
        };
        let mut slip = if self.list.front()?.token == token {
            self.list.pop_front()
        } else {
            // Something urgent has come before it.
            self.list.extract(|entry| entry.token == token).pop_front()
        }?;
        self.forget(&slip.value);
        let debt = slip.value.debt.take();
        let owed = debt.is_some();
        if let Some(debt) = debt {
            let id = debt.key();
            self.owed.insert(debt, id);
            self.unreplied = self.unreplied.saturating_add(1);
        }
        let (garbage, back) = match slip.value.origin {
            Origin::Made => (Some(slip), None),
            Origin::Pool | Origin::Spare(_) => (None, Some(slip)),
        };
        Some(Consumed {
            tell_bus: self.is_news_to_bus() || back.is_some(),
            garbage,
            back,
            owed,
        })
    }

    fn forget(&mut self, entry: &Entry<M>) {
        self.version = self.version.wrapping_add(1);
        self.unread = self.unread.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.len() as u64);
        self.own.waiting = self.own.waiting.minus(entry.own_amount());
        self.strangers.stand_up(entry.stranger);
        match entry.origin {
            Origin::Made => {}
            Origin::Pool => self.pooled = self.pooled.saturating_sub(1),
            Origin::Spare(_) => self.notices = self.notices.saturating_sub(1),
        }
    }

    /// Claims room for one message.
    ///
    /// A stranger who has none here yet needs a `seat`, which is only taken when there is room.
    pub(super) fn claim(&mut self, ask: &Ask, seat: &mut Option<Seat>) -> Claim {
        if !self.has_room() {
            return Claim::Full;
        }
        if !self.own.held().fits(ask.left) {
            return Claim::Broke;
        }
        let mut claim = Claim::Room { counted: false };
        if let Some(user) = ask.stranger.filter(|_| self.limit >= SHARED_QUEUE) {
            let (held, limit) = (self.held(), self.limit);
            claim = self.strangers.sit(user, (held, limit), seat);
            if !matches!(claim, Claim::Room { .. }) {
                return claim;
            }
        }
        self.claimed = self.claimed.saturating_add(1);
        self.claim_bytes(ask.len, ask.own);
        claim
    }

    /// Gives room back that was claimed.
    pub(super) fn unclaim(&mut self, len: usize, own: Amount, stranger: Option<u32>) {
        self.fill(len, own);
        self.strangers.stand_up(stranger);
    }

    /// The room that was claimed is about to be filled.
    pub(super) fn fill(&mut self, len: usize, own: Amount) {
        self.claimed = self.claimed.saturating_sub(1);
        self.unclaim_bytes(len, own);
    }

    /// Messages that are here, on their way, or sure to come.
    fn held(&self) -> u32 {
        let held = self.unread.saturating_add(self.claimed);
        held.saturating_add(self.reserved)
    }

    /// Claims bytes for a message whose slot is reserved.
    ///
    /// So much the queue's `own` user pays for, beyond what is held for the reply.
    pub(super) fn claim_bytes(&mut self, len: usize, own: Amount) {
        self.claimed_bytes = self.claimed_bytes.saturating_add(len as u64);
        self.own.claimed = self.own.claimed.plus(own);
    }

    /// Gives bytes back that were claimed.
    pub(super) fn unclaim_bytes(&mut self, len: usize, own: Amount) {
        self.claimed_bytes = self.claimed_bytes.saturating_sub(len as u64);
        self.own.claimed = self.own.claimed.minus(own);
    }

    /// Holds a slot for a reply of so much, for which the socket's own user pays; false when there is none, or when the
    /// socket holds more than its user has `left`.
    pub(super) fn reserve(&mut self, reply: Amount, left: Amount) -> bool {
        let room = self.has_slot() && self.own.held().fits(left);
        if room {
            self.reserved = self.reserved.saturating_add(1);
            self.own.reserved = self.own.reserved.plus(reply);
        }
        room
    }

    /// Gives a reserved slot back; says whether anything may still arrive here.
    pub(super) fn unreserve(&mut self, reply: Amount) -> bool {
        self.reserved = self.reserved.saturating_sub(1);
        self.own.reserved = self.own.reserved.minus(reply);
        !self.read_shut()
    }

    /// Whether it holds more messages than it may: somebody has put in what had to arrive.
    pub(super) fn is_overfull(&self) -> bool {
        self.held() > self.limit
    }

    /// Whether a reply of `len` bytes, longer than was reserved, fits; the socket's user has `own_left`.
    ///
    /// As for any message: not if the socket holds more than that. So others cannot use up its user's budget with
    /// long replies to one socket.
    pub(super) fn fits_long_reply(&self, len: usize, own_left: u64) -> bool {
        let left = self.byte_limit.saturating_sub(self.bytes);
        len as u64 <= left && self.own.held().bytes <= own_left
    }

    /// Puts an entry in, with the descriptors that are for it if this socket takes some.
    pub(super) fn push_with(&mut self, mut slip: Slip<M>, files: Option<&M::Files>) {
        if self.takes_files {
            slip.value.files = files.cloned();
        }
        self.push(slip);
    }

    /// Puts an entry in, an urgent one before all others; who does so has made sure of its room.
    ///
    /// The gap stays behind what was there before, and goes with what comes after it.
    pub(super) fn push(&mut self, mut slip: Slip<M>) {
        slip.value.token = self.next_token;
        self.next_token = self.next_token.saturating_add(1);
        self.unread = self.unread.saturating_add(1);
        self.bytes = self.bytes.saturating_add(slip.value.len() as u64);
        self.own.waiting = self.own.waiting.plus(slip.value.own_amount());
        match slip.value.origin {
            Origin::Made => {}
            Origin::Pool => self.pooled = self.pooled.saturating_add(1),
            Origin::Spare(_) => self.notices = self.notices.saturating_add(1),
        }
        if slip.value.is_urgent() && !self.list.is_empty() {
            slip.value.gap = Gap::NONE;
            self.list.push_front(slip);
        } else {
            slip.value.gap = core::mem::replace(&mut self.gap, Gap::NONE);
            self.list.push_back(slip);
        }
    }

    /// Counts a message that had no room; says whether its reader is to be told now.
    pub(super) fn miss(&mut self, id: u64) -> bool {
        self.gap.add(Gap { count: 1, last: id });
        self.lost = self.lost.saturating_add(1);
        self.report_lost && self.unread == 0
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
}
