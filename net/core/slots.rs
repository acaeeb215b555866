// SPDX-License-Identifier: GPL-2.0

//! A list whose items live in slots that are allocated several at a time.
//!
//! The items are linked by the numbers of their slots, so one can be put in or taken out anywhere
//! in one step. Slots are made beforehand ([`Slots::add`]): then to put an item in needs no memory.
//!
//! `kernel::list` does not serve here: each of its items is an allocation of its own.

use super::mem;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::List;

/// Slots that are allocated at once.
pub const CHUNK: usize = 12;
/// The numbers of the slots of a chunk begin at a multiple of this, so that no division is needed.
const STRIDE: usize = CHUNK.next_power_of_two();
/// An empty list keeps so many chunks, for what comes next.
const KEPT_CHUNKS: usize = 11;

/// No slot.
const NONE: u32 = u32::MAX;

/// A place for an item, linked with others in use, or with others that are free.
struct Slot<T> {
    prev: u32,
    next: u32,
    item: Option<T>,
}

/// Memory for [`CHUNK`] further items.
// A pointer and no more: the list of them, in one piece, is that of a long queue.
pub struct Chunk<T>(Box<[Slot<T>; CHUNK]>);

impl<T> Chunk<T> {
    /// It fills a piece of 2 KiB of the allocator, and is no more.
    const FITS: () = assert!(size_of::<[Slot<T>; CHUNK]>() <= 2048);
    const SMALL: () = assert!(size_of::<Self>() == size_of::<usize>());

    /// Allocates it.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    #[inline(never)]
    pub fn new() -> Result<Self, AllocError> {
        let ((), ()) = (Self::FITS, Self::SMALL);
        Ok(Chunk(mem::new_array(Self::empty)?))
    }

    fn empty() -> Slot<T> {
        Slot {
            prev: NONE,
            next: NONE,
            item: None,
        }
    }
}

/// The list.
///
/// # Invariants
///
/// Every slot is either in use, holds an item and is linked between `first` and `last`, or is free
/// and linked from `free` on. `len` slots are in use.
pub struct Slots<T> {
    chunks: List<Chunk<T>>,
    first: u32,
    last: u32,
    free: u32,
    len: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots::new()
    }
}

impl<T> Slots<T> {
    /// An empty list without slots.
    pub const fn new() -> Self {
        Slots {
            chunks: List::new(),
            first: NONE,
            last: NONE,
            free: NONE,
            len: 0,
        }
    }

    /// Items in the list.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Items that can be in the list before it needs more memory.
    pub fn capacity(&self) -> u32 {
        // More than there are numbers for slots there cannot be.
        (self.chunks.len() as u32).wrapping_mul(CHUNK as u32)
    }

    /// Adds free slots.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and the chunk is dropped.
    pub fn add(&mut self, chunk: Chunk<T>) -> Result<(), AllocError> {
        let from = self.chunks.len().saturating_mul(STRIDE);
        mem::push(&mut self.chunks, chunk)?;
        for at in from..from.saturating_add(CHUNK) {
            let at = at as u32;
            let next = self.free;
            if let Some(slot) = self.slot_mut(at) {
                slot.next = next;
                self.free = at;
            }
        }
        Ok(())
    }

    /// Takes the memory of an empty list that was a long one, for the caller to drop.
    pub fn trim(&mut self) -> Option<Slots<T>> {
        if self.len > 0 || self.chunks.len() <= KEPT_CHUNKS {
            return None;
        }
        Some(core::mem::take(self))
    }

    fn slot(&self, at: u32) -> Option<&Slot<T>> {
        let at = at as usize;
        self.chunks.get(at / STRIDE)?.0.get(at % STRIDE)
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot<T>> {
        let at = at as usize;
        self.chunks.get_mut(at / STRIDE)?.0.get_mut(at % STRIDE)
    }

    /// The item in a slot.
    pub fn get(&self, at: u32) -> Option<&T> {
        self.slot(at)?.item.as_ref()
    }

    /// The item in a slot, to be changed.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slot_mut(at)?.item.as_mut()
    }

    /// The slot of the first item.
    pub fn first(&self) -> Option<u32> {
        known(self.first)
    }

    /// The slot of the last item.
    pub fn last(&self) -> Option<u32> {
        known(self.last)
    }

    /// The slot after this one.
    pub fn next(&self, at: u32) -> Option<u32> {
        known(self.slot(at)?.next)
    }

    /// The slot before this one.
    pub fn prev(&self, at: u32) -> Option<u32> {
        known(self.slot(at)?.prev)
    }

    /// The slots from this one on, with their items.
    pub fn iter_from(&self, at: Option<u32>) -> impl Iterator<Item = (u32, &T)> {
        core::iter::successors(at, |at| self.next(*at))
            .filter_map(|at| self.get(at).map(|item| (at, item)))
    }

    /// All slots in use, with their items.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.iter_from(self.first())
    }

    /// Appends an item and returns its slot; `None`, and the item is dropped, when no slot is free.
    pub fn push_back(&mut self, item: T) -> Option<u32> {
        self.insert_with(NONE, || item)
    }

    /// Puts an item before all others and returns its slot; `None`, and the item is dropped, when
    /// no slot is free.
    pub fn push_front(&mut self, item: T) -> Option<u32> {
        self.insert_with(self.first, || item)
    }

    /// As [`Slots::push_back`], with an item that is made where it is to be, and not moved.
    #[inline(always)]
    pub fn push_back_with(&mut self, item: impl FnOnce() -> T) -> Option<u32> {
        self.insert_with(NONE, item)
    }

    /// Puts an item before the one in slot `before`, or at the end.
    #[inline(always)]
    fn insert_with(&mut self, before: u32, item: impl FnOnce() -> T) -> Option<u32> {
        let (at, last) = (self.free, self.last);
        let slot = self.slot_mut(at)?;
        let free = slot.next;
        slot.item = Some(item());
        (slot.prev, slot.next) = (last, NONE);
        self.free = free;
        self.len = self.len.saturating_add(1);
        if before != NONE {
            self.link(at, before);
            return Some(at);
        }
        // At the end, as nearly all.
        match self.slot_mut(last) {
            Some(slot) => slot.next = at,
            None => self.first = at,
        }
        self.last = at;
        Some(at)
    }

    /// Moves the item of a slot to before the one in slot `before`, or to the end.
    pub fn move_before(&mut self, at: u32, before: Option<u32>) {
        if self.get(at).is_none() || before == Some(at) {
            return;
        }
        self.unlink(at);
        self.link(at, before.unwrap_or(NONE));
    }

    fn link(&mut self, at: u32, before: u32) {
        let prev = match self.slot_mut(before) {
            Some(slot) => core::mem::replace(&mut slot.prev, at),
            None => core::mem::replace(&mut self.last, at),
        };
        match self.slot_mut(prev) {
            Some(slot) => slot.next = at,
            None => self.first = at,
        }
        if let Some(slot) = self.slot_mut(at) {
            (slot.prev, slot.next) = (prev, before);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slot(at) else {
            return;
        };
        let (prev, next) = (slot.prev, slot.next);
        match self.slot_mut(prev) {
            Some(slot) => slot.next = next,
            None => self.first = next,
        }
        match self.slot_mut(next) {
            Some(slot) => slot.prev = prev,
            None => self.last = prev,
        }
    }

    /// Takes an item out.
    #[inline(always)]
    pub fn remove(&mut self, at: u32) -> Option<T> {
        self.get(at)?;
        self.unlink(at);
        let free = core::mem::replace(&mut self.free, at);
        self.len = self.len.saturating_sub(1);
        let slot = self.slot_mut(at)?;
        (slot.prev, slot.next) = (NONE, free);
        slot.item.take()
    }

    /// As [`Slots::remove`], for what `f` takes out of the item: the rest is dropped where it is,
    /// and not moved.
    #[inline(always)]
    pub fn remove_with<R>(&mut self, at: u32, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let taken = f(self.get_mut(at)?);
        self.unlink(at);
        let free = core::mem::replace(&mut self.free, at);
        self.len = self.len.saturating_sub(1);
        let slot = self.slot_mut(at)?;
        (slot.prev, slot.next) = (NONE, free);
        slot.item = None;
        Some(taken)
    }

    /// Takes the first item out.
    pub fn pop_front(&mut self) -> Option<T> {
        self.remove(self.first)
    }
}

fn known(at: u32) -> Option<u32> {
    (at != NONE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Back(u8),
        Front(u8),
        Pop,
        Remove(usize),
        Move(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            any::<u8>().prop_map(Op::Back),
            any::<u8>().prop_map(Op::Front),
            Just(Op::Pop),
            (0..20usize).prop_map(Op::Remove),
            (0..20usize, 0..20usize).prop_map(|(a, b)| Op::Move(a, b)),
        ]
    }

    fn nth(slots: &Slots<u8>, n: usize) -> Option<u32> {
        slots.iter().nth(n).map(|(at, _)| at)
    }

    proptest! {
        /// It is a list, whatever is done to it.
        #[test]
        fn is_a_list(ops in prop::collection::vec(op(), 0..200)) {
            let (mut slots, mut plain) = (Slots::new(), Vec::new());
            for op in ops {
                if slots.len() == slots.capacity() {
                    prop_assert_eq!(slots.push_back(0), None);
                    slots.add(Chunk::new().unwrap()).unwrap();
                }
                match op {
                    Op::Back(item) => {
                        slots.push_back(item).unwrap();
                        plain.push(item);
                    }
                    Op::Front(item) => {
                        slots.push_front(item).unwrap();
                        plain.insert(0, item);
                    }
                    Op::Pop => {
                        let first = (!plain.is_empty()).then(|| plain.remove(0));
                        prop_assert_eq!(slots.pop_front(), first);
                    }
                    Op::Remove(n) => {
                        let item = (n < plain.len()).then(|| plain.remove(n));
                        let at = nth(&slots, n);
                        let removed = at.and_then(|at| match item {
                            Some(0..=127) => slots.remove_with(at, |item| *item),
                            _ => slots.remove(at),
                        });
                        prop_assert_eq!(removed, item);
                    }
                    Op::Move(from, to) => {
                        if let Some(at) = nth(&slots, from) {
                            let before = nth(&slots, to);
                            slots.move_before(at, before);
                            if from != to {
                                let item = plain.remove(from);
                                let to = to.min(plain.len() + 1);
                                plain.insert(if to > from { to - 1 } else { to }, item);
                            }
                        }
                    }
                }
                prop_assert_eq!(slots.iter().map(|(_, item)| *item).collect::<Vec<_>>(), plain.clone());
                prop_assert_eq!(slots.len() as usize, plain.len());
                prop_assert_eq!(slots.last().and_then(|at| slots.get(at)).copied(), plain.last().copied());
                let back = core::iter::successors(slots.last(), |at| slots.prev(*at));
                prop_assert_eq!(back.count(), plain.len());
            }
        }
    }

    #[test]
    fn only_an_empty_list_is_trimmed() {
        let mut slots = Slots::new();
        for n in 0..=(KEPT_CHUNKS * CHUNK) as u8 {
            if slots.len() == slots.capacity() {
                slots.add(Chunk::new().unwrap()).unwrap();
            }
            slots.push_back(n).unwrap();
        }
        assert!(slots.trim().is_none());
        while slots.pop_front().is_some() {}
        assert_eq!(
            slots.trim().map(|rest| rest.capacity()),
            Some(((KEPT_CHUNKS + 1) * CHUNK) as u32)
        );
        assert_eq!(slots.capacity(), 0);
        slots.add(Chunk::new().unwrap()).unwrap();
        assert!(slots.trim().is_none());
    }
}
