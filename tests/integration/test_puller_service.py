"""The puller as a whole: a real database, a source over HTTP, the log in memory; jobs run to their ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sluice_contracts.events import ImportSettled, JobFinished, JobOutcome, JobPlanned
from sluice_contracts.imports import ExportType
from support.pulling import STATUS, PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database
from support.streams import until


@pytest.fixture
async def site(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        yield found


async def test_an_export_is_kicked_off_polled_loaded_and_deleted_at_its_source(site: PullSite) -> None:
    source = site.source
    source.busy = 3
    source.patients("a.ndjson", "p1", "p2", count=2)
    observations = ({"resourceType": "Observation", "id": f"o{n}", "status": "final"} for n in range(50))
    source.give("o.ndjson", lines_of(*observations), type_="Observation")
    command = site.start(f"{source.url}?_type=Patient,Observation")
    await site.publish(command)
    async with site.running():
        await site.until_row(lambda row: row["phase"] == "done")
        await until(lambda: bool(site.told(JobFinished)))
    (finished,) = site.told(JobFinished)
    assert (finished.outcome, finished.items, finished.attached) == (JobOutcome.COMPLETED, 3, 3)
    (kick_off,) = source.asked_for("/fhir/$export")
    assert kick_off.headers["Prefer"] == "respond-async"
    assert kick_off.query["_type"] == "Patient,Observation"
    assert len(source.asked_for(STATUS)) == 4
    assert source.deleted == 1
    assert len(await site.stored()) == 52
    batches = await site.rows.fetch("SELECT DISTINCT job::text, source FROM fhir.batches")
    assert [tuple(row) for row in batches] == [(command.job, site.source_id)]
    assert {item: (each.read, each.created) for item, each in site.loaded().items()} == {
        0: (2, 2),
        1: (50, 50),
    }
    assert site.told(ImportSettled)[0].files == 2
    assert site.told(JobPlanned)[0].sources == (site.source_id,)
    row = await site.job()
    assert (row["request"], row["poll_url"], row["progress"]) == (None, None, 45)
    assert row["submitted_at"] <= row["begun_at"] <= row["planned_at"]


async def test_an_export_that_says_less_than_before_is_waited_for_and_goes_back_for_nobody(
    site: PullSite,
) -> None:
    site.source.patients("a.ndjson", "p1")
    said = iter(["at 80%", "at 20%", "nothing that is known"])
    polls: list[int | None] = []

    async def status(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            return web.Response(status=202)
        polls.append((await site.job())["progress"])
        if (progress := next(said, None)) is None:
            return web.json_response(site.source.manifest)
        return web.Response(status=202, headers={"Retry-After": "0", "X-Progress": progress})

    site.source.http.on(STATUS, status)
    assert (await site.pull()).outcome is JobOutcome.COMPLETED
    assert polls == [None, 80, 80, 80]
    assert set(await site.stored()) == {"Patient/p1"}


async def test_two_pullers_load_one_jobs_files_at_once_and_each_file_once(site: PullSite) -> None:
    names = [f"f{number}" for number in range(6)]
    at_once, most, both = 0, 0, asyncio.Event()

    async def serve(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 2:
            both.set()
        # A puller loads one file at a time here: the first waits for the other one's.
        await both.wait()
        at_once -= 1
        name = request.path.rpartition("/")[2]
        return web.Response(body=lines_of({"resourceType": "Patient", "id": name}))

    for name in names:
        site.source.http.on(f"/fhir/files/{name}", serve)
        site.source.list_file(f"{site.source.http.origin}/fhir/files/{name}")
    command = site.start()
    await site.publish(command)
    async with site.running(pull_files=1), site.running(pull_files=1):
        await until(lambda: bool(site.told(JobFinished)))
    (finished,) = site.told(JobFinished)
    assert (finished.attached, most) == (7, 2)
    assert set(await site.stored()) == {f"Patient/{name}" for name in names}
    assert [len(site.source.asked_for(f"/fhir/files/{name}")) for name in names] == [1] * 6


async def test_a_manifest_that_is_simply_there_is_imported_without_a_kick_off(site: PullSite) -> None:
    site.source.busy = 0
    site.source.patients("a.ndjson", "p1")
    finished = await site.pull(site.start(f"{site.source.http.origin}{STATUS}", ExportType.STATIC))
    assert finished.outcome is JobOutcome.COMPLETED
    assert set(await site.stored()) == {"Patient/p1"}
    assert site.source.asked_for("/fhir/$export") == []
    assert site.source.deleted == 0
    assert (await site.job())["begun_at"] is None


async def test_an_export_of_nothing_ends(site: PullSite) -> None:
    finished = await site.pull()
    assert (finished.outcome, finished.items) == (JobOutcome.COMPLETED, 1)
    assert site.told(JobPlanned)[0].items == 1
