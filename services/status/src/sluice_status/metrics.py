"""What the fold counts, for Prometheus: types and sizes, never ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from sluice_contracts.wire import MalformedMessageError
from sluice_status.batch import Batch

EVENTS = Counter("sluice_status_events", "Events folded, by type", ["type"])
UNKNOWN = Counter("sluice_status_unknown", "Events of a type this version does not know, skipped")
DEAD = Counter("sluice_status_dead", "Records that are not what their topic promises, noted and skipped")
WRITE = Histogram(
    "sluice_status_write_seconds",
    "Time one span's transaction took",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ANNOUNCED = Counter("sluice_status_announced", "Announcements published", ["type"])
WAITING = Gauge("sluice_status_outbox", "Announcements read from the outbox and not yet published")


def observe(batch: Batch, seconds: float) -> None:
    """Count a span that was committed."""
    for kind, number in batch.types.items():
        if issubclass(kind, MalformedMessageError):
            continue
        EVENTS.labels(kind.__name__).inc(number)
    UNKNOWN.inc(batch.unknown)
    DEAD.inc(len(batch.dead))
    WRITE.observe(seconds)
