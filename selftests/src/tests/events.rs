// SPDX-License-Identifier: GPL-2.0
//! Replier bind events: `KBUS_REPORT_BINDS`.

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Sock;

use super::expect_status;
use super::fails;
use super::fill;
use super::full_listener;
use super::silent;

super::tests! {
    reports_are_off_unless_set reports_are_switched_by_the_owner
    reports_are_switched_by_the_owning_user reports_need_a_bus
    switching_on_tells_what_is_bound switching_on_tells_everybody_s_bindings
    switching_on_needs_no_binding switching_on_goes_beyond_the_limit
    switching_on_tells_it_once_each_time switching_on_tells_nobody_else
    initial_events_outlive_unbinding initial_events_of_a_socket_shut_for_reading
    event_looks event_has_the_longest_name bind_is_announced unbind_is_announced
    nothing_is_announced_while_off listeners_are_not_announced
    on_while_one_socket_has_set_it on_until_the_last_socket_closes
    get_is_this_socket_s_own_switch everybody_may_listen_to_events
    event_by_every_matching_binding event_once event_comes_in_the_order_of_ids
    events_are_not_bus_bytes close_is_announced death_is_announced
    close_is_announced_in_order_of_binding close_answers_first_and_announces_then
    shut_for_reading_is_announced shut_for_writing_is_announced
    last_reporter_s_close_is_not_announced close_of_a_reporter_among_others_is_announced
    restart_is_announced_in_order refused_bind_announces_nothing
    taken_name_comes_before_a_full_listener bind_fails_when_a_listener_has_no_room
    unbind_fails_when_a_listener_has_no_room bind_waits_for_room unbind_waits_for_room
    bind_checks_afresh_after_the_wait signal_ends_a_waiting_bind
    listener_that_goes_ends_the_wait own_full_queue_is_a_deadlock
    wildcard_listener_has_no_veto stranger_has_no_veto user_s_own_listener_must_have_room
    lossy_listener_has_no_veto full_listener_has_no_veto_while_off
    failed_bind_reaches_nobody close_goes_beyond_the_limit close_is_nobody_s_to_refuse
    queue_stays_full_after_a_close too_many_unbind_events_are_summed_up
    unbind_events_are_shared_among_listeners share_of_unbind_events_is_16_at_least unbind_events_of_a_bus_are_a_thousand unbind_events_come_again_when_read
    unbind_events_lost_looks unbind_events_lost_goes_with_its_binding
    unbind_events_lost_is_no_loss reports_do_not_change_who_replies
    initial_events_do_not_count_in_the_thousand
}

const EVENT: &str = "$.KBUS.ReplierBindEvent";

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    peer: u64,
    bind: bool,
    name: String,
}

impl Event {
    #[track_caller]
    fn of(msg: &Msg) -> Event {
        assert_eq!(msg.name(), EVENT, "{msg:?}");
        let (head, name) = msg.data.split_at(16);
        let word = |at| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(word(12) as usize, name.len(), "name_len");
        assert!(word(8) <= 1, "is_bind");
        Event {
            peer: u64::from_ne_bytes(head[..8].try_into().unwrap()),
            bind: word(8) == 1,
            name: String::from_utf8(name.to_vec()).unwrap(),
        }
    }
}

fn event(sock: &Sock, bind: bool, name: &str) -> Event {
    Event {
        peer: sock.peer_id(),
        bind,
        name: name.to_string(),
    }
}

/// All events that wait.
#[track_caller]
fn events(sock: &Sock) -> Vec<Event> {
    std::iter::from_fn(|| sock.recv().ok())
        .map(|msg| Event::of(&msg))
        .collect()
}

/// A bus with reports on, the socket that switched them on, and a listener.
fn reported() -> (String, Sock, Sock) {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.turn_on(uapi::KBUS_REPORT_BINDS);
    let listener = Sock::on(&bus);
    listener.listen(EVENT).unwrap();
    (bus, owner, listener)
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

/// An event is a status of the bus's own, with `struct kbus_bind_event` and the
/// name, not terminated.
fn event_looks() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.send_to("$.X", b"").unwrap();
    a.replier("$.Name.*").unwrap();
    let msg = listener.recv().unwrap();
    assert_eq!(msg.from, format!("{EVENT}@0"));
    let mut want = a.peer_id().to_ne_bytes().to_vec();
    want.extend_from_slice(&1_u32.to_ne_bytes());
    want.extend_from_slice(&8_u32.to_ne_bytes());
    want.extend_from_slice(b"$.Name.*");
    assert_eq!(msg.data, want);
    let info = msg.info;
    assert_eq!((info.len, info.flags), (24, uapi::KBUS_STATUS));
    assert_eq!((info.sender, info.to, info.in_reply_to), (0, 0, 0));
    assert_eq!((info.error, info.lost, info.cookie), (0, 0, 0));
    assert!(info.id > a.last_sent());
}

/// A name of 1000 bytes is in it whole.
fn event_has_the_longest_name() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    let name = long_name(1000);
    a.replier(&name).unwrap();
    assert_eq!(events(&listener), [event(&a, true, &name)]);
}

/// A replier binding is announced to whoever listens to the event's name.
fn bind_is_announced() {
    let (bus, owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    a.replier("$.A.%").unwrap();
    listener.replier("$.Own").unwrap();
    let want = [
        event(&a, true, "$.A"),
        event(&a, true, "$.A.%"),
        event(&listener, true, "$.Own"),
    ];
    assert_eq!(events(&listener), want);
    // Who switched it on and does not listen is told no more.
    silent!(owner);
}

/// And so is its end.
fn unbind_is_announced() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    a.unreplier("$.A").unwrap();
    assert_eq!(
        events(&listener),
        [event(&a, true, "$.A"), event(&a, false, "$.A")]
    );
}

/// While no socket has switched it on, nothing is announced.
fn nothing_is_announced_while_off() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen(EVENT).unwrap();
    a.replier("$.A").unwrap();
    a.unreplier("$.A").unwrap();
    a.replier("$.A").unwrap();
    drop(a);
    silent!(b);
}

/// Listener bindings are nobody's business.
fn listeners_are_not_announced() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.listen("$.A").unwrap();
    a.unlisten("$.A").unwrap();
    a.listen("$.A").unwrap();
    drop(a);
    silent!(listener);
}

/// They are on while at least one open socket has switched them on.
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

/// Anybody on the bus may listen to them.
fn everybody_may_listen_to_events() {
    let (bus, owner, _listener) = reported();
    let (ready, go) = (Gate::new(), Gate::new());
    let peer = owner.peer_id();
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.listen(EVENT).unwrap();
        ready.open(1);
        go.pass();
        let got = events(&sock);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].peer, &got[0].name[..]), (peer, "$.A"));
    });
    ready.pass();
    owner.replier("$.A").unwrap();
    go.open(1);
    child.join();
}

/// One copy comes by every binding that matches, as of any message.
fn event_by_every_matching_binding() {
    let (bus, _owner, listener) = reported();
    for name in ["$.KBUS.*", "$.KBUS.%", "$.*", EVENT] {
        listener.listen(name).unwrap();
    }
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    assert_eq!(listener.unread(), 5);
    drop(a);
    assert_eq!(listener.unread(), 10);
    assert!(events(&listener).iter().all(|event| event.name == "$.A"));
}

/// And one in all for a socket that wants it once.
fn event_once() {
    let (bus, _owner, listener) = reported();
    listener.listen("$.*").unwrap();
    listener.turn_on(uapi::KBUS_ONCE);
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    a.unreplier("$.A").unwrap();
    a.replier("$.B").unwrap();
    assert_eq!(listener.unread(), 3);
    drop(a);
    assert_eq!(listener.unread(), 4);
}

/// An event has its place among the messages of the bus.
fn event_comes_in_the_order_of_ids() {
    let (bus, _owner, listener) = reported();
    listener.listen("$.A").unwrap();
    let a = Sock::on(&bus);
    a.send_to("$.A", b"1").unwrap();
    a.replier("$.A").unwrap();
    a.send_to("$.A", b"2").unwrap();
    a.unreplier("$.A").unwrap();
    a.send_to("$.A", b"3").unwrap();
    let msgs: Vec<Msg> = (0..5).map(|_| listener.recv().unwrap()).collect();
    assert!(msgs.windows(2).all(|two| two[0].info.id < two[1].info.id));
    let names: Vec<&str> = msgs.iter().map(Msg::name).collect();
    assert_eq!(names, ["$.A", EVENT, "$.A", EVENT, "$.A"]);
}

/// Their payload is nobody's and does not count in the bus's bytes.
fn events_are_not_bus_bytes() {
    let (bus, owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    drop(a);
    assert_eq!(listener.unread(), 2);
    assert_eq!(owner.bus_info().unwrap().bytes, 0);
}

/// The bindings of a socket that closes are announced as gone.
fn close_is_announced() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let (bound, gone) = (event(&a, true, "$.A"), event(&a, false, "$.A"));
    drop(a);
    assert_eq!(events(&listener), [bound, gone]);
}

/// So are those of a process that is killed, before it can be waited for.
fn death_is_announced() {
    let (bus, _owner, listener) = reported();
    let ready = Gate::new();
    let victim = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.A").unwrap();
        ready.open(sock.peer_id());
        process::park();
    });
    let peer = ready.pass();
    victim.kill();
    let got = events(&listener);
    assert_eq!(got.len(), 2);
    assert!(got[0].bind && !got[1].bind);
    assert!(got.iter().all(|event| event.peer == peer));
}

/// One after the other in the order in which they were made.
fn close_is_announced_in_order_of_binding() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    let names = ["$.M", "$.B.*", "$.A", "$.*"];
    for name in names {
        a.replier(name).unwrap();
    }
    events(&listener);
    let want = names.map(|name| event(&a, false, name));
    drop(a);
    assert_eq!(events(&listener), want);
}

/// Its statuses come first, then the events.
fn close_answers_first_and_announces_then() {
    let (bus, _owner, asker) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    asker.recv().unwrap();
    let read = asker.request("$.A", b"").unwrap();
    let unread = asker.request("$.A", b"").unwrap();
    a.recv().unwrap();
    drop(a);
    let first = asker.recv().unwrap().info;
    assert_eq!(first.in_reply_to, unread);
    let second = asker.recv().unwrap().info;
    assert_eq!(second.in_reply_to, read);
    let third = asker.recv().unwrap();
    assert!(!Event::of(&third).bind);
    assert!(first.id < second.id && second.id < third.info.id);
    silent!(asker);
}

/// `SHUT_RD` takes the replier bindings, and is announced.
fn shut_for_reading_is_announced() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    a.replier("$.B").unwrap();
    events(&listener);
    a.shutdown(libc::SHUT_RD).unwrap();
    let want = [event(&a, false, "$.A"), event(&a, false, "$.B")];
    assert_eq!(events(&listener), want);
    drop(a);
    silent!(listener);
}

/// And so does `SHUT_WR`.
fn shut_for_writing_is_announced() {
    let (bus, _owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let id = listener.request("$.A", b"").unwrap();
    listener.recv().unwrap();
    a.shutdown(libc::SHUT_WR).unwrap();
    let status = listener.recv().unwrap();
    assert_eq!(status.info.in_reply_to, id);
    assert_eq!(events(&listener), [event(&a, false, "$.A")]);
}

/// When the only socket that wanted reports closes, its own end is not
/// announced.
fn last_reporter_s_close_is_not_announced() {
    let (_bus, owner, listener) = reported();
    owner.replier("$.A").unwrap();
    listener.recv().unwrap();
    drop(owner);
    silent!(listener);
}

/// When another one wants them too, it is.
fn close_of_a_reporter_among_others_is_announced() {
    let (_bus, owner, listener) = reported();
    listener.turn_on(uapi::KBUS_REPORT_BINDS);
    owner.replier("$.A").unwrap();
    listener.recv().unwrap();
    let want = [event(&owner, false, "$.A")];
    drop(owner);
    assert_eq!(events(&listener), want);
}

/// The end of a service is announced before its successor can bind.
fn restart_is_announced_in_order() {
    let (bus, _owner, listener) = reported();
    let mut want = Vec::new();
    for _ in 0..20 {
        let sock = Sock::on(&bus);
        sock.replier("$.Service").unwrap();
        want.push(event(&sock, true, "$.Service"));
        want.push(event(&sock, false, "$.Service"));
    }
    assert_eq!(events(&listener), want);
}

/// A bind that fails announces nothing.
fn refused_bind_announces_nothing() {
    let (bus, owner, listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    events(&listener);
    fails!(EEXIST, a.replier("$.A"));
    fails!(EEXIST, owner.replier("$.A"));
    fails!(EPERM, a.replier("$.KBUS.A"));
    fails!(EBADMSG, a.replier("$.A."));
    fails!(EINVAL, a.unreplier("$.B"));
    fails!(EINVAL, owner.unreplier("$.A"));
    silent!(listener);
}

/// `EEXIST` comes before the lack of room for the event.
fn taken_name_comes_before_a_full_listener() {
    let (bus, _owner, _listener) = reported();
    let a = Sock::on(&bus);
    a.replier("$.A").unwrap();
    let _full = full_listener(&bus, EVENT);
    let b = Sock::on(&bus);
    // Blocking or not: it does not wait for that.
    fails!(EEXIST, b.replier("$.A"));
    b.set_nonblocking();
    fails!(EEXIST, b.replier("$.A"));
    fails!(EINVAL, b.unreplier("$.A"));
    fails!(EPERM, b.replier("$.KBUS.A"));
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

/// A thousand unbind events wait on a bus; past that one
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

/// When the thousand are used up, all that are left out are told.
fn unbind_events_of_a_bus_are_a_thousand() {
    let (bus, _owner, first) = reported();
    let mut listeners = vec![first];
    while listeners.len() < 100 {
        let sock = Sock::on(&bus);
        sock.listen(EVENT).unwrap();
        listeners.push(sock);
    }
    bind_many_and_close(&bus, &listeners, 12);
    for sock in &listeners {
        expect_summed_up(sock, 10);
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
