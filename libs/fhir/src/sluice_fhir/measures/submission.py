"""The Parameters of `$submit-data`: what is submitted, or where it is to be exported from.

Synchronous, it is the operation of R4: a MeasureReport and the resources it is about. Asynchronous
(`Prefer: respond-async`) it names the export of a source, of which the measure's data requirements say what
is asked for.
"""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import UNSET, Raw, UnsetType

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.json_depth import is_deeper
from sluice_fhir.measures.canonicals import parse_canonical
from sluice_fhir.measures.datatypes import DEEPEST, Fhir, Measure, Named, name_of
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.measures.submission_declared import EXPORT_TYPES, PULLED, SENT

ExportType = Literal["dynamic", "static"]
_COLLECTION = "data-collection"
# What the measure's data requirements decide, and the requester may not.
DECIDED = ("_type", "_typeFilter", "_elements")
"""Parameters that the measure decides."""

_STRICT = {True: True, False: False, "true": True, "false": False}
_KNOWN = PULLED.names | SENT.names | {*DECIDED}
_FORMS = {each.name: each.forms for each in (*SENT.parameters, *PULLED.parameters)}


class _Parameter(Fhir, frozen=True):
    name: str = ""
    resource: Raw | UnsetType = UNSET
    value_string: Any = None
    value_url: Any = None
    value_uri: Any = None
    value_code: Any = None
    value_instant: Any = None
    value_date_time: Any = None
    value_boolean: Any = None


_FIELDS = {each.encode_name: each.name for each in msgspec.structs.fields(_Parameter)}


class _Parameters(Named, frozen=True):
    parameter: tuple[_Parameter, ...] = ()


class _Report(Named, frozen=True):
    type: str | None = None
    measure: str | None = None


class Submission(Fhir, frozen=True):
    """What a requester submits for a measure.

    Parameters
    ----------
    measure
        How the MeasureReport refers to the Measure.
    report
        The MeasureReport's JSON.
    resources
        The JSON of each other resource; none if asynchronous.
    export_url
        The export to be pulled, or the manifest if `export_type` is `static`; None if synchronous.
    since
        Only what changed after this instant, as it was given.
    type_filters
        Whether filters by code are wished for; None if nothing was said.
    strict
        Whether the data are wanted whole or not at all.
    """

    measure: str
    report: bytes
    resources: tuple[bytes, ...] = ()
    export_url: str | None = None
    export_type: ExportType = "dynamic"
    since: str | None = None
    type_filters: bool | None = None
    strict: bool = False


def parse_submission(body: bytes, *, asynchronous: bool) -> Submission:
    """Read the body of `$submit-data`.

    Parameters
    ----------
    body
        A Parameters resource.
    asynchronous
        Whether the request prefers to be answered asynchronously.

    Raises
    ------
    MeasureError
        With everything that is wrong with it.
    """
    return _Reader(_parameters(body), asynchronous).submission()


def check_measure(submission: Submission, measure: Measure) -> None:
    """Make sure that the MeasureReport is about this Measure.

    A canonical URL without a version means any version. Published reports also say `Measure/id`.

    Raises
    ------
    MeasureError
        WRONG_MEASURE.
    """
    said = parse_canonical(submission.measure)
    own_version = measure.version or None
    if said.url in (measure.url, f"Measure/{measure.id}") and said.version in (None, own_version):
        return
    raise MeasureError(MeasureProblem.WRONG_MEASURE, f"not {name_of(measure)}")


def _parameters(body: bytes) -> tuple[_Parameter, ...]:
    if is_deeper(body, DEEPEST):
        raise MeasureError(MeasureProblem.TOO_DEEP)
    try:
        if msgspec.json.decode(body, type=Named).resource_type != "Parameters":
            raise MeasureError(MeasureProblem.NOT_PARAMETERS)
        found = msgspec.json.decode(body, type=_Parameters).parameter
        body.decode()
    except msgspec.ValidationError as error:
        raise MeasureError(MeasureProblem.NOT_PARAMETERS) from error
    except UNREADABLE as error:
        raise MeasureError(MeasureProblem.NOT_JSON) from error
    return found


class _Reader:
    """Reads parameters and gathers everything that is wrong with them."""

    def __init__(self, parameters: tuple[_Parameter, ...], asynchronous: bool) -> None:
        self._parameters = parameters
        self._asynchronous = asynchronous
        self._taken = PULLED if asynchronous else SENT
        self._findings: list[Finding] = []

    def submission(self) -> Submission:
        self._refuse_others()
        report, measure = self._report()
        found = Submission(
            measure=measure,
            report=report,
            resources=tuple(self._resources()),
            export_url=self._export_url() if self._asynchronous else None,
            export_type=self._export_type(),
            since=self._value("_since"),
            type_filters=self._type_filters(),
            strict=self._strict(),
        )
        if self._findings:
            raise MeasureError.of(self._findings)
        return found

    def _wrong(self, problem: MeasureProblem, about: str, place: int | None = None, below: str = "") -> None:
        where = "Parameters.parameter" if place is None else f"Parameters.parameter[{place}]"
        self._findings.append(Finding(problem, about, where + below))

    def _refuse_others(self) -> None:
        for place, each in enumerate(self._parameters):
            if each.name not in self._taken.names:
                # A name of the caller's own making could be anything; its place says enough.
                name = each.name if each.name in _KNOWN else ""
                self._wrong(MeasureProblem.PARAMETER_REFUSED, name, place)

    def _named(self, name: str) -> list[tuple[int, _Parameter]]:
        return [(place, each) for place, each in enumerate(self._parameters) if each.name == name]

    def _one(self, name: str) -> tuple[int, _Parameter] | None:
        found = self._named(name)
        if len(found) > 1:
            self._wrong(MeasureProblem.PARAMETER_REPEATED, name, found[1][0])
        elif not found and name in self._taken.required:
            self._wrong(MeasureProblem.PARAMETER_MISSING, name)
        return found[0] if found else None

    def _report(self) -> tuple[bytes, str]:
        found = self._one("measureReport")
        if found is None:
            return b"", ""
        place, parameter = found
        try:
            report = msgspec.json.decode(parameter.resource or b"null", type=_Report)
        except msgspec.ValidationError:
            report = _Report()
        if report.resource_type != "MeasureReport":
            self._wrong(MeasureProblem.BAD_PARAMETER, "measureReport", place, ".resource")
            return b"", ""
        # R4 requires a type; requests as the Da Vinci test server documents them have none.
        if report.type not in (None, _COLLECTION):
            self._wrong(MeasureProblem.WRONG_REPORT_TYPE, "measureReport", place, ".resource.type")
        if not report.measure:
            self._wrong(MeasureProblem.PARAMETER_MISSING, "measure", place, ".resource.measure")
        return bytes(cast("Raw", parameter.resource)), report.measure or ""

    def _resources(self) -> list[bytes]:
        found: list[bytes] = []
        for place, each in self._named("resource"):
            if each.resource:
                found.append(bytes(each.resource))
            else:
                self._wrong(MeasureProblem.BAD_PARAMETER, "resource", place, ".resource")
        return found

    def _value(self, name: str) -> str | None:
        found = self._one(name)
        if found is None:
            return None
        place, parameter = found
        values = self._held(parameter)
        if len(values) == 1 and isinstance(values[0], str) and values[0].strip():
            return values[0].strip()
        self._wrong(MeasureProblem.BAD_PARAMETER, name, place)
        return None

    def _held(self, parameter: _Parameter) -> list[Any]:
        """Give the values that it has in the forms that are declared."""
        held = (getattr(parameter, _FIELDS[form]) for form in _FORMS[parameter.name])
        return [value for value in held if value is not None]

    def _export_url(self) -> str | None:
        url = self._value("exportUrl")
        if url is None:
            return None
        place = self._named("exportUrl")[0][0]
        names = _query_names(url)
        if names is None:
            self._wrong(MeasureProblem.BAD_PARAMETER, "exportUrl", place)
            return None
        for name in names:
            if name in DECIDED:
                self._wrong(MeasureProblem.PARAMETER_REFUSED, f"exportUrl: {name}", place)
        return url

    def _export_type(self) -> ExportType:
        value = self._value("exportType") if self._asynchronous else None
        if value is None:
            return "dynamic"
        if value not in EXPORT_TYPES:
            self._wrong(MeasureProblem.BAD_PARAMETER, "exportType", self._named("exportType")[0][0])
            return "dynamic"
        return cast("ExportType", value)

    def _type_filters(self) -> bool | None:
        found = self._one("useTypeFilters")
        if found is None:
            return None
        place, parameter = found
        if not isinstance(parameter.value_boolean, bool):
            self._wrong(MeasureProblem.BAD_PARAMETER, "useTypeFilters", place)
            return None
        return parameter.value_boolean

    def _strict(self) -> bool:
        found = self._one("_strict")
        if found is None:
            return False
        place, parameter = found
        values = self._held(parameter)
        # What is neither is not even looked up: it need not be hashable.
        if len(values) == 1 and isinstance(values[0], bool | str) and values[0] in _STRICT:
            return _STRICT[values[0]]
        self._wrong(MeasureProblem.BAD_PARAMETER, "_strict", place)
        return False


def _query_names(url: str) -> list[str] | None:
    """Give the names of a URL's query parameters, each once; None if it is no URL that could be fetched."""
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return None
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return None
    if any(character.isspace() for character in url):
        return None
    return list(dict.fromkeys(name for name, _ in pairs))
