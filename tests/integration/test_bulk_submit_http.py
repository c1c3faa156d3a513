"""Bulk submissions over HTTP: a real database, a real source, our services."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_fhir.source_auth import BearerAuth
from sluice_streaming.messages import Message
from support.gateway_real import RealSite, real_gateway
from support.pulling import PullSite, pull_site
from support.resource_store import Json, lines_of
from support.stack import Database
from support.submitting import Provider
from support.tokens import AUDIENCE

pytest_plugins = ["support.pulling_http"]


def patient(id_: str, gender: str = "female") -> Json:
    return {"resourceType": "Patient", "id": id_, "gender": gender}


async def test_several_manifests_make_one_submission_that_is_over_when_it_is_completed_and_loaded(
    provider: Provider, pull: PullSite, site: RealSite
) -> None:
    first = provider.manifest("first", patient("1"), patient("both"))
    second = provider.manifest("second", patient("2"), patient("both"))
    async with pull.running():
        await provider.submitted(first)
        place = await provider.place()
        async with asyncio.timeout(120):
            while True:
                answer = await site.get(place, headers=provider.token())
                assert answer.status == 202
                shown = await answer.json()
                if shown["outcome"]:
                    break
                await asyncio.sleep(0.05)
        # What has ended is told while more may come.
        assert {each["manifestUrl"] for each in shown["outcome"]} == {first}
        assert answer.headers["X-Progress"] == "1 of 1 manifest; the submission is in-progress"
        await provider.submitted(second, "completed")
        shown = await provider.ended(place)
    assert shown["manifestType"].endswith("/BulkSubmitStatusManifest")
    assert (shown["requiresAccessToken"], shown["output"], shown["error"]) == (True, [], [])
    told = await provider.told(shown)
    assert told["first"][0] == ("information", "Manifest 1: imported.")
    assert told["second"][0] == ("information", "Manifest 2: imported.")
    assert set(await provider.stored()) == {"Patient/1", "Patient/2", "Patient/both"}


async def test_a_stopped_submission_leaves_nothing_of_it_and_what_was_there_before(
    provider: Provider, pull: PullSite
) -> None:
    before = provider.manifest("before", patient("old", "male"), patient("gone"), patient("later"))
    async with pull.running():
        other = Provider(provider.site, pull, "another")
        await other.submitted(before, "completed")
        await other.ended()
        loaded = provider.manifest(
            "a", patient("old"), patient("new"), patient("later"), deleted=("Patient/gone",)
        )
        await provider.submitted(loaded)
        place = await provider.place()
        async with asyncio.timeout(120):
            while "Patient/new" not in (held := await provider.stored()) or "Patient/gone" in held:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # Somebody else stores a version meanwhile, which stays.
        since = provider.manifest("since", patient("later", "other"))
        third = Provider(provider.site, pull, "third")
        await third.submitted(since, "completed")
        await third.ended()
        await provider.submitted(None, "stopped")
        shown = await provider.ended(place)
    assert await provider.stored() == {
        "Patient/old": patient("old", "male"),
        "Patient/gone": patient("gone"),
        "Patient/later": patient("later", "other"),
    }
    (item,) = shown["outcome"]
    assert item["countSeverity"] == [{"code": "information", "count": 1}]
    told = await provider.told(shown)
    assert told["a"] == [("information", "Manifest 1: what was imported of it has been taken back.")]


async def test_a_replaced_manifest_gives_way_to_its_successor(provider: Provider, pull: PullSite) -> None:
    first = provider.manifest("first", patient("1"), patient("both"), patient("shared"))
    other = provider.manifest("other", patient("shared"))
    better = provider.manifest("better", patient("both", "male"), patient("3"))
    async with pull.running():
        await provider.submitted(first)
        await provider.submitted(other)
        place = await provider.place()
        async with asyncio.timeout(120):
            while len(await provider.stored()) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await provider.submitted(better, "completed", replaces=first)
        shown = await provider.ended(place)
        told = await provider.told(shown)
    # What another manifest of the submission holds too is there still.
    assert await provider.stored() == {
        "Patient/both": patient("both", "male"),
        "Patient/3": patient("3"),
        "Patient/shared": patient("shared"),
    }
    taken = "Manifest 1: what was imported of it has been taken back. Manifest 3 has replaced it."
    assert told["first"] == [("information", taken)]
    assert told["better"][0] == ("information", "Manifest 3: imported.")


async def test_a_manifest_can_be_taken_back_without_a_successor(provider: Provider, pull: PullSite) -> None:
    first, second = provider.manifest("first", patient("1")), provider.manifest("second", patient("2"))
    async with pull.running():
        await provider.submitted(first)
        await provider.submitted(second)
        await provider.submitted(None, "completed", replaces=first)
        await provider.ended()
    assert await provider.stored() == {"Patient/2": patient("2")}


async def test_stopping_ends_a_download_and_nothing_comes_later(provider: Provider, pull: PullSite) -> None:
    begun = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        number = 0
        while True:
            await response.write(lines_of(*(patient(f"{number}-{n}") for n in range(5000))))
            number += 1
            if number > 3:
                begun.set()
            await asyncio.sleep(0.02)

    url = provider.manifest("a", patient("1"))
    pull.source.http.on("/fhir/files/a.ndjson", endless)
    async with pull.running():
        await provider.submitted(url)
        await asyncio.wait_for(begun.wait(), 120)
        await provider.submitted(None, "stopped")
        await provider.ended()
        assert await provider.stored() == {}
    assert await provider.stored() == {}


async def test_the_same_requests_and_records_twice_do_the_same_once(
    provider: Provider, pull: PullSite
) -> None:
    first, second = provider.manifest("first", patient("1")), provider.manifest("second", patient("2"))
    for _ in range(2):
        await provider.submitted(first)
    for _ in range(2):
        await provider.submitted(second, "completed", replaces=first)
    starts = [each for each in pull.broker.bodies(JOBS_BULK_IMPORT) if isinstance(each, StartBulkImport)]
    # The log has an order for each job alone.
    assert sorted(each.request.url for each in starts) == sorted([first, second])
    for each in starts:
        await pull.broker.publish(Message(JOBS_BULK_IMPORT, each.job, each))
    async with pull.running():
        await provider.ended()
    assert await provider.stored() == {"Patient/2": patient("2")}
    assert await pull.rows.fetchval("SELECT count(*) FROM pulls.jobs") == 2


async def test_whoever_submitted_it_alone_knows_of_it(provider: Provider, pull: PullSite) -> None:
    url = provider.manifest("a", patient("1"))
    async with pull.running():
        await provider.submitted(url, "completed")
        place = await provider.place()
        shown = await provider.ended(place)
    file = shown["outcome"][0]["url"].removeprefix(AUDIENCE)
    others: tuple[dict[str, Any], ...] = ({"subject": "bob"}, {"client": "other"})
    for who in others:
        headers = provider.token(**who)
        assert (await provider.ask(**who)).status == 404
        answers = [
            await provider.site.get(place, headers=headers),
            await provider.site.get(file, headers=headers),
            await provider.site.call("DELETE", place, headers=headers),
            await provider.site.get("/fhir/bulksubmitstatus/none", headers=headers),
        ]
        assert {answer.status for answer in answers} == {404}
        assert len({await answer.text() for answer in answers}) == 1
        # The same names are another submission's, if others use them.
        assert (await provider.submit(url, "completed", **who)).status == 200
    assert (await provider.site.call("DELETE", place, headers=provider.token())).status == 202
    assert (await provider.site.get(place, headers=provider.token())).status == 404
    assert (await provider.ended())["submissionId"] == provider.name


async def test_the_alias_gives_addresses_below_itself(provider: Provider, pull: PullSite) -> None:
    await provider.submitted(provider.manifest("a", patient("1")), "completed")
    answer = await provider.ask("/4_0_1")
    assert answer.headers["Content-Location"].startswith(f"{AUDIENCE}/4_0_1/bulksubmitstatus/")


async def test_files_are_asked_for_with_the_registered_sources_credentials(database: Database) -> None:
    async with (
        pull_site(database, auth=BearerAuth(token="registered")) as pull,
        real_gateway(database, producer=pull.broker.producer(), export_early_polls=1000) as site,
    ):
        provider = Provider(site, pull)
        url = provider.manifest("a", patient("1"))
        body: dict[str, Any] = {
            "requiresAccessToken": True,
            "output": [{"url": f"{pull.source.http.base}/files/a.ndjson"}],
        }
        pull.source.http.on("/fhir/manifests/a", json.dumps(body).encode())
        async with pull.running():
            await provider.submitted(url, "completed")
            await provider.ended()
    asked = [each for each in pull.source.http.asked if each.path.startswith("/fhir/")]
    assert {each.headers.get("Authorization") for each in asked} == {"Bearer registered"}
    assert len(asked) == 2


async def test_references_to_the_submitters_server_are_to_what_is_submitted(
    provider: Provider, pull: PullSite
) -> None:
    subject = {"reference": "https://elsewhere.example/fhir/Patient/1"}
    observed = {"resourceType": "Observation", "id": "o", "status": "final", "code": {}, "subject": subject}
    url = provider.manifest("a", patient("1"), observed)
    async with pull.running():
        await provider.submitted(url, "completed", base="https://elsewhere.example/fhir")
        await provider.ended()
    row = await pull.rows.fetchval("SELECT patient FROM fhir.resources WHERE type = 'Observation'")
    assert row == "1"


async def test_a_scope_of_submissions_permits_these_and_no_other_imports(
    pull: PullSite, site: RealSite
) -> None:
    provider = Provider(site, pull, scopes="system/bulk-submit")
    async with pull.running():
        await provider.submitted(provider.manifest("a", patient("1")), "completed")
        shown = await provider.ended()
    assert (await provider.told(shown))["a"][0] == ("information", "Manifest 1: imported.")
    for scopes, place in (("system/bulk-submit", "/fhir/$import"), ("system/*.cruds", "/fhir/$bulk-submit")):
        headers = {"Content-Type": "application/fhir+json", **provider.token(scopes=scopes)}
        assert (await site.post(place, data="{}", headers=headers)).status == 403
