"""Workers and the broker killed at any moment: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from sluice_contracts.topics import Topic
from sluice_stack.kafka import Kafka
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Partition
from support.streams import KafkaLog, commands

TESTS = Path(__file__).parents[1]
ITEMS = 3000


@pytest.fixture
def log(mortal_kafka: Kafka) -> KafkaLog:
    return KafkaLog(mortal_kafka.bootstrap)


class Fleet:
    """Worker processes of one group."""

    def __init__(self, folder: Path, arguments: list[str], *, static: bool) -> None:
        self._folder = folder
        self._arguments = arguments
        self._static = static
        self.members: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "support.stream_worker", *self._arguments]
        command.append(name if self._static else "")
        with (self._folder / f"{name}.log").open("ab") as output:
            self.members[name] = subprocess.Popen(
                command, cwd=self._folder, env={"PYTHONPATH": str(TESTS)}, stderr=output
            )

    def kill(self, name: str) -> None:
        self.members[name].send_signal(signal.SIGKILL)
        self.members[name].wait()

    def effects(self) -> set[int]:
        lines = [path.read_text().splitlines() for path in self._folder.glob("effects.*")]
        return {int(line) for part in lines for line in part if line}


@contextmanager
def fleet(folder: Path, arguments: list[str], *, static: bool = False) -> Iterator[Fleet]:
    workers = Fleet(folder, arguments, static=static)
    try:
        yield workers
    finally:
        for process in workers.members.values():
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@asynccontextmanager
async def reading(log: KafkaLog, topic: Topic) -> AsyncIterator[set[int]]:
    """Collect the items told of on a topic, while the block runs."""
    found: set[int] = set()

    async def read() -> None:
        consumer = AIOKafkaConsumer(
            topic.name,
            bootstrap_servers=log.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            async for record in consumer:
                found.add(json.loads(record.value)["item"])
        finally:
            await consumer.stop()

    task = asyncio.create_task(read())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle(found: set[int], count: int, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while len(found) < count:  # noqa: ASYNC110 - filled by another task
            await asyncio.sleep(0.1)


async def fill(log: KafkaLog, topic: Topic, count: int) -> None:
    producer = KafkaBackend(log.bootstrap).producer()
    await producer.start()
    await producer.publish(commands(topic, count))
    await producer.stop()


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
async def test_killed_workers_lose_nothing(log: KafkaLog, tmp_path: Path, static: bool) -> None:
    inbox, outbox, group = await log.topic(), await log.topic(retries=()), uuid4().hex
    await fill(log, inbox, ITEMS)
    dice = random.Random(20)
    with fleet(tmp_path, [log.bootstrap, group, inbox.name, outbox.name], static=static) as workers:
        for name in ("a", "b"):
            workers.start(name)
        async with reading(log, outbox) as found:
            for _ in range(4):
                await settle(found, min(ITEMS, len(found) + dice.randrange(50, 400)))
                name = dice.choice(["a", "b"])
                workers.kill(name)
                workers.start(name)
            await settle(found, ITEMS)
        assert workers.effects() == set(range(ITEMS))
        await _all_committed(log, group, inbox)
        await _stop(workers)


async def test_a_killed_broker_loses_nothing(mortal_kafka: Kafka, log: KafkaLog, tmp_path: Path) -> None:
    inbox, outbox, group = await log.topic(), await log.topic(retries=()), uuid4().hex
    await fill(log, inbox, ITEMS)
    dice = random.Random(21)
    with fleet(tmp_path, [log.bootstrap, group, inbox.name, outbox.name]) as workers:
        for name in ("a", "b"):
            workers.start(name)
        async with reading(log, outbox) as found:
            for _ in range(2):
                await settle(found, min(ITEMS, len(found) + dice.randrange(50, 600)))
                mortal_kafka.kill()
                mortal_kafka.start()  # here, not in a thread: the broker ends with the thread that started it
            await settle(found, ITEMS)
        assert workers.effects() == set(range(ITEMS))
        await _all_committed(log, group, inbox)
        await _stop(workers)


async def test_workers_that_start_before_the_broker_wait_for_it(
    mortal_kafka: Kafka, log: KafkaLog, tmp_path: Path
) -> None:
    inbox, outbox, group = await log.topic(), await log.topic(retries=()), uuid4().hex
    await fill(log, inbox, 50)
    mortal_kafka.stop()
    with fleet(tmp_path, [log.bootstrap, group, inbox.name, outbox.name]) as workers:
        workers.start("a")
        workers.start("b")
        async with asyncio.timeout(120):  # until it says that it cannot reach the broker
            while not (tmp_path / "b.log").read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        workers.members["b"].send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(workers.members["b"].wait, 120) == 0, "waiting must not make it deaf"
        mortal_kafka.start()
        async with reading(log, outbox) as found:
            await settle(found, 50)
        del workers.members["b"]
        await _stop(workers)


async def _stop(workers: Fleet) -> None:
    for process in workers.members.values():
        process.send_signal(signal.SIGTERM)
    for process in workers.members.values():
        assert await asyncio.to_thread(process.wait, 120) == 0


async def _all_committed(log: KafkaLog, group: str, topic: Topic, seconds: float = 120.0) -> None:
    """Wait until the group's offsets cover every record of the topic."""
    records = await log.read(topic.name)
    async with asyncio.timeout(seconds):
        while True:
            committed = await log.committed(group)
            if all(r.offset < committed.get(Partition(r.topic, r.partition), 0) for r in records):
                return
            await asyncio.sleep(0.3)
