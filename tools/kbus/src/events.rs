// SPDX-License-Identifier: GPL-2.0
//! Waiting for several things at once, Ctrl-C among them.

use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::failure::Code;
use crate::failure::Failure;

/// Why [`Events::wait`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The file can be read.
    Ready,
    /// The deadline is there.
    Timeout,
    /// Ctrl-C, or a signal that ends programs.
    Interrupted,
    /// Nobody reads the standard output any more.
    OutputClosed,
}

/// While it exists Ctrl-C, `SIGTERM` and `SIGHUP` do not end the program but wake
/// [`wait`](Events::wait). The second one ends it at once.
#[derive(Debug)]
pub struct Events {
    interrupted: Arc<AtomicBool>,
    /// Readable as soon as there was a signal; nobody reads it.
    pipe: UnixStream,
    /// The other end.
    write: UnixStream,
    watches_output: bool,
}

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

fn cannot_catch(error: &io::Error) -> Failure {
    Failure::io("cannot catch signals", error)
}

impl Events {
    /// Begins to catch signals; and, if it is asked for, to look whether the standard output is
    /// still read.
    pub fn new(watches_output: bool) -> Result<Events, Failure> {
        Events::catch(watches_output, true).map_err(|error| cannot_catch(&error))
    }

    /// The same, but a second signal does nothing by itself: see [`each`](Events::each).
    pub fn patient(watches_output: bool) -> Result<Events, Failure> {
        Events::catch(watches_output, false).map_err(|error| cannot_catch(&error))
    }

    fn catch(watches_output: bool, second_ends: bool) -> io::Result<Events> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let (pipe, write) = UnixStream::pair()?;
        for signal in SIGNALS {
            if second_ends {
                // In this order: the first signal finds the flag unset, the second one set.
                let code = i32::from(Code::Interrupted as u8);
                flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupted))?;
            }
            flag::register(signal, Arc::clone(&interrupted))?;
            pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Events {
            interrupted,
            pipe,
            write,
            watches_output,
        })
    }

    /// A stream with a byte that is not 0 for each signal from now on, and its other end.
    pub fn each(&self) -> Result<(UnixStream, UnixStream), Failure> {
        let each = || -> io::Result<_> {
            let (read, write) = UnixStream::pair()?;
            for signal in SIGNALS {
                pipe::register(signal, write.try_clone()?)?;
            }
            Ok((read, write))
        };
        each().map_err(|error| cannot_catch(&error))
    }

    /// Whether there was a signal.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Does what Ctrl-C does.
    pub fn stop(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        // If it is full it is readable too.
        let _ = (&self.write).write(&[0]);
    }

    /// Waits until the file can be read.
    pub fn wait(&self, file: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<Woken, Failure> {
        self.wait_for(&[file], deadline)
    }

    /// Waits for the deadline; without one until Ctrl-C.
    pub fn sleep(&self, until: impl Into<Option<Instant>>) -> Result<Woken, Failure> {
        self.wait_for(&[], until.into())
    }

    /// Waits until one of the files can be read.
    pub fn wait_for(
        &self,
        files: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<Woken, Failure> {
        let stdout = io::stdout();
        // Nothing is asked of the output: the end of a pipe's reader is told all the same.
        let output = if self.watches_output {
            stdout.as_fd()
        } else {
            self.pipe.as_fd()
        };
        let mut all = vec![
            PollFd::new(&self.pipe, PollFlags::IN),
            PollFd::from_borrowed_fd(output, PollFlags::empty()),
        ];
        all.extend(
            files
                .iter()
                .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)),
        );
        let ready = poll_until(&mut all, deadline)?;
        let woken = match &all[..] {
            _ if self.interrupted() => Woken::Interrupted,
            [signal, ..] if !signal.revents().is_empty() => Woken::Interrupted,
            [_, output, ..] if self.watches_output && !output.revents().is_empty() => {
                Woken::OutputClosed
            }
            _ if ready => Woken::Ready,
            _ => Woken::Timeout,
        };
        Ok(woken)
    }
}

/// Waits for one of the files; false if the deadline is there first. A signal does not end it.
pub fn poll_until(files: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<bool, Failure> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
        match poll(files, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::io("cannot wait", &errno.into())),
        }
    }
}
