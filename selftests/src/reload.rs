// SPDX-License-Identifier: GPL-2.0
//! The module comes and goes: what `qemu/init` calls for the tests of that.
//!
//! They are no tests of the list, as the module cannot go while another test has sockets.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::process;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use kbus_selftests::process::become_user;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Random;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

/// What sockets a program keeps making.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// `socket(AF_UNIX, SOCK_DGRAM, PROTO_KBUS)`.
    Literal,
    /// `socket(AF_KBUS, SOCK_DGRAM, 0)`.
    Family,
    /// AF_UNIX sockets of its own, which do not know that there is a probe.
    Unix,
}

/// The programs that run while the module comes and goes.
const PROGRAMS: [Traffic; 5] = [
    Traffic::Literal,
    Traffic::Literal,
    Traffic::Family,
    Traffic::Unix,
    Traffic::Unix,
];

/// How long the slowest kernel may take until each program has come round.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a program came round, in memory that it shares with who unloads the module.
#[derive(Debug, Default)]
struct Rounds {
    /// With the module.
    with: AtomicU64,
    /// There was none.
    without: AtomicU64,
}

impl Rounds {
    /// One for each program.
    fn shared() -> &'static [Rounds; PROGRAMS.len()] {
        let (len, prot) = (
            size_of::<[Rounds; PROGRAMS.len()]>(),
            libc::PROT_READ | libc::PROT_WRITE,
        );
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: A new mapping, which is zeroed, as long as said, and stays. Zeros are valid counters.
        unsafe {
            let at = libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED, "mmap: {:?}", Errno::last());
            &*at.cast()
        }
    }
}

/// Loads and unloads the module so many times under traffic, and prints one line of KTAP.
///
/// The rule: the module cannot go while there is a socket, does when there is none, and neither a socket that was
/// made nor an AF_UNIX socket of anybody ever notices.
///
/// Every second time it stays until each program has come round with it; else it goes as soon as it can.
pub fn reload(cycles: u64) {
    let stop = Gate::new();
    let rounds = Rounds::shared();
    let programs: Vec<Child> = PROGRAMS
        .iter()
        .zip(rounds)
        .map(|(traffic, rounds)| Child::fork(|| keep_going(*traffic, &stop, rounds)))
        .collect();
    let all_go_on = || {
        for (traffic, child) in PROGRAMS.iter().zip(&programs) {
            assert!(!child.has_ended(), "a program of {traffic:?} has ended");
        }
    };
    let (mut done, mut refused) = (0, 0);
    while done < cycles {
        if done % 2 == 1 {
            let before = rounds.each_ref().map(|one| one.with.load(Relaxed));
            let come_round = || {
                rounds
                    .iter()
                    .zip(before)
                    .all(|(now, before)| now.with.load(Relaxed) > before)
            };
            let begun = Instant::now();
            while !come_round() {
                all_go_on();
                assert!(begun.elapsed() < PATIENCE, "{rounds:?} after {before:?}");
                thread::sleep(Duration::from_micros(200));
            }
        }
        while let Err(error) = unload() {
            assert_eq!(error, Errno(libc::EAGAIN), "unload the module");
            refused += 1;
            all_go_on();
            thread::sleep(Duration::from_micros(100));
        }
        load().expect("load the module");
        done += 1;
    }
    all_go_on();
    stop.open(0);
    println!("# refused {refused} times, as there was a socket");
    for ((traffic, child), rounds) in PROGRAMS.iter().zip(programs).zip(rounds) {
        child.join();
        let (with, without) = (rounds.with.load(Relaxed), rounds.without.load(Relaxed));
        println!("# {traffic:?}: {with} rounds, and {without} without the module");
        assert!(with >= cycles / 2, "there was too little traffic");
    }
    assert!(refused > 0, "the module was never in use");
    println!("ok 1 reload::unload_under_traffic # {done} times");
}

/// Makes sockets until the gate opens, and counts how often it did, and how often there was no module.
fn keep_going(traffic: Traffic, stop: &Gate, rounds: &Rounds) {
    if matches!(traffic, Traffic::Family) {
        Form::Family.choose();
    }
    let mut random = Random::new(u64::from(process::id()));
    while !stop.is_open() {
        let begun = Instant::now();
        let there = match traffic {
            Traffic::Unix => round_of_unix(),
            Traffic::Literal | Traffic::Family => round_of_kbus(),
        };
        match there {
            true => rounds.with.fetch_add(1, Relaxed),
            false => rounds.without.fetch_add(1, Relaxed),
        };
        // However slow the kernel is, there has to be a time without sockets now and then.
        let longest = 1000 + 6 * begun.elapsed().as_micros() as u64;
        thread::sleep(Duration::from_micros(random.below(longest)));
    }
}

/// Asks, answers, owes, is heard, and closes; or returns `false`, as there is no module.
///
/// With the first socket the module is there to stay: then nothing may fail.
fn round_of_kbus() -> bool {
    let asker = match Sock::open() {
        Ok(sock) => sock,
        Err(error) => {
            let expected = match Form::chosen() {
                Form::Literal => libc::EPROTONOSUPPORT,
                Form::Family => libc::EAFNOSUPPORT,
            };
            assert_eq!(error, Errno(expected));
            return false;
        }
    };
    let bus = format!("reload-{}", process::id());
    asker.bind(&bus).expect("bind()");
    let replier = Sock::on(&bus);
    replier.replier("$.A").expect("replier");
    asker.request("$.A", b"?").expect("request");
    let request = replier.recv().expect("the request");
    replier.reply(&request, b"!").expect("reply");
    assert_eq!(asker.recv().expect("the reply").data, b"!");
    // One bus of all programs, of both forms.
    let (speaker, listener) = (Sock::on("reload"), Sock::on("reload"));
    listener.listen("$.*").expect("listen");
    speaker.send_to("$.B", b"to all").expect("send");
    listener.recv().expect("an announcement");
    // This one is still owed when the replier closes.
    asker.request("$.A", b"?").expect("request");
    true
}

/// Sends and receives on AF_UNIX sockets of all types. They never fail.
fn round_of_unix() -> bool {
    let mut byte = [0];
    let name = format!("reload-{}", process::id());
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let receiver = UnixDatagram::bind_addr(&address).expect("bind()");
    let sender = UnixDatagram::unbound().expect("socket()");
    sender.send_to_addr(b"1", &address).expect("send_to()");
    assert_eq!(receiver.recv(&mut byte).expect("recv()"), 1);
    let (mut a, mut b) = UnixStream::pair().expect("socketpair()");
    a.write_all(b"2").expect("write()");
    b.read_exact(&mut byte).expect("read()");
    assert_eq!(byte, *b"2");
    // Its protocol may be named.
    Sock::raw(libc::AF_UNIX, libc::SOCK_SEQPACKET, libc::PF_UNIX).expect("socket()");
    true
}

/// `delete_module()`, without waiting.
fn unload() -> Res<()> {
    // SAFETY: The name is a string that ends in NUL.
    let r = unsafe { libc::syscall(libc::SYS_delete_module, c"kbus".as_ptr(), libc::O_NONBLOCK) };
    match r {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// `finit_module()`.
fn load() -> Res<()> {
    let file = File::open("/kbus.ko").expect("the module");
    // SAFETY: The parameters are a string that ends in NUL.
    let r = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match r {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// No call of `socket()` brings the module, whoever makes it: the probe on `unix_create()` that comes with it is for everybody.
pub fn absent() {
    for user in [0, 1000] {
        Child::fork(|| {
            become_user(user, user);
            let literal = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32);
            assert_eq!(literal.err(), Some(Errno(libc::EPROTONOSUPPORT)));
            for protocol in [0, uapi::PROTO_KBUS as i32] {
                let family = Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, protocol);
                assert_eq!(family.err(), Some(Errno(libc::EAFNOSUPPORT)));
            }
        })
        .join();
    }
}

/// With no probe, the literal form is `EPROTONOSUPPORT`, and all else works.
pub fn unprobed() {
    let literal = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32);
    assert_eq!(literal.err(), Some(Errno(libc::EPROTONOSUPPORT)));
    round_of_unix();
    Form::Family.choose();
    assert!(round_of_kbus(), "there is no family");
}

/// Keeps one bound socket until it is killed.
pub fn hold() -> ! {
    let sock = Sock::open().expect("socket");
    sock.bind("hold").expect("bind");
    loop {
        thread::park();
    }
}
