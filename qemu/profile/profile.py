#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Where the instructions of a call go.

Usage: profile.py RESULT TRACE MODULE FOLDER

RESULT is what `kbus-bench profile` printed, TRACE what trace.c wrote, MODULE the kbus.ko that ran. Prints tables, and for each call
writes its call tree (.tree), the module's lines that take most (.lines), and its stacks, one a line, as programs that draw flame graphs read
them (.folded), to FOLDER.
"""

import bisect
import collections
import os
import re
import subprocess
import sys

# How much of a list is printed.
TOP = 40
# How many of the longest holds of locks are.
LONGEST = 6
# Subtrees of less than that are left out of the call tree.
SMALL = 25

# What a function of the kernel is there for; the first that fits.
PARTS = [
    ("allocator: allocating", r"(_*do_)?_*kv?(m|re|z)alloc|kmem_cache_alloc|_*slab_alloc|___slab|alloc_skb|__alloc_skb|sock_alloc_send|"
     r"skb_set_owner|kmalloc|__refill_obj|refill_obj|obj_cgroup|memcg|__memcg|current_obj|mod_(objcg|memcg|node)|should_fail|__mod_|build_skb|"
     r"__finalize_skb|skb_put"),
    ("allocator: freeing", r"free_|kfree|kvfree|kmem_cache_free|__slab_free|slab_free|is_vmalloc|skb_release|skb_free|consume_skb|sock_wfree|"
     r"unix_wfree|unix_destruct|skb_attempt|__kfree|sk_skb_reason"),
    ("zeroing and memset", r"(__)?memset"),
    ("copying in the kernel", r"(__)?mem(cpy|move)"),
    ("locks", r"_*(raw_)?(spin|read|write)_|mutex_|__mutex|__local_bh|queued_|native_queued|up_|down_|_raw_"),
    ("copies from and to programs", r"_*copy_(from|to)|rep_movs|__check_object|check_(stack|heap)|__check_heap|__virt_addr|import_|skb_copy|"
     r"__skb_datagram|simple_copy|__copy|rust_helper_copy"),
    ("security modules", r"security_|apparmor|aa_|tomoyo|hook_|bpf_lsm|cap_|landlock|selinux|begin_current|unix_peer_perm"),
    ("system call, entry and exit", r"entry_|do_syscall|x64_sys|__x64_sys|syscall_|prandom|arch_exit|exit_to|irqentry|__pi_|__x86|srso|fred_|"
     r"its_|clear_bhb|retbleed"),
    ("socket layer", r"__sys_|sock_(send|recv|sendmsg|recvmsg)|____sys|sockfd|fdget|fput|move_addr|__fdget|__fget|sock_from_file"),
    ("wake-ups", r"__wake_up|sock_def_readable|ep_poll|wake_up|autoremove|default_wake|try_to_wake|ttwu|wake_q"),
    ("scheduling", r"sched|pick_|enqueue|dequeue|update_|__switch|finish_task|context_sw|set_next|put_prev|reweight|place_|select_task|"
     r"switch_|prepare_to|finish_wait|avg_|rb_|cpu_|psi_|pull_|cpuacct|__calc|entity|vruntime|check_pre|resched|balance|newidle|wakeup|dl_|rcu_note|"
     r"native_sched|perf_|load_new|cr4|tick|hrt|fpu|restore_fpregs|yield|task_|try_to_block|nohz|sum_|se_|__enqueue|__dequeue|__pick|__update|__sched"),
    ("clock", r"ktime|read_hpet|timekeeping|kvm_clock|read_tsc|sched_clock"),
    ("credentials", r"get_task_pid|put_pid|pid_|put_cred|from_k|make_k|map_id|__put_cred"),
    ("AF_UNIX", r"unix_|__unix|scm_|__scm|sk_filter|skb|__skb|maybe_add|init_peer|sock_alloc"),
]
PARTS = [(name, re.compile(pattern)) for name, pattern in PARTS]

# What a file of the module is there for.
FILES = [
    ("names and addresses", r"core/(name|address)\.rs|sockaddr\.rs"),
    ("look-up", r"core/(routes|hash|table)\.rs"),
    ("accounts", r"core/(account|payer|limits)\.rs|/users\.rs"),
    ("queues and entries", r"core/(queue|slots|entry|waiter)"),
    ("fan-out", r"core/fanout"),
    ("messages", r"core/(message|obligation|outgoing)\.rs"),
    ("sending, in net/core", r"core/(send|reply|bus|wait|peer)\.rs"),
    ("memory, the Rust side", r"core/mem\.rs|net/reclaim|sys/memory\.rs"),
    ("credentials", r"sys/(cred|pid|task)\.rs"),
    ("sockets, the Rust side", r"net/"),
]
FILES = [(name, re.compile(pattern)) for name, pattern in FILES]


class Symbols:
    """The kernel's functions by their addresses."""

    def __init__(self, lines):
        found = []
        self.base = self.end = 0
        for line in lines:
            words = line.split()
            if words[0] == "at" and not words[3].startswith((".L", "__pfx_", "__cfi_")):
                found.append((int(words[1], 16), words[3], len(words) > 4 and words[4] == "[kbus]"))
            elif words[0] == "module":
                self.base = int(words[6], 16)
                self.end = self.base + int(words[2])
        # Of several names of one function the first.
        found.sort(key=lambda symbol: symbol[0])
        self.starts = [symbol[0] for symbol in found]
        self.entries = set(self.starts)
        self.found = found
        self.known = {}

    def name(self, at):
        """The function that an address is in."""
        if at not in self.known:
            self.known[at] = self._name(at)
        return self.known[at]

    def _name(self, at):
        if at < 1 << 63:
            return "(the program)"
        place = bisect.bisect_right(self.starts, at) - 1
        while place > 0 and self.starts[place - 1] == self.starts[place]:
            place -= 1
        return self.found[place][1]

    def is_module(self, at):
        """Whether it is code of the module's."""
        return self.base <= at < self.end


def demangled(names):
    """A readable name for each of them."""
    names = list(names)
    told = subprocess.run(["llvm-cxxfilt-19"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.split("\n")
    return {name: shorter(text) for name, text in zip(names, told)}


def shorter(text):
    """A name without what is the same everywhere."""
    text = text.replace("kbus_main::bus_core::", "").replace("kbus_main::", "").replace("kernel::sync::arc::", "")
    text = re.sub(r"Arc<endpoint::Endpoint>", "Endpoint", text)
    text = re.sub(r"::\{closure#\d+\}", "::{}", text)
    return text


def frames_of(module, offsets):
    """The functions that each place of the module is in, innermost first, with their files: inlined ones are told apart."""
    text = "\n".join(f"{offset:#x}" for offset in offsets)
    told = subprocess.run(["addr2line", "-j", ".text", "-a", "-i", "-f", "-e", module], input=text, capture_output=True, text=True,
                          check=True).stdout.split("\n")
    frames, at, line = {}, None, 0
    while line < len(told):
        if told[line].startswith("0x"):
            at = int(told[line], 16)
            frames[at] = []
            line += 1
        elif at is not None and line + 1 < len(told):
            frames[at].append((told[line], told[line + 1]))
            line += 2
        else:
            line += 1
    return frames


def read_runs(path):
    """The shortest run of each tag, as blocks of (how it ends, addresses)."""
    best, tag, blocks, known = {}, None, [], {}

    def keep():
        count = sum(len(block[1]) for block in blocks)
        if tag is not None and (tag not in best or count < best[tag][0]):
            best[tag] = (count, blocks)

    for line in open(path):
        if line.startswith("RUN"):
            keep()
            tag, blocks = int(line.split()[1]), []
        elif line.startswith("B"):
            _, number, end, *places = line.split()
            known[number] = (end, [int(place, 16) for place in places])
        else:
            blocks.append(known[line.rstrip()])
    keep()
    return best


class Node:
    """A call, with those that it makes."""

    def __init__(self, name, back):
        # Where the caller goes on.
        self.name, self.back, self.own, self.calls = name, back, 0, []

    def total(self):
        """Instructions of it and of all that it calls."""
        return self.own + sum(call.total() for call in self.calls)


def tree_of(blocks, symbols):
    """Who called whom. Where one task gives way to another its calls become those of the other: the stack is not known."""
    stack = [Node("all", None)]
    before = None

    def enter(name, back):
        node = Node(name, back)
        stack[-1].calls.append(node)
        stack.append(node)

    for end, places in blocks:
        name = symbols.name(places[0])
        if before is None:
            enter(name, None)
        elif before[0] == "C":
            enter(name, before[1][-1])
        elif before[0] in "RIT":
            depth = len(stack) - 1
            while depth > 0 and not (stack[depth].back is not None and 0 < places[0] - stack[depth].back <= 8):
                depth -= 1
            if depth > 0:
                # Calls that went on as others have the same way back.
                while depth > 1 and stack[depth - 1].back == stack[depth].back:
                    depth -= 1
                del stack[depth:]
            if stack[-1].name != name:
                enter(name, None)
        elif name != stack[-1].name:
            enter(name, stack[-1].back)
        stack[-1].own += len(places)
        before = (end, places)
    return stack[0]


TAKEN = re.compile(r"mutex_lock|_raw_(spin|read|write)_lock(_bh|_irq|_irqsave)?")
GIVEN = re.compile(r"mutex_unlock|_raw_(spin|read|write)_unlock(_bh|_irq|_irqrestore)?")


def holds(blocks, symbols):
    """Each stretch in which a lock is held: how many others were held already, its instructions, and the place that took it."""
    stretches, held, done, before = [], [], 0, 0
    for _, places in blocks:
        if places[0] in symbols.entries:
            name = symbols.name(places[0])
            if TAKEN.fullmatch(name):
                held.append((done, before))
            elif GIVEN.fullmatch(name) and held:
                since, taker = held.pop()
                stretches.append((len(held), done - since, taker))
        done += len(places)
        # The helpers of Rust are on the way only.
        if not symbols.name(places[-1]).startswith("rust_helper_"):
            before = places[-1]
    return stretches


def write_tree(node, names, out, depth=0):
    """The call tree, indented, with what each takes in all and itself."""
    total = node.total()
    if total >= SMALL:
        print(f"{'  ' * depth}{total:6} ({node.own}) {names.get(node.name, node.name)[:150]}", file=out)
        for call in node.calls:
            write_tree(call, names, out, depth + 1)


def fold(node, names, path, stacks):
    """Sums up what is spent at each stack."""
    path = path + [names.get(node.name, node.name).replace(";", ":")]
    stacks[";".join(path)] += node.own
    for call in node.calls:
        fold(call, names, path, stacks)


def part_of(name, frames):
    """What an instruction is there for."""
    if frames:
        inner = next((place for _, place in frames if "/net/" in place or place.startswith("net/")), None)
        if inner is not None:
            inner = inner[inner.rindex("net/core") if "net/core" in inner else inner.index("net/"):]
            return "module: " + next(part for part, pattern in FILES if pattern.search(inner))
    if name == "(the program)":
        return "system call, entry and exit"
    return next((part for part, pattern in PARTS if pattern.match(name.removeprefix("rust_helper_"))), "other")


def table(title, counts, total, names):
    """Prints what takes most."""
    print(f"\n{title}")
    for name, count in counts.most_common(TOP):
        print(f"{count:7} {100 * count / total:5.1f} %  {names.get(name, name)[:140]}")


def main():
    result, trace, module, folder = sys.argv[1:]
    lines = [line.strip() for line in open(result, errors="replace")]
    tags = {int(line.split()[1]): line.split(maxsplit=2)[2] for line in lines if line.startswith("tag ")}
    symbols = Symbols([line for line in lines if line.startswith(("at ", "module "))])
    runs = read_runs(trace)
    everywhere = {at for _, blocks in runs.values() for _, places in blocks for at in places}
    inside = sorted(at - symbols.base for at in everywhere if symbols.is_module(at))
    frames = frames_of(module, inside)
    used = {symbols.name(at) for at in everywhere} | {frame[0] for found in frames.values() for frame in found}
    names = demangled(used)

    print("Instructions, of the shortest of some runs.")
    for tag, (total, blocks) in sorted(runs.items()):
        parts, functions, ours, rows = (collections.Counter() for _ in range(4))
        for _, places in blocks:
            for at in places:
                found = frames.get(at - symbols.base, []) if symbols.is_module(at) else []
                name = symbols.name(at)
                parts[part_of(name, found)] += 1
                functions[name] += 1
                inner = next((frame for frame in found if "/net/" in frame[1]), None)
                if inner:
                    ours[inner[0]] += 1
                    rows[inner[1][inner[1].rindex("/net/") + 1:].split(" ")[0]] += 1
        print(f"\n=== {tags[tag]}: {total}")
        print("\nLongest with a lock held, and where that was taken")
        outer = [(length, symbols.name(taker)) for others, length, taker in holds(blocks, symbols) if others == 0]
        for length, taker in sorted(outer, reverse=True)[:LONGEST]:
            print(f"{length:7} {names.get(taker, taker)[:140]}")
        table("What for", parts, total, {})
        table("Functions", functions, total, names)
        if ours:
            table("Of the module, inlined functions told apart", ours, total, names)
        tree = tree_of(blocks, symbols)
        stem = os.path.join(folder, re.sub(r"[^A-Za-z0-9]+", "-", tags[tag]).strip("-"))
        with open(stem + ".tree", "w") as out:
            write_tree(tree, names, out)
        with open(stem + ".lines", "w") as out:
            for row, count in rows.most_common():
                print(f"{count:6} {row}", file=out)
        stacks = collections.Counter()
        fold(tree, names, [], stacks)
        with open(stem + ".folded", "w") as out:
            for stack, count in stacks.items():
                if count:
                    print(stack, count, file=out)


if __name__ == "__main__":
    main()
