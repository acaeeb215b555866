// SPDX-License-Identifier: GPL-2.0

//! The news that repliers come and go.

use crate::errno::ENOBUFS;
use crate::message::flags;
use crate::message::Copy;
use crate::message::Msg;
use crate::message::Origin;
use crate::name;
use crate::name::BIND_EVENT;
use crate::send::Policy;
use crate::send::Refusal;
use crate::send::Target;
use crate::state::Binding;
use crate::state::Model;
use crate::Errno;

/// `struct kbus_bind_event` without its name.
const HEADER: usize = 16;

impl Model {
    /// Whether somebody on the bus has switched events on.
    pub(crate) fn reports(&self, bus: usize) -> bool {
        self.members(bus).any(|(_, sock)| sock.reports)
    }

    /// Whether a socket that goes now leaves several events.
    pub(crate) fn tells_of_several(&self, slot: usize) -> bool {
        let Some(sock) = &self.socks[slot] else {
            return false;
        };
        let repliers = self.bindings.iter().filter(|b| b.replier && b.slot == slot);
        self.reports(sock.bus) && repliers.count() > 1
    }

    fn event(&mut self, key: u64, is_bind: bool, text: &str) -> Msg {
        Msg {
            id: self.next_id(),
            name: BIND_EVENT.to_string(),
            flags: flags::STATUS,
            len: HEADER + text.len(),
            event: Some((key, is_bind, text.to_string())),
            ..Msg::default()
        }
    }

    /// Sends the event of an explicit binding, if there are events.
    pub(crate) fn tell_event(&mut self, slot: usize, bind: bool, text: &str) -> Result<(), Refusal> {
        let sock = self.sock(slot);
        let (bus, key, user) = (sock.bus, sock.key, sock.user);
        if !self.reports(bus) {
            return Ok(());
        }
        self.all_or_nothing(|model| {
            let msg = model.event(key, bind, text);
            let target = Target {
                slot,
                bus,
                sender: user,
                replier: None,
                served: None,
                has_bytes: true,
                policy: Policy::Event(user),
            };
            model.fan_out(&target, &msg, None, None)
        })
    }

    /// Switches events on or off for a socket; one that switches them on is told of the repliers there are.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` while its queue holds more than its limit, or when its user has no places for all of them.
    pub fn report_binds(&mut self, slot: usize, on: bool) -> Result<(), Errno> {
        let sock = self.sock(slot);
        let (bus, user) = (sock.bus, sock.user);
        if sock.reports == on {
            return Ok(());
        }
        let there: Vec<Binding> = self.bindings.iter().filter(|b| b.replier && b.bus == bus).cloned().collect();
        let told = on && !sock.read_shut;
        if told && (sock.queue.len() + sock.reserved > sock.limit || there.len() > self.left(user).1) {
            return Err(ENOBUFS);
        }
        self.sock_mut(slot).reports = on;
        for binding in there.iter().filter(|_| told) {
            let key = self.sock(binding.slot).key;
            let msg = self.event(key, true, &binding.text);
            let copy = Copy {
                counted: Some(user),
                ..Copy::own(msg)
            };
            self.push(slot, copy);
        }
        Ok(())
    }

    /// The events that a socket leaves which closes or is shut: they need no room, but the pool has an end.
    pub(crate) fn unbind_events(&mut self, bus: usize, key: u64, parted: &[Binding]) {
        for binding in parted {
            if !self.reports(bus) {
                return;
            }
            self.unbind_event(bus, key, &binding.text);
        }
    }

    fn unbind_event(&mut self, bus: usize, key: u64, text: &str) {
        let msg = self.event(key, false, text);
        let listeners = self.listeners(bus, BIND_EVENT);
        let mut slots: Vec<usize> = listeners.iter().map(|b| b.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let (most, least) = self.config.unbinds;
        let share = least.max(most.checked_div(slots.len()).unwrap_or(0));
        let mut lost = vec![];
        for (at, binding) in listeners.iter().enumerate() {
            let slot = binding.slot;
            let once = self.sock(slot).once;
            if once && listeners[..at].iter().any(|b| b.slot == slot) {
                continue;
            }
            if self.count_of(slot, Origin::Unbind) >= share {
                lost.push(slot);
                continue;
            }
            let mine = listeners.iter().filter(|b| b.slot == slot);
            let listens: Vec<u64> = match once {
                true => mine.map(|b| b.seq).collect(),
                false => vec![binding.seq],
            };
            let copy = Copy {
                listens,
                origin: Origin::Unbind,
                ..Copy::own(msg.clone())
            };
            self.push(slot, copy);
        }
        for slot in lost {
            if self.count_of(slot, Origin::Notice) > 0 {
                continue;
            }
            let msg = Msg {
                id: msg.id,
                name: name::EVENTS_LOST.to_string(),
                flags: flags::STATUS,
                ..Msg::default()
            };
            let mine = listeners.iter().filter(|b| b.slot == slot);
            let copy = Copy {
                listens: mine.map(|b| b.seq).collect(),
                origin: Origin::Notice,
                ..Copy::own(msg)
            };
            self.push(slot, copy);
        }
    }
}
