"""Every operation against every kind of token that must not pass: generated from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import Route
from support.gateway_memory import ADVANCE, Site, error_shape, memory_gateway
from support.tokens import LocalAuthority

GUARDED = [route for route in ROUTES if route.scope is not None]
SCOPED = [route for route in GUARDED if route.scope]
EVERY_SCOPE = "bulk/import files/read files/write ops/*"
PUBLIC = {
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/{name}",
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


@pytest.mark.parametrize("route", GUARDED, ids=name)
async def test_without_a_token_nothing_is_answered(site: Site, route: Route) -> None:
    status, body, headers = await ask(site, route, {})
    assert (status, body["code"]) == (401, "unauthenticated")
    # RFC 6750 section 3.1: no error code when the request carried no token.
    assert headers["WWW-Authenticate"] == 'Bearer realm="sluice"'


@pytest.mark.parametrize("route", GUARDED, ids=name)
@pytest.mark.parametrize(
    "flaw", ["expired", "audience", "issuer", "foreign", "unsigned", "revoked", "garbage"]
)
async def test_a_token_that_is_not_sound_is_refused(site: Site, route: Route, flaw: str) -> None:
    authority = site.authority
    match flaw:
        case "expired":
            token = authority.mint(scopes=EVERY_SCOPE, lifetime=-10)
        case "audience":
            token = authority.mint(scopes=EVERY_SCOPE, aud="https://elsewhere.test")
        case "issuer":
            token = authority.mint(scopes=EVERY_SCOPE, iss="https://elsewhere.test")
        case "foreign":
            token = LocalAuthority(now=site.now).mint(scopes=EVERY_SCOPE)
        case "unsigned":
            token = authority.mint(scopes=EVERY_SCOPE).rpartition(".")[0] + "."
        case "revoked":
            token = authority.mint(scopes=EVERY_SCOPE, jti="void")
            authority.revoke("void")
        case _:
            token = "garbage"
    status, body, headers = await ask(site, route, {"Authorization": f"Bearer {token}"})
    assert (status, body["code"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in headers["WWW-Authenticate"]
    assert token not in str(body)


@pytest.mark.parametrize("route", SCOPED, ids=name)
async def test_a_token_without_the_scope_is_refused_with_the_scope_it_lacks(site: Site, route: Route) -> None:
    others = " ".join(scope for scope in EVERY_SCOPE.replace("*", "jobs").split() if scope != route.scope)
    status, body, headers = await ask(site, route, site.authority.bearer(scopes=others))
    assert (status, body["code"]) == (403, "insufficient_scope")
    assert f'scope="{route.scope}"' in headers["WWW-Authenticate"]


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
