// SPDX-License-Identifier: GPL-2.0

//! The plain way of an announcement, and where it ends in the midst: at a listener for whom more is
//! to be looked at, for want of memory, or of a budget.

mod peer;

use kbus_core::error::Error;
use kbus_core::mem;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::message::KBUS_URGENT;
use kbus_core::peer::Peer as _;
use kbus_core::queue::Member;
use kbus_core::wait::Tried;
use peer::announcement;
use peer::Peer;
use peer::World;
use std::rc::Rc;

/// More allocations than any send here needs.
const MANY: u64 = 1000;

/// Copies of a message in one hold of the bus lock.
const STEP: u64 = 64;

/// What is special about the second of three listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Nothing,
    Sender,
    OtherUser,
    OtherCgroup,
    Full,
    Lossy,
    Once,
    BoundTwice,
    Shut,
}

const ALL: [Second; 9] = [
    Second::Nothing,
    Second::Sender,
    Second::OtherUser,
    Second::OtherCgroup,
    Second::Full,
    Second::Lossy,
    Second::Once,
    Second::BoundTwice,
    Second::Shut,
];

/// A sender and three listeners, of whom the first and the last are plain. The first hears by a
/// `wide` binding, which is looked at before the others, or by the same as they.
fn scene(second: Second, wide: bool) -> (World, [Peer; 4]) {
    let w = World::new(0, 1 << 20);
    let sender = w.join(1, 1);
    let first = w.join(2, 1);
    let odd = match second {
        Second::Sender => sender.clone(),
        Second::OtherUser => w.join(3, 2),
        Second::OtherCgroup => w.join_in(3, 1, 7),
        _ => w.join(3, 1),
    };
    let last = w.join(4, 1);
    w.listen(&first, if wide { "$.A.*" } else { "$.A.X" })
        .unwrap();
    w.listen(&odd, "$.A.X").unwrap();
    match second {
        Second::Full => odd.with(|queue| queue.set_limit(0)),
        Second::Lossy => odd.with(|queue| queue.set_lossy(true)),
        Second::Once => {
            odd.with(|queue| queue.set_once(true));
            w.listen(&odd, "$.A.*").unwrap();
        }
        Second::BoundTwice => w.listen(&odd, "$.A.X").unwrap(),
        Second::Shut => w.shut_read(&odd),
        _ => {}
    }
    w.listen(&last, "$.A.X").unwrap();
    (w, [sender, first, odd, last])
}

/// How many copies the second listener gets, and how many messages it misses.
fn due(second: Second) -> (usize, u64) {
    match second {
        Second::Full => (0, 1),
        Second::Shut => (0, 0),
        Second::BoundTwice => (2, 0),
        _ => (1, 0),
    }
}

/// Ids and lengths of all that is read there.
fn read_all(peer: &Peer) -> Vec<(u64, usize)> {
    std::iter::from_fn(|| peer.read().map(|view| (view.id, view.payload().len()))).collect()
}

/// Nothing is left of a bus after all that is in its queues has been read.
fn end(w: &World, peers: &[Peer]) {
    for peer in peers {
        while peer.read().is_some() {}
    }
    assert_eq!([1, 2].map(|user| w.users.used(user)), [(0, 0); 2]);
    assert_eq!(w.bytes(), 0);
    for peer in peers {
        w.close(peer);
    }
    w.assert_empty();
}

/// Runs it for each kind of second listener, each place of the first one, each length and flag.
fn each_case(f: impl Fn(Second, bool, usize, u32)) {
    for second in ALL {
        for wide in [false, true] {
            for len in [0, 7, 5000] {
                for flags in [0, KBUS_URGENT] {
                    f(second, wide, len, flags);
                }
            }
        }
    }
}

/// Whoever the second listener is, all get what is theirs, once, and under one id.
#[test]
fn all_get_it_where_the_plain_way_ends_in_the_midst() {
    each_case(|second, wide, len, flags| {
        let case = format!("{second:?} {wide} {len} {flags:x}");
        let (w, peers) = scene(second, wide);
        let [sender, first, odd, last] = &peers;
        // One that is there already, before or behind which the next one comes.
        let before = w.announce(sender, "$.A.X", b"before").unwrap();
        let id = w.send(sender, announcement("$.A.X", flags, &vec![1; len]));
        let id = id.unwrap();
        assert_eq!(id, before + 1, "{case}");
        let (copies, missed) = due(second);
        assert_eq!(odd.counters().4, 2 * missed, "{case}");
        // What it counts for is what it is, in the queues, for their users and on the bus.
        let bytes = 6 + len as u64;
        let own = [first, odd, last].map(|peer| peer.counters().2);
        assert_eq!(own, [bytes, bytes * copies as u64, bytes], "{case}");
        assert_eq!(w.bytes(), bytes, "{case}");
        let copied = match second {
            Second::OtherUser => [bytes, bytes],
            // One for each memory cgroup.
            Second::OtherCgroup => [2 * bytes, 0],
            _ => [bytes, 0],
        };
        assert_eq!([1, 2].map(|user| w.users.used(user).0), copied, "{case}");
        for (peer, copies) in [(first, 1), (odd, copies), (last, 1)] {
            let mut expected = vec![(before, 6); copies];
            let at = if flags == 0 { copies } else { 0 };
            expected.splice(at..at, vec![(id, len); copies]);
            assert_eq!(read_all(peer), expected, "{case}, {}", peer.id());
            assert_eq!(peer.wakes().0, 2 * copies as u64, "{case}");
        }
        end(&w, &peers);
    });
}

/// Without memory at any point the send fails and nobody has anything of it, or who lacks memory in
/// a cgroup of its own misses it. What was to be sent is there again, and can be.
#[test]
fn want_of_memory_at_any_point_leaves_nothing_half_done() {
    each_case(|second, wide, len, flags| {
        for k in 0..MANY {
            let case = format!("{second:?} {wide} {len} {flags:x}, allocation {k}");
            assert!(k + 1 < MANY, "{case}");
            let (w, peers) = scene(second, wide);
            // So few that no places are taken that may not be needed, which is told.
            w.users.limits.user_messages.set(100);
            let [sender, first, odd, last] = &peers;
            let mut out = announcement("$.A.X", flags, &vec![1; len]);
            let told = || [1, 2].map(|user| w.users.payer(user).version());
            let before = told();
            mem::fail_after(Some(k));
            let result = w.try_send(sender, &mut out);
            let failed = mem::fail_after(None) == Some(0);
            let (copies, missed) = due(second);
            match result {
                Ok(Tried::Done(_)) => {
                    let got = read_all(odd).len();
                    let lost = odd.counters().4;
                    let may_miss = failed && second == Second::OtherCgroup;
                    assert!(
                        (got, lost) == (copies, missed) || (may_miss && (got, lost) == (0, 1)),
                        "{case}: {got} {lost}"
                    );
                    assert_eq!((read_all(first).len(), read_all(last).len()), (1, 1));
                    end(&w, &peers);
                    if !failed {
                        return;
                    }
                }
                Ok(Tried::Full { .. }) => panic!("{case}: it does not wait"),
                Err(error) => {
                    assert_eq!(error, Error::NoMem, "{case}");
                    assert_eq!(told(), before, "{case}: nobody is told of what came back");
                    assert_eq!(out.content.payload.len(), len, "{case}");
                    assert!(out.content.from.is_some(), "{case}");
                    for peer in &peers {
                        assert_eq!(peer.counters(), (0, 0, 0, 0, 0), "{case}");
                    }
                    assert_eq!([1, 2].map(|user| w.users.used(user)), [(0, 0); 2]);
                    assert_eq!((w.bytes(), w.last_id()), (0, 0), "{case}");
                    let again = w.try_send(sender, &mut out);
                    assert!(matches!(again, Ok(Tried::Done(1))), "{case}");
                    assert_eq!(read_all(odd), vec![(1, len); copies], "{case}");
                    assert_eq!(read_all(last), [(1, len)], "{case}");
                    end(&w, &peers);
                }
            }
        }
    });
}

/// Who receives pays: of a message for another memory cgroup nothing is asked of the sender's own.
#[test]
fn another_cgroup_pays_for_all_that_its_sockets_get() {
    for messages in [1, 30] {
        let needed = [None, Some(7)].map(|poor| {
            let w = World::new(0, 1 << 20);
            let (sender, listener) = (w.join_in(1, 1, 7), w.join_in(2, 1, 8));
            w.listen(&listener, "$.A.X").unwrap();
            mem::fail_group(poor);
            let before = mem::allocations();
            for _ in 0..messages {
                w.announce(&sender, "$.A.X", &[1; 500]).unwrap();
            }
            let needed = mem::allocations() - before;
            mem::fail_group(None);
            end(&w, &[sender, listener]);
            needed
        });
        assert_eq!(needed[0], needed[1], "{messages}");
    }
}

/// A sender that cannot pay the bus has sent nothing: nobody has missed anything either.
#[test]
fn nobody_misses_what_the_bus_has_no_room_for() {
    for second in ALL {
        let (w, peers) = scene(second, false);
        let [sender, first, ..] = &peers;
        first.with(|queue| queue.set_limit(0));
        w.bus(|bus| bus.bytes().set_max(100));
        assert_eq!(w.announce(sender, "$.A.X", &[1; 101]), Err(Error::DQuot));
        for peer in &peers {
            assert_eq!(peer.counters(), (0, 0, 0, 0, 0), "{second:?}");
        }
        assert_eq!((w.bytes(), w.last_id()), (0, 0));
        assert!(w.announce(sender, "$.A.X", &[1; 50]).is_ok());
        end(&w, &peers);
    }
}

/// A user whose messages are used up at the second listener: the first has it, the others miss it.
#[test]
fn a_budget_of_messages_ends_at_the_second_listener() {
    for second in [Second::Nothing, Second::Sender, Second::Once] {
        for len in [7, 5000] {
            let (w, peers) = scene(second, true);
            let [sender, first, odd, last] = &peers;
            w.users.limits.user_messages.set(1);
            let id = w.announce(sender, "$.A.X", &vec![1; len]).unwrap();
            assert_eq!(w.users.used(1), (len as u64, 1));
            assert_eq!((odd.counters().4, last.counters().4), (1, 1), "{second:?}");
            assert_eq!(read_all(first), [(id, len)]);
            w.users.limits.user_messages.set(u64::MAX);
            let id = w.announce(sender, "$.A.X", &vec![1; len]).unwrap();
            assert_eq!(read_all(last), [(id, len)]);
            end(&w, &peers);
        }
    }
}

/// Each user pays for one copy, whoever sends and in which order they listen; the bus's owner may
/// fill all queues.
#[test]
fn each_user_pays_for_one_copy() {
    for owner in [1, 9] {
        for users in [
            [2, 2, 2],
            [1, 1, 1],
            [2, 2, 1],
            [1, 1, 2],
            [2, 1, 2],
            [1, 2, 1],
        ] {
            let w = World::new(owner, 1 << 20);
            let sender = w.join(1, 1);
            let listeners = [0, 1, 2].map(|n| w.join(10 + n as u64, users[n]));
            for peer in &listeners {
                w.listen(peer, "$.A.X").unwrap();
            }
            // To the owner's and to the user's own there is room for all, to strangers but for an
            // eighth, once they have one.
            for n in 1..=100 {
                w.announce(&sender, "$.A.X", &[1; 10]).unwrap();
                let mut due = [0, 0];
                for user in users {
                    let fills = owner == 1 || user == 1;
                    due[user as usize - 1] += n.min(if fills { 100 } else { 88 });
                }
                for (user, messages) in [1, 2].into_iter().zip(due) {
                    let queues = users.iter().filter(|of| **of == user).count() as u64;
                    let used = w.users.used(u64::from(user));
                    assert_eq!(
                        used,
                        (10 * messages / queues.max(1), messages),
                        "{users:?} {n}"
                    );
                }
            }
            end(&w, &[vec![sender], listeners.to_vec()].concat());
        }
    }
}

/// No listener is refused for what another one of its user has just got of the same message, on
/// the plain way and where that ends.
#[test]
fn what_is_left_is_what_was_left_before_the_message() {
    for second in ALL {
        let (w, peers) = scene(second, false);
        let [sender, first, odd, last] = &peers;
        w.listen(last, "$.B").unwrap();
        w.announce(sender, "$.B", &[1; 400]).unwrap();
        // 400 fit in the 600 that are left, but not in the 300 after the first copy.
        w.users.limits.user_bytes.set(1000);
        assert!(w.announce(sender, "$.A.X", &[1; 300]).is_ok());
        let (copies, missed) = due(second);
        assert_eq!(last.counters().4, 0, "{second:?}");
        assert_eq!(odd.counters().4, missed, "{second:?}");
        let got = [first, odd, last].map(|peer| read_all(peer).len());
        assert_eq!(got, [1, copies, 2], "{second:?}");
        end(&w, &peers);
    }
}

/// A socket that holds more than its user has left misses what others of the user get.
#[test]
fn who_holds_more_than_is_left_misses_it() {
    for second in [Second::Nothing, Second::Sender, Second::BoundTwice] {
        let (w, peers) = scene(second, false);
        let [sender, first, _, last] = &peers;
        w.listen(last, "$.B").unwrap();
        w.announce(sender, "$.A.X", &[1; 300]).unwrap();
        w.announce(sender, "$.B", &[1; 10]).unwrap();
        // Of 610 bytes 300 are left.
        w.users.limits.user_bytes.set(610);
        w.announce(sender, "$.A.X", &[1; 10]).unwrap();
        assert_eq!(
            (first.counters().4, last.counters().4),
            (0, 1),
            "{second:?}"
        );
        let got = [first, last].map(|peer| read_all(peer).len());
        assert_eq!(got, [2, 2], "{second:?}");
        end(&w, &peers);
    }
}

/// A long announcement is sent in short holds, and all that listen get it once.
#[test]
fn many_listeners_are_reached_in_short_holds() {
    for second in ALL {
        for count in [STEP - 2, STEP + 1, 4 * STEP - 3, 4 * STEP + 1, 6 * STEP] {
            for flags in [0, KBUS_URGENT] {
                let (w, peers) = scene(second, false);
                let [sender, first, odd, last] = &peers;
                let crowd: Vec<_> = (0..count).map(|n| w.join(100 + n, 1)).collect();
                for peer in &crowd {
                    w.listen(peer, "$.A.X").unwrap();
                }
                w.holds();
                let out = announcement("$.A.X", flags, &[1; 7]);
                let id = w.send(sender, out).unwrap();
                let (holds, most) = w.holds();
                // The first copy in a queue takes two looks more, with memory for it, and a hold
                // that is not the last one another one. On the plain way there are four times as
                // many in a hold, which take as long.
                assert!(
                    most <= 4 * 4 * STEP + 5 * STEP,
                    "{second:?}: {most} looks of {count}"
                );
                let again = u64::from(second == Second::OtherUser || second == Second::OtherCgroup);
                let most_holds = (count + 4).div_ceil(STEP) + again + 1;
                assert!(holds <= most_holds, "{second:?}: {holds} for {count}");
                let (copies, missed) = due(second);
                assert_eq!(read_all(odd), vec![(id, 7); copies], "{second:?}");
                assert_eq!(odd.counters().4, missed, "{second:?}");
                for peer in crowd.iter().chain([first, last]) {
                    assert_eq!(read_all(peer), [(id, 7)], "{second:?}");
                }
                let all: Vec<_> = crowd.iter().chain(&peers).cloned().collect();
                end(&w, &all);
            }
        }
    }
}

/// Those who begin to listen, and those who go, between two holds of a send that began on the plain
/// way: the former get it, the latter leave nothing.
#[test]
fn others_may_come_and_go_where_the_plain_way_has_ended() {
    for second in ALL {
        let (w, peers) = scene(second, false);
        let [sender, first, _, last] = &peers;
        let crowd: Vec<_> = (0..5 * STEP).map(|n| w.join(100 + n, 1)).collect();
        for peer in &crowd {
            w.listen(peer, "$.A.X").unwrap();
        }
        let new = w.join(50, 1);
        let done = Rc::new(std::cell::Cell::new(false));
        let (its, comes, goes) = (done.clone(), new.clone(), first.clone());
        w.between(move |w| {
            if !its.replace(true) {
                w.listen(&comes, "$.A.X").unwrap();
                w.unlisten(&goes, "$.A.X").unwrap();
            }
        });
        let id = w.announce(sender, "$.A.X", &[1; 5000]).unwrap();
        w.nothing_between();
        assert!(done.get());
        assert_eq!(read_all(&new), [(id, 5000)], "{second:?}");
        assert_eq!(first.counters(), (0, 0, 0, 0, 0), "{second:?}");
        assert_eq!(read_all(last), [(id, 5000)], "{second:?}");
        let all: Vec<_> = crowd.iter().chain(&peers).chain([&new]).cloned().collect();
        end(&w, &all);
    }
}

/// So many listeners of one name, and a sender of the same user.
fn crowd(count: u64) -> (World, Peer, Vec<Peer>) {
    let w = World::new(0, 1 << 20);
    let sender = w.join(1, 1);
    let listeners: Vec<_> = (0..count).map(|n| w.join(2 + n, 1)).collect();
    for listener in &listeners {
        w.listen(listener, "$.A.X").unwrap();
    }
    (w, sender, listeners)
}

/// How many listeners a crowd has: a few, more than that, and more than one hold takes.
const CROWDS: [u64; 5] = [1, 3, 9, STEP, 5 * STEP];

/// Of those who get a message only they are woken who wait for one.
#[test]
fn nobody_is_woken_who_is_awake() {
    for count in CROWDS {
        let (w, sender, listeners) = crowd(count);
        let waits = |n: usize| n % 3 == 1;
        for (n, listener) in listeners.iter().enumerate() {
            listener.set_waited_for(waits(n));
        }
        w.send(&sender, announcement("$.A.X", 0, b"x")).unwrap();
        for (n, listener) in listeners.iter().enumerate() {
            let woken = listener.wakes().0;
            // What is sent in several holds wakes those of earlier ones in any case.
            match waits(n) || (count > 4 * STEP && woken > 0) {
                true => assert_eq!(woken, 1, "{n} of {count}"),
                false => assert_eq!(woken, 0, "{n} of {count}"),
            }
        }
        end(&w, &[&[sender][..], &listeners].concat());
    }
}

/// Who begins to wait while a message is on its way to others, and does not see it, is woken.
#[test]
fn who_begins_to_wait_before_the_message_is_sent_is_woken() {
    for count in CROWDS {
        let (w, sender, listeners) = crowd(count);
        for listener in &listeners {
            listener.set_waited_for(false);
        }
        let waiting = listeners.clone();
        // When its id is drawn all have their copies, and nobody can see them.
        peer::trace_sends(Some(Box::new(move |_, _| {
            for listener in &waiting {
                assert!(!listener.with(|queue| queue.is_readable()));
                listener.set_waited_for(true);
            }
        })));
        w.send(&sender, announcement("$.A.X", 0, b"x")).unwrap();
        peer::trace_sends(None);
        for listener in &listeners {
            assert_eq!(listener.wakes().0, 1, "of {count}");
        }
        end(&w, &[&[sender][..], &listeners].concat());
    }
}

/// The places for several listeners are taken at once where there are plenty, when there is room for
/// the first of them. What is not needed goes back, and is told: somebody may have come short of it.
#[test]
fn places_that_are_not_needed_go_back() {
    for count in CROWDS {
        let (w, sender, listeners) = crowd(count);
        let payer = w.users.payer(1);
        // More than enough, just enough, and one too few.
        for (limit, missed) in [(1 << 20, 0), (count, 0), (count - 1, 1)] {
            w.users.limits.user_messages.set(limit);
            let version = payer.messages.version();
            w.send(&sender, announcement("$.A.X", 0, b"x")).unwrap();
            assert_eq!(payer.messages.used(), count - missed);
            // The first takes its own place, and those that come alone after 256.
            let at_once = count.min(4 * STEP) - 1;
            let some_back = limit > count && at_once % 16 != 0;
            assert_eq!(payer.messages.version() != version, some_back, "{count}");
            let got: usize = listeners.iter().map(|peer| read_all(peer).len()).sum();
            assert_eq!(got as u64, count - missed, "{limit}");
            assert_eq!(payer.messages.used(), 0);
        }
        w.users.limits.user_messages.set(u64::MAX);
        end(&w, &[&[sender][..], &listeners].concat());
    }
}

/// For a listener without room no places are taken.
#[test]
fn full_listeners_take_no_places() {
    let (w, sender, listeners) = crowd(3);
    for full in &listeners[1..] {
        full.with(|queue| queue.set_limit(0));
    }
    let payer = w.users.payer(1);
    let (most, seen) = (
        w.users.limits.user_messages.get(),
        std::rc::Rc::new(std::cell::Cell::new(0)),
    );
    let (payer_too, seen_too) = (payer.clone(), seen.clone());
    listeners[2].before_looks(Some(Box::new(move |_| {
        seen_too.set(payer_too.messages.left())
    })));
    let version = payer.messages.version();
    w.send(&sender, announcement("$.A.X", 0, b"x")).unwrap();
    listeners[2].before_looks(None);
    assert_eq!((seen.get(), payer.messages.version()), (most - 1, version));
    end(&w, &[&[sender][..], &listeners].concat());
}

/// A socket keeps the memory of its list of recipients for the next message, a requester too.
#[test]
fn memory_for_a_list_is_kept() {
    let (w, sender, listeners) = crowd(STEP);
    w.replier(&listeners[0], "$.A.X").unwrap();
    let send = |flags| {
        let before = mem::allocations();
        w.send(&sender, announcement("$.A.X", flags, b"x")).unwrap();
        let allocations = mem::allocations() - before;
        for listener in &listeners {
            while let Some(view) = listener.read() {
                if view.must_reply() {
                    w.reply(listener, 1, view.id, b"").unwrap();
                }
            }
        }
        drop(read_all(&sender));
        allocations
    };
    send(0);
    send(KBUS_REQUEST);
    let asked = send(KBUS_REQUEST);
    assert_eq!(send(KBUS_REQUEST), asked);
    let send = || send(0);
    let kept = send();
    // The list of one hold, made longer once, and the message.
    assert_eq!(kept, 3);
    assert_eq!(send(), kept);
    end(&w, &[&[sender][..], &listeners].concat());
}
