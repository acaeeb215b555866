// SPDX-License-Identifier: MIT OR Apache-2.0
//! Announcements, and what is known of them.

use std::process;
use std::time::SystemTime;

use kbus::BindEvent;
use kbus::Error;
use kbus::ErrorKind;
use kbus::Received;
use kbus::Socket;
use kbus::Via;

use crate::announcement;
use crate::copy;
use crate::fresh;
use crate::name_of;
use crate::next;
use crate::nothing;
use crate::sockets;

/// A listener gets what its names and wildcards match, once for each binding, and nothing else.
#[test]
#[ignore = "for the machine"]
fn bindings_choose_what_is_received() {
    let [sender, exact, one, more] = sockets();
    exact.listen("$.A.B").unwrap();
    one.listen("$.A.%").unwrap();
    more.listen("$.A.*").unwrap();
    more.listen("$.A.B").unwrap();
    for name in ["$.A", "$.A.B", "$.A.B.C"] {
        sender.announce(name, name).unwrap();
    }
    let names = |socket: &Socket| -> Vec<String> {
        std::iter::from_fn(|| socket.try_recv().unwrap())
            .map(|received| received.message().unwrap().name().to_string())
            .collect()
    };
    assert_eq!(names(&exact), ["$.A.B"]);
    assert_eq!(names(&one), ["$.A.B"]);
    assert_eq!(names(&more), ["$.A.B", "$.A.B", "$.A.B.C"]);
}

/// A binding that is undone lets nothing in, and takes what only it let in.
#[test]
#[ignore = "for the machine"]
fn an_undone_binding_lets_nothing_in() {
    let [sender, listener] = sockets();
    listener.listen("$.A").unwrap();
    sender.announce("$.A", b"1").unwrap();
    listener.unlisten("$.A").unwrap();
    sender.announce("$.A", b"2").unwrap();
    nothing(&listener);
}

/// A wildcard, a malformed name or one of the bus's own is refused before anything is sent.
#[test]
#[ignore = "for the machine"]
fn wrong_names_are_refused() {
    let [socket] = sockets();
    for wrong in ["$.A.*", "$.%", "A", "$.A@1", "$.A#1"] {
        let error: Error = socket.announce(wrong, b"").unwrap_err();
        assert_eq!(
            (error.kind(), error.errno()),
            (ErrorKind::InvalidInput, Some(libc::EBADMSG)),
            "{error}"
        );
    }
    assert_eq!(
        socket.announce("$.KBUS.A", b"").unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    let error = socket.become_replier("$.KBUS.A").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

/// Names of 73 bytes and less travel in addresses, longer ones beside them; a reader sees no
/// difference.
#[test]
#[ignore = "for the machine"]
fn names_of_all_lengths_travel() {
    let [sender, listener] = sockets();
    for len in [8, 72, 73, 74, 75, 107, 108, 500, 999, 1000] {
        let name = name_of(len);
        listener.listen(&name).unwrap();
        sender.announce(&name, b"announced").unwrap();
        assert_eq!(announcement(&listener).name(), name.as_str());
        sender.become_replier(&name).unwrap();
        assert_eq!(listener.replier_of(&name).unwrap(), Some(sender.peer_id()));
        listener.request(&name, b"asked").unwrap();
        listener
            .request_to(sender.peer_id(), &name, b"asked")
            .unwrap();
        for _ in 0..2 {
            let request = crate::request(&sender);
            assert_eq!(request.name(), name.as_str());
            request.reply(b"answered").unwrap();
        }
        // Its own two requests as a listener, and for each reply its own and a listener's copy.
        assert!(copy(&listener).is_request() && copy(&listener).is_request());
        for _ in 0..2 {
            assert_eq!(crate::reply(&listener).name(), name.as_str());
            assert_eq!(copy(&listener).name(), name.as_str());
        }
        listener.unlisten(&name).unwrap();
    }
    nothing(&listener);
}

/// Credentials, time and the bits of the user come with the message, where they are asked for.
#[test]
#[ignore = "for the machine"]
fn details_come_with_the_message() {
    let bus = fresh();
    let before = SystemTime::now();
    let sender = Socket::open(&bus).unwrap();
    let plain = Socket::open(&bus).unwrap();
    let curious = Socket::options()
        .credentials(true)
        .time(true)
        .label(true)
        .open(&bus)
        .unwrap();
    plain.listen("$.A").unwrap();
    curious.listen("$.A").unwrap();
    let via = Via {
        orig_net: 1,
        orig_peer: 2,
        final_net: 3,
        final_peer: 4,
    };
    sender
        .to("$.A")
        .unwrap()
        .user_bits(0xabcd)
        .via(via)
        .announce(b"x")
        .unwrap();
    let message = announcement(&curious);
    let credentials = message.credentials().unwrap();
    assert_eq!(credentials.pid, process::id() as i32);
    // SAFETY: Always safe.
    assert_eq!(credentials.uid, unsafe { libc::getuid() });
    let time = message.time().unwrap();
    assert!(before <= time && time <= SystemTime::now());
    assert_eq!((message.user_bits(), message.via()), (0xabcd, Some(via)));
    assert_eq!(message.sender(), sender.peer_id());
    assert_eq!(message.id(), sender.last_sent().unwrap().unwrap());
    let message = announcement(&plain);
    assert_eq!((message.credentials(), message.time()), (None, None));
}

/// Urgent messages come first, the last sent before the others.
#[test]
#[ignore = "for the machine"]
fn urgent_messages_come_first() {
    let [socket] = sockets();
    socket.listen("$.A").unwrap();
    socket.announce("$.A", b"1").unwrap();
    socket.to("$.A").unwrap().urgent().announce(b"2").unwrap();
    socket.to("$.A").unwrap().urgent().announce(b"3").unwrap();
    let order = [(); 3]
        .map(|()| announcement(&socket))
        .map(|m| (m.payload()[0], m.is_urgent()));
    assert_eq!(order, [(b'3', true), (b'2', true), (b'1', false)]);
}

/// A listener that is full misses messages: the next one, or a message at its place, tells how
/// many.
#[test]
#[ignore = "for the machine"]
fn missed_messages_are_counted() {
    let bus = fresh();
    let sender = Socket::open(&bus).unwrap();
    let plain = Socket::options().queue_len(2).open(&bus).unwrap();
    let told = Socket::options()
        .queue_len(2)
        .report_lost(true)
        .open(&bus)
        .unwrap();
    plain.listen("$.A").unwrap();
    told.listen("$.A").unwrap();
    for number in 0..7 {
        sender.announce("$.A", [number]).unwrap();
    }
    let last = sender.last_sent().unwrap().unwrap();
    for socket in [&plain, &told] {
        assert_eq!(
            (announcement(socket).lost(), announcement(socket).lost()),
            (0, 0)
        );
    }
    let Received::Lost(lost) = next(&told) else {
        panic!("it is not told")
    };
    assert_eq!((lost.count, lost.id), (5, last));
    sender.announce("$.A", [7]).unwrap();
    assert_eq!(announcement(&plain).lost(), 5);
    assert_eq!(announcement(&told).lost(), 0);
    assert_eq!((plain.lost().unwrap(), told.lost().unwrap()), (5, 5));
}

/// With `once` there is one copy, however many bindings match.
#[test]
#[ignore = "for the machine"]
fn once_is_once() {
    let bus = fresh();
    let socket = Socket::options().once(true).open(&bus).unwrap();
    socket.listen("$.A").unwrap();
    socket.listen("$.*").unwrap();
    socket.announce("$.A", b"").unwrap();
    announcement(&socket);
    nothing(&socket);
}

/// A socket that is shut down for reading gives what it has and then ends.
#[test]
#[ignore = "for the machine"]
fn messages_end_with_a_shutdown() {
    let [sender, listener] = sockets();
    listener.listen("$.A").unwrap();
    sender.announce("$.A", b"").unwrap();
    listener.shutdown(std::net::Shutdown::Read).unwrap();
    let messages: Result<Vec<_>, _> = listener.messages().collect();
    assert_eq!(messages.unwrap().len(), 1);
}

/// Repliers that come and go are told of, to whoever listens, with names of any length.
#[test]
#[ignore = "for the machine"]
fn repliers_are_told_of() {
    let [watcher, service] = sockets();
    watcher.listen(BindEvent::NAME).unwrap();
    watcher.set_report_binds(true).unwrap();
    let peer = service.peer_id();
    let name = name_of(996) + ".Z.*";
    service.become_replier(&name).unwrap();
    service.become_replier("$.A").unwrap();
    drop(service);
    let mut seen = Vec::new();
    while let Some(received) = watcher.try_recv().unwrap() {
        let Received::Event(message) = received else {
            panic!("{received:?}")
        };
        let event = message.bind_event().unwrap();
        assert_eq!((event.peer, message.sender()), (peer, kbus::PeerId::BUS));
        seen.push((event.is_bind, event.pattern.to_string()));
    }
    let a = || "$.A".to_string();
    assert_eq!(
        seen,
        [
            (true, name.clone()),
            (true, a()),
            (false, name),
            (false, a())
        ]
    );
}
