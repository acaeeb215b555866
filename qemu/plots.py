# SPDX-License-Identifier: GPL-2.0
"""Draws the tables of a benchmark as SVG. Usage: plots.py bench|bench-peers TABLES.md FOLDER

Every number that is drawn stands in a table of docs/performance.md. A plot has a ground of its own, light or dark as the
reader prefers; lines differ in colour (a palette for the colour-blind), in their marks, and some in being dashed.
"""

import math
import sys
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 870, 470
LEFT, RIGHT, TOP, BOTTOM = 84, 242, 64, 62
# Between two names at the right.
LINE = 19

# On a light ground, on a dark one.
COLOURS = {
    "blue": ("#0072b2", "#4db2f0"),
    "black": ("#333333", "#d8d8d8"),
    "vermilion": ("#d55e00", "#f28e3c"),
    "green": ("#00805f", "#2fc79d"),
    "purple": ("#b0508a", "#e59cc8"),
    "orange": ("#b87f00", "#f0b840"),
    "sky": ("#3a95cf", "#8fd0f5"),
    "grey": ("#777777", "#a0a0a0"),
}

# Each is centred at 0, 0.
MARKS = {
    "circle": '<circle r="4.2"/>',
    "square": '<rect x="-3.8" y="-3.8" width="7.6" height="7.6"/>',
    "triangle": '<path d="M0-5.2 4.8 3.4H-4.8Z"/>',
    "diamond": '<path d="M0-5.4 5.4 0 0 5.4-5.4 0Z"/>',
    "down": '<path d="M0 5.2 4.8-3.4H-4.8Z"/>',
    "bar": '<rect x="-5" y="-2.2" width="10" height="4.4"/>',
}


class Series:
    """A line: its name, its points as (x, y), and how it is drawn."""

    def __init__(self, name, points, colour, mark, dashed=False, bold=False):
        self.name, self.points, self.colour, self.mark = name, points, colour, mark
        self.dashed, self.bold = dashed, bold


def short(value):
    """A number for an axis: 5, 200, 10 k, 1 M."""
    for unit, name in [(1_000_000, " M"), (1000, " k")]:
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def size(count):
    """A number of bytes for an axis."""
    return f"{count} B" if count < 1024 else f"{count >> 10} KiB"


def log_ticks(low, high):
    """Values at 1, 2 and 5 of each decade, and whether each is a whole decade."""
    ticks = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [(factor * 10**exponent, factor == 1) for factor in (1, 2, 5)]
    return [(value, whole) for value, whole in ticks if low <= value <= high]


def linear_ticks(high):
    """Some five round steps from 0 on."""
    step = 10 ** math.floor(math.log10(high / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= 6)
    return [(n * step, True) for n in range(int(high / step) + 1)]


def spread(wanted, least, low, high):
    """Moves positions apart, to `least` between neighbours, in their order and within bounds."""
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    places = [wanted[n] for n in order]
    for _ in range(200):
        for n in range(1, len(places)):
            close = least - (places[n] - places[n - 1])
            if close > 0:
                places[n - 1] -= close / 2
                places[n] += close / 2
        places = [min(max(place, low + n * least), high - (len(places) - 1 - n) * least) for n, place in enumerate(places)]
    result = [0.0] * len(wanted)
    for n, place in zip(order, places):
        result[n] = place
    return result


def style():
    """Colours for a light ground, and those for a dark one."""

    def rules(dark):
        ground, ink, grid = [("#ffffff", "#222222", "#dddddd"), ("#16191d", "#e4e4e4", "#3a3f45")][dark]
        lines = [f".ground{{fill:{ground}}} text{{fill:{ink}}} .grid{{stroke:{grid}}} .axis{{stroke:{ink}}}"]
        lines += [f".{name}{{stroke:{pair[dark]}}} .{name} .mark{{fill:{pair[dark]};stroke:{ground}}}" for name, pair in COLOURS.items()]
        return "\n".join(lines)

    return (
        "text{font:14px system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif}\n"
        ".title{font-size:18px;font-weight:600} .grid,.axis{fill:none;stroke-width:1} .minor{stroke-opacity:.5}\n"
        ".line{fill:none;stroke-width:2;stroke-linejoin:round} .bold{stroke-width:3.5}\n"
        ".leader{fill:none;stroke-width:1;stroke-opacity:.55} .dashed{stroke-dasharray:7 4} .mark{stroke-width:1}\n"
        f"{rules(False)}\n@media (prefers-color-scheme:dark){{\n{rules(True)}\n}}"
    )


class Plot:
    """A plot of some lines over one logarithmic axis of x."""

    def __init__(self, title, x_label, y_label, series, x_ticks, x_text=short, y_log=True):
        self.title, self.x_label, self.y_label, self.series = title, x_label, y_label, series
        self.x_ticks, self.x_text, self.y_log = x_ticks, x_text, y_log
        # Wider names would not be on the picture.
        assert all(len(line.name) <= 22 for line in series), [line.name for line in series]
        values = [y for line in series for _, y in line.points]
        self.low, self.high = (min(values) * 0.8, max(values) * 1.25) if y_log else (0, max(values) * 1.1)

    def x(self, value):
        """Where a value of x is."""
        first, last = self.x_ticks[0], self.x_ticks[-1]
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / first) / math.log(last / first)

    def y(self, value):
        """Where a value of y is."""
        if self.y_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def grid(self):
        """The axes, with what stands beside them."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for value, whole in log_ticks(self.low, self.high) if self.y_log else linear_ticks(self.high):
            y = self.y(value)
            yield f'<path class="grid{"" if whole else " minor"}" d="M{LEFT} {y:.1f}H{right}"/>'
            yield f'<text x="{LEFT - 9}" y="{y + 5:.1f}" text-anchor="end">{short(value)}</text>'
        for value in self.x_ticks:
            yield f'<path class="axis" d="M{self.x(value):.1f} {bottom}v5"/>'
            yield f'<text x="{self.x(value):.1f}" y="{bottom + 22}" text-anchor="middle">{self.x_text(value)}</text>'
        yield f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
        yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(self.x_label)}</text>'
        yield f'<text x="{LEFT - 62}" y="{TOP - 14}">{escape(self.y_label)}</text>'

    def lines(self):
        """The lines, each with its marks and, at its right, its name."""
        right = WIDTH - RIGHT
        ends = [self.y(line.points[-1][1]) for line in self.series]
        names = spread(ends, LINE, TOP, HEIGHT - BOTTOM)
        # Thin lines lie upon bold ones, and are seen where both are in one place.
        for line, end, name in sorted(zip(self.series, ends, names), key=lambda parts: not parts[0].bold):
            places = [(self.x(x), self.y(y)) for x, y in line.points]
            path = "M" + " ".join(f"{x:.1f} {y:.1f}" for x, y in places)
            mark = MARKS[line.mark]
            extra = (" dashed" if line.dashed else "") + (" bold" if line.bold else "")
            yield f'<g class="{line.colour}">'
            yield f'<path class="leader" d="M{right + 6} {end:.1f}L{right + 20} {name:.1f}"/>'
            yield f'<path class="line{extra}" d="{path}"/><path class="line{extra}" d="M{right + 20} {name:.1f}h36"/>'
            for x, y in places + [(right + 38, name)]:
                yield f'<g class="mark" transform="translate({x:.1f} {y:.1f})">{mark}</g>'
            weight = ' font-weight="600"' if line.bold else ""
            yield f'<text x="{right + 64}" y="{name + 5:.1f}" stroke="none"{weight}>{escape(line.name)}</text></g>'

    def write(self, path):
        """Writes the file."""
        text = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>\n{style()}\n</style>",
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            f'<text class="title" x="{LEFT - 62}" y="28">{escape(self.title)}</text>',
            *self.grid(),
            *self.lines(),
            "</svg>",
        ]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")


def tables(text):
    """All tables by their heading: rows of cells, without the head."""
    found, title = {}, None
    for line in text.splitlines():
        if line.startswith("### "):
            title = line[4:]
        elif line.startswith("|"):
            found.setdefault(title, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {title: rows[2:] for title, rows in found.items()}


def column(rows, number):
    """The points of a column over the first one, which holds numbers."""
    return [(int(row[0]), int(row[number])) for row in rows]


def by_size(rows, what, number):
    """The points of a column over sizes, of the rows that begin with "WHAT, "."""
    points = []
    for row in rows:
        if row[0].startswith(what + ", "):
            count, unit = row[0].removeprefix(what + ", ").split()
            points.append((int(count) * {"B": 1, "KiB": 1024}[unit], int(row[number])))
    return points


def bench(of):
    """What make bench measures."""
    rows = of["One message to many"]
    yield "recipients", Plot(
        "One message of 64 bytes to many",
        "receivers",
        "instructions",
        [
            Series("kbus, with reads", column(rows, 5), "blue", "circle", bold=True),
            Series("AF_UNIX, with reads", column(rows, 4), "vermilion", "square"),
            Series("kbus, the call", column(rows, 2), "blue", "circle", dashed=True, bold=True),
            Series("AF_UNIX, the calls", column(rows, 1), "vermilion", "square", dashed=True),
        ],
        [int(row[0]) for row in rows],
    )
    siblings, deep = of["Bindings that do not match: siblings"], of["Bindings that do not match: deep"]
    yield "bindings", Plot(
        "Bindings on the bus that do not match",
        "bindings that do not match",
        "instructions",
        [
            Series("announce, deep name", column(deep, 2), "blue", "diamond", bold=True),
            Series("announce", column(siblings, 2), "blue", "circle", bold=True),
            Series("bind, deep wildcard", column(deep, 5), "green", "triangle", dashed=True),
            Series("unbind, deep wildcard", column(deep, 7), "purple", "down", dashed=True),
            Series("bind", column(siblings, 5), "green", "triangle"),
            Series("unbind", column(siblings, 7), "purple", "down"),
            Series("an AF_UNIX send", column(siblings, 1), "vermilion", "square"),
        ],
        [int(row[0]) for row in siblings],
        y_log=False,
    )
    rows = of["One message, and a request with its reply"]
    series = []
    for what, dashed in [("round trip", False), ("one way", True)]:
        series.append(Series(f"kbus, {what}", by_size(rows, what, 2), "blue", "circle", dashed, bold=True))
        series.append(Series(f"AF_UNIX, {what}", by_size(rows, what, 1), "vermilion", "square", dashed))
    yield "size", Plot("Payloads of many sizes", "payload", "instructions", series, [x for x, _ in series[0].points], size)


# How each peer is drawn. Those of the kernel have marks that the others have not.
PEERS = {
    "kbus": ("blue", "circle", False, True),
    "AF_UNIX datagrams": ("vermilion", "square", False, False),
    "POSIX message queues": ("grey", "bar", False, False),
    "netlink (USERSOCK)": ("sky", "bar", False, False),
    "TIPC, one node": ("black", "bar", False, False),
    "ZeroMQ": ("green", "triangle", False, False),
    "nng": ("green", "down", True, False),
    "MQTT, mosquitto": ("orange", "diamond", False, False),
    "sd-bus, dbus-broker": ("purple", "triangle", False, False),
    "sd-bus, dbus-daemon": ("purple", "down", False, False),
    "libdbus, dbus-broker": ("purple", "triangle", True, False),
    "libdbus, dbus-daemon": ("purple", "down", True, False),
}


def bench_peers(of):
    """What make bench-peers measures."""
    rows = of["One message to many, beside others"]
    counts = [1, 8, 64]
    yield "peers-recipients", Plot(
        "One message of 64 bytes to many, beside others",
        "subscribers",
        "instructions of all processes until all have read",
        [Series(row[0], [(count, int(row[2 + 3 * n])) for n, count in enumerate(counts)], *PEERS[row[0]]) for row in rows],
        counts,
    )
    rows = of["A request and its reply, beside others"]
    sizes = [64, 1 << 10, 16 << 10, 64 << 10]
    yield "peers-size", Plot(
        "A request and a reply of the same size, beside others",
        "payload, each way",
        "instructions of all processes",
        [Series(row[0], [(length, int(row[1 + 2 * n])) for n, length in enumerate(sizes)], *PEERS[row[0]]) for row in rows],
        sizes,
        size,
    )


def main():
    command, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(exist_ok=True)
    draw = {"bench": bench, "bench-peers": bench_peers}[command]
    for name, plot in draw(tables(source.read_text(encoding="utf-8"))):
        plot.write(folder / f"{name}.svg")


main()
