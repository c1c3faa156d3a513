"""Fetching a file's content."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from sluice_gateway.auditing import disclosing, note
from sluice_gateway.conditions import asked_range, changed, has_it, part_of, still_meant
from sluice_gateway.downloads import disposition, media_type
from sluice_gateway.files import catalogue_problems
from sluice_gateway.models.files import DownloadInfo, TicketQuery
from sluice_gateway.problems import Problem, not_found, unavailable
from sluice_gateway.routes.files import ITEM, READ
from sluice_gateway.routing import STREAMING, Answer, Call, Route
from sluice_storage.buffers import Buffer
from sluice_storage.catalogue.model import Entry
from sluice_storage.encryption.opening import ForgedObjectError
from sluice_storage.objects import MissingObjectError, ObjectStoreError

TAG = "Files"
CONTENT = ITEM + "/content"


async def get_download_info(call: Call) -> Answer:
    """Get an address at which the content can be fetched for ten minutes, without a token."""
    entry = await call.gateway.files.get(call.principal.subject, call.path["id"])
    if entry.sha256 is None:
        raise Problem(400, "not_a_file", "A folder has no content.", "List it instead.")
    return Answer(DownloadInfo(url=call.gateway.tickets.address(call.principal.subject, entry.id)))


def _fields(entry: Entry, digest: bytes) -> dict[str, str]:
    return {
        hdrs.ETAG: f'"{digest.hex()}"',
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_DISPOSITION: disposition(entry.name),
        hdrs.CONTENT_TYPE: media_type(entry.content_type),
        hdrs.LAST_MODIFIED: entry.modified_on.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        hdrs.CACHE_CONTROL: "private, no-cache",
        # Content comes from elsewhere: nothing in it may run as if it were this server's.
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


async def get_content(call: Call) -> web.StreamResponse:
    """Fetch a file's content, whole or by range, with the ticket of its download address."""
    subject = call.gateway.tickets.subject(call.path["id"], call.query.ticket)
    request, entries = call.request, call.gateway.catalogue.entries
    note(request, subject=subject)
    with catalogue_problems("download"):
        entry = await entries.get(subject, call.path["id"])
    if entry.sha256 is None or entry.size is None:
        raise not_found("download")
    fields = _fields(entry, entry.sha256)
    etag = fields[hdrs.ETAG]
    if not still_meant(request, etag, entry.modified_on):
        raise changed()
    if has_it(request, (etag,), entry.modified_on):
        return web.Response(status=304, headers=fields)
    part = part_of(asked_range(request, etag), entry.size)
    start, end = part or (0, entry.size)
    response = web.StreamResponse(status=206 if part else 200, headers=fields)
    if part:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{entry.size}"
    response.content_length = end - start
    note(request, job=None if entry.origin is None else entry.origin.job, bytes=end - start)
    if request.method == hdrs.METH_HEAD or start == end:
        await response.prepare(request)
        return response
    with catalogue_problems("download"):
        content = await entries.open(subject, entry.id, start=start, end=end)
    await _stream(request, response, content.chunks)
    return response


async def _stream(request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[Buffer]) -> None:
    try:
        # The head is sent only once there is something to send after it.
        first = await anext(chunks, b"")
    except MissingObjectError:
        raise not_found("download") from None
    except ForgedObjectError:
        text = "The file's content is damaged."
        raise Problem(500, "content_damaged", text, "Import it again.") from None
    except ObjectStoreError:
        raise unavailable("its file store") from None
    await disclosing(request, response)
    request[STREAMING] = True
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()


async def head_content(call: Call) -> web.StreamResponse:
    """Ask for a content's size and entity tag, with the ticket of its download address."""
    return await get_content(call)


ROUTES = (
    Route(
        "GET",
        ITEM + "/download_info",
        get_download_info,
        "Get a download address",
        TAG,
        {200: DownloadInfo},
        READ,
        errors=(404,),
    ),
    Route(
        "GET",
        CONTENT,
        get_content,
        "Download",
        TAG,
        {200: bytes, 206: bytes, 304: None},
        query=TicketQuery,
        errors=(404, 412, 416),
        media="application/octet-stream",
        streams=True,
    ),
    Route(
        "HEAD",
        CONTENT,
        head_content,
        "Ask about a download",
        TAG,
        {200: None, 304: None},
        query=TicketQuery,
        errors=(404, 412),
    ),
)
