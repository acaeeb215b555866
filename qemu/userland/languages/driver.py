# SPDX-License-Identifier: GPL-2.0
"""Runs every pair of /userland/peer-* against each other, and prints KTAP; see README.md."""

from __future__ import annotations

import errno
import glob
import inspect
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable

MUST_BE_THERE = {"c", "python", "rust"}
# Of option numbers the driver needs three, and no library.
KBUS, LISTEN, MAX_MSG_SIZE = 0x6B62, 1, 21

# Against hanging only: no verdict depends on it.
LIMIT = 300

Fields = dict[str, str]


def parse(line: str) -> tuple[str, Fields]:
    word, *rest = line.strip().split(" ")
    return word, dict(part.split("=", 1) for part in rest if "=" in part)


class Pair:
    """A replier or listener of one language, and programs of another that talk to it."""

    def __init__(self, asker: str, server: str, bus: str) -> None:
        self.asker, self.server = asker, server
        self.environment = dict(os.environ, KBUS_BUS=bus)
        self.bus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, KBUS)
        self.bus.bind(b"\0" + bus[1:].encode())
        self.running: list[subprocess.Popen[str]] = []

    def start(self, language: str, *words: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [f"/userland/peer-{language}", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(program)
        return program

    def line(self, program: subprocess.Popen[str]) -> str:
        assert program.stdout is not None
        line = program.stdout.readline()
        if not line:
            raise AssertionError(f"{program.args!r} ended with {program.wait()}")
        return line.strip()

    def serve(self, act: str, *words: str) -> tuple[subprocess.Popen[str], str]:
        """A program that runs on, and its peer id."""
        program = self.start(self.server, act, *words)
        word, peer = self.line(program).split(" ")
        assert word == "ready", word
        return program, peer

    def ask(self, *words: str) -> tuple[str, int]:
        """The line of a program that ends, and its process."""
        program = self.start(self.asker, *words)
        line = self.line(program)
        assert program.wait() == 0, f"{words} ended with {program.returncode}"
        return line, program.pid

    def end(self) -> None:
        for program in self.running:
            program.kill()
            program.wait()
            if program.stdout is not None:
                program.stdout.close()
        self.bus.close()


def equal(got: object, want: object) -> None:
    if got != want:
        raise AssertionError(f"{got!r} and not {want!r}")


def payload(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def exchange(pair: Pair, name: str, data: bytes, *words: str) -> tuple[Fields, Fields]:
    """Asks for what is sent back, checks both messages, and returns the fields of each."""
    server, peer = pair.serve("reply", name)
    line, asker = pair.ask("request", name, *words)
    kind, reply = parse(line)
    equal(kind, "reply")
    kind, request = parse(pair.line(server))
    equal(kind, "request")
    for message in (request, reply):
        equal(message["name"], name)
        equal(int(message["len"]), len(data))
        equal(int(message["sum"], 16), zlib.adler32(data))
        equal(message["uid"], "0")
    equal(reply["sender"], peer)
    equal((int(request["pid"]), int(reply["pid"])), (asker, server.pid))
    equal(request["user"], reply["user"])
    return request, reply


def short_request_and_reply(pair: Pair) -> None:
    exchange(pair, "$.Echo", b"hello", "hello")


def empty_request_and_reply(pair: Pair) -> None:
    exchange(pair, "$.Echo", b"")


def long_names(pair: Pair) -> None:
    for length in (73, 74, 1000):
        exchange(pair, "$." + "n" * (length - 2), b"long", "long")


def descriptors(pair: Pair) -> None:
    with tempfile.NamedTemporaryFile("w") as one, tempfile.NamedTemporaryFile("w") as two:
        for file, text in ((one, "first"), (two, "second")):
            file.write(text)
            file.flush()
        name = "$." + "d" * 500
        files = ("--fd", one.name, "--fd", two.name)
        for message in exchange(pair, name, b"files", "files", *files):
            equal(message["fds"], "first,second")


def user_bits(pair: Pair) -> None:
    for message in exchange(pair, "$.Echo", b"bits", "bits", "--user", "beef", "--urgent"):
        equal(message["user"], "beef")


def payload_of_a_mebibyte(pair: Pair) -> None:
    pair.bus.setsockopt(KBUS, MAX_MSG_SIZE, 1 << 20)
    exchange(pair, "$.Echo", payload(1 << 20), "--size", str(1 << 20))


def stateful_requests(pair: Pair) -> None:
    server, peer = pair.serve("reply", "$.Echo")
    equal(parse(pair.ask("request", "$.Echo", "me", "--to", peer)[0])[0], "reply")
    server.kill()
    server.wait()
    pair.serve("reply", "$.Echo")
    equal(pair.ask("request", "$.Echo", "me", "--to", peer)[0], f"error {errno.EPIPE}")


def request_that_is_given_up(pair: Pair) -> None:
    pair.serve("reply", "$.Echo")
    equal(pair.ask("request", "$.Echo", "ignore")[0], "status ignored")


def request_that_is_held(pair: Pair) -> None:
    pair.serve("reply", "$.Echo")
    equal(pair.ask("request", "$.Echo", "hold", "--timeout", "50")[0], "timeout")
    equal(parse(pair.ask("request", "$.Echo", "go on")[0])[0], "reply")


def replier_dies_with_a_request_read(pair: Pair) -> None:
    server, _ = pair.serve("reply", "$.Echo")
    asker = pair.start(pair.asker, "request", "$.Echo", "hold")
    equal(parse(pair.line(server))[0], "request")
    server.kill()
    equal(pair.line(asker), "status ignored")


def replier_dies_with_a_request_unread(pair: Pair) -> None:
    server, _ = pair.serve("reply", "$.Echo")
    server.send_signal(signal.SIGSTOP)
    # A stopped process has not stopped reading until it can be waited for.
    os.waitpid(server.pid, os.WUNTRACED)
    pair.bus.setsockopt(KBUS, LISTEN, b"$.Echo")
    asker = pair.start(pair.asker, "request", "$.Echo", "unread")
    pair.bus.recv(100)
    server.kill()
    equal(pair.line(asker), "status gone-away")


def requests_that_cannot_be_sent(pair: Pair) -> None:
    pair.serve("reply", "$.Echo")
    for name, number in (
        ("$.Nobody", errno.EADDRNOTAVAIL),
        ("$.Bad..Name", errno.EBADMSG),
        ("$.Echo.*", errno.EBADMSG),
        ("$." + "x" * 999, errno.ENAMETOOLONG),
        ("$.KBUS.Mine", errno.EPERM),
    ):
        equal(pair.ask("request", name)[0], f"error {number}")
    equal(pair.ask("request", "$.Echo", "--size", "70000")[0], f"error {errno.EMSGSIZE}")


def announcements(pair: Pair) -> None:
    listener, _ = pair.serve("listen", "$.News.*", "4")
    name = "$.News." + "n" * 900
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("inside")
        file.flush()
        equal(pair.ask("announce", name, "fds", "--fd", file.name, "--user", "1")[0], "sent")
    equal(pair.ask("announce", "$.News.Short", "--size", "65536", "--urgent")[0], "sent")
    equal(pair.ask("announce", "$.Other", "not listened to")[0], "sent")
    _, pid = pair.ask("announce", "$.News.Last")
    got = [parse(pair.line(listener)) for _ in range(3)]
    equal([kind for kind, _ in got], ["announcement"] * 3)
    first, second, third = (fields for _, fields in got)
    equal((first["name"], first["fds"], first["user"]), (name, "inside", "1"))
    equal((second["name"], second["urgent"], second["len"]), ("$.News.Short", "1", "65536"))
    equal(int(second["sum"], 16), zlib.adler32(payload(65536)))
    equal((third["name"], int(third["pid"]), third["len"]), ("$.News.Last", pid, "0"))


TESTS: list[Callable[[Pair], None]] = [
    test
    for name, test in list(globals().items())
    if inspect.isfunction(test) and list(inspect.signature(test).parameters) == ["pair"]
]


def main() -> int:
    languages = sorted(path.rpartition("-")[2] for path in glob.glob("/userland/peer-*"))
    pairs = [(asker, server) for asker in languages for server in languages]
    print(f"KTAP version 1\n1..{1 + len(pairs) * len(TESTS)}")
    missing = MUST_BE_THERE.difference(languages)
    print(f"{'not ok' if missing else 'ok'} 1 languages::all_are_there # {' '.join(languages)}")
    failed, number = bool(missing), 1
    for asker, server in pairs:
        for test in TESTS:
            number += 1
            signal.alarm(LIMIT)
            pair = Pair(asker, server, f"@languages-{number}")
            lines: list[str] = []
            try:
                test(pair)
            except Exception:
                lines = traceback.format_exc().splitlines()
            finally:
                pair.end()
            failed |= bool(lines)
            name = f"languages::{asker}_with_{server}::{test.__name__}"
            print(f"{'not ok' if lines else 'ok'} {number} {name}")
            for line in lines:
                print(f"# {line}")
            sys.stdout.flush()
    return int(failed)


sys.exit(main())
