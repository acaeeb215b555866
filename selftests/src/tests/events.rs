// SPDX-License-Identifier: GPL-2.0
//! Replier bind events: what they look like, and what is announced to whom.

use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Sock;

use super::fails;
use super::full_listener;
use super::silent;

super::tests! {
    event_looks event_has_the_longest_name bind_is_announced unbind_is_announced
    nothing_is_announced_while_off listeners_are_not_announced everybody_may_listen_to_events
    event_by_every_matching_binding event_once event_comes_in_the_order_of_ids events_are_not_bus_bytes
    close_is_announced death_is_announced close_is_announced_in_order_of_binding
    close_answers_first_and_announces_then shut_for_reading_is_announced shut_for_writing_is_announced
    last_reporter_s_close_is_not_announced close_of_a_reporter_among_others_is_announced
    restart_is_announced_in_order refused_bind_announces_nothing taken_name_comes_before_a_full_listener
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

/// Anybody on the bus may listen to the events.
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
