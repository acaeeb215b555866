// SPDX-License-Identifier: GPL-2.0
//! Addresses, and the two forms of socket that they belong to.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use super::uapi;

/// Bytes of a `sockaddr_un` before its path.
pub const PATH_AT: usize = 2;
/// Bytes of the path of a `sockaddr_un`.
pub const PATH_MAX: usize = 108;

/// How sockets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS)`.
    Literal,
    /// `socket(AF_KBUS, SOCK_DGRAM, 0)`.
    Family,
}

static FORM: AtomicU32 = AtomicU32::new(0);

impl Form {
    /// Decides for the whole process.
    pub fn choose(self) {
        FORM.store(u32::from(self == Form::Family), Ordering::Relaxed);
    }

    /// What was chosen; the literal form unless somebody did.
    pub fn chosen() -> Form {
        match FORM.load(Ordering::Relaxed) {
            0 => Form::Literal,
            _ => Form::Family,
        }
    }

    /// The address family of the sockets and of their addresses.
    pub fn family(self) -> i32 {
        match self {
            Form::Literal => libc::AF_UNIX,
            Form::Family => uapi::AF_KBUS as i32,
        }
    }

    /// The protocol to give to `socket()`.
    pub fn protocol(self) -> i32 {
        match self {
            Form::Literal => uapi::PROTO_KBUS as i32,
            Form::Family => 0,
        }
    }
}

/// A raw address: family and path, nothing added.
pub fn sockaddr(family: i32, path: &[u8]) -> Vec<u8> {
    let mut bytes = (family as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(path);
    bytes
}

/// The address of an abstract bus in the chosen form.
pub fn bus_address(name: &str) -> Vec<u8> {
    let mut bytes = sockaddr(Form::chosen().family(), b"\0");
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

/// The address of a bus at a path in the chosen form, NUL-terminated where there is room.
pub fn path_address(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_bytes();
    let mut bytes = sockaddr(Form::chosen().family(), path);
    if path.len() < PATH_MAX {
        bytes.push(0);
    }
    bytes
}

/// A message address in the chosen form, NUL-terminated where there is room.
pub fn message_address(text: &str) -> Vec<u8> {
    let mut bytes = sockaddr(Form::chosen().family(), text.as_bytes());
    if text.len() < PATH_MAX {
        bytes.push(0);
    }
    bytes
}

/// A bus name that nobody else uses.
pub fn fresh_bus() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("selftest-{}-{n}", std::process::id())
}

/// A well-formed name of exactly `len` bytes (at least 4).
pub fn long_name(len: usize) -> String {
    format!("$.L{}", "o".repeat(len - 3))
}
