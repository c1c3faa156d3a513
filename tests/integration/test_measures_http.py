"""Bundles and measures over HTTP, on a real Postgres: stored, looked up, and what they need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from support import measure_library as made
from support.gateway_real import RealSite, real_gateway
from support.measure_http import VISITS, bundle, codes_of, delete, everything, example, put, send, statuses_of
from support.resource_store import Json
from support.stack import Database
from support.tokens import AUDIENCE

numbers = count()


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


def post(resource: Json) -> Json:
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


async def needs(site: RealSite, measure: str, **more: Any) -> tuple[int, Json]:
    return await send(site, f"/fhir/Measure/{measure}/$data-requirements", method="GET", **more)


def types_of(library: Json) -> set[str]:
    return {each["type"] for each in library["dataRequirement"]}


async def grant(site: RealSite, *types: str, group: str | None = None) -> None:
    given = Grant(
        id=f"00000000-0000-4000-8000-{next(numbers):012}",
        grantee_kind=GranteeKind.CLIENT,
        grantee="portal",
        all_patients=group is None,
        group=group,
        types=types or None,
        granted_by="ops",
        granted_at=datetime.now(UTC),
    )
    await Grants(site.admin).give(given)


async def test_a_published_transaction_is_stored_as_it_is_and_again_changes_nothing(site: RealSite) -> None:
    status, answer = await send(site, "/fhir", example(VISITS))
    assert (status, answer["type"]) == (200, "transaction-response")
    entries = json.loads(example(VISITS))["entry"]
    assert statuses_of(answer) == ["201"] * len(entries)
    for entry, told in zip(entries, answer["entry"], strict=True):
        assert told["response"]["location"] == f"{AUDIENCE}/fhir/{entry['request']['url']}/_history/1"
        assert told["response"]["etag"] == 'W/"1"'
    stored = await everything(site)
    assert stored == {entry["request"]["url"] for entry in entries}
    status, again = await send(site, "/4_0_1", example(VISITS))
    assert statuses_of(again) == ["200"] * len(entries)
    assert {told["response"]["etag"] for told in again["entry"]} == {'W/"1"'}


async def test_a_measure_needs_what_its_logic_reads_across_libraries(site: RealSite) -> None:
    await send(site, "/fhir", example(VISITS))
    status, library = await needs(site, VISITS)
    assert (status, library["resourceType"]) == (200, "Library")
    assert library["type"]["coding"][0]["code"] == "module-definition"
    assert types_of(library) == {"Condition", "Coverage", "Encounter", "Observation", "Patient"}
    related = {each["resource"] for each in library["relatedArtifact"]}
    assert "http://example.org/sluice/Library/Common|1.0.0" in related
    for base in ("fhir", "4_0_1"):
        path = f"/{base}/Measure/{VISITS}/$data-requirements"
        assert await send(site, path) == (200, library)
        parameters = {
            "resourceType": "Parameters",
            "parameter": [
                {"name": "periodStart", "valueDate": "2025-01-01"},
                {"name": "periodEnd", "valueDate": "2025-12-31"},
            ],
        }
        status, _ = await send(site, path, json.dumps(parameters).encode())
        assert status == 200


async def test_a_transaction_is_stored_as_a_whole_or_not_at_all(site: RealSite) -> None:
    good = put(made.value_set("http://x/one"))
    for bad, status, code in (
        ({**good, "request": {"method": "PATCH", "url": "ValueSet/one"}}, 501, "not-supported"),
        ({**good, "request": {"method": "PUT", "url": "ValueSet/other"}}, 400, "value"),
        (
            {"resource": {"resourceType": "Nonsense"}, "request": {"method": "POST", "url": "Nonsense"}},
            400,
            "",
        ),
        (good, 400, "duplicate"),
    ):
        answered, outcome = await send(site, "/fhir", bundle(good, bad))
        assert answered == status
        assert not code or codes_of(outcome) == [code]
        assert outcome["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert await everything(site) == set()


async def test_the_entries_of_a_batch_are_each_on_their_own(site: RealSite) -> None:
    one = made.value_set("http://x/one")
    body = bundle(
        put(one),
        {"resource": {"resourceType": "Nonsense"}, "request": {"method": "POST", "url": "Nonsense"}},
        post({"resourceType": "Library", "id": "mine", "url": "http://x/lib"}),
        put({**one, "title": "later"}),
        delete("Measure/never"),
        type_="batch",
    )
    status, answer = await send(site, "/fhir", body)
    assert (status, answer["type"]) == (200, "batch-response")
    assert statuses_of(answer) == ["201", "400", "201", "200", "204"]
    assert codes_of(answer["entry"][1]["response"]["outcome"]) == ["structure"]
    # An id that a created resource comes with is not kept.
    assert "Library/mine" not in await everything(site)
    assert answer["entry"][3]["response"]["etag"] == 'W/"2"'


async def test_a_transaction_deletes_first_and_what_is_deleted_is_gone(site: RealSite) -> None:
    await send(site, "/fhir", example(VISITS))
    status, answer = await send(
        site, "/fhir", bundle(delete("Library/common"), put(made.value_set("http://x/one")))
    )
    assert (status, statuses_of(answer)) == (200, ["204", "201"])
    stored = await everything(site)
    assert "Library/common" not in stored
    assert "ValueSet/one" in stored


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"resourceType":"Patient"}', 400),
        (b'{"resourceType":"Bundle","type":"collection"}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[{}]}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","x":"\xff"}', 400),
        (b"[" * 100_000, 422),
    ],
)
async def test_what_is_no_bundle_to_be_stored_is_refused(site: RealSite, body: bytes, status: int) -> None:
    answered, outcome = await send(site, "/fhir", body)
    assert (answered, outcome["resourceType"]) == (status, "OperationOutcome")


async def test_an_empty_transaction_is_one(site: RealSite) -> None:
    assert await send(site, "/fhir", bundle(), scopes="files/read") == (
        200,
        {"resourceType": "Bundle", "type": "transaction-response", "entry": []},
    )


async def test_a_bundle_may_be_larger_than_other_requests_and_not_without_end(database: Database) -> None:
    text = {"resourceType": "ValueSet", "id": "large", "url": "http://x/large", "title": "x" * 2_500_000}
    async with real_gateway(database, bundle_limit=3_000_000) as site:
        assert (await send(site, "/fhir", bundle(put(text))))[0] == 200
        more = {**text, "title": "x" * 3_500_000}
        answered, outcome = await send(site, "/fhir", bundle(put(more)))
        assert (answered, codes_of(outcome)) == (413, ["too-long"])


ARTIFACT = put(made.value_set("http://x/one"))
PATIENT = put({"resourceType": "Patient", "id": "p"})


@pytest.mark.parametrize(
    ("scopes", "entries", "granted", "status"),
    [
        ("ops/measures", [ARTIFACT], None, 200),
        ("ops/*", [ARTIFACT, PATIENT], None, 200),
        ("ops/measures", [ARTIFACT, PATIENT], None, 403),
        ("ops/sources", [ARTIFACT], None, 403),
        ("bulk/import files/write", [ARTIFACT], (), 403),
        ("system/*.rs", [ARTIFACT], (), 403),
        ("system/*.cud", [ARTIFACT, PATIENT], (), 200),
        ("system/Patient.cu", [PATIENT], ("Patient",), 200),
        ("system/Patient.cu", [PATIENT], ("Observation",), 403),
        ("system/Patient.cu", [PATIENT], None, 403),
        ("system/Patient.u", [PATIENT], (), 403),
        ("system/Patient.cu", [delete("Patient/p")], (), 403),
        ("system/Patient.d", [delete("Patient/p")], (), 200),
        ("system/Patient.cu?gender=male", [PATIENT], (), 403),
        ("user/Patient.cu", [PATIENT], (), 403),
        ("patient/Patient.cu", [PATIENT], (), 403),
    ],
)
async def test_who_may_store_what(
    site: RealSite, scopes: str, entries: list[Json], granted: tuple[str, ...] | None, status: int
) -> None:
    if granted is not None:
        await grant(site, *granted)
    answered, outcome = await send(site, "/fhir", bundle(*entries), scopes=scopes)
    assert answered == status, outcome
    if status == 403:
        assert codes_of(outcome) == ["forbidden"]
        assert await everything(site) == set()


async def test_a_grant_of_a_group_lets_nobody_store_its_patients(site: RealSite) -> None:
    await site.admin.execute(
        "INSERT INTO fhir.groups (group_id, managed, updated) VALUES ('g', 'api', now())"
    )
    await grant(site, group="g")
    assert (await send(site, "/fhir", bundle(PATIENT), scopes="system/*.cruds"))[0] == 403


async def test_of_a_batch_what_the_token_does_not_permit_is_refused_alone(site: RealSite) -> None:
    status, answer = await send(
        site, "/fhir", bundle(PATIENT, ARTIFACT, type_="batch"), scopes="ops/measures"
    )
    assert (status, statuses_of(answer)) == (200, ["403", "201"])
    assert await everything(site) == {"ValueSet/one"}


@pytest.mark.parametrize(
    ("resources", "status", "text"),
    [
        ([], 404, "Measure/M"),
        ([made.measure()], 422, "names no Library"),
        ([made.measure("http://x/Library/none")], 404, "http://x/Library/none"),
        ([made.measure("Library/L"), made.library(None, "L")], 422, "no ELM"),
        ([made.measure("Library/L"), made.library(b"not json", "L")], 422, "not JSON"),
        ([made.measure("Library/L"), {**made.library(None, "L"), "content": 7}], 422, "not as R4 has it"),
        (
            [
                made.measure("Library/A"),
                made.library(made.elm("A", {}, includes={"B": ("B", None)})),
                made.library(made.elm("B", {}, includes={"A": ("A", None)})),
            ],
            422,
            "circle",
        ),
        (
            [
                made.measure("Library/A"),
                made.library(made.elm("A", {"x": made.ref("nowhere")})),
            ],
            422,
            "Library/A|1.0.0: nowhere",
        ),
    ],
)
async def test_a_measure_whose_needs_cannot_be_said_is_told_why(
    site: RealSite, resources: list[Json], status: int, text: str
) -> None:
    await send(site, "/fhir", bundle(*map(put, resources)))
    answered, outcome = await needs(site, "M")
    assert answered == status
    assert text in outcome["issue"][0]["details"]["text"]


async def test_what_a_measure_needs_follows_every_change_of_what_it_is_made_of(site: RealSite) -> None:
    def logic(name: str, type_: str, **more: Any) -> Json:
        return put(made.library(made.elm(name, {"x": made.retrieve(type_)}, **more)))

    await send(site, "/fhir", bundle(put(made.measure("Library/A")), logic("A", "Encounter")))
    assert types_of((await needs(site, "M"))[1]) == {"Encounter", "Patient"}
    await send(site, "/fhir", bundle(logic("A", "Condition")))
    assert types_of((await needs(site, "M"))[1]) == {"Condition", "Patient"}
    await send(site, "/fhir", bundle(logic("A", "Condition", includes={"B": ("B", None)})))
    assert (await needs(site, "M"))[0] == 404
    await send(site, "/fhir", bundle(logic("B", "Device")))
    assert (await needs(site, "M"))[0] == 200
    await send(site, "/fhir", bundle(delete("Library/B")))
    assert (await needs(site, "M"))[0] == 404
    await send(site, "/fhir", bundle(delete("Measure/M")))
    assert (await needs(site, "M"))[0] == 404


async def test_the_same_question_at_the_same_time_is_answered_to_all(site: RealSite) -> None:
    await send(site, "/fhir", example(VISITS))
    answers = await asyncio.gather(*(needs(site, VISITS) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    ("scopes", "granted", "status"),
    [
        ("bulk/import", False, 200),
        ("ops/measures", False, 200),
        ("system/Measure.r", True, 200),
        ("system/Measure.r", False, 404),
        ("files/read", True, 404),
    ],
)
async def test_who_may_not_read_a_measure_is_not_told_what_it_needs(
    site: RealSite, scopes: str, granted: bool, status: int
) -> None:
    await send(site, "/fhir", example(VISITS))
    if granted:
        await grant(site)
    assert (await needs(site, VISITS, scopes=scopes))[0] == status


async def test_operators_see_what_measures_consist_of_and_nothing_of_patients(site: RealSite) -> None:
    await send(site, "/fhir", example(VISITS))
    seen = {}
    for path in (f"Measure/{VISITS}", "Library/common", "ValueSet/asthma", "Patient/emergency-visits-1"):
        seen[path], _ = await send(site, f"/fhir/{path}", scopes="ops/measures", method="GET")
    assert list(seen.values()) == [200, 200, 200, 404]
    assert (await send(site, "/fhir/Patient", scopes="ops/*", method="GET"))[0] == 403


@pytest.mark.parametrize(
    "query",
    ["periodStart=2026-01-01", "periodStart=x&periodEnd=2026", "periodStart=2026-13&periodEnd=2027"],
)
async def test_a_period_that_is_none_is_refused(site: RealSite, query: str) -> None:
    await send(site, "/fhir", example(VISITS))
    path = f"/fhir/Measure/{VISITS}/$data-requirements?{query}"
    assert (await send(site, path, method="GET"))[0] == 400


async def test_parameters_that_are_none_are_refused(site: RealSite) -> None:
    await send(site, "/fhir", example(VISITS))
    for body in (b"{", b"[]", b'{"resourceType":"Patient"}', b'{"resourceType":"Parameters","parameter":7}'):
        answered, outcome = await send(site, f"/fhir/Measure/{VISITS}/$data-requirements", body)
        assert (answered, codes_of(outcome)) == (400, ["structure"])
