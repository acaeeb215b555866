// SPDX-License-Identifier: GPL-2.0
//! Looking inside: `fdinfo` of a socket.

use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::proc::hex;
use super::proc::text;
use super::proc::Line;

super::tests! {
    fdinfo_names_the_bus_and_the_peer fdinfo_counts_what_waits fdinfo_counts_what_is_owed
    fdinfo_counts_what_was_lost fdinfo_of_an_unbound_socket
}

/// What `fdinfo` says of a socket, by name.
fn fdinfo(sock: &Sock) -> Line {
    let text = text(&format!("/proc/self/fdinfo/{}", sock.as_raw_fd()));
    text.lines()
        .filter_map(|line| line.split_once(":\t"))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// `fdinfo` of a bus socket names its bus and its peer id.
fn fdinfo_names_the_bus_and_the_peer() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    let info = fdinfo(&sock);
    assert_eq!(info["kbus-bus"], format!("@{bus}"));
    assert_eq!(info["kbus-peer"], hex(sock.peer_id()));
}

/// And what waits in its queue, beside the limit.
fn fdinfo_counts_what_waits() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    sock.set_queue_len(50);
    for (count, bytes) in [("0", "0"), ("1", "300"), ("2", "600")] {
        let info = fdinfo(&sock);
        assert_eq!(info["kbus-unread"], count);
        assert_eq!(info["kbus-bytes"], bytes);
        assert_eq!(info["kbus-limit"], "50");
        sock.send_to("$.A", &[1; 300]).unwrap();
    }
}

/// What is reserved in it, and what it owes.
fn fdinfo_counts_what_is_owed() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    assert_eq!(fdinfo(&a)["kbus-reserved"], "0");
    assert_eq!(fdinfo(&b)["kbus-owed"], "0");
    a.request("$.A", b"").unwrap();
    assert_ne!(fdinfo(&a)["kbus-reserved"], "0");
    let request = b.recv().unwrap();
    assert_eq!(fdinfo(&b)["kbus-owed"], "1");
    b.reply(&request, b"").unwrap();
    assert_eq!(fdinfo(&b)["kbus-owed"], "0");
    assert_eq!(fdinfo(&a)["kbus-reserved"], "0");
}

/// And what it missed.
fn fdinfo_counts_what_was_lost() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.set_u32(uapi::KBUS_QUEUE_LEN, 1).unwrap();
    assert_eq!(fdinfo(&sock)["kbus-lost"], "0");
    for _ in 0..4 {
        sock.send_to("$.A", b"").unwrap();
    }
    assert_eq!(fdinfo(&sock)["kbus-lost"], "3");
}

/// `fdinfo` of a socket that is not bound can be read as well.
fn fdinfo_of_an_unbound_socket() {
    let sock = Sock::new();
    assert!(fdinfo(&sock).contains_key("flags"));
}
