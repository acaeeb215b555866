// SPDX-License-Identifier: GPL-2.0
//! Attacks on what was promised: answers, places in a queue, bytes of a bus; by one user and by sixteen.

use kbus_selftests::attack::ATTACKER;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::process::as_user;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    replies_withheld replies_of_the_largest_size replies_that_others_hear
    colluders_in_a_queue sixteen_users_in_a_longer_queue colluders_on_a_bus
    flood_to_all_listeners_of_a_user veto_of_all_or_fail
}

/// A socket of the victim's.
fn victim(bus: &str) -> Sock {
    as_user(VICTIM, || Sock::on(bus))
}

/// One of an attacker's.
fn attacker(i: u32, bus: &str) -> Sock {
    as_user(ATTACKER + i, || Sock::on(bus))
}

/// What withholds replies costs the socket that asked, up to the length of its queue, and no other; each request gets
/// its one end when the attacker goes.
fn replies_withheld() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let (asker, other) = (victim(&bus), victim(&bus));
    let (silent, honest) = (attacker(0, &bus), victim(&bus));
    silent.set_queue_len(1000);
    silent.replier("$.Attack.Silent").unwrap();
    honest.replier("$.Victim.Ask").unwrap();
    let asked: Vec<u64> = (0..100)
        .map(|_| asker.request("$.Attack.Silent", b"?").unwrap())
        .collect();
    fails!(ENOBUFS, asker.request("$.Victim.Ask", b"?"));
    for _ in 0..50 {
        silent.recv().unwrap();
    }
    for _ in 0..200 {
        let id = other.request("$.Victim.Ask", b"?").unwrap();
        honest.reply(&honest.recv().unwrap(), b"!").unwrap();
        assert_eq!(other.recv().unwrap().info.in_reply_to, id);
    }
    silent!(asker);
    drop(silent);
    let mut ends = Vec::new();
    while let Ok(end) = asker.recv() {
        assert!(end.is(uapi::KBUS_STATUS), "{end:?}");
        ends.push((end.info.in_reply_to, end.info.error as u32));
    }
    ends.sort_unstable();
    let error = |at| match at < 50 {
        true => uapi::KBUS_IGNORED,
        false => uapi::KBUS_GONE_AWAY,
    };
    let due = asked.iter().enumerate().map(|(at, id)| (*id, error(at)));
    assert_eq!(ends, due.collect::<Vec<_>>());
    asker.request("$.Victim.Ask", b"?").unwrap();
}

/// Replies that are longer than was asked for fill no more than the requester's queue may hold, and never what was held
/// for the replies of others.
fn replies_of_the_largest_size() {
    let _budget = Sysctl::set("user_bytes", 1 << 20);
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let (asker, other) = (victim(&bus), victim(&bus));
    let (greedy, honest) = (attacker(0, &bus), victim(&bus));
    greedy.replier("$.Attack.Greedy").unwrap();
    honest.replier("$.Victim.Ask").unwrap();
    let first = other.request_with("$.Victim.Ask", b"?", 4096, 0).unwrap();
    for _ in 0..64 {
        asker.request_with("$.Attack.Greedy", b"?", 64, 0).unwrap();
    }
    let mut fitted = 0;
    for _ in 0..64 {
        let request = greedy.recv().unwrap();
        match greedy.reply(&request, &[0; 64 << 10]) {
            Ok(_) => fitted += 1,
            Err(errno) => {
                assert_eq!(errno.0, libc::EMSGSIZE);
                // A reply of the size that was asked for always fits.
                greedy.reply(&request, &[0; 64]).unwrap();
            }
        }
    }
    eprintln!(
        "# {fitted} replies of 64 KiB in place of 64 bytes were taken into a budget of 1 MiB"
    );
    // No more of them when what the socket holds is more than what is left.
    assert_eq!(fitted, 8);
    // What was promised to the victim's other socket is there...
    honest.reply(&honest.recv().unwrap(), &[0; 4096]).unwrap();
    assert_eq!(other.recv().unwrap().info.in_reply_to, first);
    // ...and it goes on as before.
    for _ in 0..100 {
        let id = other.request_with("$.Victim.Ask", b"?", 4096, 0).unwrap();
        honest.reply(&honest.recv().unwrap(), &[0; 4096]).unwrap();
        assert_eq!(other.recv().unwrap().info.in_reply_to, id);
    }
    let mut answers = 0;
    while asker.recv().is_ok() {
        answers += 1;
    }
    assert_eq!(answers, 64);
}

/// A listener that is full misses replies, and neither requester nor replier notices.
fn replies_that_others_hear() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let (asker, replier) = (victim(&bus), victim(&bus));
    replier.replier("$.Victim.Ask").unwrap();
    let ears: Vec<Sock> = (0..16).map(|i| attacker(i, &bus)).collect();
    for ear in &ears {
        ear.set_queue_len(1);
        ear.listen("$.Victim.*").unwrap();
    }
    for _ in 0..100 {
        let id = asker.request("$.Victim.Ask", b"?").unwrap();
        replier.reply(&replier.recv().unwrap(), &[0; 4096]).unwrap();
        assert_eq!(asker.recv().unwrap().info.in_reply_to, id);
    }
    assert!(ears.iter().all(|ear| ear.lost() >= 199));
}

/// How many users, each doing its worst, it takes to fill a stranger's queue of this length to a newcomer.
fn users_who_fill(len: u32) -> u32 {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let queue = victim(&bus);
    queue.set_queue_len(len);
    queue.listen("$.Victim.News").unwrap();
    let newcomer = as_user(4999, || Sock::on(&bus));
    let fits = || newcomer.send_with("$.Victim.News", b"", uapi::KBUS_ALL_OR_FAIL);
    let mut users = 0;
    loop {
        // What a newcomer puts there is put back, so that it stays one.
        match fits() {
            Ok(_) => {
                let mut all = Vec::new();
                while let Ok(msg) = queue.recv_with(RecvOptions {
                    room: 16,
                    ..RecvOptions::default()
                }) {
                    all.push(msg.info.sender);
                }
                assert_eq!(all.pop(), Some(newcomer.peer_id()));
                // Now the same users again, and one more.
                users += 1;
                for i in 0..users {
                    let sock = attacker(i, &bus);
                    let send = || sock.send_with("$.Victim.News", b"", uapi::KBUS_ALL_OR_FAIL);
                    while send().is_ok() {}
                    fails!(EBUSY, send());
                }
            }
            Err(errno) => {
                assert_eq!((errno.0, queue.unread()), (libc::EBUSY, len));
                return users;
            }
        }
    }
}

/// A queue of a hundred keeps its eighth for users who have none in it: one colluding user more than that fills it.
fn colluders_in_a_queue() {
    let users = users_who_fill(100);
    eprintln!("# a queue of 100 is full for a newcomer with {users} colluding users");
    assert_eq!(users, 100 / 8 + 1);
}

/// Against sixteen it takes a queue of 128.
fn sixteen_users_in_a_longer_queue() {
    let users = users_who_fill(128);
    eprintln!("# a queue of 128 is full for a newcomer with {users} colluding users");
    assert_eq!(users, 17);
}

/// Each colluding user takes half of what the others before it left of a bus's bytes; the owner may still have all that
/// is left.
fn colluders_on_a_bus() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    let whole: u64 = 1 << 20;
    owner.set_u64(uapi::KBUS_BUS_BYTES, whole).unwrap();
    let mut left = whole;
    let mut kept = Vec::new();
    for i in 0..16 {
        let reader = attacker(i, &bus);
        reader.set_queue_len(16384);
        let name = format!("$.Attack.N{i}");
        reader.listen(&name).unwrap();
        let mut len = 64 << 10;
        while len > 0 {
            match reader.send_with(&name, &vec![0; len], uapi::KBUS_ALL_OR_FAIL) {
                Ok(_) => {}
                Err(errno) => {
                    assert!([libc::EDQUOT, libc::EBUSY].contains(&errno.0), "{errno}");
                    len /= 2;
                }
            }
        }
        let info = owner.bus_info().unwrap();
        let now = info.bytes_max - info.bytes;
        // And it takes nearly that, or it attacks nobody.
        assert!(now >= left / 2, "user {i} left {now} of {left}");
        assert!(now < left / 2 + 64, "user {i} left {now} of {left}");
        left = now;
        kept.push(reader);
        if i == 0 || i == 15 {
            eprintln!(
                "# {} colluding users leave {left} of {whole} bytes of a bus",
                i + 1
            );
        }
    }
    assert!(left >= whole >> 16);
    let listener = as_user(0, || Sock::on(&bus));
    listener.listen("$.Owner").unwrap();
    owner
        .send_with("$.Owner", &vec![0; left as usize], uapi::KBUS_ALL_OR_FAIL)
        .unwrap();
}

/// A flood by sixteen users to every listener of one user leaves that user's budget to its other sockets.
fn flood_to_all_listeners_of_a_user() {
    let _budget = Sysctl::set("user_bytes", 1 << 20);
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let flooded: Vec<Sock> = (0..4)
        .map(|i| {
            let sock = victim(&bus);
            sock.listen(&format!("$.Victim.N{i}")).unwrap();
            sock
        })
        .collect();
    for i in 0..16 {
        let sock = attacker(i, &bus);
        for n in 0..4 {
            for _ in 0..200 {
                sock.send_to(&format!("$.Victim.N{n}"), &[0; 8 << 10])
                    .unwrap();
            }
        }
    }
    assert!(flooded.iter().all(|sock| sock.lost() > 0));
    // What they hold is as much as they may of the budget: of what the others leave, half each.
    let held: u32 = flooded.iter().map(Sock::unread).sum();
    assert!(held * (8 << 10) >= (1 << 20) / 4 * 3, "{held} messages");
    let (asker, honest) = (victim(&bus), victim(&bus));
    honest.replier("$.Victim.Ask").unwrap();
    for _ in 0..100 {
        asker
            .request_with("$.Victim.Ask", &[0; 1024], 1024, 0)
            .unwrap();
        honest.reply(&honest.recv().unwrap(), &[0; 1024]).unwrap();
        asker.recv().unwrap();
    }
}

/// Not promised: any member of a bus that listens and never reads can have `KBUS_ALL_OR_FAIL` refused. A plain send
/// goes to all others.
fn veto_of_all_or_fail() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let (sender, good) = (victim(&bus), victim(&bus));
    good.listen("$.Victim.News").unwrap();
    let bad = attacker(0, &bus);
    bad.set_queue_len(1);
    bad.listen("$.Victim.*").unwrap();
    sender.send_to("$.Victim.News", b"1").unwrap();
    fails!(
        EBUSY,
        sender.send_with("$.Victim.News", b"2", uapi::KBUS_ALL_OR_FAIL)
    );
    sender.send_to("$.Victim.News", b"3").unwrap();
    assert_eq!(good.drain(), [b"1", b"3"]);
}
