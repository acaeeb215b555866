// SPDX-License-Identifier: GPL-2.0
//! Unbind events of what closes, dies and is shut down: they need no room, and too many are summed up.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::events::event;
use super::events::events;
use super::events::reported;
use super::events::Event;
use super::events::EVENT;
use super::fails;
use super::full_listener;
use super::silent;

super::tests! {
    close_goes_beyond_the_limit close_is_nobody_s_to_refuse queue_stays_full_after_a_close
    too_many_unbind_events_are_summed_up unbind_events_are_shared_among_listeners
    share_of_unbind_events_is_16_at_least unbind_events_come_again_when_read unbind_events_lost_looks
    unbind_events_lost_goes_with_its_binding unbind_events_lost_is_no_loss
    reports_do_not_change_who_replies initial_events_do_not_count_in_the_thousand
}

/// A close cannot fail: its unbind events go beyond the limit, and count in
/// `KBUS_UNREAD`.
fn close_goes_beyond_the_limit() {
    let (bus, _owner, listener) = reported();
    listener.set_queue_len(5);
    let a = Sock::on(&bus);
    for n in 0..5 {
        a.replier(&format!("$.N{n}")).unwrap();
    }
    let want: Vec<Event> = (0..10)
        .map(|n| event(&a, n < 5, &format!("$.N{}", n % 5)))
        .collect();
    drop(a);
    assert_eq!((listener.unread(), listener.lost()), (10, 0));
    assert_eq!(events(&listener), want);
}

/// No full listener can forbid it, nor hold it up.
fn close_is_nobody_s_to_refuse() {
    let (bus, owner, _listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let full = full_listener(&bus, EVENT);
    let want = event(&a, false, "$.A");
    drop(a);
    assert_eq!(owner.who_replies("$.A"), Ok(0));
    assert_eq!(full.unread(), 2);
    assert_eq!(full.recv().unwrap().data, b"fill");
    assert_eq!(events(&full), [want]);
}

/// The queue stays full until it shrinks below its limit.
fn queue_stays_full_after_a_close() {
    let (bus, owner, listener) = reported();
    listener.listen("$.News").unwrap();
    let a = Sock::on(&bus);
    for n in 0..4 {
        a.replier(&format!("$.N{n}")).unwrap();
    }
    events(&listener);
    listener.set_queue_len(2);
    drop(a);
    for left in [4, 3, 2] {
        assert_eq!(listener.unread(), left);
        fails!(
            EBUSY,
            owner.send_with("$.News", b"", uapi::KBUS_ALL_OR_FAIL)
        );
        listener.recv().unwrap();
    }
    owner
        .send_with("$.News", b"", uapi::KBUS_ALL_OR_FAIL)
        .unwrap();
}

const LOST: &str = "$.KBUS.UnbindEventsLost";

/// Binds many names, whose events the listeners read, and closes.
fn bind_many_and_close(bus: &str, listeners: &[Sock], count: usize) {
    let a = Sock::on(bus);
    for n in 0..count {
        a.replier(&format!("$.N{n}")).unwrap();
        for sock in listeners {
            assert!(Event::of(&sock.recv().unwrap()).bind);
        }
    }
}

/// Reads so many unbind events, in the order of binding, then one
/// `$.KBUS.UnbindEventsLost`, and nothing more.
#[track_caller]
fn expect_summed_up(sock: &Sock, kept: usize) {
    assert_eq!(sock.unread() as usize, kept + 1);
    for n in 0..kept {
        let got = Event::of(&sock.recv().unwrap());
        assert_eq!((got.bind, got.name), (false, format!("$.N{n}")));
    }
    assert_eq!(sock.recv().unwrap().name(), LOST);
    silent!(sock);
}

/// A thousand unbind events wait for a listener that is the only one; past that one
/// `$.KBUS.UnbindEventsLost` follows those that were kept.
fn too_many_unbind_events_are_summed_up() {
    let (bus, _owner, listener) = reported();
    bind_many_and_close(&bus, std::slice::from_ref(&listener), 1100);
    expect_summed_up(&listener, 1000);
}

/// No listener gets more than its share of the thousand.
fn unbind_events_are_shared_among_listeners() {
    let (bus, _owner, first) = reported();
    let mut listeners = vec![first];
    // 1000 / 4 each.
    while listeners.len() < 4 {
        let sock = Sock::on(&bus);
        sock.listen(EVENT).unwrap();
        listeners.push(sock);
    }
    bind_many_and_close(&bus, &listeners, 260);
    for sock in &listeners {
        expect_summed_up(sock, 250);
    }
}

/// A share is never below 16.
fn share_of_unbind_events_is_16_at_least() {
    let (bus, _owner, first) = reported();
    let mut listeners = vec![first];
    while listeners.len() < 62 {
        let sock = Sock::on(&bus);
        sock.listen(EVENT).unwrap();
        listeners.push(sock);
    }
    bind_many_and_close(&bus, &listeners, 20);
    for sock in &listeners {
        expect_summed_up(sock, 16);
    }
}

/// What was read makes room for others.
fn unbind_events_come_again_when_read() {
    let (bus, _owner, first) = reported();
    let mut listeners = vec![first];
    while listeners.len() < 10 {
        let sock = Sock::on(&bus);
        sock.listen(EVENT).unwrap();
        listeners.push(sock);
    }
    for _ in 0..2 {
        bind_many_and_close(&bus, &listeners, 110);
        for sock in &listeners {
            expect_summed_up(sock, 100);
        }
    }
}

/// A bus on which one listener's share of a close was exceeded: the message
/// that says so is next.
fn overrun() -> (String, Sock, Sock) {
    let (bus, owner, listener) = reported();
    bind_many_and_close(&bus, std::slice::from_ref(&listener), 1003);
    for _ in 0..1000 {
        listener.recv().unwrap();
    }
    (bus, owner, listener)
}

/// It is an empty status of the bus's own.
fn unbind_events_lost_looks() {
    let (_bus, _owner, listener) = overrun();
    let msg = listener.recv().unwrap();
    assert_eq!(msg.from, format!("{LOST}@0"));
    assert_eq!((msg.len, msg.info.len), (0, 0));
    let info = msg.info;
    assert_eq!((info.flags, info.sender), (uapi::KBUS_STATUS, 0));
    assert_eq!((info.to, info.in_reply_to, info.error), (0, 0, 0));
    silent!(listener);
}

/// It goes with the binding that brought it.
fn unbind_events_lost_goes_with_its_binding() {
    let (_bus, _owner, listener) = overrun();
    assert_eq!(listener.unread(), 1);
    listener.unlisten(EVENT).unwrap();
    assert_eq!(listener.unread(), 0);
    silent!(listener);
}

/// What it sums up is not counted in `KBUS_LOST`.
fn unbind_events_lost_is_no_loss() {
    let (bus, _owner, listener) = overrun();
    assert_eq!(listener.recv().unwrap().info.lost, 0);
    assert_eq!(listener.lost(), 0);
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    assert_eq!(listener.recv().unwrap().info.lost, 0);
}

/// Who replies is the same with reports on.
fn reports_do_not_change_who_replies() {
    let (bus, owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.*").unwrap();
    a.replier("$.A").unwrap();
    assert_eq!(owner.who_replies("$.A"), Ok(a.peer_id()));
    // Nobody is asked for the event's own name.
    assert_eq!(owner.who_replies(EVENT), Ok(0));
    fails!(EPERM, owner.send_to(EVENT, b"forged"));
    assert_eq!(events(&listener).len(), 2);
}

/// What a socket was told when it switched reports on is not among the thousand
/// unbind events that may wait on a bus.
fn initial_events_do_not_count_in_the_thousand() {
    let bus = fresh_bus();
    let listener = Sock::on(&bus);
    let service = Sock::on(&bus);
    for n in 0..1000 {
        service.replier(&format!("$.N{n}")).unwrap();
    }
    listener.listen(EVENT).unwrap();
    listener.turn_on(uapi::KBUS_REPORT_BINDS);
    assert_eq!(listener.unread(), 1000);
    drop(service);
    assert_eq!(listener.unread(), 2000);
    let read = events(&listener);
    assert_eq!(read.iter().filter(|event| event.bind).count(), 1000);
    assert_eq!(read.len(), 2000);
}
