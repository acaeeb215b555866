// SPDX-License-Identifier: GPL-2.0
//! Nobody is kept waiting by what others have a lot of.

use std::time::Duration;
use std::time::Instant;

use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

super::tests! {
    closing_with_100_000_bindings_stalls_nobody
    sends_that_wait_in_vain_cost_a_reader_little
    one_of_10_000_sockets_that_never_reads
}

/// What a machine that does other things may add to a round trip at any time.
const NOISE: Duration = Duration::from_millis(100);

/// Two processes that exchange messages on a bus.
struct Trips {
    sock: Sock,
    _echo: Child,
}

impl Trips {
    fn new(bus: &str) -> Trips {
        let ready = Gate::new();
        let echo = Child::fork(|| {
            let sock = Sock::on(bus);
            sock.replier("$.Echo").unwrap();
            ready.open(0);
            loop {
                let request = sock.recv_wait().unwrap();
                sock.reply(&request, b"").unwrap();
            }
        });
        ready.pass();
        Trips {
            sock: Sock::on(bus),
            _echo: echo,
        }
    }

    /// The longest round trip until `over` says so, but of a hundred at least.
    fn worst(&self, mut over: impl FnMut() -> bool) -> (Duration, usize) {
        let (mut worst, mut count) = (Duration::ZERO, 0);
        while count < 100 || !over() {
            let begun = Instant::now();
            self.sock.request("$.Echo", b"").unwrap();
            self.sock.recv_wait().unwrap();
            worst = worst.max(begun.elapsed());
            count += 1;
        }
        (worst, count)
    }
}

/// While a socket with 100,000 bindings closes, others' messages go on: no
/// round trip takes a fifth of the time that the close does.
fn closing_with_100_000_bindings_stalls_nobody() {
    let _limit = Sysctl::set("user_bindings", 200_000);
    let bus = fresh_bus();
    let trips = Trips::new(&bus);
    let (before, _) = trips.worst(|| true);
    let (ready, go, done) = (Gate::new(), Gate::new(), Gate::new());
    let child = Child::fork(|| {
        let sock = Sock::on(&bus);
        for n in 0..50_000 {
            sock.listen(&format!("$.Many.L{n}")).unwrap();
            sock.replier(&format!("$.Many.R{n}")).unwrap();
        }
        ready.open(0);
        go.pass();
        let begun = Instant::now();
        drop(sock);
        done.open(begun.elapsed().as_micros() as u64);
    });
    ready.pass();
    assert!(trips.sock.bus_info().unwrap().bindings > 100_000);
    go.open(0);
    let (during, count) = trips.worst(|| done.is_open());
    let took = Duration::from_micros(done.pass());
    child.join();
    assert_eq!(trips.sock.bus_info().unwrap().bindings, 1);
    println!(
        "# worst round trip {before:?} undisturbed, {during:?} of {count} while a close took {took:?}"
    );
    assert!(during < before * 20 + took / 5 + NOISE);
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
    assert!(many < few * 4 + Duration::from_millis(1));
}

/// Of 10,000 sockets that listen one never reads: all others get everything.
fn one_of_10_000_sockets_that_never_reads() {
    const SOCKETS: usize = 10_000;
    let limit = libc::rlimit {
        rlim_cur: SOCKETS as u64 + 100,
        rlim_max: SOCKETS as u64 + 100,
    };
    // SAFETY: The limit is a valid one, and it is this process's own.
    let r = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(r, 0, "RLIMIT_NOFILE");
    let _limit = Sysctl::set("user_bindings", 2 * SOCKETS as u64);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let socks: Vec<Sock> = (0..SOCKETS)
        .map(|_| {
            let sock = Sock::on(&bus);
            sock.set_queue_len(1);
            sock.listen("$.All").unwrap();
            sock
        })
        .collect();
    let (lazy, good) = socks.split_first().unwrap();
    for n in 0..3_u32 {
        sender.send_to("$.All", &n.to_ne_bytes()).unwrap();
        for sock in good {
            assert_eq!(sock.recv().unwrap().data, n.to_ne_bytes());
        }
    }
    assert_eq!((lazy.unread(), lazy.lost()), (1, 2));
    assert!(good.iter().all(|sock| sock.lost() == 0));
    let begun = Instant::now();
    drop(socks);
    eprintln!("# 10,000 sockets closed in {:?}", begun.elapsed());
    assert_eq!(sender.bus_info().unwrap().bindings, 0);
}
