#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Listens to $.Sensors.* on the bus "kbus-demo" and says what it hears.

Python's own socket module drives KBUS as it is: the socket is an AF_UNIX one
of another protocol, and its options take plain bytes.
"""

import os
import socket
import struct
import sys

PROTO_KBUS = SOL_KBUS = 0x6B62
KBUS_LISTEN = 1
SCM_KBUS_INFO = 4
KBUS_REQUEST, KBUS_REPLY = 1 << 0, 1 << 5
INFO = struct.Struct("=QQQQQIIIi")  # struct kbus_info


def kind(flags):
    """What sort of message these flags make."""
    if flags & KBUS_REPLY:
        return "the reply"
    if flags & KBUS_REQUEST:
        return "the request"
    return "the announcement"


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "$.Sensors.*"
    bus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, PROTO_KBUS)
    bus.bind("\0kbus-demo")
    bus.setsockopt(SOL_KBUS, KBUS_LISTEN, pattern.encode())
    print(f"listening to {pattern} as process {os.getpid()}", flush=True)
    while True:
        data, ancillary, _, sender = bus.recvmsg(65536, 1024)
        for level, type_, value in ancillary:
            if level == SOL_KBUS and type_ == SCM_KBUS_INFO:
                # The struct may grow at its end: read what we know.
                flags = INFO.unpack(value[: INFO.size])[6]
                print(f'heard {kind(flags)} "{data.decode()}" from {sender}', flush=True)


main()
