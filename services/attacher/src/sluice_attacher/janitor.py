"""Removes contents that nothing refers to and what killed processes left in the object store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

_SHARDS = 256


class Contents(Protocol):
    """What is swept; `sluice_storage.catalogue.blobs.Blobs` does it."""

    async def sweep(self, limit: int = 5000) -> int:
        """Remove marked contents; give how many."""

    async def remove_orphans(self, shard: int) -> int:
        """Remove objects of one shard whose attaching never ended; give how many."""


class Staging(Protocol):
    """Where versions before had uploads wait; `sluice_storage.objects.ObjectStore` looks there."""

    async def sweep_staging(self, before: datetime) -> int:
        """Remove what was left unfinished before that time; give how many."""


class Janitor:
    """Sweeps in rounds; several processes may do so at once.

    Parameters
    ----------
    contents, staging
        What is swept.
    every
        Seconds between rounds. Each round looks for orphans in one of 256 shards of the store.
    keep_staging
        How long an upload may take.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        contents: Contents,
        staging: Staging,
        *,
        every: float,
        clock: Callable[[], float],
        keep_staging: timedelta = timedelta(days=1),
    ) -> None:
        self._contents = contents
        self._staging = staging
        self._every = every
        self._clock = clock
        self._keep_staging = keep_staging

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set; a round that fails is logged and the next tried."""
        round_number = int(self._clock())
        while not stop.is_set():
            try:
                await self.sweep(round_number % _SHARDS)
            except Exception as error:  # the service attaches on while the janitor waits for better times
                log.warning("sweeping failed", error=type(error).__name__)
            round_number += 1
            try:
                await asyncio.wait_for(stop.wait(), self._every)
            except TimeoutError:
                continue

    async def sweep(self, shard: int) -> None:
        """Do one round."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        staged = await self._staging.sweep_staging(now - self._keep_staging)
        orphans = await self._contents.remove_orphans(shard)
        removed = await self._contents.sweep()
        if staged or orphans or removed:
            log.info("swept", removed=removed, orphans=orphans, unfinished=staged)
