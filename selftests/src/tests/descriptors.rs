// SPDX-License-Identifier: GPL-2.0
//! A socket lives as long as anything refers to it.

use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    dup_keeps_the_socket fork_keeps_the_socket last_reference_counts
    passed_over_af_unix passed_socket_owes_the_reply lost_in_flight
}

/// Closing one of two descriptors closes nothing.
fn dup_keeps_the_socket() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let copy = b.dup();
    let id = a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    drop(b);
    silent!(a);
    copy.reply(&request, b"").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
    drop(copy);
    fails!(EADDRNOTAVAIL, a.request("$.A", b""));
}

/// A child inherits the socket itself, with its queue and its debts.
fn fork_keeps_the_socket() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    Child::fork(|| {
        b.reply(&b.recv().unwrap(), b"").unwrap();
    })
    .join();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
    // The child is gone; the socket is not.
    assert_eq!(a.who_replies("$.A"), Ok(b.peer_id()));
}

/// It closes with the last process that holds it.
fn last_reference_counts() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let ready = Gate::new();
    let child = Child::fork(|| {
        ready.open(1);
        process::park();
    });
    ready.pass();
    let id = a.request("$.A", b"").unwrap();
    drop(b);
    silent!(a);
    child.kill();
    let info = a.recv().unwrap().info;
    assert_eq!(info.in_reply_to, id);
    assert_eq!(info.error, uapi::KBUS_GONE_AWAY as i32);
}

/// Sends a descriptor through an AF_UNIX socket.
pub(super) fn pass(through: &UnixDatagram, sock: &Sock) {
    let copy = OwnedFd::from(through.try_clone().unwrap());
    let out = Out::nowhere(b"x").with(Cmsg::rights(sock.as_raw_fd()));
    Sock::from(copy).send_msg(&out).unwrap();
}

/// Receives it.
pub(super) fn take(through: &UnixDatagram) -> Sock {
    let copy = OwnedFd::from(through.try_clone().unwrap());
    let msg = Sock::from(copy).recv_wait().unwrap();
    let rights = msg
        .cmsg(libc::SOL_SOCKET, libc::SCM_RIGHTS)
        .expect("SCM_RIGHTS");
    let fd = i32::from_ne_bytes(rights[..mem::size_of::<i32>()].try_into().unwrap());
    // SAFETY: The kernel has just made this descriptor for us.
    Sock::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A kbus socket may be passed over `AF_UNIX`.
fn passed_over_af_unix() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"before").unwrap();
    let (near, far) = UnixDatagram::pair().unwrap();
    pass(&near, &b);
    let peer = b.peer_id();
    drop(b);
    // In flight it still listens.
    a.send_to("$.A", b"meanwhile").unwrap();
    let b = take(&far);
    assert_eq!(b.peer_id(), peer);
    assert_eq!(b.recv().unwrap().data, b"before");
    assert_eq!(b.recv().unwrap().data, b"meanwhile");
}

/// Who gets the descriptor can answer what the socket owes.
fn passed_socket_owes_the_reply() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let (near, far) = UnixDatagram::pair().unwrap();
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    pass(&near, &b);
    drop(b);
    Child::fork(|| {
        take(&far).reply(&request, b"by proxy").unwrap();
    })
    .join();
    let reply = a.recv().unwrap();
    assert_eq!(
        (reply.info.in_reply_to, &reply.data[..]),
        (id, &b"by proxy"[..])
    );
}

/// A socket that is lost in flight closes like any other.
fn lost_in_flight() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let (near, far) = UnixDatagram::pair().unwrap();
    pass(&near, &b);
    drop(b);
    silent!(a);
    drop(near);
    drop(far);
    let info = a.recv_wait().unwrap().info;
    assert_eq!(info.in_reply_to, id);
    assert_eq!(info.error, uapi::KBUS_GONE_AWAY as i32);
}
