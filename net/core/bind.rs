// SPDX-License-Identifier: GPL-2.0

//! Binding names and giving them up.

use super::bus::answers;
use super::bus::Bus;
use super::bus::Held;
use super::bus::Kind;
use super::bus::Member;
use super::error::Error;
use super::events;
use super::events::bind_event;
use super::mem;
use super::message;
use super::name;
use super::name::Pattern;
use super::plan::Refusal;
use super::queue::Garbage;
use super::routes::Listener;
use super::routes::Replier;
use super::tree::Node;
use super::wait::Ticket;
use super::wait::What;
use super::wakes::Wakes;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// What became of a replier binding or its removal.
pub enum Bound<M: Member> {
    /// It is done. What it leaves is to be dropped outside the locks.
    Done(Garbage<M>),
    /// A listener to bind events has no room. When [`Bus::finished`] says so, try again.
    Wait(Ticket),
}

impl<M: Member> Bus<M> {
    /// Adds a listener binding.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when the socket is shut for reading; [`Error::DQuot`]
    /// when its user has too many; [`Error::NoMem`].
    pub fn listen(&mut self, member: &M, pattern: &Pattern<'_>) -> Result<(), Error> {
        let peer = member.id();
        self.sock_mut(member)?;
        if member.with(|queue| queue.read_shut()) {
            return Err(Error::Inval);
        }
        self.check_quota(member, pattern, Kind::Listener)?;
        let again = self.routes.listen_again(peer, pattern);
        if let Some(binding) = again {
            if let Some(held) = self.sock_mut(member)?.listens.get_mut(binding) {
                held.count = held.count.saturating_add(1);
            }
        } else {
            let binding = self.last_binding.saturating_add(1);
            let mut held = Node::new(binding, new_held(pattern, Kind::Listener)?)?;
            if pattern.matches(message::BIND_EVENT) {
                held.value.notice = Some(events::notice(binding)?);
            }
            let listener = Listener {
                peer,
                member: member.clone(),
                binding,
                count: 1,
            };
            self.routes.listen(listener, pattern)?;
            self.last_binding = binding;
            self.sock_mut(member)?.listens.insert(held, binding);
        }
        self.count(member, pattern, Kind::Listener, true, again.is_some());
        Ok(())
    }

    /// Removes the youngest of identical listener bindings and what only it let in.
    ///
    /// The result is for the caller to drop outside the locks; [`Bus::settle_step`] is to be called
    /// then. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when there is none.
    pub fn unlisten(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        wakes: &mut Wakes<M>,
    ) -> Result<Garbage<M>, Error> {
        let peer = member.id();
        self.sock_mut(member)?;
        if member.with(|queue| queue.read_shut()) {
            return Err(Error::Inval);
        }
        let gone = self.routes.unlisten(peer, pattern);
        let (binding, left) = gone.ok_or(Error::Inval)?;
        let sock = self.sock_mut(member)?;
        if left == 0 {
            drop(sock.listens.remove(binding));
        } else if let Some(held) = sock.listens.get_mut(binding) {
            held.count = left;
        }
        self.count(member, pattern, Kind::Listener, false, left > 0);
        let garbage = member.with(|queue| queue.unlisten(binding, left, pattern));
        self.release(peer, peer, wakes);
        Ok(self.take_all_back(peer, garbage))
    }

    /// Makes a socket the replier.
    ///
    /// Where bind events are on, the binding and its event are one step; `blocking` says whether it
    /// may wait for room for the event.
    ///
    /// # Errors
    ///
    /// In this order: [`Error::NotConn`]; [`Error::Perm`] for a name of the bus's own;
    /// [`Error::Exist`] when there is such a binding; [`Error::Inval`] when the socket is shut;
    /// [`Error::Acces`] when it would take names from another user's wildcard replier that is
    /// protected; [`Error::DQuot`]; [`Error::Again`] or, when it would wait for itself,
    /// [`Error::DeadLk`]; [`Error::NoMem`].
    pub fn bind_replier(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        blocking: bool,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Bound<M>, Error> {
        let user = member.user();
        self.sock_mut(member)?;
        if name::is_bus_own(pattern.text()) {
            return Err(Error::Perm);
        }
        if self.same_replier(pattern).is_some() {
            return Err(Error::Exist);
        }
        if member.with(|queue| queue.read_shut() || queue.write_shut()) {
            return Err(Error::Inval);
        }
        let mut loser = None;
        if let Some(robbed) = self.routes.robbed(pattern, answers) {
            let whose = robbed.member.user();
            let protected = robbed.depth > 0 || whose == self.owner;
            if protected && whose != user && user != self.owner {
                return Err(Error::Acces);
            }
            loser = Some(robbed.member.id());
        }
        self.check_quota(member, pattern, Kind::Replier)?;
        let event = bind_event(&self.account, member.id(), true, pattern.text())?;
        let plan = match self.plan_event(member, &event) {
            Ok(plan) => plan,
            Err(refusal) => return self.wait_to_bind(member, refusal, blocking, next_id, wakes),
        };
        let binding = self.last_binding.saturating_add(1);
        let mut held = Node::new(binding, new_held(pattern, Kind::Replier)?)?;
        let gone = bind_event(&self.account, member.id(), false, pattern.text())?;
        held.value.event = Some(gone);
        let replier = Replier {
            member: member.clone(),
            binding,
        };
        self.routes.bind_replier(replier, pattern)?;
        self.last_binding = binding;
        self.sock_mut(member)?.replies.insert(held, binding);
        self.count(member, pattern, Kind::Replier, true, false);
        if let Some(plan) = plan {
            event.set_id(next_id());
            plan.deliver(&event, None, None, wakes);
        }
        if let Some(loser) = loser {
            // A request that waits for the one may go to the other.
            self.release(loser, member.id(), wakes);
        }
        Ok(Bound::Done(Garbage::new()))
    }

    /// Gives a replier binding up.
    ///
    /// From now on the socket is not asked; [`Bus::settle_step`] tells the requesters of what that
    /// binding let in and was not read. Nothing is allocated, unless there are bind events.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when the socket has no such binding; those of an event
    /// as in [`Bus::bind_replier`].
    pub fn unbind_replier(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        blocking: bool,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Bound<M>, Error> {
        let peer = member.id();
        self.sock_mut(member)?;
        let binding = match self.same_replier(pattern) {
            Some(replier) if replier.member.id() == peer => replier.binding,
            _ => return Err(Error::Inval),
        };
        let held = self.sock_mut(member)?.replies.get_mut(binding);
        let event = held.and_then(|held| held.event.clone());
        let plan = match &event {
            Some(event) => match self.plan_event(member, event) {
                Ok(plan) => plan,
                Err(refusal) => {
                    return self.wait_to_bind(member, refusal, blocking, next_id, wakes)
                }
            },
            None => None,
        };
        drop(self.routes.unbind_replier(pattern, binding));
        drop(self.sock_mut(member)?.replies.remove(binding));
        self.count(member, pattern, Kind::Replier, false, false);
        let garbage = member.with(|queue| queue.unbind_replier(binding));
        if let (Some(plan), Some(event)) = (plan, event) {
            event.set_id(next_id());
            plan.deliver(&event, None, None, wakes);
        }
        self.release(peer, peer, wakes);
        Ok(Bound::Done(self.take_all_back(peer, garbage)))
    }

    /// There was no room for the event.
    fn wait_to_bind(
        &mut self,
        member: &M,
        refusal: Refusal<M>,
        blocking: bool,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Bound<M>, Error> {
        match refusal {
            Refusal::Error(error) => Err(error),
            Refusal::Full(_) if !blocking => Err(Error::Again),
            Refusal::Full(full) => {
                let ticket = self.park(member, || Ok(What::Bind), full, next_id, wakes)?;
                Ok(Bound::Wait(ticket))
            }
        }
    }

    fn check_quota(&self, member: &M, pattern: &Pattern<'_>, kind: Kind) -> Result<(), Error> {
        let sock = self.socks.get(member.id()).ok_or(Error::NotConn)?;
        let user = self.users.get(u64::from(member.payer().id()));
        let user = user.ok_or(Error::NotConn)?;
        let widens = kind == Kind::Listener && pattern.is_wide() && sock.wide == 0;
        let reached = |has: u32, most: &AtomicU64| u64::from(has) >= most.load(Relaxed);
        if reached(user.bindings, &self.limits.bindings)
            || (widens && reached(user.wide, &self.limits.wide))
        {
            return Err(Error::DQuot);
        }
        Ok(())
    }
}

fn new_held<M: Member>(pattern: &Pattern<'_>, kind: Kind) -> Result<Held<M>, Error> {
    Ok(Held {
        text: mem::try_copy(pattern.text())?,
        kind,
        count: 1,
        event: None,
        notice: None,
    })
}
