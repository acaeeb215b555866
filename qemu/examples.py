#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that each public item of a crate has an example that runs: each module, type, trait, function, method and
constant, and each implementation of a trait that somebody has written. An example of the type is none of its methods.

Variants and fields need none, they are seen in those of their types; nor do implementations that are derived, and
those of Debug, Drop and Error, which nobody calls by name.

Usage: examples.py CRATE.json        the crate as rustdoc describes it with --output-format json
       examples.py --try CRATE.json  takes examples away in each way and sees that it is found"""

from __future__ import annotations

import copy
import json
import re
import sys
from typing import Any, Callable, Iterator

KINDS = {"module", "struct", "enum", "union", "trait", "function", "constant", "static", "assoc_const", "macro",
         "type_alias"}
NO_NEED = {"Debug", "Drop", "Error"}
FENCE = re.compile(r"^ {0,3}(```+|~~~+)([^\n]*)\n.*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
# With these rustdoc does not run it, or takes it for no Rust.
NOT_RUN = re.compile(r"ignore|no_run|compile_fail")
RUST = re.compile(r"|rust|should_panic|edition\d+|standalone_crate|standalone|test_harness")

Item = dict[str, Any]


def has_example(docs: str | None) -> bool:
    """Whether there is a block that rustdoc makes a test of, and runs."""
    for _, info in FENCE.findall(docs or ""):
        words = re.split(r"[\s,]+", info.strip())
        if not any(NOT_RUN.match(word) for word in words) and all(RUST.fullmatch(word) for word in words):
            return True
    return False


def kind(item: Item) -> str:
    return next(iter(item["inner"]))


def written(item: Item) -> bool:
    """Whether somebody has written this implementation: not derived, not one of the compiler's own."""
    inner = item["inner"]["impl"]
    derived = any("automatically_derived" in str(attribute) for attribute in item["attrs"])
    return not (derived or inner.get("is_synthetic") or inner.get("synthetic") or inner.get("blanket_impl"))


def spell(type_: Any) -> str:
    """A type of which an implementation is, as far as it takes to find it."""
    if isinstance(type_, dict) and "resolved_path" in type_:
        path = type_["resolved_path"]
        return str(path.get("path") or path.get("name"))
    return json.dumps(type_)


def wanted(crate: Item) -> Iterator[tuple[str, Item]]:
    """What needs an example, and its name."""
    index = {str(id_): item for id_, item in crate["index"].items()}
    owners: dict[str, str] = {}
    skipped: set[str] = set()
    for item in index.values():
        if kind(item) == "impl":
            inner = item["inner"]["impl"]
            for member in map(str, inner["items"]):
                owners[member] = spell(inner["for"])
                if inner["trait"]:
                    # What a trait asks for is in the example of its implementation.
                    skipped.add(member)
        elif kind(item) == "trait":
            for member in item["inner"]["trait"]["items"]:
                owners[str(member)] = item["name"]
    for id_, item in index.items():
        if item["crate_id"] != index[str(crate["root"])]["crate_id"]:
            continue
        if kind(item) == "impl":
            inner = item["inner"]["impl"]
            if inner["trait"] and written(item):
                trait = (inner["trait"].get("path") or inner["trait"].get("name")).split("::")[-1]
                if trait not in NO_NEED:
                    yield f"impl {trait} for {spell(inner['for'])}", item
        elif kind(item) in KINDS and id_ not in skipped:
            yield "::".join(filter(None, (owners.get(id_), item["name"]))), item


def missing(crate: Item) -> list[str]:
    """A line for each item without an example."""
    lines = []
    for name, item in wanted(crate):
        if not has_example(item["docs"]):
            span = item["span"]
            lines.append(f"{span['filename']}:{span['begin'][0]}: {kind(item)} {name} has no example that runs")
    return sorted(lines)


def try_faults(crate: Item) -> int:
    """Each kind of item is found without its example, and with one that does not run."""
    def without(docs: str) -> str:
        return FENCE.sub("", docs)

    def ignored(docs: str) -> str:
        return FENCE.sub(lambda block: block[0].replace("```", "```ignore", 1), docs)

    def other(docs: str) -> str:
        return FENCE.sub(lambda block: block[0].replace("```", "```text", 1), docs)

    faults: list[Callable[[str], str]] = [without, ignored, other]
    kinds = {kind(item) for _, item in wanted(crate)}
    for each in sorted(kinds):
        for fault in faults:
            broken = copy.deepcopy(crate)
            name, item = next((name, item) for name, item in wanted(broken) if kind(item) == each)
            item["docs"] = fault(item["docs"])
            if len(missing(broken)) != len(missing(crate)) + 1:
                print(f"not found: {each} {name} with its example {fault.__name__}")
                return 1
    print(f"{len(kinds) * len(faults)} faults found, in each of: {', '.join(sorted(kinds))}")
    return 0


def main() -> int:
    with open(sys.argv[-1], encoding="utf-8") as file:
        crate = json.load(file)
    if sys.argv[1] == "--try":
        return try_faults(crate)
    lines = missing(crate)
    print("\n".join(lines) if lines else f"{len(list(wanted(crate)))} items, each with an example")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
