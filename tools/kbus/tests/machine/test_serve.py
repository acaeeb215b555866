# SPDX-License-Identifier: GPL-2.0
"""kbus serve, mostly with kbus call at the other end."""

import json
import os
import signal
import tempfile
import time

from support import REQUEST
from support import SEND_FLAGS
from support import SOL_KBUS
from support import Case

ALL_BYTES = bytes(range(256))


class Serve(Case):
    def test_the_payload_is_stdin_and_stdout_the_reply(self) -> None:
        self.serving("$.Upper", "--", "tr", "a-z", "A-Z")
        self.assertEqual(self.ok("call", "$.Upper", "hello"), "HELLO")
        self.assertEqual(self.ok("call", "$.Upper", "again"), "AGAIN")

    def test_bytes_both_ways(self) -> None:
        self.serving("$.Cat", "--", "cat")
        for payload in (ALL_BYTES, b"", bytes(65536)):
            self.assertEqual(self.run_it("call", "$.Cat", "-", input=payload)[0], payload)

    def test_a_command_that_does_not_read(self) -> None:
        self.serving("$.True", "--", "echo", "done")
        self.assertEqual(self.ok("call", "$.True", "-", input=bytes(65536)), "done\n")

    def test_environment(self) -> None:
        text = '"$KBUS_BUS $KBUS_NAME $KBUS_SENDER $KBUS_REQUEST $KBUS_SENDER_PID $KBUS_SENDER_UID"'
        self.serving("$.A.*", "--", "sh", "-c", f"echo {text}")
        asker = self.join()
        asker.setsockopt(SOL_KBUS, SEND_FLAGS, REQUEST)
        asker.sendto(b"", "$.A.B")
        bus, name, sender, request, pid, uid = asker.next()[1].decode().split()
        self.assertEqual((bus, name, sender), (self.bus, "$.A.B", asker.peer))
        self.assertEqual((int(pid), uid), (os.getpid(), "0"))
        self.assertGreater(int(request, 16), 0)

    def test_a_failing_command_is_an_error_reply(self) -> None:
        server = self.serving("$.Fail", "--", "sh", "-c", "echo partly; exit 3")
        self.refused(14, "call", "$.Fail", words="sh failed with exit status 3")
        out, _ = self.run_it("--json", "call", "$.Fail", code=14)
        reply = json.loads(out)
        self.assertEqual((reply["error"], reply["text"]), (True, "sh failed with exit status 3"))
        server.interrupt()
        err = self.ended(server)[1].splitlines()
        self.assertIn("sh failed with exit status 3", err[0])
        self.assertEqual(err[-1], "kbus: 2 requests answered, 2 of them by an error")

    def test_a_command_that_is_killed(self) -> None:
        self.serving("$.Kill", "--", "sh", "-c", "kill -9 $$")
        self.refused(14, "call", "$.Kill", words="was ended by signal 9")

    def test_a_command_that_has_gone_meanwhile(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as file:
            file.write("#!/bin/sh\necho here\n")
        os.chmod(file.name, 0o755)
        self.serving("$.A", "--", file.name)
        self.assertEqual(self.ok("call", "$.A"), "here\n")
        os.unlink(file.name)
        self.refused(14, "call", "$.A", words=("cannot run", "No such file"))

    def test_a_reply_that_is_too_long(self) -> None:
        self.serving("$.Long", "--", "head", "-c", "70000", "/dev/zero")
        self.refused(14, "call", "$.Long", words=("head", "65536 bytes that the bus allows"))
        # What never ends is ended.
        self.serving("$.Endless", "--", "cat", "/dev/zero")
        self.refused(14, "call", "$.Endless", words="65536")

    def test_a_reply_that_the_requester_has_no_room_for(self) -> None:
        self.serving("$.Room", "--", "head", "-c", "60000", "/dev/zero")
        asker = self.join()
        # Its queue takes no more bytes than it reserves.
        asker.setsockopt(1, 8, 2304)
        asker.listen_to("$.Fill")
        self.ok("send", "$.Fill", "x" * 5000)
        asker.setsockopt(SOL_KBUS, SEND_FLAGS, REQUEST)
        asker.sendto(b"", "$.Room")
        asker.has_unread(2)
        asker.next()
        payload, control, _, _ = asker.recvmsg(70000, 1000)
        self.assertEqual(payload, b"the reply has 60000 bytes, more than the requester has room for")
        flags = int.from_bytes(control[0][2][44:48], "little")
        self.assertEqual(flags >> 31, 1)

    def test_a_command_that_takes_too_long(self) -> None:
        self.serving("$.Slow", "--timeout", "10ms", "--", "sh", "-c", "sleep 1000; echo x")
        self.refused(14, "call", "$.Slow", words="sh took longer than 0.01 s")
        # Also one that has closed its output.
        self.serving("$.Shut", "--timeout", "300ms", "--", "sh", "-c", "exec >&-; sleep 1000")
        self.refused(14, "call", "$.Shut", words="sh took longer than 0.3 s")
        # And nothing that it has started goes on.
        while self.sleepers():
            time.sleep(0.01)

    def sleepers(self) -> list[str]:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    if file.read().startswith("sleep\x001000"):
                        found.append(pid)
            except OSError:
                pass
        return found

    def test_echo(self) -> None:
        self.serving("$.Echo", "--echo")
        self.assertEqual(self.run_it("call", "$.Echo", "-", input=ALL_BYTES)[0], ALL_BYTES)

    def meet(self) -> str:
        """A command that answers only once two of it run."""
        folder = tempfile.mkdtemp()
        return (
            f'touch {folder}/$KBUS_REQUEST; while [ $(ls {folder} | wc -l) -lt 2 ]; '
            "do sleep 0.01; done; echo met"
        )

    def test_parallel(self) -> None:
        self.serving("$.Meet", "--parallel", "2", "--", "sh", "-c", self.meet())
        calls = [self.start("call", "$.Meet") for _ in range(2)]
        for call in calls:
            self.assertEqual(self.ended(call)[0], "met\n")

    def test_count(self) -> None:
        for options in ((), ("--parallel", "3")):
            server = self.serving("$.Few", "--count", "2", *options, "--echo")
            self.assertEqual(self.ok("call", "$.Few", "1"), "1")
            self.assertEqual(self.ok("call", "$.Few", "2"), "2")
            self.assertIn("2 requests answered", self.ended(server)[1])
            self.refused(6, "call", "$.Few")

    def test_what_comes_after_the_last_one_is_told_so(self) -> None:
        server = self.serving("$.Meet", "--count", "2", "--parallel", "2", "--", "sh", "-c", self.meet())
        first = self.start("call", "$.Meet")
        self.queue(owed=1, unread=0)
        self.stopped(server.process.pid)
        others = [self.start("call", "$.Meet") for _ in range(2)]
        self.queue(owed=1, unread=2)
        server.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.ended(first)[0], "met\n")
        # One is read, and the other one is not.
        self.assertEqual(sorted(other.end()[0] for other in others), [0, 12])
        self.ended(server)

    def test_one_at_a_time_and_the_others_wait(self) -> None:
        server = self.serving("$.Meet", "--", "sh", "-c", self.meet())
        first = self.start("call", "$.Meet")
        self.queue(owed=1, unread=0)
        second = self.start("call", "$.Meet")
        self.queue(owed=1, unread=1)
        # Whoever was not read is told when it ends.
        server.process.send_signal(signal.SIGTERM)
        self.is_sentence(self.ended(second, 12)[1], "gave up the name")
        self.assertIsNone(first.process.poll())
        # A second signal ends the command, and its requester is told as well.
        server.process.send_signal(signal.SIGTERM)
        self.is_sentence(self.ended(first, 14)[1], "was ended by signal 9")
        self.assertIn("1 request answered, 1 of them by an error", self.ended(server, 130)[1])

    def queue(self, **wanted: int) -> None:
        """Waits until the replier's queue is so."""
        columns = {"unread": 4, "owed": 8}
        while True:
            with open("/proc/net/kbus") as file:
                lines = [line.split() for line in file if line.startswith(self.bus)]
            for line in lines:
                if all(int(line[columns[what]]) == count for what, count in wanted.items()):
                    return
            time.sleep(0.01)

    def test_ctrl_c_lets_it_finish_what_it_does(self) -> None:
        folder = tempfile.mkdtemp()
        go = f"while [ ! -e {folder}/go ]; do sleep 0.01; done; echo finished"
        server = self.serving("$.A", "--", "sh", "-c", go)
        call = self.start("call", "$.A")
        self.queue(owed=1)
        server.interrupt()
        # It has given up the name.
        while self.has_replier():
            time.sleep(0.01)
        with open(f"{folder}/go", "w"):
            pass
        self.assertEqual(self.ended(call)[0], "finished\n")
        self.assertEqual(self.ended(server)[1], "kbus: 1 request answered, 0 of them by an error\n")

    def has_replier(self) -> bool:
        with open("/proc/net/kbus_bindings") as file:
            return any(line.startswith(self.bus) for line in file)

    def test_json_has_a_line_for_each_request(self) -> None:
        server = self.serving("$.A", "--echo", "--json")
        self.ok("call", "$.A", "abc")
        line = json.loads(server.line())
        self.assertEqual((line["name"], line["len"], line["reply_len"], line["error"]), ("$.A", 3, 3, None))

    def test_verbose(self) -> None:
        server = self.serving("$.A", "--echo", "--verbose")
        self.ok("call", "$.A", "abc")
        server.interrupt()
        self.assertRegex(self.ended(server)[1], r"^kbus: \$\.A of peer [0-9a-f]+: 3 bytes in ")

    def test_a_closed_stdout_does_not_matter_to_it(self) -> None:
        server = self.serving("$.A", "--echo")
        assert server.process.stdout
        server.process.stdout.close()
        server.process.stdout = None
        self.assertEqual(self.ok("call", "$.A", "abc"), "abc")

    def test_what_it_refuses(self) -> None:
        self.join(reply="$.Taken")
        self.refused(16, "serve", "$.Taken", "--echo", words="$.Taken")
        self.refused(2, "serve", "$.A", "--", "no-such-command", words="no-such-command")
        self.refused(2, "serve", "$.A", words="COMMAND")
        self.refused(2, "serve", "$.A", "--echo", "--", "cat", words="--echo")
        self.refused(2, "serve", "$.A", "--echo", "--parallel", "0", words="--parallel")
        self.refused(4, "serve", "$.KBUS.X", "--echo", words="the bus's own")
