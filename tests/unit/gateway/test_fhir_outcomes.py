"""Below /fhir every error is an OperationOutcome, whoever gives it: router, middleware or handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluice_gateway.fhir.outcomes import Issue, Refusal, issues_of, outcome_response
from sluice_gateway.problems import Problem, not_found, unavailable
from support.gateway_memory import Site, memory_gateway


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


async def outcome(site: Site, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
    answer = await site.call(method, path, **request)
    assert answer.content_type == "application/fhir+json"
    body = await answer.json(content_type=None)
    assert body["resourceType"] == "OperationOutcome"
    return answer.status, body["issue"][0]


@pytest.mark.parametrize(
    "path", ["/fhir/", "/fhir/nothing/of/the/kind", "/fhir/%00/of/it", "/4_0_1/nothing/of/the/kind"]
)
async def test_an_unknown_address_is_an_outcome(site: Site, path: str) -> None:
    status, issue = await outcome(site, "GET", path)
    assert (status, issue["code"], issue["severity"]) == (404, "not-found", "error")


@pytest.mark.parametrize("path", ["/fhir", "/4_0_1"])
async def test_a_method_that_an_address_does_not_take_is_an_outcome(site: Site, path: str) -> None:
    status, issue = await outcome(site, "GET", path)
    assert (status, issue["code"]) == (405, "not-supported")


async def test_the_other_base_is_served_by_the_same_handlers(site: Site) -> None:
    one, other = await site.get("/fhir/metadata"), await site.get("/4_0_1/metadata")
    assert (other.status, await other.read()) == (200, await one.read())
    status, issue = await outcome(site, "GET", "/4_0_1/Patient/x")
    assert (status, issue["code"]) == (401, "login")


async def test_the_old_name_of_fhir_json_is_taken(site: Site) -> None:
    kind = {"Content-Type": "application/json+fhir"}
    headers = {**site.authority.bearer(scopes="system/*.rs"), **kind}
    status, issue = await outcome(site, "POST", "/4_0_1/$export", headers=headers, data=b"{}")
    assert (status, issue["code"]) != (415, "not-supported")


async def test_other_addresses_keep_their_own_shape(site: Site) -> None:
    answer = await site.get("/fhirs")
    assert (await answer.json())["code"] == "not_found"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (not_found(), "not-found"),
        (unavailable("x"), "transient"),
        (Problem(413, "too_large", "x"), "too-long"),
        (Problem(429, "slow", "x"), "throttled"),
        (Problem(500, "internal", "x"), "exception"),
        (Problem(418, "teapot", "x"), "processing"),
    ],
)
def test_a_problem_has_one_issue_by_its_status(problem: Problem, code: str) -> None:
    (issue,) = issues_of(problem)
    assert issue.code == code


def test_a_refusal_lists_its_issues_and_carries_its_headers() -> None:
    issues = [
        Issue(code="value", text="<one>", expression=("http._type",)),
        Issue(code="invalid", text="two"),
    ]
    response = outcome_response(Refusal(400, issues, {"Retry-After": "3"}))
    assert (response.status, response.headers["Retry-After"]) == (400, "3")
    text = bytes(response.body or b"").decode()  # type: ignore[arg-type]
    assert "<p>&lt;one&gt;</p><p>two</p>" in text
    assert '"expression":["http._type"]' in text
