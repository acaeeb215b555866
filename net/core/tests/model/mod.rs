// SPDX-License-Identifier: GPL-2.0

//! The bus in its plainest form: flat lists, everything looked up by looking at all of it.

use kbus_core::error::Error;
use kbus_core::error::Error::*;
use kbus_core::name::Pattern;
use kbus_core::name::Tail;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    pub requester: usize,
    pub name: String,
    pub reserved: usize,
    pub cookie: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub id: u64,
    pub name: String,
    pub flags: u32,
    pub sender: u64,
    pub to: u64,
    pub in_reply_to: u64,
    pub cookie: u64,
    pub len: usize,
    pub lost: u32,
    pub error: i32,
    pub binding: u64,
    pub debt: Option<Debt>,
}

#[derive(Default)]
pub struct Sock {
    pub user: u32,
    pub limit: u32,
    pub byte_limit: usize,
    pub queue: Vec<Copy>,
    pub reserved: u32,
    pub owed: BTreeMap<u64, Debt>,
    pub gap: u32,
    pub lost: u64,
    pub closed: bool,
    pub read_shut: bool,
    pub write_shut: bool,
}

#[derive(Clone)]
struct Binding {
    seq: u64,
    sock: usize,
    replier: bool,
    text: String,
}

impl Binding {
    fn pattern(&self) -> Pattern<'_> {
        Pattern::parse(self.text.as_bytes()).unwrap()
    }

    fn matches(&self, name: &str) -> bool {
        self.pattern().matches(name.as_bytes())
    }

    /// The order in which copies are made, and the order of precedence of repliers.
    fn rank(&self) -> (usize, u8) {
        let pattern = self.pattern();
        let words = kbus_core::name::words(pattern.prefix()).count();
        let tail = match pattern.tail() {
            Tail::Any => 0,
            Tail::One => 1,
            Tail::Exact => 2,
        };
        (words, tail)
    }
}

#[derive(Default)]
pub struct Model {
    pub socks: Vec<Sock>,
    bindings: Vec<Binding>,
    seq: u64,
    pub last_id: u64,
    pub owner: u32,
    pub max_msg: usize,
    pub bytes_max: usize,
    pub names: Vec<String>,
}

pub type Sent = Result<u64, Error>;

impl Model {
    pub fn new(owner: u32, max_msg: usize, bytes_max: usize) -> Self {
        Model {
            owner,
            max_msg,
            bytes_max,
            ..Default::default()
        }
    }

    pub fn used(&self) -> usize {
        let mut seen = BTreeSet::new();
        let mut used = 0;
        for sock in &self.socks {
            for copy in &sock.queue {
                if seen.insert(copy.id) {
                    used += copy.len;
                }
                used += copy.debt.as_ref().map_or(0, |d| d.reserved);
            }
            used += sock.owed.values().map(|d| d.reserved).sum::<usize>();
        }
        used
    }

    fn has_slot(&self, s: usize) -> bool {
        (self.socks[s].queue.len() as u32) + self.socks[s].reserved < self.socks[s].limit
    }

    pub fn bytes(&self, s: usize) -> usize {
        self.socks[s].queue.iter().map(|c| c.len).sum()
    }

    fn has_room(&self, s: usize) -> bool {
        let shut = self.socks[s].read_shut || self.socks[s].closed;
        !shut && self.has_slot(s) && self.bytes(s) < self.socks[s].byte_limit
    }

    fn push(&mut self, s: usize, mut copy: Copy) {
        copy.lost = std::mem::take(&mut self.socks[s].gap);
        self.socks[s].queue.push(copy);
    }

    fn winner(&self, name: &str) -> Option<&Binding> {
        if kbus_core::name::is_bus_own(name.as_bytes()) {
            return None;
        }
        let all = self
            .bindings
            .iter()
            .filter(|b| b.replier && b.matches(name));
        all.max_by_key(|b| (b.rank().1, b.rank().0))
    }

    pub fn replier_for(&self, name: &str) -> u64 {
        self.winner(name).map_or(0, |b| b.sock as u64 + 1)
    }

    fn bind(&mut self, s: usize, replier: bool, text: &str) {
        self.seq += 1;
        let (seq, text) = (self.seq, text.to_string());
        self.bindings.push(Binding {
            seq,
            sock: s,
            replier,
            text,
        });
    }

    pub fn listen(&mut self, s: usize, text: &str) -> Result<(), Error> {
        if self.socks[s].closed {
            return Err(NotConn);
        }
        if self.socks[s].read_shut {
            return Err(Inval);
        }
        self.bind(s, false, text);
        Ok(())
    }

    pub fn replier(&mut self, s: usize, text: &str) -> Result<(), Error> {
        if self.socks[s].closed {
            return Err(NotConn);
        }
        if kbus_core::name::is_bus_own(text.as_bytes()) {
            return Err(Perm);
        }
        if self.bindings.iter().any(|b| b.replier && b.text == text) {
            return Err(Exist);
        }
        if self.socks[s].read_shut || self.socks[s].write_shut {
            return Err(Inval);
        }
        let user = self.socks[s].user;
        let before: Vec<_> = self.names.iter().map(|n| self.winner(n).cloned()).collect();
        self.bind(s, true, text);
        for (name, before) in self.names.iter().zip(before) {
            let Some(before) = before else { continue };
            let whose = self.socks[before.sock].user;
            let protected = before.rank().0 > 0 || whose == self.owner;
            let taken = self.winner(name).is_some_and(|b| b.seq != before.seq);
            if taken && protected && whose != user && user != self.owner {
                self.bindings.pop();
                return Err(Acces);
            }
        }
        Ok(())
    }

    pub fn unbind(&mut self, s: usize, replier: bool, text: &str) -> Result<(), Error> {
        if self.socks[s].closed {
            return Err(NotConn);
        }
        let same = |b: &Binding| b.sock == s && b.replier == replier && b.text == text;
        let at = self.bindings.iter().rposition(same).ok_or(Inval)?;
        let seq = self.bindings.remove(at).seq;
        self.take_out(s, 3, |copy| copy.binding == seq);
        Ok(())
    }

    fn take_out(&mut self, s: usize, error: i32, which: impl Fn(&Copy) -> bool) {
        let mut lost = 0;
        let mut doomed = vec![];
        for mut copy in std::mem::take(&mut self.socks[s].queue) {
            lost += copy.lost;
            if which(&copy) {
                doomed.extend(copy.debt.map(|debt| (copy.id, debt)));
            } else {
                copy.lost = std::mem::take(&mut lost);
                self.socks[s].queue.push(copy);
            }
        }
        self.socks[s].gap += lost;
        for (id, debt) in doomed {
            self.status(s, id, debt, error);
        }
    }

    fn status(&mut self, s: usize, request: u64, debt: Debt, error: i32) {
        let to = &mut self.socks[debt.requester];
        to.reserved -= 1;
        if to.closed || to.read_shut {
            return;
        }
        self.last_id += 1;
        let what = ["GoneAway", "Ignored", "Unbound"][error as usize - 1];
        let copy = Copy {
            id: self.last_id,
            name: format!("$.KBUS.Replier.{what}"),
            flags: 1 << 6,
            sender: s as u64 + 1,
            to: 0,
            in_reply_to: request,
            cookie: debt.cookie,
            len: 0,
            lost: 0,
            error,
            binding: 0,
            debt: None,
        };
        self.push(debt.requester, copy);
    }

    fn forsake(&mut self, s: usize) {
        for (id, debt) in std::mem::take(&mut self.socks[s].owed) {
            self.status(s, id, debt, 2);
        }
    }

    pub fn close(&mut self, s: usize) {
        self.bindings.retain(|b| b.sock != s);
        self.socks[s].closed = true;
        self.take_out(s, 1, |_| true);
        self.forsake(s);
    }

    pub fn shut_read(&mut self, s: usize) {
        self.bindings.retain(|b| b.sock != s);
        self.socks[s].read_shut = true;
        self.take_out(s, 1, |copy| copy.debt.is_some());
    }

    pub fn shut_write(&mut self, s: usize) {
        self.bindings.retain(|b| b.sock != s || !b.replier);
        self.socks[s].write_shut = true;
        self.take_out(s, 3, |copy| copy.debt.is_some());
        self.forsake(s);
    }

    pub fn read(&mut self, s: usize) -> Option<Copy> {
        if self.socks[s].queue.is_empty() {
            return None;
        }
        let copy = self.socks[s].queue.remove(0);
        if let Some(debt) = &copy.debt {
            self.socks[s].owed.insert(copy.id, debt.clone());
        }
        Some(copy)
    }

    pub fn ignore(&mut self, s: usize, id: u64) -> Result<(), Error> {
        if self.socks[s].closed {
            return Err(NotConn);
        }
        let debt = self.socks[s].owed.remove(&id).ok_or(ConnRefused)?;
        self.status(s, id, debt, 2);
        Ok(())
    }

    fn check(&self, s: usize, len: usize, name: &str, request: bool) -> Result<(), Error> {
        if len > self.max_msg {
            return Err(MsgSize);
        }
        if self.socks[s].closed {
            return Err(NotConn);
        }
        if self.socks[s].write_shut || (request && self.socks[s].read_shut) {
            return Err(Pipe);
        }
        if kbus_core::name::is_bus_own(name.as_bytes()) {
            return Err(Perm);
        }
        Ok(())
    }

    /// Copies to all listeners; says how many got one.
    fn send_to_listeners(&mut self, copy: &Copy) -> usize {
        let mut all: Vec<_> = self.bindings.clone();
        all.retain(|b| !b.replier && b.matches(&copy.name));
        all.sort_by_key(|b| (b.rank(), b.sock, b.seq));
        let mut got = 0;
        for binding in all {
            if self.has_room(binding.sock) {
                self.push(
                    binding.sock,
                    Copy {
                        binding: binding.seq,
                        ..copy.clone()
                    },
                );
                got += 1;
            } else {
                self.socks[binding.sock].gap += 1;
                self.socks[binding.sock].lost += 1;
            }
        }
        got
    }

    fn listener_has_room(&self, name: &str) -> bool {
        let mut all = self
            .bindings
            .iter()
            .filter(|b| !b.replier && b.matches(name));
        all.any(|b| self.has_room(b.sock))
    }

    pub fn announce(&mut self, s: usize, name: &str, len: usize) -> Sent {
        self.check(s, len, name, false)?;
        if self.listener_has_room(name) && self.used() + len > self.bytes_max {
            return Err(DQuot);
        }
        self.last_id += 1;
        let copy = Copy {
            id: self.last_id,
            name: name.to_string(),
            flags: 0,
            sender: s as u64 + 1,
            to: 0,
            in_reply_to: 0,
            cookie: 0,
            len,
            lost: 0,
            error: 0,
            binding: 0,
            debt: None,
        };
        self.send_to_listeners(&copy);
        Ok(self.last_id)
    }

    pub fn request(
        &mut self,
        s: usize,
        name: &str,
        peer: u64,
        len: usize,
        reply_max: usize,
        cookie: u64,
    ) -> Sent {
        self.check(s, len, name, true)?;
        let reserved = if reply_max == 0 { 4096 } else { reply_max }.min(self.max_msg);
        if !self.has_slot(s) || self.used() + reserved > self.bytes_max {
            return Err(NoBufs);
        }
        let replier = self.winner(name).cloned().ok_or(AddrNotAvail)?;
        if peer != 0 && peer != replier.sock as u64 + 1 {
            return Err(Pipe);
        }
        self.socks[s].reserved += 1;
        let fault = if !self.has_room(replier.sock) {
            Some(Busy)
        } else if self.used() + reserved + len > self.bytes_max {
            Some(DQuot)
        } else {
            None
        };
        if let Some(fault) = fault {
            self.socks[s].reserved -= 1;
            return Err(fault);
        }
        self.last_id += 1;
        let mut copy = Copy {
            id: self.last_id,
            name: name.to_string(),
            flags: 1,
            sender: s as u64 + 1,
            to: peer,
            in_reply_to: 0,
            cookie: 0,
            len,
            lost: 0,
            error: 0,
            binding: 0,
            debt: None,
        };
        let debt = Debt {
            requester: s,
            name: name.to_string(),
            reserved,
            cookie,
        };
        let theirs = Copy {
            flags: 1 | (1 << 4),
            debt: Some(debt),
            binding: replier.seq,
            ..copy.clone()
        };
        self.push(replier.sock, theirs);
        copy.debt = None;
        self.send_to_listeners(&copy);
        Ok(self.last_id)
    }

    pub fn reply(
        &mut self,
        s: usize,
        peer: u64,
        request: u64,
        name: Option<&str>,
        len: usize,
    ) -> Sent {
        self.check(s, len, name.unwrap_or(""), false)?;
        let debt = self.socks[s]
            .owed
            .get(&request)
            .cloned()
            .ok_or(ConnRefused)?;
        let to = debt.requester;
        if to as u64 + 1 != peer {
            return Err(ConnRefused);
        }
        if self.socks[to].closed {
            self.socks[s].owed.remove(&request);
            self.socks[to].reserved -= 1;
            return Err(AddrNotAvail);
        }
        if name.is_some_and(|name| name != debt.name) {
            return Err(Inval);
        }
        if len > debt.reserved {
            let left = self.socks[to].byte_limit.saturating_sub(self.bytes(to));
            let fits = self.socks[to].read_shut || (left > 0 && len <= left);
            if !fits || self.used() - debt.reserved + len > self.bytes_max {
                return Err(MsgSize);
            }
        }
        self.socks[s].owed.remove(&request);
        self.socks[to].reserved -= 1;
        self.last_id += 1;
        let copy = Copy {
            id: self.last_id,
            name: debt.name.clone(),
            flags: 1 << 5,
            sender: s as u64 + 1,
            to: peer,
            in_reply_to: request,
            cookie: 0,
            len,
            lost: 0,
            error: 0,
            binding: 0,
            debt: None,
        };
        if !self.socks[to].read_shut {
            self.push(
                to,
                Copy {
                    cookie: debt.cookie,
                    ..copy.clone()
                },
            );
        }
        self.send_to_listeners(&copy);
        Ok(self.last_id)
    }
}
