"""What an export holds agrees, for any request and any access, with a model in a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice_contracts.exports import (
    Associated,
    ExportAccess,
    ExportLevel,
    ExportRequest,
    Reach,
    TypeFilter,
)
from support.exports import Bench, observation, open_bench, patient, start
from support.resource_store import Json
from support.stack import Database

PATIENTS = ("a", "b", "c")
GROUPS = {"g": ("a",), "h": ("a", "b")}
TYPES = ("Condition", "Group", "Observation", "Organization", "Patient", "Provenance")
IN_COMPARTMENTS = set(TYPES) - {"Organization"}


def provenance(id_: str, *about: str, recorded: str = "2025-01-01T00:00:00Z", **more: Any) -> Json:
    target = [{"reference": each} for each in about]
    agent = [{"who": {"display": "x"}}]
    return {
        "resourceType": "Provenance",
        "id": id_,
        "recorded": recorded,
        "target": target,
        "agent": agent,
        **more,
    }


def world() -> list[Json]:
    """Give all resources that there are at first, some of which are deleted later."""
    found: list[Json] = [patient(id_) for id_ in PATIENTS]
    found += [
        {"resourceType": "Group", "id": id_, "type": "person", "actual": True,
         "member": [{"entity": {"reference": f"Patient/{member}"}} for member in members]}
        for id_, members in GROUPS.items()
    ]  # fmt: skip
    for id_ in PATIENTS:
        for status in ("final", "amended"):
            found.append(observation(f"{id_}-{status}", id_, status=status))
            found.append(observation(f"gone-{id_}-{status}", id_, status=status))
        condition = {"resourceType": "Condition", "id": id_, "status": "final"}
        found.append({**condition, "subject": {"reference": f"Patient/{id_}"}})
    found.append(observation("a-and-b", "a", performer=[{"reference": "Patient/b"}]))
    found += [{"resourceType": "Organization", "id": id_, "status": "final"} for id_ in ("o", "gone")]
    found += [
        provenance("old", "Observation/a-final", "Patient/a", status="final"),
        provenance(
            "new", "Observation/a-final", "Patient/b", recorded="2025-01-02T00:00:00Z", status="final"
        ),
        provenance("oldest", "Observation/a-final", "Patient/a", recorded="2023-01-01T00:00:00Z"),
        provenance("unnamed", "Observation/c-amended", recorded="2024-01-01T00:00:00Z", status="amended"),
        provenance("organization", "Organization/o"),
        provenance("group", "Group/h", "Patient/c"),
        provenance("nothing", "Observation/unknown"),
    ]
    return found


DELETED = [
    ("Organization", "gone"), ("Group", "h"),
    *(("Observation", f"gone-{id_}-{status}") for id_ in PATIENTS for status in ("final", "amended")),
]  # fmt: skip


class Model:
    """Which resources an export holds."""

    def __init__(self, resources: Sequence[Json]) -> None:
        self.held = {f"{each['resourceType']}/{each['id']}": each for each in resources}

    def export(self, request: ExportRequest, access: ExportAccess) -> set[str]:
        """Give the resources of the output."""
        asked = {name for name in self.held if request.types is None or name.split("/")[0] in request.types}
        plain = {
            name for name in asked if not name.startswith("Provenance") and self.seen(name, request, access)
        }
        if request.include_associated is None:
            about: set[str] | None = None
            candidates = {name for name in asked if name.startswith("Provenance")}
        else:
            about, candidates = plain, {name for name in self.held if name.startswith("Provenance")}
        found = {name for name in candidates if self.told(name, about, request, access)}
        if request.include_associated is Associated.LATEST_PROVENANCE:
            found = self.latest(found, plain)
        return plain | {name for name in found if self.passes(name, request, access)}

    def blocks(self, request: ExportRequest, access: ExportAccess) -> dict[str, list[str]]:
        """Give the resources of each patient's block."""
        found: dict[str, set[str]] = {}
        for name in self.held:
            type_ = name.split("/")[0]
            associated = type_ == "Provenance" and request.include_associated is not None
            asked = request.types is None or type_ in request.types
            if asked and not associated and self.seen(name, request, access):
                for patient_ in self.allowed_of(name, request, access):
                    found.setdefault(f"Patient/{patient_}", set()).add(name)
        if request.include_associated is not None:
            for block, plain in found.items():
                candidates = {
                    name
                    for name in self.held
                    if name.startswith("Provenance") and self.told(name, plain, request, access)
                    if block.split("/")[1] in self.allowed_of(name, request, access)
                }
                if request.include_associated is Associated.LATEST_PROVENANCE:
                    candidates = self.latest(candidates, plain)
                plain |= {name for name in candidates if self.passes(name, request, access)}
        return {block: sorted(names) for block, names in found.items()}

    def allowed_of(self, name: str, request: ExportRequest, access: ExportAccess) -> set[str]:
        """Give the patients in whose compartments a resource is, of those whom its type is exported of."""
        reach = access.reach_of(name.split("/")[0])
        if reach is None:
            return set()
        allowed = self.allowed(request, reach)
        found = self.compartments(name) & set(PATIENTS)
        return found if allowed is None else found & allowed

    def seen(self, name: str, request: ExportRequest, access: ExportAccess) -> bool:
        type_, id_ = name.split("/")
        reach = access.reach_of(type_)
        if reach is None or (type_ == "Group" and not reach.all_patients and id_ not in reach.groups):
            return False
        compartments, allowed = self.compartments(name), self.allowed(request, reach)
        if request.level is not ExportLevel.SYSTEM and not compartments:
            return False
        if allowed is not None and not compartments & allowed:
            return False
        return self.passes(name, request, access)

    def told(self, name: str, about: set[str] | None, request: ExportRequest, access: ExportAccess) -> bool:
        reach = access.reach_of("Provenance")
        if reach is None:
            return False
        allowed = self.allowed(request, reach)
        if allowed is not None and not self.compartments(name) & allowed:
            return False
        targets = {each["reference"] for each in self.held[name]["target"]}
        if about is not None:
            return bool(targets & about)
        if request.level is ExportLevel.PATIENT and allowed is None:
            return any(self.compartments(target) for target in targets if target in self.held)
        return True

    def latest(self, found: set[str], plain: set[str]) -> set[str]:
        chosen: dict[str, str] = {}
        for name in sorted(found, key=lambda each: self.held[each]["recorded"]):
            for target in self.held[name]["target"]:
                if target["reference"] in plain:
                    chosen[target["reference"]] = name
        return set(chosen.values())

    def allowed(self, request: ExportRequest, reach: Reach) -> set[str] | None:
        groups: Sequence[str] = reach.groups
        limits: list[set[str]] = []
        if request.level is ExportLevel.GROUP:
            groups = [request.group or ""] if reach.all_patients or request.group in reach.groups else []
        if request.level is ExportLevel.GROUP or not reach.all_patients:
            limits.append({member for group in groups for member in GROUPS.get(group, ())})
        if request.patients is not None:
            limits.append(set(request.patients))
        return set.intersection(*limits) if limits else None

    def compartments(self, name: str) -> set[str]:
        type_, id_ = name.split("/")
        resource = self.held[name]
        if type_ == "Patient":
            return {id_}
        if type_ == "Group":
            return set(GROUPS[id_])
        references = [resource.get("subject"), *resource.get("performer", ()), *resource.get("target", ())]
        found = (each["reference"].split("/") for each in references if each is not None)
        return {one for of, one in found if of == "Patient"}

    def passes(self, name: str, request: ExportRequest, access: ExportAccess) -> bool:
        resource = self.held[name]
        both = ([each for each in some if each.type == resource["resourceType"]]
                for some in (request.type_filters, access.limits))  # fmt: skip
        return all(
            any(resource.get("status") == each.query.removeprefix("status=") for each in filters)
            for filters in both
            if filters
        )

    def deleted(
        self, keys: Sequence[tuple[str, str]], request: ExportRequest, access: ExportAccess
    ) -> set[str]:
        """Give what is said to be deleted, of resources that were deleted."""
        names = [f"{type_}/{id_}" for type_, id_ in keys if request.types is None or type_ in request.types]
        bare = ExportAccess(groups=access.groups, all_patients=access.all_patients, types=access.types,
                            narrower=access.narrower)  # fmt: skip
        plain = ExportRequest(level=request.level, group=request.group, patients=request.patients)
        return {
            name
            for name in names
            if not access.limits_of(name.split("/")[0]) and self.seen(name, plain, bare)
        }


SOME_GROUPS = st.lists(st.sampled_from(["g", "h", "unknown"]), unique=True, max_size=2).map(tuple)
SOME_TYPES = st.lists(st.sampled_from(TYPES), unique=True, min_size=1).map(lambda found: tuple(sorted(found)))
FILTERS = st.lists(
    st.builds(
        TypeFilter,
        type=st.sampled_from(["Observation", "Condition", "Provenance"]),
        query=st.sampled_from(["status=final", "status=amended"]),
    ),
    max_size=3,
).map(tuple)


@st.composite
def accesses(draw: st.DrawFn) -> ExportAccess:
    limits = draw(FILTERS)
    if draw(st.booleans()):
        types = draw(st.none() | SOME_TYPES)
        return ExportAccess(
            all_patients=draw(st.booleans()), groups=draw(SOME_GROUPS), types=types, limits=limits
        )
    # No type is in two reaches.
    shared: dict[int, list[str]] = {}
    for type_ in draw(SOME_TYPES):
        shared.setdefault(draw(st.integers(0, 2)), []).append(type_)
    narrower = tuple(
        Reach(all_patients=draw(st.booleans()), groups=draw(SOME_GROUPS), types=tuple(types))
        for types in shared.values()
    )
    return ExportAccess(all_patients=True, narrower=narrower, limits=limits)


@st.composite
def requests(draw: st.DrawFn) -> ExportRequest:
    level = draw(st.sampled_from(list(ExportLevel)))
    some = st.lists(st.sampled_from([*PATIENTS, "unknown"]), unique=True).map(tuple)
    return ExportRequest(
        level=level,
        group=draw(st.sampled_from(["g", "h", "unknown"])) if level is ExportLevel.GROUP else None,
        types=draw(st.none() | SOME_TYPES),
        type_filters=draw(FILTERS),
        patients=None if level is ExportLevel.SYSTEM else draw(st.none() | some),
        include_associated=draw(st.none() | st.sampled_from(list(Associated))),
    )


def named(lines: Sequence[Json]) -> list[str]:
    return sorted(f"{line['resourceType']}/{line['id']}" for line in lines)


async def filled(bench: Bench) -> tuple[Model, Model, datetime]:
    """Give models of what is there and of what was there, and the time before the deletions."""
    everything = world()
    await bench.store.load(*everything)
    before = await bench.store.planner.snapshot()
    await bench.store.loader.delete(DELETED)
    # Members of a group whose resource is gone are kept by operators.
    await bench.store.owner.execute("INSERT INTO fhir.groups VALUES ('h', 'api', '', now())")
    await bench.store.owner.executemany(
        "INSERT INTO fhir.group_members VALUES ('h', $1, now())", [(member,) for member in GROUPS["h"]]
    )
    left = [each for each in everything if (each["resourceType"], each["id"]) not in DELETED]
    return Model(left), Model(everything), before.time


def agree(database: Database, folder: Path, examples: int, check: Any) -> None:
    """Run a check on many requests and accesses over one store."""
    with asyncio.Runner() as runner:
        opened = open_bench(database, folder)
        bench = runner.run(opened.__aenter__())
        try:
            models = runner.run(filled(bench))

            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
            @given(request=requests(), access=accesses())
            def run(request: ExportRequest, access: ExportAccess) -> None:
                runner.run(check(bench, models, request, access))

            run()
        finally:
            runner.run(opened.__aexit__(None, None, None))


def test_an_export_holds_what_is_asked_for_permitted_and_within_the_limits(
    database: Database, scratch: Path
) -> None:
    async def check(bench: Bench, models: Any, request: ExportRequest, access: ExportAccess) -> None:
        found = named(await bench.export(start(request, access)))
        assert found == sorted(models[0].export(request, access))

    agree(database, scratch, 120, check)


def test_deletions_are_told_of_what_the_subject_could_see(database: Database, scratch: Path) -> None:
    async def check(bench: Bench, models: Any, request: ExportRequest, access: ExportAccess) -> None:
        asked: Json = {"level": request.level, "group": request.group, "types": request.types}
        command = start(access=access, since=models[2], patients=request.patients, **asked)
        await bench.export(command)
        bundles = await bench.lines(command.job, "deleted")
        told = {each["request"]["url"] for bundle in bundles for each in bundle["entry"]}
        assert told == models[1].deleted(DELETED, command.request, access)

    agree(database, scratch, 60, check)


def test_blocks_hold_each_patients_own_types_and_nothing_else(database: Database, scratch: Path) -> None:
    async def check(bench: Bench, models: Any, request: ExportRequest, access: ExportAccess) -> None:
        command = start(msgspec.structs.replace(request, organize_by="Patient"), access)
        found: dict[str, list[str]] = {}
        for line in await bench.export(command):
            if line["resourceType"] == "Parameters":
                block = found.setdefault(line["parameter"][0]["valueReference"]["reference"], [])
                assert not block, "a patient has two blocks"
            else:
                block.append(f"{line['resourceType']}/{line['id']}")
        expected = models[0].blocks(request, access)
        assert {name: sorted(lines) for name, lines in found.items()} == expected

    agree(database, scratch, 120, check)
