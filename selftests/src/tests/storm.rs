// SPDX-License-Identifier: GPL-2.0
//! Many processes on several buses do all there is to do, and are killed at random.
//!
//! `N=` sets for how many seconds, with all of them; the ordinary run is short and has fewer.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use kbus_selftests::cgroup;
use kbus_selftests::cgroup::Group;
use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Random;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::number;
use super::silent;

super::tests! { all_is_as_before_after_a_storm }

const BUSES: usize = 4;
/// Seconds of the ordinary run.
const ORDINARY: u64 = 3;
/// How long answers may take when nobody asks any more, on a kernel that is not slow.
const PATIENCE: Duration = Duration::from_secs(20);
const IN_FLIGHT: usize = 16;
const EVENT: &str = "$.KBUS.ReplierBindEvent";
/// Bytes by which the kernel's memory may differ although nothing is left: what is counted late.
const GROUP_SLACK: i64 = 128 * 1024;
/// The same of the whole machine, where others are at work too.
const SLAB_SLACK: i64 = 512 * 1024;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Is the replier for a name.
    Serve,
    /// Asks, and is never killed.
    Ask,
    /// Asks until it is killed.
    AskInVain,
    /// Announces.
    Announce,
    /// Listens here and there, slowly.
    Listen,
    /// Is told who becomes a replier.
    Watch,
}

/// How many there are of each on a bus: in the ordinary run, and in the long one, which makes
/// 64 in all.
const CREW: [(Role, [u64; 2]); 6] = [
    (Role::Serve, [2, 4]),
    (Role::Ask, [1, 3]),
    (Role::AskInVain, [1, 2]),
    (Role::Announce, [1, 3]),
    (Role::Listen, [1, 3]),
    (Role::Watch, [1, 1]),
];

/// What all processes of a storm share.
struct Storm {
    buses: Vec<String>,
    services: u64,
    group: Group,
    until: Instant,
    /// A requester has all of its answers; it says how many.
    answered: Gate,
    /// All services are dead.
    over: Gate,
}

/// One process of many.
#[derive(Clone, Copy, Debug)]
struct Post {
    bus: usize,
    role: Role,
    nth: u64,
}

impl Storm {
    fn start(&self, post: Post, seed: u64) -> Child {
        Child::fork(|| {
            self.group.enter();
            // Who kills them must get his turn.
            process::be_nice();
            let mut actor = Actor {
                storm: self,
                bus: &self.buses[post.bus],
                random: Random::new(seed),
            };
            match post.role {
                Role::Serve => actor.serve(post.nth),
                Role::Ask => actor.ask(),
                Role::AskInVain => actor.ask_in_vain(),
                Role::Announce => actor.announce(),
                Role::Listen => actor.listen(),
                Role::Watch => actor.watch(),
            }
        })
    }
}

/// A socket whose messages must come in the order of their ids, urgent ones aside.
struct Reader {
    sock: Sock,
    last: u64,
}

impl Reader {
    fn on(bus: &str) -> Reader {
        Reader {
            sock: Sock::on(bus),
            last: 0,
        }
    }

    fn read(&mut self, flags: i32) -> Res<Msg> {
        let options = RecvOptions {
            room: 8192,
            control: 512,
            flags,
        };
        let msg = self.sock.recv_with(options)?;
        if !msg.is(uapi::KBUS_URGENT) {
            // Of one message there may be several copies.
            assert!(msg.info.id >= self.last, "{msg:?} after {}", self.last);
            self.last = msg.info.id;
        }
        Ok(msg)
    }
}

/// A request that waits for its answer.
type Open = HashMap<u64, u64>;

struct Actor<'a> {
    storm: &'a Storm,
    bus: &'a str,
    random: Random,
}

impl Actor<'_> {
    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn service(nth: u64) -> String {
        format!("$.Storm.S{nth}")
    }

    fn payload(&mut self) -> Vec<u8> {
        vec![7; self.random.below(3000) as usize]
    }

    /// Any flags of a send but that of a request.
    fn flags(&mut self) -> u32 {
        let waits = match self.random.below(4) {
            0 => uapi::KBUS_ALL_OR_WAIT,
            1 => uapi::KBUS_ALL_OR_FAIL,
            _ => 0,
        };
        let urgent = if self.one_in(8) { uapi::KBUS_URGENT } else { 0 };
        waits | urgent
    }

    /// Answers in every way there is, and sometimes never.
    fn serve(&mut self, nth: u64) {
        let name = Self::service(nth);
        loop {
            let mut reader = Reader::on(self.bus);
            reader
                .sock
                .replier(&name)
                .expect("its predecessor is closed");
            let mut owed: Vec<Msg> = Vec::new();
            while !self.one_in(200) {
                let request = reader.read(0).unwrap();
                assert!(request.must_reply());
                match self.random.below(20) {
                    0..=3 => owed.push(request),
                    4 => reader.sock.ignore(request.info.id).unwrap(),
                    5 => {
                        reader.sock.unreplier(&name).unwrap();
                        reader.sock.replier(&name).unwrap();
                        self.answer(&reader.sock, &request);
                    }
                    _ => self.answer(&reader.sock, &request),
                }
                if owed.len() > 2 {
                    let late = owed.swap_remove(self.random.below(3) as usize);
                    self.answer(&reader.sock, &late);
                }
            }
        }
    }

    /// Replies, unless the requester was killed meanwhile.
    fn answer(&mut self, sock: &Sock, request: &Msg) {
        let urgent = if self.one_in(8) { libc::MSG_OOB } else { 0 };
        let data = self.payload();
        match sock.send_raw(&request.raw_from, &data, urgent) {
            Ok(_) => (),
            Err(errno) => assert_eq!(errno.0, libc::EADDRNOTAVAIL, "reply"),
        }
    }

    /// Sends a request to some service, if that can be done now.
    fn request(&mut self, sock: &Sock, cookie: u64) -> Option<u64> {
        let name = Self::service(self.random.below(self.storm.services));
        let flags = uapi::KBUS_REQUEST | self.flags();
        let out = Out::to(&name, &self.payload()).with(Cmsg::send(flags, 0, cookie));
        match sock.send_msg(&out) {
            Ok(_) => Some(sock.last_sent()),
            // Between two lives of a service, or somebody is too busy.
            Err(errno) if [libc::EADDRNOTAVAIL, libc::EBUSY].contains(&errno.0) => None,
            Err(errno) => panic!("request: {errno}"),
        }
    }

    /// Takes one answer, which must be to an open request.
    fn settle(reader: &mut Reader, open: &mut Open) {
        let msg = reader.read(0).unwrap();
        assert!(msg.info.flags & (uapi::KBUS_REPLY | uapi::KBUS_STATUS) != 0);
        let cookie = open.remove(&msg.info.in_reply_to);
        assert_eq!(cookie, Some(msg.info.cookie), "unexpected: {msg:?}");
    }

    /// Asks until the time is over and insists on one answer to each request.
    fn ask(&mut self) {
        let mut reader = Reader::on(self.bus);
        let mut open = Open::new();
        let mut sent = 0;
        while Instant::now() < self.storm.until {
            match self.request(&reader.sock, sent) {
                Some(id) => {
                    assert!(open.insert(id, sent).is_none(), "an id was used twice");
                    sent += 1;
                }
                None => process::sleep_ms(1),
            }
            while open.len() > IN_FLIGHT || (!open.is_empty() && reader.sock.unread() > 0) {
                Self::settle(&mut reader, &mut open);
            }
        }
        while !open.is_empty() {
            Self::settle(&mut reader, &mut open);
        }
        self.storm.answered.open(sent);
        self.storm.over.pass();
        silent!(reader.sock);
    }

    fn ask_in_vain(&mut self) {
        let mut reader = Reader::on(self.bus);
        let mut open = Open::new();
        loop {
            match self.request(&reader.sock, 0) {
                Some(id) => drop(open.insert(id, 0)),
                None => process::sleep_ms(1),
            }
            while open.len() > 2 * IN_FLIGHT {
                Self::settle(&mut reader, &mut open);
            }
        }
    }

    fn announce(&mut self) {
        let sock = Sock::on(self.bus);
        loop {
            let name = match self.random.below(4) {
                0 => "$.Storm.News.A",
                1 => "$.Storm.News.B.C",
                2 => "$.Storm.S0",
                _ => "$.Storm.Nobody",
            };
            let out = Out::to(name, &self.payload()).with(Cmsg::send(self.flags(), 0, 0));
            match sock.send_msg(&out) {
                Ok(_) => (),
                Err(errno) => assert_eq!(errno.0, libc::EBUSY, "announcement"),
            }
            if self.one_in(4) {
                process::sleep_ms(self.random.below(4));
            }
        }
    }

    fn pattern(&mut self) -> &'static str {
        [
            "$.*",
            "$.Storm.%",
            "$.Storm.News.*",
            "$.Storm.News.A",
            "$.Storm.S1",
            "$.Nowhere.*",
        ][self.random.below(6) as usize]
    }

    /// Comes, with whatever settings, binds and unbinds, reads now and then, and goes.
    fn listen(&mut self) {
        loop {
            let mut reader = Reader::on(self.bus);
            reader.sock.set_queue_len(self.random.below(100) as u32 + 1);
            for option in [
                uapi::KBUS_ONCE,
                uapi::KBUS_LOSSY,
                uapi::KBUS_REPORT_LOST,
                uapi::KBUS_REPORT_BINDS,
            ] {
                if self.one_in(3) {
                    reader.sock.turn_on(option);
                }
            }
            let mut bound = Vec::new();
            while !self.one_in(50) {
                match self.random.below(4) {
                    0 if bound.len() < 4 => {
                        bound.push(self.pattern());
                        reader.sock.listen(bound[bound.len() - 1]).unwrap();
                    }
                    1 if !bound.is_empty() => {
                        let at = self.random.below(bound.len() as u64) as usize;
                        reader.sock.unlisten(bound.swap_remove(at)).unwrap();
                    }
                    _ => drop(reader.sock.poll(libc::POLLIN, 5)),
                }
                while reader.read(libc::MSG_DONTWAIT).is_ok() {}
            }
        }
    }

    fn watch(&mut self) {
        loop {
            let mut reader = Reader::on(self.bus);
            reader.sock.turn_on(uapi::KBUS_REPORT_BINDS);
            reader.sock.listen(EVENT).unwrap();
            while !self.one_in(100) {
                let msg = reader.read(0).unwrap();
                assert!(msg.name().starts_with("$.KBUS."), "{msg:?}");
            }
        }
    }
}

/// Ends a process, which must not have ended by itself.
fn end(mut child: Child, post: Post) {
    child.signal(libc::SIGKILL);
    let status = child.wait_raw();
    assert!(
        libc::WIFSIGNALED(status),
        "{post:?} ended with the status {status}"
    );
}

/// What a storm did.
struct Figures {
    processes: usize,
    killed: u64,
    answered: u64,
}

/// Lets all processes act and kills some of them until the time is over; then waits until those who
/// were spared have had their answers, while it goes on killing.
fn blow(storm: &Storm, size: usize) -> Figures {
    let mut posts = Vec::new();
    for bus in 0..BUSES {
        for (role, counts) in CREW {
            posts.extend((0..counts[size]).map(|nth| Post { bus, role, nth }));
        }
    }
    let mut random = Random::new(storm.services);
    let mut children: Vec<Option<Child>> = posts
        .iter()
        .enumerate()
        .map(|(n, post)| Some(storm.start(*post, n as u64)))
        .collect();
    let spared = posts.iter().filter(|p| p.role == Role::Ask).count();
    let (mut killed, mut answered, mut finished) = (0, 0, 0);
    while finished < spared {
        assert!(
            Instant::now() < storm.until + PATIENCE * process::slowness(),
            "{} of {spared} requesters still wait for answers",
            spared - finished
        );
        process::sleep_ms(random.below(10));
        let at = random.below(posts.len() as u64) as usize;
        if posts[at].role != Role::Ask {
            end(children[at].take().expect("each post is held"), posts[at]);
            killed += 1;
            children[at] = Some(storm.start(posts[at], 1000 + killed));
        }
        while storm.answered.is_open() {
            answered += storm.answered.pass();
            finished += 1;
        }
    }
    let children = posts.iter().zip(children.into_iter().flatten());
    let (spared, others): (Vec<_>, Vec<_>) = children.partition(|(p, _)| p.role == Role::Ask);
    others
        .into_iter()
        .for_each(|(post, child)| end(child, *post));
    spared.iter().for_each(|_| storm.over.open(0));
    spared.into_iter().for_each(|(_, child)| child.join());
    Figures {
        processes: posts.len(),
        killed,
        answered,
    }
}

/// What the group and the whole machine have of the kernel's memory.
fn memory(group: &Group) -> (i64, i64) {
    // Freed is freed only when all processors have passed by; the slower of the counters is
    // brought up to date every two seconds.
    for _ in 0..2 {
        cgroup::drop_caches();
        process::sleep_ms(1200);
    }
    (group.kernel_bytes() as i64, cgroup::slab_bytes() as i64)
}

/// Every requester that was not killed has had one answer to each request, ids ascended in every
/// queue, and nothing is left: no socket, no binding, no bytes on a bus, no memory in the kernel.
fn all_is_as_before_after_a_storm() {
    let long = number("N");
    let size = usize::from(long.is_some());
    let mut storm = Storm {
        buses: (0..BUSES).map(|_| fresh_bus()).collect(),
        services: CREW[0].1[size],
        group: Group::new("storm"),
        until: Instant::now() + Duration::from_secs(1),
        answered: Gate::new(),
        over: Gate::new(),
    };
    let keepers: Vec<Sock> = storm.buses.iter().map(|bus| Sock::on(bus)).collect();
    let calm = || {
        for keeper in &keepers {
            let info = keeper.bus_info().unwrap();
            assert_eq!((info.members, info.bindings, info.bytes), (1, 0, 0));
        }
    };
    // A first one, after which whatever grows once has grown.
    blow(&storm, size);
    calm();
    let before = memory(&storm.group);
    let seconds = long.unwrap_or(ORDINARY);
    storm.until = Instant::now() + Duration::from_secs(seconds);
    let figures = blow(&storm, size);
    calm();
    let after = memory(&storm.group);
    let sent = keepers[0].sync();
    eprintln!(
        "# {seconds} s, {} processes on {BUSES} buses, {} killed, {} requests of the others answered, last id {sent}",
        figures.processes, figures.killed, figures.answered
    );
    eprintln!(
        "# kernel memory of their cgroup: {} bytes before, {} after",
        before.0, after.0
    );
    eprintln!(
        "# unreclaimable slabs of the machine: {} bytes before, {} after",
        before.1, after.1
    );
    assert!(figures.killed > 0 && figures.answered > 0);
    assert!(after.0 - before.0 <= GROUP_SLACK, "the group has grown");
    assert!(after.1 - before.1 <= SLAB_SLACK, "the slabs have grown");
}
