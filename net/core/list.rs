// SPDX-License-Identifier: GPL-2.0

//! A first-in-first-out list that allocates nothing when it is changed.
//!
//! Two singly linked stacks: the front one is in reading order, the back one the other way round
//! and turned over when the front one runs out. Items are made by the caller beforehand.

use super::mem;
use super::mem::AllocError;
use super::mem::Box;

type Link<T> = Option<Box<Item<T>>>;

/// A value that can be put in a list.
pub struct Item<T> {
    next: Link<T>,
    /// The value.
    pub value: T,
}

impl<T> Item<T> {
    /// Makes an item.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when there is no memory.
    pub fn new(value: T) -> Result<Box<Self>, AllocError> {
        mem::new_box(Item { next: None, value })
    }
}

/// The list. Dropping it drops its items one after the other, not recursively.
pub struct List<T> {
    front: Link<T>,
    back: Link<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List::new()
    }
}

impl<T> List<T> {
    /// An empty list.
    pub const fn new() -> Self {
        List {
            front: None,
            back: None,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.front.is_none() && self.back.is_none()
    }

    /// Appends an item.
    pub fn push_back(&mut self, mut item: Box<Item<T>>) {
        item.next = self.back.take();
        self.back = Some(item);
    }

    /// Puts an item before all others.
    pub fn push_front(&mut self, mut item: Box<Item<T>>) {
        item.next = self.front.take();
        self.front = Some(item);
    }

    /// The first value.
    pub fn front(&mut self) -> Option<&T> {
        self.turn();
        self.front.as_ref().map(|item| &item.value)
    }

    /// The first value of which `which` says so.
    pub fn find_mut(&mut self, which: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut next = &mut self.front;
        while let Some(item) = next {
            if which(&item.value) {
                return Some(&mut item.value);
            }
            next = &mut item.next;
        }
        // The other stack is in reverse order: its last one is the first.
        let mut at: usize = 0;
        let mut found = None;
        let mut look = &self.back;
        while let Some(item) = look {
            if which(&item.value) {
                found = Some(at);
            }
            at = at.saturating_add(1);
            look = &item.next;
        }
        let mut left = found?;
        let mut next = &mut self.back;
        while let Some(item) = next {
            if left == 0 {
                return Some(&mut item.value);
            }
            left = left.saturating_sub(1);
            next = &mut item.next;
        }
        None
    }

    /// Takes the first item out.
    pub fn pop_front(&mut self) -> Option<Box<Item<T>>> {
        self.turn();
        let mut item = self.front.take()?;
        self.front = item.next.take();
        Some(item)
    }

    /// Takes an item out, it does not matter which: the one that is nearest at hand.
    pub fn pop_any(&mut self) -> Option<Box<Item<T>>> {
        let stack = match self.front {
            Some(_) => &mut self.front,
            None => &mut self.back,
        };
        let mut item = stack.take()?;
        *stack = item.next.take();
        Some(item)
    }

    /// Takes all items out for which `which` says so; both parts keep their order.
    pub fn extract(&mut self, mut which: impl FnMut(&T) -> bool) -> List<T> {
        let mut out = List::new();
        let mut kept = List::new();
        while let Some(item) = self.pop_front() {
            if which(&item.value) {
                out.push_back(item);
            } else {
                kept.push_back(item);
            }
        }
        *self = kept;
        out
    }

    /// Moves all items of `other` to the end of this list.
    pub fn append(&mut self, mut other: List<T>) {
        while let Some(item) = other.pop_front() {
            self.push_back(item);
        }
    }

    fn turn(&mut self) {
        if self.front.is_some() {
            return;
        }
        while let Some(mut item) = self.back.take() {
            self.back = item.next.take();
            self.push_front(item);
        }
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        while self.pop_any().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut list: List<u32>) -> std::vec::Vec<u32> {
        std::iter::from_fn(|| list.pop_front().map(|i| i.value)).collect()
    }

    #[test]
    fn keeps_the_order() {
        let mut list = List::new();
        for n in 1..6 {
            list.push_back(Item::new(n).unwrap());
        }
        assert_eq!(list.front(), Some(&1));
        list.push_back(Item::new(6).unwrap());
        list.push_front(Item::new(0).unwrap());
        assert_eq!(list.pop_any().map(|item| item.value), Some(0));
        list.push_front(Item::new(0).unwrap());
        let mut odd = list.extract(|n| n % 2 == 1);
        assert_eq!(drain(list), [0, 2, 4, 6]);
        let mut more = List::new();
        more.push_back(Item::new(9).unwrap());
        odd.append(more);
        assert_eq!(drain(odd), [1, 3, 5, 9]);
    }

    /// The first is found wherever it lies: before what was turned over, or in what was not.
    #[test]
    fn finds_the_first_of_several() {
        let mut list = List::new();
        for n in 1..4 {
            list.push_back(Item::new(n).unwrap());
        }
        assert_eq!(list.find_mut(|n| *n > 1), Some(&mut 2));
        assert_eq!(list.find_mut(|n| *n > 3), None);
        list.front();
        for n in 4..7 {
            list.push_back(Item::new(n).unwrap());
        }
        for n in 1..7 {
            assert_eq!(list.find_mut(|m| *m >= n), Some(&mut { n }));
        }
    }

    #[test]
    fn a_long_list_is_dropped_without_recursion() {
        let mut list = List::new();
        for n in 0..1_000_000 {
            list.push_back(Item::new(n).unwrap());
        }
        list.front();
        drop(list);
    }
}
