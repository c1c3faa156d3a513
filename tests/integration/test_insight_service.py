"""Insight on real Kafka: events in, views out, whatever it meets and however it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from sluice_contracts import wire
from sluice_contracts.alerts import Alert
from sluice_contracts.events import Event, ItemRetrying, Stage
from sluice_contracts.topics import INSIGHT_ALERTS, INSIGHT_TOLD, JOBS_EVENTS
from sluice_insight.watching import subject_of
from sluice_stack.kafka import Kafka
from sluice_stack.processes import free_port
from sluice_streaming.topics_admin import create
from support.histories import attached, failed, job_number, planned
from support.streams import KafkaLog

TESTS = Path(__file__).parents[1]
MALFORMED = (b"", b"{", b"\xff", b'{"type":"JobPlanned"}', b'{"type":"New","job":"x"}', b"[" * 100_000)


class Insight:
    """One process of the service, and what it answers."""

    def __init__(self, process: asyncio.subprocess.Process, listen: int, health: int) -> None:
        self.process = process
        self._listen = listen
        self._health = health

    async def get(self, path: str) -> Any:
        """Give what a view answers, None while nobody does."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self._listen}{path}") as answer,
            ):
                assert answer.status == 200
                return await answer.json()
        return None

    async def metrics(self) -> str:
        """Give what Prometheus is told."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self._health}/metrics") as answer,
        ):
            return await answer.text()

    async def ready(self) -> bool:
        """Whether its tables are restored."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{self._health}/readyz") as answer,
            ):
                return answer.status == 200
        return False

    async def ended(self) -> dict[str, int]:
        """Give how many items of each running job have ended."""
        return {each["job"]: each["ended"] for each in await self.get("/jobs") or ()}


@contextlib.asynccontextmanager
async def insight(kafka: Kafka, module: str = "sluice_insight", **settings: str) -> AsyncIterator[Insight]:
    listen, health = free_port(), free_port()
    environment = {
        **os.environ,
        "SLUICE_KAFKA": kafka.bootstrap,
        "SLUICE_LISTEN": f"127.0.0.1:{listen}",
        "SLUICE_HEALTH": f"127.0.0.1:{health}",
        "PYTHONPATH": str(TESTS),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment)
    try:
        yield Insight(process, listen, health)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await process.wait()
        assert code in (0, -signal.SIGKILL)


async def publish(kafka: Kafka, events: Sequence[Event | bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for event in events:
            value = event if isinstance(event, bytes) else wire.encode(event)
            key = b"" if isinstance(event, bytes) else event.job.encode()
            await producer.send(JOBS_EVENTS.name, value, key=key)
        await producer.flush()


async def until(question: Any, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not await question():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.05)


def plan(job: str, items: int) -> Event:
    return replace(planned(job, items, time.time()), sources=("s1",))


async def test_its_tables_survive_a_stop_a_kill_and_whatever_it_is_told(module_kafka: Kafka) -> None:
    await create(module_kafka.bootstrap)
    jobs = [job_number(number) for number in range(20)]
    now = time.time()
    first = [plan(job, 10) for job in jobs]
    first += [attached(job, item, now) for job in jobs for item in range(4)]
    first += [failed(job, 4, now) for job in jobs]
    async with insight(module_kafka) as service:
        await publish(module_kafka, [*MALFORMED[:3], *first, *MALFORMED[3:], *first])
        await until(lambda: told(service, dict.fromkeys(jobs, 5)))
        assert set(await service.get("/etas?" + "&".join(f"job={job}" for job in jobs))) == set(jobs)
        rates = (await service.get("/sources"))["s1"]["900"]
        assert (rates["items"], rates["failed"]) == (100, 20)
        assert 'sluice_insight_skipped_total{reason="MalformedMessageError"} 5.0' in await service.metrics()
    async with insight(module_kafka) as service:
        await until(service.ready)
        # What it knows comes from its changelog: these events are committed and not read again.
        assert await service.ended() == dict.fromkeys(jobs, 5)
        assert "sluice_insight_events_total 0.0" in await service.metrics()
        await publish(module_kafka, [attached(job, 5, now) for job in jobs])
        await until(lambda: told(service, dict.fromkeys(jobs, 6)))
        service.process.kill()
        await service.process.wait()
    await publish(module_kafka, [attached(job, 6, now) for job in jobs])
    async with insight(module_kafka) as service:
        # Its predecessor's session ends first.
        await until(lambda: told(service, dict.fromkeys(jobs, 7)), seconds=150)
        rates = (await service.get("/sources"))["s1"]["900"]
        assert 100 <= rates["items"] <= 160


async def test_nothing_is_left_out_while_it_is_late_to_seek_where_it_goes_on(module_kafka: Kafka) -> None:
    await create(module_kafka.bootstrap)
    jobs = [job_number(number) for number in range(300, 320)]
    now = time.time()
    async with insight(module_kafka) as service:
        await publish(module_kafka, [replace(plan(job, 1000), sources=("s3",)) for job in jobs])
        await until(lambda: told_among_others(service, dict.fromkeys(jobs, 0)))
    await publish(module_kafka, [attached(job, item, now) for item in range(500) for job in jobs])
    # One after the other they are folded more slowly than they are read: some wait whenever it is.
    async with insight(module_kafka, "support.insight_late_seek", SLUICE_INSIGHT_BATCH="1") as service:
        await until(lambda: told_among_others(service, dict.fromkeys(jobs, 500)))
        assert (await service.get("/sources"))["s3"]["900"]["items"] == 10_000


async def told(service: Insight, wanted: dict[str, int]) -> bool:
    return await service.ended() == wanted


async def told_among_others(service: Insight, wanted: dict[str, int]) -> bool:
    return wanted.items() <= (await service.ended()).items()


async def test_what_is_stuck_and_what_fails_is_told_once_and_when_it_has_ended(module_kafka: Kafka) -> None:
    await create(module_kafka.bootstrap)
    job, now = job_number(100), time.time()
    tries = [
        ItemRetrying(
            job=job, at=now, item=0, stage=Stage.FETCH, code="source_timeout", attempt=attempt, due=now
        )
        for attempt in range(30)
    ]
    await publish(module_kafka, [replace(plan(job, 3), sources=("s2",)), *tries])
    async with insight(
        module_kafka,
        SLUICE_INSIGHT_STUCK_AFTER="5",
        SLUICE_INSIGHT_SETTLED_AFTER="1",
        SLUICE_INSIGHT_JUDGE_EVERY="0.5",
    ) as service:
        async with asyncio.timeout(120):
            while not {*(about := await _told_of(module_kafka))} >= {job, "s2"}:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        shown = {subject for each in await service.get("/alerts") for subject in each.values()}
        assert shown >= {job, "s2", "JobStuck", "SourceFailing"}
        assert (about.count(job), about.count("s2")) == (1, 1)
        # Heard of again, it is not stuck any more, and that is told too.
        await publish(module_kafka, [attached(job, item, time.time()) for item in range(3)])
        async with asyncio.timeout(120):
            while (await _told_of(module_kafka)).count(job) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert job not in {each.get("job") for each in await service.get("/alerts")}


async def test_what_ended_while_it_was_away_is_told_when_it_is_back_and_what_holds_is_not_told_again(
    module_kafka: Kafka,
) -> None:
    await create(module_kafka.bootstrap)
    over, silent = job_number(200), job_number(201)
    impatient = {
        "SLUICE_INSIGHT_STUCK_AFTER": "3",
        "SLUICE_INSIGHT_SETTLED_AFTER": "2",
        "SLUICE_INSIGHT_JUDGE_EVERY": "0.5",
    }
    await publish(module_kafka, [plan(over, 1), plan(silent, 1)])
    async with insight(module_kafka, **impatient):
        await until(lambda: _are_told(module_kafka, {over: ["JobStuck"], silent: ["JobStuck"]}))
        await until(lambda: _are_noted(module_kafka, over, silent))
    await publish(module_kafka, [attached(over, 0, time.time())])
    async with insight(module_kafka, **impatient) as service:
        await until(lambda: _are_told(module_kafka, {over: ["JobStuck", "AlertEnded"], silent: ["JobStuck"]}))
        shown = [each.get("job") for each in await service.get("/alerts")]
        assert (over in shown, silent in shown) == (False, True)
        await publish(module_kafka, [attached(silent, 0, time.time())])
        # Of what holds nothing was told meanwhile.
        await until(lambda: _are_told(module_kafka, {silent: ["JobStuck", "AlertEnded"]}))


async def _are_told(kafka: Kafka, wanted: dict[str, list[str]]) -> bool:
    told = await _alerts(kafka)
    return wanted == {
        about: [type(each).__name__ for each in told if subject_of(each) == about] for about in wanted
    }


async def _are_noted(kafka: Kafka, *about: str) -> bool:
    records = await KafkaLog(kafka.bootstrap).read(INSIGHT_TOLD.name)
    return all(any(each.encode() in (record.key or b"") for record in records) for each in about)


async def _told_of(kafka: Kafka) -> list[str]:
    return [subject_of(alert) for alert in await _alerts(kafka)]


async def _alerts(kafka: Kafka) -> list[Alert]:
    decoder: wire.Decoder[Alert] = wire.Decoder(INSIGHT_ALERTS.messages)
    records = await KafkaLog(kafka.bootstrap).read(INSIGHT_ALERTS.name)
    return [decoder.decode(record.value or b"") for record in records]


async def test_it_waits_for_its_topics_and_stops_in_order_meanwhile(scratch: Any) -> None:
    with_nothing = Kafka(scratch)
    with_nothing.start()
    try:
        async with insight(with_nothing) as service:
            await until(lambda: asyncio.sleep(0.2, True))
            assert not await service.ready()
            await create(with_nothing.bootstrap)
            await until(service.ready)
    finally:
        with_nothing.stop(5)


async def test_without_kafka_it_is_not_ready_goes_on_when_that_is_back_and_stops_in_order_all_the_same(
    scratch: Any,
) -> None:
    kafka = Kafka(scratch)
    kafka.start()
    try:
        await create(kafka.bootstrap)
        async with insight(kafka) as service:
            await until(service.ready)
            kafka.kill()

            async def waits() -> bool:
                return not await service.ready()

            await until(waits)
            kafka.start()
            await until(service.ready)
            assert service.process.returncode is None
            kafka.kill()
        assert service.process.returncode == os.EX_OK
    finally:
        kafka.stop(5)
