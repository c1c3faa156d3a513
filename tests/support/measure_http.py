"""Bundles and measures over HTTP: requests, and what is stored in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.model import Window
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from support.gateway_real import RealSite
from support.resource_store import Json

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples" / "measures"
VISITS = "emergency-visits"
"""The example of a measure that has logic."""
OPS = "ops/resources"


def example(name: str) -> bytes:
    return (EXAMPLES / f"{name}-bundle.json").read_bytes()


def put(resource: Json) -> Json:
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def delete(key: str) -> Json:
    return {"request": {"method": "DELETE", "url": key}}


def bundle(*entries: Json, type_: str = "transaction") -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": type_, "entry": entries}).encode()


async def send(
    site: RealSite, path: str, body: bytes | None = None, scopes: str = OPS, method: str = "POST", **more: Any
) -> tuple[int, Json]:
    headers = {**site.authority.bearer(client="portal", scopes=scopes), **more.pop("headers", {})}
    if body is not None:
        headers.setdefault("Content-Type", "application/fhir+json")
    answer = await site.call(method, path, data=body, headers=headers, **more)
    text = await answer.read()
    assert answer.content_type == "application/fhir+json" or not text
    return answer.status, json.loads(text) if text else {"location": answer.headers["Content-Location"]}


def codes_of(outcome: Json) -> list[str]:
    assert outcome["resourceType"] == "OperationOutcome"
    return [issue["code"] for issue in outcome["issue"]]


def statuses_of(answer: Json) -> list[str]:
    return [entry["response"]["status"][:3] for entry in answer["entry"]]


async def everything(site: RealSite) -> set[str]:
    """Read what an export would hold now."""
    planner, copies = Planner(site.admin), Copies(site.database.dsn)
    reader, found = Reader(site.admin, copies), set()
    window = Window(await planner.snapshot())
    try:
        for part in await planner.parts(list(await planner.types(window)), window):
            async for some in reader.lines(part, window):
                resources = [json.loads(line) for line in some]
                found |= {f"{each['resourceType']}/{each['id']}" for each in resources}
    finally:
        await copies.close()
    return found
