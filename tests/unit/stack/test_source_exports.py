"""The demo source's bulk exports: what is there for every base, by every way of asking for it."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from sluice_stack.source import SourceServer
from sluice_stack.source.server import SAMPLE

ASYNC = {"Prefer": "respond-async"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def source() -> AsyncIterator[SourceServer]:
    server = SourceServer(SAMPLE)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def export(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[str, dict[str, Any]]:
    """Export to the manifest; gives where it is, and what it says."""
    async with http.get(url, headers={**ASYNC, **headers}) as answer:
        assert answer.status == 202, await answer.text()
        place = answer.headers["Content-Location"]
    async with http.get(place, headers=headers) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (202, "1")
    async with http.get(place, headers=headers) as answer:
        assert answer.status == 200
        manifest: dict[str, Any] = msgspec.json.decode(await answer.read())
    return place, manifest


async def content(http: aiohttp.ClientSession, url: str, **headers: str) -> bytes:
    async with http.get(url, headers={**PLAIN, **headers}) as answer:
        assert answer.status in (200, 206)
        return await answer.read()


async def test_every_resource_is_exported_once_as_it_is_read(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    _, manifest = await export(http, f"{source.base('synthea')}/$export")
    counts = {each["type"]: each["count"] for each in manifest["output"]}
    assert counts["Patient"] == 21
    assert counts["Binary"] == counts["DocumentReference"] // 2
    assert manifest["requiresAccessToken"] is False
    for each in manifest["output"]:
        lines = (await content(http, each["url"])).splitlines()
        resources = [msgspec.json.decode(line) for line in lines]
        assert len({resource["id"] for resource in resources}) == each["count"]
        assert {resource["resourceType"] for resource in resources} == {each["type"]}
        some = resources[0]
        read = f"{source.base('synthea')}/{each['type']}/{some['id']}"
        async with http.get(read, headers={**PLAIN, "Accept": "application/fhir+json"}) as answer:
            assert msgspec.json.decode(await answer.read()) == some


async def test_types_and_times_narrow_it(source: SourceServer, http: aiohttp.ClientSession) -> None:
    base = source.base("synthea")
    _, some = await export(http, f"{base}/$export?_type=Patient,Condition&_since=2020-01-01T00:00:00Z")
    assert [each["type"] for each in some["output"]] == ["Condition", "Patient"]
    _, none = await export(http, f"{base}/$export?_since={some['transactionTime']}")
    assert none["output"] == []


async def test_a_file_comes_whole_in_ranges_or_compressed(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    url = f"{source.base('synthea')}/exports/all/Encounter.ndjson"
    async with http.get(url, headers=PLAIN) as answer:
        whole, tag = await answer.read(), answer.headers["ETag"]
        assert answer.content_length == len(whole)
    for first, last in ((0, 9), (5, len(whole) - 1), (2**18 - 3, 2**18 + 70_000), (len(whole) - 1, 10**9)):
        async with http.get(
            url, headers={**PLAIN, "Range": f"bytes={first}-{last}", "If-Range": tag}
        ) as answer:
            assert (answer.status, await answer.read()) == (206, whole[first : last + 1])
    assert await content(http, url, Range="bytes=5-", **{"If-Range": '"other"'}) == whole
    async with http.get(url, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert answer.status == 416
    async with http.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()) == whole


async def test_an_export_is_gone_when_it_is_deleted_and_one_is_always_there(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    place, manifest = await export(http, f"{source.base('r4')}/$export")
    async with http.delete(place) as answer:
        assert answer.status == 202
    for url in (place, manifest["output"][0]["url"]):
        async with http.get(url) as answer:
            assert answer.status == 404
    always = f"{source.base('r4')}/exports/all"
    async with http.delete(always) as answer:
        assert answer.status == 202
    async with http.get(always) as answer:
        assert len(msgspec.json.decode(await answer.read())["output"]) == len(manifest["output"])


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 400),
        ("?_typeFilter=Patient%3Factive%3Dtrue", ASYNC, 400),
        ("?_since=yesterday", ASYNC, 400),
        ("?_outputFormat=parquet", ASYNC, 400),
    ],
)
async def test_what_it_cannot_do_is_an_outcome(
    source: SourceServer, http: aiohttp.ClientSession, query: str, headers: dict[str, str], status: int
) -> None:
    async with http.get(f"{source.base('ncpi')}/$export{query}", headers=headers) as answer:
        assert answer.status == status
        assert msgspec.json.decode(await answer.read())["resourceType"] == "OperationOutcome"


async def test_a_protected_base_asks_for_its_token_for_files_too(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    token = {"Authorization": f"Bearer {source.credentials.bearer}"}
    _, manifest = await export(http, f"{source.base('bearer')}/$export", **token)
    assert manifest["requiresAccessToken"] is True
    url = manifest["output"][0]["url"]
    async with http.get(url) as answer:
        assert answer.status == 401
    assert await content(http, url, **token)
