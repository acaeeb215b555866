// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once: receives.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use kbus_selftests::fault::state;
use kbus_selftests::fault::Faults;
use kbus_selftests::fault::Trial;
use kbus_selftests::fault::Which;
use kbus_selftests::process;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Room;
use kbus_selftests::sys::Sock;

super::tests! { messages descriptors answers_and_events large_messages from_another_thread }

/// Buffers that a call can fill without memory.
struct Into(RefCell<Room>);

impl Into {
    fn new(options: RecvOptions) -> Into {
        Into(RefCell::new(Room::new(options).touch()))
    }

    fn plain() -> Into {
        Into::new(RecvOptions::default())
    }

    fn read(&self, sock: &Sock) -> Res<usize> {
        sock.recv_into(&mut self.0.borrow_mut())
    }

    fn message(&self, len: usize) -> Msg {
        self.0.borrow().message(len)
    }
}

/// A sender and a reader who is told all there is.
fn curious() -> [Sock; 2] {
    let bus = fresh_bus();
    let [sender, reader] = [(); 2].map(|()| Sock::on(&bus));
    reader.set_u32(uapi::KBUS_PASS, 15).expect("KBUS_PASS");
    reader
        .set_socket(libc::SO_RXQ_OVFL, 1)
        .expect("SO_RXQ_OVFL");
    reader.turn_on(uapi::KBUS_REPORT_LOST);
    reader.listen("$.*").expect("listening");
    [sender, reader]
}

/// A message that could not be read for want of memory is still there, and to read most needs none.
fn messages() {
    let mut trial = Trial::new();
    let into = Into::plain();
    let peek = Into::new(RecvOptions {
        flags: libc::MSG_PEEK | libc::MSG_DONTWAIT,
        ..RecvOptions::default()
    });
    let cut = Into::new(RecvOptions {
        room: 2,
        control: 40,
        flags: libc::MSG_TRUNC | libc::MSG_DONTWAIT,
    });
    let name = long_name(700);
    for (what, name) in [("message", "$.A"), ("message with a long name", &name)] {
        let sent = || {
            let [sender, reader] = curious();
            let out = Out::nowhere(b"data").with(Cmsg::name(name));
            let out = out.with(Cmsg::via(uapi::kbus_via::default()));
            sender.send_msg(&out).expect("sending");
            [sender, reader]
        };
        for (how, into, left) in [("recv()", &into, 0), ("peek", &peek, 1), ("cut", &cut, 0)] {
            trial.every(
                &format!("{how} of a {what}"),
                sent,
                |[_, reader]| into.read(reader),
                |[_, reader], done| {
                    assert_eq!((done.value, reader.unread()), (4, left));
                    let msg = into.message(done.value);
                    if how != "cut" {
                        assert!(msg.has_info() && msg.creds().is_some() && msg.via().is_some());
                        assert_eq!(msg.long_name().is_some(), name.len() > 73);
                    }
                },
            );
        }
        trial.without(
            &format!("recv() of a {what}"),
            sent,
            |[_, reader]| into.read(reader),
            |[_, reader], done| assert_eq!((done.value, reader.unread()), (4, 0)),
        );
    }
    let request = || {
        let [client, server] = curious();
        server.replier("$.B").expect("a replier");
        client.request("$.B", b"question").expect("a request");
        [client, server]
    };
    trial.without(
        "recv() of a request",
        request,
        |[_, server]| into.read(server),
        |[client, server], done| {
            assert_eq!(server.unreplied(), 1);
            let msg = into.message(done.value);
            server.reply(&msg, b"answer").expect("a reply");
            assert_eq!(client.recv().expect("the answer").data, b"answer");
        },
    );
    trial.end_of_modest();
}

/// Descriptors that find no memory stay with their message.
fn descriptors() {
    let mut trial = Trial::new();
    let into = Into::plain();
    let peek = Into::new(RecvOptions {
        flags: libc::MSG_PEEK | libc::MSG_DONTWAIT,
        ..RecvOptions::default()
    });
    let null = File::open("/dev/null").expect("/dev/null");
    for count in [1, 3, 200] {
        let fds = vec![null.as_raw_fd(); count];
        let sent = || {
            let [sender, reader] = curious();
            let out = Out::to("$.A", b"data").with(Cmsg::all_rights(&fds));
            sender.send_msg(&out).expect("sending");
            [sender, reader]
        };
        for (how, into, left) in [("recv()", &into, 0), ("peek", &peek, 1)] {
            trial.every(
                &format!("{how} of {count} descriptors"),
                sent,
                |[_, reader]| into.read(reader),
                |[_, reader], done| {
                    assert_eq!((done.value, reader.unread()), (4, left));
                    let msg = into.message(done.value);
                    // A table of descriptors that cannot grow is one that is full.
                    let cut = msg.flags & libc::MSG_CTRUNC != 0;
                    assert_eq!(msg.rights().len() < count, cut);
                    assert!(!cut || (done.poor && count == 200));
                },
            );
        }
    }
    trial.end();
}

/// To read an answer, a status or an event needs no memory.
fn answers_and_events() {
    let mut trial = Trial::new();
    let into = Into::plain();
    for (what, status) in [("an answer", 0), ("a status", uapi::KBUS_IGNORED)] {
        let answered = || {
            let [client, server] = curious();
            server.replier("$.B").expect("a replier");
            client.request("$.B", b"question").expect("a request");
            let request = server.recv().expect("the request");
            match status {
                0 => server
                    .reply(&request, b"answer")
                    .map(drop)
                    .expect("a reply"),
                _ => server.ignore(request.info.id).expect("KBUS_IGNORE"),
            }
            [client, server]
        };
        trial.without(
            &format!("recv() of {what}"),
            answered,
            |[client, _]| into.read(client),
            |[client, _], done| {
                let msg = into.message(done.value);
                assert_eq!((msg.info.error, client.unread()), (status as i32, 0));
            },
        );
    }
    let told = || {
        let [owner, listener] = curious();
        owner.turn_on(uapi::KBUS_REPORT_BINDS);
        listener
            .listen("$.KBUS.ReplierBindEvent")
            .expect("listening");
        let third = Sock::new();
        third
            .bind_raw(&owner.name().expect("a bus"))
            .expect("bind()");
        third.replier("$.C").expect("a replier");
        // Its end leaves an event of the other kind.
        drop(third);
        [owner, listener]
    };
    trial.without(
        "recv() of bind events",
        told,
        |[_, listener]| into.read(listener).and_then(|_| into.read(listener)),
        |[_, listener], _| assert_eq!(listener.unread(), 2),
    );
    let missed = || {
        let [sender, reader] = curious();
        reader.set_queue_len(1);
        for _ in 0..3 {
            sender.send_to("$.A", b"data").expect("sending");
        }
        [sender, reader]
    };
    trial.without(
        "recv() of what was missed",
        missed,
        |[_, reader]| into.read(reader).and_then(|_| into.read(reader)),
        |[_, reader], done| {
            assert_eq!(
                (into.message(done.value).info.lost, reader.unread()),
                (2, 0)
            );
        },
    );
    trial.end();
}

/// Nor does a large message.
fn large_messages() {
    let mut trial = Trial::new();
    let len = 4_500_000;
    let into = Into::new(RecvOptions {
        room: len,
        ..RecvOptions::default()
    });
    let sent = || {
        let [sender, reader] = curious();
        sender
            .set_u32(uapi::KBUS_MAX_MSG_SIZE, 1 << 24)
            .expect("KBUS_MAX_MSG_SIZE");
        sender.send_to("$.A", &vec![7; len]).expect("sending");
        [sender, reader]
    };
    trial.without(
        "recv() of a large message",
        sent,
        |[_, reader]| into.read(reader),
        |[_, reader], done| assert_eq!((done.value, reader.unread()), (len, 0)),
    );
    assert!(into.message(len).data.iter().all(|byte| *byte == 7));
    trial.end();
}

/// A blocking read by another descriptor, in another thread, gets the message with its descriptor, or leaves both.
fn from_another_thread() {
    drop(Faults::here());
    let null = File::open("/dev/null").expect("/dev/null");
    let (mut n, mut failed) = (1, 0);
    let quiet = state(&[]);
    loop {
        let [sender, reader] = curious();
        let copy = reader.dup();
        let started = Gate::new();
        let number = AtomicI32::new(0);
        let (result, used) = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let faults = Faults::here();
                let into = Into::new(RecvOptions {
                    flags: 0,
                    ..RecvOptions::default()
                });
                number.store(process::own_thread(), Ordering::SeqCst);
                started.open(0);
                let (result, used) = faults.nth(Which::From(n), || into.read(&copy));
                (result.map(|len| into.message(len)), used)
            });
            started.pass();
            // Between the gate and the read it sleeps nowhere.
            while !process::thread_sleeps(number.load(Ordering::SeqCst)) {
                assert!(!thread.is_finished(), "it reads what has not been sent");
                thread::sleep(Duration::from_micros(200));
            }
            let out = Out::to("$.A", b"data").with(Cmsg::rights(null.as_raw_fd()));
            sender.send_msg(&out).expect("sending");
            thread.join().expect("the reader")
        });
        let whole = |msg: Msg| {
            // One number is always to be had: the table of descriptors has free ones.
            let cut = msg.flags & libc::MSG_CTRUNC != 0;
            assert_eq!(
                (&msg.data[..], msg.rights().len(), cut),
                (&b"data"[..], 1, false)
            );
        };
        match result {
            Ok(msg) => whole(msg),
            Err(errno) => {
                assert_eq!((errno.0, used), (libc::ENOMEM, true));
                failed += 1;
                assert_eq!((reader.unread(), reader.next_len()), (1, 4));
                whole(reader.recv().expect("the message"));
            }
        }
        assert_eq!((reader.unread(), reader.lost()), (0, 0));
        drop((sender, reader, copy, started));
        assert_eq!(state(&[]), quiet);
        if !used {
            break;
        }
        n += 1;
    }
    eprintln!(
        "# blocking recv(): {failed} of {} allocations mattered",
        n - 1
    );
    assert!(failed > 0, "descriptors need memory");
}
