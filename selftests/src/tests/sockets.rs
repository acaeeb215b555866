// SPDX-License-Identifier: GPL-2.0
//! Making sockets.

use std::fs;
use std::os::fd::AsRawFd;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    only_datagrams other_protocols_are_refused ordinary_unix_sockets_still_work
    unbound_name_is_the_bare_family domain_is_kbus type_is_datagram protocol_is_kbus
    cloexec_and_nonblock both_forms_share_a_bus no_socket_error unprivileged
    literal_refused_with_no_new_privs literal_refused_with_a_seccomp_filter literal_off
    literal_on_for_all literal_rejects_other_values literal_only_falls_in_a_namespace
    literal_is_inherited_by_a_namespace family_ignores_the_sandbox_rule
    other_sysctls_are_read_only_in_a_namespace
    literal_is_1_by_default
}

const LITERAL: &str = "/proc/sys/net/kbus/literal";

fn literal() -> Res<Sock> {
    Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32)
}

fn sysctl(value: &str) {
    fs::write(LITERAL, value).expect("write net.kbus.literal");
}

/// Types other than `SOCK_DGRAM` are `ESOCKTNOSUPPORT`, `SOCK_RAW` among them.
fn only_datagrams() {
    let form = Form::chosen();
    for kind in [
        libc::SOCK_STREAM,
        libc::SOCK_SEQPACKET,
        libc::SOCK_RAW,
        libc::SOCK_RDM,
    ] {
        fails!(
            ESOCKTNOSUPPORT,
            Sock::raw(form.family(), kind, form.protocol())
        );
    }
}

/// Protocols other than KBUS are `EPROTONOSUPPORT`.
fn other_protocols_are_refused() {
    let family = Form::chosen().family();
    for protocol in [0x6b61, 0x6b63, 17] {
        fails!(
            EPROTONOSUPPORT,
            Sock::raw(family, libc::SOCK_DGRAM, protocol)
        );
    }
}

/// Only our protocol number is ours: `AF_UNIX` itself is untouched.
fn ordinary_unix_sockets_still_work() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        for protocol in [0, libc::PF_UNIX] {
            let sock = Sock::raw(libc::AF_UNIX, kind, protocol).unwrap();
            assert_eq!(sock.get_socket(libc::SO_DOMAIN), Ok(libc::AF_UNIX));
        }
    }
}

/// An unbound socket's name is its family alone, length 2.
fn unbound_name_is_the_bare_family() {
    let family = Form::chosen().family() as u16;
    assert_eq!(Sock::new().name().unwrap(), family.to_ne_bytes());
}

/// `SO_DOMAIN` says `AF_KBUS` in either form.
fn domain_is_kbus() {
    assert_eq!(
        Sock::new().get_socket(libc::SO_DOMAIN),
        Ok(uapi::AF_KBUS as i32)
    );
}

/// `SO_TYPE` is `SOCK_DGRAM`.
fn type_is_datagram() {
    assert_eq!(Sock::new().get_socket(libc::SO_TYPE), Ok(libc::SOCK_DGRAM));
}

/// `SO_PROTOCOL` is the protocol that the literal form was asked for.
fn protocol_is_kbus() {
    let protocol = literal().unwrap().get_socket(libc::SO_PROTOCOL);
    assert_eq!(protocol, Ok(uapi::PROTO_KBUS as i32));
}

/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC` work as usual.
fn cloexec_and_nonblock() {
    let form = Form::chosen();
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let sock = Sock::raw(form.family(), kind, form.protocol()).unwrap();
    // SAFETY: Always safe.
    let (fd_flags, status) = unsafe {
        (
            libc::fcntl(sock.as_raw_fd(), libc::F_GETFD),
            libc::fcntl(sock.as_raw_fd(), libc::F_GETFL),
        )
    };
    assert_eq!(fd_flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    assert_eq!(status & libc::O_NONBLOCK, libc::O_NONBLOCK);
    sock.bind(&fresh_bus()).unwrap();
    fails!(EAGAIN, sock.recv_wait());
}

/// The two forms are one protocol: they meet on the same bus.
fn both_forms_share_a_bus() {
    let bus = fresh_bus();
    Form::Literal.choose();
    let a = Sock::on(&bus);
    a.listen("$.Both").unwrap();
    Form::Family.choose();
    let b = Sock::on(&bus);
    b.send_to("$.Both", b"hello").unwrap();
    let msg = a.recv().unwrap();
    assert_eq!(msg.data, b"hello");
    // Every address has the family of its own socket.
    assert_eq!(msg.raw_from[..2], (libc::AF_UNIX as u16).to_ne_bytes());
    assert_eq!(b.name().unwrap()[..2], (uapi::AF_KBUS as u16).to_ne_bytes());
}

/// `SO_ERROR` of a new socket is 0.
fn no_socket_error() {
    assert_eq!(Sock::new().get_socket(libc::SO_ERROR), Ok(0));
}

/// Sockets can be made and used without any privilege.
fn unprivileged() {
    let bus = fresh_bus();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.listen("$.Mine").unwrap();
        sock.send_to("$.Mine", b"x").unwrap();
        assert_eq!(sock.recv().unwrap().data, b"x");
    })
    .join();
}

/// With `net.kbus.literal` 1 a task with `no_new_privs` gets what it would get
/// without the module: `EPROTONOSUPPORT`.
fn literal_refused_with_no_new_privs() {
    Child::fork(|| {
        process::new_netns();
        sysctl("1");
        literal().unwrap();
        process::no_new_privs();
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// The same holds for a task with a seccomp filter.
fn literal_refused_with_a_seccomp_filter() {
    Child::fork(|| {
        process::new_netns();
        sysctl("1");
        literal().unwrap();
        // BPF_RET | BPF_K, SECCOMP_RET_ALLOW: a filter that allows everything.
        let mut allow = libc::sock_filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: 0x7fff_0000,
        };
        let program = libc::sock_fprog {
            len: 1,
            filter: &mut allow,
        };
        // SAFETY: The program lives until the call returns. Being root, the
        // task needs no `no_new_privs` for it.
        let r = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &program,
                0,
                0,
            )
        };
        if r != 0 {
            process::skip("no seccomp filters here");
        }
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// With `net.kbus.literal` 0 nobody gets a literal socket.
fn literal_off() {
    Child::fork(|| {
        process::new_netns();
        sysctl("0");
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// With `net.kbus.literal` 2 a sandboxed task gets one too.
fn literal_on_for_all() {
    let before = fs::read_to_string(LITERAL).unwrap();
    sysctl("2");
    let mut child = Child::fork(|| {
        process::no_new_privs();
        literal().unwrap();
    });
    let status = child.wait_raw();
    sysctl(before.trim());
    assert_eq!(status, 0);
}

/// The sysctl takes 0, 1 and 2 only.
fn literal_rejects_other_values() {
    let before = fs::read_to_string(LITERAL).unwrap();
    for bad in ["3", "-1"] {
        assert!(fs::write(LITERAL, bad).is_err(), "{bad} was taken");
    }
    assert_eq!(fs::read_to_string(LITERAL).unwrap(), before);
}

/// A new namespace can only lower the value.
fn literal_only_falls_in_a_namespace() {
    Child::fork(|| {
        process::new_netns();
        sysctl("1");
        assert!(fs::write(LITERAL, "2").is_err(), "1 was raised to 2");
        sysctl("0");
        assert!(fs::write(LITERAL, "1").is_err(), "0 was raised to 1");
        assert_eq!(fs::read_to_string(LITERAL).unwrap().trim(), "0");
    })
    .join();
}

/// A new namespace starts with its maker's value.
fn literal_is_inherited_by_a_namespace() {
    Child::fork(|| {
        process::new_netns();
        sysctl("0");
        process::new_netns();
        assert_eq!(fs::read_to_string(LITERAL).unwrap().trim(), "0");
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// The rule is about the literal form: a filter can name `AF_KBUS` itself.
fn family_ignores_the_sandbox_rule() {
    Child::fork(|| {
        process::no_new_privs();
        Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0).unwrap();
    })
    .join();
}

/// Every other `net.kbus.*` is read-only outside the initial namespace.
fn other_sysctls_are_read_only_in_a_namespace() {
    Child::fork(|| {
        process::new_netns();
        let Ok(entries) = fs::read_dir("/proc/sys/net/kbus") else {
            panic!("no /proc/sys/net/kbus in a new namespace");
        };
        for entry in entries.map(Result::unwrap) {
            if entry.file_name() == "literal" {
                continue;
            }
            let value = fs::read_to_string(entry.path()).unwrap();
            assert!(
                fs::write(entry.path(), value.trim()).is_err(),
                "{:?} could be written: {:?}",
                entry.path(),
                Errno::last()
            );
        }
    })
    .join();
}

/// `net.kbus.literal` is 1 by default.
fn literal_is_1_by_default() {
    assert_eq!(fs::read_to_string(LITERAL).unwrap().trim(), "1");
}
