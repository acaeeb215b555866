// SPDX-License-Identifier: GPL-2.0

//! A work queue: each run of a work item is a thread of shuttle's.

use super::sync::none_held;
use super::sync::Arc;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

pub(crate) struct Queue;

/// Whether it is to run and has not begun.
pub(crate) struct Work<T>(AtomicBool, PhantomData<fn(T)>);

impl<T> Work<T> {
    pub(crate) fn new() -> Self {
        Work(AtomicBool::new(false), PhantomData)
    }
}

pub(crate) trait HasWork {
    fn pending(&self) -> &AtomicBool;
}

pub(crate) trait WorkItem {
    type Pointer;
    fn run(this: Self::Pointer);
}

impl<T> Work<T> {
    pub(crate) fn pending(&self) -> &AtomicBool {
        &self.0
    }
}

impl Queue {
    pub(crate) fn enqueue<T>(&self, item: Arc<T>) -> Result<(), Arc<T>>
    where
        T: HasWork + WorkItem<Pointer = Arc<T>> + Send + Sync + 'static,
    {
        if item.pending().swap(true, SeqCst) {
            return Err(item);
        }
        shuttle::thread::spawn(move || {
            item.pending().store(false, SeqCst);
            T::run(item);
            none_held("a work item ends");
        });
        Ok(())
    }
}

/// The kernel's macro of that name.
#[macro_export]
macro_rules! new_work {
    ($name:literal) => {
        $crate::workqueue::Work::new()
    };
}

/// The kernel's macro of that name.
#[macro_export]
macro_rules! impl_has_work {
    (impl HasWork<Self> for $type:ident { self.$field:ident }) => {
        impl $crate::workqueue::HasWork for $type {
            fn pending(&self) -> &std::sync::atomic::AtomicBool {
                self.$field.pending()
            }
        }
    };
}

pub(crate) use crate::impl_has_work;
pub(crate) use crate::new_work;
