// SPDX-License-Identifier: GPL-2.0
//! Nobody is kept waiting by what others have a lot of.
//!
//! Those who are measured have the first processor, and who has a lot the second: what is seen is what a lock does, not
//! what a processor that is busy does. Each bound says how long others may hold the lock. What the machine adds to that is
//! measured meanwhile, see [`Pauses`].

use std::fmt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use kbus_selftests::attack::die_with_parent;
use kbus_selftests::attack::schedule;
use kbus_selftests::attack::stay_on;
use kbus_selftests::attack::Counters;
use kbus_selftests::process::now;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

super::timed! {
    closing_with_100_000_bindings_stalls_nobody
    sends_that_wait_in_vain_cost_a_reader_little
    one_of_10_000_sockets_that_never_reads
    one_of_10_000_sockets_with_100_000_bindings_that_never_reads
}

/// How late each processor is for somebody who has nothing to do with buses, and goes before all others there.
struct Pauses {
    worst: Counters,
    _watchers: [Child; 2],
}

impl Pauses {
    fn watch() -> Pauses {
        let worst = Counters::new(2);
        let watcher = |cpu: usize| {
            Child::fork(|| {
                const NAP: Duration = Duration::from_millis(1);
                stay_on(cpu);
                die_with_parent();
                schedule(libc::SCHED_FIFO, 50);
                loop {
                    let begun = Instant::now();
                    thread::sleep(NAP);
                    let late = (begun.elapsed() - NAP).as_micros() as u64;
                    worst.0[cpu].fetch_max(late, Ordering::Relaxed);
                }
            })
        };
        let _watchers = [0, 1].map(watcher);
        Pauses { worst, _watchers }
    }

    /// What the machine may have added to anything meanwhile: a pause of either processor.
    fn noise(self) -> Duration {
        let worst = self.worst.0.iter().map(|c| c.load(Ordering::Relaxed));
        Duration::from_millis(10) + Duration::from_micros(worst.sum())
    }
}

/// Reads with a small buffer.
fn read(sock: &Sock, flags: i32) -> Msg {
    let options = RecvOptions {
        room: 64,
        control: 256,
        flags,
    };
    sock.recv_with(options).unwrap()
}

/// How long things took.
struct Times {
    sorted: Vec<Duration>,
    /// What the machine may have added to each.
    noise: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>, noise: Duration) -> Times {
        times.sort();
        Times {
            sorted: times,
            noise,
        }
    }

    /// So many of a hundred took no longer.
    fn of_100(&self, so_many: usize) -> Duration {
        self.sorted[(self.sorted.len() - 1) * so_many / 100]
    }

    fn half(&self) -> Duration {
        self.of_100(50)
    }

    /// Three quarters of all the time went into what took no longer. Who looks at one moment sees so much: few that take
    /// long are many moments.
    fn most_of_the_time(&self) -> Duration {
        let mut left = self.sorted.iter().sum::<Duration>() * 3 / 4;
        for time in &self.sorted {
            match left.checked_sub(*time) {
                Some(rest) => left = rest,
                None => return *time,
            }
        }
        self.worst()
    }

    fn worst(&self) -> Duration {
        self.of_100(100)
    }

    /// Insists that none took longer than this and what the machine may have added.
    #[track_caller]
    fn all_within(&self, bound: Duration) {
        assert!(
            self.worst() < bound + self.noise,
            "{self}; not within {bound:.1?}"
        );
    }

    /// Insists that most of the time none took longer than this and what is added by then.
    #[track_caller]
    fn mostly_within(&self, bound: Duration) {
        let most = self.most_of_the_time();
        assert!(
            most < bound + self.noise / 10,
            "{self}; not mostly within {bound:.1?}"
        );
    }

    /// Insists that half of them took no longer than this.
    #[track_caller]
    fn half_within(&self, bound: Duration) {
        assert!(self.half() < bound, "{self}; half not within {bound:.1?}");
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (half, most, worst) = (self.half(), self.of_100(99), self.worst());
        let (time, count, noise) = (self.most_of_the_time(), self.sorted.len(), self.noise);
        write!(
            f,
            "half within {half:.1?}, 99 % within {most:.1?}, most of the time within {time:.1?}, the worst {worst:.1?} \
             ({count} times; noise {noise:.1?})"
        )
    }
}

/// Two processes that exchange messages on a bus.
struct Trips {
    sock: Sock,
    _echo: Child,
}

impl Trips {
    fn new(bus: &str) -> Trips {
        stay_on(0);
        let ready = Gate::new();
        let echo = Child::fork(|| {
            let sock = Sock::on(bus);
            sock.replier("$.Echo").unwrap();
            ready.open(0);
            loop {
                let request = read(&sock, 0);
                sock.reply(&request, b"").unwrap();
            }
        });
        ready.pass();
        Trips {
            sock: Sock::on(bus),
            _echo: echo,
        }
    }

    /// Round trips until `over` says so, but two hundred at least.
    fn until(&self, mut over: impl FnMut() -> bool) -> Times {
        let mut times = Vec::new();
        let pauses = Pauses::watch();
        while times.len() < 200 || !over() {
            let begun = Instant::now();
            self.sock.request("$.Echo", b"").unwrap();
            read(&self.sock, 0);
            times.push(begun.elapsed());
        }
        Times::of(times, pauses.noise())
    }

    /// For a while.
    fn undisturbed(&self) -> Times {
        let begun = Instant::now();
        self.until(|| begun.elapsed() > Duration::from_millis(700))
    }
}

/// While a socket with 100,000 bindings closes, others' messages go on: it lets go of the lock after each sixteen
/// bindings. A round trip takes the lock four times, and waits for no more than that each time, most of the time; and none
/// takes as long as a twentieth of the bindings do.
fn closing_with_100_000_bindings_stalls_nobody() {
    const BINDINGS: u32 = 100_000;
    let _limit = Sysctl::set("user_bindings", 200_000);
    let (bus, other) = (fresh_bus(), fresh_bus());
    let trips = Trips::new(&bus);
    let before = trips.undisturbed();
    let close = |of: &str| {
        let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
        let child = Child::fork(|| {
            stay_on(1);
            let sock = Sock::on(of);
            for n in 0..BINDINGS / 2 {
                sock.listen(&format!("$.Many.L{n}")).unwrap();
                sock.replier(&format!("$.Many.R{n}")).unwrap();
            }
            ready.open(u64::from(sock.bus_info().unwrap().bindings));
            go.pass();
            let begun = Instant::now();
            drop(sock);
            done.open(begun.elapsed().as_micros() as u64);
        });
        assert!(ready.pass() >= u64::from(BINDINGS));
        go.open(0);
        let times = trips.until(|| done.is_open());
        let took = Duration::from_micros(done.pass());
        child.join();
        (times, took)
    };
    let (elsewhere, apart) = close(&other);
    let (during, took) = close(&bus);
    assert_eq!(trips.sock.bus_info().unwrap().bindings, 1);
    let sixteen = took * 16 / BINDINGS;
    eprintln!("# a round trip, undisturbed: {before}");
    eprintln!("# while {BINDINGS} bindings on another bus go in {apart:.1?}: {elsewhere}");
    eprintln!(
        "# while {BINDINGS} on this bus go in {took:.1?}, 16 of them in {sixteen:.1?}: {during}"
    );
    during.mostly_within(elsewhere.most_of_the_time() * 2 + 4 * sixteen);
    during.all_within(took / 20);
}

/// 256 sends that wait for two slots of a queue that never has two cost its
/// reader no more per message than 32 do, give or take.
fn sends_that_wait_in_vain_cost_a_reader_little() {
    let reads = |waits: usize| {
        let bus = fresh_bus();
        let victim = Sock::on(&bus);
        victim.set_queue_len(2);
        victim.listen("$.Two").unwrap();
        victim.listen("$.Two").unwrap();
        victim.listen("$.One").unwrap();
        let sender = Sock::on(&bus);
        sender.send_to("$.One", b"").unwrap();
        sender.send_to("$.One", b"").unwrap();
        let ready = Gate::new();
        let waiting: Vec<Child> = (0..waits)
            .map(|_| {
                Child::fork(|| {
                    let sock = Sock::on(&bus);
                    ready.open(0);
                    let _ = sock.send_with("$.Two", b"", uapi::KBUS_ALL_OR_WAIT);
                })
            })
            .collect();
        for _ in 0..waits {
            ready.pass();
        }
        waiting.iter().for_each(Child::wait_asleep);
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let begun = Instant::now();
                victim.recv().unwrap();
                let took = begun.elapsed();
                sender.send_to("$.One", b"").unwrap();
                took
            })
            .collect();
        times.sort();
        times[100]
    };
    let (few, many) = (reads(32), reads(256));
    eprintln!("# a read with 32 sends that wait {few:?}, with 256 {many:?}");
    assert!(many < few * 3 + Duration::from_micros(50));
}

/// How many sockets a crowd has.
const SOCKETS: usize = 10_000;
/// How many announcements all of them get.
const NEWS: u64 = 8;

/// What is announced: its number, and when that was begun.
fn word(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_ne_bytes());
    bytes[8..].copy_from_slice(&now().to_ne_bytes());
    bytes
}

/// A number of what was announced.
fn number(msg: &Msg, at: usize) -> u64 {
    u64::from_ne_bytes(msg.data[at..at + 8].try_into().unwrap())
}

/// Lets this process open so many files.
fn may_open(files: u64) {
    let limit = libc::rlimit {
        rlim_cur: files,
        rlim_max: files,
    };
    // SAFETY: The limit is a valid one, and it is this process's own.
    let r = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(r, 0, "RLIMIT_NOFILE");
}

/// A process with 10,000 sockets, each with so many bindings, of which one of each is to `$.All`. It announces that now
/// and then; all but one of the sockets read it.
struct Crowd {
    child: Child,
    ready: Gate,
    go: Gate,
    sent: Gate,
    over: Gate,
    close: Gate,
    closed: Gate,
}

impl Crowd {
    fn on(bus: &str, bindings: usize) -> Crowd {
        let [ready, go, sent, over, close, closed] = [(); 6].map(|()| Gate::new());
        let child = Child::fork(|| {
            stay_on(1);
            may_open(SOCKETS as u64 + 100);
            let sender = Sock::on(bus);
            let socks: Vec<Sock> = (0..SOCKETS)
                .map(|n| {
                    let sock = Sock::on(bus);
                    sock.set_queue_len(1);
                    sock.listen("$.All").unwrap();
                    for other in 1..bindings {
                        match other % 2 {
                            0 => sock.replier(&format!("$.Many.R{n}.N{other}")).unwrap(),
                            _ => sock.listen(&format!("$.Many.L{n}.N{other}")).unwrap(),
                        }
                    }
                    sock
                })
                .collect();
            let (lazy, good) = socks.split_first().unwrap();
            ready.open(0);
            go.pass();
            for n in 0..NEWS {
                let begun = Instant::now();
                sender.send_to("$.All", &word(n)).unwrap();
                sent.open(begun.elapsed().as_micros() as u64);
                for sock in good {
                    let msg = read(sock, libc::MSG_DONTWAIT);
                    assert_eq!((number(&msg, 0), msg.info.lost), (n, 0));
                }
            }
            assert_eq!((lazy.unread(), lazy.lost()), (1, NEWS - 1));
            assert!(good.iter().all(|sock| sock.lost() == 0));
            over.open(0);
            close.pass();
            let begun = Instant::now();
            drop(socks);
            closed.open(begun.elapsed().as_micros() as u64);
        });
        Crowd {
            child,
            ready,
            go,
            sent,
            over,
            close,
            closed,
        }
    }
}

/// A process that reads what a crowd announces and tells how long it took to come.
fn listener(bus: &str, took: &Gate) -> Child {
    let ready = Gate::new();
    let child = Child::fork(|| {
        let sock = Sock::on(bus);
        sock.listen("$.All").unwrap();
        ready.open(0);
        for n in 0..NEWS {
            let msg = read(&sock, 0);
            assert_eq!((number(&msg, 0), msg.info.lost), (n, 0));
            took.open((now() - number(&msg, 8)) / 1000);
        }
    });
    ready.pass();
    child
}

/// What was told so many times.
fn told(gate: &Gate) -> Vec<Duration> {
    (0..NEWS)
        .map(|_| Duration::from_micros(gate.pass()))
        .collect()
}

/// The worst that others see of such a crowd.
///
/// What they have not to do with costs them nothing. An announcement to all of the crowd holds the lock of the bus until
/// it is in the last queue, which others' messages wait for: each for one announcement at most, as the readers take
/// longer than that before there is the next. A queue that is full makes it no longer. While the sockets close, a message
/// waits for a few of them, and never for a hundredth.
fn crowd(bindings: usize) {
    let total = SOCKETS * bindings;
    let _limit = Sysctl::set("user_bindings", 2 * total as u64);
    let bus = fresh_bus();
    let trips = Trips::new(&bus);
    let before = trips.undisturbed();
    let crowd = Crowd::on(&bus, bindings);
    crowd.ready.pass();
    let info = trips.sock.bus_info().unwrap();
    assert!(info.members as usize > SOCKETS && info.bindings as usize > total);
    let there = trips.undisturbed();
    // The last to bind is the last to be served.
    let came = Gate::new();
    let listener = listener(&bus, &came);
    crowd.go.open(0);
    let during = trips.until(|| crowd.over.is_open());
    listener.join();
    let (sent, came) = (told(&crowd.sent), told(&came));
    let begun = Instant::now();
    crowd.close.open(0);
    let closing =
        trips.until(|| crowd.closed.is_open() || begun.elapsed() > Duration::from_secs(1));
    let took = Duration::from_micros(crowd.closed.pass());
    crowd.child.join();
    assert_eq!(trips.sock.bus_info().unwrap().bindings, 1);
    let first = sent[0];
    let (sent, came) = (Times::of(sent, during.noise), Times::of(came, during.noise));
    eprintln!("# a round trip, undisturbed: {before}");
    eprintln!("# {total} bindings of {SOCKETS} sockets, one of which never reads: {there}");
    eprintln!("# an announcement to all of them: {sent}; before any queue was full {first:.1?}");
    eprintln!("# until the last of them has it: {came}");
    eprintln!("# a round trip meanwhile: {during}");
    eprintln!("# a round trip while all of them close in {took:.1?}: {closing}");
    there.half_within(before.half() * 3 / 2);
    there.all_within(before.half() * 4);
    sent.half_within(first * 3 / 2 + during.noise);
    came.all_within(sent.worst());
    during.half_within(before.half() * 2);
    during.all_within(sent.worst());
    closing.mostly_within(before.most_of_the_time() * 2 + 16 * took / SOCKETS as u32);
    closing.all_within(took / 100);
}

/// Of 10,000 sockets that listen one never reads: all others get everything, and soon.
fn one_of_10_000_sockets_that_never_reads() {
    crowd(1);
}

/// And so they do where these have 100,000 bindings.
fn one_of_10_000_sockets_with_100_000_bindings_that_never_reads() {
    crowd(10);
}
