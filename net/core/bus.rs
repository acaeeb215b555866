// SPDX-License-Identifier: GPL-2.0

//! The bus: its sockets, their bindings, and what they send.
//!
//! Whoever has a `&mut Bus` holds the bus lock; its order is the order of the bus. Operations that
//! can fail find room and allocate first and then change things with steps that cannot fail.
//! Closing, unbinding and shutting down allocate nothing: they take effect at once and leave all that
//! takes time to [`Bus::settle_step`], so that no lock is held for long.
//!
//! So the routes may hold bindings of sockets that have gone, which nobody must see: what is looked up
//! there is held against the state of its socket.

use super::account::Account;
use super::account::Charge;
use super::error::Error;
use super::events::Events;
use super::hash::Key;
use super::limits::Limits;
use super::limits::BEFORE_FIRST;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Bytes;
use super::mem::Vec;
use super::message;
use super::message::Message;
use super::message::Via;
use super::message::KBUS_ALL_OR_FAIL;
use super::message::KBUS_ALL_OR_WAIT;
use super::message::KBUS_REQUEST;
use super::name;
use super::name::Pattern;
use super::payer::Payer;
use super::queue::Queue;
use super::queue::Slip;
use super::routes::Replier;
use super::routes::Routes;
use super::tree::Node;
use super::tree::Tree;
use super::wait::Wait;
use super::work::Queued;
use super::work::Todo;

pub use super::address::Dest;
pub use super::bind::Bound;
pub use super::close::Step;
pub use super::send::Sent;
pub use super::wait::Ticket;

/// Largest payload unless the owner sets something else.
pub const MAX_MSG: u32 = 64 << 10;

/// A handle of a socket.
///
/// Dropping one must not take any lock, as it happens under the bus lock.
pub trait Member: Clone {
    /// Who sent a message. The bus keeps it for the readers and does not look at it.
    type Sender;

    /// Descriptors that come with a message. To clone them needs no memory.
    ///
    /// The bus never drops the last clone itself: a sender keeps one until it holds no lock.
    type Files: Clone;

    /// The time, for the readers: the bus does not look at it.
    fn now() -> i64;

    /// The peer id, never 0.
    fn id(&self) -> u64;

    /// Whose socket it is.
    fn user(&self) -> u32;

    /// Who pays for it: the user whom [`Member::user`] is one of, if that one was made by another.
    fn payer(&self) -> &Arc<Payer>;

    /// Sees to it that [`Bus::budget_released`] is called for it when its payer's budget has got bytes
    /// back. Called under the bus lock, often for what is awaited already.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    fn await_budget(&self) -> Result<(), AllocError>;

    /// Locks the socket's queue. The bus never nests two of these calls.
    fn with<R>(&self, f: impl FnOnce(&mut Queue<Self>) -> R) -> R;
}

/// What a socket wants to send.
pub struct Outgoing<'a, M: Member> {
    /// Where to; `None` when there is no address and no connected default.
    pub dest: Option<Dest<'a>>,
    /// `KBUS_REQUEST` and its like.
    pub flags: u32,
    /// Whether the flags came with this message and are not the socket's own.
    pub explicit: bool,
    /// Bytes to reserve for the reply to a request; 0: what the socket has set.
    pub reply_max: u32,
    /// Shown to the requester again, in the reply or status.
    pub cookie: u64,
    /// The payload; taken when the message is sent.
    pub payload: Bytes,
    /// What a bridge says about it.
    pub via: Option<Via>,
    /// Who sends it; taken when it is sent.
    pub from: Option<M::Sender>,
    /// Descriptors that come with it.
    pub files: Option<M::Files>,
    /// What was made of it when it was sent.
    ///
    /// To be dropped by the caller, who holds no lock then: readers may be done with it before the bus is, and its payload
    /// may be large.
    pub sent: Option<Arc<Message<M>>>,
}

impl<M: Member> Default for Outgoing<'_, M> {
    fn default() -> Self {
        Outgoing {
            dest: None,
            flags: 0,
            explicit: false,
            reply_max: 0,
            cookie: 0,
            payload: Bytes::new(),
            via: None,
            from: None,
            files: None,
            sent: None,
        }
    }
}

impl<M: Member> Outgoing<'_, M> {
    /// Checks all that can be told without the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Inval`], [`Error::BadMsg`] and [`Error::NameTooLong`] for what is malformed, then
    /// [`Error::OpNotSupp`] for a private announcement.
    pub fn check(&self) -> Result<(), Error> {
        let all_or = self.flags & (KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT);
        if self.flags & !message::SEND_FLAGS != 0 {
            return Err(Error::Inval);
        }
        let is_reply = matches!(self.dest, Some(Dest::Reply { .. }));
        if is_reply && self.explicit && (all_or != 0 || self.flags & KBUS_REQUEST != 0) {
            return Err(Error::Inval);
        }
        if all_or == KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT && !is_reply {
            return Err(Error::Inval);
        }
        if let Some(name) = self.dest.and_then(|dest| dest.name()) {
            name::check_name(name)?;
        }
        if matches!(self.dest, Some(Dest::Stateful { .. })) && self.flags & KBUS_REQUEST == 0 {
            return Err(Error::OpNotSupp);
        }
        Ok(())
    }

    /// Whether it asks for a reply; a reply never does.
    pub fn is_request(&self) -> bool {
        self.flags & KBUS_REQUEST != 0 && !matches!(self.dest, Some(Dest::Reply { .. }))
    }
}

/// What kind of binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A listener.
    Listener,
    /// A replier.
    Replier,
}

impl Kind {
    /// The number for this kind.
    fn of(self, [listeners, repliers]: &mut [u32; 2]) -> &mut u32 {
        match self {
            Kind::Listener => listeners,
            Kind::Replier => repliers,
        }
    }
}

/// A binding as its socket remembers it; its number is the binding's id.
pub struct Held<M: Member> {
    pub(super) text: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) count: u32,
    /// Of a replier: the event that it has gone, which must not need memory then.
    pub(super) event: Option<Arc<Message<M>>>,
    /// Of a listener to events: the news that there were too many of them.
    pub(super) notice: Option<Slip<M>>,
}

/// A socket on the bus; its number is the peer id.
pub(super) struct Sock<M: Member> {
    pub(super) member: M,
    /// Its listener bindings.
    pub(super) listens: Tree<Held<M>>,
    /// Its replier bindings.
    pub(super) replies: Tree<Held<M>>,
    /// How many of each kind, identical ones counted one by one.
    pub(super) counts: [u32; 2],
    pub(super) wide: u32,
    /// Listener bindings that match the name of bind events, identical ones counted once.
    pub(super) event_bindings: u32,
    /// Whether it has switched the events on.
    pub(super) reports: bool,
    /// What waits for it, and who polls for it.
    pub(super) queued: Queued<M>,
    /// Whose queue was full at its last send, by peer id, and the number of that refusal.
    pub(super) blocked_by: Option<(u64, u64)>,
    /// Released sockets, by peer id, of which its thread is to tell those who poll.
    pub(super) tells: Tree<u64>,
}

/// What a user has on the bus; its number is the payer's.
pub(super) struct User {
    pub(super) sockets: u32,
    /// Peer id of the first socket since there was none: later ones are greater.
    since: u64,
    pub(super) bindings: u32,
    pub(super) wide: u32,
    pub(super) waits: u32,
    /// The part of the bus's bytes that the user has.
    pub(super) account: Arc<Account>,
}

impl User {
    /// Whether nothing is to be remembered. Who comes back finds what it still has: leaving is no way to a new share.
    fn is_gone(&self) -> bool {
        self.sockets == 0 && self.account.used() == 0
    }
}

/// A bus.
pub struct Bus<M: Member> {
    pub(super) routes: Routes<M>,
    pub(super) socks: Tree<Sock<M>>,
    /// Those with sockets or bytes.
    pub(super) users: Tree<User>,
    /// The last of them that was looked at whether it is gone.
    swept: Option<u64>,
    pub(super) account: Arc<Account>,
    pub(super) limits: &'static Limits,
    pub(super) owner: u32,
    pub(super) max_msg: u32,
    members: u32,
    pub(super) bindings: u32,
    pub(super) last_binding: u64,
    /// How many listeners have been looked at for a plan: what a try has cost.
    pub(super) looked: u64,
    /// Every wait, by ticket.
    pub(super) waits: Tree<Wait<M>>,
    /// What waits and is to be tried.
    pub(super) todo: Todo<M>,
    pub(super) last_ticket: Ticket,
    pub(super) events: Events<M>,
}

impl<M: Member> Bus<M> {
    /// Makes a bus that belongs to `owner` and may hold `bytes_max` bytes of payload.
    ///
    /// The key must be a random one that no user knows.
    ///
    /// # Errors
    ///
    /// [`Error::NoMem`].
    pub fn new(
        owner: u32,
        bytes_max: u64,
        limits: &'static Limits,
        key: Key,
    ) -> Result<Self, Error> {
        Ok(Bus {
            routes: Routes::new(key),
            socks: Tree::new(),
            users: Tree::new(),
            swept: None,
            account: Account::new(bytes_max)?,
            limits,
            owner,
            max_msg: MAX_MSG,
            members: 0,
            bindings: 0,
            last_binding: BEFORE_FIRST,
            looked: 0,
            waits: Tree::new(),
            todo: Todo::new(),
            last_ticket: BEFORE_FIRST,
            events: Events::new(),
        })
    }

    /// Puts a socket on the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Exist`] when it is on it already, [`Error::NoMem`].
    pub fn join(&mut self, member: &M) -> Result<(), Error> {
        let payer = u64::from(member.payer().id());
        if self.socks.get(member.id()).is_some() {
            return Err(Error::Exist);
        }
        let sock = Sock {
            member: member.clone(),
            listens: Tree::new(),
            replies: Tree::new(),
            counts: [0; 2],
            wide: 0,
            event_bindings: 0,
            reports: false,
            queued: Queued::new(member.id())?,
            blocked_by: None,
            tells: Tree::new(),
        };
        let sock = Node::new(member.id(), sock)?;
        if let Some(user) = self.users.get_mut(payer) {
            if user.sockets == 0 {
                user.since = member.id();
            }
            user.sockets = user.sockets.saturating_add(1);
        } else {
            let user = User {
                sockets: 1,
                since: member.id(),
                bindings: 0,
                wide: 0,
                waits: 0,
                account: Account::part_of(&self.account)?,
            };
            self.users.insert(Node::new(payer, user)?, payer);
        }
        self.socks.insert(sock, member.id());
        self.members = self.members.saturating_add(1);
        self.sweep();
        Ok(())
    }

    /// A socket whose bindings have gone is no member any more.
    ///
    /// It is there until nobody waits for it.
    pub(super) fn leave(&mut self, member: &M) {
        if self.socks.get(member.id()).is_none() {
            return;
        }
        self.members = self.members.saturating_sub(1);
        let payer = u64::from(member.payer().id());
        let Some(user) = self.users.get_mut(payer) else {
            return;
        };
        user.sockets = user.sockets.saturating_sub(1);
        if user.is_gone() {
            drop(self.users.remove(payer));
        }
        self.sweep();
    }

    /// Forgets users who left before their last bytes came back, which happens under no lock of the bus.
    ///
    /// Each socket that comes or goes looks at two users, so that there are never many of them.
    fn sweep(&mut self) {
        for _ in 0..2 {
            let next = self.users.after(self.swept);
            let next = next.map(|(payer, user)| (payer, user.is_gone()));
            self.swept = next.map(|(payer, _)| payer);
            if let Some((payer, true)) = next {
                drop(self.users.remove(payer));
            }
        }
    }

    /// For whom the bus counts that has counted for this user: for the same while that one has a socket
    /// on it, then for the one who has had one for longest.
    pub fn counts_for(&self, payer: u32) -> u32 {
        if self
            .users
            .get(u64::from(payer))
            .is_some_and(|user| user.sockets > 0)
        {
            return payer;
        }
        let mut longest = None;
        self.users.for_each(|payer, user| {
            let earlier = longest.is_none_or(|(since, _)| user.since < since);
            if user.sockets > 0 && earlier {
                longest = Some((user.since, payer));
            }
        });
        longest.map_or(payer, |(_, payer)| payer as u32)
    }

    /// Holds so many of the bus's bytes for a user.
    ///
    /// The owner may take all; others only while they have, with these, no more than is left then.
    pub(super) fn charge(&self, member: &M, bytes: usize) -> Option<Charge> {
        let user = self.users.get(u64::from(member.payer().id()))?;
        let charge = Charge::none(&user.account);
        self.grow(member, &charge, bytes).then_some(charge)
    }

    /// Holds so many more.
    pub(super) fn grow(&self, member: &M, charge: &Charge, bytes: usize) -> bool {
        let Some(user) = self.users.get(u64::from(member.payer().id())) else {
            return false;
        };
        let has = user.account.used().saturating_add(bytes as u64);
        let left = self.account.left().saturating_sub(bytes as u64);
        if bytes > 0 && member.user() != self.owner && has > left {
            return false;
        }
        charge.grow(bytes)
    }

    /// Whose bus it is.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Says whose bus it is, where that is known only after it was made.
    pub fn set_owner(&mut self, owner: u32) {
        self.owner = owner;
    }

    /// Largest payload.
    pub fn max_msg(&self) -> u32 {
        self.max_msg
    }

    /// Sets the largest payload of later messages.
    pub fn set_max_msg(&mut self, bytes: u32) {
        self.max_msg = bytes;
    }

    /// The bus's bytes.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Sockets on the bus.
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Bindings, identical ones counted one by one.
    pub fn bindings(&self) -> u32 {
        self.bindings
    }

    /// Peer id of who would answer for a name, 0 for nobody.
    pub fn replier_for(&self, name: &[u8]) -> u64 {
        self.replier(name).map_or(0, |r| r.member.id())
    }

    /// The socket, which must be on the bus.
    pub(super) fn sock_mut(&mut self, member: &M) -> Result<&mut Sock<M>, Error> {
        self.socks.get_mut(member.id()).ok_or(Error::NotConn)
    }

    /// Who answers for a name.
    pub(super) fn replier(&self, name: &[u8]) -> Option<&Replier<M>> {
        self.routes.replier(name, answers)
    }

    /// The replier binding of this very pattern.
    pub(super) fn same_replier(&self, pattern: &Pattern<'_>) -> Option<&Replier<M>> {
        let same = self.routes.same_replier(pattern);
        same.filter(|replier| answers(&replier.member))
    }

    /// Counts a binding more, or one less; `like_it` says whether the socket has others like it.
    pub(super) fn count(
        &mut self,
        member: &M,
        pattern: &Pattern<'_>,
        kind: Kind,
        more: bool,
        like_it: bool,
    ) {
        let apply = |n: &mut u32| {
            *n = match more {
                true => n.saturating_add(1),
                false => n.saturating_sub(1),
            }
        };
        // Whether it is the first of a socket, or was the last.
        let turns = |n: &mut u32| {
            let none = *n == 0;
            apply(n);
            none != (*n == 0)
        };
        apply(&mut self.bindings);
        let mut wide = false;
        if let Some(sock) = self.socks.get_mut(member.id()) {
            apply(kind.of(&mut sock.counts));
            let listens = kind == Kind::Listener;
            let hears = listens && !like_it && pattern.matches(message::BIND_EVENT);
            if hears && turns(&mut sock.event_bindings) {
                apply(&mut self.events.listeners);
            }
            wide = listens && pattern.is_wide() && turns(&mut sock.wide);
        }
        if let Some(user) = self.users.get_mut(u64::from(member.payer().id())) {
            apply(&mut user.bindings);
            if wide {
                apply(&mut user.wide);
            }
        }
    }

    /// Lets the replier bindings of a socket go, or all: from now on they count no more.
    ///
    /// They are left in the queue, for [`Bus::settle_step`] to take them out of the routes.
    pub(super) fn part(&mut self, member: &M, repliers_only: bool) {
        let Some(sock) = self.socks.get_mut(member.id()) else {
            return;
        };
        let replies = core::mem::take(&mut sock.replies);
        let mut gone = core::mem::take(Kind::Replier.of(&mut sock.counts));
        let mut listens = Tree::new();
        let mut wide = 0;
        if !repliers_only {
            listens = core::mem::take(&mut sock.listens);
            gone = gone.saturating_add(core::mem::take(Kind::Listener.of(&mut sock.counts)));
            wide = core::mem::take(&mut sock.wide).min(1);
            let hears = core::mem::take(&mut sock.event_bindings).min(1);
            self.events.listeners = self.events.listeners.saturating_sub(hears);
        }
        member.with(|queue| queue.part(listens, replies));
        self.bindings = self.bindings.saturating_sub(gone);
        if let Some(user) = self.users.get_mut(u64::from(member.payer().id())) {
            user.bindings = user.bindings.saturating_sub(gone);
            user.wide = user.wide.saturating_sub(wide);
        }
    }
}

/// Whether the replier bindings of a socket count.
pub(super) fn answers<M: Member>(member: &M) -> bool {
    !member.with(|queue| queue.read_shut() || queue.write_shut())
}
