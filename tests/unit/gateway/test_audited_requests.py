"""Requests that disclose something, or are refused it, are on record before anything leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice_contracts.audit import ACTS, DENIED
from sluice_contracts.events import JobKind
from sluice_contracts.ids import job_id
from sluice_gateway.audit_rules import RULES, UNRECORDED
from sluice_gateway.auditing import Auditing
from sluice_gateway.routes import ROUTES
from sluice_security.callers import Origins
from sluice_storage.audit import Record
from support.gateway_memory import Site, memory_gateway
from support.isolation import CATALOGUE, JOBS, is_reading

DATA = b'{"resourceType":"Patient","id":"1"}\n'
# Those whose records no matrix looks at, and where a test does.
ELSEWHERE = {
    "get_content": "integration/test_audit_of_acts.py::test_each_request_for_content_is_recorded",
    "get_manifest_outcome": "integration/test_audit_of_acts.py::test_what_became_of_a_manifest_is_recorded",
    "list_group_members": "integration/test_audit_of_acts.py::test_a_change_is_recorded_with_its_agent",
}


def test_every_operation_is_recorded_or_said_not_to_be() -> None:
    names = {route.name for route in ROUTES}
    assert not RULES.keys() & UNRECORDED
    assert names == RULES.keys() | UNRECORDED, "decide in sluice_gateway/audit_rules.py"
    assert {rule.act for rule in RULES.values()} <= ACTS.keys()


def test_every_disclosure_is_held_by_a_test() -> None:
    reading = {route.name for route in ROUTES if is_reading(route)}
    disclosing = {name for name, rule in RULES.items() if rule.discloses}
    assert disclosing <= JOBS | CATALOGUE.keys() | reading | ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (Path(__file__).parents[2] / file).read_text(encoding="utf-8"), place


def exported(site: Site, data: bytes = DATA) -> tuple[str, str]:
    job = job_id(site.id_keys(JobKind.BULK_EXPORT), "portal/ann", site.now.at, 7)
    site.bulk.grants.give("ann")
    site.bulk.exports.add(job)
    row = site.bulk.seal(job, data)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    return job, f"/fhir/exports/{job}/files/{row.name}"


class Failing:
    """Records that cannot be kept."""

    async def add(self, _records: Sequence[Record]) -> None:
        raise ConnectionError("away")


@pytest.mark.parametrize("plain", [True, False])
async def test_what_cannot_be_recorded_is_not_disclosed(tmp_path: Path, plain: bool) -> None:
    async with memory_gateway(files=tmp_path) as site:
        site.bulk.objects.plain = plain
        _, path = exported(site)
        headers = site.bearer(scopes="system/*.rs")
        recording = site.gateway.auditing._add
        site.gateway.auditing._add = Auditing(Failing(), Origins(0))._add
        refused = await site.get(path, headers=headers)
        assert refused.status == 503
        assert b"Patient" not in await refused.read()
        site.gateway.auditing._add = recording
        assert await (await site.get(path, headers=headers)).read() == DATA
        assert len(site.audit) == 1


async def test_each_request_for_a_part_of_a_file_is_recorded_with_how_much_it_is(tmp_path: Path) -> None:
    async with memory_gateway(files=tmp_path, trusted_proxies=1) as site:
        job, path = exported(site)
        headers = {**site.bearer(scopes="system/*.rs"), "X-Forwarded-For": "9.9.9.9, 192.0.2.7"}
        headers["X-Request-Id"] = "request-1"
        for part in ("bytes=0-9", "bytes=10-"):
            answer = await site.get(path, headers={**headers, "Range": part})
            assert answer.status == 206
        known = {**headers, "If-None-Match": answer.headers["ETag"]}
        assert (await site.get(path, headers=known)).status == 304
        first, second = site.audit
        assert first == Record(
            act="disclose",
            client="portal",
            subject="ann",
            address="192.0.2.7",
            kind="job-file",
            entity=f"{job}/{path.rpartition('/')[2]}",
            job=job,
            bytes=10,
            request="request-1",
            trace=first.trace,
        )
        assert first.trace
        assert second.bytes == len(DATA) - 10


async def test_polls_leave_no_record(tmp_path: Path) -> None:
    async with memory_gateway(files=tmp_path) as site:
        job, _ = exported(site)
        answer = await site.get(f"/fhir/exports/{job}", headers=site.bearer(scopes="system/*.rs"))
        assert (answer.status, site.audit) == (200, [])


async def test_records_of_one_moment_are_kept_by_one_statement() -> None:
    kept: list[int] = []

    class Records:
        async def add(self, records: Sequence[Record]) -> None:
            kept.append(len(records))

    add = Auditing(Records(), Origins(0))._add
    await asyncio.gather(*(add(Record(act="read")) for _ in range(50)))
    assert kept == [50]


@pytest.mark.parametrize(
    ("path", "kind", "entity"),
    [
        ("/fhir/Patient/no", "Patient", "no"),
        ("/fhir/Kanarie/no", None, None),
        ("/fhir/Patient/Anna%20Kanarie", "Patient", None),
        ("/fhir/exports/Anna%20Kanarie/files/Kanarie", None, None),
    ],
)
async def test_a_refusal_repeats_no_more_of_a_path_than_types_and_ids(
    path: str, kind: str | None, entity: str | None
) -> None:
    async with memory_gateway() as site:
        answer = await site.get(path, headers=site.bearer(scopes="system/*.rs"))
        assert answer.status == 404
        (told,) = site.audit
        assert (told.outcome, told.subject) == (DENIED, "ann")
        if "exports" not in path:
            assert (told.kind, told.entity) == (kind, entity)
        assert "Kanarie" not in f"{told.kind} {told.entity} {told.job} {told.reason}" or told.entity is None


async def test_who_is_not_known_is_not_recorded() -> None:
    async with memory_gateway() as site:
        assert (await site.get("/fhir/Patient/1")).status == 401
        assert (await site.get(f"/v2/files/{'0' * 24}/content?ticket=none")).status == 404
        assert site.audit == []


async def test_a_connections_next_request_is_not_taken_for_the_one_before() -> None:
    async with memory_gateway() as site:
        headers: dict[str, Any] = site.bearer(scopes="system/*.rs")
        await site.get("/fhir/Patient/1", headers=headers)
        await site.get("/fhir/Patient/1")
        assert [record.subject for record in site.audit] == ["ann"]
