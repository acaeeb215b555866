// SPDX-License-Identifier: GPL-2.0
//! Sockets that come and go, or stay, for the tests of loading and unloading.

use std::thread;
use std::time::Duration;

use kbus_selftests::sys::Sock;

/// Makes a bus, asks, answers and closes, for ever.
///
/// Failures are expected: the module comes and goes meanwhile.
pub fn churn() -> ! {
    loop {
        // A third of the time there is a socket.
        thread::sleep(Duration::from_millis(2));
        let _ = once();
    }
}

fn once() -> Option<()> {
    let asker = Sock::open().ok()?;
    let replier = Sock::open().ok()?;
    asker.bind("churn").ok()?;
    replier.bind("churn").ok()?;
    replier.replier("$.A").ok()?;
    asker.request("$.A", b"?").ok()?;
    let request = replier.recv().ok()?;
    replier.reply(&request, b"!").ok()?;
    asker.recv().ok()?;
    // This one is still owed when the replier closes.
    asker.request("$.A", b"?").ok()?;
    Some(())
}

/// Keeps one bound socket until it is killed.
pub fn hold() -> ! {
    let sock = Sock::open().expect("socket");
    sock.bind("hold").expect("bind");
    loop {
        thread::park();
    }
}
