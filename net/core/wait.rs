// SPDX-License-Identifier: GPL-2.0

//! Sends that wait for room (`KBUS_ALL_OR_WAIT`), and sockets that want to know when to try again.
//!
//! A send that waits lies in the bus, with its payload and nothing reserved, filed under *one* of the
//! queues that had no room: it cannot go before that one changes. Whoever makes room there tries
//! the sends that are filed under it, oldest first, with all checks, as if they had just come; one
//! that is refused by another queue is filed under that one. So the order is the bus's own and not
//! that in which threads happen to wake up.
//!
//! A reader makes room with the lock of its queue alone. It looks whether somebody waits there, and
//! then tells the bus. Between these two steps a reader could slip through while a send that has just seen
//! the full queue is being filed; the queue's *version* tells that.

use super::address::Dest;
use super::bus::Bus;
use super::bus::Member;
use super::bus::Outgoing;
use super::entry::Slip;
use super::error::Error;
use super::mem;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Box;
use super::mem::Bytes;
use super::mem::Vec;
use super::message::Message;
use super::message::Via;
use super::plan::Full;
use super::plan::Refusal;
use super::tree::Node;
use super::wakes::Wakes;
use super::wakes::WRITE;
use super::work::Refused;
use core::sync::atomic::Ordering::Relaxed;

/// Names a wait: later ones are greater.
pub type Ticket = u64;

/// A send that waits, without its sender.
pub(super) struct Letter<M: Member> {
    name: Vec<u8>,
    /// Whom a stateful request is for.
    peer: Option<u64>,
    flags: u32,
    reply_max: u32,
    cookie: u64,
    payload: Bytes,
    via: Option<Via>,
    from: Option<M::Sender>,
    files: Option<M::Files>,
    /// The message, once it has gone, if whoever has tried it keeps too many already: its own thread drops it.
    sent: Option<Arc<Message<M>>>,
}

impl<M: Member> Letter<M> {
    /// Takes over what is to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`], and nothing has been taken.
    pub(super) fn new(out: &mut Outgoing<'_, M>, dest: Dest<'_>) -> Result<Self, Error> {
        let peer = match dest {
            Dest::Stateful { peer, .. } => Some(peer),
            _ => None,
        };
        Ok(Letter {
            name: mem::try_copy(dest.name().unwrap_or_default())?,
            peer,
            flags: out.flags,
            reply_max: out.reply_max,
            cookie: out.cookie,
            payload: core::mem::take(&mut out.payload),
            via: out.via,
            from: out.from.take(),
            files: out.files.clone(),
            sent: None,
        })
    }
}

/// What waits.
pub(super) enum What<M: Member> {
    /// A send.
    Send(Letter<M>),
    /// A binding: it is tried again by its own thread.
    Bind,
}

/// What waits, and for whom; its number is the ticket.
pub(super) struct Parked<M: Member> {
    pub(super) member: M,
    what: What<M>,
    /// How often there was room, but no memory.
    starved: usize,
}

/// So often may a send that waits lack memory when it could go.
const STARVED: usize = 5;

pub(super) type ParkedNode<M> = Box<Node<Parked<M>>>;

/// Where a wait is; its number is the ticket.
pub(super) enum Wait<M: Member> {
    /// Filed under this socket, or among the ready ones (0).
    Under(u64),
    /// Ended.
    Ended(Ended<M>),
}

/// The end of a wait. To be dropped outside the locks.
pub struct Ended<M: Member> {
    /// The id of what was sent; 0 of a binding, which is to be tried again.
    pub result: Result<u64, Error>,
    _parked: Option<ParkedNode<M>>,
}

impl<M: Member> Bus<M> {
    /// Whether a wait has ended, and how.
    ///
    /// To be asked by the one who waits whenever it is woken up; after the answer the ticket is
    /// worth nothing.
    pub fn finished(&mut self, member: &M, ticket: Ticket) -> Option<Ended<M>> {
        if let Some(Wait::Under(on)) = self.waits.get(ticket) {
            let on = *on;
            let (read_shut, write_shut) = member.with(|q| (q.read_shut(), q.write_shut()));
            if !read_shut && !write_shut {
                return None;
            }
            // Perhaps it must not wait any longer.
            let filed = match self.socks.get(on) {
                Some(sock) => sock.queued.get(ticket),
                None => None,
            };
            let filed = filed.or_else(|| self.todo.ready.get(ticket));
            let filed = filed.or_else(|| self.todo.starved.get(ticket));
            let result = match filed.map(|parked| &parked.what) {
                Some(What::Bind) => Ok(0),
                Some(What::Send(letter)) if write_shut || letter.is_request() => Err(Error::Pipe),
                _ => return None,
            };
            return Some(Ended {
                result,
                _parked: self.give_up(member, ticket)._parked,
            });
        }
        let wait = mem::unbox(self.waits.remove(ticket)?);
        self.count_wait(member, false);
        match wait.value {
            Wait::Ended(ended) => Some(ended),
            Wait::Under(_) => None,
        }
    }

    /// Ends a wait because its thread has been interrupted or its time is over.
    ///
    /// The result says [`Error::Again`] unless it had ended before.
    pub fn give_up(&mut self, member: &M, ticket: Ticket) -> Ended<M> {
        let wait = self.waits.remove(ticket).map(|node| mem::unbox(node).value);
        if wait.is_some() {
            self.count_wait(member, false);
        }
        match wait {
            Some(Wait::Ended(ended)) => ended,
            Some(Wait::Under(on)) => Ended {
                result: Err(Error::Again),
                _parked: self.take_filed(on, ticket),
            },
            None => Ended {
                result: Err(Error::Again),
                _parked: None,
            },
        }
    }

    /// One more wait of a user, or one less.
    fn count_wait(&mut self, member: &M, begins: bool) {
        if let Some(user) = self.users.get_mut(u64::from(member.payer().id())) {
            user.waits = match begins {
                true => user.waits.saturating_add(1),
                false => user.waits.saturating_sub(1),
            };
        }
    }

    /// Takes out what is filed under a socket, or ready (0).
    fn take_filed(&mut self, on: u64, ticket: Ticket) -> Option<ParkedNode<M>> {
        match self.socks.get_mut(on) {
            Some(sock) => sock.queued.remove(ticket),
            None => {
                let ready = self.todo.ready.remove(ticket);
                ready.or_else(|| self.todo.starved.remove(ticket))
            }
        }
    }

    /// Begins a wait for queues that were full.
    ///
    /// A reader may have made room since that was seen: then what waits is tried once more at once. `what` is asked for
    /// what waits when nothing else can fail any more: it may be large, and must not be dropped here.
    ///
    /// # Errors
    ///
    /// [`Error::DeadLk`] when one's own is among them, [`Error::DQuot`] when too many of the user's
    /// wait already, [`Error::NoMem`], and that of `what`.
    pub(super) fn park(
        &mut self,
        member: &M,
        what: impl FnOnce() -> Result<What<M>, Error>,
        full: Vec<Full<M>>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<Ticket, Error> {
        if full.iter().any(|full| full.member.id() == member.id()) {
            return Err(Error::DeadLk);
        }
        let on = full.first().ok_or(Error::Again)?;
        let user = self.users.get(u64::from(member.payer().id()));
        if u64::from(user.ok_or(Error::NotConn)?.waits) >= self.limits.waits.load(Relaxed) {
            return Err(Error::DQuot);
        }
        let waiter = member;
        let member = member.clone();
        let ticket = self.last_ticket.saturating_add(1);
        let nothing = What::Bind;
        let mut parked = Node::new(
            ticket,
            Parked {
                member,
                what: nothing,
                starved: 0,
            },
        )?;
        let wait = Node::new(ticket, Wait::Under(0))?;
        parked.value.what = what()?;
        self.waits.insert(wait, ticket);
        self.last_ticket = ticket;
        self.count_wait(waiter, true);
        self.file(parked, on, wakes);
        self.work(next_id, wakes);
        Ok(ticket)
    }

    /// Files what waits under a queue that was full, or among the ready if it has changed since.
    pub(super) fn file(&mut self, parked: ParkedNode<M>, full: &Full<M>, wakes: &mut Wakes<M>) {
        let ticket = parked.key();
        let on = match watch(full) {
            Ok(true) => full.member.id(),
            Ok(false) => 0,
            Err(_) if parked.value.starved < STARVED => return self.starve(parked, wakes),
            Err(_) => return self.end(parked, Err(Error::NoMem), wakes),
        };
        match self.socks.get_mut(on) {
            Some(sock) => sock.queued.add(parked),
            None => self.todo.ready.insert(parked, ticket),
        }
        if let Some(wait) = self.waits.get_mut(ticket) {
            *wait = Wait::Under(on);
        }
    }

    /// Tries once more; gives back what still has to wait, and the queue it waits for.
    pub(super) fn retry(
        &mut self,
        mut parked: ParkedNode<M>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Option<(ParkedNode<M>, Full<M>)> {
        let member = parked.value.member.clone();
        let result = match &mut parked.value.what {
            What::Bind => Ok(0),
            What::Send(letter) => match self.resend(&member, letter, next_id, wakes) {
                Ok(id) => {
                    // For whoever tries it to drop: the thread that has waited may not run for long, and with it the
                    // bus would lack the bytes.
                    letter.sent = letter.sent.take().and_then(|sent| wakes.keep(sent));
                    Ok(id)
                }
                Err(Refusal::Error(Error::NoMem)) if parked.value.starved < STARVED => {
                    self.starve(parked, wakes);
                    return None;
                }
                Err(Refusal::Error(error)) => Err(error),
                Err(Refusal::Full(mut full)) => {
                    // There is memory again, or another one of those who try has it.
                    parked.value.starved = 0;
                    match full.iter().any(|full| full.member.id() == member.id()) {
                        true => Err(Error::DeadLk),
                        false => match mem::vec_remove(&mut full, 0) {
                            Some(full) => return Some((parked, full)),
                            None => Err(Error::Again),
                        },
                    }
                }
            },
        };
        self.end(parked, result, wakes);
        None
    }

    /// It could go, but there is no memory, for which its own thread is to wait: whoever tries it here
    /// holds the lock, and may have less.
    fn starve(&mut self, mut parked: ParkedNode<M>, wakes: &mut Wakes<M>) {
        parked.value.starved = parked.value.starved.saturating_add(1);
        let (ticket, member) = (parked.key(), parked.value.member.clone());
        if let Some(wait) = self.waits.get_mut(ticket) {
            *wait = Wait::Under(0);
        }
        self.todo.starved.insert(parked, ticket);
        member.with(|queue| wakes.add(&member, queue.link(), WRITE));
    }

    /// Whether a wait could end if there were memory, and how often it has come to that: the thread
    /// is to wait for some without the lock, and to call [`Bus::feed`] then.
    pub fn starves(&self, ticket: Ticket) -> Option<usize> {
        let parked = self.todo.starved.get(ticket)?;
        Some(parked.starved)
    }

    /// There is memory for it: it is tried again.
    pub fn feed(&mut self, ticket: Ticket, next_id: &mut dyn FnMut() -> u64, wakes: &mut Wakes<M>) {
        if let Some(parked) = self.todo.starved.remove(ticket) {
            self.todo.ready.insert(parked, ticket);
            self.work(next_id, wakes);
        }
    }

    /// A wait ends, and its thread is to fetch the result.
    fn end(&mut self, parked: ParkedNode<M>, result: Result<u64, Error>, wakes: &mut Wakes<M>) {
        let (ticket, member) = (parked.key(), parked.value.member.clone());
        if let Some(wait) = self.waits.get_mut(ticket) {
            *wait = Wait::Ended(Ended {
                result,
                _parked: Some(parked),
            });
        }
        member.with(|queue| wakes.add(&member, queue.link(), WRITE));
    }

    fn resend(
        &mut self,
        member: &M,
        letter: &mut Letter<M>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<u64, Refusal<M>> {
        let name = &*letter.name;
        let dest = match letter.peer {
            Some(peer) => Dest::Stateful { name, peer },
            None => Dest::Name(name),
        };
        let mut out = Outgoing {
            dest: Some(dest),
            flags: letter.flags,
            explicit: true,
            reply_max: letter.reply_max,
            cookie: letter.cookie,
            payload: core::mem::take(&mut letter.payload),
            via: letter.via,
            from: letter.from.take(),
            files: letter.files.take(),
            sent: None,
        };
        let result = match self.check_send(member, &out) {
            Ok(dest) => self.dispatch(member, &mut out, dest, next_id, wakes),
            Err(error) => Err(error.into()),
        };
        letter.payload = core::mem::take(&mut out.payload);
        letter.from = out.from.take();
        letter.files = out.files.take();
        letter.sent = out.sent.take();
        result
    }

    /// Tries the oldest that may have become ready, and takes what that costs from what is `left` of a step; says whether
    /// there was one.
    pub(super) fn retry_ready(
        &mut self,
        left: &mut u32,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> bool {
        let Some(parked) = self.todo.ready.pop_first() else {
            return false;
        };
        let before = self.looked;
        let still = self.retry(parked, next_id, wakes);
        self.pay(left, before);
        if let Some((parked, full)) = still {
            self.file(parked, &full, wakes);
        }
        true
    }

    /// A message has been read that the bus must hear of.
    ///
    /// What is given back is for the caller to drop outside the locks. If it says who is to be told,
    /// [`Bus::tell_pollers`] is to be called until that says that there are no more.
    pub fn after_read(
        &mut self,
        member: &M,
        back: Option<Slip<M>>,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> (Option<Slip<M>>, Option<Refused>) {
        let rest = back.and_then(|slip| self.take_back(member.id(), slip));
        let refused = self.refused();
        let more = self.tell_pollers(member, refused, wakes);
        if member.with(|queue| queue.waited && queue.has_room()) {
            let mut left = self.tries();
            self.room(member.id(), &mut left, next_id, wakes);
            self.work_at_most(&mut left, next_id, wakes);
        }
        (rest, more.then_some(refused))
    }

    /// Tells some of these who poll for a socket's queue, if it has room; says whether there are more.
    pub fn tell_pollers(&mut self, member: &M, refused: Refused, wakes: &mut Wakes<M>) -> bool {
        let room = member.with(|queue| queue.waited && queue.has_room());
        room && self.unblock_some(member.id(), refused, wakes)
    }

    /// Before a new send that may wait: those who waited and have room now go first, as many as go in
    /// one step.
    pub(super) fn let_ready_go(
        &mut self,
        name: &[u8],
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> Result<(), Error> {
        if self.waits.is_empty() {
            return Ok(());
        }
        let mut left = self.tries();
        while left > 0 && self.retry_ready(&mut left, next_id, wakes) {}
        let mut with_room: Vec<u64> = Vec::new();
        let mut look = |member: &M| {
            if member.with(|queue| queue.waited && queue.has_room()) {
                mem::push(&mut with_room, member.id())?;
            }
            Ok(())
        };
        if let Some(replier) = self.replier(name) {
            look(&replier.member)?;
        }
        self.routes
            .listeners(name, |listener, _| look(&listener.member))?;
        for on in with_room.iter() {
            self.room(*on, &mut left, next_id, wakes);
        }
        self.hand_over(wakes);
        Ok(())
    }

    /// A send that must not wait was refused: its socket is not writable until this queue, the first that was full,
    /// changes.
    ///
    /// It could not go before that. To be told of one alone keeps it as little as a send that waits is.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub(super) fn block(
        &mut self,
        member: &M,
        full: &Full<M>,
        wakes: &mut Wakes<M>,
    ) -> Result<(), Error> {
        let (peer, on) = (member.id(), full.member.id());
        let refused = self.todo.next_turn();
        let poller = Node::new(refused, peer)?;
        let Some(sock) = self.socks.get_mut(on) else {
            return Ok(());
        };
        sock.queued.add_poller(poller, full.broke.is_some());
        self.sock_mut(member)?.blocked_by = Some((on, refused));
        member.with(|queue| queue.send_blocked = true);
        // Without memory to be told by, it may try again at once.
        if !watch(full).unwrap_or(false) {
            self.unblock(peer, wakes);
        }
        Ok(())
    }

    /// A socket may send again.
    pub(super) fn unblock(&mut self, peer: u64, wakes: &mut Wakes<M>) {
        let Some(sock) = self.socks.get_mut(peer) else {
            return;
        };
        let Some((on, refused)) = sock.blocked_by.take() else {
            return;
        };
        let member = sock.member.clone();
        if let Some(sock) = self.socks.get_mut(on) {
            drop(sock.queued.remove_poller(refused));
        }
        member.with(|queue| {
            queue.send_blocked = false;
            wakes.add(&member, queue.link(), WRITE);
        });
    }
}

impl<M: Member> Letter<M> {
    fn is_request(&self) -> bool {
        self.flags & super::message::KBUS_REQUEST != 0
    }
}

/// Sees to it that the bus is told when there is room; false if there may have come some since `full` was
/// seen.
///
/// # Errors
///
/// [`AllocError`].
fn watch<M: Member>(full: &Full<M>) -> Result<bool, AllocError> {
    let same = full.member.with(|queue| {
        let watched = core::mem::replace(&mut queue.waited, true);
        watched || queue.version() == full.version
    });
    let Some(version) = full.broke else {
        return Ok(same);
    };
    full.member.await_budget()?;
    let payer = full.member.payer();
    if payer.version() != version {
        // There may be more than was seen. It is not tried again at once, or its user could keep that up for ever by
        // what he reads elsewhere: he is told as if something came back now.
        payer.ring();
    }
    Ok(same)
}
