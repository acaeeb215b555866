// SPDX-License-Identifier: GPL-2.0
//! A kernel that finds no memory, on request: `/proc/thread-self/fail-nth`.
//!
//! [`Trial`] repeats a system call with the first, the second, … of its
//! allocations failing, until it comes through untouched, and looks at all that
//! can be seen each time. It does so once more with all that come after it
//! failing too: where the kernel falls back on another way to get memory, one
//! that fails alone is not noticed.

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::process::skip;
use crate::process::Sysctl;
use crate::sys::fresh_bus;
use crate::sys::uapi;
use crate::sys::Errno;
use crate::sys::Out;
use crate::sys::Res;
use crate::sys::Sock;

/// Where the kernel is told how allocations fail.
const DEBUGFS: &str = "/sys/kernel/debug";
/// More allocations than any call here can need.
const MANY: u32 = 20_000;
/// So many are tried one after another; of more, which are all alike, some.
const EACH: u32 = 50;

/// Which allocations of a call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The n-th alone. The kernel may have another way for it.
    Only(u32),
    /// The n-th and all that come after it.
    From(u32),
}

/// Has allocations of this thread fail.
#[derive(Debug)]
pub struct Faults {
    nth: File,
    all: File,
}

impl Faults {
    /// For the calling thread; skips where the kernel cannot do it, and insists that it does it where it can.
    pub fn here() -> Faults {
        let faults = Faults::filtered();
        // A kernel that takes the number and has nothing fail would pass every test.
        for which in [Which::Only(1), Which::From(1)] {
            // SAFETY: Always safe.
            let call = || match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) } {
                -1 => Err(Errno::last()),
                fd => Ok(fd),
            };
            let without_memory = (Err(Errno(libc::ENOMEM)), true);
            assert_eq!(faults.nth(which, call), without_memory, "{which:?}");
        }
        faults
    }

    /// For the calling thread, where it has been seen to work and [`OnlyOurs`] hides what is no call of the module.
    pub fn filtered() -> Faults {
        let open = |name: &str| {
            let path = format!("/proc/thread-self/{name}");
            let file = File::options().read(true).write(true).open(path);
            file.unwrap_or_else(|_| skip("no fault injection in this kernel"))
        };
        let faults = Faults {
            nth: open("fail-nth"),
            all: open("make-it-fail"),
        };
        for kind in ["failslab", "fail_page_alloc"] {
            set(kind, "task-filter", "Y");
            set(kind, "ignore-gfp-wait", "N");
            set(kind, "times", "-1");
            set(kind, "probability", "100");
            set(
                kind,
                "verbose",
                if long_form().is_some() { "2" } else { "0" },
            );
        }
        set("failslab", "cache-filter", "N");
        set("fail_page_alloc", "ignore-gfp-highmem", "N");
        set("fail_page_alloc", "min-order", "0");
        // Once, for what this itself needs for the first time.
        faults.nth(Which::From(1), || {});
        faults
    }

    /// Makes a call with these allocations failing; says whether it had as many.
    ///
    /// The call must not need memory for itself.
    pub fn nth<R>(&self, which: Which, call: impl FnOnce() -> R) -> (R, bool) {
        let (Which::Only(n) | Which::From(n)) = which;
        let (text, mut left) = (n.to_string(), [0; 16]);
        let arm = |text: &[u8]| self.nth.write_at(text, 0).expect("writing fail-nth");
        if which == Which::From(n) {
            // As long as there is a number, it alone counts.
            self.all_from_now_on();
        }
        arm(text.as_bytes());
        let result = call();
        let len = self.nth.read_at(&mut left, 0).expect("reading fail-nth");
        arm(b"0");
        self.all.write_at(b"0", 0).expect("writing make-it-fail");
        (result, left[..len].starts_with(b"0"))
    }

    /// Has all allocations fail until the thread ends.
    pub fn all_from_now_on(&self) {
        self.all.write_at(b"1", 0).expect("writing make-it-fail");
    }
}

/// What `N=` says: so many are tried one after another, and the console has the stack of each.
fn long_form() -> Option<u32> {
    std::env::var("N").ok().and_then(|n| n.parse().ok())
}

/// How far it is from this allocation to the next that is tried.
fn step(n: u32) -> u32 {
    match n < long_form().unwrap_or(EACH) {
        true => 1,
        false => n / 5,
    }
}

fn set(kind: &str, attribute: &str, value: &str) {
    let path = format!("{DEBUGFS}/{kind}/{attribute}");
    if fs::write(&path, value).is_err() {
        skip(&format!("{path} cannot be written"));
    }
}

/// Counts those allocations alone that a call of the module leads to, until it is dropped.
#[derive(Debug)]
pub struct OnlyOurs(());

impl Default for OnlyOurs {
    fn default() -> Self {
        OnlyOurs::new()
    }
}

impl OnlyOurs {
    /// Looks up where the module is.
    pub fn new() -> OnlyOurs {
        let modules = fs::read_to_string("/proc/modules").expect("/proc/modules");
        let line = modules.lines().find(|line| line.starts_with("kbus "));
        let words: Vec<&str> = line.expect("the module").split_whitespace().collect();
        let start = u64::from_str_radix(words[5].trim_start_matches("0x"), 16).expect("hex");
        let size: u64 = words[1].parse().expect("a size");
        assert_ne!(start, 0, "the kernel says where a module is");
        OnlyOurs::between(start, start + size);
        OnlyOurs(())
    }

    fn between(start: u64, end: u64) {
        for kind in ["failslab", "fail_page_alloc"] {
            set(kind, "require-start", &format!("{start:#x}"));
            set(kind, "require-end", &format!("{end:#x}"));
        }
    }
}

impl Drop for OnlyOurs {
    fn drop(&mut self) {
        OnlyOurs::between(0, u64::MAX);
    }
}

/// What one operation needs: sockets, and maybe more.
pub trait Scene {
    /// Its sockets, of which all is looked at that can be seen.
    fn socks(&self) -> Vec<&Sock>;
    /// What else must not change.
    fn more(&self) -> String {
        String::new()
    }
}

impl<const N: usize> Scene for [Sock; N] {
    fn socks(&self) -> Vec<&Sock> {
        self.iter().collect()
    }
}

/// With something that has no state.
impl<S: Scene, T> Scene for (S, T) {
    fn socks(&self) -> Vec<&Sock> {
        self.0.socks()
    }

    fn more(&self) -> String {
        self.0.more()
    }
}

/// What a call did that came through.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// What it returned.
    pub value: usize,
    /// The id of the last message before it.
    pub last: u64,
    /// Whether some of its allocations failed all the same.
    pub poor: bool,
}

/// Everything that can be seen of these sockets, of all others, and of the module.
pub fn state(scene: &impl Scene) -> String {
    let mut text = whole();
    for sock in scene.socks() {
        look(sock, &mut text);
    }
    text + &scene.more()
}

/// What is not of single sockets: the tables of sockets and bindings, how many references the
/// module has, how many sockets of any kind there are, open files.
fn whole() -> String {
    let mut text = String::new();
    for path in ["/proc/net/kbus", "/proc/net/kbus_bindings"] {
        text += &fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let first_line = |path: &str, with: &str| {
        let all = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = all.lines().find(|line| line.starts_with(with));
        line.unwrap_or_else(|| panic!("{with} in {path}"))
            .to_string()
    };
    let modules = first_line("/proc/modules", "kbus ");
    let users = modules.split_whitespace().nth(2).unwrap_or("?");
    let sockets = first_line("/proc/net/sockstat", "sockets:");
    let files = fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .count();
    writeln!(text, "module {users} {sockets} files {files}").expect("a string");
    text
}

/// `SO_RCVBUF` and others that the core keeps.
const CORE: [i32; 8] = [
    libc::SO_RCVBUF,
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_PEERCRED,
    libc::SO_ERROR,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_RXQ_OVFL,
];

/// All that tells of one socket. `KBUS_REPLIER` is not among it: it asks for a name.
fn look(sock: &Sock, text: &mut String) {
    for option in 1..=uapi::KBUS_SYNC + 8 {
        if option != uapi::KBUS_REPLIER {
            if let Ok(value) = sock.get(option, 64) {
                write!(text, "{option}={value:?} ").expect("a string");
            }
        }
    }
    for option in CORE {
        let value = sock.get_at(libc::SOL_SOCKET, option, &[0; 16]);
        write!(text, "SO{option}={value:?} ").expect("a string");
    }
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;
    writeln!(
        text,
        "{:?} {:?} {:?} {:x}",
        sock.fionread(),
        sock.name(),
        sock.peer_name(),
        sock.poll(events, 0)
    )
    .expect("a string");
}

/// The id of the last message, where one of the sockets is bound.
fn last_id(scene: &impl Scene) -> u64 {
    let sync = |sock: &Sock| sock.get_u64(uapi::KBUS_SYNC).ok();
    scene.socks().into_iter().find_map(sync).unwrap_or(0)
}

/// Insists on a state, and shows where it differs.
#[track_caller]
fn unchanged(what: &str, before: &str, after: &str) {
    if before != after {
        for (old, new) in before.lines().zip(after.lines()).filter(|(a, b)| a != b) {
            eprintln!("before: {old}\nafter:  {new}");
        }
        panic!("{what}: something has changed\n{before}\n{after}");
    }
}

/// Tries operations, each of which comes to nothing or is done.
#[derive(Debug)]
pub struct Trial {
    faults: Faults,
    /// Times that a call was short of memory.
    tried: u32,
    /// Of these the call said so.
    failed: u32,
    /// Operations that may need memory.
    needy: u32,
    /// Operations that must not.
    modest: u32,
}

impl Trial {
    /// Skips where the kernel cannot do it.
    pub fn new() -> Trial {
        Trial {
            faults: Faults::here(),
            tried: 0,
            failed: 0,
            needy: 0,
            modest: 0,
        }
    }

    /// Makes `call` in a fresh `scene` with each of its allocations failing, and none in the end.
    ///
    /// It must give `ENOMEM`, and nothing has changed then; or be done, as `after` is told. What it
    /// left behind is for `after` to remove.
    #[track_caller]
    pub fn every<S: Scene>(
        &mut self,
        what: &str,
        scene: impl Fn() -> S,
        call: impl Fn(&S) -> Res<usize>,
        after: impl Fn(&S, Done),
    ) {
        self.every_or(what, &[], scene, call, after);
    }

    /// The same for a call that may also give one of these errors for want of memory.
    #[track_caller]
    pub fn every_or<S: Scene>(
        &mut self,
        what: &str,
        errnos: &[i32],
        scene: impl Fn() -> S,
        call: impl Fn(&S) -> Res<usize>,
        after: impl Fn(&S, Done),
    ) {
        let mut tried = [0; 2];
        for (kind, tried) in [Which::Only as fn(u32) -> Which, Which::From]
            .into_iter()
            .zip(&mut tried)
        {
            let (quiet, mut n, mut over) = (whole(), 1, false);
            while !over {
                let made = scene();
                let (before, last) = (state(&made), last_id(&made));
                let (value, poor) = loop {
                    assert!(n < MANY, "{what} needs memory without end");
                    let (result, used) = self.faults.nth(kind(n), || call(&made));
                    let which = kind(n);
                    *tried += u32::from(used);
                    n += step(n);
                    let errno = match result {
                        Ok(value) => break (value, used),
                        Err(errno) => errno,
                    };
                    let text = format!("{what}, {which:?}: {errno}");
                    let expected = errno.0 == libc::ENOMEM || errnos.contains(&errno.0);
                    assert!(used && expected, "{text}");
                    unchanged(&text, &before, &state(&made));
                    self.failed += 1;
                };
                over = !poor;
                after(&made, Done { value, last, poor });
                drop(made);
                unchanged(what, &quiet, &whole());
            }
        }
        nothing_is_owed(what);
        let [only, from] = tried;
        eprintln!("# {what}: {only} allocations failed, each once; {from} with all after it");
        self.tried += only + from;
        self.needy += 1;
    }

    /// Makes `call` in a fresh `scene` with all of its allocations failing: it must be done all the
    /// same.
    #[track_caller]
    pub fn without<S: Scene>(
        &mut self,
        what: &str,
        scene: impl Fn() -> S,
        call: impl Fn(&S) -> Res<usize>,
        after: impl Fn(&S, Done),
    ) {
        let quiet = whole();
        let made = scene();
        let last = last_id(&made);
        let (result, poor) = self.faults.nth(Which::From(1), || call(&made));
        let value = result.unwrap_or_else(|errno| panic!("{what} without memory: {errno}"));
        after(&made, Done { value, last, poor });
        drop(made);
        unchanged(what, &quiet, &whole());
        nothing_is_owed(what);
        eprintln!("# {what}: done with none");
        self.modest += 1;
    }

    /// Tells how many allocations there were: some failed, and so did calls, or nothing was tested.
    #[track_caller]
    pub fn end(self) {
        let (tried, failed, needy) = (self.tried, self.failed, self.needy);
        self.end_of_modest();
        assert!(needy == 0 || tried > 0, "no allocation has failed");
        assert!(needy == 0 || failed > 0, "no call has failed");
    }

    /// The same where no operation needs memory, however it is called.
    #[track_caller]
    pub fn end_of_modest(self) {
        let Trial {
            tried,
            failed,
            needy,
            modest,
            ..
        } = self;
        let done = needy + modest;
        eprintln!(
            "# in all: {done} operations, {tried} tries without memory, {failed} calls failed"
        );
        assert!(done > 0, "nothing was done");
    }
}

/// Insists that no byte, message or bus of this user is left: the one message that it may have fits,
/// which takes its whole budget, and the one bus.
#[track_caller]
fn nothing_is_owed(what: &str) {
    const LEN: usize = 1000;
    let _bytes = Sysctl::set("user_bytes", LEN as u64);
    let _messages = Sysctl::set("user_messages", 1);
    let _buses = Sysctl::set("user_buses", 1);
    let sock = Sock::new();
    let bound = sock.bind(&fresh_bus());
    assert_eq!(bound, Ok(()), "{what}: a bus is left");
    sock.listen("$.A").expect("listening");
    sock.send_to("$.A", &[1; LEN]).expect("sending");
    assert_eq!(sock.unread(), 1, "{what}: bytes of the user are left");
}

impl Default for Trial {
    fn default() -> Self {
        Trial::new()
    }
}

/// A message that is ready to be sent without any memory of the program's own.
#[derive(Debug)]
pub struct Ready {
    out: Out,
    control: Vec<u8>,
}

impl Ready {
    /// Makes it.
    pub fn new(out: Out) -> Ready {
        let control = out.control();
        Ready { out, control }
    }

    /// Sends it.
    pub fn by(&self, sock: &Sock) -> Res<usize> {
        sock.send_msg_raw(&self.out, &self.control)
    }

    /// Sends several in one call.
    pub fn several<const N: usize>(all: &[Ready; N], sock: &Sock) -> Res<usize> {
        sock.send_several(all.each_ref().map(|one| (&one.out, &one.control[..])))
    }

    /// The header for `sendmsg()`, which points at it and at `part`.
    pub fn header(&self, part: &mut libc::iovec) -> libc::msghdr {
        self.out.header(&self.control, part)
    }
}

/// Closes a socket, which stays an open file: of `/dev/null`.
pub fn close(sock: &Sock) -> Res<usize> {
    // SAFETY: The descriptor is open; `plug()` makes it one again before it is used.
    match unsafe { libc::close(sock.as_raw_fd()) } {
        0 => Ok(0),
        _ => Err(Errno::last()),
    }
}

/// Makes the descriptor of a socket that was closed an open file again.
pub fn plug(sock: &Sock) {
    let null = File::open(Path::new("/dev/null")).expect("/dev/null");
    if null.as_raw_fd() == sock.as_raw_fd() {
        // It is the lowest that was free: it stays open for the socket.
        std::mem::forget(null);
        return;
    }
    // SAFETY: Nothing is open there.
    let r = unsafe { libc::dup2(null.as_raw_fd(), sock.as_raw_fd()) };
    assert_eq!(r, sock.as_raw_fd(), "dup2: {:?}", Errno::last());
}
