"""Which tests run beside which, and when.

A file goes to one process, but all files that use the fixture `stack` go to one together: every process that
got one of them would start a whole stack of its own, and keep it. They begin first, then what starts servers
and services, and unit tests fill the end, so that the processes end together.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parents[1]
_ASKS_FOR_STACK = re.compile(
    r"(?:def test_\w+|@pytest(?:_asyncio)?\.fixture.*\n(?:async )?def \w+)\([^)]*\bstack: Stack\b"
)


def pytest_configure(config: pytest.Config) -> None:
    """Have files begin in our order; xdist's own puts those with the most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    items.sort(key=lambda item: _turn(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Schedule by file, and those that share a stack as one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc] # published without types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "stack" if shares_stack(config.rootpath / file) else file

    return Scheduling(config, log)


@cache
def shares_stack(file: Path) -> bool:
    """Say whether tests in a file use the stack that all share."""
    return _ASKS_FOR_STACK.search(file.read_text(encoding="utf-8")) is not None


@cache
def _turn(file: Path) -> tuple[bool, bool]:
    return not shares_stack(file), _TESTS / "unit" in file.parents
