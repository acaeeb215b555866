// SPDX-License-Identifier: GPL-2.0

//! Looking at a bus from outside, one thing at a time.
//!
//! A bus may hold many thousands of bindings, and nobody may be kept waiting while they are listed: so
//! each call finds one, from where the last one was, and the lock can be given up in between.

use super::bus::Bus;
use super::bus::Kind;
use super::bus::Member;

/// A binding as it is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its number, for [`Bus::binding_after`].
    pub id: u64,
    /// What kind it is.
    pub kind: Kind,
    /// The name, perhaps with a wildcard.
    pub text: &'a [u8],
    /// How many there are like it.
    pub count: u32,
}

impl<M: Member> Bus<M> {
    /// The binding of a socket that comes after the one of number `last`, or the first of all.
    ///
    /// In an order that is always the same: one that stays is met once by who goes from each to the
    /// next, whatever comes and goes meanwhile.
    pub fn binding_after(&self, peer: u64, last: Option<u64>) -> Option<Seen<'_>> {
        let sock = self.socks.get(peer)?;
        let both = [sock.listens.after(last), sock.replies.after(last)];
        // Both trees have their numbers in the same order.
        let (id, held) = both
            .into_iter()
            .flatten()
            .min_by_key(|(id, _)| id.reverse_bits())?;
        Some(Seen {
            id,
            kind: held.kind,
            text: &held.text,
            count: held.count,
        })
    }

    /// Whether nobody is in the routes, for tests.
    #[cfg(not(CONFIG_NET))]
    pub fn has_no_routes(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether nothing is to be tried, for tests.
    #[cfg(not(CONFIG_NET))]
    pub fn nobody_is_to_go_on(&self) -> bool {
        self.todo.is_empty()
    }

    /// How many users are remembered, for tests.
    #[cfg(not(CONFIG_NET))]
    pub fn known_users(&self) -> usize {
        let mut count: usize = 0;
        self.users.for_each(|_, _| count = count.saturating_add(1));
        count
    }

    /// Whether no send and no binding waits.
    pub fn is_idle(&self) -> bool {
        self.waits.is_empty() && self.todo.is_empty()
    }
}
