// SPDX-License-Identifier: GPL-2.0
//! Each kind of call but sends and reads, as system calls.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use kbus_selftests::sys::uapi;

use crate::address;
use crate::address::Context;
use crate::around;
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

const SOL_KBUS: i32 = uapi::SOL_KBUS as i32;

impl Machine {
    /// The descriptor of the socket that a call is about; `None` if it is not open.
    pub fn fd(&self, call: &Call, key: &str) -> Option<i32> {
        let s = self.slot(call, key)?;
        Some(self.fds[s].load(Relaxed)).filter(|fd| *fd >= 0)
    }

    /// Its number.
    pub fn slot(&self, call: &Call, key: &str) -> Option<usize> {
        let s = usize::try_from(call.get(key)).ok()?;
        (s < SOCKETS).then_some(s)
    }

    /// Makes a call; `None` if there is nothing to make it on.
    pub fn perform(&self, call: &Call) -> Option<Ret> {
        Some(match call.op().name {
            "socket" => self.socket(call)?,
            "bind" => {
                let fd = self.fd(call, "s")?;
                let family = self.families[call.get("s") as usize].load(Relaxed) as u16;
                let bytes = address::bus(call.get("bus"), family);
                // SAFETY: The address is readable, or cannot be touched at all.
                ret(unsafe {
                    libc::bind(fd, self.buffers.place(&bytes).cast(), bytes.len() as u32)
                })
            }
            "connect" => {
                let fd = self.fd(call, "s")?;
                let bytes = address::dest(call.get("to"), call.get("name"), &self.context(call))?;
                // SAFETY: As above.
                ret(unsafe {
                    libc::connect(fd, self.buffers.place(&bytes).cast(), bytes.len() as u32)
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
                    libc::setsockopt(fd, libc::SOL_SOCKET, option, value.as_ptr().cast(), len)
                })
            }
            "getsol" => {
                let fd = self.fd(call, "s")?;
                let mut value = [0_u64; 8];
                let (option, mut len) = (call.get("option") as i32, call.get("len") as u32);
                // SAFETY: There are 64 bytes of room.
                let r = ret(unsafe {
                    libc::getsockopt(
                        fd,
                        libc::SOL_SOCKET,
                        option,
                        value.as_mut_ptr().cast(),
                        &mut len,
                    )
                });
                if r.is_ok() && option == 77 && len == 4 {
                    // SAFETY: It is a descriptor that has just come into being.
                    unsafe { libc::close(value[0] as i32) };
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
                ret(unsafe { libc::ioctl(fd, what, value.as_mut_ptr()) })
            }
            "shutdown" => {
                let fd = self.fd(call, "s")?;
                let how = call.get("how");
                if how == 0 || how == 2 {
                    self.state().shut[call.get("s") as usize] = true;
                }
                // SAFETY: Always safe.
                ret(unsafe { libc::shutdown(fd, how as i32) })
            }
            "dup" => self.dup(call)?,
            "close" => self.close(self.slot(call, "s")?)?,
            "getname" => {
                let fd = self.fd(call, "s")?;
                let mut bytes = [0_u64; 16];
                let mut len = call.get("room") as u32;
                let at = bytes.as_mut_ptr().cast();
                // SAFETY: There are 128 bytes of room.
                ret(unsafe {
                    match call.get("peer") {
                        0 => libc::getsockname(fd, at, &mut len),
                        _ => libc::getpeername(fd, at, &mut len),
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
    fn put(&self, s: usize, fd: i32) {
        let old = self.fds[s].swap(fd, Relaxed);
        if old >= 0 {
            // SAFETY: The descriptor is ours, and was taken out of the table.
            unsafe { libc::close(old) };
        }
    }

    fn socket(&self, call: &Call) -> Option<Ret> {
        let s = self.slot(call, "s")?;
        self.close(s);
        let (kbus, protocol) = (uapi::AF_KBUS as i32, uapi::PROTO_KBUS as i32);
        let (unix, datagram) = (libc::AF_UNIX, libc::SOCK_DGRAM);
        let (family, kind, protocol) = match call.get("form") {
            0 => (unix, datagram, protocol),
            1 => (kbus, datagram, 0),
            2 => (kbus, datagram, protocol),
            3 => (kbus, libc::SOCK_STREAM, 0),
            4 => (kbus, libc::SOCK_RAW, 0),
            5 => (kbus, datagram, 7),
            6 => (unix, libc::SOCK_STREAM, protocol),
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
        self.families[s].store(family as u32, Relaxed);
        self.put(s, fd as i32);
        let peer = self.number(fd as i32, uapi::KBUS_PEER_ID);
        let last = self.world.shared.last_peer.fetch_max(peer, Relaxed);
        if self.plain && peer <= last {
            self.find(&format!("{call}: peer id {peer:x} after {last:x}"));
        }
        Some(r)
    }

    /// An option that is a `__u64`; 0 if there is none.
    pub fn number(&self, fd: i32, option: u32) -> u64 {
        let mut value = 0_u64;
        let mut len = 8;
        // SAFETY: There is room for the value and its length.
        unsafe {
            libc::getsockopt(
                fd,
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
        let fd = self.fds[peer].load(Relaxed);
        let peer_id = if fd < 0 {
            0x1234
        } else {
            self.number(fd, uapi::KBUS_PEER_ID)
        };
        let state = self.state();
        let first = |s: usize| state.owed[s].front().map(|(_, from)| from.clone());
        Context {
            family: self.families[s].load(Relaxed) as u16,
            peer: peer_id,
            owed: [
                first(s),
                first(peer),
                state.old[s].as_ref().map(|(_, from)| from.clone()),
            ],
        }
    }

    fn name_option(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let mut name = address::name(call.get("name"));
        let nul = call.get("nul");
        if nul == 1 {
            name.push(0);
        }
        let at = if nul == 2 {
            self.buffers.fault()
        } else {
            name.as_mut_ptr()
        };
        // SAFETY: The name is readable, or cannot be touched at all.
        Some(ret(unsafe {
            libc::setsockopt(
                fd,
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
        let len = match call.get("len") {
            -1 | -2 => own,
            len => len as u32,
        };
        let at = if call.get("len") == -2 {
            self.buffers.fault().cast_const()
        } else {
            value.as_ptr().cast()
        };
        if option == i64::from(uapi::KBUS_IGNORE) {
            // It may be the number of one that is owed.
            self.state().unsure[call.get("s") as usize] = true;
        }
        // SAFETY: There are 16 bytes to be read, or none that can be touched.
        Some(ret(unsafe {
            libc::setsockopt(fd, SOL_KBUS, option as i32, at.cast(), len)
        }))
    }

    fn get(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let option = call.get("option");
        let mut len = call.get("len") as u32;
        let mut bytes = vec![0_u8; 2048];
        if option == i64::from(uapi::KBUS_REPLIER) {
            let name = address::name(call.get("name"));
            bytes[..name.len()].copy_from_slice(&name);
        }
        let at = if call.get("fault") != 0 {
            self.buffers.fault()
        } else {
            bytes.as_mut_ptr()
        };
        // SAFETY: There is more room than any length that is given, or none that can be touched.
        Some(ret(unsafe {
            libc::getsockopt(fd, SOL_KBUS, option as i32, at.cast(), &mut len)
        }))
    }

    fn ignore(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let s = call.get("s") as usize;
        let id = {
            let mut state = self.state();
            match call.get("id") {
                0 => {
                    let owed = state.owed[s].pop_front()?;
                    let id = owed.0;
                    state.old[s] = Some(owed);
                    id
                }
                1 => state.old[s].as_ref()?.0,
                2 => state.last_sent[s],
                _ => 0,
            }
        };
        let value = id.to_ne_bytes();
        // SAFETY: The value is readable.
        let r = ret(unsafe {
            libc::setsockopt(
                fd,
                SOL_KBUS,
                uapi::KBUS_IGNORE as i32,
                value.as_ptr().cast(),
                8,
            )
        });
        Some(r)
    }

    fn poll(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let (events, ms) = (call.get("events"), call.get("ms").clamp(0, 50) as i32);
        if call.get("how") == 0 {
            let mut entry = libc::pollfd {
                fd,
                events: events as i16,
                revents: 0,
            };
            // SAFETY: One entry, and it is ours.
            return Some(ret(unsafe { libc::poll(&mut entry, 1, ms) }));
        }
        let edge = if call.get("how") == 2 {
            libc::EPOLLET as u32
        } else {
            0
        };
        let mut event = libc::epoll_event {
            events: events as u32 | edge,
            u64: 0,
        };
        // SAFETY: The event is a valid place; the descriptor is closed again.
        Some(unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            let mut r = ret(epoll);
            if epoll >= 0 {
                r = ret(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event));
                r = r.and(ret(libc::epoll_wait(epoll, &mut event, 1, ms)));
                libc::close(epoll);
            }
            r
        })
    }

    fn dup(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let (from, to) = (self.slot(call, "s")?, self.slot(call, "to")?);
        if from == to {
            return None;
        }
        self.close(to);
        // SAFETY: Always safe.
        let r = ret(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) });
        if let Ok(fd) = r {
            let family = self.families[from].load(Relaxed);
            self.families[to].store(family, Relaxed);
            self.put(to, fd as i32);
            // Either may read what the other has asked for.
            let mut state = self.state();
            state.unsure[from] = true;
            state.unsure[to] = true;
            state.shut[to] = state.shut[from];
        }
        Some(r)
    }

    fn unsupported(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        // SAFETY: No memory of ours is given away; what comes into being is given back.
        Some(unsafe {
            match call.get("call") {
                0 => ret(libc::listen(fd, 5)),
                1 => ret(libc::accept(fd, ptr::null_mut(), ptr::null_mut())),
                2 => {
                    let at = libc::mmap(
                        ptr::null_mut(),
                        4096,
                        libc::PROT_READ,
                        libc::MAP_SHARED,
                        fd,
                        0,
                    );
                    ret(if at == libc::MAP_FAILED { -1 } else { 0 })
                }
                3 => {
                    let mut pipe = [0; 2];
                    libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK);
                    libc::write(pipe[1], pipe.as_ptr().cast(), 8);
                    let out = ret(libc::splice(
                        pipe[0],
                        ptr::null_mut(),
                        fd,
                        ptr::null_mut(),
                        8,
                        libc::SPLICE_F_NONBLOCK,
                    ) as i64);
                    let inward = libc::splice(
                        fd,
                        ptr::null_mut(),
                        pipe[1],
                        ptr::null_mut(),
                        8,
                        libc::SPLICE_F_NONBLOCK,
                    );
                    // A message may have come out that nobody has looked at.
                    if inward >= 0 {
                        self.state().unsure[call.get("s") as usize] = true;
                    }
                    libc::close(pipe[0]);
                    libc::close(pipe[1]);
                    // Its errors are those of a send, too.
                    return out.ok().map(Ok);
                }
                4 => {
                    let file =
                        libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                    let r = libc::sendfile(fd, file, ptr::null_mut(), 100);
                    libc::close(file);
                    return (r >= 0).then_some(Ok(0));
                }
                5 => ret(libc::lseek(fd, 0, libc::SEEK_SET)),
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
