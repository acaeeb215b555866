// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loops that answer requests.

use std::net::Shutdown;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::thread;

use kbus::CallError;
use kbus::ErrorKind;
use kbus::Message;
use kbus::Reason;
use kbus::Received;
use kbus::Request;
use kbus::Service;

use crate::LONG;
use crate::sockets;

/// What the closure returns is the reply; nothing, an error or one that is too long is told as
/// ignored.
#[test]
#[ignore = "for the machine"]
fn a_closure_answers() {
    let [client, socket] = sockets();
    socket.become_replier("$.*").unwrap();
    let service = thread::spawn({
        let socket = socket.clone();
        move || {
            socket.serve_bound(|request: Message| match request.name().as_str() {
                "$.None" => None,
                "$.Long" => Some(vec![0; 70_000]),
                _ => Some(request.into_payload()),
            })
        }
    });
    assert_eq!(
        client.call("$.Echo", b"hello", LONG).unwrap().payload(),
        b"hello"
    );
    for name in ["$.None", "$.Long"] {
        let Err(CallError::Status(status)) = client.call(name, b"", LONG) else {
            panic!()
        };
        assert_eq!(status.reason(), Reason::Ignored);
    }
    assert_eq!(
        client.call("$.Echo", b"still", LONG).unwrap().payload(),
        b"still"
    );
    socket.shutdown(Shutdown::Both).unwrap();
    service.join().unwrap().unwrap();
}

/// If the closure panics the requester is told.
#[test]
#[ignore = "for the machine"]
fn a_panic_is_told() {
    let [client, socket] = sockets();
    socket.become_replier("$.A").unwrap();
    client.request("$.A", b"").unwrap();
    let serve = || socket.serve_bound(|_| assert_eq!(1, 2, "as the test wants it"));
    panic::catch_unwind(AssertUnwindSafe(serve)).unwrap_err();
    assert_eq!(crate::status(&client).reason(), Reason::Ignored);
}

/// A name that has a replier is not served twice.
#[test]
#[ignore = "for the machine"]
fn a_name_is_served_once() {
    let [first, second] = sockets();
    first.become_replier("$.A").unwrap();
    let error = second
        .serve("$.A", |request| request.into_payload())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReplierExists);
}

/// A service may reply later, in another order, and sees what else comes.
#[test]
#[ignore = "for the machine"]
fn a_service_decides_itself() {
    #[derive(Default)]
    struct Later {
        kept: Vec<Request>,
        others: usize,
    }
    impl Service for Later {
        fn request(&mut self, request: Request) {
            self.kept.push(request);
            if self.kept.len() == 3 {
                while let Some(mut request) = self.kept.pop() {
                    let payload = request.take_payload();
                    request.reply(payload).unwrap();
                }
            }
        }
        fn other(&mut self, received: Received) {
            assert!(matches!(received, Received::Announcement(_)));
            self.others += 1;
        }
    }
    let [client, socket] = sockets();
    socket.become_replier("$.A").unwrap();
    socket.listen("$.B").unwrap();
    client.announce("$.B", b"").unwrap();
    let service = thread::spawn({
        let socket = socket.clone();
        move || {
            let mut later = Later::default();
            socket.run(&mut later).map(|()| later.others)
        }
    });
    for number in 1..=3 {
        client.request("$.A", [number]).unwrap();
    }
    for number in [3, 2, 1] {
        let received = client.recv().unwrap();
        assert_eq!(received.message().unwrap().payload(), [number]);
    }
    socket.shutdown(Shutdown::Both).unwrap();
    assert_eq!(service.join().unwrap().unwrap(), 1);
}
