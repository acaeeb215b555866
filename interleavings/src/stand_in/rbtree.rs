// SPDX-License-Identifier: GPL-2.0

//! A map with the kernel's names.

use super::alloc::AllocError;
use super::alloc::Flags;
use super::sync::may_allocate;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Bound;

pub(crate) struct RBTree<K, V>(BTreeMap<K, V>);

pub(crate) struct RBTreeNode<K, V>(K, V);

pub(crate) struct RBTreeNodeReservation<K, V>(PhantomData<(K, V)>);

impl<K, V> RBTreeNodeReservation<K, V> {
    pub(crate) fn new(flags: Flags) -> Result<Self, AllocError> {
        may_allocate(flags);
        Ok(RBTreeNodeReservation(PhantomData))
    }

    pub(crate) fn into_node(self, key: K, value: V) -> RBTreeNode<K, V> {
        RBTreeNode(key, value)
    }
}

/// A place in the map.
pub(crate) struct Cursor<'a, K, V>(&'a BTreeMap<K, V>, K);

impl<K: Ord, V> RBTreeNode<K, V> {
    pub(crate) fn new(key: K, value: V, flags: Flags) -> Result<Self, AllocError> {
        may_allocate(flags);
        Ok(RBTreeNode(key, value))
    }
}

impl<K, V> RBTreeNode<K, V> {
    #[allow(clippy::wrong_self_convention, reason = "the kernel's name")]
    pub(crate) fn to_key_value(self) -> (K, V) {
        (self.0, self.1)
    }

    pub(crate) fn into_reservation(self) -> RBTreeNodeReservation<K, V> {
        RBTreeNodeReservation(PhantomData)
    }
}

impl<K: Ord + Copy, V> RBTree<K, V> {
    pub(crate) fn new() -> Self {
        RBTree(BTreeMap::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, node: RBTreeNode<K, V>) -> Option<RBTreeNode<K, V>> {
        let old = self.0.insert(node.0, node.1);
        old.map(|value| RBTreeNode(node.0, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    pub(crate) fn remove_node(&mut self, key: &K) -> Option<RBTreeNode<K, V>> {
        let (key, value) = self.0.remove_entry(key)?;
        Some(RBTreeNode(key, value))
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    pub(crate) fn cursor_front_mut(&mut self) -> Option<CursorMut<'_, K, V>> {
        let key = *self.0.keys().next()?;
        Some(CursorMut(&mut self.0, key))
    }

    pub(crate) fn cursor_lower_bound_mut(&mut self, key: &K) -> Option<CursorMut<'_, K, V>> {
        let key = *self.0.range(key..).next()?.0;
        Some(CursorMut(&mut self.0, key))
    }

    pub(crate) fn cursor_lower_bound(&self, key: &K) -> Option<Cursor<'_, K, V>> {
        let key = *self.0.range(key..).next()?.0;
        Some(Cursor(&self.0, key))
    }
}

/// A place in the map, by its number.
pub(crate) struct CursorMut<'a, K, V>(&'a mut BTreeMap<K, V>, K);

impl<K: Ord + Copy, V> CursorMut<'_, K, V> {
    pub(crate) fn remove_current(mut self) -> (Option<Self>, RBTreeNode<K, V>) {
        let (key, value) = self.0.remove_entry(&self.1).unwrap();
        let next = self.0.range(key..).next().map(|(next, _)| *next);
        let rest = next.map(|next| {
            self.1 = next;
            self
        });
        (rest, RBTreeNode(key, value))
    }

    pub(crate) fn current_mut(&mut self) -> (&K, &mut V) {
        let value = self.0.get_mut(&self.1).unwrap();
        (&self.1, value)
    }

    pub(crate) fn move_next(mut self) -> Option<Self> {
        let after = (Bound::Excluded(self.1), Bound::Unbounded);
        self.1 = *self.0.range(after).next()?.0;
        Some(self)
    }
}

impl<K: Ord + Copy, V> Cursor<'_, K, V> {
    pub(crate) fn current(&self) -> (&K, &V) {
        (&self.1, self.0.get(&self.1).unwrap())
    }

    pub(crate) fn peek_next(&self) -> Option<(&K, &V)> {
        let after = (Bound::Excluded(self.1), Bound::Unbounded);
        self.0.range(after).next()
    }
}
