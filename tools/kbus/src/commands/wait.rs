// SPDX-License-Identifier: GPL-2.0
//! `kbus wait`.

use std::time::Duration;
use std::time::Instant;

use kbus::Name;
use serde_json::json;

use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::text;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Wait until somebody is replier for a name",
    long_about = "Wait until somebody is replier for a name, for scripts and units.\n\n\
        It asks the bus again and again, four times a second at least. A replier for a wildcard counts. \
        With --json the id of the replier is printed.",
    after_help = "Examples:\n  \
        kbus wait --timeout 30s '$.Heating.Set' && kbus call '$.Heating.Set' 21"
)]
pub struct Args {
    /// Names that are to have a replier, all of them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait no longer than this; 0 looks once
    #[arg(short, long, value_name = "TIME", value_parser = text::duration)]
    timeout: Option<Duration>,
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let mut names = Vec::new();
    for name in &args.names {
        names.push(Name::new(name)?);
    }
    let deadline = args.timeout.map(|limit| Instant::now() + limit);
    let socket = context.open()?;
    let events = Events::new(false)?;
    let mut pause = Duration::from_millis(2);
    let mut found = Vec::new();
    // The first one that has nobody; all at once are there at the end.
    'again: loop {
        found.clear();
        for name in &names {
            match socket.replier_of(name)? {
                Some(peer) => found.push((name, peer)),
                None => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(Failure::new(
                            Code::Timeout,
                            format_args!("the time is over, and nobody is replier for {name}"),
                        )
                        .hint("`kbus list` shows who is there"));
                    }
                    let until = Instant::now() + pause;
                    let until = deadline.map_or(until, |deadline| deadline.min(until));
                    if events.sleep(until)? == Woken::Interrupted {
                        return Err(Failure::silent(Code::Interrupted));
                    }
                    pause = (pause * 2).min(Duration::from_millis(250));
                    continue 'again;
                }
            }
        }
        break;
    }
    if context.json {
        let mut output = context.output();
        for (name, peer) in found {
            output.json(&json!({"name": name.as_str(), "replier": peer.to_string()}))?;
        }
    }
    Ok(())
}
