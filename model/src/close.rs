// SPDX-License-Identifier: GPL-2.0

//! Sockets close or are shut, and statuses follow.

use crate::message::flags;
use crate::message::Copy;
use crate::message::Debt;
use crate::message::Gap;
use crate::message::Msg;
use crate::state::Binding;
use crate::state::Model;

/// The replier closed before it read the request.
pub const GONE_AWAY: i32 = 1;
/// It read the request, and will not answer.
pub const IGNORED: i32 = 2;
/// It gave the name up before it read the request.
pub const UNBOUND: i32 = 3;

/// What becomes of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    /// It stays.
    Nowhere,
    /// It stays, and will not be answered.
    Disowned,
    /// It goes.
    Away,
}

impl Model {
    /// Ends a debt without a reply.
    pub(crate) fn status(&mut self, debt: Debt, error: i32) {
        let Some(to) = self.requester(&debt) else {
            return;
        };
        self.sock_mut(to).reserved -= 1;
        self.sock_mut(to).promised -= debt.reserved;
        self.sock_mut(to).promises -= 1;
        if self.sock(to).read_shut {
            return;
        }
        let what = ["GoneAway", "Ignored", "Unbound"][error as usize - 1];
        let msg = Msg {
            id: self.next_id(),
            name: format!("$.KBUS.Replier.{what}"),
            flags: flags::STATUS,
            sender: debt.replier,
            to: debt.requester.1,
            in_reply_to: debt.id,
            cookie: debt.cookie,
            error,
            ..Msg::default()
        };
        let copy = Copy {
            counted: Some(debt.user),
            ..Copy::own(msg)
        };
        self.push(to, copy);
    }

    /// Removes copies from a queue, and returns what was owed for them, in the order of the queue. What was missed
    /// before one that goes is told with the next that stays.
    pub(crate) fn take_out(&mut self, slot: usize, mut goes: impl FnMut(&mut Copy) -> Goes) -> Vec<Debt> {
        let sock = self.sock_mut(slot);
        let mut gap = Gap::default();
        let mut debts = vec![];
        for mut copy in std::mem::take(&mut sock.queue) {
            gap.add(copy.gap);
            let verdict = goes(&mut copy);
            if verdict != Goes::Nowhere {
                debts.extend(copy.debt.take());
            }
            if verdict != Goes::Away {
                copy.gap = std::mem::take(&mut gap);
                sock.queue.push(copy);
            }
        }
        gap.add(sock.gap);
        sock.gap = gap;
        debts
    }

    /// Removes bindings of a socket, and returns those of a replier, in the order in which they will be told.
    fn unbind_all(&mut self, slot: usize, repliers_only: bool, order: &[String]) -> Vec<Binding> {
        let all = std::mem::take(&mut self.bindings);
        let goes = |b: &Binding| b.slot == slot && (b.replier || !repliers_only);
        let (gone, left) = all.into_iter().partition(goes);
        self.bindings = left;
        let gone: Vec<Binding> = gone;
        let mut gone: Vec<Binding> = gone.into_iter().filter(|b| b.replier).collect();
        gone.sort_by_key(|b| order.iter().position(|text| *text == b.text));
        gone
    }

    fn statuses(&mut self, debts: Vec<Debt>, error: i32) {
        for debt in debts {
            self.status(debt, error);
        }
    }

    /// Closes a socket. The events of its repliers come in an order that only the bus knows.
    pub fn close(&mut self, slot: usize, order: &[String]) {
        let parted = self.unbind_all(slot, false, order);
        let unread = self.take_out(slot, |_| Goes::Away);
        self.release(slot);
        let sock = self.socks[slot].take().expect("an open socket");
        self.statuses(unread, GONE_AWAY);
        self.statuses(sock.owed, IGNORED);
        self.unbind_events(sock.bus, sock.key, &parted);
    }

    /// Shuts a socket for reading.
    pub fn shut_read(&mut self, slot: usize, order: &[String]) {
        let parted = self.unbind_all(slot, false, order);
        self.sock_mut(slot).read_shut = true;
        let unread = self.take_out(slot, |copy| match copy.debt {
            Some(_) => Goes::Away,
            None => Goes::Nowhere,
        });
        self.release(slot);
        self.statuses(unread, GONE_AWAY);
        let (bus, key) = (self.sock(slot).bus, self.sock(slot).key);
        self.unbind_events(bus, key, &parted);
    }

    /// Shuts a socket for writing.
    pub fn shut_write(&mut self, slot: usize, order: &[String]) {
        let parted = self.unbind_all(slot, true, order);
        self.sock_mut(slot).write_shut = true;
        let owed = std::mem::take(&mut self.sock_mut(slot).owed);
        let unread = self.take_out(slot, |copy| {
            let asked = copy.debt.is_some();
            if asked {
                copy.replier = None;
            }
            match (asked, copy.listens.is_empty()) {
                (true, true) => Goes::Away,
                (true, false) => Goes::Disowned,
                (false, _) => Goes::Nowhere,
            }
        });
        self.release(slot);
        self.statuses(unread, UNBOUND);
        self.statuses(owed, IGNORED);
        let (bus, key) = (self.sock(slot).bus, self.sock(slot).key);
        self.unbind_events(bus, key, &parted);
    }
}
