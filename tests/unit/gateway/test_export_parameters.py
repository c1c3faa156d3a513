"""Kick-off parameters of Bulk Data Access 2.0.0 and 3.0.0: what they mean, and each way to get them wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from yarl import URL

from sluice_contracts.exports import Associated, ExportLevel, ExportRequest, TypeFilter
from sluice_gateway.fhir.kickoff import KickOff
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.starting import spelling
from sluice_gateway.fhir.v3.declared import FORMS
from sluice_gateway.fhir.v3.kickoff import read
from sluice_gateway.fhir.v3.manifest import instant
from sluice_gateway.openapi import api
from sluice_openapi.document import document

ADDRESS = "https://sluice.test/fhir/$export"


def by_get(
    query: str = "", level: ExportLevel = ExportLevel.SYSTEM, *, lenient: bool = False
) -> ExportRequest:
    group = "g" if level is ExportLevel.GROUP else None
    return read(KickOff(level, group, ADDRESS, URL(f"{ADDRESS}?{query}").query, lenient=lenient))


def by_post(
    *parameters: dict[str, Any], level: ExportLevel = ExportLevel.PATIENT, lenient: bool = False
) -> ExportRequest:
    body = json.dumps({"resourceType": "Parameters", "parameter": parameters}).encode()
    group = "g" if level is ExportLevel.GROUP else None
    return read(KickOff(level, group, ADDRESS, MultiDict(), body, lenient))


def refused_query(query: str, **more: Any) -> list[str]:
    with pytest.raises(Refusal) as raised:
        by_get(query, **more)
    assert raised.value.status == 400
    return [issue.text for issue in raised.value.issues]


def refused_body(*parameters: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(Refusal) as raised:
        by_post(*parameters, **more)
    assert raised.value.status == 400
    return [issue.text for issue in raised.value.issues]


@contextmanager
def perhaps_refused() -> Iterator[None]:
    refusal = None
    try:
        yield
    except Refusal as raised:
        refusal = raised
    assert refusal is None or refusal.status == 400


def patient(reference: object) -> dict[str, Any]:
    return {"name": "patient", "valueReference": {"reference": reference}}


def test_without_parameters_everything_is_asked_for() -> None:
    assert by_get() == ExportRequest(level=ExportLevel.SYSTEM, url=ADDRESS)


def test_both_forms_of_a_kick_off_mean_the_same() -> None:
    query = (
        "_outputFormat=ndjson&_type=Patient,Observation&_since=2026-01-01T00:00:00Z"
        "&_until=2026-02-01T00:00:00Z&_typeFilter=Observation%3Fstatus%3Dfinal&_elements=id,Patient.name"
        "&includeAssociatedData=LatestProvenanceResources&organizeOutputBy=Patient"
        "&allowPartialManifests=true"
    )
    posted = by_post(
        {"name": "_outputFormat", "valueString": "ndjson"},
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Observation"},
        {"name": "_since", "valueInstant": "2026-01-01T00:00:00Z"},
        {"name": "_until", "valueInstant": "2026-02-01T00:00:00Z"},
        {"name": "_typeFilter", "valueString": "Observation?status=final"},
        {"name": "_elements", "valueString": "id,Patient.name"},
        {"name": "includeAssociatedData", "valueCode": "LatestProvenanceResources"},
        {"name": "organizeOutputBy", "valueString": "Patient"},
        {"name": "allowPartialManifests", "valueBoolean": True},
        level=ExportLevel.SYSTEM,
    )
    assert by_get(query) == posted
    assert posted == ExportRequest(
        level=ExportLevel.SYSTEM,
        url=ADDRESS,
        types=("Observation", "Patient"),
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 2, 1, tzinfo=UTC),
        type_filters=(TypeFilter(type="Observation", query="status=final"),),
        elements=("Patient.name", "id"),
        include_associated=Associated.LATEST_PROVENANCE,
        organize_by="Patient",
        allow_partial=True,
    )


@pytest.mark.parametrize(
    "name", ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson"]
)
@pytest.mark.parametrize("level", list(ExportLevel))
def test_every_spelling_of_the_format_is_taken(name: str, level: ExportLevel) -> None:
    assert by_get(f"_outputFormat={name}", level) == by_get(level=level)


@pytest.mark.parametrize("value", ["", "json", "application/fhir+json", "text/csv", "ndjson,ndjson"])
@pytest.mark.parametrize("lenient", [False, True])
def test_another_format_is_refused_also_leniently(value: str, lenient: bool) -> None:
    assert "_outputFormat must be" in refused_query(f"_outputFormat={value}", lenient=lenient)[0]


@pytest.mark.parametrize(
    "query", ["_type=Patient,Observation", "_type=Observation&_type=Patient&_type=Patient"]
)
def test_repeating_types_and_listing_them_is_the_same(query: str) -> None:
    assert by_get(query).types == ("Observation", "Patient")


@pytest.mark.parametrize("query", ["_type=", "_type=Patient,", "_type=,", "_type=Patient,,Observation"])
def test_an_empty_type_is_refused(query: str) -> None:
    assert "_type must not have an empty member." in refused_query(query)


def test_every_unknown_type_is_listed() -> None:
    assert refused_query("_type=Patient,Patiens,observation") == [
        "_type: Patiens is no resource type",
        "_type: observation is no resource type",
    ]


def test_leniently_unknown_types_are_left_out_and_reported_unless_none_is_left() -> None:
    request = by_get("_type=Patient,Patiens", lenient=True)
    assert request.types == ("Patient",)
    assert [each.name for each in request.ignored] == ["_type"]
    assert refused_query("_type=Patiens", lenient=True) == ["_type names no resource type that there is."]


def test_types_that_are_about_no_patient_are_refused_where_patients_are_asked_for() -> None:
    assert by_get("_type=Organization").types == ("Organization",)
    assert by_get("_type=Organization,Patient", level=ExportLevel.PATIENT).types is not None
    for level in (ExportLevel.PATIENT, ExportLevel.GROUP):
        assert len(refused_query("_type=Organization,Location", level=level)) == 1


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T12:00:00%2B01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T12:00:00+01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T12:00:00-05:30", datetime(2026, 1, 31, 17, 30, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_with_its_zone(text: str, at: datetime) -> None:
    assert by_get(f"_since={text}").since == at


@pytest.mark.parametrize("name", ["_since", "_until"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T12:00:00%2B99:00",
        "0001-01-01T00:00:00%2B10:00",
        "9999-12-31T23:59:59-10:00",
        "1769860800",
        "gt2026-01-31T12:00:00Z",
    ],
)
def test_what_is_no_instant_is_refused_also_leniently(name: str, text: str) -> None:
    assert refused_query(f"{name}={text}", lenient=True) == [
        f"{name} must be a FHIR instant, as 2026-01-31T12:00:00Z."
    ]


@given(st.integers(min_value=-2_000_000_000_000, max_value=200_000_000_000_000))
def test_a_written_instant_is_read_as_it_was(milliseconds: int) -> None:
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert by_get(f"_since={instant(whole)}").since == whole


@pytest.mark.fuzz
@given(st.text(max_size=40))
def test_whatever_a_value_is_it_is_read_or_refused(text: str) -> None:
    for name in FORMS:
        query = MultiDict({name: text})
        for lenient in (False, True):
            with perhaps_refused():
                read(KickOff(ExportLevel.SYSTEM, None, ADDRESS, query, None, lenient))


@pytest.mark.fuzz
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_body_is_it_is_read_or_refused(body: bytes) -> None:
    with perhaps_refused():
        read(KickOff(ExportLevel.PATIENT, None, ADDRESS, MultiDict(), body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["reference", "x"]), inner),
    max_leaves=5,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from([*FORMS, "x"]) | JSON},
            optional=dict.fromkeys(["valueString", "valueInstant", "valueBoolean", "valueReference"], JSON),
        ),
        max_size=3,
    )
)
def test_whatever_parameters_hold_they_are_read_or_refused(parameters: list[dict[str, Any]]) -> None:
    with perhaps_refused():
        by_post(*parameters)


def test_a_span_of_time_without_an_instant_in_it_is_refused() -> None:
    query = "_since=2026-01-31T12:00:00Z&_until=2026-01-31T12:00:00Z"
    assert refused_query(query) == ["_until must be later than _since."]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("_since=2026-01-01T00:00:00Z&_since=2026-01-02T00:00:00Z", "_since"),
        ("_until=2026-01-01T00:00:00Z&_until=2026-01-02T00:00:00Z", "_until"),
        ("_outputFormat=ndjson&_outputFormat=application/ndjson", "_outputFormat"),
        ("organizeOutputBy=Patient&organizeOutputBy=Group", "organizeOutputBy"),
        ("allowPartialManifests=true&allowPartialManifests=false", "allowPartialManifests"),
    ],
)
def test_what_there_is_one_of_is_given_once(query: str, name: str) -> None:
    assert f"{name} must be given once." in refused_query(query, lenient=True)


def test_the_same_value_twice_is_one_and_address_and_body_are_one_request() -> None:
    instant = "2026-01-01T00:00:00Z"
    twice = by_get(f"_since={instant}&_since={instant}&allowPartialManifests=true&allowPartialManifests=true")
    assert (twice.since, twice.allow_partial) == (datetime(2026, 1, 1, tzinfo=UTC), True)

    def both(since: str) -> ExportRequest:
        posted = [{"name": "_since", "valueInstant": since}, {"name": "_type", "valueString": "Patient"}]
        body = json.dumps({"resourceType": "Parameters", "parameter": posted}).encode()
        query = MultiDict({"_since": instant, "_type": "Observation"})
        return read(KickOff(ExportLevel.SYSTEM, None, ADDRESS, query, body))

    assert both(instant).types == ("Observation", "Patient")
    with pytest.raises(Refusal) as raised:
        both("2026-01-02T00:00:00Z")
    assert [issue.text for issue in raised.value.issues] == ["_since must be given once."]


def test_an_unknown_parameter_is_refused_or_leniently_reported() -> None:
    assert refused_query("_tpye=Patient&x=1") == [
        "_tpye: there is no such parameter",
        "x: there is no such parameter",
    ]
    assert refused_body({"name": "_tpye", "valueString": "Patient"}) == ["_tpye: there is no such parameter"]
    assert [each.name for each in by_get("_tpye=Patient&x=1", lenient=True).ignored] == ["_tpye", "x"]


def test_a_misspelt_associated_data_is_no_other_parameter() -> None:
    assert refused_query("_includeAssociatedData=LatestProvenanceResources")


def test_of_conflicting_values_the_least_restrictive_counts() -> None:
    query = "includeAssociatedData=LatestProvenanceResources,RelevantProvenanceResources"
    assert by_get(query).include_associated is Associated.RELEVANT_PROVENANCE


@pytest.mark.parametrize(
    "query",
    [
        "includeAssociatedData=LatestProvenanceResources&includeAssociatedData=RelevantProvenanceResources",
        "includeAssociatedData=RelevantProvenanceResources&includeAssociatedData=LatestProvenanceResources",
    ],
)
def test_associated_data_repeated_are_as_a_list_of_them(query: str) -> None:
    assert by_get(query).include_associated is Associated.RELEVANT_PROVENANCE
    once = "includeAssociatedData=LatestProvenanceResources"
    assert by_get(f"{once}&{once}").include_associated is Associated.LATEST_PROVENANCE


@pytest.mark.parametrize("value", ["", ",", "LatestProvenanceResources,"])
@pytest.mark.parametrize("lenient", [False, True])
def test_empty_associated_data_are_refused_also_leniently(value: str, lenient: bool) -> None:
    told = refused_query(f"includeAssociatedData={value}", lenient=lenient)
    assert set(told) == {"includeAssociatedData must not have an empty member."}


@pytest.mark.parametrize("value", ["_myCustomPreset", "_all", "latestprovenanceresources"])
def test_custom_associated_data_are_refused_or_leniently_reported(value: str) -> None:
    assert refused_query(f"includeAssociatedData={value}") == [
        f"includeAssociatedData: {value} is not supported"
    ]
    assert by_get(f"includeAssociatedData={value}", lenient=True).include_associated is None


@pytest.mark.parametrize("value", ["Group", "patient", ""])
def test_output_is_organized_by_patient_or_not_at_all(value: str) -> None:
    assert len(refused_query(f"organizeOutputBy={value}")) == 1
    request = by_get(f"organizeOutputBy={value}", lenient=True)
    assert (request.organize_by, len(request.ignored)) == (None, 1)


def test_output_of_types_that_are_about_no_patient_cannot_be_organized_by_patient() -> None:
    query = "_type=Organization,Location&organizeOutputBy=Patient"
    assert refused_query(query) == [
        "organizeOutputBy: none of the types asked for by _type can be about a patient"
    ]
    request = by_get(query, lenient=True)
    assert (request.types, request.organize_by) == (("Location", "Organization"), None)
    assert [each.name for each in request.ignored] == ["organizeOutputBy"]
    assert by_get("_type=Organization,Patient&organizeOutputBy=Patient").organize_by == "Patient"


@pytest.mark.parametrize("level", list(ExportLevel))
def test_output_is_organized_by_patient_also_with_associated_data(level: ExportLevel) -> None:
    query = "_type=Observation&includeAssociatedData=LatestProvenanceResources&organizeOutputBy=Patient"
    request = by_get(query, level)
    assert (request.organize_by, request.include_associated) == ("Patient", Associated.LATEST_PROVENANCE)


@pytest.mark.parametrize("value", ["1", "TRUE", "yes", ""])
def test_a_boolean_is_true_or_false(value: str) -> None:
    assert refused_query(f"allowPartialManifests={value}", lenient=True)


@pytest.mark.parametrize(
    "value", ["name.family", "Patient.name.family", "patient.name", "*", "-x", "Patient."]
)
def test_only_root_elements_are_taken(value: str) -> None:
    expected = ["_elements must be root elements, as element or Type.element."]
    assert refused_query(f"_elements={value}", lenient=True) == expected


def test_elements_of_an_unknown_type_are_refused_or_leniently_reported() -> None:
    assert refused_query("_elements=Patiens.name") == ["_elements: Patiens is no resource type"]
    request = by_get("_elements=id,Patiens.name", lenient=True)
    assert (request.elements, len(request.ignored)) == (("id",), 1)


def test_elements_repeated_are_as_a_list_of_them() -> None:
    assert by_get("_elements=name,id&_elements=Patient.birthDate&_elements=id") == by_get(
        "_elements=Patient.birthDate,id,name"
    )
    posted = by_post(
        {"name": "_elements", "valueString": "name,id"}, {"name": "_elements", "valueString": "id"}
    )
    assert posted.elements == ("id", "name")


def test_elements_of_a_type_that_is_not_asked_for_contradict_it() -> None:
    query = "_type=Patient&_elements=id,Observation.status"
    assert refused_query(query) == ["_elements: Observation is not among the types asked for by _type"]
    request = by_get(query, lenient=True)
    assert (request.elements, [each.name for each in request.ignored]) == (("id",), ["_elements"])


def test_what_is_asked_of_associated_data_contradicts_no_type() -> None:
    query = (
        "_type=Patient&includeAssociatedData=LatestProvenanceResources&_elements=Provenance.recorded"
        "&_typeFilter=Provenance%3F_id%3Da"
    )
    request = by_get(query)
    assert request.types == ("Patient",)
    assert request.elements == ("Provenance.recorded",)
    assert request.type_filters == (TypeFilter(type="Provenance", query="_id=a"),)


def test_patients_are_references_in_a_body() -> None:
    request = by_post(patient("Patient/b"), patient("a"), patient("Patient/b"), level=ExportLevel.GROUP)
    assert request.patients == ("a", "b")


@pytest.mark.parametrize(
    "reference", ["", "Patient/", "Group/a", "https://x.test/Patient/a", "a b", None, 1, {}]
)
def test_what_is_no_reference_to_a_patient_is_refused(reference: object) -> None:
    assert len(refused_body(patient(reference), lenient=True)) == 1


@pytest.mark.parametrize("lenient", [False, True])
def test_patients_in_an_address_or_of_the_whole_system_are_refused_also_leniently(lenient: bool) -> None:
    for level in (ExportLevel.PATIENT, ExportLevel.GROUP):
        assert "POST only" in refused_query("patient=Patient/a", level=level, lenient=lenient)[0]
    assert "system level" in refused_body(patient("Patient/a"), level=ExportLevel.SYSTEM, lenient=lenient)[0]


def test_searches_are_split_at_types_and_not_at_their_own_commas() -> None:
    request = by_get("_typeFilter=Patient%3F_id%3Da,b,Observation%3Fstatus%3Dfinal%26code%3Dx,y")
    assert request.type_filters == (
        TypeFilter(type="Patient", query="_id=a,b"),
        TypeFilter(type="Observation", query="status=final&code=x,y"),
    )


def test_searches_are_repeated_or_listed() -> None:
    twice = by_get("_typeFilter=Patient%3Fgender%3Dmale&_typeFilter=Patient%3Factive%3Dtrue")
    assert (
        twice.type_filters
        == by_get("_typeFilter=Patient%3Fgender%3Dmale,Patient%3Factive%3Dtrue").type_filters
    )
    assert len(twice.type_filters) == 2


@pytest.mark.parametrize(
    "text", ["", "Patient", "Patient?", "gender=male", "Patient?gender", "Patient?x&y", "Patient?&"]
)
@pytest.mark.parametrize("lenient", [False, True])
def test_what_is_no_search_is_refused_also_leniently(text: str, lenient: bool) -> None:
    query = text.replace("?", "%3F").replace("=", "%3D").replace("&", "%26")
    assert all("_typeFilter" in told for told in refused_query(f"_typeFilter={query}", lenient=lenient))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Patiens?name=x", "Patiens: there is no such resource type"),
        ("Patient/1/Observation?code=x", "Patient/1/Observation: there is no such resource type"),
        ("Patient?nmae=x", "nmae of Patient: there is no such search parameter"),
        ("Patient?_count=5", "_count of Patient: result parameters cannot be used in a filter"),
        ("Patient?_sort=name", "_sort of Patient: result parameters cannot be used in a filter"),
        ("Patient?_include=x", "_include of Patient: result parameters cannot be used in a filter"),
        ("Patient?_has:Observation:patient:code=x", "this search parameter is not supported"),
        ("Patient?name:sounds=x", "name:sounds of Patient: this modifier is not supported"),
    ],
)
def test_what_a_search_cannot_use_is_refused_or_leniently_reported(text: str, reason: str) -> None:
    query = "_typeFilter=" + text.replace("?", "%3F").replace("=", "%3D")
    (told,) = refused_query(query)
    assert reason in told
    request = by_get(query, lenient=True)
    assert [each.name for each in request.ignored] == ["_typeFilter"]
    # What is left of the search finds every resource: nothing is left out by a filter nobody applied.
    assert all(each.query for each in request.type_filters)


def test_a_search_value_that_cannot_be_understood_is_refused_also_leniently() -> None:
    (told,) = refused_query("_typeFilter=Patient%3Fbirthdate%3Dsoon", lenient=True)
    assert told == "_typeFilter: birthdate of Patient: the value cannot be understood"


def test_leniently_the_rest_of_a_search_still_counts() -> None:
    request = by_get("_typeFilter=Patient%3Fgender%3Dmale%26_count%3D5", lenient=True)
    assert request.type_filters == (TypeFilter(type="Patient", query="gender=male"),)


@pytest.mark.parametrize(
    "left_out", ["Patient?nmae=x", "Patient?_count=5&_sort=name", "Patient?name:sounds=x", "Patiens?name=x"]
)
def test_leniently_a_search_that_is_left_out_takes_no_other_with_it(left_out: str) -> None:
    good = "Patient%3Fgender%3Dmale"
    bad = left_out.replace("?", "%3F").replace("=", "%3D").replace("&", "%26")
    for query in (f"{bad}&_typeFilter={good}", f"{good}&_typeFilter={bad}", f"{bad},{good}"):
        request = by_get(f"_typeFilter={query}", lenient=True)
        assert request.type_filters == (TypeFilter(type="Patient", query="gender=male"),)
        assert {each.name for each in request.ignored} == {"_typeFilter"}


def test_a_search_on_a_type_that_is_not_asked_for_contradicts_itself() -> None:
    query = "_type=Patient&_typeFilter=Observation%3Fstatus%3Dfinal"
    assert refused_query(query) == ["_typeFilter: Observation is not among the types asked for by _type"]
    assert by_get(query, lenient=True).type_filters == ()


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b"null",
        b"{}",
        b'{"resourceType":"Patient"}',
        b"\xff",
        b'{"resourceType":"Parameters","parameter":1}',
    ],
)
def test_a_body_that_is_no_parameters_resource_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        read(KickOff(ExportLevel.SYSTEM, None, ADDRESS, MultiDict(), body))
    assert raised.value.issues[0].code == "structure"


@pytest.mark.parametrize(
    "parameter",
    [
        {},
        {"name": 1},
        {"name": "_type"},
        {"name": "_type", "valueBoolean": True},
        {"name": "_type", "valueString": 1},
        {"name": "_type", "valueString": "Patient", "valueCode": "Patient"},
        {"name": "_type", "valueString": "Patient\0"},
        {"name": "_since", "valueDate": "2026-01-01"},
        {"name": "allowPartialManifests", "valueString": "true"},
        {"name": "allowPartialManifests", "valueBoolean": "true"},
        {"name": "patient", "valueString": "Patient/a"},
        {"name": "patient", "valueReference": "Patient/a"},
    ],
)
def test_a_parameter_of_another_form_is_refused_also_leniently(parameter: dict[str, Any]) -> None:
    assert len(refused_body(parameter, lenient=True)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_type", ",".join(["Patient"] * 1001)),
        ("_elements", "a" + ",a" * 1000),
        ("includeAssociatedData", "," * 1000),
        ("_typeFilter", ",".join(f"Patient?_id={number}" for number in range(1001))),
        ("_typeFilter", "Patient?_id=a" + ",a" * 1000),
        ("_typeFilter", "Patient?_id=a" + "%2Ca" * 1000),
        ("_typeFilter", "Patient?_id=a" + "&_id=a" * 1000),
    ],
)
def test_more_values_than_could_be_looked_at_are_refused_also_leniently(name: str, value: str) -> None:
    (told,) = refused_body({"name": name, "valueString": value}, lenient=True)
    assert told == f"{name} must have at most 1000 values."
    # So are they if each comes in a parameter of its own.
    one = "Patient?_id=a" if name == "_typeFilter" else "Patient"
    assert told in refused_body(*[{"name": name, "valueString": one}] * 1001)


def test_a_thousand_searches_are_read_each_once() -> None:
    texts = [f"Patient?_id={number}" for number in range(500)]
    request = by_post({"name": "_typeFilter", "valueString": ",".join([*texts, *texts])})
    assert [each.query for each in request.type_filters] == [f"_id={number}" for number in range(500)]


def test_a_comma_that_is_part_of_a_value_ends_no_search() -> None:
    text = r"Patient?name=a\,Observation?b,Observation?status=final"
    request = by_post({"name": "_typeFilter", "valueString": text})
    assert request.type_filters == (
        TypeFilter(type="Patient", query=r"name=a\,Observation?b"),
        TypeFilter(type="Observation", query="status=final"),
    )


def test_the_first_hundred_of_all_that_is_wrong_are_told_and_how_many_more_there_are() -> None:
    told = refused_body(*({"name": f"unknown{number}"} for number in range(5000)))
    assert (len(told), told[-1]) == (101, "And 4900 more are wrong.")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = refused_query("_type=Nothing&_since=x&_outputFormat=csv&y=1&_elements=a.b")
    assert len(told) == 5


def test_requests_that_ask_for_the_same_are_spelled_the_same() -> None:
    one = by_get("_type=Patient,Observation&_typeFilter=Patient%3Fgender%3Dmale,Patient%3Factive%3Dtrue")
    other = by_get(
        "_typeFilter=Patient%3Factive%3Dtrue&_typeFilter=Patient%3Fgender%3Dmale&_type=Observation&_type=Patient"
        "&_outputFormat=ndjson"
    )
    assert spelling(one) == spelling(other)
    assert spelling(one) != spelling(by_get("_type=Patient"))


def test_the_document_tells_of_every_parameter_that_an_address_may_have() -> None:
    paths = document(api())["paths"]
    for path in ("/fhir/$export", "/fhir/Patient/$export", "/fhir/Group/{id}/$export"):
        for method in ("get", "post"):
            told = {each["name"] for each in paths[path][method]["parameters"] if each["in"] == "query"}
            assert told == set(FORMS) - {"patient"}
