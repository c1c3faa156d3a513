"""The janitor sweeps in rounds, and goes on after a round that failed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sluice_attacher.janitor import Janitor
from sluice_streaming.rounds import repeat


class FakeContents:
    def __init__(self) -> None:
        self.shards: list[int] = []
        self.sweeps = 0
        self.failures = 0

    async def sweep(self, limit: int = 5000) -> int:
        self.sweeps += 1
        return 1

    async def remove_orphans(self, shard: int) -> int:
        self.shards.append(shard)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        return 0


class FakeStaging:
    def __init__(self) -> None:
        self.before: list[datetime] = []

    async def sweep_staging(self, before: datetime) -> int:
        self.before.append(before)
        return 0


async def test_every_shard_has_its_turn_and_a_failed_round_stops_nothing() -> None:
    contents, staging = FakeContents(), FakeStaging()
    contents.failures = 3
    janitor = Janitor(contents, staging, clock=lambda: 250.0)
    stop = asyncio.Event()
    running = asyncio.create_task(repeat(stop, 0.0, janitor.round, "sweeping"))
    while len(contents.shards) < 300:  # noqa: ASYNC110 - rounds are what is waited for
        await asyncio.sleep(0)
    stop.set()
    await running
    assert contents.shards[:10] == [250, 251, 252, 253, 254, 255, 0, 1, 2, 3]
    assert set(contents.shards) == set(range(256))
    assert contents.sweeps >= len(contents.shards) - 4


async def test_only_what_no_upload_can_still_be_writing_is_swept_from_staging() -> None:
    staging = FakeStaging()
    janitor = Janitor(FakeContents(), staging, clock=lambda: 1e9, keep_staging=timedelta(hours=7))
    await janitor.sweep(0)
    assert staging.before == [datetime.fromtimestamp(1e9, UTC) - timedelta(hours=7)]
