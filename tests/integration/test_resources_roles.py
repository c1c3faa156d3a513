"""Who may do what in the resource store."""

from __future__ import annotations

import asyncpg
import pytest

from sluice_fhir.ndjson_resource import parse
from sluice_storage.pool import open_pool
from sluice_storage.resources.applying import Applier
from support.stack import Database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fhir.resources_patient SET body = ''",
        "UPDATE fhir.resources_patient SET source_updated = now()",
        "DELETE FROM fhir.resources_patient",
        "TRUNCATE fhir.resources",
        "UPDATE fhir.clock SET batch = 0",
        "UPDATE fhir.batches SET job = NULL",
        "DELETE FROM fhir.shared",
        "INSERT INTO fhir.batches (batch, time, first_seq) VALUES (1, now(), 1)",
    ],
)
async def test_the_gateways_role_adds_to_the_store_and_changes_nothing(
    database: Database, statement: str
) -> None:
    gateway = await open_pool(database.dsn_for("gateway"))
    try:
        resource = parse(b'{"resourceType":"Patient","id":"p"}')
        basic = parse(b'{"resourceType":"Basic","id":"b"}')
        assert len(await Applier(gateway).apply([resource, basic])) == 2
        assert len(await Applier(gateway).apply([], [("Basic", "b")])) == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await gateway.execute(statement)
    finally:
        await gateway.close()
