"""Bulk imports and exports that are the page's own, and a source whose export is faulty."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from support.page import Person, token


@asynccontextmanager
async def faulty_source() -> AsyncIterator[str]:
    """Serve a manifest of two files: one with a line that is no resource, and one that is not there."""
    url = ""

    async def serve(request: web.Request) -> web.Response:
        if request.path == "/fhir/manifest":
            output = [{"type": "Basic", "url": f"{url}/{name}"} for name in ("good", "missing")]
            manifest = {"transactionTime": "2026-01-31T12:00:00Z", "request": url, "output": output}
            return web.json_response({**manifest, "requiresAccessToken": False, "error": []})
        if request.path == "/fhir/good":
            basic = {"resourceType": "Basic", "id": "page-1", "code": {"text": "Jane"}}
            return web.Response(text=json.dumps(basic) + "\nnothing\n")
        return web.Response(status=404)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/fhir/{name}", serve)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/fhir"
    try:
        yield url
    finally:
        await runner.cleanup()


def static_import(url: str) -> list[dict[str, str]]:
    """Give the parameters of importing the faulty manifest."""
    return [
        {"name": "exportUrl", "valueUrl": f"{url}/manifest"},
        {"name": "exportType", "valueCode": "static"},
    ]


async def begun(person: Person, path: str, *parameters: dict[str, str]) -> str:
    """Begin a bulk import or an export with the page's token; gives the job's id."""
    headers = {"Authorization": f"Bearer {await token(person)}", "Prefer": "respond-async"}
    body = {"resourceType": "Parameters", "parameter": parameters}
    async with (
        aiohttp.ClientSession() as http,
        http.post(person.url + path, headers=headers, json=body) as answer,
    ):
        assert answer.status == 202, await answer.text()
        return answer.headers["Content-Location"].rpartition("/")[2]
