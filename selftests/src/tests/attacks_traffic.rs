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
use kbus_selftests::process::as_user;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

super::tests! {
    flood_of_another_bus flood_to_a_full_listener flood_of_16_users requests_to_a_slow_replier
    slow_replier_of_the_victim sync_in_a_loop looking_at_everything_in_a_loop
    announcements_to_a_thousand_listeners megabytes_to_a_thousand_sockets
    reader_that_peeks_forever listeners_to_the_victim_s_names requests_to_the_victim
}

/// A bus that is neither the victim's nor the attackers'.
fn bus_of_root() -> (String, Sock) {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    (bus, owner)
}

/// A listener that is never read, and a sender who goes on sending to it.
fn flood(bus: &str, i: u32) -> impl FnMut() {
    let (sender, full) = (Sock::on(bus), Sock::on(bus));
    let name = format!("$.Attack.Flood.N{i}");
    full.listen(&name).unwrap();
    move || {
        let _full = &full;
        let _ = sender.send_to(&name, &[0; 64]);
    }
}

/// Whatever is done on another bus, nine tenths stay.
fn flood_of_another_bus() {
    let (bus, _owner) = bus_of_root();
    let other = fresh_bus();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(2, 1, |i| flood(&other, i));
    attackers.leave("a flood of another bus", 0.9, |_| victim.step());
}

/// A flood to a full listener of the same bus.
fn flood_to_a_full_listener() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, |i| flood(&bus, i));
    attackers.leave("a flood to a full listener", 0.25, |_| victim.step());
    attackers.leave_paced("a flood to a full listener", 500, |_| victim.step());
}

/// The same by 16 processes of as many users: they share one processor, and more of them are not worse.
fn flood_of_16_users() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(16, 16, |i| flood(&bus, i));
    attackers.leave("a flood of 16 users", 0.05, |_| victim.step());
    attackers.leave_paced("a flood of 16 users", 300, |_| victim.step());
}

/// Requests to a replier of the attacker's that is never read.
fn requests_to_a_slow_replier() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, |_| {
        let (asker, slow) = (Sock::on(&bus), Sock::on(&bus));
        asker.set_queue_len(1000);
        slow.replier("$.Attack.Slow").unwrap();
        move || {
            let _slow = &slow;
            let _ = asker.request_with("$.Attack.Slow", &[0; 64], 16, 0);
        }
    });
    attackers.leave("requests to a slow replier", 0.4, |_| victim.step());
    attackers.leave_paced("requests to a slow replier", 500, |_| victim.step());
}

/// Requests to a slow replier of the victim's: those of a user who has none there still come in.
fn slow_replier_of_the_victim() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let slow = as_user(kbus_selftests::attack::VICTIM, || Sock::on(&bus));
    slow.replier("$.Victim.Slow").unwrap();
    let client = as_user(4999, || Sock::on(&bus));
    let attackers = Attackers::start(1, 1, |_| {
        let asker = Sock::on(&bus);
        asker.set_queue_len(1000);
        move || {
            let _ = asker.request_with("$.Victim.Slow", &[0; 64], 16, 0);
        }
    });
    attackers.leave("requests to the victim's slow replier", 0.25, |_| {
        victim.step()
    });
    attackers.hold();
    assert_eq!(slow.unread(), 88, "one user leaves an eighth of a hundred");
    client.request("$.Victim.Slow", b"mine").unwrap();
    assert_eq!(slow.unread(), 89);
}

/// `KBUS_SYNC` in a loop.
fn sync_in_a_loop() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, |_| {
        let sock = Sock::on(&bus);
        move || {
            sock.sync();
        }
    });
    attackers.leave("KBUS_SYNC in a loop", 0.8, |_| victim.step());
}

/// `/proc/net/kbus` and the bindings, read in a loop.
fn looking_at_everything_in_a_loop() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, |_| {
        let sock = Sock::on(&bus);
        for i in 0..500 {
            sock.listen(&format!("$.Attack.Look.N{i}")).unwrap();
        }
        move || {
            let _sock = &sock;
            let _ = std::fs::read("/proc/net/kbus_bindings");
            let _ = std::fs::read("/proc/net/kbus");
        }
    });
    attackers.leave("reading /proc/net/kbus* in a loop", 0.6, |_| victim.step());
}

/// Announcements to a thousand listener bindings of the attacker's own: all of them are found under the bus lock.
fn announcements_to_a_thousand_listeners() {
    let (bus, _owner) = bus_of_root();
    let mut victim = Victim::on(&bus);
    let attackers = Attackers::start(1, 1, |_| {
        let (sender, sock) = (Sock::on(&bus), Sock::on(&bus));
        for _ in 0..1000 {
            sock.listen("$.Attack.Many").unwrap();
        }
        move || {
            let _sock = &sock;
            let _ = sender.send_to("$.Attack.Many", b"");
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
    let attackers = Attackers::start(1, 1, |_| {
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
            let _ = sender.send_to("$.Attack.Big", &data);
            for sock in &socks {
                let _ = sock.recv_with(options);
            }
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
    let attackers = Attackers::start(1, 1, |_| {
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        sock.listen(NEWS).unwrap();
        let options = RecvOptions {
            room: 256,
            control: 512,
            flags: libc::MSG_DONTWAIT | libc::MSG_PEEK,
        };
        move || drop(sock.recv_with(options))
    });
    attackers.leave("a reader that peeks forever", 0.5, |_| victim.step());
}

/// Two hundred listeners to the victim's own names, full ones and lossy: the bound is what their copies cost.
fn listeners_to_the_victim_s_names() {
    let (bus, _owner) = bus_of_root();
    let clean = fresh_bus();
    let (mut victim, mut spared) = (Victim::on(&bus), Victim::on(&clean));
    let attackers = Attackers::there(2, 2, |_| {
        let sock = Sock::on(&bus);
        sock.turn_on(uapi::KBUS_LOSSY);
        for _ in 0..50 {
            sock.listen(NEWS).unwrap();
            sock.listen("$.Victim.*").unwrap();
        }
        sock
    });
    attackers.leave(
        "200 full listener bindings to the victim's names",
        0.1,
        |attacked| match attacked {
            true => victim.step(),
            false => spared.step(),
        },
    );
}

/// Requests to the victim's own replier: it answers twice as many as it would, and each of its own is answered.
fn requests_to_the_victim() {
    let (bus, _owner) = bus_of_root();
    let replier = as_user(kbus_selftests::attack::VICTIM, || Sock::on(&bus));
    replier.replier("$.Victim.Open").unwrap();
    let asker = as_user(kbus_selftests::attack::VICTIM, || Sock::on(&bus));
    let attackers = Attackers::start(1, 1, |_| {
        let sock = Sock::on(&bus);
        let options = RecvOptions {
            room: 0,
            control: 0,
            ..RecvOptions::default()
        };
        move || {
            while sock.recv_with(options).is_ok() {}
            let _ = sock.request_with("$.Victim.Open", b"", 16, 0);
        }
    });
    let mut served = 0_u64;
    attackers.leave("requests to the victim's own replier", 0.02, |_| {
        let id = asker.request_with("$.Victim.Open", b"?", 16, 0).unwrap();
        loop {
            let request = take(&replier);
            served += 1;
            replier.reply(&request, b"!").unwrap();
            if request.info.id == id {
                break;
            }
        }
        assert_eq!(take(&asker).info.in_reply_to, id);
    });
    assert!(served > 0);
}
