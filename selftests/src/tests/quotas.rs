// SPDX-License-Identifier: GPL-2.0
//! How many objects a user may have, and the limits that are sysctls.

use kbus_selftests::process;
use kbus_selftests::process::as_user;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::budgets::of;
use super::budgets::A;
use super::budgets::B;
use super::fails;

super::tests! {
    too_many_buses bus_counts_for_who_stays too_many_wide_listeners too_many_waits limits_are_sysctls
    queue_len_limit_is_a_sysctl bus_bytes_limit_is_a_sysctl machine_limits_are_read_only_in_a_namespace
}

/// A user may have made 256 buses: `EDQUOT`. Joining those of others is free.
fn too_many_buses() {
    assert_eq!(Sysctl::get("user_buses"), 256);
    let _limit = Sysctl::set("user_buses", 3);
    let mine: Vec<Sock> = (0..3).map(|_| of(A, &fresh_bus())).collect();
    let fourth = as_user(A, Sock::new);
    fails!(EDQUOT, fourth.bind(&fresh_bus()));
    let others = fresh_bus();
    let _owner = of(B, &others);
    fourth.bind(&others).unwrap();
    drop(mine);
    drop(of(A, &fresh_bus()));
}

/// A bus counts for its maker while that user has a socket on it, then for who has been there for longest: those who stay
/// use up nobody else's count, and no user makes buses without end by leaving them to another one.
fn bus_counts_for_who_stays() {
    let _limit = Sysctl::set("user_buses", 2);
    let makes_none = |user: u32| {
        fails!(EDQUOT, as_user(user, Sock::new).bind(&fresh_bus()));
    };
    let names = [fresh_bus(), fresh_bus()];
    let made = [&names[0], &names[1]].map(|name| of(A, name));
    let second = of(A, &names[0]);
    let stay = [&names[0], &names[1]].map(|name| of(B, name));
    let later = [&names[0], &names[1]].map(|name| of(4003, name));
    makes_none(A);
    drop(made);
    let again = of(A, &fresh_bus());
    makes_none(A);
    drop(second);
    let third = of(A, &fresh_bus());
    makes_none(A);
    makes_none(B);
    drop(stay);
    drop(of(B, &fresh_bus()));
    makes_none(4003);
    drop(later);
    drop([of(4003, &fresh_bus()), of(4003, &fresh_bus())]);
    makes_none(A);
    drop((again, third));
    // One may have more than the limit, if others leave theirs to it.
    let six: Vec<Sock> = [A, 4003, 4004]
        .into_iter()
        .flat_map(|user| {
            let both = [fresh_bus(), fresh_bus()];
            let made = [&both[0], &both[1]].map(|name| of(user, name));
            let stay = [&both[0], &both[1]].map(|name| of(B, name));
            drop(made);
            stay
        })
        .collect();
    makes_none(B);
    drop(six);
    drop([of(B, &fresh_bus()), of(B, &fresh_bus())]);
}

/// A user may have 256 sockets on a bus that listen to `$.*` or `$.%`.
fn too_many_wide_listeners() {
    assert_eq!(Sysctl::get("user_wide"), 256);
    let _limit = Sysctl::set("user_wide", 2);
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..3).map(|_| of(A, &bus)).collect();
    socks[0].listen("$.*").unwrap();
    socks[0].listen("$.%").unwrap();
    socks[1].listen("$.%").unwrap();
    fails!(EDQUOT, socks[2].listen("$.*"));
    of(B, &bus).listen("$.*").unwrap();
}

/// A user may have 1024 sends that wait on a bus.
fn too_many_waits() {
    assert_eq!(Sysctl::get("user_waits"), 1024);
    let _limit = Sysctl::set("user_waits", 2);
    let bus = fresh_bus();
    let full = super::full_listener(&bus, "$.A");
    let senders: Vec<Sock> = (0..3).map(|_| of(A, &bus)).collect();
    let waits: Vec<Blocked> = senders[..2]
        .iter()
        .map(|sock| Blocked::in_call(|| sock.send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT)))
        .collect();
    fails!(
        EDQUOT,
        senders[2].send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT)
    );
    full.recv_wait().unwrap();
    full.recv_wait().unwrap();
    full.recv_wait().unwrap();
    for wait in waits {
        wait.result().unwrap();
    }
    senders[2]
        .send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT)
        .unwrap();
}

/// The limit of bindings is `net.kbus.user_bindings`.
fn limits_are_sysctls() {
    assert_eq!(Sysctl::get("user_bindings"), 4096);
    let _limit = Sysctl::set("user_bindings", 2);
    let bus = fresh_bus();
    let sock = of(A, &bus);
    sock.listen("$.A").unwrap();
    sock.replier("$.A").unwrap();
    fails!(EDQUOT, sock.listen("$.A"));
    of(B, &bus).listen("$.A").unwrap();
}

/// That of `KBUS_QUEUE_LEN` is `net.kbus.max_queue_len`.
fn queue_len_limit_is_a_sysctl() {
    assert_eq!(Sysctl::get("max_queue_len"), 16384);
    let _limit = Sysctl::set("max_queue_len", 20_000);
    let sock = Sock::on(&fresh_bus());
    sock.set_u32(uapi::KBUS_QUEUE_LEN, 20_000).unwrap();
    fails!(EPERM, sock.set_u32(uapi::KBUS_QUEUE_LEN, 20_001));
}

/// The default and most of `KBUS_BUS_BYTES` is `net.kbus.bus_bytes`.
fn bus_bytes_limit_is_a_sysctl() {
    let _limit = Sysctl::set("bus_bytes", 1 << 20);
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get_u64(uapi::KBUS_BUS_BYTES).unwrap(), 1 << 20);
    fails!(EPERM, sock.set_u64(uapi::KBUS_BUS_BYTES, (1 << 20) + 1));
    sock.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20).unwrap();
}

/// Outside the initial network namespace they can only be read, also by root.
fn machine_limits_are_read_only_in_a_namespace() {
    process::new_netns();
    for name in [
        "user_bytes",
        "user_messages",
        "bus_bytes",
        "max_queue_len",
        "user_bindings",
        "user_wide",
        "user_waits",
        "user_buses",
    ] {
        let path = format!("/proc/sys/net/kbus/{name}");
        let value = std::fs::read_to_string(&path).unwrap();
        assert!(std::fs::write(&path, value).is_err(), "{name}");
    }
}
