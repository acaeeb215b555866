// SPDX-License-Identifier: GPL-2.0
//! Blocking, polling, timeouts and signals.

use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;
use std::time::Instant;

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Sock;

use io_uring::opcode;
use io_uring::types::Fd;
use io_uring::IoUring;

use super::fails;

super::tests! {
    poll_in poll_wakes_up select_works epoll_level epoll_edge epoll_wakes_up
    receive_timeout dontwait blocked_read_wakes_up signal_interrupts
    poll_of_a_status shutdown_wakes_a_reader
    shutdown_wakes_whoever_waits_for_it_only io_uring_receives io_uring_sends
}

/// `POLLIN` while a message waits; `POLLOUT` unless a send was put off.
fn poll_in() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let both = libc::POLLIN | libc::POLLOUT;
    assert_eq!(sock.poll(both, 0), libc::POLLOUT);
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(sock.poll(both, 0), both);
    sock.recv().unwrap();
    assert_eq!(sock.poll(both, 0), libc::POLLOUT);
}

/// Runs `f` in another process a moment from now.
fn soon(f: impl FnOnce()) -> Child {
    Child::fork(|| {
        process::sleep_ms(50);
        f();
    })
}

/// A sleeping `poll()` is woken by a message.
fn poll_wakes_up() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let child = soon(|| {
        Sock::on(&bus).send_to("$.A", b"").unwrap();
    });
    assert_eq!(sock.poll(libc::POLLIN, 20_000), libc::POLLIN);
    child.join();
}

/// So does `select()`.
fn select_works() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let child = soon(|| {
        Sock::on(&bus).send_to("$.A", b"").unwrap();
    });
    // SAFETY: The set is made here, and a test has few descriptors.
    let ready = unsafe {
        let mut set: libc::fd_set = mem::zeroed();
        libc::FD_SET(sock.as_raw_fd(), &mut set);
        let mut limit = libc::timeval {
            tv_sec: 20,
            tv_usec: 0,
        };
        let none = ptr::null_mut();
        libc::select(sock.as_raw_fd() + 1, &mut set, none, none, &mut limit)
    };
    assert_eq!(ready, 1);
    sock.recv().unwrap();
    child.join();
}

/// An `epoll` instance for one socket.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    /// Waits for these events of the socket.
    pub(super) fn on(sock: &Sock, events: i32) -> Epoll {
        Epoll::of(sock.as_raw_fd(), events)
    }

    /// Waits for these events of whatever this is, which must be open.
    pub(super) fn of(of: RawFd, events: i32) -> Epoll {
        // SAFETY: The descriptor is new; the event is made here.
        unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert!(fd >= 0);
            let fd = OwnedFd::from_raw_fd(fd);
            let mut event = libc::epoll_event {
                events: events as u32,
                u64: 1,
            };
            let r = libc::epoll_ctl(fd.as_raw_fd(), libc::EPOLL_CTL_ADD, of, &mut event);
            assert_eq!(r, 0);
            Epoll(fd)
        }
    }

    /// What happened within so many milliseconds.
    pub(super) fn wait(&self, ms: i32) -> i32 {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: There is room for one event.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, ms) };
        assert!(n >= 0);
        match n {
            0 => 0,
            _ => event.events as i32,
        }
    }
}

/// Level-triggered `epoll` reports a message as long as it waits.
fn epoll_level() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let epoll = Epoll::on(&sock, libc::EPOLLIN);
    assert_eq!(epoll.wait(0), 0);
    sock.send_to("$.A", b"").unwrap();
    for _ in 0..3 {
        assert_eq!(epoll.wait(0), libc::EPOLLIN);
    }
    sock.recv().unwrap();
    assert_eq!(epoll.wait(0), 0);
}

/// Edge-triggered `epoll` reports each arrival, also while others wait.
fn epoll_edge() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let epoll = Epoll::on(&sock, libc::EPOLLIN | libc::EPOLLET);
    assert_eq!(epoll.wait(0), 0);
    for _ in 0..3 {
        sock.send_to("$.A", b"").unwrap();
        assert_eq!(epoll.wait(0), libc::EPOLLIN);
        assert_eq!(epoll.wait(0), 0);
    }
    sock.recv().unwrap();
    assert_eq!(epoll.wait(0), 0);
}

/// A sleeping `epoll_wait()` is woken by a message.
fn epoll_wakes_up() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let epoll = Epoll::on(&sock, libc::EPOLLIN | libc::EPOLLET);
    let child = soon(|| {
        Sock::on(&bus).send_to("$.A", b"").unwrap();
    });
    assert_eq!(epoll.wait(20_000), libc::EPOLLIN);
    child.join();
}

/// `SO_RCVTIMEO` bounds the wait: `EAGAIN`.
fn receive_timeout() {
    let sock = Sock::on(&fresh_bus());
    let limit = libc::timeval {
        tv_sec: 0,
        tv_usec: 100_000,
    };
    let bytes = [limit.tv_sec.to_ne_bytes(), limit.tv_usec.to_ne_bytes()].concat();
    sock.set_at(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &bytes)
        .unwrap();
    let start = Instant::now();
    fails!(EAGAIN, sock.recv_wait());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(90), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// `MSG_DONTWAIT` on an empty queue is `EAGAIN`.
fn dontwait() {
    let sock = Sock::on(&fresh_bus());
    fails!(EAGAIN, sock.recv());
    fails!(EAGAIN, sock.peek());
}

/// A blocked read gets the next message.
fn blocked_read_wakes_up() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let child = soon(|| {
        Sock::on(&bus).send_to("$.A", b"now").unwrap();
    });
    assert_eq!(sock.recv_wait().unwrap().data, b"now");
    child.join();
}

/// A signal interrupts it: `EINTR`.
fn signal_interrupts() {
    let sock = Sock::on(&fresh_bus());
    process::interrupt_in(50);
    fails!(EINTR, sock.recv_wait());
}

/// A status is something to read, like any message.
fn poll_of_a_status() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let (ready, sent) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        ready.open(1);
        sent.pass();
        process::sleep_ms(50);
    });
    ready.pass();
    a.request("$.A", b"").unwrap();
    assert_eq!(a.poll(libc::POLLIN, 0), 0);
    sent.open(1);
    assert_eq!(a.poll(libc::POLLIN, 20_000), libc::POLLIN);
    child.join();
}

/// `SHUT_RD` by another holder of the socket ends a blocked read with 0.
fn shutdown_wakes_a_reader() {
    let sock = Sock::on(&fresh_bus());
    let child = soon(|| sock.shutdown(libc::SHUT_RD).unwrap());
    assert_eq!(sock.recv_wait().unwrap().len, 0);
    child.join();
}

/// A shutdown wakes a waiter that asked for `EPOLLRDHUP` and nothing else.
fn shutdown_wakes_whoever_waits_for_it_only() {
    let sock = Sock::on(&fresh_bus());
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: it is new and ours.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut event = libc::epoll_event {
        events: libc::EPOLLRDHUP as u32,
        u64: 0,
    };
    // SAFETY: both descriptors are open, and the event is valid.
    let added = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            sock.as_raw_fd(),
            &mut event,
        )
    };
    assert_eq!(added, 0);
    let child = soon(|| sock.shutdown(libc::SHUT_RD).unwrap());
    // SAFETY: there is room for one event.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, 20_000) };
    assert_eq!(count, 1);
    child.join();
}

/// io_uring waits for a message as it does on any socket.
fn io_uring_receives() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let mut ring = IoUring::new(4).expect("io_uring");
    let mut buffer = [0; 16];
    let receive = opcode::Recv::new(Fd(sock.as_raw_fd()), buffer.as_mut_ptr(), 16).build();
    // SAFETY: the buffer outlives the ring's use of it, which ends below.
    unsafe { ring.submission().push(&receive).unwrap() };
    ring.submit().unwrap();
    let child = soon(|| {
        Sock::on(&bus).send_to("$.A", b"later").unwrap();
    });
    ring.submit_and_wait(1).unwrap();
    let result = ring.completion().next().map(|done| done.result());
    assert_eq!(result, Some(5));
    assert_eq!(&buffer[..5], b"later");
    child.join();
}

/// And it sends.
fn io_uring_sends() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.connect("$.A").unwrap();
    let mut ring = IoUring::new(4).expect("io_uring");
    let send = opcode::Send::new(Fd(sock.as_raw_fd()), b"now".as_ptr(), 3).build();
    // SAFETY: the bytes are static.
    unsafe { ring.submission().push(&send).unwrap() };
    ring.submit_and_wait(1).unwrap();
    let result = ring.completion().next().map(|done| done.result());
    assert_eq!(result, Some(3));
    assert_eq!(sock.recv().unwrap().data, b"now");
}
