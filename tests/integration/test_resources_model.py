"""The resource store agrees with a model of it in a few dictionaries, and every snapshot stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from sluice_storage.resources.loader import Loader
from sluice_storage.resources.model import Snapshot, Window
from sluice_storage.resources.upkeep import prune
from support.resource_store import Json, Store, open_store, plain
from support.stack import Database

T = TypeVar("T")

NAMES = st.sampled_from(["a", "b", "c"])
EXAMPLES = 30
TIMES = st.sampled_from([None, 1, 2, 3])
RESOURCES = st.one_of(
    st.builds(
        lambda name, gender, time: stamped({"resourceType": "Patient", "id": name, "gender": gender}, time),
        NAMES,
        st.sampled_from(["male", "female"]),
        TIMES,
    ),
    st.builds(
        lambda name, subject, others, time: stamped(
            {
                "resourceType": "Observation",
                "id": name,
                "subject": {"reference": f"Patient/{subject}"},
                "performer": [{"reference": f"Patient/{other}"} for other in others],
            },
            time,
        ),
        NAMES,
        NAMES,
        st.lists(NAMES, max_size=2),
        TIMES,
    ),
)


def stamped(resource: Json, time: int | None) -> Json:
    return resource if time is None else {**resource, "meta": {"lastUpdated": f"2020-01-0{time}T00:00:00Z"}}


def time_of(resource: Json) -> str | None:
    found: str | None = resource.get("meta", {}).get("lastUpdated")
    return found


class ResourceMachine(RuleBasedStateMachine):
    """The model keeps content, source time and version of each id, and what each snapshot had to hold."""

    runner: asyncio.Runner
    store: Store
    runs = count()
    compared = 0

    @initialize()
    def begin(self) -> None:
        # Ids of runs before are other ids: the database is the same.
        self.mark = f"r{next(self.runs)}-"
        self.held: dict[str, tuple[Json | None, str | None, int]] = {}
        self.before = self.run(self.store.planner.snapshot())
        self.snapshots: list[tuple[Snapshot, dict[str, Json]]] = []
        self.pruned = -1
        self.loaders = [Loader(self.store.owner) for _ in range(2)]

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wrapped() -> T:
            return await awaitable

        return self.runner.run(wrapped())

    def own(self, resource: Json) -> Json:
        """Give the resource with ids of this run."""
        changed = {**resource, "id": self.mark + resource["id"]}
        if "subject" in resource:
            changed["subject"] = {"reference": resource["subject"]["reference"].replace("/", f"/{self.mark}")}
            changed["performer"] = [
                {"reference": each["reference"].replace("/", f"/{self.mark}")}
                for each in resource["performer"]
            ]
        return changed

    @rule(wanted=st.lists(RESOURCES, min_size=1, max_size=6), which=st.integers(0, 1))
    def load(self, wanted: list[Json], which: int) -> None:
        resources = [self.own(each) for each in wanted]
        outcome = self.run(self.store.load(*resources, loader=self.loaders[which]))
        assert outcome.read == len(resources)
        newest: dict[str, Json] = {}
        for resource in resources:
            key = f"{resource['resourceType']}/{resource['id']}"
            if key not in newest or not older(time_of(resource), time_of(newest[key])):
                newest[key] = resource
        for key, resource in newest.items():
            self.expect(key, resource)

    def expect(self, key: str, resource: Json) -> None:
        content = plain({"meta": {}, **resource})
        old, time, version = self.held.get(key, (None, None, 0))
        if old is not None and older(time_of(resource), time):
            return
        if content == old:
            known = [each for each in (time, time_of(resource)) if each is not None]
            self.held[key] = (old, max(known, default=None), version)
        else:
            self.held[key] = (content, time_of(resource), version + 1)

    @rule(wanted=st.lists(st.tuples(st.sampled_from(["Patient", "Observation"]), NAMES), max_size=3))
    def delete(self, wanted: list[tuple[str, str]]) -> None:
        keys = {(type_, self.mark + name) for type_, name in wanted}
        there = {key for key in keys if self.held.get("/".join(key), (None, None, 0))[0] is not None}
        assert self.run(self.store.loader.delete(sorted(keys))) == len(there)
        for key in there:
            self.held["/".join(key)] = (None, None, self.held["/".join(key)][2] + 1)

    @rule()
    def snapshot(self) -> None:
        expected = {
            key: {**content, "version": version}
            for key, (content, _, version) in self.held.items()
            if content is not None
        }
        self.snapshots.append((self.run(self.store.planner.snapshot()), expected))

    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        if self.snapshots:
            place = data.draw(st.integers(0, len(self.snapshots) - 1))
            self.run(prune(self.store.owner, self.snapshots[place][0]))
            self.snapshots = self.snapshots[place:]

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        if not self.snapshots:
            return
        snapshot, expected = data.draw(st.sampled_from(self.snapshots))
        # Since the run began: other runs' resources are older.
        window = Window(snapshot, since=self.before.time)
        found = {
            key: {**plain(resource), "version": int(resource["meta"]["versionId"])}
            for key, resource in self.run(self.store.all_in(window)).items()
        }
        assert found == expected
        patients = data.draw(st.lists(NAMES.map(lambda name: self.mark + name), unique=True, max_size=3))
        assert set(self.run(self.store.of_patients(window, patients))) == {
            key for key, content in expected.items() if compartments(content) & set(patients)
        }

    def teardown(self) -> None:
        ResourceMachine.compared += 1
        for snapshot, expected in getattr(self, "snapshots", ()):
            window = Window(snapshot, since=self.before.time)
            assert set(self.run(self.store.all_in(window, part_bytes=1))) == set(expected)
        for key, (content, _, version) in getattr(self, "held", {}).items():
            stored = self.run(self.store.lookup.read(*key.split("/")))
            assert stored is not None
            assert (stored.deleted, stored.version) == (content is None, version)
            if content is not None:
                assert set(stored.patients) == compartments(content)


def older(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one < other


def compartments(resource: dict[str, Any]) -> set[str]:
    if resource["resourceType"] == "Patient":
        return {resource["id"]}
    references = [resource["subject"], *resource["performer"]]
    return {each["reference"].partition("/")[2] for each in references}


def test_the_resource_store_agrees_with_its_model(database: Database) -> None:
    with asyncio.Runner() as runner:
        opening = open_store(database)
        ResourceMachine.runner, ResourceMachine.store = runner, runner.run(opening.__aenter__())
        try:
            run_state_machine_as_test(
                ResourceMachine,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opening.__aexit__(None, None, None))
    # The machine itself compares, at the end of every run at the latest.
    assert ResourceMachine.compared >= EXAMPLES
