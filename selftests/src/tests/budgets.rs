// SPDX-License-Identifier: GPL-2.0
//! Who pays for bytes: the budgets of users, and their shares of a bus.

use kbus_selftests::cgroup::drop_caches;
use kbus_selftests::cgroup::Group;
use kbus_selftests::process;
use kbus_selftests::process::as_user;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    budget_default budget_used_up_is_a_full_listener budget_used_up_fails_all_or_fail
    payload_counts_once_per_user reading_gives_back closing_gives_back
    one_leaking_socket_leaves_others_of_its_user_room leaking_user_costs_others_nothing
    request_counts_for_its_sender_until_read reservation_counts_for_the_requester
    reply_within_its_reservation_needs_no_budget long_reply_needs_budget
    waits_for_a_budget_that_is_released_elsewhere pollout_comes_back_with_the_budget
    budget_is_the_machine_s_not_the_bus_s subordinate_users_have_one_budget users_of_root_s_namespace_are_one_of_their_own
    leaving_keeps_the_debt_of_a_user raised_limits_wake_who_waits
    half_of_what_is_left_of_a_bus all_of_a_bus_for_its_owner
}
// It makes thousands of users: on a host with other work that takes too long.
super::timed! { users_who_have_nothing_left_are_forgotten }

pub(super) const A: u32 = 4001;
pub(super) const B: u32 = 4002;
const KB: usize = 1024;

/// A socket of another user.
pub(super) fn of(user: u32, bus: &str) -> Sock {
    as_user(user, || Sock::on(bus))
}

/// A listener of another user, with a queue that messages do not fill.
pub(super) fn listener(user: u32, bus: &str, name: &str) -> Sock {
    let sock = of(user, bus);
    sock.set_queue_len(10_000);
    sock.listen(name).unwrap();
    sock
}

/// Sends 1 KiB each until one is missed; says how many arrived.
fn fill_with_kib(sender: &Sock, name: &str, sock: &Sock) -> u32 {
    let before = sock.lost();
    let had = sock.unread();
    while sock.lost() == before {
        sender.send_to(name, &[1; KB]).unwrap();
    }
    sock.unread() - had
}

/// `net.kbus.user_bytes` is a sixteenth of the memory, at least 64 MiB.
fn budget_default() {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = text
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let total = total.parse::<u64>().unwrap() * 1024;
    assert_eq!(Sysctl::get("user_bytes"), (total / 16).max(64 << 20));
}

/// A user's budget is used up: its listener misses and is told; the sender
/// sees no error.
fn budget_used_up_is_a_full_listener() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let (sender, victim) = (Sock::on(&bus), listener(A, &bus, "$.A"));
    // What it holds may reach what is left, and one message more.
    assert_eq!(fill_with_kib(&sender, "$.A", &victim), 33);
    for _ in 0..33 {
        victim.recv().unwrap();
    }
    sender.send_to("$.A", b"again").unwrap();
    let msg = victim.recv().unwrap();
    assert_eq!((msg.data.as_slice(), msg.info.lost), (&b"again"[..], 1));
}

/// For `KBUS_ALL_OR_FAIL` it is full like any other queue: `EBUSY`.
fn budget_used_up_fails_all_or_fail() {
    let _budget = Sysctl::set("user_bytes", 8 << 10);
    let bus = fresh_bus();
    let (sender, victim) = (Sock::on(&bus), listener(A, &bus, "$.A"));
    let other = listener(B, &bus, "$.A");
    fill_with_kib(&sender, "$.A", &victim);
    other.drain();
    fails!(
        EBUSY,
        sender.send_with("$.A", &[1; KB], uapi::KBUS_ALL_OR_FAIL)
    );
    silent!(other);
    victim.drain();
    sender
        .send_with("$.A", &[1; KB], uapi::KBUS_ALL_OR_FAIL)
        .unwrap();
}

/// A payload counts once per user, however many of its queues hold it.
fn payload_counts_once_per_user() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let many: Vec<Sock> = (0..8).map(|_| listener(A, &bus, "$.A")).collect();
    assert_eq!(fill_with_kib(&sender, "$.A", &many[7]), 33);
    assert!(many.iter().all(|sock| sock.unread() == 33));
}

/// What is read is given back.
fn reading_gives_back() {
    let _budget = Sysctl::set("user_bytes", 8 << 10);
    let bus = fresh_bus();
    let (sender, victim) = (Sock::on(&bus), listener(A, &bus, "$.A"));
    for _ in 0..5 {
        assert_eq!(fill_with_kib(&sender, "$.A", &victim), 5);
        victim.drain();
    }
}

/// So is what was unread when its socket closed.
fn closing_gives_back() {
    let _budget = Sysctl::set("user_bytes", 8 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    for _ in 0..5 {
        let victim = listener(A, &bus, "$.A");
        assert_eq!(fill_with_kib(&sender, "$.A", &victim), 5);
    }
}

/// A socket may take a message only while it holds no more than its user has
/// left: one that is never read leaves the user's others room.
fn one_leaking_socket_leaves_others_of_its_user_room() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let leaking = listener(A, &bus, "$.Leak");
    let good = listener(A, &bus, "$.Good");
    fill_with_kib(&sender, "$.Leak", &leaking);
    for _ in 0..100 {
        sender.send_to("$.Good", &[1; 8 * KB]).unwrap();
        good.recv().unwrap();
    }
    assert_eq!(good.lost(), 0);
}

/// Another user notices nothing of it.
fn leaking_user_costs_others_nothing() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let leaking: Vec<Sock> = (0..4).map(|_| listener(A, &bus, "$.*")).collect();
    let good = listener(B, &bus, "$.A");
    for _ in 0..200 {
        sender.send_to("$.A", &[1; 16 * KB]).unwrap();
        good.recv().unwrap();
    }
    assert_eq!(good.lost(), 0);
    assert!(leaking.iter().all(|sock| sock.lost() > 0));
}

/// A request's payload counts in its sender's budget, until it is read.
fn request_counts_for_its_sender_until_read() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let replier = Sock::on(&bus);
    replier.replier("$.A").unwrap();
    let sender = of(A, &bus);
    sender.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
    let mut sent = 0;
    let refused = loop {
        match sender.request("$.A", &[1; 8 * KB]) {
            Ok(_) => sent += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((sent, refused.0), (7, libc::EDQUOT));
    replier.recv().unwrap();
    sender.request("$.A", &[1; 8 * KB]).unwrap();
    fails!(EDQUOT, sender.request("$.A", &[1; 8 * KB]));
}

/// So do the bytes reserved for its reply, in the requester's: `ENOBUFS`.
fn reservation_counts_for_the_requester() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let replier = Sock::on(&bus);
    replier.replier("$.A").unwrap();
    let (sender, other) = (of(A, &bus), of(A, &bus));
    for sock in [&sender, &other] {
        sock.set_u32(uapi::KBUS_REPLY_MAX, 16 << 10).unwrap();
    }
    // A socket that holds more than is left takes no more.
    for _ in 0..3 {
        sender.request("$.A", b"").unwrap();
    }
    fails!(ENOBUFS, sender.request("$.A", b""));
    other.request("$.A", b"").unwrap();
    fails!(ENOBUFS, other.request("$.A", b""));
    let request = replier.recv().unwrap();
    replier.reply(&request, b"").unwrap();
    sender.recv().unwrap();
    other.request("$.A", b"").unwrap();
}

/// A reply within its reservation fits, whatever else waits for its user.
fn reply_within_its_reservation_needs_no_budget() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let (replier, sender) = (Sock::on(&bus), Sock::on(&bus));
    replier.replier("$.A").unwrap();
    let requester = of(A, &bus);
    requester.set_u32(uapi::KBUS_REPLY_MAX, 8 << 10).unwrap();
    requester.request("$.A", b"").unwrap();
    let others: Vec<Sock> = (0..6).map(|_| listener(A, &bus, "$.B")).collect();
    let more = listener(A, &bus, "$.C");
    fill_with_kib(&sender, "$.B", &others[0]);
    fill_with_kib(&sender, "$.C", &more);
    let request = replier.recv().unwrap();
    replier.reply(&request, &[2; 8 * KB]).unwrap();
    assert_eq!(requester.recv_wait().unwrap().info.len, 8 << 10);
}

/// A longer one needs its user's budget too: `EMSGSIZE`, and still owed.
fn long_reply_needs_budget() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let (replier, sender) = (Sock::on(&bus), Sock::on(&bus));
    replier.replier("$.A").unwrap();
    let requester = of(A, &bus);
    requester.set_u32(uapi::KBUS_REPLY_MAX, 1 << 10).unwrap();
    requester.request("$.A", b"").unwrap();
    let other = listener(A, &bus, "$.B");
    fill_with_kib(&sender, "$.B", &other);
    let request = replier.recv().unwrap();
    fails!(EMSGSIZE, replier.reply(&request, &[2; 40 * KB]));
    replier.reply(&request, &[2; 16 * KB]).unwrap();
}

/// A send that waits for a queue whose user has no bytes goes when the user
/// has some again, wherever they come from.
fn waits_for_a_budget_that_is_released_elsewhere() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let (here, there) = (fresh_bus(), fresh_bus());
    let elsewhere = listener(A, &there, "$.A");
    let (sender, feeder) = (Sock::on(&here), Sock::on(&there));
    let target = listener(A, &here, "$.A");
    fill_with_kib(&feeder, "$.A", &elsewhere);
    let wait = Blocked::in_call(|| sender.send_with("$.A", &[1; 32 * KB], uapi::KBUS_ALL_OR_WAIT));
    silent!(target);
    elsewhere.recv().unwrap();
    elsewhere.recv().unwrap();
    wait.result().unwrap();
    assert_eq!(target.recv().unwrap().info.len, 32 << 10);
}

/// A non-blocking one is told by `POLLOUT`.
fn pollout_comes_back_with_the_budget() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let (here, there) = (fresh_bus(), fresh_bus());
    let elsewhere = listener(A, &there, "$.A");
    let (sender, feeder) = (Sock::on(&here), Sock::on(&there));
    let _target = listener(A, &here, "$.A");
    fill_with_kib(&feeder, "$.A", &elsewhere);
    fails!(
        EAGAIN,
        sender.try_send_with("$.A", &[1; 32 * KB], uapi::KBUS_ALL_OR_WAIT)
    );
    assert_eq!(sender.poll(libc::POLLOUT, 0), 0);
    elsewhere.drain();
    assert_eq!(sender.poll(libc::POLLOUT, 1000), libc::POLLOUT);
    sender
        .try_send_with("$.A", &[1; 32 * KB], uapi::KBUS_ALL_OR_WAIT)
        .unwrap();
}

/// A user has one budget for the whole machine, whatever the buses and network
/// namespaces.
fn budget_is_the_machine_s_not_the_bus_s() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let (sender, sock) = (Sock::on(&bus), listener(A, &bus, "$.A"));
    fill_with_kib(&sender, "$.A", &sock);
    Child::fork(|| {
        process::new_netns();
        let bus = fresh_bus();
        let (sender, other) = (Sock::on(&bus), listener(A, &bus, "$.A"));
        // Half of what the first left.
        assert_eq!(fill_with_kib(&sender, "$.A", &other), 16);
    })
    .join();
}

/// Users that one user lends to its user namespace are that one user.
fn subordinate_users_have_one_budget() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let outside = listener(A, &bus, "$.A");
    fill_with_kib(&sender, "$.A", &outside);
    // As many users as there may be, lent by the administrator to a namespace of A.
    process::as_lent_users(A, &[0, 1, 2], |_| {
        let sock = Sock::on(&bus);
        sock.set_queue_len(10_000);
        sock.listen("$.B").unwrap();
        // Half of what the one outside left, and not of a budget of its own.
        assert_eq!(fill_with_kib(&sender, "$.B", &sock), 16);
    });
}

/// If the namespace is root's, they are one user too, which is not root.
fn users_of_root_s_namespace_are_one_of_their_own() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = of(A, &bus);
    let root = listener(0, &bus, "$.A");
    fill_with_kib(&sender, "$.A", &root);
    let first = process::Gate::new();
    process::as_lent_users(0, &[0, 7], |user| {
        let sock = Sock::on(&bus);
        sock.set_queue_len(10_000);
        sock.listen("$.B").unwrap();
        // All of a budget, as the first of them has gone when the second comes.
        assert_eq!(fill_with_kib(&sender, "$.B", &sock), 33);
        first.open(user.into());
    });
    assert_eq!((first.pass(), first.pass()), (0, 7));
}

/// Closing all sockets is no way to a new budget: what is unread still counts.
fn leaving_keeps_the_debt_of_a_user() {
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let replier = Sock::on(&bus);
    replier.replier("$.A").unwrap();
    for _ in 0..7 {
        let sender = of(A, &bus);
        sender.set_u32(uapi::KBUS_REPLY_MAX, 1).unwrap();
        sender.request("$.A", &[1; 8 * KB]).unwrap();
    }
    fails!(EDQUOT, of(A, &bus).request_with("$.A", &[1; 8 * KB], 1, 0));
}

/// Who waits for a budget goes on when it is made larger, too.
fn raised_limits_wake_who_waits() {
    let raise = |name: &str, len: usize, most: u64| {
        let _limit = Sysctl::set(name, 0);
        let bus = fresh_bus();
        let (sender, poller) = (Sock::on(&bus), Sock::on(&bus));
        let target = listener(A, &bus, "$.A");
        let payload = vec![1; len];
        let wait = Blocked::in_call(|| sender.send_with("$.A", &payload, uapi::KBUS_ALL_OR_WAIT));
        fails!(
            EAGAIN,
            poller.try_send_with("$.A", &payload, uapi::KBUS_ALL_OR_WAIT)
        );
        assert_eq!(poller.poll(libc::POLLOUT, 0), 0);
        let _raised = Sysctl::set(name, most);
        wait.result().unwrap();
        assert_eq!(poller.poll(libc::POLLOUT, 1000), libc::POLLOUT);
        assert_eq!(target.recv().unwrap().info.len as usize, len);
    };
    raise("user_bytes", 3000, 64 << 10);
    raise("user_messages", 0, 64);
}

/// A user of whom nothing is left is forgotten, also if the last of it was a message that somebody else has read.
fn users_who_have_nothing_left_are_forgotten() {
    const USERS: u32 = 2000;
    let group = Group::new("users");
    Child::fork(|| {
        group.enter();
        let bus = fresh_bus();
        let replier = Sock::on(&bus);
        replier.set_queue_len(USERS);
        replier.replier("$.A").unwrap();
        let turns = [1, 2, 3, 4].map(|turn| {
            for user in 0..USERS {
                of(turn * 10_000 + user, &bus).request("$.A", b"x").unwrap();
            }
            for _ in 0..USERS {
                let request = replier.recv().unwrap();
                replier.ignore(request.info.id).unwrap();
            }
            for _ in 0..USERS {
                drop(of(A, &bus));
            }
            // What is freed after a grace period is.
            process::sleep_ms(1000);
            drop_caches();
            process::sleep_ms(1000);
            group.kernel_bytes()
        });
        // What else grows does so once.
        let grown = turns.windows(2).map(|two| two[1].saturating_sub(two[0]));
        let grown = grown.min().unwrap();
        eprintln!("# {USERS} users who came and went: {grown} bytes");
        // One that is remembered takes 600 bytes and more.
        assert!(grown < u64::from(USERS) * 200, "{grown}");
    })
    .join();
}

/// A user may take at most half of what is left of a bus's bytes.
fn half_of_what_is_left_of_a_bus() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u64(uapi::KBUS_BUS_BYTES, 64 << 10).unwrap();
    let reader = Sock::on(&bus);
    reader.set_queue_len(10_000);
    reader.listen("$.A").unwrap();
    let takes = |user: u32| {
        let sock = of(user, &bus);
        (0..)
            .take_while(|_| sock.send_to("$.A", &[1; KB]).is_ok())
            .count()
    };
    // 32 of 64, then 16 of the 32 that are left, and so on.
    assert_eq!(takes(A), 32);
    assert_eq!(takes(A), 0, "not by another socket either");
    assert_eq!(takes(B), 16);
    assert_eq!(takes(4003), 8);
    fails!(EDQUOT, of(A, &bus).send_to("$.A", &[1; KB]));
    reader.drain();
    assert_eq!(takes(B), 32);
}

/// The bus's owner may take all.
fn all_of_a_bus_for_its_owner() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.set_u64(uapi::KBUS_BUS_BYTES, 64 << 10).unwrap();
    owner.set_queue_len(10_000);
    owner.listen("$.A").unwrap();
    for _ in 0..64 {
        owner.send_to("$.A", &[1; KB]).unwrap();
    }
    fails!(EDQUOT, owner.send_to("$.A", &[1; KB]));
}
