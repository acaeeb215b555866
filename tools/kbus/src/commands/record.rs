// SPDX-License-Identifier: GPL-2.0
//! `kbus record`.

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use serde_json::json;

use super::monitor::cannot;
use super::monitor::create;
use crate::capture::record::Writer;
use crate::capture::Kind;
use crate::context::Context;
use crate::failure::summary;
use crate::failure::Outcome;
use crate::snoop::Snoop;

/// How long what was recorded waits until it is written, at most.
const FLUSH: Duration = Duration::from_millis(500);

/// Keep traffic in a file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ctrl-C ends the recording. `kbus replay FILE` sends it again, `kbus \
    monitor --read FILE` shows it. Descriptors are not recorded."
)]
pub struct Args {
    /// The file, which is replaced if it is there
    file: PathBuf,
    /// Names or wildcards; without any, all traffic
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// End after that time, such as 10s
    #[arg(short, long, value_name = "TIME", value_parser = crate::text::duration)]
    timeout: Option<Duration>,
    /// Say on the standard error when all that follows will be recorded
    #[arg(long, hide = true)]
    ready: bool,
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let snoop = Snoop::open(context, &args.patterns)?;
    let failed = |error: io::Error| cannot("write", &args.file, &error);
    let bus = context.bus.to_string();
    let mut writer = Writer::new(create(&args.file)?, &bus).map_err(failed)?;
    writer.flush().map_err(failed)?;
    if args.ready {
        let _ = writeln!(io::stderr(), "ready");
    } else if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "recording {bus}; Ctrl-C ends it");
    }
    let deadline = args.timeout.map(|time| Instant::now() + time);
    let (mut messages, mut missed) = (0, 0);
    let mut flushed = None;
    while args.count.is_none_or(|count| messages < count) {
        // What is not written yet is written when nothing has come for a while.
        let until = match (deadline, flushed) {
            (Some(deadline), Some(flush)) => Some(deadline.min(flush)),
            (deadline, flush) => deadline.or(flush),
        };
        match snoop.next(until)? {
            Some(packet) => {
                writer.packet(&packet).map_err(failed)?;
                messages += u64::from(packet.kind != Kind::Lost);
                missed += u64::from(packet.lost);
                flushed = flushed.or(Instant::now().checked_add(FLUSH));
            }
            None if snoop.stopped() || deadline.is_some_and(|end| Instant::now() >= end) => break,
            None => {}
        }
        if flushed.is_some_and(|flush| Instant::now() >= flush) {
            writer.flush().map_err(failed)?;
            flushed = None;
        }
    }
    writer.finish().map_err(failed)?;
    if context.json {
        let value = json!({"kind": "summary", "messages": messages, "missed": missed});
        return context.output().json(&value);
    }
    summary(format_args!(
        "{messages} messages recorded, {missed} missed"
    ));
    Ok(())
}
