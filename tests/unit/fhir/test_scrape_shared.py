"""Shared reads: one at a time per key, forgotten by age and size, failures never kept."""

from __future__ import annotations

import asyncio

import pytest

from sluice_fhir.scrape_cache import SharedReads


class Reads:
    """Counts its calls; each waits until it is let go."""

    def __init__(self, size: int = 10) -> None:
        self.calls = 0
        self.size = size
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def __call__(self) -> tuple[str, int]:
        self.calls += 1
        call = self.calls
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return f"v{call}", self.size


async def test_callers_at_the_same_time_share_one_read() -> None:
    shared: SharedReads[str] = SharedReads()
    reads = Reads()
    reads.gate.clear()
    waiting = [asyncio.create_task(shared.get("k", reads)) for _ in range(10)]
    await asyncio.sleep(0)
    reads.gate.set()
    assert await asyncio.gather(*waiting) == ["v1"] * 10
    assert await shared.get("k", reads) == "v1"
    assert reads.calls == 1


async def test_a_failure_reaches_all_who_waited_and_is_not_kept() -> None:
    shared: SharedReads[str] = SharedReads()
    reads = Reads()
    reads.gate.clear()
    reads.failure = ValueError()
    waiting = [asyncio.create_task(shared.get("k", reads)) for _ in range(3)]
    await asyncio.sleep(0)
    reads.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    reads.failure = None
    assert await shared.get("k", reads) == "v2"


async def test_a_caller_that_gives_up_does_not_take_the_read_from_others() -> None:
    shared: SharedReads[str] = SharedReads()
    reads = Reads()
    reads.gate.clear()
    first, second = (asyncio.create_task(shared.get("k", reads)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    reads.gate.set()
    assert await second == "v1"


async def test_a_result_is_good_for_its_time() -> None:
    now = [0.0]
    shared: SharedReads[str] = SharedReads(ttl=10, clock=lambda: now[0])
    reads = Reads()
    await shared.get("k", reads)
    now[0] = 9.9
    assert shared.peek("k") == "v1"
    now[0] = 10.0
    assert shared.peek("k") is None
    assert shared.size == 0
    assert await shared.get("k", reads) == "v2"


async def test_what_was_unused_longest_goes_when_there_is_no_room() -> None:
    shared: SharedReads[str] = SharedReads(limit=25)
    reads = Reads(size=10)
    for key in "ab":
        await shared.get(key, reads)
    assert shared.peek("a") == "v1"
    await shared.get("c", reads)
    assert (shared.peek("a"), shared.peek("b"), shared.peek("c")) == ("v1", None, "v3")
    assert shared.size == 20


async def test_a_result_larger_than_all_room_is_given_but_not_kept() -> None:
    shared: SharedReads[str] = SharedReads(limit=5)
    assert await shared.get("k", Reads(size=6)) == "v1"
    assert shared.peek("k") is None
    assert shared.size == 0


async def test_closing_stops_reads_under_way() -> None:
    shared: SharedReads[str] = SharedReads()
    reads = Reads()
    reads.gate.clear()
    waiting = asyncio.create_task(shared.get("k", reads))
    await asyncio.sleep(0)
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
