"""A job's owner is told that a source holds it up, and nothing else of how the source does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from sluice_fhir.condition_store import Minute, Shown
from sluice_fhir.conditions import Condition
from sluice_gateway.all_jobs import AnyJobRow
from support.gateway_memory import Site, memory_gateway

NOW = 1.7e9
AT = datetime(2026, 1, 2, tzinfo=UTC)
WELL = Shown(Condition(allowed=32.0), workers=1, recent=(), now=NOW)
REFUSING = replace(WELL, condition=Condition(allowed=4.0, cut_at=NOW - 5))
SLOW = replace(WELL, condition=Condition(allowed=4.0, eased_at=NOW - 5))
ALONE = replace(WELL, condition=Condition(allowed=4.0, cut_at=NOW - 5, held_until=NOW + 90))
DOWN = replace(WELL, recent=(Minute(int(NOW), 0, 1, 5, 6, 1.0),))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


def running(site: Site, **sources: Shown | None) -> str:
    row = AnyJobRow(
        job=str(uuid4()),
        kind="document-import",
        client="portal",
        subject="ann",
        state="RUNNING",
        outcome=None,
        items=3,
        attached=1,
        skipped=0,
        failed=0,
        cancelled=0,
        submitted_at=AT,
        started_at=AT,
        finished_at=None,
    )
    site.all_jobs.rows[row.job] = row
    site.all_jobs.sources_of[row.job] = list(sources)
    site.conditions.update({name: shown for name, shown in sources.items() if shown is not None})
    return row.job


async def told(site: Site, job: str) -> Any:
    return (await (await site.get(f"/v2/jobs/{job}", headers=site.bearer())).json())["held_up"]


@pytest.mark.parametrize(
    ("shown", "reason"), [(REFUSING, "slowed"), (SLOW, "slowed"), (ALONE, "held"), (DOWN, "failing")]
)
async def test_a_running_job_says_what_its_source_does_and_no_more(
    site: Site, shown: Shown, reason: str
) -> None:
    found = await told(site, running(site, one=shown))
    assert (found["reason"], set(found)) == (reason, {"reason", "until"})
    until = datetime.fromtimestamp(NOW + 90, UTC)
    assert (found["until"] and datetime.fromisoformat(found["until"])) == (until if shown is ALONE else None)


@pytest.mark.parametrize(
    "shown",
    [None, WELL, replace(WELL, condition=Condition(allowed=4.0, cut_at=NOW - 300, held_until=NOW - 200))],
    ids=["never called", "well", "long ago"],
)
async def test_a_job_whose_source_does_well_says_nothing(site: Site, shown: Shown | None) -> None:
    assert await told(site, running(site, one=shown)) is None


async def test_of_several_sources_the_worst_is_told(site: Site) -> None:
    later = replace(ALONE, condition=replace(ALONE.condition, held_until=NOW + 900))
    found = await told(site, running(site, one=REFUSING, two=later, three=ALONE, four=WELL))
    assert found["reason"] == "held"
    assert datetime.fromisoformat(found["until"]) == datetime.fromtimestamp(NOW + 900, UTC)
    assert (await told(site, running(site, one=DOWN, two=later)))["reason"] == "failing"


async def test_a_job_that_has_ended_is_held_up_by_nothing(site: Site) -> None:
    job = running(site, one=DOWN)
    site.all_jobs.rows[job] = replace(site.all_jobs.rows[job], state="FINISHED", outcome="completed")
    assert await told(site, job) is None


@pytest.mark.parametrize(("shown", "known"), [(WELL, True), (REFUSING, True), (ALONE, False), (DOWN, False)])
async def test_nobody_says_when_a_job_ends_that_waits_for_a_source_which_takes_no_calls(
    site: Site, shown: Shown, known: bool
) -> None:
    job, other = running(site, one=shown), running(site, two=WELL)
    site.ends.update({job: NOW + 60, other: NOW + 60})
    listed = await (await site.get("/v2/jobs", headers=site.bearer())).json()
    assert {it["id"]: it["eta"] is not None for it in listed["items"]} == {job: known, other: True}
    one = await (await site.get(f"/v2/jobs/{job}", headers=site.bearer())).json()
    assert (one["eta"] is not None) == known


async def test_that_is_not_said_either_where_it_was_known_a_moment_before(site: Site) -> None:
    job = running(site, one=WELL)
    site.ends[job] = NOW + 60
    asked = [(await site.get(f"/v2/jobs/{job}", headers=site.bearer()))]
    site.conditions["one"] = DOWN
    asked.append(await site.get(f"/v2/jobs/{job}", headers=site.bearer()))
    assert [(await answer.json())["eta"] is not None for answer in asked] == [True, False]
