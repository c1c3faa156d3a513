"""The operators' API of grants and groups, on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice_storage.access.grants import Grants
from support.gateway_real import RealSite, real_gateway
from support.resource_store import Store, open_store
from support.stack import Database

GRANTS, GROUPS = "/v2/fhir/grants", "/v2/fhir/groups"


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


def operator(site: RealSite) -> dict[str, str]:
    return site.bearer(client="ops", subject="ops", scopes="ops/access ops/groups")


async def call(
    site: RealSite, method: str, path: str, status: int, body: Any = None, **query: Any
) -> dict[str, Any]:
    more = {} if body is None else {"json": body}
    answer = await site.call(method, path, headers=operator(site), params=query, **more)
    shown: dict[str, Any] = {} if answer.status == 204 else await answer.json()
    assert answer.status == status, shown
    if status == 201:
        assert answer.headers["Location"] == shown["href"]
    return shown


async def make_group(site: RealSite, id_: str = "g", *patients: str) -> None:
    await call(site, "POST", GROUPS, 201, {"id": id_, "name": "Trial", "patients": patients})


async def test_a_grant_is_given_listed_shown_and_revoked_and_stays_for_the_record(site: RealSite) -> None:
    await make_group(site)
    given = await call(site, "POST", GRANTS, 201, {"client": "portal", "group": "g", "types": ["Patient"]})
    assert (given["client"], given["user"], given["group"]) == ("portal", None, "g")
    assert (given["state"], given["types"], given["granted_by"]) == ("active", ["Patient"], "ops")
    path = f"{GRANTS}/{given['id']}"
    assert await call(site, "GET", path, 200) == given
    assert (await call(site, "GET", GRANTS, 200))["items"] == [given]
    await call(site, "DELETE", path, 204)
    await call(site, "DELETE", path, 404)
    assert (await call(site, "GET", GRANTS, 200))["items"] == []
    revoked = await call(site, "GET", path, 200)
    assert (revoked["state"], revoked["revoked_by"]) == ("revoked", "ops")
    assert (await call(site, "GET", GRANTS, 200, ended="true"))["items"] == [revoked]


async def test_grants_are_listed_by_grantee_and_group_page_by_page(site: RealSite) -> None:
    await make_group(site, "g")
    await make_group(site, "h")
    for client, group in (("one", "g"), ("one", "h"), ("two", "g")):
        await call(site, "POST", GRANTS, 201, {"client": client, "group": group})
    assert len((await call(site, "GET", GRANTS, 200, grantee="one"))["items"]) == 2
    assert len((await call(site, "GET", GRANTS, 200, group="g"))["items"]) == 2
    first = await call(site, "GET", GRANTS, 200, limit="2")
    (link,) = first["links"]
    second = await call(site, "GET", GRANTS, 200, limit="2", offset="2")
    assert link["rel"] == "next"
    assert len({item["id"] for item in first["items"] + second["items"]}) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "client or user"),
        ({"client": "a", "user": "user-1", "all_patients": True}, "client or user"),
        ({"client": "a"}, "group or all_patients"),
        ({"client": "a", "group": "g", "all_patients": True}, "group or all_patients"),
        ({"client": "user-1", "all_patients": True}, "client"),
        ({"user": "portal", "all_patients": True}, "user"),
        ({"client": "a", "group": "no such"}, "group"),
        ({"client": "a", "group": "absent"}, "group"),
        ({"client": "a", "all_patients": True, "types": []}, "types"),
        ({"client": "a", "all_patients": True, "types": ["Patients"]}, "types"),
        ({"client": "a", "all_patients": True, "expires_on": "2001-01-01T00:00:00Z"}, "expires_on"),
        ({"client": "a", "all_patients": True, "expires_on": "2099-01-01T00:00:00"}, "expires_on"),
        ({"client": "a", "all_patients": True, "expires_on": "9999-12-31T23:59:59-14:00"}, "expires_on"),
        ({"client": "a", "all_patients": True, "patients": ["p"]}, "patients"),
    ],
)
async def test_a_grant_that_says_no_clear_thing_is_refused(
    site: RealSite, body: dict[str, Any], field: str
) -> None:
    shown = await call(site, "POST", GRANTS, 400, body)
    assert field in shown["message"]


@pytest.mark.parametrize("id_", ["absent", "0" * 32, "00000000-0000-0000-0000-000000000000"])
async def test_a_grant_that_never_was_is_not_found(site: RealSite, id_: str) -> None:
    await call(site, "GET", f"{GRANTS}/{id_}", 404)
    await call(site, "DELETE", f"{GRANTS}/{id_}", 404)


async def test_a_clients_grant_counts_for_itself_and_a_users_through_any_client(site: RealSite) -> None:
    grants = Grants(site.admin)
    await call(site, "POST", GRANTS, 201, {"client": "portal", "all_patients": True})
    await call(site, "POST", GRANTS, 201, {"user": "user-1", "all_patients": True, "types": ["Patient"]})

    async def types(client: str, subject: str) -> list[tuple[str, ...] | None]:
        return [grant.types for grant in await grants.of(client, subject)]

    assert await types("portal", "portal") == [None]
    assert await types("portal", "user-1") == [("Patient",)]
    assert await types("other", "user-1") == [("Patient",)]
    assert await types("other", "other") == []
    assert await types("other", "portal") == []
    assert await types("user-1", "user-2") == []


async def test_a_grant_ends_at_its_time(site: RealSite, store: Store) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    body = {"client": "portal", "all_patients": True, "expires_on": ends.isoformat()}
    given = await call(site, "POST", GRANTS, 201, body)
    assert given["expires_on"] == ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    for at, count in ((ends - timedelta(microseconds=1), 1), (ends, 0)):
        grants = Grants(store.readers, now=lambda at=at: at)  # type: ignore[misc]
        assert len(await grants.of("portal", "portal")) == count
        assert (await grants.page()).total == count


async def test_a_group_is_made_changed_shown_and_deleted(site: RealSite) -> None:
    path = f"{GROUPS}/g"
    made = await call(site, "POST", GROUPS, 201, {"id": "g", "name": "Trial", "patients": ["b", "a", "a"]})
    assert (made["name"], made["managed"], made["members"]) == ("Trial", "api", 2)
    await call(site, "POST", GROUPS, 409, {"id": "g", "name": "Other"})
    changed = await call(site, "PATCH", f"{path}/members", 200, {"add": ["c", "a"], "remove": ["b", "x"]})
    assert changed == {"added": 1, "removed": 1, "members": 2, "not_in_store": 2}
    page = await call(site, "GET", f"{path}/members", 200, limit="1", offset="1")
    assert [member["patient"] for member in page["items"]] == ["c"]
    await call(site, "DELETE", f"{path}/members/c", 204)
    await call(site, "DELETE", f"{path}/members/c", 404)
    replaced = await call(site, "PUT", path, 200, {"name": "Renamed", "patients": ["a", "d", "e"]})
    assert (replaced["name"], replaced["members"]) == ("Renamed", 3)
    assert await call(site, "GET", path, 200) == replaced
    assert (await call(site, "GET", GROUPS, 200, name="NAMED"))["items"] == [replaced]
    assert (await call(site, "GET", GROUPS, 200, name="x"))["items"] == []
    await call(site, "DELETE", path, 204)
    for method, more in (("GET", None), ("DELETE", None), ("PUT", {"name": "n", "patients": []})):
        await call(site, method, path, 404, more)
    await call(site, "PATCH", f"{path}/members", 404, {"add": ["a"]})
    await call(site, "GET", f"{path}/members", 404)


async def test_a_group_without_an_id_is_given_one(site: RealSite) -> None:
    made = await call(site, "POST", GROUPS, 201, {"name": "Trial"})
    assert await call(site, "GET", f"{GROUPS}/{made['id']}", 200) == made


async def test_thousands_of_patients_join_in_one_request_and_all_or_none_do(site: RealSite) -> None:
    await make_group(site)
    members = f"{GROUPS}/g/members"
    many = [f"p{number}" for number in range(10_000)]
    assert (await call(site, "PATCH", members, 200, {"add": many}))["added"] == 10_000
    assert (await call(site, "PATCH", members, 200, {"add": many}))["added"] == 0
    for body in (
        {"add": [*many, "more"]},
        {"add": ["new", "no such id"]},
        {"add": ["x"], "remove": ["x"]},
        {},
    ):
        await call(site, "PATCH", members, 400, body)
    page = await call(site, "GET", members, 200, limit="1000")
    assert len(page["items"]) == 1000
    assert (await call(site, "GET", f"{GROUPS}/g", 200))["members"] == 10_000


async def test_patients_may_join_before_they_are_in_the_store_and_it_is_told(
    site: RealSite, store: Store
) -> None:
    await store.load({"resourceType": "Patient", "id": "here"})
    await make_group(site)
    changed = await call(site, "PATCH", f"{GROUPS}/g/members", 200, {"add": ["here", "later"]})
    assert (changed["added"], changed["not_in_store"]) == (2, 1)


async def test_a_group_that_was_loaded_is_changed_by_loading_only(site: RealSite, store: Store) -> None:
    member = {"entity": {"reference": "Patient/p"}}
    await store.load(
        {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": [member]}
    )
    assert (await call(site, "GET", f"{GROUPS}/g", 200))["managed"] == "resource"
    await call(site, "POST", GROUPS, 409, {"id": "g", "name": "Mine"})
    await call(site, "PUT", f"{GROUPS}/g", 409, {"name": "Mine", "patients": []})
    await call(site, "PATCH", f"{GROUPS}/g/members", 409, {"add": ["q"]})
    await call(site, "DELETE", f"{GROUPS}/g/members/p", 409)
    await call(site, "DELETE", f"{GROUPS}/g", 409)
    assert (await call(site, "GET", f"{GROUPS}/g", 200))["members"] == 1


async def test_deleting_a_group_revokes_what_is_granted_of_it_so_that_a_later_one_is_nobodys(
    site: RealSite,
) -> None:
    await make_group(site)
    given = await call(site, "POST", GRANTS, 201, {"client": "portal", "group": "g"})
    await call(site, "DELETE", f"{GROUPS}/g", 204)
    await make_group(site)
    assert (await call(site, "GET", f"{GRANTS}/{given['id']}", 200))["state"] == "revoked"
    assert await Grants(site.admin).of("portal", "portal") == ()


async def test_a_grant_and_a_deletion_at_once_leave_no_grant_of_a_group_that_is_gone(site: RealSite) -> None:
    for number in range(10):
        group = f"g{number}"
        await make_group(site, group)
        body = {"client": "portal", "group": group}
        given, _ = await asyncio.gather(
            site.post(GRANTS, json=body, headers=operator(site)),
            call(site, "DELETE", f"{GROUPS}/{group}", 204),
        )
        assert given.status in (201, 400)
    assert await Grants(site.admin).of("portal", "portal") == ()


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "a\u202eb"}, {"name": "n", "id": "a/b"}, {"id": "g"}]
)
async def test_a_group_whose_name_or_id_cannot_be_is_refused(site: RealSite, body: dict[str, Any]) -> None:
    await call(site, "POST", GROUPS, 400, body)
