"""Exports' messages survive the wire with everything that was resolved at the kick-off."""

from datetime import UTC, datetime

import pytest

from sluice_contracts.commands import CancelBulkExport, ExpireJob, FailPart, StartBulkExport, WritePart
from sluice_contracts.events import JobEvent, JobExpired, PartSealed
from sluice_contracts.exports import (
    Associated,
    ExpiryReason,
    ExportAccess,
    ExportLevel,
    ExportRequest,
    IgnoredParameter,
    TypeFilter,
)
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_BULK_EXPORT, JOBS_EVENTS, JOBS_EXPIRE
from sluice_contracts.wire import Decoder, MalformedMessageError, encode

START = StartBulkExport(
    job="j",
    client="c",
    subject="s",
    submitted_at=1.5,
    request=ExportRequest(
        level=ExportLevel.GROUP,
        url="https://sluice.example/fhir/Group/g/$export?_type=Patient",
        group="g",
        types=("Patient",),
        since=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        type_filters=(TypeFilter(type="Patient", query="gender=female"),),
        elements=("Patient.name",),
        patients=("p",),
        include_associated=Associated.LATEST_PROVENANCE,
        organize_by="Patient",
        allow_partial=True,
        ignored=(IgnoredParameter(name="_x", reason="not supported"),),
    ),
    access=ExportAccess(groups=("g",), types=("Patient", "Observation")),
)


def test_a_start_reads_back_with_request_and_access_as_they_were_resolved() -> None:
    assert Decoder[StartBulkExport](JOBS_BULK_EXPORT.messages).decode(encode(START)) == START


def test_every_command_of_an_export_reads_back_from_its_own_topic() -> None:
    assert Decoder[CancelBulkExport](JOBS_BULK_EXPORT.messages).decode(
        encode(CancelBulkExport(job="j"))
    ) == CancelBulkExport(job="j")
    for part in (WritePart(job="j", item=3), FailPart(job="j", item=3, code="internal")):
        assert Decoder[object](BULK_EXPORT_PARTS.messages).decode(encode(part)) == part
    expire = ExpireJob(job="j", reason=ExpiryReason.DELETED)
    assert Decoder[ExpireJob](JOBS_EXPIRE.messages).decode(encode(expire)) == expire


@pytest.mark.parametrize(
    "event",
    [
        PartSealed(job="j", at=1.0, item=0, resource_type="Patient", files=2, count=2**40, size=2**50),
        JobExpired(job="j", at=1.0, reason=ExpiryReason.EXPIRED),
    ],
)
def test_an_exports_events_read_back_from_the_event_topic(event: JobEvent) -> None:
    assert Decoder[JobEvent](JOBS_EVENTS.messages).decode(encode(event)) == event


def test_a_time_without_its_zone_is_malformed() -> None:
    bare = encode(START).replace(b"678000Z", b"678000")
    with pytest.raises(MalformedMessageError, match="since"):
        Decoder[StartBulkExport](JOBS_BULK_EXPORT.messages).decode(bare)


def test_nothing_of_the_access_is_given_that_was_not_resolved() -> None:
    assert ExportAccess() == ExportAccess(all_patients=False, groups=(), types=None)
