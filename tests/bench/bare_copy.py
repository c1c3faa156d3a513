"""The limit of exports: what Postgres gives when every resource is copied to a file, and nothing more."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import asyncpg


async def copy_to_files(pool: asyncpg.Pool, folder: Path) -> float:
    """Copy every resource to a file of its type's in a new folder, in COPY's binary format; gives seconds.

    The files stay until all are written, as an export's do: so both leave as much to the disk.
    """
    await asyncio.to_thread(folder.mkdir)
    types = await pool.fetch("SELECT lower(type) AS t FROM fhir.batch_types GROUP BY type")
    began = time.perf_counter()
    async with pool.acquire() as connection:
        for row in types:
            await connection.copy_from_query(
                f"SELECT body FROM fhir.resources_{row['t']} WHERE superseded_by IS NULL",  # noqa: S608
                output=folder / row["t"],
                format="binary",
                timeout=3600,
            )
    seconds = time.perf_counter() - began
    await asyncio.to_thread(shutil.rmtree, folder)
    return seconds
