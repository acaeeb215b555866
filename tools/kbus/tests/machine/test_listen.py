# SPDX-License-Identifier: GPL-2.0
"""kbus listen."""

import json
import os
import re
import signal
import subprocess
import time

from support import REQUEST
from support import SEND_FLAGS
from support import SOL_KBUS
from support import URGENT
from support import Case

ALL_BYTES = bytes(range(256))


class Listen(Case):
    def test_a_line_has_time_name_kind_sender_length_and_text(self) -> None:
        listener = self.listening("$.A.*", "--count", "1")
        sender = self.join()
        sender.sendto("21 °C".encode(), "$.A.B")
        out, err = self.ended(listener)
        self.assertRegex(
            out,
            r"^\d\d:\d\d:\d\d\.\d{6} \$\.A\.B announcement from "
            rf"{sender.peer} \(pid {os.getpid()} python3, root\), 6 bytes: 21 °C\n$",
        )
        self.assertEqual(err, "")

    def test_what_a_terminal_would_act_on_is_hexadecimal(self) -> None:
        listener = self.listening("$.A", "-n", "3")
        sender = self.join()
        for payload in (b"\x1b[2J", b"a\n\\\tb", b""):
            sender.sendto(payload, "$.A")
        lines = self.ended(listener)[0].splitlines()
        self.assertTrue(lines[0].endswith(", 4 bytes: hex 1b5b324a"), lines)
        self.assertTrue(lines[1].endswith(", 5 bytes: a\\n\\\\\\tb"), lines)
        self.assertTrue(lines[2].endswith(", 0 bytes"), lines)

    def test_formats(self) -> None:
        hexadecimal = self.listening("$.A", "-n", "1", "--format", "hex")
        raw = self.start("listen", "$.A", "-n", "1", "-f", "raw")
        self.bound("$.A", "L", 2)
        self.join().sendto(ALL_BYTES, "$.A")
        self.assertIn(f": hex {ALL_BYTES.hex()}\n", self.ended(hexadecimal)[0])
        assert raw.process.stdout
        self.assertEqual(raw.process.stdout.read(), ALL_BYTES)
        self.ended(raw)

    def test_format_line_ends_each_payload(self) -> None:
        listener = self.listening("$.A", "-n", "3", "--format", "line")
        sender = self.join()
        for payload in (b"21", b"", b"22"):
            sender.sendto(payload, "$.A")
        self.assertEqual(self.ended(listener)[0], "21\n\n22\n")

    def test_not_leaves_out_and_does_not_count(self) -> None:
        listener = self.listening("$.*", "-n", "2", "-f", "line", "--not", "$.Log.*", "--not", "$.B")
        sender = self.join()
        for number, name in enumerate(("$.Log.A", "$.A", "$.B", "$.Log.A.B", "$.Log")):
            sender.sendto(str(number).encode(), name)
        self.assertEqual(self.ended(listener)[0], "1\n4\n")
        self.refused(2, "listen", "$.*", "--not", "A.B", words="A.B")

    def test_json(self) -> None:
        listener = self.listening("$.A", "-n", "2", "--json")
        sender = self.join()
        sender.sendto("é\x1b".encode(), "$.A")
        sender.setsockopt(SOL_KBUS, SEND_FLAGS, URGENT)
        sender.sendto(b"\xff", "$.A")
        # The urgent one comes first, if the other one has not been read yet.
        messages = map(json.loads, self.ended(listener)[0].splitlines())
        first, second = sorted(messages, key=lambda message: bool(message["urgent"]))
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertRegex(first.pop("id"), "^[0-9a-f]+$")
        self.assertEqual(
            first,
            {
                "kind": "announcement",
                "name": "$.A",
                "sender": sender.peer,
                "pid": os.getpid(),
                "command": "python3",
                "uid": 0,
                "user": "root",
                "urgent": False,
                "user_bits": 0,
                "lost": 0,
                "len": 3,
                "text": "é\x1b",
            },
        )
        self.assertEqual((second["hex"], second["urgent"]), ("ff", True))

    def test_copies_of_requests_and_replies_are_told_apart(self) -> None:
        replier = self.join(reply="$.Ask")
        listener = self.listening("$.Ask", "-n", "2", "--json")
        asker = self.join()
        asker.setsockopt(SOL_KBUS, SEND_FLAGS, REQUEST)
        asker.sendto(b"?", "$.Ask")
        address, _ = replier.next()
        replier.sendto(b"!", address)
        request, reply = map(json.loads, self.ended(listener)[0].splitlines())
        self.assertEqual((request["kind"], request["text"]), ("request copy", "?"))
        self.assertEqual((reply["kind"], reply["text"]), ("reply copy", "!"))
        self.assertEqual(reply["in_reply_to"], request["id"])
        self.assertEqual(reply["to"], asker.peer)

    def test_one_line_for_a_message_that_two_patterns_match(self) -> None:
        listener = self.start("listen", "-n", "2", "$.A", "$.*")
        self.bound("$.*", "L")
        sender = self.join()
        sender.sendto(b"1", "$.A")
        sender.sendto(b"2", "$.B")
        lines = self.ended(listener)[0].splitlines()
        self.assertEqual([line[-1] for line in lines], ["1", "2"])

    def test_what_was_lost_is_told_where_it_was_lost(self) -> None:
        for options, lost in (((), "-- 3 messages lost here"), (("--json",), '"lost":3')):
            listener = self.listening("$.A", "--queue", "2", *options)
            self.stopped(listener.process.pid)
            sender = self.join()
            for number in range(5):
                sender.sendto(str(number).encode(), "$.A")
            listener.process.send_signal(signal.SIGCONT)
            lines = [listener.line() for _ in range(3)]
            sender.sendto(b"later", "$.A")
            lines.append(listener.line())
            self.assertIn("0", lines[0])
            self.assertIn("1", lines[1])
            self.assertIn(lost, lines[2])
            self.assertIn("later", lines[3])
            listener.interrupt()
            self.assertEqual(self.ended(listener)[1], "kbus: 3 messages, 3 lost\n")

    def test_with_a_count_too_few_in_time_are_an_error(self) -> None:
        self.refused(5, "listen", "$.A", "-n", "1", "--timeout", "1ms", words="0 messages, 1 were wanted")
        self.assertEqual(self.ok("listen", "$.A", "--timeout", "1ms"), "")

    def test_ctrl_c_ends_it_with_a_summary(self) -> None:
        for stop in (signal.SIGINT, signal.SIGTERM):
            listener = self.listening("$.A")
            self.join().sendto(b"x", "$.A")
            listener.line()
            listener.process.send_signal(stop)
            self.assertEqual(self.ended(listener), ("", "kbus: 1 message, 0 lost\n"))
        listener = self.listening("$.A", "-n", "2")
        listener.interrupt()
        self.ended(listener, 130)

    def test_a_closed_pipe_ends_it_quietly(self) -> None:
        listener = self.listening("$.A")
        assert listener.process.stdout
        # Also if no message comes any more.
        listener.process.stdout.close()
        listener.process.stdout = None
        self.assertEqual(self.ended(listener)[1], "")

    def test_colours_are_for_terminals(self) -> None:
        if not os.path.exists("/dev/pts/ptmx"):
            subprocess.run(["mount", "-t", "devpts", "devpts", "/dev/pts"], check=True)
        for env, option, coloured in (
            ({}, (), True),
            ({"NO_COLOR": "1"}, (), False),
            ({}, ("--color", "never"), False),
        ):
            ours, its = os.openpty()
            listener = self.listening("$.A", "-n", "1", *option, stdout=its, env=self.env | env)
            os.close(its)
            self.join().sendto(b"x", "$.A")
            text = b""
            while b"\n" not in text:
                text += os.read(ours, 1000)
            self.ended(listener)
            os.close(ours)
            self.assertEqual(b"\x1b[" in text, coloured, text)
        listener = self.listening("$.A", "-n", "1", "--color", "always")
        self.join().sendto(b"x", "$.A")
        self.assertTrue(re.search("\x1b\\[1m\\$\\.A\x1b\\[0m", self.ended(listener)[0]))
