"""An export's files over HTTP: whole, by range, compressed, or not at all where the client has them already.

RFC 9110 decides: sections 8.8.3 (entity tags), 12.5.3 (codings), and what `sluice_gateway.conditions` says. A
file as it is and the same file compressed are two representations with two entity tags; ranges are of the
former only.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiohttp import hdrs, web

from sluice_gateway.auditing import disclosing, note
from sluice_gateway.conditions import asked_range, changed, has_it, part_of, still_meant
from sluice_gateway.fhir.asynchronous import not_available
from sluice_gateway.fhir.export_store import FileRow
from sluice_gateway.fhir.outcomes import refused
from sluice_gateway.fhir.polling import Owners
from sluice_gateway.fhir.preferences import listed, weight
from sluice_gateway.fhir.sending import (
    EncryptedFile,
    ExportFiles,
    OpenFile,
    PlainFile,
    beginning,
    compressed,
    send,
    send_stored,
    whole,
)
from sluice_gateway.problems import Problem, unavailable
from sluice_gateway.routing import STREAMING
from sluice_security.tokens import Principal
from sluice_storage.encryption.keys import MasterKeys
from sluice_storage.encryption.opening import ForgedObjectError, SealedFile, SealedObject
from sluice_storage.exports.downloads import DeletedJobError
from sluice_storage.exports.objects import MissingObjectError, ObjectStoreError, data_key_name

NDJSON = "application/fhir+ndjson"


class Holds(Protocol):
    """Keeps files from being removed; see `sluice_storage.exports.downloads.Downloads`."""

    def hold(self, job: str) -> AbstractAsyncContextManager[None]:
        """Keep the job's files for the block; raises `DeletedJobError`."""

    async def release(self, job: str) -> None:
        """Give the job's files back unless somebody reads them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a file is asked for.

    Parameters
    ----------
    tag
        The entity tag of what is sent.
    compressed
        Send it compressed.
    part
        The first byte and the one after the last; None: all of it.
    known
        The client has it already.
    """

    tag: str
    compressed: bool
    part: tuple[int, int] | None
    known: bool


def wanted(request: web.Request, file: FileRow) -> Wanted:
    """Decide what to send.

    Raises
    ------
    Problem
        412: it is not what the request's conditions name; 416: the range lies outside of the file.
    """
    plain, coded = f'"{file.sha256.hex()}"', f'"{file.sha256.hex()}-gzip"'
    asked = asked_range(request, plain)
    offered = [plain]
    # Whoever asks for a part, or for the length alone, means the bytes that the manifest counts.
    if asked is None and file.size and _takes_gzip(request):
        offered.insert(request.method == hdrs.METH_HEAD, coded)
    tag = next((tag for tag in offered if still_meant(request, tag)), None)
    if tag is None:
        raise changed()
    # Whoever has the file in either coding has it.
    if has_it(request, (plain, coded)):
        return Wanted(tag, tag == coded, None, known=True)
    return Wanted(tag, tag == coded, part_of(asked, file.size), known=False)


def _takes_gzip(request: web.Request) -> bool:
    members = dict(listed(request.headers.getall(hdrs.ACCEPT_ENCODING, ())))
    found = members.get("gzip", members.get("x-gzip", members.get("*")))
    return found is not None and weight(found) > 0


class Files:
    """Serves exports' files.

    Parameters
    ----------
    owners
        Whose exports are whose.
    objects
        Where files are.
    holds
        Keeps files from being removed while they are read.
    keys
        Unwrap exports' data keys.
    """

    def __init__(self, owners: Owners, objects: ExportFiles, holds: Holds, keys: MasterKeys) -> None:
        self._owners = owners
        self._objects = objects
        self._holds = holds
        self._keys = keys

    async def serve(self, who: Principal, request: web.Request, job: str, name: str) -> web.StreamResponse:
        """Answer a request for a file.

        The token is looked at when the download begins; that it expires meanwhile ends nothing.

        Raises
        ------
        Problem
            404: they have no such file, or not any more; 412; 416; 500: it is not what was written; 503: the
            object store is away.
        """
        part, n = _numbers(name)
        _, file = await self._owners.find_file(who, job, part, n)
        if file.name != name:
            raise not_available()
        asked = wanted(request, file)
        response = _head(file, asked)
        if asked.known or request.method == hdrs.METH_HEAD or not file.size:
            await response.prepare(request)
            return response
        try:
            async with self._holds.hold(job):
                await self._send(request, response, job, file, asked)
        except DeletedJobError:
            raise not_available() from None
        except ObjectStoreError as error:
            if request.get(STREAMING):
                raise  # the head is sent: all that can still be said is to break the connection
            raise _refusal(error) from None
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, job: str, file: FileRow, asked: Wanted
    ) -> None:
        start, end = asked.part or (0, file.size)
        note(request, items=file.count if asked.part is None else None, bytes=end - start)
        sealed = self._sealed(job, file)
        path = self._objects.path(file.key)
        if path is not None and not asked.compressed:
            await self._send_opened(request, response, path, sealed, start, end)
            return
        if sealed is None:
            pieces = self._objects.read_plain(file.key, start, end)
        else:
            pieces = self._objects.read(sealed, start, end)
        async with aclosing(pieces):
            # The head is sent only when there is something to send after it.
            first = await anext(pieces)
            await disclosing(request, response)
            request[STREAMING] = True
            await response.prepare(request)
            rest = whole(beginning(first, pieces), end - start)
            await send_stored(response, compressed(rest) if asked.compressed else rest)

    async def _send_opened(
        self,
        request: web.Request,
        response: web.StreamResponse,
        path: Path,
        sealed: SealedObject | None,
        start: int,
        end: int,
    ) -> None:
        try:
            opened = await asyncio.to_thread(os.open, path, os.O_RDONLY)
        except FileNotFoundError:
            raise not_available() from None
        try:
            file: OpenFile = PlainFile(opened)
            if sealed is not None:
                # The head is sent only when something that is authentic can be sent after it.
                file = await asyncio.to_thread(_begun, opened, sealed, start)
            await disclosing(request, response)
            request[STREAMING] = True
            await response.prepare(request)
            await send(request, response, file, start, end)
        finally:
            os.close(opened)

    def _sealed(self, job: str, file: FileRow) -> SealedObject | None:
        """Give what the file is decrypted with; None for one from before files were encrypted."""
        if not file.encrypted:
            return None
        if file.data_key is None:
            raise not_available()  # the export was deleted between two statements
        key = self._keys.unwrap(file.data_key, data_key_name(job))
        return SealedObject(file.key, file.size, key)


def _begun(opened: int, sealed: SealedObject, start: int) -> OpenFile:
    file = EncryptedFile(SealedFile(opened, sealed))
    file.read(start, start + 1)
    return file


def _refusal(error: ObjectStoreError) -> Problem:
    match error:
        case MissingObjectError():
            return not_available()
        case ForgedObjectError():
            return refused(500, "exception", "The file is damaged. Begin the export again.")
        case _:
            return unavailable("its file store")


def _numbers(name: str) -> tuple[int, int]:
    part, _, rest = name.partition(".")
    n = rest.partition(".")[0]
    # Both are Postgres integers; what is not names no file.
    if part.isdecimal() and n.isdecimal() and len(part) < 10 and len(n) < 10 and (part + n).isascii():
        return int(part), int(n)
    return -1, -1


def _head(file: FileRow, asked: Wanted) -> web.StreamResponse:
    fields = {
        hdrs.ETAG: asked.tag,
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, no-cache",
    }
    if asked.known:
        return web.Response(status=304, headers=fields)
    fields[hdrs.CONTENT_TYPE] = NDJSON
    response = web.StreamResponse(status=206 if asked.part else 200, headers=fields)
    if asked.compressed:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        return response
    start, end = asked.part or (0, file.size)
    if asked.part:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{file.size}"
    response.content_length = end - start
    return response
