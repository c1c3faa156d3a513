"""Planning and writing end every job and every part, also those they cannot read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, cast

import pytest

from sluice_contracts.commands import CancelBulkExport, FailPart, PartCommand, StartBulkExport, WritePart
from sluice_contracts.events import (
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    JobCancelled,
    JobPlanned,
    PartSealed,
    Stage,
)
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest, FileKind
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_BULK_EXPORT
from sluice_contracts.wire import encode
from sluice_exporter.pieces import Pieces, deletions, header_of
from sluice_exporter.plan import JobFacts, PartKind, PartPlan, SealedFile, SealedPart
from sluice_exporter.planning import Cutting, Planning
from sluice_exporter.sink import FileLimits, Piece
from sluice_exporter.store import WaitingPart
from sluice_exporter.writing import Writing
from sluice_storage.access.model import Grant, GranteeKind
from sluice_storage.encryption.keys import DataKey, LostKeyError, UnknownMasterKeyError
from sluice_storage.exports.objects import ExportObjects, ObjectStoreError
from sluice_storage.resources.model import Deleted, Snapshot
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery
from sluice_streaming.outcomes import Failure, Reject, Unavailable

JOB = "0191d2a0-0000-8000-8000-000000000000"
START = StartBulkExport(
    job=JOB,
    client="c",
    subject="s",
    submitted_at=1.5,
    request=ExportRequest(level=ExportLevel.SYSTEM),
    access=ExportAccess(all_patients=True),
)
FACTS = JobFacts(
    job=JOB,
    client=START.client,
    subject=START.subject,
    request=START.request,
    access=START.access,
    snapshot=Snapshot(1, datetime(2026, 1, 1, tzinfo=UTC)),
)
GRANT = Grant(
    id="1",
    grantee_kind=GranteeKind.USER,
    grantee=START.subject,
    all_patients=True,
    granted_by="op",
    granted_at=datetime(2026, 1, 1, tzinfo=UTC),
)
LINE = b'{"resourceType":"Patient"}\n'


def planning() -> Planning:
    nothing = cast("Any", None)
    return Planning(nothing, nothing, nothing, Cutting(1, timedelta(days=7)), lambda: 9.0)


def record(key: bytes | None, value: bytes | None) -> MemoryRecord:
    return MemoryRecord("t", 0, 0, key, value)


class MemoryParts:
    """One part, of a job that may be stopped."""

    def __init__(self) -> None:
        self.plan = PartPlan(kind=PartKind.RESOURCES, type="Patient")
        self.sealed: SealedPart | None = None
        self.files: Sequence[SealedFile] = ()
        self.looks: list[bool] = []
        self.break_seal = False
        self.break_key: LostKeyError | None = None

    async def find(self, job: str, part: int) -> WaitingPart | None:
        if self.break_key is not None:
            raise self.break_key
        return WaitingPart(FACTS, self.plan, False, self.sealed, DataKey(bytes(32)))

    async def stopped(self, job: str) -> bool:
        return self.looks.pop(0) if self.looks else False

    async def seal(
        self, job: str, part: int, files: Sequence[SealedFile], at: datetime, *, failed: str | None = None
    ) -> SealedPart | None:
        if self.sealed is None:
            self.files = files
            self.sealed = SealedPart(files=tuple(files), at=at, failed=failed)
        if self.break_seal:
            raise Unavailable("postgres")
        return self.sealed


class MemoryGrants:
    """Grants of everything, until one look finds none."""

    def __init__(self, looks: int | None = None) -> None:
        self.looks = looks
        self.asked: set[tuple[str, str]] = set()

    async def of(self, client: str, subject: str) -> tuple[Grant, ...]:
        self.asked.add((client, subject))
        if self.looks is not None:
            self.looks -= 1
            if self.looks < 0:
                return ()
        return (GRANT,)


class MemoryPieces:
    """Gives pieces, and may fail after some."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count = count
        self.error = error
        self.given = 0

    async def of(self, facts: JobFacts, plan: PartPlan, put: Callable[[Piece], None]) -> AsyncIterator[Piece]:
        for _ in range(self.count):
            self.given += 1
            yield Piece(LINE, 1)
        if self.error is not None:
            raise self.error


def writing(
    parts: MemoryParts,
    pieces: MemoryPieces,
    objects: ExportObjects | None = None,
    grants: MemoryGrants | None = None,
) -> tuple[Writing, ExportObjects]:
    ticks = iter(range(10**9))
    names = iter(range(10**9))
    objects = objects or ExportObjects.from_url("memory:")
    made = Writing(
        parts,
        grants or MemoryGrants(),
        cast("Pieces", pieces),
        objects,
        FileLimits(3, 10**6),
        clock=lambda: 9.0,
        ticks=lambda: float(next(ticks)),
        attempts=lambda: str(next(names)),
    )
    return made, objects


def part(item: int = 0) -> Delivery[PartCommand]:
    return Delivery(WritePart(job=JOB, item=item), None)


@pytest.mark.parametrize("value", [encode(START), encode(START).replace(b'"system"', b'"nowhere"')])
def test_a_job_that_cannot_be_planned_ends_as_failed(value: bytes) -> None:
    whole = b"nowhere" not in value
    subject: Any = Delivery(START, None) if whole else record(JOB.encode(), value)
    planned, failed = (message.body for message in planning().on_dead(subject, Failure("x", 1)))
    assert isinstance(planned, JobPlanned)
    assert (planned.items, planned.client, planned.subject) == (1, "c", "s")
    assert isinstance(failed, ItemFailed)
    assert (failed.item, failed.stage, failed.code) == (0, Stage.PLAN, "internal")


def test_a_cancellation_that_is_given_up_is_told_all_the_same() -> None:
    (told,) = planning().on_dead(Delivery(CancelBulkExport(job=JOB), None), Failure("x", 1))
    assert isinstance(told.body, JobCancelled)


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"job":"../x","client":"","subject":"","submitted_at":1}', None]
)
def test_what_is_of_no_job_ends_none(value: bytes | None) -> None:
    assert planning().on_dead(record(b"", value), Failure("malformed", 1)) == ()


async def test_a_job_that_is_no_id_is_rejected() -> None:
    with pytest.raises(Reject):
        await planning().handle(Delivery(CancelBulkExport(job="../x"), None))


async def test_a_part_looks_for_its_cancellation_while_it_is_written() -> None:
    parts, pieces = MemoryParts(), MemoryPieces(1000)
    parts.looks = [False, False, True]
    made, objects = writing(parts, pieces)
    await made.handle(part())
    assert pieces.given < 20
    assert parts.sealed is None
    assert await objects.keys(JOB) == []


@pytest.mark.parametrize("looks", [0, 1, 3])
@pytest.mark.parametrize("again", [WritePart, partial(FailPart, code="internal")])
async def test_an_export_that_is_not_granted_any_more_is_cancelled_and_leaves_nothing(
    looks: int, again: Callable[..., PartCommand]
) -> None:
    parts, pieces, grants = MemoryParts(), MemoryPieces(1000), MemoryGrants(looks)
    made, objects = writing(parts, pieces, grants=grants)
    cancel, told = await made.handle(part())
    assert (cancel.topic, cancel.key, cancel.body) == (JOBS_BULK_EXPORT, JOB, CancelBulkExport(job=JOB))
    assert isinstance(told.body, ItemCancelled)
    assert pieces.given < 20
    assert parts.sealed is None
    assert await objects.keys(JOB) == []
    assert grants.asked == {("c", "s")}
    # Whoever comes to it again tells the same.
    assert await made.handle(Delivery(again(job=JOB, item=0), None)) == (cancel, told)


async def test_what_was_written_before_a_grant_ended_is_told_as_written() -> None:
    parts = MemoryParts()
    sealed = await writing(parts, MemoryPieces(7))[0].handle(part())
    assert await writing(parts, MemoryPieces(7), grants=MemoryGrants(0))[0].handle(part()) == sealed


async def test_an_attempt_that_fails_leaves_nothing_and_the_next_seals_the_part() -> None:
    parts = MemoryParts()
    made, objects = writing(parts, MemoryPieces(7, RuntimeError("broken")))
    with pytest.raises(RuntimeError):
        await made.handle(part())
    assert await objects.keys(JOB) == []
    made, _ = writing(parts, MemoryPieces(7), objects)
    (message,) = await made.handle(part())
    told = message.body
    assert isinstance(told, PartSealed)
    assert (told.files, told.count, told.size) == (3, 7, 7 * len(LINE))
    assert [(each.count, each.sha256) for each in told.sealed] == [
        (count, sha256(LINE * count).hexdigest()) for count in (3, 3, 1)
    ]


async def test_files_that_may_be_listed_are_never_removed() -> None:
    parts = MemoryParts()
    parts.break_seal = True
    made, objects = writing(parts, MemoryPieces(7))
    with pytest.raises(Unavailable):
        await made.handle(part())
    assert {file.key for file in parts.files} == set(await objects.keys(JOB))
    parts.break_seal = False
    (told,) = await made.handle(part())
    assert told.body.count == 7  # type: ignore[attr-defined]
    assert {file.key for file in parts.files} == set(await objects.keys(JOB))


@pytest.mark.parametrize(
    ("error", "what"), [(ObjectStoreError("x"), "objects"), (ConnectionError("x"), "postgres")]
)
async def test_what_is_away_is_told_as_such(error: Exception, what: str) -> None:
    made, _ = writing(MemoryParts(), MemoryPieces(1, error))
    with pytest.raises(Unavailable) as caught:
        await made.handle(part())
    assert caught.value.what == what


async def test_without_the_master_key_parts_wait_and_an_altered_key_ends_them() -> None:
    parts = MemoryParts()
    made, _ = writing(parts, MemoryPieces(1))
    parts.break_key = UnknownMasterKeyError("x")
    with pytest.raises(Unavailable):
        await made.handle(part())
    parts.break_key = LostKeyError("x")
    with pytest.raises(Reject):
        await made.handle(part())


def test_a_part_that_is_given_up_is_to_be_sealed_so_also_if_only_its_key_can_be_read() -> None:
    made, _ = writing(MemoryParts(), MemoryPieces(0))
    for subject in (part(3), record(f"{JOB}/3".encode(), b"{")):
        (told,) = made.on_dead(subject, Failure("time_limit", 8))
        assert told.body == FailPart(job=JOB, item=3, code="internal")
        assert (told.topic, told.key) == (BULK_EXPORT_PARTS, f"{JOB}/3")
    # Where not even that can be written, the part fails without a file.
    (told,) = made.on_dead(Delivery(FailPart(job=JOB, item=3, code="x"), None), Failure("internal", 8))
    assert isinstance(told.body, ItemFailed)
    assert (told.body.job, told.body.item, told.body.stage) == (JOB, 3, Stage.EXPORT)
    for key in (None, b"", b"x/3", f"{JOB}/x".encode(), f"{JOB}/-1".encode()):
        assert made.on_dead(record(key, b"{"), Failure("malformed", 1)) == ()
    (told,) = made.on_retry(part(3), Failure("internal", 1, due=20.0))
    assert isinstance(told.body, ItemRetrying)


FAIL: Delivery[PartCommand] = Delivery(FailPart(job=JOB, item=0, code="time_limit"), None)


async def test_a_part_that_failed_has_one_file_that_says_so_and_fails_again_whenever_it_is_asked() -> None:
    parts = MemoryParts()
    made, objects = writing(parts, MemoryPieces(7))
    (told,) = await made.handle(FAIL)
    assert isinstance(told.body, ItemFailed)
    assert (told.body.stage, told.body.code) == (Stage.EXPORT, "internal")
    (file,) = parts.files
    assert (file.kind, file.type, file.count) == (FileKind.ERROR, "OperationOutcome", 1)
    assert await objects.keys(JOB) == [file.key]
    # Whoever comes to write it after all does not change what was told.
    assert await made.handle(part()) == await made.handle(FAIL) == (told,)


async def test_a_part_that_was_sealed_after_all_does_not_fail() -> None:
    parts = MemoryParts()
    made, _ = writing(parts, MemoryPieces(7))
    sealed = await made.handle(part())
    assert await made.handle(FAIL) == sealed
    assert {file.kind for file in parts.files} == {FileKind.OUTPUT}


def test_headers_and_deletions_are_lines_of_fhir() -> None:
    assert header_of("p-1") == (
        b'{"resourceType":"Parameters","parameter":[{"name":"header",'
        b'"valueReference":{"reference":"Patient/p-1"}}]}\n'
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert deletions([Deleted("Patient", "a", at), Deleted("Patient", "b", at)], at) == (
        b'{"resourceType":"Bundle","meta":{"lastUpdated":"2026-01-01T00:00:00Z"},"type":"transaction",'
        b'"entry":[{"request":{"method":"DELETE","url":"Patient/a"}},'
        b'{"request":{"method":"DELETE","url":"Patient/b"}}]}\n'
    )
