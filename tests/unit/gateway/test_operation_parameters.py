"""What is declared of operations' Parameters is what their readers do: neither changes without the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from multidict import MultiDict

from sluice_contracts.exports import ExportLevel
from sluice_fhir.measures.problems import MeasureError
from sluice_fhir.measures.submission import parse_submission
from sluice_fhir.measures.submission_declared import PULLED, SENT
from sluice_fhir.operations import Parameter, Taken
from sluice_gateway.fhir.kickoff import KickOff
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.pull_parameters import TAKEN, read_import
from sluice_gateway.fhir.submission_declared import ASKED, BASE, MANIFEST, SUBMITTED
from sluice_gateway.fhir.submission_parameters import read_status_request, read_submission
from sluice_gateway.fhir.v3.declared import OF_PATIENTS, OF_SYSTEM
from sluice_gateway.fhir.v3.kickoff import read
from sluice_gateway.routes import ROUTES

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """What is declared, what reads it, and what has to be there beside what is asked for."""

    taken: Taken
    read: Callable[[bytes], object]
    with_: tuple[str, ...] = ()

    def refused(self, *parameters: Json) -> str:
        """Give what is wrong with a request, nothing if it is taken."""
        body = json.dumps({"resourceType": "Parameters", "parameter": parameters}).encode()
        try:
            self.read(body)
        except Refusal as refusal:
            return "; ".join(f"{issue.text} {issue.expression}" for issue in refusal.issues)
        except MeasureError as error:
            return "; ".join(f"{each.problem} {each.about} {each.where}" for each in error.findings)
        return ""

    def beside(self, *without: str) -> list[Json]:
        """Give the least request, without these parameters."""
        names = self.taken.required | set(self.with_)
        return [each.shown() for each in self.taken.parameters if each.name in names - {*without}]


def _export(level: ExportLevel) -> Callable[[bytes], object]:
    group = "g" if level is ExportLevel.GROUP else None
    return lambda body: read(KickOff(level, group, "https://h.test/fhir/$export", MultiDict(), body))


OPERATIONS = {
    "$export of the system": Operation(OF_SYSTEM, _export(ExportLevel.SYSTEM)),
    "$export of patients": Operation(OF_PATIENTS, _export(ExportLevel.PATIENT)),
    "$export of a group": Operation(OF_PATIENTS, _export(ExportLevel.GROUP)),
    "$import": Operation(TAKEN, read_import),
    "$submit-data": Operation(SENT, lambda body: parse_submission(body, asynchronous=False)),
    "$submit-data from an export": Operation(PULLED, lambda body: parse_submission(body, asynchronous=True)),
    "$bulk-submit": Operation(SUBMITTED, read_submission, (MANIFEST, BASE)),
    "$bulk-submit-status": Operation(ASKED, read_status_request),
}
PARAMETERS = [
    pytest.param(operation, parameter, id=f"{name} {parameter.name}")
    for name, operation in OPERATIONS.items()
    for parameter in operation.taken.parameters
]
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
every_parameter = pytest.mark.parametrize(("operation", "parameter"), PARAMETERS)


def in_form(parameter: Parameter, form: str, value: Any) -> Json:
    """Write a value of a parameter's usual form, or one of its codes, in another form."""
    if form == "valueCoding" and isinstance(value, str):
        value = {"code": value}
    elif form != "valueCoding" and isinstance(value, dict) and "code" in value:
        value = value["code"]
    elif form == "valueString" and isinstance(value, bool):
        value = str(value).lower()
    return {"name": parameter.name, form: value}


def every_form(parameter: Parameter) -> Iterator[Json]:
    yield parameter.shown()
    if parameter.forms != ("part",):
        for form in parameter.forms:
            yield in_form(parameter, form, parameter.example)
            if form != "valueBoolean":
                yield from (in_form(parameter, form, value) for value in parameter.values)


def others(parameter: Parameter, count: int) -> list[Json]:
    """Give the parameter so many times, each time with another value where it may have others."""

    def other(value: Any, number: int) -> Any:
        if isinstance(value, bool):
            return bool(number % 2) is not value
        if isinstance(value, dict):
            last = list(value)[-1]
            return {**value, last: other(value[last], number)}
        if value in parameter.values:
            return parameter.values[number % len(parameter.values)]
        return value.replace("2026", str(2000 + number)) if "2026-" in value else value

    if parameter.forms == ("part",):
        return [parameter.shown()] * count
    form = parameter.forms[0]
    return [{"name": parameter.name, form: other(parameter.example, number)} for number in range(count)]


@cache
def validator(taken: Taken) -> Draft202012Validator:
    Draft202012Validator.check_schema(taken.schema())
    return Draft202012Validator(taken.schema())


def valid(operation: Operation, *parameters: Json) -> bool:
    return validator(operation.taken).is_valid({"resourceType": "Parameters", "parameter": list(parameters)})


@every_operation
def test_the_example_is_taken_and_satisfies_the_schema(operation: Operation) -> None:
    example = operation.taken.example()
    assert {each["name"] for each in example["parameter"]} == set(operation.taken.usual)
    assert operation.refused(*example["parameter"]) == ""
    assert valid(operation, *example["parameter"])


@every_parameter
def test_a_declared_parameter_is_taken_in_every_declared_form(
    operation: Operation, parameter: Parameter
) -> None:
    for given in every_form(parameter):
        asked = [*operation.beside(parameter.name), given]
        assert operation.refused(*asked) == "", given
        assert valid(operation, *asked), given


@every_operation
def test_another_parameter_is_refused(operation: Operation) -> None:
    asked = [*operation.beside(), {"name": "another", "valueString": "x"}]
    assert operation.refused(*asked)
    assert not valid(operation, *asked)


@every_parameter
def test_what_must_be_there_is_missed_and_nothing_else(operation: Operation, parameter: Parameter) -> None:
    asked = operation.beside(parameter.name)
    if parameter.name in operation.with_:
        return  # It is asked for by another one.
    refused = operation.refused(*asked)
    assert (parameter.name in refused) == bool(parameter.least)
    assert valid(operation, *asked) == (not parameter.least)


@every_parameter
def test_a_parameter_is_taken_as_often_as_declared(operation: Operation, parameter: Parameter) -> None:
    beside = operation.beside(parameter.name)
    most = 20 if parameter.most is None else parameter.most
    for count in {1, most}:
        assert operation.refused(*beside, *others(parameter, count)) == ""
        assert valid(operation, *beside, *others(parameter, count))
    if parameter.most is not None and (most > 1 or len(parameter.values) != 1):
        assert operation.refused(*beside, *others(parameter, most + 1))
        assert not valid(operation, *beside, *others(parameter, most + 1))


@every_parameter
def test_another_text_than_the_declared_ones_is_refused(operation: Operation, parameter: Parameter) -> None:
    for form in parameter.forms if parameter.values else ():
        if form != "valueBoolean":
            asked = [*operation.beside(parameter.name), in_form(parameter, form, "another")]
            assert operation.refused(*asked)
            assert not valid(operation, *asked)


def test_every_operation_that_takes_parameters_says_which() -> None:
    declared = {id(each.taken) for each in OPERATIONS.values()}
    bodies = [route.body for route in ROUTES if "$" in route.path and route.method == "POST"]
    taken = [each for body in bodies for each in (body if isinstance(body, tuple) else (body,))]
    assert all(isinstance(each, Taken) for each in taken)
    assert declared <= {id(each) for each in taken}
