"""`sluice pull` and `sluice submit-data` where sources or measures are wrong: a clear end, and its code."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice_contracts.errors import ERROR_TEXTS, ItemError
from support.cli import Cli
from support.gateway_real import listening_gateway
from support.hostile import HttpSource
from support.measure_http import VISITS, bundle, delete, example, put, send
from support.pulling import pull_site, pulling_services
from support.resource_store import Json, lines_of
from support.stack import Database

MEASURE = "http://example.org/sluice/Measure/emergency-visits"
SCOPES = "bulk/import ops/resources ops/measures"


@dataclass
class Place:
    """A command line that is logged in, and a source that it may pull from."""

    cli: Cli
    http: HttpSource


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    async with listening_gateway(database) as (site, url), pull_site(database) as pull:
        await send(site, "/fhir", example(VISITS))
        bare = {"resourceType": "Measure", "id": "bare", "status": "active", "url": "http://example.org/bare"}
        await send(site, "/fhir", bundle(put(bare)))

        async def discover(request: web.Request) -> web.Response:
            base = f"http://{request.host}"
            return web.json_response({"issuer": base, "token_endpoint": f"{base}/oauth/token"})

        async def token(_request: web.Request) -> web.Response:
            minted = site.authority.mint(client="ops", subject="ops", scopes=SCOPES)
            return web.json_response({"access_token": minted, "token_type": "Bearer", "expires_in": 300})

        app = web.Application()
        app.router.add_get("/.well-known/oauth-authorization-server", discover)
        app.router.add_post("/oauth/token", token)
        async with TestServer(app) as server, pulling_services(database, site.broker, pull_hours=1 / 3600):
            auth = str(server.make_url("")).rstrip("/")
            login = {"SLUICE_URL": url, "SLUICE_AUTH_URL": auth}
            login |= {"SLUICE_CLIENT_ID": "ops", "SLUICE_CLIENT_SECRET": "s"}
            yield Place(Cli(tmp_path, environment=login), pull.source.http)


EXPORTS: dict[str, tuple[int, bytes, dict[str, str], ItemError]] = {
    "answers-200": (200, b"{}", {}, ItemError.EXPORT_NOT_STARTED),
    "answers-401": (401, b"", {}, ItemError.SOURCE_REFUSED),
    "answers-500": (500, b"", {}, ItemError.SOURCE_UNAVAILABLE),
    "says-no-place": (202, b"", {}, ItemError.EXPORT_NOT_STARTED),
    "never-ends": (202, b"", {"Content-Location": "/fhir/never-ends"}, ItemError.EXPORT_TIMEOUT),
    "manifest-is-text": (202, b"", {"Content-Location": "/fhir/text"}, ItemError.BAD_MANIFEST),
    "manifest-has-no-output": (202, b"", {"Content-Location": "/fhir/object"}, ItemError.BAD_MANIFEST),
    "elsewhere": (202, b"", {"Content-Location": "http://127.0.0.1:9/x"}, ItemError.SOURCE_ADDRESS_REFUSED),
}


async def test_an_export_that_cannot_be_had_is_one_line_with_its_reason(place: Place) -> None:
    for name, (status, body, headers, _) in EXPORTS.items():
        place.http.status(f"/fhir/{name}", status, body, **headers)
    place.http.on("/fhir/text", b"not JSON")
    place.http.on("/fhir/object", b"{}")
    pulls = [place.cli("pull", f"{place.http.base}/{name}", "--wait") for name in EXPORTS]
    for (name, (*_, error)), done in zip(EXPORTS.items(), await asyncio.gather(*pulls), strict=True):
        assert done.code == 1, (name, done.err)
        last = done.err.splitlines()[-1]
        assert f"The import has failed: {ERROR_TEXTS[error].message}" in last, (name, done.err)
        assert "Traceback" not in done.err + done.out


async def test_files_and_lines_that_are_wrong_are_listed_and_the_rest_is_loaded(place: Place) -> None:
    def patient(id_: str) -> Json:
        return {"resourceType": "Patient", "id": id_}

    contents: dict[str, bytes] = {
        "sound": lines_of(patient("1")),
        "other": lines_of({"resourceType": "Basic", "id": "b"}, patient("2")),
        "bytes": lines_of(b'{"resourceType":"Patient","id":"\xff"}', patient("3")),
        "cut": gzip.compress(lines_of(*(patient(f"c{n}") for n in range(100))))[:-20],
        "empty": b"",
    }
    for name, content in contents.items():
        place.http.on(f"/fhir/files/{name}", content, Content_Type="application/octet-stream")
    listed = [{"type": "Patient", "url": f"files/{name}"} for name in (*contents, "missing")]
    place.http.on("/fhir/manifest", json.dumps({"requiresAccessToken": False, "output": listed}).encode())
    done = await place.cli("pull", f"{place.http.base}/manifest", "--static", "--wait")
    assert done.code == 1, done.err
    for said in (
        "Patient file 1: 1 line read: 1 created",
        "error: Patient file 2, line 1: not loaded, its type is not the one the manifest names.",
        "error: Patient file 3, line 1: not loaded, it is not UTF-8.",
        f"error: Patient file 4: {ERROR_TEXTS[ItemError.FILE_TRUNCATED].message}",
        f"error: Patient file 6: {ERROR_TEXTS[ItemError.FILE_NOT_FOUND].message}",
    ):
        assert said in done.out, done.out


async def test_an_address_that_is_not_registered_is_refused_before_anything_begins(place: Place) -> None:
    done = await place.cli("pull", "https://elsewhere.example/r4/$export", "--wait")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "must be on a registered source server" in done.err


async def test_a_measure_or_report_that_is_wrong_is_one_line_that_says_what(place: Place) -> None:
    def report(name: str, **more: str) -> str:
        fields = {"resourceType": "MeasureReport", "status": "complete", "type": "data-collection"}
        path = place.cli.folder / f"{name}.json"
        path.write_text(json.dumps({**fields, "measure": MEASURE, **more}))
        return str(path)

    sound = report("sound")
    url = ("--export-url", f"{place.http.base}/$export")
    cases = {
        ("none", sound, url): (4, "Measure"),
        ("bare", report("bare", measure="http://example.org/bare"), url): (1, "bare"),
        (VISITS, report("other", measure="http://example.org/other"), url): (1, "other"),
        (VISITS, report("summary", type="summary"), url): (1, "type"),
        (VISITS, report("summary-sent", type="summary"), ()): (1, "type"),
    }
    runs = [place.cli("submit-data", id_, "--report", path, *more) for id_, path, more in cases]
    for (case, (code, said)), done in zip(cases.items(), await asyncio.gather(*runs), strict=True):
        assert (done.code, done.err.count("\n")) == (code, 1), (case, done.err)
        assert said in done.err, (case, done.err)


async def test_what_a_measure_needs_and_is_not_there_is_named(database: Database, place: Place) -> None:
    path = place.cli.folder / "report.json"
    report = {"resourceType": "MeasureReport", "type": "data-collection", "measure": MEASURE}
    path.write_text(json.dumps(report))
    resources = json.loads(example(VISITS))["entry"]
    libraries = [each["resource"] for each in resources if each["resource"]["resourceType"] == "Library"]
    bundled = {"resourceType": "Bundle", "type": "transaction"}
    bundled["entry"] = [delete(f"Library/{each['id']}") for each in libraries]  # type: ignore[assignment]
    (place.cli.folder / "gone.json").write_text(json.dumps(bundled))
    async with listening_gateway(database) as (site, _):
        status, _ = await send(site, "/fhir", json.dumps(bundled).encode())
        assert status == 200
    url = f"{place.http.base}/$export"
    done = await place.cli("submit-data", VISITS, "--report", str(path), "--export-url", url)
    assert (done.code, done.err.count("\n")) == (4, 1), done.err
    assert "Library" in done.err
