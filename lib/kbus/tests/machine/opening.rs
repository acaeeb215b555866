// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets and buses.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::thread;

use kbus::Bus;
use kbus::ErrorKind;
use kbus::Form;
use kbus::Socket;

use crate::announcement;
use crate::fresh;
use crate::open;

/// A task with `no_new_privs` may not use the literal form, and gets the other one, on the same
/// bus.
#[test]
#[ignore = "for the machine"]
fn a_sandboxed_thread_gets_the_other_form() {
    let bus = fresh();
    let listener = open(&bus);
    assert_eq!(listener.form(), Form::Literal);
    listener.listen("$.A").unwrap();
    let inside = bus.clone();
    thread::spawn(move || {
        // SAFETY: It concerns this thread alone, which ends.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(result, 0);
        let error = Socket::options()
            .form(Form::Literal)
            .open(&inside)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("net.kbus.literal"), "{error}");
        let socket = open(&inside);
        assert_eq!(socket.form(), Form::Family);
        socket.announce("$.A", b"from inside").unwrap();
        socket.become_replier("$.B").unwrap();
        socket.request("$.B", b"").unwrap();
        crate::request(&socket).reply(b"yes").unwrap();
        assert_eq!(crate::reply(&socket).payload(), b"yes");
    })
    .join()
    .unwrap();
    assert_eq!(announcement(&listener).payload(), b"from inside");
}

/// A bus at a path is the inode there.
#[test]
#[ignore = "for the machine"]
fn a_bus_can_be_at_a_path() {
    let bus = Bus::new("/tmp/rust-bus").unwrap();
    let (one, other) = (open(&bus), open(&bus));
    other.listen("$.A").unwrap();
    one.announce("$.A", b"1").unwrap();
    assert_eq!(announcement(&other).payload(), b"1");
    fs::remove_file("/tmp/rust-bus").unwrap();
}

/// What is wrong with a path is said in one sentence.
#[test]
#[ignore = "for the machine"]
fn a_wrong_path_is_explained() {
    fs::write("/tmp/rust-file", b"").unwrap();
    let error = Socket::open("/tmp/rust-file").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Path);
    assert_eq!(
        error.to_string(),
        "cannot join the bus /tmp/rust-file: what is at this path is no socket (ECONNREFUSED)"
    );
    fs::remove_file("/tmp/rust-file").unwrap();
    assert_eq!(
        Socket::open("/tmp/none/bus").unwrap_err().kind(),
        ErrorKind::Path
    );
}

/// A mode that admits nobody else is there from the first moment on.
#[test]
#[ignore = "for the machine"]
fn the_maker_chooses_the_mode() {
    let socket = Socket::options().bus_mode(0o600).open(fresh()).unwrap();
    assert_eq!(socket.bus_info().unwrap().mode, 0o600);
}

/// A descriptor of another kind, or of a socket that is on no bus, is no socket of ours.
#[test]
#[ignore = "for the machine"]
fn other_descriptors_are_refused() {
    let unix = OwnedFd::from(UnixDatagram::unbound().unwrap());
    assert_eq!(
        Socket::try_from(unix).unwrap_err().kind(),
        ErrorKind::NotBound
    );
    let path = "/tmp/rust-unix";
    let unix = OwnedFd::from(UnixDatagram::bind(path).unwrap());
    assert!(Socket::try_from(unix).is_err());
    fs::remove_file(path).unwrap();
    let file = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    assert!(Socket::try_from(file).is_err());
}

/// Values out of range are errors of the option that has them.
#[test]
#[ignore = "for the machine"]
fn wrong_options_are_explained() {
    let error = Socket::options().queue_len(0).open(fresh()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("the length of the queue"),
        "{error}"
    );
    let error = Socket::options()
        .queue_len(1 << 30)
        .open(fresh())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}
