// SPDX-License-Identifier: GPL-2.0
//! Sends and reads, whole and faulty, and what is learnt from what was read.

use std::mem;
use std::os::fd::AsRawFd;

use kbus_selftests::sys::uapi;
use kbus_uapi::kbus_info;

use crate::address;
use crate::machine::Fd;
use crate::machine::Machine;
use crate::perform::new;
use crate::perform::ret;
use crate::perform::Ret;
use crate::perform::SOL_KBUS;
use crate::program::Call;

/// Adds a control message; `len` is what its header says, beyond the header's own length.
fn push(control: &mut Vec<u8>, level: i32, kind: i32, data: &[u8], len: usize) {
    control.extend_from_slice(&(16 + len).to_ne_bytes());
    control.extend_from_slice(&level.to_ne_bytes());
    control.extend_from_slice(&kind.to_ne_bytes());
    control.extend_from_slice(data);
    control.resize(control.len().next_multiple_of(8), 0);
}

/// Buffers of a message in the pieces that a shape asks for.
fn pieces(machine: &Machine, shape: &str, len: usize) -> Vec<libc::iovec> {
    let at = machine.buffers.whole();
    let piece = |at: *mut u8, len: usize| libc::iovec {
        iov_base: at.cast(),
        iov_len: len,
    };
    match shape {
        "pieces" => vec![
            piece(at, len / 3),
            piece(at, 0),
            piece(at.wrapping_add(len / 3), len - len / 3),
        ],
        "none" => Vec::new(),
        "fault" => vec![piece(machine.buffers.fault(), len)],
        "half-fault" => vec![piece(machine.buffers.half_fault(len), len)],
        _ => vec![piece(at, len)],
    }
}

impl Machine {
    /// The control data of a send, and what must stay open until it is done.
    fn control(&self, call: &Call, cookie: u64) -> (Vec<u8>, Vec<Fd>) {
        let with = |word: &str| call.has("with", word);
        let (flags, max) = (call.get("flags") as u32, call.get("max") as u32);
        let mut control = Vec::new();
        let mut add = |wanted: bool, level: i32, kind: u32, mut data: Vec<u8>| {
            if !wanted {
                return;
            }
            if with("short") {
                data.truncate(data.len() / 2);
            }
            if with("zeroes") {
                data.extend_from_slice(&[0; 8]);
            }
            if with("trail") {
                data.push(1);
            }
            let len = if with("bad-len") { 9999 } else { data.len() };
            push(&mut control, level, kind as i32, &data, len);
            if with("twice") {
                push(&mut control, level, kind as i32, &data, data.len());
            }
        };
        let send = [flags.to_ne_bytes(), max.to_ne_bytes()].concat();
        add(
            with("send") || flags != 0 || max != 0,
            SOL_KBUS,
            uapi::SCM_KBUS_SEND,
            [send, cookie.to_ne_bytes().to_vec()].concat(),
        );
        let name = address::name(call.word("name"));
        add(with("name"), SOL_KBUS, uapi::SCM_KBUS_NAME, name);
        add(with("via"), SOL_KBUS, uapi::SCM_KBUS_VIA, vec![7; 32]);
        let (files, held) = if with("rights") {
            self.files(call.word("files"))
        } else {
            Default::default()
        };
        let bytes = files.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        let (sol, rights, cred) = (libc::SOL_SOCKET, libc::SCM_RIGHTS, libc::SCM_CREDENTIALS);
        add(with("rights"), sol, rights as u32, bytes);
        // SAFETY: Always safe.
        let ids = unsafe { [libc::getpid(), libc::getuid() as i32, libc::getgid() as i32] };
        let ids = if with("wrong-cred") {
            [1, 4711, -1]
        } else {
            ids
        };
        let ids = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        add(with("cred"), sol, cred as u32, ids);
        add(with("unknown"), SOL_KBUS, 99, vec![0; 8]);
        (control, held)
    }

    /// Numbers to be passed, and what must stay open for them: those beside the pipe's and sockets' are made for it.
    fn files(&self, which: &str) -> (Vec<i32>, Vec<Fd>) {
        let pipe = self.pipe[1];
        // SAFETY: The sizes are those of what is pointed to.
        let number = unsafe {
            match which {
                "pipe" => return (vec![pipe], Vec::new()),
                "null" => libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC),
                "three" => return (vec![pipe, pipe, pipe], Vec::new()),
                "none" => return Default::default(),
                "kbus" => {
                    let both = [self.open(0), self.open(1)];
                    let number = |fd: &Option<Fd>| fd.as_ref().map_or(-1, |fd| fd.as_raw_fd());
                    return (
                        both.iter().map(number).collect(),
                        both.into_iter().flatten().collect(),
                    );
                }
                "unix" => libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0),
                "epoll" => libc::epoll_create1(0),
                "io_uring" => {
                    let mut params = [0_u64; 15];
                    libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) as i32
                }
                "closed" => return (vec![pipe, -1], Vec::new()),
                "path" => libc::open(c"/tmp".as_ptr(), libc::O_PATH | libc::O_CLOEXEC),
                "many" => return (vec![pipe; 253], Vec::new()),
                _ => return (vec![pipe; 254], Vec::new()),
            }
        };
        let made = (number >= 0).then(|| new(number));
        (vec![number], made.into_iter().collect())
    }

    /// `sendmsg()` and its likes.
    pub fn send(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let mut result = Ok(0);
        for _ in 0..call.get("times").clamp(1, 200) {
            result = self.send_once(call, &fd);
            if result.is_err() {
                break;
            }
        }
        Some(result)
    }

    fn send_once(&self, call: &Call, sock: &Fd) -> Ret {
        let fd = sock.as_raw_fd();
        let s = call.get("s") as usize;
        let (to, shape, how) = (call.word("to"), call.word("shape"), call.word("how"));
        let context = self.context(call);
        let reply = context.owed[0].clone();
        let name = match shape {
            "no-name" => None,
            "name-fault" => Some(address::FAULT.to_vec()),
            _ => address::dest(to, call.word("name"), &context),
        };
        let cookie = {
            let mut state = self.state();
            state.cookie += 1;
            state.cookie
        };
        let (control, held) = self.control(call, cookie);
        let len = call.get("len").clamp(0, (1 << 24) + 1) as usize;
        let mut iov = pieces(self, shape, len);
        let flags = call.get("msg") as i32;
        let (name_at, name_len) = match &name {
            Some(bytes) => (self.buffers.place(bytes), bytes.len() as u32),
            None => (std::ptr::null(), 0),
        };
        // SAFETY: All zeroes are a valid header. What it points at lives until the calls return, or cannot be touched.
        let result = unsafe {
            let mut header: libc::msghdr = mem::zeroed();
            header.msg_name = name_at.cast_mut().cast();
            header.msg_namelen = name_len;
            header.msg_iov = iov.as_mut_ptr();
            header.msg_iovlen = iov.len();
            if !control.is_empty() {
                header.msg_control = match shape {
                    "control-fault" => self.buffers.fault().cast(),
                    _ => control.as_ptr().cast_mut().cast(),
                };
                header.msg_controllen = control.len();
            }
            match how {
                "msg" => ret(libc::sendmsg(fd, &header, flags) as i64),
                "to" => ret(libc::sendto(
                    fd,
                    self.buffers.whole().cast(),
                    len,
                    flags,
                    name_at.cast(),
                    name_len,
                ) as i64),
                "plain" => ret(libc::write(fd, self.buffers.whole().cast(), len) as i64),
                _ => {
                    // The second one has no control data, and so no cookie.
                    let mut second = header;
                    second.msg_control = std::ptr::null_mut();
                    second.msg_controllen = 0;
                    let one = |header| libc::mmsghdr {
                        msg_hdr: header,
                        msg_len: 0,
                    };
                    let mut both = [one(header), one(second)];
                    ret(libc::sendmmsg(fd, both.as_mut_ptr(), 2, flags))
                }
            }
        };
        drop(held);
        let last = self.number(sock, uapi::KBUS_LAST_SENT);
        let mut state = self.state();
        let slot = &mut state.slots[s];
        let reply = reply.and_then(|from| slot.owed.iter().position(|(_, owed)| *owed == from));
        let is_reply = ["reply", "bare-reply", "misnamed-reply"].contains(&to);
        match result {
            Ok(_) => {
                let asks = call.has("flags", "REQUEST") && (how == "msg" || how == "mmsg");
                let before = mem::replace(&mut slot.last_sent, last);
                if asks && !is_reply {
                    state.asked.push((cookie, s));
                } else if let Some(at) = reply.filter(|_| is_reply && how != "plain") {
                    slot.old = slot.owed.remove(at);
                }
                drop(state);
                if self.plain && last <= before {
                    self.find(&format!(
                        "{call}: message {last:x} after {before:x} of the same socket"
                    ));
                }
            }
            Err(libc::EADDRNOTAVAIL | libc::ECONNREFUSED) if is_reply => {
                if let Some(at) = reply {
                    slot.owed.remove(at);
                }
            }
            Err(_) => {}
        }
        result
    }

    /// `recvmsg()` and its likes.
    pub fn recv(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s")?;
        let mut result = Ok(0);
        for _ in 0..call.get("times").clamp(1, 200) {
            result = self.recv_once(call, &fd);
            if result.is_err() {
                break;
            }
        }
        Some(result)
    }

    fn recv_once(&self, call: &Call, sock: &Fd) -> Ret {
        let fd = sock.as_raw_fd();
        let s = call.get("s") as usize;
        let (shape, how) = (call.word("shape"), call.word("how"));
        let room = (call.get("room").clamp(0, 1 << 20)) as usize;
        let control_len = (call.get("control").clamp(0, 4096)) as usize;
        let mut iov = pieces(self, shape, room);
        let (mut names, mut controls) = ([[0_u8; 128]; 2], [[0_u64; 512]; 2]);
        let flags = call.get("msg") as i32;
        let peek = flags & libc::MSG_PEEK != 0;
        // SAFETY: All zeroes are valid headers. What they point at lives until the calls return and is as long as said, or
        // cannot be touched.
        let (result, headers) = unsafe {
            let mut both: [libc::mmsghdr; 2] = mem::zeroed();
            for (n, entry) in both.iter_mut().enumerate() {
                let header = &mut entry.msg_hdr;
                if shape != "no-name" {
                    header.msg_name = match shape {
                        "name-fault" => self.buffers.fault().cast(),
                        _ => names[n].as_mut_ptr().cast(),
                    };
                    header.msg_namelen = 128;
                }
                header.msg_iov = iov.as_mut_ptr();
                header.msg_iovlen = iov.len();
                if control_len > 0 {
                    header.msg_control = match shape {
                        "control-fault" => self.buffers.fault().cast(),
                        _ => controls[n].as_mut_ptr().cast(),
                    };
                    header.msg_controllen = control_len;
                }
            }
            let header = &mut both[0].msg_hdr;
            let result = match how {
                "msg" => ret(libc::recvmsg(fd, header, flags) as i64),
                "to" => {
                    header.msg_controllen = 0;
                    let at = header.msg_name.cast();
                    ret(libc::recvfrom(
                        fd,
                        self.buffers.whole().cast(),
                        room,
                        flags,
                        at,
                        &mut header.msg_namelen,
                    ) as i64)
                }
                "plain" => {
                    header.msg_controllen = 0;
                    header.msg_namelen = 0;
                    ret(libc::recv(fd, self.buffers.whole().cast(), room, flags) as i64)
                }
                _ => ret(libc::recvmmsg(
                    fd,
                    both.as_mut_ptr(),
                    2,
                    flags | libc::MSG_WAITFORONE,
                    std::ptr::null_mut(),
                )),
            };
            (result, both)
        };
        let count = match (result, how) {
            (Ok(count), "mmsg") => count as usize,
            (Ok(_), _) => 1,
            (Err(libc::EFAULT), _) if shape == "name-fault" => {
                // The core writes the address when the message has been read.
                self.state().slots[s].unsure = true;
                0
            }
            (Err(_), _) => 0,
        };
        for n in 0..count {
            let header = &headers[n].msg_hdr;
            let control = if shape == "control-fault" {
                0
            } else {
                header.msg_controllen
            };
            // SAFETY: The kernel has written so much of the buffer.
            let control = unsafe {
                std::slice::from_raw_parts(controls[n].as_ptr().cast::<u8>(), control.min(4096))
            };
            let name = if shape == "name-fault" || shape == "no-name" {
                0
            } else {
                header.msg_namelen as usize
            };
            let nothing = result == Ok(0) && name == 0;
            self.learn(call, s, &names[n][..name.min(128)], control, peek, nothing);
        }
        result
    }

    /// Takes note of a message that was read; `nothing` is what there is after a shutdown, or no message at all.
    fn learn(&self, call: &Call, s: usize, from: &[u8], control: &[u8], peek: bool, nothing: bool) {
        let mut info = None;
        let mut rest = control;
        while rest.len() >= 16 {
            let len = usize::from_ne_bytes(rest[..8].try_into().expect("8 bytes"));
            let level = i32::from_ne_bytes(rest[8..12].try_into().expect("4 bytes"));
            let kind = i32::from_ne_bytes(rest[12..16].try_into().expect("4 bytes"));
            if len < 16 || len > rest.len() {
                self.find(&format!(
                    "{call}: control data of {len} bytes in {}",
                    rest.len()
                ));
            }
            let data = &rest[16..len];
            if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                for fd in data.chunks_exact(4) {
                    drop(new(i32::from_ne_bytes(fd.try_into().expect("4 bytes"))));
                }
            } else if (level, kind) == (SOL_KBUS, uapi::SCM_KBUS_INFO as i32)
                && data.len() >= size_of::<kbus_info>()
            {
                // SAFETY: There are as many bytes, and any are valid.
                info = Some(unsafe { data.as_ptr().cast::<kbus_info>().read_unaligned() });
            }
            rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
        }
        if peek {
            return;
        }
        let mut state = self.state();
        let slot = &mut state.slots[s];
        let Some(info) = info.filter(|_| !from.is_empty()) else {
            slot.unsure |= !(nothing && slot.shut);
            return;
        };
        if let Some(id) = address::request_id(from) {
            slot.owed.push_back((id, from.to_vec()));
        }
        let answers = uapi::KBUS_REPLY | uapi::KBUS_STATUS;
        if info.flags & answers != 0 && info.in_reply_to != 0 && info.cookie != 0 {
            *state.answers.entry(info.cookie).or_default() += 1;
        }
        if info.flags & uapi::KBUS_URGENT == 0 {
            let before = mem::replace(&mut state.slots[s].last_read, info.id);
            drop(state);
            if self.plain && info.id < before {
                self.find(&format!(
                    "{call}: message {:x} read after {before:x}",
                    info.id
                ));
            }
        }
    }
}
