"""A bulk import API of a test's own (`$import`, `$submit-data` and their status), in memory.

It is part of `FakeSluice`: `service.pulls`. What became of an import is in `information` and `errors`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PROGRESS = ('"Retrieving export files"', '"Retrieving export files" (45% at the source)', "40%")


def outcome(severity: str, text: str, code: str = "informational") -> dict[str, Any]:
    """Give an OperationOutcome of one issue."""
    issue = {"severity": severity, "code": code, "details": {"text": text}, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


INFORMATION = (outcome("information", "Patient file 1: 3 lines read."), outcome("information", "1 file"))


@dataclass
class FakePull:
    """One import: how it was asked for, and how often it was polled."""

    path: str
    body: dict[str, Any]
    prefer: str
    key: str
    polls: int = 0
    deleted: bool = False


@dataclass
class FakePulls:
    """See the module.

    `told` is what polls are answered while an import runs; `failed` is what an import that failed as a whole
    says; `break_after` breaks off the first file of errors after so many bytes; `hold_answer` holds kick-offs
    up; `relative` gives their place without the host.
    """

    tokens: set[str]
    url: str = ""
    pulls: list[FakePull] = field(default_factory=list)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    told: tuple[str, ...] = PROGRESS
    information: list[dict[str, Any]] = field(
        default_factory=lambda: [
            outcome("information", "Patient file 1: 3 lines read."),
            outcome("information", "1 file"),
        ]
    )
    errors: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""
    break_after: int | None = None
    hold_answer: asyncio.Event | None = None
    hold_end: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    relative: bool = False

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.post("/fhir/$import", self._kick_off),
            web.post("/fhir/Measure/{id}/$submit-data", self._submit),
            web.post("/fhir/Measure/$submit-data", self._submit),
            web.get("/fhir/bulkstatus/{job}", self._poll),
            web.delete("/fhir/bulkstatus/{job}", self._delete),
            web.get("/fhir/{job}/{name}", self._file),
        ]

    def _known(self, request: web.Request) -> bool:
        return request.headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens

    async def _kick_off(self, request: web.Request) -> web.Response:
        if not self._known(request):
            return _answer(401, outcome("error", "The token is not valid.", "login"))
        key = request.headers["Idempotency-Key"]
        made = FakePull(request.path, json.loads(await request.read()), request.headers["Prefer"], key)
        if key not in [each.key for each in self.pulls]:
            self.pulls.append(made)
        self.asked.set()
        if self.hold_answer is not None:
            await self.hold_answer.wait()
        place = f"/fhir/bulkstatus/{[each.key for each in self.pulls].index(key)}"
        location = place.lstrip("/") if self.relative else self.url + place
        return web.Response(status=202, headers={"Content-Location": location})

    async def _submit(self, request: web.Request) -> web.Response:
        if "respond-async" in request.headers.get("Prefer", ""):
            return await self._kick_off(request)
        if not self._known(request):
            return _answer(401, outcome("error", "The token is not valid.", "login"))
        body = json.loads(await request.read())
        self.submitted.append(body)
        given = [each["resource"] for each in body["parameter"]]
        responses = [
            {
                "response": {
                    "status": "201 Created",
                    "location": f"{self.url}/fhir/{each['resourceType']}/{each.get('id', 'made')}/_history/1",
                }
            }
            for each in given
        ]
        return _answer(200, {"resourceType": "Bundle", "type": "transaction-response", "entry": responses})

    def _pull(self, request: web.Request) -> FakePull | None:
        job = request.match_info["job"]
        known = job.isdigit() and int(job) < len(self.pulls) and not self.pulls[int(job)].deleted
        return self.pulls[int(job)] if known else None

    async def _poll(self, request: web.Request) -> web.Response:
        found = self._pull(request)
        if not self._known(request):
            return _answer(401, outcome("error", "The token is not valid.", "login"))
        if found is None:
            return _answer(404, outcome("error", "The queried request is not available.", "not-found"))
        found.polls += 1
        self.polled.set()
        running = self.hold_end is not None and not self.hold_end.is_set()
        if found.polls <= len(self.told) or running:
            said = self.told[min(found.polls, len(self.told)) - 1]
            return web.Response(status=202, headers={"X-Progress": said, "Retry-After": "0"})
        if self.failed:
            return _answer(500, outcome("error", self.failed, "exception"))
        base = f"{self.url}/fhir/{request.match_info['job']}"
        listed = [{"type": "OperationOutcome", "url": f"{base}/info_file_1.ndjson"}]
        errors = [{"type": "OperationOutcome", "url": f"{base}/errors_file_1.ndjson"}]
        return web.json_response(
            {
                "transactionTime": "2026-01-31T12:00:00.000Z",
                "requiresAccessToken": True,
                "extension": {"sourceTransactionTime": "2026-01-31T11:00:00.000Z"},
                "outcome": listed,
                "output": [{**listed[0], "count": len(self.information)}],
                "error": [{**errors[0], "count": len(self.errors)}] if self.errors else [],
            }
        )

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._pull(request)
        if found is None:
            return _answer(404, outcome("error", "The queried request is not available.", "not-found"))
        found.deleted = True
        return web.Response(status=202)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        if not self._known(request):
            return _answer(401, outcome("error", "The token is not valid.", "login"))
        errors = request.match_info["name"].startswith("errors")
        content = b"".join(
            json.dumps(each).encode() + b"\n" for each in (self.errors if errors else self.information)
        )
        response = web.StreamResponse(headers={"Content-Type": "application/fhir+ndjson"})
        response.content_length = len(content)
        await response.prepare(request)
        end, self.break_after = (self.break_after, None) if errors else (None, self.break_after)
        await response.write(content[:end])
        if end is not None:
            assert request.transport is not None
            # What was sent arrives before the connection ends.
            await asyncio.sleep(0.05)
            request.transport.close()
        return response


def _answer(status: int, body: dict[str, Any]) -> web.Response:
    return web.json_response(body, status=status, content_type="application/fhir+json")
