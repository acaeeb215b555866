// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once: sends.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use kbus_selftests::fault::Done;
use kbus_selftests::fault::Ready;
use kbus_selftests::fault::Trial;
use kbus_selftests::process;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::long_name;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Creds;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

super::tests! { announcements requests replies all_or_none all_or_wait what_comes_along large_payloads }

/// A sender and others on a bus.
fn socks<const N: usize>() -> [Sock; N] {
    let bus = fresh_bus();
    [(); N].map(|()| Sock::on(&bus))
}

fn listeners<const N: usize>() -> [Sock; N] {
    let socks = socks();
    for sock in &socks[1..] {
        sock.listen("$.A").expect("listening");
    }
    socks
}

/// Insists that the message has the id after the last one: what failed before has used none.
#[track_caller]
fn is_next(sock: &Sock, done: Done) {
    assert_eq!(sock.last_sent(), done.last + 1);
}

fn flags(address: &str, data: &[u8], flags: u32) -> Ready {
    Ready::new(Out::to(address, data).with(Cmsg::send(flags, 0, 0)))
}

/// An announcement that finds no memory is in no queue.
fn announcements() {
    let mut trial = Trial::new();
    let plain = Ready::new(Out::to("$.A", b"data"));
    let send = |socks: &[Sock; 3]| plain.by(&socks[0]);
    trial.every("send to nobody", socks, send, |[sender, ..], done| {
        is_next(sender, done)
    });
    trial.every("send to two", listeners, send, |[sender, a, b], done| {
        is_next(sender, done);
        assert_eq!((a.unread(), b.unread()), (1, 1));
    });
    let wild = || {
        let [sender, a, b] = listeners();
        sender.listen("$.*").expect("listening");
        a.listen("$.%").expect("listening");
        a.listen("$.A").expect("listening");
        b.listen("$.*").expect("listening");
        b.turn_on(uapi::KBUS_ONCE);
        [sender, a, b]
    };
    trial.every("send to wildcards", wild, send, |[sender, a, b], done| {
        is_next(sender, done);
        assert_eq!((sender.unread(), a.unread(), b.unread()), (1, 3, 1));
    });
    let full = || {
        let [sender, a, b] = listeners();
        a.set_queue_len(1);
        super::fill(&a);
        [sender, a, b]
    };
    trial.every(
        "send that one misses",
        full,
        send,
        |[sender, a, b], done| {
            is_next(sender, done);
            assert_eq!((a.unread(), a.lost(), b.unread()), (1, 1, 1));
        },
    );
    let many = Ready::new(Out::to("$.A", &[7; 3000]));
    let send = |socks: &[Sock; 40]| many.by(&socks[0]);
    trial.every("send to many", listeners, send, |socks, done| {
        is_next(&socks[0], done);
        assert!(socks[1..].iter().all(|sock| sock.unread() == 1));
    });
    let users = || {
        let bus = fresh_bus();
        let sender = Sock::on(&bus);
        let theirs = [1001, 1002].map(|uid| process::as_user(uid, || Sock::on(&bus)));
        theirs
            .iter()
            .for_each(|sock| sock.listen("$.A").expect("listening"));
        let [a, b] = theirs;
        [sender, a, b]
    };
    let send = |socks: &[Sock; 3]| plain.by(&socks[0]);
    trial.every(
        "send to other users",
        users,
        send,
        |[sender, a, b], done| {
            is_next(sender, done);
            assert_eq!((a.unread(), b.unread()), (1, 1));
        },
    );
    let connected = || {
        let [sender, a] = listeners();
        sender.connect("$.A").expect("connect()");
        [sender, a]
    };
    let send = |[sender, _]: &[Sock; 2]| sender.send(b"data");
    trial.every(
        "send to the default",
        connected,
        send,
        |[sender, a], done| {
            is_next(sender, done);
            assert_eq!(a.unread(), 1);
        },
    );
    let urgent = Ready::new(Out::to("$.A", b"data").flags(libc::MSG_OOB));
    let waiting = || {
        let [sender, a] = listeners();
        sender.send_to("$.A", b"before").expect("sending");
        [sender, a]
    };
    let send = |[sender, _]: &[Sock; 2]| urgent.by(sender);
    trial.every("urgent send", waiting, send, |[sender, a], done| {
        is_next(sender, done);
        assert_eq!(a.recv().expect("a message").data, b"data");
    });
    trial.end();
}

/// A request that finds no memory reserves nothing, and nobody is to answer it.
fn requests() {
    let mut trial = Trial::new();
    let served = || {
        let [client, server, listener] = socks();
        server.replier("$.A").expect("a replier");
        server.listen("$.*").expect("listening");
        listener.listen("$.A").expect("listening");
        [client, server, listener]
    };
    let after = |[client, server, listener]: &[Sock; 3], done: Done| {
        is_next(client, done);
        assert_eq!((server.unread(), listener.unread()), (2, 1));
        let msg = server.recv().expect("the request");
        server.reply(&msg, b"answer").expect("a reply");
        assert_eq!(
            client.recv().expect("the answer").info.in_reply_to,
            done.last + 1
        );
    };
    let plain = flags("$.A", b"question", uapi::KBUS_REQUEST);
    trial.every("request", served, |[client, ..]| plain.by(client), after);
    let stateful = || {
        let socks = served();
        let request = flags(&socks[1].sends_from("$.A"), b"question", uapi::KBUS_REQUEST);
        (socks, request)
    };
    trial.every(
        "stateful request",
        stateful,
        |([client, ..], request)| request.by(client),
        |(socks, _), done| after(socks, done),
    );
    let own = || {
        let [client] = socks();
        client.replier("$.A").expect("a replier");
        [client]
    };
    trial.every(
        "request to oneself",
        own,
        |[client]| plain.by(client),
        |[client], done| {
            is_next(client, done);
            let msg = client.recv().expect("the request");
            client.reply(&msg, b"answer").expect("a reply");
            client.recv().expect("the answer");
        },
    );
    trial.end();
}

/// A reply that finds no memory is still owed.
fn replies() {
    let mut trial = Trial::new();
    for (what, len, heard) in [
        ("reply", 10, false),
        ("reply that others hear", 10, true),
        ("reply that is longer than its room", 9000, true),
    ] {
        let asked = || {
            let [client, server, listener] = socks();
            server.replier("$.A").expect("a replier");
            let id = client.request("$.A", b"question").expect("a request");
            let request = server.recv().expect("the request");
            if heard {
                listener.listen("$.A").expect("listening");
                client.listen("$.*").expect("listening");
            }
            let answer = Ready::new(Out::to(&request.from, &vec![7; len]));
            ([client, server, listener], (answer, id))
        };
        trial.every(
            what,
            asked,
            |([_, server, _], (answer, _))| answer.by(server),
            |([client, server, listener], (_, id)), done| {
                is_next(server, done);
                assert_eq!(client.unread(), 1 + u32::from(heard));
                assert_eq!(listener.unread(), u32::from(heard));
                let msg = client.recv().expect("the answer");
                assert_eq!((msg.info.in_reply_to, msg.data.len()), (*id, len));
                assert_eq!(server.unreplied(), 0);
            },
        );
    }
    trial.end();
}

/// All or nobody, also where there is no memory.
fn all_or_none() {
    let mut trial = Trial::new();
    let to_all = flags("$.A", b"data", uapi::KBUS_ALL_OR_FAIL);
    trial.every(
        "KBUS_ALL_OR_FAIL",
        listeners,
        |[sender, _, _]| to_all.by(sender),
        |[sender, a, b], done| {
            is_next(sender, done);
            assert_eq!((a.unread(), b.unread()), (1, 1));
        },
    );
    let full = || {
        let [sender, a, b] = listeners();
        b.set_queue_len(1);
        super::fill(&b);
        [sender, a, b]
    };
    trial.every(
        "KBUS_ALL_OR_FAIL that fails",
        full,
        |[sender, ..]| or_not(libc::EBUSY, to_all.by(sender)),
        |[_, a, b], done| {
            assert_eq!(done.value, NOT);
            assert_eq!((a.unread(), b.unread()), (0, 1));
        },
    );
    let wait = Ready::new(
        Out::to("$.A", b"data")
            .with(Cmsg::send(uapi::KBUS_ALL_OR_WAIT, 0, 0))
            .flags(libc::MSG_DONTWAIT),
    );
    trial.every(
        "KBUS_ALL_OR_WAIT with room",
        listeners,
        |[sender, _, _]| wait.by(sender),
        |[sender, a, b], done| {
            is_next(sender, done);
            assert_eq!((a.unread(), b.unread()), (1, 1));
        },
    );
    trial.every(
        "KBUS_ALL_OR_WAIT that must not wait",
        full,
        |[sender, ..]| or_not(libc::EAGAIN, wait.by(sender)),
        |[sender, a, b], done| {
            assert_eq!((done.value, a.unread()), (NOT, 0));
            // Without memory to be told by, it may try again at once.
            assert!(done.poor || sender.poll(libc::POLLOUT, 0) == 0);
            b.recv().expect("what fills it");
            assert_eq!(sender.poll(libc::POLLOUT, 0), libc::POLLOUT);
        },
    );
    // Of a listener whose user has no bytes left.
    let bytes = Sysctl::set("user_bytes", 1000);
    let poor = || {
        let [sender, a, b] = listeners();
        b.listen("$.B").expect("listening");
        sender.send_to("$.B", &[1; 1000]).expect("filling");
        assert_eq!(b.unread(), 1);
        [sender, a, b]
    };
    trial.every(
        "KBUS_ALL_OR_WAIT for bytes of a user",
        poor,
        |[sender, ..]| or_not(libc::EAGAIN, wait.by(sender)),
        |[sender, a, b], done| {
            assert_eq!((done.value, a.unread()), (NOT, 0));
            // Without memory to be told by, it may try again at once.
            assert!(done.poor || sender.poll(libc::POLLOUT, 0) == 0);
            b.recv().expect("what takes the bytes");
            // Both lacked them, and the one that does not read is told by the work item.
            assert_eq!(sender.poll(libc::POLLOUT, 10_000), libc::POLLOUT);
        },
    );
    drop(bytes);
    trial.end();
}

/// What a call returns that has failed as it should.
const NOT: usize = usize::MAX;

/// Takes an error for the end of the matter.
fn or_not(errno: i32, result: Res<usize>) -> Res<usize> {
    match result {
        Err(e) if e.0 == errno => Ok(NOT),
        other => other,
    }
}

/// Nobody looks whether the sender sleeps, nor is to.
const IDLE: u8 = 0;
/// The sender may sleep: it is to be looked at.
const WAITING: u8 = 1;
/// It is being looked at.
const LOOKING: u8 = 2;
/// No more of this.
const OVER: u8 = 3;
/// Which of these it is.
static TURN: AtomicU8 = AtomicU8::new(IDLE);
/// The socket that is read from when the sender sleeps.
static READING: AtomicI32 = AtomicI32::new(-1);

/// Goes on from one turn to another, where it is that; says whether it was.
fn change(from: u8, to: u8) -> bool {
    TURN.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// A send that waits finds memory, or has not begun, or ends; a reader who makes room reads, whatever it finds.
fn all_or_wait() {
    let mut trial = Trial::new();
    let full = || {
        let [sender, a, b] = listeners();
        b.set_queue_len(1);
        super::fill(&b);
        [sender, a, b]
    };
    let wait = flags("$.A", b"data", uapi::KBUS_ALL_OR_WAIT);
    let waiter = process::own_thread();
    // Reads for the sender, as soon as that one sleeps. A check that fails does not wait for it.
    let reader = thread::spawn(move || {
        while TURN.load(Ordering::SeqCst) != OVER {
            if change(WAITING, LOOKING) {
                let sleeps = process::thread_sleeps(waiter);
                if sleeps {
                    let (fd, mut room) = (READING.load(Ordering::SeqCst), [0_u8; 64]);
                    // SAFETY: There is as much room as said.
                    unsafe { libc::recv(fd, room.as_mut_ptr().cast(), 64, libc::MSG_DONTWAIT) };
                }
                change(LOOKING, if sleeps { IDLE } else { WAITING });
            }
            thread::sleep(Duration::from_micros(200));
        }
    });
    trial.every(
        "KBUS_ALL_OR_WAIT that waits",
        full,
        |[sender, _, b]| {
            READING.store(b.as_raw_fd(), Ordering::SeqCst);
            TURN.store(WAITING, Ordering::SeqCst);
            let result = wait.by(sender);
            // Who looks has a file open, which counts. It must not find this thread asleep.
            let has_read = loop {
                if TURN.load(Ordering::SeqCst) == IDLE {
                    break true;
                }
                if change(WAITING, IDLE) {
                    break false;
                }
                thread::yield_now();
            };
            match has_read {
                // It had begun, and what the other thread did is no change of its own.
                true => or_not(libc::ENOMEM, result),
                false => result,
            }
        },
        |[sender, a, b], done| {
            if done.value == NOT {
                assert!(done.poor);
                assert_eq!((a.unread(), b.unread(), sender.last_sent()), (0, 0, 0));
                return;
            }
            is_next(sender, done);
            assert_eq!((a.unread(), b.unread()), (1, 1));
        },
    );
    TURN.store(OVER, Ordering::SeqCst);
    reader.join().expect("the reader");
    // The other way round: it is the reader who finds no memory.
    let waited_for = || {
        let [sender, a, b] = full();
        let copy = sender.dup();
        let send = move || copy.send_with("$.A", b"data", uapi::KBUS_ALL_OR_WAIT);
        let thread = Cell::new(Some(process::in_thread(send)));
        ([sender, a, b], thread)
    };
    trial.every(
        "recv() that lets a send go",
        waited_for,
        |([_, _, b], _)| {
            let mut room = [0_u8; 64];
            // SAFETY: There is as much room as said.
            let r = unsafe { libc::recv(b.as_raw_fd(), room.as_mut_ptr().cast(), 64, 0) };
            usize::try_from(r).map_err(|_| Errno::last())
        },
        |([sender, a, b], thread), done| {
            assert_eq!(done.value, 4);
            let thread = thread.take().expect("the sender");
            match thread.join().expect("the sender") {
                Ok(id) => {
                    assert_eq!((id, sender.last_sent()), (done.last + 1, id));
                    assert_eq!((a.unread(), b.unread()), (1, 1));
                }
                Err(errno) => {
                    assert_eq!(errno.0, libc::ENOMEM);
                    assert_eq!((a.unread(), b.unread(), sender.last_sent()), (0, 0, 0));
                }
            }
        },
    );
    trial.end();
}

/// Descriptors, names, credentials: what is sent along is given back when there is no memory.
fn what_comes_along() {
    let mut trial = Trial::new();
    let name = long_name(500);
    let long = Ready::new(Out::nowhere(b"data").with(Cmsg::name(&name)));
    let far = || {
        let socks: [Sock; 3] = socks();
        socks[1].listen(&name).expect("listening");
        socks[2].listen("$.*").expect("listening");
        socks
    };
    let heard = |[sender, a, b]: &[Sock; 3], done: Done| {
        is_next(sender, done);
        assert_eq!((a.unread(), b.unread()), (1, 1));
    };
    // The core has a word of its own for much ancillary data that finds no memory.
    let errnos = [libc::ENOBUFS];
    let send = |[sender, ..]: &[Sock; 3]| long.by(sender);
    trial.every_or("send with a long name", &errnos, far, send, heard);
    let far_default = || {
        let socks = far();
        socks[0].connect("$.Other").expect("connect()");
        socks
    };
    trial.every_or("send past the default", &errnos, far_default, send, heard);
    let said = Ready::new(
        Out::to("$.A", b"data")
            .with(Cmsg::credentials(Creds::own()))
            .with(Cmsg::via(uapi::kbus_via::default())),
    );
    trial.every_or(
        "send with credentials",
        &errnos,
        listeners,
        |[sender, ..]| said.by(sender),
        heard,
    );
    let asking = || {
        let socks: [Sock; 3] = listeners();
        for sock in &socks[1..] {
            sock.set_u32(
                uapi::KBUS_PASS,
                uapi::KBUS_PASS_RIGHTS | uapi::KBUS_PASS_SEC,
            )
            .expect("KBUS_PASS");
        }
        socks
    };
    let mut pipe = [0; 2];
    // SAFETY: Room for two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) },
        0
    );
    let with_files = Ready::new(Out::to("$.A", b"data").with(Cmsg::all_rights(&[pipe[1]; 3])));
    trial.every_or(
        "send with descriptors",
        &errnos,
        asking,
        |[sender, ..]| with_files.by(sender),
        heard,
    );
    // A socket of a family that is refused, and on no bus.
    let refused = UnixDatagram::unbound().expect("a socket");
    let bad = [pipe[1], refused.as_raw_fd()];
    let circle = Ready::new(Out::to("$.A", b"data").with(Cmsg::all_rights(&bad)));
    trial.every_or(
        "send with a descriptor that is refused",
        &errnos,
        asking,
        |[sender, ..]| or_not(libc::EOPNOTSUPP, circle.by(sender)),
        |_, done| assert_eq!(done.value, NOT),
    );
    drop(refused);
    let question = Out::to("$.B", b"question").with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0));
    let question = Ready::new(question.with(Cmsg::rights(pipe[1])));
    let served = || {
        let socks = asking();
        socks[1].replier("$.B").expect("a replier");
        socks[2].listen("$.B").expect("listening");
        socks
    };
    trial.every_or(
        "request with a descriptor",
        &errnos,
        served,
        |[client, ..]| question.by(client),
        heard,
    );
    // SAFETY: The descriptor is ours.
    unsafe { libc::close(pipe[1]) };
    let mut entry = libc::pollfd {
        fd: pipe[0],
        events: 0,
        revents: 0,
    };
    // SAFETY: One entry, and it is ours.
    assert_eq!(
        unsafe { libc::poll(&mut entry, 1, 0) },
        1,
        "a descriptor is left somewhere"
    );
    // SAFETY: The descriptor is ours.
    unsafe { libc::close(pipe[0]) };
    trial.end();
}

/// Payloads that are not one piece of the kernel's memory.
fn large_payloads() {
    let mut trial = Trial::new();
    for len in [5_000, 100_000, 4_500_000] {
        let wide = || {
            let socks: [Sock; 3] = listeners();
            socks[0]
                .set_u32(uapi::KBUS_MAX_MSG_SIZE, 1 << 24)
                .expect("KBUS_MAX_MSG_SIZE");
            socks
        };
        let large = Ready::new(Out::to("$.A", &vec![7; len]));
        trial.every(
            &format!("send of {len} bytes"),
            wide,
            |[sender, ..]| large.by(sender),
            |[sender, a, b], done| {
                is_next(sender, done);
                assert_eq!((a.next_len(), b.unread()), (len as i64, 1));
            },
        );
    }
    trial.end();
}
