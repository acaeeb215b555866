// SPDX-License-Identifier: GPL-2.0
//! What the contract promises and the module does not do yet is refused with
//! `EOPNOTSUPP`, never silently left out. Each of these tests goes when its
//! feature comes.

use std::fs::File;
use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    urgent urgent_by_msg_oob all_or_fail all_or_wait flags_by_option once lossy
    report_lost pass passcred credentials report_binds sync rights
}

fn flag_is_refused(flag: u32) {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let out = Out::to("$.A", b"").with(Cmsg::send(flag, 0, 0));
    fails!(EOPNOTSUPP, sock.send_msg(&out));
    silent!(sock);
}

/// `KBUS_URGENT`.
fn urgent() {
    flag_is_refused(uapi::KBUS_URGENT);
}

/// `MSG_OOB`, its other name.
fn urgent_by_msg_oob() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let to = message_address("$.A");
    fails!(EOPNOTSUPP, sock.send_raw(&to, b"", libc::MSG_OOB));
    silent!(sock);
}

/// `KBUS_ALL_OR_FAIL`.
fn all_or_fail() {
    flag_is_refused(uapi::KBUS_ALL_OR_FAIL);
}

/// `KBUS_ALL_OR_WAIT`.
fn all_or_wait() {
    flag_is_refused(uapi::KBUS_ALL_OR_WAIT);
}

/// The same flags in `KBUS_SEND_FLAGS`: refused there, or at the next send.
fn flags_by_option() {
    for flag in [
        uapi::KBUS_URGENT,
        uapi::KBUS_ALL_OR_FAIL,
        uapi::KBUS_ALL_OR_WAIT,
    ] {
        let sock = Sock::on(&fresh_bus());
        match sock.set_u32(uapi::KBUS_SEND_FLAGS, flag) {
            Err(errno) => assert_eq!(errno.0, libc::EOPNOTSUPP),
            Ok(()) => fails!(EOPNOTSUPP, sock.send_to("$.A", b"")),
        }
    }
}

/// `KBUS_ONCE`.
fn once() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_ONCE, 1));
}

/// `KBUS_LOSSY`.
fn lossy() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_LOSSY, 1));
}

/// `KBUS_REPORT_LOST`.
fn report_lost() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_REPORT_LOST, 1));
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

/// `KBUS_REPORT_BINDS`.
fn report_binds() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_REPORT_BINDS, 1));
}

/// `KBUS_SYNC`.
fn sync() {
    let sock = Sock::on(&fresh_bus());
    fails!(EOPNOTSUPP, sock.get_u64(uapi::KBUS_SYNC));
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
