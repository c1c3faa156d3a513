"""What the gateway does and gives is on record with who asked for it, together with the act or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant, GranteeKind
from sluice_storage.audit import Record, record
from support.gateway_real import RealSite, real_gateway
from support.pulling import PullSite, pull_site
from support.resource_store import Json
from support.stack import Database
from support.submitting import Provider
from support.tokens import AUDIENCE

OPERATOR = {"client": "ops", "subject": "ops", "scopes": "ops/groups ops/access ops/resources"}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


async def records(site: RealSite, *columns: str) -> list[tuple[Any, ...]]:
    found = await site.admin.fetch(
        f"SELECT {', '.join(columns)} FROM audit.records"  # noqa: S608
        " WHERE service IN ('gateway', 'puller') ORDER BY at, id"
    )
    return [tuple(row) for row in found]


async def download(site: RealSite, file: str) -> str:
    info = await (await site.get(f"/v2/files/{file}/download_info", headers=site.bearer())).json()
    return str(info["url"]).removeprefix(AUDIENCE)


async def test_each_request_for_content_is_recorded(site: RealSite) -> None:
    project = await site.bench.project("ann")
    file = await site.bench.file(project, "a.txt", b"0123456789")
    url = await download(site, file)
    whole = await site.get(url)
    assert await whole.read() == b"0123456789"
    await (await site.get(url, headers={"Range": "bytes=5-"})).read()
    assert (await site.get(url, headers={"If-None-Match": whole.headers["ETag"]})).status == 304
    assert (await site.call("HEAD", url)).status == 200
    rows = await records(site, "act", "subject", "address", "kind", "entity", "bytes")
    told = ("disclose", "ann", "127.0.0.1", "file", file)
    assert rows == [(*told, 10), (*told, 5)]


async def test_content_that_cannot_be_recorded_is_not_given(site: RealSite) -> None:
    project = await site.bench.project("ann")
    url = await download(site, await site.bench.file(project, "a.txt", b"secret"))
    await site.admin.execute("REVOKE INSERT ON audit.records FROM sluice_gateway")
    try:
        refused = await site.get(url)
        assert refused.status == 500
        assert b"secret" not in await refused.read()
    finally:
        await site.admin.execute("GRANT INSERT ON audit.records TO sluice_gateway")


async def test_a_file_is_deleted_with_a_record_or_not_at_all(site: RealSite) -> None:
    project = await site.bench.project("ann")
    file = await site.bench.file(project, "a.txt")
    path = f"/v2/files/{file}"
    await site.admin.execute("ALTER TABLE audit.records ADD CONSTRAINT broken CHECK (act <> 'file.delete')")
    assert (await site.call("DELETE", path, headers=site.bearer())).status == 500
    assert await site.admin.fetchval("SELECT count(*) FROM files.entries WHERE id = $1", file) == 1
    await site.admin.execute("ALTER TABLE audit.records DROP CONSTRAINT broken")
    headers = {**site.bearer(), "X-Request-Id": "deleting"}
    assert (await site.call("DELETE", path, headers=headers)).status == 204
    assert (await site.call("DELETE", path, headers=headers)).status == 404
    assert await records(site, "act", "outcome", "client", "subject", "entity", "request") == [
        ("file.delete", 0, "portal", "ann", file, "deleting"),
        ("file.delete", 4, "portal", "ann", file, "deleting"),
    ]


async def test_a_change_is_recorded_with_its_agent(site: RealSite) -> None:
    project = await site.bench.project("ann")
    member = {"username": "bob", "permissions": {"write": True}}
    await site.post(f"/v2/projects/{project.id}/members", json=member, headers=site.bearer())
    ops = site.bearer(**OPERATOR)
    group = {"id": "trial", "name": "Trial", "patients": ["p", "q"]}
    assert (await site.post("/v2/fhir/groups", json=group, headers=ops)).status == 201
    assert (await site.get("/v2/fhir/groups/trial/members", headers=ops)).status == 200
    given = await site.post("/v2/fhir/grants", json={"client": "c", "group": "trial"}, headers=ops)
    grant = (await given.json())["id"]
    await site.call("DELETE", f"/v2/fhir/grants/{grant}", headers=ops)
    await site.call("DELETE", "/v2/fhir/groups/trial", headers=ops)
    addresses = await records(site, "address")
    assert addresses == [("127.0.0.1",)] * 6
    assert await records(site, "act", "outcome", "subject", "kind", "entity", "items", "ids") == [
        ("member.change", 0, "ann", "project", project.id, None, ["bob"]),
        ("group.change", 0, "ops", "Group", "trial", 2, None),
        ("disclose", 0, "ops", "Group", "trial", None, None),
        ("grant.give", 0, "ops", "grant", grant, None, ["c", "trial"]),
        ("grant.revoke", 0, "ops", "grant", grant, None, ["c", "trial"]),
        ("group.change", 0, "ops", "Group", "trial", 0, None),
    ]


async def test_sources_and_webhooks_are_registered_changed_and_removed_with_a_record_of_who_asked(
    site: RealSite,
) -> None:
    ops = {**site.bearer(client="ops", subject="ops", scopes="ops/sources"), "X-Request-Id": "who-asked"}
    draft = {"name": "Ward", "base_url": "https://fhir.example/r4"}
    source = (await (await site.post("/v2/fhir/sources", json=draft, headers=ops)).json())["id"]
    assert (await site.post("/v2/fhir/sources", json=draft, headers=ops)).status == 409
    place = f"/v2/fhir/sources/{source}"
    assert (await site.call("PATCH", place, json={"enabled": False}, headers=ops)).status == 200
    assert (await site.call("DELETE", place, headers=ops)).status == 204
    assert (await site.call("DELETE", place, headers=ops)).status == 404
    mine = {**site.bearer(subject="portal"), "X-Request-Id": "who-asked"}
    hook = {"url": "https://portal.example/hook", "types": ["job.finished"]}
    made = await (await site.post("/v2/webhooks", json=hook, headers=mine)).json()
    place = f"/v2/webhooks/{made['id']}"
    assert (await site.call("PATCH", place, json={"enabled": True}, headers=mine)).status == 200
    assert (await site.call("PATCH", place, json={"enabled": False}, headers=mine)).status == 200
    assert (await site.post(f"{place}/actions/rotate-secret", json={}, headers=mine)).status == 200
    assert (await site.call("DELETE", place, headers=mine)).status == 204
    told = await records(site, "act", "outcome", "client", "subject", "address", "request", "entity")
    who, me = ("ops", "ops", "127.0.0.1", "who-asked"), ("portal", "portal", "127.0.0.1", "who-asked")
    assert told == [
        ("source.register", 0, *who, source),
        ("source.change", 0, *who, source),
        ("source.remove", 0, *who, source),
        ("source.remove", 4, *who, source),
        ("webhook.register", 0, *me, made["id"]),
        ("webhook.change", 0, *me, made["id"]),
        ("webhook.change", 0, *me, made["id"]),
        ("webhook.remove", 0, *me, made["id"]),
    ]
    assert await site.admin.fetchval(
        "SELECT bool_and(trace IS NOT NULL) FROM audit.records WHERE outcome = 0"
    )


async def test_a_source_is_registered_with_a_record_or_not_at_all(site: RealSite) -> None:
    ops = site.bearer(client="ops", subject="ops", scopes="ops/sources")
    await site.admin.execute(
        "ALTER TABLE audit.records ADD CONSTRAINT broken CHECK (act <> 'source.register')"
    )
    draft = {"name": "Ward", "base_url": "https://fhir.example/r4"}
    assert (await site.post("/v2/fhir/sources", json=draft, headers=ops)).status == 500
    await site.admin.execute("ALTER TABLE audit.records DROP CONSTRAINT broken")
    assert await site.admin.fetchval("SELECT count(*) FROM sources.sources") == 0


async def test_what_is_stored_is_recorded_by_ids_and_once(site: RealSite) -> None:
    entries: list[Json] = [
        {"resourceType": "Patient", "id": "p", "name": [{"family": "Kanarie"}]},
        {"resourceType": "Basic", "id": "b", "subject": {"reference": "Patient/p"}, "code": {}},
    ]
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
            for each in entries
        ],
    }
    headers = {**site.bearer(**OPERATOR), "Content-Type": "application/fhir+json"}
    for _ in range(2):
        answer = await site.post("/fhir", data=json.dumps(bundle), headers=headers)
        assert answer.status == 200, await answer.text()
    rows = await records(site, "act", "client", "items", "ids", "patients")
    assert [(*row[:3], sorted(row[3]), row[4]) for row in rows] == [
        ("store", "ops", 2, ["Basic/b", "Patient/p"], ["p"])
    ]
    whole = await site.admin.fetchval("SELECT string_agg(r::text, ' ') FROM audit.records r")
    assert "Kanarie" not in whole


AUDITOR = {"client": "auditor", "subject": "auditor", "scopes": "ops/audit"}


async def searched(site: RealSite, query: str, **who: Any) -> list[Json]:
    """Go through all pages of a search, and give the resources."""
    path, found = f"/fhir/AuditEvent?{query}", []
    while path:
        answer = await site.get(path, headers=site.bearer(**(who or AUDITOR)))
        page = await answer.json(content_type=None)
        assert answer.status == 200, page
        found += [each["resource"] for each in page.get("entry", [])]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        path = following[0].removeprefix(AUDIENCE) if following else ""
    return found


async def test_operators_read_the_trail_page_by_page_the_newest_first(site: RealSite) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    job = "00000000-0000-4000-8000-00000000000a"
    kept = [
        Record(act="read", at=at, client="a", subject="u", kind="Patient", entity="p", patients=("p",)),
        Record(act="search", at=at, client="a", subject="a", kind="Observation", patients=("p", "q")),
        Record(act="disclose", at=at, client="b", subject="b", kind="job-file", entity=f"{job}/f", job=job),
        Record(act="token", at=at, outcome=8, reason="invalid_client", address="192.0.2.9"),
        Record(act="grant.give", at=at + timedelta(days=1), subject="ops", kind="grant", entity="g"),
    ]
    await record(site.admin, kept)

    async def acts(query: str) -> list[str]:
        return [
            each["subtype"][-1]["code"] for each in await searched(site, f"{query}&date=lt2026-06&_count=2")
        ]

    everything = await acts("date=ge2026-05-01")
    assert everything[0] == "grant.give"
    assert sorted(everything) == sorted(each.act for each in kept)
    for query, expected in {
        "date=2026-05-02": {"grant.give"},
        "date=gt2026-05-01": {"grant.give"},
        "date=le2026-05-01": {"read", "search", "disclose", "token"},
        "agent=a": {"read", "search"},
        "agent=u": {"read"},
        "agent=a&agent=u": set(),
        "patient=p": {"read", "search"},
        "patient=Patient/q": {"search"},
        "entity=Patient/p": {"read"},
        "entity=Observation/p": set(),
        f"entity={job}": {"disclose"},
        "entity=g,p": {"grant.give", "read"},
        "outcome=8": {"token"},
        "type=rest": {"read", "search"},
        "type=http://dicom.nema.org/resources/ontology/DCM|110106": {"disclose"},
        "subtype=grant.give,ITI-71": {"grant.give", "token"},
        "action=C": {"grant.give"},
        "address=192.0.2.9": {"token"},
        "type=none": set(),
    }.items():
        assert set(await acts(query)) == expected, query
    for wrong in ("outcome=x", "outcome=3", "date=then", "agent-name=x", "_count=x", "_cursor=x"):
        answer = await site.get(f"/fhir/AuditEvent?{wrong}", headers=site.bearer(**AUDITOR))
        assert answer.status == 400, wrong


async def test_a_record_is_read_by_its_id_and_by_operators_alone(site: RealSite) -> None:
    await record(site.admin, [Record(act="read", client="a", subject="a", kind="Patient", entity="p")])
    (event,) = await searched(site, "subtype=read")
    path = f"/fhir/AuditEvent/{event['id']}"
    answer = await site.get(path, headers=site.bearer(**AUDITOR))
    assert (answer.status, answer.headers["ETag"]) == (200, 'W/"1"')
    assert await answer.json(content_type=None) == event
    assert (await site.get(f"{path}/_history/1", headers=site.bearer(**AUDITOR))).status == 200
    for other in (f"{path}0", "/fhir/AuditEvent/1-1", "/fhir/AuditEvent/x", f"{path}/_history/2"):
        assert (await site.get(other, headers=site.bearer(**AUDITOR))).status == 404
    await Grants(site.admin).give(
        Grant(
            id="00000000-0000-4000-9000-000000000001",
            grantee_kind=GranteeKind.CLIENT,
            grantee="all",
            all_patients=True,
            group=None,
            types=None,
            granted_by="ops",
            granted_at=datetime.now(UTC),
        )
    )
    others = {"client": "all", "subject": "all", "scopes": "system/*.rs ops/jobs ops/access"}
    assert (await site.get(path, headers=site.bearer(**others))).status == 404
    assert await searched(site, "_count=9", **others) == []
    # Who looked is on record as well.
    looked = [row for row in await records(site, "act", "client", "kind") if row[1] == "auditor"]
    assert looked[:2] == [("search", "auditor", "AuditEvent"), ("read", "auditor", "AuditEvent")]


@pytest.fixture
async def pull(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database) as found:
        yield found


async def test_what_became_of_a_manifest_is_recorded(database: Database, pull: PullSite) -> None:
    async with real_gateway(database, producer=pull.broker.producer(), export_early_polls=1000) as site:
        provider = Provider(site, pull)
        await provider.submitted(provider.manifest("first", {"resourceType": "Patient", "id": "1"}))
        place = await provider.place()
        async with pull.running():
            while True:
                shown = await (await site.get(place, headers=provider.token())).json()
                if shown["outcome"]:
                    break
        file = shown["outcome"][0]["url"].removeprefix(AUDIENCE)
        assert (await site.get(file, headers=provider.token())).status == 200
        rows = await records(site, "act", "service", "outcome", "kind")
    assert ("bulk-import.load", "puller", 0, "pulled-file") in rows
    assert rows[-1] == ("disclose", "gateway", 0, "job-file")
    assert sum(row[0] == "disclose" for row in rows) == 1
