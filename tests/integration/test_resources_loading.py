"""Loading NDJSON into the resource store, on a real Postgres."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice_fhir.ndjson_resource import LineProblem
from sluice_storage.resources.loader import Loader
from support.resource_store import Store, ndjson, open_store, plain
from support.stack import Database

SYNTHEA = Path(__file__).parents[2] / "schemas" / "examples" / "synthea"


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


def patient(id_: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, **more}


async def rows(store: Store) -> list[Any]:
    """Everything that is kept of resources, bodies included."""
    found = await store.owner.fetch("SELECT * FROM fhir.resources ORDER BY seq")
    return [tuple(row) for row in found]


async def test_what_is_loaded_is_what_is_read(store: Store) -> None:
    lines: dict[str, dict[str, Any]] = {}
    for path in sorted(SYNTHEA.glob("*.ndjson.gz")):
        outcome = await store.loader.load_file(path)
        expected = [msgspec.json.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        assert (outcome.read, outcome.created, outcome.invalid) == (len(expected), len(expected), 0)
        lines |= {f"{each['resourceType']}/{each['id']}": each for each in expected}
    found = await store.all_in(await store.window())
    assert {key: plain(resource) for key, resource in found.items()} == {
        key: plain({"meta": {}, **resource}) for key, resource in lines.items()
    }


async def test_the_same_files_again_change_nothing(store: Store) -> None:
    for path in sorted(SYNTHEA.glob("*.ndjson.gz")):
        await store.loader.load_file(path)
    before = await rows(store)
    batches = await store.owner.fetchval("SELECT count(*) FROM fhir.batches")
    for path in sorted(SYNTHEA.glob("*.ndjson.gz")):
        outcome = await store.loader.load_file(path)
        assert outcome.unchanged == outcome.read
    assert await rows(store) == before
    assert await store.owner.fetchval("SELECT count(*) FROM fhir.batches") == batches


async def test_what_was_exported_loads_as_unchanged(store: Store) -> None:
    for path in sorted(SYNTHEA.glob("*.ndjson.gz")):
        await store.loader.load_file(path)
    window = await store.window()
    before = await rows(store)
    for part in await store.planner.parts(list(await store.planner.types(window)), window):
        lines = [line async for some in store.reader.lines(part, window) for line in some]
        outcome = await store.load(*lines)
        assert outcome.unchanged == len(lines)
    after = await rows(store)
    # The time its source gives it is noted; nothing else is.
    assert [row[:7] + row[8:] for row in before] == [row[:7] + row[8:] for row in after]


async def test_the_store_says_version_and_time(store: Store) -> None:
    await store.load(
        patient(
            "a",
            active=True,
            meta={"versionId": "77", "profile": ["p"], "lastUpdated": "2020-01-01T00:00:00Z"},
        )
    )
    await store.load(patient("a", active=False, meta={"versionId": "78", "tag": [{"code": "t"}]}))
    stored = await store.lookup.read("Patient", "a")
    assert stored is not None
    assert stored.body is not None
    meta = msgspec.json.decode(stored.body)["meta"]
    assert meta == {
        "versionId": "2",
        "lastUpdated": stored.updated.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tag": [{"code": "t"}],
    }
    assert stored.version == 2


async def test_of_one_resource_the_newest_by_its_source_wins_in_whatever_order(store: Store) -> None:
    def of(time: str, gender: str) -> dict[str, Any]:
        return patient("a", gender=gender, meta={"lastUpdated": time})

    old, new = of("2020-01-01T00:00:00Z", "male"), of("2020-01-02T00:00:00Z", "female")
    for order in ([old, new], [new, old]):
        outcome = await store.load(*order)
        assert outcome.stale + outcome.unchanged >= 1
    assert (await store.load(old)).stale == 1
    found = await store.all_in(await store.window())
    assert found["Patient/a"]["gender"] == "female"
    assert found["Patient/a"]["meta"]["versionId"] == "1"


async def test_unchanged_content_of_a_later_time_is_not_replaced_by_what_lies_between(store: Store) -> None:
    await store.load(patient("a", gender="male", meta={"lastUpdated": "2020-01-01T00:00:00Z"}))
    again = await store.load(patient("a", gender="male", meta={"lastUpdated": "2020-01-03T00:00:00Z"}))
    assert again.unchanged == 1
    between = await store.load(patient("a", gender="female", meta={"lastUpdated": "2020-01-02T00:00:00Z"}))
    assert between.stale == 1


async def test_a_later_line_of_the_same_resource_wins_also_in_another_chunk(store: Store) -> None:
    filler = [patient(f"p{number}") for number in range(4500)]
    for first, last in ([0, 1], [0, 4499]):
        lines = list(filler)
        lines.insert(first, patient("a", gender="male"))
        lines.insert(last + 1, patient("a", gender="female"))
        await store.load(*lines)
        stored = await store.lookup.read("Patient", "a")
        assert stored is not None
        assert b"female" in (stored.body or b"")
    assert len(await store.all_in(await store.window())) == 4501


async def test_every_bad_line_is_named_and_the_others_are_loaded(store: Store) -> None:
    bad = {
        b"{": LineProblem.NOT_JSON,
        b'{"resourceType":"Patient","id":"x"} {}': LineProblem.NOT_JSON,
        b'{"resourceType":"Patient","id":"x","name":"\xff"}': LineProblem.NOT_UTF8,
        b"\xff\xfe": LineProblem.NOT_UTF8,
        b"[]": LineProblem.NOT_A_RESOURCE,
        b'"Patient"': LineProblem.NOT_A_RESOURCE,
        b"{}": LineProblem.NOT_A_RESOURCE,
        b'{"resourceType":7}': LineProblem.NOT_A_RESOURCE,
        b'{"resourceType":"Patient","id":"x","meta":[]}': LineProblem.NOT_A_RESOURCE,
        b'{"resourceType":"Patent","id":"x"}': LineProblem.UNKNOWN_TYPE,
        b'{"resourceType":"Patient","id":"a/b"}': LineProblem.BAD_ID,
        b'{"resourceType":"Patient","id":""}': LineProblem.BAD_ID,
        b'{"resourceType":"Patient","id":"' + b"x" * 65 + b'"}': LineProblem.BAD_ID,
        b'{"resourceType":"Patient","id":17}': LineProblem.BAD_ID,
        b'{"resourceType":"Patient","id":"x","a":' + b"[" * 5000 + b"]" * 5000 + b"}": LineProblem.TOO_DEEP,
        b'{"resourceType":"Organization","id":"x"}': LineProblem.WRONG_TYPE,
    }
    lines: list[dict[str, Any] | bytes] = [patient("first"), *bad, patient("last")]
    outcome = await store.loader.load(ndjson(*lines), "Patient.ndjson", expect="Patient")
    assert [(issue.file, issue.line, issue.problem) for issue in outcome.issues] == [
        ("Patient.ndjson", number, problem) for number, problem in enumerate(bad.values(), 2)
    ]
    assert (outcome.read, outcome.created, outcome.invalid) == (len(bad) + 2, 2, len(bad))
    assert set(await store.all_in(await store.window())) == {"Patient/first", "Patient/last"}


async def test_lines_may_be_blank_end_with_crlf_and_begin_with_a_mark(store: Store) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        text = b'\xef\xbb\xbf{"resourceType":"Patient","id":"a"}\r\n\r\n  \n'
        text += b'\t{ "resourceType" : "Patient" , "id":"b"} '
        for place in range(len(text)):
            yield text[place : place + 1]

    outcome = await store.loader.load(pieces(), "f")
    assert (outcome.read, outcome.created) == (2, 2)
    assert set(await store.all_in(await store.window())) == {"Patient/a", "Patient/b"}


async def test_a_resource_without_id_gets_one_and_keeps_it(store: Store) -> None:
    line = b'{"gender":"male","resourceType":"Patient"}'
    assert (await store.load(line)).created == 1
    assert (await store.load(line)).unchanged == 1
    (key,) = found = await store.all_in(await store.window())
    assert found[key]["gender"] == "male"
    assert len(key) == len("Patient/") + 36


async def test_a_line_over_the_limit_is_skipped_and_one_at_the_limit_is_not(store: Store) -> None:
    def long(id_: str, size: int) -> bytes:
        start = b'{"resourceType":"Binary","id":"%b","data":"' % id_.encode()
        return start + b"A" * (size - len(start) - 2) + b'"}'

    loader = Loader(store.owner, line_bytes=100_000)
    outcome = await store.load(long("at", 100_000), long("over", 100_001), patient("p"), loader=loader)
    assert [(issue.line, issue.problem) for issue in outcome.issues] == [(2, LineProblem.TOO_LONG)]
    assert set(await store.all_in(await store.window())) == {"Binary/at", "Patient/p"}


async def test_numbers_and_escapes_stay_as_they_were_written(store: Store) -> None:
    line = rb'{"resourceType":"Observation","id":"a","valueQuantity":{"value":1.500000000000000000010},'
    line += rb'"x":"\u00e9\/\u0000"}'
    await store.load(line)
    stored = await store.lookup.read("Observation", "a")
    assert stored is not None
    assert line[len(b'{"resourceType":"Observation"') :] in (stored.body or b"")


async def test_two_loaders_on_the_same_resources_end_with_the_newest_of_each(store: Store) -> None:
    early, late = "2020-01-01T00:00:00Z", "2020-06-01T00:00:00Z"
    # Each has the newer content of every other resource, in orders that meet head on.
    one = [patient(f"p{n}", gender="male", meta={"lastUpdated": (early, late)[n % 2]}) for n in range(6000)]
    two = [patient(f"p{n}", gender="female", meta={"lastUpdated": (late, early)[n % 2]}) for n in range(6000)]
    await asyncio.gather(
        store.load(*one, loader=Loader(store.owner)), store.load(*reversed(two), loader=Loader(store.owner))
    )
    found = await store.all_in(await store.window())
    assert len(found) == 6000
    assert all(found[f"Patient/p{n}"]["gender"] == ("female", "male")[n % 2] for n in range(6000))
    current = await store.owner.fetchval("SELECT count(*) FROM fhir.resources WHERE superseded_by IS NULL")
    assert current == 6000


async def test_times_of_batches_rise_with_their_numbers_whatever_the_clock_says(store: Store) -> None:
    times = iter(
        [datetime(2030, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)]
    )
    loader = Loader(store.owner, now=lambda: next(times))
    for name in "abc":
        await store.load(patient(name), loader=loader)
    found = [row["time"] for row in await store.owner.fetch("SELECT time FROM fhir.batches ORDER BY batch")]
    assert found == [datetime(2030, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n) for n in range(3)]
    snapshot = await store.planner.snapshot()
    assert snapshot.time >= found[-1]


async def test_deleting_leaves_a_tombstone_that_loading_replaces(store: Store) -> None:
    await store.load(patient("a"), patient("b"))
    assert await store.loader.delete([("Patient", "a"), ("Patient", "none"), ("Patient", "a")]) == 1
    assert await store.loader.delete([("Patient", "a")]) == 0
    stored = await store.lookup.read("Patient", "a")
    assert stored is not None
    assert (stored.deleted, stored.version, stored.body) == (True, 2, None)
    assert set(await store.all_in(await store.window())) == {"Patient/b"}
    assert (await store.load(patient("a"))).created == 1
    stored = await store.lookup.read("Patient", "a")
    assert stored is not None
    assert (stored.deleted, stored.version) == (False, 3)
