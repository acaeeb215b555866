# SPDX-License-Identifier: GPL-2.0
"""kbus call, kbus wait."""

from support import SOL_KBUS
from support import UNREPLIER
from support import Case

ALL_BYTES = bytes(range(256))


class Call(Case):
    def test_prints_the_reply_as_it_is(self) -> None:
        replier = self.join(reply="$.Ask")
        for reply in (ALL_BYTES, b"", b"text"):
            call = self.start("call", "$.Ask", "question")
            address, payload = replier.next()
            self.assertEqual(payload, b"question")
            replier.sendto(reply, address)
            assert call.process.stdout
            self.assertEqual(call.process.stdout.read(), reply)
            self.assertEqual(self.ended(call)[1], "")

    def test_takes_a_reply_as_large_as_the_bus_allows(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask")
        replier.sendto(b"x" * 65536, replier.next()[0])
        self.assertEqual(self.ended(call)[0], "x" * 65536)

    def test_json(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask", "--json")
        replier.sendto(b"yes", replier.next()[0])
        out, _ = self.ended(call)
        for member in ('"kind":"reply"', f'"sender":"{replier.peer}"', '"text":"yes"', '"error":false'):
            self.assertIn(member, out)

    def test_nobody_is_replier(self) -> None:
        self.refused(6, "call", "$.Nobody", words=("$.Nobody", "nobody is replier"))

    def test_a_replier_that_goes_before_it_reads(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask")
        replier.has_unread(1)
        peer = replier.peer
        replier.close()
        self.is_sentence(self.ended(call, 10)[1], (f"peer {peer}", "closed before"))

    def test_a_replier_that_dies_with_the_request(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask")
        replier.next()
        replier.close()
        self.is_sentence(self.ended(call, 11)[1], "gave no reply")

    def test_a_replier_that_gives_up_the_name(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask")
        replier.has_unread(1)
        replier.setsockopt(SOL_KBUS, UNREPLIER, b"$.Ask")
        self.is_sentence(self.ended(call, 12)[1], "gave up the name")

    def test_a_reply_that_says_it_failed(self) -> None:
        replier = self.join(reply="$.Ask")
        for sentence, words in ((b"no disk", "no disk"), (b"\x1b[2J", "does not say why")):
            call = self.start("call", "$.Ask")
            replier.fails(replier.next()[0], sentence)
            out, err = self.ended(call, 14)
            self.assertEqual(out, "")
            self.is_sentence(err, (f"peer {replier.peer}", words))

    def test_no_reply_in_time(self) -> None:
        replier = self.join(reply="$.Ask")
        self.refused(5, "call", "$.Ask", "--timeout", "1ms", words=("$.Ask", "0.001 s"))
        # Its socket is closed: nobody waits.
        address, _ = replier.next()
        with self.assertRaises(OSError):
            replier.sendto(b"late", address)

    def test_to_one_peer(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask", "--to", replier.peer)
        replier.sendto(b"me", replier.next()[0])
        self.assertEqual(self.ended(call)[0], "me")
        self.refused(15, "call", "$.Ask", "--to", "ffffffff", words="another socket now")

    def test_a_full_replier(self) -> None:
        replier = self.join(reply="$.Ask", queue=1)
        replier.listen_to("$.Fill")
        self.ok("send", "$.Fill")
        self.refused(7, "call", "$.Ask", words=("$.Ask", "full"))

    def test_ctrl_c_ends_it(self) -> None:
        replier = self.join(reply="$.Ask")
        call = self.start("call", "$.Ask")
        replier.next()
        call.interrupt()
        self.assertEqual(call.end()[0], -2)

    def test_urgent(self) -> None:
        replier = self.join(reply="$.Ask")
        calls = [self.start("call", "$.Ask", "first")]
        replier.has_unread(1)
        calls.append(self.start("call", "$.Ask", "second", "--urgent"))
        replier.has_unread(2)
        for expected in (b"second", b"first"):
            address, payload = replier.next()
            self.assertEqual(payload, expected)
            replier.sendto(b"", address)
        for call in calls:
            self.ended(call)


class Wait(Case):
    def test_somebody_is_there(self) -> None:
        replier = self.join(reply="$.A.*")
        self.assertEqual(self.ok("wait", "$.A.B"), "")
        self.assertEqual(
            self.json("wait", "$.A.B", "$.A.C"),
            [{"name": "$.A.B", "replier": replier.peer}, {"name": "$.A.C", "replier": replier.peer}],
        )

    def test_somebody_comes(self) -> None:
        first = self.join(reply="$.A")
        waiting = self.start("wait", "$.A", "$.B")
        # It is on the bus, and waits.
        while self.members(first) < 2:
            pass
        self.assertIsNone(waiting.process.poll())
        self.join(reply="$.B")
        self.assertEqual(self.ended(waiting), ("", ""))

    def members(self, bus: object) -> int:
        with open("/proc/net/kbus") as file:
            return sum(line.split()[0] == self.bus for line in file)

    def test_nobody_comes(self) -> None:
        self.refused(5, "wait", "$.A", "--timeout", "1ms", words=("$.A", "nobody is replier"))
        self.refused(5, "wait", "$.A", "--timeout", "0", words="$.A")

    def test_ctrl_c(self) -> None:
        waiting = self.start("wait", "$.A")
        while self.caught(waiting.process.pid) & 1 << 1 == 0:
            pass
        waiting.interrupt()
        self.assertEqual(self.ended(waiting, 130), ("", ""))

    def caught(self, pid: int) -> int:
        """The mask of the signals that it has handlers for."""
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
