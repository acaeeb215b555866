# SPDX-License-Identifier: GPL-2.0
"""Record files and pcapng files, written and read after their descriptions and not with the code of the command."""

import struct
import zlib

HEADER = struct.Struct(">BBHIQQQQIiIIIIH6x")
KINDS = ["announcement", "request", "reply", "status", "lost", "event"]
UNKNOWN = 0xFFFFFFFF


def packet(kind, name, payload=b"", *, flags=0, id=1, answers=0, sender=0x1F, to=0, lost=0, error=0, who=None):
    pid, uid, gid = who or (0, UNKNOWN, UNKNOWN)
    name = name.encode()
    head = HEADER.pack(
        1, KINDS.index(kind), HEADER.size, flags, id, answers, sender, to, lost, error, pid, uid, gid, len(payload), len(name)
    )
    return head + name + payload


def parse(data):
    """A packet as a dictionary."""
    fields = HEADER.unpack_from(data)
    version, kind, length, flags, id, answers, sender, to, lost, error, pid, uid, gid, size, name_size = fields
    assert version == 1 and length == HEADER.size, fields
    assert len(data) == length + name_size + size, fields
    name = data[length : length + name_size].decode()
    return dict(
        kind=KINDS[kind], name=name, payload=data[length + name_size :], flags=flags, id=id, answers=answers,
        sender=sender, to=to, lost=lost, error=error, pid=pid, uid=uid, gid=gid,
    )  # fmt: skip


def record(packets, bus="@kbus-0"):
    """A record file of (time, packet)."""
    bus = bus.encode()
    head = b"KBUSREC\n" + struct.pack(">HH", 1, len(bus)) + bus
    out = head + struct.pack(">I", zlib.crc32(head))
    for time, data in packets:
        body = struct.pack(">IQ", len(data), time) + data
        out += body + struct.pack(">I", zlib.crc32(body))
    end = struct.pack(">IQ", 0, len(packets))
    return out + end + struct.pack(">I", zlib.crc32(end))


def read_record(data):
    """The bus of a record file, and its (time, packet)."""
    magic, version, size = struct.unpack_from(">8sHH", data)
    assert (magic, version) == (b"KBUSREC\n", 1)
    at = 12 + size
    bus = data[12:at].decode()
    assert struct.unpack_from(">I", data, at)[0] == zlib.crc32(data[:at])
    at += 4
    packets = []
    while True:
        size, time = struct.unpack_from(">IQ", data, at)
        body = data[at : at + 12 + size]
        assert struct.unpack_from(">I", data, at + 12 + size)[0] == zlib.crc32(body)
        at += 16 + size
        if size == 0:
            assert time == len(packets) and at == len(data)
            return bus, packets
        packets.append((time, parse(body[12:])))


def read_pcapng(data):
    """The (time, packet) of a pcapng file, whose blocks are checked."""
    at, packets, kinds = 0, [], []
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + size - 4)[0] == size and size % 4 == 0
        body = data[at + 8 : at + size - 4]
        at += size
        kinds.append(kind)
        if kind == 0x0A0D0D0A:
            assert struct.unpack_from("<IHH", body) == (0x1A2B3C4D, 1, 0)
        elif kind == 1:
            assert struct.unpack_from("<HHI", body) == (147, 0, 0)
            # if_tsresol is 9: nanoseconds.
            assert struct.pack("<HHB", 9, 1, 9) in body
        elif kind == 6:
            interface, high, low, captured, full = struct.unpack_from("<IIIII", body)
            assert interface == 0 and captured == full
            packets.append(((high << 32) | low, parse(body[20 : 20 + captured])))
    assert kinds == [0x0A0D0D0A, 1] + [6] * len(packets) + [5], kinds
    return packets
