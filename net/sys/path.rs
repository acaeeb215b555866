// SPDX-License-Identifier: GPL-2.0

//! Places in the file system: looking them up, making a socket's inode, and what is asked of an
//! inode.
//!
//! Any of the calls may take as long as a file system likes (FUSE): no lock should be held over
//! them that others need.
//!
//! C headers: [`include/linux/namei.h`](srctree/include/linux/namei.h),
//! [`include/linux/path.h`](srctree/include/linux/path.h).

use super::{
    bindings,
    cred::Maker,
    unix::UnixSocket, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use core::ptr::null_mut;

/// A place in the file system, `struct path`: keeps the mount busy and the inode in memory.
///
/// # Invariants
///
/// It owns a reference to the mount and one to the dentry, which has an inode.
pub(crate) struct Path(bindings::path);

// SAFETY: A `struct path` may be referenced, read and released from any thread.
unsafe impl Send for Path {}
// SAFETY: As above.
unsafe impl Sync for Path {}

/// Tells an inode from all others, for as long as there is a [`Path`] to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeId(usize);

impl Path {
    /// Looks a path up for the current task, following symbolic links.
    ///
    /// # Errors
    ///
    /// The path's own, such as `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP` and `ENAMETOOLONG`; `ENOMEM`.
    pub(crate) fn lookup(name: &CStr) -> Result<Self> {
        Self::lookup_with(name, bindings::LOOKUP_FOLLOW)
    }

    /// Whether the last component of a path is a symbolic link.
    pub(crate) fn is_link(name: &CStr) -> bool {
        Self::lookup_with(name, 0).is_ok_and(|path| path.is(bindings::S_IFLNK))
    }

    fn lookup_with(name: &CStr, flags: u32) -> Result<Self> {
        let mut path = bindings::path::default();
        // SAFETY: The name ends with a NUL, and `path` is a place for the result.
        to_result(unsafe { bindings::kern_path(name.as_char_ptr(), flags, &mut path) })?;
        // INVARIANT: `kern_path()` gives references, and finds nothing that has no inode.
        Ok(Self(path))
    }

    /// Makes a socket's inode, with these permissions but for those of the current umask.
    ///
    /// A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is something, or the file system does not show what it made; the path's
    /// own, as `lookup`, also `EROFS`, `EDQUOT` and `ENOSPC`; `EPERM` where the file system has no
    /// such inodes.
    pub(crate) fn make_socket(name: &CStr, mode: u16) -> Result<Self> {
        let mut parent = bindings::path::default();
        // SAFETY: The name ends with a NUL, and `parent` is a place for the result.
        let dentry = from_err_ptr(unsafe {
            bindings::start_creating_path(bindings::AT_FDCWD, name.as_char_ptr(), &mut parent, 0)
        })?;
        // SAFETY: This is between start and end of the making.
        let made = unsafe { Self::make_at(&parent, dentry, mode) };
        // SAFETY: It ends what began above, with what that gave.
        unsafe { bindings::end_creating_path(&parent, dentry) };
        made
    }

    /// # Safety
    ///
    /// `parent` and `dentry` must be what `start_creating_path()` gave, and not ended.
    unsafe fn make_at(
        parent: &bindings::path,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> Result<Self> {
        // SAFETY: A task may read its own umask.
        let umask = unsafe { bindings::current_umask() } as u32;
        let mode = bindings::S_IFSOCK | u32::from(mode) & !bindings::S_IFMT & !umask;
        let mode = mode as bindings::umode_t;
        // SAFETY: By the safety requirements both are valid, and the folder is locked for this.
        unsafe {
            to_result(bindings::security_path_mknod(parent, dentry, mode, 0))?;
            to_result(bindings::vfs_mknod(
                bindings::mnt_idmap(parent.mnt),
                bindings::d_backing_inode(parent.dentry),
                dentry,
                mode,
                0,
                null_mut(),
            ))?;
            if bindings::d_backing_inode(dentry).is_null() {
                return Err(EEXIST);
            }
            // INVARIANT: There is an inode, and both references are taken here.
            Ok(Self(bindings::path {
                mnt: bindings::mntget(parent.mnt),
                dentry: bindings::dget(dentry),
            }))
        }
    }

    fn inode(&self) -> *mut bindings::inode {
        // SAFETY: By the type invariant the dentry is valid. It keeps its inode as long as somebody
        // has a reference.
        unsafe { bindings::d_backing_inode(self.0.dentry) }
    }

    fn idmap(&self) -> *mut bindings::mnt_idmap {
        // SAFETY: By the type invariant the mount is valid; it keeps its map once it can be
        // reached.
        unsafe { bindings::mnt_idmap(self.0.mnt) }
    }

    /// Which inode it is.
    pub(crate) fn inode_id(&self) -> InodeId {
        InodeId(self.inode() as usize)
    }

    fn mode_bits(&self) -> u32 {
        // SAFETY: The inode is valid; the mode may change, and is read once.
        u32::from(unsafe { (&raw const (*self.inode()).i_mode).read_volatile() })
    }

    fn is(&self, kind: u32) -> bool {
        self.mode_bits() & bindings::S_IFMT == kind
    }

    /// Whether it is the inode of a socket, in a file system that programs can mount and find it
    /// in.
    ///
    /// The kernel keeps an inode for each open socket in a file system of its own. `/proc/PID/fd`
    /// leads there, but those inodes have no names, and each goes with its socket.
    pub(crate) fn is_socket(&self) -> bool {
        // SAFETY: The inode is valid, and so is its file system. This flag never changes; others
        // do, and all are read once.
        let flags = unsafe { (&raw const (*(*self.inode()).i_sb).s_flags).read_volatile() };
        self.is(bindings::S_IFSOCK) && flags & bindings::SB_NOUSER == 0
    }

    /// Its permission bits, at present.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode_bits() & 0o777
    }

    /// Whether its name was removed since it was looked up, or all names of the inode were.
    pub(crate) fn is_deleted(&self) -> bool {
        // SAFETY: By the type invariant both are valid. The count of names may change, and is read
        // once.
        unsafe {
            let names = &raw const (*self.inode()).__bindgen_anon_1.i_nlink;
            bindings::d_unlinked(self.0.dentry) != 0 || names.read_volatile() == 0
        }
    }

    /// Its owner at present, as this mount shows it and as a number of the initial user namespace.
    pub(crate) fn uid(&self) -> u32 {
        // SAFETY: Both are valid.
        unsafe {
            bindings::vfsuid_into_kuid(bindings::i_uid_into_vfsuid(self.idmap(), self.inode()))
        }
        .val
    }

    /// Its group at present, in the same way.
    pub(crate) fn gid(&self) -> u32 {
        // SAFETY: Both are valid.
        unsafe {
            bindings::vfsgid_into_kgid(bindings::i_gid_into_vfsgid(self.idmap(), self.inode()))
        }
        .val
    }

    /// Insists that the current task may write to it.
    ///
    /// # Errors
    ///
    /// `EACCES`; `EPERM` if it is immutable.
    pub(crate) fn check_write(&self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::path_permission(&self.0, bindings::MAY_WRITE as i32) })
    }

    /// Insists that a security module lets the current task connect to an AF_UNIX socket here;
    /// `maker` is who made that socket, `None` somebody who is confined by nothing.
    ///
    /// # Errors
    ///
    /// `EACCES` or what else the module says, `ENOMEM`.
    pub(crate) fn check_connect(&self, maker: Option<&Maker>) -> Result {
        let other = UnixSocket::new(maker)?;
        // SAFETY: By the type invariants the place and the socket are valid; nobody else knows the
        // socket.
        to_result(unsafe { bindings::security_unix_find(&self.0, other.as_raw_sock(), 0) })
    }

    /// Whether the current task has `CAP_NET_ADMIN` in a user namespace that has the inode's owner
    /// and group.
    pub(crate) fn is_net_admin(&self) -> bool {
        // SAFETY: Both are valid.
        unsafe {
            bindings::capable_wrt_inode_uidgid(
                self.idmap(),
                self.inode(),
                bindings::CAP_NET_ADMIN as i32,
            )
        }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::path_put(&self.0) };
    }
}
