// SPDX-License-Identifier: GPL-2.0
//! When a queue is full, and what makes room in it: messages, reserved slots, bytes.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

use super::fails;
use super::full::listener;
use super::full::ASK;
use super::full::FAIL;
use super::full_listener;
use super::silent;

super::tests! {
    room_is_counted_copy_by_copy room_of_a_replier_that_listens request_to_oneself_needs_two_slots
    reserved_slots_fill_a_queue reserved_bytes_do_not_fill_a_queue byte_limit_makes_a_listener_full
    byte_limit_makes_a_replier_full byte_limit_is_full_for_empty_messages_too
    one_large_message_fits_an_empty_queue raising_the_byte_limit_makes_room
    raising_the_queue_length_makes_room lowering_the_queue_length_makes_it_full reading_makes_room
    unbinding_makes_room
}

/// Room is counted copy by copy: two bindings need two slots.
fn room_is_counted_copy_by_copy() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    b.listen("$.A").unwrap();
    b.listen("$.*").unwrap();
    b.set_queue_len(2);
    fails!(EBUSY, a.send_with("$.A", b"x", FAIL));
    silent!(b);
    // By default what fits is delivered.
    a.send_to("$.A", b"y").unwrap();
    assert_eq!((b.drain(), b.lost()), (vec![b"y".to_vec(); 2], 1));
    b.set_queue_len(3);
    a.send_with("$.A", b"z", FAIL).unwrap();
    assert_eq!(b.drain(), [b"z", b"z", b"z"]);
}

/// A replier that listens needs two slots; with one it gets the request and
/// misses the copy.
fn room_of_a_replier_that_listens() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    b.replier("$.A").unwrap();
    b.set_queue_len(1);
    fails!(EBUSY, a.send_with("$.A", b"", ASK | FAIL));
    silent!(b);
    a.request("$.A", b"").unwrap();
    assert!(b.recv().unwrap().must_reply());
    assert_eq!((b.unread(), b.lost()), (0, 1));
    b.set_queue_len(2);
    a.send_with("$.A", b"", ASK | FAIL).unwrap();
    assert_eq!(b.unread(), 2);
}

/// A request to oneself needs two slots: for the reply and for the request.
fn request_to_oneself_needs_two_slots() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.A").unwrap();
    sock.set_queue_len(1);
    fails!(EBUSY, sock.request("$.A", b""));
    silent!(sock);
    sock.set_queue_len(2);
    sock.request("$.A", b"").unwrap();
    fails!(ENOBUFS, sock.request("$.A", b""));
    sock.reply(&sock.recv().unwrap(), b"").unwrap();
    assert_eq!(sock.unread(), 1);
}

/// Full means messages waiting and slots reserved.
fn reserved_slots_fill_a_queue() {
    let bus = fresh_bus();
    let (a, b) = (listener(&bus, "$.News"), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_queue_len(2);
    a.request("$.A", b"").unwrap();
    b.send_with("$.News", b"1", FAIL).unwrap();
    fails!(EBUSY, b.send_with("$.News", b"2", FAIL));
    a.recv().unwrap();
    a.request("$.A", b"").unwrap();
    // Nothing waits, and it is full.
    assert_eq!(a.unread(), 0);
    fails!(EBUSY, b.send_with("$.News", b"3", FAIL));
    b.reply(&b.recv().unwrap(), b"").unwrap();
    fails!(EBUSY, b.send_with("$.News", b"4", FAIL));
    a.recv().unwrap();
    b.send_with("$.News", b"5", FAIL).unwrap();
}

/// A queue's bytes are those of the messages waiting, not the reserved ones.
fn reserved_bytes_do_not_fill_a_queue() {
    let bus = fresh_bus();
    let (a, b) = (listener(&bus, "$.News"), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    a.request_with("$.A", b"", 60000, 0).unwrap();
    b.send_with("$.News", &[1; 4095], FAIL).unwrap();
    b.send_with("$.News", &[2; 10], FAIL).unwrap();
    fails!(EBUSY, b.send_with("$.News", &[3; 10], FAIL));
}

fn small(sock: &Sock) {
    sock.set_socket(libc::SO_RCVBUF, 4096).unwrap();
}

/// A listener whose bytes have reached `SO_RCVBUF` is full.
fn byte_limit_makes_a_listener_full() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    let other = listener(&bus, "$.A");
    small(&b);
    a.send_with("$.A", &[1; 4095], FAIL).unwrap();
    a.send_with("$.A", &[2; 1], FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", &[3; 1], FAIL));
    assert_eq!((b.unread(), other.unread()), (2, 2));
    a.send_to("$.A", &[4; 1]).unwrap();
    assert_eq!((b.unread(), b.lost(), other.unread()), (2, 1, 3));
}

/// So is a replier: `EBUSY` without any flag.
fn byte_limit_makes_a_replier_full() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    small(&b);
    a.request("$.A", &[1; 4096]).unwrap();
    fails!(EBUSY, a.request("$.A", b"x"));
    b.recv().unwrap();
    a.request("$.A", b"x").unwrap();
}

/// At its limit a queue takes no empty message either.
fn byte_limit_is_full_for_empty_messages_too() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    small(&b);
    a.send_with("$.A", &[1; 4096], FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
}

/// One large message always fits an empty queue.
fn one_large_message_fits_an_empty_queue() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    small(&b);
    for _ in 0..3 {
        a.send_with("$.A", &[1; 65536], FAIL).unwrap();
        fails!(EBUSY, a.send_with("$.A", b"", FAIL));
        assert_eq!(b.recv().unwrap().len, 65536);
    }
}

/// Raising `SO_RCVBUF` makes room.
fn raising_the_byte_limit_makes_room() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    small(&b);
    a.send_with("$.A", &[1; 5000], FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    b.set_socket(libc::SO_RCVBUF, 8192).unwrap();
    a.send_with("$.A", b"", FAIL).unwrap();
}

/// Raising `KBUS_QUEUE_LEN` makes room.
fn raising_the_queue_length_makes_room() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    full.set_queue_len(2);
    a.send_with("$.A", b"", FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
}

/// Set below what it holds, a queue is simply full.
fn lowering_the_queue_length_makes_it_full() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    for _ in 0..3 {
        a.send_with("$.A", b"", FAIL).unwrap();
    }
    b.set_queue_len(2);
    for _ in 0..2 {
        fails!(EBUSY, a.send_with("$.A", b"", FAIL));
        b.recv().unwrap();
    }
    a.send_with("$.A", b"", FAIL).unwrap();
}

/// Reading makes room, peeking none.
fn reading_makes_room() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let a = Sock::on(&bus);
    full.peek().unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    full.recv().unwrap();
    a.send_with("$.A", b"", FAIL).unwrap();
}

/// So does unbinding, by what it removes and because it is no target any more.
fn unbinding_makes_room() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus, "$.A"));
    b.listen("$.B").unwrap();
    b.set_queue_len(1);
    a.send_with("$.B", b"", FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    b.unlisten("$.B").unwrap();
    a.send_with("$.A", b"", FAIL).unwrap();
    fails!(EBUSY, a.send_with("$.A", b"", FAIL));
    drop(b);
    a.send_with("$.A", b"", FAIL).unwrap();
}
