"""The statements of the Postgres ledger. Each takes arrays and does a whole batch."""

from __future__ import annotations

from functools import cache


@cache
def within(statement: str, schema: str) -> str:
    """Give a statement about the tables in another schema."""
    return statement.replace("status.", f"{schema}.")


ADVANCE = """
UPDATE status.offsets AS held
SET next_offset = moved.ahead, updated_at = now()
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) AS moved (topic, partition, expected, ahead)
WHERE held.topic = moved.topic AND held.partition = moved.partition AND held.next_offset = moved.expected
RETURNING held.partition
"""

# In the order of `sluice_status.jobs.Job`. Locks are taken in one order, so that two folds never wait for
# each other in a circle. A job that another fold adds at the same moment is found when asked again.
LOCK = """
WITH known AS (
    SELECT * FROM status.jobs WHERE job = ANY($1::uuid[]) ORDER BY job FOR UPDATE
), added AS (
    INSERT INTO status.jobs (job)
    SELECT wanted FROM unnest($1::uuid[]) AS wanted WHERE wanted NOT IN (SELECT job FROM known)
    ON CONFLICT DO NOTHING
    RETURNING *
), held AS (
    SELECT * FROM known UNION ALL SELECT * FROM added
)
SELECT job::text, kind, client, subject, state, outcome, items, attached, skipped, failed, cancelled,
    extract(epoch FROM submitted_at)::float8, extract(epoch FROM started_at)::float8,
    extract(epoch FROM cancelled_at)::float8, extract(epoch FROM finished_at)::float8,
    extract(epoch FROM first_fetched_at)::float8, extract(epoch FROM last_fetched_at)::float8,
    extract(epoch FROM first_scraped_at)::float8, extract(epoch FROM last_scraped_at)::float8,
    extract(epoch FROM first_attached_at)::float8, extract(epoch FROM last_attached_at)::float8
FROM held
"""

# A commit need not wait for the disk: rows and offsets are lost together or not at all, and the log still has
# the events. What must not be lost once it was told, a job's end, waits (see ANNOUNCE).
HASTEN = "SET synchronous_commit TO off"

# Where COPY puts a batch's items; it is the connection's own and empty after each transaction. The columns
# are those of `sluice_status.columns`.
GATHER = """
CREATE TEMPORARY TABLE IF NOT EXISTS told (
    job integer, item integer, rank smallint, at float8, size bigint, file text, file_outcome text,
    stage text, code text, attempt integer, source_status integer
) ON COMMIT DELETE ROWS
"""

# `sluice_status.ladder.order` in SQL. An update keeps the rank it replaces, so that RETURNING gives both;
# a row that stays as it is is not returned, and so is not counted again.
LIFT = """
WITH changed AS (
    INSERT INTO status.job_items AS held (
        job, item, rank, updated_at, size, file, file_outcome, stage, code, attempt, source_status
    )
    SELECT ($1::uuid[])[job], item, rank, to_timestamp(at), size, file, file_outcome, stage, code, attempt,
        source_status
    FROM pg_temp.told
    ON CONFLICT (job, item) DO UPDATE SET
        rank = excluded.rank, previous_rank = held.rank, updated_at = excluded.updated_at,
        size = excluded.size, file = excluded.file, file_outcome = excluded.file_outcome,
        stage = excluded.stage, code = excluded.code, attempt = excluded.attempt,
        source_status = excluded.source_status
    WHERE excluded.rank > held.rank OR excluded.rank = held.rank AND (
        CASE held.rank
            WHEN 10 THEN excluded.updated_at > held.updated_at
            ELSE excluded.updated_at < held.updated_at
        END
        OR excluded.updated_at = held.updated_at AND (
            coalesce(excluded.stage, ''), coalesce(excluded.code, ''), coalesce(excluded.file, ''),
            coalesce(excluded.file_outcome, ''), coalesce(excluded.attempt, -1),
            coalesce(excluded.source_status, -1), coalesce(excluded.size, -1)
        ) > (
            coalesce(held.stage, ''), coalesce(held.code, ''), coalesce(held.file, ''),
            coalesce(held.file_outcome, ''), coalesce(held.attempt, -1),
            coalesce(held.source_status, -1), coalesce(held.size, -1)
        )
    )
    RETURNING job, rank, previous_rank
)
SELECT job::text,
    count(*) FILTER (WHERE rank = 70) - count(*) FILTER (WHERE previous_rank = 70),
    count(*) FILTER (WHERE rank = 60) - count(*) FILTER (WHERE previous_rank = 60),
    count(*) FILTER (WHERE rank = 50) - count(*) FILTER (WHERE previous_rank = 50),
    count(*) FILTER (WHERE rank = 40) - count(*) FILTER (WHERE previous_rank = 40)
FROM changed GROUP BY job
"""

ENDINGS = """
SELECT it.job::text, count(*) FILTER (WHERE it.rank >= 40 AND it.item < told.items) AS ended,
    extract(epoch FROM max(it.updated_at))::float8 AS at
FROM unnest($1::uuid[], $2::int[]) AS told (job, items)
JOIN status.job_items AS it ON it.job = told.job
GROUP BY it.job
"""

SAVE = """
UPDATE status.jobs AS held SET
    kind = told.kind, client = told.client, subject = told.subject, state = told.state,
    outcome = told.outcome, items = told.items, attached = told.attached, skipped = told.skipped,
    failed = told.failed, cancelled = told.cancelled, submitted_at = to_timestamp(told.submitted_at),
    started_at = to_timestamp(told.started_at), cancelled_at = to_timestamp(told.cancelled_at),
    finished_at = to_timestamp(told.finished_at),
    first_fetched_at = to_timestamp(told.first_fetched_at),
    last_fetched_at = to_timestamp(told.last_fetched_at),
    first_scraped_at = to_timestamp(told.first_scraped_at),
    last_scraped_at = to_timestamp(told.last_scraped_at),
    first_attached_at = to_timestamp(told.first_attached_at),
    last_attached_at = to_timestamp(told.last_attached_at)
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[],
    $9::int[], $10::int[], $11::int[], $12::float8[], $13::float8[], $14::float8[], $15::float8[],
    $16::float8[], $17::float8[], $18::float8[], $19::float8[], $20::float8[], $21::float8[]
) AS told (
    job, kind, client, subject, state, outcome, items, attached, skipped, failed, cancelled, submitted_at,
    started_at, cancelled_at, finished_at, first_fetched_at, last_fetched_at, first_scraped_at,
    last_scraped_at, first_attached_at, last_attached_at
)
WHERE held.job = told.job
"""

ANNOUNCE = """
INSERT INTO status.outbox (partition, job, type, body, trace)
SELECT told.partition, told.job, told.type, told.body, told.trace
FROM unnest($1::int[], $2::uuid[], $3::text[], $4::bytea[], $5::text[]) WITH ORDINALITY
    AS told (partition, job, type, body, trace, number),
    set_config('synchronous_commit', CASE WHEN $6 THEN 'on' ELSE 'off' END, true)
ORDER BY told.number
"""

OUTBOX = """
SELECT seq, job::text, type, body, trace FROM status.outbox
WHERE partition = ANY($1::int[]) ORDER BY seq LIMIT $2
"""

PUBLISHED = """
WITH gone AS (DELETE FROM status.outbox WHERE seq = ANY($1::bigint[]))
UPDATE status.jobs SET announced_at = coalesce(announced_at, now()) WHERE job = ANY($2::uuid[])
"""

BURY = """
INSERT INTO status.dead (topic, partition, record_offset, reason, sha256)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::bytea[])
ON CONFLICT DO NOTHING
"""

FORGET = """
DELETE FROM status.dead WHERE (topic, partition, record_offset) IN (
    SELECT topic, partition, record_offset FROM status.dead ORDER BY seen_at DESC OFFSET $1
)
"""
