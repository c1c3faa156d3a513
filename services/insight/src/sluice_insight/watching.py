"""What is worth looking at: jobs that are stuck, and sources that answer badly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from sluice_contracts.alerts import Alert, AlertEnded, JobStuck, SourceFailing
from sluice_insight.folding import Dimension, job_of, name_of
from sluice_insight.jobs import JobView, stuck
from sluice_insight.rates import Series, Window


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When something is worth looking at.

    Parameters
    ----------
    stuck_after
        Seconds of silence after which a running job is stuck.
    failing_within, failing_faults, failing_share
        A source fails if within so many seconds at least so many attempts failed for its reasons, and they
        are at least this share of those and of the items that ended well.
    """

    stuck_after: float = 1800.0
    failing_within: float = 300.0
    failing_faults: int = 20
    failing_share: float = 0.5


def totals(
    rates: Mapping[str, Series], dimension: Dimension, now: float, seconds: float
) -> dict[str, Window]:
    """Give what each source or client did within the last `seconds`, over all partitions."""
    found: defaultdict[str, Window] = defaultdict(Window)
    for key, series in rates.items():
        kind, name = name_of(key)
        if kind == dimension:
            found[name].add(series.total(now, seconds))
    return dict(found)


def holding(
    jobs: Mapping[str, JobView], rates: Mapping[str, Series], now: float, limits: Thresholds
) -> Iterator[Alert]:
    """Give every alert that holds now."""
    for key, view in jobs.items():
        if stuck(view, now, limits.stuck_after) and view.kind is not None:
            yield JobStuck(at=now, job=job_of(key), kind=view.kind, since=view.heard_at, pending=view.pending)
    within = limits.failing_within
    for source, total in totals(rates, Dimension.SOURCE, now, within).items():
        good = total.items - total.failed
        if (
            total.faults >= limits.failing_faults
            and total.faults >= (total.faults + good) * limits.failing_share
        ):
            yield SourceFailing(at=now, source=source, seconds=within, faults=total.faults, items=good)


def subject_of(alert: Alert) -> str:
    """Give the job or the source that an alert is about."""
    match alert:
        case JobStuck():
            return alert.job
        case SourceFailing():
            return alert.source
        case AlertEnded():
            return alert.about
        case _:
            raise TypeError


def named(alert: Alert) -> dict[str, str]:
    """Give the same for a log's line, by which of the two it is."""
    of = alert.alert if isinstance(alert, AlertEnded) else type(alert).__name__
    return {"source" if of == SourceFailing.__name__ else "job": subject_of(alert)}


def _key(kind: str, about: str) -> str:
    # A source's alerts are not of one partition of `jobs.events`: all are kept in the first.
    return f"0/{kind}/{about}"


def _key_of(alert: Alert) -> str:
    return _key(type(alert).__name__, subject_of(alert))


class Watch:
    """Tells alerts that hold from those that are new, and from those that hold no more.

    Parameters
    ----------
    told
        Alerts that were told and whose end was not, by a key for each. What is there at the start was told by
        the watcher before.
    """

    def __init__(self, told: MutableMapping[str, Alert]) -> None:
        self.told = told

    def news(self, alerts: Iterable[Alert], at: float) -> list[Alert]:
        """Take all alerts that hold at `at`; give those that were not told, and the ends of those that were.

        They are news until they are noted as told.
        """
        held = {_key_of(alert): alert for alert in alerts}
        fresh = [alert for key, alert in held.items() if key not in self.told]
        ended = [
            AlertEnded(at=at, alert=type(alert).__name__, about=subject_of(alert), since=alert.at)
            for key, alert in self.told.items()
            if key not in held
        ]
        return [*fresh, *ended]

    def note(self, alert: Alert) -> None:
        """Note that an alert, or its end, was told."""
        if isinstance(alert, AlertEnded):
            del self.told[_key(alert.alert, alert.about)]
        else:
            self.told[_key_of(alert)] = alert
