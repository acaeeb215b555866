// SPDX-License-Identifier: GPL-2.0
//! `kbus why`.

use std::fs;

use kbus::Name;
use serde_json::json;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Code;
use crate::failure::Failure;
use crate::failure::Outcome;
use crate::inspect;
use crate::inspect::bytes;
use crate::inspect::process;
use crate::inspect::Files;
use crate::inspect::Fullness;
use crate::inspect::Holders;
use crate::inspect::Limits;
use crate::inspect::SocketLine;
use crate::inspect::Usage;
use crate::inspect::QUEUE_BYTES;
use crate::output::Output;
use crate::output::Style;
use crate::text;

/// Explain why a send fails or a message is missed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It explains EADDRNOTAVAIL, EAGAIN, EBUSY, EDQUOT and ENOBUFS of a send, and \
    messages that were missed, by what is full at this moment. It sends nothing, and looks only: \
    what was full a moment ago may have room now. As root it sees more: whose sockets the others \
    are, and which processes have them open. A queue whose socket has set SO_RCVBUF is full at \
    other bytes than the 8 MiB that are assumed here, and sockets of other network namespaces on \
    a bus at a path are not seen."
)]
pub struct Args {
    /// A process id, a name such as $.Sensors.Kitchen, or the peer id of a socket, such as @1f
    #[arg(value_name = "PID|NAME|@PEER")]
    subject: String,
}

/// What was found out, and whether it is a trouble.
struct Answer {
    trouble: bool,
    /// The errno that a program gets because of it, if it gets one.
    error: Option<&'static str>,
    peer: Option<u64>,
    text: String,
}

struct Why<'a> {
    context: &'a Context,
    files: Files,
    limits: Limits,
    usage: Usage,
    holders: Holders,
    answers: Vec<Answer>,
}

impl Why<'_> {
    fn fine(&mut self, peer: Option<u64>, text: String) {
        self.answers.push(Answer {
            trouble: false,
            error: None,
            peer,
            text,
        });
    }

    fn trouble(&mut self, error: Option<&'static str>, peer: Option<u64>, text: String) {
        self.answers.push(Answer {
            trouble: true,
            error,
            peer,
            text,
        });
    }

    /// Whose socket it is: the processes that have it open, or its maker.
    fn whose(&self, socket: &SocketLine) -> String {
        let mut pids: Vec<u32> = self.holders.of(socket.peer).iter().map(|h| h.pid).collect();
        pids.dedup();
        let mut text = format!("peer {:x}", socket.peer);
        if pids.is_empty() {
            match socket.pid {
                Some(pid) => text += &format!(", made by {}", process(pid)),
                None => text += ", whose process this user may not see",
            }
        } else {
            let names: Vec<String> = pids.iter().take(4).map(|pid| process(*pid)).collect();
            text += &format!(", of {}", names.join(" and "));
            if pids.len() > 4 {
                text += &format!(" and {} more", pids.len() - 4);
            }
        }
        text
    }

    /// What is full about a queue, as a sentence; none if it has room for everybody.
    fn full(&self, socket: &SocketLine) -> Option<String> {
        let fullness = socket.fullness(&self.usage, &self.limits);
        let user = socket
            .uid
            .map_or("its user".to_owned(), |uid| format!("user {uid}"));
        let (unread, reserved, limit) = (socket.unread, socket.reserved, socket.limit);
        let text = match fullness {
            Fullness::Room => return None,
            Fullness::Places => format!(
                "its queue is full ({unread} waiting and {reserved} reserved for replies, of {limit})"
            ),
            Fullness::Bytes => format!(
                "its queue is full: {} wait, and it takes no more from {} on",
                bytes(socket.bytes),
                bytes(QUEUE_BYTES)
            ),
            Fullness::UserMessages => format!(
                "its queue counts as full, since the budget of {user} is nearly used up: {} \
                 messages of {} (net.kbus.user_messages), and this socket holds more than what is \
                 left",
                self.used(socket).messages,
                self.limits.user_messages.unwrap_or(0)
            ),
            Fullness::UserBytes => format!(
                "its queue counts as full, since the budget of {user} is nearly used up: up to {} \
                 of {} (net.kbus.user_bytes), and this socket holds more than what is left",
                bytes(self.used(socket).bytes),
                bytes(self.limits.user_bytes.unwrap_or(0))
            ),
            Fullness::Share => format!(
                "its queue has room, but only {} of {limit} places: the last eighth is kept from \
                 users who have messages in it, unless they own the socket or the bus",
                limit.saturating_sub(socket.taken())
            ),
        };
        Some(text)
    }

    fn used(&self, socket: &SocketLine) -> inspect::User {
        let user = socket.uid.and_then(|uid| self.usage.users.get(&uid));
        user.copied().unwrap_or_default()
    }

    /// What becomes of a send to that name.
    fn name(&mut self, name: &Name) {
        let bus = crate::proc::shown(&self.context.bus);
        if name.is_of_the_bus() {
            let text = format!("{name} is the bus's own: nobody can send to it (EPERM)");
            self.trouble(Some("EPERM"), None, text);
        } else {
            self.request(&bus, name);
        }
        self.listeners(&bus, name);
        self.bus_bytes(&bus);
    }

    fn request(&mut self, bus: &str, name: &Name) {
        let Some(binding) = self.files.replier(bus, name) else {
            let text = format!(
                "nobody is replier for {name} on {bus}: a request fails with EADDRNOTAVAIL; \
                 `kbus wait '{name}'` waits for one"
            );
            self.trouble(Some("EADDRNOTAVAIL"), None, text);
            return;
        };
        let (pattern, peer) = (binding.name.clone(), binding.peer);
        let Some(socket) = self.files.socket(peer).cloned() else {
            // It has gone between the two files.
            let text = format!("the replier for {name}, peer {peer:x}, has just gone");
            return self.fine(Some(peer), text);
        };
        let whose = self.whose(&socket);
        match self.full(&socket) {
            Some(full) => {
                let text = format!(
                    "the replier for {name} ({pattern}) is {whose}: {full}; a request fails with \
                     EBUSY, or waits with ALL_OR_WAIT (EAGAIN where it must not)"
                );
                self.trouble(Some("EBUSY"), Some(peer), text);
            }
            None => {
                let text = format!(
                    "the replier for {name} ({pattern}) is {whose}: its queue has room ({} of {} \
                     places taken)",
                    socket.taken(),
                    socket.limit
                );
                self.fine(Some(peer), text);
            }
        }
        if socket.owed > 0 {
            let text = format!(
                "it has read {} and not answered: a requester waits for each",
                text::count(socket.owed.into(), "request")
            );
            self.fine(Some(peer), text);
        }
    }

    fn listeners(&mut self, bus: &str, name: &Name) {
        let listeners: Vec<SocketLine> = self
            .files
            .listeners(bus, name)
            .into_iter()
            .cloned()
            .collect();
        if listeners.is_empty() {
            let text = format!("nobody listens to {name} on {bus}: an announcement reaches nobody");
            return self.fine(None, text);
        }
        let mut room = 0;
        for socket in &listeners {
            let whose = self.whose(socket);
            match self.full(socket) {
                Some(full) => {
                    let text = format!(
                        "a listener to {name} is {whose}: {full}; it misses announcements, and \
                         ALL_OR_FAIL fails with EBUSY, ALL_OR_WAIT waits (EAGAIN where it must \
                         not), unless the socket is KBUS_LOSSY"
                    );
                    self.trouble(Some("EBUSY"), Some(socket.peer), text);
                }
                None => room += 1,
            }
            if socket.lost > 0 {
                let text = format!(
                    "{whose} has missed {} so far",
                    text::count(socket.lost, "message")
                );
                self.fine(Some(socket.peer), text);
            }
        }
        let text = format!(
            "{room} of {} listeners to {name} have room",
            listeners.len()
        );
        self.fine(None, text);
    }

    /// The bytes of the bus, if it can be asked.
    fn bus_bytes(&mut self, bus: &str) {
        // To ask is to join, and a bus that nobody is on would be made.
        if !self.files.buses().contains(&bus) {
            let text = format!("nobody is on the bus {bus}");
            return self.trouble(None, None, text);
        }
        let info = self
            .context
            .open()
            .and_then(|socket| Ok(socket.bus_info()?));
        let Ok(info) = info else {
            let text = format!("this user may not join {bus} and ask how many bytes are on it");
            return self.fine(None, text);
        };
        let left = info.bytes_max.saturating_sub(info.bytes);
        let text = format!(
            "{} of {} are in use on the bus; a user may use as much as is then left over for the \
             others, and the owner of the bus, user {}, all of it",
            bytes(info.bytes),
            bytes(info.bytes_max),
            info.uid
        );
        if left < info.bytes_max / 4 || left < u64::from(info.max_message) {
            let text = format!(
                "{text}; sends that need more fail with EDQUOT, requests that \
                reserve more with ENOBUFS; the owner can raise KBUS_BUS_BYTES"
            );
            return self.trouble(Some("EDQUOT"), None, text);
        }
        self.fine(None, text);
    }

    /// What is up with one socket.
    fn socket(&mut self, socket: &SocketLine) {
        let (peer, whose) = (Some(socket.peer), self.whose(socket));
        if socket.bus == "-" {
            let text = format!("{whose} is on no bus: sends fail with ENOTCONN");
            return self.trouble(Some("ENOTCONN"), peer, text);
        }
        match self.full(socket) {
            Some(full) => {
                let lacks = match socket.fullness(&self.usage, &self.limits) {
                    Fullness::Share => "",
                    _ => {
                        "; as a listener it misses messages, requests to it fail with EBUSY, and \
                         its own requests with ENOBUFS, until it reads"
                    }
                };
                let text = format!("{whose}, on {}: {full}{lacks}", socket.bus);
                self.trouble(Some("ENOBUFS"), peer, text);
            }
            None => {
                let text = format!(
                    "{whose}, on {}: its queue has room ({} waiting and {} reserved for replies, of {})",
                    socket.bus, socket.unread, socket.reserved, socket.limit
                );
                self.fine(peer, text);
            }
        }
        if socket.reserved > 0 {
            let text = format!("answers that it waits for: {}", socket.reserved);
            self.fine(peer, text);
        }
        if socket.owed > 0 {
            let text = format!(
                "it owes replies to {} that it has read",
                text::count(socket.owed.into(), "request")
            );
            self.fine(peer, text);
        }
        if socket.lost > 0 {
            let text = format!(
                "it has missed {} so far",
                text::count(socket.lost, "message")
            );
            self.fine(peer, text);
        }
        if socket.path == inspect::PathState::Deleted {
            let text = format!(
                "the path {} was removed: programs that bind to it now are on another bus",
                socket.bus
            );
            self.trouble(None, peer, text);
        }
    }

    /// Threads of a process that are in a send now.
    fn sending(&mut self, pid: u32, sockets: &[(u64, u32)]) {
        let numbers: &[&str] = match std::env::consts::ARCH {
            "x86_64" => &["1", "44", "46", "307"],
            "aarch64" => &["64", "206", "211", "269"],
            _ => return,
        };
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return;
        };
        for thread in threads.flatten() {
            // "NUMBER 0xFD 0x…"; "running" otherwise.
            let text = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
            let mut words = text.split_whitespace();
            let (Some(number), Some(fd)) = (words.next(), words.next()) else {
                continue;
            };
            let fd = fd
                .strip_prefix("0x")
                .and_then(|fd| u32::from_str_radix(fd, 16).ok());
            let socket = sockets.iter().find(|(_, open)| Some(*open) == fd);
            let (true, Some((peer, fd))) = (numbers.contains(&number), socket) else {
                continue;
            };
            let text = format!(
                "thread {} waits inside a send on descriptor {fd} (peer {peer:x}): it was sent \
                 with ALL_OR_WAIT, and a queue that it is for is full",
                thread.file_name().to_string_lossy()
            );
            self.trouble(Some("EAGAIN"), Some(*peer), text);
        }
    }

    /// What is up with a process, and which queues it may have met.
    fn process(&mut self, pid: u32) -> Outcome {
        let open = self.holders.of_process(pid);
        let mut sockets: Vec<SocketLine> = open
            .iter()
            .filter_map(|(peer, _)| self.files.socket(*peer).cloned())
            .collect();
        if sockets.is_empty() {
            // Without the right to look into it there is still who made a socket.
            let made = |socket: &&SocketLine| socket.pid == Some(pid);
            sockets = self.files.sockets.iter().filter(made).cloned().collect();
        }
        sockets.dedup();
        if sockets.is_empty() {
            let text = match fs::metadata(format!("/proc/{pid}")) {
                Err(_) => format!("there is no process {pid}"),
                Ok(_) => format!("{} has no KBUS socket that can be seen", process(pid)),
            };
            let hint = "as root it can be seen; sockets are those of this network namespace";
            return Err(Failure::new(Code::Error, text).hint(hint));
        }
        for socket in &sockets {
            self.socket(socket);
        }
        self.sending(pid, &open);
        let users: Vec<u32> = {
            let mut users: Vec<u32> = sockets.iter().filter_map(|socket| socket.uid).collect();
            users.dedup();
            users
        };
        for uid in users {
            self.budget(uid);
        }
        let own: Vec<u64> = sockets.iter().map(|socket| socket.peer).collect();
        let mut buses: Vec<String> = sockets.into_iter().map(|socket| socket.bus).collect();
        buses.sort_unstable();
        buses.dedup();
        for bus in buses.iter().filter(|bus| *bus != "-") {
            self.others(bus, &own);
        }
        Ok(())
    }

    /// What a user has of its budgets.
    fn budget(&mut self, uid: u32) {
        let user = self.usage.users.get(&uid).copied().unwrap_or_default();
        for (used, most, sysctl, unit) in [
            (
                user.messages,
                self.limits.user_messages,
                "user_messages",
                "messages",
            ),
            (user.bytes, self.limits.user_bytes, "user_bytes", "bytes"),
        ] {
            let Some(most) = most else { continue };
            let text = format!(
                "user {uid} has {used} {unit} waiting, of {most} (net.kbus.{sysctl}), as far as it \
                 can be seen; requests of its own that nobody has read yet count too"
            );
            if used >= most / 2 {
                let text =
                    format!("{text}; where that is used up requests fail with EDQUOT or ENOBUFS");
                self.trouble(Some("EDQUOT"), None, text);
            } else {
                self.fine(None, text);
            }
        }
    }

    /// The full queues of others on a bus.
    fn others(&mut self, bus: &str, own: &[u64]) {
        let others = self.files.sockets.iter();
        let others = others.filter(|socket| socket.bus == bus && !own.contains(&socket.peer));
        let others: Vec<SocketLine> = others.cloned().collect();
        let mut room = 0;
        for socket in &others {
            let Some(full) = self.full(socket) else {
                room += 1;
                continue;
            };
            let names = self.names(socket.peer);
            let text = format!(
                "{}, {names}: {full}; sends that must reach it fail with EBUSY, or wait",
                self.whose(socket)
            );
            self.trouble(Some("EBUSY"), Some(socket.peer), text);
        }
        let text = format!(
            "{room} of {} other sockets on {bus} have room",
            others.len()
        );
        self.fine(None, text);
    }

    /// What a socket is bound to.
    fn names(&self, peer: u64) -> String {
        let of = |replier| {
            let lines = self.files.bindings.iter();
            let lines = lines.filter(|line| line.peer == peer && line.replier == replier);
            let names: Vec<&str> = lines.map(|line| line.name.as_str()).collect();
            let shown: Vec<&str> = names.iter().take(3).copied().collect();
            let more = names.len().saturating_sub(3);
            let text = shown.join(", ");
            if more > 0 {
                format!("{text} and {more} more")
            } else {
                text
            }
        };
        match (of(true), of(false)) {
            (repliers, listens) if repliers.is_empty() && listens.is_empty() => {
                "bound to no name".to_owned()
            }
            (repliers, listens) if listens.is_empty() => format!("replier for {repliers}"),
            (repliers, listens) if repliers.is_empty() => format!("listener to {listens}"),
            (repliers, listens) => format!("replier for {repliers}, listener to {listens}"),
        }
    }

    fn show(&self, out: &mut Output) -> Outcome {
        for answer in &self.answers {
            if self.context.json {
                let peer = answer
                    .peer
                    .map_or(Value::Null, |peer| format!("{peer:x}").into());
                out.json(&json!({
                    "trouble": answer.trouble,
                    "error": answer.error,
                    "peer": peer,
                    "text": answer.text,
                }))?;
                continue;
            }
            let mark = match answer.trouble {
                true => out.paint(Style::Red, "!!").to_string(),
                false => out.paint(Style::Green, "ok").to_string(),
            };
            let text = format!("{mark}  {}.", answer.text);
            out.line(text)?;
        }
        if !self.context.json {
            if self.usage.hidden > 0 || self.holders.incomplete {
                out.line("Some sockets and processes are hidden from this user: root sees all.")?;
            }
            if !self.answers.iter().any(|answer| answer.trouble) {
                out.line("Nothing is full at this moment.")?;
            }
        }
        Ok(())
    }
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let files = Files::read()?;
    let mut why = Why {
        context,
        limits: Limits::read(),
        usage: Usage::of(&files),
        holders: Holders::read(),
        files,
        answers: Vec::new(),
    };
    if let Ok(pid) = args.subject.parse::<u32>() {
        why.process(pid)?;
    } else if let Some(peer) = args.subject.strip_prefix('@') {
        let socket = u64::from_str_radix(peer, 16);
        let socket = socket.ok().and_then(|peer| why.files.socket(peer).cloned());
        let Some(socket) = socket else {
            let text = format!("there is no socket with the peer id {peer}");
            return Err(Failure::new(Code::Error, text).hint("`kbus list` shows all"));
        };
        why.socket(&socket);
    } else {
        why.name(&Name::new(&args.subject)?);
    }
    why.show(&mut context.output())
}
