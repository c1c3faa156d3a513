"""Health information goes where it is asked for, and nowhere else: canaries through the whole stack.

What a source holds (names, numbers, contents, also in what is broken or refused) must be in no record of any
topic, in no log, metric, trace or error, in no audit record, and in nothing that is said of progress or shown
to operators. What a client asks for by name is in the one record that is the acceptance of its job, and in
none after that.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from sluice_client import Credentials, SluiceClient
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT
from sluice_stack.stack import Stack
from sluice_streaming.topics_admin import connected
from support.canary_flows import bulk_submit, submit_data, watched
from support.collector import CollectorStub, collecting
from support.hostile import HttpSource, http_source
from support.portal import new_portal
from support.pulling import ExportSource
from support.stack_export import grant, operator
from support.stack_whole import IMPATIENT, running_stack
from support.streams import KafkaLog

JSON = {"Content-Type": "application/fhir+json", "Prefer": "respond-async"}
TRACED = {"auth", "gateway", "fetcher", "scraper", "attacher", "status", "exporter", "expirer", "puller"}
CHOSEN = {JOBS_DOCUMENT_IMPORT.name, *map(JOBS_DOCUMENT_IMPORT.retry, JOBS_DOCUMENT_IMPORT.retries)}


@dataclass
class Canaries:
    """Words and numbers that nothing else has."""

    data: str = field(default_factory=lambda: f"Kanarie{secrets.token_hex(5)}")
    number: str = field(default_factory=lambda: str(10**14 + secrets.randbelow(9 * 10**14)))
    asked: str = field(default_factory=lambda: f"Wunsch{secrets.token_hex(5)}")

    def person(self, name: str) -> dict[str, Any]:
        """Give a patient who is full of them."""
        return {
            "resourceType": "Patient",
            "id": name,
            "name": [{"family": self.data, "given": [f"{self.data}a"]}],
            "identifier": [{"system": "urn:mrn", "value": self.number}],
            "telecom": [{"value": f"{self.data}@example.org"}],
            "birthDate": "1970-01-01",
        }

    def document(self, source: HttpSource, name: str, attachment: str) -> dict[str, Any]:
        """Give a document about that patient."""
        return {
            "resourceType": "DocumentReference",
            "id": name,
            "status": "current",
            "description": f"About {self.data}",
            "identifier": [{"value": self.number}],
            "subject": {"reference": "Patient/p", "display": self.data},
            "content": [
                {
                    "attachment": {
                        "contentType": "text/plain",
                        "title": f"{self.data}.txt",
                        "url": f"{source.base}/{attachment}",
                    }
                }
            ],
        }


def furnish(source: HttpSource, canaries: Canaries) -> list[str]:
    """Set what the source answers: documents that are sound and ones that fail in every kind of way."""
    shouting = json.dumps(
        {
            "resourceType": "OperationOutcome",
            "issue": [
                {"severity": "error", "code": "x", "diagnostics": f"{canaries.data} {canaries.number}"}
            ],
        }
    ).encode()
    documents = {
        "sound": canaries.document(source, "sound", "files/sound"),
        "lost": canaries.document(source, "lost", "files/lost"),
        "failing": canaries.document(source, "failing", "files/failing"),
        "lying": canaries.document(source, "lying", "files/lying"),
        "other": canaries.person("other"),
    }
    for name, body in documents.items():
        source.on(f"/fhir/DocumentReference/{name}", json.dumps(body).encode())
    source.on("/fhir/Patient/p", json.dumps(canaries.person("p")).encode())
    source.on("/fhir/DocumentReference/broken", b'{"resourceType":"' + canaries.data.encode())
    source.status("/fhir/DocumentReference/absent", 404, shouting)
    source.status("/fhir/DocumentReference/refused", 403, shouting)
    source.status("/fhir/files/lost", 404, shouting)
    source.status("/fhir/files/failing", 500, shouting)
    source.on("/fhir/files/sound", f"{canaries.data} {canaries.number}".encode(), Content_Type="text/plain")
    source.on("/fhir/files/lying", canaries.data.encode(), Content_Type="text/plain", Content_MD5="AAAA")
    names = [*documents, "broken", "absent", "refused"]
    return [f"{source.base}/DocumentReference/{name}" for name in names]


def export_at_the_source(source: ExportSource, canaries: Canaries) -> None:
    """Let the source's export hold people, and lines that cannot be kept."""
    people = [json.dumps(canaries.person(f"canary-{number}")) for number in range(5)]
    broken = ['{"resourceType":"Patient","id":"' + canaries.data, json.dumps({"id": canaries.number})]
    source.http.on("/fhir/files/people", "\n".join([*people, *broken]).encode())
    problem = {"resourceType": "OperationOutcome", "issue": [{"diagnostics": canaries.data}]}
    source.http.on("/fhir/files/problems", json.dumps(problem).encode())
    source.http.status("/fhir/files/none", 404, canaries.data.encode())
    base = source.http.base
    source.manifest["output"] = [
        {"type": "Patient", "url": f"{base}/files/people"},
        {"type": "Patient", "url": f"{base}/files/none"},
    ]
    source.manifest["error"] = [{"type": "OperationOutcome", "url": f"{base}/files/problems"}]


class Told:
    """Everything that was said to clients about jobs and errors."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def of(self, answer: aiohttp.ClientResponse, *, body: bool = True) -> None:
        """Keep an answer's fields, and its body unless that is the data that were asked for."""
        self.texts.append(str(answer.headers))
        if body:
            self.texts.append(await answer.text())


async def bulk(stack: Stack, source: ExportSource, told: Told, canaries: Canaries) -> None:
    """Import what the source exports, and export it again; keep what is said meanwhile."""
    gateway = stack.addresses.gateway
    async with SluiceClient(gateway, auth_url=stack.addresses.auth) as client:
        made = await client.sign_up("canaries", scopes=["bulk/import", "system/*.rs"])
    await grant(stack, made.client_id)
    credentials = Credentials(client_id=made.client_id, client_secret=made.client_secret)
    async with (
        SluiceClient(gateway, auth_url=stack.addresses.auth, credentials=credentials) as client,
        aiohttp.ClientSession(gateway) as http,
        watched(client, told.texts.append),
    ):
        headers = {"Authorization": f"Bearer {await client.token()}"}
        wanted = {
            "resourceType": "Parameters",
            "parameter": [{"name": "exportUrl", "valueUrl": source.url}],
        }
        async with http.post("/fhir/$import", json=wanted, headers={**headers, **JSON}) as answer:
            assert answer.status == 202, await answer.text()
            place = answer.headers["Content-Location"]
        manifest = await polled(http, place, headers, told)
        told.texts += await bulk_submit(client, source.http, source.manifest["output"])
        for entry in (*manifest["outcome"], *manifest["error"]):
            async with http.get(entry["url"], headers=headers) as answer:
                assert answer.status == 200
                await told.of(answer)
        export = {**headers, "Prefer": "respond-async", "Accept": "application/fhir+json"}
        async with http.get("/fhir/$export?_type=Patient", headers=export) as answer:
            assert answer.status == 202, await answer.text()
            place = answer.headers["Content-Location"]
        manifest = await polled(http, place, headers, told)
        exported = ""
        for entry in manifest["output"]:
            async with http.get(entry["url"], headers=headers) as answer:
                exported += await answer.text()
                await told.of(answer, body=False)
        assert canaries.data in exported
        assert canaries.number in exported
        async with http.delete(place, headers=headers) as answer:
            await told.of(answer)
            assert answer.status == 202
        # What is asked for in vain is not repeated in a log.
        asked = canaries.asked
        for path in (f"/fhir/Patient/{asked}", f"/fhir/Patient?family={asked}", f"/fhir/Patient?{asked}=1"):
            async with http.get(path, headers=headers) as answer:
                await answer.read()


async def polled(
    http: aiohttp.ClientSession, place: str, headers: dict[str, str], told: Told
) -> dict[str, Any]:
    """Poll until there is a manifest; keep what is said until then."""
    async with asyncio.timeout(120):
        while True:
            async with http.get(place, headers=headers) as answer:
                await told.of(answer)
                if answer.status == 200:
                    manifest: dict[str, Any] = await answer.json()
                    return manifest
                assert answer.status == 202, await answer.text()
                await asyncio.sleep(min(1, int(answer.headers["Retry-After"])))


async def records(stack: Stack) -> dict[str, bytes]:
    """Give everything that is on each topic of Kafka's: keys, values and headers."""
    log = KafkaLog(stack.kafka.bootstrap)
    async with connected(stack.kafka.bootstrap) as admin:
        topics = [each for each in await admin.list_topics() if not each.startswith("__")]
    found: dict[str, bytes] = {}
    for topic in topics:
        parts: list[bytes] = []
        for record in await log.read(topic):
            parts += [record.key or b"", record.value or b""]
            parts += [part for name, value in record.headers for part in (name.encode(), value)]
        found[topic] = b"\n".join(parts)
    return found


# What this test has done, as the audit trail knows it.
ACTS = {
    "token",
    "register",
    "grant.give",
    "document-import.begin",
    "document-import.attach",
    "bulk-import.begin",
    "bulk-import.load",
    "export.begin",
    "disclose",
    "read",
    "search",
}


async def audited(stack: Stack) -> bytes:
    """Give all audit records."""
    connection = await asyncpg.connect(stack.dsn())
    try:
        rows = await connection.fetch("SELECT act, r::text AS record FROM audit.records r")
    finally:
        await connection.close()
    assert {row["act"] for row in rows} >= ACTS
    return "\n".join(row["record"] for row in rows).encode()


async def metrics(stack: Stack) -> dict[str, str]:
    """Give what each service tells Prometheus."""
    found: dict[str, str] = {}
    async with aiohttp.ClientSession() as http:
        for name, service in stack.services.items():
            if name == "source":
                continue
            address = urlsplit(service.plan.ready)
            async with http.get(f"http://{address.netloc}/metrics") as answer:
                assert answer.status == 200, name
                found[name] = await answer.text()
    return found


async def shown_to_operators(stack: Stack) -> dict[str, str]:
    """Give what operators are shown of the deployment, and what insight tells of it."""
    gateway, insight = stack.addresses.gateway, stack.layout.insight_url
    found: dict[str, str] = {}
    async with operator(stack) as operators, aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {await operators.token()}"}
        for path in ("/v2/ops/health", "/v2/ops/dead-letters", "/v2/fhir/sources", "/v2/jobs"):
            async with http.get(gateway + path, headers=headers) as answer:
                assert answer.status == 200, path
                found[path] = await answer.text()
        for job in json.loads(found["/v2/jobs"])["items"]:
            async with http.get(f"{job['href']}/items", headers=headers) as answer:
                found[f"items of {job['id']}"] = await answer.text()
        for view in ("/sources", "/clients", "/jobs", "/alerts"):
            async with http.get(insight + view) as answer:
                found[f"insight {view}"] = await answer.text()
    return found


async def all_told(collector: CollectorStub) -> None:
    """Wait for the spans of what was done last, which are told a moment after."""
    wanted = {f"sluice-{name}" for name in TRACED}
    while not wanted <= {span.service for span in tuple(collector.spans)}:  # noqa: ASYNC110 - others tell
        await asyncio.sleep(0.1)


@pytest.fixture
def traced() -> Iterator[tuple[Stack, CollectorStub]]:
    with collecting() as collector:
        told = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "SLUICE_TRACE_SLOW": "0",
        }
        with running_stack(settings={**IMPATIENT, **told}) as stack:
            yield stack, collector


async def test_what_sources_hold_is_in_no_record_log_metric_trace_or_error(
    traced: tuple[Stack, CollectorStub],
) -> None:
    stack, collector = traced
    canaries, told = Canaries(), Told()
    async with new_portal(stack) as portal, http_source() as http:
        source = ExportSource(http)
        documents = furnish(http, canaries)
        export_at_the_source(source, canaries)
        async with operator(stack) as operators:
            await operators.add_source("Canaries", http.base)
            told.texts += await submit_data(operators, canaries.person("given"))
        wish = {"name": f"{canaries.asked}.txt", "metadata": {"study_id": canaries.asked}}
        job = await portal.submit(documents, extra=wish, conflict_resolution="AUTORENAME")
        (ended,) = await portal.finished([job])
        assert ended["counts"]["attached"] >= 1
        assert ended["counts"]["failed"] >= 5
        told.texts += [json.dumps(each["error"]) for each in ended["result"]]
        file = next(each["resource"] for each in ended["result"] if each["resource"])
        _, shown = await portal.call("GET", f"/v2/files/{file['id']}")
        assert canaries.asked in json.dumps(shown)
        await bulk(stack, source, told, canaries)
        await all_told(collector)
        kafka, measured = await records(stack), await metrics(stack)
        shown_there = await shown_to_operators(stack)
    logs = {path.name: path.read_bytes() for path in stack.layout.home.logs.glob("*")}
    held = [canaries.data, canaries.number]
    places: dict[str, bytes] = {f"topic {name}": data for name, data in kafka.items()}
    places |= {f"log {name}": data for name, data in logs.items()}
    places |= {f"metrics of {name}": text.encode() for name, text in measured.items()}
    places |= {f"what operators are shown, {what}": text.encode() for what, text in shown_there.items()}
    places["audit"] = await audited(stack)
    places["traces"] = b"\n".join(collector.bodies)
    places |= {f"what is told, {n}": text.encode() for n, text in enumerate(told.texts)}
    found = {
        (where, canary)
        for where, data in places.items()
        for canary in (*held, canaries.asked)
        if canary.encode().lower() in data.lower()
    }
    allowed = {(f"topic {name}", canaries.asked) for name in CHOSEN}
    # The id of a resource that was asked for in vain is what there is to record.
    allowed.add(("audit", canaries.asked))
    assert found <= allowed
    # That the acceptance is found shows that looking finds what is there.
    assert (f"topic {JOBS_DOCUMENT_IMPORT.name}", canaries.asked) in found
