"""Measures that cannot be used, each with a finding that names what is wrong."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.measures.artifacts import BundledArtifacts, look_up
from sluice_fhir.measures.datatypes import Attachment, Library
from sluice_fhir.measures.elm import elm_of, parse_elm
from sluice_fhir.measures.problems import PROBLEM_TEXTS, Finding, MeasureError, MeasureProblem, shown
from sluice_fhir.measures.requirements import find_measure, find_missing_value_sets, require_value_sets
from support.measure_library import (
    BASE,
    MEASURE,
    artifacts,
    elm,
    in_value_set,
    library,
    measure,
    ref,
    requirements,
    retrieve,
    value_set,
)

MAIN = f"{BASE}/Library/Main|1.0.0"


def failure(*resources: dict[str, Any], measure_url: str = MEASURE) -> Finding:
    with pytest.raises(MeasureError) as caught:
        requirements(*resources, measure_url=measure_url)
    return caught.value.findings[0]


def test_every_problem_can_be_told() -> None:
    assert set(PROBLEM_TEXTS) == set(MeasureProblem)
    assert all(400 <= text.status < 600 and text.message.endswith(".") for text in PROBLEM_TEXTS.values())


def test_a_measure_that_is_not_there_is_named() -> None:
    found = failure(measure_url="http://example.org/Measure/other|2")
    assert (found.problem, found.status, found.issue) == (MeasureProblem.MEASURE_MISSING, 404, "not-found")
    assert "http://example.org/Measure/other|2" in found.text


def test_a_measure_of_another_version_is_not_there() -> None:
    kept = measure(MAIN)
    assert failure(kept, measure_url=f"{MEASURE}|9").problem is MeasureProblem.MEASURE_MISSING
    assert look_up(find_measure(f"{MEASURE}|1.0.0"), artifacts(kept)).id == "M"


def test_a_measure_without_a_library_cannot_be_used() -> None:
    found = failure(measure())
    assert (found.problem, found.status) == (MeasureProblem.NO_LIBRARY, 422)


def test_a_missing_main_library_is_named() -> None:
    found = failure(measure(MAIN))
    assert (found.problem, found.about, found.status) == (MeasureProblem.LIBRARY_MISSING, MAIN, 404)


def test_a_missing_included_library_is_named_with_its_version() -> None:
    text = elm("Main", {}, includes={"gone": (f"{BASE}/Gone", "3.1.0")})
    found = failure(measure(MAIN), library(text))
    assert (found.problem, found.about) == (MeasureProblem.LIBRARY_MISSING, f"{BASE}/Gone|3.1.0")


def test_an_included_library_of_another_version_is_missing() -> None:
    text = elm("Main", {}, includes={"c": (f"{BASE}/Common", "2.0.0")})
    found = failure(measure(MAIN), library(text), library(elm("Common", {})))
    assert found.problem is MeasureProblem.LIBRARY_MISSING


def test_the_conversions_alone_may_be_missing() -> None:
    text = elm(
        "Main",
        {
            "X": {
                "type": "FunctionRef",
                "name": "ToString",
                "libraryName": "FHIRHelpers",
                "operand": [retrieve("Goal")],
            }
        },
        includes={"FHIRHelpers": ("http://hl7.org/fhir/FHIRHelpers", "4.0.1")},
    )
    assert requirements(measure(MAIN), library(text)).types == ("Goal", "Patient")


def test_a_library_without_elm_is_named() -> None:
    found = failure(measure(MAIN), library(None, "Main"))
    assert (found.problem, found.about, found.status) == (MeasureProblem.NO_ELM, MAIN, 422)


def test_elm_in_xml_only_is_no_elm_in_json() -> None:
    resource = library(None, "Main")
    resource["content"].append({"contentType": "application/elm+xml", "data": "PGEvPg=="})
    assert failure(measure(MAIN), resource).problem is MeasureProblem.NO_ELM


def test_content_that_is_elsewhere_is_no_elm() -> None:
    resource = library(None, "Main")
    resource["content"].append({"contentType": "application/elm+json", "url": "http://example.org/elm"})
    assert failure(measure(MAIN), resource).problem is MeasureProblem.NO_ELM


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("!!!!", MeasureProblem.BAD_BASE64),
        ("eyJ", MeasureProblem.BAD_BASE64),
        ("naïve", MeasureProblem.BAD_BASE64),
        (b"{", MeasureProblem.BAD_ELM_JSON),
        (b"\xff\xfe", MeasureProblem.BAD_ELM_JSON),
        (b"", MeasureProblem.NO_ELM),
        (b"[]", MeasureProblem.BAD_ELM),
        (b"{}", MeasureProblem.BAD_ELM),
        (b'{"library":{}}', MeasureProblem.BAD_ELM),
        (b'{"library":{"identifier":{"id":"A"},"statements":{"def":{}}}}', MeasureProblem.BAD_ELM),
        (b'{"library":{"identifier":{"id":"A"},"includes":{"def":[{"path":"x"}]}}}', MeasureProblem.BAD_ELM),
        (b"[" * 5000 + b"]" * 5000, MeasureProblem.TOO_DEEP),
        (b'{"a":' * 500 + b"1" + b"}" * 500, MeasureProblem.TOO_DEEP),
    ],
)
def test_malformed_elm_is_told_apart(data: str | bytes, problem: MeasureProblem) -> None:
    resource = library(None, "Main")
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    resource["content"].append({"contentType": "application/elm+json", "data": text})
    found = failure(measure(MAIN), resource)
    assert (found.problem, found.about) == (problem, MAIN)


def test_white_space_in_base64_and_a_byte_order_mark_do_no_harm() -> None:
    text = b"\xef\xbb\xbf" + json.dumps(elm("Main", {"X": retrieve("Goal")})).encode()
    resource = library(text, "Main")
    data = resource["content"][1]["data"]
    resource["content"][1] = {
        "contentType": "Application/ELM+JSON; charset=utf-8",
        "data": f"{data[:9]}\n {data[9:]}",
    }
    assert requirements(measure(MAIN), resource).types == ("Goal", "Patient")


def test_deep_logic_that_people_write_is_no_trouble() -> None:
    node: dict[str, Any] = retrieve("Goal")
    for _ in range(150):
        node = {"type": "Union", "operand": [node, {"type": "Null"}]}
    assert requirements(measure(MAIN), library(elm("Main", {"X": node}))).types == ("Goal", "Patient")


@pytest.mark.parametrize("length", [1, 2, 5])
def test_libraries_that_include_each_other_are_named(length: int) -> None:
    circle = [
        library(elm(f"L{i}", {}, includes={"next": (f"{BASE}/L{(i + 1) % length}", "1.0.0")}))
        for i in range(length)
    ]
    found = failure(measure(f"{BASE}/Library/L0"), *circle)
    assert found.problem is MeasureProblem.CYCLIC_INCLUDES
    assert found.about == " > ".join([*(f"L{i}" for i in range(length)), "L0"])


def test_a_library_that_two_others_include_is_no_circle() -> None:
    both = {"a": (f"{BASE}/A", "1.0.0"), "b": (f"{BASE}/B", "1.0.0")}
    common = {"c": (f"{BASE}/C", "1.0.0")}
    found = requirements(
        measure(MAIN),
        library(elm("Main", {"X": ref("X", "a"), "Y": ref("X", "b")}, includes=both)),
        library(elm("A", {"X": ref("X", "c")}, includes=common)),
        library(elm("B", {"X": ref("X", "c")}, includes=common)),
        library(elm("C", {"X": retrieve("Goal")})),
    )
    assert found.types == ("Goal", "Patient")
    assert len(found.libraries) == 4


def test_includes_that_go_too_deep_are_refused() -> None:
    chain = [library(elm(f"L{i}", {}, includes={"n": (f"{BASE}/L{i + 1}", "1.0.0")})) for i in range(40)]
    assert failure(measure(f"{BASE}/Library/L0"), *chain).problem is MeasureProblem.TOO_DEEP


def test_too_many_libraries_are_refused() -> None:
    many = {f"n{i}": (f"{BASE}/L{i}", "1.0.0") for i in range(250)}
    leaves = [library(elm(f"L{i}", {})) for i in range(250)]
    found = failure(measure(MAIN), library(elm("Main", {}, includes=many)), *leaves)
    assert found.problem is MeasureProblem.TOO_MANY_ARTIFACTS


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (ref("Nobody"), "Nobody"),
        (ref("Nobody", kind="FunctionRef"), "Nobody"),
        (ref("X", "nowhere"), "nowhere.X"),
        (retrieve("Goal", "x", in_value_set("Unknown")), "Unknown"),
        (retrieve("Goal", "x", ref("Unknown", kind="CodeRef")), "Unknown"),
        (retrieve("Goal", "x", ref("Unknown", kind="ConceptRef")), "Unknown"),
        (retrieve("Goal", "x", ref("Unknown")), "Unknown"),
        (retrieve("Goal", "x", {"type": "Code", "code": "1", "system": {"name": "Unknown"}}), "Unknown"),
    ],
)
def test_what_is_referred_to_and_not_defined_is_named(node: dict[str, Any], name: str) -> None:
    found = failure(measure(MAIN), library(elm("Main", {"X": node})))
    assert (found.problem, found.about) == (MeasureProblem.ELM_REFERENCE, f"{MAIN}: {name}")


@pytest.mark.parametrize("node", [{"type": "ExpressionRef"}, {"type": "FunctionRef", "name": 3}])
def test_references_without_a_name_are_malformed(node: dict[str, Any]) -> None:
    assert failure(measure(MAIN), library(elm("Main", {"X": node}))).problem is MeasureProblem.BAD_ELM


@pytest.mark.parametrize(
    "data_type",
    ["{urn:healthit-gov:qdm:v5_6}PositiveEncounterPerformed", "{http://hl7.org/fhir}Nonsense", None, 1],
)
def test_data_of_other_models_cannot_be_exported(data_type: Any) -> None:
    found = failure(measure(MAIN), library(elm("Main", {"X": {"type": "Retrieve", "dataType": data_type}})))
    assert (found.problem, found.status) == (MeasureProblem.UNKNOWN_TYPE, 422)


def test_a_measure_of_another_fhir_version_is_told() -> None:
    # STU3 has references where R4 has canonicals.
    found = failure(measure() | {"library": [{"reference": "Library/Main"}]})
    assert found.problem is MeasureProblem.BAD_ARTIFACT


def test_a_resource_of_another_type_is_told() -> None:
    with pytest.raises(MeasureError) as caught:
        look_up(find_measure("Library/Main"), artifacts(library(elm("Main", {}))))
    assert caught.value.problem is MeasureProblem.WRONG_ARTIFACT


def test_missing_value_sets_are_all_named() -> None:
    sets = {"A": "http://example.org/ValueSet/a", "B": "http://example.org/ValueSet/b"}
    nodes = {name: retrieve("Goal", "x", in_value_set(name)) for name in sets}
    resources = (measure(MAIN), library(elm("Main", nodes, value_sets=sets)))
    found = requirements(*resources)
    assert look_up(find_missing_value_sets(found), artifacts(*resources)) == tuple(sets.values())
    with pytest.raises(MeasureError) as caught:
        look_up(require_value_sets(found), artifacts(*resources))
    assert [each.about for each in caught.value.findings] == list(sets.values())
    assert caught.value.status == 404
    whole = artifacts(*resources, *map(value_set, sets.values()))
    assert look_up(find_missing_value_sets(found), whole) == ()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", MeasureProblem.NOT_JSON),
        (b"", MeasureProblem.NOT_JSON),
        (b"[]", MeasureProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"Patient"}', MeasureProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"Bundle","entry":{}}', MeasureProblem.NOT_A_BUNDLE),
    ],
)
def test_what_is_no_bundle_is_told(body: bytes, problem: MeasureProblem) -> None:
    with pytest.raises(MeasureError) as caught:
        BundledArtifacts.of(body)
    assert caught.value.problem is problem


def test_of_several_versions_the_newest_is_meant_unless_one_is_named() -> None:
    versions = [measure(MAIN, version=each, id=each) for each in ("1.9.0", "1.10.0", "1.2.0")]
    kept = artifacts(*versions)
    assert look_up(find_measure(MEASURE), kept).version == "1.10.0"
    assert look_up(find_measure(f"{MEASURE}|1.2.0"), kept).version == "1.2.0"
    assert kept.measures == tuple(f"{MEASURE}|{each['version']}" for each in versions)


def test_names_are_told_without_what_could_hold_more_than_a_name() -> None:
    assert shown("http://example.org/x?patient=1\n") == "http://example.org/x"
    assert shown("a\x00b\u202ec") == "abc"
    assert len(shown("x" * 5000)) == 201


@pytest.mark.fuzz
@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_elm_does_more_than_be_refused(text: bytes) -> None:
    with pytest.raises(MeasureError) as caught:
        parse_elm(text, "L")
    assert caught.value.findings[0].about == "L"


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_no_base64_does_more_than_be_refused(data: str) -> None:
    resource = Library("Library", "L", content=(Attachment("application/elm+json", data),))
    with pytest.raises(MeasureError):
        elm_of(resource)
