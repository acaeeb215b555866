// SPDX-License-Identifier: GPL-2.0

//! State that each network namespace has of its own.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h).

use super::{
    bindings,
    proc::FileOf,
    sysctl::{
        Files,
        Folder,
        Written, //
    },
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    },
    types::Opaque, //
};

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::null_mut, //
};

/// A network namespace, borrowed from something that keeps it alive.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

impl Net {
    /// # Safety
    ///
    /// `net` must be valid for the whole of `'a`.
    pub(super) unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: The layouts are the same, and the caller promises validity.
        unsafe { &*net.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }

    /// Whether it is the one that the machine started with.
    pub(crate) fn is_initial(&self) -> bool {
        core::ptr::eq(self.0.get(), &raw const bindings::init_net)
    }

    /// The namespace's own `T`, or `None` while it has none: until registration is complete.
    pub(crate) fn state<T: NetState>(&self) -> Option<Arc<T>> {
        if !T::cell().complete.load(Acquire) {
            return None;
        }
        // SAFETY: Registration is complete, so the id is written and the namespace has a cell.
        let cell = unsafe { bindings::net_generic(self.0.get(), *T::cell().id.get()) };
        if cell.is_null() {
            return None;
        }
        // SAFETY: The cell is a pointer, zeroed by the kernel or set by `init`. What it points to
        // stays until `exit`, when nobody has the namespace any more.
        let own = unsafe { (*cell.cast::<*const Own<T>>()).as_ref() };
        own.map(|own| own.state.clone())
    }
}

/// A type of which every network namespace has one.
pub(crate) trait NetState: Sized + Send + Sync + 'static {
    /// What all of them share.
    type Shared: Send + Sync + 'static;

    /// Who is told of a limit that was written.
    type Told: Written + 'static;

    /// Storage for the registration; always the same.
    fn cell() -> &'static NetCell;

    /// Makes the state of `net`. `maker` is that of the namespace it is made from, where there is
    /// one.
    fn create(net: &Net, maker: Option<Arc<Self>>, shared: &Arc<Self::Shared>)
        -> Result<Arc<Self>>;

    /// The files of `/proc/sys` of a state that was made for `net`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn sysctls(&self, net: &Net) -> Result<Folder<Self::Told>>;

    /// The files of `/proc/net` that show it; always the same.
    fn files() -> &'static [FileOf<Self>];
}

/// What a network namespace keeps until it ends.
///
/// The files of `/proc/sys` are here, and not in the state. Others may have a reference to the
/// state and drop it when the namespace has gone, and the files must have gone before.
struct Own<T: NetState> {
    _sysctls: Files<T::Told>,
    state: Arc<T>,
}

/// Storage for a registration, for a `static`.
pub(crate) struct NetCell {
    ops: Opaque<bindings::pernet_operations>,
    id: Opaque<c_uint>,
    /// What the [`NetRegistration`] keeps for all.
    shared: Opaque<*const c_void>,
    /// Every namespace that there is has its state: before that none may be asked for it, as the
    /// kernel sets the id first and then makes the states one after another.
    complete: Atomic<bool>,
}

// SAFETY: Written only while the module is loaded or unloaded, when there are no sockets.
unsafe impl Sync for NetCell {}

impl NetCell {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            ops: Opaque::zeroed(),
            id: Opaque::zeroed(),
            shared: Opaque::zeroed(),
            complete: Atomic::new(false),
        }
    }
}

/// Keeps a [`NetState`] registered.
///
/// # Invariants
///
/// `T::cell()` is filled in and registered, and its `shared` comes from an `Arc<T::Shared>`.
pub(crate) struct NetRegistration<T: NetState>(PhantomData<T>);

impl<T: NetState> NetRegistration<T> {
    /// Makes a `T` for each namespace, and for each that comes. To be called once per load of the
    /// module.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what [`NetState::create`] says.
    pub(crate) fn new(shared: Arc<T::Shared>) -> Result<Self> {
        let ops = T::cell().ops.get();
        // SAFETY: It is not registered, so nobody else looks at it.
        unsafe {
            (*ops).init = Some(Self::init);
            (*ops).exit = Some(Self::exit);
            (*ops).id = T::cell().id.get();
            (*ops).size = size_of::<*const Own<T>>();
            T::cell().shared.get().write(Arc::into_raw(shared).cast());
        }
        // SAFETY: It is filled in and, being static, stays.
        to_result(unsafe { bindings::register_pernet_subsys(ops) }).inspect_err(|_| {
            // SAFETY: Nobody looks at it, as it is not registered.
            unsafe { Self::forget_shared() }
        })?;
        T::cell().complete.store(true, Release);
        // INVARIANT: It succeeded.
        Ok(Self(PhantomData))
    }

    /// Drops what the namespaces have shared.
    ///
    /// # Safety
    ///
    /// `new` must have put it there, and nobody may look at it any more.
    unsafe fn forget_shared() {
        // SAFETY: By the safety requirements.
        drop(unsafe { Arc::from_raw((*T::cell().shared.get()).cast::<T::Shared>()) });
    }

    /// Callback `init`.
    ///
    /// # Safety
    ///
    /// To be called by the network namespace code only.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        from_result(|| {
            // SAFETY: `current` has a namespace of its own here, which stays during the call.
            let maker = unsafe { Net::from_raw(bindings::current_net()) }.state::<T>();
            // SAFETY: `new` put it there, where it stays as long as this can be called.
            let shared = ManuallyDrop::new(unsafe {
                Arc::from_raw((*T::cell().shared.get()).cast::<T::Shared>())
            });
            // SAFETY: The kernel's own call: `net` is valid.
            let net = unsafe { Net::from_raw(net) };
            let state = T::create(net, maker, &shared)?;
            // SAFETY: It is dropped here or by `forget`, which is called before the namespace ends.
            let sysctls = unsafe { state.sysctls(net)?.register(net)? };
            let own = Own {
                _sysctls: sysctls,
                state,
            };
            let own = KBox::new(own, GFP_KERNEL)?;
            // SAFETY: The kernel's own call: `net` is valid and has a cell of `size` bytes.
            unsafe {
                let cell = bindings::net_generic(net.as_raw(), *T::cell().id.get());
                cell.cast::<*mut Own<T>>().write(KBox::into_raw(own));
            }
            for (made, file) in T::files().iter().enumerate() {
                file.create(net).inspect_err(|_| {
                    T::files()
                        .iter()
                        .take(made)
                        .for_each(|file| file.remove(net));
                    // SAFETY: The kernel does not call `exit` for a namespace whose `init` failed.
                    unsafe { Self::forget(net) };
                })?;
            }
            Ok(0)
        })
    }

    /// Drops the state of a namespace.
    ///
    /// # Safety
    ///
    /// Nobody may ask for it any more.
    unsafe fn forget(net: &Net) {
        // SAFETY: The namespace has a cell, in which `init` put a `KBox` or nothing.
        unsafe {
            let cell = bindings::net_generic(net.as_raw(), *T::cell().id.get());
            let own = cell.cast::<*mut Own<T>>().replace(null_mut());
            if !own.is_null() {
                drop(KBox::from_raw(own));
            }
        }
    }

    /// Callback `exit`.
    ///
    /// # Safety
    ///
    /// To be called by the network namespace code only.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: The kernel's own call: `net` is valid.
        let net = unsafe { Net::from_raw(net) };
        T::files().iter().for_each(|file| file.remove(net));
        // SAFETY: There are no sockets and, now, no readers of its files in the namespace.
        unsafe { Self::forget(net) };
    }
}

impl<T: NetState> Drop for NetRegistration<T> {
    fn drop(&mut self) {
        T::cell().complete.store(false, Release);
        // SAFETY: By the type invariant. There is no namespace with such a state after the first
        // call.
        unsafe {
            bindings::unregister_pernet_subsys(T::cell().ops.get());
            Self::forget_shared();
        }
    }
}
