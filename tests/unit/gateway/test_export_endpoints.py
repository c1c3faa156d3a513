"""Bulk export over HTTP: accepting, polling, manifests, deleting; what whoever may not know is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice_contracts import wire
from sluice_contracts.commands import CancelBulkExport, ExpireJob, StartBulkExport
from sluice_contracts.events import JobKind
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest, FileKind, TypeFilter
from sluice_contracts.ids import job_id
from sluice_contracts.topics import JOBS_BULK_EXPORT, JOBS_EXPIRE
from sluice_gateway.fhir.pacing import EARLY
from sluice_storage.access.model import GranteeKind
from support.gateway_memory import Site, memory_gateway

SCOPES = "system/*.rs"
GONE = {
    "severity": "error",
    "code": "forbidden",
    "details": {"text": "The queried request is not available."},
    "diagnostics": "The queried request is not available.",
}


@asynccontextmanager
async def granted(folder: Path, **settings: Any) -> AsyncIterator[Site]:
    async with memory_gateway(files=folder, **settings) as found:
        found.bulk.grants.give("ann")
        found.bulk.groups.rows["g"] = {"a", "b"}
        found.bulk.lookup.patients = {"a", "b", "c"}
        yield found


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with granted(tmp_path) as found:
        yield found


def headers(site: Site, scopes: str = SCOPES, **more: Any) -> dict[str, str]:
    return {**site.bearer(scopes=scopes), **more}


def started(site: Site) -> list[Any]:
    decoder: wire.Decoder[Any] = wire.Decoder(JOBS_BULK_EXPORT.messages)
    return [decoder.decode(record.value or b"") for record in site.broker.records(JOBS_BULK_EXPORT.name)]


async def issue(answer: Any) -> dict[str, Any]:
    assert answer.content_type == "application/fhir+json"
    (found,) = (await answer.json(content_type=None))["issue"]
    return dict(found)


def new_job(site: Site, owner: str = "portal/ann", nonce: int = 77) -> str:
    return job_id(site.id_keys(JobKind.BULK_EXPORT), owner, site.now.at, nonce)


async def kick_off(site: Site, path: str = "/fhir/$export", **more: str) -> str:
    answer = await site.get(path, headers=headers(site, **more))
    assert answer.status == 202, await answer.text()
    assert await answer.read() == b""
    location = answer.headers["Content-Location"]
    base, _, job = location.rpartition("/")
    assert base == f"{site.gateway.hrefs.base}/fhir/exports"
    return job


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/fhir/$export", ExportLevel.SYSTEM),
        ("/fhir/%24export", ExportLevel.SYSTEM),
        ("/fhir/Patient/$export", ExportLevel.PATIENT),
        ("/fhir/Group/g/$export", ExportLevel.GROUP),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_kick_off_is_accepted_when_its_record_is_on_the_log(
    site: Site, path: str, level: ExportLevel, method: str
) -> None:
    answer = await site.call(method, f"{path}?_type=Patient", headers=headers(site))
    assert answer.status == 202
    (command,) = started(site)
    assert isinstance(command, StartBulkExport)
    assert answer.headers["Content-Location"].endswith(command.job)
    assert (command.client, command.subject) == ("portal", "ann")
    assert (command.request.level, command.request.types) == (level, ("Patient",))
    assert command.request.url == site.gateway.hrefs(f"{path}?_type=Patient".replace("%24", "$"))
    assert command.access.types == ("Patient",)
    poll = await site.get(f"/fhir/exports/{command.job}", headers=headers(site))
    assert (poll.status, poll.headers["X-Progress"], await poll.read()) == (202, "scheduled", b"")


@pytest.mark.parametrize("media", ["application/fhir+json", "application/json"])
async def test_a_kick_off_by_parameters_is_read_in_either_media_type(site: Site, media: str) -> None:
    body = b'{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"}]}'
    sent = headers(site, **{"Content-Type": media})
    assert (await site.post("/fhir/$export", data=body, headers=sent)).status == 202
    assert started(site)[0].request.url == site.gateway.hrefs("/fhir/$export")
    sent["Content-Type"] = "application/fhir+xml"
    answer = await site.post("/fhir/$export", data=body, headers=sent)
    assert (answer.status, (await issue(answer))["code"]) == (415, "not-supported")


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("Accept", "application/fhir+json", 202),
        ("Accept", "application/json;q=0.5, text/html", 202),
        ("Accept", "*/*", 202),
        ("Accept", "application/fhir+ndjson", 406),
        ("Accept", "application/fhir+xml", 406),
        ("Accept", "application/fhir+json;q=0", 406),
        ("Prefer", "respond-async", 202),
        ("Prefer", "respond-async, handling=lenient", 202),
        ("Prefer", "handling=strict; x=1", 202),
        ("Prefer", "something-else=1", 202),
        ("Prefer", "respond-sync", 400),
        ("Prefer", "respond-async=false", 400),
        ("Prefer", "handling=lenient, handling=strict", 400),
    ],
)
async def test_headers_are_assumed_when_missing_and_refused_when_they_contradict(
    site: Site, field: str, value: str, status: int
) -> None:
    answer = await site.get("/fhir/$export", headers=headers(site, **{field: value}))
    assert answer.status == status


async def test_a_format_that_is_not_json_is_refused(site: Site) -> None:
    assert (await site.get("/fhir/$export?_format=json", headers=headers(site))).status == 202
    assert (await site.get("/fhir/$export?_format=xml", headers=headers(site))).status == 406


async def test_an_unknown_parameter_is_refused_or_leniently_handed_on(site: Site) -> None:
    answer = await site.get("/fhir/$export?_tpye=Patient", headers=headers(site))
    assert (answer.status, (await issue(answer))["expression"]) == (400, ["http._tpye"])
    assert started(site) == []
    await kick_off(site, "/fhir/$export?_tpye=Patient", Prefer="respond-async, handling=lenient")
    assert [each.name for each in started(site)[0].request.ignored] == ["_tpye"]


async def test_types_beyond_the_scopes_are_refused_by_name(site: Site) -> None:
    sent = headers(site, "system/Patient.rs")
    answer = await site.get("/fhir/$export?_type=Patient,Observation,Condition", headers=sent)
    assert answer.status == 403
    assert "Condition, Observation" in (await issue(answer))["diagnostics"]
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    await site.get("/fhir/$export", headers=sent)
    assert started(site)[0].access.types == ("Patient",)


@pytest.mark.parametrize(
    "query",
    [
        "includeAssociatedData=LatestProvenanceResources",
        "_type=Patient&includeAssociatedData=RelevantProvenanceResources",
        "_typeFilter=Provenance%3Frecorded%3Dgt2026",
    ],
)
async def test_what_is_named_without_being_a_type_is_asked_for_as_types_are(site: Site, query: str) -> None:
    answer = await site.get(f"/fhir/$export?{query}", headers=headers(site, "system/Patient.rs"))
    assert (answer.status, "Provenance" in (await issue(answer))["diagnostics"]) == (403, True)
    site.bulk.grants.rows.clear()
    site.bulk.grants.give("ann", types=("Patient",))
    answer = await site.get(f"/fhir/$export?{query}", headers=headers(site))
    assert (answer.status, "Provenance" in (await issue(answer))["diagnostics"]) == (403, True)
    assert started(site) == []
    site.bulk.grants.give("ann", types=("Provenance",))
    await kick_off(site, f"/fhir/$export?{query}")
    assert set(started(site)[0].access.types or ()) == {"Patient", "Provenance"}


@pytest.mark.parametrize("scopes", ["bulk/import", "system/Patient.r", "system/Patient.s", "patient/*.rs"])
async def test_scopes_that_permit_no_type_are_refused(site: Site, scopes: str) -> None:
    answer = await site.get("/fhir/$export", headers=headers(site, scopes))
    assert (answer.status, (await issue(answer))["code"]) == (403, "forbidden")


async def test_scopes_with_a_search_limit_what_is_exported(site: Site) -> None:
    await site.get("/fhir/$export", headers=headers(site, "system/Observation.rs?category=laboratory"))
    assert started(site)[0].access.limits == (TypeFilter(type="Observation", query="category=laboratory"),)


async def test_a_group_without_a_grant_is_as_one_that_is_not_there(site: Site) -> None:
    site.bulk.grants.rows.clear()
    site.bulk.grants.give("ann", group="mine")
    site.bulk.groups.rows["mine"] = {"a"}
    told = []
    for group in ("g", "nothing"):
        answer = await site.get(f"/fhir/Group/{group}/$export", headers=headers(site))
        told.append((answer.status, await issue(answer)))
    assert told[0] == told[1]
    assert told[0][0] == 404
    await kick_off(site, "/fhir/Group/mine/$export")
    site.bulk.grants.give("ann", group="gone")
    assert (await site.get("/fhir/Group/gone/$export", headers=headers(site))).status == 404


async def test_without_a_grant_there_is_nothing_to_export(site: Site) -> None:
    site.bulk.grants.rows.clear()
    answer = await site.get("/fhir/$export", headers=headers(site))
    assert (answer.status, (await issue(answer))["code"]) == (403, "forbidden")


async def test_types_beyond_the_grants_are_refused_by_name(site: Site) -> None:
    site.bulk.grants.rows.clear()
    site.bulk.grants.give("portal", GranteeKind.CLIENT, types=("Patient",))
    sent = {**site.bearer(scopes=SCOPES, subject="portal")}
    answer = await site.get("/fhir/$export?_type=Patient,Observation", headers=sent)
    assert (answer.status, "Observation" in (await issue(answer))["diagnostics"]) == (403, True)


def naming(*patients: str) -> dict[str, Any]:
    values = [{"name": "patient", "valueReference": {"reference": f"Patient/{name}"}} for name in patients]
    return {"resourceType": "Parameters", "parameter": values}


async def test_patients_whom_the_export_could_not_hold_are_refused_without_a_name(site: Site) -> None:
    for path, patients, status in [
        ("/fhir/Group/g/$export", ("a", "b"), 202),
        ("/fhir/Group/g/$export", ("a", "c"), 400),
        ("/fhir/Patient/$export", ("a", "c"), 202),
        ("/fhir/Patient/$export", ("a", "nobody-at-all"), 400),
    ]:
        answer = await site.post(path, json=naming(*patients), headers=headers(site))
        assert answer.status == status
        assert "nobody" not in await answer.text()


async def test_at_the_patient_level_only_granted_groups_patients_are_there(site: Site) -> None:
    site.bulk.grants.rows.clear()
    site.bulk.grants.give("ann", group="g")
    told = []
    for name in ("c", "unknown"):
        answer = await site.post("/fhir/Patient/$export", json=naming(name), headers=headers(site))
        told.append((answer.status, await issue(answer)))
    assert told[0] == told[1]
    assert told[0][0] == 400


async def test_the_same_export_again_is_refused_only_where_operators_say_so(tmp_path: Path) -> None:
    async with granted(tmp_path) as site:
        await kick_off(site, "/fhir/$export?_type=Patient")
        await kick_off(site, "/fhir/$export?_type=Patient")
    async with granted(tmp_path, export_refuse_duplicates=True) as site:
        job = await kick_off(site, "/fhir/$export?_type=Patient,Observation")
        again = await site.get("/fhir/$export?_type=Observation&_type=Patient", headers=headers(site))
        assert (again.status, (await issue(again))["code"]) == (409, "duplicate")
        assert again.headers["Content-Location"].endswith(job)
        await kick_off(site, "/fhir/$export?_type=Patient")
        assert (await site.call("DELETE", f"/fhir/exports/{job}", headers=headers(site))).status == 202
        await kick_off(site, "/fhir/$export?_type=Patient,Observation")


async def test_too_many_running_exports_are_refused_with_a_time_to_wait(tmp_path: Path) -> None:
    async with granted(tmp_path, export_running=2) as site:
        job = await kick_off(site)
        await kick_off(site)
        answer = await site.get("/fhir/$export", headers=headers(site))
        assert (answer.status, (await issue(answer))["code"]) == (429, "throttled")
        assert 0 < int(answer.headers["Retry-After"]) < 3600
        site.bulk.exports.add(job)
        site.bulk.exports.end(job, datetime.now(UTC))
        await kick_off(site)


async def test_a_kick_off_under_a_key_is_one_export(site: Site) -> None:
    jobs = {await kick_off(site, "/fhir/$export?_type=Patient", **{"Idempotency-Key": "k"}) for _ in range(3)}
    assert len(jobs) == 1
    sent = headers(site, **{"Idempotency-Key": "k"})
    assert (await site.get("/fhir/$export?_type=Observation", headers=sent)).status == 422


async def test_kick_offs_count_against_the_quota(tmp_path: Path) -> None:
    async with granted(tmp_path, bulk_limit=2) as site:
        await kick_off(site)
        assert (await site.get("/fhir/$export?x=1", headers=headers(site))).status == 400
        answer = await site.get("/fhir/$export", headers=headers(site))
        assert (answer.status, (await issue(answer))["code"]) == (429, "throttled")


async def test_while_it_runs_a_poll_tells_how_far_it_is(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job, parts=3, sealed=1, submitted_at=datetime.fromtimestamp(site.now.at, UTC))
    answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
    assert (answer.status, answer.headers["X-Progress"], answer.headers["Retry-After"]) == (
        202,
        "started 33%",
        "1",
    )
    assert await answer.read() == b""


async def test_while_it_runs_a_poll_tells_how_long_it_will_take_if_that_is_known(site: Site) -> None:
    job, other = new_job(site), new_job(site, nonce=78)
    for each in (job, other):
        submitted = datetime.fromtimestamp(site.now.at, UTC)
        site.bulk.exports.add(each, parts=3, sealed=1, submitted_at=submitted)
    site.ends[job] = site.now.at + 200
    # The first poll has it asked for, and does not wait.
    told = [
        (await site.get(f"/fhir/exports/{each}", headers=headers(site))).headers["X-Progress"]
        for each in (job, other, job, other)
    ]
    assert told == ["started 33%", "started 33%", "started 33%, about 3 min left", "started 33%"]


async def test_an_older_export_is_polled_less_often_within_what_operators_set(tmp_path: Path) -> None:
    async with granted(tmp_path, export_retry_after=60) as site:
        job = new_job(site)
        site.bulk.exports.add(job, submitted_at=datetime.fromtimestamp(site.now.at - 200, UTC))
        assert (await site.get(f"/fhir/exports/{job}", headers=headers(site))).headers["Retry-After"] == "20"
        old = new_job(site, nonce=78)
        site.bulk.exports.add(old, submitted_at=datetime.fromtimestamp(site.now.at - 9999, UTC))
        assert (await site.get(f"/fhir/exports/{old}", headers=headers(site))).headers["Retry-After"] == "60"


# An export so old that it is to be polled once a minute: no machine is so slow that a poll is not too early.
UNHURRIED: dict[str, Any] = {"export_retry_after": 60}
OLD = 9999


async def test_the_dialect_of_milliseconds_changes_the_header_of_a_202_only(tmp_path: Path) -> None:
    async with granted(
        tmp_path, export_retry_after_milliseconds=True, **UNHURRIED, export_early_polls=0
    ) as site:
        job = await kick_off(site)
        site.now.at += OLD
        answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
        assert answer.headers["Retry-After"] == "60000"
        answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60


def early_polls() -> float:
    return next(iter(EARLY.collect())).samples[0].value


async def test_polling_too_fast_is_counted_and_then_refused_in_seconds(tmp_path: Path) -> None:
    async with granted(tmp_path, **UNHURRIED, export_early_polls=3) as site:
        job = await kick_off(site)
        site.now.at += OLD
        early = early_polls()
        statuses = [(await site.get(f"/fhir/exports/{job}", headers=headers(site))).status for _ in range(5)]
        assert statuses == [202, 202, 202, 202, 429]
        assert early_polls() == early + 4
        asked = site.bulk.exports.asked
        answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
        assert (await issue(answer))["code"] == "throttled"
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        assert site.bulk.exports.asked == asked


async def test_a_manifest_lists_files_by_kind_with_sizes_and_hashes(site: Site) -> None:
    job = new_job(site)
    request = ExportRequest(level=ExportLevel.SYSTEM, url="https://x.test/fhir/$export?_type=Patient")
    site.bulk.exports.add(job, request=request)
    output = site.bulk.seal(job, b"{}\n{}\n")
    site.bulk.seal(job, b"{}\n", part=1, type_="Bundle", kind=FileKind.DELETED)
    site.bulk.seal(job, b"{}\n", part=2, type_="OperationOutcome", kind=FileKind.ERROR)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.headers["Expires"] == "Mon, 28 Sep 2026 14:13:20 GMT"
    shown = await answer.json()
    base = site.gateway.hrefs(f"/fhir/exports/{job}/files")
    assert shown["output"] == [
        {
            "type": "Patient",
            "url": f"{base}/0.0.Patient.ndjson",
            "count": 2,
            "extension": {"size": 6, "sha256": output.sha256.hex()},
        }
    ]
    assert [item["url"] for item in shown["deleted"]] == [f"{base}/1.0.Bundle.deleted.ndjson"]
    assert [item["url"] for item in shown["error"]] == [f"{base}/2.0.OperationOutcome.error.ndjson"]
    assert {key: value for key, value in shown.items() if not isinstance(value, list)} == {
        "transactionTime": "2026-01-02T00:00:00.000Z",
        "request": "https://x.test/fhir/$export?_type=Patient",
        "requiresAccessToken": True,
    }


async def test_an_export_of_nothing_has_empty_lists(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job, parts=0)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    shown = await (await site.get(f"/fhir/exports/{job}", headers=headers(site))).json()
    assert (shown["output"], shown["deleted"], shown["error"]) == ([], [], [])


async def test_files_of_blocks_have_no_type_and_say_where_they_go_on(site: Site) -> None:
    job = new_job(site)
    request = ExportRequest(level=ExportLevel.SYSTEM, organize_by="Patient")
    site.bulk.exports.add(job, request=request)
    site.bulk.seal(job, b"{}\n", type_=None, continues=True)
    site.bulk.seal(job, b"{}\n", n=1, type_=None)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    shown = await (await site.get(f"/fhir/exports/{job}", headers=headers(site))).json()
    assert shown["outputOrganizedBy"] == "Patient"
    first, second = shown["output"]
    assert first["continuesInFile"] == second["url"]
    assert "type" not in first
    assert "continuesInFile" not in second


async def test_a_failed_export_is_an_outcome(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC), "failed")
    answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
    assert (answer.status, (await issue(answer))["code"]) == (500, "exception")


async def test_a_poll_that_fails_while_the_export_goes_on_says_that_it_may_be_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await kick_off(site)

    async def away(_job: str) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr(site.bulk.exports, "get", away)
        answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
        assert (answer.status, (await issue(answer))["code"]) == (503, "transient")
        assert 0 < int(answer.headers["Retry-After"]) < 3600
    assert (await site.get(f"/fhir/exports/{job}", headers=headers(site))).status == 202


async def pages(site: Site, job: str) -> list[tuple[int, Any]]:
    """Follow an export's manifest as far as it is told."""
    found = []
    path = f"/fhir/exports/{job}"
    while True:
        answer = await site.get(path, headers=headers(site))
        body = await answer.read()
        shown = await answer.json() if body else None
        found.append((answer.status, shown))
        links = shown.get("link") if shown is not None else None
        if not links:
            return found
        assert [link["relation"] for link in links] == ["next"]
        path = "/fhir" + links[0]["url"].partition("/fhir")[2]


async def test_pages_of_a_growing_manifest_never_change(site: Site) -> None:
    job = new_job(site)
    request = ExportRequest(level=ExportLevel.SYSTEM, allow_partial=True)
    seen: list[Any] = []
    for sealed in range(121):
        site.bulk.exports.add(job, request=request, parts=120, sealed=sealed)
        if sealed:
            # Parts are sealed in another order than they are numbered.
            site.bulk.seal(job, b"{}\n" * sealed, part=120 - sealed, place=sealed - 1)
        if sealed == 120:
            site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
        if sealed % 17 and sealed < 119:
            continue
        told = await pages(site, job)
        whole = [body for _, body in told if body is not None]
        assert whole[: len(seen)] == seen
        seen = whole
        assert {status for status, _ in told} == {200 if sealed == 120 else 202}
    files = [item["url"] for body in seen for item in body["output"]]
    assert len(files) == len(set(files)) == 120
    fixed = [
        {name: body[name] for name in body if name not in ("output", "deleted", "link")} for body in seen
    ]
    assert all(each == fixed[0] for each in fixed)
    assert len(seen) == 40


async def test_a_page_that_no_manifest_tells_of_is_not_there(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job, request=ExportRequest(level=ExportLevel.SYSTEM, allow_partial=True), parts=2)
    for page, status in (("1", 202), ("2", 404), ("999999999", 404), ("-1", 400), ("x", 400)):
        answer = await site.get(f"/fhir/exports/{job}?page={page}", headers=headers(site))
        assert answer.status == status
    site.bulk.exports.add(job, parts=2)
    assert (await site.get(f"/fhir/exports/{job}?page=1", headers=headers(site))).status == 404


async def test_without_partial_manifests_nothing_is_listed_before_the_end(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job, parts=2, sealed=2)
    site.bulk.seal(job, b"{}\n")
    answer = await site.get(f"/fhir/exports/{job}", headers=headers(site))
    assert (answer.status, await answer.read()) == (202, b"")
    assert answer.headers["X-Progress"] == "started 99%"


async def told_of(site: Site, job: str, sent: dict[str, str]) -> list[Any]:
    """Ask everything about an export, and give all that is told but what differs in any two answers."""
    found = []
    for method, path in (
        ("GET", f"/fhir/exports/{job}"),
        ("GET", f"/fhir/exports/{job}/files/0.0.Patient.ndjson"),
        ("DELETE", f"/fhir/exports/{job}"),
    ):
        answer = await site.call(method, path, headers=sent)
        body = await answer.json(content_type=None)
        names = sorted(name for name in answer.headers if name not in ("Date", "X-Request-ID"))
        found.append((answer.status, body, names))
    return found


async def test_whoever_an_export_is_not_there_for_is_told_the_same(site: Site) -> None:
    """Foreign subjects and clients, unknown, malformed, deleted, cancelled, expired, an import's id."""
    now = datetime.fromtimestamp(site.now.at, UTC)
    jobs = [new_job(site, nonce=n) for n in range(6)]
    finished, deleted, cancelled, gone, expired, _ = jobs
    for job in jobs[:5]:
        site.bulk.exports.add(job)
        site.bulk.seal(job, b"{}\n")
    site.bulk.exports.end(finished, now)
    site.bulk.exports.end(expired, datetime.fromtimestamp(site.now.at - 7 * 86_400, UTC))
    site.bulk.exports.end(cancelled, now, "cancelled")
    site.bulk.exports.add(gone, gone=True)
    assert (await site.call("DELETE", f"/fhir/exports/{deleted}", headers=headers(site))).status == 202
    own = headers(site)
    cases = [
        (finished, headers_of(site, subject="bob")),
        (finished, headers_of(site, client="other")),
        (finished, headers_of(site, client="ann", subject="portal")),
        (new_job(site, "portal/bob", 9), own),
        (new_job(site, nonce=1)[:-1] + "f", own),
        ("018f0000-0000-8000-8000-000000000000", own),
        ("nothing", own),
        (finished.upper(), own),
        (job_id(site.id_keys(), "portal/ann", site.now.at, 5), own),
        (deleted, own),
        (cancelled, own),
        (gone, own),
        (expired, own),
    ]
    answers = [await told_of(site, job, sent) for job, sent in cases]
    assert all(answer == answers[0] for answer in answers)
    assert {(status, body["issue"][0]["code"]) for status, body, _ in answers[0]} == {(404, "forbidden")}
    assert answers[0][0][1]["issue"] == [GONE]
    assert (await site.get(f"/fhir/exports/{finished}", headers=own)).status == 200


def headers_of(site: Site, client: str = "portal", subject: str = "ann") -> dict[str, str]:
    return dict(site.bearer(scopes=SCOPES, client=client, subject=subject))


async def test_an_export_is_its_owners_to_read_while_they_are_granted_all_it_may_hold(site: Site) -> None:
    job = new_job(site)
    site.bulk.exports.add(job)
    row = site.bulk.seal(job, b"{}\n")
    own = headers(site)
    paths = (f"/fhir/exports/{job}", f"/fhir/exports/{job}/files/{row.name}")

    async def statuses(running: int, file: int) -> None:
        found = [await site.get(path, headers=own) for path in paths]
        assert [answer.status for answer in found] == [running, file]
        assert all([await issue(answer) == GONE for answer in found if answer.status == 404])

    await statuses(202, 200)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    await statuses(200, 200)
    for left in ([], [{"types": ("Patient",)}], [{"group": "g"}]):
        site.bulk.grants.rows.clear()
        for grant in left:
            site.bulk.grants.give("ann", **grant)
        await statuses(404, 404)
    site.bulk.grants.give("ann", types=("Patient", "Observation"))
    await statuses(200, 200)
    site.bulk.grants.rows.clear()
    assert (await site.call("DELETE", paths[0], headers=own)).status == 202
    assert site.bulk.exports.withdrawn == {job}


async def test_an_export_that_nobody_has_heard_of_is_there_while_its_command_is_kept(site: Site) -> None:
    job = await kick_off(site)
    assert JOBS_BULK_EXPORT.retention is not None
    site.now.at += JOBS_BULK_EXPORT.retention.total_seconds() - 10
    assert (await site.get(f"/fhir/exports/{job}", headers=headers(site))).status == 202
    site.now.at += 20
    assert (await site.get(f"/fhir/exports/{job}", headers=headers(site))).status == 404


async def test_a_deleted_export_is_withdrawn_cancelled_if_it_runs_and_expired(site: Site) -> None:
    running, ended = await kick_off(site), await kick_off(site)
    site.bulk.exports.add(ended)
    site.bulk.exports.end(ended, datetime.fromtimestamp(site.now.at, UTC))
    for job in (running, ended):
        answer = await site.call("DELETE", f"/fhir/exports/{job}", headers=headers(site))
        assert (answer.status, await answer.read()) == (202, b"")
        again = await site.call("DELETE", f"/fhir/exports/{job}", headers=headers(site))
        assert (again.status, await issue(again)) == (404, GONE)
    cancelled = [command.job for command in started(site) if isinstance(command, CancelBulkExport)]
    assert cancelled == [running]
    decoder: wire.Decoder[ExpireJob] = wire.Decoder(JOBS_EXPIRE.messages)
    records = site.broker.records(JOBS_EXPIRE.name)
    assert {decoder.decode(record.value or b"").job for record in records} == {running, ended}


@pytest.mark.parametrize(
    ("access", "scopes", "status"),
    [
        (("Patient",), "system/Patient.rs", 200),
        (("Patient",), "user/Patient.read", 200),
        (("Patient", "Observation"), "system/Patient.rs", 403),
        (("Patient",), "system/Patient.rs?gender=male", 403),
        (("Patient",), "bulk/import", 403),
    ],
)
async def test_a_token_covers_all_that_is_exported_or_sees_nothing_of_it(
    site: Site, access: tuple[str, ...], scopes: str, status: int
) -> None:
    job = new_job(site)
    site.bulk.exports.add(job, access=ExportAccess(all_patients=True, types=access))
    site.bulk.seal(job, b"{}\n")
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    for path in (f"/fhir/exports/{job}", f"/fhir/exports/{job}/files/0.0.Patient.ndjson"):
        assert (await site.get(path, headers=headers(site, scopes))).status == status


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ("system/Patient.rs?gender=male", 200),
        ("system/Patient.rs", 200),
        ("system/Patient.rs?gender=female", 403),
        ("system/Patient.rs?active=true&gender=male", 403),
    ],
)
async def test_a_limited_export_is_covered_by_scopes_that_are_no_narrower(
    site: Site, scopes: str, status: int
) -> None:
    job = new_job(site)
    limits = (TypeFilter(type="Patient", query="gender=male"),)
    site.bulk.exports.add(job, access=ExportAccess(all_patients=True, types=("Patient",), limits=limits))
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    assert (await site.get(f"/fhir/exports/{job}", headers=headers(site, scopes))).status == status


async def test_the_token_comes_in_the_standard_header_only(site: Site) -> None:
    token = site.authority.mint(scopes=SCOPES, client="portal", subject="ann")
    answer = await site.get("/fhir/$export", headers={"X-SBG-Auth-Token": token})
    assert (answer.status, (await issue(answer))["code"]) == (401, "login")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
