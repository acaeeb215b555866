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

    /// Removes copies from a queue, and returns what was owed for them. What was missed before one that goes is told
    /// with the next that stays.
    pub(crate) fn take_out(&mut self, slot: usize, mut goes: impl FnMut(&mut Copy) -> bool) -> Vec<Debt> {
        let sock = self.sock_mut(slot);
        let mut gap = Gap::default();
        let mut debts = vec![];
        for mut copy in std::mem::take(&mut sock.queue) {
            gap.add(copy.gap);
            if goes(&mut copy) {
                debts.extend(copy.debt);
            } else {
                copy.gap = std::mem::take(&mut gap);
                sock.queue.push(copy);
            }
        }
        gap.add(sock.gap);
        sock.gap = gap;
        debts
    }

    /// Removes bindings of a socket, and returns those of a replier.
    fn unbind_all(&mut self, slot: usize, repliers_only: bool) -> Vec<Binding> {
        let all = std::mem::take(&mut self.bindings);
        let goes = |b: &Binding| b.slot == slot && (b.replier || !repliers_only);
        let (gone, left) = all.into_iter().partition(goes);
        self.bindings = left;
        let gone: Vec<Binding> = gone;
        gone.into_iter().filter(|b| b.replier).collect()
    }

    fn statuses(&mut self, mut debts: Vec<Debt>, error: i32) {
        debts.sort_by_key(|debt| debt.id);
        for debt in debts {
            self.status(debt, error);
        }
    }

    /// Closes a socket.
    pub fn close(&mut self, slot: usize) {
        let parted = self.unbind_all(slot, false);
        let unread = self.take_out(slot, |_| true);
        self.release(slot);
        let sock = self.socks[slot].take().expect("an open socket");
        self.statuses(unread, GONE_AWAY);
        self.statuses(sock.owed, IGNORED);
        self.unbind_events(sock.bus, sock.key, &parted);
        self.retry_released();
    }

    /// Shuts a socket for reading.
    pub fn shut_read(&mut self, slot: usize) {
        let parted = self.unbind_all(slot, false);
        self.sock_mut(slot).read_shut = true;
        let unread = self.take_out(slot, |copy| copy.debt.is_some());
        self.release(slot);
        self.statuses(unread, GONE_AWAY);
        let (bus, key) = (self.sock(slot).bus, self.sock(slot).key);
        self.unbind_events(bus, key, &parted);
        self.retry_released();
    }

    /// Shuts a socket for writing.
    pub fn shut_write(&mut self, slot: usize) {
        let parted = self.unbind_all(slot, true);
        self.sock_mut(slot).write_shut = true;
        let owed = std::mem::take(&mut self.sock_mut(slot).owed);
        let mut unread = self.take_out(slot, |copy| {
            let asked = copy.debt.is_some();
            if asked {
                copy.replier = None;
            }
            asked && copy.listens.is_empty()
        });
        unread.extend(self.disown(slot));
        self.release(slot);
        self.statuses(unread, UNBOUND);
        self.statuses(owed, IGNORED);
        let (bus, key) = (self.sock(slot).bus, self.sock(slot).key);
        self.unbind_events(bus, key, &parted);
        self.retry_released();
    }
}
