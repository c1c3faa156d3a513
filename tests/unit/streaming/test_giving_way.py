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
class Group(type(Path())):
    refusals = int(sys.argv[3])
    def write_text(self, text):
        Group.refusals -= 1
        if Group.refusals >= 0:
            raise BlockingIOError
        return super().write_text(text)
before = os.nice(0)
give_way(int(sys.argv[1]), Group(sys.argv[2]))
print(before, os.nice(0))
"""


def given(nice: int, group: Path, *, leader: bool, refusals: int = 0) -> tuple[int, int]:
    """Give a process's nice value before and after it gave way, with a group that is refused at first."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(nice), str(group), str(refusals)],
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


def test_a_session_gives_way_also_when_others_do_at_the_same_time(tmp_path: Path) -> None:
    group = tmp_path / "autogroup"
    given(19, group, leader=True, refusals=2)
    assert group.read_text() == "19\n"


def test_without_groups_of_sessions_the_process_alone_gives_way(tmp_path: Path) -> None:
    assert given(19, tmp_path / "none" / "autogroup", leader=True)[1] == 19


def test_zero_changes_nothing(tmp_path: Path) -> None:
    before, after = given(0, tmp_path / "autogroup", leader=True)
    assert before == after
    assert list(tmp_path.iterdir()) == []
