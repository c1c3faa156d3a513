"""Fuzzing for a time: with `SLUICE_FUZZ_SECONDS` the tests of a run share these, and draw inputs until then.

A test goes in rounds, of as many examples as its settings say, and one at least: a slow machine tries fewer,
and nothing fails for it. In CI a test's rounds are the same in every run; how many there are, time decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import is_hypothesis_test, seed, settings

_SECONDS = float(os.environ.get("SLUICE_FUZZ_SECONDS", "0"))
_ROUNDS = "fuzz rounds"
_clock = time.monotonic
_BEGAN = _clock()


class Time:
    """The time until which tests go on, and how many of them are still to come."""

    def __init__(self, end: float, tests: float) -> None:
        self._end = end
        self._tests = tests

    def share(self) -> float:
        """Give the seconds of the next test: what one took too long is taken from all that follow."""
        share = max(0.0, self._end - _clock()) / max(1.0, self._tests)
        self._tests -= 1
        return share


_TIME = pytest.StashKey[Time]()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "fuzz: throws anything at what takes input from outside")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Share the time out, now that it is known among how many; each process gets about as many."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    session.config.stash[_TIME] = Time(_BEGAN + _SECONDS, len(session.items) / workers)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Have a test with drawn inputs go on for its share of the time."""
    test = pyfuncitem.obj
    if _SECONDS and is_hypothesis_test(test):
        pyfuncitem.obj = lambda **arguments: in_rounds(pyfuncitem, lambda: test(**arguments), test)
    return (yield)


@pytest.fixture
def fuzzing(request: pytest.FixtureRequest) -> Callable[[Callable[[], None]], None]:
    """Give what runs a test with drawn inputs, which is made within another, for its share of the time."""
    return lambda test: in_rounds(request.node, test, test)


def in_rounds(item: pytest.Item, call: Callable[[], object], test: Any) -> None:
    """Call a test until another round would take longer than its share of the time."""
    share = item.config.stash[_TIME].share()
    began, rounds, spent = _clock(), 0, 0.0
    while not rounds or spent + spent / rounds <= share:
        if settings.default is not None and settings.default.derandomize:
            seed(f"{item.nodeid} {rounds}")(test)
        call()
        rounds, spent = rounds + 1, _clock() - began
    item.user_properties.append((_ROUNDS, rounds))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how long it took, and how often the tests went round."""
    told = [
        count
        for report in terminalreporter.stats.get("passed", [])
        for name, count in report.user_properties
        if name == _ROUNDS
    ]
    if _SECONDS and told:
        terminalreporter.section("fuzzing")
        terminalreporter.write_line(
            f"{len(told)} tests for {_SECONDS:g} s, in fact {_clock() - _BEGAN:.0f}:"
            f" {sum(told)} rounds, {min(told)} to {max(told)} each"
        )
