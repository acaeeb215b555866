// SPDX-License-Identifier: GPL-2.0
//! Each allocation fails once: sockets, buses, names, and what looks at them.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use kbus_selftests::fault::state;
use kbus_selftests::fault::Faults;
use kbus_selftests::fault::OnlyOurs;
use kbus_selftests::fault::Scene;
use kbus_selftests::fault::Trial;
use kbus_selftests::fault::Which;
use kbus_selftests::files::fresh_dir;
use kbus_selftests::sys::bus_address;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::message_address;
use kbus_selftests::sys::path_address;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

super::tests! { making binding binding_to_a_path connecting polling shutting looking namespaces }

fn result(r: i64) -> Res<usize> {
    usize::try_from(r).map_err(|_| Errno::last())
}

/// The descriptor that a call has made.
fn made(value: usize) -> OwnedFd {
    // SAFETY: The call has just made it for us.
    unsafe { OwnedFd::from_raw_fd(value as i32) }
}

/// A `socket()` that finds no memory has made none, in neither form.
fn making() {
    let mut trial = Trial::new();
    let forms = [
        (
            "socket() of the literal form",
            libc::AF_UNIX,
            uapi::PROTO_KBUS,
        ),
        ("socket() of the family", uapi::AF_KBUS as i32, 0),
    ];
    for (what, family, protocol) in forms {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        trial.every_or(
            what,
            &[libc::ENFILE],
            || [],
            // SAFETY: Always safe.
            |[]| result(unsafe { libc::socket(family, kind, protocol as i32) }.into()),
            |[], done| {
                assert_ne!(Sock::from(made(done.value)).peer_id(), 0);
            },
        );
    }
    trial.end();
}

/// A `bind()` that finds no memory has joined and made no bus.
fn binding() {
    let mut trial = Trial::new();
    let bus = fresh_bus();
    let address = bus_address(&bus);
    trial.every(
        "bind() that makes a bus",
        || [Sock::new()],
        |[sock]| sock.bind_raw(&address).map(|()| 0),
        |[sock], _| assert_eq!(sock.bus_info().map(|info| info.members), Ok(1)),
    );
    trial.every(
        "bind() that joins one",
        || [Sock::on(&bus), Sock::new()],
        |[_, sock]| sock.bind_raw(&address).map(|()| 0),
        |[sock, _], _| assert_eq!(sock.bus_info().map(|info| info.members), Ok(2)),
    );
    trial.end();
}

/// A socket, and a folder.
struct Folder<'a>([Sock; 2], &'a Path);

impl Scene for Folder<'_> {
    fn socks(&self) -> Vec<&Sock> {
        self.0.socks()
    }

    fn more(&self) -> String {
        let mut names: Vec<_> = fs::read_dir(self.1)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        format!("{names:?}")
    }
}

/// A `bind()` to a path that finds no memory has made no inode either.
fn binding_to_a_path() {
    let mut trial = Trial::new();
    let dir = fresh_dir();
    let path = dir.join("bus");
    let address = path_address(&path);
    let call = |scene: &Folder<'_>| scene.0[1].bind_raw(&address).map(|()| 0);
    let members = |scene: &Folder<'_>| scene.0[1].bus_info().expect("a bus").members;
    let unbound = || Folder([Sock::new(), Sock::new()], &dir);
    // The file system has a word of its own for an inode that finds no memory.
    let errnos = [libc::ENOSPC];
    trial.every_or(
        "bind() that makes an inode",
        &errnos,
        unbound,
        call,
        |scene, _| {
            assert_eq!(members(scene), 1);
            fs::remove_file(&path).expect("the inode");
        },
    );
    drop(Sock::at(&path));
    trial.every("bind() to an old inode", unbound, call, |scene, _| {
        assert_eq!(members(scene), 1);
    });
    let joined = || Folder([Sock::at(&path), Sock::new()], &dir);
    trial.every("bind() that joins at a path", joined, call, |scene, _| {
        assert_eq!(members(scene), 2);
    });
    fs::remove_dir_all(&dir).expect("the folder");
    trial.end();
}

/// A `connect()` that finds no memory leaves the address that there was. To be told of names needs none.
fn connecting() {
    let mut trial = Trial::new();
    let (old, new) = ("$.Old", message_address("$.Sensors.Kitchen"));
    let connected = || {
        let sock = Sock::on(&fresh_bus());
        sock.connect(old).expect("connect()");
        [sock]
    };
    let call = |[sock]: &[Sock; 1]| sock.connect_raw(&new).map(|()| 0);
    trial.every("connect()", connected, call, |[sock], _| {
        assert!(sock.peer_name().expect("a name").starts_with(&new));
    });
    let mut none = new.clone();
    none[..2].fill(0);
    trial.without(
        "connect() to nothing",
        connected,
        |[sock]| sock.connect_raw(&none).map(|()| 0),
        |[sock], _| super::fails!(ENOTCONN, sock.peer_name()),
    );
    for (what, call) in [
        (
            "getsockname()",
            libc::getsockname as unsafe extern "C" fn(_, _, _) -> _,
        ),
        ("getpeername()", libc::getpeername),
    ] {
        let call = |[sock]: &[Sock; 1]| {
            let (mut bytes, mut len) = ([0_u64; 16], 128);
            // SAFETY: The buffer is aligned and as long as said.
            let r = unsafe { call(sock.as_raw_fd(), bytes.as_mut_ptr().cast(), &mut len) };
            result(r.into()).map(|_| len as usize)
        };
        trial.without(what, connected, call, |_, done| assert!(done.value > 2));
    }
    trial.end();
}

/// `poll()` and `epoll_ctl()` that find no memory wait for nothing; `FIONREAD` needs none.
fn polling() {
    let mut trial = Trial::new();
    let listener = || {
        let sock = Sock::on(&fresh_bus());
        sock.listen("$.A").expect("listening");
        sock.send_to("$.A", b"data").expect("sending");
        [sock]
    };
    // More than the kernel has room for on its stack.
    let entries = RefCell::new(vec![
        libc::pollfd {
            fd: -1,
            events: libc::POLLIN,
            revents: 0
        };
        400
    ]);
    let poll = |[sock]: &[Sock; 1]| {
        let mut entries = entries.borrow_mut();
        entries
            .iter_mut()
            .for_each(|entry| entry.fd = sock.as_raw_fd());
        // SAFETY: The entries are ours, and as many as said.
        result(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as u64, -1) }.into())
    };
    trial.every("poll()", listener, poll, |_, done| {
        assert_eq!(done.value, 400)
    });
    // SAFETY: Always safe.
    let epoll = made(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } as usize);
    let add = |[sock]: &[Sock; 1]| {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 7,
        };
        let (epoll, fd) = (epoll.as_raw_fd(), sock.as_raw_fd());
        // SAFETY: `event` is read only.
        result(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }.into())
    };
    trial.every("epoll_ctl()", listener, add, |_, _| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: There is room for one event.
        let r = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, 0) };
        assert_eq!((r, { event.u64 }), (1, 7));
    });
    trial.without(
        "FIONREAD",
        listener,
        |[sock]| sock.fionread().map(|len| len as usize),
        |_, done| assert_eq!(done.value, 4),
    );
    trial.end();
}

/// `shutdown()` needs no memory, and no request goes without an answer for it.
fn shutting() {
    let mut trial = Trial::new();
    let cases = [
        (libc::SHUT_RD, uapi::KBUS_GONE_AWAY),
        (libc::SHUT_WR, uapi::KBUS_UNBOUND),
        (libc::SHUT_RDWR, uapi::KBUS_GONE_AWAY),
    ];
    for (how, error) in cases {
        let asked = || {
            let bus = fresh_bus();
            let [client, server, other] = [(); 3].map(|()| Sock::on(&bus));
            other.listen("$.KBUS.*").expect("listening");
            other.turn_on(uapi::KBUS_REPORT_BINDS);
            server.replier("$.A").expect("a replier");
            server.listen("$.*").expect("listening");
            let id = client.request("$.A", b"question").expect("a request");
            ([client, server, other], id)
        };
        trial.without(
            &format!("shutdown({how})"),
            asked,
            |([_, server, _], _)| server.shutdown(how).map(|()| 0),
            |([client, _, other], id), _| {
                super::expect_status(client, *id, error);
                assert_eq!(other.drain().len(), 2, "bind and unbind event");
            },
        );
    }
    trial.end();
}

/// To look at sockets finds memory or says so.
fn looking() {
    let mut trial = Trial::new();
    let several = || {
        let bus = fresh_bus();
        let socks = [(); 40].map(|()| Sock::on(&bus));
        for (n, sock) in socks.iter().enumerate() {
            sock.listen(&format!("$.Listener.Number{n}.*"))
                .expect("listening");
            sock.replier(&format!("$.Replier{n}")).expect("a replier");
        }
        socks
    };
    let room = RefCell::new(vec![1_u8; 1 << 16]);
    let open = |path: &CString| {
        // SAFETY: The path is NUL-terminated.
        let r = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        result(r.into())
    };
    let read = |fd: i32| {
        let mut room = room.borrow_mut();
        // SAFETY: There is as much room as said.
        let r = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
        result(r as i64)
    };
    // More text than the first buffer of the kernel has room for.
    let at_least = [
        ("net/kbus", 1000),
        ("net/kbus_bindings", 3000),
        ("net/kbus_bindings", 3000),
    ];
    for (name, least) in at_least {
        let path = CString::new(format!("/proc/self/{name}")).expect("no NUL");
        trial.every(
            &format!("open() of {name}"),
            several,
            |_| open(&path),
            |_, done| {
                drop(made(done.value));
            },
        );
        let opened = || (several(), made(open(&path).expect("open()")));
        let call = |(_, file): &([Sock; 40], OwnedFd)| read(file.as_raw_fd());
        trial.every(
            &format!("read() of {name}"),
            opened,
            call,
            |(_, file), done| {
                let mut len = done.value;
                while let Ok(more @ 1..) = read(file.as_raw_fd()) {
                    len += more;
                }
                assert!(len >= least, "{name} has {len} bytes");
            },
        );
    }
    let opened = || {
        let [sock] = [Sock::on(&fresh_bus())];
        let file = File::open(format!("/proc/self/fdinfo/{}", sock.as_raw_fd()));
        ([sock], file.expect("fdinfo"))
    };
    trial.every(
        "read() of fdinfo",
        opened,
        |(_, file)| read(file.as_raw_fd()),
        |_, done| assert!(done.value > 50),
    );
    let paths = ["literal", "user_bytes", "user_buses"];
    for path in paths.map(|name| format!("/proc/sys/net/kbus/{name}")) {
        let value = fs::read(&path).expect("a sysctl");
        let opened = || {
            (
                [],
                File::options()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .expect("a sysctl"),
            )
        };
        let call = |(_, file): &([Sock; 0], File)| read(file.as_raw_fd());
        trial.every(&format!("read() of {path}"), opened, call, |_, done| {
            assert_eq!(room.borrow()[..done.value], value);
        });
        let write = |(_, file): &([Sock; 0], File)| {
            // SAFETY: The text is as long as said.
            let r = unsafe { libc::write(file.as_raw_fd(), value.as_ptr().cast(), value.len()) };
            result(r as i64)
        };
        trial.every(&format!("write() of {path}"), opened, write, |_, _| {
            assert_eq!(fs::read(&path).expect("a sysctl"), value);
        });
    }
    trial.end();
}

/// A network namespace for whose state there is no memory is not made.
fn namespaces() {
    drop(Faults::here());
    // There are many hundred allocations that are not for our part of it.
    let _only = OnlyOurs::new();
    let before = state(&[]);
    for kind in [Which::Only as fn(u32) -> Which, Which::From] {
        let (mut n, mut failed) = (1, 0);
        // A thread may leave its namespace without the others.
        let leave = |which| {
            thread::spawn(move || {
                let faults = Faults::filtered();
                // SAFETY: Always safe.
                let call = || result(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into());
                let (result, used) = faults.nth(which, call);
                if result.is_ok() {
                    // All of it is there.
                    assert_eq!(Sock::new().bind(&fresh_bus()), Ok(()));
                    for file in ["net/kbus", "net/kbus_bindings"] {
                        fs::read(format!("/proc/thread-self/{file}")).expect(file);
                    }
                }
                (result, used)
            })
            .join()
            .expect("the thread")
        };
        loop {
            match leave(kind(n)) {
                (Ok(_), false) => break,
                (Ok(_), true) => {}
                (Err(errno), used) => {
                    assert_eq!((errno, used), (Errno(libc::ENOMEM), true), "allocation {n}");
                    assert_eq!(state(&[]), before, "allocation {n}");
                    failed += 1;
                }
            }
            n += 1;
        }
        eprintln!(
            "# unshare(): {} allocations of our part failed, {failed} calls with them",
            n - 1
        );
        assert!(failed > 5, "a namespace needs memory");
    }
}
