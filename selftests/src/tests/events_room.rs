// SPDX-License-Identifier: GPL-2.0
//! Explicit bindings whose event finds no room: who may refuse it, and who waits.

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::events::event;
use super::events::events;
use super::events::reported;
use super::events::Event;
use super::events::EVENT;
use super::expect_status;
use super::fails;
use super::full_listener;
use super::silent;

super::tests! {
    bind_fails_when_a_listener_has_no_room unbind_fails_when_a_listener_has_no_room
    bind_waits_for_room unbind_waits_for_room bind_checks_afresh_after_the_wait
    signal_ends_a_waiting_bind listener_that_goes_ends_the_wait own_full_queue_is_a_deadlock
    wildcard_listener_has_no_veto stranger_has_no_veto user_s_own_listener_must_have_room
    lossy_listener_has_no_veto full_listener_has_no_veto_while_off failed_bind_reaches_nobody
}

fn nonblocking(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_nonblocking();
    sock
}

/// An exact listener of the owner's without room makes a bind fail: `EAGAIN`,
/// and nothing has changed.
fn bind_fails_when_a_listener_has_no_room() {
    let (bus, owner, listener) = reported();
    let full = full_listener(&bus, EVENT);
    let a = nonblocking(&bus);
    let before = owner.bus_info().unwrap().bindings;
    for _ in 0..3 {
        fails!(EAGAIN, a.replier("$.A"));
    }
    assert_eq!(owner.bus_info().unwrap().bindings, before);
    assert_eq!(owner.who_replies("$.A"), Ok(0));
    fails!(EADDRNOTAVAIL, owner.request("$.A", b""));
    silent!(listener);
    assert_eq!(full.drain(), [b"fill"]);
    assert_eq!(full.lost(), 0);
    a.replier("$.A").unwrap();
    assert_eq!(events(&full), [event(&a, true, "$.A")]);
}

/// And so does an unbind: the replier is still the replier.
fn unbind_fails_when_a_listener_has_no_room() {
    let (bus, owner, listener) = reported();
    let a = nonblocking(&bus);
    a.replier("$.A").unwrap();
    events(&listener);
    let full = full_listener(&bus, EVENT);
    let id = owner.request("$.A", b"").unwrap();
    fails!(EAGAIN, a.unreplier("$.A"));
    assert_eq!(owner.who_replies("$.A"), Ok(a.peer_id()));
    assert_eq!(a.unread(), 1);
    silent!(owner);
    silent!(listener);
    full.recv().unwrap();
    a.unreplier("$.A").unwrap();
    expect_status(&owner, id, uapi::KBUS_UNBOUND);
    assert_eq!(events(&full), [event(&a, false, "$.A")]);
}

/// A blocking socket waits until there is room.
fn bind_waits_for_room() {
    let (bus, owner, _listener) = reported();
    let full = full_listener(&bus, EVENT);
    let a = Sock::on(&bus);
    let binder = Blocked::in_call(|| a.replier("$.A").map(|()| 0));
    assert_eq!(owner.who_replies("$.A"), Ok(0));
    assert_eq!(full.recv().unwrap().data, b"fill");
    binder.result().unwrap();
    assert_eq!(owner.who_replies("$.A"), Ok(a.peer_id()));
    assert_eq!(events(&full), [event(&a, true, "$.A")]);
}

/// To unbind as well.
fn unbind_waits_for_room() {
    let (bus, owner, _listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let full = full_listener(&bus, EVENT);
    let binder = Blocked::in_call(|| a.unreplier("$.A").map(|()| 0));
    assert_eq!(owner.who_replies("$.A"), Ok(a.peer_id()));
    full.recv().unwrap();
    binder.result().unwrap();
    assert_eq!(owner.who_replies("$.A"), Ok(0));
    assert_eq!(events(&full), [event(&a, false, "$.A")]);
}

/// After the wait everything is checked afresh: reports may be off by then, and
/// the name be taken.
fn bind_checks_afresh_after_the_wait() {
    let (bus, owner, _listener) = reported();
    let full = full_listener(&bus, EVENT);
    let a = Sock::on(&bus);
    let binder = Blocked::in_call(|| a.replier("$.A").map(|()| 0));
    let rival = Sock::on(&bus);
    owner.turn_off(uapi::KBUS_REPORT_BINDS);
    // Either may win now.
    let won = rival.replier("$.A");
    full.recv().unwrap();
    match (won, binder.result()) {
        (Ok(()), Err(errno)) | (Err(errno), Ok(_)) => assert_eq!(errno.0, libc::EEXIST),
        both => panic!("one of them has the name: {both:?}"),
    }
    silent!(full);
}

/// A signal ends the wait: `EINTR`, and nothing has changed.
fn signal_ends_a_waiting_bind() {
    let (bus, owner, _listener) = reported();
    let _full = full_listener(&bus, EVENT);
    let handled = Gate::new();
    let a = Sock::on(&bus);
    let binder = Blocked::in_call(|| {
        process::on_signal(libc::SIGUSR1, false, &handled);
        a.replier("$.A").map(|()| 0)
    });
    binder.signal(libc::SIGUSR1);
    fails!(EINTR, binder.result());
    assert_eq!(owner.who_replies("$.A"), Ok(0));
}

/// A full listener that unlistens is waited for no longer.
fn listener_that_goes_ends_the_wait() {
    let (bus, _owner, listener) = reported();
    let full = full_listener(&bus, EVENT);
    let a = Sock::on(&bus);
    let binder = Blocked::in_call(|| a.replier("$.A").map(|()| 0));
    full.unlisten(EVENT).unwrap();
    binder.result().unwrap();
    assert_eq!(events(&listener), [event(&a, true, "$.A")]);
}

/// To wait for one's own full queue would be for ever: `EDEADLK` at once.
fn own_full_queue_is_a_deadlock() {
    let (bus, owner, _listener) = reported();
    let full = full_listener(&bus, EVENT);
    fails!(EDEADLK, full.replier("$.A"));
    assert_eq!(owner.who_replies("$.A"), Ok(0));
    // Who would not wait anyway is told so.
    full.set_nonblocking();
    fails!(EAGAIN, full.replier("$.A"));
    full.recv().unwrap();
    full.replier("$.A").unwrap();
    fails!(EAGAIN, full.unreplier("$.A"));
}

/// A full listener by wildcard misses the event and is told; it hinders nobody.
fn wildcard_listener_has_no_veto() {
    let (bus, _owner, listener) = reported();
    for pattern in ["$.KBUS.*", "$.KBUS.%", "$.*"] {
        let full = full_listener(&bus, pattern);
        let before = full.lost();
        let a = nonblocking(&bus);
        a.replier("$.A").unwrap();
        a.unreplier("$.A").unwrap();
        assert_eq!(events(&listener).len(), 2);
        assert_eq!(full.recv().unwrap().data, b"fill");
        assert_eq!(full.lost() - before, 2);
        full.unlisten(pattern).unwrap();
    }
}

/// A full listener of another user's, neither the owner's nor the binder's,
/// misses it and hinders nobody.
fn stranger_has_no_veto() {
    let (bus, owner, listener) = reported();
    let (ready, go) = (Gate::new(), Gate::new());
    let stranger = Child::fork(|| {
        process::become_user(1000, 1000);
        let full = full_listener(&bus, EVENT);
        ready.open(1);
        go.pass();
        assert_eq!(full.recv().unwrap().data, b"fill");
        // Both binds were missed; the other user's close was not to be.
        let msg = full.recv().unwrap();
        assert_eq!((Event::of(&msg).bind, msg.info.lost), (false, 2));
        silent!(full);
        assert_eq!(full.lost(), 2);
    });
    ready.pass();
    owner.set_nonblocking();
    owner.replier("$.A").unwrap();
    Child::fork(|| {
        process::become_user(1001, 1001);
        nonblocking(&bus).replier("$.B").unwrap();
    })
    .join();
    let names: Vec<String> = events(&listener).into_iter().map(|e| e.name).collect();
    assert_eq!(names[..2], ["$.A", "$.B"]);
    go.open(1);
    stranger.join();
}

/// One of the binder's own user must have room, whoever owns the bus.
fn user_s_own_listener_must_have_room() {
    let (bus, owner, listener) = reported();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let full = full_listener(&bus, EVENT);
        let a = nonblocking(&bus);
        fails!(EAGAIN, a.replier("$.A"));
        assert_eq!(a.who_replies("$.A"), Ok(0));
        full.recv().unwrap();
        a.replier("$.A").unwrap();
        assert_eq!(events(&full), [event(&a, true, "$.A")]);
    })
    .join();
    assert_eq!(events(&listener).len(), 2);
    assert_eq!(owner.who_replies("$.A"), Ok(0));
}

/// A lossy listener misses it, exact and the owner's as it may be.
fn lossy_listener_has_no_veto() {
    let (bus, _owner, listener) = reported();
    let full = full_listener(&bus, EVENT);
    full.turn_on(uapi::KBUS_LOSSY);
    let a = nonblocking(&bus);
    a.replier("$.A").unwrap();
    assert_eq!(events(&listener).len(), 1);
    assert_eq!((full.drain(), full.lost()), (vec![b"fill".to_vec()], 1));
}

/// While reports are off there is nothing to have room for.
fn full_listener_has_no_veto_while_off() {
    let bus = fresh_bus();
    let full = full_listener(&bus, EVENT);
    let a = nonblocking(&bus);
    a.replier("$.A").unwrap();
    a.unreplier("$.A").unwrap();
    full.replier("$.B").unwrap();
    assert_eq!(full.lost(), 0);
}

/// A bind that failed for one listener reached none, before it or after it.
fn failed_bind_reaches_nobody() {
    let (bus, _owner, first) = reported();
    let full = full_listener(&bus, EVENT);
    let last = Sock::on(&bus);
    last.listen(EVENT).unwrap();
    last.listen("$.*").unwrap();
    let a = nonblocking(&bus);
    fails!(EAGAIN, a.replier("$.A"));
    silent!(first);
    silent!(last);
    assert_eq!((first.lost(), full.lost(), last.lost()), (0, 0, 0));
}
