// SPDX-License-Identifier: GPL-2.0

//! Sysctls: small numbers of a network namespace, and limits of the whole machine.
//!
//! A [`Folder`] says which files there are. The files exist while the namespace does:
//! [`super::net_ns`] makes and removes them, as only that code knows when a namespace ends.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h).

use super::{
    bindings,
    net_ns::Net, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// What may be written to a [`Number`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Any value from 0 to the most there is.
    UpTo(i32),
    /// Only a value not above the present one.
    OnlyDown,
}

/// A small number that is not negative, as a file of `/proc/sys`.
pub(crate) struct Number {
    value: Atomic<i32>,
    range: Range,
}

impl Number {
    /// One of this value.
    pub(crate) fn new(value: i32, range: Range) -> Self {
        Self {
            value: Atomic::new(value),
            range,
        }
    }

    /// The present value.
    pub(crate) fn get(&self) -> i32 {
        self.value.load(Relaxed)
    }

    /// Sets the value, of several writers one after the other.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not in the range.
    fn set(&self, new: i32) -> Result {
        let mut now = self.get();
        loop {
            let max = match self.range {
                Range::UpTo(max) => max,
                Range::OnlyDown => now,
            };
            if !(0..=max).contains(&new) {
                return Err(EINVAL);
            }
            match self.value.cmpxchg(now, new, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => now = other,
            }
        }
    }
}

/// A limit of the whole machine, as a file of `/proc/sys`.
///
/// In the file it is an `unsigned long`: where that has 32 bits, what is more is shown as the most
/// of these.
pub(crate) struct Limit {
    /// The file's name.
    pub(crate) name: &'static CStr,
    /// Where the value is.
    pub(crate) value: &'static Atomic<u64>,
    /// The least that may be written.
    pub(crate) min: u64,
    /// The most.
    pub(crate) max: u64,
}

/// Who is told when somebody has written a limit.
pub(crate) trait Written: Send + Sync {
    /// One has another value, or perhaps the same. May sleep.
    fn written(this: &Arc<Self>);
}

/// The files of one folder of `/proc/sys`, as a network namespace has them.
///
/// # Invariants
///
/// What the entries of `table` point to is static or owned by `_number` and `_told`: `data` is a
/// [`Number`], or a `T` with a [`Limit`] in `extra1`.
pub(crate) struct Folder<T: Written> {
    path: &'static CStr,
    table: KVec<bindings::ctl_table>,
    _number: Arc<Number>,
    _told: Arc<T>,
}

impl<T: Written> Folder<T> {
    /// The folder `path` of the namespace `net`: a file for a number, which whoever owns the
    /// namespace may write, and one for each of these limits, which can be written in the initial
    /// namespace only. `told` is told when a limit is written.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        net: &Net,
        path: &'static CStr,
        (name, number): (&'static CStr, Arc<Number>),
        limits: &'static [Limit],
        told: Arc<T>,
    ) -> Result<Self> {
        let mut table = KVec::new();
        // INVARIANT: The number will be ours.
        let entry = bindings::ctl_table {
            procname: name.as_char_ptr(),
            data: Arc::as_ptr(&number).cast_mut().cast(),
            maxlen: size_of::<c_int>() as c_int,
            mode: 0o644,
            proc_handler: Some(access_number),
            ..pin_init::zeroed()
        };
        table.push(entry, GFP_KERNEL)?;
        for limit in limits {
            // INVARIANT: The limit is static, and `told` will be ours.
            let entry = bindings::ctl_table {
                procname: limit.name.as_char_ptr(),
                data: Arc::as_ptr(&told).cast_mut().cast(),
                maxlen: size_of::<c_ulong>() as c_int,
                mode: if net.is_initial() { 0o644 } else { 0o444 },
                proc_handler: Some(access_limit::<T>),
                extra1: core::ptr::from_ref(limit).cast_mut().cast(),
                ..pin_init::zeroed()
            };
            table.push(entry, GFP_KERNEL)?;
        }
        Ok(Self {
            path,
            table,
            _number: number,
            _told: told,
        })
    }

    /// Makes the files in the namespace `net`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// The result must be dropped before the namespace ends.
    pub(super) unsafe fn register(mut self, net: &Net) -> Result<Files<T>> {
        // SAFETY: All of it is valid: the table stays where it is, also when `self` is moved, and
        // what its entries point to is there as long as `self`, by the type invariant.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net.as_raw(),
                self.path.as_char_ptr(),
                self.table.as_mut_ptr(),
                self.table.len(),
            )
        };
        // INVARIANT: It was registered just now.
        Ok(Files {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _folder: self,
        })
    }
}

/// The files of a [`Folder`], which are there.
///
/// # Invariants
///
/// `header` is that of the folder's table, which is registered.
pub(super) struct Files<T: Written> {
    header: NonNull<bindings::ctl_table_header>,
    /// Dropped after the files have gone.
    _folder: Folder<T>,
}

impl<T: Written> Drop for Files<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. It waits for readers and writers of the files.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

/// Reads or writes the file of a [`Number`].
///
/// # Safety
///
/// To be called by the sysctl code alone, with the entry that [`Folder::new`] has made of a number.
unsafe extern "C" fn access_number(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    position: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: By the type invariant of `Folder` it is a number, which is there as long as the entry
    // is.
    let number = unsafe { &*(*table).data.cast::<Number>() };
    let mut value: c_int = number.get();
    // SAFETY: The entry is valid, and has no destructor.
    let mut plain = unsafe { table.read() };
    plain.data = (&raw mut value).cast();
    // SAFETY: `plain` describes a number that is ours; the rest is the caller's.
    let result = unsafe { bindings::proc_dointvec(&plain, write, buffer, len, position) };
    if write == 0 || result != 0 {
        return result;
    }
    number.set(value).map_or_else(Error::to_errno, |()| 0)
}

/// Reads or writes the file of a [`Limit`].
///
/// # Safety
///
/// To be called by the sysctl code alone, with an entry that [`Folder::new`] has made of a limit,
/// of a folder of this type.
unsafe extern "C" fn access_limit<T: Written>(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    position: *mut bindings::loff_t,
) -> c_int {
    let word = |value: u64| c_ulong::try_from(value).unwrap_or(c_ulong::MAX);
    // SAFETY: By the type invariant of `Folder` these are a limit and what an `Arc` points to that
    // is there as long as the entry is.
    let (limit, told) = unsafe {
        (
            &*(*table).extra1.cast::<Limit>(),
            ManuallyDrop::new(Arc::from_raw((*table).data.cast::<T>().cast_const())),
        )
    };
    let mut value = word(limit.value.load(Relaxed));
    let (mut min, mut max) = (word(limit.min), word(limit.max));
    // SAFETY: The entry is valid, and has no destructor.
    let mut plain = unsafe { table.read() };
    plain.data = (&raw mut value).cast();
    plain.extra1 = (&raw mut min).cast();
    plain.extra2 = (&raw mut max).cast();
    // SAFETY: `plain` describes numbers of the type `unsigned long` that are ours; the rest is the
    // caller's.
    let result = unsafe { bindings::proc_doulongvec_minmax(&plain, write, buffer, len, position) };
    if write != 0 && result == 0 {
        limit.value.store(value as u64, Relaxed);
        T::written(&told);
    }
    result
}
