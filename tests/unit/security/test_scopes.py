"""Scopes: spelling, covering and narrowing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_security.scopes import (
    MOST_LIMITED,
    InvalidScopeError,
    Scope,
    Scopes,
    TooManyLimitsError,
    parse_scope,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("bulk/import", "bulk/import"),
        ("ops/sources", "ops/sources"),
        ("ops/*", "ops/*"),
        ("offline_access", "offline_access"),
        ("system/bulk-submit", "system/bulk-submit"),
        ("system/*.rs", "system/*.rs"),
        ("system/Patient.cruds", "system/Patient.cruds"),
        ("system/*.read", "system/*.rs"),
        ("user/Observation.write", "user/Observation.cud"),
        ("patient/*.*", "patient/*.cruds"),
        ("system/Patient.rs?b=2&a=1", "system/Patient.rs?a=1&b=2"),
    ],
)
def test_a_scope_has_one_canonical_spelling(text: str, canonical: str) -> None:
    assert parse_scope(text).canonical == canonical
    assert str(parse_scope(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "root", "bulk/*", "bulk/export", "ops/", "ops/A", "files/read/x", "system/Patient.sr",
        "system/*.", "system/Patient.rrs",
        "system/patient.rs", "system/Patient.rs?", "system/Patient.rs?a=\"b\"",
        "launch", "system/bulk-submit.rs", "user/bulk-submit",
        "offline_access/", "offline_access/x", "online_access",
        "system/Patient.rs?a b", "system/Patient.rs\n", "ops/sources\n", "tenant/*.rs",
        "system/Patient", "*",
    ],
)  # fmt: skip
def test_anything_else_is_no_scope_and_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidScopeError) as caught:
        parse_scope(text)
    assert str(caught.value) == "not a scope of this server"


@pytest.mark.parametrize(
    ("allowed", "wanted", "granted"),
    [
        ("bulk/import files/read", "files/read", "files/read"),
        ("bulk/import files/read", "files/read files/write", "files/read"),
        ("files/read", "bulk/import", ""),
        ("bulk/import", "system/bulk-submit", "system/bulk-submit"),
        ("system/bulk-submit", "bulk/import", "system/bulk-submit"),
        ("system/bulk-submit", "system/bulk-submit system/*.rs", "system/bulk-submit"),
        ("system/*.cruds", "system/bulk-submit", ""),
        ("system/*.rs", "system/Patient.read", "system/Patient.rs"),
        ("system/Patient.rs system/Group.r", "system/*.cruds", "system/Group.r system/Patient.rs"),
        ("system/*.rs", "user/*.rs", ""),
        ("system/Patient.rs?a=1", "system/Patient.rs", "system/Patient.rs?a=1"),
        ("system/*.rs?a=1", "system/Patient.cruds?b=2", "system/Patient.rs?a=1&b=2"),
        ("ops/*", "ops/sources", "ops/sources"),
        ("ops/sources", "ops/*", "ops/sources"),
        ("ops/sources", "ops/topics", ""),
        ("offline_access user/*.rs", "offline_access", "offline_access"),
        ("user/*.rs", "offline_access", ""),
        ("system/*.rs system/Patient.r", "system/Patient.rs", "system/Patient.rs"),
    ],
)
def test_a_wish_is_narrowed_to_what_is_allowed(allowed: str, wanted: str, granted: str) -> None:
    assert Scopes.parse(allowed).narrow(Scopes.parse(wanted)).canonical == granted


def test_membership_is_permission() -> None:
    scopes = Scopes.parse("system/*.rs ops/*")
    assert "system/Patient.r" in scopes
    assert "ops/sources" in scopes
    assert "system/Patient.c" not in scopes
    assert "bulk/import" not in scopes


def test_operators_scopes_can_be_left_out() -> None:
    assert Scopes.parse("ops/* ops/sources bulk/import").without("ops") == Scopes.parse("bulk/import")


def test_a_list_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidScopeError):
        Scopes.parse("files/read " * 1000)


def limited(count: int, letters: str = "rs") -> Scopes:
    """Give scopes with as many different search parameters."""
    return Scopes.parse(" ".join(f"system/*.{letters}?code={each}" for each in range(count)))


def test_a_token_may_have_as_many_limited_scopes_as_that_and_no_more() -> None:
    most, others = limited(MOST_LIMITED), Scopes.parse("system/*.rs files/read")
    assert most.narrow(most) == others.narrow(most) == most.narrow(Scopes([*most, *others])) == most
    for allowed, wanted in ((others, limited(MOST_LIMITED + 1)), (limited(MOST_LIMITED + 1), others)):
        with pytest.raises(TooManyLimitsError):
            allowed.narrow(wanted)


def test_limits_that_multiply_when_they_meet_are_counted_as_what_comes_of_them() -> None:
    wanted = Scopes.parse(" ".join(f"system/Observation.rs?category={each}" for each in range(7)))
    assert len(limited(4).narrow(wanted)) == 28
    with pytest.raises(TooManyLimitsError):
        limited(5).narrow(wanted)


scope = st.builds(
    Scope,
    st.sampled_from(["system", "user"]),
    st.sampled_from(["*", "Patient", "Group"]),
    st.sets(st.sampled_from("cruds"), min_size=1).map(
        lambda letters: "".join(letter for letter in "cruds" if letter in letters)
    ),
    st.sets(st.sampled_from(["a=1", "b=2"])).map(lambda parts: tuple(sorted(parts))),
)


@given(st.lists(scope, max_size=4), st.lists(scope, max_size=4), scope)
def test_what_is_granted_was_both_allowed_and_wanted(
    allowed: list[Scope], wanted: list[Scope], asked: Scope
) -> None:
    granted = Scopes(allowed).narrow(Scopes(wanted))
    for one in granted:
        assert one in Scopes(allowed)
        assert one in Scopes(wanted)
        assert parse_scope(one.canonical) == one
    if any(one.covers(asked) for one in allowed) and any(one.covers(asked) for one in wanted):
        assert asked in granted
