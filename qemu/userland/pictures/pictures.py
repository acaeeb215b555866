# SPDX-License-Identifier: GPL-2.0
"""kbus monitor and kbus top as people see them: on a terminal, while programs talk.

Each is a test. Its picture is printed too, as a line "# picture NAME" with the compressed SVG: `make pictures` puts them
into docs/pictures/."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import zlib

import kbus

from terminal import COLOURS, Screen, Terminal

LIMIT = 120


def picture(name: str, screen: Screen, title: str) -> None:
    data = zlib.compress(screen.picture(title).encode(), 9)
    print(f"# picture {name} {base64.b64encode(data).decode()}", flush=True)


def has(screen: Screen, *words: str) -> str:
    """The line that has all of these words."""
    found = [line for line in screen.text() if all(word in line for word in words)]
    assert found, f"no line has {words}:\n" + "\n".join(screen.text())
    return found[0]


def colour_of(screen: Screen, text: str) -> int | None:
    """The colour of the first place that has this text."""
    for cells, line in zip(screen.cells, screen.text()):
        if (at := line.find(text)) >= 0:
            return cells[at][1].front
    raise AssertionError(f"{text!r} is not there")


def serve(name: str, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["kbus", "serve", name, *command], stderr=subprocess.DEVNULL)
    subprocess.run(["kbus", "wait", name], check=True, timeout=LIMIT)
    return process


def monitor() -> None:
    """Each kind has its colour, and a reply stands with its request and the time between them."""
    terminal = Terminal(["kbus", "monitor", "--binds"], 16, 132)
    while "$.*" not in open("/proc/net/kbus_bindings").read():
        assert terminal.read(0.02), terminal.screen.text()
    run = lambda *words: subprocess.run(["kbus", *words], check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
    heating = serve("$.Heating.Set", "--", "sed", "s/$/ degrees/")
    run("send", "$.Sensors.Kitchen", "21 C")
    run("send", "$.Sensors.Hall", "19 C")
    run("call", "$.Heating.Set", "22")
    run("send", "--urgent", "$.Alarm.Smoke", "kitchen")
    subprocess.run(["kbus", "send", "$.Camera.Frame", "-"], input=bytes(range(128, 140)), check=True)
    slow = serve("$.Slow", "--", "sleep", "1000")
    asked = subprocess.Popen(["kbus", "call", "$.Slow", "are you there?"], stderr=subprocess.DEVNULL)
    terminal.until("are you there?")
    # It has not read the request, or it has: nobody answers in either case.
    slow.kill()
    assert asked.wait(LIMIT) in (9, 10, 11), asked.returncode
    heating.send_signal(signal.SIGTERM)
    heating.wait(LIMIT)
    terminal.until("no longer replier for $.Heating.Set")
    terminal.type("\x03")
    terminal.until("without a reply")
    terminal.process.wait(LIMIT)
    screen = terminal.screen
    has(screen, "announce", "$.Sensors.Kitchen", "4 bytes: 21 C")
    has(screen, "$.Alarm.Smoke urgent")
    has(screen, "hex 80818283")
    request = has(screen, "request", "$.Heating.Set", "2 bytes: 22")
    number = request.split("#")[1].split()[0]
    has(screen, "reply", "22 degrees", f"answers #{number} after")
    has(screen, "without a reply", "$.Slow")
    # It has taken the place of what Ctrl-C leaves.
    assert not any("^C" in line for line in screen.text()), screen.text()
    colours = [colour_of(screen, word) for word in ("announce", "request", "reply", "event", "urgent")]
    assert len(set(colours)) == len(colours) and None not in colours, colours
    picture("monitor", screen, "kbus monitor: announcements, a request with its reply, an urgent message, bind events")


def top() -> None:
    """Numbers stand below their heading, and a queue that is full is red."""
    stop = threading.Event()
    threads = []

    def often(seconds: float, act) -> None:
        def work() -> None:
            while not stop.wait(seconds):
                act()

        threads.append(threading.Thread(target=work))

    kitchen, hall, asker = kbus.Socket(), kbus.Socket(), kbus.Socket()
    logger, display = kbus.Socket(), kbus.Socket()
    logger.listen("$.*")
    display.listen("$.Sensors.*")
    display.queue_len = 20
    heating = serve("$.Heating.Set", "--echo")
    busy = kbus.Socket()
    busy.become_replier("$.Camera.Picture")
    asker.request("$.Camera.Picture")
    asker.request("$.Camera.Picture")
    held = busy.receive(timeout=LIMIT)
    caller = kbus.Socket()
    often(0.05, lambda: kitchen.announce("$.Sensors.Kitchen", "21 C"))
    often(0.12, lambda: hall.announce("$.Sensors.Hall.Window", "closed"))
    often(0.2, lambda: caller.call("$.Heating.Set", "22", timeout=LIMIT))
    # It reads on; display does not.
    often(0.01, lambda: [logger.receive() for _ in range(logger.unread)])
    for thread in threads:
        thread.start()
    try:
        while not display.lost:
            time.sleep(0.05)
        terminal = Terminal(["kbus", "top", "--every", "1s"], 20, 100)
        terminal.until("q: quit")
        # Rates are of the second picture on.
        for _ in range(60):
            terminal.read(1.5)
            if all(word in " ".join(terminal.screen.text()) for word in ("$.Sensors.Kitchen", "$.Heating.Set")):
                break
        terminal.read(1.5)
        screen = terminal.screen
        head = has(screen, "peer", "unread", "lost")
        full = has(screen, f"{display.peer_id:x} ", " 20 ")
        end = head.index("unread") + len("unread")
        assert full[end - 2 : end] == "20", (head, full)
        assert colour_of(screen, full) == 1, colour_of(screen, full)
        assert len(COLOURS) == 16
        assert has(screen, f"{busy.peer_id:x} ").split()[-6:-1] == ["1", "100", "0", "0", "1"], held
        has(screen, "requests", "replies", "name")
        has(screen, "$.Sensors.Hall.Window")
        picture("top", screen, "kbus top: sockets with their rates and queues, one of them full, and names")
        terminal.type("q")
        assert terminal.read(LIMIT) is False or terminal.process.poll() == 0
        assert terminal.process.wait(LIMIT) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        heating.kill()


def main() -> int:
    os.environ["KBUS_BUS"] = "@home"
    failed = 0
    print("TAP version 14\n1..2", flush=True)
    for number, test in enumerate((monitor, top), 1):
        try:
            test()
            print(f"ok {number} pictures::{test.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} pictures::{test.__name__}", flush=True)
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
    return 1 if failed else 0


sys.exit(main())
