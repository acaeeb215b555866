// SPDX-License-Identifier: GPL-2.0
//! What happens to a send that waits while bindings, settings and sockets come and go.

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::blocked::expect_after_fill;
use super::blocked::later_asker;
use super::blocked::later_waiter;
use super::blocked::listener;
use super::blocked::waiter;
use super::blocked::ASK;
use super::blocked::FAIL;
use super::blocked::WAIT;
use super::fails;
use super::full_listener;
use super::full_replier;
use super::silent;

super::tests! {
    new_listener_gets_it_too new_full_listener_is_waited_for
    listener_that_unlistens_is_not_waited_for listener_that_closes_is_not_waited_for
    listener_that_is_killed_is_not_waited_for listener_that_shuts_reading_is_not_waited_for
    unlistening_elsewhere_makes_room replier_that_dies_ends_the_wait
    replier_that_is_killed_ends_the_wait replier_that_unbinds_ends_the_wait
    better_replier_takes_over lesser_replier_takes_over stateful_waiter_with_another_replier_ends
    shut_for_writing_ends_the_wait shut_for_reading_ends_a_request_s_wait
    shut_for_reading_leaves_an_announcement_waiting killed_waiter_leaves_nothing
    raising_the_queue_length_lets_it_go raising_the_byte_limit_lets_it_go becoming_lossy_lets_it_go
    becoming_once_lets_it_go waiting_request_reserves_nothing
    own_queue_full_by_then_ends_a_request_s_wait smaller_largest_message_ends_the_wait
    no_room_is_overlooked
}

/// The targets are those of the time at which it goes: who listens meanwhile
/// gets it too.
fn new_listener_gets_it_too() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    let new = listener(&bus, "$.*");
    full.recv().unwrap();
    waiter.result().unwrap();
    assert_eq!(new.drain(), [b"w"]);
}

/// And is waited for when it is full.
fn new_full_listener_is_waited_for() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    let new = full_listener(&bus, "$.A");
    full.recv().unwrap();
    silent!(full);
    assert!(!waiter.is_over());
    new.recv().unwrap();
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"w"]);
    assert_eq!(new.drain(), [b"w"]);
}

/// A full listener that unlistens lets the waiter go, to the others.
fn listener_that_unlistens_is_not_waited_for() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    full.unlisten("$.A").unwrap();
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
    assert_eq!(full.drain(), [b"fill"]);
}

/// So does one that closes.
fn listener_that_closes_is_not_waited_for() {
    let bus = fresh_bus();
    let waiter = later_waiter(&bus, b"w");
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let waiter = waiter.go();
    silent!(free);
    drop(full);
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
}

/// And one that is killed.
fn listener_that_is_killed_is_not_waited_for() {
    let bus = fresh_bus();
    let free = listener(&bus, "$.A");
    let ready = Gate::new();
    let victim = Child::fork(|| {
        let _full = full_listener(&bus, "$.A");
        ready.open(1);
        process::park();
    });
    ready.pass();
    let waiter = waiter(&bus, b"w");
    silent!(free);
    victim.kill();
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
}

/// And one that is shut for reading.
fn listener_that_shuts_reading_is_not_waited_for() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let free = listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    full.shutdown(libc::SHUT_RD).unwrap();
    waiter.result().unwrap();
    assert_eq!(free.drain(), [b"w"]);
    assert_eq!(full.recv().unwrap().data, b"fill");
}

/// Unbinding another name makes room by what it removes.
fn unlistening_elsewhere_makes_room() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.listen("$.B").unwrap();
    full.set_queue_len(1);
    full.send_to("$.B", b"in the way").unwrap();
    let waiter = waiter(&bus, b"w");
    full.unlisten("$.B").unwrap();
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"w"]);
}

/// The replier closes while a request waits for it: `EADDRNOTAVAIL`.
fn replier_that_dies_ends_the_wait() {
    let bus = fresh_bus();
    let waiter = later_asker(&bus);
    let full = full_replier(&bus, "$.A");
    let other = listener(&bus, "$.A");
    let waiter = waiter.go();
    drop(full);
    fails!(EADDRNOTAVAIL, waiter.result());
    silent!(other);
}

/// The same when it is killed.
fn replier_that_is_killed_ends_the_wait() {
    let bus = fresh_bus();
    let ready = Gate::new();
    let victim = Child::fork(|| {
        let _full = full_replier(&bus, "$.A");
        ready.open(1);
        process::park();
    });
    ready.pass();
    let waiter = later_asker(&bus).go();
    victim.kill();
    fails!(EADDRNOTAVAIL, waiter.result());
}

/// And when it gives up the name.
fn replier_that_unbinds_ends_the_wait() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let waiter = later_asker(&bus).go();
    full.unreplier("$.A").unwrap();
    fails!(EADDRNOTAVAIL, waiter.result());
    assert_eq!(full.drain(), [b"fill"]);
}

/// A more specific replier that comes meanwhile gets the request.
fn better_replier_takes_over() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.*");
    let waiter = later_asker(&bus).go();
    let better = Sock::on(&bus);
    better.replier("$.A").unwrap();
    let request = better.recv_wait().unwrap();
    assert!(request.must_reply());
    assert_eq!(waiter.result(), Ok(request.info.id));
    assert_eq!(full.drain(), [b"fill"]);
}

/// When the best replier goes, the next one gets it.
fn lesser_replier_takes_over() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let lesser = Sock::on(&bus);
    lesser.replier("$.*").unwrap();
    let waiter = later_asker(&bus).go();
    silent!(lesser);
    full.unreplier("$.A").unwrap();
    let request = lesser.recv_wait().unwrap();
    assert_eq!(waiter.result(), Ok(request.info.id));
}

/// A stateful request whose peer is replier no more ends with `EPIPE`.
fn stateful_waiter_with_another_replier_ends() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.*");
    let to = full.sends_from("$.A");
    let waiter = Blocked::in_call(|| Sock::on(&bus).send_with(&to, b"ask", ASK | WAIT));
    let better = Sock::on(&bus);
    better.replier("$.A").unwrap();
    fails!(EPIPE, waiter.result());
    silent!(better);
    assert_eq!(full.drain(), [b"fill"]);
}

/// `SHUT_WR` by another holder of the sender's socket ends the wait: `EPIPE`.
fn shut_for_writing_ends_the_wait() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    for how in [libc::SHUT_WR, libc::SHUT_RDWR] {
        let sock = Sock::on(&bus);
        let waiter = Blocked::in_call(|| sock.send_with("$.A", b"w", WAIT));
        sock.shutdown(how).unwrap();
        fails!(EPIPE, waiter.result());
    }
    assert_eq!(full.drain(), [b"fill"]);
}

/// `SHUT_RD` ends the wait of a request, which could have no answer: `EPIPE`.
fn shut_for_reading_ends_a_request_s_wait() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sock = Sock::on(&bus);
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"ask", ASK | WAIT));
    sock.shutdown(libc::SHUT_RD).unwrap();
    fails!(EPIPE, waiter.result());
    assert_eq!(full.drain(), [b"fill"]);
}

/// An announcement goes on waiting.
fn shut_for_reading_leaves_an_announcement_waiting() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sock = Sock::on(&bus);
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"w", WAIT));
    sock.shutdown(libc::SHUT_RD).unwrap();
    assert!(!waiter.is_over());
    expect_after_fill(&full, b"w");
    waiter.result().unwrap();
}

/// A sender that is killed while it waits leaves nothing anywhere.
fn killed_waiter_leaves_nothing() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let shared = Sock::on(&bus);
    let victims = [
        waiter(&bus, b"own socket"),
        Blocked::in_call(|| shared.send_with("$.A", b"shared socket", WAIT)),
        waiter(&bus, b"own socket"),
    ];
    let survivor = waiter(&bus, b"w");
    for victim in victims {
        victim.kill();
    }
    expect_after_fill(&full, b"w");
    survivor.result().unwrap();
    let info = full.bus_info().unwrap();
    assert_eq!((info.members, info.bytes), (2, 0));
    shared.send_with("$.A", b"still good", WAIT).unwrap();
}

/// Raising the target's `KBUS_QUEUE_LEN` lets the waiter go.
fn raising_the_queue_length_lets_it_go() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    full.set_queue_len(2);
    waiter.result().unwrap();
    expect_after_fill(&full, b"w");
}

/// So does raising its `SO_RCVBUF`.
fn raising_the_byte_limit_lets_it_go() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.set_socket(libc::SO_RCVBUF, 4096).unwrap();
    full.send_to("$.A", &[0; 5000]).unwrap();
    let waiter = waiter(&bus, b"w");
    full.set_socket(libc::SO_RCVBUF, 8192).unwrap();
    waiter.result().unwrap();
    assert_eq!(full.unread(), 2);
}

/// A target that becomes lossy is waited for no longer, and misses it.
fn becoming_lossy_lets_it_go() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = waiter(&bus, b"w");
    full.turn_on(uapi::KBUS_LOSSY);
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"fill"]);
    assert_eq!(full.lost(), 1);
}

/// A target that wants one copy only may have room for that.
fn becoming_once_lets_it_go() {
    let bus = fresh_bus();
    let full = listener(&bus, "$.A");
    full.listen("$.*").unwrap();
    full.set_queue_len(1);
    let waiter = waiter(&bus, b"w");
    silent!(full);
    full.turn_on(uapi::KBUS_ONCE);
    waiter.result().unwrap();
    assert_eq!(full.drain(), [b"w"]);
}

/// A request that waits reserves nothing: the sender's slots are there for
/// others.
fn waiting_request_reserves_nothing() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sock = listener(&bus, "$.B");
    sock.set_queue_len(1);
    let bytes = full.bus_info().unwrap().bytes;
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"", ASK | WAIT));
    assert_eq!(full.bus_info().unwrap().bytes, bytes);
    full.send_with("$.B", b"x", FAIL).unwrap();
    assert_eq!(sock.drain(), [b"x"]);
    full.recv().unwrap();
    assert!(full.recv_wait().unwrap().must_reply());
    waiter.result().unwrap();
    fails!(EBUSY, full.send_with("$.B", b"y", FAIL));
}

/// If the sender's own queue has no room for the reply by then, it ends with
/// `ENOBUFS`.
fn own_queue_full_by_then_ends_a_request_s_wait() {
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sock = listener(&bus, "$.B");
    sock.set_queue_len(1);
    let waiter = Blocked::in_call(|| sock.send_with("$.A", b"", ASK | WAIT));
    full.send_to("$.B", b"x").unwrap();
    full.recv().unwrap();
    let result: Res<u64> = waiter.result();
    fails!(ENOBUFS, result);
    silent!(full);
    assert_eq!(sock.drain(), [b"x"]);
}

/// Everything is checked afresh: a payload that is over the bus's limit by then
/// is `EMSGSIZE`.
fn smaller_largest_message_ends_the_wait() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let waiter = Blocked::in_call(|| Sock::on(&bus).send_with("$.A", &[0; 200], WAIT));
    full.set_u32(uapi::KBUS_MAX_MSG_SIZE, 100).unwrap();
    full.recv().unwrap();
    fails!(EMSGSIZE, waiter.result());
    silent!(full);
}

/// However reads and sends fall together, no waiter overlooks that there is
/// room: all that is sent arrives.
fn no_room_is_overlooked() {
    const EACH: u32 = 200;
    let bus = fresh_bus();
    let ready = Gate::new();
    let readers: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| {
                let sock = listener(&bus, "$.A");
                sock.set_queue_len(1);
                ready.open(1);
                for _ in 0..2 * EACH {
                    assert_eq!(sock.recv_wait().unwrap().info.lost, 0);
                }
                silent!(sock);
            })
        })
        .collect();
    ready.pass();
    ready.pass();
    let senders: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| {
                let sock = Sock::on(&bus);
                for _ in 0..EACH {
                    sock.send_with("$.A", b"w", WAIT).unwrap();
                }
            })
        })
        .collect();
    senders.into_iter().for_each(Child::join);
    readers.into_iter().for_each(Child::join);
}
