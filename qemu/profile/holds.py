#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The longest holds of the module's locks.

Usage: holds.py RESULT TRACE

RESULT is what `kbus-bench holds` printed, TRACE what trace.c wrote. Prints a table in Markdown: for each call its instructions, the
longest hold of a lock that the module has taken with no other lock held, and the longest with another one of its own held already,
which is that of a queue with its bus locked. What an interrupt does meanwhile is in it.
"""

import sys

import profile


def main():
    result, trace = sys.argv[1:]
    lines = [line.strip() for line in open(result, errors="replace")]
    symbols = profile.Symbols([line for line in lines if line.startswith(("at ", "module "))])
    tags = {int(line.split()[1]): line.split(maxsplit=2)[2] for line in lines if line.startswith("tag ")}
    print("| what | instructions | longest hold | inside it | holds |")
    print("|---|---:|---:|---:|---:|")
    for tag, (total, blocks) in sorted(profile.read_runs(trace).items()):
        ours = [(others, length) for others, length, taker in profile.holds(blocks, symbols) if symbols.is_module(taker)]
        outer = [length for others, length in ours if others == 0]
        inner = [length for others, length in ours if others > 0]
        print(f"| {tags[tag]} | {total:,} | {max(outer, default=0):,} | {max(inner, default=0):,} | {len(outer):,} |")


if __name__ == "__main__":
    main()
