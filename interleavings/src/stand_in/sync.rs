// SPDX-License-Identifier: GPL-2.0

//! The kernel's locks and condition variables, made of shuttle's, and a look at how they are used.
//!
//! A lock knows its name. [`Mutex::lock`] insists on the order that `net/endpoint.rs` states, and
//! [`none_held`] on what must be done without locks.

use super::alloc::AllocError;
use super::alloc::Flags;
use super::time::Jiffies;
use shuttle::rand::Rng;
use std::cell::Cell;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Locks by their name, outermost first. The rest is taken alone.
const ORDER: [&str; 5] = [
    "kbus::settings",
    "kbus::buses",
    "kbus::bus",
    "kbus::users",
    "kbus::queue",
];
const ALONE: usize = ORDER.len();

shuttle::thread_local! {
    /// The locks of this thread: their places in [`ORDER`].
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Insists that this thread holds no lock: it wakes somebody, or touches the memory of a program.
pub(crate) fn none_held(what: &str) {
    HELD.with(|held| assert!(held.borrow().is_empty(), "{what} under a lock"));
}

/// Insists that nothing is allocated under the lock of all users, and no memory waited for under that of a bus.
pub(crate) fn may_allocate(flags: Flags) {
    let place = |name| ORDER.iter().position(|lock| *lock == name);
    let (bus, users) = (place("kbus::bus"), place("kbus::users"));
    // Statics are made outside of any thread of a test.
    let _ = HELD.try_with(|held| {
        let held = held.borrow();
        let holds = |lock| held.iter().any(|place| Some(*place) == lock);
        assert!(!holds(users), "an allocation under the lock of all users");
        assert!(
            !flags.may_wait() || !holds(bus),
            "an allocation that may sleep under the lock of a bus"
        );
    });
}

pub(crate) struct Mutex<T> {
    place: usize,
    lock: shuttle::sync::Mutex<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while its condition variable has given the lock up.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T, name: &str) -> Self {
        Mutex {
            place: ORDER.iter().position(|n| *n == name).unwrap_or(ALONE),
            lock: shuttle::sync::Mutex::new(value),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let place = self.place;
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            let in_order = held
                .last()
                .is_none_or(|last| *last < place && place != ALONE);
            assert!(in_order, "lock {place} after {held:?}");
            held.push(place);
        });
        MutexGuard {
            mutex: self,
            guard: Some(self.lock.lock().unwrap()),
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        let place = self.mutex.place;
        // The thread may have ended by a panic, and its variables with it.
        let _ = HELD.try_with(|held| held.borrow_mut().retain(|other| *other != place));
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
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
/// From here on a sleep is for ever, as in `net/endpoint.rs`.
const FOR_EVER: Jiffies = i64::MAX as Jiffies;

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

    /// Sleeps; where there is a time limit it is over, or a signal comes, after a while that the scheduler chooses.
    pub(crate) fn wait_interruptible_timeout<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        jiffies: Jiffies,
    ) -> CondVarTimeoutResult {
        // Sleeping with a second lock in hand would stop others.
        HELD.with(|held| assert_eq!(held.borrow().len(), 1, "a sleep under two locks"));
        let mutex = guard.mutex;
        let inner = guard.guard.take().unwrap();
        if jiffies >= FOR_EVER {
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
        guard.guard = Some(mutex.lock.lock().unwrap());
        match woken.get() {
            true => CondVarTimeoutResult::Woken { jiffies },
            false if shuttle::rand::thread_rng().gen() => CondVarTimeoutResult::Timeout,
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

pub(crate) mod aref {
    //! A reference that the object itself counts.

    pub(crate) type ARef<T> = std::sync::Arc<T>;
}

pub(crate) mod atomic {
    //! Atomics, at which no other thread gets its turn.

    use std::sync::Mutex;

    pub(crate) struct Relaxed;

    /// A number; the lock stands for what the processor does.
    pub(crate) struct Atomic<T>(Mutex<T>);

    impl<T: Copy> Atomic<T> {
        pub(crate) const fn new(value: T) -> Self {
            Atomic(Mutex::new(value))
        }

        pub(crate) fn load(&self, _order: Relaxed) -> T {
            *self.0.lock().unwrap()
        }

        pub(crate) fn store(&self, value: T, _order: Relaxed) {
            *self.0.lock().unwrap() = value;
        }
    }

    impl Atomic<u32> {
        pub(crate) fn fetch_add(&self, more: u32, _order: Relaxed) {
            let mut value = self.0.lock().unwrap();
            *value = value.wrapping_add(more);
        }

        pub(crate) fn fetch_sub(&self, less: u32, _order: Relaxed) {
            let mut value = self.0.lock().unwrap();
            *value = value.wrapping_sub(less);
        }
    }

    impl Atomic<u64> {
        pub(crate) fn fetch_add(&self, more: u64, _order: Relaxed) -> u64 {
            let mut value = self.0.lock().unwrap();
            let old = *value;
            *value = old.wrapping_add(more);
            old
        }

        pub(crate) fn cmpxchg(&self, old: u64, new: u64, _order: Relaxed) -> Result<u64, u64> {
            let mut value = self.0.lock().unwrap();
            if *value != old {
                return Err(*value);
            }
            *value = new;
            Ok(old)
        }
    }
}

#[macro_export]
macro_rules! new_mutex {
    ($value:expr, $name:literal) => {
        $crate::sync::Mutex::new($value, $name)
    };
}

#[macro_export]
macro_rules! new_condvar {
    ($name:literal) => {
        $crate::sync::CondVar::new()
    };
}
