"""What is known of a job's resources beside their content, in Postgres: see the migration of its tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from uuid import UUID

import asyncpg

from sluice_fhir.references import mark_of
from sluice_storage.resources.batches import last_ended
from sluice_storage.resources.copy_rows import TRAILER, bigint, bigints, start_of, text
from sluice_storage.resources.copy_stream import HEADER
from sluice_storage.resources.noting import Noted

_COLUMNS = ("job", "keys", "marks", "brought", "batch")
_PATIENTS = """
    INSERT INTO pulls.patients (job, patient)
    SELECT $1, p.patient FROM unnest($2::text[]) AS p (patient) ORDER BY p.patient ON CONFLICT DO NOTHING
"""
_KEPT = "INSERT INTO pulls.kept (job, type, firsts, lasts) VALUES ($1, $2, $3, $4)"


class Notes:
    """Keeps what is noted of one job's loads; see `sluice_storage.resources.noting.Noting`.

    Parameters
    ----------
    pool
        Connections of the role `sluice_puller`.
    aside
        What is loaded is not in the store yet, and does not count as brought.
    """

    def __init__(self, pool: asyncpg.Pool, job: str, *, aside: bool = False) -> None:
        self._pool = pool
        self._job = job
        self._aside = aside
        self._batch: int | None = None

    async def begin(self) -> None:
        """See `Noting.begin`."""
        async with self._pool.acquire() as connection:
            self._batch = await last_ended(connection)

    async def note(self, noted: Noted) -> None:
        """See `Noting.note`."""
        async with self._pool.acquire() as connection, connection.transaction():
            # It need not wait for the disk: the file's end comes later in the log, and does. Before it all
            # is redone.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await connection.copy_to_table(
                "mentions", schema_name="pulls", columns=_COLUMNS, source=self._row(noted), format="binary"
            )
            if noted.patients:
                await connection.execute(_PATIENTS, self._job, list(noted.patients))
            for type_, places in noted.kept.items():
                await connection.execute(_KEPT, self._job, type_, *ranges(places))

    async def _row(self, noted: Noted) -> AsyncGenerator[bytes]:
        keys = list(noted.references)
        yield b"".join(
            (
                HEADER,
                start_of(len(_COLUMNS)),
                text(UUID(self._job).bytes),
                text(b"\n".join(keys)),
                bigints([mark_of(key) for key in keys]),
                bigints([] if self._aside else noted.brought),
                bigint(self._batch),
                TRAILER,
            )
        )


def ranges(places: Iterable[int]) -> tuple[list[int], list[int]]:
    """Give places as ranges: where each begins and where it ends, both inclusive."""
    firsts: list[int] = []
    lasts: list[int] = []
    for place in sorted(places):
        if lasts and place == lasts[-1] + 1:
            lasts[-1] = place
        else:
            firsts.append(place)
            lasts.append(place)
    return firsts, lasts
