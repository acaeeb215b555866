// SPDX-License-Identifier: GPL-2.0

//! What the module uses of the kernel's own crate, under the same names.

pub(crate) mod alloc;
pub(crate) mod prelude;
pub(crate) mod rbtree;
pub(crate) mod sync;
pub(crate) mod sys;

pub(crate) mod time {
    //! Time that only passes where a thread sleeps.

    pub(crate) type Jiffies = usize;

    pub(crate) trait ClockSource {
        fn ktime_get() -> i64 {
            0
        }
    }

    pub(crate) struct RealTime;

    impl ClockSource for RealTime {}

    /// A time after which the module looks again by itself: it never comes, so that nobody can rely on it.
    pub(crate) const NEVER: Jiffies = 1 << 32;

    pub(crate) fn msecs_to_jiffies(_: u32) -> Jiffies {
        NEVER
    }
}

pub(crate) mod task {
    //! Tasks, of which only the sleeps matter.

    pub(crate) const MAX_SCHEDULE_TIMEOUT: isize = isize::MAX;
}

pub(crate) mod module {
    //! The module as the socket layer knows it.

    pub(crate) struct ThisModule;

    pub(crate) trait ModuleMetadata {
        const THIS_MODULE: ThisModule;
    }
}
