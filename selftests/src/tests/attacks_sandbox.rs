// SPDX-License-Identifier: GPL-2.0
//! What sandboxes see of a bus: seccomp filters and Landlock.

use kbus_selftests::process::no_new_privs;
use kbus_selftests::process::skip;
use kbus_selftests::process::Child;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    filter_by_family filter_by_protocol landlock_scopes_do_not_name_a_bus landlocked_tasks_are_sandboxed
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
