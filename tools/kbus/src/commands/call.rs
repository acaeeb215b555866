// SPDX-License-Identifier: GPL-2.0
//! `kbus call`.

use std::time::Duration;
use std::time::Instant;

use kbus::Name;
use kbus::PeerId;
use kbus::Reason;
use kbus::Received;
use kbus::Reply;
use kbus::Socket;
use serde_json::json;

use crate::context::Context;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::message;
use crate::message::ERROR_BIT;
use crate::payload::Data;
use crate::text;
use crate::who::Names;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Ask, and print the reply",
    long_about = "Ask whoever is replier for a name, and print the reply as it is.\n\n\
        The bus answers each request: by the reply, or by a status that says why there will be none. A \
        status is an error with an exit code of its own. So is a reply that says that the request failed \
        (bit 31 of its flags), as those of `kbus serve` do.",
    after_help = "Examples:\n  \
        kbus call '$.Heating.Set' 21\n  \
        kbus call --timeout 5s '$.Camera.Picture' >picture.png\n  \
        kbus call '$.Resize' @picture.png --reply-max 1000000 >small.png"
)]
pub struct Args {
    /// The name of the request
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    data: Data,
    /// Wait no longer than this for the reply [default: until the bus says that there is none]
    #[arg(short, long, value_name = "TIME", value_parser = text::duration)]
    timeout: Option<Duration>,
    /// Ask this peer and nobody else
    #[arg(long, value_name = "PEER", value_parser = peer)]
    to: Option<PeerId>,
    /// To the front of the replier's queue
    #[arg(short, long)]
    urgent: bool,
    /// Reserve room for a reply of so many bytes [default: 65536, or what the bus allows]
    #[arg(long, value_name = "BYTES")]
    reply_max: Option<u32>,
}

/// The id of a peer as addresses have it.
fn peer(text: &str) -> Result<PeerId, String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let peer = text.parse().ok().filter(|_| text.bytes().all(is_digit));
    peer.filter(|peer: &PeerId| peer.get() != 0)
        .ok_or("a peer is a number in lower-case hexadecimal, as `kbus list` shows it".to_owned())
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let name = Name::new(&args.name)?;
    // What is wrong with a file is told before the bus is joined.
    let source = args.data.source()?;
    let socket = context.open_with(&Socket::options().credentials(true).time(true))?;
    let payload = source.read(&socket)?;
    let reply_max = match args.reply_max {
        Some(bytes) => bytes,
        None => socket.max_message()?.min(65536),
    };
    let mut request = socket.to(&name)?.reply_max(reply_max);
    if let Some(peer) = args.to {
        request = request.peer(peer);
    }
    if args.urgent {
        request = request.urgent();
    }
    let begun = Instant::now();
    request.request(&payload)?;
    let deadline = args.timeout.map(|limit| begun + limit);
    loop {
        let received = match deadline {
            None => socket.recv()?,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                match socket.recv_timeout(left)? {
                    Some(received) => received,
                    None => return Err(over(&args, &name)),
                }
            }
        };
        match received {
            Received::Reply(reply) => return print(reply, context, begun.elapsed()),
            Received::Status(status) => {
                let (code, hint) = match status.reason() {
                    Reason::GoneAway => (
                        Code::GoneAway,
                        "the request was not read: `kbus wait` waits for the next replier",
                    ),
                    Reason::Ignored => (
                        Code::Ignored,
                        "the request may have been carried out: look at what the replier says of it",
                    ),
                    Reason::Unbound => (
                        Code::Unbound,
                        "the request was not read: `kbus wait` waits for the next replier",
                    ),
                    _ => (Code::OtherStatus, "kbus(7) says what the number means"),
                };
                let text = format!(
                    "no reply to {name} from peer {}: {}",
                    status.replier(),
                    status.reason()
                );
                return Err(Failure::new(code, text).hint(hint));
            }
            _ => {}
        }
    }
}

fn over(args: &Args, name: &Name) -> Failure {
    let time = args.timeout.unwrap_or_default().as_secs_f64();
    Failure::new(
        Code::Timeout,
        format_args!("no reply to {name} came within {time} s"),
    )
    .hint("the replier may still carry it out; it is told that nobody waits for its reply")
}

fn print(reply: Reply, context: &Context, time: Duration) -> Outcome {
    let failed = reply.user_bits() & ERROR_BIT != 0;
    let sender = reply.sender();
    let mut output = context.output();
    if context.json {
        let received = Received::Reply(reply);
        let mut value = message::object(&received, &Names::new());
        value["milliseconds"] = json!(time.as_secs_f64() * 1000.0);
        output.json(&value)?;
        return match failed {
            true => Err(Failure::silent(Code::ErrorReply)),
            false => Ok(()),
        };
    }
    if failed {
        let why = match text::printable(reply.payload()) {
            Some(text) if !text.is_empty() => text,
            _ => "it does not say why".to_owned(),
        };
        return Err(Failure::new(
            Code::ErrorReply,
            format_args!("peer {sender} could not do it: {why}"),
        ));
    }
    output.raw(reply.payload())?;
    if output.is_terminal() && !reply.payload().ends_with(b"\n") && !reply.payload().is_empty() {
        output.raw(b"\n")?;
    }
    Ok(())
}
