// SPDX-License-Identifier: GPL-2.0
//! The subcommands: each has a type `Args` and a function `run`.

pub mod bench;
pub mod call;
pub mod doctor;
pub mod generate;
pub mod list;
pub mod listen;
pub mod monitor;
pub mod record;
pub mod replay;
pub mod send;
pub mod serve;
pub mod tree;
pub mod wait;
pub mod why;

/// A time span on the command line, in seconds.
pub fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let time = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "it is a number of seconds, such as 10 or 0.5".to_owned())
}
