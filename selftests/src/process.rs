// SPDX-License-Identifier: GPL-2.0
//! Child processes of a test, and the ways in which they meet their parent.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::sys::Errno;
use crate::sys::Res;

/// Exit code of a test that cannot be run here.
pub const SKIPPED: i32 = 4;

/// With what a test unwinds that is skipped.
#[derive(Debug)]
pub struct Skipped;

/// Ends the test (or this child of it) as skipped. It unwinds, so that what was set is set back.
pub fn skip(reason: &str) -> ! {
    eprintln!("SKIP {reason}");
    panic::resume_unwind(Box::new(Skipped))
}

/// A forked child. Dropped unwaited, it is killed.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    reaped: bool,
}

impl Child {
    /// Forks; the child runs `f` and exits with 0, or with 101 if it panics.
    ///
    /// Only for single-threaded processes, as every selftest is.
    pub fn fork(f: impl FnOnce()) -> Child {
        // SAFETY: The process has one thread, so the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = match panic::catch_unwind(AssertUnwindSafe(f)) {
                Ok(()) => 0,
                Err(payload) if payload.is::<Skipped>() => SKIPPED,
                Err(_) => 101,
            };
            // SAFETY: Always safe; the parent's exit handlers must not run.
            unsafe { libc::_exit(code) };
        }
        assert!(pid > 0, "fork: {}", io::Error::last_os_error());
        Child { pid, reaped: false }
    }

    /// The process id.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: Always safe; the pid is ours until it is waited for.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// Waits until it sleeps, interruptibly: in a blocking call.
    ///
    /// Waiting for memory, a page or a lock is another kind of sleep.
    pub fn wait_asleep(&self) {
        self.wait_state('S');
    }

    /// Waits until it sleeps, not interruptibly: a file system does not answer.
    pub fn wait_stuck(&self) {
        self.wait_state('D');
    }

    fn wait_state(&self, wanted: char) {
        loop {
            match self.state() {
                Some(state) if state == wanted => return,
                Some('Z') => panic!("the child ended, and was expected to sleep"),
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Whether it sleeps so, now.
    pub fn is_asleep(&self) -> bool {
        self.state() == Some('S')
    }

    /// Whether it has ended, and is waited for.
    pub fn has_ended(&self) -> bool {
        self.state() == Some('Z')
    }

    /// Stops it, and returns when it stands still.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        loop {
            match self.state() {
                Some('T') => return,
                Some('Z') => panic!("the child ended, and was expected to be stopped"),
                _ => thread::sleep(Duration::from_micros(50)),
            }
        }
    }

    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("/proc");
        // The name before it is in parentheses, and may hold some.
        stat.rsplit(") ").next().and_then(|s| s.chars().next())
    }

    /// Waits for the end, returning the raw wait status.
    pub fn wait_raw(&mut self) -> i32 {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for the result.
            let r = unsafe { libc::waitpid(self.pid, &mut status, 0) };
            if r == self.pid {
                self.reaped = true;
                return status;
            }
            assert_eq!(Errno::last(), Errno(libc::EINTR), "waitpid");
        }
    }

    /// Waits for the end and insists that it was a good one; passes a skip on.
    #[track_caller]
    pub fn join(mut self) {
        self.expect_good_end();
    }

    #[track_caller]
    fn expect_good_end(&mut self) {
        let status = self.wait_raw();
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == SKIPPED {
            panic::resume_unwind(Box::new(Skipped));
        }
        assert_eq!(status, 0, "wait status of the child {}", self.pid);
    }

    /// Kills with SIGKILL and waits until it is dead.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        let status = self.wait_raw();
        assert!(
            libc::WIFSIGNALED(status),
            "the child ended before it was killed"
        );
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(libc::SIGKILL);
            self.wait_raw();
        }
    }
}

/// A pipe over which one process tells another how far it has come.
#[derive(Debug)]
pub struct Gate {
    reader: File,
    writer: File,
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// Makes a gate; both sides of a fork use the same one.
    pub fn new() -> Gate {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for the two descriptors.
        let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) };
        assert_eq!(r, 0, "pipe2: {}", io::Error::last_os_error());
        // SAFETY: Both descriptors are new and nobody else's.
        unsafe {
            Gate {
                reader: File::from_raw_fd(fds[0]),
                writer: File::from_raw_fd(fds[1]),
            }
        }
    }

    /// Lets the other side go on, and tells it one number.
    pub fn open(&self, value: u64) {
        (&self.writer)
            .write_all(&value.to_ne_bytes())
            .expect("write to a gate");
    }

    /// Whether [`Gate::pass`] would not wait.
    pub fn is_open(&self) -> bool {
        let mut entry = libc::pollfd {
            fd: self.reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: One entry, and it is ours.
        let r = unsafe { libc::poll(&mut entry, 1, 0) };
        r > 0
    }

    /// Waits until a child has opened the gate; one that ends before fails the test, or skips it.
    #[track_caller]
    pub fn opened_by(&self, child: &mut Child) -> u64 {
        while !self.is_open() {
            // In this order: who has ended opens nothing any more.
            if child.has_ended() && !self.is_open() {
                child.expect_good_end();
                panic!("the child ended and has not opened the gate");
            }
            thread::sleep(Duration::from_micros(100));
        }
        self.pass()
    }

    /// Waits until the other side has opened the gate.
    pub fn pass(&self) -> u64 {
        let mut bytes = [0; 8];
        (&self.reader)
            .read_exact(&mut bytes)
            .expect("read from a gate");
        u64::from_ne_bytes(bytes)
    }
}

/// A call that another process makes, and that is expected to block.
///
/// The process has copies of whatever sockets were open when it was prepared:
/// one that is to be closed meanwhile must be made after that.
#[derive(Debug)]
pub struct Blocked {
    child: Child,
    go: Gate,
    started: Gate,
    done: Gate,
}

/// In a gate's number: the rest is an error.
const FAILED: u64 = 1 << 63;

impl Blocked {
    /// Makes the process, which does nothing yet.
    pub fn prepare(call: impl FnOnce() -> Res<u64>) -> Blocked {
        let (go, started, done) = (Gate::new(), Gate::new(), Gate::new());
        let child = Child::fork(|| {
            go.pass();
            started.open(0);
            done.open(match call() {
                Ok(value) => value,
                Err(errno) => FAILED | errno.0 as u64,
            });
        });
        Blocked {
            child,
            go,
            started,
            done,
        }
    }

    /// Has it make the call, and returns when it sleeps in it.
    pub fn go(self) -> Blocked {
        self.go.open(0);
        self.started.pass();
        self.child.wait_asleep();
        self
    }

    /// Makes the process and the call, and returns when it sleeps in it.
    pub fn in_call(call: impl FnOnce() -> Res<u64>) -> Blocked {
        Blocked::prepare(call).go()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: i32) {
        self.child.signal(signal);
    }

    /// Waits until it sleeps (again).
    pub fn wait_asleep(&self) {
        self.child.wait_asleep();
    }

    /// Waits until the call has returned, or the process sleeps in it (again);
    /// says whether it has returned.
    pub fn settles(&self) -> bool {
        loop {
            if self.is_over() {
                return true;
            }
            // Looked at in this order: whoever was woken is not asleep.
            if self.child.is_asleep() {
                return self.is_over();
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// How often it has gone to sleep, once it sleeps or is over: as long as that is the same it has done nothing.
    pub fn sleeps(&self) -> Option<u64> {
        if self.settles() {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid()));
        let status = status.expect("/proc");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Some(line.expect("a number").trim().parse().expect("a number"))
    }

    /// Whether the call has returned.
    pub fn is_over(&self) -> bool {
        self.done.is_open()
    }

    /// Waits for the call and returns what it did.
    pub fn result(self) -> Res<u64> {
        self.child.join();
        match self.done.pass() {
            value if value & FAILED == 0 => Ok(value),
            errno => Err(Errno((errno & !FAILED) as i32)),
        }
    }

    /// Kills the process in the midst of its call.
    pub fn kill(self) {
        self.child.kill();
    }
}

/// Whether a thread of this process sleeps, interruptibly.
pub fn thread_sleeps(thread: libc::pid_t) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next();
    state.is_some_and(|state| state.starts_with('S'))
}

/// The number of the calling thread.
pub fn own_thread() -> libc::pid_t {
    // SAFETY: Always safe.
    unsafe { libc::gettid() }
}

/// Makes a call in a thread of its own, and returns when it sleeps in it.
pub fn in_thread<R: Send + 'static>(
    call: impl FnOnce() -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let number = Arc::new(AtomicI32::new(0));
    let told = number.clone();
    let handle = thread::spawn(move || {
        told.store(own_thread(), Ordering::SeqCst);
        call()
    });
    loop {
        let thread = number.load(Ordering::SeqCst);
        if handle.is_finished() || (thread != 0 && thread_sleeps(thread)) {
            return handle;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Sleeps for ever (until killed).
pub fn park() -> ! {
    loop {
        // SAFETY: Always safe.
        unsafe { libc::pause() };
    }
}

/// Sleeps.
pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Lets other processes go first from now on.
pub fn be_nice() {
    // SAFETY: Always safe.
    unsafe { libc::nice(10) };
}

/// Becomes another user for good, with all capabilities gone.
pub fn become_user(uid: u32, gid: u32) {
    // SAFETY: Always safe; the argument lists are right.
    let r = unsafe {
        libc::setgroups(0, std::ptr::null())
            | libc::setresgid(gid, gid, gid)
            | libc::setresuid(uid, uid, uid)
    };
    assert_eq!(r, 0, "becoming another user: {:?}", Errno::last());
}

/// Does something with another effective user.
pub fn as_user<R>(uid: u32, f: impl FnOnce() -> R) -> R {
    // SAFETY: Always safe. Of this thread only, which is all there is.
    let set = |uid: u32| unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
    assert_eq!(set(uid), 0, "another effective user: {:?}", Errno::last());
    let result = f();
    assert_eq!(set(0), 0, "back to root: {:?}", Errno::last());
    result
}

/// A setting below `/proc/sys`, as it was again when this is dropped.
#[derive(Debug)]
pub struct Sysctl {
    path: String,
    before: String,
}

impl Sysctl {
    /// Sets `net.kbus.name`.
    pub fn set(name: &str, value: u64) -> Sysctl {
        let path = format!("/proc/sys/net/kbus/{name}");
        let before = fs::read_to_string(&path).expect("reading a sysctl");
        fs::write(&path, value.to_string()).expect("writing a sysctl");
        Sysctl { path, before }
    }

    /// Reads `net.kbus.name`.
    pub fn get(name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/sys/net/kbus/{name}"));
        text.expect("reading a sysctl")
            .trim()
            .parse()
            .expect("a number")
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        fs::write(&self.path, self.before.trim()).expect("writing a sysctl");
    }
}

/// Moves this process into a new network namespace; skips where there is none.
pub fn new_netns() {
    // SAFETY: Always safe.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        skip("no network namespaces here");
    }
}

/// Moves this process into a new user namespace, in which its user and group have these numbers and no others exist.
pub fn new_userns(uid: u32, gid: u32) {
    // SAFETY: Always safe.
    let (own_uid, own_gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: Always safe. Who has changed user may not write to its own files in /proc else.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    // SAFETY: Always safe.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        skip("no user namespaces here");
    }
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("{uid} {own_uid} 1")),
        ("gid_map", format!("{gid} {own_gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).expect(file);
    }
}

/// Runs `f` as each of these users of a user namespace of `owner`, to which root lends 65536 ids from 100000 on.
pub fn as_lent_users(owner: u32, users: &[u32], f: impl Fn(u32)) {
    let (unshared, mapped) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        // SAFETY: Always safe.
        unsafe { libc::syscall(libc::SYS_setresuid, -1, owner, -1) };
        // SAFETY: Always safe.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
            skip("no user namespaces here");
        }
        unshared.open(1);
        mapped.pass();
        for user in users {
            Child::fork(|| {
                // SAFETY: Always safe.
                let r = unsafe { libc::setresuid(*user, *user, *user) };
                assert_eq!(r, 0, "a user of the namespace");
                f(*user);
            })
            .join();
        }
    });
    unshared.pass();
    let map = format!("/proc/{}/uid_map", child.pid());
    std::fs::write(map, "0 100000 65536").expect("root may lend ids");
    mapped.open(1);
    child.join();
}

/// Runs `act` in a container of root's, as a system makes them: a user namespace of its own, whose users from 0 on are those
/// from `first` on outside, and a network namespace of its own. `act` begins as root of it.
///
/// To be called by root of the machine. Buses at paths are shared with it, as it has no mounts of its own.
pub fn in_container(first: u32, act: impl FnOnce()) -> Child {
    let (unshared, mapped) = (Gate::new(), Gate::new());
    let mut child = Child::fork(|| {
        // SAFETY: Always safe.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
            skip("no user namespaces here");
        }
        unshared.open(0);
        mapped.pass();
        become_user(0, 0);
        new_netns();
        act();
    });
    unshared.opened_by(&mut child);
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", child.pid());
        fs::write(path, format!("0 {first} 65536")).expect("root may lend ids");
    }
    mapped.open(0);
    child
}

/// Gives up all capabilities of this process for good; it stays the user it is.
pub fn drop_capabilities() {
    const _LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
    let header = [_LINUX_CAPABILITY_VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: Both are as long as that version has them.
    let r = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(r, 0, "capset: {:?}", Errno::last());
}

/// Has the next children be born in a new pid namespace.
pub fn new_pidns() {
    // SAFETY: Always safe.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        skip("no pid namespaces here");
    }
}

/// Sets `no_new_privs` for good.
pub fn no_new_privs() {
    // SAFETY: Always safe.
    let r = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(r, 0, "PR_SET_NO_NEW_PRIVS: {:?}", Errno::last());
}

/// Installs a do-nothing handler (no `SA_RESTART`) and has the signal come
/// once, `ms` milliseconds from now.
pub fn interrupt_in(ms: i64) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: The handler does nothing; both structures are fully made.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        assert_eq!(
            libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
            0
        );
        let mut timer: libc::itimerval = std::mem::zeroed();
        timer.it_value.tv_sec = ms / 1000;
        timer.it_value.tv_usec = ms % 1000 * 1000;
        // Repeated, in case the first comes before the caller sleeps.
        timer.it_interval = timer.it_value;
        assert_eq!(
            libc::syscall(
                libc::SYS_setitimer,
                libc::ITIMER_REAL,
                &timer,
                std::ptr::null_mut::<libc::itimerval>()
            ),
            0
        );
    }
}

static ON_SIGNAL: AtomicI32 = AtomicI32::new(-1);

/// Has a signal open this gate, and says whether calls it interrupts go on
/// (`SA_RESTART`).
pub fn on_signal(signal: i32, restart: bool, gate: &Gate) {
    extern "C" fn open(_: i32) {
        let fd = ON_SIGNAL.load(Ordering::Relaxed);
        // SAFETY: Eight bytes are there, and `write` may be called by a handler.
        unsafe { libc::write(fd, [0_u8; 8].as_ptr().cast(), 8) };
    }
    ON_SIGNAL.store(gate.writer.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: The handler does nothing that it may not; the structure is whole.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = open as extern "C" fn(i32) as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// A small generator of pseudo-random numbers (xorshift), seeded per process.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds it.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// How many times as slow as usual this kernel is.
pub fn slowness() -> u32 {
    let slow = std::env::var("KBUS_SLOW").ok();
    slow.and_then(|slow| slow.parse().ok()).unwrap_or(1)
}

/// How often something is done that is done `n` times elsewhere: less often on a slow kernel, where many other tests do the same.
pub fn scaled(n: u64) -> u64 {
    n / u64::from(slowness())
}

/// Nanoseconds on a clock that all processes share.
pub fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The structure is ours.
    let r = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(r, 0, "clock_gettime");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
