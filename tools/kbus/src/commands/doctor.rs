// SPDX-License-Identifier: GPL-2.0
//! `kbus doctor`.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use rustix::net::socket_with;
use rustix::net::AddressFamily;
use rustix::net::Protocol;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use serde_json::json;

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
use crate::inspect::PathState;
use crate::inspect::SocketLine;
use crate::inspect::Usage;

/// Say what is wrong here, and how to mend it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 when all is well (notes are no problems), 3 when there is no \
    KBUS for this program at all, 1 when there is another problem."
)]
pub struct Args {
    /// Leave out what is well
    #[arg(short, long)]
    quiet: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Well,
    Note,
    Problem,
}

/// What was found, and what mends it.
#[derive(Debug)]
struct Finding {
    level: Level,
    check: &'static str,
    text: String,
    mend: Option<String>,
}

#[derive(Default)]
struct Doctor {
    findings: Vec<Finding>,
    unusable: bool,
}

/// What a sandbox of this process is known by.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sandbox {
    no_new_privs: bool,
    seccomp: bool,
}

impl Sandbox {
    fn parse(status: &str) -> Sandbox {
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map_or("0", str::trim)
        };
        Sandbox {
            no_new_privs: value("NoNewPrivs:") != "0",
            seccomp: value("Seccomp:") != "0",
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Whether a socket of this kind can be made. It joins no bus.
fn can(family: u16, protocol: u32) -> Result<(), String> {
    let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
    let family = AddressFamily::from_raw(family);
    match socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol) {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = std::io::Error::from(error).to_string();
            Err(error
                .split(" (os error")
                .next()
                .unwrap_or_default()
                .to_owned())
        }
    }
}

impl Doctor {
    fn add(&mut self, level: Level, check: &'static str, text: String, mend: Option<&str>) {
        self.findings.push(Finding {
            level,
            check,
            text,
            mend: mend.map(str::to_owned),
        });
    }

    fn well(&mut self, check: &'static str, text: String) {
        self.add(Level::Well, check, text, None);
    }

    fn note(&mut self, check: &'static str, text: String, mend: &str) {
        self.add(Level::Note, check, text, Some(mend));
    }

    fn problem(&mut self, check: &'static str, text: String, mend: &str) {
        self.add(Level::Problem, check, text, Some(mend));
    }

    /// Whether the module is there.
    fn module(&mut self, files: Option<&Files>) {
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
        if files.is_none() {
            self.unusable = true;
            let folder = format!("/lib/modules/{release}");
            let listed = read(format!("{folder}/modules.dep"));
            let has = listed.is_some_and(|text| text.lines().any(|line| line.contains("/kbus.ko")));
            let text = format!("the module kbus is not loaded in this kernel, {release}");
            let mend = match has {
                true => "sudo modprobe kbus".to_owned(),
                false => format!(
                    "this kernel has no such module: sudo apt install kbus-modules-{release} (or \
                     kbus-dkms), then sudo modprobe kbus"
                ),
            };
            return self.problem("module", text, &mend);
        }
        let mut text = format!("the module is loaded in the kernel {release}");
        if let Some(version) = read("/sys/module/kbus/version") {
            text += &format!(", version {version}");
        } else if let Some(version) = read("/sys/module/kbus/srcversion") {
            text += &format!(", source version {version}");
        }
        self.well("module", text);
        let folders = [
            "/etc/modules-load.d",
            "/run/modules-load.d",
            "/usr/lib/modules-load.d",
        ];
        let named = |text: String| text.lines().any(|line| line.trim() == "kbus");
        let at_boot = folders.iter().any(|folder| {
            let files = fs::read_dir(folder).into_iter().flatten().flatten();
            files.filter_map(|file| read(file.path())).any(named)
        }) || read("/etc/modules").is_some_and(named);
        match at_boot {
            true => self.well("boot", "the module is loaded at boot".to_owned()),
            false => self.note(
                "boot",
                "nothing in modules-load.d loads the module at boot, and no program can by itself"
                    .to_owned(),
                "echo kbus | sudo tee /etc/modules-load.d/kbus.conf",
            ),
        }
    }

    /// Which forms of `socket()` work here, and why not.
    fn forms(&mut self, limits: &Limits) {
        let number = inspect::family().unwrap_or(18);
        let family = can(number, 0);
        let literal = can(1, 0x6b62);
        match &family {
            Ok(()) => self.well("family", format!("socket({number}, SOCK_DGRAM, 0) works")),
            Err(error) => self.problem(
                "family",
                format!(
                    "socket({number}, SOCK_DGRAM, 0) fails ({error}): a seccomp filter or a \
                     security module keeps this program from it"
                ),
                "allow the family AF_ASH (18), by its old name, in the sandbox: \
                 RestrictAddressFamilies= of a systemd unit, or the rules of the security module",
            ),
        }
        let Err(error) = literal else {
            let text = "socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS) works";
            return self.well("literal", text.to_owned());
        };
        self.unusable = family.is_err();
        let sandbox = Sandbox::parse(&read("/proc/self/status").unwrap_or_default());
        let parameter = read("/sys/module/kbus/parameters/literal");
        let mut text = format!("socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS) fails ({error}): ");
        let other = match family {
            Ok(()) => format!("; socket({number}, SOCK_DGRAM, 0) works, and the libraries use it"),
            Err(_) => String::new(),
        };
        let why = match (limits.literal, sandbox) {
            _ if matches!(parameter.as_deref(), Some("0" | "N")) => (
                "the module was loaded with literal=0",
                "remove literal=0 from /etc/modprobe.d, then sudo modprobe -r kbus && sudo modprobe \
                 kbus",
            ),
            (Some(0), _) => (
                "net.kbus.literal is 0 in this network namespace",
                "sudo sysctl net.kbus.literal=1 (in a namespace that was not given more than 0, its \
                 maker must have it first)",
            ),
            (Some(1), Sandbox { no_new_privs: true, seccomp: true }) => (
                "this program runs with no_new_privs and a seccomp filter, and net.kbus.literal is \
                 1, so that no sandbox is opened by loading the module",
                "use the other form in sandboxes, or for all of them: sudo sysctl net.kbus.literal=2",
            ),
            (Some(1), Sandbox { no_new_privs: true, .. }) => (
                "this program runs with no_new_privs, and net.kbus.literal is 1, so that no sandbox \
                 is opened by loading the module",
                "run it without NoNewPrivileges= or setpriv --no-new-privs, or for all sandboxes: \
                 sudo sysctl net.kbus.literal=2",
            ),
            (Some(1), Sandbox { seccomp: true, .. }) => (
                "this program runs with a seccomp filter, and net.kbus.literal is 1, so that no \
                 sandbox is opened by loading the module",
                "use the other form in sandboxes, or for all of them: sudo sysctl net.kbus.literal=2",
            ),
            (Some(2), Sandbox { seccomp: true, .. }) => (
                "the seccomp filter of this program may refuse it",
                "allow socket(AF_UNIX, SOCK_DGRAM, 0x6b62) in that filter",
            ),
            _ => (
                "the module has no probe on unix_create: it was loaded with literal=0, or a live \
                 patch, a BPF program or another probe had that function then (sudo dmesg | grep \
                 PROTO_KBUS tells)",
                "remove literal=0 from /etc/modprobe.d, or what holds unix_create, then sudo modprobe \
                 -r kbus && sudo modprobe kbus",
            ),
        };
        text += why.0;
        text += &other;
        self.problem("literal", text, why.1);
    }

    /// The limits, and users that come near them.
    fn limits(&mut self, usage: &Usage, limits: &Limits) {
        let shown = |value: Option<u64>| value.map_or("?".to_owned(), |value| value.to_string());
        let text = format!(
            "a user may have {} and {} messages waiting, queues of {} messages; on one bus {} \
             bindings, {} sockets that listen to everything, {} waiting calls; {} buses",
            limits.user_bytes.map_or("?".to_owned(), bytes),
            shown(limits.user_messages),
            shown(limits.max_queue_len),
            shown(limits.user_bindings),
            shown(limits.user_wide),
            shown(limits.user_waits),
            shown(limits.user_buses),
        );
        self.well("limits", text);
        // Near is four fifths.
        let near = |used: u64, most: Option<u64>| most.is_some_and(|most| used >= most / 5 * 4);
        let mut tell = |who: String, used: u64, most: Option<u64>, sysctl: &str, what: &str| {
            let text = format!(
                "{who} has {used} {what}, of {} (net.kbus.{sysctl})",
                shown(most)
            );
            if near(used, most) {
                let more = most.unwrap_or(0).saturating_mul(2);
                let mend = format!(
                    "`kbus list` shows whose they are; to allow more: sudo sysctl \
                     net.kbus.{sysctl}={more}"
                );
                self.problem("limits", text, &mend);
            }
        };
        for (uid, user) in &usage.users {
            let who = format!("user {uid}");
            tell(
                who.clone(),
                user.messages,
                limits.user_messages,
                "user_messages",
                "messages waiting or reserved",
            );
            tell(
                who,
                user.bytes,
                limits.user_bytes,
                "user_bytes",
                "bytes waiting",
            );
        }
        for ((bus, uid), count) in &usage.bindings {
            let who = format!("user {uid} on {bus}");
            tell(
                who,
                *count,
                limits.user_bindings,
                "user_bindings",
                "bindings",
            );
        }
        for ((bus, uid), count) in &usage.wide {
            let who = format!("user {uid} on {bus}");
            let what = "sockets that listen to everything";
            tell(who, *count, limits.user_wide, "user_wide", what);
        }
        for (uid, user) in &usage.users {
            let text = format!(
                "user {uid} holds {} sockets, {} messages waiting or reserved, {}",
                user.sockets,
                user.messages,
                bytes(user.bytes)
            );
            self.well("users", text);
        }
        if usage.hidden > 0 {
            let text = format!(
                "{} sockets of other users are not looked into",
                usage.hidden
            );
            self.note("users", text, "sudo kbus doctor");
        }
    }

    /// Queues that are full, paths that were removed, sockets that nobody knows of.
    fn sockets(&mut self, files: &Files, usage: &Usage, limits: &Limits) {
        let holders = Holders::read();
        let whose = |socket: &SocketLine| {
            let holder = holders.of(socket.peer).first().map(|holder| holder.pid);
            match holder.or(socket.pid) {
                Some(pid) => format!("peer {:x} of {}", socket.peer, process(pid)),
                None => format!("peer {:x}", socket.peer),
            }
        };
        let mut full = 0;
        for socket in files.sockets.iter().filter(|socket| socket.bus != "-") {
            let fullness = socket.fullness(usage, limits);
            if !matches!(fullness, Fullness::Room | Fullness::Share) {
                full += 1;
                let text = format!(
                    "the queue of {} on {} is full ({} waiting and {} reserved for replies, of \
                     {}; {})",
                    whose(socket),
                    socket.bus,
                    socket.unread,
                    socket.reserved,
                    socket.limit,
                    bytes(socket.bytes)
                );
                let mend = format!(
                    "`kbus why @{:x}` says what fails because of it; the program must read, or be \
                     restarted",
                    socket.peer
                );
                self.problem("queues", text, &mend);
            } else if socket.lost > 0 {
                let text = format!(
                    "{} on {} has missed {} messages so far",
                    whose(socket),
                    socket.bus,
                    socket.lost
                );
                let mend = "a longer queue (KBUS_QUEUE_LEN), faster reading, or senders that ask \
                            for ALL_OR_WAIT";
                self.note("queues", text, mend);
            }
            let gone = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
            if let Some(pid) = socket.pid.filter(|pid| gone(*pid)) {
                let open: Vec<String> = holders
                    .of(socket.peer)
                    .iter()
                    .map(|holder| process(holder.pid))
                    .collect();
                let open = match open.is_empty() {
                    true => "nobody who can be seen".to_owned(),
                    false => open.join(" and "),
                };
                let text = format!(
                    "process {pid}, which made peer {:x} on {}, has ended; the socket and its \
                     names live on in {open}",
                    socket.peer, socket.bus
                );
                self.note(
                    "queues",
                    text,
                    "end the processes that inherited the descriptor",
                );
            }
        }
        if full == 0 {
            let text = format!("no queue is full, of {} sockets", files.sockets.len());
            self.well("queues", text);
        }
        for bus in files.buses() {
            let on: Vec<&SocketLine> = files
                .sockets
                .iter()
                .filter(|socket| socket.bus == bus)
                .collect();
            let deleted: Vec<&&SocketLine> = on
                .iter()
                .filter(|socket| socket.path == PathState::Deleted)
                .collect();
            if let Some(first) = deleted.first() {
                let text = format!(
                    "the path of {bus} was removed while {} sockets are on it, such as {}: \
                     programs that bind there now do not meet them",
                    deleted.len(),
                    whose(first)
                );
                let mend =
                    "restart the programs that are still on the old bus; nothing may remove \
                            the path (see \"Buses at a path\" in kbus(7))";
                self.problem("paths", text, mend);
            }
            if ["/tmp/", "/var/tmp/"]
                .iter()
                .any(|folder| bus.starts_with(folder))
            {
                let text = format!("{bus} is in a folder where anybody may make it first");
                self.note("paths", text, "put the bus below /run/kbus");
            }
            let padded = bus.starts_with('@') && bus.len() > 1 && bus.ends_with('@');
            if padded {
                let text =
                    format!("the name {bus} ends with a NUL: another bus than the one without it");
                let mend = "bind with the length of the name, without NULs behind it";
                self.note("names", text, mend);
            }
        }
    }

    /// The bus that the other commands use.
    fn bus(&mut self, context: &Context, files: &Files) {
        let text = crate::proc::shown(&context.bus);
        let there =
            files.buses().contains(&text.as_str()) || context.bus.path().is_some_and(Path::exists);
        // To join one that is not there would make it.
        if !there {
            let text =
                format!("nobody is on {text} yet: the first program that binds to it makes it");
            return self.well("bus", text);
        }
        let socket = match context.open() {
            Ok(socket) => socket,
            Err(failure) => {
                let failed = format!("{text} cannot be joined: {}", failure.text());
                let mend = match context.bus.path() {
                    Some(path) => format!("ls -l {} shows who may write to it", path.display()),
                    None => {
                        "its owner can set KBUS_BUS_MODE, or a member of its group joins".to_owned()
                    }
                };
                return self.problem("bus", failed, &mend);
            }
        };
        let Ok(info) = socket.bus_info() else {
            return;
        };
        // This command's own socket is not of interest.
        let members = info.members.saturating_sub(1);
        let found = format!(
            "{text}: {members} sockets, {} bindings, owner user {}, group {}, mode {:04o}, {} of {}, \
             messages of at most {}",
            info.bindings,
            info.uid,
            info.gid,
            info.mode & 0o7777,
            bytes(info.bytes),
            bytes(info.bytes_max),
            bytes(info.max_message.into())
        );
        if info.bytes >= info.bytes_max / 5 * 4 {
            let mend =
                "`kbus list` shows whose queues hold them; the owner can raise KBUS_BUS_BYTES";
            return self.problem("bus", found, mend);
        }
        self.well("bus", found);
    }

    fn show(&self, args: &Args, context: &Context) -> Outcome {
        use crate::output::Style;
        let mut out = context.output();
        for finding in &self.findings {
            if args.quiet && finding.level == Level::Well {
                continue;
            }
            if context.json {
                out.json(&json!({
                    "level": match finding.level {
                        Level::Well => "ok",
                        Level::Note => "note",
                        Level::Problem => "problem",
                    },
                    "check": finding.check,
                    "text": finding.text,
                    "mend": finding.mend,
                }))?;
                continue;
            }
            let mark = match finding.level {
                Level::Well => out.paint(Style::Green, "ok     "),
                Level::Note => out.paint(Style::Yellow, "note   "),
                Level::Problem => out.paint(Style::Red, "PROBLEM"),
            };
            let text = format!("{mark}  {}", finding.text);
            out.line(text)?;
            if let Some(mend) = &finding.mend {
                out.line(format_args!("         → {mend}"))?;
            }
        }
        let problems = self
            .findings
            .iter()
            .filter(|f| f.level == Level::Problem)
            .count();
        if problems == 0 {
            return match context.json || args.quiet {
                true => Ok(()),
                false => out.line("All is well."),
            };
        }
        let code = match self.unusable {
            true => Code::Unavailable,
            false => Code::Error,
        };
        if !context.json {
            let s = if problems == 1 { "" } else { "s" };
            out.line(format_args!("{problems} problem{s} found."))?;
        }
        Err(Failure::silent(code))
    }
}

/// Does it.
pub fn run(args: Args, context: &Context) -> Outcome {
    let files = match Files::read() {
        Ok(files) => Some(files),
        Err(failure) if failure.code() == Code::Unavailable => None,
        Err(failure) => return Err(failure),
    };
    let mut doctor = Doctor::default();
    doctor.module(files.as_ref());
    if let Some(files) = files {
        let (limits, usage) = (Limits::read(), Usage::of(&files));
        doctor.forms(&limits);
        doctor.bus(context, &files);
        doctor.limits(&usage, &limits);
        doctor.sockets(&files, &usage, &limits);
    }
    doctor.show(&args, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `/proc/self/status` says of a sandbox is understood.
    #[test]
    fn sandboxes_are_seen() {
        let status = "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t0\nSeccomp_filters:\t0\n";
        let sandbox = Sandbox::parse(status);
        assert_eq!((sandbox.no_new_privs, sandbox.seccomp), (true, false));
        let sandbox = Sandbox::parse("NoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert_eq!((sandbox.no_new_privs, sandbox.seccomp), (false, true));
        assert_eq!(Sandbox::parse(""), Sandbox::default());
    }
}
