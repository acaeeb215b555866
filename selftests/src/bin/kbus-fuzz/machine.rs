// SPDX-License-Identifier: GPL-2.0
//! The process that runs one program: its threads and children, and what must be true in the end.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::mem;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use crate::address;
use crate::buffers::Buffers;
use crate::cover::Shared;
use crate::cover::Trace;
use crate::errnos;
use crate::program::Call;
use crate::program::Program;
use crate::words::SOCKETS;

/// How often the main thread is interrupted: so a call that blocks ends.
const TICK: Duration = Duration::from_millis(10);
/// A request that has to be answered: its id, and the address it came from.
pub type Owed = (u64, Vec<u8>);

/// A descriptor that is closed when no call uses it any more. A bare number, once another thread has closed the socket,
/// may be any file that this one, or the other, opens in the middle of the call.
pub type Fd = Arc<OwnedFd>;

/// A socket of the program, and what is known of it.
#[derive(Debug, Default)]
pub struct Slot {
    /// None if it is not open.
    pub fd: Option<Fd>,
    /// The family of its addresses.
    pub family: u16,
    /// Requests that it has read and not answered.
    pub owed: VecDeque<Owed>,
    /// The last one that it answered.
    pub old: Option<Owed>,
    /// Ids of the last message sent, and of the last one read that was not urgent.
    pub last_sent: u64,
    pub last_read: u64,
    /// Something was read that was not understood.
    pub unsure: bool,
    /// It was shut for reading: it has given up its answers.
    pub shut: bool,
}

/// What the calls of a program share.
#[derive(Debug, Default)]
pub struct State {
    /// All sockets.
    pub slots: [Slot; SOCKETS],
    /// Cookies of the requests sent, and by which socket.
    pub asked: Vec<(u64, usize)>,
    /// How many answers came for each cookie.
    pub answers: HashMap<u64, u32>,
    /// The last cookie given out.
    pub cookie: u64,
}

/// What is there before the program runs.
#[derive(Debug)]
pub struct World {
    /// Memory that all processes share.
    pub shared: &'static Shared,
    /// Traces of the main thread, the second one, and of a process that is killed.
    pub traces: Option<[Trace; 3]>,
    /// The first network namespace and another one.
    pub namespaces: [i32; 2],
    /// The files of a memory cgroup, if there are any: `cgroup.procs`, `memory.max`, `memory.current`.
    pub group: Option<[fs::File; 3]>,
}

/// The process of a program.
#[derive(Debug)]
pub struct Machine {
    pub world: &'static World,
    pub state: Mutex<State>,
    pub buffers: Buffers,
    /// A pipe whose writing end is passed around.
    pub pipe: [i32; 2],
    /// The second thread.
    second: AtomicI32,
    /// One thing happens after the other, and nothing is made to fail.
    pub plain: bool,
}

extern "C" fn ignore(_: i32) {}

impl Machine {
    fn new(world: &'static World, program: &Program) -> Machine {
        let mut pipe = [0; 2];
        // SAFETY: There is room for the two descriptors.
        unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
        let special = ["dup", "memory", "sandbox", "namespace"];
        let plain = !program.has("in")
            && !program.has("nth")
            && !special.iter().any(|name| program.calls(name));
        Machine {
            world,
            state: Mutex::default(),
            buffers: Buffers::new(),
            pipe,
            second: AtomicI32::new(0),
            plain,
        }
    }

    /// What the calls share.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Reports what is wrong and ends the process.
    pub fn find(&self, text: &str) -> ! {
        self.world.shared.find(text);
        // SAFETY: Always safe.
        unsafe { libc::_exit(3) }
    }

    /// Makes one call in this thread, which is the main one (0) or the second (1).
    fn make(&self, call: &Call, line: usize, thread: usize) {
        let shared = self.world.shared;
        shared.at[thread].store(line as u32 + 1, Relaxed);
        let nth = call.get("nth");
        let file = (nth > 0)
            .then(|| {
                fs::OpenOptions::new()
                    .write(true)
                    .open("/proc/thread-self/fail-nth")
                    .ok()
            })
            .flatten();
        if let Some(mut file) = file.as_ref() {
            let _ = write!(file, "{nth}");
        }
        let result = self.perform(call);
        if let Some(mut file) = file.as_ref() {
            let _ = write!(file, "0");
        }
        shared.calls.fetch_add(1, Relaxed);
        if let Some(traces) = &self.world.traces {
            traces[thread].take(shared);
        }
        let Some(result) = result else {
            return;
        };
        let errno = *result.as_ref().err().unwrap_or(&0);
        let option = if ["set", "get", "name", "unsupported"].contains(&call.op().name) {
            call.get(if call.op().name == "unsupported" {
                "call"
            } else {
                "option"
            })
        } else {
            0
        };
        shared.outcome(
            ((call.number() as u64) << 8) | (option as u64 & 0xff),
            i64::from(errno),
        );
        if errno == 0 || nth > 0 {
            return;
        }
        if !errnos::may(call.op().name, errno) {
            let error = std::io::Error::from_raw_os_error(errno);
            self.find(&format!(
                "line {}: {call}: unexpected errno: {error}",
                line + 1
            ));
        }
        let waits = ["send", "recv"].contains(&call.op().name) && !call.has("msg", "DONTWAIT");
        if errno == libc::EINTR && ["send", "recv"].contains(&call.op().name) && !waits {
            self.find(&format!(
                "line {}: {call}: EINTR, and it must not have slept",
                line + 1
            ));
        }
    }

    /// Makes a call in a process that is killed while it is at it.
    fn make_and_kill(&self, call: &Call, line: usize) {
        let on_socket = call.op().args.iter().any(|arg| arg.key == "s");
        let last = on_socket && call.word("in") == "kill-last";
        let guard = self.state();
        // SAFETY: The child goes on with what is there: it has this thread, and the lock is held by it.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(guard);
            // SAFETY: Always safe.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if let Some(traces) = &self.world.traces {
                traces[2].enable();
            }
            self.perform(call);
            // SAFETY: Always safe.
            unsafe { libc::_exit(0) }
        }
        drop(guard);
        if pid < 0 {
            return;
        }
        if let Some(s) = last.then(|| call.socket("s")).flatten() {
            self.close(s);
        }
        // Some die before the call, some in it, some after it.
        thread::sleep(Duration::from_micros(600 * (line as u64 % 7)));
        // SAFETY: The process is ours until it is waited for.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            while libc::waitpid(pid, ptr::null_mut(), 0) < 0
                && *libc::__errno_location() == libc::EINTR
            {}
        }
        if let Some(traces) = &self.world.traces {
            traces[2].take(self.world.shared);
        }
        // What it read and sent is not known.
        self.state()
            .slots
            .iter_mut()
            .for_each(|slot| slot.unsure = true);
    }

    /// The descriptor of a socket, if it is open.
    pub fn open(&self, s: usize) -> Option<Fd> {
        self.state().slots[s].fd.clone()
    }

    /// Closes a socket, if it is open, or has whoever is using it close it.
    pub fn close(&self, s: usize) -> Option<Result<i64, i32>> {
        let closed = {
            let mut state = self.state();
            // Whoever is closed has given up its answers.
            state.asked.retain(|(_, slot)| *slot != s);
            mem::take(&mut state.slots[s])
        };
        closed.fd.map(|_| Ok(0))
    }

    fn second_thread(&self, calls: &mpsc::Receiver<(Call, usize)>) {
        block(libc::SIGALRM);
        // SAFETY: Always safe.
        self.second.store(unsafe { libc::gettid() }, Relaxed);
        if let Some(traces) = &self.world.traces {
            traces[1].enable();
        }
        while let Ok((call, line)) = calls.recv() {
            self.make(&call, line, 1);
        }
    }

    fn run(&self, program: &Program) {
        let two = program.calls.iter().any(|call| call.word("in") == "b");
        thread::scope(|scope| {
            let (send, calls) = mpsc::channel();
            let second = two.then(|| scope.spawn(move || self.second_thread(&calls)));
            tick(TICK);
            for (line, call) in program.calls.iter().enumerate() {
                match call.word("in") {
                    "b" => {
                        // The receiver is there as long as the thread is.
                        let _ = send.send((call.clone(), line));
                    }
                    "kill" | "kill-last" => self.make_and_kill(call, line),
                    _ => self.make(call, line, 0),
                }
            }
            tick(Duration::ZERO);
            drop(send);
            if let Some(second) = second {
                while !second.is_finished() {
                    thread::sleep(Duration::from_millis(3));
                    // SAFETY: A thread of this process, or none any more.
                    unsafe {
                        let id = self.second.load(Relaxed);
                        libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR1)
                    };
                }
            }
        });
        self.world.shared.at[0].store(1000, Relaxed);
        crate::finish::finish(self);
        if let Some(traces) = &self.world.traces {
            traces[0].take(self.world.shared);
        }
    }
}

/// Interrupts the main thread so often; 0 ends it.
fn tick(every: Duration) {
    let value = libc::timeval {
        tv_sec: 0,
        tv_usec: every.as_micros() as i64,
    };
    let timer = libc::itimerval {
        it_interval: value,
        it_value: value,
    };
    // SAFETY: The timer is valid for reads.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}

fn block(signal: i32) {
    // SAFETY: The set is initialised by the first call, and all of them get a valid place.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut());
    }
}

/// Runs programs in this process, a child of the fuzzer, and ends it.
pub fn run(world: &'static World, programs: &[Program]) -> ! {
    for signal in [libc::SIGALRM, libc::SIGUSR1] {
        // SAFETY: The handler does nothing; without SA_RESTART a call that waits ends with EINTR.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
    // SAFETY: Always safe.
    unsafe { libc::umask(0) };
    if let Some(traces) = &world.traces {
        traces[0].enable();
    }
    for program in programs {
        world.shared.note(&program.to_string());
        let paths = |call: &Call| call.op().args.iter().any(|arg| arg.key == "bus");
        if program.calls.iter().any(paths) {
            for bus in ["p0", "p1"] {
                let _ = fs::remove_file(address::path(bus).expect("it is at a path"));
            }
        }
        Machine::new(world, program).run(program);
        world.shared.end_of_program();
    }
    // SAFETY: Always safe.
    unsafe { libc::_exit(0) }
}
