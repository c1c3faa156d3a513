"""One trace leads from the request that submits a job to the event that tells its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from sluice_client import SluiceClient
from sluice_contracts.topics import JOBS_EVENTS
from sluice_stack.stack import Stack
from sluice_streaming.messages import header
from sluice_telemetry.trace import TRACEPARENT, Trace, new_trace, parse
from support.collector import CollectorStub, Told, collecting
from support.portal import new_portal, register_source
from support.stack_export import grant, load_sample
from support.stack_whole import running_stack

DOCUMENT = "bench-000777"
WANTED = {
    ("sluice-gateway", "POST /v2/bulk/fhir"),
    ("sluice-gateway", "jobs.document-import publish"),
    ("sluice-fetcher", "jobs.document-import process"),
    ("sluice-fetcher", "document.fetch process"),
    ("sluice-fetcher", "GET"),
    ("sluice-scraper", "document.scrape process"),
    ("sluice-attacher", "document.attach process"),
    ("sluice-attacher", "GET"),
    ("sluice-status", "JobFinished publish"),
}

PULLED = {
    ("sluice-gateway", "POST /fhir/$import"),
    ("sluice-puller", "jobs.bulk-import process"),
    ("sluice-puller", "bulk-import.files process"),
    ("sluice-puller", "GET"),
    ("sluice-status", "JobFinished publish"),
}


EXPORTED = {
    ("sluice-gateway", "POST /fhir/Patient/$export"),
    ("sluice-exporter", "jobs.bulk-export process"),
    ("sluice-exporter", "bulk-export.parts process"),
    ("sluice-status", "JobFinished publish"),
}


@pytest.fixture(scope="module")
def collector() -> Iterator[CollectorStub]:
    with collecting() as stub:
        yield stub


@pytest.fixture(scope="module")
def traced(collector: CollectorStub) -> Iterator[Stack]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "SLUICE_TRACE_SLOW": "0",
    }
    services = ("fetcher", "scraper", "attacher", "puller", "exporter", "status", "gateway", "auth")
    with running_stack(services=services, settings=settings) as stack:
        yield stack


async def end_of(stack: Stack, job: str) -> str:
    """Give the `traceparent` of the event that tells the job's end."""
    consumer = AIOKafkaConsumer(
        JOBS_EVENTS.name, bootstrap_servers=stack.addresses.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async for record in consumer:
            event = msgspec.json.decode(record.value)
            if (event["type"], event["job"]) == ("JobFinished", job):
                return (header(record.headers, TRACEPARENT) or b"").decode()
        raise AssertionError("the log ended")
    finally:
        await consumer.stop()


async def test_one_trace_leads_from_the_request_to_the_last_event(
    traced: Stack, collector: CollectorStub
) -> None:
    begun = new_trace()
    async with new_portal(traced, "traced") as portal:
        url = f"{traced.layout.source_url}/r4/fhir/DocumentReference/{DOCUMENT}"
        body = {"items": [{"fhir_document_reference": url, "project": portal.project}]}
        sent = {TRACEPARENT: str(begun)}
        status, answer = await portal.call("POST", "/v2/bulk/fhir", json=body, headers=sent)
        assert status == 202
        await portal.finished([answer["id"]])
    async with asyncio.timeout(120):
        last = parse(await end_of(traced, answer["id"]))
        assert last is not None
        spans = await told(collector, begun, WANTED)
    assert last.trace_id == begun.trace_id
    connected(spans, begun.span_id, last.span_id)
    # A trace says what was done and how it went, never with what.
    assert [each for each in spans if DOCUMENT in str(each) or "DocumentReference" in str(each)] == []
    about = [each for each in spans if each.name == "document.attach process"]
    assert answer["id"] in about[0].attributes["sluice.job"]


async def test_a_bulk_import_that_is_polled_is_one_trace(traced: Stack, collector: CollectorStub) -> None:
    begun = new_trace()
    async with new_portal(traced, "pulls") as portal:
        await register_source(traced, portal.http, "synthea")
        url = f"{traced.layout.source_url}/synthea/fhir/$export"
        wanted = {"exportUrl": url, "_type": "Organization"}
        body = {
            "resourceType": "Parameters",
            "parameter": [{"name": name, "valueString": value} for name, value in wanted.items()],
        }
        headers = {
            TRACEPARENT: str(begun),
            "Prefer": "respond-async",
            "Authorization": f"Bearer {await portal.account.token(portal.http)}",
        }
        async with portal.http.post(f"{portal.gateway}/fhir/$import", json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            job = answer.headers["Content-Location"].rpartition("/")[2]
    async with asyncio.timeout(120):
        last = parse(await end_of(traced, job))
        assert last is not None
        spans = await told(collector, begun, PULLED)
    assert last.trace_id == begun.trace_id
    connected(spans, begun.span_id, last.span_id)
    steps = [each for each in spans if each.name == "jobs.bulk-import process"]
    assert len(steps) > 2  # the start, and polls that were due
    assert [each for each in spans if "Organization" in str(each)] == []


async def test_an_export_is_one_trace_and_says_nothing_of_what_it_holds(
    traced: Stack, collector: CollectorStub
) -> None:
    sample, begun = await load_sample(traced), new_trace()
    async with (
        SluiceClient(traced.addresses.gateway, auth_url=traced.addresses.auth) as client,
        aiohttp.ClientSession() as http,
    ):
        made = await client.sign_up("traced", scopes=["system/*.rs"])
        await grant(traced, made.client_id)
        headers = {
            TRACEPARENT: str(begun),
            "Prefer": "respond-async",
            "Authorization": f"Bearer {await client.token()}",
        }
        one = {"reference": f"Patient/{sample.patients[0]}"}
        wanted = [{"name": "_type", "valueString": "Patient"}, {"name": "patient", "valueReference": one}]
        body = {"resourceType": "Parameters", "parameter": wanted}
        url = f"{traced.addresses.gateway}/fhir/Patient/$export"
        async with http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            job = answer.headers["Content-Location"].rpartition("/")[2]
    async with asyncio.timeout(120):
        last = parse(await end_of(traced, job))
        assert last is not None
        spans = await told(collector, begun, EXPORTED)
    assert last.trace_id == begun.trace_id
    connected(spans, begun.span_id, last.span_id, hops=6)
    held = ("Patient/" + sample.patients[0][:8], sample.patients[0])
    assert [each for each in spans if any(word in str(each) for word in held)] == []


async def told(collector: CollectorStub, begun: Trace, wanted: set[tuple[str, str]]) -> list[Told]:
    """Wait until all that is wanted of a trace was told, and what it is connected by."""
    while True:
        spans = collector.of(begun.trace_id)
        parents = {each.parent for each in spans} - {each.id for each in spans}
        if {(each.service, each.name) for each in spans} >= wanted and parents <= {begun.span_id}:
            return spans
        await asyncio.sleep(0.1)


def connected(spans: list[Told], first: str, last: str, hops: int = 7) -> None:
    """Hold that every span has its parent in the trace, up to the one that was begun, `hops` away or more."""
    parents = {each.id: each.parent for each in spans}
    assert {each for each in parents.values() if each not in parents} == {first}
    path = [last]
    while path[-1] != first:
        path.append(parents[path[-1]])
    assert len(path) >= hops
