// SPDX-License-Identifier: GPL-2.0
//! Sending and receiving.

use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use kbus_uapi::kbus_info;

use super::address::message_address;
use super::address::PATH_AT;
use super::address::PATH_MAX;
use super::bytes::from_bytes;
use super::cmsg::Cmsg;
use super::errno::check;
use super::errno::Res;
use super::message::Msg;
use super::message::Out;
use super::message::RecvOptions;
use super::sock::Sock;
use super::uapi;

impl Sock {
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
        self.send_msg_raw(out, &out.control())
    }

    /// `sendmsg()` with these very bytes as the control buffer.
    pub fn send_msg_raw(&self, out: &Out, control: &[u8]) -> Res<usize> {
        let mut iov = empty_part();
        let header = out.header(control, &mut iov);
        // SAFETY: Everything the header points at lives until the call returns,
        // and the kernel only reads it.
        check(unsafe { libc::sendmsg(self.as_raw_fd(), &header, out.flags) })
    }

    /// `sendmmsg()`, each with these very bytes as the control buffer; returns how many were sent.
    pub fn send_several<const N: usize>(&self, all: [(&Out, &[u8]); N]) -> Res<usize> {
        let mut parts = [(); N].map(|()| empty_part());
        let mut headers = [(); N].map(|()| empty_header());
        for ((part, header), (out, control)) in parts.iter_mut().zip(&mut headers).zip(all) {
            header.msg_hdr = out.header(control, part);
        }
        // SAFETY: Everything the headers point at lives until the call returns,
        // and the kernel only reads it.
        let sent = unsafe { libc::sendmmsg(self.as_raw_fd(), headers.as_mut_ptr(), N as u32, 0) };
        check(sent as isize)
    }

    /// Sends with these flags in `SCM_KBUS_SEND` and returns the message's id.
    ///
    /// The id is right only while nobody else sends on this socket.
    pub fn send_with(&self, address: &str, data: &[u8], flags: u32) -> Res<u64> {
        self.send_msg(&Out::to(address, data).with(Cmsg::send(flags, 0, 0)))?;
        Ok(self.last_sent())
    }

    /// The same without ever blocking: `MSG_DONTWAIT`.
    pub fn try_send_with(&self, address: &str, data: &[u8], flags: u32) -> Res<u64> {
        let out = Out::to(address, data).with(Cmsg::send(flags, 0, 0));
        self.send_msg(&out.flags(libc::MSG_DONTWAIT))?;
        Ok(self.last_sent())
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

    /// The payloads of everything that waits, read in order.
    pub fn drain(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.recv().ok())
            .map(|msg| msg.data)
            .collect()
    }

    /// Looks at the next message and leaves it there.
    pub fn peek(&self) -> Res<Msg> {
        self.recv_with(RecvOptions {
            flags: libc::MSG_DONTWAIT | libc::MSG_PEEK,
            ..RecvOptions::default()
        })
    }

    /// Receives a message without payload; returns how much of `control` was written.
    #[track_caller]
    pub fn recv_control(&self, control: &mut [u8]) -> usize {
        // SAFETY: All zeros is a valid `msghdr`; what it points at is ours.
        unsafe {
            let mut header: libc::msghdr = mem::zeroed();
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len();
            assert_eq!(libc::recvmsg(self.as_raw_fd(), &mut header, 0), 0);
            header.msg_controllen
        }
    }

    /// `recvmsg()` in detail.
    pub fn recv_with(&self, options: RecvOptions) -> Res<Msg> {
        let mut room = Room::new(options);
        let len = self.recv_into(&mut room)?;
        Ok(room.message(len))
    }

    /// `recvmsg()` into buffers that are there already: nothing is allocated.
    pub fn recv_into(&self, room: &mut Room) -> Res<usize> {
        let mut iov = empty_part();
        let mut header = room.header(&mut iov);
        let flags = room.options.flags;
        // SAFETY: Everything the header points at is ours, and as long as said.
        let len = check(unsafe { libc::recvmsg(self.as_raw_fd(), &mut header, flags) })?;
        // SAFETY: The call has succeeded.
        unsafe { room.filled(&header) };
        Ok(len)
    }

    /// `recvmmsg()`, without waiting; returns how many were received.
    pub fn recv_several<const N: usize>(&self, rooms: &mut [Room; N]) -> Res<usize> {
        let mut parts = [(); N].map(|()| empty_part());
        let mut headers = [(); N].map(|()| empty_header());
        for ((part, header), room) in parts.iter_mut().zip(&mut headers).zip(&mut *rooms) {
            header.msg_hdr = room.header(part);
        }
        // SAFETY: Everything the headers point at is ours, and as long as said.
        let count = unsafe {
            libc::recvmmsg(
                self.as_raw_fd(),
                headers.as_mut_ptr(),
                N as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = check(count as isize)?;
        for (room, header) in rooms.iter_mut().zip(&headers).take(count) {
            // SAFETY: The call has received so many.
            unsafe { room.filled(&header.msg_hdr) };
        }
        Ok(count)
    }
}

/// A part of a message that is to be filled in.
pub fn empty_part() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: All zeros is a valid `mmsghdr`.
    unsafe { mem::zeroed() }
}

impl Out {
    /// The header for `sendmsg()`, which points at the message, at `control` and at `part`.
    pub fn header(&self, control: &[u8], part: &mut libc::iovec) -> libc::msghdr {
        part.iov_base = self.data.as_ptr().cast_mut().cast();
        part.iov_len = self.data.len();
        let mut header = empty_header().msg_hdr;
        if let Some(address) = &self.address {
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len() as u32;
        }
        header.msg_iov = part;
        header.msg_iovlen = 1;
        if !control.is_empty() {
            header.msg_control = control.as_ptr().cast_mut().cast();
            header.msg_controllen = control.len();
        }
        header
    }
}

/// Buffers for a message that is to be received.
#[derive(Debug)]
pub struct Room {
    options: RecvOptions,
    data: Vec<u8>,
    address: [u8; PATH_AT + PATH_MAX + 2],
    control: Vec<u64>,
    /// What the last receive said.
    address_len: usize,
    control_len: usize,
    flags: i32,
}

impl Room {
    /// Makes them.
    pub fn new(options: RecvOptions) -> Room {
        Room {
            options,
            data: vec![0; options.room],
            address: [0; PATH_AT + PATH_MAX + 2],
            control: vec![0; options.control.div_ceil(8)],
            address_len: 0,
            control_len: 0,
            flags: 0,
        }
    }

    /// Writes to every page: the kernel finds memory there, and need not look for some.
    pub fn touch(mut self) -> Room {
        self.data.fill(0xaa);
        self.control.fill(0xaa);
        self
    }

    /// The header for `recvmsg()`, which points into these buffers and at `part`.
    pub fn header(&mut self, part: &mut libc::iovec) -> libc::msghdr {
        part.iov_base = self.data.as_mut_ptr().cast();
        part.iov_len = self.data.len();
        let mut header = empty_header().msg_hdr;
        header.msg_name = self.address.as_mut_ptr().cast();
        header.msg_namelen = self.address.len() as u32;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = self.options.control;
        header
    }

    /// Takes note of what the kernel has written to the header.
    ///
    /// # Safety
    ///
    /// It must be one of [`Room::header`], and a call has received a message by it.
    pub unsafe fn filled(&mut self, header: &libc::msghdr) {
        self.address_len = header.msg_namelen as usize;
        self.control_len = header.msg_controllen;
        self.flags = header.msg_flags;
    }

    /// The message that was received last, of which the call said that it has `len` bytes.
    pub fn message(&self, len: usize) -> Msg {
        let data = self.data[..len.min(self.options.room)].to_vec();
        let raw_from = self.address[..self.address_len.min(self.address.len())].to_vec();
        let path = raw_from.get(PATH_AT..).unwrap_or(&[]);
        let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
        let from = String::from_utf8_lossy(&path[..end]).into_owned();
        // SAFETY: All zeros is a valid `msghdr`.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_control = self.control.as_ptr().cast_mut().cast();
        header.msg_controllen = self.control_len;
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
            flags: self.flags,
            cmsgs,
            info: kbus_info::default(),
        };
        if let Some(info) = msg.kbus_cmsg(uapi::SCM_KBUS_INFO) {
            msg.info = from_bytes(info);
        }
        msg
    }
}
