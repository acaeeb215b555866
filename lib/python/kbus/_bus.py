# SPDX-License-Identifier: MIT OR Apache-2.0
"""Which bus, and how to join it."""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple, TypeAlias

from kbus import _uapi as k
from kbus._errors import failure

Bus: TypeAlias = str | os.PathLike[str]


class BusInfo(NamedTuple):
    """The state of a bus; ids of messages compare between buses of the same ``domain``.

    ``bytes`` of payload are alive on it, of at most ``bytes_max``. ``uid`` and ``gid`` own it,
    ``mode`` says who may join. It has ``members`` sockets and ``bindings``, and payloads of at
    most ``max_msg`` bytes.
    """

    domain: int
    bytes: int
    bytes_max: int
    uid: int
    gid: int
    mode: int
    members: int
    bindings: int
    max_msg: int


def bus_address(bus: Bus | None) -> bytes | str:
    """The address to bind to for ``"@kbus-0"`` or a path, which has a slash in it."""
    text = os.fspath(bus) if bus is not None else os.environ.get("KBUS_BUS") or "@kbus-0"
    if text.startswith("@") and len(text) > 1:
        return b"\0" + text[1:].encode()
    if "/" in text and "\0" not in text:
        return text
    raise ValueError(
        f'"{text}" is no bus: write an abstract one as @NAME, and one at a path with a slash'
    )


def bus_text(address: bytes | str) -> str:
    """A bus as people write it, for an address that ``getsockname()`` gave."""
    if isinstance(address, bytes):
        return "@" + address[1:].decode(errors="backslashreplace") if address else ""
    return address


def open_bus(mode: int | None, address: bytes | str, text: str) -> socket.socket:
    """A socket that has joined a bus, which is made with this mode if it is not there."""
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, k.PROTO_KBUS)
    except OSError as error:
        raise failure("open a socket", error) from None
    try:
        if mode is not None:
            sock.setsockopt(k.SOL_KBUS, k.BUS_MODE, k.U32.pack(mode))
        sock.bind(address)
    except OSError as error:
        sock.close()
        # An address that is too long has no errno: socket refuses it itself.
        if error.errno is None:
            error.errno = errno.ENAMETOOLONG
        raise failure("join the bus", error, text) from None
    return sock
