// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls that are awaited.

use std::future::Future;
use std::net::Shutdown;
use std::time::Duration;

use kbus::CallError;
use kbus::ErrorKind;
use kbus::Reason;
use kbus::Received;
use kbus::tokio::Merge;
use kbus::tokio::Socket;

use crate::LONG;
use crate::fresh;

/// On one thread, where whoever blocks blocks all.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .unwrap()
        .block_on(async { tokio::time::timeout(LONG, future).await })
        .expect("it hangs")
}

fn sockets<const N: usize>() -> [Socket; N] {
    let bus = fresh();
    [(); N].map(|()| Socket::open(&bus).unwrap())
}

/// A receiver waits for what is sent after it began to wait.
#[test]
#[ignore = "for the machine"]
fn a_task_waits_for_a_message() {
    run(async {
        let [sender, listener] = sockets();
        listener.listen("$.A").unwrap();
        let waiting = tokio::spawn(async move {
            let mut all: Vec<u8> = Vec::new();
            let mut messages = listener.messages();
            while let Some(received) = messages.next().await {
                all.extend(received.unwrap().message().unwrap().payload());
                if all.len() == 3 {
                    listener.shutdown(Shutdown::Read).unwrap();
                }
            }
            all
        });
        for number in 1..=3 {
            tokio::task::yield_now().await;
            sender.announce("$.A", [number]).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), [1, 2, 3]);
    });
}

/// A send that waits for room lets the task that makes the room run.
#[test]
#[ignore = "for the machine"]
fn a_task_waits_for_room() {
    run(async {
        let [sender, listener] = sockets();
        listener.listen("$.A").unwrap();
        listener.set_queue_len(1).unwrap();
        let sending = tokio::spawn(async move {
            for number in 0..50 {
                sender
                    .to("$.A")
                    .unwrap()
                    .all_or_wait()
                    .announce([number])
                    .await
                    .unwrap();
            }
            sender
        });
        for number in 0..50 {
            let received = listener.recv().await.unwrap();
            assert_eq!(received.message().unwrap().payload(), [number]);
        }
        let sender = sending.await.unwrap();
        sender.announce("$.A", b"").await.unwrap();
        let fail = sender.to("$.A").unwrap().all_or_fail().announce(b"").await;
        assert_eq!(fail.unwrap_err().kind(), ErrorKind::QueueFull);
        let wait = sender.to("$.A").unwrap().all_or_wait().announce(b"");
        assert!(
            tokio::time::timeout(Duration::from_millis(20), wait)
                .await
                .is_err()
        );
        assert!(matches!(
            listener.recv().await.unwrap(),
            Received::Announcement(_)
        ));
        assert!(
            listener.try_recv().unwrap().is_none(),
            "a send that was cancelled left something"
        );
    });
}

/// Calls of many tasks on one socket get their own replies; one that nobody answers ends, and
/// swallows nothing.
#[test]
#[ignore = "for the machine"]
fn tasks_call() {
    run(async {
        let [client, service, silent] = sockets();
        client.listen("$.News").unwrap();
        silent.become_replier("$.Silent").unwrap();
        service.become_replier("$.Echo").unwrap();
        let serving = service.clone();
        let served = tokio::spawn(async move {
            serving
                .serve_bound(|request| async move {
                    // Earlier ones take longer.
                    for _ in 0..request.payload()[0] {
                        tokio::task::yield_now().await;
                    }
                    request.into_payload()
                })
                .await
        });
        let calls: Vec<_> = (0..20u8)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let reply = client.call("$.Echo", [20 - number], LONG).await.unwrap();
                    assert_eq!(reply.payload(), [20 - number]);
                })
            })
            .collect();
        service.announce("$.News", b"").await.unwrap();
        for call in calls {
            call.await.unwrap();
        }
        let result = client
            .call("$.Silent", b"", Duration::from_millis(20))
            .await;
        assert!(matches!(result, Err(CallError::Timeout)), "{result:?}");
        let Received::Request(late) = silent.recv().await.unwrap() else {
            panic!()
        };
        assert_eq!(
            late.reply(b"").unwrap_err().kind(),
            ErrorKind::RequesterGone
        );
        assert!(matches!(
            client.recv().await.unwrap(),
            Received::Announcement(_)
        ));
        service.shutdown(Shutdown::Both).unwrap();
        served.await.unwrap().unwrap();
        let result = client.call("$.Echo", b"", LONG).await;
        let Err(CallError::Error(error)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(error.kind(), ErrorKind::NoReplier);
    });
}

/// Requests that a service works on when it is cancelled are given up.
#[test]
#[ignore = "for the machine"]
fn a_cancelled_service_gives_up() {
    run(async {
        let [client, service] = sockets();
        service.become_replier("$.A").unwrap();
        let serving = service.clone();
        let served = tokio::spawn(async move {
            serving
                .serve_bound(|_| async { std::future::pending::<()>().await })
                .await
        });
        client.request("$.A", b"").await.unwrap();
        while service.unreplied().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        served.abort();
        assert!(served.await.is_err());
        let Received::Status(status) = client.recv().await.unwrap() else {
            panic!()
        };
        assert_eq!(status.reason(), Reason::Ignored);
    });
}

/// A merge of three buses waits without holding anything up, and is in order.
#[test]
#[ignore = "for the machine"]
fn a_task_merges_buses() {
    run(async {
        let sockets: Vec<kbus::Socket> = (0..3).map(|_| crate::open(&fresh())).collect();
        for socket in &sockets {
            socket.listen("$.*").unwrap();
        }
        let mut merge = Merge::new(sockets.clone()).unwrap();
        let merging = tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..60 {
                let (bus, received) = merge.recv().await.unwrap();
                seen.push((bus, received.id()));
            }
            seen
        });
        for number in 0..60usize {
            if number % 4 == 0 {
                tokio::task::yield_now().await;
            }
            sockets[number * number % 3]
                .announce("$.News", b"")
                .unwrap();
        }
        let seen = merging.await.unwrap();
        assert!(seen.windows(2).all(|pair| pair[0].1 < pair[1].1));
    });
}
