"""Transaction and batch Bundles: what is to be done, what is refused, and what is answered."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.measures.entries import Action, Entry, Intake
from sluice_fhir.measures.intake import parse_bundle, parse_resources
from sluice_fhir.measures.intake_answer import Done, bundle_answer
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from support.measure_library import elm, library, measure, retrieve, value_set

UUID = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
OTHER = "urn:uuid:7b1c3f2e-1cbf-4d64-b04d-cd9187a4c6e1"


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"new-{next(numbers)}"


def put(resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    url = f"{resource['resourceType']}/{resource.get('id')}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}} | more


def post(resource: dict[str, Any], full_url: str | None = None) -> dict[str, Any]:
    entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return entry | ({"fullUrl": full_url} if full_url else {})


def delete(url: str) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": url}}


def take(*entries: dict[str, Any], type_: str = "transaction") -> Intake:
    body = {"resourceType": "Bundle", "type": type_, "entry": entries}
    return parse_bundle(json.dumps(body).encode(), make_id=ids())


def refusal(*entries: dict[str, Any]) -> tuple[Finding, ...]:
    with pytest.raises(MeasureError) as caught:
        take(*entries)
    return caught.value.findings


def resource(intake: Intake, key: str) -> dict[str, Any]:
    (found,) = [each for each in intake.entries if each.key == key]
    decoded: dict[str, Any] = json.loads(found.body)
    return decoded


def patient(id_: str | None = "p", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient"} | ({"id": id_} if id_ else {}) | more


def about(subject: str, id_: str | None = None) -> dict[str, Any]:
    found = {"resourceType": "Observation", "subject": {"reference": subject}}
    return found | ({"id": id_} if id_ else {})


def test_a_measures_bundle_is_taken_entry_by_entry() -> None:
    artifacts = [
        measure("Library/Main"),
        library(elm("Main", {"X": retrieve("Goal")})),
        value_set("http://e/vs"),
    ]
    found = take(*map(put, artifacts))
    assert [(each.place, each.action, each.key) for each in found.entries] == [
        (0, Action.PUT, "Measure/M"),
        (1, Action.PUT, "Library/Main"),
        (2, Action.PUT, "ValueSet/vs"),
    ]
    assert [json.loads(each.body) for each in found.entries] == artifacts


def test_a_body_is_one_line_with_every_number_as_it_was_written() -> None:
    body = b"""{"resourceType": "Bundle", "type": "batch", "entry": [{
        "resource": {
            "resourceType": "Observation", "id": "o", "valueQuantity": {"value": 1.10},
            "note": [{"text": "a\\nb"}]
        },
        "request": {"method": "PUT", "url": "Observation/o"}}]}"""
    (entry,) = parse_bundle(body).entries
    assert b"\n" not in entry.body
    assert b'"value":1.10' in entry.body


def test_a_created_resource_gets_a_new_id_whatever_it_had() -> None:
    found = take(post(patient("mine")), post(patient(None)))
    assert [(each.key, each.action) for each in found.entries] == [
        ("Patient/new-1", Action.CREATE),
        ("Patient/new-2", Action.CREATE),
    ]
    assert resource(found, "Patient/new-1")["id"] == "new-1"


def test_an_update_without_an_id_gets_the_urls() -> None:
    entry = {"resource": patient(None), "request": {"method": "PUT", "url": "/Patient/p"}}
    assert resource(take(entry), "Patient/p")["id"] == "p"


def test_a_transaction_deletes_first_then_creates_then_updates() -> None:
    found = take(put(patient()), post(patient(None)), delete("Patient/old"))
    assert [each.action for each in found.entries] == [Action.DELETE, Action.CREATE, Action.PUT]
    assert [each.place for each in found.entries] == [2, 1, 0]


BAD: list[tuple[dict[str, Any], MeasureProblem, str]] = [
    ({}, MeasureProblem.BAD_ENTRY, ".request"),
    ({"resource": patient()}, MeasureProblem.BAD_ENTRY, ".request"),
    ({"request": {"method": "BREW", "url": "Patient/p"}}, MeasureProblem.BAD_ENTRY, ".request"),
    ({"request": {"method": "GET", "url": "Patient/p"}}, MeasureProblem.NOT_SUPPORTED, ".request"),
    ({"request": {"method": "PATCH", "url": "Patient/p"}}, MeasureProblem.NOT_SUPPORTED, ".request"),
    (
        put(patient()) | {"request": {"method": "PUT", "url": "Patient?x=1"}},
        MeasureProblem.NOT_SUPPORTED,
        ".request",
    ),
    (
        put(patient()) | {"request": {"method": "PUT", "url": "Patient/p", "ifMatch": 'W/"1"'}},
        MeasureProblem.NOT_SUPPORTED,
        ".request",
    ),
    (
        post(patient()) | {"request": {"method": "POST", "url": "Patient", "ifNoneExist": "x=1"}},
        MeasureProblem.NOT_SUPPORTED,
        ".request",
    ),
    (delete("Patient?x=1"), MeasureProblem.NOT_SUPPORTED, ".request"),
    (delete("Patient"), MeasureProblem.BAD_ENTRY, ".request.url"),
    (delete("Patient/p/_history/1"), MeasureProblem.BAD_ENTRY, ".request.url"),
    (delete("http://other.org/Patient/p"), MeasureProblem.BAD_ENTRY, ".request.url"),
    (delete("Patient/.."), MeasureProblem.BAD_ENTRY, ".request.url"),
    (put(patient("a b")), MeasureProblem.BAD_ENTRY, ".request.url"),
    ({"request": {"method": "PUT", "url": "Patient/p"}}, MeasureProblem.BAD_RESOURCE, ".resource"),
    ({"request": {"method": "POST", "url": "Patient"}}, MeasureProblem.BAD_RESOURCE, ".resource"),
    (post({"resourceType": "Nonsense"}), MeasureProblem.BAD_RESOURCE, ".resource"),
    (post({"resourceType": "Patient", "id": "a b"}), MeasureProblem.BAD_RESOURCE, ".resource"),
    (put(patient(meta=5)), MeasureProblem.BAD_RESOURCE, ".resource"),
    (
        put(patient()) | {"request": {"method": "PUT", "url": "Patient/q"}},
        MeasureProblem.ID_MISMATCH,
        ".resource.id",
    ),
    (
        put(patient()) | {"request": {"method": "PUT", "url": "Group/p"}},
        MeasureProblem.ID_MISMATCH,
        ".resource.id",
    ),
    (
        post(patient()) | {"request": {"method": "POST", "url": "Group"}},
        MeasureProblem.ID_MISMATCH,
        ".request.url",
    ),
    (post(about(OTHER)), MeasureProblem.REFERENCE_UNRESOLVED, ".resource"),
    (post(about("Patient?identifier=1")), MeasureProblem.REFERENCE_UNRESOLVED, ".resource"),
]


@pytest.mark.parametrize(("entry", "problem", "below"), BAD)
def test_a_transaction_with_a_bad_entry_is_refused_as_a_whole(
    entry: dict[str, Any], problem: MeasureProblem, below: str
) -> None:
    (only,) = refusal(put(patient("good")), entry)
    assert (only.problem, only.where) == (problem, f"Bundle.entry[1]{below}")


@pytest.mark.parametrize(("entry", "problem", "below"), BAD)
def test_a_batch_keeps_the_good_entries(entry: dict[str, Any], problem: MeasureProblem, below: str) -> None:
    found = take(entry, put(patient("good")), type_="batch")
    assert [each.key for each in found.entries] == ["Patient/good"]
    assert {place: (each.problem, each.where) for place, each in found.refused.items()} == {
        0: (problem, f"Bundle.entry[0]{below}")
    }


def test_all_bad_entries_of_a_transaction_are_told() -> None:
    assert [each.where for each in refusal({}, put(patient()), post(about(OTHER)), put(patient()))] == [
        "Bundle.entry[0].request",
        "Bundle.entry[2].resource",
        "Bundle.entry[3]",
    ]


def test_two_entries_about_one_resource_fail_a_transaction_and_not_a_batch() -> None:
    twice = [put(patient()), delete("Patient/p")]
    (only,) = refusal(*twice)
    assert (only.problem, only.where) == (MeasureProblem.DUPLICATE_ENTRY, "Bundle.entry[1]")
    assert [each.action for each in take(*twice, type_="batch").entries] == [Action.PUT, Action.DELETE]


def test_references_to_created_resources_become_their_ids() -> None:
    found = take(post(about(UUID)), post(patient(None), UUID), put(about(UUID, "o")))
    assert resource(found, "Observation/new-1")["subject"] == {"reference": "Patient/new-2"}
    assert resource(found, "Observation/o")["subject"] == {"reference": "Patient/new-2"}


def test_a_reference_is_replaced_wherever_it_stands() -> None:
    pointing = {
        "resourceType": "Basic",
        "id": "b",
        "contained": [about(UUID)],
        "text": {"status": "generated", "div": f'<div><a href="{UUID}">x</a> {UUID}</div>'},
        "extension": [{"url": "u", "valueUri": UUID}, {"url": "v", "valueString": UUID}],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": UUID}],
        "subject": {"reference": f"{UUID}#part", "display": UUID},
    }
    found = resource(take(put(pointing), post(patient(None), UUID)), "Basic/b")
    new = "Patient/new-1"
    assert found["contained"][0]["subject"]["reference"] == new
    assert found["text"]["div"] == f'<div><a href="{new}">x</a> {UUID}</div>'
    assert found["extension"] == [{"url": "u", "valueUri": new}, {"url": "v", "valueString": UUID}]
    assert found["identifier"][0]["value"] == UUID
    assert found["subject"] == {"reference": f"{new}#part", "display": UUID}


@pytest.mark.parametrize(
    "number",
    ["1.10", "0.000", "0.00000000", "-0.0", "1E-7", "1e+400", "12345678901234567890.123456789", "100"],
)
def test_numbers_survive_the_replacing_of_references(number: str) -> None:
    marked = put(about(UUID, "o") | {"valueQuantity": {"value": "NUMBER"}})
    body = {"resourceType": "Bundle", "type": "transaction", "entry": [marked, post(patient(None), UUID)]}
    found = parse_bundle(json.dumps(body).replace('"NUMBER"', number).encode(), make_id=ids())
    kept = found.entries[1].body
    assert b'"Patient/new-1"' in kept
    assert f'"valueQuantity":{{"value":{number}}}'.encode() in kept


def test_references_by_full_url_and_by_the_old_id_are_replaced() -> None:
    found = take(
        post(patient("old"), "http://source.org/fhir/Patient/old"),
        put(about("http://source.org/fhir/Patient/old", "absolute")),
        put(about("Patient/old", "relative")),
        put(about("Patient/elsewhere", "other")),
    )
    assert resource(found, "Observation/absolute")["subject"]["reference"] == "Patient/new-1"
    assert resource(found, "Observation/relative")["subject"]["reference"] == "Patient/new-1"
    assert resource(found, "Observation/other")["subject"]["reference"] == "Patient/elsewhere"


def test_an_id_that_stays_keeps_its_references() -> None:
    found = take(post(patient("p")), put(patient("p")), put(about("Patient/p", "o")))
    assert resource(found, "Observation/o")["subject"]["reference"] == "Patient/p"


def test_a_conditional_reference_is_resolved_within_the_transaction() -> None:
    doctors = [
        {
            "resourceType": "Practitioner",
            "id": f"d{i}",
            "identifier": [{"system": "http://npi", "value": str(i // 2)}],
        }
        for i in range(3)
    ]
    found = take(*map(put, doctors), put(about("Practitioner?identifier=http://npi|1", "o")))
    assert resource(found, "Observation/o")["subject"]["reference"] == "Practitioner/d2"
    (ambiguous,) = refusal(*map(put, doctors), put(about("Practitioner?identifier=http://npi|0", "o")))
    assert ambiguous.problem is MeasureProblem.REFERENCE_UNRESOLVED


def test_nothing_resolves_in_a_batch() -> None:
    found = take(post(patient(None), UUID), post(about(UUID)), type_="batch")
    assert [each.key for each in found.entries] == ["Patient/new-1"]
    assert found.refused[1].problem is MeasureProblem.REFERENCE_UNRESOLVED


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", MeasureProblem.NOT_JSON),
        (b"{", MeasureProblem.NOT_JSON),
        (b'{"resourceType":"Bundle","x":"\xff"}', MeasureProblem.NOT_JSON),
        (b"[]", MeasureProblem.NOT_A_BUNDLE),
        (b"{}", MeasureProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"Patient"}', MeasureProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[1]}', MeasureProblem.NOT_A_BUNDLE),
        (b'{"resourceType":"Bundle"}', MeasureProblem.WRONG_BUNDLE_TYPE),
        (b'{"resourceType":"Bundle","type":"collection"}', MeasureProblem.WRONG_BUNDLE_TYPE),
        (b'{"a":' * 300 + b"1" + b"}" * 300, MeasureProblem.TOO_DEEP),
    ],
)
def test_what_is_no_transaction_or_batch_is_told(body: bytes, problem: MeasureProblem) -> None:
    with pytest.raises(MeasureError) as caught:
        parse_bundle(body)
    assert caught.value.problem is problem


def test_a_bundle_of_too_many_entries_is_refused() -> None:
    body = json.dumps(
        {"resourceType": "Bundle", "type": "batch", "entry": [delete("Patient/p")] * 3}
    ).encode()
    assert len(parse_bundle(body, most_entries=3).entries) == 3
    with pytest.raises(MeasureError) as caught:
        parse_bundle(body, most_entries=2)
    assert (caught.value.problem, caught.value.status) == (MeasureProblem.TOO_MANY_ENTRIES, 413)


def test_an_empty_transaction_does_nothing() -> None:
    assert parse_bundle(b'{"resourceType":"Bundle","type":"transaction"}') == Intake("transaction", 0, ())


def test_submitted_resources_make_a_transaction() -> None:
    found = parse_resources([json.dumps(each).encode() for each in (patient(), patient(None))], make_id=ids())
    assert [(each.place, each.action, each.key) for each in found.entries] == [
        (0, Action.PUT, "Patient/p"),
        (1, Action.CREATE, "Patient/new-1"),
    ]
    with pytest.raises(MeasureError) as caught:
        parse_resources(
            [b"{}", b'{"resourceType":"Patient","id":"p"}', b'{"resourceType":"Patient","id":"p"}']
        )
    assert [each.problem for each in caught.value.findings] == [
        MeasureProblem.BAD_RESOURCE,
        MeasureProblem.DUPLICATE_ENTRY,
    ]


def outcome(findings: Any) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"code": each.issue} for each in findings]}


def test_the_answer_has_an_entry_for_each_of_the_requests_in_its_order() -> None:
    found = take(
        {}, put(patient()), post(patient(None)), delete("Patient/x"), put(patient("f")), type_="batch"
    )
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    done: dict[int, Done | Finding] = {
        1: Done(created=False, version=3, updated=moment),
        2: Done(created=True, version=1, updated=moment),
        3: Done(),
        4: Finding(MeasureProblem.BAD_RESOURCE),
    }
    answer = bundle_answer(found, done, "http://here/fhir", outcome)
    assert answer["type"] == "batch-response"
    assert [each["response"]["status"] for each in answer["entry"]] == [
        "400 Bad Request",
        "200 OK",
        "201 Created",
        "204 No Content",
        "400 Bad Request",
    ]
    assert answer["entry"][1]["response"] == {
        "status": "200 OK",
        "location": "http://here/fhir/Patient/p/_history/3",
        "etag": 'W/"3"',
        "lastModified": "2026-01-02T03:04:05.678+00:00",
    }
    assert answer["entry"][0]["response"]["outcome"]["issue"] == [{"code": "structure"}]


def test_the_answer_to_a_transaction_says_so() -> None:
    answer = bundle_answer(take(put(patient())), {0: Done(created=True)}, "http://here/fhir", outcome)
    assert answer["type"] == "transaction-response"
    assert answer["entry"][0]["response"]["location"] == "http://here/fhir/Patient/p"


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "fullUrl": st.sampled_from([UUID, "http://x/Patient/1", "", 1]),
        "resource": st.sampled_from([patient(), patient(None), about(UUID), about("Patient?x"), {}, [], 1]),
        "request": st.fixed_dictionaries(
            {},
            optional={
                "method": st.sampled_from(["PUT", "POST", "DELETE", "GET", "x"]) | SCALARS,
                "url": st.sampled_from(["Patient/p", "Patient", "Observation", "Patient?x=1"]) | SCALARS,
            },
        ),
    },
)


@pytest.mark.fuzz
@given(st.lists(ENTRY, max_size=4), st.sampled_from(["transaction", "batch"]))
def test_every_entry_is_done_or_refused(entries: list[dict[str, Any]], type_: str) -> None:
    try:
        found = take(*entries, type_=type_)
    except MeasureError as error:
        assert all(each.status in (400, 501) for each in error.findings)  # noqa: PT017 - either is right
        return
    places = [each.place for each in found.entries] + list(found.refused)
    assert sorted(places) == list(range(len(entries)))
    assert all(
        isinstance(each, Entry) and (each.body == b"") is (each.action is Action.DELETE)
        for each in found.entries
    )
