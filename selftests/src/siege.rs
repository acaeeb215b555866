// SPDX-License-Identifier: GPL-2.0
//! Attackers that are stopped in the middle of what they do, and how long others' calls take meanwhile.
//!
//! A task of the lowest class that shares its processor with busy ones does not run for minutes, wherever it has been stopped.
//! If it holds a lock then that others sleep for, they wait for minutes too, and `SIGKILL` does not reach them.
//!
//! Attackers have the first processor. In each trial they run freely for a while and are stopped; victims, on
//! the second processor, go on with their own calls. One of them is killed, and how long it takes to die is measured. Then the
//! attackers run again: so each trial stops them at another point of what they do, and no trial takes long.
//!
//! The yardstick is a victim without any bus among the others: it sends and reads with AF_UNIX, and makes and closes
//! such sockets. It shares the processor with the other victims, so what the machine adds is in its figure as well.
//!
//! No victim can be in state D for longer than its longest call takes, which is why that state is not looked at.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use crate::attack::die_with_parent;
use crate::attack::schedule;
use crate::attack::stay_on;
use crate::attack::take;
use crate::attack::Counters;
use crate::attack::ATTACKER;
use crate::attack::VICTIM;
use crate::process::become_user;
use crate::process::new_netns;
use crate::process::now;
use crate::process::skip;
use crate::process::sleep_ms;
use crate::process::Child;
use crate::process::Gate;
use crate::sys::fresh_bus;
use crate::sys::uapi;
use crate::sys::Cmsg;
use crate::sys::Errno;
use crate::sys::Out;
use crate::sys::Sock;

/// How many tasks keep the attackers' processor busy.
const HOGS: usize = 30;
/// How long attackers are stopped for in a trial.
const WINDOW: Duration = Duration::from_millis(120);
/// How long attackers are let, at most, until one has done once more what it does.
const PATIENCE: Duration = Duration::from_millis(500);
/// How soon whoever is killed must be dead.
const DEATH: Duration = Duration::from_secs(1);
/// What the victim of AF_UNIX may have been spared by chance: a turn of each of the other victims, who share its
/// processor (3 ms each, and there are at most four of them); and one of the emulator's, in which one processor spins
/// for a lock that the other holds and is not run meanwhile (34 ms were seen).
const GRAIN: Duration = Duration::from_millis(50);

/// What somebody does again and again.
pub type Step = Box<dyn FnMut()>;

/// How attackers are stopped.
#[derive(Debug)]
pub enum Stop {
    /// The processor is given to others: tasks that never sleep.
    Starve(Vec<Child>),
    /// Their cgroup has used up its share of the processor.
    Throttle(PathBuf),
    /// `SIGSTOP`.
    Signal,
    /// A debugger.
    Trace,
    /// Nobody answers the faults of a page that the kernel copies from or to: they stay in the call that they make.
    Fault,
}

impl Stop {
    /// By busy tasks.
    pub fn starve() -> Stop {
        let hogs = (0..HOGS).map(|_| {
            let hog = Child::fork(|| {
                stay_on(0);
                schedule(libc::SCHED_OTHER, 0);
                die_with_parent();
                loop {
                    std::hint::black_box(0);
                }
            });
            hog.stop();
            hog
        });
        Stop::Starve(hogs.collect())
    }

    /// By `cpu.max`; `None` where there is no such thing.
    pub fn throttle() -> Option<Stop> {
        let root = PathBuf::from("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+cpu").ok()?;
        let path = root.join(format!("kbus-throttle-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        path.join("cpu.max")
            .exists()
            .then_some(Stop::Throttle(path))
    }

    /// What an attacker does first.
    fn prepare(&self) {
        match self {
            Stop::Starve(_) => schedule(libc::SCHED_IDLE, 0),
            Stop::Throttle(path) => {
                fs::write(path.join("cgroup.procs"), "0").expect("entering a cgroup");
            }
            Stop::Signal | Stop::Trace | Stop::Fault => {}
        }
    }

    /// After the attackers are there.
    fn attach(&self, attackers: &[Child]) {
        if let Stop::Trace = self {
            for child in attackers {
                trace(libc::PTRACE_SEIZE, child);
            }
        }
    }

    fn stop(&self, attackers: &[Child]) {
        match self {
            Stop::Starve(hogs) => hogs.iter().for_each(|hog| hog.signal(libc::SIGCONT)),
            // A thousandth of each second.
            Stop::Throttle(path) => limit(path, "1000 1000000"),
            Stop::Signal => attackers.iter().for_each(|it| it.signal(libc::SIGSTOP)),
            Stop::Trace => attackers
                .iter()
                .for_each(|it| trace(libc::PTRACE_INTERRUPT, it)),
            Stop::Fault => {}
        }
    }

    fn let_go(&self, attackers: &[Child]) {
        match self {
            Stop::Starve(hogs) => hogs.iter().for_each(|hog| hog.signal(libc::SIGSTOP)),
            Stop::Throttle(path) => limit(path, "max"),
            Stop::Signal => attackers.iter().for_each(|it| it.signal(libc::SIGCONT)),
            Stop::Fault => {}
            Stop::Trace => {
                for child in attackers {
                    // It can go on when it stands still, which is told to who waits for it.
                    let mut status = 0;
                    // SAFETY: The place is ours; the pid is that of a child.
                    unsafe { libc::waitpid(child.pid(), &mut status, libc::__WALL) };
                    assert!(libc::WIFSTOPPED(status), "wait status {status:#x}");
                    trace(libc::PTRACE_CONT, child);
                }
            }
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Stop::Throttle(path) = self {
            // One that has a process in it stays.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Whether it sleeps where the kernel waits for somebody to answer the fault of a page.
fn is_caught(child: &Child) -> bool {
    let place = fs::read_to_string(format!("/proc/{}/wchan", child.pid()));
    place.is_ok_and(|place| place == "handle_userfault")
}

fn limit(path: &Path, max: &str) {
    fs::write(path.join("cpu.max"), max).expect("cpu.max");
}

fn trace(what: libc::c_uint, child: &Child) {
    // SAFETY: The pid is that of a child; no memory is given.
    let r = unsafe { libc::ptrace(what, child.pid(), 0, 0) };
    assert_eq!(r, 0, "ptrace: {:?}", Errno::last());
}

/// Memory that cannot be touched: who does sleeps, as nobody answers its faults.
pub fn untouchable() -> *mut libc::c_void {
    #[repr(C)]
    struct Api {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    #[repr(C)]
    struct Register {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }
    const LEN: usize = 1 << 16;
    // SAFETY: New memory, and a descriptor that stays open; both structures are ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as i32;
        if fd < 0 {
            skip("no userfaultfd here");
        }
        let mut api = Api {
            api: 0xaa,
            features: 0,
            ioctls: 0,
        };
        assert_eq!(libc::ioctl(fd, 0xc018_aa3f, &mut api), 0, "UFFDIO_API");
        let memory = libc::mmap(
            ptr::null_mut(),
            LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        let mut register = Register {
            start: memory as u64,
            len: LEN as u64,
            mode: 1,
            ioctls: 0,
        };
        let r = libc::ioctl(fd, 0xc020_aa00, &mut register);
        assert_eq!(r, 0, "UFFDIO_REGISTER: {:?}", Errno::last());
        memory
    }
}

/// Becomes the user of the attacker of this number.
pub fn become_attacker(i: u32) {
    become_user(ATTACKER + i, ATTACKER + i);
}

/// Sends itself a message and reads it; joins the bus with another socket, listens and goes.
fn kbus_step(bus: String, n: usize) -> impl FnMut() {
    let sock = Sock::on(&bus);
    let name = format!("$.Victim.N{n}");
    sock.listen(&name).expect("the victim's own name");
    let other = format!("$.Victim.Other.N{n}");
    move || {
        sock.send_to(&name, b"?").expect("a message to itself");
        assert_eq!(take(&sock).data, b"?");
        Sock::on(&bus).listen(&other).expect("one more name");
    }
}

/// The same with AF_UNIX.
fn unix_step() -> impl FnMut() {
    let address = |n: u32| {
        let name = format!("kbus-yardstick-{}-{n}", std::process::id());
        SocketAddr::from_abstract_name(name).expect("a short name")
    };
    let sock = UnixDatagram::bind_addr(&address(0)).expect("a socket");
    let mut word = [0; 64];
    move || {
        sock.send_to_addr(b"?", &address(0)).expect("room");
        assert_eq!(sock.recv(&mut word).expect("what was sent"), 1);
        drop(UnixDatagram::bind_addr(&address(1)).expect("one more socket"));
    }
}

/// Who is watched.
pub struct Victim<'a> {
    /// Who it is, for the figures.
    pub who: &'static str,
    /// Makes what it does again and again, in its own process.
    pub prepare: Box<dyn Fn() -> Step + 'a>,
}

impl<'a> Victim<'a> {
    /// One with what it does.
    pub fn new(who: &'static str, prepare: impl Fn() -> Step + 'a) -> Victim<'a> {
        Victim {
            who,
            prepare: Box::new(prepare),
        }
    }

    /// A user on this bus.
    pub fn on(who: &'static str, bus: &'a str) -> Victim<'a> {
        Victim::new(who, move || {
            become_user(VICTIM, VICTIM);
            Box::new(kbus_step(bus.to_string(), 0))
        })
    }

    /// The owner of this bus, who is root.
    pub fn owner(who: &'static str, bus: &'a str) -> Victim<'a> {
        Victim::new(who, move || Box::new(kbus_step(bus.to_string(), 1)))
    }

    /// A user on a bus of its own.
    pub fn elsewhere() -> Victim<'a> {
        Victim::new("on another bus", || {
            become_user(VICTIM, VICTIM);
            Box::new(kbus_step(fresh_bus(), 0))
        })
    }

    /// A user in a network namespace of its own.
    pub fn apart() -> Victim<'a> {
        Victim::new("in another namespace", || {
            new_netns();
            become_user(VICTIM + 1, VICTIM + 1);
            Box::new(kbus_step(fresh_bus(), 0))
        })
    }

    /// A user who passes descriptors on a bus of its own.
    pub fn passing() -> Victim<'a> {
        Victim::new("passing descriptors elsewhere", || {
            become_user(VICTIM, VICTIM);
            let sock = Sock::on(&fresh_bus());
            sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
                .expect("KBUS_PASS");
            sock.listen("$.Victim.Files").expect("a name");
            let file = File::open("/proc/self/exe").expect("a file");
            let out = Out::to("$.Victim.Files", b"").with(Cmsg::rights(file.as_raw_fd()));
            Box::new(move || {
                let _file = &file;
                sock.send_msg(&out).expect("a descriptor");
                assert_eq!(take(&sock).rights().len(), 1);
            })
        })
    }

    fn yardstick() -> Victim<'a> {
        Victim::new("with AF_UNIX", || {
            become_user(VICTIM, VICTIM);
            Box::new(unix_step())
        })
    }

    /// Starts on the second processor.
    fn fork(&self, record: Option<Record>) -> Child {
        Child::fork(|| {
            // In this order: as one of the class that it comes from it need not wait for those who are busy here.
            stay_on(1);
            schedule(libc::SCHED_OTHER, 0);
            die_with_parent();
            let mut step = (self.prepare)();
            loop {
                let begun = now();
                if let Some(record) = record {
                    record.begun.store(begun, Relaxed);
                }
                step();
                if let Some(record) = record {
                    record.longest.fetch_max(now() - begun, Relaxed);
                    record.begun.store(0, Relaxed);
                    record.steps.fetch_add(1, Relaxed);
                }
                // So that all of them together leave some of their processor.
                sleep_ms(6);
            }
        })
    }
}

impl std::fmt::Debug for Victim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.who)
    }
}

/// What a victim tells of itself.
#[derive(Clone, Copy)]
struct Record {
    /// When the step began that is not over, or 0.
    begun: &'static AtomicU64,
    /// How long the longest took.
    longest: &'static AtomicU64,
    /// How many are over.
    steps: &'static AtomicU64,
}

impl Record {
    fn of(counters: &Counters, n: usize) -> Record {
        Record {
            begun: &counters.0[3 * n],
            longest: &counters.0[3 * n + 1],
            steps: &counters.0[3 * n + 2],
        }
    }

    /// The longest, the one that is not over among them.
    fn longest(&self) -> Duration {
        let begun = self.begun.load(Relaxed);
        let current = if begun == 0 { 0 } else { now() - begun };
        Duration::from_nanos(self.longest.load(Relaxed).max(current))
    }
}

/// A trial, or several of them.
#[derive(Debug)]
pub struct Siege {
    what: String,
    stop: Stop,
    attackers: Vec<Child>,
    done: Counters,
}

impl Siege {
    /// `n` attackers, who may be stopped in that way. Each makes what it does with `prepare`, as root and on its own
    /// processor, and does it again and again; it panics if it can not do it.
    pub fn begin(what: &str, stop: Stop, n: u32, prepare: impl Fn(u32) -> Step) -> Siege {
        stay_on(0);
        let (ready, done) = (Gate::new(), Counters::new(n));
        let attackers: Vec<Child> = (0..n)
            .map(|i| {
                let mut child = Child::fork(|| {
                    stay_on(0);
                    stop.prepare();
                    die_with_parent();
                    let mut step = prepare(i);
                    if let Stop::Fault = stop {
                        ready.open(0);
                        step();
                        panic!("attacker {i} was not caught");
                    }
                    step();
                    ready.open(0);
                    loop {
                        step();
                        done.0[i as usize].fetch_add(1, Relaxed);
                    }
                });
                ready.opened_by(&mut child);
                while matches!(stop, Stop::Fault) && !is_caught(&child) {
                    assert!(!child.has_ended(), "attacker {i} was not caught");
                    sleep_ms(1);
                }
                child
            })
            .collect();
        stop.attach(&attackers);
        // The others here have to wait for this process.
        schedule(libc::SCHED_FIFO, 50);
        Siege {
            what: what.to_string(),
            stop,
            attackers,
            done,
        }
    }

    /// Insists that no step of these victims takes longer than twice what the longest with AF_UNIX does, in so many trials;
    /// and that the first of them dies soon when it is killed.
    #[track_caller]
    pub fn spares(self, trials: u64, victims: &[Victim]) {
        let yardstick = Victim::yardstick();
        let all: Vec<&Victim> = [&yardstick].into_iter().chain(victims).collect();
        let counters = Counters::new(3 * all.len() as u32);
        let records: Vec<Record> = (0..all.len()).map(|n| Record::of(&counters, n)).collect();
        let mut children: Vec<Child> = all
            .iter()
            .zip(&records)
            .map(|(victim, record)| victim.fork(Some(*record)))
            .collect();
        // What happens once is not measured.
        while records.iter().any(|r| r.steps.load(Relaxed) < 3) {
            for child in &mut children {
                assert!(!child.has_ended(), "{}: a victim ended", self.what);
            }
            sleep_ms(1);
        }
        records.iter().for_each(|r| r.longest.store(0, Relaxed));
        let done = || self.done.0.iter().map(|n| n.load(Relaxed)).sum::<u64>();
        let before = done();
        let mut death = Duration::ZERO;
        for trial in 0..trials {
            let mortal = victims[0].fork(None);
            // They are let until they have done it once more, and stopped at all kinds of points of the next time.
            let (had, let_go) = (done(), now());
            let caught = matches!(self.stop, Stop::Fault);
            while !caught && done() == had && now() - let_go < PATIENCE.as_nanos() as u64 {
                sleep_ms(1);
            }
            thread::sleep(Duration::from_micros(trial * 5137 % 7000));
            self.stop.stop(&self.attackers);
            let begun = now();
            let stopped = || Duration::from_nanos(now() - begun);
            sleep_ms(20);
            mortal.signal(libc::SIGKILL);
            let killed = now();
            while !mortal.has_ended() && now() - killed < DEATH.as_nanos() as u64 {
                sleep_ms(2);
            }
            death = death.max(Duration::from_nanos(now() - killed));
            thread::sleep(WINDOW.saturating_sub(stopped()));
            self.stop.let_go(&self.attackers);
            mortal.kill();
        }
        let longest: Vec<Duration> = records.iter().map(Record::longest).collect();
        let attacks = done() - before;
        let figures = all.iter().zip(&longest).zip(&records);
        let figures = figures.map(|((victim, longest), record)| {
            let steps = record.steps.load(Relaxed);
            format!("{} {longest:.1?} ({steps} steps)", victim.who)
        });
        let figures = figures.collect::<Vec<_>>().join(", ");
        let report = format!(
            "{}: the longest step {figures}; killed within {death:.1?}; {attacks} attacks, {trials} times stopped",
            self.what
        );
        eprintln!("# {report}");
        for child in &children {
            assert!(!child.has_ended(), "a victim ended: {report}");
        }
        for child in &self.attackers {
            assert!(!child.has_ended(), "an attacker ended: {report}");
        }
        let bound = 2 * longest[0] + GRAIN;
        for (victim, longest) in all.iter().zip(&longest).skip(1) {
            assert!(
                *longest <= bound,
                "{} {longest:.1?} of {bound:.1?}: {report}",
                victim.who
            );
        }
        assert!(death < DEATH, "{report}");
        match self.stop {
            Stop::Fault => assert!(self.attackers.iter().all(is_caught), "{report}"),
            _ => assert!(attacks >= trials, "this is no attack: {report}"),
        }
    }
}
