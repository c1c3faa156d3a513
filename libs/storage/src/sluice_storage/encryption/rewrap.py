"""`python -m sluice_storage.encryption.rewrap`: wrap all data keys with the newest master key.

In batches, while everything runs: a key that is destroyed or wrapped anew meanwhile is left alone. What was
rewrapped stays so; a run that was stopped is begun again. Objects are not touched, since data keys stay the
same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
import typer
from pydantic import Field, ValidationError

from sluice_settings import explain
from sluice_storage.encryption.keys import LostKeyError, MasterKeys
from sluice_storage.encryption.settings import MasterKeySettings
from sluice_storage.exports.objects import data_key_name
from sluice_storage.objects import name_of
from sluice_storage.pool import TRANSIENT, open_pool

_BATCH = 500
_LOST = 1
_AWAY = 75
_MISCONFIGURED = 78


class RewrapSettings(MasterKeySettings):
    """What the command is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_gateway`.
    """

    postgres: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A table with wrapped data keys.

    Parameters
    ----------
    what
        What its keys are of.
    count
        Counts them by the id of their master key.
    stale
        Gives (id, key) of those not wrapped by the master key $2, ordered, with ids after $1, up to $3.
    change
        Keeps other wrapped keys ($3) for ids ($1), where they are still as they were ($2); gives how many.
    name
        Names what a row's data key is for.
    """

    what: str
    count: str
    stale: str
    change: str
    name: Callable[[asyncpg.Record], str]


EXPORTS = Kept(
    what="exports",
    count="SELECT substring(data_key FOR 8) AS master, count(*) FROM exports.jobs"
    " WHERE data_key IS NOT NULL GROUP BY 1",
    stale="SELECT job AS id, data_key FROM exports.jobs WHERE data_key IS NOT NULL"
    " AND substring(data_key FOR 8) <> $2 AND ($1::uuid IS NULL OR job > $1) ORDER BY job LIMIT $3",
    change="SELECT exports.rewrap($1, $2, $3)",
    name=lambda row: data_key_name(str(row["id"])),
)
CONTENTS = Kept(
    what="contents",
    count="SELECT substring(data_key FOR 8) AS master, count(*) FROM files.blobs"
    " WHERE data_key IS NOT NULL GROUP BY 1",
    stale="SELECT sha256 AS id, object, data_key FROM files.blobs WHERE data_key IS NOT NULL"
    " AND substring(data_key FOR 8) <> $2 AND ($1::bytea IS NULL OR sha256 > $1) ORDER BY sha256 LIMIT $3",
    change="WITH changed AS (UPDATE files.blobs b SET data_key = k.is_now"
    " FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS k (sha256, was, is_now)"
    " WHERE b.sha256 = k.sha256 AND b.data_key = k.was RETURNING true) SELECT count(*) FROM changed",
    name=lambda row: name_of(row["object"]),
)
TABLES = (EXPORTS, CONTENTS)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What became of the keys of a table: how many were rewrapped, and how many cannot be unwrapped."""

    done: int
    lost: int


async def rewrap(pool: asyncpg.Pool, keys: MasterKeys, table: Kept, *, batch: int = _BATCH) -> Rewrapped:
    """Wrap a table's data keys with the newest master key."""
    after: Any = None
    done = lost = 0
    while rows := await pool.fetch(table.stale, after, keys.newest, batch):
        after = rows[-1]["id"]
        ids, were, are = [], [], []
        for row in rows:
            try:
                wrapped = keys.rewrap(row["data_key"], table.name(row))
            except LostKeyError:
                lost += 1
                continue
            ids.append(row["id"])
            were.append(row["data_key"])
            are.append(wrapped)
        done += await pool.fetchval(table.change, ids, were, are)
    return Rewrapped(done, lost)


async def counted(pool: asyncpg.Pool, table: Kept) -> dict[bytes, int]:
    """Give how many of a table's data keys each master key wraps, by its id."""
    return {row["master"]: row["count"] for row in await pool.fetch(table.count)}


async def run(settings: RewrapSettings, *, count: bool, tell: Callable[[str], None]) -> int:
    """Do what the command does; gives its exit code."""
    keys = settings.keys
    lost = 0
    pool = await open_pool(settings.postgres, size=1, wait=0.0, application="sluice-rewrap")
    try:
        for table in TABLES:
            if not count:
                became = await rewrap(pool, keys, table)
                lost += became.lost
                tell(
                    f"{table.what}: {became.done} data keys rewrapped, {became.lost} that cannot be unwrapped"
                )
            for line in _told(keys, await counted(pool, table)):
                tell(f"{table.what}: {line}")
    finally:
        await pool.close()
    return _LOST if lost else 0


def _told(keys: MasterKeys, found: dict[bytes, int]) -> Sequence[str]:
    known = [
        f"{found.pop(master, 0)} data keys under master key {n}" + ", the newest" * (master == keys.newest)
        for n, master in enumerate(keys.ids, 1)
    ]
    return [*known, *([f"{sum(found.values())} under master keys that are not here"] if found else [])]


def main(
    count: Annotated[bool, typer.Option("--count", help="only tell how many each master key wraps")] = False,
) -> None:
    """Wrap all data keys with the newest master key (the first line), so that the others can be removed."""
    try:
        settings = RewrapSettings()
    except ValidationError as error:
        typer.echo(explain(error), err=True)
        raise typer.Exit(_MISCONFIGURED) from None
    try:
        code = asyncio.run(run(settings, count=count, tell=typer.echo))
    except TRANSIENT as error:
        typer.echo(f"Postgres is away: {type(error).__name__}", err=True)
        raise typer.Exit(_AWAY) from None
    raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(main)
