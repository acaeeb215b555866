// SPDX-License-Identifier: GPL-2.0

//! The one place where memory comes from.
//!
//! Every allocation of the bus is fallible and goes through this facade: over `KBox`, `KVec`,
//! `KVVec` and the kernel's `Arc` in the module (charged to the memory cgroup of the task that
//! causes it; none waits for memory, as it is under the lock of the bus: see `reclaim.rs`), over
//! the standard library on the host, where [`fail_after`] makes the k-th allocation of a thread
//! fail.

/// What becomes of memory for which a memory cgroup has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// There is none.
    Wanted,
    /// The cgroup goes beyond its limit: it has been promised.
    Promised,
}

#[cfg(CONFIG_NET)]
#[cfg_attr(test, mutants::skip)] // Not compiled on the host, where the tests run.
mod imp {
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

        /// Puts the value in.
        pub fn fill(self, value: T) -> Box<T> {
            KBox::write(self.0, value)
        }
    }

    /// Memory for a reference-counted value.
    pub struct ArcRoom<T>(UniqueArc<MaybeUninit<T>>);

    impl<T> ArcRoom<T> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            Self::new_for(Need::Wanted)
        }

        /// The same, with regard to a memory cgroup at its limit.
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
}

#[cfg(not(CONFIG_NET))]
mod imp {
    use super::Need;
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::marker::PhantomData;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;

    pub use std::boxed::Box;
    pub use std::sync::Arc;
    pub use std::vec::Vec;
    /// As in the kernel.
    pub type List<T> = Vec<T>;

    /// An allocation failed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocError;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static GROUP: Cell<usize> = const { Cell::new(0) };
        static POOR: Cell<Option<usize>> = const { Cell::new(None) };
        static MADE: Cell<u64> = const { Cell::new(0) };
    }

    /// Lets the next `k` allocations of this thread succeed and all later ones fail.
    ///
    /// `None` lifts that. Returns what was left of the previous count.
    pub fn fail_after(k: Option<u64>) -> Option<u64> {
        LEFT.with(|left| left.replace(k))
    }

    /// What this thread allocates from now on is of this memory group; returns the one before.
    pub fn set_group(group: usize) -> usize {
        GROUP.replace(group)
    }

    /// The memory group of what this thread allocates.
    pub fn group() -> usize {
        GROUP.get()
    }

    /// Lets each allocation of a memory group fail, or of none.
    pub fn fail_group(group: Option<usize>) {
        POOR.set(group);
    }

    /// How many allocations this thread has made or tried to make.
    pub fn allocations() -> u64 {
        MADE.get()
    }

    fn account() -> Result<(), AllocError> {
        account_for(Need::Wanted)
    }

    fn account_for(need: Need) -> Result<(), AllocError> {
        MADE.set(MADE.get() + 1);
        if need == Need::Wanted && POOR.get() == Some(GROUP.get()) {
            return Err(AllocError);
        }
        LEFT.with(|left| match left.get() {
            None => Ok(()),
            Some(0) => Err(AllocError),
            Some(n) => {
                left.set(Some(n - 1));
                Ok(())
            }
        })
    }

    /// Allocates a box.
    pub fn new_box<T>(value: T) -> Result<Box<T>, AllocError> {
        new_box_for(Need::Wanted, value)
    }

    /// The same, with regard to a memory group that is to fail.
    pub fn new_box_for<T>(need: Need, value: T) -> Result<Box<T>, AllocError> {
        account_for(need)?;
        Ok(Box::new(value))
    }

    /// Allocates an array in a box, of items that `make` makes, each where it is to be.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn new_array<T, const N: usize>(make: impl Fn() -> T) -> Result<Box<[T; N]>, AllocError> {
        new_box(core::array::from_fn(|_| make()))
    }

    /// Takes the value out of its box.
    #[expect(clippy::boxed_local, reason = "this is what it is for")]
    pub fn unbox<T>(value: Box<T>) -> T {
        *value
    }

    /// Allocates a reference-counted value.
    pub fn new_arc<T>(value: T) -> Result<Arc<T>, AllocError> {
        account()?;
        Ok(Arc::new(value))
    }

    /// Memory for a value in a box.
    pub struct BoxRoom<T>(PhantomData<T>);

    impl<T> BoxRoom<T> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            account()?;
            Ok(BoxRoom(PhantomData))
        }

        /// Puts the value in.
        pub fn fill(self, value: T) -> Box<T> {
            Box::new(value)
        }
    }

    /// Memory for a reference-counted value.
    pub struct ArcRoom<T>(PhantomData<T>);

    impl<T> ArcRoom<T> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            Self::new_for(Need::Wanted)
        }

        /// The same, with regard to a memory group that is to fail.
        pub fn new_for(need: Need) -> Result<Self, AllocError> {
            account_for(need)?;
            Ok(ArcRoom(PhantomData))
        }

        /// Puts the value in.
        pub fn fill(self, value: T) -> Arc<T> {
            Arc::new(value)
        }
    }

    /// Drops an `Arc`. If nobody else has it, `f` may take something out of it first.
    pub fn drop_with<T: Unpin, R>(arc: Arc<T>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        Arc::into_inner(arc).map(|mut value| f(&mut value))
    }

    /// A number that several threads change at once.
    #[derive(Debug)]
    pub struct Counter(AtomicU64);

    impl Counter {
        /// Begins with this value.
        pub const fn new(value: u64) -> Self {
            Counter(AtomicU64::new(value))
        }

        /// The value.
        pub fn get(&self) -> u64 {
            self.0.load(SeqCst)
        }

        /// Sets the value.
        pub fn set(&self, value: u64) {
            self.0.store(value, SeqCst);
        }

        /// Sets the value, and returns what it was.
        pub fn swap(&self, value: u64) -> u64 {
            self.0.swap(value, SeqCst)
        }

        /// Adds to the value, and returns what it was.
        pub fn add(&self, more: u64) -> u64 {
            self.0.fetch_add(more, SeqCst)
        }

        /// Sets the value if it is `old`; else says what it is.
        ///
        /// # Errors
        ///
        /// The value that there is.
        pub fn replace(&self, old: u64, new: u64) -> Result<u64, u64> {
            self.0.compare_exchange(old, new, SeqCst, SeqCst)
        }
    }

    /// A truth that several threads change at once.
    #[derive(Debug)]
    pub struct Flag(AtomicBool);

    impl Flag {
        /// Begins with this value.
        pub const fn new(value: bool) -> Self {
            Flag(AtomicBool::new(value))
        }

        /// The value.
        pub fn get(&self) -> bool {
            self.0.load(SeqCst)
        }

        /// Sets the value, and returns what it was.
        pub fn swap(&self, value: bool) -> bool {
            self.0.swap(value, SeqCst)
        }
    }

    /// A map in the order of its keys.
    pub struct Map<K, V>(BTreeMap<K, V>);

    /// A key and its value, in memory of their own.
    pub struct Node<K, V>(K, V);

    /// Memory for a [`Node`].
    pub struct Room<K, V>(PhantomData<(K, V)>);

    impl<K, V> Room<K, V> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            account()?;
            Ok(Room(PhantomData))
        }

        /// Puts a key and its value in.
        pub fn fill(self, key: K, value: V) -> Node<K, V> {
            Node(key, value)
        }
    }

    impl<K, V> Node<K, V> {
        /// Takes key and value out.
        pub fn into_pair(self) -> (K, V) {
            (self.0, self.1)
        }
    }

    impl<K: Ord + Copy, V> Map<K, V> {
        /// An empty map.
        pub fn new() -> Self {
            Map(BTreeMap::new())
        }

        /// Whether it is empty.
        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// Puts a node in; one that has the same key is taken out.
        pub fn insert(&mut self, node: Node<K, V>) -> Option<Node<K, V>> {
            let key = node.0;
            self.0.insert(key, node.1).map(|value| Node(key, value))
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
            self.0
                .remove_entry(key)
                .map(|(key, value)| Node(key, value))
        }

        /// Takes out what has the least key.
        pub fn pop_first(&mut self) -> Option<Node<K, V>> {
            self.0.pop_first().map(|(key, value)| Node(key, value))
        }

        /// Calls `f` for what has this key or a greater one, in their order, until it says false;
        /// says whether it never did.
        pub fn each_from(&self, key: &K, mut f: impl FnMut(&K, &V) -> bool) -> bool {
            self.0.range(*key..).all(|(key, value)| f(key, value))
        }
    }

    /// Makes room for `more` further elements.
    pub fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), AllocError> {
        if vec.capacity().saturating_sub(vec.len()) >= more {
            return Ok(());
        }
        account()?;
        vec.try_reserve(more).map_err(|_| AllocError)
    }

    /// Appends where there is room already; gives the value back where there is none.
    pub fn push_reserved<T>(vec: &mut Vec<T>, value: T) -> Result<(), T> {
        if vec.len() >= vec.capacity() {
            return Err(value);
        }
        vec.push(value);
        Ok(())
    }

    /// Appends an element.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and the element is dropped.
    pub fn push<T>(list: &mut List<T>, value: T) -> Result<(), AllocError> {
        reserve(list, 1)?;
        list.push(value);
        Ok(())
    }

    /// Copies bytes into a new vector.
    pub fn try_copy(bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
        try_copy_for(Need::Wanted, bytes)
    }

    /// The same, with regard to a memory group that is to fail.
    pub fn try_copy_for(need: Need, bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
        if !bytes.is_empty() {
            account_for(need)?;
        }
        Ok(bytes.to_vec())
    }
}

pub use self::imp::*;

impl<K: Ord + Copy, V> Default for Map<K, V> {
    fn default() -> Self {
        Map::new()
    }
}

impl<K: Ord + Copy, V> Node<K, V> {
    /// Makes a node.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn new(key: K, value: V) -> Result<Self, AllocError> {
        Ok(Room::new()?.fill(key, value))
    }
}

/// The bytes of a payload.
pub type Bytes = Vec<u8>;

/// A new vector with room for `n` elements.
///
/// # Errors
///
/// [`AllocError`] when there is no memory.
pub fn with_capacity<T>(n: usize) -> Result<Vec<T>, AllocError> {
    let mut vec = Vec::new();
    reserve(&mut vec, n)?;
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An allocation fails where it is told to, and nothing has changed then.
    #[test]
    fn the_allocation_that_is_told_to_fails() {
        let mut vec = with_capacity(1).unwrap();
        assert_eq!(fail_after(Some(1)), None);
        assert_eq!(new_box(1).map(|one| *one), Ok(1));
        assert!(new_box(1).is_err() && new_arc(1).is_err() && try_copy(b"x").is_err());
        // There is room for one; an empty copy needs none.
        assert_eq!(push(&mut vec, 1), Ok(()));
        assert_eq!(try_copy(b""), Ok(Vec::new()));
        let taken = vec.capacity();
        let rest = taken.saturating_sub(vec.len());
        assert_eq!(reserve(&mut vec, rest), Ok(()));
        assert_eq!(reserve(&mut vec, rest + 1), Err(AllocError));
        assert_eq!(fail_after(None), Some(0));
    }

    /// What has no place is given back.
    #[test]
    fn what_has_no_place_is_given_back() {
        let mut full: Vec<char> = Vec::new();
        assert_eq!(push_reserved(&mut full, 'x'), Err('x'));
        let copy = try_copy(b"ab").unwrap();
        assert_eq!(copy, b"ab");
    }

    /// Only the memory group that is told to fail fails.
    #[test]
    fn only_the_group_that_is_told_to_fails() {
        fail_group(Some(3));
        assert!(new_box(1).is_ok());
        assert_eq!(set_group(3), 0);
        assert!(new_box(1).is_err());
        assert_eq!((set_group(0), group()), (3, 0));
        assert!(new_box(1).is_ok());
        fail_group(None);
    }
}
