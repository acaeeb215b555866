// SPDX-License-Identifier: GPL-2.0
//! `kbus replay`.

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use kbus::ErrorKind;
use kbus::Received;
use kbus::Socket;
use serde_json::json;

use super::monitor::cannot;
use crate::capture::Kind;
use crate::capture::Packet;
use crate::capture::Reader;
use crate::context::Context;
use crate::events::Events;
use crate::events::Woken;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;

/// Replies that are awaited at the same time, at most.
const AWAITED: u32 = 64;
/// How long the last replies are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do with requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Requests {
    /// Leave both out.
    Skip,
    /// Ask again whoever is replier now, and leave recorded replies out.
    Ask,
    /// Announce requests and replies under their names, for listeners: nobody has to answer.
    Announce,
}

/// Send again what is in a file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE is checked as a whole before anything is sent. It is one of kbus \
    record or of kbus monitor --pcap. What the bus itself has said, and descriptors, are never \
    sent again. Payloads, names, urgency and the senders' own bits are those of the recording; \
    the sender is this command."
)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// So many times as fast as it was
    #[arg(long, value_name = "N", value_parser = speed, conflicts_with = "fast")]
    speed: Option<f64>,
    /// Without any pause
    #[arg(long)]
    fast: bool,
    /// What becomes of requests and replies
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    requests: Requests,
    /// Wait until every listener has room for each message, so that none misses it
    #[arg(long)]
    all_or_wait: bool,
    /// Send what comes before the place where the file is damaged or cut off
    #[arg(long)]
    damaged: bool,
    /// Check the file, and send nothing
    #[arg(long)]
    check: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok();
    let speed = speed.filter(|speed| speed.is_finite() && *speed >= 0.000_001);
    speed.ok_or_else(|| "it is a number above 0, such as 2 or 0.5".to_owned())
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>, Failure> {
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    Reader::new(BufReader::new(file)).map_err(|error| bad(path, &error))
}

fn bad(path: &Path, error: &crate::capture::ReadError) -> Failure {
    let text = format!("{} cannot be replayed: {error}", path.display());
    Failure::new(Code::Error, text)
}

/// Reads the file to its end: how many packets are good, and the bus that it is of.
fn check(args: &Args) -> Result<(u64, String), Failure> {
    let mut reader = open(&args.file)?;
    let mut good = 0;
    loop {
        match reader.next_packet() {
            Ok(Some(_)) => good += 1,
            Ok(None) => return Ok((good, reader.bus().unwrap_or("an unnamed bus").to_owned())),
            Err(error) if args.damaged => {
                let text = format!("{}: {error}", args.file.display());
                let _ = writeln!(
                    io::stderr(),
                    "kbus: {text}; {good} messages before it are good"
                );
                return Ok((good, reader.bus().unwrap_or("an unnamed bus").to_owned()));
            }
            Err(error) => {
                let failure = bad(&args.file, &error);
                return Err(match good {
                    0 => failure,
                    _ => failure.hint(format_args!(
                        "nothing was sent; --damaged sends the {good} messages before that place"
                    )),
                });
            }
        }
    }
}

/// What was sent.
#[derive(Default)]
struct Counts {
    announced: u64,
    asked: u64,
    replies: u64,
    statuses: u64,
    skipped: u64,
    unsent: u64,
}

/// Sends packets.
struct Player<'a> {
    args: &'a Args,
    socket: Socket,
    awaited: u32,
    counts: Counts,
}

impl Player<'_> {
    /// Takes what has come: replies are counted and dropped.
    fn receive(&mut self) -> Outcome {
        while let Some(received) = self.socket.try_recv()? {
            match received {
                Received::Reply(_) => self.counts.replies += 1,
                Received::Status(_) => self.counts.statuses += 1,
                _ => continue,
            }
            self.awaited = self.awaited.saturating_sub(1);
        }
        Ok(())
    }

    /// Waits until fewer replies than that are awaited. False if they do not come.
    fn until_below(&mut self, count: u32, events: &Events) -> Result<bool, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.awaited >= count {
            if events.wait(self.socket.as_fd(), Some(deadline))? != Woken::Ready {
                return Ok(false);
            }
            self.receive()?;
        }
        Ok(true)
    }

    /// Sends one packet, or leaves it out.
    fn send(&mut self, packet: &Packet) -> Outcome {
        let is_question = packet.kind == Kind::Request && self.args.requests == Requests::Ask;
        let is_news = match packet.kind {
            Kind::Announcement => true,
            Kind::Request | Kind::Reply => self.args.requests == Requests::Announce,
            Kind::Status | Kind::Lost | Kind::Event => false,
        };
        if packet.name.is_of_the_bus() || !(is_question || is_news) {
            self.counts.skipped += 1;
            return Ok(());
        }
        let mut out = self.socket.to(&packet.name)?;
        out = out.user_bits((packet.flags >> 16) as u16);
        if packet.flags & 2 != 0 {
            out = out.urgent();
        }
        if self.args.all_or_wait {
            out = out.all_or_wait();
        }
        if !is_question {
            out.announce(&packet.payload)?;
            self.counts.announced += 1;
            return Ok(());
        }
        match out.request(&packet.payload) {
            Ok(_) => {
                self.counts.asked += 1;
                self.awaited += 1;
            }
            // There was a replier when it was recorded. The rest of the file is good without it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NoReplier | ErrorKind::QueueFull | ErrorKind::NoRoomForReply
                ) =>
            {
                self.counts.unsent += 1;
                if self.counts.unsent == 1 {
                    let _ = writeln!(io::stderr(), "kbus: {error}; such requests are left out");
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let (good, bus) = check(&args)?;
    if args.check {
        if context.json {
            let value = json!({"kind": "summary", "messages": good, "bus": bus});
            return context.output().json(&value);
        }
        return context
            .output()
            .line(format_args!("{good} messages of {bus}, all good"));
    }
    let events = Events::new(false)?;
    let mut player = Player {
        args: &args,
        socket: context.open()?,
        awaited: 0,
        counts: Counts::default(),
    };
    let mut reader = open(&args.file)?;
    let speed = args.speed.unwrap_or(1.0);
    let begun = Instant::now();
    let mut first = None;
    let mut ended = true;
    // Whether repliers answer in time: those that do not are waited for once.
    let mut patient = true;
    for _ in 0..good {
        // It was whole a moment ago.
        let Some(packet) = reader
            .next_packet()
            .map_err(|error| bad(&args.file, &error))?
        else {
            break;
        };
        let first = *first.get_or_insert(packet.time);
        if !args.fast {
            let offset = Duration::from_nanos(packet.time.saturating_sub(first));
            let offset = Duration::try_from_secs_f64(offset.as_secs_f64() / speed);
            let due = offset.ok().and_then(|offset| begun.checked_add(offset));
            // What is due in more years than the clock has is never due.
            let due = due.unwrap_or(begun + Duration::from_secs(100 * 365 * 86400));
            if due > Instant::now() && events.sleep(due)? == Woken::Interrupted {
                ended = false;
                break;
            }
        }
        if events.interrupted() {
            ended = false;
            break;
        }
        player.receive()?;
        if player.args.requests == Requests::Ask && player.awaited >= AWAITED && patient {
            patient = player.until_below(AWAITED, &events)?;
        }
        player.send(&packet)?;
    }
    player.until_below(1, &events)?;
    finish(&player, context)?;
    match ended {
        true => Ok(()),
        false => Err(Failure::silent(Code::Interrupted)),
    }
}

/// Says what was done.
fn finish(player: &Player<'_>, context: &Context) -> Outcome {
    let counts = &player.counts;
    if context.json {
        return context.output().json(&json!({
            "kind": "summary",
            "announced": counts.announced,
            "asked": counts.asked,
            "replies": counts.replies,
            "statuses": counts.statuses,
            "not_answered_yet": player.awaited,
            "not_sent": counts.unsent,
            "left_out": counts.skipped,
        }));
    }
    let mut text = format!("{} announced", counts.announced);
    if player.args.requests == Requests::Ask {
        text += &format!(
            ", {} asked ({} replies, {} statuses, {} not answered yet), {} could not be asked",
            counts.asked, counts.replies, counts.statuses, player.awaited, counts.unsent
        );
    }
    text += &format!(", {} left out", counts.skipped);
    if counts.skipped > 0 && player.args.requests == Requests::Skip && io::stderr().is_terminal() {
        text += " (--requests says what becomes of requests and replies)";
    }
    let _ = writeln!(io::stderr(), "{text}");
    Ok(())
}
