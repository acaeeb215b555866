// SPDX-License-Identifier: GPL-2.0
//! A listener with many bindings that do match: each is a copy, and is paid for.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;

use crate::clock::median_of;
use crate::clock::ticks;
use crate::plain;
use crate::plain::Inbox;
use crate::report::progress;
use crate::report::Table;

const COUNTS: [u64; 4] = [1, 4, 16, 64];
const NAME: &str = "$.Bench.Room.Kitchen";
/// They overlap: each of them matches the name.
const PATTERNS: [&str; 4] = ["$.*", "$.Bench.*", "$.Bench.Room.%", NAME];
const PAYLOAD: [u8; 64] = [0x5a; 64];
const TIMES: usize = 50;

/// Measures an announcement that matches 1 … 64 bindings of one socket.
pub fn run() {
    let mut table = Table::new(&["matching bindings", "announce", "for each copy"]);
    for count in COUNTS {
        progress(&format!("{count} bindings that match"));
        let bus = fresh_bus();
        let (sender, listener) = (plain::on_bus(&bus), plain::on_bus(&bus));
        for pattern in PATTERNS.iter().cycle().take(count as usize) {
            listener.listen(pattern).expect("listen");
        }
        let to = message_address(NAME);
        let mut inbox = Inbox::new();
        let announce = median_of(TIMES, || {
            let ticks = ticks(|| {
                sender.send_raw(&to, &PAYLOAD, 0).expect("announce");
            });
            assert_eq!(inbox.drain(&listener), count, "a copy for each binding");
            ticks
        });
        table.row(vec![
            count.to_string(),
            announce.to_string(),
            (announce / count).to_string(),
        ]);
    }
    table.print(
        "Bindings that match",
        "One socket's, which overlap: `$.*`, `$.Bench.*`, `$.Bench.Room.%` and the name itself, each as often as needed.",
    );
}
