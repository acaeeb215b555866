# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the blocking socket and that of asyncio share: all that never waits."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from kbus import _uapi as k
from kbus._bus import Bus, BusInfo, bus_address, bus_text, open_bus
from kbus._errors import KbusError, explain, failure
from kbus._messages import (
    Announcement,
    BindEvent,
    Copy,
    Credentials,
    Data,
    Descriptors,
    Lost,
    Message,
    Reply,
    Request,
    Status,
    Via,
    _Debt,
    encode,
)

_L = TypeVar("_L", bound="Base")

# Room for the ancillary data of a message: name, info (which may grow), via, credentials,
# a label, the time, and as many descriptors as there may be.
_FDS_MAX = 253
_ANCILLARY = sum(
    socket.CMSG_SPACE(size) for size in (k.NAME_MAX, 256, 32, 12, 1024, 16, 4 * _FDS_MAX)
)
# Sockets for calls that are kept for the next ones.
_SPARE = 8


class Base:
    """See :class:`kbus.Socket` and :class:`kbus.aio.Socket`."""

    def __init__(
        self,
        bus: Bus | None = None,
        *,
        sock: socket.socket | None = None,
        mode: int | None = None,
    ) -> None:
        # Those whom close() finds, should an exception come first.
        self._spare: list[Base] = []
        self._spare_pid = os.getpid()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        if sock is None:
            address = bus_address(bus)
            sock = open_bus(mode, address, bus_text(address))
        else:
            if sock.family != socket.AF_UNIX or sock.proto != k.PROTO_KBUS:
                raise ValueError(
                    "not a socket of the form socket(AF_UNIX, SOCK_DGRAM, 0x6b62): Python's"
                    " socket module can only use that form of KBUS"
                )
            if not sock.getsockname():
                address = bus_address(bus)
                try:
                    sock.bind(address)
                except OSError as error:
                    raise failure("join the bus", error, bus_text(address)) from None
        self._sock = sock
        self._mask = 0
        # No call waits in the kernel: timeouts, and the loop of asyncio, are above.
        sock.setblocking(False)
        self._set(k.RECV_INFO, 1)
        self._peer = self._get64(k.PEER_ID)
        self._mask = self._get32(k.PASS)

    # The socket.

    def fileno(self) -> int:
        """The file descriptor, -1 when closed. It is readable when a message waits."""
        return self._sock.fileno()

    @property
    def sock(self) -> socket.socket:
        """The socket itself, for what is not here. It does not block."""
        return self._sock

    @property
    def bus(self) -> str:
        """The bus: ``"@kbus-0"`` or the path that was bound to."""
        return bus_text(self._sock.getsockname())

    def detach(self) -> socket.socket:
        """Gives the socket back; this object is closed after it."""
        number = self._sock.detach()
        self._drop()
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, k.PROTO_KBUS, fileno=number)

    def shutdown(self) -> None:
        """Stops receiving and sending: what is owed gets a status, iteration and ``serve`` end.

        This may be called from another thread than the one that receives, unlike ``close``.
        """
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            raise failure("shut down", error) from None

    def _drop(self) -> None:
        for spare in self._spare:
            spare._drop()
        self._spare.clear()
        self._sock.close()

    def __repr__(self) -> str:
        if self.fileno() < 0:
            return f"<{type(self).__module__}.{type(self).__name__} closed>"
        return f"<{type(self).__module__}.{type(self).__name__} {self._peer:x} on {self.bus}>"

    # Options.

    def _set(self, option: int, value: int | bytes, operation: str = "set", what: str = "") -> None:
        try:
            self._sock.setsockopt(k.SOL_KBUS, option, value)
        except OSError as error:
            raise failure(operation, error, what) from None

    def _get(self, option: int, size: int) -> bytes:
        try:
            return self._sock.getsockopt(k.SOL_KBUS, option, size)
        except OSError as error:
            raise failure("ask the socket", error) from None

    def _get32(self, option: int) -> int:
        return int(k.U32.unpack(self._get(option, 4))[0])

    def _get64(self, option: int) -> int:
        return int(k.U64.unpack(self._get(option, 8))[0])

    def _name_option(self, option: int, operation: str, name: str) -> None:
        self._set(option, _name_bytes(name, operation), operation, name)

    @property
    def peer_id(self) -> int:
        """The id of this socket, which is never used again while the machine is up."""
        return self._peer

    @property
    def queue_len(self) -> int:
        """Messages that the queue may hold; ``KbusError`` above ``net.kbus.max_queue_len``."""
        return self._get32(k.QUEUE_LEN)

    @queue_len.setter
    def queue_len(self, value: int) -> None:
        self._set32(k.QUEUE_LEN, value, "queue_len")

    @property
    def reply_max(self) -> int:
        """Bytes that each request reserves for its reply, 4096 at first."""
        return self._get32(k.REPLY_MAX)

    @reply_max.setter
    def reply_max(self, value: int) -> None:
        self._set32(k.REPLY_MAX, value, "reply_max")

    @property
    def once(self) -> bool:
        """One copy of each message, however many bindings of this socket match."""
        return bool(self._get32(k.ONCE))

    @once.setter
    def once(self, value: bool) -> None:
        self._set(k.ONCE, int(value), what="once")

    @property
    def lossy(self) -> bool:
        """As a listener, miss messages rather than let a sender fail or wait. For monitors."""
        return bool(self._get32(k.LOSSY))

    @lossy.setter
    def lossy(self, value: bool) -> None:
        self._set(k.LOSSY, int(value), what="lossy")

    @property
    def report_lost(self) -> bool:
        """Receive a :class:`Lost` message where messages were missed."""
        return bool(self._get32(k.REPORT_LOST))

    @report_lost.setter
    def report_lost(self, value: bool) -> None:
        self._set(k.REPORT_LOST, int(value), what="report_lost")

    def _pass(self, bit: int, value: bool) -> None:
        with self._lock:
            mask = self._get32(k.PASS)
            mask = mask | bit if value else mask & ~bit
            self._set(k.PASS, k.U32.pack(mask), what="what is passed with messages")
            self._mask = mask

    @property
    def pass_credentials(self) -> bool:
        """Receive the sender's process, user and group with each message."""
        return bool(self._get32(k.PASS) & k.PASS_CRED)

    @pass_credentials.setter
    def pass_credentials(self, value: bool) -> None:
        self._pass(k.PASS_CRED, value)

    @property
    def pass_label(self) -> bool:
        """Receive the label that a security module gave the sender, if there is one."""
        return bool(self._get32(k.PASS) & k.PASS_SEC)

    @pass_label.setter
    def pass_label(self, value: bool) -> None:
        self._pass(k.PASS_SEC, value)

    @property
    def pass_fds(self) -> bool:
        """Receive descriptors. It counts when a message is sent, and when it is read."""
        return bool(self._get32(k.PASS) & k.PASS_RIGHTS)

    @pass_fds.setter
    def pass_fds(self, value: bool) -> None:
        self._pass(k.PASS_RIGHTS, value)

    @property
    def pass_time(self) -> bool:
        """Receive the time of sending."""
        return bool(self._get32(k.PASS) & k.PASS_TIME)

    @pass_time.setter
    def pass_time(self, value: bool) -> None:
        self._pass(k.PASS_TIME, value)

    def _set32(self, option: int, value: int, what: str) -> None:
        if not 0 <= value < 1 << 32:
            raise ValueError(f"{what} is a number of 32 bits, and not {value}")
        self._set(option, k.U32.pack(value), what=what)

    @property
    def unread(self) -> int:
        """Messages that wait in the queue."""
        return self._get32(k.UNREAD)

    @property
    def unreplied(self) -> int:
        """Requests that were received and are owed a reply."""
        return self._get32(k.UNREPLIED)

    @property
    def lost(self) -> int:
        """Messages that this socket has missed so far."""
        return self._get64(k.LOST)

    @property
    def next_len(self) -> int | None:
        """Payload bytes of the next message, ``None`` if none waits."""
        length = int(k.S64.unpack(self._get(k.NEXT_LEN, 8))[0])
        return None if length < 0 else length

    def sync(self) -> int:
        """An id: each message of this bus up to it is in the queues of its recipients by now.

        :class:`kbus.Merge` is made of it. It never waits.
        """
        return self._get64(k.SYNC)

    # The bus, of which most is its owner's to set.

    @property
    def bus_info(self) -> BusInfo:
        """Owner, mode, counts and limits of the bus."""
        raw = self._get(k.BUS_INFO, k.BUS_STRUCT.size)
        return BusInfo(*k.BUS_STRUCT.unpack(raw.ljust(k.BUS_STRUCT.size, b"\0")))

    @property
    def max_msg_size(self) -> int:
        """The largest payload of the bus, 64 KiB at first. The owner may set 100 to 16 MiB."""
        return self._get32(k.MAX_MSG_SIZE)

    @max_msg_size.setter
    def max_msg_size(self, value: int) -> None:
        self._set32(k.MAX_MSG_SIZE, value, "max_msg_size")

    @property
    def bus_bytes(self) -> int:
        """Payload that may be alive on the bus; set by its owner."""
        return self._get64(k.BUS_BYTES)

    @bus_bytes.setter
    def bus_bytes(self, value: int) -> None:
        self._set(k.BUS_BYTES, k.U64.pack(value), what="bus_bytes")

    @property
    def bus_mode(self) -> int:
        """Whose write bit allows to join: 0o666 at first; set by the owner of an abstract bus."""
        return self._get32(k.BUS_MODE)

    @bus_mode.setter
    def bus_mode(self, value: int) -> None:
        self._set32(k.BUS_MODE, value, "bus_mode")

    @property
    def report_binds(self) -> bool:
        """Have the bus announce its replier bindings (:class:`BindEvent`); set by its owner."""
        return bool(self._get32(k.REPORT_BINDS))

    @report_binds.setter
    def report_binds(self, value: bool) -> None:
        self._set(k.REPORT_BINDS, int(value), what="report_binds")

    # Sending.

    def _transmit(
        self,
        operation: str,
        name: str,
        data: Data,
        *,
        flags: int,
        fds: Sequence[int] = (),
        reply_max: int = 0,
        cookie: int = 0,
        to: int | None = None,
        via: Via | None = None,
    ) -> int:
        """Tries once to send to a name, and returns the id. ``EAGAIN``: it would wait."""
        # A name travels beside the address, however short it is: one way for all of them, and
        # an @ or # in it is an error instead of a part of the address.
        extra: list[tuple[int, int, Any]] = [
            (k.SOL_KBUS, k.SCM_NAME, _name_bytes(name, operation)),
        ]
        if flags or reply_max or cookie:
            try:
                packed = k.SEND_STRUCT.pack(flags, reply_max, cookie)
            except struct.error:
                raise ValueError(
                    "reply_max is a number of 32 bits, a cookie one of 64, from 0 on"
                ) from None
            extra.append((k.SOL_KBUS, k.SCM_SEND, packed))
        if via is not None:
            extra.append((k.SOL_KBUS, k.SCM_VIA, k.VIA_STRUCT.pack(*via)))
        _add_fds(extra, fds)
        payload = encode(data)
        with self._lock:
            try:
                if to is None:
                    self._sock.sendmsg([payload], extra, socket.MSG_DONTWAIT)
                else:
                    self._sock.sendmsg([payload], extra, socket.MSG_DONTWAIT, f"$.@{to:x}")
            except OSError as error:
                raise failure(operation, error, name) from None
            return self._get64(k.LAST_SENT)

    def _reply(
        self, peer: int, request: int, name: str, data: Data, fds: Sequence[int], flags: int
    ) -> None:
        extra: list[tuple[int, int, Any]] = []
        # Even without flags: those that somebody set for the socket are not for replies.
        extra.append((k.SOL_KBUS, k.SCM_SEND, k.SEND_STRUCT.pack(flags, 0, 0)))
        _add_fds(extra, fds)
        to = f"$.@{peer:x}#{request:x}"
        with self._lock:
            try:
                self._sock.sendmsg([encode(data)], extra, socket.MSG_DONTWAIT, to)
            except OSError as error:
                raise failure("reply to", error, name) from None

    def _ignore(self, request: int, name: str) -> None:
        self._set(k.IGNORE, k.U64.pack(request), "ignore", name)

    def _replier(self, name: str) -> int | None:
        text = _name_bytes(name, "look up the replier for")
        if b"@" in text or b"#" in text:
            # Behind these an address goes on.
            raise failure("look up the replier for", OSError(errno.EBADMSG, ""), name)
        if len(text) > k.NAME_SHORT:
            raise ValueError(
                f"the replier of a name of more than {k.NAME_SHORT} bytes cannot be looked up"
            )
        with self._lock:
            try:
                self._sock.connect(name)
                peer = self._sock.getsockopt(k.SOL_KBUS, k.REPLIER, 8)
            except OSError as error:
                # "$." alone is a part of an address.
                if error.errno == errno.EINVAL:
                    error.errno = errno.EBADMSG
                raise failure("look up the replier for", error, name) from None
        return k.U64.unpack(peer)[0] or None

    # Receiving.

    def _receive_now(self) -> Message | None:
        """The next message, ``None`` if none waits. ``Closed``: none will come."""
        with self._reading:
            try:
                # An urgent message may come before the one that is next now, so there is room
                # for the largest that may be sent. One that waits may be larger still, if the
                # limit was higher when it was sent.
                limit = k.U32.unpack(self._sock.getsockopt(k.SOL_KBUS, k.MAX_MSG_SIZE, 4))[0]
                following = k.S64.unpack(self._sock.getsockopt(k.SOL_KBUS, k.NEXT_LEN, 8))[0]
                data, extra, flags, address = self._sock.recvmsg(
                    max(limit, following),
                    _ANCILLARY,
                    socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return None
            except OSError as error:
                raise failure("receive", error) from None
        message = self._decode(data, extra, flags, address)
        if message is None:
            raise failure("receive", OSError(errno.ESHUTDOWN, ""))
        if flags & socket.MSG_TRUNC:
            # The bus allowed larger payloads between two of the calls above.
            if isinstance(message, Request):
                message.ignore()
            raise KbusError(
                errno.EMSGSIZE,
                f"a message for {message.name} was lost: the bus began to allow larger ones just"
                " when it came",
            )
        return message

    def _decode(
        self, data: bytes, extra: list[tuple[int, int, bytes]], msg_flags: int, address: Any
    ) -> Message | None:
        name, _, _ = address.partition("@") if isinstance(address, str) else ("", "", "")
        fields: dict[str, Any] = {"data": data}
        info: tuple[int, ...] | None = None
        fds = array("i")
        for level, kind, raw in extra:
            if level == k.SOL_KBUS and kind == k.SCM_INFO:
                info = k.INFO_STRUCT.unpack_from(raw)
            elif level == k.SOL_KBUS and kind == k.SCM_NAME:
                name = raw.decode("ascii")
            elif level == k.SOL_KBUS and kind == k.SCM_VIA:
                fields["via"] = Via(*k.VIA_STRUCT.unpack_from(raw))
            elif level != socket.SOL_SOCKET:
                continue
            elif kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
            elif kind == k.SCM_CREDENTIALS:
                fields["credentials"] = Credentials(*k.UCRED_STRUCT.unpack_from(raw))
            elif kind == k.SCM_SECURITY:
                fields["label"] = raw.rstrip(b"\0").decode(errors="replace")
            elif kind in (k.SCM_TIMESTAMPNS_OLD, k.SCM_TIMESTAMPNS_NEW):
                seconds, nanoseconds = struct.unpack("@ll" if kind == 35 else "@qq", raw)
                fields["time_ns"] = seconds * 1_000_000_000 + nanoseconds
        if info is None:
            return None
        number, in_reply_to, cookie, sender, to, _, flags, lost, error = info
        fields.update(
            name=name,
            id=number,
            sender=sender,
            lost=lost,
            urgent=bool(flags & k.F_URGENT),
            user=flags >> 16,
            fds=Descriptors(fds),
            had_fds=bool(flags & k.F_HAD_FDS or msg_flags & socket.MSG_CTRUNC),
        )
        if name == k.LOST_NAME:
            return Lost(**fields)
        if name == k.BIND_EVENT_NAME:
            peer, is_bind, length = k.EVENT_STRUCT.unpack_from(data)
            bound = data[k.EVENT_STRUCT.size :][:length].decode("ascii")
            return BindEvent(peer=peer, is_bind=bool(is_bind), bound=bound, **fields)
        # What else the bus says of itself has no error.
        if flags & k.F_STATUS and error:
            return Status(in_reply_to=in_reply_to, cookie=cookie, error=error, **fields)
        if flags & k.F_YOU_REPLY:
            return Request(to=to, _debt=_Debt(self, sender, number, name), **fields)
        if flags & k.F_REPLY:
            if to == self._peer:
                return Reply(in_reply_to=in_reply_to, cookie=cookie, **fields)
            return Copy(in_reply_to=in_reply_to, to=to, **fields)
        if flags & k.F_REQUEST:
            return Copy(to=to, **fields)
        return Announcement(**fields)

    # Calls.

    def _borrow(self, make: Callable[[socket.socket], _L]) -> _L:
        """A socket of its own for a call.

        It has no bindings, so nothing but the reply comes to it: a call takes no message away
        from ``receive``, the reply does not queue behind other messages, and the descriptor of
        the socket stays readable as long as a message waits.
        """
        with self._lock:
            if self._spare_pid != os.getpid():
                # After a fork they are the parent's, too.
                for spare in self._spare:
                    spare._drop()
                self._spare.clear()
                self._spare_pid = os.getpid()
            line = self._spare.pop() if self._spare else None
        if line is None:
            address = self._sock.getsockname()
            line = make(open_bus(None, address, bus_text(address)))
        if line._mask != self._mask:
            line._set(k.PASS, k.U32.pack(self._mask))
            line._mask = self._mask
        # All that were given back were made by the same function.
        return cast(_L, line)

    def _give_back(self, line: Base) -> None:
        with self._lock:
            if len(self._spare) < _SPARE and self._sock.fileno() >= 0:
                self._spare.append(line)
                return
        line._drop()

    @staticmethod
    def _answer(message: Message, number: int, name: str) -> Reply | None:
        """The reply, if the message is one to that request; the exception of a status."""
        if isinstance(message, Status) and message.in_reply_to == number:
            raise message.exception(name)
        if isinstance(message, Reply) and message.in_reply_to == number:
            return message
        return None


def late(operation: str, subject: str, timeout: float | None) -> TimeoutError:
    """The exception for a time that is over."""
    what = f"{operation} {subject}" if subject else operation
    return TimeoutError(errno.ETIMEDOUT, f"cannot {what}: the {timeout:g} seconds are over")


def _name_bytes(name: str, operation: str) -> bytes:
    text = name.encode("utf-8", "surrogateescape")
    # It would end there for the kernel.
    if not text or b"\0" in text:
        raise KbusError(errno.EBADMSG, explain(operation, errno.EBADMSG, repr(name)))
    return text


def _add_fds(extra: list[tuple[int, int, Any]], fds: Iterable[int]) -> None:
    numbers = array("i", fds)
    if len(numbers) > _FDS_MAX:
        raise ValueError(f"a message takes at most {_FDS_MAX} descriptors, and not {len(numbers)}")
    if numbers:
        extra.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers))
