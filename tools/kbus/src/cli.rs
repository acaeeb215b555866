// SPDX-License-Identifier: GPL-2.0
//! What can be typed.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use crate::commands;
use crate::context::Context;
use crate::failure::Code;
use crate::failure::Outcome;

/// Send, listen, call and serve on a KBUS message bus, and look inside.
#[derive(Debug, Parser)]
#[command(name = "kbus", version, propagate_version = true)]
#[command(max_term_width = 100)]
#[command(after_long_help = exit_codes())]
pub struct Cli {
    /// What every subcommand has.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the long help says of them, for whoever has no man page at hand.
fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in Code::ALL {
        text += &format!("  {:>3}  {meaning}\n", *code as u8);
    }
    text
}

/// Options of every subcommand.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The bus: @NAME, or the path of one [default: $KBUS_BUS, then @kbus-0]
    #[arg(
        short,
        long,
        global = true,
        value_name = "BUS",
        help_heading = "Common options"
    )]
    pub bus: Option<std::ffi::OsString>,
    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
    /// When to use colours: auto is on a terminal, unless $NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Common options"
    )]
    pub color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $module:ident;)*) => {
        /// The subcommands, in the order of the help.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($(#[$doc])* $variant(commands::$module::Args),)*
        }

        impl Command {
            /// Does it.
            pub fn run(self, context: &Context) -> Outcome {
                match self {
                    $(Command::$variant(args) => commands::$module::run(args, context),)*
                }
            }
        }
    };
}

// A line for each file in commands/. Its help stands there at `Args`.
commands! {
    Listen = listen;
    Send = send;
    Call = call;
    Serve = serve;
    Wait = wait;
    List = list;
    Tree = tree;
    Monitor = monitor;
    Record = record;
    Replay = replay;
    Top = top;
    Doctor = doctor;
    Why = why;
    Bench = bench;
    #[command(hide = true)]
    Generate = generate;
}
