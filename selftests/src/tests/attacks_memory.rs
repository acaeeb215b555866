// SPDX-License-Identifier: GPL-2.0
//! How much memory a user can pin, beside the payload that budgets count.
//!
//! What waits is bounded by two budgets, of bytes and of messages. The rest is bounded by the memory cgroup of whoever
//! causes the allocation, by the limits of open files, and by those of the bus. The figures say what one object costs, and
//! what all that one process may have would.

use std::time::Duration;
use std::time::Instant;

use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::Victim;
use kbus_selftests::attack::ATTACKER;
use kbus_selftests::cgroup::Group;
use kbus_selftests::process::as_user;
use kbus_selftests::process::become_user;
use kbus_selftests::process::park;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

super::tests! {
    payload_of_one_user all_that_waits_for_one_user empty_messages_with_long_names entries_are_the_receiver_s
    sockets_and_bindings
}
super::timed! { cgroup_bounds_the_attacker }

/// A name of a thousand bytes.
fn longest_name(n: u32) -> String {
    format!("$.N{n:08}.{}", "x".repeat(988))
}

/// Kernel memory that `f`, in a process of an attacker's user and in a cgroup of its own, makes the group pay for.
fn pinned<R>(name: &str, f: impl FnOnce() -> R) -> u64 {
    pinned_after(name, || (), |()| f())
}

/// The same, without what `prepare` takes.
fn pinned_after<P, R>(name: &str, prepare: impl FnOnce() -> P, f: impl FnOnce(P) -> R) -> u64 {
    let group = Group::new(name);
    let (ready, done) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        group.enter();
        raise_file_limit(4000);
        become_user(ATTACKER, ATTACKER);
        let prepared = prepare();
        ready.open(0);
        done.pass();
        let kept = f(prepared);
        ready.open(0);
        done.pass();
        drop(kept);
    });
    ready.pass();
    let before = group.kernel_bytes();
    done.open(0);
    ready.pass();
    let after = group.kernel_bytes();
    done.open(0);
    child.join();
    after.saturating_sub(before)
}

/// Sends without an error until a socket has missed one.
fn fill(sender: &Sock, out: &Out, full: &Sock) {
    while full.lost() == 0 {
        sender.send_msg(out).unwrap();
    }
}

/// However many sockets a user has, payload that waits for them is at most its budget.
fn payload_of_one_user() {
    let _budget = Sysctl::set("user_bytes", 4 << 20);
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let socks: Vec<Sock> = (0..64)
        .map(|i| {
            as_user(ATTACKER, || {
                let sock = Sock::on(&bus);
                sock.set_queue_len(16384);
                sock.listen(&format!("$.Attack.N{i}")).unwrap();
                sock
            })
        })
        .collect();
    for (i, sock) in socks.iter().enumerate() {
        fill(
            &owner,
            &Out::to(&format!("$.Attack.N{i}"), &[0; 4096]),
            sock,
        );
    }
    let held = owner.bus_info().unwrap().bytes;
    eprintln!(
        "# 64 greedy sockets hold {held} bytes of payload with a budget of {}",
        4 << 20
    );
    assert!(held <= 4 << 20, "{held}");
    assert!(held > 3 << 20, "{held}");
}

/// All that waits for a user together, in queues as long as there may be, and of the kinds that take most: payload of a
/// length for which the kernel's allocator takes twice as much, names of a thousand bytes, requests.
///
/// The bound: twice `user_bytes`, and 2048 bytes for each of `user_messages`.
fn all_that_waits_for_one_user() {
    const BYTES: u64 = 8 << 20;
    const MESSAGES: u64 = 12_000;
    const SOCKS: u32 = 12;
    let _bytes = Sysctl::set("user_bytes", BYTES);
    let _messages = Sysctl::set("user_messages", MESSAGES);
    let bus = fresh_bus();
    let listeners = |from: u32| -> Vec<(Sock, String)> {
        (from..from + SOCKS)
            .map(|i| {
                let (sock, name) = (Sock::on(&bus), longest_name(i));
                sock.set_queue_len(16384);
                sock.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
                sock.listen(&name).unwrap();
                (sock, name)
            })
            .collect()
    };
    let prepare = || {
        let sender = Sock::on(&bus);
        let replier = Sock::on(&bus);
        replier.set_queue_len(16384);
        replier.replier(&longest_name(0)).unwrap();
        (sender, replier, listeners(1), listeners(1 + SOCKS))
    };
    let pinned = pinned_after("all", prepare, |(sender, replier, rich, poor)| {
        for (sock, name) in &rich {
            fill(
                &sender,
                &Out::nowhere(&[1; 4097]).with(Cmsg::name(name)),
                sock,
            );
        }
        let ask = Out::nowhere(b"")
            .with(Cmsg::name(&longest_name(0)))
            .with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0));
        for (sock, _) in &poor[..4] {
            for _ in 0..MESSAGES / 32 {
                sock.send_msg(&ask).unwrap();
            }
        }
        for (sock, name) in &poor {
            fill(&sender, &Out::nowhere(b"").with(Cmsg::name(name)), sock);
        }
        let unread = |(sock, _): &(Sock, String)| u64::from(sock.unread());
        let waiting = rich.iter().chain(&poor).map(unread).sum::<u64>();
        let asked = u64::from(replier.unread());
        eprintln!(
            "# {waiting} messages and {asked} requests wait for one user, of at most {MESSAGES}"
        );
        assert!(waiting + 2 * asked <= MESSAGES, "{waiting} {asked}");
        assert!(waiting + 2 * asked > MESSAGES / 8 * 7, "{waiting} {asked}");
        (sender, replier, rich, poor)
    });
    let most = 2 * BYTES + MESSAGES * 2048;
    eprintln!("# together they pin {pinned} bytes of the kernel's memory, of at most {most}");
    assert!(pinned <= most, "{pinned} of {most}");
    assert!(pinned > most / 2, "{pinned} of {most}");
}

/// What a message without payload costs, with the longest name: less than the 2048 bytes that the limit of messages is
/// made for.
fn empty_messages_with_long_names() {
    const EACH: u64 = 4000;
    const SOCKS: u64 = 8;
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let pinned = pinned("empty", || {
        let sender = Sock::on(&bus);
        let socks: Vec<Sock> = (0..SOCKS as u32)
            .map(|i| {
                let sock = Sock::on(&bus);
                sock.set_queue_len(EACH as u32);
                sock.listen(&longest_name(i)).unwrap();
                fill(
                    &sender,
                    &Out::nowhere(b"").with(Cmsg::name(&longest_name(i))),
                    &sock,
                );
                sock
            })
            .collect();
        (sender, socks)
    });
    let each = pinned / (EACH * SOCKS);
    let most = Sysctl::get("user_messages");
    eprintln!(
        "# an empty message with a name of 1000 bytes pins {each} bytes; the {most} that may wait for a user {} MiB",
        (each * most) >> 20
    );
    assert!((1000..2048).contains(&each), "{each}");
}

/// A queue's entries are charged to the cgroup of the receiver: what one costs to listeners that never read.
fn entries_are_the_receiver_s() {
    const SOCKS: u64 = 16;
    const EACH: u64 = 4000;
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let (go, filled) = (Gate::new(), Gate::new());
    // The owner may fill all of them, and is in another cgroup.
    let filler = Child::fork(|| {
        go.pass();
        for _ in 0..EACH {
            owner.send_to("$.News", b"").unwrap();
        }
        filled.open(0);
    });
    let pinned = pinned_after(
        "entries",
        || {
            let listen = |_| {
                let sock = Sock::on(&bus);
                sock.set_queue_len(EACH as u32);
                sock.listen("$.News").unwrap();
                sock
            };
            (0..SOCKS).map(listen).collect::<Vec<_>>()
        },
        |listeners| {
            go.open(0);
            filled.pass();
            listeners
        },
    );
    filler.join();
    let each = pinned / EACH;
    eprintln!(
        "# an empty message to {SOCKS} listeners that never read pins {each} bytes of their cgroup, {} each",
        each / SOCKS
    );
    assert!((64 * SOCKS..400 * SOCKS).contains(&each), "{each}");
}

/// What a socket costs, and a binding with the longest name.
fn sockets_and_bindings() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let socks = pinned("sockets", || {
        (0..2000).map(|_| Sock::on(&bus)).collect::<Vec<_>>()
    });
    let bind = |replier: bool| {
        let bus = &bus;
        move || {
            let sock = Sock::on(bus);
            for n in 0..4000 {
                match replier {
                    true => sock.replier(&longest_name(n)),
                    false => sock.listen(&longest_name(n)),
                }
                .unwrap();
            }
            sock
        }
    };
    let listeners = pinned("listeners", bind(false));
    let repliers = pinned("repliers", bind(true));
    let (sock, listener, replier) = (socks / 2000, listeners / 4000, repliers / 4000);
    let most = Sysctl::get("user_bindings");
    eprintln!(
        "# a socket pins {sock} bytes; a binding with a name of 1000 bytes {listener}, a replier's {replier}, and {most} \
         of those {} MiB",
        (replier * most) >> 20
    );
    assert!((500..8192).contains(&sock), "{sock}");
    assert!((1000..8192).contains(&listener), "{listener}");
    assert!((1000..16384).contains(&replier), "{replier}");
}

/// All of it is charged to the attacker's memory cgroup, which ends it; the victim goes on, meanwhile and after that.
fn cgroup_bounds_the_attacker() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let mut victim = Victim::on(&bus);
    let group = Group::new("bounded");
    group.set_max(24 << 20);
    // It ends itself, or the kernel does.
    let ended = Gate::new();
    let mut attacker = Child::fork(|| {
        group.enter();
        raise_file_limit(4000);
        become_user(ATTACKER, ATTACKER);
        let sender = Sock::on(&bus);
        let mut socks = Vec::new();
        for i in 0..1000 {
            let sock = Sock::on(&bus);
            sock.set_queue_len(16384);
            sock.listen(&longest_name(i)).unwrap();
            let out = Out::nowhere(b"").with(Cmsg::name(&longest_name(i)));
            while sock.lost() == 0 {
                if let Err(errno) = sender.send_msg(&out) {
                    assert_eq!(errno.0, libc::ENOMEM);
                    ended.open(0);
                    park();
                }
            }
            socks.push(sock);
        }
        panic!("nothing has stopped it");
    });
    let over = || ended.is_open() || attacker.has_ended();
    let (mut steps, mut longest, mut bytes) = (0, Duration::ZERO, 0);
    while !over() {
        let begun = Instant::now();
        victim.step();
        longest = longest.max(begun.elapsed());
        if steps % 32 == 0 {
            bytes = group.kernel_bytes().max(bytes);
        }
        steps += 1;
    }
    eprintln!(
        "# an attacker with 24 MiB was stopped when it had {bytes} bytes of the kernel's memory; the victim took {steps} \
         steps meanwhile, the longest {longest:.1?}"
    );
    assert!(bytes > 16 << 20, "{bytes}");
    assert!(steps > 100, "{steps} steps");
    // As long as the attacker holds all of it, and when it is dead.
    for _ in 0..100 {
        victim.step();
    }
    match ended.is_open() {
        true => attacker.kill(),
        false => {
            let status = attacker.wait_raw();
            let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            assert!(killed, "wait status {status:#x}");
        }
    }
    for _ in 0..100 {
        victim.step();
    }
}
