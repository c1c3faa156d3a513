"""Requests that HTTP itself forbids: refused before the application is asked, and not repeated."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from sluice_gateway.app import make_runner
from support.gateway_memory import memory_gateway

CANARY = b"eyJhbGciOiJFUzI1NiJ9"

HEADERS = {
    "token before NUL": b"Authorization: Bearer " + CANARY + b"\x00\r\n",
    "space before the colon": b"Authorization : Bearer " + CANARY + b"\r\n",
    "no colon": b"Bearer " + CANARY + b"\r\n",
}


@pytest.mark.parametrize("case", HEADERS)
async def test_a_malformed_header_is_refused_and_not_echoed(case: str) -> None:
    async with memory_gateway() as site:
        runner = make_runner(site.gateway)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
            writer.write(b"GET /v2/bulk/fhir HTTP/1.1\r\nHost: a\r\n" + HEADERS[case] + b"\r\n")
            answer = await asyncio.wait_for(reader.read(), 120)  # to the end: the connection is closed
            writer.close()
        finally:
            await runner.cleanup()
    assert answer.split()[1] == b"400"
    assert CANARY not in answer
