// SPDX-License-Identifier: GPL-2.0
//! What sandboxes see of a bus: seccomp filters and Landlock.

use io_uring::opcode;
use io_uring::squeue;
use io_uring::IoUring;
use kbus_selftests::process::no_new_privs;
use kbus_selftests::process::skip;
use kbus_selftests::process::Child;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use super::fails;

super::tests! {
    filter_by_family filter_by_protocol landlock_scopes_do_not_name_a_bus landlocked_tasks_are_sandboxed
    polling_thread_made_before_the_sandbox worker_made_before_the_sandbox workers_where_all_may
}

/// Installs a filter that refuses `socket()` with `EACCES` where this argument has this value.
fn refuse_socket(argument: u32, value: i32) {
    let load = |at: u32| libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: at,
    };
    let unless = |k: u32, skip: u8| libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: skip,
        k,
    };
    let give = |k: u32| libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k,
    };
    let mut filter = [
        load(0),
        unless(libc::SYS_socket as u32, 3),
        load(16 + 8 * argument),
        unless(value as u32, 1),
        give(0x0005_0000 | libc::EACCES as u32),
        give(0x7fff_0000),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    no_new_privs();
    // SAFETY: The program and its length are ours.
    let r = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(r, 0, "PR_SET_SECCOMP: {:?}", Errno::last());
}

/// `socket(AF_KBUS)`.
fn family() -> Result<Sock, Errno> {
    Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0)
}

/// The literal form.
fn literal() -> Result<Sock, Errno> {
    Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, uapi::PROTO_KBUS as i32)
}

/// A filter that knows the family's number keeps `AF_KBUS` out, as `RestrictAddressFamilies=` does.
fn filter_by_family() {
    Child::fork(|| {
        refuse_socket(0, uapi::AF_KBUS as i32);
        fails!(EACCES, family());
        // And the literal form is not there in any sandbox.
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// Where sandboxes are allowed the literal form, a filter can still tell it by its protocol.
fn filter_by_protocol() {
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        refuse_socket(2, uapi::PROTO_KBUS as i32);
        fails!(EACCES, literal());
        Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        family().unwrap();
    })
    .join();
}

/// Puts this process in a Landlock domain that may connect to no abstract AF_UNIX socket outside it.
fn landlock() {
    const ABSTRACT_UNIX_SOCKET: u64 = 1;
    let attributes = [0_u64, 0, ABSTRACT_UNIX_SOCKET];
    // SAFETY: The structure is three words, of which the kernel reads as many as it is told.
    unsafe {
        let ruleset = libc::syscall(444, attributes.as_ptr(), 24, 0);
        if ruleset < 0 {
            skip("no Landlock with scopes here");
        }
        no_new_privs();
        let r = libc::syscall(446, ruleset, 0);
        assert_eq!(r, 0, "landlock_restrict_self: {:?}", Errno::last());
        libc::close(ruleset as i32);
    }
}

/// Not promised: `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` says nothing of buses, which are no AF_UNIX sockets. Filters and
/// the mode of a bus do.
fn landlock_scopes_do_not_name_a_bus() {
    let bus = fresh_bus();
    let outside = Sock::on(&bus);
    outside.listen("$.A").unwrap();
    let abstract_address = {
        let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        address.extend_from_slice(b"\0kbus-landlock");
        address
    };
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    unix.bind_raw(&abstract_address).unwrap();
    let _all = Sysctl::set("literal", 2);
    Child::fork(|| {
        landlock();
        let plain = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        fails!(EPERM, plain.connect_raw(&abstract_address));
        Sock::on(&bus).send_to("$.A", b"out").unwrap();
    })
    .join();
    assert_eq!(outside.drain(), [b"out"]);
}

/// Without privilege there is no Landlock domain without `no_new_privs`: so the literal form is not there in one.
fn landlocked_tasks_are_sandboxed() {
    Child::fork(|| {
        landlock();
        fails!(EPROTONOSUPPORT, literal());
    })
    .join();
}

/// `socket()` by way of io_uring: 0 for a socket, which is closed again, or its errno.
fn by_ring(ring: &mut IoUring, domain: i32, protocol: u32, flags: squeue::Flags) -> i32 {
    let entry = opcode::Socket::new(domain, libc::SOCK_DGRAM, protocol as i32)
        .build()
        .flags(flags);
    // SAFETY: The operation points at nothing.
    unsafe { ring.submission().push(&entry).expect("room in the ring") };
    ring.submit_and_wait(1).expect("io_uring_enter");
    let result = ring.completion().next().expect("a result").result();
    if result >= 0 {
        // SAFETY: It is new and nobody else's.
        unsafe { libc::close(result) };
    }
    -result.min(0)
}

/// Puts this process in a sandbox that allows everything.
fn sandbox() {
    refuse_socket(0, -1);
}

/// A ring with a polling thread (`IORING_SETUP_SQPOLL`) that was made before `no_new_privs` and a filter: the thread has
/// neither, and is refused the literal form all the same. It can have `AF_KBUS`, as everybody.
fn polling_thread_made_before_the_sandbox() {
    Child::fork(|| {
        let mut ring = IoUring::builder()
            .setup_sqpoll(10_000)
            .build(4)
            .expect("io_uring");
        let none = squeue::Flags::empty();
        assert_eq!(by_ring(&mut ring, libc::AF_UNIX, 0, none), 0);
        sandbox();
        let refused = by_ring(&mut ring, libc::AF_UNIX, uapi::PROTO_KBUS, none);
        assert_eq!(Errno(refused), Errno(libc::EPROTONOSUPPORT));
        assert_eq!(by_ring(&mut ring, uapi::AF_KBUS as i32, 0, none), 0);
    })
    .join();
}

/// So is a worker of a ring, which takes on what would wait.
fn worker_made_before_the_sandbox() {
    Child::fork(|| {
        let mut ring = IoUring::new(4).expect("io_uring");
        // One of each kind: the one that is there is the one that is used later.
        ring.submitter()
            .register_iowq_max_workers(&mut [1, 1])
            .expect("IORING_REGISTER_IOWQ_MAX_WORKERS");
        let by_worker = squeue::Flags::ASYNC;
        assert_eq!(by_ring(&mut ring, libc::AF_UNIX, 0, by_worker), 0);
        sandbox();
        let refused = by_ring(&mut ring, libc::AF_UNIX, uapi::PROTO_KBUS, by_worker);
        assert_eq!(Errno(refused), Errno(libc::EPROTONOSUPPORT));
    })
    .join();
}

/// At 2 the literal form is for all, also by way of a ring; at 1 a ring has it where the calling thread does the work.
fn workers_where_all_may() {
    let (none, by_worker) = (squeue::Flags::empty(), squeue::Flags::ASYNC);
    let mut ring = IoUring::new(4).expect("io_uring");
    assert_eq!(by_ring(&mut ring, libc::AF_UNIX, uapi::PROTO_KBUS, none), 0);
    let _all = Sysctl::set("literal", 2);
    assert_eq!(by_ring(&mut ring, libc::AF_UNIX, uapi::PROTO_KBUS, by_worker), 0);
}
