"""Bulk export as a client meets it: a gateway's process, real Kafka and Postgres, the services behind it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
import pytest
import pytest_asyncio

from sluice_expirer import __main__ as expirer
from sluice_expirer.settings import Settings as ExpirerSettings
from sluice_exporter import __main__ as exporter
from sluice_exporter.settings import Settings as ExporterSettings
from sluice_status import __main__ as status
from sluice_status.settings import Settings as StatusSettings
from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from sluice_storage.encryption.framing import sealed
from sluice_storage.exports.objects import data_key_name
from sluice_storage.pool import open_pool
from sluice_storage.resources.groups import Groups
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.topics_admin import create
from support.exports import names, observation, patient
from support.gateway_process import Running, gateway_process
from support.object_stores import KEYS, MASTER_KEYS
from support.resource_store import open_store
from support.stack import Database
from support.streams import serving

Manifest = dict[str, Any]
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


@dataclass
class World:
    """A gateway that runs, a client, and the rows behind."""

    gateway: Running
    session: aiohttp.ClientSession
    rows: asyncpg.Pool
    folder: Path
    database: Database
    scopes: str = "system/*.rs"

    def headers(self, client: str = "portal", subject: str = "ann", **token: Any) -> dict[str, str]:
        chosen = {"scopes": self.scopes, **token}
        return self.gateway.authority.bearer(client=client, subject=subject, **chosen)

    async def grant(self, grantee: str, group: str | None = None) -> None:
        await Grants(self.rows).give(
            Grant(
                id=str(uuid4()),
                grantee_kind=GranteeKind.USER,
                grantee=grantee,
                all_patients=group is None,
                group=group,
                granted_by="operator",
                granted_at=datetime.now(UTC),
            )
        )

    async def kick_off(self, path: str, **more: Any) -> str:
        headers = {**self.headers(), "Accept": "application/fhir+json", "Prefer": "respond-async"}
        async with self.session.request(
            "POST" if more else "GET", f"{self.gateway.url}/fhir/{path}", headers=headers, **more
        ) as answer:
            assert answer.status == 202, await answer.text()
            assert await answer.read() == b""
            return answer.headers["Content-Location"]

    async def poll(self, location: str) -> tuple[int, Any, Any]:
        async with self.session.get(location, headers=self.headers()) as answer:
            body = await answer.read()
            return answer.status, msgspec.json.decode(body) if body else None, answer.headers

    async def manifest(self, location: str) -> Manifest:
        """Poll as often as asked, until the export has ended."""
        async with asyncio.timeout(120):
            while True:
                found, body, headers = await self.poll(location)
                if found == 200:
                    return dict(body)
                assert found == 202, body
                word, _, share = headers["X-Progress"].partition(" ")
                assert (word, bool(share)) in {("scheduled", False), ("started", True)}
                await asyncio.sleep(float(headers["Retry-After"]))

    async def download(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        async with self.session.get(item["url"], headers=self.headers()) as answer:
            assert (answer.status, answer.content_type) == (200, "application/fhir+ndjson")
            data = await answer.read()
        assert len(data) == item["extension"]["size"]
        assert hashlib.sha256(data).hexdigest() == item["extension"]["sha256"]
        lines = [msgspec.json.decode(line) for line in data.splitlines()]
        assert len(lines) == item["count"]
        assert {line["resourceType"] for line in lines} <= {item.get("type", line_type(lines))}
        return lines

    async def export(self, path: str, **more: Any) -> list[str]:
        """Export, download everything, and name it."""
        manifest = await self.manifest(await self.kick_off(path, **more))
        lines = [await self.download(item) for item in manifest["output"]]
        return names([line for some in lines for line in some])


def line_type(lines: list[dict[str, Any]]) -> str:
    return str(lines[0]["resourceType"])


@asynccontextmanager
async def services(database: Database, bootstrap: str, folder: Path) -> AsyncIterator[None]:
    objects = (folder / "objects").as_uri()
    backend = KafkaBackend(bootstrap)
    async with AsyncExitStack() as stack:
        made = ExporterSettings(
            postgres=database.dsn_for("exporter"),
            master_keys=MASTER_KEYS,
            objects=objects,
            export_part_bytes=4096,
        )
        await stack.enter_async_context(serving("exporter", lambda c: exporter.serve(c, made, backend)))
        expiring = ExpirerSettings(postgres=database.dsn_for("expirer"), objects=objects, expire_every=0.2)
        await stack.enter_async_context(serving("expirer", lambda c: expirer.serve(c, expiring, backend)))
        folding = StatusSettings(postgres=database.dsn_for("status"))
        await stack.enter_async_context(serving("status", lambda c: status.serve(c, folding, backend)))
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world_of(module_database: Database, kafka: str, tmp_path_factory: Any) -> AsyncIterator[World]:
    """One world for all tests here: starting it takes longer than any of them."""
    database, folder = module_database, tmp_path_factory.mktemp("world")
    await create(kafka)
    async with open_store(database) as store:
        await store.load(*(patient(f"p{n}", gender="male" if n % 2 else "female") for n in range(20)))
        for first in range(0, 200, 20):
            await store.load(*(observation(f"o{n}", f"p{n % 20}") for n in range(first, first + 20)))
        await store.load({"resourceType": "Organization", "id": "org", "name": "x"})
    rows = await open_pool(database.dsn_for("gateway"), wait=10)
    await Groups(rows).put("g", "Group", ["p1", "p2", "p3"])
    async with (
        services(database, kafka, folder),
        gateway_process(database, kafka, folder) as running,
        aiohttp.ClientSession() as session,
    ):
        world = World(running, session, rows, folder, database)
        await world.grant("ann")
        await world.grant("carol", "g")
        yield world
    await rows.close()


@pytest.fixture
def world(world_of: World) -> World:
    return world_of


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_export_runs_from_its_kick_off_to_its_deletion(world: World) -> None:
    location = await world.kick_off("$export")
    status_, _, headers = await world.poll(location)
    assert status_ in (200, 202)
    assert "X-Progress" in headers
    manifest = await world.manifest(location)
    lines = [line for item in manifest["output"] for line in await world.download(item)]
    assert len(names(lines)) == len(set(names(lines))) == 221
    assert {item["type"] for item in manifest["output"]} == {"Patient", "Observation", "Organization"}
    assert (manifest["deleted"], manifest["error"]) == ([], [])
    assert manifest["request"] == f"{world.gateway.url}/fhir/$export"
    job = location.rpartition("/")[2]
    assert list((world.folder / "objects" / "exports" / job).rglob("*.ndjson"))
    async with world.session.delete(location, headers=world.headers()) as answer:
        assert (answer.status, await answer.read()) == (202, b"")
    for method, url in (("GET", location), ("DELETE", location), ("GET", manifest["output"][0]["url"])):
        async with world.session.request(method, url, headers=world.headers()) as answer:
            assert answer.status == 404
            assert (await answer.json(content_type=None))["issue"][0]["code"] == "forbidden"
    async with asyncio.timeout(120):
        # Unlike glob, walk takes it that folders go meanwhile.
        while any(files for *_, files in os.walk(world.folder / "objects" / "exports" / job)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_every_level_and_parameter_reaches_the_files(world: World) -> None:
    assert await world.export("Patient/$export?_type=Patient") == sorted(f"Patient/p{n}" for n in range(20))
    assert await world.export("Group/g/$export?_type=Patient") == ["Patient/p1", "Patient/p2", "Patient/p3"]
    filtered = "Group/g/$export?_type=Patient&_typeFilter=Patient%3Fgender%3Dmale"
    assert await world.export(filtered) == ["Patient/p1", "Patient/p3"]
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueString": "Patient,Observation"},
            {"name": "patient", "valueReference": {"reference": "Patient/p2"}},
        ],
    }
    found = await world.export("Group/g/$export", json=parameters)
    assert found == sorted(["Patient/p2", *(f"Observation/o{n}" for n in range(2, 200, 20))])
    assert await world.export("$export?_since=2999-01-01T00:00:00Z") == []


async def test_what_a_lenient_client_asked_in_vain_is_in_the_errors(world: World) -> None:
    headers = {**world.headers(), "Prefer": "respond-async, handling=lenient"}
    url = f"{world.gateway.url}/fhir/$export?_type=Organization&_tpye=x&organizeOutputBy=Group"
    async with world.session.get(url, headers=headers) as answer:
        assert answer.status == 202
        manifest = await world.manifest(answer.headers["Content-Location"])
    lines = [line for item in manifest["error"] for line in await world.download(item)]
    assert len(lines) == 2
    assert {line["resourceType"] for line in lines} == {"OperationOutcome"}
    assert len(manifest["output"]) == 1


async def test_a_growing_manifest_is_told_in_pages_that_never_change(world: World) -> None:
    location = await world.kick_off("$export?allowPartialManifests=true")
    seen: list[Manifest] = []
    async with asyncio.timeout(120):
        url = location
        while True:
            found, body, headers = await world.poll(url)
            assert found in (200, 202)
            if body is None:
                await asyncio.sleep(float(headers["Retry-After"]))
                continue
            seen.append(body)
            if "link" not in body:
                break
            url = body["link"][0]["url"]
    again = [(await world.poll(location))[1]]
    while "link" in again[-1]:
        again.append((await world.poll(again[-1]["link"][0]["url"]))[1])
    assert again == seen
    files = [item for body in seen for item in body["output"]]
    lines = [line for item in files for line in await world.download(item)]
    assert len(names(lines)) == len(set(names(lines))) == 221


async def test_blocks_of_patients_open_with_a_header(world: World) -> None:
    manifest = await world.manifest(await world.kick_off("Group/g/$export?organizeOutputBy=Patient"))
    assert manifest["outputOrganizedBy"] == "Patient"
    assert not any("type" in item for item in manifest["output"])
    async with world.session.get(manifest["output"][0]["url"], headers=world.headers()) as answer:
        first = msgspec.json.decode((await answer.read()).splitlines()[0])
    assert first["resourceType"] == "Parameters"


async def test_a_subject_sees_what_it_was_granted_and_no_more(world: World) -> None:
    headers = world.headers(subject="carol")
    base = f"{world.gateway.url}/fhir"
    async with world.session.get(f"{base}/$export", headers=headers) as answer:
        assert answer.status == 202
        location = answer.headers["Content-Location"]
    async with asyncio.timeout(120):
        while True:
            async with world.session.get(location, headers=headers) as answer:
                if answer.status == 200:
                    manifest = await answer.json()
                    break
                await asyncio.sleep(float(answer.headers["Retry-After"]))
    found = []
    for item in manifest["output"]:
        async with world.session.get(item["url"], headers=headers) as answer:
            found += [msgspec.json.decode(line) for line in (await answer.read()).splitlines()]
    assert {line["id"] for line in found if line["resourceType"] == "Patient"} == {"p1", "p2", "p3"}
    assert {line["resourceType"] for line in found} == {"Patient", "Observation"}
    async with world.session.get(f"{base}/$export", headers=world.headers(subject="dave")) as answer:
        assert answer.status == 403


async def test_a_foreign_subject_is_told_the_same_about_every_address(world: World) -> None:
    location = await world.kick_off("$export?_type=Organization")
    (item,) = (await world.manifest(location))["output"]
    unknown = location[:-6] + "ffffff"
    foreign = world.headers(subject="bob")
    told = []
    for headers, url, file in (
        (foreign, location, item["url"]),
        (world.headers(client="other"), location, item["url"]),
        (world.headers(), unknown, item["url"].replace(location, unknown)),
    ):
        for method, address in (("GET", url), ("GET", file), ("HEAD", file), ("DELETE", url)):
            async with world.session.request(method, address, headers=headers) as answer:
                told.append((answer.status, await answer.read(), sorted(answer.headers)))
    assert told[:4] == told[4:8] == told[8:]
    assert {status_ for status_, _, _ in told} == {404}
    assert await world.download(item)


async def test_what_was_exported_by_a_grant_is_read_while_it_is_granted(world: World) -> None:
    own = world.headers(subject="erin")
    headers = {**own, "Accept": "application/fhir+json", "Prefer": "respond-async"}
    grants = Grants(world.rows)

    async def told(*addresses: str) -> set[int]:
        found = set()
        for address in addresses:
            async with world.session.get(address, headers=own) as answer:
                found.add(answer.status)
        return found

    await world.grant("erin")
    kick_off = f"{world.gateway.url}/fhir/$export?_type=Organization"
    async with world.session.get(kick_off, headers=headers) as answer:
        location = answer.headers["Content-Location"]
    async with asyncio.timeout(120):
        while await told(location) == {202}:  # noqa: ASYNC110 - the exporter is another service
            await asyncio.sleep(0.1)
    async with world.session.get(location, headers=own) as answer:
        (item,) = (await answer.json())["output"]
    (grant,) = await grants.of("portal", "erin")
    assert await grants.revoke(grant.id, "operator")
    assert await told(location, item["url"]) == {404}
    await world.grant("erin")
    assert await told(location, item["url"]) == {200}


async def test_an_export_that_is_deleted_while_it_runs_leaves_nothing(world: World) -> None:
    location = await world.kick_off("$export")
    async with world.session.delete(location, headers=world.headers()) as answer:
        assert answer.status == 202
    assert (await world.poll(location))[0] == 404
    job = location.rpartition("/")[2]
    async with asyncio.timeout(120):
        purged = "SELECT purged_at FROM exports.jobs WHERE job = $1"
        while not await world.rows.fetchval(purged, job):  # noqa: ASYNC110 - the expirer is another service
            await asyncio.sleep(0.05)
    assert not list((world.folder / "objects" / "exports").glob(f"{job}/*/*"))


async def test_a_download_outlives_its_token_and_its_export(world: World) -> None:
    location = await world.kick_off("$export?_type=Observation")
    item = (await world.manifest(location))["output"][0]
    job, key = location.rpartition("/")[2], item["url"].rpartition("/")[2]
    part, n = key.split(".")[:2]
    owner = await asyncpg.connect(world.database.dsn)
    data = b'{"resourceType":"Observation"}\n' * 1_000_000
    row = await owner.fetchrow(
        "UPDATE exports.files f SET size = $4, sha256 = $5 FROM exports.jobs j"
        " WHERE f.job = $1 AND part = $2 AND n = $3 AND j.job = f.job RETURNING key, data_key",
        job,
        int(part),
        int(n),
        len(data),
        hashlib.sha256(data).digest(),
    )
    await owner.close()
    assert row is not None
    data_key = KEYS.unwrap(row["data_key"], data_key_name(job))
    (world.folder / "objects" / row["key"]).write_bytes(b"".join(sealed(data_key, row["key"], data)))
    # Long enough for a busy machine to begin the download.
    short = {**world.headers(lifetime=15), "Accept-Encoding": "identity"}
    async with world.session.get(item["url"], headers=short) as answer:
        assert answer.status == 200
        got = await answer.content.readexactly(100_000)
        async with world.session.delete(location, headers=world.headers()) as deleted:
            assert deleted.status == 202
        status = 404
        async with asyncio.timeout(120):
            while status == 404:
                await asyncio.sleep(0.1)
                async with world.session.get(item["url"], headers=short) as refused:
                    status = refused.status
        assert status == 401
        async with world.session.get(item["url"], headers=world.headers()) as refused:
            assert refused.status == 404
        # Nothing of it was removed meanwhile.
        assert (world.folder / "objects" / row["key"]).exists()
        assert got + await answer.content.read() == data


async def test_polling_too_fast_is_refused_with_seconds_to_wait(world: World) -> None:
    owner = await asyncpg.connect(world.database.dsn)
    async with asyncio.timeout(120), owner.transaction():
        # Nobody can plan the export: it is not ended before it was polled too fast.
        await owner.execute("LOCK TABLE exports.jobs IN SHARE ROW EXCLUSIVE MODE")
        location = await world.kick_off("$export")
        found, body, headers = await world.poll(location)
        while found == 202:
            found, body, headers = await world.poll(location)
        assert found == 429
        assert body["issue"][0]["code"] == "throttled"
        assert 0 < int(headers["Retry-After"]) <= 30
    await owner.close()
    await asyncio.sleep(int(headers["Retry-After"]))
    await world.manifest(location)


async def test_files_are_compressed_for_clients_that_take_it(world: World) -> None:
    item = (await world.manifest(await world.kick_off("$export?_type=Patient")))["output"][0]
    headers = {**world.headers(), "Accept-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(item["url"], headers=headers) as answer,
    ):
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = await answer.read()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == item["extension"]["sha256"]


async def test_no_log_line_holds_what_was_asked_for(world: World) -> None:
    await world.kick_off("$export?_type=Patient&_typeFilter=Patient%3Fname%3Dcanary-smith-1957")
    assert "canary-smith-1957" not in world.gateway.log.read_text()
    assert "Traceback" not in world.gateway.log.read_text()


async def test_what_is_labelled_as_restricted_is_left_out_for_whom_scopes_leave_it_out(world: World) -> None:
    label = {"system": CONFIDENTIALITY, "code": "R"}
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/p9"}}
    async with open_store(world.database) as store:
        await store.load(
            {**condition, "id": "open"}, {**condition, "id": "kept", "meta": {"security": [label]}}
        )
    everything = ["Condition/kept", "Condition/open"]
    assert await world.export("$export?_type=Condition") == everything
    unlabelled = replace(world, scopes=f"system/*.rs?_security:not={CONFIDENTIALITY}|R")
    for level in ("$export", "Patient/$export"):
        assert await unlabelled.export(f"{level}?_type=Condition") == ["Condition/open"]
    base = f"{world.gateway.url}/fhir/Condition"
    for asking, found in ((world, 200), (unlabelled, 404)):
        async with world.session.get(f"{base}/kept", headers=asking.headers()) as answer:
            assert answer.status == found
