// SPDX-License-Identifier: GPL-2.0
//! The command `kbus`: a KBUS message bus for people and scripts.
//!
//! Each subcommand is a file in `commands/`, with a type `Args` and a function
//! `run(Args, &Context) -> Outcome`.

mod capture;
mod cli;
mod commands;
mod context;
mod failure;
mod inspect;
mod output;
mod show;
mod snoop;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::context::Context;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let context = Context::new(&cli.common);
    match context.and_then(|context| cli.command.run(&context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.common.json),
    }
}
