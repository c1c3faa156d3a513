"""Every route about projects and files against whoever is no member: to them it never was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from sluice_contracts.audit import DENIED, SUCCESS
from sluice_fhir.sources import SourceDraft
from sluice_gateway.audit_rules import RULES
from sluice_gateway.routing import Route
from support.gateway_real import RealSite, real_gateway
from support.isolation import CATALOGUE, GUARDED
from support.stack import Database

ROWS = [route for route in GUARDED if route.name in CATALOGUE]
STRANGERS = [
    {"subject": "bob"},
    {"client": "other", "subject": "bob"},
    {"client": "ann", "subject": "portal"},
]
BASE = "https://source.test/fhir"
NEVER = {"owner": "ann", "project": "nevermade", "file": "0" * 24}
PASSING = {"date", "x-request-id", "ratelimit", "x-ratelimit-reset", "x-ratelimit-remaining"}
EVERY_SCOPE = "bulk/import files/read files/write"


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        await found.sources.create(SourceDraft(name="One", base_url=BASE))
        yield found


async def kept(site: RealSite) -> dict[str, str]:
    """Make a project of ann's with a folder in it; give what it takes to ask about them."""
    answer = await site.post("/v2/projects", json={"name": "The one"}, headers=site.bearer())
    project = (await answer.json())["id"]
    folder = {"name": "f", "type": "folder", "project": project}
    answer = await site.post("/v2/files", json=folder, headers=site.bearer())
    owner, _, name = project.partition("/")
    return {"owner": owner, "project": name, "file": (await answer.json())["id"]}


async def told(
    site: RealSite, route: Route, about: Mapping[str, str], **who: str
) -> tuple[int, str, dict[str, str]]:
    """Ask a route about something; give status, body and fields, without what names it."""
    path = route.path.replace("{owner}", about["owner"]).replace("{project}", about["project"])
    path = path.replace("{id}", about["file"]).replace("{username}", "ann")
    if route.name == "list_files":
        path += f"?parent={about['file']}"
    body = CATALOGUE[route.name]
    sent: dict[str, Any] = {}
    if body is not None:
        text = json.dumps(body).replace("{file}", about["file"])
        sent = {"json": json.loads(text.replace("{document}", f"{BASE}/DocumentReference/1"))}
    headers = site.bearer(scopes=EVERY_SCOPE, **who)
    answer = await site.call(route.method, path, headers=headers, **sent)
    text = await answer.text()
    for value in about.values():
        text = text.replace(value, "IT")
    fields = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in PASSING}
    for name in ("content-length", "location", "link", "etag"):
        fields.pop(name, None)
    return answer.status, text, fields


# Not with 404: files in bulk are answered each by itself; of somebody's projects a stranger sees none, which
# tells nothing and is not recorded.
ANSWERED: dict[str, list[int]] = {"get_files_in_bulk": [SUCCESS], "list_projects_of_owner": []}


async def outcomes(site: RealSite) -> list[int]:
    """Give how what is recorded by requests ended, each once."""
    rows = await site.admin.fetch(
        "SELECT DISTINCT outcome FROM audit.records WHERE request IS NOT NULL ORDER BY 1"
    )
    return [row["outcome"] for row in rows]


@pytest.mark.parametrize("route", ROWS, ids=lambda route: route.name)
async def test_a_strangers_answer_is_that_about_what_never_was(site: RealSite, route: Route) -> None:
    there = await kept(site)
    for who in STRANGERS:
        assert await told(site, route, there, **who) == await told(site, route, NEVER, **who)
    rule = RULES.get(route.name)
    denied = ANSWERED.get(route.name, [DENIED])
    assert await outcomes(site) == (denied if rule else [])
    await site.admin.execute("DELETE FROM audit.records")
    # The same question of its owner is answered otherwise, or the row would hold nothing.
    mine, never = await told(site, route, there), await told(site, route, NEVER)
    assert mine[:2] != never[:2]
    if rule is not None and rule.discloses and mine[0] == 200:
        assert SUCCESS in await outcomes(site)
