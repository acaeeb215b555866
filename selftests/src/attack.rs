// SPDX-License-Identifier: GPL-2.0
//! Attackers, a victim, and how much of its throughput the victim keeps.
//!
//! The victim has the first processor and the attackers share the second, so
//! that their own work is not counted as the bus's fault. Calm and attacked
//! rounds take turns, and in the calm ones something else keeps the second
//! processor as busy: so neither the load of the host nor that of the machine
//! is in the ratio, which is that of the medians.
//!
//! Two who use one bus as fast as they can share its lock: nobody can have all
//! of his throughput then. So there are two questions: what such a victim
//! keeps, and whether one that takes less than its half is slowed down.

use std::cell::Cell;
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

/// Length of a round.
const ROUND: Duration = Duration::from_millis(40);
/// Rounds of each kind in one measurement.
const ROUNDS: usize = 7;
/// Measurements before a ratio that is too low is believed: noise can only lower it.
const TRIES: usize = 8;

/// Gives this process one processor only.
fn stay_on(cpu: usize) {
    // SAFETY: The set is ours and whole.
    let r = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(r, 0, "sched_setaffinity: {:?}", Errno::last());
}

/// Has this process die with its parent.
fn die_with_parent() {
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

/// Processes that attack, all on the second processor.
#[derive(Debug)]
pub struct Attackers {
    children: Vec<Child>,
    idler: Child,
    /// Whether they are let and held; else they have done their worst before.
    moving: bool,
}

/// A process that would only use its processor, and is stopped.
fn idler() -> Child {
    let idler = Child::fork(|| {
        stay_on(1);
        die_with_parent();
        loop {
            std::hint::spin_loop();
        }
    });
    idler.stop();
    idler
}

impl Attackers {
    /// Makes `n` processes of so many users. Each makes its step with `prepare` and, while it is let, takes it again
    /// and again.
    pub fn start<S: FnMut()>(n: u32, users: u32, prepare: impl Fn(u32) -> S) -> Attackers {
        let idler = idler();
        let ready = Gate::new();
        let children = (0..n)
            .map(|i| {
                let child = Child::fork(|| {
                    stay_on(1);
                    become_user(ATTACKER + i % users, ATTACKER + i % users);
                    die_with_parent();
                    let mut step = prepare(i);
                    ready.open(0);
                    loop {
                        step();
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
            moving: true,
        }
    }

    /// The same of those who have done their worst when they are ready, and then only are there.
    pub fn there<R>(n: u32, users: u32, prepare: impl Fn(u32) -> R) -> Attackers {
        let mut attackers = Attackers::start(n, users, |i| {
            let kept = prepare(i);
            move || {
                let _ = &kept;
                std::hint::spin_loop();
            }
        });
        attackers.moving = false;
        attackers
    }

    /// Processes that are caught in their preparation, which they say is as far as it will go.
    pub fn caught(n: u32, prepare: impl Fn(u32, &Gate)) -> Attackers {
        let ready = Gate::new();
        let idler = idler();
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
            moving: false,
        }
    }

    /// Lets them attack.
    pub fn go(&self) {
        self.idler.stop();
        for child in &self.children {
            child.signal(libc::SIGCONT);
        }
    }

    /// Holds them still; something else is busy then.
    pub fn hold(&self) {
        for child in &self.children {
            child.signal(libc::SIGSTOP);
        }
        for child in &self.children {
            child.stop();
        }
        self.idler.signal(libc::SIGCONT);
    }

    /// Insists that a victim that does nothing else keeps `least` of its undisturbed throughput, and says how much it does.
    ///
    /// `step` is told whether it is attacked. With attackers who only are there, that chooses between two victims.
    #[track_caller]
    pub fn leave(&self, what: &str, least: f64, step: impl FnMut(bool)) {
        self.measure(what, least, None, step);
    }

    /// Insists that a victim that takes so many steps a second keeps nine tenths of them.
    #[track_caller]
    pub fn leave_paced(&self, what: &str, pace: u32, step: impl FnMut(bool)) {
        self.measure(what, 0.9, Some(pace), step);
    }

    #[track_caller]
    fn measure(&self, what: &str, least: f64, pace: Option<u32>, mut step: impl FnMut(bool)) {
        let longest = Cell::new(Duration::ZERO);
        let mut round = |attacked: bool| {
            match (self.moving, attacked) {
                (false, _) => {}
                (true, true) => self.go(),
                (true, false) => self.hold(),
            }
            let mut timed = || {
                let start = Instant::now();
                step(attacked);
                if attacked {
                    longest.set(longest.get().max(start.elapsed()));
                }
            };
            match pace {
                None => saturated(&mut timed),
                Some(pace) => paced(pace, &mut timed),
            }
        };
        round(false);
        round(true);
        longest.set(Duration::ZERO);
        let mut best = (0.0, 0.0, 0.0);
        for _ in 0..TRIES {
            let (mut calm, mut attacked) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                calm.push(round(false));
                attacked.push(round(true));
            }
            let (calm, attacked) = (median(calm), median(attacked));
            let kept = attacked / calm;
            if kept > best.0 {
                best = (kept, calm, attacked);
            }
            if kept >= least {
                break;
            }
        }
        if self.moving {
            self.hold();
        }
        let (kept, calm, attacked) = best;
        let how = match pace {
            Some(pace) => format!(", {pace} a second"),
            None => String::new(),
        };
        eprintln!(
            "# {what}{how}: the victim keeps {:.0} % ({calm:.0} steps a second, {attacked:.0} attacked; the longest took \
             {:.1} ms)",
            kept * 100.0,
            longest.get().as_secs_f64() * 1000.0
        );
        assert!(kept >= least, "{what}{how}: {kept:.2} of {least:.2}");
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
    let steps = (pace / 10).max(10);
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
