"""Commands about several items: each item has its own end, whatever becomes of the others of its lot."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from sluice_contracts.commands import FetchDocuments, WritePart
from sluice_contracts.events import Stage
from sluice_contracts.ids import job_id
from sluice_contracts.topics import JOBS_EVENTS, Topic
from sluice_streaming.backend import Backend
from sluice_streaming.items import ItemReports
from sluice_streaming.limits import Limits
from sluice_streaming.lots import Lots, lot, weigh
from sluice_streaming.messages import Delivery, Message, Outgoing
from sluice_streaming.outcomes import Reject, Retry
from sluice_streaming.redrive import redrive
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker
from support.streams import KafkaLog, Log, MemoryLog, Mortal, running, until

JOB = job_id(b"k" * 32, "client/subject", 1_700_000_000.0, 7)
QUICK = Limits(commit_every=0.05, drain=15.0, stop=60.0)
# For work that never ends: nothing is gained by waiting for it.
HURRIED = replace(QUICK, stop=0.5)

Work = Callable[[Delivery[FetchDocuments], int, int], Awaitable[int | Message]]


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return KafkaLog(request.getfixturevalue("kafka"))


class Bed:
    """A topic of lots, one for what comes of their items, and the attempts each item was worked on at."""

    def __init__(self, log: Log, inbox: Topic, outbox: Topic) -> None:
        self.log, self.inbox, self.outbox = log, inbox, outbox
        self.group = uuid4().hex
        self.attempts: dict[int, list[int]] = {}
        self.reports = ItemReports(Stage.FETCH, lambda: 1.0)

    def worker(
        self,
        work: Work,
        *,
        backend: Backend | None = None,
        concurrency: int = 8,
        limits: Limits = QUICK,
    ) -> Worker:
        async def find(_job: str, items: Sequence[int]) -> Sequence[int]:
            return items

        async def noted(delivery: Delivery[FetchDocuments], item: int, found: int) -> int | Message:
            self.attempts.setdefault(item, []).append(delivery.attempt)
            return await work(delivery, item, found)

        async def conclude(job: str, made: Mapping[int, int]) -> Sequence[Message]:
            return [self.said(job, item) for item in made]

        def again(job: str, item: int) -> Message:
            return lot(self.inbox, FetchDocuments(job=job, items=(item,)))

        lots: Lots[FetchDocuments, int, int] = Lots(find, noted, conclude, again, patience=0.05)
        step = Step(
            topic=self.inbox,
            handle=lots.handle,
            on_dead=self.failed,
            max_attempts=3,
            weigh=weigh,
        )
        backend = backend or self.log.backend()
        return Worker(backend, self.group, [step], concurrency=concurrency, limits=limits)

    def said(self, job: str, item: int, word: str = "done") -> Message:
        return Message(self.outbox, f"{job}/{item}", WritePart(job=word, item=item))

    def failed(self, *about: object) -> Sequence[Message]:
        events = self.reports.on_dead(*about)  # type: ignore[arg-type]
        assert {message.topic for message in events} <= {JOBS_EVENTS}
        return [self.said(JOB, message.body.item, "failed") for message in events]  # type: ignore[attr-defined]

    async def send(self, *lots: Sequence[int]) -> None:
        await self.put([], *(lot(self.inbox, FetchDocuments(job=JOB, items=tuple(items))) for items in lots))

    async def put(self, records: Sequence[Outgoing], *messages: Message) -> None:
        producer = self.log.backend().producer()
        await producer.start()
        try:
            await producer.publish(messages)
            await producer.send(records)
        finally:
            await producer.stop()

    async def outcomes(self) -> Counter[tuple[str, int]]:
        found = [json.loads(record.value or b"{}") for record in await self.log.read(self.outbox.name)]
        return Counter((body["job"], body["item"]) for body in found)

    async def letters(self) -> list[tuple[int, ...]]:
        letters = await self.log.read(self.inbox.dead)
        return [tuple(json.loads(letter.value or b"{}")["items"]) for letter in letters]

    async def told(self, count: int) -> Counter[tuple[str, int]]:
        """Give the outcomes once there are so many."""
        async with asyncio.timeout(120):
            while len(outcomes := await self.outcomes()) < count:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)
        return outcomes


@pytest.fixture
async def bed(log: Log) -> Bed:
    return Bed(log, await log.topic(messages=FetchDocuments), await log.topic(retries=()))


async def test_each_item_of_a_lot_has_its_own_end_and_its_own_attempts(bed: Bed) -> None:
    async def work(delivery: Delivery[FetchDocuments], item: int, found: int) -> int:
        if item == 1 and delivery.attempt < 3:
            raise Retry("source_throttled")
        if item == 2:
            raise Retry("source_unavailable")
        if item == 3:
            raise Reject("not_ours")
        if item == 4 and delivery.attempt == 1:
            raise KeyError("a bug")
        return found

    await bed.send(range(5), (5,))
    async with running(bed.worker(work)):
        outcomes = await bed.told(6)
    done = {("done", item) for item in (0, 1, 4, 5)}
    assert outcomes == Counter(done | {("failed", 2), ("failed", 3)})
    assert bed.attempts == {0: [1], 1: [1, 2, 3], 2: [1, 2, 3], 3: [1], 4: [1, 2], 5: [1]}
    assert sorted(await bed.letters()) == [(2,), (3,)]
    # An alert on dead letters sees those of pieces too.
    assert _counted(bed.inbox.name, "dead") == 1
    assert _counted(bed.inbox.retry(bed.inbox.retries[1]), "dead") == 1
    assert _counted(bed.inbox.name, "retried") == 3


def _counted(topic: str, outcome: str) -> float | None:
    return REGISTRY.get_sample_value("sluice_messages_handled_total", {"topic": topic, "outcome": outcome})


async def test_dead_letters_of_items_are_redriven_as_lots_of_their_own(bed: Bed) -> None:
    broken = True

    async def work(_delivery: Delivery[FetchDocuments], item: int, found: int) -> int:
        if broken and item in (1, 3):
            raise Reject("not_ours")
        return found

    await bed.send(range(4))
    async with running(bed.worker(work)):
        await bed.told(4)
    broken = False
    assert await redrive(bed.log.backend(), bed.inbox) == 2
    async with running(bed.worker(work)):
        outcomes = await bed.told(6)
    assert outcomes == Counter({("done", item) for item in range(4)} | {("failed", 1), ("failed", 3)})
    assert bed.attempts == {0: [1], 1: [1, 1], 2: [1], 3: [1, 1]}


async def test_one_that_hangs_holds_up_neither_its_lot_nor_the_next(bed: Bed) -> None:
    released = asyncio.Event()

    async def work(_delivery: Delivery[FetchDocuments], item: int, found: int) -> int:
        if item in (0, 4, 8):
            await released.wait()
        return found

    # Twelve items, four at once: the slots of what was passed on are free again.
    await bed.send(range(4), range(4, 8), range(8, 12))
    async with running(bed.worker(work, concurrency=4)):
        first = await bed.told(9)
        assert first == Counter({("done", item) for item in range(12)} - {("done", i) for i in (0, 4, 8)})
        released.set()
        assert set(await bed.told(12)) == {("done", item) for item in range(12)}


async def test_a_crash_after_a_part_was_passed_on_loses_nothing(bed: Bed) -> None:
    async def hang(_delivery: Delivery[FetchDocuments], item: int, found: int) -> int:
        if item == 2:
            await asyncio.Event().wait()
        return found

    async def work(_delivery: Delivery[FetchDocuments], _item: int, found: int) -> int:
        return found

    await bed.send(range(4))
    mortal = Mortal(bed.log.backend(), at="published")
    async with running(bed.worker(hang, backend=mortal, limits=HURRIED)):
        await until(mortal.dead.is_set)
    bed.group = uuid4().hex  # the dead one never left its group
    async with running(bed.worker(work)):
        outcomes = await bed.told(4)
    assert set(outcomes) == {("done", item) for item in range(4)}


async def test_a_lot_that_cannot_be_read_fails_all_its_items(bed: Bed) -> None:
    async def work(_delivery: Delivery[FetchDocuments], _item: int, found: int) -> int:
        return found

    named = (("items", b"3-5,9"),)
    await bed.put([Outgoing(bed.inbox.name, f"{JOB}/3".encode(), b"{poison", named)])
    await bed.send((0, 1))
    async with running(bed.worker(work)):
        outcomes = await bed.told(6)
    assert set(outcomes) == {("failed", item) for item in (3, 4, 5, 9)} | {("done", 0), ("done", 1)}
    assert len(await bed.log.read(bed.inbox.dead)) == 1
