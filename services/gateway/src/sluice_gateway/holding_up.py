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


class HoldingUp:
    """Says what holds jobs up.

    Parameters
    ----------
    conditions
        Where it is known how sources do.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions

    async def at(self, sources: Collection[str]) -> HeldUp | None:
        """Say what holds up a job that waits for these sources: of several things the worst, if anything."""
        shown = [await self._conditions.show(source) for source in sources]
        found = [each for one in shown if one is not None and (each := held_up(one)) is not None]
        return max(found, key=_weight, default=None)


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
