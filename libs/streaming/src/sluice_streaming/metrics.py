"""What the runtime counts, for Prometheus. Labels are topics, groups, outcomes and codes, never ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HANDLED = Counter("sluice_messages_handled", "Deliveries settled, and pieces of them", ["topic", "outcome"])
FAILED = Counter("sluice_deliveries_failed", "Retries and dead letters", ["topic", "outcome", "code"])
SECONDS = Histogram("sluice_handler_seconds", "Time in a step's handler", ["topic"], buckets=_BUCKETS)
SETTLED = Histogram(
    "sluice_delivery_seconds",
    "Time from when a message could be handled until what it led to was published",
    ["topic"],
    buckets=_BUCKETS,
)
ITEMS_FAILED = Counter("sluice_items_failed", "Items reported as failed, by step and code", ["stage", "code"])
IN_FLIGHT = Gauge("sluice_messages_in_flight", "Items in handlers", ["group"])
LAG = Gauge("sluice_lag_records", "Records of the assigned partitions not yet handled", ["group", "topic"])
LAG_SECONDS = Gauge(
    "sluice_lag_seconds", "How long the oldest of these records has been waiting", ["group", "topic"]
)
REBALANCES = Counter("sluice_rebalances", "Times partitions were taken away", ["group"])
FENCED = Counter("sluice_messages_fenced", "Deliveries dropped because their partition moved", ["group"])
FOLDED = Counter("sluice_records_folded", "Records applied by a fold", ["group"])
