// SPDX-License-Identifier: GPL-2.0
//! Who sent a message, and when; and who made the bus.

use std::fs;
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
    of_the_time_of_sending outlive_the_sender of_a_send_that_waited peek_shows_them
    come_before_the_info no_room_is_told nobody_speaks_for_the_bus
    claim_what_one_is claim_one_of_own_ids claim_needs_privilege claim_is_checked
    malformed_claims user_namespace_of_the_reader user_namespace_of_the_sender
    pid_namespaces label_of_the_sender label_is_of_the_time_of_sending
    timestamp_forms timestamp_is_of_the_sending timestamp_of_a_status
    pass_and_its_other_forms pass_rejects_unknown_bits core_does_not_tell
    nothing_else_is_written owner_in_another_user_namespace
    maker_of_the_bus maker_stays_the_maker no_maker_before_bind maker_as_a_pidfd
}

// Not in the C library's header for this target.
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SCM_SECURITY: i32 = 3;
const SO_PEERPIDFD: i32 = 77;

/// A listener that asks for credentials.
fn listener(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_socket(libc::SO_PASSCRED, 1).unwrap();
    sock.listen("$.A").unwrap();
    sock
}

fn creds(sock: &Sock) -> Creds {
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

fn parent_pid() -> i32 {
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

fn claim(sock: &Sock, creds: Creds) -> kbus_selftests::sys::Res<usize> {
    sock.send_msg(&Out::to("$.A", b"").with(Cmsg::credentials(creds)))
}

/// Anybody may say what he is.
fn claim_what_one_is() {
    let b = listener(&fresh_bus());
    process::become_user(1000, 1001);
    claim(&b, Creds::own()).unwrap();
    assert_eq!(creds(&b), Creds::own());
}

/// One may name oneself by any of one's three users and groups.
fn claim_one_of_own_ids() {
    let b = listener(&fresh_bus());
    // SAFETY: Always safe.
    let r = unsafe { libc::setresgid(11, 12, 13) | libc::setresuid(1, 2, 3) };
    assert_eq!(r, 0);
    let pid = Creds::own().pid;
    for (uid, gid) in [(1, 11), (2, 12), (3, 13), (1, 13)] {
        let claimed = Creds { pid, uid, gid };
        claim(&b, claimed).unwrap();
        assert_eq!(creds(&b), claimed);
    }
    fails!(
        EPERM,
        claim(
            &b,
            Creds {
                pid,
                uid: 4,
                gid: 11
            }
        )
    );
    fails!(
        EPERM,
        claim(
            &b,
            Creds {
                pid,
                uid: 1,
                gid: 14
            }
        )
    );
    silent!(b);
}

/// To name others takes `CAP_SYS_ADMIN`, `CAP_SETUID` and `CAP_SETGID`.
fn claim_needs_privilege() {
    let b = listener(&fresh_bus());
    let pid = parent_pid();
    let (uid, gid) = (4711, 4712);
    let other = Creds { pid, uid, gid };
    claim(&b, other).unwrap();
    assert_eq!(creds(&b), other);
    process::become_user(1000, 1001);
    let own = Creds::own();
    fails!(EPERM, claim(&b, other));
    fails!(EPERM, claim(&b, Creds { pid, ..own }));
    fails!(EPERM, claim(&b, Creds { uid, ..own }));
    fails!(EPERM, claim(&b, Creds { gid, ..own }));
    silent!(b);
}

/// Processes and ids that do not exist cannot be named.
fn claim_is_checked() {
    let b = listener(&fresh_bus());
    let own = Creds::own();
    let child = Child::fork(|| {});
    let pid = child.pid();
    child.join();
    fails!(ESRCH, claim(&b, Creds { pid, ..own }));
    fails!(ESRCH, claim(&b, Creds { pid: -1, ..own }));
    let none = u32::MAX;
    fails!(EINVAL, claim(&b, Creds { uid: none, ..own }));
    fails!(EINVAL, claim(&b, Creds { gid: none, ..own }));
    silent!(b);
}

/// `SCM_CREDENTIALS` of another size, or twice, is `EINVAL`.
fn malformed_claims() {
    let b = listener(&fresh_bus());
    let right = Cmsg::credentials(Creds::own());
    for len in [0, 4, 11, 13, 16] {
        let mut wrong = right.clone();
        wrong.data.resize(len, 0);
        fails!(EINVAL, b.send_msg(&Out::to("$.A", b"").with(wrong)));
    }
    let twice = Out::to("$.A", b"").with(right.clone()).with(right);
    fails!(EINVAL, b.send_msg(&twice));
    silent!(b);
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

/// The owner of a bus too is the overflow user to whom he does not exist.
fn owner_in_another_user_namespace() {
    let sock = Sock::on(&fresh_bus());
    assert_eq!(sock.bus_info().unwrap().uid, 0);
    process::become_user(1000, 1001);
    let own = Sock::on(&fresh_bus());
    process::new_userns(7, 8);
    let info = own.bus_info().unwrap();
    assert_eq!((info.uid, info.gid), (7, 8));
    let info = sock.bus_info().unwrap();
    assert_eq!((info.uid, info.gid), (65534, 65534));
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

/// What a security module calls this process, if there is one that names processes.
fn own_label() -> String {
    match fs::read_to_string("/proc/self/attr/current") {
        Ok(label) if !label.is_empty() => label.trim_end_matches(['\n', '\0']).to_string(),
        _ => process::skip("no security module that has labels"),
    }
}

fn label(msg: &Msg) -> Option<String> {
    let bytes = msg.cmsg(libc::SOL_SOCKET, SCM_SECURITY)?;
    let text = String::from_utf8_lossy(bytes);
    Some(text.trim_end_matches(['\n', '\0']).to_string())
}

/// `SCM_SECURITY` comes to who set `SO_PASSSEC` before the message was sent: the label of the process that sent.
fn label_of_the_sender() {
    let own = own_label();
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(label(&b.recv().unwrap()), None);
    b.set_socket(libc::SO_PASSSEC, 1).unwrap();
    a.send_to("$.A", b"").unwrap();
    assert_eq!(label(&b.recv().unwrap()), Some(own));
    // The bus itself has none.
    b.replier("$.B").unwrap();
    a.set_socket(libc::SO_PASSSEC, 1).unwrap();
    a.request("$.B", b"").unwrap();
    drop(b);
    assert_eq!(label(&a.recv().unwrap()), None);
}

/// The label is that of the time of sending, too.
fn label_is_of_the_time_of_sending() {
    let own = own_label();
    let policy = "/sys/kernel/security/apparmor/policy/namespaces";
    // SAFETY: All are NUL-terminated.
    unsafe {
        libc::mount(
            c"securityfs".as_ptr(),
            c"/sys/kernel/security".as_ptr(),
            c"securityfs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let name = format!("kbus{}", std::process::id());
    let dir = format!("{policy}/{name}");
    if fs::create_dir(&dir).is_err() {
        process::skip("no AppArmor to make another label with");
    }
    let b = Sock::on(&fresh_bus());
    b.set_socket(libc::SO_PASSSEC, 1).unwrap();
    b.listen("$.A").unwrap();
    Child::fork(|| {
        b.send_to("$.A", b"").unwrap();
        let change = format!("changeprofile :{name}:unconfined");
        fs::write("/proc/self/attr/current", change).expect("another label");
        b.send_to("$.A", b"").unwrap();
    })
    .join();
    assert_eq!(label(&b.recv().unwrap()), Some(own.clone()));
    let other = label(&b.recv().unwrap()).expect("a label");
    assert!(other != own && other.contains(&name), "{other}");
    fs::remove_dir(&dir).unwrap();
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

fn peer_cred(sock: &Sock) -> Creds {
    let bytes = sock
        .get_at(libc::SOL_SOCKET, libc::SO_PEERCRED, &[0; 12])
        .unwrap();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    Creds {
        pid: word(0) as i32,
        uid: word(4),
        gid: word(8),
    }
}

/// `SO_PEERCRED` of every socket of a bus tells who made the bus: process, effective user and group.
fn maker_of_the_bus() {
    let bus = fresh_bus();
    let ready = Gate::new();
    let maker = Child::fork(|| {
        // SAFETY: Always safe.
        let r = unsafe { libc::setresgid(11, 12, 13) | libc::setresuid(1, 2, 3) };
        assert_eq!(r, 0);
        let _sock = Sock::on(&bus);
        ready.open(1);
        process::park();
    });
    ready.pass();
    let pid = maker.pid();
    let (uid, gid) = (2, 12);
    assert_eq!(peer_cred(&Sock::on(&bus)), Creds { pid, uid, gid });
}

/// It stays so when the maker has gone; a bus that is made anew has another one.
fn maker_stays_the_maker() {
    let bus = fresh_bus();
    let made = Gate::new();
    let joined = Gate::new();
    let maker = Child::fork(|| {
        let _sock = Sock::on(&bus);
        made.open(1);
        joined.pass();
    });
    made.pass();
    let a = Sock::on(&bus);
    joined.open(1);
    let pid = maker.pid();
    maker.join();
    let b = Sock::on(&bus);
    for sock in [&a, &b] {
        assert_eq!(peer_cred(sock).pid, pid);
    }
    drop((a, b));
    assert_eq!(peer_cred(&Sock::on(&bus)), Creds::own());
}

/// An unbound socket has no peer.
fn no_maker_before_bind() {
    let sock = Sock::new();
    let (uid, gid) = (u32::MAX, u32::MAX);
    assert_eq!(peer_cred(&sock), Creds { pid: 0, uid, gid });
    fails!(ENODATA, sock.get_socket(SO_PEERPIDFD));
    fails!(EINVAL, sock.bind(""));
    assert_eq!(peer_cred(&sock), Creds { pid: 0, uid, gid });
}

/// `SO_PEERPIDFD` gives a pidfd of the process that made the bus, as long as it lives.
fn maker_as_a_pidfd() {
    let bus = fresh_bus();
    let made = Gate::new();
    let maker = Child::fork(|| {
        let _sock = Sock::on(&bus);
        made.open(1);
        process::park();
    });
    made.pass();
    let sock = Sock::on(&bus);
    let fd = sock.get_socket(SO_PEERPIDFD).unwrap();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:\t"));
    assert_eq!(pid, Some(&maker.pid().to_string()[..]));
    maker.kill();
    fails!(ESRCH, sock.get_socket(SO_PEERPIDFD));
}
