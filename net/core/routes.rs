// SPDX-License-Identifier: GPL-2.0

//! Who gets a message of a given name: a trie over the words of names.
//!
//! A look-up costs as many steps as the name has words, plus one for each match, however many
//! bindings there are. The children of a node are a sorted vector: a new word among *n* siblings
//! moves up to *n* pointers, which for 10^5 of them is some ten microseconds. Nothing recurses.

use super::error::Error;
use super::mem;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::Vec;
use super::name;
use super::name::Pattern;
use super::name::Tail;

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
    word: Vec<u8>,
    kids: Vec<Box<Node<M>>>,
    exact: Ends<M>,
    one: Ends<M>,
    any: Ends<M>,
}

impl<M> Node<M> {
    fn new(word: Vec<u8>) -> Self {
        Node {
            word,
            kids: Vec::new(),
            exact: Ends::new(),
            one: Ends::new(),
            any: Ends::new(),
        }
    }

    fn find(&self, word: &[u8]) -> Result<usize, usize> {
        self.kids.binary_search_by(|kid| Ord::cmp(&*kid.word, word))
    }

    fn kid(&self, word: &[u8]) -> Option<&Node<M>> {
        let at = self.find(word).ok()?;
        self.kids.get(at).map(|kid| &**kid)
    }

    fn kid_mut(&mut self, word: &[u8]) -> Option<&mut Node<M>> {
        let at = self.find(word).ok()?;
        self.kids.get_mut(at).map(|kid| &mut **kid)
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

impl<M> Drop for Node<M> {
    /// Drops what is below without recursion: a name may have 500 words, and stacks are small.
    ///
    /// A chain costs one step a node: an only child gives its children to its parent and goes. That is all there ever is
    /// of one binding.
    fn drop(&mut self) {
        while !self.kids.is_empty() {
            let mut node = &mut *self;
            while node.kids.last().is_some_and(|kid| !kid.kids.is_empty()) {
                if node.kids.len() == 1 {
                    if let Some(mut only) = node.kids.pop() {
                        node.kids = core::mem::take(&mut only.kids);
                    }
                    continue;
                }
                match node.kids.last_mut() {
                    Some(kid) => node = &mut **kid,
                    None => return,
                }
            }
            drop(node.kids.pop());
        }
    }
}

/// All bindings of a bus.
pub struct Routes<M> {
    root: Node<M>,
}

impl<M> Default for Routes<M> {
    fn default() -> Self {
        Routes::new()
    }
}

impl<M> Routes<M> {
    /// No bindings.
    pub fn new() -> Self {
        Routes {
            root: Node::new(Vec::new()),
        }
    }

    /// Whether there is not a single node left.
    pub fn is_empty(&self) -> bool {
        self.root.kids.is_empty() && !self.root.has_ends()
    }

    /// Calls `f` for each listener of a name, with the way it matches, and returns how many nodes
    /// were looked at.
    ///
    /// # Errors
    ///
    /// Those of `f`, at the first of them.
    pub fn listeners(
        &self,
        text: &[u8],
        mut f: impl FnMut(&Listener<M>, Tail) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let mut each = |ends: &Ends<M>, tail| ends.listeners.iter().try_for_each(|l| f(l, tail));
        let mut node = &self.root;
        let mut visited: usize = 1;
        let mut words = name::words(name::body(text)?).peekable();
        while let Some(word) = words.next() {
            each(&node.any, Tail::Any)?;
            if words.peek().is_none() {
                each(&node.one, Tail::One)?;
            }
            match node.kid(word) {
                Some(kid) => node = kid,
                None => return Ok(visited),
            }
            visited = visited.saturating_add(1);
        }
        each(&node.exact, Tail::Exact)?;
        Ok(visited)
    }

    /// Whether a socket still has a listener binding for a name among those up to `last`.
    pub fn still_listens(&self, peer: u64, text: &[u8], last: u64) -> bool {
        let lets_in = |ends: &Ends<M>| {
            let at = ends.find(peer).ok();
            at.and_then(|at| ends.listeners.get(at))
                .is_some_and(|listener| listener.binding <= last)
        };
        let mut node = &self.root;
        let Ok(body) = name::body(text) else {
            return false;
        };
        let mut words = name::words(body).peekable();
        while let Some(word) = words.next() {
            if lets_in(&node.any) || (words.peek().is_none() && lets_in(&node.one)) {
                return true;
            }
            match node.kid(word) {
                Some(kid) => node = kid,
                None => return false,
            }
        }
        lets_in(&node.exact)
    }

    /// Who answers for a name: exact before `%` before the longest `*`.
    ///
    /// A wildcard never answers for a name of the bus's own.
    pub fn replier(&self, text: &[u8]) -> Option<&Replier<M>> {
        if name::is_bus_own(text) {
            return None;
        }
        let mut best = None;
        let mut node = &self.root;
        let mut words = name::words(name::body(text).ok()?).peekable();
        while let Some(word) = words.next() {
            best = node.any.replier.as_ref().or(best);
            if words.peek().is_none() {
                best = node.one.replier.as_ref().or(best);
            }
            match node.kid(word) {
                Some(kid) => node = kid,
                None => return best,
            }
        }
        node.exact.replier.as_ref().or(best)
    }

    /// The replier binding of this very pattern.
    pub fn same_replier(&self, pattern: &Pattern<'_>) -> Option<&Replier<M>> {
        let mut node = &self.root;
        for word in name::words(pattern.prefix()) {
            node = node.kid(word)?;
        }
        node.ends(pattern.tail()).replier.as_ref()
    }

    /// The wildcard replier that a new replier binding of this pattern would take names from.
    ///
    /// There is at most one: the one that answers now for the names that the new one would.
    pub fn robbed(&self, pattern: &Pattern<'_>) -> Option<Robbed<'_, M>> {
        let mut best = None;
        let mut node = &self.root;
        let mut depth: usize = 0;
        let mut words = name::words(pattern.prefix()).peekable();
        while let Some(word) = words.next() {
            let member = node.any.replier.as_ref().map(|r| &r.member);
            best = member.map(|member| Robbed { member, depth }).or(best);
            if pattern.tail() == Tail::Exact && words.peek().is_none() {
                let member = node.one.replier.as_ref().map(|r| &r.member);
                best = member.map(|member| Robbed { member, depth }).or(best);
            }
            match node.kid(word) {
                Some(kid) => node = kid,
                None => return best,
            }
            depth = depth.saturating_add(1);
        }
        if pattern.tail() == Tail::One {
            let member = node.any.replier.as_ref().map(|r| &r.member);
            best = member.map(|member| Robbed { member, depth }).or(best);
        }
        best
    }

    /// Adds one more of a listener binding that the socket has already.
    ///
    /// Returns the binding's id, or `None` when it has none like it.
    pub fn listen_again(&mut self, peer: u64, pattern: &Pattern<'_>) -> Option<u64> {
        let ends = self.ends_mut(pattern)?;
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
        let added = self.make(pattern).and_then(|()| {
            let ends = self.ends_mut(pattern).ok_or(AllocError)?;
            let at = ends.find(new.peer).unwrap_or_else(|at| at);
            mem::vec_insert(&mut ends.listeners, at, new)
        });
        if added.is_err() {
            self.prune(pattern);
        }
        added
    }

    /// Removes one listener binding; returns its id and how many like it are left.
    pub fn unlisten(&mut self, peer: u64, pattern: &Pattern<'_>) -> Option<(u64, u32)> {
        let ends = self.ends_mut(pattern)?;
        let at = ends.find(peer).ok()?;
        let listener = ends.listeners.get_mut(at)?;
        listener.count = listener.count.saturating_sub(1);
        let left = (listener.binding, listener.count);
        if left.1 == 0 {
            mem::vec_remove(&mut ends.listeners, at);
            self.prune(pattern);
        }
        Some(left)
    }

    /// Removes a listener binding with all that are like it.
    pub fn forget_listener(&mut self, peer: u64, pattern: &Pattern<'_>) {
        if let Some(ends) = self.ends_mut(pattern) {
            if let Ok(at) = ends.find(peer) {
                mem::vec_remove(&mut ends.listeners, at);
                self.prune(pattern);
            }
        }
    }

    /// Adds a replier binding; there must be none like it.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and nothing has changed.
    pub fn bind_replier(
        &mut self,
        new: Replier<M>,
        pattern: &Pattern<'_>,
    ) -> Result<(), AllocError> {
        match self.make(pattern) {
            Ok(()) => {
                if let Some(ends) = self.ends_mut(pattern) {
                    ends.replier = Some(new);
                }
                Ok(())
            }
            Err(error) => {
                self.prune(pattern);
                Err(error)
            }
        }
    }

    /// Removes a replier binding.
    pub fn unbind_replier(&mut self, pattern: &Pattern<'_>) -> Option<Replier<M>> {
        let replier = self.ends_mut(pattern)?.replier.take();
        self.prune(pattern);
        replier
    }

    fn ends_mut(&mut self, pattern: &Pattern<'_>) -> Option<&mut Ends<M>> {
        let mut node = &mut self.root;
        for word in name::words(pattern.prefix()) {
            node = node.kid_mut(word)?;
        }
        Some(node.ends_mut(pattern.tail()))
    }

    /// Makes the nodes of a pattern that are missing.
    fn make(&mut self, pattern: &Pattern<'_>) -> Result<(), AllocError> {
        let mut node = &mut self.root;
        for word in name::words(pattern.prefix()) {
            let at = match node.find(word) {
                Ok(at) => at,
                Err(at) => {
                    let kid = mem::new_box(Node::new(mem::try_copy(word)?))?;
                    mem::vec_insert(&mut node.kids, at, kid)?;
                    at
                }
            };
            node = node.kids.get_mut(at).ok_or(AllocError)?;
        }
        Ok(())
    }

    /// Removes the end of a pattern's path as far as nobody needs it.
    fn prune(&mut self, pattern: &Pattern<'_>) {
        // How many steps from the root is the last node that stays?
        let mut keep: usize = 0;
        let mut depth: usize = 0;
        let mut node = &self.root;
        for word in name::words(pattern.prefix()) {
            if node.kids.len() > 1 || node.has_ends() {
                keep = depth;
            }
            match node.kid(word) {
                Some(kid) => node = kid,
                None => break,
            }
            depth = depth.saturating_add(1);
        }
        if depth == 0 || node.has_ends() || !node.kids.is_empty() {
            return;
        }
        let mut words = name::words(pattern.prefix());
        let mut node = &mut self.root;
        for word in words.by_ref().take(keep) {
            match node.kid_mut(word) {
                Some(kid) => node = kid,
                None => return,
            }
        }
        if let Some(Ok(at)) = words.next().map(|word| node.find(word)) {
            mem::vec_remove(&mut node.kids, at);
        }
    }
}
