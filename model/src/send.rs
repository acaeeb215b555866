// SPDX-License-Identifier: GPL-2.0

//! Announcements, requests and replies.

use crate::errno::*;
use crate::message::flags;
use crate::message::Copy;
use crate::message::Debt;
use crate::message::Msg;
use crate::name;
use crate::state::Binding;
use crate::state::Model;
use crate::wait::What;
use crate::Errno;

/// What a full listener means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It misses the message.
    Miss,
    /// `KBUS_ALL_OR_FAIL`.
    Fail,
    /// `KBUS_ALL_OR_WAIT`.
    Wait,
    /// A bind event of this user.
    Event(u32),
}

/// An announcement or a request.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // As their names say.
pub struct Send {
    pub name: String,
    /// Key of the peer that a stateful request is for.
    pub peer: Option<u64>,
    pub request: bool,
    pub policy: Policy,
    pub urgent: bool,
    pub len: usize,
    pub reply_max: usize,
    pub cookie: u64,
}

/// Why something was not sent.
#[derive(Debug)]
pub enum Refusal {
    /// For good.
    Error(Errno),
    /// Until these slots have room; with each, whether it only lacks its user's budget.
    Full(Vec<(usize, bool)>),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Refusal::Error(error)
    }
}

/// A copy that is to be made.
#[derive(Debug)]
pub(crate) struct Delivery {
    slot: usize,
    listens: Vec<u64>,
    replier: Option<u64>,
    must: bool,
    fits: bool,
    /// Whether it fails to fit for want of somebody's budget.
    broke: bool,
    payer: Option<u32>,
    counted: u32,
    stranger: Option<u32>,
}

/// Whom a message is for.
pub(crate) struct Target<'a> {
    pub bus: usize,
    /// The sender's user.
    pub sender: u32,
    /// Bytes that will be kept for the reply, at the cost of that user.
    pub reply_max: usize,
    /// A user who has paid already.
    pub paid: Option<u32>,
    pub name: &'a str,
    pub replier: Option<(usize, u64)>,
    pub len: usize,
    /// Has got its one copy already.
    pub served: Option<usize>,
    pub policy: Policy,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has this id.
    Id(u64),
    /// It waits.
    Waits,
}

impl Model {
    /// Who gets a copy, the replier first.
    fn recipients(&self, target: &Target<'_>) -> Vec<Delivery> {
        let listeners = self.listeners(target.bus, target.name);
        let of = |slot: usize| -> Vec<u64> {
            let mine = listeners.iter().filter(|b| b.slot == slot);
            mine.map(|b| b.seq).collect()
        };
        let mut list: Vec<Delivery> = vec![];
        if let Some((slot, seq)) = target.replier {
            let once = self.sock(slot).once;
            list.push(Delivery {
                slot,
                listens: if once { of(slot) } else { vec![] },
                replier: Some(seq),
                must: true,
                fits: false,
                broke: false,
                payer: Some(target.sender),
                counted: target.sender,
                stranger: None,
            });
        }
        for binding in &listeners {
            let slot = binding.slot;
            if target.served == Some(slot) {
                continue;
            }
            let must = self.must_get(binding, target.policy);
            let once = self.sock(slot).once;
            if let Some(merged) = list.iter_mut().find(|d| once && d.slot == slot) {
                merged.must |= must;
                continue;
            }
            list.push(Delivery {
                slot,
                listens: if once { of(slot) } else { vec![binding.seq] },
                replier: None,
                must,
                fits: false,
                broke: false,
                // The payload of an event is at nobody's cost.
                payer: match target.policy {
                    Policy::Event(_) => None,
                    _ => Some(self.sock(slot).user),
                },
                counted: self.sock(slot).user,
                stranger: None,
            });
        }
        list
    }

    /// Whether nobody gets the message if this listener cannot.
    fn must_get(&self, binding: &Binding, policy: Policy) -> bool {
        let sock = self.sock(binding.slot);
        !sock.lossy
            && match policy {
                Policy::Miss => false,
                Policy::Fail | Policy::Wait => true,
                Policy::Event(user) => {
                    let trusted = sock.user == user || sock.user == self.config.owner;
                    name::tail(&binding.text) == 2 && trusted
                }
            }
    }

    /// All copies of a message, and whether each has room.
    pub(crate) fn plan(&self, target: &Target<'_>) -> Result<Vec<Delivery>, Refusal> {
        let mut list = self.recipients(target);
        let mut full = vec![];
        let mut sender_broke = false;
        // Who pays for the message, so far.
        let mut pay: Vec<u32> = target.paid.into_iter().collect();
        for at in 0..list.len() {
            let slot = list[at].slot;
            let before: Vec<&Delivery> = list[..at].iter().filter(|d| d.fits && d.slot == slot).collect();
            let (sock, asked) = (self.sock(slot), at == 0 && target.replier.is_some());
            let (count, own) = (before.len(), before.iter().filter(|d| d.payer == Some(sock.user)).count());
            let count_own = before.iter().filter(|d| d.counted == sock.user).count();
            let asks = target.replier.is_some();
            let left = |user: u32| {
                let (bytes, messages) = self.left(user);
                match asks && user == target.sender {
                    true => (bytes.saturating_sub(target.reply_max), messages.saturating_sub(1)),
                    false => (bytes, messages),
                }
            };
            // Strangers leave an eighth of a larger queue to those who have none in it.
            let strange = target.sender != self.config.owner && target.sender != sock.user && sock.limit >= 16;
            let has = sock.queue.iter().filter(|c| c.stranger == Some(target.sender)).count()
                + before.iter().filter(|d| d.stranger.is_some()).count();
            let held = sock.queue.len() + sock.reserved + count;
            let kept = strange && has > 0 && held >= sock.limit - sock.limit / 8;
            let room = self.has_room(slot, count, count * target.len);
            let free = list[at].payer.is_none();
            let (holds, has_left) = (self.holds(slot), left(sock.user));
            let holds_too_much =
                (!free && holds.0 + own * target.len > has_left.0) || holds.1 + count_own > has_left.1;
            let counted = list[at].counted;
            let others = list[..at].iter().filter(|d| d.fits && d.counted == counted).count();
            let pays = list[at].payer.is_none_or(|user| pay.contains(&user) || left(user).0 >= target.len)
                && left(counted).1 > others;
            let fits = room && !holds_too_much && !kept && pays;
            list[at].fits = fits;
            list[at].broke = room && (holds_too_much || (!kept && !pays));
            list[at].stranger = (strange && fits).then_some(target.sender);
            if fits {
                pay.extend(list[at].payer.filter(|_| target.len > 0));
            } else if asked && room && !holds_too_much && !kept {
                sender_broke = true;
            } else if list[at].must {
                full.push((slot, list[at].broke));
            }
        }
        if !full.is_empty() {
            return match target.policy {
                Policy::Miss | Policy::Fail => Err(EBUSY.into()),
                Policy::Wait | Policy::Event(_) => Err(Refusal::Full(full)),
            };
        }
        match sender_broke {
            true => Err(EDQUOT.into()),
            false => Ok(list),
        }
    }

    /// Puts the copies in the queues; a debt goes with the first of them.
    pub(crate) fn deliver(&mut self, plan: Vec<Delivery>, msg: &Msg, mut debt: Option<Debt>, charged: Option<u32>) {
        for delivery in plan {
            if !delivery.fits {
                self.miss(delivery.slot, msg.id);
                continue;
            }
            let copy = Copy {
                listens: delivery.listens,
                replier: delivery.replier,
                debt: debt.take(),
                charged,
                payer: delivery.payer,
                counted: Some(delivery.counted),
                stranger: delivery.stranger,
                ..Copy::own(msg.clone())
            };
            self.push(delivery.slot, copy);
        }
    }

    /// What holds for all sends.
    fn check(&self, slot: usize, len: usize, request: bool) -> Result<(), Errno> {
        let sock = self.sock(slot);
        if len > self.config.max_msg {
            return Err(EMSGSIZE);
        }
        if sock.write_shut || (request && sock.read_shut) {
            return Err(EPIPE);
        }
        Ok(())
    }

    /// Sends an announcement or a request.
    ///
    /// # Errors
    ///
    /// As the table of the contract has them, in its order.
    pub fn send(&mut self, slot: usize, send: &Send, blocking: bool) -> Result<Sent, Errno> {
        self.check(slot, send.len, send.request)?;
        if name::is_bus_own(&send.name) {
            return Err(EPERM);
        }
        self.sock_mut(slot).blocked_by = None;
        if send.policy == Policy::Wait {
            self.let_others_go(self.sock(slot).bus, &send.name);
        }
        match self.try_send(slot, send) {
            Ok(id) => Ok(Sent::Id(id)),
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Full(full)) if !blocking => {
                self.sock_mut(slot).blocked_by = full.first().copied();
                Err(EAGAIN)
            }
            Err(Refusal::Full(full)) => self.wait(slot, What::Send(send.clone()), &full),
        }
    }

    /// A new send goes behind those who wait for the same queues and may go.
    fn let_others_go(&mut self, bus: usize, name: &str) {
        let replier = self.replier(bus, name).map(|b| b.slot);
        let listeners = self.listeners(bus, name).into_iter().map(|b| b.slot);
        let mut slots: Vec<usize> = replier.into_iter().chain(listeners).collect();
        slots.retain(|slot| self.has_room(*slot, 0, 0));
        for slot in slots {
            self.retry_waiters_of(slot);
        }
    }

    /// One try of a send.
    pub(crate) fn try_send(&mut self, slot: usize, send: &Send) -> Result<u64, Refusal> {
        self.check(slot, send.len, send.request)?;
        if send.request {
            let reserved = match send.reply_max {
                0 => self.config.reply_max,
                bytes => bytes,
            };
            let reserved = reserved.min(self.config.max_msg);
            let sock = self.sock(slot);
            let (left, holds) = (self.left(sock.user), self.holds(slot));
            let full = sock.queue.len() + sock.reserved >= sock.limit;
            if full || holds.0 > left.0 || holds.1 > left.1 {
                return Err(ENOBUFS.into());
            }
            self.sock_mut(slot).reserved += 1;
            self.sock_mut(slot).promised += reserved;
            self.sock_mut(slot).promises += 1;
            let result = self.try_request(slot, send, reserved);
            if result.is_err() {
                self.sock_mut(slot).reserved -= 1;
                self.sock_mut(slot).promised -= reserved;
                self.sock_mut(slot).promises -= 1;
            }
            return result;
        }
        let (bus, user) = (self.sock(slot).bus, self.sock(slot).user);
        let plan = self.plan(&Target {
            bus,
            sender: user,
            reply_max: 0,
            paid: None,
            name: &send.name,
            replier: None,
            len: send.len,
            served: None,
            policy: send.policy,
        })?;
        self.check_bytes(bus, user, &plan, send.len, 0)?;
        let msg = self.message(slot, send, 0);
        let id = msg.id;
        self.deliver(plan, &msg, None, Some(user));
        Ok(id)
    }

    /// Whether the bus has the bytes for a message that somebody will get.
    fn check_bytes(
        &self,
        bus: usize,
        user: u32,
        plan: &[Delivery],
        len: usize,
        more: usize,
    ) -> Result<(), Errno> {
        let len = if plan.iter().any(|d| d.fits) { len } else { 0 };
        match len == 0 || self.bus_gives_after(bus, user, more, len) {
            true => Ok(()),
            false => Err(EDQUOT),
        }
    }

    /// Whether the bus gives a user `bytes` when it has already given `more`.
    fn bus_gives_after(&self, bus: usize, user: u32, more: usize, bytes: usize) -> bool {
        let (used, max) = (self.used(bus) + more + bytes, self.config.bytes_max);
        let fair = user == self.config.owner || self.used_of(bus, user) + more + bytes + used <= max;
        used <= max && fair
    }

    /// A request whose slot for the reply is counted already.
    fn try_request(&mut self, slot: usize, send: &Send, reserved: usize) -> Result<u64, Refusal> {
        let sock = self.sock(slot);
        let (bus, user) = (sock.bus, sock.user);
        let left = self.left(user);
        if !self.bus_gives(bus, user, reserved) || left.0 < reserved || left.1 < 1 {
            return Err(ENOBUFS.into());
        }
        let replier = self.replier(bus, &send.name).cloned().ok_or(EADDRNOTAVAIL)?;
        let asked = self.sock(replier.slot).key;
        if send.peer.is_some_and(|peer| peer != asked) {
            return Err(EPIPE.into());
        }
        let plan = self.plan(&Target {
            bus,
            sender: user,
            reply_max: reserved,
            paid: None,
            name: &send.name,
            replier: Some((replier.slot, replier.seq)),
            len: send.len,
            served: None,
            policy: send.policy,
        })?;
        self.check_bytes(bus, user, &plan, send.len, reserved)?;
        let msg = self.message(slot, send, flags::REQUEST);
        let id = msg.id;
        let debt = Debt {
            requester: (slot, self.sock(slot).key),
            user,
            id,
            replier: asked,
            name: send.name.clone(),
            reserved,
            cookie: send.cookie,
        };
        self.deliver(plan, &msg, Some(debt), Some(user));
        Ok(id)
    }

    fn message(&mut self, slot: usize, send: &Send, kind: u32) -> Msg {
        let urgent = if send.urgent { flags::URGENT } else { 0 };
        Msg {
            id: self.next_id(),
            name: send.name.clone(),
            flags: kind | urgent,
            sender: self.sock(slot).key,
            to: send.peer.unwrap_or(0),
            len: send.len,
            ..Msg::default()
        }
    }

    /// Sends the reply to `request` of the socket with key `peer`.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE`, `EPIPE`, `ECONNREFUSED`, `EADDRNOTAVAIL`, `EINVAL`, in this order, and `EMSGSIZE` again.
    pub fn reply(
        &mut self,
        slot: usize,
        (peer, request): (u64, u64),
        name: Option<&str>,
        len: usize,
        urgent: bool,
    ) -> Result<u64, Errno> {
        self.check(slot, len, false)?;
        self.sock_mut(slot).blocked_by = None;
        let owed = &self.sock(slot).owed;
        let at = owed.iter().position(|debt| debt.id == request).ok_or(ECONNREFUSED)?;
        let debt = owed[at].clone();
        if debt.requester.1 != peer {
            return Err(ECONNREFUSED);
        }
        let Some(to) = self.requester(&debt) else {
            self.sock_mut(slot).owed.remove(at);
            return Err(EADDRNOTAVAIL);
        };
        if name.is_some_and(|name| name != debt.name) {
            return Err(EINVAL);
        }
        let bus = self.sock(slot).bus;
        let open = !self.sock(to).read_shut;
        if len > debt.reserved {
            let left = self.sock(to).byte_limit.saturating_sub(self.bytes(to));
            let own_left = self.left(debt.user).0;
            let fits = !open || (left > 0 && len <= left && self.holds(to).0 <= own_left);
            let more = len - debt.reserved;
            let rich = self.spent(debt.user) + more <= self.config.budget;
            if !fits || !self.bus_gives(bus, debt.user, more) || !rich {
                return Err(EMSGSIZE);
            }
        }
        let msg = Msg {
            id: self.next_id(),
            name: debt.name.clone(),
            flags: flags::REPLY | if urgent { flags::URGENT } else { 0 },
            sender: self.sock(slot).key,
            to: peer,
            in_reply_to: request,
            len,
            ..Msg::default()
        };
        // What it needs is kept until all know what they get.
        let kept = debt.reserved.max(len);
        self.sock_mut(slot).owed[at].reserved = kept;
        self.sock_mut(to).promised += kept - debt.reserved;
        self.sock_mut(to).reserved -= 1;
        if open {
            let mut own = Copy::own(msg.clone());
            own.msg.cookie = debt.cookie;
            self.push(to, own);
        }
        let plan = self.plan(&Target {
            bus,
            sender: self.sock(slot).user,
            reply_max: 0,
            paid: open.then_some(debt.user),
            name: &debt.name,
            replier: None,
            len,
            served: (open && self.sock(to).once).then_some(to),
            policy: Policy::Miss,
        });
        self.sock_mut(slot).owed.remove(at);
        self.sock_mut(to).promised -= kept;
        self.sock_mut(to).promises -= 1;
        let own = self.sock_mut(to).queue.iter_mut().find(|copy| copy.msg.id == msg.id);
        if let Some(own) = own {
            own.charged = Some(debt.user);
            own.payer = Some(debt.user);
            own.counted = Some(debt.user);
        }
        self.deliver(plan.expect("nobody must get a reply's copy"), &msg, None, Some(debt.user));
        Ok(msg.id)
    }
}
