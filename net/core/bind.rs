// SPDX-License-Identifier: GPL-2.0

//! Binding names and giving them up.

use super::account::Charge;
use super::bus::answers;
use super::bus::hears_events;
use super::bus::Binding;
use super::bus::Bindings;
use super::bus::Bus;
use super::bus::Shared;
use super::bus::IN_ORDER;
use super::close;
use super::entry::Entry;
use super::error::Error;
use super::events;
use super::fanout::Refusal;
use super::mem;
use super::mem::Node;
use super::mem::Room;
use super::mem::Vec;
use super::message::Fault;
use super::name;
use super::name::Pattern;
use super::peer::Peer;
use super::queue::unbound;
use super::queue::unlistened;
use super::queue::Member;
use super::queue::Removal;
use super::routes::Listener;
use super::routes::Replier;
use super::slots::Chunk;
use super::wait;
use super::wait::Tried;

/// Adds a listener binding.
///
/// # Errors
///
/// [`Error::NotConn`]; [`Error::Inval`] when the socket is shut for reading; [`Error::DQuot`] when
/// its user has too many; [`Error::NoMem`].
pub fn listen<S: Shared>(
    shared: &S,
    member: &S::Member,
    pattern: &Pattern<'_>,
) -> Result<(), Error> {
    let mut chunk = None;
    loop {
        if shared.locked(|bus| bus.add_listener(member, pattern, &mut chunk))? {
            return Ok(());
        }
        chunk = Some(member.within(Chunk::new)?);
    }
}

/// Removes the youngest of identical listener bindings and what only it let in. Nothing is
/// allocated.
///
/// # Errors
///
/// [`Error::NotConn`]; [`Error::Inval`] when there is none.
pub fn unlisten<S: Shared>(
    shared: &S,
    member: &S::Member,
    pattern: &Pattern<'_>,
) -> Result<(), Error> {
    let (binding, left, removal) = shared.locked(|bus| bus.take_listener(member, pattern))?;
    close::remove(shared, member, removal, Fault::Unbound, |entry| {
        unlistened(entry, binding, left, |name| pattern.matches(name))
    });
    wait::wake_all(member);
    Ok(())
}

/// Makes a socket the replier.
///
/// Where bind events are on, the binding and its event are one step, for which their listeners must
/// have room.
///
/// # Errors
///
/// In this order: [`Error::NotConn`]; [`Error::Perm`] for a name of the bus's own; [`Error::Exist`]
/// when there is such a binding; [`Error::Inval`] when the socket is shut; [`Error::Acces`] when it
/// would take names from another user's wildcard replier that is protected; [`Error::DQuot`];
/// [`Error::NoMem`].
pub fn bind_replier<S: Shared>(
    shared: &S,
    member: &S::Member,
    pattern: &Pattern<'_>,
) -> Result<Tried<S::Member, ()>, Error> {
    let mut new = NewReplier {
        text: mem::try_copy(pattern.text())?,
        room: Some(Room::new()?),
        counted: None,
    };
    let event = events::payload(member.id(), true, pattern.text())?;
    let mut loser = None;
    let bound = shared.locked(|bus| {
        loser = bus.check_replier(member, pattern)?;
        new.counted = Some(bus.count_binding(member)?);
        bus.routes.prepare(pattern)?;
        if bus.events.are_on() {
            return Ok(false);
        }
        bus.add_replier(member, pattern, &mut new);
        Ok::<_, Error>(true)
    })?;
    if !bound {
        let check = |bus: &mut Bus<S::Member>| {
            loser = bus.check_replier(member, pattern)?;
            Ok(bus.routes.prepare(pattern)?)
        };
        let done = |bus: &mut Bus<S::Member>, _| bus.add_replier(member, pattern, &mut new);
        if let Err(refusal) = events::tell(shared, member, event, check, done) {
            shared.locked(|bus| bus.routes.prune_unused(pattern));
            return refused(refusal);
        }
    }
    if let Some(loser) = loser {
        // A request that waits for the one may go to the other.
        wait::wake_all(&loser);
    }
    Ok(Tried::Done(()))
}

/// Gives a replier binding up.
///
/// From now on the socket is not asked, and the requesters of what that binding let in and was not
/// read are told. Nothing is allocated, unless there are bind events.
///
/// # Errors
///
/// [`Error::NotConn`]; [`Error::Inval`] when the socket has no such binding; [`Error::NoMem`] where
/// there are bind events.
pub fn unbind_replier<S: Shared>(
    shared: &S,
    member: &S::Member,
    pattern: &Pattern<'_>,
) -> Result<Tried<S::Member, ()>, Error> {
    let mut gone = None;
    let reports = shared.locked(|bus| {
        let binding = bus.own_replier(member, pattern)?;
        if bus.events.are_on() {
            return Ok(true);
        }
        gone = bus.take_replier(member, pattern, binding);
        Ok::<_, Error>(false)
    })?;
    if reports {
        let event = events::payload(member.id(), false, pattern.text())?;
        let check = |bus: &mut Bus<S::Member>| bus.own_replier(member, pattern).map(|_| ());
        let done = |bus: &mut Bus<S::Member>, _| {
            if let Ok(binding) = bus.own_replier(member, pattern) {
                gone = bus.take_replier(member, pattern, binding);
            }
        };
        if let Err(refusal) = events::tell(shared, member, event, check, done) {
            return refused(refusal);
        }
    }
    if let Some((binding, removal)) = gone {
        let judge = |entry: &mut Entry<S::Member>| unbound(entry, binding);
        close::remove(shared, member, removal, Fault::Unbound, judge);
    }
    wait::wake_all(member);
    Ok(Tried::Done(()))
}

/// What the caller is told when there was no room for the event.
fn refused<M: Member>(refusal: Refusal<M>) -> Result<Tried<M, ()>, Error> {
    match refusal {
        Refusal::Error(error) => Err(error),
        Refusal::Full { place, own } => Ok(Tried::Full { place, own }),
        // Nobody is asked or answered by an event.
        Refusal::Again => Err(Error::Again),
    }
}

/// A replier binding that needs no more memory.
struct NewReplier {
    text: Vec<u8>,
    room: Option<Room<(u64, u64), Binding>>,
    counted: Option<Charge>,
}

impl<M: Member> Bus<M> {
    /// Counts one more binding of a socket's user.
    fn count_binding(&self, member: &M) -> Result<Charge, Error> {
        Charge::new(&self.user(member)?.bindings, 1).ok_or(Error::DQuot)
    }

    /// Adds a listener binding; false if it needs a chunk of memory for that.
    fn add_listener(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        chunk: &mut Option<Chunk<Entry<M>>>,
    ) -> Result<bool, Error> {
        let prefix = self.routes.prefix_hash(pattern);
        let hash = self.routes.pattern_hash(pattern, prefix);
        let sock = self.sock(member)?;
        if member.with(|queue| queue.read_shut()) {
            return Err(Error::Inval);
        }
        let again = Self::own_binding(&sock.listens, hash, pattern.text());
        let (is_wide, hears) = (pattern.is_wide() && again.is_none(), hears_events(pattern));
        let (widens, begins) = (is_wide && sock.wide.0 == 0, hears && sock.hears == 0);
        let counted = self.count_binding(member)?;
        if let Some(binding) = again {
            if let Some(held) = self.sock_mut(member)?.listens.get_mut(&(hash, binding)) {
                held.counted.merge(counted);
            }
            self.routes.listen_again(binding, pattern, prefix);
            return Ok(true);
        }
        let wide = match widens {
            true => Some(Charge::new(&self.user(member)?.wide, 1).ok_or(Error::DQuot)?),
            false => None,
        };
        let number = self.last_binding.saturating_add(1);
        let held = Binding {
            text: mem::try_copy(pattern.text())?,
            counted,
        };
        let held = Node::new((hash, number), held)?;
        let listener = Listener {
            member: member.clone(),
            count: 1,
        };
        let listener = Node::new(number, listener)?;
        if begins && !member.with(|queue| queue.hear(true, chunk))? {
            return Ok(false);
        }
        if let Err(error) = self.routes.listen(listener, pattern, prefix) {
            if begins {
                member.with(|queue| queue.hear(false, &mut None))?;
            }
            return Err(error.into());
        }
        self.last_binding = number;
        let sock = self.sock_mut(member)?;
        drop(sock.listens.insert(held));
        if is_wide {
            sock.wide.0 = sock.wide.0.saturating_add(1);
            sock.wide.1 = sock.wide.1.take().or(wide);
        }
        if hears {
            sock.hears = sock.hears.saturating_add(1);
        }
        if begins {
            self.events.count_listener(true);
        }
        Ok(true)
    }

    /// Removes the youngest of identical listener bindings: its number, how many are left, and the
    /// removal of what it let in.
    fn take_listener(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
    ) -> Result<(u64, u32, Removal), Error> {
        let prefix = self.routes.prefix_hash(pattern);
        let hash = self.routes.pattern_hash(pattern, prefix);
        let sock = self.sock(member)?;
        if member.with(|queue| queue.read_shut()) {
            return Err(Error::Inval);
        }
        let binding = Self::own_binding(&sock.listens, hash, pattern.text());
        let binding = binding.ok_or(Error::Inval)?;
        let left = self.routes.unlisten(binding, pattern, prefix);
        let sock = self.sock_mut(member)?;
        let mut ends = false;
        if left > 0 {
            if let Some(held) = sock.listens.get_mut(&(hash, binding)) {
                held.counted.shrink_to(u64::from(left));
            }
        } else {
            drop(sock.listens.remove(&(hash, binding)));
            if pattern.is_wide() {
                sock.wide.0 = sock.wide.0.saturating_sub(1);
                if sock.wide.0 == 0 {
                    sock.wide.1 = None;
                }
            }
            if hears_events(pattern) {
                sock.hears = sock.hears.saturating_sub(1);
                ends = sock.hears == 0;
            }
        }
        if ends {
            self.events.count_listener(false);
        }
        let removal = member.with(|queue| {
            if ends {
                let _ = queue.hear(false, &mut None);
            }
            queue.begin_removal()
        });
        Ok((binding, left, removal))
    }

    /// Whether a socket may become the replier, and from which one it would take names.
    fn check_replier(&mut self, member: &M, pattern: &Pattern<'_>) -> Result<Option<M>, Error> {
        let user = member.user();
        self.sock(member)?;
        if name::is_bus_own(pattern.text()) {
            return Err(Error::Perm);
        }
        if self.same_replier(pattern).is_some() {
            return Err(Error::Exist);
        }
        if !answers(member) {
            return Err(Error::Inval);
        }
        let Some((loser, depth)) = self.routes.loser(pattern, answers) else {
            return Ok(None);
        };
        let whose = loser.user();
        let protected = depth > 0 || whose == self.owner;
        if protected && whose != user && user != self.owner {
            return Err(Error::Acces);
        }
        Ok(Some(loser.clone()))
    }

    /// Adds a replier binding for which all is ready.
    fn add_replier(&mut self, member: &M, pattern: &Pattern<'_>, new: &mut NewReplier) {
        let binding = self.last_binding.saturating_add(1);
        let replier = Replier {
            member: member.clone(),
            binding,
        };
        let (Some(room), Some(counted)) = (new.room.take(), new.counted.take()) else {
            return;
        };
        let held = Binding {
            text: core::mem::take(&mut new.text),
            counted,
        };
        // It needs no memory: that has been prepared.
        if self.routes.bind_replier(replier, pattern).is_err() {
            return;
        }
        self.last_binding = binding;
        if let Ok(sock) = self.sock_mut(member) {
            drop(sock.replies.insert(room.fill((IN_ORDER, binding), held)));
        }
    }

    /// The number of a socket's own replier binding of this pattern.
    fn own_replier(&self, member: &M, pattern: &Pattern<'_>) -> Result<u64, Error> {
        self.sock(member)?;
        match self.same_replier(pattern) {
            Some(replier) if replier.member.id() == member.id() => Ok(replier.binding),
            _ => Err(Error::Inval),
        }
    }

    /// Removes it.
    fn take_replier(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        binding: u64,
    ) -> Option<(u64, Removal)> {
        drop(self.routes.unbind_replier(pattern, binding));
        let sock = self.sock_mut(member).ok()?;
        drop(sock.replies.remove(&(IN_ORDER, binding)));
        Some((binding, member.with(|queue| queue.begin_removal())))
    }

    /// Takes the replier bindings of a socket, or all, away: from now on they count no more. They
    /// are still in the routes.
    pub(super) fn part(
        &mut self,
        member: &M,
        listeners_too: bool,
    ) -> Result<(Bindings, Bindings), Error> {
        let sock = self.sock_mut(member)?;
        let replies = core::mem::take(&mut sock.replies);
        let mut listens = Bindings::new();
        if listeners_too {
            listens = core::mem::take(&mut sock.listens);
            sock.wide = (0, None);
            if core::mem::take(&mut sock.hears) > 0 {
                self.events.count_listener(false);
            }
        }
        Ok((listens, replies))
    }
}
