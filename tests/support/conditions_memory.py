"""Where processes share sources' limits, in memory: the decisions of Postgres, on a clock of the test's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sluice_fhir.condition_store import Report
from sluice_fhir.conditions import Condition, Grant, Share, grant, learn, within

ALIVE = 5.0


@dataclass(slots=True)
class MemoryConditions:
    """See `sluice_fhir.condition_store.ConditionStore`; `now` gives Unix seconds."""

    now: Callable[[], float]
    sources: dict[str, Condition] = field(default_factory=dict)
    workers: dict[tuple[str, str], tuple[Share, float]] = field(default_factory=dict)
    away: bool = False

    async def exchange(self, worker: str, reports: Mapping[str, Report]) -> dict[str, Grant]:
        """Let all learn, and give what this process may do."""
        if self.away:
            raise ConnectionError
        now, grants = self.now(), {}
        for source, report in reports.items():
            before = self.sources.get(source, Condition(float(report.bounds.concurrency)))
            learned = learn(before, report.seen, report.bounds, now) if report.seen else before
            after = self.sources[source] = within(learned, report.bounds)
            others = {
                name: share
                for (it, name), (share, seen_at) in self.workers.items()
                if it == source and name != worker and seen_at > now - ALIVE
            }
            given = grants[source] = grant(after, worker, report.wanted, others, now)
            self.workers[source, worker] = (Share(report.wanted, given.concurrency), now)
        return grants

    def granted(self, source: str) -> int:
        """Give how many calls at once all processes together may make."""
        return sum(share.granted for (it, _), (share, _) in self.workers.items() if it == source)
