"""How pulls end: with the MeasureReport that they were begun with, and even if their end cannot be kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from sluice_contracts.commands import FailFile, FailImport, FinishImport, LoadFile, StartBulkImport
from sluice_contracts.events import ImportSettled, ItemFailed, JobFinished, JobOutcome
from sluice_contracts.topics import BULK_IMPORT_FILES
from sluice_streaming.messages import Message
from support.pulling import PullSite, pull_site
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


async def test_a_job_whose_files_ends_cannot_be_kept_ends_all_the_same(site: PullSite) -> None:
    await site.rows.execute(BROKEN)
    finished = await site.pull()
    assert (finished.outcome, finished.items, finished.failed) == (JobOutcome.FAILED, 2, 2)
    assert site.failures() == {0: ("internal", None), 1: ("internal", None)}
    row = await site.job()
    assert (row["failed"], row["settled"], row["phase"]) == ("internal", 1, "done")


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
