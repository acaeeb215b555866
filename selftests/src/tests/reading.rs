// SPDX-License-Identifier: GPL-2.0
//! Receiving: lengths, peeks, truncation, faults.

use std::os::fd::AsRawFd;
use std::ptr;
use std::thread;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    next_len fionread peek_leaves_the_message peek_with_trunc_tells_the_length
    truncation_consumes truncation_with_msg_trunc efault_leaves_the_message
    efault_makes_no_debt plain_read_and_recv fifo_order unbound_read unread_counts
    zero_length_read
    readers_of_one_socket_share_its_messages
}

/// `KBUS_NEXT_LEN` is the next message's length, -1 for none.
fn next_len() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    assert_eq!(sock.next_len(), -1);
    for len in [3, 0, 60000] {
        sock.send_to("$.A", &vec![0; len]).unwrap();
    }
    for len in [3, 0, 60000] {
        assert_eq!(sock.next_len(), len);
        sock.recv().unwrap();
    }
    assert_eq!(sock.next_len(), -1);
}

/// `FIONREAD` is the same, and 0 for none.
fn fionread() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    assert_eq!(sock.fionread(), Ok(0));
    sock.send_to("$.A", b"12345").unwrap();
    sock.send_to("$.A", b"123").unwrap();
    assert_eq!(sock.fionread(), Ok(5));
    sock.recv().unwrap();
    assert_eq!(sock.fionread(), Ok(3));
}

/// A peek sees everything and takes nothing.
fn peek_leaves_the_message() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    fails!(EAGAIN, sock.peek());
    sock.send_to("$.A", b"1").unwrap();
    sock.send_to("$.A", b"2").unwrap();
    for _ in 0..3 {
        let msg = sock.peek().unwrap();
        assert_eq!((&msg.data[..], msg.info.len), (&b"1"[..], 1));
        assert_eq!(msg.from, sock.sends_from("$.A"));
    }
    assert_eq!(sock.recv().unwrap().data, b"1");
    assert_eq!(sock.peek().unwrap().data, b"2");
}

/// `MSG_PEEK|MSG_TRUNC` returns the whole length into however small a buffer.
fn peek_with_trunc_tells_the_length() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", &[7; 5000]).unwrap();
    for room in [0, 1, 4999] {
        let msg = sock
            .recv_with(RecvOptions {
                room,
                flags: libc::MSG_PEEK | libc::MSG_TRUNC,
                ..RecvOptions::default()
            })
            .unwrap();
        assert_eq!((msg.len, msg.data.len()), (5000, room));
        assert_eq!(msg.info.len, 5000);
    }
    assert_eq!(sock.recv().unwrap().len, 5000);
}

/// What does not fit is cut off, `MSG_TRUNC` says so, and the message is read.
fn truncation_consumes() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"123456").unwrap();
    let msg = sock
        .recv_with(RecvOptions {
            room: 2,
            ..RecvOptions::default()
        })
        .unwrap();
    assert_eq!((msg.len, &msg.data[..]), (2, &b"12"[..]));
    assert_eq!(msg.flags & libc::MSG_TRUNC, libc::MSG_TRUNC);
    assert_eq!(msg.info.len, 6);
    silent!(sock);
    sock.send_to("$.A", b"12").unwrap();
    let msg = sock
        .recv_with(RecvOptions {
            room: 2,
            ..RecvOptions::default()
        })
        .unwrap();
    assert_eq!(msg.flags & libc::MSG_TRUNC, 0);
}

/// Asked for with `MSG_TRUNC`, the whole length is returned.
fn truncation_with_msg_trunc() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"123456").unwrap();
    let msg = sock
        .recv_with(RecvOptions {
            room: 2,
            flags: libc::MSG_TRUNC | libc::MSG_DONTWAIT,
            ..RecvOptions::default()
        })
        .unwrap();
    assert_eq!((msg.len, &msg.data[..]), (6, &b"12"[..]));
    silent!(sock);
}

fn recv_into_nowhere(sock: &Sock) -> (isize, Errno) {
    // SAFETY: The kernel is to find out that there is nothing at address 8.
    let r = unsafe {
        libc::recv(
            sock.as_raw_fd(),
            ptr::without_provenance_mut(8),
            100,
            libc::MSG_DONTWAIT,
        )
    };
    (r, Errno::last())
}

/// A message that cannot be copied stays first in the queue.
fn efault_leaves_the_message() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"1").unwrap();
    sock.send_to("$.A", b"2").unwrap();
    assert_eq!(recv_into_nowhere(&sock), (-1, Errno(libc::EFAULT)));
    assert_eq!(sock.unread(), 2);
    assert_eq!(sock.recv().unwrap().data, b"1");
    assert_eq!(sock.recv().unwrap().data, b"2");
}

/// It is unread until the copy succeeds.
fn efault_makes_no_debt() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"x").unwrap();
    assert_eq!(recv_into_nowhere(&b), (-1, Errno(libc::EFAULT)));
    assert_eq!((b.unread(), b.unreplied()), (1, 0));
    drop(b);
    assert_eq!(a.recv().unwrap().info.error, uapi::KBUS_GONE_AWAY as i32);
}

/// `read()` and `recv()` work on a kbus socket.
fn plain_read_and_recv() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"one").unwrap();
    sock.send_to("$.A", b"two").unwrap();
    let mut buffer = [0_u8; 16];
    // SAFETY: The buffer is ours and as long as said.
    let r = unsafe { libc::read(sock.as_raw_fd(), buffer.as_mut_ptr().cast(), 16) };
    assert_eq!((r, &buffer[..3]), (3, &b"one"[..]));
    // SAFETY: As above.
    let r = unsafe { libc::recv(sock.as_raw_fd(), buffer.as_mut_ptr().cast(), 16, 0) };
    assert_eq!((r, &buffer[..3]), (3, &b"two"[..]));
}

/// Messages are read in the order in which they were sent.
fn fifo_order() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    c.listen("$.A.*").unwrap();
    for n in 0..50_u8 {
        let from = if n % 2 == 0 { &a } else { &b };
        from.send_to(&format!("$.A.N{n}"), &[n]).unwrap();
    }
    let mut last = 0;
    for n in 0..50_u8 {
        let msg = c.recv().unwrap();
        assert_eq!(msg.data, [n]);
        assert!(msg.info.id > last);
        last = msg.info.id;
    }
}

/// On an unbound socket there is never anything to read.
fn unbound_read() {
    assert!(Sock::new().recv().is_err());
}

/// `KBUS_UNREAD` counts the messages waiting.
fn unread_counts() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for n in 0..10 {
        assert_eq!(sock.unread(), n);
        sock.send_to("$.A", b"").unwrap();
    }
    for n in (0..10).rev() {
        sock.recv().unwrap();
        assert_eq!(sock.unread(), n);
    }
}

/// A read of no bytes takes the message, as from every datagram socket.
fn zero_length_read() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"123").unwrap();
    let msg = sock
        .recv_with(RecvOptions {
            room: 0,
            ..RecvOptions::default()
        })
        .unwrap();
    assert_eq!(msg.flags & libc::MSG_TRUNC, libc::MSG_TRUNC);
    silent!(sock);
}

/// Reads of one socket are one after the other: of all that read at once no two
/// get the same message, and none is passed over.
fn readers_of_one_socket_share_its_messages() {
    const COUNT: usize = 3000;
    let sock = Sock::on(&fresh_bus());
    sock.set_queue_len(COUNT as u32);
    sock.listen("$.A").unwrap();
    for _ in 0..COUNT {
        sock.send_to("$.A", &[7; 2000]).unwrap();
    }
    sock.set_timeout(libc::SO_RCVTIMEO, 300);
    let mut all = thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let read = std::iter::from_fn(|| sock.recv_wait().ok());
                    read.map(|msg| msg.info.id).collect::<Vec<u64>>()
                })
            })
            .collect();
        let got = readers.into_iter().map(|reader| reader.join().unwrap());
        got.flatten().collect::<Vec<u64>>()
    });
    assert_eq!(all.len(), COUNT);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), COUNT);
}
