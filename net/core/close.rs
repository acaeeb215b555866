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
use super::mem::Box;
use super::message::Fault;
use super::queue::Garbage;
use super::tree::Node;
use super::wakes::Wakes;
use super::wakes::READ;

/// What [`Bus::settle_step`] did.
pub enum Step<M: Member> {
    /// One thing, and there may be more. What it leaves is to be dropped outside the locks.
    More(Option<Box<Node<Held<M>>>>),
    /// There was nothing left to do.
    Done,
}

impl<M: Member> Bus<M> {
    /// Closes a socket: from now on it is no target, no replier, no owner of a name.
    ///
    /// The result is for the caller to drop outside the locks; [`Bus::settle_step`] does the rest.
    pub fn close_begin(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.drop_bindings(member, false);
        let pool = self.report_no_more(member);
        let garbage = member.with(|queue| queue.close());
        let mut garbage = self.take_all_back(member.id(), garbage);
        self.leave(member, wakes);
        garbage.append(pool);
        garbage
    }

    /// Shuts a socket for reading; [`Bus::settle_step`] does the rest.
    ///
    /// What is queued and needs no answer stays.
    pub fn shutdown_read(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.drop_bindings(member, false);
        let garbage = member.with(|queue| queue.shut_read());
        self.release(member.id(), wakes);
        self.take_all_back(member.id(), garbage)
    }

    /// Shuts a socket for writing; [`Bus::settle_step`] does the rest.
    pub fn shutdown_write(&mut self, member: &M, wakes: &mut Wakes<M>) -> Garbage<M> {
        self.drop_bindings(member, true);
        let (routes, peer) = (&self.routes, member.id());
        let garbage = member
            .with(|queue| queue.shut_write(|name, last| routes.still_listens(peer, name, last)));
        self.release(member.id(), wakes);
        self.take_all_back(member.id(), garbage)
    }

    /// Does one thing that a close, a shutdown, an unbinding or changed settings left to do: a
    /// status, an unbind event, or a send that has waited.
    ///
    /// To be called until it is [`Step::Done`]; the bus lock may be released in between.
    pub fn settle_step(
        &mut self,
        member: &M,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Step<M> {
        if let Some(debt) = member.with(|queue| queue.next_doomed()) {
            settle(debt, next_id, wakes);
            return Step::More(None);
        }
        if let Some(held) = member.with(|queue| queue.parting.pop_first()) {
            if let Some(event) = held.value.event.as_ref() {
                self.unbind_event(event, next_id, wakes);
            }
            return Step::More(Some(held));
        }
        match self.retry_ready(next_id, wakes) {
            true => Step::More(None),
            false => Step::Done,
        }
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
        fault,
        time: M::now(),
    });
    requester.with(|queue| {
        queue.push(slip);
        wakes.add(&requester, queue.link(), READ);
    });
}
