// SPDX-License-Identifier: GPL-2.0
//! Sockets and namespaces: who is handed one, who is the last to have one, who looks from deep inside.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::time::Instant;

use kbus_selftests::files;
use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::descriptors::pass;
use super::descriptors::take;
use super::fails;
use super::silent;

super::tests! {
    passed_to_another_network_namespace outlives_its_network_namespace
    nested_user_namespaces_have_one_budget nested_user_namespaces_translate_ids
    processes_are_listed_as_the_reader_numbers_them
}

const FILES: [&str; 2] = ["/proc/self/net/kbus", "/proc/self/net/kbus_bindings"];

/// The words of a socket's line in a file of `/proc/net`: bus, peer, process, user, and more.
fn listed(file: &str, peer: u64) -> Option<Vec<String>> {
    let peer = format!("{peer:x}");
    let text = fs::read_to_string(file).expect(file);
    let words = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
    text.lines()
        .map(words)
        .find(|words| words.get(1) == Some(&peer))
}

/// Who is handed a socket over AF_UNIX, and is in another network namespace, has it on the bus that it is on. It binds, is
/// listed and is allowed where it was made.
fn passed_to_another_network_namespace() {
    let bus = fresh_bus();
    let (near, far) = UnixDatagram::pair().unwrap();
    let ready = Gate::new();
    // Before there are sockets: it has none but those that are passed.
    let mut child = Child::fork(|| {
        process::new_netns();
        let local = Sock::on(&bus);
        local.listen("$.*").unwrap();
        fs::write("/proc/sys/net/kbus/literal", "0").unwrap();
        ready.open(local.bus_info().unwrap().domain);
        let [bound, unbound] = [(); 2].map(|()| take(&far));
        bound.send_to("$.FromThere", b"hello").unwrap();
        let id = bound.request("$.Ask", b"question").unwrap();
        let reply = bound.recv_wait().unwrap();
        assert_eq!(
            (reply.info.in_reply_to, &reply.data[..]),
            (id, &b"answer"[..])
        );
        assert_eq!(bound.recv_wait().unwrap().data, b"from here");
        // The other one joins the bus of its maker's namespace, not the one of that name here.
        unbound.bind(&bus).unwrap();
        let info = unbound.bus_info().unwrap();
        assert_eq!(
            (info.members, info.domain),
            (3, bound.bus_info().unwrap().domain)
        );
        assert_ne!(info.domain, local.bus_info().unwrap().domain);
        unbound.listen("$.FromThere").unwrap();
        bound.send_to("$.FromThere", b"hello").unwrap();
        unbound.recv().unwrap();
        silent!(local);
        fails!(EADDRNOTAVAIL, local.request("$.Ask", b""));
        for file in FILES {
            assert!(listed(file, local.peer_id()).is_some());
            for sock in [&bound, &unbound] {
                assert_eq!(listed(file, sock.peer_id()), None);
            }
        }
        ready.open(0);
        // Until the other side has looked.
        far.recv(&mut [0]).unwrap();
    });
    let domain = ready.opened_by(&mut child);
    let here = Sock::on(&bus);
    assert_ne!(here.bus_info().unwrap().domain, domain);
    here.listen("$.FromThere").unwrap();
    here.replier("$.Ask").unwrap();
    let (bound, unbound) = (Sock::on(&bus), Sock::new());
    bound.listen("$.FromHere").unwrap();
    let peers = [bound.peer_id(), unbound.peer_id()];
    pass(&near, &bound);
    pass(&near, &unbound);
    drop((bound, unbound));
    let heard = here.recv_wait().unwrap();
    assert_eq!(
        (&heard.data[..], heard.info.sender),
        (&b"hello"[..], peers[0])
    );
    let request = here.recv_wait().unwrap();
    here.reply(&request, b"answer").unwrap();
    here.send_to("$.FromHere", b"from here").unwrap();
    ready.opened_by(&mut child);
    for peer in peers {
        for file in FILES {
            let line = listed(file, peer).expect("a line");
            assert_eq!(line[0], format!("@{bus}"));
        }
    }
    assert_eq!(here.bus_info().unwrap().members, 3);
    near.send(b"x").unwrap();
    child.join();
    assert_eq!(here.bus_info().unwrap().members, 1);
}

/// Whether there may be another network namespace of this user namespace.
fn another_netns() -> Res<u64> {
    let result = Gate::new();
    Child::fork(|| {
        // SAFETY: Always safe.
        let made = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        result.open(if made { 0 } else { Errno::last().0 as u64 });
    })
    .join();
    match result.pass() {
        0 => Ok(0),
        errno => Err(Errno(errno as i32)),
    }
}

/// A bus goes on when all processes of its network namespace have gone, for who has a socket of it. With the last of these
/// the namespace goes.
fn outlives_its_network_namespace() {
    // In a user namespace one may say how many network namespaces there are to be.
    process::new_userns(0, 0);
    fs::write("/proc/sys/user/max_net_namespaces", "1").unwrap();
    let bus = fresh_bus();
    let (near, far) = UnixDatagram::pair().unwrap();
    let last = Gate::new();
    let mut maker = Child::fork(|| {
        process::new_netns();
        let (a, b, unbound) = (Sock::on(&bus), Sock::on(&bus), Sock::new());
        b.listen("$.A").unwrap();
        b.replier("$.B").unwrap();
        a.send_to("$.A", b"before").unwrap();
        [&a, &b, &unbound].map(|sock| pass(&far, sock));
        last.open(a.last_sent());
    });
    let last = last.opened_by(&mut maker);
    maker.join();
    let [a, b, late] = [(); 3].map(|()| take(&near));
    assert_eq!(b.recv().unwrap().data, b"before");
    let domain = a.bus_info().unwrap().domain;
    // A namespace that nothing kept would go some time after its last process.
    for n in 1..=20 {
        a.send_to("$.A", b"after").unwrap();
        assert_eq!(b.recv().unwrap().info.id, last + n);
        process::sleep_ms(5);
    }
    late.bind(&bus).unwrap();
    let id = late.request("$.B", b"question").unwrap();
    assert_eq!(id, last + 21);
    b.reply(&b.recv().unwrap(), b"answer").unwrap();
    assert_eq!(late.recv().unwrap().info.in_reply_to, id);
    assert_eq!(a.bus_info().unwrap().members, 3);
    assert_eq!(a.bus_info().unwrap().domain, domain);
    fails!(ENOSPC, another_netns());
    // What is still owed when it ends.
    late.request("$.B", b"question").unwrap();
    b.recv().unwrap();
    drop((a, b));
    assert_eq!(late.recv().unwrap().info.error, uapi::KBUS_IGNORED as i32);
    drop(late);
    let begun = Instant::now();
    while let Err(errno) = another_netns() {
        assert_eq!(errno, Errno(libc::ENOSPC));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is still there"
        );
        process::sleep_ms(20);
    }
}

/// Has a child of this process, in a user namespace of its own, do something as one of `count` users that are those from
/// `outside` on here.
fn in_user_namespace(outside: u32, count: u32, user: u32, act: impl FnOnce()) {
    let (made, mapped) = (Gate::new(), Gate::new());
    let mut child = Child::fork(|| {
        files::new_user_ns();
        // Else only root of the machine may say who is who in it.
        // SAFETY: Always safe.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        made.open(0);
        mapped.pass();
        process::become_user(user, user);
        act();
    });
    made.opened_by(&mut child);
    files::map_ids(child.pid(), outside, count);
    mapped.open(0);
    child.join();
}

/// Sends messages of 1 KiB until one is missed, and returns how many were not.
fn fill(sender: &Sock, name: &str, target: &Sock) -> u32 {
    target.set_queue_len(1000);
    target.listen(name).unwrap();
    while target.lost() == 0 {
        sender.send_to(name, &[1; 1024]).unwrap();
    }
    target.unread()
}

/// Users of a user namespace in another one pay with the budget of who made the outer one, however deep they are.
fn nested_user_namespaces_have_one_budget() {
    const MAKER: u32 = 1000;
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let bus = fresh_bus();
    let sender = Sock::on(&bus);
    let outside = process::as_user(MAKER, || Sock::on(&bus));
    assert_eq!(fill(&sender, "$.Outside", &outside), 33);
    // Half of what the one outside has left, and not of a budget of its own.
    let inside = |name| assert_eq!(fill(&sender, name, &Sock::on(&bus)), 16);
    let (made, mapped) = (Gate::new(), Gate::new());
    let mut maker = Child::fork(|| {
        process::become_user(MAKER, MAKER);
        files::new_user_ns();
        made.open(0);
        mapped.pass();
        // Root of the outer one, who may lend of its users.
        process::become_user(0, 0);
        in_user_namespace(1000, 100, 5, || {
            inside("$.Second");
        });
        in_user_namespace(2000, 100, 0, || {
            in_user_namespace(10, 10, 0, || inside("$.Third"));
        });
        inside("$.First");
    });
    made.opened_by(&mut maker);
    files::map_ids(maker.pid(), 100_000, 65536);
    mapped.open(0);
    maker.join();
    // Nor have they taken anything for good.
    assert_eq!(
        fill(
            &sender,
            "$.Again",
            &process::as_user(MAKER, || Sock::on(&bus))
        ),
        16
    );
}

/// Users and groups are told by the numbers of the reader's own user namespace, of however many around it; who is not in
/// it is nobody.
fn nested_user_namespaces_translate_ids() {
    let bus = fresh_bus();
    let reader = Sock::on(&bus);
    reader.set_socket(libc::SO_PASSCRED, 1).unwrap();
    reader.listen("$.A").unwrap();
    let root = Creds::own();
    let child = Child::fork(|| {
        process::become_user(1000, 1001);
        let outside = Creds::own();
        let own_bus = fresh_bus();
        let sock = Sock::on(&own_bus);
        for (uid, gid) in [(7, 8), (70, 80)] {
            reader.send_to("$.A", b"").unwrap();
            process::new_userns(uid, gid);
            let pid = outside.pid;
            let own = Creds { pid, uid, gid };
            assert_eq!(Creds::own(), own);
            reader.send_to("$.A", b"").unwrap();
            let claim = Out::to("$.A", b"").with(Cmsg::credentials(own));
            reader.send_msg(&claim).unwrap();
            let foreign = Out::to("$.A", b"").with(Cmsg::credentials(outside));
            fails!(EINVAL, reader.send_msg(&foreign));
            for _ in 0..3 {
                assert_eq!(reader.recv().unwrap().creds(), Some(own));
            }
            let info = sock.bus_info().unwrap();
            assert_eq!((info.uid, info.gid), (uid, gid));
            let info = reader.bus_info().unwrap();
            assert_eq!((info.uid, info.gid), (65534, 65534));
            let line = listed(FILES[0], sock.peer_id()).expect("a line");
            assert_eq!(line[2..4], [pid.to_string(), uid.to_string()]);
            let line = listed(FILES[0], reader.peer_id()).expect("a line");
            assert_eq!(line[2..4], ["-", "-"]);
        }
        // Between the two it was 7, which is nobody's number any more.
        let between = Creds {
            pid: outside.pid,
            uid: 7,
            gid: 8,
        };
        let out = Out::to("$.A", b"").with(Cmsg::credentials(between));
        fails!(EINVAL, reader.send_msg(&out));
        // For who is outside.
        reader.send_to("$.A", b"").unwrap();
    });
    let pid = child.pid();
    child.join();
    let (uid, gid) = (1000, 1001);
    let seen = reader.recv().unwrap().creds();
    assert_eq!(seen, Some(Creds { pid, uid, gid }));
    // And what was sent outside, read inside.
    reader.send_to("$.A", b"").unwrap();
    reader.send_to("$.A", b"").unwrap();
    Child::fork(|| {
        process::become_user(uid, gid);
        for ids in [(7, 8), (70, 80)] {
            process::new_userns(ids.0, ids.1);
            let seen = reader.recv().unwrap().creds();
            let (uid, gid) = (Creds::NOBODY.uid, Creds::NOBODY.gid);
            assert_eq!(seen, Some(Creds { uid, gid, ..root }));
        }
    })
    .join();
}

/// `/proc/net/kbus` and `/proc/net/kbus_bindings` have the numbers of processes that the reader's pid namespace has, and
/// `-` for those that are not in it.
fn processes_are_listed_as_the_reader_numbers_them() {
    let bus = fresh_bus();
    let outer = Sock::on(&bus);
    outer.listen("$.A").unwrap();
    let process = |file: &str, peer: u64| listed(file, peer).expect("a line")[2].clone();
    let (number, ready, go) = (Gate::new(), Gate::new(), Gate::new());
    let mut child = Child::fork(|| {
        process::new_pidns();
        let first = Child::fork(|| {
            assert_eq!(Creds::own().pid, 1);
            let inner = Sock::on(&bus);
            inner.listen("$.A").unwrap();
            for file in FILES {
                assert_eq!(process(file, inner.peer_id()), "1");
                assert_eq!(process(file, outer.peer_id()), "-");
            }
            ready.open(inner.peer_id());
            go.pass();
        });
        number.open(first.pid() as u64);
        first.join();
    });
    let number = number.opened_by(&mut child);
    let inner = ready.opened_by(&mut child);
    for file in FILES {
        assert_eq!(process(file, inner), number.to_string());
        assert_eq!(process(file, outer.peer_id()), Creds::own().pid.to_string());
    }
    go.open(0);
    child.join();
}
