# SPDX-License-Identifier: GPL-2.0
"""observe.test: the commands that observe, on buses with traffic. Usage: machine.py COMMAND"""

import errno
import fcntl
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

import kbus
import recording

COMMAND = sys.argv.pop(1)
# Against hanging only: no verdict depends on it.
LIMIT = 100
numbers = itertools.count()
SOL, SEND_FLAGS, ALL_OR_FAIL, ALL_OR_WAIT, QUEUE_LEN, BUS_BYTES, REPLY_MAX = 0x6B62, 6, 4, 8, 14, 22, 15


def sysctl(name, value=None):
    path = f"/proc/sys/net/kbus/{name}"
    if value is not None:
        with open(path, "w") as file:
            file.write(f"{value}\n")
    with open(path) as file:
        return int(file.read())


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


class Case(unittest.TestCase):
    """Each test has a bus of its own."""

    def setUp(self):
        signal.alarm(LIMIT)
        self.bus = f"@observe-{next(numbers)}"
        self.folder = tempfile.mkdtemp()
        self.running = []

    def tearDown(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
            for file in (process.stdout, process.stderr):
                file.close()
        signal.alarm(0)

    def join(self, bus=None):
        socket = kbus.Socket(bus or self.bus)
        self.addCleanup(socket.close)
        return socket

    def option(self, socket, name, value, size=4):
        self.raw(socket).setsockopt(SOL, name, value.to_bytes(size, sys.byteorder))

    def raw(self, socket):
        import socket as standard

        raw = standard.socket(fileno=os.dup(socket.fileno()))
        self.addCleanup(raw.close)
        return raw

    def arguments(self, args, bus):
        return [COMMAND, *args, "--bus", bus or self.bus]

    def run_command(self, *args, bus=None, code=0, before=(), **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run([*before, *self.arguments(args, bus)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT, **more)
        self.assertEqual(result.returncode, code, f"{args}: {result.stdout}{result.stderr}")
        return result

    def start(self, *args, bus=None, **more):
        """Starts a command, and waits until it says that it is ready."""
        process = subprocess.Popen(self.arguments(args, bus), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.running.append(process)
        if "--ready" in args:
            self.assertEqual(process.stderr.readline(), "ready\n")
        return process

    def finish(self, process, code=0, how=signal.SIGINT):
        """Ends it as Ctrl-C does: what it has written."""
        if how:
            process.send_signal(how)
        out, err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def path(self, name):
        return os.path.join(self.folder, name)

    def replier(self, name, act=lambda data: data.upper(), count=1):
        """A thread that answers so many requests."""
        socket = self.join()
        socket.become_replier(name)

        def serve():
            for _ in range(count):
                request = socket.receive(timeout=LIMIT)
                answer = act(request.data)
                request.ignore() if answer is None else request.reply(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, LIMIT)
        return socket


class Monitor(Case):
    def test_shows_all_kinds_and_joins_replies(self):
        """Announcements, requests and replies are shown in their order, a reply with the time since its request."""
        process = self.start("monitor", "--json", "--ready")
        replier, client = self.replier("$.Echo"), self.join()
        client.announce("$.Sensors.Kitchen", b"21 C")
        self.assertEqual(client.call("$.Echo", b"hello", timeout=LIMIT).data, b"HELLO")
        client.announce("$.Raw", b"\xff\0")
        lines = objects(self.finish(process)[0])
        self.assertEqual([line["kind"] for line in lines], ["announcement", "request", "reply", "announcement", "summary"])
        news, request, reply, raw, summary = lines
        self.assertEqual([news[key] for key in ("name", "text", "len", "pid", "uid")], ["$.Sensors.Kitchen", "21 C", 4, os.getpid(), 0])
        self.assertEqual(news["sender"], f"{client.peer_id:x}")
        self.assertEqual(reply["in_reply_to"], request["id"])
        self.assertEqual(reply["after_ns"], reply["time_ns"] - request["time_ns"])
        self.assertEqual((reply["sender"], reply["text"]), (f"{replier.peer_id:x}", "HELLO"))
        self.assertEqual(raw["hex"], "ff00")
        self.assertEqual([summary[key] for key in ("messages", "missed", "requests", "without_reply")], [4, 0, 1, 0])

    def test_lines_for_people(self):
        """A line says what JSON says, has no colours off a terminal, and lets no payload change the terminal."""
        process = self.start("monitor", "--ready")
        self.replier("$.Echo")
        client = self.join()
        client.announce("$.Evil", b"\x1b[31mred")
        client.call("$.Echo", b"a\nb", timeout=LIMIT)
        out, err = self.finish(process)
        self.assertNotIn("\x1b", out)
        evil, request, reply = out.splitlines()
        self.assertIn("hex 1b5b33316d726564", evil)
        self.assertRegex(request, r"request .*\$\.Echo  3 bytes: a\\nb$")
        self.assertRegex(reply, r"reply .* answers #[0-9a-f]+ after [0-9.]+ (ns|µs|ms|s)$")
        self.assertIn("3 messages, 0 missed", err)

    def test_patterns_and_count(self):
        """It shows what its patterns match, each message once, and ends after as many as were asked for."""
        process = self.start("monitor", "--json", "--ready", "-n", "2", "$.A.*", "$.A.B")
        client = self.join()
        for name in ("$.X", "$.A.B", "$.A.C", "$.A.D"):
            client.announce(name, b"")
        lines = objects(self.finish(process, how=None)[0])
        self.assertEqual([line.get("name") for line in lines], ["$.A.B", "$.A.C", None])

    def test_not_leaves_out(self):
        """What --not matches is neither shown, counted nor put in a file."""
        process = self.start("monitor", "--json", "--ready", "-n", "2", "--not", "$.Log.*", "--not", "$.X", "--pcap", self.path("not.pcapng"))
        client = self.join()
        for name in ("$.X", "$.A", "$.Log.B", "$.Log", "$.B"):
            client.announce(name, b"")
        lines = objects(self.finish(process, how=None)[0])
        self.assertEqual([line.get("name") for line in lines], ["$.A", "$.Log", None])
        read = self.run_command("monitor", "--json", "--read", self.path("not.pcapng"), "--not", "$.A").stdout
        self.assertEqual([line.get("name") for line in objects(read)], ["$.Log", None])
        self.assertTrue(self.run_command("monitor", "--not", "A.B", code=2).stderr)

    def test_no_sender_fails_because_of_it(self):
        """A monitor that does not read misses messages, and says where; senders that want all or none go on."""
        most = sysctl("max_queue_len")
        sysctl("max_queue_len", 16)
        try:
            process = self.start("monitor", "--json", "--ready")
        finally:
            sysctl("max_queue_len", most)
        client = self.join()
        process.send_signal(signal.SIGSTOP)
        self.option(client, SEND_FLAGS, ALL_OR_FAIL)
        for number in range(50):
            client.announce("$.News", b"%d" % number)
        process.send_signal(signal.SIGCONT)
        # The monitor is told of what it missed before this one comes.
        lines = []
        client.announce("$.End", b"")
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1].get("name") == "$.End" or lines[-1]["kind"] == "lost":
                break
        self.finish(process)
        got = [line["text"] for line in lines if line.get("name") == "$.News"]
        self.assertEqual(got, [str(number) for number in range(len(got))])
        missed = sum(line["lost"] for line in lines)
        self.assertGreaterEqual(missed, 50 - len(got))
        self.assertGreaterEqual(len(got), 16)
        self.assertGreater(missed, 0)

    def test_a_status_is_not_seen(self):
        """A status goes to its requester alone: the monitor counts the request as one without a reply, and says why."""
        process = self.start("monitor", "--ready")
        self.replier("$.Shy", lambda data: None)
        client = self.join()
        with self.assertRaises(kbus.StatusError):
            client.call("$.Shy", b"", timeout=LIMIT)
        out, err = self.finish(process)
        self.assertEqual(len(out.splitlines()), 1)
        self.assertIn("1 of 1 requests had no reply", err)
        self.assertRegex(err, r"without a reply: #[0-9a-f]+ \$\.Shy of peer [0-9a-f]+")

    def test_pcap(self):
        """--pcap writes one packet for each message, with the times of sending; --read shows the same again."""
        process = self.start("monitor", "--json", "--ready", "--pcap", self.path("a.pcapng"))
        self.replier("$.Echo")
        client = self.join()
        client.announce("$.A", b"x" * 1000, urgent=True, user=0x1234)
        client.call("$.Echo", b"hello", timeout=LIMIT)
        out = self.finish(process)[0]
        with open(self.path("a.pcapng"), "rb") as file:
            packets = recording.read_pcapng(file.read())
        lines = objects(out)
        self.assertEqual([time for time, _ in packets], [line["time_ns"] for line in lines[:-1]])
        self.assertEqual([packet["name"] for _, packet in packets], ["$.A", "$.Echo", "$.Echo"])
        first = packets[0][1]
        self.assertEqual((first["payload"], first["flags"], first["pid"]), (b"x" * 1000, 0x12340002, os.getpid()))
        self.assertEqual(packets[2][1]["answers"], packets[1][1]["id"])
        self.assertEqual(self.run_command("monitor", "--json", "--read", self.path("a.pcapng")).stdout, out)

    def test_pcap_to_a_pipe(self):
        """--pcap - writes the packets to the standard output, and nothing between them."""
        process = subprocess.Popen(self.arguments(["monitor", "--ready", "--pcap", "-", "-n", "1"], None), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(process)
        self.assertEqual(process.stderr.readline(), b"ready\n")
        self.join().announce("$.A", b"")
        out, _ = process.communicate(timeout=LIMIT)
        self.assertEqual([packet["name"] for _, packet in recording.read_pcapng(out)], ["$.A"])

    def test_a_closed_pipe_is_no_error(self):
        """When nobody reads its output any more it ends, with exit status 0 and no word."""
        process = self.start("monitor", "--ready")
        process.stdout.close()
        self.assertEqual(process.wait(LIMIT), 0)
        self.assertEqual(process.stderr.read(), "0 messages, 0 missed\n")
        process.stdout = open(os.devnull)

    def test_binds(self):
        """--binds shows repliers that come and go, also those that were there before."""
        first = self.join()
        first.become_replier("$.Old")
        process = self.start("monitor", "--json", "--ready", "--binds")
        second = self.join()
        second.become_replier("$.New")
        second.stop_replying("$.New")
        lines = [line for line in objects(self.finish(process)[0]) if line["kind"] == "event"]
        seen = [(line["replier"], line["pattern"], line["bound"]) for line in lines]
        self.assertEqual(seen, [(f"{first.peer_id:x}", "$.Old", True), (f"{second.peer_id:x}", "$.New", True), (f"{second.peer_id:x}", "$.New", False)])

    def test_bad_input(self):
        """A malformed pattern or bus, and a file that cannot be written, give one sentence and send nothing."""
        for args, code in [(["Kitchen"], 2), (["$.A.*.B"], 2), (["--pcap", "/nowhere/x"], 1), (["--timeout", "soon"], 2)]:
            self.assertTrue(self.run_command("monitor", *args, code=code).stderr)
        self.run_command("monitor", bus="@", code=2)


class Recording(Case):
    def make(self):
        process = self.start("record", "--ready", self.path("a.kbus"))
        replier, client = self.replier("$.Echo"), self.join()
        # What is urgent passes by others: as the first message it is always the first.
        client.announce("$.First", b"1", user=7, urgent=True)
        client.call("$.Echo", b"hello", timeout=LIMIT)
        client.announce("$.Second", bytes(range(256)))
        self.finish(process)
        replier.stop_replying("$.Echo")

    def heard(self, *args, code=0, count=None):
        """What a listener hears of a replay."""
        listener = self.join()
        listener.listen("$.*")
        result = self.run_command("replay", *args, code=code)
        heard = []
        while True:
            try:
                heard.append(listener.receive(timeout=0))
            except TimeoutError:
                return heard, result

    def test_what_is_recorded_is_all_there(self):
        """A recording has each message with all that a listener knows of it, its end, and right checksums."""
        self.make()
        with open(self.path("a.kbus"), "rb") as file:
            bus, packets = recording.read_record(file.read())
        self.assertEqual(bus, self.bus)
        seen = [(packet["kind"], packet["name"], packet["payload"]) for _, packet in packets]
        self.assertEqual(
            seen,
            [("announcement", "$.First", b"1"), ("request", "$.Echo", b"hello"), ("reply", "$.Echo", b"HELLO"), ("announcement", "$.Second", bytes(range(256)))],
        )
        times = [time for time, _ in packets]
        self.assertEqual(times, sorted(times))
        self.assertLess(abs(times[0] - time.time_ns()), 3600 * 10**9)

    def test_announcements_are_replayed(self):
        """Names, payloads, urgency and the sender's bits are those of the recording; requests and replies are left out."""
        self.make()
        heard, result = self.heard("--fast", self.path("a.kbus"))
        self.assertEqual([(m.name, m.data, m.user, m.urgent) for m in sorted(heard, key=lambda m: m.id)], [("$.First", b"1", 7, True), ("$.Second", bytes(range(256)), 0, False)])
        self.assertIn("2 announced, 2 left out", result.stderr)

    def test_requests_are_asked_on_demand(self):
        """--requests ask sends requests to whoever is replier now, and awaits the replies; recorded replies are left out."""
        self.make()
        self.replier("$.Echo", lambda data: data[::-1])
        result = self.run_command("replay", "--fast", "--json", "--requests", "ask", self.path("a.kbus"))
        summary = objects(result.stdout)[0]
        self.assertEqual([summary[key] for key in ("announced", "asked", "replies", "left_out")], [2, 1, 1, 1])

    def test_a_request_that_nobody_answers_is_left_out(self):
        """Without a replier a request cannot be asked: this is said, and the rest is replayed."""
        self.make()
        heard, result = self.heard("--fast", "--requests", "ask", self.path("a.kbus"))
        self.assertEqual(len(heard), 2)
        self.assertIn("nobody is replier", result.stderr)

    def test_requests_as_announcements(self):
        """--requests announce shows requests and replies to listeners, and nobody has to answer."""
        self.make()
        heard, _ = self.heard("--fast", "--requests", "announce", self.path("a.kbus"))
        self.assertEqual(sorted(m.data for m in heard if m.name == "$.Echo"), [b"HELLO", b"hello"])
        self.assertFalse([m for m in heard if isinstance(m, kbus.Copy)])

    def test_a_damaged_file_sends_nothing(self):
        """A file that is cut off is refused with the place before anything is sent; --damaged sends what is good."""
        self.make()
        with open(self.path("a.kbus"), "rb") as file:
            whole = file.read()
        with open(self.path("cut"), "wb") as file:
            file.write(whole[:-40])
        heard, result = self.heard("--fast", self.path("cut"), code=1)
        self.assertEqual(heard, [])
        self.assertRegex(result.stderr, r"at byte \d+: the file ends inside a record")
        self.assertIn("--damaged sends the 3 messages", result.stderr)
        heard, result = self.heard("--fast", "--damaged", self.path("cut"))
        self.assertEqual([m.name for m in heard], ["$.First"])

    def test_a_recorder_that_was_killed(self):
        """What was recorded before a kill can be replayed with --damaged."""
        process = self.start("record", "--ready", self.path("a.kbus"))
        client = self.join()
        client.announce("$.First", b"1")
        # It is written after half a second at most.
        end = time.monotonic() + LIMIT
        while os.path.getsize(self.path("a.kbus")) < 80 and time.monotonic() < end:
            time.sleep(0.05)
        self.finish(process, how=signal.SIGKILL, code=-signal.SIGKILL)
        heard, result = self.heard("--fast", "--damaged", self.path("a.kbus"))
        self.assertEqual([m.name for m in heard], ["$.First"])
        self.assertIn("the end of the recording is missing", result.stderr)

    def test_pauses(self):
        """Without --fast a message waits for its time, and Ctrl-C ends the wait with exit status 130."""
        hour = 3600 * 10**9
        packets = [(hour, recording.packet("announcement", "$.Now")), (2 * hour, recording.packet("announcement", "$.Later"))]
        with open(self.path("slow"), "wb") as file:
            file.write(recording.record(packets))
        listener = self.join()
        listener.listen("$.*")
        process = self.start("replay", self.path("slow"))
        self.assertEqual(listener.receive(timeout=LIMIT).name, "$.Now")
        self.finish(process, code=130)
        with self.assertRaises(TimeoutError):
            listener.receive(timeout=0)
        # A millionth of an hour is a moment.
        heard, _ = self.heard("--speed", "1000000", self.path("slow"))
        self.assertEqual([m.name for m in heard], ["$.Now", "$.Later"])
        for wrong in ("0", "-1", "nan", "fast"):
            self.run_command("replay", f"--speed={wrong}", self.path("slow"), code=2)

    def test_what_the_bus_says_is_not_replayed(self):
        """Events, statuses and news of lost messages are left out, whatever is asked for."""
        packets = [(1, recording.packet("event", "$.KBUS.ReplierBindEvent", sender=0)), (2, recording.packet("lost", "$.KBUS.Lost", lost=3)), (3, recording.packet("announcement", "$.KBUS.Fake")), (4, recording.packet("status", "$.A", error=1))]
        with open(self.path("own"), "wb") as file:
            file.write(recording.record(packets))
        heard, result = self.heard("--fast", "--requests", "announce", self.path("own"))
        self.assertEqual(heard, [])
        self.assertIn("0 announced, 4 left out", result.stderr)


class Doctor(Case):
    def findings(self, *args, code=0, **more):
        return objects(self.run_command("doctor", "--json", *args, code=code, **more).stdout)

    def problems(self, **more):
        return [finding for finding in self.findings(code=1, **more) if finding["level"] == "problem"]

    def test_all_is_well(self):
        """On a machine with the module and nothing wrong: exit status 0, and no problem."""
        findings = self.findings()
        self.assertEqual({finding["level"] for finding in findings} - {"ok", "note"}, set())
        self.assertEqual(len([finding for finding in findings if finding["check"] in ("module", "family", "literal")]), 3)
        # What is not well has a command that mends it.
        self.assertTrue(all(finding["mend"] for finding in findings if finding["level"] != "ok"))
        self.assertIn("All is well.", self.run_command("doctor").stdout)

    def test_it_makes_no_bus(self):
        """To look at a bus that nobody is on does not make it."""
        self.assertIn(f"nobody is on {self.bus} yet", self.run_command("doctor").stdout)
        self.run_command("doctor", bus=self.path("bus"))
        self.run_command("why", "$.A", bus=self.path("bus"))
        self.assertFalse(os.path.exists(self.path("bus")))

    def test_no_new_privs(self):
        """In a task with no_new_privs the literal form is refused, and the reason is that one."""
        (problem,) = self.problems(before=["busybox", "setpriv", "--nnp"])
        self.assertEqual(problem["check"], "literal")
        self.assertIn("no_new_privs", problem["text"])
        self.assertIn("the libraries use it", problem["text"])
        self.assertIn("net.kbus.literal=2", problem["mend"])

    def test_literal_is_off(self):
        """Where net.kbus.literal is 0 that is the reason."""
        old = sysctl("literal")
        sysctl("literal", 0)
        try:
            (problem,) = self.problems()
        finally:
            sysctl("literal", old)
        self.assertIn("net.kbus.literal is 0", problem["text"])

    def test_a_full_queue(self):
        """A full queue is a problem that names its socket and process."""
        listener, client = self.join(), self.join()
        self.option(listener, QUEUE_LEN, 2)
        listener.listen("$.News")
        for _ in range(3):
            client.announce("$.News", b"")
        (problem,) = self.problems()
        self.assertEqual(problem["check"], "queues")
        self.assertIn(f"peer {listener.peer_id:x} of ", problem["text"])
        self.assertIn(f"[{os.getpid()}]", problem["text"])
        self.assertIn("2 waiting", problem["text"])
        self.assertIn(f"kbus why @{listener.peer_id:x}", problem["mend"])

    def test_a_path_that_was_removed(self):
        """A bus whose path was removed is a problem, and one in /tmp is noted."""
        path = tempfile.mkdtemp(dir="/tmp") + "/bus"
        self.join(path)
        os.unlink(path)
        problem = next(problem for problem in self.problems() if problem["check"] == "paths")
        self.assertIn(f"the path of {path} was removed", problem["text"])

    def test_budgets(self):
        """A user near the end of a budget is a problem that names the sysctl."""
        listener, client = self.join(), self.join()
        listener.listen("$.News")
        old = sysctl("user_messages")
        try:
            for _ in range(50):
                client.announce("$.News", b"")
            sysctl("user_messages", 60)
            problem = next(problem for problem in self.problems() if problem["check"] == "limits")
        finally:
            sysctl("user_messages", old)
        self.assertIn("user 0 has 50 messages", problem["text"])
        self.assertIn("net.kbus.user_messages", problem["mend"])

    def test_a_bus_that_admits_nobody(self):
        """A bus that this user may not join is a problem."""
        owner = self.join()
        self.option(owner, 23, 0o600)
        problem = next(problem for problem in self.problems(user=1000) if problem["check"] == "bus")
        self.assertIn("cannot be joined", problem["text"])

    def test_no_module(self):
        """Without the module: exit status 3, and the command that loads it."""
        subprocess.run(["rmmod", "kbus"], check=True)
        try:
            (finding,) = self.findings(code=3)
            for command in (["monitor"], ["why", "$.A"], ["top", "--batch", "1"], ["bench"]):
                result = self.run_command(*command, code=3)
                self.assertEqual(len([line for line in result.stderr.splitlines() if not line.startswith("hint")]), 1)
        finally:
            subprocess.run(["insmod", "/kbus.ko"], check=True)
        self.assertEqual((finding["level"], finding["check"]), ("problem", "module"))
        self.assertIn("modprobe kbus", finding["mend"])


class Why(Case):
    def answers(self, subject, **more):
        return objects(self.run_command("why", "--json", str(subject), **more).stdout)

    def trouble(self, subject, error, **more):
        answers = self.answers(subject, **more)
        found = [answer for answer in answers if answer["trouble"] and answer["error"] == error]
        self.assertTrue(found, f"{error} is not among {answers}")
        return found[0]

    def test_no_replier(self):
        """Nobody is replier: EADDRNOTAVAIL, as the kernel says."""
        client = self.join()
        with self.assertRaises(OSError) as caught:
            client.request("$.Nobody", b"")
        self.assertEqual(caught.exception.errno, errno.EADDRNOTAVAIL)
        self.assertIn("nobody is replier for $.Nobody", self.trouble("$.Nobody", "EADDRNOTAVAIL")["text"])

    def test_a_full_replier(self):
        """A replier's full queue: EBUSY, with the socket, its process, and the wildcard by which it answers."""
        replier, client = self.join(), self.join()
        self.option(replier, QUEUE_LEN, 1)
        replier.become_replier("$.Slow.*")
        client.request("$.Slow.A", b"")
        with self.assertRaises(OSError) as caught:
            client.request("$.Slow.B", b"")
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        answer = self.trouble("$.Slow.B", "EBUSY")
        self.assertEqual(answer["peer"], f"{replier.peer_id:x}")
        self.assertIn("($.Slow.*)", answer["text"])
        self.assertIn(f"[{os.getpid()}]", answer["text"])
        self.assertIn("1 waiting", answer["text"])

    def test_a_full_listener(self):
        """A listener's full queue is why ALL_OR_FAIL fails; once it has read nothing is full."""
        listener, client = self.join(), self.join()
        self.option(listener, QUEUE_LEN, 1)
        listener.listen("$.News")
        client.announce("$.News", b"")
        self.option(client, SEND_FLAGS, ALL_OR_FAIL)
        with self.assertRaises(OSError) as caught:
            client.announce("$.News", b"")
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assertEqual(self.trouble("$.News", "EBUSY")["peer"], f"{listener.peer_id:x}")
        listener.receive(timeout=0)
        self.assertFalse([answer for answer in self.answers("$.News") if answer["error"] == "EBUSY"])

    def test_missed_messages(self):
        """What a listener has missed is told."""
        listener, client = self.join(), self.join()
        self.option(listener, QUEUE_LEN, 1)
        listener.listen("$.News")
        for _ in range(4):
            client.announce("$.News", b"")
        self.assertTrue([answer for answer in self.answers("$.News") if "missed 3 messages" in answer["text"]])

    def test_ones_own_queue(self):
        """A requester whose own queue has no place for the reply: ENOBUFS, told by its process."""
        replier, client = self.join(), self.join()
        replier.become_replier("$.Slow")
        self.option(client, QUEUE_LEN, 1)
        client.request("$.Slow", b"")
        with self.assertRaises(OSError) as caught:
            client.request("$.Slow", b"")
        self.assertEqual(caught.exception.errno, errno.ENOBUFS)
        answer = self.trouble(os.getpid(), "ENOBUFS")
        self.assertIn("1 reserved for replies, of 1", answer["text"])
        self.assertIn("answers that it waits for: 1", " ".join(a["text"] for a in self.answers(f"@{client.peer_id:x}")))

    def test_a_send_that_waits(self):
        """A process that waits inside a send, and the full queue of somebody else on its bus."""
        listener = self.join()
        self.option(listener, QUEUE_LEN, 1)
        listener.listen("$.News")
        script = f"import socket as s; b = s.socket(1, 2, {SOL}); b.bind('\\0{self.bus[1:]}'); b.setsockopt({SOL}, {SEND_FLAGS}, {ALL_OR_WAIT}); [b.sendto(b'', '$.News') for _ in range(2)]"
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(process)
        end = time.monotonic() + LIMIT
        while True:
            result = subprocess.run(self.arguments(["why", "--json", str(process.pid)], None), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            texts = [answer["text"] for answer in objects(result.stdout) if answer["trouble"]]
            seen = [text for text in texts if text.startswith(f"peer {listener.peer_id:x}, ")]
            if seen and any("waits inside a send" in text for text in texts):
                break
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), end, texts)
            time.sleep(0.05)
        self.assertIn("(1 waiting and 0 reserved for replies, of 1)", seen[0])
        listener.receive(timeout=0)
        self.assertEqual(process.wait(LIMIT), 0)

    def test_the_bytes_of_a_bus(self):
        """A bus whose bytes are used up: EDQUOT."""
        listener, client = self.join(), self.join()
        self.option(client, BUS_BYTES, 100_000, 8)
        listener.listen("$.News")
        for _ in range(3):
            client.announce("$.News", bytes(30_000))
        self.assertIn("KBUS_BUS_BYTES", self.trouble("$.News", "EDQUOT")["text"])

    def test_the_budget_of_a_user(self):
        """A queue that is full since its user's budget is used up says so."""
        listener, client = self.join(), self.join()
        listener.listen("$.News")
        for _ in range(30):
            client.announce("$.News", b"")
        old = sysctl("user_messages")
        sysctl("user_messages", 40)
        try:
            self.option(client, SEND_FLAGS, ALL_OR_FAIL)
            with self.assertRaises(OSError) as caught:
                client.announce("$.News", b"")
            answer = self.trouble("$.News", "EBUSY")
        finally:
            sysctl("user_messages", old)
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        self.assertIn("net.kbus.user_messages", answer["text"])

    def test_what_another_user_may_see(self):
        """A user without privileges is told that there is more to see; nothing of others is shown."""
        listener = self.join()
        listener.listen("$.News")
        text = self.run_command("why", "$.News", user=1000).stdout
        self.assertIn("hidden from this user", text)
        self.assertNotIn(f"[{os.getpid()}]", text)

    def test_bad_subjects(self):
        """A malformed name, a process that is not there, a peer that is not there."""
        self.run_command("why", "Kitchen", code=2)
        self.run_command("why", "4000000", code=1)
        self.run_command("why", "@ffffffff", code=1)


class Bench(Case):
    def test_all_three(self):
        """Each kind of traffic is measured with both kinds of sockets, and percentiles ascend."""
        lines = objects(subprocess.run([COMMAND, "bench", "--json", "-n", "200", "-l", "3"], stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=True).stdout)
        self.assertEqual([(line["test"], line["sockets"]) for line in lines], list(itertools.product(["one-way", "round trip", "fan-out"], ["AF_UNIX", "KBUS"])))
        for line in lines:
            times = [line[key] for key in ("min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns")]
            self.assertEqual(times, sorted(times))
            self.assertGreater(times[0], 0)
            self.assertEqual(line["ratio"] is None, line["sockets"] == "AF_UNIX")

    def test_for_people(self):
        """The table has each of them, on the bus that is given; no payload and the largest one work."""
        for size in ("0", "65536"):
            text = self.run_command("bench", "-n", "20", "-p", size).stdout
            self.assertEqual(len(re.findall(r"KBUS takes [0-9.]+ times as long", text)), 3, text)


class Top(Case):
    def test_batch(self):
        """--batch prints so many pictures: rates by name and by socket, queues, bytes, missed, owed."""
        listener, client = self.join(), self.join()
        listener.listen("$.News")
        replier = self.join()
        replier.become_replier("$.Slow")
        process = self.start("top", "--json", "--batch", "2", "--every", "1s", "--ready")
        for _ in range(5):
            client.announce("$.News", b"12345678")
        client.request("$.Slow", b"")
        request = replier.receive(timeout=LIMIT)
        pictures = objects(self.finish(process, how=None)[0])
        self.assertEqual(len(pictures), 2)
        names = {row["name"]: row for row in pictures[1]["names"]}
        self.assertEqual((names["$.News"]["messages"], names["$.News"]["bytes"]), (5, 40))
        self.assertEqual(names["$.Slow"]["requests"], 1)
        sockets = {row["peer"]: row for row in pictures[1]["sockets"]}
        row = sockets[f"{listener.peer_id:x}"]
        self.assertEqual((row["unread"], row["bytes"], row["pid"]), (5, 40, os.getpid()))
        self.assertEqual(sockets[f"{client.peer_id:x}"]["sent"], 6)
        self.assertEqual(sockets[f"{client.peer_id:x}"]["reserved"], 1)
        self.assertEqual(sockets[f"{replier.peer_id:x}"]["owed"], 1)
        request.ignore()

    def test_text(self):
        """Without a terminal it asks for --batch; with it the picture is plain text."""
        listener = self.join()
        listener.listen("$.News")
        result = self.run_command("top", code=2)
        self.assertIn("--batch", result.stderr)
        text = self.run_command("top", "--batch", "1", "--every", "0.1s").stdout
        self.assertIn(f"{listener.peer_id:x}", text)
        self.assertNotIn("\x1b", text)

    def test_on_a_terminal(self):
        """On a terminal it draws the sockets, and q ends it and gives the terminal back."""
        if not os.path.ismount("/dev/pts"):
            subprocess.run(["busybox", "mount", "-t", "devpts", "devpts", "/dev/pts"], check=True)
        listener = self.join()
        listener.listen("$.News")
        terminal, end = os.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        arguments = self.arguments(["top", "--every", "0.1s"], None)
        environment = {**os.environ, "TERM": "xterm"}
        process = subprocess.Popen(arguments, stdin=end, stdout=end, stderr=subprocess.PIPE, env=environment, start_new_session=True)
        process.stdout = open(os.devnull)
        self.running.append(process)
        os.close(end)
        # Blanks are not drawn where there was nothing before: words are looked for.
        seen = b""
        while not all(word in seen for word in (b"unread", b"python3", str(os.getpid()).encode(), b"requests", b"quit")):
            seen += os.read(terminal, 65536)
        # What is drawn once more after a key has another order.
        os.write(terminal, b"r")
        again = b""
        while b"turned" not in again:
            again += os.read(terminal, 65536)
        os.write(terminal, b"q")
        while True:
            try:
                more = os.read(terminal, 65536)
            except OSError:
                break
            seen += more
        self.assertEqual(process.wait(LIMIT), 0)
        self.assertIn(b"\x1b[?1049h", seen)
        self.assertIn(b"\x1b[?1049l", seen)
        os.close(terminal)


def main():
    chosen = sys.argv[1:]
    loader = unittest.TestLoader()
    cases = []
    # Whoever takes the module away comes last.
    for kind in (Monitor, Recording, Why, Bench, Top, Doctor):
        cases += loader.loadTestsFromTestCase(kind)
    cases.sort(key=lambda case: case._testMethodName == "test_no_module")
    cases = [case for case in cases if not chosen or any(word in case.id() for word in chosen)]
    print(f"TAP version 14\n1..{len(cases)}", flush=True)
    failed = 0
    for number, case in enumerate(cases, 1):
        result = unittest.TestResult()
        case.run(result)
        bad = result.errors + result.failures
        failed += bool(bad)
        name = case.id().replace("__main__.", "").replace(".test_", "::").lower()
        print(f"{'not ok' if bad else 'ok'} {number} observe::{name}")
        for _, text in bad:
            print("\n".join(f"# {line}" for line in text.splitlines()))
        sys.stdout.flush()
    return 1 if failed or not cases else 0


sys.exit(main())
