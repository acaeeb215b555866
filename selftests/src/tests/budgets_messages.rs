// SPDX-License-Identifier: GPL-2.0
//! How many messages may wait: the budget of users, and their shares of a queue.

use kbus_selftests::process::Blocked;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::budgets::listener;
use super::budgets::of;
use super::budgets::A;
use super::budgets::B;
use super::fails;
use super::silent;

super::tests! {
    messages_default messages_used_up_is_a_full_listener each_copy_is_a_message
    request_and_its_reply_are_messages_of_the_requester
    replies_and_statuses_need_no_messages_that_are_left waits_for_messages_that_are_released_elsewhere
    an_eighth_of_a_queue_for_newcomers small_queues_keep_nothing own_user_and_owner_fill_a_queue
}

/// `net.kbus.user_messages` is what 2048 bytes each make of the budget of bytes, at least 65536.
fn messages_default() {
    let bytes = Sysctl::get("user_bytes");
    assert_eq!(Sysctl::get("user_messages"), (bytes / 2048).max(1 << 16));
}

/// Sends messages without payload until one is missed; says how many arrived.
fn fill_with_empty(sender: &Sock, name: &str, sock: &Sock) -> u32 {
    let (lost, had) = (sock.lost(), sock.unread());
    while sock.lost() == lost {
        sender.send_to(name, b"").unwrap();
    }
    sock.unread() - had
}

/// Messages that wait for a user are counted, too, and used up the listener is full: by the same shares.
fn messages_used_up_is_a_full_listener() {
    let _limit = Sysctl::set("user_messages", 64);
    let bus = fresh_bus();
    let (sender, victim) = (Sock::on(&bus), listener(A, &bus, "$.A"));
    let others = [listener(A, &bus, "$.B"), listener(B, &bus, "$.A")];
    // What it holds may reach what is left, and one message more.
    assert_eq!(fill_with_empty(&sender, "$.A", &victim), 33);
    assert_eq!(fill_with_empty(&sender, "$.B", &others[0]), 16);
    fails!(EBUSY, sender.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL));
    // The other user has some left.
    assert_eq!(others[1].lost(), 1);
    others[1].drain();
    victim.drain();
    assert_eq!(fill_with_empty(&sender, "$.A", &victim), 25);
    drop(victim);
    let victim = listener(A, &bus, "$.A");
    assert_eq!(fill_with_empty(&sender, "$.A", &victim), 25);
}

/// Unlike its payload, a message is counted in each queue of the user.
fn each_copy_is_a_message() {
    let _limit = Sysctl::set("user_messages", 64);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let many: Vec<Sock> = (0..8).map(|_| listener(A, &bus, "$.A")).collect();
    fill_with_empty(&sender, "$.A", &many[7]);
    assert_eq!(many.iter().map(Sock::unread).sum::<u32>(), 64);
    assert!(many.iter().all(|sock| sock.unread() == 8));
}

/// A request is a message of its sender until it is read, and its reply one of the requester's from the start.
fn request_and_its_reply_are_messages_of_the_requester() {
    let _limit = Sysctl::set("user_messages", 2);
    let bus = fresh_bus();
    let replier = Sock::on(&bus);
    replier.replier("$.A").unwrap();
    let sender = of(A, &bus);
    sender.request("$.A", b"").unwrap();
    fails!(ENOBUFS, sender.request("$.A", b""));
    let request = replier.recv().unwrap();
    // Only the reply has a place now.
    fails!(EDQUOT, sender.request("$.A", b""));
    replier.reply(&request, b"").unwrap();
    fails!(EDQUOT, sender.request("$.A", b""));
    sender.recv_wait().unwrap();
    sender.request("$.A", b"").unwrap();
    drop(replier);
    let status = sender.recv_wait().unwrap();
    assert_eq!(status.info.error, uapi::KBUS_GONE_AWAY as i32);
}

/// What has to arrive has its place from the start, whatever else waits for its user.
fn replies_and_statuses_need_no_messages_that_are_left() {
    let _limit = Sysctl::set("user_messages", 64);
    let bus = fresh_bus();
    let (replier, sender) = (Sock::on(&bus), Sock::on(&bus));
    replier.replier("$.A").unwrap();
    let requester = of(A, &bus);
    for _ in 0..3 {
        requester.request("$.A", b"").unwrap();
    }
    let others: Vec<Sock> = (0..8).map(|_| listener(A, &bus, "$.B")).collect();
    fill_with_empty(&sender, "$.B", &others[7]);
    let more = listener(A, &bus, "$.C");
    while fill_with_empty(&sender, "$.C", &more) > 0 {}
    fails!(ENOBUFS, requester.request("$.A", b""));
    let first = replier.recv().unwrap();
    replier.reply(&first, b"yes").unwrap();
    replier.recv().unwrap();
    drop(replier);
    assert_eq!(requester.recv_wait().unwrap().data, b"yes");
    let errors = [(); 2].map(|()| requester.recv_wait().unwrap().info.error);
    let both = [uapi::KBUS_GONE_AWAY, uapi::KBUS_IGNORED];
    assert_eq!(errors, both.map(|error| error as i32));
}

/// Who waits for a queue whose user has no messages left goes on when the user has some again, wherever they come from.
fn waits_for_messages_that_are_released_elsewhere() {
    let _limit = Sysctl::set("user_messages", 2);
    let (here, there) = (fresh_bus(), fresh_bus());
    let elsewhere = listener(A, &there, "$.A");
    let (sender, poller, feeder) = (Sock::on(&here), Sock::on(&here), Sock::on(&there));
    let target = listener(A, &here, "$.A");
    assert_eq!(fill_with_empty(&feeder, "$.A", &elsewhere), 2);
    let wait = Blocked::in_call(|| sender.send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT));
    fails!(
        EAGAIN,
        poller.try_send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT)
    );
    silent!(target);
    assert_eq!(poller.poll(libc::POLLOUT, 0), 0);
    elsewhere.recv().unwrap();
    wait.result().unwrap();
    assert_eq!(poller.poll(libc::POLLOUT, 1000), libc::POLLOUT);
    target.recv().unwrap();
}

/// Others than the queue's user and the bus's owner leave an eighth of a queue
/// of 16 or more to users who have nothing in it.
fn an_eighth_of_a_queue_for_newcomers() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let victim = of(A, &bus);
    victim.set_queue_len(32);
    victim.listen("$.A").unwrap();
    let (flood, other) = (of(B, &bus), of(4003, &bus));
    for _ in 0..40 {
        flood.send_to("$.A", b"").unwrap();
    }
    assert_eq!(victim.unread(), 28);
    fails!(EBUSY, flood.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL));
    // Nor by another socket of the same user.
    fails!(
        EBUSY,
        of(B, &bus).send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL)
    );
    other
        .send_with("$.A", b"new", uapi::KBUS_ALL_OR_FAIL)
        .unwrap();
    fails!(EBUSY, other.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL));
    // What was read does not count any more.
    for _ in 0..28 {
        victim.recv().unwrap();
    }
    flood.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL).unwrap();
}

/// A queue of less than 16 is whoever's comes first.
fn small_queues_keep_nothing() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let victim = of(A, &bus);
    victim.set_queue_len(15);
    victim.listen("$.A").unwrap();
    let flood = of(B, &bus);
    for _ in 0..15 {
        flood.send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL).unwrap();
    }
    assert_eq!(victim.unread(), 15);
}

/// Its own user and the bus's owner may fill a queue.
fn own_user_and_owner_fill_a_queue() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    for sender in [&owner, &of(A, &bus)] {
        let sock = of(A, &bus);
        sock.set_queue_len(32);
        sock.listen("$.A").unwrap();
        for _ in 0..32 {
            sender
                .send_with("$.A", b"", uapi::KBUS_ALL_OR_FAIL)
                .unwrap();
        }
    }
}
