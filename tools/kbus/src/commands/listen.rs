// SPDX-License-Identifier: GPL-2.0
//! `kbus listen`.

use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use kbus::Pattern;
use kbus::Received;
use kbus::Socket;

use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::note;
use crate::failure::progress;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::message;
use crate::output::Output;
use crate::text;
use crate::who::Names;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Print each message that matches a pattern",
    long_about = "Print each message that matches a pattern.\n\n\
        A line has the time (UTC), the name, the kind, the sender, the length and the payload. The kind is \
        announcement, request copy, reply copy or event. The sender is the id of its socket and, in \
        parentheses, its process and user. The payload is shown as text if it is printable UTF-8, with \
        \\n, \\t and \\\\ for a line feed, a tab and a backslash; otherwise as hex.\n\n\
        Messages that were missed because the queue was full are told where they were lost. What --not leaves \
        out takes its place in the queue like any other message.",
    after_help = "Examples:\n  \
        kbus listen '$.Sensors.*'\n  \
        kbus listen '$.*' --not '$.Log.*' --not '$.Clock.Tick'\n  \
        kbus listen --format line '$.Sensors.Kitchen' | while read -r value; do …; done\n  \
        kbus listen --count 1 --timeout 10s --format raw '$.Image' >image.png\n  \
        kbus listen --json '$.*' | jq -r .name"
)]
pub struct Args {
    /// Names, or wildcards: $.A.* for all below, $.A.% for one word more
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Leave out what this name or wildcard matches; may be given several times
    #[arg(long, value_name = "PATTERN")]
    not: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    format: Format,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time; with --count it is an error if there were fewer
    #[arg(short, long, value_name = "TIME", value_parser = text::duration)]
    timeout: Option<Duration>,
    /// How many messages may wait to be printed [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    queue: Option<u32>,
    /// Never make a sender fail or wait: miss what does not fit
    #[arg(long)]
    lossy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line with the payload as text, or as hex if it is not printable
    Text,
    /// A line with the payload in hexadecimal
    Hex,
    /// An object in a line of its own
    Json,
    /// The bytes of each payload, and a line feed
    Line,
    /// The bytes of the payloads and nothing else
    Raw,
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let mut patterns = Vec::new();
    for pattern in &args.patterns {
        patterns.push(Pattern::new(pattern)?);
    }
    let mut not = Vec::new();
    for pattern in &args.not {
        not.push(Pattern::new(pattern)?);
    }
    let deadline = args.timeout.map(|limit| Instant::now() + limit);
    let mut options = Socket::options()
        .credentials(true)
        .time(true)
        .report_lost(true)
        .once(true)
        .lossy(args.lossy);
    if let Some(queue) = args.queue {
        options = options.queue_len(queue);
    }
    let socket = context.open_with(&options).map_err(|failure| {
        match failure.text().contains("the length of the queue") {
            true => failure.hint("the sysctl net.kbus.max_queue_len is the most"),
            false => failure,
        }
    })?;
    let events = Events::new(true)?;
    for pattern in &patterns {
        socket.listen(pattern)?;
    }
    progress(format_args!("listening on {}; Ctrl-C ends it", context.bus));
    let mut printer = Printer {
        output: context.output(),
        names: Names::new(),
        format: if context.json {
            Format::Json
        } else {
            args.format
        },
        messages: 0,
        lost: 0,
    };
    let done = |printer: &Printer| args.count.is_some_and(|count| printer.messages >= count);
    let end = loop {
        match events.wait(socket.as_fd(), deadline)? {
            Woken::Ready => {}
            end => break end,
        }
        if let Some(received) = socket.try_recv()? {
            let name = received.message().map(kbus::Message::name);
            if !name.is_some_and(|name| not.iter().any(|not| not.matches(name))) {
                printer.print(&received)?;
            }
        }
        if done(&printer) {
            return Ok(());
        }
        // Where messages come faster than they are printed, the deadline counts too.
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Woken::Timeout;
        }
    };
    match (end, args.count) {
        (Woken::Timeout, Some(count)) => Err(Failure::new(
            Code::Timeout,
            format_args!(
                "the time was over after {}, {count} were wanted",
                text::count(printer.messages, "message")
            ),
        )),
        (Woken::Interrupted, count) => {
            let messages = text::count(printer.messages, "message");
            note(format_args!("{messages}, {} lost", printer.lost));
            match count {
                None => Ok(()),
                Some(_) => Err(Failure::silent(Code::Interrupted)),
            }
        }
        _ => Ok(()),
    }
}

struct Printer {
    output: Output,
    names: Names,
    format: Format,
    messages: u64,
    lost: u64,
}

impl Printer {
    fn print(&mut self, received: &Received) -> Outcome {
        match received {
            Received::Lost(lost) => self.lost += u64::from(lost.count),
            _ => self.messages += 1,
        }
        let payload = match self.format {
            Format::Json => {
                return self.output.json(&message::object(received, &self.names));
            }
            Format::Line | Format::Raw => {
                return match received {
                    Received::Lost(lost) => {
                        note(format_args!(
                            "{} lost here",
                            text::count(lost.count.into(), "message")
                        ));
                        Ok(())
                    }
                    _ => {
                        let payload = received.message().map(kbus::Message::payload);
                        let payload = payload.unwrap_or_default();
                        match self.format {
                            Format::Line => self.output.raw(&[payload, b"\n"].concat()),
                            _ => self.output.raw(payload),
                        }
                    }
                };
            }
            Format::Text => message::Payload::Text,
            Format::Hex => message::Payload::Hex,
        };
        let line = message::line(received, &self.names, &self.output, payload);
        self.output.line(line)
    }
}
