// SPDX-License-Identifier: GPL-2.0
//! Memory that calls are given, some of which cannot be touched.

use std::ptr;

use crate::address;

/// Bytes of the area that payloads are taken from.
const AREA: usize = 17 << 20;

/// Memory that calls are given.
#[derive(Debug)]
pub struct Buffers {
    area: *mut u8,
}

// SAFETY: The kernel alone reads and writes the area, and what is in it is of no interest.
unsafe impl Send for Buffers {}
// SAFETY: As above.
unsafe impl Sync for Buffers {}

impl Buffers {
    /// Maps the area, and after it a page that cannot be touched.
    pub fn new() -> Buffers {
        // SAFETY: New mappings touch nobody's memory.
        let area = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let area = libc::mmap(ptr::null_mut(), AREA + 4096, prot, flags, -1, 0);
            assert_ne!(area, libc::MAP_FAILED, "mmap");
            libc::mprotect(area.cast::<u8>().add(AREA).cast(), 4096, libc::PROT_NONE);
            area
        };
        Buffers { area: area.cast() }
    }

    /// Memory for so many bytes.
    pub fn whole(&self) -> *mut u8 {
        self.area
    }

    /// Memory of which no byte can be touched.
    pub fn fault(&self) -> *mut u8 {
        self.area.wrapping_add(AREA)
    }

    /// Memory whose second half cannot be touched.
    pub fn half_fault(&self, len: usize) -> *mut u8 {
        self.area.wrapping_add(AREA).wrapping_sub(len.min(AREA) / 2)
    }

    /// The bytes, or what cannot be read where they stand for that.
    pub fn place(&self, bytes: &[u8]) -> *const u8 {
        if bytes == address::FAULT {
            self.fault()
        } else {
            bytes.as_ptr()
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: It is our own mapping, and no call uses it any more.
        unsafe { libc::munmap(self.area.cast(), AREA + 4096) };
    }
}
