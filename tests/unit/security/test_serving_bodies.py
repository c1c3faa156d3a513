"""Bodies that cannot be decoded: the handler answers, and nothing is logged as a fault."""

from __future__ import annotations

import logging

import aiohttp
import pytest
from aiohttp import web

from sluice_security.serving import QuietRunner


async def refuse(request: web.Request) -> web.Response:
    with pytest.raises(web.RequestPayloadError):
        await request.read()
    return web.Response(status=400)


async def fail(_request: web.Request) -> web.Response:
    raise RuntimeError


@pytest.mark.parametrize(
    ("path", "status", "faults"), [("/refuse", 400, 0), ("/fail", 500, 1)], ids=["broken", "fault"]
)
async def test_a_body_that_cannot_be_decoded_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture, path: str, status: int, faults: int
) -> None:
    app = web.Application()
    app.add_routes([web.post("/refuse", refuse), web.post("/fail", fail)])
    runner = QuietRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    body = b"\x1f\x8b\x08\x00" + b"this is not what gzip writes" * 3
    headers = {"Content-Encoding": "gzip"}
    try:
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
            async with http.post(url, data=body, headers=headers) as answer:
                assert answer.status == status
    finally:
        await runner.cleanup()
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == faults
