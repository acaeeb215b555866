// SPDX-License-Identifier: GPL-2.0
//! Structures of the ABI as bytes.

use std::mem;
use std::ptr;

/// The bytes of a plain structure of the ABI.
pub(super) fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    let len = mem::size_of::<T>();
    // SAFETY: The structures used here have no padding; the slice is copied.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), len) }.to_vec()
}

/// Reads a structure of the ABI from the first of these bytes.
pub(super) fn from_bytes<T: Copy + Default>(bytes: &[u8]) -> T {
    let mut value = T::default();
    let len = bytes.len().min(mem::size_of::<T>());
    // SAFETY: Any bytes are valid in the structures used here, `len` fits both.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ptr::from_mut(&mut value).cast(), len) };
    value
}
