// SPDX-License-Identifier: GPL-2.0
//! Looking inside: `fdinfo` of a socket.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::proc::hex;
use super::proc::text;
use super::proc::Line;

super::tests! {
    fdinfo_names_the_bus_and_the_peer fdinfo_counts_what_waits fdinfo_counts_what_is_owed
    fdinfo_counts_what_was_lost fdinfo_of_an_unbound_socket
    holder_of_a_name_is_found
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

/// The processes that have a socket open, by the way that kbus.7 tells: from
/// `/proc/net/kbus_bindings` the peer id of who holds a name, then `grep -l` for it in
/// `/proc/*/fdinfo/*`.
fn holders(bus: &str, name: &str) -> Vec<i32> {
    let bindings = text("/proc/net/kbus_bindings");
    let peer = bindings.lines().find_map(|line| {
        let columns: Vec<&str> = line.split(' ').collect();
        let is_it = columns[0] == format!("@{bus}") && columns[4..] == ["R", name];
        is_it.then(|| columns[1].to_string())
    });
    let Some(peer) = peer else {
        return Vec::new();
    };
    let script = format!("grep -l '^kbus-peer:.{peer}$' /proc/[0-9]*/fdinfo/* 2>/dev/null");
    let found = Command::new("sh").args(["-c", &script]).output().unwrap();
    let mut holders: Vec<i32> = String::from_utf8(found.stdout)
        .unwrap()
        .lines()
        .map(|file| file.split('/').nth(2).unwrap().parse().unwrap())
        .collect();
    holders.dedup();
    holders
}

/// A replier is killed while a child still has its socket: the name is taken, the maker is no
/// process any more, and `fdinfo` tells who has the socket.
fn holder_of_a_name_is_found() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    assert_eq!(holders(&bus, "$.Held"), []);
    let (ready, end) = (Gate::new(), Gate::new());
    let maker = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.Held").unwrap();
        // Not waited for: it is the one that is left.
        let heir = Child::fork(|| {
            end.pass();
        });
        ready.open(heir.pid() as u64);
        process::park();
    });
    let heir = ready.pass() as i32;
    assert_eq!(holders(&bus, "$.Held"), sorted([maker.pid(), heir]));
    let dead = maker.pid();
    maker.kill();
    fails!(EEXIST, sock.replier("$.Held"));
    let bindings = text("/proc/net/kbus_bindings");
    let line = bindings
        .lines()
        .find(|line| line.ends_with(" R $.Held"))
        .unwrap();
    assert!(
        !line.contains(&format!(" {heir} ")),
        "{line} names the heir"
    );
    assert!(!Path::new(&format!("/proc/{dead}")).exists());
    assert_eq!(holders(&bus, "$.Held"), [heir]);
    end.open(1);
}

fn sorted(mut pids: [i32; 2]) -> [i32; 2] {
    // The shell gives them in the order of their text.
    pids.sort_by_key(|pid| pid.to_string());
    pids
}
