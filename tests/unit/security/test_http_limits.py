"""What a source may cost: time, pace and size each have an end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.http import GuardedClient, HttpLimits
from sluice_security.http_budget import MemoryBudget
from support.guarded import at, failure
from support.hostile import HttpSource, http_source, raw_source


@pytest.fixture
async def source() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(loopback=True) as opened:
        yield opened


async def failure_within(limits: HttpLimits, origin: str) -> SourceFailure:
    """GET something of a source's, in less time than others are given."""
    async with GuardedClient(limits=limits, loopback=True) as hasty:
        return await failure(hasty, f"{origin}/fhir/a", at(origin))


async def test_a_source_that_does_not_answer_times_out(source: HttpSource) -> None:
    async def hang(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    source.on("/fhir/a", hang)
    failed = await failure_within(HttpLimits(answer=0.5), source.origin)
    assert (failed.code, failed.retry) == (ItemError.SOURCE_TIMEOUT, True)


async def test_headers_that_trickle_time_out() -> None:
    async def trickle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(50):
            writer.write(b"X-A: b\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with raw_source(trickle) as port:
        failed = await failure_within(HttpLimits(answer=0.5), f"http://127.0.0.1:{port}")
    assert failed.code is ItemError.SOURCE_TIMEOUT


async def test_a_body_that_stops_times_out() -> None:
    async def stall(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(5)

    async with raw_source(stall) as port:
        failed = await failure_within(HttpLimits(read_idle=0.3), f"http://127.0.0.1:{port}")
    assert (failed.code, failed.status, failed.retry) == (ItemError.SOURCE_TIMEOUT, 200, True)


async def test_a_body_that_trickles_is_ended() -> None:
    async def trickle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_source(trickle) as port:
        failed = await failure_within(HttpLimits(rate_window=0.2), f"http://127.0.0.1:{port}")
    assert failed.code is ItemError.SOURCE_TIMEOUT


async def test_our_own_slowness_is_not_held_against_the_source(source: HttpSource) -> None:
    source.on("/fhir/a", b"x" * 900_000)
    size = 0
    limits = HttpLimits(read_idle=2.0, rate_window=2.0)
    async with (
        GuardedClient(limits=limits, loopback=True) as client,
        await client.get(f"{source.base}/a", at(source.base)) as response,
    ):
        async for chunk in response.chunks():
            if not size:
                await asyncio.sleep(4.0)
            size += len(chunk)
    assert size == 900_000


@pytest.mark.parametrize(
    ("answer", "code", "retry"),
    [
        (b"", ItemError.SOURCE_UNAVAILABLE, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ItemError.SOURCE_UNAVAILABLE, True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
            ItemError.SOURCE_UNAVAILABLE,
            True,
        ),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", ItemError.SOURCE_REJECTED, False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000 + b"\r\n\r\n", ItemError.SOURCE_REJECTED, False),
    ],
)
async def test_a_broken_answer_is_a_failure_of_the_source(
    client: GuardedClient, answer: bytes, code: ItemError, retry: bool
) -> None:
    async def talk(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with raw_source(talk) as port:
        place = f"http://127.0.0.1:{port}"
        failed = await failure(client, place + "/x", at(place))
    assert (failed.code, failed.retry) == (code, retry)


async def test_nobody_there_is_a_failure_that_may_pass(client: GuardedClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{taken.getsockname()[1]}"
        failed = await failure(client, place + "/x", at(place))
    assert (failed.code, failed.retry) == (ItemError.SOURCE_UNAVAILABLE, True)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(
    source: HttpSource, client: GuardedClient, announced: bool
) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = 2 << 20
        await response.prepare(request)
        for _ in range(32):
            await response.write(b"x" * 65536)
        return response

    source.on("/fhir/a", large)
    assert (await failure(client, f"{source.base}/a", at(source.base))).code is ItemError.DOCUMENT_TOO_LARGE


async def test_connections_are_kept_over_answers_that_are_failures(
    source: HttpSource, client: GuardedClient
) -> None:
    source.status("/fhir/a", 404)
    for _ in range(3):
        async with await client.get(f"{source.base}/a", at(source.base)) as response:
            await response.drain()
    assert len({request.transport for request in source.asked}) == 1


async def test_large_bodies_wait_for_their_share_of_memory(source: HttpSource, client: GuardedClient) -> None:
    source.on("/fhir/a", b"x" * 700_000)
    budget = MemoryBudget(1_000_000, free=100_000)
    most = 0

    async def one() -> None:
        nonlocal most
        with budget.hold() as hold:
            async with await client.get(f"{source.base}/a", at(source.base)) as response:
                body = await response.read(1 << 20, ItemError.DOCUMENT_TOO_LARGE, hold)
            most = max(most, budget.held)
            assert len(body) == 700_000
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one() for _ in range(8)))
    assert most == 700_000
    assert budget.held == 0
