"""Every operation against every kind of token that must not pass: generated from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice_contracts.audit import DENIED, FAILED, SUCCESS
from sluice_contracts.events import JobKind
from sluice_contracts.ids import job_id
from sluice_gateway.app import answers_head
from sluice_gateway.audit_rules import RULES
from sluice_gateway.fhir.outcomes import ALIAS, BASE, below_fhir
from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import Route
from sluice_security.scopes import Scopes
from support.gateway_memory import ADVANCE, Site, error_shape, job_row, memory_gateway
from support.isolation import ELSEWHERE, EXPORTS, GUARDED, IMPORTS, JOBS, PULLS, homes
from support.pulls_memory import FILE
from support.tokens import LocalAuthority

TESTS = Path(__file__).parents[2]
SCOPED = [route for route in GUARDED if route.scope]
EVERY_SCOPE = "bulk/import files/read files/write ops/*"
PUBLIC = {
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v2/fhir/submissions/jwks.json",
    "/docs",
    "/docs/authorization",
    "/docs/events",
    "/asyncapi.json",
    "/schemas/messages/{name}.json",
    "/docs/{name}",
    "/",
    "/dashboard/signed-in",
    "/dashboard/config.json",
    "/dashboard/assets/{version}/{name}",
    "/v2/files/{id}/content",
    "/v2/fhir/sources/{id}/jwks.json",
    "/fhir/metadata",
    "/fhir/.well-known/smart-configuration",
}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


def name(route: Route) -> str:
    return route.name


OUTCOME_CODES = {
    "login": ("unauthenticated", "invalid_token"),
    "forbidden": ("insufficient_scope",),
    "transient": ("unavailable",),
}


def shape_of(route: Route, answer: Any, shown: dict[str, Any]) -> dict[str, Any]:
    """Check that a body has its API's one shape of errors, and give it with the code as elsewhere."""
    if not route.fhir:
        error_shape(shown)
        return shown
    assert answer.content_type == "application/fhir+json"
    assert shown["resourceType"] == "OperationOutcome"
    codes = OUTCOME_CODES.get(shown["issue"][0]["code"], (shown["issue"][0]["code"],))
    refused = 'error="' in answer.headers.get("WWW-Authenticate", "")
    return {"code": codes[-1] if refused else codes[0], "message": shown["issue"][0]["details"]["text"]}


async def ask(site: Site, route: Route, headers: dict[str, str]) -> tuple[int, dict[str, Any], Any]:
    path = re.sub(r"{\w+}", "0" * 24, route.path)
    body: dict[str, Any] = {"json": {}} if route.body is not None else {}
    answer = await site.call(route.method, path, headers={**ADVANCE, **headers}, **body)
    # An answer to HEAD has no body; what it says is what the same question by GET is told.
    if route.method == "HEAD":
        answer = await site.call("GET", path, headers={**ADVANCE, **headers})
    shown = shape_of(route, answer, await answer.json(content_type=None))
    return answer.status, shown, answer.headers


def test_only_what_is_meant_to_be_public_is_public() -> None:
    assert {route.path for route in ROUTES if route.scope is None} == PUBLIC


def test_every_route_has_one_test_that_holds_it_against_whoever_may_not_see() -> None:
    without = {route.name: homes(route) for route in GUARDED if len(homes(route)) != 1}
    assert not without, "give each of these one place in support/isolation.py"
    assert {*JOBS, *ELSEWHERE} <= {route.name for route in GUARDED}
    for place in ELSEWHERE.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), place


async def test_nothing_is_served_but_what_is_declared(site: Site) -> None:
    declared = {(route.method, route.path) for route in ROUTES}
    declared |= {(r.method, ALIAS + r.path.removeprefix(BASE)) for r in ROUTES if r.fhir}
    declared |= {("GET", "/v2/"), ("GET", "/v2/projects/")}
    heads = {route.path for route in ROUTES if answers_head(route, ROUTES)}
    heads |= {path.replace(BASE, ALIAS, 1) for path in heads if below_fhir(path)} | {"/v2/", "/v2/projects/"}
    declared |= {("HEAD", path) for path in heads}
    assert site.client.app is not None
    served = {
        (each.method, each.resource.canonical) for each in site.client.app.router.routes() if each.resource
    }
    assert served == declared


STRANGERS = [
    {"subject": "bob"},
    {"client": "other"},
    {"client": "ann", "subject": "portal"},
    {"client": "other", "subject": "bob"},
]


def owned_job(site: Site, route: Route) -> str:
    """Make a job of ann's through the portal that the route would tell of, and give its id."""
    kind = (
        JobKind.DOCUMENT_IMPORT
        if route.name in IMPORTS
        else JobKind.BULK_EXPORT
        if route.name in EXPORTS
        else JobKind.BULK_IMPORT
    )
    job = job_id(site.id_keys(kind), "portal/ann", site.now.at, 1)
    if route.name in IMPORTS:
        site.jobs.add("portal", "ann", job_row(job))
    elif route.name in EXPORTS:
        site.bulk.grants.give("ann")
        site.bulk.exports.add(job)
        site.bulk.seal(job, b"{}\n")
        site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    else:
        assert route.name in PULLS
        ended = datetime.fromtimestamp(site.now.at, UTC)
        site.pulls.add(job, FILE, files=1, problems=1, outcome="completed", finished_at=ended)
    return job


async def told(site: Site, route: Route, job: str, **who: str) -> tuple[int, bytes, list[str]]:
    path = route.path.replace("{id}", job).replace("{name}", "0.0.Patient.ndjson")
    headers = site.bearer(scopes=f"{EVERY_SCOPE} system/*.rs user/*.rs", **who)
    answer = await site.call(route.method, path, headers=headers)
    names = sorted(name for name in answer.headers if name not in ("Date", "X-Request-ID"))
    return answer.status, (await answer.read()).replace(job.encode(), b"ID"), names


@pytest.mark.parametrize("route", [route for route in GUARDED if route.name in JOBS], ids=name)
async def test_a_strangers_answer_about_a_job_is_that_about_no_job(tmp_path: Path, route: Route) -> None:
    async with memory_gateway(files=tmp_path) as site:
        job, never = owned_job(site, route), job_id(b"another key", "portal/ann", site.now.at, 2)
        for who in STRANGERS:
            there = await told(site, route, job, **who)
            assert there == await told(site, route, never, **who)
            assert there[0] == 404
        assert (await told(site, route, never))[0] == 404
        rule = RULES.get(route.name)
        assert [record.outcome for record in site.audit] == (9 if rule else 0) * [DENIED]
        assert {record.subject for record in site.audit} == ({"ann", "bob", "portal"} if rule else set())
        site.audit.clear()
        assert (await told(site, route, job))[0] != 404
        recorded = [(record.act, record.outcome, record.job) for record in site.audit]
        assert recorded == (
            [(rule.act, SUCCESS, job)] if rule and rule.discloses and not rule.when_noted else []
        )


@pytest.mark.parametrize("route", GUARDED, ids=name)
async def test_without_a_token_nothing_is_answered(site: Site, route: Route) -> None:
    status, body, headers = await ask(site, route, {})
    assert (status, body["code"]) == (401, "unauthenticated")
    # RFC 6750 section 3.1: no error code when the request carried no token.
    assert headers["WWW-Authenticate"] == 'Bearer realm="sluice"'


def unsound(site: Site) -> dict[str, str]:
    """Give a token with each flaw there is."""
    authority = site.authority
    authority.revoke("void")
    return {
        "expired": authority.mint(scopes=EVERY_SCOPE, lifetime=-10),
        "audience": authority.mint(scopes=EVERY_SCOPE, aud="https://elsewhere.test"),
        "issuer": authority.mint(scopes=EVERY_SCOPE, iss="https://elsewhere.test"),
        "foreign": LocalAuthority(now=site.now).mint(scopes=EVERY_SCOPE),
        "unsigned": authority.mint(scopes=EVERY_SCOPE).rpartition(".")[0] + ".",
        "revoked": authority.mint(scopes=EVERY_SCOPE, jti="void"),
        "garbage": "garbage",
    }


@pytest.mark.parametrize("route", GUARDED, ids=name)
async def test_a_token_that_is_not_sound_is_refused(site: Site, route: Route) -> None:
    for flaw, token in unsound(site).items():
        status, body, headers = await ask(site, route, {"Authorization": f"Bearer {token}"})
        assert (status, body["code"]) == (401, "invalid_token"), flaw
        assert 'error="invalid_token"' in headers["WWW-Authenticate"], flaw
        assert token not in str(body), flaw


@pytest.mark.parametrize("route", SCOPED, ids=name)
async def test_a_token_without_the_scope_is_refused_with_the_scope_it_lacks(site: Site, route: Route) -> None:
    every = EVERY_SCOPE.replace("*", "jobs").split()
    others = " ".join(scope for scope in every if (route.scope or "") not in Scopes.parse(scope))
    status, body, headers = await ask(site, route, site.authority.bearer(scopes=others))
    assert (status, body["code"]) == (403, "insufficient_scope")
    assert f'scope="{route.scope}"' in headers["WWW-Authenticate"]
    assert {record.outcome for record in site.audit} == ({FAILED} if route.name in RULES else set())


@pytest.mark.parametrize("route", GUARDED, ids=name)
async def test_when_tokens_cannot_be_judged_the_answer_is_503_and_not_401(route: Route) -> None:
    async with memory_gateway() as site:
        site.authority.away = True
        status, _, headers = await ask(site, route, site.authority.bearer(scopes=EVERY_SCOPE))
        assert status == 503
        assert "Retry-After" in headers


@pytest.mark.parametrize(
    ("authorization", "family", "status"),
    [
        ("Bearer {token}", None, 200),
        ("bearer {token}", None, 200),
        (None, "{token}", 200),
        ("Bearer {token}", "{token}", 200),
        ("Bearer {token}", "{other}", 400),
        ("Basic dTpw", "{token}", 401),
        ("Bearer", None, 401),
        ("Bearer {token} x", None, 401),
        ("Bearer " + "a" * 8100, None, 401),
    ],
)
async def test_either_header_carries_the_token_and_both_only_if_they_agree(
    site: Site, authorization: str | None, family: str | None, status: int
) -> None:
    tokens = {"token": site.authority.mint(), "other": site.authority.mint(subject="bob")}
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization.format(**tokens)
    if family is not None:
        headers["X-SBG-Auth-Token"] = family.format(**tokens)
    answer = await site.get("/v2/user", headers=headers)
    assert answer.status == status


async def test_two_authorization_fields_that_differ_are_refused(site: Site) -> None:
    pairs = [("Authorization", f"Bearer {site.authority.mint(subject=who)}") for who in ("ann", "bob")]
    answer = await site.get("/v2/user", headers=pairs)
    assert answer.status == 400
