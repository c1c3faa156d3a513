"""Writing audit records."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from sluice_storage.audit.model import Record

Connection = asyncpg.Connection | PoolConnectionProxy
_INSERT = """
    INSERT INTO audit.records (at, act, outcome, reason, client, subject, address, kind, entity, ids, job,
        patients, parameters, items, bytes, request, trace)
    SELECT coalesce(r.at, now()), r.act, coalesce(r.outcome, 0), r.reason, r.client, r.subject, r.address,
        r.kind, r.entity, r.ids, r.job, r.patients, r.parameters, r.items, r.bytes, r.request, r.trace
    FROM json_to_recordset($1::text::json) AS r (at timestamptz, act text, outcome smallint, reason text,
        client text, subject text, address text, kind text, entity text, ids text[], job uuid,
        patients text[], parameters text[], items bigint, bytes bigint, request text, trace text)
"""


async def record(connection: Connection | asyncpg.Pool, records: Sequence[Record]) -> None:
    """Write records, in the transaction that the connection is in: they are there if it commits."""
    if records:
        await connection.execute(_INSERT, msgspec.json.encode(records).decode())
