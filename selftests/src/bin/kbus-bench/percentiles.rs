// SPDX-License-Identifier: GPL-2.0
//! How figures are spread where the scheduler has a say: not the median alone.

use std::sync::atomic::Ordering;

use kbus_selftests::attack::die_with_parent;
use kbus_selftests::attack::Counters;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;

use crate::clock::ticks;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::plain::KINDS;
use crate::report::progress;
use crate::report::ratio;
use crate::report::Table;
use crate::trips::Pair;

const LEN: usize = 64;
/// Sets of processes that are measured one after the other: the scheduler treats no two alike.
const SETS: usize = 20;
/// Turns of a set.
const TRIPS: usize = 500;
const ANNOUNCEMENTS: usize = 100;
/// Receivers of an announcement, each a process.
const FAN: usize = 64;

/// Measures turns of one kind.
type Turns = fn(Kind) -> Vec<u64>;

/// What so many turns take, each in turn; a tenth of them before do not count.
fn measure(turns: usize, mut turn: impl FnMut()) -> Vec<u64> {
    for _ in 0..turns / 10 {
        turn();
    }
    (0..turns).map(|_| ticks(&mut turn)).collect()
}

/// Requests with their replies.
fn round_trips(kind: Kind) -> Vec<u64> {
    let mut pair = Pair::new(kind, LEN);
    measure(TRIPS, || pair.turn())
}

/// Messages to many processes, each until all have read: the last of them says so.
fn fans(kind: Kind) -> Vec<u64> {
    let group = Group::new(kind, FAN);
    let (counters, all_have_read) = (Counters::new(1), Gate::new());
    let readers: Vec<Child> = group
        .receivers
        .iter()
        .map(|receiver| {
            Child::fork(|| {
                die_with_parent();
                let mut inbox = Inbox::new();
                loop {
                    inbox.expect(receiver, LEN);
                    let read = counters.0[0].fetch_add(1, Ordering::Relaxed) + 1;
                    if read % FAN as u64 == 0 {
                        all_have_read.open(read);
                    }
                }
            })
        })
        .collect();
    readers.iter().for_each(Child::wait_asleep);
    measure(ANNOUNCEMENTS, || {
        group.send(&[0x5a; LEN]);
        all_have_read.pass();
    })
}

/// Measures both and prints.
pub fn run() {
    let mut table = Table::new(&["", "half", "99 in 100", "all", "99 in 100 to half"]);
    let subjects: [(&str, Turns); 2] = [
        ("a request and its reply", round_trips),
        ("a message to 64 processes, all reads", fans),
    ];
    for (what, subject) in subjects {
        progress(&format!("{what}: percentiles"));
        for kind in KINDS {
            let name = match kind {
                Kind::Unix => "AF_UNIX",
                Kind::Kbus => "kbus",
            };
            let mut values: Vec<u64> = (0..SETS).flat_map(|_| subject(kind)).collect();
            values.sort_unstable();
            let (half, most) = (values[values.len() / 2], values[values.len() * 99 / 100]);
            let all = values[values.len() - 1];
            table.row(vec![
                format!("{name}: {what}"),
                half.to_string(),
                most.to_string(),
                all.to_string(),
                ratio(most, half),
            ]);
        }
    }
    table.print(
        "How figures are spread",
        &format!(
            "What half of the turns take at most, what 99 of 100, and what all of them: of {} requests, and of {} messages\n\
             to {FAN} processes, each of which sleeps until it has something to read; {LEN} bytes. The turn of a message ends when the\n\
             last one has read. After each {TRIPS} and {ANNOUNCEMENTS} turns come new processes. Interrupts are in it, and whatever \
             else the\nkernel does meanwhile.",
            SETS * TRIPS,
            SETS * ANNOUNCEMENTS,
        ),
    );
}
