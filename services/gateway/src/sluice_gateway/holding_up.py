"""What holds a job up at its sources, as far as its owner may know: that, and until when.

How many calls a source bears, and whose jobs call it, is for operators (`sluice_gateway.sources`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol

from sluice_fhir.condition_store import Shown
from sluice_fhir.conditions import slowed
from sluice_gateway.models.jobs import HeldUp, HoldUp

_WORST_LAST = tuple(HoldUp)


class Conditions(Protocol):
    """Where it is known how sources do; `sluice_fhir.condition_store.ConditionStore` is on Postgres."""

    async def show(self, source: str) -> Shown | None: ...  # noqa: D102
    async def troubled(self) -> list[str]: ...  # noqa: D102


class Waiting(Protocol):
    """Where it is known which jobs wait for which sources."""

    async def waiting(
        self, jobs: Collection[str], sources: Collection[str] | None = None
    ) -> list[tuple[str, str]]:
        """Give each of the jobs with each source of its items that have not ended, all or one of these."""


class HoldingUp:
    """Says what holds jobs up.

    Parameters
    ----------
    conditions
        Where it is known how sources do.
    jobs
        Where it is known what jobs wait for.
    """

    def __init__(self, conditions: Conditions, jobs: Waiting) -> None:
        self._conditions = conditions
        self._jobs = jobs

    async def of(self, job: str) -> HeldUp | None:
        """Say what holds up a job: of several things the worst, if anything."""
        shown = [await self._conditions.show(source) for _, source in await self._jobs.waiting([job])]
        found = [each for one in shown if one is not None and (each := held_up(one)) is not None]
        return max(found, key=_weight, default=None)

    async def blocked(self, jobs: Collection[str]) -> set[str]:
        """Give those of many jobs of which nobody can tell when they end (see `blocks`)."""
        # Most often there is no such source, and what jobs wait for need not be looked up.
        troubled = await self._conditions.troubled()
        return {job for job, _ in await self._jobs.waiting(jobs, troubled)} if troubled else set()


def blocks(found: HeldUp | None) -> bool:
    """Tell whether a job's pace of before says nothing about when it will end."""
    return found is not None and found.reason in (HoldUp.HELD, HoldUp.FAILING)


def held_up(shown: Shown) -> HeldUp | None:
    """Say what holds up whoever calls a source that does so."""
    condition, now = shown.condition, shown.now
    if condition.held_until > now:
        return HeldUp(reason=HoldUp.HELD, until=datetime.fromtimestamp(condition.held_until, UTC))
    if fails(shown):
        return HeldUp(reason=HoldUp.FAILING, until=None)
    return HeldUp(reason=HoldUp.SLOWED, until=None) if slowed(condition, now) else None


def _weight(found: HeldUp) -> tuple[int, float]:
    return _WORST_LAST.index(found.reason), found.until.timestamp() if found.until else 0.0


def fails(shown: Shown) -> bool:
    """Tell whether a source was called in the last minutes and nothing it answered was good."""
    return bool(shown.recent) and not any(each.good for each in shown.recent)
