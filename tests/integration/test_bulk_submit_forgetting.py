"""Submissions are forgotten when their time has come, and not while they may be polled or taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from sluice_contracts.events import JobFinished
from sluice_expirer.imports import Imports
from sluice_storage.pool import open_pool
from support.pulling import PullSite
from support.resource_store import Json
from support.stack import Database
from support.streams import until
from support.submitting import Provider

pytest_plugins = ["support.pulling_http"]

KEEP = timedelta(days=7)
# What makes a submission that is over not over yet, and what ends that.
UNDER_WAY = {
    "it may be stopped": (
        "UPDATE gateway.submissions SET status = 'in-progress', ended_at = NULL",
        "UPDATE gateway.submissions SET status = 'completed', ended_at = now()",
    ),
    "it has just been completed": (
        "UPDATE gateway.submissions SET ended_at = now() + interval '3 days'",
        "UPDATE gateway.submissions SET ended_at = now()",
    ),
    "an import is under way": (
        "UPDATE status.jobs SET finished_at = NULL, outcome = NULL, state = 'RUNNING'",
        "UPDATE status.jobs SET finished_at = now(), outcome = 'completed', state = 'FINISHED'",
    ),
    "an import has just ended": (
        "UPDATE status.jobs SET finished_at = now() + interval '3 days'",
        "UPDATE status.jobs SET finished_at = now()",
    ),
    "an import has not begun": (
        "UPDATE status.jobs SET job = '00000000-0000-0000-0000-000000000001'",
        "UPDATE gateway.submission_manifests SET request = '{}'; DELETE FROM pulls.jobs",
    ),
    "what was loaded is being taken back": (
        "UPDATE gateway.submissions SET status = 'stopped'",
        "UPDATE pulls.jobs SET removed_at = now()",
    ),
    "a replaced manifest's data are being taken back": (
        "UPDATE gateway.submission_manifests SET replaced_at = now()",
        "UPDATE pulls.jobs SET removed_at = now()",
    ),
}


def patient(id_: str) -> Json:
    return {"resourceType": "Patient", "id": id_}


class Clock:
    """An expirer whose time tests move."""

    def __init__(self, imports: Imports, time: list[datetime]) -> None:
        self._imports = imports
        self._time = time

    async def round(self, days: float) -> None:
        """Forget what is due so many days from now."""
        self._time[:] = [datetime.now(UTC) + timedelta(days=days)]
        await self._imports.round()


@pytest.fixture
async def clock(database: Database) -> AsyncIterator[Clock]:
    time: list[datetime] = []
    async with await open_pool(database.dsn_for("expirer")) as pool:
        yield Clock(Imports(pool, keep=KEEP, now=lambda: time[0]), time)


async def rows(pull: PullSite) -> tuple[int, int, int]:
    """Count submissions, their manifests, and imports that are told of."""
    (row,) = await pull.rows.fetch(
        """
        SELECT (SELECT count(*) FROM gateway.submissions),
            (SELECT count(*) FROM gateway.submission_manifests),
            (SELECT count(*) FROM pulls.jobs WHERE deleted_at IS NULL)
        """
    )
    return tuple(row)


async def test_a_submission_is_forgotten_with_its_imports_and_what_it_loaded_stays(
    provider: Provider, pull: PullSite, clock: Clock
) -> None:
    manifest = provider.manifest("a", patient("1"))
    async with pull.running():
        await provider.submitted(manifest, "completed")
        place = await provider.place()
        await provider.ended(place)
        await clock.round(6)
        assert await rows(pull) == (1, 1, 1)
        assert (await provider.ended(place))["outcome"]
        await clock.round(8)
        assert await rows(pull) == (0, 0, 0)
        assert (await provider.site.get(place, headers=provider.token())).status == 404
        assert (await provider.ask()).status == 404
        assert set(await provider.stored()) == {"Patient/1"}
        # Its name may be used for another.
        await provider.submitted(provider.manifest("b", patient("2")), "completed")
        await provider.ended()
    assert set(await provider.stored()) == {"Patient/1", "Patient/2"}


async def test_an_open_submission_tells_what_became_of_each_manifest_and_can_be_stopped_however_old_it_is(
    provider: Provider, pull: PullSite, clock: Clock
) -> None:
    pull.source.http.status("/fhir/manifests/bad", 404, b"")
    bad = f"{pull.source.http.base}/manifests/bad"
    async with pull.running():
        await provider.submitted(provider.manifest("a", patient("1")))
        await provider.submitted(bad)
        other = Provider(provider.site, pull, "another")
        await other.submitted(provider.manifest("b", patient("2")), "completed")
        await other.ended()
        await until(lambda: len(pull.told(JobFinished)) == 3)
        await clock.round(1000)
        assert await rows(pull) == (1, 2, 2)
        place = await provider.place()
        answer = await provider.site.get(place, headers=provider.token())
        severities = {name: said[0][0] for name, said in (await provider.told(await answer.json())).items()}
        assert severities == {"a": "information", "bad": "error"}
        await provider.submitted(None, "stopped")
        await provider.ended(place)
        assert set(await provider.stored()) == {"Patient/2"}
    await clock.round(8)
    assert await rows(pull) == (0, 0, 0)


@pytest.mark.parametrize("what", UNDER_WAY)
async def test_a_submission_that_is_not_over_stays_however_old_it_is(
    provider: Provider, pull: PullSite, clock: Clock, what: str
) -> None:
    begins, ends = UNDER_WAY[what]
    async with pull.running():
        await provider.submitted(provider.manifest("a", patient("1")), "completed")
        await provider.ended()
    await pull.rows.execute(begins)
    await clock.round(8)
    assert (await rows(pull))[:2] == (1, 1)
    await pull.rows.execute(ends)
    await clock.round(8)
    assert (await rows(pull))[:2] == (0, 0)
