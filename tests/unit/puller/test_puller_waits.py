"""How long a source is waited for, what a line of deletions says, and what a dead command leaves."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.commands import (
    FailFile,
    FailImport,
    FinishImport,
    LoadFile,
    PollExport,
    StartBulkImport,
)
from sluice_contracts.events import ItemFailed, JobCancelled, JobPlanned
from sluice_contracts.imports import ImportRequest
from sluice_puller.__main__ import utc_now
from sluice_puller.asking import Patience
from sluice_puller.contents import deletions
from sluice_puller.loading import Loading
from sluice_puller.pulling import Pulling
from sluice_streaming.messages import Delivery, Record
from sluice_streaming.outcomes import Failure

PATIENCE = Patience(
    first=timedelta(seconds=0.1),
    least=timedelta(seconds=1),
    most=timedelta(seconds=300),
    whole=timedelta(hours=24),
    strikes=8,
)
JOB = str(uuid4())
FAILURE = Failure("internal", 8)


@given(st.none() | st.floats(0, 1e300), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_wait_is_never_shorter_or_longer_than_its_bounds(
    after: float | None, strikes: int, turn: int
) -> None:
    least = PATIENCE.first if (after, strikes, turn) == (None, 0, 0) else PATIENCE.least
    assert least <= PATIENCE.wait(after, strikes, turn) <= PATIENCE.most


def test_an_export_is_looked_at_soon_after_its_kick_off_unless_its_source_says_or_fails() -> None:
    assert PATIENCE.wait(None, 0, 0) == PATIENCE.first
    assert PATIENCE.wait(0.0, 0, 0) == PATIENCE.least
    assert PATIENCE.wait(None, 1, 0) > PATIENCE.least


def test_a_wait_is_what_the_source_asks_for_else_it_grows() -> None:
    assert PATIENCE.wait(120.0, 0, 50) == timedelta(seconds=120)
    waits = [PATIENCE.wait(None, 0, turn) for turn in range(6)]
    assert waits == sorted(set(waits))
    assert PATIENCE.wait(None, 3, 0) == timedelta(seconds=8)


BASE = "https://x.example/r4"


def bundle(*entries: Any, **fields: Any) -> bytes:
    return json.dumps(
        {"resourceType": "Bundle", "type": "transaction", "entry": list(entries), **fields}
    ).encode()


def entry(url: Any, method: Any = "DELETE") -> dict[str, Any]:
    return {"request": {"method": method, "url": url}}


def test_a_line_of_deletions_names_what_is_deleted() -> None:
    line = bundle(entry("Patient/1"), entry("https://x.example/r4/Observation/a-b"))
    for base in (BASE, f"{BASE}/"):
        assert deletions(line, base) == [("Patient", "1"), ("Observation", "a-b")]
    assert deletions(bundle(), BASE) == []


@pytest.mark.parametrize(
    "other", ["https://y.example/r4", "https://x.example/r4/more", "http://x.example/r4"]
)
def test_a_line_deletes_nothing_that_is_at_another_server(other: str) -> None:
    assert deletions(bundle(entry("Patient/1"), entry(f"{other}/Patient/2")), BASE) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"resourceType":"Patient"}',
        bundle(entry("Patient/1", "PUT")),
        bundle(entry("Patient/1"), entry("Patient?name=x")),
        bundle(entry("Patient/..")),
        bundle(entry(None)),
        bundle({}),
        bundle("x"),
        bundle(entry=3),
    ],
)
def test_a_line_that_says_anything_else_deletes_nothing(line: bytes) -> None:
    assert deletions(line, BASE) is None


def dead(handler: Any, command: Any) -> list[Any]:
    delivery: Delivery[Any] = Delivery(command, None, 8)
    return [message.body for message in handler.on_dead(delivery, FAILURE)]


def handlers() -> tuple[Pulling, Loading]:
    nothing = cast("Any", None)
    return (
        Pulling(nothing, nothing, lease=timedelta(seconds=1), now=utc_now),
        Loading(nothing, nothing, nothing, utc_now),
    )


def test_a_command_that_is_given_up_has_its_job_or_file_ended() -> None:
    pulling, loading = handlers()
    request = ImportRequest(source="s", url="u")
    start = StartBulkImport(job=JOB, client="c", subject="s", submitted_at=1.0, request=request)
    (fail,) = dead(pulling, start)
    assert (fail.job, fail.code, fail.client) == (JOB, "internal", "c")
    assert [type(each) for each in dead(pulling, fail)] == [JobPlanned, ItemFailed]
    ending = FailImport(job=JOB, code="internal")
    assert dead(pulling, ending) == [ending]
    assert dead(pulling, PollExport(job=JOB, turn=1)) == [FailImport(job=JOB, code="internal")]
    assert dead(loading, LoadFile(job=JOB, item=3)) == [FailFile(job=JOB, item=3, code="internal")]
    for command in (FailFile(job=JOB, item=3, code="internal"), FinishImport(job=JOB, item=4)):
        assert dead(loading, command) == [ending]


class Raw:
    """A record that nobody can decode."""

    topic, partition, offset, headers, timestamp = "t", 0, 0, (), 0

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key = key
        self.value = value


def test_a_command_that_cannot_be_decoded_ends_what_its_record_still_names() -> None:
    pulling, loading = handlers()
    start = json.dumps(
        {"type": "StartBulkImport", "job": JOB, "client": "c", "subject": "s", "submitted_at": 1}
    )
    record: Record = Raw(JOB.encode(), start.encode())
    told = [message.body for message in pulling.on_dead(record, FAILURE)]
    assert [type(each) for each in told] == [JobPlanned, ItemFailed]
    assert pulling.on_dead(Raw(b"x", b"{}"), FAILURE) == ()
    (message,) = loading.on_dead(Raw(f"{JOB}/7".encode(), b"\xff"), FAILURE)
    assert message.body == FailFile(job=JOB, item=7, code="internal")
    assert loading.on_dead(Raw(b"x", b""), FAILURE) == ()
    assert JobCancelled not in {type(each) for each in told}
