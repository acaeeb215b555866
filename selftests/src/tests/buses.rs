// SPDX-License-Identifier: GPL-2.0
//! Joining buses, and who owns them.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::bus_address;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    name_of_a_bound_socket no_autobind bind_twice longest_bus_name too_long_bus_name
    empty_bus_name wrong_family bytes_make_the_name not_an_af_unix_name
    buses_are_separate bus_ends_with_its_last_socket bus_outlives_its_maker
    per_network_namespace owner_options_are_for_the_owner
    anybody_may_read_owner_options ownership_stays_with_the_maker mode_is_checked_at_bind
    mode_set_before_bind mode_group mode_default bus_info_counts bus_info_owner
    bus_info_domain bus_info_bytes owner_by_user
    mode_owner_bit bus_info_may_be_read_short
}

/// `getsockname` gives the bus, abstract: counted and not terminated.
fn name_of_a_bound_socket() {
    let bus = fresh_bus();
    assert_eq!(Sock::on(&bus).name().unwrap(), bus_address(&bus));
}

/// A bare family is no bus: there is no autobind.
fn no_autobind() {
    let sock = Sock::new();
    let family = Form::chosen().family();
    fails!(EINVAL, sock.bind_raw(&sockaddr(family, b"")));
    fails!(EINVAL, sock.bind_raw(&[1]));
    sock.bind(&fresh_bus()).unwrap();
}

/// A socket is bound once.
fn bind_twice() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    fails!(EINVAL, sock.bind(&bus));
    fails!(EINVAL, sock.bind(&fresh_bus()));
    assert_eq!(sock.name().unwrap(), bus_address(&bus));
}

/// An abstract bus name may have 107 bytes.
fn longest_bus_name() {
    let bus = format!("{:x<107}", fresh_bus());
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    assert_eq!(a.name().unwrap(), bus_address(&bus));
    a.listen("$.A").unwrap();
    b.send_to("$.A", b"").unwrap();
    a.recv().unwrap();
}

/// And no more.
fn too_long_bus_name() {
    let bus = format!("{:x<108}", fresh_bus());
    fails!(EINVAL, Sock::new().bind(&bus));
}

/// And at least one.
fn empty_bus_name() {
    fails!(EINVAL, Sock::new().bind(""));
}

/// The family of the address must be the socket's own.
fn wrong_family() {
    let sock = Sock::new();
    for family in [libc::AF_UNSPEC, libc::AF_INET, 19] {
        fails!(EINVAL, sock.bind_raw(&sockaddr(family, b"\0wrong-family")));
    }
    let other = match Form::chosen() {
        Form::Literal => Form::Family,
        Form::Family => Form::Literal,
    };
    fails!(
        EINVAL,
        sock.bind_raw(&sockaddr(other.family(), b"\0wrong-family"))
    );
}

/// As in `unix(7)` every byte counts: a trailing NUL makes another bus.
fn bytes_make_the_name() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&format!("{bus}\0"));
    a.listen("$.A").unwrap();
    b.send_to("$.A", b"").unwrap();
    silent!(a);
}

/// A bus is not the `AF_UNIX` socket of the same bytes.
fn not_an_af_unix_name() {
    let bus = fresh_bus();
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    let mut address = sockaddr(libc::AF_UNIX, b"\0");
    address.extend_from_slice(bus.as_bytes());
    unix.bind_raw(&address).unwrap();
    Sock::on(&bus);
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    fails!(EADDRINUSE, unix.bind_raw(&address));
}

/// What is sent on one bus is not heard on another.
fn buses_are_separate() {
    let a = Sock::on(&fresh_bus());
    let b = Sock::on(&fresh_bus());
    a.listen("$.*").unwrap();
    a.replier("$.Ask").unwrap();
    b.replier("$.Ask").unwrap();
    b.send_to("$.A", b"").unwrap();
    silent!(a);
}

/// A bus exists while some socket is bound to it; the next one is new.
fn bus_ends_with_its_last_socket() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    drop(sock);
    let sock = Sock::on(&bus);
    assert_eq!(
        sock.get_u32(uapi::KBUS_MAX_MSG_SIZE),
        Ok(uapi::KBUS_MSG_SIZE_DEFAULT)
    );
}

/// It does not end with its maker.
fn bus_outlives_its_maker() {
    let bus = fresh_bus();
    let maker = Sock::on(&bus);
    maker.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    let other = Sock::on(&bus);
    drop(maker);
    assert_eq!(other.get_u32(uapi::KBUS_MAX_MSG_SIZE), Ok(1000));
    assert_eq!(Sock::on(&bus).get_u32(uapi::KBUS_MAX_MSG_SIZE), Ok(1000));
}

/// An abstract bus belongs to a network namespace.
fn per_network_namespace() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.*").unwrap();
    sock.replier("$.Ask").unwrap();
    Child::fork(|| {
        process::new_netns();
        let inner = Sock::on(&bus);
        assert_eq!(inner.bus_info().unwrap().members, 1);
        inner.send_to("$.A", b"").unwrap();
        fails!(EADDRNOTAVAIL, inner.request("$.Ask", b""));
    })
    .join();
    silent!(sock);
}

/// Options of the whole bus are set by its owner; others get `EPERM`.
fn owner_options_are_for_the_owner() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        fails!(EPERM, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000));
        fails!(EPERM, sock.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20));
        fails!(EPERM, sock.set_u32(uapi::KBUS_BUS_MODE, 0o600));
    })
    .join();
    owner.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    owner.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20).unwrap();
    owner.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
}

/// Reading them needs no ownership.
fn anybody_may_read_owner_options() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        assert_eq!(sock.get_u32(uapi::KBUS_MAX_MSG_SIZE), Ok(1000));
        assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(0o666));
        assert!(sock.get_u64(uapi::KBUS_BUS_BYTES).unwrap() > 0);
        assert_eq!(sock.bus_info().unwrap().uid, 0);
    })
    .join();
}

/// The maker's user owns the bus for as long as it exists, gone or not.
fn ownership_stays_with_the_maker() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let (bound, go) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        bound.open(1);
        go.pass();
        fails!(EPERM, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000));
        assert_eq!(sock.bus_info().unwrap().uid, 0);
    });
    bound.pass();
    drop(owner);
    go.open(1);
    child.join();
}

/// A user without the write bit may not bind: `EACCES`.
fn mode_is_checked_at_bind() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
    assert_eq!(owner.get_u32(uapi::KBUS_BUS_MODE), Ok(0o600));
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::new();
        fails!(EACCES, sock.bind(&bus));
        // The socket is as good as new.
        sock.bind(&fresh_bus()).unwrap();
    })
    .join();
    Sock::on(&bus);
}

/// A mode set before `bind` is used by the bind that makes the bus.
fn mode_set_before_bind() {
    let bus = fresh_bus();
    let maker = Sock::new();
    maker.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
    maker.bind(&bus).unwrap();
    Child::fork(|| {
        process::become_user(1000, 1000);
        fails!(EACCES, Sock::new().bind(&bus));
    })
    .join();
    // It changes nothing on a bus that is there.
    let other = Sock::new();
    other.set_u32(uapi::KBUS_BUS_MODE, 0o666).unwrap();
    other.bind(&bus).unwrap();
    assert_eq!(maker.get_u32(uapi::KBUS_BUS_MODE), Ok(0o600));
}

/// The group's bit counts for the egid of the bind that made the bus.
fn mode_group() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u32(uapi::KBUS_BUS_MODE, 0o660).unwrap();
    Child::fork(|| {
        process::become_user(1000, 0);
        Sock::on(&bus);
    })
    .join();
    Child::fork(|| {
        process::become_user(1000, 1000);
        fails!(EACCES, Sock::new().bind(&bus));
    })
    .join();
}

/// By default everybody may join.
fn mode_default() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(0o666));
}

/// `KBUS_BUS_INFO` counts members and bindings.
fn bus_info_counts() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    a.listen("$.A").unwrap();
    b.replier("$.A").unwrap();
    let info = a.bus_info().unwrap();
    assert_eq!((info.members, info.bindings), (2, 2));
    drop(b);
    let info = a.bus_info().unwrap();
    assert_eq!((info.members, info.bindings), (1, 1));
    assert_eq!(info.max_msg, uapi::KBUS_MSG_SIZE_DEFAULT);
}

/// `KBUS_BUS_INFO` names owner, group and mode.
fn bus_info_owner() {
    let bus = fresh_bus();
    Child::fork(|| {
        process::become_user(1000, 1001);
        let info = Sock::on(&bus).bus_info().unwrap();
        assert_eq!((info.uid, info.gid, info.mode), (1000, 1001, 0o666));
    })
    .join();
}

/// Buses of one network namespace are one order domain, those of another not.
fn bus_info_domain() {
    let domain = || Sock::on(&fresh_bus()).bus_info().unwrap().domain;
    let here = domain();
    assert_eq!(domain(), here);
    Child::fork(|| {
        process::new_netns();
        assert_ne!(domain(), here);
    })
    .join();
}

/// `bytes` is the payload alive on the bus: once, however many queues hold it.
fn bus_info_bytes() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..3).map(|_| Sock::on(&bus)).collect();
    for sock in &socks {
        sock.listen("$.A").unwrap();
    }
    let info = socks[0].bus_info().unwrap();
    assert_eq!(info.bytes, 0);
    assert!(info.bytes_max > 0);
    socks[0].send_to("$.A", &[7; 5000]).unwrap();
    assert_eq!(socks[0].bus_info().unwrap().bytes, 5000);
    for sock in &socks {
        sock.recv().unwrap();
    }
    assert_eq!(socks[0].bus_info().unwrap().bytes, 0);
}

/// Any process of the owning user is the owner, privileged or not.
fn owner_by_user() {
    let bus = fresh_bus();
    let made = Gate::new();
    let maker = Child::fork(|| {
        process::become_user(1000, 1000);
        let _sock = Sock::on(&bus);
        made.open(1);
        process::park();
    });
    made.pass();
    Child::fork(|| {
        process::become_user(1000, 2000);
        let sock = Sock::on(&bus);
        sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    })
    .join();
    Child::fork(|| {
        process::become_user(1001, 1000);
        fails!(EPERM, Sock::on(&bus).set_u32(uapi::KBUS_MAX_MSG_SIZE, 2000));
    })
    .join();
    // CAP_NET_ADMIN over the user namespace makes an owner too.
    let root = Sock::on(&bus);
    root.set_u32(uapi::KBUS_MAX_MSG_SIZE, 3000).unwrap();
    maker.kill();
}

/// The owner's bit is for the owner, also when the others' are set.
fn mode_owner_bit() {
    let bus = fresh_bus();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let maker = Sock::on(&bus);
        maker.set_u32(uapi::KBUS_BUS_MODE, 0o066).unwrap();
        fails!(EACCES, Sock::new().bind(&bus));
        maker.set_u32(uapi::KBUS_BUS_MODE, 0o200).unwrap();
        Sock::on(&bus);
    })
    .join();
}

/// `KBUS_BUS_INFO` gives a shorter buffer its beginning: programs that know a
/// shorter struct go on working.
fn bus_info_may_be_read_short() {
    let sock = Sock::on(&fresh_bus());
    let whole = sock.get(uapi::KBUS_BUS_INFO, 1000).unwrap();
    for len in [8, 24, 28] {
        assert_eq!(sock.get(uapi::KBUS_BUS_INFO, len).unwrap(), whole[..len]);
    }
}
