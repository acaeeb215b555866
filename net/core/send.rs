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
use super::fanout::Done;
use super::fanout::Fanout;
use super::fanout::Refusal;
use super::mem;
use super::mem::Room;
use super::message::Head;
use super::message::KBUS_REQUEST;
use super::name::is_bus_own;
use super::name::Name;
use super::obligation::Obligation;
use super::peer::Peer;
use super::queue::Member;
use super::reply;
use super::slots::Chunk;
use super::wait;
use super::wait::Place;

pub use super::outgoing::Outgoing;

/// What became of a try to send.
pub enum Sent<M: Member> {
    /// It has got this id and is where it belongs.
    Id(u64),
    /// It is to be tried again when there is room.
    Wait {
        /// Where room is lacking first.
        place: Place<M>,
        /// Whether the sender's own queue lacks some: then it must not sleep.
        own: bool,
    },
}

/// A slot of a requester that is held for a reply; dropping it gives the slot back.
struct Reservation<M: Member> {
    requester: Option<M>,
    reply: Amount,
    /// What [`Queue::refusals`](super::queue::Queue) were then.
    refusals: u64,
}

impl<M: Member> Reservation<M> {
    /// Gives it back. A send that was refused for want of room waits for what is there after that.
    fn cancel(&mut self, refusal: Option<&mut Refusal<M>>) {
        let Some(requester) = self.requester.take() else {
            return;
        };
        // Whoever has read meanwhile found the queue full of it.
        let (reply, refusals) = (self.reply, self.refusals);
        let room = requester.with(|queue| queue.cancel_reserved(reply, refusals));
        if let Some(Refusal::Full { place, .. }) = refusal {
            place.follow(&requester, room.from, room.to);
        }
        if room.awaited {
            wait::tell(&requester);
        }
    }
}

impl<M: Member> Drop for Reservation<M> {
    fn drop(&mut self) {
        self.cancel(None);
    }
}

/// So often a request looks for another replier, when the one that it found goes in that moment.
const TRIES: usize = 8;

/// Sends an announcement, a request or a reply, or finds out what it would have to wait for.
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
) -> Result<Sent<S::Member>, Error> {
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
            Ok(id) => Ok(Sent::Id(id)),
            Err(Refusal::Again) => continue,
            Err(Refusal::Error(error)) => Err(error),
            Err(Refusal::Full { place, own }) => Ok(Sent::Wait { place, own }),
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
        bus.check_sender(member, reads)?;
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

    /// Checks that a socket may send; a request's sender must be able to read.
    fn check_sender(&self, member: &M, reads: bool) -> Result<(), Error> {
        self.sock(member)?;
        let (read_shut, write_shut) = member.with(|q| (q.read_shut(), q.write_shut()));
        match write_shut || (reads && read_shut) {
            true => Err(Error::Pipe),
            false => Ok(()),
        }
    }
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
    let (policy, files) = (out.policy(), out.files.clone());
    let plain = out.is_plain();
    let head = head_of(member, out, name);
    let content = &mut out.content;
    if plain {
        return fanout::announce(shared, member, head, content, check);
    }
    Fanout::new(member, head, policy, content, files.as_ref()).send(shared, check, |_, _| ())
}

/// Memory for what is owed for a request: its name, its place in the ledger, and itself.
type Memory<M> = (
    KeptName,
    Room<u64, Option<mem::Box<Obligation<M>>>>,
    mem::BoxRoom<Obligation<M>>,
);

fn memory_for<M: Member>(name: Name<'_>) -> Result<Memory<M>, mem::AllocError> {
    let kept = KeptName::new(name.text())?;
    Ok((kept, Room::new()?, mem::BoxRoom::new()?))
}

fn request<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    (name, peer): (Name<'_>, Option<u64>),
) -> Result<u64, Refusal<S::Member>> {
    let mut check = checks(member, out);
    let Ok((owed_name, room, place)) = memory_for(name) else {
        // What holds for all sends comes first in the order of precedence.
        shared.locked(check)?;
        return Err(Error::NoMem.into());
    };
    let (mut owed_name, mut room, mut place) = (Some(owed_name), Some(room), Some(place));
    let payer = member.payer();
    let mut reservation = Reservation {
        requester: None,
        reply: Amount::NONE,
        refusals: 0,
    };
    let mut chunk = None;
    let (policy, files) = (out.policy(), out.files.clone());
    let head = Head {
        flags: out.flags_of(KBUS_REQUEST),
        to: peer.unwrap_or(0),
        ..head_of(member, out, name)
    };
    let (reply_max, cookie) = (out.reply_max, out.cookie);
    let mut fanout = Fanout::new(member, head, policy, &mut out.content, files.as_ref());
    let step = loop {
        let step = shared.locked(|bus| {
            check(bus)?;
            let (held, refusals, reply) = member.with(|queue| {
                let wanted = match reply_max {
                    0 => queue.reply_max(),
                    bytes => bytes,
                };
                let bytes = u64::from(wanted.min(bus.max_msg));
                let reply = Amount { bytes, messages: 1 };
                let held = queue.reserve(reply, payer.left(), &mut chunk);
                (held, queue.refusals(), reply)
            });
            match held? {
                Some(true) => {}
                Some(false) => return Err(Refusal::Error(Error::NoBufs)),
                None => return Ok(None),
            }
            reservation.requester = Some(member.clone());
            reservation.reply = reply;
            reservation.refusals = refusals;
            let bus_bytes = bus.charge(member, reply.bytes).ok_or(Error::NoBufs)?;
            let held = Charge::new(&payer.bytes, reply.bytes).ok_or(Error::NoBufs)?;
            let held_place = One::new(&payer.messages).ok_or(Error::NoBufs)?;
            let replier = bus.replier(name).ok_or(Error::AddrNotAvail)?;
            let asked = (replier.member.clone(), replier.binding);
            if peer.is_some_and(|peer| asked.0.id() != peer) {
                return Err(Error::Pipe.into());
            }
            let (Some(name), Some(place)) = (owed_name.take(), place.take()) else {
                return Err(Error::NoMem.into());
            };
            let obligation = place.fill(Obligation {
                requester: member.clone(),
                request: 0,
                replier: asked.0.id(),
                cookie,
                name,
                bus_bytes,
                bytes: held,
                place: held_place,
                reserved: reply,
                room: room.take(),
            });
            fanout.ask(asked, obligation);
            Ok(Some(fanout.hold(bus, shared, &mut None::<Done<S::Member>>)))
        })?;
        match step {
            Some(step) => break step,
            None => chunk = Some(member.within(Chunk::new)?),
        }
    };
    match fanout.send_on(shared, check, None::<Done<S::Member>>, step) {
        Ok(id) => {
            // It is the obligation's now.
            reservation.requester = None;
            Ok(id)
        }
        Err(mut refusal) => {
            if let Some(obligation) = fanout.take_obligation() {
                Obligation::cancel(obligation);
            }
            reservation.cancel(Some(&mut refusal));
            Err(refusal)
        }
    }
}
