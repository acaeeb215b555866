// SPDX-License-Identifier: GPL-2.0

//! Closing, shutting down, giving requests up, and the statuses that follow.
//!
//! Nothing here allocates: each status was made with its request, each event with its binding.

use super::bus::Bus;
use super::bus::Held;
use super::bus::Member;
use super::entry::Body;
use super::entry::Bond;
use super::entry::Debt;
use super::entry::Status;
use super::error::Error;
use super::mem;
use super::message::Fault;
use super::name::Pattern;
use super::queue::Garbage;
use super::tree::Tree;
use super::wakes::Wakes;
use super::wakes::READ;

/// So many things that need little time each are done at once.
pub(super) const BATCH: usize = 16;

/// What is left of a step, to be dropped outside the locks.
pub struct Rest<M: Member> {
    /// Bindings.
    pub held: Tree<Held<M>>,
    /// Entries of a queue.
    pub slips: Garbage<M>,
}

impl<M: Member> Rest<M> {
    const fn nothing() -> Self {
        Rest {
            held: Tree::new(),
            slips: Garbage::new(),
        }
    }
}

/// What [`Bus::settle_step`] did.
pub enum Step<M: Member> {
    /// A little, and there may be more.
    More(Rest<M>),
    /// There was nothing left to do.
    Done,
}

impl<M: Member> Bus<M> {
    /// Closes a socket: from now on it is no target, no replier, no owner of a name.
    ///
    /// That is one step, whatever the socket has: bindings and messages only change hands. The result is
    /// for the caller to drop outside the locks; [`Bus::settle_step`] does the rest.
    pub fn close_begin(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.part(member, false);
        let pool = self.report_no_more(member);
        member.with(|queue| queue.close());
        self.unblock(member.id(), wakes);
        self.release(member.id(), member.id(), wakes);
        self.leave(member);
        pool
    }

    /// Shuts a socket for reading; [`Bus::settle_step`] does the rest.
    ///
    /// What is queued and needs no answer stays.
    pub fn shutdown_read(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.part(member, false);
        let garbage = member.with(|queue| queue.shut_read());
        self.release(member.id(), member.id(), wakes);
        self.take_all_back(member.id(), garbage)
    }

    /// Shuts a socket for writing; [`Bus::settle_step`] does the rest.
    pub fn shutdown_write(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.part(member, true);
        let garbage = member.with(|queue| queue.shut_write());
        self.release(member.id(), member.id(), wakes);
        self.take_all_back(member.id(), garbage)
    }

    /// Does a little of what a close, a shutdown, an unbinding or changed settings left to do: a
    /// status, an unbind event, a send that has waited, or some bindings or messages that go.
    ///
    /// To be called until it is [`Step::Done`]; the bus lock may be released in between. The last step
    /// tries what waits, as far as that goes in one step; those who wait see to the rest themselves
    /// ([`Bus::carry_on`]).
    pub fn settle_step(
        &mut self,
        member: &M,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Step<M> {
        let mut rest = Rest::nothing();
        let garbage = member.with(|queue| queue.clear_some(BATCH));
        if !garbage.is_empty() {
            rest.slips = self.take_all_back(member.id(), garbage);
            return Step::More(rest);
        }
        if let Some(debt) = member.with(|queue| queue.next_doomed()) {
            settle(debt, next_id, wakes);
            return Step::More(rest);
        }
        for _ in 0..BATCH {
            let Some(held) = member.with(|queue| queue.unheard.pop_first()) else {
                break;
            };
            if let Ok(pattern) = Pattern::parse(&held.value.text) {
                self.routes.forget_listener(member.id(), &pattern);
            }
            let binding = held.key();
            rest.held.insert(held, binding);
        }
        if !rest.held.is_empty() {
            return Step::More(rest);
        }
        if let Some(held) = member.with(|queue| queue.parting.pop_first()) {
            let binding = held.key();
            if let Ok(pattern) = Pattern::parse(&held.value.text) {
                // Somebody may have it already.
                drop(self.routes.unbind_replier(&pattern, binding));
            }
            if let Some(event) = held.value.event.as_ref() {
                self.unbind_event(event, next_id, wakes);
            }
            rest.held.insert(held, binding);
            return Step::More(rest);
        }
        if self.tell_released(member.id(), wakes) || self.is_still_waited_for(member, wakes) {
            return Step::More(rest);
        }
        self.work(next_id, wakes);
        Step::Done
    }

    /// Gives up a request that is owed: its requester gets an IGNORED status.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::ConnRefused`] when the socket does not owe it.
    pub fn ignore(
        &mut self,
        member: &M,
        id: u64,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<(), Error> {
        self.sock_mut(member)?;
        let debt = member.with(|queue| {
            let debt = queue.take_debt(id)?;
            queue.paid();
            Some(debt)
        });
        let mut debt = debt.ok_or(Error::ConnRefused)?;
        debt.value.fault = Fault::Ignored;
        settle(debt, next_id, wakes);
        Ok(())
    }
}

/// Puts the status in the requester's queue, if anything may still arrive there.
fn settle<M: Member>(debt: Bond<M>, next_id: &mut dyn FnMut() -> u64, wakes: &mut Wakes<M>) {
    let in_reply_to = debt.key();
    let Debt {
        requester,
        replier,
        cookie,
        blank,
        fault,
        promised,
        ..
    } = mem::unbox(debt).value;
    if !requester.with(|queue| queue.unreserve(promised)) {
        return;
    }
    let Some(mut slip) = blank else {
        return;
    };
    slip.value.cookie = cookie;
    slip.value.body = Body::Status(Status {
        id: next_id(),
        in_reply_to,
        sender: replier,
        to: requester.id(),
        fault,
        time: M::now(),
    });
    requester.with(|queue| {
        queue.push(slip);
        wakes.add(&requester, queue.link(), READ);
    });
}
