"""Jobs whose commands are lost with their log go on from their rows, over another one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from sluice_backup.unfinished import messages
from sluice_contracts.commands import (
    CancelDocumentImport,
    ConflictResolution,
    ImportItem,
    StartDocumentImport,
)
from sluice_contracts.errors import ItemError
from sluice_contracts.events import ItemFailed, JobFinished, JobOutcome, Stage
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message
from support.histories import job_number
from support.pulling import pull_site
from support.resource_store import lines_of
from support.stack import Database
from support.streams import until

ONE, OTHER, THIRD = job_number(1), job_number(2), job_number(3)


def unfinished(database: Database) -> Sequence[Message]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        return list(messages(connection))


def run(database: Database, statement: str, *rows: tuple[object, ...]) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.cursor().executemany(statement, rows or [()])


async def test_a_bulk_import_goes_on_where_its_rows_are_also_if_no_event_of_it_was_folded(
    database: Database,
) -> None:
    async with pull_site(database) as site:
        site.source.patients("a", "p1", "p2")
        site.source.list_file(f"{site.source.http.origin}/fhir/files/b")
        site.source.http.status("/fhir/files/b", 503)
        await site.publish(site.start())
        async with site.running(attempts=8):
            await site.until_row(lambda row: row["settled"] == 1)
        run(database, "TRUNCATE status.jobs, status.job_items, status.outbox")
        site.broker = MemoryBroker(name="another")
        body = lines_of({"resourceType": "Patient", "id": "p3"})
        site.source.http.on("/fhir/files/b", body, Content_Type="application/fhir+ndjson")
        # Twice, as when it broke off and is done again.
        await site.broker.publish(*unfinished(database), *unfinished(database))
        async with site.running():
            await until(lambda: bool(site.told(JobFinished)))
        (finished,) = site.told(JobFinished)
        assert (finished.outcome, finished.items, finished.attached) == (JobOutcome.COMPLETED, 3, 3)
        assert sorted(await site.stored()) == ["Patient/p1", "Patient/p2", "Patient/p3"]
        assert len(site.source.asked_for("/fhir/files/a")) == 1, "what was loaded is not loaded again"
        assert unfinished(database) == []


JOBS = """
INSERT INTO documents.jobs (
    job, client, subject, conflict_resolution, tags, items, submitted_at, cancelled_at
) VALUES (%s, %s, 's', %s, %s, %s, to_timestamp(%s), %s)
"""
ITEMS = "INSERT INTO documents.items VALUES (%s, %s, %s, 'so', 'p', 'f', %s, %s)"
STATUS = "INSERT INTO status.jobs (job, kind, state, items) VALUES (%s, 'document-import', 'RUNNING', %s)"


async def test_an_import_of_documents_is_started_again_as_it_was_and_cancelled_if_it_was(
    database: Database,
) -> None:
    now = datetime.now(UTC)
    run(
        database,
        JOBS,
        (ONE, "c", "AUTORENAME", ["t"], 2, 1.5, None),
        (OTHER, "c", "SKIP", [], 1, 2.5, now),
        (THIRD, "", "SKIP", [], 0, 3, now),
    )
    run(
        database,
        ITEMS,
        (ONE, 1, "r1", None, None),
        (ONE, 0, "r0", "n", b'{"k": ["v", 1]}'),
        (OTHER, 0, "r", None, None),
    )
    run(database, STATUS, (ONE, 2))
    first, second, cancel = [message.body for message in unfinished(database)]
    assert first == StartDocumentImport(
        job=ONE,
        client="c",
        subject="s",
        submitted_at=1.5,
        conflict_resolution=ConflictResolution.AUTORENAME,
        tags=("t",),
        items=(
            ImportItem(
                reference="r0", name="n", metadata={"k": ["v", 1]}, source="so", project="p", folder="f"
            ),
            ImportItem(reference="r1", source="so", project="p", folder="f"),
        ),
    )
    assert isinstance(second, StartDocumentImport)
    assert (second.job, cancel) == (OTHER, CancelDocumentImport(job=OTHER))
    ended = (
        "UPDATE status.jobs SET state = 'FINISHED', outcome = 'completed', finished_at = now() WHERE job = %s"
    )
    run(database, ended, (ONE,))
    assert [message.key for message in unfinished(database)] == [OTHER, OTHER]


async def test_of_a_job_that_only_events_tell_of_the_items_fail_that_had_not_ended(
    database: Database,
) -> None:
    run(database, STATUS, (ONE, 3))
    run(
        database,
        "INSERT INTO status.job_items (job, item, rank, updated_at) VALUES (%s, %s, %s, now())",
        (ONE, 0, 50),
        (ONE, 1, 20),
    )
    told = [message.body for message in unfinished(database)]
    assert [(it.item, it.code, it.stage) for it in told if isinstance(it, ItemFailed)] == [
        (1, ItemError.INTERNAL, Stage.PLAN),
        (2, ItemError.INTERNAL, Stage.PLAN),
    ]
    assert len(told) == 2
