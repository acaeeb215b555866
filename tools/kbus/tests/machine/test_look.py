# SPDX-License-Identifier: GPL-2.0
"""kbus list, kbus tree."""

import os

from support import Bus
from support import Case


class List(Case):
    def test_json_has_buses_sockets_and_bindings(self) -> None:
        replier = self.join(reply="$.Echo")
        replier.listen_to("$.News.*")
        replier.listen_to("$.News.*")
        self.ok("send", "$.News.Today", "abc")
        bus, socket = self.json("list", "-b", self.bus)
        self.assertEqual((bus["kind"], bus["bus"], bus["sockets"]), ("bus", self.bus, 1))
        self.assertEqual((bus["uid"], bus["user"], bus["mode"]), (0, "root", "0666"))
        self.assertEqual(bus["max_message"], 65536)
        expected = {
            "kind": "socket",
            "bus": self.bus,
            "peer": replier.peer,
            "pid": os.getpid(),
            "command": "python3",
            "uid": 0,
            "user": "root",
            "unread": 2,
            "limit": 100,
            "bytes": 6,
            "awaited": 0,
            "owed": 0,
            "lost": 0,
            "path": None,
            "replies_for": ["$.Echo"],
            "listens_to": ["$.News.*"],
        }
        self.assertEqual(socket, expected)

    def test_text(self) -> None:
        replier = self.join(reply="$.Echo")
        title, heads, line = self.ok("list", "-b", self.bus).splitlines()
        self.assertTrue(title.startswith(f"{self.bus}  1 socket, owner root, mode 0666, 0 of "), title)
        self.assertEqual(heads.split()[:5], ["PEER", "PID", "COMMAND", "USER", "UNREAD"])
        words = line.split()
        self.assertEqual(words[:5], [replier.peer, str(os.getpid()), "python3", "root", "0/100"])
        self.assertEqual(words[-2:], ["replier", "$.Echo"])

    def test_without_a_bus_all_are_listed(self) -> None:
        self.join()
        path = f"/tmp/bus {os.getpid()}"
        at_path = Bus(path)
        self.addCleanup(os.unlink, path)
        self.addCleanup(at_path.close)
        buses = {line["bus"]: line for line in self.json("list") if line["kind"] == "bus"}
        self.assertIn(self.bus, buses)
        shown = path.replace(" ", "\\040")
        self.assertEqual((buses[shown]["user"], buses[shown]["sockets"]), ("root", 1))
        # Looking at it is not joining it, and by its path it is found.
        self.assertEqual(len(self.json("list", "--bus", path)), 2)

    def test_others_see_neither_process_nor_user(self) -> None:
        self.join()
        _, socket = self.json("list", "-b", self.bus, user=1000)
        self.assertEqual((socket["pid"], socket["uid"], socket["command"]), (None, None, None))
        self.assertIn(" -    -        -  ", self.ok("list", "-b", self.bus, user=1000))

    def test_no_such_bus(self) -> None:
        self.refused(1, "list", "--bus", "@nobody-is-here", words="@nobody-is-here")
        self.refused(1, "tree", "--bus", "@nobody-is-here", words="@nobody-is-here")


class Tree(Case):
    def test_text(self) -> None:
        first = self.join(reply="$.Sensors.Kitchen.Set", listen="$.Sensors.*")
        second = self.join(listen="$.Sensors.*")
        second.listen_to("$.Alarm")
        who = f"(pid {os.getpid()} python3)"
        expected = [
            f"$ on {self.bus}",
            f"├─ Alarm  listener {second.peer} {who}",
            "└─ Sensors",
            f"   ├─ *  listener {first.peer} {who}, {second.peer} {who}",
            "   └─ Kitchen",
            f"      └─ Set  replier {first.peer} {who}",
        ]
        self.assertEqual(self.ok("tree").splitlines(), expected)

    def test_json(self) -> None:
        both = self.join(reply="$.A", listen="$.A")
        (line,) = self.json("tree")
        self.assertEqual((line["bus"], line["name"]), (self.bus, "$.A"))
        self.assertEqual(line["replier"]["peer"], both.peer)
        self.assertEqual([owner["peer"] for owner in line["listeners"]], [both.peer])

    def test_a_bus_without_bindings(self) -> None:
        self.join()
        self.assertEqual(self.ok("tree"), f"$ on {self.bus}\n")
