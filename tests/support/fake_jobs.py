"""Jobs of every kind, of a test's own: lists, events and reruns in memory; part of `FakeSluice`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Imports = dict[str, dict[str, Any]]
Shown = Callable[[str], dict[str, Any]]


@dataclass
class FakeJobs:
    """See the module.

    `imports` are the document imports that the service has, which `shown` shows; `others` are jobs of other
    kinds, and of other people, as the API answers them. `break_events` breaks so many streams of events off.
    """

    imports: Imports
    shown: Shown
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    break_events: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.get("/v2/jobs", self._list),
            web.get("/v2/jobs/{id}", self._get),
            web.get("/v2/jobs/{id}/items", self._items),
            web.get("/v2/jobs/{id}/events", self._events),
            web.post("/v2/jobs/{id}/rerun", self._rerun),
            web.delete("/v2/others/{id}", self._cancel),
        ]

    def other(self, job: str, kind: str, url: str, **more: Any) -> None:
        """Have a job that is no document import."""
        counts = {"items": 3, "done": 1, "attached": 1, "skipped": 0, "failed": 0, "cancelled": 0}
        known = {"id": job, "href": f"{url}/v2/jobs/{job}", "kind": kind, "state": "RUNNING", "outcome": None}
        rest = {"client": "portal", "subject": "portal", "submitted_on": "2026-01-31T12:00:00Z", "eta": None}
        self.others[job] = {**known, **rest, "counts": counts, "result": f"{url}/v2/others/{job}", **more}

    def _job(self, job: str) -> dict[str, Any]:
        if job in self.others:
            return self.others[job]
        if job not in self.imports:
            body = {"status": 404, "code": "not_found", "message": "There is no such job.", "more_info": ""}
            raise web.HTTPNotFound(text=json.dumps(body), content_type="application/json")
        found = self.shown(job)
        counts = {name: found["counts"][name] for name in ("attached", "skipped", "failed", "cancelled")}
        done = sum(counts.values())
        names = {"kind": "document-import", "result": found["href"], "client": "portal", "subject": "portal"}
        return {**found, **names, "counts": {"items": found["counts"]["total"], "done": done, **counts}}

    async def _list(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        limit, offset = int(request.query.get("limit", 50)), int(request.query.get("offset", 0))
        found = [self._job(job) for job in [*reversed(self.imports), *self.others]]
        kind = request.query.get("kind")
        wanted = [each for each in found if kind in (None, each["kind"])]
        return web.json_response({"href": "", "items": wanted[offset : offset + limit], "links": []})

    async def _get(self, request: web.Request) -> web.Response:
        job = request.match_info["id"]
        if job in self.imports:
            self.imports[job]["polls"] += 1
        return web.json_response(self._job(job))

    async def _items(self, request: web.Request) -> web.Response:
        self._job(request.match_info["id"])
        return web.json_response({"href": "", "items": self.items, "links": []})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request.match_info["id"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        last = request.headers.get("Last-Event-ID", "")
        self.resumed.append(last)
        if not last:
            await response.write(b"event: snapshot\r\ndata: " + json.dumps(job).encode() + b"\r\n\r\n")
        for number, (type_, data) in enumerate(self.events):
            if last and number <= int(last.rpartition("-")[2]):
                continue
            text = f"id: 0-{number}\nevent: {type_}\ndata: {json.dumps(data)}\n\n: still here\n\n"
            await response.write(text.encode())
            if self.break_events:
                self.break_events -= 1
                assert request.transport is not None
                request.transport.close()
                return response
        if job["id"] in self.others:
            counts = {**job["counts"], "done": 3, "attached": 3}
            job |= {"state": "FINISHED", "outcome": "completed", "counts": counts}
        return response

    async def _rerun(self, request: web.Request) -> web.Response:
        old = self.imports[request.match_info["id"]]
        job = f"0191d2a0-0000-8000-8000-{len(self.imports):012d}"
        failed = [each for each in old["items"] if "/bad" in each["fhir_document_reference"]]
        self.imports[job] = {"items": failed, "polls": 0, "cancelled": False}
        return web.json_response({"id": job, "href": "", "state": "SUBMITTED"}, status=202)

    async def _cancel(self, request: web.Request) -> web.Response:
        del self.others[request.match_info["id"]]
        return web.Response(status=202)
