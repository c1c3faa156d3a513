"""The statements of a rebuild: fresh tables, what differs, and what takes its place."""

from __future__ import annotations

SCHEMA = "status_rebuild"
_TABLES = ("jobs", "job_items", "offsets", "outbox", "dead")
_JOB = (
    "kind",
    "client",
    "subject",
    "state",
    "outcome",
    "items",
    "attached",
    "skipped",
    "failed",
    "cancelled",
    "submitted_at",
    "started_at",
    "cancelled_at",
    "finished_at",
    "first_fetched_at",
    "last_fetched_at",
    "first_scraped_at",
    "last_scraped_at",
    "first_attached_at",
    "last_attached_at",
)
_ITEM = (
    "rank",
    "attempt",
    "source_status",
    "size",
    "updated_at",
    "stage",
    "code",
    "file",
    "file_outcome",
)


def _columns(names: tuple[str, ...], table: str = "") -> str:
    return ", ".join(f"{table}{name}" for name in names)


def _changed(names: tuple[str, ...]) -> str:
    cases = ", ".join(f"CASE WHEN live.{it} IS DISTINCT FROM built.{it} THEN '{it}' END" for it in names)
    return f"array_remove(ARRAY[{cases}], NULL)"


ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('sluice status rebuild'))"
NEXT_ONE = "SELECT pg_advisory_unlock(hashtext('sluice status rebuild'))"
CLEAR = "\n".join(f"DROP TABLE IF EXISTS {SCHEMA}.{table};" for table in (*_TABLES, "ends"))
FRESH = "\n".join(
    [
        CLEAR,
        *[f"CREATE TABLE {SCHEMA}.{table} (LIKE status.{table} INCLUDING ALL);" for table in _TABLES],
        f"CREATE TABLE {SCHEMA}.ends (job uuid PRIMARY KEY, outcome text NOT NULL, at float8 NOT NULL);",
    ]
)
REACHED = "SELECT partition, next_offset FROM status.offsets WHERE topic = $1"
# No fold commits until the transaction ends: each moves these rows first.
HOLD = f"{REACHED} FOR UPDATE"

# A job's end was decided when it was announced; what came later, such as a dead letter that was redriven,
# changes its counts and not how it ended. Of several announcements the first stands.
END = f"""
INSERT INTO {SCHEMA}.ends (job, outcome, at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::float8[]) ON CONFLICT DO NOTHING
"""  # noqa: S608 - built of constants
ENDED = f"""
UPDATE {SCHEMA}.jobs AS built
SET state = 'FINISHED', outcome = told.outcome, finished_at = to_timestamp(told.at)
FROM {SCHEMA}.ends AS told WHERE told.job = built.job AND built.kind IS NOT NULL
"""  # noqa: S608 - built of constants

# Only jobs whose plan is still on the log are known whole.
_KNOWN = f"SELECT job FROM {SCHEMA}.jobs WHERE kind IS NOT NULL"  # noqa: S608 - built of constants
KNOWN = f"SELECT count(*) FROM ({_KNOWN}) AS known"  # noqa: S608 - built of constants
KEPT = f"SELECT count(*) FROM status.jobs WHERE job NOT IN ({_KNOWN})"  # noqa: S608 - built of constants
DIFFERENT = f"""
CREATE TEMPORARY TABLE different ON COMMIT DROP AS
WITH jobs AS (
    SELECT built.job, live.job IS NULL AS missing, {_changed(_JOB)} AS columns
    FROM {SCHEMA}.jobs AS built LEFT JOIN status.jobs AS live USING (job)
    WHERE built.kind IS NOT NULL
), items AS (
    SELECT job, count(*) AS items
    FROM (SELECT * FROM {SCHEMA}.job_items WHERE job IN ({_KNOWN})) AS built
    FULL JOIN (SELECT * FROM status.job_items WHERE job IN ({_KNOWN})) AS live USING (job, item)
    WHERE ({_columns(_ITEM, "built.")}) IS DISTINCT FROM ({_columns(_ITEM, "live.")})
    GROUP BY job
)
SELECT job, missing, columns, coalesce(items, 0) AS items FROM jobs LEFT JOIN items USING (job)
WHERE missing OR cardinality(columns) > 0 OR items IS NOT NULL
"""  # noqa: S608 - built of constants
SHOW = "SELECT job::text, missing, columns, items FROM pg_temp.different ORDER BY job LIMIT $1"
NUMBER = "SELECT count(*) FROM pg_temp.different"

_SETS = ", ".join(f"{name} = excluded.{name}" for name in _JOB)
# When an end was announced only the live table knows.
SWITCH = (
    # What is told of an end that nobody has announced yet.
    f"""
INSERT INTO status.outbox (partition, job, type, body, trace)
SELECT partition, job, type, body, trace FROM {SCHEMA}.outbox AS built
WHERE type = 'JobFinished' AND job IN (SELECT job FROM pg_temp.different)
    AND job NOT IN (SELECT job FROM {SCHEMA}.ends)
    AND NOT EXISTS (SELECT FROM status.outbox AS live WHERE live.job = built.job AND live.type = built.type)
ORDER BY seq
""",  # noqa: S608 - built of constants
    f"""
INSERT INTO status.jobs (job, {_columns(_JOB)})
SELECT job, {_columns(_JOB)} FROM {SCHEMA}.jobs WHERE job IN (SELECT job FROM pg_temp.different)
ON CONFLICT (job) DO UPDATE SET {_SETS}
""",  # noqa: S608 - built of constants
    "DELETE FROM status.job_items WHERE job IN (SELECT job FROM pg_temp.different)",
    f"""
INSERT INTO status.job_items (job, item, previous_rank, {_columns(_ITEM)})
SELECT job, item, previous_rank, {_columns(_ITEM)} FROM {SCHEMA}.job_items
WHERE job IN (SELECT job FROM pg_temp.different)
""",  # noqa: S608 - built of constants
)
