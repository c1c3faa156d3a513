"""What each service shows Prometheus: all that docs/operations.md tells of, and no label without bounds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sluice_contracts import alerts, events
from sluice_contracts.errors import ItemError
from sluice_contracts.topics import TOPICS
from sluice_gateway.fhir.outcomes import ALIAS, BASE
from sluice_gateway.routes import ROUTES
from sluice_stack.layout import SERVICES
from sluice_stack.stack import Stack
from sluice_streaming.topics_admin import plan
from support.portal import new_portal

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
STEPS = ("fetcher", "scraper", "attacher", "exporter", "expirer", "puller")
CANARY = "jane-doe-4711"
# Insight tells of clients that were active lately, and of no more than that.
PER_CLIENT = "sluice_insight_client_"
RUNTIME = {"internal", "malformed", "time_limit", "too_large"}
ROUTE = re.compile(r"none|/|(/([a-z][a-z._$-]*|\.well-known|[A-Z][A-Za-z]+|v\d|4_0_1|\{[a-z_]+\}))+/?")


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Read the table: per metric its labels and the services that have it."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for row in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if not cells[0].startswith("`sluice_"):
            continue
        services: set[str] = set()
        for name in cells[1].split(", "):
            services.update(STEPS if name == "steps" else (name,))
        for name, labels in re.findall(r"`(sluice_\w+?)(?:\{([\w,]+)\})?`", cells[0]):
            found[name] = (set(labels.split(",")) if labels else set(), services)
    return found


async def scraped(stack: Stack, http: aiohttp.ClientSession) -> dict[str, dict[str, Metric]]:
    """Scrape every service; give its own metrics by service and name."""
    shown = {}
    for name in SERVICES:
        url = stack.services[name].plan.ready.replace("/readyz", "/metrics")
        async with http.get(url) as answer:
            assert answer.status == 200
            families = text_string_to_metric_families(await answer.text())
            shown[name] = {each.name: each for each in families if each.name.startswith("sluice_")}
    return shown


def bounds(sources: set[str]) -> Mapping[str, set[str]]:
    paths = {route.path for route in ROUTES}
    aliases = {ALIAS + path.removeprefix(BASE) for path in paths if path.startswith(BASE)}
    codes = {str(code) for code in ItemError} | RUNTIME
    ends = {str(each) for each in events.JobOutcome} | {"attached", "skipped", "failed", "cancelled"}
    return {
        "topic": {each.name for each in plan(TOPICS)},
        "group": {*STEPS, "status", "exporter-parts", "puller-files", "webhooks"},
        "outcome": {"done", "retried", "put_off", "dead", "skipped", "ok", "abandoned"}
        | codes
        | ends
        | {"delivered", "refused", "failed"},
        "code": codes,
        "stage": {str(each) for each in events.Stage},
        "state": {"running", "stuck"},
        "of": {"job", "jobs", "contents", "exports"},
        "kind": {str(each) for each in events.JobKind},
        "type": {each.__name__ for each in (*events.JobEvent.__args__, *alerts.Alert.__subclasses__())}
        | {"JobState", "UnknownTypeError"},
        "source": sources,
        "method": {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other", "any"},
        "route": paths | aliases | {path + "/" for path in paths} | {"none"},
    }


async def work_done(stack: Stack) -> set[str]:
    """Have something to count: items that end well and badly, and requests for what is not there."""
    async with new_portal(stack, "metrics") as portal:
        base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
        job = await portal.submit([f"{base}/bench-000001", f"{base}/{CANARY}"])
        await portal.finished([job])
        for path in (f"/{CANARY}", f"/v2/bulk/fhir/{CANARY}"):
            await portal.call("GET", path)
        async with portal.http.request("PURGE", f"{stack.layout.auth_url}/{CANARY}"):
            pass
        async with portal.http.request(CANARY.upper(), f"{stack.layout.gateway_url}/{CANARY}"):
            return {job, portal.account.client_id, portal.project}


async def test_every_documented_metric_is_shown_and_no_label_has_values_without_bounds(stack: Stack) -> None:
    unbounded = await work_done(stack)
    async with aiohttp.ClientSession() as http:
        async with asyncio.timeout(120):
            while True:
                shown = await scraped(stack, http)
                ended = shown["status"]["sluice_items_ended"].samples
                if {sample.labels["outcome"] for sample in ended} >= {"attached", "failed"}:
                    break
                await asyncio.sleep(0.2)
        raw = [await (await http.get(f"http://{where}/metrics")).text() for where in addresses(stack)]
    for name, (_, services) in documented().items():
        family = name.removesuffix("_total")
        assert {each for each in services if family not in shown[each]} == set(), name
    texts = "".join(line for text in raw for line in text.splitlines() if not line.startswith(PER_CLIENT))
    assert {each for each in {CANARY, CANARY.upper(), *unbounded} if each in texts} == set()
    families = [family for each in shown.values() for family in each.values()]
    families = [family for family in families if not family.name.startswith(PER_CLIENT)]
    samples = [sample for family in families for sample in family.samples]
    assert {family.name for family in families} == {name.removesuffix("_total") for name in documented()}
    told = {name.removesuffix("_total"): labels for name, (labels, _) in documented().items()}
    for metric in families:
        assert {label for it in metric.samples for label in it.labels} - {"le"} <= told[metric.name]
    sources = {sample.labels["source"] for sample in samples if "source" in sample.labels}
    assert len(sources) < 100
    allowed = bounds(sources)
    for sample in samples:
        for label, value in sample.labels.items():
            if label in {"le", "status"}:
                assert re.fullmatch(r"\+Inf|[\d.e+]+", value)
            elif label in {"reason", "work", "error"}:
                assert re.fullmatch(r"[A-Za-z _]{1,40}", value)
            elif label == "route" and sample.name.startswith("sluice_auth"):
                assert ROUTE.fullmatch(value), sample
            else:
                assert value in allowed[label], sample


def addresses(stack: Stack) -> list[str]:
    return [stack.services[name].plan.ready.split("/")[2] for name in SERVICES]
