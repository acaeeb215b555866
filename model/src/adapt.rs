// SPDX-License-Identifier: GPL-2.0

//! Makes random steps worth while.
//!
//! Most sockets have nothing to read and owe nothing, and most names have no replier. So a step that would come to
//! nothing is mostly turned into a like one that does; not always, for that must be tried, too.

use crate::name;
use crate::op::Kind;
use crate::op::Op;
use crate::op::NAMES;
use crate::state::Model;
use crate::state::Sock;

/// The first slot from this one on, in a circle, of which `f` holds.
fn from(model: &Model, slot: usize, f: impl Fn(usize, &Sock) -> bool) -> Option<usize> {
    let slots = model.socks.len();
    let all = (slot..slot + slots).map(|slot| slot % slots);
    all.into_iter().find(|slot| model.socks[*slot].as_ref().is_some_and(|sock| f(*slot, sock)))
}

/// A binding of this kind, chosen by a number.
fn a_binding(model: &Model, replier: bool, number: usize) -> Option<(usize, String)> {
    let all: Vec<_> = model.bindings.iter().filter(|b| b.replier == replier).collect();
    let binding = all.get(number.checked_rem(all.len())?)?;
    Some((binding.slot, binding.text.clone()))
}

/// A step that is more likely to do something.
pub fn adapt(model: &Model, op: &Op) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Open { slot, .. } => {
            let slots = model.socks.len();
            let mut all = (*slot..*slot + slots).map(|slot| slot % slots);
            *slot = all.find(|slot| model.socks[*slot].is_none()).unwrap_or(*slot);
        }
        Op::Read { slot } => {
            *slot = from(model, *slot, |slot, _| model.front(slot).is_some()).unwrap_or(*slot);
        }
        Op::Reply { slot, which, .. } | Op::Ignore { slot, which } if *which < 2 => {
            *slot = from(model, *slot, |_, sock| !sock.owed.is_empty()).unwrap_or(*slot);
        }
        Op::Unlisten { slot, text } if text.len() % 3 != 0 => {
            if let Some(found) = a_binding(model, false, *slot + 7 * text.len()) {
                (*slot, *text) = found;
            }
        }
        Op::Unbind { slot, text, .. } if text.len() % 3 != 0 => {
            if let Some(found) = a_binding(model, true, *slot + 7 * text.len()) {
                (*slot, *text) = found;
            }
        }
        Op::GiveUp { slot } => {
            *slot = model.waiters.first().map_or(*slot, |waiter| waiter.slot);
        }
        Op::Send { slot, name, kind, len, .. } if *len % 5 != 0 => {
            let Some(sock) = &model.socks[*slot] else {
                return op;
            };
            if *kind == Kind::Announce || name::is_bus_own(name) {
                return op;
            }
            let bus = sock.bus;
            if model.replier(bus, name).is_none() {
                let found = NAMES.iter().find(|name| model.replier(bus, name).is_some());
                *name = found.map_or_else(|| name.clone(), |found| found.to_string());
            }
            // A stateful request mostly goes to who is there.
            if let (Kind::Stateful(of), Some(replier)) = (kind, model.replier(bus, name)) {
                if *len % 5 < 3 {
                    *of = replier.slot;
                }
            }
        }
        _ => {}
    }
    op
}
