"""A bulk export API of a test's own (Bulk Data Access 2.0.0 and 3.0.0), in memory, with faults.

It is part of `FakeSluice`: `service.exports`. What it gives is in `files`, by type; each type is one file.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

EXTENSION = "https://sluice.example/fhir/file"
PROGRESS = ("scheduled", "started 40%")


def ndjson(type_: str, count: int) -> bytes:
    """Give resources of a type."""
    return b"".join(b'{"resourceType":"%s","id":"%d"}\n' % (type_.encode(), n) for n in range(count))


@dataclass
class FakeExport:
    """One export: how it was asked for, and how often it was polled."""

    method: str
    url: str
    query: list[tuple[str, str]]
    body: dict[str, Any] | None
    prefer: str
    key: str
    polls: int = 0
    deleted: bool = False


@dataclass
class FakeExports:
    """See the module.

    `break_after` breaks off the first answer with a file after so many bytes, by type; `wrong` announces
    another digest for a type; `pages` has the files listed one per page; `told` is what polls are answered
    while an export runs; `lose_answers` kick-offs are carried out without an answer; `reported` is
    in the manifest's list of errors.
    """

    tokens: set[str]
    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"Patient": ndjson("Patient", 3)})
    exports: list[FakeExport] = field(default_factory=list)
    told: tuple[str, ...] = PROGRESS
    retry_after: str | None = "0"
    break_after: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    extended: bool = True
    pages: bool = False
    reported: bytes = b""
    lose_answers: int = 0
    hold_answer: asyncio.Event | None = None
    hold_files: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    downloading: asyncio.Event = field(default_factory=asyncio.Event)
    requires_token: bool = True
    elsewhere: str = ""
    downloads: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        places = ("", "/Patient", "/Group/{group}")
        return [
            *(web.get(f"/fhir{place}/$export", self._kick_off) for place in places),
            *(web.post(f"/fhir{place}/$export", self._kick_off) for place in places),
            web.get("/fhir/exports/{job}", self._poll),
            web.delete("/fhir/exports/{job}", self._delete),
            web.get("/fhir/exports/{job}/files/{type}", self._file),
        ]

    def _known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens

    async def _kick_off(self, request: web.Request) -> web.StreamResponse:
        if not self._known(request):
            return _outcome(401, "login", "The token is not valid.")
        body = json.loads(await request.read() or b"null")
        key = request.headers["Idempotency-Key"]
        made = FakeExport(
            request.method, request.path, list(request.query.items()), body, request.headers["Prefer"], key
        )
        alike = [n for n, export in enumerate(self.exports) if export.key == key]
        if not alike:
            self.exports.append(made)
        self.asked.set()
        if self.hold_answer is not None:
            await self.hold_answer.wait()
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.close()
        location = f"{self.url}/fhir/exports/{(alike or [len(self.exports) - 1])[0]}"
        return web.Response(status=202, headers={"Content-Location": location})

    def _export(self, request: web.Request) -> FakeExport | None:
        job = int(request.match_info["job"])
        known = job < len(self.exports) and not self.exports[job].deleted
        return self.exports[job] if known else None

    async def _poll(self, request: web.Request) -> web.Response:
        found = self._export(request)
        if not self._known(request):
            return _outcome(401, "login", "The token is not valid.")
        if found is None:
            return _outcome(404, "forbidden", "The queried request is not available.")
        found.polls += 1
        page = int(request.query.get("page", 0))
        types = list(self.files)
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        if found.polls <= len(self.told):
            return web.Response(status=202, headers={**headers, "X-Progress": self.told[found.polls - 1]})
        if not self.pages:
            return web.json_response(self._manifest(request, types))
        manifest = self._manifest(request, types[page : page + 1])
        if page + 1 < len(types):
            link = {"relation": "next", "url": f"{self.url}{request.path}?page={page + 1}"}
            manifest["link"] = [link]
        return web.json_response(manifest)

    def _manifest(self, request: web.Request, types: list[str]) -> dict[str, Any]:
        output = []
        for type_ in types:
            content = self.files[type_]
            digest = hashlib.sha256(content).hexdigest() if type_ not in self.wrong else "0" * 64
            entry: dict[str, Any] = {
                "type": type_,
                "url": f"{self.elsewhere or self.url}{request.path}/files/{type_}",
            }
            if self.extended:
                entry["count"] = content.count(b"\n")
                entry["extension"] = {EXTENSION: {"size": len(content), "sha256": digest}}
            output.append(entry)
        error = [{"type": "OperationOutcome", "url": f"{self.url}{request.path}/files/error"}]
        return {
            "transactionTime": "2026-01-31T12:00:00.000Z",
            "request": f"{self.url}/fhir/$export",
            "requiresAccessToken": self.requires_token,
            "output": output,
            "deleted": [],
            "error": error if self.reported else [],
        }

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._export(request)
        if found is None:
            return _outcome(404, "forbidden", "The queried request is not available.")
        found.deleted = True
        return web.Response(status=202)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        type_ = request.match_info["type"]
        self.downloads.append((type_, dict(request.headers)))
        self.downloading.set()
        if self.requires_token and not self._known(request):
            return _outcome(401, "login", "The token is not valid.")
        if self._export(request) is None:
            return _outcome(404, "forbidden", "The queried request is not available.")
        if self.hold_files is not None:
            await self.hold_files.wait()
        content = self.reported if type_ == "error" else self.files[type_]
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        sent = content[start:]
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.headers["Content-Encoding"] = "gzip"
            sent = gzip.compress(sent)
        response.content_length = len(sent)
        await response.prepare(request)
        end = self.break_after.pop(type_, None)
        await response.write(sent[:end])
        if end is not None:
            assert request.transport is not None
            # What was sent arrives before the connection ends.
            await asyncio.sleep(0.05)
            request.transport.close()
        return response


def _outcome(status: int, code: str, text: str) -> web.Response:
    issue = {"severity": "error", "code": code, "details": {"text": text}}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return web.json_response(body, status=status, content_type="application/fhir+json")
