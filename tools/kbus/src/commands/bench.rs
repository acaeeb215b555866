// SPDX-License-Identifier: GPL-2.0
//! `kbus bench`.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use kbus::Bus;
use kbus::Form;
use kbus::Socket;
use serde_json::json;

use crate::context::Context;
use crate::events::Events;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::output::Style;
use crate::show::span;

/// Measurements that are thrown away first, as caches are cold.
const WARM_UP: usize = 100;
/// Against hanging.
const LIMIT: Duration = Duration::from_secs(60);

/// Measure what a bus costs on this machine, next to AF_UNIX
#[derive(Debug, clap::Args)]
#[command(
    after_help = "one-way: a send and its receive, in one thread. round trip: a request and its \
    reply between two threads. fan-out: one announcement to all listeners and their receives, next \
    to as many AF_UNIX sends and receives, in one thread. Both kinds of sockets are used with the \
    same plain calls and turn by turn; the request alone is sent by the library, which asks for its \
    id as well. Without --bus a bus of its own is used. Figures of a busy machine say little."
)]
pub struct Args {
    /// Measurements of each kind
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: u32,
    /// Bytes of payload
    #[arg(short, long, value_name = "BYTES", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(0..=65536))]
    payload: u32,
    /// Listeners of the fan-out
    #[arg(short, long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    listeners: u32,
}

/// Times of one kind of socket, in nanoseconds.
struct Times(Vec<u64>);

impl Times {
    /// The time that so many thousandths of all are not above.
    fn at(&self, thousandths: usize) -> u64 {
        let last = self.0.len().saturating_sub(1);
        let at = (self.0.len() * thousandths)
            .div_ceil(1000)
            .saturating_sub(1);
        self.0.get(at.min(last)).copied().unwrap_or(0)
    }
}

/// What was measured once with either kind of socket.
struct Measured {
    test: &'static str,
    unix: Times,
    kbus: Times,
}

/// What is needed to measure.
struct Bench<'a> {
    bus: Bus,
    name: String,
    args: &'a Args,
    payload: Vec<u8>,
    events: Events,
}

fn failed(error: io::Error) -> Failure {
    Failure::io("cannot measure", &error)
}

/// Sockets made from a KBUS socket and by its library: plain calls work with either.
fn plain(socket: &Socket) -> Result<UnixDatagram, Failure> {
    let fd = socket.as_fd().try_clone_to_owned().map_err(failed)?;
    let socket = UnixDatagram::from(fd);
    socket.set_read_timeout(Some(LIMIT)).map_err(failed)?;
    Ok(socket)
}

fn time(mut act: impl FnMut() -> Outcome) -> Result<u64, Failure> {
    let begun = Instant::now();
    act()?;
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

impl Bench<'_> {
    fn open(&self) -> Result<Socket, Failure> {
        Ok(Socket::options().form(Form::Literal).open(&self.bus)?)
    }

    /// An AF_UNIX socket with an address of its own.
    fn unix(&self, which: &str) -> Result<(UnixDatagram, SocketAddr), Failure> {
        let name = format!("kbus-bench-{}-{which}", process::id());
        let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
        let socket = UnixDatagram::bind_addr(&address).map_err(failed)?;
        socket.set_read_timeout(Some(LIMIT)).map_err(failed)?;
        socket.set_write_timeout(Some(LIMIT)).map_err(failed)?;
        Ok((socket, address))
    }

    /// Measures both turn by turn, so that what else the machine does troubles both alike.
    fn measure(
        &self,
        test: &'static str,
        mut unix: impl FnMut() -> Outcome,
        mut kbus: impl FnMut() -> Outcome,
    ) -> Result<Measured, Failure> {
        for _ in 0..WARM_UP {
            unix()?;
            kbus()?;
        }
        let count = self.args.count as usize;
        let mut times = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            if self.events.interrupted() {
                return Err(Failure::silent(Code::Interrupted));
            }
            times.0.push(time(&mut unix)?);
            times.1.push(time(&mut kbus)?);
        }
        times.0.sort_unstable();
        times.1.sort_unstable();
        Ok(Measured {
            test,
            unix: Times(times.0),
            kbus: Times(times.1),
        })
    }

    fn one_way(&self) -> Result<Measured, Failure> {
        let sender = self.unix("sender")?.0;
        let (receiver, address) = self.unix("receiver")?;
        let (announcer, listener) = (self.open()?, self.open()?);
        listener.listen(self.name.as_str())?;
        let (announcer, listener) = (plain(&announcer)?, plain(&listener)?);
        let mut buffer = vec![0; self.payload.len() + 1];
        let mut other = buffer.clone();
        self.measure(
            "one-way",
            || {
                sender
                    .send_to_addr(&self.payload, &address)
                    .map_err(failed)?;
                receiver.recv(&mut buffer).map(drop).map_err(failed)
            },
            || {
                announcer
                    .send_to(&self.payload, &self.name)
                    .map_err(failed)?;
                listener.recv(&mut other).map(drop).map_err(failed)
            },
        )
    }

    fn fan_out(&self) -> Result<Measured, Failure> {
        // A sender for each, as one could have too few bytes for messages that are not read yet.
        let mut senders = Vec::new();
        let (announcer, mut receivers, mut listeners) = (self.open()?, Vec::new(), Vec::new());
        for number in 0..self.args.listeners {
            senders.push(self.unix(&format!("sender-{number}"))?.0);
            receivers.push(self.unix(&format!("receiver-{number}"))?);
            let listener = self.open()?;
            listener.listen(self.name.as_str())?;
            listeners.push(plain(&listener)?);
        }
        let announcer = plain(&announcer)?;
        let mut buffer = vec![0; self.payload.len() + 1];
        let mut other = buffer.clone();
        self.measure(
            "fan-out",
            || {
                for (sender, (_, address)) in senders.iter().zip(&receivers) {
                    sender
                        .send_to_addr(&self.payload, address)
                        .map_err(failed)?;
                }
                receivers.iter().try_for_each(|(receiver, _)| {
                    receiver.recv(&mut buffer).map(drop).map_err(failed)
                })
            },
            || {
                announcer
                    .send_to(&self.payload, &self.name)
                    .map_err(failed)?;
                listeners
                    .iter()
                    .try_for_each(|listener| listener.recv(&mut other).map(drop).map_err(failed))
            },
        )
    }

    fn round_trip(&self) -> Result<Measured, Failure> {
        let (server, address) = self.unix("server")?;
        let client = self.unix("client")?.0;
        let (replier, requester) = (self.open()?, self.open()?);
        replier.become_replier(self.name.as_str())?;
        requester.set_reply_max(self.args.payload.max(1))?;
        let (replier, answers) = (plain(&replier)?, plain(&requester)?);
        let mut buffer = vec![0; self.payload.len() + 1];
        let mut other = buffer.clone();
        let count = self.args.count as usize + WARM_UP;
        // A server and a replier are the same loop.
        let serve = move |socket: UnixDatagram, mut buffer: Vec<u8>| {
            thread::spawn(move || -> io::Result<()> {
                for _ in 0..count {
                    let (len, from) = socket.recv_from(&mut buffer)?;
                    socket.send_to_addr(&buffer[..len], &from)?;
                }
                Ok(())
            })
        };
        let servers = [
            serve(server, buffer.clone()),
            serve(replier, buffer.clone()),
        ];
        let measured = self.measure(
            "round trip",
            || {
                client
                    .send_to_addr(&self.payload, &address)
                    .map_err(failed)?;
                client.recv(&mut buffer).map(drop).map_err(failed)
            },
            || {
                requester.request(self.name.as_str(), &self.payload)?;
                answers.recv(&mut other).map(drop).map_err(failed)
            },
        )?;
        for server in servers {
            // It has answered all, or there would be no measurement.
            let _ = server.join();
        }
        Ok(measured)
    }
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let pid = process::id();
    let bus = match context.bus_given {
        true => context.bus.clone(),
        false => Bus::new(format!("@kbus-bench-{pid}"))?,
    };
    let bench = Bench {
        bus,
        name: format!("$.Bench.P{pid}"),
        args: &args,
        payload: vec![b'x'; args.payload as usize],
        events: Events::new(false)?,
    };
    let mut out = context.output();
    if !context.json {
        out.line(format_args!(
            "{} measurements of each, {} bytes of payload, {} listeners in the fan-out",
            args.count, args.payload, args.listeners
        ))?;
        let head = format!(
            "{:<11} {:<8} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "", "least", "median", "90 %", "99 %", "99.9 %"
        );
        let head = out.paint(Style::Bold, head).to_string();
        out.line(head)?;
    }
    let measures: [&dyn Fn() -> Result<Measured, Failure>; 3] =
        [&|| bench.one_way(), &|| bench.round_trip(), &|| {
            bench.fan_out()
        }];
    for measure in measures {
        let measured = measure()?;
        let ratio = measured.kbus.at(500) as f64 / measured.unix.at(500).max(1) as f64;
        for (kind, times) in [("AF_UNIX", &measured.unix), ("KBUS", &measured.kbus)] {
            if context.json {
                out.json(&json!({
                    "test": measured.test,
                    "sockets": kind,
                    "count": args.count,
                    "payload": args.payload,
                    "listeners": (measured.test == "fan-out").then_some(args.listeners),
                    "min_ns": times.at(0),
                    "p50_ns": times.at(500),
                    "p90_ns": times.at(900),
                    "p99_ns": times.at(990),
                    "p999_ns": times.at(999),
                    "ratio": (kind == "KBUS").then_some(ratio),
                }))?;
                continue;
            }
            let mut line = format!("{:<11} {kind:<8}", measured.test);
            for thousandths in [0, 500, 900, 990, 999] {
                line += &format!(" {:>10}", span(times.at(thousandths)));
            }
            out.line(line)?;
        }
        if !context.json {
            let text = format!("{:<11} KBUS takes {ratio:.2} times as long (medians)", "");
            let text = out.paint(Style::Cyan, text).to_string();
            out.line(text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percentiles are those of the sorted times.
    #[test]
    fn percentiles_are_right() {
        let times = Times((1..=1000).collect());
        assert_eq!(
            [0, 500, 900, 999, 1000].map(|at| times.at(at)),
            [1, 500, 900, 999, 1000]
        );
        assert_eq!(Times(vec![7]).at(500), 7);
        assert_eq!(Times(Vec::new()).at(500), 0);
    }
}
