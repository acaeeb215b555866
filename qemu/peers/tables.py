# SPDX-License-Identifier: GPL-2.0
"""Prints what bench-peers measured as tables in Markdown. Usage: tables.py RESULT PACKAGES

RESULT holds the lines that bench.c prints, PACKAGES the names of the packages' files.
"""

import sys
import textwrap
from urllib.parse import unquote

# Whose versions are told: the brokers, and the libraries that speak to them.
TOLD = ["dbus-broker", "dbus-daemon", "libdbus-1-3", "libsystemd0", "libzmq5", "libnng1t64", "libnng1", "mosquitto",
        "libmosquitto1"]
OURS = "kbus"
# The head of a column: how often the figure of a bus goes into the one before.
TIMES = "× kbus"


def size(count):
    """A number of bytes, as kbus-bench writes it."""
    return f"{count} B" if count < 1024 else f"{count >> 10} KiB"


def table(rows):
    """Prints rows, the first of which is the head: text to the left, figures to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    figures = [all(row[n][:1].isdigit() for row in rows[1:]) for n in range(len(rows[0]))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    rules = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, figures)]
    for row in [rows[0], rules] + rows[1:]:
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, figures)]
        print("| " + " | ".join(cells) + " |")
    print()


def read(path):
    """What each peer guarantees, its round trips by size, and its announcements by the number of subscribers."""
    guarantees, trips, fans = {}, {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            match line.rstrip("\n").split("\t"):
                case ["peer", name, text]:
                    guarantees[name] = text
                case ["trip", name, length, ticks]:
                    trips.setdefault(name, {})[int(length)] = int(ticks)
                case ["fan", name, count, call, everything]:
                    fans.setdefault(name, {})[int(count)] = int(call), int(everything)
    return guarantees, trips, fans


def main():
    guarantees, trips, fans = read(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as lines:
        # As in dbus-broker_37-2_amd64.deb, with %3a for a colon.
        packages = dict(unquote(line).split("_")[:2] for line in lines if "_" in line)
    versions = textwrap.fill("Debian's packages: " + ", ".join(f"{name} {packages[name]}" for name in TOLD if name in packages) + ".", 120)
    print(f"{versions}\nFigures are instructions of all processes and of the kernel.\n")

    ours = trips.get(OURS)
    ratio = (lambda value, unit: f"{value / unit:.2f}")

    print("### A request and its reply, beside others\n")
    print("The process that answers is one of its own, and so is a broker. The reply is as long as the request.\n")
    lengths = sorted(next(iter(trips.values())))
    rows = [[""] + [head for length in lengths for head in [size(length), TIMES]]]
    for name, figures in trips.items():
        cells = [[figures[length], ratio(figures[length], ours[length]) if ours else "-"] for length in lengths]
        rows.append([name] + [cell for pair in cells for cell in pair])
    table(rows)

    ours = fans.get(OURS)
    print("### One message to many, beside others\n")
    print("64 bytes. Call: until the sender's call has returned; where a broker gets the processor meanwhile, its work is in it.\n"
          "All: until each subscriber has read, the work of all processes.\n")
    counts = sorted(next(iter(fans.values())))
    rows = [[""] + [head for count in counts for head in [f"to {count}: call", f"to {count}: all", TIMES]]]
    for name, figures in fans.items():
        cells = [[*figures[count], ratio(figures[count][1], ours[count][1]) if ours else "-"] for count in counts]
        rows.append([name] + [cell for triple in cells for cell in triple])
    table(rows)

    print("### What they guarantee\n")
    print("Less or more than a bus.\n")
    same = {}
    for name, text in guarantees.items():
        same.setdefault(text, []).append(name)
    for text, names in same.items():
        print(textwrap.fill(f"**{'; '.join(names)}**: {text}.", 120, initial_indent="* ", subsequent_indent="  "))
    print()


main()
