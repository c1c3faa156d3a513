"""Where folds have come to in the log, kept beside what they fold."""

from __future__ import annotations


def positions(schema: str) -> str:
    """Give the statement that notes partitions ($2) of a topic ($1), and tells where each is to be read from.

    `$3` is the id of the Kafka cluster; None: whichever it was before. Places in the log of another Kafka
    mean nothing in this one's: its log is read from its beginning.
    """
    return f"""
INSERT INTO {schema}.offsets AS held (topic, partition, next_offset, cluster)
SELECT $1, partition, 0, $3 FROM unnest($2::int[]) AS partition ORDER BY partition
ON CONFLICT (topic, partition) DO UPDATE SET
    next_offset = CASE WHEN held.cluster <> excluded.cluster THEN 0 ELSE held.next_offset END,
    cluster = coalesce(excluded.cluster, held.cluster)
RETURNING partition, next_offset
"""  # noqa: S608 - a schema of ours
