// SPDX-License-Identifier: GPL-2.0
//! Several processes that wait for one socket: one of them is woken for each message.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::thread;

use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::blocked::WAIT;
use super::waiting::Epoll;

super::tests! {
    request_to_a_replier_that_listens_wakes_two copies_of_one_message_wake_one_each
    sends_of_several_processes_wake_one_each sends_of_one_call_wake_one_each statuses_wake_one_each
    waiting_sends_that_go_together_wake_one_each blocked_reads_are_woken_for_each_message
    exclusive_waiters_of_af_unix no_more_are_woken_than_there_are_messages
}

/// How long a worker waits that nobody wakes.
const LONG: i32 = 15_000;

/// A process that sleeps until it is woken for this socket, takes one message and waits no more. It does not share its
/// `epoll` instance with anybody.
fn worker(fd: &impl AsRawFd) -> Blocked {
    worker_for(fd, libc::EPOLLIN | libc::EPOLLEXCLUSIVE)
}

fn worker_for(fd: &impl AsRawFd, events: i32) -> Blocked {
    let fd = fd.as_raw_fd();
    Blocked::in_call(|| {
        let epoll = Epoll::of(fd, events);
        if events & libc::EPOLLET != 0 {
            // What is there already is no edge.
            epoll.wait(0);
        }
        loop {
            if epoll.wait(LONG) == 0 {
                return Err(Errno(libc::ETIMEDOUT));
            }
            match take(fd) {
                // Another worker was faster.
                Err(Errno(libc::EAGAIN)) => {}
                result => return result,
            }
        }
    })
}

fn workers(count: usize, fd: &impl AsRawFd) -> Vec<Blocked> {
    (0..count).map(|_| worker(fd)).collect()
}

/// Takes one message; `EAGAIN` if there is none.
fn take(fd: i32) -> Res<u64> {
    let mut room = [0_u8; 64];
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        let (to, len) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: Pointer and length are those of an array.
        let len = unsafe { libc::recv(fd, to, len, libc::MSG_DONTWAIT) };
        if len >= 0 {
            return Ok(len as u64);
        }
        let errno = Errno::last();
        // While another one reads it is `EAGAIN`, whatever else there is.
        // SAFETY: One entry, and it is ours.
        if unsafe { libc::poll(&mut entry, 1, 0) } == 0 {
            return Err(errno);
        }
        thread::yield_now();
    }
}

/// Insists that each of them was woken, and found a message.
#[track_caller]
fn all_have_one(workers: Vec<Blocked>) {
    let results: Vec<_> = workers.into_iter().map(Blocked::result).collect();
    let woken = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(woken, results.len(), "woken of those who wait: {results:?}");
}

/// A request brings two messages to a socket that is replier for its name and listens to all: two workers wake.
fn request_to_a_replier_that_listens_wakes_two() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.replier("$.Ask").unwrap();
    sock.listen("$.*").unwrap();
    let workers = workers(2, &sock);
    Sock::on(&bus).request("$.Ask", b"work").unwrap();
    all_have_one(workers);
    assert_eq!(sock.unread(), 0);
}

/// So does an announcement bring one for each binding.
fn copies_of_one_message_wake_one_each() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    for name in ["$.A", "$.A", "$.%", "$.*"] {
        sock.listen(name).unwrap();
    }
    let workers = workers(4, &sock);
    Sock::on(&bus).send_to("$.A", b"work").unwrap();
    all_have_one(workers);
}

/// Sends that fall together, of several processes on as many sockets.
fn sends_of_several_processes_wake_one_each() {
    const SENDERS: usize = 4;
    const EACH: usize = 3;
    for round in 0..5 {
        let bus = fresh_bus();
        let sock = Sock::on(&bus);
        sock.listen("$.A").unwrap();
        let workers = workers(SENDERS * EACH, &sock);
        let (ready, go) = (Gate::new(), Gate::new());
        let senders: Vec<Child> = (0..SENDERS)
            .map(|_| {
                Child::fork(|| {
                    let own = Sock::on(&bus);
                    ready.open(0);
                    go.pass();
                    for _ in 0..EACH {
                        own.send_to("$.A", b"work").unwrap();
                    }
                })
            })
            .collect();
        for _ in &senders {
            ready.pass();
        }
        for _ in &senders {
            go.open(0);
        }
        senders.into_iter().for_each(Child::join);
        all_have_one(workers);
        assert_eq!(sock.unread(), 0, "round {round}");
    }
}

/// Those of one `sendmmsg()`, some of which bring two messages.
fn sends_of_one_call_wake_one_each() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    sock.listen("$.A.B").unwrap();
    sock.listen("$.A.*").unwrap();
    let workers = workers(5, &sock);
    let (one, two) = (Out::to("$.A", b"1"), Out::to("$.A.B", b"2"));
    let sender = Sock::on(&bus);
    let sent = sender.send_several([(&one, &[][..]), (&two, &[]), (&two, &[])]);
    assert_eq!(sent, Ok(3));
    all_have_one(workers);
}

/// The statuses that a replier leaves when it closes.
fn statuses_wake_one_each() {
    let bus = fresh_bus();
    let requester = Sock::on(&bus);
    // Nobody else may have a descriptor of it: it closes in the end.
    let (asked, close) = (Gate::new(), Gate::new());
    let mut replier = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.Ask").unwrap();
        asked.open(0);
        close.pass();
        // One of them is read, and ignored.
        sock.recv().unwrap();
    });
    asked.opened_by(&mut replier);
    for _ in 0..4 {
        requester.request("$.Ask", b"").unwrap();
    }
    let workers = workers(4, &requester);
    close.open(0);
    replier.join();
    all_have_one(workers);
}

/// Sends that wait, and go together when the queue may be longer.
fn waiting_sends_that_go_together_wake_one_each() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.set_queue_len(1);
    sock.listen("$.A").unwrap();
    let sender = Sock::on(&bus);
    sender.send_to("$.A", b"first").unwrap();
    let waits: Vec<Blocked> = (0..3)
        .map(|_| Blocked::in_call(|| Sock::on(&bus).send_with("$.A", b"later", WAIT)))
        .collect();
    // It is readable by now: only one that waits for an edge sleeps.
    let edge = libc::EPOLLIN | libc::EPOLLEXCLUSIVE | libc::EPOLLET;
    let workers: Vec<Blocked> = (0..3).map(|_| worker_for(&sock, edge)).collect();
    sock.set_queue_len(4);
    for wait in waits {
        wait.result().unwrap();
    }
    all_have_one(workers);
    assert_eq!(sock.unread(), 1);
}

/// Reads that block instead of waiting by `epoll`.
fn blocked_reads_are_woken_for_each_message() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.replier("$.Ask").unwrap();
    sock.listen("$.*").unwrap();
    sock.set_timeout(libc::SO_RCVTIMEO, LONG.into());
    let workers: Vec<Blocked> = (0..4)
        .map(|_| Blocked::in_call(|| sock.recv_wait().map(|msg| msg.len as u64)))
        .collect();
    let sender = Sock::on(&bus);
    sender.request("$.Ask", b"work").unwrap();
    sender.request("$.Ask", b"work").unwrap();
    all_have_one(workers);
}

/// AF_UNIX does so, too.
fn exclusive_waiters_of_af_unix() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let waiting = workers(4, &far);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                near.send(b"work").unwrap();
                near.send(b"work").unwrap();
            });
        }
    });
    all_have_one(waiting);
}

/// Where there is one message, one of them wakes, and the others sleep on.
fn no_more_are_woken_than_there_are_messages() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let workers = workers(3, &sock);
    let sender = Sock::on(&bus);
    for sent in 1..=3 {
        sender.send_to("$.A", b"work").unwrap();
        while workers.iter().filter(|worker| worker.is_over()).count() < sent {
            thread::yield_now();
        }
        let asleep = workers.iter().filter(|worker| !worker.is_over());
        asleep.for_each(Blocked::wait_asleep);
        let woken = workers.iter().filter(|worker| worker.is_over()).count();
        assert_eq!(woken, sent);
    }
    all_have_one(workers);
}
