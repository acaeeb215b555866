# SPDX-License-Identifier: GPL-2.0
"""All tests of the command kbus, as KTAP."""

import sys
import unittest
from collections.abc import Iterator

import test_bad
import test_call
import test_listen
import test_look
import test_send
import test_serve


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


# The last one unloads the module, for which no socket may be open.
MODULES = [test_listen, test_send, test_call, test_serve, test_look, test_bad]
loader = unittest.TestLoader()
cases = [case for module in MODULES for case in flat(loader.loadTestsFromModule(module))]
print("KTAP version 1")
print(f"1..{len(cases)}")
failed = 0
for number, case in enumerate(cases, 1):
    result = unittest.TestResult()
    case.run(result)
    bad = result.errors + result.failures
    failed += bool(bad)
    name = case.id().replace("test_", "").replace(".", "::")
    print(f"{'not ok' if bad else 'ok'} {number} command::{name}")
    for _, text in bad:
        for line in text.splitlines():
            print(f"# {line}")
    sys.stdout.flush()
sys.exit(1 if failed or not cases else 0)
