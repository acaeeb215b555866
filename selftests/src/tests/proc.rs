// SPDX-License-Identifier: GPL-2.0
//! Looking inside: `/proc/net/kbus` and `/proc/net/kbus_bindings`.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixDatagram;

use kbus_selftests::process;
use kbus_selftests::process::scaled;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::process::Random;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

super::tests! {
    sockets_begin_with_family_and_columns bindings_begin_with_the_columns every_line_has_all_columns
    bound_socket_is_listed socket_goes_when_it_closes nul_in_a_bus_name_is_escaped peer_is_in_hex
    pid_and_uid_are_the_maker_s unread_and_bytes_are_counted limit_is_the_queue_length
    reserved_and_owed_are_counted lost_is_counted bindings_are_listed bindings_go_when_they_are_undone
    bindings_go_when_their_socket_closes pid_and_uid_are_for_their_own_user
    pid_and_uid_are_for_the_privileged counters_are_for_everybody sockets_are_of_their_network_namespace
    bindings_are_of_their_network_namespace socket_is_listed_where_it_was_made
    many_sockets_are_listed_once_each a_hundred_thousand_bindings_are_listed
    small_reads_give_the_same_text reading_while_sockets_come_and_go
    what_stays_is_listed_while_others_come_and_go files_cannot_be_written
    protocols_counts_the_sockets
}

const SOCKETS: &str = "/proc/self/net/kbus";
const BINDINGS: &str = "/proc/self/net/kbus_bindings";

pub(super) fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The columns of a line.
pub(super) type Line = HashMap<String, String>;

/// The lines of a table, its comments left out, each with the names of its
/// columns.
fn parse(text: &str) -> Vec<Line> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    lines
        .map(|line| {
            let values: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(values.len(), names.len(), "columns of {line:?}");
            let pairs = names.iter().zip(values);
            pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
        })
        .collect()
}

/// The lines of this bus.
fn of_bus(path: &str, bus: &str) -> Vec<Line> {
    let mut lines = parse(&text(path));
    lines.retain(|line| line["bus"] == format!("@{bus}"));
    lines
}

pub(super) fn hex(peer: u64) -> String {
    format!("{peer:x}")
}

/// The line of this socket.
#[track_caller]
fn line(bus: &str, sock: &Sock) -> Line {
    let mut lines = of_bus(SOCKETS, bus);
    lines.retain(|line| line["peer"] == hex(sock.peer_id()));
    assert_eq!(lines.len(), 1, "lines of one socket");
    lines.remove(0)
}

/// One column of this socket.
#[track_caller]
fn number(bus: &str, sock: &Sock, column: &str) -> u64 {
    line(bus, sock)[column].parse().unwrap()
}

/// Peer, kind and name of each binding of a bus, sorted.
fn bindings(bus: &str) -> Vec<(String, String, String)> {
    let mut all: Vec<_> = of_bus(BINDINGS, bus)
        .into_iter()
        .map(|line| {
            (
                line["peer"].clone(),
                line["kind"].clone(),
                line["name"].clone(),
            )
        })
        .collect();
    all.sort();
    all
}

/// `/proc/net/kbus` begins with the family number in a comment, then the names
/// of its columns.
fn sockets_begin_with_family_and_columns() {
    let text = text(SOCKETS);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# family 18"));
    let names: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        names.join(" "),
        "bus peer pid uid unread limit bytes reserved owed lost path"
    );
}

/// `/proc/net/kbus_bindings` begins with the names of its columns.
fn bindings_begin_with_the_columns() {
    let text = text(BINDINGS);
    let names: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(names.join(" "), "bus peer pid uid kind name");
}

/// Every line has a value in every column.
fn every_line_has_all_columns() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..3).map(|_| Sock::on(&bus)).collect();
    for sock in &socks {
        sock.listen("$.A.*").unwrap();
    }
    socks[0].replier("$.%").unwrap();
    // The parser insists on it.
    assert_eq!(of_bus(SOCKETS, &bus).len(), 3);
    assert_eq!(of_bus(BINDINGS, &bus).len(), 4);
}

/// A bound socket is listed, with `@` for the leading NUL of its bus.
fn bound_socket_is_listed() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    let mut peers: Vec<String> = of_bus(SOCKETS, &bus)
        .into_iter()
        .map(|line| line["peer"].clone())
        .collect();
    peers.sort();
    let mut want = [hex(a.peer_id()), hex(b.peer_id())];
    want.sort();
    assert_eq!(peers, want);
}

/// It is gone when `close()` returns.
fn socket_goes_when_it_closes() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    drop(a);
    assert_eq!(of_bus(SOCKETS, &bus).len(), 1);
    drop(b);
    assert!(of_bus(SOCKETS, &bus).is_empty());
}

/// Other NULs of a bus's name are shown as `@` too.
fn nul_in_a_bus_name_is_escaped() {
    let bus = fresh_bus();
    let sock = Sock::on(&format!("{bus}\0x"));
    sock.listen("$.A").unwrap();
    assert_eq!(of_bus(SOCKETS, &format!("{bus}@x")).len(), 1);
    assert_eq!(of_bus(BINDINGS, &format!("{bus}@x")).len(), 1);
}

/// `peer` is in hex, as in addresses.
fn peer_is_in_hex() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let address = sock.sends_from("$.A");
    for path in [SOCKETS, BINDINGS] {
        let lines = of_bus(path, &bus);
        assert_eq!(format!("$.A@{}", lines[0]["peer"]), address);
    }
}

/// `pid` and `uid` are those of the socket's maker.
fn pid_and_uid_are_the_maker_s() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let (ready, go) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.listen("$.A").unwrap();
        ready.open(sock.peer_id());
        go.pass();
    });
    let peer = ready.pass();
    for path in [SOCKETS, BINDINGS] {
        for line in of_bus(path, &bus) {
            let (pid, uid) = match line["peer"] == hex(peer) {
                true => (child.pid().to_string(), "1000"),
                false => (std::process::id().to_string(), "0"),
            };
            assert_eq!((&line["pid"], &line["uid"][..]), (&pid, uid));
        }
    }
    go.open(1);
    child.join();
}

/// `unread` and `bytes` are those of the messages waiting.
fn unread_and_bytes_are_counted() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    let mut bytes = 0;
    for n in 0..5 {
        assert_eq!(number(&bus, &b, "unread"), n);
        assert_eq!(number(&bus, &b, "bytes"), bytes);
        a.send_to("$.A", &[1; 1000]).unwrap();
        bytes += 1000;
    }
    b.drain();
    assert_eq!(number(&bus, &b, "unread"), 0);
    assert_eq!(number(&bus, &b, "bytes"), 0);
    assert_eq!(number(&bus, &a, "unread"), 0);
}

/// `limit` is `KBUS_QUEUE_LEN`.
fn limit_is_the_queue_length() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    assert_eq!(number(&bus, &sock, "limit"), 100);
    sock.set_queue_len(7);
    assert_eq!(number(&bus, &sock, "limit"), 7);
}

/// `reserved` is for replies that are awaited, `owed` for requests read.
fn reserved_and_owed_are_counted() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.replier("$.A").unwrap();
    assert_eq!(number(&bus, &a, "reserved"), 0);
    a.request("$.A", b"").unwrap();
    let one = number(&bus, &a, "reserved");
    a.request("$.A", b"").unwrap();
    assert!(one > 0);
    assert_eq!(number(&bus, &a, "reserved"), 2 * one);
    assert_eq!(number(&bus, &b, "owed"), 0);
    let requests = [b.recv().unwrap(), b.recv().unwrap()];
    assert_eq!(number(&bus, &b, "owed"), 2);
    for request in &requests {
        b.reply(request, b"").unwrap();
    }
    assert_eq!(number(&bus, &b, "owed"), 0);
    assert_eq!(number(&bus, &a, "reserved"), 0);
    assert_eq!(number(&bus, &a, "unread"), 2);
}

/// `lost` is `KBUS_LOST`.
fn lost_is_counted() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    b.listen("$.A").unwrap();
    b.set_queue_len(2);
    for _ in 0..5 {
        a.send_to("$.A", b"").unwrap();
    }
    assert_eq!(number(&bus, &b, "lost"), 3);
    b.drain();
    assert_eq!(number(&bus, &b, "lost"), 3);
}

/// Listener bindings are `L`, replier bindings `R`, each with its name.
fn bindings_are_listed() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.listen("$.A").unwrap();
    a.listen("$.B.%").unwrap();
    a.replier("$.A").unwrap();
    b.replier("$.*").unwrap();
    let (a, b) = (hex(a.peer_id()), hex(b.peer_id()));
    let mut want = [
        (a.clone(), "L".to_string(), "$.A".to_string()),
        (a.clone(), "L".to_string(), "$.B.%".to_string()),
        (a, "R".to_string(), "$.A".to_string()),
        (b, "R".to_string(), "$.*".to_string()),
    ];
    want.sort();
    assert_eq!(bindings(&bus), want);
}

/// A binding that is undone is not listed any more.
fn bindings_go_when_they_are_undone() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    sock.replier("$.A").unwrap();
    sock.unlisten("$.A").unwrap();
    let kinds: Vec<String> = bindings(&bus).into_iter().map(|b| b.1).collect();
    assert_eq!(kinds, ["R"]);
    sock.unreplier("$.A").unwrap();
    assert!(bindings(&bus).is_empty());
}

/// Nor are those of a socket that closed.
fn bindings_go_when_their_socket_closes() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), Sock::on(&bus));
    a.listen("$.A").unwrap();
    a.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    drop(a);
    let peers: Vec<String> = bindings(&bus).into_iter().map(|b| b.0).collect();
    assert_eq!(peers, [hex(b.peer_id())]);
}

/// For sockets of other users `pid` and `uid` are `-`; one's own are shown.
fn pid_and_uid_are_for_their_own_user() {
    let bus = fresh_bus();
    let root = Sock::on(&bus);
    root.listen("$.A").unwrap();
    Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.listen("$.A").unwrap();
        for path in [SOCKETS, BINDINGS] {
            let lines = of_bus(path, &bus);
            assert_eq!(lines.len(), 2);
            for line in lines {
                let (pid, uid) = match line["peer"] == hex(sock.peer_id()) {
                    true => (std::process::id().to_string(), "1000"),
                    false => ("-".to_string(), "-"),
                };
                assert_eq!((&line["pid"], &line["uid"][..]), (&pid, uid), "{path}");
            }
        }
    })
    .join();
}

/// Who has `CAP_NET_ADMIN` sees everybody's.
fn pid_and_uid_are_for_the_privileged() {
    let bus = fresh_bus();
    let ready = Gate::new();
    let child = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::on(&bus);
        sock.listen("$.A").unwrap();
        ready.open(1);
        process::park();
    });
    ready.pass();
    for path in [SOCKETS, BINDINGS] {
        let lines = of_bus(path, &bus);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["pid"], child.pid().to_string());
        assert_eq!(lines[0]["uid"], "1000");
    }
    child.kill();
}

/// The rest of a line is for everybody.
fn counters_are_for_everybody() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    sock.send_to("$.A", &[1; 77]).unwrap();
    let peer = hex(sock.peer_id());
    Child::fork(|| {
        process::become_user(1000, 1000);
        let lines = of_bus(SOCKETS, &bus);
        assert_eq!(lines[0]["peer"], peer);
        assert_eq!(
            (&lines[0]["unread"][..], &lines[0]["bytes"][..]),
            ("1", "77")
        );
        let lines = of_bus(BINDINGS, &bus);
        assert_eq!((&lines[0]["kind"][..], &lines[0]["name"][..]), ("L", "$.A"));
    })
    .join();
}

fn stays_in_its_namespace(path: &'static str) {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.Outer").unwrap();
    let (ready, go) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        process::new_netns();
        assert_eq!(parse(&text(path)).len(), 0);
        let inner = Sock::on(&bus);
        inner.listen("$.Inner").unwrap();
        let lines = of_bus(path, &bus);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["peer"], hex(inner.peer_id()));
        ready.open(1);
        go.pass();
    });
    // The child opens the gate or ends; either way the pipe says so in time.
    for _ in 0..2000 {
        if ready.is_open() {
            break;
        }
        process::sleep_ms(10);
    }
    if ready.is_open() {
        let lines = of_bus(path, &bus);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["peer"], hex(sock.peer_id()));
        go.open(1);
    }
    child.join();
}

/// `/proc/net/kbus` lists the sockets of one network namespace.
fn sockets_are_of_their_network_namespace() {
    stays_in_its_namespace(SOCKETS);
}

/// And `/proc/net/kbus_bindings` theirs.
fn bindings_are_of_their_network_namespace() {
    stays_in_its_namespace(BINDINGS);
}

/// A socket is listed where it was made, wherever its process has gone.
fn socket_is_listed_where_it_was_made() {
    let bus = fresh_bus();
    let sock = Sock::on(&bus);
    sock.listen("$.A").unwrap();
    let peer = hex(sock.peer_id());
    Child::fork(|| {
        process::new_netns();
        assert!(of_bus(SOCKETS, &bus).is_empty());
        assert!(of_bus(BINDINGS, &bus).is_empty());
    })
    .join();
    let lines = of_bus(SOCKETS, &bus);
    assert_eq!((lines.len(), &lines[0]["peer"]), (1, &peer));
}

/// However many there are, each is listed once.
fn many_sockets_are_listed_once_each() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..200).map(|_| Sock::on(&bus)).collect();
    let mut want: Vec<String> = socks.iter().map(|sock| hex(sock.peer_id())).collect();
    for (n, sock) in socks.iter().enumerate() {
        sock.listen(&format!("$.Listener.Number{n}")).unwrap();
        sock.replier(&format!("$.Replier.Number{n}")).unwrap();
    }
    let mut got: Vec<String> = of_bus(SOCKETS, &bus)
        .into_iter()
        .map(|line| line["peer"].clone())
        .collect();
    want.sort();
    got.sort();
    assert_eq!(got, want);
    let mut got = bindings(&bus);
    assert_eq!(got.len(), 400);
    got.dedup();
    assert_eq!(got.len(), 400);
}

/// Very many bindings are listed, each once, identical ones too.
fn a_hundred_thousand_bindings_are_listed() {
    const USERS: u32 = 25;
    let each = scaled(4000) as u32;
    let bus = fresh_bus();
    let _keeper = Sock::on(&bus);
    let ready = Gate::new();
    let holders: Vec<Child> = (0..USERS)
        .map(|user| {
            let child = Child::fork(|| {
                process::become_user(1000 + user, 1000);
                let sock = Sock::on(&bus);
                for n in 0..each / 2 {
                    let name = format!("$.N{n}");
                    sock.listen(&name).unwrap();
                    sock.listen(&name).unwrap();
                }
                ready.open(1);
                process::park();
            });
            ready.pass();
            child
        })
        .collect();
    let mut all = bindings(&bus);
    assert_eq!(all.len(), (USERS * each) as usize);
    all.dedup();
    assert_eq!(all.len(), (USERS * each / 2) as usize);
    for child in holders {
        child.kill();
    }
    assert!(bindings(&bus).is_empty());
}

/// Read in small pieces, the text is the same.
fn small_reads_give_the_same_text() {
    let bus = fresh_bus();
    let socks: Vec<Sock> = (0..50).map(|_| Sock::on(&bus)).collect();
    for (n, sock) in socks.iter().enumerate() {
        sock.listen(&format!("$.N{n}")).unwrap();
    }
    for path in [SOCKETS, BINDINGS] {
        let whole = text(path);
        let mut file = File::open(path).unwrap();
        let mut pieces = Vec::new();
        let mut buffer = [0; 37];
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break,
                len => pieces.extend_from_slice(&buffer[..len]),
            }
        }
        assert!(whole.as_bytes() == pieces, "{path}");
    }
}

/// Processes that bind, unbind, send and close, until they are dropped.
fn commotion(bus: &str) -> Vec<Child> {
    (0..3)
        .map(|seed| {
            let ready = Gate::new();
            let child = Child::fork(|| {
                let mut random = Random::new(seed);
                ready.open(1);
                loop {
                    let socks: Vec<Sock> = (0..=random.below(8)).map(|_| Sock::on(bus)).collect();
                    for sock in &socks {
                        let name = format!("$.N{}", random.below(20));
                        sock.listen(&name).unwrap();
                        // Another one may have it.
                        let _ = sock.replier(&name);
                        let _ = sock.request(&name, b"x");
                        sock.send_to(&name, b"x").unwrap();
                        if random.below(2) == 0 {
                            sock.unlisten(&name).unwrap();
                        }
                    }
                }
            });
            ready.pass();
            child
        })
        .collect()
}

/// Both can be read while sockets and bindings come and go: every line is whole.
fn reading_while_sockets_come_and_go() {
    let bus = fresh_bus();
    let _keeper = Sock::on(&bus);
    let _children = commotion(&bus);
    for _ in 0..200 {
        for line in of_bus(SOCKETS, &bus) {
            u64::from_str_radix(&line["peer"], 16).expect("a peer");
            for column in ["unread", "limit", "bytes", "reserved", "owed", "lost"] {
                line[column].parse::<u64>().expect("a number");
            }
        }
        for line in of_bus(BINDINGS, &bus) {
            assert!(["L", "R"].contains(&&line["kind"][..]));
            assert!(line["name"].starts_with("$.N"));
        }
    }
}

/// A socket that stays is listed each time, once, and so is its binding.
fn what_stays_is_listed_while_others_come_and_go() {
    let bus = fresh_bus();
    let before = Sock::on(&bus);
    before.listen("$.Before").unwrap();
    let _children = commotion(&bus);
    let amid = Sock::on(&bus);
    amid.listen("$.Amid").unwrap();
    for _ in 0..200 {
        for (sock, name) in [(&before, "$.Before"), (&amid, "$.Amid")] {
            assert_eq!(line(&bus, sock)["limit"], "100");
            let lines = bindings(&bus);
            let count = lines.iter().filter(|line| line.2 == name).count();
            assert_eq!(count, 1, "{name}");
        }
    }
}

/// They are there to be read only.
fn files_cannot_be_written() {
    for path in [SOCKETS, BINDINGS] {
        Child::fork(|| {
            process::become_user(1000, 1000);
            assert!(File::open(path).is_ok());
            assert!(File::options().write(true).open(path).is_err());
        })
        .join();
    }
}

/// `/proc/net/protocols` says how many sockets there are in the network namespace, in either form,
/// as long as they are open.
fn protocols_counts_the_sockets() {
    let sockets = |protocol: &str| -> i64 {
        let text = text("/proc/self/net/protocols");
        let mut lines = text.lines().map(|line| line.split_whitespace());
        let line = lines.find_map(|mut words| (words.next() == Some(protocol)).then_some(words));
        // The second column is the size of one.
        line.unwrap().nth(1).unwrap().parse().unwrap()
    };
    Child::fork(|| {
        process::new_netns();
        assert_eq!(sockets("KBUS"), 0);
        let five: Vec<Sock> = (0..5).map(|_| Sock::new()).collect();
        assert_eq!(sockets("KBUS"), 5);
        let unix = UnixDatagram::unbound().unwrap();
        assert_eq!((sockets("KBUS"), sockets("UNIX")), (5, 1));
        drop(unix);
        // Not counted: what was refused.
        Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_STREAM, 0).unwrap_err();
        drop(five);
        assert_eq!((sockets("KBUS"), sockets("UNIX")), (0, 0));
    })
    .join();
}
