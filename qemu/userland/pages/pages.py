#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the code blocks of the pages, in the order in which a reader meets them.

How a page marks a block, behind the three backticks:

    python              is run as a program of its own
    python file=NAME    is a program that a later sh block of the page starts
    c file=NAME.c       is compiled with -Wall -Wextra -pedantic; a later sh block starts NAME
    rust file=NAME.rs   the same
    sh                  is run by "sh -eu"; what it starts in the background runs on to the end of the page
    sh in=2             is typed in a second terminal, where it runs on
    output              is what the block before it prints: "…" in a line stands for anything, two blanks or
                        more for as many as there are, a line that is "…" for any lines. Without such
                        a block the output is not looked at.
    output of=2         is what the second terminal shows by then, since the last such block
    text                is not run

A reader types slowly; so that the test waits as well, a comment <!-- wait: COMMAND --> before a block is
tried until it succeeds, and <!-- stop: 2 --> is Ctrl-C in the second terminal. Programs and commands of one page share a folder of their own. A block that fails, or prints something
else, fails the test of that block. With --extract FOLDER PAGE… the C and Rust programs are written out.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

RUN = {"python", "sh"}
COMPILED = {"c": ".c", "rust": ".rs"}
KNOWN = RUN | set(COMPILED) | {"output", "text"}
LIMIT = 300  # seconds, which only a block that hangs takes


class Wrong(Exception):
    """A block or a page is not as it should be."""


@dataclass
class Block:
    """A code block: where it is, its language, its file or terminal, its text, what comes before it."""

    line: int
    language: str
    file: str | None
    terminal: str | None
    text: str
    before: list[tuple[str, str]]


def blocks(path):
    """The code blocks of a page. A fence that is not known here is an error."""
    found, inside, before = [], None, []
    with open(path, encoding="utf-8") as page:
        for number, line in enumerate(page, 1):
            if not line.startswith("```"):
                comment = re.fullmatch(r"<!-- (wait|stop): (.*) -->\n", line)
                if inside:
                    inside.text += line
                elif comment:
                    before.append((comment[1], comment[2]))
                continue
            if inside:
                found.append(inside)
                inside = None
                continue
            words = line[3:].split()
            language = words[0] if words else ""
            more = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            allowed = {"sh": {"in"}, "output": {"of"}, "python": {"file"}, "c": {"file"}, "rust": {"file"}}
            if language not in KNOWN or len(words) - 1 != len(more) or set(more) - allowed.get(language, set()):
                raise Wrong(f"{path}:{number}: a block marked {line.strip()!r}")
            if language in COMPILED and not more:
                raise Wrong(f"{path}:{number}: a program to compile needs file=NAME{COMPILED[language]}")
            inside = Block(number, language, more.get("file"), more.get("in") or more.get("of"), "", before)
            before = []
    if inside:
        raise Wrong(f"{path}:{inside.line}: the block does not end")
    return found


def check(path, all_blocks):
    """Each program that is in a file is started by a command or another program of the page."""
    for block in all_blocks:
        if block.file is None:
            continue
        name = block.file.rsplit(".", 1)[0] if block.language in COMPILED else block.file
        if not any(name in other.text for other in all_blocks if other is not block and other.language in RUN):
            raise Wrong(f"{path}:{block.line}: nothing on the page starts {block.file}")


def extract(folder, paths):
    """Writes the programs that are compiled, and checks the pages."""
    for path in paths:
        found = blocks(path)
        check(path, found)
        for block in found:
            if block.language in COMPILED:
                target = os.path.join(folder, block.file)
                if os.path.exists(target):
                    raise Wrong(f"{path}:{block.line}: a second {block.file}")
                with open(target, "w", encoding="utf-8") as program:
                    program.write(block.text)


def check_links(paths):
    """What a page links to is there."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                    if not os.path.exists(os.path.join(os.path.dirname(path), link)):
                        raise Wrong(f"{path}:{number}: there is no {link}")


def check_figures(pages, source):
    """Figures of five digits and more in the tables of a page are those of docs/performance.md."""
    with open(source, encoding="utf-8") as file:
        known = set(re.findall(r"\d+", file.read()))
    for path in pages:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for figure in re.findall(r"\| (\d{5,}) (?=\|)", line):
                    if figure not in known:
                        raise Wrong(f"{path}:{number}: {figure} is not in {source}")


def same(expected, got):
    """Whether the output is as the page shows it."""
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*"
        else:
            line = r"[^\n]*".join(re.escape(part) for part in line.rstrip().split("…")) + r"\n"
            # Columns are as wide as what is in them.
            pattern += re.sub(r"(?:\\ ){2,}", " {2,}", line)
    lines = [line.rstrip() for line in got.rstrip("\n").split("\n")]
    return re.fullmatch(pattern, "\n".join(lines) + "\n") is not None


class Terminals:
    """What runs on a page, and where it prints."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, PYTHONPATH="/userland/python", PYTHONUNBUFFERED="1")
        self.environment["PATH"] = f"{folder}:/userland:" + self.environment["PATH"]
        self.running = {}
        self.shown = {}
        self.ended = []

    def start(self, command, output, group):
        """Starts a command that prints to a file."""
        # Not a pipe, which what runs on in the background would keep open.
        with open(output, "a", encoding="utf-8") as out:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=group,
            )

    def path(self, terminal):
        """The file that has what a terminal shows."""
        return os.path.join(self.folder, f".terminal{terminal}")

    def prepare(self, block):
        """Does what the comments before a block say."""
        for what, argument in block.before:
            if what == "stop":
                os.killpg(self.running[argument].pid, signal.SIGINT)
                self.running.pop(argument).wait(LIMIT)
                continue
            end = time.monotonic() + LIMIT
            output = os.path.join(self.folder, ".wait")
            while self.start(["/bin/sh", "-c", argument], output, None).wait() != 0:
                if time.monotonic() > end:
                    raise Wrong(f"{argument!r} did not succeed in {LIMIT} s")
                time.sleep(0.05)

    def run(self, block, expected):
        """Runs one block, and complains by Wrong."""
        self.prepare(block)
        command = ["/bin/sh", "-euc", block.text] if block.language == "sh" else [sys.executable, "-c", block.text]
        if block.terminal:
            self.running[block.terminal] = self.start(command, self.path(block.terminal), 0)
            self.ended.append(self.running[block.terminal])
            return
        output = os.path.join(self.folder, ".output")
        open(output, "w", encoding="utf-8").close()
        child = self.start(command, output, None)
        try:
            status = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            status = f"none after {LIMIT} s"
        with open(output, encoding="utf-8", errors="replace") as out:
            got = out.read()
        if status != 0:
            raise Wrong(f"exit status {status}:\n{got}")
        if expected is not None and not same(expected, got):
            raise Wrong(f"prints:\n{got}instead of:\n{expected}")

    def look(self, block):
        """Compares what a terminal shows since the last time, when all of it is there."""
        self.prepare(block)
        end = time.monotonic() + LIMIT / 10
        while True:
            with open(self.path(block.terminal), encoding="utf-8", errors="replace") as out:
                text = out.read()
            got = text[self.shown.get(block.terminal, 0) :]
            if same(block.text, got):
                self.shown[block.terminal] = len(text)
                return
            if time.monotonic() > end:
                raise Wrong(f"terminal {block.terminal} shows:\n{got}instead of:\n{block.text}")
            time.sleep(0.05)

    def close(self):
        """Ends what still runs in terminals."""
        for child in self.ended:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def tests(path):
    """The blocks of a page that are run or looked at, and what each prints."""
    found = blocks(path)
    for index, block in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        shown = following if following and following.language == "output" and not following.terminal else None
        if block.language == "output" and block.terminal:
            yield block, None
        elif block.language in RUN and block.file is None:
            yield block, shown.text if shown else None
        elif shown:
            raise Wrong(f"{path}:{shown.line}: an output of nothing that is run")


def page(path, report):
    """Runs a page in a folder of its own, and ends what it has left running."""
    name = os.path.basename(path).removesuffix(".md").lower()
    folder = f"/tmp/pages/{name}"
    os.makedirs(folder)
    for program in glob.glob("/userland/pages/programs/*"):
        shutil.copy(program, folder)
    for block in blocks(path):
        if block.file and block.language not in COMPILED:
            with open(os.path.join(folder, block.file), "w", encoding="utf-8") as program:
                program.write(block.text)
    child = os.fork()
    if child == 0:
        os.setsid()
        terminals = Terminals(folder)
        for block, expected in tests(path):
            try:
                if block.language == "output":
                    terminals.look(block)
                else:
                    terminals.run(block, expected)
                report(f"{name}_line_{block.line}", None)
            except Exception as error:  # pylint: disable=broad-except
                report(f"{name}_line_{block.line}", error)
        terminals.close()
        os._exit(0)
    os.waitpid(child, 0)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main():
    """Extracts, or runs the pages that are in the machine; arguments choose among these."""
    if sys.argv[1:2] == ["--extract"]:
        try:
            extract(sys.argv[2], sys.argv[3:])
            check_links(sys.argv[3:] + ["docs/SUMMARY.md"])
            check_figures([path for path in sys.argv[3:] if path.endswith("why.md")], "docs/performance.md")
        except Wrong as error:
            sys.exit(str(error))
        return
    os.makedirs("/run/kbus", exist_ok=True)
    chosen = sys.argv[1:]
    paths = [
        path
        for path in sorted(glob.glob("/userland/pages/docs/*.md"))
        if not chosen or os.path.basename(path).removesuffix(".md") in chosen
    ]
    print("KTAP version 1")
    print(f"1..{sum(len(list(tests(path))) for path in paths)}", flush=True)
    # Lines that the processes of the pages write, one a test.
    log = os.open("/tmp/pages.log", os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)

    def report(name, error):
        number = os.lseek(log, 0, os.SEEK_END) + 1
        os.write(log, b"x")
        print(f"{'not ok' if error else 'ok'} {number} pages::{name}")
        if error:
            print("\n".join("# " + line for line in str(error).splitlines()))
        sys.stdout.flush()

    for path in paths:
        page(path, report)


main()
