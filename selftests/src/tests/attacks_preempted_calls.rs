// SPDX-License-Identifier: GPL-2.0
//! As `attacks_preempted`: whatever call it is in the middle of which somebody is stopped, nobody waits for it.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;

use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::take;
use kbus_selftests::files::open_dir;
use kbus_selftests::siege::become_attacker;
use kbus_selftests::siege::Siege;
use kbus_selftests::siege::Step;
use kbus_selftests::siege::Stop;
use kbus_selftests::siege::Victim;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Room;
use kbus_selftests::sys::Sock;

use super::fails;

super::timed! {
    in_listening in_replying_for_a_name in_binding_with_events in_setting_options in_setting_options_of_a_bus
    in_asking_options in_asking_about_addresses in_polling in_sending_and_reading in_sending_to_many_sockets
    in_peeking in_reading_several in_shutting_down in_joining_and_leaving in_joining_at_a_path
    in_closing_many_bindings in_closing_full_queues in_asking_and_answering in_giving_requests_up in_waiting_for_room
    in_waiting_for_messages in_passing_descriptors in_large_messages in_looking_at_descriptors
    in_looking_at_sockets in_looking_at_bindings
}

/// How often the attackers are stopped.
const TRIALS: u64 = 8;
/// Enough for what is sent here.
const SMALL: RecvOptions = RecvOptions {
    room: 64,
    control: 256,
    flags: libc::MSG_DONTWAIT,
};

/// Has four attackers of as many users, on the first victim's bus, do something in a loop.
fn on_the_same_bus(what: &str, prepare: impl Fn(&str, u32) -> Step) {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let siege = Siege::begin(what, Stop::starve(), 4, |i| {
        become_attacker(i);
        prepare(&bus, i)
    });
    let victims = [
        Victim::on("on the same bus", &bus),
        Victim::elsewhere(),
        Victim::apart(),
    ];
    siege.spares(TRIALS, &victims);
}

/// `KBUS_LISTEN`, `KBUS_UNLISTEN`.
fn in_listening() {
    on_the_same_bus("listening", |bus, i| {
        let sock = Sock::on(bus);
        let names = [format!("$.Attack.L{i}"), format!("$.Attack.L{i}.*")];
        Box::new(move || {
            names.iter().for_each(|name| sock.listen(name).unwrap());
            names.iter().for_each(|name| sock.unlisten(name).unwrap());
        })
    });
}

/// `KBUS_REPLIER`, `KBUS_UNREPLIER`.
fn in_replying_for_a_name() {
    on_the_same_bus("being replier", |bus, i| {
        let sock = Sock::on(bus);
        let names = [format!("$.Attack.R{i}"), format!("$.Attack.R{i}.*")];
        Box::new(move || {
            names.iter().for_each(|name| sock.replier(name).unwrap());
            names.iter().for_each(|name| sock.unreplier(name).unwrap());
        })
    });
}

/// The same while its owner has the bus report it to many.
fn in_binding_with_events() {
    let bus = fresh_bus();
    let owner = Sock::on(&bus);
    owner.turn_on(uapi::KBUS_REPORT_BINDS);
    let siege = Siege::begin("binding with events", Stop::starve(), 4, |i| {
        become_attacker(i);
        let sock = Sock::on(&bus);
        for _ in 0..200 {
            // With the name itself it could forbid its user's bindings.
            sock.listen("$.KBUS.*").unwrap();
        }
        let name = format!("$.Attack.R{i}");
        Box::new(move || {
            sock.replier(&name).unwrap();
            sock.unreplier(&name).unwrap();
        })
    });
    siege.spares(TRIALS, &[Victim::on("on the same bus", &bus)]);
}

/// Every option of a socket.
fn in_setting_options() {
    on_the_same_bus("setting options", |bus, _| {
        let sock = Sock::on(bus);
        Box::new(move || {
            for n in 0..2 {
                for option in [
                    uapi::KBUS_ONCE,
                    uapi::KBUS_LOSSY,
                    uapi::KBUS_REPORT_LOST,
                    uapi::KBUS_RECV_INFO,
                    uapi::KBUS_SEND_FLAGS,
                    uapi::KBUS_PASS,
                ] {
                    sock.set_u32(option, n).unwrap();
                }
                sock.set_queue_len(100 + n);
                sock.set_u32(uapi::KBUS_REPLY_MAX, 100 + n).unwrap();
                sock.set_socket(libc::SO_RCVBUF, 100_000).unwrap();
                sock.set_socket(libc::SO_PASSCRED, n as i32).unwrap();
                sock.set_timeout(libc::SO_SNDTIMEO, 100);
            }
        })
    });
}

/// Every option of a bus: of the victim's, whose owner they are not, and of their own.
fn in_setting_options_of_a_bus() {
    on_the_same_bus("setting options of a bus", |bus, _| {
        let (sock, own) = (Sock::on(bus), Sock::on(&fresh_bus()));
        Box::new(move || {
            for n in 0..2 {
                for option in [
                    (uapi::KBUS_REPORT_BINDS, n),
                    (uapi::KBUS_MAX_MSG_SIZE, 1000 + n),
                    (uapi::KBUS_BUS_MODE, 0o600 | (n << 1)),
                ] {
                    fails!(EPERM, sock.set_u32(option.0, option.1));
                    own.set_u32(option.0, option.1).unwrap();
                }
                fails!(EPERM, sock.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20));
                own.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20).unwrap();
            }
        })
    });
}

/// Every option that can be asked for.
fn in_asking_options() {
    on_the_same_bus("asking options", |bus, i| {
        let sock = Sock::on(bus);
        let name = format!("$.Attack.R{i}");
        sock.replier(&name).unwrap();
        Box::new(move || {
            sock.bus_info().unwrap();
            assert_eq!(sock.who_replies(&name).unwrap(), sock.peer_id());
            assert_eq!(
                (sock.last_sent(), sock.unread(), sock.unreplied()),
                (0, 0, 0)
            );
            assert_eq!(
                (sock.lost(), sock.next_len(), sock.fionread()),
                (0, -1, Ok(0))
            );
            sock.sync();
            for option in [
                uapi::KBUS_QUEUE_LEN,
                uapi::KBUS_REPORT_BINDS,
                uapi::KBUS_MAX_MSG_SIZE,
                uapi::KBUS_BUS_MODE,
            ] {
                sock.get_u32(option).unwrap();
            }
            sock.get_u64(uapi::KBUS_BUS_BYTES).unwrap();
        })
    });
}

/// `connect`, `getpeername`, `getsockname`.
fn in_asking_about_addresses() {
    on_the_same_bus("asking about addresses", |bus, _| {
        let sock = Sock::on(bus);
        Box::new(move || {
            sock.connect("$.Attack.Address").unwrap();
            sock.peer_name().unwrap();
            sock.name().unwrap();
        })
    });
}

/// `poll`, of a socket whose send would have waited as well.
fn in_polling() {
    on_the_same_bus("polling", |bus, i| {
        let (sock, full) = (Sock::on(bus), Sock::on(bus));
        let name = format!("$.Attack.N{i}");
        full.set_queue_len(1);
        full.listen(&name).unwrap();
        sock.send_to(&name, b"").unwrap();
        Box::new(move || {
            let _full = &full;
            fails!(
                EAGAIN,
                sock.try_send_with(&name, b"", uapi::KBUS_ALL_OR_WAIT)
            );
            for _ in 0..8 {
                assert_eq!(sock.poll(libc::POLLIN | libc::POLLOUT, 0), 0);
            }
        })
    });
}

/// `sendto`, `recvfrom`, also of urgent messages.
fn in_sending_and_reading() {
    on_the_same_bus("sending and reading", |bus, i| {
        let sock = Sock::on(bus);
        let name = format!("$.Attack.N{i}");
        sock.listen(&name).unwrap();
        Box::new(move || {
            sock.send_to(&name, b"1").unwrap();
            sock.send_with(&name, b"2", uapi::KBUS_URGENT).unwrap();
            assert_eq!(take(&sock).data, b"2");
            assert_eq!(take(&sock).data, b"1");
        })
    });
}

/// `sendto` where 400 sockets listen, whose queues are full or not.
fn in_sending_to_many_sockets() {
    on_the_same_bus("sending to many sockets", |bus, i| {
        raise_file_limit(1000);
        let name = format!("$.Attack.N{i}");
        let socks: Vec<Sock> = (0..400)
            .map(|n| {
                let sock = Sock::on(bus);
                sock.set_queue_len(1 + n % 50);
                sock.listen(&name).unwrap();
                sock
            })
            .collect();
        Box::new(move || {
            socks[0].send_to(&name, &[0; 64]).unwrap();
        })
    });
}

/// `MSG_PEEK`.
fn in_peeking() {
    on_the_same_bus("peeking", |bus, i| {
        let sock = Sock::on(bus);
        let name = format!("$.Attack.N{i}");
        sock.listen(&name).unwrap();
        sock.send_to(&name, b"1").unwrap();
        Box::new(move || {
            sock.peek().unwrap();
        })
    });
}

/// `sendmmsg`, `recvmmsg`.
fn in_reading_several() {
    on_the_same_bus("reading several", |bus, i| {
        let sock = Sock::on(bus);
        let name = format!("$.Attack.N{i}");
        sock.listen(&name).unwrap();
        let out = Out::to(&name, b"1");
        Box::new(move || {
            assert_eq!(sock.send_several([(&out, &[][..]); 4]).unwrap(), 4);
            let mut rooms = [(); 4].map(|()| Room::new(SMALL));
            assert_eq!(sock.recv_several(&mut rooms).unwrap(), 4);
        })
    });
}

/// `shutdown`, with a request unread.
fn in_shutting_down() {
    on_the_same_bus("shutting down", |bus, i| {
        let (bus, name) = (bus.to_string(), format!("$.Attack.R{i}"));
        let asker = Sock::on(&bus);
        Box::new(move || {
            let sock = Sock::on(&bus);
            sock.replier(&name).unwrap();
            asker.request(&name, b"").unwrap();
            sock.shutdown(libc::SHUT_RD).unwrap();
            sock.shutdown(libc::SHUT_WR).unwrap();
            assert!(take(&asker).is(uapi::KBUS_STATUS));
        })
    });
}

/// `socket`, `bind`, `close`: on the bus, on buses that this makes and ends, and without any.
fn in_joining_and_leaving() {
    on_the_same_bus("joining and leaving", |bus, _| {
        let bus = bus.to_string();
        Box::new(move || {
            drop(Sock::on(&bus));
            drop(Sock::on(&fresh_bus()));
            drop(Sock::new());
        })
    });
}

/// The same at a path.
fn in_joining_at_a_path() {
    let folder = open_dir();
    on_the_same_bus("joining at a path", |_, i| {
        let path = folder.join(format!("bus{i}"));
        Box::new(move || {
            drop(Sock::at(&path));
            fs::remove_file(&path).unwrap();
        })
    });
}

/// `close` of a socket with a thousand bindings.
fn in_closing_many_bindings() {
    on_the_same_bus("closing many bindings", |bus, i| {
        let bus = bus.to_string();
        Box::new(move || {
            let sock = Sock::on(&bus);
            for n in 0..250 {
                sock.listen(&format!("$.Attack.L{i}.N{n}")).unwrap();
                sock.replier(&format!("$.Attack.R{i}.N{n}")).unwrap();
            }
        })
    });
}

/// `close` of a socket that has messages, requests and debts.
fn in_closing_full_queues() {
    on_the_same_bus("closing full queues", |bus, i| {
        let asker = Sock::on(bus);
        let (bus, name) = (bus.to_string(), format!("$.Attack.R{i}"));
        Box::new(move || {
            let sock = Sock::on(&bus);
            sock.replier(&name).unwrap();
            sock.listen(&name).unwrap();
            for _ in 0..20 {
                asker.request(&name, &[0; 200]).unwrap();
            }
            for _ in 0..10 {
                take(&sock);
            }
            drop(sock);
            assert_eq!(asker.drain().len(), 20);
        })
    });
}

/// A request, and its reply.
fn in_asking_and_answering() {
    on_the_same_bus("asking and answering", |bus, i| {
        let (asker, sock) = (Sock::on(bus), Sock::on(bus));
        let name = format!("$.Attack.R{i}");
        sock.replier(&name).unwrap();
        Box::new(move || {
            asker.request(&name, b"?").unwrap();
            sock.reply(&take(&sock), b"!").unwrap();
            assert_eq!(take(&asker).data, b"!");
        })
    });
}

/// `KBUS_IGNORE`, and requests whose binding goes.
fn in_giving_requests_up() {
    on_the_same_bus("giving requests up", |bus, i| {
        let (asker, sock) = (Sock::on(bus), Sock::on(bus));
        let name = format!("$.Attack.R{i}");
        Box::new(move || {
            sock.replier(&name).unwrap();
            asker.request(&name, b"?").unwrap();
            sock.ignore(take(&sock).info.id).unwrap();
            asker.request(&name, b"?").unwrap();
            sock.unreplier(&name).unwrap();
            assert_eq!(asker.drain().len(), 2);
        })
    });
}

/// Sends that wait until their time is over, or for a place that a reader makes.
fn in_waiting_for_room() {
    on_the_same_bus("waiting for room", |bus, i| {
        let (sender, full) = (Sock::on(bus), Sock::on(bus));
        let name = format!("$.Attack.N{i}");
        full.set_queue_len(1);
        full.listen(&name).unwrap();
        sender.send_to(&name, b"").unwrap();
        sender.set_timeout(libc::SO_SNDTIMEO, 1);
        Box::new(move || {
            fails!(EAGAIN, sender.send_with(&name, b"", uapi::KBUS_ALL_OR_WAIT));
            fails!(
                EAGAIN,
                sender.try_send_with(&name, b"", uapi::KBUS_ALL_OR_WAIT)
            );
            take(&full);
            sender
                .send_with(&name, b"", uapi::KBUS_ALL_OR_WAIT)
                .unwrap();
        })
    });
}

/// Reads that wait until their time is over.
fn in_waiting_for_messages() {
    on_the_same_bus("waiting for messages", |bus, _| {
        let sock = Sock::on(bus);
        sock.set_timeout(libc::SO_RCVTIMEO, 1);
        Box::new(move || {
            fails!(EAGAIN, sock.recv_wait());
        })
    });
}

/// `SCM_RIGHTS`, read or dropped unread.
fn in_passing_descriptors() {
    on_the_same_bus("passing descriptors", |bus, i| {
        let sock = Sock::on(bus);
        let bus = bus.to_string();
        let name = format!("$.Attack.N{i}");
        let pass = |sock: &Sock| {
            sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
                .unwrap()
        };
        let file = File::open("/proc/self/exe").unwrap();
        let out = Out::to(&name, b"").with(Cmsg::rights(file.as_raw_fd()));
        pass(&sock);
        sock.listen(&name).unwrap();
        Box::new(move || {
            let _file = &file;
            let other = Sock::on(&bus);
            pass(&other);
            other.listen(&name).unwrap();
            sock.send_msg(&out).unwrap();
            assert_eq!(take(&sock).rights().len(), 1);
        })
    });
}

/// Payload that is copied for long.
fn in_large_messages() {
    on_the_same_bus("large messages", |bus, i| {
        let sock = Sock::on(bus);
        let name = format!("$.Attack.N{i}");
        sock.listen(&name).unwrap();
        Box::new(move || {
            sock.send_to(&name, &[0; 64 << 10]).unwrap();
            assert_eq!(sock.recv().unwrap().len, 64 << 10);
        })
    });
}

/// `/proc/self/fdinfo`.
fn in_looking_at_descriptors() {
    on_the_same_bus("fdinfo", |bus, _| {
        let sock = Sock::on(bus);
        Box::new(move || {
            let path = format!("/proc/self/fdinfo/{}", sock.as_raw_fd());
            assert!(fs::read_to_string(path).unwrap().contains("kbus"));
        })
    });
}

/// `/proc/net/kbus`, with some sockets to be seen.
fn in_looking_at_sockets() {
    on_the_same_bus("reads of /proc/net/kbus", |bus, _| {
        let socks: Vec<Sock> = (0..200).map(|_| Sock::on(bus)).collect();
        Box::new(move || {
            let text = fs::read_to_string("/proc/net/kbus").unwrap();
            assert!(text.lines().count() > socks.len());
        })
    });
}

/// `/proc/net/kbus_bindings`, with some to be seen.
fn in_looking_at_bindings() {
    on_the_same_bus("reads of kbus_bindings", |bus, i| {
        let sock = Sock::on(bus);
        for n in 0..200 {
            sock.listen(&format!("$.Attack.L{i}.N{n}")).unwrap();
        }
        Box::new(move || {
            let _sock = &sock;
            let text = fs::read_to_string("/proc/net/kbus_bindings").unwrap();
            assert!(text.lines().count() > 200);
        })
    });
}
