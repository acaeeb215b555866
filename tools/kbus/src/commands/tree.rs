// SPDX-License-Identifier: GPL-2.0
//! `kbus tree`.

use std::collections::BTreeMap;

use kbus::PeerId;
use serde_json::json;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::output::Style;
use crate::proc;
use crate::proc::BindingLine;
use crate::proc::Owner;
use crate::state;
use crate::who;
use crate::who::Names;

/// What it is told.
#[derive(Debug, clap::Args)]
#[command(
    about = "Show the names as a tree, with who listens and who replies",
    long_about = "Show the names that sockets on the bus listen to and reply for, as a tree.\n\n\
        At each name stands who replies and who listens: the id of the socket and, where it may be seen, \
        its process. * stands for all names below, % for those of one word more.",
    after_help = "Examples:\n  kbus tree\n  kbus tree --bus /run/kbus/av"
)]
pub struct Args {}

/// A word of a name, and what is below it.
#[derive(Default)]
struct Node {
    repliers: Vec<Owner>,
    listeners: Vec<Owner>,
    below: BTreeMap<String, Node>,
}

/// Does it.
pub fn run(_args: Args, context: &Context) -> Outcome {
    let shown = Some(proc::shown(&context.bus));
    let mut bindings = proc::bindings()?;
    bindings.retain(|binding| binding.owner.bus == shown);
    if bindings.is_empty()
        && !proc::sockets()?
            .iter()
            .any(|socket| socket.owner.bus == shown)
    {
        return Err(state::no_such_bus(&context.bus));
    }
    let mut output = context.output();
    if context.json {
        return print_json(&bindings, &context.bus.to_string(), &mut output);
    }
    let mut root = Node::default();
    for binding in bindings {
        let mut node = &mut root;
        for word in binding.pattern.split('.').skip(1) {
            node = node.below.entry(word.to_owned()).or_default();
        }
        match binding.replier {
            true => node.repliers.push(binding.owner),
            false => node.listeners.push(binding.owner),
        }
    }
    output.line(
        output
            .paint(Style::Bold, format_args!("$ on {}", context.bus))
            .to_string(),
    )?;
    print(&root, "", &mut output)
}

fn print(node: &Node, indent: &str, output: &mut Output) -> Outcome {
    let last = node.below.len().saturating_sub(1);
    for (number, (word, child)) in node.below.iter().enumerate() {
        let (branch, further) = match number == last {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        let mut line = format!("{indent}{branch}{}", output.paint(Style::Bold, word));
        let mut parts = Vec::new();
        for (what, style, owners) in [
            ("replier", Style::Green, &child.repliers),
            ("listener", Style::Cyan, &child.listeners),
        ] {
            if !owners.is_empty() {
                let owners: Vec<String> = unique(owners).iter().map(|owner| said(owner)).collect();
                parts.push(format!(
                    "{} {}",
                    output.paint(style, what),
                    owners.join(", ")
                ));
            }
        }
        if !parts.is_empty() {
            line += &format!("  {}", parts.join("; "));
        }
        output.line(line)?;
        print(child, &format!("{indent}{further}"), output)?;
    }
    Ok(())
}

/// Each socket once, in the order of their ids.
fn unique(owners: &[Owner]) -> Vec<&Owner> {
    let by_peer: BTreeMap<PeerId, &Owner> =
        owners.iter().map(|owner| (owner.peer, owner)).collect();
    by_peer.into_values().collect()
}

fn said(owner: &Owner) -> String {
    match owner.pid {
        None => owner.peer.to_string(),
        Some(pid) => match who::command(pid) {
            Some(command) => format!("{} (pid {pid} {command})", owner.peer),
            None => format!("{} (pid {pid})", owner.peer),
        },
    }
}

/// An object for each name.
fn print_json(bindings: &[BindingLine], bus: &str, output: &mut Output) -> Outcome {
    let names = Names::new();
    let mut by_pattern: BTreeMap<&str, (Vec<Owner>, Vec<Owner>)> = BTreeMap::new();
    for binding in bindings {
        let (repliers, listeners) = by_pattern.entry(&binding.pattern).or_default();
        let owners = if binding.replier { repliers } else { listeners };
        owners.push(binding.owner.clone());
    }
    let describe = |owners: &[Owner]| -> Vec<Value> {
        let describe = |owner: &&Owner| {
            let mut value = json!({"peer": owner.peer.to_string()});
            names.describe(&mut value, owner.pid, owner.uid);
            value
        };
        unique(owners).iter().map(describe).collect()
    };
    for (pattern, (repliers, listeners)) in by_pattern {
        output.json(&json!({
            "bus": bus,
            "name": pattern,
            "replier": describe(&repliers).into_iter().next(),
            "listeners": describe(&listeners),
        }))?;
    }
    Ok(())
}
