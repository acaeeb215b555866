// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests, replies and statuses.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use kbus::ErrorKind;
use kbus::Reason;
use kbus::Received;

use crate::copy;
use crate::nothing;
use crate::open;
use crate::reply;
use crate::request;
use crate::sockets;
use crate::status;

/// A request has one reply, which says what it answers.
#[test]
#[ignore = "for the machine"]
fn a_request_is_answered() {
    let [client, service, listener] = sockets();
    service.become_replier("$.Echo").unwrap();
    listener.listen("$.Echo").unwrap();
    let id = client
        .to("$.Echo")
        .unwrap()
        .cookie(77)
        .request(b"hello")
        .unwrap();
    let asked = request(&service);
    assert_eq!(
        (asked.id(), asked.payload(), asked.sender()),
        (id, &b"hello"[..], client.peer_id())
    );
    assert_eq!(service.unreplied().unwrap(), 1);
    asked.reply(b"HELLO").unwrap();
    assert_eq!(service.unreplied().unwrap(), 0);
    let answer = reply(&client);
    assert_eq!((answer.in_reply_to(), answer.cookie()), (Some(id), 77));
    assert_eq!(
        (answer.payload(), answer.sender()),
        (&b"HELLO"[..], service.peer_id())
    );
    assert!(copy(&listener).is_request());
    assert!(copy(&listener).is_reply());
    for socket in [&client, &service, &listener] {
        nothing(socket);
    }
}

/// A requester that listens too tells its reply from its copy of it, also where it has given no
/// cookie.
#[test]
#[ignore = "for the machine"]
fn a_reply_is_no_copy_of_it() {
    let [client, service] = sockets();
    service.become_replier("$.Echo").unwrap();
    client.listen("$.Echo").unwrap();
    client.request("$.Echo", b"").unwrap();
    assert!(copy(&client).is_request());
    request(&service).reply(b"").unwrap();
    assert_eq!(reply(&client).cookie(), 0);
    assert!(copy(&client).is_reply());
    nothing(&client);
}

/// A request that is dropped is given up, and its requester told at once.
#[test]
#[ignore = "for the machine"]
fn a_dropped_request_is_given_up() {
    let [client, service] = sockets();
    service.become_replier("$.Echo").unwrap();
    let id = client.to("$.Echo").unwrap().cookie(5).request(b"").unwrap();
    drop(request(&service));
    let told = status(&client);
    assert_eq!((told.reason(), told.in_reply_to()), (Reason::Ignored, id));
    assert_eq!((told.replier(), told.cookie()), (service.peer_id(), 5));
    assert!(told.to_string().contains("gave no reply"), "{told}");
    assert_eq!(service.unreplied().unwrap(), 0);
}

/// What becomes of the replier is told: gone with the request unread or read, or no replier any
/// more.
#[test]
#[ignore = "for the machine"]
fn a_replier_that_ends_is_told_of() {
    let [client, unread, read, unbound] = sockets();
    unread.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    drop(unread);
    assert_eq!(status(&client).reason(), Reason::GoneAway);

    read.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    let kept = request(&read);
    // The socket is open as long as a request of it is kept.
    drop(read);
    nothing(&client);
    drop(kept);
    assert_eq!(status(&client).reason(), Reason::Ignored);

    unbound.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    unbound.stop_replier("$.A").unwrap();
    assert_eq!(status(&client).reason(), Reason::Unbound);
}

/// A reply to a requester that has gone fails, and settles the debt.
#[test]
#[ignore = "for the machine"]
fn a_requester_may_go() {
    let [client, service] = sockets();
    service.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    let asked = request(&service);
    drop(client);
    let error = asked.reply(b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequesterGone);
    assert!(error.into_request().is_none());
    assert_eq!(service.unreplied().unwrap(), 0);
}

/// A reply that is too long gives the request back, which another reply or none at all can end.
#[test]
#[ignore = "for the machine"]
fn a_reply_that_is_too_long_gives_the_request_back() {
    let [client, service] = sockets();
    service.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    client.request("$.A", b"").unwrap();
    let error = request(&service).reply(vec![0; 65537]).unwrap_err();
    assert_eq!(
        (error.kind(), error.error().errno()),
        (ErrorKind::TooLong, Some(libc::EMSGSIZE))
    );
    nothing(&client);
    error.into_request().unwrap().reply(b"short").unwrap();
    assert_eq!(reply(&client).payload(), b"short");
    // The error, with the request in it, is dropped.
    request(&service).reply(vec![0; 65537]).unwrap_err();
    assert_eq!(status(&client).reason(), Reason::Ignored);
}

/// A stateful request reaches the instance that it names, and no later one.
#[test]
#[ignore = "for the machine"]
fn a_stateful_request_knows_its_replier() {
    let [client, first] = sockets();
    let peer = first.peer_id();
    assert_eq!(
        client.request_to(peer, "$.A", b"").unwrap_err().kind(),
        ErrorKind::NoReplier
    );
    first.become_replier("$.A").unwrap();
    client.request_to(peer, "$.A", b"").unwrap();
    assert_eq!(request(&first).to(), Some(peer));
    drop(first);
    let second = open(client.bus());
    second.become_replier("$.A").unwrap();
    let error = client.request_to(peer, "$.A", b"").unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::OtherReplier, Some(libc::EPIPE))
    );
    nothing(&second);
    let error = client
        .to("$.A")
        .unwrap()
        .peer(peer)
        .announce(b"")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Threads that share a socket get the ids of their own requests, also while replies and
/// announcements go out.
#[test]
#[ignore = "for the machine"]
fn threads_share_a_socket() {
    let [client, service] = sockets();
    client.set_queue_len(2000).unwrap();
    service.set_queue_len(2000).unwrap();
    service.become_replier("$.A").unwrap();
    let ids = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for number in 0..4u8 {
            let (client, ids) = (&client, &ids);
            scope.spawn(move || {
                for _ in 0..100 {
                    let id = client.request("$.A", [number]).unwrap();
                    assert!(ids.lock().unwrap().insert((id, number)));
                    client
                        .to("$.B")
                        .unwrap()
                        .all_or_wait()
                        .announce(b"")
                        .unwrap();
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let Received::Request(mut request) = service.recv().unwrap() else {
                        panic!()
                    };
                    let payload = request.take_payload();
                    request.reply(payload).unwrap();
                }
            });
        }
    });
    let mut answered = HashSet::new();
    for _ in 0..400 {
        let answer = reply(&client);
        answered.insert((answer.in_reply_to().unwrap(), answer.payload()[0]));
    }
    assert_eq!(answered, ids.into_inner().unwrap());
}

/// One that nobody answers is refused at once, and so is one that the requester has no room for the
/// reply of.
#[test]
#[ignore = "for the machine"]
fn requests_that_cannot_be_sent_say_why() {
    let [client, service] = sockets();
    assert_eq!(
        client.request("$.A", b"").unwrap_err().kind(),
        ErrorKind::NoReplier
    );
    service.become_replier("$.A").unwrap();
    service.set_queue_len(2).unwrap();
    client.request("$.A", b"").unwrap();
    client.request("$.A", b"").unwrap();
    assert_eq!(
        client.request("$.A", b"").unwrap_err().kind(),
        ErrorKind::QueueFull
    );
    client.set_queue_len(2).unwrap();
    service.set_queue_len(9).unwrap();
    let error = client.request("$.A", b"").unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::NoRoomForReply, Some(libc::ENOBUFS))
    );
    let error = client
        .to("$.A")
        .unwrap()
        .cookie(u64::MAX)
        .request(b"")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
