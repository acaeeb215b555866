// SPDX-License-Identifier: GPL-2.0

//! One answer to each request, whatever its replier and its requester do meanwhile.

use crate::explore;
use crate::explore_one_in;
use crate::steps::crowd;
use crate::with;
use kbus_interleavings::*;
use kbus_uapi::*;
use shuttle::thread::spawn;
use std::sync::Arc;

/// Insists on one answer to the last request, and says whether it is a reply.
fn one_answer(requester: &Socket) -> bool {
    let answer = requester.receive().unwrap().expect("not the end");
    assert_ne!(answer.in_reply_to, 0);
    let is_reply = answer.flags & KBUS_REPLY != 0;
    assert_eq!(is_reply, answer.error == 0);
    is_reply
}

/// Reads what there is and answers it; says whether that was done.
fn serve(replier: &Socket) -> bool {
    match replier.receive_now() {
        Some(request) if request.flags & KBUS_YOU_REPLY != 0 => {
            replier.reply(&request, "yes").unwrap();
            true
        }
        _ => false,
    }
}

/// G1, G18, G19: the replier's threads read, answer and unbind while the last of them closes it.
#[test]
fn one_answer_whatever_the_replier_does() {
    let outcomes = explore(|net| {
        let replier = Arc::new(net.socket().replies("$.a"));
        let requester = net.socket();
        requester.send("$.a", KBUS_REQUEST, "?").unwrap();
        let threads = [
            with(&replier, serve),
            with(&replier, |s| {
                let _ = s.set(KBUS_UNREPLIER, b"$.a");
                false
            }),
            with(&replier, |s| {
                if let Some(request) = s.receive_now() {
                    if request.flags & KBUS_YOU_REPLY != 0 {
                        s.set(KBUS_IGNORE, &request.id.to_ne_bytes()).unwrap();
                    }
                }
                false
            }),
        ];
        drop(replier);
        let requester = Arc::new(requester);
        let asked = with(&requester, one_answer);
        let served = threads.map(|thread| thread.join().unwrap())[0];
        let answered = asked.join().unwrap();
        assert_eq!(answered, served);
        assert!(requester.receive_now().is_none(), "a second answer");
        requester.is_quiet();
        answered
    });
    assert_eq!(outcomes, [false, true].into());
}

/// G1, G16: the requester closes while it is answered.
#[test]
fn a_requester_that_goes_leaves_nothing() {
    let outcomes = explore(|net| {
        let replier = Arc::new(net.socket().replies("$.a"));
        let requester = net.socket();
        requester.send("$.a", KBUS_REQUEST, "?").unwrap();
        let close = spawn(move || drop(requester));
        let answer = with(&replier, |s| {
            let request = s.receive().unwrap().unwrap();
            s.reply(&request, "yes")
        });
        close.join().unwrap();
        let answered = answer.join().unwrap();
        assert!(matches!(answered, Ok(()) | Err(EADDRNOTAVAIL)));
        replier.is_quiet();
        answered.is_ok()
    });
    assert_eq!(outcomes, [false, true].into());
}

/// G1: unbinding meets a reader who is copying the request: read without debt, or with one that can be paid.
#[test]
fn unbinding_while_it_is_read() {
    let outcomes = explore(|net| {
        let replier = Arc::new(net.socket().replies("$.a"));
        let requester = net.socket();
        requester.send("$.a", KBUS_REQUEST, "?").unwrap();
        let serve = with(&replier, serve);
        let unbind = with(&replier, |s| s.set(KBUS_UNREPLIER, b"$.a").unwrap());
        unbind.join().unwrap();
        let served = serve.join().unwrap();
        assert_eq!(one_answer(&requester), served);
        assert!(requester.receive_now().is_none(), "a second answer");
        requester.is_quiet();
        replier.is_quiet();
        served
    });
    assert_eq!(outcomes, [false, true].into());
}

/// G1, H6: shutting the replier ends debts too.
#[test]
fn shutting_the_replier_answers_for_it() {
    let outcomes = explore(|net| {
        let replier = Arc::new(net.socket().replies("$.a"));
        let requester = net.socket();
        requester.send("$.a", KBUS_REQUEST, "?").unwrap();
        let serve = with(&replier, |s| match s.receive_now() {
            Some(request) => s.reply(&request, "yes").is_ok(),
            None => false,
        });
        let shut = with(&replier, |s| s.shut(true, true).unwrap());
        shut.join().unwrap();
        let served = serve.join().unwrap();
        assert_eq!(one_answer(&requester), served);
        assert!(requester.receive_now().is_none(), "a second answer");
        requester.is_quiet();
        replier.is_quiet();
        served
    });
    assert_eq!(outcomes, [false, true].into());
}

/// G27: sockets with debts to one another, and requests not read, close at once.
#[test]
fn debtors_of_one_another_close() {
    explore(|net| {
        let witness = net.socket();
        let (one, two) = (net.socket().replies("$.1"), net.socket().replies("$.2"));
        for (from, name, to) in [(&one, "$.2", &two), (&two, "$.1", &one)] {
            from.send(name, KBUS_REQUEST, "read").unwrap();
            to.receive().unwrap().unwrap();
            from.send(name, KBUS_REQUEST, "not read").unwrap();
        }
        let closes = [one, two].map(|socket| spawn(move || drop(socket)));
        for close in closes {
            close.join().unwrap();
        }
        witness.is_quiet();
    });
}

/// G1, G18: the replier closes in the middle of requests, which take one hold of the bus lock or several. Each of them
/// has one answer, or was never sent; then no listener has it.
#[test]
fn a_replier_closes_in_the_middle_of_requests() {
    for long in [false, true] {
        let outcomes = explore(move |net| {
            let replier = net.socket().replies("$.a");
            let crowd = match long {
                true => crowd(net, "$.a", 2),
                false => vec![],
            };
            let requests = [0, 1].map(|_| {
                let requester = net.socket();
                spawn(move || {
                    let outcome = match requester.send("$.a", KBUS_REQUEST, "?") {
                        Ok(()) => Some(one_answer(&requester)),
                        Err(e) => {
                            assert_eq!(e, EADDRNOTAVAIL);
                            None
                        }
                    };
                    assert!(requester.receive_now().is_none(), "a second answer");
                    requester.is_quiet_itself();
                    outcome
                })
            });
            let close = spawn(move || {
                let served = serve(&replier);
                drop(replier);
                served
            });
            let served = close.join().unwrap();
            let outcomes = requests.map(|request| request.join().unwrap());
            let replies = outcomes.iter().filter(|outcome| **outcome == Some(true));
            assert_eq!(replies.count(), usize::from(served));
            let sent = outcomes.iter().flatten().count() + usize::from(served);
            for listener in &crowd {
                let got = std::iter::from_fn(|| listener.receive_now()).count();
                assert_eq!(got, sent);
            }
            crowd.iter().for_each(|listener| listener.is_quiet());
            outcomes
        });
        for outcome in [None, Some(false), Some(true)] {
            assert!(outcomes.iter().any(|pair| pair.contains(&outcome)));
        }
        assert!(outcomes.contains(&[Some(false), Some(false)]));
    }
}

/// G1: a request stops in the middle of its way, and its replier closes or unbinds. Another one is asked, if there is one.
#[test]
fn a_replier_goes_where_a_request_has_stopped() {
    for (closes, another) in [(false, false), (false, true), (true, false), (true, true)] {
        explore_one_in(4, move |net| {
            let first = net.socket().replies("$.a");
            let second = Arc::new(net.socket());
            if another {
                second.set(KBUS_REPLIER, b"$.*").unwrap();
            }
            let crowd = crowd(net, "$.a", 1);
            let stop = Stop::default();
            let requester = Arc::new(net.socket());
            let asks = {
                let stop = stop.clone();
                with(&requester, move |s| {
                    // In the first hold it reserves, and begins.
                    stop.after(1);
                    s.send("$.a", KBUS_REQUEST, "?")
                })
            };
            stop.until_stopped();
            assert!(first.receive_now().is_none());
            let goes = spawn(move || match closes {
                true => drop(first),
                false => {
                    first.set(KBUS_UNREPLIER, b"$.a").unwrap();
                    assert!(first.receive_now().is_none());
                }
            });
            let reads = with(&crowd[0], |s| s.receive_now().is_none());
            goes.join().unwrap();
            assert!(reads.join().unwrap());
            stop.go_on();
            let sent = asks.join().unwrap();
            match another {
                true => {
                    assert_eq!(sent, Ok(()));
                    assert!(serve(&second));
                    assert!(one_answer(&requester));
                }
                false => assert_eq!(sent, Err(EADDRNOTAVAIL)),
            }
            for listener in &crowd {
                let got = std::iter::from_fn(|| listener.receive_now()).count();
                assert_eq!(got, if another { 2 } else { 0 });
            }
            assert!(requester.receive_now().is_none(), "a second answer");
            requester.is_quiet();
            second.is_quiet();
        });
    }
}

/// G1, T12: a long request whose replier goes while a copy for somebody else is made is put to the next one, all of it.
#[test]
fn a_request_that_is_begun_anew_is_whole() {
    let outcomes = explore(|net| {
        let text = "?".repeat(600);
        let first = net.socket().replies("$.a.b");
        let next = net.socket().replies("$.a.*");
        let monitor = net.socket_in(2).listens("$.a.b", 9);
        let requester = net.socket();
        let question = text.clone();
        let ask = spawn(move || {
            requester.send("$.a.b", KBUS_REQUEST, &question).unwrap();
            requester
        });
        let close = spawn(move || drop(first));
        let requester = ask.join().unwrap();
        close.join().unwrap();
        let asked = next.receive_now();
        if let Some(request) = &asked {
            assert_eq!(request.text, text);
        }
        assert_eq!(monitor.receive_now().expect("its copy").text, text);
        drop(next);
        assert!(!one_answer(&requester));
        requester.is_quiet();
        asked.is_some()
    });
    assert_eq!(outcomes, [false, true].into());
}
