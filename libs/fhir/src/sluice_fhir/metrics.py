"""What is counted of calls to sources, for Prometheus. Labels are sources' ids and codes, never addresses."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

ANSWERS = Counter("sluice_source_answers", "Calls to a source, by how they ended", ["source", "outcome"])
SECONDS = Histogram(
    "sluice_source_seconds", "Time from a turn to the answer's headers", ["source"], buckets=_SECONDS
)
