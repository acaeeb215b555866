# SPDX-License-Identifier: MIT OR Apache-2.0
"""Several buses in the one order in which messages were sent on them."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from kbus._base import Base, late
from kbus._errors import Closed
from kbus._messages import Message
from kbus._socket import Socket

_S = TypeVar("_S", bound=Base)


class Order(Generic[_S]):
    """What the blocking merge and that of asyncio share: all that never waits."""

    def __init__(self, *sockets: _S) -> None:
        if len({socket.bus_info.domain for socket in sockets}) > 1:
            raise ValueError(
                "these buses have no common order: they were made in different network namespaces"
            )
        self._sources = [_Source(socket) for socket in sockets]
        self._urgent: deque[tuple[_S, Message]] = deque()
        # The one whose message was delivered last.
        self._last: _Source[_S] | None = None

    def _next(self) -> tuple[_S, Message] | None:
        if self._last is not None:
            self._last.fill(self._urgent)
        if not any(source.held for source in self._sources):
            for source in self._sources:
                source.fill(self._urgent)
        if self._urgent:
            return self._urgent.popleft()
        held = [source.held.id for source in self._sources if source.held is not None]
        if not held:
            if all(source.closed for source in self._sources):
                # What the first one says of itself.
                raise self._sources[0].end or Closed(0, "there is no socket to receive from")
            return None
        least = min(held)
        for source in self._sources:
            if source.held is None and not source.closed and source.complete < least:
                # First the number, then the queue. A socket that was closed has neither.
                complete = source.socket.sync() if source.socket.fileno() >= 0 else least
                source.fill(self._urgent)
                source.complete = complete
        if self._urgent:
            return self._urgent.popleft()
        first = min(
            (source for source in self._sources if source.held is not None),
            key=lambda source: source.held.id if source.held is not None else 0,
        )
        message, first.held = first.held, None
        self._last = first
        assert message is not None
        return first.socket, message


class Merge(Order[Socket]):
    """Receives from several sockets in the order of the ids, which is that of sending.

    The sockets are bound before, and received from by nothing else. An urgent message is
    delivered when it is met. Buses of different order domains have no common order:
    ``ValueError``. The method, and why it is right and never waits, is in docs/ordering.md.

    >>> import kbus
    >>> left, right = kbus.Socket("@left"), kbus.Socket("@right")
    >>> left.listen("$.*")
    >>> right.listen("$.*")
    >>> both = kbus.Merge(left, right)
    >>> right.announce("$.First")
    >>> left.announce("$.Second")
    >>> right.announce("$.Third")
    >>> [both.receive()[1].name for _ in range(3)]
    ['$.First', '$.Second', '$.Third']
    """

    def receive(self, timeout: float | None = None) -> tuple[Socket, Message]:
        """The next message of all sockets, and its socket.

        ``TimeoutError`` after ``timeout`` seconds. :class:`Closed` when all are shut down.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self._next()
            if found is not None:
                return found
            poll = select.poll()
            for source in self._sources:
                if source.closed:
                    continue
                poll.register(source.socket.fileno(), select.POLLIN)
            if deadline is None:
                poll.poll()
                continue
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(int(left * 1000) + (left > 0)):
                raise late("receive", "", timeout)

    def __iter__(self) -> Iterator[tuple[Socket, Message]]:
        """Messages with their sockets, until all sockets are shut down."""
        while True:
            try:
                yield self.receive()
            except Closed:
                return


class _Source(Generic[_S]):
    """A socket, and the one message of it that was received and not delivered yet."""

    def __init__(self, socket: _S) -> None:
        self.socket = socket
        self.held: Message | None = None
        # All messages up to this id have been received, if none is held.
        self.complete = 0
        self.end: Closed | None = None

    @property
    def closed(self) -> bool:
        return self.end is not None

    def fill(self, urgent: deque[tuple[_S, Message]]) -> None:
        while self.held is None and not self.closed:
            try:
                message = self.socket._receive_now()
            except Closed as end:
                self.end = end
                return
            if message is None:
                return
            if message.urgent:
                urgent.append((self.socket, message))
            else:
                self.held = message
