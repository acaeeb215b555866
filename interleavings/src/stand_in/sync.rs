// SPDX-License-Identifier: GPL-2.0

//! The kernel's locks and condition variables, made of shuttle's, and a look at how they are used.
//!
//! A lock knows its name. [`SpinLock::lock`] insists on the order that `net/endpoint.rs` states, and
//! [`none_held`] on what must be done without locks. Who holds a spinlock cannot be preempted, but other processors run:
//! so another thread gets its turn at any lock, held or not. Only [`Stop`] stops a thread for longer, and under no lock.

use super::alloc::AllocError;
use super::alloc::Flags;
use super::time::Jiffies;
use super::time::NEVER;
use shuttle::rand::Rng;
use std::cell::Cell;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Locks by their name, outermost first. The rest is taken alone.
const ORDER: [&str; 3] = ["kbus::bus", "kbus::queue", "kbus::users"];
const BUS: usize = 0;
const USERS: usize = 2;
const ALONE: usize = ORDER.len();

shuttle::thread_local! {
    /// The locks of this thread: their places in [`ORDER`].
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// After how many holds of a bus lock this thread stops.
    static STOPS: RefCell<Option<(u32, Stop)>> = const { RefCell::new(None) };
}

/// Insists that this thread holds no lock: it sleeps, wakes somebody, or touches the memory of a program.
pub(crate) fn none_held(what: &str) {
    HELD.with(|held| assert!(held.borrow().is_empty(), "{what} under a lock"));
}

/// Insists that nothing is allocated under the lock of all users, and no memory waited for under any.
pub(crate) fn may_allocate(flags: Flags) {
    // Statics are made outside of any thread of a test.
    let _ = HELD.try_with(|held| {
        let held = held.borrow();
        assert!(
            !held.contains(&USERS),
            "an allocation under the lock of all users"
        );
        assert!(
            !flags.may_wait() || held.is_empty(),
            "an allocation that may sleep under a lock"
        );
    });
}

/// A thread that the scheduler of a kernel has stopped in the midst of a call, and others who see to it that it goes on.
#[derive(Clone)]
pub struct Stop(std::sync::Arc<(shuttle::sync::Mutex<Stopped>, shuttle::sync::Condvar)>);

#[derive(Clone, Copy, PartialEq)]
enum Stopped {
    NotYet,
    Now,
    NoMore,
}

impl Default for Stop {
    fn default() -> Self {
        let stopped = shuttle::sync::Mutex::new(Stopped::NotYet);
        Stop(std::sync::Arc::new((
            stopped,
            shuttle::sync::Condvar::new(),
        )))
    }
}

impl Stop {
    /// Stops this thread when it has held the lock of a bus so many more times.
    pub fn after(&self, holds: u32) {
        STOPS.with(|stops| *stops.borrow_mut() = Some((holds, self.clone())));
    }

    /// Waits until the thread has stopped.
    pub fn until_stopped(&self) {
        self.wait_while(Stopped::NotYet);
    }

    /// Lets it go on, and not stop any more.
    pub fn go_on(&self) {
        self.set(Stopped::NoMore);
    }

    fn stop(&self) {
        none_held("a stop");
        let (stopped, _) = &*self.0;
        if *stopped.lock().unwrap() == Stopped::NotYet {
            self.set(Stopped::Now);
            self.wait_while(Stopped::Now);
        }
    }

    fn set(&self, to: Stopped) {
        let (stopped, changed) = &*self.0;
        *stopped.lock().unwrap() = to;
        changed.notify_all();
    }

    fn wait_while(&self, state: Stopped) {
        let (stopped, changed) = &*self.0;
        let mut now = stopped.lock().unwrap();
        while *now == state {
            now = changed.wait(now).unwrap();
        }
    }
}

/// The lock of a bus has been given up: this thread may stop here.
fn stop_here() {
    let stop = STOPS.try_with(|stops| {
        let mut stops = stops.borrow_mut();
        let (left, _) = stops.as_mut()?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        stops.take()
    });
    if let Ok(Some((_, stop))) = stop {
        stop.stop();
    }
}

pub(crate) struct SpinLock<T> {
    place: usize,
    lock: shuttle::sync::Mutex<T>,
}

pub(crate) struct SpinLockGuard<'a, T> {
    of: &'a SpinLock<T>,
    /// `None` while its condition variable has given the lock up.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

pub(crate) mod lock {
    //! Where the kernel has the guards.

    pub(crate) mod spinlock {
        pub(crate) use crate::sync::SpinLockGuard;
    }
}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T, name: &str) -> Self {
        SpinLock {
            place: ORDER.iter().position(|n| *n == name).unwrap_or(ALONE),
            lock: shuttle::sync::Mutex::new(value),
        }
    }

    pub(crate) fn lock(&self) -> SpinLockGuard<'_, T> {
        let place = self.place;
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            let alone = held.is_empty();
            let in_order = held.last().is_none_or(|last| *last < place);
            assert!(
                alone || (in_order && place != ALONE),
                "lock {place} after {held:?}"
            );
            held.push(place);
        });
        SpinLockGuard {
            of: self,
            guard: Some(self.lock.lock().unwrap()),
        }
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        let place = self.of.place;
        // The thread may have ended by a panic, and its variables with it.
        let _ = HELD.try_with(|held| held.borrow_mut().retain(|other| *other != place));
        if place == BUS && !std::thread::panicking() {
            stop_here();
        }
    }
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().unwrap()
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().unwrap()
    }
}

pub(crate) enum CondVarTimeoutResult {
    Timeout,
    Woken {
        jiffies: Jiffies,
    },
    Signal {
        #[expect(dead_code, reason = "the module does not ask")]
        jiffies: Jiffies,
    },
}

pub(crate) struct CondVar {
    condition: shuttle::sync::Condvar,
    /// How often it was notified. Threads run one at a time, so that this needs no lock.
    times: AtomicU64,
}

/// Looks that a sleep with a time limit takes, at most.
const PATIENCE: u32 = 12;

thread_local! {
    /// All threads of a test are one of the host's.
    static TIMER: Cell<bool> = const { Cell::new(false) };
}

/// Lets the time be over, in this test, after which the module looks again by itself.
pub fn let_waiters_look_again() {
    TIMER.set(true);
}

impl CondVar {
    pub(crate) fn new() -> Self {
        CondVar {
            condition: shuttle::sync::Condvar::new(),
            times: AtomicU64::new(0),
        }
    }

    pub(crate) fn notify_all(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.condition.notify_all();
    }

    /// Sleeps. A time limit of a program is over, or a signal comes, after a while that the scheduler chooses. The time
    /// after which the module looks again by itself is never over.
    pub(crate) fn wait_interruptible_timeout<T>(
        &self,
        guard: &mut SpinLockGuard<'_, T>,
        jiffies: Jiffies,
    ) -> CondVarTimeoutResult {
        // Sleeping with a second lock in hand would stop others.
        HELD.with(|held| assert_eq!(held.borrow().len(), 1, "a sleep under two locks"));
        // Between the last look and the sleep.
        atomic::switch();
        let lock = guard.of;
        let inner = guard.guard.take().unwrap();
        if jiffies <= 1 {
            drop(inner);
            shuttle::thread::yield_now();
            guard.guard = Some(lock.lock.lock().unwrap());
            return CondVarTimeoutResult::Timeout;
        }
        if jiffies > NEVER || (jiffies == NEVER && !TIMER.get()) {
            guard.guard = Some(self.condition.wait(inner).unwrap());
            return CondVarTimeoutResult::Woken { jiffies };
        }
        let before = self.times.load(Ordering::Relaxed);
        let woken = Cell::new(false);
        drop(inner);
        for _ in 0..shuttle::rand::thread_rng().gen_range(0..PATIENCE) {
            shuttle::thread::yield_now();
            woken.set(self.times.load(Ordering::Relaxed) != before);
            if woken.get() {
                break;
            }
        }
        guard.guard = Some(lock.lock.lock().unwrap());
        match woken.get() {
            true => CondVarTimeoutResult::Woken { jiffies },
            false if jiffies >= NEVER || shuttle::rand::thread_rng().gen() => {
                CondVarTimeoutResult::Timeout
            }
            false => CondVarTimeoutResult::Signal { jiffies },
        }
    }
}

#[derive(Debug)]
pub struct Arc<T>(std::sync::Arc<T>);

/// Memory for a value, or a value that nobody shares yet.
pub(crate) struct UniqueArc<T>(T);

impl<T> UniqueArc<T> {
    pub(crate) fn new_uninit(flags: Flags) -> Result<UniqueArc<MaybeUninit<T>>, AllocError> {
        may_allocate(flags);
        Ok(UniqueArc(MaybeUninit::uninit()))
    }
}

impl<T> UniqueArc<MaybeUninit<T>> {
    pub(crate) fn write(self, value: T) -> UniqueArc<T> {
        UniqueArc(value)
    }
}

impl<T> Deref for UniqueArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for UniqueArc<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<UniqueArc<T>> for Arc<T> {
    fn from(unique: UniqueArc<T>) -> Self {
        Arc(std::sync::Arc::new(unique.0))
    }
}

impl<T> Arc<T> {
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        may_allocate(flags);
        Ok(Arc(std::sync::Arc::new(value)))
    }

    pub fn pin_init(value: T, flags: Flags) -> super::prelude::Result<Self> {
        may_allocate(flags);
        Ok(Arc(std::sync::Arc::new(value)))
    }

    pub(crate) fn into_unique_or_drop(this: Self) -> Option<UniqueArc<T>> {
        atomic::switch();
        std::sync::Arc::into_inner(this.0).map(UniqueArc)
    }

    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Arc(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub(crate) mod rcu {
    pub(crate) struct Guard;

    pub(crate) fn read_lock() -> Guard {
        Guard
    }
}

pub(crate) mod aref {
    //! A reference that the object itself counts.

    pub(crate) type ARef<T> = std::sync::Arc<T>;
}

pub(crate) mod atomic {
    //! Atomics. Those whose order matters are places where another thread may get its turn.
    //!
    //! Each of them is done in one place of the order of all: what a processor may do beyond that is left out.

    use std::sync::Mutex;

    /// Its order does not matter: nobody gets a turn.
    pub(crate) struct Relaxed;
    pub(crate) struct Acquire;
    pub(crate) struct Release;
    pub(crate) struct Full;

    pub(crate) trait Ordering {
        const MATTERS: bool = true;
    }

    impl Ordering for Relaxed {
        const MATTERS: bool = false;
    }

    impl Ordering for Acquire {}
    impl Ordering for Release {}
    impl Ordering for Full {}

    /// Another thread may get its turn, which `yield_now()` would make the rule.
    pub(crate) fn switch() {
        let here = shuttle::sync::atomic::AtomicBool::new(false);
        here.load(std::sync::atomic::Ordering::SeqCst);
    }

    /// A number or truth; the lock stands for what the processor does.
    #[derive(Debug)]
    pub(crate) struct Atomic<T>(Mutex<T>);

    impl<T: Copy + PartialEq> Atomic<T> {
        pub(crate) const fn new(value: T) -> Self {
            Atomic(Mutex::new(value))
        }

        /// Does something in one step; says what the value was.
        fn step<O: Ordering>(&self, _order: O, change: impl FnOnce(T) -> T) -> T {
            if O::MATTERS {
                switch();
            }
            let mut value = self.0.lock().unwrap();
            let old = *value;
            *value = change(old);
            old
        }

        pub(crate) fn load(&self, order: impl Ordering) -> T {
            self.step(order, |value| value)
        }

        pub(crate) fn store(&self, value: T, order: impl Ordering) {
            self.step(order, |_| value);
        }

        pub(crate) fn xchg(&self, value: T, order: impl Ordering) -> T {
            self.step(order, |_| value)
        }

        pub(crate) fn cmpxchg(&self, old: T, new: T, order: impl Ordering) -> Result<T, T> {
            let was = self.step(order, |value| if value == old { new } else { value });
            if was == old {
                Ok(was)
            } else {
                Err(was)
            }
        }
    }

    impl Atomic<u32> {
        pub(crate) fn fetch_add(&self, more: u32, order: impl Ordering) -> u32 {
            self.step(order, |value| value.wrapping_add(more))
        }

        pub(crate) fn fetch_sub(&self, less: u32, order: impl Ordering) -> u32 {
            self.step(order, |value| value.wrapping_sub(less))
        }
    }

    impl Atomic<u64> {
        pub(crate) fn fetch_add(&self, more: u64, order: impl Ordering) -> u64 {
            self.step(order, |value| value.wrapping_add(more))
        }
    }
}

#[macro_export]
macro_rules! new_spinlock {
    ($value:expr, $name:literal) => {
        $crate::sync::SpinLock::new($value, $name)
    };
}

#[macro_export]
macro_rules! new_condvar {
    ($name:literal) => {
        $crate::sync::CondVar::new()
    };
}
