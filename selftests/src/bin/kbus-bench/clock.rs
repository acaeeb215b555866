// SPDX-License-Identifier: GPL-2.0
//! The clock: instructions, where the machine's time is made of them.
//!
//! Under QEMU's `-icount shift=0` the time-stamp counter goes up by one with each instruction of
//! the machine, the kernel's included. On any other machine it counts something like cycles.

use std::arch::asm;

/// The time-stamp counter.
pub fn now() -> u64 {
    // SAFETY: Always safe.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks that `f` takes.
pub fn ticks(f: impl FnOnce()) -> u64 {
    let start = now();
    f();
    now() - start
}

/// The median of `times` measurements, so that an interrupt in one of them does not count.
pub fn median_of(times: usize, f: impl FnMut() -> u64) -> u64 {
    median(std::iter::repeat_with(f).take(times).collect())
}

/// The median.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Whether a tick is an instruction.
pub fn counts_instructions() -> bool {
    (ticks_of_an_instruction() - 1.0).abs() < 0.02
}

/// Ticks that an instruction takes: measures a loop of known length.
pub fn ticks_of_an_instruction() -> f64 {
    const TURNS: u64 = 10_000;
    let counted = median_of(9, || {
        ticks(|| {
            // SAFETY: It changes one register and the flags.
            unsafe {
                asm!("2: dec {0}", "jnz 2b", inout(reg) TURNS => _, options(nomem, nostack));
            }
        })
    });
    counted as f64 / (2 * TURNS) as f64
}
