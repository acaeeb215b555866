// SPDX-License-Identifier: GPL-2.0

//! Sending announcements and requests.

use super::account::Amount;
use super::account::Charge;
use super::account::One;
use super::address::Dest;
use super::bus::Bus;
use super::bus::Shared;
use super::data::KeptName;
use super::error::Error;
use super::fanout;
use super::fanout::Plain;
use super::fanout::Refusal;
use super::mem;
use super::message::Head;
use super::message::KBUS_REQUEST;
use super::name::is_bus_own;
use super::name::Name;
use super::obligation;
use super::obligation::Obligation;
use super::peer::Peer;
use super::queue::Member;
use super::queue::Queue;
use super::reply;
use super::wait;
use super::wait::Tried;

pub use super::outgoing::Outgoing;

/// A slot of a requester that is held for a reply; dropping it gives the slot back.
struct Reservation<'a, M: Member> {
    requester: Option<&'a M>,
    reply: Amount,
    /// What [`Queue::refusals`](super::queue::Queue::refusals) were then.
    refusals: u64,
}

impl<M: Member> Reservation<'_, M> {
    /// Gives it back. A send that was refused for want of room waits for what is there after that.
    fn cancel(&mut self, refusal: Option<&mut Refusal<M>>) {
        let Some(requester) = self.requester.take() else {
            return;
        };
        // Whoever has read meanwhile found the queue full of it.
        let (reply, refusals) = (self.reply, self.refusals);
        let room = requester.with(|queue| queue.cancel_reserved(reply, refusals));
        if let Some(Refusal::Full { place, .. }) = refusal {
            place.follow(requester, room.from, room.to);
        }
        if room.awaited {
            wait::tell(requester);
        }
    }
}

impl<M: Member> Drop for Reservation<'_, M> {
    fn drop(&mut self) {
        self.cancel(None);
    }
}

/// So often a request looks for another replier, when the one that it found goes in that moment.
const TRIES: usize = 8;

/// Sends an announcement, a request or a reply, which gets the id that is returned, or finds out
/// what it would have to wait for.
///
/// # Errors
///
/// Those of [`Outgoing::check`], then in this order [`Error::MsgSize`], [`Error::DestAddrReq`],
/// [`Error::NotConn`], [`Error::Pipe`], [`Error::Perm`]; for a request [`Error::NoBufs`],
/// [`Error::AddrNotAvail`], [`Error::Pipe`], [`Error::Busy`]; for a reply [`Error::ConnRefused`],
/// [`Error::AddrNotAvail`], [`Error::Inval`], [`Error::MsgSize`]; for all others [`Error::Busy`];
/// for all [`Error::DQuot`] and [`Error::NoMem`]. Nothing is in any queue then,
/// and all of `out` is still there: it may be sent again. So is the payload when nobody has got it.
///
/// # Locks
///
/// Takes and gives up the bus's and those of queues.
pub fn send<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
) -> Result<Tried<S::Member, u64>, Error> {
    out.check()?;
    let Some(dest) = out.dest else {
        shared.locked(|bus| bus.check_len(out.content.payload.len()))?;
        return Err(Error::DestAddrReq);
    };
    for _ in 0..TRIES {
        let result = match dest {
            Dest::Reply {
                peer,
                request,
                name,
            } => reply::reply(shared, member, out, (peer, request, name)),
            Dest::Stateful { name, peer } => request(shared, member, out, (name, Some(peer))),
            Dest::Name(name) if out.is_request() => request(shared, member, out, (name, None)),
            Dest::Name(name) => announce(shared, member, out, name),
        };
        return match result {
            Ok(id) => Ok(Tried::Done(id)),
            Err(Refusal::Again) => continue,
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Full { place, own }) => Ok(Tried::Full { place, own }),
        };
    }
    Err(Error::AddrNotAvail)
}

/// What is checked in each hold of the bus lock in which a socket sends: when it is asked for the
/// first time all that does not depend on who gets the message, and after that whether the socket
/// may still send.
pub(super) fn checks<'a, M: Member>(
    member: &'a M,
    out: &Outgoing<'_, M>,
) -> impl FnMut(&mut Bus<M>) -> Result<(), Error> + 'a {
    let (len, reads) = (out.content.payload.len(), out.is_request());
    let name = out.dest.as_ref().and_then(Dest::name);
    let bus_own = name.is_some_and(|name| is_bus_own(name.text()));
    let mut begun = false;
    move |bus| {
        let first = !core::mem::replace(&mut begun, true);
        if first {
            bus.check_len(len)?;
        }
        check_sender(member, reads)?;
        match first && bus_own {
            true => Err(Error::Perm),
            false => Ok(()),
        }
    }
}

impl<M: Member> Bus<M> {
    fn check_len(&self, len: usize) -> Result<(), Error> {
        match len as u64 > u64::from(self.max_msg) {
            true => Err(Error::MsgSize),
            false => Ok(()),
        }
    }
}

/// Checks that a socket is on the bus and may send; a request's sender must be able to read.
fn check_sender<M: Member>(member: &M, reads: bool) -> Result<(), Error> {
    member.with(|queue| {
        if !queue.is_on_bus() {
            return Err(Error::NotConn);
        }
        match queue.write_shut() || (reads && queue.read_shut()) {
            true => Err(Error::Pipe),
            false => Ok(()),
        }
    })
}

fn head_of<'a, M: Member>(member: &M, out: &Outgoing<'a, M>, name: Name<'a>) -> Head<'a> {
    Head {
        flags: out.flags_of(0),
        sender: member.id(),
        to: 0,
        in_reply_to: 0,
        name,
        via: out.via,
    }
}

fn announce<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    name: Name<'_>,
) -> Result<u64, Refusal<S::Member>> {
    let check = checks(member, out);
    let (policy, head) = (out.policy(), head_of(member, out, name));
    Plain::new(member, head, policy, &mut out.content, out.files.as_ref()).send(
        shared,
        check,
        |_, _| Ok(()),
        |_, _| (),
    )
}

/// Memory for what is owed for a request of this socket, and its name.
fn memory_for<M: Member>(
    member: &M,
    name: Name<'_>,
) -> Result<(obligation::Memory<M>, KeptName), mem::AllocError> {
    let name = KeptName::new(name.text())?;
    let memory = match member.with(Queue::take_kept) {
        Some(memory) => memory,
        None => obligation::Memory::new()?,
    };
    Ok((memory, name))
}

fn request<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    (name, peer): (Name<'_>, Option<u64>),
) -> Result<u64, Refusal<S::Member>> {
    let check = checks(member, out);
    let Ok(memory) = memory_for(member, name) else {
        // What holds for all sends comes first in the order of precedence.
        shared.locked(check)?;
        return Err(Error::NoMem.into());
    };
    // What is left of it after a refusal is dropped under no lock.
    let mut memory = Some(memory);
    let payer = member.payer();
    let mut reservation = Reservation {
        requester: None,
        reply: Amount::NONE,
        refusals: 0,
    };
    let head = Head {
        flags: out.flags_of(KBUS_REQUEST),
        to: peer.unwrap_or(0),
        ..head_of(member, out, name)
    };
    let (policy, reply_max, cookie) = (out.policy(), out.reply_max, out.cookie);
    let mut plain = Plain::new(member, head, policy, &mut out.content, out.files.as_ref());
    let begin = |bus: &mut Bus<S::Member>, plain: &mut Plain<'_, S::Member>| {
        let reply = loop {
            let (held, reply) = member.with(|queue| {
                let wanted = match reply_max {
                    0 => queue.reply_max(),
                    bytes => bytes,
                };
                let bytes = u64::from(wanted.min(bus.max_msg));
                let reply = Amount { bytes, messages: 1 };
                reservation.refusals = queue.refusals();
                (queue.reserve(reply, payer.left()), reply)
            });
            match held {
                Some(true) => break reply,
                Some(false) => return Err(Error::NoBufs.into()),
                None if fanout::grow(member) => {}
                None => return Err(Error::NoMem.into()),
            }
        };
        (reservation.requester, reservation.reply) = (Some(member), reply);
        let bus_bytes = bus.charge(member, reply.bytes).ok_or(Error::NoBufs)?;
        let bytes = Charge::new(&payer.bytes, reply.bytes).ok_or(Error::NoBufs)?;
        let held_place = One::new(&payer.messages).ok_or(Error::NoBufs)?;
        let replier = bus.replier(name).ok_or(Error::AddrNotAvail)?;
        let asked = (replier.member.clone(), replier.binding);
        if peer.is_some_and(|peer| asked.0.id() != peer) {
            return Err(Error::Pipe.into());
        }
        let (memory, name) = memory.take().ok_or(Error::NoMem)?;
        let obligation = memory.obligation.fill(Obligation {
            requester: member.clone(),
            request: 0,
            replier: asked.0.id(),
            cookie,
            name,
            bus_bytes,
            bytes,
            place: held_place,
            reserved: reply,
            room: Some(memory.place),
        });
        plain.ask(asked, obligation);
        Ok(())
    };
    match plain.send(shared, check, begin, |_, _| ()) {
        Ok(id) => {
            // It is the obligation's now.
            reservation.requester = None;
            Ok(id)
        }
        Err(mut refusal) => {
            if let Some(obligation) = plain.take_obligation() {
                Obligation::cancel(obligation);
            }
            reservation.cancel(Some(&mut refusal));
            Err(refusal)
        }
    }
}
