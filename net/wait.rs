// SPDX-License-Identifier: GPL-2.0

//! Sleeping until there is room, and trying again.

use crate::{
    bus_core::{
        self,
        bus::Shared,
        mem,
        wait::{
            Place,
            Tried,
            Waiter,
            WaiterRoom, //
        }, //
    },
    domain::SharedBus,
    endpoint::{
        sleep,
        Endpoint, //
    },
    reclaim::patiently,
    users::Users,
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// Whoever waits tries again by itself after so many milliseconds.
///
/// It is told when there is room, but not when a memory cgroup has got memory back. And another
/// waiter that was told instead of it may get no processor.
const AGAIN_MS: u32 = 250;

/// Tries something until there is room for it.
///
/// `left` is how long it may sleep, in jiffies, and then what is left of that. Everything is
/// checked afresh in each try.
///
/// # Errors
///
/// Those of `attempt`; `EAGAIN` when nothing is `left`; `EDEADLK` when the socket would wait for
/// itself; `EDQUOT` when too many of the user's wait already; `EINTR` or `ERESTARTSYS` on a signal.
///
/// # Locks
///
/// None may be held. While it sleeps it holds none, and nothing in any queue.
#[inline]
pub(crate) fn until_room<T>(
    this: &Arc<Endpoint>,
    bus: &Arc<SharedBus>,
    left: &mut Jiffies,
    mut attempt: impl FnMut() -> Result<Tried<Arc<Endpoint>, T>, bus_core::Error>,
) -> Result<T> {
    match patiently(&mut attempt)? {
        Tried::Done(result) => Ok(result),
        Tried::Full { place, own } => wait(this, bus, left, (place, own), attempt),
    }
}

/// Waits for that after there was none at this place.
#[cold]
fn wait<T>(
    this: &Arc<Endpoint>,
    bus: &Arc<SharedBus>,
    left: &mut Jiffies,
    (mut place, mut own): (Place<Arc<Endpoint>>, bool),
    mut attempt: impl FnMut() -> Result<Tried<Arc<Endpoint>, T>, bus_core::Error>,
) -> Result<T> {
    let age = bus_core::wait::next_age();
    let mut waits = None;
    let mut changes: u32 = 0;
    loop {
        if *left == 0 {
            this.sock.want_space();
            bus_core::wait::block(this, &place);
            return Err(EAGAIN);
        }
        if own {
            return Err(EDEADLK);
        }
        // What was tried until now may have given something back, and this may sleep for long.
        Users::answer_bell(&this.users);
        if waits.is_none() {
            waits = Some(bus.locked(|bus| bus.begin_wait(this))?);
        }
        let slept = sleep_for(this, &place, age, left, changes < CHANGES);
        if slept.is_err() {
            bus_core::wait::pass_on(&place);
        }
        changes = match slept? {
            Slept::Changed => changes.saturating_add(1),
            Slept::Woken => 0,
        };
        let tried = patiently(&mut attempt);
        // Others may have room now that this one did not use, or did not need.
        bus_core::wait::pass_on(&place);
        match tried? {
            Tried::Done(result) => return Ok(result),
            Tried::Full {
                place: next,
                own: its_own,
            } => (place, own) = (next, its_own),
        }
    }
}

/// So often it is tried again at once as something has changed meanwhile. Others may go on changing
/// it, and then it sleeps for a tick of the clock.
const CHANGES: u32 = 4;

/// Why somebody tries again.
enum Slept {
    /// Something has changed since it was looked at.
    Changed,
    /// It has slept.
    Woken,
}

/// Sleeps until there may be room, a while has passed, or the socket can send no more.
fn sleep_for(
    this: &Arc<Endpoint>,
    place: &Place<Arc<Endpoint>>,
    age: u64,
    left: &mut Jiffies,
    at_once: bool,
) -> Result<Slept> {
    let (waiter, room) = patiently(&mut || {
        let waiter = mem::new_arc(Waiter::sleeping(this))?;
        Ok((waiter, WaiterRoom::new()?))
    })?;
    let entered = bus_core::wait::enter(place, age, &waiter, room);
    if !entered && at_once {
        return match current!().signal_pending() {
            true => Err(ERESTARTSYS),
            false => Ok(Slept::Changed),
        };
    }
    let slice = (*left).min(match entered {
        true => msecs_to_jiffies(AGAIN_MS),
        false => 1,
    });
    let for_ever = *left >= crate::endpoint::MAX_SLEEP;
    let mut rest = slice;
    let mut result = Ok(());
    {
        let mut queue = this.queue.lock();
        // A socket that is shut meanwhile finds its error at once.
        let read_shut = queue.read_shut();
        while !waiter.is_woken()
            && !queue.write_shut()
            && queue.read_shut() == read_shut
            && rest > 0
        {
            result = sleep(&this.sendable, &mut queue, &mut rest);
            if result.is_err() {
                break;
            }
        }
    }
    bus_core::wait::leave(place, age);
    if !for_ever {
        *left = (*left).saturating_sub(slice.saturating_sub(rest));
    } else if result == Err(EINTR) {
        // As `sock_intr_errno()` has it: without a time limit the call can be restarted.
        result = Err(ERESTARTSYS);
    }
    match result {
        Ok(()) if *left == 0 && !waiter.is_woken() => Err(EAGAIN),
        Ok(()) if !entered => Ok(Slept::Changed),
        Ok(()) => Ok(Slept::Woken),
        Err(error) => Err(error),
    }
}
