// SPDX-License-Identifier: GPL-2.0

//! Serving one protocol number of another family: a probe on that family's `create`.
//!
//! An unmodified kernel has no hook for a protocol of AF_UNIX that comes in a module. A kprobe at
//! the entry of `unix_create()` sends the calls with our protocol number to our own function; all
//! others run untouched.
//! C header: [`include/linux/kprobes.h`](srctree/include/linux/kprobes.h).

use super::{
    bindings,
    socket::{
        Adapter,
        Operations, //
    },
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque, //
};

use core::{
    marker::PhantomData,
    mem::zeroed, //
};

/// Sends the calls of a `create` function which are for one protocol to `T`.
///
/// # Invariants
///
/// `probe` is registered, and stays where it is.
#[pin_data(PinnedDrop)]
pub(crate) struct Redirect<T: Operations> {
    #[pin]
    probe: Opaque<bindings::kprobe>,
    _to: PhantomData<T>,
}

// SAFETY: The probe is only touched by the kprobe layer, which locks.
unsafe impl<T: Operations> Send for Redirect<T> {}
// SAFETY: As above.
unsafe impl<T: Operations> Sync for Redirect<T> {}

impl<T: Operations> Redirect<T> {
    /// Arms the probe on this `create` function.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such function, `EBUSY` if a live patch, a BPF trampoline or another
    /// probe is there, `EOPNOTSUPP` without kprobes, `ENOMEM`.
    pub(crate) fn new(create: &'static CStr) -> Result<Pin<KBox<Self>>> {
        // A probe without a post-handler, as tracers set, is armed in another way than ours. With
        // ours beside it the kernel forgets that, and warns when the tracer takes its own back.
        if !Self::nobody_else(create)? {
            return Err(EBUSY);
        }
        KBox::try_pin_init(
            try_pin_init!(Self {
                probe <- Opaque::try_ffi_init(|slot: *mut bindings::kprobe| {
                    // SAFETY: The slot is valid for writes; a zeroed probe is an unregistered one.
                    unsafe {
                        slot.write_bytes(0, 1);
                        (*slot).symbol_name = create.as_char_ptr();
                        (*slot).pre_handler = Some(Self::enter);
                        // With a post-handler the probe is not turned into a jump, and may change
                        // `ip`.
                        (*slot).post_handler = Some(Self::leave);
                        // The structure stays until `drop` unregisters it.
                        to_result(bindings::register_kprobe(slot))?;
                        // 7.3 reports no error when a probe cannot be armed, and keeps no such
                        // probe: then it is not one that can be enabled.
                        to_result(bindings::enable_kprobe(slot)).map_err(|_| {
                            bindings::unregister_kprobe(slot);
                            EBUSY
                        })
                    }
                }),
                _to: PhantomData,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Whether no other probe is there: asks by a probe that is never armed.
    fn nobody_else(create: &'static CStr) -> Result<bool> {
        // SAFETY: A zeroed probe is an unregistered one.
        let mut probe: KBox<bindings::kprobe> = KBox::new(unsafe { zeroed() }, GFP_KERNEL)?;
        probe.symbol_name = create.as_char_ptr();
        probe.flags = bindings::KPROBE_FLAG_DISABLED;
        let probe: *mut bindings::kprobe = &mut *probe;
        // SAFETY: The structure stays where it is until it is unregistered again. Whoever changes
        // the list meanwhile writes whole words.
        unsafe {
            to_result(bindings::register_kprobe(probe))?;
            // A ring of it alone, or, as the kernel tries to turn it into a jump, of it and a head.
            let next = (&raw const (*probe).list.next).read_volatile();
            let alone = next == (&raw const (*probe).list.prev).read_volatile();
            bindings::unregister_kprobe(probe);
            Ok(alone)
        }
    }

    /// At the first instruction of the probed function: its arguments are still in their registers.
    ///
    /// # Safety
    ///
    /// To be called by the kprobe layer only.
    unsafe extern "C" fn enter(
        _probe: *mut bindings::kprobe,
        regs: *mut bindings::pt_regs,
    ) -> c_int {
        // SAFETY: The kprobe layer's own call; `regs` is valid. `ip` becomes a function of the same
        // signature.
        unsafe {
            if (*regs).dx as u32 != u32::from(T::PROTOCOL) {
                return 0;
            }
            // From here to the end of `create` the task is inside the module without a socket that
            // pins it.
            if !bindings::try_module_get(T::MODULE.as_ptr()) {
                return 0;
            }
            let target: unsafe extern "C" fn(_, _, _, _) -> _ = Self::create;
            (*regs).ip = target as usize as c_ulong;
        }
        1
    }

    /// Nothing: it is there for what its presence means.
    ///
    /// # Safety
    ///
    /// To be called by the kprobe layer only.
    unsafe extern "C" fn leave(
        _probe: *mut bindings::kprobe,
        _regs: *mut bindings::pt_regs,
        _flags: c_ulong,
    ) {
    }

    /// What runs instead of the probed function.
    ///
    /// # Safety
    ///
    /// To be called by the kprobe layer only.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        sock: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        let result = from_result(|| {
            // SAFETY: The arguments are those of the probed `create`.
            unsafe { Adapter::<T>::create_socket(net, sock, protocol, kern, true) }.map(|()| 0)
        });
        if result != 0 {
            // A socket that was made keeps the reference until its release, see `Adapter::release`;
            // for one that was not it ends here. Nothing sleeps between this and the return to the
            // core, which is what `synchronize_rcu_tasks()` below waits for.
            // SAFETY: `enter` took it.
            unsafe { bindings::module_put(T::MODULE.as_ptr()) };
        }
        result
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for Redirect<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered.
        unsafe {
            bindings::unregister_kprobe(self.probe.get());
            // A task may still be in the last instructions of `create`.
            bindings::synchronize_rcu_tasks();
        }
    }
}
