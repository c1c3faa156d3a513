"""Bulk export: kick off at three levels, poll, fetch files, delete."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web
from pydantic import Field

from sluice_contracts.exports import ExportLevel
from sluice_gateway.fhir.files import NDJSON
from sluice_gateway.fhir.kickoff import KickOff
from sluice_gateway.fhir.preferences import check_accept, lenient
from sluice_gateway.fhir.routing import fhir_route, poll_response
from sluice_gateway.fhir.v3.declared import OF_PATIENTS, OF_SYSTEM, PARAMETERS, in_address
from sluice_gateway.idempotency import checked_key
from sluice_gateway.models.base import QueryModel
from sluice_gateway.routing import JSON, Answer, Call, Route

TAG = "Bulk export"
ITEM = "/exports/{id}"
FILE = ITEM + "/files/{name}"
_ERRORS = (404, 406, 409, 413, 422)
_PREFER = (
    "`respond-async` is assumed. `handling=lenient` goes on without what is not supported, and reports it."
)
_IN_REQUESTS: tuple[dict[str, Any], ...] = (
    *map(in_address, PARAMETERS),
    {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": _PREFER,
        "schema": {"type": "string"},
    },
)


class PollQuery(QueryModel):
    """Which page of a manifest is wanted."""

    page: int = Field(0, ge=0, le=2**31 - 1, description="From 0; follow the manifest's `next` links.")


async def _kick_off(call: Call, level: ExportLevel) -> Answer:
    request = call.request
    query = request.query
    check_accept(request.headers.getall(hdrs.ACCEPT, ()), query.getall("_format", ()))
    kickoff = KickOff(
        level=level,
        group=call.path.get("id"),
        url=call.gateway.hrefs(request.rel_url.raw_path_qs),
        query=query,
        body=call.raw if request.method == hdrs.METH_POST else None,
        lenient=lenient(request.headers.getall("Prefer", ())),
    )
    key = checked_key(call.headers)
    job = await call.gateway.exports.starting.start(call.principal, kickoff, key)
    return Answer(None, 202, {hdrs.CONTENT_LOCATION: call.gateway.hrefs.export(job)})


async def export_system(call: Call) -> Answer:
    """Begin an export of everything that the token may see.

    The answer means that the export is kept safely and will be carried out; poll its `Content-Location`.
    Parameters are those of Bulk Data Access 3.0.0.
    """
    return await _kick_off(call, ExportLevel.SYSTEM)


async def export_patients(call: Call) -> Answer:
    """Begin an export of the data of all patients that the token may see; parameters as for the system."""
    return await _kick_off(call, ExportLevel.PATIENT)


async def export_group(call: Call) -> Answer:
    """Begin an export of the data of a group's patients; parameters as for the system."""
    return await _kick_off(call, ExportLevel.GROUP)


async def export_system_by_parameters(call: Call) -> Answer:
    """Begin an export of everything that the token may see, asked for by a Parameters resource."""
    return await _kick_off(call, ExportLevel.SYSTEM)


async def export_patients_by_parameters(call: Call) -> Answer:
    """Begin an export of patients' data, asked for by a Parameters resource, which may name `patient`s."""
    return await _kick_off(call, ExportLevel.PATIENT)


async def export_group_by_parameters(call: Call) -> Answer:
    """Begin an export of a group's data, asked for by a Parameters resource, which may name `patient`s."""
    return await _kick_off(call, ExportLevel.GROUP)


async def get_export(call: Call) -> web.Response:
    """Ask how an export stands.

    202 while it runs, with `X-Progress` and `Retry-After`; 200 with the manifest once it has ended. Whoever
    did not begin it is told that it is not there.
    """
    told = await call.gateway.exports.polling.poll(call.principal, call.path["id"], call.query.page)
    return poll_response(told)


async def delete_export(call: Call) -> Answer:
    """Delete an export: cancel it if it runs, and remove what it wrote."""
    await call.gateway.exports.polling.delete(call.principal, call.path["id"])
    return Answer(None, 202)


async def get_export_file(call: Call) -> web.StreamResponse:
    """Fetch a file of an export: whole, by `Range`, or compressed if `gzip` is accepted.

    The entity tag is the file's SHA-256, as in the manifest.
    """
    return await call.gateway.exports.files.serve(
        call.principal, call.request, call.path["id"], call.path["name"]
    )


async def head_export_file(call: Call) -> web.StreamResponse:
    """Ask about a file of an export: its size and its entity tag."""
    return await get_export_file(call)


def _kick_offs() -> tuple[Route, ...]:
    by_get = (
        ("/$export", export_system, "Export everything"),
        ("/Patient/$export", export_patients, "Export patients' data"),
        ("/Group/{id}/$export", export_group, "Export a group's data"),
    )
    by_post = (
        ("/$export", export_system_by_parameters, "Export everything, by parameters", OF_SYSTEM),
        (
            "/Patient/$export",
            export_patients_by_parameters,
            "Export patients' data, by parameters",
            OF_PATIENTS,
        ),
        (
            "/Group/{id}/$export",
            export_group_by_parameters,
            "Export a group's data, by parameters",
            OF_PATIENTS,
        ),
    )
    more: dict[str, Any] = {"idempotent": True, "counted": True, "errors": (*_ERRORS, 403)}
    more["parameters"] = _IN_REQUESTS
    got = [fhir_route("GET", path, handler, text, TAG, {202: None}, **more) for path, handler, text in by_get]
    posted = [
        fhir_route(
            "POST",
            path,
            handler,
            text,
            TAG,
            {202: None},
            body=taken,
            reads_body=True,
            **more,
        )
        for path, handler, text, taken in by_post
    ]
    return (*got, *posted)


ROUTES = (
    *_kick_offs(),
    fhir_route(
        "GET",
        ITEM,
        get_export,
        "Get an export's status and manifest",
        TAG,
        {200: dict, 202: None},
        query=PollQuery,
        errors=(403, 404, 429),
        media=JSON,
    ),
    fhir_route("DELETE", ITEM, delete_export, "Delete an export", TAG, {202: None}, errors=(403, 404)),
    fhir_route(
        "GET",
        FILE,
        get_export_file,
        "Get a file of an export",
        TAG,
        {200: bytes, 206: bytes, 304: None},
        errors=(403, 404, 412, 416),
        media=NDJSON,
        streams=True,
    ),
    fhir_route(
        "HEAD",
        FILE,
        head_export_file,
        "Ask about a file of an export",
        TAG,
        {200: None, 304: None},
        errors=(403, 404, 412),
    ),
)
