"""What a source is asked for: `_type` and `_typeFilter`."""

from typing import Any
from urllib.parse import unquote

import pytest

from sluice_fhir.measures.datatypes import CodeFilter, Coding, DataRequirement
from sluice_fhir.measures.queries import ExportQuery, export_query, token_parameter
from sluice_fhir.measures.requirements import Requirements
from sluice_fhir.search import parse_type_filter
from support.measure_library import BASE, elm, in_value_set, library, measure, ref, requirements, retrieve

MAIN = f"{BASE}/Library/Main|1.0.0"
SETS = {"A": "http://example.org/ValueSet/a", "B": "http://example.org/ValueSet/b"}


def query(*nodes: dict[str, Any], **more: Any) -> ExportQuery:
    text = elm("Main", {f"S{i}": node for i, node in enumerate(nodes)}, value_sets=SETS, **more)
    return export_query(requirements(measure(MAIN), library(text)), type_filters=True)


def of(*needed: DataRequirement) -> ExportQuery:
    return export_query(Requirements("M", needed, (), (), "stated"), type_filters=True)


def test_filters_are_off_unless_they_are_wished_for() -> None:
    text = elm("Main", {"X": retrieve("Encounter", "type", in_value_set("A"))}, value_sets=SETS)
    found = export_query(requirements(measure(MAIN), library(text)))
    assert found == ExportQuery(("Encounter", "Patient"))
    assert found.parameters() == [("_type", "Encounter,Patient")]


def test_filters_of_a_type_are_alternatives() -> None:
    found = query(
        retrieve("Encounter", "type", in_value_set("A")), retrieve("Encounter", "type", in_value_set("B"))
    )
    assert found.type_filters == (
        "Encounter?type:in=http://example.org/ValueSet/a",
        "Encounter?type:in=http://example.org/ValueSet/b",
    )
    assert found.parameters()[1:] == [("_typeFilter", each) for each in found.type_filters]


def test_a_type_of_which_everything_may_be_needed_is_not_filtered() -> None:
    found = query(retrieve("Encounter", "type", in_value_set("A")), retrieve("Encounter"))
    assert found == ExportQuery(("Encounter", "Patient"))


def test_an_element_that_a_search_sees_in_part_only_is_not_filtered() -> None:
    # MedicationRequest?code= does not find what refers to a Medication.
    assert query(retrieve("MedicationRequest", "medication", in_value_set("A"))).type_filters == ()
    assert query(retrieve("Observation", "value", in_value_set("A"))).type_filters == ()
    assert query(retrieve("Encounter", "no such element", in_value_set("A"))).type_filters == ()


def test_codes_are_searched_with_their_systems() -> None:
    found = query(
        retrieve(
            "Observation",
            "code",
            {"type": "List", "element": [ref("C", kind="CodeRef"), ref("D", kind="CodeRef")]},
        ),
        more={
            "codeSystems": {"def": [{"name": "S", "id": "http://loinc.org"}]},
            "codes": {
                "def": [
                    {"name": "C", "id": "1-1", "codeSystem": {"name": "S"}},
                    {"name": "D", "id": "a,b|c", "codeSystem": {"name": "S"}},
                ]
            },
        },
    )
    (text,) = found.type_filters
    assert unquote(text) == "Observation?code=http://loinc.org|1-1,http://loinc.org|a\\,b\\|c"
    assert "," not in text
    assert parse_type_filter(text)(
        {
            "resourceType": "Observation",
            "code": {"coding": [{"system": "http://loinc.org", "code": "a,b|c"}]},
        }
    )


def test_several_filters_of_one_requirement_all_hold() -> None:
    found = of(
        DataRequirement(
            "Observation",
            code_filter=(
                CodeFilter(path="code", value_set="http://example.org/a|1"),
                CodeFilter(path="status", code=(Coding("final"),)),
                CodeFilter(search_param="category", code=(Coding("laboratory"),)),
                CodeFilter(path="unknown", code=(Coding("x"),)),
            ),
        )
    )
    assert found.type_filters == (
        "Observation?code:in=http://example.org/a%7C1&status=final&category=laboratory",
    )


@pytest.mark.parametrize(
    "filters",
    [
        (CodeFilter(path="code", value_set="http://example.org/a", code=(Coding("1"),)),),
        (CodeFilter(path="code"),),
        (CodeFilter(path="code", code=(Coding("1"), Coding(system="http://loinc.org"))),),
        (CodeFilter(path="code", code=tuple(Coding(str(number) * 9) for number in range(500))),),
        (CodeFilter(value_set="http://example.org/a"),),
    ],
)
def test_what_no_condition_can_say_is_not_filtered(filters: tuple[CodeFilter, ...]) -> None:
    assert of(DataRequirement("Observation", code_filter=filters)).type_filters == ()


@pytest.mark.parametrize(
    ("type_", "path", "name"),
    [
        ("Encounter", "type", "type"),
        ("Encounter", "class", "class"),
        ("Immunization", "vaccineCode", "vaccine-code"),
        ("AllergyIntolerance", "code", "code"),
        ("MedicationRequest", "medication", None),
        ("Provenance", "target", None),
        ("Observation", "", None),
    ],
)
def test_search_parameters_are_found_by_their_elements(type_: str, path: str, name: str | None) -> None:
    assert token_parameter(type_, path) == name
