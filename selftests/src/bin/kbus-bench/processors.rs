// SPDX-License-Identifier: GPL-2.0
//! Askers and repliers on two processors, with a bus for each pair or one for all.
//!
//! `make bench` runs it in a machine of its own whose two processors take turns on one thread of the
//! host, and whose clock goes on with the instructions of both. So what it measures is the work of
//! the whole machine, and none of what processors gain by running at once.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use kbus_selftests::attack::die_with_parent;
use kbus_selftests::attack::stay_on;
use kbus_selftests::attack::Counters;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;

use crate::clock::now;
use crate::clock::ticks_of_an_instruction;
use crate::plain::Kind;
use crate::report::progress;
use crate::report::ratio;
use crate::report::Table;
use crate::trips::Pair;

/// Pairs of an asker and its replier, and how many processors they have; a pair stays on one.
const CASES: [(u32, usize); 5] = [(1, 1), (2, 1), (2, 2), (8, 1), (8, 2)];
const LEN: usize = 64;
const WARM: Duration = Duration::from_millis(100);
/// Of the machine's time: a hundred million instructions, where each takes eight nanoseconds.
const LONG: Duration = Duration::from_millis(800);

/// Which buses the pairs have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buses {
    One,
    Each,
}

/// Ticks of the machine for each request and its reply.
fn measure(kind: Kind, buses: Buses, pairs: u32, cpus: usize) -> f64 {
    let (counters, stop, ready) = (Counters::new(pairs), Counters::new(1), Gate::new());
    let shared = fresh_bus();
    let askers: Vec<Child> = (0..pairs)
        .zip(counters.0)
        .map(|(n, counter)| {
            let bus = match buses {
                Buses::One => shared.clone(),
                Buses::Each => fresh_bus(),
            };
            Child::fork(|| {
                die_with_parent();
                stay_on(n as usize % cpus);
                let mut pair = Pair::on(kind, LEN, &bus, &format!("$.Bench.N{n}"));
                ready.open(1);
                while stop.0[0].load(Ordering::Relaxed) == 0 {
                    pair.turn();
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    askers.iter().for_each(|_| {
        ready.pass();
    });
    let so_far = || {
        let requests = counters.0.iter().map(|n| n.load(Ordering::Relaxed));
        (requests.sum::<u64>(), now())
    };
    thread::sleep(WARM);
    let first = so_far();
    thread::sleep(LONG);
    let last = so_far();
    stop.0[0].store(1, Ordering::Relaxed);
    askers.into_iter().for_each(Child::join);
    assert!(last.0 > first.0, "requests are answered");
    (last.1 - first.1) as f64 / (last.0 - first.0) as f64
}

/// Measures and prints.
pub fn run() {
    // In the machine of make bench it is eight, to the interrupts that come meanwhile.
    let tick = ticks_of_an_instruction().round().max(1.0);
    let mut table = Table::new(&[
        "pairs, processors",
        "AF_UNIX",
        "kbus, a bus each",
        "kbus, one bus",
        "one bus to a bus each",
    ]);
    for (pairs, cpus) in CASES {
        progress(&format!("{pairs} pairs on {cpus} processors"));
        let instructions = |kind, buses| (measure(kind, buses, pairs, cpus) / tick) as u64;
        let unix = instructions(Kind::Unix, Buses::Each);
        let each = instructions(Kind::Kbus, Buses::Each);
        let one = instructions(Kind::Kbus, Buses::One);
        table.row(vec![
            format!("{pairs}, {cpus}"),
            unix.to_string(),
            each.to_string(),
            one.to_string(),
            ratio(one, each),
        ]);
    }
    let what = match tick > 1.0 {
        true => "Instructions of the whole machine",
        false => "Ticks of the time-stamp counter",
    };
    let clock = match tick > 1.0 {
        true => format!(
            " The processors take turns, and the clock goes on by\n{tick} with each instruction of either: see above for what \
             this cannot show."
        ),
        false => String::new(),
    };
    table.print(
        "Two processors",
        &format!(
            "{what} for each request of {LEN} bytes and its reply, where pairs of an asker and its replier\n\
             ask as fast as they can. Both of a pair stay on one processor.{clock}"
        ),
    );
}
