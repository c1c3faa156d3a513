"""What must hold after a run, whatever was killed in its course."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from sluice_stack.stack import Stack

Rows = list[dict[str, Any]]
_LOOKS = 120


def rows(stack: Stack, query: str, *values: Any) -> Rows:
    """Ask the stack's database, as its administrator."""
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        return connection.execute(query, values).fetchall()


def check_jobs_ended_once(stack: Stack, jobs: Sequence[str], items: int) -> None:
    """Every job has ended, once, with a state for each of its items, and was announced."""
    # What has ended is announced after that, and a broker that was killed takes its time to take it.
    for _ in range(_LOOKS):
        found = rows(stack, "SELECT * FROM status.jobs WHERE job = ANY(%s::uuid[])", list(jobs))
        if all(row["announced_at"] is not None for row in found):
            break
        time.sleep(0.5)
    assert {str(row["job"]) for row in found} == set(jobs)
    for row in found:
        assert row["state"] == "FINISHED", row["job"]
        assert row["announced_at"] is not None, row["job"]
        ends = row["attached"] + row["skipped"] + row["failed"] + row["cancelled"]
        assert ends == row["items"], row["job"]
    assert sum(row["items"] for row in found) == items


def check_each_item_took_effect_once(stack: Stack, jobs: Sequence[str]) -> None:
    """No file is lost and none is there twice: items, imports and files match one to one."""
    ids = list(jobs)
    attached = rows(
        stack, "SELECT job, item, file FROM status.job_items WHERE job = ANY(%s::uuid[]) AND rank = 70", ids
    )
    imports = rows(
        stack,
        "SELECT job, item, entry FROM files.imports WHERE job = ANY(%s::uuid[]) AND outcome <> 'skipped'",
        ids,
    )
    entries = rows(
        stack,
        "SELECT id, origin_job AS job, origin_item AS item FROM files.entries "
        "WHERE origin_job = ANY(%s::uuid[])",
        ids,
    )
    told = {(row["job"], row["item"]): row["file"] for row in attached}
    recorded = {(row["job"], row["item"]): row["entry"] for row in imports}
    there = Counter((row["job"], row["item"]) for row in entries)
    assert told == recorded
    assert there == Counter(dict.fromkeys(recorded, 1))
    assert {row["id"] for row in entries} == set(recorded.values())


def check_contents_are_stored(stack: Stack, jobs: Sequence[str]) -> None:
    """Each file's content is in the object store, once, with the size that its row states."""
    wanted = rows(
        stack,
        "SELECT DISTINCT encode(b.sha256, 'hex') AS digest, b.size FROM files.entries e "
        "JOIN files.blobs b USING (sha256) WHERE e.origin_job = ANY(%s::uuid[])",
        list(jobs),
    )
    # Kept as sha256/<two digits>/<the others>.
    stored = {
        path.parent.name + path.name: path.stat().st_size for path in _objects(stack.layout.home.objects)
    }
    for row in wanted:
        assert stored.get(row["digest"]) == row["size"], row["digest"]


def _objects(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check_all(stack: Stack, jobs: Sequence[str], items: int) -> None:
    """Check everything."""
    check_jobs_ended_once(stack, jobs, items)
    check_each_item_took_effect_once(stack, jobs)
    check_contents_are_stored(stack, jobs)
