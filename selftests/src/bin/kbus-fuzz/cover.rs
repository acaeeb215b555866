// SPDX-License-Identifier: GPL-2.0
//! What a program has reached: KCOV, and memory that all processes of the fuzzer share.

use std::cell::UnsafeCell;
use std::fs;
use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use crate::random::Rng;

const KCOV: &std::ffi::CStr = c"/sys/kernel/debug/kcov";
const KCOV_INIT_TRACE: libc::c_ulong = 0x8008_6301;
const KCOV_ENABLE: libc::c_ulong = 0x6364;
const KCOV_TRACE_PC: libc::c_ulong = 0;

/// Words of a trace; what is more is not seen.
const TRACE: usize = 1 << 18;
/// Bytes of the module's code at most.
const TEXT: usize = 1 << 20;
/// Different outcomes of calls that are told apart.
const OUTCOMES: usize = 1 << 14;
/// A [`Spot`] that is no place in the code but an outcome of a call.
const OUTCOME: u32 = 1 << 31;

/// Programs that one process runs at most.
pub const BATCH: usize = 16;

/// A place in the module's code that was reached, as an offset, or an outcome of a call.
pub type Spot = u32;

/// Maps memory that children share; all zeroes.
fn shared_memory(len: usize) -> *mut u8 {
    // SAFETY: A new mapping touches nobody's memory.
    let at = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0)
    };
    assert_ne!(at, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
    at.cast()
}

/// What the processes of the fuzzer tell each other.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    /// The program that runs, for whoever looks into the memory of a machine that has crashed.
    note: UnsafeCell<[u8; 8192]>,
    /// What was wrong, as text.
    finding: UnsafeCell<[u8; 4096]>,
    finding_len: AtomicU32,
    /// The line that each of the two threads has come to.
    pub at: [AtomicU32; 2],
    /// Calls made.
    pub calls: AtomicU64,
    /// The highest peer id so far.
    pub last_peer: AtomicU64,
    /// Programs of this process that have ended, and what was fresh by the end of each.
    pub done: AtomicU32,
    marks: [AtomicU32; BATCH],
    fresh_len: AtomicU32,
    fresh: [AtomicU32; 1 << 16],
    seen: [AtomicU8; TEXT],
    outcomes: [AtomicU8; OUTCOMES],
}

// SAFETY: All is atomic but the two texts: `note` is written by the main thread of whoever runs programs, `finding` is written by who has raised
// `finding_len` from 0, and read when that one has ended.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps it; it stays.
    pub fn new() -> &'static Shared {
        // SAFETY: It is large and aligned enough, and all zeroes are valid.
        unsafe { &*shared_memory(size_of::<Shared>()).cast::<Shared>() }
    }

    /// Leaves the text where `qemu/boot.sh` finds it.
    pub fn note(&self, text: &str) {
        // In capitals nowhere but there: not in the program's file, and on no heap.
        let begin = b"\nkbus-fuzz-begin\n".iter().map(u8::to_ascii_uppercase);
        let end = b"kbus-fuzz-end\n".iter().map(u8::to_ascii_uppercase);
        let all = begin.chain(text.bytes().take(8000)).chain(end);
        for (at, byte) in all.enumerate() {
            // SAFETY: One process at a time writes it, and nobody reads it while the machine runs; it is long enough.
            unsafe { self.note.get().cast::<u8>().add(at).write_volatile(byte) };
        }
    }

    /// Says what is wrong; only the first one is kept.
    pub fn find(&self, text: &str) {
        let len = text.len().min(4096);
        if len > 0
            && self
                .finding_len
                .compare_exchange(0, 1, Relaxed, Relaxed)
                .is_ok()
        {
            // SAFETY: Only who has raised the length writes.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.finding.get().cast(), len) };
            self.finding_len.store(len as u32, Relaxed);
        }
    }

    /// What was said to be wrong.
    pub fn finding(&self) -> Option<String> {
        let len = self.finding_len.load(Relaxed) as usize;
        // SAFETY: Those who write it have ended.
        let text = unsafe { std::slice::from_raw_parts(self.finding.get().cast::<u8>(), len) };
        (len > 0).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// Begins a process of programs.
    pub fn begin(&self) {
        self.done.store(0, Relaxed);
        self.fresh_len.store(0, Relaxed);
        self.finding_len.store(0, Relaxed);
        self.at[0].store(0, Relaxed);
        self.at[1].store(0, Relaxed);
    }

    /// The next program of this process has ended.
    pub fn end_of_program(&self) {
        let done = self.done.load(Relaxed) as usize;
        self.marks[done].store(self.fresh_len.load(Relaxed), Relaxed);
        self.done.store(done as u32 + 1, Relaxed);
    }

    /// What each program was the first to reach; the last one may not have ended.
    pub fn fresh(&self) -> Vec<Vec<Spot>> {
        let done = self.done.load(Relaxed) as usize;
        let mut marks: Vec<u32> = self.marks[..done]
            .iter()
            .map(|mark| mark.load(Relaxed))
            .collect();
        marks.push(self.fresh_len.load(Relaxed));
        let mut from = 0;
        let mut all = Vec::new();
        for mark in marks {
            let to = (mark as usize).clamp(from, self.fresh.len());
            all.push(
                self.fresh[from..to]
                    .iter()
                    .map(|spot| spot.load(Relaxed))
                    .collect(),
            );
            from = to;
        }
        all
    }

    /// Forgets that these were reached.
    pub fn forget(&self, spots: &[Spot]) {
        for spot in spots {
            self.place(*spot).store(0, Relaxed);
        }
    }

    /// Says that these were reached after all.
    pub fn remember(&self, spots: &[Spot]) {
        for spot in spots {
            self.place(*spot).store(1, Relaxed);
        }
    }

    fn place(&self, spot: Spot) -> &AtomicU8 {
        match spot & OUTCOME {
            0 => &self.seen[spot as usize],
            _ => &self.outcomes[(spot & !OUTCOME) as usize],
        }
    }

    fn reach(&self, spot: Spot) {
        let place = self.place(spot);
        if place.load(Relaxed) == 0 && place.swap(1, Relaxed) == 0 {
            let at = self.fresh_len.fetch_add(1, Relaxed) as usize;
            if let Some(entry) = self.fresh.get(at) {
                entry.store(spot, Relaxed);
            }
        }
    }

    /// Notes how a call of a kind ended.
    pub fn outcome(&self, kind: u64, errno: i64) {
        let hash = Rng::new((kind << 20) ^ errno as u64).next();
        self.reach(OUTCOME | (hash as u32 % OUTCOMES as u32));
    }

    /// Offsets of the module's code that were reached.
    pub fn code(&self) -> Vec<u32> {
        let seen = self.seen.iter().enumerate();
        seen.filter(|(_, place)| place.load(Relaxed) != 0)
            .map(|(at, _)| at as u32)
            .collect()
    }
}

/// The trace of one task at a time.
#[derive(Debug)]
pub struct Trace {
    fd: i32,
    area: *const AtomicU64,
    /// Where the module's code begins.
    base: u64,
}

// SAFETY: The area is only read and written atomically.
unsafe impl Send for Trace {}
// SAFETY: As above.
unsafe impl Sync for Trace {}

impl Trace {
    /// A trace, if this kernel has KCOV.
    pub fn new() -> Option<Trace> {
        let text = fs::read_to_string("/sys/module/kbus/sections/.text").ok()?;
        let base = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
        // SAFETY: The path is a string; a new mapping touches nobody's memory.
        unsafe {
            let fd = libc::open(KCOV.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            if fd < 0 || libc::ioctl(fd, KCOV_INIT_TRACE, TRACE) != 0 {
                return None;
            }
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let area = libc::mmap(ptr::null_mut(), TRACE * 8, prot, libc::MAP_SHARED, fd, 0);
            let trace = Trace {
                fd,
                area: area.cast(),
                base,
            };
            (area != libc::MAP_FAILED).then_some(trace)
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < TRACE, "within the trace");
        // SAFETY: It is in the area, which stays mapped.
        unsafe { &*self.area.add(at) }
    }

    /// Traces this task until it ends.
    pub fn enable(&self) {
        self.word(0).store(0, Relaxed);
        // SAFETY: The descriptor is KCOV's.
        let r = unsafe { libc::ioctl(self.fd, KCOV_ENABLE, KCOV_TRACE_PC) };
        assert_eq!(r, 0, "KCOV_ENABLE: {}", io::Error::last_os_error());
    }

    /// Takes what was traced since the last time.
    pub fn take(&self, shared: &Shared) {
        let len = (self.word(0).load(Relaxed) as usize).min(TRACE - 1);
        for at in 1..=len {
            let offset = self.word(at).load(Relaxed).wrapping_sub(self.base);
            if offset < TEXT as u64 {
                shared.reach(offset as Spot);
            }
        }
        self.word(0).store(0, Relaxed);
    }
}
