# SPDX-License-Identifier: GPL-2.0
"""kbus send."""

import os
import subprocess
import tempfile

from support import Case

ALL_BYTES = bytes(range(256))
LIMIT_OF_BUS = 65536


class Send(Case):
    def setUp(self) -> None:
        super().setUp()
        self.listener = self.join(listen="$.A")

    def file(self, payload: bytes) -> str:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(payload)
        self.addCleanup(os.unlink, file.name)
        return file.name

    def test_text_and_nothing(self) -> None:
        self.assertEqual(self.ok("send", "$.A", "21 °C"), "")
        self.ok("send", "$.A")
        self.ok("send", "$.A", "-b", self.bus, "other", env=os.environ)
        self.assertEqual(self.listener.all(), ["21 °C".encode(), b"", b"other"])

    def test_to_nobody_is_no_error(self) -> None:
        self.ok("send", "$.Nobody", "x")

    def test_bytes_of_stdin_and_of_a_file(self) -> None:
        self.ok("send", "$.A", "-", input=ALL_BYTES)
        self.ok("send", "$.A", "@" + self.file(ALL_BYTES))
        self.assertEqual(self.listener.all(), [ALL_BYTES, ALL_BYTES])

    def test_literal(self) -> None:
        self.ok("send", "$.A", "--literal", "@x")
        self.ok("send", "--literal", "$.A", "--", "-")
        self.assertEqual(self.listener.all(), [b"@x", b"-"])

    def test_lines(self) -> None:
        self.ok("send", "$.A", "--lines", input=b"one\n\n\xff two\nlast")
        self.ok("send", "$.A", "--lines", "@" + self.file(b"a\nb\n"))
        self.ok("send", "$.A", "--lines", "-", "--count", "1", input=b"c\nd\n")
        expected = [b"one", b"", b"\xff two", b"last", b"a", b"b", b"c"]
        self.assertEqual(self.listener.all(), expected)

    def test_a_line_goes_out_as_soon_as_it_is_read(self) -> None:
        sender = self.start("send", "$.A", "--lines", stdin=subprocess.PIPE)
        assert sender.process.stdin
        for line in (b"one\n", b"two\n"):
            sender.process.stdin.write(line)
            sender.process.stdin.flush()
            self.assertEqual(self.listener.next()[1], line.rstrip())
        # Ctrl-C while it waits for more: not all was sent.
        sender.interrupt()
        self.assertEqual(sender.process.wait(), 130)
        assert sender.process.stderr
        self.assertEqual(sender.process.stderr.read(), b"kbus: 2 messages sent\n")

    def test_count(self) -> None:
        self.ok("send", "$.A", "x", "-n", "3")
        self.assertEqual(self.listener.all(), [b"x"] * 3)

    def test_every(self) -> None:
        self.ok("send", "$.A", "x", "--every", "1ms", "-n", "3")
        self.assertEqual(self.listener.all(), [b"x"] * 3)
        # Without a count it has no end but Ctrl-C, which is no error.
        sender = self.start("send", "$.A", "-", "--every", "1h", stdin=subprocess.PIPE)
        assert sender.process.stdin
        sender.process.stdin.write(b"tick")
        sender.process.stdin.close()
        sender.process.stdin = None
        self.assertEqual(self.listener.next()[1], b"tick")
        sender.interrupt()
        self.assertEqual(self.ended(sender), ("", "kbus: 1 message sent\n"))
        sender = self.start("send", "$.A", "x", "--every", "1h", "-n", "2")
        self.listener.next()
        sender.interrupt()
        self.ended(sender, 130)

    def test_urgent_ones_go_first(self) -> None:
        self.ok("send", "$.A", "first")
        self.ok("send", "$.A", "urgent", "--urgent")
        self.assertEqual(self.listener.all(), [b"urgent", b"first"])

    def test_json_has_the_id_of_each(self) -> None:
        one, two = self.json("send", "$.A", "xy", "-n", "2")
        self.assertLess(int(one.pop("id"), 16), int(two.pop("id"), 16))
        self.assertEqual(one, {"name": "$.A", "len": 2})

    def test_to_all_or_to_none(self) -> None:
        full = self.join(listen="$.A", queue=1)
        self.ok("send", "$.A", "fills")
        self.refused(7, "send", "$.A", "x", "--all-or-fail", words=("full", "EBUSY"))
        self.assertEqual(self.listener.all(), [b"fills"])
        # Otherwise who is full misses it.
        self.ok("send", "$.A", "missed")
        self.assertEqual(self.listener.all(), [b"missed"])
        self.assertEqual(full.all(), [b"fills"])

    def test_to_all_and_wait(self) -> None:
        full = self.join(listen="$.A", queue=1)
        self.ok("send", "$.A", "fills")
        self.refused(
            5, "send", "$.A", "x", "--all-or-wait", "--timeout", "1ms", words=("$.A", "still full")
        )
        sender = self.start("send", "$.A", "waits", "--all-or-wait")
        self.assertEqual(full.next()[1], b"fills")
        self.assertEqual(full.next()[1], b"waits")
        self.ended(sender)
        self.assertEqual(self.listener.all(), [b"fills", b"waits"])

    def test_ctrl_c_while_it_waits_for_room(self) -> None:
        full = self.join(listen="$.A", queue=1)
        sender = self.start("send", "$.A", "x", "--all-or-wait", "-n", "2")
        self.listener.has_unread(1)
        sender.interrupt()
        self.assertEqual(self.ended(sender, 130)[1], "kbus: 1 message sent\n")
        self.assertEqual(full.all(), [b"x"])

    def test_a_payload_over_the_limit_is_refused_and_nothing_sent(self) -> None:
        large = bytes(17 << 20)
        words = ("65536", self.bus, "nothing was sent")
        self.refused(9, "send", "$.A", "-", input=large, words=words)
        path = self.file(large)
        self.refused(9, "send", "$.A", f"@{path}", words=(*words, str(17 << 20)))
        self.refused(9, "send", "$.A", "x" * (LIMIT_OF_BUS + 1), words=words)
        self.refused(9, "call", "$.A", "-", input=large, words=words)
        # It reads no more of what never ends.
        with open("/dev/zero", "rb") as zero:
            self.refused(9, "send", "$.A", "-", stdin=zero, input=None, words=words)
        self.assertEqual(self.listener.all(), [])
        self.ok("send", "$.A", "-", input=bytes(LIMIT_OF_BUS))
        self.assertEqual(self.listener.all(), [bytes(LIMIT_OF_BUS)])

    def test_a_line_over_the_limit_says_which(self) -> None:
        text = b"good\n" + b"x" * (LIMIT_OF_BUS + 1) + b"\nnever\n"
        words = ("line 2 of the standard input", "65536", "1 message sent before")
        self.refused(9, "send", "$.A", "--lines", input=text, words=words)
        self.assertEqual(self.listener.all(), [b"good"])

    def test_what_cannot_be_read(self) -> None:
        self.refused(1, "send", "$.A", "@/none", words=("/none", "No such file"))
        self.refused(1, "send", "$.A", "@/tmp", words="directory")
        self.refused(2, "send", "$.A", "text", "--lines", words="--lines")
        self.assertEqual(self.listener.all(), [])
