// SPDX-License-Identifier: GPL-2.0

//! Who gets a message of a given name: a hash table of the prefixes that patterns have.
//!
//! A look-up is one step for each word of the name, plus one for each match, and a change is one
//! step, however many bindings there are.

use super::hash::Key;
use super::mem;
use super::mem::AllocError;
use super::mem::Map;
use super::mem::Node;
use super::mem::Vec;
use super::name;
use super::name::Name;
use super::name::Pattern;
use super::name::Tail;
use super::table::Table;

/// All identical listener bindings of one socket; their key is the number of the first of them.
pub struct Listener<M> {
    /// The socket.
    pub member: M,
    /// How many identical ones there are.
    pub count: u32,
}

/// A replier binding.
pub struct Replier<M> {
    /// The socket.
    pub member: M,
    /// Number of the binding.
    pub binding: u64,
}

/// The bindings of one pattern.
struct Ends<M> {
    /// In the order in which they were bound: whoever goes through them in steps meets the new ones
    /// last.
    listeners: Map<u64, Listener<M>>,
    replier: Option<Replier<M>>,
}

impl<M> Ends<M> {
    fn new() -> Self {
        Ends {
            listeners: Map::new(),
            replier: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.replier.is_none()
    }
}

/// The patterns that have one prefix.
struct Prefix<M> {
    text: Vec<u8>,
    exact: Ends<M>,
    one: Ends<M>,
    any: Ends<M>,
}

impl<M> Prefix<M> {
    fn new(text: Vec<u8>) -> Self {
        Prefix {
            text,
            exact: Ends::new(),
            one: Ends::new(),
            any: Ends::new(),
        }
    }

    fn ends(&self, tail: Tail) -> &Ends<M> {
        match tail {
            Tail::Exact => &self.exact,
            Tail::One => &self.one,
            Tail::Any => &self.any,
        }
    }

    fn ends_mut(&mut self, tail: Tail) -> &mut Ends<M> {
        match tail {
            Tail::Exact => &mut self.exact,
            Tail::One => &mut self.one,
            Tail::Any => &mut self.any,
        }
    }

    fn has_ends(&self) -> bool {
        !(self.exact.is_empty() && self.one.is_empty() && self.any.is_empty())
    }
}

/// The listener bindings of one pattern that matches a name.
pub struct Place<'a, M> {
    ends: &'a Ends<M>,
    /// Where it is among those of its name, whatever patterns come and go.
    pub at: usize,
    /// How it matches.
    pub tail: Tail,
    /// The hash of the prefix.
    hash: u64,
}

impl<'a, M> Place<'a, M> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.listeners.is_empty()
    }

    /// All its listener bindings with their numbers.
    pub fn listeners(&self) -> impl Iterator<Item = (u64, &'a Listener<M>)> {
        let listeners = self.ends.listeners.iter();
        listeners.map(|(binding, listener)| (*binding, listener))
    }

    /// Calls `f` for each listener binding of this number or a later one until it says false; says
    /// whether it never did.
    pub fn listeners_from(
        &self,
        binding: u64,
        mut f: impl FnMut(u64, &Listener<M>) -> bool,
    ) -> bool {
        let listeners = &self.ends.listeners;
        listeners.each_from(&binding, |binding, listener| f(*binding, listener))
    }
}

/// As many as [`tails`] finds at most.
const MOST_TAILS: usize = 2;

/// What a pattern may end in to match when so many words of the name follow its prefix.
fn tails(left: usize) -> &'static [Tail] {
    match left {
        0 => &[Tail::Exact],
        1 => &[Tail::Any, Tail::One],
        _ => &[Tail::Any],
    }
}

/// A prefix of a text that some pattern has.
struct Step<'a, M> {
    hash: u64,
    node: &'a Prefix<M>,
    /// Words of the prefix.
    depth: usize,
    /// Words of the text behind it.
    left: usize,
}

/// All bindings of a bus.
pub struct Routes<M> {
    key: Key,
    /// Of the empty prefix.
    root: Prefix<M>,
    /// Of all others that a pattern has.
    nodes: Table<Prefix<M>>,
}

impl<M> Routes<M> {
    /// No bindings. The key is a secret: who knows it can make look-ups slow.
    pub fn new(key: Key) -> Self {
        Routes {
            key,
            root: Prefix::new(Vec::new()),
            nodes: Table::new(),
        }
    }

    /// Whether there is not a single node left.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && !self.root.has_ends()
    }

    /// Calls `f` for each place of the listener bindings that match a name, in the order of
    /// [`Place::at`], until it says false.
    pub fn each_place<'a>(&'a self, name: Name<'_>, mut f: impl FnMut(&Place<'a, M>) -> bool) {
        self.each_step(name.body(), name.words(), Some(name), |step| {
            let first = step.depth.saturating_mul(MOST_TAILS);
            for (nth, tail) in tails(step.left).iter().enumerate() {
                let place = Place {
                    ends: step.node.ends(*tail),
                    at: first.saturating_add(nth),
                    tail: *tail,
                    hash: step.hash,
                };
                if !f(&place) {
                    return false;
                }
            }
            true
        });
    }

    /// The hash of the pattern that a place is of, as [`Routes::pattern_hash`] has it.
    pub fn place_hash(&self, place: &Place<'_, M>) -> u64 {
        self.with_tail(place.hash, place.tail)
    }

    /// The hash of a pattern, of that of its prefix.
    pub fn pattern_hash(&self, pattern: &Pattern<'_>, prefix: u64) -> u64 {
        self.with_tail(prefix, pattern.tail())
    }

    /// No word has these bytes.
    fn with_tail(&self, hash: u64, tail: Tail) -> u64 {
        match tail {
            Tail::Exact => hash,
            Tail::One => self.key.hash(hash, b"%"),
            Tail::Any => self.key.hash(hash, b"*"),
        }
    }

    /// Who answers for a name: exact before `%` before the longest `*`.
    ///
    /// A wildcard never answers for a name of the bus's own, and only those do of which `counts`
    /// says so.
    pub fn replier(&self, name: Name<'_>, counts: impl Fn(&M) -> bool) -> Option<&Replier<M>> {
        if name::is_bus_own(name.text()) {
            return None;
        }
        // Nearly always somebody answers for this very name, who comes before all others.
        let exact = name.prefix(name.words());
        let exact = exact.and_then(|(hash, _)| self.node(hash, name.body()));
        let exact = exact.and_then(|node| node.ends(Tail::Exact).replier.as_ref());
        if let Some(replier) = exact.filter(|r| counts(&r.member)) {
            return Some(replier);
        }
        let mut best = None;
        self.each_step(name.body(), name.words(), Some(name), |step| {
            for tail in tails(step.left) {
                let replier = step.node.ends(*tail).replier.as_ref();
                best = replier.filter(|r| counts(&r.member)).or(best);
            }
            true
        });
        best
    }

    /// The replier binding of this very pattern.
    pub fn same_replier(&self, pattern: &Pattern<'_>) -> Option<&Replier<M>> {
        let node = match pattern.prefix() {
            b"" => &self.root,
            prefix => self.node(self.prefix_hash(pattern), prefix)?,
        };
        node.ends(pattern.tail()).replier.as_ref()
    }

    /// The wildcard replier that a new replier binding of this pattern would take names from, and
    /// how many literal words it has before its wildcard.
    ///
    /// There is at most one: the one that answers now for the names that the new one would, of
    /// those of which `counts` says so.
    pub fn loser(&self, pattern: &Pattern<'_>, counts: impl Fn(&M) -> bool) -> Option<(&M, usize)> {
        let mut best = None;
        self.each_step(pattern.prefix(), pattern.words(), None, |step| {
            let tails: &[Tail] = match (step.left, pattern.tail()) {
                (1.., Tail::Exact) => tails(step.left),
                (1.., _) | (0, Tail::One) => &[Tail::Any],
                (0, _) => &[],
            };
            for tail in tails {
                let member = step.node.ends(*tail).replier.as_ref().map(|r| &r.member);
                let member = member.filter(|member| counts(member));
                best = member.map(|member| (member, step.depth)).or(best);
            }
            true
        });
        best
    }

    /// Adds one more of a listener binding that the socket has already. As in what follows,
    /// `prefix` is [`Routes::prefix_hash`].
    pub fn listen_again(&mut self, binding: u64, pattern: &Pattern<'_>, prefix: u64) {
        let ends = self.ends_mut(prefix, pattern);
        if let Some(listener) = ends.and_then(|ends| ends.listeners.get_mut(&binding)) {
            listener.count = listener.count.saturating_add(1);
        }
    }

    /// Adds a listener binding that is unlike all others of its socket.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing has changed.
    pub fn listen(
        &mut self,
        new: Node<u64, Listener<M>>,
        pattern: &Pattern<'_>,
        prefix: u64,
    ) -> Result<(), AllocError> {
        let ends = self.make(prefix, pattern)?;
        drop(ends.listeners.insert(new));
        Ok(())
    }

    /// Removes one of identical listener bindings; returns how many are left.
    pub fn unlisten(&mut self, binding: u64, pattern: &Pattern<'_>, prefix: u64) -> u32 {
        let ends = self.ends_mut(prefix, pattern);
        let Some(listener) = ends.and_then(|ends| ends.listeners.get_mut(&binding)) else {
            return 0;
        };
        listener.count = listener.count.saturating_sub(1);
        let left = listener.count;
        if left == 0 {
            self.forget_listener(binding, pattern, prefix);
        }
        left
    }

    /// Removes a listener binding with all that are identical.
    pub fn forget_listener(&mut self, binding: u64, pattern: &Pattern<'_>, prefix: u64) {
        if let Some(ends) = self.ends_mut(prefix, pattern) {
            drop(ends.listeners.remove(&binding));
            if ends.is_empty() {
                self.prune(prefix, pattern);
            }
        }
    }

    /// Makes the memory for a binding of this pattern, which is kept until it is pruned.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn prepare(&mut self, pattern: &Pattern<'_>) -> Result<(), AllocError> {
        self.make(self.prefix_hash(pattern), pattern).map(|_| ())
    }

    /// Gives that memory back if there is no binding.
    pub fn prune_unused(&mut self, pattern: &Pattern<'_>) {
        self.prune(self.prefix_hash(pattern), pattern);
    }

    /// Adds a replier binding; one like it that does not count any more is replaced.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing has changed.
    pub fn bind_replier(
        &mut self,
        new: Replier<M>,
        pattern: &Pattern<'_>,
    ) -> Result<(), AllocError> {
        self.make(self.prefix_hash(pattern), pattern)?.replier = Some(new);
        Ok(())
    }

    /// Removes the replier binding of this id, if it has not been replaced.
    pub fn unbind_replier(&mut self, pattern: &Pattern<'_>, binding: u64) -> Option<Replier<M>> {
        let hash = self.prefix_hash(pattern);
        let replier = &mut self.ends_mut(hash, pattern)?.replier;
        let replier = replier.take_if(|replier| replier.binding == binding)?;
        self.prune(hash, pattern);
        Some(replier)
    }

    /// Calls `f` for each prefix of a text that some pattern has, from the empty one to all of it,
    /// until it says false. If it is that of a name, its prefixes may be known.
    fn each_step<'a>(
        &'a self,
        text: &[u8],
        words: usize,
        name: Option<Name<'_>>,
        mut f: impl FnMut(Step<'a, M>) -> bool,
    ) {
        let (mut hash, mut end) = (0, 0usize);
        let mut node = Some(&self.root);
        for depth in 0..=words {
            if depth > 0 {
                (hash, end) = match name.and_then(|name| name.prefix(depth)) {
                    Some(known) => known,
                    None => {
                        // Behind the dot.
                        let from = end.saturating_add(usize::from(depth > 1));
                        let word = word_at(text, from);
                        let end = from.saturating_add(word.len());
                        (self.key.hash(hash, word), end)
                    }
                };
                node = self.node(hash, text.get(..end).unwrap_or(text));
            }
            let left = words.saturating_sub(depth);
            let step = node.map(|node| Step {
                hash,
                node,
                depth,
                left,
            });
            if step.is_some_and(|step| !f(step)) {
                return;
            }
        }
    }

    fn node(&self, hash: u64, prefix: &[u8]) -> Option<&Prefix<M>> {
        self.nodes.get(hash, |node| *node.text == *prefix)
    }

    /// The hash of a pattern's prefix.
    pub fn prefix_hash(&self, pattern: &Pattern<'_>) -> u64 {
        let (mut hash, mut end) = (0, 0);
        for _ in 0..pattern.words() {
            let word = word_at(pattern.prefix(), end);
            hash = self.key.hash(hash, word);
            end = end.saturating_add(word.len()).saturating_add(1);
        }
        hash
    }

    fn ends_mut(&mut self, hash: u64, pattern: &Pattern<'_>) -> Option<&mut Ends<M>> {
        let node = match pattern.prefix() {
            b"" => &mut self.root,
            prefix => self.nodes.get_mut(hash, |node| *node.text == *prefix)?,
        };
        Some(node.ends_mut(pattern.tail()))
    }

    /// As [`Routes::ends_mut`], and makes a node that is missing.
    fn make(&mut self, hash: u64, pattern: &Pattern<'_>) -> Result<&mut Ends<M>, AllocError> {
        if self.ends_mut(hash, pattern).is_none() {
            let node = Prefix::new(mem::try_copy(pattern.prefix())?);
            self.nodes.insert(hash, node)?;
        }
        self.ends_mut(hash, pattern).ok_or(AllocError)
    }

    /// Removes a pattern's node if nobody needs it.
    fn prune(&mut self, hash: u64, pattern: &Pattern<'_>) {
        let prefix = pattern.prefix();
        let is_left = |node: &Prefix<M>| *node.text == *prefix && !node.has_ends();
        drop(self.nodes.remove(hash, is_left));
    }
}

/// The word that begins there.
fn word_at(text: &[u8], at: usize) -> &[u8] {
    let rest = text.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'.');
    end.and_then(|end| rest.get(..end)).unwrap_or(rest)
}
