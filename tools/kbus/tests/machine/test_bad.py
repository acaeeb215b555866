# SPDX-License-Identifier: GPL-2.0
"""Bad input, and what is missing: one sentence, a hint, an exit code; never a panic."""

import json
import os
import subprocess

from support import SOL_KBUS
from support import Bus
from support import Case

NAMES = ["send", "call", "wait"]
ALL = [("listen", "$.A"), ("send", "$.A"), ("call", "$.A"), ("serve", "$.A", "--echo"), ("wait", "$.A")]


class Bad(Case):
    def test_malformed_names(self) -> None:
        malformed = ["", "A", "$", "$.", "$.A.", "$..A", "$.A B", "$.A@1", "$.A#1", "$.é", "$.A\n", "$.*.A"]
        for name in malformed:
            self.refused(2, "send", name, "x", words="is no message name")
        for command in NAMES:
            self.refused(2, command, "$.A.*", words="is a wildcard")
            self.refused(2, command, "$." + "x" * 1000, words=("at most 1000", "1002"))
        for command in (("listen",), ("serve", "--echo")):
            self.refused(2, *command, "$.*.A", words="is no message name")
            self.refused(2, *command, "$.*%", words="is no message name")

    def test_unknown_options_and_values(self) -> None:
        for args in (
            ("listen", "$.A", "--frob"),
            ("listen", "$.A", "--format", "xml"),
            ("listen", "$.A", "--count", "0"),
            ("listen", "$.A", "--count", "many"),
            ("listen", "$.A", "--queue", "-1"),
            ("listen", "$.A", "--timeout", "soon"),
            ("listen",),
            ("send", "$.A", "x", "--every", "0s"),
            ("send", "$.A", "x", "--all-or-fail", "--all-or-wait"),
            ("send", "$.A", "x", "--timeout", "1s"),
            ("call", "$.A", "--to", "0x1f"),
            ("call", "$.A", "--to", "1F"),
            ("call", "$.A", "--to", "0"),
            ("call", "$.A", "--reply-max", "-5"),
            ("wait", "$.A", "--timeout", "-1"),
            ("list", "--color", "blue"),
            ("frobnicate",),
        ):
            self.refused(2, *args)

    def test_what_only_the_bus_sends(self) -> None:
        self.refused(4, "send", "$.KBUS.Replier.GoneAway", words="the bus's own")

    def test_malformed_buses(self) -> None:
        for bus, words in (("@", "a bus needs a name"), ("@" + "x" * 108, "at most 107"), ("", "a bus needs a name")):
            self.refused(2, "send", "$.A", "--bus", bus, words=words)
        self.refused(2, "send", "$.A", "--bus", "/none/bus", words=("/none/bus", "folder"))
        self.refused(2, "send", "$.A", "--bus", "/proc/version", words="no socket")
        self.refused(2, "send", "$.A", env=self.env | {"KBUS_BUS": "@"}, words="a bus needs a name")

    def test_no_queue_is_as_long(self) -> None:
        err = self.refused(4, "listen", "$.A", "--queue", "100000", words="the length of the queue")
        self.assertIn("net.kbus.max_queue_len", err)

    def test_no_permission(self) -> None:
        with Bus(self.bus, mode=0o600):
            for args in ALL:
                self.refused(4, *args, user=1000, words=self.bus)
        path = f"/tmp/closed-{os.getpid()}"
        with Bus(path):
            os.chmod(path, 0o600)
            self.refused(4, "send", "$.A", "-b", path, user=1000, words=path)
        os.unlink(path)

    def test_errors_are_json_where_all_is(self) -> None:
        for args, code in ((("call", "$.Nobody"), 6), (("send", "A"), 2), (("send", "--frob"), 2)):
            out, err = self.run_it("--json", *args, code=code)
            self.assertEqual(out, b"")
            error = json.loads(err)
            self.assertEqual((error["code"], list(error)), (code, ["error", "hint", "code"]))

    def test_a_closed_stdout_is_no_error(self) -> None:
        self.join(reply="$.A", listen="$.B")
        self.join(listen="$.B")
        server = self.serving("$.Long", "--", "head", "-c", "60000", "/dev/zero")
        self.addCleanup(server.interrupt)
        for args in (
            ("list",),
            ("tree",),
            ("list", "--json"),
            ("tree", "--json"),
            ("call", "$.Long"),
            ("wait", "--json", "$.A"),
            ("send", "$.B", "--json"),
            ("--help",),
            ("send", "--help"),
            ("--version",),
        ):
            ours, its = os.pipe()
            os.close(ours)
            result = subprocess.run(
                ["kbus", *args], stdout=its, stderr=subprocess.PIPE, env=self.env, check=False
            )
            os.close(its)
            self.assertEqual((result.returncode, result.stderr), (0, b""), args)

    def test_a_full_disk_is_one(self) -> None:
        self.join()
        for args in (("list",), ("tree",)):
            with open("/dev/full", "wb") as full:
                running = self.start(*args, stdout=full)
                out, err = self.ended(running, 1)
                self.is_sentence(err, ("standard output", "No space"))

    def test_nothing_is_open(self) -> None:
        for args, code in ((("list", "--bus", "@none"), 1), (("send", "$.A"), 0), (("send", "A"), 2), ((), 2), (("--help",), 0)):
            line = "exec kbus \"$@\" <&- >&- 2>&-"
            result = subprocess.run(["sh", "-c", line, "sh", *args], env=self.env, check=False)
            self.assertEqual(result.returncode, code, args)

    def test_zz_without_the_module(self) -> None:
        subprocess.run(["rmmod", "kbus"], check=True)
        try:
            for args in (*ALL, ("list",), ("tree",)):
                self.refused(3, *args, words="module kbus is not loaded")
            self.assertIn("Usage:", self.ok("--help"))
            self.assertRegex(self.ok("--help"), r"(?m)^ +11  call: the replier read the request and gave no reply\.$")
        finally:
            subprocess.run(["insmod", "/kbus.ko"], check=True)
        self.ok("send", "$.A")
