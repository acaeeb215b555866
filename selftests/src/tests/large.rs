// SPDX-License-Identifier: GPL-2.0
//! Large payloads, and sizes that are odd.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    largest_announcement_to_eight_listeners largest_announcement_counts_once
    largest_request_and_reply one_above_the_largest_is_refused
    one_above_the_default_is_refused one_above_the_default_in_every_kind
    sizes_around_pages sizes_around_a_megabyte large_payload_cut_short
    large_payload_peeked large_payload_read_in_pieces_is_gone
    large_payloads_of_all_kinds_at_once second_large_one_is_missed
    large_urgent_payload large_payload_with_all_or_fail
    large_payload_is_free_again_when_the_readers_die limit_lowered_below_what_waits
}

const LARGEST: usize = 16 << 20;
const PAGE: usize = 4096;

/// Bytes in which a page or a word at a wrong place shows.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 4);
    let mut word = seed.wrapping_mul(0x9e37_79b9) | 1;
    while bytes.len() < len {
        word = word.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A socket on a bus of its own that allows the largest messages.
fn roomy(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, LARGEST as u32)
        .unwrap();
    if sock.bus_info().unwrap().bytes_max < 2 * LARGEST as u64 {
        process::skip("too little memory for the largest messages");
    }
    sock
}

fn recv_large(sock: &Sock) -> Msg {
    sock.recv_with(RecvOptions {
        room: LARGEST,
        ..RecvOptions::default()
    })
    .unwrap()
}

fn listeners(bus: &str, count: usize) -> Vec<Sock> {
    (0..count)
        .map(|_| {
            let sock = Sock::on(bus);
            sock.listen("$.A").unwrap();
            sock
        })
        .collect()
}

/// 16 MiB, where the owner allows them, reach eight listeners unharmed.
fn largest_announcement_to_eight_listeners() {
    let bus = fresh_bus();
    let sender = roomy(&bus);
    let listeners = listeners(&bus, 8);
    let data = pattern(LARGEST, 1);
    assert_eq!(sender.send_to("$.A", &data), Ok(LARGEST));
    for sock in &listeners {
        assert_eq!(sock.next_len(), LARGEST as i64);
        let msg = recv_large(sock);
        assert_eq!((msg.len, msg.info.len), (LARGEST, LARGEST as u32));
        assert!(msg.data == data, "the contents");
        assert_eq!(sock.lost(), 0);
    }
}

/// However many queues hold it, the bus's bytes count it once, to the last
/// reader.
fn largest_announcement_counts_once() {
    let bus = fresh_bus();
    let sender = roomy(&bus);
    let listeners = listeners(&bus, 8);
    assert_eq!(sender.bus_info().unwrap().bytes, 0);
    sender.send_to("$.A", &vec![1; LARGEST]).unwrap();
    for sock in &listeners {
        assert_eq!(sender.bus_info().unwrap().bytes, LARGEST as u64);
        sock.recv().unwrap();
    }
    assert_eq!(sender.bus_info().unwrap().bytes, 0);
}

/// The largest request can be answered with the largest reply.
fn largest_request_and_reply() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.replier("$.Ask").unwrap();
    let (ask, answer) = (pattern(LARGEST, 2), pattern(LARGEST, 3));
    let id = a.request_with("$.Ask", &ask, LARGEST as u32, 0).unwrap();
    let request = recv_large(&b);
    assert!(request.data == ask, "the request");
    b.reply(&request, &answer).unwrap();
    let reply = recv_large(&a);
    assert_eq!(reply.info.in_reply_to, id);
    assert!(reply.data == answer, "the reply");
    assert_eq!(a.bus_info().unwrap().bytes, 0);
}

/// One byte above 16 MiB is `EMSGSIZE`, whatever the owner wishes.
fn one_above_the_largest_is_refused() {
    let bus = fresh_bus();
    let sock = roomy(&bus);
    sock.listen("$.A").unwrap();
    fails!(EMSGSIZE, sock.send_to("$.A", &vec![0; LARGEST + 1]));
    silent!(sock);
    assert_eq!(sock.last_sent(), 0);
    assert_eq!(sock.bus_info().unwrap().bytes, 0);
}

/// By default 64 KiB is the most, and one byte above is `EMSGSIZE`.
fn one_above_the_default_is_refused() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let data = pattern(65537, 4);
    fails!(EMSGSIZE, sock.send_to("$.A", &data));
    silent!(sock);
    sock.send_to("$.A", &data[..65536]).unwrap();
    assert!(sock.recv().unwrap().data == data[..65536]);
}

/// So it is for requests and for replies, which are still owed then.
fn one_above_the_default_in_every_kind() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.Ask").unwrap();
    let data = pattern(65537, 5);
    fails!(EMSGSIZE, a.request("$.Ask", &data));
    a.request("$.Ask", &data[..65536]).unwrap();
    let request = b.recv().unwrap();
    fails!(EMSGSIZE, b.reply(&request, &data));
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, &data[..65536]).unwrap();
    assert!(a.recv().unwrap().data == data[..65536]);
}

fn all_sizes_arrive(sizes: impl Iterator<Item = usize>) {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    for size in sizes {
        let data = pattern(size, size as u32);
        assert_eq!(a.send_to("$.A", &data), Ok(size));
        assert_eq!(a.bus_info().unwrap().bytes, size as u64);
        let msg = recv_large(&b);
        assert_eq!((msg.len, msg.info.len), (size, size as u32));
        assert!(msg.data == data, "the contents of {size} bytes");
        assert_eq!(a.bus_info().unwrap().bytes, 0);
    }
}

/// Sizes at, above and below multiples of a page arrive as they are.
fn sizes_around_pages() {
    all_sizes_arrive((0..=17).flat_map(|pages| {
        let at = pages * PAGE;
        [at.saturating_sub(1), at, at + 1, at + 7]
    }));
}

/// And so do sizes that take many pages.
fn sizes_around_a_megabyte() {
    all_sizes_arrive(
        [1_usize << 20, 2 << 20, 4 << 20]
            .into_iter()
            .flat_map(|at| [at - PAGE - 1, at - 1, at, at + 1, at + PAGE, at + PAGE + 1]),
    );
}

/// A large payload read into a small buffer is cut off there.
fn large_payload_cut_short() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let data = pattern(1 << 20, 6);
    for room in [1, PAGE, 3 * PAGE + 5, (1 << 20) - 1] {
        a.send_to("$.A", &data).unwrap();
        let msg = b
            .recv_with(RecvOptions {
                room,
                ..RecvOptions::default()
            })
            .unwrap();
        assert_eq!((msg.len, msg.info.len), (room, 1 << 20));
        assert_eq!(msg.flags & libc::MSG_TRUNC, libc::MSG_TRUNC);
        assert!(msg.data == data[..room]);
        silent!(b);
    }
    assert_eq!(a.bus_info().unwrap().bytes, 0);
}

/// A peek shows all of it and leaves it.
fn large_payload_peeked() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let data = pattern((1 << 20) + 3, 7);
    a.send_to("$.A", &data).unwrap();
    for flags in [libc::MSG_PEEK, libc::MSG_PEEK, 0] {
        let msg = b
            .recv_with(RecvOptions {
                room: LARGEST,
                flags: libc::MSG_DONTWAIT | flags,
                ..RecvOptions::default()
            })
            .unwrap();
        assert!(msg.data == data);
    }
    silent!(b);
}

/// There is no reading the rest: a datagram is read once.
fn large_payload_read_in_pieces_is_gone() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", &pattern(65536, 8)).unwrap();
    a.send_to("$.A", b"next").unwrap();
    b.recv_with(RecvOptions {
        room: 100,
        ..RecvOptions::default()
    })
    .unwrap();
    assert_eq!(b.recv().unwrap().data, b"next");
}

/// Large and small, plain and urgent messages do not get into one another.
fn large_payloads_of_all_kinds_at_once() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.replier("$.Ask").unwrap();
    let sizes = [300_000, 0, 65536, 1, 123_457];
    for (n, size) in sizes.into_iter().enumerate() {
        a.send_to("$.A", &pattern(size, n as u32)).unwrap();
        a.request("$.Ask", &pattern(size + 1, n as u32)).unwrap();
    }
    for (n, size) in sizes.into_iter().enumerate() {
        assert!(recv_large(&b).data == pattern(size, n as u32));
        let request = recv_large(&b);
        assert!(request.data == pattern(size + 1, n as u32));
        b.reply(&request, &pattern(size + 2, n as u32)).unwrap();
        assert!(recv_large(&a).data == pattern(size + 2, n as u32));
    }
}

/// A queue whose bytes one message has used up misses the next.
fn second_large_one_is_missed() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let data = vec![1; LARGEST];
    a.send_to("$.A", &data).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"small", uapi::KBUS_ALL_OR_FAIL));
    a.send_to("$.A", b"small").unwrap();
    assert_eq!((b.unread(), b.lost()), (1, 1));
    b.recv().unwrap();
    a.send_to("$.A", &data).unwrap();
    assert_eq!(b.unread(), 1);
}

/// Urgent ones may be large.
fn large_urgent_payload() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"plain").unwrap();
    let data = pattern(1 << 20, 9);
    a.send_with("$.A", &data, uapi::KBUS_URGENT).unwrap();
    assert!(recv_large(&b).data == data);
    assert_eq!(b.recv().unwrap().data, b"plain");
}

/// `ALL_OR_FAIL` delivers large ones to all, or leaves nothing of them.
fn large_payload_with_all_or_fail() {
    let bus = fresh_bus();
    let a = roomy(&bus);
    let listeners = listeners(&bus, 3);
    let data = pattern(1 << 20, 10);
    let flag = uapi::KBUS_ALL_OR_FAIL;
    listeners[1].set_queue_len(1);
    a.send_with("$.A", &data, flag).unwrap();
    fails!(EBUSY, a.send_with("$.A", &data, flag));
    assert_eq!(a.bus_info().unwrap().bytes, 1 << 20);
    for sock in &listeners {
        assert!(recv_large(sock).data == data);
        silent!(sock);
    }
}

/// When the readers die it is free again.
fn large_payload_is_free_again_when_the_readers_die() {
    let bus = fresh_bus();
    let a = roomy(&bus);
    let ready = kbus_selftests::process::Gate::new();
    let victims: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| {
                let sock = Sock::on(&bus);
                sock.listen("$.A").unwrap();
                ready.open(1);
                process::park();
            })
        })
        .collect();
    ready.pass();
    ready.pass();
    a.send_to("$.A", &vec![1; LARGEST]).unwrap();
    for victim in victims {
        assert_eq!(a.bus_info().unwrap().bytes, LARGEST as u64);
        victim.kill();
    }
    assert_eq!(a.bus_info().unwrap().bytes, 0);
}

/// A smaller limit is for what is sent from then on; what waits is read.
fn limit_lowered_below_what_waits() {
    let bus = fresh_bus();
    let (a, b) = (roomy(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let data = pattern(1 << 20, 11);
    a.send_to("$.A", &data).unwrap();
    a.set_u32(uapi::KBUS_MAX_MSG_SIZE, 100).unwrap();
    fails!(EMSGSIZE, a.send_to("$.A", &data[..101]));
    assert!(recv_large(&b).data == data);
}
