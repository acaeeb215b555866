// SPDX-License-Identifier: GPL-2.0
//! Attacks by sockets, by copies that never end, and by way of namespaces.

use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::ptr;

use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::take;
use kbus_selftests::attack::Attackers;
use kbus_selftests::attack::Victim;
use kbus_selftests::attack::ATTACKER;
use kbus_selftests::attack::NEWS;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::cgroup::slab_bytes;
use kbus_selftests::process::as_user;
use kbus_selftests::process::become_user;
use kbus_selftests::process::no_new_privs;
use kbus_selftests::process::skip;
use kbus_selftests::process::sleep_ms;
use kbus_selftests::process::Child;
use kbus_selftests::process::Sysctl;
use kbus_selftests::siege::untouchable;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    root_of_a_user_namespace limits_are_not_lifted_by_unshare sandbox_rule_is_not_evaded_by_unshare
}
super::timed! {
    sockets_of_50_processes_of_one_user sockets_of_16_users storm_of_short_lived_sockets
    storm_of_short_lived_buses copies_that_never_end
}

/// Fifty processes open all the sockets they may, on the victim's bus.
fn sockets_of_50_processes(what: &str, users: u32) {
    let each = super::number("N").unwrap_or(256);
    let (bus, clean) = (fresh_bus(), fresh_bus());
    let _owners = [Sock::on(&bus), Sock::on(&clean)];
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let before = slab_bytes();
    let attackers = Attackers::there(50, users, |i| {
        raise_file_limit(each);
        let mut socks = Vec::new();
        let end = loop {
            let sock = match Sock::open() {
                Ok(sock) => sock,
                Err(errno) => break errno,
            };
            sock.bind(&bus).unwrap();
            // Up to the limit of bindings.
            if let Err(errno) = sock.listen(&format!("$.Attack.N{i}")) {
                assert_eq!(errno.0, libc::EDQUOT);
            }
            socks.push(sock);
        };
        assert_eq!(end.0, libc::EMFILE);
        assert!(socks.len() as u64 + 16 > each, "{} sockets", socks.len());
        socks
    });
    let info = victim_sees(&bus);
    let members = info.members;
    assert!(u64::from(members) > 50 * (each - 16), "{members} sockets");
    // Each user has one for each of its sockets, or as many as it may. Root has one socket, the victim five and two bindings.
    let most = Sysctl::get("user_bindings") as u32;
    let bindings = match users {
        1 => most.min(members - 6),
        _ => members - 6,
    };
    assert_eq!(info.bindings, bindings + 2);
    let slab = slab_bytes().saturating_sub(before);
    eprintln!(
        "# {members} sockets: {} bytes of slab each",
        slab / u64::from(members)
    );
    attackers.leave(what, 0.9, |attacked| match attacked {
        true => victim.step(),
        false => spared.step(),
    });
    // New ones are made as before.
    for _ in 0..100 {
        let sock = as_user(VICTIM, || Sock::on(&bus));
        sock.listen("$.Victim.New").unwrap();
    }
}

fn victim_sees(bus: &str) -> uapi::kbus_bus_info {
    let sock = as_user(VICTIM, || Sock::on(bus));
    sock.bus_info().unwrap()
}

/// Of one user.
fn sockets_of_50_processes_of_one_user() {
    sockets_of_50_processes("all sockets of 50 processes", 1);
}

/// Of sixteen.
fn sockets_of_16_users() {
    sockets_of_50_processes("all sockets of 50 processes of 16 users", 16);
}

/// Sockets that join the victim's bus, bind, and go.
fn storm_of_short_lived_sockets() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(4, 4, 200, |i| {
        let (listens, replies) = (format!("$.Attack.L{i}"), format!("$.Attack.R{i}"));
        let bus = bus.clone();
        move || {
            let sock = Sock::on(&bus);
            sock.listen(&listens).unwrap();
            sock.replier(&replies).unwrap();
            true
        }
    });
    attackers.leave("short-lived sockets on the bus", 0.3, |_| victim.step());
    attackers.leave_paced("short-lived sockets on the bus", 500, |_| victim.step());
}

/// Sockets each of which makes a bus of its own.
fn storm_of_short_lived_buses() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(4, 4, 200, |_| {
        || {
            drop(Sock::on(&fresh_bus()));
            true
        }
    });
    // That the machine makes and frees sockets all the while is no fault of the buses.
    let attackers = attackers.beside(|| {
        let name = SocketAddr::from_abstract_name(fresh_bus()).unwrap();
        drop(UnixDatagram::bind_addr(&name).unwrap());
    });
    attackers.leave("short-lived buses", 0.9, |_| victim.step());
}

/// Buffers that stall every kind of copy, of processes that listen to the victim and whom it asks: nobody waits for them.
fn copies_that_never_end() {
    let (bus, clean) = (fresh_bus(), fresh_bus());
    let _owners = [Sock::on(&bus), Sock::on(&clean)];
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let attackers = Attackers::caught(6, |i, ready| {
        let memory = untouchable();
        become_user(ATTACKER, ATTACKER);
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        // Each copy costs the victim a little, and is not what this is about: for the two whom it catches.
        if i < 2 {
            sock.listen(NEWS).unwrap();
        }
        sock.replier(&format!("$.Stalled.N{i}")).unwrap();
        let (fd, level) = (sock.as_raw_fd(), uapi::SOL_KBUS as i32);
        let mut len = 64;
        ready.open(0);
        // SAFETY: The memory is there and large enough; touching it only takes its time.
        unsafe {
            let address = memory.cast::<libc::sockaddr>();
            match i {
                // The first two are caught by the victim's first message.
                0 => libc::recv(fd, memory, 4096, 0),
                1 => {
                    let mut header: libc::msghdr = std::mem::zeroed();
                    header.msg_control = memory;
                    header.msg_controllen = 4096;
                    libc::recvmsg(fd, &mut header, 0)
                }
                2 => {
                    let name = message_address("$.Victim.News");
                    let (address, len) = (name.as_ptr().cast(), name.len() as u32);
                    libc::sendto(fd, memory, 4096, 0, address, len)
                }
                3 => libc::sendto(fd, ptr::null(), 0, 0, address, 64),
                4 => libc::setsockopt(fd, level, uapi::KBUS_LISTEN as i32, memory, 64) as isize,
                _ => {
                    let option = uapi::KBUS_REPLIER as i32;
                    libc::getsockopt(fd, level, option, memory, &mut len) as isize
                }
            };
        }
    });
    victim.step();
    let asker = as_user(VICTIM, || Sock::on(&bus));
    let asked: Vec<u64> = (0..6)
        .map(|i| asker.request(&format!("$.Stalled.N{i}"), b"").unwrap())
        .collect();
    // Where the kernel waits for somebody to answer the fault of a page, and not for a message or a lock.
    let stuck = || {
        let places = attackers.where_they_sleep();
        places.iter().all(|place| place == "handle_userfault")
    };
    while !stuck() {
        sleep_ms(1);
    }
    attackers.leave("copies that never end", 0.9, |attacked| match attacked {
        true => victim.step(),
        false => spared.step(),
    });
    assert!(stuck(), "{:?}", attackers.where_they_sleep());
    // And when they die, each request has its end.
    drop(attackers);
    let mut ends: Vec<u64> = asked
        .iter()
        .map(|_| take(&asker).info.in_reply_to)
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, asked);
}

/// Makes a user namespace, and a network namespace if that is asked for, in which this process is root.
fn unshare(net: bool) {
    // SAFETY: Always safe.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let flags = libc::CLONE_NEWUSER | if net { libc::CLONE_NEWNET } else { 0 };
    // SAFETY: Always safe; a process that changed its user may not write its own maps else.
    let r = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) | libc::unshare(flags) };
    if r != 0 {
        skip("no user namespaces here");
    }
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text).expect("writing a map");
    };
    write("setgroups", "deny".into());
    write("uid_map", format!("0 {uid} 1"));
    write("gid_map", format!("0 {gid} 1"));
}

/// Root of a user namespace is an ordinary user of a bus that was made outside, and sees no ids from there.
fn root_of_a_user_namespace() {
    let (open, shut) = (fresh_bus(), fresh_bus());
    let victim = as_user(VICTIM, || Sock::on(&open));
    victim.listen("$.Victim.News").unwrap();
    let private = as_user(VICTIM, || {
        let sock = Sock::new();
        sock.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
        sock.bind(&shut).unwrap();
        sock
    });
    Child::fork(|| {
        become_user(ATTACKER, ATTACKER);
        unshare(false);
        fails!(EACCES, Sock::new().bind(&shut));
        let sock = Sock::on(&open);
        fails!(EPERM, sock.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20));
        fails!(EPERM, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1 << 20));
        fails!(EPERM, sock.set_u32(uapi::KBUS_BUS_MODE, 0o777));
        fails!(EPERM, sock.set_u32(uapi::KBUS_REPORT_BINDS, 1));
        // The overflow ids, for an owner who is nobody here.
        let info = sock.bus_info().unwrap();
        assert_eq!((info.uid, info.gid), (65534, 65534));
        let text = std::fs::read_to_string("/proc/net/kbus_bindings").unwrap();
        let line = text.lines().find(|line| line.contains("$.Victim.News"));
        let words: Vec<&str> = line.expect("its binding").split_whitespace().collect();
        assert_eq!(words[2..4], ["-", "-"], "{words:?}");
    })
    .join();
    drop(private);
}

/// A namespace lifts no limit: buses are counted for the machine, and the settings can only be read.
fn limits_are_not_lifted_by_unshare() {
    let _limit = Sysctl::set("user_buses", 3);
    let _bytes = Sysctl::set("user_bytes", 64 << 10);
    let outside = as_user(ATTACKER, || Sock::on(&fresh_bus()));
    Child::fork(|| {
        become_user(ATTACKER, ATTACKER);
        unshare(true);
        let _mine = [Sock::on(&fresh_bus()), Sock::on(&fresh_bus())];
        fails!(EDQUOT, Sock::new().bind(&fresh_bus()));
        for name in ["user_bytes", "user_buses", "user_bindings", "max_queue_len"] {
            let path = format!("/proc/sys/net/kbus/{name}");
            let value = std::fs::read_to_string(&path).unwrap();
            assert!(std::fs::write(&path, "1000000").is_err(), "{name}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), value);
        }
        // The owner of this bus is root here, and the budget is that of the user outside.
        let sock = &_mine[0];
        sock.set_queue_len(1000);
        sock.listen("$.A").unwrap();
        while sock.lost() == 0 {
            sock.send_to("$.A", &[0; 1024]).unwrap();
        }
        assert!(sock.unread() <= 64, "{}", sock.unread());
        fails!(EPERM, sock.set_u64(uapi::KBUS_BUS_BYTES, 1 << 40));
    })
    .join();
    drop(outside);
}

/// Who may not have the literal form cannot get it by a namespace either.
fn sandbox_rule_is_not_evaded_by_unshare() {
    let literal = || Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32).map(drop);
    let path = "/proc/sys/net/kbus/literal";
    Child::fork(|| {
        become_user(ATTACKER, ATTACKER);
        no_new_privs();
        fails!(EPROTONOSUPPORT, literal());
        unshare(true);
        fails!(EPROTONOSUPPORT, literal());
        assert!(std::fs::write(path, "2").is_err());
        fails!(EPROTONOSUPPORT, literal());
        Child::fork(|| {
            unshare(true);
            fails!(EPROTONOSUPPORT, literal());
        })
        .join();
    })
    .join();
    let _off = Sysctl::set("literal", 0);
    Child::fork(|| {
        become_user(ATTACKER, ATTACKER);
        unshare(true);
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "0");
        assert!(std::fs::write(path, "1").is_err());
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}
