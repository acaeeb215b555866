#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the commands of docs/tracing.md as they stand there, with traffic in place of "sleep 10"."""

import os
import re
import socket
import subprocess
import sys

PROTO_KBUS = SOL_KBUS = 0x6B62
KBUS_LISTEN, KBUS_REPLIER, KBUS_SEND_FLAGS, KBUS_QUEUE_LEN = 1, 3, 6, 14
KBUS_REQUEST = 1

# What each question must have found, by the first word of its paragraph; all of them in one output.
EXPECTED = {
    "What happens": ["send: ", "deliver: ", "receive: ", "reply: ", "miss: ", "status: ", "bind: ", "close: "],
    "Which names": [r"name: \$\.Sensors\.Kitchen.*hitcount: +5.*len: +20", r"name: \$\.Heating\.Set"],
    "Which programs": [r"common_pid: tracing.test .*name: \$\.Sensors\.Kitchen"],
    "Who misses": [r"peer: [0-9a-f]+ .*hitcount: +3"],
    "Who learns": [r"receive: .* lost=2 .*name=\$\.Sensors\.Kitchen"],
    "How long do requests": [r"us: ~ 2\^\d+ +\} hitcount: +\d+"],
    "How long do messages": [r"peer: [0-9a-f]+, us: ~ 2\^\d+"],
    "Which requests": [r"status: .* error=GONE_AWAY"],
    "How large": [r"len: ~ 2\^2 "],
    "Who comes": [r"bind: .*kind=R name=\$\.Heating\.Set", r"unbind: ", "close: "],
}


def member():
    """A socket on the bus, with a time limit that only a hang reaches."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, PROTO_KBUS)
    sock.bind("\0kbus-tracing")
    sock.settimeout(60)
    return sock


def traffic():
    """Announcements of which some are missed, requests with a reply, and one without."""
    listener, service, client = member(), member(), member()
    listener.setsockopt(SOL_KBUS, KBUS_QUEUE_LEN, 2)
    listener.setsockopt(SOL_KBUS, KBUS_LISTEN, b"$.Sensors.*")
    for _ in range(4):
        client.sendto(b"21 C", "$.Sensors.Kitchen")
    # The gap is told with what comes after it.
    listener.recv(100)
    client.sendto(b"22 C", "$.Sensors.Kitchen")
    listener.setsockopt(SOL_KBUS, KBUS_QUEUE_LEN, 1)
    client.sendto(b"23 C", "$.Sensors.Hall")
    listener.recv(100)
    listener.recv(100)
    service.setsockopt(SOL_KBUS, KBUS_REPLIER, b"$.Heating.Set")
    service.setsockopt(SOL_KBUS, KBUS_LISTEN, b"$.Nothing")
    service.setsockopt(SOL_KBUS, KBUS_LISTEN + 1, b"$.Nothing")
    client.setsockopt(SOL_KBUS, KBUS_SEND_FLAGS, KBUS_REQUEST)
    for _ in range(3):
        client.sendto(b"21", "$.Heating.Set")
        _, asked_from = service.recvfrom(100)
        service.sendto(b"done", asked_from)
        client.recv(100)
    client.sendto(b"21", "$.Heating.Set")
    service.close()
    client.recv(100)
    client.close()
    listener.close()


def blocks(text):
    """The shell blocks, each with the bold question above it, if there is one."""
    for found in re.finditer(r"(?:^\*\*([^*]*)\*\*[^`]*?)?^```sh\n(.*?)^```", text, re.S | re.M):
        yield found[1], found[2]


def shell(command):
    """Runs it as a whole; its output, or an exception that has it."""
    done = subprocess.run(["/bin/sh", "-euc", command], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def question(enter, afterwards, command, wanted):
    """Asks one of them, and looks whether the answer is there."""
    before, after = command.split("sleep 10\n")
    try:
        shell(enter + before)
        traffic()
        answer = shell(enter + after)
    finally:
        shell(enter + afterwards)
    for pattern in wanted:
        if not re.search(pattern, answer):
            raise RuntimeError(f"no {pattern!r} in:\n{answer}")


def main():
    with open("tracing/tracing.md", encoding="utf-8") as page:
        found = list(blocks(page.read()))
    enter, afterwards = found[0][1], found[-1][1]
    questions = [(asked, command) for asked, command in found if asked]
    print("KTAP version 1")
    print(f"1..{len(EXPECTED) + 1}")
    failed = 0
    if os.path.ismount("/sys/kernel/tracing"):
        shell("umount /sys/kernel/tracing")
    for number, (start, wanted) in enumerate(EXPECTED.items(), 1):
        name = start.lower().replace(" ", "_")
        try:
            (command,) = [command for asked, command in questions if asked.startswith(start)]
            question(enter, afterwards, command, wanted)
            print(f"ok {number} tracing::{name}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"not ok {number} tracing::{name}")
            print("\n".join("# " + line for line in str(error).splitlines()), flush=True)
    number = len(EXPECTED) + 1
    left = shell(enter + "cat events/kbus/*/trigger events/kbus/*/enable | grep -v '^#' | grep -v '^0' || :")
    if left or len(questions) != len(EXPECTED):
        failed += 1
        print(f"not ok {number} tracing::nothing_is_left\n# {left!r}, {len(questions)} questions")
    else:
        print(f"ok {number} tracing::nothing_is_left")
    sys.exit(1 if failed else 0)


main()
