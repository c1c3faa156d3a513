"""An endpoint of a client's that keeps what it is sent, verifies it, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks.webhooks import Webhook


@dataclass
class Receiver:
    """Answers `statuses` in turn, then 204; `taken` is what it has verified, `ids` all it was sent.

    It answers nothing before `answering` is set.
    """

    url: str = ""
    secret: str = ""
    statuses: list[int] = field(default_factory=list)
    always: int = 204
    taken: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answering.set()

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.ids.append(request.headers["webhook-id"])
        self._came.set()
        await self.answering.wait()
        status = self.statuses.pop(0) if self.statuses else self.always
        if status < 300:
            self.taken.append(Webhook(self.secret).verify(body, dict(request.headers)))
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def until(self, count: int) -> None:
        """Wait until it was sent so many requests."""
        async with asyncio.timeout(120):
            while len(self.ids) < count:
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def receiver(**settings: Any) -> AsyncIterator[Receiver]:
    """Run an endpoint on this machine."""
    made = Receiver(**settings)
    app = web.Application()
    app.router.add_post("/hook", made.serve)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/hook"))
        yield made
