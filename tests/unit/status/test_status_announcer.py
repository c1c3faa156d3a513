"""Announcements leave the outbox only once they are on Kafka, in order, and after a failure again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sluice_contracts.events import JobFinished
from sluice_contracts.states import JobState
from sluice_contracts.topics import JOBS_EVENTS, JOBS_STATE
from sluice_status.announcer import Announcer
from sluice_status.folding import Folder
from sluice_status.pace import Pace
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Unavailable
from support.histories import job_number, whole_job
from support.status_memory import MemoryLedger, records_of

JOB = job_number(0)


class FakePublisher:
    def __init__(self, failures: int = 0) -> None:
        self.published: list[Message] = []
        self.failures = failures
        self.gone = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> None:
        self.published += messages
        if self.failures:
            self.failures -= 1
            raise Unavailable("kafka")
        self.gone.set()


async def finished_job(partition: int = 0) -> MemoryLedger:
    ledger = MemoryLedger()
    folder = Folder(ledger, Pace(0, lambda: 0.0), lambda: None)
    await folder.positions([partition])
    await folder.apply(folder.prepare(None, records_of(whole_job(JOB, 2), partition=partition)))
    return ledger


async def test_a_jobs_end_goes_to_its_topics_under_its_id_and_leaves_the_outbox() -> None:
    ledger, publisher = await finished_job(), FakePublisher()
    await Announcer(ledger, publisher, lambda: {0}).drain()
    assert [(it.topic, it.key, type(it.body)) for it in publisher.published] == [
        (JOBS_EVENTS, JOB, JobFinished),
        (JOBS_STATE, JOB, JobState),
    ]
    assert ledger.tables.outbox == []
    assert ledger.announced_jobs == {JOB}


async def test_what_was_not_acknowledged_is_published_again_with_the_same_content() -> None:
    ledger, publisher = await finished_job(), FakePublisher(failures=1)
    announcer = Announcer(ledger, publisher, lambda: {0})
    with pytest.raises(Unavailable):
        await announcer.drain()
    assert ledger.announced_jobs == set()
    await announcer.drain()
    said = [(it.topic, it.key, it.body) for it in publisher.published]
    assert said[:2] == said[2:]


async def test_announcements_of_partitions_folded_elsewhere_are_left_to_others() -> None:
    ledger, publisher = await finished_job(partition=3), FakePublisher()
    await Announcer(ledger, publisher, lambda: {0, 1}).drain()
    assert publisher.published == []
    assert len(ledger.tables.outbox) == 2


async def test_the_announcer_goes_on_after_kafka_was_away_and_stops_when_told() -> None:
    ledger, publisher = await finished_job(), FakePublisher(failures=1)
    announcer = Announcer(ledger, publisher, lambda: {0})
    stop = asyncio.Event()
    running = asyncio.create_task(announcer.run(stop))
    announcer.wake()
    await asyncio.wait_for(publisher.gone.wait(), 120)
    stop.set()
    await asyncio.wait_for(running, 120)
    assert ledger.tables.outbox == []
