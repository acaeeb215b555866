// SPDX-License-Identifier: GPL-2.0
//! The errors that each call may end with: those of `docs/kbus.7`, and the core's own for arguments that never reach us.

use libc::*;

/// Whether a call of this name may fail so.
pub fn may(op: &str, errno: i32) -> bool {
    // Memory may be short at any time, and a bad pointer is one of a call's arguments.
    if errno == ENOMEM || errno == EFAULT {
        return true;
    }
    let known: &[i32] = match op {
        // EMFILE: a program may lower its limit.
        "socket" => &[EPROTONOSUPPORT, ESOCKTNOSUPPORT, EAFNOSUPPORT, EMFILE],
        "bind" => &[
            EINVAL,
            EACCES,
            ECONNREFUSED,
            EADDRINUSE,
            ENOENT,
            ENOTDIR,
            ELOOP,
            ENAMETOOLONG,
            EROFS,
            EDQUOT,
            ENOSPC,
            EPERM,
            EINTR,
        ],
        "connect" => &[EINVAL, EBADMSG, ENAMETOOLONG],
        "name" => &[
            EBADMSG,
            ENAMETOOLONG,
            ENOTCONN,
            EPERM,
            EEXIST,
            EACCES,
            EINVAL,
            EDQUOT,
            EAGAIN,
            EDEADLK,
            EINTR,
        ],
        "set" => &[
            EBADMSG,
            ENOTCONN,
            EPERM,
            EEXIST,
            EACCES,
            EINVAL,
            EDQUOT,
            EAGAIN,
            EDEADLK,
            ENOBUFS,
            EINTR,
            EOPNOTSUPP,
            ENOPROTOOPT,
            ECONNREFUSED,
        ],
        "ignore" => &[ECONNREFUSED, ENOTCONN],
        // EDOM: the core's, for a time limit; EPERM: SO_RCVBUFFORCE.
        "setsol" => &[EINVAL, EOPNOTSUPP, EDOM, EPERM],
        "get" => &[EINVAL, ENOTCONN, ENOPROTOOPT, EBADMSG, ENAMETOOLONG],
        // ENODATA, ESRCH, EINVAL: SO_PEERPIDFD of who has gone; ERANGE: SO_PEERGROUPS; EMFILE: a pidfd too many.
        "getsol" => &[
            EINVAL,
            EOPNOTSUPP,
            ENOPROTOOPT,
            ENODATA,
            ESRCH,
            ERANGE,
            EMFILE,
        ],
        "send" => &[
            EINVAL,
            EBADMSG,
            ENAMETOOLONG,
            EOPNOTSUPP,
            EBADF,
            EPERM,
            ESRCH,
            ETOOMANYREFS,
            EMSGSIZE,
            EDESTADDRREQ,
            ENOTCONN,
            EPIPE,
            ECONNREFUSED,
            EADDRNOTAVAIL,
            ENOBUFS,
            EBUSY,
            EAGAIN,
            EDEADLK,
            EINTR,
            EDQUOT,
        ],
        "recv" => &[EAGAIN, EINTR, EOPNOTSUPP, EINVAL],
        "poll" => &[EINTR, EMFILE],
        "ioctl" => &[ENOTTY, EINVAL, EOPNOTSUPP, ENOENT, ENODEV],
        "shutdown" => &[EINVAL, ENOTCONN],
        "getname" => &[ENOTCONN, EINVAL],
        "unsupported" => &[EOPNOTSUPP, ENODEV, ESPIPE, EINVAL, EPROTONOSUPPORT, EAGAIN],
        // Of these only what the kernel as a whole does is of interest.
        _ => return true,
    };
    known.contains(&errno)
}
