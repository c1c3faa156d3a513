"""Bulk import of FHIR DocumentReferences: submit, poll, list, cancel, run failed items again."""

from __future__ import annotations

from sluice_gateway.auditing import note
from sluice_gateway.idempotency import checked_key
from sluice_gateway.models.base import Page, PageQuery
from sluice_gateway.models.imports import (
    EXAMPLE,
    DryRun,
    ImportRequest,
    Job,
    JobAccepted,
    JobQuery,
    JobStateName,
    JobSummary,
)
from sluice_gateway.paging import TOTAL_HEADER, Window, address, links
from sluice_gateway.routing import Answer, Call, Route

TAG = "Bulk FHIR import"
SCOPE = "bulk/import"
ITEM = "/v2/bulk/fhir/{id}"


def _accepted(job: JobAccepted) -> Answer:
    return Answer(job, 202, {"Location": job.href})


async def start_bulk_fhir_import(call: Call) -> Answer:
    """Start importing up to 100 documents.

    The answer means that the job is kept safely and will be carried out. With an `Idempotency-Key`, sending
    the same request again gives the same job.
    """
    key = checked_key(call.headers)
    return _accepted(await call.gateway.submissions.submit(call.principal, call.raw, key))


async def check_bulk_fhir_import(call: Call) -> Answer:
    """Validate an import and tell what conflict resolution would do to each item, without doing anything."""
    wanted = await call.gateway.submissions.check(call.principal, call.raw)
    return Answer(await call.gateway.forecasts.of(call.principal.subject, wanted))


async def list_bulk_fhir_imports(call: Call) -> Answer:
    """List your own import jobs, newest first."""
    window = Window.of(call.query)
    jobs, total = await call.gateway.imports.page(call.principal, window)
    href = call.gateway.hrefs("/v2/bulk/fhir")
    page = Page[JobSummary](href=address(href, {}, window), items=jobs, links=links(href, {}, window, total))
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_bulk_fhir_import(call: Call) -> Answer:
    """Get a job's state, counts and results, the results in the order of the request.

    From the moment the job is accepted this never answers 404 to its owner.
    """
    job = await call.gateway.imports.poll(call.principal, call.path["id"], Window.of(call.query))
    _note(call, job)
    return Answer(job, headers={TOTAL_HEADER: str(job.counts.total)})


async def cancel_bulk_fhir_import(call: Call) -> Answer:
    """Cancel a job: items that have not ended yet will not. Files that are there already stay.

    202 means the job is being cancelled; 200 that it had ended before.
    """
    job, stopping = await call.gateway.imports.cancel(call.principal, call.path["id"])
    return Answer(job, 202 if stopping else 200)


def _note(call: Call, job: Job) -> None:
    """Have it recorded that an ended job's files were told, if there are any."""
    files = tuple(each.resource.id for each in job.result if each.resource is not None)
    if files and job.state is JobStateName.FINISHED:
        note(call.request, kind="file", entity=None, ids=files, items=len(files))


async def rerun_bulk_fhir_import(call: Call) -> Answer:
    """Start a new job that imports a finished job's failed and cancelled items again."""
    key = checked_key(call.headers)
    rerun = await call.gateway.imports.failed_items(call.principal, call.path["id"])
    again = call.gateway.submissions.again(call.principal, call.path["id"], rerun, key)
    return _accepted(await again)


ROUTES = (
    Route(
        "POST",
        "/v2/bulk/fhir",
        start_bulk_fhir_import,
        "Start a bulk FHIR import job",
        TAG,
        {202: JobAccepted},
        SCOPE,
        body=ImportRequest,
        reads_body=True,
        advance=True,
        counted=True,
        idempotent=True,
        errors=(404, 422),
        example=EXAMPLE,
    ),
    Route(
        "GET",
        "/v2/bulk/fhir",
        list_bulk_fhir_imports,
        "List jobs",
        TAG,
        {200: Page[JobSummary]},
        SCOPE,
        query=PageQuery,
    ),
    Route(
        "POST",
        "/v2/bulk/fhir/actions/dry-run",
        check_bulk_fhir_import,
        "Try a bulk FHIR import without doing it",
        TAG,
        {200: DryRun},
        SCOPE,
        body=ImportRequest,
        reads_body=True,
        advance=True,
        counted=True,
        errors=(404,),
        example=EXAMPLE,
    ),
    Route(
        "GET", ITEM, get_bulk_fhir_import, "Get a job", TAG, {200: Job}, SCOPE, query=JobQuery, errors=(404,)
    ),
    Route(
        "DELETE",
        ITEM,
        cancel_bulk_fhir_import,
        "Cancel a job",
        TAG,
        {202: JobSummary, 200: JobSummary},
        SCOPE,
        errors=(404,),
    ),
    Route(
        "POST",
        ITEM + "/actions/rerun",
        rerun_bulk_fhir_import,
        "Run a job's failed items again",
        TAG,
        {202: JobAccepted},
        SCOPE,
        advance=True,
        counted=True,
        idempotent=True,
        errors=(404, 409, 422),
    ),
)
