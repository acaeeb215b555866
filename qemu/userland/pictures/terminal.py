# SPDX-License-Identifier: GPL-2.0
"""A terminal: what a program writes to it becomes characters with colours at their places, and these a picture."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
import unicodedata
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

# The sixteen colours, and those of text and ground where a program has said nothing.
COLOURS = (
    "#1d2027 #e06c6c #8fc379 #e0b36a #6aa6e8 #c586d8 #5cc0c7 #d5d9e0 "
    "#7f8694 #f08a8a #a9dc93 #f0cb8c #8cc0f5 #dca3ec #82dbe1 #ffffff"
).split()
TEXT, GROUND = COLOURS[7], COLOURS[0]


@dataclass(frozen=True)
class Style:
    """How a character looks. A colour is one of the sixteen, or none."""

    front: int | None = None
    back: int | None = None
    bold: bool = False
    dim: bool = False


class Screen:
    """What is on the terminal."""

    def __init__(self, lines: int, columns: int) -> None:
        self.lines, self.columns = lines, columns
        self.cells = [self.blank() for _ in range(lines)]
        self.line = self.column = 0
        self.style = Style()
        self.rest = ""

    def blank(self) -> list[tuple[str, Style]]:
        return [(" ", Style())] * self.columns

    def text(self) -> list[str]:
        """Its lines, without the blanks at their ends."""
        return ["".join(letter for letter, _ in line).rstrip() for line in self.cells]

    def feed(self, text: str) -> None:
        """Does what a program has written."""
        text = self.rest + text
        at = 0
        while at < len(text):
            letter = text[at]
            if letter == "\x1b":
                end = at + 2
                if text[at + 1 : end] == "[":
                    while end < len(text) and not "@" <= text[end] <= "~":
                        end += 1
                    end += 1
                if end > len(text):
                    break
                if text[at + 1] == "[":
                    self.control(text[at + 2 : end - 1], text[end - 1])
                at = end
                continue
            at += 1
            if letter == "\r":
                self.column = 0
            elif letter == "\n":
                self.down()
            elif letter >= " ":
                self.put(letter)
        self.rest = text[at:]

    def down(self) -> None:
        self.line += 1
        if self.line == self.lines:
            self.line -= 1
            self.cells = [*self.cells[1:], self.blank()]

    def put(self, letter: str) -> None:
        if self.column == self.columns:
            self.column = 0
            self.down()
        self.cells[self.line][self.column] = (letter, self.style)
        self.column += 1

    def control(self, numbers: str, what: str) -> None:
        if numbers.startswith(("?", ">")):
            return
        values = [int(number or 0) for number in numbers.split(";")]
        if what == "m":
            self.colour(values)
        elif what in "Hf":
            self.line = min(max(values[0], 1), self.lines) - 1
            self.column = min(max(values[1] if len(values) > 1 else 1, 1), self.columns) - 1
        elif what == "J" and values[0] == 2:
            self.cells = [self.blank() for _ in range(self.lines)]
        elif what == "K" and values[0] == 0:
            self.cells[self.line][self.column :] = self.blank()[self.column :]
        elif what == "C":
            self.column = min(self.column + max(values[0], 1), self.columns - 1)

    def colour(self, values: list[int]) -> None:
        while values:
            value = values.pop(0)
            if value == 0:
                self.style = Style()
            elif value == 1:
                self.style = replace(self.style, bold=True)
            elif value == 2:
                self.style = replace(self.style, dim=True)
            elif value == 22:
                self.style = replace(self.style, bold=False, dim=False)
            elif value in (38, 48) and values[:1] == [5]:
                number = values[1]
                del values[:2]
                self.style = replace(self.style, **{"front" if value == 38 else "back": number})
            elif value in (39, 49):
                self.style = replace(self.style, **{"front" if value == 39 else "back": None})
            elif 30 <= value < 38:
                self.style = replace(self.style, front=value - 30)
            elif 40 <= value < 48:
                self.style = replace(self.style, back=value - 40)
            elif 90 <= value < 98:
                self.style = replace(self.style, front=value - 82)

    def picture(self, title: str) -> str:
        """It as SVG, with what it shows as text."""
        wide, high, size, edge = 7.9, 18, 13, 12
        lines = [number for number, line in enumerate(self.text()) if line]
        count = lines[-1] + 1 if lines else 1
        width, height = self.columns * wide + 2 * edge, count * high + 2 * edge
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{size}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{GROUND}"/>',
        ]
        for number in range(count):
            line, top = self.cells[number], edge + number * high
            begin = 0
            while begin < self.columns:
                style = line[begin][1]
                end = begin
                while end < self.columns and line[end][1] == style:
                    end += 1
                text = "".join(letter for letter, _ in line[begin:end])
                x, length = edge + begin * wide, (end - begin) * wide
                if style.back is not None:
                    out.append(f'<rect x="{x:g}" y="{top}" width="{length:g}" height="{high}" fill="{COLOURS[style.back]}"/>')
                shown = text.rstrip()
                if shown:
                    x += (len(shown) - len(shown.lstrip())) * wide
                    shown = shown.lstrip()
                    colour = TEXT if style.front is None else COLOURS[style.front]
                    more = ' font-weight="bold"' if style.bold else ""
                    more += ' opacity="0.65"' if style.dim else ""
                    cells = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in shown)
                    out.append(
                        f'<text x="{x:g}" y="{top + 13}" textLength="{cells * wide:g}" lengthAdjust="spacingAndGlyphs" '
                        f'xml:space="preserve" fill="{colour}"{more}>{escape(shown)}</text>'
                    )
                begin = end
        return "\n".join([*out, "</svg>", ""])


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, arguments: list[str], lines: int, columns: int) -> None:
        if not os.path.ismount("/dev/pts"):
            subprocess.run(["busybox", "mount", "-t", "devpts", "devpts", "/dev/pts"], check=True)
        self.screen = Screen(lines, columns)
        self.master, end = os.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        # A session of its own, whose Ctrl-C this terminal is.
        self.process = subprocess.Popen(arguments, env=environment, preexec_fn=lambda: os.login_tty(end))
        os.close(end)

    def read(self, seconds: float) -> bool:
        """Shows what comes, for so long; false when the program has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    return False
                self.screen.feed(data.decode(errors="replace"))
        return True

    def until(self, seen: str, limit: float = 120) -> None:
        """Reads until that is on the screen."""
        end = time.monotonic() + limit
        goes_on = True
        while not any(seen in line for line in self.screen.text()):
            if not goes_on or time.monotonic() > end:
                raise AssertionError(f"{seen!r} does not come: " + "\n".join(self.screen.text()))
            goes_on = self.read(0.05)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())
