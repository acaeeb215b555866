// SPDX-License-Identifier: GPL-2.0
//! The socket itself: its making, its addresses, its end.

use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::path::Path;

use super::address::bus_address;
use super::address::message_address;
use super::address::path_address;
use super::address::Form;
use super::bytes::bytes_of;
use super::errno::check;
use super::errno::Errno;
use super::errno::Res;

/// A KBUS socket.
#[derive(Debug)]
pub struct Sock {
    fd: OwnedFd,
}

impl AsRawFd for Sock {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<OwnedFd> for Sock {
    fn from(fd: OwnedFd) -> Sock {
        Sock { fd }
    }
}

impl Sock {
    /// `socket()` with any arguments.
    pub fn raw(family: i32, kind: i32, protocol: i32) -> Res<Sock> {
        // SAFETY: Always safe.
        let fd = unsafe { libc::socket(family, kind, protocol) };
        check(fd as isize)?;
        // SAFETY: The descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Sock { fd })
    }

    /// An unbound socket in the chosen form.
    pub fn open() -> Res<Sock> {
        let form = Form::chosen();
        Sock::raw(
            form.family(),
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            form.protocol(),
        )
    }

    /// An unbound socket; its creation must not fail.
    #[expect(clippy::new_without_default, reason = "it opens a socket")]
    pub fn new() -> Sock {
        Sock::open().expect("socket()")
    }

    /// A socket bound to this bus; neither step may fail.
    pub fn on(bus: &str) -> Sock {
        let sock = Sock::new();
        sock.bind(bus).expect("bind()");
        sock
    }

    /// Joins a bus.
    pub fn bind(&self, bus: &str) -> Res<()> {
        self.bind_raw(&bus_address(bus))
    }

    /// A socket bound to the bus at this path; neither step may fail.
    pub fn at(path: impl AsRef<Path>) -> Sock {
        let sock = Sock::new();
        sock.bind_path(path).expect("bind() to a path");
        sock
    }

    /// Joins the bus at a path.
    pub fn bind_path(&self, path: impl AsRef<Path>) -> Res<()> {
        self.bind_raw(&path_address(path.as_ref()))
    }

    /// `bind()` with these very bytes.
    pub fn bind_raw(&self, address: &[u8]) -> Res<()> {
        // SAFETY: Pointer and length are those of a slice.
        let r = unsafe {
            libc::bind(
                self.as_raw_fd(),
                address.as_ptr().cast(),
                address.len() as u32,
            )
        };
        check(r as isize).map(drop)
    }

    /// Sets the default address.
    pub fn connect(&self, address: &str) -> Res<()> {
        self.connect_raw(&message_address(address))
    }

    /// `connect()` with these very bytes.
    pub fn connect_raw(&self, address: &[u8]) -> Res<()> {
        // SAFETY: Pointer and length are those of a slice.
        let r = unsafe {
            libc::connect(
                self.as_raw_fd(),
                address.as_ptr().cast(),
                address.len() as u32,
            )
        };
        check(r as isize).map(drop)
    }

    /// `getsockname()`: the address, family first.
    pub fn name(&self) -> Res<Vec<u8>> {
        self.address_by(libc::getsockname)
    }

    /// `getpeername()`: the address, family first.
    pub fn peer_name(&self) -> Res<Vec<u8>> {
        self.address_by(libc::getpeername)
    }

    fn address_by(
        &self,
        call: unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut u32) -> i32,
    ) -> Res<Vec<u8>> {
        let mut bytes = [0_u64; 16];
        let mut len = mem::size_of_val(&bytes) as u32;
        // SAFETY: The buffer is aligned and as long as said.
        check(unsafe { call(self.as_raw_fd(), bytes.as_mut_ptr().cast(), &mut len) } as isize)?;
        Ok(bytes_of(&bytes)[..len as usize].to_vec())
    }

    /// Makes calls on this socket fail rather than wait: `O_NONBLOCK`.
    pub fn set_nonblocking(&self) {
        let mut on = 1;
        // SAFETY: `on` is a valid place for the argument.
        let r = unsafe { libc::ioctl(self.as_raw_fd(), libc::FIONBIO, &mut on) };
        assert_eq!(r, 0, "FIONBIO: {:?}", Errno::last());
    }

    /// `shutdown()`.
    pub fn shutdown(&self, how: i32) -> Res<()> {
        // SAFETY: Always safe.
        check(unsafe { libc::shutdown(self.as_raw_fd(), how) } as isize).map(drop)
    }

    /// `dup()`.
    pub fn dup(&self) -> Sock {
        Sock {
            fd: self.fd.try_clone().expect("dup"),
        }
    }

    /// `poll()` for these events, waiting `ms`: what was seen.
    pub fn poll(&self, events: i16, ms: i32) -> i16 {
        let mut entry = libc::pollfd {
            fd: self.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: One entry, and it is ours.
        let r = unsafe { libc::poll(&mut entry, 1, ms) };
        assert!(r >= 0, "poll: {:?}", Errno::last());
        entry.revents
    }

    /// `poll()` on several sockets: returns when one of them can be read.
    pub fn poll_any<'a>(socks: impl Iterator<Item = &'a Sock>) {
        let mut entries: Vec<libc::pollfd> = socks
            .map(|sock| libc::pollfd {
                fd: sock.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: The entries are ours, and as many as said.
        let r = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as u64, -1) };
        assert!(r > 0, "poll: {:?}", Errno::last());
    }

    /// What `FIONREAD` says.
    pub fn fionread(&self) -> Res<i32> {
        let mut value = -1;
        // SAFETY: `value` is a valid place for the result.
        let r = unsafe { libc::ioctl(self.as_raw_fd(), libc::FIONREAD, &mut value) };
        check(r as isize).map(|_| value)
    }
}
