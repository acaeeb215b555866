// SPDX-License-Identifier: GPL-2.0
//! How `monitor` shows messages: a line each, or JSON, replies joined to their requests.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::json;
use serde_json::Value;

use crate::capture::Kind;
use crate::capture::Packet;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::Style;
use crate::text;
use crate::who::Names;

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

/// A payload as text if it can be printed, as hexadecimal digits otherwise.
pub fn payload(bytes: &[u8], all: bool) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let limit = if all { usize::MAX } else { SHOWN };
    if let Some(text) = text::printable(bytes) {
        let shown: String = text.chars().take(limit).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        return shown + more;
    }
    let shown = bytes.get(..limit).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("hex {}{more}", text::hex(shown))
}

/// The time that a file has, as the system has it.
fn system(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
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
        pattern: text::one_line(&String::from_utf8_lossy(name)),
    })
}

/// The message as one line.
pub fn line(out: &Output, packet: &Packet, after: Option<u64>, names: &Names, all: bool) -> String {
    let mut line = out
        .paint(Style::Dim, text::time_of_day(system(packet.time)))
        .to_string();
    if packet.kind == Kind::Lost {
        let missed = format!("{} messages were missed here", packet.lost);
        let _ = write!(line, "  {}", out.paint(Style::Red, missed));
        return line;
    }
    if packet.lost > 0 {
        let missed = format!("({} missed before this)", packet.lost);
        let _ = write!(line, "  {}", out.paint(Style::Red, missed));
    }
    let (word, style) = match packet.kind {
        Kind::Announcement => ("announce", Style::Green),
        Kind::Request => ("request", Style::Yellow),
        Kind::Reply => ("reply", Style::Cyan),
        Kind::Status => ("status", Style::Red),
        Kind::Lost | Kind::Event => ("event", Style::Magenta),
    };
    let _ = write!(line, "  {}", out.paint(style, format!("{word:<8}")));
    let id = format!("#{:<6}", format!("{:x}", packet.id));
    let _ = write!(line, " {}", out.paint(Style::Dim, id));
    if packet.peer == 0 {
        line.push_str(" the bus");
    } else {
        let _ = write!(line, " {:x}", packet.peer);
    }
    // The bus is no process.
    if let Some(sender) = packet.sender.filter(|_| packet.peer != 0) {
        let pid = i32::try_from(sender.pid).ok();
        let who = format!("({})", names.sender(pid, Some(sender.uid)));
        let _ = write!(line, " {}", out.paint(Style::Dim, who));
    }
    if packet.to != 0 {
        let _ = write!(line, " → {:x}", packet.to);
    }
    let _ = write!(line, "  {}", out.paint(Style::Bold, &packet.name));
    if packet.flags & 2 != 0 {
        let _ = write!(line, " {}", out.paint(Style::Red, "urgent"));
    }
    if packet.flags & 0x80 != 0 {
        line.push_str(" +fds");
    }
    match bind_event(packet) {
        Some(event) => {
            let what = if event.is_bind {
                "is replier for"
            } else {
                "is no longer replier for"
            };
            let _ = write!(line, "  peer {:x} {what} {}", event.peer, event.pattern);
        }
        None => {
            let bytes = payload(&packet.payload, all);
            let bytes = if bytes.is_empty() {
                bytes
            } else {
                format!(": {bytes}")
            };
            let _ = write!(
                line,
                "  {}{bytes}",
                text::count(packet.payload.len() as u64, "byte")
            );
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
        let _ = write!(line, "  {}", out.paint(Style::Cyan, answer));
    }
    line.trim_end().to_owned()
}

/// The message as JSON. Ids are hexadecimal text, as in addresses: JSON's numbers do not hold 64
/// bits.
pub fn object(packet: &Packet, after: Option<u64>, names: &Names) -> Value {
    let hex = |id: u64| format!("{id:x}");
    let mut value = json!({
        "time": text::timestamp(system(packet.time)),
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
        set("gid", sender.gid.into());
        names.describe(&mut value, i32::try_from(sender.pid).ok(), Some(sender.uid));
    }
    let mut set = |key: &str, to: Value| value[key] = to;
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
    set("user_bits", (packet.flags >> 16).into());
    set("lost", packet.lost.into());
    if let Some(event) = bind_event(packet) {
        set("replier", hex(event.peer).into());
        set("bound", event.is_bind.into());
        set("pattern", event.pattern.into());
    }
    set("len", packet.payload.len().into());
    crate::message::payload(&mut value, &packet.payload);
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
    names: &Names,
    all: bool,
) -> Result<(), Failure> {
    if json {
        let value = object(packet, after, names);
        return out.json(&value);
    }
    let text = line(out, packet, after, names, all);
    out.line(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could change the terminal, or break the line, is not printed as it is.
    #[test]
    fn payloads_are_harmless() {
        assert_eq!(payload(b"21 C", false), "21 C");
        assert_eq!(payload(b"a\nb", false), "a\\nb");
        assert_eq!(payload(b"\x1b[31m", false), "hex 1b5b33316d");
        assert_eq!(
            payload(&[0xff; 81], false),
            format!("hex {}…", "ff".repeat(80))
        );
        assert_eq!(
            payload(&[0xff; 81], true),
            format!("hex {}", "ff".repeat(81))
        );
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
        assert_eq!(span(999), "999 ns");
        assert_eq!(span(1_234_567), "1.23 ms");
    }
}
