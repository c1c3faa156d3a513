"""What the expirer needs to know and to change. `sluice_expirer.postgres` keeps it in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sluice_contracts.exports import ExpiryReason


@dataclass(frozen=True, slots=True)
class Gone:
    """A job of which nothing is left: since when, and why."""

    at: datetime
    reason: ExpiryReason


@dataclass(frozen=True, slots=True)
class Due:
    """A job whose content has to go, and why."""

    job: str
    reason: ExpiryReason


class Jobs(Protocol):
    """Exports' jobs. Every method raises `Unavailable` when the database is away."""

    async def withdraw(self, job: str, reason: ExpiryReason, at: datetime) -> None:
        """Delete the job for everyone to see; the first reason and time stay."""

    async def gone(self, job: str) -> Gone | None:
        """Say whether nothing is left of the job."""

    async def held(self, job: str, now: datetime, longest: timedelta) -> bool:
        """Say whether somebody is reading the job's files, who began before it was deleted.

        Nobody is waited for who still reads `longest` after the deletion.
        """

    async def may_remove(self) -> bool:
        """Say whether objects may be removed now: not while a backup is made."""

    async def purge(self, job: str, at: datetime) -> Gone:
        """Delete what the database holds of the job but its tombstone; the first time stays."""

    async def due(self, now: datetime, after: str | None, limit: int) -> Sequence[Due]:
        """Give jobs whose time has come, or whose content should be gone and is not, by id."""

    async def unswept(self, before: datetime, limit: int) -> Sequence[str]:
        """Give jobs that went before that time and were not looked at since."""

    async def swept(self, jobs: Sequence[str], at: datetime) -> None:
        """Say that these jobs were looked at once more."""
