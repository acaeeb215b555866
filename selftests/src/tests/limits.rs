// SPDX-License-Identifier: GPL-2.0
//! Sizes and lengths, and what happens at their ends.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    default_message_size max_msg_size_bounds max_msg_size_takes_effect
    large_messages_to_several_listeners megabyte_messages queue_len_default
    queue_len_bounds queue_len_below_what_it_holds default_queue_holds_a_hundred
    reply_within_its_reservation reply_beyond_its_reservation_with_room
    reply_beyond_its_reservation_without_room reply_max_default rcvbuf_bounds_the_bytes
    bus_bytes_bound too_many_bindings
    queue_takes_8_mib_by_default sndbuf_bounds_nothing reply_max_above_the_largest_payload
    long_reply_needs_room_for_all_of_it long_reply_needs_bytes_of_the_bus
    no_bytes_left_for_an_announcement
    small_rcvbuf_counts_as_set
}

/// A payload of 64 KiB is the largest by default; one byte more is `EMSGSIZE`.
fn default_message_size() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    assert_eq!(sock.get_u32(uapi::KBUS_MAX_MSG_SIZE), Ok(65536));
    sock.send_to("$.A", &[1; 65536]).unwrap();
    assert_eq!(sock.recv().unwrap().data, [1; 65536]);
    fails!(EMSGSIZE, sock.send_to("$.A", &[1; 65537]));
    silent!(sock);
}

/// `KBUS_MAX_MSG_SIZE` is 100 bytes to 16 MiB, else `EINVAL`.
fn max_msg_size_bounds() {
    let sock = Sock::on(&fresh_bus());
    for bad in [0, 99, (16 << 20) + 1, u32::MAX] {
        fails!(EINVAL, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, bad));
    }
    for good in [100, 16 << 20, 1000] {
        sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, good).unwrap();
        assert_eq!(sock.get_u32(uapi::KBUS_MAX_MSG_SIZE), Ok(good));
    }
}

/// It holds for every sender on the bus from then on.
fn max_msg_size_takes_effect() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.set_u32(uapi::KBUS_MAX_MSG_SIZE, 100).unwrap();
    b.send_to("$.A", &[0; 100]).unwrap();
    fails!(EMSGSIZE, b.send_to("$.A", &[0; 101]));
    assert_eq!(b.bus_info().unwrap().max_msg, 100);
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251 + seed) as u8).collect()
}

/// 64 KiB reach several listeners unharmed.
fn large_messages_to_several_listeners() {
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let listeners: Vec<Sock> = (0..5).map(|_| Sock::on(&bus)).collect();
    for sock in &listeners {
        sock.listen("$.A").unwrap();
    }
    for seed in 0..10 {
        sender.send_to("$.A", &pattern(65536, seed)).unwrap();
    }
    for sock in &listeners {
        for seed in 0..10 {
            assert!(sock.recv().unwrap().data == pattern(65536, seed));
        }
    }
    assert_eq!(sender.bus_info().unwrap().bytes, 0);
}

/// Where the owner allows them, messages may be large.
fn megabyte_messages() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1 << 20).unwrap();
    let data = pattern(1 << 20, 3);
    sock.send_to("$.A", &data).unwrap();
    let msg = sock
        .recv_with(RecvOptions {
            room: 1 << 20,
            ..RecvOptions::default()
        })
        .unwrap();
    assert!(msg.data == data);
}

/// A queue holds 100 messages by default.
fn queue_len_default() {
    assert_eq!(Sock::new().get_u32(uapi::KBUS_QUEUE_LEN), Ok(100));
}

/// 0 is `EINVAL`, more than `net.kbus.max_queue_len` is `EPERM`.
fn queue_len_bounds() {
    let sock = Sock::on(&fresh_bus());
    fails!(EINVAL, sock.set_u32(uapi::KBUS_QUEUE_LEN, 0));
    fails!(EPERM, sock.set_u32(uapi::KBUS_QUEUE_LEN, 16385));
    fails!(EPERM, sock.set_u32(uapi::KBUS_QUEUE_LEN, u32::MAX));
    assert_eq!(sock.get_u32(uapi::KBUS_QUEUE_LEN), Ok(100));
    for good in [1, 16384, 50] {
        sock.set_u32(uapi::KBUS_QUEUE_LEN, good).unwrap();
        assert_eq!(sock.get_u32(uapi::KBUS_QUEUE_LEN), Ok(good));
    }
}

/// Set below what it holds, a queue is simply full.
fn queue_len_below_what_it_holds() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for _ in 0..5 {
        sock.send_to("$.A", b"").unwrap();
    }
    sock.set_u32(uapi::KBUS_QUEUE_LEN, 2).unwrap();
    assert_eq!(sock.unread(), 5);
    for _ in 0..3 {
        sock.send_to("$.A", b"").unwrap();
        sock.recv().unwrap();
    }
    assert_eq!(sock.get_u64(uapi::KBUS_LOST), Ok(3));
    sock.recv().unwrap();
    sock.send_to("$.A", b"").unwrap();
    assert_eq!((sock.unread(), sock.get_u64(uapi::KBUS_LOST)), (2, Ok(3)));
}

/// The 101st message is missed.
fn default_queue_holds_a_hundred() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for _ in 0..101 {
        sock.send_to("$.A", b"").unwrap();
    }
    assert_eq!((sock.unread(), sock.get_u64(uapi::KBUS_LOST)), (100, Ok(1)));
}

/// A requester with a full queue of 4096 bytes, and a request it made before.
fn crowded(reply_max: u32) -> (Sock, Sock) {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    a.request_with("$.A", b"", reply_max, 0).unwrap();
    a.listen("$.News").unwrap();
    b.send_to("$.News", &[0; 4000]).unwrap();
    b.send_to("$.News", &[0; 4000]).unwrap();
    (a, b)
}

/// A reply within the reserved bytes always fits.
fn reply_within_its_reservation() {
    let (a, b) = crowded(5000);
    assert_eq!(a.unread(), 2);
    b.reply(&b.recv().unwrap(), &[1; 5000]).unwrap();
    a.recv().unwrap();
    a.recv().unwrap();
    assert_eq!(a.recv().unwrap().len, 5000);
}

/// A longer one does if the requester's queue has room for all of it.
fn reply_beyond_its_reservation_with_room() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request_with("$.A", b"", 10, 0).unwrap();
    b.reply(&b.recv().unwrap(), &[1; 60000]).unwrap();
    assert_eq!(a.recv().unwrap().len, 60000);
}

/// Else it is `EMSGSIZE` and still owed: a shorter one goes.
fn reply_beyond_its_reservation_without_room() {
    let (a, b) = crowded(10);
    let request = b.recv().unwrap();
    fails!(EMSGSIZE, b.reply(&request, &[1; 11]));
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, &[1; 10]).unwrap();
    assert_eq!(b.unreplied(), 0);
    assert_eq!(a.unread(), 3);
}

/// `KBUS_REPLY_MAX`, 4096 by default, is what `reply_max` 0 means.
fn reply_max_default() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    assert_eq!(a.get_u32(uapi::KBUS_REPLY_MAX), Ok(4096));
    b.replier("$.A").unwrap();
    a.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    a.set_u32(uapi::KBUS_REPLY_MAX, 20).unwrap();
    assert_eq!(a.get_u32(uapi::KBUS_REPLY_MAX), Ok(20));
    a.request("$.A", b"").unwrap();
    a.listen("$.News").unwrap();
    b.send_to("$.News", &[0; 5000]).unwrap();
    let request = b.recv().unwrap();
    fails!(EMSGSIZE, b.reply(&request, &[1; 21]));
    b.reply(&request, &[1; 20]).unwrap();
}

/// A queue takes a further message while its bytes are below `SO_RCVBUF`, as
/// the program set it; one large message always fits an empty queue.
fn rcvbuf_bounds_the_bytes() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    sock.send_to("$.A", &[0; 4095]).unwrap();
    sock.send_to("$.A", &[0; 60000]).unwrap();
    sock.send_to("$.A", &[0; 1]).unwrap();
    assert_eq!((sock.unread(), sock.get_u64(uapi::KBUS_LOST)), (2, Ok(1)));
    sock.recv().unwrap();
    sock.recv().unwrap();
    sock.send_to("$.A", &[0; 4096]).unwrap();
    sock.send_to("$.A", &[0; 1]).unwrap();
    assert_eq!((sock.unread(), sock.get_u64(uapi::KBUS_LOST)), (1, Ok(2)));
}

/// The payload alive on a bus is bounded; above the ceiling is `EPERM`.
fn bus_bytes_bound() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let ceiling = a.get_u64(uapi::KBUS_BUS_BYTES).unwrap();
    fails!(EPERM, a.set_u64(uapi::KBUS_BUS_BYTES, ceiling + 1));
    a.set_u64(uapi::KBUS_BUS_BYTES, 100_000).unwrap();
    assert_eq!(a.bus_info().unwrap().bytes_max, 100_000);
    b.replier("$.A").unwrap();
    // The reservation for the reply counts from the start.
    a.request_with("$.A", b"", 60000, 0).unwrap();
    fails!(ENOBUFS, a.request_with("$.A", b"", 60000, 0));
    a.request_with("$.A", b"", 1000, 0).unwrap();
}

/// More than 4096 bindings of one user on a bus are `EDQUOT`.
fn too_many_bindings() {
    let sock = Sock::on(&fresh_bus());
    for n in 0..4096 {
        sock.listen(&format!("$.Q.N{n}")).unwrap();
    }
    fails!(EDQUOT, sock.listen("$.Q.More"));
    fails!(EDQUOT, sock.replier("$.Q.More"));
    sock.unlisten("$.Q.N7").unwrap();
    sock.replier("$.Q.More").unwrap();
}

/// By default a queue takes a further message while 8 MiB are not reached.
fn queue_takes_8_mib_by_default() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1 << 20).unwrap();
    let data = vec![0; 1 << 20];
    for _ in 0..7 {
        sock.send_to("$.A", &data).unwrap();
    }
    sock.send_to("$.A", &data[1..]).unwrap();
    assert_eq!((sock.unread(), sock.lost()), (8, 0));
    // One byte is left, so one more is taken.
    sock.send_to("$.A", &data).unwrap();
    assert_eq!((sock.unread(), sock.lost()), (9, 0));
    sock.send_to("$.A", b"").unwrap();
    assert_eq!((sock.unread(), sock.lost()), (9, 1));
}

/// `SO_SNDBUF` changes nothing: nobody's reading holds back a sender.
fn sndbuf_bounds_nothing() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.set_socket(libc::SO_SNDBUF, 4096).unwrap();
    a.set_nonblocking();
    for _ in 0..150 {
        assert_eq!(a.send_to("$.A", &[0; 60000]), Ok(60000));
        assert_eq!(a.poll(libc::POLLOUT, 0), libc::POLLOUT);
    }
    assert_eq!((b.unread(), b.lost()), (100, 50));
}

/// More reply bytes than the bus's largest payload has count as that many.
fn reply_max_above_the_largest_payload() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    a.set_u32(uapi::KBUS_REPLY_MAX, u32::MAX).unwrap();
    a.request("$.A", b"").unwrap();
    assert_eq!(a.bus_info().unwrap().bytes, 1000);
    a.request_with("$.A", b"", 1001, 0).unwrap();
    assert_eq!(a.bus_info().unwrap().bytes, 2000);
}

/// A reply that is longer than was reserved needs room for all of it in what is
/// left of the requester's queue.
fn long_reply_needs_room_for_all_of_it() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    a.request_with("$.A", b"", 10, 0).unwrap();
    a.listen("$.News").unwrap();
    b.send_to("$.News", &[0; 1000]).unwrap();
    let request = b.recv().unwrap();
    fails!(EMSGSIZE, b.reply(&request, &[1; 3097]));
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, &[1; 3096]).unwrap();
    a.recv().unwrap();
    assert_eq!(a.recv().unwrap().len, 3096);
}

/// And bytes of the bus for what was not reserved.
fn long_reply_needs_bytes_of_the_bus() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.News").unwrap();
    a.set_u64(uapi::KBUS_BUS_BYTES, 100_000).unwrap();
    a.request_with("$.A", b"", 10, 0).unwrap();
    for _ in 0..2 {
        b.send_to("$.News", &[0; 45000]).unwrap();
    }
    let request = b.recv().unwrap();
    fails!(EMSGSIZE, b.reply(&request, &[1; 10001]));
    assert_eq!((b.unreplied(), a.bus_info().unwrap().bytes), (1, 90010));
    b.reply(&request, &[1; 10000]).unwrap();
    assert_eq!(a.bus_info().unwrap().bytes, 100_000);
    assert_eq!(a.recv().unwrap().len, 10000);
}

/// An announcement for whose payload the bus has no bytes left is `EDQUOT`, and
/// nobody gets it.
fn no_bytes_left_for_an_announcement() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.set_u64(uapi::KBUS_BUS_BYTES, 100_000).unwrap();
    a.send_to("$.A", &[0; 60000]).unwrap();
    let id = a.last_sent();
    fails!(EDQUOT, a.send_to("$.A", &[0; 40001]));
    assert_eq!((b.unread(), b.lost(), a.last_sent()), (1, 0, id));
    a.send_to("$.A", &[0; 40000]).unwrap();
    // What nobody gets needs none.
    a.send_to("$.Nobody", &[0; 60000]).unwrap();
    b.recv().unwrap();
    a.send_to("$.A", &[0; 60000]).unwrap();
}

/// `SO_RCVBUF` counts as the program set it, below the core's own least value;
/// an empty queue takes a message all the same.
fn small_rcvbuf_counts_as_set() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.set_socket(libc::SO_RCVBUF, 100).unwrap();
    for len in [99, 1, 1] {
        sock.send_to("$.A", &[0; 99][..len]).unwrap();
    }
    assert_eq!((sock.unread(), sock.lost()), (2, 1));
    sock.drain();
    sock.set_socket(libc::SO_RCVBUF, 0).unwrap();
    sock.send_to("$.A", &[0; 60000]).unwrap();
    sock.send_to("$.A", b"").unwrap();
    assert_eq!((sock.unread(), sock.lost()), (1, 2));
}
