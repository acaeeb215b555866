// SPDX-License-Identifier: GPL-2.0

//! Bytes of a user's budget that come back, and the sends that wait for them.
//!
//! A program of its own: budgets and the bell are the machine's, and the other tests are machines beside this one.

#[path = "../explore/mod.rs"]
mod explore;

use explore::explore;
use kbus_interleavings::budget_of_users;
use kbus_interleavings::uapi::KBUS_ALL_OR_WAIT;
use shuttle::thread::spawn;
use std::sync::Arc;

/// Sends that lack bytes go when a read on another bus gives some back, whoever reads and whenever.
///
/// Nobody makes room in the queues they are for: only who has read elsewhere tells their threads.
#[test]
fn a_read_elsewhere_lets_those_go_who_lack_bytes() {
    budget_of_users(10);
    explore(|net| {
        let full = Arc::new(net.socket_elsewhere().listens("$.Full", 10));
        let sender = net.socket_elsewhere();
        for _ in 0..2 {
            sender.send("$.Full", 0, "five.").unwrap();
        }
        let empty: Vec<_> = ["$.A", "$.B"]
            .map(|name| net.socket().listens(name, 10))
            .into();
        let sends = ["$.A", "$.B"].map(|name| {
            let sender = net.socket();
            spawn(move || sender.send(name, KBUS_ALL_OR_WAIT, "four").unwrap())
        });
        let reads = [0, 1].map(|_| {
            let full = full.clone();
            spawn(move || drop(full.receive().unwrap().unwrap()))
        });
        reads.map(|thread| thread.join().unwrap());
        sends.map(|thread| thread.join().unwrap());
        for socket in &empty {
            assert_eq!(socket.receive_now().unwrap().text, "four");
        }
        full.is_quiet();
    });
}
