// SPDX-License-Identifier: GPL-2.0
//! `ALL_OR_WAIT`: sends that wait for room.

use std::time::Duration;
use std::time::Instant;

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::full_listener;
use super::full_replier;
use super::silent;

super::tests! {
    wait_with_room_does_not_wait wait_with_nobody_listening_succeeds waits_until_the_listener_reads
    waits_for_the_replier waits_for_a_listener_of_a_request
    waits_for_every_full_queue nobody_gets_it_while_it_waits peeking_makes_no_room waits_by_option
    waits_for_bytes_too waits_for_its_copies_one_by_one waits_in_a_stateful_request
    id_is_of_the_time_it_goes urgent_waiter_goes_to_the_front send_timeout_ends_the_wait
    signal_without_restart_interrupts signal_with_restart_goes_on_waiting
    signal_with_a_timeout_interrupts_in_any_case nonblocking_socket_does_not_wait dontwait_does_not_wait
    dontwait_with_room_sends nonblocking_request_does_not_wait own_full_queue_is_a_deadlock
    own_full_queue_among_others_is_a_deadlock own_full_replier_queue_is_a_deadlock
    own_full_queue_when_nonblocking own_queue_that_fills_up_meanwhile_is_a_deadlock
    no_room_to_reserve_fails_at_once no_replier_fails_at_once plain_sends_go_on_meanwhile
    plain_send_may_take_the_slot sends_on_the_same_socket_go_on_meanwhile waiter_s_own_reading_goes_on
}

pub(super) const WAIT: u32 = uapi::KBUS_ALL_OR_WAIT;
pub(super) const FAIL: u32 = uapi::KBUS_ALL_OR_FAIL;
pub(super) const ASK: u32 = uapi::KBUS_REQUEST;

pub(super) fn listener(bus: &str, name: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.listen(name).unwrap();
    sock
}

/// Another process that waits to announce `$.A`, on a socket of its own.
pub(super) fn waiter(bus: &str, data: &'static [u8]) -> Blocked {
    Blocked::in_call(|| Sock::on(bus).send_with("$.A", data, WAIT))
}

/// The same, and it begins later: sockets made meanwhile are not its own.
pub(super) fn later_waiter(bus: &str, data: &'static [u8]) -> Blocked {
    Blocked::prepare(|| Sock::on(bus).send_with("$.A", data, WAIT))
}

/// Another process that waits to ask `$.A`, on a socket of its own.
pub(super) fn later_asker(bus: &str) -> Blocked {
    Blocked::prepare(|| Sock::on(bus).send_with("$.A", b"ask", ASK | WAIT))
}

/// Reads what filled the queue, and then what a waiter sent.
#[track_caller]
pub(super) fn expect_after_fill(sock: &Sock, data: &[u8]) {
    assert_eq!(sock.recv().unwrap().data, b"fill");
    assert_eq!(sock.recv_wait().unwrap().data, data);
    silent!(sock);
}

/// With room everywhere `ALL_OR_WAIT` does not wait.
fn wait_with_room_does_not_wait() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..3).map(|_| listener(&bus, "$.A")).collect();
    // The sender's own queue is one like the others.
    socks[0].send_with("$.A", b"x", WAIT).unwrap();
    for sock in &socks {
        assert_eq!(sock.drain(), [b"x"]);
    }
}

/// Nobody listening is no error and nothing to wait for.
fn wait_with_nobody_listening_succeeds() {
    let bus = fresh_bus();
    let _other = full_listener(&bus, "$.B");
    assert!(Sock::on(&bus).send_with("$.A", b"", WAIT).unwrap() > 0);
}

/// A send to a full listener waits until it reads.
fn waits_until_the_listener_reads() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    assert!(!waiter.is_over());
    expect_after_fill(&full, b"w");
    assert!(waiter.result().unwrap() > 0);
    assert_eq!(full.lost(), 0);
}

/// A request waits for a full replier, and is answered then.
fn waits_for_the_replier() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let waiter = Blocked::in_call(|| {
        let sock = Sock::on(&bus);
        let id = sock.send_with("$.A", b"ask", ASK | WAIT)?;
        let reply = sock.recv_wait()?;
        assert_eq!(
            (reply.info.in_reply_to, &reply.data[..]),
            (id, &b"answer"[..])
        );
        Ok(id)
    });
    assert_eq!(full.recv().unwrap().data, b"fill");
    let request = full.recv_wait().unwrap();
    assert!(request.must_reply());
    full.reply(&request, b"answer").unwrap();
    assert_eq!(waiter.result(), Ok(request.info.id));
}

/// A request waits for full listeners too, and the replier gets nothing before.
fn waits_for_a_listener_of_a_request() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let waiter = later_asker(&bus).go();
    silent!(b);
    expect_after_fill(&full, b"ask");
    assert!(b.recv_wait().unwrap().must_reply());
    waiter.result().unwrap();
}

/// It waits until every one of its queues has room.
fn waits_for_every_full_queue() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..3).map(|_| full_listener(&bus, "$.A")).collect();
    let waiter = waiter(&bus, b"w");
    for sock in &socks[..2] {
        sock.recv().unwrap();
        silent!(sock);
    }
    assert!(!waiter.is_over());
    socks[2].recv().unwrap();
    waiter.result().unwrap();
    for sock in &socks {
        assert_eq!(sock.drain(), [b"w"]);
    }
}

/// Until then nobody gets it, room or no room.
fn nobody_gets_it_while_it_waits() {
    let bus = fresh_bus();
    let free = listener(&bus, "$.A");
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    silent!(free);
    assert_eq!(free.unread(), 0);
    full.recv().unwrap();
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
}

/// A peek makes no room.
fn peeking_makes_no_room() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    full.peek().unwrap();
    assert_eq!(full.unread(), 1);
    assert!(!waiter.is_over());
    expect_after_fill(&full, b"w");
    waiter.result().unwrap();
}

/// `KBUS_ALL_OR_WAIT` in `KBUS_SEND_FLAGS` makes plain sends wait.
fn waits_by_option() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = Blocked::in_call(|| {
        let sock = Sock::on(&bus);
        sock.set_u32(uapi::KBUS_SEND_FLAGS, WAIT)?;
        assert_eq!(sock.get_u32(uapi::KBUS_SEND_FLAGS), Ok(WAIT));
        sock.send_to("$.A", b"w").map(|len| len as u64)
    });
    expect_after_fill(&full, b"w");
    assert_eq!(waiter.result(), Ok(1));
}

/// It waits for a queue whose bytes are used up, too.
fn waits_for_bytes_too() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    full.send_to("$.A", &[0; 5000]).unwrap();
    let waiter = waiter(&bus, b"w");
    assert_eq!(full.recv().unwrap().len, 5000);
    assert_eq!(full.recv_wait().unwrap().data, b"w");
    waiter.result().unwrap();
}

/// Room is counted copy by copy: with two bindings one slot is not enough.
fn waits_for_its_copies_one_by_one() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.listen("$.*").unwrap();
    full.set_queue_len(2);
    full.send_to("$.B", b"1").unwrap();
    let waiter = waiter(&bus, b"w");
    assert_eq!(full.unread(), 1);
    full.recv().unwrap();
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"w", b"w"]);
}

/// A stateful request may wait.
fn waits_in_a_stateful_request() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let to = full.sends_from("$.A");
    let waiter = Blocked::in_call(|| Sock::on(&bus).send_with(&to, b"ask", ASK | WAIT));
    full.recv().unwrap();
    let request = full.recv_wait().unwrap();
    assert_eq!(request.info.to, full.peer_id());
    assert_eq!(waiter.result(), Ok(request.info.id));
}

/// The message's id is of the time at which it goes: later than what went
/// while it waited.
fn id_is_of_the_time_it_goes() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let snoop = listener(&bus, "$.*");
    let a = Sock::on(&bus);
    let waiter = waiter(&bus, b"w");
    a.send_to("$.B", b"meanwhile").unwrap();
    full.recv().unwrap();
    let id = waiter.result().unwrap();
    assert!(id > a.last_sent());
    assert_eq!(full.recv().unwrap().info.id, id);
    assert_eq!(snoop.drain(), [b"meanwhile".to_vec(), b"w".into()]);
}

/// An urgent one goes to the front when it goes.
fn urgent_waiter_goes_to_the_front() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.set_queue_len(2);
    full.send_to("$.A", b"1").unwrap();
    full.send_to("$.A", b"2").unwrap();
    let waiter =
        Blocked::in_call(|| Sock::on(&bus).send_with("$.A", b"now", WAIT | uapi::KBUS_URGENT));
    assert_eq!(full.recv().unwrap().data, b"1");
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"now".to_vec(), b"2".into()]);
}

/// `SO_SNDTIMEO` bounds the wait: `EAGAIN`, and nothing is left behind.
fn send_timeout_ends_the_wait() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    sock.set_timeout(libc::SO_SNDTIMEO, 100);
    let start = Instant::now();
    fails!(EAGAIN, sock.send_with("$.A", b"w", WAIT));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(90), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(sock.last_sent(), 0);
    assert_eq!(full.drain(), [b"fill"]);
}

/// A waiter in a process with a signal handler that opens the gate.
fn signalled(bus: &str, restart: bool, timeout: bool, gate: &Gate) -> Blocked {
    Blocked::in_call(|| {
        process::on_signal(libc::SIGUSR1, restart, gate);
        let sock = Sock::on(bus);
        if timeout {
            sock.set_timeout(libc::SO_SNDTIMEO, 25_000);
        }
        sock.send_with("$.A", b"w", WAIT)
    })
}

/// A signal interrupts the wait: `EINTR`, and nothing is left behind.
fn signal_without_restart_interrupts() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let handled = Gate::new();
    let waiter = signalled(&bus, false, false, &handled);
    waiter.signal(libc::SIGUSR1);
    fails!(EINTR, waiter.result());
    assert!(handled.is_open());
    assert_eq!(full.drain(), [b"fill"]);
}

/// With `SA_RESTART` and no timeout the send goes on, and goes once.
fn signal_with_restart_goes_on_waiting() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let handled = Gate::new();
    let waiter = signalled(&bus, true, false, &handled);
    for _ in 0..3 {
        waiter.signal(libc::SIGUSR1);
        handled.pass();
        waiter.wait_asleep();
    }
    assert!(!waiter.is_over());
    expect_after_fill(&full, b"w");
    waiter.result().unwrap();
    silent!(full);
}

/// With a timeout it is `EINTR`, `SA_RESTART` or not, as on every socket.
fn signal_with_a_timeout_interrupts_in_any_case() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    for restart in [false, true] {
        let waiter = signalled(&bus, restart, true, &Gate::new());
        waiter.signal(libc::SIGUSR1);
        fails!(EINTR, waiter.result());
    }
    assert_eq!(full.drain(), [b"fill"]);
}

/// On a non-blocking socket it is `EAGAIN`, and no message is kept anywhere.
fn nonblocking_socket_does_not_wait() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    sock.set_nonblocking();
    fails!(EAGAIN, sock.send_with("$.A", b"w", WAIT));
    assert_eq!(sock.last_sent(), 0);
    full.recv().unwrap();
    silent!(full);
    silent!(free);
    assert_eq!((full.lost(), free.lost()), (0, 0));
    assert_eq!(sock.bus_info().unwrap().bytes, 0);
}

/// `MSG_DONTWAIT` is the same for one call.
fn dontwait_does_not_wait() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    fails!(EAGAIN, sock.try_send_with("$.A", b"w", WAIT));
    full.recv().unwrap();
    silent!(full);
    silent!(free);
}

/// With room it is sent all the same.
fn dontwait_with_room_sends() {
    let bus = fresh_bus();
    let free = listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    sock.try_send_with("$.A", b"1", WAIT).unwrap();
    sock.set_nonblocking();
    sock.send_with("$.A", b"2", WAIT).unwrap();
    assert_eq!(free.drain(), [b"1", b"2"]);
}

/// A non-blocking request to a full replier is `EAGAIN` and reserves nothing.
fn nonblocking_request_does_not_wait() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sock = Sock::on(&bus);
    sock.set_queue_len(1);
    for _ in 0..3 {
        fails!(EAGAIN, sock.try_send_with("$.A", b"w", ASK | WAIT));
    }
    assert_eq!(full.drain(), [b"fill"]);
    sock.try_send_with("$.A", b"w", ASK | WAIT).unwrap();
}

/// Waiting for one's own full queue would be for ever: `EDEADLK`.
fn own_full_queue_is_a_deadlock() {
    let full = full_listener(&fresh_bus(), "$.A");
    fails!(EDEADLK, full.send_with("$.A", b"w", WAIT));
    assert_eq!(full.drain(), [b"fill"]);
    assert_eq!(full.lost(), 0);
    full.send_with("$.A", b"w", WAIT).unwrap();
}

/// Also when others are full besides, or have room.
fn own_full_queue_among_others_is_a_deadlock() {
    let bus = fresh_bus();
    let first = full_listener(&bus, "$.A");
    let own = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    fails!(EDEADLK, own.send_with("$.A", b"w", WAIT));
    silent!(free);
    assert_eq!(first.unread(), 1);
}

/// A request to oneself that has no second slot is one too.
fn own_full_replier_queue_is_a_deadlock() {
    let sock = Sock::on(&fresh_bus());
    sock.set_queue_len(1);
    sock.replier("$.A").unwrap();
    fails!(EDEADLK, sock.send_with("$.A", b"w", ASK | WAIT));
    silent!(sock);
}

/// Who would not wait anyway gets `EAGAIN`.
fn own_full_queue_when_nonblocking() {
    let full = full_listener(&fresh_bus(), "$.A");
    fails!(EAGAIN, full.try_send_with("$.A", b"w", WAIT));
    full.recv().unwrap();
    full.try_send_with("$.A", b"w", WAIT).unwrap();
}

/// A waiter whose own queue fills up meanwhile ends with `EDEADLK`, not never.
fn own_queue_that_fills_up_meanwhile_is_a_deadlock() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let own = listener(&bus, "$.A");
    own.set_queue_len(1);
    own.listen("$.B").unwrap();
    let waiter = Blocked::in_call(|| own.send_with("$.A", b"w", WAIT));
    Sock::on(&bus).send_to("$.B", b"filled").unwrap();
    full.recv().unwrap();
    fails!(EDEADLK, waiter.result());
    assert_eq!(own.drain(), [b"filled"]);
    silent!(full);
}

/// No room to reserve for the reply never blocks: `ENOBUFS`.
fn no_room_to_reserve_fails_at_once() {
    let bus = fresh_bus();
    let _full = full_replier(&bus, "$.A");
    let sock = full_listener(&bus, "$.B");
    fails!(ENOBUFS, sock.send_with("$.A", b"", ASK | WAIT));
}

/// No replier is nothing to wait for: `EADDRNOTAVAIL`.
fn no_replier_fails_at_once() {
    let bus = fresh_bus();
    let _full = full_listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    fails!(EADDRNOTAVAIL, sock.send_with("$.A", b"", ASK | WAIT));
}

/// A waiter hinders nobody who does not wait.
fn plain_sends_go_on_meanwhile() {
    let bus = fresh_bus();
    let free = listener(&bus, "$.A");
    let full = full_listener(&bus, "$.A");
    free.listen("$.B").unwrap();
    free.set_queue_len(2);
    let waiter = waiter(&bus, b"w");
    let a = Sock::on(&bus);
    // Each slot is there for others, to the last.
    a.send_with("$.B", b"1", FAIL).unwrap();
    a.send_to("$.A", b"2").unwrap();
    assert_eq!(free.drain(), [b"1", b"2"]);
    assert_eq!(full.lost(), 1);
    assert!(!waiter.is_over());
    full.recv().unwrap();
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
    let msg = full.recv().unwrap();
    assert_eq!((&msg.data[..], msg.info.lost), (&b"w"[..], 1));
}

/// A slot that a waiter could not use yet may be taken by a plain send.
fn plain_send_may_take_the_slot() {
    let bus = fresh_bus();
    let (x, y) = (full_listener(&bus, "$.A"), full_listener(&bus, "$.A"));
    x.listen("$.B").unwrap();
    let waiter = waiter(&bus, b"w");
    x.recv().unwrap();
    Sock::on(&bus).send_to("$.B", b"taken").unwrap();
    y.recv().unwrap();
    assert!(!waiter.is_over());
    silent!(y);
    assert_eq!(x.recv().unwrap().data, b"taken");
    waiter.result().unwrap();
    assert_eq!(x.drain(), [b"w"]);
    assert_eq!(y.drain(), [b"w"]);
}

/// A blocked send does not keep others from sending on the same socket.
fn sends_on_the_same_socket_go_on_meanwhile() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.B");
    let sock = Sock::on(&bus);
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"w", WAIT));
    sock.send_to("$.B", b"x").unwrap();
    fails!(EBUSY, sock.send_with("$.A", b"y", FAIL));
    assert_eq!(free.drain(), [b"x"]);
    expect_after_fill(&full, b"w");
    waiter.result().unwrap();
}

/// Nor from receiving on it.
fn waiter_s_own_reading_goes_on() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = listener(&bus, "$.B");
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"w", WAIT));
    for _ in 0..200 {
        full.send_to("$.B", b"x").unwrap();
        assert_eq!(sock.recv().unwrap().data, b"x");
    }
    assert!(!waiter.is_over());
    full.recv().unwrap();
    waiter.result().unwrap();
}
