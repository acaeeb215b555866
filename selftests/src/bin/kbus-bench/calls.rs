// SPDX-License-Identifier: GPL-2.0
//! Calls that come to nothing, and binding.

use kbus_selftests::sys::message_address;

use crate::clock::median_of;
use crate::clock::ticks;
use crate::plain::Group;
use crate::plain::Inbox;
use crate::plain::Kind;
use crate::report::progress;
use crate::report::Table;

const TIMES: usize = 500;
const PAYLOAD: [u8; 64] = [0x5a; 64];

/// Measures and prints.
pub fn run() {
    progress("calls that come to nothing");
    let (unix, kbus) = (Group::new(Kind::Unix, 1), Group::new(Kind::Kbus, 1));
    let mut table = Table::new(&["", "AF_UNIX", "kbus"]);
    let send = |group: &Group, to: &[u8]| {
        median_of(TIMES, || {
            ticks(|| {
                let _ = group.sender.send_raw(to, &PAYLOAD, libc::MSG_DONTWAIT);
            })
        })
    };
    let mut nobody = unix.addresses[0].clone();
    nobody.push(b'x');
    table.row(vec![
        "a send to an address where nobody is, a name nobody listens to".to_string(),
        send(&unix, &nobody).to_string(),
        send(&kbus, &message_address("$.Bench.Nobody")).to_string(),
    ]);
    table.row(vec![
        "a send to a malformed address".to_string(),
        send(&unix, &[1, 0]).to_string(),
        send(&kbus, &message_address("$.Bench..Hit")).to_string(),
    ]);
    let mut inbox = Inbox::new();
    let mut read = |group: &Group| {
        median_of(TIMES, || {
            ticks(|| assert!(!inbox.receive(&group.receivers[0], libc::MSG_DONTWAIT)))
        })
    };
    table.row(vec![
        "a non-blocking read where nothing is".to_string(),
        read(&unix).to_string(),
        read(&kbus).to_string(),
    ]);
    table.print(
        "Calls that come to nothing",
        "All of them fail, but for a message without listeners.",
    );
}
