"""Ask the running Prometheus and the running store of traces whether they see the stack.

Every service is scraped; every expression of a dashboard and of an alert can be evaluated and names metrics
that are there; one trace leads from the POST of an import through its services.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

_DEPLOY = Path(__file__).resolve().parents[1]
_METRIC = re.compile(r"\b(?:sluice_\w+|up)\b")
_SUFFIX = re.compile(r"_(?:bucket|count|sum)$")
# Prometheus asks each process every 15 s, and spans leave processes in batches.
_PATIENCE = 60.0
_THROUGH = {"sluice-gateway", "sluice-fetcher", "sluice-scraper", "sluice-attacher", "sluice-status"}


def main() -> None:
    """Look, and end with 1 and a line for each thing that is not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True, help="its address")
    parser.add_argument("--traces", required=True, help="the address of Jaeger")
    places = parser.parse_args()
    deadline = time.monotonic() + _PATIENCE
    while faults := [*_unseen(places.prometheus), *_untraced(places.traces)]:
        if time.monotonic() > deadline:
            raise SystemExit("\n".join(faults))
        time.sleep(5)
    print("every service is scraped, every panel and alert evaluated, and a trace leads through an import")


def _unseen(prometheus: str) -> Iterator[str]:
    targets = _get(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]
    for target in targets:
        if target["health"] != "up":
            yield f"{target['scrapeUrl']} cannot be scraped: {target['lastError']}"
    scraped = {target["labels"]["service"] for target in targets}
    for service in sorted({folder.name for folder in (_DEPLOY.parent / "services").iterdir()} - scraped):
        yield f"{service} is not scraped"
    for group in _get(f"{prometheus}/api/v1/rules")["data"]["groups"]:
        for rule in group["rules"]:
            if rule["health"] == "err":
                yield f"alert {rule['name']}: {rule['lastError']}"
    known = set(_get(f"{prometheus}/api/v1/metadata")["data"]) | {"up"}
    # A counter's metadata may be by its name with or without the suffix.
    known |= {f"{name}_total" for name in known}
    for title, expression in _panels():
        _get(f"{prometheus}/api/v1/query?query={quote(expression)}")
        for metric in _METRIC.findall(expression):
            if metric not in known and _SUFFIX.sub("", metric) not in known:
                yield f"panel {title}: no process has {metric}"


def _panels() -> Iterator[tuple[str, str]]:
    for file in sorted((_DEPLOY / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]


def _untraced(traces: str) -> Iterator[str]:
    found = _get(f"{traces}/api/traces?service=sluice-attacher&limit=50&lookback=1h")["data"]
    best: set[str] = set()
    for trace in found:
        services = {process["serviceName"] for process in trace["processes"].values()}
        best = max(best, services & _THROUGH, key=len)
    if best != _THROUGH:
        yield f"no trace goes through {', '.join(sorted(_THROUGH - best))}"


def _get(address: str) -> Any:
    with urlopen(address, timeout=10) as answer:  # noqa: S310 - an address that the check itself made
        return json.load(answer)


if __name__ == "__main__":
    main()
