# SPDX-License-Identifier: GPL-2.0
"""All tests of the package, on a machine with the module."""

import os.path
import sys

import kbus
import kbus._merge
import kbus._messages
import kbus._socket
import kbus.aio
import ktap
import test_aio
import test_requests
import test_socket

sys.exit(
    ktap.run(
        "python",
        [test_socket, test_requests, test_aio],
        [kbus, kbus._messages, kbus._socket, kbus._merge, kbus.aio],
        os.path.join(os.path.dirname(__file__), "../README.md"),
    )
)
