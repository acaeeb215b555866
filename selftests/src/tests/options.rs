// SPDX-License-Identifier: GPL-2.0
//! Socket options that no other subject covers.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    unknown_option read_only_options wrong_value_sizes peer_id_is_unique
    peer_id_is_never_reused last_sent_starts_at_nothing last_sent_counts_replies
    send_flags_start_empty longer_buffers
}

/// An option that does not exist is `ENOPROTOOPT`, to set and to get.
fn unknown_option() {
    let sock = Sock::on(&fresh_bus());
    for option in [0, 26, 999] {
        fails!(ENOPROTOOPT, sock.set_u32(option, 1));
        fails!(ENOPROTOOPT, sock.get_u32(option));
    }
}

/// Options that are only read cannot be set.
fn read_only_options() {
    let sock = Sock::on(&fresh_bus());
    for option in [
        uapi::KBUS_PEER_ID,
        uapi::KBUS_LAST_SENT,
        uapi::KBUS_UNREAD,
        uapi::KBUS_UNREPLIED,
        uapi::KBUS_LOST,
        uapi::KBUS_NEXT_LEN,
        uapi::KBUS_BUS_INFO,
    ] {
        assert!(sock.set_u64(option, 1).is_err(), "option {option} was set");
    }
}

/// A value that is too short is `EINVAL`.
fn wrong_value_sizes() {
    let sock = Sock::on(&fresh_bus());
    for option in [
        uapi::KBUS_QUEUE_LEN,
        uapi::KBUS_REPLY_MAX,
        uapi::KBUS_RECV_INFO,
        uapi::KBUS_SEND_FLAGS,
        uapi::KBUS_MAX_MSG_SIZE,
    ] {
        fails!(EINVAL, sock.set(option, &[1, 0]));
        fails!(EINVAL, sock.set(option, &[]));
    }
    fails!(EINVAL, sock.set(uapi::KBUS_IGNORE, &[1, 0, 0, 0]));
}

/// Every socket has an id of its own, and none has 0, which is the bus.
fn peer_id_is_unique() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..20).map(|_| Sock::on(&bus)).collect();
    let mut ids: Vec<u64> = socks.iter().map(Sock::peer_id).collect();
    assert!(!ids.contains(&0));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

/// An id is never used again, on whatever bus.
fn peer_id_is_never_reused() {
    let mut seen = Vec::new();
    for _ in 0..50 {
        let id = Sock::on(&fresh_bus()).peer_id();
        assert!(!seen.contains(&id));
        seen.push(id);
    }
}

/// Before anything was sent `KBUS_LAST_SENT` is 0.
fn last_sent_starts_at_nothing() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.last_sent(), 0);
    sock.send_to("$.A", b"").unwrap();
    assert!(sock.last_sent() > 0);
}

/// A reply is a send too; a status is nobody's.
fn last_sent_counts_replies() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"").unwrap();
    assert!(b.last_sent() > id);
    assert_eq!(a.last_sent(), id);
    let before = b.last_sent();
    let id = a.request("$.A", b"").unwrap();
    b.recv().unwrap();
    b.ignore(id).unwrap();
    assert_eq!(b.last_sent(), before);
}

/// By default a send has no flags.
fn send_flags_start_empty() {
    assert_eq!(Sock::new().get_u32(uapi::KBUS_SEND_FLAGS), Ok(0));
}

/// Read into a longer buffer, an option says how long it is.
fn longer_buffers() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get(uapi::KBUS_QUEUE_LEN, 16).unwrap().len(), 4);
    assert_eq!(sock.get(uapi::KBUS_PEER_ID, 16).unwrap().len(), 8);
    let info = std::mem::size_of::<uapi::kbus_bus_info>();
    assert!(sock.get(uapi::KBUS_BUS_INFO, 1000).unwrap().len() >= info);
}
