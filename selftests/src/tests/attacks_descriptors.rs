// SPDX-License-Identifier: GPL-2.0
//! Attacks by descriptors that are in flight.
//!
//! What one user has in flight is counted for the whole machine, behind one lock. It takes no other user's.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use kbus_selftests::attack::raise_file_limit;
use kbus_selftests::attack::take;
use kbus_selftests::attack::Attackers;
use kbus_selftests::attack::VICTIM;
use kbus_selftests::process::as_user;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::RecvOptions;
use kbus_selftests::sys::Sock;

use super::fails;

super::timed! { as_many_as_sixteen_users_may in_a_loop_on_another_bus in_a_loop_on_the_same_bus }

/// How many files everybody here may have open, and in flight.
const LIMIT: u64 = 1000;
/// The most of one message.
const MOST: usize = 253;
const NEWS: &str = "$.Victim.Files";

/// Does something as this user alone: what is in flight counts for the real one, and root may have any number.
fn as_real_user<R>(uid: u32, f: impl FnOnce() -> R) -> R {
    let set = |uid: u32| {
        // SAFETY: Always safe. Of this thread only, which is all there is.
        let r = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, 0) };
        assert_eq!(r, 0, "another user: {:?}", Errno::last());
    };
    set(uid);
    let result = f();
    set(0);
    result
}

fn send_files(sock: &Sock, name: &str, fds: &[RawFd]) -> Result<usize, Errno> {
    sock.send_msg(&Out::to(name, b"").with(Cmsg::all_rights(fds)))
}

/// A user who passes a descriptor to itself, and insists on getting it.
struct Passer {
    sender: Sock,
    listener: Sock,
    file: File,
}

impl Passer {
    fn on(bus: &str) -> Passer {
        let passer = Passer {
            sender: as_user(VICTIM, || Sock::on(bus)),
            listener: as_user(VICTIM, || Sock::on(bus)),
            file: File::open("/proc/self/exe").expect("a file"),
        };
        let listener = &passer.listener;
        listener
            .set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
            .unwrap();
        listener.listen(NEWS).unwrap();
        passer
    }

    fn step(&self) {
        as_real_user(VICTIM, || {
            let sent = send_files(&self.sender, NEWS, &[self.file.as_raw_fd()]);
            sent.expect("a descriptor of the victim's");
            let msg = take(&self.listener);
            assert!(!msg.is(uapi::KBUS_HAD_FDS));
            let fds: Vec<OwnedFd> = msg.rights();
            let file = File::from(fds.into_iter().next().expect("the descriptor"));
            let ino = |file: &File| file.metadata().expect("fstat").ino();
            assert_eq!(ino(&file), ino(&self.file));
        });
    }
}

/// A listener of an attacker's that takes descriptors, and its name.
fn ear(bus: &str, i: u32) -> (Sock, String) {
    let sock = Sock::on(bus);
    let name = format!("$.Attack.Files.N{i}");
    sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
        .unwrap();
    sock.listen(&name).unwrap();
    (sock, name)
}

/// Sixteen users have as many in flight as each may, to listeners on the victim's bus that never read. The victim, who
/// may have no more than each of them, is refused none of its own.
fn as_many_as_sixteen_users_may() {
    raise_file_limit(LIMIT);
    let (bus, clean) = (fresh_bus(), fresh_bus());
    let _owners = [Sock::on(&bus), Sock::on(&clean)];
    let (victim, spared) = (Passer::on(&bus), Passer::on(&clean));
    let attackers = Attackers::there(16, 16, |i| {
        let (sock, name) = ear(&bus, i);
        let fds = [libc::STDIN_FILENO; MOST];
        let mut sent = 0;
        loop {
            match send_files(&sock, &name, &fds) {
                Ok(_) => sent += MOST as u64,
                Err(errno) => {
                    assert_eq!(errno.0, libc::ETOOMANYREFS);
                    break;
                }
            }
        }
        assert!(sent > LIMIT, "only {sent} are in flight");
        sock
    });
    let what = "descriptors in flight of 16 users";
    attackers.leave(what, 0.9, |attacked| match attacked {
        true => victim.step(),
        false => spared.step(),
    });
    // So is a user's own number bounded, and this one's.
    as_real_user(VICTIM, || {
        let fds = [victim.file.as_raw_fd(); MOST];
        for _ in 0..LIMIT as usize / MOST + 1 {
            send_files(&victim.sender, NEWS, &fds).unwrap();
        }
        fails!(ETOOMANYREFS, send_files(&victim.sender, NEWS, &fds));
    });
}

/// Sends as many as there can be with one message, and has them dropped unseen.
fn sends_and_drops(bus: &str, i: u32) -> impl FnMut() -> bool {
    let (sock, name) = ear(bus, i);
    let fds = [libc::STDIN_FILENO; MOST];
    let options = RecvOptions {
        room: 0,
        control: 0,
        ..RecvOptions::default()
    };
    move || {
        send_files(&sock, &name, &fds).unwrap();
        let msg = sock.recv_with(options).unwrap();
        msg.flags & libc::MSG_CTRUNC != 0
    }
}

/// Messages with as many as there can be, sent and read in a loop on another bus.
fn in_a_loop_on_another_bus() {
    let (bus, other) = (fresh_bus(), fresh_bus());
    let _owners = [Sock::on(&bus), Sock::on(&other)];
    let victim = Passer::on(&bus);
    let attackers = Attackers::start(2, 2, 100, |i| sends_and_drops(&other, i));
    let what = "descriptors on another bus";
    attackers.leave(what, 0.9, |_| victim.step());
}

/// The same on the victim's bus.
fn in_a_loop_on_the_same_bus() {
    let bus = fresh_bus();
    let _owner = Sock::on(&bus);
    let victim = Passer::on(&bus);
    let attackers = Attackers::start(2, 2, 100, |i| sends_and_drops(&bus, i));
    let what = "descriptors on the same bus";
    attackers.leave(what, 0.5, |_| victim.step());
    attackers.leave_paced(what, 500, |_| victim.step());
}
