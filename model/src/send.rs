// SPDX-License-Identifier: GPL-2.0

//! Announcements, requests and replies.

use std::collections::HashMap;

use crate::errno::*;
use crate::message::flags;
use crate::message::Copy;
use crate::message::Debt;
use crate::message::Msg;
use crate::name;
use crate::state::Binding;
use crate::state::Held;
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
    /// Until these slots have room, the first that was full and perhaps the sender's own; with each, whether it only
    /// lacks its user's budget.
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
    payer: Option<u32>,
    counted: u32,
}

/// Whether there is room for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Enough,
    /// The queue is full.
    Full,
    /// Its socket holds more than its user has left.
    Broke,
}

/// Whom a message is for.
pub(crate) struct Target {
    pub slot: usize,
    pub bus: usize,
    /// The sender's user.
    pub sender: u32,
    pub replier: Option<(usize, u64)>,
    /// Whether it needs no bytes of the bus any more.
    pub has_bytes: bool,
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
    fn recipients(&self, target: &Target, name: &str) -> Vec<Delivery> {
        let listeners = self.listeners(target.bus, name);
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
                payer: Some(target.sender),
                counted: target.sender,
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
                // The payload of an event is at nobody's cost.
                payer: match target.policy {
                    Policy::Event(_) => None,
                    _ => Some(self.sock(slot).user),
                },
                counted: self.sock(slot).user,
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

    /// Whether a queue takes a message of this user, when its own has so much left.
    fn weigh(&self, slot: usize, sender: u32, is_free: bool, left: (usize, usize)) -> Room {
        let sock = self.sock(slot);
        if !self.has_room(slot) {
            return Room::Full;
        }
        let holds = self.holds(slot);
        if (!is_free && holds.0 > left.0) || holds.1 > left.1 {
            return Room::Broke;
        }
        // Strangers leave an eighth of a larger queue to those who have none in it.
        let strange = self.is_strange(slot, sender);
        let has = sock.queue.iter().any(|copy| copy.stranger == Some(sender));
        match strange && has && sock.queue.len() + sock.reserved >= sock.limit - sock.limit / 8 {
            true => Room::Full,
            false => Room::Enough,
        }
    }

    fn is_strange(&self, slot: usize, sender: u32) -> bool {
        let sock = self.sock(slot);
        sender != self.config.owner && sender != sock.user && sock.limit >= 16
    }

    /// Does something that changes nothing when it fails.
    pub(crate) fn all_or_nothing<T, E>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let before = self.clone();
        let result = f(self);
        if result.is_err() {
            *self = before;
        }
        result
    }

    /// Puts the copies of a message in the queues, one after the other; a debt goes with the first of them.
    pub(crate) fn fan_out(
        &mut self,
        target: &Target,
        msg: &Msg,
        mut debt: Option<Debt>,
        charged: Option<u32>,
    ) -> Result<(), Refusal> {
        let list = self.recipients(target, &msg.name);
        let mut full: Vec<(usize, bool)> = vec![];
        let mut missed = vec![];
        let (mut denied, mut has_bytes) = (false, target.has_bytes);
        let is_free = matches!(target.policy, Policy::Event(_));
        // What the queues of one user get of it makes no difference among them.
        let mut judged: HashMap<u32, (usize, usize)> = HashMap::new();
        for (at, delivery) in list.iter().enumerate() {
            let (slot, asked) = (delivery.slot, at == 0 && target.replier.is_some());
            let user = self.sock(slot).user;
            let left = *judged.entry(user).or_insert_with(|| self.left(user));
            let room = self.weigh(slot, target.sender, is_free, left);
            let refused = denied || !full.is_empty();
            if refused {
                // Nobody gets it. Only what it would wait for is looked for.
                if room == Room::Enough || !delivery.must || !(full.is_empty() || slot == target.slot) {
                    continue;
                }
            } else if room == Room::Enough {
                if !has_bytes && !self.bus_gives(target.bus, target.sender, msg.len) {
                    denied = true;
                    continue;
                }
                has_bytes = true;
                let needs = |user| !self.has_paid(user, msg.id, slot) && msg.len > 0;
                let pays = delivery.payer.is_none_or(|user| !needs(user) || self.left(user).0 >= msg.len);
                if pays && self.left(delivery.counted).1 > 0 {
                    if asked {
                        self.held = None;
                    }
                    let copy = Copy {
                        listens: delivery.listens.clone(),
                        replier: delivery.replier,
                        debt: debt.take(),
                        charged,
                        payer: delivery.payer,
                        counted: Some(delivery.counted),
                        stranger: self.is_strange(slot, target.sender).then_some(target.sender),
                        ..Copy::own(msg.clone())
                    };
                    self.push(slot, copy);
                    continue;
                }
                if asked {
                    denied = true;
                    continue;
                }
            }
            if !delivery.must {
                missed.push(slot);
                continue;
            }
            match target.policy {
                Policy::Miss | Policy::Fail => return Err(EBUSY.into()),
                Policy::Wait | Policy::Event(_) => full.push((slot, room != Room::Full)),
            }
        }
        if !full.is_empty() {
            return Err(Refusal::Full(full));
        }
        if denied {
            return Err(EDQUOT.into());
        }
        for slot in missed {
            self.miss(slot, msg.id);
        }
        Ok(())
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
        self.check(slot, send.len, false)?;
        self.sock_mut(slot).blocked_by = None;
        self.check(slot, send.len, send.request)?;
        if name::is_bus_own(&send.name) {
            return Err(EPERM);
        }
        match self.try_send(slot, send) {
            Ok(id) => Ok(Sent::Id(id)),
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Full(full)) if !blocking => {
                self.block(slot, full[0]);
                Err(EAGAIN)
            }
            Err(Refusal::Full(full)) => self.wait(slot, What::Send(send.clone()), &full),
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
            return self.all_or_nothing(|model| {
                model.sock_mut(slot).reserved += 1;
                model.sock_mut(slot).promised += reserved;
                model.sock_mut(slot).promises += 1;
                model.try_request(slot, send, reserved)
            });
        }
        self.all_or_nothing(|model| {
            let (bus, user) = (model.sock(slot).bus, model.sock(slot).user);
            let msg = model.message(slot, send, 0);
            let target = Target {
                slot,
                bus,
                sender: user,
                replier: None,
                has_bytes: false,
                served: None,
                policy: send.policy,
            };
            model.fan_out(&target, &msg, None, Some(user))?;
            Ok(msg.id)
        })
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
        self.held = Some(Held {
            bus,
            user,
            bytes: reserved,
            messages: 1,
        });
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
        let target = Target {
            slot,
            bus,
            sender: user,
            replier: Some((replier.slot, replier.seq)),
            has_bytes: false,
            served: None,
            policy: send.policy,
        };
        self.fan_out(&target, &msg, Some(debt), Some(user))?;
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
        // What it needs is kept until all have what they get.
        self.sock_mut(slot).owed.remove(at);
        self.sock_mut(to).reserved -= 1;
        self.sock_mut(to).promised -= debt.reserved;
        self.sock_mut(to).promises -= 1;
        let kept = debt.reserved.max(len);
        self.held = Some(Held {
            bus,
            user: debt.user,
            bytes: if open { kept - len } else { kept },
            messages: usize::from(!open),
        });
        if open {
            let mut own = Copy {
                charged: Some(debt.user),
                payer: Some(debt.user),
                counted: Some(debt.user),
                ..Copy::own(msg.clone())
            };
            own.msg.cookie = debt.cookie;
            self.push(to, own);
        }
        let target = Target {
            slot,
            bus,
            sender: self.sock(slot).user,
            replier: None,
            has_bytes: true,
            served: (open && self.sock(to).once).then_some(to),
            policy: Policy::Miss,
        };
        let sent = self.fan_out(&target, &msg, None, Some(debt.user));
        sent.expect("nobody must get a reply's copy");
        self.held = None;
        Ok(msg.id)
    }
}
