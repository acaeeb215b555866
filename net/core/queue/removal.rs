// SPDX-License-Identifier: GPL-2.0

//! What leaves a queue without being read, as bindings go, and its socket.
//!
//! Messages that are pending go without a trace: their send finds out, or does not care.

use super::super::entry::Cause;
use super::super::entry::Entry;
use super::super::mem::Box;
use super::super::mem::Map;
use super::super::obligation::Obligation;
use super::super::recipient::RecipientList;
use super::super::slots::Slots;
use super::super::waiter::Blocked;
use super::super::waiter::Waiters;
use super::Member;
use super::Queue;

/// Entries that are looked at in one hold of the queue's lock.
const LOOKS: usize = 64;
/// Entries that are taken out in one hold.
const TAKEN: usize = 4;

/// What becomes of an entry when bindings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It stays.
    Keep,
    /// It goes, and the request is not answered.
    Remove,
    /// It stays as a listener's copy; the request is not answered.
    Disown,
}

/// A walk through a queue that takes entries out, in steps.
///
/// What has been put in since it began is left alone.
pub(in super::super) struct Removal {
    /// Marks what it has looked at.
    number: u64,
    /// The last serial number when it began.
    until: u64,
    /// Where it goes on.
    next: Option<(u32, u64)>,
    begun: bool,
    /// Whether there was nothing to look at.
    pub(in super::super) is_empty: bool,
}

/// What one step has taken out, to be dropped under no lock.
pub(in super::super) struct Taken<M: Member> {
    pub(in super::super) entries: [Option<Entry<M>>; TAKEN],
    /// Obligations of entries that stay.
    pub(in super::super) disowned: [Option<Box<Obligation<M>>>; TAKEN],
    /// Whether there may be more.
    pub(in super::super) more: bool,
}

impl<M: Member> Taken<M> {
    /// Nothing yet.
    pub(in super::super) fn nothing() -> Self {
        Taken {
            entries: [const { None }; TAKEN],
            disowned: [const { None }; TAKEN],
            more: true,
        }
    }
}

/// What a queue held that was closed.
pub(in super::super) struct Closed<M: Member> {
    pub(in super::super) list: Slots<Entry<M>>,
    pub(in super::super) owed: Map<u64, Option<Box<Obligation<M>>>>,
    pub(in super::super) waiters: Waiters<M>,
    pub(in super::super) blocked: Option<Blocked<M>>,
    /// Memory that it has kept.
    pub(in super::super) kept_list: Option<RecipientList<M>>,
}

impl<M: Member> Queue<M> {
    /// Begins a walk through what is here now.
    pub(in super::super) fn begin_removal(&mut self) -> Removal {
        self.last_serial = self.last_serial.saturating_add(1);
        Removal {
            number: self.last_serial,
            until: self.last_serial,
            next: None,
            begun: false,
            is_empty: self.list.is_empty(),
        }
    }

    /// Goes on with it: looks at some entries and does to each what `judge` says. What is `taken`
    /// out is put where there is nothing yet.
    pub(in super::super) fn remove_some(
        &mut self,
        removal: &mut Removal,
        taken: &mut Taken<M>,
        judge: impl Fn(&mut Entry<M>) -> Verdict,
    ) {
        let Removal { number, until, .. } = *removal;
        let goes_on = removal
            .next
            .filter(|(at, serial)| self.find(*at, *serial).is_some());
        let mut next = match goes_on {
            Some((at, _)) => Some(at),
            // From the start, past all that it has looked at.
            None if removal.begun && removal.next.is_none() => None,
            None => self.list.first(),
        };
        removal.begun = true;
        let (mut used, mut looks) = (0, 0);
        while let Some(at) = next {
            if used == TAKEN || looks == LOOKS {
                break;
            }
            next = self.list.next(at);
            let Some(entry) = self.list.get_mut(at) else {
                break;
            };
            looks += 1;
            if entry.serial > until || entry.looked_at == number {
                continue;
            }
            entry.looked_at = number;
            match judge(entry) {
                Verdict::Keep => continue,
                Verdict::Disown => {
                    if let Some(place) = taken.disowned.get_mut(used) {
                        let mut obligation = entry.obligation.take();
                        if let Some(obligation) = &mut obligation {
                            obligation.request = entry.id();
                        }
                        *place = obligation;
                    }
                }
                Verdict::Remove => {
                    if let Some(place) = taken.entries.get_mut(used) {
                        *place = self.take_with_gap(at);
                    }
                    self.changed();
                }
            }
            used += 1;
        }
        removal.next = next.and_then(|at| Some((at, self.list.get(at)?.serial)));
        taken.more = removal.next.is_some();
    }

    /// Closes the queue: nothing arrives, and nothing will be answered. All that it holds goes to
    /// the caller.
    pub(in super::super) fn close(&mut self) -> Closed<M> {
        self.closed = true;
        self.changed();
        self.bytes = 0;
        self.late = 0;
        self.own = super::super::account::Amount::NONE;
        self.unreplied = 0;
        (self.events, self.noticed, self.hears) = (0, false, false);
        Closed {
            list: core::mem::take(&mut self.list),
            owed: core::mem::take(&mut self.owed),
            waiters: core::mem::replace(&mut self.waiters, Waiters::new()),
            blocked: self.blocked.take(),
            kept_list: self.kept_list.take(),
        }
    }

    /// Nothing arrives any more.
    pub(in super::super) fn shut_read(&mut self) {
        self.read_shut = true;
        self.hears = false;
        self.changed();
    }

    /// Nothing can be sent any more; so nothing will be answered. What is owed goes to the caller.
    pub(in super::super) fn shut_write(&mut self) -> Map<u64, Option<Box<Obligation<M>>>> {
        self.write_shut = true;
        self.changed();
        self.unreplied = 0;
        core::mem::take(&mut self.owed)
    }
}

/// What becomes of what a listener binding let in that goes. Of identical ones it is the one of
/// this number, which are numbered from 0; `matches` says whether its pattern matches a name.
///
/// A look at each entry and at most one comparison of its name is what this costs: a queue may be
/// long.
pub(in super::super) fn unlistened<M: Member>(
    entry: &mut Entry<M>,
    binding: u64,
    nth: u32,
    matches: impl Fn(&[u8]) -> bool,
) -> Verdict {
    // Of the binding that goes there is the last one, and it was there when the message came.
    let goes = |last: u64, name: &[u8]| nth == 0 && binding <= last && matches(name);
    match entry.cause {
        Cause::Binding { id, nth: n } if id == binding && n == nth => Verdict::Remove,
        Cause::Once {
            last,
            replier,
            listeners,
        } if goes(last, entry.name()) => {
            let listeners = listeners.saturating_sub(1);
            entry.cause = Cause::Once {
                last,
                replier,
                listeners,
            };
            match listeners == 0 && entry.obligation.is_none() {
                true => Verdict::Remove,
                false => Verdict::Keep,
            }
        }
        _ => Verdict::Keep,
    }
}

/// What becomes of what a replier binding let in that goes, and was not read.
pub(in super::super) fn unbound<M: Member>(entry: &mut Entry<M>, binding: u64) -> Verdict {
    match entry.cause {
        Cause::Binding { id, .. } if id == binding => Verdict::Remove,
        Cause::Once {
            replier, listeners, ..
        } if replier == binding && entry.obligation.is_some() => match listeners {
            0 => Verdict::Remove,
            _ => Verdict::Disown,
        },
        _ => Verdict::Keep,
    }
}
