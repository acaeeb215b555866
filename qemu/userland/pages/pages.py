#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the code blocks of the pages, in the order in which a reader meets them.

How a page marks a block, behind the three backticks:

    python              is run as a program of its own
    python file=NAME    is a program that a later sh block of the page starts
    c file=NAME.c       is compiled with -Wall -Wextra -pedantic; a later sh block starts NAME
    rust file=NAME.rs   the same
    sh                  is run by "sh -eu"; what it starts in the background runs on to the end of the page
    output              is what the block before it prints: "…" in a line stands for anything, a line that
                        is "…" for any lines. Without such a block the output is not looked at.
    text                is not run

Programs and commands of one page share a folder of their own. A block that fails, or prints something
else, fails the test of that block. With --extract FOLDER PAGE… the C and Rust programs are written out.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

RUN = {"python", "sh"}
COMPILED = {"c": ".c", "rust": ".rs"}
KNOWN = RUN | set(COMPILED) | {"output", "text"}
LIMIT = 300  # seconds, which only a block that hangs takes


class Wrong(Exception):
    """A block or a page is not as it should be."""


@dataclass
class Block:
    """A code block: where it is, its language, the file that it is to be in, its text."""

    line: int
    language: str
    file: str | None
    text: str


def blocks(path):
    """The code blocks of a page. A fence that is not known here is an error."""
    found, inside = [], None
    with open(path, encoding="utf-8") as page:
        for number, line in enumerate(page, 1):
            if not line.startswith("```"):
                if inside:
                    inside.text += line
                continue
            if inside:
                found.append(inside)
                inside = None
                continue
            words = line[3:].split()
            language = words[0] if words else ""
            files = [word[5:] for word in words[1:] if word.startswith("file=")]
            if language not in KNOWN or len(words) > 2 or len(words) - 1 != len(files):
                raise Wrong(f"{path}:{number}: a block marked {line.strip()!r}")
            if language in COMPILED and not files:
                raise Wrong(f"{path}:{number}: a program to compile needs file=NAME{COMPILED[language]}")
            inside = Block(number, language, files[0] if files else None, "")
    if inside:
        raise Wrong(f"{path}:{inside.line}: the block does not end")
    return found


def check(path, all_blocks):
    """Each program that is in a file is started by a later sh block."""
    for index, block in enumerate(all_blocks):
        if block.file is None:
            continue
        name = block.file.rsplit(".", 1)[0] if block.language in COMPILED else block.file
        if not any(later.language == "sh" and name in later.text for later in all_blocks[index:]):
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
            pattern += r"[^\n]*".join(re.escape(part.rstrip() if part is line else part) for part in line.split("…")) + r"\n"
    lines = [line.rstrip() for line in got.rstrip("\n").split("\n")]
    return re.fullmatch(pattern, "\n".join(lines) + "\n") is not None


def run(block, folder, expected):
    """Runs one block, and complains by Wrong."""
    command = ["/bin/sh", "-euc", block.text] if block.language == "sh" else [sys.executable, "-c", block.text]
    environment = dict(os.environ, PYTHONPATH="/userland/python", PYTHONUNBUFFERED="1", PYTHONWARNINGS="default")
    environment["PATH"] = f"{folder}:/userland:" + environment["PATH"]
    # A file, and not a pipe, which what runs on in the background would keep open.
    output = os.path.join(folder, ".output")
    with open(output, "w", encoding="utf-8") as out:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
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


def tests(path):
    """The blocks of a page that are run, and what each prints."""
    found = blocks(path)
    for index, block in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        if block.language in RUN and block.file is None:
            yield block, following.text if following and following.language == "output" else None
        elif following and following.language == "output":
            raise Wrong(f"{path}:{following.line}: an output of nothing that is run")


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
        for block, expected in tests(path):
            try:
                run(block, folder, expected)
                report(f"{name}_line_{block.line}", None)
            except Exception as error:  # pylint: disable=broad-except
                report(f"{name}_line_{block.line}", error)
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
