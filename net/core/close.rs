// SPDX-License-Identifier: GPL-2.0

//! Closing, shutting down, giving requests up, and the statuses that follow.
//!
//! Nothing here allocates: each status was made with its request.

use super::bus::Bus;
use super::bus::Member;
use super::bus::Step;
use super::error::Error;
use super::mem;
use super::message::Fault;
use super::queue::Body;
use super::queue::Bond;
use super::queue::Debt;
use super::queue::Garbage;
use super::queue::Status;

impl<M: Member> Bus<M> {
    /// Closes a socket: from now on it is no target, no replier, no owner of a name.
    ///
    /// The result is for the caller to drop outside the locks; [`Bus::settle_step`] does the rest.
    pub fn close_begin(&mut self, member: &M) -> Garbage<M> {
        self.drop_bindings(member, false);
        self.leave(member);
        member.with(|queue| queue.close())
    }

    /// Shuts a socket for reading; [`Bus::settle_step`] does the rest.
    ///
    /// What is queued and needs no answer stays.
    pub fn shutdown_read(&mut self, member: &M) -> Garbage<M> {
        self.drop_bindings(member, false);
        member.with(|queue| queue.shut_read())
    }

    /// Shuts a socket for writing; [`Bus::settle_step`] does the rest.
    pub fn shutdown_write(&mut self, member: &M) -> Garbage<M> {
        self.drop_bindings(member, true);
        member.with(|queue| queue.shut_write())
    }

    /// Settles one debt that `member` cannot pay any more.
    ///
    /// To be called until it is [`Step::Done`] after a close, a shutdown and an unbinding of a
    /// replier; the bus lock may be released in between.
    pub fn settle_step(&mut self, member: &M, next_id: &mut dyn FnMut() -> u64) -> Step<M> {
        match member.with(|queue| queue.next_doomed()) {
            None => Step::Done,
            Some(doomed) => Step::Settled {
                wake: settle(doomed.debt, doomed.fault, next_id),
                garbage: doomed.garbage,
            },
        }
    }

    /// Gives up a request that is owed: its requester gets an IGNORED status.
    ///
    /// Returns whom to wake up.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::ConnRefused`] when the socket does not owe it.
    pub fn ignore(
        &mut self,
        member: &M,
        id: u64,
        next_id: &mut dyn FnMut() -> u64,
    ) -> Result<Option<M>, Error> {
        self.sock_mut(member)?;
        let debt = member.with(|queue| {
            let debt = queue.take_debt(id)?;
            queue.paid();
            Some(debt)
        });
        let debt = debt.ok_or(Error::ConnRefused)?;
        Ok(settle(debt, Fault::Ignored, next_id))
    }
}

/// Puts the status in the requester's queue; returns the requester if it got it.
fn settle<M: Member>(debt: Bond<M>, fault: Fault, next_id: &mut dyn FnMut() -> u64) -> Option<M> {
    let in_reply_to = debt.key();
    let Debt {
        requester,
        replier,
        cookie,
        blank,
        ..
    } = mem::unbox(debt).value;
    if !requester.with(|queue| queue.unreserve()) {
        return None;
    }
    let mut slip = blank?;
    slip.value.cookie = cookie;
    slip.value.body = Body::Status(Status {
        id: next_id(),
        in_reply_to,
        sender: replier,
        fault,
    });
    requester.with(|queue| queue.push(slip));
    Some(requester)
}
