// SPDX-License-Identifier: GPL-2.0
//! Runs a command for a request.

use std::env;
use std::ffi::OsString;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use kbus::Bus;
use kbus::Request;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

use crate::events::poll_until;
use crate::failure::Failure;

/// Whether there is such a command.
pub fn check(command: &OsString) -> Result<(), Failure> {
    let runs = |path: &Path| {
        path.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let path = Path::new(command);
    let found = if path.components().count() > 1 || path.is_absolute() {
        runs(path)
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).any(|folder| runs(&folder.join(path)))
    };
    match found {
        true => Ok(()),
        false => Err(Failure::usage(format_args!(
            "there is no command {} that could be run",
            path.display()
        ))
        .hint("a pipeline is run by a shell: -- sh -c 'COMMAND | COMMAND'")),
    }
}

/// The process groups of the commands that run.
#[derive(Debug, Default)]
pub struct Running(Mutex<Vec<Pid>>);

impl Running {
    fn list(&self) -> MutexGuard<'_, Vec<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends them all.
    pub fn end(&self) {
        for group in self.list().iter() {
            // It fails if it has just ended by itself.
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }
}

/// What to run, and how.
#[derive(Debug)]
pub struct Job<'a> {
    /// The program and its arguments; not empty.
    pub command: &'a [OsString],
    /// It is ended after that.
    pub timeout: Option<Duration>,
    /// The longest reply that the bus takes.
    pub longest: usize,
    /// For its environment.
    pub bus: &'a Bus,
    /// It is listed here while it runs.
    pub running: &'a Running,
}

impl Job<'_> {
    /// Runs it with that standard input. Returns its standard output, or one sentence why there is
    /// none.
    pub fn run(&self, request: &Request, input: Vec<u8>) -> Result<Vec<u8>, String> {
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let name = Path::new(program).file_name().unwrap_or(program);
        let name = name.to_string_lossy();
        let deadline = self.timeout.map(|limit| Instant::now() + limit);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C does not end it, and it is ended with all that it has started.
            .process_group(0)
            .env("KBUS_BUS", self.bus.to_string())
            .env("KBUS_NAME", request.name().as_str())
            .env("KBUS_SENDER", request.sender().to_string())
            .env("KBUS_REQUEST", request.id().to_string());
        if let Some(credentials) = request.credentials() {
            command
                .env("KBUS_SENDER_PID", credentials.pid.to_string())
                .env("KBUS_SENDER_UID", credentials.uid.to_string());
        }
        let failed = |what: &str, error: &std::io::Error| {
            let text = error.to_string();
            format!(
                "{what} {name}: {}",
                text.split(" (os error").next().unwrap_or_default()
            )
        };
        let mut child = command
            .spawn()
            .map_err(|error| failed("cannot run", &error))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        self.running.list().extend(group);
        if let Some(mut stdin) = child.stdin.take() {
            // Of its own, as a command may write before it has read all. It may also end before.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let result = self.output(&mut child, deadline);
        if result.is_err() {
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        }
        let status = child.wait();
        self.running.list().retain(|pid| Some(*pid) != group);
        let status = status.map_err(|error| failed("cannot wait for", &error))?;
        match result {
            Err(End::TooLong) => Err(format!(
                "the reply of {name} has more than the {} bytes that the bus allows",
                self.longest
            )),
            Err(End::Timeout) => Err(format!(
                "{name} took longer than {} s",
                self.timeout.unwrap_or_default().as_secs_f64()
            )),
            Err(End::Other(sentence)) => Err(sentence),
            Ok(_) if !status.success() => Err(format!("{name} {}", said(status))),
            Ok(output) => Ok(output),
        }
    }

    /// What it writes, until it has ended.
    fn output(&self, child: &mut Child, deadline: Option<Instant>) -> Result<Vec<u8>, End> {
        let mut output = Vec::new();
        let mut chunk = [0; 16384];
        if let Some(mut stdout) = child.stdout.take() {
            loop {
                let mut files = [PollFd::new(&stdout, PollFlags::IN)];
                if !poll_until(&mut files, deadline).map_err(End::other)? {
                    return Err(End::Timeout);
                }
                match stdout.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => output.extend_from_slice(&chunk[..read]),
                    Err(error) => return Err(End::Other(error.to_string())),
                }
                if output.len() > self.longest {
                    return Err(End::TooLong);
                }
            }
        }
        // It may go on after it has closed its standard output.
        if deadline.is_some() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                let mut files = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
                if !poll_until(&mut files, deadline).map_err(End::other)? {
                    return Err(End::Timeout);
                }
            }
        }
        Ok(output)
    }
}

enum End {
    TooLong,
    Timeout,
    Other(String),
}

impl End {
    fn other(failure: Failure) -> End {
        End::Other(failure.text().to_owned())
    }
}

/// How it has failed.
fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "failed".to_owned(),
    }
}
