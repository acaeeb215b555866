// SPDX-License-Identifier: GPL-2.0

//! Calls of several threads at once, in some thousands of interleavings each.
//!
//! A thread that sleeps for ever is a deadlock, which shuttle finds; so is one that takes two queues. Each test ends with
//! sockets that are *quiet*: see `Socket::is_quiet`.

mod answers;
mod waiting;
mod wakes;

use kbus_interleavings::Namespace;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::scheduler::Scheduler;
use shuttle::thread::spawn;
use shuttle::thread::JoinHandle;
use shuttle::Config;
use shuttle::Runner;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

/// Interleavings of each scheduler, unless `KBUS_INTERLEAVINGS` says otherwise.
const TIMES: usize = 1500;
/// Each run tries the same ones.
const SEED: u64 = 0x4b42_5553;

/// Runs a test in many interleavings: in random ones, and in those that few unlikely switches of threads make.
///
/// Returns what the test returned, each outcome once.
fn explore<T: Ord + Send + 'static>(
    test: impl Fn(&Arc<Namespace>) -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let test = Arc::new(test);
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let times = std::env::var("KBUS_INTERLEAVINGS").ok();
    let times = times.map_or(TIMES, |times| times.parse().unwrap());
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let (test, outcomes) = (test.clone(), outcomes.clone());
        let mut config = Config::new();
        config.stack_size = 256 << 10;
        Runner::new(scheduler, config).run(move || {
            let net = Arc::new(Namespace::default());
            let outcome = test(&net);
            net.is_empty();
            outcomes.lock().unwrap().insert(outcome);
        });
    };
    run(Box::new(RandomScheduler::new_from_seed(SEED, times)));
    for depth in 2..4 {
        let pct = PctScheduler::new_from_seed(SEED + depth as u64, depth, times / 2);
        run(Box::new(pct));
    }
    let mut outcomes = outcomes.lock().unwrap();
    std::mem::take(&mut *outcomes)
}

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
