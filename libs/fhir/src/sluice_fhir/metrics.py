"""What is counted of calls to sources, for Prometheus. Labels are sources' ids and codes, never addresses."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from sluice_fhir.throttle import Throttle

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

ANSWERS = Counter("sluice_source_answers", "Calls to a source, by how they ended", ["source", "outcome"])
SECONDS = Histogram(
    "sluice_source_seconds", "Time from a turn to the answer's headers", ["source"], buckets=_SECONDS
)
ALLOWED = Gauge("sluice_source_allowed", "Calls that this process may have under way at once", ["source"])
RATE = Gauge("sluice_source_rate", "Calls that this process may begin in a second", ["source"])
HELD = Gauge("sluice_source_held_seconds", "For how long a source asked to be left alone", ["source"])
ACTIVE = Gauge("sluice_source_calls_under_way", "Calls under way", ["source"])
WAITING = Gauge("sluice_source_calls_waiting", "Calls that wait for their turn", ["source"])


def watch(source: str, throttle: Throttle) -> None:
    """Show how a source's throttle stands, at each scrape."""
    ALLOWED.labels(source).set_function(lambda: throttle.allowed)
    RATE.labels(source).set_function(lambda: throttle.rate)
    HELD.labels(source).set_function(lambda: throttle.held_for)
    ACTIVE.labels(source).set_function(lambda: throttle.active)
    WAITING.labels(source).set_function(lambda: throttle.waiting)
