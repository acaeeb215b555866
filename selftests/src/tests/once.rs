// SPDX-License-Identifier: GPL-2.0
//! `KBUS_ONCE`: one copy per message.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::expect_status;
use super::fails;
use super::fill;
use super::silent;

super::tests! {
    once_is_off_unless_set once_may_be_set_before_bind one_copy_however_many_bindings
    identical_bindings_are_one_copy once_is_the_socket_s_own different_messages_stay_apart
    copy_to_be_answered_is_the_one_kept copy_to_be_answered_of_a_wildcard_replier
    listener_copies_of_a_request_are_one copy_of_a_reply_for_its_replier
    request_to_oneself_once requester_s_own_copy_of_a_reply_wins
    no_unbinding_removes_the_requester_s_reply no_unbinding_removes_the_requester_s_status
    merged_copy_goes_with_the_last_binding merged_copy_goes_in_any_order_of_unbinding
    merged_copy_of_identical_bindings_goes_with_the_last
    binding_made_later_does_not_hold_the_copy identical_binding_made_later_is_undone_first
    replier_binding_goes_first replier_binding_goes_first_of_several_listeners
    replier_binding_goes_without_a_listener listener_bindings_go_first
    closing_answers_a_merged_request read_side_answers_a_merged_request
    write_side_leaves_a_merged_request_to_the_listener
    write_side_takes_a_merged_request_without_a_listener
    setting_touches_only_what_is_queued_afterwards
    unsetting_touches_only_what_is_queued_afterwards
    separate_copies_still_go_one_by_one merged_copy_counts_one_missed
    merged_copy_needs_one_slot merged_copy_to_be_answered_needs_the_replier_s_room
    merged_request_may_be_answered_after_the_listener_went urgent_copies_merge
    merged_copy_that_stays_makes_no_debt
}

fn once_on(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.turn_on(uapi::KBUS_ONCE);
    sock
}

/// `KBUS_ONCE` is 0 by default, and says what was set.
fn once_is_off_unless_set() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.get_u32(uapi::KBUS_ONCE), Ok(0));
    sock.turn_on(uapi::KBUS_ONCE);
    assert_eq!(sock.get_u32(uapi::KBUS_ONCE), Ok(1));
    sock.turn_off(uapi::KBUS_ONCE);
    assert_eq!(sock.get_u32(uapi::KBUS_ONCE), Ok(0));
}

/// It is a setting of the socket and needs no bus.
fn once_may_be_set_before_bind() {
    let sock = Sock::new();
    sock.turn_on(uapi::KBUS_ONCE);
    sock.bind(&fresh_bus()).unwrap();
    assert_eq!(sock.get_u32(uapi::KBUS_ONCE), Ok(1));
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(sock.unread(), 1);
}

/// One copy per message, however many bindings match.
fn one_copy_however_many_bindings() {
    let sock = once_on(&fresh_bus());
    for name in ["$.A.B", "$.A.%", "$.A.*", "$.*", "$.A.C"] {
        sock.listen(name).unwrap();
    }
    sock.send_to("$.A.B", b"x").unwrap();
    assert_eq!(sock.drain(), [b"x"]);
}

/// Also when the bindings are the very same.
fn identical_bindings_are_one_copy() {
    let sock = once_on(&fresh_bus());
    for _ in 0..5 {
        sock.listen("$.A").unwrap();
    }
    sock.send_to("$.A", b"x").unwrap();
    assert_eq!(sock.drain(), [b"x"]);
}

/// Others go on getting one copy per binding.
fn once_is_the_socket_s_own() {
    let bus = fresh_bus();
    let (a, b) = (once_on(&bus), Sock::on(&bus));
    for sock in [&a, &b] {
        sock.listen("$.A").unwrap();
        sock.listen("$.*").unwrap();
    }
    a.send_to("$.A", b"").unwrap();
    assert_eq!((a.unread(), b.unread()), (1, 2));
}

/// Copies of different messages are never merged, alike as they may be.
fn different_messages_stay_apart() {
    let sock = once_on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    for _ in 0..3 {
        sock.send_to("$.A", b"same").unwrap();
    }
    assert_eq!(sock.drain().len(), 3);
}

/// If one of the copies must be answered, that is the one kept.
fn copy_to_be_answered_is_the_one_kept() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.listen("$.A").unwrap();
    b.replier("$.A").unwrap();
    b.listen("$.*").unwrap();
    let id = a.request("$.A", b"ask").unwrap();
    let request = b.recv().unwrap();
    assert!(request.must_reply());
    assert_eq!(request.from, format!("{}#{id:x}", a.sends_from("$.A")));
    silent!(b);
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, b"answer").unwrap();
    assert_eq!(a.recv().unwrap().data, b"answer");
}

/// Whatever the patterns of the bindings are.
fn copy_to_be_answered_of_a_wildcard_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.listen("$.A.B").unwrap();
    b.replier("$.A.*").unwrap();
    a.request("$.A.B", b"").unwrap();
    assert!(b.recv().unwrap().must_reply());
    silent!(b);
}

/// Who is not the replier gets one copy of a request, not to be answered.
fn listener_copies_of_a_request_are_one() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.A").unwrap();
    c.listen("$.*").unwrap();
    a.request("$.A", b"").unwrap();
    let copy = c.recv().unwrap();
    assert_eq!(copy.info.flags, uapi::KBUS_REQUEST);
    assert_eq!(copy.from, a.sends_from("$.A"));
    silent!(c);
    assert_eq!(c.unreplied(), 0);
}

/// A replier that listens gets one copy of its own reply.
fn copy_of_a_reply_for_its_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    b.listen("$.*").unwrap();
    a.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    let copy = b.recv().unwrap();
    assert_eq!(
        (&copy.data[..], copy.info.flags),
        (&b"answer"[..], uapi::KBUS_REPLY)
    );
    silent!(b);
    assert_eq!(a.drain(), [b"answer"]);
}

/// Who asks itself gets the request once, to be answered, and the reply once.
fn request_to_oneself_once() {
    let sock = once_on(&fresh_bus());
    sock.replier("$.A").unwrap();
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    let id = sock.request_with("$.A", b"ask", 0, 7).unwrap();
    let request = sock.recv().unwrap();
    assert!(request.must_reply());
    silent!(sock);
    sock.reply(&request, b"answer").unwrap();
    let reply = sock.recv().unwrap();
    assert_eq!((reply.info.in_reply_to, reply.info.cookie), (id, 7));
    silent!(sock);
}

/// A requester whose listener bindings match its reply too, which waits.
fn answered() -> (Sock, Sock, u64) {
    let bus = fresh_bus();
    let (a, b) = (once_on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request_with("$.A", b"", 0, 7).unwrap();
    a.listen("$.A").unwrap();
    a.listen("$.*").unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    (a, b, id)
}

/// The requester's own copy of a reply wins over its listener copies.
fn requester_s_own_copy_of_a_reply_wins() {
    let (a, b, id) = answered();
    let reply = a.recv().unwrap();
    assert_eq!((reply.info.in_reply_to, reply.info.cookie), (id, 7));
    assert_eq!(
        (reply.info.to, reply.info.sender),
        (a.peer_id(), b.peer_id())
    );
    silent!(a);
}

/// And no unbinding removes it.
fn no_unbinding_removes_the_requester_s_reply() {
    let (a, _b, id) = answered();
    a.unlisten("$.A").unwrap();
    a.unlisten("$.*").unwrap();
    assert_eq!(a.unread(), 1);
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
}

/// A status is the requester's own in the same way.
fn no_unbinding_removes_the_requester_s_status() {
    let bus = fresh_bus();
    let (a, b) = (once_on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    for name in ["$.KBUS.*", "$.KBUS.Replier.GoneAway", "$.*"] {
        a.listen(name).unwrap();
    }
    drop(b);
    for name in ["$.KBUS.*", "$.KBUS.Replier.GoneAway", "$.*"] {
        a.unlisten(name).unwrap();
    }
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
}

/// A merged copy goes with the last of the bindings that let it in.
fn merged_copy_goes_with_the_last_binding() {
    let sock = once_on(&fresh_bus());
    let names = ["$.A", "$.%", "$.*"];
    for name in names {
        sock.listen(name).unwrap();
    }
    sock.send_to("$.A", b"").unwrap();
    for (name, left) in names.iter().zip([1, 1, 0]) {
        sock.unlisten(name).unwrap();
        assert_eq!(sock.unread(), left, "after {name}");
    }
    silent!(sock);
}

/// In whatever order they go; bindings that do not match hold nothing.
fn merged_copy_goes_in_any_order_of_unbinding() {
    let sock = once_on(&fresh_bus());
    for name in ["$.A", "$.%", "$.*", "$.B"] {
        sock.listen(name).unwrap();
    }
    sock.send_to("$.A", b"").unwrap();
    for (name, left) in ["$.*", "$.%", "$.A"].iter().zip([1, 1, 0]) {
        sock.unlisten(name).unwrap();
        assert_eq!(sock.unread(), left, "after {name}");
    }
    silent!(sock);
}

/// Of identical bindings the last one holds it.
fn merged_copy_of_identical_bindings_goes_with_the_last() {
    let sock = once_on(&fresh_bus());
    for _ in 0..3 {
        sock.listen("$.A").unwrap();
    }
    sock.send_to("$.A", b"").unwrap();
    for left in [1, 1, 0] {
        sock.unlisten("$.A").unwrap();
        assert_eq!(sock.unread(), left);
    }
    fails!(EINVAL, sock.unlisten("$.A"));
}

/// A binding that came after the message did not let it in.
fn binding_made_later_does_not_hold_the_copy() {
    let sock = once_on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    sock.listen("$.*").unwrap();
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 0);
}

/// The youngest of identical bindings is undone first: the one that let the
/// message in stays.
fn identical_binding_made_later_is_undone_first() {
    let sock = once_on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    sock.listen("$.A").unwrap();
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 1);
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 0);
}

/// When the replier binding of a merged copy goes first, the requester gets
/// UNBOUND and the copy stays as a listener's: no "must reply", no `#`.
fn replier_binding_goes_first() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"ask").unwrap();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    assert_eq!(b.unread(), 1);
    let copy = b.recv().unwrap();
    assert_eq!(copy.info.flags, uapi::KBUS_REQUEST);
    assert_eq!(copy.from, a.sends_from("$.A"));
    assert_eq!((copy.info.id, &copy.data[..]), (id, &b"ask"[..]));
    silent!(b);
}

/// It then goes with the last of the listener bindings.
fn replier_binding_goes_first_of_several_listeners() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.listen("$.*").unwrap();
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    b.unlisten("$.*").unwrap();
    assert_eq!(b.unread(), 1);
    b.unlisten("$.A").unwrap();
    assert_eq!(b.unread(), 0);
    silent!(a);
}

/// With no listener binding there is no copy to stay.
fn replier_binding_goes_without_a_listener() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    // This one came too late.
    b.listen("$.A").unwrap();
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    silent!(b);
}

/// While the replier binding is there, no listener binding takes the copy away.
fn listener_bindings_go_first() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    b.listen("$.*").unwrap();
    let id = a.request("$.A", b"").unwrap();
    b.unlisten("$.A").unwrap();
    b.unlisten("$.*").unwrap();
    assert!(b.peek().unwrap().must_reply());
    silent!(a);
    b.unreplier("$.A").unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    assert_eq!(b.unread(), 0);
}

/// A socket that closes on a merged request: one GONE_AWAY.
fn closing_answers_a_merged_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"data").unwrap();
    drop(b);
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
    assert_eq!(a.bus_info().unwrap().bytes, 0);
}

/// `SHUT_RD` answers a merged request with GONE_AWAY and removes it.
fn read_side_answers_a_merged_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"x").unwrap();
    b.shutdown(libc::SHUT_RD).unwrap();
    expect_status(&a, id, uapi::KBUS_GONE_AWAY);
    assert_eq!((b.unread(), b.recv().unwrap().len), (0, 0));
}

/// `SHUT_WR` is UNBOUND, and the copy stays as a listener's.
fn write_side_leaves_a_merged_request_to_the_listener() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"x").unwrap();
    b.shutdown(libc::SHUT_WR).unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    let copy = b.recv().unwrap();
    assert_eq!((copy.info.id, copy.info.flags), (id, uapi::KBUS_REQUEST));
    assert_eq!(copy.from, a.sends_from("$.A"));
    silent!(b);
}

/// Unless no listener binding let it in.
fn write_side_takes_a_merged_request_without_a_listener() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"x").unwrap();
    b.unlisten("$.A").unwrap();
    b.shutdown(libc::SHUT_WR).unwrap();
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    silent!(b);
}

/// Set, it touches only what is queued afterwards.
fn setting_touches_only_what_is_queued_afterwards() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"1").unwrap();
    sock.turn_on(uapi::KBUS_ONCE);
    assert_eq!(sock.unread(), 2);
    sock.send_to("$.A", b"2").unwrap();
    assert_eq!(sock.drain(), [b"1", b"1", b"2"]);
}

/// And so does unsetting it.
fn unsetting_touches_only_what_is_queued_afterwards() {
    let sock = once_on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"1").unwrap();
    sock.turn_off(uapi::KBUS_ONCE);
    sock.send_to("$.A", b"2").unwrap();
    assert_eq!(sock.unread(), 3);
    // The merged copy is still both bindings' one.
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 2);
    sock.unlisten("$.*").unwrap();
    assert_eq!(sock.unread(), 0);
}

/// Copies queued apart before it was set each go with their own binding.
fn separate_copies_still_go_one_by_one() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"1").unwrap();
    sock.turn_on(uapi::KBUS_ONCE);
    sock.send_to("$.A", b"2").unwrap();
    sock.unlisten("$.A").unwrap();
    assert_eq!(sock.unread(), 2);
    sock.unlisten("$.*").unwrap();
    assert_eq!(sock.unread(), 0);
}

/// A merged copy that does not fit counts as one missed; apart they count each.
fn merged_copy_counts_one_missed() {
    for (on, missed) in [(1, 1), (0, 3)] {
        let sock = Sock::on(&fresh_bus());
        sock.set_queue_len(1);
        fill(&sock);
        sock.set_u32(uapi::KBUS_ONCE, on).unwrap();
        for name in ["$.A", "$.%", "$.*"] {
            sock.listen(name).unwrap();
        }
        sock.send_to("$.A", b"missed").unwrap();
        assert_eq!(sock.lost(), missed);
        sock.recv().unwrap();
        sock.send_to("$.A", b"").unwrap();
        assert_eq!(u64::from(sock.recv().unwrap().info.lost), missed);
    }
}

/// One slot is enough for `KBUS_ALL_OR_FAIL`, where apart each needs its own.
fn merged_copy_needs_one_slot() {
    let sock = Sock::on(&fresh_bus());
    sock.set_queue_len(1);
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    let flag = uapi::KBUS_ALL_OR_FAIL;
    fails!(EBUSY, sock.send_with("$.A", b"", flag));
    sock.turn_on(uapi::KBUS_ONCE);
    sock.send_with("$.A", b"x", flag).unwrap();
    assert_eq!(sock.drain(), [b"x"]);
    assert_eq!(sock.lost(), 0);
}

/// A merged copy that must be answered is never missed: a full queue is `EBUSY`.
fn merged_copy_to_be_answered_needs_the_replier_s_room() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.set_queue_len(1);
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    assert_eq!((b.unread(), b.lost()), (1, 0));
    fails!(EBUSY, a.request("$.A", b""));
    assert_eq!((b.unread(), b.lost()), (1, 0));
}

/// A merged request is answered like any other after its listener has gone.
fn merged_request_may_be_answered_after_the_listener_went() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    b.unlisten("$.A").unwrap();
    let request = b.recv().unwrap();
    b.unreplier("$.A").unwrap();
    silent!(a);
    b.reply(&request, b"late").unwrap();
    assert_eq!(a.drain(), [b"late"]);
}

/// Urgent copies are merged too.
fn urgent_copies_merge() {
    let sock = once_on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.listen("$.*").unwrap();
    sock.send_to("$.A", b"plain").unwrap();
    sock.send_with("$.A", b"now", uapi::KBUS_URGENT).unwrap();
    assert_eq!(sock.drain(), [b"now".to_vec(), b"plain".into()]);
}

/// Reading the copy that stayed as a listener's owes nobody anything.
fn merged_copy_that_stays_makes_no_debt() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), once_on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let before = b.peek().unwrap();
    b.unreplier("$.A").unwrap();
    b.recv().unwrap();
    assert_eq!(b.unreplied(), 0);
    fails!(ECONNREFUSED, b.reply(&before, b""));
    fails!(ECONNREFUSED, b.ignore(id));
    expect_status(&a, id, uapi::KBUS_UNBOUND);
    drop(b);
    silent!(a);
}
