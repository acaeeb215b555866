// SPDX-License-Identifier: GPL-2.0

//! The socket operations of a bus: where every system call comes in.
//!
//! A send goes on in [`crate::send`], a receive in [`crate::receive`], an option in
//! [`crate::options`].

use crate::{
    bound::{
        Bound,
        Mode, //
    },
    bus_core::{
        address::{
            Address,
            Dest, //
        },
        close,
        name, //
    },
    domain::Domain,
    endpoint::Endpoint,
    options,
    proc,
    receive,
    send,
    sockaddr,
    sys::{
        msg::{
            RecvMsg,
            SendMsg,
            ADDR_MAX, //
        },
        proc::Out,
        sock::Sock,
        socket::{
            Operations,
            Request,
            Shutdown,
            Tables, //
        },
        sockopt::{
            OptIn,
            OptOut, //
        },
        trace, //
    },
    uapi,
    users::Users, //
};
use kernel::{
    module::ModuleMetadata,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc, //
    }, //
};

static TABLES: Tables = Tables::new();

const SOCK_DGRAM: i32 = 2;

const EPOLLIN: u32 = 0x1;
const EPOLLPRI: u32 = 0x2;
const EPOLLOUT: u32 = 0x4;
const EPOLLHUP: u32 = 0x10;
const EPOLLRDNORM: u32 = 0x40;
const EPOLLWRNORM: u32 = 0x100;
const EPOLLRDHUP: u32 = 0x2000;

impl Operations for Endpoint {
    const NAME: &'static CStr = c"KBUS";
    const PROTOCOL: u16 = uapi::PROTO_KBUS as u16;
    const MODULE: ThisModule = crate::Kbus::THIS_MODULE;

    fn tables() -> &'static Tables {
        &TABLES
    }

    /// # Errors
    ///
    /// `EPROTONOSUPPORT` for a protocol other than ours, or where the literal form is off for this
    /// task; `ESOCKTNOSUPPORT` for another type than `SOCK_DGRAM`.
    fn admit(request: Request<'_>) -> Result {
        if request.redirected {
            let domain = request.net.state::<Domain>().ok_or(EPROTONOSUPPORT)?;
            if !domain.admits_literal() {
                return Err(EPROTONOSUPPORT);
            }
        } else if request.protocol != 0 && request.protocol != i32::from(Self::PROTOCOL) {
            return Err(EPROTONOSUPPORT);
        }
        if request.kind != SOCK_DGRAM {
            return Err(ESOCKTNOSUPPORT);
        }
        Ok(())
    }

    fn create(request: Request<'_>, sock: ARef<Sock>) -> Result<Arc<Self>> {
        let domain = request.net.state::<Domain>().ok_or(EAFNOSUPPORT)?;
        let family = if request.redirected {
            sockaddr::AF_UNIX
        } else {
            sockaddr::family()
        };
        let endpoint = Endpoint::new(family, domain, sock)?;
        endpoint.domain.add(&endpoint)?;
        Ok(endpoint)
    }

    fn release(this: Arc<Self>) {
        drop(this.domain.remove(this.id));
        let bound = this.settings.lock().bound.take();
        if let Some(bound) = bound {
            let bus = bound.bus.clone();
            if this.pass.load(Relaxed) & uapi::KBUS_PASS_SEC != 0 {
                bus.label_readers.fetch_sub(1, Relaxed);
            }
            close::close(&*bus, &this);
            trace::close(this.id);
            bus.recount(&this.users);
            bound.leave(&this);
        }
        Users::answer_bell(&this.users);
        this.users.sweep();
    }

    /// # Errors
    ///
    /// `EINVAL` for no or a malformed name or a bound socket, and those of [`Bound::new`].
    fn bind(this: &Arc<Self>, addr: &[u8], inode_mode: u16) -> Result {
        let path = sockaddr::path(addr, this.address_family)?;
        let (binding, bus_mode) = this.begin_bind()?;
        let mode = Mode {
            bus: bus_mode,
            inode: inode_mode,
        };
        let bound = Bound::new(this, path, mode)?;
        binding.finish(bound);
        Ok(())
    }

    /// # Errors
    ///
    /// `EINVAL` for a malformed address or one with `#`, `EBADMSG` for a malformed name, `ENOMEM`.
    fn connect(&self, addr: &[u8]) -> Result {
        if sockaddr::is_unspec(addr) {
            let before = self.settings.lock().connected.take();
            drop(before);
            return Ok(());
        }
        let text = name::until_nul(sockaddr::path(addr, self.address_family)?);
        let address = Address::parse(text)?;
        match Dest::new(Some(address), None)? {
            Some(Dest::Name(_) | Dest::Stateful { .. }) => {}
            _ => return Err(EINVAL),
        }
        let copy = Arc::new(sockaddr::copy(text)?, GFP_KERNEL_ACCOUNT)?;
        let before = self.settings.lock().connected.replace(copy);
        drop(before);
        Ok(())
    }

    /// # Errors
    ///
    /// `ENOTCONN` for the peer of a socket that is not connected.
    fn getname(&self, out: &mut [u8; ADDR_MAX], peer: bool) -> Result<usize> {
        if peer {
            let text = self.settings.lock().connected.clone().ok_or(ENOTCONN)?;
            return sockaddr::write(out, self.address_family, &text, true);
        }
        match self.bound() {
            Some(bound) => {
                sockaddr::write(out, self.address_family, &bound.address, bound.is_path())
            }
            None => sockaddr::write(out, self.address_family, &[], false),
        }
    }

    fn poll(&self) -> u32 {
        let queue = self.queue.lock();
        let (read_shut, write_shut) = (queue.read_shut(), queue.write_shut());
        let mut mask = 0;
        if queue.is_readable() || read_shut {
            mask |= EPOLLIN | EPOLLRDNORM;
        }
        if queue.is_urgent() {
            mask |= EPOLLPRI;
        }
        if read_shut {
            mask |= EPOLLRDHUP;
        }
        if queue.is_writable() {
            mask |= EPOLLOUT | EPOLLWRNORM;
        } else {
            self.sock.want_space();
        }
        if read_shut && write_shut {
            mask |= EPOLLHUP;
        }
        mask
    }

    fn show(&self, out: &Out<'_>) {
        proc::show_fdinfo(self, out);
    }

    fn next_len(&self) -> i32 {
        let len = self.queue.lock().next_len().unwrap_or(0);
        len.try_into().unwrap_or(i32::MAX)
    }

    fn shutdown(this: &Arc<Self>, how: Shutdown) -> Result {
        let bus = this.bus()?;
        if how.read {
            close::shutdown_read(&*bus, this)?;
        }
        if how.write {
            close::shutdown_write(&*bus, this)?;
        }
        this.readable.notify_all();
        this.sendable.notify_all();
        this.sock.state_change();
        Users::answer_bell(&this.users);
        Ok(())
    }

    fn setsockopt(this: &Arc<Self>, level: i32, name: i32, value: &OptIn<'_>) -> Result {
        let result = options::set(this, level, name, value);
        Users::answer_bell(&this.users);
        result
    }

    fn getsockopt(this: &Arc<Self>, level: i32, name: i32, value: &mut OptOut<'_>) -> Result {
        options::get(this, level, name, value)
    }

    fn sendmsg(this: &Arc<Self>, msg: SendMsg<'_>) -> Result<usize> {
        let result = send::send(this, msg);
        Users::answer_bell(&this.users);
        result
    }

    fn recvmsg(this: &Arc<Self>, msg: RecvMsg<'_>, flags: u32) -> Result<usize> {
        let result = receive::receive(this, msg, flags);
        Users::answer_bell(&this.users);
        result
    }
}
