// SPDX-License-Identifier: GPL-2.0
//! Buses at a path: whose they are, and how they meet mounts and namespaces.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use kbus_selftests::files;
use kbus_selftests::files::bind_mount;
use kbus_selftests::files::chmod;
use kbus_selftests::files::chown;
use kbus_selftests::files::fresh_dir;
use kbus_selftests::files::mount;
use kbus_selftests::files::mount_tmpfs;
use kbus_selftests::files::new_mount_ns;
use kbus_selftests::files::unmount;
use kbus_selftests::process;
use kbus_selftests::process::Child;
use kbus_selftests::process::Gate;
use kbus_selftests::sys::fresh_bus;
use kbus_selftests::sys::uapi;
use kbus_selftests::sys::Sock;

use super::fails;
use super::paths::same_bus;
use super::silent;

super::tests! {
    owner_is_the_inode_s owner_follows_chown owner_s_repliers_are_protected owner_by_privilege
    privilege_of_a_user_namespace_without_the_owner privilege_of_a_user_namespace_with_the_owner
    permissions_count_at_the_next_bind mode_is_the_inode_s mode_is_set_by_chmod_alone
    info_is_the_inode_s seen_by_two_mount_namespaces bind_mount_is_the_same_bus
    bind_mount_of_the_inode chroot_sees_the_same_bus shared_by_network_namespaces
    order_is_the_maker_s outlives_its_maker_s_network_namespace
    read_only_mount read_only_file_system busy_while_bound busy_by_its_own_path
    works_after_a_lazy_unmount idmapped_mount overlay lsm_is_asked
    silent_file_system_holds_up_nobody listed_by_its_path removed_one_is_listed
    removed_one_is_marked
    odd_paths_are_escaped
}

/// A path with a socket's inode of this owner, group and mode, left over.
fn left_over(uid: u32, gid: u32, mode: u32) -> PathBuf {
    let path = fresh_dir().join("av");
    drop(Sock::at(&path));
    chown(&path, uid, gid);
    chmod(&path, mode);
    path
}

/// As a user without privileges, on the bus at this path.
fn as_user(uid: u32, path: &Path, act: impl FnOnce(&Sock)) {
    Child::fork(|| {
        process::become_user(uid, uid);
        act(&Sock::at(path));
    })
    .join();
}

/// The owner of the bus is the inode's, not who was the first to bind.
fn owner_is_the_inode_s() {
    let path = left_over(1000, 1000, 0o777);
    as_user(1001, &path, |first| {
        fails!(EPERM, first.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000));
        fails!(EPERM, first.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20));
        fails!(EPERM, first.set_u32(uapi::KBUS_REPORT_BINDS, 1));
        // The reading of them is everybody's.
        first.get_u32(uapi::KBUS_MAX_MSG_SIZE).unwrap();
    });
    as_user(1000, &path, |owner| {
        owner.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
        owner.set_u64(uapi::KBUS_BUS_BYTES, 1 << 20).unwrap();
        owner.set_u32(uapi::KBUS_REPORT_BINDS, 1).unwrap();
    });
}

/// It is whoever owns the inode when it matters: `chown` changes it, also for
/// sockets that are bound.
fn owner_follows_chown() {
    let path = left_over(1000, 1000, 0o777);
    let (bound, go) = (Gate::new(), Gate::new());
    let old = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::at(&path);
        sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
        bound.open(1);
        go.pass();
        fails!(EPERM, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 2000));
    });
    bound.pass();
    chown(&path, 1001, 1001);
    go.open(1);
    old.join();
    as_user(1001, &path, |new| {
        new.set_u32(uapi::KBUS_MAX_MSG_SIZE, 3000).unwrap();
    });
}

/// From the owner's wildcard no other user takes names, from others' the owner
/// does, whoever was the first to bind.
fn owner_s_repliers_are_protected() {
    let path = left_over(1000, 1000, 0o777);
    let (bound, go) = (Gate::new(), Gate::new());
    let mut first = Child::fork(|| {
        process::become_user(1001, 1001);
        let sock = Sock::at(&path);
        sock.replier("$.First.*").unwrap();
        bound.open(1);
        go.pass();
        fails!(EACCES, sock.replier("$.Ask"));
    });
    bound.opened_by(&mut first);
    let (taken, done) = (Gate::new(), Gate::new());
    let mut owner = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::at(&path);
        sock.replier("$.First.Ask").unwrap();
        sock.replier("$.*").unwrap();
        taken.open(1);
        done.pass();
    });
    // Neither waits for one that has failed.
    taken.opened_by(&mut owner);
    go.open(1);
    first.join();
    done.open(1);
    owner.join();
}

/// `CAP_NET_ADMIN` makes an owner too.
fn owner_by_privilege() {
    let sock = Sock::at(left_over(1000, 1000, 0o777));
    sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
}

/// A process in a user namespace of its own, that acts there as root.
fn in_user_namespace(user: u32, outside: u32, count: u32, act: impl FnOnce()) {
    let (made, mapped) = (Gate::new(), Gate::new());
    let mut child = Child::fork(|| {
        process::become_user(user, user);
        files::new_user_ns();
        made.open(1);
        mapped.pass();
        act();
    });
    made.opened_by(&mut child);
    files::map_ids(child.pid(), outside, count);
    mapped.open(1);
    child.join();
}

/// Not in a user namespace that does not have the inode's owner: anybody can
/// make one.
fn privilege_of_a_user_namespace_without_the_owner() {
    let path = left_over(1000, 1000, 0o777);
    in_user_namespace(1001, 1001, 1, || {
        let sock = Sock::at(&path);
        fails!(EPERM, sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000));
    });
}

/// In one that has owner and group it does: a container's root administers
/// what is in the container.
fn privilege_of_a_user_namespace_with_the_owner() {
    let path = left_over(100_005, 100_005, 0o777);
    in_user_namespace(100_000, 100_000, 1000, || {
        let sock = Sock::at(&path);
        sock.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
        assert_eq!(sock.bus_info().unwrap().uid, 5);
    });
}

/// `chmod` counts for later binds, not for who is on the bus.
fn permissions_count_at_the_next_bind() {
    let path = left_over(0, 0, 0o777);
    let (bound, go) = (Gate::new(), Gate::new());
    let member = Child::fork(|| {
        process::become_user(1000, 1000);
        let sock = Sock::at(&path);
        bound.open(1);
        go.pass();
        sock.listen("$.A").unwrap();
        sock.send_to("$.A", b"").unwrap();
        sock.recv().unwrap();
        fails!(EACCES, Sock::new().bind_path(&path));
    });
    bound.pass();
    chmod(&path, 0o755);
    go.open(1);
    member.join();
    chmod(&path, 0o757);
    as_user(1000, &path, |_| {});
}

/// `KBUS_BUS_MODE` of a bus at a path is the inode's mode.
fn mode_is_the_inode_s() {
    let path = left_over(0, 0, 0o640);
    let sock = Sock::new();
    // A bus is made with it, or a new inode.
    sock.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
    sock.bind_path(&path).unwrap();
    assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(0o640));
    chmod(&path, 0o751);
    assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(0o751));
}

/// To set it is `EOPNOTSUPP`, for the owner too: that is what `chmod` is for.
fn mode_is_set_by_chmod_alone() {
    let path = left_over(1000, 1000, 0o777);
    for user in [1000, 1001] {
        as_user(user, &path, |sock| {
            fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_BUS_MODE, 0o600));
        });
    }
    let sock = Sock::at(&path);
    fails!(EOPNOTSUPP, sock.set_u32(uapi::KBUS_BUS_MODE, 0o600));
    assert_eq!(sock.get_u32(uapi::KBUS_BUS_MODE), Ok(0o777));
}

/// `KBUS_BUS_INFO` tells the inode's owner, group and mode, as they are then.
fn info_is_the_inode_s() {
    let path = left_over(1000, 1001, 0o720);
    let sock = Sock::at(&path);
    let owner = || {
        let info = sock.bus_info().unwrap();
        (info.uid, info.gid, info.mode)
    };
    assert_eq!(owner(), (1000, 1001, 0o720));
    chown(&path, 1002, 1003);
    chmod(&path, 0o702);
    assert_eq!(owner(), (1002, 1003, 0o702));
}

/// Mount namespaces that see the inode share the bus.
fn seen_by_two_mount_namespaces() {
    let path = fresh_dir().join("av");
    let sock = Sock::at(&path);
    Child::fork(|| {
        new_mount_ns();
        assert!(same_bus(&sock, &Sock::at(&path)));
        // Where another file system hides it, the path is another bus.
        mount_tmpfs(path.parent().unwrap());
        assert!(!same_bus(&sock, &Sock::at(&path)));
    })
    .join();
}

/// A folder that is mounted at a second place leads to the same bus.
fn bind_mount_is_the_same_bus() {
    new_mount_ns();
    let (dir, other) = (fresh_dir(), fresh_dir());
    bind_mount(&dir, &other, 0);
    let sock = Sock::at(dir.join("av"));
    assert!(same_bus(&sock, &Sock::at(other.join("av"))));
}

/// So does the inode itself, mounted over a file of another name.
fn bind_mount_of_the_inode() {
    new_mount_ns();
    let dir = fresh_dir();
    let sock = Sock::at(dir.join("av"));
    fs::write(dir.join("file"), b"").unwrap();
    bind_mount(&dir.join("av"), &dir.join("file"), 0);
    assert!(same_bus(&sock, &Sock::at(dir.join("file"))));
}

/// A path begins at the process's root.
fn chroot_sees_the_same_bus() {
    let dir = fresh_dir();
    let sock = Sock::at(dir.join("av"));
    Child::fork(|| {
        files::enter_root(&dir);
        assert!(same_bus(&sock, &Sock::at("/av")));
    })
    .join();
}

/// The bus belongs to no network namespace: whoever sees the inode may join.
fn shared_by_network_namespaces() {
    let path = fresh_dir().join("av");
    let sock = Sock::at(&path);
    Child::fork(|| {
        process::new_netns();
        let inner = Sock::at(&path);
        assert!(same_bus(&sock, &inner));
        assert_eq!(inner.bus_info().unwrap().members, 2);
    })
    .join();
}

/// Its order domain is the network namespace in which it was made: whoever
/// sends, the ids ascend, and they are those of the maker's other buses.
fn order_is_the_maker_s() {
    let path = fresh_dir().join("av");
    let here = Sock::at(&path);
    let local = Sock::on(&fresh_bus());
    here.listen("$.A").unwrap();
    here.replier("$.Ask").unwrap();
    let (first, next) = (Gate::new(), Gate::new());
    let child = Child::fork(|| {
        process::new_netns();
        let there = Sock::at(&path);
        let domain = here.bus_info().unwrap().domain;
        assert_eq!(there.bus_info().unwrap().domain, domain);
        assert_ne!(Sock::on(&fresh_bus()).bus_info().unwrap().domain, domain);
        there.send_to("$.A", b"1").unwrap();
        first.open(there.last_sent());
        next.pass();
        there.send_to("$.A", b"3").unwrap();
        let id = there.request("$.Ask", b"4").unwrap();
        assert!(id > there.last_sent() - 1 && there.sync() >= id);
        // Its end is told with an id of that order too.
        there.replier("$.Mine").unwrap();
    });
    let one = first.pass();
    let two = local.send_with("$.B", b"2", 0).unwrap();
    assert_eq!(two, one + 1);
    next.open(1);
    child.join();
    let ids: Vec<u64> = (0..3).map(|_| here.recv().unwrap().info.id).collect();
    assert_eq!(ids, [one, one + 2, one + 3]);
    assert!(here.sync() >= one + 3);
    assert!(local.send_with("$.B", b"", 0).unwrap() > one + 3);
}

/// It goes on when that network namespace has gone, in its order.
fn outlives_its_maker_s_network_namespace() {
    let path = fresh_dir().join("av");
    let (bound, go) = (Gate::new(), Gate::new());
    let maker = Child::fork(|| {
        process::new_netns();
        let sock = Sock::at(&path);
        sock.send_to("$.A", b"").unwrap();
        bound.open(sock.last_sent());
        go.pass();
    });
    let last = bound.pass();
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    let domain = a.bus_info().unwrap().domain;
    go.open(1);
    maker.join();
    a.listen("$.*").unwrap();
    // A namespace goes some time after its last process.
    for n in 1..=20 {
        assert_eq!(b.send_with("$.A", b"", 0).unwrap(), last + n);
        assert_eq!(a.recv().unwrap().info.id, last + n);
        process::sleep_ms(10);
    }
    assert_eq!(b.bus_info().unwrap().domain, domain);
}

/// Through a read-only mount a bus can be joined and not made, `EROFS`.
fn read_only_mount() {
    new_mount_ns();
    let (dir, other) = (fresh_dir(), fresh_dir());
    bind_mount(&dir, &other, libc::MS_RDONLY);
    fails!(EROFS, Sock::new().bind_path(other.join("av")));
    let sock = Sock::at(dir.join("av"));
    assert!(same_bus(&sock, &Sock::at(other.join("av"))));
}

/// So it is where the file system is read-only.
fn read_only_file_system() {
    new_mount_ns();
    let dir = fresh_dir();
    mount_tmpfs(&dir);
    drop(Sock::at(dir.join("av")));
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    mount(Path::new("tmpfs"), &dir, "", flags, "").unwrap();
    fails!(EROFS, Sock::new().bind_path(dir.join("other")));
    let sock = Sock::at(dir.join("av"));
    assert!(same_bus(&sock, &Sock::at(dir.join("av"))));
}

/// A mount is busy while a socket is bound to a path in it, and no longer.
fn busy_while_bound() {
    new_mount_ns();
    let dir = fresh_dir();
    mount_tmpfs(&dir);
    let path = dir.join("av");
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    fails!(EBUSY, unmount(&dir, 0));
    fs::remove_file(&path).unwrap();
    drop(a);
    fails!(EBUSY, unmount(&dir, 0));
    drop(b);
    unmount(&dir, 0).unwrap();
}

/// That is each socket's own path: a mount by which nobody came is free,
/// whoever made the bus.
fn busy_by_its_own_path() {
    new_mount_ns();
    let (dir, other) = (fresh_dir(), fresh_dir());
    bind_mount(&dir, &other, 0);
    let maker = Sock::at(other.join("av"));
    let sock = Sock::at(dir.join("av"));
    fails!(EBUSY, unmount(&other, 0));
    drop(maker);
    unmount(&other, 0).unwrap();
    assert!(same_bus(&sock, &Sock::at(dir.join("av"))));
}

/// What was unmounted lazily stays a bus for its members.
fn works_after_a_lazy_unmount() {
    new_mount_ns();
    let dir = fresh_dir();
    mount_tmpfs(&dir);
    let path = dir.join("av");
    let (a, b) = (Sock::at(&path), Sock::at(&path));
    unmount(&dir, libc::MNT_DETACH).unwrap();
    assert!(same_bus(&a, &b));
    assert!(!same_bus(&a, &Sock::at(&path)));
}

/// Whose it is goes by the mount through which a socket came.
fn idmapped_mount() {
    new_mount_ns();
    let (dir, other) = (fresh_dir(), fresh_dir());
    mount_tmpfs(&dir);
    let path = dir.join("av");
    let sock = Sock::at(&path);
    chmod(&path, 0o777);
    let made = Gate::new();
    let map = Child::fork(|| {
        files::new_user_ns();
        made.open(1);
        process::park();
    });
    made.pass();
    files::map_ids(map.pid(), 1000, 1);
    files::idmapped_mount(&dir, &other, map.pid());
    as_user(1000, &other.join("av"), |mapped| {
        assert!(same_bus(&sock, mapped));
        let info = mapped.bus_info().unwrap();
        assert_eq!((info.uid, info.gid), (1000, 1000));
        mapped.set_u32(uapi::KBUS_MAX_MSG_SIZE, 1000).unwrap();
    });
    as_user(1000, &path, |plain| {
        assert_eq!(plain.bus_info().unwrap().uid, 0);
        fails!(EPERM, plain.set_u32(uapi::KBUS_MAX_MSG_SIZE, 2000));
    });
}

/// On an overlay the bus is the overlay's inode: not that of the layer below,
/// and the same one after it was copied up.
fn overlay() {
    new_mount_ns();
    let dir = fresh_dir();
    mount_tmpfs(&dir);
    let part = |name: &str| {
        let part = dir.join(name);
        fs::create_dir(&part).unwrap();
        part
    };
    let (lower, upper, work, merged) = (part("lower"), part("upper"), part("work"), part("merged"));
    let below = Sock::at(lower.join("av"));
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    if mount(Path::new("overlay"), &merged, "overlay", 0, &data).is_err() {
        process::skip("no overlayfs here");
    }
    let path = merged.join("av");
    let a = Sock::at(&path);
    assert!(!same_bus(&below, &a));
    chmod(&path, 0o700);
    assert!(upper.join("av").exists());
    assert!(same_bus(&a, &Sock::at(&path)));
}

/// A security module that forbids the making of sockets is asked.
fn lsm_is_asked() {
    let path = fresh_dir().join("av");
    let sock = Sock::new();
    Child::fork(|| {
        files::landlock(files::LANDLOCK_MAKE_SOCK, None);
        fails!(EACCES, sock.bind_path(&path));
    })
    .join();
    assert!(!path.exists());
}

/// A file system that does not answer holds up the bind that asks it, and
/// nobody else, not even who looks at that socket. The bind can be killed.
fn silent_file_system_holds_up_nobody() {
    new_mount_ns();
    let dir = fresh_dir();
    let _server = files::mount_silent_fuse(&dir);
    let sock = Sock::new();
    let stuck = Child::fork(|| {
        let _ = sock.bind_path(dir.join("av"));
    });
    stuck.wait_stuck();
    assert_eq!(listed(&sock), "-");
    assert_eq!(sock.name().unwrap().len(), 2);
    fails!(ENOTCONN, sock.send_to("$.A", b""));
    fails!(ENOTCONN, sock.bus_info());
    sock.set_u32(uapi::KBUS_BUS_MODE, 0o600).unwrap();
    // One bind at a time.
    fails!(EINVAL, sock.bind(&fresh_bus()));
    let path = fresh_dir().join("av");
    assert!(same_bus(&Sock::at(&path), &Sock::at(&path)));
    stuck.kill();
    sock.bind_path(&path).unwrap();
    silent!(sock);
    // While the server is there, also its mount would wait for it.
    unmount(&dir, libc::MNT_DETACH).unwrap();
}

/// A column of this socket's line in `/proc/net/kbus`.
#[track_caller]
fn column(sock: &Sock, name: &str) -> String {
    let text = fs::read("/proc/self/net/kbus").unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let names = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let at = names.split(' ').position(|column| column == name);
    let peer = format!("{:x}", sock.peer_id());
    let line: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').collect())
        .find(|line: &Vec<&str>| line.get(1) == Some(&&*peer))
        .expect("a line for the socket");
    line[at.expect("the column")].to_string()
}

/// The bus of this socket in `/proc/net/kbus`.
#[track_caller]
fn listed(sock: &Sock) -> String {
    column(sock, "bus")
}

/// `/proc/net/kbus` has the path as `bind` was given it.
fn listed_by_its_path() {
    let dir = fresh_dir();
    let (a, b) = (Sock::at(dir.join("av")), Sock::at(dir.join("./av")));
    a.listen("$.A").unwrap();
    assert_eq!(listed(&a), dir.join("av").to_str().unwrap());
    assert_eq!(listed(&b), dir.join("./av").to_str().unwrap());
    let bindings = fs::read_to_string("/proc/self/net/kbus_bindings").unwrap();
    let begin = format!("{} {:x} ", dir.join("av").display(), a.peer_id());
    assert!(bindings.lines().any(|line| line.starts_with(&begin)));
}

/// Also when it has been removed.
fn removed_one_is_listed() {
    let path = fresh_dir().join("av");
    let sock = Sock::at(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(listed(&sock), path.to_str().unwrap());
}

/// What `fdinfo` says of the path of a socket's bus.
fn fdinfo_path(sock: &Sock) -> Option<String> {
    let text = fs::read(format!("/proc/self/fdinfo/{}", sock.as_raw_fd())).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("kbus-path:\t").map(str::to_string))
}

/// `path` tells a bus whose path was removed, so that the next program makes another one there,
/// from one that can be joined by it. So does `fdinfo`.
fn removed_one_is_marked() {
    let dir = fresh_dir();
    let old = dir.join("av");
    let path = |sock: &Sock| {
        let column = column(sock, "path");
        let expected = (column != "-").then(|| column.clone());
        assert_eq!(fdinfo_path(sock), expected);
        column
    };
    // A path that looks like a mark is none.
    for name in ["av", "av deleted", "av (deleted)"] {
        assert_eq!(path(&Sock::at(dir.join(name))), "linked");
    }
    assert_eq!(path(&Sock::new()), "-");
    assert_eq!(path(&Sock::on(&fresh_bus())), "-");
    let (a, b) = (Sock::at(&old), Sock::at(&old));
    // As systemd-tmpfiles does to what nobody has touched for long.
    fs::remove_file(&old).unwrap();
    let second = Sock::at(&old);
    assert!(!same_bus(&a, &second));
    assert_eq!((path(&a), path(&b)), ("deleted".into(), "deleted".into()));
    assert_eq!(path(&second), "linked");
    // Renamed, it can be found; replaced, it cannot.
    fs::rename(&old, dir.join("new")).unwrap();
    assert_eq!(path(&second), "linked");
    let third = Sock::at(&old);
    fs::rename(&old, dir.join("new")).unwrap();
    assert_eq!(
        (path(&second), path(&third)),
        ("deleted".into(), "linked".into())
    );
    // By which of two names a socket has come counts for that socket.
    fs::hard_link(dir.join("new"), dir.join("link")).unwrap();
    let by_link = Sock::at(dir.join("link"));
    fs::remove_file(dir.join("link")).unwrap();
    assert_eq!(
        (path(&third), path(&by_link)),
        ("linked".into(), "deleted".into())
    );
}

/// What would break a line is escaped, and what would make a path look like an
/// abstract bus or like none.
fn odd_paths_are_escaped() {
    std::env::set_current_dir(fresh_dir()).unwrap();
    for (path, shown) in [
        (&b"a b\nc\\d"[..], "a\\040b\\012c\\134d"),
        (b"@a@b", "\\100a@b"),
        (b"-", "\\055"),
        (b"a-b", "a-b"),
        ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
    ] {
        let sock = Sock::at(OsStr::from_bytes(path));
        assert_eq!(listed(&sock), shown);
    }
}
