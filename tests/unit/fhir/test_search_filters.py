"""What `_typeFilter` expressions find: the comparison rules of R4's search, one kind after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.search import SearchError, SearchProblem, compile_filter, parse_type_filter
from sluice_fhir.search_match import split, unescaped
from sluice_fhir.search_table import Kind, parameters

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def finds(query: str, resource: dict[str, Any]) -> bool:
    type_ = resource["resourceType"]
    return compile_filter(type_, quote(query, safe="=&:,"), now=lambda: NOW)(resource)


def observation(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "o", **elements}


LOINC = "http://loinc.org"
GLUCOSE = observation(
    status="final",
    code={"text": "Glucose in blood", "coding": [{"system": LOINC, "code": "2345-7", "display": "Glucose"}]},
    category=[{"coding": [{"code": "laboratory"}]}, {"coding": [{"system": "http://own", "code": "x"}]}],
    subject={"reference": "Patient/23"},
    encounter={"reference": "https://h/fhir/Encounter/7/_history/2"},
    performer=[
        {"reference": "Practitioner/1"},
        {"type": "Patient", "identifier": {"system": "urn:mrn", "value": "5"}},
    ],
    effectiveDateTime="2013-01-14T10:00:00Z",
    valueQuantity={"value": 5.4, "unit": "mmol", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    meta={
        "lastUpdated": "2024-05-01T00:00:00.000Z",
        "profile": ["http://p/a"],
        "tag": [{"system": "t", "code": "1"}],
    },
    component=[
        {"code": {"coding": [{"code": "a"}]}, "valueQuantity": {"value": 1}},
        {"code": {"coding": [{"code": "b"}]}, "valueQuantity": {"value": 2}},
    ],
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "status=final",
        "status=preliminary,final",
        "status=http://hl7.org/fhir/observation-status|final",
        "code=2345-7",
        f"code={LOINC}|2345-7",
        f"code={LOINC}|",
        "code:text=glucose IN",
        "category=laboratory&category=x",
        "category=|laboratory",
        "category:not=vital-signs",
        "subject=Patient/23",
        "subject=23",
        "subject:Patient=23",
        "patient=Patient/23",
        "encounter=Encounter/7",
        "encounter=7",
        "encounter=https://h/fhir/Encounter/7",
        "performer:identifier=urn:mrn|5",
        "performer=Practitioner/1",
        "value-quantity=5.4",
        "value-quantity=5",
        "value-quantity=5.40",
        "value-quantity=gt5|http://unitsofmeasure.org|mmol/L",
        "value-quantity=le5.4||mmol",
        "value-quantity=ap5.5",
        f"code-value-quantity={LOINC}|2345-7$5.4",
        "component-code-value-quantity=a$1",
        "combo-code-value-quantity=a$9,b$2",
        "_id=o",
        "_id=x,o",
        "_profile=http://p/a",
        "_profile:below=http://p",
        "_tag=t|1",
        "_lastUpdated=ge2024",
        "method:missing=true",
        "code:missing=false",
    ],
)
def test_these_find_it(query: str) -> None:
    assert finds(query, GLUCOSE)


@pytest.mark.parametrize(
    "query",
    [
        "status=Final",
        "status=preliminary",
        "code=http://snomed.info/sct|2345-7",
        "code=|2345-7",
        "code:text=sugar",
        "category=laboratory&category=y",
        "category=|x",
        "category:not=laboratory",
        "subject=Patient/2",
        "subject=3",
        "subject:Group=23",
        "encounter=https://other/fhir/Encounter/7",
        "performer:identifier=urn:mrn|6",
        "performer=5",
        "value-quantity=5.41",
        "value-quantity=5.5",
        "value-quantity=gt5||mg",
        "value-quantity=gt5|http://other|mmol/L",
        f"code-value-quantity={LOINC}|2345-7$9",
        "component-code-value-quantity=a$2",
        "_id=O",
        "_profile=http://p",
        "_profile:above=http://p/",
        "_lastUpdated=lt2024-05-01",
        "method:missing=false",
        "code:missing=true",
        "value-string=x",
    ],
)
def test_these_do_not(query: str) -> None:
    assert not finds(query, GLUCOSE)


@pytest.mark.parametrize(
    ("date", "found", "missed"),
    [
        # The examples of R4's search page: what each prefix means for a day, and for a Period.
        (
            "2013-01-14",
            "eq2013-01-14 2013-01 2013 ge2013-01-14 le2013-01-14 lt2013-01-15 ap2013-02",
            "ne2013-01-14",
        ),
        (
            "2013-01-14T10:00:00Z",
            "2013-01-14 lt2013-01-14T10:01 gt2013-01-14T09:59 sa2013-01-13",
            "eq2013-01-14T11:00",
        ),
        (
            "2013-01-14T23:30:00-02:00",
            "2013-01-15 eq2013-01-15T01:30:00Z ge2013-01-15",
            "2013-01-14 lt2013-01-15",
        ),
        ("2013", "ge2013 gt2013-06 lt2013-06 ne2013-06 eb2014", "eq2013-06 sa2013-06 gt2013"),
        (
            {"start": "2013-01-01", "end": "2013-01-31"},
            "2013-01 gt2013-01-15 lt2013-01-15 eb2013-02-01",
            "2013-01-15",
        ),
        ({"start": "2013-01-01"}, "gt2020 ge2013 sa2012", "2013 eb2020 lt2013"),
        ({"end": "2013-01-01"}, "lt1000 eb2013-01-02", "gt2013-01-01 sa1000"),
        ("nonsense", "", "2013 ne2013 gt0001"),
        (17, "", "2013"),
        ({}, "", "2013 lt2013"),
        ("9999-12-31", "gt2020 9999", "lt2020"),
        ("2013-02-30", "", "2013"),
    ],
)
def test_dates_are_compared_as_ranges(date: Any, found: str, missed: str) -> None:
    key = "effectivePeriod" if isinstance(date, dict) else "effectiveDateTime"
    resource = observation(**{key: date})
    assert [value for value in found.split() if not finds(f"date={value}", resource)] == []
    assert [value for value in missed.split() if finds(f"date={value}", resource)] == []


PERSON = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "birthDate": "1970-03-30",
    "name": [{"family": "Åström-Löf", "given": ["Eve", "Marie  Ann"], "text": "Dr Eve"}],
    "address": [{"line": ["1 High Street"], "city": "Köln", "use": "home"}],
    "telecom": [{"system": "phone", "value": "555"}, {"system": "email", "value": "e@x.org"}],
    "identifier": [{"system": "urn:mrn", "value": "7,8|9$", "type": {"text": "Medical record"}}],
    "generalPractitioner": [{"reference": "Organization/1"}],
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=astrom", True),
        ("name=EVE", True),
        ("name=marie ann", True),
        ("name=ann", False),
        ("name:contains=lof", True),
        ("name:exact=Eve", True),
        ("name:exact=eve", False),
        ("family=Eve", False),
        ("address=high", False),
        ("address=1 high", True),
        ("address-city=koln", True),
        ("address-use=home", True),
        ("phone=555", True),
        ("phone=e@x.org", False),
        ("email=e@x.org", True),
        ("telecom=555", True),
        ("active=true", True),
        ("active=false", False),
        (r"identifier=urn:mrn|7\,8\|9\$", True),
        ("identifier:text=medical", True),
        ("birthdate=1970-03", True),
        ("deceased=false", True),
        ("deceased=true", False),
        ("death-date:missing=true", True),
        ("general-practitioner=Organization/1", True),
    ],
)
def test_texts_and_tokens_of_a_person(query: str, found: bool) -> None:
    assert finds(query, PERSON) is found


@pytest.mark.parametrize(
    ("value", "found", "missed"),
    [
        # R4's examples: a number is meant to the precision it is written with.
        ("100", "100 1e2 100.0 gt99 lt101 ge100 le100 ne101 ap95", "99 100.6 gt100 lt100 ne100"),
        ("0.8", "0.8 8e-1 gt0.7 sa0.75 eb0.85 0.80", "0.81 lt0.8 eb0.8"),
    ],
)
def test_numbers_are_compared_to_the_precision_they_are_written_with(
    value: str, found: str, missed: str
) -> None:
    resource = {"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": float(value)}]}
    assert [text for text in found.split() if not finds(f"probability={text}", resource)] == []
    assert [text for text in missed.split() if finds(f"probability={text}", resource)] == []


def test_a_test_is_here_for_every_kind_of_search_parameter() -> None:
    """Each kind by one parameter that is tested above; `special` is `near`, which is refused."""
    tested = {
        "RiskAssessment": ("probability",),
        "Observation": ("date", "code", "subject", "code-value-quantity", "value-quantity", "_profile"),
        "Patient": ("family",),
        "Location": ("near",),
    }
    kinds = {parameters(type_)[name].kind for type_, names in tested.items() for name in names}
    assert kinds == set(Kind)


@pytest.mark.parametrize(
    ("text", "problem", "parameter"),
    [
        ("Observation?nonsense=1", SearchProblem.UNKNOWN_PARAMETER, "nonsense"),
        ("Observation?birthdate=1970", SearchProblem.UNKNOWN_PARAMETER, "birthdate"),
        ("Nonsense?code=1", SearchProblem.UNKNOWN_TYPE, "Nonsense"),
        ("Observation?_include=Observation:subject", SearchProblem.RESULT_PARAMETER, "_include"),
        ("Observation?_sort=date", SearchProblem.RESULT_PARAMETER, "_sort"),
        ("Observation?_count=1", SearchProblem.RESULT_PARAMETER, "_count"),
        ("Observation?patient.name=eve", SearchProblem.UNSUPPORTED_PARAMETER, "patient.name"),
        (
            "Patient?_has:Observation:patient:code=1",
            SearchProblem.UNSUPPORTED_PARAMETER,
            "_has:Observation:patient:code",
        ),
        ("Location?near=1|2|3", SearchProblem.UNSUPPORTED_PARAMETER, "near"),
        ("Observation?_text=x", SearchProblem.UNSUPPORTED_PARAMETER, "_text"),
        ("Observation?code:in=http://vs", SearchProblem.UNSUPPORTED_MODIFIER, "code:in"),
        ("Observation?date:exact=2020", SearchProblem.UNSUPPORTED_MODIFIER, "date:exact"),
        ("Patient?name:not=x", SearchProblem.UNSUPPORTED_MODIFIER, "name:not"),
        ("Observation?date=yesterday", SearchProblem.BAD_VALUE, "date"),
        ("Observation?date=2020-13", SearchProblem.BAD_VALUE, "date"),
        ("Observation?value-quantity=much", SearchProblem.BAD_VALUE, "value-quantity"),
        ("Observation?value-quantity=1|mg", SearchProblem.BAD_VALUE, "value-quantity"),
        ("Observation?code=", SearchProblem.BAD_VALUE, "code"),
        ("Observation?code=|", SearchProblem.BAD_VALUE, "code"),
        ("Observation?code=a|b|c", SearchProblem.BAD_VALUE, "code"),
        ("Observation?code-value-quantity=1", SearchProblem.BAD_VALUE, "code-value-quantity"),
        ("Observation?code:missing=maybe", SearchProblem.BAD_VALUE, "code:missing"),
        # One of several that is empty, or blank as texts are compared, would find whatever has the element.
        ("Patient?family=Smith,", SearchProblem.BAD_VALUE, "family"),
        ("Patient?family=,Smith", SearchProblem.BAD_VALUE, "family"),
        ("Patient?family=%20", SearchProblem.BAD_VALUE, "family"),
        ("Patient?family=%CC%81", SearchProblem.BAD_VALUE, "family"),
        ("Patient?family:contains=%20", SearchProblem.BAD_VALUE, "family:contains"),
        ("Patient?identifier:text=%20", SearchProblem.BAD_VALUE, "identifier:text"),
        ("Observation?code=a,,b", SearchProblem.BAD_VALUE, "code"),
        ("RiskAssessment?probability=1e101", SearchProblem.BAD_VALUE, "probability"),
        ("RiskAssessment?probability=1e99999999999999999999", SearchProblem.BAD_VALUE, "probability"),
        ("Observation?value-quantity=1e-99999999999999999999", SearchProblem.BAD_VALUE, "value-quantity"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, problem: SearchProblem, parameter: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse_type_filter(text)
    assert (caught.value.problem, caught.value.parameter) == (problem, parameter)


@pytest.mark.parametrize("plus", ["+", "%2B"])
def test_a_zone_is_understood_whether_its_plus_is_encoded_or_not(plus: str) -> None:
    resource = observation(effectiveDateTime="2024-05-01T11:30:00Z")
    assert compile_filter("Observation", f"date=ge2024-05-01T13:30:00{plus}02:00")(resource)
    assert not compile_filter("Observation", f"date=gt2024-05-01T13:30:00{plus}02:00")(resource)


@pytest.mark.fuzz
@given(st.text(max_size=20), st.sampled_from(["probability", "date", "identifier", "subject"]))
def test_whatever_a_value_is_it_is_understood_or_named(text: str, name: str) -> None:
    found = compile_filter("RiskAssessment", urlencode([(name, text)]), lenient=True)
    assert [error.parameter for error in found.ignored] in ([], [name])
    assert found({"resourceType": "RiskAssessment"}) is bool(found.ignored)


def test_lenient_leaves_out_what_cannot_be_used_and_says_so() -> None:
    found = parse_type_filter("Observation?status=final&nonsense=1&_count=2", lenient=True)
    assert [error.parameter for error in found.ignored] == ["nonsense", "_count"]
    assert found(GLUCOSE)
    assert not found(observation(status="draft"))
    with pytest.raises(SearchError):
        parse_type_filter("Nonsense?status=final", lenient=True)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("Patient/1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "coding",
                    "code",
                    "system",
                    "value",
                    "reference",
                    "start",
                    "family",
                    "repeat",
                    "event",
                    "low",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["code", "subject", "valueQuantity", "effectivePeriod", "effectiveTiming", "note"]),
        ODD,
    )
)
def test_no_data_make_a_filter_fail(elements: dict[str, Any]) -> None:
    resource = observation(**elements)
    for query in (
        "code=a|b",
        "code:text=a",
        "subject=1",
        "subject:identifier=a|b",
        "value-quantity=lt5|s|c",
        "date=ap2020",
    ):
        assert finds(query, resource) in (True, False)


@given(st.lists(st.text(st.sampled_from("ab,\\$|"), max_size=4), min_size=1, max_size=3))
def test_escaped_values_come_back_as_they_were(values: list[str]) -> None:
    escaped = [value.replace("\\", "\\\\").replace(",", "\\,") for value in values]
    assert [unescaped(part) for part in split(",".join(escaped), ",")] == values
