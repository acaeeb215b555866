# SPDX-License-Identifier: GPL-2.0
"""What needs no bus: the command and files, and Wireshark's view of them. It ends with an error if a rule is broken.
Usage: files.py COMMAND kbus.lua"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import recording

command = sys.argv[1]
holder = tempfile.TemporaryDirectory()
folder = holder.name
dissector = shutil.copy(sys.argv[2], folder)
source, capture = os.path.join(folder, "made.kbus"), os.path.join(folder, "made.pcapng")
START = 1_700_000_000_123_456_789
LONG = "$." + "x" * 998
who = (42, 1000, 100)
packets = [
    (START, recording.packet("announcement", "$.Sensors.Kitchen", b"21 C", id=0x10, who=who)),
    (START + 1000, recording.packet("request", "$.Echo", b"hello", flags=1, id=0xFFFFFFFFFFFFFF11, sender=0x1A)),
    (START + 3500, recording.packet("reply", "$.Echo", b"HELLO", flags=0x20, id=0xFFFFFFFFFFFFFF12, answers=0xFFFFFFFFFFFFFF11, sender=0x1B, to=0x1A)),
    (START + 4000, recording.packet("lost", "$.KBUS.Lost", id=0x13, lost=7, flags=0x40)),
    (START + 5000, recording.packet("announcement", LONG, bytes(range(256)), flags=0xABCD0082, id=0x14, lost=1)),
    (START + 6000, recording.packet("status", "$.KBUS.Replier.GoneAway", flags=0x40, id=0x15, answers=0x99, error=1)),
]  # fmt: skip


def run(*args):
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tshark(*args):
    """Not as root: then it loads no dissector that is written in Lua."""
    os.chmod(folder, 0o755)
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups env".split() if os.geteuid() == 0 else ["env"]
    return run(*user, f"HOME={folder}", "tshark", "-X", f"lua_script:{dissector}", *args)


def same(what, left, right):
    if left != right:
        sys.exit(f"files.py: {what}:\n  {left!r}\nshould be\n  {right!r}")


with open(source, "wb") as file:
    file.write(recording.record(packets))

# A record file that was written after its description is read, and shown as JSON.
result = run(command, "monitor", "--json", "--read", source, "--pcap", capture)
same("the exit status and errors of monitor --read", (result.returncode, result.stderr), (0, ""))
lines = [json.loads(line) for line in result.stdout.splitlines()]
same("the kinds", [line["kind"] for line in lines], ["announcement", "request", "reply", "lost", "announcement", "status", "summary"])
same("the time between", lines[2]["after_ns"], 2500)
same("the sender", [lines[0][key] for key in ("pid", "uid", "gid")], [42, 1000, 100])
same("bytes that are no text", lines[4]["hex"], bytes(range(256)).hex())
same("the summary", [lines[6][key] for key in ("messages", "missed", "requests", "without_reply")], [5, 8, 1, 0])

# The pcapng file that it has written has the same in it, to the nanosecond.
with open(capture, "rb") as file:
    written = recording.read_pcapng(file.read())
same("the pcapng file", written, [(time, recording.parse(data)) for time, data in packets])
same("it read back", run(command, "monitor", "--json", "--read", capture).stdout, result.stdout)
same("replay --check", run(command, "replay", "--check", source).stdout, "6 messages of @kbus-0, all good\n")

# One sentence, with the place, for a file that is cut off, damaged, or of another kind.
with open(source, "rb") as file:
    whole = file.read()
for name, data, words in [
    ("cut", whole[:-30], f"at byte {len(whole) - 30}: the file ends inside a record"),
    ("unended", whole[:-16], f"at byte {len(whole) - 16}: the end of the recording is missing"),
    ("damaged", whole[:200] + b"?" + whole[201:], "the record there is damaged (its checksum is wrong)"),
    ("other", b"\x7fELF" * 100, "at byte 0: this is neither a file of kbus record nor a pcapng file"),
    ("empty", b"", "at byte 0: this is neither a file of kbus record nor a pcapng file"),
]:
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    for act in (["monitor", "--read"], ["replay"]):
        result = run(command, *act, path)
        sentences = [line for line in result.stderr.splitlines() if not line.startswith("hint: ")]
        same(f"{act[0]}, {name}: the exit status", result.returncode, 1)
        same(f"{act[0]}, {name}: one sentence", len(sentences), 1)
        same(f"{act[0]}, {name}: {result.stderr}", words in result.stderr, True)

# Wireshark shows each field, and joins the reply to its request.
fields = "frame.time_epoch kbus.kind kbus.name kbus.id kbus.sender kbus.len kbus.uid kbus.lost kbus.request_in kbus.reply_in kbus.time kbus.text kbus.error".split()
result = tshark(
    "-2", "-r", capture, "-T", "fields", "-E", "separator=|", *sum((["-e", field] for field in fields), [])
)  # fmt: skip
rows = [dict(zip(fields, line.split("|"))) for line in result.stdout.splitlines()]
same("tshark's packets: " + result.stderr, len(rows), len(packets))
same("times", ".123456789" in rows[0]["frame.time_epoch"], True)
same("kinds", [row["kbus.kind"] for row in rows], ["0", "1", "2", "4", "0", "3"])
same("names", [row["kbus.name"] for row in rows][:5], ["$.Sensors.Kitchen", "$.Echo", "$.Echo", "$.KBUS.Lost", LONG])
same("ids", rows[1]["kbus.id"], "0xffffffffffffff11")
same("lengths", [row["kbus.len"] for row in rows], ["4", "5", "5", "0", "256", "0"])
same("the user", [row["kbus.uid"] for row in rows], ["1000", "", "", "", "", ""])
same("what was missed", [row["kbus.lost"] for row in rows], ["0", "0", "0", "7", "1", "0"])
same("the request's reply", [row["kbus.reply_in"] for row in rows][1], "3")
same("the reply's request", [row["kbus.request_in"] for row in rows][2], "2")
same("the time between", float(rows[2]["kbus.time"]), 0.0000025)
same("text", [row["kbus.text"] for row in rows], ["21 C", "hello", "HELLO", "", "", ""])
same("a status", rows[5]["kbus.error"], "1")
result = tshark("-r", capture, "-Y", 'kbus.name == "$.Echo" && kbus.time')
same("a filter", len(result.stdout.splitlines()), 1)
same("the column Info: " + result.stdout, "reply $.Echo #ffffffffffffff12 to #ffffffffffffff11 after 0.00" in result.stdout, True)

# A damaged packet is a malformed one, and no error of the dissector.
broken = bytearray(open(capture, "rb").read())
at = broken.index(b"$.Sensors.Kitchen") - 10
broken[at] ^= 0x40  # in the length of the payload
path = os.path.join(folder, "broken.pcapng")
with open(path, "wb") as file:
    file.write(broken)
result = tshark("-r", path, "-V")
same("a malformed packet", "Malformed KBUS message" in result.stdout, True)
same("errors of the dissector", "Lua Error" in result.stdout + result.stderr, False)

# The dissector from two places, a package's and somebody's own, is one dissector.
second = shutil.copy(dissector, os.path.join(folder, "second.lua"))
result = tshark("-X", f"lua_script:{second}", "-r", capture)
same("loaded twice", (len(result.stdout.splitlines()), result.stderr), (len(packets), ""))
print("files.py: all is as it should be")
