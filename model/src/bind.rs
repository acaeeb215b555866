// SPDX-License-Identifier: GPL-2.0

//! Bindings come and go.

use crate::close::Goes;
use crate::close::UNBOUND;
use crate::errno::*;
use crate::message::Debt;
use crate::name;
use crate::send::Refusal;
use crate::send::Sent;
use crate::state::Binding;
use crate::state::Model;
use crate::wait::What;
use crate::Errno;

impl Model {
    fn add(&mut self, slot: usize, replier: bool, text: &str) {
        self.last_seq += 1;
        self.bindings.push(Binding {
            seq: self.last_seq,
            bus: self.sock(slot).bus,
            slot,
            replier,
            text: text.to_string(),
        });
    }

    /// Adds a listener binding.
    ///
    /// # Errors
    ///
    /// `EINVAL` when shut for reading.
    pub fn listen(&mut self, slot: usize, text: &str) -> Result<(), Errno> {
        if self.sock(slot).read_shut {
            return Err(EINVAL);
        }
        self.add(slot, false, text);
        Ok(())
    }

    /// Removes the youngest such listener binding, and what only it let in.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is none.
    pub fn unlisten(&mut self, slot: usize, text: &str) -> Result<(), Errno> {
        let same = |b: &Binding| b.slot == slot && !b.replier && b.text == text;
        let at = self.bindings.iter().rposition(same).ok_or(EINVAL)?;
        let seq = self.bindings.remove(at).seq;
        self.take_out(slot, |copy| {
            let before = copy.listens.len();
            copy.listens.retain(|listen| *listen != seq);
            match before > 0 && copy.listens.is_empty() && copy.debt.is_none() {
                true => Goes::Away,
                false => Goes::Nowhere,
            }
        });
        self.release(slot);
        Ok(())
    }

    /// Names enough to tell any two patterns apart.
    fn universe() -> Vec<String> {
        let mut stems = vec!["$".to_string()];
        for from in 0..7 {
            stems.extend(["A", "B"].map(|word| format!("{}.{word}", stems[from])));
        }
        let all = stems.iter().flat_map(|stem| ["", ".Z", ".Z.Z"].map(|tail| format!("{stem}{tail}")));
        all.filter(|name| name != "$").collect()
    }

    /// The wildcard repliers that would lose names to this binding.
    fn robbed(&mut self, slot: usize, text: &str) -> Vec<Binding> {
        let bus = self.sock(slot).bus;
        let mut robbed: Vec<Binding> = vec![];
        for name in Self::universe() {
            let Some(before) = self.replier(bus, &name).cloned() else {
                continue;
            };
            self.add(slot, true, text);
            let after = self.replier(bus, &name).map(|b| b.seq);
            self.bindings.pop();
            if after != Some(before.seq) && robbed.iter().all(|b| b.seq != before.seq) {
                robbed.push(before);
            }
        }
        robbed
    }

    /// Makes a socket the replier, or ends that.
    ///
    /// # Errors
    ///
    /// `EPERM`, `EEXIST`, `EINVAL`, `EACCES`, `EAGAIN`, `EDEADLK`, in this order; `EINVAL` when there is nothing to
    /// end.
    pub fn bind_or_not(&mut self, slot: usize, bind: bool, text: &str, blocking: bool) -> Result<Sent, Errno> {
        let bus = self.sock(slot).bus;
        let same = |b: &Binding| b.bus == bus && b.replier && b.text == text;
        let there = self.bindings.iter().position(same);
        let mut robbed = vec![];
        if bind {
            if name::is_bus_own(text) {
                return Err(EPERM);
            }
            if there.is_some() {
                return Err(EEXIST);
            }
            let sock = self.sock(slot);
            if sock.read_shut || sock.write_shut {
                return Err(EINVAL);
            }
            let user = sock.user;
            robbed = self.robbed(slot, text);
            let owner = self.config.owner;
            for victim in &robbed {
                let whose = self.sock(victim.slot).user;
                let protected = name::words(&victim.text) > 0 || whose == owner;
                if protected && whose != user && user != owner {
                    return Err(EACCES);
                }
            }
        } else if there.is_none_or(|at| self.bindings[at].slot != slot) {
            return Err(EINVAL);
        }
        match self.tell_event(slot, bind, text) {
            Ok(()) => {}
            Err(Refusal::Error(error)) => return Err(error),
            Err(Refusal::Full(full)) if !blocking => {
                self.block(slot, full[0]);
                return Err(EAGAIN);
            }
            Err(Refusal::Full(full)) => return self.wait(slot, What::Bind(bind, text.to_string()), &full),
        }
        let mut doomed: Vec<Debt> = vec![];
        match there {
            Some(at) => {
                let seq = self.bindings.remove(at).seq;
                doomed = self.take_out(slot, |copy| {
                    let mine = copy.replier == Some(seq) && copy.debt.is_some();
                    if mine {
                        copy.replier = None;
                    }
                    match (mine, copy.listens.is_empty()) {
                        (true, true) => Goes::Away,
                        (true, false) => Goes::Disowned,
                        (false, _) => Goes::Nowhere,
                    }
                });
            }
            None => self.add(slot, true, text),
        }
        match bind {
            true => robbed.iter().for_each(|victim| self.release(victim.slot)),
            false => self.release(slot),
        }
        for debt in doomed {
            self.status(debt, UNBOUND);
        }
        Ok(Sent::Id(0))
    }
}
