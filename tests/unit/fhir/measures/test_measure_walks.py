"""What measures' logic needs: the walk over ELM."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.measures.artifacts import BundledArtifacts, Wanted, look_up, look_up_async
from sluice_fhir.measures.datatypes import Period
from sluice_fhir.measures.problems import MeasureError, MeasureProblem
from sluice_fhir.measures.requirements import find_requirements
from support.measure_library import (
    BASE,
    artifacts,
    bundle,
    call,
    elm,
    in_value_set,
    library,
    measure,
    needed,
    of_statements,
    ref,
    requirements,
    retrieve,
)

MAIN = f"{BASE}/Library/Main|1.0.0"
VS = "http://example.org/ValueSet"
SETS = {"A": f"{VS}/a", "B": f"{VS}/b"}
CODES = {
    "codeSystems": {"def": [{"name": "LOINC", "id": "http://loinc.org", "version": "2.74"}]},
    "codes": {
        "def": [
            {"name": "C1", "id": "1-1", "display": "One", "codeSystem": {"name": "LOINC"}},
            {"name": "C2", "id": "2-2", "codeSystem": {"name": "LOINC"}},
        ]
    },
    "concepts": {"def": [{"name": "Both", "code": [{"name": "C1"}, {"name": "C2"}]}]},
}


def test_every_statement_counts_but_the_patient_that_the_translator_adds() -> None:
    found = of_statements(
        {
            "Patient": {"type": "SingletonFrom", "operand": retrieve("Patient")},
            "Initial Population": {
                "type": "Exists",
                "operand": retrieve("Encounter", "type", in_value_set("A")),
            },
            "Unused": retrieve("Condition", "code", in_value_set("B")),
        },
        value_sets=SETS,
    )
    assert found == {("Encounter", "type", f"{VS}/a"), ("Condition", "code", f"{VS}/b")}


def test_the_patient_is_always_needed_and_once() -> None:
    text = elm("Main", {"X": [retrieve("Patient", templateId="p"), retrieve("Patient")]})
    found = requirements(measure(MAIN), library(text))
    assert [each.type for each in found.requirements] == ["Patient"]
    assert found.types == ("Patient",)


def test_a_retrieve_without_a_filter_is_kept() -> None:
    assert of_statements({"X": retrieve("Coverage")}) == {("Coverage", None, None)}


def test_retrieves_are_found_wherever_they_stand() -> None:
    where = {"type": "Exists", "operand": retrieve("Procedure")}
    query: dict[str, Any] = {
        "type": "Query",
        "source": [{"alias": "E", "expression": retrieve("Encounter")}],
        "let": [{"identifier": "d", "expression": retrieve("Device")}],
        "relationship": [{"type": "With", "expression": retrieve("Observation"), "suchThat": where}],
        "where": {"type": "And", "operand": [{"type": "IsNull", "operand": retrieve("Flag")}, where]},
        "aggregate": {"expression": retrieve("Claim")},
        "return": {"expression": {"type": "Tuple", "element": [{"name": "x", "value": retrieve("Goal")}]}},
    }
    conditional = {
        "type": "If",
        "condition": {"type": "Literal"},
        "then": query,
        "else": {"type": "Case", "caseItem": [{"when": retrieve("Media"), "then": retrieve("Task")}]},
    }
    types = {type_ for type_, _, _ in of_statements({"X": conditional})}
    assert types == {
        *("Encounter", "Device", "Observation", "Procedure", "Flag", "Claim", "Goal", "Media", "Task"),
    }


def test_annotations_are_no_logic() -> None:
    node = retrieve("Encounter") | {"annotation": [retrieve("Condition")]}
    assert of_statements({"X": node}) == {("Encounter", None, None)}


def test_nested_includes_are_followed_where_they_are_referred_to() -> None:
    deep = elm("Deep", {"D": retrieve("Device"), "Not asked for": retrieve("Claim")})
    middle = elm(
        "Middle", {"M": ref("D", "deep")}, includes={"deep": (f"{BASE}/Deep", "1.0.0")}, value_sets=SETS
    )
    main = elm(
        "Main",
        {
            "X": {
                "type": "Union",
                "operand": [ref("M", "mid"), retrieve("Encounter", "type", in_value_set("B", "mid"))],
            }
        },
        includes={"mid": (f"{BASE}/Middle", "1.0.0")},
    )
    found = requirements(measure(MAIN), library(main), library(middle), library(deep))
    assert needed(found) == {("Device", None, None), ("Encounter", "type", f"{VS}/b")}
    assert found.libraries == tuple(f"{BASE}/Library/{name}|1.0.0" for name in ("Deep", "Middle", "Main"))
    assert found.value_sets == (f"{VS}/b",)


def test_functions_are_followed_with_all_their_overloads_and_their_arguments() -> None:
    found = of_statements(
        {
            "X": call("f", retrieve("Encounter")),
            "f": [retrieve("Condition"), retrieve("Procedure")],
        }
    )
    assert found == {("Encounter", None, None), ("Condition", None, None), ("Procedure", None, None)}


def test_expressions_that_call_each_other_end() -> None:
    found = of_statements({"f": call("g", retrieve("Goal")), "g": call("f"), "X": ref("X")})
    assert found == {("Goal", None, None)}


def test_an_external_function_has_nothing_to_follow() -> None:
    text = elm("Main", {"X": call("outside", retrieve("Goal"))})
    text["library"]["statements"]["def"].append({"name": "outside", "type": "FunctionDef", "external": True})
    assert needed(requirements(measure(MAIN), library(text))) == {("Goal", None, None)}


LIST = {"type": "List", "element": [ref("C1", kind="CodeRef"), ref("C2", kind="CodeRef")]}


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (ref("C1", kind="CodeRef"), {"http://loinc.org|1-1"}),
        ({"type": "ToList", "operand": ref("C1", kind="CodeRef")}, {"http://loinc.org|1-1"}),
        (LIST, {"http://loinc.org|1-1,http://loinc.org|2-2"}),
        (ref("Both", kind="ConceptRef"), {"http://loinc.org|1-1,http://loinc.org|2-2"}),
        (
            {"type": "Property", "path": "codes", "source": ref("Both", kind="ConceptRef")},
            {"http://loinc.org|1-1,http://loinc.org|2-2"},
        ),
        (
            {"type": "ToList", "operand": {"type": "Code", "code": "3", "system": {"name": "LOINC"}}},
            {"http://loinc.org|3"},
        ),
        ({"type": "Concept", "code": [{"code": "4", "system": {"name": "LOINC"}}]}, {"http://loinc.org|4"}),
        ({"type": "ToList", "operand": {"type": "Literal", "value": "final"}}, {"None|final"}),
        ({"type": "ExpandValueSet", "operand": in_value_set("A")}, {f"{VS}/a"}),
        ({"type": "Union", "operand": [in_value_set("A"), in_value_set("B")]}, {f"{VS}/a", f"{VS}/b"}),
        (
            {"type": "Union", "operand": [in_value_set("A"), ref("C1", kind="CodeRef")]},
            {f"{VS}/a", "http://loinc.org|1-1"},
        ),
        (ref("Codes"), {"http://loinc.org|1-1"}),
        (ref("Round"), {"http://loinc.org|1-1"}),
    ],
)
def test_codes_are_read_however_they_are_put(codes: dict[str, Any], expected: set[str]) -> None:
    found = of_statements(
        {
            "X": retrieve("Observation", "code", codes),
            "Codes": {"type": "ToList", "operand": ref("C1", kind="CodeRef")},
            "Round": {"type": "Union", "operand": [ref("Round"), ref("Codes")]},
        },
        value_sets=SETS,
        more=CODES,
    )
    assert found == {("Observation", "code", each) for each in expected}


@pytest.mark.parametrize(
    "codes",
    [
        {"type": "ToList", "operand": {"type": "Property", "path": "id", "source": {"type": "OperandRef"}}},
        {"type": "ParameterRef", "name": "Wanted"},
        {"type": "Union", "operand": [in_value_set("A"), {"type": "OperandRef", "name": "more"}]},
        {"type": "Except", "operand": [in_value_set("A"), in_value_set("B")]},
        {"type": "List"},
    ],
)
def test_codes_that_depend_on_data_ask_for_the_whole_type(codes: dict[str, Any]) -> None:
    found = of_statements({"X": retrieve("Provenance", "target", codes)}, value_sets=SETS)
    assert found == {("Provenance", None, None)}


def test_what_else_retrieves_are_filtered_by_is_kept() -> None:
    node = retrieve("Observation", "code", in_value_set("A")) | {
        "codeFilter": [{"property": "category", "value": in_value_set("B")}],
        "include": [{"relatedDataType": "{http://hl7.org/fhir}Device", "relatedProperty": "device"}],
    }
    assert of_statements({"X": node}, value_sets=SETS) == {
        ("Observation", "code", f"{VS}/a"),
        ("Observation", "category", f"{VS}/b"),
        ("Device", None, None),
    }


def test_filters_that_multiply_are_left_out_before_they_are_too_many() -> None:
    many = {f"V{i}": f"{VS}/{i}" for i in range(60)}
    either = {"type": "Union", "operand": [in_value_set(name) for name in many]}
    node = retrieve("Observation", "code", either) | {
        "codeFilter": [{"property": "category", "value": either}]
    }
    text = elm("Main", {"X": node}, value_sets=many)
    found = [
        each for each in requirements(measure(MAIN), library(text)).requirements if each.type != "Patient"
    ]
    assert len(found) == 60
    assert all([one.path for one in each.code_filter] == ["code"] for each in found)


def test_logic_that_would_take_too_long_is_refused() -> None:
    codes = {"type": "Union", "operand": [in_value_set("A")] * 1000}
    with pytest.raises(MeasureError) as caught:
        of_statements(
            {f"S{i}": retrieve("Goal", "x", ref("Codes")) for i in range(600)} | {"Codes": codes},
            value_sets=SETS,
        )
    assert caught.value.problem is MeasureProblem.TOO_DEEP


def test_a_value_sets_version_is_part_of_its_name() -> None:
    text = elm("Main", {"X": retrieve("Goal", "x", in_value_set("A"))})
    text["library"]["valueSets"]["def"] = [{"name": "A", "id": f"{VS}/a", "version": "2020"}]
    assert requirements(measure(MAIN), library(text)).value_sets == (f"{VS}/a|2020",)


def test_profiles_are_kept_and_models_over_fhirs_are_understood() -> None:
    node = {
        "type": "Retrieve",
        "dataType": "{http://hl7.org/fhir/us/core}Condition",
        "templateId": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-condition",
    }
    (condition, _) = requirements(measure(MAIN), library(elm("Main", {"X": node}))).requirements
    assert condition.type == "Condition"
    assert condition.profile == ("http://hl7.org/fhir/us/core/StructureDefinition/us-core-condition",)


def _instant(kind: str, *parts: int, **more: Any) -> dict[str, Any]:
    names = ("year", "month", "day", "hour", "minute", "second")
    digits = {name: {"type": "Literal", "value": str(part)} for name, part in zip(names, parts, strict=False)}
    return {"type": kind, **digits, **more}


ZONE = {"timezoneOffset": {"type": "Literal", "valueType": "Decimal", "value": "0.0"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "ParameterRef", "name": "Measurement Period"}, Period("2024-01-01", "2024-12-31")),
        ({"type": "ParameterRef", "name": "Other"}, None),
        (
            {"type": "Interval", "low": _instant("Date", 2024, 3), "high": _instant("Date", 2024, 4, 5)},
            Period("2024-03", "2024-04-05"),
        ),
        (
            {
                "type": "Interval",
                "low": _instant("DateTime", 2024, 3, 1, 0, 0, 0, **ZONE),
                "high": _instant("DateTime", 2024, 4, 5, 1, 2),
            },
            Period("2024-03-01T00:00:00Z", "2024-04-05"),
        ),
        ({"type": "Interval", "low": _instant("Date", 2024), "high": {"type": "Now"}}, None),
    ],
)
def test_dates_are_read_where_they_are_known(value: dict[str, Any], expected: Period | None) -> None:
    node = retrieve("Encounter") | {"dateProperty": "period", "dateRange": value}
    found = requirements(
        measure(MAIN, effectivePeriod={"start": "2024-01-01", "end": "2024-12-31"}),
        library(elm("Main", {"X": node})),
    )
    (only,) = found.requirements[0].date_filter
    assert only.path == "period"
    assert only.value_period == expected


def test_a_given_period_goes_before_the_measures() -> None:
    node = retrieve("Encounter") | {
        "dateProperty": "period",
        "dateRange": {"type": "ParameterRef", "name": "Measurement Period"},
    }
    kept = artifacts(
        measure(MAIN, effectivePeriod={"start": "2024", "end": "2024"}), library(elm("Main", {"X": node}))
    )
    found = look_up(find_requirements("Measure/M", Period("2026", "2026")), kept)
    assert found.requirements[0].date_filter[0].value_period == Period("2026", "2026")


def test_all_libraries_of_a_measure_count() -> None:
    found = requirements(
        measure(MAIN, f"{BASE}/Library/Other"),
        library(elm("Main", {"X": retrieve("Goal")})),
        library(elm("Other", {"X": retrieve("Task")})),
    )
    assert found.types == ("Goal", "Patient", "Task")


async def test_an_awaited_store_gives_the_same() -> None:
    kept = artifacts(measure(MAIN), library(elm("Main", {"X": retrieve("Goal")})))

    async def get(wanted: Wanted) -> bytes | None:
        return kept.get(wanted.canonical)

    found = await look_up_async(find_requirements("Measure/M"), get)
    assert found == look_up(find_requirements("Measure/M"), kept)


@given(st.permutations(range(6)), st.lists(st.sampled_from("ABCDEF"), min_size=6, max_size=6))
def test_the_order_of_statements_and_entries_changes_nothing(order: list[int], targets: list[str]) -> None:
    """Six statements, each with a retrieve of its own and a reference to any."""
    types = ("Goal", "Task", "Flag", "Device", "Claim", "Media")
    names = "ABCDEF"
    bodies = {names[i]: {"type": "Union", "operand": [retrieve(types[i]), ref(targets[i])]} for i in range(6)}
    plain = [measure(MAIN), library(elm("Main", bodies))]
    mixed = [library(elm("Main", {names[i]: bodies[names[i]] for i in order})), measure(MAIN)]
    first = look_up(find_requirements("Measure/M"), BundledArtifacts.of(bundle(*plain)))
    second = look_up(find_requirements("Measure/M"), BundledArtifacts.of(bundle(*mixed)))
    assert first == second
    assert set(first.types) == {*types, "Patient"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "operand", "codes", "source", "expression", "libraryName", "path"]
            ),
            children | st.sampled_from(["Query", "Union", "Tuple", "As"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_a_retrieve_is_found_in_whatever_surrounds_it(surroundings: Any) -> None:
    """Whatever operators there will be: no node keeps the walk from what is beside it."""
    text = json.dumps(surroundings)
    if '"ExpressionRef"' in text or '"FunctionRef"' in text:
        return
    node = {"type": "SomethingNew", "a": surroundings, "b": [[retrieve("Goal")]]}
    assert of_statements({"X": node}) == {("Goal", None, None)}
