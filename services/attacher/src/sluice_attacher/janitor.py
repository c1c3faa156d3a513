"""Removes contents that nothing refers to and what killed processes left in the object store."""

from __future__ import annotations

import itertools
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

    Each round looks for orphans in one of 256 shards of the store.

    Parameters
    ----------
    contents, staging
        What is swept.
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
        clock: Callable[[], float],
        keep_staging: timedelta = timedelta(days=1),
    ) -> None:
        self._contents = contents
        self._staging = staging
        self._clock = clock
        self._keep_staging = keep_staging
        # Processes that were started at different times do not sweep the same shard.
        self._shards = (number % _SHARDS for number in itertools.count(int(clock())))

    async def round(self) -> None:
        """Sweep the shard whose turn it is, and whatever is marked."""
        await self.sweep(next(self._shards))

    async def sweep(self, shard: int) -> None:
        """Sweep one shard, and whatever is marked."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        staged = await self._staging.sweep_staging(now - self._keep_staging)
        orphans = await self._contents.remove_orphans(shard)
        removed = await self._contents.sweep()
        if staged or orphans or removed:
            log.info("swept", removed=removed, orphans=orphans, unfinished=staged)
