// SPDX-License-Identifier: GPL-2.0

//! On the host: the standard library, and allocations that fail when they are told to.

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

    /// That of a box, whose value is dropped.
    pub fn of(value: Box<T>) -> Self {
        drop(value);
        BoxRoom(PhantomData)
    }

    /// Puts the value in.
    pub fn fill(self, value: T) -> Box<T> {
        Box::new(value)
    }
}

/// Memory for a reference-counted value.
pub struct ArcRoom<T>(PhantomData<T>);

impl<T> ArcRoom<T> {
    /// Allocates it, with regard to a memory group that is to fail.
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

    /// That of a node, whose value is dropped.
    pub fn of(node: Node<K, V>) -> Self {
        drop(node);
        Room(PhantomData)
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

    /// What has this key or the least that is greater.
    pub fn first_from(&self, key: &K) -> Option<(K, &V)> {
        let (key, value) = self.0.range(*key..).next()?;
        Some((*key, value))
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
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

/// Makes room for `more` further elements.
pub fn reserve_list<T>(list: &mut List<T>, more: usize) -> Result<(), AllocError> {
    reserve(list, more)
}

/// Appends where there is room already; where there is none the value is dropped.
pub fn push_reserved_list<T>(list: &mut List<T>, value: T) {
    let _ = push_reserved(list, value);
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
