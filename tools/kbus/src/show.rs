// SPDX-License-Identifier: GPL-2.0
//! How `monitor` shows messages: a line each, or JSON, replies joined to their requests.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt::Write;
use std::fs;

use serde_json::json;
use serde_json::Value;

use crate::capture::Kind;
use crate::capture::Packet;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::Style;

/// How many requests are remembered until their replies come.
const REMEMBERED: usize = 65536;
/// Bytes of a payload that a line shows, unless all are asked for.
const SHOWN: usize = 80;

/// A request whose reply has not been seen.
struct Asked {
    time: u64,
    name: String,
    peer: u64,
}

/// Requests that were seen, and what became of them.
#[derive(Default)]
pub struct Requests {
    open: HashMap<u64, Asked>,
    order: VecDeque<u64>,
    /// How many there were.
    pub seen: u64,
    /// How many of them had a reply.
    pub answered: u64,
}

impl Requests {
    /// Takes note of a message. Of a reply to a request that was seen: the nanoseconds between.
    pub fn note(&mut self, packet: &Packet) -> Option<u64> {
        match packet.kind {
            Kind::Request => {
                self.seen += 1;
                if self.order.len() >= REMEMBERED {
                    if let Some(id) = self.order.pop_front() {
                        self.open.remove(&id);
                    }
                }
                self.order.push_back(packet.id);
                let asked = Asked {
                    time: packet.time,
                    name: packet.name.to_string(),
                    peer: packet.peer,
                };
                self.open.insert(packet.id, asked);
                None
            }
            Kind::Reply => {
                let asked = self.open.remove(&packet.in_reply_to)?;
                self.answered += 1;
                // Most are answered soon: what is at the front is old, or answered.
                while let Some(id) = self.order.front() {
                    if self.open.contains_key(id) {
                        break;
                    }
                    self.order.pop_front();
                }
                Some(packet.time.saturating_sub(asked.time))
            }
            _ => None,
        }
    }

    /// How many have had no reply.
    pub fn unanswered(&self) -> u64 {
        self.seen - self.answered
    }

    /// The oldest ones of those: id, name and requester.
    pub fn oldest(&self, count: usize) -> Vec<(u64, &str, u64)> {
        let open = self.order.iter().filter_map(|id| {
            let asked = self.open.get(id)?;
            Some((*id, asked.name.as_str(), asked.peer))
        });
        open.take(count).collect()
    }
}

/// The names of processes, asked once each.
#[derive(Default)]
pub struct Commands {
    known: HashMap<u32, Option<String>>,
}

impl Commands {
    /// The command name of that process, if it can be seen.
    pub fn of(&mut self, pid: u32) -> Option<&str> {
        // A number can be of another process later; this is asked soon after the message.
        if self.known.len() > 4096 {
            self.known.clear();
        }
        let command = self.known.entry(pid).or_insert_with(|| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(printable(name.trim_end_matches('\n')))
        });
        command.as_deref()
    }
}

/// Text in which nothing changes the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// A payload as text in quotes if it is text, as hexadecimal digits otherwise.
pub fn payload(bytes: &[u8], all: bool) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let limit = if all { usize::MAX } else { SHOWN };
    let is_text = |text: &str| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
    };
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| is_text(text)) {
        let shown: String = text.chars().take(limit).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        return format!("{shown:?}{more}");
    }
    let mut out = String::from("0x");
    for byte in bytes.iter().take(limit) {
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > limit {
        out.push('…');
    }
    out
}

/// Time of day in UTC, to the microsecond.
pub fn clock(nanos: u64) -> String {
    let micros = nanos / 1000;
    let seconds = micros / 1_000_000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000
    )
}

/// A time span in the unit that suits it.
pub fn span(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", nanos as f64 / 1e6),
        _ => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

/// What a bind event says.
struct BindEvent {
    peer: u64,
    is_bind: bool,
    pattern: String,
}

fn bind_event(packet: &Packet) -> Option<BindEvent> {
    if packet.name != "$.KBUS.ReplierBindEvent" || packet.peer != 0 {
        return None;
    }
    let (peer, rest) = packet.payload.split_first_chunk::<8>()?;
    let (is_bind, rest) = rest.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let name = rest.get(..u32::from_ne_bytes(*len) as usize)?;
    Some(BindEvent {
        peer: u64::from_ne_bytes(*peer),
        is_bind: u32::from_ne_bytes(*is_bind) != 0,
        pattern: printable(&String::from_utf8_lossy(name)),
    })
}

/// The message as one line.
pub fn line(
    out: &Output,
    packet: &Packet,
    after: Option<u64>,
    commands: &mut Commands,
    all: bool,
) -> String {
    let mut text = out.paint(Style::Dim, clock(packet.time)).to_string();
    if packet.kind == Kind::Lost {
        let missed = format!("{} messages were missed here", packet.lost);
        let _ = write!(text, "  {}", out.paint(Style::Red, missed));
        return text;
    }
    if packet.lost > 0 {
        let missed = format!("({} missed before this)", packet.lost);
        let _ = write!(text, "  {}", out.paint(Style::Red, missed));
    }
    let (word, style) = match packet.kind {
        Kind::Announcement => ("announce", Style::Green),
        Kind::Request => ("request", Style::Yellow),
        Kind::Reply => ("reply", Style::Cyan),
        Kind::Status => ("status", Style::Red),
        Kind::Lost | Kind::Event => ("event", Style::Magenta),
    };
    let _ = write!(text, "  {}", out.paint(style, format!("{word:<8}")));
    let id = format!("#{:<6}", format!("{:x}", packet.id));
    let _ = write!(text, " {} {:x}", out.paint(Style::Dim, id), packet.peer);
    if let Some(sender) = packet.sender.filter(|sender| sender.pid != 0) {
        let who = match commands.of(sender.pid) {
            Some(command) => format!("({command}[{}])", sender.pid),
            None => format!("([{}])", sender.pid),
        };
        let _ = write!(text, " {}", out.paint(Style::Dim, who));
    }
    if packet.to != 0 {
        let _ = write!(text, " → {:x}", packet.to);
    }
    let _ = write!(text, "  {}", out.paint(Style::Bold, &packet.name));
    if packet.flags & 2 != 0 {
        let _ = write!(text, " {}", out.paint(Style::Red, "urgent"));
    }
    if packet.flags & 0x80 != 0 {
        text.push_str(" +fds");
    }
    match bind_event(packet) {
        Some(event) => {
            let what = if event.is_bind {
                "is replier for"
            } else {
                "is no more replier for"
            };
            let _ = write!(text, "  peer {:x} {what} {}", event.peer, event.pattern);
        }
        None => {
            let bytes = payload(&packet.payload, all);
            let _ = write!(text, "  {} bytes {bytes}", packet.payload.len());
        }
    }
    if packet.kind == Kind::Reply {
        let mut answer = format!("answers #{:x}", packet.in_reply_to);
        match after {
            Some(after) => {
                let _ = write!(answer, " after {}", span(after));
            }
            None => answer.push_str(", which was not seen"),
        }
        let _ = write!(text, "  {}", out.paint(Style::Cyan, answer));
    }
    text.trim_end().to_owned()
}

/// The message as JSON. Ids are hexadecimal text, as in addresses: JSON's numbers do not hold 64
/// bits.
pub fn object(packet: &Packet, after: Option<u64>, commands: &mut Commands) -> Value {
    let hex = |id: u64| format!("{id:x}");
    let mut value = json!({
        "time": packet.time as f64 / 1e9,
        "time_ns": packet.time,
        "kind": packet.kind.as_str(),
        "id": hex(packet.id),
    });
    let mut set = |key: &str, to: Value| value[key] = to;
    if packet.kind == Kind::Lost {
        set("lost", packet.lost.into());
        return value;
    }
    set("name", packet.name.as_str().into());
    set("sender", hex(packet.peer).into());
    if let Some(sender) = packet.sender {
        set("pid", sender.pid.into());
        set("uid", sender.uid.into());
        set("gid", sender.gid.into());
        if let Some(command) = commands.of(sender.pid) {
            set("command", command.into());
        }
    }
    if packet.to != 0 {
        set("to", hex(packet.to).into());
    }
    if packet.in_reply_to != 0 {
        set("in_reply_to", hex(packet.in_reply_to).into());
    }
    if let Some(after) = after {
        set("after_ns", after.into());
    }
    set("urgent", (packet.flags & 2 != 0).into());
    set("descriptors", (packet.flags & 0x80 != 0).into());
    if packet.flags >> 16 != 0 {
        set("user_bits", (packet.flags >> 16).into());
    }
    set("lost", packet.lost.into());
    if let Some(event) = bind_event(packet) {
        set("replier", hex(event.peer).into());
        set("bound", event.is_bind.into());
        set("pattern", event.pattern.into());
    }
    set("len", packet.payload.len().into());
    match std::str::from_utf8(&packet.payload) {
        Ok(text) => set("text", text.into()),
        Err(_) => {
            let digits: Vec<String> = packet.payload.iter().map(|b| format!("{b:02x}")).collect();
            set("hex", digits.concat().into());
        }
    }
    value
}

/// Shows one message.
///
/// # Errors
///
/// The standard output cannot be written to.
pub fn show(
    out: &mut Output,
    json: bool,
    packet: &Packet,
    after: Option<u64>,
    commands: &mut Commands,
    all: bool,
) -> Result<(), Failure> {
    if json {
        let value = object(packet, after, commands);
        return out.json(&value);
    }
    let text = line(out, packet, after, commands, all);
    out.line(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could change the terminal, or break the line, is not printed as it is.
    #[test]
    fn payloads_are_harmless() {
        assert_eq!(payload(b"21 C", false), r#""21 C""#);
        assert_eq!(payload(b"a\n\"b", false), r#""a\n\"b""#);
        assert_eq!(payload(b"\x1b[31m", false), "0x1b5b33316d");
        assert_eq!(
            payload(&[0xff; 81], false),
            format!("0x{}…", "ff".repeat(80))
        );
        assert_eq!(payload(&[0xff; 81], true), format!("0x{}", "ff".repeat(81)));
        assert_eq!(payload(b"", false), "");
    }

    /// A reply is joined to its request once, and old requests are forgotten.
    #[test]
    fn replies_are_joined() {
        let packet = |kind, id, in_reply_to, time| Packet {
            time,
            kind,
            flags: 0,
            id,
            in_reply_to,
            peer: 1,
            to: 0,
            lost: 0,
            error: 0,
            sender: None,
            name: crate::snoop::lost_name(),
            payload: Vec::new(),
        };
        let mut requests = Requests::default();
        assert_eq!(requests.note(&packet(Kind::Request, 7, 0, 1000)), None);
        assert_eq!(requests.note(&packet(Kind::Reply, 8, 7, 1500)), Some(500));
        assert_eq!(requests.note(&packet(Kind::Reply, 9, 7, 1600)), None);
        assert_eq!((requests.seen, requests.unanswered()), (1, 0));
        for id in 10..10 + REMEMBERED as u64 + 5 {
            requests.note(&packet(Kind::Request, id, 0, id));
        }
        assert_eq!(requests.open.len(), REMEMBERED);
        assert_eq!(requests.oldest(1)[0].0, 15);
    }

    /// Times are shown in the unit that suits them.
    #[test]
    fn times_are_readable() {
        assert_eq!(clock(1_700_000_000_123_456_789), "22:13:20.123456");
        assert_eq!(span(999), "999 ns");
        assert_eq!(span(1_234_567), "1.23 ms");
    }
}
