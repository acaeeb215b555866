// SPDX-License-Identifier: GPL-2.0
//! Threads act at once, and one order of all operations explains what each of
//! them saw.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Barrier;

use kbus_selftests::history::check;
use kbus_selftests::history::Copy;
use kbus_selftests::history::Event;
use kbus_selftests::history::Role;
use kbus_selftests::history::What;
use kbus_selftests::process::Random;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

super::tests! { one_order_explains_all }

const THREADS: usize = 5;
const NAMES: [&str; 3] = ["$.H.A", "$.H.B", "$.H.C"];
const ROUNDS: u64 = 12;
const STEPS: usize = 250;

static CLOCK: AtomicU64 = AtomicU64::new(1);

fn now() -> u64 {
    CLOCK.fetch_add(1, SeqCst)
}

/// What one thread does with its socket, and remembers of it.
struct Actor {
    at: usize,
    sock: Sock,
    random: Random,
    listens: [bool; NAMES.len()],
    replies: [bool; NAMES.len()],
    owed: Vec<Msg>,
    cookie: u64,
    events: Vec<Event>,
}

impl Actor {
    /// Makes a call and records it, if `what` makes an event of its result.
    fn record<T>(&mut self, call: impl FnOnce(&Sock) -> T, what: impl FnOnce(&T) -> What) -> T {
        let start = now();
        let result = call(&self.sock);
        let end = now();
        self.events.push(Event {
            start,
            end,
            sock: self.at,
            what: what(&result),
        });
        result
    }

    fn announce(&mut self, name: usize) {
        let send = |sock: &Sock| {
            sock.send_to(NAMES[name], b"").unwrap();
            sock.last_sent()
        };
        self.record(send, |id| What::Announce(name, *id));
    }

    fn request(&mut self, name: usize) {
        self.cookie += 1;
        let cmsg = Cmsg::send(uapi::KBUS_REQUEST, 0, self.cookie);
        let send = |sock: &Sock| -> Res<u64> {
            sock.send_msg(&Out::to(NAMES[name], b"").with(cmsg))?;
            Ok(sock.last_sent())
        };
        self.record(send, |result| What::Request(name, result.map_err(|e| e.0)))
            .ok();
    }

    fn toggle_listening(&mut self, name: usize) {
        let text = NAMES[name];
        self.listens[name] ^= true;
        if !self.listens[name] {
            self.record(|s| s.unlisten(text).unwrap(), |()| What::Unlisten(name));
        } else {
            self.record(|s| s.listen(text).unwrap(), |()| What::Listen(name));
        }
    }

    fn toggle_replying(&mut self, name: usize) {
        let text = NAMES[name];
        if std::mem::take(&mut self.replies[name]) {
            self.record(|s| s.unreplier(text).unwrap(), |()| What::Unbind(name));
        } else {
            let bound = |result: &Res<()>| What::Bind(name, result.map_err(|e| e.0));
            self.replies[name] = self.record(|s| s.replier(text), bound).is_ok();
        }
    }

    fn answer(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let at = self.random.below(self.owed.len() as u64) as usize;
        let request = self.owed.swap_remove(at);
        let id = request.info.id;
        if self.random.below(5) == 0 {
            self.record(|s| s.ignore(id).unwrap(), |()| What::Ignore(id));
            return;
        }
        let name = index(request.name());
        let reply = |sock: &Sock| {
            sock.reply(&request, b"").unwrap();
            sock.last_sent()
        };
        self.record(reply, |reply| What::Reply(name, id, *reply));
    }

    /// Reads one message; false when there was none.
    fn read(&mut self) -> bool {
        let start = now();
        let message = self.sock.recv();
        let end = now();
        let what = match &message {
            Ok(message) => What::Read(Copy {
                id: message.info.id,
                role: role(message),
            }),
            Err(errno) => {
                assert_eq!(errno.0, libc::EAGAIN);
                What::Empty
            }
        };
        self.events.push(Event {
            start,
            end,
            sock: self.at,
            what,
        });
        let Ok(message) = message else {
            return false;
        };
        assert_eq!(message.info.lost, 0, "the queues are large enough");
        if message.must_reply() {
            self.owed.push(message);
        }
        true
    }

    fn step(&mut self) {
        let name = self.random.below(NAMES.len() as u64) as usize;
        match self.random.below(20) {
            0..=1 => self.toggle_listening(name),
            2..=3 => self.toggle_replying(name),
            4..=6 => self.announce(name),
            7..=10 => self.request(name),
            11..=13 => self.answer(),
            _ => drop(self.read()),
        }
    }
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|n| *n == name).unwrap()
}

/// Only its requester sees a request's cookie again.
fn role(message: &Msg) -> Role {
    let info = &message.info;
    if message.is(uapi::KBUS_STATUS) {
        Role::Status(info.in_reply_to, info.error)
    } else if message.must_reply() {
        Role::Replier
    } else if message.is(uapi::KBUS_REPLY) && info.cookie != 0 {
        Role::Reply(info.in_reply_to)
    } else {
        Role::Listener(index(message.name()))
    }
}

fn round(seed: u64) -> Vec<Event> {
    let bus = fresh_bus();
    let barrier = Barrier::new(THREADS);
    let act = |at: usize| {
        let sock = Sock::on(&bus);
        sock.set_queue_len(16384);
        let mut actor = Actor {
            at,
            sock,
            random: Random::new(seed * THREADS as u64 + at as u64 + 1),
            listens: Default::default(),
            replies: Default::default(),
            owed: Vec::new(),
            cookie: 0,
            events: Vec::new(),
        };
        barrier.wait();
        (0..STEPS).for_each(|_| actor.step());
        barrier.wait();
        // Nobody asks any more: settle all that is owed, then read all that has come.
        for name in 0..NAMES.len() {
            if actor.replies[name] {
                actor.toggle_replying(name);
            }
        }
        barrier.wait();
        while actor.read() {}
        while !actor.owed.is_empty() {
            actor.answer();
        }
        barrier.wait();
        while actor.read() {}
        actor.events
    };
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = (0..THREADS)
            .map(|at| scope.spawn(move || act(at)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Threads bind, unbind, announce, ask, answer and read at once: one order of all operations, which
/// agrees with the clock, explains every queue, and every request ends exactly once.
fn one_order_explains_all() {
    let mut kinds: HashMap<std::mem::Discriminant<What>, usize> = HashMap::new();
    for seed in 0..ROUNDS {
        let events = round(seed);
        if let Err(why) = check(&events) {
            let mut events = events;
            events.sort_by_key(|event| event.start);
            events.iter().for_each(|event| eprintln!("{event:?}"));
            panic!("seed {seed}: {why}");
        }
        for event in &events {
            *kinds
                .entry(std::mem::discriminant(&event.what))
                .or_default() += 1;
        }
    }
    assert!(kinds.len() >= 9, "every kind of operation has been tried");
}
