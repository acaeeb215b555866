// SPDX-License-Identifier: GPL-2.0
//! Each kind of call but sends and reads, as system calls.

use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use kbus_selftests::sys::uapi;

use crate::address;
use crate::address::Context;
use crate::around;
use crate::machine::Fd;
use crate::machine::Machine;
use crate::program::Call;
use crate::words::SOCKETS;

/// What a call returned: a number or an errno.
pub type Ret = Result<i64, i32>;

/// The result of a system call that libc reports.
pub fn ret(r: impl Into<i64>) -> Ret {
    match r.into() {
        // SAFETY: It is this thread's.
        -1 => Err(unsafe { *libc::__errno_location() }),
        r => Ok(r),
    }
}

/// A descriptor that has just come into being.
pub fn new(number: i32) -> Fd {
    // SAFETY: It is nobody else's.
    Arc::new(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `KBUS_IGNORE`.
pub fn give_up(fd: &Fd, id: u64) -> Ret {
    let (at, len) = ((&raw const id).cast(), size_of::<u64>() as u32);
    // SAFETY: The id is readable.
    ret(unsafe { libc::setsockopt(fd.as_raw_fd(), SOL_KBUS, uapi::KBUS_IGNORE as i32, at, len) })
}

/// The level of our options and control messages.
pub const SOL_KBUS: i32 = uapi::SOL_KBUS as i32;

impl Machine {
    /// The descriptor of the socket that a call is about; `None` if it is not open.
    pub fn fd(&self, call: &Call, key: &str) -> Option<Fd> {
        self.open(call.socket(key)?)
    }

    /// Makes a call; `None` if there is nothing to make it on.
    pub fn perform(&self, call: &Call) -> Option<Ret> {
        Some(match call.op().name {
            "socket" => self.socket(call)?,
            "bind" => {
                let fd = self.fd(call, "s")?;
                let family = self.state().slots[call.get("s") as usize].family;
                let bytes = address::bus(call.word("bus"), family);
                // SAFETY: The address is readable, or cannot be touched at all.
                ret(unsafe {
                    libc::bind(
                        fd.as_raw_fd(),
                        self.buffers.place(&bytes).cast(),
                        bytes.len() as u32,
                    )
                })
            }
            "connect" => {
                let fd = self.fd(call, "s")?;
                let bytes = address::dest(call.word("to"), call.word("name"), &self.context(call))?;
                // SAFETY: As above.
                ret(unsafe {
                    libc::connect(
                        fd.as_raw_fd(),
                        self.buffers.place(&bytes).cast(),
                        bytes.len() as u32,
                    )
                })
            }
            "name" => self.name_option(call)?,
            "set" => self.set(call)?,
            "get" => self.get(call)?,
            "ignore" => self.ignore(call)?,
            "setsol" => {
                let fd = self.fd(call, "s")?;
                let value = [call.get("value"), call.get("value") >> 1];
                let (option, len) = (call.get("option") as i32, call.get("len") as u32);
                // SAFETY: There are 16 bytes to be read.
                ret(unsafe {
                    libc::setsockopt(
                        fd.as_raw_fd(),
                        libc::SOL_SOCKET,
                        option,
                        value.as_ptr().cast(),
                        len,
                    )
                })
            }
            "getsol" => {
                let fd = self.fd(call, "s")?;
                let mut value = [0_u64; 8];
                let (option, mut len) = (call.get("option") as i32, call.get("len") as u32);
                // SAFETY: There are 64 bytes of room.
                let r = ret(unsafe {
                    libc::getsockopt(
                        fd.as_raw_fd(),
                        libc::SOL_SOCKET,
                        option,
                        value.as_mut_ptr().cast(),
                        &mut len,
                    )
                });
                if r.is_ok() && call.word("option") == "SO_PEERPIDFD" && len == 4 {
                    drop(new(value[0] as i32));
                }
                r
            }
            "send" => self.send(call)?,
            "recv" => self.recv(call)?,
            "poll" => self.poll(call)?,
            "ioctl" => {
                let fd = self.fd(call, "s")?;
                let mut value = [call.get("value"); 8];
                let what = call.get("what") as libc::c_ulong;
                // SAFETY: There is room for what these commands write.
                ret(unsafe { libc::ioctl(fd.as_raw_fd(), what, value.as_mut_ptr()) })
            }
            "shutdown" => {
                let fd = self.fd(call, "s")?;
                let how = call.get("how");
                if how == 0 || how == 2 {
                    self.state().slots[call.get("s") as usize].shut = true;
                }
                // SAFETY: Always safe.
                ret(unsafe { libc::shutdown(fd.as_raw_fd(), how as i32) })
            }
            "dup" => self.dup(call)?,
            "close" => self.close(call.socket("s")?)?,
            "getname" => {
                let fd = self.fd(call, "s")?;
                let mut bytes = [0_u64; 16];
                let mut len = call.get("room") as u32;
                let at = bytes.as_mut_ptr().cast();
                // SAFETY: There are 128 bytes of room.
                ret(unsafe {
                    match call.get("peer") {
                        0 => libc::getsockname(fd.as_raw_fd(), at, &mut len),
                        _ => libc::getpeername(fd.as_raw_fd(), at, &mut len),
                    }
                })
            }
            "unsupported" => self.unsupported(call)?,
            "user" => around::user(call),
            "namespace" => self.namespace(call),
            "sysctl" => around::sysctl(call),
            "proc" => self.proc(call)?,
            "path" => around::path(call)?,
            "memory" => self.memory(call)?,
            "sandbox" => around::sandbox(call),
            _ => {
                std::thread::sleep(std::time::Duration::from_millis(
                    call.get("ms").clamp(0, 50) as u64,
                ));
                Ok(0)
            }
        })
    }

    /// Takes up a socket; what another thread has put there meanwhile is closed.
    fn put(&self, s: usize, fd: &Fd, family: u16) {
        let mut state = self.state();
        state.slots[s].family = family;
        let old = state.slots[s].fd.replace(fd.clone());
        drop(state);
        drop(old);
    }

    fn socket(&self, call: &Call) -> Option<Ret> {
        let s = call.socket("s")?;
        self.close(s);
        let (kbus, protocol) = (uapi::AF_KBUS as i32, uapi::PROTO_KBUS as i32);
        let (unix, datagram) = (libc::AF_UNIX, libc::SOCK_DGRAM);
        let (family, kind, protocol) = match call.word("form") {
            "literal" => (unix, datagram, protocol),
            "family" => (kbus, datagram, 0),
            "named" => (kbus, datagram, protocol),
            "stream" => (kbus, libc::SOCK_STREAM, 0),
            "raw" => (kbus, libc::SOCK_RAW, 0),
            "protocol" => (kbus, datagram, 7),
            "literal-stream" => (unix, libc::SOCK_STREAM, protocol),
            _ => (unix, libc::SOCK_RAW, protocol),
        };
        let nonblock = if call.get("nonblock") != 0 {
            libc::SOCK_NONBLOCK
        } else {
            0
        };
        // SAFETY: Always safe.
        let r =
            ret(unsafe { libc::socket(family, kind | nonblock | libc::SOCK_CLOEXEC, protocol) });
        let Ok(fd) = r else {
            return Some(r);
        };
        let fd = new(fd as i32);
        self.put(s, &fd, family as u16);
        let peer = self.number(&fd, uapi::KBUS_PEER_ID);
        let last = self.world.shared.last_peer.fetch_max(peer, Relaxed);
        if self.plain && peer <= last {
            self.find(&format!("{call}: peer id {peer:x} after {last:x}"));
        }
        Some(r)
    }

    /// An option that is a `__u64`; 0 if there is none.
    pub fn number(&self, fd: &Fd, option: u32) -> u64 {
        let mut value = 0_u64;
        let mut len = 8;
        // SAFETY: There is room for the value and its length.
        unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                SOL_KBUS,
                option as i32,
                (&raw mut value).cast(),
                &mut len,
            )
        };
        value
    }

    /// What the address of a message may speak of.
    pub fn context(&self, call: &Call) -> Context {
        let (s, peer) = (call.get("s") as usize, call.get("peer") as usize % SOCKETS);
        let peer_id = self
            .open(peer)
            .map_or(0x1234, |fd| self.number(&fd, uapi::KBUS_PEER_ID));
        let slots = &self.state().slots;
        let first = |s: usize| slots[s].owed.front().map(|(_, from)| from.clone());
        Context {
            family: slots[s].family,
            peer: peer_id,
            owed: [
                first(s),
                first(peer),
                slots[s].old.as_ref().map(|(_, from)| from.clone()),
            ],
        }
    }

    fn name_option(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let mut name = address::name(call.word("name"));
        let nul = call.word("nul");
        if nul == "1" {
            name.push(0);
        }
        let at = if nul == "fault" {
            self.buffers.fault()
        } else {
            name.as_mut_ptr()
        };
        // SAFETY: The name is readable, or cannot be touched at all.
        Some(ret(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                SOL_KBUS,
                call.get("option") as i32,
                at.cast(),
                name.len() as u32,
            )
        }))
    }

    fn set(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let option = call.get("option");
        let value = [call.get("value"), 0];
        let own = if [uapi::KBUS_BUS_BYTES, uapi::KBUS_IGNORE].contains(&(option as u32)) {
            8
        } else {
            4
        };
        let len = match call.word("len") {
            "own" | "fault" => own,
            _ => call.get("len") as u32,
        };
        let at = if call.word("len") == "fault" {
            self.buffers.fault().cast_const()
        } else {
            value.as_ptr().cast()
        };
        if option == i64::from(uapi::KBUS_IGNORE) {
            // It may be the number of one that is owed.
            self.state().slots[call.get("s") as usize].unsure = true;
        }
        // SAFETY: There are 16 bytes to be read, or none that can be touched.
        Some(ret(unsafe {
            libc::setsockopt(fd.as_raw_fd(), SOL_KBUS, option as i32, at.cast(), len)
        }))
    }

    fn get(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let option = call.get("option");
        let mut len = call.get("len") as u32;
        let mut bytes = vec![0_u8; 2048];
        if option == i64::from(uapi::KBUS_REPLIER) {
            let name = address::name(call.word("name"));
            bytes[..name.len()].copy_from_slice(&name);
        }
        let at = if call.get("fault") != 0 {
            self.buffers.fault()
        } else {
            bytes.as_mut_ptr()
        };
        // SAFETY: There is more room than any length that is given, or none that can be touched.
        Some(ret(unsafe {
            libc::getsockopt(fd.as_raw_fd(), SOL_KBUS, option as i32, at.cast(), &mut len)
        }))
    }

    fn ignore(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let s = call.get("s") as usize;
        let id = {
            let slot = &mut self.state().slots[s];
            match call.word("id") {
                "owed" => {
                    let owed = slot.owed.pop_front()?;
                    let id = owed.0;
                    slot.old = Some(owed);
                    id
                }
                "old" => slot.old.as_ref()?.0,
                "last" => slot.last_sent,
                _ => 0,
            }
        };
        Some(give_up(&fd, id))
    }

    fn poll(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let (events, ms) = (call.get("events"), call.get("ms").clamp(0, 50) as i32);
        if call.word("how") == "poll" {
            let mut entry = libc::pollfd {
                fd: fd.as_raw_fd(),
                events: events as i16,
                revents: 0,
            };
            // SAFETY: One entry, and it is ours.
            return Some(ret(unsafe { libc::poll(&mut entry, 1, ms) }));
        }
        let edge = if call.word("how") == "edge" {
            libc::EPOLLET as u32
        } else {
            0
        };
        let mut event = libc::epoll_event {
            events: events as u32 | edge,
            u64: 0,
        };
        // SAFETY: Always safe.
        let epoll = match ret(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }) {
            Ok(epoll) => new(epoll as i32),
            Err(errno) => return Some(Err(errno)),
        };
        let (set, sock, add) = (epoll.as_raw_fd(), fd.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: The event is a valid place.
        Some(unsafe {
            ret(libc::epoll_ctl(set, add, sock, &mut event))
                .and(ret(libc::epoll_wait(set, &mut event, 1, ms)))
        })
    }

    fn dup(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let (from, to) = (call.socket("s")?, call.socket("to")?);
        if from == to {
            return None;
        }
        self.close(to);
        // SAFETY: Always safe.
        let r = ret(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) });
        if let Ok(fd) = r {
            let family = self.state().slots[from].family;
            self.put(to, &new(fd as i32), family);
            // Either may read what the other has asked for.
            let slots = &mut self.state().slots;
            slots[from].unsure = true;
            slots[to].unsure = true;
            slots[to].shut = slots[from].shut;
        }
        Some(r)
    }

    fn unsupported(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        // SAFETY: No memory of ours is given away; what comes into being is given back.
        Some(unsafe {
            match call.word("call") {
                "listen" => ret(libc::listen(fd.as_raw_fd(), 5)),
                "accept" => ret(libc::accept(
                    fd.as_raw_fd(),
                    ptr::null_mut(),
                    ptr::null_mut(),
                )),
                "mmap" => {
                    let at = libc::mmap(
                        ptr::null_mut(),
                        4096,
                        libc::PROT_READ,
                        libc::MAP_SHARED,
                        fd.as_raw_fd(),
                        0,
                    );
                    ret(if at == libc::MAP_FAILED { -1 } else { 0 })
                }
                "splice" => {
                    let mut pipe = [0; 2];
                    ret(libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK)).ok()?;
                    libc::write(pipe[1], pipe.as_ptr().cast(), 8);
                    let out = ret(libc::splice(
                        pipe[0],
                        ptr::null_mut(),
                        fd.as_raw_fd(),
                        ptr::null_mut(),
                        8,
                        libc::SPLICE_F_NONBLOCK,
                    ) as i64);
                    let inward = libc::splice(
                        fd.as_raw_fd(),
                        ptr::null_mut(),
                        pipe[1],
                        ptr::null_mut(),
                        8,
                        libc::SPLICE_F_NONBLOCK,
                    );
                    // A message may have come out that nobody has looked at.
                    if inward >= 0 {
                        self.state().slots[call.get("s") as usize].unsure = true;
                    }
                    libc::close(pipe[0]);
                    libc::close(pipe[1]);
                    // Its errors are those of a send, too.
                    return out.ok().map(Ok);
                }
                "sendfile" => {
                    let file =
                        libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                    let r = libc::sendfile(fd.as_raw_fd(), file, ptr::null_mut(), 100);
                    libc::close(file);
                    return (r >= 0).then_some(Ok(0));
                }
                "lseek" => ret(libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET)),
                _ => {
                    let mut pair = [0; 2];
                    ret(libc::socketpair(
                        uapi::AF_KBUS as i32,
                        libc::SOCK_DGRAM,
                        0,
                        pair.as_mut_ptr(),
                    ))
                }
            }
        })
    }
}
