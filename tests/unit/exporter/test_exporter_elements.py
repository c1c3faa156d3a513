"""`_elements` leaves out what is neither asked for nor mandatory, and touches nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_exporter.elements import subset_of
from sluice_exporter.mandatory import MANDATORY

META = {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.000Z"}
TAG = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


def subset(resource: dict[str, Any], *elements: str) -> dict[str, Any]:
    made = subset_of(resource["resourceType"], elements)
    assert made is not None
    line = made(msgspec.json.encode(resource))
    assert b"\n" not in line
    return msgspec.json.decode(line, type=dict[str, Any])


def of(type_: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": type_, "id": "x", "meta": META, **more}


def test_mandatory_elements_and_what_changes_the_meaning_stay() -> None:
    resource = of(
        "Observation",
        status="final",
        _status={"id": "s"},
        code={"text": "c"},
        modifierExtension=[{"url": "u"}],
        implicitRules="r",
        subject={"reference": "Patient/p"},
        note=[{"text": "n"}],
        extension=[{"url": "e"}],
    )
    left = subset(resource, "subject")
    assert left == {
        **{name: value for name, value in resource.items() if name not in ("note", "extension")},
        "meta": {**META, "tag": [TAG]},
    }


@pytest.mark.parametrize(
    ("element", "name", "stays"),
    [
        ("value", "valueQuantity", True),
        ("value", "valueString", True),
        ("value", "_valueString", True),
        ("value", "valueSet", False),
        ("effective", "effectiveDateTime", True),
        ("birthDate", "_birthDate", True),
        ("name", "named", False),
        ("name", "Name", False),
    ],
)
def test_a_choice_is_asked_for_by_the_name_it_begins_with(element: str, name: str, stays: bool) -> None:
    assert (name in subset(of("Observation", **{name: {}}), element)) == stays


def test_a_mandatory_choice_stays_in_whatever_form_it_has() -> None:
    left = subset(of("MedicationRequest", medicationReference={"reference": "Medication/m"}), "note")
    assert "medicationReference" in left


def test_elements_of_other_types_leave_this_type_whole() -> None:
    assert subset_of("Patient", ("Observation.status",)) is None
    assert subset_of("Patient", ()) is None
    assert subset_of("Patient", ("Observation.status", "name")) is not None


def test_tags_that_are_there_stay_and_the_tag_is_not_repeated() -> None:
    other = {"system": "s", "code": "c", "display": "d"}
    for tags in ([other], [other, TAG]):
        left = subset({**of("Patient"), "meta": {**META, "tag": tags, "profile": ["p"]}}, "name")
        assert left["meta"] == {**META, "tag": [other, TAG], "profile": ["p"]}


def test_what_has_no_meta_gets_one() -> None:
    assert subset({"resourceType": "Patient", "id": "x"}, "name")["meta"] == {"tag": [TAG]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "gender", "photo", "link", "_gender"]), json_values))
def test_what_stays_is_byte_for_byte_what_it_was(more: dict[str, Any]) -> None:
    left = subset(of("Patient", **more), "name", "Patient.gender")
    expected = {name: value for name, value in more.items() if name in ("name", "gender", "_gender")}
    assert {
        name: value for name, value in left.items() if name not in ("resourceType", "id", "meta")
    } == expected


def test_the_table_knows_what_r4_requires() -> None:
    assert set(MANDATORY["Observation"]) == {"status", "code"}
    assert set(MANDATORY["Condition"]) == {"subject"}
    assert set(MANDATORY["Group"]) == {"type", "actual"}
    assert set(MANDATORY["Encounter"]) == {"status", "class"}
    assert "Patient" not in MANDATORY
