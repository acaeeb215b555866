// SPDX-License-Identifier: GPL-2.0
//! `kbus serve`.

use std::ffi::OsString;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use kbus::ErrorKind;
use kbus::Pattern;
use kbus::Received;
use kbus::Request;
use kbus::Socket;
use serde_json::json;

use crate::child;
use crate::child::Job;
use crate::child::Running;
use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::note;
use crate::failure::progress;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::message::ERROR_BIT;
use crate::text;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Answer requests by running a command",
    long_about = "Become replier for a name, and answer each request by running a command.\n\n\
        The payload of the request is the standard input of the command, and its standard output the \
        reply. In its environment are KBUS_NAME, the name of the request; KBUS_SENDER, the id of the \
        requester's socket; KBUS_REQUEST, the id of the request; KBUS_SENDER_PID and KBUS_SENDER_UID; \
        and KBUS_BUS, the bus.\n\n\
        A command that cannot be run, fails, or takes longer than --timeout, and a reply that is too long, \
        are told to the requester by an error reply: bit 31 of its flags is set, and its payload is one \
        sentence. `kbus call` shows it and exits with 14.\n\n\
        After Ctrl-C no further request is read, and kbus ends when those that run are answered. A second \
        one ends the commands, which is an error reply like any other failure. After --count requests it \
        ends as well.",
    after_help = "Examples:\n  \
        kbus serve '$.Upper' -- tr a-z A-Z\n  \
        kbus serve '$.Uptime' --parallel 4 -- uptime\n  \
        kbus serve '$.Echo' --echo"
)]
pub struct Args {
    /// The name, or a wildcard
    #[arg(value_name = "NAME")]
    name: String,
    /// Reply with what the request says; there is no command
    #[arg(long, conflicts_with = "command")]
    echo: bool,
    /// Run so many commands at once
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End a command that takes longer, which is an error reply
    #[arg(short, long, value_name = "TIME", value_parser = text::some_duration)]
    timeout: Option<Duration>,
    /// Say each request on the standard error, and not only the failures
    #[arg(short, long)]
    verbose: bool,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "echo", value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let pattern = Pattern::new(&args.name)?;
    if let Some(command) = args.command.first() {
        child::check(command)?;
    }
    let socket = context.open_with(&Socket::options().credentials(true))?;
    let events = Events::patient(context.json)?;
    let (mut told, tell) = events.each()?;
    socket.become_replier(&pattern)?;
    progress(format_args!(
        "replier for {pattern} on {}; Ctrl-C ends it",
        context.bus
    ));
    let running = Running::default();
    let server = Server {
        args: &args,
        context,
        socket: &socket,
        events: &events,
        running: &running,
        left: Mutex::new(args.count.unwrap_or(u64::MAX)),
    };
    let mut signals = 0;
    let counts = thread::scope(|scope| {
        let work = || {
            let result = server.work();
            // If one has failed, all end.
            events.stop();
            // It fails only if nobody reads it.
            let _ = (&tell).write(&[0]);
            result
        };
        let workers: Vec<_> = (0..args.parallel).map(|_| scope.spawn(work)).collect();
        let mut ended = 0;
        while ended < args.parallel {
            let mut byte = [0];
            let read = told.read_exact(&mut byte);
            match byte {
                _ if read.is_err() => break,
                [0] => ended += 1,
                _ => signals += 1,
            }
            // Whoever has asked and was not read is told at once, not when all commands have ended.
            // It fails if the socket is no replier any more, which is what is wanted.
            let _ = socket.stop_replier(&pattern);
            if signals > 1 {
                running.end();
            }
        }
        let mut counts = Counts::default();
        for result in workers.into_iter().map(|worker| worker.join()) {
            // A worker does not panic.
            let part = result.unwrap_or_else(|_| Ok(Counts::default()))?;
            counts.replied += part.replied;
            counts.failed += part.failed;
        }
        Ok::<_, Failure>(counts)
    })?;
    let replied = text::count(counts.replied + counts.failed, "request");
    note(format_args!(
        "{replied} answered, {} of them by an error",
        counts.failed
    ));
    match signals {
        0 | 1 => Ok(()),
        _ => Err(Failure::silent(Code::Interrupted)),
    }
}

#[derive(Default)]
struct Counts {
    replied: u64,
    failed: u64,
}

struct Server<'a> {
    args: &'a Args,
    context: &'a Context,
    socket: &'a Socket,
    events: &'a Events,
    running: &'a Running,
    /// How many requests may still be read.
    left: Mutex<u64>,
}

impl Server<'_> {
    /// Reads a request, unless another worker has taken it, and says how many may follow.
    fn next(&self) -> Result<(Option<Request>, u64), Failure> {
        // No worker panics.
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let request = match *left {
            0 => None,
            _ => self.socket.try_recv()?,
        };
        let Some(Received::Request(request)) = request else {
            return Ok((None, *left));
        };
        *left -= 1;
        Ok((Some(request), *left))
    }

    /// Answers one request after the other until Ctrl-C, or until there were enough.
    fn work(&self) -> Result<Counts, Failure> {
        let mut counts = Counts::default();
        while self.events.wait(self.socket.as_fd(), None)? == Woken::Ready {
            let (request, left) = self.next()?;
            if let Some(request) = request {
                match self.answer(request)? {
                    true => counts.replied += 1,
                    false => counts.failed += 1,
                }
            }
            if left == 0 {
                break;
            }
        }
        Ok(counts)
    }

    /// Answers it; false if by an error.
    fn answer(&self, mut request: Request) -> Result<bool, Failure> {
        let begun = Instant::now();
        let name = request.name().clone();
        let (sender, id) = (request.sender(), request.id());
        let payload = request.take_payload();
        let length = payload.len();
        let result = if self.args.echo {
            Ok(payload)
        } else {
            let job = Job {
                command: &self.args.command,
                timeout: self.args.timeout,
                longest: self.socket.max_message()? as usize,
                bus: self.socket.bus(),
                running: self.running,
            };
            job.run(&request, payload)
        };
        let (replied, why) = reply(request, result);
        let ok = why.is_none();
        if self.context.json {
            self.context.output().json(&json!({
                "name": name.as_str(),
                "sender": sender.to_string(),
                "request": id.to_string(),
                "len": length,
                "reply_len": replied,
                "error": why,
                "milliseconds": begun.elapsed().as_secs_f64() * 1000.0,
            }))?;
        } else if let Some(why) = why {
            note(format_args!("{name} of peer {sender}: {why}"));
        } else if self.args.verbose {
            let time = begun.elapsed().as_secs_f64() * 1000.0;
            let bytes = text::count(replied.unwrap_or(0) as u64, "byte");
            note(format_args!(
                "{name} of peer {sender}: {bytes} in {time:.1} ms"
            ));
        }
        Ok(ok)
    }
}

/// Sends the reply, or the sentence why there is none. Returns how long the reply was, and what
/// went wrong.
fn reply(request: Request, result: Result<Vec<u8>, String>) -> (Option<usize>, Option<String>) {
    let (request, sentence) = match result {
        Ok(payload) => {
            let length = payload.len();
            match request.reply(payload) {
                Ok(()) => return (Some(length), None),
                Err(error) if error.kind() == ErrorKind::TooLong => {
                    let bytes = text::count(length as u64, "byte");
                    let sentence =
                        format!("the reply has {bytes}, more than the requester has room for");
                    match error.into_request() {
                        Some(request) => (request, sentence),
                        None => return (None, Some(sentence)),
                    }
                }
                Err(error) => return (None, Some(error.to_string())),
            }
        }
        Err(sentence) => (request, sentence),
    };
    // The shorter one is for a requester who has hardly any room. Without either, its status says
    // that there is no reply.
    let mut left = Some(request);
    for text in [sentence.as_str(), ""] {
        let Some(request) = left.take() else { break };
        match request.answer().user_bits(ERROR_BIT).send(text) {
            Ok(()) => break,
            Err(error) => left = error.into_request(),
        }
    }
    (None, Some(sentence))
}
