"""Patient compartments: the table, and the view that reads only what it names."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.compartments import REFERENCES, patient_id, patients_of
from sluice_fhir.compartments_view import DECODER, TYPE_OF, VIEWS, patients_in
from sluice_fhir.fhirpath_model import RESOURCE_TYPES, child, knows, type_of

SYNTHEA = Path(__file__).parents[3] / "schemas" / "examples" / "synthea"


def test_every_element_of_the_table_is_a_reference_in_r4() -> None:
    for type_, paths in REFERENCES.items():
        assert type_ in RESOURCE_TYPES
        for path in paths:
            place = type_
            for name in path.split("."):
                full = child(place, name)
                assert knows(full), f"{type_}.{path}"
                place = type_of(full)
            assert place == "Reference"


@pytest.mark.parametrize(
    ("reference", "base", "patient"),
    [
        ("Patient/a", None, "a"),
        ("Patient/a/_history/3", None, "a"),
        ("https://h/fhir/Patient/a", "https://h/fhir", "a"),
        ("https://h/fhir/Patient/a", None, None),
        ("https://h/fhir/Patient/a", "https://other/fhir", None),
        ("https://h/fhir/x/Patient/a", "https://h/fhir", None),
        ("Patient/", None, None),
        ("Patient/a/b", None, None),
        ("Patient/a b", None, None),
        ("Patient?identifier=x", None, None),
        ("Group/a", None, None),
        ("#Patient/a", None, None),
        ("urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7", None, None),
        ("xPatient/a", None, None),
        ("Patient/" + "x" * 65, None, None),
    ],
)
def test_only_literal_references_to_our_patients_count(
    reference: str, base: str | None, patient: str | None
) -> None:
    assert patient_id(reference, base) == patient


def nested(path: list[str], leaf: Any, lists: bool) -> Any:
    if not path:
        return leaf
    inner = nested(path[1:], leaf, lists)
    return {path[0]: [inner, {}] if lists else inner}


@pytest.mark.parametrize("type_", sorted(RESOURCE_TYPES))
@pytest.mark.parametrize("lists", [False, True])
def test_each_element_places_its_resource_whether_it_repeats_or_not(type_: str, lists: bool) -> None:
    for path in REFERENCES.get(type_, ()):
        leaf = {"reference": "Patient/p", "display": "x"}
        resource = {"resourceType": type_, "id": "i", **nested(path.split("."), leaf, lists)}
        assert "p" in patients_of(resource)
        view = DECODER.decode(msgspec.json.encode(resource))
        assert TYPE_OF[type(view)] == type_
        assert patients_in(view) == ("p",)


ODD = st.recursive(
    st.sampled_from(
        [None, True, 1, "x", {"reference": "Patient/a"}, {"reference": "Patient/b"}, {"reference": 3}]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["actor", "member", "who", "reference", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted(REFERENCES)).flatmap(
        lambda type_: st.fixed_dictionaries(
            {"resourceType": st.just(type_)},
            optional={path.split(".")[0]: ODD for path in REFERENCES[type_]},
        )
    )
)
def test_the_view_gives_what_the_whole_resource_gives_or_refuses(resource: dict[str, Any]) -> None:
    whole = patients_of(resource)
    try:
        view = DECODER.decode(msgspec.json.encode(resource))
    except msgspec.ValidationError:
        return
    assert patients_in(view) == whole


def test_real_resources_are_in_one_compartment_each() -> None:
    for path in SYNTHEA.glob("*.ndjson.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            resource = json.loads(line)
            expected = 0 if path.name.startswith(("Organization", "Practitioner")) else 1
            assert len(patients_of(resource)) == expected


def test_the_views_are_of_every_r4_type() -> None:
    assert set(VIEWS) == RESOURCE_TYPES


def test_the_table_is_that_of_hl7s_compartment_definition() -> None:
    definition = os.environ.get("SLUICE_TEST_PATIENT_COMPARTMENT")
    parameters = os.environ.get("SLUICE_TEST_R4_RESOURCES_JAR")
    if definition is None or parameters is None:
        pytest.skip("SLUICE_TEST_PATIENT_COMPARTMENT and SLUICE_TEST_R4_RESOURCES_JAR name no files")
    with zipfile.ZipFile(parameters) as jar:
        bundle = json.loads(jar.read("org/hl7/fhir/r4/model/sp/search-parameters.json"))
    expressions = {
        (base, entry["resource"]["code"]): entry["resource"].get("expression", "")
        for entry in bundle["entry"]
        for base in entry["resource"]["base"]
    }
    table: dict[str, set[str]] = {}
    for resource in json.loads(Path(definition).read_text())["resource"]:
        for parameter in resource.get("param", ()):
            for option in expressions[resource["code"], parameter].split("|"):
                type_, _, path = option.strip().removesuffix(".where(resolve() is Patient)").partition(".")
                if type_ == resource["code"]:
                    table.setdefault(type_, set()).add(path)
    assert {type_: set(paths) for type_, paths in REFERENCES.items()} == table
