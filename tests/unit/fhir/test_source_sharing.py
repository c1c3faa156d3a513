"""Processes that share a source: together within its limits, one after another where there is too little."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from sluice_fhir import sharing
from sluice_fhir.condition_store import Report
from sluice_fhir.conditions import Grant
from sluice_fhir.sharing import NOTHING, Sharing
from sluice_fhir.sources import Source
from sluice_fhir.throttle import Throttle
from sluice_security.failure import SourceFailure
from support.conditions_memory import MemoryConditions
from support.streams import until


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source(concurrency: int = 6, rate: float | None = None) -> Source:
    return Source(
        id="s",
        name="s",
        base_url="https://s.org/r4",
        max_concurrency=concurrency,
        max_requests_per_second=rate,
    )


class Processes:
    """Some processes that share one source."""

    def __init__(self, count: int, registered: Source) -> None:
        self.time = Time()
        self.conditions = MemoryConditions(self.time)
        self.shared = [Sharing(self.conditions, f"p{n}", monotonic=self.time) for n in range(count)]
        self.throttles: list[Throttle] = [each.throttle(registered) for each in self.shared]
        self.calls: list[asyncio.Task[float]] = []

    async def ask(self, process: int, count: int) -> None:
        """Have calls want their turn."""
        enter = self.throttles[process].enter
        self.calls += [asyncio.create_task(enter()) for _ in range(count)]
        await asyncio.sleep(0)

    async def second(self) -> None:
        """Let each process exchange once."""
        self.time.now += 1
        for each in self.shared:
            await each.turn()
        await asyncio.sleep(0)

    async def end(self) -> None:
        """Have everyone give up."""
        for call in self.calls:
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)

    @property
    def active(self) -> list[int]:
        """How many calls each has under way."""
        return [each.active for each in self.throttles]


async def test_nothing_is_sent_before_there_is_a_grant_and_one_is_asked_for_at_once() -> None:
    time = Time()
    conditions = MemoryConditions(time)
    shared = Sharing(conditions, "p", monotonic=time)
    running = asyncio.create_task(shared.run())
    throttle = shared.throttle(source())
    call = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    assert throttle.active == 0
    throttle.leave(await call, 200)
    running.cancel()


async def test_processes_divide_a_source_by_what_they_want_and_never_exceed_it() -> None:
    some = Processes(3, source(6))
    await some.ask(0, 20)
    await some.second()
    assert some.active == [6, 0, 0]
    await some.ask(1, 20)
    await some.ask(2, 20)
    for _ in range(3):
        for throttle in some.throttles:
            for _ in range(throttle.active):
                throttle.leave(some.time(), 200)
        await some.second()
        assert some.conditions.granted("s") <= 6
    assert some.active == [2, 2, 2]
    await some.end()


async def test_a_process_that_begins_need_not_wait_until_others_tell_again() -> None:
    some = Processes(2, source(8))
    await some.ask(0, 2)
    await some.shared[0].turn()
    await some.ask(1, 2)
    await some.shared[1].turn()
    await asyncio.sleep(0)
    assert some.active == [2, 2]
    await some.end()


class Told(MemoryConditions):
    """Counts how often processes told, and grants nothing at first."""

    def __init__(self, now: Time, nothing: int) -> None:
        super().__init__(now)
        self.nothing = nothing
        self.times = 0

    async def exchange(self, worker: str, reports: Mapping[str, Report]) -> dict[str, Grant]:
        self.times += 1
        given = await super().exchange(worker, reports)
        return given if self.times > self.nothing else dict.fromkeys(given, NOTHING)


async def test_what_a_process_wants_is_told_again_soon_after_its_first_grant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "_EVERY", 3600.0)
    time = Time()
    conditions = Told(time, nothing=0)
    shared = Sharing(conditions, "p", monotonic=time)
    running = asyncio.create_task(shared.run())
    await shared.throttle(source()).enter()
    await until(lambda: conditions.times == 2)
    running.cancel()


async def test_a_process_that_was_granted_nothing_asks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_EVERY", 3600.0)
    time = Time()
    conditions = Told(time, nothing=6)
    shared = Sharing(conditions, "p", monotonic=time)
    running = asyncio.create_task(shared.run())
    async with asyncio.timeout(120):
        await shared.throttle(source()).enter()
    running.cancel()


async def test_what_a_process_does_not_want_any_more_goes_to_others() -> None:
    some = Processes(2, source(4))
    await some.ask(0, 4)
    await some.second()
    for _ in range(4):
        some.throttles[0].leave(some.time(), 200)
    await some.ask(1, 4)
    for _ in range(3):
        await some.second()
    assert some.active == [0, 4]
    assert some.throttles[0].allowed == 0
    await some.end()


async def test_a_process_that_died_leaves_its_share_to_others() -> None:
    some = Processes(2, source(4))
    await some.ask(0, 4)
    await some.second()
    await some.ask(1, 4)
    dead = some.shared.pop(0)
    for _ in range(7):
        await some.second()
    assert dead is not some.shared[0]
    assert some.throttles[1].active == 4
    await some.end()


async def test_a_refusal_that_one_meets_holds_all_back() -> None:
    some = Processes(2, source(8))
    await some.ask(0, 1)
    await some.ask(1, 1)
    await some.second()
    some.throttles[0].leave(some.time(), 429, 40.0)
    await some.second()
    with pytest.raises(SourceFailure) as refused:
        await some.throttles[1].enter()
    assert refused.value.after == pytest.approx(39.0)
    assert some.conditions.sources["s"].allowed == 4
    await some.end()


async def test_a_registered_rate_is_that_of_all_processes_together() -> None:
    some = Processes(2, source(4, rate=10.0))
    await some.ask(0, 9)
    await some.ask(1, 9)
    for _ in range(3):
        await some.second()
    assert sum(each.rate for each in some.throttles) <= 10.0
    await some.end()


async def test_what_could_not_be_told_is_told_later() -> None:
    some = Processes(1, source(8))
    await some.ask(0, 1)
    await some.second()
    some.throttles[0].leave(some.time(), 503)
    some.conditions.away = True
    with pytest.raises(ConnectionError):
        await some.second()
    some.conditions.away = False
    await some.second()
    assert some.conditions.sources["s"].allowed == 4
    await some.end()


async def test_a_refusal_that_comes_late_grants_nothing() -> None:
    some = Processes(2, source(1))
    await some.ask(0, 1)
    await some.second()
    await some.ask(1, 1)
    began = some.time()
    await some.second()
    some.throttles[0].grant(NOTHING)
    some.throttles[0].leave(began, 503)
    assert some.throttles[0].allowed == 0
    await some.end()
