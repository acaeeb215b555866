// SPDX-License-Identifier: GPL-2.0

//! Requests and replies on the plain way, and where it ends: at a replier or requester, or at a
//! listener, for whom more is to be looked at, and for want of memory.

mod peer;

use kbus_core::address::Dest;
use kbus_core::error::Error;
use kbus_core::mem;
use kbus_core::message::KBUS_ALL_OR_WAIT;
use kbus_core::message::KBUS_REQUEST;
use kbus_core::message::KBUS_URGENT;
use kbus_core::queue::Member;
use kbus_core::send::Outgoing;
use kbus_core::wait::Tried;
use peer::announcement;
use peer::Peer;
use peer::World;

/// More allocations than any send here needs.
const MANY: u64 = 1000;

/// Reply bytes that a request holds.
const HELD: u64 = 4096;

/// What is special about one of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    Nothing,
    OtherUser,
    OtherCgroup,
    Once,
    /// It listens to the name.
    Listens,
    OnceListens,
}

const ALL: [Odd; 6] = [
    Odd::Nothing,
    Odd::OtherUser,
    Odd::OtherCgroup,
    Odd::Once,
    Odd::Listens,
    Odd::OnceListens,
];

impl Odd {
    fn listens(self) -> bool {
        matches!(self, Odd::Listens | Odd::OnceListens)
    }

    fn once(self) -> bool {
        matches!(self, Odd::Once | Odd::OnceListens)
    }

    /// The copies of a message that is for this socket itself.
    fn copies_of_own(self) -> usize {
        1 + usize::from(self == Odd::Listens)
    }

    /// The copies of a message that is for somebody else.
    fn copies(self) -> usize {
        usize::from(self.listens())
    }
}

/// A bus with a requester, a replier, and a listener to the name.
struct Scene {
    w: World,
    requester: Peer,
    replier: Peer,
    listener: Peer,
}

impl Scene {
    fn new(requester: Odd, replier: Odd, listener: Odd) -> Self {
        let w = World::new(0, 1 << 20);
        let join = |id, odd: Odd| {
            let user = if odd == Odd::OtherUser {
                1 + id as u32
            } else {
                1
            };
            let group = if odd == Odd::OtherCgroup {
                id as usize
            } else {
                0
            };
            let peer = w.join_in(id, user, group);
            peer.with(|queue| queue.set_once(odd.once()));
            if odd.listens() {
                w.listen(&peer, "$.A.*").unwrap();
            }
            peer
        };
        let (requester, replier) = (join(1, requester), join(2, replier));
        let listener = join(3, listener);
        w.replier(&replier, "$.A.X").unwrap();
        w.listen(&listener, "$.A.X").unwrap();
        Scene {
            w,
            requester,
            replier,
            listener,
        }
    }

    fn peers(&self) -> [&Peer; 3] {
        [&self.requester, &self.replier, &self.listener]
    }

    /// Nothing is left when all has been read.
    fn end(self) {
        for peer in self.peers() {
            while peer.read().is_some() {}
        }
        assert_eq!(
            [1, 2, 3, 4].map(|user| self.w.users.used(user)),
            [(0, 0); 4]
        );
        assert_eq!(self.w.bytes(), 0);
        for peer in self.peers() {
            self.w.close(peer);
        }
        self.w.assert_empty();
    }
}

/// What a reader sees: the id, what it answers, whether it must be answered, bytes.
type Seen = (u64, u64, bool, usize);

fn read_all(peer: &Peer) -> Vec<Seen> {
    let read = || peer.read();
    std::iter::from_fn(read)
        .map(|view| {
            (
                view.id,
                view.in_reply_to,
                view.must_reply(),
                view.payload().len(),
            )
        })
        .collect()
}

/// Runs it for each kind of requester, replier and listener, and each length and flag.
fn each_case(f: impl Fn(&str, &dyn Fn() -> Scene, [Odd; 3], usize, u32)) {
    for requester in ALL {
        for replier in ALL {
            for listener in ALL {
                for (len, flags) in [(0, 0), (7, KBUS_URGENT), (600, 0), (5000, 0)] {
                    let kinds = [requester, replier, listener];
                    let case = format!("{kinds:?} {len} {flags:x}");
                    f(
                        &case,
                        &|| Scene::new(requester, replier, listener),
                        kinds,
                        len,
                        flags,
                    );
                }
            }
        }
    }
}

fn reply_to(request: u64, len: usize, flags: u32) -> Outgoing<'static, Peer> {
    Outgoing {
        dest: Some(Dest::Reply {
            peer: 1,
            request,
            name: None,
        }),
        ..announcement("$.A.X", flags, &vec![2; len])
    }
}

/// Copies of the listener, who listens to the very name, and as [`Odd::Listens`] to more.
fn heard(listener: Odd) -> usize {
    1 + usize::from(listener == Odd::Listens)
}

/// Whoever asks, answers and listens: each gets what is theirs, once, and the reply ends the debt.
#[test]
fn a_request_and_its_reply_reach_all_they_are_for() {
    each_case(|case, scene, [requester, replier, listener], len, flags| {
        let s = scene();
        let out = announcement("$.A.X", flags | KBUS_REQUEST, &vec![1; len]);
        let id = s.w.send(&s.requester, out).unwrap();
        // The sender pays for the copy of the replier, and holds what a reply may need.
        let user = s.requester.0.payer.id();
        let own: usize = (requester.copies() * len).min(len);
        let used = s.w.users.used(user);
        assert!(
            used.0 >= HELD + len.max(own) as u64 && used.1 >= 2,
            "{case}: {used:?}"
        );
        assert_eq!(s.requester.counters().1, 1, "{case}");
        let asked = read_all(&s.replier);
        assert_eq!(asked.len(), replier.copies_of_own(), "{case}");
        assert_eq!(
            asked
                .iter()
                .filter(|seen| **seen == (id, 0, true, len))
                .count(),
            1,
            "{case}"
        );
        assert_eq!(
            read_all(&s.requester),
            vec![(id, 0, false, len); requester.copies()]
        );
        assert_eq!(
            read_all(&s.listener),
            vec![(id, 0, false, len); heard(listener)],
            "{case}"
        );
        assert_eq!(s.replier.counters().3, 1, "{case}");

        let (long, flags) = (len.min(HELD as usize), flags);
        let answer = s.w.send(&s.replier, reply_to(id, long, flags)).unwrap();
        assert_eq!(answer, id + 1, "{case}");
        assert_eq!(
            (s.replier.counters().3, s.requester.counters().1),
            (0, 0),
            "{case}"
        );
        let seen = (answer, id, false, long);
        assert_eq!(
            read_all(&s.requester),
            vec![seen; requester.copies_of_own()],
            "{case}"
        );
        assert_eq!(read_all(&s.replier), vec![seen; replier.copies()], "{case}");
        assert_eq!(read_all(&s.listener), vec![seen; heard(listener)], "{case}");
        let again = s.w.send(&s.replier, reply_to(id, 0, 0));
        assert_eq!(again, Err(Error::ConnRefused), "{case}");
        s.end();
    });
}

/// Without memory at any point nobody has anything of a request or a reply, what was to be sent is
/// there again and can be, and a reply stays owed.
#[test]
fn want_of_memory_leaves_the_request_unsent_and_the_reply_owed() {
    for kinds in [
        [Odd::Nothing; 3],
        [Odd::OtherUser, Odd::Nothing, Odd::Listens],
        [Odd::Listens, Odd::Once, Odd::OtherUser],
        [Odd::OnceListens, Odd::Listens, Odd::Nothing],
    ] {
        for len in [7, 5000] {
            for replies in [false, true] {
                let needed = fails_at_each_point(kinds, len, replies);
                assert!(needed >= 1, "{kinds:?} {len} {replies}");
            }
        }
    }
}

/// Returns how many allocations there were.
fn fails_at_each_point(kinds: [Odd; 3], len: usize, replies: bool) -> u64 {
    for k in 0..MANY {
        let case = format!("{kinds:?} {len} {replies}, allocation {k}");
        let s = Scene::new(kinds[0], kinds[1], kinds[2]);
        s.requester.with(|queue| queue.set_reply_max(8192));
        let mut request = 0;
        if replies {
            request = s.w.request(&s.requester, "$.A.X", b"").unwrap();
            s.peers().map(read_all);
        }
        let state = |s: &Scene| {
            let counters = s.peers().map(Peer::counters);
            let used = [1, 2, 3, 4].map(|user| s.w.users.used(user));
            (counters, used, s.w.bytes(), s.w.last_id())
        };
        let before = state(&s);
        let (sender, mut out) = match replies {
            true => (&s.replier, reply_to(request, len, 0)),
            false => (
                &s.requester,
                announcement("$.A.X", KBUS_REQUEST, &vec![1; len]),
            ),
        };
        mem::fail_after(Some(k));
        let result = s.w.try_send(sender, &mut out);
        let failed = mem::fail_after(None) == Some(0);
        match result {
            Ok(Tried::Done(_)) if !failed => {
                finish(s);
                return k;
            }
            // What failed could be done without.
            Ok(Tried::Done(_)) => finish(s),
            Ok(Tried::Full { .. }) => panic!("{case}: it does not wait"),
            Err(error) => {
                assert_eq!(error, Error::NoMem, "{case}");
                assert_eq!(state(&s), before, "{case}");
                assert_eq!(out.content.payload.len(), len, "{case}");
                assert!(out.content.from.is_some(), "{case}");
                let again = s.w.try_send(sender, &mut out);
                assert!(matches!(again, Ok(Tried::Done(_))), "{case}");
                finish(s);
            }
        }
    }
    panic!("more than {MANY} allocations");
}

/// Answers what is owed, and ends.
fn finish(s: Scene) {
    for (id, _, owed, _) in read_all(&s.replier) {
        if owed {
            s.w.reply(&s.replier, 1, id, b"").unwrap();
        }
    }
    s.end();
}

/// A full replier is told as such, with nothing sent, and what was held is free again.
#[test]
fn a_full_replier_leaves_nothing_of_the_request() {
    for kinds in ALL {
        let s = Scene::new(Odd::Nothing, kinds, Odd::Nothing);
        s.replier.with(|queue| queue.set_limit(0));
        let result = s.w.request(&s.requester, "$.A.X", b"1234");
        assert_eq!(result, Err(Error::Busy), "{kinds:?}");
        for peer in s.peers() {
            assert_eq!(peer.counters(), (0, 0, 0, 0, 0), "{kinds:?}");
        }
        assert_eq!(
            (s.w.users.used(1), s.w.bytes(), s.w.last_id()),
            ((0, 0), 0, 0)
        );
        s.replier.with(|queue| queue.set_limit(100));
        s.w.request(&s.requester, "$.A.X", b"1234").unwrap();
        finish(s);
    }
}

/// A reply is no way for a stranger to fill the rest of its requester's queue: as a listener the
/// requester misses it where a stranger's announcement would be missed.
#[test]
fn a_reply_gives_a_stranger_no_more_of_the_queue() {
    let w = World::new(9, 1 << 20);
    let (requester, replier) = (w.join(1, 1), w.join(2, 2));
    requester.with(|queue| queue.set_limit(16));
    w.listen(&requester, "$.A").unwrap();
    w.replier(&replier, "$.A").unwrap();
    let id = w.request(&requester, "$.A", b"").unwrap();
    assert_eq!(read_all(&requester), [(id, 0, false, 0)]);
    assert_eq!(read_all(&replier), [(id, 0, true, 0)]);
    // One place is held for the reply: 13 more, and there are as many as strangers may have.
    for _ in 0..13 {
        w.announce(&replier, "$.A", b"").unwrap();
    }
    assert_eq!(requester.counters(), (13, 1, 0, 0, 0));
    let answer = w.reply(&replier, 1, id, b"").unwrap();
    assert_eq!(requester.counters(), (14, 0, 0, 0, 1));
    let seen = read_all(&requester);
    assert_eq!(seen.last(), Some(&(answer, id, false, 0)));
    for peer in [&requester, &replier] {
        w.close(peer);
    }
    w.assert_empty();
}

/// Who reads no more, or has gone, gets no reply; those who listen to its name get it, or nobody.
#[test]
fn a_requester_that_reads_no_more_is_passed_by() {
    for (gone, len) in [(false, 7), (false, 4000), (true, 7)] {
        let s = Scene::new(Odd::Nothing, Odd::Nothing, Odd::Nothing);
        let id = s.w.request(&s.requester, "$.A.X", b"").unwrap();
        s.peers().map(read_all);
        match gone {
            true => s.w.close(&s.requester),
            false => s.w.shut_read(&s.requester),
        }
        let result = s.w.send(&s.replier, reply_to(id, len, 0));
        let heard = match gone {
            true => {
                assert_eq!(result, Err(Error::AddrNotAvail));
                vec![]
            }
            false => vec![(result.unwrap(), id, false, len)],
        };
        assert_eq!(read_all(&s.listener), heard);
        assert_eq!(s.replier.counters().3, 0);
        assert_eq!((s.w.users.used(1), s.w.bytes()), ((0, 0), 0));
        for peer in s.peers() {
            if !gone || peer.0.id != 1 {
                s.w.close(peer);
            }
        }
        s.w.assert_empty();
    }
}

/// Who asks pays for the request: also the owner of the bus, who may fill all queues.
#[test]
fn the_owner_pays_for_what_it_asks_of_others() {
    for len in [7, 700] {
        let w = World::new(1, 1 << 20);
        let (owner, replier) = (w.join(1, 1), w.join(2, 2));
        w.replier(&replier, "$.A").unwrap();
        let id = w.request(&owner, "$.A", &vec![1; len]).unwrap();
        let used = [1, 2].map(|user| w.users.used(user));
        assert_eq!(used, [(HELD + len as u64, 2), (0, 0)]);
        assert_eq!(read_all(&replier), [(id, 0, true, len)]);
        w.reply(&replier, 1, id, b"").unwrap();
        w.close(&owner);
        w.close(&replier);
        w.assert_empty();
    }
}

/// A request that is not sent tells nobody of what was held for it: else two of them that wait for
/// one user would wake each other for ever.
#[test]
fn a_request_that_is_not_sent_gives_back_in_silence() {
    for replier in ALL {
        for flags in [0, KBUS_URGENT, KBUS_ALL_OR_WAIT] {
            let s = Scene::new(Odd::Nothing, replier, Odd::Nothing);
            s.replier.with(|queue| queue.set_limit(0));
            let payer = s.w.users.payer(1);
            let versions = || (payer.bytes.version(), payer.messages.version());
            let before = versions();
            let mut out = announcement("$.A.X", KBUS_REQUEST | flags, &[1; 10]);
            let sent = s.w.try_send(&s.requester, &mut out);
            assert!(!matches!(sent, Ok(Tried::Done(_))), "{replier:?} {flags:x}");
            assert_eq!(versions(), before, "{replier:?} {flags:x}");
            s.end();
        }
    }
}

/// The memory of what was owed for a request is there for the next one of its socket.
#[test]
fn a_further_request_needs_memory_for_its_message_alone() {
    let s = Scene::new(Odd::Nothing, Odd::Nothing, Odd::Nothing);
    let needed = [(); 3].map(|()| {
        let before = mem::allocations();
        let id = s.w.request(&s.requester, "$.A.X", b"short").unwrap();
        let needed = mem::allocations() - before;
        s.w.reply(&s.replier, 1, id, b"").unwrap_err();
        s.peers().map(read_all);
        s.w.reply(&s.replier, 1, id, b"").unwrap();
        s.peers().map(read_all);
        needed
    });
    let message = {
        let before = mem::allocations();
        s.w.announce(&s.requester, "$.A.X", b"short").unwrap();
        mem::allocations() - before
    };
    assert_eq!(needed[1..], [message; 2]);
    assert!(needed[0] > message + 1);
    s.end();
}
