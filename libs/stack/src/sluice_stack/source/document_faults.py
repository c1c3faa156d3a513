"""How the faults of a document are played: those in which the DocumentReference itself is wrong."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from sluice_stack.source import rules
from sluice_stack.source.answers import FHIR_JSON, fhir, outcome, respond

Reply = web.StreamResponse
Player = Callable[[web.BaseRequest, str], Awaitable[Reply]]

# Documentation and private addresses (RFC 5737, RFC 1918).
_AWAY = "http://192.0.2.1/DocumentReference/elsewhere"
_PRIVATE = "http://10.0.0.1/secret"
_HUGE = 300 * 2**20
_CHUNK = 2**18
_STATUSES = {
    "not-found": (404, "not-found"),
    "gone": (410, "deleted"),
    "unauthorized": (401, "login"),
    "forbidden": (403, "forbidden"),
    "rejected": (422, "processing"),
    "unavailable": (503, "transient"),
}


class Patience:
    """Counts requests, for the faults that pass after two."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def tried(self, name: str) -> int:
        """Count one more request for `name` and say how many there were before."""
        self._seen[name] += 1
        return self._seen[name] - 1

    def refuse(self, name: str, status: int) -> Reply | None:
        """Give the refusal that the first two requests for `name` get, then None."""
        if self.tried(name) >= 2:
            return None
        return throttled() if status == 429 else outcome(status, "transient", "played on purpose")


def throttled() -> Reply:
    """Ask to be asked again in a second."""
    return outcome(429, "throttled", "played on purpose", retry_after="1")


async def hang() -> Reply:
    """Wait until the client gives up, which cancels this."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets this event")


class DocumentFaults:
    """Plays faults of documents under one base URL.

    Parameters
    ----------
    base
        The absolute base URL, for the documents' attachments.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._patience = Patience()
        self._content = rules.bench_content(0)
        self._players: dict[str, Player] = {
            "throttled-twice": self._throttled_twice,
            "unavailable-twice": self._unavailable_twice,
            "throttled": self._throttled,
            "hang": self._hang,
            "outcome": self._outcome,
            "html": self._html,
            "broken-json": self._broken_json,
            "wrong-type": self._wrong_type,
            "huge": self._huge,
            "redirect-away": self._redirect_away,
        }

    async def play(self, request: web.BaseRequest, kind: str, name: str) -> Reply:
        """Answer a read of `DocumentReference/{name}`, which meets the fault `kind`."""
        if kind in _STATUSES:
            status, issue = _STATUSES[kind]
            return outcome(status, issue, "played on purpose")
        player = self._players.get(kind)
        if player is not None:
            return await player(request, name)
        return respond(request, fhir(self._document(name, kind)))

    def _document(self, name: str, kind: str = "") -> dict[str, Any]:
        digest = rules.sha1(self._content)
        size = len(self._content)
        document: dict[str, Any] = msgspec.json.decode(rules.document(name, self._base, size, digest))
        _bend(document, kind, base64.b64encode(self._content).decode())
        return document

    async def _throttled_twice(self, request: web.BaseRequest, name: str) -> Reply:
        return self._patience.refuse(name, 429) or respond(request, fhir(self._document(name)))

    async def _unavailable_twice(self, request: web.BaseRequest, name: str) -> Reply:
        return self._patience.refuse(name, 503) or respond(request, fhir(self._document(name)))

    async def _throttled(self, _request: web.BaseRequest, _name: str) -> Reply:
        return throttled()

    async def _hang(self, _request: web.BaseRequest, _name: str) -> Reply:
        return await hang()

    async def _outcome(self, _request: web.BaseRequest, _name: str) -> Reply:
        return outcome(200, "processing", "played on purpose")

    async def _html(self, _request: web.BaseRequest, _name: str) -> Reply:
        page = "<!doctype html><title>Sign in</title><p>Your session has ended."
        return web.Response(text=page, content_type="text/html")

    async def _broken_json(self, _request: web.BaseRequest, name: str) -> Reply:
        body = msgspec.json.encode(self._document(name))
        return web.Response(body=body[: len(body) // 2], headers={"Content-Type": FHIR_JSON})

    async def _wrong_type(self, request: web.BaseRequest, name: str) -> Reply:
        return respond(request, fhir({"resourceType": "Patient", "id": name}))

    async def _huge(self, request: web.BaseRequest, name: str) -> Reply:
        response = web.StreamResponse(headers={"Content-Type": FHIR_JSON})
        await response.prepare(request)
        # Whoever reads it is expected to give up before its end.
        with suppress(ConnectionError):
            await response.write(msgspec.json.encode(self._document(name))[:-1] + b',"description":"')
            for _ in range(_HUGE // _CHUNK):
                await response.write(b"x" * _CHUNK)
            await response.write(b'"}')
        return response

    async def _redirect_away(self, _request: web.BaseRequest, _name: str) -> Reply:
        return web.Response(status=302, headers={"Location": _AWAY})


def _bend(document: dict[str, Any], kind: str, data: str) -> None:
    """Change the document into one that meets the fault; faults that are elsewhere leave it as it is."""
    attachment = document["content"][0]["attachment"]
    if kind.startswith("inline-") or kind == "bad-data":
        del attachment["url"]
        attachment["data"] = data
    match kind:
        case "no-content":
            document["content"][0]["attachment"] = {"contentType": "text/plain", "title": "nothing"}
        case "empty-content":
            document["content"] = []
        case "bad-data":
            attachment["data"] = "this is not base64!"
            del attachment["size"], attachment["hash"]
        case "inline-wrong-size" | "wrong-size":
            attachment["size"] += 1000
            del attachment["hash"]
        case "inline-wrong-hash" | "wrong-hash":
            attachment["hash"] = base64.b64encode(bytes(20)).decode()
        case "private-url":
            attachment["url"] = _PRIVATE
        case "file-url":
            attachment["url"] = "file:///etc/passwd"
        case "claims-huge" | "gzip-bomb":
            del attachment["size"], attachment["hash"]
