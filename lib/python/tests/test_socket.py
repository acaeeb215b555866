# SPDX-License-Identifier: GPL-2.0
"""The blocking socket. Each test names the rule that it checks."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import kbus
from support import LIMIT, BusCase, child, fresh, outcome

LONG = "$." + ".".join(["Long"] * 180)
LONGEST = "$." + "a" * 998


class Announcements(BusCase):
    def test_reaches_those_who_listen_to_name_or_wildcard(self) -> None:
        exact, star, percent, sender = (self.join() for _ in range(4))
        exact.listen("$.A.B")
        star.listen("$.*")
        percent.listen("$.%")
        sender.announce("$.A.B", b"one")
        sender.announce("$.A", b"two")
        for listener, want in ((exact, [b"one"]), (star, [b"one", b"two"]), (percent, [b"two"])):
            got = [self.next(listener) for _ in want]
            self.assertEqual([message.data for message in got], want)
            self.assertEqual(listener.unread, 0)
            self.assertTrue(all(message.sender == sender.peer_id for message in got))
            self.assertTrue(all(type(message) is kbus.Announcement for message in got))

    def test_unlisten_removes_what_only_that_binding_let_in(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        bus.announce("$.A")
        bus.unlisten("$.A")
        self.assertEqual((bus.unread, bus.next_len), (0, None))
        with self.fails(errno.EINVAL, "$.A", "no such binding"):
            bus.unlisten("$.A")

    def test_once_is_one_copy(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        bus.listen("$.*")
        bus.announce("$.A")
        self.assertEqual(bus.unread, 2)
        bus.once = True
        bus.announce("$.A")
        self.assertEqual(bus.unread, 3)

    def test_urgent_comes_first(self) -> None:
        bus = self.join()
        bus.listen("$.*")
        for number in range(3):
            bus.announce("$.A", str(number))
        bus.announce("$.A", "first", urgent=True)
        got = [self.next(bus) for _ in range(4)]
        self.assertEqual([message.text for message in got], ["first", "0", "1", "2"])
        self.assertEqual([message.urgent for message in got], [True, False, False, False])

    def test_longer_urgent_one_does_not_cut_or_lose_anything(self) -> None:
        bus = self.join()
        bus.listen("$.*")
        bus.announce("$.A", b"short")
        bus.announce("$.A", bytes(60000), urgent=True)
        self.assertEqual([len(self.next(bus).data) for _ in range(2)], [60000, 5])

    def test_urgent_one_that_overtakes_is_not_cut(self) -> None:
        class Late:
            """The socket, on which an urgent message comes just before each read."""

            def __init__(self, real: socket.socket, say: Callable[[], None]) -> None:
                self.real, self.say = real, say

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

            def recvmsg(self, *args: int) -> Any:
                self.say()
                return self.real.recvmsg(*args)

        bus, sender = self.join(), self.join()
        bus.listen("$.*")
        bus.announce("$.A", b"short")
        late = Late(bus.sock, lambda: sender.announce("$.A", bytes(60000), urgent=True))
        setattr(bus, "_sock", late)
        self.assertEqual(len(self.next(bus).data), 60000)

    def test_all_or_fail_is_ebusy_and_nobody_gets_it(self) -> None:
        full, other = self.join(), self.join()
        full.queue_len = 1
        full.listen("$.A")
        other.listen("$.A")
        other.announce("$.A")
        with self.fails(errno.EBUSY, "announce $.A", "queue", "full"):
            other.announce("$.A", all_or_fail=True)
        self.assertEqual((full.unread, other.unread), (1, 1))

    def test_all_or_wait_ends_with_the_time_or_with_room(self) -> None:
        full = self.join()
        sender = self.join()
        full.queue_len = 1
        full.listen("$.A")
        sender.announce("$.A", "1")
        with self.assertRaisesRegex(TimeoutError, r"cannot announce \$.A: the 0 seconds are over"):
            sender.announce("$.A", "2", all_or_wait=True, timeout=0)
        thread = threading.Thread(
            target=lambda: sender.announce("$.A", "3", all_or_wait=True, timeout=LIMIT)
        )
        thread.start()
        self.assertEqual([self.next(full).text for _ in range(2)], ["1", "3"])
        thread.join()

    def test_what_is_missed_is_counted_and_told(self) -> None:
        bus = self.join()
        bus.queue_len = 1
        bus.listen("$.A")
        for _ in range(4):
            bus.announce("$.A")
        self.assertEqual(self.next(bus).lost, 0)
        bus.announce("$.A")
        self.assertEqual((self.next(bus).lost, bus.lost), (3, 3))
        bus.report_lost = True
        bus.announce("$.A")
        bus.announce("$.A")
        self.next(bus)
        told = self.next(bus)
        self.assertIsInstance(told, kbus.Lost)
        self.assertEqual((told.name, told.lost), ("$.KBUS.Lost", 1))

    def test_user_bits_via_and_time_go_through(self) -> None:
        bus = self.join()
        bus.pass_time = True
        bus.listen("$.A")
        via = kbus.Via(1, 2, 3, 1 << 63)
        bus.announce("$.A", user=0xBEEF, via=via)
        message = self.next(bus)
        self.assertEqual((message.user, message.via), (0xBEEF, via))
        assert message.time_ns is not None
        self.assertLess(abs(message.time_ns), 1 << 63)
        with self.assertRaises(ValueError):
            bus.announce("$.A", user=1 << 16)

    def test_payload_of_a_mebibyte_where_the_owner_allows(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        data = os.urandom(1 << 20)
        with self.fails(errno.EMSGSIZE, "larger than this bus allows"):
            bus.announce("$.A", data)
        bus.max_msg_size = 1 << 20
        bus.announce("$.A", data)
        self.assertEqual(bus.next_len, 1 << 20)
        # Allowed when it was sent: it is received whole.
        bus.max_msg_size = 100
        self.assertEqual(self.next(bus).data, data)

    def test_text_is_utf8(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        bus.announce("$.A", "21 °C")
        bus.announce("$.A", memoryview(b"\xff"))
        self.assertEqual([self.next(bus).text for _ in range(2)], ["21 °C", "\ufffd"])


class Passed(BusCase):
    def test_long_names_both_ways(self) -> None:
        for name in (LONG, LONGEST, "$." + "b" * 71, "$." + "b" * 72):
            server, client = self.join(fresh()), None
            server.become_replier(name)
            server.listen(name)
            client = self.join(server.bus)
            client.announce(name, "said")
            self.assertEqual(self.next(server).name, name)
            number = client.request(name, to=server.peer_id)
            request = self.request(server)
            self.assertEqual((request.name, request.to), (name, server.peer_id))
            request.reply("r")
            reply = self.reply(client)
            self.assertEqual((reply.name, reply.in_reply_to), (name, number))

    def test_descriptors_both_ways(self) -> None:
        server, client = self.join(), self.join()
        server.become_replier("$.File")
        server.pass_fds = client.pass_fds = True
        with tempfile.TemporaryFile() as there, tempfile.TemporaryFile() as back:
            there.write(b"there")
            there.flush()
            back.write(b"back")
            back.flush()
            client.request("$.File", fds=[there.fileno()])
            request = self.request(server)
            self.assertEqual(os.pread(request.fds[0], 10, 0), b"there")
            self.assertFalse(os.get_inheritable(request.fds[0]))
            request.reply(fds=[back.fileno(), there.fileno()])
            reply = self.reply(client)
            self.assertEqual([os.pread(fd, 10, 0) for fd in reply.fds], [b"back", b"there"])
            mine, closed = reply.fds.take(), reply.fds[0]
            reply.fds.close()
            with self.assertRaises(OSError):
                os.fstat(closed)
            os.close(mine)

    def test_copy_without_descriptors_says_so(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        bus.announce("$.A", fds=[0])
        message = self.next(bus)
        self.assertEqual((list(message.fds), message.had_fds), ([], True))

    def test_sockets_cannot_be_passed(self) -> None:
        bus = self.join()
        with self.fails(errno.EOPNOTSUPP, "cannot be passed"):
            bus.announce("$.A", fds=[bus.fileno()])

    def test_call_passes_descriptors(self) -> None:
        server, client = self.join(), self.join()
        server.become_replier("$.File")
        client.pass_fds = client.pass_credentials = True
        with open("/dev/null") as file:

            def handler(request: kbus.Request) -> None:
                request.reply("here", fds=[file.fileno()])

            thread = threading.Thread(target=lambda: server.serve(handler, count=1))
            thread.start()
            reply = client.call("$.File", timeout=LIMIT)
            thread.join()
        self.assertEqual((len(reply.fds), reply.text), (1, "here"))
        assert reply.credentials is not None
        self.assertEqual(reply.credentials.pid, os.getpid())

    def test_credentials_are_those_of_the_sender(self) -> None:
        bus = self.join()
        bus.pass_credentials = True
        bus.listen("$.Who")

        def says() -> None:
            os.setresgid(1234, 1234, 1234)
            os.setresuid(4321, 4321, 4321)
            kbus.Socket(self.bus).announce("$.Who")

        pid = child(says)
        self.assertEqual(outcome(pid), 0)
        self.assertEqual(self.next(bus).credentials, kbus.Credentials(pid, 4321, 1234))


class Refused(BusCase):
    def test_malformed_names_are_told_in_a_sentence(self) -> None:
        bus = self.join()
        for name in ("", "$", "$.", "A", "$.A.", "$..A", "$.A-B", "$.A@1", "$.A#1", "$.A\0B"):
            for act in (bus.listen, bus.become_replier, bus.announce, bus.request, bus.replier):
                with self.fails(errno.EBADMSG, "the name is malformed", "letters and digits"):
                    act(name)
        for name in ("$.*", "$.A.%"):
            with self.fails(errno.EBADMSG, "announce", "no wildcard"):
                bus.announce(name)
        with self.fails(errno.ENAMETOOLONG, "1000"):
            bus.announce("$." + "a" * 999)
        self.assertEqual(bus.bus_info.bindings, 0)

    def test_names_of_the_bus_are_its_own(self) -> None:
        with self.fails(errno.EPERM, "belong to the bus"):
            self.join().announce("$.KBUS.Mine")

    def test_no_permission(self) -> None:
        with kbus.Socket(self.bus, mode=0o600) as bus:
            self.assertEqual(bus.bus_mode, 0o600)

            def joins() -> None:
                os.setresuid(4321, 4321, 4321)
                with self.fails(errno.EACCES, f"join the bus {self.bus}", "may not write"):
                    kbus.Socket(self.bus)

            self.assertEqual(outcome(child(joins)), 0)

    def test_only_the_owner_sets_the_bus_up(self) -> None:
        self.join()

        def sets() -> None:
            os.setresuid(4321, 4321, 4321)
            bus = kbus.Socket(self.bus)
            with self.fails(errno.EPERM, "set max_msg_size", "only the owner"):
                bus.max_msg_size = 1000

        self.assertEqual(outcome(child(sets)), 0)

    def test_refused_program_is_told_both_causes(self) -> None:
        program = f"""if True:
            import kbus
            try:
                kbus.Socket({self.bus!r})
            except kbus.KbusError as error:
                print(error.errno, error)
        """
        # What a sandbox sets before it starts a program.
        command = ["setpriv", "--nnp", sys.executable, "-c", program]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.assertTrue(told.startswith(f"{errno.EPROTONOSUPPORT} cannot open a socket: "), told)
        self.assertIn("modprobe kbus", told)
        self.assertIn("net.kbus.literal", told)

    def test_what_is_no_bus(self) -> None:
        for bus in ("kbus-0", "@", ""):
            with self.assertRaisesRegex(ValueError, "is no bus: write"):
                kbus.Socket(bus or "\0")
        with self.fails(errno.ENAMETOOLONG, "107"):
            kbus.Socket("@" + "x" * 108)
        with self.fails(errno.ENOENT, "join the bus /none/bus"):
            kbus.Socket("/none/bus")
        with tempfile.NamedTemporaryFile() as file:
            with self.fails(errno.ECONNREFUSED, "no socket"):
                kbus.Socket(file.name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            with self.assertRaisesRegex(ValueError, "0x6b62"):
                kbus.Socket(sock=other)

    def test_queue_len_above_the_most(self) -> None:
        bus = self.join()
        with self.fails(errno.EPERM):
            bus.queue_len = 1 << 20
        with self.fails(errno.EINVAL, "out of range"):
            bus.queue_len = 0

    def test_no_room_for_the_reply(self) -> None:
        server, client = self.join(), self.join()
        server.become_replier("$.Echo")
        client.queue_len = 1
        client.request("$.Echo")
        with self.fails(errno.ENOBUFS, "reserved"):
            client.request("$.Echo")


class Joining(BusCase):
    def test_a_path_is_a_bus(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/bus"
            one, two = self.join(path), self.join(path)
            self.assertEqual(one.bus, path)
            two.listen("$.A")
            one.announce("$.A")
            self.assertEqual(self.next(two).sender, one.peer_id)
            two.become_replier("$.Echo")
            thread = threading.Thread(target=lambda: two.serve(lambda _: "path", count=1))
            thread.start()
            self.assertEqual(one.call("$.Echo", timeout=LIMIT).text, "path")
            thread.join()

    def test_bus_of_the_environment(self) -> None:
        os.environ["KBUS_BUS"] = self.bus
        self.addCleanup(os.environ.pop, "KBUS_BUS")
        with kbus.Socket() as bus:
            self.assertEqual(bus.bus, self.bus)
        del os.environ["KBUS_BUS"]
        with kbus.Socket() as bus:
            self.assertEqual(bus.bus, "@kbus-0")
        os.environ["KBUS_BUS"] = self.bus

    def test_socket_of_ones_own(self) -> None:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0x6B62)
        with kbus.Socket(self.bus, sock=raw) as bus:
            self.assertEqual((bus.fileno(), bus.bus), (raw.fileno(), self.bus))
            number = bus.fileno()
            back = bus.detach()
        with back:
            self.assertEqual(back.fileno(), number)
            self.assertEqual(kbus.Socket(sock=back).bus, self.bus)

    def test_closed_socket_says_so(self) -> None:
        bus = self.join()
        bus.close()
        bus.close()
        for timeout in (None, 1.0):
            with self.assertRaises(kbus.Closed):
                bus.receive(timeout)
        with self.fails(errno.EBADF, "closed"):
            bus.announce("$.A")
        self.assertIn("closed", repr(bus))

    def test_receive_in_no_time(self) -> None:
        with self.assertRaisesRegex(TimeoutError, "cannot receive: the 0 seconds are over"):
            self.join().receive(timeout=0)

    def test_iteration_ends_with_shutdown(self) -> None:
        bus = self.join()
        bus.listen("$.A")
        bus.announce("$.A", "1")
        names = []
        for message in bus:
            names.append(message.text)
            bus.shutdown()
        self.assertEqual(names, ["1"])


class Merging(BusCase):
    def test_three_buses_in_one_order(self) -> None:
        buses = [self.join(fresh()) for _ in range(3)]
        for bus in buses:
            bus.listen("$.*")
            bus.queue_len = 1000
        merge = kbus.Merge(*buses)

        def speaks() -> None:
            senders = [kbus.Socket(bus.bus) for bus in buses]
            for number in range(300):
                senders[(number * number + number // 7) % 3].announce("$.N", str(number))

        pid = child(speaks)
        got = [merge.receive(timeout=LIMIT)[1] for _ in range(300)]
        self.assertEqual([int(message.text) for message in got], list(range(300)))
        self.assertEqual(outcome(pid), 0)
        ids = [message.id for message in got]
        self.assertEqual(ids, sorted(ids))

    def test_older_message_of_a_bus_that_was_empty_comes_first(self) -> None:
        first, second = self.join(fresh()), self.join(fresh())
        senders = [self.join(bus.bus) for bus in (first, second)]
        first.listen("$.*")
        second.listen("$.*")
        real = second._receive_now

        def after_two_were_sent() -> kbus.Message | None:
            # The first bus has been found empty by now.
            setattr(second, "_receive_now", real)
            senders[0].announce("$.A", "older")
            senders[1].announce("$.A", "newer")
            return real()

        setattr(second, "_receive_now", after_two_were_sent)
        merge = kbus.Merge(first, second)
        self.assertEqual([merge.receive(LIMIT)[1].text for _ in range(2)], ["older", "newer"])

    def test_urgent_is_delivered_when_it_is_met(self) -> None:
        one, two = self.join(fresh()), self.join(fresh())
        one.listen("$.*")
        two.listen("$.*")
        merge = kbus.Merge(one, two)
        two.announce("$.A", "1")
        one.announce("$.A", "2")
        one.announce("$.A", "now", urgent=True)
        self.assertEqual([merge.receive(LIMIT)[1].text for _ in range(3)], ["now", "1", "2"])
        with self.assertRaises(TimeoutError):
            merge.receive(timeout=0)
        one.announce("$.A", "3")
        one.shutdown()
        two.shutdown()
        self.assertEqual([(bus, message.text) for bus, message in merge], [(one, "3")])

    def test_socket_that_is_closed_leaves_the_others(self) -> None:
        one, two = self.join(fresh()), self.join(fresh())
        one.listen("$.*")
        merge = kbus.Merge(one, two)
        one.announce("$.A", "1")
        two.close()
        self.assertEqual(merge.receive(LIMIT)[1].text, "1")
        one.close()
        with self.assertRaises(kbus.Closed):
            merge.receive(LIMIT)
