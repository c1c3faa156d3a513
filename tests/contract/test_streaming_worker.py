"""The worker's promises, over the log in memory and over Kafka: whatever dies, nothing is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import Topic
from sluice_streaming import worker as worker_module
from sluice_streaming.backend import Backend
from sluice_streaming.clock import Clock, ManualClock
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Delivery, Message, Outgoing, Record, header
from sluice_streaming.outcomes import Failure, Reject, Retry, Unavailable
from sluice_streaming.redrive import redrive
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker
from sluice_telemetry.trace import current, new_trace, tracing
from support.streams import KafkaLog, Log, MemoryLog, Mortal, commands, running, until, write

Handle = Callable[[Delivery[WritePart]], Awaitable[Sequence[Message]]]
QUICK = Limits(commit_every=0.05, drain=15.0, stop=60.0)
# For handlers that never end: nothing is gained by waiting for them.
HURRIED = replace(QUICK, stop=0.2)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the last offsets committed also where a broker takes its time: tests count what is not."""
    monkeypatch.setattr(worker_module, "_LAST_COMMIT_SECONDS", 60.0)


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return KafkaLog(request.getfixturevalue("kafka"))


class Bed:
    """A topic to handle, one for what comes of it, and a store of effects."""

    def __init__(self, log: Log, inbox: Topic, outbox: Topic) -> None:
        self.log = log
        self.inbox = inbox
        self.outbox = outbox
        self.group = uuid4().hex
        self.effects: Counter[int] = Counter()
        self.dead: list[tuple[object, Failure]] = []

    def worker(
        self,
        handle: Handle | None = None,
        *,
        backend: Backend | None = None,
        concurrency: int = 8,
        limits: Limits = QUICK,
        clock: Clock | None = None,
    ) -> Worker:
        step = Step(topic=self.inbox, handle=handle or self.handle, on_dead=self.on_dead, max_attempts=3)
        backend = backend or self.log.backend()
        return Worker(backend, self.group, [step], concurrency=concurrency, clock=clock, limits=limits)

    async def handle(self, delivery: Delivery[WritePart]) -> Sequence[Message]:
        self.effects[delivery.command.item] += 1
        return self.results(delivery.command.item)

    def results(self, item: int) -> Sequence[Message]:
        return (Message(self.outbox, f"job/{item}", write(item, "done")),)

    def on_dead(self, subject: object, failure: Failure) -> Sequence[Message]:
        self.dead.append((subject, failure))
        item = subject.command.item if isinstance(subject, Delivery) else -1
        return (Message(self.outbox, "failed", write(item, "failed")),)

    async def send(self, count: int) -> None:
        await self.put([*commands(self.inbox, count)])

    async def put(self, records: Sequence[Message | Outgoing]) -> None:
        producer = self.log.backend().producer()
        await producer.start()
        try:
            await producer.publish([r for r in records if isinstance(r, Message)])
            await producer.send([r for r in records if isinstance(r, Outgoing)])
        finally:
            await producer.stop()

    async def outcomes(self) -> Counter[tuple[str, int]]:
        found = [json.loads(record.value or b"{}") for record in await self.log.read(self.outbox.name)]
        return Counter((body["job"], body["item"]) for body in found)

    async def uncommitted(self) -> int:
        """Count records of the inbox that no offset covers."""
        committed = await self.log.committed(self.group)
        records = await self.log.read(self.inbox.name)
        done = {(p.partition, offset) for p, offset in committed.items() if p.topic == self.inbox.name}
        ends = dict(done)
        return sum(record.offset >= ends.get(record.partition, 0) for record in records)


@pytest.fixture
async def bed(log: Log) -> Bed:
    return Bed(log, await log.topic(), await log.topic(retries=()))


def done(count: int) -> set[tuple[str, int]]:
    return {("done", item) for item in range(count)}


async def test_every_record_takes_effect_is_answered_and_is_committed(bed: Bed) -> None:
    await bed.send(200)
    async with running(bed.worker()):
        await until(lambda: len(bed.effects) == 200)
    assert set(await bed.outcomes()) == done(200)
    assert set(bed.effects.values()) == {1}
    assert await bed.uncommitted() == 0


async def test_a_second_delivery_of_everything_changes_nothing(bed: Bed) -> None:
    await bed.send(50)
    for _ in range(2):
        async with running(bed.worker()):
            await until(lambda: len(bed.effects) == 50)
        bed.effects.clear()
        bed.group = uuid4().hex  # a group without offsets reads everything again
    assert set(await bed.outcomes()) == done(50)
    assert set((await bed.outcomes()).values()) == {2}


@pytest.mark.parametrize("point", ["before the effect", "after the effect", "publish", "published", "commit"])
async def test_a_crash_at_any_step_loses_nothing(
    bed: Bed, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bed.send(40)
    mortal = Mortal(bed.log.backend(), at=point)

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        if bed.effects.total() >= 20:
            await mortal.reach("before the effect")
        answer = await bed.handle(delivery)
        if bed.effects.total() >= 20:
            await mortal.reach("after the effect")
        return answer

    stop = asyncio.Event()
    first = asyncio.create_task(bed.worker(handle, backend=mortal, limits=HURRIED).run(stop))
    await asyncio.wait_for(mortal.dead.wait(), 120)
    await asyncio.sleep(0.1)
    first.cancel()
    with monkeypatch.context() as dead:
        dead.setattr(worker_module, "_LAST_COMMIT_SECONDS", 0.2)
        with suppress(asyncio.CancelledError):
            await first
    async with running(bed.worker()):
        await until(lambda: len(bed.effects) == 40)
    async with running(bed.worker()), asyncio.timeout(120):
        # What was delivered again is settled here, if anything is left.
        while await bed.uncommitted():  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.05)
    assert set(await bed.outcomes()) == done(40)


async def test_a_malformed_message_is_kept_with_its_coordinates_and_fails_its_item(bed: Bed) -> None:
    value = b'{"type":"WritePart","job":7}'
    poison = Outgoing(bed.inbox.name, b"job/3", value, (("own", b"kept"),))
    await bed.put([*commands(bed.inbox, 3), poison])
    async with running(bed.worker()):
        await until(lambda: len(bed.effects) == 3 and len(bed.dead) == 1)
    (letter,) = await bed.log.read(bed.inbox.dead)
    (origin,) = [record for record in await bed.log.read(bed.inbox.name) if record.value == value]
    found = {key: text.decode() for key, text in letter.headers}
    assert (letter.key, letter.value) == (b"job/3", value)
    assert found["own"] == "kept"
    assert found["sluice-code"] == "malformed"
    assert found["sluice-origin-topic"] == bed.inbox.name
    assert found["sluice-origin-partition"] == str(origin.partition)
    assert found["sluice-origin-offset"] == str(origin.offset)
    assert found["sluice-sha256"] == hashlib.sha256(value).hexdigest()
    assert found["sluice-attempt"] == "1"
    assert set(await bed.outcomes()) == {*done(3), ("failed", -1)}
    assert await bed.uncommitted() == 0


async def test_a_newer_type_is_skipped(bed: Bed) -> None:
    newer = Outgoing(bed.inbox.name, b"k", b'{"type":"WritePartLater","job":"j","when":1}')
    await bed.put([newer, *commands(bed.inbox, 3)])
    async with running(bed.worker()):
        await until(lambda: len(bed.effects) == 3)
    assert await bed.log.read(bed.inbox.dead) == []
    assert await bed.uncommitted() == 0


async def test_a_rejected_message_is_not_tried_again(bed: Bed) -> None:
    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        bed.effects[delivery.command.item] += 1
        raise Reject("not_ours")

    await bed.send(1)
    async with running(bed.worker(handle)):
        await until(lambda: len(bed.dead) == 1)
    assert bed.effects == {0: 1}
    assert [failure for _, failure in bed.dead] == [Failure("not_ours", 1)]
    assert len(await bed.log.read(bed.inbox.dead)) == 1
    assert await bed.uncommitted() == 0


async def test_a_retry_waits_in_its_tier_while_the_partition_goes_on(bed: Bed) -> None:
    seen: list[tuple[int, int]] = []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        seen.append((delivery.command.item, delivery.attempt))
        if delivery.command.item == 0 and delivery.attempt < 3:
            raise Retry("source_throttled")
        return await bed.handle(delivery)

    clock = ManualClock(time.time())

    def time_passes() -> bool:
        clock.advance(0.1)
        return len(bed.effects) == 30

    await bed.send(30)
    async with running(bed.worker(handle, concurrency=1, clock=clock)):
        await until(lambda: len(bed.effects) == 29)
        assert (0, 2) not in seen
        await until(time_passes)
    assert [attempt for item, attempt in seen if item == 0] == [1, 2, 3]
    assert seen[-1] == (0, 3)
    tiers = [await bed.log.read(bed.inbox.retry(tier)) for tier in bed.inbox.retries]
    assert [len(records) for records in tiers] == [1, 1]
    (record,) = tiers[1]
    assert header(record.headers, "sluice-attempt") == b"3"
    assert header(record.headers, "sluice-code") == b"source_throttled"
    assert header(record.headers, "sluice-origin-topic") == bed.inbox.name.encode()
    assert set(await bed.outcomes()) == done(30)


async def test_a_message_that_keeps_failing_dies_after_its_attempts(bed: Bed) -> None:
    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        raise Retry("source_unavailable")

    await bed.send(1)
    async with running(bed.worker(handle)):
        await until(lambda: bool(bed.dead))
    ((subject, failure),) = bed.dead
    assert isinstance(subject, Delivery)
    assert failure == Failure("source_unavailable", 3)
    (letter,) = await bed.log.read(bed.inbox.dead)
    assert header(letter.headers, "sluice-origin-topic") == bed.inbox.name.encode()
    assert header(letter.headers, "sluice-attempt") == b"3"
    assert await bed.outcomes() == {("failed", 0): 1}


async def test_an_unexpected_exception_is_a_retry(bed: Bed) -> None:
    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        if delivery.attempt == 1:
            raise KeyError("Jane Doe")
        return await bed.handle(delivery)

    await bed.send(5)
    async with running(bed.worker(handle)):
        await until(lambda: len(bed.effects) == 5)
    records = await bed.log.read(bed.inbox.retry(bed.inbox.retries[0]))
    assert {header(record.headers, "sluice-code") for record in records} == {b"internal"}


async def test_what_everything_needs_is_waited_for_in_place(bed: Bed) -> None:
    away, attempts = True, set()

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        attempts.add(delivery.attempt)
        if away:
            raise Unavailable("postgres")
        return await bed.handle(delivery)

    await bed.send(20)
    worker = bed.worker(handle)
    async with running(worker):
        await until(lambda: worker.ready() == "waiting for postgres")
        away = False
        await until(lambda: len(bed.effects) == 20)
        await until(lambda: worker.ready() is True)
    assert attempts == {1}
    assert await bed.log.read(bed.inbox.retry(bed.inbox.retries[0])) == []


async def test_a_slow_handler_holds_back_its_offset_and_nothing_else(bed: Bed) -> None:
    release = asyncio.Event()
    held: list[Record] = []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        if delivery.command.item == 5:
            held.append(delivery.record)
            await release.wait()
        return await bed.handle(delivery)

    await bed.send(60)
    async with running(bed.worker(handle)):
        await until(lambda: len(bed.effects) == 59 and bool(held))
        await asyncio.sleep(0.3)
        committed = {p.partition: at for p, at in (await bed.log.committed(bed.group)).items()}
        assert committed.get(held[0].partition, 0) <= held[0].offset
        release.set()
        await until(lambda: len(bed.effects) == 60)
    assert await bed.uncommitted() == 0


async def test_records_of_a_key_are_handled_in_turn_on_an_ordered_topic(log: Log) -> None:
    bed = Bed(log, await log.topic(ordered=True), await log.topic(retries=()))
    running_now: Counter[str] = Counter()
    order: dict[str, list[int]] = {"a": [], "b": []}

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        job = delivery.command.job
        running_now[job] += 1
        assert running_now[job] == 1
        await asyncio.sleep(0.002)
        order[job].append(delivery.command.item)
        running_now[job] -= 1
        return ()

    await bed.put([Message(bed.inbox, job, write(item, job)) for item in range(40) for job in ("a", "b")])
    async with running(bed.worker(handle)):
        await until(lambda: sum(map(len, order.values())) == 80)
    assert order == {"a": list(range(40)), "b": list(range(40))}
    assert await bed.uncommitted() == 0


async def test_a_second_worker_takes_over_a_share_and_nothing_is_lost(bed: Bed) -> None:
    shares: dict[str, set[int]] = {"first": set(), "second": set()}

    def handler(name: str) -> Handle:
        async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
            shares[name].add(delivery.command.item)
            await asyncio.sleep(0.01)
            return await bed.handle(delivery)

        return handle

    await bed.send(600)
    async with running(bed.worker(handler("first"), concurrency=2)):
        await until(lambda: len(bed.effects) >= 10)
        async with running(bed.worker(handler("second"), concurrency=2)):
            await until(lambda: len(shares["second"]) >= 10)
        await until(lambda: len(bed.effects) == 600)
    assert set(await bed.outcomes()) == done(600)
    assert await bed.uncommitted() == 0


async def test_a_stop_finishes_what_is_in_flight(bed: Bed) -> None:
    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        await asyncio.sleep(0.3)
        return await bed.handle(delivery)

    await bed.send(100)
    began = 0

    async def counted(delivery: Delivery[WritePart]) -> Sequence[Message]:
        nonlocal began
        began += 1
        return await handle(delivery)

    async with running(bed.worker(counted)):
        await until(lambda: began >= 8)
    assert began == bed.effects.total() < 100
    assert await bed.uncommitted() <= 100 - began + 8


async def test_a_stop_releases_what_does_not_finish(bed: Bed) -> None:
    began: list[int] = []

    async def hang(delivery: Delivery[WritePart]) -> Sequence[Message]:
        began.append(delivery.command.item)
        await asyncio.Event().wait()
        return ()

    await bed.send(10)
    worker = bed.worker(hang, limits=HURRIED)
    stop = asyncio.Event()
    run = asyncio.create_task(worker.run(stop))
    await until(lambda: len(began) == 8)
    stop.set()
    async with asyncio.timeout(120):
        await run
    assert await bed.uncommitted() == 10
    async with running(bed.worker()):
        await until(lambda: len(bed.effects) == 10)
    assert set(bed.effects.values()) == {1}


async def test_the_trace_of_a_message_goes_on_through_its_handler(bed: Bed) -> None:
    trace, spans = new_trace(), []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        spans.append(current())
        return await bed.handle(delivery)

    with tracing(trace):
        await bed.send(1)
    async with running(bed.worker(handle)):
        await until(lambda: len(bed.effects) == 1)
    (span,) = spans
    assert span is not None
    assert (span.trace_id, span.span_id != trace.span_id) == (trace.trace_id, True)
    (record,) = await bed.log.read(bed.outbox.name)
    assert header(record.headers, "traceparent") == str(span).encode()


async def _reject(_delivery: Delivery[WritePart]) -> Sequence[Message]:
    raise Reject("a_bug")


async def _twelve_die(bed: Bed) -> None:
    await bed.send(12)
    async with running(bed.worker(_reject)):
        await until(lambda: len(bed.dead) == 12)


async def test_letters_that_die_again_meanwhile_are_left_to_the_next_redrive(bed: Bed) -> None:
    await _twelve_die(bed)
    async with running(bed.worker(_reject)):
        assert await redrive(bed.log.backend(), bed.inbox) == 12
        await until(lambda: len(bed.dead) == 24)
    assert await redrive(bed.log.backend(), bed.inbox) == 12
    assert await redrive(bed.log.backend(), bed.inbox) == 0


async def test_redriven_letters_are_handled_as_new_and_only_once(bed: Bed) -> None:
    await _twelve_die(bed)
    assert await redrive(bed.log.backend(), bed.inbox, limit=5) == 5
    assert await redrive(bed.log.backend(), bed.inbox) == 7
    assert await redrive(bed.log.backend(), bed.inbox) == 0
    attempts = []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        attempts.append(delivery.attempt)
        return await bed.handle(delivery)

    async with running(bed.worker(handle)):
        await until(lambda: len(bed.effects) == 12)
    assert attempts == [1] * 12
