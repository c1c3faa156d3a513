"""How the steps of an import look up the items that their commands name."""

from __future__ import annotations

ASKED_ITEMS = """
    FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS asked (job, item, place)
    JOIN documents.items USING (job, item)
    CROSS JOIN LATERAL (
        SELECT conflict_resolution, tags, cancelled_at FROM documents.jobs WHERE job = items.job OFFSET 0
    ) jobs
"""
"""From where: the items of the jobs `$1` at the positions `$2`, as far as they are there, each with its job
and with its `place` (1 is the first) in what was asked.

`OFFSET 0` keeps the planner from joining the job first: planned while the tables are small, that would look
up all items of the job for each, and such a plan stays for as long as its connection.
"""
