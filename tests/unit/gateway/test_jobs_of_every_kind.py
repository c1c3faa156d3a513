"""Jobs of every kind: listed, looked at and watched by their owners and by operators, and by nobody else."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiohttp import ClientResponse

from sluice_contracts.commands import ConflictResolution, ImportItem
from sluice_contracts.events import (
    DocumentAttached,
    Event,
    FileOutcome,
    JobFinished,
    JobKind,
    JobOutcome,
)
from sluice_contracts.progress import ItemRank
from sluice_contracts.topics import JOBS_EVENTS
from sluice_gateway.alerts import Held
from sluice_gateway.all_jobs import AnyItemRow, AnyJobRow
from sluice_gateway.imports import Rerun
from sluice_gateway.watches import MOST_HELD, JobWatch, Told
from sluice_streaming.messages import Message, Outgoing
from support.gateway_memory import BASE, FOLDER, PROJECT, Site, job_row, memory_gateway, one_item

AT = datetime(2026, 1, 2, tzinfo=UTC)
STRANGERS = [{"subject": "bob"}, {"client": "other"}, {"client": "other", "subject": "bob"}]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


def added(site: Site, **fields: Any) -> AnyJobRow:
    row = {
        "job": str(uuid4()),
        "kind": "document-import",
        "client": "portal",
        "subject": "ann",
        "state": "RUNNING",
        "outcome": None,
        "items": 3,
        "attached": 1,
        "skipped": 0,
        "failed": 1,
        "cancelled": 0,
        "submitted_at": AT,
        "started_at": AT,
        "finished_at": None,
        **fields,
    }
    made = AnyJobRow(**row)
    site.all_jobs.rows[made.job] = made
    return made


def attached(job: str, item: int) -> DocumentAttached:
    return DocumentAttached(job=job, at=1.7e9, item=item, file="f", outcome=FileOutcome.CREATED, size=1)


def finished(job: str) -> JobFinished:
    counts = {"items": 3, "attached": 3, "skipped": 0, "failed": 0, "cancelled": 0}
    return JobFinished(
        job=job, at=1.7e9, kind=JobKind.DOCUMENT_IMPORT, outcome=JobOutcome.COMPLETED, **counts
    )


async def publish(site: Site, *events: Event) -> None:
    await site.broker.publish(*(Message(JOBS_EVENTS, event.job, event) for event in events))


async def next_event(answer: ClientResponse) -> dict[str, str]:
    """Read one event of a stream, passing over comments; empty at its end."""
    async with asyncio.timeout(120):
        while True:
            fields: dict[str, str] = {}
            while line := (await answer.content.readline()).decode().rstrip("\n"):
                if not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
            if fields or answer.content.at_eof():
                return fields


async def test_a_running_job_is_told_of_as_stuck_while_insight_says_so(site: Site) -> None:
    silent, lively = added(site), added(site)
    ended = added(site, state="FINISHED", outcome="completed", finished_at=AT)
    since = AT.timestamp()
    site.alerts.extend(
        Held(type="JobStuck", at=since + 60, job=row.job, since=since) for row in (silent, ended)
    )
    listed = (await (await site.get("/v2/jobs", headers=site.bearer())).json())["items"]
    told = {each["id"]: each["stuck_since"] for each in listed}
    assert {job for job, when in told.items() if when} == {silent.job}
    assert datetime.fromisoformat(told[silent.job]) == AT
    site.alerts.clear()
    body = await (await site.get(f"/v2/jobs/{silent.job}", headers=site.bearer())).json()
    assert (body["stuck_since"], told[lively.job]) == (None, None)


async def test_what_happened_before_and_after_a_pulls_files_is_among_its_stages(site: Site) -> None:
    row = added(site, kind="bulk-import", begun_at=AT, settled_at=AT + timedelta(minutes=9))
    site.all_jobs.rows[row.job] = row = replace(row, first_attached_at=AT, last_attached_at=AT)
    body = await (await site.get(f"/v2/jobs/{row.job}", headers=site.bearer())).json()
    assert [each["stage"] for each in body["stages"]] == ["kick-off", "load", "look-up"]


async def test_a_job_is_shown_alike_whatever_its_kind(site: Site) -> None:
    for number, kind in enumerate(JobKind):
        added(site, kind=kind.value, submitted_at=AT + timedelta(seconds=number))
    answer = await site.get("/v2/jobs", headers=site.bearer())
    body = await answer.json()
    assert answer.headers["X-Total-Matching-Query"] == "3"
    assert [each["kind"] for each in body["items"]] == ["bulk-import", "bulk-export", "document-import"]
    newest = body["items"][0]
    assert newest["counts"] == {
        "items": 3,
        "done": 2,
        "attached": 1,
        "skipped": 0,
        "failed": 1,
        "cancelled": 0,
    }
    paths = {each["kind"]: each["result"].partition(each["id"])[0] for each in body["items"]}
    assert paths["document-import"].endswith("/v2/bulk/fhir/")
    assert paths["bulk-export"].endswith("/fhir/exports/")
    assert paths["bulk-import"].endswith("/fhir/bulkstatus/")


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("path", ["", "/items", "/events"])
async def test_to_anyone_else_a_job_does_not_exist(site: Site, stranger: dict[str, str], path: str) -> None:
    row = added(site)
    answer = await site.get(f"/v2/jobs/{row.job}{path}", headers=site.bearer(**stranger))
    other = await site.get(f"/v2/jobs/{uuid4()}{path}", headers=site.bearer(**stranger))
    assert (answer.status, other.status) == (404, 404)
    assert await answer.json() == await other.json()
    listed = await site.get("/v2/jobs", headers=site.bearer(**stranger))
    assert (await listed.json())["items"] == []


async def test_operators_see_everyones_jobs(site: Site) -> None:
    row = added(site)
    headers = site.bearer(client="ops", subject="ops", scopes="ops/jobs")
    assert (await (await site.get("/v2/jobs", headers=headers)).json())["items"][0]["id"] == row.job
    assert (await site.get(f"/v2/jobs/{row.job}", headers=headers)).status == 200


async def test_a_job_is_there_for_its_owner_as_soon_as_it_is_accepted(site: Site) -> None:
    submitted = await (await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())).json()
    answer = await site.get(f"/v2/jobs/{submitted['id']}", headers=site.bearer())
    assert answer.status == 200
    body = await answer.json()
    assert (body["state"], body["kind"]) == ("SUBMITTED", "document-import")
    assert (await site.get(f"/v2/jobs/{submitted['id']}", headers=site.bearer(subject="bob"))).status == 404


async def test_a_job_that_was_withdrawn_is_not_taken_for_one_that_was_just_accepted(site: Site) -> None:
    submitted = await (await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())).json()
    site.all_jobs.gone.add(submitted["id"])
    assert (await site.get(f"/v2/jobs/{submitted['id']}", headers=site.bearer())).status == 404


async def test_a_job_says_when_its_items_passed_each_stage(site: Site) -> None:
    row = added(site)
    later = AT + timedelta(seconds=3)
    site.all_jobs.rows[row.job] = replace(
        row, first_fetched_at=AT, last_fetched_at=later, first_attached_at=later, last_attached_at=later
    )
    shown = await (await site.get(f"/v2/jobs/{row.job}", headers=site.bearer())).json()
    assert [each["stage"] for each in shown["stages"]] == ["fetch", "attach"]
    assert shown["stages"][0]["first_on"] < shown["stages"][0]["last_on"]


@pytest.mark.parametrize("job", ["x", "%00", "0" * 36, "A" * 36])
async def test_what_is_no_jobs_id_is_no_job(site: Site, job: str) -> None:
    assert (await site.get(f"/v2/jobs/{job}", headers=site.bearer())).status == 404


async def test_items_say_what_went_wrong_and_not_what_they_are_about(site: Site) -> None:
    row = added(site)
    site.all_jobs.items_of[row.job] = [
        AnyItemRow(0, ItemRank.ATTACHED, None, None, None, None, "f1", AT),
        AnyItemRow(1, ItemRank.FAILED, "fetch", "source_not_found", None, 404, None, AT),
        AnyItemRow(2, ItemRank.RETRYING, "fetch", "source_unavailable", 2, 503, None, AT),
    ]
    answer = await site.get(f"/v2/jobs/{row.job}/items?state=FAILED", headers=site.bearer())
    (failed,) = (await answer.json())["items"]
    assert (failed["item"], failed["stage"], failed["error"]["status"]) == (1, "fetch", 404)
    everything = await (await site.get(f"/v2/jobs/{row.job}/items", headers=site.bearer())).json()
    assert [each["state"] for each in everything["items"]] == ["ATTACHED", "FAILED", "RETRYING"]
    assert [each["file"] for each in everything["items"]] == ["f1", None, None]


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("2026-01-02T00:00:00Z", 200),
        ("2026-01-02", 200),
        ("0001-01-01", 200),
        ("0001-01-01T00:00:00+14:00", 400),
        ("9999-12-31T23:59:59-14:00", 400),
    ],
)
async def test_a_time_at_the_edge_of_what_can_be_written_is_taken_or_refused(
    site: Site, since: str, status: int
) -> None:
    answer = await site.client.get("/v2/jobs", params={"since": since}, headers=site.bearer())
    assert answer.status == status
    body = await answer.json()
    assert "since" in body["href" if status == 200 else "message"]


async def test_a_watcher_is_told_how_a_job_stands_then_each_event_then_its_end(site: Site) -> None:
    row, other = added(site), added(site)
    async with site.client.get(f"/v2/jobs/{row.job}/events", headers=site.bearer()) as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["X-RateLimit-Remaining"] == "1000"
        snapshot = await next_event(answer)
        assert snapshot["event"] == "snapshot"
        assert json.loads(snapshot["data"])["id"] == row.job
        await publish(site, attached(row.job, 0), attached(other.job, 0), finished(row.job))
        first, last = await next_event(answer), await next_event(answer)
        assert (first["event"], json.loads(first["data"])["item"]) == ("DocumentAttached", 0)
        assert last["event"] == "JobFinished"
        assert await next_event(answer) == {}


async def test_who_comes_back_is_told_what_was_missed_and_nothing_twice(site: Site) -> None:
    row = added(site)
    path = f"/v2/jobs/{row.job}/events"
    async with site.client.get(path, headers=site.bearer()) as answer:
        await next_event(answer)
        await publish(site, attached(row.job, 0))
        seen = (await next_event(answer))["id"]
    await publish(site, attached(row.job, 1), attached(row.job, 2))
    headers = {**site.bearer(), "Last-Event-ID": seen}
    async with site.client.get(path, headers=headers) as answer:
        assert (await next_event(answer))["event"] == "snapshot"
        assert [json.loads((await next_event(answer))["data"])["item"] for _ in range(2)] == [1, 2]
        await publish(site, finished(row.job))
        end = await next_event(answer)
        assert end["event"] == "JobFinished"
    added(site, job=row.job, state="FINISHED", outcome="completed", finished_at=AT)
    headers["Last-Event-ID"] = end["id"]
    assert (await site.get(path, headers=headers)).status == 204


async def test_a_record_that_is_no_event_is_passed_over_by_watchers_and_by_who_comes_back(site: Site) -> None:
    row = added(site)
    path = f"/v2/jobs/{row.job}/events"
    async with site.client.get(path, headers=site.bearer()) as answer:
        await next_event(answer)
        await publish(site, attached(row.job, 0))
        seen = (await next_event(answer))["id"]
        for damage in (b"{", b"\xff", b"[]"):
            site.broker.append(Outgoing(JOBS_EVENTS.name, row.job.encode(), damage))
        await publish(site, attached(row.job, 1))
        assert json.loads((await next_event(answer))["data"])["item"] == 1
    async with site.client.get(path, headers={**site.bearer(), "Last-Event-ID": seen}) as answer:
        assert (await next_event(answer))["event"] == "snapshot"
        assert json.loads((await next_event(answer))["data"])["item"] == 1


@pytest.mark.parametrize("place", ["", "x", "99-1", "0-99999999999999", "-1--1", "0-5\t"])
async def test_a_place_that_is_none_begins_anew(site: Site, place: str) -> None:
    row = added(site)
    headers = {**site.bearer(), "Last-Event-ID": place}
    async with site.client.get(f"/v2/jobs/{row.job}/events", headers=headers) as answer:
        assert (await next_event(answer))["event"] == "snapshot"


async def test_a_finished_job_is_told_of_once(site: Site) -> None:
    row = added(site, state="FINISHED", outcome="completed", finished_at=AT)
    async with site.client.get(f"/v2/jobs/{row.job}/events", headers=site.bearer()) as answer:
        assert json.loads((await next_event(answer))["data"])["state"] == "FINISHED"
        assert await next_event(answer) == {}


async def test_who_watches_all_jobs_is_told_of_their_own(site: Site) -> None:
    row, strange = added(site), added(site, subject="bob")
    async with site.client.get("/v2/jobs/events", headers=site.bearer()) as answer:
        assert json.loads((await next_event(answer))["data"])["id"] == row.job
        added(site, job=row.job, attached=2)
        await publish(site, attached(strange.job, 0), attached(row.job, 1))
        changed = json.loads((await next_event(answer))["data"])
        assert (changed["id"], changed["counts"]["attached"]) == (row.job, 2)


async def test_a_job_whose_row_is_still_to_come_is_told_of_when_it_is_there(site: Site) -> None:
    job = str(uuid4())
    async with site.client.get("/v2/jobs/events", headers=site.bearer()) as answer:
        await publish(site, attached(job, 0))
        await asyncio.sleep(0.6)
        added(site, job=job)
        assert json.loads((await next_event(answer))["data"])["id"] == job


async def test_a_stream_ends_with_its_token(site: Site) -> None:
    row = added(site)
    headers = site.bearer(lifetime=1)
    async with site.client.get(f"/v2/jobs/{row.job}/events", headers=headers) as answer:
        assert (await next_event(answer))["event"] == "snapshot"
        async with asyncio.timeout(120):
            assert await answer.content.read() == b""


async def test_who_reads_too_slowly_is_cut_off(site: Site) -> None:
    watch = JobWatch({})
    for number in range(MOST_HELD + 1):
        watch.put(Told(0, number, "DocumentAttached", b"{}"))
    assert watch.ended
    assert len(await watch.take(0)) == MOST_HELD


async def test_a_reader_that_takes_nothing_more_keeps_no_connection_when_its_token_ends(site: Site) -> None:
    row = added(site)
    server = site.client.server
    with socket.create_connection((server.host, server.port)) as silent:
        token = site.bearer(lifetime=2)["Authorization"]
        asked = f"GET /v2/jobs/{row.job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        silent.sendall(asked.encode())
        async with asyncio.timeout(120):
            while not site.gateway.watching._of_one:  # noqa: ASYNC110 - nor does it tell who watches
                await asyncio.sleep(0.01)
        # More than the buffers on the way hold.
        long = msgspec.structs.replace(attached(row.job, 0), file="f" * 2**20)
        await publish(site, *[long] * 8)
        async with asyncio.timeout(120):
            while server.handler.connections:  # noqa: ASYNC110 - aiohttp tells nobody
                await asyncio.sleep(0.05)


async def test_without_the_log_watching_is_unavailable_and_looking_is_not(site: Site) -> None:
    row = added(site)
    site.broker.set_available(False)
    site.gateway.watching._task = None
    assert (await site.get(f"/v2/jobs/{row.job}", headers=site.bearer())).status == 200
    answer = await site.get(f"/v2/jobs/{row.job}/events", headers=site.bearer())
    assert answer.status == 503
    assert (await answer.json())["code"] == "unavailable"


async def test_a_document_import_is_run_again_like_at_its_own_address_and_nothing_else_is(site: Site) -> None:
    ended = {"state": "FINISHED", "outcome": "completed", "finished_at": AT}
    kept, export = added(site, **ended), added(site, kind="bulk-export", **ended)
    site.jobs.add("portal", "ann", job_row(kept.job, **ended))
    again = ImportItem(
        reference=f"{BASE}/DocumentReference/2", source="one", project=PROJECT, folder=FOLDER, name="b"
    )
    site.jobs.reruns[kept.job] = Rerun(ConflictResolution.SKIP, (), (again,))
    headers = {**site.bearer(), "Idempotency-Key": "k-1"}
    answers = [await site.post(f"/v2/jobs/{kept.job}/rerun", headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    made = {(await answer.json())["id"] for answer in answers}
    assert {command.job for command in site.accepted()} == made
    assert len(made) == 1
    refused = await site.post(f"/v2/jobs/{export.job}/rerun", headers=site.bearer())
    assert (refused.status, (await refused.json())["code"]) == (409, "not_a_document_import")
