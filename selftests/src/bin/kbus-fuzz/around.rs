// SPDX-License-Identifier: GPL-2.0
//! Calls on what is around the sockets: users, namespaces, limits, memory, files.

use std::fs;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsRawFd;

use crate::address;
use crate::machine::Machine;
use crate::perform::ret;
use crate::perform::Ret;
use crate::program::Call;

impl Machine {
    /// Goes to another namespace; it may fail.
    pub fn namespace(&self, call: &Call) -> Ret {
        // SAFETY: Always safe.
        ret(unsafe {
            match call.word("to") {
                "a" => libc::setns(self.world.namespaces[0], libc::CLONE_NEWNET),
                "b" => libc::setns(self.world.namespaces[1], libc::CLONE_NEWNET),
                "new" => libc::unshare(libc::CLONE_NEWNET),
                "user" => libc::unshare(libc::CLONE_NEWUSER),
                _ => libc::unshare(libc::CLONE_NEWPID),
            }
        })
    }

    /// Reads a file of `/proc`, in steps.
    pub fn proc(&self, call: &Call) -> Option<Ret> {
        let fd = self.fd(call, "s");
        let path = match call.word("file") {
            "fdinfo" => format!("/proc/self/fdinfo/{}", fd.as_ref()?.as_raw_fd()),
            file => format!("/proc/thread-self/net/{file}"),
        };
        let mut file = fs::File::open(path).ok()?;
        let seek = match call.get("seek") {
            at if at < 0 => SeekFrom::End(at),
            at => SeekFrom::Start(at as u64),
        };
        let _ = file.seek(seek);
        let mut buffer = vec![0; call.get("step").clamp(1, 4096) as usize];
        // Byte by byte takes a while.
        for _ in 0..600 {
            match file.read(&mut buffer) {
                Ok(1..) => {}
                _ => break,
            }
        }
        Some(Ok(0))
    }

    /// Puts the process into a memory cgroup that has so many pages left, or lifts its limit.
    pub fn memory(&self, call: &Call) -> Option<Ret> {
        let [procs, max, current] = self.world.group.as_ref()?;
        let (mut procs, mut max, mut current) = (procs, max, current);
        let pages = call.get("pages");
        let text = match u64::try_from(pages) {
            Err(_) => "max".to_string(),
            Ok(pages) => {
                procs.write_all(b"0").ok()?;
                let mut text = String::new();
                current.rewind().ok()?;
                current.read_to_string(&mut text).ok()?;
                let bytes: u64 = text.trim().parse().ok()?;
                (bytes + pages * 4096).to_string()
            }
        };
        max.write_all(text.as_bytes()).ok()?;
        Some(Ok(0))
    }
}

/// Gives this thread another user.
pub fn user(call: &Call) -> Ret {
    let id = call.get("id");
    // SAFETY: Only this thread gets another user. The saved one stays, so that there is a way back.
    unsafe {
        libc::syscall(libc::SYS_setresuid, 0, 0, 0);
        libc::syscall(libc::SYS_setresgid, id, id, 0);
        ret(libc::syscall(libc::SYS_setresuid, id, id, 0))
    }
}

/// Writes a limit, or only reads it.
pub fn sysctl(call: &Call) -> Ret {
    let file = call.word("file");
    let path = format!("/proc/sys/net/kbus/{file}");
    let value = call.get("value");
    // It cannot be raised again in the second namespace, and would stay.
    if call.get("read") != 0 || (file == "literal" && value < 1) {
        let _ = fs::read(path);
    } else {
        let _ = fs::write(path, value.to_string());
    }
    Ok(0)
}

/// Changes what is at the path of a bus.
pub fn path(call: &Call) -> Option<Ret> {
    use std::os::unix::fs::chown;
    use std::os::unix::fs::PermissionsExt;

    let path = address::path(call.word("bus"))?;
    // What never changes stays.
    if !path.ends_with("p0") && !path.ends_with("p1") {
        return None;
    }
    let value = call.get("value") as u32;
    let _ = match call.word("what") {
        "unlink" => fs::remove_file(path),
        "chmod" => fs::set_permissions(path, fs::Permissions::from_mode(value & 0o777)),
        "chown" => chown(path, Some(value), Some(value)),
        _ => fs::rename(&path, address::path("p1")?),
    };
    Some(Ok(0))
}

/// Has the process give up something for good.
pub fn sandbox(call: &Call) -> Ret {
    // SAFETY: The filter lives until the call has returned, and allows all.
    ret(unsafe {
        match call.word("what") {
            "no_new_privs" => libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            "seccomp" => {
                let mut allow = libc::sock_filter {
                    code: 6,
                    jt: 0,
                    jf: 0,
                    k: 0x7fff_0000,
                };
                let program = libc::sock_fprog {
                    len: 1,
                    filter: &mut allow,
                };
                libc::prctl(libc::PR_SET_SECCOMP, 2, &program)
            }
            _ => {
                let limit = libc::rlimit {
                    rlim_cur: 40,
                    rlim_max: 1024,
                };
                libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
            }
        }
    })
}
