"""When a source says to come back later it is heard at every step, by seconds or by a date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime, formatdate

import pytest
from aiohttp import web

from sluice_contracts.errors import ItemError
from sluice_fhir.attachment import Attachment
from sluice_fhir.export_calls import Accepted, ExportCalls, Running
from sluice_fhir.source_calls import SourceCalls
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_fhir.throttle import throttle_alone
from sluice_security.failure import SourceFailure
from sluice_security.http import GuardedClient
from support.hostile import HttpSource, http_source

NOW = 1_700_000_000.0
SOON = formatdate(NOW + 90, usegmt=True)
# The three forms that a recipient has to read (RFC 9110, section 5.6.7), a zone, and what is of no use.
DATES = [
    (SOON, 90.0),
    (format_datetime(datetime.fromtimestamp(NOW + 90, timezone(timedelta(hours=2)))), 90.0),
    (datetime.fromtimestamp(NOW + 90, UTC).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 90.0),
    (datetime.fromtimestamp(NOW + 90, UTC).strftime("%a %b %d %H:%M:%S %Y"), 90.0),
    (formatdate(NOW - 3600, usegmt=True), 0.0),
    ("Tue, 99 Nov 2023 00:00:00 GMT", None),
    ("tomorrow", None),
]


@pytest.fixture
async def server() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


class Site:
    """What calls one source, at one time."""

    def __init__(self, http: GuardedClient, server: HttpSource) -> None:
        tokens = SourceTokens(http)
        self.calls = SourceCalls(http, tokens, clock=lambda: NOW, throttle=throttle_alone)
        self.exports = ExportCalls(http, tokens, self.calls, clock=lambda: NOW)
        self.source = Source(id="s1", name="Test", base_url=server.base)
        self.base = server.base

    async def file(self) -> bytes:
        """Fetch a file as the puller does."""
        file = Attachment(self.calls, self.source, f"{self.base}/file", accept="*/*", limit=1000)
        async with file as found:
            return b"".join([chunk async for chunk in found.chunks()])


@pytest.fixture
async def site(server: HttpSource) -> AsyncIterator[Site]:
    async with GuardedClient(loopback=True) as http:
        yield Site(http, server)


@pytest.mark.parametrize(("text", "after"), DATES)
async def test_a_date_is_heard_when_an_export_is_accepted_and_while_it_runs(
    server: HttpSource, site: Site, text: str, after: float | None
) -> None:
    server.status("/fhir/$export", 202, b"", Content_Location="/fhir/status", Retry_After=text)
    server.status("/fhir/status", 202, b"", Retry_After=text)
    accepted = await site.exports.kick_off(site.source, f"{site.base}/$export")
    assert accepted == Accepted(f"{site.base}/status", after)
    assert await site.exports.poll(site.source, accepted.url) == Running(after, None)
    # It is about this export: others at the source are not held back.
    server.on("/fhir/file", b"{}")
    assert await site.file() == b"{}"


@pytest.mark.parametrize("step", ["kick-off", "poll", "file"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("text", "after"), DATES)
async def test_a_date_is_heard_when_a_step_is_put_off(
    server: HttpSource, site: Site, step: str, status: int, text: str, after: float | None
) -> None:
    code = ItemError.SOURCE_THROTTLED if status == 429 else ItemError.SOURCE_UNAVAILABLE
    for path in ("/fhir/$export", "/fhir/status", "/fhir/file"):
        server.status(path, status, b"", Retry_After=text)

    async def take() -> object:
        if step == "kick-off":
            return await site.exports.kick_off(site.source, f"{site.base}/$export")
        if step == "poll":
            return await site.exports.poll(site.source, f"{site.base}/status")
        return await site.file()

    with pytest.raises(SourceFailure) as caught:
        await take()
    failure = caught.value
    assert (failure.code, failure.status, failure.retry, failure.after) == (code, status, True, after)
    if after:
        # Nothing is sent to the source until then, whichever step is next.
        with pytest.raises(SourceFailure) as held:
            await take()
        assert held.value.code is ItemError.SOURCE_THROTTLED
        assert held.value.after is not None
        assert 0 < held.value.after <= after
        assert len(server.asked) == 1


async def test_a_file_that_broke_off_is_not_taken_up_again_before_the_date(
    server: HttpSource, site: Site
) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return web.Response(status=503, headers={"Retry-After": SOON})
        response = web.StreamResponse(headers={"Content-Length": "100", "ETag": '"v1"'})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    server.on("/fhir/file", broken)
    with pytest.raises(SourceFailure) as caught:
        await site.file()
    assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_THROTTLED, True)
    assert caught.value.after is not None
    assert 0 < caught.value.after <= 90
    assert len(server.asked) == 2
