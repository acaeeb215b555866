// SPDX-License-Identifier: GPL-2.0

//! A reference-counted `struct sock`.

use super::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        rcu, //
    },
    types::Opaque, //
};

use core::ptr::{
    null_mut,
    NonNull, //
};

/// The network-layer half of a socket, `struct sock`.
///
/// It lives as long as somebody holds a reference, also after the file was closed; what is done to
/// it then has no effect.
///
/// # Invariants
///
/// Instances are always reference counted, that is `sock_hold()` and `sock_put()` may be called on
/// them.
#[repr(transparent)]
pub(crate) struct Sock(Opaque<bindings::sock>);

// SAFETY: A `struct sock` may be referenced and released from any thread.
unsafe impl Send for Sock {}
// SAFETY: The methods below may be called concurrently: each is as safe as the C function it calls.
unsafe impl Sync for Sock {}

// SAFETY: By the type invariant, the reference count is the one of `sock_hold()` and `sock_put()`.
unsafe impl AlwaysRefCounted for Sock {
    fn inc_ref(&self) {
        // SAFETY: `self` is a valid `struct sock`.
        unsafe { bindings::sock_hold(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirements the caller owns one reference, which is given up here.
        unsafe { bindings::sock_put(obj.as_ptr().cast()) };
    }
}

impl Sock {
    /// Borrows a raw pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be a valid `struct sock` for the whole of `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::sock) -> &'a Self {
        // SAFETY: The layouts are the same, and the caller promises validity.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::sock {
        self.0.get()
    }

    /// Wakes whoever polls for readability: `poll`, `select`, `epoll`, io_uring and `SIGIO`.
    ///
    /// Who waits for other things only, such as `EPOLLRDHUP`, needs [`Self::state_change`].
    pub(crate) fn data_ready(&self) {
        // SAFETY: `self` is valid, and `sock_init_data()` has set the callback, which takes its own
        // locks and is safe on an orphaned socket.
        unsafe { bindings::sk_data_ready(self.as_raw()) };
    }

    /// Whether [`Self::data_ready`] would find anybody.
    ///
    /// As in `skwq_has_sleeper()`, a full barrier must come between what they wait for and this.
    #[inline]
    pub(crate) fn is_waited_for(&self, _: &rcu::Guard) -> bool {
        // SAFETY: `self` is valid. What its wait queue is in stays as long as the read section,
        // which the guard stands for.
        unsafe { bindings::sk_is_waited_for(self.as_raw()) }
    }

    /// Wakes whoever polls, whatever for.
    pub(crate) fn state_change(&self) {
        // SAFETY: As in `data_ready`.
        unsafe { bindings::sk_state_change(self.as_raw()) };
    }

    /// Wakes whoever polls for room to send, and sends `SIGIO` where [`Self::want_space`] came
    /// before.
    pub(crate) fn write_space(&self) {
        // SAFETY: As in `data_ready`.
        unsafe { bindings::sk_write_space(self.as_raw()) };
    }

    /// A send was refused for want of room: who wants `SIGIO` is to get one when there is some.
    pub(crate) fn want_space(&self) {
        // SAFETY: `self` is valid; the wait queue whose flags this sets stays as long as the file.
        unsafe { bindings::sk_set_bit(bindings::SOCKWQ_ASYNC_NOSPACE, self.as_raw()) };
    }

    /// Whether the current task, and whoever opened the socket, have `CAP_NET_ADMIN` over its
    /// network namespace.
    ///
    /// False for a socket that nobody has opened, or that is closed. The kernel's own
    /// `sk_net_capable()` may not be asked about these: it takes for granted that there is a file.
    pub(crate) fn is_net_admin(&self) -> bool {
        const CAP: i32 = bindings::CAP_NET_ADMIN as i32;
        // SAFETY: `self` is valid, and so are its namespace and that one's owner as long as it is.
        let owner = unsafe { (*bindings::sock_net(self.as_raw())).user_ns };
        // SAFETY: `self` is valid. `sock_orphan()` takes the same lock for writing, and comes
        // before the `struct socket` and its file go: so what is found under the lock is valid
        // under it. The file may be set meanwhile, hence the volatile read. The question does not
        // sleep.
        let opener = unsafe {
            bindings::lock_sk_callback(self.as_raw());
            let socket = bindings::sk_socket(self.as_raw());
            let file = match socket.is_null() {
                true => null_mut(),
                false => (&raw const (*socket).file).read_volatile(),
            };
            let may = !file.is_null() && bindings::file_ns_capable(file, owner, CAP);
            bindings::unlock_sk_callback(self.as_raw());
            may
        };
        // SAFETY: The namespace is valid, as above.
        opener && unsafe { bindings::ns_capable(owner, CAP) }
    }

    /// How long a read may block, in jiffies: 0 when it must not, `SO_RCVTIMEO` or for ever
    /// otherwise.
    pub(crate) fn rcvtimeo(&self, nonblock: bool) -> usize {
        // SAFETY: `self` is valid.
        let timeo = unsafe { bindings::sock_rcvtimeo(self.as_raw(), nonblock) };
        timeo.try_into().unwrap_or(0)
    }

    /// How long a send may block, in jiffies: 0 when it must not, `SO_SNDTIMEO` or for ever
    /// otherwise.
    pub(crate) fn sndtimeo(&self, nonblock: bool) -> usize {
        // SAFETY: `self` is valid.
        let timeo = unsafe { bindings::sock_sndtimeo(self.as_raw(), nonblock) };
        timeo.try_into().unwrap_or(0)
    }

    /// `SO_RCVBUF` as the program set it, within the system's limit: the core doubles it.
    pub(crate) fn rcvbuf(&self) -> u64 {
        // SAFETY: `self` is valid.
        let doubled = unsafe { bindings::sk_rcvbuf(self.as_raw()) };
        (doubled / 2).try_into().unwrap_or(0)
    }

    /// Takes the error that the core keeps for the next call (`SO_ERROR`), if there is one.
    ///
    /// # Errors
    ///
    /// That error: a `recvmmsg()` that has received some messages keeps what made it end for later.
    pub(crate) fn take_error(&self) -> Result {
        // SAFETY: `self` is valid.
        to_result(unsafe { bindings::sock_error(self.as_raw()) })
    }

    /// Whether a flag that `setsockopt()` switches is on.
    pub(crate) fn has(&self, flag: Flag) -> bool {
        // SAFETY: `self` is valid.
        unsafe { bindings::sock_flag(self.as_raw(), flag as u32) }
    }

    /// Says whether readers are told when a message was sent, and in which form.
    ///
    /// `getsockopt()` reads the same flags. The core's own `setsockopt()` must not be used: it also
    /// sets `SOCK_TIMESTAMP`, and with the first socket of which that is true, of whatever family
    /// but AF_UNIX, the kernel begins to stamp all packets of the machine
    /// (`net_enable_timestamp()`).
    pub(crate) fn set_timestamp(&self, on: bool, form: Timestamp) {
        let change = |flag: Flag, on: bool| {
            // SAFETY: `self` is valid, and its lock is held, see below.
            unsafe { bindings::sock_valbool_flag(self.as_raw(), flag as u32, on) };
        };
        // SAFETY: `self` is valid. The lock is one that sleeps, and is needed to change flags.
        unsafe { bindings::lock_sock(self.as_raw()) };
        change(Flag::Timestamp, on);
        change(Flag::TimestampNs, on && form.nanos);
        if on {
            change(Flag::TimestampNew, form.new);
        }
        // SAFETY: It was taken above.
        unsafe { bindings::release_sock(self.as_raw()) };
    }

    /// A new reference.
    pub(crate) fn to_owned(&self) -> ARef<Self> {
        self.into()
    }
}

/// In which form a reader is told when a message was sent: one for each option of `SO_TIMESTAMP`.
#[derive(Clone, Copy)]
pub(crate) struct Timestamp {
    /// Nanoseconds, not microseconds.
    pub(crate) nanos: bool,
    /// With 64 bits on all machines.
    pub(crate) new: bool,
}

/// Flags of a socket that the core keeps.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Flag {
    /// `SO_RXQ_OVFL`.
    RxqOvfl = bindings::sock_flags_SOCK_RXQ_OVFL,
    /// One of the forms of `SO_TIMESTAMP`.
    Timestamp = bindings::sock_flags_SOCK_RCVTSTAMP,
    /// It is in nanoseconds.
    TimestampNs = bindings::sock_flags_SOCK_RCVTSTAMPNS,
    /// It is one that has 64 bits on all machines.
    TimestampNew = bindings::sock_flags_SOCK_TSTAMP_NEW,
}
