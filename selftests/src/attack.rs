// SPDX-License-Identifier: GPL-2.0
//! Attackers, a victim, and how much of its throughput the victim keeps.
//!
//! The victim has the first processor and the attackers share the second, so
//! that their own work is not counted as the bus's fault. Calm and attacked
//! rounds take turns, and in the calm ones something else keeps the second
//! processor as busy, with sockets that are of no bus: so the load of the machine is
//! not in the ratio. The clock is to be one that counts instructions, so that the
//! load of the host is not either.
//!
//! The number of rounds is fixed. If what the victim keeps seems too little,
//! there are five times as many, once, and all of them count, the first ones too. Of each
//! kind of rounds an eighth at either end is left out, the best and the worst;
//! the ratio is that of the means of the rest.
//!
//! An attack that fails is none. A step that does not do what it is for makes its
//! process end, and that the test; what it did is counted, and must be enough.
//!
//! Two who use one bus as fast as they can share its lock: nobody can have all
//! of his throughput then. So there are two questions: what such a victim
//! keeps, and whether one that takes less than its half is slowed down.

use std::cell::Cell;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::process::as_user;
use crate::process::become_user;
use crate::process::Child;
use crate::process::Gate;
use crate::sys::uapi;
use crate::sys::Errno;
use crate::sys::Msg;
use crate::sys::RecvOptions;
use crate::sys::Sock;

/// The victim's user.
pub const VICTIM: u32 = 4100;
/// The first of the attackers' users; the others follow.
pub const ATTACKER: u32 = 4200;

/// Length of a round of a victim that does all it can: some tens of turns of its processor.
const ROUND: Duration = Duration::from_millis(120);
/// Rounds of each kind in a measurement, and in all where the ratio of these is too low.
const ROUNDS: [usize; 2] = [8, 40];
/// Length of a round of one that takes its steps at their times. It may be some milliseconds late in the end, as it may
/// at any time: that must be little of the round.
const PACED_ROUND: Duration = Duration::from_millis(160);
/// As above.
const PACED_ROUNDS: [usize; 2] = [4, 20];

/// Gives this process one processor only.
pub fn stay_on(cpu: usize) {
    // SAFETY: The set is ours and whole.
    let r = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(r, 0, "sched_setaffinity: {:?}", Errno::last());
}

/// Has this process die with its parent.
pub fn die_with_parent() {
    // SAFETY: Always safe.
    let r = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    assert_eq!(r, 0, "PR_SET_PDEATHSIG: {:?}", Errno::last());
}

/// Lets this process open as many files as it may.
pub fn raise_file_limit(most: u64) {
    // SAFETY: The structure is ours and whole.
    let r = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = most.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert_eq!(r, 0, "RLIMIT_NOFILE: {:?}", Errno::last());
}

/// Receives what is there with a small buffer.
pub fn take(sock: &Sock) -> Msg {
    let options = RecvOptions {
        room: 256,
        control: 512,
        ..RecvOptions::default()
    };
    sock.recv_with(options).expect("what was promised")
}

/// Has the kernel treat this process in this way when there are several.
pub fn schedule(policy: i32, priority: i32) {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: The structure is ours.
    let r = unsafe { libc::sched_setscheduler(0, policy, &param) };
    assert_eq!(r, 0, "sched_setscheduler: {:?}", Errno::last());
}

/// Counters that processes share with the one that made them.
#[derive(Debug)]
pub struct Counters(pub &'static [AtomicU64]);

impl Counters {
    /// So many, all of them 0.
    pub fn new(n: u32) -> Counters {
        let len = size_of::<AtomicU64>() * n as usize;
        // SAFETY: New memory, zeros, which are valid counters; it is never unmapped.
        let counters = unsafe {
            let at = libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED, "mmap: {:?}", Errno::last());
            slice::from_raw_parts(at.cast(), n as usize)
        };
        Counters(counters)
    }

    fn read(&self) -> Vec<u64> {
        let counters = self.0.iter();
        counters.map(|c| c.load(Ordering::Relaxed)).collect()
    }
}

/// Processes that attack, all on the second processor.
#[derive(Debug)]
pub struct Attackers {
    children: Vec<Child>,
    idler: Child,
    _fillers: [Child; 2],
    /// Those who are let and held; the others have done their worst before.
    moving: Option<Moving>,
}

/// What attackers have done while they were let.
#[derive(Debug)]
struct Moving {
    /// Of each of them.
    done: Counters,
    /// How much all of them must do in a second.
    pace: f64,
}

/// What a process does that talks to itself without any bus.
fn talk() -> impl FnMut() {
    let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
    let mut word = [0; 64];
    move || {
        near.send(&word).expect("room");
        far.recv(&mut word).expect("what was sent");
    }
}

/// A process that would use its processor as much as an attacker does; it is stopped.
fn idler(mut step: impl FnMut()) -> Child {
    let idler = Child::fork(|| {
        stay_on(1);
        die_with_parent();
        loop {
            step();
        }
    });
    idler.stop();
    idler
}

/// Processes that use what others leave of each processor.
///
/// Two processors that take turns would be faster, each of them, while the other sleeps, as no real ones are: an
/// attacker that waits would be a gift to its victim.
fn fillers() -> [Child; 2] {
    [0, 1].map(|cpu| {
        Child::fork(|| {
            stay_on(cpu);
            schedule(libc::SCHED_IDLE, 0);
            die_with_parent();
            loop {
                // Who is to run instead is noticed at the end of a call.
                std::thread::yield_now();
            }
        })
    })
}

impl Attackers {
    /// Makes `n` processes of so many users. Each makes its step with `prepare` and, while it is let, takes it again
    /// and again.
    ///
    /// A step says whether it has done what it is for; if it can not go on, it panics. All of them together must do it
    /// `pace` times a second while they are let.
    pub fn start<S: FnMut() -> bool>(
        n: u32,
        users: u32,
        pace: u32,
        prepare: impl Fn(u32) -> S,
    ) -> Attackers {
        let idler = idler(talk());
        let ready = Gate::new();
        let done = Counters::new(n);
        let children = (0..n)
            .map(|i| {
                let child = Child::fork(|| {
                    stay_on(1);
                    become_user(ATTACKER + i % users, ATTACKER + i % users);
                    die_with_parent();
                    let mut step = prepare(i);
                    ready.open(0);
                    // SAFETY: Always safe. It goes on when it is let.
                    unsafe { libc::raise(libc::SIGSTOP) };
                    loop {
                        if step() {
                            done.0[i as usize].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
                ready.pass();
                child.stop();
                child
            })
            .collect();
        stay_on(0);
        Attackers {
            children,
            idler,
            _fillers: fillers(),
            moving: Some(Moving {
                done,
                pace: f64::from(pace),
            }),
        }
    }

    /// Has something else keep their processor busy while they are held: what they do, without any bus.
    pub fn beside(mut self, step: impl FnMut()) -> Attackers {
        self.idler = idler(step);
        self
    }

    /// The same of those who have done their worst when they are ready, and then only are there.
    pub fn there<R>(n: u32, users: u32, prepare: impl Fn(u32) -> R) -> Attackers {
        let mut attackers = Attackers::start(n, users, 0, |i| {
            let kept = prepare(i);
            move || {
                let _kept = &kept;
                std::hint::spin_loop();
                false
            }
        });
        attackers.moving = None;
        attackers
    }

    /// Processes that are caught in their preparation, which they say is as far as it will go.
    pub fn caught(n: u32, prepare: impl Fn(u32, &Gate)) -> Attackers {
        let ready = Gate::new();
        let idler = idler(talk());
        let children = (0..n)
            .map(|i| {
                let child = Child::fork(|| {
                    stay_on(1);
                    die_with_parent();
                    prepare(i, &ready);
                    panic!("it was expected to be caught");
                });
                ready.pass();
                child.wait_asleep();
                child
            })
            .collect();
        stay_on(0);
        Attackers {
            children,
            idler,
            _fillers: fillers(),
            moving: None,
        }
    }

    /// Where in the kernel each of them sleeps: names of functions.
    pub fn where_they_sleep(&self) -> Vec<String> {
        let places = self.children.iter().map(|child| {
            let path = format!("/proc/{}/wchan", child.pid());
            fs::read_to_string(path).expect("/proc")
        });
        places.collect()
    }

    /// Lets them attack.
    pub fn go(&self) {
        self.idler.stop();
        for child in &self.children {
            child.signal(libc::SIGCONT);
        }
    }

    /// Holds them still; something else is busy then. Insists that none has ended.
    pub fn hold(&self) {
        for child in &self.children {
            child.signal(libc::SIGSTOP);
        }
        for child in &self.children {
            child.stop();
        }
        self.idler.signal(libc::SIGCONT);
    }

    /// How often each has done what it is for, so far.
    fn done(&self) -> Vec<u64> {
        let moving = self.moving.as_ref();
        moving.map(|moving| moving.done.read()).unwrap_or_default()
    }

    /// Insists that a victim that does nothing else keeps `least` of its undisturbed throughput, and says how much it
    /// does.
    ///
    /// `step` is told whether it is attacked. With attackers who only are there, that chooses between two victims.
    #[track_caller]
    pub fn leave(&self, what: &str, least: f64, step: impl FnMut(bool)) -> f64 {
        self.measure(what, least, None, step)
    }

    /// Insists that a victim that takes so many steps a second keeps nine tenths of them.
    #[track_caller]
    pub fn leave_paced(&self, what: &str, pace: u32, step: impl FnMut(bool)) {
        self.measure(what, 0.9, Some(pace), step);
    }

    #[track_caller]
    fn measure(
        &self,
        what: &str,
        least: f64,
        pace: Option<u32>,
        mut step: impl FnMut(bool),
    ) -> f64 {
        let longest = Cell::new(Duration::ZERO);
        let attacking = Cell::new(Duration::ZERO);
        let mut round = |attacked: bool| {
            if self.moving.is_some() {
                match attacked {
                    true => self.go(),
                    false => self.hold(),
                }
            }
            let begun = Instant::now();
            let mut timed = || {
                let start = Instant::now();
                step(attacked);
                if attacked {
                    longest.set(longest.get().max(start.elapsed()));
                }
            };
            let rate = match pace {
                None => saturated(&mut timed),
                Some(pace) => paced(pace, &mut timed),
            };
            if attacked {
                attacking.set(attacking.get() + begun.elapsed());
            }
            rate
        };
        round(true);
        round(false);
        longest.set(Duration::ZERO);
        attacking.set(Duration::ZERO);
        let before = self.done();
        let (mut calm, mut attacked) = (Vec::new(), Vec::new());
        let mut kept = 0.0;
        for most in if pace.is_none() { ROUNDS } else { PACED_ROUNDS } {
            while calm.len() < most {
                // Now the one kind first, now the other: so what grows or shrinks meanwhile is in neither.
                match calm.len() % 2 {
                    0 => {
                        calm.push(round(false));
                        attacked.push(round(true));
                    }
                    _ => {
                        attacked.push(round(true));
                        calm.push(round(false));
                    }
                }
            }
            kept = middle(&attacked) / middle(&calm);
            if kept >= least {
                break;
            }
        }
        let doubt = doubt(&attacked, &calm);
        let how = match pace {
            Some(pace) => format!(", {pace} a second"),
            None => String::new(),
        };
        let did = match &self.moving {
            Some(moving) => {
                self.hold();
                let done = moving.done.read();
                let done = done.iter().zip(before).map(|(now, before)| now - before);
                let rate = done.clone().sum::<u64>() as f64 / attacking.get().as_secs_f64();
                assert!(
                    rate >= moving.pace && done.clone().min() > Some(0),
                    "{what}{how}: this is no attack, {rate:.0} a second of {:.0}: {:?}",
                    moving.pace,
                    done.collect::<Vec<_>>()
                );
                format!("; {rate:.0} attacks a second")
            }
            None => String::new(),
        };
        eprintln!(
            "# {what}{how}: the victim keeps {:.0} % (give or take {:.0}; {:.0} steps a second, {:.0} attacked, {} rounds; \
             the longest took {:.1} ms{did})",
            kept * 100.0,
            doubt * 100.0,
            middle(&calm),
            middle(&attacked),
            calm.len(),
            longest.get().as_secs_f64() * 1000.0
        );
        // What is less by chance alone is no failure: the bound is of what the victim keeps, not of what was seen of it.
        assert!(
            kept + doubt >= least,
            "{what}{how}: {kept:.2} of {least:.2}, give or take {doubt:.2}"
        );
        kept
    }
}

/// One step after the other for a round: how many in a second.
fn saturated(step: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    let mut steps = 0.0;
    while start.elapsed() < ROUND {
        step();
        steps += 1.0;
    }
    steps / start.elapsed().as_secs_f64()
}

/// Steps at their times, `pace` a second; one that is late is made up for. How many were begun in a second.
fn paced(pace: u32, step: &mut dyn FnMut()) -> f64 {
    let every = Duration::from_secs(1) / pace;
    let steps = (PACED_ROUND.as_millis() as u32 * pace).div_ceil(1000);
    let start = Instant::now();
    let mut last = start;
    for n in 0..=steps {
        let due = every * n;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        last = Instant::now();
        step();
    }
    f64::from(steps) / (last - start).as_secs_f64()
}

/// The mean of the middle three quarters.
fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let out = values.len() / 8;
    let rest = &values[out..values.len() - out];
    rest.iter().sum::<f64>() / rest.len() as f64
}

/// Two standard errors of a share, by how far the rounds that were made one after the other are apart in it.
fn doubt(attacked: &[f64], calm: &[f64]) -> f64 {
    let pairs = attacked.iter().zip(calm);
    let mut shares: Vec<f64> = pairs.map(|(attacked, calm)| attacked / calm).collect();
    shares.sort_by(f64::total_cmp);
    let out = shares.len() / 8;
    let rest = &shares[out..shares.len() - out];
    let (n, mean) = (rest.len() as f64, middle(&shares));
    let variance = rest.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (n - 1.0);
    2.0 * (variance / n).sqrt()
}

/// A user who asks, answers, announces and listens, and insists on what the bus promises.
#[derive(Debug)]
pub struct Victim {
    asker: Sock,
    replier: Sock,
    sender: Sock,
    listener: Sock,
    turn: u64,
}

/// The name that the victim asks and answers.
pub const ASK: &str = "$.Victim.Ask";
/// The name that it announces and listens to.
pub const NEWS: &str = "$.Victim.News";

impl Victim {
    /// One on this bus.
    pub fn on(bus: &str) -> Victim {
        let sock = || as_user(VICTIM, || Sock::on(bus));
        let victim = Victim {
            asker: sock(),
            replier: sock(),
            sender: sock(),
            listener: sock(),
            turn: 0,
        };
        victim.replier.replier(ASK).expect("the victim's own name");
        victim.listener.listen(NEWS).expect("the victim's own name");
        victim
    }

    /// A request with its reply, and an announcement that nobody may miss.
    pub fn step(&mut self) {
        self.turn += 1;
        let word = self.turn.to_ne_bytes();
        let asked = self.asker.request_with(ASK, &word, 64, self.turn);
        asked.expect("a request of the victim's");
        let request = take(&self.replier);
        assert!(request.must_reply(), "{request:?}");
        assert_eq!(request.data, word);
        self.replier.reply(&request, &word).expect("its reply");
        let reply = take(&self.asker);
        assert!(reply.is(uapi::KBUS_REPLY), "{reply:?}");
        assert_eq!((&reply.data[..], reply.info.cookie), (&word[..], self.turn));
        let sent = self.sender.send_with(NEWS, &word, uapi::KBUS_ALL_OR_FAIL);
        sent.expect("an announcement of the victim's");
        let news = take(&self.listener);
        assert_eq!((&news.data[..], news.info.lost), (&word[..], 0));
    }
}
