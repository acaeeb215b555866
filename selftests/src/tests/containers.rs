// SPDX-License-Identifier: GPL-2.0
//! A user namespace that root made is a user of its own: what happens in it takes nothing from root, nor from another one.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;

use kbus_selftests::files;
use kbus_selftests::process;
use kbus_selftests::process::in_container;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::blocked::WAIT;
use super::fails;
use super::rights::limit_descriptors;

super::tests! {
    container_s_buses_are_its_own container_s_bytes_are_its_own container_s_messages_are_its_own
    container_s_requests_are_its_own container_s_bindings_are_its_own container_s_wide_listeners_are_its_own
    container_s_waits_are_its_own container_s_descriptors_in_flight_are_its_own
    users_of_a_container_are_one namespaces_in_a_container_are_the_container
    namespace_of_an_ordinary_user_is_that_user container_that_has_gone_leaves_the_next_one_nothing
    root_s_use_takes_nothing_from_a_container
}

/// The first ids of two containers.
const FIRST: u32 = 100_000;
const SECOND: u32 = 200_000;

/// Has a container use up something and keep it, while somebody else uses as much of the same: root of the machine, and
/// root of another container. `use_up` says how much it was; all three must have had `wanted`.
#[track_caller]
fn each_has_its_own<T>(wanted: u64, use_up: impl Fn() -> (u64, T)) {
    let (used, gone) = (Gate::new(), Gate::new());
    let mut first = in_container(FIRST, || {
        let (count, _kept) = use_up();
        used.open(count);
        gone.pass();
    });
    assert_eq!(used.opened_by(&mut first), wanted, "in a container");
    let mut second = in_container(SECOND, || {
        let (count, _kept) = use_up();
        used.open(count);
    });
    assert_eq!(used.opened_by(&mut second), wanted, "in another container");
    second.join();
    let (count, kept) = use_up();
    assert_eq!(count, wanted, "of the machine's root");
    drop(kept);
    gone.open(0);
    first.join();
}

/// Does something until it is `EDQUOT`; says how often it was done, and keeps what came of it.
fn until_quota<T>(mut one: impl FnMut() -> Res<T>) -> (u64, Vec<T>) {
    let mut all = Vec::new();
    loop {
        match one() {
            Ok(it) => all.push(it),
            Err(errno) => {
                assert_eq!(errno, Errno(libc::EDQUOT));
                return (all.len() as u64, all);
            }
        }
    }
}

/// A socket on a new bus, if there may be one.
fn new_bus() -> Res<Sock> {
    let sock = Sock::new();
    sock.bind(&fresh_bus())?;
    Ok(sock)
}

/// Sends messages of so many bytes until the socket misses one; says how many it has.
fn fill(sock: &Sock, len: usize) -> u64 {
    sock.set_queue_len(1000);
    sock.listen("$.A").unwrap();
    while sock.lost() == 0 {
        sock.send_to("$.A", &vec![1; len]).unwrap();
    }
    sock.unread().into()
}

/// A folder for a bus that all users and containers may join, and root has made.
fn shared_bus() -> (PathBuf, Sock) {
    let path = files::open_dir().join("bus");
    let sock = Sock::at(&path);
    files::chmod(&path, 0o777);
    (path, sock)
}

/// Somebody to send requests to, who is none of those whose budgets are tried.
fn replier(path: &Path) -> Sock {
    let sock = process::as_user(4007, || Sock::at(path));
    sock.set_queue_len(1000);
    sock.replier("$.A").unwrap();
    sock
}

/// 256 buses of a container are none of root's, or of another one.
fn container_s_buses_are_its_own() {
    assert_eq!(Sysctl::get("user_buses"), 256);
    each_has_its_own(256, || until_quota(new_bus));
}

/// Bytes that wait in a container leave root's budget, and other containers', as they were.
fn container_s_bytes_are_its_own() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    each_has_its_own(33, || {
        let sock = Sock::on(&fresh_bus());
        (fill(&sock, 1024), sock)
    });
}

/// So do messages.
fn container_s_messages_are_its_own() {
    let _budget = Sysctl::set("user_messages", 64);
    each_has_its_own(33, || {
        let sock = Sock::on(&fresh_bus());
        (fill(&sock, 0), sock)
    });
}

/// What a request takes is of the budget of the container that sends it, on a bus that is shared with others.
fn container_s_requests_are_its_own() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let (path, _maker) = shared_bus();
    let _replier = replier(&path);
    each_has_its_own(7, || {
        let sock = Sock::at(&path);
        sock.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
        let (count, _) = until_quota(|| sock.request("$.A", &[1; 8 << 10]));
        (count, sock)
    });
}

/// Bindings on a bus that they share are counted for each.
fn container_s_bindings_are_its_own() {
    let (path, _maker) = shared_bus();
    let _limit = Sysctl::set("user_bindings", 3);
    each_has_its_own(3, || {
        let sock = Sock::at(&path);
        let (count, _) = until_quota(|| sock.listen("$.A"));
        (count, sock)
    });
}

/// So are sockets that listen to everything.
fn container_s_wide_listeners_are_its_own() {
    let (path, _maker) = shared_bus();
    let _limit = Sysctl::set("user_wide", 2);
    each_has_its_own(2, || {
        until_quota(|| {
            let sock = Sock::at(&path);
            sock.listen("$.*").map(|()| sock)
        })
    });
}

/// Begins `limit` sends that wait for `$.A` on this bus, and insists that one more is `EDQUOT`.
fn wait_until_quota(path: &Path, limit: u64) -> (u64, Vec<Blocked>) {
    let waits = (0..limit)
        .map(|_| Blocked::in_call(|| Sock::at(path).send_with("$.A", b"w", WAIT)))
        .collect();
    fails!(EDQUOT, Sock::at(path).send_with("$.A", b"w", WAIT));
    (limit, waits)
}

/// And sends that wait.
fn container_s_waits_are_its_own() {
    let (path, full) = shared_bus();
    full.set_queue_len(1);
    full.listen("$.A").unwrap();
    full.send_to("$.A", b"").unwrap();
    let _limit = Sysctl::set("user_waits", 2);
    each_has_its_own(2, || wait_until_quota(&path, 2));
}

/// And descriptors in flight. Root of the machine has no limit unless it gives up its capabilities, which it does here.
fn container_s_descriptors_in_flight_are_its_own() {
    let (path, reader) = shared_bus();
    reader
        .set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
        .unwrap();
    reader.set_queue_len(1000);
    reader.listen("$.A").unwrap();
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let five = [file.as_raw_fd(); 5];
    let out = Out::to("$.A", b"").with(Cmsg::all_rights(&five));
    // Before there are others in flight, whom the limit would bind as well.
    let count = |own: &Gate| {
        process::drop_capabilities();
        limit_descriptors(16);
        let sock = Sock::at(&path);
        let mut sent = 0;
        while sock.send_msg(&out).is_ok() {
            sent += 1;
        }
        fails!(ETOOMANYREFS, sock.send_msg(&out));
        own.open(sent);
    };
    let sent = Gate::new();
    for first in [FIRST, SECOND] {
        let mut container = in_container(first, || count(&sent));
        // Up to 16 and one message more.
        assert_eq!(sent.opened_by(&mut container), 4, "{first}");
        container.join();
    }
    let mut root = Child::fork(|| count(&sent));
    assert_eq!(sent.opened_by(&mut root), 4);
    root.join();
    // They are still there, and still of who sent them.
    assert_eq!(reader.unread(), 12);
}

/// All users of a container are one user.
fn users_of_a_container_are_one() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    in_container(FIRST, || {
        let (bus, ready) = (fresh_bus(), Gate::new());
        let sock = Sock::on(&bus);
        assert_eq!(fill(&sock, 1024), 33);
        for user in [1, 1000, 65535] {
            Child::fork(|| {
                process::become_user(user, user);
                // Half of what is left, and not of a budget of its own.
                assert_eq!(fill(&Sock::on(&fresh_bus()), 1024), 16);
                ready.open(0);
            })
            .join();
            ready.pass();
        }
    })
    .join();
}

/// User namespaces that are made in a container, by its root or by another user of it, are that container.
fn namespaces_in_a_container_are_the_container() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    in_container(FIRST, || {
        assert_eq!(fill(&Sock::on(&fresh_bus()), 1024), 33);
        let sock = Sock::on(&fresh_bus());
        assert_eq!(fill(&sock, 1024), 33, "what has gone is given back");
        for user in [0, 1000] {
            Child::fork(|| {
                process::become_user(user, user);
                for _ in 0..3 {
                    process::new_userns(0, 0);
                    assert_eq!(fill(&Sock::on(&fresh_bus()), 1024), 16);
                }
            })
            .join();
        }
    })
    .join();
}

/// A user namespace that another user made is that user's, also one that root has lent ids to.
fn namespace_of_an_ordinary_user_is_that_user() {
    const USER: u32 = 4006;
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let sock = process::as_user(USER, || Sock::on(&fresh_bus()));
    assert_eq!(fill(&sock, 1024), 33);
    let bus = fresh_bus();
    process::as_lent_users(USER, &[0, 1, 1000], |_| {
        assert_eq!(fill(&Sock::on(&bus), 1024), 16);
    });
    Child::fork(|| {
        process::become_user(USER, USER);
        for _ in 0..3 {
            process::new_userns(0, 0);
            assert_eq!(fill(&Sock::on(&bus), 1024), 16);
        }
    })
    .join();
    // None of it was root's.
    assert_eq!(fill(&Sock::on(&bus), 1024), 33);
}

/// What a container has left in other people's queues when it ends stays its own: the next container, which may be given
/// the same numbers by the kernel, does not pay for it.
fn container_that_has_gone_leaves_the_next_one_nothing() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let (path, _maker) = shared_bus();
    let replier = replier(&path);
    for round in 0..20 {
        let sent = Gate::new();
        let mut container = in_container(FIRST, || {
            let sock = Sock::at(&path);
            sock.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
            sent.open(until_quota(|| sock.request("$.A", &[1; 8 << 10])).0);
        });
        assert_eq!(sent.opened_by(&mut container), 7, "container {round}");
        container.join();
    }
    assert_eq!(replier.unread(), 7 * 20);
    // It was none of root's, either.
    let sock = Sock::at(&path);
    sock.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
    assert_eq!(until_quota(|| sock.request("$.A", &[1; 8 << 10])).0, 7);
}

/// Nor does root take anything from its containers.
fn root_s_use_takes_nothing_from_a_container() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let root = Sock::on(&fresh_bus());
    assert_eq!(fill(&root, 1024), 33);
    in_container(FIRST, || {
        assert_eq!(fill(&Sock::on(&fresh_bus()), 1024), 33);
    })
    .join();
}
