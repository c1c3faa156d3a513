"""Jobs of every kind: list, look, and watch as they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

import msgspec
from aiohttp import hdrs, web

from sluice_contracts.events import JobKind
from sluice_gateway.all_jobs import AnyJobRow
from sluice_gateway.models.base import Page
from sluice_gateway.models.imports import JobAccepted, JobStateName
from sluice_gateway.models.jobs import AnyJob, AnyJobQuery, JobItem, JobItemsQuery
from sluice_gateway.paging import TOTAL_HEADER, Filters, Window, address, links
from sluice_gateway.problems import Problem
from sluice_gateway.routes.imports import SCOPE, rerun_bulk_fhir_import
from sluice_gateway.routing import STREAMING, Answer, Call, Route
from sluice_gateway.watches import Told
from sluice_gateway.watching import Place

TAG = "Jobs"
ITEM = "/v2/jobs/{id}"
EVENT_STREAM = "text/event-stream"
LAST_EVENT = "Last-Event-ID"
_HEARTBEAT = 15.0
# An event of the job's end closes its stream.
_END = "JobFinished"


def _listed(query: AnyJobQuery) -> Filters:
    return {
        "kind": query.kind,
        "state": query.state,
        "outcome": query.outcome,
        "since": None if query.since is None else query.since.isoformat(),
        "q": query.q,
    }


async def list_jobs(call: Call) -> Answer:
    """List jobs of every kind, newest first: your own or, with the scope `ops/jobs`, everyone's."""
    jobs, total = await call.gateway.all_jobs.page(call.principal, call.query)
    window, filters = Window.of(call.query), _listed(call.query)
    href = call.gateway.hrefs("/v2/jobs")
    page = Page[AnyJob](
        href=address(href, filters, window), items=jobs, links=links(href, filters, window, total)
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_job(call: Call) -> Answer:
    """Get a job of any kind; `result` is where its kind's own API shows the rest of it."""
    return Answer(await call.gateway.all_jobs.get(call.principal, call.path["id"]))


async def rerun_job(call: Call) -> Answer:
    """Start a new job that does a finished one's failed and cancelled items again; document imports only."""
    job = await call.gateway.all_jobs.get(call.principal, call.path["id"])
    if job.kind is not JobKind.DOCUMENT_IMPORT:
        text = "Only a document import's items can be run again."
        raise Problem(409, "not_a_document_import", text, "Submit the job anew.")
    return await rerun_bulk_fhir_import(call)


async def list_job_items(call: Call) -> Answer:
    """List a job's items of which anything is known, with what went wrong."""
    window, state = Window.of(call.query), call.query.state
    job = call.path["id"]
    items, total = await call.gateway.all_jobs.items(call.principal, job, state, window)
    href, filters = call.gateway.hrefs.any_job(job) + "/items", {"state": state}
    page = Page[JobItem](
        href=address(href, filters, window), items=items, links=links(href, filters, window, total)
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def watch_job(call: Call) -> web.StreamResponse:
    """Watch a job: server-sent events, first a `snapshot` of how it stands, then its events as they come.

    The events are those of the topic `jobs.events`. The stream ends with the job, with the token, or when it
    is read too slowly; with `Last-Event-ID` it goes on where it was, and answers 204 when nothing is to come
    any more.
    """
    gateway, job = call.gateway, call.path["id"]
    await gateway.all_jobs.get(call.principal, job)
    await gateway.watching.ready()
    with gateway.watching.job(job) as watch:
        # Looked at once it is watched: what happens meanwhile is told twice rather than not at all.
        head = await gateway.all_jobs.get(call.principal, job)
        ended = head.state is JobStateName.FINISHED
        after = Place.read(call.headers.get(LAST_EVENT, ""))

        async def events() -> AsyncGenerator[bytes]:
            last = False
            if after is not None:
                async for some in gateway.watching.missed(job, watch, after):
                    last = last or any(told.type == _END for told in some)
                    yield _written(some)
            while not (ended or last or watch.ended):
                some = await watch.take(_HEARTBEAT)
                last = any(told.type == _END for told in some)
                yield _written(some)

        async with aclosing(events()) as stream:
            if not (ended and after is not None):
                return await _send(call, b"event: snapshot\n" + _data(head), stream)
            first = await anext(stream, b"")
            return await _send(call, first, stream) if first else web.Response(status=204)


async def watch_jobs(call: Call) -> web.StreamResponse:
    """Watch all jobs that the token sees: server-sent events `job`, each how a job that changed stands now.

    First come the newest twenty. A job that changes often is told of some four times a second.
    """
    gateway = call.gateway
    owner = gateway.all_jobs.sees(call.principal)

    def wanted(row: AnyJobRow) -> bool:
        return owner is None or row.owner == owner

    await gateway.watching.ready()
    with gateway.watching.jobs(wanted) as watch:
        newest, _ = await gateway.all_jobs.page(call.principal, AnyJobQuery(limit=20, offset=0))

        async def events() -> AsyncIterator[bytes]:
            while not watch.ended:
                rows = await watch.take(_HEARTBEAT)
                jobs = await gateway.all_jobs.shown(rows)
                yield b"".join([b"event: job\n" + _data(job) for job in jobs])

        first = b"".join([b"event: job\n" + _data(job) for job in reversed(newest)])
        return await _send(call, first, events())


def _data(job: AnyJob) -> bytes:
    return b"data: " + msgspec.json.encode(job.model_dump(mode="json")) + b"\n\n"


def _written(some: list[Told]) -> bytes:
    return b"".join(
        [
            b"id: %d-%d\nevent: %s\ndata: %s\n\n" % (t.partition, t.offset, t.type.encode(), t.data)
            for t in some
        ]
    )


async def _send(call: Call, first: bytes, rest: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send a stream of events; what has nothing to say says that it is there."""
    headers = {
        hdrs.CONTENT_TYPE: EVENT_STREAM,
        hdrs.CACHE_CONTROL: "no-store",
        # Proxies that collect answers before they pass them on would keep events back.
        "X-Accel-Buffering": "no",
    }
    response = web.StreamResponse(headers=headers)
    call.request[STREAMING] = True
    await response.prepare(call.request)
    try:
        async with asyncio.timeout(call.gateway.all_jobs.left(call.principal)):
            await response.write(first or b": nothing yet\n\n")
            async for some in rest:
                await response.write(some or b": still here\n\n")
    except TimeoutError:
        _cut_off_if_behind(call.request)
    except ConnectionResetError:
        return response
    with suppress(ConnectionResetError):
        await response.write_eof()
    return response


def _cut_off_if_behind(request: web.Request) -> None:
    """End the connection of a reader that has not taken what was sent, and would keep it for good."""
    if request.transport is not None and request.transport.get_write_buffer_size():
        request.transport.abort()


ROUTES = (
    Route(
        "GET",
        "/v2/jobs",
        list_jobs,
        "List jobs of every kind",
        TAG,
        {200: Page[AnyJob]},
        "",
        query=AnyJobQuery,
    ),
    Route(
        "GET",
        "/v2/jobs/events",
        watch_jobs,
        "Watch all jobs",
        TAG,
        {200: str},
        "",
        media=EVENT_STREAM,
        streams=True,
    ),
    Route("GET", ITEM, get_job, "Get a job of any kind", TAG, {200: AnyJob}, "", errors=(404,)),
    Route(
        "GET",
        ITEM + "/items",
        list_job_items,
        "List a job's items",
        TAG,
        {200: Page[JobItem]},
        "",
        query=JobItemsQuery,
        errors=(404,),
    ),
    Route(
        "POST",
        ITEM + "/rerun",
        rerun_job,
        "Run a job's failed items again",
        TAG,
        {202: JobAccepted},
        SCOPE,
        counted=True,
        idempotent=True,
        errors=(404, 409, 422),
    ),
    Route(
        "GET",
        ITEM + "/events",
        watch_job,
        "Watch a job",
        TAG,
        {200: str, 204: None},
        "",
        errors=(404,),
        media=EVENT_STREAM,
        streams=True,
    ),
)
