// SPDX-License-Identifier: GPL-2.0

//! Random operations on the bus and on a model made of flat lists: they must not differ.

mod model;
mod peer;

use kbus_core::bus::Dest;
use kbus_core::bus::Member;
use kbus_core::bus::Outgoing;
use kbus_core::queue::View;
use model::Copy;
use model::Model;
use peer::Peer;
use peer::World;
use proptest::prelude::*;

const SOCKS: usize = 4;
const USERS: [u32; SOCKS] = [1, 1, 2, 9];

#[derive(Clone, Debug)]
enum Op {
    Listen(usize, String),
    Unlisten(usize, String),
    Replier(usize, String),
    Unreplier(usize, String),
    Announce(usize, String, usize),
    Request(usize, String, u64, usize, usize),
    Reply(usize, usize, usize, u8),
    Ignore(usize, usize),
    Read(usize),
    Close(usize),
    ShutRead(usize),
    ShutWrite(usize),
    WhoReplies(String),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        30 => prop::collection::vec(prop::sample::select(vec!["A", "B"]), 1..4)
            .prop_map(|words| format!("$.{}", words.join("."))),
        1 => Just("$.KBUS".to_string()),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => name(),
        2 => name().prop_map(|n| n + ".*"),
        2 => name().prop_map(|n| n + ".%"),
        1 => Just("$.*".to_string()),
        1 => Just("$.%".to_string()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let s = || 0..SOCKS;
    prop_oneof![
        6 => (s(), pattern()).prop_map(|(s, p)| Op::Listen(s, p)),
        5 => (s(), pattern()).prop_map(|(s, p)| Op::Unlisten(s, p)),
        8 => (s(), pattern()).prop_map(|(s, p)| Op::Replier(s, p)),
        4 => (s(), pattern()).prop_map(|(s, p)| Op::Unreplier(s, p)),
        8 => (s(), name(), 0..55usize).prop_map(|(s, n, l)| Op::Announce(s, n, l)),
        16 => (s(), name(), prop_oneof![4 => Just(0), 1 => 1..5u64], 0..40usize, 0..30usize)
            .prop_map(|(s, n, p, l, r)| Op::Request(s, n, p, l, r)),
        12 => (s(), 0..6usize, 0..52usize, 0..8u8).prop_map(|(s, i, l, k)| Op::Reply(s, i, l, k)),
        2 => (s(), 0..6usize).prop_map(|(s, i)| Op::Ignore(s, i)),
        16 => s().prop_map(Op::Read),
        1 => s().prop_map(Op::Close),
        1 => s().prop_map(Op::ShutRead),
        1 => s().prop_map(Op::ShutWrite),
        3 => name().prop_map(Op::WhoReplies),
    ]
}

fn seen(view: &View) -> Copy {
    Copy {
        id: view.id,
        name: String::from_utf8(view.name().to_vec()).unwrap(),
        flags: view.flags,
        sender: view.sender,
        to: view.to,
        in_reply_to: view.in_reply_to,
        cookie: view.cookie,
        len: view.payload().len(),
        lost: view.lost,
        error: view.error,
        binding: 0,
        debt: None,
    }
}

struct Pair {
    world: World,
    peers: Vec<Peer>,
    model: Model,
}

impl Pair {
    fn new(limits: &[(u32, usize)], bytes_max: usize) -> Self {
        let mut world = World::new(9, bytes_max as u64);
        world.bus.set_max_msg(50);
        let mut model = Model::new(9, 50, bytes_max);
        let mut peers = vec![];
        for (at, user) in USERS.into_iter().enumerate() {
            let (limit, byte_limit) = limits[at];
            let peer = world.join(at as u64 + 1, user);
            peer.with(|q| q.set_limit(limit));
            peer.with(|q| q.set_byte_limit(byte_limit as u64));
            peers.push(peer);
            model.socks.push(model::Sock {
                user,
                limit,
                byte_limit,
                ..Default::default()
            });
        }
        // Names enough to tell any two patterns apart: Z is in no pattern.
        let mut stems = vec!["$".to_string()];
        for from in 0..7 {
            stems.extend(["A", "B"].map(|w| format!("{}.{w}", stems[from])));
        }
        let tails = ["", ".Z", ".Z.Z"];
        let names = stems.iter().flat_map(|s| tails.map(|t| format!("{s}{t}")));
        let names = names.filter(|name| name != "$").collect();
        model.names = names;
        Pair {
            world,
            peers,
            model,
        }
    }

    /// A request that `s` owes, or one it does not.
    fn owed(&self, s: usize, at: usize) -> (u64, u64, String) {
        match self.model.socks[s].owed.iter().nth(at / 2) {
            Some((id, debt)) => (*id, debt.requester as u64 + 1, debt.name.clone()),
            None => (at as u64, 1, "$.A".to_string()),
        }
    }

    fn read(&mut self, s: usize) -> Option<Copy> {
        let got = self.peers[s].read().map(|view| seen(&view));
        let want = self.model.read(s).map(|copy| Copy {
            binding: 0,
            debt: None,
            ..copy
        });
        assert_eq!(got, want);
        got
    }

    fn run(&mut self, op: &Op) {
        let (world, model) = (&mut self.world, &mut self.model);
        let peers = &self.peers;
        match op {
            Op::Listen(s, p) => assert_eq!(world.listen(&peers[*s], p), model.listen(*s, p)),
            Op::Unlisten(s, p) => {
                assert_eq!(world.unlisten(&peers[*s], p), model.unbind(*s, false, p))
            }
            Op::Replier(s, p) => assert_eq!(world.replier(&peers[*s], p), model.replier(*s, p)),
            Op::Unreplier(s, p) => {
                assert_eq!(world.unreplier(&peers[*s], p), model.unbind(*s, true, p))
            }
            Op::Announce(s, n, len) => {
                let payload = vec![7; *len];
                assert_eq!(
                    world.announce(&peers[*s], n, &payload),
                    model.announce(*s, n, *len)
                );
            }
            Op::Request(s, n, peer, len, reply_max) => {
                let name = n.as_bytes();
                let dest = match *peer {
                    0 => Dest::Name(name),
                    peer => Dest::Stateful { name, peer },
                };
                let cookie = 1000 + *len as u64;
                let out = Outgoing {
                    dest: Some(dest),
                    flags: 1,
                    reply_max: *reply_max as u32,
                    cookie,
                    payload: vec![7; *len],
                    ..Default::default()
                };
                let got = world.send(&peers[*s], out);
                assert_eq!(got, model.request(*s, n, *peer, *len, *reply_max, cookie));
            }
            Op::Reply(s, at, len, kind) => {
                let (request, peer, name) = self.owed(*s, *at);
                let (world, model) = (&mut self.world, &mut self.model);
                let peer = if *kind == 0 { peer + 1 } else { peer };
                let name = match kind {
                    1 => Some("$.Q"),
                    2..=4 => Some(&*name),
                    _ => None,
                };
                let out = Outgoing {
                    dest: Some(Dest::Reply {
                        peer,
                        request,
                        name: name.map(str::as_bytes),
                    }),
                    payload: vec![7; *len],
                    ..Default::default()
                };
                let got = world.send(&peers[*s], out);
                assert_eq!(got, model.reply(*s, peer, request, name, *len));
            }
            Op::Ignore(s, at) => {
                let id = self.owed(*s, *at).0;
                assert_eq!(self.world.ignore(&peers[*s], id), self.model.ignore(*s, id));
            }
            Op::Read(s) => drop(self.read(*s)),
            Op::Close(s) => {
                world.close(&peers[*s]);
                model.close(*s);
            }
            Op::ShutRead(s) => {
                world.shut_read(&peers[*s]);
                model.shut_read(*s);
            }
            Op::ShutWrite(s) => {
                world.shut_write(&peers[*s]);
                model.shut_write(*s);
            }
            Op::WhoReplies(n) => {
                assert_eq!(world.bus.replier_for(n.as_bytes()), model.replier_for(n))
            }
        }
        self.compare();
    }

    fn compare(&self) {
        assert_eq!(self.world.last_id, self.model.last_id);
        for (s, peer) in self.peers.iter().enumerate() {
            let sock = &self.model.socks[s];
            let owed = sock.owed.len() as u32;
            let bytes = self.model.bytes(s) as u64;
            let want = (
                sock.queue.len() as u32,
                sock.reserved,
                bytes,
                owed,
                sock.lost,
            );
            assert_eq!(peer.counters(), want, "socket {s}");
        }
        assert_eq!(self.world.bus.account().used(), self.model.used() as u64);
    }

    /// Reads all that is left, closes everything: nothing may remain.
    fn finish(mut self) {
        for s in 0..SOCKS {
            while self.read(s).is_some() {}
        }
        for s in 0..SOCKS {
            self.run(&Op::Close(s));
        }
        let bus = &self.world.bus;
        assert_eq!((bus.members(), bus.bindings()), (0, 0));
        for s in 0..SOCKS {
            assert_eq!(self.peers[s].counters().1, 0, "a slot stays reserved");
        }
        assert_eq!(self.world.bus.account().used(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..Default::default() })]

    #[test]
    fn the_bus_does_what_the_model_does(
        limits in prop::collection::vec((1..6u32, 20..120usize), SOCKS),
        bytes_max in 100..500usize,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut pair = Pair::new(&limits, bytes_max);
        for op in &ops {
            pair.run(op);
        }
        pair.finish();
    }
}
