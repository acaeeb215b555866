// SPDX-License-Identifier: GPL-2.0

//! Those who wait for room: who they are, and the lists that they are in.
//!
//! What is done with them: [`wait`](super::wait).

use super::limits::BEFORE_FIRST;
use super::mem::Arc;
use super::mem::Counter;
use super::mem::Flag;
use super::mem::Map;
use super::mem::Node;
use super::mem::Room;
use super::peer::Peer;

/// Most waiters that are woken at once.
pub(super) const BATCH: usize = 16;
/// Most waiters that are looked at to find them.
const LOOKS: usize = 64;

/// One who waits.
pub struct Waiter<M: Peer> {
    pub(super) member: M,
    /// Nobody sleeps: the socket is not writable until it is woken.
    pub(super) polls: bool,
    pub(super) woken: Flag,
}

impl<M: Peer> Waiter<M> {
    /// A thread of this socket, which sleeps.
    pub fn sleeping(member: &M) -> Self {
        Self::new(member, false)
    }

    pub(super) fn new(member: &M, polls: bool) -> Self {
        Waiter {
            member: member.clone(),
            polls,
            woken: Flag::new(false),
        }
    }

    /// Whether it has been woken. To be asked under the lock of its socket's queue.
    pub fn is_woken(&self) -> bool {
        self.woken.get()
    }
}

/// A waiter in the list of a queue; its key is its age.
pub type WaiterNode<M> = Node<u64, (Arc<Waiter<M>>, u64)>;

/// Those who wait for one queue or one budget, by age; each with the version of it that it has
/// tried.
///
/// Some of those that sleep are woken at once, and tell the others when they have tried. Those that
/// poll may do nothing for long, so that all of them are told.
pub struct Waiters<M: Peer> {
    sleeping: Map<u64, (Arc<Waiter<M>>, u64)>,
    polling: Map<u64, (Arc<Waiter<M>>, u64)>,
}

/// Some who are to be woken, by `Woken::wake()`. No lock of the bus may be held then.
pub struct Woken<M: Peer>(pub(super) [Option<WaiterNode<M>>; BATCH]);

impl<M: Peer> Woken<M> {
    /// Nobody.
    pub const fn nobody() -> Self {
        Woken([const { None }; BATCH])
    }
}

impl<M: Peer> Default for Waiters<M> {
    fn default() -> Self {
        Waiters::new()
    }
}

impl<M: Peer> Waiters<M> {
    /// Nobody.
    pub fn new() -> Self {
        Waiters {
            sleeping: Map::new(),
            polling: Map::new(),
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.sleeping.is_empty() && self.polling.is_empty()
    }

    /// Whether some of them poll.
    pub(super) fn poll(&self) -> bool {
        !self.polling.is_empty()
    }

    /// Adds one, who sleeps or `polls`.
    pub fn add(&mut self, waiter: WaiterNode<M>, polls: bool) {
        drop(match polls {
            true => self.polling.insert(waiter),
            false => self.sleeping.insert(waiter),
        });
    }

    /// The same for one of this age who has tried what it waits for in that version.
    pub(super) fn add_with(&mut self, waiter: WaiterNode<M>, age: u64, tried: u64, polls: bool) {
        self.add(waiter, polls);
        let all = match polls {
            true => &mut self.polling,
            false => &mut self.sleeping,
        };
        if let Some((_, version)) = all.get_mut(&age) {
            *version = tried;
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, age: u64) -> Option<WaiterNode<M>> {
        let sleeping = self.sleeping.remove(&age);
        sleeping.or_else(|| self.polling.remove(&age))
    }

    /// Takes out the oldest that sleep and have not tried what they wait for in this version, at
    /// most so many, nor more than are woken at once.
    pub fn take(&mut self, most: usize, version: u64) -> Woken<M> {
        let mut all = (0, u64::MAX);
        take_untried(&mut self.sleeping, &mut all, most.min(BATCH), version).0
    }

    /// Takes out some of those that poll and have not tried it in this version, the oldest first:
    /// from the age `round.0` on, which moves on, to `round.1`. Also says whether there may be
    /// more.
    pub fn take_polling(&mut self, round: &mut (u64, u64), version: u64) -> (Woken<M>, bool) {
        take_untried(&mut self.polling, round, BATCH, version)
    }

    /// Takes out one, whatever it has tried; `None` when there is none left.
    pub(super) fn take_any(&mut self) -> Option<WaiterNode<M>> {
        let sleeping = self.sleeping.pop_first();
        sleeping.or_else(|| self.polling.pop_first())
    }

    /// Takes out the oldest of those that sleep and are of this age or younger.
    pub(super) fn take_from(&mut self, age: u64) -> Option<WaiterNode<M>> {
        let (first, _) = self.sleeping.first_from(&age)?;
        self.sleeping.remove(&first)
    }
}

/// What [`Waiters::take`] and [`Waiters::take_polling`] do, with those of one kind.
fn take_untried<M: Peer>(
    waiters: &mut Map<u64, (Arc<Waiter<M>>, u64)>,
    round: &mut (u64, u64),
    most: usize,
    version: u64,
) -> (Woken<M>, bool) {
    let mut woken = Woken::nobody();
    let mut ages = [0; BATCH];
    let (mut found, mut looks) = (0, 0);
    let (from, until) = *round;
    let ended = waiters.each_from(&from, |age, (_, tried)| {
        if *age > until {
            round.0 = *age;
            return false;
        }
        if *tried != version {
            if let Some(place) = ages.get_mut(found) {
                *place = *age;
                found += 1;
            }
        }
        round.0 = age.saturating_add(1);
        looks += 1;
        found < most && looks < LOOKS
    });
    for (place, age) in woken.0.iter_mut().zip(ages).take(found) {
        *place = waiters.remove(&age);
    }
    (woken, !ended && round.0 <= until)
}

/// What a waiter waits for.
#[derive(Clone)]
pub enum Place<M: Peer> {
    /// Room in the queue of this socket, which had this version when it was full.
    Queue(M, u64),
    /// The budget of the user of this socket, which had this version when there was too little.
    Budget(M, u64),
    /// Memory of somebody's memory cgroup, and nobody is told of that: it is tried again after a
    /// while.
    Time,
}

impl<M: Peer> Place<M> {
    /// The queue of a socket has another version for what the refused send itself has given back:
    /// that is no reason to try again.
    pub(super) fn follow(&mut self, member: &M, from: u64, to: u64) {
        if let Place::Queue(of, version) = self {
            if of.id() == member.id() && *version == from {
                *version = to;
            }
        }
    }
}

/// What came of a try to send, or to bind.
pub enum Tried<M: Peer, T> {
    /// It is done.
    Done(T),
    /// There is no room: it is to be tried again.
    Full {
        /// Where room is lacking first.
        place: Place<M>,
        /// Whether the socket's own queue lacks some: then it must not sleep.
        own: bool,
    },
}

/// Memory for a waiter's place in a list.
pub type WaiterRoom<M> = Room<u64, (Arc<Waiter<M>>, u64)>;

/// The age of a waiter: later ones are greater, whatever bus they are on, as all of them may wait
/// for the budget of one user.
pub fn next_age() -> u64 {
    static LAST: Counter = Counter::new(BEFORE_FIRST);
    LAST.add(1).saturating_add(1)
}

/// A send that must not wait was refused, and since then nothing has changed: where, the age of the
/// waiter that is noted there, and that.
pub(super) type Blocked<M> = (Place<M>, u64, Arc<Waiter<M>>);
