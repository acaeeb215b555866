// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several buses in their one order.

use std::net::Shutdown;
use std::sync::Barrier;
use std::thread;

use kbus::ErrorKind;
use kbus::Merge;
use kbus::MessageId;
use kbus::Socket;

use crate::fresh;
use crate::open;

fn listeners(senders: &[Socket]) -> Vec<Socket> {
    let listener = |sender: &Socket| {
        let socket = Socket::options()
            .queue_len(2000)
            .open(sender.bus())
            .unwrap();
        socket.listen("$.*").unwrap();
        socket
    };
    senders.iter().map(listener).collect()
}

/// Two readers of three buses, to which four threads send, see the same in the same order, which
/// ascends by id.
#[test]
#[ignore = "for the machine"]
fn readers_of_three_buses_agree() {
    let senders: Vec<Socket> = (0..3).map(|_| open(&fresh())).collect();
    let merges = [(); 2].map(|()| Merge::new(listeners(&senders)).unwrap());
    let count = 4 * 300;
    let begin = Barrier::new(6);
    let seen: Vec<Vec<(usize, MessageId)>> = thread::scope(|scope| {
        let readers: Vec<_> = merges
            .into_iter()
            .map(|mut merge| {
                let begin = &begin;
                scope.spawn(move || {
                    begin.wait();
                    let one = |_| {
                        merge
                            .recv()
                            .map(|(bus, received)| (bus, received.id()))
                            .unwrap()
                    };
                    (0..count).map(one).collect()
                })
            })
            .collect();
        for thread in 0..4usize {
            let (senders, begin) = (&senders, &begin);
            scope.spawn(move || {
                begin.wait();
                for number in 0..300 {
                    let bus = (thread * 7 + number * number) % 3;
                    senders[bus].announce("$.News", [thread as u8]).unwrap();
                }
            });
        }
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect()
    });
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].windows(2).all(|pair| pair[0].1 < pair[1].1));
    assert!((0..3).all(|bus| seen[0].iter().any(|one| one.0 == bus)));
}

/// A bus on which nothing is sent holds nothing up, and an urgent message comes at once.
#[test]
#[ignore = "for the machine"]
fn an_idle_bus_holds_nothing_up() {
    let senders: Vec<Socket> = (0..3).map(|_| open(&fresh())).collect();
    let mut merge = Merge::new(listeners(&senders)).unwrap();
    assert!(merge.try_recv().unwrap().is_none());
    senders[1].announce("$.A", b"1").unwrap();
    senders[0].announce("$.A", b"2").unwrap();
    senders[0]
        .to("$.A")
        .unwrap()
        .urgent()
        .announce(b"3")
        .unwrap();
    let mut next = || merge.try_recv().unwrap().map(|(bus, _)| bus);
    assert_eq!(
        [next(), next(), next(), next()],
        [Some(0), Some(1), Some(0), None]
    );
}

/// It ends when all of its sockets have ended, and not before.
#[test]
#[ignore = "for the machine"]
fn a_merge_ends_with_its_last_socket() {
    let senders: Vec<Socket> = (0..2).map(|_| open(&fresh())).collect();
    let readers = listeners(&senders);
    let merge = Merge::new(readers.clone()).unwrap();
    senders[0].announce("$.A", b"1").unwrap();
    readers[0].shutdown(Shutdown::Read).unwrap();
    senders[1].announce("$.A", b"2").unwrap();
    readers[1].shutdown(Shutdown::Read).unwrap();
    let seen: Vec<usize> = merge.map(|next| next.unwrap().0).collect();
    assert_eq!(seen, [0, 1]);
}

/// Buses of several network namespaces have no common order.
#[test]
#[ignore = "for the machine"]
fn buses_of_other_namespaces_are_refused() {
    let here = open(&fresh());
    let there = thread::spawn(|| {
        // SAFETY: It concerns this thread alone, which ends.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        open(&fresh())
    });
    let error = Merge::new([here, there.join().unwrap()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OtherDomain);
}
