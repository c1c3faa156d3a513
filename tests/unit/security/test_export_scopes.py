"""Which resources an export may hold, by scopes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_security.export_scopes import exportable
from sluice_security.scopes import Scope, Scopes

TYPES = ("Patient", "Observation", "Group")


@pytest.mark.parametrize(
    ("scopes", "permitted"),
    [
        ("system/*.rs", {"Patient": [()], "Observation": [()], "Group": [()]}),
        ("system/*.read", {"Patient": [()], "Observation": [()], "Group": [()]}),
        ("system/*.*", {"Patient": [()], "Observation": [()], "Group": [()]}),
        ("system/Patient.cruds user/Group.read", {"Patient": [()], "Group": [()]}),
        ("system/Patient.r system/Patient.s", {"Patient": [()]}),
        ("system/*.r system/Patient.s", {"Patient": [()]}),
        ("system/Patient.r", {}),
        ("system/Patient.s", {}),
        ("system/Patient.write", {}),
        ("system/Patient.r user/Patient.s", {}),
        ("patient/*.rs", {}),
        ("bulk/import files/read ops/* offline_access", {}),
        ("system/Account.rs", {}),
        ("system/Observation.rs?category=lab", {"Observation": [("category=lab",)]}),
        (
            "system/Observation.rs?category=lab user/Observation.rs?category=vital",
            {"Observation": [("category=lab",), ("category=vital",)]},
        ),
        ("system/Observation.r?a=1 system/Observation.s?b=2", {"Observation": [("a=1", "b=2")]}),
        ("system/Observation.rs?a=1 system/Observation.rs", {"Observation": [()]}),
        ("system/Observation.rs?a=1&b=2 system/Observation.rs?a=1", {"Observation": [("a=1",)]}),
    ],
)
def test_the_types_of_an_export_are_those_that_may_be_searched_and_read(
    scopes: str, permitted: dict[str, list[tuple[str, ...]]]
) -> None:
    found = exportable(Scopes.parse(scopes), TYPES)
    assert {name: list(permission.limits) for name, permission in found.items()} == permitted


def test_only_an_empty_limit_permits_everything() -> None:
    found = exportable(Scopes.parse("system/Patient.rs system/Observation.rs?a=1"), TYPES)
    assert found["Patient"].unlimited
    assert not found["Observation"].unlimited


PARAMETERS = ("a=1", "b=2", "c=3")
scope = st.builds(
    Scope,
    st.sampled_from(["system", "user", "patient"]),
    st.sampled_from(["*", "Patient", "Group"]),
    st.sets(st.sampled_from("cruds"), min_size=1).map(
        lambda letters: "".join(letter for letter in "cruds" if letter in letters)
    ),
    st.sets(st.sampled_from(PARAMETERS)).map(lambda parts: tuple(sorted(parts))),
)


def may(scopes: list[Scope], context: str, letter: str, name: str, satisfied: set[str]) -> bool:
    """Ask of one resource, with the search parameters it satisfies, whether one scope permits that."""
    return any(
        one.context == context
        and one.target in ("*", name)
        and letter in one.letters
        and set(one.query) <= satisfied
        for one in scopes
    )


@given(st.lists(scope, max_size=6), st.sampled_from(TYPES), st.sets(st.sampled_from(PARAMETERS)))
def test_a_resource_is_permitted_exactly_if_it_may_be_searched_and_read(
    scopes: list[Scope], name: str, satisfied: set[str]
) -> None:
    permission = exportable(Scopes(scopes), TYPES).get(name)
    permitted = permission is not None and any(set(limit) <= satisfied for limit in permission.limits)
    assert permitted == any(
        may(scopes, context, "r", name, satisfied) and may(scopes, context, "s", name, satisfied)
        for context in ("system", "user")
    )


@given(st.lists(scope, max_size=4), st.lists(scope, max_size=4))
def test_narrowed_scopes_never_export_more(allowed: list[Scope], wanted: list[Scope]) -> None:
    before = exportable(Scopes(allowed), TYPES)
    for name, permission in exportable(Scopes(allowed).narrow(Scopes(wanted)), TYPES).items():
        for limit in permission.limits:
            assert any(set(weaker) <= set(limit) for weaker in before[name].limits)
