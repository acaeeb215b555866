// SPDX-License-Identifier: GPL-2.0
//! `kbus generate`, hidden: man pages and completions, for whoever makes a package.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap::CommandFactory;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::man;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(about = "Write man pages or completions")]
pub struct Args {
    /// What to write
    #[arg(value_enum)]
    what: What,
    /// Into which folder
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// kbus.1, kbus-listen.1 and so on
    Man,
    /// For bash, zsh and fish
    Completions,
}

/// Does it.
pub fn run(args: Args, _context: &Context) -> Outcome {
    let written = match args.what {
        What::Man => man::write(&args.folder),
        What::Completions => completions(&args.folder),
    };
    let what = format_args!("cannot write into {}", args.folder.display()).to_string();
    written.map_err(|error| Failure::io(what, &error))
}

fn completions(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "kbus", folder)?;
    }
    Ok(())
}
