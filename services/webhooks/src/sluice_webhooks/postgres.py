"""The service's tables: schema `webhooks`, where the gateway registers endpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import asyncpg

from sluice_storage.offsets import positions
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Fenced, Unavailable
from sluice_webhooks.store import MOST_OF_ONE, Attempt, Due, Offsets, Told

_AWAY = (*TRANSIENT, TimeoutError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

_POSITIONS = positions("webhooks")
_ADVANCE = """
UPDATE webhooks.offsets AS held SET next_offset = moved.ahead
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS moved (topic, partition, expected, ahead)
WHERE held.topic = moved.topic AND held.partition = moved.partition AND held.next_offset = moved.expected
RETURNING held.partition
"""
_OWN = """
INSERT INTO webhooks.jobs (job, client, planned_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING
"""
# An endpoint hears of what happened after it was registered: who reads the topic from its start tells nobody
# what is a month old.
_ADD = """
INSERT INTO webhooks.deliveries (endpoint, message, type, job, body, created_at, due, until)
SELECT e.id, told.message, told.type, told.job, told.body, $5, $5, $6
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bytea[], $7::float8[]) WITH ORDINALITY
    AS told (message, type, job, body, at, number)
JOIN webhooks.jobs j ON j.job = told.job
JOIN webhooks.endpoints e ON e.client = j.client AND e.enabled AND told.type = ANY(e.types)
    AND e.created_at <= to_timestamp(told.at)
ORDER BY told.number
ON CONFLICT (endpoint, message) DO NOTHING
"""
# Places go to whoever would have the fewest, as long as `places`, with this one, are no more than are `spare`
# then; the first is given to whoever has none.
_CLAIM = """
WITH held AS (
    SELECT * FROM unnest($6::text[], $7::int[]) AS it (client, places)
), first AS (
    SELECT d.id, d.due, e.client, row_number() OVER (PARTITION BY d.endpoint ORDER BY d.due, d.id) AS place
    FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint AND e.enabled
    WHERE d.state = 'waiting' AND d.due <= $1 AND NOT d.endpoint = ANY($4::text[])
), shared AS (
    SELECT id, due, coalesce(held.places, 0)
        + row_number() OVER (PARTITION BY client ORDER BY due, id) AS places
    FROM first LEFT JOIN held USING (client) WHERE place <= $5
), fair AS (
    SELECT id, places, $3 - row_number() OVER (ORDER BY places, due, id) AS spare
    FROM shared
), mine AS (
    SELECT d.id FROM webhooks.deliveries d JOIN fair USING (id)
    WHERE d.state = 'waiting' AND d.due <= $1 AND places <= greatest(spare, 1) AND spare >= 0
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE webhooks.deliveries d SET due = $2, attempts = d.attempts + 1
FROM mine, webhooks.endpoints e WHERE d.id = mine.id AND e.id = d.endpoint
RETURNING d.id, e.client, d.endpoint, e.url, e.secret,
    CASE WHEN e.previous_until > $1 THEN e.previous END AS previous,
    d.message, d.body, d.attempts, d.created_at, d.until
"""
# What is written of a try stands only if nobody asked for the delivery anew meanwhile.
_DELIVERED = """
WITH done AS (
    UPDATE webhooks.deliveries SET state = 'delivered', ended_at = $2, status = $3, error = NULL
    WHERE id = $1 AND state = 'waiting' RETURNING endpoint
)
UPDATE webhooks.endpoints e SET delivered_at = $2 FROM done WHERE e.id = done.endpoint
"""
_POSTPONE = """
UPDATE webhooks.deliveries SET due = $2, status = $3, error = $4 WHERE id = $1 AND state = 'waiting'
"""
_FAIL = """
UPDATE webhooks.deliveries SET state = 'failed', ended_at = $2, status = $3, error = $4
WHERE id = $1 AND state = 'waiting'
"""
_DISABLE = """
WITH disabled AS (
    UPDATE webhooks.endpoints SET enabled = false, note = $2
    WHERE id = $1 AND enabled AND ($4 OR delivered_at IS NULL OR delivered_at < $5) RETURNING id
), ended AS (
    UPDATE webhooks.deliveries d SET state = 'failed', ended_at = $3
    FROM disabled WHERE d.endpoint = disabled.id AND d.state = 'waiting'
)
SELECT count(*) > 0 FROM disabled
"""


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise Unavailable("postgres") from error


class PostgresWebhooks:
    """See `sluice_webhooks.store.FoldStore` and `SendStore`.

    Parameters
    ----------
    pool
        Connections of the role `sluice_webhooks`.
    cluster
        The id of the Kafka that is folded; None: whichever it was before.
    """

    def __init__(self, pool: asyncpg.Pool, cluster: str | None = None) -> None:
        self._pool = pool
        self._cluster = cluster

    # -- the fold

    async def positions(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """See `FoldStore.positions`."""
        with _answering():
            rows = await self._pool.fetch(_POSITIONS, topic, sorted(partitions), self._cluster)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def wanted(self) -> frozenset[str]:
        """See `FoldStore.wanted`."""
        with _answering():
            rows = await self._pool.fetch(
                "SELECT DISTINCT unnest(types) AS type FROM webhooks.endpoints WHERE enabled"
            )
        return frozenset(row["type"] for row in rows)

    async def fold(
        self,
        expected: Offsets,
        ahead: Offsets,
        owners: Mapping[str, tuple[str, datetime]],
        told: Sequence[Told],
        at: datetime,
        until: datetime,
    ) -> int:
        """See `FoldStore.fold`."""
        places = sorted(ahead)
        with _answering():
            async with self._pool.acquire() as connection, connection.transaction():
                moved = await connection.fetch(
                    _ADVANCE,
                    [topic for topic, _ in places],
                    [partition for _, partition in places],
                    [expected[place] for place in places],
                    [ahead[place] for place in places],
                )
                if len(moved) != len(places):
                    raise Fenced
                if owners:
                    clients, planned = zip(*owners.values(), strict=True)
                    await connection.execute(_OWN, list(owners), list(clients), list(planned))
                if not told:
                    return 0
                added = await connection.execute(
                    _ADD,
                    [it.message for it in told],
                    [it.type for it in told],
                    [it.job for it in told],
                    [it.body for it in told],
                    at,
                    until,
                    [it.at for it in told],
                )
                return int(added.rpartition(" ")[2])

    # -- the sender

    async def claim(
        self, now: datetime, again: datetime, free: int, busy: Sequence[str], held: Mapping[str, int]
    ) -> list[Due]:
        """See `SendStore.claim`."""
        places = list(held), list(held.values())
        with _answering():
            rows = await self._pool.fetch(_CLAIM, now, again, free, list(busy), MOST_OF_ONE, *places)
        return [Due(**dict(row)) for row in rows]

    async def delivered(self, due: Due, attempt: Attempt, now: datetime) -> None:
        """See `SendStore.delivered`."""
        with _answering():
            await self._pool.execute(_DELIVERED, due.id, now, attempt.status)

    async def postpone(self, due: Due, attempt: Attempt, until: datetime) -> None:
        """See `SendStore.postpone`."""
        with _answering():
            await self._pool.execute(_POSTPONE, due.id, until, attempt.status, attempt.error)

    async def fail(self, due: Due, attempt: Attempt, now: datetime, note: str) -> bool:
        """See `SendStore.fail`."""
        with _answering():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_FAIL, due.id, now, attempt.status, attempt.error)
                return bool(
                    await connection.fetchval(_DISABLE, due.endpoint, note, now, attempt.gone, due.created_at)
                )

    async def forget(self, before: datetime, jobs_before: datetime) -> None:
        """See `SendStore.forget`."""
        with _answering():
            await self._pool.execute("DELETE FROM webhooks.deliveries WHERE ended_at < $1", before)
            await self._pool.execute("DELETE FROM webhooks.jobs WHERE planned_at < $1", jobs_before)
