// SPDX-License-Identifier: GPL-2.0

//! `bind()`: what a socket is bound to, and how it comes there.
//!
//! No lock of ours is held while the file system is asked, which may take for ever.

use crate::{
    domain::SharedBus,
    endpoint::Endpoint,
    sockaddr,
    sys::{
        path::Path,
        sock::Sock,
        task, //
    },
    table::{
        Key,
        Made,
        Name, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        UniqueArc, //
    }, //
};

/// A socket's place on a bus.
pub(crate) struct Bound {
    pub(crate) bus: Arc<SharedBus>,
    /// `sun_path` as `bind()` was given it: an abstract name with its leading NUL, or a path
    /// without one behind it.
    pub(crate) address: KVec<u8>,
    /// How the bus is found.
    key: Key,
    /// Of a bus at a path. Each socket has one of its own: what is in use is what somebody is bound
    /// to.
    path: Option<Path>,
}

/// Who may bind to a bus that `bind()` makes.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    /// `KBUS_BUS_MODE`, if it was set.
    pub(crate) bus: Option<u32>,
    /// Of the socket's own inode, which is for an inode at a path what `fchmod()` of the socket has
    /// set.
    pub(crate) inode: u16,
}

impl Mode {
    /// `KBUS_BUS_MODE` when nobody has set it.
    pub(crate) const BUS: u32 = 0o666;

    /// Of a new inode, before the umask: what both allow, so that none of the two is ignored.
    fn at_path(self) -> u16 {
        let bus = self.bus.and_then(|bus| u16::try_from(bus).ok());
        bus.map_or(self.inode, |bus| self.inode & bus)
    }
}

impl Bound {
    /// Binds a socket to the abstract bus of this name, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// `EACCES` if the bus's mode does not let this user in, `ENOMEM`.
    fn to_name(this: &Arc<Endpoint>, address: &[u8], name: &[u8], mode: Mode) -> Result<Self> {
        let key = Key::Name(Name::new(name)?);
        let address = sockaddr::copy(address)?;
        let table = this.domain.table(&key);
        let admit = |bus: &SharedBus| bus.admit(&this.sock);
        let bus = match table.join(&key, this, admit)? {
            Some(bus) => bus,
            None => {
                let made = Made::new(this, mode.bus.unwrap_or(Mode::BUS))?;
                table.publish(&key, made, this, admit)?
            }
        };
        Ok(Self {
            bus,
            address,
            key,
            path: None,
        })
    }

    /// Binds a socket to the bus that is the inode at this path, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// `EACCES` without write permission or if a security module says so, `ECONNREFUSED` for what
    /// is no socket, `EADDRINUSE` for a symbolic link to nowhere, the path's own, `ENOMEM`,
    /// `ERESTARTSYS` on a signal.
    fn to_path(this: &Arc<Endpoint>, text: &[u8], mode: Mode) -> Result<Self> {
        let mut terminated = [0; sockaddr::PATH_LEN + 1];
        terminated
            .get_mut(..text.len())
            .ok_or(EINVAL)?
            .copy_from_slice(text);
        let name = CStr::from_bytes_until_nul(&terminated).map_err(|_| EINVAL)?;
        let address = sockaddr::copy(name.to_bytes())?;
        let (path, mut made) = find_or_make(this, name, mode)?;
        let key = Key::Inode(path.inode_id());
        let table = this.domain.table(&key);
        let bus = loop {
            // Who has made the inode was asked then. Who finds one is asked whether it may connect
            // there: to whoever made the bus, or to anybody if there is none. Security modules may
            // sleep, so no lock is held.
            let found = match made {
                Some(_) => None,
                None => {
                    let found = table.find(&key);
                    path.check_connect(found.as_ref().map(|bus| &bus.maker))?;
                    found
                }
            };
            let admit = |bus: &SharedBus| match &found {
                Some(asked) if core::ptr::eq(&**asked, bus) => Ok(()),
                _ => Err(ANOTHER),
            };
            let joined = match &found {
                Some(_) => table.join(&key, this, admit),
                None => {
                    let made = made.take().map_or_else(|| Made::new(this, 0), Ok)?;
                    made.bus.state.lock().set_owner(path.uid());
                    table.publish(&key, made, this, admit).map(Some)
                }
            };
            match joined {
                Ok(Some(bus)) => break bus,
                Err(e) if e != ANOTHER => return Err(e),
                // The bus ended meanwhile, or another one began.
                _ => {}
            }
            if current!().signal_pending() {
                return Err(ERESTARTSYS);
            }
        };
        Ok(Self {
            bus,
            address,
            key,
            path: Some(path),
        })
    }

    /// Binds a socket to the bus of this `sun_path`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none, there being no autobind, and those of its kind of bus.
    pub(crate) fn new(this: &Arc<Endpoint>, sun_path: &[u8], mode: Mode) -> Result<Arc<Self>> {
        // The memory first: a socket that is on a bus must be able to leave it.
        let room = UniqueArc::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let bound = match sun_path {
            [] | [0] => Err(EINVAL),
            [0, name @ ..] => Self::to_name(this, sun_path, name, mode),
            text => Self::to_path(this, text, mode),
        }?;
        Ok(room.write(bound).into())
    }

    /// Whether the bus is at a path.
    pub(crate) fn is_path(&self) -> bool {
        self.path.is_some()
    }

    /// Of a bus at a path: whether the path that the socket was bound to was removed since.
    pub(crate) fn is_deleted(&self) -> Option<bool> {
        self.path.as_ref().map(Path::is_deleted)
    }

    /// Whether the current task owns the bus, or may administer what its owner belongs to; `sock`
    /// is the socket.
    pub(crate) fn is_owner(&self, sock: &Sock) -> bool {
        match &self.path {
            None => self.bus.is_owner(sock),
            Some(path) => path.uid() == task::current_euid() || path.is_net_admin(),
        }
    }

    /// Owner's user and group, as numbers of the initial user namespace.
    pub(crate) fn owner(&self) -> (u32, u32) {
        match &self.path {
            None => (self.bus.uid, self.bus.gid),
            Some(path) => (path.uid(), path.gid()),
        }
    }

    /// Whose write permission lets them bind.
    pub(crate) fn mode(&self) -> u32 {
        match &self.path {
            None => self.bus.mode.load(Relaxed),
            Some(path) => path.permissions(),
        }
    }

    /// The socket has left the bus: gives up its place, and the bus if it was the last.
    pub(crate) fn leave(&self, this: &Endpoint) {
        this.domain.table(&self.key).leave(&self.key, &self.bus);
        // The path goes with the last reference to this, and so later: without it, the inode could
        // go and another one take its id.
    }
}

/// What a bus that was not asked about says to who would join it; no other error of joining.
const ANOTHER: Error = EAGAIN;

/// The inode at a path, which is made if there is none; then with a bus for it.
///
/// All that can fail comes before the making, so that a bind that fails leaves no inode behind.
fn find_or_make(this: &Arc<Endpoint>, name: &CStr, mode: Mode) -> Result<(Path, Option<Made>)> {
    loop {
        match Path::lookup(name) {
            Ok(path) => {
                path.check_write()?;
                if !path.is_socket() {
                    return Err(ECONNREFUSED);
                }
                return Ok((path, None));
            }
            Err(e) if e == ENOENT => {}
            Err(e) => return Err(e),
        }
        let made = Made::new(this, 0)?;
        match Path::make_socket(name, mode.at_path()) {
            Ok(path) => return Ok((path, Some(made))),
            Err(e) if e == EEXIST => {}
            Err(e) => return Err(e),
        }
        if Path::is_link(name) {
            return Err(EADDRINUSE);
        }
        // Somebody else was faster.
        if current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
    }
}
