// SPDX-License-Identifier: GPL-2.0
//! Buses at a path: the bus is the inode.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use kbus_selftests::files::chmod;
use kbus_selftests::files::chown;
use kbus_selftests::files::fchmod;
use kbus_selftests::files::fresh_dir;
use kbus_selftests::files::open_dir;
use kbus_selftests::files::open_path;
use kbus_selftests::files::umask;
use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::path_address;
use kbus_selftests::sys::sockaddr;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Form;
use kbus_selftests::sys::Sock;

use super::fails;
use super::silent;

super::tests! {
    made_by_the_first_bind made_with_0777_less_the_umask members_meet separate_from_others
    not_the_abstract_bus_of_these_bytes name_is_the_path_and_its_nul
    name_is_what_bind_was_given path_ends_at_a_nul path_of_108_bytes more_than_108_bytes
    empty_components relative_path bound_once
    joining_needs_write_permission joining_by_the_group joining_needs_search_permission
    making_needs_permission_for_the_folder failed_bind_changes_nothing
    left_over_is_joined left_over_of_the_killed_is_joined ends_with_its_last_socket
    outlives_its_maker one_of_many_makes_it binds_go_on_while_it_is_removed
    renamed unlinked hard_link symlink_is_followed_to_join symlink_is_not_followed_to_make
    symlinks_on_the_way magic_link inode_of_an_af_unix_socket af_unix_does_not_find_it
    no_socket_is_refused the_path_s_own_errors
    fchmod_before_bind bus_mode_before_bind
    inode_of_an_open_socket_is_refused
}

/// Tells whether these two are on one bus.
#[track_caller]
pub(super) fn same_bus(a: &Sock, b: &Sock) -> bool {
    let name = format!("$.Same.S{:x}", a.peer_id());
    a.listen(&name).unwrap();
    b.send_to(&name, b"").unwrap();
    let heard = a.recv().is_ok();
    a.unlisten(&name).unwrap();
    heard
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode()
}

/// The first bind makes a socket's inode, later ones leave it as it is.
fn made_by_the_first_bind() {
    let path = fresh_dir().join("av");
    let _a = Sock::at(&path);
    let made = fs::symlink_metadata(&path).unwrap();
    assert!(made.file_type().is_socket());
    let _b = Sock::at(&path);
    let now = fs::symlink_metadata(&path).unwrap();
    assert_eq!((now.ino(), now.mode()), (made.ino(), made.mode()));
}

/// Its mode is 0777 less the umask, its owner who made it.
fn made_with_0777_less_the_umask() {
    let dir = open_dir();
    for (mask, expected) in [(0o022, 0o755), (0o000, 0o777), (0o027, 0o750), (0o777, 0)] {
        let path = dir.join(format!("{mask:o}"));
        Child::fork(|| {
            process::become_user(1000, 1001);
            umask(mask);
            Sock::at(&path);
        })
        .join();
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.mode() & 0o7777, expected);
        assert_eq!((made.uid(), made.gid()), (1000, 1001));
    }
}

/// A bus at a path is a bus like others.
fn members_meet() {
    let path = fresh_dir().join("av");
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    a.replier("$.Ask").unwrap();
    let id = b.request("$.Ask", b"?").unwrap();
    let request = a.recv().unwrap();
    assert!(request.must_reply());
    a.reply(&request, b"!").unwrap();
    let reply = b.recv().unwrap();
    assert_eq!((reply.info.in_reply_to, &reply.data[..]), (id, &b"!"[..]));
    assert_eq!(a.bus_info().unwrap().members, 2);
}

/// Another path is another bus.
fn separate_from_others() {
    let dir = fresh_dir();
    let (a, b) = (Sock::at(dir.join("a")), Sock::at(dir.join("b")));
    assert!(!same_bus(&a, &b));
    assert_eq!(a.bus_info().unwrap().members, 1);
}

/// The abstract bus of the same bytes is another bus.
fn not_the_abstract_bus_of_these_bytes() {
    let path = fresh_dir().join("av");
    let a = Sock::at(&path);
    let b = Sock::on(path.to_str().unwrap());
    assert!(!same_bus(&a, &b));
}

/// `getsockname` gives the path with its NUL, which is counted.
fn name_is_the_path_and_its_nul() {
    let path = fresh_dir().join("av");
    let mut expected = sockaddr(Form::chosen().family(), path.as_os_str().as_bytes());
    expected.push(0);
    assert_eq!(Sock::at(&path).name().unwrap(), expected);
}

/// It is the path that this socket's `bind` was given, also of one that joined.
fn name_is_what_bind_was_given() {
    let dir = fresh_dir();
    let a = Sock::at(dir.join("av"));
    let other = dir.join(".//av");
    let b = Sock::at(&other);
    assert!(same_bus(&a, &b));
    assert_eq!(a.name().unwrap(), path_address(&dir.join("av")));
    assert_eq!(b.name().unwrap(), path_address(&other));
}

/// The NUL is optional, and what comes after one does not count.
fn path_ends_at_a_nul() {
    let path = fresh_dir().join("av");
    let family = Form::chosen().family();
    let bytes = path.as_os_str().as_bytes();
    let (a, b) = (Sock::new(), Sock::new());
    a.bind_raw(&sockaddr(family, bytes)).unwrap();
    b.bind_raw(&sockaddr(family, &[bytes, b"\0more"].concat()))
        .unwrap();
    assert!(same_bus(&a, &b));
    assert_eq!(a.name().unwrap(), path_address(&path));
    assert_eq!(b.name().unwrap(), path_address(&path));
}

/// A path under `dir` of this many bytes.
fn path_of(dir: &Path, len: usize) -> PathBuf {
    let start = dir.join("x");
    let start = start.to_str().unwrap();
    PathBuf::from(format!("{start:x<len$}"))
}

/// A path may fill all of `sun_path`; its name is then longer than the struct.
fn path_of_108_bytes() {
    let path = path_of(&fresh_dir(), 108);
    let address = path_address(&path);
    assert_eq!(address.len(), 110);
    let a = Sock::at(&path);
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    let name = a.name().unwrap();
    assert_eq!((&name[..110], &name[110..]), (&address[..], &b"\0"[..]));
    assert!(same_bus(&a, &Sock::at(&path)));
}

/// A longer address is `EINVAL`.
fn more_than_108_bytes() {
    let path = path_of(&fresh_dir(), 109);
    fails!(EINVAL, Sock::new().bind_path(&path));
    assert!(!path.exists());
}

/// Empty components and dots do not matter; a path that is only such is a
/// folder, and no socket.
fn empty_components() {
    let dir = fresh_dir();
    let a = Sock::at(dir.join(".//.///av"));
    assert!(same_bus(&a, &Sock::at(dir.join("av"))));
    for path in [dir.join("."), dir.join(".."), PathBuf::from("//")] {
        fails!(ECONNREFUSED, Sock::new().bind_path(&path));
    }
}

/// A path that does not begin with `/` begins at the working folder.
fn relative_path() {
    let dir = fresh_dir();
    std::env::set_current_dir(&dir).unwrap();
    let a = Sock::at("av");
    assert!(same_bus(&a, &Sock::at(dir.join("av"))));
    assert_eq!(a.name().unwrap(), path_address(Path::new("av")));
}

/// A socket is bound once, to whatever: `EINVAL`, and nothing is made.
fn bound_once() {
    let dir = fresh_dir();
    let (a, b) = (Sock::at(dir.join("a")), Sock::on(&fresh_bus()));
    for sock in [&a, &b] {
        fails!(EINVAL, sock.bind_path(dir.join("a")));
        fails!(EINVAL, sock.bind_path(dir.join("b")));
        fails!(EINVAL, sock.bind(&fresh_bus()));
    }
    assert!(!dir.join("b").exists());
}

/// Whoever has write permission on the inode may join, others get `EACCES`.
fn joining_needs_write_permission() {
    let path = open_dir().join("av");
    let bound = Gate::new();
    let maker = Child::fork(|| {
        process::become_user(1000, 1000);
        umask(0o022);
        let _sock = Sock::at(&path);
        bound.open(1);
        process::park();
    });
    bound.pass();
    Child::fork(|| {
        process::become_user(1001, 1000);
        fails!(EACCES, Sock::new().bind_path(&path));
    })
    .join();
    Child::fork(|| {
        process::become_user(1000, 2000);
        Sock::at(&path);
    })
    .join();
    // Root may write whatever it is.
    Sock::at(&path);
    maker.kill();
}

/// Its group counts as for any file.
fn joining_by_the_group() {
    let path = fresh_dir().join("av");
    let _a = Sock::at(&path);
    chown(&path, 1000, 1001);
    chmod(&path, 0o720);
    Child::fork(|| {
        process::become_user(1002, 1001);
        Sock::at(&path);
    })
    .join();
    Child::fork(|| {
        process::become_user(1002, 1002);
        fails!(EACCES, Sock::new().bind_path(&path));
    })
    .join();
}

/// Whoever may not search a folder on the way does not get there: `EACCES`.
fn joining_needs_search_permission() {
    let dir = fresh_dir();
    let path = dir.join("av");
    let _a = Sock::at(&path);
    chmod(&path, 0o777);
    Child::fork(|| {
        process::become_user(1000, 1000);
        Sock::at(&path);
    })
    .join();
    chmod(&dir, 0o700);
    Child::fork(|| {
        process::become_user(1000, 1000);
        fails!(EACCES, Sock::new().bind_path(&path));
    })
    .join();
}

/// Whoever may not make files in the folder cannot make a bus there:
/// `EACCES`.
fn making_needs_permission_for_the_folder() {
    let path = fresh_dir().join("av");
    Child::fork(|| {
        process::become_user(1000, 1000);
        fails!(EACCES, Sock::new().bind_path(&path));
    })
    .join();
    assert!(!path.exists());
}

/// A socket whose bind failed is as good as new.
fn failed_bind_changes_nothing() {
    let dir = fresh_dir();
    let sock = Sock::new();
    fails!(ENOENT, sock.bind_path(dir.join("none/av")));
    assert_eq!(sock.name().unwrap().len(), 2);
    fails!(ENOTCONN, sock.listen("$.A"));
    sock.bind_path(dir.join("av")).unwrap();
    sock.listen("$.A").unwrap();
}

/// The inode stays when its last socket has gone; it is joined again, and not
/// made.
fn left_over_is_joined() {
    let path = fresh_dir().join("av");
    drop(Sock::at(&path));
    let left = fs::metadata(&path).unwrap().ino();
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    assert!(same_bus(&a, &b));
    assert_eq!(fs::metadata(&path).unwrap().ino(), left);
}

/// So it is when they were killed.
fn left_over_of_the_killed_is_joined() {
    let path = fresh_dir().join("av");
    let bound = Gate::new();
    let child = Child::fork(|| {
        let sock = Sock::at(&path);
        sock.replier("$.Ask").unwrap();
        bound.open(1);
        process::park();
    });
    bound.pass();
    child.kill();
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    a.replier("$.Ask").unwrap();
    assert!(same_bus(&a, &b));
}

/// The bus ends with its last socket; the next one on the inode is new.
fn ends_with_its_last_socket() {
    let path = fresh_dir().join("av");
    let sock = Sock::at(&path);
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    drop(sock);
    let size = Sock::at(&path).get_u32(uapi::KBUS_MAX_MSG_SIZE);
    assert_eq!(size, Ok(uapi::KBUS_MSG_SIZE_DEFAULT));
}

/// It does not end with its maker.
fn outlives_its_maker() {
    let path = fresh_dir().join("av");
    let maker = Sock::at(&path);
    maker.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    let _other = Sock::at(&path);
    drop(maker);
    let size = Sock::at(&path).get_u32(uapi::KBUS_MAX_MSG_SIZE);
    assert_eq!(size, Ok(1000));
}

/// Of many who bind at once one makes it, the rest join: there is one bus.
fn one_of_many_makes_it() {
    const MANY: u64 = 6;
    let dir = fresh_dir();
    for round in 0..20 {
        let path = dir.join(format!("{round}"));
        let (go, bound, end) = (Gate::new(), Gate::new(), Gate::new());
        let children: Vec<Child> = (0..MANY)
            .map(|_| {
                Child::fork(|| {
                    let sock = Sock::new();
                    go.pass();
                    sock.bind_path(&path).unwrap();
                    bound.open(1);
                    end.pass();
                })
            })
            .collect();
        (0..MANY).for_each(|_| go.open(1));
        for _ in 0..MANY {
            bound.pass();
        }
        let members = Sock::at(&path).bus_info().unwrap().members;
        assert_eq!(u64::from(members), MANY + 1, "round {round}");
        (0..MANY).for_each(|_| end.open(1));
        children.into_iter().for_each(Child::join);
    }
}

/// However often the inode is removed, a bind finds it or makes it.
fn binds_go_on_while_it_is_removed() {
    let path = fresh_dir().join("av");
    let remover = Child::fork(|| loop {
        let _ = fs::remove_file(&path);
    });
    let children: Vec<Child> = (0..3)
        .map(|_| Child::fork(|| (0..300).for_each(|_| drop(Sock::at(&path)))))
        .collect();
    children.into_iter().for_each(Child::join);
    remover.kill();
}

/// Renamed, it is the same bus under the new name; the old one is free.
fn renamed() {
    let dir = fresh_dir();
    let (old, new) = (dir.join("old"), dir.join("new"));
    let a = Sock::at(&old);
    fs::rename(&old, &new).unwrap();
    assert!(same_bus(&a, &Sock::at(&new)));
    assert!(!same_bus(&a, &Sock::at(&old)));
    assert_eq!(a.name().unwrap(), path_address(&old));
}

/// Removed, it goes on for its members, and the next bind makes another.
fn unlinked() {
    let path = fresh_dir().join("av");
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    fs::remove_file(&path).unwrap();
    assert!(same_bus(&a, &b));
    let c = Sock::at(&path);
    assert!(!same_bus(&a, &c));
    assert!(same_bus(&a, &b));
    assert_eq!(a.bus_info().unwrap().members, 2);
    assert_eq!(a.name().unwrap(), path_address(&path));
}

/// A hard link to the inode is the same bus.
fn hard_link() {
    let dir = fresh_dir();
    let a = Sock::at(dir.join("a"));
    fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
    assert!(same_bus(&a, &Sock::at(dir.join("b"))));
}

/// A symbolic link to a bus leads to it.
fn symlink_is_followed_to_join() {
    let dir = fresh_dir();
    let (path, link) = (dir.join("av"), dir.join("link"));
    let a = Sock::at(&path);
    symlink("av", &link).unwrap();
    let b = Sock::at(&link);
    assert!(same_bus(&a, &b));
    assert_eq!(b.name().unwrap(), path_address(&link));
    // Also to one that nobody is on.
    drop((a, b));
    let b = Sock::at(&link);
    assert!(same_bus(&Sock::at(&path), &b));
}

/// A symbolic link to nowhere is no place to make one: `EADDRINUSE`.
fn symlink_is_not_followed_to_make() {
    let dir = fresh_dir();
    symlink("av", dir.join("link")).unwrap();
    symlink("link", dir.join("again")).unwrap();
    fails!(EADDRINUSE, Sock::new().bind_path(dir.join("link")));
    fails!(EADDRINUSE, Sock::new().bind_path(dir.join("again")));
    assert!(!dir.join("av").exists());
}

/// On the way to the last component they are followed for both.
fn symlinks_on_the_way() {
    let dir = fresh_dir();
    fs::create_dir(dir.join("real")).unwrap();
    symlink("real", dir.join("link")).unwrap();
    let a = Sock::at(dir.join("link/av"));
    assert!(same_bus(&a, &Sock::at(dir.join("real/av"))));
}

/// A path of any length is reached by `/proc/self/fd`.
fn magic_link() {
    let dir = fresh_dir();
    let folder = File::open(&dir).unwrap();
    let far = PathBuf::from(format!("/proc/self/fd/{}/av", folder.as_raw_fd()));
    let a = Sock::at(&far);
    assert!(same_bus(&a, &Sock::at(dir.join("av"))));
}

/// The inode of an AF_UNIX socket is a bus too, by which that socket is not
/// touched.
fn inode_of_an_af_unix_socket() {
    let path = fresh_dir().join("av");
    let address = sockaddr(libc::AF_UNIX, path.as_os_str().as_bytes());
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    unix.bind_raw(&address).unwrap();
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    assert!(same_bus(&a, &b));
    let client = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    client.connect_raw(&address).unwrap();
    client.send(b"to AF_UNIX").unwrap();
    assert_eq!(unix.poll(libc::POLLIN, 0), libc::POLLIN);
    silent!(a);
    drop((unix, client));
    assert!(same_bus(&a, &b));
}

/// For AF_UNIX there is no socket at a bus's path: `ECONNREFUSED` for who
/// connects, `EADDRINUSE` for who binds.
fn af_unix_does_not_find_it() {
    let path = fresh_dir().join("av");
    let _a = Sock::at(&path);
    let address = sockaddr(libc::AF_UNIX, path.as_os_str().as_bytes());
    let unix = Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    fails!(ECONNREFUSED, unix.connect_raw(&address));
    fails!(EADDRINUSE, unix.bind_raw(&address));
}

/// What is no socket is `ECONNREFUSED`, or `EACCES` for who may not write to
/// it.
fn no_socket_is_refused() {
    let dir = fresh_dir();
    let (file, folder) = (dir.join("file"), dir.join("folder"));
    fs::write(&file, b"text").unwrap();
    fs::create_dir(&folder).unwrap();
    for path in [&file, &folder, Path::new("/dev/null")] {
        fails!(ECONNREFUSED, Sock::new().bind_path(path));
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
    chmod(&file, 0o644);
    Child::fork(|| {
        process::become_user(1000, 1000);
        fails!(EACCES, Sock::new().bind_path(&file));
    })
    .join();
    assert_eq!(mode(&file) & 0o777, 0o644);
}

/// A path's own errors: `ENOENT`, `ENOTDIR`, `ELOOP`, `ENAMETOOLONG`.
fn the_path_s_own_errors() {
    let dir = fresh_dir();
    let bind = |path: &Path| Sock::new().bind_path(path);
    fails!(ENOENT, bind(&dir.join("none/av")));
    fails!(ENOENT, bind(&dir.join("none/.")));
    fails!(ENOENT, bind(&dir.join("av/")));
    let _a = Sock::at(dir.join("av"));
    fails!(ENOTDIR, bind(&dir.join("av/")));
    fails!(ENOTDIR, bind(&dir.join("av/b")));
    symlink("loop", dir.join("loop")).unwrap();
    fails!(ELOOP, bind(&dir.join("loop")));
    fails!(ELOOP, bind(&dir.join("loop/av")));
    symlink(OsStr::from_bytes(&[b'x'; 256]), dir.join("long")).unwrap();
    fails!(ENAMETOOLONG, bind(&dir.join("long")));
    fails!(ENAMETOOLONG, bind(&dir.join("long/av")));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
}

/// An AF_UNIX socket, of which the tests here say what is right.
fn unix() -> Sock {
    Sock::raw(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap()
}

/// What `fchmod()` of the socket said before `bind()` is the mode of the new inode, less the umask,
/// as for AF_UNIX: so there is no moment in which it is wider.
fn fchmod_before_bind() {
    let dir = fresh_dir();
    for mask in [0, 0o022] {
        umask(mask);
        for said in [0o600, 0o640, 0o777, 0o7777, 0] {
            let (sock, unix) = (Sock::new(), unix());
            fchmod(&sock, said).unwrap();
            fchmod(&unix, said).unwrap();
            let (ours, theirs) = (
                dir.join(format!("{mask:o}-{said:o}")),
                dir.join(format!("{mask:o}-{said:o}-unix")),
            );
            sock.bind_path(&ours).unwrap();
            let address = sockaddr(libc::AF_UNIX, theirs.as_os_str().as_bytes());
            unix.bind_raw(&address).unwrap();
            assert_eq!(mode(&ours), mode(&theirs), "{said:o} with umask {mask:o}");
            if said & !0o777 == 0 {
                assert_eq!(mode(&ours) & 0o7777, said & !mask);
            }
            // Of an inode that is there it changes nothing.
            let other = Sock::new();
            fchmod(&other, 0o777).unwrap();
            other.bind_path(&ours).unwrap();
            assert_eq!(mode(&ours), mode(&theirs));
        }
    }
}

/// `KBUS_BUS_MODE` before `bind()` takes permissions from the new inode as `fchmod()` does, and the
/// umask others.
fn bus_mode_before_bind() {
    let dir = fresh_dir();
    umask(0o002);
    for (fchmod_to, bus_mode, expected) in [
        (None, 0o600, 0o600),
        (None, 0o666, 0o664),
        (None, 0, 0),
        (Some(0o640), 0o606, 0o600),
        (Some(0o600), 0o777, 0o600),
    ] {
        let path = dir.join(format!("{bus_mode:o}-{expected:o}"));
        let sock = Sock::new();
        if let Some(mode) = fchmod_to {
            fchmod(&sock, mode).unwrap();
        }
        sock.set_u32(uapi::KBUS_BUS_MODE, bus_mode).unwrap();
        sock.bind_path(&path).unwrap();
        assert_eq!(mode(&path) & 0o7777, expected);
        assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(expected));
    }
}

/// The kernel's own inode of an open socket, to which `/proc/self/fd` leads, is no bus:
/// `ECONNREFUSED`, which is also what AF_UNIX says to who connects there.
fn inode_of_an_open_socket_is_refused() {
    let raw = |family, kind| Sock::raw(family, kind, 0).unwrap();
    let bound = Sock::at(fresh_dir().join("av"));
    let socks = [
        bound,
        Sock::new(),
        unix(),
        raw(libc::AF_UNIX, libc::SOCK_STREAM),
        raw(libc::AF_NETLINK, libc::SOCK_RAW),
    ];
    for sock in &socks {
        let path = PathBuf::from(format!("/proc/self/fd/{}", sock.as_raw_fd()));
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
        fails!(ECONNREFUSED, Sock::new().bind_path(&path));
        let address = sockaddr(libc::AF_UNIX, path.as_os_str().as_bytes());
        fails!(ECONNREFUSED, unix().connect_raw(&address));
    }
    // A name that leads to a bus is followed as ever, whatever stands for it.
    let path = fresh_dir().join("av");
    let on_it = Sock::at(&path);
    let place = File::from(open_path(&path));
    let magic = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    assert!(same_bus(&on_it, &Sock::at(magic)));
}
