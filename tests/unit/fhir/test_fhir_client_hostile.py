"""Whatever a source answers becomes a document or one of the item's error codes, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from email.utils import formatdate
from uuid import uuid4

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.errors import ItemError
from sluice_fhir import metrics
from sluice_fhir.client import FhirClient, FhirLimits
from sluice_fhir.source_auth import BearerAuth
from sluice_fhir.sources import Source
from sluice_security.http import GuardedClient, HttpLimits, SourceFailure
from support.hostile import HttpSource, document, http_source, raw_source

NOW = 1_700_000_000.0
METRICS = (
    metrics.ANSWERS,
    metrics.SECONDS,
    metrics.ALLOWED,
    metrics.HELD,
    metrics.ACTIVE,
    metrics.WAITING,
)
PATH = "/fhir/DocumentReference/d1"


@pytest.fixture
async def server() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[FhirClient]:
    async with GuardedClient(loopback=True) as http:
        yield FhirClient(http, limits=FhirLimits(document=100_000), clock=lambda: NOW)


def source_at(base: str, **more: object) -> Source:
    return msgspec.structs.replace(Source(id="s1", name="Test", base_url=base), **more)


async def failure(
    client: FhirClient, source: Source, reference: str = "DocumentReference/d1"
) -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        await client.get_resource(source, reference, expected="DocumentReference")
    assert "secret" not in repr(caught.value)
    return caught.value


@pytest.mark.parametrize("reference", ["DocumentReference/d1", "{base}/DocumentReference/d1"])
async def test_a_document_is_read_byte_for_byte(
    server: HttpSource, client: FhirClient, reference: str
) -> None:
    body = b' {"id":"d1", "resourceType" : "DocumentReference","x":[1.10, "\\u00e9"]}\n'
    server.on(PATH, body, ETag='W/"7"')
    found = await client.get_resource(source_at(server.base), reference.format(base=server.base))
    assert (found.body, found.type, found.id) == (body, "DocumentReference", "d1")
    assert (found.etag, found.version) == ('W/"7"', "7")
    assert "application/fhir+json" in server.asked[0].headers["Accept"]


async def test_a_version_is_honoured(server: HttpSource, client: FhirClient) -> None:
    server.on(f"{PATH}/_history/1", document())
    found = await client.get_resource(source_at(server.base), "DocumentReference/d1/_history/1")
    assert found.version == "1"
    server.on(f"{PATH}/_history/2", document())
    assert (
        await failure(client, source_at(server.base), "DocumentReference/d1/_history/2")
    ).code is ItemError.WRONG_RESOURCE


@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (400, ItemError.SOURCE_REJECTED, False),
        (401, ItemError.SOURCE_REFUSED, False),
        (403, ItemError.SOURCE_REFUSED, False),
        (404, ItemError.DOCUMENT_NOT_FOUND, False),
        (410, ItemError.DOCUMENT_GONE, False),
        (429, ItemError.SOURCE_THROTTLED, True),
        (500, ItemError.SOURCE_UNAVAILABLE, True),
        (503, ItemError.SOURCE_UNAVAILABLE, True),
    ],
)
async def test_a_status_is_told_and_its_body_is_not(
    server: HttpSource, client: FhirClient, status: int, code: ItemError, retry: bool
) -> None:
    server.status(PATH, status)
    failed = await failure(client, source_at(server.base))
    assert (failed.code, failed.status, failed.retry) == (code, status, retry)


def told_of(source: Source) -> dict[str, float]:
    """Give what Prometheus is told of a source: answers by outcome, the rest by the metric's name."""
    families = [family for metric in METRICS for family in metric.collect()]
    return {
        it.labels.get("outcome", it.name.removeprefix("sluice_source_")): it.value
        for family in families
        for it in family.samples
        if it.labels.get("source") == source.id and not it.name.endswith(("_created", "_bucket", "_sum"))
    }


async def test_metrics_tell_how_calls_ended_and_what_the_source_bears(
    server: HttpSource, client: FhirClient
) -> None:
    source = source_at(server.base, id=uuid4().hex, max_concurrency=8)
    server.on(PATH, document("d1"))
    await client.get_resource(source, "DocumentReference/d1", expected="DocumentReference")
    before = told_of(source)
    assert (before["ok"], before["seconds_count"], before["allowed"]) == (1, 1, 8)
    server.status(PATH, 404)
    await failure(client, source)
    server.status(PATH, 503, Retry_After="120")
    await failure(client, source)
    await failure(client, source)
    told = told_of(source)
    # The last was not even asked, since it is to be left alone.
    ends = {
        name: told[name] for name in ("ok", "document_not_found", "source_unavailable", "source_throttled")
    }
    assert set(ends.values()) == {1}
    assert told["allowed"] < before["allowed"]
    assert told["held_seconds"] > 0
    assert (told["calls_under_way"], told["calls_waiting"]) == (0, 0)


@pytest.mark.parametrize(
    ("header", "after"),
    [("120", 120.0), (formatdate(NOW + 90, usegmt=True), 90.0), ("nonsense", None)],
)
async def test_retry_after_holds_the_whole_source_back(
    server: HttpSource, client: FhirClient, header: str, after: float | None
) -> None:
    source = source_at(server.base)
    server.status(PATH, 503, Retry_After=header)
    server.on("/fhir/DocumentReference/d2", document("d2"))
    assert (await failure(client, source)).after == after
    if after is None:
        await client.get_resource(source, "DocumentReference/d2")
    else:
        held = await failure(client, source, "DocumentReference/d2")
        assert (held.code, held.retry) == (ItemError.SOURCE_THROTTLED, True)
        assert held.after == pytest.approx(after, abs=5)
        assert len(server.asked) == 1
        await client.get_resource(source_at(server.base, id="another"), "DocumentReference/d2")


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"<html>secret</html>", "text/html", ItemError.NOT_JSON),
        (document(), "text/html; charset=utf-8", ItemError.NOT_JSON),
        (b"<html>secret</html>", "application/fhir+json", ItemError.NOT_JSON),
        (b"<DocumentReference/>", "application/fhir+xml", ItemError.NOT_JSON),
        (b"", "application/json", ItemError.NOT_JSON),
        (b"null", "application/json", ItemError.NOT_JSON),
        (b"[]", "application/json", ItemError.NOT_JSON),
        (b"{}", "application/json", ItemError.NOT_JSON),
        (b'{"resourceType":7}', "application/json", ItemError.NOT_JSON),
        (document()[:-1], "application/json", ItemError.NOT_JSON),
        (document() + b"x", "application/json", ItemError.NOT_JSON),
        (b"\xff\xfe{}", "application/json", ItemError.NOT_JSON),
        (
            b'{"resourceType":"DocumentReference","id":"d1","x":"\xff"}',
            "application/json",
            ItemError.NOT_JSON,
        ),
        (b'{"resourceType":"DocumentReference","id":"d1","meta":[]}', "application/json", ItemError.NOT_JSON),
        (
            document(x=[[[]]] * 3).replace(b"[[[]]", b"[" * 70 + b"]" * 69),
            "application/json",
            ItemError.NOT_JSON,
        ),
        (b'{"resourceType":"Patient","id":"d1"}', "application/json", ItemError.WRONG_RESOURCE),
        (document("d2"), "application/json", ItemError.WRONG_RESOURCE),
        (document(x="a" * 100_000), "application/json", ItemError.DOCUMENT_TOO_LARGE),
    ],
)
async def test_what_is_not_the_document_is_refused(
    server: HttpSource, client: FhirClient, body: bytes, kind: str, code: ItemError
) -> None:
    server.on(PATH, body, Content_Type=kind)
    failed = await failure(client, source_at(server.base))
    assert (failed.code, failed.status, failed.retry) == (code, 200, False)


@pytest.mark.parametrize(
    ("issue", "code", "retry"),
    [
        ([{"severity": "error", "code": "not-found", "diagnostics": "secret"}], "document_not_found", False),
        ([{"code": "throttled"}], "source_throttled", True),
        ([{"code": 5}, "x"], "source_rejected", False),
        ("x", "source_rejected", False),
        (None, "source_rejected", False),
    ],
)
async def test_an_operation_outcome_in_place_of_the_document_is_understood(
    server: HttpSource, client: FhirClient, issue: object, code: str, retry: bool
) -> None:
    server.on(PATH, msgspec.json.encode({"resourceType": "OperationOutcome", "issue": issue}))
    failed = await failure(client, source_at(server.base))
    assert (failed.code, failed.status, failed.retry) == (code, 200, retry)


async def test_a_compressed_document_is_read_and_a_bomb_is_not(
    server: HttpSource, client: FhirClient
) -> None:
    server.on(PATH, gzip.compress(document()), Content_Encoding="gzip")
    assert (await client.get_resource(source_at(server.base), "DocumentReference/d1")).body == document()
    server.on(PATH, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    failed = await failure(client, source_at(server.base))
    assert failed.code in (ItemError.DECOMPRESSION_REFUSED, ItemError.DOCUMENT_TOO_LARGE)
    async with GuardedClient(loopback=True) as http:
        roomy = FhirClient(http, limits=FhirLimits(document=10**9))
        assert (await failure(roomy, source_at(server.base))).code is ItemError.DECOMPRESSION_REFUSED


async def test_a_hang_times_out_and_a_break_may_pass(server: HttpSource, client: FhirClient) -> None:
    async def hang(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    server.on(PATH, hang)
    async with GuardedClient(limits=HttpLimits(answer=0.5), loopback=True) as http:
        failed = await failure(FhirClient(http), source_at(server.base))
    assert failed.code is ItemError.SOURCE_TIMEOUT

    async def cut(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"resourceType":')

    async with raw_source(cut) as port:
        failed = await failure(client, source_at(f"http://127.0.0.1:{port}/fhir"))
    assert (failed.code, failed.retry) == (ItemError.SOURCE_UNAVAILABLE, True)


@pytest.mark.parametrize(
    "reference",
    [
        "https://evil.example/fhir/DocumentReference/d1",
        "http://127.0.0.1:1/fhir/DocumentReference/d1",
        "http://169.254.169.254/fhir/DocumentReference/d1",
        "DocumentReference/..",
        "Patient/1",
        "#d1",
        "",
    ],
)
async def test_a_reference_elsewhere_is_never_asked_for(
    server: HttpSource, client: FhirClient, reference: str
) -> None:
    failed = await failure(client, source_at(server.base), reference)
    assert (failed.code, failed.retry) == (ItemError.SOURCE_ADDRESS_REFUSED, False)
    assert server.asked == []


async def test_a_loopback_source_is_refused_once_the_setting_is_gone(server: HttpSource) -> None:
    async with GuardedClient() as http:
        failed = await failure(FhirClient(http), source_at(server.base))
    assert failed.code is ItemError.SOURCE_ADDRESS_REFUSED
    assert server.asked == []


async def test_a_redirect_away_from_the_source_is_refused_and_gets_no_token(client: FhirClient) -> None:
    async with http_source() as first, http_source() as second:

        async def away(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"{second.base}/DocumentReference/d1"})

        first.on(PATH, away)
        source = source_at(first.base, auth=BearerAuth(token="secret"))
        assert (await failure(client, source)).code is ItemError.SOURCE_ADDRESS_REFUSED
        assert first.asked[0].headers["Authorization"] == "Bearer secret"
        assert second.asked == []


async def test_the_sources_concurrency_limit_holds(server: HttpSource, client: FhirClient) -> None:
    under_way = most = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.Response(body=document(request.path.rpartition("/")[2]))

    source = source_at(server.base, max_concurrency=3)
    for number in range(12):
        server.on(f"/fhir/DocumentReference/{number}", slow)
    await asyncio.gather(*(client.get_resource(source, f"DocumentReference/{n}") for n in range(12)))
    assert most == 3


async def test_a_search_gives_its_bundle(server: HttpSource, client: FhirClient) -> None:
    server.on("/fhir/Specimen", b'{"resourceType":"Bundle","type":"searchset"}')
    found = await client.search(source_at(server.base), "Specimen", [("subject", "Patient/1"), ("x", "a&b")])
    assert (found.type, found.id) == ("Bundle", None)
    assert dict(server.asked[0].query) == {"subject": "Patient/1", "x": "a&b"}


async def test_what_cannot_be_stored_of_a_version_is_left_out(server: HttpSource, client: FhirClient) -> None:
    body = b'{"resourceType":"DocumentReference","id":"d1","meta":{"versionId":"a\\u0000b"}}'
    server.on(PATH, body, ETag='"' + "x" * 300 + '"')
    found = await client.get_resource(source_at(server.base), "DocumentReference/d1")
    assert (found.version, found.etag) == (None, None)
