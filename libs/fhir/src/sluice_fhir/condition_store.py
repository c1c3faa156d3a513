"""Conditions of sources in Postgres: what processes tell and are given, and what operators are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import asyncpg

from sluice_fhir.conditions import Bounds, Condition, Grant, Seen, Share, grant, learn, within

_ALIVE_SECONDS = 5.0
_KEEP_MINUTES = 60
_TIDY_EVERY = 60.0
_MINUTE = 60
_RECENT_MINUTES = 15
_COLUMNS = tuple(field.name for field in fields(Condition))

_ADD = """
INSERT INTO conditions.sources (source, allowed) SELECT * FROM unnest($1::text[], $2::float8[])
ON CONFLICT DO NOTHING
"""
# Locked in one order, so that two processes never wait for each other in a circle.
_LOCK = f"""
SELECT source, {", ".join(_COLUMNS)}, extract(epoch FROM clock_timestamp())::float8 AS now
FROM conditions.sources WHERE source = ANY($1::text[]) ORDER BY source FOR UPDATE
"""  # noqa: S608 - built of constants
_OTHERS = """
SELECT source, worker, wanted, granted FROM conditions.workers
WHERE source = ANY($1::text[]) AND worker <> $2 AND seen_at > $3
"""
_SAVE = """
UPDATE conditions.sources AS held SET allowed = told.allowed, rate = told.rate, pace = told.pace,
    usual = told.usual, held_until = told.held_until, cut_at = told.cut_at, eased_at = told.eased_at,
    at = told.at
FROM unnest($1::text[], $2::float8[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
    $8::float8[], $9::float8[])
    AS told (source, allowed, rate, pace, usual, held_until, cut_at, eased_at, at)
WHERE held.source = told.source
"""
_TELL = """
INSERT INTO conditions.workers (source, worker, wanted, granted, seen_at)
SELECT told.source, $2, told.wanted, told.granted, $5
FROM unnest($1::text[], $3::int[], $4::int[]) AS told (source, wanted, granted)
ON CONFLICT (source, worker) DO UPDATE SET
    wanted = excluded.wanted, granted = excluded.granted, seen_at = excluded.seen_at
"""
_COUNT = """
INSERT INTO conditions.minutes AS held (source, minute, good, refused, failed, answered, seconds)
SELECT told.source, $2, told.good, told.refused, told.failed, told.answered, told.seconds
FROM unnest($1::text[], $3::int[], $4::int[], $5::int[], $6::int[], $7::float8[])
    AS told (source, good, refused, failed, answered, seconds)
ON CONFLICT (source, minute) DO UPDATE SET
    good = held.good + excluded.good, refused = held.refused + excluded.refused,
    failed = held.failed + excluded.failed, answered = held.answered + excluded.answered,
    seconds = held.seconds + excluded.seconds
"""
_SHOW = f"""
SELECT {", ".join(_COLUMNS)}, extract(epoch FROM clock_timestamp())::float8 AS now,
    (SELECT count(*) FROM conditions.workers AS it
     WHERE it.source = held.source AND it.seen_at > extract(epoch FROM clock_timestamp()) - $2) AS workers
FROM conditions.sources AS held WHERE source = $1
"""  # noqa: S608 - built of constants
_MINUTES = """
SELECT minute, good, refused, failed, answered, seconds FROM conditions.minutes
WHERE source = $1 AND minute > $2 ORDER BY minute
"""
_TROUBLED = """
SELECT source FROM conditions.sources WHERE held_until > extract(epoch FROM clock_timestamp())
UNION SELECT source FROM conditions.minutes
WHERE minute > floor(extract(epoch FROM clock_timestamp()))::bigint / $1::int - $2::int
GROUP BY source HAVING sum(good) = 0
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process tells of a source: what is registered, what it saw, and how many calls it wants."""

    bounds: Bounds
    seen: Seen
    wanted: int


@dataclass(frozen=True, slots=True)
class Minute:
    """Answers within a minute, which began at `at` (Unix seconds); see `Seen` for the rest."""

    at: int
    good: int
    refused: int
    failed: int
    answered: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A source's condition at `now` by the database's clock, with how many processes call it."""

    condition: Condition
    workers: int
    recent: tuple[Minute, ...]
    now: float


class ConditionStore:
    """Conditions over a pool of a role that is a member of `sluice_owner_conditions`, or may read them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: set[str] = set()
        self._tidied = 0.0

    async def exchange(self, worker: str, reports: Mapping[str, Report]) -> dict[str, Grant]:
        """Let all learn what this process saw of some sources, and give what it may do at each."""
        ids = sorted(reports)
        async with self._pool.acquire() as connection, connection.transaction():
            # What is learned again within seconds need not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit TO off")
            new = [each for each in ids if each not in self._known]
            if new:
                await connection.execute(_ADD, new, [float(reports[it].bounds.concurrency) for it in new])
            rows = await connection.fetch(_LOCK, ids)
            # The clock is read under the locks, so that whoever comes later has a later time.
            now = max(row["now"] for row in rows)
            others: dict[str, dict[str, Share]] = {each: {} for each in ids}
            for row in await connection.fetch(_OTHERS, ids, worker, now - _ALIVE_SECONDS):
                others[row["source"]][row["worker"]] = Share(row["wanted"], row["granted"])
            after, grants = {}, {}
            for row in rows:
                source, report = row["source"], reports[row["source"]]
                before = Condition(*(row[name] for name in _COLUMNS))
                learned = learn(before, report.seen, report.bounds, now) if report.seen else before
                after[source] = within(learned, report.bounds)
                grants[source] = grant(after[source], worker, report.wanted, others[source], now)
            await self._write(connection, worker, reports, after, grants, now)
        self._known.update(ids)
        return grants

    async def _write(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        worker: str,
        reports: Mapping[str, Report],
        after: Mapping[str, Condition],
        grants: Mapping[str, Grant],
        now: float,
    ) -> None:
        ids = list(after)
        columns = [[getattr(after[each], name) for each in ids] for name in _COLUMNS]
        await connection.execute(_SAVE, ids, *columns)
        wanted = [reports[each].wanted for each in ids]
        await connection.execute(_TELL, ids, worker, wanted, [grants[it].concurrency for it in ids], now)
        busy = [each for each in ids if reports[each].seen]
        if busy:
            seen = [reports[each].seen for each in busy]
            await connection.execute(
                _COUNT,
                busy,
                int(now) // _MINUTE,
                [it.good for it in seen],
                [it.refused for it in seen],
                [it.failed for it in seen],
                [it.answered for it in seen],
                [it.seconds for it in seen],
            )
        if now - self._tidied > _TIDY_EVERY:
            self._tidied = now
            oldest = int(now) // _MINUTE - _KEEP_MINUTES
            await connection.execute("DELETE FROM conditions.minutes WHERE minute < $1", oldest)
            await connection.execute(
                "DELETE FROM conditions.workers WHERE seen_at < $1", now - _KEEP_MINUTES * _MINUTE
            )

    async def troubled(self) -> list[str]:
        """Give the sources that are left alone now, or of whose answers of the last minutes none was good."""
        return [row["source"] for row in await self._pool.fetch(_TROUBLED, _MINUTE, _RECENT_MINUTES)]

    async def show(self, source: str, minutes: int = _RECENT_MINUTES) -> Shown | None:
        """Give a source's condition and its answers of the last minutes; None: nobody has called it yet."""
        row = await self._pool.fetchrow(_SHOW, source, _ALIVE_SECONDS)
        if row is None:
            return None
        now = row["now"]
        counted = await self._pool.fetch(_MINUTES, source, int(now) // _MINUTE - minutes)
        recent = tuple(Minute(minute * _MINUTE, *counts) for minute, *counts in counted)
        return Shown(Condition(*(row[name] for name in _COLUMNS)), row["workers"], recent, now)
