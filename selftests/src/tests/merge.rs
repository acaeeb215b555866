// SPDX-License-Identifier: GPL-2.0
//! Readers of several buses, who see all of them in the one order.
//!
//! The recipe is that of `docs/ordering.md`. `N=` sets how many messages are sent in all.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Random;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::full_listener;
use super::number;

super::tests! {
    readers_of_many_buses_agree_on_one_order an_idle_bus_holds_nothing_up
    a_send_that_waits_holds_nothing_up an_earlier_message_of_another_bus_goes_first
    urgent_ones_come_at_once_and_the_rest_in_order gaps_have_their_place
    example_in_c_shows_the_order example_in_c_explains_itself
}

const WAIT: u32 = uapi::KBUS_ALL_OR_WAIT;

/// A bus, and the one message of it that has been read and not yet delivered.
struct Source {
    sock: Sock,
    held: Option<Msg>,
    /// Everything with an id up to this has been read, if nothing is held.
    complete: u64,
}

/// What is said on several buses, in the order in which it was said.
struct Merge {
    sources: Vec<Source>,
    urgent: VecDeque<Msg>,
    reads: u64,
    syncs: u64,
}

impl Merge {
    fn new(socks: impl IntoIterator<Item = Sock>) -> Merge {
        let source = |sock| Source {
            sock,
            held: None,
            complete: 0,
        };
        let mut merge = Merge {
            sources: socks.into_iter().map(source).collect(),
            urgent: VecDeque::new(),
            reads: 0,
            syncs: 0,
        };
        let domain = |sock: &Sock| sock.bus_info().unwrap().domain;
        let first = domain(&merge.sources[0].sock);
        assert!(merge.sources.iter().all(|s| domain(&s.sock) == first));
        merge.fill_all();
        merge
    }

    fn fill_all(&mut self) {
        (0..self.sources.len()).for_each(|at| self.fill(at));
    }

    /// Takes the next message in hand, unless there is one or none comes now.
    fn fill(&mut self, at: usize) {
        let source = &mut self.sources[at];
        while source.held.is_none() {
            self.reads += 1;
            let small = RecvOptions {
                room: 64,
                control: 256,
                ..RecvOptions::default()
            };
            match source.sock.recv_with(small) {
                Ok(msg) if msg.is(uapi::KBUS_URGENT) => self.urgent.push_back(msg),
                Ok(msg) => source.held = Some(msg),
                Err(errno) => {
                    assert_eq!(errno.0, libc::EAGAIN);
                    return;
                }
            }
        }
    }

    fn earliest(&self) -> Option<(usize, u64)> {
        let heads = self.sources.iter().enumerate();
        heads
            .filter_map(|(at, source)| Some((at, source.held.as_ref()?.info.id)))
            .min_by_key(|(_, id)| *id)
    }

    /// The next message, and nothing if there is none now; never waits.
    fn try_next(&mut self) -> Option<Msg> {
        if self.earliest().is_none() {
            self.fill_all();
        }
        if let Some((_, id)) = self.earliest() {
            for at in 0..self.sources.len() {
                let source = &self.sources[at];
                if source.held.is_none() && source.complete < id {
                    let sync = source.sock.sync();
                    assert!(sync >= id, "{id} was received, and {sync} is the last id");
                    self.syncs += 1;
                    self.fill(at);
                    self.sources[at].complete = sync;
                }
            }
        }
        if let Some(urgent) = self.urgent.pop_front() {
            return Some(urgent);
        }
        let (at, _) = self.earliest()?;
        let next = self.sources[at].held.take();
        self.fill(at);
        next
    }

    /// The next message; waits if there is none.
    fn next(&mut self) -> Msg {
        loop {
            match self.try_next() {
                Some(msg) => return msg,
                None => Sock::poll_any(self.sources.iter().map(|source| &source.sock)),
            }
        }
    }

    /// The payloads of all that is there.
    fn all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.try_next())
            .map(|msg| String::from_utf8(msg.data).unwrap())
            .collect()
    }
}

const BUSES: usize = 8;
const SENDERS: u64 = 8;
/// Messages of the ordinary run.
const ORDINARY: u64 = 4_000;
const NAMES: [&str; 3] = ["$.M.A", "$.M.B", "$.M.C"];
const END: &str = "$.End";

/// What a reader listens to, and where.
struct Part {
    buses: &'static [usize],
    patterns: &'static [&'static str],
    /// Which of [`NAMES`] that makes.
    names: &'static [usize],
    once: bool,
}

/// No two readers see the same, and any two see something in common.
const READERS: [Part; 4] = [
    Part {
        buses: &[0, 1, 2, 3, 4, 5, 6, 7],
        patterns: &["$.*"],
        names: &[0, 1, 2],
        once: false,
    },
    Part {
        buses: &[0, 1, 2, 3, 4],
        patterns: &["$.M.A", "$.M.B", END],
        names: &[0, 1],
        once: false,
    },
    Part {
        buses: &[2, 3, 4, 5, 6],
        patterns: &["$.M.B", "$.M.%", "$.*"],
        names: &[0, 1, 2],
        once: true,
    },
    Part {
        buses: &[7, 5, 3, 1, 0],
        patterns: &["$.M.C", "$.M.B", END],
        names: &[1, 2],
        once: false,
    },
];

impl Part {
    fn has(&self, (bus, name): (usize, usize)) -> bool {
        self.buses.contains(&bus) && self.names.contains(&name)
    }
}

/// Bus and name of each message that a sender sends.
fn letters(sender: u64, count: u64) -> impl Iterator<Item = (usize, usize)> {
    let mut random = Random::new(sender + 1);
    (0..count).map(move |_| {
        let bus = random.below(BUSES as u64) as usize;
        (bus, random.below(NAMES.len() as u64) as usize)
    })
}

/// Goes from bus to bus, and says the number of each of its messages in it.
fn send_all(buses: &[String], sender: u64, count: u64) {
    let socks: Vec<Sock> = buses.iter().map(|bus| Sock::on(bus)).collect();
    for sock in &socks {
        sock.set_u32(uapi::KBUS_SEND_FLAGS, WAIT).unwrap();
    }
    for (n, (bus, name)) in letters(sender, count).enumerate() {
        let number = ((sender << 32) | n as u64).to_ne_bytes();
        socks[bus].send_to(NAMES[name], &number).unwrap();
    }
    for sock in &socks {
        sock.send_to(END, b"").unwrap();
    }
}

/// What one reader saw: the numbers in the messages, in the order of delivery.
struct Seen {
    numbers: Vec<u64>,
    reads: u64,
    syncs: u64,
}

/// Reads until every sender has said the end on every bus of this part, and insists that ids ascend
/// and that each sender's messages are in the order in which it sent them, over all buses.
fn read_all(buses: &[String], part: &Part, ready: &Barrier) -> Seen {
    let mut merge = Merge::new(part.buses.iter().map(|bus| {
        let sock = Sock::on(&buses[*bus]);
        if part.once {
            sock.turn_on(uapi::KBUS_ONCE);
        }
        for pattern in part.patterns {
            sock.listen(pattern).unwrap();
        }
        sock
    }));
    ready.wait();
    let mut numbers = Vec::new();
    let mut ends = part.buses.len() * SENDERS as usize;
    let mut last = 0;
    let mut last_of = [-1; SENDERS as usize];
    while ends > 0 {
        let msg = merge.next();
        let id = msg.info.id;
        assert!(id > last, "{id} was delivered after {last}");
        assert_eq!(msg.info.lost, 0);
        last = id;
        if msg.name() == END {
            ends -= 1;
            continue;
        }
        let number = u64::from_ne_bytes(msg.data.try_into().unwrap());
        let (sender, n) = ((number >> 32) as usize, number as u32 as i64);
        assert!(n > last_of[sender], "{sender} sent {n} before that");
        last_of[sender] = n;
        numbers.push(number);
    }
    assert!(merge.try_next().is_none());
    Seen {
        numbers,
        reads: merge.reads,
        syncs: merge.syncs,
    }
}

/// Eight processes send over eight buses; of four readers each sees other buses and names. In what
/// each of them delivers the ids ascend, nothing is missing, and any two agree on the order of what
/// both saw.
fn readers_of_many_buses_agree_on_one_order() {
    let wanted = number("N").unwrap_or(ORDINARY);
    let each = wanted / SENDERS;
    let buses: Vec<String> = (0..BUSES).map(|_| fresh_bus()).collect();
    let go = Gate::new();
    let senders: Vec<Child> = (0..SENDERS)
        .map(|sender| {
            Child::fork(|| {
                go.pass();
                send_all(&buses, sender, each);
            })
        })
        .collect();
    let ready = Barrier::new(READERS.len() + 1);
    let (seen, took) = thread::scope(|scope| {
        let threads = READERS.each_ref().map(|part| {
            let (buses, ready) = (&buses, &ready);
            scope.spawn(move || read_all(buses, part, ready))
        });
        ready.wait();
        let start = Instant::now();
        (0..SENDERS).for_each(|_| go.open(0));
        let seen = threads.map(|thread| thread.join().unwrap());
        (seen, start.elapsed())
    });
    senders.into_iter().for_each(Child::join);

    for (part, seen) in READERS.iter().zip(&seen) {
        let due = |sender| letters(sender, each).filter(|l| part.has(*l)).count();
        let due: usize = (0..SENDERS).map(due).sum();
        assert_eq!(seen.numbers.len(), due);
    }
    for (a, first) in seen.iter().enumerate() {
        for (b, second) in seen.iter().enumerate().skip(a + 1) {
            let common = agree(&first.numbers, &second.numbers);
            let both = |l: &(usize, usize)| READERS[a].has(*l) && READERS[b].has(*l);
            let due = |sender| letters(sender, each).filter(both).count();
            assert_eq!(common, (0..SENDERS).map(due).sum());
        }
    }
    let sum = |what: fn(&Seen) -> u64| seen.iter().map(what).sum::<u64>();
    eprintln!(
        "# {} messages in {:.1} s; delivered {}, reads {}, KBUS_SYNC asked {} times",
        each * SENDERS,
        took.as_secs_f64(),
        sum(|seen| seen.numbers.len() as u64),
        sum(|seen| seen.reads),
        sum(|seen| seen.syncs)
    );
}

/// Insists that two readers agree on the order of what both saw; returns how much that is.
fn agree(first: &[u64], second: &[u64]) -> usize {
    let common = |these: &[u64], those: &[u64]| -> Vec<u64> {
        let those: HashSet<u64> = those.iter().copied().collect();
        let both = these.iter().filter(|number| those.contains(number));
        both.copied().collect()
    };
    let (these, those) = (common(first, second), common(second, first));
    assert!(these == those, "two readers saw different orders");
    these.len()
}

/// A listener to all names of each bus, merged.
fn merged(buses: &[String]) -> Merge {
    Merge::new(buses.iter().map(|bus| {
        let sock = Sock::on(bus);
        sock.listen("$.*").unwrap();
        sock
    }))
}

/// What is said on one bus is delivered at once, though the others are silent.
fn an_idle_bus_holds_nothing_up() {
    let buses: Vec<String> = (0..3).map(|_| fresh_bus()).collect();
    let sender = Sock::on(&buses[1]);
    let mut merge = merged(&buses);
    for n in 0..20 {
        sender.send_to("$.A", &[n]).unwrap();
        let msg = merge.try_next().expect("nothing to wait for");
        assert_eq!(msg.data, [n]);
        assert!(merge.try_next().is_none());
    }
    assert_eq!(merge.syncs, 40, "two other buses were asked each time");
    // Once is enough for all that was sent before.
    for n in 0..20 {
        sender.send_to("$.A", &[n]).unwrap();
    }
    assert_eq!(merge.all().len(), 20);
    assert_eq!(merge.syncs, 42);
}

/// A send that waits for room has no id yet: nobody waits for it.
fn a_send_that_waits_holds_nothing_up() {
    let buses = [fresh_bus(), fresh_bus()];
    let full = full_listener(&buses[0], "$.A");
    let sender = Sock::on(&buses[1]);
    let mut merge = merged(&buses);
    let waits = Blocked::in_call(|| Sock::on(&buses[0]).send_with("$.A", b"waited", WAIT));
    sender.send_to("$.A", b"1").unwrap();
    assert_eq!(merge.all(), ["1"]);
    sender.send_to("$.A", b"2").unwrap();
    full.recv().unwrap();
    waits.result().unwrap();
    sender.send_to("$.A", b"3").unwrap();
    assert_eq!(merge.all(), ["2", "waited", "3"]);
}

/// Of heads that wait the one that was sent first goes first, wherever it was sent.
fn an_earlier_message_of_another_bus_goes_first() {
    let buses: Vec<String> = (0..3).map(|_| fresh_bus()).collect();
    let mut merge = merged(&buses);
    let senders: Vec<Sock> = buses.iter().map(|bus| Sock::on(bus)).collect();
    let order = [2, 0, 0, 1, 2, 1, 1, 0, 2];
    for (n, bus) in order.into_iter().enumerate() {
        senders[bus]
            .send_to("$.A", n.to_string().as_bytes())
            .unwrap();
    }
    assert_eq!(merge.all(), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    // Nor may it be overlooked that one came after its bus was seen to be empty.
    let send = |bus: usize, text: &str| senders[bus].send_to("$.A", text.as_bytes()).unwrap();
    send(0, "9");
    send(0, "10");
    assert_eq!(merge.try_next().unwrap().data, b"9");
    send(1, "11");
    send(0, "12");
    send(2, "13");
    assert_eq!(merge.all(), ["10", "11", "12", "13"]);
}

/// Urgent messages are delivered when they are met; the others keep their order.
fn urgent_ones_come_at_once_and_the_rest_in_order() {
    let buses = [fresh_bus(), fresh_bus()];
    let mut merge = merged(&buses);
    let [a, b] = buses.each_ref().map(|bus| Sock::on(bus));
    a.send_to("$.A", b"1").unwrap();
    b.send_to("$.A", b"2").unwrap();
    a.send_to("$.A", b"3").unwrap();
    b.send_with("$.A", b"urgent", uapi::KBUS_URGENT).unwrap();
    a.send_with("$.A", b"more urgent", uapi::KBUS_URGENT)
        .unwrap();
    b.send_to("$.A", b"4").unwrap();
    assert_eq!(
        merge.all(),
        ["more urgent", "urgent", "1", "2", "3", "4"],
        "an urgent id is late, and holds up none of the others"
    );
}

/// What says that messages were missed has its place in the order too.
fn gaps_have_their_place() {
    let buses = [fresh_bus(), fresh_bus()];
    let [a, b] = buses.each_ref().map(|bus| Sock::on(bus));
    let mut merge = Merge::new(buses.each_ref().map(|bus| {
        let sock = Sock::on(bus);
        sock.set_queue_len(2);
        sock.turn_on(uapi::KBUS_REPORT_LOST);
        sock.listen("$.*").unwrap();
        sock
    }));
    b.send_to("$.A", b"0").unwrap();
    // The first two fit, three are missed.
    for n in 1..=5 {
        a.send_to("$.A", n.to_string().as_bytes()).unwrap();
    }
    b.send_to("$.A", b"6").unwrap();
    let mut last = 0;
    let seen: Vec<(String, u32)> = std::iter::from_fn(|| merge.try_next())
        .map(|msg| {
            assert!(msg.info.id > last);
            last = msg.info.id;
            (String::from_utf8(msg.data).unwrap(), msg.info.lost)
        })
        .collect();
    let expected = [("0", 0), ("1", 0), ("2", 0), ("", 3), ("6", 0)];
    assert_eq!(seen, expected.map(|(text, lost)| (text.to_string(), lost)));
}

const EXAMPLE: &str = "/demo/merge";

/// What the C example prints is in the order in which it was sent, whatever the bus: a service asks
/// on one bus before it answers on another.
fn example_in_c_shows_the_order() {
    let buses: Vec<String> = (0..3).map(|_| fresh_bus()).collect();
    let socks: Vec<Sock> = buses.iter().map(|bus| Sock::on(bus)).collect();
    let mut example = Command::new(EXAMPLE)
        .args(&buses)
        .stdout(Stdio::piped())
        .spawn()
        .expect(EXAMPLE);
    while socks.iter().any(|s| s.bus_info().unwrap().bindings == 0) {
        process::sleep_ms(1);
    }
    let (asker, service) = (Sock::on(&buses[0]), Sock::on(&buses[0]));
    service.replier("$.Ask").unwrap();
    let mut random = Random::new(1);
    let mut lines = BufReader::new(example.stdout.take().unwrap()).lines();
    let mut last = 0;
    // In bursts, so that nothing is lost while it prints.
    for _ in 0..20 {
        let mut expected = Vec::new();
        for n in 0..100 {
            let bus = random.below(3) as usize;
            let data = format!("news {n}");
            socks[bus].send_to("$.News", data.as_bytes()).unwrap();
            expected.push((buses[bus].clone(), "announcement", data));
            if n % 10 == 0 {
                asker.request("$.Ask", b"what?").unwrap();
                let request = service.recv().unwrap();
                socks[1].send_to("$.Aside", b"hm").unwrap();
                service.reply(&request, b"that").unwrap();
                asker.recv().unwrap();
                expected.push((buses[0].clone(), "request", "what?".to_string()));
                expected.push((buses[1].clone(), "announcement", "hm".to_string()));
                expected.push((buses[0].clone(), "reply", "that".to_string()));
            }
        }
        for (bus, kind, data) in expected {
            let line = lines.next().unwrap().unwrap();
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let id: u64 = words[0].parse().unwrap();
            assert!(id > last, "{line} after {last}");
            last = id;
            assert_eq!((words[1], words[2]), (&bus[..], kind), "{line}");
            assert_eq!(words[4], format!("\"{data}\""));
        }
    }
    // Nothing is urgent any more when this one comes.
    socks[2]
        .send_with("$.News", &[b'x'; 100], uapi::KBUS_URGENT)
        .unwrap();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains(" urgent announcement $.News@"), "{line}");
    assert!(line.ends_with("x\" and 36 bytes more"), "{line}");
    example.kill().unwrap();
    example.wait().unwrap();
}

/// It says how it is used, and what is wrong.
fn example_in_c_explains_itself() {
    let run = |args: &[&str]| {
        let out = Command::new(EXAMPLE).args(args).output().expect(EXAMPLE);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, &err[..]), (Some(0), ""));
    assert!(out.starts_with("usage: merge BUS...\n"), "{out}");
    let (code, out, err) = run(&[]);
    assert_eq!((code, &out[..]), (Some(2), ""));
    assert!(err.starts_with("usage: "), "{err}");
    let (code, _, err) = run(&[&"x".repeat(108)]);
    assert_eq!(code, Some(2));
    assert!(err.contains("a name of 1 to 107 bytes"), "{err}");
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u32(uapi::KBUS_BUS_MODE, 0).unwrap();
    let child = Child::fork(|| {
        process::become_user(1234, 1234);
        let (code, _, err) = run(&[&bus]);
        assert_eq!(code, Some(1));
        assert!(
            err.contains("cannot join the bus: Permission denied"),
            "{err}"
        );
    });
    child.join();
}
