// SPDX-License-Identifier: GPL-2.0

//! What leaves a queue without being read, as bindings go, and its socket.
//!
//! Requests among it are kept until their requesters have been told.

use super::super::account::Amount;
use super::super::bus::Held;
use super::super::bus::Member;
use super::super::entry::Bond;
use super::super::entry::Cause;
use super::super::entry::Gap;
use super::super::list::List;
use super::super::message::Fault;
use super::super::name::Pattern;
use super::super::tree::Tree;
use super::Entry;
use super::Garbage;
use super::Queue;

/// What becomes of an entry when bindings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It stays.
    Keep,
    /// It goes, and the request is not answered.
    Remove,
    /// It stays as a listener's copy; the request is not answered.
    Disown,
}

impl<M: Member> Queue<M> {
    /// Takes out what only a listener binding let in that has this pattern; of identical ones it is the one of that number,
    /// which are numbered from 0.
    ///
    /// A look at each entry and at most one comparison of its name is what this costs: a queue may be long, and the bus is
    /// locked.
    pub(in super::super) fn unlisten(
        &mut self,
        binding: u64,
        nth: u32,
        pattern: &Pattern<'_>,
    ) -> Garbage<M> {
        self.take_out(Fault::Unbound, |entry| {
            // Of the binding that goes there is the last one, and it was there when the message came.
            let goes = |last| nth == 0 && binding <= last && pattern.matches(entry.name());
            match entry.cause {
                Cause::Binding { id, nth: n } if id == binding && n == nth => Verdict::Remove,
                Cause::Once {
                    last,
                    replier,
                    listeners,
                } if goes(last) => {
                    let listeners = listeners.saturating_sub(1);
                    entry.cause = Cause::Once {
                        last,
                        replier,
                        listeners,
                    };
                    match listeners == 0 && entry.debt.is_none() {
                        true => Verdict::Remove,
                        false => Verdict::Keep,
                    }
                }
                _ => Verdict::Keep,
            }
        })
    }

    /// Takes out what a replier binding let in and was not read.
    pub(in super::super) fn unbind_replier(&mut self, binding: u64) -> Garbage<M> {
        self.take_out(Fault::Unbound, |entry| match entry.cause {
            Cause::Binding { id, .. } if id == binding => Verdict::Remove,
            Cause::Once {
                replier, listeners, ..
            } if replier == binding && entry.debt.is_some() => match listeners {
                0 => Verdict::Remove,
                _ => Verdict::Disown,
            },
            _ => Verdict::Keep,
        })
    }

    /// Requests that are taken out are kept aside until they are settled; the rest is returned.
    fn take_out(&mut self, fault: Fault, judge: impl Fn(&mut Entry<M>) -> Verdict) -> Garbage<M> {
        let mut garbage = List::new();
        let mut kept = List::new();
        // What was missed before a removed message is told with the next one that is left.
        let mut gap = Gap::NONE;
        while let Some(mut slip) = self.list.pop_front() {
            let verdict = judge(&mut slip.value);
            if verdict != Verdict::Keep {
                if let Some(mut debt) = slip.value.debt.take() {
                    debt.value.fault = fault;
                    let id = debt.key();
                    self.dying.insert(debt, id);
                }
            }
            gap.add(slip.value.gap);
            if verdict == Verdict::Remove {
                slip.value.gap = Gap::NONE;
                self.forget(&slip.value);
                garbage.push_back(slip);
            } else {
                slip.value.gap = core::mem::replace(&mut gap, Gap::NONE);
                kept.push_back(slip);
            }
        }
        self.list = kept;
        gap.add(self.gap);
        self.gap = gap;
        garbage
    }

    /// Closes the queue: nothing arrives, and nothing will be answered.
    ///
    /// What is in it is left to [`Queue::clear_some`].
    pub(in super::super) fn close(&mut self) {
        self.closed = true;
        self.forsake();
        self.remains = core::mem::take(&mut self.list);
        (self.unread, self.bytes, self.own.waiting) = (0, 0, Amount::NONE);
        (self.pooled, self.notices) = (0, 0);
    }

    /// Takes out a part of what was in a queue that is closed; requests are kept aside until they are
    /// settled.
    pub(in super::super) fn clear_some(&mut self, most: usize) -> Garbage<M> {
        let mut garbage = List::new();
        for _ in 0..most {
            let Some(mut slip) = self.remains.pop_any() else {
                break;
            };
            if let Some(mut debt) = slip.value.debt.take() {
                debt.value.fault = Fault::GoneAway;
                let id = debt.key();
                self.dying.insert(debt, id);
            }
            garbage.push_back(slip);
        }
        garbage
    }

    /// Keeps bindings that count no more until they are out of the routes.
    ///
    /// A socket has none of a kind after it has lost those of that kind: so nothing is here already.
    pub(in super::super) fn part(&mut self, listens: Tree<Held<M>>, replies: Tree<Held<M>>) {
        if !listens.is_empty() {
            self.unheard = listens;
        }
        if !replies.is_empty() {
            self.parting = replies;
        }
    }

    /// Nothing arrives any more; requests that were not read will not be answered.
    pub(in super::super) fn shut_read(&mut self) -> Garbage<M> {
        self.read_shut = true;
        self.take_out(Fault::GoneAway, |entry| match entry.debt {
            Some(_) => Verdict::Remove,
            None => Verdict::Keep,
        })
    }

    /// Nothing can be sent any more; so nothing will be answered.
    pub(in super::super) fn shut_write(&mut self) -> Garbage<M> {
        self.write_shut = true;
        self.forsake();
        self.take_out(Fault::Unbound, |entry| match (&entry.debt, entry.cause) {
            (None, _) => Verdict::Keep,
            (Some(_), Cause::Once { listeners, .. }) if listeners > 0 => Verdict::Disown,
            (Some(_), _) => Verdict::Remove,
        })
    }

    fn forsake(&mut self) {
        self.unreplied = 0;
        if self.forsaken.is_empty() {
            core::mem::swap(&mut self.owed, &mut self.forsaken);
        }
        while let Some(debt) = self.owed.pop_first() {
            let id = debt.key();
            self.forsaken.insert(debt, id);
        }
    }

    /// The next debt that nobody can pay any more: first what was not read.
    pub(in super::super) fn next_doomed(&mut self) -> Option<Bond<M>> {
        if let Some(debt) = self.dying.pop_first() {
            return Some(debt);
        }
        let mut debt = self.forsaken.pop_first()?;
        debt.value.fault = Fault::Ignored;
        Some(debt)
    }
}
