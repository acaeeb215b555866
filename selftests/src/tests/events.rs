// SPDX-License-Identifier: GPL-2.0
//! Replier bind events: `KBUS_REPORT_BINDS`.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Sock;

use super::fails;
use super::fill;
use super::full_listener;
use super::silent;

super::tests! {
    reports_are_off_unless_set reports_are_switched_by_the_owner
    reports_are_switched_by_the_owning_user reports_need_a_bus switching_on_tells_what_is_bound
    switching_on_tells_everybody_s_bindings switching_on_needs_no_binding
    switching_on_goes_beyond_the_limit switching_on_again_needs_a_queue_within_its_limit switching_on_tells_it_once_each_time
    switching_on_tells_nobody_else initial_events_outlive_unbinding
    initial_events_of_a_socket_shut_for_reading event_looks event_has_the_longest_name
    bind_is_announced unbind_is_announced nothing_is_announced_while_off listeners_are_not_announced
    on_while_one_socket_has_set_it on_until_the_last_socket_closes get_is_this_socket_s_own_switch
    everybody_may_listen_to_events event_by_every_matching_binding event_once
    event_comes_in_the_order_of_ids events_are_not_bus_bytes close_is_announced death_is_announced
    close_is_announced_in_order_of_binding close_answers_first_and_announces_then
    shut_for_reading_is_announced shut_for_writing_is_announced
    last_reporter_s_close_is_not_announced close_of_a_reporter_among_others_is_announced
    restart_is_announced_in_order refused_bind_announces_nothing
    taken_name_comes_before_a_full_listener
}

pub(super) const EVENT: &str = "$.KBUS.ReplierBindEvent";

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) peer: u64,
    pub(super) bind: bool,
    pub(super) name: String,
}

impl Event {
    #[track_caller]
    pub(super) fn of(msg: &Msg) -> Event {
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

pub(super) fn event(sock: &Sock, bind: bool, name: &str) -> Event {
    Event {
        peer: sock.peer_id(),
        bind,
        name: name.to_string(),
    }
}

/// All events that wait.
#[track_caller]
pub(super) fn events(sock: &Sock) -> Vec<Event> {
    std::iter::from_fn(|| sock.recv().ok())
        .map(|msg| Event::of(&msg))
        .collect()
}

/// A bus with reports on, the socket that switched them on, and a listener.
pub(super) fn reported() -> (String, Sock, Sock) {
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
