// SPDX-License-Identifier: GPL-2.0
//! Who receives pays: a service in a small memory cgroup cannot be killed by those who do not read.
//!
//! Each kind of traffic goes from a service whose cgroup may have 40 MiB to an attacker, in a larger one, who never reads. It is
//! more than those 40 MiB would hold. What the service's cgroup pays for stays what it was, and what waits is the attacker's.
//! Each test judges by counts.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;

use kbus_selftests::attack::die_with_parent;
use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::ATTACKER;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::cgroup::Group;
use kbus_selftests::process::as_user;
use kbus_selftests::process::become_user;
use kbus_selftests::process::park;
use kbus_selftests::process::skip;
use kbus_selftests::process::slowness;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

super::tests! {
    replies_that_are_never_read publications_that_are_never_read requests_that_are_never_read
    events_that_are_never_read descriptors_that_are_never_read sends_that_waited_and_are_never_read
    a_reader_s_cgroup_at_its_limit_is_a_full_queue a_cgroup_full_of_files_gets_its_messages
}

/// What the service's cgroup may have.
const MAX: u64 = 40 << 20;
/// What may come and go there: pages of stacks and heaps, what the kernel keeps of its own for each processor.
const SLACK: u64 = 3 << 20;
/// How often somebody asks; less than 9,500 killed the service when it paid for what it sent.
const REQUESTS: usize = 12_000;

/// A service and who attacks it, each in a cgroup of its own.
struct Contest {
    bus: String,
    _owner: Sock,
    groups: [Group; 2],
}

/// What the cgroups pay for, of the service and of the attacker.
struct Paid([u64; 2]);

impl Contest {
    fn new(name: &str, attacker_max: u64) -> Contest {
        if slowness() > 1 {
            skip("sanitizers take memory of their own, and hours for so much traffic");
        }
        let bus = fresh_bus();
        let owner = as_user(VICTIM, || Sock::on(&bus));
        let groups = ["service", "attacker"].map(|who| Group::new(&format!("{name}-{who}")));
        groups[0].set_max(MAX);
        groups[1].set_max(attacker_max);
        Contest {
            bus,
            _owner: owner,
            groups,
        }
    }

    /// A process of the service's user, who owns the bus, in its cgroup.
    fn service(&self, f: impl FnOnce()) -> Child {
        self.process(0, VICTIM, f)
    }

    fn attacker(&self, f: impl FnOnce()) -> Child {
        self.process(1, ATTACKER, f)
    }

    fn process(&self, group: usize, user: u32, f: impl FnOnce()) -> Child {
        Child::fork(|| {
            self.groups[group].enter();
            raise_file_limit(4000);
            // Those of which there may be many in flight are root's.
            if user != 0 {
                become_user(user, user);
            }
            die_with_parent();
            f();
            park();
        })
    }

    fn paid(&self) -> Paid {
        Paid([0, 1].map(|n| self.groups[n].bytes()))
    }

    /// Insists that the service lives, that its memory has stayed what it was, and that the attacker has got at least so
    /// many bytes.
    #[track_caller]
    fn attacker_has_paid(&self, what: &str, before: &Paid, least: u64) {
        let after = self.paid();
        let [service, attacker] = [0, 1].map(|n| after.0[n].saturating_sub(before.0[n]));
        let kills = [0, 1].map(|n| self.groups[n].kills());
        eprintln!(
            "# {what}: {} KiB more of the service's cgroup, {} KiB of the attacker's; {} and {} killed",
            service >> 10,
            attacker >> 10,
            kills[0],
            kills[1]
        );
        assert_eq!(kills, [0, 0], "processes killed for want of memory");
        assert!(service < SLACK, "{what}: the service pays {service} bytes");
        assert!(
            attacker >= least,
            "{what}: the attacker pays {attacker} bytes of {least}"
        );
    }
}

/// Waits for a gate that one of these two opens; whoever ends before fails the test, and so does a kill.
#[track_caller]
fn told(gate: &Gate, contest: &Contest, service: &mut Child, attacker: &mut Child) -> u64 {
    while !gate.is_open() {
        let kills = [0, 1].map(|n| contest.groups[n].kills());
        assert_eq!(
            kills,
            [0, 0],
            "killed for want of memory: service, attacker"
        );
        for (who, child) in [("service", &*service), ("attacker", &*attacker)] {
            assert!(!child.has_ended(), "the {who} has ended");
        }
        thread::sleep(std::time::Duration::from_millis(2));
    }
    gate.pass()
}

/// Receives with a small buffer, and waits.
fn take_soon(sock: &Sock) -> Msg {
    let options = RecvOptions {
        room: 64,
        control: 256,
        flags: 0,
    };
    sock.recv_with(options).unwrap()
}

/// Does it again as long as the other side's queue is full.
fn until_there_is_room<R>(mut call: impl FnMut() -> Result<R, Errno>) -> R {
    loop {
        match call() {
            Err(Errno(libc::EBUSY | libc::EAGAIN)) => thread::yield_now(),
            result => return result.unwrap(),
        }
    }
}

/// Listeners of the attacker's with long queues, each to a name of its own.
fn listeners(bus: &str, n: usize) -> Vec<Sock> {
    let socks = (0..n).map(|i| {
        let sock = Sock::on(bus);
        sock.set_queue_len(16384);
        sock.listen(&format!("$.Attack.N{i}")).unwrap();
        sock
    });
    socks.collect()
}

/// A client asks, with many sockets, and never reads the replies of 4 KiB.
fn replies_that_are_never_read() {
    let contest = Contest::new("replies", 400 << 20);
    let (ready, asked) = (Gate::new(), Gate::new());
    let mut service = contest.service(|| {
        let sock = Sock::on(&contest.bus);
        sock.replier("$.Service").unwrap();
        ready.open(0);
        for _ in 0..REQUESTS {
            let request = take_soon(&sock);
            sock.reply(&request, &[1; 4096]).unwrap();
        }
        asked.open(0);
    });
    ready.opened_by(&mut service);
    let before = contest.paid();
    let mut attacker = contest.attacker(|| {
        let socks: Vec<Sock> = (0..REQUESTS / 80).map(|_| Sock::on(&contest.bus)).collect();
        for sock in &socks {
            for _ in 0..80 {
                until_there_is_room(|| sock.request_with("$.Service", b"?", 4096, 0));
            }
        }
        park();
    });
    told(&asked, &contest, &mut service, &mut attacker);
    let least = REQUESTS as u64 * 4096;
    contest.attacker_has_paid("12,000 replies of 4 KiB", &before, least);
}

/// Who listens to a publisher of messages of 16 KiB never reads.
fn publications_that_are_never_read() {
    published("publications", 3000, |sock, n| {
        let name = format!("$.Attack.N{}", n % 8);
        sock.send_with(&name, &[1; 16_000], uapi::KBUS_ALL_OR_FAIL)
            .unwrap();
    });
}

/// The same, where each of them had to wait for room.
fn sends_that_waited_and_are_never_read() {
    published("waiting", 3000, |sock, n| {
        let name = format!("$.Attack.N{}", n % 8);
        sock.send_with(&name, &[1; 16_000], uapi::KBUS_ALL_OR_WAIT)
            .unwrap();
    });
}

/// Has the service send so many messages of 16 KB to eight listeners of the attacker's. The latter's queues grow by one when
/// they are full, so that a send that can wait does.
fn published(what: &str, many: usize, send: impl Fn(&Sock, usize)) {
    let contest = Contest::new(what, 400 << 20);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let mut attacker = contest.attacker(|| {
        let socks = listeners(&contest.bus, 8);
        let waits = what == "waiting";
        if waits {
            socks.iter().for_each(|sock| sock.set_queue_len(1));
        }
        ready.open(0);
        if !waits {
            park();
        }
        loop {
            for sock in &socks {
                sock.set_queue_len(sock.unread() + 1);
            }
            thread::yield_now();
        }
    });
    ready.opened_by(&mut attacker);
    let mut service = contest.service(|| {
        let sock = Sock::on(&contest.bus);
        ready.open(0);
        go.pass();
        (0..many).for_each(|n| send(&sock, n));
        done.open(0);
    });
    ready.opened_by(&mut service);
    let before = contest.paid();
    go.open(0);
    told(&done, &contest, &mut service, &mut attacker);
    let what = format!("{what}: {many} messages of 16,000 bytes");
    contest.attacker_has_paid(&what, &before, many as u64 * 16_000);
}

/// The service asks an attacker that never reads the requests.
fn requests_that_are_never_read() {
    const MANY: usize = 3000;
    let contest = Contest::new("requests", 400 << 20);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let mut attacker = contest.attacker(|| {
        let repliers = (0..8).map(|i| {
            let sock = Sock::on(&contest.bus);
            sock.set_queue_len(16384);
            sock.replier(&format!("$.Attack.N{i}")).unwrap();
            sock
        });
        let _repliers: Vec<Sock> = repliers.collect();
        ready.open(0);
        park();
    });
    ready.opened_by(&mut attacker);
    let mut service = contest.service(|| {
        let sock = Sock::on(&contest.bus);
        sock.set_queue_len(16384);
        ready.open(0);
        go.pass();
        for n in 0..MANY {
            let name = format!("$.Attack.N{}", n % 8);
            sock.request_with(&name, &[1; 16_000], 1, 0).unwrap();
        }
        done.open(0);
    });
    ready.opened_by(&mut service);
    let before = contest.paid();
    go.open(0);
    told(&done, &contest, &mut service, &mut attacker);
    let least = MANY as u64 * 16_000;
    contest.attacker_has_paid("3,000 requests of 16,000 bytes", &before, least);
}

/// The service binds and unbinds names of a thousand bytes, of which listeners are told who never read. No queue is long
/// enough for 40 MiB of events, and this is a good part of that.
fn events_that_are_never_read() {
    const MANY: u64 = 14_000;
    let contest = Contest::new("events", 400 << 20);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let mut attacker = contest.attacker(|| {
        let listeners = (0..4).map(|_| {
            let sock = Sock::on(&contest.bus);
            sock.set_queue_len(16384);
            for _ in 0..16 {
                sock.listen("$.KBUS.ReplierBindEvent").unwrap();
            }
            sock.turn_on(uapi::KBUS_ONCE);
            sock
        });
        let _listeners: Vec<Sock> = listeners.collect();
        ready.open(0);
        park();
    });
    ready.opened_by(&mut attacker);
    let mut service = contest.service(|| {
        let sock = Sock::on(&contest.bus);
        sock.turn_on(uapi::KBUS_REPORT_BINDS);
        let name = format!("$.{}", "x".repeat(998));
        ready.open(0);
        go.pass();
        for _ in 0..MANY / 2 {
            sock.replier(&name).unwrap();
            sock.unreplier(&name).unwrap();
        }
        done.open(0);
    });
    ready.opened_by(&mut service);
    let before = contest.paid();
    go.open(0);
    told(&done, &contest, &mut service, &mut attacker);
    // A payload of one user is one copy, and each of the listeners has an entry.
    contest.attacker_has_paid("14,000 events", &before, MANY * (1016 + 4 * 32));
}

/// The service passes descriptors, as many as there can be with a message, to listeners that never read.
fn descriptors_that_are_never_read() {
    const MANY: u64 = 20_000;
    const EACH: usize = 253;
    let contest = Contest::new("descriptors", 400 << 20);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let mut attacker = contest.attacker(|| {
        let listeners = listeners(&contest.bus, 2);
        for sock in &listeners {
            sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
                .unwrap();
        }
        ready.open(0);
        park();
    });
    ready.opened_by(&mut attacker);
    let mut service = contest.process(0, 0, || {
        let sock = Sock::on(&contest.bus);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let fds = [file.as_raw_fd(); EACH];
        ready.open(0);
        go.pass();
        for n in 0..MANY {
            let out = Out::to(&format!("$.Attack.N{}", n % 2), b"");
            let out = out.with(Cmsg::all_rights(&fds));
            let all = Cmsg::send(uapi::KBUS_ALL_OR_FAIL, 0, 0);
            sock.send_msg(&out.with(all)).unwrap();
        }
        done.open(0);
    });
    ready.opened_by(&mut service);
    let before = contest.paid();
    go.open(0);
    told(&done, &contest, &mut service, &mut attacker);
    let least = MANY * EACH as u64 * 8;
    contest.attacker_has_paid("20,000 messages with 253 descriptors", &before, least);
}

/// A reader's cgroup that is at its limit makes its queue full: it misses messages and is told, and nobody is killed or made
/// to wait. With `KBUS_ALL_OR_FAIL` the sender is told. Others get everything.
fn a_reader_s_cgroup_at_its_limit_is_a_full_queue() {
    let contest = Contest::new("limit", 12 << 20);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let mut attacker = contest.attacker(|| {
        let socks = listeners(&contest.bus, 8);
        ready.open(0);
        go.pass();
        done.open(socks.iter().map(Sock::lost).sum());
        park();
    });
    ready.opened_by(&mut attacker);
    let before = contest.paid();
    let mut service = contest.service(|| {
        let (sock, other) = (Sock::on(&contest.bus), Sock::on(&contest.bus));
        other.listen("$.Attack.*").unwrap();
        for n in 0..3000 {
            let name = format!("$.Attack.N{}", n % 8);
            sock.send_to(&name, &[1; 16_000]).unwrap();
            assert_eq!(take_soon(&other).info.lost, 0);
        }
        let all = sock.send_with("$.Attack.N0", &[1; 16_000], uapi::KBUS_ALL_OR_FAIL);
        assert_eq!(all, Err(Errno(libc::EBUSY)));
        done.open(0);
    });
    told(&done, &contest, &mut service, &mut attacker);
    go.open(0);
    let lost = told(&done, &contest, &mut service, &mut attacker);
    assert!(lost > 1500, "{lost}");
    contest.attacker_has_paid("a reader that may have 12 MiB", &before, 6 << 20);
    // It reads nothing and is there; the service's user has its budget.
    assert!(Sysctl::get("user_bytes") >= 64 << 20);
}

/// Looks at every file of a file system, of which the kernel remembers something then.
fn look_at_all(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look_at_all(&entry.path());
        } else {
            let _ = entry.metadata();
        }
    }
}

/// A reader's cgroup at its limit gets room back where it can do without some of what it has, and the reader need not run
/// for that.
fn a_cgroup_full_of_files_gets_its_messages() {
    let contest = Contest::new("files", 400 << 20);
    let ready = Gate::new();
    let mut reader = contest.attacker(|| {
        let _socks = listeners(&contest.bus, 1);
        look_at_all(Path::new("/sys"));
        ready.open(0);
        park();
    });
    ready.opened_by(&mut reader);
    let group = &contest.groups[1];
    group.set_max(group.bytes() + (64 << 10));
    let sock = as_user(VICTIM, || Sock::on(&contest.bus));
    let send = || sock.send_with("$.Attack.N0", &[1; 16_000], uapi::KBUS_ALL_OR_FAIL);
    let mut sent = 0;
    while send().is_ok() {
        sent += 1;
        assert!(sent < 4000, "the cgroup has no limit");
    }
    let mut tries = 0;
    while send().is_err() {
        tries += 1;
        thread::sleep(std::time::Duration::from_millis(1));
    }
    eprintln!("# full after {sent} messages; {tries} were refused");
    assert_eq!(group.kills(), 0);
}
