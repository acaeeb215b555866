#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Holds the stack frame of each function of a module against CONFIG_FRAME_WARN, as the C compiler does; rustc does not.

Usage: frames.py KBUS.KO CONFIG. The large ones are printed, and those that are too large make it fail.
"""

import re
import subprocess
import sys

# What is printed in any case.
SHOWN = 3


def frames(module):
    """The size of each frame, and whose it is."""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-C", module], capture_output=True, text=True, check=True).stdout
    name = None
    for line in listing.splitlines():
        if found := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = found[1]
        elif found := re.search(r"\bsub +\$0x([0-9a-f]+),%rsp$", line):
            yield int(found[1], 16), name


def main():
    module, config = sys.argv[1:]
    with open(config, encoding="utf-8") as lines:
        limit = next(int(line.split("=")[1]) for line in lines if line.startswith("CONFIG_FRAME_WARN="))
    found = sorted(set(frames(module)), reverse=True)
    if not found:
        sys.exit("no stack frames found: is this an x86-64 module?")
    bad = [frame for frame in found if frame[0] > limit]
    for size, name in bad or found[:SHOWN]:
        print(f"{size} bytes: {name}" + (f", more than {limit}" if size > limit else ""))
    sys.exit(1 if bad else 0)


main()
