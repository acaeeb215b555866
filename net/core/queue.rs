// SPDX-License-Identifier: GPL-2.0

//! What waits for one socket, and what it owes.
//!
//! Only a holder of the bus lock puts messages in; the reader takes them out with the queue's own
//! lock alone. A message may be put in before it is sent: until it has its id it is *pending*,
//! takes room, and is passed by ([`super::message`]). Messages stand in the order of their ids, but
//! for those of sends that took several holds of the bus lock (*late* ones): while there are such,
//! the reader looks for the least id.
//!
//! What can be asked of it: [`state`]. Reading: [`reads`]. What a program can set: [`settings`].
//! Who waits for room: [`waiting`]. Entries of sends that took several holds: [`late`]. What goes
//! without being read: [`removal`].

mod late;
mod offer;
mod reads;
mod removal;
mod settings;
mod state;
mod waiting;

use super::account::Amount;
use super::account::One;
use super::entry::Body;
use super::entry::Entry;
use super::entry::Extra;
use super::entry::Gap;
use super::entry::NOBODY;
use super::limits::BEFORE_FIRST;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::Map;
use super::mem::Room;
use super::obligation;
use super::obligation::Obligation;
use super::peer::Peer;
use super::recipient::RecipientList;
use super::slots::Chunk;
use super::slots::Slots;
use super::waiter::Blocked;
use super::waiter::WaiterNode;
use super::waiter::Waiters;
use super::waiter::Woken;

pub use super::entry::Token;
pub use super::entry::View;
pub(super) use offer::Memory;
pub(super) use offer::Offer;
pub(super) use offer::Offered;
pub(super) use offer::Plain;
pub use reads::Begun;
pub use reads::Reads;
pub(super) use removal::unbound;
pub(super) use removal::unlistened;
pub(super) use removal::Closed;
pub(super) use removal::Removal;
pub(super) use removal::Taken;
pub(super) use removal::Verdict;

/// Most messages of a queue unless its socket asks for something else.
pub const QUEUE_LEN: u32 = 100;
/// A queue takes a further message while its bytes are below this, unless set otherwise.
pub const QUEUE_BYTES: u64 = 8 << 20;
/// Reply bytes that a request reserves unless its socket asks for something else.
pub const REPLY_MAX: u32 = 4096;

/// A socket with a queue.
pub trait Member: Peer {
    /// Locks the socket's queue. The bus never nests two of these calls.
    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R;

    /// Enters a waiter in the list of those who wait until this socket's user has got something of
    /// its budget back; false if the user is not known any more.
    fn enter_budget(&self, waiter: WaiterNode<Self>, polls: bool) -> bool;

    /// Takes a waiter of this age out of that list.
    fn leave_budget(&self, age: u64) -> Option<WaiterNode<Self>>;

    /// Wakes some of that list who have not tried since something was given back. No lock of the
    /// bus may be held.
    fn tell_budget(&self);
}

/// What [`Queue::consume`] took out, for the caller to drop when it holds no lock.
pub struct Consumed<M: Member> {
    /// What is left of the entry; `None` for the news of a gap.
    pub(super) rest: Option<Rest<M>>,
    /// Whether it is a request that is owed from now on.
    pub owed: bool,
    /// Whether somebody waits for room in this queue.
    pub(super) waited_for: bool,
    /// Memory of the queue, which has been long and is empty.
    pub(super) trimmed: Option<Slots<Entry<M>>>,
}

/// What an entry had that was read, for its last owner to drop: its message, its descriptors, and
/// its place among the messages of whoever pays.
type Rest<M> = (Body<M>, Option<<M as Peer>::Files>, One);

/// What is counted for an entry.
struct Counted {
    len: u64,
    paid: Amount,
    late: bool,
    extra: Extra,
    stranger: u64,
}

impl Counted {
    #[inline(always)]
    fn of<M: Peer>(entry: &Entry<M>) -> Self {
        Counted {
            len: entry.len,
            paid: entry.paid(),
            late: entry.late,
            extra: entry.extra,
            stranger: entry.stranger,
        }
    }
}

/// Room of a queue that a failed send has given back.
#[derive(Clone, Copy)]
pub(super) struct GivenBack {
    /// The version of the queue before and after that.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Whether somebody may wait for it.
    pub(super) awaited: bool,
    /// Whether there may be a gap to read that an entry had.
    pub(super) gap: bool,
}

/// The queue of one socket with its ledger of requests owed.
///
/// # Invariants
///
/// `bytes` is the payload of the entries of `list`, `late` the number of those that are late.
/// `list` has free slots for all replies that slots are `reserved` for, and for the notice that
/// unbind events were lost if it `hears` of such.
pub struct Queue<M: Member> {
    list: Slots<Entry<M>>,
    late: u32,
    bytes: u64,
    reserved: u32,
    hears: bool,
    /// What the queue holds of the budget of its own user, for what waits and for replies to come.
    own: Amount,
    /// How many messages each user has here who may not fill the queue.
    strangers: Map<u64, u32>,
    limit: u32,
    byte_limit: u64,
    reply_max: u32,
    last_serial: u64,
    /// What was missed after the last entry.
    gap: Gap,
    lost: u64,
    /// By the id of the request; `None` while it is being answered.
    owed: Map<u64, Option<Box<Obligation<M>>>>,
    unreplied: u32,
    /// Memory of an obligation to this socket that was met.
    kept: Option<obligation::Memory<M>>,
    /// Memory for a list of those who get a message of this socket.
    kept_list: Option<RecipientList<M>>,
    once: bool,
    lossy: bool,
    report_lost: bool,
    takes_files: bool,
    /// The last message of this socket had recipients who do not share a copy.
    several: bool,
    /// Unbind events of sockets that died, which are here beyond the limit.
    events: u32,
    /// The notice that such were lost is here.
    noticed: bool,
    waiters: Waiters<M>,
    /// Where this socket has asked to be told when it may send again, by the age of that.
    blocked: Option<Blocked<M>>,
    /// Changes whenever there may be more room than before.
    version: u64,
    /// So it does, but not for room that a failed send gives back.
    news: u64,
    /// How often a send of another socket was told that it is full.
    refusals: u64,
    joined: bool,
    closed: bool,
    read_shut: bool,
    write_shut: bool,
    reads: Reads,
}

impl<M: Member> Default for Queue<M> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<M: Member> Queue<M> {
    /// An empty queue with the default limits.
    pub fn new() -> Self {
        Queue {
            list: Slots::new(),
            late: 0,
            bytes: 0,
            reserved: 0,
            hears: false,
            own: Amount::NONE,
            strangers: Map::new(),
            limit: QUEUE_LEN,
            byte_limit: QUEUE_BYTES,
            reply_max: REPLY_MAX,
            last_serial: BEFORE_FIRST,
            gap: Gap::NONE,
            lost: 0,
            owed: Map::new(),
            unreplied: 0,
            kept: None,
            kept_list: None,
            once: false,
            lossy: false,
            report_lost: false,
            takes_files: false,
            several: false,
            events: 0,
            noticed: false,
            waiters: Waiters::new(),
            blocked: None,
            version: 0,
            news: 0,
            refusals: 0,
            joined: false,
            closed: false,
            read_shut: false,
            write_shut: false,
            reads: Reads::default(),
        }
    }

    /// There may be more room than before.
    fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
        self.news = self.news.wrapping_add(1);
    }

    /// The slot of the entry that is to be read next.
    ///
    /// An entry that is passed by as pending may be sent in this very moment. So when there is an
    /// id, all are looked at a second time: what was sent before that message has a lesser id, and
    /// whoever has seen that of the message sees it.
    #[inline]
    fn pick(&self) -> Option<u32> {
        let first = self.list.first()?;
        if self.late == 0 && self.list.get(first).is_some_and(|entry| entry.id() != 0) {
            return Some(first);
        }
        self.pick_among_pending()
    }

    #[cold]
    fn pick_among_pending(&self) -> Option<u32> {
        self.next_sent()?;
        self.next_sent()
    }

    /// The urgent message of the greatest id, or else the message of the least.
    #[inline(never)]
    fn next_sent(&self) -> Option<u32> {
        let mut best = None;
        for (at, entry) in self.list.iter().filter(|(_, entry)| entry.id() != 0) {
            let (urgent, id) = (entry.urgent, entry.id());
            let before = match best {
                None => true,
                Some((was_urgent, _, _)) if urgent != was_urgent => urgent,
                // Of several copies of one message the first comes first.
                Some((_, other, _)) if urgent => id > other,
                Some((_, other, _)) => id < other,
            };
            if before {
                best = Some((urgent, id, at));
            }
        }
        best.map(|(_, _, at)| at)
    }

    /// The first message, which stays where it is.
    #[inline(always)]
    pub fn front(&self) -> Option<View<M>> {
        let told = self.report_lost;
        match self.pick().and_then(|at| Some((at, self.list.get(at)?))) {
            Some((_, entry)) if told && entry.gap.count > 0 => Some(View::of_gap(entry.gap)),
            Some((at, entry)) => Some(View::of(at, entry)),
            None if told && self.gap.count > 0 => Some(View::of_gap(self.gap)),
            None => None,
        }
    }

    /// Takes out the message that [`Queue::front`] named; what is owed for it is owed from now on.
    ///
    /// `None` when it was removed meanwhile, and then nothing is owed.
    pub fn consume(&mut self, token: Token) -> Option<Consumed<M>> {
        let (at, serial, told) = match token {
            Token::Entry(at, serial, told) => (at, serial, told),
            Token::Gap(count) => {
                // The very same gap may have got an entry after it meanwhile.
                let with_gap = self.list.iter().find(|(_, entry)| entry.gap.count > 0);
                match with_gap
                    .map(|(at, _)| at)
                    .and_then(|at| self.list.get_mut(at))
                {
                    Some(entry) => entry.gap.told(count),
                    None => self.gap.told(count),
                }
                return Some(Consumed {
                    rest: None,
                    owed: false,
                    waited_for: false,
                    trimmed: None,
                });
            }
        };
        let entry = self.find(at, serial)?;
        entry.gap.told(told);
        // What was missed since it was shown is told with the next one.
        let gap = entry.gap;
        if gap.count > 0 {
            match self.list.next(at).and_then(|at| self.list.get_mut(at)) {
                Some(next) => next.gap.add(gap),
                None => self.gap.add(gap),
            }
        }
        let (counted, obligation, rest) = self.list.remove_with(at, |entry| {
            let counted = Counted::of(entry);
            let mut obligation = entry.obligation.take();
            if let Some(obligation) = &mut obligation {
                obligation.request = entry.id();
            }
            let body = core::mem::replace(&mut entry.body, Body::Blank);
            let rest = (body, entry.files.take(), entry.place.take());
            (counted, obligation, rest)
        })?;
        self.uncount(&counted);
        self.changed();
        let mut owed = false;
        if let Some(mut obligation) = obligation {
            if let Some(room) = obligation.room.take() {
                let id = obligation.request;
                drop(self.owed.insert(room.fill(id, Some(obligation))));
                self.unreplied = self.unreplied.saturating_add(1);
                owed = true;
            }
        }
        Some(Consumed {
            rest: Some(rest),
            owed,
            waited_for: !self.waiters.is_empty(),
            trimmed: self.trim(),
        })
    }

    /// Takes the memory out that an empty queue does not need, unless slots are promised.
    fn trim(&mut self) -> Option<Slots<Entry<M>>> {
        match self.reserved == 0 && !self.hears {
            true => self.list.trim(),
            false => None,
        }
    }

    /// The entry in this slot, if it still has this serial number.
    fn find(&mut self, at: u32, serial: u64) -> Option<&mut Entry<M>> {
        self.list.get_mut(at).filter(|entry| entry.serial == serial)
    }

    /// Takes an entry out, and all that is counted for it.
    fn take(&mut self, at: u32) -> Option<Entry<M>> {
        let entry = self.list.remove(at)?;
        self.uncount(&Counted::of(&entry));
        Some(entry)
    }

    /// Takes back what was counted for an entry that goes.
    #[inline(always)]
    fn uncount(&mut self, entry: &Counted) {
        self.bytes = self.bytes.saturating_sub(entry.len);
        self.own = self.own.minus(entry.paid);
        if entry.late {
            self.late = self.late.saturating_sub(1);
        }
        match entry.extra {
            Extra::No => {}
            Extra::Unbind => self.events = self.events.saturating_sub(1),
            Extra::Notice => self.noticed = false,
        }
        if entry.stranger != NOBODY {
            let user = entry.stranger;
            let left = self.strangers.get_mut(&user).map(|has| {
                *has = has.saturating_sub(1);
                *has
            });
            if left == Some(0) {
                let _ = self.strangers.remove(&user);
            }
        }
    }

    /// Puts an entry in, an urgent one before all others; a slot for it is there.
    fn put(&mut self, mut entry: Entry<M>) -> Option<(u32, u64)> {
        (entry.serial, entry.gap) = self.begin_put(entry.urgent);
        self.finish_put(entry)
    }

    /// The serial number of an entry that is about to be put in, and the gap before it.
    ///
    /// What was missed stays behind what was there before, and goes with what comes after it.
    fn begin_put(&mut self, urgent: bool) -> (u64, Gap) {
        let gap = match urgent && !self.list.is_empty() {
            true => Gap::NONE,
            false => core::mem::replace(&mut self.gap, Gap::NONE),
        };
        (self.last_serial.saturating_add(1), gap)
    }

    /// Puts it in.
    fn finish_put(&mut self, entry: Entry<M>) -> Option<(u32, u64)> {
        let (serial, len, own) = (entry.serial, entry.len, entry.paid());
        match entry.extra {
            Extra::No => {}
            Extra::Unbind => self.events = self.events.saturating_add(1),
            Extra::Notice => self.noticed = true,
        }
        self.last_serial = serial;
        self.bytes = self.bytes.saturating_add(len);
        self.own = self.own.plus(own);
        let at = match entry.urgent {
            true => self.list.push_front(entry),
            false => self.list.push_back(entry),
        };
        Some((at?, serial))
    }

    /// Puts an ordinary entry of so many bytes at the end, for which the queue's own user pays.
    /// `make` makes it, of its serial number and the gap before it.
    #[inline(always)]
    fn put_at_end(
        &mut self,
        len: u64,
        make: impl FnOnce(u64, Gap) -> Entry<M>,
    ) -> Option<(u32, u64)> {
        let (serial, gap) = self.begin_put(false);
        self.last_serial = serial;
        self.bytes = self.bytes.saturating_add(len);
        self.own = self.own.plus(Amount {
            bytes: len,
            messages: 1,
        });
        Some((self.list.push_back_with(|| make(serial, gap))?, serial))
    }

    /// Whether there is no free slot beyond those that are promised.
    fn lacks_slots(&self) -> bool {
        let promised = self
            .held()
            .saturating_add(u32::from(self.hears && !self.noticed));
        promised >= self.list.capacity()
    }

    /// Adds memory for more entries.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and the chunk is dropped.
    pub(super) fn add_chunk(&mut self, chunk: Chunk<Entry<M>>) -> Result<(), AllocError> {
        self.list.add(chunk)
    }

    /// Sees to it that there is a slot for one more entry that is promised. To be called again with
    /// a chunk when there is none.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    #[inline(always)]
    fn promise(&mut self, chunk: &mut Option<Chunk<Entry<M>>>) -> Result<bool, AllocError> {
        if self.lacks_slots() {
            match chunk.take() {
                Some(chunk) => self.list.add(chunk)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Begins or ends to keep a slot for the notice that unbind events were lost; false if memory
    /// is needed for it.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn hear(
        &mut self,
        hears: bool,
        chunk: &mut Option<Chunk<Entry<M>>>,
    ) -> Result<bool, AllocError> {
        if hears && !self.hears && !self.promise(chunk)? {
            return Ok(false);
        }
        self.hears = hears;
        Ok(true)
    }

    /// Counts a message that had no room; says whether its reader is to be told now.
    pub(super) fn miss(&mut self, id: u64) -> bool {
        self.lost = self.lost.saturating_add(1);
        let missed = Gap { count: 1, last: id };
        // Behind it there may be what was sent after it.
        let mut after = None;
        let mut at = self.list.last();
        while let Some(entry) = at.and_then(|at| self.list.get(at)) {
            let sent = entry.id();
            if entry.urgent || (sent != 0 && sent <= id) {
                break;
            }
            if sent != 0 {
                after = at;
            }
            at = at.and_then(|at| self.list.prev(at));
        }
        match after.and_then(|at| self.list.get_mut(at)) {
            Some(entry) => entry.gap.add(missed),
            None => self.gap.add(missed),
        }
        // Where entries are late it may be told once too often: to look at all of them takes long.
        self.report_lost && (self.late > 0 || self.pick().is_none())
    }

    /// Takes out an entry whose send has failed; also says whether somebody may wait for its room.
    ///
    /// Whoever has read meanwhile found the queue full of it, and told nobody of the room that
    /// there is now. But that of the entry itself is no news for those who sleep, as none is that a
    /// failed send had: see [`Charge::cancel`](super::account::Charge::cancel).
    pub(super) fn cancel(&mut self, at: u32, serial: u64) -> Option<(Entry<M>, GivenBack)> {
        let gap = self.find(at, serial)?.gap;
        let mut entry = self.take_with_gap(at)?;
        entry.place.take().cancel();
        let mut back = self.given_back(entry.late);
        back.gap = self.report_lost && gap.count > 0;
        Some((entry, back))
    }

    /// A failed send has given room back, which others may have `seen` taken.
    pub(super) fn given_back(&mut self, seen: bool) -> GivenBack {
        let from = self.version;
        if seen {
            self.version = self.version.wrapping_add(1);
        }
        GivenBack {
            from,
            to: self.version,
            awaited: !self.waiters.is_empty() && self.has_room(),
            gap: false,
        }
    }

    /// Takes an entry out; what was missed before it is told with the next one.
    #[inline]
    fn take_with_gap(&mut self, at: u32) -> Option<Entry<M>> {
        let next = self.list.next(at);
        let mut entry = self.take(at)?;
        let gap = core::mem::replace(&mut entry.gap, Gap::NONE);
        match next.and_then(|at| self.list.get_mut(at)) {
            Some(next) => next.gap.add(gap),
            None => self.gap.add(gap),
        }
        Some(entry)
    }

    /// Takes out an obligation to meet it. It counts until [`Queue::met`].
    pub(super) fn take_owed(&mut self, id: u64) -> Option<Box<Obligation<M>>> {
        self.owed.get_mut(&id)?.take()
    }

    /// Puts an obligation back that could not be met; gives it back if the socket can meet none any
    /// more.
    pub(super) fn put_owed(
        &mut self,
        obligation: Box<Obligation<M>>,
    ) -> Option<Box<Obligation<M>>> {
        match self.owed.get_mut(&obligation.request) {
            Some(place) => place.replace(obligation),
            None => Some(obligation),
        }
    }

    /// The obligation that was taken out is met. Its place in the ledger is for the caller to drop.
    pub(super) fn met(&mut self, id: u64) -> Option<obligation::Place<M>> {
        let node = self.owed.remove(&id)?;
        self.unreplied = self.unreplied.saturating_sub(1);
        Some(Room::of(node))
    }

    /// Keeps the memory of an obligation to this socket for its next request. What was kept before
    /// is for the caller to drop.
    pub(super) fn keep(&mut self, memory: obligation::Memory<M>) -> Option<obligation::Memory<M>> {
        self.kept.replace(memory)
    }

    /// Memory for what is owed for a request of this socket, if it has kept some.
    pub(super) fn take_kept(&mut self) -> Option<obligation::Memory<M>> {
        self.kept.take()
    }

    /// Keeps the memory of a list for the next message of this socket that several get. What was
    /// kept before is for the caller to drop.
    pub(super) fn keep_list(&mut self, list: RecipientList<M>) -> Option<RecipientList<M>> {
        self.kept_list.replace(list)
    }

    /// Memory for a list of recipients, if this socket has kept some.
    pub(super) fn take_list(&mut self) -> Option<RecipientList<M>> {
        self.kept_list.take()
    }
}
