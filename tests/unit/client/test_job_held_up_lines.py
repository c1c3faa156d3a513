"""`sluice job` says in words what keeps a job from going on as it could."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sluice_client import AnyJob, HeldUp, JobState
from sluice_client.cli.jobs import _shown

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("held_up", "words"),
    [
        (HeldUp(reason="slowed"), "asked less often"),
        (HeldUp(reason="held", until=AT), "left alone until 2026-01-31 12:00:00 UTC"),
        (HeldUp(reason="failing"), "asked again by itself"),
    ],
)
def test_each_thing_that_holds_a_job_up_has_a_line(held_up: HeldUp, words: str) -> None:
    job = AnyJob(id="j", href="", kind="document-import", state=JobState.RUNNING, held_up=held_up)
    assert words in _shown(job).splitlines()[1]


def test_a_job_that_is_both_stuck_and_held_up_says_both() -> None:
    job = AnyJob(
        id="j",
        href="",
        kind="document-import",
        state=JobState.RUNNING,
        stuck_since=AT,
        held_up=HeldUp(reason="failing"),
    )
    assert len(_shown(job).splitlines()) == 3


@pytest.mark.parametrize("held_up", [None, HeldUp(reason="something new")])
def test_what_is_not_known_has_no_line(held_up: HeldUp | None) -> None:
    job = AnyJob(id="j", href="", kind="document-import", state=JobState.RUNNING, held_up=held_up)
    assert len(_shown(job).splitlines()) == 1
