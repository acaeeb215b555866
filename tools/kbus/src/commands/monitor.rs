// SPDX-License-Identifier: GPL-2.0
//! `kbus monitor`.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use kbus::Pattern;
use serde_json::json;

use crate::capture::pcapng;
use crate::capture::Kind;
use crate::capture::Packet;
use crate::capture::Reader;
use crate::context::Context;
use crate::failure::summary;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::output::Output;
use crate::show;
use crate::show::Requests;
use crate::snoop::Snoop;
use crate::who::Names;

/// Show all traffic, replies joined to their requests
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A bus is not confidential: its members can see all traffic, as this does. \
    A status, which says that a request will have no reply, goes to its requester alone, and a \
    monitor does not see it. As root, the tracepoint kbus:status shows them. Times of day are UTC."
)]
pub struct Args {
    /// Names or wildcards; without any, all traffic
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Leave out what this name or wildcard matches; may be given several times
    #[arg(long, value_name = "PATTERN")]
    not: Vec<String>,
    /// Write a pcapng file as well, for Wireshark with the dissector kbus.lua; - writes it to the
    /// standard output, in place of lines
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Show what is in a file of monitor --pcap or of record, in place of a bus
    #[arg(long, value_name = "FILE", conflicts_with_all = ["patterns", "binds", "timeout"])]
    read: Option<PathBuf>,
    /// Have the bus tell of repliers that come and go (for its owner only)
    #[arg(long)]
    binds: bool,
    /// Show payloads whole
    #[arg(long)]
    full: bool,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// End after that time, such as 10s
    #[arg(short, long, value_name = "TIME", value_parser = crate::text::duration)]
    timeout: Option<Duration>,
    /// Say on the standard error when all that follows will be seen
    #[arg(long, hide = true)]
    ready: bool,
}

/// What is not shown.
struct Not(Vec<Pattern>);

impl Not {
    fn new(patterns: &[String]) -> Result<Not, Failure> {
        let patterns: Result<Vec<Pattern>, _> =
            patterns.iter().map(|text| Pattern::new(text)).collect();
        Ok(Not(patterns?))
    }

    /// That messages were missed is always shown.
    fn leaves_out(&self, packet: &Packet) -> bool {
        packet.kind != Kind::Lost && self.0.iter().any(|pattern| pattern.matches(&packet.name))
    }
}

/// A file that is written.
pub fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    let file = File::create(path);
    let file = file.map_err(|error| cannot("write", path, &error))?;
    Ok(BufWriter::new(file))
}

/// That a file cannot be used.
pub fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(format_args!("cannot {what} {}", path.display()), error)
}

/// Whether it stands for the standard output.
fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// That what is captured cannot be written. A closed pipe is no error.
fn unwritten(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe if is_stdout(path) => Failure::silent(Code::Success),
        _ => cannot("write", path, error),
    }
}

/// The pcapng file that is written, if one is.
struct Capture<'a>(Option<(&'a Path, pcapng::Writer<Box<dyn Write>>)>);

impl<'a> Capture<'a> {
    fn new(path: Option<&'a Path>, bus: &str) -> Result<Capture<'a>, Failure> {
        let Some(path) = path else {
            return Ok(Capture(None));
        };
        let to: Box<dyn Write> = match is_stdout(path) {
            true => Box::new(BufWriter::new(io::stdout())),
            false => Box::new(create(path)?),
        };
        let writer = pcapng::Writer::new(to, bus).map_err(|error| unwritten(path, &error))?;
        Ok(Capture(Some((path, writer))))
    }

    /// Whether lines would come between what is captured.
    fn takes_stdout(&self) -> bool {
        self.0.as_ref().is_some_and(|(path, _)| is_stdout(path))
    }

    fn packet(&mut self, packet: &Packet) -> Outcome {
        let Some((path, writer)) = &mut self.0 else {
            return Ok(());
        };
        // Whoever looks at the file meanwhile sees all.
        let written = writer.packet(packet).and_then(|()| writer.flush());
        written.map_err(|error| unwritten(path, &error))
    }

    fn end(self) -> Outcome {
        let Some((path, writer)) = self.0 else {
            return Ok(());
        };
        let written = writer.finish().map(drop);
        written.map_err(|error| unwritten(path, &error))
    }
}

/// Shows messages, and counts.
struct Screen<'a> {
    out: Output,
    context: &'a Context,
    full: bool,
    silent: bool,
    requests: Requests,
    names: Names,
    messages: u64,
    missed: u64,
}

impl<'a> Screen<'a> {
    fn new(context: &'a Context, full: bool, capture: &Capture<'_>) -> Screen<'a> {
        Screen {
            out: context.output(),
            context,
            full,
            silent: capture.takes_stdout(),
            requests: Requests::default(),
            names: Names::new(),
            messages: 0,
            missed: 0,
        }
    }

    fn packet(&mut self, packet: &Packet) -> Outcome {
        self.missed += u64::from(packet.lost);
        self.messages += u64::from(packet.kind != Kind::Lost);
        let after = self.requests.note(packet);
        if self.silent {
            return Ok(());
        }
        let (out, json) = (&mut self.out, self.context.json);
        show::show(out, json, packet, after, &self.names, self.full)
    }

    fn end(&mut self) -> Outcome {
        let unanswered = self.requests.unanswered();
        if self.context.json && !self.silent {
            return self.out.json(&json!({
                "kind": "summary",
                "messages": self.messages,
                "missed": self.missed,
                "requests": self.requests.seen,
                "without_reply": unanswered,
            }));
        }
        let mut text = format!("{} messages, {} missed", self.messages, self.missed);
        if unanswered > 0 {
            text += &format!(
                "; {unanswered} of {} requests had no reply so far (only a requester is told \
                 that there will be none)",
                self.requests.seen
            );
            for (id, name, peer) in self.requests.oldest(5) {
                text += &format!("\n  without a reply: #{id:x} {name} of peer {peer:x}");
            }
        }
        summary(text);
        Ok(())
    }
}

fn read(path: &Path, args: &Args, context: &Context) -> Outcome {
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let bad = |error| {
        let text = format!("cannot read {} to its end: {error}", path.display());
        Failure::new(Code::Error, text)
    };
    let mut reader = Reader::new(BufReader::new(file)).map_err(bad)?;
    let mut first = reader.next_packet().map_err(bad)?;
    let bus = reader.bus().unwrap_or_default().to_owned();
    let mut capture = Capture::new(args.pcap.as_deref(), &bus)?;
    let mut screen = Screen::new(context, args.full, &capture);
    let not = Not::new(&args.not)?;
    while args.count.is_none_or(|count| screen.messages < count) {
        let next = match first.take() {
            Some(packet) => Some(packet),
            None => reader.next_packet().map_err(bad)?,
        };
        let Some(packet) = next else { break };
        if not.leaves_out(&packet) {
            continue;
        }
        capture.packet(&packet)?;
        screen.packet(&packet)?;
    }
    capture.end()?;
    screen.end()
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    if let Some(path) = &args.read {
        return read(path, &args, context);
    }
    let not = Not::new(&args.not)?;
    let snoop = Snoop::open(context, &args.patterns)?;
    if args.binds {
        if !args.patterns.is_empty() {
            snoop.socket().listen(kbus::BindEvent::NAME)?;
        }
        snoop.socket().set_report_binds(true)?;
    }
    let bus = context.bus.to_string();
    let mut capture = Capture::new(args.pcap.as_deref(), &bus)?;
    if args.ready {
        let _ = writeln!(io::stderr(), "ready");
    }
    let mut screen = Screen::new(context, args.full, &capture);
    let deadline = args.timeout.map(|time| Instant::now() + time);
    let mut result = Ok(());
    while result.is_ok() && args.count.is_none_or(|count| screen.messages < count) {
        let Some(packet) = snoop.next(deadline)? else {
            break;
        };
        if not.leaves_out(&packet) {
            continue;
        }
        capture.packet(&packet)?;
        result = screen.packet(&packet);
    }
    // The file is whole also where nobody reads the standard output any more.
    capture.end()?;
    result?;
    screen.end()
}
