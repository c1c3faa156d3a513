"""Bulk import, ping and pull: kick off, poll, read what became of it, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from aiohttp import hdrs, web

from sluice_gateway.auditing import disclosing
from sluice_gateway.fhir.files import NDJSON
from sluice_gateway.fhir.outcomes import ALIAS, BASE
from sluice_gateway.fhir.preferences import check_accept, lenient
from sluice_gateway.fhir.pull_parameters import TAKEN, read_import
from sluice_gateway.fhir.pulls import ERRORS, INFORMATION, SCOPE
from sluice_gateway.fhir.routing import fhir_route, poll_response
from sluice_gateway.fhir.sending import written
from sluice_gateway.idempotency import checked_key
from sluice_gateway.routing import JSON, STREAMING, Answer, Call, Handler, Route
from sluice_security.scopes import SUBMIT

TAG = "Bulk import"


def base_of(request: web.Request) -> str:
    """Give the base that a request was sent to; the addresses in its answer are below it too."""
    return ALIAS if request.path.startswith(ALIAS + "/") else BASE


async def import_resources(call: Call) -> Answer:
    """Import what a FHIR server exports: it is asked for the export, and its files are loaded.

    The answer means that the import is kept safely and will be carried out; poll its `Content-Location`.
    """
    request = call.request
    check_accept(request.headers.getall(hdrs.ACCEPT, ()))
    # Read for what it refuses: nothing here is left out of account, so there is nothing to be lenient about.
    lenient(request.headers.getall("Prefer", ()))
    key = checked_key(call.headers)
    job = await call.gateway.pulls.start(call.principal, partial(read_import, call.raw), key)
    return Answer(None, 202, {hdrs.CONTENT_LOCATION: call.gateway.pulls.location(base_of(request), job)})


async def get_import_status(call: Call) -> web.Response:
    """Ask how a bulk import stands.

    202 while it runs, with `X-Progress` and `Retry-After`; 200 once it has ended, with the addresses of what
    became of it. Whoever did not begin it is told that it is not there.
    """
    told = await call.gateway.pulls.poll(call.principal, call.path["id"], base_of(call.request))
    return poll_response(told)


async def delete_import(call: Call) -> Answer:
    """Cancel a bulk import, or forget one that has ended; what was loaded stays."""
    await call.gateway.pulls.delete(call.principal, call.path["id"])
    return Answer(None, 202)


async def get_import_information(call: Call) -> web.StreamResponse:
    """Get an OperationOutcome for each file of an import, and one for all of them."""
    return await _outcomes(call, INFORMATION)


async def get_import_errors(call: Call) -> web.StreamResponse:
    """Get an OperationOutcome for each thing that went wrong: files, and lines by number."""
    return await _outcomes(call, ERRORS)


async def get_import_bundles(call: Call) -> web.StreamResponse:
    """Get what an import brought as transaction Bundles: one for each patient, then what is about nobody.

    A patient's Bundle has the patient's own resource first, then all that is in the patient's compartment,
    then what that refers to of the import and is in nobody's compartment. What is in nobody's compartment
    comes once more at the end, in Bundles of up to 5,000 entries and 8 MB. What somebody else has replaced or
    deleted since is left out.
    """
    return await _streamed(call, await call.gateway.pulls.bundles(call.principal, call.path["id"]))


async def _outcomes(call: Call, name: str) -> web.StreamResponse:
    return await _streamed(call, await call.gateway.pulls.outcomes(call.principal, call.path["id"], name))


async def _streamed(call: Call, pieces: AsyncGenerator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: NDJSON})
    async with aclosing(pieces):
        async for piece in pieces:
            if not response.prepared:
                # The head is sent only when there is something to send after it.
                await disclosing(call.request, response)
                call.request[STREAMING] = True
                await response.prepare(call.request)
            await written(response, piece)
    if not response.prepared:
        await response.prepare(call.request)
    await response.write_eof()
    return response


def _ndjson(
    path: str,
    handler: Handler,
    summary: str,
    *,
    scope: str = SCOPE,
    errors: tuple[int, ...] = (403, 404),
) -> Route:
    """Declare how a file about an ended import is had."""
    return fhir_route(
        "GET",
        path,
        handler,
        summary,
        TAG,
        {200: bytes},
        scope=scope,
        errors=errors,
        media=NDJSON,
        streams=True,
    )


ROUTES = (
    fhir_route(
        "POST",
        "/$import",
        import_resources,
        "Import what a server exports",
        TAG,
        {202: None},
        scope=SCOPE,
        body=TAKEN,
        reads_body=True,
        idempotent=True,
        counted=True,
        errors=(403, 406, 422),
    ),
    fhir_route(
        "GET",
        "/bulkstatus/{id}",
        get_import_status,
        "Get a bulk import's status",
        TAG,
        {200: dict, 202: None},
        scope=SCOPE,
        errors=(403, 404, 429),
        media=JSON,
    ),
    fhir_route(
        "DELETE",
        "/bulkstatus/{id}",
        delete_import,
        "Cancel or forget a bulk import",
        TAG,
        {202: None},
        scope=SCOPE,
        errors=(403, 404),
    ),
    _ndjson(
        "/bulkstatus/{id}/bundles",
        get_import_bundles,
        "Get what a bulk import brought, patient by patient",
        errors=(403, 404, 429),
    ),
    # The status of a submission lists them, too.
    _ndjson(
        "/{id}/" + INFORMATION,
        get_import_information,
        "Get what became of a bulk import's files",
        scope=SUBMIT,
    ),
    _ndjson("/{id}/" + ERRORS, get_import_errors, "Get what went wrong in a bulk import", scope=SUBMIT),
)
