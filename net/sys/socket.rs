// SPDX-License-Identifier: GPL-2.0

//! A datagram socket family whose operations are written in safe Rust.
//!
//! [`Operations`] is what a family implements, [`Registration`] makes the kernel call it,
//! [`Adapter`] stands between.

use super::{
    bindings,
    msg::{
        RecvMsg,
        SendMsg,
        ADDR_MAX, //
    },
    net_ns::Net,
    proc::Out,
    sock::Sock,
    sockopt::{
        OptIn,
        OptOut, //
    },
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

use core::marker::PhantomData;

/// How a socket was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `SOCK_DGRAM` and so on.
    pub(crate) kind: i32,
    /// The third argument of `socket(2)`.
    pub(crate) protocol: i32,
    /// Whether the request came by way of a [`super::probe::Redirect`].
    pub(crate) redirected: bool,
    /// The namespace it is to live in.
    pub(crate) net: &'a Net,
}

/// Which directions a `shutdown(2)` ends.
#[derive(Clone, Copy)]
pub(crate) struct Shutdown {
    /// `SHUT_RD` or `SHUT_RDWR`.
    pub(crate) read: bool,
    /// `SHUT_WR` or `SHUT_RDWR`.
    pub(crate) write: bool,
}

/// The operations of one kind of socket; each corresponds to a callback of `struct proto_ops`.
///
/// All are called in process context, may sleep, and may be called concurrently. What is not here
/// is refused with `EOPNOTSUPP`: `listen`, `accept`, `socketpair`, `mmap`.
pub(crate) trait Operations: Sized + Send + Sync + 'static {
    /// Name of the protocol, in `/proc/net/protocols`.
    const NAME: &'static CStr;
    /// What `SO_PROTOCOL` says.
    const PROTOCOL: u16;
    /// The module that implements this.
    const MODULE: ThisModule;

    /// Storage for the family; always the same.
    fn tables() -> &'static Tables;

    /// Decides whether such a socket may be made, before anything is allocated.
    fn admit(request: Request<'_>) -> Result;

    /// Makes the state of a socket. If it succeeds, [`Operations::release`] will be called for it.
    fn create(request: Request<'_>, sock: ARef<Sock>) -> Result<Arc<Self>>;

    /// The last file reference has gone: no other operation is under way or will follow.
    fn release(this: Arc<Self>);

    /// `bind(2)`; `mode` has the permissions of the socket's own inode, as `fchmod(2)` has set
    /// them.
    fn bind(this: &Arc<Self>, addr: &[u8], mode: u16) -> Result;

    /// `connect(2)`.
    fn connect(&self, addr: &[u8]) -> Result;

    /// `getsockname(2)`, or `getpeername(2)` if `peer`. Returns the address's length.
    fn getname(&self, out: &mut [u8; ADDR_MAX], peer: bool) -> Result<usize>;

    /// `poll(2)`: the `EPOLL*` mask.
    fn poll(&self) -> u32;

    /// Writes what `/proc/PID/fdinfo/FD` says of it.
    fn show(&self, out: &Out<'_>);

    /// `FIONREAD`.
    fn next_len(&self) -> i32;

    /// `shutdown(2)`.
    fn shutdown(this: &Arc<Self>, how: Shutdown) -> Result;

    /// `setsockopt(2)` of every level; what the core is to handle goes there by [`OptIn::pass_on`].
    fn setsockopt(this: &Arc<Self>, level: i32, name: i32, value: &OptIn<'_>) -> Result;

    /// `getsockopt(2)` of every level but `SOL_SOCKET`.
    fn getsockopt(this: &Arc<Self>, level: i32, name: i32, value: &mut OptOut<'_>) -> Result;

    /// `sendmsg(2)` and all that end there.
    fn sendmsg(this: &Arc<Self>, msg: SendMsg<'_>) -> Result<usize>;

    /// `recvmsg(2)` and all that end there.
    fn recvmsg(this: &Arc<Self>, msg: RecvMsg<'_>, flags: u32) -> Result<usize>;
}

/// Storage for what the socket layer wants to know of a family, for a `static`.
///
/// # Invariants
///
/// Written only while the family is not registered.
pub(crate) struct Tables {
    proto: Opaque<bindings::proto>,
    ops: Opaque<bindings::proto_ops>,
    family: Opaque<bindings::net_proto_family>,
    number: Atomic<i32>,
}

// SAFETY: By the type invariant there is no write while others read; what the C side changes in
// `proto` it locks.
unsafe impl Sync for Tables {}

impl Tables {
    /// Empty ones.
    pub(crate) const fn new() -> Self {
        Self {
            proto: Opaque::zeroed(),
            ops: Opaque::zeroed(),
            family: Opaque::zeroed(),
            number: Atomic::new(0),
        }
    }
}

/// Keeps a family registered.
///
/// # Invariants
///
/// `T::tables()` are filled in and registered with the socket layer.
pub(crate) struct Registration<T: Operations>(PhantomData<T>);

impl<T: Operations> Registration<T> {
    /// Registers the family under a number. To be called once per load of the module.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the number is taken, `EINVAL` if it is none, `ENOMEM`.
    pub(crate) fn new(number: i32) -> Result<Self> {
        // `sock_register()` checks the upper bound only.
        if !(1..bindings::AF_MAX as i32).contains(&number) {
            return Err(EINVAL);
        }
        let tables = T::tables();
        let (proto, ops, family) = (tables.proto.get(), tables.ops.get(), tables.family.get());
        tables.number.store(number, Relaxed);
        // SAFETY: Nothing is registered, so nobody else looks at the tables.
        unsafe {
            (*proto).owner = T::MODULE.as_ptr();
            (*proto).obj_size = bindings::SOCK_SIZE as u32;
            for (to, from) in (*proto).name.iter_mut().zip(T::NAME.to_bytes()).take(31) {
                *to = *from;
            }
            ops.write(Adapter::<T>::operations(number));
            (*family).family = number;
            (*family).create = Some(Adapter::<T>::create);
            (*family).owner = T::MODULE.as_ptr();
        }
        // SAFETY: It is filled in and, being static, stays.
        to_result(unsafe { bindings::proto_register(proto, 1) })?;
        // SAFETY: As above.
        to_result(unsafe { bindings::sock_register(family) }).inspect_err(|_| {
            // SAFETY: Registered a moment ago; there is no socket of it.
            unsafe { bindings::proto_unregister(proto) }
        })?;
        // INVARIANT: Both succeeded.
        Ok(Self(PhantomData))
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. A module with open sockets cannot be unloaded, so none is
        // left.
        unsafe {
            bindings::sock_unregister(T::tables().number.load(Relaxed));
            bindings::proto_unregister(T::tables().proto.get());
        }
    }
}

/// The callbacks of `struct proto_ops` and `struct net_proto_family` for `T`.
///
/// The socket's state is in `sk->sk_user_data`, put there by `create` and taken by `release`.
pub(super) struct Adapter<T: Operations>(PhantomData<T>);

impl<T: Operations> Adapter<T> {
    const fn operations(family: i32) -> bindings::proto_ops {
        // No `gettstamp`: the core's own has the machine stamp all packets, as
        // `Sock::set_timestamp()` says.
        bindings::proto_ops {
            family,
            owner: T::MODULE.as_ptr(),
            release: Some(Self::release),
            bind: Some(Self::bind),
            connect: Some(Self::connect),
            socketpair: Some(bindings::sock_no_socketpair),
            accept: Some(bindings::sock_no_accept),
            getname: Some(Self::getname),
            poll: Some(Self::poll),
            ioctl: Some(Self::ioctl),
            #[cfg(CONFIG_COMPAT)]
            compat_ioctl: Some(Self::ioctl),
            listen: Some(bindings::sock_no_listen),
            shutdown: Some(Self::shutdown),
            show_fdinfo: Some(Self::show_fdinfo),
            setsockopt: Some(Self::setsockopt),
            getsockopt_iter: Some(Self::getsockopt),
            sendmsg: Some(Self::sendmsg),
            recvmsg: Some(Self::recvmsg),
            mmap: Some(bindings::sock_no_mmap),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// `sock` must be a socket that [`Self::create_socket`] made, and whose `release` does not end
    /// before `'a`.
    unsafe fn state<'a>(sock: *mut bindings::socket) -> &'a Arc<T> {
        // SAFETY: By the safety requirements `sk` is set, and `sk_user_data` points to a
        // `State<T>`.
        unsafe { &(*bindings::sk_user_data((*sock).sk).cast::<State<T>>()).state }
    }

    /// Callback `create`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        sock: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        // SAFETY: The socket layer's own call.
        from_result(|| unsafe { Self::create_socket(net, sock, protocol, kern, false) }.map(|()| 0))
    }

    /// Makes the socket's lower half.
    ///
    /// # Safety
    ///
    /// The arguments must be those of a `net_proto_family.create`.
    pub(super) unsafe fn create_socket(
        net: *mut bindings::net,
        sock: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
        redirected: bool,
    ) -> Result {
        let request = Request {
            // SAFETY: `sock` is valid, and `net` too for as long as this call lasts.
            kind: i32::from(unsafe { (*sock).type_ }),
            protocol,
            redirected,
            // SAFETY: As above.
            net: unsafe { Net::from_raw(net) },
        };
        T::admit(request)?;
        let tables = T::tables();
        let family = tables.number.load(Relaxed);
        // SAFETY: The protocol is registered as long as the module lives.
        let sk = unsafe {
            bindings::sk_alloc(net, family, bindings::GFP_KERNEL, tables.proto.get(), kern)
        };
        if sk.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: Both are valid and belong to nobody else yet. `SOCK_CUSTOM_SOCKOPT` makes the
        // core hand us `SOL_SOCKET` options too.
        unsafe {
            bindings::sock_init_data(sock, sk);
            bindings::set_sk_protocol(sk, T::PROTOCOL);
            (*sock).ops = tables.ops.get();
            (*sock).flags |= 1 << bindings::socket_flags_SOCK_CUSTOM_SOCKOPT;
        }
        // SAFETY: `sk` is valid, and the reference that `sk_alloc()` gave is ours until the end of
        // this function.
        let lower = unsafe { Sock::from_raw(sk) }.to_owned();
        // The memory first: what has been created is released only by `release`.
        let state = KBox::<State<T>>::new_uninit(GFP_KERNEL)
            .map_err(Error::from)
            .and_then(|place| {
                let state = T::create(request, lower)?;
                Ok(KBox::write(place, State { state, redirected }))
            });
        match state {
            Ok(state) => {
                // SAFETY: `sk` and `net` are valid. The reference of `sk_alloc()` now belongs to
                // the socket, which counts in `/proc/net/protocols` until its release.
                unsafe {
                    bindings::set_sk_user_data(sk, KBox::into_raw(state).cast());
                    bindings::sock_prot_inuse_add(net, tables.proto.get(), 1);
                }
                Ok(())
            }
            Err(e) => {
                // SAFETY: As the core wants it: nothing of a failed socket is left behind.
                unsafe {
                    bindings::sock_orphan(sk);
                    (*sock).sk = core::ptr::null_mut();
                    bindings::sock_put(sk);
                }
                Err(e)
            }
        }
    }

    /// Callback `release`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn release(sock: *mut bindings::socket) -> c_int {
        // SAFETY: `sock` is valid, and this is the last call for it.
        unsafe {
            let sk = (*sock).sk;
            if sk.is_null() {
                return 0;
            }
            let State { state, redirected } = KBox::into_inner(KBox::from_raw(
                bindings::sk_user_data(sk).cast::<State<T>>(),
            ));
            T::release(state);
            if redirected {
                // Taken when the socket was made; the core holds a reference of its own during this
                // call.
                bindings::module_put(T::MODULE.as_ptr());
            }
            bindings::sock_prot_inuse_add(bindings::sock_net(sk), T::tables().proto.get(), -1);
            bindings::sock_orphan(sk);
            (*sock).sk = core::ptr::null_mut();
            bindings::sock_put(sk);
        }
        0
    }

    /// Callback `bind`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn bind(
        sock: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        // SAFETY: The socket layer's own call: the address is kernel memory of that length, and the
        // socket has an inode, whose mode may change and is read once.
        from_result(|| unsafe {
            let mode = (&raw const (*bindings::SOCK_INODE(sock)).i_mode).read_volatile();
            T::bind(Self::state(sock), address(addr, len)?, mode).map(|()| 0)
        })
    }

    /// Callback `connect`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn connect(
        sock: *mut bindings::socket,
        addr: *mut bindings::sockaddr_unsized,
        len: c_int,
        _flags: c_int,
    ) -> c_int {
        // SAFETY: As in `bind`.
        from_result(|| unsafe { Self::state(sock).connect(address(addr, len)?) }.map(|()| 0))
    }

    /// Callback `getname`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn getname(
        sock: *mut bindings::socket,
        addr: *mut bindings::sockaddr,
        peer: c_int,
    ) -> c_int {
        from_result(|| {
            let mut out = [0; ADDR_MAX];
            // SAFETY: The socket layer's own call.
            let len = unsafe { Self::state(sock) }.getname(&mut out, peer != 0)?;
            let len = len.min(ADDR_MAX);
            // SAFETY: `addr` has room for any address of the family; no more than this one is
            // written.
            unsafe { core::ptr::copy_nonoverlapping(out.as_ptr(), addr.cast::<u8>(), len) };
            Ok(len as c_int)
        })
    }

    /// Callback `poll`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        sock: *mut bindings::socket,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The socket layer's own call. The entry is queued before the state is looked at.
        unsafe {
            bindings::sock_poll_wait(file, sock, wait);
            Self::state(sock).poll()
        }
    }

    /// Callback `show_fdinfo`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn show_fdinfo(file: *mut bindings::seq_file, sock: *mut bindings::socket) {
        // SAFETY: The socket layer's own call, for a socket that an open file refers to.
        unsafe { Self::state(sock).show(&Out::new(file)) };
    }

    /// Callback `ioctl`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn ioctl(sock: *mut bindings::socket, cmd: c_uint, arg: c_ulong) -> c_int {
        from_result(|| {
            // SAFETY: The socket layer's own call.
            let state = unsafe { Self::state(sock) };
            let len = match cmd {
                bindings::FIONREAD => state.next_len(),
                // Another name of `SIOCOUTQ`: when a send returns, nothing of it is in the socket.
                bindings::TIOCOUTQ => 0,
                _ => return Err(ENOIOCTLCMD),
            };
            // SAFETY: `put_user()` checks the pointer.
            to_result(unsafe { bindings::put_user(len, arg as *mut c_int) }).map(|()| 0)
        })
    }

    /// Callback `shutdown`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn shutdown(sock: *mut bindings::socket, how: c_int) -> c_int {
        from_result(|| {
            // `SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`.
            if !(0..=2).contains(&how) {
                return Err(EINVAL);
            }
            let how = Shutdown {
                read: how != 1,
                write: how != 0,
            };
            // SAFETY: The socket layer's own call.
            T::shutdown(unsafe { Self::state(sock) }, how).map(|()| 0)
        })
    }

    /// Callback `setsockopt`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn setsockopt(
        sock: *mut bindings::socket,
        level: c_int,
        name: c_int,
        value: bindings::sockptr_t,
        len: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The socket layer's own call.
            let (state, value) = unsafe { (Self::state(sock), OptIn::new(sock, &value, len)) };
            T::setsockopt(state, level, name, &value).map(|()| 0)
        })
    }

    /// Callback `getsockopt`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn getsockopt(
        sock: *mut bindings::socket,
        level: c_int,
        name: c_int,
        value: *mut bindings::sockopt_t,
    ) -> c_int {
        // SAFETY: The socket layer's own call.
        from_result(|| unsafe {
            T::getsockopt(
                Self::state(sock),
                level,
                name,
                &mut OptOut::new(&mut *value),
            )
            .map(|()| 0)
        })
    }

    /// Callback `sendmsg`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn sendmsg(
        sock: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The socket layer's own call.
            let sent = unsafe { T::sendmsg(Self::state(sock), SendMsg::new(msg, len)) }?;
            Ok(sent.try_into().unwrap_or(c_int::MAX))
        })
    }

    /// Callback `recvmsg`.
    ///
    /// # Safety
    ///
    /// To be called by the socket layer only.
    unsafe extern "C" fn recvmsg(
        sock: *mut bindings::socket,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The socket layer's own call.
            let (state, msg) = unsafe { (Self::state(sock), RecvMsg::new(msg, len)) };
            let got = T::recvmsg(state, msg, flags as u32)?;
            Ok(got.try_into().unwrap_or(c_int::MAX))
        })
    }
}

/// What `sk->sk_user_data` points to, from `create` to `release`.
struct State<T> {
    state: Arc<T>,
    /// Holds a reference of the module of its own, taken by the redirect.
    redirected: bool,
}

/// # Safety
///
/// `addr` must be kernel memory of `len` bytes, unchanged during `'a`.
unsafe fn address<'a>(addr: *const bindings::sockaddr_unsized, len: c_int) -> Result<&'a [u8]> {
    let len = usize::try_from(len).map_err(|_| EINVAL)?;
    if addr.is_null() || len > ADDR_MAX {
        return Err(EINVAL);
    }
    // SAFETY: The caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(addr.cast(), len) })
}
