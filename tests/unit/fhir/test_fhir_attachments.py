"""Attachments arrive whole or fail; a broken connection is taken up again, and parts are never mixed."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.errors import ItemError
from sluice_fhir.client import FhirClient, FhirLimits
from sluice_fhir.source_auth import BearerAuth
from sluice_fhir.sources import Source
from sluice_security.http import GuardedClient, HttpLimits, SourceFailure
from support.hostile import HttpSource, http_source, raw_source

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
async def server() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[FhirClient]:
    async with GuardedClient(loopback=True) as http:
        yield FhirClient(http, limits=FhirLimits(attachment=2_000_000))


def source_at(base: str, **more: object) -> Source:
    return msgspec.structs.replace(Source(id="s1", name="Test", base_url=base), **more)


async def read(client: FhirClient, source: Source, url: str = "Binary/b1", accept: str = "*/*") -> bytes:
    async with client.open_attachment(source, url, accept=accept) as attachment:
        return b"".join([chunk async for chunk in attachment.chunks()])


async def failure(client: FhirClient, source: Source, url: str = "Binary/b1") -> SourceFailure:
    with pytest.raises(SourceFailure) as caught:
        await read(client, source, url)
    return caught.value


async def test_a_small_one_is_here_as_a_whole_and_counts_against_the_limit(
    client: FhirClient, server: HttpSource
) -> None:
    source = source_at(server.base)
    server.on("/fhir/Binary/b1", b"small", Content_Type="text/plain")
    server.on("/fhir/Binary/gzip", gzip.compress(b"small"), Content_Encoding="gzip")
    server.on("/fhir/Binary/large", CONTENT)
    found = {}
    for name in ("b1", "gzip", "large"):
        async with client.open_attachment(source, f"Binary/{name}") as attachment:
            whole = attachment.whole()
            while name == "b1" and whole is None:  # its body comes with its headers, or a moment later
                await asyncio.sleep(0.01)
                whole = attachment.whole()
            rest = b"" if whole is not None else b"".join([chunk async for chunk in attachment.chunks()])
            found[name] = whole, rest
    assert found == {"b1": (b"small", b""), "gzip": (None, b"small"), "large": (None, CONTENT)}


class Flaky:
    """Serves `CONTENT` and cuts each answer after some bytes.

    Parameters
    ----------
    cuts
        How many bytes each answer gives before it is cut; the last is not cut if None.
    headers
        Sent with every answer.
    ranges
        Whether it honours Range.
    """

    def __init__(self, cuts: list[int | None], headers: str = 'ETag: "v1"', ranges: bool = True) -> None:
        self.cuts = cuts
        self.headers = headers
        self.ranges = ranges
        self.heads: list[str] = []

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        self.heads.append(head.decode())
        cut = self.cuts[min(len(self.heads), len(self.cuts)) - 1]
        asked = re.search(r"Range: bytes=(\d+)-", head.decode())
        start = int(asked[1]) if asked and self.ranges else 0
        body = CONTENT[start:]
        status = "200 OK"
        extra = ""
        if start:
            status = "206 Partial Content"
            extra = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/pdf\r\n{self.headers}\r\n{extra}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(body[:cut])


async def test_an_attachment_is_streamed_with_what_its_source_says_of_it(
    server: HttpSource, client: FhirClient
) -> None:
    server.on("/fhir/Binary/b1", CONTENT, Content_Type="Application/PDF; x=y", ETag='"v1"')
    async with client.open_attachment(
        source_at(server.base), "Binary/b1", accept="application/pdf"
    ) as attachment:
        assert (attachment.status, attachment.content_type) == (200, "application/pdf")
        assert (attachment.content_length, attachment.etag) == (len(CONTENT), '"v1"')
        assert b"".join([chunk async for chunk in attachment.chunks()]) == CONTENT
    assert server.asked[0].headers["Accept"] == "application/pdf"
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("headers", ['ETag: "v1"', "Last-Modified: Tue, 01 Jan 2030 00:00:00 GMT"])
async def test_a_broken_stream_goes_on_where_it_broke(client: FhirClient, headers: str) -> None:
    flaky = Flaky([300_000, 300_000, None], headers)
    async with raw_source(flaky) as port:
        assert await read(client, source_at(f"http://127.0.0.1:{port}/fhir")) == CONTENT
    assert ["Range: bytes=300000-" in head for head in flaky.heads] == [False, True, False]
    assert "Range: bytes=600000-" in flaky.heads[2]
    assert all(f"If-Range: {headers.partition(': ')[2]}" in head for head in flaky.heads[1:])


async def test_a_source_without_ranges_is_read_again_and_the_known_part_left_out(client: FhirClient) -> None:
    flaky = Flaky([300_000, 500_000, None], ranges=False)
    async with raw_source(flaky) as port:
        assert await read(client, source_at(f"http://127.0.0.1:{port}/fhir")) == CONTENT


@pytest.mark.parametrize("headers", ['ETag: W/"v1"', "X-Nothing: x"])
async def test_without_a_strong_validator_nothing_is_pieced_together(
    client: FhirClient, headers: str
) -> None:
    flaky = Flaky([300_000, None], headers)
    async with raw_source(flaky) as port:
        failed = await failure(client, source_at(f"http://127.0.0.1:{port}/fhir"))
    assert (failed.code, failed.retry) == (ItemError.ATTACHMENT_TRUNCATED, True)
    assert len(flaky.heads) == 1


async def test_content_that_changed_meanwhile_is_not_mixed(client: FhirClient) -> None:
    flaky = Flaky([300_000, None])
    async with raw_source(flaky) as port:
        source = source_at(f"http://127.0.0.1:{port}/fhir")

        async def read_and_change() -> None:
            async with client.open_attachment(source, "Binary/b1") as attachment:
                async for _ in attachment.chunks():
                    flaky.headers = 'ETag: "v2"'

        with pytest.raises(SourceFailure) as caught:
            await read_and_change()
    assert (caught.value.code, caught.value.retry) == (ItemError.ATTACHMENT_TRUNCATED, True)


async def test_a_source_that_always_promises_more_than_it_has_is_given_up(client: FhirClient) -> None:
    flaky = Flaky([300_000, 0])
    async with raw_source(flaky) as port:
        failed = await failure(client, source_at(f"http://127.0.0.1:{port}/fhir"))
    assert (failed.code, failed.retry) == (ItemError.ATTACHMENT_TRUNCATED, True)
    assert len(flaky.heads) <= 6


async def test_a_stream_that_stalls_is_taken_up_again(server: HttpSource) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"ETag": '"v1"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(CONTENT) - start
        await response.prepare(request)
        if not start:
            await response.write(CONTENT[:1000])
            await asyncio.sleep(3600)
        await response.write(CONTENT[start:])
        return response

    server.on("/fhir/Binary/b1", stall)
    async with GuardedClient(limits=HttpLimits(read_idle=3.0), loopback=True) as http:
        assert await read(FhirClient(http), source_at(server.base)) == CONTENT


@pytest.mark.parametrize("announced", [True, False])
async def test_too_large_an_attachment_is_refused(
    server: HttpSource, client: FhirClient, announced: bool
) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = 2_000_000_000
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    server.on("/fhir/Binary/b1", large)
    failed = await failure(client, source_at(server.base))
    assert (failed.code, failed.retry) == (ItemError.ATTACHMENT_TOO_LARGE, False)


async def test_a_part_that_was_not_asked_for_is_refused(server: HttpSource, client: FhirClient) -> None:
    server.status("/fhir/Binary/b1", 206, b"part", Content_Range="bytes 0-3/9")
    assert (await failure(client, source_at(server.base))).code is ItemError.SOURCE_REJECTED


async def test_a_missing_attachment_is_called_so(server: HttpSource, client: FhirClient) -> None:
    for status in (404, 410):
        server.status("/fhir/Binary/b1", status)
        failed = await failure(client, source_at(server.base))
        assert (failed.code, failed.status) == (ItemError.ATTACHMENT_NOT_FOUND, status)


async def test_a_registered_place_is_read_without_the_sources_credentials(client: FhirClient) -> None:
    async with http_source() as fhir, http_source() as cdn:
        fhir.on("/fhir/Binary/b1", b"one")
        cdn.on("/files/b2", b"two")
        source = source_at(
            fhir.base, auth=BearerAuth(token="secret"), attachment_prefixes=(f"{cdn.origin}/files",)
        )
        assert await read(client, source, f"{fhir.base}/Binary/b1") == b"one"
        assert await read(client, source, f"{cdn.origin}/files/b2") == b"two"
        assert (
            await failure(client, source, f"{cdn.origin}/other/b2")
        ).code is ItemError.SOURCE_ADDRESS_REFUSED
        assert fhir.asked[0].headers["Authorization"] == "Bearer secret"
        assert "Authorization" not in cdn.asked[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "http://169.254.169.254/x",
        "//evil.example/x",
        "../../etc/passwd",
        "/Binary/b1",
        "urn:oid:1.2",
        "data:text/plain,x",
        "file:///etc/passwd",
        "http://[::1",
    ],
)
async def test_an_attachment_elsewhere_is_never_asked_for(
    server: HttpSource, client: FhirClient, url: str
) -> None:
    assert (await failure(client, source_at(server.base), url)).code is ItemError.SOURCE_ADDRESS_REFUSED
    assert server.asked == []


async def test_leaving_a_stream_early_gives_the_turn_back(server: HttpSource, client: FhirClient) -> None:
    server.on("/fhir/Binary/b1", CONTENT)
    source = source_at(server.base, max_concurrency=1)
    for _ in range(3):
        async with client.open_attachment(source, "Binary/b1") as attachment:
            async for _chunk in attachment.chunks():
                break
    assert await read(client, source) == CONTENT
