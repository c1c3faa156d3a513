"""POST /v2/bulk/fhir over HTTP: acceptance, refusals in one shape, idempotency, quota, Kafka away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import CIMultiDict

from sluice_contracts.commands import CancelDocumentImport, ConflictResolution, StartDocumentImport
from sluice_contracts.ids import accepted_at
from support.gateway_memory import BASE, FOLDER, PROJECT, ROOT, Site, error_shape, memory_gateway, one_item

URL = "/v2/bulk/fhir"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


async def expect_refusal(site: Site, status: int, code: str, **request: Any) -> dict[str, Any]:
    """Send a request and check that it is refused like this and leaves nothing on the log."""
    answer = await site.post(URL, **{"headers": site.bearer(), "json": one_item(), **request})
    body: dict[str, Any] = await answer.json()
    assert (answer.status, body["code"]) == (status, code)
    assert answer.content_type == "application/json"
    assert error_shape(body).status == status
    assert site.accepted() == []
    return body


async def test_a_sound_request_is_one_record_on_the_log_before_it_is_answered(site: Site) -> None:
    request = {
        "items": [
            *one_item(project=None, parent=FOLDER, name="a.pdf", metadata={"k": [1, 2] and ["1"]})["items"],
            *one_item(project=PROJECT + "/")["items"],
        ],
        "conflict_resolution": "AUTORENAME",
        "tags": ["x", "y", "x"],
    }
    answer = await site.post(URL, json=request, headers=site.bearer())
    body = await answer.json()
    assert answer.status == 202
    assert set(body) == {"id", "href", "state"}
    assert body["state"] == "SUBMITTED"
    assert body["href"] == answer.headers["Location"] == f"https://api.test{URL}/{body['id']}"
    (start,) = site.accepted()
    assert isinstance(start, StartDocumentImport)
    assert (start.job, start.client, start.subject) == (body["id"], "portal", "ann")
    assert start.submitted_at == site.now()
    assert start.conflict_resolution is ConflictResolution.AUTORENAME
    assert start.tags == ("x", "y")
    first, second = start.items
    assert (first.source, first.project, first.folder, first.name) == ("one", PROJECT, FOLDER, "a.pdf")
    assert first.metadata == {"k": ["1"]}
    assert (second.folder, second.name, second.metadata) == (ROOT, None, None)
    (record,) = site.broker.records("jobs.document-import")
    assert record.key == body["id"].encode()


async def test_the_id_is_bound_to_the_client_and_subject_that_it_was_given_to(site: Site) -> None:
    job = (await (await site.post(URL, json=one_item(), headers=site.bearer())).json())["id"]
    assert accepted_at(site.id_keys(), "portal/ann", job) == site.now()
    assert accepted_at(site.id_keys(), "portal/bob", job) is None
    assert accepted_at(site.id_keys(), "other/ann", job) is None


async def test_without_conflict_resolution_names_that_are_taken_are_skipped(site: Site) -> None:
    await site.post(URL, json=one_item(), headers=site.bearer())
    (start,) = site.accepted()
    assert isinstance(start, StartDocumentImport)
    assert start.conflict_resolution is ConflictResolution.SKIP


@pytest.mark.parametrize("field", ["project", "parent"])
async def test_what_is_somebody_elses_is_answered_like_what_does_not_exist(site: Site, field: str) -> None:
    theirs = {"project": "bob/secret", "parent": "c" * 24}[field]
    absent = {"project": "bob/absent", "parent": "d" * 24}[field]
    site.catalogue.projects.writable["bob"] = {theirs: site.catalogue.projects.writable["ann"][ROOT]}
    answers = [
        await expect_refusal(site, 404, "not_found", json=one_item(**{"project": None, field: place}))
        for place in (theirs, absent)
    ]
    assert answers[0] == answers[1]


async def test_a_place_that_all_items_miss_is_named_once(site: Site) -> None:
    items = one_item(project="ann/absent")["items"] * 100
    body = await expect_refusal(site, 404, "not_found", json={"items": items})
    assert body["message"] == "items[0-99].project: does not exist"


async def test_a_project_that_may_only_be_read_is_forbidden(site: Site) -> None:
    site.catalogue.projects.readable["ann"] = {"bob/shared"}
    body = await expect_refusal(site, 403, "forbidden", json=one_item(project="bob/shared"))
    assert body["message"] == "items[0].project: needs write permission in the project"


async def test_a_source_that_is_not_registered_is_refused_with_the_items_position(site: Site) -> None:
    request = {"items": [*one_item()["items"], *one_item()["items"]]}
    request["items"][1]["fhir_document_reference"] = "https://elsewhere.example/DocumentReference/1"
    body = await expect_refusal(site, 400, "invalid_request", json=request)
    assert body["message"].startswith("items[1].fhir_document_reference: must be on a registered source")
    # Who sent it can seldom correct that: servers are registered by operators.
    assert "ask the operators to register" in body["more_info"]


async def test_a_neighbouring_path_of_a_registered_source_is_not_registered(site: Site) -> None:
    await expect_refusal(
        site,
        400,
        "invalid_request",
        json=one_item(fhir_document_reference=f"{BASE}-other/DocumentReference/1"),
    )


async def test_all_field_problems_are_in_one_answer_in_the_order_of_the_items(site: Site) -> None:
    request = {
        "items": [
            *one_item(fhir_document_reference="https://elsewhere.example/DocumentReference/1")["items"],
            *one_item(name="a/b")["items"],
        ],
        "conflict_resolution": "MERGE",
    }
    body = await expect_refusal(site, 400, "invalid_request", json=request)
    assert [part.partition(":")[0] for part in body["message"].split("; ")] == [
        "conflict_resolution",
        "items[0].fhir_document_reference",
        "items[1].name",
    ]


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not() -> None:
    async with memory_gateway(body_limit=2000) as site:
        large = json.dumps({"items": [], "x": "y" * 3000}).encode()

        async def chunks() -> AsyncIterator[bytes]:
            yield large

        headers = {**site.bearer(), "Content-Type": "application/json"}
        await expect_refusal(site, 413, "too_large", json=None, data=large, headers=headers)
        await expect_refusal(site, 413, "too_large", json=None, data=chunks(), headers=headers)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/fhir+json", ""]
)
async def test_another_content_type_is_refused(site: Site, kind: str) -> None:
    headers = {**site.bearer(), "Content-Type": kind} if kind else site.bearer()
    await expect_refusal(site, 415, "unsupported_media_type", json=None, data=b"{}", headers=headers)


async def test_a_compressed_body_is_refused(site: Site) -> None:
    headers = {**site.bearer(), "Content-Type": "application/json", "Content-Encoding": "gzip"}
    await expect_refusal(site, 415, "unsupported_encoding", json=None, data=b"x", headers=headers)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"not json"])
async def test_a_body_that_is_not_json_is_refused(site: Site, raw: bytes) -> None:
    headers = {**site.bearer(), "Content-Type": "application/json; charset=utf-8"}
    await expect_refusal(site, 400, "not_json", json=None, data=raw, headers=headers)


@pytest.mark.parametrize("value", [None, "", "No", "true"])
async def test_the_advance_access_header_is_required(site: Site, value: str | None) -> None:
    headers = site.bearer()
    del headers["X-SBG-Advance-Access"]
    if value is not None:
        headers["X-SBG-Advance-Access"] = value
    await expect_refusal(site, 400, "advance_access_required", headers=headers)


async def test_the_same_key_and_body_is_the_same_job_and_one_record(site: Site) -> None:
    headers = {**site.bearer(), "Idempotency-Key": "k-1"}
    answers = []
    for _ in range(3):
        answer = await site.post(URL, json=one_item(), headers=headers)
        answers.append((answer.status, await answer.json()))
        await asyncio.sleep(0.01)
        site.now.at += 5
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 202
    assert len(site.accepted()) == 1


async def test_the_same_key_with_another_body_is_refused(site: Site) -> None:
    headers = {**site.bearer(), "Idempotency-Key": "k-1"}
    await site.post(URL, json=one_item(), headers=headers)
    answer = await site.post(URL, json=one_item(name="b"), headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (422, "idempotency_key_reused")
    assert len(site.accepted()) == 1


async def test_of_two_keys_in_one_request_none_counts(site: Site) -> None:
    for keys, status in ((("k-1", "k-2"), 400), (("k-1", "k-1"), 202)):
        headers = CIMultiDict([*site.bearer().items(), *(("Idempotency-Key", key) for key in keys)])
        answer = await site.post(URL, json=one_item(), headers=headers)
        assert answer.status == status
        assert status == 202 or (await answer.json())["code"] == "invalid_idempotency_key"
    assert len(site.accepted()) == 1


async def test_a_key_belongs_to_its_client_and_subject(site: Site) -> None:
    site.catalogue.projects.writable["bob"] = site.catalogue.projects.writable["ann"]
    jobs = set()
    for who in ({}, {"subject": "bob"}, {"client": "other"}):
        headers = {**site.bearer(**who), "Idempotency-Key": "k-1"}
        jobs.add((await (await site.post(URL, json=one_item(), headers=headers)).json())["id"])
    assert len(jobs) == 3


async def test_a_repeat_after_a_crash_before_publishing_publishes_the_same_job(site: Site) -> None:
    headers = {**site.bearer(), "Idempotency-Key": "k-1"}
    site.broker.set_available(False)
    first = await site.post(URL, json=one_item(), headers=headers)
    assert first.status == 503
    site.broker.set_available(True)
    site.now.at += 60
    second = await site.post(URL, json=one_item(), headers=headers)
    assert second.status == 202
    await asyncio.sleep(0.05)
    starts = site.accepted()
    assert {start.job for start in starts} == {(await second.json())["id"]}
    assert all(isinstance(start, StartDocumentImport) for start in starts)
    assert {start.submitted_at for start in starts if isinstance(start, StartDocumentImport)} == {
        site.now.at - 60
    }


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä"])
async def test_a_key_that_is_no_key_is_refused(site: Site, key: str) -> None:
    await expect_refusal(
        site, 400, "invalid_idempotency_key", headers={**site.bearer(), "Idempotency-Key": key}
    )


async def test_with_kafka_away_the_answer_is_503_with_retry_after_and_the_job_is_withdrawn(
    site: Site,
) -> None:
    site.broker.set_available(False)
    answer = await site.post(URL, json=one_item(), headers=site.bearer())
    body = await answer.json()
    assert (answer.status, body["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    site.broker.set_available(True)
    for _ in range(100):
        if site.accepted():
            break
        await asyncio.sleep(0.05)
    # Whatever reached the log of the job that was refused, its last word there is the cancellation.
    assert isinstance(site.accepted()[-1], CancelDocumentImport)


async def test_a_job_too_large_for_one_record_is_refused(site: Site) -> None:
    site.broker.max_bytes = 100
    await expect_refusal(site, 413, "too_large")


async def test_the_limit_counts_per_client_and_says_when_to_come_back() -> None:
    async with memory_gateway(bulk_limit=3) as site:
        for left in (2, 1, 0):
            answer = await site.post(URL, json=one_item(), headers=site.bearer())
            assert answer.status == 202
            assert answer.headers["X-RateLimit-Limit"] == "3"
            assert answer.headers["X-RateLimit-Remaining"] == str(left)
            site.now.at += 10
        over = await site.post(URL, json=one_item(), headers=site.bearer())
        assert (over.status, (await over.json())["code"]) == (429, "rate_limit_exceeded")
        assert over.headers["Retry-After"] == "270"
        assert int(over.headers["X-RateLimit-Reset"]) == site.now() + 270
        assert over.headers["RateLimit"] == '"bulk";r=0;t=270'
        assert over.headers["RateLimit-Policy"] == '"bulk";q=3;w=300'
        assert (await site.post(URL, json=one_item(), headers=site.bearer(client="other"))).status == 202
        site.now.at += 271
        assert (await site.post(URL, json=one_item(), headers=site.bearer())).status == 202


async def test_requests_that_are_refused_count_too() -> None:
    async with memory_gateway(bulk_limit=2) as site:
        for _ in range(2):
            assert (await site.post(URL, json={"items": []}, headers=site.bearer())).status == 400
        assert (await site.post(URL, json=one_item(), headers=site.bearer())).status == 429


async def test_asking_for_the_rate_limit_is_not_counted(site: Site) -> None:
    await site.post(URL, json=one_item(), headers=site.bearer())
    for _ in range(3):
        answer = await site.get("/v2/rate_limit", headers=site.bearer())
        body = await answer.json()
        assert body["rate"]["limit"] == 1000
        assert body["rate"]["remaining"] == 999
        assert isinstance(body["rate"]["reset"], int)
        assert answer.headers["X-RateLimit-Remaining"] == "999"


async def test_a_dry_run_tells_what_conflict_resolution_would_do_and_does_nothing(site: Site) -> None:
    request = {
        "items": [
            *one_item(name="new.pdf")["items"],
            *one_item(name="new.pdf")["items"],
            *one_item()["items"],
        ],
        "conflict_resolution": "AUTORENAME",
    }
    answer = await site.post(URL + "/actions/dry-run", json=request, headers=site.bearer())
    assert answer.status == 200
    shown = [(item["outcome"], item["name"]) for item in (await answer.json())["items"]]
    assert shown == [("created", "new.pdf"), ("renamed", "_1_new.pdf"), ("unknown", None)]
    assert site.accepted() == []
