# SPDX-License-Identifier: GPL-2.0
"""The Python program of languages.test; see qemu/userland/languages/README.md."""

from __future__ import annotations

import argparse
import os
import zlib

import kbus


def show(kind: str, message: kbus.Message) -> None:
    who = message.credentials or kbus.Credentials(0, 0, 0)
    contents = ",".join(os.pread(fd, 16, 0).decode() for fd in message.fds)
    print(
        f"{kind} name={message.name} sender={message.sender:x} len={len(message.data)}"
        f" sum={zlib.adler32(message.data):x} fds={contents} uid={who.uid} pid={who.pid}"
        f" user={message.user:x} urgent={int(message.urgent)}",
        flush=True,
    )


def serve(bus: kbus.Socket, name: str) -> None:
    bus.become_replier(name)
    print(f"ready {bus.peer_id:x}", flush=True)
    held = []
    for message in bus:
        assert isinstance(message, kbus.Request)
        show("request", message)
        if message.data == b"ignore":
            message.ignore()
        elif message.data == b"hold":
            held.append(message)
        else:
            message.reply(message.data, fds=message.fds, user=message.user)


def listen(bus: kbus.Socket, name: str, count: int) -> None:
    bus.listen(name)
    print(f"ready {bus.peer_id:x}", flush=True)
    for _ in range(count):
        message = bus.receive()
        show("copy" if isinstance(message, kbus.Copy) else "announcement", message)


def send(bus: kbus.Socket, options: argparse.Namespace) -> None:
    data = options.text.encode()
    if options.size is not None:
        data = bytes(range(251)) * (options.size // 251 + 1)
        data = data[: options.size]
    fds = [os.open(path, os.O_RDONLY) for path in options.fd]
    try:
        if options.act == "announce":
            bus.announce(
                options.name, data, fds=fds, user=options.user, urgent=options.urgent
            )
            print("sent")
            return
        reply = bus.call(
            options.name,
            data,
            fds=fds,
            user=options.user,
            urgent=options.urgent,
            to=options.to,
            timeout=options.timeout / 1000,
        )
        show("reply", reply)
    except kbus.GoneAway:
        print("status gone-away")
    except kbus.Ignored:
        print("status ignored")
    except kbus.Unbound:
        print("status unbound")
    except kbus.KbusError as error:
        print(f"error {error.errno}")
    except TimeoutError:
        print("timeout")


def main() -> None:
    parser = argparse.ArgumentParser()
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("reply").add_argument("name")
    listener = acts.add_parser("listen")
    listener.add_argument("name")
    listener.add_argument("count", type=int)
    for act in ("request", "announce"):
        sender = acts.add_parser(act)
        sender.add_argument("name")
        sender.add_argument("text", nargs="?", default="")
        sender.add_argument("--fd", action="append", default=[])
        sender.add_argument("--to", type=lambda text: int(text, 16))
        sender.add_argument("--user", type=lambda text: int(text, 16), default=0)
        sender.add_argument("--size", type=int)
        sender.add_argument("--timeout", type=float, default=60000)
        sender.add_argument("--urgent", action="store_true")
    options = parser.parse_args()
    with kbus.Socket() as bus:
        bus.pass_fds = bus.pass_credentials = True
        if options.act == "reply":
            serve(bus, options.name)
        elif options.act == "listen":
            listen(bus, options.name, options.count)
        else:
            send(bus, options)


main()
