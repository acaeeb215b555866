// SPDX-License-Identifier: GPL-2.0
//! Random programs on real sockets and on the model of `model/`: they must not
//! differ.
//!
//! `N=` sets how many steps there are in all, `SEED=` repeats a run.

use std::collections::HashMap;
use std::os::fd::AsRawFd;

use kbus_model::errno::EAGAIN;
use kbus_model::op;
use kbus_model::op::Kind;
use kbus_model::op::Setting;
use kbus_model::run::Seen;
use kbus_model::run::SeenBus;
use kbus_model::run::Step;
use kbus_model::run::Tally;
use kbus_model::Config;
use kbus_model::Done;
use kbus_model::Errno;
use kbus_model::Op;
use kbus_model::Outcome;
use kbus_model::Subject;
use kbus_selftests::process;
use kbus_selftests::process::scaled;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestCaseError;
use proptest::test_runner::TestError;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

use super::number;

super::tests! {
    sockets_do_what_the_model_does
}

/// The payload of every message.
const BYTE: u8 = 7;
const SLOTS: usize = 5;
/// Steps of the ordinary run.
const ORDINARY: u64 = 5_000;
/// A peer that there never was.
const NOBODY: u64 = 0x00ff_ffff_ffff;

struct Held {
    sock: Sock,
    bus: usize,
    /// A process that waits in a call on this socket.
    waits: Option<Blocked>,
}

/// Real sockets on real buses.
struct Sockets {
    names: Vec<String>,
    /// One socket of each bus that is not the program's: the bus stays, with
    /// its settings.
    keepers: Vec<Sock>,
    slots: Vec<Option<Held>>,
    /// The last id before the program.
    before: u64,
    /// Peer id of each key of the model, and the other way round.
    peers: HashMap<u64, u64>,
    keys: HashMap<u64, u64>,
}

fn done<T>(result: Res<T>, ok: impl FnOnce(T) -> Done) -> Done {
    match result {
        Ok(value) => ok(value),
        Err(errno) => Done::Err(errno.0),
    }
}

impl Sockets {
    fn new(config: &Config) -> Sockets {
        let names: Vec<String> = (0..config.buses).map(|_| fresh_bus()).collect();
        let keepers: Vec<Sock> = names.iter().map(|name| Sock::on(name)).collect();
        for keeper in &keepers {
            let bytes = config.bytes_max as u64;
            let set = keeper.set_u64(uapi::KBUS_BUS_BYTES, bytes);
            set.expect("KBUS_BUS_BYTES");
            let set = keeper.set_u32(uapi::KBUS_MAX_MSG_SIZE, config.max_msg as u32);
            set.expect("KBUS_MAX_MSG_SIZE");
        }
        Sockets {
            names,
            before: keepers[0].sync(),
            keepers,
            slots: (0..SLOTS).map(|_| None).collect(),
            peers: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    fn sock(&self, slot: usize) -> &Sock {
        &self.slots[slot].as_ref().expect("an open socket").sock
    }

    /// Closes, in a child, all sockets but one: what it has would keep them
    /// open.
    fn close_others(&self, slot: usize) {
        let others = self.slots.iter().enumerate().filter(|(at, _)| *at != slot);
        let others = others.filter_map(|(_, held)| Some(&held.as_ref()?.sock));
        for sock in others {
            // SAFETY: The child ends without using or dropping them.
            unsafe { libc::close(sock.as_raw_fd()) };
        }
    }

    /// Makes a call: in a process of its own if it is to wait.
    fn call(&mut self, step: &Step<'_>, call: impl FnOnce(&Sock) -> Res<u64>) -> Done {
        let slot = step.op.slot();
        if !step.waits {
            return done(call(self.sock(slot)), Done::Ok);
        }
        let interrupted = Gate::new();
        let blocked = Blocked::in_call(|| {
            self.close_others(slot);
            process::on_signal(libc::SIGUSR1, false, &interrupted);
            call(self.sock(slot))
        });
        let held = self.slots[slot].as_mut().expect("an open socket");
        held.waits = Some(blocked);
        Done::Waits
    }

    fn peer(&self, key: u64) -> u64 {
        self.peers.get(&key).copied().unwrap_or(NOBODY)
    }

    fn key(&self, peer: u64) -> u64 {
        match peer {
            0 => 0,
            peer => self.keys.get(&peer).copied().unwrap_or(peer),
        }
    }

    /// An id as the model counts them.
    fn id(&self, id: u64) -> u64 {
        id.saturating_sub(self.before)
    }

    fn seen(&self, msg: &Msg) -> kbus_model::Msg {
        let event = (msg.name() == kbus_model::name::BIND_EVENT).then(|| {
            let number = |at: usize, len: usize| {
                let mut bytes = [0; 8];
                bytes[..len].copy_from_slice(&msg.data[at..at + len]);
                u64::from_ne_bytes(bytes)
            };
            assert_eq!(number(12, 4) as usize, msg.data.len() - 16);
            let text = String::from_utf8(msg.data[16..].to_vec()).unwrap();
            (self.key(number(0, 8)), number(8, 4) == 1, text)
        });
        if event.is_none() {
            assert!(msg.data.iter().all(|byte| *byte == BYTE));
        }
        let info = &msg.info;
        // The address says the same as the ancillary data.
        let request = match msg.must_reply() {
            true => format!("#{:x}", info.id),
            false => String::new(),
        };
        let address = format!("{}@{:x}{request}", msg.name(), info.sender);
        assert_eq!(msg.from, address);
        assert_eq!(
            msg.flags & libc::MSG_OOB != 0,
            info.flags & uapi::KBUS_URGENT != 0
        );
        kbus_model::Msg {
            id: self.id(info.id),
            name: msg.name().to_string(),
            flags: info.flags,
            sender: self.key(info.sender),
            to: self.key(info.to),
            in_reply_to: self.id(info.in_reply_to),
            cookie: info.cookie,
            len: info.len as usize,
            lost: info.lost,
            error: info.error,
            event,
        }
    }

    fn set(&self, slot: usize, setting: Setting) -> Done {
        let sock = self.sock(slot);
        let set = match setting {
            Setting::QueueLen(len) => sock.set_u32(uapi::KBUS_QUEUE_LEN, len as u32),
            Setting::QueueBytes(bytes) => sock.set_socket(libc::SO_RCVBUF, bytes as i32),
            Setting::Once(on) => sock.set_u32(uapi::KBUS_ONCE, on.into()),
            Setting::Lossy(on) => sock.set_u32(uapi::KBUS_LOSSY, on.into()),
            Setting::ReportLost(on) => sock.set_u32(uapi::KBUS_REPORT_LOST, on.into()),
            Setting::ReportBinds(on) => sock.set_u32(uapi::KBUS_REPORT_BINDS, on.into()),
        };
        match set {
            Ok(()) => Done::Ok(0),
            Err(errno) => Done::Err(errno.0),
        }
    }

    fn open(&mut self, slot: usize, bus: usize, key: u64) {
        let sock = Sock::on(&self.names[bus]);
        // What waits although it should not must not wait for ever.
        sock.set_timeout(libc::SO_SNDTIMEO, 20_000);
        self.peers.insert(key, sock.peer_id());
        self.keys.insert(sock.peer_id(), key);
        let waits = None;
        self.slots[slot] = Some(Held { sock, bus, waits });
    }

    /// The socket's only process is killed; it is waited for, as a supervisor
    /// would.
    fn kill(&mut self, slot: usize) {
        let ready = Gate::new();
        let child = Child::fork(|| {
            self.close_others(slot);
            ready.open(0);
            process::park();
        });
        ready.pass();
        self.slots[slot] = None;
        child.kill();
    }

    fn step(&mut self, step: &Step<'_>) -> Done {
        let slot = step.op.slot();
        let ok = |()| Done::Ok(0);
        let none = |_| Ok(0);
        match step.op {
            Op::Open { bus, .. } => {
                self.open(slot, *bus, step.key);
                Done::Ok(0)
            }
            Op::Close { .. } => {
                self.slots[slot] = None;
                Done::Ok(0)
            }
            Op::Kill { .. } => {
                self.kill(slot);
                Done::Ok(0)
            }
            Op::ShutRead { .. } => done(self.sock(slot).shutdown(libc::SHUT_RD), ok),
            Op::ShutWrite { .. } => done(self.sock(slot).shutdown(libc::SHUT_WR), ok),
            Op::Listen { text, .. } => done(self.sock(slot).listen(text), ok),
            Op::Unlisten { text, .. } => done(self.sock(slot).unlisten(text), ok),
            Op::Bind { text, blocking, .. } => {
                let _flag = NonBlocking::new(self.sock(slot), !blocking);
                self.call(step, |sock| sock.replier(text).and_then(none))
            }
            Op::Unbind { text, blocking, .. } => {
                let _flag = NonBlocking::new(self.sock(slot), !blocking);
                self.call(step, |sock| sock.unreplier(text).and_then(none))
            }
            Op::Send {
                kind,
                all,
                urgent,
                blocking,
                ..
            } => {
                let send = step.send.as_ref().expect("what is sent");
                let address = match send.peer {
                    Some(key) => format!("{}@{:x}", send.name, self.peer(key)),
                    None => send.name.clone(),
                };
                let request = match kind {
                    Kind::Announce => 0,
                    _ => uapi::KBUS_REQUEST,
                };
                let urgent = if *urgent { uapi::KBUS_URGENT } else { 0 };
                let flags = all | request | urgent;
                let cmsg = Cmsg::send(flags, send.reply_max as u32, send.cookie);
                let out = Out::to(&address, &vec![BYTE; send.len]).with(cmsg);
                let out = out.flags(if *blocking { 0 } else { libc::MSG_DONTWAIT });
                let before = self.before;
                self.call(step, |sock| {
                    sock.send_msg(&out)?;
                    Ok(sock.last_sent() - before)
                })
            }
            Op::Reply { len, urgent, .. } => {
                let (key, id, name) = &step.debt;
                let name = name.as_deref().unwrap_or("$.");
                let address = format!("{name}@{:x}#{:x}", self.peer(*key), id + self.before);
                let flags = if *urgent { libc::MSG_OOB } else { 0 };
                let out = Out::to(&address, &vec![BYTE; *len]).flags(flags);
                let before = self.before;
                self.call(step, |sock| {
                    sock.send_msg(&out)?;
                    Ok(sock.last_sent() - before)
                })
            }
            Op::Ignore { .. } => done(self.sock(slot).ignore(step.debt.1 + self.before), ok),
            Op::Read { .. } => match self.sock(slot).recv() {
                Ok(msg) if msg.raw_from.is_empty() => Done::Read(None),
                Ok(msg) => Done::Read(Some(self.seen(&msg))),
                Err(errno) if errno.0 == EAGAIN => Done::Read(None),
                Err(errno) => Done::Err(errno.0),
            },
            Op::Set { setting, .. } => self.set(slot, *setting),
            Op::GiveUp { .. } => {
                let held = self.slots[slot].as_mut().expect("an open socket");
                let blocked = held.waits.take().expect("something that waits");
                blocked.signal(libc::SIGUSR1);
                match blocked.result() {
                    Err(errno) if errno.0 == libc::EINTR => Done::Err(EAGAIN),
                    other => done(other, Done::Ok),
                }
            }
            Op::WhoReplies { name, .. } => {
                let peer = self.sock(slot).who_replies(name);
                done(peer, |peer| Done::Ok(self.key(peer)))
            }
        }
    }
}

/// `O_NONBLOCK` for a while.
struct NonBlocking(Option<i32>);

impl NonBlocking {
    fn new(sock: &Sock, on: bool) -> NonBlocking {
        if on {
            sock.set_nonblocking();
        }
        NonBlocking(on.then(|| sock.as_raw_fd()))
    }
}

impl Drop for NonBlocking {
    fn drop(&mut self) {
        let mut off = 0;
        if let Some(fd) = self.0 {
            // SAFETY: `off` is a valid place for the argument.
            unsafe { libc::ioctl(fd, libc::FIONBIO, &mut off) };
        }
    }
}

impl Subject for Sockets {
    fn apply(&mut self, step: &Step<'_>) -> Outcome {
        let done = self.step(step);
        let mut ended: Vec<(usize, Result<u64, Errno>)> = vec![];
        for (slot, held) in self.slots.iter_mut().enumerate() {
            let Some(held) = held else {
                continue;
            };
            if held.waits.as_ref().is_some_and(Blocked::settles) {
                let result = held.waits.take().map(Blocked::result);
                ended.extend(result.map(|result| (slot, result.map_err(|errno| errno.0))));
            }
        }
        Outcome { done, ended }
    }

    fn look(&mut self, slot: usize) -> Seen {
        self.undisturbed(|this| this.look_now(slot))
    }

    /// Another send of the socket may have come after it.
    fn knows_ids_of_waits(&self) -> bool {
        false
    }

    /// As they are listed.
    fn order_of_repliers(&mut self, slot: usize) -> Vec<String> {
        let peer = format!("{:x}", self.sock(slot).peer_id());
        let all = std::fs::read_to_string("/proc/self/net/kbus_bindings");
        let all = all.expect("/proc/net/kbus_bindings");
        let lines = all
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mine = lines.filter_map(|columns| match columns[..] {
            [_, of, _, _, "R", name, ..] if of == peer => Some(name.to_string()),
            _ => None,
        });
        mine.collect()
    }

    fn look_at_bus(&mut self, bus: usize) -> SeenBus {
        self.undisturbed(|this| this.look_at_bus_now(bus))
    }
}

impl Sockets {
    /// Looks at something while nobody tries again who waits: a try takes bytes, and gives them back if it is in vain.
    fn undisturbed<R>(&self, look: impl Fn(&Self) -> R) -> R {
        let sleeps = || -> Vec<_> {
            let waits = self.slots.iter().flatten().flat_map(|held| &held.waits);
            waits.map(Blocked::sleeps).collect()
        };
        loop {
            let before = sleeps();
            let seen = look(self);
            if before == sleeps() {
                return seen;
            }
        }
    }

    fn look_now(&self, slot: usize) -> Seen {
        let sock = self.sock(slot);
        let fdinfo = format!("/proc/self/fdinfo/{}", sock.as_raw_fd());
        let fdinfo = std::fs::read_to_string(fdinfo).expect("fdinfo");
        let number = |key: &str| -> usize {
            let mut lines = fdinfo.lines().filter_map(|line| line.split_once(":\t"));
            let value = lines.find(|(name, _)| *name == key).map(|(_, value)| value);
            value.expect("a line of fdinfo").parse().expect("a number")
        };
        let events = sock.poll(
            libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDHUP,
            0,
        );
        let readable = sock.next_len() >= 0;
        let shut = events & libc::POLLRDHUP != 0;
        assert_eq!(events & libc::POLLIN != 0, readable || shut);
        let (unread, owed) = (sock.unread() as usize, sock.unreplied() as usize);
        assert_eq!((number("kbus-unread"), number("kbus-owed")), (unread, owed));
        Seen {
            unread,
            bytes: number("kbus-bytes"),
            reserved: number("kbus-reserved"),
            owed,
            lost: sock.lost(),
            readable,
            urgent: events & libc::POLLPRI != 0,
            writable: events & libc::POLLOUT != 0,
        }
    }

    fn look_at_bus_now(&self, bus: usize) -> SeenBus {
        let info = self.keepers[bus].bus_info().expect("KBUS_BUS_INFO");
        let open = self.slots.iter().flatten().filter(|held| held.bus == bus);
        assert_eq!(info.members as usize, open.count() + 1);
        SeenBus {
            used: info.bytes as usize,
            members: info.members as usize - 1,
            bindings: info.bindings as usize,
        }
    }
}

/// Many sockets on two buses, with small queues and processes that die: every
/// call comes to what the model says, and so does all that can be seen after
/// it.
fn sockets_do_what_the_model_does() {
    let ordinary = scaled(ORDINARY);
    let wanted = number("N").unwrap_or(ordinary);
    let seed = number("SEED").unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        now.as_nanos() as u64
    });
    process::new_netns();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config_of_runs = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Default::default()
    };
    let mut runner = TestRunner::new_with_rng(config_of_runs, rng);
    let bytes = prop_oneof![3 => 200..1000usize, 1 => Just(1_000_000usize)];
    let steps = op::strategy(SLOTS, 2, MAX_MSG);
    let programs = (bytes, prop::collection::vec(steps, 1..300));
    let steps = std::cell::Cell::new(0);
    let tally = std::cell::RefCell::new(Tally::default());
    while steps.get() < wanted {
        let tree = programs.new_tree(&mut runner).unwrap();
        let result = runner.run_one(tree, |(bytes_max, ops)| {
            let config = config(bytes_max);
            let mut sockets = Sockets::new(&config);
            match kbus_model::run(&config, &mut sockets, &ops, &mut tally.borrow_mut()) {
                Ok(done) => steps.set(steps.get() + done),
                Err(difference) => return Err(TestCaseError::fail(difference)),
            }
            Ok(())
        });
        if let Err(TestError::Fail(difference, (bytes_max, _))) = result {
            panic!(
                "a bus of {bytes_max} bytes differs from the model (SEED={seed}):\n{difference}"
            );
        }
    }
    let tally = tally.into_inner();
    eprintln!("# {} steps, SEED={seed}", steps.get());
    // The rest is too rare for an ordinary run, and these for less than one.
    let certain = [
        "Kill ok",
        "Read reply",
        "Read request to answer",
        "Send errno 11",
    ];
    for what in certain.iter().filter(|_| wanted >= ORDINARY) {
        assert!(
            tally.0.contains_key(*what),
            "{what} never happened (SEED={seed})"
        );
    }
    if wanted > ordinary {
        for (what, times) in &tally.0 {
            eprintln!("# {times:>7} {what}");
        }
    }
}

/// The least that a bus's owner may set.
const MAX_MSG: usize = 100;

fn config(bytes_max: usize) -> Config {
    Config {
        users: vec![0; SLOTS],
        buses: 2,
        owner: 0,
        max_msg: MAX_MSG,
        bytes_max,
        budget: 1 << 30,
        messages: 1 << 30,
        groups: vec![0; SLOTS],
        unbinds: (1000, 16),
        // In which order the threads of several run that are woken is not the
        // bus's choice.
        waiters: 1,
        reply_max: 4096,
    }
}
