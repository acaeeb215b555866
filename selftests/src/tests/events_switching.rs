// SPDX-License-Identifier: GPL-2.0
//! `KBUS_REPORT_BINDS`: who switches reports of replier bindings on, and what that socket is told.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::events::event;
use super::events::events;
use super::events::reported;
use super::events::Event;
use super::events::EVENT;
use super::fails;
use super::fill;
use super::silent;

super::tests! {
    reports_are_off_unless_set reports_are_switched_by_the_owner reports_are_switched_by_the_owning_user
    reports_need_a_bus switching_on_tells_what_is_bound switching_on_tells_everybody_s_bindings
    switching_on_needs_no_binding switching_on_goes_beyond_the_limit
    switching_on_again_needs_a_queue_within_its_limit switching_on_tells_it_once_each_time
    switching_on_tells_nobody_else initial_events_outlive_unbinding
    initial_events_of_a_socket_shut_for_reading on_while_one_socket_has_set_it
    on_until_the_last_socket_closes get_is_this_socket_s_own_switch
}

/// `KBUS_REPORT_BINDS` is 0 by default, and says what was set.
fn reports_are_off_unless_set() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0));
    sock.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!(sock.get_u32(uapi::KBUS_REPORT_BINDS), Ok(1));
    sock.turn_off(uapi::KBUS_REPORT_BINDS);
    assert_eq!(sock.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0));
    silent!(sock);
}

/// The bus's owner switches them; others get `EPERM`.
fn reports_are_switched_by_the_owner() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.replier("$.A").unwrap();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        fails!(EPERM, sock.set_u32(uapi::KBUS_REPORT_BINDS, 1));
        fails!(EPERM, sock.set_u32(uapi::KBUS_REPORT_BINDS, 0));
        assert_eq!(sock.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0));
        silent!(sock);
    })
    .join();
    // And nothing was switched.
    owner.listen(EVENT).unwrap();
    owner.replier("$.B").unwrap();
    silent!(owner);
}

/// The owner is a user, who need not be privileged.
fn reports_are_switched_by_the_owning_user() {
    let bus = fresh_bus();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        sock.turn_on(uapi::KBUS_REPORT_BINDS);
        assert_eq!(events(&sock), [event(&sock, true, "$.A")]);
    })
    .join();
}

/// It is an option of a bus: `ENOTCONN` before `bind`.
fn reports_need_a_bus() {
    fails!(ENOTCONN, Sock::new().set_u32(uapi::KBUS_REPORT_BINDS, 1));
}

/// Whoever switches it on is told every replier binding there is, at once, in
/// the order in which they were made, each with an id of its own.
fn switching_on_tells_what_is_bound() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let names = ["$.M", "$.B.*", "$.A", "$.Z.%", "$.*"];
    for name in names {
        a.replier(name).unwrap();
    }
    a.send_to("$.X", b"").unwrap();
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    let mut last = a.last_sent();
    for name in names {
        let msg = b.recv().unwrap();
        assert_eq!(Event::of(&msg), event(&a, true, name));
        assert!(msg.info.id > last);
        last = msg.info.id;
    }
    silent!(b);
    silent!(a);
}

/// Those of every socket, its own among them; not those that have gone.
fn switching_on_tells_everybody_s_bindings() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let gone = Sock::on(&bus);
    b.replier("$.B").unwrap();
    gone.replier("$.Gone").unwrap();
    a.replier("$.A").unwrap();
    a.replier("$.Given").unwrap();
    a.unreplier("$.Given").unwrap();
    drop(gone);
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!(events(&b), [event(&b, true, "$.B"), event(&a, true, "$.A")]);
}

/// Without need of a binding; a socket that has one is told only once.
fn switching_on_needs_no_binding() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    c.listen(EVENT).unwrap();
    c.listen("$.*").unwrap();
    for sock in [&b, &c] {
        sock.turn_on(uapi::KBUS_REPORT_BINDS);
        assert_eq!(events(sock), [event(&a, true, "$.A")]);
    }
}

/// All of them, beyond the queue's limit.
fn switching_on_goes_beyond_the_limit() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    for n in 0..300 {
        a.replier(&format!("$.N{n}")).unwrap();
    }
    b.set_queue_len(1);
    fill(&b);
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!((b.unread(), b.lost()), (301, 0));
    assert_eq!(b.recv().unwrap().data, b"fill");
    for n in 0..300 {
        let got = Event::of(&b.recv().unwrap());
        assert_eq!(got, event(&a, true, &format!("$.N{n}")));
    }
    silent!(b);
}

/// But not a queue that is beyond it already: `ENOBUFS`, and nothing has changed.
fn switching_on_again_needs_a_queue_within_its_limit() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    for n in 0..5 {
        a.replier(&format!("$.N{n}")).unwrap();
    }
    b.set_queue_len(4);
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    b.turn_off(uapi::KBUS_REPORT_BINDS);
    fails!(ENOBUFS, b.set_u32(uapi::KBUS_REPORT_BINDS, 1));
    assert_eq!(b.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0));
    assert_eq!(b.unread(), 5);
    b.recv().unwrap();
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!((b.unread(), b.lost()), (9, 0));
}

/// Each time it switches it on; setting 1 again switches nothing.
fn switching_on_tells_it_once_each_time() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    for _ in 0..3 {
        b.turn_on(uapi::KBUS_REPORT_BINDS);
        b.turn_on(uapi::KBUS_REPORT_BINDS);
        assert_eq!(events(&b), [event(&a, true, "$.A")]);
        b.turn_off(uapi::KBUS_REPORT_BINDS);
        silent!(b);
    }
}

/// What is there already is told to the one that asked, not to all listeners.
fn switching_on_tells_nobody_else() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    c.listen(EVENT).unwrap();
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    silent!(c);
}

/// No unbinding removes these; those that a binding let in go with it.
fn initial_events_outlive_unbinding() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    b.listen(EVENT).unwrap();
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    a.replier("$.B").unwrap();
    assert_eq!(b.unread(), 2);
    b.unlisten(EVENT).unwrap();
    b.turn_off(uapi::KBUS_REPORT_BINDS);
    assert_eq!(events(&b), [event(&a, true, "$.A")]);
}

/// A socket that is shut for reading is told nothing.
fn initial_events_of_a_socket_shut_for_reading() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.replier("$.A").unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    b.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!((b.unread(), b.recv().unwrap().len), (0, 0));
}

/// Events are on while at least one open socket has switched them on.
fn on_while_one_socket_has_set_it() {
    let (bus, first, listener) = reported();
    let second = Sock::on(&bus);
    second.turn_on(uapi::KBUS_REPORT_BINDS);
    let a = Sock::on(&bus);
    first.turn_off(uapi::KBUS_REPORT_BINDS);
    a.replier("$.A").unwrap();
    assert_eq!(events(&listener), [event(&a, true, "$.A")]);
    second.turn_off(uapi::KBUS_REPORT_BINDS);
    a.replier("$.B").unwrap();
    silent!(listener);
}

/// A socket that closes has switched them off for itself.
fn on_until_the_last_socket_closes() {
    let (bus, first, listener) = reported();
    let second = Sock::on(&bus);
    second.turn_on(uapi::KBUS_REPORT_BINDS);
    let a = Sock::on(&bus);
    drop(first);
    a.replier("$.A").unwrap();
    assert_eq!(events(&listener), [event(&a, true, "$.A")]);
    drop(second);
    a.replier("$.B").unwrap();
    silent!(listener);
}

/// Read, the option is this socket's own switch, on as they may be.
fn get_is_this_socket_s_own_switch() {
    let (_bus, owner, listener) = reported();
    assert_eq!(owner.get_u32(uapi::KBUS_REPORT_BINDS), Ok(1));
    assert_eq!(listener.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0));
    listener.turn_off(uapi::KBUS_REPORT_BINDS);
    assert_eq!(owner.get_u32(uapi::KBUS_REPORT_BINDS), Ok(1));
    owner.replier("$.A").unwrap();
    assert_eq!(listener.unread(), 1);
}
