// SPDX-License-Identifier: GPL-2.0
//! Descriptors that come with a message (`SCM_RIGHTS`): who gets them, and which are refused.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;

use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Cmsg;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Msg;
use kbus_selftests::sys::Out;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    each_listener_gets_its_own only_who_asked_gets_them unasked_copies_hold_nothing
    request_for_the_replier_alone reply_for_the_requester_alone asked_for_by_either_option
    asked_too_late asked_no_more many_in_order outlive_the_sender unix_sockets_are_refused
    kbus_sockets_are_refused io_uring_is_refused other_files_are_passed epoll_makes_no_circle
    refusal_keeps_nothing bad_descriptors malformed_rights no_descriptors_at_all precedence_of_refusal
}

const SO_PASSRIGHTS: i32 = 83;

/// A pipe, of which what is read tells who still holds the other end.
pub(super) struct Pipe {
    read: File,
    write: Option<OwnedFd>,
}

impl Pipe {
    pub(super) fn new() -> Pipe {
        let mut fds = [0; 2];
        // SAFETY: Room for two numbers.
        let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        assert_eq!(r, 0, "pipe: {:?}", Errno::last());
        // SAFETY: Both are new and nobody else's.
        let [read, write] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Pipe {
            read: File::from(read),
            write: Some(write),
        }
    }

    pub(super) fn end(&self) -> RawFd {
        self.write
            .as_ref()
            .expect("the end to write to")
            .as_raw_fd()
    }

    /// Closes our own end to write to.
    pub(super) fn close(&mut self) {
        self.write = None;
    }

    /// Whether nobody can write to it any more.
    pub(super) fn is_over(&self) -> bool {
        let mut entry = libc::pollfd {
            fd: self.read.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: One entry, and it is ours.
        let r = unsafe { libc::poll(&mut entry, 1, 0) };
        assert!(r >= 0, "poll: {:?}", Errno::last());
        entry.revents & libc::POLLHUP != 0
    }

    pub(super) fn text(&mut self) -> String {
        let mut bytes = [0; 64];
        let len = self.read.read(&mut bytes).expect("something in the pipe");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }
}

pub(super) fn say(fd: &OwnedFd, text: &str) {
    let mut file = File::from(fd.try_clone().expect("dup"));
    file.write_all(text.as_bytes())
        .expect("writing to what was passed");
}

pub(super) fn asking(bus: &str) -> Sock {
    let sock = Sock::on(bus);
    sock.set_socket(SO_PASSRIGHTS, 1).unwrap();
    sock
}

pub(super) fn listener(bus: &str) -> Sock {
    let sock = asking(bus);
    sock.listen("$.A").unwrap();
    sock
}

pub(super) fn send(sock: &Sock, fds: &[RawFd]) -> Res<usize> {
    sock.send_msg(&Out::to("$.A", b"x").with(Cmsg::all_rights(fds)))
}

pub(super) fn request(sock: &Sock, fd: RawFd) -> u64 {
    let out = Out::to("$.A", b"").with(Cmsg::rights(fd));
    sock.send_msg(&out.with(Cmsg::send(uapi::KBUS_REQUEST, 0, 0)))
        .unwrap();
    sock.last_sent()
}

/// How many descriptors this process has.
pub(super) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .count()
}

pub(super) fn limit_descriptors(to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: 4096,
    };
    // SAFETY: The limit is a whole structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

pub(super) fn without_any(msg: &Msg) {
    assert_eq!(msg.cmsg(libc::SOL_SOCKET, libc::SCM_RIGHTS), None);
    assert!(msg.is(uapi::KBUS_HAD_FDS));
}

/// An announcement's descriptors go to each listener, who has each his own.
fn each_listener_gets_its_own() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), listener(&bus), listener(&bus));
    let mut pipe = Pipe::new();
    let before = open_descriptors();
    send(&a, &[pipe.end()]).unwrap();
    pipe.close();
    for (sock, text) in [(&b, "from b"), (&c, "from c")] {
        assert!(!pipe.is_over());
        let msg = sock.recv().unwrap();
        assert!(!msg.is(uapi::KBUS_HAD_FDS));
        let fds = msg.rights();
        assert_eq!(fds.len(), 1);
        say(&fds[0], text);
        assert_eq!(pipe.text(), text);
    }
    assert!(pipe.is_over());
    assert_eq!(open_descriptors(), before - 1);
}

/// Who did not ask gets none, and `KBUS_HAD_FDS` says that there were some.
fn only_who_asked_gets_them() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), listener(&bus), Sock::on(&bus));
    c.listen("$.A").unwrap();
    let pipe = Pipe::new();
    send(&a, &[pipe.end()]).unwrap();
    let before = open_descriptors();
    without_any(&c.recv().unwrap());
    assert_eq!(open_descriptors(), before);
    assert_eq!(b.recv().unwrap().rights().len(), 1);
    a.send_to("$.A", b"").unwrap();
    assert!(!b.recv().unwrap().is(uapi::KBUS_HAD_FDS));
}

/// A copy whose reader does not get the descriptors does not keep them open either.
fn unasked_copies_hold_nothing() {
    let bus = fresh_bus();
    let (a, c) = (Sock::on(&bus), Sock::on(&bus));
    c.listen("$.A").unwrap();
    let mut pipe = Pipe::new();
    send(&a, &[pipe.end()]).unwrap();
    pipe.close();
    assert!(pipe.is_over());
    without_any(&c.recv().unwrap());
}

/// Those of a request go to the replier; listeners' copies show `KBUS_HAD_FDS` and keep nothing.
fn request_for_the_replier_alone() {
    let bus = fresh_bus();
    let (a, b, c) = (Sock::on(&bus), asking(&bus), listener(&bus));
    b.replier("$.A").unwrap();
    b.listen("$.A").unwrap();
    let mut pipe = Pipe::new();
    request(&a, pipe.end());
    pipe.close();
    let msg = b.recv().unwrap();
    assert!(msg.must_reply() && !msg.is(uapi::KBUS_HAD_FDS));
    let fds = msg.rights();
    say(&fds[0], "hello");
    assert_eq!(pipe.text(), "hello");
    assert!(!pipe.is_over());
    drop(fds);
    assert!(pipe.is_over());
    without_any(&b.recv().unwrap());
    without_any(&c.recv().unwrap());
}

/// Those of a reply go to the requester.
fn reply_for_the_requester_alone() {
    let bus = fresh_bus();
    let (a, b, c) = (listener(&bus), Sock::on(&bus), listener(&bus));
    b.replier("$.A").unwrap();
    let id = a.request("$.A", b"").unwrap();
    let ask = b.recv().unwrap();
    assert_eq!(a.recv().unwrap().info.id, id);
    assert_eq!(c.recv().unwrap().info.id, id);
    let mut pipe = Pipe::new();
    let reply = Out::to(&ask.from, b"").with(Cmsg::rights(pipe.end()));
    b.send_msg(&reply).unwrap();
    pipe.close();
    let msg = a.recv().unwrap();
    assert_eq!(msg.info.in_reply_to, id);
    drop(msg.rights().pop().expect("a descriptor"));
    assert!(pipe.is_over());
    // The requester's copy as a listener, and another's.
    without_any(&a.recv().unwrap());
    without_any(&c.recv().unwrap());
}

/// `SO_PASSRIGHTS` and a bit of `KBUS_PASS` are the same; off by default.
fn asked_for_by_either_option() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let pipe = Pipe::new();
    let pass = || sock.get_u32(uapi::KBUS_PASS).unwrap();
    assert_eq!(pass(), 0);
    let gets = || {
        send(&sock, &[pipe.end()]).unwrap();
        sock.recv().unwrap().rights().len()
    };
    assert_eq!(gets(), 0);
    sock.set_socket(SO_PASSRIGHTS, 1).unwrap();
    assert_eq!((pass(), gets()), (uapi::KBUS_PASS_RIGHTS, 1));
    sock.set_u32(uapi::KBUS_PASS, 0).unwrap();
    assert_eq!((pass(), gets()), (0, 0));
    sock.set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_RIGHTS)
        .unwrap();
    assert_eq!((pass(), gets()), (uapi::KBUS_PASS_RIGHTS, 1));
    sock.set_socket(SO_PASSRIGHTS, 0).unwrap();
    assert_eq!((pass(), gets()), (0, 0));
}

/// One has to ask before the message is sent.
fn asked_too_late() {
    let sock = Sock::on(&fresh_bus());
    sock.listen("$.A").unwrap();
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    sock.set_socket(SO_PASSRIGHTS, 1).unwrap();
    assert!(pipe.is_over());
    without_any(&sock.recv().unwrap());
}

/// Who does not want them any more does not get what is in the queue.
fn asked_no_more() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    send(&sock, &[pipe.end()]).unwrap();
    pipe.close();
    sock.set_socket(SO_PASSRIGHTS, 0).unwrap();
    let before = open_descriptors();
    without_any(&sock.recv().unwrap());
    assert_eq!(open_descriptors(), before);
    assert!(pipe.is_over());
}

/// As many as 253 go with one message, in their order.
fn many_in_order() {
    let sock = listener(&fresh_bus());
    let pipes: Vec<Pipe> = (0..5).map(|_| Pipe::new()).collect();
    let fds: Vec<RawFd> = (0..253).map(|n| pipes[n % 5].end()).collect();
    send(&sock, &fds).unwrap();
    let got = sock.recv().unwrap().rights();
    assert_eq!(got.len(), 253);
    let inode = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    for (fd, from) in got.iter().zip(&fds) {
        assert_eq!(inode(fd.as_raw_fd()), inode(*from));
    }
}

/// They stay good when their sender has died.
fn outlive_the_sender() {
    let bus = fresh_bus();
    let b = listener(&bus);
    let mut pipe = Pipe::new();
    let child = Child::fork(|| send(&Sock::on(&bus), &[pipe.end()]).map(drop).unwrap());
    child.join();
    pipe.close();
    let fds = b.recv().unwrap().rights();
    say(&fds[0], "still");
    assert_eq!(pipe.text(), "still");
}

/// AF_UNIX sockets are refused: what collects the lost ones of them does not look into our queues.
fn unix_sockets_are_refused() {
    let sock = listener(&fresh_bus());
    let (near, _far) = UnixDatagram::pair().unwrap();
    let path = format!("/tmp/kbus-rights-{}", std::process::id());
    let stream = UnixListener::bind(&path).unwrap();
    fs::remove_file(path).unwrap();
    for fd in [near.as_raw_fd(), stream.as_raw_fd()] {
        fails!(EOPNOTSUPP, send(&sock, &[fd]));
    }
    silent!(sock);
}

/// So are our own, of both forms.
fn kbus_sockets_are_refused() {
    let sock = listener(&fresh_bus());
    let other = Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0).unwrap();
    let literal = uapi::PROTO_KBUS as i32;
    let literal = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, literal).unwrap();
    for fd in [sock.as_raw_fd(), other.as_raw_fd(), literal.as_raw_fd()] {
        fails!(EOPNOTSUPP, send(&sock, &[fd]));
    }
    silent!(sock);
}

/// So is io_uring, which may hold any file.
fn io_uring_is_refused() {
    let sock = listener(&fresh_bus());
    let mut parameters = [0_u64; 15];
    // SAFETY: The parameters are as large as the kernel's structure, and zero.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) };
    assert!(fd >= 0, "io_uring_setup: {:?}", Errno::last());
    // SAFETY: It is new and nobody else's.
    let ring = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    fails!(EOPNOTSUPP, send(&sock, &[ring.as_raw_fd()]));
    silent!(sock);
}

/// Everything else may be passed: files, folders, `O_PATH`, epoll, other sockets.
fn other_files_are_passed() {
    let sock = listener(&fresh_bus());
    // SAFETY: Always safe; the path is NUL-terminated.
    let [epoll, path, event] = unsafe {
        [
            libc::epoll_create1(0),
            libc::open(c"/proc/self/exe".as_ptr(), libc::O_PATH),
            libc::eventfd(0, 0),
        ]
    };
    let (dir, udp) = (
        File::open("/").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    for fd in [epoll, path, event, dir.as_raw_fd(), udp.as_raw_fd()] {
        assert!(fd >= 0);
        send(&sock, &[fd]).unwrap();
        assert_eq!(sock.recv().unwrap().rights().len(), 1);
    }
}

/// An epoll instance that waits in the queue of a socket it watches keeps neither of them.
fn epoll_makes_no_circle() {
    let bus = fresh_bus();
    let (a, b) = (Sock::on(&bus), listener(&bus));
    // SAFETY: Always safe; a descriptor that is new is nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    let (ep, fd) = (epoll.as_raw_fd(), b.as_raw_fd());
    // SAFETY: The event is a whole structure.
    let r = unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut event) };
    assert_eq!(r, 0, "epoll_ctl: {:?}", Errno::last());
    send(&a, &[ep]).unwrap();
    drop(epoll);
    assert_eq!(a.bus_info().unwrap().members, 2);
    drop(b);
    assert_eq!(a.bus_info().unwrap().members, 1);
}

/// With one that is refused all are, and none is kept.
fn refusal_keeps_nothing() {
    let sock = listener(&fresh_bus());
    let mut pipe = Pipe::new();
    fails!(EOPNOTSUPP, send(&sock, &[pipe.end(), sock.as_raw_fd()]));
    fails!(EBADF, send(&sock, &[pipe.end(), -1]));
    pipe.close();
    assert!(pipe.is_over());
    silent!(sock);
}

/// What is not open is `EBADF`.
fn bad_descriptors() {
    let sock = listener(&fresh_bus());
    for fd in [-1, i32::MIN, 1000, i32::MAX] {
        fails!(EBADF, send(&sock, &[fd]));
    }
    silent!(sock);
}

/// More than 253, a part of a number, or two lists, are `EINVAL`.
fn malformed_rights() {
    let sock = listener(&fresh_bus());
    let pipe = Pipe::new();
    fails!(EINVAL, send(&sock, &[pipe.end(); 254]));
    for len in [1, 3, 5] {
        let mut cmsg = Cmsg::rights(pipe.end());
        cmsg.data.resize(len, 0);
        fails!(EINVAL, sock.send_msg(&Out::to("$.A", b"").with(cmsg)));
    }
    let cmsg = Cmsg::rights(pipe.end());
    let twice = Out::to("$.A", b"").with(cmsg.clone()).with(cmsg);
    fails!(EINVAL, sock.send_msg(&twice));
    silent!(sock);
}

/// An empty list is none.
fn no_descriptors_at_all() {
    let sock = listener(&fresh_bus());
    send(&sock, &[]).unwrap();
    let msg = sock.recv().unwrap();
    assert_eq!((msg.cmsgs.len(), msg.is(uapi::KBUS_HAD_FDS)), (1, false));
}

/// A refused descriptor is told after what is malformed, and before the rest.
fn precedence_of_refusal() {
    let sock = listener(&fresh_bus());
    let to =
        |address: &str, data: &[u8]| Out::to(address, data).with(Cmsg::rights(sock.as_raw_fd()));
    fails!(EBADMSG, sock.send_msg(&to("$..A", b"")));
    fails!(EOPNOTSUPP, sock.send_msg(&to("$.A", &[0; 100_000])));
    fails!(EOPNOTSUPP, sock.send_msg(&to("$.KBUS", b"")));
    fails!(EOPNOTSUPP, Sock::new().send_msg(&to("$.A", b"")));
}
