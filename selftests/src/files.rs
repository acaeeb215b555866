// SPDX-License-Identifier: GPL-2.0
//! Folders, permissions and mounts for tests of buses at paths.

use std::ffi::CString;
use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::ptr;

use crate::process::skip;
use crate::sys::fresh_bus;
use crate::sys::Errno;
use crate::sys::Res;

/// A folder that nobody else uses, mode 0755.
pub fn fresh_dir() -> PathBuf {
    let dir = PathBuf::from("/tmp").join(fresh_bus());
    fs::create_dir(&dir).expect("making a folder");
    chmod(&dir, 0o755);
    dir
}

/// A folder in which every user may make files.
pub fn open_dir() -> PathBuf {
    let dir = fresh_dir();
    chmod(&dir, 0o777);
    dir
}

/// Changes permissions.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// Changes owner and group.
pub fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
}

/// Changes the permissions of an open file, or of a socket.
pub fn fchmod(file: &impl AsRawFd, mode: u32) -> Res<()> {
    // SAFETY: Always safe.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) }.into()).map(drop)
}

/// A descriptor of a place in the file system, by `O_PATH`: also of a socket's.
pub fn open_path(path: &Path) -> OwnedFd {
    let path = c_string(path);
    // SAFETY: It is a NUL-terminated string, and the descriptor is new.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        OwnedFd::from_raw_fd(check(fd.into()).expect("O_PATH"))
    }
}

/// Sets the umask of this process.
pub fn umask(mask: u32) {
    // SAFETY: Always safe.
    unsafe { libc::umask(mask) };
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

fn check(r: libc::c_long) -> Res<RawFd> {
    i32::try_from(r)
        .ok()
        .filter(|r| *r >= 0)
        .ok_or_else(Errno::last)
}

/// `mount()`.
pub fn mount(source: &Path, target: &Path, kind: &str, flags: u64, data: &str) -> Res<()> {
    let (source, target) = (c_string(source), c_string(target));
    let kind = CString::new(kind).expect("no NUL");
    let data = CString::new(data).expect("no NUL");
    // SAFETY: All are NUL-terminated strings.
    let r = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    check(r.into()).map(drop)
}

/// Mounts a fresh tmpfs.
pub fn mount_tmpfs(target: &Path) {
    mount(Path::new("tmpfs"), target, "tmpfs", 0, "mode=755").expect("mounting a tmpfs");
}

/// Mounts a folder or a file at another place too, with these flags.
pub fn bind_mount(source: &Path, target: &Path, flags: u64) {
    mount(source, target, "", libc::MS_BIND, "").expect("a bind mount");
    if flags != 0 {
        let flags = libc::MS_BIND | libc::MS_REMOUNT | flags;
        mount(source, target, "", flags, "").expect("flags of a bind mount");
    }
}

/// `umount2()`.
pub fn unmount(target: &Path, flags: i32) -> Res<()> {
    let target = c_string(target);
    // SAFETY: It is a NUL-terminated string.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }.into()).map(drop)
}

/// Moves this process into a new mount namespace, from which no mount gets
/// out; skips where there is none.
pub fn new_mount_ns() {
    // SAFETY: Always safe.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        skip("no mount namespaces here");
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    mount(Path::new("none"), Path::new("/"), "", flags, "").expect("making mounts private");
}

/// `chroot()`, and the working folder with it.
pub fn enter_root(root: &Path) {
    std::os::unix::fs::chroot(root).expect("chroot");
    std::env::set_current_dir("/").expect("chdir");
}

/// Mounts a folder at another place too, where what user and group 0 own is
/// shown as another's; `map` is a process in a user namespace that says whose.
/// Skips where the file system cannot do that.
pub fn idmapped_mount(source: &Path, target: &Path, map: libc::pid_t) {
    let (source, target) = (c_string(source), c_string(target));
    let namespace = File::open(format!("/proc/{map}/ns/user")).expect("a user namespace");
    let empty = c"".as_ptr();
    // SAFETY: The strings are NUL-terminated, `attr` is as long as said, and the descriptor is new.
    unsafe {
        let tree = check(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        ))
        .expect("open_tree");
        let tree = OwnedFd::from_raw_fd(tree);
        let mut attr: libc::mount_attr = std::mem::zeroed();
        attr.attr_set = libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = namespace.as_raw_fd() as u64;
        let r = libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty,
            libc::AT_EMPTY_PATH,
            ptr::from_ref(&attr),
            size_of_val(&attr),
        );
        if check(r) == Err(Errno(libc::EINVAL)) {
            skip("no idmapped mounts of this file system");
        }
        check(r).expect("mount_setattr");
        let r = libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            empty,
            libc::AT_FDCWD,
            target.as_ptr(),
            1 << 2, // MOVE_MOUNT_F_EMPTY_PATH
        );
        check(r).expect("move_mount");
    }
}

/// Mounts a FUSE file system whose server never answers; skips where there is
/// none. It ends with the file.
pub fn mount_silent_fuse(target: &Path) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = device.unwrap_or_else(|_| skip("no FUSE here"));
    let fd = device.as_raw_fd();
    let data = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
    mount(Path::new("silent"), target, "fuse", 0, &data).expect("mounting FUSE");
    device
}

/// Landlock's right to make sockets in the file system.
pub const LANDLOCK_MAKE_SOCK: u64 = 1 << 9;
/// Landlock's right to connect to AF_UNIX sockets in the file system.
pub const LANDLOCK_RESOLVE_UNIX: u64 = 1 << 16;

/// Takes these rights from this process everywhere, by Landlock, but for those below `allowed`;
/// skips where there is no Landlock, or none that has them.
pub fn landlock(rights: u64, allowed: Option<&Path>) {
    /// `LANDLOCK_RULE_PATH_BENEATH`.
    const PATH_BENEATH: i32 = 1;
    let handled = [rights];
    // SAFETY: The attributes are as long as said.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            handled.as_ptr(),
            size_of_val(&handled),
            0,
        )
    };
    let Ok(ruleset) = check(ruleset) else {
        skip("no Landlock with these rights here");
    };
    if let Some(path) = allowed {
        let place = open_path(path);
        // `struct landlock_path_beneath_attr`, which is packed: rights and a descriptor.
        let mut rule = rights.to_ne_bytes().to_vec();
        rule.extend_from_slice(&place.as_raw_fd().to_ne_bytes());
        // SAFETY: The attributes are as long as the kind of rule wants.
        let r = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset,
                PATH_BENEATH,
                rule.as_ptr(),
                0,
            )
        };
        check(r).expect("a rule of Landlock");
    }
    // SAFETY: Always safe; the descriptor is ours.
    unsafe {
        let r = libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0);
        assert_eq!(r, 0, "Landlock: {}", io::Error::last_os_error());
        libc::close(ruleset);
    }
}

/// Moves this process into a new user namespace; skips where there is none.
pub fn new_user_ns() {
    // SAFETY: Always safe.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        skip("no user namespaces here");
    }
}

/// Has users and groups from `outside` on appear as those from 0 on in a
/// process's user namespace.
pub fn map_ids(pid: libc::pid_t, outside: u32, count: u32) {
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{map}");
        fs::write(path, format!("0 {outside} {count}")).expect("mapping ids");
    }
}
