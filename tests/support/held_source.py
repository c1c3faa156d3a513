"""A source of things that are there, and of things that go on until a test lets them end.

Its export is two files, `quick` and `held`; its documents are those whose ids begin so, and those
that begin with `refused`, which it answers with 429 meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

# Soon enough that nobody takes the source for one that has fallen silent.
_BETWEEN = 0.2


@dataclass
class HeldSource:
    """Serves `{url}/manifest` and `{url}/DocumentReference/…`; what is held ends once `go` is set."""

    url: str = ""
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def document(self, request: web.Request) -> web.Response:
        """Give a document, which refers to its content."""
        name = request.match_info["name"]
        if name.startswith("refused") and not self.go.is_set():
            return web.Response(status=429, headers={"Retry-After": "1"})
        content = {"url": f"{self.url}/{name.partition('-')[0]}", "contentType": "text/plain", "title": name}
        status = {"resourceType": "DocumentReference", "id": name, "status": "current"}
        return web.json_response({**status, "content": [{"attachment": content}]})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Give the manifest, a file or a content."""
        match request.match_info["name"]:
            case "manifest":
                output = [{"type": "Basic", "url": f"{self.url}/{name}"} for name in ("quick", "held")]
                times = {"transactionTime": "2026-01-31T12:00:00Z", "request": self.url}
                more = {"requiresAccessToken": False, "output": output, "error": []}
                return web.json_response({**times, **more})
            case "quick" | "refused":
                return web.Response(text=_line("held-1"))
            case "held":
                return await self._held(request)
        return web.Response(status=404)

    async def _held(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.go.is_set():
            await response.write(_line("held-2").encode())
            await asyncio.sleep(_BETWEEN)
        await response.write_eof()
        return response


def _line(name: str) -> str:
    return json.dumps({"resourceType": "Basic", "id": name, "code": {"text": "held"}}) + "\n"


@asynccontextmanager
async def held_source() -> AsyncIterator[HeldSource]:
    """Run one; it lets go in the end."""
    source = HeldSource()
    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/fhir/{name}", source.serve)
    runner.app.router.add_get("/fhir/DocumentReference/{name}", source.document)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source.url = f"http://127.0.0.1:{runner.addresses[0][1]}/fhir"
    try:
        yield source
    finally:
        source.go.set()
        await runner.cleanup()
