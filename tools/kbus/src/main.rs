// SPDX-License-Identifier: GPL-2.0
//! The command `kbus`: a KBUS message bus for people and scripts.
//!
//! Each subcommand is a file in `commands/`, with a type `Args` and a function
//! `run(Args, &Context) -> Outcome`.

mod capture;
mod child;
mod cli;
mod commands;
mod context;
mod events;
mod failure;
mod inspect;
mod man;
mod message;
mod output;
mod payload;
mod proc;
mod show;
mod snoop;
mod state;
mod text;
mod who;

use std::env;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::context::Context;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // It is not known what was asked for, but how to say so.
            let json = env::args_os().any(|argument| argument == "--json");
            return failure::usage(&error, json);
        }
    };
    let context = Context::new(&cli.common);
    match context.and_then(|context| cli.command.run(&context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.common.json),
    }
}
