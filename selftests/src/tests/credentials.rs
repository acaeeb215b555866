// SPDX-License-Identifier: GPL-2.0
//! What is told of who sent a message: user, group and process, and when it was sent.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use kbus_selftests::process;
use kbus_selftests::process::Blocked;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    attached_when_asked_for attached_to_each_kind of_the_real_user of_the_process_that_sends
    of_the_time_of_sending outlive_the_sender of_a_send_that_waited peek_shows_them come_before_the_info
    no_room_is_told nobody_speaks_for_the_bus user_namespace_of_the_reader user_namespace_of_the_sender
    pid_namespaces timestamp_forms timestamp_is_of_the_sending timestamp_of_a_status
    pass_and_its_other_forms pass_rejects_unknown_bits core_does_not_tell nothing_else_is_written
}

// Not in the C library's header for this target.
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
pub(super) const SCM_SECURITY: i32 = 3;

/// A listener that asks for credentials.
pub(super) fn listener(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_socket(libc::SO_PASSCRED, 1).unwrap();
    sock.listen("$.A").unwrap();
    sock
}

pub(super) fn creds(sock: &Sock) -> Creds {
    sock.recv().unwrap().creds().expect("SCM_CREDENTIALS")
}

/// `SCM_CREDENTIALS` comes to who set `SO_PASSCRED`, and to nobody else.
fn attached_when_asked_for() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), listener(&bus), Sock::on(&bus));
    c.listen("$.A").unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(creds(&b), Creds::own());
    assert_eq!(c.recv().unwrap().creds(), None);
    b.set_socket(libc::SO_PASSCRED, 0).unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(b.recv().unwrap().creds(), None);
    // It is asked for when reading.
    c.set_socket(libc::SO_PASSCRED, 1).unwrap();
    assert_eq!(creds(&c), Creds::own());
}

/// Requests, their copies, replies and theirs have them as announcements do.
fn attached_to_each_kind() {
    let bus = fresh_bus();
    let (a, b, c) = (listener(&bus), Sock::on(&bus), listener(&bus));
    b.set_socket(libc::SO_PASSCRED, 1).unwrap();
    b.replier("$.A").unwrap();
    let child = Child::fork(|| {
        let request = b.recv_wait().unwrap();
        assert_eq!(
            request.creds(),
            Some(Creds {
                pid: parent_pid(),
                ..Creds::own()
            })
        );
        b.reply(&request, b"").unwrap();
    });
    let pid = child.pid();
    a.request("$.A", b"").unwrap();
    child.join();
    let replier = Creds {
        pid,
        ..Creds::own()
    };
    // Its own copies of the request and of the reply come after the reply itself, or before.
    let own: Vec<Creds> = (0..3).map(|_| creds(&a)).collect();
    assert_eq!(own, [Creds::own(), replier, replier]);
    assert_eq!(creds(&c), Creds::own());
    assert_eq!(creds(&c), replier);
}

pub(super) fn parent_pid() -> i32 {
    // SAFETY: Always safe.
    unsafe { libc::getppid() }
}

/// They are the real user and group, not the effective ones.
fn of_the_real_user() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    let child = Child::fork(|| {
        // SAFETY: Always safe.
        let r = unsafe { libc::setresgid(12, 0, 0) | libc::setresuid(11, 0, 0) };
        assert_eq!(r, 0);
        a.send_to("$.A", b"").unwrap();
    });
    let pid = child.pid();
    child.join();
    let (uid, gid) = (11, 12);
    assert_eq!(creds(&b), Creds { pid, uid, gid });
}

/// A socket may have many users: who sends is who calls, not who made it.
fn of_the_process_that_sends() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    let child = Child::fork(|| {
        a.send_to("$.A", b"").unwrap();
    });
    let pid = child.pid();
    child.join();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(creds(&b).pid, pid);
    assert_eq!(creds(&b), Creds::own());
}

/// What the sender becomes later changes nothing.
fn of_the_time_of_sending() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    let changed = Gate::new();
    let child = Child::fork(|| {
        a.send_to("$.A", b"before").unwrap();
        process::become_user(1000, 1001);
        a.send_to("$.A", b"after").unwrap();
        changed.open(1);
        process::park();
    });
    changed.pass();
    let pid = child.pid();
    assert_eq!(
        creds(&b),
        Creds {
            pid,
            uid: 0,
            gid: 0
        }
    );
    let (uid, gid) = (1000, 1001);
    assert_eq!(creds(&b), Creds { pid, uid, gid });
}

/// A sender may be dead and forgotten when its message is read.
fn outlive_the_sender() {
    let bus = fresh_bus();
    let b = listener(&bus);
    let child = Child::fork(|| {
        process::become_user(1000, 1001);
        Sock::on(&bus).send_to("$.A", b"").unwrap();
    });
    let pid = child.pid();
    child.join();
    let (uid, gid) = (1000, 1001);
    assert_eq!(creds(&b), Creds { pid, uid, gid });
}

/// A send that waited is its sender's, although a reader let it go.
fn of_a_send_that_waited() {
    let bus = fresh_bus();
    let b = listener(&bus);
    b.set_queue_len(1);
    let a = Sock::on(&bus);
    a.send_to("$.A", b"first").unwrap();
    let blocked = Blocked::in_call(|| {
        process::become_user(1000, 1001);
        a.send_with("$.A", b"second", uapi::KBUS_ALL_OR_WAIT)
    });
    blocked.wait_asleep();
    assert_eq!(creds(&b), Creds::own());
    blocked.result().unwrap();
    let second = creds(&b);
    assert_eq!((second.uid, second.gid), (1000, 1001));
    assert_ne!(second.pid, Creds::own().pid);
}

/// A peek shows the same.
fn peek_shows_them() {
    let bus = fresh_bus();
    let b = listener(&bus);
    Sock::on(&bus).send_to("$.A", b"").unwrap();
    assert_eq!(b.peek().unwrap().creds(), Some(Creds::own()));
    assert_eq!(creds(&b), Creds::own());
}

/// They stand before `SCM_KBUS_INFO`, as what is cut off must be the info.
fn come_before_the_info() {
    let bus = fresh_bus();
    let b = listener(&bus);
    let a = Sock::on(&bus);
    a.send_to("$.A", b"").unwrap();
    let msg = b.recv().unwrap();
    let kinds: Vec<_> = msg.cmsgs.iter().map(|c| (c.level, c.kind)).collect();
    let info = (uapi::SOL_KBUS as i32, uapi::SCM_KBUS_INFO as i32);
    assert_eq!(kinds, [(libc::SOL_SOCKET, libc::SCM_CREDENTIALS), info]);
    a.send_to("$.A", b"").unwrap();
    let msg = b.recv_with(RecvOptions {
        control: 32,
        ..RecvOptions::default()
    });
    let msg = msg.unwrap();
    assert_eq!(msg.creds(), Some(Creds::own()));
    assert!(!msg.has_info());
    assert_eq!(msg.flags & libc::MSG_CTRUNC, 0);
}

/// `MSG_CTRUNC` says that there was no room for them.
fn no_room_is_told() {
    let bus = fresh_bus();
    let b = listener(&bus);
    for control in [0, 15, 24] {
        Sock::on(&bus).send_to("$.A", b"x").unwrap();
        let options = RecvOptions {
            control,
            ..RecvOptions::default()
        };
        let msg = b.recv_with(options).unwrap();
        assert_eq!(msg.flags & libc::MSG_CTRUNC, libc::MSG_CTRUNC, "{control}");
        assert_eq!(msg.data, b"x");
    }
}

/// A status and an event are the bus's own: process 0, the overflow ids.
fn nobody_speaks_for_the_bus() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.set_socket(libc::SO_PASSCRED, 1).unwrap();
    a.listen("$.KBUS.ReplierBindEvent").unwrap();
    a.turn_on(uapi::KBUS_REPORT_BINDS);
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    drop(b);
    for _ in 0..3 {
        let msg = a.recv().unwrap();
        assert!(msg.is(uapi::KBUS_STATUS));
        assert_eq!(msg.creds(), Some(Creds::NOBODY));
    }
    silent!(a);
}

pub(super) fn claim(sock: &Sock, creds: Creds) -> kbus_selftests::sys::Res<usize> {
    sock.send_msg(&Out::to("$.A", b"").with(Cmsg::credentials(creds)))
}

/// A reader sees users and groups as its user namespace has them, others as the overflow ids.
fn user_namespace_of_the_reader() {
    let b = listener(&fresh_bus());
    let own = Creds::own();
    claim(&b, own).unwrap();
    let (uid, gid) = (4711, 4712);
    claim(&b, Creds { uid, ..own }).unwrap();
    claim(&b, Creds { gid, ..own }).unwrap();
    process::new_userns(7, 8);
    let (uid, gid) = (7, 8);
    let mapped = Creds { uid, gid, ..own };
    assert_eq!(creds(&b), mapped);
    assert_eq!(
        creds(&b),
        Creds {
            uid: 65534,
            ..mapped
        }
    );
    assert_eq!(
        creds(&b),
        Creds {
            gid: 65534,
            ..mapped
        }
    );
}

/// A sender's ids are those outside, and its claims are of its own namespace.
fn user_namespace_of_the_sender() {
    let b = listener(&fresh_bus());
    let child = Child::fork(|| {
        let outside = Creds::own();
        process::new_userns(7, 8);
        b.send_to("$.A", b"").unwrap();
        let (uid, gid) = (7, 8);
        claim(
            &b,
            Creds {
                uid,
                gid,
                ..outside
            },
        )
        .unwrap();
        // It has all capabilities there, but these are nobody.
        fails!(EINVAL, claim(&b, outside));
        // None over the pid namespace.
        let pid = parent_pid();
        fails!(EPERM, claim(&b, Creds { pid, uid, gid }));
    });
    let pid = child.pid();
    child.join();
    let outside = Creds {
        pid,
        ..Creds::own()
    };
    assert_eq!(creds(&b), outside);
    assert_eq!(creds(&b), outside);
    silent!(b);
}

/// A process has the number of the reader's pid namespace, and is 0 if it is not seen from there.
fn pid_namespaces() {
    let b = listener(&fresh_bus());
    let own = Creds::own();
    b.send_to("$.A", b"from outside").unwrap();
    let child = Child::fork(|| {
        process::new_pidns();
        Child::fork(|| {
            assert_eq!(Creds::own().pid, 1);
            b.send_to("$.A", b"from inside").unwrap();
            b.send_to("$.A", b"from inside").unwrap();
            let seen = creds(&b);
            assert_eq!(seen, Creds { pid: 0, ..own });
            assert_eq!(creds(&b).pid, 1);
        })
        .join();
    });
    let parent = child.pid();
    child.join();
    let inner = creds(&b).pid;
    assert!(inner > 1 && inner != parent && inner != own.pid, "{inner}");
}

fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i128
}

/// The time in nanoseconds, if this kind of it was attached.
fn time_of(msg: &Msg, kind: i32, unit: i128) -> Option<i128> {
    let bytes = msg.cmsg(libc::SOL_SOCKET, kind)?;
    assert_eq!(bytes.len(), 16);
    let word = |at: usize| i64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let (seconds, rest) = (i128::from(word(0)), i128::from(word(8)));
    assert!((0..1_000_000_000 / unit).contains(&rest), "{rest}");
    Some(seconds * 1_000_000_000 + rest * unit)
}

/// `SO_TIMESTAMP` and `SO_TIMESTAMPNS`, old and new, attach the time in their own form.
fn timestamp_forms() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let forms = [
        (libc::SO_TIMESTAMP, 1000),
        (libc::SO_TIMESTAMPNS, 1),
        (SO_TIMESTAMP_NEW, 1000),
        (SO_TIMESTAMPNS_NEW, 1),
    ];
    for (option, unit) in forms {
        sock.set_socket(option, 1).unwrap();
        assert_eq!(sock.get_socket(option), Ok(1));
        let before = now() / unit * unit;
        sock.send_to("$.A", b"").unwrap();
        let after = now();
        let msg = sock.recv().unwrap();
        let time = time_of(&msg, option, unit).expect("a timestamp");
        assert!((before..=after).contains(&time), "{before} {time} {after}");
        assert_eq!(msg.cmsgs.len(), 2, "one form at a time, and the info");
        sock.set_socket(option, 0).unwrap();
        sock.send_to("$.A", b"").unwrap();
        assert_eq!(sock.recv().unwrap().cmsgs.len(), 1);
    }
}

/// The time is that of the sending, not of the reading.
fn timestamp_is_of_the_sending() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", b"").unwrap();
    sock.send_to("$.A", b"").unwrap();
    let after = now();
    process::sleep_ms(20);
    sock.set_socket(libc::SO_TIMESTAMPNS, 1).unwrap();
    let times = [(); 2].map(|()| time_of(&sock.recv().unwrap(), libc::SO_TIMESTAMPNS, 1).unwrap());
    assert!(
        times[0] <= times[1] && times[1] <= after,
        "{times:?} {after}"
    );
}

/// A status has the time at which it was made.
fn timestamp_of_a_status() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.set_socket(libc::SO_TIMESTAMPNS, 1).unwrap();
    b.replier("$.A").unwrap();
    a.request("$.A", b"").unwrap();
    process::sleep_ms(20);
    let before = now();
    drop(b);
    let after = now();
    let time = time_of(&a.recv().unwrap(), libc::SO_TIMESTAMPNS, 1).unwrap();
    assert!((before..=after).contains(&time), "{before} {time} {after}");
}

/// `KBUS_PASS` sets what the options of `SOL_SOCKET` set, and tells what they have set.
fn pass_and_its_other_forms() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let pass = || sock.get_u32(uapi::KBUS_PASS).unwrap();
    assert_eq!(pass(), 0);
    for (option, bit) in [
        (libc::SO_PASSCRED, uapi::KBUS_PASS_CRED),
        (libc::SO_PASSSEC, uapi::KBUS_PASS_SEC),
        (libc::SO_TIMESTAMP, uapi::KBUS_PASS_TIME),
        (SO_TIMESTAMPNS_NEW, uapi::KBUS_PASS_TIME),
    ] {
        sock.set_socket(option, 1).unwrap();
        assert_eq!(pass(), bit);
        sock.set_socket(option, 0).unwrap();
        assert_eq!(pass(), 0);
    }
    let kinds = |msg: Msg| -> Vec<i32> {
        let own = msg.cmsgs.iter().filter(|c| c.level == libc::SOL_SOCKET);
        own.map(|c| c.kind)
            .filter(|kind| *kind != SCM_SECURITY)
            .collect()
    };
    let all = uapi::KBUS_PASS_CRED | uapi::KBUS_PASS_SEC | uapi::KBUS_PASS_TIME;
    sock.set_u32(uapi::KBUS_PASS, all).unwrap();
    assert_eq!(pass(), all);
    assert_eq!(sock.get_socket(libc::SO_TIMESTAMPNS), Ok(1));
    sock.send_to("$.A", b"").unwrap();
    let both = [libc::SCM_CREDENTIALS, libc::SO_TIMESTAMPNS];
    assert_eq!(kinds(sock.recv().unwrap()), both);
    // What is on already keeps its form.
    sock.set_socket(SO_TIMESTAMP_NEW, 1).unwrap();
    sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_TIME).unwrap();
    assert_eq!(pass(), uapi::KBUS_PASS_TIME);
    sock.send_to("$.A", b"").unwrap();
    assert_eq!(kinds(sock.recv().unwrap()), [SO_TIMESTAMP_NEW]);
    sock.set_u32(uapi::KBUS_PASS, 0).unwrap();
    assert_eq!((pass(), sock.get_socket(SO_TIMESTAMP_NEW)), (0, Ok(0)));
    sock.send_to("$.A", b"").unwrap();
    assert!(kinds(sock.recv().unwrap()).is_empty());
}

/// Bits without a meaning are `EINVAL`, and nothing changes.
fn pass_rejects_unknown_bits() {
    let sock = Sock::on(&fresh_bus());
    for bit in 4..32 {
        let bits = (1 << bit) | uapi::KBUS_PASS_CRED;
        fails!(EINVAL, sock.set_u32(uapi::KBUS_PASS, bits));
    }
    assert_eq!(sock.get_u32(uapi::KBUS_PASS), Ok(0));
}

/// The kernel's own `getsockopt(SO_PASSCRED)` does not know the family: `KBUS_PASS` is what can be read.
fn core_does_not_tell() {
    let sock = Sock::on(&fresh_bus());
    sock.set_socket(libc::SO_PASSCRED, 1).unwrap();
    fails!(EOPNOTSUPP, sock.get_socket(libc::SO_PASSCRED));
    fails!(EOPNOTSUPP, sock.get_socket(libc::SO_PASSSEC));
    // What cannot be had is refused.
    const SO_PASSPIDFD: i32 = 76;
    fails!(EOPNOTSUPP, sock.set_socket(SO_PASSPIDFD, 1));
    fails!(EOPNOTSUPP, sock.set_socket(libc::SO_TIMESTAMPING, 1));
}

/// Of a control buffer nothing is written but whole structs; what lies between and behind them stays as it was.
fn nothing_else_is_written() {
    const POISON: u8 = 0xa5;
    let bus = fresh_bus();
    let b = listener(&bus);
    b.set_socket(libc::SO_TIMESTAMP, 1).unwrap();
    Sock::on(&bus).send_to("$.A", b"").unwrap();
    let mut control = [POISON; 512];
    let len = b.recv_control(&mut control);
    let mut rest = &control[..len];
    for (level, kind, size) in [
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS, 12),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMP, 16),
        (uapi::SOL_KBUS as i32, uapi::SCM_KBUS_INFO as i32, 56),
    ] {
        let word = |at: usize| i32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        assert_eq!(rest[..8], (16 + size as u64).to_ne_bytes());
        assert_eq!((word(8), word(12)), (level, kind));
        let (whole, next) = rest.split_at((16 + size as usize).next_multiple_of(8));
        assert!(whole[16 + size as usize..].iter().all(|b| *b == POISON));
        rest = next;
    }
    assert!(rest.is_empty());
    assert!(control[len..].iter().all(|b| *b == POISON));
}
