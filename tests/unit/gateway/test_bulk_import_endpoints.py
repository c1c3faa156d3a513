"""`$import` over HTTP, request by request as clients of the known test server send them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice_contracts import wire
from sluice_contracts.commands import BulkImportCommand, CancelBulkImport, StartBulkImport
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_gateway.fhir.pull_store import BadLine
from support.gateway_memory import BASE, Site, memory_gateway
from support.pulls_memory import FILE
from support.tokens import AUDIENCE

SEED = {
    "resourceType": "Parameters",
    "parameter": [
        {"name": "exportUrl", "valueString": f"{BASE}/$export"},
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Encounter"},
        {"name": "_type", "valueString": "Procedure"},
    ],
}
HEADERS = {"Content-Type": "application/json+fhir", "Prefer": "respond-async"}
ENDED = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


def token(site: Site, **who: Any) -> dict[str, str]:
    return site.authority.bearer(**{"client": "portal", "subject": "ann", "scopes": "bulk/import", **who})


def commands(site: Site) -> list[BulkImportCommand]:
    decoder: wire.Decoder[BulkImportCommand] = wire.Decoder(JOBS_BULK_IMPORT.messages)
    return [decoder.decode(record.value or b"") for record in site.broker.records(JOBS_BULK_IMPORT.name)]


async def kick_off(site: Site, base: str = "/4_0_1", body: Any = SEED, **headers: str) -> Any:
    return await site.post(
        f"{base}/$import", data=json.dumps(body), headers={**HEADERS, **token(site), **headers}
    )


async def begun(site: Site, base: str = "/4_0_1") -> str:
    answer = await kick_off(site, base)
    assert answer.status == 202
    return str(answer.headers["Content-Location"]).rpartition("/")[2]


@pytest.mark.parametrize("base", ["/4_0_1", "/fhir"])
async def test_the_kick_off_is_accepted_as_one_record_and_says_where_to_poll(site: Site, base: str) -> None:
    answer = await kick_off(site, base)
    assert (answer.status, await answer.read()) == (202, b"")
    (command,) = commands(site)
    assert isinstance(command, StartBulkImport)
    assert answer.headers["Content-Location"] == f"{AUDIENCE}{base}/bulkstatus/{command.job}"
    assert (command.client, command.subject) == ("portal", "ann")
    assert command.request.url == f"{BASE}/$export?_type=Patient,Encounter,Procedure"
    assert command.request.source == "one"


async def test_a_setting_gives_the_location_as_the_known_server_writes_it() -> None:
    async with memory_gateway(import_relative_location=True) as site:
        answer = await kick_off(site)
        assert answer.headers["Content-Location"] == f"4_0_1/bulkstatus/{commands(site)[0].job}"


@pytest.mark.parametrize("kind", ["application/json+fhir", "application/fhir+json", "application/json"])
async def test_each_content_type_is_taken(site: Site, kind: str) -> None:
    assert (await kick_off(site, **{"Content-Type": kind})).status == 202


async def test_prefer_may_be_missing_but_not_say_the_opposite(site: Site) -> None:
    answer = await site.post(
        "/fhir/$import", data=json.dumps(SEED), headers={**token(site), "Content-Type": "application/json"}
    )
    assert answer.status == 202
    answer = await kick_off(site, Prefer="respond-sync")
    assert answer.status == 400
    assert len(commands(site)) == 1


async def test_a_server_that_is_not_registered_is_refused_and_nothing_is_recorded(site: Site) -> None:
    body = {"resourceType": "Parameters", "parameter": [{"name": "exportUrl", "valueUrl": "https://x.test/"}]}
    answer = await kick_off(site, body=body)
    shown = await answer.json(content_type="application/fhir+json")
    assert (answer.status, shown["issue"][0]["code"]) == (400, "not-supported")
    assert "registered" in shown["issue"][0]["details"]["text"]
    assert "x.test" not in json.dumps(shown)
    assert commands(site) == []


async def test_the_same_idempotency_key_is_the_same_import(site: Site) -> None:
    first = await kick_off(site, **{"Idempotency-Key": "k"})
    second = await kick_off(site, **{"Idempotency-Key": "k"})
    assert first.headers["Content-Location"] == second.headers["Content-Location"]
    assert len(commands(site)) == 1
    body = {"resourceType": "Parameters", "parameter": SEED["parameter"][:1]}
    assert (await kick_off(site, body=body, **{"Idempotency-Key": "k"})).status == 422


async def test_a_poll_right_after_the_kick_off_is_answered(site: Site) -> None:
    job = await begun(site)
    answer = await site.get(f"/4_0_1/bulkstatus/{job}", headers=token(site))
    assert answer.status == 202
    assert answer.headers["X-Progress"] == '"Retrieving export files"'
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("fields", "progress"),
    [
        ({"progress": 45}, '"Retrieving export files" (45% at the source)'),
        ({"files": 4, "settled": 1}, "25%"),
        ({"files": 4, "settled": 1, "lines": 50, "expected": 80}, "62%"),
        ({"files": 4, "settled": 4, "lines": 80, "expected": 80}, "99%"),
    ],
)
async def test_progress_is_of_resources_else_of_files(
    site: Site, fields: dict[str, Any], progress: str
) -> None:
    job = await begun(site)
    site.pulls.add(job, **fields)
    answer = await site.get(f"/fhir/bulkstatus/{job}", headers=token(site))
    assert (answer.status, answer.headers["X-Progress"]) == (202, progress)


async def test_an_old_import_is_polled_no_more_often_than_every_two_minutes(site: Site) -> None:
    job = await begun(site)
    site.pulls.add(job, submitted_at=datetime.fromtimestamp(site.now.at - 86_400, UTC))
    answer = await site.get(f"/fhir/bulkstatus/{job}", headers=token(site))
    assert answer.headers["Retry-After"] == "120"


async def test_an_import_that_ended_says_what_became_of_it(site: Site) -> None:
    job = await begun(site)
    site.pulls.add(
        job,
        FILE,
        replace(FILE, item=1, failed="file_not_found", failed_status=404, read=0, invalid=0, listed=0),
        files=2,
        outcome="completed",
        finished_at=ENDED,
        problems=2,
        source_time=ENDED - timedelta(hours=1),
    )
    site.pulls.bad[job, 0] = [BadLine(3, "not_json")]
    answer = await site.get(f"/4_0_1/bulkstatus/{job}", headers=token(site))
    at = f"{AUDIENCE}/4_0_1/{job}"
    assert answer.status == 200
    assert await answer.json() == {
        "transactionTime": "2026-01-02T03:04:05.678Z",
        "requiresAccessToken": True,
        "outcome": [{"type": "OperationOutcome", "url": f"{at}/info_file_1.ndjson"}],
        "output": [{"type": "OperationOutcome", "url": f"{at}/info_file_1.ndjson", "count": 3}],
        "error": [{"type": "OperationOutcome", "url": f"{at}/errors_file_1.ndjson", "count": 2}],
        "extension": {"sourceTransactionTime": "2026-01-02T02:04:05.678Z"},
    }
    told = await lines(site, f"/4_0_1/{job}/info_file_1.ndjson")
    assert [each["severity"] for each in told] == ["warning", "error", "warning"]
    wrong = await lines(site, f"/4_0_1/{job}/errors_file_1.ndjson")
    first, second = (each["details"]["text"] for each in wrong)
    assert first == "Patient file 1, line 3: not loaded, it is not JSON."
    assert second.startswith("Patient file 2: The source does not have the file.")
    assert second.endswith("The source answered 404.")


async def test_resources_that_came_without_an_id_are_told_of(site: Site) -> None:
    job = await begun(site)
    file = replace(FILE, invalid=0, listed=0, nameless=2)
    site.pulls.add(job, file, files=1, outcome="completed", finished_at=ENDED, source_time=ENDED)
    told, *_ = await lines(site, f"/4_0_1/{job}/info_file_1.ndjson")
    assert told["details"]["text"].endswith(", 0 not sound. 2 without an id were given one.")


async def lines(site: Site, path: str) -> list[dict[str, Any]]:
    answer = await site.get(path, headers=token(site))
    assert answer.status == 200
    assert answer.content_type == "application/fhir+ndjson"
    text = await answer.read()
    assert text.endswith(b"\n")
    found = [json.loads(line) for line in text.splitlines()]
    assert {each["resourceType"] for each in found} == {"OperationOutcome"}
    return [each["issue"][0] for each in found]


async def test_an_import_of_nothing_says_so(site: Site) -> None:
    job = await begun(site)
    site.pulls.add(job, files=0, outcome="completed", finished_at=ENDED)
    assert (await (await site.get(f"/fhir/bulkstatus/{job}", headers=token(site))).json())["error"] == []
    (told,) = await lines(site, f"/fhir/{job}/info_file_1.ndjson")
    assert "no files" in told["details"]["text"]
    answer = await site.get(f"/fhir/{job}/errors_file_1.ndjson", headers=token(site))
    assert answer.status == 404


async def test_an_import_that_could_not_be_kicked_off_is_told_with_its_reason(site: Site) -> None:
    job = await begun(site)
    site.pulls.add(job, outcome="failed", finished_at=ENDED, failed="export_not_started", failed_status=200)
    answer = await site.get(f"/fhir/bulkstatus/{job}", headers=token(site))
    text = (await answer.json(content_type="application/fhir+json"))["issue"][0]["details"]["text"]
    assert answer.status == 500
    assert "did not begin the export" in text
    assert "answered 200" in text


async def test_delete_cancels_and_afterwards_there_is_nothing(site: Site) -> None:
    job = await begun(site)
    answer = await site.call("DELETE", f"/4_0_1/bulkstatus/{job}", headers=token(site))
    assert answer.status == 202
    assert commands(site)[-1] == CancelBulkImport(job=job)
    for method in ("GET", "DELETE"):
        answer = await site.call(method, f"/4_0_1/bulkstatus/{job}", headers=token(site))
        assert answer.status == 404


@pytest.mark.parametrize("who", [{"subject": "bob"}, {"client": "other"}])
@pytest.mark.parametrize(
    "path",
    ["bulkstatus/{}", "bulkstatus/{}/bundles", "{}/info_file_1.ndjson", "{}/errors_file_1.ndjson"],
)
async def test_strangers_are_told_the_same_as_about_what_never_was(
    site: Site, path: str, who: dict[str, str]
) -> None:
    job = await begun(site)
    site.pulls.add(job, FILE, files=1, outcome="completed", finished_at=ENDED, problems=1)
    never = "019c2b5a-5f4e-8123-8456-0123456789ab"
    answers = []
    for name in (job, never, "x"):
        answer = await site.get(f"/fhir/{path.format(name)}", headers=token(site, **who))
        answers.append((answer.status, await answer.read(), answer.headers.get("Cache-Control")))
    assert answers[0][0] == 404
    assert answers[0] == answers[1] == answers[2]
    assert (await site.get(f"/fhir/{path.format(job)}", headers=token(site))).status == 200


async def test_without_the_scope_nothing_can_be_imported(site: Site) -> None:
    answer = await site.post(
        "/fhir/$import",
        data=json.dumps(SEED),
        headers={**HEADERS, **token(site, scopes="system/*.cruds files/write")},
    )
    assert answer.status == 403
    assert commands(site) == []
