# SPDX-License-Identifier: GPL-2.0
"""What the tests of the command share. The command is the real one, on the real bus."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import time
import unittest
from typing import Any

# Against hanging only: no verdict depends on it.
LIMIT = 120

SOL_KBUS = 0x6B62
(LISTEN, _, REPLIER, UNREPLIER, IGNORE, SEND_FLAGS) = range(1, 7)
PEER_ID, QUEUE_LEN, UNREAD, BUS_MODE = 12, 14, 16, 23
REQUEST, URGENT = 1, 2

_numbers = itertools.count()


class Bus(socket.socket):
    """A plain socket on a bus, as any program could have it."""

    def __init__(self, bus: str, mode: int | None = None) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM, SOL_KBUS)
        if mode is not None:
            self.setsockopt(SOL_KBUS, BUS_MODE, mode)
        self.settimeout(LIMIT)
        self.bind("\0" + bus[1:] if bus.startswith("@") else bus)

    def listen_to(self, pattern: str) -> None:
        self.setsockopt(SOL_KBUS, LISTEN, pattern.encode())

    def reply_for(self, pattern: str) -> None:
        self.setsockopt(SOL_KBUS, REPLIER, pattern.encode())

    def number(self, option: int) -> int:
        size = 8 if option == PEER_ID else 4
        return int.from_bytes(self.getsockopt(SOL_KBUS, option, size), "little")

    @property
    def peer(self) -> str:
        return f"{self.number(PEER_ID):x}"

    def next(self) -> tuple[str, bytes]:
        """The next message: its address, and the payload."""
        payload, address = self.recvfrom(1 << 24)
        return address, payload

    def all(self) -> list[bytes]:
        """The payloads of all that is there."""
        payloads = []
        while self.number(UNREAD):
            payloads.append(self.next()[1])
        return payloads

    def fails(self, address: str, sentence: bytes) -> None:
        """Replies with the bit that says that the request failed."""
        flags = struct.pack("IIQ", 1 << 31, 0, 0)
        self.sendmsg([sentence], [(SOL_KBUS, 1, flags)], 0, address)

    def has_unread(self, count: int) -> None:
        """Waits until so many messages are in its queue."""
        while self.number(UNREAD) != count:
            time.sleep(0.01)


class Running:
    """The command, while it runs."""

    def __init__(self, args: tuple[str, ...], **options: Any) -> None:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
        self.process = subprocess.Popen(["kbus", *args], stderr=subprocess.PIPE, **options)

    def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout
        return self.process.stdout.readline().decode().rstrip("\n")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Waits until it has ended: exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, (out or b"").decode(), err.decode()


class Case(unittest.TestCase):
    """Each test has a bus of its own; what hangs is ended with the test program."""

    maxDiff = None

    def setUp(self) -> None:
        signal.alarm(LIMIT * 5)
        self.bus = f"@cmd-{os.getpid()}-{next(_numbers)}"
        self.env = os.environ | {"KBUS_BUS": self.bus, "TERM": "linux"}
        self.env.pop("NO_COLOR", None)

    def tearDown(self) -> None:
        signal.alarm(0)

    def join(self, listen: str = "", reply: str = "", queue: int = 0) -> Bus:
        bus = Bus(self.bus)
        self.addCleanup(bus.close)
        if queue:
            bus.setsockopt(SOL_KBUS, QUEUE_LEN, queue)
        if listen:
            bus.listen_to(listen)
        if reply:
            bus.reply_for(reply)
        return bus

    def start(self, *args: str, **options: Any) -> Running:
        running = Running(args, **{"env": self.env} | options)
        self.addCleanup(self.stop, running)
        return running

    def stop(self, running: Running) -> None:
        process = running.process
        if process.returncode is None:
            process.kill()
            process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            if file:
                file.close()

    def bound(self, pattern: str, kind: str, count: int = 1) -> None:
        """Waits until somebody listens (L) or replies (R) on the bus of this test."""
        while True:
            with open("/proc/net/kbus_bindings") as file:
                lines = [line.split() for line in file]
            found = [line for line in lines if line[0] == self.bus and line[4:] == [kind, pattern]]
            if len(found) >= count:
                return
            time.sleep(0.01)

    def listening(self, pattern: str, *args: str, **options: Any) -> Running:
        """`kbus listen`, as soon as it hears what is sent."""
        running = self.start("listen", *args, pattern, **options)
        self.bound(pattern, "L")
        return running

    def serving(self, name: str, *args: str, **options: Any) -> Running:
        """`kbus serve`, as soon as it can be asked."""
        running = self.start("serve", name, *args, **options)
        self.bound(name, "R")
        return running

    def run_it(self, *args: str, code: int = 0, **options: Any) -> tuple[bytes, str]:
        """Runs it to its end, which is to be this exit code: standard output and error."""
        options = {"env": self.env, "timeout": LIMIT, "input": b""} | options
        result = subprocess.run(["kbus", *args], capture_output=True, **options)
        err = result.stderr.decode()
        self.assertEqual(result.returncode, code, f"{args}: {result.stdout!r} {err}")
        self.assertNotIn("panicked", err)
        return result.stdout, err

    def ok(self, *args: str, **options: Any) -> str:
        """It succeeds, and says nothing on its standard error."""
        out, err = self.run_it(*args, **options)
        self.assertEqual(err, "", args)
        return out.decode()

    def json(self, *args: str, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok("--json", *args, **options).splitlines()]

    def refused(self, code: int, *args: str, words: str | tuple[str, ...] = (), **options: Any) -> str:
        """It fails with this code, and says one sentence with these words, and a hint at most."""
        out, err = self.run_it(*args, code=code, **options)
        self.assertEqual(out, b"", args)
        self.is_sentence(err, words)
        return err

    def is_sentence(self, err: str, words: str | tuple[str, ...] = ()) -> None:
        lines = err.splitlines()
        self.assertIn(len(lines), (1, 2), err)
        self.assertTrue(lines[0].startswith("kbus: "), err)
        self.assertTrue(len(lines) == 1 or lines[1].startswith("hint: "), err)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, lines[0])

    def stopped(self, pid: int) -> None:
        """Stops it, and waits until it stands still."""
        os.kill(pid, signal.SIGSTOP)
        while True:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(") ", 1)[1][0] == "T":
                    return
            time.sleep(0.01)

    def ended(self, running: Running, code: int = 0) -> tuple[str, str]:
        found, out, err = running.end()
        self.assertEqual(found, code, f"{out} {err}")
        self.assertNotIn("panicked", err)
        return out, err
