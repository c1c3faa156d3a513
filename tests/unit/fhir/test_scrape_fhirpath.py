"""The fast evaluator means what fhirpathpy means; bad expressions are refused when they are compiled."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sluice_fhir.fhirpath import CompiledPath, FHIRPathError, compile_path, evaluate_fully
from sluice_fhir.fhirpath_parse import parse

# Element names with the element names that R4 has below them; the data use them at any depth.
REST = ["photo", "deceased", "multipleBirth", "managingOrganization", "maritalStatus", "id", "address"]
BELOW = {
    "Patient": ["identifier", "name", "contact", "gender", "active", "birthDate", "extension", "meta", *REST],
    "identifier": ["system", "value", "use", "type", "extension"],
    "name": ["given", "family", "use", "extension"],
    "contact": ["name", "gender", "relationship"],
    "meta": ["tag", "profile"],
    "tag": ["system", "code", "display"],
    "managingOrganization": ["reference", "identifier", "display"],
    "maritalStatus": ["coding", "text"],
    "type": ["coding", "text"],
    "relationship": ["coding", "text"],
    "coding": ["system", "code", "display"],
    "extension": ["url", "valueString", "valueAge", "extension"],
    "valueAge": ["value", "unit"],
    "address": ["state", "country"],
    "birthDate": ["extension"],
}
STORED = sorted(
    {name for names in BELOW.values() for name in names}
    | {
        "deceasedBoolean",
        "deceasedDateTime",
        "multipleBirthInteger",
        "_birthDate",
        "_given",
        "_gender",
        "url",
    }
)
TEXTS = st.sampled_from(["a", "b", "", "A b", "http://x", "é\u0301", "1", "true"])
SCALARS = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.5]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(STORED), inner, max_size=4),
        st.dictionaries(st.sampled_from(["url", "extension", "valueString"]), inner, max_size=3),
    ),
    max_leaves=12,
)
RESOURCES = st.dictionaries(st.sampled_from(STORED), VALUES, max_size=7).map(
    lambda found: {**found, "resourceType": "Patient"}
)


@st.composite
def expressions(draw: st.DrawFn, focus: str = "Patient", depth: int = 0) -> str:
    parts: list[str] = ["Patient"] if focus == "Patient" and depth == 0 and draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        below = BELOW.get(focus, [])
        kind = draw(st.integers(0, 9))
        if below and (kind < 6 or not parts):
            focus = draw(st.sampled_from(below))
            parts.append(focus)
        elif parts and kind == 6:
            parts.append(draw(st.sampled_from(["first()", "last()", "tail()", "take(2)", "skip(1)"])))
        elif parts and kind == 7:
            parts[-1] += f"[{draw(st.integers(0, 2))}]"
        elif kind == 8 and below and depth < 2:
            parts.append(f"where({draw(criteria(focus, depth + 1))})")
        elif kind == 9:
            parts.append("extension('http://x')")
            focus = "extension"
    ends = [
        "exists()",
        "empty()",
        "count()",
        "lower()",
        "trim()",
        "join('-')",
        "split('t')",
        "startsWith('a')",
    ]
    if parts and draw(st.integers(0, 5)) == 0:
        parts.append(draw(st.sampled_from(ends)))
    text = ".".join(parts or ["gender"])
    if depth == 0 and draw(st.integers(0, 6)) == 0:
        return f"{text} | {draw(expressions(depth=1))}"
    return text


@st.composite
def criteria(draw: st.DrawFn, focus: str, depth: int) -> str:
    kind = draw(st.integers(0, 4))
    if kind == 0 and depth < 3:
        operator = draw(st.sampled_from(["and", "or"]))
        return f"({draw(criteria(focus, depth + 1))} {operator} {draw(criteria(focus, depth + 1))})"
    left = ".".join(draw(st.lists(st.sampled_from(BELOW[focus]), min_size=1, max_size=1)))
    if kind == 1:
        return f"{left}.exists()"
    literal = draw(st.sampled_from(["'a'", "'b'", "'http://x'", "1", "true"]))
    return f"{left} {draw(st.sampled_from(['=', '!=']))} {literal}"


def _same(fast: list[Any], full: list[Any]) -> bool:
    # Values keep their kind: 1 is not true, though Python's == says so.
    return [(type(one), one) for one in fast] == [(type(one), one) for one in full]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expression=expressions(), resource=RESOURCES)
def test_the_fast_evaluator_gives_what_fhirpathpy_gives(expression: str, resource: dict[str, Any]) -> None:
    compiled = compile_path(expression, "Patient")
    assume(compiled.fast)
    fast = compiled.evaluate(resource)
    try:
        full = evaluate_fully(parse(expression), resource)
    except Exception:
        return  # the standard's evaluator refuses the data: the fast one may find what can be found
    assert _same(fast, full), (expression, resource)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expression=expressions(), resource=RESOURCES)
def test_a_path_reads_no_element_it_does_not_declare(expression: str, resource: dict[str, Any]) -> None:
    compiled = compile_path(expression, "Patient")
    assume(compiled.roots is not None)
    kept = {
        name: value for name, value in resource.items() if name in {*(compiled.roots or ()), "resourceType"}
    }
    # The resource itself may be selected too; objects never become metadata.
    assert _same(_scalars(compiled.evaluate(kept)), _scalars(compiled.evaluate(resource)))


def _scalars(values: list[Any]) -> list[Any]:
    return [value for value in values if type(value) is not dict]


PATIENT = {
    "resourceType": "Patient",
    "gender": "female",
    "deceasedDateTime": "2020-01-02",
    "_birthDate": {"extension": [{"url": "u", "valueAge": {"value": 5}}]},
    "identifier": [{"system": "a", "value": "1"}, {"system": "b", "value": "2"}],
    "name": [{"given": ["Ada", "B"], "family": "C"}],
}


def _evaluate(expression: str) -> list[Any]:
    return compile_path(expression, "Patient").evaluate(PATIENT)


def test_a_choice_element_is_found_under_its_name_without_a_type() -> None:
    assert _evaluate("deceased") == ["2020-01-02"]


def test_extensions_of_a_primitive_are_reached_through_it_and_are_no_value_of_it() -> None:
    assert _evaluate("birthDate") == []
    assert _evaluate("birthDate.extension('u').valueAge.value") == [5]


def test_what_the_subset_lacks_runs_on_fhirpathpy() -> None:
    compiled: CompiledPath = compile_path("name.select(given.first() & ' ' & family)", "Patient")
    assert not compiled.fast
    assert compiled.evaluate(PATIENT) == ["Ada C"]


def test_data_that_do_not_suit_an_expression_give_nothing() -> None:
    assert _evaluate("name.given.lower()") == []
    assert _evaluate("name.select(given.upper())") == []


def test_elements_that_r4_does_not_have_are_named() -> None:
    assert compile_path("contact.nam.given", "Patient").unknown == ("Patient.contact.nam",)
    assert compile_path("Patient.extension.valueAge.value", "Patient").unknown == ()


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "empty"),
        ("a..b", "column 3"),
        ("name.where(use = 'x'", "syntax error"),
        ("name.given more", "unexpected text at column 12"),
        ("name.frist()", "there is no function frist()"),
        ("name.first(1)", "first() does not take 1 argument"),
        ("%patient.name", "no variable %patient"),
        ("name.where(x = 'y)", "syntax error"),
        ("a." * 1500 + "a", "longer than"),
        ("(" * 900 + "a" + ")" * 900, "too deeply"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_with_a_reason(expression: str, says: str) -> None:
    with pytest.raises(FHIRPathError, match=says.replace("(", r"\(").replace(")", r"\)")):
        compile_path(expression, "Patient")
