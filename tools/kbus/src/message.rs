// SPDX-License-Identifier: GPL-2.0
//! A message as a line of text or as JSON.

use std::time::SystemTime;

use kbus::Received;
use serde_json::json;
use serde_json::Value;

use crate::output::Output;
use crate::output::Style;
use crate::text;
use crate::who::Names;

/// The bit among a program's own that says: this reply is an error, and its payload a sentence of
/// UTF-8 that says what was wrong. It is bit 31 of the flags of a message.
pub const ERROR_BIT: u16 = 1 << 15;

/// How payloads are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// As text where that can be printed, else in hexadecimal.
    Text,
    /// In hexadecimal.
    Hex,
}

/// What the message is, in one word or two.
pub fn kind(received: &Received) -> &'static str {
    match received {
        Received::Announcement(_) => "announcement",
        Received::Request(_) => "request",
        Received::Copy(message) if message.is_reply() => "reply copy",
        Received::Copy(_) => "request copy",
        Received::Reply(_) => "reply",
        Received::Status(_) => "status",
        Received::Event(_) => "event",
        Received::Lost(_) => "lost",
        _ => "other",
    }
}

/// One line of text.
pub fn line(received: &Received, names: &Names, output: &Output, payload: Payload) -> String {
    let Some(message) = received.message() else {
        let count = match received {
            Received::Lost(lost) => lost.count,
            _ => 0,
        };
        let text = format!("-- {} lost here", text::count(count.into(), "message"));
        return output.paint(Style::Yellow, text).to_string();
    };
    let time = text::time_of_day(message.time().unwrap_or_else(SystemTime::now));
    let mut line = format!(
        "{} {} {}",
        output.paint(Style::Dim, time),
        output.paint(Style::Bold, message.name()),
        output.paint(Style::Cyan, kind(received)),
    );
    if message.is_urgent() {
        line += " urgent";
    }
    if message.is_reply() && message.user_bits() & ERROR_BIT != 0 {
        line += &format!(" {}", output.paint(Style::Red, "error"));
    }
    line += &format!(" from {}", message.sender());
    let credentials = message.credentials();
    let sender = names.sender(
        credentials.map(|credentials| credentials.pid),
        credentials.map(|credentials| credentials.uid),
    );
    if !sender.is_empty() {
        line += &format!(" ({sender})");
    }
    if let Some(to) = message.to() {
        line += &format!(" to {to}");
    }
    line += &format!(", {}", text::count(message.payload().len() as u64, "byte"));
    if message.payload().is_empty() {
        return line;
    }
    let text = match payload {
        Payload::Text => text::printable(message.payload()),
        Payload::Hex => None,
    };
    match text {
        Some(text) => line + ": " + &text,
        None => line + ": hex " + &text::hex(message.payload()),
    }
}

/// An object. `text` is the payload where that is UTF-8, `hex` where it is not.
pub fn object(received: &Received, names: &Names) -> Value {
    let mut value = json!({ "kind": kind(received) });
    let Some(message) = received.message() else {
        value["id"] = json!(received.id().to_string());
        if let Received::Lost(lost) = received {
            value["lost"] = json!(lost.count);
        }
        return value;
    };
    let time = message.time().unwrap_or_else(SystemTime::now);
    value["time"] = json!(text::timestamp(time));
    value["id"] = json!(message.id().to_string());
    value["name"] = json!(message.name().as_str());
    value["sender"] = json!(message.sender().to_string());
    let credentials = message.credentials();
    names.describe(
        &mut value,
        credentials.map(|credentials| credentials.pid),
        credentials.map(|credentials| credentials.uid),
    );
    if let Some(to) = message.to() {
        value["to"] = json!(to.to_string());
    }
    if let Some(id) = message.in_reply_to() {
        value["in_reply_to"] = json!(id.to_string());
    }
    if let Received::Status(status) = received {
        value["reason"] = json!(status.reason().to_string());
    }
    if message.is_reply() {
        value["error"] = json!(message.user_bits() & ERROR_BIT != 0);
    }
    value["urgent"] = json!(message.is_urgent());
    value["user_bits"] = json!(message.user_bits());
    value["lost"] = json!(message.lost());
    value["len"] = json!(message.payload().len());
    payload(&mut value, message.payload());
    value
}

/// The member `text` or `hex`.
pub fn payload(value: &mut Value, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(text) => value["text"] = json!(text),
        Err(_) => value["hex"] = json!(text::hex(payload)),
    }
}
