// SPDX-License-Identifier: GPL-2.0

//! Sending announcements and requests.

use super::account::Amount;
use super::account::Charge;
use super::account::One;
use super::address::Dest;
use super::bus::Bus;
use super::bus::Shared;
use super::error::Error;
use super::fanout;
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
    if out.is_plain() {
        if let Some(Dest::Name(name)) = out.dest {
            return announce_plainly(shared, member, out, name);
        }
    }
    let dest = shared.locked(|bus| bus.check_send(member, out))?;
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

impl<M: Member> Bus<M> {
    /// Checks what does not depend on who gets it.
    fn check_send<'a>(&self, member: &M, out: &Outgoing<'a, M>) -> Result<Dest<'a>, Error> {
        self.check_len(out.content.payload.len())?;
        let dest = out.dest.ok_or(Error::DestAddrReq)?;
        self.check_sender(member, out.is_request())?;
        if dest.name().is_some_and(|name| is_bus_own(name.text())) {
            return Err(Error::Perm);
        }
        Ok(dest)
    }

    fn check_len(&self, len: usize) -> Result<(), Error> {
        match len as u64 > u64::from(self.max_msg) {
            true => Err(Error::MsgSize),
            false => Ok(()),
        }
    }

    /// Checks that a socket may send; a request's sender must be able to read.
    pub(super) fn check_sender(&self, member: &M, reads: bool) -> Result<(), Error> {
        self.sock(member)?;
        let (read_shut, write_shut) = member.with(|q| (q.read_shut(), q.write_shut()));
        match write_shut || (reads && read_shut) {
            true => Err(Error::Pipe),
            false => Ok(()),
        }
    }
}

/// An announcement that full listeners miss, without descriptors: it is checked in the hold of the
/// bus lock in which it is sent.
fn announce_plainly<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    name: Name<'_>,
) -> Result<Sent<S::Member>, Error> {
    let head = head_of(member, out, name);
    let len = out.content.payload.len();
    let mut begun = false;
    let check = |bus: &mut Bus<S::Member>| {
        if !core::mem::replace(&mut begun, true) {
            bus.check_len(len)?;
        }
        bus.check_sender(member, false)?;
        match is_bus_own(name.text()) {
            true => Err(Error::Perm),
            false => Ok(()),
        }
    };
    match fanout::announce(shared, member, head, &mut out.content, check) {
        Ok(id) => Ok(Sent::Id(id)),
        Err(Refusal::Error(error)) => Err(error),
        Err(Refusal::Again) => Err(Error::AddrNotAvail),
        Err(Refusal::Full { place, own }) => Ok(Sent::Wait { place, own }),
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
    let (policy, files) = (out.policy(), out.files.clone());
    let head = head_of(member, out, name);
    let content = &mut out.content;
    let check = |bus: &mut Bus<S::Member>| bus.check_sender(member, false);
    Fanout::new(member, head, policy, content, files.as_ref())
        .send(shared, check, |_, _| ())
}

fn request<S: Shared>(
    shared: &S,
    member: &S::Member,
    out: &mut Outgoing<'_, S::Member>,
    (name, peer): (Name<'_>, Option<u64>),
) -> Result<u64, Refusal<S::Member>> {
    let mut owed_name = mem::try_copy(name.text())?;
    let room = Room::new()?;
    let place = mem::BoxRoom::new()?;
    let payer = member.payer();
    let mut reservation = Reservation {
        requester: None,
        reply: Amount::NONE,
        refusals: 0,
    };
    let mut chunk = None;
    let (obligation, asked) = loop {
        let reserved = shared.locked(|bus| {
            let wanted = match out.reply_max {
                0 => member.with(|queue| queue.reply_max()),
                bytes => bytes,
            };
            let bytes = u64::from(wanted.min(bus.max_msg));
            let reply = Amount { bytes, messages: 1 };
            let (held, refusals) = member.with(|queue| {
                let held = queue.reserve(reply, payer.left(), &mut chunk);
                (held, queue.refusals())
            });
            match held? {
                Some(true) => {}
                Some(false) => return Err(Refusal::Error(Error::NoBufs)),
                None => return Ok(None),
            }
            reservation.requester = Some(member.clone());
            reservation.reply = reply;
            reservation.refusals = refusals;
            let bus_bytes = bus.charge(member, bytes).ok_or(Error::NoBufs)?;
            let held = Charge::new(&payer.bytes, bytes).ok_or(Error::NoBufs)?;
            let held_place = One::new(&payer.messages).ok_or(Error::NoBufs)?;
            let replier = bus.replier(name).ok_or(Error::AddrNotAvail)?;
            let asked = (replier.member.clone(), replier.binding);
            if peer.is_some_and(|peer| asked.0.id() != peer) {
                return Err(Error::Pipe.into());
            }
            let obligation = Obligation {
                requester: member.clone(),
                request: 0,
                replier: asked.0.id(),
                cookie: out.cookie,
                name: core::mem::take(&mut owed_name),
                bus_bytes,
                bytes: held,
                place: held_place,
                reserved: reply,
                room: None,
            };
            Ok(Some((obligation, asked)))
        })?;
        match reserved {
            Some(reserved) => break reserved,
            None => chunk = Some(member.within(Chunk::new)?),
        }
    };
    let mut obligation = place.fill(obligation);
    obligation.room = Some(room);
    let (policy, files) = (out.policy(), out.files.clone());
    let head = Head {
        flags: out.flags_of(KBUS_REQUEST),
        sender: member.id(),
        to: peer.unwrap_or(0),
        in_reply_to: 0,
        name,
        via: out.via,
    };
    let content = &mut out.content;
    let check = |bus: &mut Bus<S::Member>| bus.check_sender(member, true);
    let mut fanout = Fanout::new(member, head, policy, content, files.as_ref());
    fanout.ask(asked, obligation);
    match fanout.send(shared, check, |_, _| ()) {
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
