// SPDX-License-Identifier: GPL-2.0

//! Sending replies.

use super::bus::Bus;
use super::bus::Shared;
use super::close;
use super::error::Error;
use super::fanout::Answer;
use super::fanout::Plain;
use super::fanout::Policy;
use super::fanout::Refusal;
use super::mem::Box;
use super::mem::BoxRoom;
use super::message::Fault;
use super::message::Head;
use super::message::KBUS_REPLY;
use super::name::Name;
use super::obligation;
use super::obligation::Obligation;
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::queue::Member;
use super::send::checks;

/// Sends a reply.
///
/// # Errors
///
/// Those of all sends, then in this order: [`Error::ConnRefused`] when it is not owed;
/// [`Error::AddrNotAvail`] when the requester has gone, which settles it; [`Error::Inval`] for
/// another name than the request's; [`Error::MsgSize`] when there is no room for so long a one;
/// [`Error::NoMem`].
pub(super) fn reply<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    (peer, request, name): (u64, u64, Option<Name<'_>>),
) -> Result<u64, Refusal<S::Member>> {
    let mut check = checks(member, out);
    let Some(mut obligation) = member.with(|queue| queue.take_owed(request)) else {
        shared.locked(check)?;
        return Err(Error::ConnRefused.into());
    };
    let to = (peer, request, name);
    let mut result = try_reply(shared, member, out, &mut obligation, to, &mut check);
    if result.is_err() {
        // What holds for all sends comes first in the order of precedence, and it may have failed
        // before that was looked at.
        if let Err(error) = shared.locked(check) {
            result = Err(error.into());
        }
    }
    match result {
        Ok((id, place)) => {
            // The requester's next request needs just this memory.
            let requester = obligation.requester.clone();
            let obligation = BoxRoom::of(obligation);
            if let Some(place) = place {
                let memory = obligation::Memory { obligation, place };
                let _ = requester.with(|queue| queue.keep(memory));
            }
            Ok(id)
        }
        Err(Refusal::Error(Error::AddrNotAvail)) => {
            let _ = member.with(|queue| queue.met(request));
            let reserved = obligation.reserved;
            obligation.requester.with(|queue| queue.unreserve(reserved));
            Err(Error::AddrNotAvail.into())
        }
        Err(refusal) => {
            // If the socket has been shut meanwhile, nobody can answer any more.
            if let Some(obligation) = member.with(|queue| queue.put_owed(obligation)) {
                close::settle(shared, obligation, Fault::Ignored);
            }
            Err(refusal)
        }
    }
}

/// The id of a reply, and the memory of its request's place in the ledger.
type Replied<M> = (u64, Option<obligation::Place<M>>);

#[inline(never)]
fn try_reply<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    obligation: &mut Box<Obligation<S::Member>>,
    (peer, request, name): (u64, u64, Option<Name<'_>>),
    check: impl FnMut(&mut Bus<S::Member>) -> Result<(), Error>,
) -> Result<Replied<S::Member>, Refusal<S::Member>> {
    let requester = obligation.requester.clone();
    if requester.id() != peer {
        return Err(Error::ConnRefused.into());
    }
    if requester.with(|queue| queue.is_closed()) {
        return Err(Error::AddrNotAvail.into());
    }
    if name.is_some_and(|name| *name.text() != *obligation.name.text()) {
        return Err(Error::Inval.into());
    }
    let len = out.content.payload.len() as u64;
    let (was_bus_bytes, was_bytes) = (obligation.bus_bytes.amount(), obligation.bytes.amount());
    if len > was_bytes {
        make_longer(shared, &requester, obligation, len)?;
    }
    let mut bus_bytes = obligation.bus_bytes.split(len);
    let answer = Answer::new(
        &requester,
        obligation.cookie,
        obligation.reserved,
        obligation.place.take(),
        obligation.bytes.split(len),
    );
    let head = Head {
        flags: out.flags_of(KBUS_REPLY),
        sender: member.id(),
        to: peer,
        in_reply_to: request,
        name: name.unwrap_or_else(|| Name::checked(obligation.name.text())),
        via: out.via,
    };
    let empty = bus_bytes.split(0);
    let (content, files) = (&mut out.content, out.files.as_ref());
    let mut plain = Plain::new(member, head, Policy::Miss, content, files);
    plain.answer(answer, bus_bytes);
    // In the same step as it is answered it is owed no more.
    let mut place = None;
    let sent = plain.send(
        shared,
        check,
        |_, _| Ok(()),
        |_, _| place = member.with(|queue| queue.met(request)),
    );
    let refusal = match sent {
        Ok(id) => return Ok((id, place)),
        Err(refusal) => refusal,
    };
    let (place, bytes, bus_bytes) = plain.take_held();
    drop(plain);
    obligation.bus_bytes.merge(bus_bytes.unwrap_or(empty));
    obligation.place = place;
    if let Some(bytes) = bytes {
        obligation.bytes.merge(bytes);
    }
    obligation.bus_bytes.shrink_to(was_bus_bytes);
    obligation.bytes.shrink_to(was_bytes);
    // Somebody else may have had the reply, and give it back later.
    obligation.bus_bytes.force_to(was_bus_bytes);
    obligation.bytes.force_to(was_bytes);
    Err(refusal)
}

/// Holds what a reply needs beyond what was held for it.
fn make_longer<S: Shared>(
    shared: &S,
    requester: &S::Member,
    obligation: &mut Obligation<S::Member>,
    len: u64,
) -> Result<(), Error> {
    let left = requester.payer().bytes.left();
    let fits = requester.with(|queue| queue.read_shut() || queue.fits_long_reply(len, left));
    let extra = len.saturating_sub(obligation.bytes.amount());
    let (held_bus, held) = (obligation.bus_bytes.amount(), obligation.bytes.amount());
    let bus_extra = len.saturating_sub(held_bus);
    let bus_bytes = &mut obligation.bus_bytes;
    if !fits || !shared.locked(|bus| bus.grow(requester, bus_bytes, bus_extra)) {
        return Err(Error::MsgSize);
    }
    if !obligation.bytes.grow(extra) {
        obligation.bus_bytes.shrink_to(held_bus);
        return Err(Error::MsgSize);
    }
    debug_assert!(obligation.bytes.amount() >= held);
    Ok(())
}
