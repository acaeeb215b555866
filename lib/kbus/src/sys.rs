// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls, as safe functions. All `unsafe` code of the crate is here.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::time::Duration;
use std::time::Instant;

use crate::control;

/// The number of an error, as the kernel returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Res<T> = Result<T, Errno>;

impl Errno {
    fn last() -> Errno {
        Errno(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        )
    }
}

fn check(result: isize) -> Res<usize> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// Where `sun_path` begins.
const PATH_AT: usize = mem::offset_of!(libc::sockaddr_un, sun_path);
/// The longest `sun_path` that the kernel returns, with a NUL behind it.
const PATH_MAX: usize = 112;

/// `socket()` of type `SOCK_DGRAM`, closed by `exec`.
pub(crate) fn socket(family: u16, protocol: i32) -> Res<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: No pointers.
    let fd = unsafe { libc::socket(family.into(), kind, protocol) };
    check(fd as isize)?;
    // SAFETY: It was just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A `struct sockaddr_un` of that family with these bytes in `sun_path`.
pub(crate) fn address(family: u16, path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PATH_AT + path.len());
    bytes.extend_from_slice(&family.to_ne_bytes());
    bytes.extend_from_slice(path);
    bytes
}

/// `bind()` to an address that [`address`] has made.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &[u8]) -> Res<()> {
    // SAFETY: Pointer and length are those of a slice, which is only read.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as u32,
        )
    };
    check(result as isize).map(drop)
}

/// `getsockname()`: family and `sun_path`.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Res<(u16, Vec<u8>)> {
    let mut bytes = [0u8; PATH_AT + PATH_MAX];
    let mut len = bytes.len() as u32;
    // SAFETY: Pointer and length are those of a slice.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), &mut len) };
    check(result as isize)?;
    let bytes = &bytes[..bytes.len().min(len as usize)];
    let (family, path) = bytes.split_at_checked(PATH_AT).ok_or(Errno(libc::EINVAL))?;
    Ok((u16::from_ne_bytes([family[0], family[1]]), path.to_vec()))
}

/// `setsockopt()`.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Res<()> {
    // SAFETY: Pointer and length are those of a slice, which is only read.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as u32,
        )
    };
    check(result as isize).map(drop)
}

/// `getsockopt()`: how many bytes of the value are valid.
pub(crate) fn get_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> Res<usize> {
    let mut len = value.len() as u32;
    // SAFETY: Pointer and length are those of a slice.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    check(result as isize)?;
    Ok(value.len().min(len as usize))
}

/// A socket option of level `SOL_SOCKET` that is a time limit; none is 0.
pub(crate) fn set_time_limit(fd: BorrowedFd<'_>, name: i32, limit: Option<Duration>) -> Res<()> {
    let mut time: libc::timeval = timeval(limit.unwrap_or_default());
    // 0 would mean for ever.
    if limit.is_some() && time.tv_sec == 0 && time.tv_usec == 0 {
        time.tv_usec = 1;
    }
    let mut bytes = Vec::with_capacity(mem::size_of::<libc::timeval>());
    bytes.extend_from_slice(&time.tv_sec.to_ne_bytes());
    bytes.extend_from_slice(&time.tv_usec.to_ne_bytes());
    set_option(fd, libc::SOL_SOCKET, name, &bytes)
}

fn timeval(time: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_usec: time.subsec_micros().into(),
    }
}

/// The limit that [`set_time_limit`] has set.
pub(crate) fn time_limit(fd: BorrowedFd<'_>, name: i32) -> Res<Option<Duration>> {
    let mut bytes = [0; mem::size_of::<libc::timeval>()];
    get_option(fd, libc::SOL_SOCKET, name, &mut bytes)?;
    let half = bytes.len() / 2;
    let secs = control::word(&bytes[..half]);
    let micros = control::word(&bytes[half..]);
    let time = Duration::from_secs(secs) + Duration::from_micros(micros);
    Ok((!time.is_zero()).then_some(time))
}

/// Whether calls on it return at once (`O_NONBLOCK`).
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> Res<bool> {
    // SAFETY: No pointers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    check(flags as isize)?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// Sets or clears `O_NONBLOCK`.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Res<()> {
    // SAFETY: No pointers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    check(flags as isize)?;
    let flags = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: No pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) } as isize).map(drop)
}

/// `shutdown()`.
pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: std::net::Shutdown) -> Res<()> {
    let how = match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: No pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) } as isize).map(drop)
}

/// `sendmsg()`. `control` is what [`control::Builder`] has made. An empty address is none.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    address: &[u8],
    payload: &[u8],
    control: &[u8],
    flags: i32,
) -> Res<()> {
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: All zeros is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    if !address.is_empty() {
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len() as u32;
    }
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len() as _;
    }
    // SAFETY: All that the header points at lives until the call returns, is as long as said, and
    // the kernel only reads it.
    check(unsafe { libc::sendmsg(fd.as_raw_fd(), &header, flags) }).map(drop)
}

/// What `recvmsg()` has returned.
pub(crate) struct Datagram {
    /// `sun_path` of the sender's address, up to its NUL; empty where there is none.
    pub(crate) path: Vec<u8>,
    /// The payload.
    pub(crate) payload: Vec<u8>,
    /// `MSG_TRUNC` and the like.
    pub(crate) flags: i32,
    /// The control messages.
    pub(crate) control: control::Received,
    /// The descriptors that came with it.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Room for all control messages that a message can have: 253 descriptors, a name, a label, and the
/// small ones.
const CONTROL_WORDS: usize = 1024;
/// A payload of at least this length keeps the buffer it was received in; a shorter one is copied
/// out of it.
const KEPT: usize = 65536;

/// What a message is received into.
///
/// The payload's buffer has room for the largest message that there can be, and so truncates none.
/// (To ask for the length first would not do: an urgent message, or another reader, may come
/// between the question and the read.) The memory of it that no message was written to is never
/// touched, and so is not there but in name.
pub(crate) struct Room {
    payload: Vec<u8>,
    control: Box<[u64; CONTROL_WORDS]>,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room {
            payload: Vec::new(),
            control: Box::new([0; CONTROL_WORDS]),
        }
    }

    /// `recvmsg()`.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, flags: i32) -> Res<Datagram> {
        self.payload.clear();
        self.payload.reserve_exact(crate::uapi::KBUS_MSG_SIZE_MAX);
        let mut path = [0u8; PATH_AT + PATH_MAX];
        let spare = self.payload.spare_capacity_mut();
        let mut part = libc::iovec {
            iov_base: spare.as_mut_ptr().cast(),
            iov_len: spare.len(),
        };
        // SAFETY: All zeros is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = path.as_mut_ptr().cast();
        header.msg_namelen = path.len() as u32;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&*self.control) as _;
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: All that the header points at is ours, lives until the call returns, and is as
        // long as said.
        let len = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) })?;
        // SAFETY: The kernel has written that many bytes, of those that were reserved.
        unsafe { self.payload.set_len(len.min(self.payload.capacity())) };
        // Not of this type in each C library.
        #[allow(clippy::unnecessary_cast)]
        let control_len = (header.msg_controllen as usize).min(mem::size_of_val(&*self.control));
        // SAFETY: As many bytes of an array of integers; each bit pattern is a byte.
        let control =
            unsafe { std::slice::from_raw_parts(self.control.as_ptr().cast::<u8>(), control_len) };
        let mut fds = Vec::new();
        let control = control::Received::parse(control, |fd| {
            // SAFETY: The kernel has just opened it for this call, and nobody else knows it.
            fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
        });
        let name = path.get(PATH_AT..(header.msg_namelen as usize).min(path.len()));
        let name = name.unwrap_or_default();
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        Ok(Datagram {
            path: name[..end].to_vec(),
            payload: self.taken(),
            flags: header.msg_flags,
            control,
            fds,
        })
    }

    /// The payload that was received.
    fn taken(&mut self) -> Vec<u8> {
        if self.payload.len() < KEPT {
            return self.payload.clone();
        }
        let mut payload = mem::take(&mut self.payload);
        payload.shrink_to_fit();
        payload
    }
}

/// What [`poll`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Something can be read.
    Read,
    /// A send need not wait.
    Write,
}

/// `poll()` until one of them is ready, or the deadline has come: whether one is.
pub(crate) fn poll<F: AsFd>(
    fds: impl IntoIterator<Item = F>,
    ready: Ready,
    deadline: Option<Instant>,
) -> Res<bool> {
    let events = match ready {
        Ready::Read => libc::POLLIN,
        Ready::Write => libc::POLLOUT,
    };
    let mut all: Vec<libc::pollfd> = fds
        .into_iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_fd().as_raw_fd(),
            events,
            revents: 0,
        })
        .collect();
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let time = left.map(|left| libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: Pointer and length are those of a vector; the time is null or points at one that
        // lives.
        let result = unsafe { libc::ppoll(all.as_mut_ptr(), all.len() as _, time, ptr::null()) };
        match check(result as isize) {
            Err(Errno(libc::EINTR)) => continue,
            result => return Ok(result? > 0),
        }
    }
}

/// Has the reactor of tokio watch a socket.
#[cfg(feature = "tokio")]
pub(crate) fn watched(
    socket: crate::Socket,
) -> io::Result<::tokio::io::unix::AsyncFd<crate::Socket>> {
    // SAFETY: The socket owns its descriptor, which is the same for as long as it lives, and is
    // closed after it.
    let registered = unsafe { ::tokio::io::unix::AsyncFd::register(socket) };
    registered.map_err(io::Error::from)
}
