"""Conflict resolution, held to its rules over random folders and batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.commands import ConflictResolution as Rule
from sluice_contracts.events import FileOutcome as Outcome
from sluice_storage.catalogue.model import EntryKind
from sluice_storage.catalogue.placement import (
    Decision,
    Folders,
    Occupant,
    Place,
    Unknown,
    Wanted,
    decide,
)

FOLDER = "f"


def settle(batch: list[Wanted], held: dict[Place, Occupant], highest: dict[Place, int]) -> list[Decision]:
    """Decide a batch, looking up what it asks for, as the store does."""
    known, rounds = Folders(), 0
    wanted = frozenset((each.folder, each.name) for each in batch)
    while True:
        for place in wanted:
            known.held[place] = held.get(place)
            known.highest[place] = highest.get(place, 0)
        plan = decide(batch, known)
        if not isinstance(plan, Unknown):
            return plan
        assert plan.places - set(known.held) == plan.places, "asks for nothing twice"
        wanted, rounds = plan.places, rounds + 1
        assert rounds < 20


names = st.sampled_from(["a", "b", "_1_a", "_2_a", "_1__1_a"])
occupants = st.builds(
    Occupant,
    st.uuids().map(str),
    st.sampled_from(EntryKind),
    st.sampled_from([None, "j1", "j2"]),
)
folders = st.dictionaries(st.tuples(st.just(FOLDER), names), occupants)
batches = st.lists(
    st.builds(
        Wanted,
        job=st.sampled_from(["j1", "j2"]),
        folder=st.just(FOLDER),
        name=names,
        rule=st.sampled_from(Rule),
        entry=st.uuids().map(str),
    ),
    max_size=8,
    unique_by=lambda wanted: wanted.entry,
)


@given(batches, folders)
def test_no_two_files_end_under_one_name(batch: list[Wanted], held: dict[Place, Occupant]) -> None:
    plan = settle(batch, held, {})
    after = {place: occupant.entry for place, occupant in held.items()}
    for wanted, decision in zip(batch, plan, strict=True):
        place = (wanted.folder, decision.name)
        if decision.outcome is Outcome.SKIPPED:
            assert after[place] == decision.entry
            continue
        # A name is only ever taken from the file that is named as replaced.
        assert after.get(place) == decision.replaces
        after[place] = decision.entry


@given(batches, folders)
def test_a_job_never_loses_an_item_to_itself(batch: list[Wanted], held: dict[Place, Occupant]) -> None:
    jobs = {occupant.entry: occupant.job for occupant in held.values()}
    jobs |= {wanted.entry: wanted.job for wanted in batch}
    for wanted, decision in zip(batch, settle(batch, held, {}), strict=True):
        if decision.outcome is Outcome.SKIPPED:
            assert jobs[decision.entry] != wanted.job
        if decision.replaces:
            assert jobs[decision.replaces] != wanted.job


@given(batches, folders)
def test_each_rule_does_only_what_it_may(batch: list[Wanted], held: dict[Place, Occupant]) -> None:
    kinds = {occupant.entry: occupant.kind for occupant in held.values()}
    for wanted, decision in zip(batch, settle(batch, held, {}), strict=True):
        assert (decision.outcome is Outcome.RENAMED) == (decision.number is not None)
        if decision.outcome is Outcome.SKIPPED:
            assert wanted.rule is Rule.SKIP
        else:
            assert decision.entry == wanted.entry
        if decision.outcome is Outcome.REPLACED:
            assert wanted.rule is Rule.OVERWRITE
            assert kinds.get(decision.replaces or "", EntryKind.FILE) is EntryKind.FILE
        if decision.outcome is not Outcome.RENAMED:
            assert decision.name == wanted.name


@given(batches, folders)
def test_deciding_is_the_same_every_time(batch: list[Wanted], held: dict[Place, Occupant]) -> None:
    assert settle(batch, held, {}) == settle(batch, held, {})


def wanted(name: str, rule: Rule, job: str = "j", entry: str = "new") -> Wanted:
    return Wanted(job, FOLDER, name, rule, entry)


@pytest.mark.parametrize(
    ("rule", "kind", "decision"),
    [
        (Rule.SKIP, EntryKind.FILE, Decision(Outcome.SKIPPED, "old", "a")),
        (Rule.SKIP, EntryKind.FOLDER, Decision(Outcome.SKIPPED, "old", "a")),
        (Rule.OVERWRITE, EntryKind.FILE, Decision(Outcome.REPLACED, "new", "a", replaces="old")),
        (Rule.OVERWRITE, EntryKind.FOLDER, Decision(Outcome.RENAMED, "new", "_1_a", 1)),
        (Rule.AUTORENAME, EntryKind.FILE, Decision(Outcome.RENAMED, "new", "_1_a", 1)),
        (Rule.AUTORENAME, EntryKind.FOLDER, Decision(Outcome.RENAMED, "new", "_1_a", 1)),
    ],
)
def test_a_name_that_is_taken(rule: Rule, kind: EntryKind, decision: Decision) -> None:
    held = {(FOLDER, "a"): Occupant("old", kind, None)}
    assert settle([wanted("a", rule)], held, {}) == [decision]


@pytest.mark.parametrize("rule", Rule)
def test_items_of_one_job_with_one_name_are_numbered(rule: Rule) -> None:
    batch = [wanted("a", rule, entry=str(number)) for number in range(4)]
    assert [decision.name for decision in settle(batch, {}, {})] == ["a", "_1_a", "_2_a", "_3_a"]


def test_renaming_goes_on_after_the_highest_number_and_around_what_is_taken() -> None:
    held = {
        (FOLDER, "a"): Occupant("old", EntryKind.FILE, None),
        (FOLDER, "_6_a"): Occupant("other", EntryKind.FILE, None),
    }
    batch = [wanted("a", Rule.AUTORENAME, entry=str(number)) for number in range(2)]
    plan = settle(batch, held, {(FOLDER, "a"): 5})
    assert [decision.name for decision in plan] == ["_7_a", "_8_a"]


def test_a_later_job_of_a_batch_may_replace_what_an_earlier_one_just_brought() -> None:
    batch = [wanted("a", Rule.SKIP, "j1", "1"), wanted("a", Rule.OVERWRITE, "j2", "2")]
    assert [decision.replaces for decision in settle(batch, {}, {})] == [None, "1"]
