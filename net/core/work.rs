// SPDX-License-Identifier: GPL-2.0

//! Who tries what waits, and how much of it at once.
//!
//! A queue may be waited for by a thousand sends of somebody who means no good, none of which can go:
//! they want two slots of it, or more than their sender's share. So whoever makes room, or is about to
//! send, tries at most [`Limits::tries`](super::limits::Limits::tries) of them, and hands the rest over: to the thread of the send that is
//! next to be tried, the *carrier*. It is woken up, tries as many, and hands over in its turn. So each
//! pays for a step of its own, those who wait pay for the rest, and nobody sleeps for ever as long as
//! something is to be tried.
//!
//! What waits for a queue that has got room is tried in *rounds*, oldest first. If a round is too long
//! for one step it goes on from where it was, whatever happens meanwhile, or the first few could keep
//! all others from their turn; if there was more room in the end than when it began, another one
//! follows. A round that is short begins with the oldest each time.

use super::bus::Bus;
use super::bus::Member;
use super::close::BATCH;
use super::mem::AllocError;
use super::mem::Box;
use super::tree::Node;
use super::tree::Tree;
use super::wait::Parked;
use super::wait::ParkedNode;
use super::wait::Ticket;
use super::wait::Wait;
use super::wakes::Wakes;
use super::wakes::WRITE;
use core::sync::atomic::Ordering::Relaxed;

/// A socket's place in a list of those with something to do; the value is its peer id.
type Turn = Box<Node<u64>>;

/// Those who wait for a socket's queue.
pub(super) struct Queued<M: Member> {
    /// What waits and has not been tried in this round.
    untried: Tree<Parked<M>>,
    /// What was, in a round that goes on, and still waits.
    passed: Tree<Parked<M>>,
    /// The queue's version when the round began.
    version: u64,
    /// So many rounds are to be gone through whether there is room or not.
    released: u8,
    /// Those who cannot send because the queue was full.
    pollers: Tree<()>,
    /// Those who could not only for want of bytes.
    broke_pollers: Tree<()>,
    /// Which of them are to be told: none, the latter, or all.
    tell: Tell,
    /// Its turn to be tried, unless it is in the list.
    round: Option<Turn>,
    /// Its turn to have those told who poll, unless it is in the list.
    telling: Option<Turn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tell {
    Nobody,
    Broke,
    All,
}

impl<M: Member> Queued<M> {
    /// Nobody waits.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub(super) fn new(peer: u64) -> Result<Self, AllocError> {
        Ok(Queued {
            untried: Tree::new(),
            passed: Tree::new(),
            version: 0,
            released: 0,
            pollers: Tree::new(),
            broke_pollers: Tree::new(),
            tell: Tell::Nobody,
            round: Some(Node::new(0, peer)?),
            telling: Some(Node::new(0, peer)?),
        })
    }

    /// What has this ticket.
    pub(super) fn get(&self, ticket: Ticket) -> Option<&Parked<M>> {
        self.untried.get(ticket).or_else(|| self.passed.get(ticket))
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<ParkedNode<M>> {
        let untried = self.untried.remove(ticket);
        untried.or_else(|| self.passed.remove(ticket))
    }

    /// Adds what waits.
    pub(super) fn add(&mut self, parked: ParkedNode<M>) {
        let ticket = parked.key();
        match self.released {
            0 => self.untried.insert(parked, ticket),
            // It has just been tried: once is enough.
            _ => self.passed.insert(parked, ticket),
        }
    }

    fn nothing_waits(&self) -> bool {
        self.untried.is_empty() && self.passed.is_empty()
    }

    fn nobody_polls(&self) -> bool {
        self.pollers.is_empty() && self.broke_pollers.is_empty()
    }

    /// The next one to be tried.
    fn next(&self) -> Option<&Parked<M>> {
        self.untried.least().or_else(|| self.passed.least())
    }

    /// Whether a socket polls.
    pub(super) fn has_poller(&self, peer: u64) -> bool {
        self.pollers.get(peer).is_some() || self.broke_pollers.get(peer).is_some()
    }

    /// Adds one who polls.
    pub(super) fn add_poller(&mut self, poller: Box<Node<()>>, broke: bool) {
        let peer = poller.key();
        match broke {
            true => self.broke_pollers.insert(poller, peer),
            false => self.pollers.insert(poller, peer),
        }
    }

    /// Removes one who polls.
    pub(super) fn remove_poller(&mut self, peer: u64) -> Option<Box<Node<()>>> {
        let poller = self.pollers.remove(peer);
        poller.or_else(|| self.broke_pollers.remove(peer))
    }
}

/// What is to be tried, and by whom.
pub(super) struct Todo<M: Member> {
    /// What waits and is to be tried, whatever it has waited for.
    pub(super) ready: Tree<Parked<M>>,
    /// Sockets with a round that goes on.
    rounds: Tree<u64>,
    /// Sockets of which those who poll are to be told.
    telling: Tree<u64>,
    last_turn: u64,
    /// The socket whose thread is to go on, or 0.
    carrier: u64,
}

impl<M: Member> Todo<M> {
    pub(super) const fn new() -> Self {
        Todo {
            ready: Tree::new(),
            rounds: Tree::new(),
            telling: Tree::new(),
            last_turn: 0,
            carrier: 0,
        }
    }

    /// Whether nothing is to be tried.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.rounds.is_empty()
    }

    fn next_turn(&mut self) -> u64 {
        self.last_turn = self.last_turn.saturating_add(1);
        self.last_turn
    }
}

impl<M: Member> Bus<M> {
    /// Most tries of a step.
    pub(super) fn tries(&self) -> u32 {
        self.limits.tries.load(Relaxed)
    }

    /// Tries what is to be tried, as far as that goes in one step, and hands the rest over.
    pub(super) fn work(&mut self, next_id: &mut dyn FnMut() -> u64, wakes: &mut Wakes<M>) {
        let mut left = self.tries();
        self.work_at_most(&mut left, next_id, wakes);
    }

    /// The same with so many tries `left`.
    pub(super) fn work_at_most(
        &mut self,
        left: &mut u32,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) {
        loop {
            while *left > 0 && self.retry_ready(next_id, wakes) {
                *left = left.saturating_sub(1);
            }
            if *left == 0 {
                break;
            }
            let Some(turn) = self.todo.rounds.pop_first() else {
                break;
            };
            let on = turn.value;
            self.give_turn_back(turn);
            self.room(on, left, next_id, wakes);
        }
        self.hand_over(wakes);
    }

    fn give_turn_back(&mut self, turn: Turn) {
        if let Some(sock) = self.socks.get_mut(turn.value) {
            sock.queued.round = Some(turn);
        }
    }

    /// Does a step of the waiting thread of this socket, if it is the one to go on; says whether it was.
    pub fn carry_on(
        &mut self,
        member: &M,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> bool {
        let mine = self.todo.carrier == member.id();
        if mine {
            self.work(next_id, wakes);
        }
        mine
    }

    /// A thread of this socket does not wait any more: if it was to go on, another one is.
    pub fn stop_carrying(&mut self, member: &M, wakes: &mut Wakes<M>) {
        if self.todo.carrier == member.id() {
            self.hand_over(wakes);
        }
    }

    /// Lets the thread go on whose send is the next to be tried, if there is anything to be tried.
    pub(super) fn hand_over(&mut self, wakes: &mut Wakes<M>) {
        self.todo.carrier = 0;
        let next = loop {
            if let Some(parked) = self.todo.ready.least() {
                break parked.member.clone();
            }
            let Some(on) = self.todo.rounds.least() else {
                return;
            };
            let next = self.socks.get(*on).and_then(|sock| sock.queued.next());
            if let Some(parked) = next {
                break parked.member.clone();
            }
            // All of them have given up.
            if let Some(turn) = self.todo.rounds.pop_first() {
                self.give_turn_back(turn);
            }
        };
        self.todo.carrier = next.id();
        next.with(|queue| wakes.add(&next, queue.link(), WRITE));
    }

    /// A queue has got room, or has been released: those who wait for it are tried, oldest first, as
    /// many as are `left`.
    pub(super) fn room(
        &mut self,
        on: u64,
        left: &mut u32,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) {
        let released = self
            .socks
            .get(on)
            .is_some_and(|sock| sock.queued.released > 0);
        let more = match released {
            true => self.make_ready(on, left),
            false => self.try_queued(on, left, next_id, wakes),
        };
        if more {
            self.begin_round(on);
        }
        while *left > 0 && self.retry_ready(next_id, wakes) {
            *left = left.saturating_sub(1);
        }
    }

    fn begin_round(&mut self, on: u64) {
        let key = self.todo.next_turn();
        let sock = self.socks.get_mut(on);
        if let Some(turn) = sock.and_then(|sock| sock.queued.round.take()) {
            self.todo.rounds.insert(turn, key);
        }
    }

    /// Tries those who wait for a queue while it has room; says whether this is to go on.
    fn try_queued(
        &mut self,
        on: u64,
        left: &mut u32,
        next_id: &mut dyn FnMut() -> u64,
        wakes: &mut Wakes<M>,
    ) -> bool {
        let Some(sock) = self.socks.get_mut(on) else {
            return false;
        };
        let member = sock.member.clone();
        let goes_on = !sock.queued.passed.is_empty();
        if !goes_on {
            sock.queued.version = member.with(|queue| queue.version());
        }
        let mut untried = core::mem::take(&mut sock.queued.untried);
        let mut passed = Tree::new();
        while *left > 0 && member.with(|queue| queue.has_room()) {
            let Some(parked) = untried.pop_first() else {
                break;
            };
            *left = left.saturating_sub(1);
            if let Some((parked, full)) = self.retry(parked, next_id, wakes) {
                if full.member.id() == on && full.broke.is_none() {
                    // It wants more than one slot, or its sender may not have this one.
                    let ticket = parked.key();
                    passed.insert(parked, ticket);
                } else {
                    self.file(parked, &full, wakes);
                }
            }
        }
        let Some(sock) = self.socks.get_mut(on) else {
            return false;
        };
        let queued = &mut sock.queued;
        // Meanwhile some may have been filed here again, for want of bytes.
        let again = core::mem::replace(&mut queued.untried, untried);
        let (room, version) = member.with(|queue| (queue.has_room(), queue.version()));
        let cut_short = room && !queued.untried.is_empty();
        let to = match goes_on || cut_short {
            true => &mut queued.passed,
            false => &mut queued.untried,
        };
        for mut from in [passed, again] {
            while let Some(parked) = from.pop_first() {
                let ticket = parked.key();
                to.insert(parked, ticket);
            }
        }
        let mut more = cut_short;
        if goes_on && queued.untried.is_empty() {
            core::mem::swap(&mut queued.untried, &mut queued.passed);
            more = room && version != queued.version;
        }
        self.still_waited_for(on);
        more
    }

    /// All the while readers have told us of what they read. Only now they may be silent, if nobody is
    /// left.
    fn still_waited_for(&mut self, on: u64) {
        if let Some(sock) = self.socks.get_mut(on) {
            let waited = !sock.queued.nothing_waits() || !sock.queued.nobody_polls();
            sock.member.with(|queue| queue.waited = waited);
        }
    }

    /// Something about a socket has changed, or it goes: whoever waits for it is to be tried
    /// again, by [`Bus::settle_step`].
    pub(super) fn release(&mut self, on: u64, wakes: &mut Wakes<M>) {
        self.release_to(on, Tell::All, wakes);
    }

    /// A limit or another setting of a queue that is waited for has changed.
    ///
    /// [`Bus::settle_step`] does the rest.
    pub fn settings_changed(&mut self, member: &M, wakes: &mut Wakes<M>) {
        self.release(member.id(), wakes);
    }

    /// The budget of a socket's payer has got bytes back, for which something may wait.
    ///
    /// [`Bus::settle_step`] does the rest.
    pub fn budget_released(&mut self, member: &M, wakes: &mut Wakes<M>) {
        self.release_to(member.id(), Tell::Broke, wakes);
    }

    fn release_to(&mut self, on: u64, tell: Tell, wakes: &mut Wakes<M>) {
        let Some(sock) = self.socks.get_mut(on) else {
            return;
        };
        sock.queued.version = sock.member.with(|queue| queue.version());
        sock.queued.tell = sock.queued.tell.max(tell);
        // What has been tried before this, in a round that goes on, is to be tried after it.
        sock.queued.released = match sock.queued.passed.is_empty() {
            true => sock.queued.released.max(1),
            false => 2,
        };
        if self.tell_some(on, wakes) {
            let key = self.todo.next_turn();
            let sock = self.socks.get_mut(on);
            if let Some(turn) = sock.and_then(|sock| sock.queued.telling.take()) {
                self.todo.telling.insert(turn, key);
            }
        }
        let mut left = self.tries();
        if self.make_ready(on, &mut left) {
            self.begin_round(on);
        }
    }

    /// Takes those who wait for a socket to those that are to be tried; says whether there are more.
    fn make_ready(&mut self, on: u64, left: &mut u32) -> bool {
        let Some(sock) = self.socks.get_mut(on) else {
            return false;
        };
        let queued = &mut sock.queued;
        while *left > 0 && queued.released > 0 {
            let Some(parked) = queued.untried.pop_first() else {
                core::mem::swap(&mut queued.untried, &mut queued.passed);
                queued.released = queued.released.saturating_sub(1);
                continue;
            };
            *left = left.saturating_sub(1);
            let ticket = parked.key();
            if let Some(wait) = self.waits.get_mut(ticket) {
                *wait = Wait::Under(0);
            }
            self.todo.ready.insert(parked, ticket);
        }
        if queued.nothing_waits() {
            queued.released = 0;
        }
        let (room, version) = sock.member.with(|q| (q.has_room(), q.version()));
        let more = match queued.released {
            // Meanwhile there has come room for what was tried early.
            0 => room && version != queued.version && !queued.untried.is_empty(),
            _ => true,
        };
        self.still_waited_for(on);
        more
    }

    /// Tells some who poll for a socket that was released; says whether there are more.
    fn tell_some(&mut self, on: u64, wakes: &mut Wakes<M>) -> bool {
        let Some(sock) = self.socks.get(on) else {
            return false;
        };
        let more = match sock.queued.tell {
            Tell::Nobody => false,
            Tell::Broke => self.unblock_some(on, false, wakes),
            Tell::All => self.unblock_some(on, true, wakes),
        };
        if let Some(sock) = self.socks.get_mut(on).filter(|_| !more) {
            sock.queued.tell = Tell::Nobody;
        }
        self.still_waited_for(on);
        more
    }

    /// Lets some who poll for a socket try again, `all` or only those who lacked bytes; says whether
    /// there are more.
    pub(super) fn unblock_some(&mut self, on: u64, all: bool, wakes: &mut Wakes<M>) -> bool {
        for _ in 0..BATCH {
            let Some(sock) = self.socks.get_mut(on) else {
                return false;
            };
            let mut poller = sock.queued.broke_pollers.pop_first();
            if all && poller.is_none() {
                poller = sock.queued.pollers.pop_first();
            }
            let Some(poller) = poller else {
                return false;
            };
            self.unblock(poller.key(), wakes);
        }
        let Some(sock) = self.socks.get(on) else {
            return false;
        };
        !sock.queued.broke_pollers.is_empty() || (all && !sock.queued.pollers.is_empty())
    }

    /// Tells some who poll for sockets that were released; says whether it did.
    pub(super) fn tell_released(&mut self, wakes: &mut Wakes<M>) -> bool {
        let Some(turn) = self.todo.telling.pop_first() else {
            return false;
        };
        let on = turn.value;
        let more = self.tell_some(on, wakes);
        let key = self.todo.next_turn();
        if more {
            self.todo.telling.insert(turn, key);
        } else if let Some(sock) = self.socks.get_mut(on) {
            sock.queued.telling = Some(turn);
        }
        true
    }

    /// Takes some of those who wait for a socket that has closed away from it; says whether there were
    /// any. When there are none it is forgotten.
    pub(super) fn is_still_waited_for(&mut self, member: &M, wakes: &mut Wakes<M>) -> bool {
        let on = member.id();
        let Some(sock) = self.socks.get_mut(on) else {
            return false;
        };
        if !member.with(|queue| queue.is_closed()) {
            return false;
        }
        sock.queued.released = 2;
        if sock.queued.nothing_waits() && sock.queued.nobody_polls() {
            drop(self.socks.remove(on));
            return false;
        }
        self.unblock_some(on, true, wakes);
        let mut left = self.tries();
        self.make_ready(on, &mut left);
        true
    }
}
