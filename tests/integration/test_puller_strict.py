"""Imports that are wanted whole: everything is there in one step, or nothing ever was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.commands import FailImport, FinishImport, LoadFile, StartBulkImport
from sluice_contracts.events import FileLoaded, ImportSettled, ItemFailed, JobFinished, JobOutcome
from sluice_contracts.topics import BULK_IMPORT_FILES
from sluice_puller.postgres_ends import finish
from sluice_storage.pool import open_pool
from sluice_streaming.messages import Message
from support.pulling import PullSite, pull_site
from support.resource_store import Json, lines_of
from support.stack import Database
from support.streams import until

REPORT = '{"resourceType": "MeasureReport", "id": "r", "type": "data-collection", "measure": "http://x/M"}'


@pytest.fixture
async def site(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        yield found


def strict(site: PullSite, report: str | None = None) -> StartBulkImport:
    start = site.start()
    return msgspec.structs.replace(
        start, request=msgspec.structs.replace(start.request, strict=True, report=report)
    )


def patient(id_: str, day: int | None = None, **more: Any) -> Json:
    meta = {} if day is None else {"meta": {"lastUpdated": f"2026-01-{day:02}T00:00:00Z"}}
    return {"resourceType": "Patient", "id": id_, **meta, **more}


def observation(id_: str, subject: str) -> Json:
    return {"resourceType": "Observation", "id": id_, "subject": {"reference": f"Patient/{subject}"}}


async def test_everything_is_stored_in_one_batch_and_each_file_told_with_true_counts(
    site: PullSite,
) -> None:
    site.source.patients("before", "p1", "gone")
    await site.pull()
    source = site.source
    source.busy = 0
    source.manifest["output"] = []
    source.give(
        "p", lines_of(patient("p1"), patient("p2", 3, gender="male"), patient("p2", 2, gender="other"))
    )
    source.give("q", lines_of(patient("p2", 1), patient("p3")))
    source.give("o", lines_of(observation("o1", "p1"), observation("o2", "p3")), type_="Observation")
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "name": "G"}
    source.give("g", lines_of({**group, "member": [{"entity": {"reference": "Patient/p3"}}]}), type_="Group")
    deletion = {"request": {"method": "DELETE", "url": "Patient/gone"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}
    source.give("gone", lines_of(bundle), kind="deleted", type_="Bundle")
    start = strict(site, REPORT)
    finished = await site.pull(start)
    assert (finished.outcome, finished.items, finished.failed) == (JobOutcome.COMPLETED, 6, 0)
    stored = await site.stored()
    assert set(stored) == {
        "Patient/p1",
        "Patient/p2",
        "Patient/p3",
        "Observation/o1",
        "Observation/o2",
        "Group/g",
        "MeasureReport/r",
    }
    assert stored["Patient/p2"]["gender"] == "male"
    told = {each.item: each for each in site.told(FileLoaded) if each.job == start.job}
    assert {
        item: (each.created, each.unchanged, each.stale, each.deleted) for item, each in told.items()
    } == {
        0: (1, 1, 1, 0),
        1: (1, 0, 1, 0),
        2: (2, 0, 0, 0),
        3: (1, 0, 0, 0),
        4: (0, 0, 0, 1),
    }
    batches = await site.rows.fetch(
        "SELECT b.batch, t.type, t.resources, t.tombstones FROM fhir.batches b JOIN fhir.batch_types t"
        " USING (batch) WHERE job = $1 ORDER BY type",
        start.job,
    )
    assert len({row["batch"] for row in batches}) == 1
    assert [(row["type"], row["resources"], row["tombstones"]) for row in batches] == [
        ("Group", 1, 0),
        ("MeasureReport", 1, 0),
        ("Observation", 2, 0),
        ("Patient", 2, 1),
    ]
    assert await site.rows.fetchval("SELECT count(*) FROM fhir.group_members") == 1
    assert await site.rows.fetchval("SELECT count(*) FROM pulls.staged") == 0


@pytest.mark.parametrize("flaw", ["reference", "deleted", "line", "file", "count"])
async def test_nothing_is_stored_if_anything_is_missing_or_unsound(site: PullSite, flaw: str) -> None:
    source = site.source
    source.patients("p", "p1", "p2")
    source.give("o", lines_of(observation("o1", "p1")), type_="Observation")
    if flaw == "reference":
        source.give("x", lines_of(observation("o2", "nobody")), type_="Observation")
    elif flaw == "deleted":
        deletion = {"request": {"method": "DELETE", "url": "Patient/p1"}}
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}

        async def after(request: web.Request) -> web.Response:
            await site.until_row(lambda row: row["settled"] == 2)
            assert await site.rows.fetchval("SELECT count(*) FROM pulls.staged") == 3
            return web.Response(body=lines_of(bundle))

        source.list_file(f"{source.http.origin}/fhir/files/x", kind="deleted", type_="Bundle")
        source.http.on("/fhir/files/x", after)
    elif flaw == "line":
        source.give("x", lines_of(patient("p3"), b"{"))
    elif flaw == "file":
        source.list_file(f"{source.http.origin}/fhir/files/missing")
    else:
        source.patients("x", "p3", count=2)
    start = strict(site, REPORT)
    finished = await site.pull(start)
    assert (finished.outcome, finished.items, finished.failed) == (JobOutcome.FAILED, 4, 4)
    assert await site.rows.fetchval("SELECT count(*) FROM fhir.resources") == 0
    assert await site.rows.fetchval("SELECT count(*) FROM pulls.staged") == 0
    assert site.told(FileLoaded) == []
    assert site.failures()[3][0] == "not_whole"
    assert len(site.failures()) == 4
    # What comes again changes nothing.
    told = site.told(ItemFailed)
    for command in [LoadFile(job=start.job, item=0), FinishImport(job=start.job, item=3)]:
        await site.broker.publish(Message(BULK_IMPORT_FILES, f"{start.job}/{command.item}", command))
    async with site.running():
        await until(lambda: len(site.told(ItemFailed)) >= 2 * len(told))
    assert set(site.told(ItemFailed)) == set(told)
    assert site.told(FileLoaded) == []
    assert site.told(ImportSettled) == []


def organization(id_: str, part_of: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": id_,
        "partOf": {"reference": f"Organization/{part_of}"},
    }


def linked(id_: str, other: str) -> Json:
    return patient(id_, link=[{"other": {"reference": f"Patient/{other}"}, "type": "seealso"}])


CIRCLES = {
    "of one with itself": [[organization("o1", "o1")]],
    "of two in one file": [[linked("p1", "p2"), linked("p2", "p1")]],
    "of two in two files": [[linked("p1", "p2")], [linked("p2", "p1")]],
    "of three, and what leads into it": [
        [linked("p1", "p2"), linked("p0", "p1")],
        [linked("p3", "p1")],
        [linked("p2", "p3")],
    ],
    "of two types": [
        [{**patient("p1"), "managingOrganization": {"reference": "Organization/o1"}}],
        [
            {
                "resourceType": "Organization",
                "id": "o1",
                "extension": [{"url": "http://x", "valueReference": {"reference": "Patient/p1"}}],
            }
        ],
    ],
}


@pytest.mark.parametrize("files", CIRCLES.values(), ids=CIRCLES)
async def test_references_that_go_round_in_a_circle_are_found_in_whatever_order_they_come(
    site: PullSite, files: list[list[Json]]
) -> None:
    for number, file in enumerate(files):
        site.source.give(str(number), lines_of(*file), type_=file[0]["resourceType"])
    names = {f"{each['resourceType']}/{each['id']}" for file in files for each in file}
    finished = await site.pull(strict(site))
    assert (finished.outcome, finished.failed) == (JobOutcome.COMPLETED, 0)
    assert set(await site.stored()) == names


async def test_a_circle_that_is_closed_by_what_is_here_already_is_whole(site: PullSite) -> None:
    site.source.give("first", lines_of(linked("p2", "p1"), patient("p1")))
    await site.pull(strict(site))
    site.source.busy, site.source.manifest["output"] = 0, []
    site.source.give("second", lines_of(linked("p1", "p2")))
    finished = await site.pull(strict(site))
    assert (finished.outcome, finished.failed) == (JobOutcome.COMPLETED, 0)
    assert (await site.stored())["Patient/p1"]["link"][0]["other"] == {"reference": "Patient/p2"}


async def test_a_circle_that_is_not_closed_is_not_stored(site: PullSite) -> None:
    site.source.give("p", lines_of(linked("p1", "p2"), linked("p2", "p3"), linked("p4", "p4")))
    assert (await site.pull(strict(site))).outcome is JobOutcome.FAILED
    assert await site.stored() == {}


async def test_a_circle_one_of_which_is_deleted_in_the_same_import_is_not_stored(site: PullSite) -> None:
    site.source.give("p", lines_of(linked("p1", "p2"), linked("p2", "p1")))
    deletion = {"request": {"method": "DELETE", "url": "Patient/p2"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}

    async def after(request: web.Request) -> web.Response:
        await site.until_row(lambda row: row["settled"] == 1)
        return web.Response(body=lines_of(bundle))

    site.source.list_file(f"{site.source.http.origin}/fhir/files/gone", kind="deleted", type_="Bundle")
    site.source.http.on("/fhir/files/gone", after)
    assert (await site.pull(strict(site))).outcome is JobOutcome.FAILED
    assert await site.stored() == {}


async def test_many_resources_and_a_repeat_come_to_the_same(site: PullSite) -> None:
    lines = lines_of(*(patient(f"p{n}", name=[{"text": "x" * 800}]) for n in range(9000)))
    site.source.give("p", lines)
    start = strict(site)
    await site.publish(start)
    async with site.running(pull_delete=False):
        await until(lambda: bool(site.told(JobFinished)))
        first = site.told(FileLoaded)
        finish_again = FinishImport(job=start.job, item=1)
        await site.broker.publish(Message(BULK_IMPORT_FILES, f"{start.job}/1", finish_again))
        await until(lambda: len(site.told(ImportSettled)) == 2)
    assert (first[0].created, first[0].read) == (9000, 9000)
    assert site.told(FileLoaded) == first * 2
    assert await site.rows.fetchval("SELECT count(*) FROM fhir.resources") == 9000
    assert await site.rows.fetchval("SELECT last_seq - first_seq FROM fhir.batch_types") == 8999
    site.source.busy = 0
    again = strict(site)
    await site.pull(again)
    told = [each for each in site.told(FileLoaded) if each.job == again.job]
    assert told[0].unchanged == 9000
    kept = await site.rows.fetch("SELECT firsts, lasts FROM pulls.kept WHERE job = $1", again.job)
    assert sum(last - first + 1 for row in kept for first, last in zip(*row, strict=True)) == 9000


async def test_what_was_taken_aside_goes_with_a_job_that_is_cancelled_or_given_up(site: PullSite) -> None:
    site.source.patients("p", "p1")

    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    site.source.http.on("/fhir/files/silent", silent)
    site.source.list_file(f"{site.source.http.origin}/fhir/files/silent")
    start = strict(site)
    await site.publish(start)
    async with site.running():
        await site.until_row(lambda row: row["settled"] == 1)
        assert await site.rows.fetchval("SELECT count(*) FROM pulls.staged") == 1
        await site.publish(FailImport(job=start.job, code="internal"))
        await until(lambda: bool(site.told(JobFinished)))
    assert site.told(JobFinished)[0].outcome is JobOutcome.FAILED
    assert site.failures() == dict.fromkeys(range(3), ("internal", None))
    assert await site.rows.fetchval("SELECT count(*) FROM pulls.staged") == 0
    assert await site.stored() == {}
    pool = await open_pool(site.database.dsn_for("puller"))
    row = await site.job()
    ended = await finish(pool, start.job, row["finished_at"])
    assert ended is not None
    assert ended.abandoned
    await pool.close()
