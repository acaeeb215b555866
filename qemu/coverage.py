#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What of the module a run of kbus-fuzz has reached. Runs inside the build root.

Usage: coverage.py kbus.ko RESULT, where RESULT has lines "# at OFFSET" as kbus-fuzz --cover prints them: offsets into the
module's .text, each behind a call of __sanitizer_cov_trace_pc, of which the compiler puts one into each basic block.
"""

import bisect
import json
import re
import subprocess
import sys
from collections import defaultdict


def sites(module):
    """Offset -> (function, whether the block only ends in a panic), of each such call; function -> what it refers to."""
    text = subprocess.run(
        ["llvm-objdump-19", "-dr", "--no-show-raw-insn", "-j", ".text", module],
        check=True, capture_output=True, text=True).stdout
    found, function, open_site = {}, None, None
    refers = defaultdict(set)
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            function, open_site = head[1], None
            continue
        reloc = re.match(r"\s+([0-9a-f]+):\s+R_X86_64_\S+\s+(\S+)", line)
        if reloc and reloc[2].startswith("__sanitizer_cov_trace_pc"):
            # The relocation is that of the call's last four bytes.
            open_site = int(reloc[1], 16) + 4
            found[open_site] = (function, False)
        elif reloc and "panicking" in reloc[2] and open_site is not None:
            found[open_site] = (function, True)
            open_site = None
            continue
        # What is in the same section has no relocation.
        refers[function].update(re.findall(r"<([^<>+]+(?:<[^<>]*>)?)(?:\+0x[0-9a-f]+)?>$", line))
        if re.search(r"\t(j\w+|ret\w*)\b", line):
            # What follows is another block, or reached from another one too.
            open_site = None
    return found, refers


def used(module, calls):
    """Names of the functions that can be called.

    Rust leaves a copy of its own of most functions that are inlined everywhere, which nobody refers to.
    """
    symbols = subprocess.run(["llvm-nm-19", "-n", module], check=True, capture_output=True, text=True).stdout
    functions = [(int(at, 16), name) for at, name in re.findall(r"^([0-9a-f]+) [tT] (.*)$", symbols, re.M)]
    # Functions that are the same are one, with several names.
    names = defaultdict(set)
    for at, name in functions:
        names[at].add(name)
    same = {name: names[at] for at, name in functions}
    starts = [at for at, _ in functions]
    records = subprocess.run(["llvm-objdump-19", "-r", module], check=True, capture_output=True, text=True).stdout
    roots, section = set(), ""

    def holder(offset):
        at = bisect.bisect_right(starts, offset)
        return functions[at - 1][1] if at else None

    for line in records.splitlines():
        head = re.match(r"RELOCATION RECORDS FOR \[(.*)\]", line)
        if head:
            section = head[1]
            continue
        record = re.match(r"([0-9a-f]+) +R_X86_64_\S+ +(\S+)$", line)
        # What unwinds, patches or describes code does not call it.
        if not record or not re.match(r"\.(text|r?o?data|init\.(text|data)|exit\.text|gnu\.linkonce)", section):
            continue
        name, _, offset = re.match(r"(.*?)(([+-]0x[0-9a-f]+)?)$", record[2]).groups()
        if name == ".text":
            name = holder(int(offset or "0", 16) + (4 if section == ".text" else 0))
        (calls[holder(int(record[1], 16))] if section == ".text" else roots).add(name)
    todo, found = list(roots), set()
    while todo:
        name = todo.pop()
        if name not in found:
            for name in same.get(name, {name}):
                found.add(name)
                todo.extend(calls[name])
    return found


def places(module, offsets):
    """Offset -> (file of net/, line), of the innermost of our own lines; (None, 0) is code of others."""
    asked = "".join(f"{offset - 1:#x}\n" for offset in offsets)
    out = subprocess.run(
        ["llvm-symbolizer-19", "--output-style=JSON", "--no-demangle", f"--obj={module}"],
        check=True, capture_output=True, text=True, input=asked).stdout
    result = {}
    for offset, line in zip(offsets, out.splitlines(), strict=True):
        result[offset] = (None, 0)
        for frame in json.loads(line).get("Symbol", []):
            ours = re.search(r"/src/(net/.*)", frame["FileName"])
            if ours and "linux-" not in frame["FileName"].split("/src/")[0].rsplit("/", 1)[-1]:
                result[offset] = (ours[1], frame["Line"])
                break
    return result


def main():
    module, result = sys.argv[1:]
    blocks, refers = sites(module)
    with open(result, encoding="utf-8", errors="replace") as lines:
        reached = {int(line[5:], 16) for line in lines if re.match(r"# at [0-9a-f]+$", line)}
    unknown = reached - blocks.keys()
    if not reached or unknown:
        sys.exit(f"coverage: {len(reached)} places reached, {len(unknown)} of them not in this module")
    alive = used(module, refers)
    wrong = {blocks[offset][0] for offset in reached} - alive
    if wrong:
        sys.exit(f"coverage: reached, and nobody calls it: {len(wrong)} functions, as {min(wrong)}")
    where = places(module, sorted(blocks))

    files = defaultdict(lambda: [0, 0])
    functions = defaultdict(lambda: [0, 0])
    checks = 0
    blocks = {offset: block for offset, block in blocks.items() if block[0] in alive}
    for offset, (function, panics) in blocks.items():
        hit = offset in reached
        # A block that cannot be reached unless the module is wrong.
        if panics and not hit:
            checks += 1
            continue
        for count in (files[where[offset][0] or "of the kernel's and core's generic code"], functions[function]):
            count[0] += hit
            count[1] += 1

    def show(name, counts):
        print(f"{counts[0]:6} of {counts[1]:5} {100 * counts[0] // counts[1]:4} %  {name}")

    for name in sorted(files):
        show(name, files[name])
    net = [sum(n) for n in zip(*(files[name] for name in files if name.startswith("net/")))]
    show("net/", net)
    show("all of kbus.ko", [len(reached), len(blocks) - checks])
    print(f"({checks} more blocks lead to a panic: checks of arithmetic and bounds, which never fail.)")
    never = sorted(name for name, counts in functions.items() if counts[0] == 0)
    names = subprocess.run(["llvm-cxxfilt-19", *never], check=True, capture_output=True, text=True).stdout
    print(f"Functions never reached: {len(never)}")
    for name in sorted(set(names.splitlines())):
        print(f"    {name}")


if __name__ == "__main__":
    main()
