// SPDX-License-Identifier: GPL-2.0

//! Runs of one test in many interleavings.

use kbus_interleavings::Namespace;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::scheduler::Scheduler;
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
pub fn explore<T: Ord + Send + 'static>(
    test: impl Fn(&Arc<Namespace>) -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    explore_one_in(1, test)
}

/// The same in so many times fewer interleavings, for a test of which each takes long.
pub fn explore_one_in<T: Ord + Send + 'static>(
    part: usize,
    test: impl Fn(&Arc<Namespace>) -> T + Send + Sync + 'static,
) -> BTreeSet<T> {
    let test = Arc::new(test);
    let outcomes = Arc::new(Mutex::new(BTreeSet::new()));
    let times = std::env::var("KBUS_INTERLEAVINGS").ok();
    let times = times.map_or(TIMES, |times| times.parse().unwrap()) / part;
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
