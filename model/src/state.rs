// SPDX-License-Identifier: GPL-2.0

//! The whole state, and the rules about room.

use crate::errno::*;
use crate::message::Copy;
use crate::message::Debt;
use crate::message::Gap;
use crate::message::Msg;
use crate::message::Origin;
use crate::name;
use crate::wait::Waiter;
use crate::Errno;
use std::collections::BTreeMap;

/// What a run is about.
#[derive(Clone, Debug)]
pub struct Config {
    /// The user of each slot that a socket may be in.
    pub users: Vec<u32>,
    /// How many buses.
    pub buses: usize,
    /// Who made them.
    pub owner: u32,
    /// Largest payload.
    pub max_msg: usize,
    /// Payload that may be alive on a bus.
    pub bytes_max: usize,
    /// Payload that may wait for one user.
    pub budget: usize,
    /// Messages that may wait for one user.
    pub messages: usize,
    /// The memory cgroup of each slot.
    pub groups: Vec<usize>,
    /// Unbind events of sockets that die which all listeners of a bus may have, and how many one may have in any case.
    pub unbinds: (usize, usize),
    /// How many may wait at a time.
    pub waiters: usize,
    /// Reply bytes that a request reserves unless it says otherwise.
    pub reply_max: usize,
}

/// A socket.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // As their names say.
pub struct Sock {
    /// Names it: never used again.
    pub key: u64,
    pub user: u32,
    pub bus: usize,
    pub queue: Vec<Copy>,
    pub limit: usize,
    pub byte_limit: usize,
    /// Slots kept for replies.
    pub reserved: usize,
    /// Bytes kept for them.
    pub promised: usize,
    /// Messages kept for them.
    pub promises: usize,
    /// Requests read and not answered.
    pub owed: Vec<Debt>,
    /// Missed after the last of the queue.
    pub gap: Gap,
    pub lost: u64,
    pub once: bool,
    pub lossy: bool,
    pub report_lost: bool,
    pub reports: bool,
    pub read_shut: bool,
    pub write_shut: bool,
    /// What the last send that would have blocked lacked first.
    pub blocked_by: Option<Blocked>,
}

/// What a send lacked that would have blocked.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    /// The slot whose queue was full.
    pub on: usize,
    /// If only its user's budget was used up: that user, and what was left.
    pub broke: Option<(u32, (usize, usize))>,
}

/// What is held while something is sent, and is in no queue yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub bus: usize,
    pub user: u32,
    pub bytes: usize,
    pub messages: usize,
}

/// A binding; a later one has a greater number.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Binding {
    pub seq: u64,
    pub bus: usize,
    pub slot: usize,
    pub replier: bool,
    pub text: String,
}

/// The state of all buses.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is about.
    pub config: Config,
    /// The sockets, those that are open.
    pub socks: Vec<Option<Sock>>,
    /// All bindings, the oldest first.
    pub bindings: Vec<Binding>,
    /// What waits, the oldest first.
    pub waiters: Vec<Waiter>,
    pub(crate) held: Option<Held>,
    /// The last id of a message.
    pub last_id: u64,
    pub(crate) last_key: u64,
    pub(crate) last_seq: u64,
}

impl Model {
    /// Buses without sockets.
    pub fn new(config: Config) -> Self {
        Model {
            socks: vec![None; config.users.len()],
            config,
            bindings: vec![],
            waiters: vec![],
            held: None,
            last_id: 0,
            last_key: 0,
            last_seq: 0,
        }
    }

    /// Puts a socket on a bus.
    pub fn open(&mut self, slot: usize, bus: usize) -> u64 {
        self.last_key += 1;
        self.socks[slot] = Some(Sock {
            key: self.last_key,
            user: self.config.users[slot],
            bus,
            queue: vec![],
            limit: 100,
            byte_limit: 8 << 20,
            reserved: 0,
            promised: 0,
            promises: 0,
            owed: vec![],
            gap: Gap::default(),
            lost: 0,
            once: false,
            lossy: false,
            report_lost: false,
            reports: false,
            read_shut: false,
            write_shut: false,
            blocked_by: None,
        });
        self.last_key
    }

    /// An open socket.
    pub fn sock(&self, slot: usize) -> &Sock {
        self.socks[slot].as_ref().expect("an open socket")
    }

    /// An open socket, to be changed.
    pub fn sock_mut(&mut self, slot: usize) -> &mut Sock {
        self.socks[slot].as_mut().expect("an open socket")
    }

    /// The open sockets of a bus.
    pub fn members(&self, bus: usize) -> impl Iterator<Item = (usize, &Sock)> {
        let all = self.socks.iter().enumerate();
        all.filter_map(move |(slot, sock)| Some((slot, sock.as_ref()?)))
            .filter(move |(_, sock)| sock.bus == bus)
    }

    /// The socket that a debt is owed to, if it is still there.
    pub fn requester(&self, debt: &Debt) -> Option<usize> {
        let (slot, key) = debt.requester;
        let sock = self.socks[slot].as_ref()?;
        (sock.key == key).then_some(slot)
    }

    /// Payload that waits in a queue.
    pub fn bytes(&self, slot: usize) -> usize {
        self.sock(slot).queue.iter().map(|c| c.msg.len).sum()
    }

    /// Payload alive on a bus, each message's once, and what is reserved for replies.
    pub fn used(&self, bus: usize) -> usize {
        let mut users = self.config.users.clone();
        users.sort_unstable();
        users.dedup();
        users.into_iter().map(|user| self.used_of(bus, user)).sum()
    }

    /// The part of that which one user has.
    pub fn used_of(&self, bus: usize, user: u32) -> usize {
        let mut messages = BTreeMap::new();
        for (_, sock) in self.members(bus) {
            let copies = sock.queue.iter().filter(|copy| copy.charged == Some(user));
            messages.extend(copies.map(|copy| (copy.msg.id, copy.msg.len)));
        }
        let debts = self.debts().filter(|(at, debt)| *at == bus && debt.user == user);
        let held = self.held.filter(|held| held.bus == bus && held.user == user);
        messages.values().sum::<usize>()
            + debts.map(|(_, debt)| debt.reserved).sum::<usize>()
            + held.map_or(0, |held| held.bytes)
    }

    /// Every request that has no answer yet, and its bus.
    fn debts(&self) -> impl Iterator<Item = (usize, &Debt)> {
        self.socks.iter().flatten().flat_map(|sock| {
            let unread = sock.queue.iter().filter_map(|copy| copy.debt.as_ref());
            unread.chain(&sock.owed).map(|debt| (sock.bus, debt))
        })
    }

    /// Whether a user may have so many bytes more of a bus: the owner all, others no more than is left then.
    pub fn bus_gives(&self, bus: usize, user: u32, bytes: usize) -> bool {
        let used = self.used(bus) + bytes;
        let owns = user == self.config.owner;
        let fair = owns || bytes == 0 || self.used_of(bus, user) + bytes + used <= self.config.bytes_max;
        used <= self.config.bytes_max && fair
    }

    /// The memory cgroups where a user pays for the payload of a message, with its length.
    fn paid(&self, user: u32) -> BTreeMap<(u64, usize), usize> {
        let mut messages = BTreeMap::new();
        for (slot, sock) in self.socks.iter().enumerate() {
            let group = self.config.groups[slot];
            let copies = sock.iter().flat_map(|sock| &sock.queue);
            let copies = copies.filter(|copy| copy.payer == Some(user));
            messages.extend(copies.map(|copy| ((copy.msg.id, group), copy.msg.len)));
        }
        messages
    }

    /// Whether a user pays for a message in the memory cgroup of a slot.
    pub fn has_paid(&self, user: u32, id: u64, slot: usize) -> bool {
        self.paid(user).contains_key(&(id, self.config.groups[slot]))
    }

    /// Payload that waits for a user anywhere, each message's once for each memory cgroup, and what the user's
    /// requests keep for replies.
    pub fn spent(&self, user: u32) -> usize {
        let debts = self.debts().filter(|(_, debt)| debt.user == user);
        let held = self.held.filter(|held| held.user == user);
        self.paid(user).values().sum::<usize>()
            + debts.map(|(_, debt)| debt.reserved).sum::<usize>()
            + held.map_or(0, |held| held.bytes)
    }

    /// Messages that wait for a user anywhere, each copy one, and those that the user's requests keep for replies.
    pub fn spent_messages(&self, user: u32) -> usize {
        let all = self.socks.iter().flatten().flat_map(|sock| &sock.queue);
        let copies = all.filter(|copy| copy.counted == Some(user)).count();
        let held = self.held.filter(|held| held.user == user);
        copies + self.debts().filter(|(_, debt)| debt.user == user).count() + held.map_or(0, |held| held.messages)
    }

    /// What is left of a user's budget: bytes and messages.
    pub fn left(&self, user: u32) -> (usize, usize) {
        let bytes = self.config.budget.saturating_sub(self.spent(user));
        let messages = self.config.messages.saturating_sub(self.spent_messages(user));
        (bytes, messages)
    }

    /// What a socket holds of its own user's budget: bytes and messages.
    pub fn holds(&self, slot: usize) -> (usize, usize) {
        let sock = self.sock(slot);
        let own = sock.queue.iter().filter(|copy| copy.payer == Some(sock.user));
        let bytes = own.map(|copy| copy.msg.len).sum::<usize>() + sock.promised;
        let own = sock.queue.iter().filter(|copy| copy.counted == Some(sock.user));
        (bytes, own.count() + sock.promises)
    }

    /// Whether a further message is taken.
    pub fn has_room(&self, slot: usize) -> bool {
        let sock = self.sock(slot);
        !sock.read_shut && sock.queue.len() + sock.reserved < sock.limit && self.bytes(slot) < sock.byte_limit
    }

    /// The next id.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Puts a copy in a queue, an urgent one before all others.
    pub fn push(&mut self, slot: usize, mut copy: Copy) {
        let sock = self.sock_mut(slot);
        if copy.is_urgent() && !sock.queue.is_empty() {
            copy.gap = Gap::default();
            sock.queue.insert(0, copy);
        } else {
            copy.gap = std::mem::take(&mut sock.gap);
            sock.queue.push(copy);
        }
    }

    /// A message that had no room.
    pub fn miss(&mut self, slot: usize, id: u64) {
        let sock = self.sock_mut(slot);
        sock.gap.add(Gap { count: 1, last: id });
        sock.lost += 1;
    }

    /// Who answers for a name: exact before `%` before `*`, of these the longest.
    pub fn replier(&self, bus: usize, name: &str) -> Option<&Binding> {
        let all = self.bindings.iter();
        all.filter(|b| b.replier && b.bus == bus && name::matches(&b.text, name))
            .filter(|_| !name::is_bus_own(name))
            .max_by_key(|b| (name::tail(&b.text), name::words(&b.text)))
    }

    /// The listener bindings that match, in the order in which copies are made.
    pub fn listeners(&self, bus: usize, name: &str) -> Vec<Binding> {
        let all = self.bindings.iter().filter(|b| !b.replier && b.bus == bus);
        let mut all: Vec<Binding> = all.filter(|b| name::matches(&b.text, name)).cloned().collect();
        let rank = |b: &Binding| (name::words(&b.text), name::tail(&b.text));
        // Identical ones stand where the oldest of them does.
        let same = |b: &Binding| {
            let first = self.bindings.iter().find(|a| (a.slot, a.replier, &a.text) == (b.slot, false, &b.text));
            first.map_or(0, |first| first.seq)
        };
        all.sort_by_key(|b| (rank(b), same(b), b.seq));
        all
    }

    /// The first message as its reader sees it, which stays where it is.
    pub fn front(&self, slot: usize) -> Option<Msg> {
        let sock = self.sock(slot);
        let gap = sock.queue.first().map_or(sock.gap, |copy| copy.gap);
        if sock.report_lost && gap.count > 0 {
            return Some(Msg {
                id: gap.last,
                name: name::LOST.to_string(),
                flags: crate::message::flags::STATUS,
                lost: gap.count,
                ..Msg::default()
            });
        }
        let copy = sock.queue.first()?;
        let mut msg = copy.msg.clone();
        msg.lost = copy.gap.count;
        if copy.debt.is_some() {
            msg.flags |= crate::message::flags::YOU_REPLY;
        }
        Some(msg)
    }

    /// Reads one message; what must be answered is owed from now on.
    pub fn read(&mut self, slot: usize) -> Option<Msg> {
        let msg = self.front(slot)?;
        let sock = self.sock_mut(slot);
        if msg.name == name::LOST {
            match sock.queue.first_mut() {
                Some(copy) => copy.gap.count = 0,
                None => sock.gap.count = 0,
            }
            return Some(msg);
        }
        let copy = sock.queue.remove(0);
        sock.owed.extend(copy.debt);
        sock.owed.sort_by_key(|debt| debt.id);
        self.room_in(slot);
        Some(msg)
    }

    /// Copies of this origin in a queue.
    pub fn count_of(&self, slot: usize, origin: Origin) -> usize {
        let queue = self.sock(slot).queue.iter();
        queue.filter(|copy| copy.origin == origin).count()
    }

    /// Sets the most messages of a queue.
    pub fn set_limit(&mut self, slot: usize, limit: usize) {
        self.sock_mut(slot).limit = limit;
        self.release(slot);
    }

    /// Sets below how many bytes a queue takes a further message.
    pub fn set_bytes(&mut self, slot: usize, bytes: usize) {
        self.sock_mut(slot).byte_limit = bytes;
        self.release(slot);
    }

    /// One copy of each message, or one for each binding.
    pub fn set_once(&mut self, slot: usize, on: bool) {
        self.sock_mut(slot).once = on;
        self.release(slot);
    }

    /// Whether nobody fails or waits for this listener.
    pub fn set_lossy(&mut self, slot: usize, on: bool) {
        self.sock_mut(slot).lossy = on;
        self.release(slot);
    }

    /// Gives up a request that is owed.
    ///
    /// # Errors
    ///
    /// `ECONNREFUSED` when it is not owed.
    pub fn ignore(&mut self, slot: usize, id: u64) -> Result<(), Errno> {
        let owed = &mut self.sock_mut(slot).owed;
        let at = owed.iter().position(|debt| debt.id == id).ok_or(ECONNREFUSED)?;
        let debt = owed.remove(at);
        self.status(debt, crate::close::IGNORED);
        Ok(())
    }
}
