"""Bulk imports' messages survive the wire, and their topics carry what their consumers expect."""

from __future__ import annotations

import pytest

from sluice_contracts.commands import (
    CancelBulkImport,
    FailFile,
    FailImport,
    FinishImport,
    LoadFile,
    PollExport,
    StartBulkImport,
)
from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.events import FileLoaded, ImportSettled
from sluice_contracts.imports import ExportType, ImportRequest
from sluice_contracts.topics import BULK_IMPORT_FILES, JOBS_BULK_IMPORT, JOBS_EVENTS, TOPICS, Topic
from sluice_contracts.wire import Decoder, encode

REQUEST = ImportRequest(source="s", url="https://x.example/$export?_type=A", export_type=ExportType.STATIC)
MESSAGES = [
    (
        JOBS_BULK_IMPORT,
        StartBulkImport(job="j", client="c", subject="s", submitted_at=1.5, request=REQUEST),
    ),
    (JOBS_BULK_IMPORT, CancelBulkImport(job="j")),
    (JOBS_BULK_IMPORT, PollExport(job="j", turn=3)),
    (JOBS_BULK_IMPORT, FailImport(job="j", code="internal")),
    (BULK_IMPORT_FILES, LoadFile(job="j", item=1)),
    (BULK_IMPORT_FILES, FailFile(job="j", item=1, code="file_not_found", source_status=404)),
    (BULK_IMPORT_FILES, FinishImport(job="j", item=2)),
    (
        JOBS_EVENTS,
        FileLoaded(
            job="j",
            at=1.0,
            item=0,
            resource_type="Patient",
            read=9,
            created=3,
            updated=2,
            unchanged=1,
            stale=1,
            invalid=2,
            deleted=0,
            size=99,
        ),
    ),
    (JOBS_EVENTS, ImportSettled(job="j", at=1.0, item=1, files=1, failed=0)),
]


@pytest.mark.parametrize(("topic", "message"), MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_comes_out_as_it_went_in(topic: Topic, message: object) -> None:
    decoder: Decoder[object] = Decoder(topic.messages)
    assert decoder.decode(encode(message)) == message  # type: ignore[arg-type] # each is a struct


def test_what_may_fail_for_a_while_is_retried_and_a_job_is_ordered() -> None:
    assert {JOBS_BULK_IMPORT, BULK_IMPORT_FILES} <= set(TOPICS)
    assert JOBS_BULK_IMPORT.ordered
    assert JOBS_BULK_IMPORT.retries
    assert BULK_IMPORT_FILES.retries


def test_every_code_has_words() -> None:
    assert set(ERROR_TEXTS) == set(ItemError)
