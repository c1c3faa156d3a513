"""A Sluice service of a test's own: the API and the authorization server on loopback, in memory, with faults.

    async with FakeSluice() as service:
        client = SluiceClient(service.url)

`service.faults` holds answers to give instead, first come first served: `(method, path prefix, answer)`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from support.fake_exports import FakeExports
from support.fake_jobs import FakeJobs
from support.fake_pulls import FakePulls

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeFile:
    id: str
    name: str
    project: str
    content: bytes = b""
    parent: str = "root"
    type: str = "file"
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    etag: str | None = None  # announced instead of the content's own

    @property
    def digest(self) -> str:
        return self.etag or hashlib.sha256(self.content).hexdigest()

    def shown(self) -> dict[str, Any]:
        size = len(self.content) if self.type == "file" else None
        return {
            "href": f"/v2/files/{self.id}",
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "size": size,
            "project": self.project,
            "parent": self.parent,
            "created_on": "2026-01-31T12:00:00Z",
            "modified_on": "2026-01-31T12:00:00Z",
            "tags": self.tags,
            "metadata": self.metadata,
            "something_new": True,
        }


def json_answer(status: int, body: dict[str, Any], **headers: str) -> Fault:
    """Give an answer as a fault; underscores in header names become hyphens."""

    async def give(_request: web.Request) -> web.StreamResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=fields)

    return give


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    await asyncio.sleep(0)
    return web.Response()


class FakeSluice:
    """See the module. `polls` is how often a job is polled before it has finished."""

    def __init__(self, polls: int = 2) -> None:
        self.url = ""
        self.faults: list[tuple[str, str, Fault]] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.clients: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.issued = 0
        self.expires_in = 300
        self.jobs: dict[str, dict[str, Any]] = {}
        self.every_job = FakeJobs(self.jobs, self._job)
        self.keys: dict[str, str] = {}
        self.files: dict[str, FakeFile] = {}
        self.projects: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        self.open_sign_up = True
        self.registrations: dict[str, dict[str, Any]] = {}
        self.assertions: list[str] = []
        self.exports = FakeExports(self.tokens)
        self.pulls = FakePulls(self.tokens)
        self._polls = polls
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._middle])
        route = app.router
        route.add_get("/.well-known/oauth-authorization-server", self._discover)
        route.add_get("/fhir/.well-known/smart-configuration", self._discover)
        route.add_post("/oauth/register", self._register)
        route.add_delete("/oauth/register/{id}", self._remove_client)
        route.add_post("/oauth/token", self._token)
        route.add_post("/v2/bulk/fhir", self._submit)
        route.add_get("/v2/bulk/fhir", self._list_jobs)
        route.add_get("/v2/bulk/fhir/{id}", self._poll)
        route.add_delete("/v2/bulk/fhir/{id}", self._cancel)
        route.add_get("/v2/files", self._list_files)
        route.add_get("/v2/files/{id}", self._file)
        route.add_get("/v2/files/{id}/metadata", self._metadata)
        route.add_get("/v2/files/{id}/download_info", self._download_info)
        route.add_get("/v2/files/{id}/content", self._content)
        route.add_get("/v2/projects", self._list_projects)
        route.add_post("/v2/projects", self._create_project)
        route.add_get("/v2/fhir/sources", self._list_sources)
        route.add_post("/v2/fhir/sources", self._add_source)
        route.add_delete("/v2/fhir/sources/{id}", self._remove_source)
        route.add_get("/v2/fhir/sources/{id}/health", self._source_health)
        route.add_patch("/v2/fhir/sources/{id}", self._change_source)
        app.add_routes(self.every_job.routes())
        app.add_routes(self.exports.routes())
        app.add_routes(self.pulls.routes())
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = self.exports.url = self.pulls.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def sent(self, method: str, prefix: str) -> list[tuple[dict[str, str], Any]]:
        """Give headers and bodies of the requests that came."""
        return [
            (headers, body)
            for m, path, headers, body in self.requests
            if m == method and path.startswith(prefix)
        ]

    @web.middleware
    async def _middle(self, request: web.Request, handler: Any) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw.decode()
        self.requests.append((request.method, request.path, dict(request.headers), body))
        for fault in self.faults:
            if fault[0] == request.method and request.path.startswith(fault[1]):
                self.faults.remove(fault)
                return await fault[2](request)
        if request.path.startswith("/v2") and not request.path.endswith("/content"):
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.tokens:
                return _problem(401, "invalid_token", "The token is not valid.", "Get a new access token.")
        response: web.StreamResponse = await handler(request)
        return response

    # -- the authorization server

    async def _discover(self, _request: web.Request) -> web.Response:
        found = {"issuer": self.url, "token_endpoint": f"{self.url}/oauth/token"}
        if self.open_sign_up:
            found["registration_endpoint"] = f"{self.url}/oauth/register"
        return web.json_response(found)

    async def _register(self, request: web.Request) -> web.Response:
        wish = await request.json()
        client = f"client-{len(self.clients) + 1}"
        self.registrations[client] = wish
        self.clients[client] = f"secret/{client}+%"
        answer = {
            "client_id": client,
            "client_secret": self.clients[client],
            "registration_access_token": "registration",
            "registration_client_uri": f"{self.url}/oauth/register/{client}",
            "scope": wish["scope"],
        }
        if wish["token_endpoint_auth_method"] == "private_key_jwt":
            del answer["client_secret"]
        return web.json_response(answer, status=201)

    async def _remove_client(self, request: web.Request) -> web.Response:
        known = request.match_info["id"] in self.clients
        if not known or request.headers.get("Authorization") != "Bearer registration":
            return web.json_response({"error": "invalid_token"}, status=401)
        del self.clients[request.match_info["id"]]
        return web.Response(status=204)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if "client_assertion" in form:
            # Each is good once; what is in them is the test's to check.
            fresh = str(form["client_assertion"]) not in self.assertions
            self.assertions.append(str(form["client_assertion"]))
            return self._issue() if fresh else web.json_response({"error": "invalid_client"}, status=401)
        given = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        client, _, secret = given.partition(":")
        known = self.clients.get(client, "")
        if secret != known.replace("%", "%25").replace("/", "%2F").replace("+", "%2B"):
            body = {"error": "invalid_client", "error_description": "Client authentication failed."}
            return web.json_response(body, status=401)
        return self._issue()

    def _issue(self) -> web.Response:
        self.issued += 1
        token = f"token-{self.issued}"
        self.tokens.add(token)
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in, "scope": ""}
        )

    # -- imports

    async def _submit(self, request: web.Request) -> web.Response:
        if request.headers.get("X-SBG-Advance-Access") != "Advance":
            return _problem(400, "advance_access", "The header is missing.", "")
        body = await request.json()
        if len(body["items"]) > 100:
            return _problem(400, "invalid_request", "items: at most 100", "")
        key = request.headers.get("Idempotency-Key", "")
        job = self.keys.get(key) or f"0191d2a0-0000-8000-8000-{len(self.jobs):012d}"
        if key:
            self.keys[key] = job
        self.jobs.setdefault(job, {"items": body["items"], "polls": 0, "cancelled": False})
        return web.json_response(
            {"id": job, "href": f"{self.url}/v2/bulk/fhir/{job}", "state": "SUBMITTED"}, status=202
        )

    def _job(self, job: str) -> dict[str, Any]:
        known = self.jobs[job]
        finished = known["polls"] >= self._polls or known["cancelled"]
        total = len(known["items"])
        bad = sum("/bad" in item["fhir_document_reference"] for item in known["items"])
        counts = {"total": total, "attached": 0, "skipped": 0, "failed": 0, "cancelled": 0, "pending": total}
        outcome = None
        if known["cancelled"]:
            counts |= {"cancelled": total, "pending": 0}
            outcome = "cancelled"
        elif finished:
            counts |= {"attached": total - bad, "failed": bad, "pending": 0}
            outcome = "completed"
        return {
            "id": job,
            "href": f"{self.url}/v2/bulk/fhir/{job}",
            "state": "FINISHED" if finished else "RUNNING",
            "outcome": outcome,
            "counts": counts,
            "submitted_on": "2026-01-31T12:00:00Z",
            "started_on": "2026-01-31T12:00:01Z",
            "finished_on": "2026-01-31T12:00:09Z" if finished else None,
        }

    async def _poll(self, request: web.Request) -> web.Response:
        job = request.match_info["id"]
        if job not in self.jobs:
            return _problem(404, "not_found", "There is no such job.", "Check the id.")
        self.jobs[job]["polls"] += 1
        head = self._job(job)
        limit, offset = int(request.query.get("limit", 100)), int(request.query.get("offset", 0))
        result = []
        for number, item in list(enumerate(self.jobs[job]["items"]))[offset : offset + limit]:
            bad = "/bad" in item["fhir_document_reference"]
            error = {"status": 404, "code": "document_not_found", "message": "The source has no such one."}
            result.append(
                {
                    "item": number,
                    "fhir_document_reference": item["fhir_document_reference"],
                    "state": "FAILED" if bad else "ATTACHED",
                    "resource": None,
                    "error": {**error, "more_info": "Check its id."} if bad else None,
                    "warnings": ["visit_date"] if "/sparse" in item["fhir_document_reference"] else [],
                    "other_contents": 2 if "/sparse" in item["fhir_document_reference"] else 0,
                }
            )
        return web.json_response({**head, "result": result, "links": []})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["id"]]["cancelled"] = True
        return web.json_response(self._job(request.match_info["id"]), status=202)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return _page(request, [self._job(job) for job in reversed(self.jobs)])

    # -- files

    async def _list_files(self, request: web.Request) -> web.Response:
        project, parent = request.query.get("project"), request.query.get("parent", "root")
        found = [
            it.shown()
            for it in self.files.values()
            if it.parent == parent and (project is None or it.project == project)
        ]
        return _page(request, found)

    async def _file(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["id"])
        if found is None:
            return _problem(404, "not_found", "There is no such file.", "Check the id.")
        return web.json_response(found.shown())

    async def _metadata(self, request: web.Request) -> web.Response:
        return web.json_response(self.files[request.match_info["id"]].metadata)

    async def _download_info(self, request: web.Request) -> web.Response:
        return web.json_response({"url": f"{self.url}/v2/files/{request.match_info['id']}/content?ticket=t"})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        file = self.files[request.match_info["id"]]
        etag = f'"{file.digest}"'
        start = 0
        if "Range" in request.headers and request.headers.get("If-Range", etag) == etag:
            start = request.http_range.start or 0
        headers = {"ETag": etag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(file.content) - 1}/{len(file.content)}"
        return web.Response(body=file.content[start:], status=206 if start else 200, headers=headers)

    # -- projects and sources

    async def _list_projects(self, request: web.Request) -> web.Response:
        return _page(request, self.projects)

    async def _create_project(self, request: web.Request) -> web.Response:
        body = await request.json()
        made = {"id": f"ann/{body['name'].lower().replace(' ', '-')}", "name": body["name"]}
        self.projects.append(made)
        return web.json_response(made, status=201)

    async def _list_sources(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": self.sources})

    async def _add_source(self, request: web.Request) -> web.Response:
        made = {"id": f"source-{len(self.sources) + 1}", **(await request.json())}
        self.sources.append(made)
        return web.json_response(made, status=201)

    async def _change_source(self, request: web.Request) -> web.Response:
        (found,) = [it for it in self.sources if it["id"] == request.match_info["id"]]
        found |= {**(await request.json()), "revision": 2}
        return web.json_response(found)

    async def _source_health(self, request: web.Request) -> web.Response:
        minute = {"at": "2026-01-02T03:04:00Z", "good": 7, "refused": 2, "failed": 0, "mean_seconds": 0.25}
        health = {
            "source": request.match_info["id"],
            "state": "held",
            "at_once": 4.5,
            "registered_at_once": 32,
            "per_second": None,
            "registered_per_second": None,
            "held_until": "2026-01-02T03:05:06Z",
            "usual_seconds": 0.2,
            "calls_per_second": 1.5,
            "processes": 3,
            "recent": [minute],
        }
        return web.json_response(health)

    async def _remove_source(self, request: web.Request) -> web.Response:
        self.sources = [it for it in self.sources if it["id"] != request.match_info["id"]]
        return web.Response(status=204)


def _problem(status: int, code: str, message: str, more_info: str) -> web.Response:
    body = {"status": status, "code": code, "message": message, "more_info": more_info}
    return web.json_response(body, status=status)


def _page(request: web.Request, found: list[Any]) -> web.Response:
    limit, offset = int(request.query.get("limit", 50)), int(request.query.get("offset", 0))
    return web.json_response({"href": "", "items": found[offset : offset + limit], "links": []})
