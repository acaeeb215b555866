// SPDX-License-Identifier: GPL-2.0

//! Binding names and giving them up.

use super::bus::Bus;
use super::bus::Change;
use super::bus::Held;
use super::bus::Kind;
use super::bus::Member;
use super::bus::USER_BINDINGS;
use super::bus::USER_WIDE;
use super::error::Error;
use super::mem;
use super::message::Fault;
use super::name;
use super::name::Pattern;
use super::queue::Garbage;
use super::routes::Listener;
use super::routes::Replier;
use super::tree::Node;

impl<M: Member> Bus<M> {
    /// Adds a listener binding.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when the socket is shut for reading; [`Error::DQuot`]
    /// when its user has too many; [`Error::NoMem`].
    pub fn listen(&mut self, member: &M, pattern: &Pattern<'_>) -> Result<(), Error> {
        let peer = member.id();
        let user = self.sock_mut(member)?.user;
        if member.with(|queue| queue.read_shut()) {
            return Err(Error::Inval);
        }
        self.check_quota(member, pattern, Kind::Listener)?;
        if let Some(binding) = self.routes.listen_again(peer, pattern) {
            if let Some(held) = self.sock_mut(member)?.held.get_mut(binding) {
                held.count = held.count.saturating_add(1);
            }
        } else {
            let binding = self.last_binding.saturating_add(1);
            let held = Node::new(binding, new_held(pattern, Kind::Listener)?)?;
            let listener = Listener {
                peer,
                member: member.clone(),
                binding,
                count: 1,
            };
            self.routes.listen(listener, pattern)?;
            self.last_binding = binding;
            self.sock_mut(member)?.held.insert(held, binding);
        }
        self.count(
            user,
            pattern,
            wide_peer(peer, Kind::Listener),
            Change::Added,
        );
        Ok(())
    }

    /// Removes the youngest of identical listener bindings and what only it let in.
    ///
    /// The result is for the caller to drop outside the locks. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when there is none.
    pub fn unlisten(&mut self, member: &M, pattern: &Pattern<'_>) -> Result<Garbage<M>, Error> {
        let peer = member.id();
        let user = self.sock_mut(member)?.user;
        let gone = self.routes.unlisten(peer, pattern);
        let (binding, left) = gone.ok_or(Error::Inval)?;
        let sock = self.sock_mut(member)?;
        if left == 0 {
            sock.held.remove(binding);
        } else if let Some(held) = sock.held.get_mut(binding) {
            held.count = left;
        }
        let peer = wide_peer(peer, Kind::Listener);
        self.count(user, pattern, peer, Change::Gone(1));
        Ok(member.with(|queue| queue.unbind(binding, left, Fault::Unbound)))
    }

    /// Makes a socket the replier.
    ///
    /// # Errors
    ///
    /// In this order: [`Error::NotConn`]; [`Error::Perm`] for a name of the bus's own;
    /// [`Error::Exist`] when there is such a binding; [`Error::Inval`] when the socket is shut;
    /// [`Error::Acces`] when it would take names from another user's wildcard replier that is
    /// protected; [`Error::DQuot`]; [`Error::NoMem`].
    pub fn bind_replier(&mut self, member: &M, pattern: &Pattern<'_>) -> Result<(), Error> {
        let user = self.sock_mut(member)?.user;
        if name::is_bus_own(pattern.text()) {
            return Err(Error::Perm);
        }
        if self.routes.same_replier(pattern).is_some() {
            return Err(Error::Exist);
        }
        if member.with(|queue| queue.read_shut() || queue.write_shut()) {
            return Err(Error::Inval);
        }
        if let Some(robbed) = self.routes.robbed(pattern) {
            let whose = robbed.member.user();
            let protected = robbed.depth > 0 || whose == self.owner;
            if protected && whose != user && user != self.owner {
                return Err(Error::Acces);
            }
        }
        self.check_quota(member, pattern, Kind::Replier)?;
        let binding = self.last_binding.saturating_add(1);
        let held = Node::new(binding, new_held(pattern, Kind::Replier)?)?;
        let replier = Replier {
            member: member.clone(),
            binding,
        };
        self.routes.bind_replier(replier, pattern)?;
        self.last_binding = binding;
        self.sock_mut(member)?.held.insert(held, binding);
        let peer = wide_peer(member.id(), Kind::Replier);
        self.count(user, pattern, peer, Change::Added);
        Ok(())
    }

    /// Gives a replier binding up.
    ///
    /// From now on the socket is not asked; [`Bus::settle_step`] tells the requesters of what that
    /// binding let in and was not read. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::Inval`] when the socket has no such binding.
    pub fn unbind_replier(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
    ) -> Result<Garbage<M>, Error> {
        let peer = member.id();
        let user = self.sock_mut(member)?.user;
        let binding = match self.routes.same_replier(pattern) {
            Some(replier) if replier.member.id() == peer => replier.binding,
            _ => return Err(Error::Inval),
        };
        drop(self.routes.unbind_replier(pattern));
        drop(self.sock_mut(member)?.held.remove(binding));
        let peer = wide_peer(peer, Kind::Replier);
        self.count(user, pattern, peer, Change::Gone(1));
        Ok(member.with(|queue| queue.unbind(binding, 0, Fault::Unbound)))
    }

    /// Removes all bindings of a socket, or only its replier bindings.
    pub(super) fn drop_bindings(&mut self, member: &M, repliers_only: bool) {
        let peer = member.id();
        let Ok(sock) = self.sock_mut(member) else {
            return;
        };
        let user = sock.user;
        let mut all = core::mem::take(&mut sock.held);
        while let Some(held) = all.pop_first() {
            let binding = held.key();
            if repliers_only && held.value.kind == Kind::Listener {
                if let Ok(sock) = self.sock_mut(member) {
                    sock.held.insert(held, binding);
                }
                continue;
            }
            let Ok(pattern) = Pattern::parse(&held.value.text) else {
                continue;
            };
            match held.value.kind {
                Kind::Listener => self.routes.forget_listener(peer, &pattern),
                Kind::Replier => drop(self.routes.unbind_replier(&pattern)),
            }
            let peer = wide_peer(peer, held.value.kind);
            self.count(user, &pattern, peer, Change::Gone(held.value.count));
        }
    }

    fn check_quota(&self, member: &M, pattern: &Pattern<'_>, kind: Kind) -> Result<(), Error> {
        let sock = self.socks.get(member.id()).ok_or(Error::NotConn)?;
        let Some(user) = self.users.iter().find(|user| user.uid == sock.user) else {
            return Err(Error::NotConn);
        };
        let widens = kind == Kind::Listener && pattern.is_wide() && sock.wide == 0;
        if user.bindings >= USER_BINDINGS || (widens && user.wide >= USER_WIDE) {
            return Err(Error::DQuot);
        }
        Ok(())
    }
}

/// Only listeners count among the sockets that hear nearly everything; no peer has id 0.
fn wide_peer(peer: u64, kind: Kind) -> u64 {
    match kind {
        Kind::Listener => peer,
        Kind::Replier => 0,
    }
}

fn new_held(pattern: &Pattern<'_>, kind: Kind) -> Result<Held, Error> {
    Ok(Held {
        text: mem::try_copy(pattern.text())?,
        kind,
        count: 1,
    })
}
