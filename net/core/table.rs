// SPDX-License-Identifier: GPL-2.0

//! A hash table that grows and shrinks by one bucket at a time.
//!
//! *Linear hashing*: the number of buckets need not be a power of two. With each value that finds
//! the table full comes one bucket, and only the values of one other bucket are looked at again. So
//! no call takes longer because of how many values there are, and removing one allocates nothing.

use super::mem;
use super::mem::AllocError;
use super::mem::Box;
use super::mem::List;
use super::mem::Vec;

type Link<V> = Option<Box<Item<V>>>;

/// Buckets that are allocated at once.
const SEGMENT: usize = 64;

/// A value in its bucket.
struct Item<V> {
    hash: u64,
    next: Link<V>,
    value: V,
}

/// The table.
///
/// # Invariants
///
/// There are `buckets` buckets, all segments but the last are full, and none is empty. There are
/// at least as many buckets as values, and at most twice as many and one.
pub struct Table<V> {
    segments: List<Vec<Link<V>>>,
    buckets: usize,
    len: usize,
}

impl<V> Table<V> {
    /// An empty table.
    pub(super) const fn new() -> Self {
        Table {
            segments: List::new(),
            buckets: 0,
            len: 0,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value that has this hash and of which `is` says that it is the one.
    pub fn get(&self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&V> {
        let mut link = self.bucket(self.place(hash))?;
        while let Some(item) = link {
            if item.hash == hash && is(&item.value) {
                return Some(&item.value);
            }
            link = &item.next;
        }
        None
    }

    /// As [`Table::get`], to be changed.
    pub fn get_mut(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&mut V> {
        let item = self.link_to(hash, is)?.as_mut()?;
        Some(&mut item.value)
    }

    /// Puts a value in.
    ///
    /// # Errors
    ///
    /// [`AllocError`], and the table has the same values as before.
    pub fn insert(&mut self, hash: u64, value: V) -> Result<(), AllocError> {
        let item = mem::new_box(Item {
            hash,
            next: None,
            value,
        })?;
        if self.len >= self.buckets {
            self.add_bucket()?;
        }
        self.link(item);
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Takes a value out.
    pub fn remove(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<V> {
        let link = self.link_to(hash, is)?;
        let item = mem::unbox(link.take()?);
        *link = item.next;
        self.len = self.len.saturating_sub(1);
        // Two for one, or the table would never be smaller than half of what it was.
        for _ in 0..2 {
            if self.buckets / 2 > self.len {
                self.remove_bucket();
            }
        }
        Some(item.value)
    }

    /// The link to the value of [`Table::get`], or the empty one at the end of its bucket.
    fn link_to(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<&mut Link<V>> {
        let mut link = self.bucket_mut(self.place(hash))?;
        while link
            .as_ref()
            .is_some_and(|item| item.hash != hash || !is(&item.value))
        {
            link = &mut link.as_mut()?.next;
        }
        Some(link)
    }

    /// Where values of this hash are.
    ///
    /// By as many low bits as number all buckets; where there is no such bucket yet, by one less.
    fn place(&self, hash: u64) -> usize {
        let last = self.buckets.saturating_sub(1);
        let mask = usize::MAX.checked_shr(last.leading_zeros()).unwrap_or(0);
        let at = hash as usize & mask;
        if at <= last {
            at
        } else {
            at & (mask >> 1)
        }
    }

    fn bucket(&self, at: usize) -> Option<&Link<V>> {
        self.segments.get(at / SEGMENT)?.get(at % SEGMENT)
    }

    fn bucket_mut(&mut self, at: usize) -> Option<&mut Link<V>> {
        self.segments.get_mut(at / SEGMENT)?.get_mut(at % SEGMENT)
    }

    /// Puts an item in its bucket.
    fn link(&mut self, mut item: Box<Item<V>>) {
        if let Some(bucket) = self.bucket_mut(self.place(item.hash)) {
            item.next = bucket.take();
            *bucket = Some(item);
        }
    }

    /// Puts each item of a chain in its bucket.
    fn link_all(&mut self, mut chain: Link<V>) {
        while let Some(mut item) = chain {
            chain = item.next.take();
            self.link(item);
        }
    }

    /// Adds a bucket, and gives it its share of the one that had its values until now.
    fn add_bucket(&mut self) -> Result<(), AllocError> {
        if self.buckets % SEGMENT == 0 {
            let segment = mem::with_capacity(SEGMENT)?;
            mem::push(&mut self.segments, segment)?;
        }
        // Until it is there, its hashes lead to the other one.
        let other = self.place(self.buckets as u64);
        let segment = self.segments.last_mut().ok_or(AllocError)?;
        // Its memory is there: it has as much as for a whole one.
        mem::push_reserved(segment, None).map_err(|_| AllocError)?;
        self.buckets = self.buckets.saturating_add(1);
        let chain = self.bucket_mut(other).and_then(Option::take);
        self.link_all(chain);
        Ok(())
    }

    /// Removes the last bucket, and gives its values to the one that they came from.
    fn remove_bucket(&mut self) {
        let Some(segment) = self.segments.last_mut() else {
            return;
        };
        let chain = segment.pop().flatten();
        if segment.is_empty() {
            drop(self.segments.pop());
        }
        self.buckets = self.buckets.saturating_sub(1);
        self.link_all(chain);
    }
}

impl<V> Drop for Table<V> {
    /// Drops the items one after the other, not recursively.
    fn drop(&mut self) {
        while let Some(mut segment) = self.segments.pop() {
            while let Some(mut chain) = segment.pop() {
                while let Some(mut item) = chain {
                    chain = item.next.take();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::Key;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    impl<V> Table<V> {
        /// How many values are in each bucket.
        fn chains(&self) -> std::vec::Vec<usize> {
            let of = |at| {
                let mut link = self.bucket(at).unwrap();
                std::iter::from_fn(|| {
                    let item = link.as_ref()?;
                    assert_eq!(self.place(item.hash), at);
                    link = &item.next;
                    Some(())
                })
                .count()
            };
            (0..self.buckets).map(of).collect()
        }

        fn check(&self) {
            assert_eq!(self.chains().iter().sum::<usize>(), self.len);
            assert!(self.len <= self.buckets);
            assert!(self.buckets <= 2 * self.len + 1);
            let buckets = self.segments.iter().map(|segment| segment.len());
            assert_eq!(buckets.sum::<usize>(), self.buckets);
            assert_eq!(self.segments.len(), self.buckets.div_ceil(SEGMENT));
        }
    }

    proptest! {
        /// Also where many hashes are the same, or agree in their low bits.
        #[test]
        fn behaves_as_a_map(
            ops in prop::collection::vec((0u8..5, 0u16..400), 0..900),
            shift in 0u32..16,
            mask in prop::sample::select(vec![0, 7, 0xff, u64::MAX]),
        ) {
            let hash = |key: u16| (u64::from(key) << shift) & mask;
            let mut table = Table::new();
            let mut map = HashMap::new();
            for (op, key) in ops {
                let is = |(k, _): &(u16, u8)| *k == key;
                match op {
                    0..3 => {
                        if let std::collections::hash_map::Entry::Vacant(e) = map.entry(key) {
                            table.insert(hash(key), (key, op)).unwrap();
                            e.insert((key, op));
                        }
                    }
                    _ => prop_assert_eq!(table.remove(hash(key), is), map.remove(&key)),
                }
                prop_assert_eq!(table.get(hash(key), is), map.get(&key));
                prop_assert_eq!(table.get_mut(hash(key), is), map.get_mut(&key));
                prop_assert_eq!(table.is_empty(), map.is_empty());
            }
            table.check();
            for key in 0..400 {
                prop_assert_eq!(table.get(hash(key), |(k, _)| *k == key), map.get(&key));
            }
            for key in map.keys() {
                prop_assert!(table.remove(hash(*key), |(k, _)| k == key).is_some());
                table.check();
            }
            prop_assert!(table.buckets <= 1);
        }
    }

    /// However many names there are, few of them meet in one bucket.
    #[test]
    fn no_bucket_has_many_names() {
        let mut table = Table::new();
        for n in 0..100_000 {
            let hash = Key(17, 4).hash(0, format!("N{n}").as_bytes());
            table.insert(hash, n).unwrap();
        }
        table.check();
        assert!(*table.chains().iter().max().unwrap() <= 12);
    }

    #[test]
    fn without_memory_nothing_changes() {
        for len in [0, 1, 63, 64, 65, 128] {
            for k in 0.. {
                let mut table = Table::new();
                (0..len).for_each(|n| table.insert(n, n).unwrap());
                mem::fail_after(Some(k));
                let result = table.insert(len, len);
                mem::fail_after(None);
                let there = len + u64::from(result.is_ok());
                (0..=len).for_each(|n| assert_eq!(table.get(n, |_| true).is_some(), n < there));
                assert_eq!(table.len as u64, there);
                if result.is_ok() {
                    break;
                }
                table.insert(len, len).unwrap();
                table.check();
            }
        }
    }

    #[test]
    fn a_long_bucket_is_dropped_without_recursion() {
        let mut table = Table::new();
        (0..200_000).for_each(|n| table.insert(5, n).unwrap());
        let small = std::thread::Builder::new().stack_size(64 << 10);
        small.spawn(move || drop(table)).unwrap().join().unwrap();
    }
}
