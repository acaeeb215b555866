# SPDX-License-Identifier: GPL-2.0
"""The socket of asyncio."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from typing import Any

import kbus
import kbus.aio
from support import LIMIT, BusCase, fresh


class Asyncio(BusCase):
    def run_it(self, main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(asyncio.wait_for(main, LIMIT))

    def test_listens_announces_and_iterates(self) -> None:
        async def main() -> None:
            async with kbus.aio.Socket(self.bus) as bus:
                await bus.listen("$.*")
                task = asyncio.create_task(bus.receive())
                await asyncio.sleep(0)
                await bus.announce("$.A", "1")
                self.assertEqual((await task).text, "1")
                await bus.announce("$.A", "2")
                async for message in bus:
                    self.assertEqual(message.text, "2")
                    bus.shutdown()

        self.run_it(main())

    def test_several_tasks_receive_each_message_once(self) -> None:
        async def main() -> None:
            async with kbus.aio.Socket(self.bus) as bus:
                await bus.listen("$.*")
                tasks = [asyncio.create_task(bus.receive()) for _ in range(5)]
                await asyncio.sleep(0)
                tasks.pop().cancel()
                for number in range(4):
                    await bus.announce("$.A", str(number))
                texts = [(await task).text for task in tasks]
                self.assertEqual(sorted(texts), ["0", "1", "2", "3"])

        self.run_it(main())

    def test_calls_of_several_tasks_at_the_same_time(self) -> None:
        async def main() -> None:
            gate = asyncio.Event()

            async def handler(request: kbus.Request) -> bytes:
                if request.text == "19":
                    gate.set()
                await gate.wait()
                return request.data

            async with kbus.aio.Socket(self.bus) as server, kbus.aio.Socket(self.bus) as client:
                await server.become_replier("$.Echo")
                serving = asyncio.create_task(server.serve(handler))
                replies = await asyncio.gather(
                    *(client.call("$.Echo", str(number), timeout=LIMIT) for number in range(20))
                )
                self.assertEqual([int(reply.text) for reply in replies], list(range(20)))
                server.shutdown()
                await serving

        self.run_it(main())

    def test_statuses_and_times(self) -> None:
        async def main() -> None:
            async with kbus.aio.Socket(self.bus) as server, kbus.aio.Socket(self.bus) as client:
                with self.assertRaises(kbus.NoReplier):
                    await client.call("$.Echo")
                await server.become_replier("$.Echo")
                with self.assertRaisesRegex(TimeoutError, "cannot get a reply to"):
                    await client.call("$.Echo", timeout=0.05)
                with self.assertRaisesRegex(TimeoutError, "cannot receive"):
                    await client.receive(timeout=0)
                request = await server.receive()
                assert isinstance(request, kbus.Request)
                with self.fails(errno.EADDRNOTAVAIL):
                    request.reply()
                task = asyncio.create_task(client.call("$.Echo"))
                request = await server.receive()
                assert isinstance(request, kbus.Request)
                request.ignore()
                with self.assertRaises(kbus.Ignored):
                    await task
                task = asyncio.create_task(client.call("$.Echo"))
                await asyncio.sleep(0)
                await server.close()
                with self.assertRaises(kbus.GoneAway):
                    await task

        self.run_it(main())

    def test_all_or_wait_waits_without_holding_the_loop(self) -> None:
        async def main() -> None:
            async with kbus.aio.Socket(self.bus) as full, kbus.aio.Socket(self.bus) as sender:
                full.queue_len = 1
                await full.listen("$.A")
                await sender.announce("$.A", "1")
                with self.assertRaisesRegex(TimeoutError, "cannot announce"):
                    await sender.announce("$.A", all_or_wait=True, timeout=0.01)
                task = asyncio.create_task(sender.announce("$.A", "2", all_or_wait=True))
                await asyncio.sleep(0)
                self.assertFalse(task.done())
                self.assertEqual((await full.receive()).text, "1")
                self.assertEqual((await full.receive()).text, "2")
                await task

        self.run_it(main())

    def test_serving_that_is_cancelled_ignores_its_requests(self) -> None:
        async def main() -> None:
            async with kbus.aio.Socket(self.bus) as server, kbus.aio.Socket(self.bus) as client:
                await server.become_replier("$.Echo")
                begun = asyncio.Event()

                async def handler(request: kbus.Request) -> None:
                    begun.set()
                    await asyncio.Event().wait()

                serving = asyncio.create_task(server.serve(handler))
                await client.request("$.Echo")
                await begun.wait()
                serving.cancel()
                status = await client.receive()
                assert isinstance(status, kbus.Status)
                self.assertIsInstance(status.exception(), kbus.Ignored)

        self.run_it(main())

    def test_close_wakes_those_who_wait(self) -> None:
        async def main() -> None:
            bus = kbus.aio.Socket(self.bus)
            task = asyncio.create_task(bus.receive())
            await asyncio.sleep(0)
            await bus.close()
            with self.assertRaises(kbus.Closed):
                await task

        self.run_it(main())

    def test_three_buses_in_one_order(self) -> None:
        async def main() -> None:
            buses = [kbus.aio.Socket(fresh()) for _ in range(3)]
            for bus in buses:
                await bus.listen("$.*")
            merge = kbus.aio.Merge(*buses)

            async def speak() -> None:
                for number in range(60):
                    await buses[number * number % 7 % 3].announce("$.N", str(number))
                    if number % 5 == 0:
                        await asyncio.sleep(0)

            with self.assertRaisesRegex(TimeoutError, "cannot receive"):
                await merge.receive(timeout=0.01)
            speaking = asyncio.create_task(speak())
            got = [(await merge.receive(timeout=LIMIT))[1].text for _ in range(60)]
            self.assertEqual([int(text) for text in got], list(range(60)))
            await speaking
            for bus in buses:
                bus.shutdown()
            self.assertEqual([message async for message in merge], [])
            for bus in buses:
                await bus.close()

        self.run_it(main())
