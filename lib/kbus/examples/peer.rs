// SPDX-License-Identifier: GPL-2.0
//! The Rust program of `languages.test`; see `qemu/userland/languages/README.md`.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::io::stdout;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use kbus::Bus;
use kbus::CallError;
use kbus::Credentials;
use kbus::Message;
use kbus::Name;
use kbus::Outgoing;
use kbus::PeerId;
use kbus::Reason;
use kbus::Received;
use kbus::Socket;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let options = Socket::options().descriptors(true).credentials(true);
    let bus = options.open(Bus::from_env()?)?;
    match words[..] {
        ["reply", name] => reply(&bus, name),
        ["listen", name, count] => listen(&bus, name, count.parse()?),
        ["request", name, ref more @ ..] => {
            let details = Details::new(more)?;
            print(&request(&bus, name, &details))
        }
        ["announce", name, ref more @ ..] => {
            let details = Details::new(more)?;
            let sent = || details.to(&bus, name)?.announce(&details.payload);
            print(&match sent() {
                Ok(()) => "sent".to_string(),
                Err(error) => failed(&error),
            })
        }
        _ => {
            Err("peer reply NAME | listen NAME COUNT | request NAME ... | announce NAME ...".into())
        }
    }
}

/// What is sent, beside its name.
struct Details {
    payload: Vec<u8>,
    files: Vec<File>,
    peer: Option<PeerId>,
    user: u16,
    limit: Duration,
    urgent: bool,
}

impl Details {
    fn new(words: &[&str]) -> Result<Details> {
        let mut details = Details {
            payload: Vec::new(),
            files: Vec::new(),
            peer: None,
            user: 0,
            limit: Duration::from_secs(60),
            urgent: false,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word {
                "--fd" => details.files.push(File::open(value()?)?),
                "--to" => details.peer = Some(value()?.parse()?),
                "--user" => details.user = u16::from_str_radix(value()?, 16)?,
                "--size" => {
                    let size = value()?.parse()?;
                    details.payload = (0..=250).cycle().take(size).collect();
                }
                "--timeout" => details.limit = Duration::from_millis(value()?.parse()?),
                "--urgent" => details.urgent = true,
                text => details.payload = text.into(),
            }
        }
        Ok(details)
    }

    fn to<'a>(
        &'a self,
        bus: &'a Socket,
        name: &str,
    ) -> std::result::Result<Outgoing<'a>, kbus::Error> {
        let mut outgoing = bus.to(name)?.user_bits(self.user).fds(&self.files);
        if self.urgent {
            outgoing = outgoing.urgent();
        }
        if let Some(peer) = self.peer {
            outgoing = outgoing.peer(peer);
        }
        Ok(outgoing)
    }
}

fn reply(bus: &Socket, name: &str) -> Result {
    bus.become_replier(name)?;
    print(&format!("ready {}", bus.peer_id()))?;
    let mut held = Vec::new();
    for received in bus.messages() {
        let Received::Request(mut request) = received? else {
            return Err("only requests come here".into());
        };
        print(&line("request", &request)?)?;
        match request.payload() {
            b"ignore" => request.give_up(),
            b"hold" => held.push(request),
            _ => {
                let (payload, fds) = (request.take_payload(), request.take_fds());
                let bits = request.user_bits();
                request.answer().user_bits(bits).fds(&fds).send(payload)?;
            }
        }
    }
    Ok(())
}

fn listen(bus: &Socket, name: &str, count: usize) -> Result {
    bus.listen(name)?;
    print(&format!("ready {}", bus.peer_id()))?;
    for received in bus.messages().take(count) {
        match received? {
            Received::Copy(message) => print(&line("copy", &message)?)?,
            other => {
                let message = other.message().ok_or("a message was lost")?;
                print(&line("announcement", message)?)?;
            }
        }
    }
    Ok(())
}

fn request(bus: &Socket, name: &str, details: &Details) -> String {
    let called = || details.to(bus, name)?.call(&details.payload, details.limit);
    match called() {
        Ok(reply) => line("reply", &reply).unwrap_or_else(|error| error.to_string()),
        Err(CallError::Status(status)) => match status.reason() {
            Reason::GoneAway => "status gone-away".to_string(),
            Reason::Ignored => "status ignored".to_string(),
            Reason::Unbound => "status unbound".to_string(),
            other => format!("status {other:?}"),
        },
        Err(CallError::Timeout) => "timeout".to_string(),
        Err(CallError::Error(error)) => failed(&error),
        Err(other) => other.to_string(),
    }
}

fn failed(error: &kbus::Error) -> String {
    format!("error {}", error.errno().unwrap_or_default())
}

/// All of a message in a line.
fn line(kind: &str, message: &Message) -> Result<String> {
    let who = message.credentials().ok_or("no credentials")?;
    let Credentials { pid, uid, .. } = who;
    let files: Result<Vec<String>> = message.fds().iter().map(beginning).collect();
    let (name, sender): (&Name, PeerId) = (message.name(), message.sender());
    Ok(format!(
        "{kind} name={name} sender={sender} len={} sum={:x} fds={} uid={uid} pid={pid} user={:x} urgent={}",
        message.payload().len(),
        adler32(message.payload()),
        files?.join(","),
        message.user_bits(),
        u8::from(message.is_urgent()),
    ))
}

/// The first bytes of a file.
fn beginning(fd: &OwnedFd) -> Result<String> {
    let mut bytes = [0; 16];
    let count = File::from(fd.try_clone()?).read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// The checksum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    (b << 16) | a
}

/// Prints a line at once.
fn print(line: &str) -> Result {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
