#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which of the module's calls that allocate have failed in a test.

Usage: sites.py CONSOLE DISASSEMBLY

CONSOLE is that of a boot whose tests had N=50, so that it has the stack of each failure. DISASSEMBLY is what
`llvm-objdump-19 -dr --no-show-raw-insn kbus.ko` says of that boot's module. A site is a call, in the machine code of a function of the
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
# Equal functions are merged by the compiler, and one of their names is left without a body: new_uninit() is named here.
ALLOCATOR = re.compile(r"10new_uninit|alloc9allocator\w*(5alloc|7realloc)|ReallocFunc|rust_helper_\w*realloc|krealloc|kvrealloc")
# A function of another crate, generic as it may be, or of the facade: it allocates for whoever calls it. The first crate in
# a name is where the function was written.
FIRST = re.compile(r"^_R.*?Cs[0-9A-Za-z]+_(\d+)(\w+)")


def is_rust(name):
    """Whether it is one of the module's own functions in Rust."""
    first = FIRST.match(name)
    return bool(first) and first[2].startswith("kbus_main")


def is_wrapper(name):
    """Whether it only hands on what the allocator gave."""
    return name.startswith("_R") and (not is_rust(name) or "_9kbus_main8bus_core3mem" in name[:60])


def main():
    console, disassembly = sys.argv[1:]
    calls, tails, function, start, jump = {}, {}, None, 0, False
    for line in open(disassembly):
        if head := re.match(r"([0-9a-f]+) <(.*)>:$", line):
            start, function = int(head[1], 16), head[2]
        elif call := re.match(r"\s*([0-9a-f]+):\s+callq?\s.*<(\S+?)(\+\S+)?>", line):
            # The return address: the instruction has five bytes.
            calls.setdefault(function, []).append((int(call[1], 16) + 5 - start, call[2]))
            jump = False
        elif re.match(r"\s*[0-9a-f]+:\s+jmp\s", line):
            jump = True
        elif relocation := re.match(r"\s+[0-9a-f]+:\s+R_X86_64_PLT32\s+(\S+?)-0x4$", line):
            of = calls.get(function)
            if jump:
                tails.setdefault(function, []).append(relocation[1])
            elif of and of[-1][0] + start == int(line.split(":")[0], 16) + 4:
                of[-1] = (of[-1][0], relocation[1])
    targets = {t for of in calls.values() for _, t in of} | {t for of in tails.values() for t in of}
    names = sorted(set(calls) | set(tails) | targets)
    demangled = subprocess.run(["llvm-cxxfilt-19"], input="\n".join(names), text=True, capture_output=True, check=True)
    plain = dict(zip(names, demangled.stdout.splitlines()))
    wrapper = {name for name in names if is_wrapper(name)}
    # To free is to reallocate to nothing, and comes from the destructors.
    frees = {name for name in wrapper if re.search(r"4free|4Drop4drop|drop_glue|into_inner", name)}
    allocates = {name for name in set(names) - frees if name in C or ALLOCATOR.search(name)}
    # What jumps there is not on the stack when it fails, and so no site but as good as what it jumps to.
    while True:
        more = {w for w in wrapper if any(t in allocates for _, t in calls.get(w, []))}
        more |= {f for f in names if any(t in allocates for t in tails.get(f, []))}
        if more - frees <= allocates:
            break
        allocates |= more - frees
    sites = {(f, at) for f, of in calls.items() if is_rust(f) and f not in wrapper
             for at, target in of if target in allocates}
    hit, of_module = set(), False
    for line in open(console, errors="replace"):
        if "FAULT_INJECTION" in line:
            of_module = True
        frame = re.search(r"^\s*(\S+)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[kbus\]", line)
        if frame and of_module and frame[1] not in wrapper:
            hit.add((frame[1], int(frame[2], 16)))
            of_module = False
    print(f"{len(sites & hit)} of {len(sites)} sites")
    for function, at in sorted(sites - hit, key=lambda site: plain[site[0]]):
        targets = [plain.get(t, t) for a, t in calls[function] if a == at]
        print(f"not reached: {plain[function]}+{at:#x} -> {targets[0][:90]}")
    for function, at in sorted(hit - sites):
        print(f"elsewhere: {plain.get(function, function)}+{at:#x}")


main()
