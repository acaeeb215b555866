// SPDX-License-Identifier: GPL-2.0
//! `O_ASYNC`: the signal that tells of room after `EAGAIN`, side by side with AF_UNIX.

use std::fs::File;
use std::io::Read;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::RawFd;
use std::os::unix::net::UnixDatagram;
use std::ptr;

use kbus_selftests::process::as_user;
use kbus_selftests::process::Sysctl;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Sock;

use super::blocked::ASK;
use super::blocked::WAIT;
use super::fails;
use super::full_listener;
use super::full_replier;
use super::silent;

super::tests! {
    sigio_tells_of_room chosen_signal_tells_which_socket_and_why room_without_eagain_is_no_signal
    each_eagain_has_its_signal polling_asks_for_a_signal_too target_that_goes_is_a_signal
    raised_limit_is_a_signal room_of_a_replier_is_a_signal every_sender_has_a_signal
    budget_that_comes_back_is_a_signal message_is_a_signal
}

/// The number that `F_SETSIG` is given.
fn chosen() -> i32 {
    libc::SIGRTMIN() + 3
}

/// How long to wait for a signal that must come, however busy the machine is.
const LONG: i32 = 15_000;

const F_SETSIG: i32 = 10;
/// `si_code` of a signal by `F_SETSIG`: why it is sent.
const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;

/// Signals of this process, which are read instead of handled.
struct Signals(File);

impl Signals {
    fn new() -> Signals {
        // SAFETY: The set is made here, and the descriptor is new.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGIO, chosen()] {
                libc::sigaddset(&mut set, signal);
            }
            assert_eq!(libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()), 0);
            let fd = libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            assert!(fd >= 0, "signalfd: {:?}", Errno::last());
            Signals(File::from_raw_fd(fd))
        }
    }

    /// The next one, for which it waits so long.
    fn next(&mut self, ms: i32) -> Option<libc::signalfd_siginfo> {
        let mut entry = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: One entry, and it is ours.
        if unsafe { libc::poll(&mut entry, 1, ms) } == 0 {
            return None;
        }
        let mut bytes = [0; mem::size_of::<libc::signalfd_siginfo>()];
        self.0.read_exact(&mut bytes).expect("a signal");
        // SAFETY: The kernel has written such a structure, all of whose values are valid.
        Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
    }

    /// Insists that there is none. A signal is sent before the call that causes it returns.
    #[track_caller]
    fn none(&mut self) {
        assert!(self.next(0).is_none(), "a signal without a reason");
    }

    /// Insists on the chosen signal, for this descriptor, as it can be written to.
    #[track_caller]
    fn room_of(&mut self, fd: RawFd) {
        let signal = self.next(LONG).expect("a signal");
        assert_eq!(signal.ssi_signo, chosen() as u32);
        assert_eq!((signal.ssi_code, signal.ssi_fd), (POLL_OUT, fd));
        let out = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;
        assert_eq!(signal.ssi_band, out as u32);
    }
}

/// Has a descriptor send this process signals, of the chosen number or (0) as usual.
fn tell(fd: RawFd, signal: i32) {
    // SAFETY: Always safe.
    unsafe {
        let set = |command, value: i32| assert_eq!(libc::fcntl(fd, command, value), 0);
        set(libc::F_SETOWN, libc::getpid());
        set(F_SETSIG, signal);
        set(libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK);
    }
}

fn writable(fd: RawFd) -> bool {
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: One entry, and it is ours.
    let r = unsafe { libc::poll(&mut entry, 1, 0) };
    assert!(r >= 0, "poll: {:?}", Errno::last());
    entry.revents & libc::POLLOUT != 0
}

/// A sender whose sends may have to wait, and who makes room for them.
trait Pair {
    fn fd(&self) -> RawFd;
    /// Sends something, and insists that it must wait.
    fn put_off(&self);
    /// Makes room.
    fn make_room(&self);
    /// Sends something, for which there is room, so that there is none any more.
    fn fill(&self);
}

/// On a bus: what is full is the queue of a listener.
struct Bus {
    sender: Sock,
    reader: Sock,
}

impl Bus {
    fn new() -> Bus {
        let bus = fresh_bus();
        let reader = full_listener(&bus, "$.A");
        let sender = Sock::on(&bus);
        Bus { sender, reader }
    }
}

impl Pair for Bus {
    fn fd(&self) -> RawFd {
        self.sender.as_raw_fd()
    }

    fn put_off(&self) {
        fails!(EAGAIN, self.sender.try_send_with("$.A", b"w", WAIT));
    }

    fn make_room(&self) {
        self.reader.recv().unwrap();
    }

    fn fill(&self) {
        self.sender.send_with("$.A", b"w", WAIT).unwrap();
    }
}

/// A pair of AF_UNIX sockets: what is full is the sender's buffer.
struct Unix {
    sender: UnixDatagram,
    reader: UnixDatagram,
}

impl Unix {
    fn new() -> Unix {
        let (sender, reader) = UnixDatagram::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        reader.set_nonblocking(true).unwrap();
        let unix = Unix { sender, reader };
        unix.fill();
        unix
    }

    /// Of a few that fit, so that the length of the reader's queue is no limit.
    fn send(&self) -> std::io::Result<usize> {
        self.sender.send(&[0; 60_000])
    }
}

impl Pair for Unix {
    fn fd(&self) -> RawFd {
        self.sender.as_raw_fd()
    }

    fn put_off(&self) {
        let error = self.send().expect_err("a full buffer");
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    }

    fn make_room(&self) {
        while self.reader.recv(&mut [0; 64]).is_ok() {}
    }

    fn fill(&self) {
        // Not until it fails, which would ask for a signal.
        let mut size = 0_i32;
        let mut len = mem::size_of_val(&size) as u32;
        // SAFETY: `size` is as long as said.
        let r = unsafe {
            libc::getsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                ptr::from_mut(&mut size).cast(),
                &mut len,
            )
        };
        assert_eq!(r, 0);
        let mut queued = 0_i32;
        while queued < size {
            self.send().unwrap();
            // SAFETY: `queued` is a valid place for the result.
            let r = unsafe { libc::ioctl(self.fd(), libc::TIOCOUTQ, &mut queued) };
            assert_eq!(r, 0);
        }
    }
}

/// Does the same with both.
fn with_both(f: impl Fn(&dyn Pair, &mut Signals)) {
    let mut signals = Signals::new();
    eprintln!("on AF_UNIX:");
    f(&Unix::new(), &mut signals);
    signals.none();
    eprintln!("on a bus:");
    f(&Bus::new(), &mut signals);
    signals.none();
}

/// After `EAGAIN` a `SIGIO` comes when there is room.
fn sigio_tells_of_room() {
    with_both(|pair, signals| {
        tell(pair.fd(), 0);
        pair.put_off();
        assert!(!writable(pair.fd()));
        signals.none();
        pair.make_room();
        assert!(writable(pair.fd()));
        let signal = signals.next(LONG).expect("a signal");
        assert_eq!(signal.ssi_signo, libc::SIGIO as u32);
        // A second one that waits is one with it.
        while signals.next(0).is_some() {}
    });
}

/// `F_SETSIG` chooses another one, which says for which descriptor it is (`si_fd`) and why (`si_code`, `si_band`).
fn chosen_signal_tells_which_socket_and_why() {
    with_both(|pair, signals| {
        tell(pair.fd(), chosen());
        pair.put_off();
        signals.none();
        pair.make_room();
        signals.room_of(pair.fd());
    });
}

/// Who was not told `EAGAIN`, and did not ask `poll()`, is told nothing.
fn room_without_eagain_is_no_signal() {
    with_both(|pair, _| {
        tell(pair.fd(), chosen());
        pair.make_room();
        assert!(writable(pair.fd()));
    });
}

/// Each `EAGAIN` is answered by a signal, and room that comes without one is not.
fn each_eagain_has_its_signal() {
    with_both(|pair, signals| {
        tell(pair.fd(), chosen());
        for _ in 0..3 {
            pair.put_off();
            pair.make_room();
            signals.room_of(pair.fd());
            signals.none();
            pair.fill();
            signals.none();
            pair.make_room();
            signals.none();
            pair.fill();
        }
    });
}

/// Who has seen by `poll()` that it cannot send is told as well.
fn polling_asks_for_a_signal_too() {
    with_both(|pair, signals| {
        pair.put_off();
        tell(pair.fd(), chosen());
        assert!(!writable(pair.fd()));
        pair.make_room();
        signals.room_of(pair.fd());
    });
}

/// A bus on which a sender of signals was told `EAGAIN` for `$.A`.
fn put_off(bus: &str, flags: u32) -> Sock {
    let sock = Sock::on(bus);
    tell(sock.as_raw_fd(), chosen());
    fails!(EAGAIN, sock.send_with("$.A", b"w", flags | WAIT));
    sock
}

/// A full queue that goes is one less to wait for, in whatever way it goes.
fn target_that_goes_is_a_signal() {
    let mut signals = Signals::new();
    let ways: [fn(Sock); 3] = [
        |sock| drop(sock),
        |sock| {
            sock.unlisten("$.A").unwrap();
        },
        |sock| {
            sock.shutdown(libc::SHUT_RD).unwrap();
        },
    ];
    for way in ways {
        let bus = fresh_bus();
        let full = full_listener(&bus, "$.A");
        let sender = put_off(&bus, 0);
        signals.none();
        way(full);
        signals.room_of(sender.as_raw_fd());
        assert!(writable(sender.as_raw_fd()));
        signals.none();
    }
}

/// So is a queue that may be longer.
fn raised_limit_is_a_signal() {
    let mut signals = Signals::new();
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let sender = put_off(&bus, 0);
    full.set_queue_len(2);
    signals.room_of(sender.as_raw_fd());
}

/// And room of a replier.
fn room_of_a_replier_is_a_signal() {
    let mut signals = Signals::new();
    let bus = fresh_bus();
    let full = full_replier(&bus, "$.A");
    let sender = put_off(&bus, ASK);
    full.recv().unwrap();
    signals.room_of(sender.as_raw_fd());
    sender.send_with("$.A", b"w", ASK | WAIT).unwrap();
}

/// Each socket that was put off for that queue has a signal, once there is room for all of them.
fn every_sender_has_a_signal() {
    let mut signals = Signals::new();
    let bus = fresh_bus();
    let full = full_listener(&bus, "$.A");
    let senders: Vec<Sock> = (0..3).map(|_| put_off(&bus, 0)).collect();
    full.recv().unwrap();
    full.set_queue_len(10);
    let mut told: Vec<RawFd> = (0..3)
        .map(|_| signals.next(LONG).expect("a signal").ssi_fd)
        .collect();
    told.sort_unstable();
    let all: Vec<RawFd> = senders.iter().map(AsRawFd::as_raw_fd).collect();
    assert_eq!(told, all);
    signals.none();
}

/// A queue that is full for want of its user's budget has room when that comes back anywhere.
fn budget_that_comes_back_is_a_signal() {
    const USER: u32 = 4005;
    let _budget = Sysctl::set("user_bytes", 64 << 10);
    let mut signals = Signals::new();
    let (here, there) = (fresh_bus(), fresh_bus());
    let [target, elsewhere] = [&here, &there].map(|bus| {
        let sock = as_user(USER, || Sock::on(bus));
        sock.set_queue_len(1000);
        sock.listen("$.A").unwrap();
        sock
    });
    let feeder = Sock::on(&there);
    while elsewhere.lost() == 0 {
        feeder.send_to("$.A", &[1; 1024]).unwrap();
    }
    let sender = Sock::on(&here);
    tell(sender.as_raw_fd(), chosen());
    fails!(EAGAIN, sender.send_with("$.A", &[1; 32 << 10], WAIT));
    signals.none();
    elsewhere.drain();
    signals.room_of(sender.as_raw_fd());
    sender.send_with("$.A", &[1; 32 << 10], WAIT).unwrap();
    target.recv().unwrap();
    silent!(target);
}

/// A message that comes is a signal of another kind.
fn message_is_a_signal() {
    let mut signals = Signals::new();
    let bus = fresh_bus();
    let (sender, reader) = (Sock::on(&bus), Sock::on(&bus));
    let (near, far) = UnixDatagram::pair().unwrap();
    reader.listen("$.A").unwrap();
    tell(far.as_raw_fd(), chosen());
    tell(reader.as_raw_fd(), chosen());
    near.send(b"x").unwrap();
    sender.send_to("$.A", b"x").unwrap();
    for fd in [far.as_raw_fd(), reader.as_raw_fd()] {
        let signal = signals.next(LONG).expect("a signal");
        assert_eq!((signal.ssi_code, signal.ssi_fd), (POLL_IN, fd));
        let read = libc::POLLIN | libc::POLLRDNORM;
        assert_eq!(signal.ssi_band, read as u32);
    }
    signals.none();
}
