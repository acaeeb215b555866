// SPDX-License-Identifier: GPL-2.0
//! What a bus costs, next to `AF_UNIX` datagrams, in instructions.
//!
//! `make bench` runs it in a machine whose clock counts instructions (see [`clock`]); anywhere else
//! it measures something like cycles, and says so. It needs root, for sockets of many users.

mod bindings;
mod calls;
mod clock;
mod fanout;
mod holds;
mod matching;
mod memory;
mod percentiles;
mod place;
mod plain;
mod processors;
mod profile;
mod quick;
mod report;
mod trips;

use std::process::ExitCode;

use clap::Parser;
use clap::ValueEnum;
use kbus_selftests::sys::Form;

/// Compares a bus with AF_UNIX datagrams.
///
/// Prints tables in Markdown, and on the standard error how far it has come. Exit status 1: a
/// figure that must not depend on the number of bindings does.
#[derive(Debug, Parser)]
struct Args {
    /// Turns of each kind; a figure is the median of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    what: Vec<Subject>,
}

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// One message one way, and a request with its reply.
    Trips,
    /// One message to 1 … 256 receivers.
    Fanout,
    /// Calls that come to nothing.
    Calls,
    /// Announcing, binding and unbinding with 1 … 100,000 bindings that do not match.
    Bindings,
    /// Announcing to 1 … 64 bindings of one socket that match.
    Matching,
    /// Bytes of a message that waits and of a binding.
    Memory,
    /// What half, 99 of 100 and all requests take at most, and so announcements to 64 processes.
    Percentiles,
    /// No part of a whole run: pairs on two processors, with one bus or several.
    Processors,
    /// No measurement: the calls that `make profile` records.
    Profile,
    /// No measurement: the calls whose longest holds of a lock `make profile B=holds` tells.
    Holds,
    /// No table: the figures that `make test` holds against recorded ones.
    Quick,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let rounds = usize::from(args.rounds);
    let wanted = |subject| args.what.is_empty() || args.what.contains(&subject);
    Form::Literal.choose();
    plain::equal_queues();
    if args.what == [Subject::Processors] {
        processors::run();
        return ExitCode::SUCCESS;
    }
    if clock::counts_instructions() {
        println!("Figures are instructions of the machine, the kernel's included.\n");
    } else {
        println!(
            "Figures are ticks of the time-stamp counter, NOT instructions: see `make bench`.\n"
        );
    }
    if wanted(Subject::Trips) {
        trips::run(rounds);
    }
    if wanted(Subject::Fanout) {
        fanout::run(rounds);
    }
    if wanted(Subject::Calls) {
        calls::run();
    }
    let flat = !wanted(Subject::Bindings) || bindings::run();
    if wanted(Subject::Matching) {
        matching::run();
    }
    if wanted(Subject::Memory) {
        memory::run();
    }
    if wanted(Subject::Percentiles) {
        percentiles::run();
    }
    if args.what.contains(&Subject::Quick) {
        quick::run();
    }
    if args.what.contains(&Subject::Profile) {
        profile::run();
    }
    if args.what.contains(&Subject::Holds) {
        holds::run();
    }
    if flat {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
