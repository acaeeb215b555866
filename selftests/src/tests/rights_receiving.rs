// SPDX-License-Identifier: GPL-2.0
//! Receiving descriptors: what fits, and what is closed where it does not.

use std::mem;
use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::rights::limit_descriptors;
use super::rights::listener;
use super::rights::open_descriptors;
use super::rights::say;
use super::rights::send;
use super::rights::Pipe;

super::tests! {
    small_buffer_closes_the_rest no_buffer_closes_all no_free_number close_on_exec
    peek_gives_more_of_them failed_copy_keeps_them before_the_info nothing_else_is_written
}

/// Room for one descriptor.
const ONE: usize = 24;

fn recv_in(sock: &Sock, control: usize) -> Msg {
    let options = RecvOptions {
        control,
        ..RecvOptions::default()
    };
    sock.recv_with(options).unwrap()
}

/// What does not fit is closed, and `MSG_CTRUNC` says so.
fn small_buffer_closes_the_rest() {
    let sock = listener(&fresh_bus());
    let (one, mut two) = (Pipe::new(), Pipe::new());
    send(&sock, &[one.end(), two.end(), two.end()]).unwrap();
    two.close();
    let before = open_descriptors();
    let msg = recv_in(&sock, 20);
    assert_eq!(msg.flags & libc::MSG_CTRUNC, libc::MSG_CTRUNC);
    assert_eq!(msg.data, b"x");
    assert_eq!(open_descriptors(), before + 1);
    assert_eq!(msg.rights().len(), 1);
    assert!(two.is_over());
}

/// Without a buffer for them all are closed.
fn no_buffer_closes_all() {
    let sock = listener(&fresh_bus());
    for control in [0, 8, 16] {
        let mut pipe = Pipe::new();
        send(&sock, &[pipe.end()]).unwrap();
        pipe.close();
        let msg = recv_in(&sock, control);
        assert_eq!(msg.flags & libc::MSG_CTRUNC, libc::MSG_CTRUNC, "{control}");
        assert!(pipe.is_over());
    }
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    let mut byte = [0];
    // SAFETY: A buffer of one byte.
    let read = unsafe { libc::read(sock.as_raw_fd(), byte.as_mut_ptr().cast(), 1) };
    assert_eq!((read, byte), (1, *b"x"));
    assert!(pipe.is_over());
}

/// Nor does a reader without free numbers get them; the message is read all the same.
fn no_free_number() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    limit_descriptors(0);
    let msg = recv_in(&sock, 4096);
    limit_descriptors(1024);
    pipe.close();
    assert_eq!(msg.flags & libc::MSG_CTRUNC, libc::MSG_CTRUNC);
    assert_eq!((&msg.data[..], msg.rights().len()), (&b"x"[..], 0));
    assert!(pipe.is_over());
}

/// `MSG_CMSG_CLOEXEC` works.
fn close_on_exec() {
    let sock = listener(&fresh_bus());
    let pipe = Pipe::new();
    for (flag, expected) in [(0, 0), (libc::MSG_CMSG_CLOEXEC, libc::FD_CLOEXEC)] {
        send(&sock, &[pipe.end()]).unwrap();
        let options = RecvOptions {
            flags: flag,
            ..RecvOptions::default()
        };
        let fds = sock.recv_with(options).unwrap().rights();
        // SAFETY: Always safe.
        let flags = unsafe { libc::fcntl(fds[0].as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, expected);
    }
}

/// A peek gives descriptors, and the read after it further ones of the same files.
fn peek_gives_more_of_them() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    let first = sock.peek().unwrap().rights();
    let second = sock.recv().unwrap().rights();
    assert_ne!(first[0].as_raw_fd(), second[0].as_raw_fd());
    drop(first);
    say(&second[0], "there");
    assert_eq!(pipe.text(), "there");
    drop(second);
    assert!(pipe.is_over());
}

/// A read that could not copy the payload leaves the message as it was, with them.
fn failed_copy_keeps_them() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    let mut control = [0_u64; 16];
    let mut iov = libc::iovec {
        iov_base: 8 as *mut libc::c_void,
        iov_len: 1,
    };
    // SAFETY: All zeros is a valid `msghdr`; the kernel checks the payload's address, which is nobody's.
    let got = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = 128;
        libc::recvmsg(sock.as_raw_fd(), &mut header, 0)
    };
    assert_eq!((got, Errno::last()), (-1, Errno(libc::EFAULT)));
    assert_eq!(control, [0; 16]);
    assert!(!pipe.is_over());
    assert_eq!(sock.recv().unwrap().rights().len(), 1);
    assert!(pipe.is_over());
}

/// They stand behind the credentials and before the info; with room for them alone nothing is cut off.
fn before_the_info() {
    let sock = listener(&fresh_bus());
    sock.set_socket(libc::SO_PASSCRED, 1).unwrap();
    sock.set_socket(libc::SO_TIMESTAMP, 1).unwrap();
    let pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    let msg = sock.recv().unwrap();
    let kinds: Vec<i32> = msg.cmsgs.iter().map(|c| c.kind).collect();
    let info = uapi::SCM_KBUS_INFO as i32;
    assert_eq!(
        kinds,
        [
            libc::SCM_CREDENTIALS,
            libc::SCM_RIGHTS,
            libc::SO_TIMESTAMP,
            info
        ]
    );
    assert_eq!(msg.creds(), Some(Creds::own()));
    assert_eq!(msg.rights().len(), 1);
    sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
        .unwrap();
    send(&sock, &[pipe.end()]).unwrap();
    let msg = recv_in(&sock, ONE);
    assert_eq!((msg.flags & libc::MSG_CTRUNC, msg.has_info()), (0, false));
    assert_eq!(msg.rights().len(), 1);
}

/// Of a control buffer only the numbers are written, and what lies behind them stays as it was.
fn nothing_else_is_written() {
    const POISON: u8 = 0xa5;
    let sock = listener(&fresh_bus());
    sock.turn_off(uapi::KBUS_RECV_INFO);
    let pipe = Pipe::new();
    send(&sock, &[pipe.end(); 3]).unwrap();
    let mut control = [POISON; 64];
    let len = sock.recv_control(&mut control);
    assert_eq!(len, 32);
    assert_eq!(control[..8], (16 + 3 * 4_u64).to_ne_bytes());
    assert!(control[28..].iter().all(|byte| *byte == POISON));
}
