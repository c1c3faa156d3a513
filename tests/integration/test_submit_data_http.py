"""`$submit-data` over HTTP, on a real Postgres: data that are sent, and data pulled from a source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sluice_contracts import wire
from sluice_contracts.commands import BulkImportCommand, StartBulkImport
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_fhir.sources import SourceChange, SourceDraft
from support import measure_library as made
from support.gateway_real import RealSite, real_gateway
from support.measure_http import OPS, VISITS, bundle, codes_of, delete, everything, example, put, send
from support.pulling import pull_site
from support.resource_store import Json, lines_of
from support.stack import Database
from support.tokens import AUDIENCE

URL = "http://example.org/sluice/Measure/emergency-visits"
SOURCE = "https://fhir.example.org/r4"
SUBMIT = f"/4_0_1/Measure/{VISITS}/$submit-data"
PREFER = {"Prefer": "respond-async", "Content-Type": "application/json+fhir"}
PULL: dict[str, Any] = {"scopes": "bulk/import", "headers": PREFER}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        await send(found, "/fhir", example(VISITS))
        await found.sources.create(SourceDraft(name="One", base_url=SOURCE, type_filters=True))
        yield found


def report(**more: Any) -> Json:
    fields = {"id": "r1", "status": "complete", "type": "data-collection", "measure": URL}
    return {"resourceType": "MeasureReport", **fields, **more}


def parameters(*members: tuple[str, str, Any]) -> bytes:
    parameter = [{"name": name, kind: value} for name, kind, value in members]
    return json.dumps({"resourceType": "Parameters", "parameter": parameter}).encode()


REPORT = ("measureReport", "resource", report())
EXPORT = ("exportUrl", "valueString", f"{SOURCE}/$export")
PATIENT = {"resourceType": "Patient", "id": "s1"}
VISIT = {"resourceType": "Encounter", "status": "finished", "subject": {"reference": "Patient/s1"}}


def starts(site: RealSite) -> list[StartBulkImport]:
    decoder: wire.Decoder[BulkImportCommand] = wire.Decoder(JOBS_BULK_IMPORT.messages)
    found = [decoder.decode(record.value or b"") for record in site.broker.records(JOBS_BULK_IMPORT.name)]
    return [each for each in found if isinstance(each, StartBulkImport)]


async def test_what_is_sent_is_stored_and_sent_again_changes_nothing(site: RealSite) -> None:
    before = await everything(site)
    body = parameters(REPORT, ("resource", "resource", PATIENT), ("resource", "resource", VISIT))
    status, answer = await send(site, SUBMIT, body)
    assert (status, answer["type"]) == (200, "transaction-response")
    assert [entry["response"]["status"] for entry in answer["entry"]] == ["201 Created"] * 3
    stored = await everything(site) - before
    assert {"MeasureReport/r1", "Patient/s1"} < stored
    assert len(stored) == 3
    status, again = await send(site, f"/fhir/Measure/{VISITS}/$submit-data", body)
    assert {entry["response"]["etag"] for entry in again["entry"]} == {'W/"1"'}
    assert await everything(site) - before == stored


async def test_the_measure_may_be_named_by_the_report_alone(site: RealSite) -> None:
    for measure in (URL, f"{URL}|1.0.0"):
        body = parameters(("measureReport", "resource", report(measure=measure)))
        assert (await send(site, "/fhir/Measure/$submit-data", body))[0] == 200
    body = parameters(("measureReport", "resource", report(measure=f"{URL}|2")))
    assert (await send(site, "/fhir/Measure/$submit-data", body))[0] == 404


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ([("resource", "resource", PATIENT)], 400, "required"),
        ([REPORT, REPORT], 400, "invalid"),
        ([("measureReport", "resource", PATIENT)], 400, "value"),
        ([("measureReport", "valueString", "x")], 400, "value"),
        ([("measureReport", "resource", report(type="summary"))], 400, "value"),
        ([("measureReport", "resource", report(measure="http://x/Measure/other"))], 400, "value"),
        ([("measureReport", "resource", report(measure=f"{URL}|7"))], 400, "value"),
        ([("measureReport", "resource", report(measure=None))], 400, "required"),
        ([REPORT, EXPORT], 400, "not-supported"),
        ([REPORT, ("_strict", "valueBoolean", True)], 400, "not-supported"),
        ([REPORT, ("resource", "resource", {"resourceType": "Nonsense"})], 400, "structure"),
        ([REPORT, ("resource", "resource", {**PATIENT, "id": "not an id"})], 400, "structure"),
        ([REPORT, *[("resource", "resource", {**PATIENT, "x": n}) for n in (1, 2)]], 400, "duplicate"),
    ],
)
async def test_of_a_submission_that_is_not_right_nothing_is_stored(
    site: RealSite, members: list[tuple[str, str, Any]], status: int, code: str
) -> None:
    before = await everything(site)
    answered, outcome = await send(site, SUBMIT, parameters(*members))
    assert (answered, codes_of(outcome)) == (status, [code])
    assert await everything(site) == before


async def test_a_resource_that_is_wrong_is_named_by_its_place_in_the_parameters(site: RealSite) -> None:
    body = parameters(
        REPORT, ("resource", "resource", PATIENT), ("resource", "resource", {"resourceType": "X"})
    )
    _, outcome = await send(site, SUBMIT, body)
    assert outcome["issue"][0]["expression"] == ["Parameters.parameter.where(name='resource')[1].resource"]


@pytest.mark.parametrize("scopes", ["bulk/import", "ops/measures", "system/*.rs", "files/write"])
async def test_who_may_not_store_resources_may_not_submit_them(site: RealSite, scopes: str) -> None:
    answered, outcome = await send(site, SUBMIT, parameters(REPORT), scopes=scopes)
    assert (answered, codes_of(outcome)) == (403, ["forbidden"])


async def test_a_measure_that_is_not_here_takes_no_data(site: RealSite) -> None:
    body = parameters(("measureReport", "resource", report(measure="http://x/Measure/none")), EXPORT)
    for path in ("/fhir/Measure/none/$submit-data", "/fhir/Measure/$submit-data"):
        answered, outcome = await send(site, path, body, **PULL)
        assert (answered, codes_of(outcome)) == (404, ["not-found"])
    assert starts(site) == []


async def test_what_the_measure_needs_is_pulled_from_the_source(site: RealSite) -> None:
    whole = ("useTypeFilters", "valueBoolean", False)
    for base in ("fhir", "4_0_1"):
        path = f"/{base}/Measure/{VISITS}/$submit-data"
        status, told = await send(site, path, parameters(REPORT, EXPORT, whole), **PULL)
        assert status == 202
        job = told["location"].removeprefix(f"{AUDIENCE}/{base}/bulkstatus/")
        (command,) = [each for each in starts(site) if each.job == job]
        url = urlsplit(command.request.url)
        assert url._replace(query="").geturl() == f"{SOURCE}/$export"
        assert parse_qs(url.query) == {"_type": ["Condition,Coverage,Encounter,Observation,Patient"]}
        assert json.loads(command.request.report or "") == report()
    assert len(starts(site)) == 2


async def test_the_operations_other_name_is_asynchronous_by_itself(site: RealSite) -> None:
    since = ("_since", "valueInstant", "2026-01-01T00:00:00Z")
    body = parameters(REPORT, EXPORT, since)
    status, _ = await send(site, "/fhir/Measure/$bulk-submit-data", body, scopes="bulk/import")
    assert status == 202
    query = parse_qs(urlsplit(starts(site)[0].request.url).query)
    assert query["_since"] == ["2026-01-01T00:00:00Z"]
    assert "Encounter?type:in=http://example.org/sluice/ValueSet/emergency" in query["_typeFilter"]
    headers = {"Prefer": "respond-sync"}
    status, _ = await send(
        site, "/fhir/Measure/$bulk-submit-data", body, scopes="bulk/import", headers=headers
    )
    assert status == 400


@pytest.mark.parametrize("kind", ["valueBoolean", "valueString"])
async def test_data_that_are_pulled_may_be_wanted_whole(site: RealSite, kind: str) -> None:
    for given in (True, False):
        value = given if kind == "valueBoolean" else str(given).lower()
        static = ("exportType", "valueCode", "static")
        for more in ((), (static,)):
            body = parameters(REPORT, EXPORT, ("_strict", kind, value), *more)
            status, told = await send(site, SUBMIT, body, **PULL)
            assert status == 202
            (command,) = [each for each in starts(site) if told["location"].endswith(each.job)]
            assert command.request.strict is given


async def test_a_source_that_does_not_say_so_is_asked_for_no_filters(site: RealSite) -> None:
    (source,) = await site.sources.list()
    await site.sources.update(source.id, SourceChange(type_filters=False))
    wish = ("useTypeFilters", "valueBoolean", True)
    assert (await send(site, SUBMIT, parameters(REPORT, EXPORT, wish), **PULL))[0] == 202
    assert "_typeFilter" not in parse_qs(urlsplit(starts(site)[0].request.url).query)


async def test_a_source_that_is_for_others_is_not_registered(site: RealSite) -> None:
    (source,) = await site.sources.list()
    await site.sources.update(source.id, SourceChange(clients=("other",)))
    assert (await send(site, SUBMIT, parameters(REPORT, EXPORT), **PULL))[0] == 400
    assert starts(site) == []


async def test_a_repeat_under_the_same_key_is_the_same_import(site: RealSite) -> None:
    headers = {**PREFER, "Idempotency-Key": "k1"}
    body = parameters(REPORT, EXPORT)
    told = [await send(site, SUBMIT, body, scopes="bulk/import", headers=headers) for _ in range(2)]
    assert told[0] == told[1]
    other = parameters(("measureReport", "resource", report(id="r2")), EXPORT)
    assert (await send(site, SUBMIT, other, scopes="bulk/import", headers=headers))[0] == 422


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([REPORT], "required"),
        ([EXPORT], "required"),
        ([REPORT, EXPORT, EXPORT], "invalid"),
        ([REPORT, EXPORT, ("_type", "valueString", "Patient")], "not-supported"),
        ([REPORT, EXPORT, ("resource", "resource", PATIENT)], "not-supported"),
        ([REPORT, ("exportUrl", "valueUrl", f"{SOURCE}/$export?_type=Patient")], "not-supported"),
        ([REPORT, ("exportUrl", "valueUrl", "ftp://fhir.example.org/r4")], "value"),
        ([REPORT, ("exportUrl", "valueUrl", "https://elsewhere.example.org/$export")], "not-supported"),
        ([REPORT, EXPORT, ("_since", "valueString", "yesterday")], "value"),
        ([REPORT, EXPORT, ("exportType", "valueCode", "odd")], "value"),
        ([REPORT, EXPORT, ("_strict", "valueString", "perhaps")], "value"),
        ([REPORT, EXPORT, ("_strict", "valueString", ["true"])], "value"),
        ([REPORT, EXPORT, *[("_strict", "valueBoolean", True)] * 2], "invalid"),
        (
            [
                REPORT,
                EXPORT,
                ("exportType", "valueCode", "static"),
                ("_since", "valueInstant", "2026-01-01T00:00:00Z"),
            ],
            "not-supported",
        ),
        ([("measureReport", "resource", report(type="individual")), EXPORT], "value"),
        ([("measureReport", "resource", report(measure="http://x/Measure/other")), EXPORT], "value"),
    ],
)
async def test_of_a_pull_that_is_not_right_nothing_is_begun(
    site: RealSite, members: list[tuple[str, str, Any]], code: str
) -> None:
    answered, outcome = await send(site, SUBMIT, parameters(*members), **PULL)
    assert (answered, codes_of(outcome)) == (400, [code])
    assert starts(site) == []


async def test_a_manifest_is_pulled_as_it_is(site: RealSite) -> None:
    body = parameters(REPORT, EXPORT, ("exportType", "valueCode", "static"))
    assert (await send(site, SUBMIT, body, **PULL))[0] == 202
    assert starts(site)[0].request.url == f"{SOURCE}/$export"


async def test_a_pull_needs_the_scope_of_imports(site: RealSite) -> None:
    for scopes in ("files/read", "system/*.cruds", "ops/measures"):
        answered, outcome = await send(
            site, SUBMIT, parameters(REPORT, EXPORT), scopes=scopes, headers=PREFER
        )
        assert (answered, codes_of(outcome)) == (403, ["forbidden"])


@pytest.mark.parametrize(
    ("gone", "status", "text"),
    [
        ("ValueSet/asthma", 404, "ValueSet/asthma"),
        ("Library/common", 404, "Common"),
        ("Library/emergencyvisits", 404, "EmergencyVisits"),
        ("Measure/emergency-visits", 404, "Measure/emergency-visits"),
    ],
)
async def test_what_is_missing_of_a_measure_is_named_and_nothing_is_pulled(
    site: RealSite, gone: str, status: int, text: str
) -> None:
    await send(site, "/fhir", bundle(delete(gone)))
    answered, outcome = await send(site, SUBMIT, parameters(REPORT, EXPORT), **PULL)
    assert (answered, codes_of(outcome)) == (status, ["not-found"])
    assert text in outcome["issue"][0]["details"]["text"]
    assert starts(site) == []


async def test_a_measure_without_logic_cannot_be_pulled_for(site: RealSite) -> None:
    await send(site, "/fhir", bundle(put(made.measure("Library/L")), put(made.library(None, "L"))))
    body = parameters(("measureReport", "resource", report(measure=made.MEASURE)), EXPORT)
    answered, outcome = await send(site, "/fhir/Measure/M/$submit-data", body, **PULL)
    assert (answered, codes_of(outcome)) == (422, ["business-rule"])


async def test_a_source_is_asked_for_what_the_measure_needs_and_its_data_are_there_in_the_end(
    database: Database,
) -> None:
    async with pulled(database) as (status, stored):
        assert status == 200
        assert {"Patient/p1", "Patient/p2", "MeasureReport/r1"} < stored


@pytest.mark.parametrize("subject", ["p1", "nobody"])
async def test_of_data_that_are_wanted_whole_nothing_is_stored_unless_all_of_it_can_be(
    database: Database, subject: str
) -> None:
    observation = {"resourceType": "Observation", "id": "o1", "subject": {"reference": f"Patient/{subject}"}}
    async with pulled(database, observation, strict=True) as (status, stored):
        found = {"Patient/p1", "Patient/p2", "Observation/o1", "MeasureReport/r1"} & stored
        assert (status, len(found)) == ((200, 4) if subject == "p1" else (500, 0))


@asynccontextmanager
async def pulled(
    database: Database, *more: Json, strict: bool = False
) -> AsyncIterator[tuple[int, set[str]]]:
    """Have two patients pulled for the measure, and more; give the last poll's status and what is stored."""
    async with (
        pull_site(database) as pull,
        real_gateway(database, producer=pull.broker.producer(), export_early_polls=1000) as site,
    ):
        await send(site, "/fhir", example(VISITS))
        pull.source.patients("p.ndjson", "p1", "p2", count=2)
        for each in more:
            pull.source.give("more.ndjson", lines_of(each), type_=each["resourceType"])
        wish = ("_strict", "valueBoolean", strict)
        body = parameters(REPORT, ("exportUrl", "valueString", pull.source.url), wish)
        status, told = await send(site, SUBMIT, body, **PULL)
        assert status == 202
        path = told["location"].removeprefix(AUDIENCE)
        headers = site.authority.bearer(client="portal", scopes="bulk/import")
        async with pull.running(), asyncio.timeout(120):
            while True:
                answer = await site.get(path, headers=headers)
                if answer.status != 202:
                    break
                await asyncio.sleep(0.05)
        yield answer.status, await everything(site)


async def test_nothing_that_was_sent_is_in_an_answer_that_refuses_it(site: RealSite) -> None:
    canary = "Canaryson"
    body = parameters(
        REPORT,
        (canary, "valueString", canary),
        ("resource", "resource", {"resourceType": canary, "id": canary}),
    )
    ways: tuple[dict[str, Any], ...] = ({"scopes": OPS}, PULL)
    for more in ways:
        _, outcome = await send(site, SUBMIT, body, **more)
        assert canary not in json.dumps(outcome)
