// SPDX-License-Identifier: GPL-2.0
//! Memory of the kernel's slabs for what waits and what is bound.

use std::fs;

use kbus_selftests::cgroup::drop_caches;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

use crate::plain;
use crate::plain::Group;
use crate::plain::Kind;
use crate::report::progress;
use crate::report::Table;

const MESSAGES: u32 = 10_000;
const BINDINGS: u32 = 4_000;
const SOCKETS: u32 = 500;
const PAYLOAD: [u8; 64] = [0x5a; 64];

/// Bytes of all slabs.
fn slabs() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = info.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("Slab:") * 1024
}

/// What each of `count` steps adds.
fn each(count: u32, mut step: impl FnMut(u32)) -> String {
    // What is free in slabs that are there would not be counted.
    drop_caches();
    let before = slabs();
    (0..count).for_each(&mut step);
    format!("{}", slabs().saturating_sub(before) / u64::from(count))
}

/// Measures and prints.
pub fn run() {
    progress("memory");
    let mut table = Table::new(&["", "AF_UNIX", "kbus"]);
    let unix: Vec<Group> = (0..MESSAGES / 100)
        .map(|_| Group::new(Kind::Unix, 1))
        .collect();
    let group = Group::new(Kind::Kbus, 1);
    group.receivers[0].set_queue_len(MESSAGES);
    let many = Group::new(Kind::Kbus, 101);
    table.row(vec![
        "a message of 64 bytes that waits".to_string(),
        each(MESSAGES, |n| unix[n as usize / 100].send(&PAYLOAD)),
        each(MESSAGES, |_| group.send(&PAYLOAD)),
    ]);
    let copies = each(MESSAGES / 100, |_| many.send(&PAYLOAD));
    let hundredth = copies.parse::<u64>().unwrap_or(0) / 101;
    table.row(vec![
        "each copy of one with 101 readers".to_string(),
        "the same".to_string(),
        hundredth.to_string(),
    ]);
    let binder = plain::on_bus(&fresh_bus());
    table.row(vec![
        "a binding, `$.Bench.Name123`".to_string(),
        "".to_string(),
        each(BINDINGS, |n| {
            binder.listen(&format!("$.Bench.Name{n}")).expect("listen");
        }),
    ]);
    drop((unix, group, many));
    let mut sockets = Vec::new();
    let mut idle = |make: &dyn Fn() -> Sock| each(SOCKETS, |_| sockets.push(make()));
    let bus = fresh_bus();
    // The bus itself is not counted.
    let first = plain::on_bus(&bus);
    table.row(vec![
        "a bound socket, idle".to_string(),
        idle(&|| plain::unix().0),
        idle(&|| plain::on_bus(&bus)),
    ]);
    drop(first);
    table.print("Memory", "Bytes of slabs, as `/proc/meminfo` counts them.");
}
