// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which bus.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use crate::control::Fields;

/// Bytes of an abstract bus name.
const ABSTRACT_MAX: usize = 107;
/// Bytes of a path, with no NUL behind it.
const PATH_MAX: usize = 108;

/// The address of a bus: an abstract name, written with an `@` before it, or a path.
///
/// ```
/// use kbus::Bus;
///
/// let shared: Bus = "@kbus-0".parse()?;          // of the network namespace
/// let private = Bus::new("/run/kbus/private")?;  // whoever may write to this inode
/// assert!(shared.is_abstract() && !private.is_abstract());
/// # Ok::<(), kbus::BusError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bus {
    /// As in `sun_path`: an abstract one begins with a NUL, and no path ends with one.
    bytes: Box<[u8]>,
}

/// Why a text is no [`Bus`].
///
/// ```
/// assert_eq!(kbus::Bus::new("@").unwrap_err(), kbus::BusError::Empty);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusError {
    /// Nothing, or nothing but an `@`.
    Empty,
    /// Longer than 107 bytes, or 108 of a path.
    TooLong(usize),
    /// A path has a NUL in it.
    Nul,
}

/// One sentence.
///
/// ```
/// let error = kbus::Bus::new("").unwrap_err();
/// assert_eq!(error.to_string(), "a bus needs a name, such as @kbus-0, or a path");
/// ```
impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusError::Empty => f.write_str("a bus needs a name, such as @kbus-0, or a path"),
            BusError::TooLong(len) => write!(
                f,
                "the address of a bus has at most {ABSTRACT_MAX} bytes (a path {PATH_MAX}), this one has {len}"
            ),
            BusError::Nul => f.write_str("the path of a bus has no NUL byte in it"),
        }
    }
}

impl std::error::Error for BusError {}

impl Bus {
    /// What environment variable [`Bus::from_env`] looks at.
    ///
    /// ```
    /// println!("set {} to join another bus", kbus::Bus::VARIABLE);
    /// assert_eq!(kbus::Bus::VARIABLE, "KBUS_BUS");
    /// ```
    pub const VARIABLE: &'static str = "KBUS_BUS";

    /// The bus of that address: `@NAME` is an abstract one, anything else a path.
    ///
    /// # Errors
    ///
    /// It is empty or too long, or a path with a NUL in it.
    ///
    /// ```
    /// assert_eq!(kbus::Bus::new("@kbus-0")?.to_string(), "@kbus-0");
    /// # Ok::<(), kbus::BusError>(())
    /// ```
    pub fn new(address: impl AsRef<OsStr>) -> Result<Bus, BusError> {
        let address = address.as_ref().as_bytes();
        match address.strip_prefix(b"@") {
            Some(name) => Bus::abstract_bytes(name),
            None => Bus::at_path(OsStr::from_bytes(address)),
        }
    }

    /// The abstract bus whose name is these bytes, which can be any.
    ///
    /// # Errors
    ///
    /// There are none, or more than 107.
    ///
    /// ```
    /// assert_eq!(kbus::Bus::abstract_bytes(b"kbus-0")?, kbus::Bus::new("@kbus-0")?);
    /// # Ok::<(), kbus::BusError>(())
    /// ```
    pub fn abstract_bytes(name: &[u8]) -> Result<Bus, BusError> {
        match name.len() {
            0 => Err(BusError::Empty),
            len if len > ABSTRACT_MAX => Err(BusError::TooLong(len)),
            _ => Ok(Bus {
                bytes: [&[0], name].concat().into(),
            }),
        }
    }

    /// The bus at that path, also if the path begins with an `@`.
    ///
    /// # Errors
    ///
    /// It is empty, has more than 108 bytes, or has a NUL in it.
    ///
    /// ```
    /// assert_eq!(kbus::Bus::at_path("/run/kbus/av")?.to_string(), "/run/kbus/av");
    /// # Ok::<(), kbus::BusError>(())
    /// ```
    pub fn at_path(path: impl AsRef<Path>) -> Result<Bus, BusError> {
        let bytes = path.as_ref().as_os_str().as_bytes();
        match bytes.len() {
            0 => Err(BusError::Empty),
            len if len > PATH_MAX => Err(BusError::TooLong(len)),
            _ if bytes.contains(&0) => Err(BusError::Nul),
            _ => Ok(Bus {
                bytes: bytes.into(),
            }),
        }
    }

    /// The bus that `$KBUS_BUS` names, or `@kbus-0` if that is not set.
    ///
    /// # Errors
    ///
    /// Those of [`Bus::new`] for what is in the variable.
    ///
    /// ```
    /// assert_eq!(kbus::Bus::from_env()?, kbus::Bus::default());
    /// # Ok::<(), kbus::BusError>(())
    /// ```
    pub fn from_env() -> Result<Bus, BusError> {
        match env::var_os(Bus::VARIABLE) {
            Some(address) if !address.is_empty() => Bus::new(address),
            _ => Ok(Bus::default()),
        }
    }

    /// Whether it has an abstract name and no path.
    ///
    /// ```
    /// assert!(kbus::Bus::new("@kbus-0")?.is_abstract());
    /// assert!(!kbus::Bus::new("/run/kbus/av")?.is_abstract());
    /// # Ok::<(), kbus::BusError>(())
    /// ```
    pub fn is_abstract(&self) -> bool {
        self.bytes.first() == Some(&0)
    }

    /// Its path, unless it is abstract.
    ///
    /// ```
    /// assert_eq!(kbus::Bus::default().path(), None);
    /// ```
    pub fn path(&self) -> Option<&Path> {
        (!self.is_abstract()).then(|| Path::new(OsStr::from_bytes(&self.bytes)))
    }

    /// `sun_path`.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What `getsockname()` has returned; nothing for an unbound socket.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Bus> {
        if bytes.first() != Some(&0) {
            bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        }
        (!bytes.is_empty()).then(|| Bus {
            bytes: bytes.into(),
        })
    }
}

/// `@kbus-0`.
///
/// ```
/// assert_eq!(kbus::Bus::default().to_string(), "@kbus-0");
/// ```
impl Default for Bus {
    fn default() -> Bus {
        Bus {
            bytes: (*b"\0kbus-0").into(),
        }
    }
}

/// As [`Bus::new`] takes it. Bytes that are no UTF-8 are replaced.
///
/// ```
/// assert_eq!(format!("on {}", kbus::Bus::at_path("/run/kbus/av")?), "on /run/kbus/av");
/// # Ok::<(), kbus::BusError>(())
/// ```
impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes.split_first() {
            Some((0, name)) => write!(f, "@{}", String::from_utf8_lossy(name)),
            _ => f.pad(&String::from_utf8_lossy(&self.bytes)),
        }
    }
}

/// As [`Bus::new`].
///
/// ```
/// let bus: kbus::Bus = "@kbus-0".parse()?;
/// assert_eq!(bus, kbus::Bus::default());
/// # Ok::<(), kbus::BusError>(())
/// ```
impl FromStr for Bus {
    type Err = BusError;

    fn from_str(address: &str) -> Result<Bus, BusError> {
        Bus::new(address)
    }
}

/// As [`Bus::new`]. So the address can be given to [`Socket::open`](crate::Socket::open) as it is.
///
/// ```
/// assert_eq!(kbus::Bus::try_from("@kbus-0")?, kbus::Bus::default());
/// # Ok::<(), kbus::BusError>(())
/// ```
impl TryFrom<&str> for Bus {
    type Error = BusError;

    fn try_from(address: &str) -> Result<Bus, BusError> {
        Bus::new(address)
    }
}

/// A clone, so that several sockets can be opened by one address.
///
/// ```
/// use kbus::{Bus, Socket};
///
/// let bus = Bus::new("@doc-bus-from")?;
/// let (first, second) = (Socket::open(&bus)?, Socket::open(&bus)?);
/// assert_eq!(first.bus(), second.bus());
/// # Ok::<(), kbus::Error>(())
/// ```
impl From<&Bus> for Bus {
    fn from(bus: &Bus) -> Bus {
        bus.clone()
    }
}

/// `struct kbus_bus_info` as it is today. It may grow at its end.
pub(crate) const INFO_LEN: usize = 48;

/// The state of a bus, see [`Socket::bus_info`](crate::Socket::bus_info).
///
/// ```
/// let socket = kbus::Socket::open("@doc-bus-info-2")?;
/// let info = socket.bus_info()?;
/// println!("{} of {} bytes are in use", info.bytes, info.bytes_max);
/// assert_eq!((info.members, info.bindings), (1, 0));
/// # Ok::<(), kbus::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusInfo {
    /// The order domain: ids of messages compare where it is the same.
    pub domain: u64,
    /// Bytes of payload on the bus now.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
    /// The user who owns it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
    /// Sockets on it.
    pub members: u32,
    /// Bindings on it, of listeners and repliers.
    pub bindings: u32,
    /// Bytes of the largest payload.
    pub max_message: u32,
}

impl BusInfo {
    pub(crate) fn parse(bytes: &[u8; INFO_LEN]) -> BusInfo {
        let mut fields = Fields(bytes);
        BusInfo {
            domain: fields.u64(),
            bytes: fields.u64(),
            bytes_max: fields.u64(),
            uid: fields.u32(),
            gid: fields.u32(),
            mode: fields.u32(),
            members: fields.u32(),
            bindings: fields.u32(),
            max_message: fields.u32(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `@` means abstract; lengths are those of `kbus(7)`.
    #[test]
    fn addresses_are_checked() {
        assert_eq!(Bus::new("@a").unwrap().bytes(), b"\0a");
        assert_eq!(Bus::new("a").unwrap().bytes(), b"a");
        assert_eq!(Bus::new(""), Err(BusError::Empty));
        assert_eq!(Bus::new("@"), Err(BusError::Empty));
        assert_eq!(Bus::new("/a\0b"), Err(BusError::Nul));
        assert!(Bus::new(format!("@{}", "a".repeat(107))).is_ok());
        assert_eq!(
            Bus::new(format!("@{}", "a".repeat(108))),
            Err(BusError::TooLong(108))
        );
        assert!(Bus::new("a".repeat(108)).is_ok());
        assert_eq!(Bus::new("a".repeat(109)), Err(BusError::TooLong(109)));
        assert_eq!(Bus::at_path("@a").unwrap().bytes(), b"@a");
    }

    /// What the kernel says of a socket is the bus that it was bound to.
    #[test]
    fn addresses_come_back() {
        for address in ["@kbus-0", "/run/kbus/av"] {
            let bus = Bus::new(address).unwrap();
            assert_eq!(bus.to_string(), address);
            assert_eq!(Bus::from_bytes(bus.bytes()), Some(bus.clone()));
        }
        assert_eq!(Bus::from_bytes(b"/a\0"), Bus::new("/a").ok());
        assert_eq!(Bus::from_bytes(b""), None);
    }
}
