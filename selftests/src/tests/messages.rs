// SPDX-License-Identifier: GPL-2.0
//! Announcements, requests, replies: who gets what, and what it looks like.

use std::os::fd::AsRawFd;

use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    several_in_one_call
    announcement_reaches_every_listener announcement_info repliers_get_no_announcements
    sender_hears_itself nobody_listening_is_no_error private_announcement
    request_reaches_the_replier request_copies_for_listeners request_without_a_replier
    replier_copy_comes_first reply_goes_to_the_address_of_the_request reply_info
    reply_copies_for_listeners reply_without_a_name reply_with_another_name
    request_to_oneself stateful_request stateful_request_errors udp_style_replier
    send_flags_make_plain_sends_requests request_flags_are_ignored_in_a_reply
    request_flags_in_scm_of_a_reply empty_messages ids_ascend_over_buses
    same_order_for_all replies_out_of_order reply_from_the_connected_default
}

/// An announcement goes to every listener, once per binding.
fn announcement_reaches_every_listener() {
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let listeners: Vec<Sock> = ["$.A.B", "$.A.*", "$.A.%", "$.*"]
        .iter()
        .map(|name| {
            let sock = Sock::on(&bus);
            sock.listen(name).unwrap();
            sock
        })
        .collect();
    let deaf = Sock::on(&bus);
    deaf.listen("$.A.C").unwrap();
    assert_eq!(sender.send_to("$.A.B", b"hello"), Ok(5));
    for sock in &listeners {
        let msg = sock.recv().unwrap();
        assert_eq!(msg.data, b"hello");
        assert_eq!(msg.from, sender.sends_from("$.A.B"));
        silent!(sock);
    }
    silent!(deaf);
    silent!(sender);
}

/// What `SCM_KBUS_INFO` says of an announcement.
fn announcement_info() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"hello").unwrap();
    let info = b.recv().unwrap().info;
    assert_eq!(info.id, a.last_sent());
    assert_eq!(info.sender, a.peer_id());
    assert_eq!((info.in_reply_to, info.cookie, info.to), (0, 0, 0));
    assert_eq!((info.len, info.flags, info.lost, info.error), (5, 0, 0, 0));
}

/// Repliers never get announcements.
fn repliers_get_no_announcements() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.A").unwrap();
    sock.replier("$.*").unwrap();
    sock.send_to("$.A", b"").unwrap();
    silent!(sock);
}

/// A sender that listens to the name gets its own message.
fn sender_hears_itself() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"me").unwrap();
    assert_eq!(sock.recv().unwrap().info.sender, sock.peer_id());
}

/// A send to a name that nobody listens to succeeds.
fn nobody_listening_is_no_error() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.send_to("$.Nobody", b"abc"), Ok(3));
    assert!(sock.last_sent() > 0);
}

/// There are no private announcements: `EOPNOTSUPP`.
fn private_announcement() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    fails!(EOPNOTSUPP, a.send_to(&b.sends_from("$.A"), b""));
    silent!(b);
}

/// A request goes to the replier, and its address is where the reply goes.
fn request_reaches_the_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request_with("$.A", b"ask", 0, 77).unwrap();
    let msg = b.recv().unwrap();
    assert_eq!(msg.from, format!("{}#{id:x}", a.sends_from("$.A")));
    assert_eq!(msg.data, b"ask");
    let info = msg.info;
    assert_eq!(info.flags, uapi::KBUS_REQUEST | uapi::KBUS_YOU_REPLY);
    assert_eq!((info.id, info.sender), (id, a.peer_id()));
    // The cookie is for the requester alone.
    assert_eq!((info.in_reply_to, info.cookie, info.to), (0, 0, 0));
    silent!(a);
}

/// Listeners get a copy that somebody else must answer: no `#`.
fn request_copies_for_listeners() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    c.listen("$.A").unwrap();
    c.listen("$.*").unwrap();
    let id = a.request("$.A", b"ask").unwrap();
    for _ in 0..2 {
        let msg = c.recv().unwrap();
        assert_eq!(msg.from, a.sends_from("$.A"));
        assert_eq!(msg.info.flags, uapi::KBUS_REQUEST);
        assert_eq!(msg.info.id, id);
    }
    silent!(c);
    assert_eq!(c.unreplied(), 0);
    assert_eq!(b.recv().unwrap().info.id, id);
}

/// A request that nobody would answer is `EADDRNOTAVAIL`, and nobody hears it.
fn request_without_a_replier() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let before = a.last_sent();
    fails!(EADDRNOTAVAIL, a.request("$.A", b""));
    assert_eq!(a.last_sent(), before);
    silent!(b);
}

/// Who is both replier and listener gets both copies, the replier's first.
fn replier_copy_comes_first() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    assert!(b.recv().unwrap().must_reply());
    let copy = b.recv().unwrap();
    assert!(!copy.is(uapi::KBUS_YOU_REPLY));
    assert_eq!(copy.from, a.sends_from("$.A"));
    silent!(b);
}

/// The address that `recvfrom()` gives with a request is its reply's address.
fn reply_goes_to_the_address_of_the_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"ask").unwrap();
    let request = b.recv().unwrap();
    assert_eq!(b.unreplied(), 1);
    assert_eq!(b.reply(&request, b"answer"), Ok(6));
    assert_eq!(b.unreplied(), 0);
    let reply = a.recv().unwrap();
    assert_eq!(reply.data, b"answer");
    assert_eq!(reply.from, b.sends_from("$.A"));
    silent!(a);
    silent!(b);
}

/// What `SCM_KBUS_INFO` says of a reply.
fn reply_info() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request_with("$.A", b"", 0, u64::MAX).unwrap();
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    let info = a.recv().unwrap().info;
    assert!(info.id > id);
    assert_eq!(info.id, b.last_sent());
    assert_eq!((info.in_reply_to, info.cookie), (id, u64::MAX));
    assert_eq!((info.sender, info.to), (b.peer_id(), a.peer_id()));
    assert_eq!((info.flags, info.len, info.error), (uapi::KBUS_REPLY, 6, 0));
}

/// Listeners of the name hear the reply too, without the cookie.
fn reply_copies_for_listeners() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request_with("$.A", b"", 0, 5).unwrap();
    let request = b.recv().unwrap();
    // The requester and the replier that also listen get that copy as well.
    for sock in [&a, &b, &c] {
        sock.listen("$.A").unwrap();
    }
    b.reply(&request, b"answer").unwrap();
    let own = a.recv().unwrap();
    assert_eq!(own.info.cookie, 5);
    for sock in [&a, &b, &c] {
        let msg = sock.recv().unwrap();
        assert_eq!((msg.info.in_reply_to, msg.info.cookie), (id, 0));
        assert_eq!(msg.info.to, a.peer_id());
        assert_eq!(msg.from, b.sends_from("$.A"));
        assert!(msg.is(uapi::KBUS_REPLY));
        silent!(sock);
    }
}

/// The name may be left out of a reply's address.
fn reply_without_a_name() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    b.recv().unwrap();
    b.send_to(&format!("{}#{id:x}", a.sends_from("$.")), b"x")
        .unwrap();
    assert_eq!(a.recv().unwrap().from, b.sends_from("$.A"));
}

/// If it stands there it must be the request's: `EINVAL`, still owed.
fn reply_with_another_name() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    fails!(
        EINVAL,
        b.send_to(&format!("{}#{id:x}", a.sends_from("$.B")), b"x")
    );
    assert_eq!(b.unreplied(), 1);
    b.reply(&request, b"x").unwrap();
}

/// One may be replier to one's own request.
fn request_to_oneself() {
    let sock = Sock::on(&fresh_bus());
    sock.replier("$.A").unwrap();
    let id = sock.request("$.A", b"").unwrap();
    let request = sock.recv().unwrap();
    assert!(request.must_reply());
    sock.reply(&request, b"self").unwrap();
    let reply = sock.recv().unwrap();
    assert_eq!(reply.info.in_reply_to, id);
    assert_eq!(reply.data, b"self");
}

/// A stateful request goes to the peer it names, and says so.
fn stateful_request() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let id = a.request(&b.sends_from("$.A"), b"ask").unwrap();
    let request = b.recv().unwrap();
    assert_eq!(request.from, format!("{}#{id:x}", a.sends_from("$.A")));
    assert_eq!(request.info.to, b.peer_id());
    b.reply(&request, b"").unwrap();
    assert_eq!(a.recv().unwrap().info.in_reply_to, id);
}

/// Nobody is replier: `EADDRNOTAVAIL`. Somebody else is: `EPIPE`.
fn stateful_request_errors() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    fails!(EADDRNOTAVAIL, a.request(&b.sends_from("$.A"), b""));
    c.replier("$.A").unwrap();
    fails!(EPIPE, a.request(&b.sends_from("$.A"), b""));
    c.unreplier("$.A").unwrap();
    b.replier("$.A").unwrap();
    a.request(&b.sends_from("$.A"), b"").unwrap();
    silent!(c);
}

/// A complete replier is an ordinary UDP-style loop.
fn udp_style_replier() {
    let bus = fresh_bus();
    let ready = Gate::new();
    let server = Child::fork(|| {
        let sock = Sock::on(&bus);
        sock.replier("$.Double").unwrap();
        ready.open(1);
        loop {
            let request = sock.recv_wait().unwrap();
            let answer = [&request.data[..], &request.data[..]].concat();
            sock.reply(&request, &answer).unwrap();
        }
    });
    ready.pass();
    let sock = Sock::on(&bus);
    for n in 0..100_u32 {
        let ask = n.to_ne_bytes();
        let id = sock.request("$.Double", &ask).unwrap();
        let reply = sock.recv_wait().unwrap();
        assert_eq!(reply.info.in_reply_to, id);
        assert_eq!(reply.data, [ask, ask].concat());
    }
    server.kill();
}

/// `KBUS_SEND_FLAGS` are the flags of sends without `SCM_KBUS_SEND`.
fn send_flags_make_plain_sends_requests() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let flags = uapi::KBUS_REQUEST | 0x1234_0000;
    a.set_u32(uapi::KBUS_SEND_FLAGS, flags).unwrap();
    assert_eq!(a.get_u32(uapi::KBUS_SEND_FLAGS), Ok(flags));
    a.send_to("$.A", b"").unwrap();
    let request = b.recv().unwrap();
    assert_eq!(request.info.flags, flags | uapi::KBUS_YOU_REPLY);
    b.recv().unwrap();
    // The ancillary data replaces them all.
    a.send_msg(&Out::to("$.A", b"").with(Cmsg::send(0, 0, 0)))
        .unwrap();
    assert_eq!(b.recv().unwrap().info.flags, 0);
    silent!(b);
}

/// A reply is always a reply: `KBUS_REQUEST` in `KBUS_SEND_FLAGS` is ignored.
fn request_flags_are_ignored_in_a_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.set_u32(uapi::KBUS_SEND_FLAGS, uapi::KBUS_REQUEST)
        .unwrap();
    a.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"x").unwrap();
    assert_eq!(a.recv().unwrap().info.flags, uapi::KBUS_REPLY);
}

/// In `SCM_KBUS_SEND` the same flag is `EINVAL`; the user's bits are fine.
fn request_flags_in_scm_of_a_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    let to = b.recv().unwrap().from;
    for flag in [
        uapi::KBUS_REQUEST,
        uapi::KBUS_ALL_OR_FAIL,
        uapi::KBUS_ALL_OR_WAIT,
    ] {
        let out = Out::to(&to, b"").with(Cmsg::send(flag, 0, 0));
        fails!(EINVAL, b.send_msg(&out));
    }
    assert_eq!(b.unreplied(), 1);
    let out = Out::to(&to, b"").with(Cmsg::send(0x00ff_0000, 0, 0));
    b.send_msg(&out).unwrap();
    let flags = a.recv().unwrap().info.flags;
    assert_eq!(flags, uapi::KBUS_REPLY | 0x00ff_0000);
}

/// A message may be empty.
fn empty_messages() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.B").unwrap();
    assert_eq!(a.send_to("$.B", b""), Ok(0));
    a.request("$.A", b"").unwrap();
    assert_eq!(b.next_len(), 0);
    assert_eq!(b.recv().unwrap().len, 0);
    b.reply(&b.recv().unwrap(), b"").unwrap();
    assert_eq!(a.recv().unwrap().len, 0);
}

/// Ids ascend over every bus of the order domain.
fn ids_ascend_over_buses() {
    let socks: Vec<Sock> = (0..4).map(|_| Sock::on(&fresh_bus())).collect();
    let mut last = 0;
    for n in 0..40 {
        let sock = &socks[n % 4];
        sock.send_to("$.A", b"").unwrap();
        let id = sock.last_sent();
        assert!(id > last, "{id} after {last}");
        last = id;
    }
}

/// All see the messages they have in common in the order of their ids.
fn same_order_for_all() {
    let bus = fresh_bus();
    let listeners: Vec<Sock> = (0..3).map(|_| Sock::on(&bus)).collect();
    for sock in &listeners {
        sock.set_u32(uapi::KBUS_QUEUE_LEN, 1000).unwrap();
        sock.listen("$.A").unwrap();
    }
    let senders: Vec<Child> = (0..4)
        .map(|_| {
            Child::fork(|| {
                let sock = Sock::on(&bus);
                for _ in 0..100 {
                    sock.send_to("$.A", b"x").unwrap();
                }
            })
        })
        .collect();
    senders.into_iter().for_each(Child::join);
    let orders: Vec<Vec<u64>> = listeners
        .iter()
        .map(|sock| (0..400).map(|_| sock.recv().unwrap().info.id).collect())
        .collect();
    assert!(orders[0].windows(2).all(|pair| pair[0] < pair[1]));
    assert!(orders.iter().all(|order| *order == orders[0]));
}

/// Requests may be answered in any order.
fn replies_out_of_order() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    let ids: Vec<u64> = (0..5)
        .map(|cookie| a.request_with("$.A", b"", 0, cookie).unwrap())
        .collect();
    let mut requests: Vec<_> = (0..5).map(|_| b.recv().unwrap()).collect();
    assert_eq!(b.unreplied(), 5);
    requests.swap(0, 3);
    requests.reverse();
    for request in requests {
        b.reply(&request, b"").unwrap();
        let info = a.recv().unwrap().info;
        assert_eq!(info.in_reply_to, request.info.id);
        assert_eq!(ids[info.cookie as usize], request.info.id);
    }
}

/// A replier may be connected to anything; replies go where they are sent.
fn reply_from_the_connected_default() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.connect("$.Elsewhere").unwrap();
    a.request("$.A", b"").unwrap();
    b.reply(&b.recv().unwrap(), b"x").unwrap();
    assert_eq!(a.recv().unwrap().data, b"x");
}

/// `sendmmsg()` sends several, each a message of its own.
fn several_in_one_call() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.connect("$.A").unwrap();
    let mut byte = *b"x";
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut vector: [libc::mmsghdr; 3] = unsafe { std::mem::zeroed() };
    for message in &mut vector {
        message.msg_hdr.msg_iov = &mut part;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the vector is valid, and so is what it points to.
    let sent = unsafe { libc::sendmmsg(sock.as_raw_fd(), vector.as_mut_ptr(), 3, 0) };
    assert_eq!(sent, 3);
    assert_eq!(sock.unread(), 3);
}
