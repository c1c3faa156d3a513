"""Sources in Postgres: written by the operators' API, read by every service that calls them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import asyncpg
import msgspec
import structlog
from msgspec import UNSET

from sluice_contracts.ids import Keys
from sluice_fhir.source_auth import SourceAuth, UnreadableAuth
from sluice_fhir.sources import Source, SourceChange, SourceDraft, best_match, checked_source
from sluice_security.guard_urls import Prefix, UrlRefusedError
from sluice_security.sealing import Seal, SealBrokenError

log = structlog.get_logger(__name__)

_PURPOSE = "source credentials"
_COLUMNS = (
    "id, name, base_url, auth_sealed, max_requests_per_second, max_concurrency, scrape_schema,"
    " attachment_prefixes, content_types, enabled, software, fhir_version, revision,"
    " clients, type_filters, request_headers"
)
_SELECT = f"SELECT {_COLUMNS} FROM sources.sources"  # noqa: S608 - built of constants
_decode_auth: Callable[[bytes], SourceAuth] = msgspec.json.Decoder(SourceAuth).decode


Connection = asyncpg.pool.PoolConnectionProxy


async def nobody(_connection: Connection) -> None:
    """Say that nobody asks whom an audit record could name."""


class SourceExistsError(ValueError):
    """Another source has this base URL."""


class SourceStore:
    """Registers and changes sources; for the operators' API.

    Parameters
    ----------
    pool
        A pool of a role that owns the schema `sources`.
    secret
        The deployment's secret, under which credentials are sealed.
    loopback
        Whether sources may be http and on this machine (development).
    new_id
        Makes a source's id.
    asked
        Says who asks, for the audit record of a change, to the transaction that makes it.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        secret: Keys,
        *,
        loopback: bool = False,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        asked: Callable[[Connection], Awaitable[None]] = nobody,
    ) -> None:
        self._pool = pool
        self._seal = Seal(secret, _PURPOSE)
        self._loopback = loopback
        self._new_id = new_id
        self._asked = asked

    async def create(self, draft: SourceDraft) -> Source:
        """Register a source and give it.

        Raises
        ------
        InvalidSourceError
            Something is wrong with the draft.
        SourceExistsError
            Its base URL is registered.
        """
        source = checked_source(draft, source_id=self._new_id(), revision=1, loopback=self._loopback)
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await self._asked(connection)
                await connection.execute(
                    f"INSERT INTO sources.sources ({_COLUMNS})"  # noqa: S608 - built of constants
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
                    *self._row(source),
                )
        except asyncpg.UniqueViolationError:
            raise SourceExistsError("a source with this base URL is registered") from None
        return source

    async def list(self) -> list[Source]:
        """Give all sources, by name, also those whose credentials cannot be read."""
        rows = await self._pool.fetch(f"{_SELECT} ORDER BY name, id")
        return [self._read(row) for row in rows]

    async def get(self, source_id: str) -> Source | None:
        """Give one source, enabled or not, and whether or not its credentials can be read."""
        row = await self._pool.fetchrow(f"{_SELECT} WHERE id = $1", source_id)
        return self._read(row) if row is not None else None

    async def update(self, source_id: str, change: SourceChange) -> Source | None:
        """Change a source and give it as it is now, None if there is none.

        Raises
        ------
        InvalidSourceError
            Something is wrong with the change.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(f"{_SELECT} WHERE id = $1 FOR UPDATE", source_id)
            if row is None:
                return None
            before = self._read(row)
            fields = {name: getattr(before, name) for name in SourceDraft.__struct_fields__}
            given = {name: getattr(change, name) for name in change.__struct_fields__}
            fields.update({name: value for name, value in given.items() if value is not UNSET})
            source = checked_source(
                SourceDraft(**fields),
                source_id=source_id,
                revision=before.revision + 1,
                loopback=self._loopback,
            )
            await self._asked(connection)
            await connection.execute(
                "UPDATE sources.sources SET name = $2, base_url = $3, auth_sealed = $4,"
                " max_requests_per_second = $5, max_concurrency = $6, scrape_schema = $7,"
                " attachment_prefixes = $8, content_types = $9, enabled = $10, software = $11,"
                " fhir_version = $12, revision = $13, clients = $14, type_filters = $15,"
                " request_headers = $16, updated_at = now() WHERE id = $1",
                *self._row(source),
            )
        return source

    async def delete(self, source_id: str) -> bool:
        """Forget a source; tells whether there was one. Items still under way there fail."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._asked(connection)
            done: str = await connection.execute("DELETE FROM sources.sources WHERE id = $1", source_id)
        return done != "DELETE 0"

    def _read(self, row: asyncpg.Record) -> Source:
        try:
            return _source(row, _opened(row, self._seal))
        except (SealBrokenError, msgspec.DecodeError):
            return _source(row, UnreadableAuth(sealed=row["auth_sealed"]))

    def _row(self, source: Source) -> tuple[Any, ...]:
        auth = source.auth
        if isinstance(auth, UnreadableAuth):
            sealed = auth.sealed
        else:
            sealed = self._seal.close(msgspec.json.encode(auth), source.id)
        return (
            source.id,
            source.name,
            source.base_url,
            sealed,
            source.max_requests_per_second,
            source.max_concurrency,
            source.scrape_schema,
            list(source.attachment_prefixes),
            list(source.content_types),
            source.enabled,
            source.software,
            source.fhir_version,
            source.revision,
            list(source.clients),
            source.type_filters,
            list(source.request_headers),
        )


def _opened(row: asyncpg.Record, seal: Seal) -> SourceAuth:
    return _decode_auth(seal.open(row["auth_sealed"], row["id"]))


def _source(row: asyncpg.Record, auth: SourceAuth | UnreadableAuth) -> Source:
    values = dict(row, auth=auth)
    del values["auth_sealed"]
    for name in ("attachment_prefixes", "content_types", "clients", "request_headers"):
        values[name] = tuple(values[name])
    return Source(**values)


class SourceRegistry:
    """Looks enabled sources up in a copy of the table that is at most a few seconds old.

    Parameters
    ----------
    pool
        A pool of a role that may read the schema `sources`.
    secret
        The deployment's secret, under which credentials are sealed.
    loopback
        Whether sources may be http and on this machine (development).
    max_age
        How old (seconds) the copy may be.
    min_age
        How old it must be for a source that is not in it to be looked for again, so that a flood of unknown
        ones costs nothing. Whoever asks for one waits for that: what was registered before is found.
    reading
        The table is read within it: whoever has words of their own for a database that is away gives what
        translates its errors.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        secret: Keys,
        *,
        loopback: bool = False,
        max_age: float = 2.0,
        min_age: float = 0.2,
        reading: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pool = pool
        self._seal = Seal(secret, _PURPOSE)
        self._loopback = loopback
        self._translated = reading
        self._max_age = max_age
        self._min_age = min_age
        self._clock = clock
        self._sleep = sleep
        self._read_at = float("-inf")
        self._sources: dict[str, Source] = {}
        self._places: list[tuple[Prefix, Source]] = []
        self._reading: asyncio.Task[None] | None = None

    async def get(self, source_id: str) -> Source | None:
        """Give the enabled source of this id, None if there is none."""
        asked = self._clock()
        await self._refresh(self._max_age)
        found = self._sources.get(source_id)
        if found is None:
            await self._look_again(asked)
            found = self._sources.get(source_id)
        return found

    async def match(self, url: str) -> Source | None:
        """Give the enabled source whose base URL is the longest that covers `url`, None if none does."""
        asked = self._clock()
        await self._refresh(self._max_age)
        found = best_match(self._places, url)
        if found is None:
            await self._look_again(asked)
            found = best_match(self._places, url)
        return found

    async def _look_again(self, asked: float) -> None:
        """Make sure that the copy was begun after a question was asked, but not too soon after the last."""
        while self._read_at <= asked:
            if (pause := self._read_at + self._min_age - self._clock()) > 0:
                await self._sleep(pause)
            await self._refresh(self._min_age)

    async def _refresh(self, age: float) -> None:
        if self._clock() - self._read_at < age:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._done)
        await asyncio.shield(self._reading)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            # Whoever waited has the exception too; nobody may be waiting any more.
            task.exception()

    async def _read(self) -> None:
        began = self._clock()
        with self._translated():
            rows = await self._pool.fetch(f"{_SELECT} WHERE enabled")
        sources: dict[str, Source] = {}
        places: list[tuple[Prefix, Source]] = []
        for row in rows:
            known = self._sources.get(row["id"])
            try:
                # The same object as long as nothing changed spares unsealing and comparing.
                unchanged = known is not None and known.revision == row["revision"]
                source = known if known and unchanged else _source(row, _opened(row, self._seal))
                places.append((Prefix.parse(source.base_url, loopback=self._loopback), source))
            except (SealBrokenError, UrlRefusedError, msgspec.DecodeError) as error:
                log.warning("a source cannot be used", source=row["id"], error=type(error).__name__)
                continue
            sources[source.id] = source
        self._sources, self._places, self._read_at = sources, places, began
