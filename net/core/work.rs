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
//! What a try costs depends on how many listeners it looks at, so that a step is no longer than a few sends are.
//!
//! What waits for a queue that has got room is tried in *rounds*, oldest first. If a round is too long
//! for one step it goes on from where it was, whatever happens meanwhile, or the first few could keep
//! all others from their turn; if there was more room in the end than when it began, another one
//! follows. A round that is short begins with the oldest each time.

use super::bus::Bus;
use super::bus::Member;
use super::close::BATCH;
use super::limits::BEFORE_FIRST;
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

/// So many listeners may be looked at in a try at the price of another one.
const LISTENERS: u64 = 256;

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
    /// Those who cannot send because the queue was full, by the number of the send that was refused.
    pollers: Tree<u64>,
    /// Those who could not only for want of bytes.
    broke_pollers: Tree<u64>,
    /// Who of them are to be told.
    tell: Refused,
    /// Its turn to be tried, unless it is in the list.
    round: Option<Turn>,
    /// Its turn to have those told who poll, unless it is in the list of its teller.
    telling: Option<Turn>,
    /// The socket whose thread is to tell them.
    teller: u64,
}

/// The sends refused so far, by the number of the last one, whose senders are to be told.
///
/// Senders who are told, come back at once and are refused again have another number then. So
/// telling ends, whatever they do.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// For want of bytes alone.
    broke: u64,
    /// For want of room.
    full: u64,
}

impl Refused {
    const NONE: Self = Refused { broke: 0, full: 0 };
    const EVER: Self = Refused {
        broke: u64::MAX,
        full: u64::MAX,
    };
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
            tell: Refused::NONE,
            round: Some(Node::new(0, peer)?),
            telling: Some(Node::new(0, peer)?),
            teller: 0,
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

    /// Adds one who polls, by the number of the send that was refused.
    pub(super) fn add_poller(&mut self, poller: Box<Node<u64>>, broke: bool) {
        let refused = poller.key();
        match broke {
            true => self.broke_pollers.insert(poller, refused),
            false => self.pollers.insert(poller, refused),
        }
    }

    /// Removes one who polls.
    pub(super) fn remove_poller(&mut self, refused: u64) -> Option<Box<Node<u64>>> {
        let poller = self.pollers.remove(refused);
        poller.or_else(|| self.broke_pollers.remove(refused))
    }

    /// Those who poll and among whom is the next one to be told.
    fn next_told(&mut self, tell: Refused) -> Option<&mut Tree<u64>> {
        let within = |tree: &Tree<u64>, last| tree.least_key().is_some_and(|key| key <= last);
        if within(&self.broke_pollers, tell.broke) {
            return Some(&mut self.broke_pollers);
        }
        within(&self.pollers, tell.full).then_some(&mut self.pollers)
    }
}

/// What is to be tried, and by whom.
pub(super) struct Todo<M: Member> {
    /// What waits and is to be tried, whatever it has waited for.
    pub(super) ready: Tree<Parked<M>>,
    /// What could go if there were memory, for which its own thread is to wait.
    pub(super) starved: Tree<Parked<M>>,
    /// Sockets with a round that goes on.
    rounds: Tree<u64>,
    /// Of turns and of sends that were refused.
    last_turn: u64,
    /// The socket whose thread is to go on, or 0.
    carrier: u64,
}

impl<M: Member> Todo<M> {
    pub(super) const fn new() -> Self {
        Todo {
            ready: Tree::new(),
            starved: Tree::new(),
            rounds: Tree::new(),
            last_turn: BEFORE_FIRST,
            carrier: 0,
        }
    }

    /// Whether nothing is to be tried.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.rounds.is_empty()
    }

    /// A number greater than all before.
    pub(super) fn next_turn(&mut self) -> u64 {
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
            while *left > 0 && self.retry_ready(left, next_id, wakes) {}
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
        while *left > 0 && self.retry_ready(left, next_id, wakes) {}
    }

    /// Takes from what is `left` of a step what a try has cost: one, and one more for each so many listeners.
    ///
    /// `before` is [`Bus::looked`] before it. So a step is some fan-outs of one copy, or one of thousands.
    pub(super) fn pay(&self, left: &mut u32, before: u64) {
        let listeners = self.looked.saturating_sub(before) / LISTENERS;
        let price = listeners.saturating_add(1).min(u64::from(u32::MAX));
        *left = left.saturating_sub(price as u32);
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
            let before = self.looked;
            let still = self.retry(parked, next_id, wakes);
            self.pay(left, before);
            if let Some((parked, full)) = still {
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

    /// Those whose sends have been refused so far.
    pub(super) fn refused(&self) -> Refused {
        Refused {
            broke: self.todo.last_turn,
            full: self.todo.last_turn,
        }
    }

    /// Something about a socket has changed, or it goes: whoever waits for it is to be tried
    /// again, by [`Bus::settle_step`] of `by`.
    pub(super) fn release(&mut self, on: u64, by: u64, wakes: &mut Wakes<M>) {
        if let Some(sock) = self.socks.get(on) {
            // What waits for bytes of its user may have lacked only those that a copy for this one needed.
            sock.member.payer().ring();
        }
        self.release_to(on, by, self.refused(), wakes);
    }

    /// A limit or another setting of a queue that is waited for has changed.
    ///
    /// [`Bus::settle_step`] does the rest.
    pub fn settings_changed(&mut self, member: &M, wakes: &mut Wakes<M>) {
        self.release(member.id(), member.id(), wakes);
    }

    /// The budget of a socket's payer has got bytes back, for which something may wait.
    ///
    /// [`Bus::budget_step`] does the rest.
    pub fn budget_released(&mut self, member: &M, wakes: &mut Wakes<M>) {
        let tell = Refused {
            full: 0,
            ..self.refused()
        };
        self.release_to(member.id(), member.id(), tell, wakes);
    }

    /// Does a little of what returned bytes left to do; says whether there is more.
    ///
    /// It allocates nothing and sends nothing: what waits is tried by those who wait, on whose account
    /// that is. So anybody may call it.
    pub fn budget_step(&mut self, member: &M, wakes: &mut Wakes<M>) -> bool {
        let more = self.tell_released(member.id(), wakes);
        if !more {
            self.hand_over(wakes);
        }
        more
    }

    fn release_to(&mut self, on: u64, by: u64, tell: Refused, wakes: &mut Wakes<M>) {
        let Some(sock) = self.socks.get_mut(on) else {
            return;
        };
        let queued = &mut sock.queued;
        queued.version = sock.member.with(|queue| queue.version());
        queued.tell = Refused {
            broke: queued.tell.broke.max(tell.broke),
            full: queued.tell.full.max(tell.full),
        };
        // What has been tried before this, in a round that goes on, is to be tried after it.
        queued.released = match queued.passed.is_empty() {
            true => queued.released.max(1),
            false => 2,
        };
        if self.tell_some(on, wakes) {
            self.begin_telling(on, by);
        }
        let mut left = self.tries();
        if self.make_ready(on, &mut left) {
            self.begin_round(on);
        }
    }

    /// The thread of `by` is to go on telling those who poll for `on`, whoever was to do so before.
    fn begin_telling(&mut self, on: u64, by: u64) {
        let Some(sock) = self.socks.get_mut(on) else {
            return;
        };
        let before = core::mem::replace(&mut sock.queued.teller, by);
        let turn = match sock.queued.telling.take() {
            Some(turn) => Some(turn),
            None => {
                let before = self.socks.get_mut(before);
                before.and_then(|sock| sock.tells.remove(on))
            }
        };
        let by = self.socks.get_mut(by);
        if let (Some(turn), Some(by)) = (turn, by) {
            by.tells.insert(turn, on);
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
        let more = self.unblock_some(on, sock.queued.tell, wakes);
        self.still_waited_for(on);
        more
    }

    /// Lets some of those try again who poll for a socket; says whether there are more of them.
    pub(super) fn unblock_some(&mut self, on: u64, tell: Refused, wakes: &mut Wakes<M>) -> bool {
        for _ in 0..BATCH {
            let sock = self.socks.get_mut(on);
            let polls = sock.and_then(|sock| sock.queued.next_told(tell));
            let Some(poller) = polls.and_then(|tree| tree.pop_first()) else {
                return false;
            };
            self.unblock(poller.value, wakes);
        }
        let sock = self.socks.get_mut(on);
        sock.is_some_and(|sock| sock.queued.next_told(tell).is_some())
    }

    /// Tells some who poll for sockets that were released, if `by` is to; says whether it did.
    pub(super) fn tell_released(&mut self, by: u64, wakes: &mut Wakes<M>) -> bool {
        let teller = self.socks.get_mut(by);
        let Some(turn) = teller.and_then(|sock| sock.tells.pop_first()) else {
            return false;
        };
        let on = turn.value;
        let more = self.tell_some(on, wakes);
        let to = self.socks.get_mut(if more { by } else { on });
        match to {
            Some(sock) if more => sock.tells.insert(turn, on),
            Some(sock) => sock.queued.telling = Some(turn),
            None => {}
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
        self.unblock_some(on, Refused::EVER, wakes);
        let mut left = self.tries();
        self.make_ready(on, &mut left);
        true
    }
}
