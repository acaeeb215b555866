// SPDX-License-Identifier: GPL-2.0

//! In the module: the allocator, containers and atomics of the kernel.

use super::Need;
use crate::reclaim::flags;
use crate::reclaim::nowait;
use crate::sys::memory::array;
use core::mem::MaybeUninit;
use kernel::alloc::KBox;
use kernel::alloc::KVVec;
use kernel::alloc::KVec;
use kernel::rbtree;
use kernel::sync::atomic::Acquire;
use kernel::sync::atomic::Atomic;
use kernel::sync::atomic::Full;
use kernel::sync::atomic::Release;
use kernel::sync::UniqueArc;

pub use kernel::alloc::AllocError;
pub use kernel::sync::Arc;

/// A box of the kernel's.
pub type Box<T> = KBox<T>;
/// A vector; large ones are not physically contiguous.
pub type Vec<T> = KVVec<T>;
/// A vector that can be made longer, and dropped, under a lock: it is physically contiguous.
pub type List<T> = KVec<T>;

/// Allocates a box.
pub fn new_box<T>(value: T) -> Result<Box<T>, AllocError> {
    new_box_for(Need::Wanted, value)
}

/// The same, with regard to a memory cgroup at its limit.
pub fn new_box_for<T>(need: Need, value: T) -> Result<Box<T>, AllocError> {
    KBox::new(value, flags(need))
}

/// Allocates an array in a box, of items that `make` makes, each where it is to be.
///
/// # Errors
///
/// [`AllocError`].
pub fn new_array<T, const N: usize>(make: impl Fn() -> T) -> Result<Box<[T; N]>, AllocError> {
    array(make, nowait())
}

/// Takes the value out of its box.
pub fn unbox<T>(value: Box<T>) -> T {
    KBox::into_inner(value)
}

/// Allocates a reference-counted value.
pub fn new_arc<T>(value: T) -> Result<Arc<T>, AllocError> {
    Arc::new(value, nowait())
}

/// Memory for a value in a box.
pub struct BoxRoom<T>(KBox<MaybeUninit<T>>);

impl<T> BoxRoom<T> {
    /// Allocates it.
    pub fn new() -> Result<Self, AllocError> {
        Ok(BoxRoom(KBox::new_uninit(nowait())?))
    }

    /// That of a box, whose value is dropped.
    pub fn of(value: Box<T>) -> Self {
        BoxRoom(KBox::drop_contents(value))
    }

    /// Puts the value in.
    pub fn fill(self, value: T) -> Box<T> {
        KBox::write(self.0, value)
    }
}

/// Memory for a reference-counted value.
pub struct ArcRoom<T>(UniqueArc<MaybeUninit<T>>);

impl<T> ArcRoom<T> {
    /// Allocates it, with regard to a memory cgroup at its limit.
    pub fn new_for(need: Need) -> Result<Self, AllocError> {
        Ok(ArcRoom(UniqueArc::new_uninit(flags(need))?))
    }

    /// Puts the value in.
    pub fn fill(self, value: T) -> Arc<T> {
        self.0.write(value).into()
    }
}

/// Drops an `Arc`. If nobody else has it, `f` may take something out of it first.
pub fn drop_with<T: Unpin, R>(arc: Arc<T>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    Arc::into_unique_or_drop(arc).map(|mut unique| f(&mut unique))
}

/// A number that several threads change at once.
#[derive(Debug)]
pub struct Counter(Atomic<u64>);

impl Counter {
    /// Begins with this value.
    pub const fn new(value: u64) -> Self {
        Counter(Atomic::new(value))
    }

    /// The value; what was written before it was set is seen after this.
    pub fn get(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// Sets the value, and returns what it was. A full barrier.
    pub fn swap(&self, value: u64) -> u64 {
        self.0.xchg(value, Full)
    }

    /// Adds to the value, and returns what it was. A full barrier.
    pub fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Full)
    }

    /// Sets the value if it is `old`; else says what it is. A full barrier when it succeeds.
    ///
    /// # Errors
    ///
    /// The value that there is.
    pub fn replace(&self, old: u64, new: u64) -> Result<u64, u64> {
        self.0.cmpxchg(old, new, Full)
    }

    /// The value as the kernel has it.
    pub(crate) const fn as_atomic(&self) -> &Atomic<u64> {
        &self.0
    }
}

/// A truth that several threads change at once.
#[derive(Debug)]
pub struct Flag(Atomic<bool>);

impl Flag {
    /// Begins with this value.
    pub const fn new(value: bool) -> Self {
        Flag(Atomic::new(value))
    }

    /// The value; what was written before it was set is seen after this.
    pub fn get(&self) -> bool {
        self.0.load(Acquire)
    }

    /// Sets the value, and returns what it was. A full barrier.
    pub fn swap(&self, value: bool) -> bool {
        self.0.xchg(value, Full)
    }
}

/// A map in the order of its keys, over the kernel's red-black tree.
pub struct Map<K, V>(rbtree::RBTree<K, V>);

/// A key and its value, in memory of their own.
pub struct Node<K, V>(rbtree::RBTreeNode<K, V>);

/// Memory for a [`Node`].
pub struct Room<K, V>(rbtree::RBTreeNodeReservation<K, V>);

impl<K, V> Room<K, V> {
    /// Allocates it.
    pub fn new() -> Result<Self, AllocError> {
        match rbtree::RBTreeNodeReservation::new(nowait()) {
            Ok(room) => Ok(Room(room)),
            Err(_) => Err(AllocError),
        }
    }

    /// That of a node, whose value is dropped.
    pub fn of(node: Node<K, V>) -> Self {
        Room(node.0.into_reservation())
    }

    /// Puts a key and its value in.
    pub fn fill(self, key: K, value: V) -> Node<K, V> {
        Node(self.0.into_node(key, value))
    }
}

impl<K, V> Node<K, V> {
    /// Takes key and value out.
    pub fn into_pair(self) -> (K, V) {
        self.0.to_key_value()
    }
}

impl<K: Ord + Copy, V> Map<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Map(rbtree::RBTree::new())
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a node in; one that has the same key is taken out.
    pub fn insert(&mut self, node: Node<K, V>) -> Option<Node<K, V>> {
        self.0.insert(node.0).map(Node)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Takes out what has this key.
    pub fn remove(&mut self, key: &K) -> Option<Node<K, V>> {
        self.0.remove_node(key).map(Node)
    }

    /// Takes out what has the least key.
    pub fn pop_first(&mut self) -> Option<Node<K, V>> {
        let (_, node) = self.0.cursor_front_mut()?.remove_current();
        Some(Node(node))
    }

    /// What has this key or the least that is greater.
    pub fn first_from(&self, key: &K) -> Option<(K, &V)> {
        // What a cursor shows lives no longer than the cursor.
        let key = *self.0.cursor_lower_bound(key)?.current().0;
        Some((key, self.0.get(&key)?))
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// Calls `f` for what has this key or a greater one, in their order, until it says false;
    /// says whether it never did.
    pub fn each_from(&self, key: &K, mut f: impl FnMut(&K, &V) -> bool) -> bool {
        // As it mostly is: to go on from each to the next costs less than to find each.
        let first = self.0.iter().next();
        if first.is_none_or(|(first, _)| first >= key) {
            return self.0.iter().all(|(key, value)| f(key, value));
        }
        let mut next = Some(*key);
        while let Some(here) = next.and_then(|key| self.0.cursor_lower_bound(&key)) {
            let (key, value) = here.current();
            if !f(key, value) {
                return false;
            }
            // A cursor that cannot change the tree cannot be moved either.
            next = here.peek_next().map(|(key, _)| *key);
        }
        true
    }
}

/// Makes room for `more` further elements.
pub fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), AllocError> {
    vec.reserve(more, nowait())
}

/// Makes room for `more` further elements.
pub fn reserve_list<T>(list: &mut List<T>, more: usize) -> Result<(), AllocError> {
    list.reserve(more, nowait())
}

/// Appends where there is room already; where there is none the value is dropped.
pub fn push_reserved_list<T>(list: &mut List<T>, value: T) {
    let _ = list.push_within_capacity(value);
}

/// Appends where there is room already; gives the value back where there is none.
pub fn push_reserved<T>(vec: &mut Vec<T>, value: T) -> Result<(), T> {
    // The kernel's error type does not give the value out: look first.
    if vec.len() >= vec.capacity() {
        return Err(value);
    }
    let _ = vec.push_within_capacity(value);
    Ok(())
}

/// Appends an element.
///
/// # Errors
///
/// [`AllocError`], and the element is dropped.
pub fn push<T>(list: &mut List<T>, value: T) -> Result<(), AllocError> {
    list.reserve(1, nowait())?;
    list.push_within_capacity(value).map_err(|_| AllocError)
}

/// Copies bytes into a new vector.
pub fn try_copy(bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
    try_copy_for(Need::Wanted, bytes)
}

/// The same, with regard to a memory cgroup at its limit.
pub fn try_copy_for(need: Need, bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
    let mut vec = Vec::new();
    vec.extend_from_slice(bytes, flags(need))?;
    Ok(vec)
}
