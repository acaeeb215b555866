# SPDX-License-Identifier: GPL-2.0
"""Runs unittest cases and doctests, and prints KTAP."""

from __future__ import annotations

import doctest
import sys
import unittest
from collections.abc import Iterator
from types import ModuleType


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def run(title: str, tests: list[ModuleType], documented: list[ModuleType], page: str) -> int:
    """Runs all, the examples of a page among them. The exit status: no test is no success."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(loader.loadTestsFromModule(module) for module in tests)
    cases = list(flat(suite))
    for module in documented:
        # A module without examples is a fault of the list.
        found = list(
            flat(doctest.DocTestSuite(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL))
        )
        assert found, f"{module} has no example"
        cases += found
    cases += flat(doctest.DocFileSuite(page, module_relative=False))
    print("KTAP version 1")
    print(f"1..{len(cases)}")
    failed = 0
    for number, case in enumerate(cases, 1):
        result = unittest.TestResult()
        case.run(result)
        name = case.id().split("(")[0].strip()
        bad = result.errors + result.failures
        failed += bool(bad)
        print(f"{'not ok' if bad else 'ok'} {number} {title}::{name.replace('.', '::')}")
        for _, text in bad:
            for line in text.splitlines():
                print(f"# {line}")
        sys.stdout.flush()
    return 1 if failed or not cases else 0
