"""What is said of an item whose command waits, is given up, or cannot be read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sluice_contracts.commands import WritePart
from sluice_contracts.events import ItemCancelled, ItemEvent, ItemFailed, ItemRetrying, Stage
from sluice_contracts.ids import item_key, item_of_key
from sluice_contracts.topics import BULK_EXPORT_PARTS
from sluice_contracts.wire import Decoder, encode
from sluice_streaming import metrics
from sluice_streaming.clock import ManualClock
from sluice_streaming.handling import Handling
from sluice_streaming.items import ItemReports, is_item
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Failure, Retry
from sluice_streaming.retries import History
from sluice_streaming.step import Step

JOB = "01890a5d-ac96-8000-8000-000000000000"
NOW = 1_700_000_000.0
COMMAND = WritePart(job=JOB, item=3)
REPORTS = ItemReports(Stage.FETCH, lambda: NOW)


def bodies(messages: Sequence[Message]) -> list[object]:
    assert all((message.topic.name, message.key) == ("jobs.events", JOB) for message in messages)
    return [message.body for message in messages]


def failed(code: str, status: int | None = None) -> ItemFailed:
    return ItemFailed(job=JOB, at=NOW, item=3, stage=Stage.FETCH, code=code, source_status=status)


async def test_the_status_of_the_last_attempt_is_in_the_event_that_ends_the_item() -> None:
    async def refuse(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        raise Retry("source_unavailable", status=503)

    step: Step[WritePart] = Step(
        topic=BULK_EXPORT_PARTS,
        handle=refuse,
        on_dead=REPORTS.on_dead,
        on_retry=REPORTS.on_retry,
        max_attempts=2,
    )
    headers = History(2, BULK_EXPORT_PARTS.name, 0, 0).headers("source_timeout")
    record = MemoryRecord(
        BULK_EXPORT_PARTS.name, 0, 0, item_key(JOB, 3).encode(), encode(COMMAND), headers, 0
    )
    _, said = (await Handling(step, ManualClock(NOW)).handle(record)).records
    decoder: Decoder[ItemEvent] = Decoder(ItemFailed)
    assert decoder.decode(said.value or b"") == failed("source_unavailable", 503)


def test_an_item_that_is_given_up_is_counted_with_its_step_and_the_code_that_its_owner_sees() -> None:
    counted = metrics.ITEMS_FAILED.labels(Stage.FETCH, "internal")
    before = next(iter(counted.collect())).samples[0].value
    REPORTS.failed(COMMAND, "malformed")
    assert next(iter(counted.collect())).samples[0].value == before + 1


@pytest.mark.parametrize("code", ["malformed", "time_limit", "internal"])
def test_a_code_that_items_do_not_have_is_told_as_internal(code: str) -> None:
    record = MemoryRecord(BULK_EXPORT_PARTS.name, 0, 0, item_key(JOB, 3).encode(), b"{", (), 0)
    assert bodies(REPORTS.on_dead(record, Failure(code, 1))) == [failed("internal")]
    assert bodies(REPORTS.on_dead(Delivery(COMMAND, record), Failure(code, 1))) == [failed("internal")]


@pytest.mark.parametrize(("job", "item"), [("no job", 0), (JOB.upper(), 0), (JOB, -1), (JOB, 2**31)])
def test_nothing_is_said_of_what_cannot_be_an_item(job: str, item: int) -> None:
    command = WritePart(job=job, item=item)
    assert not is_item(command)
    assert REPORTS.on_dead(Delivery(command, None), Failure("internal", 1)) == ()


@pytest.mark.parametrize("key", [None, b"", b"/", JOB.encode(), f"{JOB}/x".encode(), b"\xff/1", b"x/1"])
def test_nothing_is_said_of_a_key_that_names_no_item(key: bytes | None) -> None:
    assert item_of_key(key) is None
    record = MemoryRecord(BULK_EXPORT_PARTS.name, 0, 0, key, b"{", (), 0)
    assert REPORTS.on_dead(record, Failure("malformed", 1)) == ()


def test_a_retry_is_told_with_its_time_and_only_if_there_is_one() -> None:
    delivery = Delivery(COMMAND, None)
    told = ItemRetrying(
        job=JOB, at=NOW, item=3, stage=Stage.FETCH, code="source_timeout", attempt=2, due=NOW + 1
    )
    assert bodies(REPORTS.on_retry(delivery, Failure("source_timeout", 2, NOW + 1))) == [told]
    assert REPORTS.on_retry(delivery, Failure("source_timeout", 2)) == ()


def test_an_item_that_was_left_alone_is_told_so() -> None:
    assert bodies([REPORTS.cancelled(COMMAND)]) == [ItemCancelled(job=JOB, at=NOW, item=3)]
