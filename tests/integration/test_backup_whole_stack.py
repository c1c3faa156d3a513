"""A stack is backed up while jobs run, everything but its secrets is lost, and the backup is restored."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import psycopg
import pytest

from sluice_backup import making
from sluice_backup.manifest import BackupError, opened
from sluice_client import Credentials, ExportLevel, ExportRequest, PullRequest, SluiceClient
from sluice_stack.backing_up import restore_into, settings_of
from sluice_stack.home import Home
from sluice_stack.layout import Layout, Ports
from sluice_stack.stack import Stack
from support.portal import Portal, new_portal, register_source
from support.stack_export import grant

HELD_UP = 60
EXPORT = ExportRequest(level=ExportLevel.PATIENT, types=("Patient",))
SCOPES = ["system/*.rs", "bulk/import"]


def documents(stack: Stack, first: int, count: int) -> list[str]:
    base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    return [f"{base}/bench-{number:06d}" for number in range(first, first + count)]


def rows(stack: Stack, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(stack.dsn()) as connection:
        return connection.execute(statement).fetchall()


async def until(stack: Stack, statement: str, wanted: object) -> None:
    deadline = time.monotonic() + 120
    while (found := rows(stack, statement)[0][0]) != wanted:
        assert time.monotonic() < deadline, (statement, found)
        await asyncio.sleep(0.1)


def stop(stack: Stack, *services: str) -> None:
    for name in services:
        stack.services[name].process.stop()


async def files_of(stack: Stack, portal: Portal, to: Path) -> dict[str, str]:
    """Download a portal's files; give the SHA-256 of each by name."""
    account = portal.account
    credentials = Credentials(client_id=account.client_id, client_secret=account.client_secret)
    found = {}
    async with client_of(stack, credentials) as client:
        async for file in client.files(project=portal.project):
            await client.download(file.id, to / file.id)
            found[file.name] = hashlib.sha256((to / file.id).read_bytes()).hexdigest()
            (to / file.id).unlink()
    return found


async def exported(client: SluiceClient, location: str) -> list[str]:
    """Download an export's files; give the SHA-256 of each."""
    manifest = await client.wait_for_export(location, timeout=120)
    assert manifest.files
    headers = {"Authorization": f"Bearer {await client.token()}"}
    hashes = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for file in manifest.files:
            async with session.get(file.url) as answer:
                assert answer.status == 200
                hashes.append(hashlib.sha256(await answer.read()).hexdigest())
    return sorted(hashes)


def client_of(stack: Stack, credentials: Credentials) -> SluiceClient:
    return SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth, credentials=credentials)


async def other_client(stack: Stack) -> Credentials:
    """Sign up a client that exports and imports in bulk."""
    async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as nobody:
        made = await nobody.sign_up("bulk", scopes=SCOPES)
    await grant(stack, made.client_id)
    return Credentials(client_id=made.client_id, client_secret=made.client_secret)


class Before:
    """What there was when the backup was made, and what was under way."""

    portal: Portal
    bulk: Credentials
    files: dict[str, str]
    export: str
    exported: list[str]
    jobs: Sequence[str]
    late_export: str
    late_pull: str


async def lived(stack: Stack, backup: Path, scratch: Path) -> Before:
    """Use a stack, and back it up while an import, an export and a pull are under way."""
    before = Before()
    before.bulk = await other_client(stack)
    async with new_portal(stack) as portal, client_of(stack, before.bulk) as bulk:
        before.portal = portal
        await register_source(stack, portal.http, "synthea")
        done = await portal.submit(documents(stack, 0, 5))
        await portal.finished([done])
        before.files = await files_of(stack, portal, scratch)
        assert len(before.files) == 5
        source = f"{stack.layout.source_url}/synthea/fhir/$export"
        await bulk.pull(PullRequest(export_url=source, types=("Patient",)), timeout=120)
        before.export = await bulk.start_export(EXPORT)
        before.exported = await exported(bulk, before.export)
        stop(stack, "attacher", "exporter", "puller")
        before.jobs = [done, await portal.submit(documents(stack, 5, HELD_UP))]
        await until(stack, "SELECT count(*) FROM documents.scraped", 5 + HELD_UP)
        before.late_export = await bulk.start_export(EXPORT)
        before.late_pull = await bulk.start_pull(PullRequest(export_url=source, types=("Condition",)))
        settings = settings_of(stack.layout.home, stack.kafka.bootstrap)
        made = await asyncio.to_thread(making.make, backup, settings, print)
        assert made.objects == 5 + len(before.exported)
        assert "jobs.bulk-export" in (backup / "accepted.ndjson").read_text()
    return before


async def goes_on(stack: Stack, before: Before, scratch: Path) -> None:
    """See that everything is there, and that what was under way ends as if nothing had been."""
    async with aiohttp.ClientSession() as http, client_of(stack, before.bulk) as bulk:
        # With the token of before: signing keys are restored too.
        portal = replace(before.portal, http=http)
        assert (await portal.job(before.jobs[0]))["state"] == "FINISHED"
        (ended,) = await portal.finished(before.jobs[1:], within=90)
        assert ended["counts"]["attached"] == HELD_UP
        assert await exported(bulk, before.export) == before.exported
        assert await exported(bulk, before.late_export) == before.exported
        await bulk.wait_for_pull(before.late_pull, timeout=120)
        found = await files_of(stack, portal, scratch)
        assert before.files.items() <= found.items()
        assert len(found) == 5 + HELD_UP, "every item has one file"
        again = await portal.submit(documents(stack, 5 + HELD_UP, 3))
        (ended,) = await portal.finished([again])
        assert ended["counts"]["attached"] == 3
    assert rows(stack, "SELECT count(*) FROM files.imports") == [(5 + HELD_UP + 3,)]
    assert rows(stack, "SELECT count(DISTINCT cluster) FROM status.offsets") == [(1,)]


def test_what_was_backed_up_while_jobs_ran_is_all_there_and_the_jobs_end(scratch: Path) -> None:
    home, backup, spare = Home(scratch / "home"), scratch / "backup", scratch / "spare"
    spare.mkdir()
    layout = Layout(home, Ports.free(), source=True)
    with Stack(layout) as stack:
        before = asyncio.run(lived(stack, backup, spare))
    kept = home.secrets_file.read_bytes()
    with pytest.raises(BackupError, match="is not empty"):
        restore_into(home, backup)
    shutil.rmtree(home.folder)
    with pytest.raises(BackupError, match="put the secrets"):
        restore_into(home, backup)
    home.secrets_file.write_text("{}")
    with pytest.raises(BackupError, match="SLUICE_SECRET is not what it was"):
        restore_into(home, backup)
    home.secrets_file.write_bytes(kept)
    restore_into(home, backup)
    with Stack(layout) as stack:
        asyncio.run(goes_on(stack, before, spare))


def test_a_backup_that_is_not_whole_is_not_restored(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="it is no backup"):
        opened(tmp_path)
