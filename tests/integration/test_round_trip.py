"""What one Sluice exports, another holds after importing it: also what has changed, and what was deleted.

The first is the whole stack; the other is a gateway, a puller and a status service with a database and a log
of their own, a client of the first by SMART Backend Services.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from sluice_client import SluiceClient
from sluice_fhir.source_auth import BackendServicesAuth, public_jwk
from sluice_fhir.sources import SourceChange, SourceDraft
from sluice_stack.stack import Stack
from sluice_streaming.memory import MemoryBroker
from support.gateway_real import RealSite, real_gateway
from support.pulling import pulling_services
from support.stack import Database
from support.stack_export import grant, load_sample, operator
from support.tokens import AUDIENCE

HEADERS = {"Content-Type": "application/fhir+json", "Prefer": "respond-async"}
OWN = "round-trip"


def patient(number: int, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": f"{OWN}-{number}", "gender": "female", **more}


def observation(number: int, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"{OWN}-{number}",
        "status": "final",
        "code": {"text": "Größe"},
        "subject": {"reference": f"Patient/{OWN}-{number}"},
        "valueQuantity": {"value": 1.50, "unit": "m"},
        **more,
    }


def canonical(body: bytes) -> str:
    """Hash a resource, whatever order its members are in, without what the store that holds it says of it."""
    resource = msgspec.json.decode(body)
    for name in ("versionId", "lastUpdated"):
        resource.get("meta", {}).pop(name, None)
    if not resource.get("meta"):
        resource.pop("meta", None)
    return hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()


async def held(dsn: str) -> dict[str, str]:
    """Give the hash of every resource that a store holds, by `Type/id`."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT type, id, body FROM fhir.resources WHERE superseded_by IS NULL AND NOT deleted"
        )
    finally:
        await connection.close()
    return {f"{row['type']}/{row['id']}": canonical(row["body"]) for row in rows}


def per_type(resources: dict[str, str]) -> Counter[str]:
    return Counter(name.partition("/")[0] for name in resources)


async def change(stack: Stack, *resources: dict[str, Any], delete: tuple[str, ...] = ()) -> None:
    """Store and delete at the first, as its operator does."""
    puts = [
        {"resource": it, "request": {"method": "PUT", "url": f"{it['resourceType']}/{it['id']}"}}
        for it in resources
    ]
    deletes = [{"request": {"method": "DELETE", "url": url}} for url in delete]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [*puts, *deletes]}
    async with operator(stack) as client:
        await client.send("POST", "/fhir", body=bundle)


@dataclass
class Second:
    """The one that imports."""

    site: RealSite
    database: Database
    export: str

    async def pull(self, since: str | None = None) -> dict[str, Any]:
        """Import what the first exports, and give the manifest of the end."""
        parameters = [{"name": "exportUrl", "valueUrl": self.export}]
        if since is not None:
            parameters.append({"name": "_since", "valueInstant": since})
        body = json.dumps({"resourceType": "Parameters", "parameter": parameters})
        token = self.site.authority.bearer(client="portal", subject="ann", scopes="bulk/import")
        answer = await self.site.post("/fhir/$import", data=body, headers={**HEADERS, **token})
        assert answer.status == 202, await answer.text()
        path = answer.headers["Content-Location"].removeprefix(AUDIENCE)
        async with asyncio.timeout(120):
            while True:
                answer = await self.site.get(path, headers=token)
                if answer.status != 202:
                    assert answer.status == 200, await answer.text()
                    shown: dict[str, Any] = await answer.json()
                    return shown
                await asyncio.sleep(0.1)

    async def held(self) -> dict[str, str]:
        return await held(self.database.dsn)


@asynccontextmanager
async def second_of(stack: Stack, database: Database) -> AsyncIterator[Second]:
    """Run the one that imports, registered at the first with the key that it publishes for it."""
    broker = MemoryBroker()
    base = f"{stack.addresses.gateway}/fhir"
    auth = BackendServicesAuth(
        token_url=f"{stack.addresses.auth}/oauth/token", client_id="to be registered", scope="system/*.rs"
    )
    async with real_gateway(database, producer=broker.producer(), export_early_polls=10_000) as site:
        made = await site.sources.create(SourceDraft(name="The first", base_url=base, auth=auth))
        assert isinstance(made.auth, BackendServicesAuth)
        async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
            registered = await client.register_key("the second", jwks={"keys": [public_jwk(made.auth)]})
        known = msgspec.structs.replace(made.auth, client_id=registered.client_id)
        await site.sources.update(made.id, SourceChange(auth=known))
        await grant(stack, registered.client_id)
        async with pulling_services(database, broker):
            yield Second(site, database, f"{base}/$export")


async def test_the_second_holds_what_the_first_does_and_follows_its_changes_and_deletions(
    stack: Stack, database: Database
) -> None:
    sample = await load_sample(stack)
    first = stack.dsn()
    everyone = [resource for n in range(4) for resource in (patient(n), observation(n))]
    try:
        await change(stack, *everyone)
        async with second_of(stack, database) as second:
            shown = await second.pull()
            there, here = await held(first), await second.held()
            assert per_type(here) == per_type(there)
            assert sample.counts.items() <= {**per_type(here), "Patient": sample.counts["Patient"]}.items()
            assert here == there

            changed = (patient(0, active=True), observation(1, status="amended"), patient(9))
            gone = (f"Observation/{OWN}-2", f"Patient/{OWN}-2", f"Observation/{OWN}-3")
            await change(stack, *changed, delete=gone)
            assert await held(first) != here
            shown = await second.pull(since=shown["extension"]["sourceTransactionTime"])
            there, here = await held(first), await second.held()
            assert here == there
            assert not here.keys() & set(gone)
            assert f"Patient/{OWN}-9" in here

            # What changes nothing brings nothing.
            shown = await second.pull(since=shown["extension"]["sourceTransactionTime"])
            assert await second.held() == here
            rows = await second.site.admin.fetch(
                "SELECT coalesce(sum(f.read), 0) AS read"
                " FROM pulls.jobs j LEFT JOIN pulls.files f USING (job)"
                " GROUP BY j.job, j.submitted_at ORDER BY j.submitted_at"
            )
            assert [int(row["read"]) for row in rows] == [len(there) + 2, len(changed) + 2, 0]
    finally:
        own = [f"{each['resourceType']}/{each['id']}" for each in (*everyone, patient(9))]
        await change(stack, delete=tuple(own))
