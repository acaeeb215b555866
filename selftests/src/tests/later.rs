// SPDX-License-Identifier: GPL-2.0
//! What the contract promises and the module does not do yet is refused with
//! `EOPNOTSUPP`, never silently left out. Each of these tests goes when its
//! feature comes.

use std::fs::File;
use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! { pass passcred credentials rights
    passsec_and_timestamps
}

/// `KBUS_PASS`.
fn pass() {
    let sock = Sock::on(&fresh_bus());
    fails!(
        EOPNOTSUPP,
        sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_CRED)
    );
}

/// `SO_PASSCRED`.
fn passcred() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.set_socket(libc::SO_PASSCRED, 1));
}

/// `SCM_CREDENTIALS`.
fn credentials() {
    let sock = Sock::on(&fresh_bus());
    let mut out = Cmsg::rights(0);
    out.kind = libc::SCM_CREDENTIALS;
    fails!(EOPNOTSUPP, sock.send_msg(&Out::to("$.A", b"").with(out)));
}

/// `SCM_RIGHTS`.
fn rights() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let file = File::open("/").unwrap();
    let out = Out::to("$.A", b"").with(Cmsg::rights(file.as_raw_fd()));
    fails!(EOPNOTSUPP, sock.send_msg(&out));
    silent!(sock);
}

/// `SO_PASSSEC`, `SO_PASSRIGHTS`, `SO_TIMESTAMP*`.
fn passsec_and_timestamps() {
    // Not in the C library's header yet.
    const SO_PASSRIGHTS: i32 = 83;
    let sock = Sock::on(&fresh_bus());
    for option in [
        libc::SO_PASSSEC,
        SO_PASSRIGHTS,
        libc::SO_TIMESTAMP,
        libc::SO_TIMESTAMPNS,
        libc::SO_TIMESTAMPING,
    ] {
        fails!(EOPNOTSUPP, sock.set_socket(option, 1));
    }
}
