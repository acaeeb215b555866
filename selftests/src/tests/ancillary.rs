// SPDX-License-Identifier: GPL-2.0
//! Ancillary data, sent and received.

use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
user_flags_are_passed_on reserved_flags send_struct_may_grow send_struct_too_short
unknown_cmsg duplicate_cmsg malformed_control_buffer info_cannot_be_sent
name_announcement name_ignores_the_connected_default name_request_and_reply
name_stateful_request short_name_in_ancillary_data name_in_both_places
bare_address_with_a_name malformed_name longest_name_both_ways
name_comes_without_info via_is_carried via_of_a_wrong_size info_off no_room_for_info
long_reply_by_address_alone }

/// The user's bits are passed on untouched.
fn user_flags_are_passed_on() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for flags in [0xffff_0000, 0x0001_0000, 0x8000_0000] {
        sock.send_msg(&Out::to("$.A", b"").with(Cmsg::send(flags, 0, 0)))
            .unwrap();
        assert_eq!(sock.recv().unwrap().info.flags, flags);
    }
}

/// Flags that only the bus sets, and bits that mean nothing, are `EINVAL`.
fn reserved_flags() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for bit in 4..16 {
        let out = Out::to("$.A", b"").with(Cmsg::send(1 << bit, 0, 0));
        fails!(EINVAL, sock.send_msg(&out));
        fails!(EINVAL, sock.set_u32(uapi::KBUS_SEND_FLAGS, 1 << bit));
    }
    let both = uapi::KBUS_ALL_OR_FAIL | uapi::KBUS_ALL_OR_WAIT;
    let out = Out::to("$.A", b"").with(Cmsg::send(both, 0, 0));
    fails!(EINVAL, sock.send_msg(&out));
    silent!(sock);
}

/// Bytes past the known length must be zero.
fn send_struct_may_grow() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let mut cmsg = Cmsg::send(0x10000, 0, 0);
    cmsg.data.extend_from_slice(&[0; 24]);
    sock.send_msg(&Out::to("$.A", b"").with(cmsg.clone()))
        .unwrap();
    assert_eq!(sock.recv().unwrap().info.flags, 0x10000);
    *cmsg.data.last_mut().unwrap() = 1;
    fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
}

/// Half a flags field is no `SCM_KBUS_SEND`.
fn send_struct_too_short() {
    let sock = Sock::on(&fresh_bus());
    for len in [0, 1, 3] {
        let cmsg = Cmsg::kbus(uapi::SCM_KBUS_SEND, &[0; 4][..len]);
        fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
    }
}

/// Unknown ancillary data is `EINVAL`, on any level.
fn unknown_cmsg() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let levels = [uapi::SOL_KBUS as i32, libc::SOL_SOCKET, libc::SOL_IP];
    for level in levels {
        let cmsg = Cmsg {
            level,
            kind: 0x7777,
            data: vec![0; 8],
        };
        fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
    }
    silent!(sock);
}

/// Each kind is sent at most once.
fn duplicate_cmsg() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let via = uapi::kbus_via::default();
    for cmsg in [Cmsg::send(0, 0, 0), Cmsg::via(via)] {
        let out = Out::to("$.A", b"").with(cmsg.clone()).with(cmsg);
        fails!(EINVAL, sock.send_msg(&out));
    }
    let out = Out::nowhere(b"")
        .with(Cmsg::name("$.A"))
        .with(Cmsg::name("$.A"));
    fails!(EINVAL, sock.send_msg(&out));
    silent!(sock);
}

/// A control message that claims more than there is, or less than its header.
fn malformed_control_buffer() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for len in [0_usize, 1, 15, 33, 1 << 20, usize::MAX] {
        let mut control = len.to_ne_bytes().to_vec();
        control.extend_from_slice(&uapi::SOL_KBUS.to_ne_bytes());
        control.extend_from_slice(&uapi::SCM_KBUS_SEND.to_ne_bytes());
        control.extend_from_slice(&[0; 16]);
        fails!(EINVAL, sock.send_msg_raw(&Out::to("$.A", b""), &control));
    }
    silent!(sock);
}

/// `SCM_KBUS_INFO` is only received.
fn info_cannot_be_sent() {
    let sock = Sock::on(&fresh_bus());
    let cmsg = Cmsg::kbus(uapi::SCM_KBUS_INFO, &[0; 56]);
    fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
}

/// With `SCM_KBUS_NAME` and no address a message goes to that name.
fn name_announcement() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let name = long_name(300);
    b.listen(&name).unwrap();
    a.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
        .unwrap();
    let msg = b.recv().unwrap();
    assert_eq!(msg.long_name().as_deref(), Some(&name[..]));
    assert_eq!((&msg.from, &msg.data[..]), (&a.sends_from("$."), &b"x"[..]));
}

/// A connected default is then ignored.
fn name_ignores_the_connected_default() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(300);
    sock.listen(&name).unwrap();
    sock.listen("$.Default").unwrap();
    sock.connect("$.Default").unwrap();
    sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
        .unwrap();
    assert_eq!(sock.recv().unwrap().long_name(), Some(name));
    silent!(sock);
}

/// `$.@peer#request` with the name beside it is a reply.
fn name_request_and_reply() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let name = long_name(300);
    b.replier(&name).unwrap();
    let ask = Out::nowhere(b"ask")
        .with(Cmsg::send(uapi::KBUS_REQUEST, 0, 3))
        .with(Cmsg::name(&name));
    a.send_msg(&ask).unwrap();
    let request = b.recv().unwrap();
    let id = a.last_sent();
    assert_eq!(request.from, format!("{}#{id:x}", a.sends_from("$.")));
    assert_eq!(request.long_name().as_deref(), Some(&name[..]));
    let wrong = Out::to(&request.from, b"").with(Cmsg::name(&long_name(301)));
    fails!(EINVAL, b.send_msg(&wrong));
    let right = Out::to(&request.from, b"ok").with(Cmsg::name(&name));
    b.send_msg(&right).unwrap();
    let reply = a.recv().unwrap();
    assert_eq!(reply.from, b.sends_from("$."));
    assert_eq!(reply.long_name(), Some(name));
    assert_eq!((reply.info.in_reply_to, reply.info.cookie), (id, 3));
}

/// `$.@peer` with the name beside it is a stateful request.
fn name_stateful_request() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), Sock::on(&bus), Sock::on(&bus));
    let name = long_name(300);
    b.replier(&name).unwrap();
    let to = |sock: &Sock| {
        Out::to(&sock.sends_from("$."), b"")
            .with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0))
            .with(Cmsg::name(&name))
    };
    fails!(EPIPE, a.send_msg(&to(&c)));
    a.send_msg(&to(&b)).unwrap();
    assert_eq!(b.recv().unwrap().info.to, b.peer_id());
}

/// A short name is accepted there too, and travels in the address.
fn short_name_in_ancillary_data() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name("$.A")))
        .unwrap();
    let msg = sock.recv().unwrap();
    assert_eq!(
        (&msg.from, msg.long_name()),
        (&sock.sends_from("$.A"), None)
    );
}

/// A name in both places is `EINVAL`, even the same one.
fn name_in_both_places() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for name in ["$.A", "$.B"] {
        let out = Out::to("$.A", b"").with(Cmsg::name(name));
        fails!(EINVAL, sock.send_msg(&out));
    }
    silent!(sock);
}

/// `$.` alone is `EINVAL`, whatever stands beside it.
fn bare_address_with_a_name() {
    let sock = Sock::on(&fresh_bus());
    let out = Out::to("$.", b"").with(Cmsg::name("$.A"));
    fails!(EINVAL, sock.send_msg(&out));
}

/// The name there is held to the same rules.
fn malformed_name() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.*").unwrap();
    for name in ["Fred", "$.A.", "$..A", "$.A.*", "$.%", "$.A@1f"] {
        let out = Out::nowhere(b"").with(Cmsg::name(name));
        fails!(EBADMSG, sock.send_msg(&out));
    }
    silent!(sock);
}

/// 1000 bytes go both ways.
fn longest_name_both_ways() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(1000);
    sock.listen(&name).unwrap();
    sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
        .unwrap();
    assert_eq!(sock.recv().unwrap().long_name(), Some(name));
}

/// `SCM_KBUS_NAME` is attached whatever was asked for.
fn name_comes_without_info() {
    let sock = Sock::on(&fresh_bus());
    let name = long_name(100);
    sock.listen(&name).unwrap();
    sock.set_u32(uapi::KBUS_RECV_INFO, 0).unwrap();
    sock.send_msg(&Out::nowhere(b"x").with(Cmsg::name(&name)))
        .unwrap();
    let msg = sock.recv().unwrap();
    assert!(!msg.has_info());
    assert_eq!(msg.long_name(), Some(name));
}

/// `SCM_KBUS_VIA` is carried unread, with every kind of message.
fn via_is_carried() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.B").unwrap();
    let via = uapi::kbus_via {
        orig_net: 1,
        orig_peer: u64::MAX,
        final_net: 0,
        final_peer: 4,
    };
    a.send_msg(&Out::to("$.B", b"").with(Cmsg::via(via)))
        .unwrap();
    assert_eq!(b.recv().unwrap().via(), Some(via));
    let ask = Out::to("$.A", b"")
        .with(Cmsg::via(via))
        .with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0));
    a.send_msg(&ask).unwrap();
    let request = b.recv().unwrap();
    assert_eq!(request.via(), Some(via));
    b.send_msg(&Out::to(&request.from, b"").with(Cmsg::via(via)))
        .unwrap();
    assert_eq!(a.recv().unwrap().via(), Some(via));
    b.send_to("$.B", b"").unwrap();
    assert_eq!(b.recv().unwrap().via(), None);
}

/// It has a fixed size.
fn via_of_a_wrong_size() {
    let sock = Sock::on(&fresh_bus());
    let cmsg = Cmsg::kbus(uapi::SCM_KBUS_VIA, &[0; 31]);
    fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
}

/// `KBUS_RECV_INFO` is on by default and can be switched off.
fn info_off() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    assert_eq!(sock.get_u32(uapi::KBUS_RECV_INFO), Ok(1));
    sock.send_to("$.A", b"").unwrap();
    assert!(sock.recv().unwrap().has_info());
    sock.set_u32(uapi::KBUS_RECV_INFO, 0).unwrap();
    sock.send_to("$.A", b"").unwrap();
    let msg = sock.recv().unwrap();
    assert!(!msg.has_info());
    assert_eq!(msg.flags & libc::MSG_CTRUNC, 0);
}

/// `MSG_CTRUNC` is not set for a missing info alone.
fn no_room_for_info() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    for control in [0, 8, 16, 40] {
        sock.send_to("$.A", b"x").unwrap();
        let msg = sock
            .recv_with(RecvOptions {
                control,
                ..RecvOptions::default()
            })
            .unwrap();
        assert_eq!(msg.flags & libc::MSG_CTRUNC, 0, "room {control}");
        assert_eq!(msg.data, b"x");
    }
}

/// A reply needs no name, so a long-named request is answered by `sendto` too.
fn long_reply_by_address_alone() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let name = long_name(500);
    b.replier(&name).unwrap();
    let ask = Out::nowhere(b"")
        .with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0))
        .with(Cmsg::name(&name));
    a.send_msg(&ask).unwrap();
    b.reply(&b.recv().unwrap(), b"ok").unwrap();
    assert_eq!(a.recv().unwrap().long_name(), Some(name));
}
