"""Bulk import from the first request to the last, over HTTP: a real database, a real source, our services."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from support.gateway_real import RealSite
from support.pulling import PullSite
from support.resource_store import lines_of
from support.tokens import AUDIENCE

pytest_plugins = ["support.pulling_http"]

HEADERS = {"Content-Type": "application/json+fhir", "Prefer": "respond-async"}
CANARY = "Canaryson"


def token(site: RealSite, **who: Any) -> dict[str, str]:
    return site.authority.bearer(**{"client": "portal", "subject": "ann", "scopes": "bulk/import", **who})


async def kick_off(site: RealSite, pull: PullSite, *types: str) -> str:
    """Send the request of the known server's page, to another source; give the path to poll."""
    parameters = [{"name": "exportUrl", "valueString": pull.source.url}]
    parameters += [{"name": "_type", "valueString": each} for each in types]
    body = {"resourceType": "Parameters", "parameter": parameters}
    answer = await site.post("/4_0_1/$import", data=json.dumps(body), headers={**HEADERS, **token(site)})
    assert answer.status == 202
    return answer.headers["Content-Location"].removeprefix(AUDIENCE)


async def ended(site: RealSite, path: str) -> Any:
    """Poll until it is over; give the answer."""
    async with asyncio.timeout(120):
        while True:
            answer = await site.get(path, headers=token(site))
            if answer.status != 202:
                return answer
            assert answer.headers["X-Progress"]
            assert int(answer.headers["Retry-After"]) >= 1
            await asyncio.sleep(0.05)


async def texts(site: RealSite, url: str) -> list[str]:
    answer = await site.get(url.removeprefix(AUDIENCE), headers=token(site))
    assert answer.status == 200
    return [json.loads(line)["issue"][0]["details"]["text"] for line in (await answer.read()).splitlines()]


async def test_the_flow_of_the_known_server_request_by_request(pull: PullSite, site: RealSite) -> None:
    pull.source.patients("p.ndjson", "p1", "p2", count=2)
    pull.source.give(
        "e.ndjson",
        lines_of({"resourceType": "Encounter", "id": "e1", "status": "finished", "class": {}}, b'{"x'),
        type_="Encounter",
        count=3,
    )
    pull.source.list_file(f"{pull.source.http.origin}/fhir/files/missing.ndjson", type_="Procedure")
    async with pull.running():
        path = await kick_off(site, pull, "Patient", "Encounter", "Procedure")
        assert path.startswith("/4_0_1/bulkstatus/")
        answer = await ended(site, path)
    (asked,) = pull.source.asked_for("/fhir/$export")
    assert asked.query["_type"] == "Patient,Encounter,Procedure"
    shown = await answer.json()
    assert answer.status == 200
    assert shown["requiresAccessToken"] is True
    (outcome,) = shown["outcome"]
    assert outcome == {
        "type": "OperationOutcome",
        "url": f"{AUDIENCE}/4_0_1/{path.rpartition('/')[2]}/info_file_1.ndjson",
    }
    told = await texts(site, outcome["url"])
    assert len(told) == shown["output"][0]["count"] == 4
    wrong = await texts(site, shown["error"][0]["url"])
    # The count that the manifest gives, the line, the file.
    assert len(wrong) == shown["error"][0]["count"] == 3
    assert any("line 2" in text for text in wrong)
    assert set(await pull.stored()) == {"Patient/p1", "Patient/p2", "Encounter/e1"}
    for who in ({"subject": "bob"}, {"client": "other"}):
        assert (await site.get(path, headers=token(site, **who))).status == 404
        answer = await site.call("DELETE", path, headers=token(site, **who))
        assert answer.status == 404
    assert (await site.call("DELETE", path, headers=token(site))).status == 202
    for gone in (
        path,
        outcome["url"].removeprefix(AUDIENCE),
        shown["error"][0]["url"].removeprefix(AUDIENCE),
    ):
        assert (await site.get(gone, headers=token(site))).status == 404
    assert await pull.rows.fetchval("SELECT count(*) FROM pulls.issues") == 0
    # What was loaded stays.
    assert len(await pull.stored()) == 3


async def test_a_kick_off_that_the_source_refuses_is_told_with_its_reason(
    pull: PullSite, site: RealSite
) -> None:
    pull.source.http.status("/fhir/$export", 403)
    async with pull.running():
        answer = await ended(site, await kick_off(site, pull))
    text = await answer.text()
    assert answer.status == 500
    assert "The source refused access." in text
    assert "secret of the source" not in text


async def test_delete_stops_a_download_within_seconds_and_the_export_at_the_source(
    pull: PullSite, site: RealSite
) -> None:
    begun, ended_ = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(lines_of({"resourceType": "Patient", "id": "p1"}))
        begun.set()
        try:
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return response
        finally:
            ended_.set()

    pull.source.http.on("/fhir/files/endless", endless)
    pull.source.list_file(f"{pull.source.http.origin}/fhir/files/endless")
    async with pull.running():
        path = await kick_off(site, pull)
        await asyncio.wait_for(begun.wait(), 120)
        assert (await site.call("DELETE", path, headers=token(site))).status == 202
        assert (await site.get(path, headers=token(site))).status == 404
        await asyncio.wait_for(ended_.wait(), 45)
        await pull.until_row(lambda row: row["phase"] == "done")
    assert pull.source.deleted == 1
    assert await pull.stored() == {}


async def test_nothing_of_the_data_is_in_outcomes_or_events(pull: PullSite, site: RealSite) -> None:
    name = {"family": CANARY}
    pull.source.give(
        "p.ndjson",
        lines_of(
            {"resourceType": "Patient", "id": "p1", "name": [name]},
            b'{"resourceType":"Patient","id":"Canaryson_","x":1}',
            b'{"resourceType":"Canaryson","id":"1"}',
            b'{"resourceType":"Patient","name":"Canaryson',
        ),
    )
    outcome = {"resourceType": "OperationOutcome", "issue": [{"diagnostics": CANARY}]}
    pull.source.give("errors.ndjson", lines_of(outcome), kind="error", type_="OperationOutcome")
    async with pull.running():
        answer = await ended(site, await kick_off(site, pull))
    shown = await answer.json()
    told = await texts(site, shown["output"][0]["url"]) + await texts(site, shown["error"][0]["url"])
    assert len(told) == 3 + 4
    records = [
        record.value or b""
        for topic in ("jobs.events", "jobs.state", "bulk-import.files")
        for record in pull.broker.records(topic)
    ]
    assert records
    assert not any(CANARY in text for text in told)
    assert not any(CANARY.encode() in record for record in records)
