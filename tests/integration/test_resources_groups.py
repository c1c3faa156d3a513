"""Groups of patients, by Group resources and by operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice_storage.resources.groups import Groups
from sluice_storage.resources.model import LoadedGroupError
from support.resource_store import Store, open_store
from support.stack import Database


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


def group(id_: str, *patients: str, name: str = "Trial", **more: Any) -> dict[str, Any]:
    members = [{"entity": {"reference": f"Patient/{patient}"}} for patient in patients]
    return {
        "resourceType": "Group",
        "id": id_,
        "type": "person",
        "actual": True,
        "name": name,
        "member": members,
        **more,
    }


async def members(store: Store, group_id: str) -> dict[str, datetime]:
    return {member.patient: member.since for member in await store.groups.members(group_id)}


async def test_a_group_resource_says_who_is_in_and_who_stays_keeps_the_time_of_joining(store: Store) -> None:
    await store.load(group("g", "a", "b"))
    first = await members(store, "g")
    assert set(first) == {"a", "b"}
    await store.load(group("g", "b", "c", name="Renamed"))
    second = await members(store, "g")
    assert set(second) == {"b", "c"}
    assert second["b"] == first["b"] < second["c"]
    found = await store.groups.get("g")
    assert found is not None
    assert (found.name, found.managed, found.members) == ("Renamed", "resource", 2)
    assert found.updated == second["c"]
    await store.load(group("g", "b", "c", name="Renamed"))
    assert await store.groups.get("g") == found


async def test_a_deleted_group_resource_takes_its_members_along(store: Store) -> None:
    await store.load(group("g", "a"), group("h", "a"))
    await store.loader.delete([("Group", "g")])
    assert await store.groups.get("g") is None
    assert await members(store, "g") == {}
    assert [each.id for each in await store.groups.list()] == ["h"]
    await store.load(group("g", "a"))
    assert set(await members(store, "g")) == {"a"}


async def test_what_a_group_resource_says_is_not_changed_by_hand(store: Store) -> None:
    await store.load(group("g", "a"))
    for change in (
        store.groups.put("g", "Mine", ["b"]),
        store.groups.add("g", ["b"]),
        store.groups.remove("g", ["a"]),
        store.groups.delete("g"),
    ):
        with pytest.raises(LoadedGroupError):
            await change
    assert set(await members(store, "g")) == {"a"}


async def test_operators_make_and_change_groups(store: Store) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    groups = Groups(store.readers, now=lambda: now)
    made = await groups.put("g", "Mine", ["b", "a", "b"])
    assert (made.id, made.name, made.managed, made.members) == ("g", "Mine", "api", 2)
    now += timedelta(days=1)
    assert await groups.add("g", ["b", "c"]) == 1
    assert await groups.remove("g", ["a", "x"]) == 1
    assert [(each.patient, each.since.day) for each in await groups.members("g")] == [("b", 1), ("c", 2)]
    assert (await groups.put("g", "Other", ["c", "d"])).members == 2
    assert [(each.patient, each.since.day) for each in await groups.members("g")] == [("c", 2), ("d", 2)]
    for change in (groups.add("none", ["a"]), groups.remove("none", ["a"])):
        with pytest.raises(LookupError):
            await change
    assert await groups.delete("g")
    assert not await groups.delete("g")
    assert await groups.get("g") is None


async def test_a_group_resource_takes_a_group_of_that_id_over(store: Store) -> None:
    await store.groups.put("g", "Mine", ["a", "b"])
    await store.load(group("g", "b", "c"))
    found = await store.groups.get("g")
    assert found is not None
    assert (found.managed, found.members) == ("resource", 2)


async def test_a_group_of_ten_thousand_is_loaded_and_is_in_all_its_compartments(store: Store) -> None:
    patients = [f"p{number}" for number in range(10_000)]
    await store.load(group("g", *patients))
    window = await store.window()
    assert set(await store.of_patients(window, ["p5", "p9999"])) == {"Group/g"}
    assert len(await store.groups.members("g")) == 10_000
