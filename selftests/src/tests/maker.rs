// SPDX-License-Identifier: GPL-2.0
//! Who made a bus: `SO_PEERCRED`, `SO_PEERPIDFD`, and its owner.

use std::fs;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    maker_of_the_bus maker_stays_the_maker no_maker_before_bind maker_as_a_pidfd
    owner_in_another_user_namespace
}

// Not in the C library's header for this target.
const SO_PEERPIDFD: i32 = 77;

/// Who made the bus of a socket.
pub(super) fn peer_cred(sock: &Sock) -> Creds {
    let bytes = sock
        .get_at(libc::SOL_SOCKET, libc::SO_PEERCRED, &[0; 12])
        .unwrap();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    Creds {
        pid: word(0) as i32,
        uid: word(4),
        gid: word(8),
    }
}

/// `SO_PEERCRED` of every socket of a bus tells who made the bus: process, effective user and group.
fn maker_of_the_bus() {
    let bus = fresh_bus();
    let ready = Gate::new();
    let maker = Child::fork(|| {
        // SAFETY: Always safe.
        let r = unsafe { libc::setresgid(11, 12, 13) | libc::setresuid(1, 2, 3) };
        assert_eq!(r, 0);
        let _sock = Sock::on(&bus);
        ready.open(1);
        process::park();
    });
    ready.pass();
    let pid = maker.pid();
    let (uid, gid) = (2, 12);
    assert_eq!(peer_cred(&Sock::on(&bus)), Creds { pid, uid, gid });
}

/// It stays so when the maker has gone; a bus that is made anew has another one.
fn maker_stays_the_maker() {
    let bus = fresh_bus();
    let made = Gate::new();
    let joined = Gate::new();
    let maker = Child::fork(|| {
        let _sock = Sock::on(&bus);
        made.open(1);
        joined.pass();
    });
    made.pass();
    let a = Sock::on(&bus);
    joined.open(1);
    let pid = maker.pid();
    maker.join();
    let b = Sock::on(&bus);
    for sock in [&a, &b] {
        assert_eq!(peer_cred(sock).pid, pid);
    }
    drop((a, b));
    assert_eq!(peer_cred(&Sock::on(&bus)), Creds::own());
}

/// An unbound socket has no peer.
fn no_maker_before_bind() {
    let sock = Sock::new();
    let (uid, gid) = (u32::MAX, u32::MAX);
    assert_eq!(peer_cred(&sock), Creds { pid: 0, uid, gid });
    fails!(ENODATA, sock.get_socket(SO_PEERPIDFD));
    fails!(EINVAL, sock.bind(""));
    assert_eq!(peer_cred(&sock), Creds { pid: 0, uid, gid });
}

/// `SO_PEERPIDFD` gives a pidfd of the process that made the bus, as long as it lives.
fn maker_as_a_pidfd() {
    let bus = fresh_bus();
    let made = Gate::new();
    let maker = Child::fork(|| {
        let _sock = Sock::on(&bus);
        made.open(1);
        process::park();
    });
    made.pass();
    let sock = Sock::on(&bus);
    let fd = sock.get_socket(SO_PEERPIDFD).unwrap();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:\t"));
    assert_eq!(pid, Some(&maker.pid().to_string()[..]));
    maker.kill();
    fails!(ESRCH, sock.get_socket(SO_PEERPIDFD));
}

/// The owner of a bus is the overflow user to whom he does not exist.
fn owner_in_another_user_namespace() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.bus_info().unwrap().uid, 0);
    process::become_user(1000, 1001);
    let own = Sock::on(&fresh_bus());
    process::new_userns(7, 8);
    let info = own.bus_info().unwrap();
    assert_eq!((info.uid, info.gid), (7, 8));
    let info = sock.bus_info().unwrap();
    assert_eq!((info.uid, info.gid), (65534, 65534));
}
