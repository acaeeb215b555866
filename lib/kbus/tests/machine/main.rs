// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that need the kernel module: they run in the test machine, see `qemu/userland/rust.sh`.
//! Elsewhere they are ignored. Each says which rule it checks.
//!
//! No verdict depends on the time that something takes. [`LONG`] only ends a test that hangs.

#[cfg(feature = "tokio")]
mod asynchronous;
mod calls;
mod descriptors;
mod full;
mod large;
mod listening;
mod merging;
mod opening;
mod requests;
mod serving;

use std::process;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kbus::Bus;
use kbus::Message;
use kbus::Received;
use kbus::Reply;
use kbus::Request;
use kbus::Socket;
use kbus::Status;

/// Nothing takes that long.
const LONG: Duration = Duration::from_secs(120);

/// A bus that no other test has.
fn fresh() -> Bus {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Bus::new(format!("@rust-{}-{number}", process::id())).unwrap()
}

fn open(bus: &Bus) -> Socket {
    Socket::open(bus).unwrap()
}

/// So many sockets on a bus that no other test has.
fn sockets<const N: usize>() -> [Socket; N] {
    let bus = fresh();
    [(); N].map(|()| open(&bus))
}

/// A name of that many bytes.
fn name_of(len: usize) -> String {
    format!("$.Long.{}", "x".repeat(len - 7))
}

/// The next message, which must have come already: a send has put it into all queues when it
/// returns.
#[track_caller]
fn next(socket: &Socket) -> Received {
    socket.try_recv().unwrap().expect("there is a message")
}

#[track_caller]
fn nothing(socket: &Socket) {
    let received = socket.try_recv().unwrap();
    assert!(received.is_none(), "{received:?}");
}

#[track_caller]
fn announcement(socket: &Socket) -> Message {
    match next(socket) {
        Received::Announcement(message) => message,
        other => panic!("no announcement: {other:?}"),
    }
}

#[track_caller]
fn copy(socket: &Socket) -> Message {
    match next(socket) {
        Received::Copy(message) => message,
        other => panic!("no copy: {other:?}"),
    }
}

#[track_caller]
fn request(socket: &Socket) -> Request {
    match next(socket) {
        Received::Request(request) => request,
        other => panic!("no request: {other:?}"),
    }
}

#[track_caller]
fn reply(socket: &Socket) -> Reply {
    match next(socket) {
        Received::Reply(reply) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

#[track_caller]
fn status(socket: &Socket) -> Status {
    match next(socket) {
        Received::Status(status) => status,
        other => panic!("no status: {other:?}"),
    }
}
