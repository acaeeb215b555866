# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is received: one class for each kind of message."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias, overload

from kbus import _uapi as k
from kbus._errors import GoneAway, Ignored, KbusError, StatusError, Unbound, explain

# A payload: bytes as they are, text as UTF-8.
Data: TypeAlias = bytes | bytearray | memoryview | str


class Credentials(NamedTuple):
    """Who sent a message, at the time of sending: process, real user and real group."""

    pid: int
    uid: int
    gid: int


class Via(NamedTuple):
    """Where a message that crosses machines came from and goes to; bridges set it."""

    orig_net: int
    orig_peer: int
    final_net: int
    final_peer: int


class Descriptors(Sequence[int]):
    """The file descriptors that came with a message.

    They are the receiver's, and are closed by :meth:`close`, or when this object goes away.
    A program that keeps one takes it out with :meth:`take`.

    >>> import os
    >>> fds = Descriptors([os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)])
    >>> mine = fds.take()
    >>> len(fds)
    1
    >>> fds.close()
    >>> os.read(mine, 1)
    b''
    >>> os.close(mine)
    """

    def __init__(self, fds: Iterable[int] = ()) -> None:
        self._fds = list(fds)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._fds[index]

    def __len__(self) -> int:
        return len(self._fds)

    def __repr__(self) -> str:
        return f"Descriptors({self._fds!r})"

    def take(self, index: int = 0) -> int:
        """Takes one out, which the caller closes from now on. ``IndexError`` if there is none."""
        return self._fds.pop(index)

    def close(self) -> None:
        """Closes those that are left."""
        while self._fds:
            with contextlib.suppress(OSError):
                os.close(self._fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _Answers(Protocol):
    """The part of a socket that a request needs."""

    def _reply(
        self, peer: int, request: int, name: str, data: Data, fds: Sequence[int], flags: int
    ) -> None: ...

    def _ignore(self, request: int, name: str) -> None: ...


class _Debt:
    """That a request is owed an answer. When nobody can answer any more, it is given up."""

    def __init__(self, socket: _Answers, peer: int, request: int, name: str) -> None:
        self.socket: _Answers | None = socket
        self.peer, self.request, self.name = peer, request, name

    def reply(self, data: Data, fds: Sequence[int], flags: int) -> None:
        socket = self._open("reply to")
        try:
            socket._reply(self.peer, self.request, self.name, data, fds, flags)
        except KbusError as error:
            # The requester has gone, or another process has answered through the same socket.
            if error.errno in (errno.EADDRNOTAVAIL, errno.ECONNREFUSED):
                self.socket = None
            raise
        self.socket = None

    def ignore(self) -> None:
        socket = self._open("ignore")
        self.socket = None
        socket._ignore(self.request, self.name)

    def _open(self, operation: str) -> _Answers:
        if self.socket is None:
            number = errno.ECONNREFUSED
            raise KbusError(number, explain(operation, number, self.name))
        return self.socket

    def __del__(self) -> None:
        if self.socket is None:
            return
        with contextlib.suppress(Exception):
            self.ignore()
            warnings.warn(
                f"the request {self.request:#x} for {self.name} was dropped without an answer",
                ResourceWarning,
                stacklevel=2,
            )


@dataclass(eq=False, kw_only=True, slots=True)
class Message:
    """What all messages have.

    ``id`` ascends over all buses of a network namespace. ``sender`` is the peer id of the
    socket that sent it, 0 for the bus. ``lost`` is how many messages this socket missed between
    the one before and this one. ``user`` are the 16 bits that a sender may choose.
    ``credentials``, ``label``, ``time_ns`` (nanoseconds since 1970, when it was sent) and
    ``fds`` are there if the socket asked for them. ``had_fds``: descriptors were sent with the
    message and this copy came without some.
    """

    name: str
    data: bytes
    id: int
    sender: int
    urgent: bool = False
    user: int = 0
    lost: int = 0
    credentials: Credentials | None = None
    label: str | None = None
    time_ns: int | None = None
    via: Via | None = None
    fds: Descriptors = field(default_factory=Descriptors)
    had_fds: bool = False

    @property
    def text(self) -> str:
        """The payload as UTF-8; what is not is replaced."""
        return self.data.decode(errors="replace")


@dataclass(eq=False, kw_only=True, slots=True)
class Announcement(Message):
    """Sent to everybody who listens."""


@dataclass(eq=False, kw_only=True, slots=True)
class BindEvent(Announcement):
    """``$.KBUS.ReplierBindEvent``: ``peer`` became replier for ``bound``, or stopped."""

    peer: int
    is_bind: bool
    bound: str


@dataclass(eq=False, kw_only=True, slots=True)
class Lost(Message):
    """``$.KBUS.Lost``: here ``lost`` messages were missed (see ``Socket.report_lost``)."""


@dataclass(eq=False, kw_only=True, slots=True)
class Copy(Message):
    """A listener's copy of a request that another binding answers, or of somebody's reply.

    ``in_reply_to`` is 0 for a copy of a request, and the request's id for one of a reply.
    ``to`` is the requester of a reply, or the target of a stateful request.
    """

    in_reply_to: int = 0
    to: int = 0


@dataclass(eq=False, kw_only=True, slots=True)
class Request(Message):
    """A request that this socket must answer, once: by :meth:`reply` or :meth:`ignore`.

    As a context manager it is ignored at the end if it was not answered, and so it is when the
    program lets go of it, so that no requester waits for nothing.

    >>> import kbus
    >>> server, client = kbus.Socket("@request"), kbus.Socket("@request")
    >>> server.become_replier("$.Echo")
    >>> number = client.request("$.Echo", "hello")
    >>> with server.receive() as request:
    ...     request.reply(request.data)
    >>> client.receive().text
    'hello'
    """

    to: int = 0
    _debt: _Debt = field(repr=False)

    def reply(
        self,
        data: Data = b"",
        *,
        fds: Sequence[int] = (),
        urgent: bool = False,
        user: int = 0,
    ) -> None:
        """Answers. This never waits, so asyncio programs call it as it is.

        ``KbusError`` with ``EMSGSIZE``: longer than the requester has room for; it is still to
        be answered. With ``EADDRNOTAVAIL``: the requester has gone; nothing is owed any more.
        With ``ECONNREFUSED``: it was answered or ignored before.
        """
        self._debt.reply(data, fds, _flags(urgent=urgent, user=user))

    def ignore(self) -> None:
        """Gives it up: the requester gets an Ignored status now. ``ECONNREFUSED`` as above."""
        self._debt.ignore()

    @property
    def answered(self) -> bool:
        """Whether it was answered or ignored, or its requester was found to have gone."""
        return self._debt.socket is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.answered:
            self.ignore()


@dataclass(eq=False, kw_only=True, slots=True)
class Reply(Message):
    """The answer to this socket's own request ``in_reply_to``, with the cookie of that."""

    in_reply_to: int
    cookie: int = 0


@dataclass(eq=False, kw_only=True, slots=True)
class Status(Message):
    """In place of a reply: there will be none to the request ``in_reply_to``.

    ``sender`` is the replier that it is about, ``error`` is 1 (gone away), 2 (ignored) or
    3 (unbound).
    """

    in_reply_to: int
    cookie: int = 0
    error: int = 0

    def exception(self, about: str = "the request") -> StatusError:
        """The exception that :meth:`kbus.Socket.call` raises for it."""
        kind, number, reason = _STATUS.get(
            self.error, (StatusError, errno.EPROTO, f"the bus gave the reason {self.error}")
        )
        return kind(number, f"no reply to {about}: {reason}", self.sender)


_STATUS: dict[int, tuple[type[StatusError], int, str]] = {
    k.GONE_AWAY: (
        GoneAway,
        errno.ECONNRESET,
        "its replier was closed or died before it read the request",
    ),
    k.IGNORED: (
        Ignored,
        errno.ECANCELED,
        "its replier read the request and gave it up, or died, without a reply",
    ),
    k.UNBOUND: (
        Unbound,
        errno.ECONNABORTED,
        "its replier stopped replying for that name before it read the request",
    ),
}


def _flags(
    *,
    request: bool = False,
    urgent: bool = False,
    all_or_fail: bool = False,
    all_or_wait: bool = False,
    user: int = 0,
) -> int:
    if not 0 <= user <= 0xFFFF:
        raise ValueError(f"user bits are a number of 16 bits, and not {user}")
    if all_or_fail and all_or_wait:
        raise ValueError("all_or_fail and all_or_wait exclude each other")
    return (
        (k.F_REQUEST if request else 0)
        | (k.F_URGENT if urgent else 0)
        | (k.F_ALL_OR_FAIL if all_or_fail else 0)
        | (k.F_ALL_OR_WAIT if all_or_wait else 0)
        | user << 16
    )


def encode(data: Data) -> bytes | bytearray | memoryview:
    """The bytes of a payload: text as UTF-8, everything else as it is."""
    if isinstance(data, str):
        return data.encode()
    return data
