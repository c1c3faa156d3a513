"""Prometheus scrapes every service, and dashboards and alerts ask only for metrics that there are."""

from __future__ import annotations

import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client import REGISTRY

from sluice_contracts.errors import ItemError
from sluice_insight.folding import Dimension
from sluice_insight.metrics import Tables
from sluice_insight.views import Views
from support.deployment import DEPLOY, ROOT, SERVICES, services, told

DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
# What Prometheus itself says of each scrape.
PROMETHEUS = {"up"}
_NAME = re.compile(r"\b(?:sluice|process|python)_[a-z0-9_]+\b|\bup\b")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Give the labels of every sample that some service can expose, by the sample's name."""
    for service in SERVICES:
        package = import_module(f"sluice_{service}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    found: dict[str, set[str]] = {name: {"service", "instance", "job"} for name in PROMETHEUS}
    for collector in set(REGISTRY._collector_to_names):
        labels = {*getattr(collector, "_labelnames", ()), "service", "instance", "job", "le"}
        for name in REGISTRY._collector_to_names[collector]:
            found[name] = labels
    for family in Tables(cast("Views", _NoViews())).collect():
        found[family.name] = {*getattr(family, "_labelnames", ()), "service", "instance", "job"}
    return found


class _NoViews:
    """What insight has seen before it has seen anything."""

    def by(self, _dimension: Dimension) -> dict[str, Any]:
        return {}

    def counts(self) -> tuple[int, int]:
        return 0, 0


def scrapes() -> dict[str, int]:
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    return {
        name: each["port"]
        for job in configuration["scrape_configs"]
        for each in job["dns_sd_configs"]
        for name in each["names"]
    }


@pytest.mark.parametrize("service", SERVICES)
def test_prometheus_scrapes_every_service_where_it_listens(service: str) -> None:
    said = told(service)
    listens = said.get("SLUICE_HEALTH") or said["SLUICE_LISTEN"]
    assert scrapes()[service] == int(listens.rpartition(":")[2])
    assert "inside" in services()[service]["networks"]


def test_prometheus_scrapes_nothing_that_is_not_there() -> None:
    assert scrapes().keys() <= services().keys()


def check(expression: str, known: dict[str, set[str]]) -> None:
    names = set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
    assert names, f"no metric in: {expression}"
    unknown = names - known.keys()
    assert not unknown, f"no such metrics: {unknown}"
    possible = set().union(*(known[name] for name in names))
    asked = {
        word for group in re.findall(r"\bby \(([^)]*)\)", expression) for word in re.split(r"[,\s]+", group)
    }
    asked |= {
        word
        for inner in re.findall(r"\{([^}]*)\}", expression)
        for word in re.findall(r"(\w+)\s*[=!]", inner)
    }
    assert asked <= possible, f"no such labels: {asked - possible}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_only_for_metrics_and_labels_that_there_are(
    path: Path, known: dict[str, set[str]]
) -> None:
    board = json.loads(path.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert expressions
    for expression in expressions:
        check(expression, known)


def alerts() -> dict[str, str]:
    """Give each alert's expression by its name."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_alerts_ask_only_for_metrics_and_labels_that_there_are(known: dict[str, set[str]]) -> None:
    assert alerts()
    for expression in alerts().values():
        check(expression, known)


def test_every_service_that_is_not_there_at_all_is_an_alert() -> None:
    # It has no address then, and no `up` of 0.
    assert sorted(re.findall(r'absent\(up\{service="(\w+)"\}\)', alerts()["ServiceGone"])) == SERVICES


def test_what_to_do_is_told_of_every_alert_and_of_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().split("## When things fail")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(alerts())


def test_what_can_only_increase_is_alerted_on_from_its_first_time(known: dict[str, set[str]]) -> None:
    # To Prometheus a counter that begins with 1 has not increased.
    counters = re.findall(r"increase\((sluice_\w+)(?:\{[^}]*\})?\[", " ".join(alerts().values()))
    assert "sluice_objects_forged_total" in counters
    begun = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    # Steps begin theirs for each of their topics when they start.
    assert {*counters} - begun <= {"sluice_messages_handled_total"}
    assert known


def test_a_source_that_has_not_what_it_is_asked_for_does_not_fail() -> None:
    asked = re.search(r'outcome=~"([^"]+)"', alerts()["SourceFails"])
    assert asked
    counted = {code for code in ItemError if re.fullmatch(asked[1], code)}
    assert {ItemError.SOURCE_UNAVAILABLE, ItemError.SOURCE_TIMEOUT, ItemError.SOURCE_THROTTLED} <= counted
    assert {ItemError.DOCUMENT_NOT_FOUND, ItemError.ATTACHMENT_NOT_FOUND} & counted == set()


SEEN = {
    "sluice_jobs_finished_total",
    "sluice_job_seconds_bucket",
    "sluice_items_ended_total",
    "sluice_items_failed_total",
    "sluice_lag_records",
    "sluice_lag_seconds",
    "sluice_delivery_seconds_bucket",
    "sluice_deliveries_failed_total",
    "sluice_source_allowed",
    "sluice_source_rate",
    "sluice_source_held_seconds",
}


def test_what_jobs_come_to_what_waits_and_what_sources_bear_is_on_a_dashboard() -> None:
    boards = " ".join(path.read_text() for path in DASHBOARDS)
    assert SEEN - set(_NAME.findall(boards)) == set()


@pytest.mark.parametrize(
    "expression", ["rate(sluice_no_such_total[5m])", "sum by (patient) (sluice_lag_records)", "1"]
)
def test_the_check_notices_what_is_not_there(expression: str, known: dict[str, set[str]]) -> None:
    with pytest.raises(AssertionError):
        check(expression, known)


def test_dashboards_and_datasources_name_each_other() -> None:
    provisioned = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "sluice.yml").read_text()
    )
    sources = {each["uid"]: each for each in provisioned["datasources"]}
    for each in sources.values():
        host = each["url"].split("//")[1].split(":")[0]
        assert host in services()
    uids: list[str] = []
    for path in DASHBOARDS:
        board: dict[str, Any] = json.loads(path.read_text())
        uids.append(board["uid"])
        assert {panel["datasource"]["uid"] for panel in board["panels"]} <= sources.keys()
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
    assert len(uids) == len(set(uids))


def test_the_collector_hands_traces_to_the_trace_store() -> None:
    configuration = yaml.safe_load((DEPLOY / "collector" / "config.yaml").read_text())
    (exporter,) = configuration["service"]["pipelines"]["traces"]["exporters"]
    assert configuration["exporters"][exporter]["endpoint"].split(":")[0] in services()
