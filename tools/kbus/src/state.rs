// SPDX-License-Identifier: GPL-2.0
//! Who owns a bus, and what is on it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kbus::Bus;
use kbus::Socket;

use crate::failure::Code;
use crate::failure::Failure;

/// What is known of a bus.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its owner.
    pub uid: Option<u32>,
    /// Its permissions.
    pub mode: Option<u32>,
    /// Bytes of payload on it.
    pub bytes: Option<u64>,
    /// How many there may be.
    pub bytes_max: Option<u64>,
    /// Bytes of the largest payload.
    pub max_message: Option<u32>,
    /// Its path was removed: no other program finds it.
    pub deleted: bool,
}

impl State {
    /// Asks for it. An abstract bus is joined for a moment; of one at a path the inode is looked at,
    /// as to join it could make another one.
    pub fn of(shown: &str, deleted: bool) -> State {
        let mut state = State {
            deleted,
            ..State::default()
        };
        let bytes = unescaped(shown);
        if let Some(name) = shown.strip_prefix('@') {
            let bus = Bus::abstract_bytes(&unescaped(name));
            let info = bus
                .map_err(Failure::from)
                .and_then(|bus| Ok(Socket::open(bus)?.bus_info()?));
            if let Ok(info) = info {
                state.uid = Some(info.uid);
                state.mode = Some(info.mode);
                state.bytes = Some(info.bytes);
                state.bytes_max = Some(info.bytes_max);
                state.max_message = Some(info.max_message);
            }
            return state;
        }
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(&bytes));
        // A path that does not begin at the root is one of another program's folder.
        if path.is_absolute() && !deleted {
            if let Ok(file) = fs::metadata(path) {
                if file.file_type().is_socket() {
                    state.uid = Some(file.uid());
                    state.mode = Some(file.mode() & 0o7777);
                }
            }
        }
        state
    }
}

/// The bytes of a bus as the kernel shows it: `\ooo` is a byte.
fn unescaped(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown.as_bytes();
    while let [first, others @ ..] = rest {
        let octal = others.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}

/// Nobody is on that bus.
pub fn no_such_bus(bus: &Bus) -> Failure {
    Failure::new(Code::Error, format_args!("no socket is on the bus {bus}"))
        .hint("`kbus list` without --bus shows all; a bus exists as long as a socket is on it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_digits_are_a_byte() {
        assert_eq!(unescaped("a\\040b\\134"), b"a b\\");
        assert_eq!(unescaped("\\9"), b"\\9");
    }
}
