"""What insight shows Prometheus: counts of what it did, and at each scrape what its tables say."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sluice_insight.folding import Dimension
from sluice_insight.views import SPANS, Views

EVENTS = Counter("sluice_insight_events", "Events folded")
SKIPPED = Counter(
    "sluice_insight_skipped", "Records left out: unknown type, malformed, or not to be folded", ["reason"]
)
ALERTS = Counter("sluice_insight_alerts", "Alerts told", ["type"])
FAULTS = Counter(
    "sluice_insight_faults", "Work that failed and was left for the next time", ["work", "error"]
)

_SPAN = f"{SPANS[0]:.0f}"
_RATES = (
    ("items_per_second", "Items that ended, a second, over the last minute"),
    ("bytes_per_second", "Bytes of items that ended well, a second, over the last minute"),
    ("error_ratio", "The share of items that ended without success, over the last minute"),
)


class Tables(Collector):
    """Gives samples of what the views say."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: there may be no tables yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Give the samples as of now."""
        for dimension in Dimension:
            told = self._views.by(dimension)
            for field, text in _RATES:
                family = GaugeMetricFamily(f"sluice_insight_{dimension}_{field}", text, labels=[dimension])
                for name, spans in told.items():
                    family.add_metric([name], spans.get(_SPAN, {}).get(field, 0.0))
                yield family
        running, stuck = self._views.counts()
        jobs = GaugeMetricFamily("sluice_insight_jobs", "Jobs that run, and that are stuck", labels=["state"])
        jobs.add_metric(["running"], running)
        jobs.add_metric(["stuck"], stuck)
        yield jobs
