// SPDX-License-Identifier: GPL-2.0

//! Memory, of which there is always some.

use super::sync::may_allocate;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ops::DerefMut;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

#[derive(Clone, Copy)]
pub struct Flags(u8);

impl Flags {
    /// Whether memory may be waited for.
    pub(crate) fn may_wait(self) -> bool {
        self.0 & flags::GFP_KERNEL.0 != 0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Flags(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Flags(self.0 & other.0)
    }
}

impl std::ops::Not for Flags {
    type Output = Self;

    fn not(self) -> Self {
        Flags(!self.0)
    }
}

pub(crate) mod flags {
    use super::Flags;

    pub(crate) const GFP_KERNEL: Flags = Flags(1);
    pub(crate) const GFP_KERNEL_ACCOUNT: Flags = Flags(3);
    pub(crate) const GFP_NOWAIT: Flags = Flags(4);
    pub(crate) const GFP_ATOMIC: Flags = Flags(12);
}

#[derive(Debug)]
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        may_allocate(flags);
        Ok(KBox(Box::new(value)))
    }

    pub fn new_uninit(flags: Flags) -> Result<KBox<MaybeUninit<T>>, AllocError> {
        KBox::new(MaybeUninit::uninit(), flags)
    }

    pub fn into_inner(this: Self) -> T {
        *this.0
    }

    pub fn drop_contents(this: Self) -> KBox<MaybeUninit<T>> {
        drop(this);
        KBox(Box::new(MaybeUninit::uninit()))
    }
}

impl<T> KBox<MaybeUninit<T>> {
    pub fn write(_this: Self, value: T) -> KBox<T> {
        KBox(Box::new(value))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

pub type KVec<T> = KVVec<T>;

#[derive(Debug, PartialEq, Eq)]
pub struct KVVec<T>(Vec<T>);

impl<T> Default for KVVec<T> {
    fn default() -> Self {
        KVVec::new()
    }
}

impl<T> KVVec<T> {
    pub const fn new() -> Self {
        KVVec(Vec::new())
    }

    pub fn reserve(&mut self, more: usize, flags: Flags) -> Result<(), AllocError> {
        may_allocate(flags);
        self.0.reserve(more);
        Ok(())
    }

    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
        if self.0.len() == self.0.capacity() {
            return Err(value);
        }
        self.0.push(value);
        Ok(())
    }

    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl<T: Clone> KVVec<T> {
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        may_allocate(flags);
        self.0.extend_from_slice(other);
        Ok(())
    }

    pub fn resize(&mut self, len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        may_allocate(flags);
        self.0.resize(len, value);
        Ok(())
    }
}

impl<T> Deref for KVVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a KVVec<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> DerefMut for KVVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
