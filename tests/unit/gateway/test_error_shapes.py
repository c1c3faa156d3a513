"""Every error has one shape, whatever went wrong, and tells nothing of the inside or of what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from sluice_gateway import incoming
from sluice_gateway.idempotency import Kept
from sluice_gateway.middleware import _answered
from sluice_gateway.problems import FieldProblem, field_path, invalid, listed
from sluice_gateway.routing import STREAMING
from sluice_telemetry.subject import subject
from support.gateway_memory import Site, error_shape, memory_gateway, one_item


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


async def shown(site: Site, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any], Any]:
    answer = await site.call(method, path, **request)
    body = await answer.json()
    error_shape(body)
    assert body["status"] == answer.status
    return answer.status, body, answer.headers


async def test_an_unknown_address_and_a_wrong_method_are_in_the_same_shape(site: Site) -> None:
    assert (await shown(site, "GET", "/v2/nothing"))[0] == 404
    status, body, headers = await shown(site, "PUT", "/v2/bulk/fhir")
    assert (status, body["code"]) == (405, "method_not_allowed")
    assert set(headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_a_fault_is_a_500_without_a_word_of_what_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Kept:
        raise RuntimeError("secret-patient-name")

    monkeypatch.setattr(site.keys, "find", fail)
    headers = {**site.bearer(), "Idempotency-Key": "k"}
    status, body, headers = await shown(site, "POST", "/v2/bulk/fhir", json=one_item(), headers=headers)
    assert (status, body["code"]) == (500, "internal")
    assert "secret-patient-name" not in str(body)
    assert "Traceback" not in str(body)
    assert headers["X-Request-Id"]


@pytest.mark.parametrize("error", [ConnectionRefusedError("x"), TimeoutError()])
async def test_with_the_database_away_the_answer_is_503_with_retry_after(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(site.quotas, "take", fail)
    monkeypatch.setattr(site.quotas, "read", fail)
    status, body, headers = await shown(site, "POST", "/v2/bulk/fhir", json=one_item(), headers=site.bearer())
    assert (status, body["code"]) == (503, "unavailable")
    assert "Retry-After" in headers
    assert site.accepted() == []


async def test_an_answer_does_not_wait_for_figures_that_do_not_come(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(site.quotas, "read", silent)
    async with asyncio.timeout(120):
        answer = await site.get("/v2/user", headers=site.bearer())
    assert answer.status == 200
    assert "X-RateLimit-Limit" not in answer.headers


@pytest.mark.parametrize("error", [ConnectionResetError, RuntimeError])
async def test_a_stream_that_breaks_off_is_no_fault_if_who_asked_has_gone(error: type[Exception]) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        request[STREAMING] = True
        raise error

    transport = Mock()
    request = make_mocked_request("GET", "/v2/jobs/events", transport=transport)
    transport.is_closing.return_value = False
    with pytest.raises(error):
        await _answered(request, stream)
    transport.is_closing.return_value = True
    assert (await _answered(request, stream)).status == 499


async def test_every_answer_carries_a_request_id_and_a_sound_one_is_kept(site: Site) -> None:
    assert (await site.get("/livez")).headers["X-Request-Id"]
    sent = {"X-Request-Id": "portal-request-1"}
    assert (await site.get("/livez", headers=sent)).headers["X-Request-Id"] == "portal-request-1"
    unsound = {"X-Request-Id": "x" * 200}
    assert (await site.get("/livez", headers=unsound)).headers["X-Request-Id"] != "x" * 200


async def test_answers_to_a_token_tell_the_quota_and_are_not_cached(site: Site) -> None:
    answer = await site.get("/v2/user", headers=site.bearer())
    assert answer.headers["X-RateLimit-Limit"] == "1000"
    assert answer.headers["X-RateLimit-Remaining"] == "1000"
    assert answer.headers["X-RateLimit-Reset"].isdigit()
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v2/user", 401), ("/v2/nothing", 404), ("/fhir/a/b/c", 404), ("/fhir/Patient", 401)],
)
async def test_answers_to_nobody_known_tell_the_quota_of_whoever_has_used_nothing(
    site: Site, path: str, status: int
) -> None:
    for headers in ({}, {"Authorization": "Bearer void"}):
        answer = await site.get(path, headers=headers)
        assert (answer.status, answer.headers["X-RateLimit-Limit"]) == (status, "1000")
        assert answer.headers["X-RateLimit-Remaining"] == "1000"
        assert int(answer.headers["X-RateLimit-Reset"]) == site.now()
        assert answer.headers["RateLimit"] == '"bulk";r=1000;t=0'


@pytest.mark.parametrize(("path", "status"), [("/v2/nothing", 404), ("/fhir/metadata", 200)])
async def test_a_client_is_told_its_own_figures_also_where_no_token_is_asked_for(
    site: Site, path: str, status: int
) -> None:
    assert (await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())).status == 202
    answer = await site.get(path, headers=site.bearer())
    assert (answer.status, answer.headers["X-RateLimit-Remaining"]) == (status, "999")


async def test_what_is_no_part_of_the_api_tells_no_quota(site: Site) -> None:
    assert "X-RateLimit-Limit" not in (await site.get("/livez")).headers


async def test_log_lines_name_the_route_and_neither_path_nor_query(
    site: Site,
) -> None:
    marker = "canary-7e1"
    with capture_logs() as lines:
        await site.get(f"/v2/files?project={marker}/x&name={marker}", headers=site.bearer())
        await site.get(f"/v2/projects/{marker}/x", headers=site.bearer())
        await site.post(
            "/v2/bulk/fhir", json=one_item(name=f"{marker}/", metadata={marker: {}}), headers=site.bearer()
        )
    answered = [line for line in lines if line["event"] == "answered"]
    assert [line["route"] for line in answered] == [
        "/v2/files",
        "/v2/projects/{owner}/{project}",
        "/v2/bulk/fhir",
    ]
    assert marker not in str(answered)
    metrics = await (await site.get("/metrics")).text()
    assert marker not in metrics
    assert "sluice_gateway_requests_total" in metrics


async def test_the_line_of_a_request_names_the_job_that_it_began(site: Site) -> None:
    def complete(_logger: Any, _method: str, line: Any) -> Any:
        return {**line, "job": subject()[0]}

    with capture_logs() as lines:
        structlog.get_config()["processors"].insert(0, complete)
        begun = await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())
        await site.get("/v2/user", headers=site.bearer())
        answered = [line["job"] for line in lines if line["event"] == "answered"]
    assert answered == [(await begun.json())["id"], None]


async def test_a_request_with_a_body_null_on_get_is_served(site: Site) -> None:
    headers = {**site.bearer(), "Content-Type": "application/json"}
    assert (await site.get("/v2/user", data=b"null", headers=headers)).status == 200


@pytest.mark.parametrize("path", ["/v2/files/%00", "/v2/projects/a%00/b", "/v2/bulk/fhir/%00"])
async def test_what_cannot_be_stored_does_not_exist(site: Site, path: str) -> None:
    assert (await shown(site, "GET", path, headers=site.bearer()))[0] == 404


async def test_a_query_that_cannot_be_stored_is_refused(site: Site) -> None:
    status, _, _ = await shown(site, "GET", "/v2/projects?name=%00", headers=site.bearer())
    assert status == 400


async def test_a_body_that_cannot_be_stored_is_refused(site: Site) -> None:
    body = {"name": "study", "description": "a\0b"}
    status, _, _ = await shown(site, "POST", "/v2/projects", json=body, headers=site.bearer())
    assert status == 400


def test_paths_are_written_as_a_caller_would() -> None:
    assert field_path(("items", 3, "metadata", "a b")) == "items[3].metadata.a b"
    assert field_path(("items", 0, "x" * 500)) == "items[0]." + "x" * 60 + "…"
    assert field_path(()) == ""


def test_a_long_list_of_problems_is_cut_and_says_so() -> None:
    problem = invalid([FieldProblem(f"items[{n}].k{n}", "is wrong") for n in range(150)])
    assert problem.message.endswith("; and 50 more")
    assert problem.message.count("is wrong") == 100


def test_what_many_items_share_is_said_once_with_their_positions() -> None:
    shared = [FieldProblem(f"items[{n}].name", "is too long") for n in (7, 0, 2, 3, 4)]
    others = [FieldProblem("items[2].name", "is reserved"), FieldProblem("tags", "must be a list")]
    assert listed([*shared, *others]) == (
        "items[0, 2-4, 7].name: is too long; items[2].name: is reserved; tags: must be a list"
    )


def test_a_problem_without_a_field_is_listed_as_it_is() -> None:
    assert listed([FieldProblem("", "no text may hold the character NUL")]) == (
        "no text may hold the character NUL"
    )


async def raw(site: Site, request: bytes) -> bytes:
    """Send bytes as they are and give what comes back within a moment."""
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(120):
            return await reader.read(65_536)
    finally:
        writer.close()


async def test_a_repeated_host_is_refused(site: Site) -> None:
    answer = await raw(site, b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert b" 400 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
async def test_a_request_of_two_lengths_is_refused(site: Site, head: bytes) -> None:
    answer = await raw(site, b"POST /v2/bulk/fhir HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n0\r\n\r\n")
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"Traceback" not in answer


async def test_a_body_that_does_not_come_is_not_waited_for_without_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0.05)
    token = site.authority.mint().encode()
    head = (
        b"POST /v2/projects HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10\r\nAuthorization: Bearer " + token + b"\r\n\r\n{"
    )
    answer = await raw(site, head)
    assert b" 408 " in answer.split(b"\r\n")[0]
