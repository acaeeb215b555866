# SPDX-License-Identifier: MIT OR Apache-2.0
"""The numbers and structures of ``uapi/linux/kbus.h``, under the same names."""

import struct
from typing import Final

PROTO_KBUS: Final = 0x6B62
SOL_KBUS: Final = 0x6B62

NAME_MAX: Final = 1000
NAME_SHORT: Final = 73

# Socket options of level SOL_KBUS.
LISTEN: Final = 1
UNLISTEN: Final = 2
REPLIER: Final = 3
UNREPLIER: Final = 4
IGNORE: Final = 5
SEND_FLAGS: Final = 6
ONCE: Final = 7
LOSSY: Final = 8
REPORT_LOST: Final = 9
RECV_INFO: Final = 10
PASS: Final = 11
PEER_ID: Final = 12
LAST_SENT: Final = 13
QUEUE_LEN: Final = 14
REPLY_MAX: Final = 15
UNREAD: Final = 16
UNREPLIED: Final = 17
LOST: Final = 18
NEXT_LEN: Final = 19
REPORT_BINDS: Final = 20
MAX_MSG_SIZE: Final = 21
BUS_BYTES: Final = 22
BUS_MODE: Final = 23
BUS_INFO: Final = 24
SYNC: Final = 25

# Bits of PASS.
PASS_CRED: Final = 1 << 0
PASS_SEC: Final = 1 << 1
PASS_RIGHTS: Final = 1 << 2
PASS_TIME: Final = 1 << 3

# Message flags.
F_REQUEST: Final = 1 << 0
F_URGENT: Final = 1 << 1
F_ALL_OR_FAIL: Final = 1 << 2
F_ALL_OR_WAIT: Final = 1 << 3
F_YOU_REPLY: Final = 1 << 4
F_REPLY: Final = 1 << 5
F_STATUS: Final = 1 << 6
F_HAD_FDS: Final = 1 << 7

# The error of a status.
GONE_AWAY: Final = 1
IGNORED: Final = 2
UNBOUND: Final = 3

# Ancillary data of level SOL_KBUS.
SCM_SEND: Final = 1
SCM_NAME: Final = 2
SCM_VIA: Final = 3
SCM_INFO: Final = 4

# struct kbus_send, kbus_info, kbus_via, kbus_bus_info and the head of kbus_bind_event.
SEND_STRUCT: Final = struct.Struct("=IIQ")
INFO_STRUCT: Final = struct.Struct("=QQQQQIIIi")
VIA_STRUCT: Final = struct.Struct("=QQQQ")
BUS_STRUCT: Final = struct.Struct("=QQQIIIIII")
EVENT_STRUCT: Final = struct.Struct("=QII")

U32: Final = struct.Struct("=I")
U64: Final = struct.Struct("=Q")
S64: Final = struct.Struct("=q")

# Of SOL_SOCKET, where the socket module has no name for them. They are those of all
# architectures that Python runs on under Linux but alpha, mips, parisc and sparc, which
# have other numbers; a message has no time there.
SCM_CREDENTIALS: Final = 2
SCM_SECURITY: Final = 3
SCM_TIMESTAMPNS_OLD: Final = 35
SCM_TIMESTAMPNS_NEW: Final = 64
UCRED_STRUCT: Final = struct.Struct("=iII")

LOST_NAME: Final = "$.KBUS.Lost"
BIND_EVENT_NAME: Final = "$.KBUS.ReplierBindEvent"
