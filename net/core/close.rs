// SPDX-License-Identifier: GPL-2.0

//! Closing, shutting down, giving requests up, and the statuses that follow.
//!
//! Nothing of what must happen allocates: each status has its slot and its place since the request.
//! A close takes effect in one step. What the socket leaves then belongs to whoever closes it, who
//! sees to it in steps, and others may send in between.

use super::bus::Bindings;
use super::bus::Shared;
use super::entry::Body;
use super::entry::Cause;
use super::entry::Entry;
use super::entry::Own;
use super::error::Error;
use super::events;
use super::mem;
use super::mem::Box;
use super::mem::Map;
use super::message::Fault;
use super::name::Pattern;
use super::obligation::Obligation;
use super::obligation::Status;
use super::peer::Peer;
use super::peer::Trace;
use super::queue::Closed;
use super::queue::Member;
use super::queue::Removal;
use super::queue::Taken;
use super::queue::Verdict;
use super::wait;

/// Bindings that are taken out of the routes in one hold of the bus lock.
const BATCH: usize = 16;

/// Closes a socket: from the first step on it is no target, no replier, no owner of a name. Its
/// statuses and events follow, all before this returns.
pub fn close<S: Shared>(shared: &S, member: &S::Member) {
    let (sock, closed) = shared.locked(|bus| {
        let mut sock = bus.leave(member);
        if let Some(sock) = &mut sock {
            bus.forget_reports(sock);
        }
        (sock, member.with(|queue| queue.close()))
    });
    let Closed {
        mut list,
        owed,
        mut waiters,
        blocked,
        kept_list,
    } = closed;
    drop(kept_list);
    // What waits for its user's budget may have lacked only what a copy for this one needed.
    member.payer().ring();
    while let Some(node) = waiters.take_any() {
        let (_, (waiter, _)) = node.into_pair();
        waiter.wake();
    }
    wait::forget(blocked);
    while let Some(mut entry) = list.pop_front() {
        if let Some(obligation) = owed_for(&mut entry) {
            settle(shared, obligation, Fault::GoneAway);
        }
    }
    settle_all(shared, owed);
    if let Some(mut sock) = sock {
        forget_listeners(shared, &mut sock.listens);
        forget_repliers(shared, member, &mut sock.replies);
    }
}

/// Shuts a socket for reading. What is queued and needs no answer stays.
///
/// # Errors
///
/// [`Error::NotConn`].
pub fn shutdown_read<S: Shared>(shared: &S, member: &S::Member) -> Result<(), Error> {
    let (mut listens, mut replies) = shared.locked(|bus| {
        let parted = bus.part(member, true)?;
        member.with(|queue| queue.shut_read());
        Ok::<_, Error>(parted)
    })?;
    let removal = member.with(|queue| queue.begin_removal());
    remove(shared, member, removal, Fault::GoneAway, |entry| {
        match entry.obligation.is_some() || entry.id() == 0 {
            true => Verdict::Remove,
            false => Verdict::Keep,
        }
    });
    wait::wake_all(member);
    member.wake_senders();
    forget_listeners(shared, &mut listens);
    forget_repliers(shared, member, &mut replies);
    Ok(())
}

/// Shuts a socket for writing: it answers nothing any more.
///
/// # Errors
///
/// [`Error::NotConn`].
pub fn shutdown_write<S: Shared>(shared: &S, member: &S::Member) -> Result<(), Error> {
    let (mut replies, owed, blocked) = shared.locked(|bus| {
        let (_, replies) = bus.part(member, false)?;
        let (owed, blocked) = member.with(|queue| (queue.shut_write(), queue.block(None)));
        Ok::<_, Error>((replies, owed, blocked))
    })?;
    wait::forget(blocked);
    let removal = member.with(|queue| queue.begin_removal());
    remove(shared, member, removal, Fault::Unbound, |entry| {
        match (entry.obligation.is_some(), entry.cause) {
            (false, _) => Verdict::Keep,
            (true, Cause::Once { listeners, .. }) if listeners > 0 => Verdict::Disown,
            (true, _) => Verdict::Remove,
        }
    });
    settle_all(shared, owed);
    // What was read while the others were taken out.
    settle_all(shared, member.with(|queue| queue.shut_write()));
    wait::wake_all(member);
    member.wake_senders();
    forget_repliers(shared, member, &mut replies);
    Ok(())
}

/// Gives up a request that is owed: its requester gets an IGNORED status.
///
/// # Errors
///
/// [`Error::NotConn`]; [`Error::ConnRefused`] when the socket does not owe it.
pub fn ignore<S: Shared>(shared: &S, member: &S::Member, id: u64) -> Result<(), Error> {
    shared.locked(|bus| bus.sock(member).map(|_| ()))?;
    let owed = member.with(|queue| Some((queue.take_owed(id)?, queue.met(id))));
    let (obligation, _place) = owed.ok_or(Error::ConnRefused)?;
    settle(shared, obligation, Fault::Ignored);
    Ok(())
}

/// Takes out of a socket's queue what `judge` says, in steps, as far as it was there when the
/// removal began; requests that nobody will answer then
/// are settled.
pub(super) fn remove<S: Shared>(
    shared: &S,
    member: &S::Member,
    mut removal: Removal,
    fault: Fault,
    judge: impl Fn(&mut Entry<S::Member>) -> Verdict,
) {
    if removal.is_empty {
        return;
    }
    // It is large: made once, and not moved.
    let mut taken = Taken::nothing();
    loop {
        member.with(|queue| queue.remove_some(&mut removal, &mut taken, &judge));
        let mut removed = false;
        // Each place has the one or the other, in the order of the queue.
        for (place, disowned) in taken.entries.iter_mut().zip(&mut taken.disowned) {
            let mut obligation = disowned.take().filter(|of| of.request != 0);
            if let Some(entry) = place {
                removed = true;
                obligation = owed_for(entry);
                *place = None;
            }
            if let Some(obligation) = obligation {
                settle(shared, obligation, fault);
            }
        }
        if removed {
            wait::tell(member);
            // A gap may have been that of an entry which was not sent yet.
            if member.with(|queue| queue.tells_gap()) {
                member.wake_reader();
            }
        }
        if !taken.more {
            break;
        }
    }
}

/// What is owed for an entry that goes: for a request that has not been sent it is nothing yet.
fn owed_for<M: Member>(entry: &mut Entry<M>) -> Option<Box<Obligation<M>>> {
    let sent = entry.id();
    let mut obligation = entry.obligation.take()?;
    obligation.request = sent;
    Some(obligation).filter(|_| sent != 0)
}

/// What was owed is ignored.
fn settle_all<S: Shared>(shared: &S, mut owed: Map<u64, Option<Box<Obligation<S::Member>>>>) {
    while let Some(node) = owed.pop_first() {
        if let (_, Some(obligation)) = node.into_pair() {
            settle(shared, obligation, Fault::Ignored);
        }
    }
}

/// Puts the status in the requester's queue, if anything may still arrive there.
pub(super) fn settle<S: Shared>(shared: &S, obligation: Box<Obligation<S::Member>>, fault: Fault) {
    let mut obligation = mem::unbox(obligation);
    let requester = &obligation.requester;
    let mut entry = Entry::blank(Cause::Own, 0);
    entry.cookie = obligation.cookie;
    entry.place = obligation.place.take();
    entry.own = Own::Message;
    let reserved = obligation.reserved;
    let mut entry = Some(entry);
    let id = shared.locked(|_| {
        requester.with(|queue| {
            if !queue.unreserve(reserved) {
                return None;
            }
            let mut entry = entry.take()?;
            let id = shared.next_id();
            entry.body = Body::Status(Status {
                id,
                in_reply_to: obligation.request,
                sender: obligation.replier,
                to: requester.id(),
                fault,
                time: S::Member::now(),
            });
            let _ = queue.put_promised(entry);
            Some(id)
        })
    });
    if let Some(id) = id {
        requester.trace(Trace::Status {
            id,
            request: obligation.request,
            replier: obligation.replier,
            fault,
        });
        requester.wake_reader();
    }
}

/// Takes listener bindings out of the routes, some in each hold of the bus lock.
fn forget_listeners<S: Shared>(shared: &S, listens: &mut Bindings) {
    loop {
        let mut gone = [const { None }; BATCH];
        for (place, node) in gone
            .iter_mut()
            .zip(core::iter::from_fn(|| listens.pop_first()))
        {
            *place = Some(node.into_pair());
        }
        if gone.first().is_none_or(Option::is_none) {
            break;
        }
        shared.locked(|bus| {
            for ((_, binding), held) in gone.iter().flatten() {
                if let Ok(pattern) = Pattern::parse(&held.text) {
                    let prefix = bus.routes.prefix_hash(&pattern);
                    bus.routes.forget_listener(*binding, &pattern, prefix);
                }
            }
        });
    }
}

/// Takes replier bindings out of the routes, one by one, with the event of each.
fn forget_repliers<S: Shared>(shared: &S, member: &S::Member, replies: &mut Bindings) {
    while let Some(node) = replies.pop_first() {
        let ((_, binding), held) = node.into_pair();
        let reports = shared.locked(|bus| {
            if let Ok(pattern) = Pattern::parse(&held.text) {
                // Somebody may have it already.
                drop(bus.routes.unbind_replier(&pattern, binding));
            }
            bus.events.are_on()
        });
        if reports {
            events::tell_unbound(shared, member, &held.text);
        }
    }
}
