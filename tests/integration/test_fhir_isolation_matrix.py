"""Every way to look at resources against everyone who may not: the answer is that for what never was.

Generated from the routes, so that a new way to read is in it as soon as it is declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from sluice_contracts.audit import DENIED, SUCCESS
from sluice_gateway.audit_rules import RULES
from sluice_gateway.fhir.declared import FHIR_ROUTES
from sluice_gateway.routing import Route
from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from support.gateway_real import RealSite, real_gateway
from support.resource_store import Json, open_store
from support.stack import Database

READING = [route for route in FHIR_ROUTES if "{type}" in route.path]
TYPES = ("Patient", "Observation", "DocumentReference", "Binary", "Group", "Organization")
EVERYTHING = "system/*.rs user/*.rs"
# What differs between two answers that say the same.
PASSING = {"x-request-id", "date", "x-ratelimit-reset", "ratelimit"}
NOW = datetime.now(UTC)
numbers = count()

OUTSIDERS: dict[str, dict[str, str]] = {
    "another user": {"client": "portal", "subject": "user-2", "scopes": EVERYTHING},
    "the client that the user came with": {"client": "portal", "subject": "portal", "scopes": EVERYTHING},
    "another client": {"client": "other", "subject": "other", "scopes": EVERYTHING},
    "whose grant is revoked": {"client": "portal", "subject": "user-revoked", "scopes": EVERYTHING},
    "whose grant has expired": {"client": "portal", "subject": "user-expired", "scopes": EVERYTHING},
    "who may see another group": {"client": "portal", "subject": "user-3", "scopes": EVERYTHING},
    "who may see other types": {"client": "portal", "subject": "user-4", "scopes": EVERYTHING},
    "whose scopes a search limits": {
        "client": "portal",
        "subject": "user-1",
        "scopes": " ".join(f"user/{type_}.rs?_id=other" for type_ in TYPES),
    },
}
INSIDER = {"client": "portal", "subject": "user-1", "scopes": EVERYTHING}


def resources() -> list[Json]:
    subject = {"reference": "Patient/it"}
    return [
        {"resourceType": "Patient", "id": "it"},
        {"resourceType": "Observation", "id": "it", "status": "final", "code": {}, "subject": subject},
        {
            "resourceType": "DocumentReference",
            "id": "it",
            "status": "current",
            "subject": subject,
            "content": [{"attachment": {"url": "Binary/it"}}],
        },
        {"resourceType": "Binary", "id": "it", "contentType": "text/plain", "data": "eA=="},
        {
            "resourceType": "Group",
            "id": "it",
            "type": "person",
            "actual": True,
            "member": [{"entity": subject}],
        },
        {"resourceType": "Organization", "id": "it"},
        {"resourceType": "Group", "id": "empty", "type": "person", "actual": True},
    ]


async def give(site: RealSite, user: str, **fields: Any) -> Grant:
    grant = Grant(
        id=f"00000000-0000-4000-9000-{next(numbers):012}",
        grantee_kind=GranteeKind.USER,
        grantee=user,
        granted_by="ops",
        granted_at=NOW - timedelta(days=2),
        **fields,
    )
    await Grants(site.admin).give(grant)
    return grant


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found, open_store(database) as store:
        await store.load(*resources())
        await give(found, "user-1", all_patients=True)
        revoked = await give(found, "user-revoked", all_patients=True)
        await Grants(found.admin).revoke(revoked.id, "ops")
        await give(found, "user-expired", all_patients=True, expires_at=NOW - timedelta(days=1))
        await give(found, "user-3", group="empty")
        await give(found, "user-4", all_patients=True, types=("Medication",))
        yield found


async def ask(site: RealSite, method: str, path: str, who: dict[str, str]) -> tuple[int, bytes, Json]:
    headers = site.authority.bearer(**who)
    answer = await site.call(method, path, headers=headers)
    kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in PASSING}
    return answer.status, await answer.read(), kept


def path_of(route: Route, type_: str, id_: str) -> str:
    """Give an address by a route; a search is for the id."""
    path = route.path.replace("{type}", type_).replace("{vid}", "1")
    return path.replace("{id}", id_) if "{id}" in path else f"{path}?_id={id_}"


@pytest.mark.parametrize("route", READING, ids=lambda route: route.name)
@pytest.mark.parametrize("who", OUTSIDERS)
async def test_who_may_not_see_it_is_answered_as_if_it_never_was(
    site: RealSite, route: Route, who: str
) -> None:
    for type_ in TYPES:
        there = await ask(site, route.method, path_of(route, type_, "it"), OUTSIDERS[who])
        # As long as the id that is there, for the length of an answer that repeats it in a link.
        absent = await ask(site, route.method, path_of(route, type_, "no"), OUTSIDERS[who])
        assert (there[0], there[1].replace(b"_id=it", b"_id=no"), there[2]) == absent, type_
        assert there[0] == 404 or b'"entry"' not in there[1], type_
    recorded = await site.admin.fetchval(
        "SELECT count(*) FROM audit.records WHERE subject = $1 AND outcome = $2 AND coalesce(items, 0) = 0",
        OUTSIDERS[who]["subject"],
        DENIED if "{id}" in route.path else SUCCESS,
    )
    assert recorded == 2 * len(TYPES)


@pytest.mark.parametrize("route", READING, ids=lambda route: route.name)
async def test_who_may_see_it_does(site: RealSite, route: Route) -> None:
    for type_ in TYPES:
        status, body, _ = await ask(site, route.method, path_of(route, type_, "it"), INSIDER)
        assert status == 200, type_
        assert "{id}" in route.path or b'"entry"' in body, type_
    rule = RULES[route.name]
    recorded = await site.admin.fetch(
        "SELECT act, kind, outcome FROM audit.records WHERE request IS NOT NULL"
    )
    expected = sorted((rule.act, type_, SUCCESS) for type_ in TYPES) if rule.discloses else []
    assert sorted(tuple(row) for row in recorded) == expected


@pytest.mark.parametrize("route", READING, ids=lambda route: route.name)
async def test_a_token_without_resource_scopes_sees_nothing(site: RealSite, route: Route) -> None:
    for scopes in ("bulk/import files/read ops/*", "patient/*.rs", "system/*.cud", "user/Medication.rs"):
        for type_ in TYPES:
            answers = [
                await ask(site, route.method, path_of(route, type_, id_), {**INSIDER, "scopes": scopes})
                for id_ in ("it", "no")
            ]
            assert answers[0] == answers[1]
            assert answers[0][0] in (403, 404)
