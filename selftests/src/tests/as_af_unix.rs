// SPDX-License-Identifier: GPL-2.0
//! What programs and libraries do to every datagram socket, beside an AF_UNIX socket in the same
//! run.

use std::ffi::CStr;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

use kbus_selftests::process::become_user;
use kbus_selftests::process::skip;
use kbus_selftests::process::sleep_ms;
use kbus_selftests::process::Child;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Errno;
use kbus_selftests::sys::Res;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    msg_flags_of_a_send msg_oob_is_urgent_here sendfile_sends splice_sends splice_receives
    neutral_options_are_taken neutral_options_of_an_unprivileged_user values_are_checked
    promises_are_refused nothing_is_unsent timestamps_are_no_matter_of_the_machine
    error_of_recvmmsg_comes_first error_of_recvmmsg_comes_once
}

/// What libc does not have.
const SO_PASSPIDFD: i32 = 76;
const SO_PASSRIGHTS: i32 = 83;
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;

/// A KBUS socket and an AF_UNIX one. What either sends comes back to it.
struct Both {
    kbus: Sock,
    unix: Sock,
}

impl Both {
    fn new() -> Both {
        let kbus = Sock::on(&fresh_bus());
        kbus.listen("$.A").unwrap();
        kbus.connect("$.A").unwrap();
        let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        // Autobind gives it a name.
        unix.bind_raw(&(libc::AF_UNIX as u16).to_ne_bytes())
            .unwrap();
        unix.connect_raw(&unix.name().unwrap()).unwrap();
        Both { kbus, unix }
    }

    /// Insists that both answer in the same way, and returns what they say.
    #[track_caller]
    fn agree<R: PartialEq + std::fmt::Debug>(&self, what: &str, call: impl Fn(&Sock) -> R) -> R {
        let (kbus, unix) = (call(&self.kbus), call(&self.unix));
        assert_eq!(kbus, unix, "{what}: KBUS, and AF_UNIX");
        kbus
    }
}

/// The result of a call that returns a number.
fn result(r: isize) -> Res<usize> {
    usize::try_from(r).map_err(|_| Errno::last())
}

fn send(sock: &Sock, data: &[u8], flags: i32) -> Res<usize> {
    // SAFETY: Pointer and length are those of a slice.
    result(unsafe { libc::send(sock.as_raw_fd(), data.as_ptr().cast(), data.len(), flags) })
}

/// Each flag of a send but `MSG_OOB` is taken, or refused, as AF_UNIX does: nearly all are taken
/// and ignored.
fn msg_flags_of_a_send() {
    let both = Both::new();
    for flag in (1..32).map(|bit| 1_i32 << bit) {
        let what = format!("flag {flag:#x}");
        let sent = both.agree(&what, |sock| send(sock, b"x", flag | libc::MSG_DONTWAIT));
        both.agree(&what, Sock::drain);
        for known in [
            libc::MSG_MORE,
            libc::MSG_CONFIRM,
            libc::MSG_DONTROUTE,
            libc::MSG_WAITALL,
            libc::MSG_TRUNC,
            libc::MSG_EOR,
            libc::MSG_FASTOPEN,
        ] {
            assert!(flag != known || sent == Ok(1), "{what}: {sent:?}");
        }
    }
}

/// AF_UNIX refuses `MSG_OOB` of datagrams; here it makes a message urgent.
fn msg_oob_is_urgent_here() {
    let Both { kbus, unix } = Both::new();
    fails!(EOPNOTSUPP, send(&unix, b"x", libc::MSG_OOB));
    send(&kbus, b"1", 0).unwrap();
    send(&kbus, b"2", libc::MSG_OOB | libc::MSG_MORE).unwrap();
    assert_eq!(kbus.drain(), [b"2", b"1"]);
}

/// A file that has this in it, at its beginning.
fn file_of(data: &[u8]) -> File {
    // SAFETY: The name ends in NUL, and the descriptor is new and nobody else's.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"kbus".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create: {:?}", Errno::last());
        File::from(OwnedFd::from_raw_fd(fd))
    };
    file.write_all(data).unwrap();
    file
}

/// `sendfile()` sends a file, cut into the same messages.
fn sendfile_sends() {
    let both = Both::new();
    for len in [0, 1, 100, 4096, 10_000, 65536, 100_000] {
        let data: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let file = file_of(&data);
        let what = format!("{len} bytes");
        let sent = both.agree(&what, |sock| {
            let mut offset = 0;
            // SAFETY: Both descriptors are open, and `offset` is ours.
            result(unsafe { libc::sendfile(sock.as_raw_fd(), file.as_raw_fd(), &mut offset, len) })
        });
        assert_eq!(sent, Ok(len), "{what}");
        let got = both.agree(&what, Sock::drain);
        assert_eq!(got.concat(), data, "{what}");
    }
}

/// A pipe: the end to read, and that to write.
fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: There is room for both descriptors, which are new and nobody else's.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        let [out, into] = ends.map(|fd| OwnedFd::from_raw_fd(fd));
        (out.into(), into.into())
    }
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, len: usize, flags: u32) -> Res<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: Both descriptors are open, and there are no offsets.
    result(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, flags) })
}

/// `splice()` sends what is in a pipe, also where more is said to come.
fn splice_sends() {
    let both = Both::new();
    for flags in [0, libc::SPLICE_F_MORE, libc::SPLICE_F_MOVE] {
        let sent = both.agree("splice() to a socket", |sock| {
            let (out, mut into) = pipe();
            into.write_all(b"in a pipe").unwrap();
            splice(&out, sock, 9, flags)
        });
        assert_eq!(sent, Ok(9));
        assert_eq!(both.agree("what was sent", Sock::drain), [b"in a pipe"]);
    }
}

/// And it receives.
fn splice_receives() {
    let both = Both::new();
    let got = both.agree("splice() from a socket", |sock| {
        let (mut out, into) = pipe();
        send(sock, b"to a pipe", 0).unwrap();
        send(sock, b"next", 0).unwrap();
        let spliced = splice(sock, &into, 100, libc::SPLICE_F_NONBLOCK);
        drop(into);
        let mut data = Vec::new();
        out.read_to_end(&mut data).unwrap();
        (spliced, data)
    });
    assert_eq!(got, (Ok(9), b"to a pipe".to_vec()));
    assert_eq!(both.agree("what is left", Sock::drain), [b"next"]);
}

/// What is taken as AF_UNIX does: what socket libraries set unasked, and what has an effect here.
const TAKEN: [i32; 26] = [
    libc::SO_DEBUG,
    libc::SO_REUSEADDR,
    libc::SO_DONTROUTE,
    libc::SO_BROADCAST,
    libc::SO_SNDBUF,
    libc::SO_RCVBUF,
    libc::SO_KEEPALIVE,
    libc::SO_OOBINLINE,
    libc::SO_NO_CHECK,
    libc::SO_PRIORITY,
    libc::SO_LINGER,
    libc::SO_BSDCOMPAT,
    libc::SO_REUSEPORT,
    libc::SO_RCVLOWAT,
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_TIMESTAMP,
    libc::SO_SNDBUFFORCE,
    libc::SO_RCVBUFFORCE,
    libc::SO_TIMESTAMPNS,
    libc::SO_MARK,
    libc::SO_RXQ_OVFL,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPNS_NEW,
    66, // SO_RCVTIMEO_NEW
    67, // SO_SNDTIMEO_NEW
];

/// These are taken too, and told by `KBUS_PASS`: the core tells of them for AF_UNIX alone.
const TOLD_ELSEWHERE: [i32; 3] = [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSRIGHTS];

/// Sets an option to 0, 1 and 2, as `int`, `struct linger` and `struct timeval`, and reads it back
/// each time.
fn tried(sock: &Sock, option: i32) -> Vec<(Res<()>, Res<Vec<u8>>)> {
    let values =
        [0_i32, 1, 2, 0].map(|value| [value.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat());
    let set = values.iter().map(|value| {
        let set = sock.set_at(libc::SOL_SOCKET, option, value);
        (set, sock.get_at(libc::SOL_SOCKET, option, &[0; 16]))
    });
    set.collect()
}

/// The options of `SOL_SOCKET` that AF_UNIX takes without any effect are taken here, and read back
/// the same.
fn neutral_options_are_taken() {
    for option in TAKEN {
        let both = Both::new();
        let tried = both.agree(&format!("option {option}"), |sock| tried(sock, option));
        // Of those that AF_UNIX knows: this one can be switched off, and on for no family but inet.
        let refused = tried.iter().filter(|(set, _)| set.is_err()).count();
        let refusals = if option == libc::SO_REUSEPORT { 2 } else { 0 };
        assert_eq!(refused, refusals, "option {option}: {tried:?}");
        // It is still a socket like others.
        send(&both.kbus, b"x", 0).unwrap();
        assert_eq!(both.kbus.drain(), [b"x"], "option {option}");
    }
}

/// What AF_UNIX refuses to a user without privilege is refused here.
fn neutral_options_of_an_unprivileged_user() {
    Child::fork(|| {
        become_user(1000, 1000);
        for option in TAKEN {
            let both = Both::new();
            both.agree(&format!("option {option}"), |sock| tried(sock, option));
        }
        let Both { kbus, .. } = Both::new();
        fails!(EACCES, kbus.set_socket(libc::SO_DEBUG, 1));
        fails!(EPERM, kbus.set_socket(libc::SO_MARK, 1));
        fails!(EPERM, kbus.set_socket(libc::SO_PRIORITY, 7));
    })
    .join();
}

/// Values that are too short, or cannot be read, are refused in the same way.
fn values_are_checked() {
    let both = Both::new();
    for option in TAKEN {
        let short = both.agree(&format!("short value of option {option}"), |sock| {
            sock.set_at(libc::SOL_SOCKET, option, &[1, 0])
        });
        assert_eq!(short, Err(Errno(libc::EINVAL)), "option {option}");
        let bad = both.agree(&format!("bad value of option {option}"), |sock| {
            let bad = ptr::without_provenance::<libc::c_void>(1);
            // SAFETY: The kernel finds out that nothing can be read there.
            let r =
                unsafe { libc::setsockopt(sock.as_raw_fd(), libc::SOL_SOCKET, option, bad, 16) };
            result(r as isize)
        });
        assert_eq!(bad, Err(Errno(libc::EFAULT)), "option {option}");
    }
}

/// Options that promise what is not done here are `EOPNOTSUPP`. There is no other option that
/// AF_UNIX takes and KBUS does not.
fn promises_are_refused() {
    const REFUSED: [(i32, &str); 27] = [
        (25, "SO_BINDTODEVICE"),
        (26, "SO_ATTACH_FILTER"),
        (27, "SO_DETACH_FILTER"),
        (37, "SO_TIMESTAMPING"),
        (41, "SO_WIFI_STATUS"),
        (42, "SO_PEEK_OFF"),
        (43, "SO_NOFCS"),
        (44, "SO_LOCK_FILTER"),
        (45, "SO_SELECT_ERR_QUEUE"),
        (46, "SO_BUSY_POLL"),
        (47, "SO_MAX_PACING_RATE"),
        (49, "SO_INCOMING_CPU"),
        (50, "SO_ATTACH_BPF"),
        (53, "SO_CNX_ADVICE"),
        (60, "SO_ZEROCOPY"),
        (61, "SO_TXTIME"),
        (62, "SO_BINDTOIFINDEX"),
        (65, "SO_TIMESTAMPING_NEW"),
        (69, "SO_PREFER_BUSY_POLL"),
        (70, "SO_BUSY_POLL_BUDGET"),
        (72, "SO_BUF_LOCK"),
        (73, "SO_RESERVE_MEM"),
        (74, "SO_TXREHASH"),
        (75, "SO_RCVMARK"),
        (SO_PASSPIDFD, "SO_PASSPIDFD"),
        (82, "SO_RCVPRIORITY"),
        (85, "SO_RIGHTS_NOTRUNC"),
    ];
    let Both { kbus, unix } = Both::new();
    for (option, name) in REFUSED {
        for value in [0, 1] {
            let set = kbus.set_socket(option, value);
            assert_eq!(set, Err(Errno(libc::EOPNOTSUPP)), "{name} {value}");
        }
    }
    for option in 0..100 {
        let known = TAKEN.contains(&option)
            || TOLD_ELSEWHERE.contains(&option)
            || REFUSED.iter().any(|(refused, _)| *refused == option);
        if !known {
            let taken = [0, 1].map(|value| unix.set_socket(option, value).is_ok());
            assert_eq!(taken, [false; 2], "AF_UNIX takes option {option}");
            assert!(kbus.set_socket(option, 1).is_err(), "option {option}");
        }
    }
}

/// `ioctl()` that gives an `int`.
fn ioctl(sock: &Sock, request: u64) -> Res<i32> {
    let mut value = [-1_i32, 0, 0, 0];
    // SAFETY: There is room for more than the request gives.
    let r = unsafe { libc::ioctl(sock.as_raw_fd(), request as _, value.as_mut_ptr()) };
    result(r as isize).map(|_| value[0])
}

/// `SIOCOUTQ` is answered, as by AF_UNIX. What was sent has left the socket, so it is 0 always.
fn nothing_is_unsent() {
    const SIOCOUTQ: u64 = 0x5411;
    let both = Both::new();
    assert_eq!(both.agree("SIOCOUTQ", |sock| ioctl(sock, SIOCOUTQ)), Ok(0));
    assert_eq!(both.agree("a send", |sock| send(sock, b"12345", 0)), Ok(5));
    assert!(ioctl(&both.unix, SIOCOUTQ).is_ok());
    assert_eq!(ioctl(&both.kbus, SIOCOUTQ), Ok(0));
}

/// Counts the calls of a function of the kernel.
struct Calls {
    event: String,
}

const TRACEFS: &CStr = c"/tmp/kbus-tracefs";

impl Calls {
    /// To be called in a mount namespace of one's own.
    fn of(function: &str) -> Calls {
        let calls = Calls {
            event: format!("{function}_{}", std::process::id()),
        };
        let probe = format!("p:kbus/{} {function}\n", calls.event);
        calls.write("kprobe_events", &probe);
        calls.write(&format!("events/kbus/{}/enable", calls.event), "1");
        calls
    }

    fn path(file: &str) -> String {
        format!("{}/{file}", TRACEFS.to_str().unwrap())
    }

    fn write(&self, file: &str, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(Calls::path(file))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn count(&self) -> u64 {
        let profile = fs::read_to_string(Calls::path("kprobe_profile")).unwrap();
        let mut lines = profile.lines().map(|line| line.split_whitespace());
        let line = lines.find_map(|mut words| (words.next() == Some(&self.event)).then_some(words));
        line.and_then(|mut words| words.next())
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.write(&format!("events/kbus/{}/enable", self.event), "0");
        self.write("kprobe_events", &format!("-:kbus/{}\n", self.event));
    }
}

/// Makes it possible to count calls; skips where that cannot be had.
fn mount_tracefs() {
    // SAFETY: All strings end in NUL.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        libc::mkdir(TRACEFS.as_ptr(), 0o700);
        let kind = c"tracefs".as_ptr();
        if libc::mount(kind, TRACEFS.as_ptr(), kind, 0, ptr::null()) != 0 {
            skip("no tracefs here");
        }
    }
    if !fs::exists(Calls::path("kprobe_events")).unwrap() {
        skip("no kprobe events here");
    }
}

/// No form of `SO_TIMESTAMP`, nor `KBUS_PASS_TIME`, has the machine stamp all packets, as a UDP
/// socket does and an AF_UNIX one does not. `SIOCGSTAMP`, which would, is not there, as of AF_UNIX.
fn timestamps_are_no_matter_of_the_machine() {
    const SIOCGSTAMP: u64 = 0x8906;
    mount_tracefs();
    let (on, off) = (
        Calls::of("net_enable_timestamp"),
        Calls::of("net_disable_timestamp"),
    );
    let counts = || (on.count(), off.count());
    {
        let udp = Sock::from(OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()));
        udp.set_socket(libc::SO_TIMESTAMP, 1).unwrap();
    }
    // SAFETY: Always safe. The last of a UDP socket goes after a grace period.
    assert_eq!(counts().0, 1, "UDP");
    // The socket itself goes after a while.
    while counts() != (1, 1) {
        sleep_ms(10);
    }
    let forms = [
        libc::SO_TIMESTAMP,
        libc::SO_TIMESTAMPNS,
        SO_TIMESTAMP_NEW,
        SO_TIMESTAMPNS_NEW,
    ];
    for form in forms {
        let both = Both::new();
        both.agree("SO_TIMESTAMP", |sock| sock.set_socket(form, 1))
            .unwrap();
        for other in forms {
            let told = both.agree("what is told", |sock| sock.get_socket(other));
            assert!(other != form || told == Ok(1), "option {form}: {told:?}");
        }
        both.agree("SO_TIMESTAMP off", |sock| sock.set_socket(form, 0))
            .unwrap();
        both.kbus
            .set_u32(uapi::KBUS_PASS, uapi::KBUS_PASS_TIME)
            .unwrap();
    }
    assert_eq!(
        counts(),
        (1, 1),
        "calls that switch packet timestamps on, and off"
    );
    let both = Both::new();
    let stamp = both.agree("SIOCGSTAMP", |sock| ioctl(sock, SIOCGSTAMP));
    assert_eq!(stamp, Err(Errno(libc::ENOTTY)));
}

/// `recvmmsg()` of two messages, into one buffer that is good and one that is bad.
fn recv_two(sock: &Sock) -> Res<usize> {
    let mut buffer = [0_u8; 16];
    let mut parts = [buffer.as_mut_ptr(), ptr::without_provenance_mut(1)].map(|base| libc::iovec {
        iov_base: base.cast(),
        iov_len: 16,
    });
    // SAFETY: All zeros is a valid `mmsghdr`.
    let mut headers: [libc::mmsghdr; 2] = unsafe { mem::zeroed() };
    for (header, part) in headers.iter_mut().zip(&mut parts) {
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: What the headers point at is ours, but for the bad buffer, of which the kernel finds
    // out.
    result(unsafe {
        libc::recvmmsg(
            sock.as_raw_fd(),
            headers.as_mut_ptr(),
            2,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        ) as isize
    })
}

/// A `recvmmsg()` that ends at a bad buffer after some messages leaves its error for the next read,
/// whatever kind that is; after it all is well.
fn error_of_recvmmsg_comes_first() {
    let efault = Errno(libc::EFAULT);
    let peek = |sock: &Sock| sock.peek().map(|_| 1);
    let recv = |sock: &Sock| sock.recv().map(|_| 1);
    let several = |sock: &Sock| recv_two(sock);
    type Read<'a> = &'a dyn Fn(&Sock) -> Res<usize>;
    let reads: [Read<'_>; 3] = [&peek, &recv, &several];
    for read in reads {
        let both = Both::new();
        both.agree("sends", |sock| {
            (0..6).try_for_each(|_| send(sock, b"x", 0).map(drop))
        })
        .unwrap();
        assert_eq!(both.agree("recvmmsg()", recv_two), Ok(1));
        assert_eq!(both.agree("the next read", read), Err(efault));
        assert_eq!(both.agree("a good read", recv), Ok(1));
        assert_eq!(both.agree("another recvmmsg()", recv_two), Ok(1));
        // Where nobody has read it meanwhile, `SO_ERROR` tells.
        let told = |sock: &Sock| sock.get_socket(libc::SO_ERROR);
        assert_eq!(both.agree("SO_ERROR", told), Ok(libc::EFAULT));
        assert_eq!(both.agree("SO_ERROR again", told), Ok(0));
        assert_eq!(both.agree("the last read", recv), Ok(1));
    }
}

/// It comes before `EAGAIN` of an empty queue too, and takes no message with it.
fn error_of_recvmmsg_comes_once() {
    let sock = Both::new().kbus;
    for data in [b"1", b"2"] {
        send(&sock, data, 0).unwrap();
    }
    assert_eq!(recv_two(&sock), Ok(1));
    fails!(EFAULT, sock.recv());
    assert_eq!(sock.drain(), [b"2"]);
    silent!(sock);
}
