// SPDX-License-Identifier: GPL-2.0
//! Black-box tests of KBUS sockets; prints KTAP.
//!
//! The runner is our own: a test may kill, fork, change user or namespace, so
//! each needs a process to itself, which no Rust harness gives.

mod reload;
mod tests;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::panic;
use std::process::Command;
use std::process::ExitCode;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use clap::Parser;
use clap::ValueEnum;
use kbus_selftests::attack::die_with_parent;
use kbus_selftests::attack::schedule;
use kbus_selftests::attack::stay_on;
use kbus_selftests::process::slowness;
use kbus_selftests::process::Child;
use kbus_selftests::process::Skipped;
use kbus_selftests::process::SKIPPED;
use kbus_selftests::sys;

use crate::tests::Test;

/// How long one test may take: one that hangs is ended, and none that is slow because the host does other work.
const TIME_LIMIT: Duration = Duration::from_secs(180);
/// How long a test takes that is worth a word.
const LONG: Duration = Duration::from_secs(5);
/// How long it may take when N= asks for a long form.
const LONG_LIMIT: Duration = Duration::from_secs(3600);

fn time_limit() -> Duration {
    match std::env::var_os("N") {
        Some(n) if !n.is_empty() => LONG_LIMIT,
        _ => TIME_LIMIT * slowness(),
    }
}

/// Which sockets to test.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS).
    Literal,
    /// socket(AF_KBUS, SOCK_DGRAM, 0).
    Family,
}

/// Tests KBUS sockets from outside and prints KTAP.
#[derive(Debug, Parser)]
struct Args {
    /// How the tests make their sockets.
    #[arg(long, value_enum, default_value = "literal")]
    form: Form,
    /// Run the tests whose verdict depends on the clock, and those only. The machine must be one whose clock counts
    /// instructions.
    #[arg(long)]
    timed: bool,
    /// Print the names of the tests and run none.
    #[arg(long)]
    list: bool,
    /// Run only the test of exactly this name.
    #[arg(long)]
    exact: bool,
    /// Run the one test in this very process.
    #[arg(long, hide = true)]
    child: bool,
    /// Load and unload the module so many times under traffic.
    #[arg(long, value_name = "CYCLES")]
    reload: Option<u64>,
    /// Insist that there is no literal form, as there is no probe, and that all else works.
    #[arg(long)]
    unprobed: bool,
    /// Insist that no call of socket() finds a module, of which there is none, nor brings it.
    #[arg(long)]
    absent: bool,
    /// Keep one socket open until killed, and test nothing.
    #[arg(long)]
    hold: bool,
    /// Leave out tests with this in their name.
    #[arg(long)]
    skip: Vec<String>,
    /// Run only tests with one of these in their name.
    filter: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.form {
        Form::Literal => sys::Form::Literal,
        Form::Family => sys::Form::Family,
    }
    .choose();
    if let Some(cycles) = args.reload {
        reload::reload(cycles);
        return ExitCode::SUCCESS;
    }
    if args.unprobed {
        reload::unprobed();
        return ExitCode::SUCCESS;
    }
    if args.absent {
        reload::absent();
        return ExitCode::SUCCESS;
    }
    if args.hold {
        reload::hold();
    }
    let chosen: Vec<&Test> = tests::all()
        .filter(|t| match args.exact {
            _ if args.filter.is_empty() => true,
            true => args.filter.contains(&t.full_name()),
            false => args.filter.iter().any(|part| t.full_name().contains(part)),
        })
        .filter(|t| t.timed == args.timed || args.child)
        .filter(|t| !args.skip.iter().any(|skip| t.full_name().contains(skip)))
        .collect();

    if args.list {
        for test in chosen {
            println!("{}", test.full_name());
        }
        return ExitCode::SUCCESS;
    }
    if args.child {
        let [test] = chosen[..] else {
            eprintln!("no such test: {}", args.filter.join(" "));
            return ExitCode::FAILURE;
        };
        return match panic::catch_unwind(test.run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(payload) if payload.is::<Skipped>() => ExitCode::from(SKIPPED as u8),
            Err(payload) => panic::resume_unwind(payload),
        };
    }

    let _ticks = args.timed.then(ticks);
    println!("KTAP version 1");
    println!("1..{}", chosen.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (n, test) in chosen.iter().enumerate() {
        let (n, name) = (n + 1, test.full_name());
        let begun = Instant::now();
        match run(&name, args.form) {
            Outcome::Passed(said) => {
                passed += 1;
                println!("ok {n} {name}");
                // Figures that a test wants to be seen.
                for line in said.lines().filter(|line| line.starts_with("# ")) {
                    println!("{line}");
                }
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("ok {n} {name} # SKIP {reason}");
            }
            Outcome::Failed(reason) => {
                failed += 1;
                println!("not ok {n} {name}");
                for line in reason.lines().filter(|line| !line.trim().is_empty()) {
                    println!("# {line}");
                }
            }
        }
        // For who wonders what takes so long.
        if begun.elapsed() > LONG {
            println!("# took {:.0?}", begun.elapsed());
        }
    }
    println!("# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Has each processor woken a thousand times a second, by somebody who goes before all others there.
///
/// Two processors that take turns change when the next timer is due: so neither waits longer for its turn than a
/// millisecond or two. And whatever is done in the kernel is interrupted at any point of it.
fn ticks() -> [Child; 2] {
    [0, 1].map(|cpu| {
        Child::fork(|| {
            stay_on(cpu);
            die_with_parent();
            schedule(libc::SCHED_FIFO, 90);
            loop {
                thread::sleep(Duration::from_millis(1));
            }
        })
    })
}

/// What became of a test.
enum Outcome {
    /// It may have said something.
    Passed(String),
    Skipped(String),
    Failed(String),
}

/// Runs one test in a process (and process group) of its own.
fn run(name: &str, form: Form) -> Outcome {
    let form = match form {
        Form::Literal => "literal",
        Form::Family => "family",
    };
    let child = Command::new("/proc/self/exe")
        .args(["--child", "--exact", "--form", form, name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("cannot start the test: {error}")),
    };
    let mut pipe = child.stderr.take().expect("stderr is piped");
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        // What was read before an error is as good as all of it.
        let _ = pipe.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });

    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    let status = loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < time_limit() => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(status) => break status,
            Err(error) => return Outcome::Failed(format!("cannot wait: {error}")),
        }
    };
    // Whatever it left behind would keep the pipe open.
    let group = i32::try_from(child.id()).expect("a pid fits");
    // SAFETY: Always safe; the group is the test's own.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    if status.is_none() {
        let _ = child.wait();
    }
    let said = reader.join().unwrap_or_default();
    match status {
        None => Outcome::Failed(format!("took more than {:?}\n{said}", time_limit())),
        Some(status) if status.success() => Outcome::Passed(said),
        Some(status) if status.code() == Some(SKIPPED) => {
            let reason = said.lines().find_map(|line| line.strip_prefix("SKIP "));
            Outcome::Skipped(reason.unwrap_or("no reason given").to_string())
        }
        Some(status) => Outcome::Failed(format!("{said}{}", describe(status))),
    }
}

/// How a failed process ended, unless its own words say so.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (_, Some(101)) => String::new(),
        (_, code) => format!("exit code {code:?}"),
    }
}
