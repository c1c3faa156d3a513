"""What is to be published for jobs that have not ended, when the log that had their commands is not there.

A job's start is made again from its rows. Everything that follows from it is keyed by job and item: what took
effect before is told again and does not happen twice (ADR 45).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import msgspec

from sluice_backup.database import Connection
from sluice_contracts.commands import (
    CancelBulkExport,
    CancelBulkImport,
    CancelDocumentImport,
    Command,
    ConflictResolution,
    ImportItem,
    LoadFile,
    PollExport,
    StartBulkExport,
    StartDocumentImport,
)
from sluice_contracts.errors import ItemError
from sluice_contracts.events import ItemFailed, Stage
from sluice_contracts.exports import ExportAccess, ExportRequest
from sluice_contracts.ids import item_key
from sluice_contracts.progress import ItemRank
from sluice_contracts.topics import (
    BULK_IMPORT_FILES,
    JOBS_BULK_EXPORT,
    JOBS_BULK_IMPORT,
    JOBS_DOCUMENT_IMPORT,
    JOBS_EVENTS,
    Topic,
)
from sluice_streaming.messages import Message

# A row without what its start says was left by a cancellation that came first; the start finds it.
_IMPORTS: LiteralString = """
SELECT j.job::text, j.client, j.subject, extract(epoch FROM j.submitted_at)::float8, j.conflict_resolution,
    j.tags, j.cancelled_at IS NOT NULL
FROM documents.jobs j LEFT JOIN status.jobs s USING (job)
WHERE s.finished_at IS NULL AND j.items > 0 ORDER BY j.submitted_at, j.job
"""
_ITEMS: LiteralString = """
SELECT reference, source, project, folder, name, metadata FROM documents.items WHERE job = %s ORDER BY item
"""
_EXPORTS: LiteralString = """
SELECT j.job::text, j.client, j.subject, extract(epoch FROM j.submitted_at)::float8, j.request, j.access,
    j.cancelled_at IS NOT NULL OR j.deleted_at IS NOT NULL
FROM exports.jobs j LEFT JOIN status.jobs s USING (job)
WHERE s.finished_at IS NULL AND j.snapshot IS NOT NULL ORDER BY j.submitted_at, j.job
"""
# A job that has not come to a decision is due by its row: the puller finds it by itself.
_PULLS: LiteralString = """
SELECT j.job::text, j.decided, j.cancelled_at IS NOT NULL
FROM pulls.jobs j LEFT JOIN status.jobs s USING (job)
WHERE s.finished_at IS NULL AND j.client IS NOT NULL ORDER BY j.submitted_at, j.job
"""
_SETTLED: LiteralString = """
SELECT f.item FROM pulls.files f LEFT JOIN status.job_items i USING (job, item)
WHERE f.job = %s AND f.settled_at IS NOT NULL AND coalesce(i.rank, 0) < %s ORDER BY f.item
"""
# Jobs that could not be planned: all there ever was of them are events.
_ROWLESS: LiteralString = """
SELECT s.job::text, item, extract(epoch FROM now())::float8
FROM status.jobs s CROSS JOIN generate_series(0, s.items - 1) AS item
LEFT JOIN status.job_items i USING (job, item)
WHERE s.finished_at IS NULL AND s.kind IS NOT NULL AND coalesce(i.rank, 0) < %s
    AND NOT EXISTS (SELECT FROM documents.jobs j WHERE j.job = s.job AND j.items > 0)
    AND NOT EXISTS (SELECT FROM exports.jobs j WHERE j.job = s.job AND j.snapshot IS NOT NULL)
    AND NOT EXISTS (SELECT FROM pulls.jobs j WHERE j.job = s.job AND j.client IS NOT NULL)
ORDER BY s.job, item
"""
_FINAL = int(ItemRank.CANCELLED)


def messages(connection: Connection) -> Iterator[Message]:
    """Give what has every job that has not ended go on from where its rows are; again is as good as once."""
    yield from _imports(connection)
    yield from _exports(connection)
    yield from _pulls(connection)
    for job, item, at in connection.execute(_ROWLESS, [_FINAL]).fetchall():
        failed = ItemFailed(job=job, at=at, item=item, stage=Stage.PLAN, code=ItemError.INTERNAL)
        yield Message(JOBS_EVENTS, job, failed)


def _imports(connection: Connection) -> Iterator[Message]:
    for job, client, subject, at, rule, tags, cancelled in connection.execute(_IMPORTS).fetchall():
        items = connection.execute(_ITEMS, [job]).fetchall()
        start = StartDocumentImport(
            job=job,
            client=client,
            subject=subject,
            submitted_at=at,
            items=tuple([_item(row) for row in items]),
            conflict_resolution=ConflictResolution(rule),
            tags=tuple(tags),
        )
        yield _about(JOBS_DOCUMENT_IMPORT, start)
        if cancelled:
            yield _about(JOBS_DOCUMENT_IMPORT, CancelDocumentImport(job=job))


def _item(row: tuple[Any, ...]) -> ImportItem:
    reference, source, project, folder, name, metadata = row
    return ImportItem(
        reference=reference,
        source=source,
        project=project,
        folder=folder,
        name=name,
        metadata=None if metadata is None else msgspec.json.decode(metadata),
    )


def _exports(connection: Connection) -> Iterator[Message]:
    for job, client, subject, at, request, access, stopped in connection.execute(_EXPORTS).fetchall():
        # What was asked for is forgotten when the content is deleted.
        if request is not None and access is not None:
            start = StartBulkExport(
                job=job,
                client=client,
                subject=subject,
                submitted_at=at,
                request=msgspec.json.decode(request, type=ExportRequest),
                access=msgspec.json.decode(access, type=ExportAccess),
            )
            yield _about(JOBS_BULK_EXPORT, start)
        if stopped:
            yield _about(JOBS_BULK_EXPORT, CancelBulkExport(job=job))


def _pulls(connection: Connection) -> Iterator[Message]:
    for job, decided, cancelled in connection.execute(_PULLS).fetchall():
        if cancelled:
            yield _about(JOBS_BULK_IMPORT, CancelBulkImport(job=job))
        elif decided is not None:
            # The turn is over, and what was decided in it is told again: the plan, and files to load.
            yield _about(JOBS_BULK_IMPORT, PollExport(job=job, turn=decided))
            for (item,) in connection.execute(_SETTLED, [job, _FINAL]).fetchall():
                yield Message(BULK_IMPORT_FILES, item_key(job, item), LoadFile(job=job, item=item))


def _about(topic: Topic, command: Command) -> Message:
    return Message(topic, command.job, command)
