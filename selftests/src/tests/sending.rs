// SPDX-License-Identifier: GPL-2.0
//! Errors of a send, their precedence, and full queues.

use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::full_replier;
use super::silent;

super::tests! {
    no_address_and_no_bus harmless_msg_flags
    malformed_comes_before_all_else unsupported_comes_before_size
    size_comes_before_address size_comes_before_own_names address_comes_before_bus
    own_queue_full_of_reservations reading_frees_a_reservation
    replier_full_is_ebusy replier_full_reaches_nobody listener_full_misses
    lost_is_counted_per_gap lost_counter_and_rxq_ovfl     failed_send_changes_nothing efault_of_a_send reply_always_fits_its_slot
    reply_copies_may_be_missed own_slots_first enobufs_comes_before_no_replier
    requests_take_slots_of_announcements
    errors_of_a_reply_have_an_order wrong_peer_comes_before_a_full_replier
}

/// Not bound is `ENOTCONN`, no address `EDESTADDRREQ`.
fn no_address_and_no_bus() {
    let unbound = Sock::new();
    fails!(ENOTCONN, unbound.send_to("$.A", b""));
    fails!(ENOTCONN, unbound.request("$.A", b""));
    fails!(ENOTCONN, unbound.send_to("$.A@1f#2a", b""));
    let bound = Sock::on(&fresh_bus());
    fails!(EDESTADDRREQ, bound.send(b""));
}

/// `MSG_DONTWAIT` and `MSG_NOSIGNAL` are welcome.
fn harmless_msg_flags() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    sock.send_raw(&message_address("$.A"), b"x", flags).unwrap();
    assert_eq!(sock.recv().unwrap().data, b"x");
}

/// A malformed address is the first thing that is noticed.
fn malformed_comes_before_all_else() {
    let big = vec![0; uapi::KBUS_MSG_SIZE_DEFAULT as usize + 1];
    let unbound = Sock::new();
    fails!(EBADMSG, unbound.send_to("Fred", &big));
    fails!(EINVAL, unbound.send_to("$.A@0x1", &big));
    let bound = Sock::on(&fresh_bus());
    fails!(EBADMSG, bound.send_to("Fred", &big));
    fails!(EBADMSG, bound.send_to("$.KBUS.*", b""));
    fails!(
        EINVAL,
        bound.send_msg(&Out::to("$.A@1f", &big).with(Cmsg::kbus(99, b"")))
    );
}

/// A private announcement is `EOPNOTSUPP`, however long.
fn unsupported_comes_before_size() {
    let big = vec![0; uapi::KBUS_MSG_SIZE_DEFAULT as usize + 1];
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.send_to("$.A@1f", &big));
    fails!(EOPNOTSUPP, Sock::new().send_to("$.A@1f", b""));
}

/// Too long without any address is `EMSGSIZE`.
fn size_comes_before_address() {
    let big = vec![0; uapi::KBUS_MSG_SIZE_DEFAULT as usize + 1];
    let sock = Sock::on(&fresh_bus());
    fails!(EMSGSIZE, sock.send(&big));
}

/// Too long to a name of the bus's own is `EMSGSIZE`.
fn size_comes_before_own_names() {
    let big = vec![0; uapi::KBUS_MSG_SIZE_DEFAULT as usize + 1];
    let sock = Sock::on(&fresh_bus());
    fails!(EMSGSIZE, sock.send_to("$.KBUS.X", &big));
    fails!(EMSGSIZE, sock.send_to("$.A@1f#2a", &big));
    fails!(EMSGSIZE, sock.request("$.Nobody", &big));
}

/// Neither address nor bus is `EDESTADDRREQ`.
fn address_comes_before_bus() {
    fails!(EDESTADDRREQ, Sock::new().send(b""));
    fails!(ENOTCONN, Sock::new().send_to("$.KBUS.X", b""));
}

/// A slot is reserved for each reply; without one a request is `ENOBUFS`.
fn own_queue_full_of_reservations() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    a.request("$.A", b"").unwrap();
    a.request("$.A", b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
    assert_eq!(b.unread(), 2);
    // Announcements need no slot of one's own.
    a.send_to("$.B", b"").unwrap();
}

/// The slot is free again when the reply has been read.
fn reading_frees_a_reservation() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    a.request("$.A", b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
    b.reply(&b.recv().unwrap(), b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
    a.recv().unwrap();
    a.request("$.A", b"").unwrap();
}

/// The replier's queue is full: `EBUSY`.
fn replier_full_is_ebusy() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    a.request("$.A", b"").unwrap();
    let before = a.last_sent();
    fails!(EBUSY, a.request("$.A", b""));
    assert_eq!(a.last_sent(), before);
    b.reply(&b.recv().unwrap(), b"").unwrap();
    a.request("$.A", b"").unwrap();
}

/// And nobody else gets that request, nor is its reservation kept.
fn replier_full_reaches_nobody() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    c.listen("$.A").unwrap();
    let first = a.request("$.A", b"").unwrap();
    for _ in 0..10 {
        fails!(EBUSY, a.request("$.A", b""));
    }
    assert_eq!(c.recv().unwrap().info.id, first);
    silent!(c);
    b.recv().unwrap();
    a.request("$.A", b"").unwrap();
}

/// A full listener misses the message; the others get it; the send succeeds.
fn listener_full_misses() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    c.listen("$.A").unwrap();
    b.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    for n in 0..5 {
        a.send_to("$.A", &[n]).unwrap();
    }
    assert_eq!((b.unread(), c.unread()), (2, 5));
    assert_eq!(b.recv().unwrap().data, [0]);
    assert_eq!(b.recv().unwrap().data, [1]);
    silent!(b);
}

/// Each message tells how many were missed since the one before it.
fn lost_is_counted_per_gap() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    for n in 0..5 {
        a.send_to("$.A", &[n]).unwrap();
    }
    b.recv().unwrap();
    a.send_to("$.A", &[5]).unwrap();
    a.send_to("$.A", &[6]).unwrap();
    let lost: Vec<(u8, u32)> = (0..2)
        .map(|_| {
            let msg = b.recv().unwrap();
            (msg.data[0], msg.info.lost)
        })
        .collect();
    assert_eq!(lost, [(1, 0), (5, 3)]);
    a.send_to("$.A", &[7]).unwrap();
    assert_eq!(b.recv().unwrap().info.lost, 1);
    a.send_to("$.A", &[8]).unwrap();
    assert_eq!(b.recv().unwrap().info.lost, 0);
}

/// `KBUS_LOST` and `SO_RXQ_OVFL` count all that was missed so far.
fn lost_counter_and_rxq_ovfl() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    b.set_socket(libc::SO_RXQ_OVFL, 1).unwrap();
    assert_eq!(b.get_u64(uapi::KBUS_LOST), Ok(0));
    for round in 1..4_u32 {
        for _ in 0..3 {
            a.send_to("$.A", b"").unwrap();
        }
        b.recv().unwrap();
        assert_eq!(b.get_u64(uapi::KBUS_LOST), Ok(u64::from(round) * 2));
    }
    a.send_to("$.A", b"").unwrap();
    let msg = b.recv().unwrap();
    let drops = msg.cmsg(libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
    assert_eq!(drops, Some(&6_u32.to_ne_bytes()[..]));
}

/// A failed send puts nothing in any queue and changes no id one can see.
fn failed_send_changes_nothing() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.*").unwrap();
    a.send_to("$.A", b"").unwrap();
    b.recv().unwrap();
    let id = a.last_sent();
    let bytes = a.bus_info().unwrap().bytes;
    fails!(EADDRNOTAVAIL, a.request("$.A", b"12345"));
    fails!(EPERM, a.send_to("$.KBUS.A", b"12345"));
    fails!(ECONNREFUSED, a.send_to("$.A@1f#2a", b"12345"));
    fails!(EBADMSG, a.send_to("A", b"12345"));
    fails!(EMSGSIZE, a.send_to("$.A", &[0; 65537]));
    assert_eq!(a.last_sent(), id);
    assert_eq!(a.bus_info().unwrap().bytes, bytes);
    silent!(b);
}

/// A payload that cannot be read is `EFAULT`, and nobody gets it.
fn efault_of_a_send() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let to = message_address("$.A");
    // SAFETY: The kernel is to find out that there is nothing at address 8.
    let r = unsafe {
        libc::sendto(
            sock.as_raw_fd(),
            8 as *const libc::c_void,
            100,
            0,
            to.as_ptr().cast(),
            to.len() as u32,
        )
    };
    assert_eq!((r, Errno::last()), (-1, Errno(libc::EFAULT)));
    silent!(sock);
    assert_eq!(sock.bus_info().unwrap().bytes, 0);
}

/// The reserved slot is the reply's, however full the queue is otherwise.
fn reply_always_fits_its_slot() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.listen("$.News").unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 3).unwrap();
    let id = a.request("$.A", b"").unwrap();
    for _ in 0..5 {
        b.send_to("$.News", b"").unwrap();
    }
    // Two announcements and one slot: that is three.
    assert_eq!(a.unread(), 2);
    b.reply(&b.recv().unwrap(), b"x").unwrap();
    assert_eq!(a.unread(), 3);
    a.recv().unwrap();
    a.recv().unwrap();
    let reply = a.recv().unwrap();
    assert_eq!((reply.info.in_reply_to, reply.info.lost), (id, 3));
}

/// A listener without room misses its copy of a reply; the reply is sent.
fn reply_copies_may_be_missed() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.A").unwrap();
    c.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    a.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"x").unwrap();
    assert_eq!(a.recv().unwrap().data, b"x");
    assert_eq!(c.get_u64(uapi::KBUS_LOST), Ok(1));
}

/// A request to oneself needs two slots: one for it and one for its reply.
fn own_slots_first() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.A").unwrap();
    sock.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    assert!(sock.request("$.A", b"").is_err(), "one slot was enough");
    assert_eq!(sock.unread(), 0);
    sock.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    sock.request("$.A", b"").unwrap();
}

/// One's own full queue is noticed before a missing replier.
fn enobufs_comes_before_no_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    a.request("$.A", b"").unwrap();
    fails!(ENOBUFS, a.request("$.Nobody", b""));
}

/// Full means messages waiting and slots reserved, taken together.
fn requests_take_slots_of_announcements() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.listen("$.B").unwrap();
    a.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    b.send_to("$.B", b"").unwrap();
    b.send_to("$.B", b"").unwrap();
    fails!(ENOBUFS, a.request("$.A", b""));
    a.recv().unwrap();
    a.request("$.A", b"").unwrap();
    b.send_to("$.B", b"").unwrap();
    assert_eq!(a.get_u64(uapi::KBUS_LOST), Ok(1));
}

/// Not owed, requester gone, another name, too long: the first that applies.
fn errors_of_a_reply_have_an_order() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    let id = a.request_with("$.A", b"", 10, 0).unwrap();
    let to = |name| format!("{}#{id:x}", a.sends_from(name));
    let (right, wrong) = (to("$.A"), to("$.B"));
    let long = [0; 5000];
    // Not read yet.
    fails!(ECONNREFUSED, b.send_to(&wrong, &long));
    fails!(ECONNREFUSED, b.send_to(&right, &long));
    b.recv().unwrap();
    fails!(EINVAL, b.send_to(&wrong, &long));
    fails!(EMSGSIZE, b.send_to(&right, &long));
    assert_eq!(b.unreplied(), 1);
    drop(a);
    fails!(EADDRNOTAVAIL, b.send_to(&wrong, &long));
    assert_eq!(b.unreplied(), 0);
    fails!(ECONNREFUSED, b.send_to(&wrong, &long));
}

/// A stateful request to a peer that is not the replier is `EPIPE`, full as the
/// replier may be; to the replier it is `EBUSY` then.
fn wrong_peer_comes_before_a_full_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let full = full_replier(&bus, "$.A");
    fails!(EPIPE, a.request(&b.sends_from("$.A"), b""));
    fails!(EBUSY, a.request(&full.sends_from("$.A"), b""));
}
