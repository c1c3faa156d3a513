"""One delivery: what each outcome of a handler leads to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog

from sluice_contracts.commands import WritePart
from sluice_contracts.events import ItemFailed, ItemRetrying, JobEvent, Stage
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_EVENTS
from sluice_contracts.wire import Decoder
from sluice_streaming.clock import ManualClock
from sluice_streaming.handling import Handling, Settlement
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery, Headers, Message, Outgoing, Record, header
from sluice_streaming.outcomes import Failure, Reject, Retry, Unavailable
from sluice_streaming.retries import History
from sluice_streaming.step import Step

START = 1_700_000_000.0
VALUE = b'{"type":"WritePart","job":"j","item":3}'


def record(headers: Headers = (), value: bytes | None = VALUE) -> MemoryRecord:
    return MemoryRecord("bulk-export.parts", 4, 9, b"j/3", value, headers, int(START * 1000))


def failed(subject: Delivery[WritePart] | Record, failure: Failure) -> Sequence[Message]:
    item = subject.command.item if isinstance(subject, Delivery) else 0
    event = ItemFailed(job="j", at=START, item=item, stage=Stage.FETCH, code=failure.code)
    return (Message(JOBS_EVENTS, "j", event),)


def retrying(delivery: Delivery[WritePart], failure: Failure) -> Sequence[Message]:
    assert failure.due is not None
    event = ItemRetrying(
        job="j",
        at=START,
        item=delivery.command.item,
        stage=Stage.FETCH,
        code=failure.code,
        attempt=failure.attempt,
        due=failure.due,
    )
    return (Message(JOBS_EVENTS, "j", event),)


def raising(error: BaseException, *, attempts: int = 8, **changes: Any) -> Handling[WritePart]:
    async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        raise error

    step: Step[WritePart] = Step(
        topic=BULK_EXPORT_PARTS, handle=handle, on_dead=failed, on_retry=retrying, max_attempts=5
    )
    return Handling(replace(step, **changes), ManualClock(START), attempts)


def event(outgoing: Outgoing) -> JobEvent:
    decoder: Decoder[JobEvent] = Decoder(JobEvent)
    assert outgoing.topic == "jobs.events"
    return decoder.decode(outgoing.value or b"")


def at_attempt(attempt: int, first_failed: float = START - 60) -> MemoryRecord:
    history = History(attempt, "bulk-export.parts", 4, 9, first_failed=first_failed, due=START)
    return record(history.headers("earlier"))


async def test_a_handlers_messages_are_the_settlement() -> None:
    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        assert (delivery.attempt, delivery.command.item) == (1, 3)
        return failed(delivery, Failure("none", 1))

    handling = Handling(Step(topic=BULK_EXPORT_PARTS, handle=handle), ManualClock(START))
    settlement = await handling.handle(record())
    assert settlement.outcome == "done"
    assert [outgoing.topic for outgoing in settlement.records] == ["jobs.events"]


async def test_a_retry_is_copied_to_its_tier_and_announced() -> None:
    settlement = await raising(Retry("source_throttled")).handle(record((("own", b"1"),)))
    copy, said = settlement.records
    assert (settlement.outcome, copy.topic, copy.key, copy.value) == (
        "retried",
        "bulk-export.parts.retry.1s",
        b"j/3",
        VALUE,
    )
    assert header(copy.headers, "own") == b"1"
    expected = History(2, "bulk-export.parts", 4, 9, first_failed=START, due=START + 1)
    assert History.of(replace(record(), headers=copy.headers)) == expected
    assert event(said) == ItemRetrying(
        job="j", at=START, item=3, stage=Stage.FETCH, code="source_throttled", attempt=1, due=START + 1
    )


async def test_retry_after_moves_the_message_to_a_tier_that_is_long_enough() -> None:
    settlement = await raising(Retry("source_throttled", after=45)).handle(record())
    assert settlement.records[0].topic == "bulk-export.parts.retry.1m"
    settlement = await raising(Retry("source_throttled", after=86_400)).handle(record())
    assert settlement.records[0].topic == "bulk-export.parts.retry.10m"


async def test_a_second_failure_keeps_the_origin_and_the_first_time() -> None:
    settlement = await raising(Retry("source_timeout")).handle(at_attempt(2))
    history = History.of(replace(record(), headers=settlement.records[0].headers))
    assert history == History(3, "bulk-export.parts", 4, 9, first_failed=START - 60, due=START + 10)


async def test_the_last_attempt_ends_in_a_dead_letter_that_the_cap_does_not_count() -> None:
    settlement = await raising(Retry("source_unavailable")).handle(at_attempt(5))
    letter, said = settlement.records
    assert (settlement.outcome, settlement.capped, letter.topic) == ("dead", False, "bulk-export.parts.dead")
    assert header(letter.headers, "sluice-sha256") == hashlib.sha256(VALUE).hexdigest().encode()
    assert header(letter.headers, "sluice-died") == f"{START:.3f}".encode()
    assert event(said) == ItemFailed(job="j", at=START, item=3, stage=Stage.FETCH, code="source_unavailable")


@pytest.mark.parametrize(("own", "limits", "last"), [(None, 3, 3), (5, 3, 5), (2, 8, 2)])
async def test_a_steps_own_number_of_attempts_goes_before_the_workers(
    own: int | None, limits: int, last: int
) -> None:
    handling = raising(Retry("source_timeout"), attempts=limits, max_attempts=own)
    assert (await handling.handle(at_attempt(last - 1))).outcome == "retried"
    assert (await handling.handle(at_attempt(last))).outcome == "dead"


async def test_the_last_failures_status_is_in_its_headers_and_told_to_the_step() -> None:
    told: list[Failure] = []

    def tell(_subject: object, failure: Failure) -> Sequence[Message]:
        told.append(failure)
        return ()

    handling = raising(Retry("source_unavailable", status=503), on_dead=tell, on_retry=tell)
    copy = (await handling.handle(record())).records[0]
    letter = (await handling.handle(at_attempt(5))).records[0]
    assert header(copy.headers, "sluice-status") == header(letter.headers, "sluice-status") == b"503"
    assert told == [
        Failure("source_unavailable", 1, START + 1, 503),
        Failure("source_unavailable", 5, None, 503),
    ]


async def test_a_failure_without_a_status_does_not_inherit_the_one_before() -> None:
    before = replace(
        record(), headers=History(5, "bulk-export.parts", 4, 9).headers("source_unavailable", 503)
    )
    letter = (await raising(Retry("source_timeout")).handle(before)).records[0]
    assert header(letter.headers, "sluice-code") == b"source_timeout"
    assert header(letter.headers, "sluice-status") is None


async def test_a_message_that_would_become_too_old_is_not_scheduled_again() -> None:
    handling = raising(Retry("source_throttled"), max_age=timedelta(minutes=5))
    assert (await handling.handle(at_attempt(2, START - 289))).outcome == "retried"
    assert (await handling.handle(at_attempt(2, START - 291))).outcome == "dead"


async def test_a_topic_without_tiers_never_retries() -> None:
    topic = replace(BULK_EXPORT_PARTS, retries=())
    assert (await raising(Retry("x"), topic=topic).handle(record())).outcome == "dead"


async def test_a_rejected_and_a_malformed_message_count_towards_the_cap() -> None:
    rejected = await raising(Reject("not_ours")).handle(record())
    malformed = await raising(Reject("unused")).handle(record(value=b'{"type":"WritePart"}'))
    empty = await raising(Reject("unused")).handle(record(value=None))
    for settlement, code in ((rejected, "not_ours"), (malformed, "malformed"), (empty, "malformed")):
        assert (settlement.outcome, settlement.capped) == ("dead", True)
        said = event(settlement.records[1])
        assert isinstance(said, ItemFailed)
        assert said.code == code


async def test_what_is_unavailable_is_the_callers_to_wait_for() -> None:
    with pytest.raises(Unavailable):
        await raising(Unavailable("postgres")).handle(record())


async def test_an_unexpected_error_is_a_retry_and_its_message_is_not_logged() -> None:
    with structlog.testing.capture_logs() as lines:
        settlement = await raising(KeyError("Jane Doe")).handle(record())
    assert header(settlement.records[0].headers, "sluice-code") == b"internal"
    (line,) = lines
    assert (line["error"], line["topic"], line["offset"]) == ("KeyError", "bulk-export.parts", 9)
    assert "Jane" not in str(line)


async def test_a_handler_that_waited_for_something_cancelled_is_retried() -> None:
    settlement = await raising(asyncio.CancelledError()).handle(record())
    assert settlement.outcome == "retried"


async def test_a_delivery_that_is_cancelled_stays_cancelled() -> None:
    async def hang(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        await asyncio.Event().wait()
        return ()

    task = asyncio.create_task(raising(KeyError(), handle=hang).handle(record()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_handler_over_its_time_limit_is_cancelled_and_retried() -> None:
    async def hang(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        await asyncio.Event().wait()
        return ()

    settlement = await raising(KeyError(), handle=hang, time_limit=0.01).handle(record())
    assert header(settlement.records[0].headers, "sluice-code") == b"time_limit"


async def test_a_handlers_own_timeout_is_not_mistaken_for_the_limit() -> None:
    settlement = await raising(TimeoutError()).handle(record())
    assert header(settlement.records[0].headers, "sluice-code") == b"internal"


async def test_a_letter_is_written_even_if_announcing_it_fails() -> None:
    def broken(_subject: object, _failure: Failure) -> Sequence[Message]:
        raise LookupError

    settlement: Settlement = await raising(Reject("x"), on_dead=broken).handle(record())
    assert [outgoing.topic for outgoing in settlement.records] == ["bulk-export.parts.dead"]


async def test_a_newer_type_is_skipped() -> None:
    newer = record(value=b'{"type":"FetchManyDocuments","job":"j"}')
    assert await raising(KeyError()).handle(newer) == Settlement("skipped")


async def test_a_refused_record_leaves_a_letter_without_its_value() -> None:
    settlement = raising(KeyError()).refuse(record(), "too_large")
    letter, said = settlement.records
    assert (letter.value, settlement.capped) == (None, True)
    assert header(letter.headers, "sluice-sha256") == hashlib.sha256(VALUE).hexdigest().encode()
    assert isinstance(event(said), ItemFailed)
