"""What the services of a stack complained of while a test ran is told when it fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sluice_stack.stack import Stack

_LINES = 15
_WIDTH = 300
_COMPLAINTS = frozenset({"warning", "error", "critical"})


class _Line(msgspec.Struct):
    level: str
    timestamp: datetime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last complaints of each service of a stack that the test was given."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        since = datetime.fromtimestamp(call.start, UTC)
        for stack in item.funcargs.values():
            if isinstance(stack, Stack):
                report.sections += complaints(stack.layout.home.logs, since)
    return report


def complaints(logs: Path, since: datetime) -> list[tuple[str, str]]:
    """Give by its name what each log says since then: warnings, errors, and what is no line of a log."""
    found = []
    for log in sorted(logs.glob("*.log")):
        lines = list(_complaints(log.read_bytes().splitlines(), since))[-_LINES:]
        if lines:
            text = "\n".join(line.decode(errors="replace")[:_WIDTH] for line in lines)
            found.append((f"complaints of {log.stem}", text))
    return found


def _complaints(lines: list[bytes], since: datetime) -> Iterator[bytes]:
    told = False
    for line in lines:
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            if told and line.strip():
                yield line
        else:
            told = read.timestamp >= since
            if told and read.level in _COMPLAINTS:
                yield line
