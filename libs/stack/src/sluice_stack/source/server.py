"""The source's server: which base URL serves what.

| base | serves |
|---|---|
| `/synthea/fhir` | the Synthea data set |
| `/ncpi/fhir` | the research data set |
| `/r4/fhir` | the generic data set, documents by rule (`bench-…`, `big-…`) and every fault (`fault-…`) |
| `/bearer/fhir` | the same for those who send the fixed token |
| `/oauth/fhir` | the same for those who send a token from `/oauth/token` |
| `/…/fhir/$export` | all of a base in bulk; `/…/fhir/exports/all` is a manifest that is always there |
| `/_counts` | how often each path was asked for, as JSON |
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from sluice_stack.source import faults, generic, patients, research, rules
from sluice_stack.source.answers import fhir, outcome, parse_range, respond
from sluice_stack.source.dataset import DataSet
from sluice_stack.source.document_faults import DocumentFaults
from sluice_stack.source.exports import Exports
from sluice_stack.source.file_faults import FileFaults
from sluice_stack.source.protection import Credentials, TokenDesk

SAMPLE = Path(__file__).resolve().parents[5] / "schemas" / "examples" / "synthea"
_CHUNK = 2**18


@dataclass(slots=True)
class _Base:
    """One FHIR base URL: its data, and whether rules and faults work there."""

    url: str
    data: DataSet
    exports: Exports
    refuses: Callable[[web.BaseRequest], web.Response | None] | None = None
    documents: DocumentFaults | None = None
    files: FileFaults | None = None


class SourceServer:
    """The demo source, run in this process.

    Parameters
    ----------
    synthea
        The folder with Synthea's files; without it there is no such base.
    port
        0 for a free one.
    credentials
        What the protected bases ask for.
    host
        The address to listen on.
    url
        What clients know the server as, if not by where it listens: behind a proxy, for example.
    """

    def __init__(
        self,
        synthea: Path | None = None,
        port: int = 0,
        credentials: Credentials | None = None,
        *,
        host: str = "127.0.0.1",
        url: str = "",
    ) -> None:
        self.credentials = credentials or Credentials()
        self.counts: Counter[str] = Counter()
        self._synthea = synthea
        self._port = port
        self._host = host
        self._desk = TokenDesk(self.credentials)
        self._bases: dict[str, _Base] = {}
        self._runner: web.ServerRunner | None = None
        self.url = url

    async def start(self) -> None:
        """Load the data and listen.

        Raises
        ------
        OSError
            The port is taken.
        """
        listener = socket.create_server((self._host, self._port), backlog=1024)
        self.url = self.url or f"http://{self._host}:{listener.getsockname()[1]}"
        self._load()
        # Below the level of applications: no routing, since the first path segments say it all.
        self._runner = web.ServerRunner(web.Server(self._handle), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Stop listening and drop what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def base(self, name: str) -> str:
        """Give a base URL: `synthea`, `ncpi`, `r4`, `bearer` or `oauth`."""
        return self._bases[name].url

    @property
    def token_url(self) -> str:
        """Where tokens for the `oauth` base come from."""
        return f"{self.url}/oauth/token"

    def documents(self, name: str) -> list[str]:
        """List the URLs of a base's documents, those by rule left out."""
        base = self._bases[name]
        return [f"{base.url}/DocumentReference/{each}" for each in base.data.names("DocumentReference")]

    def _load(self) -> None:
        plain = generic.load()
        guards = {"r4": None, "bearer": self._desk.refuses_bearer, "oauth": self._desk.refuses_issued}
        for name, refuses in guards.items():
            url = f"{self.url}/{name}/fhir"
            exports = Exports(url, plain, protected=refuses is not None)
            self._bases[name] = _Base(url, plain, exports, refuses, DocumentFaults(url), FileFaults(url))
        sets = {"ncpi": research.load()}
        if self._synthea is not None:
            sets["synthea"] = patients.load(self._synthea)
        for name, data in sets.items():
            url = f"{self.url}/{name}/fhir"
            self._bases[name] = _Base(url, data, Exports(url, data))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        self.counts[path] += 1
        _, name, fhir_segment, rest = (*path.split("/", 3), "", "", "")[:4]
        base = self._bases.get(name)
        if base is None or fhir_segment != "fhir":
            return await self._handle_other(request, path)
        if base.refuses is not None and rest != "metadata":
            refusal = base.refuses(request)
            if refusal is not None:
                return refusal
        return await self._read(request, base, rest)

    async def _handle_other(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path == "/oauth/token" and request.method == "POST":
            return await self._desk.token(request)
        if path == "/readyz":
            return web.Response(text="ready\n")
        if path == "/_counts":
            return web.json_response(dict(self.counts))
        return web.Response(status=404, text="no such base URL\n")

    async def _read(self, request: web.BaseRequest, base: _Base, rest: str) -> web.StreamResponse:
        exported = await base.exports.answer(request, rest)
        if exported is not None:
            return exported
        if base.documents is not None and base.files is not None:
            by_rule = rules.read(rest, base.url)
            if by_rule is not None:
                return respond(request, by_rule)
            kind, _, name = rest.partition("/")
            fault = faults.kind_of(name)
            if fault is not None and kind == "DocumentReference":
                return await base.documents.play(request, fault, name)
            if fault is not None and kind in ("files", "Binary"):
                return await base.files.play(request, fault, name)
            size = rules.big_size(name)
            if size is not None:
                return await self._big(request, base, kind, name, size)
        found = base.data.read(rest) or base.data.file(rest, request.headers.get("Accept", ""))
        if found is None and "/" not in rest:
            made = None if base.documents is None else lambda path: rules.read(path, base.url)
            found = base.data.search(rest, request.query_string, made)
        if found is None:
            return outcome(404, "not-found", "no such resource")
        return respond(request, found)

    async def _big(
        self, request: web.BaseRequest, base: _Base, kind: str, name: str, size: int
    ) -> web.StreamResponse:
        if kind == "DocumentReference":
            digest = await asyncio.to_thread(rules.big_digest, size)
            return respond(request, fhir(rules.document(name, base.url, size, digest)))
        if kind not in ("files", "Binary"):
            return outcome(404, "not-found", "no such resource")
        span = parse_range(request.headers.get("Range"), size)
        first, last = span or (0, size - 1)
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{name}"', "Accept-Ranges": "bytes"}
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        if span:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        response.content_length = last - first + 1
        await response.prepare(request)
        block = memoryview(rules.big_block())
        # A reader that gives up, and resumes later, is nothing to complain about.
        with suppress(ConnectionError):
            while first <= last:
                start = first % rules.BLOCK
                piece = block[start : start + min(_CHUNK, rules.BLOCK - start, last - first + 1)]
                await response.write(piece)
                first += len(piece)
        return response
