"""Artifacts by canonical URL, and resources that are stored and deleted one by one, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from sluice_fhir.measures.artifacts import version_order
from sluice_fhir.ndjson_resource import parse
from sluice_storage.resources.applying import Applied, Applier
from sluice_storage.resources.artifacts import Artifacts, Name, Stamp
from support.resource_store import Json, Store, open_store, plain
from support.stack import Database

URL = "http://example.org/Library/Common"


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


def library(id_: str, version: Any = None, url: Any = URL, **more: Any) -> Json:
    return {
        "resourceType": "Library",
        "id": id_,
        "url": url,
        **({"version": version} if version is not None else {}),
        **more,
    }


def artifacts(store: Store) -> Artifacts:
    return Artifacts(store.readers, version_order)


def of(*resources: Json) -> list[Any]:
    return [parse(msgspec.json.encode(each)) for each in resources]


async def ids(store: Store, *names: Name) -> list[str | None]:
    return [None if stamp is None else stamp.id for stamp in await artifacts(store).find(names)]


async def test_without_a_version_the_newest_is_meant_and_with_one_that_one(store: Store) -> None:
    await store.load(library("a", "1.9.0"), library("b", "1.10.0"), library("c", "1.10.0-draft"))
    assert await ids(
        store,
        Name("Library", url=URL),
        Name("Library", url=URL, version="1.9.0"),
        Name("Library", url=URL, version="2"),
        Name("Measure", url=URL),
        Name("Library", id="c"),
        Name("Library", id="none"),
    ) == ["b", "a", None, None, "c", None]


async def test_of_two_that_say_the_same_the_one_stored_last_is_meant(store: Store) -> None:
    await store.load(library("z", "1"))
    await store.load(library("a", "1"))
    assert await ids(store, Name("Library", url=URL)) == ["a"]


async def test_a_stamp_changes_when_and_only_when_the_resource_does(store: Store) -> None:
    name = [Name("Library", url=URL)]
    await store.load(library("a", "1"))
    first = await artifacts(store).find(name)
    await store.load(library("a", "1"))
    assert await artifacts(store).find(name) == first == [Stamp("Library", "a", 1)]
    await store.load(library("a", "1", title="new"))
    later = await artifacts(store).find(name)
    assert later == [Stamp("Library", "a", 2)]
    assert await artifacts(store).body(Stamp("Library", "a", 1)) is None
    body = await artifacts(store).body(Stamp("Library", "a", 2))
    assert body is not None
    assert plain(msgspec.json.decode(body)) == library("a", "1", title="new")
    await store.loader.delete([("Library", "a")])
    assert await artifacts(store).find(name) == [None]


@pytest.mark.parametrize("url", [7, None, ["x"], "\0", "x" * 20_000, {"a": "b"}, "ü" * 3000])
async def test_whatever_an_artifacts_address_is_it_can_be_stored(store: Store, url: Any) -> None:
    done = await store.load(library("odd", url=url, version=7), library("sound", "1"))
    assert done.created == 2
    assert await ids(store, Name("Library", url=URL), Name("Library", id="odd")) == ["sound", "odd"]
    if isinstance(url, str) and "\0" not in url:
        assert await ids(store, Name("Library", url=url)) == ["odd"]


async def test_a_library_is_found_by_the_index_even_among_few(store: Store) -> None:
    await store.load(*(library(f"l{number}", "1", f"{URL}/{number}") for number in range(3)))
    plan = await store.owner.fetch(
        "EXPLAIN SELECT id FROM fhir.resources_library"
        ' WHERE fhir.canonical_key(body) COLLATE "C" >= md5($1)'
        """ AND fhir.canonical_key(body) COLLATE "C" < md5($1) || 'g'"""
        " AND superseded_by IS NULL AND NOT deleted",
        f"{URL}/7",
    )
    assert any("resources_library_canonical" in row[0] for row in plan)


async def test_storing_tells_what_is_new_what_is_changed_and_what_is_as_it_was(store: Store) -> None:
    applier = Applier(store.readers)
    await store.load(library("same", "1"), library("old", "1"), library("dead", "1"), library("gone", "1"))
    await store.loader.delete([("Library", "dead")])
    done = await applier.apply(
        of(
            library("same", "1"),
            library("old", "2"),
            library("dead", "1"),
            library("new", "1"),
            {"resourceType": "Patient", "id": "p"},
        ),
        [("Library", "gone"), ("Measure", "never")],
    )
    times = {each.updated for each in done.values()} - {None}
    assert len(times) == 1
    assert {key: msgspec.structs.replace(each, updated=None) for key, each in done.items()} == {
        ("Library", "same"): Applied(1),
        ("Library", "old"): Applied(2),
        ("Library", "dead"): Applied(3, created=True),
        ("Library", "new"): Applied(1, created=True),
        ("Patient", "p"): Applied(1, created=True),
        ("Library", "gone"): Applied(2),
    }
    assert done["Library", "same"].updated is None
    window = await store.window()
    assert times < {window.snapshot.time, *times}
    assert set(await store.all_in(window)) == {
        *("Library/same", "Library/old", "Library/dead", "Library/new", "Patient/p")
    }
    assert await store.deleted_in(window) == {"Library/gone"}


async def test_what_is_stored_replaces_what_says_that_it_is_newer(store: Store) -> None:
    await store.load(library("a", "2", meta={"lastUpdated": "2030-01-01T00:00:00Z"}))
    await Applier(store.readers).apply(of(library("a", "1", meta={"lastUpdated": "2020-01-01T00:00:00Z"})))
    found = (await store.lookup.read_many("Library", ["a"]))["a"]
    assert msgspec.json.decode(found.body or b"")["version"] == "1"


async def test_a_group_that_is_stored_has_its_members_and_one_that_is_deleted_has_none(store: Store) -> None:
    group = {
        "resourceType": "Group",
        "id": "g",
        "type": "person",
        "actual": True,
        "name": "ward",
        "member": [{"entity": {"reference": "Patient/p"}}],
    }
    applier = Applier(store.readers)
    await applier.apply(of(group))
    assert [member.patient for member in await store.groups.members("g")] == ["p"]
    await applier.apply([], [("Group", "g")])
    assert await store.groups.get("g") is None


async def test_what_cannot_all_be_stored_is_not_stored_at_all(store: Store) -> None:
    class Failing:
        """A resource that cannot be written."""

        type, id, digest, source_updated, patients = "Patient", "p", b"x", None, ()
        members, name = None, ""

        def body(self, _version: int, _updated: bytes) -> bytes:
            raise RuntimeError("no body")

    with pytest.raises((RuntimeError, asyncpg.PostgresError)):
        await Applier(store.readers).apply([*of(library("a", "1")), Failing()], [])
    assert await store.all_in(await store.window()) == {}
