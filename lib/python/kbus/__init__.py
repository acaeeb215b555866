# SPDX-License-Identifier: MIT OR Apache-2.0
"""KBUS, a message bus in the Linux kernel, for Python.

Programs on one machine meet on a **bus**. They announce messages with names such as
``$.Sensors.Kitchen``, listen to names or wildcards (``$.Sensors.*``), or become *the* replier
for a name. Each request gets exactly one answer: a reply, or a status that says why there will
be none.

>>> import kbus
>>> display = kbus.Socket("@example")
>>> display.listen("$.Sensors.*")
>>> thermometer = kbus.Socket("@example")
>>> thermometer.announce("$.Sensors.Kitchen", "21 C")
>>> message = display.receive()
>>> message.name, message.text
('$.Sensors.Kitchen', '21 C')

:class:`Socket` blocks; :class:`kbus.aio.Socket` is the same for asyncio.
"""

from kbus._bus import BusInfo
from kbus._errors import (
    Closed,
    GoneAway,
    Ignored,
    KbusError,
    NoReplier,
    StatusError,
    Unbound,
)
from kbus._merge import Merge
from kbus._messages import (
    Announcement,
    BindEvent,
    Copy,
    Credentials,
    Descriptors,
    Lost,
    Message,
    Reply,
    Request,
    Status,
    Via,
)
from kbus._socket import Socket

__all__ = [
    "Announcement",
    "BindEvent",
    "BusInfo",
    "Closed",
    "Copy",
    "Credentials",
    "Descriptors",
    "GoneAway",
    "Ignored",
    "KbusError",
    "Lost",
    "Merge",
    "Message",
    "NoReplier",
    "Reply",
    "Request",
    "Socket",
    "Status",
    "StatusError",
    "Unbound",
    "Via",
]

__version__ = "0.1.0"

# Tracebacks name them as users do.
for _error in (KbusError, NoReplier, Closed, StatusError, GoneAway, Ignored, Unbound):
    _error.__module__ = __name__
del _error
