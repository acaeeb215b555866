// SPDX-License-Identifier: GPL-2.0

//! `struct sock`: time limits, and those who poll.

use crate::prelude::Result;
use crate::sync::none_held;
use crate::sync::rcu;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;

/// How often those who poll were woken up.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WokenUp {
    /// Only those who poll to read.
    read: u64,
    /// Only those who poll to write.
    write: u64,
    /// All of them.
    all: u64,
}

impl WokenUp {
    /// What concerns somebody who polls to read, or to write.
    fn seen_by(self, reads: bool) -> (u64, u64) {
        (if reads { self.read } else { self.write }, self.all)
    }
}

#[derive(Default)]
pub(crate) struct Sock {
    pub(crate) receive_limit: AtomicUsize,
    pub(crate) send_limit: AtomicUsize,
    /// How many poll, and are in the wait queue.
    polling: shuttle::sync::atomic::AtomicUsize,
    woken: shuttle::sync::Mutex<WokenUp>,
    wait_queue: shuttle::sync::Condvar,
}

pub(crate) enum Flag {
    RxqOvfl,
    Timestamp,
    TimestampNs,
    TimestampNew,
}

#[expect(dead_code, reason = "nobody is told the time")]
pub(crate) struct Timestamp {
    pub(crate) nanos: bool,
    pub(crate) new: bool,
}

impl Sock {
    pub(crate) fn data_ready(&self) {
        self.wake(|woken| woken.read += 1);
    }

    pub(crate) fn is_waited_for(&self, _: &rcu::Guard) -> bool {
        self.polling.load(SeqCst) > 0
    }

    pub(crate) fn state_change(&self) {
        self.wake(|woken| woken.all += 1);
    }

    pub(crate) fn write_space(&self) {
        self.wake(|woken| woken.write += 1);
    }

    /// Nobody wants a signal here.
    pub(crate) fn want_space(&self) {}

    fn wake(&self, count: impl FnOnce(&mut WokenUp)) {
        none_held("a wake-up");
        count(&mut self.woken.lock().unwrap());
        self.wait_queue.notify_all();
    }

    /// Polls until `ready` says so: looks after it has joined the wait queue, as `poll()` does.
    pub(crate) fn poll_until(&self, reads: bool, ready: impl Fn() -> bool) {
        self.polling.fetch_add(1, SeqCst);
        loop {
            let before = self.woken.lock().unwrap().seen_by(reads);
            if ready() {
                self.polling.fetch_sub(1, SeqCst);
                return;
            }
            let mut woken = self.woken.lock().unwrap();
            while woken.seen_by(reads) == before {
                woken = self.wait_queue.wait(woken).unwrap();
            }
        }
    }

    pub(crate) fn set_peer(&self, _maker: &super::cred::Maker) {}

    pub(crate) fn is_net_admin(&self) -> bool {
        true
    }

    pub(crate) fn rcvtimeo(&self, nonblock: bool) -> usize {
        limit(&self.receive_limit, nonblock)
    }

    pub(crate) fn sndtimeo(&self, nonblock: bool) -> usize {
        limit(&self.send_limit, nonblock)
    }

    pub(crate) fn rcvbuf(&self) -> u64 {
        u64::MAX
    }

    pub(crate) fn take_error(&self) -> Result {
        Ok(())
    }

    pub(crate) fn set_timestamp(&self, _on: bool, _form: Timestamp) {}

    pub(crate) fn has(&self, _flag: Flag) -> bool {
        false
    }
}

fn limit(limit: &AtomicUsize, nonblock: bool) -> usize {
    match limit.load(Relaxed) {
        _ if nonblock => 0,
        0 => usize::MAX,
        jiffies => jiffies,
    }
}
