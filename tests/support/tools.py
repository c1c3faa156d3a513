"""What some tests need and not every machine has: they are skipped without it, and it is said how many.

`SLUICE_TESTS_NEED=chromium` makes what is missing a failure, where it is known to be there.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import Any

import pytest

MARK = "needs"
_NAMES = {"chromium": "Chromium"}


def missing(tool: str) -> bool:
    """Say whether a program is not on this machine."""
    return shutil.which(tool) is None


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and refuse what is expected and unknown."""
    config.addinivalue_line("markers", f"{MARK}(tool): the test needs a program of this name")
    if unknown := _expected() - _NAMES.keys():
        raise pytest.UsageError(f"SLUICE_TESTS_NEED names {', '.join(unknown)}; known: {', '.join(_NAMES)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program that is missing, or fail it where that is expected."""
    for mark in item.iter_markers(MARK):
        (tool,) = mark.args
        if not missing(tool):
            continue
        text = f"{_NAMES[tool]} is not installed"
        if tool in _expected():
            pytest.fail(f"{text}, and SLUICE_TESTS_NEED says that it is", pytrace=False)
        pytest.skip(text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was not tested, by reason: a line that is green all the same is easily overlooked."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")


def _expected() -> set[str]:
    return set(os.environ.get("SLUICE_TESTS_NEED", "").split())


def _reason(report: Any) -> str:
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return str(text).removeprefix("Skipped: ")
