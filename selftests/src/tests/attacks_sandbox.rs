// SPDX-License-Identifier: GPL-2.0
//! What sandboxes see of a bus: seccomp filters and Landlock.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use kbus_selftests::files;
use kbus_selftests::files::fresh_dir;
use kbus_selftests::files::open_dir;
use kbus_selftests::process::no_new_privs;
use kbus_selftests::process::skip;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use super::fails;
use super::maker::peer_cred;

super::tests! {
    filter_by_family filter_by_protocol landlock_scopes_do_not_name_a_bus landlocked_tasks_are_sandboxed
    landlock_keeps_out_of_buses_at_paths landlock_looks_at_who_made_the_bus
    landlock_counts_for_a_bus_that_nobody_is_on landlocked_binds_race_with_the_end_of_the_bus
}

/// Installs a filter that refuses `socket()` with `EACCES` where this argument has this value.
fn refuse_socket(argument: u32, value: i32) {
    let load = |at: u32| libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: at,
    };
    let unless = |k: u32, skip: u8| libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: skip,
        k,
    };
    let give = |k: u32| libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k,
    };
    let mut filter = [
        load(0),
        unless(libc::SYS_socket as u32, 3),
        load(16 + 8 * argument),
        unless(value as u32, 1),
        give(0x0005_0000 | libc::EACCES as u32),
        give(0x7fff_0000),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    no_new_privs();
    // SAFETY: The program and its length are ours.
    let r = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(r, 0, "PR_SET_SECCOMP: {:?}", Errno::last());
}

/// `socket(AF_KBUS)`.
fn family() -> Result<Sock, Errno> {
    Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0)
}

/// The literal form.
fn literal() -> Result<Sock, Errno> {
    Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32)
}

/// A filter that knows the family's number keeps `AF_KBUS` out, as `RestrictAddressFamilies=` does.
fn filter_by_family() {
    Child::fork(|| {
        refuse_socket(0, uapi::AF_KBUS as i32);
        fails!(EACCES, family());
        // And the literal form is not there in any sandbox.
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// Where sandboxes are allowed the literal form, a filter can still tell it by its protocol.
fn filter_by_protocol() {
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        refuse_socket(2, uapi::PROTO_KBUS as i32);
        fails!(EACCES, literal());
        Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        family().unwrap();
    })
    .join();
}

/// Puts this process in a Landlock domain that may connect to no abstract AF_UNIX socket outside it.
fn landlock() {
    const ABSTRACT_UNIX_SOCKET: u64 = 1;
    let attributes = [0_u64, 0, ABSTRACT_UNIX_SOCKET];
    // SAFETY: The structure is three words, of which the kernel reads as many as it is told.
    unsafe {
        let ruleset = libc::syscall(444, attributes.as_ptr(), 24, 0);
        if ruleset < 0 {
            skip("no Landlock with scopes here");
        }
        no_new_privs();
        let r = libc::syscall(446, ruleset, 0);
        assert_eq!(r, 0, "landlock_restrict_self: {:?}", Errno::last());
        libc::close(ruleset as i32);
    }
}

/// Not promised: `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` says nothing of buses, which are no AF_UNIX sockets. Filters and
/// the mode of a bus do.
fn landlock_scopes_do_not_name_a_bus() {
    let bus = fresh_bus();
    let outside = Sock::on(&bus);
    outside.listen("$.A").unwrap();
    let abstract_address = {
        let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        address.extend_from_slice(b"\0kbus-landlock");
        address
    };
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    unix.bind_raw(&abstract_address).unwrap();
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        landlock();
        let plain = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        fails!(EPERM, plain.connect_raw(&abstract_address));
        Sock::on(&bus).send_to("$.A", b"out").unwrap();
    })
    .join();
    assert_eq!(outside.drain(), [b"out"]);
}

/// Without privilege there is no Landlock domain without `no_new_privs`: so the literal form is not there in one.
fn landlocked_tasks_are_sandboxed() {
    Child::fork(|| {
        landlock();
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// `connect()` of an AF_UNIX socket to one at this path: the yardstick.
fn connect_unix(path: &Path) -> Result<(), Errno> {
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    unix.connect_raw(&sockaddr(libc::AF_UNIX, path.as_os_str().as_bytes()))
}

/// An AF_UNIX socket at a path.
fn unix_at(path: &Path) -> Sock {
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    unix.bind_raw(&sockaddr(libc::AF_UNIX, path.as_os_str().as_bytes()))
        .unwrap();
    unix
}

/// A Landlock domain that takes the right to resolve UNIX sockets joins a bus at a path where an
/// AF_UNIX socket could be connected to, and else gets the same `EACCES`.
fn landlock_keeps_out_of_buses_at_paths() {
    let (forbidden, allowed) = (fresh_dir(), fresh_dir());
    let listeners: Vec<(Sock, Sock)> = [&forbidden, &allowed]
        .map(|dir| {
            let bus = Sock::at(dir.join("av"));
            bus.listen("$.A").unwrap();
            (bus, unix_at(&dir.join("unix")))
        })
        .into();
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, Some(&allowed));
        fails!(EACCES, connect_unix(&forbidden.join("unix")));
        connect_unix(&allowed.join("unix")).unwrap();
        fails!(EACCES, Sock::new().bind_path(forbidden.join("av")));
        let sock = Sock::at(allowed.join("av"));
        sock.send_to("$.A", b"may").unwrap();
        // By another name it is the same place.
        symlink(forbidden.join("av"), allowed.join("link")).unwrap();
        fails!(EACCES, Sock::new().bind_path(allowed.join("link")));
        // What is no bus is refused for the reason it always was.
        fails!(ENOENT, Sock::new().bind_path(forbidden.join("none/av")));
        // It says nothing of abstract buses, nor of the making of an inode.
        Sock::on(&fresh_bus());
        Sock::at(forbidden.join("made"));
    })
    .join();
    assert_eq!(listeners[0].0.bus_info().unwrap().members, 1);
    assert_eq!(listeners[0].0.drain().len(), 0);
    assert_eq!(listeners[1].0.drain(), [b"may"]);
    // And nothing to who is in no such domain.
    Child::fork(|| {
        files::landlock(files::LANDLOCK_MAKE_SOCK, None);
        Sock::at(forbidden.join("av"));
    })
    .join();
}

/// What is inside the same domain may be connected to. As AF_UNIX goes by who opened the other
/// socket, a bus is judged by who made it.
fn landlock_looks_at_who_made_the_bus() {
    let dir = fresh_dir();
    let paths = |name: &str| (dir.join(name), dir.join(format!("{name}-unix")));
    let check = |(bus, unix): (PathBuf, PathBuf), may: bool| {
        if may {
            connect_unix(&unix).unwrap();
            Sock::at(&bus);
        } else {
            fails!(EACCES, connect_unix(&unix));
            fails!(EACCES, Sock::new().bind_path(&bus));
        }
    };
    let outside = (Sock::at(paths("outside").0), unix_at(&paths("outside").1));
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, None);
        let _same = (Sock::at(paths("same").0), unix_at(&paths("same").1));
        Child::fork(|| {
            check(paths("same"), true);
            check(paths("outside"), false);
            // A domain inside it: there, what the outer one made is outside.
            files::landlock(files::LANDLOCK_RESOLVE_UNIX, None);
            check(paths("same"), false);
            let _inner = (Sock::at(paths("inner").0), unix_at(&paths("inner").1));
            check(paths("inner"), true);
        })
        .join();
    })
    .join();
    // Others may join what a domain has made; whoever is on the bus, it is judged by its maker.
    drop(outside);
    let (made, joined, end) = (Gate::new(), Gate::new(), Gate::new());
    let mut sandbox = Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, None);
        let sock = Sock::at(dir.join("of-the-domain"));
        made.open(1);
        joined.pass();
        drop(sock);
        Sock::at(dir.join("of-the-domain"));
        end.pass();
    });
    made.opened_by(&mut sandbox);
    let stays = Sock::at(dir.join("of-the-domain"));
    joined.open(1);
    end.open(1);
    sandbox.join();
    drop(stays);
}

/// An inode without a bus is nobody's: whoever may not resolve it does not get it for a bus of its
/// own, where it would meet who comes later.
fn landlock_counts_for_a_bus_that_nobody_is_on() {
    let dir = fresh_dir();
    drop(Sock::at(dir.join("left")));
    let unix = unix_at(&dir.join("unix"));
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, None);
        fails!(EACCES, Sock::new().bind_path(dir.join("left")));
        fails!(EACCES, Sock::new().bind_path(dir.join("unix")));
        // Of this very domain too, once the bus has gone.
        drop(Sock::at(dir.join("own")));
        fails!(EACCES, Sock::new().bind_path(dir.join("own")));
    })
    .join();
    drop(unix);
    Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, Some(&dir));
        Sock::at(dir.join("left"));
    })
    .join();
}

/// However the bus at a path ends and begins, a domain is never on one that was made outside.
fn landlocked_binds_race_with_the_end_of_the_bus() {
    const ROUNDS: usize = 1000;
    let path = open_dir().join("av");
    let _all = Sysctl::set("literal", 2);
    let outside: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| loop {
                drop(Sock::at(&path));
            })
        })
        .collect();
    Child::fork(|| {
        files::landlock(files::LANDLOCK_RESOLVE_UNIX, None);
        let own_pid = std::process::id() as i32;
        let (mut joined, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            let sock = Sock::new();
            match sock.bind_path(&path) {
                Ok(()) => {
                    assert_eq!(peer_cred(&sock).pid, own_pid, "whose bus it is");
                    joined += 1;
                }
                Err(errno) => {
                    assert_eq!(errno, Errno(libc::EACCES));
                    refused += 1;
                }
            }
            // It may make the inode anew, and whoever is quicker makes the bus.
            if round % 4 == 0 {
                let _ = std::fs::remove_file(&path);
            }
        }
        println!("# {joined} times on a bus of its own, {refused} times refused");
    })
    .join();
    outside.into_iter().for_each(Child::kill);
}
