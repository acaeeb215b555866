# SPDX-License-Identifier: MIT OR Apache-2.0
"""Errors, each with one sentence that says what happened and what helps."""

import errno as _e
import os
from typing import Final

NOT_LOADED: Final = (
    "this kernel offers no KBUS to this program: either the module is not loaded"
    " (as root: modprobe kbus), or the program runs with no_new_privs or a seccomp filter,"
    " as in a sandbox or a container, for which the sysctl net.kbus.literal must be 2"
)


class KbusError(OSError):
    """An operation on a bus failed.

    ``str()`` of it is one sentence about the operation, ``errno`` is what the kernel said.
    """

    def __init__(self, errno: int, sentence: str) -> None:
        super().__init__(errno, sentence)

    def __str__(self) -> str:
        return str(self.strerror)


class NoReplier(KbusError):
    """Nobody is replier for the name of a request (``EADDRNOTAVAIL``)."""


class Closed(KbusError):
    """There is nothing more to receive: the socket was shut down or closed (``ESHUTDOWN``)."""


class StatusError(KbusError):
    """A call was answered by a status: there will be no reply.

    ``peer`` is the id of the replier that the status is about.
    """

    peer: int

    def __init__(self, errno: int, sentence: str, peer: int) -> None:
        super().__init__(errno, sentence)
        self.peer = peer

    def __reduce__(self) -> tuple[type["StatusError"], tuple[int | None, str, int]]:
        return type(self), (self.errno, str(self), self.peer)


class GoneAway(StatusError):
    """The replier was closed, or died, before it read the request (``ECONNRESET``)."""


class Ignored(StatusError):
    """The replier read the request and gave it up, or died, without a reply (``ECANCELED``)."""


class Unbound(StatusError):
    """The replier stopped being one before it read the request (``ECONNABORTED``)."""


_MEMORY: Final = "there is no memory for it, in the machine or in a memory cgroup"
_TOO_MUCH: Final = (
    "this user's budget or share of the bus is used up:"
    " read what waits, or raise net.kbus.user_bytes"
)
_BUDGET: Final = f"{_TOO_MUCH} or KBUS_BUS_BYTES"
_BAD_NAME: Final = (
    "the name is malformed: it is $. and words of letters and digits with single dots between them"
)
_NOT_BOUND: Final = "the socket has not joined a bus"
_LONG_NAME: Final = "the name is longer than 1000 bytes"

# What an errno means for any operation, unless the table of the operation says more.
_ANY: Final[dict[int, str]] = {
    _e.ENOMEM: _MEMORY,
    _e.EBADF: "the socket is closed",
    _e.ENOTCONN: _NOT_BOUND,
    _e.EBADMSG: _BAD_NAME,
    _e.ENAMETOOLONG: _LONG_NAME,
    _e.EINTR: "a signal arrived meanwhile",
}

_BINDING: Final[dict[int, str]] = {
    _e.EBADMSG: _BAD_NAME + ", the last of which may be * or %",
    _e.EINVAL: "the socket is shut down",
    _e.EDQUOT: (
        "this user has as many bindings on this bus as net.kbus.user_bindings and"
        " net.kbus.user_wide allow"
    ),
}
_UNBINDING: Final[dict[int, str]] = {
    _e.EBADMSG: _BINDING[_e.EBADMSG],
    _e.EINVAL: "this socket has no such binding",
}
_EVENT: Final[dict[int, str]] = {
    _e.EAGAIN: "a queue that listens to the bus's bind events is full",
    _e.EDEADLK: "this socket listens to the bus's bind events and its own queue is full",
}
_SEND: Final[dict[int, str]] = {
    _e.EBADMSG: _BAD_NAME + ", and no wildcard, to be sent to",
    _e.EINVAL: "an argument is out of range, or two of them exclude each other",
    _e.EOPNOTSUPP: "sockets of AF_UNIX and KBUS and io_uring cannot be passed as descriptors",
    _e.ETOOMANYREFS: "this user has too many descriptors in flight (RLIMIT_NOFILE)",
    _e.EMSGSIZE: "the payload is larger than this bus allows (KBUS_MAX_MSG_SIZE)",
    _e.EPIPE: "the socket is shut down for sending",
    _e.EPERM: "$.KBUS and all names below it belong to the bus",
    _e.EBUSY: "a queue that it must reach is full",
    _e.EAGAIN: "a queue that it must reach is full and did not get room in time",
    _e.EDEADLK: "it would wait for room in this socket's own queue",
    _e.EDQUOT: _BUDGET,
}

_TABLE: Final[dict[str, dict[int, str]]] = {
    "open a socket": {
        _e.EPROTONOSUPPORT: NOT_LOADED,
        _e.EAFNOSUPPORT: NOT_LOADED,
        _e.ESOCKTNOSUPPORT: NOT_LOADED,
        _e.EMFILE: "this process has as many open files as it may (ulimit -n)",
        _e.ENFILE: "the machine has as many open files as it may",
    },
    "join the bus": {
        _e.EACCES: (
            "this user may not write to it: its owner may allow that"
            " by KBUS_BUS_MODE or, of a path, by chmod"
        ),
        _e.ECONNREFUSED: "what is at the path is no socket",
        _e.EADDRINUSE: "the path ends at a symbolic link to nowhere",
        _e.ENOENT: "the folder of the path does not exist",
        _e.ENOTDIR: "a part of the path is no folder",
        _e.EROFS: "nothing can be made in a file system that is read-only",
        _e.ENAMETOOLONG: "the name of a bus has at most 107 bytes",
        _e.EDQUOT: "this user has as many buses as net.kbus.user_buses allows",
        _e.EINVAL: "the socket has joined a bus already, or the name is empty",
    },
    "listen to": {
        **_BINDING,
    },
    "stop listening to": _UNBINDING,
    "become replier for": {
        **_BINDING,
        **_EVENT,
        _e.EEXIST: "it has a replier already (/proc/net/kbus_bindings says who)",
        _e.EACCES: "it would take names from the wildcard of another user's replier",
        _e.EPERM: "$.KBUS and all names below it belong to the bus",
    },
    "stop replying for": {**_UNBINDING, **_EVENT},
    "announce": _SEND,
    "request": {
        **_SEND,
        _e.EADDRNOTAVAIL: "nobody is replier for it",
        _e.EPIPE: (
            "another socket than the peer that was asked for is its replier now,"
            " or this socket is shut down"
        ),
        _e.EBUSY: "the queue of its replier, or one that it must reach, is full",
        _e.ENOBUFS: (
            "no room can be reserved for its reply: read what waits in this socket's queue,"
            " or lower reply_max"
        ),
    },
    "reply to": {
        **_SEND,
        _e.EADDRNOTAVAIL: "the requester has gone",
        _e.ECONNREFUSED: "this socket does not owe it a reply: it has been answered or given up",
        _e.EMSGSIZE: (
            "it is longer than the requester has room for, or than this bus allows"
            " (KBUS_MAX_MSG_SIZE): it is still owed, send a shorter one or ignore the request"
        ),
    },
    "ignore": {
        _e.ECONNREFUSED: "this socket does not owe it a reply: it has been answered or given up",
    },
    "receive": {
        _e.ESHUTDOWN: "the socket was shut down, and nothing waits in it any more",
    },
    "set": {
        _e.EPERM: (
            "only the owner of the bus may do so, or the value is above what the system allows"
        ),
        _e.EINVAL: "the value is out of range",
        _e.EOPNOTSUPP: "the mode of a bus at a path is that of its file: use chmod",
        _e.ENOBUFS: "the queue has no room for the events that this begins with",
    },
}


def explain(operation: str, number: int, subject: str = "") -> str:
    """The sentence for an errno of an operation: ``cannot announce $.A: ...``."""
    reason = _TABLE.get(operation, {}).get(number) or _ANY.get(number) or os.strerror(number)
    what = f"{operation} {subject}" if subject else operation
    return f"cannot {what}: {reason}"


def failure(operation: str, error: OSError, subject: str = "") -> KbusError:
    """The exception to raise for what a system call raised."""
    number = error.errno or 0
    sentence = explain(operation, number, subject)
    if operation == "request" and number == _e.EADDRNOTAVAIL:
        return NoReplier(number, sentence)
    if operation == "receive" and number in (_e.ESHUTDOWN, _e.EBADF):
        return Closed(number, sentence)
    return KbusError(number, sentence)
