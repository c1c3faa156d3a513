"""How pulls end: with the MeasureReport that they were begun with, and even if their end cannot be kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.commands import FailFile, FailImport, FinishImport, LoadFile, StartBulkImport
from sluice_contracts.events import ImportSettled, ItemFailed, JobFinished, JobOutcome
from sluice_contracts.topics import BULK_IMPORT_FILES
from sluice_expirer.imports import Imports
from sluice_expirer.settings import Settings as Expiry
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from sluice_streaming.messages import Message
from support.pulling import PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database
from support.streams import until

REPORT = (
    '{\n"resourceType": "MeasureReport", "id": "r", "type": "data-collection", "measure": "http://x/M"\n}'
)
# No file's end can be kept; a whole job's can.
BROKEN = """
CREATE FUNCTION pulls.refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON pulls.jobs FOR EACH ROW
    WHEN (NEW.settled = OLD.settled + 1 AND NEW.phase = 'loading') EXECUTE FUNCTION pulls.refuse();
"""


@pytest.fixture
async def site(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        found.source.patients("a", "p1", "p2")
        yield found


def with_report(start: StartBulkImport) -> StartBulkImport:
    return msgspec.structs.replace(start, request=msgspec.structs.replace(start.request, report=REPORT))


async def again(site: PullSite, command: FinishImport | FailFile | LoadFile) -> None:
    await site.broker.publish(Message(BULK_IMPORT_FILES, f"{command.job}/{command.item}", command))


async def test_the_report_is_stored_with_the_end_and_only_once(site: PullSite) -> None:
    start = with_report(site.start())
    await site.publish(start)
    async with site.running(pull_delete=False):
        await until(lambda: bool(site.told(JobFinished)))
        assert set(await site.stored()) == {"MeasureReport/r", "Patient/p1", "Patient/p2"}
        # Changed since, it is not put back by a command that comes again.
        await site.rows.execute("UPDATE pulls.jobs SET request = $1", msgspec.json.encode(start.request))
        await site.rows.execute("DELETE FROM fhir.resources WHERE type = 'MeasureReport'")
        await again(site, FinishImport(job=start.job, item=1))
        await until(lambda: len(site.told(ImportSettled)) == 2)
    first, second = site.told(ImportSettled)
    assert first == second
    assert set(await site.stored()) == {"Patient/p1", "Patient/p2"}
    assert site.told(JobFinished)[0].outcome is JobOutcome.COMPLETED
    batch = await site.rows.fetchval("SELECT count(*) FROM fhir.batches WHERE job = $1", start.job)
    assert batch == 2


async def test_of_a_job_that_brought_nothing_no_report_is_stored(site: PullSite) -> None:
    site.source.manifest["output"] = []
    site.source.list_file(f"{site.source.http.origin}/fhir/files/missing")
    finished = await site.pull(with_report(site.start()))
    assert finished.outcome is JobOutcome.FAILED
    assert await site.stored() == {}


async def test_references_that_resolve_nowhere_are_counted_by_type_and_the_first_named(
    site: PullSite,
) -> None:
    base = site.source.http.base
    about = {"resourceType": "Observation", "subject": {"reference": "Patient/p1"}}
    others = [
        "Patient/p9",
        f"{base}/Patient/p9",
        "Patient/p9/_history/3",
        "Practitioner/none",
        "Device/there",
        "https://other.example/Patient/p8",
        "urn:uuid:7",
        "#inside",
        "Practitioner?identifier=1",
        "Odd/1",
    ]
    site.source.give(
        "o",
        lines_of(
            *({**about, "id": f"o{n}", "focus": [{"reference": f"Location/l{n:03}"}]} for n in range(150)),
            {**about, "id": "x", "note": '"reference":"Patient/text"'},
            {**about, "id": "y", "contained": [{"resourceType": "Basic", "x": {"reference": "Device/d"}}]},
            *({**about, "id": f"r{n}", "device": {"reference": each}} for n, each in enumerate(others)),
        ),
        type_="Observation",
    )
    site.source.give("d", lines_of({"resourceType": "Device", "id": "there"}), type_="Device")
    await site.pull()
    rows = await site.rows.fetch("SELECT type, total, ids FROM pulls.unresolved ORDER BY type")
    assert [(row["type"], row["total"]) for row in rows] == [
        ("Device", 1),
        ("Location", 150),
        ("Patient", 1),
        ("Practitioner", 1),
    ]
    assert rows[0]["ids"] == ["d"]
    # A hundred in all.
    assert rows[1]["ids"] == [f"l{n:03}" for n in range(99)]
    assert rows[2]["ids"] == rows[3]["ids"] == []
    assert await site.rows.fetchval("SELECT count(*) FROM pulls.mentions") == 0


async def test_what_was_there_before_counts_as_there_and_what_was_deleted_does_not(site: PullSite) -> None:
    site.source.patients("c", "p3")
    await site.pull()
    about = {"resourceType": "Observation", "id": "o"}
    subjects = [{"reference": f"Patient/{name}"} for name in ("p1", "p3")]
    lines = lines_of({**about, "focus": subjects})
    deletion = {"request": {"method": "DELETE", "url": "Patient/p3"}}
    gone = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}
    site.source.manifest["output"] = []
    site.source.give("o", lines, type_="Observation")
    site.source.give("gone", lines_of(gone), kind="deleted", type_="Bundle")
    await site.pull()
    rows = await site.rows.fetch("SELECT type, total, ids FROM pulls.unresolved")
    assert [tuple(row) for row in rows] == [("Patient", 1, ["p3"])]


async def test_a_job_whose_files_ends_cannot_be_kept_ends_all_the_same(site: PullSite) -> None:
    await site.rows.execute(BROKEN)
    finished = await site.pull()
    assert (finished.outcome, finished.items, finished.failed) == (JobOutcome.FAILED, 2, 2)
    assert site.failures() == {0: ("internal", None), 1: ("internal", None)}
    row = await site.job()
    assert (row["failed"], row["settled"]) == ("internal", 1)
    # The puller may have been stopped before it had the export deleted at its source.
    assert row["phase"] in ("releasing", "done")


async def test_giving_up_what_has_ended_or_is_not_there_changes_nothing(site: PullSite) -> None:
    start = with_report(site.start())
    await site.pull(start)
    before, row = await site.stored(), await site.job()
    await site.publish(FailImport(job=start.job, code="internal"), FailImport(job=site.start().job, code="x"))
    await again(site, FailFile(job=start.job, item=0, code="internal"))
    await again(site, FailFile(job=start.job, item=99, code="internal"))
    told = len(site.told(ImportSettled))
    async with site.running():
        # A job that has ended tells its end again.
        await until(lambda: len(site.told(ImportSettled)) > told)
    assert site.told(ItemFailed) == []
    assert await site.stored() == before
    assert dict(await site.job()) == dict(row)


async def test_a_cancelled_jobs_download_is_broken_off_also_if_the_source_sends_nothing(
    site: PullSite,
) -> None:
    begun, broken = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(lines_of({"resourceType": "Patient", "id": "first"}))
        begun.set()
        try:
            while request.transport is not None:  # noqa: ASYNC110 - nobody tells when a connection is gone
                await asyncio.sleep(0.05)
        finally:
            broken.set()
        return response

    site.source.http.on("/fhir/files/silent", silent)
    site.source.list_file(f"{site.source.http.origin}/fhir/files/silent")
    start = site.start()
    await site.publish(start)
    # The source would be waited for an hour.
    async with site.running(source_idle=3600.0):
        await begun.wait()
        await site.rows.execute("SELECT pulls.withdraw($1, now())", start.job)
        async with asyncio.timeout(45):
            await broken.wait()
        await until(lambda: bool(site.told(JobFinished)))
    assert site.told(JobFinished)[0].outcome is JobOutcome.CANCELLED
    assert "Patient/first" not in await site.stored()


async def test_an_import_is_forgotten_seven_days_after_its_end_and_what_it_loaded_stays(
    site: PullSite,
) -> None:
    start = site.start()
    await site.pull(start)
    time = [datetime.now(UTC) + timedelta(days=6)]
    pool = await open_pool(site.database.dsn_for("expirer"))
    keep = timedelta(days=Expiry(postgres="x", objects="memory:").expire_import_days)
    imports = Imports(pool, keep=keep, now=lambda: time[0])
    everything = "SELECT (SELECT count(*) FROM pulls.files) + (SELECT count(*) FROM pulls.patients)"
    await imports.round()
    assert await site.rows.fetchval(everything) == 3
    time[0] += timedelta(days=2)
    await imports.round()
    assert await site.rows.fetchval(everything) == 0
    assert (await site.job())["deleted_at"] == time[0]
    # What a process noted a moment later goes too.
    await site.rows.execute("INSERT INTO pulls.patients VALUES ($1, 'late')", start.job)
    await imports.round()
    assert await site.rows.fetchval(everything) == 1
    time[0] += timedelta(hours=2)
    await imports.round()
    assert await site.rows.fetchval(everything) == 0
    assert len(await site.stored()) == 2
    await pool.close()


@pytest.mark.parametrize("first", ["a", "b"])
async def test_of_two_sources_with_one_id_the_newer_content_stays_whichever_comes_last(
    site: PullSite, first: str
) -> None:
    pool = await open_pool(site.database.dsn_for("loader"))
    meta = {"a": "2026-01-02T00:00:00Z", "b": "2026-01-01T00:00:00Z"}
    for source in (first, "b" if first == "a" else "a"):
        line = {
            "resourceType": "Patient",
            "id": "1",
            "meta": {"lastUpdated": meta[source]},
            "language": source,
        }

        async def pieces(body: bytes = lines_of(line)) -> AsyncIterator[bytes]:
            yield body

        await Loader(pool, source=source).load(pieces(), source)
    assert (await site.stored())["Patient/1"]["language"] == "a"
    brought = await site.rows.fetchval(
        "SELECT b.source FROM fhir.resources r JOIN fhir.batches b USING (batch)"
        " WHERE r.superseded_by IS NULL"
    )
    assert brought == "a"
    await pool.close()
