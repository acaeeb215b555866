// SPDX-License-Identifier: GPL-2.0

//! Looking at a bus from outside, one thing at a time.
//!
//! A bus may hold many thousands of bindings, and nobody may be kept waiting while they are listed:
//! so each call finds one, from where the last one was, and the lock can be given up in between.

use super::bus::Bus;
use super::bus::Kind;
use super::queue::Member;

/// A binding as it is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Where it is among those of its socket, for [`Bus::binding_after`].
    pub at: (u64, u64),
    /// What kind it is.
    pub kind: Kind,
    /// The name, perhaps with a wildcard.
    pub text: &'a [u8],
    /// How many there are like it.
    pub count: u32,
}

impl<M: Member> Bus<M> {
    /// The binding of a socket that comes after the one at `last`, or the first of all.
    ///
    /// In an order that is always the same: one that stays is met once by who goes from each to the
    /// next, whatever comes and goes meanwhile.
    pub fn binding_after(&self, peer: u64, last: Option<(u64, u64)>) -> Option<Seen<'_>> {
        let sock = self.socks.get(&peer)?;
        let from = last.map_or((0, 0), |(hash, binding)| (hash, binding.saturating_add(1)));
        let both = [
            (&sock.listens, Kind::Listener),
            (&sock.replies, Kind::Replier),
        ];
        // Both have their bindings in the same order.
        let firsts = both.into_iter().filter_map(|(bindings, kind)| {
            let (at, held) = bindings.first_from(&from)?;
            Some((at, kind, held))
        });
        let (at, kind, held) = firsts.min_by_key(|(at, ..)| *at)?;
        Some(Seen {
            at,
            kind,
            text: &held.text,
            count: held.count(),
        })
    }
}
