// SPDX-License-Identifier: GPL-2.0
//! The one order of messages, and `KBUS_SYNC`.

use std::thread;

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::full_listener;
use super::silent;

super::tests! {
    sync_needs_a_bus sync_cannot_be_set sync_needs_room_for_a_number
    sync_is_no_less_than_what_was_delivered sync_is_no_less_than_what_others_sent
    sync_covers_every_bus_of_the_domain sync_never_goes_back sync_sends_nothing
    nothing_at_or_below_sync_comes_later two_buses_merge_in_the_true_order
    ids_ascend_over_two_buses_at_once ids_of_other_domains_are_their_own
    readers_agree_on_what_they_both_saw readers_agree_with_senders_in_threads
    every_queue_ascends_with_requests_and_replies
    every_queue_ascends_with_waiters statuses_and_events_are_in_the_order_too
    a_reply_is_after_its_request ids_of_more_than_32_bits
}

const WAIT: u32 = uapi::KBUS_ALL_OR_WAIT;

/// Before `bind` there is nothing to be in step with: `ENOTCONN`.
fn sync_needs_a_bus() {
    fails!(ENOTCONN, Sock::new().get_u64(uapi::KBUS_SYNC));
}

/// It is only read.
fn sync_cannot_be_set() {
    let sock = Sock::on(&fresh_bus());
    assert!(sock.set_u64(uapi::KBUS_SYNC, 1).is_err());
}

/// It is 64 bits: a smaller buffer is `EINVAL`.
fn sync_needs_room_for_a_number() {
    let sock = Sock::on(&fresh_bus());
    fails!(EINVAL, sock.get(uapi::KBUS_SYNC, 4));
    assert_eq!(sock.get(uapi::KBUS_SYNC, 16).unwrap().len(), 8);
}

/// `KBUS_SYNC` is no less than any id delivered so far.
fn sync_is_no_less_than_what_was_delivered() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    for _ in 0..50 {
        a.send_to("$.A", b"").unwrap();
        let id = b.recv().unwrap().info.id;
        assert!(a.sync() >= id);
        assert!(b.sync() >= id);
    }
}

/// Read or unread, by whomever it was sent, in whatever process.
fn sync_is_no_less_than_what_others_sent() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let sent = Gate::new();
    Child::fork(|| {
        let sender = Sock::on(&bus);
        sender.send_to("$.A", b"").unwrap();
        sent.open(sender.last_sent());
    })
    .join();
    assert!(sock.sync() >= sent.pass());
    assert_eq!(sock.unread(), 1);
}

/// Its numbers are those of the domain: they can be compared between buses.
fn sync_covers_every_bus_of_the_domain() {
    let (a, b) = (Sock::on(&fresh_bus()), Sock::on(&fresh_bus()));
    for _ in 0..20 {
        a.send_to("$.A", b"").unwrap();
        let before = b.sync();
        b.send_to("$.A", b"").unwrap();
        assert!(b.last_sent() > before, "what comes later is above it");
        assert!(b.sync() >= b.last_sent());
        assert!(a.sync() >= a.last_sent());
    }
}

/// It never goes back, whoever sends meanwhile.
fn sync_never_goes_back() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    let senders: Vec<Child> = (0..2)
        .map(|_| {
            Child::fork(|| {
                let sender = Sock::on(&bus);
                for _ in 0..500 {
                    sender.send_to("$.A", b"").unwrap();
                }
            })
        })
        .collect();
    let mut last = 0;
    for _ in 0..2000 {
        let now = sock.sync();
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
    senders.into_iter().for_each(Child::join);
}

/// Asking for it sends nothing and takes no id.
fn sync_sends_nothing() {
    process::new_netns();
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"").unwrap();
    let id = sock.last_sent();
    for _ in 0..10 {
        sock.sync();
    }
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(sock.last_sent(), id + 1);
    assert_eq!(sock.unread(), 2);
}

/// A process that announces `$.A` until it is killed, never losing anything.
fn chatter(bus: &str) -> Child {
    let ready = Gate::new();
    let child = Child::fork(|| {
        let sock = Sock::on(bus);
        ready.open(1);
        loop {
            sock.send_with("$.A", b"x", WAIT).unwrap();
        }
    });
    ready.pass();
    child
}

/// Every message of the bus with an id up to it is in its queue already: what
/// comes later is above it.
fn nothing_at_or_below_sync_comes_later() {
    let bus = fresh_bus();
    let reader = Sock::on(&bus);
    reader.set_queue_len(50);
    reader.listen("$.A").unwrap();
    let _senders = [chatter(&bus), chatter(&bus), chatter(&bus)];
    for _ in 0..300 {
        let sync = reader.sync();
        // All of these, and perhaps more, were there by then.
        for _ in 0..reader.unread() {
            reader.recv().unwrap();
        }
        let next = reader.recv_wait().unwrap().info.id;
        assert!(
            next > sync,
            "{next} came after {sync} was said to be complete"
        );
    }
    assert_eq!(reader.lost(), 0);
}

/// With it a reader of several buses merges them in the one true order.
fn two_buses_merge_in_the_true_order() {
    let buses = [fresh_bus(), fresh_bus()];
    let readers = buses.each_ref().map(|bus| {
        let sock = Sock::on(bus);
        sock.set_queue_len(50);
        sock.listen("$.A").unwrap();
        sock
    });
    let _senders = buses.each_ref().map(|bus| [chatter(bus), chatter(bus)]);
    let mut waiting = Vec::new();
    let mut last = 0;
    let mut merged = 0;
    while merged < 1000 {
        // Complete up to here on both, so what is there can be sorted.
        let sync = readers
            .each_ref()
            .map(Sock::sync)
            .into_iter()
            .min()
            .unwrap();
        for sock in &readers {
            while let Ok(msg) = sock.recv() {
                waiting.push(msg.info.id);
                if msg.info.id > sync {
                    break;
                }
            }
        }
        waiting.sort_unstable();
        let ready = waiting.partition_point(|id| *id <= sync);
        for id in waiting.drain(..ready) {
            assert!(id > last, "{id} was merged after {last}");
            last = id;
            merged += 1;
        }
    }
}

/// Ids ascend over two buses that are used at once, and none is used twice.
fn ids_ascend_over_two_buses_at_once() {
    let buses = [fresh_bus(), fresh_bus()];
    let readers = buses.each_ref().map(|bus| {
        let sock = Sock::on(bus);
        sock.set_queue_len(1000);
        sock.listen("$.A").unwrap();
        sock
    });
    let senders: Vec<Child> = (0..4)
        .map(|_| {
            Child::fork(|| {
                let socks = buses.each_ref().map(|bus| Sock::on(bus));
                let mut last = 0;
                for n in 0..400 {
                    let sock = &socks[n % 2];
                    sock.send_to("$.A", b"").unwrap();
                    assert!(sock.last_sent() > last);
                    last = sock.last_sent();
                }
            })
        })
        .collect();
    senders.into_iter().for_each(Child::join);
    let mut all = Vec::new();
    for sock in &readers {
        let ids: Vec<u64> = (0..800).map(|_| sock.recv().unwrap().info.id).collect();
        assert!(ids.is_sorted());
        all.extend(ids);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 1600);
}

/// Another network namespace is another domain: its ids do not show what is
/// sent here.
fn ids_of_other_domains_are_their_own() {
    let sock = Sock::on(&fresh_bus());
    let (first, go) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        process::new_netns();
        let inner = Sock::on(&fresh_bus());
        inner.send_to("$.A", b"").unwrap();
        let id = inner.last_sent();
        first.open(id);
        go.pass();
        inner.send_to("$.A", b"").unwrap();
        assert_eq!(inner.last_sent(), id + 1);
    });
    // A skipped child never gets that far.
    while !first.is_open() {
        if child_ended(&child) {
            return child.join();
        }
        process::sleep_ms(1);
    }
    for _ in 0..100 {
        sock.send_to("$.A", b"").unwrap();
    }
    go.open(1);
    child.join();
}

fn child_ended(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
    stat.contains(") Z ")
}

/// Reads all ids that wait, and insists that they ascend.
fn ascending(sock: &Sock) -> Vec<u64> {
    let ids: Vec<u64> = std::iter::from_fn(|| sock.recv().ok())
        .map(|msg| msg.info.id)
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(sock.lost(), 0);
    ids
}

/// Any two readers agree on the order of whatever both of them saw.
fn agree(first: &[u64], second: &[u64]) {
    let common = |these: &[u64], those: &[u64]| -> Vec<u64> {
        let those: std::collections::HashSet<u64> = those.iter().copied().collect();
        these
            .iter()
            .copied()
            .filter(|id| those.contains(id))
            .collect()
    };
    let (these, those) = (common(first, second), common(second, first));
    assert!(!these.is_empty());
    assert_eq!(these, those);
}

/// Listeners whose patterns overlap.
fn overlapping(bus: &str) -> Vec<Sock> {
    [&["$.A", "$.B"][..], &["$.B", "$.C"], &["$.*"]]
        .iter()
        .map(|patterns| {
            let sock = Sock::on(bus);
            sock.set_queue_len(5000);
            for pattern in *patterns {
                sock.listen(pattern).unwrap();
            }
            sock
        })
        .collect()
}

fn send_some(bus: &str, seed: u64) {
    let mut random = process::Random::new(seed);
    let sock = Sock::on(bus);
    for _ in 0..300 {
        let name = ["$.A", "$.B", "$.C"][random.below(3) as usize];
        sock.send_to(name, b"").unwrap();
    }
}

/// Any two readers agree on the order of whatever both of them saw, with several
/// processes sending at once.
fn readers_agree_on_what_they_both_saw() {
    let bus = fresh_bus();
    let readers = overlapping(&bus);
    let senders: Vec<Child> = (0..4)
        .map(|seed| Child::fork(|| send_some(&bus, seed)))
        .collect();
    senders.into_iter().for_each(Child::join);
    let orders: Vec<Vec<u64>> = readers.iter().map(ascending).collect();
    assert_eq!(orders[2].len(), 1200);
    agree(&orders[0], &orders[1]);
    agree(&orders[1], &orders[2]);
    agree(&orders[0], &orders[2]);
}

/// The same with threads of one process.
fn readers_agree_with_senders_in_threads() {
    let bus = fresh_bus();
    let readers = overlapping(&bus);
    thread::scope(|scope| {
        for seed in 0..4 {
            let bus = &bus;
            scope.spawn(move || send_some(bus, seed + 100));
        }
    });
    let orders: Vec<Vec<u64>> = readers.iter().map(ascending).collect();
    assert_eq!(orders[2].len(), 1200);
    agree(&orders[0], &orders[1]);
    agree(&orders[1], &orders[2]);
}

/// Requests and replies have their place in it like announcements.
fn every_queue_ascends_with_requests_and_replies() {
    let bus = fresh_bus();
    let snoops: Vec<Sock> = (0..2)
        .map(|_| {
            let sock = Sock::on(&bus);
            sock.set_queue_len(5000);
            sock.listen("$.*").unwrap();
            sock
        })
        .collect();
    let ready = Gate::new();
    let server = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.Ask").unwrap();
        ready.open(1);
        loop {
            let request = sock.recv_wait().unwrap();
            sock.reply(&request, b"").unwrap();
        }
    });
    ready.pass();
    let askers: Vec<Child> = (0..3)
        .map(|_| {
            Child::fork(|| {
                let sock = Sock::on(&bus);
                for _ in 0..100 {
                    sock.send_to("$.News", b"").unwrap();
                    let id = sock.request("$.Ask", b"").unwrap();
                    let reply = sock.recv_wait().unwrap().info;
                    assert_eq!(reply.in_reply_to, id);
                    assert!(reply.id > id);
                }
            })
        })
        .collect();
    askers.into_iter().for_each(Child::join);
    server.kill();
    let orders: Vec<Vec<u64>> = snoops.iter().map(ascending).collect();
    assert_eq!(orders[0].len(), 900);
    assert_eq!(orders[0], orders[1]);
}

/// A message that had to wait has the place of the time at which it went.
fn every_queue_ascends_with_waiters() {
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let snoop = Sock::on(&bus);
    snoop.listen("$.*").unwrap();
    let a = Sock::on(&bus);
    let first = Blocked::in_call(|| Sock::on(&bus).send_with("$.A", b"1", WAIT));
    a.send_to("$.B", b"").unwrap();
    let second = Blocked::in_call(|| Sock::on(&bus).send_with("$.A", b"2", WAIT));
    a.send_to("$.B", b"").unwrap();
    full.recv().unwrap();
    a.send_to("$.B", b"").unwrap();
    full.recv_wait().unwrap();
    a.send_to("$.B", b"").unwrap();
    let ids = [first.result().unwrap(), second.result().unwrap()];
    assert!(ids[0] < ids[1]);
    full.recv_wait().unwrap();
    silent!(full);
    assert_eq!(ascending(&snoop).len(), 6);
}

/// What the bus itself says has its place too.
fn statuses_and_events_are_in_the_order_too() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.listen("$.*").unwrap();
    a.turn_on(uapi::KBUS_REPORT_BINDS);
    a.send_to("$.X", b"").unwrap();
    b.replier("$.A").unwrap();
    a.send_to("$.X", b"").unwrap();
    a.request("$.A", b"").unwrap();
    a.send_to("$.X", b"").unwrap();
    drop(b);
    a.send_to("$.X", b"").unwrap();
    // X, bind, X, its own request's copy, X, GONE_AWAY, unbind, X.
    assert_eq!(ascending(&a).len(), 8);
    assert!(a.sync() >= a.last_sent());
}

/// A reply has a higher id than its request, and a status too.
fn a_reply_is_after_its_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    for answer in [true, false] {
        let id = a.request("$.A", b"").unwrap();
        let request = b.recv().unwrap();
        match answer {
            true => drop(b.reply(&request, b"").unwrap()),
            false => b.ignore(id).unwrap(),
        }
        let info = a.recv().unwrap().info;
        assert_eq!(info.in_reply_to, id);
        assert!(info.id > id);
    }
}

/// Ids go past 32 bits, everywhere that they are told or given. On a kernel that checks itself that is soon.
fn ids_of_more_than_32_bits() {
    const BEYOND: u64 = 1 << 32;
    let bus = fresh_bus();
    let mut a = Sock::on(&bus);
    if a.peer_id() < BEYOND - 1000 {
        process::skip("ids begin at 1 here");
    }
    while a.peer_id() < BEYOND || a.last_sent() < BEYOND {
        a = Sock::on(&bus);
        a.send_to("$.News", b"").unwrap();
    }
    let b = Sock::on(&bus);
    b.replier("$.A").unwrap();
    let option = uapi::KBUS_REPLIER as i32;
    let replier = a.get_at(uapi::SOL_KBUS as i32, option, b"$.A\0 and more");
    assert_eq!(replier.unwrap()[..8], b.peer_id().to_ne_bytes());
    let ask = |to: &str| {
        let id = a.request(to, b"").unwrap();
        let request = b.recv().unwrap();
        assert!(id > BEYOND && request.info.id == id, "{request:?}");
        assert_eq!(request.from, format!("$.A@{:x}#{id:x}", a.peer_id()));
        (id, request)
    };
    let (first, request) = ask("$.A");
    b.reply(&request, b"yes").unwrap();
    let reply = a.recv().unwrap();
    assert_eq!(
        (reply.info.in_reply_to, reply.info.sender),
        (first, b.peer_id())
    );
    assert_eq!((&reply.data[..], reply.info.to), (&b"yes"[..], a.peer_id()));
    let (second, _) = ask(&format!("$.A@{:x}", b.peer_id()));
    b.ignore(second).unwrap();
    let status = a.recv().unwrap();
    assert_eq!(
        (status.info.in_reply_to, status.info.sender),
        (second, b.peer_id())
    );
    assert_eq!(status.info.error, uapi::KBUS_IGNORED as i32);
    assert!(second > first && status.info.id > second && a.sync() >= status.info.id);
}
