// SPDX-License-Identifier: GPL-2.0
//! The default address, and the calls that make no sense on a bus.

use std::os::fd::AsRawFd;

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    connected_sends peer_name connect_again connect_needs_no_bus unspec_clears
    connect_refuses_requests connect_judges_the_name connect_filters_nothing
    connect_to_a_peer connect_wrong_family explicit_address_wins no_listen no_accept
    no_socketpair
}

/// `connect()` sets the default address for `send()` and `write()`.
fn connected_sends() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.connect("$.A").unwrap();
    sock.send(b"1").unwrap();
    // SAFETY: One byte of a literal.
    let r = unsafe { libc::write(sock.as_raw_fd(), b"2".as_ptr().cast(), 1) };
    assert_eq!(r, 1);
    assert_eq!(sock.recv().unwrap().data, b"1");
    assert_eq!(sock.recv().unwrap().data, b"2");
}

/// `getpeername` gives it back, `ENOTCONN` when there is none.
fn peer_name() {
    let sock = Sock::new();
    fails!(ENOTCONN, sock.peer_name());
    for address in ["$.A", "$.A.Long.Er.Name@1f"] {
        sock.connect(address).unwrap();
        assert_eq!(sock.peer_name().unwrap(), message_address(address));
    }
}

/// The default can be changed at any time.
fn connect_again() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.*").unwrap();
    for name in ["$.A", "$.B"] {
        sock.connect(name).unwrap();
        sock.send(b"").unwrap();
        assert_eq!(sock.recv().unwrap().name(), name);
    }
}

/// It needs no bus; sending does.
fn connect_needs_no_bus() {
    let sock = Sock::new();
    sock.connect("$.A").unwrap();
    fails!(ENOTCONN, sock.send(b""));
    sock.bind(&fresh_bus()).unwrap();
    sock.send(b"").unwrap();
}

/// `AF_UNSPEC` clears it.
fn unspec_clears() {
    let sock = Sock::on(&fresh_bus());
    sock.connect("$.A").unwrap();
    sock.connect_raw(&sockaddr(libc::AF_UNSPEC, &[0; 14]))
        .unwrap();
    fails!(ENOTCONN, sock.peer_name());
    fails!(EDESTADDRREQ, sock.send(b""));
}

/// One cannot connect to a request: `EINVAL`, and the old default stays.
fn connect_refuses_requests() {
    let sock = Sock::on(&fresh_bus());
    sock.connect("$.A").unwrap();
    fails!(EINVAL, sock.connect("$.B@1f#2a"));
    fails!(EINVAL, sock.connect("$.B#2a"));
    fails!(EINVAL, sock.connect("$.B@0x"));
    fails!(EINVAL, sock.connect("$."));
    assert_eq!(sock.peer_name().unwrap(), message_address("$.A"));
}

/// A bad name or a wildcard is `EBADMSG` here too.
fn connect_judges_the_name() {
    let sock = Sock::new();
    for name in ["Fred", "$..A", "$.*", "$.A.%", "$.A.*@1f"] {
        fails!(EBADMSG, sock.connect(name));
    }
}

/// It filters nothing of what is received.
fn connect_filters_nothing() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.listen("$.B").unwrap();
    a.connect("$.A").unwrap();
    b.send_to("$.B", b"x").unwrap();
    assert_eq!(a.recv().unwrap().data, b"x");
}

/// Connected to `$.N@peer`, plain sends are stateful requests.
fn connect_to_a_peer() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.connect(&b.sends_from("$.A")).unwrap();
    fails!(EOPNOTSUPP, a.send(b""));
    a.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST)
        .unwrap();
    a.send(b"").unwrap();
    assert_eq!(b.recv().unwrap().info.to, b.peer_id());
    b.unreplier("$.A").unwrap();
    fails!(EADDRNOTAVAIL, a.send(b""));
}

/// The family must be the socket's own (or `AF_UNSPEC`).
fn connect_wrong_family() {
    fails!(
        EINVAL,
        Sock::new().connect_raw(&sockaddr(libc::AF_INET, b"$.A"))
    );
}

/// An address given with the message is used instead.
fn explicit_address_wins() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.*").unwrap();
    sock.connect("$.A").unwrap();
    sock.send_to("$.B", b"").unwrap();
    assert_eq!(sock.recv().unwrap().name(), "$.B");
    silent!(sock);
}

/// There is nothing to listen for: `EOPNOTSUPP`.
fn no_listen() {
    let sock = Sock::on(&fresh_bus());
    // SAFETY: Always safe.
    let r = unsafe { libc::listen(sock.as_raw_fd(), 1) };
    assert_eq!((r, Errno::last()), (-1, Errno(libc::EOPNOTSUPP)));
}

/// And nothing to accept: `EOPNOTSUPP`.
fn no_accept() {
    let sock = Sock::on(&fresh_bus());
    let none = std::ptr::null_mut();
    // SAFETY: No address is asked for.
    let r = unsafe { libc::accept(sock.as_raw_fd(), none, std::ptr::null_mut()) };
    assert_eq!((r, Errno::last()), (-1, Errno(libc::EOPNOTSUPP)));
}

/// There are no pairs: `EOPNOTSUPP`.
fn no_socketpair() {
    let form = Form::chosen();
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for two descriptors.
    let r = unsafe {
        libc::socketpair(
            form.family(),
            libc::SOCK_DGRAM,
            form.protocol(),
            fds.as_mut_ptr(),
        )
    };
    assert_eq!((r, Errno::last()), (-1, Errno(libc::EOPNOTSUPP)));
}
