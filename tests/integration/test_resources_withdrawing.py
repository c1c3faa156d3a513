"""What a job stored can be taken back: what it replaced comes back, what others stored since stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from sluice_storage.resources.batches import WithdrawnError
from sluice_storage.resources.loader import Loader
from sluice_storage.resources.withdrawing import Withdrawer
from support.resource_store import Json, Store, lines_of, open_store, plain
from support.stack import Database


def patient(id_: str, gender: str = "female") -> Json:
    return {"resourceType": "Patient", "id": id_, "gender": gender}


def shared(id_: str, *patients: str, status: str = "final") -> Json:
    performers = [{"reference": f"Patient/{each}"} for each in patients]
    return {"resourceType": "Observation", "id": id_, "status": status, "performer": performers}


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as found:
        yield found


class Jobs:
    """Loads as jobs, which claim what they load, and takes it back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ids = {name: str(uuid4()) for name in ("a", "b", "c")}

    def loader(self, name: str) -> Loader:
        return Loader(self._store.owner, job=self.ids[name], source=f"source {name}", claims=True)

    async def load(self, name: str, *resources: Json) -> None:
        outcome = await self._store.load(*resources, loader=self.loader(name))
        assert outcome.invalid == outcome.stale == 0

    async def withdraw(self, name: str) -> int:
        return await Withdrawer(self._store.owner).withdraw(self.ids[name])


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


async def held(store: Store) -> dict[str, Json]:
    return {name: plain(each) for name, each in (await store.all_in(await store.window())).items()}


async def test_what_was_not_there_goes_and_what_was_replaced_comes_back(store: Store, jobs: Jobs) -> None:
    await store.load(patient("old", "male"), shared("s", "old", "other"))
    before, since = await held(store), await store.window()
    await jobs.load("a", patient("old"), patient("new"), shared("s", "new", status="amended"))
    assert len(await held(store)) == 3
    middle = await store.window()
    assert await jobs.withdraw("a") == 3
    assert await held(store) == before
    # Exports of changes tell of it, and its compartments are as they were.
    changes = await store.window(since=middle.snapshot)
    assert set(await store.all_in(changes)) == {"Patient/old", "Observation/s"}
    assert await store.deleted_in(changes) == {"Patient/new"}
    for name in ("old", "other"):
        of_patient = await store.of_patients(await store.window(), [name])
        assert "Observation/s" in of_patient
    assert "Observation/s" not in await store.of_patients(await store.window(), ["new"])
    rows = await store.owner.fetch("SELECT version FROM fhir.resources WHERE id = 'old' ORDER BY seq")
    assert [row["version"] for row in rows] == [1, 2, 3]
    # What was read before reads as it did.
    assert {name: plain(each) for name, each in (await store.all_in(since)).items()} == before


async def test_what_somebody_else_stored_since_stays(store: Store, jobs: Jobs) -> None:
    await jobs.load("a", patient("1"), patient("2"), patient("3"))
    await store.load(patient("1", "male"))
    await store.loader.delete([("Patient", "2")])
    assert await jobs.withdraw("a") == 1
    assert await held(store) == {"Patient/1": patient("1", "male")}


async def test_what_the_job_deleted_comes_back(store: Store, jobs: Jobs) -> None:
    await store.load(patient("1"), patient("2"))
    await jobs.load("a", patient("2", "male"), patient("3"))
    await jobs.loader("a").delete([("Patient", "1"), ("Patient", "2"), ("Patient", "3")])
    await jobs.withdraw("a")
    assert await held(store) == {"Patient/1": patient("1"), "Patient/2": patient("2")}


async def test_doing_it_again_changes_nothing(store: Store, jobs: Jobs) -> None:
    await store.load(patient("1", "male"))
    await jobs.load("a", patient("1"), patient("2"))
    assert await jobs.withdraw("a") == 2
    seq = await store.owner.fetchval("SELECT seq FROM fhir.clock")
    assert await jobs.withdraw("a") == 0
    assert await jobs.withdraw("b") == 0
    assert await store.owner.fetchval("SELECT seq FROM fhir.clock") == seq


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_what_two_jobs_brought_stays_until_both_are_withdrawn(
    store: Store, jobs: Jobs, order: str
) -> None:
    await store.load(patient("before", "male"))
    await jobs.load("a", patient("before"), patient("both"), patient("a"))
    await jobs.load("b", patient("before"), patient("both"), patient("b"))
    await jobs.withdraw(order[0])
    left = order[1]
    rest = {"before": patient("before"), "both": patient("both"), left: patient(left)}
    assert await held(store) == {f"Patient/{name}": each for name, each in rest.items()}
    await jobs.withdraw(order[1])
    assert await held(store) == {"Patient/before": patient("before", "male")}


async def test_what_is_put_back_is_whose_it_was(store: Store, jobs: Jobs) -> None:
    await jobs.load("a", patient("1", "male"))
    await jobs.load("b", patient("1"))
    await jobs.withdraw("b")
    row = await store.owner.fetchrow(
        "SELECT b.job::text, b.source FROM fhir.resources r JOIN fhir.batches b USING (batch)"
        " WHERE r.superseded_by IS NULL"
    )
    assert row is not None
    assert tuple(row) == (jobs.ids["a"], "source a")


async def test_a_job_that_loads_the_same_again_has_it_once(store: Store, jobs: Jobs) -> None:
    await jobs.load("a", patient("1"))
    await jobs.load("a", patient("1"))
    assert await store.owner.fetchval("SELECT count(*) FROM fhir.resources") == 1


async def test_a_withdrawn_job_stores_nothing_any_more(store: Store, jobs: Jobs) -> None:
    await jobs.withdraw("a")
    with pytest.raises(WithdrawnError):
        await jobs.load("a", patient("1"))
    with pytest.raises(WithdrawnError):
        await store.load(patient("1"), loader=jobs.loader("a"))
    await store.load(patient("2"))
    with pytest.raises(WithdrawnError):
        await jobs.loader("a").delete([("Patient", "2")])
    assert await held(store) == {"Patient/2": patient("2")}


async def test_however_a_load_and_its_withdrawal_meet_nothing_of_it_is_left(store: Store, jobs: Jobs) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        for number in range(12):
            yield lines_of(*(patient(f"{number}-{n}") for n in range(1000)))
            if number == 5:
                begun.set()

    load = asyncio.create_task(jobs.loader("a").load(slow(), "file"))
    await begun.wait()
    await jobs.withdraw("a")
    # A snapshot would be one from before, as long as the load has begun a batch and not noticed yet.
    left = await store.owner.fetchval(
        "SELECT count(*) FROM fhir.resources WHERE superseded_by IS NULL AND NOT deleted"
    )
    (ended,) = await asyncio.gather(load, return_exceptions=True)
    assert left == 0
    assert await held(store) == {}
    assert isinstance(ended, WithdrawnError) or not isinstance(ended, BaseException)


async def test_groups_follow_their_resources(store: Store, jobs: Jobs) -> None:
    def group(id_: str, *members: str) -> dict[str, Any]:
        entities = [{"entity": {"reference": f"Patient/{each}"}} for each in members]
        return {"resourceType": "Group", "id": id_, "type": "person", "actual": True, "member": entities}

    await store.load(group("g", "1", "2"))
    await jobs.load("a", group("g", "3"), group("h", "4"))
    await jobs.withdraw("a")
    rows = await store.owner.fetch("SELECT group_id, patient FROM fhir.group_members ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [("g", "1"), ("g", "2")]
    assert await store.owner.fetchval("SELECT count(*) FROM fhir.groups") == 1
