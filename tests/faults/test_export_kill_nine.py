"""`kill -9` while an export's parts are written: its client gets what an undisturbed export gives.

And while an export is deleted: all of it is gone in the end.

Each case kills one process when a share of the parts, drawn from a fixed seed, is sealed. The client is the
SDK's own; it goes on where it was, as it does after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from sluice_client import ApiError, ExportRequest, NotFoundError, SluiceClient, UnreachableError
from sluice_stack.stack import Stack
from sluice_storage.resources.load import load_folder
from support.invariants import check_log
from support.stack_export import grant
from support.stack_whole import running_stack

RESOURCES = 4000
# Whoever kills may be held up by the machine until there is nothing left to disturb; then it is done again.
ATTEMPTS = 3
SERVICES = ("exporter", "expirer", "status", "gateway", "auth")
# Many small parts, so that some are sealed, some being written and some waiting when something is killed.
SETTINGS = {"SLUICE_EXPORT_PART_BYTES": "4096", "SLUICE_EXPIRE_EVERY": "0.2"}

File = tuple[str, int, int, str]
"""Type, count, size and SHA-256 of a file, as its manifest lists it."""


@dataclass(frozen=True, slots=True)
class Result:
    """An export as its client has it, and how many of its parts were not sealed when something was killed."""

    job: str
    files: list[File]
    names: list[str]
    left: int


@dataclass(slots=True)
class Exporting:
    """A stack whose store has something to export, and a client that may."""

    stack: Stack
    client: SluiceClient
    folder: Path

    async def export(self, name: str, share: float = 1.0, kill: Callable[[], None] | None = None) -> Result:
        """Export into a folder of its own, and kill when so large a share of the parts is sealed."""
        to = self.folder / name
        async with asyncio.TaskGroup() as group:
            exporting = group.create_task(self._export(to))
            job, left = await self._reached(share, kill)
        lines = [line for path in sorted(to.glob("*.ndjson")) for line in path.read_bytes().splitlines()]
        found = [msgspec.json.decode(line) for line in lines]
        names = sorted(f"{each['resourceType']}/{each['id']}" for each in found)
        return Result(job, sorted(exporting.result()), names, left)

    async def _export(self, to: Path) -> list[File]:
        async with asyncio.timeout(120):
            while True:
                try:
                    done = await self.client.export(to, ExportRequest())
                except UnreachableError:
                    pass
                except ApiError as error:
                    if error.status < 500:
                        raise
                else:
                    return [
                        (file.type or "", file.count or 0, file.size or 0, file.sha256 or "")
                        for file in done.files.values()
                    ]
                await asyncio.sleep(0.5)

    async def _reached(self, share: float, kill: Callable[[], None] | None) -> tuple[str, int]:
        """Kill when so large a share is sealed; give the job, and how many of its parts were not."""
        query = "SELECT job::text, sealed, parts FROM exports.jobs WHERE deleted_at IS NULL"
        rows = await asyncpg.connect(self.stack.dsn())
        async with asyncio.timeout(120):
            while (row := await rows.fetchrow(f"{query} AND sealed >= parts * $1::float8", share)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        if kill is not None:
            row = await rows.fetchrow(query)
            assert row is not None
            assert row["sealed"] > 0
            await asyncio.to_thread(kill)
        rows.terminate()
        return str(row["job"]), row["parts"] - row["sealed"]

    async def left(self, job: str) -> list[Path]:
        """Wait until all of a deleted job is said to be gone; give its objects that are not."""
        rows = await asyncpg.connect(self.stack.dsn())
        purged = "SELECT purged_at FROM exports.jobs WHERE job = $1"
        async with asyncio.timeout(120):
            while await rows.fetchval(purged, job) is None:  # noqa: ASYNC110 - the expirer is another process
                await asyncio.sleep(0.05)
        await rows.close()
        return self.objects(job)

    def objects(self, job: str) -> list[Path]:
        """Give a job's objects."""
        folder = self.stack.layout.home.objects / "exports" / job
        return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def exporting_stack() -> Iterator[Stack]:
    with running_stack(services=SERVICES, source=False, scale={"exporter": 2}, settings=SETTINGS) as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporting(
    exporting_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Exporting]:
    folder = tmp_path_factory.mktemp("exports")
    about = {"status": "final", "code": {"text": "x" * 100}}
    lines = [
        msgspec.json.encode({"resourceType": "Observation", "id": f"o{number}", **about})
        for number in range(RESOURCES)
    ]
    (folder / "Observation.ndjson").write_bytes(b"\n".join(lines))
    await load_folder(exporting_stack.dsn("sluice_loader"), [folder / "Observation.ndjson"])
    addresses = exporting_stack.addresses
    async with SluiceClient(addresses.gateway, auth_url=addresses.auth) as client:
        credentials = await client.sign_up("exporting", scopes=["system/*.rs"])
        await grant(exporting_stack, credentials.client_id)
        yield Exporting(exporting_stack, client, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def undisturbed(exporting: Exporting) -> Result:
    """Give what an export gives that nobody disturbs."""
    found = await exporting.export("undisturbed")
    assert found.names == sorted(f"Observation/o{number}" for number in range(RESOURCES))
    assert len(found.files) > 100
    assert await exporting.left(found.job) == []
    return found


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("victim", ["exporter-1", "kafka", "postgres"])
async def test_whatever_is_killed_the_export_is_that_of_an_undisturbed_run(
    exporting: Exporting, undisturbed: Result, victim: str
) -> None:
    stack = exporting.stack
    kills = {name: service.process.kill for name, service in stack.services.items()}
    kill = {**kills, "kafka": stack.kafka.kill, "postgres": stack.postgres.kill}[victim]
    share = random.Random(f"export {victim}").uniform(0.05, 0.7)
    for attempt in range(ATTEMPTS):
        found = await exporting.export(f"{victim}-{attempt}", share, kill)
        assert found.job != undisturbed.job
        assert found.files == undisturbed.files
        assert found.names == undisturbed.names
        assert await exporting.left(found.job) == []
        await asyncio.to_thread(check_log, stack, [undisturbed.job, found.job])
        if found.left:
            return
    pytest.fail("it was killed after the fact")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_expirer_that_is_killed_while_it_deletes_leaves_nothing_in_the_end(
    exporting: Exporting,
) -> None:
    for _ in range(ATTEMPTS):
        location, left = await _killed_while_it_deletes(exporting)
        job = location.rpartition("/")[2]
        assert await exporting.left(job) == []
        rows = await asyncpg.connect(exporting.stack.dsn())
        for table in ("parts", "files"):
            assert not await rows.fetchval(f"SELECT count(*) FROM exports.{table} WHERE job = $1", job)  # noqa: S608
        assert await rows.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job) is None
        await rows.close()
        with pytest.raises(NotFoundError):
            await exporting.client.export_status(location)
        await asyncio.to_thread(check_log, exporting.stack, [job])
        if left:
            return
    pytest.fail("it was killed after the fact")


async def _killed_while_it_deletes(exporting: Exporting) -> tuple[str, int]:
    """Kill the expirer when it has begun to delete an export; give where that was, and what is left of it."""
    stack, client = exporting.stack, exporting.client
    location = await client.start_export(ExportRequest())
    await client.wait_for_export(location, timeout=120)
    job = location.rpartition("/")[2]
    assert len(exporting.objects(job)) > 100
    # So many that it is still at it when it is killed: what killed exporters have left goes with the rest.
    folder = exporting.objects(job)[0].parent
    await asyncio.to_thread(leave_unfinished, folder, 20_000)
    before = _changed(folder)
    await client.delete_export(location)
    async with asyncio.timeout(120):
        while _changed(folder) == before:  # noqa: ASYNC110 - the expirer is another process
            await asyncio.sleep(0.001)
    await asyncio.to_thread(stack.services["expirer"].process.kill)
    left = len(exporting.objects(job))
    with pytest.raises(NotFoundError):
        await client.export_status(location)
    return location, left


def _changed(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def leave_unfinished(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"9.{number}.ndjson").touch()
