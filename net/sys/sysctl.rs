// SPDX-License-Identifier: GPL-2.0

//! Sysctls: one small number per network namespace, or limits of the whole machine.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h).

use super::{
    bindings,
    net_ns::Net, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    },
    types::Opaque, //
};

use core::{
    ffi::{
        c_int,
        c_void, //
    },
    ptr::null_mut,
};

/// Whether a setting may be raised again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Any value from 0 to the most there is.
    UpTo(i32),
    /// Only to a value not above the present one.
    OnlyDown,
}

/// A registered sysctl and its value.
///
/// # Invariants
///
/// `header` is null or that of the registered `table`, which points into this structure.
#[pin_data(PinnedDrop)]
pub(crate) struct IntSysctl {
    #[pin]
    value: Opaque<i32>,
    #[pin]
    limits: Opaque<[i32; 2]>,
    #[pin]
    table: Opaque<[bindings::ctl_table; 1]>,
    header: *mut bindings::ctl_table_header,
}

// SAFETY: The sysctl code may be called from any thread; `value` is only read as a whole.
unsafe impl Send for IntSysctl {}
// SAFETY: As above.
unsafe impl Sync for IntSysctl {}

impl IntSysctl {
    /// Registers the file `name` in the folder `path` of `/proc/sys`, as the namespace `net` sees it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new<'a>(
        net: &'a Net,
        path: &'static CStr,
        name: &'static CStr,
        value: i32,
        range: Range,
    ) -> impl PinInit<Self, Error> + 'a {
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes and pinned: the pointers into it stay good until `drop`.
            unsafe {
                let place = Opaque::cast_into(&raw const (*slot).value);
                place.write(value);
                let limits = Opaque::cast_into(&raw const (*slot).limits);
                let max = if let Range::UpTo(max) = range {
                    max
                } else {
                    value
                };
                limits.write([0, max]);
                let table = Opaque::cast_into(&raw const (*slot).table);
                table.write([bindings::ctl_table {
                    procname: name.as_char_ptr(),
                    data: place.cast(),
                    maxlen: size_of::<i32>() as i32,
                    mode: 0o644,
                    proc_handler: Some(bindings::proc_dointvec_minmax),
                    extra1: limits.cast(),
                    extra2: match range {
                        Range::UpTo(_) => limits.cast::<i32>().add(1).cast(),
                        // The bound is the value itself.
                        Range::OnlyDown => place.cast(),
                    },
                    poll: null_mut(),
                }]);
                (&raw mut (*slot).header).write(bindings::register_net_sysctl_sz(
                    net.as_raw(),
                    path.as_char_ptr(),
                    table.cast(),
                    1,
                ));
                if (*slot).header.is_null() {
                    return Err(ENOMEM);
                }
            }
            Ok(())
        };
        // SAFETY: On success all fields are initialised; on failure nothing is left that needs a destructor.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// The present value.
    pub(crate) fn get(&self) -> i32 {
        // SAFETY: The place is valid; the sysctl code stores whole numbers.
        unsafe { self.value.get().read_volatile() }
    }
}

#[pinned_drop]
impl PinnedDrop for IntSysctl {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. It waits for readers and writers of the file.
        unsafe { bindings::unregister_net_sysctl_table(self.header) };
    }
}

/// A limit of the whole machine, as a file of `/proc/sys`.
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

/// Limits of the whole machine, which can be written in the initial network namespace only.
///
/// # Invariants
///
/// `header` is null or that of the registered `table`, which points into this structure and to what is static: `data` of
/// each entry to `told`, `extra1` to its [`Limit`].
#[pin_data(PinnedDrop)]
pub(crate) struct Limits<const N: usize, T: Written> {
    #[pin]
    table: Opaque<[bindings::ctl_table; N]>,
    told: Arc<T>,
    header: *mut bindings::ctl_table_header,
}

// SAFETY: The sysctl code may be called from any thread; the values are atomics, which it reads and writes as wholes, and
// `told` may be used from any thread.
unsafe impl<const N: usize, T: Written> Send for Limits<N, T> {}
// SAFETY: As above.
unsafe impl<const N: usize, T: Written> Sync for Limits<N, T> {}

/// Reads or writes a file.
///
/// # Safety
///
/// To be called by the sysctl code alone, with an entry of a [`Limits`] of this type.
unsafe extern "C" fn access<T: Written>(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    position: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: By the type invariant of `Limits` these are a `Limit` and an `Arc<T>`, which are there as long as the entry is.
    let (limit, told) = unsafe {
        (
            &*(*table).extra1.cast::<Limit>(),
            &*(*table).data.cast::<Arc<T>>(),
        )
    };
    // SAFETY: The entry is valid, and has no destructor.
    let mut plain = unsafe { table.read() };
    plain.data = limit.value.as_ptr().cast();
    plain.extra1 = (&raw const limit.min).cast_mut().cast();
    plain.extra2 = (&raw const limit.max).cast_mut().cast();
    // SAFETY: `plain` describes a number that is static; the rest is the caller's.
    let result = unsafe { bindings::proc_doulongvec_minmax(&plain, write, buffer, len, position) };
    if write != 0 && result == 0 {
        T::written(told);
    }
    result
}

impl<const N: usize, T: Written> Limits<N, T> {
    /// Registers the files in the folder `path` of `/proc/sys`, as the namespace `net` sees it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new<'a>(
        net: &'a Net,
        path: &'static CStr,
        limits: &'static [Limit; N],
        told: Arc<T>,
    ) -> impl PinInit<Self, Error> + 'a
    where
        T: 'a,
    {
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes and pinned: the pointers into it stay good until `drop`.
            unsafe {
                (&raw mut (*slot).told).write(told);
                let table = Opaque::cast_into(&raw const (*slot).table);
                table.write(limits.each_ref().map(|limit| bindings::ctl_table {
                    procname: limit.name.as_char_ptr(),
                    data: (&raw mut (*slot).told).cast(),
                    maxlen: size_of::<u64>() as i32,
                    mode: if net.is_initial() { 0o644 } else { 0o444 },
                    proc_handler: Some(access::<T>),
                    extra1: core::ptr::from_ref::<Limit>(limit).cast_mut().cast(),
                    extra2: null_mut(),
                    poll: null_mut(),
                }));
                (&raw mut (*slot).header).write(bindings::register_net_sysctl_sz(
                    net.as_raw(),
                    path.as_char_ptr(),
                    table.cast(),
                    N,
                ));
                if (*slot).header.is_null() {
                    (&raw mut (*slot).told).drop_in_place();
                    return Err(ENOMEM);
                }
            }
            Ok(())
        };
        // SAFETY: On success all fields are initialised; on failure nothing is left that needs a destructor.
        unsafe { pin_init::pin_init_from_closure(init) }
    }
}

#[pinned_drop]
impl<const N: usize, T: Written> PinnedDrop for Limits<N, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. It waits for readers and writers of the files.
        unsafe { bindings::unregister_net_sysctl_table(self.header) };
    }
}
