// SPDX-License-Identifier: GPL-2.0
//! Descriptors in flight: who keeps them, when they are closed, and how many there may be.

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::expect_status;
use super::fails;
use super::fill;
use super::rights::asking;
use super::rights::limit_descriptors;
use super::rights::listener;
use super::rights::request;
use super::rights::say;
use super::rights::send;
use super::rights::without_any;
use super::rights::Pipe;
use super::silent;

super::tests! {
    close_closes_them unlisten_closes_them shutdown_closes_them unreplier_takes_them
    failed_send_keeps_nothing unheard_send_keeps_nothing send_that_waits interrupted_wait_keeps_nothing
    too_many_in_flight lent_users_are_one_in_flight
}

/// Those in the queue of a socket that closes are closed.
fn close_closes_them() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), listener(&bus), listener(&bus));
    let mut pipe = Pipe::new();
    send(&a, &[pipe.end()]).unwrap();
    pipe.close();
    drop(b);
    assert!(!pipe.is_over());
    drop(c);
    assert!(pipe.is_over());
}

/// So are those of messages that go with their binding.
fn unlisten_closes_them() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    sock.unlisten("$.A").unwrap();
    assert!(pipe.is_over());
    silent!(sock);
}

/// So are those of a request that a shutdown leaves without an answer, and of a reply that comes after one.
fn shutdown_closes_them() {
    let bus = fresh_bus();
    let (a, b) = (asking(&bus), asking(&bus));
    b.replier("$.A").unwrap();
    let mut pipe = Pipe::new();
    let id = request(&a, pipe.end());
    pipe.close();
    b.shutdown(libc::SHUT_RD).unwrap();
    assert!(pipe.is_over());
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
    let c = asking(&bus);
    c.replier("$.A").unwrap();
    let mut pipe = Pipe::new();
    a.request("$.A", b"").unwrap();
    let ask = c.recv().unwrap();
    a.shutdown(libc::SHUT_RD).unwrap();
    c.send_msg(&Out::to(&ask.from, b"").with(Cmsg::rights(pipe.end())))
        .unwrap();
    pipe.close();
    assert!(pipe.is_over());
}

/// A request that is not to be answered any more goes with them; a copy that stays for a listener comes without.
fn unreplier_takes_them() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), asking(&bus));
    b.replier("$.A").unwrap();
    let mut pipe = Pipe::new();
    let id = request(&a, pipe.end());
    pipe.close();
    b.unreplier("$.A").unwrap();
    assert!(pipe.is_over());
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    b.turn_on(uapi::KBUS_ONCE);
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let mut pipe = Pipe::new();
    let id = request(&a, pipe.end());
    pipe.close();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    without_any(&b.recv().unwrap());
    assert!(pipe.is_over());
    silent!(b);
}

/// A send that fails keeps none of them.
fn failed_send_keeps_nothing() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    b.set_queue_len(1);
    fill(&b);
    let mut pipe = Pipe::new();
    let rights = || Cmsg::rights(pipe.end());
    let all = Out::to("$.A", b"").with(rights());
    let all = all.with(Cmsg::send(uapi::KBUS_ALL_OR_FAIL, 0, 0));
    fails!(EBUSY, a.send_msg(&all));
    let ask = Cmsg::send(uapi::KBUS_REQUEST, 0, 0);
    fails!(
        EADDRNOTAVAIL,
        a.send_msg(&Out::to("$.B", b"").with(rights()).with(ask))
    );
    fails!(EPERM, a.send_msg(&Out::to("$.KBUS", b"").with(rights())));
    fails!(
        ENOTCONN,
        Sock::new().send_msg(&Out::to("$.A", b"").with(rights()))
    );
    let wait = Cmsg::send(uapi::KBUS_ALL_OR_WAIT, 0, 0);
    let wait = Out::to("$.A", b"").with(rights()).with(wait);
    fails!(EAGAIN, a.send_msg(&wait.flags(libc::MSG_DONTWAIT)));
    // This one succeeds, and the full listener misses it.
    send(&a, &[pipe.end()]).unwrap();
    pipe.close();
    assert!(pipe.is_over());
}

/// Neither does one that nobody hears.
fn unheard_send_keeps_nothing() {
    let sock = Sock::on(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    assert!(pipe.is_over());
}

/// A send that waits for room brings them when it goes.
fn send_that_waits() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    b.set_queue_len(1);
    a.send_to("$.A", b"first").unwrap();
    let mut pipe = Pipe::new();
    let blocked = Blocked::in_call(|| {
        let out = Out::to("$.A", b"second").with(Cmsg::rights(pipe.end()));
        a.send_msg(&out.with(Cmsg::send(uapi::KBUS_ALL_OR_WAIT, 0, 0)))?;
        Ok(0)
    });
    blocked.wait_asleep();
    pipe.close();
    assert_eq!(b.recv().unwrap().data, b"first");
    blocked.result().unwrap();
    let fds = b.recv().unwrap().rights();
    say(&fds[0], "late");
    assert_eq!(pipe.text(), "late");
    drop(fds);
    assert!(pipe.is_over());
}

/// One that is interrupted keeps nothing.
fn interrupted_wait_keeps_nothing() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    b.set_queue_len(1);
    a.send_to("$.A", b"first").unwrap();
    a.set_timeout(libc::SO_SNDTIMEO, 20);
    let mut pipe = Pipe::new();
    let out = Out::to("$.A", b"second").with(Cmsg::rights(pipe.end()));
    let out = out.with(Cmsg::send(uapi::KBUS_ALL_OR_WAIT, 0, 0));
    fails!(EAGAIN, a.send_msg(&out));
    pipe.close();
    assert!(pipe.is_over());
    assert_eq!(b.recv().unwrap().data, b"first");
    silent!(b);
}

/// A user may have `RLIMIT_NOFILE` of them in flight, the privileged any number: `ETOOMANYREFS`.
fn too_many_in_flight() {
    let sock = listener(&fresh_bus());
    let pipe = Pipe::new();
    let ten = [pipe.end(); 10];
    limit_descriptors(16);
    for _ in 0..4 {
        send(&sock, &ten).unwrap();
    }
    sock.unlisten("$.A").unwrap();
    // A user of whom nobody else has descriptors in flight.
    process::become_user(31000, 31000);
    sock.listen("$.A").unwrap();
    send(&sock, &ten).unwrap();
    send(&sock, &ten).unwrap();
    fails!(ETOOMANYREFS, send(&sock, &ten));
    // However many copies there are, they count once; with the last copy they are free.
    sock.recv_with(RecvOptions {
        control: 0,
        ..RecvOptions::default()
    })
    .unwrap();
    send(&sock, &ten).unwrap();
    fails!(ETOOMANYREFS, send(&sock, &[pipe.end()]));
    sock.unlisten("$.A").unwrap();
    sock.listen("$.A").unwrap();
    send(&sock, &ten).unwrap();
}

/// Who has been lent ids in a user namespace has no more of them in flight: they count for who answers for those.
fn lent_users_are_one_in_flight() {
    let bus = fresh_bus();
    let sock = listener(&bus);
    let pipe = Pipe::new();
    let ten = [pipe.end(); 10];
    let sent = process::Gate::new();
    process::as_lent_users(31001, &[0, 1, 2], |user| {
        limit_descriptors(16);
        let sender = Sock::on(&bus);
        if user == 0 {
            send(&sender, &ten).unwrap();
            send(&sender, &ten).unwrap();
            sent.open(0);
        }
        fails!(ETOOMANYREFS, send(&sender, &[pipe.end()]));
    });
    sent.pass();
    assert_eq!(sock.unread(), 2);
    // Nor has their owner itself.
    process::become_user(31001, 31001);
    limit_descriptors(16);
    fails!(ETOOMANYREFS, send(&sock, &[pipe.end()]));
    sock.recv().unwrap();
    send(&sock, &[pipe.end()]).unwrap();
}
