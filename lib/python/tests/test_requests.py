# SPDX-License-Identifier: GPL-2.0
"""Requests, replies, statuses and calls. Each test names the rule that it checks."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import threading
import warnings

import kbus
from support import LIMIT, BusCase, child, outcome


class Requests(BusCase):
    def pair(self, name: str = "$.Echo") -> tuple[kbus.Socket, kbus.Socket]:
        server, client = self.join(), self.join()
        server.become_replier(name)
        return server, client

    def test_request_and_reply(self) -> None:
        server, client = self.pair()
        number = client.request("$.Echo", "hello", cookie=7)
        request = self.request(server)
        self.assertEqual((request.id, request.sender), (number, client.peer_id))
        self.assertFalse(request.answered)
        request.reply(request.data + b"!")
        self.assertTrue(request.answered)
        reply = self.reply(client)
        self.assertEqual((reply.text, reply.in_reply_to, reply.cookie), ("hello!", number, 7))
        self.assertEqual((reply.sender, reply.name), (server.peer_id, "$.Echo"))
        with self.fails(errno.ECONNREFUSED, "reply to $.Echo", "answered or given up"):
            request.reply()

    def test_request_dropped_is_ignored(self) -> None:
        server, client = self.pair()
        for drop in range(3):
            client.request("$.Echo")
            if drop == 0:
                with self.request(server):
                    pass
            elif drop == 1:
                self.request(server).ignore()
            else:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    self.request(server)
                    gc.collect()
                self.assertIs(told[0].category, ResourceWarning)
            status = self.status(client)
            self.assertIsInstance(status.exception(), kbus.Ignored)
            self.assertEqual(server.unreplied, 0)

    def test_request_of_a_requester_that_has_gone_can_be_ignored(self) -> None:
        server, client = self.pair()
        client.request("$.Echo")
        client.close()
        with self.request(server):
            pass
        self.assertEqual(server.unreplied, 0)

    def test_statuses_are_exceptions_of_a_call(self) -> None:
        def closes(server: kbus.Socket) -> None:
            server.close()

        def gives_up(server: kbus.Socket) -> None:
            self.request(server).ignore()

        def unbinds(server: kbus.Socket) -> None:
            server.stop_replying("$.Echo")

        for act, kind, number, words in (
            (closes, kbus.GoneAway, errno.ECONNRESET, "closed or died"),
            (gives_up, kbus.Ignored, errno.ECANCELED, "gave it up"),
            (unbinds, kbus.Unbound, errno.ECONNABORTED, "stopped replying"),
        ):
            server = self.join()
            server.become_replier("$.Echo")
            caught: list[kbus.StatusError] = []

            def call() -> None:
                try:
                    self.join().call("$.Echo", timeout=LIMIT)
                except kbus.StatusError as error:
                    caught.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            server._wait(1, None)
            peer = server.peer_id
            act(server)
            thread.join()
            server.close()
            self.assertIs(type(caught[0]), kind)
            self.assertEqual((caught[0].errno, caught[0].peer), (number, peer))
            self.assertIn(words, str(caught[0]))
            self.assertTrue(str(caught[0]).startswith("no reply to $.Echo: "))

    def test_replier_that_is_killed_is_gone_away_or_ignored(self) -> None:
        for read, kind in ((False, kbus.GoneAway), (True, kbus.Ignored)):
            gate = os.pipe()

            def serve() -> None:
                server = kbus.Socket(self.bus)
                server.become_replier("$.Echo")
                if not read:
                    os.write(gate[1], b"x")
                    signal.pause()
                held = server.receive()
                os.write(gate[1], b"x")
                signal.pause()
                del held

            client = self.join()
            pid = child(serve)
            if not read:
                os.read(gate[0], 1)
            number = self.ask(client, "$.Echo")
            if read:
                os.read(gate[0], 1)
            os.kill(pid, signal.SIGKILL)
            outcome(pid)
            status = self.status(client)
            self.assertEqual(status.in_reply_to, number)
            self.assertIsInstance(status.exception(), kind)

    def ask(self, client: kbus.Socket, name: str) -> int:
        """A request as soon as there is a replier."""
        while client.replier(name) is None:
            os.sched_yield()
        return client.request(name)

    def test_nobody_is_replier(self) -> None:
        with self.assertRaises(kbus.NoReplier) as caught:
            self.join().call("$.Nobody")
        self.assertEqual(caught.exception.errno, errno.EADDRNOTAVAIL)
        self.assertEqual(str(caught.exception), "cannot request $.Nobody: nobody is replier for it")
        self.assertIsNone(self.join().replier("$.Nobody"))

    def test_call_that_takes_too_long_leaves_nothing_behind(self) -> None:
        server, client = self.pair()
        with self.assertRaisesRegex(TimeoutError, r"cannot get a reply to \$.Echo: the 0.05"):
            client.call("$.Echo", timeout=0.05)
        request = self.request(server)
        with self.fails(errno.EADDRNOTAVAIL, "requester has gone"):
            request.reply("late")
        self.assertTrue(request.answered)
        thread = threading.Thread(target=lambda: server.serve(lambda _: "new", count=1))
        thread.start()
        self.assertEqual(client.call("$.Echo", timeout=LIMIT).text, "new")
        thread.join()
        self.assertEqual(client.unread, 0)

    def test_call_takes_no_message_away(self) -> None:
        server, client = self.pair()
        client.listen("$.News")
        client.announce("$.News", "before")
        thread = threading.Thread(target=lambda: server.serve(lambda asked: asked.data, count=2))
        thread.start()
        self.assertEqual(client.call("$.Echo", "1", timeout=LIMIT).text, "1")
        self.assertEqual(client.unread, 1)
        client.announce("$.News", "between")
        self.assertEqual(client.call("$.Echo", "2", timeout=LIMIT).text, "2")
        thread.join()
        self.assertEqual([self.next(client).text for _ in range(2)], ["before", "between"])

    def test_calls_of_several_threads_do_not_mix(self) -> None:
        server, client = self.pair()
        serving = threading.Thread(target=lambda: server.serve(lambda request: request.data))
        serving.start()
        wrong: list[str] = []

        def calls(name: str) -> None:
            for number in range(20):
                text = f"{name}{number}"
                if client.call("$.Echo", text, timeout=LIMIT).text != text:
                    wrong.append(text)

        threads = [threading.Thread(target=calls, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.shutdown()
        serving.join()
        self.assertEqual(wrong, [])

    def test_child_after_fork_calls_through_sockets_of_its_own(self) -> None:
        server, client = self.pair()
        serving = threading.Thread(target=lambda: server.serve(lambda asked: f"{asked.sender:x}"))
        serving.start()
        first = client.call("$.Echo", timeout=LIMIT).text

        def calls() -> None:
            self.assertNotEqual(client.call("$.Echo", timeout=LIMIT).text, first)

        self.assertEqual(outcome(child(calls)), 0)
        self.assertEqual(client.call("$.Echo", timeout=LIMIT).text, first)
        server.shutdown()
        serving.join()

    def test_reply_too_long_is_still_owed(self) -> None:
        server, client = self.pair()
        client.request("$.Echo", reply_max=10)
        # What waits in the requester's queue leaves no room for more than was reserved.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.listen("$.Fill")
        server.announce("$.Fill", bytes(8192))
        request = self.request(server)
        with self.fails(errno.EMSGSIZE, "reply to $.Echo", "still owed"):
            request.reply(bytes(100))
        self.assertFalse(request.answered)
        request.reply(bytes(10))
        self.assertEqual(len(self.next(client).data), 8192)
        self.assertEqual(self.reply(client).data, bytes(10))

    def test_stateful_request_after_a_restart_is_epipe(self) -> None:
        server, client = self.pair()
        client.request("$.Echo")
        self.request(server).reply()
        peer = self.reply(client).sender
        client.request("$.Echo", to=peer)
        request = self.request(server)
        self.assertEqual(request.to, peer)
        request.reply()
        server.close()
        again = self.join()
        again.become_replier("$.Echo")
        with self.fails(errno.EPIPE, "request $.Echo", "another socket"):
            client.request("$.Echo", to=peer)
        with self.fails(errno.EPIPE):
            client.call("$.Echo", to=peer)
        self.assertEqual(again.unread, 0)

    def test_listeners_get_copies(self) -> None:
        server, client = self.pair()
        listener = self.join()
        listener.listen("$.*")
        number = client.request("$.Echo", "q")
        self.request(server).reply("a")
        asked, told = self.next(listener), self.next(listener)
        assert isinstance(asked, kbus.Copy) and isinstance(told, kbus.Copy)
        self.assertEqual((asked.id, asked.text, asked.in_reply_to), (number, "q", 0))
        self.assertEqual((told.in_reply_to, told.text, told.to), (number, "a", client.peer_id))

    def test_second_replier_is_eexist(self) -> None:
        server, client = self.pair()
        with self.fails(errno.EEXIST, "become replier for $.Echo", "replier already"):
            client.become_replier("$.Echo")
        self.assertEqual(client.replier("$.Echo"), server.peer_id)
        server.stop_replying("$.Echo")
        client.become_replier("$.Echo")

    def test_serve_tells_the_requester_of_each_outcome(self) -> None:
        server, client = self.pair()

        def handler(request: kbus.Request) -> str | None:
            if request.text == "raise":
                raise RuntimeError("as it should")
            if request.text == "none":
                return None
            if request.text == "self":
                request.reply("done")
                return None
            return "returned"

        others: list[kbus.Message] = []
        server.listen("$.News")
        thread = threading.Thread(
            target=lambda: server.serve(handler, others=others.append), daemon=True
        )
        thread.start()
        client.announce("$.News")
        with self.assertLogs("kbus", "ERROR"):
            with self.assertRaises(kbus.Ignored):
                client.call("$.Echo", "raise", timeout=LIMIT)
        with self.assertRaises(kbus.Ignored):
            client.call("$.Echo", "none", timeout=LIMIT)
        self.assertEqual(client.call("$.Echo", "self", timeout=LIMIT).text, "done")
        self.assertEqual(client.call("$.Echo", "", timeout=LIMIT).text, "returned")
        server.shutdown()
        thread.join()
        self.assertEqual([message.name for message in others], ["$.News"])
        with self.assertRaises(kbus.Closed):
            server.receive()

    def test_bind_events(self) -> None:
        watcher = self.join()
        watcher.listen("$.KBUS.ReplierBindEvent")
        watcher.report_binds = True
        server = self.join()
        server.become_replier("$.Echo")
        server.close()
        for is_bind in (True, False):
            event = self.next(watcher)
            assert isinstance(event, kbus.BindEvent)
            self.assertEqual((event.is_bind, event.bound), (is_bind, "$.Echo"))
            self.assertEqual(event.peer, server.peer_id)
