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

use super::mem;
use super::mem::Arc;
use super::queue::Consumed;
use super::queue::Member;
use super::waiter::Blocked;

pub use super::waiter::next_age;
pub use super::waiter::Place;
pub use super::waiter::Tried;
pub use super::waiter::Waiter;
pub use super::waiter::WaiterNode;
pub use super::waiter::WaiterRoom;
pub use super::waiter::Waiters;
pub use super::waiter::Woken;

impl<M: Member> Waiter<M> {
    /// Wakes it. Takes the lock of its socket's queue.
    pub fn wake(&self) {
        // Under that lock its thread looks at this and goes to sleep.
        self.member.with(|_| self.woken.swap(true));
        self.member.wake_senders();
    }
}

impl<M: Member> Woken<M> {
    /// Wakes them, the oldest first.
    pub fn wake(self) {
        for node in self.0.into_iter().flatten() {
            let (_, (waiter, _)) = node.into_pair();
            waiter.wake();
        }
    }
}

impl<M: Member> Consumed<M> {
    /// Drops what was read from this socket, then wakes those who wait for its room.
    ///
    /// The caller has no part of the message any more: its bytes may be what somebody waits for.
    pub fn settle(self, member: &M) {
        drop((self.rest, self.trimmed));
        if self.waited_for {
            tell(member);
        }
    }
}

/// Enters a waiter in the list of what it waits for; false if there may be room since it looked.
///
/// `room` is the memory for that.
pub fn enter<M: Member>(
    place: &Place<M>,
    age: u64,
    waiter: &Arc<Waiter<M>>,
    room: WaiterRoom<M>,
) -> bool {
    match place {
        Place::Queue(member, version) => {
            let node = room.fill(age, (waiter.clone(), *version));
            member
                .with(|queue| queue.enter((age, node), *version, waiter.polls))
                .is_none()
        }
        Place::Budget(member, version) => {
            let node = room.fill(age, (waiter.clone(), *version));
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
    let waited_for = member.with(|queue| {
        queue.bump();
        queue.is_waited_for()
    });
    if !waited_for {
        return;
    }
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

/// Wakes those that poll, but none that begins to after this. `take` takes some of them out and
/// says whether there may be more, as [`Waiters::take_polling`] does.
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
    let (Ok(room), Ok(waiter)) = (WaiterRoom::new(), mem::new_arc(Waiter::new(member, true)))
    else {
        return;
    };
    let age = next_age();
    // Entered first: what is remembered by the socket is what another thread of it takes out.
    let entered = enter(place, age, &waiter, room);
    let blocked = (place.clone(), age, waiter.clone());
    forget(member.with(|queue| queue.block(Some(blocked))));
    if !entered {
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
pub(super) fn forget<M: Member>(blocked: Option<Blocked<M>>) -> bool {
    let Some((place, age, _)) = blocked else {
        return false;
    };
    leave(&place, age);
    true
}

/// A waiter that was woken has tried again, or has given up: others may have room who have not
/// tried since there is some.
pub fn pass_on<M: Member>(place: &Place<M>) {
    match place {
        Place::Queue(member, _) => tell(member),
        Place::Budget(member, _) => member.tell_budget(),
        Place::Time => {}
    }
}
