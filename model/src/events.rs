// SPDX-License-Identifier: GPL-2.0

//! The news that repliers come and go.

use crate::errno::ENOBUFS;
use crate::message::flags;
use crate::message::Copy;
use crate::message::Msg;
use crate::message::Origin;
use crate::name;
use crate::name::BIND_EVENT;
use crate::send::Delivery;
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
    fn reports(&self, bus: usize) -> bool {
        self.members(bus).any(|(_, sock)| sock.reports)
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

    /// Room for the event of an explicit binding; `None` when there are no events.
    pub(crate) fn plan_event(&self, slot: usize, text: &str) -> Result<Option<Vec<Delivery>>, Refusal> {
        let sock = self.sock(slot);
        if !self.reports(sock.bus) {
            return Ok(None);
        }
        let plan = self.plan(&Target {
            bus: sock.bus,
            sender: sock.user,
            reply_max: 0,
            paid: None,
            name: BIND_EVENT,
            replier: None,
            len: HEADER + text.len(),
            served: None,
            policy: Policy::Event(sock.user),
        })?;
        Ok(Some(plan))
    }

    /// Sends what was planned.
    pub(crate) fn send_event(&mut self, plan: Option<Vec<Delivery>>, slot: usize, bind: bool, text: &str) {
        if let Some(plan) = plan {
            let key = self.sock(slot).key;
            let msg = self.event(key, bind, text);
            self.deliver(plan, &msg, None, None);
        }
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
        let (pool, least) = self.config.pool;
        let share = least.max(pool.checked_div(slots.len()).unwrap_or(0));
        let mut told = None;
        for (at, binding) in listeners.iter().enumerate() {
            let slot = binding.slot;
            let once = self.sock(slot).once;
            if once && listeners[..at].iter().any(|b| b.slot == slot) {
                continue;
            }
            let mine = listeners.iter().filter(|b| b.slot == slot);
            let listens: Vec<u64> = match once {
                true => mine.map(|b| b.seq).collect(),
                false => vec![binding.seq],
            };
            if self.pooled(bus) < pool && self.pooled_of(slot) < share {
                let copy = Copy {
                    listens,
                    origin: Origin::Pool,
                    ..Copy::own(msg.clone())
                };
                self.push(slot, copy);
                continue;
            }
            // Each listener binding has one entry for the news that there was no room; identical ones share it.
            let oldest = listeners.iter().find(|b| b.slot == slot && b.text == binding.text);
            let oldest = oldest.map_or(0, |b| b.seq);
            let queue = &self.sock(slot).queue;
            let waits = queue.iter().any(|copy| match copy.origin {
                Origin::Notice(of) => once || of == oldest,
                _ => false,
            });
            if waits {
                continue;
            }
            let id = match told {
                Some(id) => id,
                None => *told.insert(self.next_id()),
            };
            let msg = Msg {
                id,
                name: name::EVENTS_LOST.to_string(),
                flags: flags::STATUS,
                ..Msg::default()
            };
            let copy = Copy {
                listens: if once { listens } else { vec![oldest] },
                origin: Origin::Notice(oldest),
                ..Copy::own(msg)
            };
            self.push(slot, copy);
        }
    }
}
