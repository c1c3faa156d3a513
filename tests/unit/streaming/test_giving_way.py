"""A process that gives way does so with its session, if that is its own, and with nobody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from sluice_streaming.giving_way import give_way
before = os.nice(0)
give_way(int(sys.argv[1]), Path(sys.argv[2]))
print(before, os.nice(0))
"""


def given(nice: int, group: Path, *, leader: bool) -> tuple[int, int]:
    """Give a process's nice value before and after it gave way."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(nice), str(group)],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=leader,
    )
    before, after = done.stdout.split()[-2:]
    return int(before), int(after)


@pytest.mark.parametrize("leader", [True, False])
def test_a_process_gives_way_with_its_own_session_only(tmp_path: Path, leader: bool) -> None:
    group = tmp_path / "autogroup"
    assert given(19, group, leader=leader)[1] == 19
    assert group.exists() is leader
    assert not leader or group.read_text() == "19\n"


def test_without_groups_of_sessions_the_process_alone_gives_way(tmp_path: Path) -> None:
    assert given(19, tmp_path / "none" / "autogroup", leader=True)[1] == 19


def test_zero_changes_nothing(tmp_path: Path) -> None:
    before, after = given(0, tmp_path / "autogroup", leader=True)
    assert before == after
    assert list(tmp_path.iterdir()) == []
