// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls.

use std::thread;
use std::time::Duration;

use kbus::CallError;
use kbus::ErrorKind;
use kbus::Reason;
use kbus::Received;

use crate::LONG;
use crate::announcement;
use crate::name_of;
use crate::next;
use crate::nothing;
use crate::open;
use crate::sockets;

/// A call returns the reply, and leaves what else comes to the socket where it is, in its order.
#[test]
#[ignore = "for the machine"]
fn a_call_swallows_nothing() {
    let [client, service] = sockets();
    client.listen("$.News").unwrap();
    service.become_replier("$.Echo").unwrap();
    client.become_replier("$.Other").unwrap();
    let answering = thread::spawn(move || {
        service.announce("$.News", b"1").unwrap();
        service.request("$.Other", b"").unwrap();
        let Received::Request(request) = service.recv().unwrap() else {
            panic!()
        };
        service.announce("$.News", b"2").unwrap();
        request.reply(b"yes").unwrap();
        service
    });
    assert_eq!(client.call("$.Echo", b"", LONG).unwrap().payload(), b"yes");
    let _service = answering.join().unwrap();
    assert_eq!(announcement(&client).payload(), b"1");
    assert!(matches!(next(&client), Received::Request(_)));
    assert_eq!(announcement(&client).payload(), b"2");
    nothing(&client);
}

/// A call that nobody answers ends; a reply that comes later is refused, and the next call gets its
/// own.
#[test]
#[ignore = "for the machine"]
fn a_call_ends_with_its_time() {
    let [client, service] = sockets();
    service.become_replier("$.Echo").unwrap();
    let result = client.call("$.Echo", b"1", Duration::from_millis(20));
    assert!(matches!(result, Err(CallError::Timeout)), "{result:?}");
    let error = crate::request(&service).reply(b"late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequesterGone);
    thread::spawn(move || service.serve_bound(|request| request.into_payload()));
    assert_eq!(client.call("$.Echo", b"2", LONG).unwrap().payload(), b"2");
}

/// A status is an error of the call that says who failed.
#[test]
#[ignore = "for the machine"]
fn a_status_is_an_error() {
    let [client, service] = sockets();
    let peer = service.peer_id();
    service.become_replier("$.Echo").unwrap();
    let ignoring = thread::spawn(move || {
        drop(service.recv().unwrap());
        service
    });
    let Err(CallError::Status(status)) = client.call("$.Echo", b"", LONG) else {
        panic!()
    };
    assert_eq!((status.reason(), status.replier()), (Reason::Ignored, peer));
    drop(ignoring.join().unwrap());
    let Err(CallError::Error(error)) = client.call("$.Echo", b"", LONG) else {
        panic!()
    };
    assert_eq!(error.kind(), ErrorKind::NoReplier);
}

/// Calls of one socket use the same further socket one after the other, and others at the same
/// time.
#[test]
#[ignore = "for the machine"]
fn calls_share_what_they_can() {
    let [client, service] = sockets();
    service.become_replier("$.*").unwrap();
    thread::spawn(move || service.serve_bound(|request| request.into_payload()));
    for _ in 0..10 {
        client.call("$.A", b"", LONG).unwrap();
        client.call(name_of(1000), b"", LONG).unwrap();
    }
    assert_eq!(client.bus_info().unwrap().members, 3);
    thread::scope(|scope| {
        for number in 0..6u8 {
            let client = &client;
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(
                        client.call("$.A", [number], LONG).unwrap().payload(),
                        [number]
                    );
                }
            });
        }
    });
    assert!(client.bus_info().unwrap().members <= 8);
}

/// A call has the details of any request.
#[test]
#[ignore = "for the machine"]
fn a_call_has_details() {
    let [client, service] = sockets();
    service.become_replier("$.Echo").unwrap();
    let peer = service.peer_id();
    thread::spawn(move || service.serve_bound(|request| request.user_bits().to_string()));
    let out = client
        .to("$.Echo")
        .unwrap()
        .user_bits(9)
        .peer(peer)
        .cookie(4);
    let reply = out.call(b"", LONG).unwrap();
    assert_eq!((reply.payload(), reply.cookie()), (&b"9"[..], 4));
    let other = open(client.bus()).peer_id();
    let error = client
        .to("$.Echo")
        .unwrap()
        .peer(other)
        .call(b"", LONG)
        .unwrap_err();
    let CallError::Error(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), ErrorKind::OtherReplier);
}
