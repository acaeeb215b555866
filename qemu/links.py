#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks the links of the tree's Markdown pages: each leads to a file of the tree, and to a heading of it where it has a
"#". Each page of docs/ is in the book (docs/SUMMARY.md) and in the index (docs/README.md). Addresses on other machines are
not looked up.

Usage: links.py [TREE]             checks the pages of a tree
       links.py --html FOLDER      checks the pages of a book: each link and picture is there
       links.py --try FOLDER       breaks a small tree in each way and sees that it is found"""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Callable
from urllib.parse import unquote

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")
DEFINITION = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
OUTSIDE = re.compile(r"^[a-z]+:")
SKIPPED = {"target", ".git", "node_modules"}


def prose(text: str) -> str:
    """Without code, in which brackets are no links."""
    text = re.sub(r"^([ ]*)(```+)[^\n]*\n.*?^\1\2[ ]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`).+?\1", "``", text, flags=re.DOTALL)


def links(text: str) -> list[str]:
    """Where its links lead to."""
    text = prose(text)
    return LINK.findall(text) + DEFINITION.findall(text)


def anchors(text: str) -> set[str]:
    """The names that its headings have, as GitHub and mdbook make them."""
    found: dict[str, int] = {}
    names = set()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_").replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def pages(tree: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(tree):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("work-"))
        found += [Path(folder, name) for name in sorted(files) if name.endswith(".md")]
    return found


def check(tree: Path) -> list[str]:
    """What is wrong with the pages of a tree."""
    wrong = []
    reached: dict[Path, set[Path]] = {}
    for page in pages(tree):
        text = page.read_text(encoding="utf-8")
        reached[page] = set()
        for link in links(text):
            if OUTSIDE.match(link):
                continue
            path, _, anchor = link.partition("#")
            to = Path(os.path.normpath(page.parent / unquote(path))) if path else page
            reached[page].add(to)
            shown = page.relative_to(tree)
            if not to.is_relative_to(tree) or not to.exists():
                wrong.append(f"{shown}: {link} is not there")
            elif anchor and to.suffix == ".md" and anchor not in anchors(to.read_text(encoding="utf-8")):
                wrong.append(f"{shown}: {link}: there is no such heading")
    docs = tree / "docs"
    for page in reached:
        if not page.is_relative_to(docs):
            continue
        for index in (docs / "SUMMARY.md", docs / "README.md"):
            if page not in (docs / "SUMMARY.md", docs / "README.md") and page not in reached.get(index, ()):
                wrong.append(f"{index.relative_to(tree)}: {page.relative_to(docs)} is missing")
    return wrong


class Page(HTMLParser):
    """The links, pictures and names of a page of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for key, value in attributes:
            if value is None:
                continue
            if key == "id" or (tag == "a" and key == "name"):
                self.names.add(value)
            elif (tag, key) in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src")):
                self.leads.append(value)


def check_html(folder: Path) -> list[str]:
    """What is wrong with a book."""
    read: dict[Path, Page] = {}
    for path in sorted(folder.rglob("*.html")):
        read[path] = Page()
        read[path].feed(path.read_text(encoding="utf-8"))
    wrong = []
    for path, page in read.items():
        # The page for what is not there has addresses as from the root of a site.
        if path.name == "404.html":
            continue
        for link in page.leads:
            if OUTSIDE.match(link) or link.startswith("//"):
                continue
            name, _, anchor = link.partition("#")
            to = Path(os.path.normpath(path.parent / unquote(name))) if name else path
            if not to.is_relative_to(folder) or not to.exists():
                wrong.append(f"{path.relative_to(folder)}: {link} is not there")
            # print.html has the headings of all pages; only those of a page are promised.
            elif anchor and to in read and path.name != "print.html" and unquote(anchor) not in read[to].names:
                wrong.append(f"{path.relative_to(folder)}: {link}: there is no such place")
    return wrong or ([] if read else ["there is no page"])


def try_it(folder: Path) -> list[str]:
    """Faults that are not found, and a good tree in which some are."""
    good = {
        "README.md": "# Top\n[docs](docs/README.md) [far](https://example.org/none) `[no](link)`\n```\n[no](link)\n```\n",
        "docs/README.md": "# Index\n[one](one.md#a-heading-b), [two](howto/two.md)\n",
        "docs/SUMMARY.md": "# S\n- [one](one.md)\n- [two](howto/two.md)\n",
        "docs/one.md": "# One\n## A heading: `b`\n![a picture](p.svg) [x][x]\n\n[x]: ../README.md\n",
        "docs/howto/two.md": "# Two\n[one](../one.md) [here](#two)\n",
        "docs/p.svg": "",
    }
    faults: list[tuple[str, str, Callable[[str], str]]] = [
        ("a page that is not there", "docs/howto/two.md", lambda text: text.replace("../one.md", "one.md")),
        ("a heading that is not there", "docs/README.md", lambda text: text.replace("#a-heading-b", "#a-heading")),
        ("a heading of the same page", "docs/howto/two.md", lambda text: text.replace("#two", "#three")),
        ("a picture that is not there", "docs/one.md", lambda text: text.replace("p.svg", "q.svg")),
        ("a definition", "docs/one.md", lambda text: text.replace("../README.md", "../READ.md")),
        ("a link out of the tree", "README.md", lambda text: text.replace("docs/README.md", "../README.md")),
        ("a page that is not in the book", "docs/SUMMARY.md", lambda text: text.replace("- [one](one.md)\n", "")),
        ("a page that is not in the index", "docs/README.md", lambda text: text.replace("[two](howto/two.md)", "")),
    ]

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    wrong = []
    for name, text in good.items():
        write(name, text)
    if found := check(folder):
        wrong.append(f"a good tree: {found}")
    for what, name, spoil in faults:
        write(name, spoil(good[name]))
        if len(check(folder)) != 1:
            wrong.append(f"not found, or more than that: {what}: {check(folder)}")
        write(name, good[name])
    return wrong


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--html", folder]:
            wrong = check_html(Path(folder).resolve())
        case ["--try", folder]:
            wrong = try_it(Path(folder).resolve())
        case [] | [_]:
            wrong = check(Path(arguments[0] if arguments else ".").resolve())
        case _:
            wrong = [__doc__]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
