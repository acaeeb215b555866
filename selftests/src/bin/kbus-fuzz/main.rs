// SPDX-License-Identifier: GPL-2.0
//! A fuzzer of the system calls of KBUS: programs of typed calls, chosen by what code of the module they reach.
//!
//! Each program runs in a process of its own. Coverage comes from KCOV, where the kernel has it. What the kernel itself
//! complains of ends the machine; here is looked at what else must be true: errors are those of the manual, each request
//! has one answer, and nothing is left of anything in the end.

mod address;
mod around;
mod buffers;
mod cover;
mod errnos;
mod finish;
mod fuzz;
mod machine;
mod messages;
mod ops;
mod perform;
mod program;
mod random;
mod run;
mod words;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::fuzz::Fuzzer;
use crate::program::Program;

/// Fuzzes KBUS sockets; prints KTAP.
///
/// It wants to be root, in a machine of its own: it changes limits and namespaces. Without a file of programs it begins
/// with none.
#[derive(Debug, Parser)]
struct Args {
    /// Programs to begin with; a folder is all of its files.
    corpus: Vec<PathBuf>,
    /// How long to try new programs, after those of the corpus; 0 is not at all.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Repeats the choices of a run; what is reached, and so what comes next, depends on the machine as well.
    #[arg(long)]
    seed: Option<u64>,
    /// Print those programs of this file that reach something new, made as short as they can be.
    #[arg(long)]
    distil: Option<PathBuf>,
    /// Print which code was reached, as offsets into the module.
    #[arg(long)]
    cover: bool,
    /// Print each program before it is run.
    #[arg(long)]
    verbose: bool,
    /// Run each program of the corpus so often.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
}

/// The programs of these files and folders.
fn read(paths: &[PathBuf]) -> Result<Vec<Program>, String> {
    let mut files = Vec::new();
    for path in paths {
        match fs::read_dir(path) {
            Ok(folder) => files.extend(folder.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) => files.push(path.clone()),
        }
    }
    files.sort();
    let mut programs = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "txt"))
    {
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let new =
            Program::parse_all(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        programs.extend(new);
    }
    Ok(programs)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let programs = match read(&args.corpus) {
        Ok(programs) => programs,
        Err(error) => {
            println!("Bail out! {error}");
            return ExitCode::FAILURE;
        }
    };
    let seed = args.seed.unwrap_or_else(|| {
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed();
        time.map_or(1, |time| time.as_nanos() as u64)
    });
    let mut fuzzer = Fuzzer::new(seed, args.verbose);
    println!("1..{}", 1 + u32::from(args.seconds > 0));
    println!("# seed {seed}");
    let corpus = fuzzer.replay(&programs, args.repeat);
    let mut good = report(1, "fuzz::corpus", corpus);
    if let Some(file) = args.distil {
        match read(&[file]) {
            Ok(programs) => fuzzer.distil(programs),
            Err(error) => println!("Bail out! {error}"),
        }
    }
    if args.seconds > 0 {
        let fuzzed = fuzzer.fuzz(Duration::from_secs(args.seconds));
        good &= report(2, "fuzz::new_programs", fuzzed);
    }
    if args.cover {
        for offset in fuzzer.code() {
            println!("# at {offset:x}");
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn report(number: u32, name: &str, findings: Vec<String>) -> bool {
    let good = findings.is_empty();
    println!("{} {number} {name}", if good { "ok" } else { "not ok" });
    for finding in findings {
        for line in finding.lines() {
            println!("# {line}");
        }
    }
    good
}
