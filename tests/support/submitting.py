"""A submitter of bulk data: a source with manifests, and requests about submissions of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse

from support.gateway_real import RealSite
from support.pulling import PullSite
from support.resource_store import Json, lines_of, plain
from support.tokens import AUDIENCE

HEADERS = {"Content-Type": "application/fhir+json"}
CODES = "http://hl7.org/fhir/event-status"
IDENTIFIER = {"system": "https://submitters.example.org", "value": "ward-3"}


def parameters(*given: tuple[str, str, Any]) -> str:
    """Write parameters: name, kind of value, value."""
    listed = [{"name": name, kind: value} for name, kind, value in given]
    return json.dumps({"resourceType": "Parameters", "parameter": listed})


@dataclass
class Provider:
    """Submits by HTTP, for one submission unless another is named."""

    site: RealSite
    pull: PullSite
    name: str = "2026-01"
    scopes: str = "bulk/import"

    def token(self, **who: Any) -> dict[str, str]:
        return self.site.authority.bearer(
            **{"client": "portal", "subject": "ann", "scopes": self.scopes, **who}
        )

    def manifest(self, name: str, *resources: Json, deleted: tuple[str, ...] = ()) -> str:
        """Have the source serve a manifest with a file of these resources; gives its address."""
        http = self.pull.source.http
        http.on(f"/fhir/files/{name}.ndjson", lines_of(*resources), Content_Type="application/fhir+ndjson")
        listed = {"url": f"{http.base}/files/{name}.ndjson", "count": len(resources)}
        body: Json = {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False}
        body["output"] = [listed] if resources else []
        if deleted:
            entries = [{"request": {"method": "DELETE", "url": url}} for url in deleted]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            http.on(f"/fhir/files/{name}.deleted.ndjson", lines_of(bundle))
            body["deleted"] = [{"type": "Bundle", "url": f"{http.base}/files/{name}.deleted.ndjson"}]
        http.on(f"/fhir/manifests/{name}", json.dumps(body).encode())
        return f"{http.base}/manifests/{name}"

    async def submit(
        self,
        url: str | None = None,
        status: str | None = None,
        replaces: str | None = None,
        base: str | None = None,
        more: tuple[Json, ...] = (),
        **who: Any,
    ) -> ClientResponse:
        """Send `$bulk-submit`, with `more` parameters as they stand."""
        given: list[tuple[str, str, Any]] = [
            ("submitter", "valueIdentifier", IDENTIFIER),
            ("submissionId", "valueString", self.name),
        ]
        if status is not None:
            given.append(("submissionStatus", "valueCoding", {"system": CODES, "code": status}))
        if url is not None:
            given.append(("manifestUrl", "valueUrl", url))
            given.append(("fhirBaseUrl", "valueUrl", base or self.pull.source.http.base))
        if replaces is not None:
            given.append(("replacesManifestUrl", "valueUrl", replaces))
        headers = {**HEADERS, **self.token(**who)}
        body = json.loads(parameters(*given))
        body["parameter"] += more
        return await self.site.post("/fhir/$bulk-submit", json=body, headers=headers)

    async def submitted(self, *args: Any, **more: Any) -> None:
        """Send it, and see it done."""
        answer = await self.submit(*args, **more)
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["resourceType"] == "OperationOutcome"

    async def ask(self, base: str = "/fhir", **who: Any) -> ClientResponse:
        """Send `$bulk-submit-status`."""
        body = parameters(
            ("submitter", "valueIdentifier", IDENTIFIER), ("submissionId", "valueString", self.name)
        )
        headers = {**HEADERS, "Prefer": "respond-async", **self.token(**who)}
        return await self.site.post(f"{base}/$bulk-submit-status", data=body, headers=headers)

    async def place(self) -> str:
        """Ask for the status; gives the path to poll."""
        answer = await self.ask()
        assert answer.status == 202, await answer.text()
        return answer.headers["Content-Location"].removeprefix(AUDIENCE)

    async def ended(self, place: str | None = None) -> Json:
        """Poll until the submission is over; gives its manifest."""
        place = place or await self.place()
        async with asyncio.timeout(120):
            while True:
                answer = await self.site.get(place, headers=self.token())
                shown: Json = await answer.json()
                if answer.status == 200:
                    return shown
                assert answer.status == 202, shown
                assert int(answer.headers["Retry-After"]) >= 1
                assert shown["submissionId"] == self.name
                await asyncio.sleep(0.05)

    async def told(self, manifest: Json) -> dict[str, list[tuple[str, str]]]:
        """Read every file that a status manifest lists; gives severities and texts, by the manifest."""
        found: dict[str, list[tuple[str, str]]] = {}
        for item in manifest["outcome"]:
            answer = await self.site.get(item["url"].removeprefix(AUDIENCE), headers=self.token())
            assert answer.status == 200, item
            lines = [json.loads(line)["issue"][0] for line in (await answer.read()).splitlines()]
            assert len(lines) == item["count"]
            said = [(each["severity"], each["details"]["text"]) for each in lines]
            found.setdefault(item["manifestUrl"].rpartition("/")[2], []).extend(said)
        return found

    async def stored(self) -> dict[str, Json]:
        """Give everything that is in the store, by `Type/id`."""
        return {name: plain(each) for name, each in (await self.pull.stored()).items()}
