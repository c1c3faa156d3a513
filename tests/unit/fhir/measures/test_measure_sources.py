"""Where data requirements come from: what measures state, what their components need, and by which names."""

from typing import Any

import pytest

from sluice_fhir.measures.artifacts import look_up
from sluice_fhir.measures.canonicals import of_include, parse_canonical
from sluice_fhir.measures.datatypes import Library, RelatedArtifact
from sluice_fhir.measures.problems import MeasureError, MeasureProblem
from sluice_fhir.measures.requirements import EFFECTIVE, find_requirements
from support.measure_library import (
    BASE,
    MEASURE,
    artifacts,
    elm,
    library,
    measure,
    needed,
    ref,
    requirements,
    retrieve,
)

MAIN = f"{BASE}/Library/Main|1.0.0"
STATED: dict[str, Any] = {
    "resourceType": "Library",
    "id": "edr",
    "type": {"coding": [{"code": "module-definition"}]},
    "dataRequirement": [
        {
            "type": "Encounter",
            "profile": ["http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-encounter"],
            "mustSupport": ["type", "period"],
            "codeFilter": [{"path": "type", "valueSet": "http://example.org/ValueSet/a"}],
            "dateFilter": [{"path": "period", "valuePeriod": {"start": "2024", "end": "2024"}}],
        },
        {"type": "Encounter", "codeFilter": [{"path": "type", "valueSet": "http://example.org/ValueSet/a"}]},
        {"type": "Observation", "codeFilter": [{"path": "code", "code": [{"system": "s", "code": "1"}]}]},
        {"type": "Patient", "mustSupport": ["birthDate"]},
    ],
}
LOGIC = library(elm("Main", {"X": retrieve("Goal")}))


@pytest.mark.parametrize(
    ("extension", "contained", "beside"),
    [
        ({"url": EFFECTIVE[0], "valueReference": {"reference": "#edr"}}, True, False),
        ({"url": EFFECTIVE[0], "valueReference": {"reference": "Library/edr"}}, False, True),
        ({"url": EFFECTIVE[1], "valueCanonical": "#edr"}, True, False),
        ({"url": EFFECTIVE[1], "valueCanonical": f"{BASE}/Library/edr|2"}, False, True),
    ],
)
def test_what_a_measure_states_goes_before_its_logic(
    extension: dict[str, Any], contained: bool, beside: bool
) -> None:
    stating = measure(MAIN, extension=[{"url": "http://example.org/other"}, extension])
    if contained:
        stating["contained"] = [{"resourceType": "ValueSet", "id": "x"}, STATED]
    more = [STATED | {"url": f"{BASE}/Library/edr", "version": "2"}] if beside else []
    found = requirements(stating, LOGIC, *more)
    assert found.origin == "stated"
    assert needed(found) == {
        ("Encounter", "type", "http://example.org/ValueSet/a"),
        ("Observation", "code", "s|1"),
    }
    assert found.types == ("Encounter", "Observation", "Patient")


def test_what_is_stated_is_answered_as_it_was_stated() -> None:
    stating = measure(
        extension=[{"url": EFFECTIVE[0], "valueReference": {"reference": "#edr"}}], contained=[STATED]
    )
    answer = requirements(stating).library()
    assert answer["dataRequirement"][0] == STATED["dataRequirement"][0]
    assert answer["type"]["coding"][0]["code"] == "module-definition"
    assert {"type": "Patient"} in answer["dataRequirement"]
    assert answer["relatedArtifact"] == [
        {"type": "depends-on", "resource": f"{MEASURE}|1.0.0"},
        {"type": "depends-on", "resource": "http://example.org/ValueSet/a"},
    ]


def test_an_empty_statement_is_none() -> None:
    stating = measure(
        MAIN,
        extension=[{"url": EFFECTIVE[0], "valueReference": {"reference": "#edr"}}],
        contained=[{"resourceType": "Library", "id": "edr"}],
    )
    found = requirements(stating, LOGIC)
    assert (found.origin, found.types) == ("logic", ("Goal", "Patient"))


@pytest.mark.parametrize("reference", ["#gone", "Library/gone", f"{BASE}/Library/gone|1"])
def test_a_statement_that_is_not_there_is_named(reference: str) -> None:
    stating = measure(MAIN, extension=[{"url": EFFECTIVE[0], "valueReference": {"reference": reference}}])
    with pytest.raises(MeasureError) as caught:
        requirements(stating, LOGIC)
    assert caught.value.problem is MeasureProblem.LIBRARY_MISSING
    assert reference in caught.value.findings[0].about


def test_a_stated_type_that_r4_does_not_have_is_told() -> None:
    odd = STATED | {"dataRequirement": [{"type": "InventoryItem"}]}
    stating = measure(
        extension=[{"url": EFFECTIVE[0], "valueReference": {"reference": "#edr"}}], contained=[odd]
    )
    with pytest.raises(MeasureError) as caught:
        requirements(stating)
    assert caught.value.problem is MeasureProblem.UNKNOWN_TYPE


def component(name: str, type_: str) -> tuple[dict[str, Any], dict[str, Any]]:
    own = measure(f"{BASE}/Library/{name}", id=name, url=f"{BASE}/Measure/{name}")
    return own, library(elm(name, {"X": retrieve(type_)}))


def part(name: str) -> dict[str, str]:
    return {"type": "composed-of", "resource": f"{BASE}/Measure/{name}|1.0.0"}


@pytest.mark.parametrize("in_groups", [False, True])
def test_a_composite_measure_needs_what_its_components_need(in_groups: bool) -> None:
    extensions = [{"url": "x", "valueRelatedArtifact": part(name)} for name in ("A", "B")]
    composite = (
        measure(group=[{"extension": extensions}, {"extension": extensions}])
        if in_groups
        else measure(relatedArtifact=[{"type": "citation"}, part("A"), part("B")])
    )
    found = requirements(composite, *component("A", "Goal"), *component("B", "Task"))
    assert (found.origin, found.types) == ("components", ("Goal", "Patient", "Task"))
    assert f"{BASE}/Measure/A|1.0.0" in found.libraries


def test_a_missing_component_is_named() -> None:
    with pytest.raises(MeasureError) as caught:
        requirements(measure(relatedArtifact=[part("A"), part("B")]), *component("A", "Goal"))
    assert caught.value.findings[0].about == f"{BASE}/Measure/B|1.0.0"


def test_measures_that_consist_of_each_other_are_refused() -> None:
    other = measure(
        id="A", url=f"{BASE}/Measure/A", relatedArtifact=[{"type": "composed-of", "resource": MEASURE}]
    )
    with pytest.raises(MeasureError) as caught:
        requirements(measure(relatedArtifact=[part("A")]), other)
    assert caught.value.problem is MeasureProblem.CYCLIC_MEASURES


COMMON = elm("Common", {"C": retrieve("Goal")}, version="2.0.0")


def main_that_includes(path: str, **more: Any) -> dict[str, Any]:
    return library(elm("Main", {"X": ref("C", "c")}, includes={"c": (path, "2.0.0")}), **more)


@pytest.mark.parametrize(
    ("main", "common"),
    [
        pytest.param(main_that_includes(f"{BASE}/Common"), library(COMMON), id="namespace and name"),
        pytest.param(
            main_that_includes(
                "Common",
                relatedArtifact=[{"type": "depends-on", "resource": "http://x.org/Library/Common|2.0.0"}],
            ),
            library(COMMON, url="http://x.org/Library/Common"),
            id="named once more as a dependency",
        ),
        pytest.param(
            main_that_includes("http://wrong.org/Common"), library(COMMON), id="another publisher's namespace"
        ),
        pytest.param(
            main_that_includes("http://wrong.org/Common"),
            library(COMMON, url="http://elsewhere.org/Library/library-Common", id="library-Common-2.0.0"),
            id="the id of Connectathon bundles",
        ),
        pytest.param(
            main_that_includes("Common"),
            library(COMMON, url=None, id="Common-2.0.0"),
            id="no canonical URL at all",
        ),
        pytest.param(main_that_includes("Common"), library(COMMON, url=None), id="an id that is the name"),
    ],
)
def test_a_library_is_found_under_whichever_name_was_published(
    main: dict[str, Any], common: dict[str, Any]
) -> None:
    common = {key: value for key, value in common.items() if value is not None}
    assert requirements(measure(MAIN), main, common).types == ("Goal", "Patient")


def test_what_is_only_guessed_has_to_prove_its_name_and_version() -> None:
    other = library(elm("Common", {"C": retrieve("Task")}, version="1.0.0"))
    with pytest.raises(MeasureError) as caught:
        requirements(measure(MAIN), main_that_includes("http://wrong.org/Common"), other)
    assert caught.value.problem is MeasureProblem.LIBRARY_MISSING


@pytest.mark.parametrize(
    "reference", ["Library/Main", f"{BASE}/Library/Main", MAIN, "http://x.org/Library/Main"]
)
def test_a_measures_library_is_found_by_canonical_reference_or_id(reference: str) -> None:
    assert requirements(measure(reference), LOGIC).types == ("Goal", "Patient")


def test_a_contained_library_can_be_the_measures_own() -> None:
    own = measure("#Main", contained=[LOGIC])
    assert look_up(find_requirements(MEASURE), artifacts(own)).types == ("Goal", "Patient")


def test_names_of_an_include_are_tried_from_certain_to_guessed() -> None:
    includer = Library(
        "Library",
        url="http://a.org/Library/Main",
        related_artifact=(RelatedArtifact("depends-on", "http://b.org/Library/Common|2"),),
    )
    tried = [(each.canonical, each.guess) for each in of_include("http://c.org/Common", "2", includer)]
    assert tried == [
        ("http://c.org/Library/Common|2", False),
        ("http://b.org/Library/Common|2", False),
        ("http://a.org/Library/Common|2", True),
        ("Library/library-Common-2", True),
        ("Library/Common-2", True),
        ("Library/Common", True),
    ]


@pytest.mark.parametrize(
    ("text", "url", "version"),
    [
        ("http://a/b|1", "http://a/b", "1"),
        ("http://a/b", "http://a/b", None),
        ("http://a/b|1#c", "http://a/b", "1"),
    ],
)
def test_canonicals_are_read(text: str, url: str, version: str | None) -> None:
    read = parse_canonical(text)
    assert (read.url, read.version) == (url, version)
