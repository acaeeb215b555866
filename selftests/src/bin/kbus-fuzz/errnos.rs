// SPDX-License-Identifier: GPL-2.0
//! The errors that each call may end with: those of `docs/kbus.7`, and the core's own for arguments that never reach us.

use libc::*;

/// A name that is none.
const NAME: &[i32] = &[EBADMSG, ENAMETOOLONG];

/// A binding that cannot be, or whose event cannot be told.
const BINDING: &[i32] = &[
    ENOTCONN, EPERM, EEXIST, EACCES, EINVAL, EDQUOT, EAGAIN, EDEADLK, EINTR,
];

/// Whether a call of this name may fail so.
pub fn may(op: &str, errno: i32) -> bool {
    // Memory may be short at any time, and a bad pointer is one of a call's arguments.
    if errno == ENOMEM || errno == EFAULT {
        return true;
    }
    let known: &[&[i32]] = match op {
        // EMFILE: a program may lower its limit.
        "socket" => &[&[EPROTONOSUPPORT, ESOCKTNOSUPPORT, EAFNOSUPPORT, EMFILE]],
        "bind" => &[
            &[EINVAL, EACCES, ECONNREFUSED, EADDRINUSE, EDQUOT, EINTR],
            // The path's own.
            &[ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EROFS, ENOSPC, EPERM],
        ],
        "connect" => &[NAME, &[EINVAL]],
        "name" => &[NAME, BINDING],
        // REPLIER with an `int` is a binding.
        "set" => &[
            BINDING,
            &[EBADMSG, ENOBUFS, EOPNOTSUPP, ENOPROTOOPT, ECONNREFUSED],
        ],
        "ignore" => &[&[ECONNREFUSED, ENOTCONN]],
        // EDOM: the core's, for a time limit; EPERM: SO_RCVBUFFORCE; EACCES: SO_DEBUG.
        "setsol" => &[&[EINVAL, EOPNOTSUPP, EDOM, EPERM, EACCES]],
        "get" => &[NAME, &[EINVAL, ENOTCONN, ENOPROTOOPT]],
        "getsol" => &[
            &[EINVAL, EOPNOTSUPP, ENOPROTOOPT],
            // EINVAL, too: SO_PEERPIDFD of who has gone; ERANGE: SO_PEERGROUPS; EMFILE: a pidfd too many.
            &[ENODATA, ESRCH, ERANGE, EMFILE],
        ],
        "send" => &[
            NAME,
            &[EINVAL, EOPNOTSUPP, EBADF, EPERM, ESRCH, ETOOMANYREFS],
            &[EMSGSIZE, EDESTADDRREQ, ENOTCONN, EPIPE],
            // A reply, a request.
            &[ECONNREFUSED, EADDRNOTAVAIL, ENOBUFS, EBUSY],
            &[EAGAIN, EDEADLK, EINTR, EDQUOT],
        ],
        "recv" => &[&[EAGAIN, EINTR, EOPNOTSUPP, EINVAL]],
        "poll" => &[&[EINTR, EMFILE]],
        "ioctl" => &[&[ENOTTY, EINVAL, EOPNOTSUPP, ENOENT, ENODEV]],
        "shutdown" => &[&[EINVAL, ENOTCONN]],
        "getname" => &[&[ENOTCONN, EINVAL]],
        "unsupported" => &[&[EOPNOTSUPP, ENODEV, ESPIPE, EINVAL, EPROTONOSUPPORT, EAGAIN]],
        // Of these only what the kernel as a whole does is of interest.
        _ => return true,
    };
    known.iter().any(|some| some.contains(&errno))
}
