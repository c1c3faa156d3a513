"""The statements of attaching, each for a whole batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from sluice_contracts.events import FileOutcome
from sluice_storage.catalogue.attachment import Attached, Attachment, Item
from sluice_storage.catalogue.model import EntryKind
from sluice_storage.catalogue.placement import Decision, Folders, Occupant, Place
from sluice_storage.catalogue.rows import Connection, json_text
from sluice_storage.objects import Content

Decided = tuple[Attachment, Decision]

_Found = tuple[str, str, str | None, EntryKind | None, str | None, int]
_Recorded = tuple[str, int, FileOutcome, str, int, int]

_decode_places = msgspec.json.Decoder(list[_Found]).decode
_decode_recorded = msgspec.json.Decoder(list[_Recorded]).decode

_HELD = """
    SELECT coalesce(json_agg(json_build_array(asked.folder, asked.name, e.id, e.kind, e.origin_job, coalesce((
        SELECT max(r.renamed_number) FROM files.entries r
        WHERE r.parent = asked.folder AND r.renamed_from = asked.name AND r.renamed_number IS NOT NULL
    ), 0))), '[]')::text
    FROM unnest($1::text[], $2::text[]) AS asked (folder, name)
    LEFT JOIN files.entries e ON e.parent = asked.folder AND e.name = asked.name
"""
_RECORDED = """
    SELECT coalesce(json_agg(json_build_array(
        i.job, i.item, i.outcome, i.entry, i.size, i.others)), '[]')::text
    FROM files.imports i JOIN unnest($3::uuid[], $4::integer[]) AS asked (job, item)
        ON (i.job, i.item) = (asked.job, asked.item)
"""
_READ = f"SELECT ({_HELD}) AS held, ({_RECORDED}) AS recorded"
_FILE_ALL = """
    WITH recorded AS (
        INSERT INTO files.imports (job, item, outcome, entry, size, others, etag, version, at)
        SELECT i.*, $15 FROM unnest($16::uuid[], $17::integer[], $18::text[], $19::text[], $20::bigint[],
            $21::integer[], $22::text[], $23::text[]) AS i
    )
    INSERT INTO files.entries (id, project, parent, kind, name, size, sha256, content_type, metadata,
        tags, origin_job, origin_item, origin_source, renamed_from, renamed_number,
        created_on, modified_on)
    SELECT f.id, f.project, f.parent, 'file', f.name, f.size, f.sha256, f.content_type, f.metadata::jsonb,
        ARRAY(SELECT jsonb_array_elements_text(f.tags::jsonb)), f.job, f.item, f.source,
        f.renamed_from, f.renamed_number, $15, $15
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::text[],
        $8::text[], $9::text[], $10::uuid[], $11::integer[], $12::text[], $13::text[], $14::integer[])
    AS f (id, project, parent, name, size, sha256, content_type, metadata, tags, job, item, source,
        renamed_from, renamed_number)
"""


async def hold(
    connection: Connection, jobs: Iterable[str], folders: Iterable[str]
) -> tuple[set[str], dict[str, str]]:
    """Hold off cancellation of these jobs, then lock these folders, until the transaction ends.

    One round trip: how many there are decides how long others wait for the folders. Gives the jobs that are
    not cancelled, and the project of each folder that is there.
    """
    rows = await connection.fetch(
        """
        WITH held AS MATERIALIZED (SELECT job FROM documents.hold_jobs($1) WHERE NOT cancelled),
        locked AS MATERIALIZED (
            SELECT f.id, f.project FROM files.entries f JOIN files.projects p ON p.id = f.project
            -- Never false; jobs come before folders in the order of locks, and this makes them.
            WHERE (SELECT count(*) FROM held) >= 0 AND f.id = ANY($2) AND f.kind = 'folder'
            ORDER BY p.id, f.id FOR KEY SHARE OF p FOR NO KEY UPDATE OF f
        )
        SELECT job::text, NULL AS folder, NULL AS project FROM held
        UNION ALL SELECT NULL, id, project FROM locked
        """,
        sorted(jobs),
        list(folders),
    )
    live = {row["job"] for row in rows if row["job"] is not None}
    return live, {row["folder"]: row["project"] for row in rows if row["folder"] is not None}


async def read(
    connection: Connection, items: Sequence[Item], places: Iterable[Place], folders: Folders
) -> dict[Item, Attached]:
    """Give the outcomes of those of these items that took effect before, and look up places as `look_up`."""
    asked = sorted(places)
    row = await connection.fetchrow(
        _READ,
        [folder for folder, _ in asked],
        [name for _, name in asked],
        [job for job, _ in items],
        [item for _, item in items],
    )
    assert row is not None  # noqa: S101 - two aggregates are always one row
    for found in _decode_places(row["held"]):
        _note(found, folders)
    return {
        (job, item): Attached(outcome, entry, size, others)
        for job, item, outcome, entry, size, others in _decode_recorded(row["recorded"])
    }


async def look_up(connection: Connection, places: Iterable[Place], folders: Folders) -> None:
    """Add to `folders` what these places hold, and how far files that wanted them have been renamed."""
    asked = sorted(places)
    found = await connection.fetchval(
        _HELD,
        [folder for folder, _ in asked],
        [name for _, name in asked],
    )
    for each in _decode_places(found):
        _note(each, folders)


def _note(found: _Found, folders: Folders) -> None:
    folder, name, entry, kind, job, highest = found
    folders.held[folder, name] = None if entry is None or kind is None else Occupant(entry, kind, job)
    folders.highest[folder, name] = highest


async def delete_files(connection: Connection, entries: Iterable[str]) -> list[bytes]:
    """Delete these files, as far as they are rows, and give the hashes of their contents."""
    rows = await connection.fetch(
        "DELETE FROM files.entries WHERE id = ANY($1) RETURNING sha256", sorted(entries)
    )
    return [row["sha256"] for row in rows]


async def hold_contents(
    connection: Connection, wanted: Iterable[Content], others: Iterable[bytes], now: datetime
) -> set[UUID | None]:
    """Make sure that each wanted content has a row, and lock these rows and the others' while it lasts.

    Locks are taken in the order of the hashes. A content that has a row stays in the object it is in; one
    that was marked as unused, and whose key is destroyed, is in the object that was brought from now on.
    Gives the objects that the contents are in now.
    """
    contents = {content.sha256: content for content in wanted}
    hashes = sorted({*contents, *others})
    brought = [contents.get(sha256) for sha256 in hashes]
    rows = await connection.fetch(
        """
        INSERT INTO files.blobs (sha256, size, stored_on, object, data_key)
        SELECT a.sha256, a.size, $3, a.object, a.data_key
        FROM unnest($1::bytea[], $2::bigint[], $4::uuid[], $5::bytea[]) AS a (sha256, size, object, data_key)
        ORDER BY a.sha256
        ON CONFLICT (sha256) DO UPDATE SET size = blobs.size
        RETURNING sha256, object, removed_at IS NOT NULL AS marked
        """,
        hashes,
        [0 if content is None else content.size for content in brought],
        now,
        [None if content is None else content.object for content in brought],
        [None if content is None else content.data_key for content in brought],
    )
    marked = [contents[row["sha256"]] for row in rows if row["marked"] and row["sha256"] in contents]
    if marked:
        # The object that it was in has no row any more, and goes like whatever else was left behind.
        await connection.execute(
            """
            UPDATE files.blobs b SET removed_at = NULL, purged_at = NULL, stored_on = $2, size = a.size,
                object = a.object, data_key = a.data_key
            FROM unnest($1::bytea[], $3::uuid[], $4::bytea[], $5::bigint[])
                AS a (sha256, object, data_key, size)
            WHERE b.sha256 = a.sha256
            """,
            [content.sha256 for content in marked],
            now,
            [content.object for content in marked],
            [content.data_key for content in marked],
            [content.size for content in marked],
        )
    return {row["object"] for row in rows} | {content.object for content in marked}


async def named(connection: Connection, hashes: Iterable[bytes]) -> set[UUID | None]:
    """Give the objects that these contents are in."""
    rows = await connection.fetch("SELECT object FROM files.blobs WHERE sha256 = ANY($1)", sorted(hashes))
    return {row["object"] for row in rows}


async def file_all(
    connection: Connection,
    files: Sequence[Decided],
    decided: Sequence[Decided],
    projects: dict[str, str],
    now: datetime,
) -> None:
    """Insert the files, and record what became of every item that was decided, so that it happens once."""
    await connection.execute(
        _FILE_ALL,
        [decision.entry for _, decision in files],
        [projects[row.folder] for row, _ in files],
        [row.folder for row, _ in files],
        [decision.name for _, decision in files],
        [row.stored.size for row, _ in files],
        [row.stored.sha256 for row, _ in files],
        [row.content_type for row, _ in files],
        [row.metadata for row, _ in files],
        [json_text(row.tags) for row, _ in files],
        [row.job for row, _ in files],
        [row.item for row, _ in files],
        [row.source for row, _ in files],
        [None if decision.number is None else row.name for row, decision in files],
        [decision.number for _, decision in files],
        now,
        [row.job for row, _ in decided],
        [row.item for row, _ in decided],
        [decision.outcome.value for _, decision in decided],
        [decision.entry for _, decision in decided],
        [row.stored.size for row, _ in decided],
        [row.others for row, _ in decided],
        [row.etag for row, _ in decided],
        [row.version for row, _ in decided],
    )
