// SPDX-License-Identifier: GPL-2.0

//! Memory of cgroups at their limit, for those who cannot wait for it.

use crate::sys::{
    memory::{
        self,
        MemoryCgroup, //
    },
    work::WorkQueue, //
};
use kernel::{
    new_spinlock,
    new_work,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    workqueue::{
        impl_has_work,
        Work,
        WorkItem, //
    }, //
};

/// Memory cgroups that may wait for [`Reclaimer`]; more are forgotten, and come again.
const WANTED: usize = 8;
/// What is to be free in each, in bytes.
const FREE: usize = 256 << 10;

/// Frees memory in memory cgroups at their limit, for those who cannot wait for it.
///
/// A message for a socket whose cgroup is full is missed. But most often the cgroup is full of
/// files that were read, of which it can do without some. Nobody who sends waits for that.
pub(crate) struct Reclaimer {
    wanted: Arc<Wanted>,
    queue: WorkQueue,
}

#[pin_data]
struct Wanted {
    #[pin]
    cgroups: SpinLock<[Option<MemoryCgroup>; WANTED]>,
    #[pin]
    work: Work<Wanted>,
}

impl_has_work! {
    impl HasWork<Self> for Wanted { self.work }
}

impl WorkItem for Wanted {
    type Pointer = Arc<Wanted>;

    fn run(this: Arc<Wanted>) {
        while let Some(cgroup) = this.take() {
            // If there is nothing to free, its queues stay full.
            let _ = cgroup.charge(|| memory::reclaim(FREE));
        }
    }
}

impl Wanted {
    fn take(&self) -> Option<MemoryCgroup> {
        self.cgroups.lock().iter_mut().find_map(Option::take)
    }
}

impl Reclaimer {
    /// One who has nothing to do.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let wanted = Arc::pin_init(
            pin_init!(Wanted {
                cgroups <- new_spinlock!([const { None }; WANTED], "kbus::reclaim"),
                work <- new_work!("kbus::reclaim"),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            wanted,
            queue: WorkQueue::new(c"kbus")?,
        })
    }

    /// Frees some memory in this cgroup, soon. Does not sleep.
    pub(crate) fn want(&self, cgroup: &MemoryCgroup) {
        {
            let mut cgroups = self.wanted.cgroups.lock();
            let mut there = cgroups.iter().flatten();
            if there.any(|other| other.id() == cgroup.id()) {
                return;
            }
            match cgroups.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(cgroup.clone()),
                None => return,
            }
        }
        // It may be queued already.
        let _ = self.queue.queue().enqueue(self.wanted.clone());
    }
}
