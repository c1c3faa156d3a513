"""What an export may hold is never more than a scope permits, and never more than some one grant gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.exports import ExportAccess, ExportLevel, Reach, TypeFilter
from sluice_gateway.fhir.access import resolve
from sluice_security.export_scopes import Permission, exportable
from sluice_security.scopes import Scopes
from sluice_storage.access.covering import still_granted
from sluice_storage.access.model import Grant, GranteeKind

TYPES = ("Patient", "Observation", "Condition", "Organization")
GROUPS = ("g", "h", "i")
ALL = Permission(((),))
SYSTEM, PATIENT, GROUP = ExportLevel.SYSTEM, ExportLevel.PATIENT, ExportLevel.GROUP


def grant(group: str | None = None, *types: str) -> Grant:
    """Give a grant of a group, or of all patients; without types of all types."""
    return Grant(
        id="0",
        grantee_kind=GranteeKind.CLIENT,
        grantee="portal",
        all_patients=group is None,
        group=group,
        types=types or None,
        granted_by="operator",
        granted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


grants = st.lists(
    st.builds(
        lambda group, types: grant(group, *types),
        st.none() | st.sampled_from(GROUPS),
        st.lists(st.sampled_from(TYPES), unique=True),
    ),
    max_size=5,
)
permissions = st.dictionaries(
    st.sampled_from(TYPES), st.sampled_from([ALL, Permission((("_id=a",), ("_id=b", "_tag=c")))])
)
requests = st.none() | st.lists(st.sampled_from(TYPES), unique=True)


def seen(access: ExportAccess, name: str, groups: frozenset[str]) -> bool:
    """Say by the words of `ExportAccess` whether it has a resource of patients in these groups."""

    def within(reach: Reach | ExportAccess) -> bool:
        of_type = reach.types is None or name in reach.types
        return of_type and (reach.all_patients or not groups.isdisjoint(reach.groups))

    return within(access) and (not access.narrower or any(map(within, access.narrower)))


def given_by(one: Grant, name: str, groups: frozenset[str]) -> bool:
    return (one.types is None or name in one.types) and (one.all_patients or one.group in groups)


@given(grants, permissions, requests, st.sampled_from([SYSTEM, PATIENT]))
def test_a_resource_is_seen_if_and_only_if_a_scope_permits_it_and_some_one_grant_gives_it(
    held: list[Grant], permitted: Mapping[str, Permission], asked: list[str] | None, level: ExportLevel
) -> None:
    access = resolve(held, level, None, permitted, asked)
    assert access is not None
    for name in TYPES:
        for groups in (frozenset[str](), *(frozenset({group}) for group in GROUPS), frozenset(GROUPS[:2])):
            expected = (
                name in permitted
                and (asked is None or name in asked)
                and any(given_by(one, name, groups) for one in held)
            )
            assert seen(access, name, groups) == expected
            reach = access.reach_of(name)
            found = reach is not None and (reach.all_patients or not groups.isdisjoint(reach.groups))
            assert found == expected


@given(grants, permissions, requests, st.sampled_from(GROUPS))
def test_at_the_group_level_only_the_groups_patients_are_seen_and_only_of_covered_types(
    held: list[Grant], permitted: Mapping[str, Permission], asked: list[str] | None, group: str
) -> None:
    access = resolve(held, GROUP, group, permitted, asked)
    covering = [one for one in held if one.all_patients or one.group == group]
    assert (access is None) == (not covering)
    if access is None:
        return
    assert (access.all_patients, access.groups, access.narrower) == (False, (group,), ())
    for name in TYPES:
        expected = (
            name in permitted
            and (asked is None or name in asked)
            and any(given_by(one, name, frozenset({group})) for one in covering)
        )
        assert seen(access, name, frozenset({group})) == expected


@given(grants, grants, permissions, st.sampled_from([SYSTEM, GROUP]), st.sampled_from(GROUPS))
def test_an_export_is_still_granted_if_and_only_if_all_that_it_may_hold_is(
    held: list[Grant],
    later: list[Grant],
    permitted: Mapping[str, Permission],
    level: ExportLevel,
    group: str,
) -> None:
    access = resolve(held, level, group if level is GROUP else None, permitted)
    if access is None:
        return
    assert still_granted(tuple(held), access)
    assert still_granted(tuple(later), access) == all(
        any(given_by(one, name, groups) for one in later)
        for name in TYPES
        for groups in (frozenset[str](), *(frozenset({group}) for group in GROUPS))
        if seen(access, name, groups)
    )


def test_an_export_of_all_types_takes_a_grant_of_all_types() -> None:
    access = ExportAccess(all_patients=True)
    assert still_granted((grant(),), access)
    assert not still_granted((grant(None, *TYPES),), access)


@given(grants, permissions, requests)
def test_reaches_have_no_type_in_common_and_limits_are_of_seen_types_only(
    held: list[Grant], permitted: Mapping[str, Permission], asked: list[str] | None
) -> None:
    access = resolve(held, SYSTEM, None, permitted, asked)
    assert access is not None
    named = [name for reach in access.reaches for name in reach.types or ()]
    assert len(named) == len(set(named))
    assert {limit.type for limit in access.limits} == {
        name for name in named if not permitted[name].unlimited
    }


def test_grants_of_different_types_do_not_widen_each_other() -> None:
    permitted = exportable(Scopes.parse("system/*.rs"), TYPES)
    access = resolve([grant("g", "Patient", "Observation"), grant("h", "Patient")], SYSTEM, None, permitted)
    assert access is not None
    assert access.reach_of("Patient") == Reach(groups=("g", "h"), types=("Patient",))
    assert access.reach_of("Observation") == Reach(groups=("g",), types=("Observation",))
    assert access.reach_of("Condition") is None


def test_a_limited_scope_becomes_searches_of_which_one_must_be_satisfied() -> None:
    scopes = "system/Observation.rs?category=laboratory system/Observation.rs?code=a&status=final"
    access = resolve([grant()], SYSTEM, None, exportable(Scopes.parse(scopes), TYPES))
    assert access == ExportAccess(
        all_patients=True,
        types=("Observation",),
        limits=(
            TypeFilter(type="Observation", query="category=laboratory"),
            TypeFilter(type="Observation", query="code=a&status=final"),
        ),
    )


@pytest.mark.parametrize("query", ["unheard-of=x", "code:in=x", "_count=1"])
def test_what_a_scope_permits_only_by_a_search_that_cannot_be_evaluated_is_not_permitted(query: str) -> None:
    scopes = f"system/Observation.rs?{query} system/Patient.rs"
    access = resolve([grant()], SYSTEM, None, exportable(Scopes.parse(scopes), TYPES))
    assert access == ExportAccess(all_patients=True, types=("Patient",))


def test_who_was_granted_nothing_may_hold_an_export_of_nothing_but_finds_no_group() -> None:
    permitted = exportable(Scopes.parse("system/*.rs"), TYPES)
    assert resolve([], SYSTEM, None, permitted) == ExportAccess(types=())
    assert resolve([], GROUP, "g", permitted) is None
