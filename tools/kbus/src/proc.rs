// SPDX-License-Identifier: GPL-2.0
//! What the kernel shows of all sockets: `/proc/net/kbus` and `/proc/net/kbus_bindings`.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

use kbus::Bus;
use kbus::PeerId;

use crate::failure::Code;
use crate::failure::Failure;

/// Whose line it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The bus as the kernel shows it, see [`shown`]; nothing for a socket that is not bound.
    pub bus: Option<String>,
    /// The socket.
    pub peer: PeerId,
    /// The process that made it, if the reader may know.
    pub pid: Option<i32>,
    /// The user who made it, if the reader may know.
    pub uid: Option<u32>,
}

/// A line of `/proc/net/kbus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLine {
    /// Which socket.
    pub owner: Owner,
    /// Messages in its queue.
    pub unread: u64,
    /// How many there may be.
    pub limit: u64,
    /// Bytes of payload in its queue.
    pub bytes: u64,
    /// Slots reserved for replies that it awaits.
    pub reserved: u64,
    /// Requests that it has read and not yet answered.
    pub owed: u64,
    /// Messages that it has missed.
    pub lost: u64,
    /// `linked` or `deleted` for a bus at a path.
    pub path: Option<String>,
}

/// A line of `/proc/net/kbus_bindings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingLine {
    /// Whose binding.
    pub owner: Owner,
    /// A replier's; otherwise a listener's.
    pub replier: bool,
    /// The name or wildcard.
    pub pattern: String,
}

/// All sockets of this network namespace, in the order of their ids.
pub fn sockets() -> Result<Vec<SocketLine>, Failure> {
    Ok(lines("/proc/net/kbus")?
        .lines()
        .filter_map(socket)
        .collect())
}

/// All bindings of this network namespace.
pub fn bindings() -> Result<Vec<BindingLine>, Failure> {
    let text = lines("/proc/net/kbus_bindings")?;
    Ok(text.lines().filter_map(binding).collect())
}

/// How the kernel shows a bus in these files.
pub fn shown(bus: &Bus) -> String {
    let text = bus.to_string();
    let (prefix, bytes) = match bus.path() {
        Some(path) => ("", path.as_os_str().as_bytes()),
        None => ("@", &text.as_bytes()[1..]),
    };
    let mut shown = prefix.as_bytes().to_vec();
    for (at, byte) in bytes.iter().enumerate() {
        match *byte {
            0 => shown.push(b'@'),
            b'@' | b'-' if at == 0 && prefix.is_empty() => {
                shown.extend(format!("\\{byte:03o}").bytes());
            }
            b'!'..=b'[' | b']'..=b'~' | 0x80.. => shown.push(*byte),
            _ => shown.extend(format!("\\{byte:03o}").bytes()),
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn lines(path: &str) -> Result<String, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            Code::Unavailable,
            "the kernel module kbus is not loaded",
        )
        .hint("load it with `sudo modprobe kbus`")),
        Err(error) => Err(Failure::io(format_args!("cannot read {path}"), &error)),
    }
}

fn owner<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Owner> {
    let bus = words.next()?;
    // The heading and comments have no number here.
    let peer = words.next()?.parse().ok()?;
    Some(Owner {
        bus: (bus != "-").then(|| bus.to_owned()),
        peer,
        pid: words.next()?.parse().ok(),
        uid: words.next()?.parse().ok(),
    })
}

/// A line of `/proc/net/kbus`; nothing for a heading.
pub fn socket(line: &str) -> Option<SocketLine> {
    let mut words = line.split(' ');
    let owner = owner(&mut words)?;
    let mut number = || words.next()?.parse().ok();
    Some(SocketLine {
        owner,
        unread: number()?,
        limit: number()?,
        bytes: number()?,
        reserved: number()?,
        owed: number()?,
        lost: number()?,
        path: words.next().filter(|path| *path != "-").map(str::to_owned),
    })
}

/// A line of `/proc/net/kbus_bindings`; nothing for the heading.
pub fn binding(line: &str) -> Option<BindingLine> {
    let mut words = line.split(' ');
    Some(BindingLine {
        owner: owner(&mut words)?,
        replier: words.next()? == "R",
        pattern: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is taken apart; the comment and the heading are none; `-` is nothing; columns that
    /// a later version adds are passed over.
    #[test]
    fn lines_are_taken_apart() {
        assert_eq!(socket("# family 18"), None);
        assert_eq!(
            socket("bus peer pid uid unread limit bytes reserved owed lost path"),
            None
        );
        assert_eq!(binding("bus peer pid uid kind name"), None);
        let line = socket("@kbus-0 1f 12 0 1 100 3 4 5 6 - 7").unwrap();
        assert_eq!(line.owner.bus.as_deref(), Some("@kbus-0"));
        assert_eq!(line.owner.peer, PeerId::new(0x1f));
        assert_eq!((line.owner.pid, line.owner.uid), (Some(12), Some(0)));
        let numbers = [
            line.unread,
            line.limit,
            line.bytes,
            line.reserved,
            line.owed,
            line.lost,
        ];
        assert_eq!(numbers, [1, 100, 3, 4, 5, 6]);
        assert_eq!(line.path, None);
        let line = socket("- 2 - - 0 100 0 0 0 0 deleted").unwrap();
        assert_eq!((line.owner.bus, line.owner.pid), (None, None));
        assert_eq!(line.path.as_deref(), Some("deleted"));
        let line = binding("@kbus-0 2 - - R $.A.*").unwrap();
        assert_eq!((line.replier, &*line.pattern), (true, "$.A.*"));
    }

    /// A bus is found by the text that the kernel has for it.
    #[test]
    fn buses_are_shown_as_the_kernel_does() {
        let is = |bus: &str, text: &str| assert_eq!(shown(&Bus::new(bus).unwrap()), text);
        is("@kbus-0", "@kbus-0");
        is("@a b\\", "@a\\040b\\134");
        is("@-", "@-");
        is("/run/a", "/run/a");
        is("-", "\\055");
        assert_eq!(shown(&Bus::at_path("@a").unwrap()), "\\100a");
    }
}
