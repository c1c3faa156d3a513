"""Download of exports' files over loopback, beside a bare aiohttp file response of the same content.

The gateway is a process of its own on real Kafka and Postgres, as in production, and its file is encrypted;
the bare server, a process too, does nothing but `web.FileResponse` and has the content as it is. A client of
a few threads reads and throws away. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_download [--megabytes 512] [--rounds 5] [--at-once 4]
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import typer

from bench.measure import report, shown, side_by_side
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest
from sluice_stack.processes import free_port
from sluice_storage.encryption.framing import Sealer
from sluice_storage.exports.objects import data_key_name, key_of
from sluice_streaming.topics_admin import create
from support.gateway_process import Running, gateway_process
from support.object_stores import KEYS
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_kafka, running_postgres

SHARE = 0.6
ENOUGH = 500.0
"""MB/s."""
_READ = 1024 * 1024
_BARE = """
import sys
from aiohttp import web
async def serve(request):
    return web.FileResponse(sys.argv[1])
app = web.Application()
app.router.add_get("/file", serve)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""
_LINE = (
    b'{"resourceType":"Observation","id":"%012d","status":"final","code":{"text":"' + b"x" * 400 + b'"}}\n'
)


def make_files(bare: Path, encrypted: Path, sealer: Sealer, megabytes: int) -> bytes:
    """Write a file of lines, as it is and encrypted, and give its SHA-256."""
    encrypted.parent.mkdir(parents=True)
    digest = hashlib.sha256()
    with bare.open("wb") as plain, encrypted.open("wb") as file:
        for number in range(megabytes):
            lines = b"".join(_LINE % (number * 10_000 + n) for n in range(1_000_000 // len(_LINE % 0)))
            digest.update(lines)
            plain.write(lines)
            file.writelines(sealer.add((lines,)))
        file.writelines(sealer.end())
    return digest.digest()


async def list_file(
    database: Database, job: str, key: str, size: int, digest: bytes, data_key: bytes
) -> None:
    """Write the rows of an export that has ended with one file, and of its owner's grant."""
    request = ExportRequest(level=ExportLevel.SYSTEM)
    access = ExportAccess(all_patients=True, types=("Observation",))
    connection = await asyncpg.connect(database.dsn)
    try:
        await connection.execute(
            "INSERT INTO status.jobs (job, kind, client, subject, state, outcome, items, attached,"
            " submitted_at, started_at, finished_at) VALUES"
            " ($1, 'bulk-export', 'portal', 'ann', 'FINISHED', 'completed', 1, 1, now(), now(), now())",
            job,
        )
        await connection.execute(
            "INSERT INTO exports.jobs (job, client, subject, request, access, snapshot, transaction_time,"
            " parts, sealed, keep, submitted_at, planned_at, data_key)"
            " VALUES ($1, 'portal', 'ann', $2, $3, 1, now(), 1, 1, '7 days', now(), now(), $4)",
            job,
            msgspec.json.encode(request),
            msgspec.json.encode(access),
            data_key,
        )
        await connection.execute(
            "INSERT INTO access.grants (id, grantee_kind, grantee, all_patients, granted_by, granted_at)"
            " VALUES (gen_random_uuid(), 'user', 'ann', true, 'bench', now())"
        )
        await connection.execute(
            "INSERT INTO exports.parts (job, part, plan, place, sealed_at) VALUES ($1, 0, '{}', 0, now())",
            job,
        )
        await connection.execute(
            "INSERT INTO exports.files (job, part, n, kind, type, count, size, sha256, key, encrypted)"
            " VALUES ($1, 0, 0, 'output', 'Observation', 1, $2, $3, $4, true)",
            job,
            size,
            digest,
            key,
        )
    finally:
        await connection.close()


def fetch(port: int, path: str, headers: str, size: int) -> None:
    """Read one answer's body and throw it away."""
    buffer = bytearray(_READ)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode())
        got = connection.recv(65_536)
        assert got.startswith(b"HTTP/1.1 200"), got[:200]
        while b"\r\n\r\n" not in got:
            got += connection.recv(65_536)
        left = size - len(got.partition(b"\r\n\r\n")[2])
        while left:
            read = connection.recv_into(buffer)
            assert read, f"{left} bytes are missing"
            left -= read


def reading(at_once: int, size: int, fetching: Callable[[], None]) -> Callable[[], Awaitable[float]]:
    """Give what fetches the file some times at once, and tells how many MB/s that were in total."""

    async def read() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(fetching) for _ in range(at_once)]:
                await asyncio.wrap_future(done)
        return at_once * size / 1e6 / (time.perf_counter() - began)

    return read


@contextlib.asynccontextmanager
async def bare_server(path: Path) -> AsyncIterator[int]:
    """Serve the file by a bare aiohttp file response."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _BARE, str(path), str(port))
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def measure(running: Running, path: Path, job: str, size: int, rounds: int, at_once: int) -> bool:
    """Take turns, print, and give whether the limit is kept."""
    port = int(running.url.rpartition(":")[2])
    token = running.authority.bearer(client="portal", subject="ann", scopes="system/*.rs", lifetime=3000)
    headers = f"Authorization: {token['Authorization']}\r\n"
    address = f"/fhir/exports/{job}/files/0.0.Observation.ndjson"
    async with bare_server(path) as bare_port:
        bare, subject = await side_by_side(
            rounds,
            (
                "bare aiohttp FileResponse",
                reading(at_once, size, lambda: fetch(bare_port, "/file", "", size)),
            ),
            ("export file", reading(at_once, size, lambda: fetch(port, address, headers, size))),
            "MB/s",
        )
    report(
        f"Download, {at_once} at once, {size / 1e6:,.0f} MB each, {rounds} rounds (higher is better)",
        [bare, subject],
        [f"limit: {ENOUGH:.0f} MB/s or {SHARE:.0%} of the bare response; {os.cpu_count()} cores"],
    )
    print(f"{shown(subject.median)} MB/s, {subject.median / bare.median:.0%} of a bare file response")
    return subject.median >= min(ENOUGH, SHARE * bare.median)


async def run(megabytes: int, rounds: int, at_once: int) -> bool:
    """Set everything up and measure."""
    job = str(uuid4())
    with running_kafka() as kafka, running_postgres() as postgres, scratch_folder() as folder:
        await create(kafka.bootstrap)
        key = key_of(job, 0, 0, "bench")
        bare, data_key = folder / "bare", KEYS.make(data_key_name(job))
        digest = make_files(bare, folder / "objects" / key, Sealer(data_key[0], key), megabytes)
        size = bare.stat().st_size
        with fresh_database(postgres) as database:
            await list_file(database, job, key, size, digest, data_key[1])
            async with gateway_process(database, kafka.bootstrap, folder) as running:
                return await measure(running, bare, job, size, rounds, at_once)


def main(megabytes: int = 512, rounds: int = 5, at_once: int = 4) -> None:
    """Measure how fast exports' files are downloaded."""
    kept = asyncio.run(run(megabytes, rounds, at_once))
    raise typer.Exit(0 if kept else 1)


if __name__ == "__main__":
    typer.run(main)
