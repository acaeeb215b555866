// SPDX-License-Identifier: GPL-2.0

//! Calls of several threads at once, in some thousands of interleavings each.
//!
//! A thread that sleeps for ever is a deadlock, which shuttle finds; so is one that takes two queues. Each test ends with
//! sockets that are *quiet*: see `Socket::is_quiet`.

mod answers;
#[path = "../explore/mod.rs"]
mod explore;
mod steps;
mod waiting;
mod wakes;

use explore::explore;
use explore::explore_one_in;
use shuttle::thread::spawn;
use shuttle::thread::JoinHandle;
use std::sync::Arc;

/// Lets a thread have a shared thing.
fn with<T, S, F>(shared: &Arc<S>, f: F) -> JoinHandle<T>
where
    T: Send + 'static,
    S: Send + Sync + 'static,
    F: FnOnce(&S) -> T + Send + 'static,
{
    let shared = shared.clone();
    spawn(move || {
        let result = f(&shared);
        // As a thread gives its files up before it can be waited for.
        drop(shared);
        result
    })
}
