// SPDX-License-Identifier: GPL-2.0
//! What `/proc` tells of sockets, bindings and limits, for `doctor`, `why` and `top`.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;

use kbus::Name;
use kbus::Pattern;

use crate::failure::Failure;
use crate::proc;

/// Bytes with which a queue is full, unless its socket has set `SO_RCVBUF`.
pub const QUEUE_BYTES: u64 = 8 << 20;
/// Queues of fewer places have none that are kept for others.
const SHARED_FROM: u32 = 16;

/// What has become of the path of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// The bus is abstract, or the socket unbound.
    None,
    /// It is there.
    Linked,
    /// It was removed.
    Deleted,
}

/// A line of `/proc/net/kbus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLine {
    /// Its bus as the file has it, `-` for none.
    pub bus: String,
    /// Its peer id.
    pub peer: u64,
    /// Who made it, if that can be seen.
    pub pid: Option<u32>,
    /// That user; none if it is hidden.
    pub uid: Option<u32>,
    /// Messages waiting.
    pub unread: u32,
    /// How many there may be.
    pub limit: u32,
    /// Bytes waiting.
    pub bytes: u64,
    /// Places kept for replies.
    pub reserved: u32,
    /// Requests read and not answered.
    pub owed: u32,
    /// Messages missed.
    pub lost: u64,
    /// What has become of the path.
    pub path: PathState,
}

/// A line of `/proc/net/kbus_bindings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingLine {
    /// The bus.
    pub bus: String,
    /// Whose it is.
    pub peer: u64,
    /// That user; none if it is hidden.
    pub uid: Option<u32>,
    /// Whether it is a replier's.
    pub replier: bool,
    /// The name or wildcard.
    pub name: String,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fullness {
    /// It has room.
    Room,
    /// It has room but for users who have messages in it, unless they own it or the bus.
    Share,
    /// It has no place left.
    Places,
    /// As many bytes wait as may.
    Bytes,
    /// Its user's budget of messages has no more for it.
    UserMessages,
    /// Its user's budget of bytes has no more for it.
    UserBytes,
}

impl From<proc::SocketLine> for SocketLine {
    fn from(line: proc::SocketLine) -> SocketLine {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        SocketLine {
            bus: line.owner.bus.unwrap_or_else(|| "-".to_owned()),
            peer: line.owner.peer.get(),
            pid: line.owner.pid.and_then(|pid| u32::try_from(pid).ok()),
            uid: line.owner.uid,
            unread: small(line.unread),
            limit: small(line.limit),
            bytes: line.bytes,
            reserved: small(line.reserved),
            owed: small(line.owed),
            lost: line.lost,
            path: match line.path.as_deref() {
                Some("linked") => PathState::Linked,
                Some("deleted") => PathState::Deleted,
                _ => PathState::None,
            },
        }
    }
}

impl From<proc::BindingLine> for BindingLine {
    fn from(line: proc::BindingLine) -> BindingLine {
        BindingLine {
            bus: line.owner.bus.unwrap_or_else(|| "-".to_owned()),
            peer: line.owner.peer.get(),
            uid: line.owner.uid,
            replier: line.replier,
            name: line.pattern,
        }
    }
}

impl SocketLine {
    /// Places taken: messages waiting and replies to come.
    pub fn taken(&self) -> u32 {
        self.unread.saturating_add(self.reserved)
    }

    /// Whether it has room for one more message, as far as it can be seen.
    pub fn fullness(&self, usage: &Usage, limits: &Limits) -> Fullness {
        if self.taken() >= self.limit {
            return Fullness::Places;
        }
        if self.bytes >= QUEUE_BYTES {
            return Fullness::Bytes;
        }
        if let Some(user) = self.uid.and_then(|uid| usage.users.get(&uid)) {
            let over = |held: u64, used: u64, most: Option<u64>| {
                most.is_some_and(|most| held > most.saturating_sub(used))
            };
            if over(self.taken().into(), user.messages, limits.user_messages) {
                return Fullness::UserMessages;
            }
            if over(self.bytes, user.bytes, limits.user_bytes) {
                return Fullness::UserBytes;
            }
        }
        if self.limit >= SHARED_FROM && self.taken() >= self.limit - self.limit / 8 {
            return Fullness::Share;
        }
        Fullness::Room
    }
}

impl BindingLine {
    /// Whether it lets messages of that name in.
    pub fn matches(&self, name: &Name) -> bool {
        Pattern::new(&self.name).is_ok_and(|pattern| pattern.matches(name))
    }

    /// How near its text is to the name, among repliers: the greatest one answers.
    fn rank(&self) -> (u8, usize) {
        match self.name.as_bytes().last() {
            Some(b'%') => (1, 0),
            Some(b'*') => (0, self.name.len()),
            _ => (2, 0),
        }
    }
}

/// The sockets and bindings that there are.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// All sockets of the network namespace.
    pub sockets: Vec<SocketLine>,
    /// All bindings.
    pub bindings: Vec<BindingLine>,
}

impl Files {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// There is no KBUS, or the files cannot be read.
    pub fn read() -> Result<Files, Failure> {
        Ok(Files {
            sockets: proc::sockets()?.into_iter().map(SocketLine::from).collect(),
            bindings: proc::bindings()?
                .into_iter()
                .map(BindingLine::from)
                .collect(),
        })
    }

    /// The socket of that id.
    pub fn socket(&self, peer: u64) -> Option<&SocketLine> {
        self.sockets.iter().find(|socket| socket.peer == peer)
    }

    /// Who would answer a request of that name on that bus.
    pub fn replier(&self, bus: &str, name: &Name) -> Option<&BindingLine> {
        // A replier's wildcard does not match what is the bus's own.
        self.bindings
            .iter()
            .filter(|line| line.replier && line.bus == bus && line.matches(name))
            .filter(|_| !name.is_of_the_bus())
            .max_by_key(|line| line.rank())
    }

    /// The sockets that listen to that name on that bus, once each.
    pub fn listeners(&self, bus: &str, name: &Name) -> Vec<&SocketLine> {
        let mut peers: Vec<u64> = self
            .bindings
            .iter()
            .filter(|line| !line.replier && line.bus == bus && line.matches(name))
            .map(|line| line.peer)
            .collect();
        peers.sort_unstable();
        peers.dedup();
        peers.iter().filter_map(|peer| self.socket(*peer)).collect()
    }

    /// The buses that sockets are on, in order.
    pub fn buses(&self) -> Vec<&str> {
        let mut buses: Vec<&str> = self.sockets.iter().map(|line| line.bus.as_str()).collect();
        buses.retain(|bus| *bus != "-");
        buses.sort_unstable();
        buses.dedup();
        buses
    }
}

/// The number of the family `AF_KBUS`.
pub fn family() -> Option<u16> {
    let text = fs::read("/proc/net/kbus").ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find_map(|line| line.strip_prefix("# family "))?
        .trim()
        .parse()
        .ok()
}

/// `net.kbus.*`. What cannot be read is none.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// 0, 1 or 2.
    pub literal: Option<u64>,
    /// Bytes that may wait for a user.
    pub user_bytes: Option<u64>,
    /// Messages that may wait for a user.
    pub user_messages: Option<u64>,
    /// The longest queue.
    pub max_queue_len: Option<u64>,
    /// Bindings of a user on a bus.
    pub user_bindings: Option<u64>,
    /// Sockets of a user that listen to everything, on a bus.
    pub user_wide: Option<u64>,
    /// Calls of a user that wait on a bus.
    pub user_waits: Option<u64>,
    /// Buses of a user.
    pub user_buses: Option<u64>,
}

impl Limits {
    /// Reads them.
    pub fn read() -> Limits {
        let value = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/net/kbus/{name}")).ok()?;
            text.trim().parse().ok()
        };
        Limits {
            literal: value("literal"),
            user_bytes: value("user_bytes"),
            user_messages: value("user_messages"),
            max_queue_len: value("max_queue_len"),
            user_bindings: value("user_bindings"),
            user_wide: value("user_wide"),
            user_waits: value("user_waits"),
            user_buses: value("user_buses"),
        }
    }
}

/// What a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Sockets.
    pub sockets: u64,
    /// Messages waiting, and replies to come.
    pub messages: u64,
    /// Bytes waiting. A payload in several queues is counted once by the kernel, and here in each.
    pub bytes: u64,
}

/// What users have, as far as it can be seen in this network namespace.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// By user.
    pub users: BTreeMap<u32, User>,
    /// Bindings by bus and user.
    pub bindings: BTreeMap<(String, u32), u64>,
    /// Sockets that listen to everything, by bus and user.
    pub wide: BTreeMap<(String, u32), u64>,
    /// Sockets whose user is hidden from us.
    pub hidden: u64,
}

impl Usage {
    /// Adds up what the files say.
    pub fn of(files: &Files) -> Usage {
        let mut usage = Usage::default();
        for line in &files.sockets {
            let Some(uid) = line.uid else {
                usage.hidden += 1;
                continue;
            };
            let user = usage.users.entry(uid).or_default();
            user.sockets += 1;
            user.messages += u64::from(line.taken());
            user.bytes += line.bytes;
        }
        let mut wide = Vec::new();
        for line in &files.bindings {
            let Some(uid) = line.uid else { continue };
            *usage.bindings.entry((line.bus.clone(), uid)).or_default() += 1;
            if !line.replier && (line.name == "$.*" || line.name == "$.%") {
                wide.push((line.bus.clone(), uid, line.peer));
            }
        }
        wide.sort_unstable();
        wide.dedup();
        for (bus, uid, _) in wide {
            *usage.wide.entry((bus, uid)).or_default() += 1;
        }
        usage
    }
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its descriptor.
    pub fd: u32,
}

/// Which processes have which sockets open, as far as this user may look.
#[derive(Clone, Debug, Default)]
pub struct Holders {
    by_peer: HashMap<u64, Vec<Holder>>,
    /// Whether some processes could not be looked into.
    pub incomplete: bool,
}

impl Holders {
    /// Looks into all processes.
    pub fn read() -> Holders {
        let mut holders = Holders::default();
        let Ok(processes) = fs::read_dir("/proc") else {
            holders.incomplete = true;
            return holders;
        };
        for process in processes.flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|pid| pid.parse().ok())
            else {
                continue;
            };
            match fs::read_dir(process.path().join("fdinfo")) {
                Ok(files) => {
                    for file in files.flatten() {
                        holders.file(pid, &file);
                    }
                }
                // It has ended meanwhile, or it is somebody else's.
                Err(error) => {
                    holders.incomplete |= error.kind() == io::ErrorKind::PermissionDenied;
                }
            }
        }
        holders
    }

    fn file(&mut self, pid: u32, file: &fs::DirEntry) {
        let number = file.file_name().to_str().and_then(|fd| fd.parse().ok());
        let Some(fd) = number else { return };
        let Ok(text) = fs::read(file.path()) else {
            return;
        };
        let text = String::from_utf8_lossy(&text);
        let peer = text
            .lines()
            .find_map(|line| line.strip_prefix("kbus-peer:\t"))
            .and_then(|peer| u64::from_str_radix(peer, 16).ok());
        if let Some(peer) = peer {
            self.by_peer
                .entry(peer)
                .or_default()
                .push(Holder { pid, fd });
        }
    }

    /// Those that have the socket of that id.
    pub fn of(&self, peer: u64) -> &[Holder] {
        self.by_peer.get(&peer).map_or(&[], Vec::as_slice)
    }

    /// The sockets that a process has: peer and descriptor.
    pub fn of_process(&self, pid: u32) -> Vec<(u64, u32)> {
        let mut found: Vec<(u64, u32)> = self
            .by_peer
            .iter()
            .flat_map(|(peer, holders)| holders.iter().map(move |holder| (*peer, holder)))
            .filter(|(_, holder)| holder.pid == pid)
            .map(|(peer, holder)| (peer, holder.fd))
            .collect();
        found.sort_unstable();
        found
    }
}

/// The command name of a process, with its number.
pub fn process(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{}[{pid}]", crate::text::one_line(name.trim_end())),
        Err(_) => format!("process {pid}"),
    }
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} bytes"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: &str = "# family 18\n\
        bus peer pid uid unread limit bytes reserved owed lost path\n\
        @kbus-0 1 41 1000 99 100 500 1 0 7 -\n\
        @kbus-0 2 42 1000 0 100 0 0 3 0 -\n\
        /run/kbus/a\\040b 1f - - 88 100 9 0 0 0 deleted\n\
        - a0 43 0 0 16 0 0 0 0 -\n";
    const BINDINGS: &str = "bus peer pid uid kind name\n\
        @kbus-0 1 41 1000 L $.*\n\
        @kbus-0 1 41 1000 L $.%\n\
        @kbus-0 2 42 1000 R $.*\n\
        @kbus-0 1 41 1000 R $.A.*\n\
        @kbus-0 2 42 1000 R $.A.%\n\
        @kbus-0 1 41 1000 R $.A.B\n";

    fn parse(sockets: &str, bindings: &str) -> Files {
        Files {
            sockets: sockets
                .lines()
                .filter_map(proc::socket)
                .map(SocketLine::from)
                .collect(),
            bindings: bindings
                .lines()
                .filter_map(proc::binding)
                .map(BindingLine::from)
                .collect(),
        }
    }

    /// Each column of both files is where `kbus(7)` says.
    #[test]
    fn files_are_read() {
        let files = parse(SOCKETS, BINDINGS);
        assert_eq!(files.sockets.len(), 4);
        let third = files.socket(0x1f).unwrap();
        assert_eq!(
            (third.pid, third.uid, third.path),
            (None, None, PathState::Deleted)
        );
        assert_eq!(files.buses(), ["/run/kbus/a\\040b", "@kbus-0"]);
        let usage = Usage::of(&files);
        assert_eq!((usage.hidden, usage.users[&1000].messages), (1, 100));
        assert_eq!(usage.wide[&("@kbus-0".to_owned(), 1000)], 1);
        assert_eq!(usage.bindings[&("@kbus-0".to_owned(), 1000)], 6);
    }

    /// An exact name is preferred to `%`, that to `*`, and the longer `*` to the shorter one.
    #[test]
    fn the_replier_is_the_nearest_one() {
        let mut files = parse(SOCKETS, BINDINGS);
        let name = |text: &str| Name::new(text).unwrap();
        let answers = |files: &Files, text: &str| {
            files
                .replier("@kbus-0", &name(text))
                .map(|line| line.name.clone())
        };
        assert_eq!(answers(&files, "$.A.B").as_deref(), Some("$.A.B"));
        assert_eq!(answers(&files, "$.A.C").as_deref(), Some("$.A.%"));
        assert_eq!(answers(&files, "$.A.C.D").as_deref(), Some("$.A.*"));
        assert_eq!(answers(&files, "$.A").as_deref(), Some("$.*"));
        assert_eq!(answers(&files, "$.KBUS.X"), None);
        files.bindings.truncate(2);
        assert_eq!(answers(&files, "$.A"), None);
        assert_eq!(files.listeners("@kbus-0", &name("$.A")).len(), 1);
    }

    /// A queue is full by its places, its user's budget, or for others' share, in this order.
    #[test]
    fn full_queues_are_told() {
        let files = parse(SOCKETS, BINDINGS);
        let usage = Usage::of(&files);
        let mut limits = Limits::default();
        let full = |peer, limits: &Limits| files.socket(peer).unwrap().fullness(&usage, limits);
        assert_eq!(full(1, &limits), Fullness::Places);
        assert_eq!(full(2, &limits), Fullness::Room);
        assert_eq!(full(0x1f, &limits), Fullness::Share);
        limits.user_messages = Some(100);
        assert_eq!(full(2, &limits), Fullness::Room);
        let mut line = files.socket(2).unwrap().clone();
        line.unread = 1;
        assert_eq!(line.fullness(&usage, &limits), Fullness::UserMessages);
        limits.user_messages = None;
        limits.user_bytes = Some(500);
        line.bytes = 1;
        assert_eq!(line.fullness(&usage, &limits), Fullness::UserBytes);
        line.bytes = QUEUE_BYTES;
        assert_eq!(line.fullness(&usage, &limits), Fullness::Bytes);
    }
}
