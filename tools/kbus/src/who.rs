// SPDX-License-Identifier: GPL-2.0
//! Names for the numbers of processes and users.

use std::collections::HashMap;
use std::fs;

use serde_json::json;
use serde_json::Value;

use crate::text;

/// Knows the names of users, as `/etc/passwd` has them.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
}

impl Names {
    /// Reads them.
    pub fn new() -> Names {
        let text = fs::read("/etc/passwd").unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let users = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, text::one_line(name)))
        });
        Names {
            users: users.collect(),
        }
    }

    /// The user's name, or the number if there is none.
    pub fn user(&self, uid: u32) -> String {
        let name = self.users.get(&uid).cloned();
        name.unwrap_or_else(|| uid.to_string())
    }

    /// `pid 12 sh, root`, of what is known.
    pub fn sender(&self, pid: Option<i32>, uid: Option<u32>) -> String {
        let mut parts = Vec::new();
        if let Some(pid) = pid.filter(|pid| *pid > 0) {
            let command = command(pid).map(|command| format!(" {command}"));
            parts.push(format!("pid {pid}{}", command.unwrap_or_default()));
        }
        if let Some(uid) = uid {
            parts.push(self.user(uid));
        }
        parts.join(", ")
    }

    /// The members `pid`, `command`, `uid`, `user` for a JSON object; null if not known.
    pub fn describe(&self, value: &mut Value, pid: Option<i32>, uid: Option<u32>) {
        let pid = pid.filter(|pid| *pid > 0);
        value["pid"] = json!(pid);
        value["command"] = json!(pid.and_then(command));
        value["uid"] = json!(uid);
        value["user"] = json!(uid.and_then(|uid| self.users.get(&uid)));
    }
}

/// What the process is called now, if it is there and may be seen.
pub fn command(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(text::one_line(String::from_utf8_lossy(&name).trim_end()))
}
