"""The Parameters of `$submit-data`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.measures.datatypes import Measure
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.measures.submission import Submission, check_measure, parse_submission
from support.measure_library import MEASURE

# The request of the Da Vinci test server's documentation: its MeasureReport has no type.
DOCUMENTED = {
    "resourceType": "Parameters",
    "parameter": [
        {
            "name": "measureReport",
            "resource": {
                "resourceType": "MeasureReport",
                "measure": "http://example.com/full/url/of/measure-id",
            },
        },
        {"name": "exportUrl", "valueString": "http://example.com/$export"},
    ],
}
REPORT = {"resourceType": "MeasureReport", "type": "data-collection", "measure": f"{MEASURE}|1.0.0"}
PATIENT = {"resourceType": "Patient", "id": "p", "multipleBirthInteger": 1}
EXPORT = {"name": "exportUrl", "valueUrl": "https://source.example.org/fhir/$export?_since=2020"}


def report(**more: Any) -> dict[str, Any]:
    return {"name": "measureReport", "resource": REPORT | more}


def submit(*parameters: dict[str, Any], asynchronous: bool = True) -> Submission:
    body = json.dumps({"resourceType": "Parameters", "parameter": parameters}).encode()
    return parse_submission(body, asynchronous=asynchronous)


def findings(*parameters: dict[str, Any], asynchronous: bool = True) -> list[tuple[MeasureProblem, str, str]]:
    with pytest.raises(MeasureError) as caught:
        submit(*parameters, asynchronous=asynchronous)
    assert all(isinstance(each, Finding) and each.status == 400 for each in caught.value.findings)
    return [(each.problem, each.about, each.where) for each in caught.value.findings]


def test_the_documented_request_is_taken_as_it_stands() -> None:
    found = parse_submission(json.dumps(DOCUMENTED).encode(), asynchronous=True)
    assert found.measure == "http://example.com/full/url/of/measure-id"
    assert found.export_url == "http://example.com/$export"
    assert (found.export_type, found.since, found.type_filters) == ("dynamic", None, None)
    assert json.loads(found.report)["resourceType"] == "MeasureReport"


@pytest.mark.parametrize("kind", ["valueUrl", "valueUri", "valueString"])
def test_an_export_is_named_by_any_kind_of_text(kind: str) -> None:
    assert submit(report(), {"name": "exportUrl", kind: "http://s/e"}).export_url == "http://s/e"


def test_what_else_an_export_takes_is_read() -> None:
    found = submit(
        report(),
        EXPORT,
        {"name": "exportType", "valueCode": "static"},
        {"name": "_since", "valueInstant": "2024-01-01T00:00:00Z"},
        {"name": "useTypeFilters", "valueBoolean": True},
    )
    assert (found.export_type, found.since, found.type_filters) == ("static", "2024-01-01T00:00:00Z", True)


def test_synchronously_resources_come_along_as_they_are() -> None:
    text = b'{"resourceType":"Observation","valueQuantity":{"value":1.10}}'
    body = (
        b'{"resourceType":"Parameters","parameter":[{"name":"measureReport","resource":%b},'
        b'{"name":"resource","resource":%b},{"name":"resource","resource":%b}]}'
    ) % (json.dumps(REPORT).encode(), text, json.dumps(PATIENT).encode())
    found = parse_submission(body, asynchronous=False)
    assert found.resources[0] == text
    assert json.loads(found.resources[1]) == PATIENT
    assert found.export_url is None


@pytest.mark.parametrize("name", ["_type", "_typeFilter", "_elements"])
def test_what_the_measure_decides_the_requester_may_not(name: str) -> None:
    refused = (MeasureProblem.PARAMETER_REFUSED, name, "Parameters.parameter[2]")
    assert findings(report(), EXPORT, {"name": name, "valueString": "Patient"}) == [refused]
    url = {"name": "exportUrl", "valueUrl": f"http://s/$export?x=1&{name}=Patient"}
    assert findings(report(), url) == [
        (MeasureProblem.PARAMETER_REFUSED, f"exportUrl: {name}", "Parameters.parameter[1]")
    ]


def test_either_way_takes_nothing_of_the_other() -> None:
    resource = {"name": "resource", "resource": PATIENT}
    assert findings(report(), EXPORT, resource)[0][:2] == (MeasureProblem.PARAMETER_REFUSED, "resource")
    assert findings(report(), EXPORT, asynchronous=False)[0][:2] == (
        MeasureProblem.PARAMETER_REFUSED,
        "exportUrl",
    )


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = [
        each[:2] for each in findings({"name": "Jane Doe"}, {"name": "exportType", "valueCode": "fast"})
    ]
    assert problems == [
        (MeasureProblem.PARAMETER_REFUSED, ""),
        (MeasureProblem.PARAMETER_MISSING, "measureReport"),
        (MeasureProblem.PARAMETER_MISSING, "exportUrl"),
        (MeasureProblem.BAD_PARAMETER, "exportType"),
    ]


def test_a_report_is_given_once() -> None:
    assert findings(report(), report(), EXPORT) == [
        (MeasureProblem.PARAMETER_REPEATED, "measureReport", "Parameters.parameter[1]")
    ]


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("type_", ["individual", "summary", "subject-list"])
def test_a_report_of_another_type_is_refused(type_: str, asynchronous: bool) -> None:
    parameters = [report(type=type_), *([EXPORT] if asynchronous else [])]
    assert findings(*parameters, asynchronous=asynchronous) == [
        (
            MeasureProblem.WRONG_REPORT_TYPE,
            "measureReport",
            "Parameters.parameter[0].resource.type",
        )
    ]


@pytest.mark.parametrize(
    "parameter",
    [
        {"name": "measureReport"},
        {"name": "measureReport", "resource": None},
        {"name": "measureReport", "resource": []},
        {"name": "measureReport", "resource": PATIENT},
        {"name": "measureReport", "resource": REPORT | {"type": 1}},
        {"name": "measureReport", "valueString": "x"},
    ],
)
def test_a_report_that_is_none_is_refused(parameter: dict[str, Any]) -> None:
    assert (MeasureProblem.BAD_PARAMETER, "measureReport", "Parameters.parameter[0].resource") in findings(
        parameter, EXPORT
    )


def test_a_report_without_a_measure_is_refused() -> None:
    assert findings(report(measure=None), EXPORT) == [
        (MeasureProblem.PARAMETER_MISSING, "measure", "Parameters.parameter[0].resource.measure")
    ]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"valueString": ""},
        {"valueString": 5},
        {"valueUrl": "ftp://s/e"},
        {"valueUrl": "http:///e"},
        {"valueUrl": "/$export"},
        {"valueUrl": "http://s:99999/e"},
        {"valueUrl": "http://s:0/e"},
        {"valueUrl": "http://[::1/e"},
        {"valueUrl": "http://s/a b"},
        {"valueUrl": "http://s/e", "valueString": "http://s/f"},
    ],
)
def test_an_export_that_is_no_url_is_refused(value: dict[str, Any]) -> None:
    assert findings(report(), {"name": "exportUrl", **value}) == [
        (MeasureProblem.BAD_PARAMETER, "exportUrl", "Parameters.parameter[1]")
    ]


def test_two_exports_are_refused() -> None:
    assert findings(report(), EXPORT, EXPORT)[0][0] is MeasureProblem.PARAMETER_REPEATED


@pytest.mark.parametrize("resource", [{"name": "resource"}, {"name": "resource", "valueString": "x"}])
def test_a_resource_that_is_not_there_is_told(resource: dict[str, Any]) -> None:
    assert findings(report(), resource, asynchronous=False) == [
        (MeasureProblem.BAD_PARAMETER, "resource", "Parameters.parameter[1].resource")
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", MeasureProblem.NOT_JSON),
        (b"{", MeasureProblem.NOT_JSON),
        (b'{"resourceType":"Parameters","x":"\xff"}', MeasureProblem.NOT_JSON),
        (b"[]", MeasureProblem.NOT_PARAMETERS),
        (b'{"resourceType":"Bundle"}', MeasureProblem.NOT_PARAMETERS),
        (b'{"resourceType":"Parameters","parameter":{}}', MeasureProblem.NOT_PARAMETERS),
        (
            b'{"resourceType":"Parameters","parameter":' + b"[" * 500 + b"]" * 500 + b"}",
            MeasureProblem.TOO_DEEP,
        ),
    ],
)
def test_what_are_no_parameters_is_told(body: bytes, problem: MeasureProblem) -> None:
    with pytest.raises(MeasureError) as caught:
        parse_submission(body, asynchronous=True)
    assert caught.value.problem is problem


OWN = Measure("Measure", id="M", url=MEASURE, version="1.0.0")


@pytest.mark.parametrize("said", [MEASURE, f"{MEASURE}|1.0.0", "Measure/M", "Measure/M|1.0.0"])
def test_a_report_about_the_measure_is_taken(said: str) -> None:
    check_measure(Submission(said, b""), OWN)


@pytest.mark.parametrize(
    "said",
    [f"{MEASURE}|2.0.0", "http://example.org/other", "Measure/N", "M", f"{MEASURE}/_history/1", "|1.0.0"],
)
def test_a_report_about_another_measure_is_refused(said: str) -> None:
    with pytest.raises(MeasureError) as caught:
        check_measure(Submission(said, b""), OWN)
    assert caught.value.problem is MeasureProblem.WRONG_MEASURE


def test_a_version_is_wrong_if_the_measure_has_none() -> None:
    with pytest.raises(MeasureError):
        check_measure(Submission(f"{MEASURE}|1", b""), Measure("Measure", id="M", url=MEASURE))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(REPORT) | st.just("http://s/e")
)
PARAMETER = st.dictionaries(
    st.sampled_from(["name", "resource", "valueString", "valueUrl", "valueCode", "valueBoolean", "part"]),
    VALUES | st.sampled_from(["measureReport", "resource", "exportUrl", "exportType", "_since", "_type"]),
)


@pytest.mark.fuzz
@given(st.lists(PARAMETER, max_size=4), st.booleans())
def test_no_parameters_do_more_than_be_refused(parameters: list[dict[str, Any]], asynchronous: bool) -> None:
    try:
        found = submit(*parameters, asynchronous=asynchronous)
    except MeasureError as error:
        told = {each.status for each in error.findings}
    else:
        told = {200}
        assert bool(found.export_url) is asynchronous
    assert told <= {200, 400}
