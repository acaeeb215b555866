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
#[path = "mem/kernel.rs"]
mod imp;

#[cfg(not(CONFIG_NET))]
#[path = "mem/host.rs"]
mod imp;

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
