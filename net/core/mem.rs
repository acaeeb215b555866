// SPDX-License-Identifier: GPL-2.0

//! The one place where memory comes from.
//!
//! Every allocation of the bus is fallible and goes through this facade: over `KBox`, `KVec`,
//! `KVVec` and the kernel's `Arc` in the module (charged to the memory cgroup of the task that
//! causes it; none waits for memory, as it is under the lock of the bus: see `reclaim.rs`), over the standard library on the host, where [`fail_after`] makes the k-th
//! allocation of a thread fail.

#[cfg(CONFIG_NET)]
#[cfg_attr(test, mutants::skip)] // Not compiled on the host, where the tests run.
mod imp {
    use crate::reclaim::nowait;
    use kernel::alloc::KBox;
    use kernel::alloc::KVVec;

    use core::mem::MaybeUninit;
    use kernel::sync::UniqueArc;

    pub use kernel::alloc::AllocError;
    pub use kernel::sync::Arc;

    /// A box of the kernel's.
    pub type Box<T> = KBox<T>;
    /// A vector; large ones are not physically contiguous.
    pub type Vec<T> = KVVec<T>;

    /// Allocates a box.
    pub fn new_box<T>(value: T) -> Result<Box<T>, AllocError> {
        KBox::new(value, nowait())
    }

    /// Takes the value out of its box.
    pub fn unbox<T>(value: Box<T>) -> T {
        KBox::into_inner(value)
    }

    /// Allocates a reference-counted value.
    pub fn new_arc<T>(value: T) -> Result<Arc<T>, AllocError> {
        Arc::new(value, nowait())
    }

    /// Memory for a reference-counted value.
    pub struct ArcRoom<T>(UniqueArc<MaybeUninit<T>>);

    impl<T> ArcRoom<T> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            Ok(ArcRoom(UniqueArc::new_uninit(nowait())?))
        }

        /// Puts the value in.
        pub fn fill(self, value: T) -> Arc<T> {
            self.0.write(value).into()
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

    /// Copies bytes into a new vector.
    pub fn try_copy(bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
        let mut vec = Vec::new();
        vec.extend_from_slice(bytes, nowait())?;
        Ok(vec)
    }

    /// Inserts an element at `at`, which must not lie beyond the end.
    pub fn vec_insert<T>(vec: &mut Vec<T>, at: usize, value: T) -> Result<(), AllocError> {
        vec.reserve(1, nowait())?;
        vec.insert_within_capacity(at, value)
            .map_err(|_| AllocError)
    }

    /// Removes the element at `at`, if there is one.
    pub fn vec_remove<T>(vec: &mut Vec<T>, at: usize) -> Option<T> {
        vec.remove(at).ok()
    }
}

#[cfg(not(CONFIG_NET))]
mod imp {
    use std::cell::Cell;
    use std::marker::PhantomData;

    pub use std::boxed::Box;
    pub use std::sync::Arc;
    pub use std::vec::Vec;

    /// An allocation failed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocError;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets the next `k` allocations of this thread succeed and all later ones fail.
    ///
    /// `None` lifts that. Returns what was left of the previous count.
    pub fn fail_after(k: Option<u64>) -> Option<u64> {
        LEFT.with(|left| left.replace(k))
    }

    fn account() -> Result<(), AllocError> {
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
        account()?;
        Ok(Box::new(value))
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

    /// Memory for a reference-counted value.
    pub struct ArcRoom<T>(PhantomData<T>);

    impl<T> ArcRoom<T> {
        /// Allocates it.
        pub fn new() -> Result<Self, AllocError> {
            account()?;
            Ok(ArcRoom(PhantomData))
        }

        /// Puts the value in.
        pub fn fill(self, value: T) -> Arc<T> {
            Arc::new(value)
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

    /// Copies bytes into a new vector.
    pub fn try_copy(bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
        let mut vec = Vec::new();
        reserve(&mut vec, bytes.len())?;
        vec.extend_from_slice(bytes);
        Ok(vec)
    }

    /// Inserts an element at `at`, which must not lie beyond the end.
    pub fn vec_insert<T>(vec: &mut Vec<T>, at: usize, value: T) -> Result<(), AllocError> {
        reserve(vec, 1)?;
        if at > vec.len() {
            return Err(AllocError);
        }
        vec.insert(at, value);
        Ok(())
    }

    /// Removes the element at `at`, if there is one.
    pub fn vec_remove<T>(vec: &mut Vec<T>, at: usize) -> Option<T> {
        (at < vec.len()).then(|| vec.remove(at))
    }
}

pub use self::imp::*;

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

/// Appends an element.
///
/// # Errors
///
/// [`AllocError`] when there is no memory; the element is dropped.
pub fn push<T>(vec: &mut Vec<T>, value: T) -> Result<(), AllocError> {
    reserve(vec, 1)?;
    push_reserved(vec, value).map_err(|_| AllocError)
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

    /// Places beyond the end are refused, and what was to go there does not get lost in silence.
    #[test]
    fn places_beyond_the_end_are_refused() {
        let mut vec = with_capacity(3).unwrap();
        assert_eq!(vec_insert(&mut vec, 1, 'a'), Err(AllocError));
        assert_eq!(vec_insert(&mut vec, 0, 'c'), Ok(()));
        assert_eq!(vec_insert(&mut vec, 0, 'a'), Ok(()));
        assert_eq!(vec_insert(&mut vec, 1, 'b'), Ok(()));
        assert_eq!(vec_remove(&mut vec, 3), None);
        assert_eq!(vec_remove(&mut vec, 2), Some('c'));
        assert_eq!(vec, ['a', 'b']);
        let mut full: Vec<char> = Vec::new();
        assert_eq!(push_reserved(&mut full, 'x'), Err('x'));
        let copy = try_copy(b"ab").unwrap();
        assert_eq!(copy, b"ab");
    }
}
