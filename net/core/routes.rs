// SPDX-License-Identifier: GPL-2.0

//! Who gets a message of a given name: a hash table of the prefixes that patterns have.
//!
//! A look-up is one step for each word of the name, plus one for each match, and a change is one
//! step, however many bindings there are.

use super::error::Error;
use super::hash::Key;
use super::mem;
use super::mem::AllocError;
use super::mem::Vec;
use super::name;
use super::name::Pattern;
use super::name::Tail;
use super::table::Table;

/// All identical listener bindings of one socket.
pub struct Listener<M> {
    /// The socket's peer id.
    pub peer: u64,
    /// The socket.
    pub member: M,
    /// Id of the binding.
    pub binding: u64,
    /// How many identical ones there are.
    pub count: u32,
}

/// A replier binding.
pub struct Replier<M> {
    /// The socket.
    pub member: M,
    /// Id of the binding.
    pub binding: u64,
}

/// A wildcard replier that a new replier binding would take names away from.
pub struct Robbed<'a, M> {
    /// The one who loses names.
    pub member: &'a M,
    /// Literal words before its wildcard.
    pub depth: usize,
}

/// The bindings of one pattern.
struct Ends<M> {
    listeners: Vec<Listener<M>>,
    replier: Option<Replier<M>>,
}

impl<M> Ends<M> {
    fn new() -> Self {
        Ends {
            listeners: Vec::new(),
            replier: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.replier.is_none()
    }

    fn find(&self, peer: u64) -> Result<usize, usize> {
        self.listeners.binary_search_by(|l| l.peer.cmp(&peer))
    }
}

/// The patterns that have one prefix.
struct Node<M> {
    prefix: Vec<u8>,
    exact: Ends<M>,
    one: Ends<M>,
    any: Ends<M>,
}

impl<M> Node<M> {
    fn new(prefix: Vec<u8>) -> Self {
        Node {
            prefix,
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

/// What a pattern may end in to match when this much of the name follows its prefix.
fn tails(rest: &[u8]) -> &'static [Tail] {
    if rest.is_empty() {
        &[Tail::Exact]
    } else if rest.contains(&b'.') {
        &[Tail::Any]
    } else {
        &[Tail::Any, Tail::One]
    }
}

/// All bindings of a bus.
pub struct Routes<M> {
    key: Key,
    /// Of the empty prefix.
    root: Node<M>,
    /// Of all others that a pattern has.
    nodes: Table<Node<M>>,
}

impl<M> Routes<M> {
    /// No bindings. The key is a secret: who knows it can make look-ups slow.
    pub fn new(key: Key) -> Self {
        Routes {
            key,
            root: Node::new(Vec::new()),
            nodes: Table::new(),
        }
    }

    /// Whether there is not a single node left.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && !self.root.has_ends()
    }

    /// Calls `f` for each listener of a name, with the way it matches, and returns at how many
    /// places it looked.
    ///
    /// # Errors
    ///
    /// Those of `f`, at the first of them.
    pub fn listeners(
        &self,
        text: &[u8],
        mut f: impl FnMut(&Listener<M>, Tail) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut looked: usize = 0;
        for (node, rest) in self.way(name::body(text)?) {
            looked = looked.saturating_add(1);
            let Some(node) = node else {
                continue;
            };
            for tail in tails(rest) {
                let listeners = &node.ends(*tail).listeners;
                listeners.iter().try_for_each(|l| f(l, *tail))?;
            }
        }
        Ok(looked)
    }

    /// Who answers for a name: exact before `%` before the longest `*`.
    ///
    /// A wildcard never answers for a name of the bus's own, and only those do of which `counts` says so.
    pub fn replier(&self, text: &[u8], counts: impl Fn(&M) -> bool) -> Option<&Replier<M>> {
        if name::is_bus_own(text) {
            return None;
        }
        let mut best = None;
        for (node, rest) in self.way(name::body(text).ok()?) {
            let Some(node) = node else {
                continue;
            };
            for tail in tails(rest) {
                let replier = node.ends(*tail).replier.as_ref();
                best = replier.filter(|r| counts(&r.member)).or(best);
            }
        }
        best
    }

    /// The replier binding of this very pattern.
    pub fn same_replier(&self, pattern: &Pattern<'_>) -> Option<&Replier<M>> {
        let node = match pattern.prefix() {
            b"" => &self.root,
            prefix => self.node(self.hash(pattern), prefix)?,
        };
        node.ends(pattern.tail()).replier.as_ref()
    }

    /// The wildcard replier that a new replier binding of this pattern would take names from.
    ///
    /// There is at most one: the one that answers now for the names that the new one would, of those of
    /// which `counts` says so.
    pub fn robbed(
        &self,
        pattern: &Pattern<'_>,
        counts: impl Fn(&M) -> bool,
    ) -> Option<Robbed<'_, M>> {
        let mut best = None;
        for (depth, (node, rest)) in self.way(pattern.prefix()).enumerate() {
            let Some(node) = node else {
                continue;
            };
            let tails: &[Tail] = match (rest.is_empty(), pattern.tail()) {
                (false, Tail::Exact) => tails(rest),
                (false, _) | (true, Tail::One) => &[Tail::Any],
                (true, _) => &[],
            };
            for tail in tails {
                let member = node.ends(*tail).replier.as_ref().map(|r| &r.member);
                let member = member.filter(|member| counts(member));
                best = member.map(|member| Robbed { member, depth }).or(best);
            }
        }
        best
    }

    /// Adds one more of a listener binding that the socket has already.
    ///
    /// Returns the binding's id, or `None` when it has none like it.
    pub fn listen_again(&mut self, peer: u64, pattern: &Pattern<'_>) -> Option<u64> {
        let ends = self.ends_mut(self.hash(pattern), pattern)?;
        let at = ends.find(peer).ok()?;
        let listener = ends.listeners.get_mut(at)?;
        listener.count = listener.count.checked_add(1)?;
        Some(listener.binding)
    }

    /// Adds a listener binding that is unlike all others of its socket.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing has changed.
    pub fn listen(&mut self, new: Listener<M>, pattern: &Pattern<'_>) -> Result<(), AllocError> {
        let hash = self.hash(pattern);
        let ends = self.make(hash, pattern)?;
        let at = ends.find(new.peer).unwrap_or_else(|at| at);
        let added = mem::vec_insert(&mut ends.listeners, at, new);
        if added.is_err() {
            self.prune(hash, pattern);
        }
        added
    }

    /// Removes one listener binding; returns its id and how many like it are left.
    pub fn unlisten(&mut self, peer: u64, pattern: &Pattern<'_>) -> Option<(u64, u32)> {
        let hash = self.hash(pattern);
        let ends = self.ends_mut(hash, pattern)?;
        let at = ends.find(peer).ok()?;
        let listener = ends.listeners.get_mut(at)?;
        listener.count = listener.count.saturating_sub(1);
        let left = (listener.binding, listener.count);
        if left.1 == 0 {
            mem::vec_remove(&mut ends.listeners, at);
            self.prune(hash, pattern);
        }
        Some(left)
    }

    /// Removes a listener binding with all that are like it.
    pub fn forget_listener(&mut self, peer: u64, pattern: &Pattern<'_>) {
        let hash = self.hash(pattern);
        if let Some(ends) = self.ends_mut(hash, pattern) {
            if let Ok(at) = ends.find(peer) {
                mem::vec_remove(&mut ends.listeners, at);
                self.prune(hash, pattern);
            }
        }
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
        self.make(self.hash(pattern), pattern)?.replier = Some(new);
        Ok(())
    }

    /// Removes the replier binding of this id, if it has not been replaced.
    pub fn unbind_replier(&mut self, pattern: &Pattern<'_>, binding: u64) -> Option<Replier<M>> {
        let hash = self.hash(pattern);
        let replier = &mut self.ends_mut(hash, pattern)?.replier;
        let replier = replier.take_if(|replier| replier.binding == binding)?;
        self.prune(hash, pattern);
        Some(replier)
    }

    /// Each prefix of a text, from the empty one to all of it, with what follows it.
    fn way<'a, 't>(
        &'a self,
        text: &'t [u8],
    ) -> impl Iterator<Item = (Option<&'a Node<M>>, &'t [u8])> + use<'a, 't, M> {
        let mut hash = 0;
        let mut end: usize = 0;
        let further = name::words(text).map(move |word| {
            hash = self.key.hash(hash, word);
            end = end.saturating_add(word.len());
            let prefix = text.get(..end).unwrap_or(text);
            // Behind the dot.
            end = end.saturating_add(1);
            let rest = text.get(end..).unwrap_or_default();
            (self.node(hash, prefix), rest)
        });
        core::iter::once((Some(&self.root), text)).chain(further)
    }

    fn node(&self, hash: u64, prefix: &[u8]) -> Option<&Node<M>> {
        self.nodes.get(hash, |node| *node.prefix == *prefix)
    }

    /// The hash of a pattern's prefix.
    fn hash(&self, pattern: &Pattern<'_>) -> u64 {
        let words = name::words(pattern.prefix());
        words.fold(0, |hash, word| self.key.hash(hash, word))
    }

    fn ends_mut(&mut self, hash: u64, pattern: &Pattern<'_>) -> Option<&mut Ends<M>> {
        let node = match pattern.prefix() {
            b"" => &mut self.root,
            prefix => self.nodes.get_mut(hash, |node| *node.prefix == *prefix)?,
        };
        Some(node.ends_mut(pattern.tail()))
    }

    /// As [`Routes::ends_mut`], and makes a node that is missing.
    fn make(&mut self, hash: u64, pattern: &Pattern<'_>) -> Result<&mut Ends<M>, AllocError> {
        if self.ends_mut(hash, pattern).is_none() {
            let node = Node::new(mem::try_copy(pattern.prefix())?);
            self.nodes.insert(hash, node)?;
        }
        self.ends_mut(hash, pattern).ok_or(AllocError)
    }

    /// Removes a pattern's node if nobody needs it.
    fn prune(&mut self, hash: u64, pattern: &Pattern<'_>) {
        let prefix = pattern.prefix();
        let is_left = |node: &Node<M>| *node.prefix == *prefix && !node.has_ends();
        drop(self.nodes.remove(hash, is_left));
    }
}
