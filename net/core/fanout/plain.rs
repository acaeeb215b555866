// SPDX-License-Identifier: GPL-2.0

//! The plain way of an announcement: one copy for all its listeners, in one hold of the bus lock.
//!
//! Most announcements can go it: a full listener misses them, they carry no descriptors, and all
//! listeners are of one user in one memory cgroup. Where a listener is found for whom more is to be
//! looked at, the message goes on as a [`Fanout`] from there, in the same hold.

use super::super::account::Charge;
use super::super::bus::Bus;
use super::super::bus::Shared;
use super::super::bus::STEP;
use super::super::mem::Arc;
use super::super::mem::Need;
use super::super::message::Content;
use super::super::message::Head;
use super::super::message::Message;
use super::super::message::Stamp;
use super::super::message::Stamped;
use super::super::peer::Peer;
use super::super::queue::Member;
use super::super::queue::Offered;
use super::super::queue::Plain as Offer;
use super::super::routes::Listener;
use super::super::slots::Chunk;
use super::copies::Left;
use super::copies::Who;
use super::copies::SMALL;
use super::recipients::Recipient;
use super::recipients::Recipients;
use super::Fanout;
use super::Pause;
use super::Policy;
use super::Refusal;

/// Listeners of one hold of the bus lock. They take as long as a quarter of them, [`STEP`], on the
/// general way.
const MANY: usize = match cfg!(CONFIG_KBUS_SHORT_STEPS) {
    true => STEP,
    false => 4 * STEP,
};

/// An announcement on the plain way.
struct Plain<'a, M: Member> {
    sender: &'a M,
    head: Head<'a>,
    /// Payload and sender; `None` when the message goes on as a [`Fanout`].
    content: Option<&'a mut Content<M>>,
    /// The copy for all, whose it is, and what that user had left before it.
    copy: Option<(Arc<Message<M>>, Who, Left)>,
    /// The memory cgroup of the sending task.
    memory: usize,
    reached: Recipients<M>,
    looked: usize,
    /// The listener for whom more is to be looked at: its place and binding.
    next: (usize, u64),
}

/// Announces a message to whom it matches, where a full listener misses it. `check` is asked in
/// each hold of the bus lock whether it may go on.
///
/// # Errors
///
/// Those of [`Fanout::send`].
#[inline(never)]
pub(in super::super) fn announce<S: Shared>(
    shared: &S,
    sender: &S::Member,
    head: Head<'_>,
    content: &mut Content<S::Member>,
    mut check: impl FnMut(&mut Bus<S::Member>) -> Result<(), super::Error>,
) -> Result<u64, Refusal<S::Member>> {
    let mut plain = Plain {
        sender,
        head,
        content: Some(content),
        copy: None,
        memory: sender.task_memory(),
        reached: Recipients::new(),
        looked: 0,
        next: (0, 0),
    };
    let mut long = None;
    let step = shared.locked(|bus| {
        check(bus)?;
        if plain.go(bus) {
            return Ok(plain.commit(bus, shared));
        }
        plain.go_on(&mut long, bus, shared)
    });
    match (step, &mut long) {
        (Ok(id), None) => {
            plain.finish(id);
            Ok(id)
        }
        (Err(Pause::Refused(refusal)), None) => Err(refusal),
        (Err(_), None) => Err(super::Error::Inval.into()),
        (step, Some(fanout)) => fanout.send_on(shared, check, None::<super::Done<S::Member>>, step),
    }
}

/// Makes room for more entries in a listener's queue, in memory of its own cgroup; false if there
/// is none.
#[cold]
fn grow<M: Member>(member: &M) -> bool {
    let grown = member.within(|| {
        let chunk = Chunk::new()?;
        member.with(|queue| queue.add_chunk(chunk))
    });
    grown.is_ok()
}

impl<'a, M: Member> Plain<'a, M> {
    /// Goes through all listeners; false where one is found for whom more is to be looked at.
    fn go(&mut self, bus: &Bus<M>) -> bool {
        if self.sender.with(|queue| queue.sends_several()) {
            return false;
        }
        let mut plain = true;
        bus.each_place(self.head.name, |place| {
            place.listeners_from(0, |binding, listener| {
                plain = self.listener(bus, listener, binding);
                if !plain {
                    self.next = (place.at, binding);
                }
                plain
            });
            plain
        });
        plain
    }

    /// One listener gets its copy, or misses it; false if nothing has been done for it, as more is
    /// to be looked at.
    fn listener(&mut self, bus: &Bus<M>, listener: &Listener<M>, binding: u64) -> bool {
        let member = &listener.member;
        let (sender, payer) = (self.sender, member.payer());
        if listener.count != 1 || self.looked >= MANY || !self.reached.prepare_for(MANY) {
            return false;
        }
        let who = (payer.id(), member.memory());
        let may_have_it = match &self.copy {
            Some((_, whose, _)) => *whose == who,
            None => sender.payer().id() == payer.id() || sender.user() == bus.owner,
        };
        if !may_have_it {
            return false;
        }
        let left = match &self.copy {
            Some((_, _, left)) => *left,
            // The version first: what is given back after that changes it.
            None => {
                let version = payer.version();
                (payer.left(), version)
            }
        };
        let len = self.content_len();
        let offer = Offer {
            len,
            binding,
            urgent: self.head.flags & super::KBUS_URGENT != 0,
            payer,
            left: left.0,
        };
        let offered = loop {
            let put =
                member.with(|queue| queue.put_plainly(&offer, || self.copy(bus, member, left)));
            match put {
                Offered::NeedsChunk if grow(member) => {}
                offered => break offered,
            }
        };
        match offered {
            Offered::Put(slot, serial) => self.reached.push(Recipient::of(member, slot, serial)),
            Offered::Full(_) | Offered::Broke | Offered::PayerBroke => {
                self.reached.push(Recipient::without(member))
            }
            Offered::Gone => {}
            _ => return false,
        }
        self.looked = self.looked.saturating_add(1);
        true
    }

    fn content_len(&self) -> u64 {
        match &self.copy {
            Some((message, _, _)) => message.payload().len() as u64,
            None => self.content.as_ref().map_or(0, |c| c.payload.len() as u64),
        }
    }

    /// The copy for all, which is made where the first of them has room for it; `None` if it cannot
    /// be made, and nothing has changed.
    fn copy(&mut self, bus: &Bus<M>, member: &M, left: Left) -> Option<Arc<Message<M>>> {
        if let Some((message, _, _)) = &self.copy {
            return Some(message.clone());
        }
        let content = self.content.as_mut()?;
        let len = content.payload.len() as u64;
        if len > SMALL && member.memory() != self.memory {
            return None;
        }
        let bus_bytes = bus.charge(self.sender, len)?;
        let mut paid = None;
        if len > 0 {
            paid = Charge::new(&member.payer().bytes, len);
            if paid.is_none() {
                bus_bytes.cancel();
                return None;
            }
        }
        let mut stamp = Some(Stamped::Alone(Stamp::new(bus_bytes)));
        let (head, need) = (&self.head, Need::Wanted);
        let who = (member.payer().id(), member.memory());
        let made = match who.1 == self.memory {
            true => Message::new(head, content, &mut stamp, &mut paid, need),
            // Payload and sender in memory of the listener's own cgroup.
            false => member.within(|| {
                let mut copy = Content::copy(&content.payload, content.from.as_ref(), need)?;
                Message::new(head, &mut copy, &mut stamp, &mut paid, need)
            }),
        };
        let Ok(message) = made else {
            super::end::cancel(paid);
            if let Some(Stamped::Alone(mut stamp)) = stamp {
                super::end::cancel(stamp.take_bus_bytes());
            }
            return None;
        };
        self.copy = Some((message.clone(), who, left));
        Some(message)
    }

    /// Sends it to all, with the bus locked.
    fn commit(&mut self, bus: &Bus<M>, shared: &impl Shared<Member = M>) -> u64 {
        let id = shared.next_id();
        self.head.trace(self.sender, id, self.content_len());
        if let Some((message, _, _)) = &self.copy {
            message.send(id);
        }
        if self.reached.missing {
            self.reached.each_from(0, |recipient| {
                if recipient.entry.is_none() {
                    recipient.miss(id, Policy::Miss, bus.last_binding);
                }
            });
        }
        id
    }

    /// Wakes all who have it. The bus is not locked.
    fn finish(&mut self, id: u64) {
        let traced = M::is_traced();
        self.reached.each_from(0, |recipient| {
            if traced {
                recipient.trace(id);
            }
            if recipient.tell {
                recipient.member.wake_reader();
            }
        });
    }

    /// Makes it a [`Fanout`], which goes on in this hold where the plain way has ended.
    // A function of its own, so that the plain way has a small frame.
    #[cold]
    #[inline(never)]
    fn go_on<S: Shared<Member = M>>(
        &mut self,
        long: &mut Option<Fanout<'a, M>>,
        bus: &mut Bus<M>,
        shared: &S,
    ) -> Result<u64, Pause<M>> {
        let content = self.content.take().ok_or(super::Error::Inval)?;
        let fanout = long.insert(Fanout::new(
            self.sender,
            self.head,
            Policy::Miss,
            content,
            None,
        ));
        fanout.reached = core::mem::replace(&mut self.reached, Recipients::new());
        fanout.next = (self.next.0, self.next.1, 0);
        fanout.looked = self.looked;
        if let Some((message, who, left)) = self.copy.take() {
            fanout.len = message.payload().len() as u64;
            fanout.copies.first = Some((who, message));
            fanout.copies.left.0 = Some((who.0, left));
            fanout.moved = who.1 == self.memory;
        }
        fanout.hold(bus, shared, &mut None::<super::Done<M>>)
    }
}
