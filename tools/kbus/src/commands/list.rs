// SPDX-License-Identifier: GPL-2.0
//! `kbus list`.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::Value;

use crate::context::Context;
use crate::failure::note;
use crate::failure::Outcome;
use crate::output::Output;
use crate::output::Style;
use crate::proc;
use crate::proc::BindingLine;
use crate::proc::SocketLine;
use crate::state;
use crate::state::State;
use crate::text;
use crate::who;
use crate::who::Names;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "List buses, sockets and bindings",
    long_about = "List the buses of this network namespace, the sockets on them, and what those listen to and \
        reply for.\n\n\
        UNREAD is how many messages wait in the queue of a socket, and of how many it is full; BYTES their \
        payload; AWAITED the slots reserved for replies to its requests; OWED the requests that it has \
        read and not answered; LOST the messages that it has missed. Processes and users of other users' \
        sockets are shown to root alone. To ask for the owner of a bus, a socket joins it for a moment.\n\n\
        With --bus only that one is listed.",
    after_help = "Examples:\n  \
        kbus list\n  \
        kbus list --json | jq 'select(.kind == \"socket\" and .lost > 0)'"
)]
pub struct Args {}

/// Does it.
pub fn run(_args: Args, context: &Context) -> Outcome {
    let (sockets, bindings) = (proc::sockets()?, proc::bindings()?);
    let mut buses: BTreeMap<Option<String>, Vec<SocketLine>> = BTreeMap::new();
    for socket in sockets {
        buses
            .entry(socket.owner.bus.clone())
            .or_default()
            .push(socket);
    }
    if context.bus_given {
        let shown = Some(proc::shown(&context.bus));
        buses.retain(|bus, _| *bus == shown);
        if buses.is_empty() {
            return Err(state::no_such_bus(&context.bus));
        }
    }
    if buses.is_empty() && !context.json {
        note("no program has a socket of KBUS open here");
    }
    let names = Names::new();
    let mut output = context.output();
    for (bus, sockets) in &buses {
        let state = bus.as_ref().map(|bus| {
            let deleted = sockets
                .iter()
                .all(|socket| socket.path.as_deref() == Some("deleted"));
            State::of(bus, deleted)
        });
        if context.json {
            print_json(
                &mut output,
                bus.as_deref(),
                state,
                sockets,
                &bindings,
                &names,
            )?;
        } else {
            print_text(
                &mut output,
                bus.as_deref(),
                state,
                sockets,
                &bindings,
                &names,
            )?;
        }
    }
    Ok(())
}

/// The bindings of a socket: what it replies for, and what it listens to. Each once.
fn bindings_of<'a>(socket: &SocketLine, all: &'a [BindingLine], replier: bool) -> Vec<&'a str> {
    let mut patterns: Vec<&str> = all
        .iter()
        .filter(|line| line.owner.peer == socket.owner.peer && line.replier == replier)
        .map(|line| &*line.pattern)
        .collect();
    patterns.sort_unstable();
    patterns.dedup();
    patterns
}

fn print_json(
    output: &mut Output,
    bus: Option<&str>,
    state: Option<State>,
    sockets: &[SocketLine],
    bindings: &[BindingLine],
    names: &Names,
) -> Outcome {
    if let (Some(bus), Some(state)) = (bus, state) {
        let mut value = json!({"kind": "bus", "bus": bus, "sockets": sockets.len()});
        value["uid"] = json!(state.uid);
        value["user"] = json!(state.uid.map(|uid| names.user(uid)));
        value["mode"] = json!(state.mode.map(|mode| format!("{mode:04o}")));
        value["bytes"] = json!(state.bytes);
        value["bytes_max"] = json!(state.bytes_max);
        value["max_message"] = json!(state.max_message);
        output.json(&value)?;
    }
    for socket in sockets {
        let mut value: Value = json!({
            "kind": "socket",
            "bus": bus,
            "peer": socket.owner.peer.to_string(),
        });
        names.describe(&mut value, socket.owner.pid, socket.owner.uid);
        value["unread"] = json!(socket.unread);
        value["limit"] = json!(socket.limit);
        value["bytes"] = json!(socket.bytes);
        value["awaited"] = json!(socket.reserved);
        value["owed"] = json!(socket.owed);
        value["lost"] = json!(socket.lost);
        value["path"] = json!(socket.path);
        value["replies_for"] = json!(bindings_of(socket, bindings, true));
        value["listens_to"] = json!(bindings_of(socket, bindings, false));
        output.json(&value)?;
    }
    Ok(())
}

fn print_text(
    output: &mut Output,
    bus: Option<&str>,
    state: Option<State>,
    sockets: &[SocketLine],
    bindings: &[BindingLine],
    names: &Names,
) -> Outcome {
    let mut title = output
        .paint(Style::Bold, bus.unwrap_or("on no bus"))
        .to_string();
    title += &format!("  {}", text::count(sockets.len() as u64, "socket"));
    if let Some(state) = state {
        if let (Some(uid), Some(mode)) = (state.uid, state.mode) {
            title += &format!(", owner {}, mode {mode:04o}", names.user(uid));
        }
        if let (Some(bytes), Some(max)) = (state.bytes, state.bytes_max) {
            title += &format!(", {bytes} of {max} bytes");
        }
        if state.deleted {
            title += ", its path was removed";
        }
    }
    output.line(title)?;
    const HEAD: [&str; 9] = [
        "PEER", "PID", "COMMAND", "USER", "UNREAD", "BYTES", "AWAITED", "OWED", "LOST",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    for socket in sockets {
        let owner = &socket.owner;
        let unknown = || "-".to_owned();
        rows.push([
            owner.peer.to_string(),
            owner.pid.map_or_else(unknown, |pid| pid.to_string()),
            owner.pid.and_then(who::command).unwrap_or_else(unknown),
            owner.uid.map_or_else(unknown, |uid| names.user(uid)),
            format!("{}/{}", socket.unread, socket.limit),
            socket.bytes.to_string(),
            socket.reserved.to_string(),
            socket.owed.to_string(),
            socket.lost.to_string(),
        ]);
    }
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("  {cell:width$}");
        }
        match number.checked_sub(1).and_then(|number| sockets.get(number)) {
            None => line += "  BINDINGS",
            Some(socket) => {
                let replies = bindings_of(socket, bindings, true);
                let listens = bindings_of(socket, bindings, false);
                let replies = replies.iter().map(|pattern| format!("replier {pattern}"));
                let listens = listens.iter().map(|pattern| format!("listener {pattern}"));
                let all: Vec<String> = replies.chain(listens).collect();
                line += &format!(
                    "  {}",
                    if all.is_empty() {
                        "-".into()
                    } else {
                        all.join(", ")
                    }
                );
            }
        }
        match number {
            0 => output.line(output.paint(Style::Dim, line).to_string())?,
            _ => output.line(line)?,
        }
    }
    Ok(())
}
