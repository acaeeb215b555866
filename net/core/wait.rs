// SPDX-License-Identifier: GPL-2.0

//! Those who wait for room, and how they are told.
//!
//! A send or a binding that must wait, or a socket that wants to know when to try again
//! (`POLLOUT`), is noted as a [`Waiter`] with *one* of the queues that were full: before that one
//! changes it cannot go. It may also wait for the budget of the user whose queue that is.
//!
//! When there is room, some waiters are taken out of the list, oldest first, and woken. Each tries
//! again by itself, with all checks, and enters the list anew if it must. When it has tried, it
//! passes the news on ([`pass_on`]), so that all get their turn as long as there is room. A waiter
//! that is woken and does not run keeps nobody from theirs for long: the others also try again by
//! themselves from time to time.

use super::limits::BEFORE_FIRST;
use super::mem;
use super::mem::Arc;
use super::mem::Counter;
use super::mem::Flag;
use super::mem::Map;
use super::mem::Node;
use super::mem::Room;
use super::queue::Blocked;
use super::queue::Member;

/// Most waiters that are woken at once.
pub(super) const BATCH: usize = 16;
/// Most waiters that are looked at to find them.
const LOOKS: usize = 64;

/// One who waits.
pub struct Waiter<M: Member> {
    member: M,
    /// Nobody sleeps: the socket is not writable until it is woken.
    polls: bool,
    woken: Flag,
}

impl<M: Member> Waiter<M> {
    /// A thread of this socket, which sleeps.
    pub fn sleeping(member: &M) -> Self {
        Self::new(member, false)
    }

    fn new(member: &M, polls: bool) -> Self {
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

    /// Wakes it. Takes the lock of its socket's queue.
    pub fn wake(&self) {
        // Under that lock its thread looks at this and goes to sleep.
        self.member.with(|_| self.woken.swap(true));
        self.member.wake_senders();
    }
}

/// A waiter in the list of a queue; its key is its age.
pub type WaiterNode<M> = Node<u64, (Arc<Waiter<M>>, u64)>;

/// Those who wait for one queue, by age; each with the version of the queue that it has tried.
///
/// Some of those that sleep are woken at once, and tell the others when they have tried. Those that
/// poll may do nothing for long, so that all of them are told.
pub struct Waiters<M: Member> {
    sleeping: Map<u64, (Arc<Waiter<M>>, u64)>,
    polling: Map<u64, (Arc<Waiter<M>>, u64)>,
}

/// Some who are to be woken, by [`Woken::wake`]. No lock of the bus may be held then.
pub struct Woken<M: Member>([Option<WaiterNode<M>>; BATCH]);

impl<M: Member> Woken<M> {
    /// Nobody.
    pub const fn nobody() -> Self {
        Woken([const { None }; BATCH])
    }

    /// Wakes them, the oldest first.
    pub fn wake(self) {
        for node in self.0.into_iter().flatten() {
            let (_, (waiter, _)) = node.into_pair();
            waiter.wake();
        }
    }
}

impl<M: Member> Default for Waiters<M> {
    fn default() -> Self {
        Waiters::new()
    }
}

impl<M: Member> Waiters<M> {
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

    /// Takes one out.
    pub fn remove(&mut self, age: u64) -> Option<WaiterNode<M>> {
        let sleeping = self.sleeping.remove(&age);
        sleeping.or_else(|| self.polling.remove(&age))
    }

    /// Takes out the oldest that sleep and have not tried the queue of this version, at most so
    /// many.
    pub(super) fn take(&mut self, most: usize, version: u64) -> Woken<M> {
        let mut woken = Woken::nobody();
        let most = most.min(BATCH);
        let mut ages = [0; BATCH];
        let (mut found, mut looks) = (0, 0);
        self.sleeping.each_from(&0, |age, (_, tried)| {
            if *tried != version {
                if let Some(place) = ages.get_mut(found) {
                    *place = *age;
                    found += 1;
                }
            }
            looks += 1;
            found < most && looks < LOOKS
        });
        for (place, age) in woken.0.iter_mut().zip(ages).take(found) {
            *place = self.sleeping.remove(&age);
        }
        woken
    }

    /// Takes out the oldest that sleep, whatever they have tried.
    pub fn take_oldest(&mut self) -> Woken<M> {
        let mut woken = Woken::nobody();
        for place in &mut woken.0 {
            *place = self.sleeping.pop_first();
        }
        woken
    }

    /// Takes out some of those that poll and have not tried the queue of this version, the oldest
    /// first: from the age `round.0` on, which moves on, to `round.1`. Also says whether there may be
    /// more.
    pub fn take_polling(&mut self, round: &mut (u64, u64), version: u64) -> (Woken<M>, bool) {
        let mut woken = Woken::nobody();
        let mut ages = [0; BATCH];
        let (mut found, mut looks) = (0, 0);
        let (from, until) = *round;
        let ended = self.polling.each_from(&from, |age, (_, tried)| {
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
            found < BATCH && looks < LOOKS
        });
        for (place, age) in woken.0.iter_mut().zip(ages).take(found) {
            *place = self.polling.remove(&age);
        }
        (woken, !ended && round.0 <= until)
    }

    /// Takes out one, whatever it has tried; `None` when there is none left.
    pub(super) fn take_any(&mut self) -> Option<WaiterNode<M>> {
        let sleeping = self.sleeping.pop_first();
        sleeping.or_else(|| self.polling.pop_first())
    }

    /// Takes out the oldest of those that sleep and are of this age or younger.
    pub(super) fn take_from(&mut self, age: u64) -> Option<WaiterNode<M>> {
        let first = first_from(&self.sleeping, age)?;
        self.sleeping.remove(&first)
    }
}

/// The least age of those that are not less than this one.
fn first_from<V>(ages: &Map<u64, V>, from: u64) -> Option<u64> {
    let mut first = None;
    ages.each_from(&from, |age, _| {
        first = Some(*age);
        false
    });
    first
}

/// What a waiter waits for.
pub enum Place<M: Member> {
    /// Room in the queue of this socket, which had this version when it was full.
    Queue(M, u64),
    /// The budget of the user of this socket, which had this version when there was too little.
    Budget(M, u64),
    /// Memory of somebody's memory cgroup, and nobody is told of that: it is tried again after a while.
    Time,
}

impl<M: Member> Clone for Place<M> {
    fn clone(&self) -> Self {
        match self {
            Place::Queue(member, version) => Place::Queue(member.clone(), *version),
            Place::Budget(member, version) => Place::Budget(member.clone(), *version),
            Place::Time => Place::Time,
        }
    }
}

/// Enters a waiter in the list of what it waits for; false if there may be room since it looked.
///
/// `node` is the memory for that, with the waiter's age.
pub fn enter<M: Member>(place: &Place<M>, age: u64, waiter: &Arc<Waiter<M>>, room: WaiterRoom<M>) -> bool {
    match place {
        Place::Queue(member, version) => {
            let node = room.fill(age, (waiter.clone(), *version));
            member.with(|queue| queue.enter(node, *version, waiter.polls)).is_none()
        }
        Place::Budget(member, version) => {
            let node = room.fill(age, (waiter.clone(), 0));
            let entered = member.enter_budget(node, waiter.polls);
            if entered && member.payer().version() != *version {
                drop(member.leave_budget(age));
                return false;
            }
            entered
        }
        Place::Time => true,
    }
}

/// Memory for a waiter's place in a list.
pub type WaiterRoom<M> = Room<u64, (Arc<Waiter<M>>, u64)>;

/// Takes a waiter out of the list again, if it is still there.
pub fn leave<M: Member>(place: &Place<M>, age: u64) {
    let node = match place {
        Place::Queue(member, _) => member.with(|queue| queue.leave(age)),
        Place::Budget(member, _) => member.leave_budget(age),
        Place::Time => None,
    };
    drop(node);
}

/// Something about a socket has changed: all who wait for it try again.
pub fn wake_all<M: Member>(member: &M) {
    // What waits for its user's budget may have lacked only what a copy for this one needed.
    member.payer().ring();
    member.with(|queue| queue.bump());
    // Each once, and none who comes after this: they may be back before the last has been woken.
    let (mut from, until) = (0, next_age());
    while let Some(node) = member.with(|queue| queue.take_waiter_from(from)) {
        let (age, (waiter, _)) = node.into_pair();
        waiter.wake();
        if age > until {
            break;
        }
        from = age.saturating_add(1);
    }
    wake_polling(|round| member.with(|queue| queue.take_polling(round)));
}

/// Wakes those that poll, but none that begins to after this. `take` takes some of them out and says
/// whether there may be more, as [`Waiters::take_polling`] does.
pub fn wake_polling<M: Member>(mut take: impl FnMut(&mut (u64, u64)) -> (Woken<M>, bool)) {
    let mut round = (0, next_age());
    loop {
        let (woken, more) = take(&mut round);
        woken.wake();
        if !more {
            return;
        }
    }
}

/// There may be room in the queue of a socket: wakes those who wait for it and may have it.
pub fn tell<M: Member>(member: &M) {
    let (woken, polling) = member.with(|queue| queue.take_waiters());
    woken.wake();
    if polling {
        wake_polling(|round| member.with(|queue| queue.take_polling(round)));
    }
}

/// The age of a waiter: later ones are greater, whatever bus they are on, as all of them may wait
/// for the budget of one user.
pub fn next_age() -> u64 {
    static LAST: Counter = Counter::new(BEFORE_FIRST);
    LAST.add(1).saturating_add(1)
}

/// A send that must not wait was refused for want of room: its socket is not writable until it is
/// told that there is some, or sends again. Without memory to be told by it stays writable.
///
/// # Locks
///
/// Takes and gives up those of queues.
pub fn block<M: Member>(member: &M, place: &Place<M>) {
    if matches!(place, Place::Time) {
        return;
    }
    let (Ok(room), Ok(waiter)) = (WaiterRoom::new(), mem::new_arc(Waiter::new(member, true))) else {
        return;
    };
    let age = next_age();
    let blocked = (place.clone(), age, waiter.clone());
    forget(member.with(|queue| queue.block(Some(blocked))));
    if !enter(place, age, &waiter, room) {
        waiter.wake();
    }
}

/// A socket sends again: from now on it is writable, whatever was before.
pub fn unblock<M: Member>(member: &M) {
    if forget(member.with(|queue| queue.block(None))) {
        member.wake_senders();
    }
}

/// Forgets a refusal; says whether there was one.
fn forget<M: Member>(blocked: Option<Blocked<M>>) -> bool {
    let Some((place, age, _)) = blocked else {
        return false;
    };
    leave(&place, age);
    true
}

/// A waiter that was woken has tried again, or has given up: others may have room.
pub fn pass_on<M: Member>(place: &Place<M>) {
    if let Place::Queue(member, _) = place {
        tell(member);
    }
}
