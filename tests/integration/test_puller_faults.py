"""Sources that do everything wrong: each job ends, with the reason, and keeps what was sound."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.events import FileLoaded, ItemFailed, ItemRetrying, JobFinished, JobOutcome
from support.odd_resources import LINES, REFUSED
from support.pulling import STATUS, PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database
from support.streams import until

OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"%b"}]}'
Answer = tuple[int, bytes, dict[str, str]]


@pytest.fixture
async def site(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        yield found


def patient(id_: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, **more}


@pytest.mark.parametrize(
    ("status", "body", "headers", "failure"),
    [
        (200, b"{}", {}, ("export_not_started", 200)),
        (202, b"", {}, ("export_not_started", 202)),
        (202, b"", {"Content-Location": "http://["}, ("export_not_started", 202)),
        (202, b"", {"Content-Location": "http://127.0.0.1:9/fhir/x"}, ("source_address_refused", None)),
        (202, b"", {"Content-Location": "http://169.254.169.254/x"}, ("source_address_refused", None)),
        (302, b"", {"Location": "http://127.0.0.1:9/x"}, ("source_address_refused", 302)),
        (400, b"", {}, ("source_rejected", 400)),
        (401, b"", {}, ("source_refused", 401)),
        (403, b"", {}, ("source_refused", 403)),
        (404, b"", {}, ("export_not_started", 404)),
        (500, b"", {}, ("source_unavailable", 500)),
        (500, OUTCOME % b"processing", {}, ("export_not_started", 500)),
    ],
)
async def test_a_kick_off_that_goes_wrong_ends_the_job_with_its_reason(
    site: PullSite, status: int, body: bytes, headers: dict[str, str], failure: tuple[str, int | None]
) -> None:
    site.source.http.status("/fhir/$export", status, body, **headers)
    finished = await site.pull()
    assert (finished.outcome, finished.items) == (JobOutcome.FAILED, 1)
    assert site.failures() == {0: failure}


async def test_a_source_that_asks_to_be_left_alone_is_waited_for_and_not_struck(site: PullSite) -> None:
    asked = 0

    async def busy(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked <= 5:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return web.Response(status=202, headers={"Content-Location": "/fhir/status/1"})

    site.source.http.on("/fhir/$export", busy)
    site.source.patients("p.ndjson", "p1")
    assert (await site.pull()).outcome is JobOutcome.COMPLETED


@pytest.mark.parametrize("status", [429, 503])
async def test_a_step_that_is_put_off_until_a_date_is_taken_again_then(site: PullSite, status: int) -> None:
    asked: dict[str, int] = {}
    past = formatdate(time.time() - 3600, usegmt=True)
    site.source.busy = 0
    site.source.patients("p.ndjson", "p1")
    for path, answer in tuple(site.source.http.answers.items()):

        async def put_off(request: web.Request, answer: Any = answer) -> web.StreamResponse:
            asked[request.path] = asked.get(request.path, 0) + 1
            if asked[request.path] == 1:
                return web.Response(status=status, headers={"Retry-After": past})
            found: web.StreamResponse = await answer(request)
            return found

        site.source.http.on(path, put_off)
    assert (await site.pull(pull_delete=False)).outcome is JobOutcome.COMPLETED
    assert set(await site.stored()) == {"Patient/p1"}
    assert asked == dict.fromkeys(("/fhir/$export", STATUS, "/fhir/files/p.ndjson"), 2)


@pytest.mark.parametrize("path", ["/fhir/$export", STATUS])
async def test_a_source_that_asks_for_ever_to_be_left_alone_is_given_up(site: PullSite, path: str) -> None:
    site.source.http.status(path, 429, b"", **{"Retry-After": "0"})
    assert (await site.pull(pull_hours=0.3 / 3600)).outcome is JobOutcome.FAILED
    # The last word may also be the puller's own, which by then leaves the source alone.
    assert site.failures() in ({0: ("source_throttled", 429)}, {0: ("source_throttled", None)})


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        ((401, b"", {}), ("source_refused", 401)),
        ((404, b"", {}), ("export_gone", 404)),
        ((410, b"", {}), ("export_gone", 410)),
        ((500, OUTCOME % b"exception", {}), ("export_failed", 500)),
        ((503, OUTCOME % b"transient", {}), ("source_unavailable", 503)),
        ((502, b"<html>proxy</html>", {}), ("source_unavailable", 502)),
        ((200, b"not JSON", {}), ("bad_manifest", 200)),
        ((200, b"[]", {}), ("bad_manifest", 200)),
        ((200, b"{}", {}), ("bad_manifest", 200)),
        ((200, b'{"output":{}}', {}), ("bad_manifest", 200)),
        ((200, b'{"output":[{"type":"Patient"}]}', {}), ("bad_manifest", 200)),
        ((200, b'{"output":[{"url":"http://a@b/"}]}', {}), ("bad_manifest", 200)),
        ((200, b'{"output":[], "link":[{"relation":"next","url":"1"}]}', {}), ("bad_manifest", None)),
        ((200, b'{"output":[], "link":[{"relation":"next","url":"http://x.test/"}]}', {}), None),
        ((200, b'{"output":' + b"[" * 3000, {}), ("bad_manifest", 200)),
    ],
    ids=str,
)
async def test_a_status_that_goes_wrong_ends_the_job_with_its_reason(
    site: PullSite, answer: Answer, failure: tuple[str, int | None] | None
) -> None:
    status, body, headers = answer
    site.source.http.status(STATUS, status, body, **headers)
    assert (await site.pull()).outcome is JobOutcome.FAILED
    assert site.failures() == {0: failure or ("source_address_refused", None)}


async def test_an_export_that_never_ends_is_given_up_and_deleted_whatever_progress_it_claims(
    site: PullSite,
) -> None:
    claims = [10, 90, 30, 100]

    async def never(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            site.source.deleted += 1
            return web.Response(status=202)
        claims.append(claims.pop(0))
        return web.Response(status=202, headers={"X-Progress": f"{claims[0]}%", "Retry-After": "soon"})

    site.source.http.on(STATUS, never)
    await site.publish(site.start())
    async with site.running(pull_hours=0.5 / 3600):
        await until(lambda: bool(site.told(JobFinished)))
        await site.until_row(lambda row: row["phase"] == "done")
    assert site.failures() == {0: ("export_timeout", None)}
    assert site.source.deleted == 1


async def test_a_manifest_may_have_relative_addresses_and_further_pages(site: PullSite) -> None:
    site.source.patients("a.ndjson", "p1")
    site.source.patients("b.ndjson", "p2")
    first, second = ({"output": [{"type": "Patient", "url": f"../files/{name}.ndjson"}]} for name in "ab")
    first["link"] = [{"relation": "next", "url": "/fhir/status/page2"}]
    site.source.http.on(STATUS, json.dumps(first).encode())
    site.source.http.on("/fhir/status/page2", json.dumps(second).encode())
    assert (await site.pull()).outcome is JobOutcome.COMPLETED
    assert set(await site.stored()) == {"Patient/p1", "Patient/p2"}


async def test_each_file_ends_by_itself_and_sound_lines_are_kept(site: PullSite) -> None:
    source = site.source
    source.give("octets", lines_of(patient("octets")), headers={"Content_Type": "application/octet-stream"})
    source.give("zipped", gzip.compress(lines_of(patient("zipped"))))
    source.give("coded", gzip.compress(lines_of(patient("coded"))), headers={"Content_Encoding": "gzip"})
    source.give("bomb", gzip.compress(b" " * 50_000_000), headers={"Content_Encoding": "gzip"})
    source.give("hidden-bomb", gzip.compress(b" " * 50_000_000))
    source.give("long", lines_of(patient("long", text={"div": "x" * 12_000_000}), patient("after")))
    source.give(
        "longer", lines_of(patient("longer", text={"div": "x" * 17_000_000}), patient("after-longer"))
    )
    hundred = [b'{"resourceType":"Patient","id":"hundred","x":"', *[b"x" * 10_000_000] * 10, b'"}\n']

    async def hundred_megabytes(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (*hundred, lines_of(patient("after-hundred"))):
            await response.write(piece)
        return response

    source.http.on("/fhir/files/hundred", hundred_megabytes)
    source.list_file(f"{source.http.origin}/fhir/files/hundred")
    source.give("other", lines_of({"resourceType": "Basic", "id": "b"}, patient("beside")))
    source.give("bytes", lines_of(b'{"resourceType":"Patient","id":"u","x":"\xff"}', patient("utf8")))
    source.give("empty", b"")
    source.give("windows", b'\xef\xbb\xbf\r\n{"resourceType":"Patient","id":"crlf"}\r\n\r\n{"id":')
    source.give("page", b"<html>", headers={"Content_Type": "text/html"})
    source.give("nameless", lines_of({"resourceType": "Patient", "active": True}))
    origin = source.http.origin
    source.list_file(f"{origin}/fhir/files/missing")
    source.list_file("http://169.254.169.254/latest")
    source.list_file(f"{origin}/elsewhere")
    source.http.status("/fhir/files/refused", 403)
    source.list_file(f"{origin}/fhir/files/refused")
    finished = await site.pull(pull_line_bytes=16_000_000)
    assert finished.outcome is JobOutcome.COMPLETED
    names = [each["url"].rpartition("/")[2] for each in source.manifest["output"]]
    failed = {names[item]: failure for item, failure in site.failures().items()}
    assert failed == {
        "bomb": ("decompression_refused", 200),
        "hidden-bomb": ("decompression_refused", 200),
        "page": ("not_ndjson", 200),
        "missing": ("file_not_found", 404),
        "latest": ("source_address_refused", None),
        "elsewhere": ("source_address_refused", None),
        "refused": ("source_refused", 403),
    }
    kept = [
        "octets",
        "zipped",
        "coded",
        "long",
        "after",
        "after-longer",
        "after-hundred",
        "beside",
        "utf8",
        "crlf",
    ]
    stored = await site.stored()
    assert {f"Patient/{name}" for name in kept} < set(stored)
    assert len(stored) == len(kept) + 1
    nameless = await site.rows.fetch("SELECT item, nameless, created, read FROM pulls.files")
    named = {names[row["item"]]: tuple(row)[1:] for row in nameless}
    assert {name for name, counts in named.items() if counts[0]} == {"nameless"}
    assert named["nameless"] == (1, 1, 1)
    assert named["empty"] == (0, 0, 0)
    rows = await site.rows.fetch("SELECT item, line, code FROM pulls.issues")
    assert {(names[item], line, code) for item, line, code in rows} == {
        ("longer", 1, "too_long"),
        ("hundred", 1, "too_long"),
        ("other", 1, "wrong_type"),
        ("bytes", 1, "not_utf8"),
        ("windows", 4, "not_json"),
    }
    assert await site.rows.fetchval("SELECT count(*) FROM pulls.files WHERE url IS NOT NULL") == 0


async def test_a_file_that_keeps_ending_early_is_tried_again_and_given_up(site: PullSite) -> None:
    whole = gzip.compress(lines_of(*(patient(f"p{n}") for n in range(100))))
    site.source.give("cut", whole[:-20], headers={"Content_Encoding": "gzip"})
    site.source.patients("p.ndjson", "sound")
    finished = await site.pull()
    assert finished.outcome is JobOutcome.COMPLETED
    assert site.failures() == {0: ("file_truncated", 200)}
    assert len(site.told(ItemRetrying)) == 1
    assert "Patient/sound" in await site.stored()


async def test_a_job_none_of_whose_files_could_be_loaded_has_failed(site: PullSite) -> None:
    site.source.list_file(f"{site.source.http.origin}/fhir/files/missing")
    finished = await site.pull()
    assert (finished.outcome, finished.items, finished.failed) == (JobOutcome.FAILED, 2, 2)


async def test_duplicates_resolve_to_the_latest_and_references_may_go_anywhere(site: PullSite) -> None:
    def at(id_: str, day: int, **more: Any) -> dict[str, Any]:
        return patient(id_, meta={"lastUpdated": f"2026-01-{day:02}T00:00:00Z"}, **more)

    site.source.give("a", lines_of(at("p", 3, gender="male"), at("p", 2, gender="female"), patient("p2")))

    async def after_a(request: web.Request) -> web.Response:
        await until(lambda: 0 in site.loaded())
        return web.Response(body=lines_of(at("p", 1, gender="other"), patient("p2")))

    # Which of two files is loaded first decides which of their lines are stale.
    site.source.list_file(f"{site.source.http.origin}/fhir/files/b")
    site.source.http.on("/fhir/files/b", after_a)
    site.source.give(
        "c",
        lines_of(
            patient("x", link=[{"other": {"reference": "Patient/y"}, "type": "seealso"}]),
            patient("y", link=[{"other": {"reference": "Patient/x"}, "type": "seealso"}]),
            patient("z", generalPractitioner=[{"reference": "Practitioner/none"}]),
        ),
    )
    assert (await site.pull()).outcome is JobOutcome.COMPLETED
    stored = await site.stored()
    assert stored["Patient/p"]["gender"] == "male"
    assert set(stored) == {f"Patient/{name}" for name in ("p", "p2", "x", "y", "z")}
    assert {item: each.stale for item, each in site.loaded().items()} == {0: 1, 1: 1, 2: 0}


async def test_what_is_deleted_at_the_source_is_deleted_and_its_own_errors_are_counted(
    site: PullSite,
) -> None:
    site.source.patients("a", "p1", "p2", "p3")
    await site.pull()
    site.source.manifest["output"] = []
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"request": {"method": "DELETE", "url": "Patient/p1"}},
            {"request": {"method": "DELETE", "url": f"{site.source.http.base}/Patient/p2"}},
            {"request": {"method": "DELETE", "url": "Patient/never"}},
        ],
    }
    upsert = {**bundle, "entry": [{"request": {"method": "PUT", "url": "Patient/p3"}}]}
    site.source.give("gone", lines_of(bundle, upsert), kind="deleted", type_="Bundle")
    site.source.give(
        "wrong", lines_of(json.loads(OUTCOME % b"processing")), kind="error", type_="OperationOutcome"
    )
    finished = await site.pull()
    assert set(await site.stored()) == {"Patient/p3"}
    told = {each.item: each for each in site.told(FileLoaded) if each.job == finished.job}
    deleted, wrong = told[0], told[1]
    assert (deleted.deleted, deleted.read, deleted.invalid) == (2, 2, 1)
    assert (wrong.read, wrong.invalid) == (1, 0)
    assert site.told(ItemFailed) == []


@pytest.mark.parametrize("strict", [False, True])
async def test_resources_of_odd_shapes_are_loaded_with_all_others_and_refused_lines_told(
    site: PullSite, strict: bool
) -> None:
    site.source.patients("p.ndjson", "p")
    by_type: dict[str, list[bytes]] = {}
    for line in (*LINES, *(() if strict else REFUSED)):
        named = re.match(rb'{"resourceType":"(\w+)"', line)
        by_type.setdefault("Patient" if named is None else named[1].decode(), []).append(line)
    for type_, lines in by_type.items():
        site.source.give(f"{type_}.odd", lines_of(*lines), type_=type_)
    start = site.start()
    request = msgspec.structs.replace(start.request, strict=strict)
    finished = await site.pull(msgspec.structs.replace(start, request=request))
    assert (finished.outcome, finished.failed) == (JobOutcome.COMPLETED, 0)
    told = site.told(FileLoaded)
    assert sum(each.created for each in told) == len(LINES) + 1
    assert sum(each.invalid for each in told) == (0 if strict else len(REFUSED))
