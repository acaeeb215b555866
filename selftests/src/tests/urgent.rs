// SPDX-License-Identifier: GPL-2.0
//! Urgent messages.

use kbus_selftests::process::Blocked;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::fill;
use super::full_replier;
use super::silent;

super::tests! {
    urgent_goes_to_the_front urgent_goes_to_the_front_of_each_queue
    two_urgent_are_read_last_sent_first urgent_is_shown_in_the_flags
    msg_oob_makes_urgent msg_oob_adds_to_ancillary_flags
    msg_oob_is_shown_to_the_reader send_flags_make_urgent
    ancillary_flags_replace_urgent_by_option pollpri_while_the_first_is_urgent
    pollpri_ends_when_the_urgent_one_is_removed pollpri_wakes_up pollpri_only_for_urgent
    urgent_reply urgent_reply_by_msg_oob urgent_reply_by_send_flags
    urgent_reply_has_its_reserved_slot urgent_reply_copies_go_to_the_front
    urgent_request urgent_request_does_not_make_its_reply_urgent
    urgent_request_copies_for_listeners urgent_stateful_request urgent_request_by_send_flags statuses_are_never_urgent
    urgent_copies_of_one_socket_are_all_in_front urgent_has_no_slot_of_its_own
    urgent_request_to_a_full_replier urgent_in_front_leaves_the_gap_where_it_is
    urgent_into_an_empty_queue_tells_the_gap urgent_is_the_next_length
    urgent_keeps_the_user_bits urgent_has_an_id_in_the_order_of_sending
}

/// A sender, and a listener to `$.A`.
fn pair() -> (Sock, Sock) {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    (a, b)
}

fn send_urgent(sock: &Sock, data: &[u8]) -> u64 {
    sock.send_with("$.A", data, uapi::KBUS_URGENT).unwrap()
}

fn looks_urgent(msg: &Msg) -> bool {
    let flag = msg.is(uapi::KBUS_URGENT);
    let oob = msg.flags & libc::MSG_OOB != 0;
    assert_eq!(flag, oob, "MSG_OOB and KBUS_URGENT are shown together");
    flag
}

/// An urgent message goes to the front of the queue.
fn urgent_goes_to_the_front() {
    let (a, b) = pair();
    a.send_to("$.A", b"1").unwrap();
    a.send_to("$.A", b"2").unwrap();
    send_urgent(&a, b"now");
    a.send_to("$.A", b"3").unwrap();
    assert_eq!(
        b.drain(),
        [b"now".to_vec(), b"1".into(), b"2".into(), b"3".into()]
    );
}

/// To the front of each queue that it reaches.
fn urgent_goes_to_the_front_of_each_queue() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let listeners: Vec<Sock> = ["$.A", "$.%", "$.*"]
        .iter()
        .map(|name| {
            let sock = Sock::on(&bus);
            sock.listen(name).unwrap();
            sock
        })
        .collect();
    a.send_to("$.A", b"1").unwrap();
    send_urgent(&a, b"now");
    for sock in &listeners {
        assert_eq!(sock.drain(), [b"now".to_vec(), b"1".into()]);
    }
}

/// Two urgent ones unread are read last-sent-first.
fn two_urgent_are_read_last_sent_first() {
    let (a, b) = pair();
    a.send_to("$.A", b"plain").unwrap();
    for data in [b"1", b"2", b"3"] {
        send_urgent(&a, data);
    }
    let want = [b"3".to_vec(), b"2".into(), b"1".into(), b"plain".into()];
    assert_eq!(b.drain(), want);
    // Once read, it is out of the way.
    send_urgent(&a, b"4");
    b.recv().unwrap();
    send_urgent(&a, b"5");
    assert_eq!(b.drain(), [b"5"]);
}

/// `KBUS_URGENT` is among the flags that the reader sees, of these only.
fn urgent_is_shown_in_the_flags() {
    let (a, b) = pair();
    a.send_to("$.A", b"").unwrap();
    send_urgent(&a, b"");
    assert_eq!(b.peek().unwrap().info.flags, uapi::KBUS_URGENT);
    assert_eq!(b.recv().unwrap().info.flags, uapi::KBUS_URGENT);
    assert_eq!(b.recv().unwrap().info.flags, 0);
}

/// `MSG_OOB` in a send is the same as `KBUS_URGENT`.
fn msg_oob_makes_urgent() {
    let (a, b) = pair();
    a.send_to("$.A", b"plain").unwrap();
    a.send_raw(&message_address("$.A"), b"oob", libc::MSG_OOB)
        .unwrap();
    let msg = b.recv().unwrap();
    assert_eq!(
        (&msg.data[..], msg.info.flags),
        (&b"oob"[..], uapi::KBUS_URGENT)
    );
    assert!(looks_urgent(&msg));
    assert!(!looks_urgent(&b.recv().unwrap()));
}

/// `MSG_OOB` adds to the flags in `SCM_KBUS_SEND`.
fn msg_oob_adds_to_ancillary_flags() {
    let (a, b) = pair();
    for flags in [0, 0x0001_0000, uapi::KBUS_URGENT] {
        let out = Out::to("$.A", b"").with(Cmsg::send(flags, 0, 0));
        a.send_msg(&out.flags(libc::MSG_OOB)).unwrap();
        let got = b.recv().unwrap().info.flags;
        assert_eq!(got, flags | uapi::KBUS_URGENT);
    }
}

/// The reader of an urgent message sees `MSG_OOB`, in a peek and in a read.
fn msg_oob_is_shown_to_the_reader() {
    let (a, b) = pair();
    send_urgent(&a, b"now");
    a.send_to("$.A", b"plain").unwrap();
    assert_ne!(b.peek().unwrap().flags & libc::MSG_OOB, 0);
    assert_ne!(b.recv().unwrap().flags & libc::MSG_OOB, 0);
    assert_eq!(b.peek().unwrap().flags & libc::MSG_OOB, 0);
    assert_eq!(b.recv().unwrap().flags & libc::MSG_OOB, 0);
    // Without room for any ancillary data too.
    send_urgent(&a, b"now");
    let msg = b
        .recv_with(RecvOptions {
            control: 0,
            ..RecvOptions::default()
        })
        .unwrap();
    assert_ne!(msg.flags & libc::MSG_OOB, 0);
}

/// `KBUS_URGENT` in `KBUS_SEND_FLAGS` makes plain sends urgent.
fn send_flags_make_urgent() {
    let (a, b) = pair();
    a.send_to("$.A", b"1").unwrap();
    a.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_URGENT).unwrap();
    assert_eq!(a.get_u32(uapi::KBUS_SEND_FLAGS), Ok(uapi::KBUS_URGENT));
    a.send_to("$.A", b"2").unwrap();
    a.connect("$.A").unwrap();
    a.send(b"3").unwrap();
    assert_eq!(b.drain(), [b"3", b"2", b"1"]);
}

/// `SCM_KBUS_SEND` replaces what the option says.
fn ancillary_flags_replace_urgent_by_option() {
    let (a, b) = pair();
    a.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_URGENT).unwrap();
    a.send_with("$.A", b"1", 0).unwrap();
    a.send_with("$.A", b"2", 0).unwrap();
    assert_eq!(b.drain(), [b"1", b"2"]);
}

const BOTH: i16 = libc::POLLIN | libc::POLLPRI;

/// `POLLPRI` is on exactly while the first message is urgent.
fn pollpri_while_the_first_is_urgent() {
    let (a, b) = pair();
    assert_eq!(b.poll(BOTH, 0), 0);
    a.send_to("$.A", b"plain").unwrap();
    assert_eq!(b.poll(BOTH, 0), libc::POLLIN);
    send_urgent(&a, b"1");
    send_urgent(&a, b"2");
    for _ in 0..2 {
        assert_eq!(b.poll(BOTH, 0), BOTH);
        b.peek().unwrap();
        assert_eq!(b.poll(BOTH, 0), BOTH);
        b.recv().unwrap();
    }
    assert_eq!(b.poll(BOTH, 0), libc::POLLIN);
    b.recv().unwrap();
    assert_eq!(b.poll(BOTH, 0), 0);
}

/// It ends also when unbinding removes the urgent message.
fn pollpri_ends_when_the_urgent_one_is_removed() {
    let (a, b) = pair();
    b.listen("$.B").unwrap();
    a.send_to("$.B", b"plain").unwrap();
    send_urgent(&a, b"now");
    assert_eq!(b.poll(BOTH, 0), BOTH);
    b.unlisten("$.A").unwrap();
    assert_eq!(b.poll(BOTH, 0), libc::POLLIN);
    assert_eq!(b.drain(), [b"plain"]);
}

/// A sleeping `poll()` for `POLLPRI` is woken by an urgent message.
fn pollpri_wakes_up() {
    let (a, b) = pair();
    let waiter = Blocked::in_call(|| Ok(b.poll(libc::POLLPRI, 20_000) as u64));
    a.send_to("$.A", b"plain").unwrap();
    send_urgent(&a, b"now");
    assert_eq!(waiter.result(), Ok(libc::POLLPRI as u64));
}

/// A plain message does not end a `poll()` for `POLLPRI`.
fn pollpri_only_for_urgent() {
    let (a, b) = pair();
    a.send_to("$.A", b"plain").unwrap();
    assert_eq!(b.poll(libc::POLLPRI, 50), 0);
}

/// A requester with one message waiting, and a replier that owes it an answer.
fn owed() -> (Sock, Sock, Msg) {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.Ask").unwrap();
    a.request("$.Ask", b"").unwrap();
    let request = b.recv().unwrap();
    a.listen("$.A").unwrap();
    b.send_to("$.A", b"before").unwrap();
    (a, b, request)
}

fn expect_urgent_reply(a: &Sock) {
    let reply = a.recv().unwrap();
    assert_eq!(reply.info.flags, uapi::KBUS_REPLY | uapi::KBUS_URGENT);
    assert!(looks_urgent(&reply));
    assert_eq!(reply.data, b"answer");
    assert_eq!(a.recv().unwrap().data, b"before");
    silent!(a);
}

/// A reply may be urgent.
fn urgent_reply() {
    let (a, b, request) = owed();
    b.send_with(&request.from, b"answer", uapi::KBUS_URGENT)
        .unwrap();
    expect_urgent_reply(&a);
}

/// By `MSG_OOB` too.
fn urgent_reply_by_msg_oob() {
    let (a, b, request) = owed();
    b.send_raw(&request.raw_from, b"answer", libc::MSG_OOB)
        .unwrap();
    expect_urgent_reply(&a);
}

/// In a reply the urgent flag in `KBUS_SEND_FLAGS` is honoured, others are not.
fn urgent_reply_by_send_flags() {
    let (a, b, request) = owed();
    let flags = uapi::KBUS_URGENT | uapi::KBUS_REQUEST | uapi::KBUS_ALL_OR_FAIL;
    b.set_u32(uapi::KBUS_SEND_FLAGS, flags).unwrap();
    b.reply(&request, b"answer").unwrap();
    expect_urgent_reply(&a);
}

/// An urgent reply uses the slot reserved for it, also in a full queue.
fn urgent_reply_has_its_reserved_slot() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.set_queue_len(2);
    b.replier("$.Ask").unwrap();
    a.request("$.Ask", b"").unwrap();
    a.listen("$.A").unwrap();
    b.send_to("$.A", b"1").unwrap();
    b.send_to("$.A", b"missed").unwrap();
    let request = b.recv().unwrap();
    b.send_with(&request.from, b"answer", uapi::KBUS_URGENT)
        .unwrap();
    assert_eq!(a.drain(), [b"answer".to_vec(), b"1".into()]);
    assert_eq!(a.lost(), 1);
}

/// The copies of an urgent reply go to the front of the listeners' queues.
fn urgent_reply_copies_go_to_the_front() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.Ask").unwrap();
    a.request("$.Ask", b"").unwrap();
    c.listen("$.*").unwrap();
    b.send_to("$.B", b"before").unwrap();
    let request = b.recv().unwrap();
    b.send_with(&request.from, b"answer", uapi::KBUS_URGENT)
        .unwrap();
    assert!(looks_urgent(&c.peek().unwrap()));
    assert_eq!(c.drain(), [b"answer".to_vec(), b"before".into()]);
}

/// An urgent request goes to the front of the replier's queue.
fn urgent_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"1").unwrap();
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    let id = a.send_with("$.A", b"2", flags).unwrap();
    assert_eq!(b.poll(BOTH, 0), BOTH);
    let request = b.recv().unwrap();
    assert_eq!(request.info.flags, flags | uapi::KBUS_YOU_REPLY);
    assert_eq!((request.info.id, &request.data[..]), (id, &b"2"[..]));
    assert_eq!(request.from, format!("{}#{id:x}", a.sends_from("$.A")));
    assert_eq!(b.recv().unwrap().data, b"1");
}

/// Its reply is as urgent as the replier says, which is not at all.
fn urgent_request_does_not_make_its_reply_urgent() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.listen("$.B").unwrap();
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    a.send_with("$.A", b"", flags).unwrap();
    b.send_to("$.B", b"before").unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    assert_eq!(a.recv().unwrap().data, b"before");
    let reply = a.recv().unwrap();
    assert_eq!(reply.info.flags, uapi::KBUS_REPLY);
    assert!(!looks_urgent(&reply));
}

/// The listeners' copies of an urgent request go to the front as well.
fn urgent_request_copies_for_listeners() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.A").unwrap();
    a.send_to("$.A", b"before").unwrap();
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    a.send_with("$.A", b"ask", flags).unwrap();
    let copy = c.recv().unwrap();
    assert_eq!((&copy.data[..], copy.info.flags), (&b"ask"[..], flags));
    assert!(looks_urgent(&copy));
    assert_eq!(c.drain(), [b"before"]);
}

/// A stateful request may be urgent.
fn urgent_stateful_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"1").unwrap();
    let to = message_address(&b.sends_from("$.A"));
    a.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST)
        .unwrap();
    a.send_raw(&to, b"2", libc::MSG_OOB).unwrap();
    assert_eq!(b.drain(), [b"2", b"1"]);
}

/// `KBUS_SEND_FLAGS` makes plain sends urgent requests.
fn urgent_request_by_send_flags() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"1").unwrap();
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    a.set_u32(uapi::KBUS_SEND_FLAGS, flags).unwrap();
    a.send_to("$.A", b"2").unwrap();
    let request = b.recv().unwrap();
    assert_eq!(request.info.flags, flags | uapi::KBUS_YOU_REPLY);
    assert_eq!(request.data, b"2");
    assert_eq!(b.recv().unwrap().data, b"1");
}

/// A status is never urgent, whatever the request was.
fn statuses_are_never_urgent() {
    for read in [false, true] {
        let bus = fresh_bus();
        let (a, b) = (Sock::on(&bus), Sock::on(&bus));
        b.replier("$.A").unwrap();
        a.listen("$.B").unwrap();
        let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
        a.send_with("$.A", b"", flags).unwrap();
        b.send_to("$.B", b"before").unwrap();
        if read {
            b.recv().unwrap();
        }
        drop(b);
        assert_eq!(a.recv().unwrap().data, b"before");
        assert_eq!(a.poll(BOTH, 0), libc::POLLIN);
        let status = a.recv().unwrap();
        assert!(status.is(uapi::KBUS_STATUS));
        assert!(!looks_urgent(&status));
    }
}

/// All copies that one socket gets are in front, each before the one made
/// before it.
fn urgent_copies_of_one_socket_are_all_in_front() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    b.listen("$.*").unwrap();
    a.send_to("$.B", b"before").unwrap();
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    let id = a.send_with("$.A", b"ask", flags).unwrap();
    let copies: Vec<Msg> = (0..3).map(|_| b.recv().unwrap()).collect();
    assert!(copies.iter().all(|msg| msg.info.id == id));
    // The replier's copy is made first.
    let marked: Vec<bool> = copies.iter().map(Msg::must_reply).collect();
    assert_eq!(marked, [false, false, true]);
    assert_eq!(b.drain(), [b"before"]);
}

/// Urgent or not, a full queue misses it.
fn urgent_has_no_slot_of_its_own() {
    let (a, b) = pair();
    b.set_queue_len(2);
    a.send_to("$.A", b"1").unwrap();
    a.send_to("$.A", b"2").unwrap();
    send_urgent(&a, b"now");
    assert_eq!(b.lost(), 1);
    let flags = uapi::KBUS_URGENT | uapi::KBUS_ALL_OR_FAIL;
    fails!(EBUSY, a.send_with("$.A", b"now", flags));
    assert_eq!(b.drain(), [b"1", b"2"]);
}

/// An urgent request to a full replier is `EBUSY`.
fn urgent_request_to_a_full_replier() {
    let bus = fresh_bus();
    let a = Sock::on(&bus);
    let b = full_replier(&bus, "$.A");
    let flags = uapi::KBUS_REQUEST | uapi::KBUS_URGENT;
    fails!(EBUSY, a.send_with("$.A", b"", flags));
    assert_eq!(b.drain(), [b"fill"]);
}

/// In front of others an urgent message has `lost` 0: the gap is at the back,
/// and the next message there tells it.
fn urgent_in_front_leaves_the_gap_where_it_is() {
    let (a, b) = pair();
    b.set_queue_len(2);
    a.send_to("$.A", b"1").unwrap();
    a.send_to("$.A", b"2").unwrap();
    a.send_to("$.A", b"missed").unwrap();
    b.recv().unwrap();
    send_urgent(&a, b"now");
    let now = b.recv().unwrap();
    assert_eq!((&now.data[..], now.info.lost), (&b"now"[..], 0));
    a.send_to("$.A", b"3").unwrap();
    let (two, three) = (b.recv().unwrap(), b.recv().unwrap());
    assert_eq!((&two.data[..], two.info.lost), (&b"2"[..], 0));
    assert_eq!((&three.data[..], three.info.lost), (&b"3"[..], 1));
}

/// Into an empty queue it tells the gap like any other.
fn urgent_into_an_empty_queue_tells_the_gap() {
    let (a, b) = pair();
    b.set_queue_len(1);
    fill(&b);
    a.send_to("$.A", b"missed").unwrap();
    a.send_to("$.A", b"missed").unwrap();
    b.recv().unwrap();
    send_urgent(&a, b"now");
    assert_eq!(b.recv().unwrap().info.lost, 2);
    a.send_to("$.A", b"after").unwrap();
    assert_eq!(b.recv().unwrap().info.lost, 0);
}

/// `KBUS_NEXT_LEN` and `FIONREAD` speak of the urgent one, which is next.
fn urgent_is_the_next_length() {
    let (a, b) = pair();
    a.send_to("$.A", b"12").unwrap();
    send_urgent(&a, b"12345");
    assert_eq!((b.next_len(), b.fionread()), (5, Ok(5)));
    b.recv().unwrap();
    assert_eq!((b.next_len(), b.fionread()), (2, Ok(2)));
}

/// The user's bits pass untouched beside it.
fn urgent_keeps_the_user_bits() {
    let (a, b) = pair();
    let flags = uapi::KBUS_URGENT | 0xa5a5_0000;
    a.send_with("$.A", b"", flags).unwrap();
    assert_eq!(b.recv().unwrap().info.flags, flags);
}

/// Its id is the order in which it was sent, not its place in the queue.
fn urgent_has_an_id_in_the_order_of_sending() {
    let (a, b) = pair();
    a.send_to("$.A", b"").unwrap();
    let plain = a.last_sent();
    let urgent = send_urgent(&a, b"");
    assert!(urgent > plain);
    let ids: Vec<u64> = (0..2).map(|_| b.recv().unwrap().info.id).collect();
    assert_eq!(ids, [urgent, plain]);
}
