// SPDX-License-Identifier: GPL-2.0

//! Sends that take several holds of the bus lock, and what others do in between.
//!
//! A hold is for four listeners here: see `STEP` of `net/core/bus.rs`.

use crate::explore;
use crate::explore_one_in;
use crate::with;
use kbus_interleavings::*;
use kbus_uapi::*;
use shuttle::thread::spawn;
use std::sync::Arc;

/// Listeners that take two holds.
const MANY: usize = 6;

/// Sockets that listen to a name and have room; each second one is of another memory cgroup if so asked.
pub fn crowd(net: &Namespace, name: &str, cgroups: usize) -> Vec<Arc<Socket>> {
    (0..MANY)
        .map(|n| Arc::new(net.socket_in(1 + n % cgroups).listens(name, 9)))
        .collect()
}

/// Ids and texts of all that waits.
fn drain(socket: &Socket) -> Vec<(u64, String)> {
    std::iter::from_fn(|| socket.receive_now().map(|m| (m.id, m.text))).collect()
}

/// The next so many messages, which ascend.
fn read(socket: &Socket, count: usize) -> Vec<(u64, String)> {
    let got: Vec<_> = (0..count)
        .map(|_| {
            let message = socket.receive().unwrap().expect("not the end");
            (message.id, message.text)
        })
        .collect();
    assert!(got.is_sorted_by(|one, next| one.0 < next.0), "{got:?}");
    got
}

/// R1, R4, T22: short sends come in between. Who reads the first and the last of the queues meanwhile reads all in the one
/// order. A text that is long, for two memory cgroups, is copied between holds.
#[test]
fn what_is_sent_in_between_is_read_in_the_order_of_ids() {
    for (len, cgroups) in [(1, 1), (600, 2)] {
        let orders = explore(move |net| {
            let all = crowd(net, "$.a", cgroups);
            let (first, last) = (&all[0], &all[MANY - 1]);
            for socket in [first, last] {
                socket.set(KBUS_LISTEN, b"$.b").unwrap();
            }
            let long = "a".repeat(len);
            let texts = [("$.a", long.clone()), ("$.b", "b".to_owned())];
            let sends = texts.map(|(name, text)| {
                let sender = net.socket();
                spawn(move || {
                    sender.send(name, 0, &text).unwrap();
                    sender.send(name, 0, &text).unwrap();
                })
            });
            let readers = [first, last].map(|socket| with(socket, |s| read(s, 4)));
            sends.map(|send| send.join().unwrap());
            let [one, other] = readers.map(|reader| reader.join().unwrap());
            assert_eq!(one, other);
            for socket in &all[1..MANY - 1] {
                let got = drain(socket);
                assert!(got.iter().all(|message| one.contains(message)), "{got:?}");
                assert_eq!(got.len(), 2);
            }
            all.iter().for_each(|socket| socket.is_quiet());
            one.iter().map(|(_, text)| text.len()).collect::<Vec<_>>()
        });
        // Each of the six orders of two and two, where they can be told apart.
        assert_eq!(orders.len(), if len == 1 { 1 } else { 6 });
    }
}

/// R1, R4, T22: two long ones at once, in queues that their senders come to in another order.
#[test]
fn two_long_sends_are_read_in_one_order() {
    let orders = explore(|net| {
        let all = crowd(net, "$.a", 1);
        // The other way round.
        for socket in all.iter().rev() {
            socket.set(KBUS_LISTEN, b"$.b").unwrap();
        }
        let sends = ["$.a", "$.b"].map(|name| {
            let sender = net.socket();
            spawn(move || sender.send(name, KBUS_ALL_OR_WAIT, name).unwrap())
        });
        let readers = [0, MANY - 1].map(|n| with(&all[n], |s| read(s, 2)));
        sends.map(|send| send.join().unwrap());
        let [one, other] = readers.map(|reader| reader.join().unwrap());
        assert_eq!(one, other);
        for socket in &all[1..MANY - 1] {
            assert_eq!(drain(socket), one);
        }
        all.iter().for_each(|socket| socket.is_quiet());
        one[0].1.clone()
    });
    assert_eq!(orders.len(), 2);
}

/// R1: two long ones are sent while a reader looks for the next message: what it sees is the first.
#[test]
fn two_long_sends_end_while_a_reader_looks() {
    explore(|net| {
        let all: Vec<_> = (0..5)
            .map(|_| net.socket().listens("$.a", 9).listens("$.b", 9))
            .collect();
        let sends = [("$.a", "x"), ("$.b", "xx")].map(|(name, text)| {
            let (sender, stop) = (net.socket(), Stop::default());
            let send = {
                let stop = stop.clone();
                spawn(move || {
                    stop.after(1);
                    sender.send(name, 0, text).unwrap();
                })
            };
            stop.until_stopped();
            (stop, send)
        });
        sends.each_ref().map(|(stop, _)| stop.go_on());
        let seen = (0..8).find_map(|_| all[0].next_len());
        let got = read(&all[0], 2);
        assert_eq!(got[0].1.len(), seen.unwrap_or(got[0].1.len()));
        sends.map(|(_, send)| send.join().unwrap());
        all[0].is_quiet_itself();
    });
}

/// W22: a long send fails, and had the room that another one waits for.
#[test]
fn room_that_a_long_send_had_between_holds() {
    kbus_interleavings::let_waiters_look_again();
    for cgroups in [1, 2] {
        explore(move |net| {
            let one = Arc::new(net.socket().listens("$.a", 1).listens("$.b", 1));
            let all = crowd(net, "$.b", cgroups);
            let full = net.socket().listens("$.b", 1).listens("$.b", 1);
            let fails = [0, 1].map(|_| {
                let sender = net.socket();
                spawn(move || sender.send("$.b", KBUS_ALL_OR_FAIL, "fails"))
            });
            let sender = net.socket();
            let send = spawn(move || sender.send("$.a", KBUS_ALL_OR_WAIT, "all"));
            assert_eq!(send.join().unwrap(), Ok(()));
            for fail in fails {
                assert_eq!(fail.join().unwrap(), Err(EBUSY));
            }
            assert_eq!(read(&one, 1)[0].1, "all");
            assert!(all.iter().all(|socket| drain(socket).is_empty()));
            assert!(drain(&full).is_empty());
            one.is_quiet();
        });
    }
}

/// W22, T19: long sends, each of which lacks more room than there is, wait in peace: none is news to the other.
#[test]
fn long_sends_that_lack_room_wait_in_peace() {
    explore_one_in(2, |net| {
        let sockets = [0, 1].map(|_| {
            let two = net.socket().listens("$.a", 2).listens("$.a", 2);
            Arc::new(two.listens("$.b", 2))
        });
        let all = crowd(net, "$.a", 2);
        let sender = net.socket();
        sender.send("$.b", 0, "first").unwrap();
        let sends = [0, 1].map(|_| {
            let sender = net.socket();
            spawn(move || sender.send("$.a", KBUS_ALL_OR_WAIT, "a").unwrap())
        });
        let readers = sockets.each_ref().map(|socket| {
            with(socket, |s| {
                let got: Vec<_> = (0..5).map(|_| s.receive().unwrap().unwrap().text).collect();
                assert_eq!(got, ["first", "a", "a", "a", "a"]);
            })
        });
        sends.map(|send| send.join().unwrap());
        readers.map(|reader| reader.join().unwrap());
        assert!(all.iter().all(|socket| drain(socket).len() == 2));
        sockets[0].is_quiet();
    });
}

/// T22: a sender stops in the middle and nobody is kept from anything; what others have sent meanwhile is read first.
#[test]
fn a_sender_that_stops_in_the_middle() {
    for (len, cgroups) in [(1, 1), (600, 2)] {
        explore(move |net| {
            let mut all = crowd(net, "$.a", cgroups);
            let stop = Stop::default();
            let sender = net.socket();
            let stopped = {
                let stop = stop.clone();
                spawn(move || {
                    stop.after(1);
                    sender
                        .send("$.a", KBUS_ALL_OR_WAIT, &"a".repeat(len))
                        .unwrap();
                    sender
                })
            };
            stop.until_stopped();
            // What others do now does not wait for it.
            let (other, binds) = (net.socket(), Arc::new(net.socket()));
            let sends = spawn(move || {
                other.send("$.a", KBUS_ALL_OR_WAIT, "b").unwrap();
                other.send("$.b", KBUS_REQUEST, "b").unwrap_err();
                drop(other);
            });
            let bind = with(&binds, |s| {
                s.set(KBUS_LISTEN, b"$.a").unwrap();
                s.set(KBUS_REPLIER, b"$.c").unwrap();
            });
            let reader = with(&all[0], |s| read(s, 1));
            let unbind = with(&all[1], |s| s.set(KBUS_UNLISTEN, b"$.a").unwrap());
            // Of those who are reached already, and of those who are not.
            let closes = [MANY - 1, 2].map(|n| {
                let socket = all.remove(n);
                spawn(move || drop(socket))
            });
            sends.join().unwrap();
            bind.join().unwrap();
            unbind.join().unwrap();
            assert_eq!(reader.join().unwrap()[0].1, "b");
            closes.map(|close| close.join().unwrap());
            assert!(all[0].receive_now().is_none());
            let meanwhile: Vec<_> = all[2..].iter().map(|socket| drain(socket)).collect();
            assert!(meanwhile
                .iter()
                .all(|got| got.len() == 1 && got[0].1 == "b"));
            let early = drain(&binds);
            assert!(early.len() <= 1);

            stop.go_on();
            drop(stopped.join().unwrap());
            assert!(drain(&all[1]).is_empty());
            for socket in [&all[0], &all[2], &all[3], &binds] {
                let got = read(socket, 1);
                assert_eq!(got[0].1.len(), len);
                assert!(got[0].0 > meanwhile[0][0].0);
                assert!(drain(socket).is_empty());
            }
            all.iter().for_each(|socket| socket.is_quiet());
        });
    }
}

/// T22: a sender that stops and is closed or shut meanwhile has sent to nobody.
#[test]
fn a_sender_that_is_shut_where_it_stopped() {
    explore(|net| {
        let all = crowd(net, "$.a", 1);
        let stop = Stop::default();
        let sender = Arc::new(net.socket());
        let stopped = {
            let stop = stop.clone();
            with(&sender, move |s| {
                stop.after(1);
                s.send("$.a", KBUS_ALL_OR_WAIT, "a")
            })
        };
        stop.until_stopped();
        let shut = with(&sender, |s| s.shut(false, true).unwrap());
        let reads = with(&all[0], |s| drain(s).len());
        shut.join().unwrap();
        assert_eq!(reads.join().unwrap(), 0);
        stop.go_on();
        assert_eq!(stopped.join().unwrap(), Err(EPIPE));
        for socket in &all {
            assert!(drain(socket).is_empty());
            socket.is_quiet();
        }
    });
}
