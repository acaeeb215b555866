// SPDX-License-Identifier: GPL-2.0

//! The news that repliers come and go (`KBUS_REPORT_BINDS`).
//!
//! An explicit binding and its event are one step, and the event is sent as an announcement is. What
//! a dying socket leaves must reach its listeners without memory and without room: the messages
//! come with the replier bindings, the entries from a pool, and where that ends each listener
//! binding has one entry that says so.

use super::account::Account;
use super::account::Amount;
use super::account::Charge;
use super::account::Place;
use super::bus::Bus;
use super::bus::Member;
use super::entry::Body;
use super::entry::Cause;
use super::entry::Entry;
use super::entry::Origin;
use super::entry::Slip;
use super::error::Error;
use super::list::Item;
use super::list::List;
use super::mem;
use super::mem::Arc;
use super::message::Message;
use super::message::Parts;
use super::message::BIND_EVENT;
use super::message::KBUS_STATUS;
use super::payer::Payer;
use super::plan::Plan;
use super::plan::Policy;
use super::plan::Refusal;
use super::plan::Target;
use super::queue::Garbage;
use super::tree::Node;
use super::tree::Tree;
use super::wakes::Wakes;
use super::wakes::READ;

/// Entries in the pool.
const POOL: u32 = 1000;
/// Entries that one listener may have of them, however many listeners there are.
const SHARE: u32 = 16;
/// `struct kbus_bind_event` without its name.
const HEADER: usize = 16;

/// What a bus has for its events.
pub(super) struct Events<M: Member> {
    /// Sockets that have switched them on.
    reporters: u32,
    /// Sockets that listen to them.
    pub(super) listeners: u32,
    pool: List<Entry<M>>,
    /// Entries in the pool.
    left: u32,
    /// Entries of the pool in queues.
    out: u32,
    size: u32,
    share: u32,
}

impl<M: Member> Events<M> {
    pub(super) fn new() -> Self {
        Events {
            reporters: 0,
            listeners: 0,
            pool: List::new(),
            left: 0,
            out: 0,
            size: POOL,
            share: SHARE,
        }
    }
}

impl<M: Member> Bus<M> {
    /// Makes the pool smaller, for tests that want to see its end.
    #[cfg(not(CONFIG_NET))]
    pub fn set_pool(&mut self, size: u32, share: u32) {
        self.events.size = size;
        self.events.share = share;
    }

    /// Whether a socket has switched the events on.
    pub fn reports_binds(&self, member: &M) -> bool {
        self.socks.get(member.id()).is_some_and(|sock| sock.reports)
    }

    /// Switches the events on or off for a socket, which gets one for each replier binding there is.
    ///
    /// These need no room in its queue, but a place each among the messages of its user. They are on for the bus while at
    /// least one socket has done so. What is returned is for the caller to drop outside the locks.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`]; [`Error::NoBufs`] while the queue holds more than its limit already, or when its user has not so
    /// many places; [`Error::NoMem`]. Nothing has changed then.
    pub fn report_binds(
        &mut self,
        member: &M,
        on: bool,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Garbage<M>, Error> {
        if self.sock_mut(member)?.reports == on {
            return Ok(List::new());
        }
        if !on {
            return Ok(self.report_no_more(member));
        }
        let mut news = Tree::new();
        let (shut, overfull) = member.with(|queue| (queue.read_shut(), queue.is_overfull()));
        if !shut {
            if overfull {
                return Err(Error::NoBufs);
            }
            self.describe_repliers(member, &mut news)?;
        }
        let mut more = List::new();
        let have = self.events.left.saturating_add(self.events.out);
        let missing = self.events.size.saturating_sub(have);
        for _ in 0..missing {
            more.push_back(Item::new(Entry::blank(Cause::Own, Origin::Pool))?);
        }
        self.events.pool.append(more);
        self.events.left = self.events.left.saturating_add(missing);
        self.events.reporters = self.events.reporters.saturating_add(1);
        self.sock_mut(member)?.reports = true;
        while let Some(node) = news.pop_first() {
            let (slip, message): (Slip<M>, Arc<Message<M>>) = mem::unbox(node).value;
            message.set_id(next_id());
            member.with(|queue| {
                queue.push(slip);
                wakes.add(member, queue.link(), READ);
            });
        }
        Ok(List::new())
    }

    /// Makes an event for each replier binding, by its id, at the cost of the user of this socket.
    fn describe_repliers(&self, member: &M, news: &mut News<M>) -> Result<(), Error> {
        let mut repliers: u64 = 0;
        self.socks.for_each(|_, sock| {
            sock.replies
                .for_each(|_, _| repliers = repliers.saturating_add(1))
        });
        let payer = member.payer();
        // Places are told before memory.
        if repliers > payer.left().messages {
            return Err(Error::NoBufs);
        }
        let mut result = Ok(());
        self.socks.for_each(|peer, sock| {
            sock.replies.for_each(|binding, held| {
                if result.is_ok() {
                    result = describe(&self.account, payer, (peer, binding), &held.text, news);
                }
            });
        });
        result
    }

    /// A socket wants no more events; the pool goes with the last one that did.
    pub(super) fn report_no_more(&mut self, member: &M) -> Garbage<M> {
        match self.sock_mut(member) {
            Ok(sock) if sock.reports => sock.reports = false,
            _ => return List::new(),
        }
        self.events.reporters = self.events.reporters.saturating_sub(1);
        if self.events.reporters > 0 {
            return List::new();
        }
        self.events.left = 0;
        core::mem::take(&mut self.events.pool)
    }

    /// Finds room for the event of an explicit binding; `None` when there are no events.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`] with those that must not miss it, [`Error::NoMem`].
    pub(super) fn plan_event(
        &mut self,
        binder: &M,
        event: &Message<M>,
    ) -> Result<Option<Plan<M>>, Refusal<M>> {
        if self.events.reporters == 0 {
            return Ok(None);
        }
        let mut plan = self.plan(&Target {
            sender: binder,
            name: BIND_EVENT,
            replier: None,
            len: event.payload.len(),
            served: 0,
            reply: Amount::NONE,
            paid: None,
            policy: Policy::Event {
                user: binder.user(),
            },
        })?;
        plan.collect(binder)?;
        Ok(Some(plan))
    }

    /// Sends the event that a replier binding of a dying socket has gone.
    ///
    /// It needs no room and no memory.
    pub(super) fn unbind_event(
        &mut self,
        message: &Arc<Message<M>>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) {
        if self.events.reporters == 0 {
            return;
        }
        let id = next_id();
        message.set_id(id);
        let Bus {
            routes,
            socks,
            events,
            last_binding,
            ..
        } = self;
        let share = events.size.checked_div(events.listeners).unwrap_or(0);
        let share = share.max(events.share);
        // All that could not be kept in this step is told under one id.
        let mut notice_id = None;
        let _ = routes.listeners(BIND_EVENT, |listener, _| {
            let member = &listener.member;
            let once = member.with(|queue| {
                if queue.read_shut() {
                    return Some(true);
                }
                let again = queue.last_event == id;
                queue.last_event = id;
                queue.once().then_some(again)
            });
            let copies = match once {
                Some(true) => 0,
                Some(false) => 1,
                None => listener.count,
            };
            for nth in 0..copies {
                let cause = match once {
                    Some(_) => Cause::Once {
                        last: *last_binding,
                        replier: 0,
                        listeners: socks
                            .get(listener.peer)
                            .map_or(1, |sock| sock.event_bindings),
                    },
                    None => Cause::Binding {
                        id: listener.binding,
                        nth,
                    },
                };
                let fits = member.with(|queue| queue.pooled < share);
                let (slip, body) = match fits.then(|| events.pool.pop_front()).flatten() {
                    Some(slip) => {
                        events.left = events.left.saturating_sub(1);
                        events.out = events.out.saturating_add(1);
                        (slip, Body::Message(message.clone()))
                    }
                    None => {
                        if once.is_some() && member.with(|queue| queue.notices > 0) {
                            continue;
                        }
                        let held = socks
                            .get_mut(listener.peer)
                            .and_then(|sock| sock.listens.get_mut(listener.binding));
                        let Some(slip) = held.and_then(|held| held.notice.take()) else {
                            continue;
                        };
                        let id = *notice_id.get_or_insert_with(&mut *next_id);
                        (slip, Body::EventsLost(id, M::now()))
                    }
                };
                let mut slip = slip;
                slip.value.cause = match (&body, cause) {
                    // One for all identical bindings: it goes with the last of them.
                    (Body::EventsLost(..), Cause::Binding { id, .. }) => {
                        Cause::Binding { id, nth: 0 }
                    }
                    (_, cause) => cause,
                };
                slip.value.body = body;
                member.with(|queue| {
                    queue.push(slip);
                    wakes.add(member, queue.link(), READ);
                });
            }
            Ok(())
        });
    }

    /// Takes back what a queue of this peer has no more use for; gives back what nobody has.
    pub(super) fn take_back(&mut self, peer: u64, mut slip: Slip<M>) -> Option<Slip<M>> {
        let old = core::mem::replace(&mut slip.value.body, Body::Blank);
        match slip.value.origin {
            Origin::Made => {
                slip.value.body = old;
                return Some(slip);
            }
            Origin::Pool => {
                self.events.out = self.events.out.saturating_sub(1);
                if self.events.reporters == 0 {
                    return Some(slip);
                }
                self.events.left = self.events.left.saturating_add(1);
                self.events.pool.push_back(slip);
            }
            Origin::Spare(binding) => {
                let sock = self.socks.get_mut(peer);
                match sock.and_then(|sock| sock.listens.get_mut(binding)) {
                    Some(held) => held.notice = Some(slip),
                    None => return Some(slip),
                }
            }
        }
        None
    }

    /// The same for all that was taken out of a queue.
    pub(super) fn take_all_back(&mut self, peer: u64, mut garbage: Garbage<M>) -> Garbage<M> {
        // Notices go with their bindings: none of them is taken out while its binding is there.
        if self.events.out == 0 {
            return garbage;
        }
        let mut rest = List::new();
        while let Some(slip) = garbage.pop_front() {
            if let Some(slip) = self.take_back(peer, slip) {
                rest.push_back(slip);
            }
        }
        rest
    }
}

/// The entry by which a listener binding learns that there were too many events.
///
/// # Errors
///
/// [`Error::NoMem`].
pub(super) fn notice<M: Member>(binding: u64) -> Result<Slip<M>, Error> {
    let cause = Cause::Binding {
        id: binding,
        nth: 0,
    };
    Ok(Item::new(Entry::blank(cause, Origin::Spare(binding)))?)
}

/// Events of replier bindings that are there already, by the binding's id.
type News<M> = Tree<(Slip<M>, Arc<Message<M>>)>;

/// Adds the event of one.
///
/// # Errors
///
/// [`Error::NoBufs`] when its user has no place for it, [`Error::NoMem`].
fn describe<M: Member>(
    account: &Arc<Account>,
    payer: &Payer,
    (peer, binding): (u64, u64),
    text: &[u8],
    news: &mut News<M>,
) -> Result<(), Error> {
    let place = Place::new(payer.messages()).ok_or(Error::NoBufs)?;
    let message = bind_event(account, peer, true, text)?;
    let mut slip = Item::new(Entry::blank(Cause::Own, Origin::Made))?;
    slip.value.own = true;
    slip.value.paid.place = Some(place);
    slip.value.body = Body::Message(message.clone());
    news.insert(Node::new(binding, (slip, message))?, binding);
    Ok(())
}

/// Makes `$.KBUS.ReplierBindEvent`, which has no id yet.
///
/// # Errors
///
/// [`Error::NoMem`].
pub(super) fn bind_event<M: Member>(
    account: &Arc<Account>,
    peer: u64,
    is_bind: bool,
    text: &[u8],
) -> Result<Arc<Message<M>>, Error> {
    let mut payload = mem::with_capacity(HEADER.saturating_add(text.len()))?;
    let peer = peer.to_ne_bytes();
    let is_bind = u32::from(is_bind).to_ne_bytes();
    let len = (text.len() as u32).to_ne_bytes();
    let parts = [&peer[..], &is_bind[..], &len[..], text];
    for byte in parts.into_iter().flatten() {
        let _ = mem::push_reserved(&mut payload, *byte);
    }
    Ok(mem::new_arc(Message::new(Parts {
        flags: KBUS_STATUS,
        sender: 0,
        to: 0,
        in_reply_to: 0,
        name: mem::try_copy(BIND_EVENT)?,
        payload,
        via: None,
        from: None,
        charge: Charge::none(account),
    }))?)
}
