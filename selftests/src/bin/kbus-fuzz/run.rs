// SPDX-License-Identifier: GPL-2.0
//! Runs programs one after the other, each in a process of its own, and looks at what it leaves.

use std::fs;
use std::io;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr;

use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use crate::address;
use crate::address::FOLDER;
use crate::cover::Shared;
use crate::cover::Spot;
use crate::cover::Trace;
use crate::finish::what_is_left;
use crate::machine;
use crate::machine::World;
use crate::program::Program;
use crate::words::SYSCTLS;

/// How long a program may take, in milliseconds; what sleeps in it is interrupted many times a second.
const LONGEST: i32 = 30_000;
/// The memory cgroup of programs that lack memory.
const GROUP: &str = "/sys/fs/cgroup/kbus-fuzz";

/// What running a program has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What it was the first to reach.
    pub fresh: Vec<Spot>,
    /// What was wrong.
    pub finding: Option<String>,
}

/// What all programs are run in.
#[derive(Debug)]
pub struct Runner {
    world: &'static World,
    /// The limits of a machine that has just been started.
    limits: Vec<(&'static str, String)>,
    runs: u64,
    processes: u64,
}

fn namespace() -> i32 {
    let file = fs::File::open("/proc/thread-self/ns/net").expect("network namespaces");
    file.into_raw_fd()
}

fn enter(namespace: i32) {
    // SAFETY: Always safe.
    let r = unsafe { libc::setns(namespace, libc::CLONE_NEWNET) };
    assert_eq!(r, 0, "setns: {}", io::Error::last_os_error());
}

fn limit(file: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/kbus/{file}")).expect("net.kbus")
}

fn set_limit(file: &str, value: &str) {
    fs::write(format!("/proc/sys/net/kbus/{file}"), value).expect("net.kbus");
}

impl Runner {
    /// Prepares the machine: namespaces, paths, a memory cgroup, allocations that can be made to fail.
    pub fn new() -> Runner {
        let first = namespace();
        // SAFETY: Always safe.
        let r = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(r, 0, "a network namespace: {}", io::Error::last_os_error());
        let second = namespace();
        enter(first);
        // Orphans of a program come to us.
        // SAFETY: Always safe.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };

        let _ = fs::remove_dir_all(FOLDER);
        fs::create_dir_all(format!("{FOLDER}/closed")).expect("a folder");
        fs::create_dir(format!("{FOLDER}/folder")).expect("a folder");
        fs::write(format!("{FOLDER}/file"), "").expect("a file");
        for (to, link) in [("p0", "link"), ("nowhere/p", "dangling"), ("loop", "loop")] {
            std::os::unix::fs::symlink(to, format!("{FOLDER}/{link}")).expect("a link");
        }
        use std::os::unix::fs::PermissionsExt;
        for (path, mode) in [("", 0o777), ("/closed", 0o700)] {
            fs::set_permissions(format!("{FOLDER}{path}"), fs::Permissions::from_mode(mode))
                .expect("chmod");
        }

        // All allocations may fail, and none says so.
        let debug = Path::new("/sys/kernel/debug");
        for (folder, file, value) in [
            ("failslab", "ignore-gfp-wait", "N"),
            ("fail_page_alloc", "ignore-gfp-wait", "N"),
            ("fail_page_alloc", "min-order", "0"),
            ("failslab", "verbose", "0"),
            ("fail_page_alloc", "verbose", "0"),
        ] {
            let _ = fs::write(debug.join(folder).join(file), value);
        }

        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        let _ = fs::create_dir(GROUP);
        let open = |file: &str, write: bool| {
            let path = format!("{GROUP}/{file}");
            fs::OpenOptions::new()
                .read(!write)
                .write(write)
                .open(path)
                .ok()
        };
        let group = (|| {
            Some([
                open("cgroup.procs", true)?,
                open("memory.max", true)?,
                open("memory.current", false)?,
            ])
        })();
        let traces = (|| Some([Trace::new()?, Trace::new()?, Trace::new()?]))();
        let world = Box::leak(Box::new(World {
            shared: Shared::new(),
            traces,
            namespaces: [first, second],
            group,
        }));
        Runner {
            world,
            limits: SYSCTLS.iter().map(|file| (*file, limit(file))).collect(),
            runs: 0,
            processes: 0,
        }
    }

    /// Whether it is seen what code is reached.
    pub fn sees_code(&self) -> bool {
        self.world.traces.is_some()
    }

    /// The memory in which it is noted what was reached.
    pub fn shared(&self) -> &'static Shared {
        self.world.shared
    }

    /// Programs run.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Runs programs in one process; returns the outcomes up to the first one that shows something wrong.
    pub fn run_all(&mut self, programs: &[Program]) -> Vec<Outcome> {
        let shared = self.world.shared;
        shared.begin();
        // SAFETY: This process has one thread, so that the child may do anything.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: Always safe.
            unsafe { libc::setpgid(0, 0) };
            machine::run(self.world, programs);
        }
        assert!(pid > 0, "fork: {}", io::Error::last_os_error());
        let finding = self.wait(pid, programs);
        self.put_back(programs);
        let mut finding = finding
            .or_else(|| shared.finding())
            .or_else(|| what_is_left(self.world));
        if finding.is_none() && self.processes % 4 == 0 {
            finding = self.budgets();
        }
        self.processes += 1;
        let mut fresh = shared.fresh();
        let done = shared.done.load(std::sync::atomic::Ordering::Relaxed) as usize;
        let count = if finding.is_some() || done == 0 {
            done + 1
        } else {
            done
        }
        .min(programs.len());
        fresh.truncate(count);
        self.runs += count as u64;
        let last = |n: usize| n + 1 == count;
        let outcomes = fresh.into_iter().enumerate().map(|(n, fresh)| Outcome {
            fresh,
            finding: finding.take_if(|_| last(n)),
        });
        outcomes.collect()
    }

    /// Waits for the end of a program and of all that it has started.
    fn wait(&self, pid: i32, programs: &[Program]) -> Option<String> {
        let mut finding = None;
        // SAFETY: The descriptor is new; the entry and the status are valid places; the group is the child's own.
        let status = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
            let fd = OwnedFd::from_raw_fd(fd);
            let mut entry = libc::pollfd {
                fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
                events: libc::POLLIN,
                revents: 0,
            };
            if libc::poll(&mut entry, 1, LONGEST) == 0 {
                let at = self
                    .world
                    .shared
                    .at
                    .each_ref()
                    .map(|at| at.load(std::sync::atomic::Ordering::Relaxed));
                finding = Some(format!("still at lines {at:?} after {LONGEST} ms"));
            }
            libc::kill(-pid, libc::SIGKILL);
            let mut status = 0;
            libc::waitpid(pid, &mut status, 0);
            // Not all need be in the group.
            while libc::waitpid(-1, ptr::null_mut(), 0) > 0 {}
            status
        };
        if finding.is_none() && libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // Without memory a process is killed by the kernel.
            if signal != libc::SIGKILL || !programs.iter().any(|program| program.calls("memory")) {
                finding = Some(format!("the program died of signal {signal}"));
            }
        } else if finding.is_none() && ![0, 3].contains(&libc::WEXITSTATUS(status)) {
            finding = Some(format!(
                "the program ended with {}",
                libc::WEXITSTATUS(status)
            ));
        }
        finding
    }

    /// Puts back what holds for the whole machine.
    fn put_back(&self, programs: &[Program]) {
        let some = |name| programs.iter().any(|program| program.calls(name));
        if some("sysctl") {
            self.put_back_limits();
        }
        if some("memory") {
            fs::write(format!("{GROUP}/memory.max"), "max").expect("memory.max");
        }
    }

    fn put_back_limits(&self) {
        for (file, value) in &self.limits {
            set_limit(file, value);
        }
    }

    /// Each user has all of its budget: so many bytes, and one message, can wait, and not one more was charged.
    fn budgets(&self) -> Option<String> {
        const BYTES: usize = 4096;
        set_limit("user_bytes", &BYTES.to_string());
        set_limit("user_messages", "1");
        let mut finding = None;
        for user in [0, 1000, 1001] {
            let become_user = |id: i64| {
                // SAFETY: Only this thread gets another user; the saved one stays.
                let r = unsafe { libc::syscall(libc::SYS_setresuid, id, id, 0) };
                assert_eq!(r, 0, "setresuid: {}", io::Error::last_os_error());
            };
            become_user(user);
            let sock = Sock::raw(uapi::AF_KBUS as i32, libc::SOCK_DGRAM, 0).expect("socket()");
            sock.bind_raw(&address::bus("a1", address::family(false)))
                .expect("bind()");
            sock.set(uapi::KBUS_LISTEN, b"$.A").expect("KBUS_LISTEN");
            let to = [&address::family(false).to_ne_bytes()[..], b"$.A"].concat();
            sock.send_raw(&to, &[0; BYTES], 0).expect("send()");
            if sock.unread() != 1 {
                finding = Some(format!(
                    "user {user} has nothing in any queue, and has not all of its budget"
                ));
            }
            drop(sock);
            // SAFETY: As above.
            unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) };
        }
        self.put_back_limits();
        finding
    }
}
