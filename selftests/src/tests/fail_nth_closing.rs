// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once, or all do: the end of sockets.

use std::cell::Cell;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;

use kbus_selftests::fault::close;
use kbus_selftests::fault::plug;
use kbus_selftests::fault::Faults;
use kbus_selftests::fault::Trial;
use kbus_selftests::files::fresh_dir;
use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

super::tests! { with_everything_pending of_the_requester of_the_last_on_a_bus while_others_wait by_exit }

/// Requests that a server has read, and that it has not.
const READ: usize = 5;
const UNREAD: usize = 40;

/// Two clients, a server with all that a socket can have, and one who listens to the bind events.
fn busy() -> ([Sock; 4], Vec<(u64, u32)>) {
    let bus = fresh_bus();
    let [client, other, server, listener] = [(); 4].map(|()| Sock::on(&bus));
    listener.turn_on(uapi::KBUS_REPORT_BINDS);
    listener.listen("$.KBUS.*").expect("listening");
    server.set_u32(uapi::KBUS_PASS, 15).expect("KBUS_PASS");
    for name in ["$.A", "$.B.%", "$.C.*"] {
        server.replier(name).expect("a replier");
    }
    for n in 0..40 {
        server.listen(&format!("$.Listen.N{n}")).expect("listening");
    }
    server.listen("$.A").expect("listening");
    server.turn_on(uapi::KBUS_REPORT_BINDS);
    let null = File::open("/dev/null").expect("/dev/null");
    other.replier("$.Other").expect("a replier");
    server.request("$.Other", b"its own").expect("a request");
    let mut asked = vec![];
    for n in 0..READ + UNREAD {
        let out = Out::to("$.A", b"question").with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0));
        let out = out.with(Cmsg::rights(null.as_raw_fd()));
        client.send_msg(&out).expect("a request");
        let error = if n < READ {
            uapi::KBUS_IGNORED
        } else {
            uapi::KBUS_GONE_AWAY
        };
        asked.push((client.last_sent(), error));
    }
    while server.unreplied() < READ as u32 {
        drop(server.recv().expect("what waits").rights());
    }
    listener.drain();
    ([client, other, server, listener], asked)
}

/// Insists that each request has got its one answer, and no other.
fn all_are_answered(client: &Sock, asked: &[(u64, u32)]) {
    let mut answers: Vec<_> = std::iter::from_fn(|| client.recv().ok())
        .map(|msg| {
            assert!(msg.is(uapi::KBUS_STATUS), "{msg:?}");
            (msg.info.in_reply_to, msg.info.error as u32)
        })
        .collect();
    answers.sort();
    assert_eq!(answers, asked);
}

/// Insists that there is an event for each binding that went, or one notice that some were lost.
fn all_are_told(listener: &Sock) {
    let news = listener.drain();
    // The notice is empty.
    match news.iter().filter(|payload| payload.is_empty()).count() {
        0 => assert_eq!(news.len(), 3, "one event for each binding that went"),
        notices => {
            assert_eq!(notices, 1);
            assert!(news.len() <= 3, "an event was lost");
        }
    }
}

fn after_the_server(([client, other, server, listener], asked): &([Sock; 4], Vec<(u64, u32)>)) {
    plug(server);
    all_are_answered(client, asked);
    assert_eq!(client.who_replies("$.A"), Ok(0));
    all_are_told(listener);
    let msg = other.recv().expect("its request");
    super::fails!(EADDRNOTAVAIL, other.reply(&msg, b"late"));
    assert_eq!(client.bus_info().map(|info| info.members), Ok(3));
}

/// A close needs no memory: each request gets its one answer, each binding its event, or the
/// listener hears that some were lost.
fn with_everything_pending() {
    let mut trial = Trial::new();
    trial.every(
        "close() with all pending",
        busy,
        |([_, _, server, _], _)| close(server),
        |scene, _| after_the_server(scene),
    );
    trial.without(
        "close() with all pending",
        busy,
        |([_, _, server, _], _)| close(server),
        |scene, _| after_the_server(scene),
    );
    trial.end_of_modest();
}

/// Nor does that of who asked, and what it asked stays to be read.
fn of_the_requester() {
    let mut trial = Trial::new();
    trial.without(
        "close() of the requester",
        busy,
        |([client, ..], _)| close(client),
        |([client, _, server, _], _), _| {
            plug(client);
            let mut seen = 0;
            while let Ok(msg) = server.recv() {
                drop(msg.rights());
                if msg.must_reply() {
                    super::fails!(EADDRNOTAVAIL, server.reply(&msg, b"late"));
                    seen += 1;
                }
            }
            assert_eq!(seen, UNREAD);
        },
    );
    trial.end();
}

/// Nor does the end of a bus.
fn of_the_last_on_a_bus() {
    let mut trial = Trial::new();
    let end = |sock: &Sock| {
        sock.listen("$.*").expect("listening");
        sock.replier("$.A").expect("a replier");
        sock.request("$.A", &[1; 1000]).expect("a request");
    };
    let name = fresh_bus();
    let last = || {
        let sock = Sock::on(&name);
        end(&sock);
        [sock]
    };
    let dir = fresh_dir();
    let path = dir.join("bus");
    let at_path = || {
        let sock = Sock::at(&path);
        end(&sock);
        [sock]
    };
    let call = |[sock]: &[Sock; 1]| close(sock);
    trial.without("close() of the last on a bus", last, call, |[sock], _| {
        plug(sock)
    });
    trial.without(
        "close() of the last at a path",
        at_path,
        call,
        |[sock], _| plug(sock),
    );
    let unbound = || [Sock::new()];
    trial.without(
        "close() of an unbound socket",
        unbound,
        call,
        |[sock], _| plug(sock),
    );
    fs::remove_dir_all(&dir).expect("the folder");
    trial.end();
}

/// A send in a thread of its own.
type Sender = Cell<Option<JoinHandle<Res<u64>>>>;

/// Who waits for a socket that closes where there is no memory is sent, or is told so.
fn while_others_wait() {
    let mut trial = Trial::new();
    let waited_for = || {
        let bus = fresh_bus();
        let [sender, full, other] = [(); 3].map(|()| Sock::on(&bus));
        [&full, &other].map(|sock| sock.listen("$.A").expect("listening"));
        full.set_queue_len(1);
        super::fill(&full);
        let copy = sender.dup();
        let send = move || copy.send_with("$.A", b"data", uapi::KBUS_ALL_OR_WAIT);
        let thread = Cell::new(Some(process::in_thread(send)));
        ([sender, full, other], thread)
    };
    let call = |([_, full, _], _): &([Sock; 3], Sender)| close(full);
    let after = |([sender, full, other], thread): &([Sock; 3], Sender), last| {
        plug(full);
        let thread = thread.take().expect("the sender");
        match thread.join().expect("the sender") {
            Ok(id) => {
                assert_eq!((id, sender.last_sent()), (last + 1, id));
                assert_eq!(other.unread(), 1);
            }
            Err(errno) => {
                assert_eq!(errno.0, libc::ENOMEM);
                assert_eq!((other.unread(), sender.last_sent()), (0, 0));
            }
        }
    };
    trial.every("close() that is waited for", waited_for, call, |s, done| {
        after(s, done.last)
    });
    trial.without("close() that is waited for", waited_for, call, |s, done| {
        after(s, done.last)
    });
    trial.end_of_modest();
}

/// A process that dies where there is no memory leaves nothing unanswered.
fn by_exit() {
    drop(Faults::here());
    let (socks, asked) = busy();
    let server = &socks[2];
    let go = Gate::new();
    let child = Child::fork(|| {
        let faults = Faults::here();
        go.pass();
        faults.all_from_now_on();
        // SAFETY: Always safe.
        unsafe { libc::_exit(0) };
    });
    // From now on it is the child's alone.
    close(server).expect("close()");
    assert_eq!(socks[0].unread(), 0);
    go.open(0);
    child.join();
    after_the_server(&(socks, asked));
    eprintln!("# exit with all pending: done with none");
}
