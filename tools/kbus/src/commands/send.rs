// SPDX-License-Identifier: GPL-2.0
//! `kbus send`.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;
use std::time::Instant;

use kbus::ErrorKind;
use kbus::Name;
use kbus::Socket;
use serde_json::json;

use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::note;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::output::Output;
use crate::payload;
use crate::payload::Data;
use crate::payload::Source;
use crate::text;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Announce messages",
    long_about = "Announce messages: each goes to everybody who listens to its name. It is no error if \
        nobody does.\n\n\
        A listener whose queue is full misses the message, unless --all-or-fail or --all-or-wait is given. \
        With --json the id of each message is printed.",
    after_help = "Examples:\n  \
        kbus send '$.Sensors.Kitchen' '21 C'\n  \
        kbus send '$.Image' @picture.png\n  \
        tail -f log | kbus send '$.Log' --lines\n  \
        kbus send '$.Clock.Tick' --every 1s"
)]
pub struct Args {
    /// The name of the message, such as $.Sensors.Kitchen
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    data: Data,
    /// To the front of each queue
    #[arg(short, long)]
    urgent: bool,
    /// To every listener, or to none if the queue of one is full
    #[arg(long, conflicts_with = "all_or_wait")]
    all_or_fail: bool,
    /// To every listener; wait until each queue has room
    #[arg(long)]
    all_or_wait: bool,
    /// Wait no longer than this
    #[arg(short, long, value_name = "TIME", value_parser = text::duration, requires = "all_or_wait")]
    timeout: Option<Duration>,
    /// Each line of the standard input, or of @FILE, is a message
    #[arg(short, long, conflicts_with = "literal")]
    lines: bool,
    /// Send again and again, so far apart
    #[arg(short, long, value_name = "TIME", value_parser = text::some_duration)]
    every: Option<Duration>,
    /// Send so many messages [default: 1; with --every or --lines: without end]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let name = Name::new(&args.name)?;
    let source = match (&args.data.data, args.lines) {
        (None, true) => payload::stdin()?,
        _ => args.data.source()?,
    };
    if args.lines && matches!(source, Source::Text(_)) {
        return Err(
            Failure::usage("--lines is for the standard input or a file, not for text")
                .hint("write - or @FILE in place of the text, or nothing at all"),
        );
    }
    let socket = context.open()?;
    let limit = socket.max_message()?;
    let mut payloads = match source {
        Source::File(file, what) if args.lines => Payloads::Lines(Lines::new(file, what, limit)),
        source => Payloads::Same(source.read(&socket)?),
    };
    let once = !args.lines && args.every.is_none();
    let mut sender = Sender {
        count: args.count.or(once.then_some(1)),
        // A single message is over as soon as Ctrl-C ends the program.
        events: if once && args.count.is_none() {
            None
        } else {
            Some(Events::new(false)?)
        },
        output: context.json.then(|| context.output()),
        name,
        socket,
        args,
        sent: 0,
    };
    match sender.send_all(&mut payloads) {
        Ok(true) => Ok(()),
        Ok(false) => {
            note(format_args!("{} sent", text::count(sender.sent, "message")));
            // Where there is no end Ctrl-C is it.
            let endless = sender.count.is_none() && !sender.args.lines;
            match endless {
                true => Ok(()),
                false => Err(Failure::silent(Code::Interrupted)),
            }
        }
        Err(failure) if sender.sent > 0 => Err(failure.after(format_args!(
            "{} sent before",
            text::count(sender.sent, "message")
        ))),
        Err(failure) => Err(failure),
    }
}

struct Sender {
    args: Args,
    name: Name,
    socket: Socket,
    events: Option<Events>,
    /// For `--json`.
    output: Option<Output>,
    count: Option<u64>,
    sent: u64,
}

impl Sender {
    /// False if Ctrl-C has ended it.
    fn send_all(&mut self, payloads: &mut Payloads) -> Result<bool, Failure> {
        let mut next = Instant::now();
        while self.count.is_none_or(|count| self.sent < count) {
            let payload = match payloads {
                Payloads::Same(payload) => payload.as_slice(),
                Payloads::Lines(lines) => match lines.next(self.events.as_ref(), &self.socket)? {
                    Line::Next(line) => line,
                    Line::End => return Ok(true),
                    Line::Interrupted => return Ok(false),
                },
            };
            if self.interrupted() || !self.send(payload)? {
                return Ok(false);
            }
            self.sent += 1;
            if let Some(output) = &mut self.output {
                let id = self.socket.last_sent()?.map(|id| id.to_string());
                output.json(&json!({
                    "id": id,
                    "name": self.name.as_str(),
                    "len": payload.len(),
                }))?;
            }
            let (Some(every), Some(events)) = (self.args.every, &self.events) else {
                continue;
            };
            if self.count.is_some_and(|count| self.sent >= count) {
                break;
            }
            // What could not be sent in time is not made up for.
            next = (next + every).max(Instant::now());
            if events.sleep(next)? == Woken::Interrupted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn interrupted(&self) -> bool {
        self.events.as_ref().is_some_and(Events::interrupted)
    }

    /// One message; false if Ctrl-C came before there was room.
    fn send(&self, payload: &[u8]) -> Result<bool, Failure> {
        /// How long Ctrl-C has to wait.
        const LOOK: Duration = Duration::from_millis(200);
        let deadline = self.args.timeout.map(|limit| Instant::now() + limit);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.args.all_or_wait {
                // A limit of 0 would be none.
                let limit = left.map_or(LOOK, |left| left.clamp(Duration::from_millis(1), LOOK));
                self.socket.set_write_timeout(limit)?;
            }
            let mut message = self.socket.to(&self.name)?;
            if self.args.urgent {
                message = message.urgent();
            }
            if self.args.all_or_fail {
                message = message.all_or_fail();
            }
            if self.args.all_or_wait {
                message = message.all_or_wait();
            }
            match message.announce(payload) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if self.interrupted() {
                        return Ok(false);
                    }
                    if left.is_some_and(|left| left.is_zero()) {
                        return Err(Failure::new(
                            Code::Timeout,
                            format_args!("the time was over, and the queue of a listener of {} is still full", self.name),
                        )
                        .hint(format_args!("`kbus why '{}'` says whose queue it is", self.name)));
                    }
                }
                result => return Ok(result.map(|()| true)?),
            }
        }
    }
}

enum Payloads {
    Same(Vec<u8>),
    Lines(Lines),
}

/// The lines of a file, one after the other.
struct Lines {
    file: File,
    what: String,
    limit: u32,
    /// What was read and not returned begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    number: u64,
}

enum Line<'a> {
    /// Without its line feed.
    Next(&'a [u8]),
    End,
    Interrupted,
}

impl Lines {
    fn new(file: File, what: String, limit: u32) -> Lines {
        Lines {
            file,
            what,
            limit,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            number: 0,
        }
    }

    /// The next one. One that is too long for the bus is an error.
    fn next(&mut self, events: Option<&Events>, socket: &Socket) -> Result<Line<'_>, Failure> {
        // What was returned before is not needed any more.
        if self.at == self.buffer.len() || self.at > 1 << 20 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let mut searched = self.at;
        loop {
            let found = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            let end = found.map(|found| searched + found);
            searched = self.buffer.len();
            let len = end.unwrap_or(searched) - self.at;
            if len > self.limit as usize {
                let number = self.number + 1;
                let len = end.map(|_| len as u64);
                return Err(payload::too_long(len, self.limit, socket)
                    .before(format_args!("line {number} of {}", self.what)));
            }
            let (end, next) = match end {
                Some(end) => (end, end + 1),
                None if self.ended && len > 0 => (searched, searched),
                None if self.ended => return Ok(Line::End),
                None => {
                    if !self.fill(events)? {
                        return Ok(Line::Interrupted);
                    }
                    continue;
                }
            };
            let start = self.at;
            self.at = next;
            self.number += 1;
            return Ok(Line::Next(&self.buffer[start..end]));
        }
    }

    /// Reads more; false if Ctrl-C came meanwhile.
    fn fill(&mut self, events: Option<&Events>) -> Result<bool, Failure> {
        if let Some(events) = events {
            if events.wait(self.file.as_fd(), None)? == Woken::Interrupted {
                return Ok(false);
            }
        }
        let mut chunk = [0; 65536];
        let read = self.file.read(&mut chunk);
        let read =
            read.map_err(|error| Failure::io(format_args!("cannot read {}", self.what), &error))?;
        self.ended = read == 0;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(true)
    }
}
