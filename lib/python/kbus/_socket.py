# SPDX-License-Identifier: MIT OR Apache-2.0
"""The blocking socket."""

from __future__ import annotations

import errno
import logging
import select
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from kbus._base import Base, late
from kbus._errors import Closed, KbusError, failure
from kbus._messages import Data, Message, Reply, Request, Via, _flags
from kbus import _uapi as k

_log = logging.getLogger("kbus")
_T = TypeVar("_T")


class Socket(Base):
    """A socket on a bus.

    ``bus`` is ``"@kbus-0"`` (abstract) or a path with a slash in it; without it ``$KBUS_BUS``
    counts, then ``@kbus-0``. A bus that is not there is made; ``mode`` says who may join it
    then. ``sock`` is a ``socket.socket(AF_UNIX, SOCK_DGRAM, 0x6b62)`` to use, which becomes this
    object's, and joins ``bus`` if it has not joined one.

    It is closed by :meth:`close`, or as a context manager. Several threads may use it at the
    same time; each message is received by one of them.

    ``timeout`` is in seconds everywhere, ``None`` for ever; ``TimeoutError`` when it is over.
    All other errors are :class:`KbusError`.

    >>> import kbus
    >>> with kbus.Socket("@socket") as bus:
    ...     bus.listen("$.Sensors.%")
    ...     bus.announce("$.Sensors.Kitchen", "21 C")
    ...     bus.receive().text
    '21 C'
    """

    def close(self) -> None:
        """Leaves the bus: requests that were not answered get a status. Twice is no error."""
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Waiting.

    def _wait(self, events: int, deadline: float | None) -> bool:
        """Whether one of the events came before the deadline."""
        number = self.fileno()
        if number < 0:
            raise failure("receive", OSError(errno.EBADF, ""))
        poll = select.poll()
        poll.register(number, events)
        if deadline is None:
            return bool(poll.poll())
        # Not less than there is left: a poll that ends early would be followed by another one.
        left = max(0.0, deadline - time.monotonic())
        return bool(poll.poll(int(left * 1000) + (left > 0)))

    def _insist(
        self, attempt: Callable[[], _T], operation: str, name: str, timeout: float | None
    ) -> _T:
        """Tries again whenever there may be room, until it is done or the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while True:
            try:
                return attempt()
            except KbusError as error:
                if error.errno != errno.EAGAIN:
                    raise
            began = time.monotonic()
            if deadline is not None and began >= deadline:
                raise late(operation, name, timeout)
            self._wait(select.POLLOUT, deadline)
            # Where memory is lacking the kernel cannot tell when there is some, and says
            # "writable" at once.
            if time.monotonic() - began < pause:
                time.sleep(pause)
                pause = min(2 * pause, 0.25)
            else:
                pause = 0.001

    # Bindings.

    def listen(self, name: str) -> None:
        """Receives messages of a name from now on, or those that match a wildcard.

        ``$.Sensors.*`` matches names with one or more further words, ``$.Sensors.%`` with one.
        Each matching binding brings a copy of its own, unless :attr:`once` is set.
        """
        self._name_option(k.LISTEN, "listen to", name)

    def unlisten(self, name: str) -> None:
        """Undoes :meth:`listen`, once; unread messages that only it let in are removed."""
        self._name_option(k.UNLISTEN, "stop listening to", name)

    def become_replier(self, name: str, *, timeout: float | None = None) -> None:
        """Becomes the replier for a name or wildcard. ``EEXIST``: somebody else is.

        It waits only where the bus announces its bindings and a queue for that is full.
        """
        self._insist(
            lambda: self._name_option(k.REPLIER, "become replier for", name),
            "become replier for",
            name,
            timeout,
        )

    def stop_replying(self, name: str, *, timeout: float | None = None) -> None:
        """Undoes :meth:`become_replier`: unread requests get an Unbound status."""
        self._insist(
            lambda: self._name_option(k.UNREPLIER, "stop replying for", name),
            "stop replying for",
            name,
            timeout,
        )

    def replier(self, name: str) -> int | None:
        """The peer id of who would answer a request for this name now, ``None`` for nobody.

        For names of at most 73 bytes, else ``ValueError``.
        """
        return self._replier(name)

    # Sending.

    def announce(
        self,
        name: str,
        data: Data = b"",
        *,
        urgent: bool = False,
        all_or_fail: bool = False,
        all_or_wait: bool = False,
        fds: Sequence[int] = (),
        user: int = 0,
        via: Via | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends a message to all who listen to its name, if anybody does.

        A listener whose queue is full misses it and is told. With ``all_or_fail`` nobody gets
        it then (``EBUSY``); with ``all_or_wait`` this waits for room, up to ``timeout``.
        ``urgent`` puts it in front. ``user`` are 16 bits that readers get as they are.
        """
        flags = _flags(
            urgent=urgent, all_or_fail=all_or_fail, all_or_wait=all_or_wait, user=user
        )
        self._insist(
            lambda: self._transmit("announce", name, data, flags=flags, fds=fds, via=via),
            "announce",
            name,
            timeout,
        )

    def request(
        self,
        name: str,
        data: Data = b"",
        *,
        to: int | None = None,
        urgent: bool = False,
        all_or_fail: bool = False,
        all_or_wait: bool = False,
        fds: Sequence[int] = (),
        user: int = 0,
        cookie: int = 0,
        reply_max: int = 0,
        via: Via | None = None,
        timeout: float | None = None,
    ) -> int:
        """Asks the replier for a name, and returns the id of the request.

        The answer is a :class:`Reply` or :class:`Status` that :meth:`receive` returns, with
        ``in_reply_to`` equal to that id, and the cookie. ``to``: only this peer is meant, as
        the sender of an earlier reply: ``EPIPE`` if somebody else is the replier now.
        ``reply_max`` bytes are reserved for the reply, 0 for :attr:`reply_max`. ``timeout`` is
        that of ``all_or_wait``. :class:`NoReplier` if there is none.
        """
        flags = _flags(
            request=True,
            urgent=urgent,
            all_or_fail=all_or_fail,
            all_or_wait=all_or_wait,
            user=user,
        )
        return self._insist(
            lambda: self._transmit(
                "request",
                name,
                data,
                flags=flags,
                fds=fds,
                reply_max=reply_max,
                cookie=cookie,
                to=to,
                via=via,
            ),
            "request",
            name,
            timeout,
        )

    def call(
        self,
        name: str,
        data: Data = b"",
        *,
        timeout: float | None = None,
        to: int | None = None,
        urgent: bool = False,
        all_or_fail: bool = False,
        all_or_wait: bool = False,
        fds: Sequence[int] = (),
        user: int = 0,
        reply_max: int = 0,
    ) -> Reply:
        """Asks the replier for a name, and waits for the reply.

        A status is raised as :class:`GoneAway`, :class:`Ignored` or :class:`Unbound`. When the
        time is over this raises ``TimeoutError``, and the replier that answers later is told
        that nobody waits. Requests and calls are given to the replier from sockets of
        different ids: each call has a socket of its own on the same bus, so it never takes
        away what :meth:`receive` is to return.

        >>> import kbus
        >>> kbus.Socket("@nobody").call("$.Nobody.Home")
        Traceback (most recent call last):
        kbus.NoReplier: cannot request $.Nobody.Home: nobody is replier for it
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        line = self._borrow(lambda sock: Socket(sock=sock))
        pending = False
        try:
            number = line.request(
                name,
                data,
                to=to,
                urgent=urgent,
                all_or_fail=all_or_fail,
                all_or_wait=all_or_wait,
                fds=fds,
                user=user,
                reply_max=reply_max or self.reply_max,
                timeout=timeout,
            )
            pending = True
            while True:
                message = line._receive_now()
                if message is not None:
                    pending = False
                    reply = self._answer(message, number, name)
                    if reply is not None:
                        return reply
                elif not line._wait(select.POLLIN, deadline):
                    raise late("get a reply to", name, timeout)
        finally:
            # A request without an answer goes with its socket.
            if pending:
                line.close()
            else:
                self._give_back(line)

    # Receiving.

    def receive(self, timeout: float | None = None) -> Message:
        """The next message, whole. :class:`Closed`: the socket is shut down or closed."""
        message = self._receive_now()
        if message is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            while message is None:
                if not self._wait(select.POLLIN, deadline):
                    raise late("receive", "", timeout)
                message = self._receive_now()
        return message

    def __iter__(self) -> Iterator[Message]:
        """The messages, until the socket is shut down."""
        while True:
            try:
                message = self.receive()
            except Closed:
                return
            yield message
            # Who lets go of a request has dropped it, even while the next one is awaited.
            del message

    def serve(
        self,
        handler: Callable[[Request], Data | None],
        *,
        count: int | None = None,
        others: Callable[[Message], object] | None = None,
    ) -> None:
        """Answers requests with what ``handler`` returns, until the socket is shut down.

        A handler that returns ``None`` has replied itself, or the request is ignored. If it
        raises an exception, that is logged, and the request is ignored. So the requester is
        always told. Messages that are no requests go to ``others``. ``count``: return after as
        many requests.

        >>> import kbus, threading
        >>> server = kbus.Socket("@serve")
        >>> server.become_replier("$.Upper")
        >>> serve = lambda: server.serve(lambda request: request.text.upper())
        >>> thread = threading.Thread(target=serve)
        >>> thread.start()
        >>> kbus.Socket("@serve").call("$.Upper", "hello").text
        'HELLO'
        >>> server.shutdown()
        >>> thread.join()
        """
        left = count
        while left is None or left > 0:
            try:
                message = self.receive()
            except Closed:
                return
            if isinstance(message, Request):
                answer(message, handler)
                left = None if left is None else left - 1
            elif others is not None:
                others(message)
            del message


def answer(request: Request, handler: Callable[[Request], Data | None]) -> None:
    """Has a handler answer a request, and sees to it that the requester is told something."""
    try:
        finish(request, handler(request))
    except Exception:
        _log.exception("no reply to %s from peer %x", request.name, request.sender)
    finally:
        give_up(request)


def finish(request: Request, data: Data | None) -> None:
    """Sends what a handler returned. A requester that has gone is no error."""
    if data is None or request.answered:
        return
    try:
        request.reply(data)
    except KbusError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise


def give_up(request: Request) -> None:
    """Ignores a request that nothing was done about."""
    if not request.answered:
        try:
            request.ignore()
        except KbusError as error:
            _log.warning("%s", error)
