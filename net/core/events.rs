// SPDX-License-Identifier: GPL-2.0

//! The news that repliers come and go (`KBUS_REPORT_BINDS`).
//!
//! An explicit binding and its event are one step. What a dying socket leaves must reach its
//! listeners whether they have room or not: it goes beyond their limits, but only so far, and where
//! that or memory ends each listener has a slot for the notice that events were lost.

use super::account::Charge;
use super::account::One;
use super::bus::Bus;
use super::bus::Shared;
use super::bus::Sock;
use super::bus::IN_ORDER;
use super::bus::STEP;
use super::data::Payload;
use super::entry::Body;
use super::entry::Cause;
use super::entry::Entry;
use super::entry::Own;
use super::error::Error;
use super::fanout::Fanout;
use super::fanout::Policy;
use super::fanout::Refusal;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Map;
use super::mem::Need;
use super::mem::Node;
use super::message::Content;
use super::message::Head;
use super::message::Message;
use super::message::Stamp;
use super::message::Stamped;
use super::message::BIND_EVENT;
use super::message::KBUS_STATUS;
use super::name::Name;
use super::peer::Peer;
use super::queue::Member;
use super::slots::Chunk;
use super::wait;

/// `struct kbus_bind_event` without its name.
const HEADER: usize = 16;

impl<M: Member> Bus<M> {
    /// Changes how many there may be, for tests that want to see the end of that.
    #[cfg(not(CONFIG_NET))]
    pub fn set_most_events(&mut self, most: u32, share: u32) {
        (self.events.most, self.events.share) = (most, share);
    }

    /// Whether a socket has switched the events on.
    pub fn reports_binds(&self, member: &M) -> bool {
        self.sock(member).is_ok_and(|sock| sock.reports)
    }

    /// A socket goes that may have switched them on, and may listen to them.
    pub(super) fn forget_reports(&mut self, sock: &mut Sock) {
        if core::mem::take(&mut sock.reports) {
            self.events.reporters = self.events.reporters.saturating_sub(1);
        }
        if core::mem::take(&mut sock.hears) > 0 {
            self.events.count_listener(false);
        }
    }

    /// The next replier binding of the bus after this one, and its text. With an empty text it is
    /// only the place from which to go on, as some sockets without repliers have been looked at.
    fn replier_after(&self, after: Listed) -> Option<(Listed, &[u8])> {
        let Listed(mut peer, mut last) = after;
        for _ in 0..STEP {
            let from = (IN_ORDER, last.saturating_add(1));
            let sock = self.socks.get(&peer);
            if let Some(((_, binding), held)) = sock.and_then(|s| s.replies.first_from(&from)) {
                return Some((Listed(peer, binding), &held.text));
            }
            // The next socket, from its first binding on: none has the number 0.
            (peer, last) = (self.socks.first_from(&peer.checked_add(1)?)?.0, 0);
        }
        Some((Listed(peer, last), &[]))
    }

    fn set_reports(&mut self, member: &M, on: bool) {
        let Ok(sock) = self.sock_mut(member) else {
            return;
        };
        if sock.reports == on {
            return;
        }
        sock.reports = on;
        self.events.reporters = match on {
            true => self.events.reporters.saturating_add(1),
            false => self.events.reporters.saturating_sub(1),
        };
    }
}

/// A replier binding: the peer, its number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Listed(u64, u64);

/// The payload of an event, `struct kbus_bind_event`.
///
/// # Errors
///
/// [`AllocError`].
pub(super) fn payload(peer: u64, is_bind: bool, text: &[u8]) -> Result<Payload, AllocError> {
    let peer = peer.to_ne_bytes();
    let is_bind = u32::from(is_bind).to_ne_bytes();
    let len = (text.len() as u32).to_ne_bytes();
    let parts = [&peer[..], &is_bind[..], &len[..], text];
    let bytes = parts.into_iter().flatten();
    let whole = HEADER.saturating_add(text.len());
    let mut payload = Payload::default();
    if let Some(place) = payload.short(whole) {
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        return Ok(payload);
    }
    let mut long = mem::with_capacity(whole)?;
    for byte in bytes {
        let _ = mem::push_reserved(&mut long, *byte);
    }
    Ok(Payload::Long(long))
}

/// What is the same in all events: they come from the bus itself.
fn head() -> Head<'static> {
    Head {
        flags: KBUS_STATUS,
        sender: 0,
        to: 0,
        in_reply_to: 0,
        name: Name::checked(BIND_EVENT),
        via: None,
    }
}

/// Sends the event of an explicit binding, and in the same step does what it tells of.
///
/// # Errors
///
/// That of `check`; [`Refusal::Full`] with those who must not miss it; [`Error::NoMem`].
pub(super) fn tell<S: Shared>(
    shared: &S,
    binder: &S::Member,
    payload: Payload,
    check: impl FnMut(&mut Bus<S::Member>) -> Result<(), Error>,
    done: impl FnOnce(&mut Bus<S::Member>, u64),
) -> Result<(), Refusal<S::Member>> {
    let policy = Policy::Event {
        user: binder.user(),
    };
    let mut content = Content::new(payload);
    let mut fanout = Fanout::new(binder, head(), policy, &mut content, None);
    fanout.send(shared, check, done).map(|_| ())
}

/// Tells that a replier binding of a socket that died has gone. Without memory its listeners are
/// told that they missed it.
pub(super) fn tell_unbound<S: Shared>(shared: &S, member: &S::Member, text: &[u8]) {
    let share = shared.locked(|bus| bus.events.share());
    if let Ok(payload) = payload(member.id(), false, text) {
        let mut content = Content::new(payload);
        let policy = Policy::Unbind { share };
        let mut fanout = Fanout::new(member, head(), policy, &mut content, None);
        if fanout.send(shared, |_| Ok(()), |_, _| ()).is_ok() {
            return;
        }
    }
    // One listener in each hold of the bus lock: a list of them would need memory.
    let mut next = (0, 0);
    while let Some(listener) = shared.locked(|bus| next_listener(bus, &mut next)) {
        let (member, last, hears) = listener;
        let cause = Cause::Once {
            last,
            replier: 0,
            listeners: hears,
        };
        let told = shared.locked(|_| {
            let (id, time) = (shared.next_id(), S::Member::now());
            member.with(|queue| queue.notice(cause, id, time))
        });
        if told {
            member.wake_reader();
        }
    }
}

/// The next listener to events, the youngest binding, and how many of its bindings match.
fn next_listener<M: Member>(bus: &Bus<M>, next: &mut (usize, u64)) -> Option<(M, u64, u32)> {
    let mut found = None;
    bus.each_place(Name::checked(BIND_EVENT), |place| {
        let at = place.at;
        if at < next.0 {
            return true;
        }
        let from = if at == next.0 { next.1 } else { 0 };
        place.listeners_from(from, |binding, listener| {
            found = Some((binding, listener.member.clone()));
            false
        });
        if let Some((binding, _)) = &found {
            *next = (at, binding.saturating_add(1));
        }
        found.is_none()
    });
    let (_, member) = found?;
    let hears = bus.sock(&member).map_or(0, |sock| sock.hears);
    Some((member, bus.last_binding, hears))
}

/// Switches the events on or off for a socket, which gets one for each replier binding there is.
///
/// These need no room in its queue, but a place each among the messages of its user. They are on
/// for the bus while at least one socket has done so.
///
/// # Errors
///
/// [`Error::NotConn`]; [`Error::NoBufs`] while the queue holds more than its limit already, or when
/// its user has not so many places; [`Error::NoMem`]. Nothing has changed then.
pub fn report_binds<S: Shared>(shared: &S, member: &S::Member, on: bool) -> Result<(), Error> {
    let changes = shared.locked(|bus| {
        if bus.sock(member)?.reports == on {
            return Ok(None);
        }
        if on && member.with(|queue| !queue.read_shut() && queue.is_overfull()) {
            return Err(Error::NoBufs);
        }
        bus.set_reports(member, on);
        Ok::<_, Error>(Some(bus.last_binding))
    })?;
    let Some(last) = changes.filter(|_| on) else {
        return Ok(());
    };
    // From here on each change is told. What is listed is what there was, and still is in the end.
    let result = list_repliers(shared, member, last);
    // Slots that were promised for them, and not used, are room again.
    wait::tell(member);
    if result.is_err() {
        shared.locked(|bus| bus.set_reports(member, false));
    }
    result
}

/// An event that is listed: the binding, and what goes in the queue.
type Item<M> = (Listed, Entry<M>, Arc<Message<M>>);

fn list_repliers<S: Shared>(shared: &S, member: &S::Member, last: u64) -> Result<(), Error> {
    if member.with(|queue| queue.read_shut()) {
        return Ok(());
    }
    // By the number of the binding.
    let mut news = Map::new();
    let mut count: u32 = 0;
    let mut after = Listed(0, 0);
    let bus_bytes = shared.locked(|bus| Charge::none(&bus.bytes));
    loop {
        let next = shared.locked(|bus| {
            let next = bus.replier_after(after);
            next.map(|(listed, text)| Ok::<_, Error>((listed, mem::try_copy(text)?)))
        });
        let Some((listed, text)) = next.transpose()? else {
            break;
        };
        after = listed;
        if text.is_empty() || listed.1 > last {
            continue;
        }
        let place = One::new(&member.payer().messages).ok_or(Error::NoBufs)?;
        let node = member.within(|| describe(listed, place, &text, &bus_bytes))?;
        drop(news.insert(node));
        count = count.saturating_add(1);
    }
    promise(member, count)?;
    loop {
        // Some in each hold; each that is still there, in the order in which they were bound.
        let mut left = STEP;
        let mut told = 0;
        shared.locked(|bus| {
            while left > 0 {
                let Some(node) = news.pop_first() else {
                    return;
                };
                left = left.saturating_sub(1);
                let (_, (listed, entry, message)) = node.into_pair();
                let Listed(peer, binding) = listed;
                let sock = bus.socks.get(&peer);
                let there = sock.is_some_and(|s| s.replies.get(&(IN_ORDER, binding)).is_some());
                if there {
                    message.send(shared.next_id());
                    told += 1;
                }
                member.with(|queue| queue.keep_promise(there.then_some(entry)));
            }
        });
        for _ in 0..told {
            member.wake_reader();
        }
        if left > 0 {
            return Ok(());
        }
    }
}

/// Sees to it that there are so many more slots in a socket's queue, beyond its limit.
fn promise<M: Member>(member: &M, count: u32) -> Result<(), Error> {
    let mut chunk = None;
    let mut left = count;
    loop {
        let promised = member.with(|queue| queue.promise_some(left, &mut chunk));
        left = left.saturating_sub(promised);
        if left == 0 {
            return Ok(());
        }
        match member.within(Chunk::new) {
            Ok(new) => chunk = Some(new),
            Err(error) => {
                let promised = count.saturating_sub(left);
                for _ in 0..promised {
                    member.with(|queue| queue.keep_promise(None));
                }
                return Err(error.into());
            }
        }
    }
}

fn describe<M: Member>(
    listed: Listed,
    place: One,
    text: &[u8],
    bus_bytes: &Charge,
) -> Result<Node<u64, Item<M>>, AllocError> {
    let Listed(peer, binding) = listed;
    let mut content = Content::new(payload(peer, true, text)?);
    let len = content.payload.len() as u64;
    let mut stamp = Some(Stamped::Alone(Stamp::new(bus_bytes.nothing())));
    let message = Message::new(&head(), &mut content, &mut stamp, &mut None, Need::Wanted)?;
    let mut entry = Entry::blank(Cause::Own, len);
    entry.own = Own::Message;
    entry.place = place;
    entry.body = Body::Message(message.clone());
    Node::new(binding, (listed, entry, message))
}
