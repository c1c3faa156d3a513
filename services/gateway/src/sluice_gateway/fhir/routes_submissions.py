"""Bulk submissions: taking manifests of data, and telling what has become of them."""

from __future__ import annotations

from aiohttp import hdrs, web

from sluice_gateway.fhir.files import NDJSON
from sluice_gateway.fhir.preferences import check_accept, lenient
from sluice_gateway.fhir.routes_imports import base_of
from sluice_gateway.fhir.routing import fhir_route, poll_response
from sluice_gateway.fhir.submission_declared import ASKED, SUBMITTED
from sluice_gateway.fhir.submission_manifest import STATUS_PLACE
from sluice_gateway.routing import JSON, Answer, Call, as_json
from sluice_security.scopes import SUBMIT

TAG = "Bulk submission"


async def bulk_submit(call: Call) -> Answer:
    """Submit a manifest of data, or say that a submission is completed or stopped (Bulk Data 4.0.0, ballot).

    Manifests with the same `submitter` and `submissionId` are one submission. Each must be on a registered
    source, whose credentials its files are asked for with. `fileRequestHeader` is for header fields that the
    source's operators permitted; `fileEncryptionKey` delivers the key that manifest and files are encrypted
    with (`dir`), itself encrypted for the key at `/v2/fhir/submissions/jwks.json`.

    `replacesManifestUrl` takes what an earlier one brought back, and `submissionStatus` of `stopped` what all
    of them did. The same request again changes nothing.
    """
    check_accept(call.headers.getall(hdrs.ACCEPT, ()))
    return Answer(as_json(await call.gateway.bulk_submit.submit(call.principal, call.raw)))


async def bulk_submit_status(call: Call) -> Answer:
    """Ask for the status of a submission: answered with 202 and the `Content-Location` to poll."""
    check_accept(call.headers.getall(hdrs.ACCEPT, ()))
    lenient(call.headers.getall("Prefer", ()))
    place = await call.gateway.bulk_submit.ask(call.principal, call.raw, base_of(call.request))
    return Answer(None, 202, {hdrs.CONTENT_LOCATION: place})


async def get_submission_status(call: Call) -> web.Response:
    """Ask how a submission stands.

    202 until it is completed or stopped and that is carried out, with what there is to tell already; then
    200. Items say by `manifestUrl` which manifest they are about.
    """
    told = await call.gateway.bulk_submit.poll(call.principal, call.path["id"], base_of(call.request))
    return poll_response(told)


async def delete_submission_status(call: Call) -> Answer:
    """End a request for a submission's status; the submission itself goes on."""
    await call.gateway.bulk_submit.forget(call.principal, call.path["id"])
    return Answer(None, 202)


async def get_manifest_outcome(call: Call) -> web.Response:
    """Get an OperationOutcome for a manifest of a submission."""
    body = await call.gateway.bulk_submit.outcome(call.principal, call.path["id"], call.path["name"])
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: NDJSON})


_PLACE = f"/{STATUS_PLACE}/{{id}}"
ROUTES = (
    fhir_route(
        "POST",
        "/$bulk-submit",
        bulk_submit,
        "Submit data in bulk",
        TAG,
        scope=SUBMIT,
        body=SUBMITTED,
        reads_body=True,
        counted=True,
        errors=(403, 406, 409),
    ),
    fhir_route(
        "POST",
        "/$bulk-submit-status",
        bulk_submit_status,
        "Ask for a submission's status",
        TAG,
        {202: None},
        scope=SUBMIT,
        body=ASKED,
        reads_body=True,
        counted=True,
        errors=(403, 404, 406),
    ),
    fhir_route(
        "GET",
        _PLACE,
        get_submission_status,
        "Get a submission's status",
        TAG,
        {200: dict, 202: dict},
        scope=SUBMIT,
        errors=(403, 404, 429),
        media=JSON,
    ),
    fhir_route(
        "DELETE",
        _PLACE,
        delete_submission_status,
        "End a request for a submission's status",
        TAG,
        {202: None},
        scope=SUBMIT,
        errors=(403, 404),
    ),
    fhir_route(
        "GET",
        _PLACE + "/{name}",
        get_manifest_outcome,
        "Get what became of a submission's manifest",
        TAG,
        {200: bytes},
        scope=SUBMIT,
        errors=(403, 404),
        media=NDJSON,
    ),
)
