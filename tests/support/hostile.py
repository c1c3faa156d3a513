"""Sources that behave and sources that do not: real servers on this machine, told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class HttpSource:
    """A server whose answers are set per path; it remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[web.Request] = field(default_factory=list)
    port: int = 0

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base(self) -> str:
        """Its FHIR base URL."""
        return f"{self.origin}/fhir"

    def on(self, path: str, answer: Answer | web.StreamResponse | bytes, **headers: str) -> None:
        """Set the answer of a path: a handler, or the body of a 200 with these headers (`_` for `-`)."""
        if isinstance(answer, bytes):
            body, named = answer, {name.replace("_", "-"): value for name, value in headers.items()}
            named.setdefault("Content-Type", "application/fhir+json")

            async def give(_request: web.Request) -> web.Response:
                return web.Response(body=body, headers=named)

            self.answers[path] = give
        else:
            assert callable(answer)
            self.answers[path] = answer

    def status(self, path: str, status: int, body: bytes = b"secret of the source", **headers: str) -> None:
        """Set the answer of a path to a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def give(_request: web.Request) -> web.Response:
            return web.Response(status=status, body=body, headers=named)

        self.answers[path] = give

    def redirect(self, path: str, location: str) -> None:
        """Have a path answered with a redirect."""
        self.status(path, 307, b"", Location=location)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        answer = self.answers.get(request.path)
        return web.Response(status=404) if answer is None else await answer(request)


@asynccontextmanager
async def http_source() -> AsyncIterator[HttpSource]:
    """Run an `HttpSource`."""
    source = HttpSource()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", source._answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        source.port = runner.addresses[0][1]
        yield source
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_source(
    talk: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Run a server that answers each request with whatever `talk` writes; gives its port.

    `talk` is given the request's head. The connection is closed when it returns.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await talk(head, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def document(name: str = "d1", **more: object) -> bytes:
    """Give a DocumentReference's JSON."""
    return msgspec.json.encode(
        {"resourceType": "DocumentReference", "id": name, "meta": {"versionId": "1"}, **more}
    )
