// SPDX-License-Identifier: GPL-2.0
//! Attacks by traffic: what a victim keeps of its throughput.
//!
//! The lock of a bus is one for all of its members. Who floods the victim's own bus takes turns with it there: a victim that
//! wants all of that lock keeps a part, of which the tests say a bound; one that wants less keeps nine tenths, and so does
//! any on another bus.

use kbus_selftests::attack::take;
use kbus_selftests::attack::Attackers;
use kbus_selftests::attack::Victim;
use kbus_selftests::attack::NEWS;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::process::as_user;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;

super::timed! {
    flood_of_another_bus flood_to_a_full_listener flood_of_16_users requests_to_a_slow_replier
    slow_replier_of_the_victim sync_in_a_loop looking_at_everything_in_a_loop
    announcements_to_a_thousand_listeners megabytes_to_a_thousand_sockets
    reader_that_peeks_forever listeners_to_the_victim_s_names listeners_that_read_the_victim_s_names
    requests_to_the_victim
}

/// A bus that is neither the victim's nor the attackers'.
fn bus_of_root() -> (String, Sock) {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    (bus, owner)
}

/// A listener that is never read, and a sender who goes on sending to it. No plain send fails.
fn flood(bus: &str, i: u32) -> impl FnMut() -> bool {
    let (sender, full) = (Sock::on(bus), Sock::on(bus));
    let name = format!("$.Attack.Flood.N{i}");
    full.listen(&name).unwrap();
    while full.lost() == 0 {
        sender.send_to(&name, &[0; 64]).unwrap();
    }
    move || {
        let _full = &full;
        sender.send_to(&name, &[0; 64]).unwrap() == 64
    }
}

/// Insists that a request finds no room at its replier.
fn is_refused(request: Result<u64, Errno>) -> bool {
    fails!(EBUSY, request);
    true
}

/// Whatever is done on another bus, nine tenths stay.
fn flood_of_another_bus() {
    let (bus, _owner) = bus_of_root();
    let other = fresh_bus();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(2, 1, 2000, |i| flood(&other, i));
    attackers.leave("a flood of another bus", 0.9, |_| victim.step());
}

/// A flood to a full listener of the same bus.
fn flood_to_a_full_listener() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 2000, |i| flood(&bus, i));
    attackers.leave("a flood to a full listener", 0.25, |_| victim.step());
    attackers.leave_paced("a flood to a full listener", 500, |_| victim.step());
}

/// The same by 16 processes of as many users: they share one processor, and more of them are not worse.
fn flood_of_16_users() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(16, 16, 2000, |i| flood(&bus, i));
    attackers.leave("a flood of 16 users", 0.1, |_| victim.step());
    attackers.leave_paced("a flood of 16 users", 300, |_| victim.step());
}

/// Requests to a replier of the attacker's that is never read.
fn requests_to_a_slow_replier() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 1000, |_| {
        let (asker, slow) = (Sock::on(&bus), Sock::on(&bus));
        asker.set_queue_len(1000);
        slow.replier("$.Attack.Slow").unwrap();
        let ask = move || asker.request_with("$.Attack.Slow", &[0; 64], 16, 0);
        while ask().is_ok() {}
        assert_eq!(slow.unread(), 100);
        move || {
            let _slow = &slow;
            is_refused(ask())
        }
    });
    attackers.leave("requests to a slow replier", 0.4, |_| victim.step());
    attackers.leave_paced("requests to a slow replier", 500, |_| victim.step());
}

/// Requests to a slow replier of the victim's: those of a user who has none there still come in.
fn slow_replier_of_the_victim() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let slow = as_user(VICTIM, || Sock::on(&bus));
    slow.replier("$.Victim.Slow").unwrap();
    let client = as_user(4999, || Sock::on(&bus));
    let attackers = Attackers::start(1, 1, 1000, |_| {
        let asker = Sock::on(&bus);
        asker.set_queue_len(1000);
        let ask = move || asker.request_with("$.Victim.Slow", &[0; 64], 16, 0);
        while ask().is_ok() {}
        move || is_refused(ask())
    });
    attackers.leave("requests to the victim's slow replier", 0.25, |_| {
        victim.step()
    });
    attackers.leave_paced("requests to the victim's slow replier", 500, |_| {
        victim.step()
    });
    assert_eq!(slow.unread(), 88, "one user leaves an eighth of a hundred");
    client.request("$.Victim.Slow", b"mine").unwrap();
    assert_eq!(slow.unread(), 89);
}

/// `KBUS_SYNC` in a loop.
fn sync_in_a_loop() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 2000, |_| {
        let sock = Sock::on(&bus);
        move || sock.sync() > 0
    });
    attackers.leave("KBUS_SYNC in a loop", 0.9, |_| victim.step());
}

/// `/proc/net/kbus` and the bindings, read in a loop.
fn looking_at_everything_in_a_loop() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 10, |_| {
        let sock = Sock::on(&bus);
        for i in 0..500 {
            sock.listen(&format!("$.Attack.Look.N{i}")).unwrap();
        }
        let lines = |file: &str| {
            let text = std::fs::read(format!("/proc/net/{file}")).unwrap();
            text.iter().filter(|byte| **byte == b'\n').count()
        };
        move || {
            let _sock = &sock;
            lines("kbus_bindings") > 500 && lines("kbus") > 5
        }
    });
    attackers.leave("reading /proc/net/kbus* in a loop", 0.6, |_| victim.step());
    attackers.leave_paced("reading /proc/net/kbus* in a loop", 500, |_| victim.step());
}

/// Announcements to a thousand listener bindings of the attacker's own: all of them are found under the bus lock.
fn announcements_to_a_thousand_listeners() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 20, |_| {
        let (sender, sock) = (Sock::on(&bus), Sock::on(&bus));
        for _ in 0..1000 {
            sock.listen("$.Attack.Many").unwrap();
        }
        sender.send_to("$.Attack.Many", b"").unwrap();
        assert_eq!((sock.unread(), sock.lost()), (100, 900));
        move || {
            let _sock = &sock;
            sender.send_to("$.Attack.Many", b"").is_ok()
        }
    });
    attackers.leave("announcements to 1000 full listeners", 0.01, |_| {
        victim.step()
    });
    attackers.leave_paced("announcements to 1000 full listeners", 50, |_| {
        victim.step()
    });
}

/// Messages of 16 MiB to a thousand sockets of a bus that the attacker owns: the victim is on another.
fn megabytes_to_a_thousand_sockets() {
    let (bus, _owner) = bus_of_root();
    let other = fresh_bus();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 1, |_| {
        kbus_selftests::attack::raise_file_limit(1100);
        let sender = Sock::on(&other);
        sender.set_u32(uapi::KBUS_MAX_MSG_SIZE, 16 << 20).unwrap();
        let socks: Vec<Sock> = (0..1000).map(|_| Sock::on(&other)).collect();
        for sock in &socks {
            sock.listen("$.Attack.Big").unwrap();
        }
        let data = vec![0; 16 << 20];
        let options = RecvOptions {
            room: 0,
            ..RecvOptions::default()
        };
        move || {
            sender.send_to("$.Attack.Big", &data).unwrap();
            socks.iter().all(|sock| {
                let msg = sock.recv_with(options).unwrap();
                msg.info.len == 16 << 20
            })
        }
    });
    attackers.leave("16 MiB to 1000 sockets of another bus", 0.9, |_| {
        victim.step()
    });
}

/// A reader that listens to the victim's names, and peeks at its first message forever.
fn reader_that_peeks_forever() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, 2000, |_| {
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        sock.listen(NEWS).unwrap();
        let options = RecvOptions {
            room: 256,
            control: 512,
            flags: libc::MSG_DONTWAIT | libc::MSG_PEEK,
        };
        move || sock.recv_with(options).unwrap().data.len() == 8
    });
    // What it peeks at.
    victim.step();
    attackers.leave("a reader that peeks forever", 0.9, |_| victim.step());
}

/// Listeners to the victim's own names: each binding that matches costs the victim one copy, and that is the bound.
///
/// A step is three messages. Of 200 bindings 200 match its announcement and 100 each its request and the reply: 400
/// copies. One that is missed, as the listener is full, costs less than a fiftieth of an undisturbed step.
fn listeners_to_the_victim_s_names() {
    let ((bus, owner), (clean, _other)) = (bus_of_root(), bus_of_root());
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let attackers = Attackers::there(2, 2, |_| {
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        listen_to_the_victim(&sock);
        sock
    });
    for _ in 0..2 {
        victim.step();
    }
    assert_eq!(owner.bus_info().unwrap().bindings, 2 + 200);
    let what = "200 full listener bindings to the victim's names";
    let kept = attackers.leave(
        what,
        1.0 / (1.0 + 400.0 / 50.0),
        |attacked| match attacked {
            true => victim.step(),
            false => spared.step(),
        },
    );
    eprintln!(
        "# a copy that is missed costs the victim 1/{:.0} of its step",
        400.0 / (1.0 / kept - 1.0)
    );
}

/// Binds a hundred times to names of the victim's.
fn listen_to_the_victim(sock: &Sock) {
    for _ in 0..50 {
        sock.listen(NEWS).unwrap();
        sock.listen("$.Victim.*").unwrap();
    }
}

/// The same with listeners that read all they can, so that there is room for copies: one that is delivered costs less
/// than a twentieth of an undisturbed step, wake-ups and the reader's locks included.
fn listeners_that_read_the_victim_s_names() {
    let ((bus, _owner), (clean, _other)) = (bus_of_root(), bus_of_root());
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let attackers = Attackers::start(1, 1, 500, |_| {
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        sock.set_queue_len(1000);
        listen_to_the_victim(&sock);
        let options = RecvOptions {
            room: 64,
            control: 0,
            flags: 0,
        };
        move || sock.recv_with(options).unwrap().len == 8
    });
    let what = "100 listener bindings to the victim's names that are read";
    attackers.leave(
        what,
        1.0 / (1.0 + 200.0 / 20.0),
        |attacked| match attacked {
            true => victim.step(),
            false => spared.step(),
        },
    );
}

/// Requests to the victim's own replier: it answers others' as well, and of these no more come before one of its own
/// than one user may have in a queue, seven eighths. That is the bound.
fn requests_to_the_victim() {
    let (bus, _owner) = bus_of_root();
    let replier = as_user(VICTIM, || Sock::on(&bus));
    replier.replier("$.Victim.Open").unwrap();
    let asker = as_user(VICTIM, || Sock::on(&bus));
    let attackers = Attackers::start(1, 1, 500, |_| {
        let sock = Sock::on(&bus);
        sock.set_queue_len(1000);
        let options = RecvOptions {
            room: 0,
            control: 0,
            ..RecvOptions::default()
        };
        move || {
            while sock.recv_with(options).is_ok() {}
            match sock.request_with("$.Victim.Open", b"", 16, 0) {
                Ok(_) => true,
                refused => !is_refused(refused),
            }
        }
    });
    let (mut own, mut others, mut most) = (0_u64, 0_u64, 0);
    let mut step = |attacked: bool| {
        let id = asker.request_with("$.Victim.Open", b"?", 16, 0).unwrap();
        let mut before = 0;
        loop {
            let request = take(&replier);
            replier.reply(&request, b"!").unwrap();
            if request.info.id == id {
                break;
            }
            before += 1;
        }
        assert_eq!(take(&asker).info.in_reply_to, id);
        assert!(before <= 88, "{before} of others' came first");
        if attacked {
            own += 1;
            others += before;
            most = before.max(most);
        }
    };
    let what = "requests to the victim's own replier";
    attackers.leave(what, 1.0 / 89.0, &mut step);
    attackers.leave_paced(what, 50, &mut step);
    eprintln!("# {others} requests of others' were answered with {own} of its own, at most {most} before one");
    assert!(others > 0);
}
