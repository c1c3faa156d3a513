"""Measures: storing them by Bundles, what data they need, and submitting these data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import hdrs
from msgspec import Struct
from pydantic import Field

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.measures.submission_declared import PULLED, SENT
from sluice_fhir.operations import Parameter, Taken
from sluice_fhir.references import is_id
from sluice_gateway.fhir.access import sees_artifacts
from sluice_gateway.fhir.outcomes import Issue, Refusal, refused
from sluice_gateway.fhir.preferences import check_accept, listed
from sluice_gateway.fhir.pulls import SCOPE
from sluice_gateway.fhir.routes_imports import base_of
from sluice_gateway.fhir.routing import fhir_route
from sluice_gateway.idempotency import checked_key
from sluice_gateway.models.base import QueryModel
from sluice_gateway.problems import not_found
from sluice_gateway.routing import Answer, Call, as_json

TAG = "Measures"
NEEDS = "/Measure/{id}/$data-requirements"
_ERRORS = (403, 404, 406, 422)
BUNDLE_EXAMPLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "resource": {"resourceType": "ValueSet", "id": "ed-visit", "url": "http://example.org/ed-visit"},
            "request": {"method": "PUT", "url": "ValueSet/ed-visit"},
        }
    ],
}
_PERIOD = "The measurement period; without it the measure's effective period."
_START, _END = "A date; with `periodEnd` only.", "A date; with `periodStart` only."
NEEDED = Taken(
    "DataRequirementsParameters",
    _PERIOD,
    (
        Parameter("periodStart", _START, ("valueDate", "valueString"), "2026-01-01"),
        Parameter("periodEnd", _END, ("valueDate", "valueString"), "2026-12-31"),
    ),
    usual=("periodStart", "periodEnd"),
)


class PeriodQuery(QueryModel):
    """The measurement period."""

    periodStart: str | None = Field(None, description=_START)  # noqa: N815
    periodEnd: str | None = Field(None, description=_END)  # noqa: N815


class _Parameter(Struct):
    name: str = ""
    valueDate: str | None = None  # noqa: N815 - FHIR's names
    valueString: str | None = None  # noqa: N815


class _Parameters(Struct):
    resourceType: str = ""  # noqa: N815
    parameter: list[_Parameter] = []


async def store_bundle(call: Call) -> Answer:
    """Store and delete what a transaction or batch Bundle says (R4 section 3.1.0.11), and tell of each entry.

    A transaction is done as a whole or not at all. Operators need the scope `ops/resources`, or for Measures,
    Libraries, ValueSets and CodeSystems `ops/measures`; other clients need the SMART scopes of what they do
    (`system/Encounter.cu`) and a grant of all patients' resources of the type. Conditional requests and reads
    are not supported in Bundles.
    """
    check_accept(call.headers.getall(hdrs.ACCEPT, ()), call.request.query.getall("_format", ()))
    return Answer(as_json(await call.gateway.measures.take(call.principal, call.raw)))


async def get_data_requirements(call: Call) -> Answer:
    """Say which data a measure needs: a Library of type module-definition (R4, Measure/$data-requirements).

    Its effectiveDataRequirements, or else what the logic of its Libraries (ELM) may read.
    """
    return await _data_requirements(call, call.query.periodStart, call.query.periodEnd)


async def get_data_requirements_by_parameters(call: Call) -> Answer:
    """Say which data a measure needs; the measurement period may be in a Parameters resource."""
    given = _dates(call.raw) if call.raw else {}
    return await _data_requirements(call, given.get("periodStart"), given.get("periodEnd"))


async def submit_data(call: Call) -> Answer:
    """Submit data for a measure (R4, Measure/$submit-data), or say where they are to be pulled from.

    With `Prefer: respond-async` and an `exportUrl` what the measure needs is exported there and imported:
    answered with 202 and the `Content-Location` to poll; needs the scope `bulk/import`. With `_strict` true
    report and data are stored in one step, or nothing of them, as by `$import`. Otherwise the
    `measureReport` and all `resource`s are stored, or none; needs the scopes of storing them as a Bundle.
    """
    return await _submit(call, call.path["id"])


async def submit_data_of_any_measure(call: Call) -> Answer:
    """Submit data for the measure that the MeasureReport names by its canonical URL; see `$submit-data`."""
    return await _submit(call, None)


async def bulk_submit_data(call: Call) -> Answer:
    """Have data for a measure pulled from an `exportUrl`; `$submit-data` with `Prefer: respond-async`."""
    return await _submit(call, call.path["id"], bulk=True)


async def bulk_submit_data_of_any_measure(call: Call) -> Answer:
    """Have data pulled for the measure that the MeasureReport names by its canonical URL."""
    return await _submit(call, None, bulk=True)


async def _submit(call: Call, measure: str | None, *, bulk: bool = False) -> Answer:
    check_accept(call.headers.getall(hdrs.ACCEPT, ()), call.request.query.getall("_format", ()))
    if measure is not None and not is_id(measure):
        raise not_found()
    await call.gateway.quotas.take(call.principal.client)
    if _asynchronous(call.headers.getall("Prefer", ()), by_default=bulk):
        key = checked_key(call.headers)
        job = await call.gateway.measures.submitting.pull(call.principal, measure, call.raw, key)
        location = call.gateway.pulls.location(base_of(call.request), job)
        return Answer(None, 202, {hdrs.CONTENT_LOCATION: location})
    return Answer(as_json(await call.gateway.measures.submitting.store(call.principal, measure, call.raw)))


def _asynchronous(fields: Sequence[str], *, by_default: bool) -> bool:
    """Say whether an asynchronous answer is preferred (RFC 7240 section 4.1)."""
    named = {name.partition("=")[0].strip(): name.partition("=")[2].strip(' "') for name, _ in listed(fields)}
    if "respond-sync" in named or named.get("respond-async", "") not in ("", "true"):
        if by_default:
            text = "This operation is answered asynchronously. Send Prefer: respond-async."
            raise Refusal(400, [Issue(code="not-supported", text=text, expression=("http.Prefer",))])
        return False
    return by_default or "respond-async" in named


async def _data_requirements(call: Call, start: str | None, end: str | None) -> Answer:
    check_accept(call.headers.getall(hdrs.ACCEPT, ()), call.request.query.getall("_format", ()))
    who, id_ = call.principal, call.path["id"]
    if not is_id(id_):
        raise not_found()
    if SCOPE not in who.scopes and not sees_artifacts(who.scopes, "Measure"):
        # Who may read the Measure may know what it needs; to others it is not there.
        await call.gateway.reading.read(who, "Measure", id_)
    return Answer(as_json(await call.gateway.measures.requirements(id_, start, end)))


def _dates(body: bytes) -> dict[str, str]:
    try:
        parameters = msgspec.json.decode(body, type=_Parameters)
    except UNREADABLE:
        parameters = _Parameters()
    if parameters.resourceType != "Parameters":
        raise refused(400, "structure", "The request's body is no Parameters resource.")
    return {each.name: each.valueDate or each.valueString or "" for each in parameters.parameter}


_EITHER, _PULLED = (SENT, PULLED), (PULLED,)
_SUBMITS = (
    ("/Measure/{id}/$submit-data", submit_data, "Submit data for a measure", _EITHER),
    ("/Measure/$submit-data", submit_data_of_any_measure, "Submit data for a measure by its URL", _EITHER),
    ("/Measure/{id}/$bulk-submit-data", bulk_submit_data, "Have data for a measure pulled", _PULLED),
    (
        "/Measure/$bulk-submit-data",
        bulk_submit_data_of_any_measure,
        "Have data pulled for a measure by its URL",
        _PULLED,
    ),
)
_TAKES: dict[str, Any] = {"reads_body": True, "large": True, "counted": True}
ROUTES = (
    fhir_route(
        "POST",
        "",
        store_bundle,
        "Store a Bundle",
        TAG,
        errors=(403, 406, 501),
        body=dict,
        example=BUNDLE_EXAMPLE,
        **_TAKES,
    ),
    fhir_route(
        "GET",
        NEEDS,
        get_data_requirements,
        "Get a measure's data requirements",
        TAG,
        query=PeriodQuery,
        errors=_ERRORS,
    ),
    fhir_route(
        "POST",
        NEEDS,
        get_data_requirements_by_parameters,
        "Get data requirements, by parameters",
        TAG,
        body=NEEDED,
        reads_body=True,
        errors=_ERRORS,
    ),
    *(
        fhir_route(
            "POST",
            path,
            handler,
            summary,
            TAG,
            {200: dict, 202: None},
            errors=_ERRORS,
            idempotent=True,
            body=taken,
            **_TAKES,
        )
        for path, handler, summary, taken in _SUBMITS
    ),
)
