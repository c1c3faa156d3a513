"""Whoever dies when, and whatever comes twice: a pull comes to the same, and nothing is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from sluice_contracts.commands import CancelBulkImport, FinishImport, LoadFile, PollExport
from sluice_contracts.events import (
    FileLoaded,
    ImportSettled,
    JobCancelled,
    JobFinished,
    JobOutcome,
    JobPlanned,
)
from sluice_contracts.topics import BULK_IMPORT_FILES
from sluice_puller import __main__ as puller
from sluice_puller.settings import Settings
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Message
from sluice_streaming.service import Context
from support.gateway_memory import SECRET
from support.pulling import STATUS, PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database
from support.streams import Mortal, until

FILES, PATIENTS = 6, 40


@pytest.fixture
async def site(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        for number in range(FILES):
            ids = (f"p{number}-{n}" for n in range(PATIENTS))
            found.source.patients(f"{number}.ndjson", *ids, count=PATIENTS)
        yield found


async def check(site: PullSite) -> None:
    """Check that what is there is what an undisturbed run leaves."""
    stored = await site.stored()
    assert set(stored) == {f"Patient/p{file}-{n}" for file in range(FILES) for n in range(PATIENTS)}
    assert {each["meta"]["versionId"] for each in stored.values()} == {"1"}
    assert await site.rows.fetchval("SELECT count(*) FROM fhir.resources") == FILES * PATIENTS
    (finished,) = site.told(JobFinished)
    assert (finished.outcome, finished.items, finished.attached) == (
        JobOutcome.COMPLETED,
        FILES + 1,
        FILES + 1,
    )
    row = await site.job()
    assert (row["files"], row["settled"]) == (FILES, FILES)


class Later(Mortal):
    """Survives the first of the steps at which it dies."""

    survives = 0

    async def reach(self, point: str) -> None:
        if point == self.at and self.survives:
            self.survives -= 1
            return
        await super().reach(point)


class Impatient(Settings):
    """Does not wait at its end for deliveries that will never finish."""

    def limits(self) -> Limits:
        return replace(super().limits(), stop=0.2)


async def die(site: PullSite, mortal: Mortal) -> None:
    """Run a puller until it is dead."""
    settings = Impatient(
        postgres=site.database.dsn_for("puller"),
        secret=SECRET,
        loopback_sources=True,
        pull_least=0.02,
        pull_every=0.02,
    )
    context = Context("puller")
    task = asyncio.create_task(puller.serve(context, settings, mortal))
    await asyncio.wait_for(mortal.dead.wait(), 120)
    context.stop.set()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 120)


@pytest.mark.parametrize(
    ("point", "survives"),
    [
        *((point, number) for point in ("publish", "published") for number in (0, 1, 3)),
        ("commit", 0),
        ("commit", 1),
    ],
)
async def test_whoever_dies_in_the_middle_the_result_is_that_of_an_undisturbed_run(
    site: PullSite, point: str, survives: int
) -> None:
    await site.publish(site.start())
    mortal = Later(site.broker, point)
    mortal.survives = survives
    await die(site, mortal)
    # What was claimed and not done is due again when its lease is over.
    await site.rows.execute("UPDATE pulls.jobs SET due = now() WHERE due IS NOT NULL")
    async with site.running():
        await until(lambda: bool(site.told(JobFinished)))
    await check(site)
    assert len({(each.at, each.items) for each in site.told(JobPlanned)}) == 1


async def test_everything_delivered_twice_changes_nothing(site: PullSite) -> None:
    start = site.start()
    await site.publish(start, start)
    async with site.running():
        await until(lambda: bool(site.told(JobFinished)))
        before = site.told(FileLoaded)
        again: list[Any] = [LoadFile(job=start.job, item=item) for item in range(FILES)]
        for command in [*again, FinishImport(job=start.job, item=FILES)]:
            await site.broker.publish(Message(BULK_IMPORT_FILES, f"{start.job}/{command.item}", command))
        await site.publish(start, *(PollExport(job=start.job, turn=turn) for turn in range(5)))
        await until(lambda: len(site.told(ImportSettled)) >= 2)
        await until(lambda: len(site.told(FileLoaded)) >= 2 * FILES)
    assert {each.item: each for each in before} == {each.item: each for each in site.told(FileLoaded)}
    assert len(site.source.asked_for("/fhir/$export")) == 1
    await check(site)


async def test_an_export_that_is_under_way_is_polled_on_by_another_process(site: PullSite) -> None:
    site.source.busy = 1000
    await site.publish(site.start())
    async with site.running():
        await site.until_row(lambda row: row["phase"] == "polling" and row["turn"] > 2)
    site.source.busy = 0
    async with site.running():
        await until(lambda: bool(site.told(JobFinished)))
    assert len(site.source.asked_for("/fhir/$export")) == 1
    await check(site)


@pytest.mark.parametrize("first", [True, False])
async def test_a_job_that_is_cancelled_before_it_began_ends_cancelled(site: PullSite, first: bool) -> None:
    start = site.start()
    cancel = CancelBulkImport(job=start.job)
    await site.publish(*((cancel, start) if first else (start, cancel)))
    site.source.busy = 1000
    async with site.running():
        await until(lambda: bool(site.told(JobFinished)))
        await site.until_row(lambda row: row["phase"] == "done")
    assert site.told(JobFinished)[0].outcome is JobOutcome.CANCELLED
    assert site.told(JobCancelled)
    assert await site.stored() == {}
    assert site.source.deleted == len(site.source.asked_for("/fhir/$export"))


async def test_a_mark_alone_cancels_a_job_even_if_no_command_says_so(site: PullSite) -> None:
    site.source.busy = 1000
    start = site.start()
    await site.publish(start)
    async with site.running():
        await site.until_row(lambda row: row["phase"] == "polling")
        await site.rows.execute("SELECT pulls.withdraw($1, now())", start.job)
        await until(lambda: bool(site.told(JobFinished)))
        await site.until_row(lambda row: row["phase"] == "done")
    assert site.told(JobFinished)[0].outcome is JobOutcome.CANCELLED
    assert site.source.deleted == 1


async def test_a_download_that_breaks_off_is_taken_up_where_it_broke(site: PullSite) -> None:
    lines = lines_of(*({"resourceType": "Patient", "id": f"x{n}"} for n in range(2000)))
    asked: list[str] = []

    async def breaking(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range", ""))
        start = int((asked[-1] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": '"v"', "Accept-Ranges": "bytes"}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(lines) - 1}/{len(lines)}"
        response.content_length = len(lines) - start
        await response.prepare(request)
        await response.write(lines[start : start + 30_000])
        if start + 30_000 < len(lines):
            assert request.transport is not None
            request.transport.close()
        return response

    site.source.http.on("/fhir/files/breaking", breaking)
    site.source.manifest["output"] = []
    site.source.list_file(f"{site.source.http.origin}/fhir/files/breaking", count=2000)
    finished = await site.pull()
    assert finished.outcome is JobOutcome.COMPLETED
    assert len(await site.stored()) == 2000
    assert len(asked) > 1
    assert all(asked[1:])
    assert STATUS in {each.path for each in site.source.http.asked}
