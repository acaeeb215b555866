// SPDX-License-Identifier: GPL-2.0

//! `struct sockaddr_un` on the way in and out.

use crate::uapi;
use kernel::prelude::*;

/// The family of the literal form, `socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS)`.
pub(crate) const AF_UNIX: u16 = 1;

/// The number of the module's own address family.
pub(crate) fn family() -> u16 {
    crate::module_parameters::family
        .value()
        .try_into()
        .unwrap_or(uapi::AF_KBUS as u16)
}

/// Bytes of `sun_family`.
const FAMILY_LEN: usize = 2;
/// Bytes of `sun_path`.
pub(crate) const PATH_LEN: usize = 108;

/// The bytes of `sun_path` of an address that a program passed.
///
/// # Errors
///
/// `EINVAL` if it is too short or too long, or of another family than its socket.
pub(crate) fn path(addr: &[u8], family: u16) -> Result<&[u8]> {
    let (head, path) = addr.split_at_checked(FAMILY_LEN).ok_or(EINVAL)?;
    if head != family.to_ne_bytes() || path.len() > PATH_LEN {
        return Err(EINVAL);
    }
    Ok(path)
}

/// A copy of an address's bytes, which the socket keeps.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    copy.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT)?;
    Ok(copy)
}

/// Whether the address is `AF_UNSPEC`, by which `connect()` clears the default.
pub(crate) fn is_unspec(addr: &[u8]) -> bool {
    addr.get(..FAMILY_LEN) == Some(&0u16.to_ne_bytes())
}

/// Writes an address into `out` and returns its length; `nul` adds and counts a terminating NUL.
///
/// # Errors
///
/// `EINVAL` if it does not fit, which a checked name always does.
pub(crate) fn write(out: &mut [u8], family: u16, path: &[u8], nul: bool) -> Result<usize> {
    let len = FAMILY_LEN + path.len().min(PATH_LEN);
    out.get_mut(..FAMILY_LEN)
        .ok_or(EINVAL)?
        .copy_from_slice(&family.to_ne_bytes());
    out.get_mut(FAMILY_LEN..len)
        .ok_or(EINVAL)?
        .copy_from_slice(path.get(..len - FAMILY_LEN).ok_or(EINVAL)?);
    if nul {
        *out.get_mut(len).ok_or(EINVAL)? = 0;
        return Ok(len + 1);
    }
    Ok(len)
}
