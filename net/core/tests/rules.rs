// SPDX-License-Identifier: GPL-2.0

//! One test for each rule that is easier told by itself than by the model.

mod peer;

use kbus_core::address::Dest;
use kbus_core::bus::MAX_MSG;
use kbus_core::error::Error::*;
use kbus_core::message::Content;
use kbus_core::message::*;
use kbus_core::name::ADDRESS_NAME_MAX;
use kbus_core::name::NAME_MAX;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use kbus_core::queue::View;
use kbus_core::send::Outgoing;
use kbus_core::wait::Tried;
use peer::name;
use peer::Files;
use peer::Peer;
use peer::Users;
use peer::World;
use std::cell::RefCell;
use std::rc::Rc;

fn out(dest: Option<Dest<'_>>, flags: u32) -> Outgoing<'_, Peer> {
    Outgoing {
        dest,
        flags,
        ..Default::default()
    }
}

#[test]
fn flags_and_addresses_are_checked_before_the_bus() {
    let name = name("$.A");
    let plain = Some(Dest::Name(name));
    let one = Some(Dest::Stateful { name, peer: 1 });
    let reply = Some(Dest::Reply {
        peer: 1,
        request: 1,
        name: None,
    });
    assert_eq!(out(plain, KBUS_USER_FLAGS).check(), Ok(()));
    assert_eq!(out(plain, KBUS_REPLY).check(), Err(Inval));
    assert_eq!(
        out(plain, KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT).check(),
        Err(Inval)
    );
    assert_eq!(out(plain, KBUS_ALL_OR_FAIL | KBUS_URGENT).check(), Ok(()));
    assert_eq!(out(plain, KBUS_ALL_OR_WAIT).check(), Ok(()));
    assert_eq!(out(one, 0).check(), Err(OpNotSupp));
    assert_eq!(out(one, KBUS_REQUEST).check(), Ok(()));
    let flags = KBUS_REQUEST | KBUS_ALL_OR_FAIL | KBUS_ALL_OR_WAIT;
    assert_eq!(out(reply, flags).check(), Ok(()));
    assert_eq!(
        Outgoing {
            explicit: true,
            ..out(reply, KBUS_REQUEST)
        }
        .check(),
        Err(Inval)
    );
    for (flags, result) in [
        (0, Ok(())),
        (KBUS_URGENT | KBUS_USER_FLAGS, Ok(())),
        (KBUS_ALL_OR_FAIL, Err(Inval)),
        (KBUS_ALL_OR_WAIT, Err(Inval)),
    ] {
        let explicit = Outgoing {
            explicit: true,
            ..out(reply, flags)
        };
        assert_eq!(explicit.check(), result);
    }
}

#[test]
fn errors_of_a_send_have_an_order() {
    let w = World::new(0, 1 << 20);
    let stranger = Peer::new(9, 1, &Users::new(u64::MAX));
    let big = || vec![0; 70_000];
    let a = w.join(1, 1);
    assert_eq!(
        w.send(
            &a,
            Outgoing {
                content: Content::new(big().into()),
                ..out(None, 0)
            }
        ),
        Err(MsgSize)
    );
    assert_eq!(w.send(&stranger, out(None, 0)), Err(DestAddrReq));
    assert_eq!(w.announce(&stranger, "$.KBUS", b""), Err(NotConn));
    assert_eq!(w.announce(&a, "$.KBUS.x", b""), Err(Perm));
    assert_eq!(w.request(&a, "$.KBUS.x", b""), Err(Perm));
    assert_eq!(w.request(&stranger, "$.A", b""), Err(NotConn));
    assert_eq!(w.request(&a, "$.A", b""), Err(AddrNotAvail));
    a.with(|q| q.set_limit(0));
    assert_eq!(w.request(&a, "$.A", b""), Err(NoBufs));
    assert_eq!(w.request(&a, "$.KBUS.x", b""), Err(Perm));
    assert_eq!(w.request(&a, "$.A", &big()), Err(MsgSize));
    w.shut_write(&a);
    assert_eq!(w.announce(&a, "$.KBUS.x", b""), Err(Pipe));
    assert_eq!(w.request(&a, "$.A", b""), Err(Pipe));
    assert_eq!(w.last_id(), 0);
}

/// V27: who traces is told of a send, or of a reply, before anybody can read it.
#[test]
fn a_send_is_traced_before_it_can_be_read() {
    let w = World::new(0, 1 << 20);
    let (a, b, c) = (w.join(1, 1), w.join(2, 1), w.join(3, 2));
    w.replier(&b, "$.A").unwrap();
    for (listener, name) in [(&b, "$.B"), (&b, "$.C"), (&c, "$.B")] {
        w.listen(listener, name).unwrap();
    }
    let told = Rc::new(RefCell::new(Vec::new()));
    let (all, kept) = ([a.clone(), b.clone(), c.clone()], told.clone());
    peer::trace_sends(Some(Box::new(move |id, answers| {
        assert!(all
            .iter()
            .all(|peer| peer.with(|queue| queue.unread()) == 0));
        kept.borrow_mut().push((id, answers));
    })));
    let mut sent = Vec::new();
    let read = |peers: &[&Peer]| peers.iter().for_each(|peer| drop(peer.read().unwrap()));
    // To one user the plain way, to several the long one, and the plain one again.
    sent.push((w.announce(&a, "$.C", b"x").unwrap(), None));
    read(&[&b]);
    sent.push((w.announce(&a, "$.B", b"x").unwrap(), None));
    read(&[&b, &c]);
    for _ in 0..2 {
        sent.push((w.announce(&a, "$.C", b"x").unwrap(), None));
        read(&[&b]);
    }
    let id = w.request(&a, "$.A", b"x").unwrap();
    sent.push((id, None));
    read(&[&b]);
    sent.push((w.reply(&b, 1, id, b"y").unwrap(), Some((1, id))));
    read(&[&a]);
    // Of what fails nothing is told.
    assert_eq!(w.request(&a, "$.X", b""), Err(AddrNotAvail));
    peer::trace_sends(None);
    assert_eq!(*told.borrow(), sent);
}

#[test]
fn one_may_ask_oneself_with_two_slots() {
    let w = World::new(0, 1 << 20);
    let a = w.join(1, 1);
    w.replier(&a, "$.A").unwrap();
    a.with(|q| q.set_limit(1));
    assert_eq!(w.request(&a, "$.A", b""), Err(Busy));
    assert_eq!(a.counters(), (0, 0, 0, 0, 0));
    a.with(|q| q.set_limit(2));
    let id = w.request(&a, "$.A", b"").unwrap();
    assert!(a.read().unwrap().must_reply());
    w.reply(&a, 1, id, b"yes").unwrap();
    let view = a.read().unwrap();
    assert_eq!((view.in_reply_to, view.payload()), (id, b"yes".as_slice()));
}

#[test]
fn removed_while_it_is_read_there_is_no_debt() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.replier(&b, "$.A").unwrap();
    let id = w.request(&a, "$.A", b"x").unwrap();
    let view = b.with(|q| q.front()).unwrap();
    w.unreplier(&b, "$.A").unwrap();
    assert!(b.with(|q| q.consume(view.token)).is_none());
    assert_eq!(w.reply(&b, 1, id, b""), Err(ConnRefused));
    let status = a.read().unwrap();
    assert_eq!(
        (status.error, status.name()),
        (3, b"$.KBUS.Replier.Unbound".as_slice())
    );
}

#[test]
fn a_full_queue_of_bytes_still_took_one_large_message() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    b.with(|q| q.set_byte_limit(10));
    w.announce(&a, "$.A", &[0; 500]).unwrap();
    w.announce(&a, "$.A", &[0; 1]).unwrap();
    assert_eq!(b.counters(), (1, 0, 500, 0, 1));
    b.read().unwrap();
    w.announce(&a, "$.A", &[0; 1]).unwrap();
    assert_eq!(b.read().unwrap().lost, 1);
}

#[test]
fn the_requesters_own_copy_of_a_reply_comes_before_its_listeners_copy() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.replier(&b, "$.A").unwrap();
    let id = w.request(&a, "$.A", b"").unwrap();
    w.listen(&a, "$.A").unwrap();
    a.with(|q| q.set_byte_limit(10));
    b.read().unwrap();
    w.reply(&b, 1, id, &[0; 10]).unwrap();
    assert_eq!(a.counters(), (1, 0, 10, 0, 1));
}

#[test]
fn who_owns_a_bus_may_take_all_its_bytes_and_others_half_of_what_is_left() {
    let w = World::new(9, 1 << 20);
    w.bus(|bus| bus.bytes().set_max(64));
    let reader = w.join(1, 9);
    w.listen(&reader, "$.A").unwrap();
    let one = w.join(2, 1);
    let other = w.join(3, 2);
    for _ in 0..8 {
        w.announce(&one, "$.A", &[0; 4]).unwrap();
    }
    assert_eq!(w.announce(&one, "$.A", &[0; 4]), Err(DQuot));
    for _ in 0..4 {
        w.announce(&other, "$.A", &[0; 4]).unwrap();
    }
    assert_eq!(w.announce(&other, "$.A", &[0; 4]), Err(DQuot));
    for _ in 0..4 {
        w.announce(&reader, "$.A", &[0; 4]).unwrap();
    }
    assert_eq!(w.announce(&reader, "$.A", &[0; 4]), Err(DQuot));
}

/// What is set for a socket or a bus can be asked for again.
#[test]
fn what_is_set_can_be_read() {
    let w = World::new(5, 1 << 20);
    let a = w.join(1, 1);
    let all = |a: &Peer| {
        a.with(|q| {
            (
                (q.limit(), q.byte_limit(), q.reply_max()),
                (q.once(), q.lossy(), q.report_lost()),
            )
        })
    };
    assert_eq!(
        all(&a),
        ((100, 8 << 20, 4096), (false, false, false)),
        "the defaults"
    );
    a.with(|q| {
        q.set_limit(7);
        q.set_byte_limit(8);
        q.set_reply_max(9);
        q.set_once(true);
        q.set_lossy(true);
        q.set_report_lost(true);
    });
    assert_eq!(all(&a), ((7, 8, 9), (true, true, true)));
    assert_eq!(w.bus(|bus| (bus.owner(), bus.max_msg())), (5, 64 << 10));
    w.bus(|bus| bus.set_max_msg(77));
    assert_eq!(w.bus(|bus| bus.max_msg()), 77);
}

/// A request reserves what it asks for, else what its socket has set, at most the largest payload.
#[test]
fn a_request_reserves_what_was_set() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.replier(&b, "$.A").unwrap();
    w.request(&a, "$.A", b"").unwrap();
    assert_eq!(w.bytes(), 4096);
    a.with(|q| q.set_reply_max(9));
    w.request(&a, "$.A", b"").unwrap();
    assert_eq!(w.bytes(), 4096 + 9);
    let asked = Outgoing {
        reply_max: 1 << 18,
        ..out(Some(Dest::Name(name("$.A"))), KBUS_REQUEST)
    };
    w.send(&a, asked).unwrap();
    assert_eq!(w.bytes(), 4096 + 9 + (64 << 10));
}

/// What a bridge says of a message comes with each copy, and with no other message.
#[test]
fn what_a_bridge_says_is_passed_on() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&b, "$.A").unwrap();
    let via = Some(Via {
        orig_net: 1,
        orig_peer: 2,
        final_net: 3,
        final_peer: 4,
    });
    let told = Outgoing {
        via,
        ..out(Some(Dest::Name(name("$.A"))), 0)
    };
    w.send(&a, told).unwrap();
    w.announce(&a, "$.A", b"x").unwrap();
    let view = b.read().unwrap();
    assert_eq!(view.via(), via);
    assert_eq!(view.message().unwrap().via(), via);
    assert_eq!(b.read().unwrap().via(), None);
}

/// A socket that wants all once, is asked and listens too: shut for writing it keeps the copy, as a
/// listener.
#[test]
fn shut_for_writing_it_still_listens_once() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    b.with(|q| q.set_once(true));
    w.replier(&b, "$.A").unwrap();
    w.listen(&b, "$.A").unwrap();
    let id = w.request(&a, "$.A", b"").unwrap();
    w.shut_write(&b);
    assert_eq!(a.read().unwrap().name(), b"$.KBUS.Replier.Unbound");
    let view = b.read().unwrap();
    assert_eq!((view.id, view.must_reply()), (id, false));
}

/// The value of a constant of `linux/kbus.h`, without its comment.
fn of_header(name: &str) -> u32 {
    let header = include_str!("../../../uapi/linux/kbus.h");
    let mut lines = header.lines().map(|line| line.split_whitespace());
    let value = lines.find_map(|mut words| {
        (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.collect())
    });
    let value: Vec<_> = value.unwrap_or_else(|| panic!("no {name}"));
    match value[..] {
        ["(1U", "<<", bit, ..] => 1 << bit.trim_end_matches(')').parse::<u32>().unwrap(),
        [hex, ..] if hex.starts_with("0x") => {
            u32::from_str_radix(hex[2..].trim_end_matches('U'), 16).unwrap()
        }
        [number, ..] => number.parse().unwrap(),
        [] => panic!("{name} has no value"),
    }
}

/// Flags, limits and the numbers of statuses are those that programs see in the header.
#[test]
fn numbers_are_those_of_the_header() {
    for (name, value) in [
        ("KBUS_REQUEST", KBUS_REQUEST),
        ("KBUS_URGENT", KBUS_URGENT),
        ("KBUS_ALL_OR_FAIL", KBUS_ALL_OR_FAIL),
        ("KBUS_ALL_OR_WAIT", KBUS_ALL_OR_WAIT),
        ("KBUS_YOU_REPLY", KBUS_YOU_REPLY),
        ("KBUS_REPLY", KBUS_REPLY),
        ("KBUS_STATUS", KBUS_STATUS),
        ("KBUS_HAD_FDS", KBUS_HAD_FDS),
        ("KBUS_USER_FLAGS", KBUS_USER_FLAGS),
        ("KBUS_NAME_MAX", NAME_MAX as u32),
        ("KBUS_NAME_SHORT", ADDRESS_NAME_MAX as u32),
        ("KBUS_MSG_SIZE_DEFAULT", MAX_MSG),
        ("KBUS_GONE_AWAY", Fault::GoneAway.number() as u32),
        ("KBUS_IGNORED", Fault::Ignored.number() as u32),
        ("KBUS_UNBOUND", Fault::Unbound.number() as u32),
        ("KBUS_DISAPPEARED", Fault::Disappeared.number() as u32),
        ("KBUS_ERROR_SENDING", Fault::ErrorSending.number() as u32),
    ] {
        assert_eq!(value, of_header(name), "{name}");
    }
}

/// Who holds the descriptors of a message, beside their sender.
fn holders(files: &Rc<Files>) -> usize {
    Rc::strong_count(files) - 1
}

#[test]
fn descriptors_are_held_by_the_copies_that_give_them() {
    let w = World::new(0, 1 << 20);
    let [a, b, c, d] = [1, 2, 3, 4].map(|id| w.join(id, 1));
    for peer in [&a, &b, &c] {
        peer.with(|q| q.set_takes_files(true));
    }
    for peer in [&a, &b, &c, &d] {
        w.listen(peer, "$.A").unwrap();
    }
    w.replier(&b, "$.A").unwrap();
    let files = Rc::new(Files::default());
    let with = |dest, flags| Outgoing {
        files: Some(files.clone()),
        ..out(Some(dest), flags)
    };
    let all = [&a, &b, &c, &d];
    let got = |view: View<Peer>| (view.files.is_some(), view.flags & KBUS_HAD_FDS != 0);
    let read = |peers: &[&Peer]| -> Vec<_> {
        let views = peers.iter().map(|peer| got(peer.read().unwrap()));
        views.collect()
    };
    const YES: (bool, bool) = (true, false);
    const NO: (bool, bool) = (false, true);
    w.send(&a, with(Dest::Name(name("$.A")), 0)).unwrap();
    assert_eq!(holders(&files), 3);
    assert_eq!(read(&all), [YES, YES, YES, NO]);
    assert_eq!(holders(&files), 0);

    let request = w
        .send(&a, with(Dest::Name(name("$.A")), KBUS_REQUEST))
        .unwrap();
    assert_eq!(holders(&files), 1);
    assert_eq!(read(&[&a, &b, &b, &c, &d]), [NO, YES, NO, NO, NO]);
    assert_eq!(holders(&files), 0);

    let dest = Dest::Reply {
        peer: 1,
        request,
        name: None,
    };
    w.send(&b, with(dest, 0)).unwrap();
    assert_eq!(holders(&files), 1);
    assert_eq!(read(&[&a, &a, &b, &c, &d]), [YES, NO, NO, NO, NO]);
    assert_eq!(holders(&files), 0);

    d.with(|q| q.set_limit(0));
    assert_eq!(
        w.send(&a, with(Dest::Name(name("$.A")), KBUS_ALL_OR_FAIL)),
        Err(Busy)
    );
    assert_eq!(holders(&files), 0);
    w.send(&a, with(Dest::Name(name("$.A")), 0)).unwrap();
    assert_eq!(holders(&files), 3);
    for peer in [&a, &b, &c] {
        w.close(peer);
    }
    assert_eq!(holders(&files), 0);
}

#[test]
fn time_is_that_of_getting_an_id() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    w.listen(&a, "$.A").unwrap();
    w.replier(&b, "$.B").unwrap();
    a.with(|q| q.set_limit(3));
    a.with(|q| q.set_report_lost(true));
    peer::set_clock(10);
    w.announce(&b, "$.A", b"").unwrap();
    peer::set_clock(20);
    w.request(&a, "$.B", b"").unwrap();
    peer::set_clock(30);
    w.close(&b);
    peer::set_clock(40);
    let from = w.join(3, 1);
    for _ in 0..2 {
        w.announce(&from, "$.A", b"").unwrap();
    }
    peer::set_clock(50);
    // What was missed is told when it is told.
    let times = [(); 4].map(|()| a.read().unwrap().time);
    assert_eq!(times, [10, 30, 40, 50]);
}

/// Ids of messages, peers and requests up to the last there is: orders, debts and statuses hold.
#[test]
fn ids_up_to_the_last_there_is() {
    let w = World::new(0, 1 << 20);
    let asker = w.join(u64::MAX - 1, 1);
    let replier = w.join(u64::MAX, 1);
    let watcher = w.join(u64::MAX - 2, 1);
    w.listen(&watcher, "$.*").unwrap();
    w.listen(&watcher, "$.KBUS.ReplierBindEvent").unwrap();
    w.report_binds(&watcher, true).unwrap();
    // The bind event, three requests with one reply, two statuses, and the event that it has gone.
    w.set_last_id(u64::MAX - 8);
    w.replier(&replier, "$.A").unwrap();
    let all: Vec<u64> = (0..3)
        .map(|_| w.request(&asker, "$.A", b"?").unwrap())
        .collect();
    assert_eq!(all, [u64::MAX - 6, u64::MAX - 5, u64::MAX - 4]);
    assert_eq!(replier.read().unwrap().id, all[0]);
    assert_eq!(replier.read().unwrap().id, all[1]);
    w.reply(&replier, asker.id(), all[0], b"!").unwrap();
    assert_eq!(
        w.reply(&replier, asker.id(), all[0], b"!"),
        Err(ConnRefused)
    );
    w.close(&replier);
    let answers: Vec<(u64, u64)> = std::iter::from_fn(|| asker.read())
        .map(|view| (view.id, view.in_reply_to))
        .collect();
    assert_eq!(
        answers,
        [
            (u64::MAX - 3, all[0]),
            (u64::MAX - 2, all[2]),
            (u64::MAX - 1, all[1])
        ]
    );
    let seen: Vec<u64> = std::iter::from_fn(|| watcher.read())
        .map(|v| v.id)
        .collect();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&u64::MAX));
    w.close(&asker);
    w.close(&watcher);
    assert_eq!(w.bytes(), 0);
}

/// A send that fails, and one that would wait, keeps all that is needed to make it again.
#[test]
fn what_is_not_sent_is_left_to_the_sender() {
    let w = World::new(0, 1 << 20);
    let (a, b) = (w.join(1, 1), w.join(2, 1));
    let send = |peer: &Peer, dest: Dest<'_>, flags| {
        let mut out = Outgoing {
            content: Content::new(vec![1; 100].into()),
            ..out(Some(dest), flags)
        };
        let sent = w.try_send(peer, &mut out);
        let sent = sent.map(|sent| matches!(sent, Tried::Done(_)));
        (sent, out.content.payload.len(), out.content.from.is_some())
    };
    let plain = Dest::Name(name("$.A"));
    // Nobody has got it.
    assert_eq!(send(&a, plain, 0), (Ok(true), 100, true));
    w.listen(&b, "$.A").unwrap();
    b.with(|queue| queue.set_limit(1));
    assert_eq!(send(&a, plain, 0), (Ok(true), 0, false));
    for peer in [&a, &b] {
        let sent = send(peer, plain, KBUS_ALL_OR_WAIT);
        assert_eq!(sent, (Ok(false), 100, true));
        let sent = send(peer, plain, KBUS_ALL_OR_FAIL);
        assert_eq!(sent, (Err(Busy), 100, true));
    }
    // Of many only the last lacks room.
    let many: Vec<_> = (0..200).map(|n| w.join(100 + n, 1)).collect();
    for peer in &many {
        w.listen(peer, "$.B").unwrap();
    }
    many[199].with(|queue| queue.set_limit(0));
    let sent = send(&a, Dest::Name(name("$.B")), KBUS_ALL_OR_FAIL);
    assert_eq!(sent, (Err(Busy), 100, true));
    assert_eq!(w.users.used(1), (100, 1));
}

/// A reply to a requester that reads no more is sent, and leaves nothing held for it.
#[test]
fn a_reply_to_who_reads_no_more_settles() {
    let w = World::new(0, 1 << 20);
    let (a, c) = (w.join(1, 1), w.join(3, 1));
    w.replier(&c, "$.B").unwrap();
    let request = w.request(&a, "$.B", b"").unwrap();
    assert!(c.read().unwrap().must_reply());
    w.shut_read(&a);
    w.reply(&c, 1, request, &[1; 100]).unwrap();
    assert_eq!(c.counters(), (0, 0, 0, 0, 0));
    assert_eq!(a.with(|queue| queue.reserved()), 0);
    assert_eq!(w.users.used(1), (0, 0));
}

/// A bus counts for its maker while there is a socket of that user, then for who has been there for
/// longest.
#[test]
fn a_bus_counts_for_who_is_on_it() {
    let w = World::new(1, 1 << 20);
    let all = [(1, 1), (2, 1), (3, 3), (4, 2)].map(|(id, user)| w.join(id, user));
    // What somebody has sent and left does not keep that user there.
    w.listen(&all[3], "$.A").unwrap();
    w.announce(&all[2], "$.A", b"x").unwrap();
    for (peer, by) in all.iter().zip([1, 3, 2, 1]) {
        w.close(peer);
        assert_eq!(w.bus(|bus| bus.counts_for(1)), by);
        if by == 3 {
            // Who comes back comes last.
            let again = w.join(5, 1);
            assert_eq!(
                (
                    w.bus(|bus| bus.counts_for(1)),
                    w.bus(|bus| bus.counts_for(3))
                ),
                (1, 3)
            );
            w.close(&again);
        }
    }
}

/// A user who left before the last bytes came back is forgotten a few sockets later.
#[test]
fn who_has_left_is_forgotten() {
    let w = World::new(0, 1 << 20);
    let replier = w.join(1, 0);
    w.replier(&replier, "$.A").unwrap();
    for user in 0..100 {
        let peer = w.join(10 + u64::from(user), 100 + user);
        w.request(&peer, "$.A", b"x").unwrap();
        w.close(&peer);
    }
    assert_eq!(w.bus(|bus| bus.known_users()), 101);
    while let Some(view) = replier.read() {
        w.ignore(&replier, view.id).unwrap();
    }
    for n in 0..60 {
        let peer = w.join(1000 + n, 7);
        w.close(&peer);
    }
    assert_eq!(w.bus(|bus| bus.known_users()), 1);
}
