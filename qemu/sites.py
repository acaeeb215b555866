#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which of the module's calls that allocate have failed in a test.

Usage: sites.py CONSOLE DISASSEMBLY

CONSOLE is that of a boot whose tests had N=1, so that it has the stack of each failure. DISASSEMBLY is what
`llvm-objdump-19 -dr kbus.ko` says of that boot's module. A site is a call, in the machine code of a function of the
module, of something that allocates: the kernel's allocator as Rust has it, `net/core/mem.rs`, or one of the C functions
below. Calls from one of those to another are no sites.
"""

import re
import subprocess
import sys

# Of the C functions that are called, those that allocate.
C = {
    "sk_alloc", "scm_fp_dup", "register_net_sysctl_sz", "proc_create_net_data", "kern_path", "start_creating_path",
    "vfs_mknod", "sock_register", "proto_register", "register_kprobe", "register_pernet_subsys",
    "rust_helper_kbus_scm_detach_fds", "krealloc_node_align_noprof",
}
ALLOCATOR = re.compile(r"alloc9allocator\w*(5alloc|7realloc)|ReallocFunc|rust_helper_\w*realloc|krealloc|kvrealloc")
# A generic function of another crate, or the facade: it allocates for whoever calls it.
WRAPPER = re.compile(r"^<?(kernel|core|pin_init)::|^<?kbus_main::bus_core::mem::")


def main():
    console, disassembly = sys.argv[1:]
    calls, function, start, last = {}, None, 0, 0
    for line in open(disassembly):
        if head := re.match(r"([0-9a-f]+) <(.*)>:$", line):
            start, function = int(head[1], 16), head[2]
        elif code := re.match(r"\s*([0-9a-f]+):\s+(\w+)", line):
            if "R_X86_64" not in line:
                last, mnemonic = int(code[1], 16), code[2]
            elif mnemonic.startswith("call") and function:
                target = line.split()[-1]
                target = re.sub(r"-0x4$", "", target)
                # The return address is behind the four bytes of the relocation.
                calls.setdefault(function, []).append((int(code[1], 16) + 4 - start, target))
    names = sorted(set(calls) | {t for of in calls.values() for _, t in of})
    demangled = subprocess.run(["llvm-cxxfilt-19"], input="\n".join(names), text=True, capture_output=True, check=True)
    plain = dict(zip(names, demangled.stdout.splitlines()))
    wrapper = {name for name in names if WRAPPER.match(plain[name])}
    allocates = {name for name in names if name in C or ALLOCATOR.search(name)}
    while True:
        more = {w for w in wrapper - allocates if any(t in allocates for _, t in calls.get(w, []))}
        if not more:
            break
        allocates |= more
    sites = {(f, at) for f, of in calls.items() if f not in wrapper and f not in allocates and plain[f] != f
             for at, target in of if target in allocates}
    hit, of_module = set(), False
    for line in open(console, errors="replace"):
        if "FAULT_INJECTION" in line:
            of_module = True
        frame = re.search(r"^\s*(\S+)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[kbus\]", line)
        if frame and of_module and frame[1] not in wrapper and frame[1] not in allocates:
            hit.add((frame[1], int(frame[2], 16)))
            of_module = False
    print(f"{len(sites & hit)} of {len(sites)} sites")
    for function, at in sorted(sites - hit, key=lambda site: plain[site[0]]):
        targets = [plain.get(t, t) for a, t in calls[function] if a == at]
        print(f"not reached: {plain[function]}+{at:#x} -> {targets[0][:90]}")
    for function, at in sorted(hit - sites):
        print(f"elsewhere: {plain.get(function, function)}+{at:#x}")


main()
