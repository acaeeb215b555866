// SPDX-License-Identifier: GPL-2.0
//! Ctrl-C (and `SIGTERM`, `SIGHUP`) ends a command that runs until then, cleanly.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use crate::failure::Failure;

/// Tells whether such a signal has come.
pub struct Stop {
    signals: UnixStream,
    requested: Arc<AtomicBool>,
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The file can be read.
    Ready,
    /// A signal has come.
    Stop,
    /// The time is over.
    Deadline,
}

impl Stop {
    /// From now on these signals end nothing by themselves.
    ///
    /// # Errors
    ///
    /// The process may open no more files.
    pub fn new() -> Result<Stop, Failure> {
        let failure = |error| Failure::io("cannot wait for Ctrl-C", &error);
        let (signals, to) = UnixStream::pair().map_err(failure)?;
        signals.set_nonblocking(true).map_err(failure)?;
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // What is registered first is done first.
            signal_hook::flag::register(signal, requested.clone()).map_err(failure)?;
            let to = to.try_clone().map_err(failure)?;
            signal_hook::low_level::pipe::register(signal, to).map_err(failure)?;
        }
        Ok(Stop { signals, requested })
    }

    /// Whether one has come. It stays so.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Waits for the file, a signal, or the deadline.
    ///
    /// # Errors
    ///
    /// None that a user could mend.
    pub fn wait(
        &self,
        file: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Wake, Failure> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut files = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if let Some(file) = &file {
                files.push(PollFd::new(file, PollFlags::IN));
            }
            match poll(&mut files, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(Failure::io("cannot wait", &error.into())),
                Ok(_) => {}
            }
            if !files[0].revents().is_empty() {
                return Ok(Wake::Stop);
            }
            if files.len() > 1 && !files[1].revents().is_empty() {
                return Ok(Wake::Ready);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Wake::Deadline);
            }
        }
    }

    /// Sleeps, unless a signal comes. False if one has come.
    ///
    /// # Errors
    ///
    /// As of [`wait`](Stop::wait).
    pub fn sleep(&self, time: Duration) -> Result<bool, Failure> {
        Ok(self.wait(None, Instant::now().checked_add(time))? != Wake::Stop)
    }
}
