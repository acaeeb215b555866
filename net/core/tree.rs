// SPDX-License-Identifier: GPL-2.0

//! A map from numbers to values that allocates nothing when it is changed.
//!
//! A digital search tree in heap order: below a node at depth *d* all numbers agree in their low
//! *d* bits, the next bit says which side they are on, and a node's number is the least of its
//! subtree. So it is never deeper than 64, whatever the numbers; the least is at the root. Nodes are
//! made by the caller, long before they are inserted where that must not fail.

use super::mem;
use super::mem::AllocError;
use super::mem::Box;

type Link<V> = Option<Box<Node<V>>>;

/// Deepest path: one node for each bit and one for the number itself.
const DEPTH: usize = 66;

/// The two subtrees of a node.
struct Kids<V> {
    zero: Link<V>,
    one: Link<V>,
}

impl<V> Kids<V> {
    const fn none() -> Self {
        Kids {
            zero: None,
            one: None,
        }
    }

    fn side(&self, one: bool) -> &Link<V> {
        if one {
            &self.one
        } else {
            &self.zero
        }
    }

    fn side_mut(&mut self, one: bool) -> &mut Link<V> {
        if one {
            &mut self.one
        } else {
            &mut self.zero
        }
    }
}

/// A value with its number, in the tree or not.
pub struct Node<V> {
    /// The number; fixed while the node is in a tree.
    key: u64,
    kids: Kids<V>,
    /// The value.
    pub value: V,
}

impl<V> Node<V> {
    /// Makes a node.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when there is no memory.
    pub fn new(key: u64, value: V) -> Result<Box<Self>, AllocError> {
        mem::new_box(Node {
            key,
            kids: Kids::none(),
            value,
        })
    }

    /// Gives a node that is in no tree another number.
    pub fn set_key(&mut self, key: u64) {
        self.key = key;
    }

    /// The number.
    pub fn key(&self) -> u64 {
        self.key
    }
}

/// The map.
pub struct Tree<V> {
    root: Link<V>,
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Tree::new()
    }
}

impl<V> Tree<V> {
    /// An empty map.
    pub const fn new() -> Self {
        Tree { root: None }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Puts a node in under `key`, which must not be taken.
    ///
    /// A node whose number is taken would only be found when the first one has gone.
    pub fn insert(&mut self, mut new: Box<Node<V>>, key: u64) {
        new.key = key;
        let mut slot = &mut self.root;
        let mut depth = 0;
        while let Some(node) = slot {
            if new.key < node.key {
                core::mem::swap(node, &mut new);
                core::mem::swap(&mut node.kids, &mut new.kids);
            }
            let one = bit(new.key, depth);
            depth = depth.saturating_add(1);
            slot = node.kids.side_mut(one);
        }
        *slot = Some(new);
    }

    /// The value under `key`.
    pub fn get(&self, key: u64) -> Option<&V> {
        let mut slot = &self.root;
        let mut depth = 0;
        while let Some(node) = slot {
            if node.key == key {
                return Some(&node.value);
            }
            slot = node.kids.side(bit(key, depth));
            depth = depth.saturating_add(1);
        }
        None
    }

    /// The value under `key`, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let mut slot = &mut self.root;
        let mut depth = 0;
        while let Some(node) = slot {
            if node.key == key {
                return Some(&mut node.value);
            }
            slot = node.kids.side_mut(bit(key, depth));
            depth = depth.saturating_add(1);
        }
        None
    }

    /// Takes the node under `key` out.
    pub fn remove(&mut self, key: u64) -> Option<Box<Node<V>>> {
        let mut slot = &mut self.root;
        let mut depth = 0;
        while slot.as_ref().is_some_and(|node| node.key != key) {
            let node = slot.as_mut()?;
            slot = node.kids.side_mut(bit(key, depth));
            depth = depth.saturating_add(1);
        }
        take(slot)
    }

    /// The value with the least number.
    pub fn least(&self) -> Option<&V> {
        self.root.as_ref().map(|node| &node.value)
    }

    /// The least number.
    pub fn least_key(&self) -> Option<u64> {
        self.root.as_ref().map(|node| node.key)
    }

    /// Takes the node with the least number out.
    pub fn pop_first(&mut self) -> Option<Box<Node<V>>> {
        take(&mut self.root)
    }

    /// The number and value that come after `key`, or first of all; in an order of the tree's own.
    ///
    /// That is the order of the numbers read backwards, bit by bit: it does not depend on what else
    /// is in the tree. So who goes from one to the next meets all that stay there meanwhile, once each,
    /// whatever comes and goes.
    pub fn after(&self, key: Option<u64>) -> Option<(u64, &V)> {
        let Some(key) = key else {
            return first(&self.root);
        };
        let mut best = None;
        // The last subtree that was passed by and comes after: the nearest of them.
        let mut passed = &None;
        let mut slot = &self.root;
        let mut depth = 0;
        while let Some(node) = slot {
            if before(key, node.key) {
                nearer(&mut best, (node.key, &node.value));
            }
            let one = bit(key, depth);
            if !one && node.kids.one.is_some() {
                passed = &node.kids.one;
            }
            slot = node.kids.side(one);
            depth = depth.saturating_add(1);
        }
        if let Some(found) = first(passed) {
            nearer(&mut best, found);
        }
        best
    }

    /// Calls `f` for each number and value, in no particular order.
    pub fn for_each(&self, mut f: impl FnMut(u64, &V)) {
        let mut waiting: [Option<&Node<V>>; DEPTH] = [None; DEPTH];
        let mut used: usize = 0;
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            f(node.key, &node.value);
            next = node.kids.zero.as_deref();
            if let Some(one) = node.kids.one.as_deref() {
                if next.is_none() {
                    next = Some(one);
                } else if let Some(place) = waiting.get_mut(used) {
                    *place = Some(one);
                    used = used.saturating_add(1);
                }
            }
            if next.is_none() {
                used = used.saturating_sub(1);
                next = waiting.get_mut(used).and_then(Option::take);
            }
        }
    }
}

/// Whether `a` comes before `b` in the order of [`Tree::after`].
fn before(a: u64, b: u64) -> bool {
    a.reverse_bits() < b.reverse_bits()
}

/// Keeps the one that comes first.
fn nearer<'a, V>(best: &mut Option<(u64, &'a V)>, found: (u64, &'a V)) {
    if best.is_none_or(|(key, _)| before(found.0, key)) {
        *best = Some(found);
    }
}

/// What comes first in a subtree: one of those on the way to its end.
fn first<V>(mut slot: &Link<V>) -> Option<(u64, &V)> {
    let mut best = None;
    while let Some(node) = slot {
        nearer(&mut best, (node.key, &node.value));
        slot = match node.kids.zero {
            Some(_) => &node.kids.zero,
            None => &node.kids.one,
        };
    }
    best
}

fn bit(key: u64, depth: u32) -> bool {
    key.checked_shr(depth).unwrap_or(0) & 1 != 0
}

/// Takes the node at the top of a subtree out, and moves the lesser of the two below it up, all
/// the way down.
fn take<V>(slot: &mut Link<V>) -> Link<V> {
    let mut taken = slot.take()?;
    let mut kids = core::mem::replace(&mut taken.kids, Kids::none());
    let mut hole = slot;
    loop {
        let one = match (&kids.zero, &kids.one) {
            (None, None) => return Some(taken),
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(zero), Some(one)) => one.key < zero.key,
        };
        let Some(mut up) = kids.side_mut(one).take() else {
            return Some(taken);
        };
        core::mem::swap(&mut up.kids, &mut kids);
        hole = hole.insert(up).kids.side_mut(one);
    }
}

impl<V> Drop for Tree<V> {
    fn drop(&mut self) {
        while self.pop_first().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    fn depth<V>(tree: &Tree<V>) -> usize {
        let mut level: std::vec::Vec<_> = tree.root.iter().collect();
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            let kids = level
                .iter()
                .flat_map(|n| n.kids.zero.iter().chain(&n.kids.one));
            level = kids.collect();
        }
        depth
    }

    /// A look-up costs as many steps as the numbers have bits that tell them apart, whatever they are.
    #[test]
    fn is_never_deep() {
        for shift in [0, 20, 53] {
            let mut tree = Tree::new();
            for n in 0..1000u64 {
                tree.insert(Node::new(0, ()).unwrap(), n << shift);
            }
            assert!(depth(&tree) <= shift + 11, "{}", depth(&tree));
            while tree.pop_first().is_some() {
                assert!(depth(&tree) <= shift + 11);
            }
        }
    }

    /// A number that is taken: the second one is found when the first has gone.
    #[test]
    fn a_number_that_is_taken_finds_the_first() {
        let mut tree = Tree::new();
        for value in 1..=2 {
            tree.insert(Node::new(0, value).unwrap(), 5);
        }
        assert_eq!(tree.get(5), Some(&1));
        assert_eq!(tree.remove(5).map(|node| node.value), Some(1));
        assert_eq!(tree.get(5), Some(&2));
    }

    /// Notes how far down the stack it is dropped.
    struct Low<'a>(&'a Cell<usize>);

    impl Drop for Low<'_> {
        fn drop(&mut self) {
            let here = 0u8;
            let here = core::ptr::from_ref(&here).addr();
            self.0.set(self.0.get().min(here));
        }
    }

    /// The deepest tree is dropped with no more stack than a single node.
    #[test]
    fn is_dropped_without_recursion() {
        let stack = |nodes: u32| {
            let lowest = Cell::new(usize::MAX);
            let mut tree = Tree::new();
            for n in 0..nodes {
                tree.insert(Node::new(0, Low(&lowest)).unwrap(), 1 << n);
            }
            assert_eq!(depth(&tree), nodes as usize);
            drop(tree);
            lowest.get()
        };
        assert_eq!(stack(1), stack(64));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((0u8..4, 0u64..40, any::<bool>()), 0..200)) {
            let mut tree = Tree::new();
            let mut map = BTreeMap::new();
            for (op, key, wide) in ops {
                let key = if wide { (key << 60) | key } else { key };
                match op {
                    0 | 1 => {
                        if let std::collections::btree_map::Entry::Vacant(e) = map.entry(key) {
                            tree.insert(Node::new(0, key).unwrap(), key);
                            e.insert(key);
                        }
                    }
                    2 => prop_assert_eq!(tree.remove(key).map(|n| n.value), map.remove(&key)),
                    _ => prop_assert_eq!(tree.pop_first().map(|n| n.key()), map.pop_first().map(|p| p.0)),
                }
                prop_assert_eq!(tree.get(key), map.get(&key));
                prop_assert_eq!(tree.get_mut(key), map.get_mut(&key));
                let mut all = vec![];
                tree.for_each(|k, _| all.push(k));
                all.sort_unstable();
                prop_assert!(all.iter().eq(map.keys()));
                prop_assert_eq!(tree.is_empty(), map.is_empty());
                prop_assert_eq!(tree.least(), map.values().next());
                // `after` has an order of its own, and from anywhere in it finds the next.
                all.sort_unstable_by_key(|key| key.reverse_bits());
                let mut at = None;
                for key in all.iter() {
                    prop_assert_eq!(tree.after(at), Some((*key, key)));
                    at = Some(*key);
                }
                prop_assert_eq!(tree.after(at), None);
                let next = all.iter().find(|k| before(!key, **k)).map(|k| (*k, k));
                prop_assert_eq!(tree.after(Some(!key)), next);
            }
        }
    }
}
