"""Import jobs on a real Postgres and a real Kafka: accepted, polled, run again, isolated, healed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from sluice_contracts import wire
from sluice_contracts.commands import StartDocumentImport
from sluice_contracts.progress import ItemRank
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT
from sluice_fhir.condition_store import ConditionStore, Report
from sluice_fhir.conditions import Bounds, Seen
from sluice_fhir.sources import SourceDraft
from sluice_gateway.stores.keys import PostgresKeys
from sluice_stack.kafka import Kafka
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.topics_admin import create
from support.gateway_real import RealSite, real_gateway
from support.stack import Database

URL = "/v2/bulk/fhir"
BASE = "https://fhir.example.org/r4"
BOB = {"subject": "bob"}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        await found.sources.create(SourceDraft(name="One", base_url=BASE))
        yield found


def items(project: str, count: int) -> dict[str, Any]:
    return {
        "items": [
            {"fhir_document_reference": f"{BASE}/DocumentReference/{n}", "project": project, "name": f"{n}"}
            for n in range(count)
        ]
    }


def last_start(site: RealSite) -> StartDocumentImport:
    decoder: wire.Decoder[Any] = wire.Decoder(JOBS_DOCUMENT_IMPORT.messages)
    found = [decoder.decode(r.value or b"") for r in site.broker.records(JOBS_DOCUMENT_IMPORT.name)]
    return max((c for c in found if isinstance(c, StartDocumentImport)), key=lambda c: c.submitted_at)


async def test_a_job_from_acceptance_to_its_results_and_its_failed_items_again(site: RealSite) -> None:
    project = await site.bench.project("ann")
    accepted = await site.post(URL, json=items(project.id, 3), headers=site.bearer())
    assert accepted.status == 202, await accepted.text()
    job = (await accepted.json())["id"]
    early = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    assert early["state"] == "SUBMITTED"
    start = last_start(site)
    assert {item.folder for item in start.items} == {project.root}
    await site.plan(start)
    running = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    assert [entry["state"] for entry in running["result"]] == ["PENDING"] * 3
    file = await site.bench.file(project, "0", b"x", metadata={"k": "v"})
    await site.settle(
        job,
        [
            (0, int(ItemRank.ATTACHED), None, None, file),
            (1, int(ItemRank.FAILED), "document_gone", 410, None),
            (2, int(ItemRank.SKIPPED), None, None, file),
        ],
    )
    body = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    assert (body["state"], body["outcome"]) == ("FINISHED", "completed")
    assert [entry["fhir_document_reference"][-1] for entry in body["result"]] == ["0", "1", "2"]
    assert body["result"][0]["resource"]["metadata"] == {"k": "v"}
    assert body["result"][1]["error"]["status"] == 410
    listing = await (await site.get(URL, headers=site.bearer())).json()
    assert [entry["id"] for entry in listing["items"]] == [job]

    again = await site.post(f"{URL}/{job}/actions/rerun", headers=site.bearer())
    assert again.status == 202, await again.text()
    second = last_start(site)
    assert second.job == (await again.json())["id"] != job
    assert [item.reference[-1] for item in second.items] == ["1"]

    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/actions/rerun")):
        answers = []
        for name in (job, "00000000-0000-8000-8000-000000000000"):
            answer = await site.call(method, f"{URL}/{name}{path}", headers=site.bearer(**BOB))
            answers.append((answer.status, await answer.text()))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert (await (await site.get(URL, headers=site.bearer(**BOB))).json())["items"] == []
    assert (await (await site.get(URL, headers=site.bearer(client="other"))).json())["items"] == []


async def test_what_an_item_is_warned_of_and_what_was_not_imported_reach_its_owner(site: RealSite) -> None:
    project = await site.bench.project("ann")
    accepted = await site.post(URL, json=items(project.id, 2), headers=site.bearer())
    job = (await accepted.json())["id"]
    await site.plan(last_start(site))
    await site.admin.execute(
        "INSERT INTO documents.scraped (job, item, metadata, warnings, schema)"
        " VALUES ($1, 0, '{}', '{study,patient}', 'x')",
        job,
    )
    file = await site.bench.file(project, "0", b"x")
    await site.admin.execute(
        "INSERT INTO files.imports (job, item, outcome, entry, size, others, version, at)"
        " VALUES ($1, 0, 'created', $2, 1, 2, '7', now())",
        job,
        file,
    )
    await site.settle(job, [(0, int(ItemRank.ATTACHED), None, None, file)])
    body = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    told = [(each["warnings"], each["other_contents"], each["document_version"]) for each in body["result"]]
    assert told == [(["study", "patient"], 2, "7"), ([], 0, None)]


async def test_a_project_of_somebody_else_is_like_none(site: RealSite) -> None:
    theirs = await site.bench.project("bob")
    answers = []
    for project in (theirs.id, "bob/absent"):
        answer = await site.post(URL, json=items(project, 1), headers=site.bearer())
        answers.append((answer.status, await answer.text()))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_a_dry_run_knows_what_is_in_the_folder(site: RealSite) -> None:
    project = await site.bench.project("ann")
    taken = await site.bench.file(project, "0")
    await site.bench.file(project, "_1_0")
    found = {}
    for rule in ("SKIP", "OVERWRITE", "AUTORENAME"):
        body = {**items(project.id, 2), "conflict_resolution": rule}
        answer = await site.post(URL + "/actions/dry-run", json=body, headers=site.bearer())
        shown = (await answer.json())["items"]
        assert shown[0]["conflicts_with"] == taken
        assert shown[1] == {"item": 1, "outcome": "created", "name": "1", "conflicts_with": None}
        found[rule] = (shown[0]["outcome"], shown[0]["name"])
    assert found == {
        "SKIP": ("skipped", "0"),
        "OVERWRITE": ("replaced", "0"),
        "AUTORENAME": ("renamed", "_2_0"),
    }


async def test_a_dry_run_of_anothers_project_tells_nothing(site: RealSite) -> None:
    theirs = await site.bench.project("bob")
    answer = await site.post(URL + "/actions/dry-run", json=items(theirs.id, 1), headers=site.bearer())
    assert answer.status == 404


async def test_sources_are_registered_changed_and_removed_without_their_secrets_being_shown(
    site: RealSite,
) -> None:
    operator = site.bearer(scopes="ops/sources")
    wanted = {
        "name": "Two",
        "base_url": "https://two.example.org/fhir/",
        "auth": {"type": "bearer", "token": "top-secret"},
        "max_requests_per_second": 5,
    }
    made = await site.post("/v2/fhir/sources", json=wanted, headers=operator)
    body = await made.json()
    assert made.status == 201, body
    assert body["base_url"] == "https://two.example.org/fhir"
    assert body["auth"] == {"type": "bearer"}
    path = f"/v2/fhir/sources/{body['id']}"
    assert (await site.post("/v2/fhir/sources", json=wanted, headers=operator)).status == 409
    changed = await site.call("PATCH", path, json={"enabled": False}, headers=operator)
    assert (await changed.json())["enabled"] is False
    texts = [await (await site.get(at, headers=operator)).text() for at in (path, "/v2/fhir/sources")]
    assert "top-secret" not in "".join([*texts, str(body), await changed.text()])
    assert (await site.call("DELETE", path, headers=operator)).status == 204
    assert (await site.get(path, headers=operator)).status == 404
    assert (await site.call("DELETE", path, headers=operator)).status == 404


async def test_operators_see_how_a_source_does_as_its_processes_learned_it(site: RealSite) -> None:
    operator = site.bearer(scopes="ops/sources")
    body = {"name": "Slow", "base_url": "https://slow.example.org/fhir", "max_concurrency": 8}
    source = (await (await site.post("/v2/fhir/sources", json=body, headers=operator)).json())["id"]
    path = f"/v2/fhir/sources/{source}/health"
    unused = await (await site.get(path, headers=operator)).json()
    assert (unused["state"], unused["at_once"], unused["recent"]) == ("unused", 8, [])
    store, bounds = ConditionStore(site.bench.fetcher), Bounds(8)
    await store.exchange("one", {source: Report(bounds, Seen(good=3, answered=3, seconds=0.6), 2)})
    used = await (await site.get(path, headers=operator)).json()
    await store.exchange("one", {source: Report(bounds, Seen(refused=1, held_for=90.0), 2)})
    held = await (await site.get(path, headers=operator)).json()
    assert (used["state"], used["processes"], used["usual_seconds"]) == ("ok", 1, pytest.approx(0.2))
    assert (held["state"], held["at_once"]) == ("held", 4)
    assert held["held_until"].endswith("Z")
    assert sum(minute["refused"] for minute in held["recent"]) == 1
    assert (await site.get("/v2/fhir/sources/absent/health", headers=operator)).status == 404
    assert (await site.get(path, headers=site.bearer(scopes="files/read"))).status == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x"}, "base_url"),
        ({"name": "x", "base_url": "ftp://x"}, "base_url"),
        ({"name": "x", "base_url": "https://u:p@x.example"}, "base_url"),
        ({"name": "x", "base_url": BASE + "/2", "max_concurrency": 0}, "max_concurrency"),
        ({"name": "x", "base_url": BASE + "/2", "max_concurrency": "many"}, "max_concurrency"),
        ({"name": "x", "base_url": BASE + "/2", "auth": {"type": "magic"}}, "auth"),
        ({"name": "x", "base_url": BASE + "/2", "colour": "red"}, "colour"),
        ({"name": "x\0", "base_url": BASE + "/2"}, "NUL"),
    ],
)
async def test_a_source_that_cannot_be_used_is_refused_with_the_field(
    site: RealSite, body: dict[str, Any], field: str
) -> None:
    answer = await site.post("/v2/fhir/sources", json=body, headers=site.bearer(scopes="ops/sources"))
    shown = await answer.json()
    assert answer.status == 400
    assert field in shown["message"]


async def test_the_published_key_of_a_source_is_its_public_half(site: RealSite) -> None:
    auth = {"type": "backend_services", "token_url": "https://three.example.org/token", "client_id": "c"}
    body = {"name": "Three", "base_url": "https://three.example.org/fhir", "auth": auth}
    made = await site.post("/v2/fhir/sources", json=body, headers=site.bearer(scopes="ops/sources"))
    source = (await made.json())["id"]
    (key,) = (await (await site.get(f"/v2/fhir/sources/{source}/jwks.json")).json())["keys"]
    assert key["kty"] == "EC"
    assert "d" not in key
    assert (await site.get("/v2/fhir/sources/absent/jwks.json")).status == 404


async def records(bootstrap: str) -> list[tuple[str, Any]]:
    """Read everything on the topic of job commands."""
    consumer = AIOKafkaConsumer(
        JOBS_DOCUMENT_IMPORT.name,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    decoder: wire.Decoder[Any] = wire.Decoder(JOBS_DOCUMENT_IMPORT.messages)
    await consumer.start()
    try:
        found: list[tuple[str, Any]] = []
        ends = await consumer.end_offsets(consumer.assignment())
        while len(found) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += [(record.key.decode(), decoder.decode(record.value)) for record in batch]
        return found
    finally:
        await consumer.stop()


async def test_with_kafka_gone_jobs_are_refused_and_afterwards_accepted_again(
    database: Database, mortal_kafka: Kafka
) -> None:
    await create(mortal_kafka.bootstrap)
    producer = KafkaBackend(mortal_kafka.bootstrap).producer()
    async with real_gateway(database, producer=producer) as site:
        await site.sources.create(SourceDraft(name="One", base_url=BASE))
        project = await site.bench.project("ann")
        body = items(project.id, 100)
        first = await site.post(URL, json=body, headers=site.bearer())
        assert first.status == 202
        on_log = await records(mortal_kafka.bootstrap)
        job = (await first.json())["id"]
        assert [(key, command.job, len(command.items)) for key, command in on_log] == [(job, job, 100)]

        mortal_kafka.kill()
        headers = {**site.bearer(), "Idempotency-Key": "k-1"}
        refused = await site.post(URL, json=body, headers=headers)
        assert (refused.status, (await refused.json())["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await site.get(f"/v2/projects/{project.id}", headers=site.bearer())).status == 200

        mortal_kafka.start()
        for _ in range(180):
            answer = await site.post(URL, json=body, headers=headers)
            if answer.status != 503:
                break
            await asyncio.sleep(0.5)
        assert answer.status == 202
        healed = (await answer.json())["id"]
        again = {command.job for _, command in await records(mortal_kafka.bootstrap)}
        assert again == {job, healed}
        kept = PostgresKeys(site.admin)
        row = await kept.find("portal", "ann", "k-1")
        assert row is not None
        assert row.job == healed
