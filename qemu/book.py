#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the source of the book: the pages of docs/, the pages that stand beside the code they are about, and the manual
as HTML. Links between them lead within the book; what the book has not is named and not linked.

Usage: book.py TREE FOLDER, in the build root (for mandoc)"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import links

# Pages outside of docs/, and what the book calls them.
OTHERS = {
    "lib/kbus/README.md": "The Rust crate",
    "lib/python/README.md": "The Python package",
    "lib/c/README.md": "The C library",
    "tools/kbus/README.md": "The command kbus",
    "packaging/README.md": "Packages",
    "CONTRIBUTING.md": "How to change KBUS",
}
FILES = ["uapi/linux/kbus.h"]


def place(path: str) -> str:
    """Where a file of the tree is in the source of the book; links say .md, of which mdbook makes .html."""
    if path == "docs/kbus.7":
        return "kbus.7.html"
    # mdbook makes an index of each README, and does not tell the links.
    path = re.sub(r"(^|/)README\.md$", r"\1index.md", path)
    return path.removeprefix("docs/") if path.startswith("docs/") else f"tree/{path}"


def rewritten(tree: Path, page: str, text: str) -> str:
    """The page with links that hold in the book."""

    def of(match: re.Match[str]) -> str:
        link = match[1]
        path, _, anchor = link.partition("#")
        if links.OUTSIDE.match(link) or not path:
            return match[0]
        to = os.path.normpath(os.path.join(os.path.dirname(page), path))
        if not to.startswith("docs/") and to not in OTHERS and to not in FILES:
            return match[0].rpartition("](")[0].lstrip("!")[1:]
        target = os.path.relpath(place(to), os.path.dirname(place(page)) or ".")
        return match[0].replace(f"]({link})", f"]({target}{'#' if anchor else ''}{anchor})")

    # Code stays as it is.
    parts = re.split(r"(^[ ]*```.*?^[ ]*```[ ]*$)", text, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [links.LINK.sub(of, part) for part in parts[::2]]
    return "".join(parts)


def main(tree: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tree / "docs", folder)
    (folder / "kbus.7").unlink()
    (folder / "README.md").rename(folder / "index.md")
    manual = subprocess.run(["mandoc", "-T", "html", tree / "docs/kbus.7"], check=True, capture_output=True).stdout
    (folder / "kbus.7.html").write_bytes(manual)
    for file in [*OTHERS, *FILES]:
        to = folder / place(file)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / file, to)
    docs = [str(path.relative_to(tree)) for path in (tree / "docs").rglob("*.md")]
    for page in [*docs, *OTHERS]:
        to = folder / place(page)
        to.write_text(rewritten(tree, page, to.read_text(encoding="utf-8")), encoding="utf-8")
    with open(folder / "SUMMARY.md", "a", encoding="utf-8") as summary:
        summary.write("\n# Beside the code\n\n")
        summary.writelines(f"- [{title}]({place(page)})\n" for page, title in OTHERS.items())


main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
