# SPDX-License-Identifier: GPL-2.0
"""What the tests share."""

from __future__ import annotations

import itertools
import os
import signal
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import kbus

# Against hanging only: no verdict depends on it.
LIMIT = 60.0

_numbers = itertools.count()


def fresh() -> str:
    """A bus that nobody else has."""
    return f"@py-{os.getpid()}-{next(_numbers)}"


class BusCase(unittest.TestCase):
    """Each test has a bus of its own, and what hangs is ended with the test program."""

    def setUp(self) -> None:
        signal.alarm(int(LIMIT) * 5)
        self.bus = fresh()

    def tearDown(self) -> None:
        signal.alarm(0)

    def join(self, bus: str | None = None) -> kbus.Socket:
        socket = kbus.Socket(bus or self.bus)
        self.addCleanup(socket.close)
        return socket

    def next(self, socket: kbus.Socket) -> kbus.Message:
        return socket.receive(timeout=LIMIT)

    def request(self, socket: kbus.Socket) -> kbus.Request:
        message = self.next(socket)
        assert isinstance(message, kbus.Request), message
        return message

    def reply(self, socket: kbus.Socket) -> kbus.Reply:
        message = self.next(socket)
        assert isinstance(message, kbus.Reply), message
        return message

    def status(self, socket: kbus.Socket) -> kbus.Status:
        message = self.next(socket)
        assert isinstance(message, kbus.Status), message
        return message

    @contextmanager
    def fails(self, errno: int, *words: str) -> Iterator[None]:
        """The block raises a KbusError with this errno, whose sentence has these words."""
        with self.assertRaises(kbus.KbusError) as caught:
            yield
        self.assertEqual(caught.exception.errno, errno, caught.exception)
        sentence = str(caught.exception)
        self.assertTrue(sentence.startswith("cannot "), sentence)
        for word in words:
            self.assertIn(word, sentence)


def child(function: Callable[[], None]) -> int:
    """Runs a function in a process of its own, and returns its id; exit status 1 if it raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def outcome(pid: int) -> int:
    """Waits for a process: its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
