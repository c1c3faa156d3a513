"""HEAD is answered as GET, without the body, and begins nothing (RFC 9110, section 9.3.2)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice_contracts.events import JobKind
from sluice_contracts.ids import job_id
from sluice_contracts.topics import JOBS_BULK_EXPORT
from sluice_gateway.app import answers_head
from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import Route
from support.gateway_memory import Site, memory_gateway

ADVANCE = {"X-SBG-Advance-Access": "Advance"}
EVERY_SCOPE = "bulk/import files/read files/write ops/*"

ANSWERED = [route for route in ROUTES if answers_head(route, ROUTES)]
# What depends on when it is asked.
PASSING = ("Date", "X-Request-ID", "X-RateLimit-Reset", "RateLimit", "Content-Length")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with memory_gateway(files=tmp_path) as found:
        found.bulk.grants.give("ann")
        yield found


@pytest.mark.parametrize("route", ANSWERED, ids=lambda route: route.name)
@pytest.mark.parametrize("known", [True, False])
async def test_head_is_told_what_get_is_without_the_body(site: Site, route: Route, known: bool) -> None:
    path = re.sub(r"{\w+}", "0" * 24, route.path)
    who = site.bearer(scopes=f"{EVERY_SCOPE} system/*.rs user/*.rs") if known else {}
    asked = await site.call("GET", path, headers={**ADVANCE, **who})
    told = await site.call("HEAD", path, headers={**ADVANCE, **who})
    assert (told.status, await told.read()) == (asked.status, b"")
    fields = {name: value for name, value in told.headers.items() if name not in PASSING}
    assert fields == {name: value for name, value in asked.headers.items() if name not in PASSING}
    assert "Content-Length" in told.headers
    # The connection is still in order afterwards.
    assert (await site.call("GET", path, headers={**ADVANCE, **who})).status == asked.status


async def test_the_head_of_a_poll_is_that_of_the_manifest(site: Site) -> None:
    job = job_id(site.id_keys(JobKind.BULK_EXPORT), "portal/ann", site.now.at, 7)
    site.bulk.exports.add(job)
    headers = site.bearer(scopes="system/*.rs")
    running = await site.call("HEAD", f"/fhir/exports/{job}", headers=headers)
    assert running.status == 202
    assert running.headers["X-Progress"].startswith("started")
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    site.now.at += 60
    ended = await site.call("HEAD", f"/fhir/exports/{job}", headers=headers)
    assert (ended.status, ended.content_type, await ended.read()) == (200, "application/json", b"")
    assert "Expires" in ended.headers


@pytest.mark.parametrize("path", ["/fhir/$export", "/fhir/Group/g/$export"])
async def test_asking_about_a_kick_off_begins_nothing(site: Site, path: str) -> None:
    answer = await site.call("HEAD", path, headers=site.bearer(scopes="system/*.rs"))
    assert answer.status in (404, 405)
    assert not site.broker.bodies(JOBS_BULK_EXPORT)
