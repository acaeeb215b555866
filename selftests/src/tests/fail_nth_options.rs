// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once: socket options.

use std::cell::RefCell;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use kbus_selftests::fault::Trial;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

super::tests! { bindings bindings_with_events giving_up settings telling }

const KBUS: i32 = uapi::SOL_KBUS as i32;
const SO_PASSRIGHTS: i32 = 83;
const SO_PEERPIDFD: i32 = 77;

/// A socket on a bus of its own, and others.
fn socks<const N: usize>() -> [Sock; N] {
    let bus = fresh_bus();
    [(); N].map(|()| Sock::on(&bus))
}

/// A binding that finds no memory is none: others hear and answer what they did.
fn bindings() {
    let mut trial = Trial::new();
    let long = format!("{}.*", long_name(900));
    for name in ["$.A", "$.A.B.C.D.E.F.%", "$.*", &long] {
        trial.every(
            &format!("KBUS_LISTEN to {} bytes", name.len()),
            socks,
            |[sock]| sock.listen(name).map(|()| 0),
            |[sock], _| assert_eq!(sock.bus_info().map(|info| info.bindings), Ok(1)),
        );
        trial.every(
            &format!("KBUS_REPLIER for {} bytes", name.len()),
            || {
                let [sock, other] = socks();
                other.replier("$.B").expect("a replier");
                other.listen(name).expect("listening");
                [sock, other]
            },
            |[sock, _]| sock.replier(name).map(|()| 0),
            |[sock, _], _| {
                assert_eq!(sock.bus_info().map(|info| info.bindings), Ok(3));
            },
        );
    }
    trial.every(
        "KBUS_LISTEN once more",
        || {
            let [sock, other] = socks();
            sock.listen("$.A").expect("listening");
            [sock, other]
        },
        |[sock, _]| sock.listen("$.A").map(|()| 0),
        |[sock, other], _| {
            other.send_to("$.A", b"").expect("sending");
            assert_eq!(sock.unread(), 2);
        },
    );
    trial.every(
        "KBUS_REPLIER as a number",
        socks,
        |[sock]| sock.set_u32(uapi::KBUS_REPLIER, 1).map(|()| 0),
        |[sock], _| assert_eq!(sock.who_replies("$.X"), Ok(sock.peer_id())),
    );
    trial.end();
}

/// A binding and its event are one step: without memory for either there is none.
fn bindings_with_events() {
    let mut trial = Trial::new();
    let told = || {
        let [sock, exact, wild, owner] = socks();
        owner.turn_on(uapi::KBUS_REPORT_BINDS);
        exact.listen("$.KBUS.ReplierBindEvent").expect("listening");
        wild.listen("$.KBUS.*").expect("listening");
        sock.replier("$.Old").expect("a replier");
        [&exact, &wild].map(Sock::drain);
        [sock, exact, wild, owner]
    };
    trial.every(
        "KBUS_REPLIER with an event",
        told,
        |[sock, ..]| sock.replier("$.New").map(|()| 0),
        |[sock, exact, wild, _], done| {
            assert_eq!((exact.unread(), wild.unread()), (1, 1));
            assert_eq!(exact.recv().expect("an event").info.id, done.last + 1);
            assert_eq!(sock.who_replies("$.New"), Ok(sock.peer_id()));
        },
    );
    trial.every(
        "KBUS_UNREPLIER with an event",
        told,
        |[sock, ..]| sock.unreplier("$.Old").map(|()| 0),
        |[sock, exact, wild, _], _| {
            assert_eq!((exact.unread(), wild.unread()), (1, 1));
            assert_eq!(sock.who_replies("$.Old"), Ok(0));
        },
    );
    trial.every(
        "KBUS_REPLIER whose event has no room",
        || {
            let [sock, exact, wild, owner] = told();
            exact.set_queue_len(1);
            exact.listen("$.Fill").expect("listening");
            exact.send_to("$.Fill", b"").expect("filling");
            sock.set_nonblocking();
            [sock, exact, wild, owner]
        },
        |[sock, ..]| match sock.replier("$.New") {
            Err(errno) if errno.0 == libc::EAGAIN => Ok(0),
            other => other.map(|()| 1),
        },
        |[sock, exact, ..], done| {
            assert_eq!((done.value, exact.unread()), (0, 1));
            assert_eq!(sock.who_replies("$.New"), Ok(0));
        },
    );
    trial.every(
        "KBUS_LISTEN to the events",
        told,
        |[_, exact, ..]| exact.listen("$.KBUS.%").map(|()| 0),
        |[sock, exact, ..], _| {
            sock.unreplier("$.Old").expect("unbinding");
            assert_eq!(exact.unread(), 2);
        },
    );
    trial.every(
        "KBUS_REPORT_BINDS",
        || {
            let [sock, owner] = socks();
            (0..20).for_each(|n| sock.replier(&format!("$.R{n}")).expect("a replier"));
            [sock, owner]
        },
        |[_, owner]| owner.set_u32(uapi::KBUS_REPORT_BINDS, 1).map(|()| 0),
        |[_, owner], _| {
            assert_eq!(owner.unread(), 20);
            assert_eq!(owner.get_u32(uapi::KBUS_REPORT_BINDS), Ok(1));
        },
    );
    trial.every(
        "KBUS_REPORT_BINDS off",
        told,
        |[.., owner]| owner.set_u32(uapi::KBUS_REPORT_BINDS, 0).map(|()| 0),
        |[.., owner], _| assert_eq!(owner.get_u32(uapi::KBUS_REPORT_BINDS), Ok(0)),
    );
    trial.end();
}

/// To unbind and to give up a request needs no memory.
fn giving_up() {
    let mut trial = Trial::new();
    let asked = || {
        let [client, server] = socks();
        server.replier("$.A").expect("a replier");
        server.listen("$.A").expect("listening");
        server.listen("$.%").expect("listening");
        let read = client.request("$.A", b"one").expect("a request");
        server.recv().expect("the request");
        let unread = client.request("$.A", b"two").expect("a request");
        ([client, server], [read, unread])
    };
    trial.without(
        "KBUS_UNLISTEN",
        asked,
        |([_, server], _)| server.unlisten("$.%").map(|()| 0),
        |([_, server], _), _| assert_eq!(server.unread(), 3),
    );
    trial.without(
        "KBUS_UNREPLIER",
        asked,
        |([_, server], _)| server.unreplier("$.A").map(|()| 0),
        |([client, _], [_, unread]), _| {
            super::expect_status(client, *unread, uapi::KBUS_UNBOUND);
        },
    );
    trial.without(
        "KBUS_IGNORE",
        asked,
        |([_, server], [read, _])| server.ignore(*read).map(|()| 0),
        |([client, _], [read, _]), _| {
            super::expect_status(client, *read, uapi::KBUS_IGNORED);
        },
    );
    trial.end();
}

/// What a socket says of an option of `SOL_SOCKET`: of those that the core does not tell, in our own words.
fn told(sock: &Sock, option: i32) -> Vec<u8> {
    let option = match option {
        libc::SO_RCVBUFFORCE => libc::SO_RCVBUF,
        libc::SO_PASSCRED | libc::SO_PASSSEC | SO_PASSRIGHTS => {
            return sock.get(uapi::KBUS_PASS, 4).expect("KBUS_PASS");
        }
        other => other,
    };
    sock.get_at(libc::SOL_SOCKET, option, &[0; 16])
        .expect("getsockopt()")
}

/// To set an option needs no memory.
fn settings() {
    let mut trial = Trial::new();
    let one = 1_u32.to_ne_bytes();
    let time = [1_i64, 500].map(i64::to_ne_bytes).concat();
    let of_kbus = [
        (uapi::KBUS_SEND_FLAGS, uapi::KBUS_URGENT),
        (uapi::KBUS_ONCE, 1),
        (uapi::KBUS_LOSSY, 1),
        (uapi::KBUS_REPORT_LOST, 1),
        (uapi::KBUS_RECV_INFO, 0),
        (uapi::KBUS_PASS, 15),
        (uapi::KBUS_QUEUE_LEN, 7),
        (uapi::KBUS_REPLY_MAX, 7),
        (uapi::KBUS_MAX_MSG_SIZE, 1000),
        (uapi::KBUS_BUS_MODE, 0o600),
    ];
    for (option, value) in of_kbus {
        let bytes = value.to_ne_bytes();
        trial.without(
            &format!("setsockopt() of KBUS option {option}"),
            socks,
            |[sock]| sock.set(option, &bytes).map(|()| 0),
            |[sock], _| assert_eq!(sock.get_u32(option), Ok(value)),
        );
    }
    trial.without(
        "KBUS_BUS_BYTES",
        socks,
        |[sock]| sock.set_u64(uapi::KBUS_BUS_BYTES, 1000).map(|()| 0),
        |[sock], _| assert_eq!(sock.get_u64(uapi::KBUS_BUS_BYTES), Ok(1000)),
    );
    let of_socket = [
        (libc::SO_RCVBUF, &one[..]),
        (libc::SO_RCVBUFFORCE, &one),
        (libc::SO_RCVTIMEO, &time),
        (libc::SO_SNDTIMEO, &time),
        (libc::SO_PASSCRED, &one),
        (libc::SO_PASSSEC, &one),
        (SO_PASSRIGHTS, &one),
        (libc::SO_TIMESTAMP, &one),
        (libc::SO_TIMESTAMPNS, &one),
        (libc::SO_RXQ_OVFL, &one),
    ];
    for (option, value) in of_socket {
        let set = {
            let [sock] = socks();
            let new = told(&sock, option);
            sock.set_at(libc::SOL_SOCKET, option, value)
                .expect("setsockopt()");
            let set = told(&sock, option);
            assert_ne!(set, new, "option {option}");
            set
        };
        trial.without(
            &format!("setsockopt() of SOL_SOCKET {option}"),
            socks,
            |[sock]| sock.set_at(libc::SOL_SOCKET, option, value).map(|()| 0),
            |[sock], _| assert_eq!(told(sock, option), set),
        );
    }
    trial.without(
        "KBUS_QUEUE_LEN that others wait for",
        || {
            let [sender, full] = socks();
            full.listen("$.A").expect("listening");
            full.set_queue_len(1);
            super::fill(&full);
            let sent = sender.try_send_with("$.A", b"", uapi::KBUS_ALL_OR_WAIT);
            super::fails!(EAGAIN, sent);
            [sender, full]
        },
        |[_, full]| full.set_u32(uapi::KBUS_QUEUE_LEN, 2).map(|()| 0),
        |[sender, _], _| assert_eq!(sender.poll(libc::POLLOUT, 0), libc::POLLOUT),
    );
    trial.end();
}

/// What is told needs no memory, but for names that are asked about.
fn telling() {
    let mut trial = Trial::new();
    let connected = || {
        let [sock] = socks();
        sock.replier("$.A").expect("a replier");
        sock.connect("$.A").expect("connect()");
        [sock]
    };
    let room = RefCell::new([1_u8; 1001]);
    for option in uapi::KBUS_SEND_FLAGS..=uapi::KBUS_SYNC {
        trial.without(
            &format!("getsockopt() of KBUS option {option}"),
            connected,
            |[sock]| sock.get_into(KBUS, option as i32, &mut room.borrow_mut()[..48]),
            |_, done| assert!(done.value >= 4),
        );
    }
    let of_socket = [
        libc::SO_RCVBUF,
        libc::SO_RCVTIMEO,
        libc::SO_TYPE,
        libc::SO_PROTOCOL,
        libc::SO_PEERCRED,
        libc::SO_ERROR,
    ];
    for option in of_socket {
        trial.without(
            &format!("getsockopt() of SOL_SOCKET {option}"),
            connected,
            |[sock]| sock.get_into(libc::SOL_SOCKET, option, &mut room.borrow_mut()[..48]),
            |_, done| assert!(done.value >= 4),
        );
    }
    trial.every(
        "SO_PEERPIDFD",
        connected,
        |[sock]| sock.get_into(libc::SOL_SOCKET, SO_PEERPIDFD, &mut room.borrow_mut()[..4]),
        |_, done| {
            assert_eq!(done.value, 4);
            let fd = room.borrow()[..4].try_into().map(i32::from_ne_bytes);
            // SAFETY: The call has just made it for us.
            let maker = unsafe { OwnedFd::from_raw_fd(fd.expect("4 bytes")) };
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", maker.as_raw_fd()));
            let own = format!("Pid:\t{}\n", std::process::id());
            assert!(info.expect("fdinfo").contains(&own), "it is the maker's");
        },
    );
    for len in [8, 1001] {
        trial.every(
            &format!("who replies, in {len} bytes"),
            connected,
            |[sock]| {
                let mut room = room.borrow_mut();
                room.fill(0);
                room[..3].copy_from_slice(b"$.A");
                sock.get_into(KBUS, uapi::KBUS_REPLIER as i32, &mut room[..len])
            },
            |[sock], done| {
                assert_eq!(done.value, 8);
                assert_eq!(room.borrow()[..8], sock.peer_id().to_ne_bytes());
            },
        );
    }
    trial.end();
}
