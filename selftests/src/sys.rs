// SPDX-License-Identifier: GPL-2.0
//! KBUS sockets as a program sees them, well or badly used.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

pub use kbus_uapi as uapi;
use kbus_uapi::kbus_info;
use kbus_uapi::kbus_send;
use kbus_uapi::kbus_via;

/// Bytes of a `sockaddr_un` before its path.
pub const PATH_AT: usize = 2;
/// Bytes of the path of a `sockaddr_un`.
pub const PATH_MAX: usize = 108;

/// An error number, shown by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// The `errno` of the call that failed just now.
    pub fn last() -> Errno {
        Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        macro_rules! names {
            ($($name:ident)*) => {
                match self.0 {
                    $(libc::$name => f.write_str(stringify!($name)),)*
                    n => write!(f, "errno {n}"),
                }
            };
        }
        names!(
            EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADMSG EBUSY ECONNREFUSED
            EDEADLK EDESTADDRREQ EDQUOT EEXIST EFAULT EINTR EINVAL EISCONN EMSGSIZE
            ENAMETOOLONG ENOBUFS ENOENT ENOMEM ENOPROTOOPT ENOTCONN EOPNOTSUPP EPERM EPIPE
            EPROTONOSUPPORT ESOCKTNOSUPPORT
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

/// The result of a system call.
pub type Res<T> = Result<T, Errno>;

fn check(r: isize) -> Res<usize> {
    usize::try_from(r).map_err(|_| Errno::last())
}

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

/// One control message, to be sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmsg {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// What follows the header.
    pub data: Vec<u8>,
}

/// The bytes of a plain structure of the ABI.
fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    let len = mem::size_of::<T>();
    // SAFETY: The structures used here have no padding; the slice is copied.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), len) }.to_vec()
}

/// Reads a structure of the ABI from the first of these bytes.
fn from_bytes<T: Copy + Default>(bytes: &[u8]) -> T {
    let mut value = T::default();
    let len = bytes.len().min(mem::size_of::<T>());
    // SAFETY: Any bytes are valid in the structures used here, `len` fits both.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ptr::from_mut(&mut value).cast(), len) };
    value
}

impl Cmsg {
    /// Any control message of level `SOL_KBUS`.
    pub fn kbus(kind: u32, data: &[u8]) -> Cmsg {
        Cmsg {
            level: uapi::SOL_KBUS as i32,
            kind: kind as i32,
            data: data.to_vec(),
        }
    }

    /// `SCM_KBUS_SEND`.
    pub fn send(flags: u32, reply_max: u32, cookie: u64) -> Cmsg {
        let send = kbus_send {
            flags,
            reply_max,
            cookie,
        };
        Cmsg::kbus(uapi::SCM_KBUS_SEND, &bytes_of(&send))
    }

    /// `SCM_KBUS_NAME`.
    pub fn name(name: &str) -> Cmsg {
        Cmsg::kbus(uapi::SCM_KBUS_NAME, name.as_bytes())
    }

    /// `SCM_KBUS_VIA`.
    pub fn via(via: kbus_via) -> Cmsg {
        Cmsg::kbus(uapi::SCM_KBUS_VIA, &bytes_of(&via))
    }

    /// `SCM_RIGHTS`.
    pub fn rights(fd: RawFd) -> Cmsg {
        Cmsg {
            level: libc::SOL_SOCKET,
            kind: libc::SCM_RIGHTS,
            data: fd.to_ne_bytes().to_vec(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let header = mem::size_of::<libc::cmsghdr>();
        out.extend_from_slice(&(header + self.data.len()).to_ne_bytes());
        out.extend_from_slice(&self.level.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(mem::size_of::<usize>()), 0);
    }
}

/// A message about to be sent with `sendmsg()`.
#[derive(Clone, Debug, Default)]
pub struct Out {
    /// The raw address, if any.
    pub address: Option<Vec<u8>>,
    /// The payload.
    pub data: Vec<u8>,
    /// The ancillary data.
    pub cmsgs: Vec<Cmsg>,
    /// `MSG_*`.
    pub flags: i32,
}

impl Out {
    /// A message to this address.
    pub fn to(address: &str, data: &[u8]) -> Out {
        Out {
            address: Some(message_address(address)),
            ..Out::nowhere(data)
        }
    }

    /// A message without an address.
    pub fn nowhere(data: &[u8]) -> Out {
        Out {
            data: data.to_vec(),
            ..Out::default()
        }
    }

    /// Adds ancillary data.
    pub fn with(mut self, cmsg: Cmsg) -> Out {
        self.cmsgs.push(cmsg);
        self
    }

    /// Adds `MSG_*` flags.
    pub fn flags(mut self, flags: i32) -> Out {
        self.flags |= flags;
        self
    }
}

/// A message as it was received.
#[derive(Clone, Debug, Default)]
pub struct Msg {
    /// The address as text, without its NUL.
    pub from: String,
    /// The address as it came, family first.
    pub raw_from: Vec<u8>,
    /// The payload.
    pub data: Vec<u8>,
    /// What the call returned.
    pub len: usize,
    /// `msg_flags`.
    pub flags: i32,
    /// All ancillary data.
    pub cmsgs: Vec<Cmsg>,
    /// `SCM_KBUS_INFO`, all zeros when there was none.
    pub info: kbus_info,
}

impl Msg {
    /// The ancillary data of this kind, if any.
    pub fn cmsg(&self, level: i32, kind: i32) -> Option<&[u8]> {
        self.cmsgs
            .iter()
            .find(|c| c.level == level && c.kind == kind)
            .map(|c| &c.data[..])
    }

    fn kbus_cmsg(&self, kind: u32) -> Option<&[u8]> {
        self.cmsg(uapi::SOL_KBUS as i32, kind as i32)
    }

    /// Whether an `SCM_KBUS_INFO` came with it.
    pub fn has_info(&self) -> bool {
        self.kbus_cmsg(uapi::SCM_KBUS_INFO).is_some()
    }

    /// The name in `SCM_KBUS_NAME`.
    pub fn long_name(&self) -> Option<String> {
        self.kbus_cmsg(uapi::SCM_KBUS_NAME).map(|b| {
            String::from_utf8_lossy(b)
                .trim_end_matches('\0')
                .to_string()
        })
    }

    /// The structure in `SCM_KBUS_VIA`.
    pub fn via(&self) -> Option<kbus_via> {
        self.kbus_cmsg(uapi::SCM_KBUS_VIA).map(from_bytes)
    }

    /// The name in the address.
    pub fn name(&self) -> &str {
        let end = self.from.find(['@', '#']).unwrap_or(self.from.len());
        &self.from[..end]
    }

    /// Whether these flags are all set.
    pub fn is(&self, flags: u32) -> bool {
        self.info.flags & flags == flags
    }

    /// Whether this is a request that the reader must answer.
    pub fn must_reply(&self) -> bool {
        self.is(uapi::KBUS_REQUEST | uapi::KBUS_YOU_REPLY)
    }
}

/// How to receive.
#[derive(Clone, Copy, Debug)]
pub struct RecvOptions {
    /// Room for the payload.
    pub room: usize,
    /// Room for ancillary data.
    pub control: usize,
    /// `MSG_*`.
    pub flags: i32,
}

impl Default for RecvOptions {
    fn default() -> Self {
        RecvOptions {
            room: 1 << 17,
            control: 4096,
            flags: libc::MSG_DONTWAIT,
        }
    }
}

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

    /// `setsockopt()` on any level.
    pub fn set_at(&self, level: i32, option: i32, value: &[u8]) -> Res<()> {
        // SAFETY: Pointer and length are those of a slice.
        let r = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                option,
                value.as_ptr().cast(),
                value.len() as u32,
            )
        };
        check(r as isize).map(drop)
    }

    /// `getsockopt()` on any level; `value` goes in and what came back is returned.
    pub fn get_at(&self, level: i32, option: i32, value: &[u8]) -> Res<Vec<u8>> {
        let mut value = value.to_vec();
        let mut len = value.len() as u32;
        // SAFETY: Pointer and length are those of a vector.
        let r = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                level,
                option,
                value.as_mut_ptr().cast(),
                &mut len,
            )
        };
        check(r as isize)?;
        value.truncate(len as usize);
        Ok(value)
    }

    /// Sets a KBUS option to these bytes.
    pub fn set(&self, option: u32, value: &[u8]) -> Res<()> {
        self.set_at(uapi::SOL_KBUS as i32, option as i32, value)
    }

    /// Sets a KBUS option of 32 bits.
    pub fn set_u32(&self, option: u32, value: u32) -> Res<()> {
        self.set(option, &value.to_ne_bytes())
    }

    /// Sets a KBUS option of 64 bits.
    pub fn set_u64(&self, option: u32, value: u64) -> Res<()> {
        self.set(option, &value.to_ne_bytes())
    }

    /// Reads a KBUS option into a buffer of `len` zeros.
    pub fn get(&self, option: u32, len: usize) -> Res<Vec<u8>> {
        self.get_at(uapi::SOL_KBUS as i32, option as i32, &vec![0; len])
    }

    /// Reads a KBUS option of 32 bits.
    pub fn get_u32(&self, option: u32) -> Res<u32> {
        let bytes = self.get(option, 4)?;
        Ok(u32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
    }

    /// Reads a KBUS option of 64 bits.
    pub fn get_u64(&self, option: u32) -> Res<u64> {
        let bytes = self.get(option, 8)?;
        Ok(u64::from_ne_bytes(bytes.try_into().expect("8 bytes")))
    }

    /// Sets an `int` option of level `SOL_SOCKET`.
    pub fn set_socket(&self, option: i32, value: i32) -> Res<()> {
        self.set_at(libc::SOL_SOCKET, option, &value.to_ne_bytes())
    }

    /// Reads an `int` option of level `SOL_SOCKET`.
    pub fn get_socket(&self, option: i32) -> Res<i32> {
        let bytes = self.get_at(libc::SOL_SOCKET, option, &[0; 4])?;
        Ok(i32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
    }

    /// Listens to a name.
    pub fn listen(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_LISTEN, name.as_bytes())
    }

    /// Undoes one [`Sock::listen`].
    pub fn unlisten(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_UNLISTEN, name.as_bytes())
    }

    /// Becomes the replier for a name.
    pub fn replier(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_REPLIER, name.as_bytes())
    }

    /// Stops being it.
    pub fn unreplier(&self, name: &str) -> Res<()> {
        self.set(uapi::KBUS_UNREPLIER, name.as_bytes())
    }

    /// Gives up a request.
    pub fn ignore(&self, id: u64) -> Res<()> {
        self.set_u64(uapi::KBUS_IGNORE, id)
    }

    /// Who would answer a request to this name, 0 for nobody.
    pub fn who_replies(&self, name: &str) -> Res<u64> {
        let mut buffer = name.as_bytes().to_vec();
        buffer.resize(name.len().max(8) + 1, 0);
        let level = uapi::SOL_KBUS as i32;
        let got = self.get_at(level, uapi::KBUS_REPLIER as i32, &buffer)?;
        Ok(u64::from_ne_bytes(
            got[..8].try_into().expect("at least 8 bytes"),
        ))
    }

    /// This socket's peer id.
    pub fn peer_id(&self) -> u64 {
        self.get_u64(uapi::KBUS_PEER_ID).expect("KBUS_PEER_ID")
    }

    /// The id of the last successful send.
    pub fn last_sent(&self) -> u64 {
        self.get_u64(uapi::KBUS_LAST_SENT).expect("KBUS_LAST_SENT")
    }

    /// The address from which others receive this socket's messages of a name.
    pub fn sends_from(&self, name: &str) -> String {
        format!("{name}@{:x}", self.peer_id())
    }

    /// How many messages wait.
    pub fn unread(&self) -> u32 {
        self.get_u32(uapi::KBUS_UNREAD).expect("KBUS_UNREAD")
    }

    /// How many requests were read and not answered.
    pub fn unreplied(&self) -> u32 {
        self.get_u32(uapi::KBUS_UNREPLIED).expect("KBUS_UNREPLIED")
    }

    /// Length of the next message, -1 for none.
    pub fn next_len(&self) -> i64 {
        self.get_u64(uapi::KBUS_NEXT_LEN).expect("KBUS_NEXT_LEN") as i64
    }

    /// `sendto()`.
    pub fn send_to(&self, address: &str, data: &[u8]) -> Res<usize> {
        self.send_raw(&message_address(address), data, 0)
    }

    /// `sendto()` with these very bytes as the address.
    pub fn send_raw(&self, address: &[u8], data: &[u8], flags: i32) -> Res<usize> {
        // SAFETY: Pointers and lengths are those of slices.
        check(unsafe {
            libc::sendto(
                self.as_raw_fd(),
                data.as_ptr().cast(),
                data.len(),
                flags,
                address.as_ptr().cast(),
                address.len() as u32,
            )
        })
    }

    /// `send()`: to the default address.
    pub fn send(&self, data: &[u8]) -> Res<usize> {
        // SAFETY: Pointer and length are those of a slice.
        check(unsafe { libc::send(self.as_raw_fd(), data.as_ptr().cast(), data.len(), 0) })
    }

    /// `sendmsg()`.
    pub fn send_msg(&self, out: &Out) -> Res<usize> {
        let mut control = Vec::new();
        for cmsg in &out.cmsgs {
            cmsg.encode(&mut control);
        }
        self.send_msg_raw(out, &control)
    }

    /// `sendmsg()` with these very bytes as the control buffer.
    pub fn send_msg_raw(&self, out: &Out, control: &[u8]) -> Res<usize> {
        let mut iov = libc::iovec {
            iov_base: out.data.as_ptr().cast_mut().cast(),
            iov_len: out.data.len(),
        };
        // SAFETY: All zeros is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        if let Some(address) = &out.address {
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len() as u32;
        }
        header.msg_iov = &mut iov;
        header.msg_iovlen = 1;
        if !control.is_empty() {
            header.msg_control = control.as_ptr().cast_mut().cast();
            header.msg_controllen = control.len();
        }
        // SAFETY: Everything the header points at lives until the call returns,
        // and the kernel only reads it.
        check(unsafe { libc::sendmsg(self.as_raw_fd(), &header, out.flags) })
    }

    /// Sends a request and returns its id.
    pub fn request(&self, address: &str, data: &[u8]) -> Res<u64> {
        self.request_with(address, data, 0, 0)
    }

    /// Sends a request with a room for the reply and a cookie.
    pub fn request_with(
        &self,
        address: &str,
        data: &[u8],
        reply_max: u32,
        cookie: u64,
    ) -> Res<u64> {
        let cmsg = Cmsg::send(uapi::KBUS_REQUEST, reply_max, cookie);
        self.send_msg(&Out::to(address, data).with(cmsg))?;
        Ok(self.last_sent())
    }

    /// Answers a request: sends to the address it came from.
    pub fn reply(&self, request: &Msg, data: &[u8]) -> Res<usize> {
        self.send_raw(&request.raw_from, data, 0)
    }

    /// Receives what is there; `EAGAIN` if nothing is.
    ///
    /// A send has put its message into every queue before it returns, so a
    /// test in one process never has to wait.
    pub fn recv(&self) -> Res<Msg> {
        self.recv_with(RecvOptions::default())
    }

    /// Receives, and waits for it.
    pub fn recv_wait(&self) -> Res<Msg> {
        self.recv_with(RecvOptions {
            flags: 0,
            ..RecvOptions::default()
        })
    }

    /// Looks at the next message and leaves it there.
    pub fn peek(&self) -> Res<Msg> {
        self.recv_with(RecvOptions {
            flags: libc::MSG_DONTWAIT | libc::MSG_PEEK,
            ..RecvOptions::default()
        })
    }

    /// `recvmsg()` in detail.
    pub fn recv_with(&self, options: RecvOptions) -> Res<Msg> {
        let mut data = vec![0_u8; options.room];
        let mut address = [0_u8; PATH_AT + PATH_MAX + 2];
        let mut control = vec![0_u64; options.control.div_ceil(8)];
        let mut iov = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        // SAFETY: All zeros is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = address.as_mut_ptr().cast();
        header.msg_namelen = address.len() as u32;
        header.msg_iov = &mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = options.control;
        // SAFETY: Everything the header points at is ours, and as long as said.
        let len = check(unsafe { libc::recvmsg(self.as_raw_fd(), &mut header, options.flags) })?;
        data.truncate(len.min(options.room));
        let raw_from = address[..(header.msg_namelen as usize).min(address.len())].to_vec();
        let path = raw_from.get(PATH_AT..).unwrap_or(&[]);
        let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
        let from = String::from_utf8_lossy(&path[..end]).into_owned();
        let mut cmsgs = Vec::new();
        // SAFETY: The kernel has filled in the control buffer and its length; the
        // macros stay inside it.
        unsafe {
            let mut at = libc::CMSG_FIRSTHDR(&header);
            while !at.is_null() {
                let len = (*at).cmsg_len - libc::CMSG_LEN(0) as usize;
                let bytes = std::slice::from_raw_parts(libc::CMSG_DATA(at), len);
                cmsgs.push(Cmsg {
                    level: (*at).cmsg_level,
                    kind: (*at).cmsg_type,
                    data: bytes.to_vec(),
                });
                at = libc::CMSG_NXTHDR(&header, at);
            }
        }
        let mut msg = Msg {
            from,
            raw_from,
            data,
            len,
            flags: header.msg_flags,
            cmsgs,
            info: kbus_info::default(),
        };
        if let Some(info) = msg.kbus_cmsg(uapi::SCM_KBUS_INFO) {
            msg.info = from_bytes(info);
        }
        Ok(msg)
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

    /// What `FIONREAD` says.
    pub fn fionread(&self) -> Res<i32> {
        let mut value = -1;
        // SAFETY: `value` is a valid place for the result.
        let r = unsafe { libc::ioctl(self.as_raw_fd(), libc::FIONREAD, &mut value) };
        check(r as isize).map(|_| value)
    }

    /// The state of the bus.
    pub fn bus_info(&self) -> Res<uapi::kbus_bus_info> {
        let len = mem::size_of::<uapi::kbus_bus_info>();
        Ok(from_bytes(&self.get(uapi::KBUS_BUS_INFO, len)?))
    }
}
