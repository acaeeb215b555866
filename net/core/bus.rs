// SPDX-License-Identifier: GPL-2.0

//! The bus: its sockets, their bindings, and what its users may have of it.
//!
//! Whoever has a `&mut` [`Bus`] holds the bus lock, which is a spinlock: nobody sleeps with it, and
//! no hold is longer than [`STEP`] copies of a message, or as many bindings. (On the plain way of a
//! message there are four times as many copies, which take as long.) What takes longer goes on in
//! another hold: see [`super::fanout`] for a message to many, [`super::close`] for what a
//! socket leaves.
//!
//! The routes may hold bindings of sockets that have gone, which nobody must see: what is looked up
//! there is held against the state of its socket.

use super::account::Account;
use super::account::Charge;
use super::error::Error;
use super::hash::Key;
use super::limits::Limits;
use super::limits::BEFORE_FIRST;
use super::mem::AllocError;
use super::mem::Arc;
use super::mem::Map;
use super::mem::Node;
use super::mem::Vec;
use super::message;
use super::name::Name;
use super::name::Pattern;
use super::name::Tail;
use super::queue::Member;
use super::queue::Queue;
use super::reports::Events;
use super::routes::Place;
use super::routes::Replier;
use super::routes::Routes;

/// Largest payload unless the owner sets something else.
pub const MAX_MSG: u32 = 64 << 10;
/// Copies of a message, or bindings, of one hold of the bus lock; few where interleavings are
/// tried.
pub const STEP: usize = match cfg!(CONFIG_KBUS_SHORT_STEPS) {
    true => 4,
    false => 64,
};

/// A bus behind its lock.
pub trait Shared {
    /// Its sockets.
    type Member: Member;

    /// Does something with the bus while it is locked. Not to be nested.
    fn locked<R>(&self, f: impl FnOnce(&mut Bus<Self::Member>) -> R) -> R;

    /// The id of the message that is being sent. Called with the bus locked, when nothing can fail
    /// any more.
    fn next_id(&self) -> u64;
}

/// What kind of binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A listener.
    Listener,
    /// A replier.
    Replier,
}

/// A binding as its socket remembers it; its key is the hash of its pattern and its number.
///
/// The routes say which replier binding has a pattern. So those have [`IN_ORDER`] for the hash, and
/// stand in the order in which they were made.
pub struct Binding {
    pub(super) text: Vec<u8>,
    /// Identical ones are counted one by one.
    pub(super) counted: Charge,
}

impl Binding {
    /// How many identical ones there are.
    pub(super) fn count(&self) -> u32 {
        self.counted.amount() as u32
    }
}

/// In the place of a hash.
pub(super) const IN_ORDER: u64 = 0;

/// The bindings of a socket of one kind.
pub(super) type Bindings = Map<(u64, u64), Binding>;

/// A socket on the bus; its key is the peer id.
pub(super) struct Sock {
    pub(super) listens: Bindings,
    pub(super) replies: Bindings,
    /// Listener bindings at or above `$.%`, identical ones counted once, and the socket's place
    /// among those that have such.
    pub(super) wide: (u32, Option<Charge>),
    /// Listener bindings that match the name of bind events, identical ones counted once.
    pub(super) hears: u32,
    /// Whether it has switched the events on.
    pub(super) reports: bool,
}

/// What a user has on the bus; its key is the payer's number.
pub(super) struct User {
    sockets: u32,
    /// Peer id of the first socket since there was none: later ones are greater.
    since: u64,
    pub(super) bindings: Arc<Account>,
    pub(super) wide: Arc<Account>,
    pub(super) waits: Arc<Account>,
    /// The part of the bus's bytes that the user has.
    pub(super) bytes: Arc<Account>,
}

impl User {
    /// Whether nothing is to be remembered. Who comes back finds what it still has: leaving is no
    /// way to a new share.
    fn is_gone(&self) -> bool {
        let all = [&self.bindings, &self.wide, &self.waits, &self.bytes];
        self.sockets == 0 && all.iter().all(|account| account.used() == 0)
    }
}

/// A bus.
pub struct Bus<M: Member> {
    pub(super) routes: Routes<M>,
    pub(super) socks: Map<u64, Sock>,
    /// Those with sockets, or with something that is left of them.
    users: Map<u64, User>,
    /// The last of them that was looked at whether it is gone.
    swept: u64,
    pub(super) bytes: Arc<Account>,
    bindings: Arc<Account>,
    pub(super) limits: &'static Limits,
    pub(super) owner: u32,
    pub(super) max_msg: u32,
    members: u32,
    pub(super) last_binding: u64,
    pub(super) events: Events,
}

impl<M: Member> Bus<M> {
    /// Makes a bus that belongs to `owner`.
    ///
    /// The key must be a random one that no user knows.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn new(owner: u32, limits: &'static Limits, key: Key) -> Result<Self, AllocError> {
        Ok(Bus {
            routes: Routes::new(key),
            socks: Map::new(),
            users: Map::new(),
            swept: 0,
            bytes: Account::new(limits.bus_bytes.get())?,
            bindings: Account::unlimited()?,
            limits,
            owner,
            max_msg: MAX_MSG,
            members: 0,
            last_binding: BEFORE_FIRST,
            events: Events::new(),
        })
    }

    /// Puts a socket on the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Exist`] when it is on it already, [`Error::NoMem`].
    pub fn join(&mut self, member: &M) -> Result<(), Error> {
        let payer = member.payer().id();
        if self.socks.get(&member.id()).is_some() {
            return Err(Error::Exist);
        }
        let sock = Sock {
            listens: Map::new(),
            replies: Map::new(),
            wide: (0, None),
            hears: 0,
            reports: false,
        };
        let sock = Node::new(member.id(), sock)?;
        if self.users.get(&payer).is_none() {
            let limits = self.limits;
            let user = User {
                sockets: 0,
                since: 0,
                bindings: Account::part_of(&self.bindings, Some(&limits.user_bindings))?,
                wide: Account::of_machine(&limits.user_wide, None)?,
                waits: Account::of_machine(&limits.user_waits, None)?,
                bytes: Account::part_of(&self.bytes, None)?,
            };
            drop(self.users.insert(Node::new(payer, user)?));
        }
        if let Some(user) = self.users.get_mut(&payer) {
            if user.sockets == 0 {
                user.since = member.id();
            }
            user.sockets = user.sockets.saturating_add(1);
        }
        drop(self.socks.insert(sock));
        member.with(Queue::join);
        self.members = self.members.saturating_add(1);
        self.sweep();
        Ok(())
    }

    /// Takes a socket off the bus; what it had is for the caller to drop when it holds no lock.
    pub(super) fn leave(&mut self, member: &M) -> Option<Sock> {
        let (_, sock) = self.socks.remove(&member.id())?.into_pair();
        self.members = self.members.saturating_sub(1);
        if let Some(user) = self.users.get_mut(&member.payer().id()) {
            user.sockets = user.sockets.saturating_sub(1);
        }
        self.sweep();
        Some(sock)
    }

    /// Forgets users who have gone. The last of what they had comes back under no lock of the bus.
    ///
    /// Each socket that comes or goes looks at two users, so that there are never many of them.
    fn sweep(&mut self) {
        for _ in 0..2 {
            let mut next = None;
            let from = self.swept.wrapping_add(1);
            self.users.each_from(&from, |payer, user| {
                next = Some((*payer, user.is_gone()));
                false
            });
            self.swept = next.map_or(0, |(payer, _)| payer);
            if let Some((payer, true)) = next {
                drop(self.users.remove(&payer));
            }
        }
    }

    /// For whom the bus counts that has counted for this user: for the same while that one has a
    /// socket on it, then for the one who has had one for longest.
    pub fn counts_for(&self, payer: u64) -> u64 {
        if self.users.get(&payer).is_some_and(|user| user.sockets > 0) {
            return payer;
        }
        let mut longest = None;
        self.users.each_from(&0, |payer, user| {
            let earlier = longest.is_none_or(|(since, _)| user.since < since);
            if user.sockets > 0 && earlier {
                longest = Some((user.since, *payer));
            }
            true
        });
        longest.map_or(payer, |(_, payer)| payer)
    }

    /// What the user of a socket has on the bus.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`].
    pub(super) fn user(&self, member: &M) -> Result<&User, Error> {
        self.users.get(&member.payer().id()).ok_or(Error::NotConn)
    }

    /// Takes so many of the bus's bytes for a user, beyond what `charge` holds already.
    ///
    /// The owner may take all; others only while they have, with these, no more than is left then.
    pub(super) fn grow(&self, member: &M, charge: &mut Charge, more: u64) -> bool {
        let Ok(user) = self.user(member) else {
            return false;
        };
        self.may_take(member, user, more) && charge.grow(more)
    }

    /// Whether a user may have so many more of the bus's bytes, as far as there are any.
    fn may_take(&self, member: &M, user: &User, more: u64) -> bool {
        if more == 0 || member.user() == self.owner {
            return true;
        }
        let has = user.bytes.used().saturating_add(more);
        has <= self.bytes.left().saturating_sub(more)
    }

    /// Takes so many of the bus's bytes for a user.
    pub(super) fn charge(&self, member: &M, bytes: u64) -> Option<Charge> {
        let user = self.user(member).ok()?;
        let may = self.may_take(member, user, bytes);
        may.then(|| Charge::new(&user.bytes, bytes)).flatten()
    }

    /// Notes that a send or binding of a socket's user waits, for as long as the result lives.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`], [`Error::DQuot`] when too many of the user's wait already.
    pub fn begin_wait(&mut self, member: &M) -> Result<Charge, Error> {
        Charge::new(&self.user(member)?.waits, 1).ok_or(Error::DQuot)
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
    pub fn bytes(&self) -> &Arc<Account> {
        &self.bytes
    }

    /// Sockets on the bus.
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Bindings, identical ones counted one by one.
    pub fn bindings(&self) -> u32 {
        self.bindings.used() as u32
    }

    /// How many users are remembered.
    pub fn known_users(&self) -> usize {
        let mut count: usize = 0;
        self.users.each_from(&0, |_, _| {
            count = count.saturating_add(1);
            true
        });
        count
    }

    /// Peer id of who would answer for a name, 0 for nobody.
    pub fn replier_for(&self, name: Name<'_>) -> u64 {
        self.replier(name).map_or(0, |replier| replier.member.id())
    }

    /// The socket, which must be on the bus.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`].
    pub(super) fn sock(&self, member: &M) -> Result<&Sock, Error> {
        self.socks.get(&member.id()).ok_or(Error::NotConn)
    }

    /// As [`Bus::sock`], to be changed.
    ///
    /// # Errors
    ///
    /// [`Error::NotConn`].
    pub(super) fn sock_mut(&mut self, member: &M) -> Result<&mut Sock, Error> {
        self.socks.get_mut(&member.id()).ok_or(Error::NotConn)
    }

    /// Who answers for a name.
    pub(super) fn replier(&self, name: Name<'_>) -> Option<&Replier<M>> {
        self.routes.replier(name, answers)
    }

    /// The replier binding of this very pattern.
    pub(super) fn same_replier(&self, pattern: &Pattern<'_>) -> Option<&Replier<M>> {
        let same = self.routes.same_replier(pattern);
        same.filter(|replier| answers(&replier.member))
    }

    /// The binding of a socket that has this pattern, by number.
    pub(super) fn own_binding(bindings: &Bindings, hash: u64, text: &[u8]) -> Option<u64> {
        let mut found = None;
        bindings.each_from(&(hash, 0), |(of, binding), held| {
            if *of == hash && *held.text == *text {
                found = Some(*binding);
            }
            *of == hash && found.is_none()
        });
        found
    }

    /// At which of the places of a name a socket listens, for those that want each message once.
    pub(super) fn heard(&self, member: &M, name: Name<'_>) -> Heard {
        let mut all = Heard {
            first: None,
            count: 0,
            exact: false,
        };
        let Ok(sock) = self.sock(member) else {
            return all;
        };
        self.routes.each_place(name, |place| {
            let hash = self.routes.place_hash(place);
            let mut heard = false;
            sock.listens.each_from(&(hash, 0), |(of, _), held| {
                heard = *of == hash && matches(&held.text, name.text());
                *of == hash && !heard
            });
            if heard {
                all.first = all.first.or(Some(place.at));
                all.count = all.count.saturating_add(1);
                all.exact |= place.tail == Tail::Exact;
            }
            true
        });
        all
    }

    /// Calls `f` for each place of the listener bindings that match a name until it says false.
    pub(super) fn each_place<'a>(&'a self, name: Name<'_>, f: impl FnMut(&Place<'a, M>) -> bool) {
        self.routes.each_place(name, f);
    }

    /// Whether nobody is in the routes, for tests.
    #[cfg(not(CONFIG_NET))]
    pub fn has_no_routes(&self) -> bool {
        self.routes.is_empty()
    }
}

/// Where a socket listens to a name.
pub(super) struct Heard {
    /// The first place, by [`Place::at`].
    pub(super) first: Option<usize>,
    /// How many there are.
    pub(super) count: u32,
    /// Whether it listens to the very name.
    pub(super) exact: bool,
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(name))
}

/// Whether a pattern matches the name of bind events.
pub(super) fn hears_events(pattern: &Pattern<'_>) -> bool {
    pattern.matches(message::BIND_EVENT)
}

/// Whether the replier bindings of a socket count.
pub(super) fn answers<M: Member>(member: &M) -> bool {
    !member.with(|queue| queue.read_shut() || queue.write_shut())
}
