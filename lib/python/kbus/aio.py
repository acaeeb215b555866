# SPDX-License-Identifier: MIT OR Apache-2.0
"""KBUS for asyncio: the socket of :mod:`kbus`, with coroutines.

>>> import asyncio, kbus.aio
>>> async def main():
...     async with kbus.aio.Socket("@aio") as server, kbus.aio.Socket("@aio") as client:
...         await server.become_replier("$.Upper")
...         task = asyncio.create_task(server.serve(lambda request: request.text.upper()))
...         replies = await asyncio.gather(*(client.call("$.Upper", word) for word in "ab"))
...         server.shutdown()
...         await task
...         return [reply.text for reply in replies]
>>> asyncio.run(main())
['A', 'B']
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from kbus import _uapi as k
from kbus._base import Base, late
from kbus._bus import Bus
from kbus._errors import Closed, KbusError, explain
from kbus._merge import Order
from kbus._messages import Data, Message, Reply, Request, Via, _flags
from kbus._socket import finish, give_up

__all__ = ["Merge", "Socket"]

_log = logging.getLogger("kbus")
_T = TypeVar("_T")


class Socket(Base):
    """A socket on a bus, as :class:`kbus.Socket`, whose operations are coroutines.

    It belongs to the event loop that first waits for it. Any number of tasks may use it; each
    message is received by one of them. ``Request.reply`` and ``Request.ignore`` never wait, and
    are called without ``await``; so are ``shutdown``, ``sync`` and the options.
    """

    def __init__(
        self,
        bus: Bus | None = None,
        *,
        sock: socket.socket | None = None,
        mode: int | None = None,
    ) -> None:
        super().__init__(bus, sock=sock, mode=mode)
        self._readers: set[asyncio.Future[None]] = set()
        self._writers: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        """Leaves the bus. Tasks that wait for a message get :class:`Closed`."""
        number = self.fileno()
        if number >= 0 and (self._readers or self._writers):
            loop = asyncio.get_running_loop()
            loop.remove_reader(number)
            loop.remove_writer(number)
        self._drop()
        _wake(self._readers)
        _wake(self._writers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # Waiting.

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        number = self.fileno()
        if number < 0:
            raise Closed(errno.EBADF, explain("receive", errno.EBADF))
        waiting = self._writers if write else self._readers
        remove = loop.remove_writer if write else loop.remove_reader

        def tell() -> None:
            remove(number)
            _wake(waiting)

        future: asyncio.Future[None] = loop.create_future()
        if not waiting:
            if write:
                loop.add_writer(number, tell)
            else:
                loop.add_reader(number, tell)
        waiting.add(future)
        try:
            await future
        finally:
            if future in waiting:
                waiting.discard(future)
                # The descriptor may have been closed meanwhile, and be another file's.
                if not waiting and self.fileno() == number:
                    remove(number)

    async def _insist(
        self, attempt: Callable[[], _T], operation: str, name: str, timeout: float | None
    ) -> _T:
        try:
            async with asyncio.timeout(timeout):
                pause = 0.001
                while True:
                    try:
                        return attempt()
                    except KbusError as error:
                        if error.errno != errno.EAGAIN:
                            raise
                    began = asyncio.get_running_loop().time()
                    await self._ready(write=True)
                    # Where memory is lacking the kernel says "writable" at once.
                    if asyncio.get_running_loop().time() - began < pause:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, 0.25)
                    else:
                        pause = 0.001
        except TimeoutError:
            raise late(operation, name, timeout) from None

    # Bindings.

    async def listen(self, name: str) -> None:
        """As :meth:`kbus.Socket.listen`."""
        self._name_option(k.LISTEN, "listen to", name)

    async def unlisten(self, name: str) -> None:
        """As :meth:`kbus.Socket.unlisten`."""
        self._name_option(k.UNLISTEN, "stop listening to", name)

    async def become_replier(self, name: str, *, timeout: float | None = None) -> None:
        """As :meth:`kbus.Socket.become_replier`."""
        await self._insist(
            lambda: self._name_option(k.REPLIER, "become replier for", name),
            "become replier for",
            name,
            timeout,
        )

    async def stop_replying(self, name: str, *, timeout: float | None = None) -> None:
        """As :meth:`kbus.Socket.stop_replying`."""
        await self._insist(
            lambda: self._name_option(k.UNREPLIER, "stop replying for", name),
            "stop replying for",
            name,
            timeout,
        )

    async def replier(self, name: str) -> int | None:
        """As :meth:`kbus.Socket.replier`."""
        return self._replier(name)

    # Sending.

    async def announce(
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
        """As :meth:`kbus.Socket.announce`."""
        flags = _flags(
            urgent=urgent, all_or_fail=all_or_fail, all_or_wait=all_or_wait, user=user
        )
        await self._insist(
            lambda: self._transmit("announce", name, data, flags=flags, fds=fds, via=via),
            "announce",
            name,
            timeout,
        )

    async def request(
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
        """As :meth:`kbus.Socket.request`."""
        flags = _flags(
            request=True,
            urgent=urgent,
            all_or_fail=all_or_fail,
            all_or_wait=all_or_wait,
            user=user,
        )
        return await self._insist(
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

    async def call(
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
        """As :meth:`kbus.Socket.call`. Calls of several tasks go on at the same time."""
        line = self._borrow(lambda sock: Socket(sock=sock))
        pending = False
        try:
            async with asyncio.timeout(timeout):
                number = await line.request(
                    name,
                    data,
                    to=to,
                    urgent=urgent,
                    all_or_fail=all_or_fail,
                    all_or_wait=all_or_wait,
                    fds=fds,
                    user=user,
                    reply_max=reply_max or self.reply_max,
                )
                pending = True
                while True:
                    message = await line.receive()
                    pending = False
                    reply = self._answer(message, number, name)
                    if reply is not None:
                        return reply
        except TimeoutError:
            raise late("get a reply to", name, timeout) from None
        finally:
            # A request without an answer goes with its socket.
            if pending:
                await line.close()
            else:
                self._give_back(line)

    # Receiving.

    async def receive(self, timeout: float | None = None) -> Message:
        """As :meth:`kbus.Socket.receive`."""
        message = self._receive_now()
        if message is not None:
            return message
        try:
            async with asyncio.timeout(timeout):
                while message is None:
                    await self._ready(write=False)
                    message = self._receive_now()
        except TimeoutError:
            raise late("receive", "", timeout) from None
        return message

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The messages, until the socket is shut down."""
        while True:
            try:
                message = await self.receive()
            except Closed:
                return
            yield message
            del message

    async def serve(
        self,
        handler: Callable[[Request], Data | None | Awaitable[Data | None]],
        *,
        count: int | None = None,
        others: Callable[[Message], object] | None = None,
    ) -> None:
        """As :meth:`kbus.Socket.serve`. The handler may be a coroutine: each request is a task
        of its own then. When this is cancelled, so are they, and their requests are ignored.
        """
        left = count
        async with asyncio.TaskGroup() as tasks:
            while left is None or left > 0:
                try:
                    message = await self.receive()
                except Closed:
                    return
                if isinstance(message, Request):
                    tasks.create_task(_answer(message, handler))
                    left = None if left is None else left - 1
                elif others is not None:
                    others(message)
                del message


class Merge(Order[Socket]):
    """As :class:`kbus.Merge`, of sockets of this module. One task receives from it."""

    async def receive(self, timeout: float | None = None) -> tuple[Socket, Message]:
        """As :meth:`kbus.Merge.receive`."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = self._next()
                    if found is not None:
                        return found
                    tasks = [
                        asyncio.ensure_future(source.socket._ready(write=False))
                        for source in self._sources
                        if not source.closed
                    ]
                    try:
                        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for task in tasks:
                            task.cancel()
                        # What they say of a closed socket is said by the next read.
                        await asyncio.gather(*tasks, return_exceptions=True)
        except TimeoutError:
            raise late("receive", "", timeout) from None

    async def __aiter__(self) -> AsyncIterator[tuple[Socket, Message]]:
        """Messages with their sockets, until all sockets are shut down."""
        while True:
            try:
                yield await self.receive()
            except Closed:
                return


async def _answer(
    request: Request, handler: Callable[[Request], Data | None | Awaitable[Data | None]]
) -> None:
    try:
        result = handler(request)
        finish(request, await result if inspect.isawaitable(result) else result)
    except Exception:
        _log.exception("no reply to %s from peer %x", request.name, request.sender)
    finally:
        give_up(request)


def _wake(waiting: set[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
    waiting.clear()
